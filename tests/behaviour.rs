//! The public API, noun by noun. What Emacs means is in `emacs.rs`, misuse in `misuse.rs`, the baton's own in `baton.rs`.

mod scene;

use scene::*;
use selvedge::*;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex as StdMutex, mpsc};
use std::thread::{ThreadId as OsId, current};
use std::time::{Duration, Instant};

fn flag() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(false))
}
/// A thread that does nothing but let others run until the flag is set.
fn idler(vm: &Runtime, name: &'static str, go: &Arc<AtomicBool>) -> JoinHandle<(), ()> {
    let go = go.clone();
    let h = vm.spawn(name, move |cx| {
        until(cx, "go", || go.load(SeqCst));
        Unit::Ok(())
    });
    h.unwrap()
}

// ---- names, labels, blockers

#[test]
fn names_come_in_all_forms() {
    both(|vm| {
        let mut cx = vm.attach(String::from("main")).unwrap();
        assert_eq!(cx.thread().name(), Some("main"));
        let owned = || Some(String::from("x"));
        for (name, expected) in [
            (Name::from("x"), Some("x")),
            (Name::from(String::from("x")), Some("x")),
            (Name::from(Some("x")), Some("x")),
            (Name::from(None::<&str>), None),
            (Name::from(owned()), Some("x")),
            (Name::from(None::<String>), None),
            (Name::from(()), None),
            (Name::default(), None),
        ] {
            assert_eq!(format!("{name:?}"), format!("{expected:?}"));
            let h = vm.spawn(name.clone(), |_| Unit::Ok(())).unwrap();
            assert_eq!(h.name(), expected);
            h.join(&mut cx).unwrap();
            assert_eq!(h.name(), expected, "the dead keep their names");
            let m = Mutex::with_label(Label::new(name.clone()).tag(3));
            assert_eq!((m.name(), m.tag()), (expected, 3));
            let c = Condvar::with_label(&m, Label::new(name).tag(4));
            assert_eq!((c.name(), c.tag()), (expected, 4));
        }
        let m = Mutex::new();
        assert_eq!((m.name(), m.tag()), (None, 0));
        let c = Condvar::named(&m, "c");
        assert_eq!((c.name(), c.tag()), (Some("c"), 0));
        assert!(std::ptr::eq(*c.mutex(), &m));
        assert_eq!(Mutex::named("m").name(), Some("m"));
    });
}

#[test]
fn a_blocker_tells_kind_name_tag_thread_and_since() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::with_label(Label::new("door").tag(7)));
        let own = Arc::new(Mutex::new());
        let c = Arc::new(Condvar::with_label(own.clone(), Label::new("bell").tag(8)));
        let go = flag();
        let target = idler(&vm, "target", &go);
        let nameless = {
            let go = go.clone();
            let h = vm.spawn((), move |cx| {
                until(cx, "go", || go.load(SeqCst));
                Unit::Ok(())
            });
            h.unwrap()
        };
        let before = Instant::now();
        let held = m.lock(&mut cx).unwrap();
        let waits: Vec<(JoinHandle<(), ()>, _, &str)> = vec![
            {
                let m = m.clone();
                let h = vm.spawn("w", move |cx| m.lock(cx).map(drop).map_err(drop));
                (h.unwrap(), (BlockerKind::Mutex, Some("door"), 7), "mutex door")
            },
            {
                let c = c.clone();
                let h = vm.spawn("w", move |cx| {
                    let _held = c.mutex().lock(cx).unwrap();
                    c.wait(cx).unwrap();
                    Ok(())
                });
                (h.unwrap(), (BlockerKind::Condvar, Some("bell"), 8), "condition variable bell")
            },
            {
                let t = target.clone();
                let h = vm.spawn("w", move |cx| t.join(cx).map_err(|_| ()));
                (h.unwrap(), (BlockerKind::Join, Some("target"), 0), "join target")
            },
            {
                let t = nameless.clone();
                let h = vm.spawn("w", move |cx| t.join(cx).map_err(|_| ()));
                (h.unwrap(), (BlockerKind::Join, None, 0), "join ")
            },
            {
                let h = vm.spawn("w", move |cx| sleep_until(cx, far()).or(Ok(())));
                (h.unwrap(), (BlockerKind::Sleep, None, 0), "sleep")
            },
        ];
        for (h, (kind, name, tag), text) in &waits {
            until_blocked(&mut cx, h, *kind);
            let b = h.blocker().unwrap();
            assert_eq!((b.kind(), b.name(), b.tag()), (*kind, *name, *tag));
            assert!(b.since() >= before && b.since() <= Instant::now());
            assert!(b.to_string().starts_with(text), "{b}");
            assert!(format!("{b:?}").contains(&format!("{kind:?}")));
            match kind {
                BlockerKind::Join => assert_eq!(b.thread().unwrap().name(), *name),
                _ => assert!(b.thread().is_none()),
            }
        }
        let unnamed = waits[3].0.blocker().unwrap();
        assert_eq!(unnamed.to_string(), format!("join {}", nameless.id()));
        assert!(cx.thread().blocker().is_none(), "who runs waits for nothing");
        // Cleared afterwards.
        drop(held);
        let held = own.lock(&mut cx).unwrap();
        c.notify_one(&cx).unwrap();
        drop(held);
        assert_eq!(waits[4].0.signal(&cx, ()), Ok(Delivery::Queued));
        go.store(true, SeqCst);
        for (h, ..) in &waits {
            h.join(&mut cx).unwrap();
            assert!(h.blocker().is_none());
        }
    });
}

