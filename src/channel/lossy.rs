//! Channels in which a send to a full channel loses a value in place of waiting; and the send that does so to any channel.

use super::core::Policy;
use super::error::TrySendError;
use super::handle::{Flavor, each};
use super::{Builder, Receiver, Sender};

/// A channel with room for `capacity` values, the oldest that nobody has received: a send to a full one drops its own value.
///
/// No send ever waits, or is a safe point. [`send`](Sender::send) says `Ok` of a value that it drops; `try_send` gives it
/// back as [`Full`](TrySendError::Full). A value is dropped in the thread that sends, with no lock held: its destructor may
/// use the channel, or panic. With room for none a value is dropped unless a receiver waits.
///
/// # Panics
/// As [`bounded`](super::bounded).
///
/// # Examples
/// ```
/// use selvedge::{Runtime, channel};
/// let vm = Runtime::new();
/// let mut cx = vm.attach("main")?;
/// let (tx, rx) = channel::dropping(2); // the chairs at the barber's
/// tx.send_all(&mut cx, 1..=5)?;
/// assert_eq!(rx.drain().collect::<Vec<_>>(), [1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn dropping<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    Builder::new().dropping(capacity)
}

/// A channel with room for `capacity` values, the newest: a send to a full one drops the oldest value.
///
/// As [`dropping`] otherwise, but that `try_send` succeeds, and drops the oldest value too.
/// [`force_send`](Sender::force_send) gives that back. With room for none a value is dropped unless a receiver waits, and
/// `try_send` gives it back; the same where all places are promised ([`Permit`](super::Permit)).
///
/// # Panics
/// As [`bounded`](super::bounded).
///
/// # Examples
/// ```
/// use selvedge::{Runtime, channel};
/// let vm = Runtime::new();
/// let mut cx = vm.attach("main")?;
/// let (tx, rx) = channel::sliding(2); // the last readings of a sensor
/// tx.send_all(&mut cx, 1..=5)?;
/// assert_eq!(rx.drain().collect::<Vec<_>>(), [4, 5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn sliding<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    Builder::new().sliding(capacity)
}

impl Builder {
    /// See [`dropping`].
    ///
    /// # Panics
    /// If there is no memory for so many values.
    pub fn dropping<T>(mut self, capacity: usize) -> (Sender<T>, Receiver<T>) {
        self.traits.policy = Policy::Drop;
        self.with_room(capacity)
    }
    /// See [`sliding`].
    ///
    /// # Panics
    /// If there is no memory for so many values.
    pub fn sliding<T>(mut self, capacity: usize) -> (Sender<T>, Receiver<T>) {
        self.traits.policy = Policy::Slide;
        self.with_room(capacity)
    }
}

impl<T> Sender<T> {
    /// Sends without waiting, if need be in the place of the oldest value in the channel, which comes back. The two are one
    /// step: nobody sees the channel without both.
    ///
    /// Threads that wait to send keep their turn, and wait on: their values follow those in the channel, this one too.
    ///
    /// # Errors
    /// See [`TrySendError`]; it gives the value back. `Full` where no value can be displaced: in a rendezvous, if no receiver
    /// waits, and where all places are promised ([`Permit`](super::Permit)).
    /// # Ordering
    /// As [`send`](Self::send). What displaces a value is also behind the send of that.
    /// # Cost
    /// There is room: as [`try_send`](Self::try_send). Else it takes both sides, and receivers wait as long.
    ///
    /// # Examples
    /// ```
    /// let (tx, rx) = selvedge::channel::bounded(1);
    /// assert_eq!(tx.force_send(1), Ok(None));
    /// assert_eq!(tx.force_send(2), Ok(Some(1)));
    /// assert_eq!(rx.try_recv(), Ok(2));
    /// ```
    pub fn force_send(&self, value: T) -> Result<Option<T>, TrySendError<T>> {
        each!(&self.0.of, core => core.force_send(value, self.0.id))
    }
}
