//! Why a value was not sent, or none received. Each failed send gives the value back.

use std::error::Error;
use std::fmt;

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

impl<T> TrySendError<T> {
    /// The value.
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
/// As above.
impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
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

impl<T> Error for SendError<T> {}
impl<T> Error for TrySendError<T> {}
impl Error for RecvError {}
impl Error for TryRecvError {}
