//! What a send to a full channel does, if it does not wait.
//!
//! I1. Who displaces a value takes the oldest one out and puts its own in under both locks. Senders that queue keep their
//!     places and their turns: the channel was full before and is full after (`core` I1).
//! I2. The value that loses leaves with the locks given back.

use super::{Both, Core, Kind, Policy, Quick, Refused};
use crate::channel::error::{SendError, TrySendError};
use crate::channel::handle::{Ends, Id};
use crate::channel::storage::Storage;
use crate::shim::planted;

impl<T, S: Storage<T>> Core<T, S> {
    /// Sends; the value that loses its place comes back. `Full`: there are no places.
    fn displace_locked(
        &self,
        both: &mut Both<'_, T, S>,
        value: T,
    ) -> Result<Option<T>, Refused<T>> {
        match self.push_locked(both, value) {
            Err(Refused::Full(value)) => {
                let Some(oldest) = both.pop() else {
                    return Err(Refused::Full(value));
                };
                let full = self.storage.0.push(&mut both.tail, value);
                debug_assert!(full.is_ok(), "a place was free");
                Ok(Some(oldest))
            }
            sent => sent.map(|()| None),
        }
    }

    fn displace(&self, value: T) -> Result<Option<T>, Refused<T>> {
        let mut both = self.both();
        let lost = self.displace_locked(&mut both, value);
        both.done();
        lost
    }

    /// Sends as the channel does it. The value that lost its place is for after both locks are given back. `Full`: the
    /// sender waits.
    pub(super) fn send_locked(
        &self,
        both: &mut Both<'_, T, S>,
        value: T,
    ) -> Result<Option<T>, Refused<T>> {
        let sent = match self.policy {
            Policy::Slide => self.displace_locked(both, value),
            Policy::Wait | Policy::Drop => self.push_locked(both, value).map(|()| None),
        };
        match sent {
            Err(Refused::Full(value)) if self.policy != Policy::Wait => Ok(Some(value)),
            sent => sent,
        }
    }

    /// The same, with no lock held.
    pub(in crate::channel) fn send_at_once(&self, value: T) -> Result<(), TrySendError<T>> {
        match self.try_send(value, None) {
            Err(TrySendError::Full(value)) if self.policy != Policy::Wait => {
                drop(value);
                Ok(())
            }
            sent => sent,
        }
    }

    /// Sends, if need be in the place of the oldest value, which comes back.
    pub(in crate::channel) fn force_send(
        &self,
        value: T,
        id: Id,
    ) -> Result<Option<T>, TrySendError<T>> {
        let forced = match self.push_at_once(value) {
            Quick::Done => return Ok(None),
            Quick::Noticed(value) if self.has_left(Kind::Send, id) => {
                return Err(TrySendError::Closed(value));
            }
            Quick::Full(value) | Quick::Noticed(value) => self.displace(value),
        };
        forced.map_err(TrySendError::from)
    }

    /// The channel was full, and does not let senders wait.
    #[cold]
    pub(super) fn send_to_full(&self, value: T) -> Result<(), SendError<T>> {
        match self.try_send_to_full(value) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(value)) => {
                if planted("loser-is-forgotten") {
                    std::mem::forget(value);
                }
                Ok(())
            }
            Err(TrySendError::Closed(value)) => Err(SendError::Closed(value)),
        }
    }

    /// The same without waiting: what `send_to_full` would drop of the caller's comes back.
    #[cold]
    pub(super) fn try_send_to_full(&self, value: T) -> Result<(), TrySendError<T>> {
        if self.policy != Policy::Slide {
            return Err(TrySendError::Full(value));
        }
        self.displace(value).map(drop).map_err(TrySendError::from)
    }
}
