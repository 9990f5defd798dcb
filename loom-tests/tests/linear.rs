//! Small programs over every primitive: each history of each execution has one order that the sequential object allows.
//!
//! A history is what the threads did, in each thread's order, with the results they got. The specification says of one
//! operation after the other whether that result is right. The second half of the file hands the same programs to
//! specifications that are wrong in one point: each must be caught.
#![cfg(selvedge_loom)]

use loom_tests::history::{Done, linearizable};
use loom_tests::scene::{barging, fair, heavy, seats, soon};
use loom_tests::{check, explore, long};
use selvedge::model::{Seat, UnsafeCell, thread};
use selvedge::{
    Condvar, JoinError, LockError, Mutex, Participant, Runtime, SignalPolicy, Thread, WaitError,
    safe_point, sleep_until,
};
use std::fmt::Debug;
use std::sync::Arc;

/// An operation with its result, who did it, and in which phase: what stands in a later phase began when all of the earlier
/// ones had ended.
#[derive(Clone, Debug)]
struct Op<W> {
    who: usize,
    phase: u32,
    what: W,
}

/// Does `who`'s operation fit the state? Then the state is the next one.
type Step<S, W> = fn(&mut S, usize, &W) -> bool;

/// The results, if some order of the operations explains them. `results`: what there is to tell of one.
fn judge<S: Default + Clone, W: Debug>(
    history: &[Done<Op<W>>],
    step: Step<S, W>,
    results: fn(&W) -> Option<char>,
) -> String {
    let before = |i: usize, j: usize| history[i].op.phase < history[j].op.phase;
    if !linearizable(history, S::default(), before, |s, op| step(s, op.who, &op.what)) {
        return NONE.into();
    }
    let threads = history.chunk_by(|a, b| a.thread == b.thread);
    let texts = threads.map(|ops| ops.iter().filter_map(|d| results(&d.op.what)).collect());
    texts.filter(|t: &String| !t.is_empty()).collect::<Vec<_>>().join(" ")
}

/// No order explains the history.
const NONE: &str = "not linearizable";

fn history<W>(who: usize, phase: u32, whats: Vec<W>) -> Vec<Done<Op<W>>> {
    let done = |what| Done { thread: who, op: Op { who, phase, what } };
    whats.into_iter().map(done).collect()
}

/// Runs a program per thread, the first on the main thread, and gathers what they did.
fn together<X: Send + Sync + 'static, W: 'static, const N: usize>(
    seats: [Seat; N],
    shared: &Arc<X>,
    programs: [fn(&X, &mut Participant) -> Vec<W>; N],
) -> Vec<Done<Op<W>>> {
    let mut first = None;
    let mut others = vec![];
    for (who, (seat, program)) in seats.into_iter().zip(programs).enumerate() {
        let shared = shared.clone();
        match who {
            0 => first = Some((seat, program)),
            _ => others.push(thread::spawn(move || program(&shared, &mut seat.sit()))),
        }
    }
    let (seat, program) = first.expect("there is a program");
    let mut all = history(0, 0, program(shared, &mut seat.sit()));
    for (i, other) in others.into_iter().enumerate() {
        all.extend(history(i + 1, 0, other.join().unwrap()));
    }
    all
}

/// The wrong specification is caught in some execution.
fn caught(name: &str, bound: Option<usize>, model: impl Fn() -> String + Send + Sync + 'static) {
    let seen = explore(bound, 4, model);
    let n = seen.outcomes.get(NONE).copied().unwrap_or(0);
    println!("\nSELFTEST {name} | executions {} | not linearizable {n}", seen.executions);
    assert!(n > 0, "the wrong specification explains every history");
}

// ---- mutex ----

#[derive(Clone, Debug)]
enum Lock {
    /// The depth it got to.
    Taken(u32),
    Try(bool),
    Until(bool),
    Release(bool),
}

/// Owner and depth.
type Held = Option<(usize, u32)>;

