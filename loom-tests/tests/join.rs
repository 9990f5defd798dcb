//! Models of `join` and of the end of a thread (`thread/exit`).
#![cfg(selvedge_loom)]

use loom_tests::check;
use loom_tests::scene::{Log, barging, heavy, soon};
use selvedge::{JoinError, Runtime};
use std::sync::Arc;

/// A thread ends while it is joined: the joiner sees the result and what the thread wrote. Kills exit E1, claim E1, an end
/// that is marked after the joiners were woken. Bound 3.
#[test]
fn an_end_races_a_join() {
    check("join.exit_publishes", Some(3), 190, &["7w"], || {
        let vm = barging();
        let main = &mut vm.attach(()).unwrap();
        let log = Arc::new(Log::new());
        let note = log.clone();
        let worker = vm
            .spawn((), move |_| {
                note.put("w");
                Ok::<_, ()>(7)
            })
            .unwrap();
        let r = worker.join(main).unwrap();
        assert!(!worker.is_alive() && vm.all_threads().len() == 1);
        assert_eq!(Runtime::records_in_use(), 1);
        assert_eq!(worker.join(main).unwrap(), 7);
        format!("{r}{}", log.get())
    });
}

/// A deadline against the end. Bound 3.
#[test]
fn a_deadline_races_the_end() {
    check("join.timeout_vs_exit", Some(3), 550, &["ended", "timed out"], || {
        let vm = barging();
        let main = &mut vm.attach(()).unwrap();
        let worker = vm.spawn((), |_| Ok::<_, ()>(())).unwrap();
        let r = worker.thread().join_until(main, soon());
        worker.join(main).unwrap();
        match r {
            Ok(exit) if exit.is_ok() => "ended".into(),
            Err(JoinError::TimedOut) => "timed out".into(),
            other => panic!("{other:?}"),
        }
    });
}

/// A signal against the end: the joiner is interrupted and has the signal, or joined and has it pending. Bound 1; long 2.
#[test]
fn a_signal_races_the_end_of_another() {
    check("join.signal_vs_exit", heavy(), 550, &["interrupted", "joined"], || {
        let vm = barging();
        let main = &mut vm.attach(()).unwrap();
        let worker = vm.spawn((), |_| Ok::<_, ()>(())).unwrap();
        let target = worker.thread().clone();
        let joiner = vm
            .spawn((), move |me| match target.join(me) {
                Ok(_) => Ok::<_, ()>("joined"),
                Err(JoinError::Interrupted) => {
                    me.take_signal().expect("interrupted by a signal");
                    Ok("interrupted")
                }
                Err(e) => panic!("{e}"),
            })
            .unwrap();
        let _ = joiner.signal(main, ());
        worker.join(main).unwrap();
        joiner.join(main).unwrap().into()
    });
}