#[test]
fn a_blocker_is_gone_when_the_wait_is() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = leaked();
        let held = m.lock(&mut cx).unwrap();
        let (stay, s) = (flag(), flag());
        let (st, reached) = (stay.clone(), s.clone());
        let h = vm.spawn("w", move |cx| {
            let own = m.lock(cx).unwrap();
            reached.store(true, SeqCst);
            until(cx, "leave", || st.load(SeqCst));
            drop(own);
            assert_eq!(sleep_until(cx, soon()), Ok(()));
            Unit::Ok(())
        });
        let h = h.unwrap();
        until_blocked(&mut cx, &h, BlockerKind::Mutex);
        let first = h.blocker().unwrap();
        assert_eq!(first.since(), h.blocker().unwrap().since(), "one wait, one beginning");
        drop(held);
        until(&mut cx, "it has it", || s.load(SeqCst));
        assert!(h.blocker().is_none());
        assert_eq!(m.owner().unwrap().id(), h.id());
        stay.store(true, SeqCst);
        h.join(&mut cx).unwrap();
        assert_eq!(first.kind(), BlockerKind::Mutex, "a snapshot stays what it was");
    });
}

// ---- runtime and registry

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

// ---- join and results

#[test]
fn joined_many_times_by_many_threads_typed_and_erased() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let go = flag();
        let g = go.clone();
        let target = vm.spawn("target", move |cx| {
            until(cx, "go", || g.load(SeqCst));
            Ok::<_, ()>(vec![1, 2, 3])
        });
        let target = target.unwrap();
        let joiners: Vec<_> = (0..8)
            .map(|i| {
                let t = target.clone();
                let h = vm.spawn("joiner", move |cx| {
                    if i % 2 == 0 {
                        t.join(cx).map_err(|_| ())
                    } else {
                        t.thread().join(cx).map_err(|_| ()).map(|e| e.value().unwrap())
                    }
                });
                h.unwrap()
            })
            .collect();
        for j in &joiners {
            until_blocked(&mut cx, j, BlockerKind::Join);
        }
        assert!(target.exit().is_none());
        let late = target.join_until(&mut cx, soon());
        assert!(matches!(late, Err(JoinFailure::Wait(JoinError::TimedOut))));
        go.store(true, SeqCst);
        for j in &joiners {
            assert_eq!(j.join(&mut cx).unwrap(), [1, 2, 3]);
        }
        for _ in 0..3 {
            assert_eq!(target.join(&mut cx).unwrap(), [1, 2, 3]);
            assert_eq!(target.join_until(&mut cx, Instant::now()).unwrap(), [1, 2, 3]);
        }
        let exit = target.exit().unwrap();
        assert!(exit.is_ok() && exit.panic().is_none() && exit.error::<()>().is_none());
        assert_eq!(exit.value::<Vec<i32>>(), Some(vec![1, 2, 3]));
        assert_eq!(exit.value::<String>(), None, "not its type");
        assert_eq!(exit.thread(), target.thread());
        assert_eq!(exit.clone().value::<Vec<i32>>().unwrap().len(), 3);
    });
}

