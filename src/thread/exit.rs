//! How a thread ended, and who waits for that.
//!
//! The result and the error are the VM's own types. They lie in a slot behind one pointer, erased for the record and
//! typed for who knows them (decision 2): no lock is held while a VM's `Clone` runs.
//!
//! | `state` (under the queue's lock) | meaning                                                             |
//! |----------------------------------|---------------------------------------------------------------------|
//! | none                             | the thread lives; joiners queue                                     |
//! | a finish                         | it is over, and this never changes; nobody queues any more          |
//!
//! I1. `state` is written once: by the thread itself, at its end, or by its spawner, if it never began.
//! I2. A call that is left for the end is made once: by the end, after the joiners are woken, or at once by who brings it
//!     later.
//! E1. The queue's lock: who sees the finish sees what the thread did. Who was woken took it over with the claim (claim E1).

use super::{Thread, drop_quietly};
use crate::error::Panic;
use crate::park::{Entry, Outcome, Queue, QueueGuard, Waiter};
use crate::shim::{Arc, AtomicU32, Ordering::*, UnsafeCell, planted};
use std::any::Any;
use std::fmt;
use std::ops::Deref;

/// Result, error or panic, with their types.
pub(crate) struct Slot<T, E>(pub(crate) Result<T, E>);

/// A slot without its types.
pub(crate) trait Erased: Any + Send + Sync {
    fn is_ok(&self) -> bool;
    fn value(&self) -> Option<&dyn Any>;
    fn error(&self) -> Option<&dyn Any>;
}

impl<T: Any + Send + Sync, E: Any + Send + Sync> Erased for Slot<T, E> {
    fn is_ok(&self) -> bool {
        self.0.is_ok()
    }
    fn value(&self) -> Option<&dyn Any> {
        self.0.as_ref().ok().map(|t| t as _)
    }
    fn error(&self) -> Option<&dyn Any> {
        self.0.as_ref().err().map(|e| e as _)
    }
}

/// How a thread ended.
#[derive(Clone)]
pub(crate) enum Finish {
    /// It was attached, and detached.
    Detached,
    /// Its closure returned.
    Returned(Arc<dyn Erased>),
    /// Its closure panicked.
    Panicked(Panic),
}

/// A thread that is over, with its result, error or panic. Made by [`Thread::join`] and [`Thread::exit`].
///
/// # Examples
/// ```
/// use selvedge::Runtime;
/// let vm = Runtime::new();
/// let mut cx = vm.attach("main")?;
/// let worker = vm.spawn("worker", |_cx| Err::<u32, _>("out of paper"))?;
/// let exit = worker.thread().join(&mut cx)?; // the handle without the types
/// assert!(!exit.is_ok());
/// assert_eq!((exit.value::<u32>(), exit.error::<&str>()), (None, Some("out of paper")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Exit {
    pub(super) thread: Thread,
    pub(super) finish: Finish,
}

impl Exit {
    /// The thread.
    pub fn thread(&self) -> &Thread {
        &self.thread
    }
    /// It ended neither in error nor in panic.
    pub fn is_ok(&self) -> bool {
        match &self.finish {
            Finish::Detached => true,
            Finish::Returned(slot) => slot.is_ok(),
            Finish::Panicked(_) => false,
        }
    }
    /// A copy of the result, if there is one and it is a `T`.
    pub fn value<T: Any + Clone>(&self) -> Option<T> {
        let Finish::Returned(slot) = &self.finish else { return None };
        slot.value()?.downcast_ref().cloned()
    }
    /// A copy of the error, if there is one and it is an `E`.
    pub fn error<E: Any + Clone>(&self) -> Option<E> {
        let Finish::Returned(slot) = &self.finish else { return None };
        slot.error()?.downcast_ref().cloned()
    }
    /// The panic, if that was its end.
    pub fn panic(&self) -> Option<Panic> {
        let Finish::Panicked(panic) = &self.finish else { return None };
        Some(panic.clone())
    }
}

impl fmt::Debug for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exit").field("thread", &self.thread).field("ok", &self.is_ok()).finish()
    }
}

/// A handle of a thread that was spawned, which knows the types of its result and error.
pub struct JoinHandle<T, E> {
    thread: Thread,
    types: std::marker::PhantomData<fn() -> Result<T, E>>,
}

impl<T, E> JoinHandle<T, E> {
    pub(crate) fn new(thread: Thread) -> Self {
        Self { thread, types: std::marker::PhantomData }
    }
    /// The handle without the types.
    pub fn thread(&self) -> &Thread {
        &self.thread
    }
}
impl<T, E> Clone for JoinHandle<T, E> {
    fn clone(&self) -> Self {
        Self::new(self.thread.clone())
    }
}
impl<T, E> Deref for JoinHandle<T, E> {
    type Target = Thread;
    fn deref(&self) -> &Thread {
        &self.thread
    }
}
impl<T, E> fmt::Debug for JoinHandle<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JoinHandle").field(&self.thread).finish()
    }
}

