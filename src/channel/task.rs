//! Sends and receives for which no thread waits: as futures, and as calls when they are over.

use super::error::{RecvError, SendError, TryRecvError, TrySendError};
use super::handle::{Flavor, Source, each};
use super::node::{Node, Then};
use super::{Receiver, Sender};
use crate::thread::quietly;
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Where calls run: see [`Receiver::recv_then`]. A closure that takes the job is one.
pub trait Executor {
    /// Runs the job, now or later, on any thread. Called by whoever completes the operation, with no internal lock held, at
    /// times while that waits already; so it should do no more than queue it. Run in place, a job that begins
    /// another operation nests, as deep as there are values. If it panics, as a waker may, that ends here: the operation
    /// is complete, and who completed it goes on. A job that is not run drops its value.
    fn execute(&self, job: Box<dyn FnOnce() + Send>);
}

impl<F: Fn(Box<dyn FnOnce() + Send>)> Executor for F {
    fn execute(&self, job: Box<dyn FnOnce() + Send>) {
        self(job);
    }
}

impl<T: Send + 'static> Receiver<T> {
    /// Receives the oldest value when there is one, and hands `f` with it to the executor: core.async's `take!`. Does not
    /// wait. The order among those who wait is that in which they came, threads or not.
    ///
    /// If the channel is closed, or is closed before a value comes, `f` gets [`RecvError::Closed`]. No other error.
    ///
    /// # Panics
    /// Of a timer: nothing stands behind it that could call.
    /// # Cost
    /// Three allocations, and both locks of the channel.
    ///
    /// # Examples
    /// ```
    /// use selvedge::channel;
    /// let (tx, rx) = channel::bounded(1);
    /// let (done, results) = channel::unbounded();
    /// rx.recv_then(|job: Box<dyn FnOnce() + Send>| job(), move |got| done.try_send(got).unwrap());
    /// tx.try_send("here").unwrap(); // completes it
    /// assert_eq!(results.try_recv(), Ok(Ok("here")));
    /// ```
    pub fn recv_then(
        &self,
        executor: impl Executor + Send + 'static,
        f: impl FnOnce(Result<T, RecvError>) + Send + 'static,
    ) {
        let then = Then::Received(Box::new(move |got| executor.execute(Box::new(|| f(got)))));
        match (self.channel(), then) {
            (Some(flavor), then) => each!(flavor, core => core.recv_then(then)),
            (None, Then::Received(then)) => quietly(|| then(Err(RecvError::Closed))),
            (None, Then::Sent(_)) => unreachable!("made above"),
        }
    }

    /// As [`recv`](Self::recv), for a task. See [`RecvFuture`].
    ///
    /// # Panics
    /// Of a timer: nothing stands behind it that could wake.
    pub fn recv_async(&self) -> RecvFuture<'_, T> {
        RecvFuture {
            flavor: self.channel(),
            node: Node::empty(),
            queued: Cell::new(false),
            _pinned: PhantomPinned,
        }
    }

    /// None: the handle has left.
    #[track_caller]
    fn channel(&self) -> Option<&Flavor<T>> {
        match &self.0.of {
            _ if self.is_disconnected() => None,
            Source::Channel(flavor) => Some(flavor),
            Source::Timer(_) => panic!("a timer wakes no task and calls nobody"),
        }
    }
}

impl<T: Send + 'static> Sender<T> {
    /// Sends a value when there is room, and hands `f` to the executor: core.async's `put!`. Does not wait: the value
    /// queues, behind those of others that wait.
    ///
    /// If the channel is closed, or is closed before there is room, `f` gets [`SendError::Closed`] with the value. No other
    /// error.
    ///
    /// # Cost
    /// As of [`recv_then`](Receiver::recv_then).
    pub fn send_then(
        &self,
        value: T,
        executor: impl Executor + Send + 'static,
        f: impl FnOnce(Result<(), SendError<T>>) + Send + 'static,
    ) {
        let then = Then::Sent(Box::new(move |sent| executor.execute(Box::new(|| f(sent)))));
        match then {
            Then::Sent(then) if self.is_disconnected() => {
                quietly(|| then(Err(SendError::Closed(value))));
            }
            then => each!(&self.0.of, core => core.send_then(value, then)),
        }
    }

    /// As [`send`](Self::send), for a task. See [`SendFuture`].
    pub fn send_async(&self, value: T) -> SendFuture<'_, T> {
        SendFuture {
            flavor: &self.0.of,
            gone: self.is_disconnected(),
            value: Cell::new(Some(value)),
            node: Node::empty(),
            queued: Cell::new(false),
            _pinned: PhantomPinned,
        }
    }
}

