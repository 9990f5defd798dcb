//! Many values at once.

use super::super::error::RecvError;
use super::super::handle::{Ends, Id};
use super::super::side::{SEALED, WAITERS};
use super::super::storage::Storage;
use super::{Core, Kind};
use crate::thread::Context;
use std::time::Instant;

/// So many values may leave under one hold of the head, and so many be owed their news under both.
const BATCH: usize = 64;
const WAKES: usize = 16;

impl<T, S: Storage<T>> Core<T, S> {
    /// Receives what is there, or waits for one value and receives what is there then.
    pub(in super::super) fn recv_many<C: Context>(
        &self,
        cx: &mut C,
        into: &mut Vec<T>,
        max: usize,
        deadline: Option<Instant>,
        id: Id,
    ) -> Result<usize, RecvError> {
        if self.has_left(Kind::Receive, id) {
            return Err(RecvError::Closed);
        }
        let before = into.len();
        if max == 0 || self.pop_many(into, max) > 0 {
            return Ok(into.len() - before);
        }
        // Nothing allocates, and so nothing fails, between a receive and its push.
        into.reserve(1);
        into.push(self.recv(cx, deadline, id)?);
        self.pop_many(into, max - 1);
        Ok(into.len() - before)
    }

    /// Takes what is there at the call, at most `max` values. How many it took.
    fn pop_many(&self, into: &mut Vec<T>, max: usize) -> usize {
        let most = self.there().min(max);
        into.reserve(most);
        let (mut got, mut told) = (0, [const { None }; WAKES]);
        while got < most {
            let quiet = if S::NONE { None } else { self.head.0.lock_quiet() };
            if let Some(mut head) = quiet {
                let popped = std::iter::from_fn(|| self.storage.0.pop(&mut head));
                let before = into.len();
                into.extend(popped.take(BATCH.min(most - got)));
                got += into.len() - before;
                if into.len() - before < BATCH {
                    break;
                }
                continue;
            }
            // Senders queue: their values move up.
            let mut both = self.both();
            let mut empty = false;
            for owed in told.iter_mut().take(most - got) {
                let Some(value) = self.pop_locked(&mut both) else {
                    empty = true;
                    break;
                };
                into.push(value);
                (got, *owed) = (got + 1, Some(both.take_told()));
            }
            both.done();
            told.iter_mut().for_each(|owed| drop(owed.take()));
            if empty {
                break;
            }
        }
        got
    }

    /// Values in the storage, and in the hands of threads that wait to send: a snapshot, of both sides if such threads are
    /// seen.
    pub(in super::super) fn there(&self) -> usize {
        if !S::NONE && self.head.0.flags() & (WAITERS | SEALED) == 0 {
            let head = self.head.0.index();
            return self.tail.index().saturating_sub(head) as usize;
        }
        let both = self.both();
        both.inside() + self.senders.len() - self.senders.alone()
    }
}
