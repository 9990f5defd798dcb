//! The condition variable.

mod scene;

use scene::*;
use selvedge::*;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::{Duration, Instant};

#[test]
fn notifications_go_in_order_and_are_counted() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = leaked();
        let c: &'static Condvar<&Mutex> = Box::leak(Box::new(Condvar::new(m)));
        let order = Arc::new(StdMutex::new(Vec::new()));
        let hs: Vec<_> = (0..6)
            .map(|i| {
                let o = order.clone();
                let h = vm.spawn((), move |cx| {
                    let _held = m.lock(cx).unwrap();
                    let end = c.wait(cx);
                    o.lock().unwrap().push(i);
                    end
                });
                until(&mut cx, "waits", || c.waiters() == i + 1);
                h.unwrap()
            })
            .collect();
        until(&mut cx, "free", || m.owner().is_none());
        let held = m.lock(&mut cx).unwrap();
        assert_eq!(c.notify_one(&cx), Ok(true));
        assert_eq!((c.waiters(), m.waiters()), (5, 1));
        assert!(order.lock().unwrap().is_empty(), "nobody runs before the mutex is free");
        drop(held);
        hs[0].join(&mut cx).unwrap();
        // One of the others gives up: it is skipped.
        assert_eq!(hs[2].signal(&cx, ()), Ok(Delivery::Queued));
        assert!(matches!(hs[2].join(&mut cx), Err(JoinFailure::Failed(WaitError::Interrupted))));
        let held = m.lock(&mut cx).unwrap();
        assert_eq!(c.notify_one(&cx), Ok(true));
        assert_eq!(c.notify_all(&cx), Ok(3));
        assert_eq!(c.notify_all(&cx), Ok(0));
        assert_eq!(c.notify_one(&cx), Ok(false));
        assert_eq!((c.waiters(), m.waiters()), (0, 4));
        drop(held);
        for i in [1, 3, 4, 5] {
            hs[i].join(&mut cx).unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [0, 2, 1, 3, 4, 5]);
        assert!(m.owner().is_none() && m.waiters() == 0);
    });
}

#[test]
fn a_condition_wait_times_out_at_the_depth_it_had() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = leaked();
        let c = Condvar::new(m);
        let guards: Vec<_> = (0..3).map(|_| m.lock(&mut cx).unwrap()).collect();
        // All three levels are free meanwhile.
        let got = flag();
        let g = got.clone();
        let h = vm.spawn("other", move |cx| {
            let _held = m.lock(cx).map_err(drop)?;
            g.store(true, SeqCst);
            Unit::Ok(())
        });
        while !got.load(SeqCst) {
            assert_eq!(c.wait_until(&mut cx, soon()), Err(WaitError::TimedOut));
            assert_eq!(m.depth(&cx), 3);
        }
        h.unwrap().join(&mut cx).unwrap();
        for past in [Instant::now(), Instant::now() - Duration::from_nanos(1)] {
            assert_eq!(c.wait_until(&mut cx, past), Err(WaitError::TimedOut));
            assert_eq!(m.depth(&cx), 3);
        }
        assert_eq!(c.waiters(), 0);
        drop(guards);
        assert!(m.owner().is_none());
    });
}

/// The deadline ends the wait for the notification, not the one for the mutex.
#[test]
fn a_condition_wait_that_timed_out_waits_for_the_mutex() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = leaked();
        let back = flag();
        let b = back.clone();
        let h = vm.spawn("waits", move |cx| {
            let c = Condvar::new(m);
            let _held = m.lock(cx).unwrap();
            let end = c.wait_until(cx, soon());
            b.store(true, SeqCst);
            assert!(m.is_owner(cx));
            Ok::<_, ()>(end)
        });
        let h = h.unwrap();
        until_blocked(&mut cx, &h, BlockerKind::Condvar);
        let held = m.lock(&mut cx).unwrap();
        until(&mut cx, "it timed out", || m.waiters() == 1);
        assert!(!back.load(SeqCst));
        // Signals do not end this half.
        assert_eq!(h.signal(&cx, ()), Ok(Delivery::Queued));
        assert_eq!(m.waiters(), 1);
        drop(held);
        assert_eq!(h.join(&mut cx).unwrap(), Err(WaitError::TimedOut));
        assert_eq!(h.undelivered(), 1);
    });
}

#[test]
fn a_signal_that_comes_after_the_notification_stays_pending() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = leaked();
        let c: &'static Condvar<&Mutex> = Box::leak(Box::new(Condvar::new(m)));
        let h = vm.spawn("waits", move |cx| {
            let _held = m.lock(cx).unwrap();
            assert_eq!(c.wait(cx), Ok(Acquired::default()));
            assert!(safe_point(cx).signal());
            assert_eq!(c.wait(cx), Err(WaitError::Interrupted));
            cx.take_signal().unwrap().downcast::<&str>().map_err(drop)
        });
        let h = h.unwrap();
        until_blocked(&mut cx, &h, BlockerKind::Condvar);
        let held = m.lock(&mut cx).unwrap();
        assert_eq!(c.notify_one(&cx), Ok(true));
        assert_eq!(h.signal(&cx, "late"), Ok(Delivery::Queued));
        drop(held);
        assert_eq!(h.join(&mut cx).unwrap(), "late");
    });
}

#[test]
fn two_condition_variables_of_one_mutex() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = leaked();
        let ping: &'static Condvar<&Mutex> = Box::leak(Box::new(Condvar::named(m, "ping")));
        let pong: &'static Condvar<&Mutex> = Box::leak(Box::new(Condvar::named(m, "pong")));
        static TURN: AtomicU32 = AtomicU32::new(0);
        TURN.store(0, SeqCst);
        let player = |mine: u32, hear: &'static Condvar<&Mutex>, tell: &'static Condvar<&Mutex>| {
            move |cx: &mut Participant| {
                let _held = m.lock(cx).map_err(|_| ())?;
                for _ in 0..500 {
                    while TURN.load(SeqCst) % 2 != mine {
                        hear.wait(cx).map_err(|_| ())?;
                    }
                    TURN.fetch_add(1, SeqCst);
                    tell.notify_one(cx).map_err(|_| ())?;
                }
                Unit::Ok(())
            }
        };
        let a = vm.spawn("a", player(0, ping, pong)).unwrap();
        let b = vm.spawn("b", player(1, pong, ping)).unwrap();
        a.join(&mut cx).unwrap();
        b.join(&mut cx).unwrap();
        assert_eq!(TURN.load(SeqCst), 1_000);
        assert_eq!((ping.waiters(), pong.waiters(), m.waiters()), (0, 0, 0));
    });
}
