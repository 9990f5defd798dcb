//! The two waits of a channel: how a thread queues behind what it did not get, and how it leaves.
//!
//! I1. `found` is the waiting thread's own. `Queued` when the wait has ended: it was granted, and who granted it took the
//!     node out; then it is `Done`, which does not depend on the claim word, of which nothing is left when the hooks run.
//! I2. The node has a value that is this thread's to drop while `found` is `Nothing` or `Closed` in a send, `Queued` (and
//!     granted) or `Done` in a receive. Who takes the value out says so in `found`.

use super::super::node::Node;
use super::super::side::WAITERS;
use super::super::storage::Storage;
use super::{Core, Refused};
use crate::park::{Entry, Waiter};
use crate::shim::planted;
use crate::thread::hand::InHand;
use crate::wait::Site;
use std::cell::Cell;

/// What a thread that was about to queue found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// It queued, and has not left the queue by itself.
    Queued,
    /// What it wanted.
    Done,
    Closed,
}

impl<T, S: Storage<T>> Core<T, S> {
    /// Takes a node out of the queue of senders, if it is there. One of several: was the wait claimed by it?
    pub(in super::super) fn remove_sender(&self, node: &Node<T>) -> bool {
        if S::NONE {
            let _all = self.tail.lock();
            return self.senders.remove(node);
        }
        let mut head = self.head.0.lock();
        let won = self.senders.remove(node);
        head.set(WAITERS, !self.senders.is_empty());
        won
    }

    /// The same of receivers.
    pub(in super::super) fn remove_receiver(&self, node: &Node<T>) -> bool {
        let mut tail = self.tail.lock();
        let won = self.receivers.remove(node);
        tail.set(WAITERS, self.receivers_queue());
        won
    }
}

/// A send that waits.
pub(super) struct Sending<'a, T, S: Storage<T>> {
    core: &'a Core<T, S>,
    pub(super) node: Node<T>,
    pub(super) found: Cell<Found>,
    /// It was asked for something meanwhile: it goes back to its place.
    again: Cell<bool>,
}

impl<'a, T, S: Storage<T>> Sending<'a, T, S> {
    pub(super) fn new(core: &'a Core<T, S>, value: T) -> Self {
        let (node, found) = (Node::with(value), Cell::new(Found::Nothing));
        Self { core, node, found, again: Cell::new(false) }
    }
}

impl<T, S: Storage<T>> Site for Sending<'_, T, S> {
    fn enqueue(&self, waiter: &'static Waiter, entry: Entry) -> bool {
        let mut both = self.core.both();
        // SAFETY: the wait is not granted, so the value is this thread's (node I3); it goes back below, or is sent.
        let value = unsafe { self.node.take() };
        let pushed = match self.core.push_locked(&mut both, value) {
            Err(Refused::Closed(value)) if self.again.get() => {
                self.core.push_pending(&mut both, value)
            }
            pushed => pushed,
        };
        match pushed {
            Ok(()) => {
                self.found.set(Found::Done);
                both.done();
                return false;
            }
            Err(Refused::Closed(value)) => {
                self.found.set(Found::Closed);
                // SAFETY: it was taken out above.
                unsafe { self.node.put(value) };
                return false;
            }
            // SAFETY: as above.
            Err(Refused::Full(value)) => unsafe { self.node.put(value) },
        }
        let again = self.again.replace(true);
        self.core.queue_sender(&mut both, |q| q.push(&self.node, waiter, entry, again));
        self.found.set(Found::Queued);
        both.done();
        true
    }

    fn dequeue(&self, _: &'static Waiter) {
        self.found.set(Found::Nothing);
        self.core.remove_sender(&self.node);
    }
    fn granted(&self) {
        self.found.set(Found::Done);
    }

    fn in_hand(&self) -> Option<&dyn InHand> {
        Some(self)
    }

    fn looks(&self) -> bool {
        matches!(self.core.capacity(), Some(0 | 1))
    }
}

