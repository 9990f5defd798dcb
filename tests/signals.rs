//! Signals: sent, taken, kept pending.

mod scene;

use scene::*;
use selvedge::*;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

#[test]
fn signals_queue_in_order() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let go = flag();
        let g = go.clone();
        let h = vm.spawn("target", move |cx| {
            until(cx, "go", || g.load(SeqCst));
            let mut got = Vec::new();
            while safe_point(cx).signal() {
                assert!(cx.has_signal(), "reported at every safe point until it is taken");
                assert!(yield_now(cx).signal());
                let signal = cx.take_signal().unwrap();
                let sender = signal.sender();
                assert!(signal.is::<u32>() && !signal.is::<u64>());
                let signal = signal.downcast::<u64>().unwrap_err();
                got.push((sender, *signal.into_payload().downcast::<u32>().unwrap()));
            }
            assert!(cx.take_signal().is_none());
            Ok::<_, ()>(got)
        });
        let h = h.unwrap();
        for n in 0..10u32 {
            assert_eq!(h.signal(&cx, n), Ok(Delivery::Queued));
            assert_eq!(h.undelivered(), n as usize + 1);
        }
        go.store(true, SeqCst);
        let expected: Vec<_> = (0..10).map(|n| (Some(cx.id()), n)).collect();
        assert_eq!(h.join(&mut cx).unwrap(), expected);
    });
}

#[test]
fn a_new_signal_replaces_the_old_one_if_the_vm_wants_it() {
    for baton in [false, true] {
        guarded(move || {
            let vm = Runtime::builder().signals(SignalPolicy::Replace).baton(baton).build();
            let mut cx = vm.attach("main").unwrap();
            let m = leaked();
            let held = m.lock(&mut cx).unwrap();
            let h = vm.spawn("target", move |cx| {
                assert_eq!(m.lock(cx).unwrap_err(), LockError::Interrupted);
                // All were sent before the lock ended, or one ended it and the next replaced it.
                until(cx, "the last one", || m.owner().is_none());
                let last = cx.take_signal().unwrap().downcast::<u8>().unwrap();
                assert!(cx.take_signal().is_none() && safe_point(cx).is_quiet());
                Ok::<_, ()>(last)
            });
            let h = h.unwrap();
            until_blocked(&mut cx, &h, BlockerKind::Mutex);
            for n in 0..5u8 {
                assert_eq!(h.signal(&cx, n), Ok(Delivery::Queued));
                assert_eq!(h.undelivered(), 1);
            }
            drop(held);
            assert_eq!(h.join(&mut cx).unwrap(), 4);
        });
    }
}

#[test]
fn each_of_many_senders_keeps_its_order() {
    const SENDERS: u32 = 4;
    const EACH: u32 = 300;
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let target = vm.spawn("target", |cx| {
            let mut got: Vec<(ThreadId, u32)> = Vec::new();
            while got.len() < (SENDERS * EACH) as usize {
                match sleep_until(cx, far()) {
                    Err(SleepError::Interrupted) => {
                        let s = cx.take_signal().expect("who is interrupted has a signal");
                        got.push((s.sender().unwrap(), s.downcast().unwrap()));
                    }
                    other => panic!("{other:?}"),
                }
            }
            Ok::<_, ()>(got)
        });
        let target = target.unwrap();
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let t = target.thread().clone();
                let h = vm.spawn("sender", move |cx| {
                    for n in 0..EACH {
                        assert_eq!(t.signal(cx, n), Ok(Delivery::Queued));
                        if n % 7 == 0 {
                            let _ = yield_now(cx);
                        }
                    }
                    Unit::Ok(())
                });
                h.unwrap()
            })
            .collect();
        let got = target.join(&mut cx).unwrap();
        for s in senders {
            s.join(&mut cx).unwrap();
            let of_it: Vec<_> = got.iter().filter(|(by, _)| *by == s.id()).map(|g| g.1).collect();
            assert_eq!(of_it, (0..EACH).collect::<Vec<_>>());
        }
        assert_eq!(target.undelivered(), 0);
    });
}

