//! Places that are promised before there is a value for them.
//!
//! I1. A promised place is counted in `places`, under both locks, from the promise to `publish` or `release`; of a storage
//!     without a bound, where there is always one, it is not.
//! I2. The flag PROMISED is up if and only if a storage with a bound has promised places: then senders look at the number.
//!     Without storage they have nothing to look at: a promise keeps nobody from giving a value to the receiver it was
//!     made for.
//! I3. `publish` finds a place: the one that was kept, or, if the receiver has gone whom it was made for, the heap.

use super::super::error::SendError;
use super::super::node::Node;
use super::super::side::PROMISED;
use super::super::storage::Storage;
use super::site::Found;
use super::{Both, Core, Refused, why_not};
use crate::park::{Entry, Waiter};
use crate::shim::planted;
use crate::thread::{Blocker, BlockerKind, Context};
use crate::wait::{self, Site};
use std::cell::Cell;
use std::time::Instant;

impl<T, S: Storage<T>> Both<'_, T, S> {
    fn places<R>(&mut self, f: impl FnOnce(&mut u64) -> R) -> R {
        // SAFETY: both locks are held (core's `places`), and `f` has the only borrow.
        self.core.places.with_mut(|p| f(unsafe { &mut *p }))
    }
    /// Is there a place that nobody was promised?
    pub(super) fn has_room(&mut self) -> bool {
        let promised = if planted("promises-do-not-count") { 0 } else { self.places(|p| *p) };
        match self.core.capacity() {
            Some(0) => self.free_receivers() > 0,
            Some(n) => self.len() + promised < n as u64,
            None => true,
        }
    }
    /// Without storage: so many more wait to receive than places are promised.
    fn free_receivers(&mut self) -> usize {
        let promised = if planted("promises-do-not-count") { 0 } else { self.places(|p| *p) };
        let come = self.core.receivers.len() + self.core.watchers.len();
        come.saturating_sub(promised as usize)
    }
    /// Keeps a place.
    pub(super) fn promise(&mut self) {
        if self.core.capacity().is_some() {
            self.places(|p| *p += 1);
            self.tail.set(PROMISED, !S::NONE && !planted("promise-without-flag"));
        }
    }
    /// Keeps it no longer.
    fn give_up(&mut self) {
        if self.core.capacity().is_some() && !planted("promise-for-ever") {
            let left = self.places(|p| {
                *p -= 1;
                *p
            });
            self.tail.set(PROMISED, !S::NONE && left > 0);
        }
    }
}

impl<T, S: Storage<T>> Core<T, S> {
    /// Keeps a place if there is one.
    pub(in super::super) fn place_locked(
        &self,
        both: &mut Both<'_, T, S>,
    ) -> Result<(), Refused<()>> {
        if both.is_closed() {
            return Err(Refused::Closed(()));
        }
        if !both.has_room() {
            return Err(Refused::Full(()));
        }
        both.promise();
        Ok(())
    }

    /// A place may have become free: who waits for one gets it.
    fn pass_on(&self, both: &mut Both<'_, T, S>) {
        if planted("permit-passes-nothing-on") {
            return;
        }
        if S::NONE {
            self.promise_more(both);
        } else if both.senders_queue() && both.has_room() {
            self.refill(both);
        }
    }

    /// Without storage: a receiver more waits than places are promised, so there is one for who wants it.
    pub(super) fn promise_more(&self, both: &mut Both<'_, T, S>) {
        if !S::NONE || !both.has_room() || both.is_closed() {
            return;
        }
        if planted("receiver-promises-nothing") {
            return;
        }
        if let Some(tell) = self.senders.take_place(&self.receivers, both.free_receivers()) {
            both.promise();
            both.tell(tell);
        }
    }

    /// A place for a value that is made later; waits for one.
    pub(in super::super) fn reserve(
        &self,
        cx: &mut dyn Context,
        deadline: Option<Instant>,
    ) -> Result<(), SendError<()>> {
        match self.try_reserve() {
            Ok(()) => return Ok(()),
            Err(Refused::Closed(())) => return Err(SendError::Closed(())),
            Err(Refused::Full(())) => {}
        }
        let on = Blocker::new(BlockerKind::Send, self.label.clone());
        let site = Reserving::new(self);
        let end = wait::wait_at(cx, &site, &on, deadline);
        let found = site.found.replace(Found::Nothing);
        why_not(found, end).map_or(Ok(()), |why| Err(why(())))
    }

    /// The same, if that takes no wait.
    pub(in super::super) fn try_reserve(&self) -> Result<(), Refused<()>> {
        self.place_locked(&mut self.both())
    }

    /// Puts a value into a place that was kept. `spare`: of a channel without storage. The value comes back if the channel
    /// is closed.
    pub(in super::super) fn publish(&self, value: T, spare: Option<Box<Node<T>>>) -> Result<(), T> {
        let mut both = self.both();
        both.give_up();
        if both.is_closed() && !planted("closed-channel-takes-values") {
            return Err(value);
        }
        match self.push_locked(&mut both, value) {
            Ok(()) => {}
            Err(Refused::Full(value)) => {
                let spare = spare.expect("a place was kept");
                // SAFETY: it is empty, and nobody else's.
                unsafe { spare.put(value) };
                if planted("late-value-is-lost") {
                    drop(spare);
                } else {
                    self.queue_sender(&mut both, |q| q.push_ownerless(spare));
                }
            }
            Err(Refused::Closed(_)) => unreachable!("looked at above"),
        }
        // If it went from hand to hand, it took no place.
        if !planted("published-place-is-lost") {
            self.pass_on(&mut both);
        }
        both.done();
        Ok(())
    }

    /// A place that was kept is free again.
    pub(in super::super) fn release(&self) {
        let mut both = self.both();
        both.give_up();
        self.pass_on(&mut both);
        both.done();
    }
}

/// A thread that waits for a place.
struct Reserving<'a, T, S: Storage<T>> {
    core: &'a Core<T, S>,
    node: Node<T>,
    found: Cell<Found>,
    again: Cell<bool>,
}

impl<'a, T, S: Storage<T>> Reserving<'a, T, S> {
    fn new(core: &'a Core<T, S>) -> Self {
        let (node, found) = (Node::place(), Cell::new(Found::Nothing));
        Self { core, node, found, again: Cell::new(false) }
    }
}

impl<T, S: Storage<T>> Site for Reserving<'_, T, S> {
    fn enqueue(&self, waiter: &'static Waiter, entry: Entry) -> bool {
        let mut both = self.core.both();
        match self.core.place_locked(&mut both) {
            Ok(()) => self.found.set(Found::Done),
            Err(Refused::Closed(())) => self.found.set(Found::Closed),
            Err(Refused::Full(())) => {
                let again = self.again.replace(true);
                self.core.queue_sender(&mut both, |q| q.push(&self.node, waiter, entry, again));
                self.found.set(Found::Queued);
                both.done();
                return true;
            }
        }
        false
    }

    fn dequeue(&self, _: &'static Waiter) {
        self.found.set(Found::Nothing);
        self.core.remove_sender(&self.node);
    }
}

impl<T, S: Storage<T>> Drop for Reserving<'_, T, S> {
    fn drop(&mut self) {
        if matches!(self.found.get(), Found::Queued | Found::Done) {
            // A hook unwinds: the place is kept for nobody.
            self.core.release();
        }
    }
}
