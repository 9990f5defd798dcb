//! Every misuse gets its typed error, or the panic that the documentation names, and the object works afterwards.

mod scene;

use scene::*;
use selvedge::*;
use std::any::Any;
use std::collections::VecDeque;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

fn guard_time() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// The mutex is free, nobody queues, and it locks, recursively too.
#[track_caller]
fn works<C: Context>(m: &Mutex, cx: &mut C) {
    assert!(m.owner().is_none(), "{m:?}");
    assert_eq!(m.waiters(), 0);
    {
        let _a = m.lock(cx).unwrap();
        let _b = m.lock_until(cx, far()).unwrap();
        let _c = m.try_lock(cx.me()).unwrap();
        assert_eq!(m.depth(cx.me()), 3);
    }
    assert!(m.owner().is_none());
}

fn add(n: &AtomicU32) {
    n.fetch_add(1, SeqCst);
}
fn ignore<T>(_: T) {}

/// A panic without the hook's message.
fn quiet_panic(message: &'static str) -> ! {
    resume_unwind(Box::new(message))
}
fn message(panic: Box<dyn Any + Send>) -> &'static str {
    panic.downcast_ref::<&'static str>().copied().unwrap_or("another panic")
}

/// Panics when it is dropped, once armed.
#[derive(Debug)]
struct Bomb(Arc<AtomicBool>);
impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0.load(SeqCst) && !std::thread::panicking() {
            self.0.store(false, SeqCst);
            quiet_panic("bomb");
        }
    }
}
fn armed() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(true))
}

// ---- ownership

#[test]
fn release_by_a_stranger_names_both() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::new());
        let main = cx.id();
        let held = m.lock(&mut cx).unwrap();
        let m2 = m.clone();
        let h = vm.spawn("stranger", move |cx| {
            let e = m2.release(cx).unwrap_err();
            assert_eq!(e, NotOwner { caller: cx.id(), owner: Some(main) });
            assert_eq!(
                e.to_string(),
                format!("thread {} does not own the mutex: thread {main} does", cx.id())
            );
            assert_eq!(m2.depth(cx), 0);
            Ok::<_, ()>(())
        });
        h.unwrap().join(&mut cx).unwrap();
        assert_eq!(m.depth(&cx), 1);
        drop(held);
        works(&m, &mut cx);
    });
}

#[test]
fn release_twice() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = Mutex::new();
        let nobody = NotOwner { caller: cx.id(), owner: None };
        assert_eq!(m.release(&cx), Err(nobody));
        m.acquire(&mut cx).unwrap();
        m.acquire(&mut cx).unwrap();
        m.release(&cx).unwrap();
        m.release(&cx).unwrap();
        assert_eq!(m.release(&cx), Err(nobody));
        assert_eq!(m.release(&cx), Err(nobody));
        works(&m, &mut cx);
    });
}

#[test]
fn wait_and_notify_without_the_mutex() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::new());
        let c = Arc::new(Condvar::new(m.clone()));
        let nobody = NotOwner { caller: cx.id(), owner: None };
        assert_eq!(c.wait(&mut cx), Err(WaitError::NotOwner(nobody)));
        assert_eq!(c.wait_until(&mut cx, far()), Err(WaitError::NotOwner(nobody)));
        assert_eq!(c.notify_one(&cx), Err(nobody));
        assert_eq!(c.notify_all(&cx), Err(nobody));

        // A stranger is refused too, and no waiter moves.
        let c2 = c.clone();
        let waiter = vm.spawn("waiter", move |cx| {
            let _held = c2.mutex().lock(cx).unwrap();
            c2.wait(cx)
        });
        let waiter = waiter.unwrap();
        until(&mut cx, "waits", || c.waiters() == 1);
        until(&mut cx, "released", || c.mutex().owner().is_none());
        assert_eq!(c.notify_one(&cx), Err(nobody));
        assert_eq!(c.notify_all(&cx), Err(nobody));
        assert_eq!(c.waiters(), 1);
        let held = m.lock(&mut cx).unwrap();
        assert_eq!(c.notify_all(&cx), Ok(1));
        drop(held);
        waiter.join(&mut cx).unwrap();
        works(&m, &mut cx);
    });
}

#[test]
fn an_error_of_a_wait_leaves_the_depth() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let c = Condvar::new(m);
        for depth in 1..=3 {
            m.acquire(&mut cx).unwrap();
            assert_eq!(c.wait_until(&mut cx, Instant::now()), Err(WaitError::TimedOut));
            assert_eq!(m.depth(&cx), depth);
            let refused = no_blocking(&mut cx, |cx| c.wait(cx));
            assert_eq!(refused, Err(WaitError::WouldBlock));
            assert_eq!(m.depth(&cx), depth);
        }
        for _ in 0..3 {
            m.release(&cx).unwrap();
        }
        works(m, &mut cx);
    });
}

/// Depth overflow needs a mutex that is held 2^32 - 1 times: a unit test of the room sets that.
#[test]
fn depth_overflow_has_a_unit_test() {
    assert_eq!(LockError::Overflow.to_string(), "the mutex is held too many times");
    assert_eq!(TryLockError::Overflow.to_string(), "the mutex is held too many times");
}

// ---- threads

#[test]
fn join_of_oneself() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let me = cx.thread().clone();
        assert_eq!(me.join(&mut cx).unwrap_err(), JoinError::Yourself(me.id()));
        assert_eq!(me.join_until(&mut cx, far()).unwrap_err(), JoinError::Yourself(me.id()));
        assert!(me.exit().is_none() && me.is_alive());
        let h = vm.spawn("self", |cx| {
            let me = cx.thread().clone();
            Ok::<_, ()>(me.join(cx).unwrap_err() == JoinError::Yourself(me.id()))
        });
        assert!(h.unwrap().join(&mut cx).unwrap());
    });
}

#[test]
fn what_the_dead_are_sent_comes_back() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let h = vm.spawn("short", |_| Unit::Ok(())).unwrap();
        h.join(&mut cx).unwrap();
        let payload = Box::new(17);
        match h.signal(&cx, payload) {
            Err(SignalError::Dead(p)) => assert_eq!(*p, 17),
            other => panic!("{other:?}"),
        }
        assert_eq!(h.signal(&cx, "x").unwrap_err().into_inner(), "x");
        let ran = Arc::new(AtomicU32::new(0));
        let r = ran.clone();
        let back = h.ask(move || add(&r)).unwrap_err();
        assert_eq!(ran.load(SeqCst), 0);
        back.into_inner()();
        assert_eq!(ran.load(SeqCst), 1);
        let r = ran.clone();
        assert!(h.ask_owner(move || add(&r)).is_err());
        assert_eq!(ran.load(SeqCst), 1);
        h.poke();
        assert_eq!(h.undelivered(), 0);
        assert!(h.take_undelivered().is_none());
        assert!(h.blocker().is_none());
        assert!(!h.is_alive());
    });
}

#[test]
fn signals_to_a_main_thread_that_is_over_come_back() {
    struct Count(AtomicU32);
    impl Host for &'static Count {
        fn main_signal(&self, _: &Thread, _: Signal) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    static COUNT: Count = Count(AtomicU32::new(0));
    guarded(|| {
        let vm = Runtime::builder().host(&COUNT).build();
        let main = vm.attach("main").unwrap();
        let dead = main.thread().clone();
        let vm2 = vm.clone();
        std::thread::spawn(move || {
            let other = vm2.attach("other").unwrap();
            assert_eq!(dead.signal(&other, 1), Ok(Delivery::Host));
            dead
        })
        .join()
        .map(|dead| {
            drop(main);
            let cx = vm.attach("again").unwrap();
            assert!(!cx.thread().is_main() && vm.main_thread().is_none());
            assert_eq!(dead.signal(&cx, 2), Err(SignalError::Dead(2)));
            assert_eq!(COUNT.0.load(SeqCst), 1);
        })
        .unwrap();
    });
}

#[test]
fn a_signal_to_oneself_comes_back_to_be_raised() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let me = cx.thread().clone();
        assert_eq!(me.signal(&cx, 5), Ok(Delivery::Own(5)));
        assert!(!cx.has_signal() && cx.take_signal().is_none());
        assert!(safe_point(&mut cx).is_quiet());
        let h = vm.spawn("own", |cx| {
            let me = cx.thread().clone();
            assert_eq!(me.signal(cx, "e"), Ok(Delivery::Own("e")));
            assert_eq!(me.undelivered(), 0);
            sleep_until(cx, Instant::now())
        });
        h.unwrap().join(&mut cx).unwrap();
    });
}

#[test]
fn attach_twice() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let twice = AttachError::AlreadyAttached(vm.id());
        assert_eq!(vm.attach("twice").unwrap_err(), twice);
        let vm2 = vm.clone();
        let h = vm.spawn("spawned", move |_| {
            Ok::<_, ()>(vm2.attach("twice").unwrap_err() == AttachError::AlreadyAttached(vm2.id()))
        });
        assert!(h.unwrap().join(&mut cx).unwrap());
        assert_eq!(vm.all_threads().len(), 1);
        drop(cx);
        let cx = vm.attach("again").unwrap();
        assert_eq!(vm.all_threads(), [cx.thread().clone()]);
    });
}