/// From an OS thread that belongs to no runtime: to any thread, the main one too, in whatever state.
#[test]
fn strangers_post_signals() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let t = cx.thread().clone();
        let stranger = std::thread::spawn(move || {
            for n in 0..100u32 {
                assert!(t.post(n).is_ok());
                std::thread::yield_now();
            }
            t
        });
        let mut got = Vec::new();
        while got.len() < 100 {
            assert_eq!(sleep_until(&mut cx, far()), Err(SleepError::Interrupted));
            assert!(safe_point(&mut cx).signal());
            while let Some(signal) = cx.take_signal() {
                assert_eq!(signal.sender(), None);
                got.push(signal.downcast::<u32>().unwrap());
            }
        }
        assert_eq!(got, (0..100).collect::<Vec<_>>());
        assert!(safe_point(&mut cx).is_quiet());
        let t = stranger.join().unwrap();
        let h = vm.spawn("short", |_| Unit::Ok(())).unwrap();
        h.join(&mut cx).unwrap();
        assert_eq!(h.post("back").unwrap_err().into_inner(), "back");
        // To oneself it is a signal like any other.
        t.post(7u8).unwrap();
        assert_eq!(cx.take_signal().unwrap().downcast::<u8>().unwrap(), 7);
        drop(cx);
        assert!(t.post(8u8).is_err());
    });
}

#[test]
fn a_pending_signal_refuses_the_next_wait_only() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let go = flag();
        let g = go.clone();
        let over = vm.spawn("over", |_| Ok::<_, ()>(1)).unwrap();
        over.join(&mut cx).unwrap();
        let taken = leaked();
        let held = taken.lock(&mut cx).unwrap();
        let main = cx.thread().clone();
        let h = vm.spawn("target", move |cx| {
            until(cx, "go", || g.load(SeqCst));
            let m = leaked();
            let c = Condvar::new(m);
            let _held = m.lock(cx).unwrap();
            for _ in 0..2 {
                // Each interruptible wait, and nothing that need not wait.
                assert_eq!(taken.lock(cx).unwrap_err(), LockError::Interrupted);
                assert_eq!(taken.lock_until(cx, far()).unwrap_err(), LockError::Interrupted);
                assert_eq!(sleep_until(cx, Instant::now()), Err(SleepError::Interrupted));
                assert_eq!(main.join(cx).unwrap_err(), JoinError::Interrupted);
                assert_eq!(c.wait(cx), Err(WaitError::Interrupted));
                assert_eq!(m.depth(cx), 1);
                assert_eq!(over.join(cx).unwrap(), 1, "a thread that is over is joined at once");
                let free = leaked();
                drop(free.lock(cx).unwrap());
            }
            assert_eq!(cx.take_signal().unwrap().downcast::<&str>().unwrap(), "s");
            assert_eq!(sleep_until(cx, Instant::now()), Ok(()));
            assert_eq!(c.wait_until(cx, soon()), Err(WaitError::TimedOut));
            Unit::Ok(())
        });
        let h = h.unwrap();
        assert_eq!(h.signal(&cx, "s"), Ok(Delivery::Queued));
        go.store(true, SeqCst);
        h.join(&mut cx).unwrap();
        drop(held);
    });
}

#[test]
fn uninterruptible_scopes_keep_signals_pending() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = leaked();
        let held = m.lock(&mut cx).unwrap();
        let h = vm.spawn("target", move |cx| {
            uninterruptible(cx, |cx| {
                m.lock(cx).map(drop).unwrap();
                assert!(cx.has_signal());
                uninterruptible(cx, |cx| sleep_until(cx, soon()).unwrap());
                // Still in the outer scope.
                sleep_until(cx, soon()).unwrap();
                let own = leaked();
                let c = Condvar::new(own);
                let _held = own.lock(cx).unwrap();
                assert_eq!(c.wait_until(cx, soon()), Err(WaitError::TimedOut));
            });
            let caught = catch_unwind(AssertUnwindSafe(|| {
                uninterruptible(cx, |_| resume_unwind(Box::new("x")));
            }));
            assert!(caught.is_err());
            assert_eq!(sleep_until(cx, far()), Err(SleepError::Interrupted));
            assert!(safe_point(cx).signal());
            assert_eq!(cx.take_signal().unwrap().downcast::<u8>().unwrap(), 3);
            Unit::Ok(())
        });
        let h = h.unwrap();
        until_blocked(&mut cx, &h, BlockerKind::Mutex);
        assert_eq!(h.signal(&cx, 3u8), Ok(Delivery::Queued));
        assert_eq!(h.undelivered(), 1);
        assert!(h.blocker().is_some(), "the signal ended no wait");
        drop(held);
        h.join(&mut cx).unwrap();
    });
}