#[test]
fn errors_and_panics_are_kept() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let h = vm.spawn("err", |_| Result::<u8, _>::Err(String::from("e"))).unwrap();
        for _ in 0..2 {
            assert!(matches!(h.join(&mut cx), Err(JoinFailure::Failed(e)) if e == "e"));
        }
        let exit = h.thread().join(&mut cx).unwrap();
        assert!(!exit.is_ok());
        assert_eq!(exit.error::<String>().as_deref(), Some("e"));
        assert!(exit.value::<u8>().is_none() && exit.error::<u8>().is_none());

        let text = vm.spawn("str", |_| -> Unit { resume_unwind(Box::new("static")) }).unwrap();
        let owned =
            vm.spawn("string", |_| -> Unit { resume_unwind(Box::new(String::from("owned"))) });
        let odd = vm.spawn("odd", |_| -> Unit { resume_unwind(Box::new(17)) }).unwrap();
        for (h, said) in
            [(text, "static"), (owned.unwrap(), "owned"), (odd, "a panic whose payload is no text")]
        {
            match h.join(&mut cx) {
                Err(JoinFailure::Panicked(p)) => {
                    assert_eq!(p.message(), said);
                    assert_eq!(p.to_string(), said);
                }
                other => panic!("{other:?}"),
            }
            let exit = h.exit().unwrap();
            assert!(!exit.is_ok() && exit.value::<()>().is_none() && exit.error::<()>().is_none());
            assert_eq!(exit.panic().unwrap().message(), said);
        }
    });
}

#[test]
fn an_attached_thread_can_be_joined() {
    guarded(|| {
        let vm = Runtime::new();
        let mut cx = vm.attach("main").unwrap();
        let (tx, rx) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let vm2 = vm.clone();
        let os = std::thread::spawn(move || {
            let cx = vm2.attach("attached").unwrap();
            tx.send(cx.thread().clone()).unwrap();
            gone.recv().unwrap();
        });
        let t = rx.recv().unwrap();
        assert!(t.is_alive() && !t.is_main());
        assert_eq!(t.join_until(&mut cx, soon()).unwrap_err(), JoinError::TimedOut);
        go.send(()).unwrap();
        let exit = t.join(&mut cx).unwrap();
        assert!(exit.is_ok() && exit.value::<()>().is_none() && exit.panic().is_none());
        assert!(!t.is_alive());
        os.join().unwrap();
    });
}

/// The order at a thread's end: who joined it does not find it listed, and it takes no signal.
#[test]
fn who_joined_a_thread_finds_no_trace_of_it() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for _ in 0..100 {
            let h = vm.spawn("short", |_| Unit::Ok(())).unwrap();
            h.join(&mut cx).unwrap();
            assert!(!h.is_alive());
            assert!(vm.thread(h.id()).is_none());
            assert_eq!(vm.all_threads().len(), 1);
            assert!(h.signal(&cx, ()).is_err());
            assert!(h.exit().is_some());
        }
    });
}

/// Between "not alive" and the exit nothing is waited for: a join ends, also where signals and hooks could not end it.
#[test]
fn who_is_not_alive_is_joined_without_help() {
    guarded(|| {
        let vm = Runtime::new();
        let mut cx = vm.attach("main").unwrap();
        for _ in 0..2_000 {
            let h = vm.spawn((), |_| Ok::<_, ()>(1)).unwrap();
            let mut looks = 0_u32;
            while h.is_alive() {
                looks += 1;
                // On one processor the thread needs ours.
                match looks % 1_000 {
                    0 => std::thread::yield_now(),
                    _ => std::hint::spin_loop(),
                }
            }
            assert_eq!(uninterruptible(&mut cx, |cx| h.join(cx)).unwrap(), 1);
            assert!(h.exit().is_some());
        }
    });
}

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

// ---- signals

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

// ---- safe points, requests, outside

