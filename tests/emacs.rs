//! What threads mean in Emacs Lisp, by the numbers of the differential runs against Emacs 28.2.
//!
//! | number | Emacs                                                                                  |
//! |--------|----------------------------------------------------------------------------------------|
//! | 1      | unlock by a non-owner, wait or notify without the mutex, join of oneself: error         |
//! | 2      | condition-wait releases all levels and restores the depth exactly                       |
//! | 3      | a signal that arrives in condition-wait is raised with the mutex held again             |
//! | 4      | a signal in a blocked mutex-lock is raised, the lock not taken, the owner untouched     |
//! | 5      | a thread that dies of its own error: join returns nil; only thread-last-error tells     |
//! | 6      | a thread that exits holding a mutex leaves it locked; waiters can be signalled out      |
//! | 7      | join of a thread that has an undelivered signal raises that signal in the joiner        |
//! | 8      | all-threads: main first, shrinks; a signal to the main thread is reported, not raised   |
//! | 9      | a fresh thread is alive right after make-thread                                         |

mod scene;

use scene::*;
use selvedge::*;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::{Duration, Instant};

/// A Lisp error, as a VM would raise it.
#[derive(Clone, Debug, PartialEq)]
struct Raised(&'static str);

/// What `thread-signal` leaves for the target to raise.
fn raise<T>(cx: &impl Context) -> Result<T, Raised> {
    let signal = cx.me().take_signal().expect("who is interrupted has a signal");
    Err(signal.downcast::<Raised>().expect("only these are sent"))
}

/// `mutex-lock` as the VM has it.
fn mutex_lock(m: &Mutex, cx: &mut Participant) -> Result<(), Raised> {
    match m.acquire(cx) {
        Err(LockError::Interrupted) => raise(cx),
        Err(LockError::OwnerDied(_)) => {
            // It stays locked for ever: only a signal gets the thread out.
            let never = Instant::now() + Duration::from_secs(1 << 30);
            assert_eq!(sleep_until(cx, never), Err(SleepError::Interrupted));
            raise(cx)
        }
        Err(e) => panic!("{e}"),
        Ok(_) => Ok(()),
    }
}

/// `condition-wait` as the VM has it.
fn condition_wait<M: std::ops::Deref<Target = Mutex>>(
    c: &Condvar<M>,
    cx: &mut Participant,
) -> Result<(), Raised> {
    match c.wait(cx) {
        Err(WaitError::Interrupted) => raise(cx),
        Err(e) => panic!("{e}"),
        Ok(_) => Ok(()),
    }
}

#[test]
fn s01_what_needs_the_mutex_or_another_thread_is_an_error() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::new());
        let c = Condvar::new(m.clone());
        let held = m.lock(&mut cx).unwrap();
        let owner = Some(cx.id());
        let (m2, main) = (m.clone(), cx.thread().clone());
        let h = vm.spawn("stranger", move |cx| {
            let c = Condvar::new(m2.clone());
            let e = NotOwner { caller: cx.id(), owner };
            assert_eq!(m2.release(cx), Err(e));
            assert_eq!(c.wait(cx), Err(WaitError::NotOwner(e)));
            assert_eq!(c.notify_one(cx), Err(e));
            assert_eq!(c.notify_all(cx), Err(e));
            let me = cx.thread().clone();
            assert_eq!(me.join(cx).unwrap_err(), JoinError::Yourself(cx.id()));
            assert_ne!(me, main);
            Ok::<_, ()>("done")
        });
        assert_eq!(h.unwrap().join(&mut cx).unwrap(), "done");
        assert_eq!(m.depth(&cx), 1);
        drop(held);
        let nobody = NotOwner { caller: cx.id(), owner: None };
        assert_eq!(m.release(&cx), Err(nobody));
        assert_eq!(c.wait(&mut cx), Err(WaitError::NotOwner(nobody)));
        assert_eq!(c.notify_one(&cx), Err(nobody));
        let me = cx.thread().clone();
        assert_eq!(me.join(&mut cx).unwrap_err(), JoinError::Yourself(cx.id()));
    });
}

