//! Runtimes: the registry, records, shutdown.

mod scene;

use scene::*;
use selvedge::*;
use std::collections::HashSet;
use std::panic::resume_unwind;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

// ---- the registry

#[test]
fn all_threads_lists_main_first_then_by_age() {
    both(|vm| {
        // Spawned before anybody attached: not the main thread.
        let go = flag();
        let early = idler(&vm, "early", &go);
        assert!(vm.main_thread().is_none());
        assert!(!early.is_main());
        let mut cx = vm.attach("main").unwrap();
        assert!(cx.thread().is_main());
        assert_eq!(vm.main_thread().as_ref(), Some(cx.thread()));
        let names = |vm: &Runtime| -> Vec<_> {
            vm.all_threads().iter().map(|t| t.name().unwrap().to_owned()).collect()
        };
        let gone = flag();
        let a = idler(&vm, "a", &go);
        let b = idler(&vm, "b", &gone);
        let c = idler(&vm, "c", &go);
        assert_eq!(names(&vm), ["main", "early", "a", "b", "c"]);
        gone.store(true, SeqCst);
        b.join(&mut cx).unwrap();
        let d = idler(&vm, "d", &go);
        assert_eq!(names(&vm), ["main", "early", "a", "c", "d"]);
        for t in [&early, &a, &c, &d] {
            assert_eq!(vm.thread(t.id()).as_ref(), Some(t.thread()));
        }
        assert!(vm.thread(b.id()).is_none());
        go.store(true, SeqCst);
        for t in [&early, &a, &c, &d] {
            t.join(&mut cx).unwrap();
        }
        assert_eq!(names(&vm), ["main"]);
        drop(cx);
        assert!(vm.all_threads().is_empty() && vm.main_thread().is_none());
        let again = vm.attach("again").unwrap();
        assert!(!again.thread().is_main(), "the main thread was the first");
    });
}

#[test]
fn runtimes_do_not_notice_each_other() {
    guarded(|| {
        let (a, b) = (Runtime::new(), baton());
        assert!(!a.is_baton() && b.is_baton());
        let mut ca = a.attach("one OS thread").unwrap();
        let mut cb = b.attach("two runtimes").unwrap();
        assert_ne!(ca.id(), cb.id());
        assert_ne!(ca.thread(), cb.thread());
        assert!(ca.thread().is_main() && cb.thread().is_main());
        assert_eq!((ca.runtime().id(), cb.runtime().id()), (a.id(), b.id()));
        assert_eq!((ca.thread().runtime_id(), cb.thread().runtime_id()), (a.id(), b.id()));
        let h = b.spawn("errs", |_| Result::<(), _>::Err(1)).unwrap();
        assert!(h.join(&mut cb).is_err());
        assert!(a.last_error(false).is_none() && b.last_error(false).is_some());
        let h = a.spawn("sleeps", |cx| sleep_until(cx, far())).unwrap();
        until_blocked(&mut ca, &h, BlockerKind::Sleep);
        b.shutdown(&cb);
        assert!(b.is_shut_down() && !a.is_shut_down());
        assert!(h.is_alive() && safe_point(&mut ca).is_quiet());
        a.shutdown(&ca);
        assert!(matches!(h.join(&mut ca), Err(JoinFailure::Failed(SleepError::ShutDown))));
        drop(cb);
        drop(ca);
        assert!(a.all_threads().is_empty() && b.all_threads().is_empty());
    });
}

#[test]
fn the_last_error_is_the_last_threads() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        assert!(vm.last_error(true).is_none());
        let first = vm.spawn("first", |_| Result::<u8, _>::Err(String::from("one"))).unwrap();
        assert!(matches!(first.join(&mut cx), Err(JoinFailure::Failed(e)) if e == "one"));
        let second = vm.spawn("second", |_| -> Unit { resume_unwind(Box::new("two")) }).unwrap();
        assert!(matches!(second.join(&mut cx), Err(JoinFailure::Panicked(_))));
        vm.spawn("fine", |_| Unit::Ok(())).unwrap().join(&mut cx).unwrap();
        let last = vm.last_error(false).unwrap();
        assert_eq!(last.thread(), second.thread());
        assert_eq!(last.panic().unwrap().message(), "two");
        assert_eq!(vm.last_error(true).unwrap().thread(), second.thread());
        assert!(vm.last_error(true).is_none());
        assert_eq!(first.exit().unwrap().error(), Some(String::from("one")));
    });
}

#[test]
fn a_spawned_thread_has_the_stack_it_was_given() {
    fn deep(n: u32) -> u32 {
        let pad = std::hint::black_box([n as u8; 1024]);
        if n == 0 { pad[0].into() } else { deep(n - 1) + u32::from(pad[1] == n as u8) }
    }
    guarded(|| {
        let vm = Runtime::builder().stack_size(64 << 20).build();
        let mut cx = vm.attach("main").unwrap();
        let h = vm.spawn("deep", |_| Ok::<_, ()>(deep(10_000))).unwrap();
        assert_eq!(h.join(&mut cx).unwrap(), 10_000);
    });
}