#[test]
fn a_safe_point_reports_what_is_pending() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        assert!(safe_point(&mut cx).is_quiet() && yield_now(&mut cx).is_quiet());
        cx.thread().poke();
        cx.thread().poke();
        let polled = safe_point(&mut cx);
        assert!(polled.poked() && !polled.is_quiet() && !polled.signal() && !polled.shut_down());
        assert!(safe_point(&mut cx).is_quiet(), "reported once");
        cx.thread().poke();
        assert!(yield_now(&mut cx).poked());
        assert!(yield_now(&mut cx).is_quiet());
        // Both at once.
        cx.thread().poke();
        cx.thread().post("s").unwrap();
        let both = yield_now(&mut cx);
        assert!(both.poked() && both.signal());
        let left = yield_now(&mut cx);
        assert!(!left.poked() && left.signal());
        drop(cx.take_signal());
        assert!(yield_now(&mut cx).is_quiet());
        // A poke ends no wait, and is reported afterwards.
        cx.thread().poke();
        sleep_until(&mut cx, soon()).unwrap();
        assert!(safe_point(&mut cx).poked());
        assert!(safe_point(&mut cx).is_quiet());
        assert!(format!("{polled:?}").contains("poked: true"));
    });
}

/// Where requests ran, and how often.
#[derive(Clone, Default)]
struct Runs(Arc<StdMutex<Vec<OsId>>>);
impl Runs {
    fn request(&self) -> impl FnOnce() + Send + 'static {
        let runs = self.0.clone();
        move || runs.lock().unwrap().push(current().id())
    }
    fn all(&self) -> Vec<OsId> {
        self.0.lock().unwrap().clone()
    }
    /// Asks until the asker itself has answered: from then on the target is known to be stopped.
    fn until_proxied<C: Context>(cx: &mut C, t: &Thread) {
        let t = t.clone();
        until(cx, "a proxy may answer", || {
            let runs = Runs::default();
            t.ask(runs.request()).unwrap();
            runs.all() == [current().id()]
        });
    }
}

#[test]
fn requests_to_a_running_thread_run_on_it_at_its_safe_point() {
    guarded(|| {
        let vm = Runtime::new();
        let mut cx = vm.attach("main").unwrap();
        let (asked, running) = (flag(), flag());
        let (a, r) = (asked.clone(), running.clone());
        let runs = Runs::default();
        let rs = runs.clone();
        let h = vm.spawn("runs", move |cx| {
            r.store(true, SeqCst);
            while !a.load(SeqCst) {
                std::hint::spin_loop();
            }
            assert!(rs.all().is_empty(), "nothing runs between safe points");
            assert!(safe_point(cx).poked());
            assert_eq!(rs.all().len(), 4);
            assert!(safe_point(cx).is_quiet());
            Ok::<_, ()>(current().id())
        });
        let h = h.unwrap();
        until(&mut cx, "runs", || running.load(SeqCst));
        for _ in 0..2 {
            h.ask(runs.request()).unwrap();
            h.ask_owner(runs.request()).unwrap();
        }
        asked.store(true, SeqCst);
        let its = h.join(&mut cx).unwrap();
        assert_eq!(runs.all(), [its; 4]);
    });
}

#[test]
fn requests_to_oneself_run_at_the_next_safe_point() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let me = cx.thread().clone();
        let runs = Runs::default();
        me.ask(runs.request()).unwrap();
        me.ask_owner(runs.request()).unwrap();
        assert!(runs.all().is_empty());
        assert!(safe_point(&mut cx).poked());
        assert_eq!(runs.all(), [current().id(); 2]);
        // Before the next sleep as well.
        me.ask(runs.request()).unwrap();
        me.ask_owner(runs.request()).unwrap();
        sleep_until(&mut cx, Instant::now()).unwrap();
        assert_eq!(runs.all().len(), 4);
        assert!(safe_point(&mut cx).poked());
        // And before foreign code.
        me.ask_owner(runs.request()).unwrap();
        outside(&mut cx, |_| assert_eq!(runs.all().len(), 5));
        // Outside, one answers for oneself, but for what only the thread may do.
        outside(&mut cx, |_| {
            me.ask(runs.request()).unwrap();
            assert_eq!(runs.all().len(), 6);
            me.ask_owner(runs.request()).unwrap();
            assert_eq!(runs.all().len(), 6);
        });
        assert!(safe_point(&mut cx).poked());
        assert_eq!(runs.all().len(), 7);
    });
}

