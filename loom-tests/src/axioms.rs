//! Allowed outcomes of small programs, by enumeration: what a model checker of this memory model ought to show.
//!
//! The model is RC11 with the release sequences of C++20, without load buffering and without SeqCst accesses.
//! An execution is the events in program order (`po`), a source for every read (`rf`), and an order of the writes of
//! each location (`mo`). It is allowed when
//!
//! | axiom     | says                                                                                      |
//! |-----------|-------------------------------------------------------------------------------------------|
//! | no thin air | `po` and `rf` together have no cycle (this is what rules out load buffering)            |
//! | coherence | nothing that happens before an event reads from it, overwrites it, or is overwritten by what it read |
//! | atomicity | an RMW stands in `mo` right behind the write it read                                      |
//! | fences    | the SeqCst fences have one order that agrees with happens-before and with who read whose write |
//!
//! A release sequence is a write and the RMWs that read from it in a chain; it synchronizes with an acquire read, and
//! fences extend both ends along `po`.
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst};

/// One instruction. Locations count from 0 and start as 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// Stores the value to the location.
    W(u8, u32, Ordering),
    /// Loads the location.
    R(u8, Ordering),
    /// Swaps the value into the location.
    X(u8, u32, Ordering),
    /// A fence.
    F(Ordering),
}

/// The instructions of each thread.
pub type Program = Vec<Vec<Op>>;

/// Reads a program written as `Wx1 Wy1.rel | Ry.acq Fsc Xx2.ar`: threads between bars, one letter for the operation,
/// the location (x, y or z), the value written, and the ordering if it is not Relaxed.
///
/// # Panics
/// If the text is anything else.
pub fn program(text: &str) -> Program {
    let thread = |t: &str| t.split_whitespace().map(op).collect();
    text.split('|').map(thread).collect()
}

fn op(text: &str) -> Op {
    let parse = || {
        let ordering = |o| match o {
            "" => Some(Relaxed),
            "acq" => Some(Acquire),
            "rel" => Some(Release),
            "ar" => Some(AcqRel),
            "sc" => Some(SeqCst),
            _ => None,
        };
        if let Some(o) = text.strip_prefix('F') {
            return ordering(o).map(Op::F);
        }
        let (access, o) = text.split_once('.').unwrap_or((text, ""));
        let o = ordering(o)?;
        let mut letters = access.chars();
        let kind = letters.next()?;
        let location = "xyz".find(letters.next()?)? as u8;
        match (kind, letters.as_str()) {
            ('R', "") => Some(Op::R(location, o)),
            ('W', v) => Some(Op::W(location, v.parse().ok()?, o)),
            ('X', v) => Some(Op::X(location, v.parse().ok()?, o)),
            _ => None,
        }
    };
    parse().unwrap_or_else(|| panic!("HARNESS not an operation: {text}"))
}

impl Op {
    fn location(self) -> Option<u8> {
        match self {
            Op::W(l, ..) | Op::R(l, _) | Op::X(l, ..) => Some(l),
            Op::F(_) => None,
        }
    }
    fn is_read(self) -> bool {
        matches!(self, Op::R(..) | Op::X(..))
    }
    fn is_write(self) -> bool {
        matches!(self, Op::W(..) | Op::X(..))
    }
    fn is_fence(self) -> bool {
        matches!(self, Op::F(_))
    }
    fn written(self) -> u32 {
        match self {
            Op::W(_, v, _) | Op::X(_, v, _) => v,
            Op::R(..) | Op::F(_) => unreachable!("not a write"),
        }
    }
    fn ordering(self) -> Ordering {
        match self {
            Op::W(_, _, o) | Op::R(_, o) | Op::X(_, _, o) | Op::F(o) => o,
        }
    }
    fn releases(self) -> bool {
        matches!(self.ordering(), Release | AcqRel | SeqCst)
    }
    fn acquires(self) -> bool {
        matches!(self.ordering(), Acquire | AcqRel | SeqCst)
    }
}

/// A relation between at most 32 events: bit `b` of row `a` is set when `a` is before `b`.
#[derive(Clone, PartialEq)]
struct Relation(Vec<u32>);