// ---- records

#[test]
fn records_are_used_again_and_identities_are_not() {
    guarded(|| {
        let vm = Runtime::new();
        let mut cx = vm.attach("main").unwrap();
        let (mut ids, mut slots) = (HashSet::new(), HashSet::new());
        for _ in 0..2_000 {
            let h = vm.spawn((), |cx| Ok::<_, ()>(cx.id())).unwrap();
            let id = h.join(&mut cx).unwrap();
            assert_eq!(id, h.id());
            assert!(id.get() != 0 && id.get() >> 56 == 0);
            assert!(ids.insert(id));
            slots.insert(id.get() & 0xff_ffff);
        }
        assert!(slots.len() < 1_000, "{} slots for one thread at a time", slots.len());
        assert!(Runtime::records_in_use() >= 1);
    });
}

/// More threads than the first segments of the slab hold.
#[test]
fn a_thousand_threads_at_once() {
    guarded(|| {
        // One OS thread in many runtimes: a record each, no stack.
        let mut all: Vec<_> = (0..1_000)
            .map(|_| {
                let vm = Runtime::new();
                let cx = vm.attach("main").unwrap();
                (vm, cx)
            })
            .collect();
        assert!(Runtime::records_in_use() >= 1_000);
        let ids: HashSet<_> = all.iter().map(|(_, cx)| cx.id()).collect();
        assert_eq!(ids.len(), 1_000);
        for (vm, cx) in &mut all {
            let m = leaked();
            let _held = m.lock(cx).unwrap();
            assert_eq!(m.owner().unwrap().id(), cx.id());
            assert_eq!(vm.main_thread().as_ref(), Some(cx.thread()));
        }
        // And many that block on one mutex.
        let (vm, cx) = &mut all[500];
        let m = leaked();
        let held = m.lock(cx).unwrap();
        let hs: Vec<_> =
            (0..200).map(|_| vm.spawn((), move |cx| m.lock(cx).map(drop)).unwrap()).collect();
        until(cx, "all queue", || m.waiters() == 200);
        drop(held);
        for h in hs {
            h.join(cx).unwrap();
        }
        assert!(m.owner().is_none() && m.waiters() == 0);
    });
}

#[test]
fn what_may_be_shared_between_threads() {
    fn send_and_sync<T: Send + Sync>() {}
    send_and_sync::<Runtime>();
    send_and_sync::<Thread>();
    send_and_sync::<JoinHandle<u8, String>>();
    send_and_sync::<Exit>();
    send_and_sync::<Mutex>();
    send_and_sync::<Condvar<Arc<Mutex>>>();
    send_and_sync::<Blocker>();
    send_and_sync::<Label>();
    send_and_sync::<JoinFailure<u8>>();
    fn send<T: Send>() {}
    send::<Signal>();
}

#[cfg(unix)]
mod system_signals {
    use super::*;
    use std::sync::OnceLock;

    static POKED: OnceLock<Thread> = OnceLock::new();

    extern "C" fn poke(_: libc::c_int) {
        if let Some(t) = POKED.get() {
            t.poke();
        }
    }
    extern "C" fn nothing(_: libc::c_int) {}

    #[test]
    fn a_poke_from_a_signal_handler() {
        guarded(|| {
            let vm = Runtime::new();
            let mut cx = vm.attach("main").unwrap();
            POKED.set(cx.thread().clone()).unwrap();
            let handler: extern "C" fn(libc::c_int) = poke;
            // SAFETY: the handler does one atomic operation.
            unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
            assert!(safe_point(&mut cx).is_quiet());
            // SAFETY: a signal to this thread, for which there is a handler.
            unsafe { libc::raise(libc::SIGUSR1) };
            assert!(safe_point(&mut cx).poked());
        });
    }

    /// The system's signals interrupt the system's waits, not ours.
    #[test]
    fn no_wait_ends_by_a_signal_of_the_system() {
        both(|vm| {
            let mut cx = vm.attach("main").unwrap();
            let handler: extern "C" fn(libc::c_int) = nothing;
            // SAFETY: the handler does nothing.
            unsafe { libc::signal(libc::SIGUSR2, handler as libc::sighandler_t) };
            let (tx, rx) = mpsc::channel();
            let m = leaked();
            let held = m.lock(&mut cx).unwrap();
            let h = vm.spawn("target", move |cx| {
                // SAFETY: no arguments.
                tx.send(unsafe { libc::pthread_self() }).unwrap();
                let end = Instant::now() + Duration::from_millis(30);
                sleep_until(cx, end).map_err(drop)?;
                assert!(Instant::now() >= end, "woken before its time");
                m.lock(cx).map(drop).map_err(drop)
            });
            let h = h.unwrap();
            let target = outside(&mut cx, |_| rx.recv().unwrap());
            for _ in 0..2 {
                for _ in 0..20 {
                    assert!(h.is_alive());
                    // SAFETY: the thread lives: it waits for a mutex that is held here.
                    unsafe { libc::pthread_kill(target, libc::SIGUSR2) };
                    outside(&mut cx, |_| std::thread::sleep(Duration::from_micros(500)));
                }
                until_blocked(&mut cx, &h, BlockerKind::Mutex);
            }
            assert_eq!(m.waiters(), 1);
            drop(held);
            h.join(&mut cx).unwrap();
        });
    }
}