#[test]
fn s02_condition_wait_releases_all_levels_and_restores_them() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::new());
        let c = Arc::new(Condvar::new(m.clone()));
        let woken = Arc::new(AtomicBool::new(false));
        let (c2, w) = (c.clone(), woken.clone());
        let h = vm.spawn("three levels", move |cx| {
            let m = c2.mutex();
            for _ in 0..3 {
                m.acquire(cx).unwrap();
            }
            while !w.load(SeqCst) {
                c2.wait(cx).unwrap();
                assert_eq!(m.depth(cx), 3);
            }
            for left in (0..3).rev() {
                m.release(cx).unwrap();
                assert_eq!(m.depth(cx), left);
            }
            assert!(m.release(cx).is_err());
            Unit::Ok(())
        });
        let h = h.unwrap();
        until_blocked(&mut cx, &h, BlockerKind::Condvar);
        // All three are free, and a depth of two here is no concern of the waiter.
        let a = m.lock(&mut cx).unwrap();
        let b = m.lock(&mut cx).unwrap();
        woken.store(true, SeqCst);
        assert_eq!(c.notify_one(&cx), Ok(true));
        assert_eq!(m.depth(&cx), 2);
        drop((a, b));
        h.join(&mut cx).unwrap();
        assert!(m.owner().is_none());
    });
}

#[test]
fn s03_a_signal_in_condition_wait_is_raised_with_the_mutex_held() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::new());
        let c = Arc::new(Condvar::new(m.clone()));
        let raised = Arc::new(AtomicBool::new(false));
        let (c2, r) = (c.clone(), raised.clone());
        let h = vm.spawn("waits", move |cx| {
            let m = c2.mutex();
            m.acquire(cx).unwrap();
            m.acquire(cx).unwrap();
            let e = condition_wait(&c2, cx).unwrap_err();
            r.store(true, SeqCst);
            assert_eq!(m.depth(cx), 2);
            m.release(cx).unwrap();
            m.release(cx).unwrap();
            Result::<(), _>::Err(e)
        });
        let h = h.unwrap();
        until_blocked(&mut cx, &h, BlockerKind::Condvar);
        let held = m.lock(&mut cx).unwrap();
        assert_eq!(h.signal(&cx, Raised("signal")), Ok(Delivery::Queued));
        // It cannot be raised as long as the mutex is somebody else's.
        until(&mut cx, "it queues for the mutex", || m.waiters() == 1);
        assert!(!raised.load(SeqCst));
        assert_eq!(c.waiters(), 0);
        assert_eq!(c.notify_all(&cx), Ok(0), "who was signalled takes no notification");
        drop(held);
        assert!(matches!(h.join(&mut cx), Err(JoinFailure::Failed(Raised("signal")))));
        assert!(m.owner().is_none());
    });
}

#[test]
fn s04_a_signal_in_a_blocked_lock_is_raised_and_the_lock_not_taken() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::new());
        let a = m.lock(&mut cx).unwrap();
        let b = m.lock(&mut cx).unwrap();
        let m2 = m.clone();
        let h = vm.spawn("blocked", move |cx| {
            let e = mutex_lock(&m2, cx).unwrap_err();
            assert_eq!((m2.depth(cx), m2.is_owner(cx)), (0, false));
            assert!(m2.release(cx).is_err());
            Result::<(), _>::Err(e)
        });
        let h = h.unwrap();
        until_blocked(&mut cx, &h, BlockerKind::Mutex);
        assert_eq!(h.signal(&cx, Raised("quit")), Ok(Delivery::Queued));
        assert!(matches!(h.join(&mut cx), Err(JoinFailure::Failed(Raised("quit")))));
        assert_eq!((m.depth(&cx), m.waiters()), (2, 0));
        drop((a, b));
        assert!(m.owner().is_none());
        // And the mutex works.
        let m2 = m.clone();
        let h = vm.spawn("next", move |cx| mutex_lock(&m2, cx).map(|()| m2.release(cx).unwrap()));
        h.unwrap().join(&mut cx).unwrap();
    });
}

