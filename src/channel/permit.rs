//! A place in a channel, for a value that is made afterwards.

use super::Sender;
use super::error::{SendError, TrySendError};
use super::handle::{Flavor, each};
use super::node::Node;
use crate::thread::Context;
use std::fmt;
use std::time::Instant;

/// A place in a channel: the value is made when there is room for it, and then goes in without a wait. From
/// [`Sender::reserve`](super::Sender::reserve). Dropped, it gives the place back.
///
/// In a bounded channel the place counts as taken. An unbounded one always has one. Of a rendezvous it says that a receiver
/// waits; if that has gone when the value comes, the value waits in the channel for the next one.
///
/// `Send` and `Sync` if the values are `Send`: one thread may get the place, and another one fill it.
///
/// # Examples
/// ```
/// use selvedge::{Runtime, channel};
/// let vm = Runtime::new();
/// let mut cx = vm.attach("main")?;
/// let (tx, rx) = channel::bounded(1);
/// let permit = tx.reserve(&mut cx)?;
/// assert!(tx.try_send(2).is_err()); // the place is taken
/// permit.publish(1)?;
/// assert_eq!(rx.recv(&mut cx), Ok(1));
/// drop(tx.reserve(&mut cx)?);
/// tx.try_send(3)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropped, it gives the place back"]
pub struct Permit<'a, T> {
    /// None: it was published.
    flavor: Option<&'a Flavor<T>>,
    /// Where the value of a rendezvous waits, if it must.
    spare: Option<Box<Node<T>>>,
}

// SAFETY: the node is in no queue, and nobody else's (node I2); it has no value, and one that it gets may move to other threads.
unsafe impl<T: Send> Send for Permit<'_, T> {}
// SAFETY: nothing is done by a shared one.
unsafe impl<T: Send> Sync for Permit<'_, T> {}

impl<'a, T> Permit<'a, T> {
    /// The place was promised.
    pub(super) fn new(flavor: &'a Flavor<T>) -> Self {
        let alone = matches!(flavor, Flavor::Zero(_));
        Self { flavor: Some(flavor), spare: alone.then(|| Box::new(Node::empty())) }
    }

    /// Sends the value. Never waits.
    ///
    /// # Errors
    /// [`SendError::Closed`]: the channel has been closed, or nobody can receive any more; with the value. No other.
    /// # Ordering
    /// As [`send`](super::Sender::send).
    /// # Cost
    /// Two locks of some instructions each. [`reserve`](super::Sender::reserve) too.
    pub fn publish(mut self, value: T) -> Result<(), SendError<T>> {
        let flavor = self.flavor.take().expect("published once: it takes the permit");
        let spare = self.spare.take();
        each!(flavor, core => core.publish(value, spare)).map_err(SendError::Closed)
    }
}

impl<T> Sender<T> {
    /// Waits for a place, for a value that is made afterwards.
    ///
    /// # Errors
    /// See [`SendError`].
    /// # Blocking
    /// Yes, as [`send`](Self::send).
    pub fn reserve<C: Context>(&self, cx: &mut C) -> Result<Permit<'_, T>, SendError<()>> {
        self.reserve_at(cx, None)
    }
    /// As [`reserve`](Self::reserve), until `deadline` at the latest.
    ///
    /// # Errors
    /// [`SendError::TimedOut`] as well.
    pub fn reserve_until<C: Context>(
        &self,
        cx: &mut C,
        deadline: Instant,
    ) -> Result<Permit<'_, T>, SendError<()>> {
        self.reserve_at(cx, Some(deadline))
    }
    fn reserve_at(
        &self,
        cx: &mut dyn Context,
        deadline: Option<Instant>,
    ) -> Result<Permit<'_, T>, SendError<()>> {
        if self.is_disconnected() {
            return Err(SendError::Closed(()));
        }
        each!(&self.0.of, core => core.reserve(cx, deadline)).map(|()| Permit::new(&self.0.of))
    }
    /// A place, if that takes no wait.
    ///
    /// # Errors
    /// See [`TrySendError`].
    pub fn try_reserve(&self) -> Result<Permit<'_, T>, TrySendError<()>> {
        if self.is_disconnected() {
            return Err(TrySendError::Closed(()));
        }
        each!(&self.0.of, core => core.try_reserve())
            .map(|()| Permit::new(&self.0.of))
            .map_err(TrySendError::from)
    }
}

impl<T> Drop for Permit<'_, T> {
    fn drop(&mut self) {
        if let Some(flavor) = self.flavor {
            each!(flavor, core => core.release());
        }
    }
}

impl<T> fmt::Debug for Permit<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}