/// `begin` makes the target wait; `end` ends that.
fn requests_to_a_stopped_thread(
    vm: Runtime,
    begin: fn(&mut Counting, &'static Mutex),
    kind: Option<BlockerKind>,
    end: impl FnOnce(&mut Participant, &Thread),
) {
    let mut cx = vm.attach("main").unwrap();
    let m = leaked();
    let held = m.lock(&mut cx).unwrap();
    let by_asker = Runs::default();
    let by_owner = Runs::default();
    let owner = vm.spawn("target", {
        let vm = vm.clone();
        move |me| {
            // The hooks belong to a context, so the participant is wrapped for the time of the wait.
            let mut cx = Counting::new(me);
            begin(&mut cx, m);
            let counts = (cx.before, cx.after, cx.serves);
            let _ = vm;
            Ok::<_, ()>((current().id(), counts))
        }
    });
    let owner = owner.unwrap();
    if let Some(kind) = kind {
        until_blocked(&mut cx, &owner, kind);
    }
    Runs::until_proxied(&mut cx, &owner);
    for n in 1..=3 {
        owner.ask(by_asker.request()).unwrap();
        assert_eq!(by_asker.all().len(), n, "a stopped thread's requests are answered at once");
    }
    if let Some(kind) = kind {
        // It leaves its wait for each of these, and goes back to it.
        for n in 1..=3 {
            owner.ask_owner(by_owner.request()).unwrap();
            until(&mut cx, "it was served", || by_owner.all().len() == n);
            until_blocked(&mut cx, &owner, kind);
        }
    } else {
        for _ in 1..=3 {
            owner.ask_owner(by_owner.request()).unwrap();
        }
        assert!(by_owner.all().is_empty());
    }
    end(&mut cx, &owner);
    drop(held);
    let (its, (before, after, serves)) = owner.join(&mut cx).unwrap();
    assert_eq!(by_asker.all(), [current().id(); 3]);
    assert_eq!(by_owner.all(), [its; 3]);
    assert_eq!(before, after);
    // `until_proxied` may have come before the thread slept: then it was served once more.
    if kind.is_some() {
        assert!((3..=4 + 60).contains(&serves), "{serves}");
        assert_eq!(before, serves + 1, "each service is between two halves of the one wait");
    } else {
        assert_eq!(before, 0);
        assert!(serves >= 1);
    }
}

/// Counts the hooks.
struct Counting<'a> {
    me: &'a mut Participant,
    before: u32,
    after: u32,
    serves: u32,
}
impl<'a> Counting<'a> {
    fn new(me: &'a mut Participant) -> Self {
        Self { me, before: 0, after: 0, serves: 0 }
    }
}
impl Context for Counting<'_> {
    fn me(&self) -> &Participant {
        self.me
    }
    fn me_mut(&mut self) -> &mut Participant {
        self.me
    }
    fn before_block(&mut self, _: &Blocker) {
        assert_eq!(self.before, self.after);
        self.before += 1;
    }
    fn after_block(&mut self) {
        self.after += 1;
        assert_eq!(self.before, self.after);
    }
    fn serve(&mut self) {
        assert_eq!(self.before, self.after, "never inside a wait");
        self.serves += 1;
    }
}

#[test]
fn requests_to_a_sleeping_thread() {
    both(|vm| {
        requests_to_a_stopped_thread(
            vm,
            |cx, _| assert_eq!(sleep_until(cx, far()), Err(SleepError::Interrupted)),
            Some(BlockerKind::Sleep),
            |cx, t| assert_eq!(t.signal(cx, ()), Ok(Delivery::Queued)),
        );
    });
}

#[test]
fn requests_to_a_thread_that_waits_for_a_mutex() {
    both(|vm| {
        requests_to_a_stopped_thread(
            vm,
            |cx, m| drop(m.lock(cx).unwrap()),
            Some(BlockerKind::Mutex),
            |_, _| (),
        );
    });
}

#[test]
fn requests_to_a_thread_that_waits_for_another() {
    both(|vm| {
        requests_to_a_stopped_thread(
            vm,
            |cx, _| {
                let main = cx.me().runtime().main_thread().unwrap();
                assert_eq!(main.join(cx).unwrap_err(), JoinError::Interrupted);
            },
            Some(BlockerKind::Join),
            |cx, t| assert_eq!(t.signal(cx, ()), Ok(Delivery::Queued)),
        );
    });
}

#[test]
fn requests_to_a_thread_outside() {
    both(|vm| {
        static LEAVE: AtomicBool = AtomicBool::new(false);
        LEAVE.store(false, SeqCst);
        requests_to_a_stopped_thread(
            vm,
            |cx, _| {
                outside(cx, |_| {
                    while !LEAVE.load(SeqCst) {
                        std::thread::sleep(Duration::from_micros(100));
                    }
                });
                assert!(safe_point(cx).poked());
            },
            None,
            |_, _| LEAVE.store(true, SeqCst),
        );
    });
}