fn lock(m: &Mutex, me: &mut Participant) -> Lock {
    m.acquire(me).unwrap();
    Lock::Taken(m.depth(me))
}
fn try_lock(m: &Mutex, me: &mut Participant) -> Lock {
    Lock::Try(m.try_lock(me).map(std::mem::forget).is_ok())
}
fn until(m: &Mutex, me: &mut Participant) -> Lock {
    match m.lock_until(me, soon()).map(std::mem::forget) {
        Ok(()) => Lock::Until(true),
        Err(LockError::TimedOut) => Lock::Until(false),
        Err(e) => panic!("{e}"),
    }
}
fn release(m: &Mutex, me: &mut Participant) -> Lock {
    Lock::Release(m.release(me).is_ok())
}

fn mutex(held: &mut Held, who: usize, what: &Lock) -> bool {
    let others = held.is_some_and(|(owner, _)| owner != who);
    let depth = held.map_or(0, |(_, depth)| depth);
    match *what {
        Lock::Try(false) | Lock::Until(false) => return others,
        Lock::Release(false) => return others || held.is_none(),
        _ if others => return false,
        Lock::Release(true) if depth == 0 => return false,
        Lock::Release(true) => *held = (depth > 1).then_some((who, depth - 1)),
        Lock::Taken(to) if to != depth + 1 => return false,
        Lock::Taken(_) | Lock::Try(true) | Lock::Until(true) => *held = Some((who, depth + 1)),
    }
    true
}

fn mutex_results(what: &Lock) -> Option<char> {
    match what {
        Lock::Try(got) | Lock::Until(got) => Some(if *got { 'y' } else { 'n' }),
        Lock::Taken(_) | Lock::Release(_) => None,
    }
}

/// A program on one mutex.
type OnMutex = fn(&Mutex, &mut Participant) -> Vec<Lock>;

fn on_mutex<const N: usize>(
    vm: fn() -> Runtime,
    programs: [OnMutex; N],
    step: Step<Held, Lock>,
) -> String {
    let (seats, _) = seats(&vm());
    let done = together(seats, &Arc::new(Mutex::new()), programs);
    judge(&done, step, mutex_results)
}

const TRY_THEN_LOCK: OnMutex =
    |m, me| vec![try_lock(m, me), release(m, me), lock(m, me), release(m, me)];
const TRY_TWICE: OnMutex =
    |m, me| vec![try_lock(m, me), try_lock(m, me), release(m, me), release(m, me)];
const NEST: OnMutex = |m, me| vec![lock(m, me), lock(m, me), release(m, me), release(m, me)];
const UNTIL: OnMutex = |m, me| vec![until(m, me), release(m, me), try_lock(m, me), release(m, me)];
const ONCE: OnMutex = |m, me| vec![lock(m, me), release(m, me)];
const TRY: OnMutex = |m, me| vec![try_lock(m, me), release(m, me)];

/// Two threads: try_lock, which may fail only while the other holds it; release, also without it; lock. Bound 1; long 2.
#[test]
fn locks_and_try_locks() {
    let must = if long() { &["n y", "y n", "y y"][..] } else { &["y n", "y y"] };
    check("linear.mutex_try_lock", heavy(), 1000, must, || {
        on_mutex(barging, [TRY_THEN_LOCK, TRY_THEN_LOCK], mutex)
    });
}

/// Two threads: the mutex is free only after the last release. Bound 3.
#[test]
fn recursion() {
    check("linear.mutex_depth", Some(3), 2100, &["nn", "ny", "yy"], || {
        on_mutex(barging, [NEST, TRY_TWICE], mutex)
    });
}

/// Two threads, one with a deadline: it gives up only while the other holds the mutex. Bound 2.
#[test]
fn deadlines() {
    check("linear.mutex_until", Some(2), 2900, &["nn", "ny", "yy"], || {
        on_mutex(barging, [NEST, UNTIL], mutex)
    });
}

/// The same when every contended release hands over. Bound 2.
#[test]
fn deadlines_and_hand_overs() {
    check("linear.mutex_until_fair", Some(2), 2100, &["nn", "ny", "yn", "yy"], || {
        on_mutex(fair, [ONCE, UNTIL], mutex)
    });
}

