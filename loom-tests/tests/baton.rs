//! Models of the baton: one thread at a time, and what the last holder wrote is there for the next.
#![cfg(selvedge_loom)]

use loom_tests::check;
use loom_tests::scene::{Log, heavy};
use selvedge::model::thread;
use selvedge::{LockError, Mutex, Runtime, outside, yield_now};
use std::sync::Arc;

fn vm() -> Runtime {
    Runtime::builder().baton(true).build()
}

/// Two threads write by turns, with nothing but the baton between them; there is one order only. Kills waiter E1 on either
/// side, baton I1. Bound 3.
#[test]
fn the_baton_publishes_and_keeps_the_order() {
    check("baton.yield", Some(3), 5600, &["abcd"], || {
        let vm = vm();
        let main = &mut vm.attach(()).unwrap();
        let log = Arc::new(Log::new());
        let note = log.clone();
        let worker = vm
            .spawn((), move |me| {
                note.put("b");
                yield_now(me);
                note.put("d");
                Ok::<_, ()>(())
            })
            .unwrap();
        log.put("a");
        yield_now(main);
        log.put("c");
        worker.join(main).unwrap();
        log.get()
    });
}

/// A thread that comes from outside queues for the baton behind those that are ready. Bound 3.
#[test]
fn a_thread_comes_back_from_outside() {
    check("baton.outside", Some(3), 6100, &["acb"], || {
        let vm = vm();
        let main = &mut vm.attach(()).unwrap();
        let log = Arc::new(Log::new());
        let note = log.clone();
        let worker = vm
            .spawn((), move |me| {
                note.put("a");
                outside(me, |_| ());
                note.put("b");
                Ok::<_, ()>(())
            })
            .unwrap();
        yield_now(main);
        log.put("c");
        worker.join(main).unwrap();
        log.get()
    });
}

/// A mutex under the baton: the unlocker queues the waiter it wakes; a deadline that has passed fires at the next hand-over.
/// Bound 1; long 2.
#[test]
fn a_lock_and_a_deadline_under_the_baton() {
    check("baton.lock", heavy(), 10_000, &["atb"], || {
        let vm = vm();
        let main = &mut vm.attach(()).unwrap();
        let s = Arc::new((Mutex::new(), Log::new()));
        let t = s.clone();
        let worker = vm
            .spawn((), move |me| {
                let r = t.0.acquire_until(me, std::time::Instant::now());
                assert_eq!(r, Err(LockError::TimedOut));
                t.1.put("t");
                Ok::<_, ()>(())
            })
            .unwrap();
        let u = s.clone();
        let other = vm
            .spawn((), move |me| {
                u.0.acquire(me).unwrap();
                u.1.put("b");
                u.0.release(me).unwrap();
                Ok::<_, ()>(())
            })
            .unwrap();
        s.0.acquire(main).unwrap();
        yield_now(main);
        s.1.put("a");
        s.0.release(main).unwrap();
        other.join(main).unwrap();
        worker.join(main).unwrap();
        s.1.get()
    });
}

/// Shutdown under the baton: every blocked thread gets its turn, and ends. Bound 2.
#[test]
fn shutdown_under_the_baton() {
    check("baton.shutdown", Some(2), 7300, &["ms"], || {
        let vm = vm();
        let main = &mut vm.attach(()).unwrap();
        let s = Arc::new((Mutex::new(), Log::new()));
        let t = s.clone();
        let worker = vm
            .spawn((), move |me| {
                assert_eq!(t.0.acquire(me), Err(LockError::ShutDown));
                t.1.put("s");
                Ok::<_, ()>(())
            })
            .unwrap();
        s.0.acquire(main).unwrap();
        yield_now(main);
        s.1.put("m");
        vm.shutdown(main);
        worker.join(main).unwrap();
        s.1.get()
    });
}

/// A stranger, who needs no baton, signals and asks a thread on its way to sleep: the wait ends once, the thread takes one
/// turn for it (baton I1, wait I3), the request runs once. Bound 1; long 2.
#[test]
fn a_stranger_ends_a_wait_under_the_baton() {
    check("baton.stranger", heavy(), 10_000, &["rRw", "rwR", "wrR", "wr", "rw"], || {
        let vm = vm();
        let main = &mut vm.attach(()).unwrap();
        let s = Arc::new((Mutex::new(), Log::new()));
        s.0.acquire(main).unwrap();
        let t = s.clone();
        let worker = vm
            .spawn((), move |me| {
                t.1.put("w");
                assert_eq!(t.0.acquire(me), Err(LockError::Interrupted));
                me.take_signal().expect("interrupted by a signal");
                selvedge::safe_point(me);
                Ok::<_, ()>(())
            })
            .unwrap();
        let target = worker.thread().clone();
        let (one, two) = (s.clone(), s.clone());
        let stranger = thread::spawn(move || {
            target.ask(move || one.1.put("r")).unwrap();
            target.post(()).unwrap();
            // The thread may be over.
            let _ = target.ask(move || two.1.put("R"));
        });
        worker.join(main).unwrap();
        stranger.join().unwrap();
        s.0.release(main).unwrap();
        s.1.get()
    });
}
