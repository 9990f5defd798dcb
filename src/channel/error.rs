//! Why a value was not sent, or none received. Each failed send gives the value back.

use std::error::Error;
use std::fmt;
use std::iter::{Chain, Once, once};

/// The value was not sent.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError<T> {
    /// The channel is closed, or nobody can receive any more.
    Closed(T),
    /// A signal is pending: take it.
    Interrupted(T),
    /// The deadline passed.
    TimedOut(T),
    /// The runtime shuts down.
    ShutDown(T),
    /// Waiting is refused here: inside a hook, or in a [`no_blocking`](crate::no_blocking) scope.
    WouldBlock(T),
}

/// The value was not sent at once.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrySendError<T> {
    /// There was no room, and nobody waited for a value.
    Full(T),
    /// The channel is closed, or nobody can receive any more.
    Closed(T),
}

/// Nothing was sent by a [`Mapped`](super::Mapped) sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MapError<E, S> {
    /// The function failed.
    Refused(E),
    /// The function made a value, and that was not sent: it is in the error.
    NotSent(S),
}

/// Not all values were sent. What was sent before has left; the rest is here, in its order, to go on with or to keep.
///
/// # Examples
/// ```
/// use selvedge::{Runtime, channel};
/// use std::time::Instant;
/// let vm = Runtime::new();
/// let mut cx = vm.attach("main")?;
/// let (tx, rx) = channel::bounded(2);
/// let late = tx.send_all_until(&mut cx, 1..=4, Instant::now()).unwrap_err();
/// assert_eq!((late.sent(), late.error().to_string()), (2, "the send timed out".into()));
/// assert_eq!(rx.drain().collect::<Vec<_>>(), [1, 2]);
/// tx.send_all(&mut cx, late)?; // 3 and 4
/// assert_eq!(rx.drain().collect::<Vec<_>>(), [3, 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SendAllError<T, I> {
    pub(super) sent: usize,
    pub(super) error: SendError<T>,
    pub(super) rest: I,
}

/// No value was received; none was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RecvError {
    /// The channel is closed, or nobody can send any more; and it is empty.
    Closed,
    /// A signal is pending: take it.
    Interrupted,
    /// The deadline passed.
    TimedOut,
    /// The runtime shuts down.
    ShutDown,
    /// Waiting is refused here: inside a hook, or in a [`no_blocking`](crate::no_blocking) scope.
    WouldBlock,
}

/// No value was received at once; none was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TryRecvError {
    /// There was no value.
    Empty,
    /// The channel is closed, or nobody can send any more; and it is empty.
    Closed,
}

impl<T> SendError<T> {
    /// The value.
    #[must_use = "this is the value that was not sent"]
    pub fn into_inner(self) -> T {
        match self {
            Self::Closed(v)
            | Self::Interrupted(v)
            | Self::TimedOut(v)
            | Self::ShutDown(v)
            | Self::WouldBlock(v) => v,
        }
    }
    fn kind(&self) -> &'static str {
        match self {
            Self::Closed(_) => "Closed",
            Self::Interrupted(_) => "Interrupted",
            Self::TimedOut(_) => "TimedOut",
            Self::ShutDown(_) => "ShutDown",
            Self::WouldBlock(_) => "WouldBlock",
        }
    }
}

impl<T, I> SendAllError<T, I> {
    /// How many values were sent.
    pub fn sent(&self) -> usize {
        self.sent
    }
    /// Why the next one was not, with it.
    pub fn error(&self) -> &SendError<T> {
        &self.error
    }
    /// The error with the value that was not sent, and the iterator, which has those behind it.
    #[must_use = "these are the values that were not sent"]
    pub fn into_parts(self) -> (SendError<T>, I) {
        (self.error, self.rest)
    }
}

/// The values that were not sent.
impl<T, I: Iterator<Item = T>> IntoIterator for SendAllError<T, I> {
    type Item = T;
    type IntoIter = Chain<Once<T>, I>;
    fn into_iter(self) -> Self::IntoIter {
        once(self.error.into_inner()).chain(self.rest)
    }
}

impl<T> TrySendError<T> {
    /// The value.
    #[must_use = "this is the value that was not sent"]
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(v) | Self::Closed(v) => v,
        }
    }
}

/// Without the value, which need not be printable.
impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(..)", self.kind())
    }
}
/// Without the values.
impl<T, I> fmt::Debug for SendAllError<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = f.debug_struct("SendAllError");
        s.field("sent", &self.sent).field("error", &self.error).finish_non_exhaustive()
    }
}
/// As above.
impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<E: fmt::Display, S: fmt::Display> fmt::Display for MapError<E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(e) => write!(f, "the value was refused: {e}"),
            Self::NotSent(e) => e.fmt(f),
        }
    }
}
impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed(_) => "the channel is closed",
            Self::Interrupted(_) => "a signal interrupted the send",
            Self::TimedOut(_) => "the send timed out",
            Self::ShutDown(_) => "the runtime shuts down",
            Self::WouldBlock(_) => "waiting is refused here",
        })
    }
}
impl<T, I> fmt::Display for SendAllError<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} values were sent before", self.error, self.sent)
    }
}
impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the channel is full",
            Self::Closed(_) => "the channel is closed",
        })
    }
}
impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the channel is closed",
            Self::Interrupted => "a signal interrupted the receive",
            Self::TimedOut => "the receive timed out",
            Self::ShutDown => "the runtime shuts down",
            Self::WouldBlock => "waiting is refused here",
        })
    }
}
impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the channel is empty",
            Self::Closed => "the channel is closed",
        })
    }
}

impl<E: Error, S: Error> Error for MapError<E, S> {}
impl<T> Error for SendError<T> {}
impl<T> Error for TrySendError<T> {}
impl<T, I> Error for SendAllError<T, I> {}
impl Error for RecvError {}
impl Error for TryRecvError {}