/// Three threads. Bound 1.
#[test]
fn three_on_a_mutex() {
    check("linear.mutex_three", Some(1), 5900, &["n", "y"], || {
        on_mutex(barging, [ONCE, ONCE, TRY], mutex)
    });
}

// ---- condition variable, as a monitor ----

/// A buffer of one item.
struct Slot {
    mutex: Arc<Mutex>,
    filled: Condvar<Arc<Mutex>>,
    emptied: Condvar<Arc<Mutex>>,
    item: UnsafeCell<Option<u32>>,
}
// SAFETY: loom watches the cell.
unsafe impl Sync for Slot {}
// SAFETY: as above.
unsafe impl Send for Slot {}

impl Slot {
    fn new() -> Self {
        let mutex = Arc::new(Mutex::new());
        let (filled, emptied) = (Condvar::new(mutex.clone()), Condvar::new(mutex.clone()));
        Self { mutex, filled, emptied, item: UnsafeCell::new(None) }
    }
    fn is_empty(&self) -> bool {
        // SAFETY: loom watches the cell.
        self.item.with(|i| unsafe { (*i).is_none() })
    }
    fn put(&self, me: &mut Participant, v: u32) -> Item {
        let _held = self.mutex.lock(me).unwrap();
        while !self.is_empty() {
            self.emptied.wait(me).unwrap();
        }
        // SAFETY: as above.
        self.item.with_mut(|i| unsafe { *i = Some(v) });
        self.filled.notify_one(me).unwrap();
        Item::Put(v)
    }
    fn get(&self, me: &mut Participant, deadline: bool) -> Item {
        let _held = self.mutex.lock(me).unwrap();
        while self.is_empty() {
            let r = match deadline {
                true => self.filled.wait_until(me, soon()),
                false => self.filled.wait(me),
            };
            match r {
                Ok(_) => {}
                Err(WaitError::TimedOut) => break,
                Err(e) => panic!("{e}"),
            }
        }
        // SAFETY: as above.
        let got = self.item.with_mut(|i| unsafe { (*i).take() });
        if got.is_some() {
            self.emptied.notify_one(me).unwrap();
        }
        Item::Get(got)
    }
}

#[derive(Clone, Debug)]
enum Item {
    Put(u32),
    /// None: it gave up.
    Get(Option<u32>),
}

fn slot(item: &mut Option<u32>, _who: usize, what: &Item) -> bool {
    match *what {
        Item::Put(v) => item.replace(v).is_none(),
        Item::Get(got) => item.take() == got,
    }
}

fn slot_results(what: &Item) -> Option<char> {
    match what {
        Item::Put(_) => None,
        Item::Get(got) => Some(got.map_or('-', |v| char::from_digit(v, 10).unwrap())),
    }
}

type OnSlot = fn(&Slot, &mut Participant) -> Vec<Item>;

fn on_slot<const N: usize>(programs: [OnSlot; N], step: Step<Option<u32>, Item>) -> String {
    let (seats, _) = seats(&barging());
    let done = together(seats, &Arc::new(Slot::new()), programs);
    judge(&done, step, slot_results)
}

const PUT_TWO: OnSlot = |s, me| vec![s.put(me, 1), s.put(me, 2)];
const GET_TWO: OnSlot = |s, me| vec![s.get(me, false), s.get(me, false)];
const PUT_ONE: OnSlot = |s, me| vec![s.put(me, 1)];
const GET_UNTIL: OnSlot = |s, me| vec![s.get(me, true), s.get(me, true)];
const GET: OnSlot = |s, me| vec![s.get(me, false)];

/// A producer and a consumer. Bound 1; long 2.
#[test]
fn a_buffer_of_one() {
    check("linear.slot", heavy(), 100, &["1"], || on_slot([PUT_ONE, GET], slot));
}

/// The consumer gives up only when there is no item. Bound 1.
#[test]
fn a_buffer_with_deadlines() {
    check("linear.slot_until", Some(1), 540, &["--", "1-"], || on_slot([PUT_ONE, GET_UNTIL], slot));
}