// ---- shutdown

#[test]
fn shutdown_ends_uninterruptible_waits_too() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let h = vm.spawn("sleeper", |cx| uninterruptible(cx, |cx| sleep_until(cx, far()))).unwrap();
        until_blocked(&mut cx, &h, BlockerKind::Sleep);
        vm.shutdown(&cx);
        assert!(matches!(h.join(&mut cx), Err(JoinFailure::Failed(SleepError::ShutDown))));
    });
}

#[test]
fn shutdown_ends_every_kind_of_wait() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (taken, m) = (leaked(), leaked());
        let c: &'static Condvar<&Mutex> = Box::leak(Box::new(Condvar::new(m)));
        let held = taken.lock(&mut cx).unwrap();
        let main = cx.thread().clone();
        let lock = vm.spawn("lock", move |cx| Ok::<_, ()>(taken.lock(cx).unwrap_err()));
        let join = vm.spawn("join", move |cx| Ok::<_, ()>(main.join(cx).unwrap_err()));
        let wait = vm.spawn("wait", move |cx| {
            let _guard = m.lock(cx).unwrap();
            let _again = m.lock(cx).unwrap();
            let e = c.wait(cx).unwrap_err();
            assert_eq!(m.depth(cx), 0);
            Ok::<_, ()>(e)
        });
        let timed = vm.spawn("timed", move |cx| Ok::<_, ()>(sleep_until(cx, far()).unwrap_err()));
        let (lock, join, wait, timed) =
            (lock.unwrap(), join.unwrap(), wait.unwrap(), timed.unwrap());
        until_blocked(&mut cx, &lock, BlockerKind::Mutex);
        until_blocked(&mut cx, &join, BlockerKind::Join);
        until_blocked(&mut cx, &wait, BlockerKind::Condvar);
        until_blocked(&mut cx, &timed, BlockerKind::Sleep);
        vm.shutdown(&cx);
        assert_eq!(lock.join(&mut cx).unwrap(), LockError::ShutDown);
        assert_eq!(join.join(&mut cx).unwrap(), JoinError::ShutDown);
        assert_eq!(wait.join(&mut cx).unwrap(), WaitError::Lost(Loss::ShutDown));
        assert_eq!(timed.join(&mut cx).unwrap(), SleepError::ShutDown);
        assert!(m.owner().is_none() && taken.waiters() == 0 && c.waiters() == 0);
        drop(held);
        assert_eq!(vm.all_threads().len(), 1);
    });
}

#[test]
fn a_second_shutdown_stops_who_called_the_first() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (vm2, main) = (vm.clone(), cx.thread().clone());
        let h = vm.spawn("second", move |cx| {
            until(cx, "stopped", || vm2.is_shut_down());
            assert!(safe_point(cx).shut_down());
            until(cx, "main waits", || main.blocker().is_some());
            vm2.shutdown(cx);
            Unit::Ok(())
        });
        vm.shutdown(&cx);
        assert!(safe_point(&mut cx).is_quiet());
        assert_eq!(sleep_until(&mut cx, far()), Err(SleepError::ShutDown));
        assert!(safe_point(&mut cx).shut_down());
        let h = h.unwrap();
        until(&mut cx, "over", || h.exit().is_some());
        assert!(h.exit().unwrap().is_ok());
    });
}

/// A notified waiter that shutdown takes away hands its notification on, if there is anybody who may still wait.
#[test]
fn the_notification_of_a_waiter_that_is_lost_goes_on() {
    guarded(|| {
        let (a, b) = (Runtime::new(), Runtime::new());
        let (mut ca, mut cb) = (a.attach("a").unwrap(), b.attach("b").unwrap());
        let m = leaked();
        let c: &'static Condvar<&Mutex> = Box::leak(Box::new(Condvar::new(m)));
        let wait = |vm: &Runtime| {
            let h = vm.spawn("waits", move |cx| {
                let _guard = m.lock(cx).unwrap();
                Ok::<_, ()>(c.wait(cx))
            });
            h.unwrap()
        };
        let first = wait(&a);
        until(&mut ca, "one waits", || c.waiters() == 1);
        let second = wait(&b);
        until(&mut ca, "two wait", || c.waiters() == 2);
        let held = m.lock(&mut ca).unwrap();
        assert_eq!(c.notify_one(&ca), Ok(true));
        a.shutdown(&ca);
        until(&mut ca, "the first is out", || first.exit().is_some());
        assert_eq!(
            first.exit().unwrap().value(),
            Some(Err::<Acquired, _>(WaitError::Lost(Loss::ShutDown)))
        );
        drop(held);
        assert_eq!(second.join(&mut cb).unwrap(), Ok(Acquired::default()));
        assert!(m.owner().is_none());
    });
}