#[test]
fn s05_only_the_last_error_tells_of_a_thread_that_died() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        assert!(vm.last_error(false).is_none());
        let h = vm.spawn("dies", |_| Result::<u8, _>::Err(Raised("void-variable x"))).unwrap();
        // thread-join: the VM makes nil of an end without a result, and raises nothing.
        let exit = h.thread().join(&mut cx).unwrap();
        assert!(!exit.is_ok() && exit.value::<u8>().is_none() && exit.panic().is_none());
        assert!(!cx.has_signal());
        let last = vm.last_error(false).unwrap();
        assert_eq!(last.error(), Some(Raised("void-variable x")));
        assert_eq!(last.thread(), h.thread());
        // A thread that ends well does not change it; (thread-last-error t) forgets it.
        vm.spawn("lives", |_| Unit::Ok(())).unwrap().join(&mut cx).unwrap();
        assert_eq!(vm.last_error(true).unwrap().error(), Some(Raised("void-variable x")));
        assert!(vm.last_error(false).is_none());
    });
}

#[test]
fn s06_the_mutex_of_a_thread_that_exits_stays_locked() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::new());
        let m2 = m.clone();
        let before = vm.spawn("waits before", {
            let (m, held) = (m.clone(), m.clone());
            move |cx| {
                until(cx, "held", || held.owner().is_some());
                mutex_lock(&m, cx)
            }
        });
        let before = before.unwrap();
        let b = before.thread().clone();
        let dead = vm.spawn("exits holding", move |cx| {
            mutex_lock(&m2, cx)?;
            until_blocked(cx, &b, BlockerKind::Mutex);
            Ok::<_, Raised>(())
        });
        let dead = dead.unwrap();
        dead.join(&mut cx).unwrap();
        let owner = m.owner().unwrap();
        assert_eq!((owner.id(), owner.is_alive()), (dead.id(), false));
        let m2 = m.clone();
        let after = vm.spawn("waits after", move |cx| mutex_lock(&m2, cx)).unwrap();
        for h in [&before, &after] {
            until_blocked(&mut cx, h, BlockerKind::Sleep);
        }
        assert!(before.is_alive() && after.is_alive());
        for h in [&before, &after] {
            assert_eq!(h.signal(&cx, Raised("out")), Ok(Delivery::Queued));
            assert!(matches!(h.join(&mut cx), Err(JoinFailure::Failed(Raised("out")))));
        }
        assert_eq!(m.waiters(), 0);
        assert_eq!(m.owner().map(|o| o.id()), Some(dead.id()));
        assert_eq!(m.try_lock(&cx).unwrap_err(), TryLockError::OwnerDied(dead.id()));
    });
}

/// `thread-join` as the VM has it: the signal that the dead left untaken is raised in the joiner.
fn thread_join(t: &Thread, cx: &mut Participant) -> Result<bool, Raised> {
    let exit = t.join(cx).unwrap();
    match t.take_undelivered() {
        Some(signal) => Err(signal.downcast().unwrap()),
        None => Ok(exit.is_ok()),
    }
}

#[test]
fn s07_join_finds_the_signal_that_was_not_delivered() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let go = Arc::new(AtomicBool::new(false));
        let g = go.clone();
        let h = vm.spawn("takes none", move |cx| {
            until(cx, "go", || g.load(SeqCst));
            Unit::Ok(())
        });
        let h = h.unwrap();
        assert_eq!(h.signal(&cx, Raised("first")), Ok(Delivery::Queued));
        assert_eq!(h.signal(&cx, Raised("second")), Ok(Delivery::Queued));
        assert_eq!(h.undelivered(), 2);
        assert!(h.take_undelivered().is_none(), "it lives: they are its own");
        go.store(true, SeqCst);
        assert_eq!(thread_join(&h, &mut cx), Err(Raised("first")));
        assert_eq!(thread_join(&h, &mut cx), Err(Raised("second")));
        assert_eq!(thread_join(&h, &mut cx), Ok(true));
        assert_eq!(h.undelivered(), 0);
    });
}

