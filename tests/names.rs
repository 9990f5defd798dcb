//! Names, labels and blockers, and how things print.

mod scene;

use scene::*;
use selvedge::*;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

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