/// Two items, so that the producer waits too. Bound 0.
#[test]
fn a_buffer_that_is_full() {
    check("linear.slot_full", Some(0), 32_000, &["12"], || on_slot([PUT_TWO, GET_TWO], slot));
}

/// A wait without its loop: who sleeps, who is notified, who gave up.
struct Event(Condvar<Arc<Mutex>>);

#[derive(Clone, Debug)]
enum Note {
    Sleep,
    Woke,
    GaveUp,
    One(bool),
    All(usize),
}

impl Event {
    fn sleep(&self, me: &mut Participant, deadline: bool) -> Vec<Note> {
        let _held = self.0.mutex().lock(me).unwrap();
        let r = match deadline {
            true => self.0.wait_until(me, soon()),
            false => self.0.wait(me),
        };
        match r {
            Ok(_) => vec![Note::Sleep, Note::Woke],
            Err(WaitError::TimedOut) => vec![Note::Sleep, Note::GaveUp],
            Err(e) => panic!("{e}"),
        }
    }
    fn notify_one(&self, me: &mut Participant) -> Note {
        let _held = self.0.mutex().lock(me).unwrap();
        Note::One(self.0.notify_one(me).unwrap())
    }
    fn notify_all(&self, me: &mut Participant) -> Note {
        let _held = self.0.mutex().lock(me).unwrap();
        Note::All(self.0.notify_all(me).unwrap())
    }
    /// Notifies all, until `n` were found.
    fn notify_until(&self, me: &mut Participant, n: usize) -> Vec<Note> {
        let (mut all, mut found) = (vec![], 0);
        while found < n {
            let note = self.notify_all(me);
            found += if let Note::All(n) = note { n } else { 0 };
            all.push(note);
            thread::yield_now();
        }
        all
    }
}

/// Who sleeps, in order; who was notified.
type Sleepers = (Vec<usize>, Vec<usize>);

fn event((asleep, woken): &mut Sleepers, who: usize, what: &Note) -> bool {
    let is = |set: &mut Vec<usize>| {
        let found = set.iter().position(|&w| w == who);
        found.map(|i| set.remove(i)).is_some()
    };
    match *what {
        Note::Sleep => asleep.push(who),
        Note::Woke => return is(woken),
        Note::GaveUp => return is(asleep),
        Note::One(any) if any == asleep.is_empty() => return false,
        Note::One(any) => woken.extend(any.then(|| asleep.remove(0))),
        Note::All(n) if n != asleep.len() => return false,
        Note::All(_) => woken.append(asleep),
    }
    true
}

fn event_results(what: &Note) -> Option<char> {
    match *what {
        Note::Sleep => None,
        Note::Woke => Some('w'),
        Note::GaveUp => Some('-'),
        Note::One(any) => Some(if any { '1' } else { '0' }),
        Note::All(n) => (n > 0).then_some(if n == 1 { '1' } else { '2' }),
    }
}

type OnEvent = fn(&Event, &mut Participant) -> Vec<Note>;

fn on_event<const N: usize>(programs: [OnEvent; N], step: Step<Sleepers, Note>) -> String {
    let (seats, _) = seats(&barging());
    let event = Event(Condvar::new(Arc::new(Mutex::new())));
    let done = together(seats, &Arc::new(event), programs);
    judge(&done, step, event_results)
}

const SLEEP: OnEvent = |e, me| e.sleep(me, false);
const SLEEP_UNTIL: OnEvent = |e, me| e.sleep(me, true);
const TWO_NOTES: OnEvent = |e, me| vec![e.notify_one(me), e.notify_one(me)];
const NOTE: OnEvent = |e, me| vec![e.notify_one(me)];
const NOTES: OnEvent = |e, me| e.notify_until(me, 1);
const NOTES_FOR_TWO: OnEvent = |e, me| e.notify_until(me, 2);

/// A sleeper is found once, and woken. Bound 1; long 2.
#[test]
fn notifications_and_a_sleeper() {
    check("linear.event", heavy(), 800, &["w 1"], || on_event([SLEEP, NOTES], event));
}

/// The notification says truly whether it came before the deadline. Bound 2.
#[test]
fn notifications_and_deadlines() {
    check("linear.event_until", Some(2), 3000, &["0 -", "1 w"], || {
        on_event([NOTE, SLEEP_UNTIL], event)
    });
}

