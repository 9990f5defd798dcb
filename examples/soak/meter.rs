//! What is counted and measured: operations by kind, lock waits in a histogram. One slot per worker, written by it alone.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// No wait of a lock may last longer, and no operation either.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

macro_rules! kinds {
    ($($kind:ident $name:literal,)*) => {
        /// What a worker is at.
        #[derive(Clone, Copy)]
        pub(crate) enum Kind { $($kind,)* }
        /// Their names, in order.
        pub(crate) const KINDS: &[&str] = &[$($name,)*];
    };
}
kinds! {
    Lock "lock",
    TryLock "try_lock",
    Relock "recursive lock",
    Owned "owned lock",
    Timed "timed lock",
    Transfer "two locks",
    Put "put",
    Get "get",
    Await "event wait",
    Announce "event notify",
    Signal "signal",
    Ask "ask",
    AskOwner "ask_owner",
    Poke "poke",
    SafePoint "safe points",
    Yield "yield",
    Outside "outside",
    Sleep "sleep",
    Spawn "spawn and join",
    Ring "ring of locks",
    Pause "pause",
}

macro_rules! tallies {
    ($($tally:ident $name:literal,)*) => {
        /// What happened on the way.
        #[derive(Clone, Copy)]
        pub(crate) enum Event { $($tally,)* }
        /// Their names, in order.
        pub(crate) const EVENTS: &[&str] = &[$($name,)*];
    };
}
tallies! {
    Notified "notified by notify_one",
    NotifiedAll "by notify_all",
    Woke "waits ended by a notification or a request",
    TimedOut "by their deadline",
    Interrupted "by a signal",
    Blocks "waits with hooks",
    Taken "signals taken",
    Served "requests served",
}

/// Nanoseconds since the program began; never 0.
pub(crate) fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64 + 1
}

/// Each power of two has this many buckets.
const FINE: u32 = 3;
const BUCKETS: usize = (u64::BITS - FINE + 1) as usize * (1 << FINE);

fn bucket(ns: u64) -> usize {
    if ns < 1 << FINE {
        return ns as usize;
    }
    let shift = ns.ilog2() - FINE;
    ((shift as usize) << FINE) + (ns >> shift) as usize
}

/// The largest value of a bucket.
fn top(bucket: usize) -> u64 {
    let fine = 1 << FINE;
    if bucket < fine {
        return bucket as u64;
    }
    let shift = (bucket >> FINE) - 1;
    let lead = (bucket & (fine - 1) | fine) as u64;
    ((lead + 1) << shift) - 1
}

/// One worker's counts. Only the worker writes, so a load and a store will do.
pub(crate) struct Slot {
    /// The worker's name.
    pub(crate) name: String,
    kind: AtomicUsize,
    since: AtomicU64,
    done: Vec<AtomicU64>,
    events: Vec<AtomicU64>,
    waits: Vec<AtomicU64>,
    longest: AtomicU64,
}

fn zeros(n: usize) -> Vec<AtomicU64> {
    (0..n).map(|_| AtomicU64::new(0)).collect()
}

fn add(to: &AtomicU64, n: u64) {
    to.store(to.load(Relaxed) + n, Relaxed);
}

impl Slot {
    /// All zero.
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            kind: AtomicUsize::new(0),
            since: AtomicU64::new(0),
            done: zeros(KINDS.len()),
            events: zeros(EVENTS.len()),
            waits: zeros(BUCKETS),
            longest: AtomicU64::new(0),
        }
    }
    /// An operation begins.
    pub(crate) fn begin(&self, kind: Kind) {
        self.kind.store(kind as usize, Relaxed);
        self.since.store(now(), Relaxed);
    }
    /// It is done.
    pub(crate) fn end(&self) {
        add(&self.done[self.kind.load(Relaxed)], 1);
        self.since.store(0, Relaxed);
    }
    /// Counts.
    pub(crate) fn count(&self, event: Event, n: u64) {
        add(&self.events[event as usize], n);
    }
    /// A lock was waited for since `since`.
    pub(crate) fn waited(&self, since: u64) {
        let ns = now() - since;
        add(&self.waits[bucket(ns)], 1);
        self.longest.fetch_max(ns, Relaxed);
    }
    /// The operation that it is at, and since when.
    pub(crate) fn at(&self) -> Option<(&'static str, u64)> {
        let since = self.since.load(Relaxed);
        (since != 0).then(|| (KINDS[self.kind.load(Relaxed)], since))
    }
}

/// The sum of some slots at a moment.
#[derive(Clone)]
pub(crate) struct Sum {
    done: Vec<u64>,
    events: Vec<u64>,
    waits: Vec<u64>,
    /// The longest wait since the last sum that took it.
    pub(crate) longest: u64,
}

impl Sum {
    /// Nothing.
    pub(crate) fn new() -> Self {
        let (done, events) = (vec![0; KINDS.len()], vec![0; EVENTS.len()]);
        Self { done, events, waits: vec![0; BUCKETS], longest: 0 }
    }
    /// Adds a slot, and starts its longest wait anew.
    pub(crate) fn add(&mut self, slot: &Slot) {
        self.look(slot);
        self.longest = self.longest.max(slot.longest.swap(0, Relaxed));
    }
    /// Adds a slot, but for its longest wait.
    pub(crate) fn look(&mut self, slot: &Slot) {
        let sum = |to: &mut [u64], from: &[AtomicU64]| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from.load(Relaxed));
        };
        sum(&mut self.done, &slot.done);
        sum(&mut self.events, &slot.events);
        sum(&mut self.waits, &slot.waits);
    }
    /// What came since `old`.
    pub(crate) fn since(&self, old: &Self) -> Self {
        let minus = |a: &[u64], b: &[u64]| a.iter().zip(b).map(|(a, b)| a - b).collect();
        Self {
            done: minus(&self.done, &old.done),
            events: minus(&self.events, &old.events),
            waits: minus(&self.waits, &old.waits),
            longest: self.longest,
        }
    }
    /// All operations.
    pub(crate) fn operations(&self) -> u64 {
        self.done.iter().sum()
    }
    /// Operations, then events, by kind.
    pub(crate) fn kinds(&self) -> String {
        let list = |names: &[&str], counts: &[u64]| {
            let pairs = names.iter().zip(counts).filter(|(_, n)| **n > 0);
            pairs.map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>().join(", ")
        };
        format!("{}\n  {}", list(KINDS, &self.done), list(EVENTS, &self.events))
    }
    fn percentile(&self, per_mille: u64) -> u64 {
        let all: u64 = self.waits.iter().sum();
        let mut left = (all * per_mille).div_ceil(1000).max(1);
        for (i, &n) in self.waits.iter().enumerate() {
            if n >= left {
                return top(i).min(self.longest);
            }
            left -= n;
        }
        0
    }
}

/// How long locks were waited for.
impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |per_mille| Duration::from_nanos(self.percentile(per_mille));
        let (all, longest) = (self.waits.iter().sum::<u64>(), Duration::from_nanos(self.longest));
        let (p50, p99, p999) = (time(500), time(990), time(999));
        write!(f, "{all} locks, p50 {p50:.1?}, p99 {p99:.1?}, p99.9 {p999:.1?}, max {longest:.1?}")
    }
}
