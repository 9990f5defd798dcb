//! Every misuse gets its typed error, or the panic that the documentation names, and the object works afterwards:
//! panics of requests, callbacks, destructors and hosts.

mod scene;

use scene::misuse::*;
use scene::*;
use selvedge::*;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

#[test]
fn a_request_that_panics_is_raised_where_it_ran() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let me = cx.thread().clone();
        let ran = Arc::new(AtomicU32::new(0));
        let count = |ran: &Arc<AtomicU32>| {
            let ran = ran.clone();
            move || add(&ran)
        };

        // On the thread itself, at its next safe point; the requests behind it are not forgotten.
        me.ask(|| quiet_panic("request")).unwrap();
        me.ask(count(&ran)).unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| safe_point(&mut cx)));
        assert_eq!(message(caught.unwrap_err()), "request");
        let _ = safe_point(&mut cx);
        assert_eq!(ran.load(SeqCst), 1, "the requests behind a panic wait for the next safe point");
        assert!(safe_point(&mut cx).is_quiet());

        // By a proxy: raised in who asked. The thread is untouched.
        let done = Arc::new(AtomicBool::new(false));
        let d = done.clone();
        let h = vm.spawn("outside", move |cx| {
            outside(cx, |o| {
                while !d.load(SeqCst) {
                    std::thread::sleep(Duration::from_micros(100));
                }
                o.inside(|_| ());
            });
            assert!(!yield_now(cx).shut_down());
            Ok::<_, ()>(5)
        });
        let h = h.unwrap();
        let asked = Arc::new(AtomicBool::new(false));
        let a = asked.clone();
        until(&mut cx, "it is outside", || {
            let a = a.clone();
            h.ask(move || a.store(true, SeqCst)).unwrap();
            asked.load(SeqCst)
        });
        let caught = catch_unwind(AssertUnwindSafe(|| h.ask(|| quiet_panic("request"))));
        assert_eq!(message(caught.unwrap_err()), "request");
        h.ask(count(&ran)).unwrap();
        assert_eq!(ran.load(SeqCst), 2);
        done.store(true, SeqCst);
        assert_eq!(h.join(&mut cx).unwrap(), 5);
    });
}

/// In a wait the thread itself answers: the panic leaves the wait, which is over.
#[test]
fn a_request_of_the_owner_that_panics_in_its_wait() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m: &'static Mutex = Box::leak(Box::new(Mutex::new()));
        let held = m.lock(&mut cx).unwrap();
        let h = vm.spawn("waits", move |cx| {
            let caught = catch_unwind(AssertUnwindSafe(|| m.acquire(cx)));
            assert_eq!(message(caught.unwrap_err()), "request");
            assert_eq!(m.depth(cx), 0);
            m.acquire(cx).map_err(drop)?;
            m.release(cx).map_err(drop)
        });
        let h = h.unwrap();
        until_blocked(&mut cx, &h, BlockerKind::Mutex);
        h.ask_owner(|| quiet_panic("request")).unwrap();
        until(&mut cx, "served", || m.waiters() == 0 || h.blocker().is_some());
        drop(held);
        h.join(&mut cx).unwrap();
        works(m, &mut cx);
    });
}

/// Two panics under one proxy; dropping the first payload panics too.
#[test]
fn requests_whose_payloads_panic_do_not_keep_the_thread() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let h = vm.spawn("target", |cx| {
            // Requests pile up while it runs; a proxy finds them all once it sleeps.
            sleep_until(cx, far()).map_err(drop).or(Ok::<_, ()>(()))
        });
        let h = h.unwrap();
        until_blocked(&mut cx, &h, BlockerKind::Sleep);
        let bombs: Vec<_> = (0..2).map(|_| Bomb(armed())).collect();
        let fuse: Vec<_> = bombs.iter().map(|b| b.0.clone()).collect();
        // The request that runs as a proxy leaves two more behind, which the same proxy runs.
        let t = h.thread().clone();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            h.ask(move || {
                for bomb in bombs {
                    t.ask(move || resume_unwind(Box::new(bomb))).unwrap();
                }
            })
        }));
        for fuse in fuse {
            fuse.store(false, SeqCst);
        }
        drop(caught);
        assert_eq!(h.signal(&cx, ()), Ok(Delivery::Queued));
        let end = Instant::now() + Duration::from_secs(5);
        h.join_until(&mut cx, end).expect("the proxy gave the thread back");
    });
}