impl<T, S: Storage<T>> InHand for Sending<'_, T, S> {
    fn channels(&self, f: &mut dyn FnMut(usize)) {
        f(self.core.rank.get());
    }
    unsafe fn each(&self, waiter: &Waiter, _: usize, f: *mut ()) {
        let has = match self.found.get() {
            Found::Nothing | Found::Closed => true,
            Found::Queued => !waiter.is_granted() || planted("hand-shows-what-was-taken"),
            Found::Done => false,
        };
        if has && !planted("hand-forgets-a-send") {
            // SAFETY: the caller's promise: of this type.
            let f = unsafe { &mut *f.cast::<&mut dyn FnMut(&mut T)>() };
            // SAFETY: the value is this thread's still (I2), and no thread runs.
            unsafe { self.node.with_value(f) };
        }
    }
}

impl<T, S: Storage<T>> Drop for Sending<'_, T, S> {
    fn drop(&mut self) {
        if matches!(self.found.get(), Found::Nothing | Found::Closed) {
            // A hook unwinds: the node is in no queue, the value still in it.
            // SAFETY: not granted, so it is this thread's (node I3).
            drop(unsafe { self.node.take() });
        }
    }
}

/// A receive that waits.
pub(super) struct Receiving<'a, T, S: Storage<T>> {
    core: &'a Core<T, S>,
    pub(super) node: Node<T>,
    pub(super) found: Cell<Found>,
    again: Cell<bool>,
}

impl<'a, T, S: Storage<T>> Receiving<'a, T, S> {
    pub(super) fn new(core: &'a Core<T, S>) -> Self {
        let (node, found) = (Node::empty(), Cell::new(Found::Nothing));
        Self { core, node, found, again: Cell::new(false) }
    }
}

impl<T, S: Storage<T>> Site for Receiving<'_, T, S> {
    fn enqueue(&self, waiter: &'static Waiter, entry: Entry) -> bool {
        let mut both = self.core.both();
        let looks = !planted("no-second-look");
        if let Some(value) = looks.then(|| self.core.pop_locked(&mut both)).flatten() {
            // SAFETY: a receiver's slot is empty (node I3).
            unsafe { self.node.put(value) };
            self.found.set(Found::Done);
            both.done();
            return false;
        }
        if both.is_over() {
            self.found.set(Found::Closed);
            return false;
        }
        let again = self.again.replace(true);
        self.core.queue_receiver(&mut both, |q| q.push(&self.node, waiter, entry, again));
        self.found.set(Found::Queued);
        both.done();
        true
    }

    fn dequeue(&self, _: &'static Waiter) {
        self.found.set(Found::Nothing);
        self.core.remove_receiver(&self.node);
    }
    fn granted(&self) {
        self.found.set(Found::Done);
    }

    fn in_hand(&self) -> Option<&dyn InHand> {
        Some(self)
    }

    fn looks(&self) -> bool {
        matches!(self.core.capacity(), Some(0 | 1))
    }
}

impl<T, S: Storage<T>> InHand for Receiving<'_, T, S> {
    fn channels(&self, f: &mut dyn FnMut(usize)) {
        f(self.core.rank.get());
    }
    unsafe fn each(&self, waiter: &Waiter, _: usize, f: *mut ()) {
        let has = match self.found.get() {
            Found::Nothing | Found::Closed => false,
            Found::Queued => waiter.is_granted(),
            Found::Done => true,
        };
        if has && !planted("hand-forgets-a-receive") {
            // SAFETY: the caller's promise: of this type.
            let f = unsafe { &mut *f.cast::<&mut dyn FnMut(&mut T)>() };
            // SAFETY: the value is this thread's already (I2), and no thread runs.
            unsafe { self.node.with_value(f) };
        }
    }
}

impl<T, S: Storage<T>> Drop for Receiving<'_, T, S> {
    fn drop(&mut self) {
        if matches!(self.found.get(), Found::Queued | Found::Done) {
            // A hook unwinds: the value has come, and nobody will take it.
            // SAFETY: put in by `enqueue`, or by who claimed the wait as granted (node I3).
            drop(unsafe { self.node.take() });
        }
    }
}
