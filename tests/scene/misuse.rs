//! What the tests of misuse share: bombs, quiet panics, a context whose hooks do anything.

use super::*;
use std::any::Any;
use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

pub(crate) fn guard_time() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// The mutex is free, nobody queues, and it locks, recursively too.
#[track_caller]
pub(crate) fn works<C: Context>(m: &Mutex, cx: &mut C) {
    assert!(m.owner().is_none(), "{m:?}");
    assert_eq!(m.waiters(), 0);
    {
        let _a = m.lock(cx).unwrap();
        let _b = m.lock_until(cx, far()).unwrap();
        let _c = m.try_lock(cx.me()).unwrap();
        assert_eq!(m.depth(cx.me()), 3);
    }
    assert!(m.owner().is_none());
}

pub(crate) fn add(n: &AtomicU32) {
    n.fetch_add(1, SeqCst);
}
pub(crate) fn ignore<T>(_: T) {}

/// A panic without the hook's message.
pub(crate) fn quiet_panic(message: &'static str) -> ! {
    resume_unwind(Box::new(message))
}
pub(crate) fn message(panic: Box<dyn Any + Send>) -> &'static str {
    panic.downcast_ref::<&'static str>().copied().unwrap_or("another panic")
}

/// Panics when it is dropped, once armed.
#[derive(Debug)]
pub(crate) struct Bomb(pub(crate) Arc<AtomicBool>);
impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0.load(SeqCst) && !std::thread::panicking() {
            self.0.store(false, SeqCst);
            quiet_panic("bomb");
        }
    }
}
pub(crate) fn armed() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(true))
}

/// A context whose hooks run what a test puts in.
pub(crate) type Job = Box<dyn FnMut(&mut Participant)>;
pub(crate) struct Hooked {
    pub(crate) me: Participant,
    before: VecDeque<Job>,
    after: VecDeque<Job>,
    serve: VecDeque<Job>,
    pub(crate) calls: [u32; 3],
}
impl Hooked {
    pub(crate) fn new(me: Participant) -> Self {
        let none = VecDeque::new;
        Self { me, before: none(), after: none(), serve: none(), calls: [0; 3] }
    }
    fn run(&mut self, which: usize) {
        self.calls[which] += 1;
        let jobs = [&mut self.before, &mut self.after, &mut self.serve];
        let job = jobs.into_iter().nth(which).unwrap().pop_front();
        if let Some(mut job) = job {
            job(&mut self.me);
        }
    }
    pub(crate) fn hook(&mut self, which: usize, f: impl FnMut(&mut Participant) + 'static) {
        let jobs = [&mut self.before, &mut self.after, &mut self.serve];
        jobs.into_iter().nth(which).unwrap().push_back(Box::new(f));
    }
}
pub(crate) const BEFORE: usize = 0;
pub(crate) const AFTER: usize = 1;
pub(crate) const SERVE: usize = 2;
impl Context for Hooked {
    fn me(&self) -> &Participant {
        &self.me
    }
    fn me_mut(&mut self) -> &mut Participant {
        &mut self.me
    }
    fn before_block(&mut self, _: &Blocker) {
        self.run(BEFORE);
    }
    fn after_block(&mut self) {
        self.run(AFTER);
    }
    fn serve(&mut self) {
        self.run(SERVE);
    }
}

/// A thread that holds `m` until it is told to go on.
pub(crate) fn holder(vm: &Runtime, m: &'static Mutex) -> (JoinHandle<(), ()>, Arc<AtomicBool>) {
    let go = Arc::new(AtomicBool::new(false));
    let g = go.clone();
    let h = vm.spawn("holder", move |cx| {
        let _held = m.lock(cx).unwrap();
        until(cx, "told to go on", || g.load(SeqCst));
        Unit::Ok(())
    });
    (h.unwrap(), go)
}

/// Asks the thread, once it is blocked, for something that only it can do.
pub(crate) fn disturb(vm: &Runtime, t: Thread, kind: BlockerKind) -> JoinHandle<(), ()> {
    let h = vm.spawn("disturber", move |cx| {
        until_blocked(cx, &t, kind);
        t.ask_owner(|| ()).map_err(drop)
    });
    h.unwrap()
}
