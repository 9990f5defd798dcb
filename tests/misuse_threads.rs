//! Every misuse gets its typed error, or the panic that the documentation names, and the object works afterwards:
//! threads, signals, shutdown; odd times, sizes and tokens.

mod scene;

use scene::misuse::*;
use scene::*;
use selvedge::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

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