impl Relation {
    fn over(events: usize) -> Self {
        assert!(events <= 32, "the program is too long");
        Relation(vec![0; events])
    }
    /// All pairs of events for which `f` holds.
    fn of(events: usize, f: impl Fn(usize, usize) -> bool) -> Self {
        let mut r = Relation::over(events);
        for a in 0..events {
            for b in (0..events).filter(|&b| f(a, b)) {
                r.add(a, b);
            }
        }
        r
    }
    fn add(&mut self, a: usize, b: usize) {
        self.0[a] |= 1 << b;
    }
    fn has(&self, a: usize, b: usize) -> bool {
        self.0[a] >> b & 1 == 1
    }
    fn or(&self, other: &Relation) -> Relation {
        Relation(self.0.iter().zip(&other.0).map(|(a, b)| a | b).collect())
    }
    /// First `self`, then `next`.
    fn then(&self, next: &Relation) -> Relation {
        let row = |bits: u32| {
            let steps = (0..next.0.len()).filter(|b| bits >> b & 1 == 1);
            steps.fold(0, |row, b| row | next.0[b])
        };
        Relation(self.0.iter().map(|&bits| row(bits)).collect())
    }
    /// One or more steps.
    fn closure(&self) -> Relation {
        let mut all = self.clone();
        loop {
            let more = all.or(&all.then(&all));
            if more == all {
                return all;
            }
            all = more;
        }
    }
    /// For a closed relation: nothing is before itself.
    fn is_irreflexive(&self) -> bool {
        (0..self.0.len()).all(|a| !self.has(a, a))
    }
}

/// How many locations a program uses: those up to the highest it names.
pub fn locations(program: &Program) -> u8 {
    let named = program.iter().flatten().filter_map(|op| op.location());
    named.max().map_or(0, |highest| highest + 1)
}

/// A program's events and what can be said of them before any choice is made.
struct Events {
    ops: Vec<Op>,
    /// `None`: the initial write of a location. These come first, in the order of the locations.
    thread: Vec<Option<usize>>,
    po: Relation,
    reads: Vec<usize>,
}

/// A choice of sources, and what follows from it.
struct Sources {
    /// The write each read reads from, in the order of `Events::reads`.
    of: Vec<usize>,
    rf: Relation,
    /// Happens-before.
    hb: Relation,
}

/// Every outcome that the axioms allow, as `registers of each thread, final value of each location`.
///
/// # Panics
/// If the program has more than 32 events, initial writes included.
pub fn allowed(program: &Program) -> BTreeSet<String> {
    let locations = locations(program);
    let events = Events::new(program, locations);
    let orders: Vec<Vec<Vec<usize>>> = (0..locations).map(|l| events.orders(l)).collect();
    let mut outcomes = BTreeSet::new();
    for of in product(&events.candidates()) {
        let Some(sources) = events.sources(of) else {
            continue;
        };
        for order in product(&orders) {
            if events.is_consistent(&sources, &order) {
                outcomes.insert(events.outcome(program.len(), &sources, &order));
            }
        }
    }
    outcomes
}

impl Events {
    fn new(program: &Program, locations: u8) -> Self {
        let mut ops: Vec<Op> = (0..locations).map(|l| Op::W(l, 0, Relaxed)).collect();
        let mut thread = vec![None; ops.len()];
        for (t, code) in program.iter().enumerate() {
            ops.extend(code);
            thread.extend(code.iter().map(|_| Some(t)));
        }
        let po = Relation::of(ops.len(), |a, b| match (thread[a], thread[b]) {
            (None, other) => other.is_some(),
            (t, other) => t == other && a < b,
        });
        let reads = (0..ops.len()).filter(|&e| ops[e].is_read()).collect();
        Events { ops, thread, po, reads }
    }

    fn writes_to(&self, location: Option<u8>) -> impl Iterator<Item = usize> {
        let same = move |op: &Op| op.is_write() && op.location() == location;
        (0..self.ops.len()).filter(move |&e| same(&self.ops[e]))
    }

    /// For each read, the writes it may read from.
    fn candidates(&self) -> Vec<Vec<usize>> {
        let writes = |&r: &usize| {
            let all = self.writes_to(self.ops[r].location());
            all.filter(|&w| w != r).collect()
        };
        self.reads.iter().map(writes).collect()
    }

    /// Every order of the writes of a location, the initial one first.
    fn orders(&self, location: u8) -> Vec<Vec<usize>> {
        let writes: Vec<usize> = self.writes_to(Some(location)).collect();
        let (initial, rest) = writes.split_first().expect("the initial write");
        let mut orders = permutations(rest);
        for order in &mut orders {
            order.insert(0, *initial);
        }
        orders
    }

