//! What the tests of the API share: either kind of runtime, hang guards, points in time.

#![allow(dead_code, reason = "no test file uses all of it")]

pub(crate) mod misuse;

use selvedge::*;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

pub(crate) type Unit = Result<(), ()>;

/// Runs `f` on an OS thread of its own: a hang fails this test and spares the others.
pub(crate) fn guarded<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    guarded_for(Duration::from_secs(120), f)
}
/// The same for a test that may take so long.
pub(crate) fn guarded_for<R: Send + 'static>(
    limit: Duration,
    f: impl FnOnce() -> R + Send + 'static,
) -> R {
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || tx.send(catch_unwind(AssertUnwindSafe(f))));
    match rx.recv_timeout(limit) {
        Ok(Ok(r)) => r,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => panic!("it hangs"),
    }
}

pub(crate) fn baton() -> Runtime {
    Runtime::builder().baton(true).build()
}

/// Runs `f` in parallel mode and under the baton.
pub(crate) fn both(f: fn(Runtime)) {
    guarded(move || f(Runtime::new()));
    guarded(move || f(baton()));
}

/// No test takes that long.
pub(crate) fn far() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

/// For a wait that must time out, or must not end before.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_millis(30)
}

/// Looks again and again, letting others run, whatever signals are pending.
pub(crate) fn until<C: Context>(cx: &mut C, what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is() {
        assert!(Instant::now() < end, "never: {what}");
        outside(cx, |_| std::thread::sleep(Duration::from_micros(100)));
    }
}

pub(crate) fn until_blocked<C: Context>(cx: &mut C, t: &Thread, kind: BlockerKind) {
    let t = t.clone();
    until(cx, "blocked", || t.blocker().is_some_and(|b| b.kind() == kind));
}

pub(crate) fn leaked() -> &'static Mutex {
    Box::leak(Box::new(Mutex::new()))
}

pub(crate) fn flag() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(false))
}
/// A thread that does nothing but let others run until the flag is set.
pub(crate) fn idler(vm: &Runtime, name: &'static str, go: &Arc<AtomicBool>) -> JoinHandle<(), ()> {
    let go = go.clone();
    let h = vm.spawn(name, move |cx| {
        until(cx, "go", || go.load(SeqCst));
        Unit::Ok(())
    });
    h.unwrap()
}
