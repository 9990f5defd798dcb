//! Safe points, requests, hooks, foreign code.

mod scene;

use scene::*;
use selvedge::*;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex as StdMutex};
use std::thread::{ThreadId as OsId, current};
use std::time::{Duration, Instant};

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

/// Requests that only the thread can answer pile up while it is outside: one more costs what the first one did.
#[test]
fn many_requests_to_a_thread_outside() {
    const N: u32 = 100_000;
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (out, go, done) = (flag(), flag(), Arc::new(AtomicU32::new(0)));
        let (is_out, gone) = (out.clone(), go.clone());
        let h = vm.spawn("outside", move |cx| {
            outside(cx, |_| {
                is_out.store(true, SeqCst);
                while !gone.load(SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            let _ = safe_point(cx);
            Unit::Ok(())
        });
        let h = h.unwrap();
        until(&mut cx, "it is outside", || out.load(SeqCst));
        for n in 0..N {
            let done = done.clone();
            h.ask_owner(move || assert_eq!(done.fetch_add(1, SeqCst), n, "in order")).unwrap();
        }
        let answered = flag();
        let a = answered.clone();
        h.ask(move || a.store(true, SeqCst)).unwrap();
        assert!(answered.load(SeqCst), "others are answered at once all the same");
        go.store(true, SeqCst);
        h.join(&mut cx).unwrap();
        assert_eq!(done.load(SeqCst), N);
    });
}