/// A hook asks its own thread: a yield finds the request on its way out, and raises its panic. The thread still runs.
#[test]
fn a_request_that_panics_in_a_yield() {
    guarded(|| {
        let vm = baton();
        let mut cx = Hooked::new(vm.attach("main").unwrap());
        cx.hook(BEFORE, |me| me.thread().ask(|| quiet_panic("request")).unwrap());
        let caught = catch_unwind(AssertUnwindSafe(|| ignore(yield_now(&mut cx))));
        match caught {
            Err(e) => assert_eq!(message(e), "request"),
            Ok(()) => {
                let again = catch_unwind(AssertUnwindSafe(|| ignore(safe_point(&mut cx))));
                assert_eq!(message(again.unwrap_err()), "request");
            }
        }
        sleep_until(&mut cx, Instant::now()).unwrap();
        let h = vm.spawn("next", |_| Unit::Ok(())).unwrap();
        h.join(&mut cx).unwrap();
        let _ = yield_now(&mut cx);
    });
}

#[test]
fn results_and_panics_whose_destructors_panic() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        // The payload of the thread's own panic.
        let bomb = Bomb(armed());
        let h = vm.spawn("payload", move |_| -> Unit { resume_unwind(Box::new(bomb)) }).unwrap();
        let end = guard_time();
        match h.join_until(&mut cx, end) {
            Err(JoinFailure::Panicked(p)) => {
                assert_eq!(p.message(), "a panic whose payload is no text");
            }
            other => panic!("{other:?}"),
        }
        until(&mut cx, "not listed", || vm.all_threads().len() == 1);

        // The last error, replaced by the next one.
        let fuse = armed();
        let bomb = Arc::new(Bomb(fuse.clone()));
        let first = vm.spawn("first", move |_| Result::<(), _>::Err(bomb)).unwrap();
        assert!(!first.thread().join(&mut cx).unwrap().is_ok());
        drop(first);
        let second = vm.spawn("second", |_| Result::<(), _>::Err("second")).unwrap();
        let end = Instant::now() + Duration::from_secs(5);
        let exit = second.thread().join_until(&mut cx, end).expect("the thread ends all the same");
        assert_eq!(exit.error(), Some("second"));
        until(&mut cx, "the first error is dropped", || !fuse.load(SeqCst));
        assert_eq!(vm.all_threads().len(), 1);
        assert_eq!(vm.last_error(true).unwrap().error(), Some("second"));

        // A request that panics when the thread ends.
        let fuse = armed();
        let bomb = Bomb(fuse.clone());
        let h = vm.spawn("asked", move |cx| {
            cx.thread().ask_owner(move || resume_unwind(Box::new(bomb))).map_err(drop)
        });
        let end = Instant::now() + Duration::from_secs(5);
        h.unwrap().thread().join_until(&mut cx, end).expect("the thread ends all the same");

        // Signals that nobody took, and a result that nobody asked for.
        let fuse = armed();
        let bomb = Bomb(fuse.clone());
        let h = vm.spawn("signalled", move |cx| sleep_until(cx, far()).or(Ok::<_, ()>(())));
        let h = h.unwrap();
        until_blocked(&mut cx, &h, BlockerKind::Sleep);
        assert!(matches!(h.signal(&cx, bomb), Ok(Delivery::Queued)));
        h.join(&mut cx).unwrap();
        // Whoever has the last handle: this thread, which gets the panic, or the one that ends.
        if let Err(e) = catch_unwind(AssertUnwindSafe(|| drop(h))) {
            assert_eq!(message(e), "bomb");
        }
        until(&mut cx, "dropped", || !fuse.load(SeqCst));
        let fuse = armed();
        let bomb = Arc::new(Bomb(fuse.clone()));
        let h = vm.spawn("unasked", move |_| Ok::<_, ()>(bomb)).unwrap();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(h)));
        until(&mut cx, "dropped", || !fuse.load(SeqCst));
        let h = vm.spawn("works", |_| Ok::<_, ()>(1)).unwrap();
        assert_eq!(h.join(&mut cx).unwrap(), 1);
    });
}