#[test]
fn s08_all_threads_and_signals_to_main() {
    #[derive(Default)]
    struct Messages(StdMutex<Vec<(Option<String>, Raised)>>);
    struct Reports(Arc<Messages>);
    impl Host for Reports {
        fn main_signal(&self, sender: &Thread, payload: Signal) {
            assert_eq!(payload.sender(), Some(sender.id()));
            let name = sender.name().map(Into::into);
            self.0.0.lock().unwrap().push((name, payload.downcast().unwrap()));
        }
    }
    for baton in [false, true] {
        guarded(move || {
            let messages = Arc::new(Messages::default());
            let vm = Runtime::builder().host(Reports(messages.clone())).baton(baton).build();
            let mut cx = vm.attach("main").unwrap();
            let main = cx.thread().clone();
            assert_eq!(vm.all_threads(), std::slice::from_ref(&main));
            let m = Arc::new(Mutex::new());
            let held = m.lock(&mut cx).unwrap();
            let hs: Vec<_> = (0..5)
                .map(|i| {
                    let (m, main) = (m.clone(), main.clone());
                    let h = vm.spawn(format!("t{i}"), move |cx| {
                        m.acquire(cx).unwrap();
                        assert_eq!(main.signal(cx, Raised("to main")), Ok(Delivery::Host));
                        m.release(cx)
                    });
                    h.unwrap()
                })
                .collect();
            let names = || {
                let all = vm.all_threads();
                assert!(all[0].is_main() && all.iter().skip(1).all(|t| !t.is_main()));
                all.iter().map(|t| t.name().unwrap().to_owned()).collect::<Vec<_>>()
            };
            assert_eq!(names(), ["main", "t0", "t1", "t2", "t3", "t4"]);
            let fresh = vm.all_threads();
            drop(held);
            for h in &hs {
                h.join(&mut cx).unwrap();
            }
            assert_eq!(names(), ["main"]);
            assert_eq!(fresh.len(), 6, "a list that was given out does not change");
            assert!(!cx.has_signal() && cx.take_signal().is_none(), "reported, not raised");
            sleep_until(&mut cx, Instant::now()).unwrap();
            let mut senders = messages.0.lock().unwrap().clone();
            senders.sort_by(|a, b| a.0.cmp(&b.0));
            let expected: Vec<_> =
                (0..5).map(|i| (Some(format!("t{i}")), Raised("to main"))).collect();
            assert_eq!(senders, expected);
        });
    }
}

/// Under the baton a new thread has not run when `spawn` returns, so it lives, whatever it does.
#[test]
fn s09_a_fresh_thread_is_alive_under_the_baton() {
    guarded(|| {
        let vm = Runtime::builder().baton(true).build();
        let mut cx = vm.attach("main").unwrap();
        let ran = Arc::new(AtomicU32::new(0));
        for i in 0..200 {
            let r = ran.clone();
            let h = vm.spawn("at once", move |_| {
                r.fetch_add(1, SeqCst);
                Unit::Ok(())
            });
            let h = h.unwrap();
            assert!(h.is_alive() && h.exit().is_none());
            assert_eq!(vm.all_threads().len(), 2);
            assert_eq!(ran.load(SeqCst), i, "one Lisp thread runs at a time");
            h.join(&mut cx).unwrap();
            assert!(!h.is_alive());
        }
    });
}

/// In parallel it lives, and is listed, until it ends.
#[test]
fn s09_a_fresh_thread_is_alive_and_listed_until_its_end() {
    guarded(|| {
        let vm = Runtime::new();
        let mut cx = vm.attach("main").unwrap();
        for _ in 0..200 {
            let go = Arc::new(AtomicBool::new(false));
            let g = go.clone();
            let h = vm.spawn("waits", move |cx| {
                while !g.load(SeqCst) {
                    let _ = yield_now(cx);
                }
                Unit::Ok(())
            });
            let h = h.unwrap();
            assert!(h.is_alive() && h.exit().is_none());
            assert_eq!(vm.all_threads()[1], *h);
            go.store(true, SeqCst);
            h.join(&mut cx).unwrap();
            assert!(!h.is_alive() && h.exit().is_some());
            assert_eq!(vm.all_threads().len(), 1);
        }
    });
}