/// A thread's end, and who waits for it. See the module.
pub(super) struct ExitCell {
    queue: Queue,
    state: UnsafeCell<Option<Finish>>,
    calls: UnsafeCell<Calls>,
    /// Not 0: it is over. A hint for who may not take the lock.
    over: AtomicU32,
}

/// Called with how a thread ended.
pub(crate) trait AtEnd: Send {
    fn call(self: Box<Self>, exit: Exit);
    /// Nobody waits for it any more. Asked under the lock of a thread's end: takes no lock.
    fn is_idle(&self) -> bool;
}

/// Calls at the end, in the order in which they were left.
#[derive(Default)]
struct Calls {
    all: Vec<Box<dyn AtEnd>>,
    /// With so many, those that are idle go.
    enough: usize,
}

/// Calls that nobody looks through.
const SPARE: usize = if cfg!(selvedge_loom) { 0 } else { 8 };

// SAFETY: `state` and `calls` are reached under the queue's lock only.
unsafe impl Send for ExitCell {}
// SAFETY: as above.
unsafe impl Sync for ExitCell {}

impl ExitCell {
    pub(super) fn new() -> Self {
        let calls = UnsafeCell::new(Calls::default());
        let (queue, over) = (Queue::new(), AtomicU32::new(0));
        Self { queue, state: UnsafeCell::new(None), calls, over }
    }

    /// Leaves a call for the end. It comes back, with how the thread ended, if it has. (It allocates under the queue's lock:
    /// what queues there is about to wait.)
    pub(super) fn at_end(&self, call: Box<dyn AtEnd>) -> Result<(), (Box<dyn AtEnd>, Finish)> {
        let queue = self.queue.lock();
        // SAFETY: under the queue's lock.
        if let Some(finish) = self.state.with(|s| unsafe { (*s).clone() })
            && !planted("call-after-the-end-is-lost")
        {
            return Err((call, finish));
        }
        let idle: Vec<_> = self.calls.with_mut(|calls| {
            // SAFETY: under the queue's lock.
            let calls = unsafe { &mut *calls };
            let mut idle = Vec::new();
            if calls.all.len() >= calls.enough {
                idle = calls.all.extract_if(.., |call| call.is_idle()).collect();
                calls.enough = 2 * calls.all.len() + SPARE;
            }
            calls.all.push(call);
            idle
        });
        drop(queue);
        // Their destructors may be a VM's.
        drop(idle);
        Ok(())
    }

    /// How the thread ended, if it has.
    pub(super) fn get(&self) -> Option<Finish> {
        let _queue = self.queue.lock();
        // SAFETY: under the queue's lock.
        self.state.with(|s| unsafe { (*s).clone() })
    }

    /// Is it over? True is final; false may be late. Takes no lock.
    pub(super) fn looks_over(&self) -> bool {
        // ORDERING: Relaxed. A hint: nothing is read that the thread wrote.
        self.over.load(Relaxed) != 0
    }

    /// Queues a joiner. False: the thread is over.
    pub(super) fn enqueue(&self, waiter: &'static Waiter, entry: Entry) -> bool {
        let mut queue = self.queue.lock();
        // SAFETY: under the queue's lock.
        let over = self.state.with(|s| unsafe { (*s).is_some() });
        if !over {
            queue.push_back(waiter, entry);
        }
        !over
    }

    /// Takes a joiner out whose wait ended otherwise.
    pub(super) fn dequeue(&self, waiter: &'static Waiter) {
        self.queue.lock().remove(waiter);
    }

    /// The thread is over: wakes all that join it, one after the other, and makes the calls, each with no lock held.
    pub(super) fn finish(&self, thread: &Thread, finish: Finish) {
        let early =
            planted("calls-are-taken-before-the-end").then(|| self.take_calls(&self.queue.lock()));
        let calls = {
            let queue = self.queue.lock();
            // SAFETY: under the queue's lock.
            self.state.with_mut(|s| unsafe { *s = Some(finish.clone()) });
            // ORDERING: Relaxed. A hint (`looks_over`).
            self.over.store(1, Relaxed);
            early.unwrap_or_else(|| self.take_calls(&queue))
        };
        self.wake_joiners();
        for call in calls {
            let exit = Exit { thread: thread.clone(), finish: finish.clone() };
            drop_quietly(Call(Some((call, exit))));
        }
    }

    fn take_calls(&self, _: &QueueGuard<'_>) -> Vec<Box<dyn AtEnd>> {
        // SAFETY: under the queue's lock.
        self.calls.with_mut(|calls| std::mem::take(unsafe { &mut (*calls).all }))
    }

    fn wake_joiners(&self) {
        loop {
            let mut queue = self.queue.lock();
            let Some(ticket) = queue.pop() else { return };
            let wake = ticket.claim(Outcome::Granted);
            drop(queue);
            if let Some(wake) = wake {
                wake.now();
            }
        }
    }
}

/// A call whose panic goes nowhere.
struct Call(Option<(Box<dyn AtEnd>, Exit)>);
impl Drop for Call {
    fn drop(&mut self) {
        if let Some((call, exit)) = self.0.take() {
            call.call(exit);
        }
    }
}