#[test]
fn a_result_whose_clone_panics() {
    #[derive(Debug)]
    struct Once(Arc<AtomicU32>);
    impl Clone for Once {
        fn clone(&self) -> Self {
            if self.0.fetch_add(1, SeqCst) == 0 {
                quiet_panic("clone");
            }
            Self(self.0.clone())
        }
    }
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let h = vm.spawn("once", |_| Ok::<_, ()>(Once(Arc::default()))).unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| h.join(&mut cx).map(drop).is_ok()));
        assert_eq!(message(caught.unwrap_err()), "clone");
        assert_eq!(h.join(&mut cx).unwrap().0.load(SeqCst), 2);
        assert!(h.exit().unwrap().value::<Once>().is_some());
    });
}

#[test]
fn a_replaced_signal_whose_destructor_panics() {
    guarded(|| {
        let vm = Runtime::builder().signals(SignalPolicy::Replace).build();
        let mut cx = vm.attach("main").unwrap();
        let go = Arc::new(AtomicBool::new(false));
        let g = go.clone();
        let h = vm.spawn("target", move |cx| {
            until(cx, "go", || g.load(SeqCst));
            let signal = cx.take_signal().unwrap();
            assert!(cx.take_signal().is_none());
            signal.downcast::<&str>().map_err(drop)
        });
        let h = h.unwrap();
        assert!(matches!(h.signal(&cx, Bomb(armed())), Ok(Delivery::Queued)));
        let caught = catch_unwind(AssertUnwindSafe(|| h.signal(&cx, "second")));
        assert_eq!(message(caught.unwrap_err()), "bomb");
        assert_eq!(h.undelivered(), 1);
        go.store(true, SeqCst);
        assert_eq!(h.join(&mut cx).unwrap(), "second");
    });
}

#[test]
fn a_host_that_panics_tells_the_sender() {
    struct Rude;
    impl Host for Rude {
        fn main_signal(&self, _: &Thread, _: Signal) {
            quiet_panic("host");
        }
    }
    for baton in [false, true] {
        guarded(move || {
            let vm = Runtime::builder().host(Rude).baton(baton).build();
            let mut cx = vm.attach("main").unwrap();
            let main = cx.thread().clone();
            let h = vm.spawn("sender", move |cx| {
                let caught = catch_unwind(AssertUnwindSafe(|| drop(main.signal(cx, 1))));
                assert_eq!(message(caught.unwrap_err()), "host");
                Unit::Ok(())
            });
            h.unwrap().join(&mut cx).unwrap();
            assert!(!cx.has_signal());
        });
    }
}

/// Foreign code catches what its callback throws, and calls back again.
#[test]
fn a_callback_that_panics_inside_foreign_code() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let ran = Arc::new(AtomicBool::new(false));
        let r = ran.clone();
        let other = vm.spawn("other", move |cx| {
            r.store(true, SeqCst);
            while !yield_now(cx).shut_down() && r.load(SeqCst) {}
            Unit::Ok(())
        });
        let other = other.unwrap();
        outside(&mut cx, |o| {
            let caught = catch_unwind(AssertUnwindSafe(|| o.inside(|_| quiet_panic("callback"))));
            assert_eq!(message(caught.unwrap_err()), "callback");
            // Foreign code goes on, so the others run.
            let end = Instant::now() + Duration::from_secs(5);
            while !ran.load(SeqCst) {
                assert!(Instant::now() < end, "the thread kept the baton outside");
                std::thread::sleep(Duration::from_micros(100));
            }
            // Back in, twice; nested.
            assert_eq!(o.inside(|_| 1), 1);
            let nested = o.inside(|cx| {
                outside(cx, |o| {
                    let e = catch_unwind(AssertUnwindSafe(|| o.inside(|_| quiet_panic("deeper"))));
                    assert_eq!(message(e.unwrap_err()), "deeper");
                    o.inside(|cx| sleep_until(cx, Instant::now()))
                })
            });
            assert_eq!(nested, Ok(()));
        });
        // A panic of the foreign code itself, and one that passes through all layers.
        for deep in [false, true] {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                outside(&mut cx, |o| {
                    if deep {
                        o.inside(|cx| outside(cx, |o| o.inside(|_| quiet_panic("through"))))
                    }
                    quiet_panic("through")
                })
            }));
            assert_eq!(message(caught.unwrap_err()), "through");
            sleep_until(&mut cx, Instant::now()).unwrap();
        }
        ran.store(false, SeqCst);
        other.join(&mut cx).unwrap();
    });
}

