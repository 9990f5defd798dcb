//! Nothing leaks: records, results, errors, signals, labels, runtimes. One test, because it counts for the whole process.

mod scene;

use scene::*;
use selvedge::*;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::SeqCst};
use std::sync::{Arc, Weak, mpsc};
use std::time::{Duration, Instant};

static ALIVE: AtomicIsize = AtomicIsize::new(0);

/// A value of the VM that is counted.
#[derive(Debug)]
struct Counted(&'static str);
impl Counted {
    fn new(what: &'static str) -> Self {
        ALIVE.fetch_add(1, SeqCst);
        Self(what)
    }
}
impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(self.0)
    }
}
impl Drop for Counted {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, SeqCst);
    }
}
/// Counted, and dropped with its runtime.
struct CountedHost(#[allow(dead_code)] Counted, bool);
impl Host for CountedHost {
    fn main_signal(&self, _: &Thread, payload: Signal) {
        if self.1 {
            assert_eq!(payload.downcast::<Counted>().unwrap().0, "to main");
        }
    }
}

/// What must be gone after a round.
type Gone = Vec<(&'static str, Weak<dyn std::any::Any + Send + Sync>)>;

fn runtime(round: u32) -> Runtime {
    let schedule = match round % 4 {
        0 => Schedule::new(),
        1 => Schedule::new().looks(0).hand_over_after(Some(Duration::ZERO)),
        2 => Schedule::new().fair(true),
        _ => Schedule::new().pick(Pick::Seeded(round.into())),
    };
    let signals = if round.is_multiple_of(2) { SignalPolicy::Queue } else { SignalPolicy::Replace };
    Runtime::builder()
        .baton((round / 2).is_multiple_of(2))
        .host(CountedHost(Counted::new("host"), !round.is_multiple_of(3)))
        .signals(signals)
        .schedule(schedule)
        .build()
}

/// Threads that end in every way; handles and results dropped before and after.
fn ends(round: u32, gone: &mut Gone) {
    let vm = runtime(round);
    let mut cx = vm.attach("main").unwrap();
    let m = Arc::new(Mutex::with_label(Label::new(format!("m{round}")).tag(1)));
    let c = Arc::new(Condvar::with_label(m.clone(), Label::new(format!("c{round}"))));
    gone.push(("mutex", Arc::downgrade(&(m.clone() as Arc<_>))));
    gone.push(("condvar", Arc::downgrade(&(c.clone() as Arc<_>))));

    let value = Counted::new("value");
    let h = vm.spawn("returns", move |_| Ok::<_, ()>(value)).unwrap();
    for _ in 0..3 {
        assert_eq!(h.join(&mut cx).unwrap().0, "value");
    }
    let exit = h.thread().join(&mut cx).unwrap();
    drop(h);
    assert!(exit.value::<Counted>().is_some());
    drop(exit);

    let error = Counted::new("error");
    let h = vm.spawn("fails", move |_| Result::<(), _>::Err(error)).unwrap();
    assert!(matches!(h.join(&mut cx), Err(JoinFailure::Failed(_))));
    assert!(vm.last_error(round.is_multiple_of(2)).is_some());

    let payload = Counted::new("panic");
    let h = vm.spawn("panics", move |_| -> Result<(), ()> { resume_unwind(Box::new(payload)) });
    assert!(matches!(h.unwrap().join(&mut cx), Err(JoinFailure::Panicked(_))));

    // Nobody asks for these two.
    let value = Counted::new("unasked");
    drop(vm.spawn("detached", move |_| Ok::<_, ()>(value)).unwrap());
    let error = Counted::new("unasked error");
    drop(vm.spawn("detached", move |_| Result::<(), _>::Err(error)).unwrap());

    // Holding a mutex and a handle to it, which the guard keeps.
    let own = Arc::new(Mutex::named("own"));
    gone.push(("own", Arc::downgrade(&(own.clone() as Arc<_>))));
    let h = vm.spawn("exits holding", move |cx| {
        own.acquire(cx).map_err(drop)?;
        let _again = Mutex::lock_owned(own.clone(), cx).map_err(drop)?;
        Ok::<_, ()>(Counted::new("held"))
    });
    h.unwrap().join(&mut cx).unwrap();

    // Captured by a thread that the runtime or the system refuses.
    let captured = Counted::new("captured");
    let tiny = Runtime::builder().stack_size(1 << 60).build();
    assert!(tiny.spawn("refused", move |_| Ok::<_, ()>(captured)).is_err());

    // Signals: to the main thread, taken, untaken, replaced, to the dead.
    let main = cx.thread().clone();
    let held = m.lock(&mut cx).unwrap();
    let m2 = m.clone();
    let h = vm.spawn("signalled", move |cx| {
        assert!(matches!(main.signal(cx, Counted::new("to main")), Ok(Delivery::Host)));
        assert_eq!(m2.lock(cx).unwrap_err(), LockError::Interrupted);
        let taken = cx.take_signal().unwrap().downcast::<Counted>().unwrap();
        until(cx, "released", || m2.owner().is_none());
        Ok::<_, ()>(taken)
    });
    let h = h.unwrap();
    until_blocked(&mut cx, &h, BlockerKind::Mutex);
    for _ in 0..4 {
        assert!(matches!(h.signal(&cx, Counted::new("signal")), Ok(Delivery::Queued)));
    }
    drop(held);
    h.join(&mut cx).unwrap();
    if round.is_multiple_of(3) {
        let _ = h.take_undelivered();
    }
    assert!(matches!(h.signal(&cx, Counted::new("dead")), Err(SignalError::Dead(_))));
    let own = cx.thread().signal(&cx, Counted::new("own"));
    assert!(matches!(own, Ok(Delivery::Own(_))));
    drop(own);

    // Requests: run, run by another, refused, panicking, behind a panic.
    let request = || {
        let c = Counted::new("request");
        move || drop(c)
    };
    assert!(h.ask(request()).is_err() && h.ask_owner(request()).is_err());
    let me = cx.thread().clone();
    me.ask(request()).unwrap();
    me.ask_owner(request()).unwrap();
    let _ = safe_point(&mut cx);
    outside(&mut cx, |_| {
        me.ask(request()).unwrap();
        me.ask_owner(request()).unwrap();
    });
    me.ask(|| resume_unwind(Box::new(Counted::new("panicking request")))).unwrap();
    me.ask(request()).unwrap();
    for _ in 0..2 {
        let _ = catch_unwind(AssertUnwindSafe(|| safe_point(&mut cx)));
    }
    let asked = vm.spawn("asked", |cx| {
        let me = cx.thread().clone();
        let c = Counted::new("left for the end");
        me.ask_owner(move || drop(c)).map_err(drop)
    });
    asked.unwrap().join(&mut cx).unwrap();

    // Joiners and blockers hold handles.
    let sleeper = vm.spawn("sleeper", |cx| {
        let _ = sleep_until(cx, far());
        Ok::<_, ()>(Counted::new("slept"))
    });
    let sleeper = sleeper.unwrap();
    let s = sleeper.clone();
    let joiner = vm.spawn("joiner", move |cx| s.join(cx).map_err(|_| ())).unwrap();
    until_blocked(&mut cx, &joiner, BlockerKind::Join);
    let blocker = joiner.blocker().unwrap();
    assert_eq!(blocker.thread(), Some(sleeper.thread()));
    assert!(matches!(sleeper.signal(&cx, Counted::new("wake")), Ok(Delivery::Queued)));
    joiner.join(&mut cx).unwrap();
    drop(blocker);

    // Condition-waits that end in each way.
    for end in 0..3 {
        let c2 = c.clone();
        let h = vm.spawn("waits", move |cx| {
            let _held = Mutex::lock_owned(c2.mutex().clone(), cx).map_err(drop)?;
            let _ = if end == 0 { c2.wait_until(cx, Instant::now()) } else { c2.wait(cx) };
            Ok::<_, ()>(Counted::new("waited"))
        });
        let h = h.unwrap();
        match end {
            0 => {}
            1 => {
                until_blocked(&mut cx, &h, BlockerKind::Condvar);
                let _ = h.signal(&cx, Counted::new("end"));
            }
            _ => {
                until(&mut cx, "waits", || c.waiters() == 1);
                let _held = m.lock(&mut cx).unwrap();
                assert_eq!(c.notify_all(&cx), Ok(1));
            }
        }
        h.join(&mut cx).unwrap();
    }
    until(&mut cx, "the detached are over", || vm.all_threads().len() == 1);
    drop((h, joiner, sleeper, m, c));
    drop(cx);
}

/// A shutdown in the middle of everything.
fn stopped(round: u32, gone: &mut Gone) {
    let vm = runtime(round);
    let mut cx = vm.attach("main").unwrap();
    let m = Arc::new(Mutex::named("m"));
    let c = Arc::new(Condvar::named(m.clone(), "c"));
    gone.push(("mutex", Arc::downgrade(&(m.clone() as Arc<_>))));
    gone.push(("condvar", Arc::downgrade(&(c.clone() as Arc<_>))));
    let taken = Arc::new(Mutex::new());
    gone.push(("taken", Arc::downgrade(&(taken.clone() as Arc<_>))));
    let held = Mutex::lock_owned(taken.clone(), &mut cx).unwrap();
    let mut hs = Vec::new();
    for i in 0..8u32 {
        let (c, taken, kept) = (c.clone(), taken.clone(), Counted::new("captured"));
        let h = vm.spawn(format!("t{i}"), move |cx| {
            let kept = kept;
            let main = cx.runtime().main_thread();
            while !yield_now(cx).shut_down() {
                match i % 4 {
                    0 => drop(taken.lock(cx)),
                    1 => {
                        if let Ok(_held) = c.mutex().lock(cx) {
                            let _ = c.wait(cx);
                        }
                    }
                    2 => drop(main.as_ref().map(|m| m.join(cx))),
                    _ => {
                        let _ = sleep_until(cx, far());
                    }
                }
            }
            if i % 2 == 0 { Ok(kept) } else { Err(kept) }
        });
        hs.push(h.unwrap());
    }
    if round.is_multiple_of(2) {
        for h in &hs {
            let t = h.thread().clone();
            until(&mut cx, "blocked", || t.blocker().is_some());
        }
    }
    for h in &hs {
        // Signals of which some are taken by nobody, to threads that are about to be stopped.
        let _ = h.signal(&cx, Counted::new("signal"));
        let _ = h.ask_owner({
            let c = Counted::new("request");
            move || drop(c)
        });
    }
    vm.shutdown(&cx);
    assert!(vm.spawn("late", |_| Ok::<_, ()>(())).is_err());
    for h in &hs {
        let _ = h.join(&mut cx);
    }
    assert_eq!(vm.all_threads().len(), 1);
    drop(held);
}

/// Threads of the system that come and go.
fn guests(round: u32) {
    let vm = runtime(round);
    let mut cx = vm.attach("main").unwrap();
    let m = Arc::new(Mutex::new());
    let stop = Arc::new(AtomicBool::new(false));
    let os: Vec<_> = (0..3)
        .map(|i| {
            let (vm, m, stop) = (vm.clone(), m.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(SeqCst) {
                    let mut cx = vm.attach("guest").unwrap();
                    let other = Runtime::new();
                    let in_other = other.attach("main there").unwrap();
                    let held = m.lock(&mut cx).unwrap();
                    drop(in_other);
                    if i == 0 {
                        drop(held);
                        drop(cx);
                    } else {
                        let _ = yield_now(&mut cx);
                    }
                }
            })
        })
        .collect();
    for _ in 0..20 {
        drop(m.lock(&mut cx).unwrap());
        sleep_until(&mut cx, Instant::now()).unwrap();
    }
    stop.store(true, SeqCst);
    outside(&mut cx, |_| os.into_iter().for_each(|t| t.join().unwrap()));
}

#[test]
fn nothing_leaks() {
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || tx.send(catch_unwind(AssertUnwindSafe(body))));
    match rx.recv_timeout(Duration::from_secs(120)) {
        Ok(Ok(())) => {}
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => panic!("it hangs"),
    }
}

fn body() {
    let records = Runtime::records_in_use();
    assert_eq!(ALIVE.load(SeqCst), 0);
    let settled = |what: &str, round: u32| {
        // A thread that nobody joined may still be dropping its closure.
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end
            && (ALIVE.load(SeqCst) != 0 || Runtime::records_in_use() != records)
        {
            std::thread::sleep(Duration::from_micros(100));
        }
        assert_eq!(ALIVE.load(SeqCst), 0, "values, {what} {round}");
        assert_eq!(Runtime::records_in_use(), records, "records, {what} {round}");
    };
    for round in 0..100 {
        let mut gone = Gone::new();
        ends(round, &mut gone);
        settled("ends", round);
        stopped(round, &mut gone);
        settled("stopped", round);
        for (what, weak) in gone {
            assert_eq!(weak.strong_count(), 0, "{what}, round {round}");
        }
        if round.is_multiple_of(4) {
            guests(round / 4);
            settled("guests", round);
        }
    }
}