/// A receive that a task waits for: [`Receiver::recv_async`].
///
/// It is woken when there is a value, and takes it when it is polled then: so dropping it loses none. If another receiver
/// was quicker, it waits on, behind the others. Dropped after it was woken, it wakes the next task. A thread that waits to
/// receive goes before tasks, and a call too. Polled after it is over, it receives another value.
#[must_use = "a future does nothing until it is polled"]
pub struct RecvFuture<'a, T> {
    /// None: the handle had left.
    flavor: Option<&'a Flavor<T>>,
    node: Node<()>,
    queued: Cell<bool>,
    _pinned: PhantomPinned,
}

/// A send that a task waits for: [`Sender::send_async`].
///
/// Until the value is sent it is in the future, which queues with it as a thread would; dropping the future drops it. To be
/// polled after it is over makes it panic.
#[must_use = "a future does nothing until it is polled"]
pub struct SendFuture<'a, T> {
    flavor: &'a Flavor<T>,
    /// The handle had left.
    gone: bool,
    value: Cell<Option<T>>,
    node: Node<T>,
    queued: Cell<bool>,
    _pinned: PhantomPinned,
}

// SAFETY: others reach the node under the channel's locks only (node I1); the value may move to other threads. The cells are
// touched by who polls or drops the future, which is one thread at a time.
unsafe impl<T: Send> Send for RecvFuture<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for SendFuture<'_, T> {}

impl<T> Future for RecvFuture<'_, T> {
    type Output = Result<T, RecvError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.into_ref().get_ref();
        let Some(flavor) = this.flavor else { return Poll::Ready(Err(RecvError::Closed)) };
        if !this.queued.get() {
            match each!(flavor, core => core.try_recv(None)) {
                Ok(value) => return Poll::Ready(Ok(value)),
                Err(TryRecvError::Closed) => return Poll::Ready(Err(RecvError::Closed)),
                Err(TryRecvError::Empty) => {}
            }
        }
        let polled = each!(flavor, core => core.poll_recv(&this.node, cx));
        this.queued.set(polled.is_pending());
        polled
    }
}

impl<T> Drop for RecvFuture<'_, T> {
    fn drop(&mut self) {
        if let Some(flavor) = self.flavor.filter(|_| self.queued.get()) {
            each!(flavor, core => core.stop_watching(&self.node));
        }
    }
}

impl<T> Future for SendFuture<'_, T> {
    type Output = Result<(), SendError<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.into_ref().get_ref();
        let mut value = this.value.take();
        if let Some(first) = value {
            if this.gone {
                return Poll::Ready(Err(SendError::Closed(first)));
            }
            match each!(this.flavor, core => core.send_at_once(first)) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(TrySendError::Closed(v)) => return Poll::Ready(Err(SendError::Closed(v))),
                Err(TrySendError::Full(v)) => value = Some(v),
            }
        }
        assert!(value.is_some() || this.queued.get(), "a future that is over was polled");
        let polled = each!(this.flavor, core => core.poll_send(&this.node, value, cx));
        this.queued.set(polled.is_pending());
        polled
    }
}

impl<T> Drop for SendFuture<'_, T> {
    fn drop(&mut self) {
        if self.queued.get() {
            drop(each!(self.flavor, core => core.stop_sending(&self.node)));
        }
    }
}

impl<T> fmt::Debug for RecvFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvFuture").field("queued", &self.queued.get()).finish_non_exhaustive()
    }
}
impl<T> fmt::Debug for SendFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendFuture").field("queued", &self.queued.get()).finish_non_exhaustive()
    }
}
