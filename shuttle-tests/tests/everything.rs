//! Eight threads of one runtime use every primitive at once.
#![cfg(selvedge_shuttle)]

use selvedge::*;
use shuttle::rand::RngCore;
use shuttle_tests::check;
use std::cell::UnsafeCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::{Duration, Instant};

/// Threads besides main.
const WORKERS: usize = 7;
/// How often a request counts: long enough to be met by a thread that comes back.
const REQUEST: u64 = 3;

fn draw(below: usize) -> usize {
    shuttle::rand::thread_rng().next_u32() as usize % below
}

/// A deadline is a draw, whatever the time.
fn soon() -> Instant {
    Instant::now()
}

/// Data under a mutex: two threads inside at once lose an update.
#[derive(Default)]
struct Counter(UnsafeCell<u64>);
// SAFETY: threads of shuttle take turns on one thread of the system.
unsafe impl Sync for Counter {}
// SAFETY: as above.
unsafe impl Send for Counter {}

impl Counter {
    fn get(&self) -> u64 {
        // SAFETY: as the type says.
        unsafe { *self.0.get() }
    }
    fn add(&self) {
        let seen = self.get();
        shuttle::thread::yield_now();
        // SAFETY: as the type says.
        unsafe { *self.0.get() = seen + 1 };
    }
}

#[derive(Default)]
struct Count(AtomicU64);
impl Count {
    fn up(&self) {
        self.0.fetch_add(1, Relaxed);
    }
    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

struct World {
    vm: Runtime,
    m: Arc<Mutex>,
    counter: Counter,
    /// How often `counter` should have been raised.
    entered: Count,
    changed: Condvar<Arc<Mutex>>,
    /// Under `m`: what consumers wait for.
    tickets: Counter,
    taken: Counter,
    sent: Count,
    received: Count,
    asked: Arc<Count>,
    answered: Arc<Count>,
    /// What a thread and the requests to it touch, never two of them at once.
    own: StdMutex<HashMap<ThreadId, Arc<Counter>>>,
    own_steps: Count,
}

impl World {
    fn new(baton: bool, schedule: Schedule) -> Arc<Self> {
        let m = Arc::new(Mutex::new());
        Arc::new(Self {
            vm: Runtime::builder().baton(baton).schedule(schedule).build(),
            changed: Condvar::new(m.clone()),
            m,
            counter: Counter::default(),
            entered: Count::default(),
            tickets: Counter::default(),
            taken: Counter::default(),
            sent: Count::default(),
            received: Count::default(),
            asked: Arc::default(),
            answered: Arc::default(),
            own: StdMutex::default(),
            own_steps: Count::default(),
        })
    }

    fn own(&self, t: ThreadId) -> Arc<Counter> {
        self.own.lock().unwrap().entry(t).or_default().clone()
    }

    /// Holding `m`.
    fn enter(&self, cx: &Participant) {
        self.entered.up();
        self.counter.add();
        self.touch_own(cx);
    }

    /// What only this thread may do now, and no request to it.
    fn touch_own(&self, cx: &Participant) {
        self.own_steps.up();
        self.own(cx.id()).add();
    }

    fn take_signals(&self, cx: &mut Participant) {
        while let Some(signal) = cx.take_signal() {
            drop(signal);
            self.received.up();
        }
    }

    /// Locks `depth` times, whatever signals come.
    fn acquire(&self, cx: &mut Participant, depth: u32) {
        while let Err(e) = self.m.acquire(cx) {
            assert_eq!(e, LockError::Interrupted);
            self.take_signals(cx);
        }
        for _ in 1..depth {
            self.m.acquire(cx).unwrap();
        }
        assert_eq!(self.m.depth(cx), depth);
    }

    fn release(&self, cx: &Participant, depth: u32) {
        assert_eq!(self.m.depth(cx), depth);
        for _ in 0..depth {
            self.m.release(cx).unwrap();
        }
    }

    /// Waits for a ticket and takes it; without a deadline, so that only a notification, or a signal, ends the wait.
    fn consume(&self, cx: &mut Participant) {
        let depth = 1 + draw(2) as u32;
        self.acquire(cx, depth);
        self.enter(cx);
        while self.taken.get() == self.tickets.get() {
            match self.changed.wait(cx) {
                Ok(_) => {}
                Err(WaitError::Interrupted) => self.take_signals(cx),
                Err(e) => panic!("{e:?}"),
            }
            assert_eq!(self.m.depth(cx), depth);
            self.enter(cx);
        }
        self.taken.add();
        self.release(cx, depth);
    }