#[test]
fn names_and_labels_may_be_odd() {
    both(|vm| {
        let mut cx = vm.attach("a\0b").unwrap();
        assert_eq!(cx.thread().name(), Some("a\0b"));
        for name in ["", "\0", "nul\0inside", "\u{1f980}", &"long".repeat(1000)] {
            let h = vm.spawn(name, |cx| Ok::<_, ()>(cx.thread().name().unwrap().len())).unwrap();
            assert_eq!(h.join(&mut cx).unwrap(), name.len());
            assert_eq!(h.name(), Some(name));
            let m = Mutex::named(name);
            assert_eq!(m.name(), Some(name));
            works(&m, &mut cx);
        }
    });
}

#[test]
fn the_systems_refusal_of_a_thread_leaves_nothing() {
    guarded(|| {
        let vm = Runtime::builder().stack_size(1 << 60).build();
        let cx = vm.attach("main").unwrap();
        let kept = Arc::new(());
        let k = kept.clone();
        let refused = vm.spawn("huge", move |_| {
            drop(k);
            Unit::Ok(())
        });
        assert!(matches!(refused, Err(SpawnError::Os(_))), "{refused:?}");
        assert_eq!(vm.all_threads(), [cx.thread().clone()]);
        assert_eq!(Arc::strong_count(&kept), 1);
    });
}

/// A thread that the system refused was listed for a moment: who got hold of it can join it.
#[test]
fn a_thread_that_never_was_can_be_joined() {
    guarded(|| {
        let vm = Runtime::builder().stack_size(1 << 60).build();
        let mut cx = vm.attach("main").unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let (vm2, d) = (vm.clone(), done.clone());
        let spawner = std::thread::spawn(move || {
            for _ in 0..200_000 {
                if d.load(SeqCst) {
                    break;
                }
                assert!(vm2.spawn("ghost", |_| Unit::Ok(())).is_err());
            }
            d.store(true, SeqCst);
        });
        let ghost = loop {
            let ghost = vm.all_threads().into_iter().find(|t| t.name() == Some("ghost"));
            if ghost.is_some() || done.load(SeqCst) {
                break ghost;
            }
        };
        done.store(true, SeqCst);
        spawner.join().unwrap();
        let ghost = ghost.expect("it was seen in none of 200,000 moments");
        assert!(!ghost.is_alive());
        let end = Instant::now() + Duration::from_secs(2);
        ghost.join_until(&mut cx, end).expect("a thread that is not alive is over");
    });
}

// ---- the owner is gone

#[test]
fn a_lock_of_the_dead_is_refused() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::named("orphan"));
        let m2 = m.clone();
        let dead = vm.spawn("dead", move |cx| {
            m2.acquire(cx).unwrap();
            m2.acquire(cx).map_err(drop)
        });
        let dead = dead.unwrap();
        dead.join(&mut cx).unwrap();
        let owner = m.owner().unwrap();
        assert_eq!((owner.id(), owner.is_alive()), (dead.id(), false));
        let e = NotOwner { caller: cx.id(), owner: Some(dead.id()) };
        assert_eq!(m.release(&cx), Err(e));
        let died = LockError::OwnerDied(dead.id());
        assert_eq!(m.try_lock(&cx).unwrap_err(), TryLockError::OwnerDied(dead.id()));
        assert_eq!(m.lock(&mut cx).unwrap_err(), died);
        assert_eq!(m.lock_until(&mut cx, soon()).unwrap_err(), died);
        assert_eq!(m.acquire_until(&mut cx, Instant::now()), Err(died.clone()));
        // It takes no wait to find out.
        assert_eq!(no_blocking(&mut cx, |cx| m.lock(cx).unwrap_err()), died);
        assert_eq!(m.waiters(), 0);
        assert!(!m.owner().unwrap().is_alive());
    });
}

#[test]
fn a_guard_that_outlives_its_thread_does_nothing() {
    both(|vm| {
        let m = Mutex::new();
        let mut cx = vm.attach("first").unwrap();
        let first = cx.id();
        let g = m.lock(&mut cx).unwrap();
        let g2 = m.lock(&mut cx).unwrap();
        drop(cx);
        drop(g2);
        assert_eq!(m.owner().map(|o| (o.id(), o.is_alive())), Some((first, false)));
        let mut cx = vm.attach("second").unwrap();
        assert_ne!(cx.id(), first);
        drop(g);
        assert_eq!(m.owner().map(|o| o.id()), Some(first));
        assert_eq!(m.lock(&mut cx).unwrap_err(), LockError::OwnerDied(first));
    });
}

/// The same slot, the same mutex, another thread: the old guard's level was given back by hand.
#[test]
fn a_guard_left_over_is_no_guard_of_the_slots_next_thread() {
    guarded(|| {
        let vm = Runtime::new();
        let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let mut cx = vm.attach("first").unwrap();
        let left_over = m.lock(&mut cx).unwrap();
        m.release(&cx).unwrap();
        let slot = cx.id().get() & 0xff_ffff;
        drop(cx);
        // Others use slots at the same time: whoever gets this one locks the mutex.
        let (tx, rx) = mpsc::channel();
        let keep: Vec<_> = (0..64)
            .map(|_| {
                let (vm, tx, (go, gone)) = (vm.clone(), tx.clone(), mpsc::channel::<()>());
                let t = std::thread::spawn(move || {
                    let mut cx = vm.attach("next").unwrap();
                    if cx.id().get() & 0xff_ffff == slot {
                        m.acquire(&mut cx).unwrap();
                        tx.send(true).unwrap();
                        gone.recv().unwrap();
                        assert_eq!(m.depth(&cx), 1, "a stranger's guard took the level");
                        m.release(&cx).unwrap();
                    } else {
                        tx.send(false).unwrap();
                        gone.recv().unwrap();
                    }
                });
                (t, go)
            })
            .collect();
        let hits = (0..64).filter(|_| rx.recv().unwrap()).count();
        drop(left_over);
        let owned = m.owner().is_some();
        for (t, go) in keep {
            go.send(()).unwrap();
            t.join().unwrap();
        }
        assert!(hits <= 1 && (hits == 0 || owned));
    });
}

/// The same, after the mutex was lost.
#[test]
fn a_guard_of_a_lost_mutex_is_no_guard_of_the_slots_next_thread() {
    guarded(|| {
        let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let vm = Runtime::new();
        let (tx, rx) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let vm2 = vm.clone();
        // Not dropped before the slot's next thread holds the mutex.
        let first = std::thread::spawn(move || {
            let mut cx = vm2.attach("first").unwrap();
            let slot = cx.id().get() & 0xff_ffff;
            let left_over = m.lock(&mut cx).unwrap();
            let c = Condvar::new(m);
            assert_eq!(c.wait(&mut cx), Err(WaitError::Lost(Loss::ShutDown)));
            drop(cx);
            tx.send(slot).unwrap();
            gone.recv().unwrap();
            drop(left_over);
        });
        let cx = vm.attach("stopper").unwrap();
        while vm.all_threads().iter().all(|t| t.blocker().is_none()) {
            std::thread::yield_now();
        }
        vm.shutdown(&cx);
        let slot = rx.recv().unwrap();
        let vm = Runtime::new();
        let mut next: Vec<_> = Vec::new();
        let mut hit = None;
        while hit.is_none() && next.len() < 64 {
            let (tx, rx) = mpsc::channel();
            let (go, gone) = mpsc::channel::<()>();
            let vm = vm.clone();
            let t = std::thread::spawn(move || {
                let mut cx = vm.attach("next").unwrap();
                let mine = cx.id().get() & 0xff_ffff == slot;
                if mine {
                    m.acquire(&mut cx).unwrap();
                }
                tx.send(mine).unwrap();
                gone.recv().unwrap();
                if mine {
                    assert_eq!(m.depth(&cx), 1, "a stranger's guard took the level");
                }
            });
            if rx.recv().unwrap() {
                hit = Some(next.len());
            }
            next.push((t, go));
        }
        go.send(()).unwrap();
        first.join().unwrap();
        for (t, go) in next {
            go.send(()).unwrap();
            t.join().unwrap();
        }
    });
}

#[test]
fn guards_of_a_lost_mutex_do_nothing_though_it_is_locked_again() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let other: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let h = vm.spawn("loser", move |cx| {
            let c = Condvar::new(m);
            let of_another = other.lock(cx).unwrap();
            let g1 = m.lock(cx).unwrap();
            let g2 = m.lock(cx).unwrap();
            assert_eq!(c.wait(cx), Err(WaitError::Lost(Loss::ShutDown)));
            assert_eq!((m.depth(cx), m.is_owner(cx)), (0, false));
            let g3 = m.lock(cx).unwrap();
            drop(g1);
            assert_eq!(m.depth(cx), 1);
            let g4 = m.try_lock(cx).unwrap();
            drop(g2);
            assert_eq!(m.depth(cx), 2);
            assert_eq!(c.wait(cx), Err(WaitError::ShutDown));
            assert_eq!(m.depth(cx), 2, "a wait that did not begin leaves the levels");
            drop((g3, g4));
            assert_eq!(m.depth(cx), 0);
            drop(of_another);
            assert!(other.owner().is_none(), "the loss of one mutex voids no guard of another");
            Unit::Ok(())
        });
        let h = h.unwrap();
        until_blocked(&mut cx, &h, BlockerKind::Condvar);
        vm.shutdown(&cx);
        h.join(&mut cx).unwrap();
        works(m, &mut cx);
        works(other, &mut cx);
    });
}

