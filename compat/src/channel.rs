//! The two ends, their iterators, and the timers.

use crate::error::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
use crate::here::with;
use selvedge::channel as ours;
use std::fmt;
use std::iter::FusedIterator;
use std::time::{Duration, Instant};

/// How long a value may take to be made.
const MOMENT: Duration = Duration::from_millis(100);

/// The sending end.
pub struct Sender<T>(pub(crate) ours::Sender<T>);

/// The receiving end.
pub struct Receiver<T>(pub(crate) ours::Receiver<T>);

/// With room for `capacity` values; 0: a rendezvous.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    pair(ours::bounded(capacity))
}

/// As large as memory.
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    pair(ours::unbounded())
}

fn pair<T>((tx, rx): (ours::Sender<T>, ours::Receiver<T>)) -> (Sender<T>, Receiver<T>) {
    (Sender(tx), Receiver(rx))
}

/// Nothing ever comes.
pub fn never<T>() -> Receiver<T> {
    Receiver(ours::never())
}

/// One value, after that long.
pub fn after(duration: Duration) -> Receiver<Instant> {
    Receiver(ours::after(duration))
}

/// One value, at that time.
pub fn at(when: Instant) -> Receiver<Instant> {
    Receiver(ours::at(when))
}

/// A value each time that so much time has passed.
pub fn tick(period: Duration) -> Receiver<Instant> {
    Receiver(ours::tick(period))
}

impl<T> Sender<T> {
    /// Are the two ends of one channel?
    pub fn same_channel(&self, other: &Self) -> bool {
        self.0.same_channel(&other.0)
    }
    /// Without waiting.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        Ok(self.0.try_send(value)?)
    }
    /// Waits for room.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        Ok(with(|cx| self.0.send(cx, value))?)
    }
    /// Waits for room, so long at most.
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        match Instant::now().checked_add(timeout) {
            Some(deadline) => self.send_deadline(value, deadline),
            None => Ok(self.send(value)?),
        }
    }
    /// Waits for room, until then at most.
    pub fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        Ok(with(|cx| self.0.send_until(cx, value, deadline))?)
    }
}

impl<T> Receiver<T> {
    /// Are the two ends of one channel? All of `never` are.
    pub fn same_channel(&self, other: &Self) -> bool {
        self.0.same_channel(&other.0) || self.is_never() && other.is_never()
    }
    fn is_never(&self) -> bool {
        // A rendezvous without senders would be closed.
        self.capacity() == Some(0) && self.0.senders() == 0 && !self.0.is_closed()
    }
    /// Without waiting; but at a rendezvous, where a select has a send, for the value that is made when that is chosen.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        match self.0.try_recv() {
            Err(ours::TryRecvError::Empty)
                if self.capacity() == Some(0) && self.0.waiting_senders() > 0 =>
            {
                // Another receiver may be quicker.
                self.recv_timeout(MOMENT).map_err(|e| match e {
                    RecvTimeoutError::Timeout => TryRecvError::Empty,
                    RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
                })
            }
            received => Ok(received?),
        }
    }
    /// Waits for a value.
    pub fn recv(&self) -> Result<T, RecvError> {
        Ok(with(|cx| self.0.recv(cx))?)
    }
    /// Waits for a value, so long at most.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        match Instant::now().checked_add(timeout) {
            Some(deadline) => self.recv_deadline(deadline),
            None => Ok(self.recv()?),
        }
    }
    /// Waits for a value, until then at most.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        Ok(with(|cx| self.0.recv_until(cx, deadline))?)
    }
    /// Waits for each value, until nobody can send any more.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }
    /// What comes without waiting.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter(self)
    }
}

/// What both ends can do.
macro_rules! both_ends {
    ($name:ident, $shown:literal) => {
        impl<T> $name<T> {
            /// Has it no value?
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
            /// Has it no room?
            pub fn is_full(&self) -> bool {
                self.0.is_full()
            }
            /// How many values it has.
            pub fn len(&self) -> usize {
                self.0.len()
            }
            /// How many it can have.
            pub fn capacity(&self) -> Option<usize> {
                self.0.capacity()
            }
        }
        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                Self(self.0.clone())
            }
        }
        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad($shown)
            }
        }
    };
}
both_ends!(Sender, "Sender { .. }");
both_ends!(Receiver, "Receiver { .. }");

/// See [`Receiver::iter`].
pub struct Iter<'a, T>(&'a Receiver<T>);
/// See [`Receiver::try_iter`].
pub struct TryIter<'a, T>(&'a Receiver<T>);
/// As [`Iter`], with the receiver in it.
pub struct IntoIter<T>(Receiver<T>);

macro_rules! iterator {
    ($name:ident $(<$a:lifetime>)?, $next:ident, $shown:literal) => {
        impl<T> Iterator for $name<$($a,)? T> {
            type Item = T;
            fn next(&mut self) -> Option<T> {
                self.0.$next().ok()
            }
        }
        impl<T> fmt::Debug for $name<$($a,)? T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad($shown)
            }
        }
    };
}
iterator!(Iter<'_>, recv, "Iter { .. }");
iterator!(TryIter<'_>, try_recv, "TryIter { .. }");
iterator!(IntoIter, recv, "IntoIter { .. }");

impl<T> FusedIterator for Iter<'_, T> {}
impl<T> FusedIterator for IntoIter<T> {}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;
    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}
impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;
    fn into_iter(self) -> IntoIter<T> {
        IntoIter(self)
    }
}
