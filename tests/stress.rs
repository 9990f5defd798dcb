//! Everything at once, for a bounded number of operations. `SELVEDGE_STRESS=n` multiplies them.
//!
//! A hang ends the process, with the list of the threads and what each waits for. Miri gets fewer threads and steps.

use selvedge::*;
use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

const THREADS: usize = if cfg!(miri) { 3 } else { 8 };
/// Under Miri one step of so many is done.
const FEWER: u64 = if cfg!(miri) { 500 } else { 1 };

fn times() -> u64 {
    std::env::var("SELVEDGE_STRESS").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// Data under one of the mutexes.
#[derive(Default)]
struct Guarded {
    counter: UnsafeCell<u64>,
    /// Who locked, in order, and for the how many-th time.
    log: UnsafeCell<Vec<(usize, u64)>>,
}
// SAFETY: touched under the mutex that it belongs to, or when all threads are over.
unsafe impl Sync for Guarded {}
// SAFETY: as above.
unsafe impl Send for Guarded {}

impl Guarded {
    fn enter(&self, who: usize, nth: u64) {
        // SAFETY: the caller holds the mutex.
        let counter = unsafe { &mut *self.counter.get() };
        let seen = *counter;
        std::hint::spin_loop();
        *counter = seen + 1;
        // SAFETY: the caller holds the mutex.
        let log = unsafe { &mut *self.log.get() };
        log.push((who, nth));
    }
}

/// A payload that is counted.
struct Payload(Arc<AtomicU64>);
impl Drop for Payload {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

struct World {
    mutexes: [&'static Mutex; 2],
    data: [Guarded; 2],
    changed: Condvar<&'static Mutex>,
    /// A mutex that dead threads keep: each use makes a new one.
    orphans: AtomicU64,
    sent: AtomicU64,
    taken: AtomicU64,
    payloads: AtomicU64,
    dropped: Arc<AtomicU64>,
    asked: AtomicU64,
    answered: Arc<AtomicU64>,
    other: Runtime,
    done: AtomicU64,
}

impl World {
    fn new() -> Self {
        let mutexes = ["m0", "m1"].map(|name| &*Box::leak(Box::new(Mutex::named(name))));
        let zero = AtomicU64::default;
        Self {
            mutexes,
            data: Default::default(),
            changed: Condvar::named(mutexes[0], "changed"),
            orphans: zero(),
            sent: zero(),
            taken: zero(),
            payloads: zero(),
            dropped: Arc::default(),
            asked: zero(),
            answered: Arc::default(),
            other: Runtime::new(),
            done: zero(),
        }
    }
}

/// Marsaglia's xorshift.
struct Random(u64);
impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }
}

/// One of the eight, or a guest.
struct Worker {
    world: &'static World,
    vm: Runtime,
    who: usize,
    random: Random,
    locks: [u64; 2],
}

impl Worker {
    fn new(world: &'static World, vm: &Runtime, who: usize) -> Self {
        let seed = 0x9e37_79b9_7f4a_7c15 ^ (who as u64 + 1) << 32;
        Self { world, vm: vm.clone(), who, random: Random(seed), locks: [0; 2] }
    }

    fn soon(&mut self) -> Instant {
        Instant::now() + Duration::from_micros(self.random.next(150))
    }

    fn take_signals(&self, cx: &mut Participant) {
        while let Some(signal) = cx.take_signal() {
            drop(signal.downcast::<Payload>().unwrap());
            self.world.taken.fetch_add(1, SeqCst);
        }
    }

    fn holding(&mut self, i: usize) {
        self.world.data[i].enter(self.who, self.locks[i]);
        self.locks[i] += 1;
    }

    fn other_thread(&mut self) -> Option<Thread> {
        let mut all = self.vm.all_threads();
        if all.is_empty() {
            return None;
        }
        let i = self.random.next(all.len() as u64) as usize;
        Some(all.swap_remove(i))
    }

    fn signal(&mut self, cx: &mut Participant, t: &Thread) {
        self.world.payloads.fetch_add(1, SeqCst);
        if let Ok(Delivery::Queued) = t.signal(cx, Payload(self.world.dropped.clone())) {
            self.world.sent.fetch_add(1, SeqCst);
        }
    }

    fn ask(&mut self, t: &Thread) {
        let n = self.world.answered.clone();
        let run = move || {
            n.fetch_add(1, SeqCst);
        };
        let accepted =
            if self.random.next(2) == 0 { t.ask(run).is_ok() } else { t.ask_owner(run).is_ok() };
        self.world.asked.fetch_add(accepted.into(), SeqCst);
    }

    fn step(&mut self, cx: &mut Participant) {
        let w = self.world;
        let i = self.random.next(2) as usize;
        let m = w.mutexes[i];
        assert_eq!((w.mutexes[0].depth(cx), w.mutexes[1].depth(cx)), (0, 0));
        match self.random.next(20) {
            0..=3 => {
                if let Ok(_held) = m.lock(cx) {
                    self.holding(i);
                }
            }
            4..=5 => {
                let end = self.soon();
                if m.lock_until(cx, end).map(std::mem::forget).is_ok() {
                    self.holding(i);
                    m.release(cx).unwrap();
                }
            }
            6 => {
                if let Ok(_held) = m.try_lock(cx) {
                    self.holding(i);
                }
            }
            7 => {
                let depth = 1 + self.random.next(4) as u32;
                if m.acquire(cx).is_ok() {
                    for _ in 1..depth {
                        m.acquire(cx).unwrap();
                    }
                    assert_eq!(m.depth(cx), depth);
                    self.holding(i);
                    let _ = yield_now(cx);
                    for _ in 0..depth {
                        m.release(cx).unwrap();
                    }
                }
            }
            8..=10 => {
                let (depth, timed) = (1 + self.random.next(3) as u32, self.random.next(3) != 0);
                let end = self.soon();
                let m = *w.changed.mutex();
                if m.acquire(cx).is_ok() {
                    for _ in 1..depth {
                        m.acquire(cx).unwrap();
                    }
                    self.holding(0);
                    let r = if timed { w.changed.wait_until(cx, end) } else { w.changed.wait(cx) };
                    assert!(
                        matches!(r, Ok(_) | Err(WaitError::TimedOut | WaitError::Interrupted)),
                        "{r:?}"
                    );
                    assert_eq!(m.depth(cx), depth);
                    self.holding(0);
                    for _ in 0..depth {
                        m.release(cx).unwrap();
                    }
                }
            }
            11 => {
                if let Ok(_held) = w.mutexes[0].lock(cx) {
                    self.holding(0);
                    if self.random.next(3) == 0 {
                        w.changed.notify_all(cx).unwrap();
                    } else {
                        w.changed.notify_one(cx).unwrap();
                    }
                }
            }
            12..=13 => {
                if let Some(t) = self.other_thread() {
                    self.signal(cx, &t);
                    t.poke();
                }
            }
            14 => {
                if let Some(t) = self.other_thread() {
                    self.ask(&t);
                }
            }
            15 => {
                let end = self.soon();
                let _ = sleep_until(cx, end);
            }
            16 => {
                let end = self.soon();
                let r = outside(cx, |o| {
                    std::thread::yield_now();
                    o.inside(|cx| m.lock_until(cx, end).map(std::mem::forget).is_ok())
                });
                if r {
                    self.holding(i);
                    m.release(cx).unwrap();
                }
            }
            17 => {
                let r = uninterruptible(cx, |cx| m.acquire(cx));
                r.unwrap();
                self.holding(i);
                m.release(cx).unwrap();
            }
            18 => self.orphan(cx),
            _ => {
                // The same OS thread, another runtime.
                if let Ok(mut guest) = w.other.attach("guest") {
                    let own = Mutex::new();
                    drop(own.lock(&mut guest).unwrap());
                    assert!(!guest.has_signal());
                }
            }
        }
        self.take_signals(cx);
        let _ = safe_point(cx);
    }

    /// A child exits holding a mutex while another one wants it, who is told, or signalled out; then it is recovered.
    fn orphan(&mut self, cx: &mut Participant) {
        self.world.orphans.fetch_add(1, SeqCst);
        let m = Arc::new(Mutex::new());
        let (m2, vm) = (m.clone(), self.vm.clone());
        let world = self.world;
        let dead = self.vm.spawn("dead", move |cx| {
            // It may be signalled meanwhile, but nobody else wants the mutex yet.
            m2.acquire(cx).map_err(drop)?;
            let m3 = m2.clone();
            vm.spawn("waiter", move |cx| {
                let e = m3.acquire(cx).unwrap_err();
                assert!(matches!(e, LockError::Interrupted | LockError::OwnerDied(_)), "{e}");
                while let Some(signal) = cx.take_signal() {
                    drop(signal.downcast::<Payload>().unwrap());
                    world.taken.fetch_add(1, SeqCst);
                }
                Ok::<_, ()>(())
            })
            .map_err(drop)
        });
        let dead = dead.unwrap();
        let waiter = uninterruptible(cx, |cx| dead.join(cx)).unwrap();
        assert!(!m.owner().unwrap().is_alive());
        let end = self.soon();
        assert!(m.lock_until(cx, end).is_err());
        self.signal(cx, &waiter);
        let ended = uninterruptible(cx, |cx| waiter.join(cx));
        assert!(ended.is_ok());
        assert_eq!(m.waiters(), 0);
        assert_eq!(m.recover(cx).unwrap().abandoned_by(), Some(dead.id()));
        assert!(m.owner().is_none());
        for t in [dead.thread(), waiter.thread()] {
            self.undelivered(t);
        }
    }

    fn undelivered(&self, t: &Thread) {
        while let Some(signal) = t.take_undelivered() {
            drop(signal);
            self.world.taken.fetch_add(1, SeqCst);
        }
    }
}

/// Ends the process if the run does not come to its end.
struct Watchdog(Arc<AtomicBool>);
impl Watchdog {
    fn new(what: String, vm: Runtime, w: &'static World) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let watched = over.clone();
        std::thread::spawn(move || {
            let end = Instant::now() + Duration::from_secs(120 * times());
            while !watched.load(SeqCst) {
                if Instant::now() > end {
                    eprintln!("{what} hangs: {vm:?}");
                    for t in vm.all_threads() {
                        let waits = t.blocker().map(|b| (b.to_string(), b.since().elapsed()));
                        eprintln!("  {t:?} waits for {waits:?}, {} signals", t.undelivered());
                    }
                    let [a, b] = &w.mutexes;
                    eprintln!("  {a:?} {}, {b:?} {}", a.waiters(), b.waiters());
                    eprintln!("  {:?} {}", w.changed, w.changed.waiters());
                    std::process::abort();
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Self(over)
    }
}
impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

fn run(what: &str, baton: bool, schedule: Schedule, steps: u64) {
    let steps = steps * times() / FEWER;
    let vm = Runtime::builder().baton(baton).schedule(schedule).build();
    let world: &'static World = Box::leak(Box::new(World::new()));
    let _watchdog = Watchdog::new(what.to_owned(), vm.clone(), world);
    let mut cx = vm.attach("main").unwrap();
    let workers: Vec<_> = (0..THREADS)
        .map(|who| {
            let vm2 = vm.clone();
            let h = vm.spawn(format!("w{who}"), move |cx| {
                let mut worker = Worker::new(world, &vm2, who);
                for _ in 0..steps {
                    worker.step(cx);
                }
                world.done.fetch_add(1, SeqCst);
                Ok::<_, ()>(worker.locks)
            });
            h.unwrap()
        })
        .collect();
    // Threads of the system that come and go.
    let guests: Vec<_> = (THREADS..THREADS + 2)
        .map(|who| {
            let vm = vm.clone();
            std::thread::spawn(move || {
                let mut worker = Worker::new(world, &vm, who);
                let mut past = Vec::new();
                while world.done.load(SeqCst) < THREADS as u64 {
                    let mut cx = vm.attach("guest").unwrap();
                    past.push(cx.thread().clone());
                    for _ in 0..3 {
                        worker.step(&mut cx);
                    }
                }
                past.iter().for_each(|t| worker.undelivered(t));
                worker.locks
            })
        })
        .collect();
    // One that belongs to nobody: it sends signals and requests while whoever holds the baton runs.
    let stranger = std::thread::spawn({
        let vm = vm.clone();
        move || {
            let mut worker = Worker::new(world, &vm, THREADS + 3);
            while world.done.load(SeqCst) < THREADS as u64 {
                if let Some(t) = worker.other_thread().filter(|t| !t.is_main()) {
                    world.payloads.fetch_add(1, SeqCst);
                    if t.post(Payload(world.dropped.clone())).is_ok() {
                        world.sent.fetch_add(1, SeqCst);
                    }
                }
                if let Some(t) = worker.other_thread() {
                    worker.ask(&t);
                    t.poke();
                    let _ = (t.blocker(), t.undelivered(), t.is_alive());
                }
                std::thread::sleep(Duration::from_micros(worker.random.next(100)));
            }
        }
    });
    // Who waits without a deadline is notified in the end, or signalled.
    let mut ticker = Worker::new(world, &vm, THREADS + 2);
    while world.done.load(SeqCst) < THREADS as u64 {
        let held = world.mutexes[0].lock(&mut cx).unwrap();
        ticker.holding(0);
        world.changed.notify_all(&cx).unwrap();
        drop(held);
        let end = Instant::now() + Duration::from_micros(300);
        sleep_until(&mut cx, end).unwrap();
    }
    while !stranger.is_finished() || guests.iter().any(|g| !g.is_finished()) {
        let held = world.mutexes[0].lock(&mut cx).unwrap();
        ticker.holding(0);
        world.changed.notify_all(&cx).unwrap();
        drop(held);
        let _ = yield_now(&mut cx);
        outside(&mut cx, |_| std::thread::yield_now());
    }
    let mut locks: Vec<[u64; 2]> = Vec::new();
    for h in &workers {
        locks.push(h.join(&mut cx).unwrap());
        ticker.undelivered(h);
    }
    stranger.join().unwrap();
    let guests = outside(&mut cx, |_| guests.into_iter().map(|g| g.join().unwrap()).collect());
    locks.extend::<Vec<_>>(guests);
    locks.push(ticker.locks);

    let _ = safe_point(&mut cx);
    assert_eq!(vm.all_threads(), [cx.thread().clone()], "{what}");
    for i in 0..2 {
        let m = world.mutexes[i];
        assert!(m.owner().is_none(), "{what}: {m:?}");
        assert_eq!(m.waiters(), 0, "{what}");
        let expected: u64 = locks.iter().map(|l| l[i]).sum();
        // SAFETY: all threads are over.
        let counter = unsafe { *world.data[i].counter.get() };
        // SAFETY: as above.
        let log = unsafe { &*world.data[i].log.get() };
        assert_eq!(counter, expected, "{what}: no update is lost");
        let mut next = vec![0; locks.len()];
        for &(who, nth) in log {
            assert_eq!(nth, next[who], "{what}: the log is in the order of the locks");
            next[who] += 1;
        }
        assert!(locks.iter().map(|l| l[i]).eq(next.iter().copied()));
    }
    assert_eq!(world.changed.waiters(), 0, "{what}");
    let count = |n: &AtomicU64| n.load(SeqCst);
    assert_eq!(count(&world.sent), count(&world.taken), "{what}: signals sent and taken");
    assert_eq!(count(&world.payloads), count(&world.dropped), "{what}: payloads");
    assert_eq!(count(&world.asked), count(&world.answered), "{what}: requests");
    let all_kinds = count(&world.orphans) > 0 && count(&world.sent) > 0 && count(&world.asked) > 0;
    assert!(all_kinds || cfg!(miri), "too few steps for all that they do");
    assert!(world.other.all_threads().is_empty());
}

/// Shutdown at any moment: every wait ends, every thread too, and nobody is left in a queue.
fn stop_in_the_middle(what: &str, baton: bool, round: u64) {
    let vm = Runtime::builder().baton(baton).schedule(Schedule::new().looks(round as u32 % 2));
    let vm = vm.build();
    let world: &'static World = Box::leak(Box::new(World::new()));
    let _watchdog = Watchdog::new(what.to_owned(), vm.clone(), world);
    let mut cx = vm.attach("main").unwrap();
    let main = cx.thread().clone();
    let workers: Vec<_> = (0..6u64)
        .map(|who| {
            let main = main.clone();
            let h = vm.spawn(format!("w{who}"), move |cx| {
                let mut random = Random(round << 8 | who | 1 << 63);
                let [m0, m1] = world.mutexes;
                let mut ends = 0u32;
                // A VM looks at the report; a wait that ended tells it as well.
                while !yield_now(cx).shut_down() {
                    let soon = Instant::now() + Duration::from_micros(random.next(100));
                    match random.next(7) {
                        0 => ends += u32::from(m1.lock(cx).is_err()),
                        1 => ends += u32::from(m1.lock_until(cx, soon).is_err()),
                        2 | 3 => {
                            if let Ok(_held) = m0.lock(cx) {
                                let _again = m0.lock(cx).unwrap();
                                let r = world.changed.wait(cx);
                                let lost = matches!(r, Err(WaitError::Lost(Loss::ShutDown)));
                                assert_eq!(m0.depth(cx), if lost { 0 } else { 2 });
                            }
                        }
                        4 => {
                            if let Ok(_held) = m0.lock(cx) {
                                world.changed.notify_one(cx).unwrap();
                            }
                        }
                        5 => ends += u32::from(sleep_until(cx, soon).is_err()),
                        _ => ends += u32::from(main.join_until(cx, soon).is_err()),
                    }
                }
                Ok::<_, ()>(ends)
            });
            h.unwrap()
        })
        .collect();
    for _ in 0..round % 23 {
        let _ = yield_now(&mut cx);
        if round.is_multiple_of(3) {
            let _held = world.mutexes[1].lock(&mut cx).unwrap();
            sleep_until(&mut cx, Instant::now()).unwrap();
        }
    }
    vm.shutdown(&cx);
    for h in workers {
        h.join(&mut cx).unwrap();
    }
    assert_eq!(vm.all_threads().len(), 1);
    for m in world.mutexes {
        assert!(m.owner().is_none() && m.waiters() == 0, "{what}: {m:?}");
        drop(m.lock(&mut cx).unwrap());
    }
    assert_eq!(world.changed.waiters(), 0);
}

#[test]
fn shutdown_in_the_middle() {
    for round in 0..150 * times() / FEWER.min(75) {
        stop_in_the_middle("shutdown", false, round);
        stop_in_the_middle("shutdown, baton", true, round);
    }
}

/// One mutex and one condition variable of two runtimes, one of them with the baton: nobody waits for the other
/// runtime's threads, no wake-up and no notification is lost.
#[test]
fn two_runtimes_share_a_mutex() {
    let vms = [Runtime::new(), Runtime::builder().baton(true).build()];
    let world: &'static World = Box::leak(Box::new(World::new()));
    let _a = Watchdog::new("two runtimes, a".into(), vms[0].clone(), world);
    let _b = Watchdog::new("two runtimes, b".into(), vms[1].clone(), world);
    let steps = 2_000 * times() / FEWER;
    let work = move |cx: &mut Participant, who: usize| {
        let mut random = Random(who as u64 + 1);
        let m = world.mutexes[0];
        let mut mine = 0;
        for _ in 0..steps {
            let soon = Instant::now() + Duration::from_micros(random.next(50));
            match m.acquire(cx) {
                Ok(_) => {}
                Err(LockError::ForeignRuntime { .. }) => continue,
                Err(e) => return Err(e),
            }
            world.data[0].enter(who, mine);
            mine += 1;
            match random.next(4) {
                0 => {
                    let end = world.changed.wait_until(cx, soon);
                    assert!(matches!(end, Ok(_) | Err(WaitError::TimedOut)), "{end:?}");
                    assert_eq!(m.depth(cx), 1);
                    world.data[0].enter(who, mine);
                    mine += 1;
                }
                1 => assert!(world.changed.notify_one(cx).is_ok()),
                2 => assert!(!yield_now(cx).shut_down()),
                _ => {}
            }
            m.release(cx).unwrap();
        }
        Ok::<_, LockError>(mine)
    };
    let sides = [0, 1].map(|side| {
        let vm = vms[side].clone();
        std::thread::spawn(move || {
            let mut cx = vm.attach("main").unwrap();
            let hs: Vec<_> =
                (0..3).map(|i| vm.spawn((), move |cx| work(cx, side + 2 * i)).unwrap()).collect();
            hs.iter().map(|h| h.join(&mut cx).unwrap()).sum::<u64>()
        })
    });
    let sum: u64 = sides.into_iter().map(|s| s.join().unwrap()).sum();
    // SAFETY: all threads are over.
    assert_eq!(unsafe { *world.data[0].counter.get() }, sum);
    let m = world.mutexes[0];
    assert!(m.owner().is_none() && m.waiters() == 0 && world.changed.waiters() == 0);
}

#[test]
fn parallel() {
    run("parallel", false, Schedule::new(), 4_000);
}
#[test]
fn parallel_without_looks() {
    run("looks(0)", false, Schedule::new().looks(0), 3_000);
}
#[test]
fn parallel_fair() {
    run("fair", false, Schedule::new().fair(true), 2_000);
}
#[test]
fn parallel_hand_over_at_once() {
    let schedule = Schedule::new().hand_over_after(Some(Duration::ZERO));
    run("hand_over_after(ZERO)", false, schedule, 3_000);
}
#[test]
fn parallel_hand_over_at_once_without_looks() {
    let schedule = Schedule::new().looks(0).hand_over_after(Some(Duration::ZERO));
    run("looks(0), hand_over_after(ZERO)", false, schedule, 3_000);
}
#[test]
fn parallel_never_hand_over() {
    run("hand_over_after(None)", false, Schedule::new().hand_over_after(None), 3_000);
}
#[test]
fn parallel_fair_without_looks() {
    run("fair, looks(0)", false, Schedule::new().fair(true).looks(0), 2_000);
}
#[test]
fn under_the_baton() {
    run("baton", true, Schedule::new(), 3_000);
}
#[test]
fn under_the_baton_fair() {
    run("baton, fair", true, Schedule::new().fair(true), 1_500);
}
#[test]
fn under_the_baton_from_seeds() {
    for seed in 0..4 {
        run("baton, seeded", true, Schedule::new().pick(Pick::Seeded(seed)), 500);
    }
}