#[test]
fn a_guard_dropped_by_unwinding_gives_its_level_back() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::new());
        let outer = m.lock(&mut cx).unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _inner = Mutex::lock_owned(m.clone(), &mut cx).unwrap();
            let _more = m.lock(&mut cx).unwrap();
            quiet_panic("under the lock")
        }));
        assert_eq!(message(caught.unwrap_err()), "under the lock");
        assert_eq!(m.depth(&cx), 1);
        drop(outer);
        assert_eq!(Arc::strong_count(&m), 1);
        let m2 = m.clone();
        let h = vm.spawn("dies holding", move |cx| -> Unit {
            let _held = m2.lock(cx).unwrap();
            quiet_panic("in a thread")
        });
        match h.unwrap().join(&mut cx) {
            Err(JoinFailure::Panicked(p)) => assert_eq!(p.message(), "in a thread"),
            other => panic!("{other:?}"),
        }
        works(&m, &mut cx);
    });
}

// ---- after shutdown

#[test]
fn use_after_shutdown() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let taken: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        taken.acquire(&mut cx).unwrap();
        let go = Arc::new(AtomicBool::new(false));
        let (g, main, vm2) = (go.clone(), cx.thread().clone(), vm.clone());
        let h = vm.spawn("stopped", move |cx| {
            until(cx, "go", || g.load(SeqCst));
            assert!(vm2.is_shut_down());
            for _ in 0..2 {
                let polled = safe_point(cx);
                assert!(polled.shut_down() && !polled.is_quiet() && !polled.signal());
                assert!(yield_now(cx).shut_down());
            }
            let c = Condvar::new(m);
            assert_eq!(taken.lock(cx).unwrap_err(), LockError::ShutDown);
            assert_eq!(taken.lock_until(cx, far()).unwrap_err(), LockError::ShutDown);
            assert_eq!(taken.try_lock(cx).unwrap_err(), TryLockError::Taken);
            assert_eq!(sleep_until(cx, far()), Err(SleepError::ShutDown));
            assert_eq!(main.join(cx).unwrap_err(), JoinError::ShutDown);
            let held = m.lock(cx).unwrap();
            assert_eq!(c.wait(cx), Err(WaitError::ShutDown));
            assert_eq!(uninterruptible(cx, |cx| c.wait(cx)), Err(WaitError::ShutDown));
            assert_eq!(m.depth(cx), 1);
            drop(held);
            assert_eq!(vm2.attach("x").unwrap_err(), AttachError::ShutDown);
            assert!(matches!(vm2.spawn("x", |_| Unit::Ok(())), Err(SpawnError::ShutDown)));
            assert_eq!(
                outside(cx, |o| o.inside(|cx| sleep_until(cx, far()))),
                Err(SleepError::ShutDown)
            );
            Unit::Ok(())
        });
        let h = h.unwrap();
        assert!(!vm.is_shut_down());
        vm.shutdown(&cx);
        vm.shutdown(&cx);
        go.store(true, SeqCst);
        assert!(matches!(vm.spawn("x", |_| Unit::Ok(())), Err(SpawnError::ShutDown)));
        // Who stops the others may itself still wait.
        sleep_until(&mut cx, Instant::now()).unwrap();
        assert!(!safe_point(&mut cx).shut_down());
        h.join(&mut cx).unwrap();
        h.join(&mut cx).unwrap();
        taken.release(&cx).unwrap();
        works(m, &mut cx);
        works(taken, &mut cx);
        assert_eq!(vm.all_threads().len(), 1);
    });
}

// ---- two runtimes

#[test]
fn two_runtimes_do_not_wait_for_each_other() {
    guarded(|| {
        let (a, b) = (Runtime::new(), Runtime::new());
        assert_ne!(a.id(), b.id());
        let mut ca = a.attach("in a").unwrap();
        let mut cb = b.attach("in b").unwrap();
        let (mine, theirs) = (a.id(), b.id());

        let e = JoinError::ForeignRuntime { mine, theirs };
        assert_eq!(cb.thread().join(&mut ca).unwrap_err(), e);
        assert_eq!(cb.thread().join_until(&mut ca, far()).unwrap_err(), e);
        match cb.thread().signal(&ca, String::from("p")) {
            Err(SignalError::ForeignRuntime { payload, mine: m, theirs: t }) => {
                assert_eq!((payload.as_str(), m, t), ("p", mine, theirs));
            }
            other => panic!("{other:?}"),
        }
        assert!(!cb.has_signal());

        let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let c = Condvar::new(m);
        m.acquire(&mut cb).unwrap();
        let owner = cb.id();
        let e = LockError::ForeignRuntime { owner, mine, theirs };
        assert_eq!(m.lock(&mut ca).unwrap_err(), e);
        assert_eq!(m.lock_until(&mut ca, far()).unwrap_err(), e);
        assert_eq!(m.try_lock(&ca).unwrap_err(), TryLockError::Taken);
        let e = NotOwner { caller: ca.id(), owner: Some(owner) };
        assert_eq!(m.release(&ca), Err(e));
        assert_eq!(c.wait(&mut ca), Err(WaitError::NotOwner(e)));
        assert_eq!(c.notify_all(&ca), Err(e));
        assert_eq!((m.depth(&ca), m.depth(&cb)), (0, 1));
        m.release(&cb).unwrap();
        works(m, &mut ca);
        works(m, &mut cb);

        // A thread of `b` that is over is still foreign, and so is its mutex.
        let h = b.spawn("over", move |cx| m.acquire(cx)).unwrap();
        h.join(&mut cb).unwrap();
        let e = JoinError::ForeignRuntime { mine, theirs };
        assert_eq!(h.thread().join(&mut ca).unwrap_err(), e);
        assert!(h.exit().unwrap().is_ok());
        // Whose it was is known until its record is used again.
        let e = m.lock_until(&mut ca, soon()).unwrap_err();
        let owner = h.id();
        let foreign = LockError::ForeignRuntime { owner, mine, theirs };
        assert!(e == foreign || e == LockError::TimedOut, "{e:?}");
    });
}

/// A waiter of one runtime that finds the mutex taken by the other one's thread gives up, and the next waiter is woken.
#[test]
fn a_queue_of_two_runtimes_loses_no_wake_up() {
    guarded(|| {
        let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let n = Arc::new(AtomicU32::new(0));
        let work = |vm: &Runtime, n: &Arc<AtomicU32>| {
            let n = n.clone();
            vm.spawn("worker", move |cx| {
                let mut refused = 0u32;
                for _ in 0..2_000 {
                    match m.lock(cx) {
                        Ok(_held) => add(&n),
                        Err(LockError::ForeignRuntime { .. }) => refused += 1,
                        Err(e) => return Err(e),
                    }
                }
                Ok(refused)
            })
            .unwrap()
        };
        let (a, b) = (Runtime::new(), Runtime::new());
        let (mut ca, mut cb) = (a.attach("a").unwrap(), b.attach("b").unwrap());
        let in_a: Vec<_> = (0..3).map(|_| work(&a, &n)).collect();
        let in_b: Vec<_> = (0..3).map(|_| work(&b, &n)).collect();
        let mut refused = 0;
        for h in in_a {
            refused += h.join(&mut ca).unwrap();
        }
        for h in in_b {
            refused += h.join(&mut cb).unwrap();
        }
        assert_eq!(n.load(SeqCst) + refused, 12_000);
        works(m, &mut ca);
    });
}

#[test]
fn a_condition_variable_of_two_runtimes() {
    guarded(|| {
        let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let c: &'static Condvar<&Mutex> = Box::leak(Box::new(Condvar::new(m)));
        let (a, b) = (Runtime::new(), baton());
        let mut ca = a.attach("a").unwrap();
        let waits = |vm: &Runtime| {
            let h = vm.spawn("waits", move |cx| {
                let _held = m.lock(cx).unwrap();
                c.wait(cx)
            });
            h.unwrap()
        };
        let (ha, hb) = (waits(&a), waits(&b));
        until(&mut ca, "two wait", || c.waiters() == 2 && m.owner().is_none());
        let held = m.lock(&mut ca).unwrap();
        assert_eq!(c.notify_all(&ca), Ok(2));
        drop(held);
        ha.join(&mut ca).unwrap();
        until(&mut ca, "over", || hb.exit().is_some());
        assert!(hb.exit().unwrap().is_ok());
        works(m, &mut ca);
    });
}

// ---- where waiting is refused