/// The request ends the wait for the notification; the manual allows that.
#[test]
fn a_request_of_the_owner_in_a_condition_wait_is_a_spurious_wake_up() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = leaked();
        let c: &'static Condvar<&Mutex> = Box::leak(Box::new(Condvar::new(m)));
        let runs = Runs::default();
        let rs = runs.clone();
        let h = vm.spawn("waits", move |cx| {
            let _a = m.lock(cx).unwrap();
            let _b = m.lock(cx).unwrap();
            let mut wakes = 0;
            while rs.all().is_empty() {
                c.wait(cx).map_err(drop)?;
                assert_eq!(m.depth(cx), 2);
                wakes += 1;
            }
            assert!(safe_point(cx).poked());
            Ok::<_, ()>((current().id(), wakes))
        });
        let h = h.unwrap();
        until_blocked(&mut cx, &h, BlockerKind::Condvar);
        h.ask_owner(runs.request()).unwrap();
        let (its, wakes) = h.join(&mut cx).unwrap();
        assert_eq!(runs.all(), [its]);
        assert_eq!(wakes, 1);
        assert!(m.owner().is_none() && c.waiters() == 0);
    });
}

#[test]
fn a_poke_is_not_lost_to_a_request_that_another_answers() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let t = cx.thread().clone();
        outside(&mut cx, |_| {
            t.poke();
            t.ask(|| ()).unwrap();
        });
        let polled = safe_point(&mut cx);
        assert!(polled.poked(), "a poke came since the last safe point");
        assert!(safe_point(&mut cx).is_quiet());
    });
}

/// Requests pushed from many threads, to a thread in every state, run once each.
#[test]
fn every_request_runs_once() {
    both(|vm| {
        const EACH: u32 = 400;
        let mut cx = vm.attach("main").unwrap();
        let stop = flag();
        let m = leaked();
        let s = stop.clone();
        let target = vm.spawn("target", move |cx| {
            let c = Condvar::new(m);
            while !s.load(SeqCst) {
                let _ = safe_point(cx);
                sleep_until(cx, Instant::now()).unwrap();
                let held = m.lock(cx).unwrap();
                let _ = c.wait_until(cx, Instant::now());
                drop(held);
                let _ = outside(cx, |o| o.inside(yield_now));
            }
            Unit::Ok(())
        });
        let target = target.unwrap();
        let counts: Arc<Vec<AtomicU32>> =
            Arc::new((0..4 * EACH).map(|_| AtomicU32::new(0)).collect());
        let askers: Vec<_> = (0..4)
            .map(|who| {
                let (t, counts) = (target.thread().clone(), counts.clone());
                let h = vm.spawn("asker", move |cx| {
                    for n in 0..EACH {
                        let (counts, at) = (counts.clone(), (who * EACH + n) as usize);
                        let run = move || {
                            counts[at].fetch_add(1, SeqCst);
                        };
                        let asked = if n % 3 == 0 { t.ask_owner(run) } else { t.ask(run) };
                        assert!(asked.is_ok());
                        if n % 5 == 0 {
                            let held = m.lock(cx).unwrap();
                            let _ = yield_now(cx);
                            drop(held);
                        }
                        if n % 11 == 0 {
                            t.poke();
                        }
                    }
                    Unit::Ok(())
                });
                h.unwrap()
            })
            .collect();
        for a in askers {
            a.join(&mut cx).unwrap();
        }
        stop.store(true, SeqCst);
        target.join(&mut cx).unwrap();
        assert!(counts.iter().all(|n| n.load(SeqCst) == 1));
        assert!(m.owner().is_none() && m.waiters() == 0);
    });
}

/// What a dying thread was asked before its end has run when it is joined.
#[test]
fn requests_that_came_before_the_end_run() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for _ in 0..200 {
            let h = vm.spawn((), |_| Unit::Ok(())).unwrap();
            let n = Arc::new(AtomicU32::new(0));
            let mut sent = 0;
            for owner in [false, true, false, true] {
                let n = n.clone();
                let run = move || {
                    n.fetch_add(1, SeqCst);
                };
                let asked = if owner { h.ask_owner(run).is_ok() } else { h.ask(run).is_ok() };
                sent += u32::from(asked);
            }
            h.join(&mut cx).unwrap();
            assert_eq!(n.load(SeqCst), sent);
        }
    });
}