    fn produce(&self, cx: &mut Participant) {
        self.acquire(cx, 1);
        self.tickets.add();
        if draw(4) == 0 {
            self.changed.notify_all(cx).unwrap();
        } else {
            self.changed.notify_one(cx).unwrap();
        }
        self.release(cx, 1);
    }

    fn any_thread(&self) -> Thread {
        let mut all = self.vm.all_threads();
        all.swap_remove(draw(all.len()))
    }

    fn signal(&self, cx: &mut Participant) {
        let t = self.any_thread();
        // Main joins, and must not be disturbed.
        if !t.is_main() {
            self.signal_to(cx, &t);
        }
    }

    fn signal_to(&self, cx: &mut Participant, t: &Thread) {
        if matches!(t.signal(cx, ()), Ok(Delivery::Queued)) {
            self.sent.up();
        }
    }

    fn ask(&self) {
        let answered = self.answered.clone();
        let t = self.any_thread();
        let own = self.own(t.id());
        let run = move || {
            for _ in 0..REQUEST {
                own.add();
            }
            answered.up();
        };
        let accepted = if draw(2) == 0 { t.ask(run).is_ok() } else { t.ask_owner(run).is_ok() };
        if accepted {
            self.asked.up();
        }
    }

    /// A child ends; the mutex that it holds stays locked, and says so.
    fn child(self: &Arc<Self>, cx: &mut Participant) {
        let orphan = Arc::new(Mutex::new());
        let (held, world) = (orphan.clone(), self.clone());
        let child = self.vm.spawn((), move |cx| {
            while held.acquire(cx).is_err() {
                world.take_signals(cx);
            }
            world.acquire(cx, 1);
            world.enter(cx);
            world.release(cx, 1);
            Ok::<_, ()>(())
        });
        let child = child.unwrap();
        let ended = uninterruptible(cx, |cx| child.join(cx));
        assert!(ended.is_ok());
        assert!(!child.is_alive() && !orphan.owner().unwrap().is_alive());
        assert!(orphan.lock_until(cx, soon()).is_err());
        self.undelivered(&child);
    }

    fn undelivered(&self, t: &Thread) {
        while t.take_undelivered().is_some() {
            self.received.up();
        }
    }

    fn step(self: &Arc<Self>, cx: &mut Participant) {
        match draw(10) {
            0 => {
                if let Ok(_held) = self.m.lock(cx) {
                    self.enter(cx);
                }
            }
            1 => {
                let depth = 1 + draw(3) as u32;
                self.acquire(cx, depth);
                self.enter(cx);
                let _ = safe_point(cx);
                self.release(cx, depth);
            }
            2 => {
                if let Ok(_held) = self.m.lock_until(cx, soon()) {
                    self.enter(cx);
                }
            }
            3 => {
                if let Ok(_held) = self.m.try_lock(cx) {
                    self.enter(cx);
                }
            }
            4 => {
                self.acquire(cx, 1);
                let r = self.changed.wait_until(cx, soon());
                let over = matches!(r, Ok(_) | Err(WaitError::TimedOut | WaitError::Interrupted));
                assert!(over, "{r:?}");
                self.enter(cx);
                if r.is_ok() {
                    // It ate what may have been meant for a consumer. A wait that failed ate nothing.
                    self.changed.notify_one(cx).unwrap();
                }
                self.release(cx, 1);
            }
            5 => self.signal(cx),
            6 => self.ask(),
            7 => drop(sleep_until(cx, soon())),
            8 => {
                let m = self.m.clone();
                let got = outside(cx, |o| {
                    shuttle::thread::yield_now();
                    o.inside(|cx| m.lock_until(cx, soon()).map(std::mem::forget).is_ok())
                });
                if got {
                    self.enter(cx);
                    self.release(cx, 1);
                }
            }
            _ => self.child(cx),
        }
        let _ = yield_now(cx);
        self.take_signals(cx);
        self.touch_own(cx);
    }

