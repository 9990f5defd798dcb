//! The errors, under the other crate's names. What ends a wait besides, signals and shutdown, does not happen here.

use selvedge::channel as ours;
use std::error::Error;
use std::fmt;

/// Nobody can receive any more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

/// Not sent at once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// No room, or nobody to take it.
    Full(T),
    /// Nobody can receive any more.
    Disconnected(T),
}

/// Not sent in time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendTimeoutError<T> {
    /// The deadline passed.
    Timeout(T),
    /// Nobody can receive any more.
    Disconnected(T),
}

/// Empty, and nobody can send any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecvError;

/// Nothing received at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TryRecvError {
    /// There was no value.
    Empty,
    /// Empty, and nobody can send any more.
    Disconnected,
}

/// Nothing received in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecvTimeoutError {
    /// The deadline passed.
    Timeout,
    /// Empty, and nobody can send any more.
    Disconnected,
}

/// Every operation would wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrySelectError;
/// The deadline passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SelectTimeoutError;
/// No operation is ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TryReadyError;
/// The deadline passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadyTimeoutError;

/// The errors that carry a value: what they share.
macro_rules! with_value {
    ($($name:ident { $($pattern:pat => $shown:literal, $said:literal;)+ })+) => {$(
        /// Without the value, which need not be printable.
        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($pattern => $shown,)+ })
            }
        }
        impl<T> fmt::Display for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($pattern => $said,)+ })
            }
        }
        impl<T: Send> Error for $name<T> {}
    )+};
}
with_value! {
    SendError {
        Self(_) => "SendError(..)", "nobody receives any more";
    }
    TrySendError {
        Self::Full(_) => "Full(..)", "the channel is full";
        Self::Disconnected(_) => "Disconnected(..)", "nobody receives any more";
    }
    SendTimeoutError {
        Self::Timeout(_) => "Timeout(..)", "the send timed out";
        Self::Disconnected(_) => "Disconnected(..)", "nobody receives any more";
    }
}

impl<T> SendError<T> {
    /// The value.
    pub fn into_inner(self) -> T {
        self.0
    }
}
impl<T> TrySendError<T> {
    /// The value.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Disconnected(value) => value,
        }
    }
}
impl<T> SendTimeoutError<T> {
    /// The value.
    pub fn into_inner(self) -> T {
        match self {
            Self::Timeout(value) | Self::Disconnected(value) => value,
        }
    }
}

/// The others.
macro_rules! plain {
    ($($name:ident { $($pattern:pat => $said:literal;)+ })+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($pattern => $said,)+ })
            }
        }
        impl Error for $name {}
    )+};
}
plain! {
    RecvError { Self => "empty, and nobody sends any more"; }
    TryRecvError {
        Self::Empty => "the channel is empty";
        Self::Disconnected => "empty, and nobody sends any more";
    }
    RecvTimeoutError {
        Self::Timeout => "the receive timed out";
        Self::Disconnected => "empty, and nobody sends any more";
    }
    TrySelectError { Self => "every operation would wait"; }
    SelectTimeoutError { Self => "the select timed out"; }
    TryReadyError { Self => "no operation is ready"; }
    ReadyTimeoutError { Self => "no operation became ready in time"; }
}

/// Asks for one case.
macro_rules! queries {
    ($($name:ident $(<$t:ident>)? { $($query:ident: $case:pat,)+ })+) => {$(
        impl $(<$t>)? $name $(<$t>)? {
            $(
                /// Is it this case?
                pub fn $query(&self) -> bool {
                    matches!(self, $case)
                }
            )+
        }
    )+};
}
queries! {
    TrySendError<T> { is_full: Self::Full(_), is_disconnected: Self::Disconnected(_), }
    SendTimeoutError<T> { is_timeout: Self::Timeout(_), is_disconnected: Self::Disconnected(_), }
    TryRecvError { is_empty: Self::Empty, is_disconnected: Self::Disconnected, }
    RecvTimeoutError { is_timeout: Self::Timeout, is_disconnected: Self::Disconnected, }
}

impl<T> From<SendError<T>> for TrySendError<T> {
    fn from(SendError(value): SendError<T>) -> Self {
        Self::Disconnected(value)
    }
}
impl<T> From<SendError<T>> for SendTimeoutError<T> {
    fn from(SendError(value): SendError<T>) -> Self {
        Self::Disconnected(value)
    }
}
impl From<RecvError> for TryRecvError {
    fn from(_: RecvError) -> Self {
        Self::Disconnected
    }
}
impl From<RecvError> for RecvTimeoutError {
    fn from(_: RecvError) -> Self {
        Self::Disconnected
    }
}

// From ours. A thread here has no signals, no shutdown, and no hook that could wait.

impl<T> From<ours::SendError<T>> for SendTimeoutError<T> {
    fn from(error: ours::SendError<T>) -> Self {
        match error {
            ours::SendError::Closed(value) => Self::Disconnected(value),
            ours::SendError::TimedOut(value) => Self::Timeout(value),
            other => unreachable!("{other}"),
        }
    }
}
impl<T> From<ours::SendError<T>> for SendError<T> {
    fn from(error: ours::SendError<T>) -> Self {
        match error {
            ours::SendError::Closed(value) => Self(value),
            other => unreachable!("{other}"),
        }
    }
}
impl<T> From<ours::TrySendError<T>> for TrySendError<T> {
    fn from(error: ours::TrySendError<T>) -> Self {
        match error {
            ours::TrySendError::Full(value) => Self::Full(value),
            ours::TrySendError::Closed(value) => Self::Disconnected(value),
            other => unreachable!("{other}"),
        }
    }
}
impl From<ours::RecvError> for RecvTimeoutError {
    fn from(error: ours::RecvError) -> Self {
        match error {
            ours::RecvError::Closed => Self::Disconnected,
            ours::RecvError::TimedOut => Self::Timeout,
            other => unreachable!("{other}"),
        }
    }
}
impl From<ours::RecvError> for RecvError {
    fn from(error: ours::RecvError) -> Self {
        match error {
            ours::RecvError::Closed => Self,
            other => unreachable!("{other}"),
        }
    }
}
impl From<ours::TryRecvError> for TryRecvError {
    fn from(error: ours::TryRecvError) -> Self {
        match error {
            ours::TryRecvError::Empty => Self::Empty,
            ours::TryRecvError::Closed => Self::Disconnected,
            other => unreachable!("{other}"),
        }
    }
}