/// A context whose hooks run what a test puts in.
type Job = Box<dyn FnMut(&mut Participant)>;
struct Hooked {
    me: Participant,
    before: VecDeque<Job>,
    after: VecDeque<Job>,
    serve: VecDeque<Job>,
    calls: [u32; 3],
}
impl Hooked {
    fn new(me: Participant) -> Self {
        let none = VecDeque::new;
        Self { me, before: none(), after: none(), serve: none(), calls: [0; 3] }
    }
    fn run(&mut self, which: usize) {
        self.calls[which] += 1;
        let jobs = [&mut self.before, &mut self.after, &mut self.serve];
        let job = jobs.into_iter().nth(which).unwrap().pop_front();
        if let Some(mut job) = job {
            job(&mut self.me);
        }
    }
    fn hook(&mut self, which: usize, f: impl FnMut(&mut Participant) + 'static) {
        let jobs = [&mut self.before, &mut self.after, &mut self.serve];
        jobs.into_iter().nth(which).unwrap().push_back(Box::new(f));
    }
}
const BEFORE: usize = 0;
const AFTER: usize = 1;
const SERVE: usize = 2;
impl Context for Hooked {
    fn me(&self) -> &Participant {
        &self.me
    }
    fn me_mut(&mut self) -> &mut Participant {
        &mut self.me
    }
    fn before_block(&mut self, _: &Blocker) {
        self.run(BEFORE);
    }
    fn after_block(&mut self) {
        self.run(AFTER);
    }
    fn serve(&mut self) {
        self.run(SERVE);
    }
}

/// Tries each kind of wait where none is allowed.
fn every_wait_is_refused(cx: &mut Participant, taken: &'static Mutex, other: &Thread) {
    let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
    let c = Condvar::new(m);
    assert_eq!(taken.lock(cx).unwrap_err(), LockError::WouldBlock);
    assert_eq!(taken.lock_until(cx, far()).unwrap_err(), LockError::WouldBlock);
    assert_eq!(taken.acquire(cx), Err(LockError::WouldBlock));
    assert_eq!(taken.acquire_until(cx, far()), Err(LockError::WouldBlock));
    assert_eq!(Mutex::lock_owned(taken, cx).unwrap_err(), LockError::WouldBlock);
    assert_eq!(sleep_until(cx, far()), Err(SleepError::WouldBlock));
    assert_eq!(sleep_until(cx, Instant::now()), Err(SleepError::WouldBlock));
    assert_eq!(other.join(cx).unwrap_err(), JoinError::WouldBlock);
    assert_eq!(other.join_until(cx, far()).unwrap_err(), JoinError::WouldBlock);
    // What need not wait works, and a condition-wait keeps the mutex.
    let held = m.lock(cx).unwrap();
    assert_eq!(c.wait(cx), Err(WaitError::WouldBlock));
    assert_eq!(c.wait_until(cx, far()), Err(WaitError::WouldBlock));
    assert_eq!(uninterruptible(cx, |cx| c.wait(cx)), Err(WaitError::WouldBlock));
    assert_eq!(m.depth(cx), 1);
    assert_eq!(c.notify_all(cx), Ok(0));
    drop(held);
    let _ = yield_now(cx);
    let _ = safe_point(cx);
    works(m, cx);
}

/// A thread that holds `m` until it is told to go on.
fn holder(vm: &Runtime, m: &'static Mutex) -> (JoinHandle<(), ()>, Arc<AtomicBool>) {
    let go = Arc::new(AtomicBool::new(false));
    let g = go.clone();
    let h = vm.spawn("holder", move |cx| {
        let _held = m.lock(cx).unwrap();
        until(cx, "told to go on", || g.load(SeqCst));
        Unit::Ok(())
    });
    (h.unwrap(), go)
}

#[test]
fn every_wait_in_a_no_blocking_scope() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let taken: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let (h, go) = holder(&vm, taken);
        until(&mut cx, "held", || taken.owner().is_some());
        no_blocking(&mut cx, |cx| {
            every_wait_is_refused(cx, taken, &h);
            no_blocking(cx, |cx| every_wait_is_refused(cx, taken, &h));
            every_wait_is_refused(cx, taken, &h);
        });
        let caught = catch_unwind(AssertUnwindSafe(|| {
            no_blocking(&mut cx, |_| quiet_panic("in the scope"));
        }));
        assert_eq!(message(caught.unwrap_err()), "in the scope");
        go.store(true, SeqCst);
        h.join(&mut cx).unwrap();
        // A thread that is over is joined also where waiting is refused.
        assert!(no_blocking(&mut cx, |cx| h.thread().join(cx)).unwrap().is_ok());
        works(taken, &mut cx);
    });
}

#[test]
fn every_wait_in_either_hook_of_every_wait() {
    both(|vm| {
        let mut cx = Hooked::new(vm.attach("main").unwrap());
        let taken: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let c = Condvar::new(m);
        let (h, go) = holder(&vm, taken);
        until(&mut cx, "held", || taken.owner().is_some());
        let ran = Arc::new(AtomicU32::new(0));
        let runs = ran.clone();
        let both_hooks = |cx: &mut Hooked| {
            for which in [BEFORE, AFTER] {
                let (h, runs) = (h.thread().clone(), runs.clone());
                cx.hook(which, move |me| {
                    every_wait_is_refused(me, taken, &h);
                    runs.fetch_add(1, SeqCst);
                });
            }
        };
        both_hooks(&mut cx);
        assert_eq!(taken.lock_until(&mut cx, soon()).unwrap_err(), LockError::TimedOut);
        assert_eq!(ran.load(SeqCst), 2);
        both_hooks(&mut cx);
        assert_eq!(h.thread().join_until(&mut cx, soon()).unwrap_err(), JoinError::TimedOut);
        assert_eq!(ran.load(SeqCst), 4);
        both_hooks(&mut cx);
        sleep_until(&mut cx, soon()).unwrap();
        assert_eq!(ran.load(SeqCst), 6);
        let held = m.lock(&mut cx).unwrap();
        both_hooks(&mut cx);
        assert_eq!(c.wait_until(&mut cx, soon()), Err(WaitError::TimedOut));
        assert_eq!(ran.load(SeqCst), 8);
        drop(held);
        if vm.is_baton() {
            both_hooks(&mut cx);
            let _ = yield_now(&mut cx);
            assert_eq!(ran.load(SeqCst), 10);
        }
        assert_eq!(cx.calls[BEFORE], cx.calls[AFTER]);
        go.store(true, SeqCst);
        h.join(&mut cx).unwrap();
        works(taken, &mut cx);
        works(m, &mut cx);
    });
}

// ---- hooks that panic, or do what they should not

#[test]
fn a_hook_that_panics_leaves_no_level_and_no_mark() {
    both(|vm| {
        let mut cx = Hooked::new(vm.attach("main").unwrap());
        let taken: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let c = Condvar::new(m);
        let (h, go) = holder(&vm, taken);
        until(&mut cx, "held", || taken.owner().is_some());
        let boom = |cx: &mut Hooked, which: usize, f: &mut dyn FnMut(&mut Hooked)| {
            cx.hook(which, |_| quiet_panic("hook"));
            let caught = catch_unwind(AssertUnwindSafe(|| f(cx)));
            assert_eq!(message(caught.unwrap_err()), "hook");
            assert!(cx.me.thread().blocker().is_none());
            // The mask is restored: a wait is allowed again.
            sleep_until(cx, Instant::now()).unwrap();
        };
        for which in [BEFORE, AFTER] {
            boom(&mut cx, which, &mut |cx| drop(taken.lock_until(cx, soon())));
            assert_eq!(taken.depth(&cx.me), 0);
            boom(&mut cx, which, &mut |cx| drop(h.thread().join_until(cx, soon())));
            boom(&mut cx, which, &mut |cx| ignore(sleep_until(cx, soon())));
            let held = m.lock(&mut cx).unwrap();
            let again = m.lock(&mut cx).unwrap();
            boom(&mut cx, which, &mut |cx| ignore(c.wait_until(cx, soon())));
            assert_eq!(m.depth(&cx.me), 2, "a hook's panic leaves the depth");
            assert_eq!(c.waiters(), 0);
            drop((held, again));
            works(m, &mut cx);
            if vm.is_baton() {
                boom(&mut cx, which, &mut |cx| ignore(yield_now(cx)));
            }
        }
        go.store(true, SeqCst);
        h.join(&mut cx).unwrap();
        works(taken, &mut cx);
    });
}

#[test]
fn after_block_that_panics_when_the_lock_was_won() {
    both(|vm| {
        let mut cx = Hooked::new(vm.attach("main").unwrap());
        let taken: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let (h, go) = holder(&vm, taken);
        until(&mut cx, "held", || taken.owner().is_some());
        cx.hook(BEFORE, move |_| go.store(true, SeqCst));
        cx.hook(AFTER, |_| quiet_panic("hook"));
        let caught = catch_unwind(AssertUnwindSafe(|| drop(taken.lock(&mut cx))));
        assert_eq!(message(caught.unwrap_err()), "hook");
        works(taken, &mut cx);
        h.join(&mut cx).unwrap();
    });
}

fn both_abandoning(f: fn(Runtime)) {
    for baton in [false, true] {
        let vm = Runtime::builder().baton(baton).owner_death(OwnerDeath::Abandon).build();
        guarded(move || f(vm));
    }
}