/// A request is answered on the way out to foreign code, and panics there. The next callback works.
#[test]
fn a_request_that_panics_on_the_way_out() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let me = cx.thread().clone();
        let mut calls = 0;
        let caught = catch_unwind(AssertUnwindSafe(|| {
            outside(&mut cx, |o| {
                let caught = catch_unwind(AssertUnwindSafe(|| {
                    o.inside(|cx| cx.thread().ask_owner(|| quiet_panic("request")).unwrap());
                }));
                if let Err(e) = caught {
                    assert_eq!(message(e), "request");
                }
                for _ in 0..2 {
                    o.inside(|cx| sleep_until(cx, Instant::now()).unwrap());
                    calls += 1;
                }
            });
            let _ = safe_point(&mut cx);
        }));
        // It was raised somewhere, once; the callbacks went through unless they raised it.
        assert!(caught.is_ok() && calls == 2 || caught.is_err(), "{calls}");
        let me2 = me.clone();
        let h = vm.spawn("other", move |_| {
            me2.poke();
            Unit::Ok(())
        });
        h.unwrap().join(&mut cx).unwrap();
        let _ = safe_point(&mut cx);
        outside(&mut cx, |o| o.inside(|_| ()));
        assert!(safe_point(&mut cx).is_quiet());

        // The same on the first way out.
        me.ask_owner(|| quiet_panic("request")).unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| outside(&mut cx, |o| o.inside(|_| ()))));
        if caught.is_ok() {
            assert!(catch_unwind(AssertUnwindSafe(|| safe_point(&mut cx))).is_err());
        }
        let _ = safe_point(&mut cx);
        sleep_until(&mut cx, Instant::now()).unwrap();
        outside(&mut cx, |o| o.inside(|_| ()));
    });
}

/// A callback panics, and a request that waits for the way out would too: one panic at a time.
#[test]
fn a_callback_and_a_request_that_both_panic() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            outside(&mut cx, |o| {
                o.inside(|cx| {
                    cx.thread().ask_owner(|| quiet_panic("request")).unwrap();
                    quiet_panic("callback")
                })
            })
        }));
        assert!(caught.is_err());
        // The other one is raised later, or was swallowed by the first; the thread works.
        let _ = catch_unwind(AssertUnwindSafe(|| safe_point(&mut cx)));
        let _ = safe_point(&mut cx);
        sleep_until(&mut cx, Instant::now()).unwrap();
        outside(&mut cx, |o| o.inside(|_| ()));
    });
}

/// While foreign code runs after a caught panic, requests are carried out for the thread.
#[test]
fn foreign_code_counts_as_stopped_after_a_panic_too() {
    guarded(|| {
        let vm = Runtime::new();
        let mut cx = vm.attach("main").unwrap();
        let t = cx.thread().clone();
        outside(&mut cx, |o| {
            let caught = catch_unwind(AssertUnwindSafe(|| o.inside(|_| quiet_panic("callback"))));
            assert!(caught.is_err());
            let ran = Arc::new(AtomicBool::new(false));
            let r = ran.clone();
            let asker = std::thread::spawn(move || t.ask(move || r.store(true, SeqCst)).is_ok());
            assert!(asker.join().unwrap());
            assert!(ran.load(SeqCst), "the thread counts as stopped: the asker answers for it");
        });
    });
}