/// Two sleepers. Bound 0.
#[test]
fn notifications_and_two_sleepers() {
    check("linear.event_three", Some(0), 49_000, &["w w 2"], || {
        on_event([SLEEP, SLEEP, NOTES_FOR_TWO], event)
    });
}

// ---- the end of a thread ----

#[derive(Clone, Debug)]
enum End {
    Ends,
    /// The result, or none: it gave up.
    Join(Option<u32>),
    Alive(bool),
}

fn end(over: &mut bool, _who: usize, what: &End) -> bool {
    match *what {
        End::Ends => !std::mem::replace(over, true),
        End::Join(Some(v)) => *over && v == 7,
        End::Join(None) => !*over,
        End::Alive(alive) => alive != *over,
    }
}

fn end_results(what: &End) -> Option<char> {
    match *what {
        End::Ends => None,
        End::Join(got) => Some(if got.is_some() { 'j' } else { '-' }),
        End::Alive(alive) => Some(if alive { 'a' } else { 'd' }),
    }
}

fn until_end(t: &Thread, me: &mut Participant) -> End {
    match t.join_until(me, soon()) {
        Ok(exit) => End::Join(Some(exit.value().unwrap())),
        Err(JoinError::TimedOut) => End::Join(None),
        Err(e) => panic!("{e}"),
    }
}

/// One thread ends; main, and a second thread if `two`, look and join it.
fn on_end(two: bool, step: Step<bool, End>) -> String {
    let vm = barging();
    let main = &mut vm.attach(()).unwrap();
    let worker = vm.spawn((), |_| Ok::<_, ()>(7u32)).unwrap();
    let look = |t: &Thread, me: &mut Participant| {
        vec![until_end(t, me), End::Alive(t.is_alive()), until_end(t, me)]
    };
    let target = worker.thread().clone();
    let other = two.then(|| {
        let look = move |me: &mut Participant| Ok::<_, ()>(Arc::new(vec![until_end(&target, me)]));
        vm.spawn((), look).unwrap()
    });
    let mut done = history(0, 0, vec![End::Ends]);
    done.extend(history(1, 0, look(&worker, main)));
    if let Some(other) = other {
        done.extend(history(2, 0, other.join(main).unwrap().to_vec()));
    }
    let last = vec![End::Join(worker.join(main).ok()), End::Alive(worker.is_alive())];
    done.extend(history(1, 1, last));
    judge(&done, step, end_results)
}

/// Join, join with a deadline and `is_alive` agree on one moment of the end. Bound 3.
#[test]
fn the_end_of_a_thread() {
    check("linear.end", Some(3), 600, &["-a-jd", "-ajjd", "-djjd", "jdjjd"], || on_end(false, end));
}

/// The same seen by two. Bound 1; long 2.
#[test]
fn the_end_of_a_thread_seen_by_two() {
    let all = [
        "-a- - jd", "-a- j jd", "-aj j jd", "-dj j jd", "jdj j jd", "-aj - jd", "-dj - jd",
        "jdj - jd",
    ];
    let must = if long() { &all[..] } else { &all[..5] };
    check("linear.end_three", heavy(), 270, must, || on_end(true, end));
}

// ---- signals ----

#[derive(Clone, Debug)]
enum Sig {
    Post(u32),
    Take(Option<u32>),
    Count(usize),
    /// True: a signal ended it.
    Sleep(bool),
}

fn queue(pending: &mut Vec<u32>, _who: usize, what: &Sig) -> bool {
    match *what {
        Sig::Post(v) => pending.push(v),
        Sig::Take(None) => return pending.is_empty(),
        Sig::Take(Some(v)) => return !pending.is_empty() && pending.remove(0) == v,
        Sig::Count(n) => return n == pending.len(),
        Sig::Sleep(ended) => return ended != pending.is_empty(),
    }
    true
}

/// As in Emacs: a new one takes the place of the old one.
fn replace(pending: &mut Vec<u32>, who: usize, what: &Sig) -> bool {
    if let Sig::Post(_) = what {
        pending.clear();
    }
    queue(pending, who, what)
}

