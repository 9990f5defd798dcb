//! Every misuse gets its typed error, or the panic that the documentation names, and the object works afterwards:
//! mutexes and condition variables of others, of the dead, and of another runtime.

mod scene;

use scene::misuse::*;
use scene::*;
use selvedge::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::Instant;

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
        // One after the other: two runtimes do not wait for each other's lock.
        let ha = waits(&a);
        until(&mut ca, "one waits", || c.waiters() == 1 && m.owner().is_none());
        let hb = waits(&b);
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