/// Who inherits a mutex and panics before it is told of that leaves it to the next one, who is told: a thread that comes
/// later, or one that queued meanwhile.
#[test]
fn after_block_that_panics_when_the_mutex_was_inherited() {
    both_abandoning(|vm| {
        let mut cx = Hooked::new(vm.attach("main").unwrap());
        let m = leaked();
        for queued in [false, true] {
            let dead = vm.spawn("dead", move |cx| {
                m.acquire(cx).unwrap();
                until(cx, "somebody waits", || m.waiters() == 1);
                Unit::Ok(())
            });
            let dead = dead.unwrap();
            until(&mut cx, "held", || m.owner().is_some());
            let late = Arc::new(OnceLock::new());
            let (vm2, l) = (vm.clone(), late.clone());
            cx.hook(AFTER, move |me| {
                if queued {
                    let h = vm2.spawn("late", |cx| Ok::<_, ()>(m.lock(cx).unwrap().abandoned_by()));
                    l.set(h.unwrap()).unwrap();
                    until(me, "it queues", || m.waiters() == 1);
                }
                quiet_panic("hook")
            });
            let caught = catch_unwind(AssertUnwindSafe(|| drop(m.lock(&mut cx))));
            assert_eq!(message(caught.unwrap_err()), "hook");
            assert_eq!(m.depth(&cx.me), 0);
            let told = match late.get() {
                Some(late) => late.join(&mut cx).unwrap(),
                None => m.lock(&mut cx).unwrap().abandoned_by(),
            };
            assert_eq!(told, Some(dead.id()));
            works(m, &mut cx);
            dead.join(&mut cx).unwrap();
        }
    });
}

/// The same on the way back from a condition-wait: the guards from before it are void.
#[test]
fn after_block_that_panics_when_a_condition_wait_inherited() {
    both_abandoning(|vm| {
        let mut cx = Hooked::new(vm.attach("main").unwrap());
        let m = leaked();
        let c: &'static Condvar<&Mutex> = Box::leak(Box::new(Condvar::new(m)));
        let dead = vm.spawn("dead", |cx| {
            until(cx, "somebody waits", || c.waiters() == 1);
            m.acquire(cx).unwrap();
            assert_eq!(c.notify_one(cx), Ok(true));
            Unit::Ok(())
        });
        let dead = dead.unwrap();
        let guards = (m.lock(&mut cx).unwrap(), m.lock(&mut cx).unwrap());
        cx.hook(AFTER, |_| quiet_panic("hook"));
        let caught = catch_unwind(AssertUnwindSafe(|| ignore(c.wait(&mut cx))));
        assert_eq!(message(caught.unwrap_err()), "hook");
        assert_eq!(m.depth(&cx.me), 0);
        let later = m.lock(&mut cx).unwrap();
        assert_eq!(later.abandoned_by(), Some(dead.id()));
        drop(guards);
        assert_eq!(m.depth(&cx.me), 1, "an old guard took the level of a later lock");
        drop(later);
        works(m, &mut cx);
        dead.join(&mut cx).unwrap();
    });
}

/// Asks the thread, once it is blocked, for something that only it can do.
fn disturb(vm: &Runtime, t: Thread, kind: BlockerKind) -> JoinHandle<(), ()> {
    let h = vm.spawn("disturber", move |cx| {
        until_blocked(cx, &t, kind);
        t.ask_owner(|| ()).map_err(drop)
    });
    h.unwrap()
}

#[test]
fn serve_that_panics() {
    both(|vm| {
        let mut cx = Hooked::new(vm.attach("main").unwrap());
        let me = cx.me.thread().clone();
        let taken: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let (h, go) = holder(&vm, taken);
        until(&mut cx, "held", || taken.owner().is_some());

        // At a safe point.
        me.poke();
        cx.hook(SERVE, |_| quiet_panic("serve"));
        let caught = catch_unwind(AssertUnwindSafe(|| ignore(safe_point(&mut cx))));
        assert_eq!(message(caught.unwrap_err()), "serve");
        assert!(safe_point(&mut cx).is_quiet());

        // Between two halves of a wait.
        for which in [SERVE, AFTER, BEFORE] {
            let boom = |cx: &mut Hooked, kind, f: &mut dyn FnMut(&mut Hooked)| {
                if which == BEFORE {
                    cx.hook(BEFORE, |_| ());
                }
                cx.hook(which, |_| quiet_panic("serve"));
                let d = disturb(&vm, me.clone(), kind);
                let caught = catch_unwind(AssertUnwindSafe(|| f(cx)));
                assert_eq!(message(caught.unwrap_err()), "serve");
                assert!(cx.me.thread().blocker().is_none());
                d.join(cx).unwrap();
                let _ = safe_point(cx);
                sleep_until(cx, Instant::now()).unwrap();
            };
            boom(&mut cx, BlockerKind::Mutex, &mut |cx| drop(taken.lock_until(cx, guard_time())));
            assert_eq!((taken.depth(&cx.me), taken.waiters()), (0, 0));
            boom(&mut cx, BlockerKind::Join, &mut |cx| {
                drop(h.thread().join_until(cx, guard_time()));
            });
            boom(&mut cx, BlockerKind::Sleep, &mut |cx| ignore(sleep_until(cx, guard_time())));
        }
        go.store(true, SeqCst);
        h.join(&mut cx).unwrap();
        works(taken, &mut cx);
    });
}

/// Waiting is allowed in `serve`, even for what the interrupted wait is about.
#[test]
fn serve_that_waits() {
    both(|vm| {
        let mut cx = Hooked::new(vm.attach("main").unwrap());
        let me = cx.me.thread().clone();
        let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let c: &'static Condvar<&Mutex> = Box::leak(Box::new(Condvar::new(m)));
        let taken: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let (h, go) = holder(&vm, taken);
        until(&mut cx, "held", || taken.owner().is_some());
        let served = Arc::new(AtomicU32::new(0));
        let wait_in_serve = |cx: &mut Hooked| {
            let (served, vm) = (served.clone(), vm.clone());
            cx.hook(SERVE, move |me| {
                let held = m.lock(me).unwrap();
                let depth = m.depth(me);
                assert_eq!(c.wait_until(me, soon()), Err(WaitError::TimedOut));
                assert_eq!(m.depth(me), depth);
                drop(held);
                assert_eq!(taken.lock_until(me, soon()).unwrap_err(), LockError::TimedOut);
                let child = vm.spawn((), |_| Ok::<_, ()>(1)).unwrap();
                assert_eq!(child.join(me).unwrap(), 1);
                sleep_until(me, soon()).unwrap();
                add(&served);
            });
        };
        // A condition-wait, at depth two.
        let guards = (m.lock(&mut cx).unwrap(), m.lock(&mut cx).unwrap());
        wait_in_serve(&mut cx);
        let d = disturb(&vm, me.clone(), BlockerKind::Condvar);
        assert_eq!(
            c.wait_until(&mut cx, guard_time()),
            Ok(Acquired::default()),
            "a spurious wake-up"
        );
        assert_eq!((m.depth(&cx.me), served.load(SeqCst)), (2, 1));
        d.join(&mut cx).unwrap();
        // A lock.
        wait_in_serve(&mut cx);
        let d = disturb(&vm, me.clone(), BlockerKind::Mutex);
        let free = std::thread::spawn({
            let served = served.clone();
            move || {
                while served.load(SeqCst) < 2 {
                    std::thread::yield_now();
                }
                go.store(true, SeqCst);
            }
        });
        taken.lock_until(&mut cx, guard_time()).map(drop).unwrap();
        free.join().unwrap();
        d.join(&mut cx).unwrap();
        h.join(&mut cx).unwrap();
        let _ = safe_point(&mut cx);
        assert_eq!((m.depth(&cx.me), served.load(SeqCst)), (2, 2));
        assert_eq!(cx.calls[BEFORE], cx.calls[AFTER]);
        drop(guards);
        works(m, &mut cx);
        works(taken, &mut cx);
    });
}

/// `serve` locks the mutex of the wait and keeps a level.
#[test]
fn serve_that_keeps_the_mutex_of_the_wait() {
    both(|vm| {
        let mut cx = Hooked::new(vm.attach("main").unwrap());
        let me = cx.me.thread().clone();
        let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let c = Condvar::new(m);
        m.acquire(&mut cx).unwrap();
        cx.hook(SERVE, |me| m.acquire(me).map(drop).unwrap());
        let d = disturb(&vm, me.clone(), BlockerKind::Condvar);
        assert_eq!(c.wait_until(&mut cx, guard_time()), Ok(Acquired::default()));
        assert_eq!(m.depth(&cx.me), 2);
        m.release(&cx.me).unwrap();
        m.release(&cx.me).unwrap();
        d.join(&mut cx).unwrap();
        let _ = safe_point(&mut cx);
        works(m, &mut cx);
    });
}

/// A condition-wait that a panic leaves between its halves: either it holds the mutex, or its guards are void.
#[test]
fn serve_that_panics_in_a_condition_wait() {
    both(|vm| {
        let mut cx = Hooked::new(vm.attach("main").unwrap());
        let me = cx.me.thread().clone();
        let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let c = Condvar::new(m);
        for which in [SERVE, AFTER, BEFORE] {
            let guard = m.lock(&mut cx).unwrap();
            if which == BEFORE {
                cx.hook(BEFORE, |_| ());
            }
            cx.hook(which, |_| quiet_panic("serve"));
            let d = disturb(&vm, me.clone(), BlockerKind::Condvar);
            let caught =
                catch_unwind(AssertUnwindSafe(|| ignore(c.wait_until(&mut cx, guard_time()))));
            assert_eq!(message(caught.unwrap_err()), "serve");
            assert_eq!(c.waiters(), 0);
            if m.depth(&cx.me) == 0 {
                let later = m.lock(&mut cx).unwrap();
                drop(guard);
                assert_eq!(m.depth(&cx.me), 1, "an old guard took the level of a later lock");
                drop(later);
            } else {
                assert_eq!(m.depth(&cx.me), 1);
                drop(guard);
            }
            d.join(&mut cx).unwrap();
            let _ = safe_point(&mut cx);
            works(m, &mut cx);
        }
    });
}

