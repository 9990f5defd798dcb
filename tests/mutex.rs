//! The mutex. Misuse of it is in `misuse_mutex.rs`, dead owners and deadlocks in `deadlock.rs`, what Emacs means in `emacs.rs`,
//! the baton's own in `baton.rs`.

mod scene;

use scene::*;
use selvedge::*;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::{Duration, Instant};

#[test]
fn lock_owned_keeps_the_handle() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::named("heap"));
        let weak = Arc::downgrade(&m);
        let a = Mutex::lock_owned(m.clone(), &mut cx).unwrap();
        let b = Mutex::lock_owned(m.clone(), &mut cx).unwrap();
        assert_eq!(Arc::strong_count(&m), 3);
        assert_eq!((m.depth(&cx), a.mutex().depth(&cx)), (2, 2));
        assert_eq!(b.mutex().name(), Some("heap"));
        assert!(format!("{a:?}").contains("heap"));
        let m2 = m.clone();
        let h = vm.spawn("other", move |cx| {
            assert_eq!(m2.try_lock(cx).unwrap_err(), TryLockError::Taken);
            let e = Mutex::lock_owned(m2.clone(), &mut *cx).map(drop);
            assert_eq!(e, Ok(()));
            Unit::Ok(())
        });
        let h = h.unwrap();
        until_blocked(&mut cx, &h, BlockerKind::Mutex);
        drop(m);
        drop(a);
        assert!(weak.upgrade().unwrap().is_owner(&cx));
        drop(b);
        h.join(&mut cx).unwrap();
        until(&mut cx, "the last handle is gone", || weak.upgrade().is_none());
    });
}

#[test]
fn waiters_get_the_mutex_in_the_order_of_arrival() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = leaked();
        let order = Arc::new(StdMutex::new(Vec::new()));
        let held = m.lock(&mut cx).unwrap();
        let hs: Vec<_> = (0..6)
            .map(|i| {
                let o = order.clone();
                let h = vm.spawn((), move |cx| {
                    let _held = m.lock(cx).map_err(drop)?;
                    o.lock().unwrap().push(i);
                    Unit::Ok(())
                });
                until(&mut cx, "queued", || m.waiters() == i + 1);
                h.unwrap()
            })
            .collect();
        drop(held);
        for h in hs {
            h.join(&mut cx).unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(m.waiters(), 0);
    });
}

#[test]
fn try_lock_and_timed_locks() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = leaked();
        let (inside, leave) = (flag(), flag());
        let (i, l) = (inside.clone(), leave.clone());
        let h = vm.spawn("owner", move |cx| {
            m.acquire_until(cx, Instant::now()).unwrap();
            m.acquire_until(cx, far()).unwrap();
            assert_eq!(m.depth(cx), 2);
            i.store(true, SeqCst);
            until(cx, "leave", || l.load(SeqCst));
            m.release(cx).unwrap();
            m.release(cx)
        });
        let h = h.unwrap();
        until(&mut cx, "owned", || inside.load(SeqCst));
        for _ in 0..3 {
            assert_eq!(m.try_lock(&cx).unwrap_err(), TryLockError::Taken);
            assert_eq!(m.lock_until(&mut cx, soon()).unwrap_err(), LockError::TimedOut);
            assert_eq!(m.acquire_until(&mut cx, soon()), Err(LockError::TimedOut));
            assert_eq!((m.waiters(), m.depth(&cx)), (0, 0));
        }
        assert_eq!(m.owner().unwrap().id(), h.id());
        leave.store(true, SeqCst);
        // The deadline is far: the wait ends by the release.
        let got = m.lock_until(&mut cx, far()).unwrap();
        assert_eq!(m.depth(&cx), 1);
        drop(got);
        h.join(&mut cx).unwrap();
        assert!(m.owner().is_none());
    });
}

/// Every contended release hands over: the waiter gets the mutex at the very next release, whatever the owner does.
#[test]
fn with_fair_releases_a_relocking_owner_gets_no_second_turn() {
    for baton in [false, true] {
        guarded(move || {
            let vm = Runtime::builder().baton(baton).schedule(Schedule::new().fair(true)).build();
            let mut cx = vm.attach("main").unwrap();
            let m = leaked();
            static LOCKS: AtomicU64 = AtomicU64::new(0);
            LOCKS.store(0, SeqCst);
            let waiter = vm.spawn("waiter", move |cx| {
                let mut at = Vec::new();
                for _ in 0..20 {
                    let _held = m.lock(cx).map_err(drop)?;
                    at.push(LOCKS.load(SeqCst));
                }
                Ok::<_, ()>(at)
            });
            let waiter = waiter.unwrap();
            let mut seen = Vec::new();
            while waiter.is_alive() {
                let _held = m.lock(&mut cx).unwrap();
                let n = LOCKS.fetch_add(1, SeqCst) + 1;
                let _ = yield_now(&mut cx);
                if m.waiters() > 0 {
                    seen.push(n);
                }
            }
            let at = waiter.join(&mut cx).unwrap();
            // Whenever the owner saw it queue, it was next.
            for n in seen {
                assert!(at.contains(&n), "locked {n} with a waiter, which then got it at {at:?}");
            }
        });
    }
}

