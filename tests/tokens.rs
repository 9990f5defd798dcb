//! What a VM can do to its own token: replace it in a hook, reach it by a way of its own in a request. Safe code, so nothing
//! worse than an error or a panic may come of it.

mod scene;

use scene::*;
use selvedge::*;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Its `serve` puts another token in the place of the first, whose thread is thereby over, and panics.
struct Swapper {
    token: Participant,
    other: Option<Participant>,
    then: Option<Box<dyn FnOnce()>>,
}

impl Context for Swapper {
    fn me(&self) -> &Participant {
        &self.token
    }
    fn me_mut(&mut self) -> &mut Participant {
        &mut self.token
    }
    fn serve(&mut self) {
        if let Some(other) = self.other.take() {
            self.token = other;
            (self.then.take().expect("once"))();
            panic!("a hook's panic");
        }
    }
}

/// The slot of the first token goes to a new thread, which locks the mutex that the first one loses by the panic: the new
/// thread's guard is not the one that is void.
#[test]
fn a_loss_is_counted_on_the_own_record_only() {
    static M: Mutex = Mutex::new();
    static C: Condvar<&Mutex> = Condvar::new(&M);
    let (vm, elsewhere) = (Runtime::new(), Runtime::new());
    let token = vm.attach("first").unwrap();
    let first = token.thread().clone();
    let (go_on, gone_on) = mpsc::channel::<()>();
    let (locked, is_locked) = mpsc::channel::<()>();
    let (result, results) = mpsc::channel::<u32>();
    let then = Box::new(move || {
        std::thread::spawn(move || {
            let mut me = vm.attach("next").unwrap();
            let guard = M.lock(&mut me).unwrap();
            locked.send(()).unwrap();
            gone_on.recv().unwrap();
            drop(guard);
            result.send(M.depth(&me)).unwrap();
        });
        is_locked.recv().unwrap();
    });
    let other = Some(elsewhere.attach("other").unwrap());
    let mut cx = Swapper { token, other, then: Some(then) };
    M.acquire(&mut cx).unwrap();
    let asker = std::thread::spawn(move || {
        while first.blocker().is_none() {
            std::thread::yield_now();
        }
        first.ask_owner(|| {}).unwrap();
    });
    assert!(catch_unwind(AssertUnwindSafe(|| C.wait(&mut cx))).is_err());
    asker.join().unwrap();
    go_on.send(()).unwrap();
    assert_eq!(results.recv().unwrap(), 0, "the guard gave its level back");
    assert!(M.owner().is_none());
}

thread_local! {
    static TOKEN: RefCell<Option<Rc<Participant>>> = const { RefCell::new(None) };
}

/// Reached by a thread-local as well; asks itself for something before each wait.
struct Shared {
    token: Rc<Participant>,
    asks: bool,
}

impl Context for Shared {
    fn me(&self) -> &Participant {
        &self.token
    }
    fn me_mut(&mut self) -> &mut Participant {
        unreachable!("nothing here needs it")
    }
    fn before_block(&mut self, _: &Blocker) {
        if self.asks {
            self.token.thread().ask(sleep_in_a_request).unwrap();
        }
    }
}

fn sleep_in_a_request() {
    let token = TOKEN.with(|t| t.borrow().clone()).expect("set by the test");
    let mut cx = Shared { token, asks: false };
    match uninterruptible(&mut cx, |cx| sleep_until(cx, Instant::now())) {
        // At a safe point it may sleep, inside a wait it may not.
        Ok(()) | Err(SleepError::WouldBlock) => {}
        Err(e) => panic!("{e}"),
    }
}

/// A request that waits with the token of the thread for which it runs: refused inside a wait of that thread.
#[test]
fn a_request_does_not_wait_inside_a_wait() {
    let vm = Runtime::builder().baton(true).build();
    let token = Rc::new(vm.attach("main").unwrap());
    TOKEN.with(|t| *t.borrow_mut() = Some(token.clone()));
    let thread = token.thread().clone();
    let (stop, stopped) = mpsc::channel::<()>();
    // Signals end waits that are about to sleep, so that the thread is its own proxy.
    let stranger = std::thread::spawn(move || {
        while stopped.try_recv().is_err() {
            if thread.undelivered() == 0 {
                thread.post(()).unwrap();
            }
        }
    });
    let mut cx = Shared { token, asks: true };
    for _ in 0..2_000 {
        while cx.me().take_signal().is_some() {}
        let _ = sleep_until(&mut cx, Instant::now() + Duration::from_micros(1));
        safe_point(&mut cx);
    }
    stop.send(()).unwrap();
    stranger.join().unwrap();
    TOKEN.with(|t| *t.borrow_mut() = None);
}

/// Foreign code with a second context of its thread: it is outside there, whatever the context is asked for.
#[test]
fn a_second_context_outside() {
    for baton in [false, true] {
        guarded(move || {
            let vm = Runtime::builder().baton(baton).build();
            let token = Rc::new(vm.attach("main").unwrap());
            let (mut first, mut second) =
                [(); 2].map(|()| Shared { token: token.clone(), asks: false }).into();
            let m = leaked();
            let idle = flag();
            let other = idler(&vm, "other", &idle);
            let (cx, deadline) = (&mut second, Instant::now());
            outside(&mut first, |o| {
                assert_eq!(sleep_until(cx, deadline), Err(SleepError::WouldBlock));
                assert!(matches!(other.join(cx), Err(JoinFailure::Wait(JoinError::WouldBlock))));
                let held = m.lock(cx).unwrap();
                assert_eq!(Condvar::new(m).wait(cx), Err(WaitError::WouldBlock));
                drop(held);
                let _ = yield_now(cx);
                // Both ways to go further out and to come in, one within the other.
                outside(cx, |p| {
                    p.inside(|cx| {
                        sleep_until(cx, deadline).unwrap();
                        o.inside(|cx| sleep_until(cx, deadline)).unwrap();
                        sleep_until(cx, deadline).unwrap();
                    });
                    o.inside(|cx| {
                        p.inside(|cx| sleep_until(cx, deadline)).unwrap();
                        sleep_until(cx, deadline).unwrap();
                    });
                });
                assert_eq!(sleep_until(cx, deadline), Err(SleepError::WouldBlock));
                o.inside(|cx| sleep_until(cx, deadline)).unwrap();
                assert_eq!(sleep_until(cx, deadline), Err(SleepError::WouldBlock));
            });
            idle.store(true, SeqCst);
            other.join(&mut first).unwrap();
            sleep_until(&mut second, deadline).unwrap();
        });
    }
}