    /// What must hold once all other threads have been joined.
    fn end(&self, cx: &Participant) {
        assert_eq!(self.vm.all_threads(), [cx.thread().clone()]);
        assert!(self.m.owner().is_none(), "{:?}", self.m);
        assert_eq!((self.m.waiters(), self.changed.waiters()), (0, 0));
        assert_eq!(self.counter.get(), self.entered.get(), "no update is lost");
        assert_eq!(self.taken.get(), self.tickets.get());
        assert_eq!(self.sent.get(), self.received.get(), "signals sent and received");
        assert_eq!(self.asked.get(), self.answered.get(), "requests");
        let own: u64 = self.own.lock().unwrap().values().map(|c| c.get()).sum();
        assert_eq!(
            own,
            REQUEST * self.answered.get() + self.own_steps.get(),
            "a request ran beside its thread"
        );
    }
}

/// Workers 0 to 2 take a ticket, 3 to 5 make one; all do something else before and after, the last one only that.
fn everything(baton: bool, schedule: Schedule) {
    let world = World::new(baton, schedule);
    let mut cx = world.vm.attach("main").unwrap();
    let workers: Vec<_> = (0..WORKERS)
        .map(|who| {
            let w = world.clone();
            let h = world.vm.spawn((), move |cx| {
                w.step(cx);
                match who {
                    0..3 => w.consume(cx),
                    3..6 => w.produce(cx),
                    _ => w.step(cx),
                }
                w.step(cx);
                Ok::<_, ()>(())
            });
            h.unwrap()
        })
        .collect();
    for h in &workers {
        h.join(&mut cx).unwrap();
        world.undelivered(h);
    }
    let _ = safe_point(&mut cx);
    world.end(&cx);
}

/// Shutdown while six threads do whatever waits: every wait ends, and nobody is left in a queue.
fn stop(baton: bool) {
    let schedule = Schedule::new().looks(0);
    let vm = Runtime::builder().baton(baton).schedule(schedule).build();
    let m = Arc::new(Mutex::new());
    let changed = Arc::new(Condvar::new(m.clone()));
    let mut cx = vm.attach("main").unwrap();
    let main = cx.thread().clone();
    let workers: Vec<_> = (0..6)
        .map(|_| {
            let (m, changed, main) = (m.clone(), changed.clone(), main.clone());
            let h = vm.spawn((), move |cx| {
                while !yield_now(cx).shut_down() {
                    match draw(4) {
                        0 => drop(m.lock(cx)),
                        1 => drop(main.join(cx)),
                        2 => drop(sleep_until(cx, soon())),
                        _ => {
                            if let Ok(_held) = m.lock(cx) {
                                let r = changed.wait(cx);
                                let lost = matches!(r, Err(WaitError::Lost(Loss::ShutDown)));
                                assert_eq!(m.depth(cx), if lost { 0 } else { 1 });
                            }
                        }
                    }
                }
                Ok::<_, ()>(())
            });
            h.unwrap()
        })
        .collect();
    for _ in 0..draw(6) {
        let _ = yield_now(&mut cx);
    }
    vm.shutdown(&cx);
    for h in workers {
        h.join(&mut cx).unwrap();
    }
    assert_eq!(vm.all_threads().len(), 1);
    assert!(m.owner().is_none() && m.waiters() == 0 && changed.waiters() == 0);
    drop(m.lock(&mut cx).unwrap());
}

/// Five threads lock one mutex three times each and nothing else: many more turns of the queue in one schedule.
fn mutex_only(schedule: Schedule) {
    let world = World::new(false, schedule);
    let mut cx = world.vm.attach("main").unwrap();
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let w = world.clone();
            let h = world.vm.spawn((), move |cx| {
                for _ in 0..3 {
                    if draw(4) == 0 {
                        if let Ok(_held) = w.m.lock_until(cx, soon()) {
                            w.enter(cx);
                        }
                    } else {
                        w.acquire(cx, 1);
                        w.enter(cx);
                        w.release(cx, 1);
                    }
                }
                Ok::<_, ()>(())
            });
            h.unwrap()
        })
        .collect();
    for h in &workers {
        world.signal_to(&mut cx, h);
        h.join(&mut cx).unwrap();
        world.undelivered(h);
    }
    world.end(&cx);
}