/// A VM may drop its own locks before it blocks. One of them may be the one that the wait is about.
#[test]
fn before_block_that_releases_the_mutex_of_the_wait() {
    guarded(|| {
        let vm = Runtime::new();
        let mut cx = Hooked::new(vm.attach("main").unwrap());
        let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let c = Condvar::new(m);
        m.acquire(&mut cx).unwrap();
        let (locked, is_locked) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let h = vm.spawn("next owner", move |cx| {
            m.acquire(cx).unwrap();
            locked.send(()).unwrap();
            outside(cx, |_| gone.recv().unwrap());
            let depth = m.depth(cx);
            let _ = m.release(cx);
            Ok::<_, ()>(depth)
        });
        let h = h.unwrap();
        cx.hook(BEFORE, move |me| {
            m.release(me).unwrap();
            is_locked.recv().unwrap();
        });
        let end = c.wait_until(&mut cx, soon());
        let owner = m.owner().map(|o| o.id());
        go.send(()).unwrap();
        assert_eq!(h.join(&mut cx).unwrap(), 1, "the wait took a stranger's lock away");
        assert_eq!(owner, Some(h.id()));
        let e = NotOwner { caller: cx.me.id(), owner };
        assert_eq!(end, Err(WaitError::NotOwner(e)));
        works(m, &mut cx);
    });
}

/// The hook takes the mutex that the lock is about to wait for.
#[test]
fn before_block_that_locks_the_mutex_of_the_wait() {
    both(|vm| {
        let mut cx = Hooked::new(vm.attach("main").unwrap());
        let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let (h, go) = holder(&vm, m);
        until(&mut cx, "held", || m.owner().is_some());
        let t = h.thread().clone();
        cx.hook(BEFORE, move |me| {
            go.store(true, SeqCst);
            until(me, "over", || t.exit().is_some());
            assert!(m.acquire(me).is_ok());
        });
        let end = Instant::now() + Duration::from_secs(2);
        match m.acquire_until(&mut cx, end) {
            Ok(_) => {
                assert_eq!(m.depth(&cx.me), 2);
                m.release(&cx.me).unwrap();
            }
            Err(e) => panic!("a thread waited for itself: {e}"),
        }
        m.release(&cx.me).unwrap();
        works(m, &mut cx);
        h.join(&mut cx).unwrap();
    });
}

/// A handle that leads elsewhere each time must not touch a stranger's lock.
#[test]
fn a_handle_that_changes_its_target() {
    struct Wanders {
        targets: [&'static Mutex; 2],
        n: Arc<AtomicU32>,
        first: u32,
    }
    impl Deref for Wanders {
        type Target = Mutex;
        fn deref(&self) -> &Mutex {
            let n = self.n.fetch_add(1, SeqCst);
            self.targets[usize::from(n >= self.first)]
        }
    }
    guarded(|| {
        let vm = Runtime::new();
        let mut cx = vm.attach("main").unwrap();
        let mine: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let taken: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let (h, go) = holder(&vm, taken);
        until(&mut cx, "held", || taken.owner().is_some());
        for first in 0..6 {
            let n = Arc::new(AtomicU32::new(0));
            let c = Condvar::new(Wanders { targets: [mine, taken], n: n.clone(), first });
            mine.acquire(&mut cx).unwrap();
            let _ = c.notify_all(&cx);
            n.store(0, SeqCst);
            let _ = c.wait_until(&mut cx, soon());
            while mine.is_owner(&cx) {
                mine.release(&cx).unwrap();
            }
            drop(c);
            let to = Wanders { targets: [mine, taken], n, first };
            drop(no_blocking(&mut cx, |cx| Mutex::lock_owned(to, cx)));
            while mine.is_owner(&cx) {
                mine.release(&cx).unwrap();
            }
            assert_eq!(taken.owner().map(|o| o.id()), Some(h.id()), "at turn {first}");
        }
        go.store(true, SeqCst);
        h.join(&mut cx).unwrap();
        works(mine, &mut cx);
        works(taken, &mut cx);
    });
}

// ---- panics of others' code

#[test]
fn a_request_that_panics_is_raised_where_it_ran() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let me = cx.thread().clone();
        let ran = Arc::new(AtomicU32::new(0));
        let count = |ran: &Arc<AtomicU32>| {
            let ran = ran.clone();
            move || add(&ran)
        };

        // On the thread itself, at its next safe point; the requests behind it are not forgotten.
        me.ask(|| quiet_panic("request")).unwrap();
        me.ask(count(&ran)).unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| safe_point(&mut cx)));
        assert_eq!(message(caught.unwrap_err()), "request");
        let _ = safe_point(&mut cx);
        assert_eq!(ran.load(SeqCst), 1, "the requests behind a panic wait for the next safe point");
        assert!(safe_point(&mut cx).is_quiet());

        // By a proxy: raised in who asked. The thread is untouched.
        let done = Arc::new(AtomicBool::new(false));
        let d = done.clone();
        let h = vm.spawn("outside", move |cx| {
            outside(cx, |o| {
                while !d.load(SeqCst) {
                    std::thread::sleep(Duration::from_micros(100));
                }
                o.inside(|_| ());
            });
            assert!(!yield_now(cx).shut_down());
            Ok::<_, ()>(5)
        });
        let h = h.unwrap();
        let asked = Arc::new(AtomicBool::new(false));
        let a = asked.clone();
        until(&mut cx, "it is outside", || {
            let a = a.clone();
            h.ask(move || a.store(true, SeqCst)).unwrap();
            asked.load(SeqCst)
        });
        let caught = catch_unwind(AssertUnwindSafe(|| h.ask(|| quiet_panic("request"))));
        assert_eq!(message(caught.unwrap_err()), "request");
        h.ask(count(&ran)).unwrap();
        assert_eq!(ran.load(SeqCst), 2);
        done.store(true, SeqCst);
        assert_eq!(h.join(&mut cx).unwrap(), 5);
    });
}

/// In a wait the thread itself answers: the panic leaves the wait, which is over.
#[test]
fn a_request_of_the_owner_that_panics_in_its_wait() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let held = m.lock(&mut cx).unwrap();
        let h = vm.spawn("waits", move |cx| {
            let caught = catch_unwind(AssertUnwindSafe(|| m.acquire(cx)));
            assert_eq!(message(caught.unwrap_err()), "request");
            assert_eq!(m.depth(cx), 0);
            m.acquire(cx).map_err(drop)?;
            m.release(cx).map_err(drop)
        });
        let h = h.unwrap();
        until_blocked(&mut cx, &h, BlockerKind::Mutex);
        h.ask_owner(|| quiet_panic("request")).unwrap();
        until(&mut cx, "served", || m.waiters() == 0 || h.blocker().is_some());
        drop(held);
        h.join(&mut cx).unwrap();
        works(m, &mut cx);
    });
}

/// Two panics under one proxy; dropping the first payload panics too.
#[test]
fn requests_whose_payloads_panic_do_not_keep_the_thread() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let h = vm.spawn("target", |cx| {
            // Requests pile up while it runs; a proxy finds them all once it sleeps.
            sleep_until(cx, far()).map_err(drop).or(Ok::<_, ()>(()))
        });
        let h = h.unwrap();
        until_blocked(&mut cx, &h, BlockerKind::Sleep);
        let bombs: Vec<_> = (0..2).map(|_| Bomb(armed())).collect();
        let fuse: Vec<_> = bombs.iter().map(|b| b.0.clone()).collect();
        // The request that runs as a proxy leaves two more behind, which the same proxy runs.
        let t = h.thread().clone();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            h.ask(move || {
                for bomb in bombs {
                    t.ask(move || resume_unwind(Box::new(bomb))).unwrap();
                }
            })
        }));
        for fuse in fuse {
            fuse.store(false, SeqCst);
        }
        drop(caught);
        assert_eq!(h.signal(&cx, ()), Ok(Delivery::Queued));
        let end = Instant::now() + Duration::from_secs(5);
        h.join_until(&mut cx, end).expect("the proxy gave the thread back");
    });
}

/// A hook asks its own thread: a yield finds the request on its way out, and raises its panic. The thread still runs.
#[test]
fn a_request_that_panics_in_a_yield() {
    guarded(|| {
        let vm = baton();
        let mut cx = Hooked::new(vm.attach("main").unwrap());
        cx.hook(BEFORE, |me| me.thread().ask(|| quiet_panic("request")).unwrap());
        let caught = catch_unwind(AssertUnwindSafe(|| ignore(yield_now(&mut cx))));
        match caught {
            Err(e) => assert_eq!(message(e), "request"),
            Ok(()) => {
                let again = catch_unwind(AssertUnwindSafe(|| ignore(safe_point(&mut cx))));
                assert_eq!(message(again.unwrap_err()), "request");
            }
        }
        sleep_until(&mut cx, Instant::now()).unwrap();
        let h = vm.spawn("next", |_| Unit::Ok(())).unwrap();
        h.join(&mut cx).unwrap();
        let _ = yield_now(&mut cx);
    });
}

