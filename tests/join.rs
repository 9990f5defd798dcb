//! Waiting for the end of a thread, and what it left.

mod scene;

use scene::*;
use selvedge::*;
use std::panic::resume_unwind;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc;
use std::time::Instant;

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