/// Three threads wait until they are signalled, once each, while others notify them for nothing and ask them: a signal
/// ends a wait even if it comes while the wait ends otherwise.
fn one_signal_each(baton: bool) {
    let world = World::new(baton, barging());
    let mut cx = world.vm.attach("main").unwrap();
    let sleepers: Vec<_> = (0..3)
        .map(|_| {
            let w = world.clone();
            let h = world.vm.spawn((), move |cx| {
                w.m.acquire(cx)
                    .unwrap_or_else(|_| uninterruptible(cx, |cx| w.m.acquire(cx)).unwrap());
                while w.changed.wait(cx) != Err(WaitError::Interrupted) {}
                w.take_signals(cx);
                w.release(cx, 1);
                Ok::<_, ()>(())
            });
            h.unwrap()
        })
        .collect();
    let others: Vec<_> = (0..3)
        .map(|_| {
            let w = world.clone();
            let h = world.vm.spawn((), move |cx| {
                w.produce(cx);
                w.ask();
                w.produce(cx);
                Ok::<_, ()>(())
            });
            h.unwrap()
        })
        .collect();
    for h in &sleepers {
        world.signal_to(&mut cx, h);
    }
    for h in sleepers.iter().chain(&others) {
        h.join(&mut cx).unwrap();
        assert_eq!(h.undelivered(), 0);
    }
    assert_eq!((world.sent.get(), world.received.get()), (3, 3));
}

/// Three threads sleep until a ticket comes, and it comes only when each has answered a request.
fn sleepers_answer(baton: bool) {
    let world = World::new(baton, barging());
    let mut cx = world.vm.attach("main").unwrap();
    let pairs: Vec<_> = (0..3)
        .map(|i| {
            let w = world.clone();
            let sleeper = world.vm.spawn((), move |cx| {
                w.consume(cx);
                Ok::<_, ()>(())
            });
            let sleeper = sleeper.unwrap();
            let (w, t) = (world.clone(), sleeper.thread().clone());
            let asker = world.vm.spawn((), move |cx| {
                let done = Arc::new(Count::default());
                let (up, own, answered) = (done.clone(), w.own(t.id()), w.answered.clone());
                let run = move || {
                    for _ in 0..REQUEST {
                        own.add();
                    }
                    answered.up();
                    up.up();
                };
                // A sleeper that has its ticket already is over: it cannot be asked.
                let asked = if i == 0 { t.ask(run).is_ok() } else { t.ask_owner(run).is_ok() };
                if asked {
                    w.asked.up();
                }
                while asked && done.get() == 0 {
                    let _ = yield_now(cx);
                }
                w.produce(cx);
                Ok::<_, ()>(())
            });
            (sleeper, asker.unwrap())
        })
        .collect();
    for (sleeper, asker) in pairs {
        sleeper.join(&mut cx).unwrap();
        asker.join(&mut cx).unwrap();
    }
    world.end(&cx);
}

fn barging() -> Schedule {
    Schedule::new().looks(0).hand_over_after(None)
}
fn impatient() -> Schedule {
    Schedule::new().looks(1).hand_over_after(Some(Duration::ZERO))
}
fn fair() -> Schedule {
    Schedule::new().looks(0).fair(true)
}

#[test]
fn eight_threads_barging() {
    check("eight threads, barging", 15, 3, || everything(false, barging()));
}
#[test]
fn eight_threads_impatient() {
    check("eight threads, impatient", 15, 5, || everything(false, impatient()));
}
#[test]
fn eight_threads_fair() {
    check("eight threads, fair", 5, 3, || everything(false, fair()));
}
#[test]
fn eight_threads_under_the_baton() {
    check("eight threads, baton", 10, 3, || everything(true, barging()));
}
#[test]
fn a_signal_ends_a_wait() {
    check("a signal ends a wait", 5, 3, || one_signal_each(false));
}
#[test]
fn a_signal_ends_a_wait_under_the_baton() {
    check("a signal ends a wait, baton", 5, 3, || one_signal_each(true));
}
#[test]
fn a_sleeper_answers() {
    check("a sleeper answers", 5, 3, || sleepers_answer(false));
}
#[test]
fn a_sleeper_answers_under_the_baton() {
    check("a sleeper answers, baton", 5, 3, || sleepers_answer(true));
}
#[test]
fn shutdown() {
    check("shutdown", 5, 3, || stop(false));
}
#[test]
fn shutdown_under_the_baton() {
    check("shutdown, baton", 5, 3, || stop(true));
}
#[test]
fn five_threads_one_mutex_barging() {
    check("five threads, one mutex, barging", 5, 4, || mutex_only(barging()));
}
#[test]
fn five_threads_one_mutex_impatient() {
    check("five threads, one mutex, impatient", 10, 4, || mutex_only(impatient()));
}
#[test]
fn five_threads_one_mutex_fair() {
    check("five threads, one mutex, fair", 10, 4, || mutex_only(fair()));
}