#[test]
fn results_and_panics_whose_destructors_panic() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        // The payload of the thread's own panic.
        let bomb = Bomb(armed());
        let h = vm.spawn("payload", move |_| -> Unit { resume_unwind(Box::new(bomb)) }).unwrap();
        let end = guard_time();
        match h.join_until(&mut cx, end) {
            Err(JoinFailure::Panicked(p)) => {
                assert_eq!(p.message(), "a panic whose payload is no text");
            }
            other => panic!("{other:?}"),
        }
        until(&mut cx, "not listed", || vm.all_threads().len() == 1);

        // The last error, replaced by the next one.
        let fuse = armed();
        let bomb = Arc::new(Bomb(fuse.clone()));
        let first = vm.spawn("first", move |_| Result::<(), _>::Err(bomb)).unwrap();
        assert!(!first.thread().join(&mut cx).unwrap().is_ok());
        drop(first);
        let second = vm.spawn("second", |_| Result::<(), _>::Err("second")).unwrap();
        let end = Instant::now() + Duration::from_secs(5);
        let exit = second.thread().join_until(&mut cx, end).expect("the thread ends all the same");
        assert_eq!(exit.error(), Some("second"));
        until(&mut cx, "the first error is dropped", || !fuse.load(SeqCst));
        assert_eq!(vm.all_threads().len(), 1);
        assert_eq!(vm.last_error(true).unwrap().error(), Some("second"));

        // A request that panics when the thread ends.
        let fuse = armed();
        let bomb = Bomb(fuse.clone());
        let h = vm.spawn("asked", move |cx| {
            cx.thread().ask_owner(move || resume_unwind(Box::new(bomb))).map_err(drop)
        });
        let end = Instant::now() + Duration::from_secs(5);
        h.unwrap().thread().join_until(&mut cx, end).expect("the thread ends all the same");

        // Signals that nobody took, and a result that nobody asked for.
        let fuse = armed();
        let bomb = Bomb(fuse.clone());
        let h = vm.spawn("signalled", move |cx| sleep_until(cx, far()).or(Ok::<_, ()>(())));
        let h = h.unwrap();
        until_blocked(&mut cx, &h, BlockerKind::Sleep);
        assert!(matches!(h.signal(&cx, bomb), Ok(Delivery::Queued)));
        h.join(&mut cx).unwrap();
        // Whoever has the last handle: this thread, which gets the panic, or the one that ends.
        if let Err(e) = catch_unwind(AssertUnwindSafe(|| drop(h))) {
            assert_eq!(message(e), "bomb");
        }
        until(&mut cx, "dropped", || !fuse.load(SeqCst));
        let fuse = armed();
        let bomb = Arc::new(Bomb(fuse.clone()));
        let h = vm.spawn("unasked", move |_| Ok::<_, ()>(bomb)).unwrap();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(h)));
        until(&mut cx, "dropped", || !fuse.load(SeqCst));
        let h = vm.spawn("works", |_| Ok::<_, ()>(1)).unwrap();
        assert_eq!(h.join(&mut cx).unwrap(), 1);
    });
}

#[test]
fn a_result_whose_clone_panics() {
    #[derive(Debug)]
    struct Once(Arc<AtomicU32>);
    impl Clone for Once {
        fn clone(&self) -> Self {
            if self.0.fetch_add(1, SeqCst) == 0 {
                quiet_panic("clone");
            }
            Self(self.0.clone())
        }
    }
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let h = vm.spawn("once", |_| Ok::<_, ()>(Once(Arc::default()))).unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| h.join(&mut cx).map(drop).is_ok()));
        assert_eq!(message(caught.unwrap_err()), "clone");
        assert_eq!(h.join(&mut cx).unwrap().0.load(SeqCst), 2);
        assert!(h.exit().unwrap().value::<Once>().is_some());
    });
}

#[test]
fn a_replaced_signal_whose_destructor_panics() {
    guarded(|| {
        let vm = Runtime::builder().signals(SignalPolicy::Replace).build();
        let mut cx = vm.attach("main").unwrap();
        let go = Arc::new(AtomicBool::new(false));
        let g = go.clone();
        let h = vm.spawn("target", move |cx| {
            until(cx, "go", || g.load(SeqCst));
            let signal = cx.take_signal().unwrap();
            assert!(cx.take_signal().is_none());
            signal.downcast::<&str>().map_err(drop)
        });
        let h = h.unwrap();
        assert!(matches!(h.signal(&cx, Bomb(armed())), Ok(Delivery::Queued)));
        let caught = catch_unwind(AssertUnwindSafe(|| h.signal(&cx, "second")));
        assert_eq!(message(caught.unwrap_err()), "bomb");
        assert_eq!(h.undelivered(), 1);
        go.store(true, SeqCst);
        assert_eq!(h.join(&mut cx).unwrap(), "second");
    });
}

#[test]
fn a_host_that_panics_tells_the_sender() {
    struct Rude;
    impl Host for Rude {
        fn main_signal(&self, _: &Thread, _: Signal) {
            quiet_panic("host");
        }
    }
    for baton in [false, true] {
        guarded(move || {
            let vm = Runtime::builder().host(Rude).baton(baton).build();
            let mut cx = vm.attach("main").unwrap();
            let main = cx.thread().clone();
            let h = vm.spawn("sender", move |cx| {
                let caught = catch_unwind(AssertUnwindSafe(|| drop(main.signal(cx, 1))));
                assert_eq!(message(caught.unwrap_err()), "host");
                Unit::Ok(())
            });
            h.unwrap().join(&mut cx).unwrap();
            assert!(!cx.has_signal());
        });
    }
}

/// Foreign code catches what its callback throws, and calls back again.
#[test]
fn a_callback_that_panics_inside_foreign_code() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let ran = Arc::new(AtomicBool::new(false));
        let r = ran.clone();
        let other = vm.spawn("other", move |cx| {
            r.store(true, SeqCst);
            while !yield_now(cx).shut_down() && r.load(SeqCst) {}
            Unit::Ok(())
        });
        let other = other.unwrap();
        outside(&mut cx, |o| {
            let caught = catch_unwind(AssertUnwindSafe(|| o.inside(|_| quiet_panic("callback"))));
            assert_eq!(message(caught.unwrap_err()), "callback");
            // Foreign code goes on, so the others run.
            let end = Instant::now() + Duration::from_secs(5);
            while !ran.load(SeqCst) {
                assert!(Instant::now() < end, "the thread kept the baton outside");
                std::thread::sleep(Duration::from_micros(100));
            }
            // Back in, twice; nested.
            assert_eq!(o.inside(|_| 1), 1);
            let nested = o.inside(|cx| {
                outside(cx, |o| {
                    let e = catch_unwind(AssertUnwindSafe(|| o.inside(|_| quiet_panic("deeper"))));
                    assert_eq!(message(e.unwrap_err()), "deeper");
                    o.inside(|cx| sleep_until(cx, Instant::now()))
                })
            });
            assert_eq!(nested, Ok(()));
        });
        // A panic of the foreign code itself, and one that passes through all layers.
        for deep in [false, true] {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                outside(&mut cx, |o| {
                    if deep {
                        o.inside(|cx| outside(cx, |o| o.inside(|_| quiet_panic("through"))))
                    }
                    quiet_panic("through")
                })
            }));
            assert_eq!(message(caught.unwrap_err()), "through");
            sleep_until(&mut cx, Instant::now()).unwrap();
        }
        ran.store(false, SeqCst);
        other.join(&mut cx).unwrap();
    });
}

/// A request is answered on the way out to foreign code, and panics there. The next callback works.
#[test]
fn a_request_that_panics_on_the_way_out() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let me = cx.thread().clone();
        let mut calls = 0;
        let caught = catch_unwind(AssertUnwindSafe(|| {
            outside(&mut cx, |o| {
                let caught = catch_unwind(AssertUnwindSafe(|| {
                    o.inside(|cx| cx.thread().ask_owner(|| quiet_panic("request")).unwrap());
                }));
                if let Err(e) = caught {
                    assert_eq!(message(e), "request");
                }
                for _ in 0..2 {
                    o.inside(|cx| sleep_until(cx, Instant::now()).unwrap());
                    calls += 1;
                }
            });
            let _ = safe_point(&mut cx);
        }));
        // It was raised somewhere, once; the callbacks went through unless they raised it.
        assert!(caught.is_ok() && calls == 2 || caught.is_err(), "{calls}");
        let me2 = me.clone();
        let h = vm.spawn("other", move |_| {
            me2.poke();
            Unit::Ok(())
        });
        h.unwrap().join(&mut cx).unwrap();
        let _ = safe_point(&mut cx);
        outside(&mut cx, |o| o.inside(|_| ()));
        assert!(safe_point(&mut cx).is_quiet());

        // The same on the first way out.
        me.ask_owner(|| quiet_panic("request")).unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| outside(&mut cx, |o| o.inside(|_| ()))));
        if caught.is_ok() {
            assert!(catch_unwind(AssertUnwindSafe(|| safe_point(&mut cx))).is_err());
        }
        let _ = safe_point(&mut cx);
        sleep_until(&mut cx, Instant::now()).unwrap();
        outside(&mut cx, |o| o.inside(|_| ()));
    });
}