    /// `None`: values out of thin air, or an event before itself.
    fn sources(&self, of: Vec<usize>) -> Option<Sources> {
        let n = self.ops.len();
        let mut rf = Relation::over(n);
        let mut chain = Relation::over(n); // a write and the RMW that read it
        for (&r, &w) in self.reads.iter().zip(&of) {
            rf.add(w, r);
            if self.ops[r].is_write() {
                chain.add(w, r);
            }
        }
        if !self.po.or(&rf).closure().is_irreflexive() {
            return None;
        }
        let chain = chain.closure();
        let mut sw = Relation::over(n);
        for (&r, &source) in self.reads.iter().zip(&of) {
            let heads = (0..n).filter(|&w| w == source || chain.has(w, source));
            for head in heads.filter(|&w| self.thread[w].is_some()) {
                for from in self.release_points(head) {
                    for to in self.acquire_points(r) {
                        sw.add(from, to);
                    }
                }
            }
        }
        let hb = self.po.or(&sw).closure();
        hb.is_irreflexive().then_some(Sources { of, rf, hb })
    }

    /// Where a release sequence headed by `write` starts: the write itself, and release fences in front of it.
    fn release_points(&self, write: usize) -> impl Iterator<Item = usize> {
        (0..self.ops.len()).filter(move |&e| {
            let here = e == write || self.ops[e].is_fence() && self.po.has(e, write);
            here && self.ops[e].releases()
        })
    }

    /// Where what `read` has seen is taken over: the read itself, and acquire fences behind it.
    fn acquire_points(&self, read: usize) -> impl Iterator<Item = usize> {
        (0..self.ops.len()).filter(move |&e| {
            let here = e == read || self.ops[e].is_fence() && self.po.has(read, e);
            here && self.ops[e].acquires()
        })
    }

    fn is_consistent(&self, s: &Sources, order: &[Vec<usize>]) -> bool {
        let n = self.ops.len();
        let mut mo = Relation::over(n);
        for writes in order {
            for (i, &a) in writes.iter().enumerate() {
                for &b in &writes[i + 1..] {
                    mo.add(a, b);
                }
            }
        }
        let mut fr = Relation::over(n); // a read and every write behind the one it read
        for (&r, &source) in self.reads.iter().zip(&s.of) {
            let behind = |w: usize| mo.has(source, w) && w != r;
            for w in (0..n).filter(|&w| behind(w)) {
                fr.add(r, w);
            }
            let between = || (0..n).any(|w| mo.has(source, w) && mo.has(w, r));
            if self.ops[r].is_write() && (!mo.has(source, r) || between()) {
                return false;
            }
        }
        let eco = s.rf.or(&mo).or(&fr).closure();
        if !eco.is_irreflexive() || !s.hb.then(&eco).is_irreflexive() {
            return false;
        }
        let before = s.hb.or(&s.hb.then(&eco).then(&s.hb));
        let full = |e: usize| self.ops[e] == Op::F(SeqCst);
        let fences = Relation::of(n, |a, b| full(a) && full(b) && before.has(a, b));
        fences.closure().is_irreflexive()
    }

    fn outcome(&self, threads: usize, s: &Sources, order: &[Vec<usize>]) -> String {
        let mut registers = vec![vec![]; threads];
        for (&r, &source) in self.reads.iter().zip(&s.of) {
            let thread = self.thread[r].expect("initial events do not read");
            registers[thread].push(self.ops[source].written());
        }
        let last = |writes: &Vec<usize>| self.ops[writes[writes.len() - 1]].written();
        let finals: Vec<u32> = order.iter().map(last).collect();
        format!("{registers:?} {finals:?}")
    }
}

fn permutations(items: &[usize]) -> Vec<Vec<usize>> {
    if items.is_empty() {
        return vec![vec![]];
    }
    let mut all = vec![];
    for (i, &first) in items.iter().enumerate() {
        let mut rest = items.to_vec();
        rest.remove(i);
        for mut tail in permutations(&rest) {
            tail.insert(0, first);
            all.push(tail);
        }
    }
    all
}

/// One element of each list, in every way.
fn product<T: Clone>(lists: &[Vec<T>]) -> Vec<Vec<T>> {
    lists.iter().fold(vec![vec![]], |prefixes, list| {
        let extend = |prefix: &Vec<T>, x: &T| {
            let mut longer = prefix.clone();
            longer.push(x.clone());
            longer
        };
        let extend_all = |prefix| list.iter().map(move |x| extend(prefix, x));
        prefixes.iter().flat_map(extend_all).collect()
    })
}