#[test]
fn outside_calls_no_hooks_and_inside_may_wait() {
    both(|vm| {
        let mut me = vm.attach("main").unwrap();
        let mut cx = Counting::new(&mut me);
        let r = outside(&mut cx, |o| {
            assert!(format!("{o:?}").contains("Outside"));
            let inner = o.inside(|cx| {
                assert_eq!((cx.before, cx.after), (0, 0));
                sleep_until(cx, Instant::now()).unwrap();
                assert_eq!((cx.before, cx.after), (1, 1));
                outside(cx, |o| o.inside(|cx| cx.before))
            });
            assert_eq!(o.inside(|cx| cx.before), 1);
            inner + 1
        });
        assert_eq!((r, cx.before, cx.after, cx.serves), (2, 1, 1, 0));
        // A signal that comes meanwhile stays pending.
        let go = flag();
        let (g, vm2) = (go.clone(), vm.clone());
        let h = vm.spawn("outside", move |cx| {
            outside(cx, |_| {
                while !g.load(SeqCst) {
                    std::thread::sleep(Duration::from_micros(100));
                }
            });
            assert!(safe_point(cx).signal() && vm2.all_threads().len() == 2);
            cx.take_signal().unwrap().downcast::<u8>().map_err(drop)
        });
        let h = h.unwrap();
        assert_eq!(h.signal(cx.me(), 1u8), Ok(Delivery::Queued));
        assert!(h.blocker().is_none(), "foreign code is no wait of ours");
        go.store(true, SeqCst);
        assert_eq!(h.join(&mut cx).unwrap(), 1);
    });
}

#[test]
fn hooks_run_around_waits_only_and_know_what_for() {
    struct Seen<'a>(&'a mut Participant, Vec<String>);
    impl Context for Seen<'_> {
        fn me(&self) -> &Participant {
            self.0
        }
        fn me_mut(&mut self) -> &mut Participant {
            self.0
        }
        fn before_block(&mut self, on: &Blocker) {
            self.1.push(on.to_string());
        }
        fn after_block(&mut self) {
            self.1.push("-".into());
        }
    }
    both(|vm| {
        let mut me = vm.attach("main").unwrap();
        let m = Mutex::named("m");
        let c = Condvar::named(&m, "c");
        let go = flag();
        let h = idler(&vm, "h", &go);
        let mut cx = Seen(&mut me, Vec::new());
        // None of these waits.
        let held = m.lock(&mut cx).unwrap();
        drop(m.lock_until(&mut cx, far()).unwrap());
        drop(m.try_lock(cx.me()).unwrap());
        c.notify_all(cx.me()).unwrap();
        let _ = safe_point(&mut cx);
        assert!(cx.1.is_empty());
        assert_eq!(c.wait_until(&mut cx, soon()), Err(WaitError::TimedOut));
        drop(held);
        sleep_until(&mut cx, soon()).unwrap();
        assert_eq!(h.thread().join_until(&mut cx, soon()).unwrap_err(), JoinError::TimedOut);
        assert_eq!(cx.1, ["condition variable c", "-", "sleep", "-", "join h", "-"]);
        cx.1.clear();
        let _ = yield_now(&mut cx);
        assert_eq!(cx.1, if vm.is_baton() { vec!["turn", "-"] } else { vec![] });
        go.store(true, SeqCst);
        h.join(&mut cx).unwrap();
        cx.1.clear();
        h.join(&mut cx).unwrap();
        assert!(cx.1.is_empty(), "a thread that is over is joined without a wait");
        // A context behind a reference is the same context.
        let mut by_ref = &mut cx;
        sleep_until(&mut by_ref, soon()).unwrap();
        assert_eq!(cx.1, ["sleep", "-"]);
    });
}

// ---- mutex

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

// ---- condition variables

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

// ---- printing

