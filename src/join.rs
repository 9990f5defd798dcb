//! Waiting for the end of a thread. Who is queued and who wakes them is `thread/exit`'s; here is the wait.

use crate::error::Panic;
use crate::failure::{JoinError, JoinFailure};
use crate::park::{Entry, Waiter};
use crate::thread::waits::Edge;
use crate::thread::{Blocker, Context, Exit, JoinHandle, Thread};
use crate::wait::{End, Site, wait_at};
use std::any::Any;
use std::time::Instant;

impl Site for Thread {
    fn enqueue(&self, waiter: &'static Waiter, entry: Entry) -> bool {
        self.enqueue_joiner(waiter, entry)
    }
    fn dequeue(&self, waiter: &'static Waiter) {
        self.dequeue_joiner(waiter);
    }
    fn edge(&self) -> Edge {
        Edge::Thread(self.id())
    }
}

impl Thread {
    /// Waits for the end of the thread. As often as asked, by as many threads as ask.
    ///
    /// # Errors
    /// See [`JoinError`]. A thread of the caller's runtime that is over is joined at once, also with a signal pending or
    /// where waiting is refused.
    /// # Blocking
    /// Yes; a safe point.
    /// # Ordering
    /// Everything the thread did happens-before the return.
    pub fn join<C: Context>(&self, cx: &mut C) -> Result<Exit, JoinError> {
        self.join_dyn(cx, None)
    }

    /// As [`join`](Self::join), until `deadline` at the latest.
    ///
    /// # Errors
    /// [`JoinError::TimedOut`] as well.
    pub fn join_until<C: Context>(&self, cx: &mut C, deadline: Instant) -> Result<Exit, JoinError> {
        self.join_dyn(cx, Some(deadline))
    }

    fn join_dyn(&self, cx: &mut dyn Context, deadline: Option<Instant>) -> Result<Exit, JoinError> {
        let me = cx.me();
        if me.thread() == self {
            return Err(JoinError::Yourself(me.id()));
        }
        let (mine, theirs) = (me.runtime().id(), self.runtime_id());
        if mine != theirs {
            return Err(JoinError::ForeignRuntime { mine, theirs });
        }
        if let Some(exit) = self.exit() {
            return Ok(exit);
        }
        match wait_at(cx, self, &Blocker::join(self.clone()), deadline) {
            End::Done | End::Woken => Ok(self.exit().expect("a thread that was joined is over")),
            End::Interrupted => Err(JoinError::Interrupted),
            End::TimedOut => Err(JoinError::TimedOut),
            End::ShutDown => Err(JoinError::ShutDown),
            End::Deadlock(cycle) => Err(JoinError::Deadlock(cycle)),
            End::WouldBlock => Err(JoinError::WouldBlock),
        }
    }
}

impl<T: Any + Clone, E: Any + Clone> JoinHandle<T, E> {
    /// Waits for the end of the thread; a copy of its result or error. As often as asked.
    ///
    /// # Errors
    /// The thread's own error or panic; [`JoinFailure::Wait`]: the join did not get to its end.
    /// # Blocking
    /// Yes; a safe point. `Clone` of the result runs on this thread, with no internal lock held.
    /// # Ordering
    /// Everything the thread did happens-before the return.
    pub fn join<C: Context>(&self, cx: &mut C) -> Result<T, JoinFailure<E>> {
        Self::open(self.thread().join(cx))
    }

    /// As [`join`](Self::join), until `deadline` at the latest.
    ///
    /// # Errors
    /// [`JoinError::TimedOut`] as well.
    pub fn join_until<C: Context>(
        &self,
        cx: &mut C,
        deadline: Instant,
    ) -> Result<T, JoinFailure<E>> {
        Self::open(self.thread().join_until(cx, deadline))
    }

    /// The thread ended otherwise than by its closure's return: its token was swapped away and dropped.
    fn detached() -> JoinFailure<E> {
        JoinFailure::Panicked(Panic::new(&"the thread's participant was dropped"))
    }

    fn open(exit: Result<Exit, JoinError>) -> Result<T, JoinFailure<E>> {
        let exit = exit.map_err(JoinFailure::Wait)?;
        if let Some(panic) = exit.panic() {
            return Err(JoinFailure::Panicked(panic));
        }
        match exit.value() {
            Some(value) => Ok(value),
            None => Err(exit.error().map_or_else(Self::detached, JoinFailure::Failed)),
        }
    }
}
