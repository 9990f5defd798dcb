//! Every misuse gets its typed error, or the panic that the documentation names, and the object works afterwards:
//! waits where waiting is refused, and hooks that panic or do what they should not.

mod scene;

use scene::misuse::*;
use scene::*;
use selvedge::*;
use std::cell::RefCell;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

// ---- where waiting is refused

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

/// A notified thread that loses the mutex so passes the notification on.
#[test]
fn after_block_that_panics_when_a_notified_thread_inherited() {
    both_abandoning(|vm| {
        let mut cx = Hooked::new(vm.attach("main").unwrap());
        let m = leaked();
        let c: &'static Condvar<&Mutex> = Box::leak(Box::new(Condvar::new(m)));
        let second = vm.spawn("second", |cx| {
            until(cx, "the first waits", || c.waiters() == 1);
            let _held = m.lock(cx).unwrap();
            c.wait(cx)
        });
        let second = second.unwrap();
        let dead = vm.spawn("dead", |cx| {
            until(cx, "both wait", || c.waiters() == 2);
            m.acquire(cx).unwrap();
            assert_eq!(c.notify_one(cx), Ok(true));
            Unit::Ok(())
        });
        let dead = dead.unwrap();
        m.acquire(&mut cx).unwrap();
        cx.hook(AFTER, |_| quiet_panic("hook"));
        let caught = catch_unwind(AssertUnwindSafe(|| ignore(c.wait(&mut cx))));
        assert_eq!(message(caught.unwrap_err()), "hook");
        let told = second.join_until(&mut cx, guard_time()).expect("it was notified");
        assert_eq!(told.abandoned_by, Some(dead.id()));
        works(m, &mut cx);
        dead.join(&mut cx).unwrap();
    });
}

/// The hook puts another token in the place of the one that inherited, and panics: the news is not lost with it.
#[test]
fn after_block_that_swaps_the_token_of_the_heir() {
    for keeps in [false, true] {
        guarded(move || {
            let vm = Runtime::builder().owner_death(OwnerDeath::Abandon).build();
            let mut cx = Hooked::new(vm.attach("main").unwrap());
            let heir = cx.me.id();
            let mut spare = Some(Runtime::new().attach("spare").unwrap());
            let m = leaked();
            let dead = vm.spawn("dead", move |cx| {
                m.acquire(cx).unwrap();
                until(cx, "somebody waits", || m.waiters() == 1);
                Unit::Ok(())
            });
            let dead = dead.unwrap().id();
            until(&mut cx, "held", || m.owner().is_some());
            let kept = Rc::new(RefCell::new(None));
            let k = kept.clone();
            cx.hook(AFTER, move |me| {
                let old = std::mem::replace(me, spare.take().unwrap());
                if keeps {
                    *k.borrow_mut() = Some(old);
                }
                quiet_panic("hook")
            });
            let caught = catch_unwind(AssertUnwindSafe(|| drop(m.lock(&mut cx))));
            assert_eq!(message(caught.unwrap_err()), "hook");
            let mut next = match kept.take() {
                Some(me) => me,
                None => vm.attach("next").unwrap(),
            };
            let told = m.lock(&mut next).unwrap().abandoned_by();
            assert_eq!(told, Some(if keeps { dead } else { heir }));
            works(m, &mut next);
        });
    }
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