fn signal_results(what: &Sig) -> Option<char> {
    match *what {
        Sig::Post(_) => None,
        Sig::Take(v) => Some(v.map_or('-', |v| char::from_digit(v, 10).unwrap())),
        Sig::Count(n) => char::from_digit(n as u32, 10),
        Sig::Sleep(ended) => Some(if ended { 'i' } else { 's' }),
    }
}

fn post(to: &Thread, v: u32) -> Sig {
    to.post(v).unwrap();
    Sig::Post(v)
}
fn take(me: &Participant) -> Sig {
    Sig::Take(me.take_signal().map(|s| s.downcast().unwrap()))
}

/// The first thread is the target.
type OnSignals = fn(&Thread, &mut Participant) -> Vec<Sig>;

fn on_signals<const N: usize>(
    policy: SignalPolicy,
    programs: [OnSignals; N],
    step: Step<Vec<u32>, Sig>,
) -> String {
    let vm = Runtime::builder().signals(policy).build();
    let (seats, [target, ..]) = seats::<3>(&vm);
    let mut seats = seats.into_iter();
    let seats: [Seat; N] = std::array::from_fn(|_| seats.next().unwrap());
    let done = together(seats, &Arc::new(target), programs);
    judge(&done, step, signal_results)
}

const COUNT_AND_TAKE: OnSignals =
    |t, me| vec![Sig::Count(t.undelivered()), take(me), take(me), take(me)];
const SLEEP_AND_TAKE: OnSignals = |_, me| {
    let slept = Sig::Sleep(sleep_until(me, soon()).is_err());
    vec![slept, take(me), take(me)]
};
const POST_TWO: OnSignals = |t, _| vec![post(t, 1), post(t, 2)];
const POST_ONE: OnSignals = |t, _| vec![post(t, 1)];
const POST_OTHER: OnSignals = |t, _| vec![post(t, 2)];

/// Signals come out in the order in which they went in, none twice. Bound: none.
#[test]
fn signals_queue() {
    check(
        "linear.signals",
        None,
        20,
        &["0---", "0--1", "0-1-", "0-12", "01--", "01-2", "012-", "11--", "11-2", "112-", "212-"],
        || on_signals(SignalPolicy::Queue, [COUNT_AND_TAKE, POST_TWO], queue),
    );
}

/// A sleep that a signal ended finds it. Bound 3.
#[test]
fn signals_end_a_sleep() {
    check("linear.signals_sleep", Some(3), 1600, &["i1-", "s--", "s-1", "s1-"], || {
        on_signals(SignalPolicy::Queue, [SLEEP_AND_TAKE, POST_ONE], queue)
    });
}

/// The last one counts, where the VM wants that. Bound: none.
#[test]
fn signals_replace() {
    check(
        "linear.signals_replace",
        None,
        20,
        &[
            "0---", "0--1", "0--2", "0-1-", "0-12", "0-2-", "01--", "01-2", "012-", "02--", "11--",
            "11-2", "112-", "12--",
        ],
        || on_signals(SignalPolicy::Replace, [COUNT_AND_TAKE, POST_TWO], replace),
    );
}

/// Two senders. Bound 3.
#[test]
fn signals_of_two_senders() {
    check(
        "linear.signals_three",
        Some(3),
        440,
        &[
            "0---", "0--1", "0--2", "0-1-", "0-2-", "01--", "02--", "11--", "12--", "0-12", "0-21",
            "01-2", "012-", "02-1", "021-", "11-2", "112-", "12-1", "121-", "212-", "221-",
        ],
        || on_signals(SignalPolicy::Queue, [COUNT_AND_TAKE, POST_ONE, POST_OTHER], queue),
    );
}

// ---- requests ----

#[derive(Clone, Debug)]
enum Ask {
    Sent,
    Poke,
    /// Was there anything since the last one? And how many requests have run.
    Poll(bool, u32),
}