#[test]
fn printing_never_waits() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::named("m"));
        let c = Arc::new(Condvar::named(m.clone(), "c"));
        let held = m.lock(&mut cx).unwrap();
        let m2 = m.clone();
        let h = vm.spawn("blocked", move |cx| m2.lock(cx).map(drop)).unwrap();
        until_blocked(&mut cx, &h, BlockerKind::Mutex);
        let all = |prefix: &str, text: String, inner: &[&str]| {
            assert!(text.starts_with(prefix), "{text}");
            for i in inner {
                assert!(text.contains(i), "{text}: {i}");
            }
        };
        // On the owner, on a plain OS thread, and in the middle of it all.
        all("Mutex", format!("{m:?}"), &["\"m\"", &format!("{:?}", cx.id())]);
        all("Condvar", format!("{c:?}"), &["\"c\"", "\"m\""]);
        all("MutexGuard", format!("{held:?}"), &["\"m\""]);
        all("Participant", format!("{cx:?}"), &["main"]);
        all("JoinHandle", format!("{h:?}"), &["blocked"]);
        all("Thread", format!("{:?}", h.thread()), &["blocked"]);
        all("Blocker", format!("{:?}", h.blocker().unwrap()), &["Mutex", "\"m\""]);
        all("Runtime", format!("{vm:?}"), &["threads: 2"]);
        all("ThreadId", format!("{:?}", h.id()), &[]);
        let (m2, c2, vm2, t) = (m.clone(), c.clone(), vm.clone(), h.thread().clone());
        let printer = std::thread::spawn(move || format!("{m2:?}{c2:?}{vm2:?}{t:?}"));
        assert!(printer.join().unwrap().contains("blocked"));
        drop(held);
        h.join(&mut cx).unwrap();
        all("Exit", format!("{:?}", h.exit().unwrap()), &["ok: true"]);
        all("Mutex", format!("{m:?}"), &["None"]);
        all("RuntimeBuilder", format!("{:?}", Runtime::builder().baton(true)), &["baton: true"]);

        // While the mutex changes hands all the time.
        let stop = flag();
        let hs: Vec<_> = (0..2)
            .map(|_| {
                let (m, stop) = (m.clone(), stop.clone());
                let h = vm.spawn("busy", move |cx| {
                    while !stop.load(SeqCst) {
                        let _held = m.lock(cx).map_err(drop)?;
                        let _ = yield_now(cx);
                    }
                    Unit::Ok(())
                });
                h.unwrap()
            })
            .collect();
        for _ in 0..300 {
            let _ = format!("{m:?} {c:?} {:?} {:?}", hs[0], hs[1].blocker());
            let _ = yield_now(&mut cx);
        }
        stop.store(true, SeqCst);
        for h in hs {
            h.join(&mut cx).unwrap();
        }
    });
}

#[test]
fn errors_speak_plainly() {
    fn says(e: impl std::error::Error, text: &str) {
        let said = e.to_string();
        assert!(said.contains(text), "{said}");
        assert!(!said.ends_with('.') && said.starts_with(|c: char| c.is_lowercase()), "{said}");
    }
    guarded(|| {
        let vm = Runtime::new();
        let cx = vm.attach("main").unwrap();
        let (id, rt) = (cx.id(), vm.id());
        says(NotOwner { caller: id, owner: None }, "nobody does");
        says(NotOwner { caller: id, owner: Some(id) }, &id.to_string());
        says(LockError::Interrupted, "signal");
        says(LockError::TimedOut, "timed out");
        says(LockError::ShutDown, "shuts down");
        says(LockError::WouldBlock, "refused");
        says(LockError::ForeignRuntime { owner: id, mine: rt, theirs: rt }, &rt.to_string());
        says(TryLockError::Taken, "another thread");
        let foreign = TryLockError::ForeignRuntime { owner: id, mine: rt, theirs: rt };
        says(foreign, &rt.to_string());
        says(WaitError::NotOwner(NotOwner { caller: id, owner: None }), "does not own");
        says(WaitError::Interrupted, "signal");
        says(WaitError::TimedOut, "timed out");
        says(WaitError::ShutDown, "shuts down");
        says(WaitError::WouldBlock, "refused");
        says(WaitError::Lost(Loss::ShutDown), "lost");
        says(JoinError::Yourself(id), "itself");
        says(JoinError::TimedOut, "timed out");
        says(JoinError::ForeignRuntime { mine: rt, theirs: rt }, &rt.to_string());
        says(JoinFailure::Failed(1), "error");
        says(JoinFailure::<()>::Wait(JoinError::ShutDown), "shuts down");
        says(SleepError::Interrupted, "signal");
        says(Dead(()), "over");
        says(SignalError::Dead(()), "over");
        says(AttachError::AlreadyAttached(rt), "already");
        says(SpawnError::ShutDown, "shuts down");
    });
}