/// Under the baton a waiter that was woken and lost once is handed the mutex at the next release.
#[test]
fn a_waiter_loses_at_most_once_under_the_baton() {
    guarded(|| {
        let vm = Runtime::builder()
            .baton(true)
            .schedule(Schedule::new().hand_over_after(None).looks(100))
            .build();
        let mut cx = vm.attach("main").unwrap();
        let m = leaked();
        static LOCKS: AtomicU64 = AtomicU64::new(0);
        let waiter = vm.spawn("waiter", move |cx| {
            let mut at = Vec::new();
            for _ in 0..50 {
                let began = LOCKS.load(SeqCst);
                let _held = m.lock(cx).map_err(drop)?;
                at.push(LOCKS.load(SeqCst) - began);
                let _ = yield_now(cx);
            }
            Ok::<_, ()>(at)
        });
        let waiter = waiter.unwrap();
        while waiter.is_alive() {
            let held = m.lock(&mut cx).unwrap();
            LOCKS.fetch_add(1, SeqCst);
            let _ = yield_now(&mut cx);
            drop(held); // and locks again at once
        }
        let at = waiter.join(&mut cx).unwrap();
        assert!(at.iter().all(|&locks| locks <= 2), "{at:?}");
    });
}

/// The owner relocks in a tight loop, without a pause, until the waiter has had the mutex many times.
#[test]
fn a_tight_relocking_loop_starves_nobody() {
    for schedule in [
        Schedule::new(),
        Schedule::new().looks(0),
        Schedule::new().hand_over_after(Some(Duration::ZERO)),
        Schedule::new().fair(true),
    ] {
        guarded(move || {
            let vm = Runtime::builder().schedule(schedule).build();
            let mut cx = vm.attach("main").unwrap();
            let m = leaked();
            let waiters: Vec<_> = (0..2)
                .map(|_| {
                    let h = vm.spawn("waiter", move |cx| {
                        for _ in 0..30 {
                            let _held = m.lock(cx).map_err(drop)?;
                        }
                        Unit::Ok(())
                    });
                    h.unwrap()
                })
                .collect();
            while waiters.iter().any(|w| w.is_alive()) {
                let _held = m.lock(&mut cx).unwrap();
                std::hint::spin_loop();
            }
            for w in waiters {
                w.join(&mut cx).unwrap();
            }
            assert!(m.owner().is_none() && m.waiters() == 0);
        });
    }
}

#[test]
fn a_mutex_orders_what_its_owners_do() {
    struct Plain(std::cell::UnsafeCell<u64>);
    // SAFETY: the test touches it under the mutex only.
    unsafe impl Sync for Plain {}
    impl Plain {
        fn add(&self) {
            // SAFETY: under the mutex.
            unsafe { *self.0.get() += 1 }
        }
    }
    for (baton, schedule) in [
        (false, Schedule::new()),
        (false, Schedule::new().looks(0).fair(true)),
        (false, Schedule::new().hand_over_after(Some(Duration::ZERO))),
        (true, Schedule::new()),
    ] {
        guarded(move || {
            let vm = Runtime::builder().baton(baton).schedule(schedule).build();
            let mut cx = vm.attach("main").unwrap();
            let m = leaked();
            let n: &'static Plain = Box::leak(Box::new(Plain(0.into())));
            let hs: Vec<_> = (0..4)
                .map(|i| {
                    let h = vm.spawn((), move |cx| {
                        for k in 0..2_000 {
                            let _held = m.lock(cx).map_err(drop)?;
                            if k % 3 == i % 3 {
                                let _again = m.lock(cx).map_err(drop)?;
                                n.add();
                            } else {
                                n.add();
                            }
                        }
                        Unit::Ok(())
                    });
                    h.unwrap()
                })
                .collect();
            for h in hs {
                h.join(&mut cx).unwrap();
            }
            // SAFETY: all others are over.
            assert_eq!(unsafe { *n.0.get() }, 8_000);
        });
    }
}