#[derive(Clone, Default)]
struct Asked {
    /// Requests that have not run.
    pending: u32,
    /// Requests that have.
    ran: u32,
    /// There is something to report.
    came: bool,
    /// The last safe point answered a request.
    answered: bool,
}

fn requests(asked: &mut Asked, _who: usize, what: &Ask) -> bool {
    match *what {
        Ask::Sent => (asked.pending, asked.came) = (asked.pending + 1, true),
        Ask::Poke => asked.came = true,
        Ask::Poll(poked, n) => {
            let came = std::mem::take(&mut asked.came);
            // A request that came in the middle of a safe point is answered there, and may be reported by the next one too.
            let again = std::mem::replace(&mut asked.answered, asked.pending > 0);
            asked.ran += std::mem::take(&mut asked.pending);
            return (poked == came || poked && again) && asked.ran == n;
        }
    }
    true
}

fn request_results(what: &Ask) -> Option<char> {
    match *what {
        Ask::Poll(poked, n) if poked => char::from_digit(n, 10),
        Ask::Poll(..) => Some('-'),
        _ => None,
    }
}

/// The target, and how many requests ran on it.
struct Target {
    thread: Thread,
    ran: UnsafeCell<u32>,
}
// SAFETY: loom watches the cell.
unsafe impl Sync for Target {}
// SAFETY: as above.
unsafe impl Send for Target {}

fn ask(t: &Arc<Target>) -> Ask {
    let target = t.clone();
    // SAFETY: loom watches the cell.
    t.thread.ask(move || target.ran.with_mut(|n| unsafe { *n += 1 })).unwrap();
    Ask::Sent
}
fn poke(t: &Arc<Target>) -> Ask {
    t.thread.poke();
    Ask::Poke
}
fn poll(t: &Arc<Target>, me: &mut Participant) -> Ask {
    let poked = safe_point(me).poked();
    // SAFETY: as above. The target never sleeps, so requests run on it.
    Ask::Poll(poked, t.ran.with(|n| unsafe { *n }))
}

/// The first thread is the target; it polls once more when all are done.
type OnRequests = fn(&Arc<Target>, &mut Participant) -> Vec<Ask>;

fn on_requests<const N: usize>(others: [OnRequests; N], step: Step<Asked, Ask>) -> String {
    let vm = barging();
    let (seats, [thread, ..]) = seats::<3>(&vm);
    let mut seats = seats.into_iter();
    let mut me = seats.next().unwrap().sit();
    let target = Arc::new(Target { thread, ran: UnsafeCell::new(0) });
    let spawn = |(program, seat): (OnRequests, Seat)| {
        let target = target.clone();
        thread::spawn(move || program(&target, &mut seat.sit()))
    };
    let threads: Vec<_> = others.into_iter().zip(seats).map(spawn).collect();
    let mut done = history(0, 0, vec![poll(&target, &mut me), poll(&target, &mut me)]);
    for (i, t) in threads.into_iter().enumerate() {
        done.extend(history(i + 1, 0, t.join().unwrap()));
    }
    done.extend(history(0, 1, vec![poll(&target, &mut me)]));
    judge(&done, step, request_results)
}

const ASK_AND_POKE: OnRequests = |t, _| vec![ask(t), poke(t)];
const ASK_TWICE: OnRequests = |t, _| vec![ask(t), ask(t)];
const POKE: OnRequests = |t, _| vec![poke(t)];

/// A safe point reports what came since the last one, and has answered it. Bound: none.
#[test]
fn requests_and_pokes() {
    check("linear.requests", None, 38, &["-- 1", "-1 -", "-1 1", "1- -", "1- 1", "11 -"], || {
        on_requests([ASK_AND_POKE], requests)
    });
}

/// Two that ask. Bound 3.
#[test]
fn requests_of_two() {
    check(
        "linear.requests_three",
        Some(3),
        850,
        &[
            "-- 2", "-0 2", "-2 2", "0- 2", "2- 2", "-1 2", "-2 -", "01 2", "02 -", "1- 2", "11 2",
            "12 -", "12 2", "2- -", "22 -", "02 2", "22 2",
        ],
        || on_requests([ASK_TWICE, POKE], requests),
    );
}