/// A callback panics, and a request that waits for the way out would too: one panic at a time.
#[test]
fn a_callback_and_a_request_that_both_panic() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            outside(&mut cx, |o| {
                o.inside(|cx| {
                    cx.thread().ask_owner(|| quiet_panic("request")).unwrap();
                    quiet_panic("callback")
                })
            })
        }));
        assert!(caught.is_err());
        // The other one is raised later, or was swallowed by the first; the thread works.
        let _ = catch_unwind(AssertUnwindSafe(|| safe_point(&mut cx)));
        let _ = safe_point(&mut cx);
        sleep_until(&mut cx, Instant::now()).unwrap();
        outside(&mut cx, |o| o.inside(|_| ()));
    });
}

/// A hook gives back what the lock has just won: the guard has no level to give back.
#[test]
fn after_block_that_releases_what_was_won() {
    both(|vm| {
        let mut cx = Hooked::new(vm.attach("main").unwrap());
        let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let (h, go) = holder(&vm, m);
        until(&mut cx, "held", || m.owner().is_some());
        cx.hook(BEFORE, move |_| go.store(true, SeqCst));
        cx.hook(AFTER, move |me| m.release(me).unwrap());
        let guard = m.lock(&mut cx);
        assert_eq!(m.depth(&cx.me), 0);
        let h2 = vm.spawn("next", move |cx| {
            m.acquire(cx).map_err(drop)?;
            Unit::Ok(())
        });
        h2.unwrap().join(&mut cx).unwrap();
        let next = m.owner();
        drop(guard);
        assert_eq!(m.owner(), next, "the guard freed a stranger's lock");
        h.join(&mut cx).unwrap();
    });
}

/// While foreign code runs after a caught panic, requests are carried out for the thread.
#[test]
fn foreign_code_counts_as_stopped_after_a_panic_too() {
    guarded(|| {
        let vm = Runtime::new();
        let mut cx = vm.attach("main").unwrap();
        let t = cx.thread().clone();
        outside(&mut cx, |o| {
            let caught = catch_unwind(AssertUnwindSafe(|| o.inside(|_| quiet_panic("callback"))));
            assert!(caught.is_err());
            let ran = Arc::new(AtomicBool::new(false));
            let r = ran.clone();
            let asker = std::thread::spawn(move || t.ask(move || r.store(true, SeqCst)).is_ok());
            assert!(asker.join().unwrap());
            assert!(ran.load(SeqCst), "the thread counts as stopped: the asker answers for it");
        });
    });
}

// ---- time, sizes, tokens

#[test]
fn deadlines_far_away_on_either_side() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let now = Instant::now();
        // The clock may have started less than a day ago: the oldest instant that it can name.
        let past = (0..40).filter_map(|n| now.checked_sub(Duration::from_secs(1 << n))).next_back();
        for past in [now, past.unwrap_or(now)] {
            let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
            let c = Condvar::new(m);
            sleep_until(&mut cx, past).unwrap();
            m.acquire_until(&mut cx, past).unwrap();
            assert_eq!(c.wait_until(&mut cx, past), Err(WaitError::TimedOut));
            m.release(&cx).unwrap();
            m.acquire(&mut cx).unwrap();
            let h = vm.spawn("other", move |cx| Ok::<_, ()>(m.acquire_until(cx, past)));
            assert_eq!(h.unwrap().join(&mut cx).unwrap(), Err(LockError::TimedOut));
            m.release(&cx).unwrap();
        }
        // u64 seconds, as far as the clock goes.
        let mut seconds = u64::MAX;
        let future = loop {
            match now.checked_add(Duration::from_secs(seconds)) {
                Some(t) => break t,
                None => seconds /= 2,
            }
        };
        assert!(seconds > u64::from(u32::MAX));
        for future in [future, now + Duration::from_secs(u64::from(u32::MAX) + 1)] {
            let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
            let h = vm.spawn("waits", move |cx| {
                assert_eq!(sleep_until(cx, future), Err(SleepError::Interrupted));
                let _ = cx.take_signal();
                assert_eq!(m.lock_until(cx, future).unwrap_err(), LockError::Interrupted);
                let _ = cx.take_signal();
                let own: &'static Mutex = Box::leak(Box::new(Mutex::new()));
                let _held = own.lock(cx).unwrap();
                let c = Condvar::new(own);
                assert_eq!(c.wait_until(cx, future), Err(WaitError::Interrupted));
                let _ = cx.take_signal();
                Unit::Ok(())
            });
            let h = h.unwrap();
            let held = m.lock(&mut cx).unwrap();
            for kind in [BlockerKind::Sleep, BlockerKind::Mutex, BlockerKind::Condvar] {
                until_blocked(&mut cx, &h, kind);
                assert_eq!(h.signal(&cx, ()), Ok(Delivery::Queued));
            }
            drop(held);
            h.join_until(&mut cx, future).unwrap();
            works(m, &mut cx);
        }
    });
}

#[test]
fn zero_sized_things() {
    #[derive(Clone, Debug, PartialEq)]
    struct Nil;
    both(|vm| {
        let mut cx = vm.attach(()).unwrap();
        assert_eq!(cx.thread().name(), None);
        let h = vm.spawn((), |_| Ok::<_, Nil>(Nil)).unwrap();
        assert_eq!(h.join(&mut cx).unwrap(), Nil);
        assert_eq!(h.exit().unwrap().value(), Some(Nil));
        assert_eq!(h.exit().unwrap().value::<()>(), None);
        let h = vm.spawn((), |_| Result::<(), _>::Err(Nil)).unwrap();
        assert!(matches!(h.join(&mut cx), Err(JoinFailure::Failed(Nil))));
        let h = vm.spawn((), |cx| {
            let _ = sleep_until(cx, far());
            cx.take_signal().unwrap().downcast::<Nil>().map_err(drop)
        });
        let h = h.unwrap();
        assert_eq!(h.signal(&cx, Nil), Ok(Delivery::Queued));
        assert_eq!(h.join(&mut cx).unwrap(), Nil);
        assert_eq!(h.signal(&cx, Nil), Err(SignalError::Dead(Nil)));
        fn nothing() {}
        assert!(cx.thread().ask(nothing).is_ok());
        assert!(safe_point(&mut cx).poked());
    });
}

/// The VM puts another participant into the place of a spawned thread's own.
#[test]
fn a_token_that_was_swapped() {
    guarded(|| {
        let (vm, other) = (Runtime::new(), Runtime::new());
        let mut cx = vm.attach("main").unwrap();
        let o = other.clone();
        let h = vm.spawn("swaps", move |cx| {
            let mut mine = o.attach("elsewhere").unwrap();
            std::mem::swap(cx, &mut mine);
            drop(mine); // the spawned thread is over
            Ok::<_, ()>(3)
        });
        let h = h.unwrap();
        let exit = h.thread().join_until(&mut cx, guard_time()).unwrap();
        assert!(exit.value::<i32>().is_none() || exit.value() == Some(3));
        // No result was left. That is said, not guessed.
        let typed = catch_unwind(AssertUnwindSafe(|| h.join(&mut cx)));
        assert!(typed.is_ok(), "a join does not panic for what another thread did");
        until(&mut cx, "over", || other.all_threads().is_empty());
    });
}

/// The object of one misuse after the other works on: many waits on a mutex whose waits were ended in each way.
#[test]
fn after_every_end_of_a_wait_the_next_one_works() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let got = Arc::new(AtomicU64::new(0));
        for round in 0..20 {
            let held = m.lock(&mut cx).unwrap();
            let g = got.clone();
            let hs: Vec<_> = (0..4)
                .map(|i| {
                    let g = g.clone();
                    let h = vm.spawn((), move |cx| {
                        let end = if i == 0 { Instant::now() } else { guard_time() };
                        match m.acquire_until(cx, end) {
                            Ok(_) => {
                                g.fetch_add(1, SeqCst);
                                m.release(cx).unwrap();
                                Ok::<_, ()>("got")
                            }
                            Err(LockError::Interrupted) => Ok("interrupted"),
                            Err(LockError::TimedOut) => Ok("timed out"),
                            Err(_) => Err(()),
                        }
                    });
                    h.unwrap()
                })
                .collect();
            until(&mut cx, "the first gives up", || hs[0].exit().is_some());
            until(&mut cx, "three queue", || m.waiters() == 3);
            let hit = 1 + round % 3;
            assert_eq!(hs[hit].signal(&cx, ()), Ok(Delivery::Queued));
            until(&mut cx, "two queue", || m.waiters() == 2);
            drop(held);
            for (i, h) in hs.iter().enumerate() {
                let expected = match i {
                    0 => "timed out",
                    i if i == hit => "interrupted",
                    _ => "got",
                };
                assert_eq!(h.join(&mut cx).unwrap(), expected);
            }
        }
        assert_eq!(got.load(SeqCst), 40);
        works(m, &mut cx);
    });
}