// ---- the same programs, and specifications that are wrong ----

/// Wrong: `try_lock` always succeeds.
#[test]
fn self_try_lock() {
    caught("linear.mutex_try_lock", Some(1), || {
        on_mutex(barging, [TRY_THEN_LOCK, TRY_THEN_LOCK], |held, who, what| {
            !matches!(what, Lock::Try(false)) && mutex(held, who, what)
        })
    });
}

/// Wrong: the first release frees.
#[test]
fn self_depth() {
    caught("linear.mutex_depth", Some(1), || {
        on_mutex(barging, [NEST, TRY_TWICE], |held, who, what| match what {
            Lock::Release(true) => held.take().is_some_and(|(owner, _)| owner == who),
            _ => mutex(held, who, what),
        })
    });
}

/// Wrong: a deadline never passes.
#[test]
fn self_deadlines() {
    caught("linear.mutex_until", Some(1), || {
        on_mutex(barging, [NEST, UNTIL], |held, who, what| {
            !matches!(what, Lock::Until(false)) && mutex(held, who, what)
        })
    });
}

/// Wrong: an item stays when it is taken.
#[test]
fn self_buffer() {
    caught("linear.slot", Some(0), || {
        on_slot([PUT_ONE, GET_UNTIL], |item, _, what| match *what {
            Item::Put(v) => item.replace(v).is_none(),
            Item::Get(got) => *item == got,
        })
    });
}

/// Wrong: nobody gives up.
#[test]
fn self_buffer_with_deadlines() {
    caught("linear.slot_until", Some(0), || {
        on_slot([PUT_ONE, GET_UNTIL], |item, who, what| {
            !matches!(what, Item::Get(None)) && slot(item, who, what)
        })
    });
}

/// Wrong: a notification always finds somebody.
#[test]
fn self_event() {
    caught("linear.event", Some(0), || {
        on_event([TWO_NOTES, SLEEP_UNTIL], |sleepers, who, what| {
            !matches!(what, Note::One(false)) && event(sleepers, who, what)
        })
    });
}

/// Wrong: a notification finds nobody.
#[test]
fn self_notify_all() {
    caught("linear.event", Some(0), || {
        on_event([SLEEP, NOTES], |sleepers, who, what| {
            matches!(what, Note::Sleep | Note::Woke | Note::All(0)) && event(sleepers, who, what)
        })
    });
}

/// Wrong: a join never gives up.
#[test]
fn self_end() {
    caught("linear.end", Some(1), || {
        on_end(false, |over, who, what| !matches!(what, End::Join(None)) && end(over, who, what))
    });
}

/// Wrong: who replaces queues, and who queues replaces.
#[test]
fn self_signals() {
    caught("linear.signals", Some(2), || {
        on_signals(SignalPolicy::Queue, [COUNT_AND_TAKE, POST_TWO], replace)
    });
    caught("linear.signals_replace", Some(2), || {
        on_signals(SignalPolicy::Replace, [COUNT_AND_TAKE, POST_TWO], queue)
    });
}

/// Wrong: a sleep is never ended.
#[test]
fn self_sleep() {
    caught("linear.signals_sleep", Some(1), || {
        on_signals(SignalPolicy::Queue, [SLEEP_AND_TAKE, POST_ONE], |pending, who, what| {
            !matches!(what, Sig::Sleep(true)) && queue(pending, who, what)
        })
    });
}

/// Wrong: a safe point reports, and answers nothing.
#[test]
fn self_requests() {
    caught("linear.requests", Some(1), || {
        on_requests([ASK_AND_POKE], |asked, who, what| match what {
            Ask::Poll(poked, n) => {
                *n == 0 && requests(asked, who, &Ask::Poll(*poked, asked.ran + asked.pending))
            }
            _ => requests(asked, who, what),
        })
    });
}

/// Wrong: each request is reported by one safe point only.
#[test]
fn self_reported_twice() {
    caught("linear.requests_three", Some(3), || {
        on_requests([ASK_TWICE, POKE], |asked, who, what| {
            asked.answered = false;
            requests(asked, who, what)
        })
    });
}
