//! The hand: what a thread has in its hands while it waits, for whoever enumerates the values of a VM.
//!
//! A value that is being sent lies in the stack of its thread until it is taken; one that was given to a thread lies there
//! until that thread runs again. No queue and no buffer has it then. So a thread lists its waits in its record.
//!
//! I1. `Record::hand` and the links are written by the own thread, while it runs.
//! I2. A link lives from before the wait is entered until after it was left, also across a request that is answered
//!     meanwhile; waits inside that request are listed before it.
//!     A hook may end the thread: then the record is another one's, and its list too, and the waits that are on leave it
//!     alone.
//! I3. Others read the list in a stopped world only: no thread runs, so none writes.

use super::record::{self, Record};
use crate::park::Waiter;
use std::marker::PhantomData;

/// Something that holds values of channels.
pub(crate) trait InHand {
    /// Whose, by address.
    fn channels(&self, f: &mut dyn FnMut(usize));
    /// Calls for each value of that channel.
    ///
    /// # Safety
    /// `f` points to a `&mut dyn FnMut(&mut T)`, of the type of the channel's values. No thread runs but the caller.
    unsafe fn each(&self, waiter: &Waiter, channel: usize, f: *mut ());
}

/// An entry of a thread's list, on its stack.
pub(crate) struct Link<'a> {
    next: *const Link<'static>,
    holds: &'a dyn InHand,
}

/// Takes the entry out again.
pub(crate) struct Held<'a> {
    record: &'static Record,
    /// Whose the record was.
    id: u64,
    next: *const Link<'static>,
    link: PhantomData<&'a ()>,
}

impl<'a> Link<'a> {
    pub(crate) fn new(record: &'static Record, holds: &'a dyn InHand) -> Self {
        Self { next: record.hand(), holds }
    }
    /// Lists it. Own thread only; the list is as before when the guard drops.
    pub(crate) fn hold<'l>(&'l self, record: &'static Record) -> Held<'l> {
        record.set_hand(std::ptr::from_ref(self).cast());
        Held { record, id: record.id_bits(), next: self.next, link: PhantomData }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.record.id_bits() == self.id {
            self.record.set_hand(self.next);
        }
    }
}

/// What all threads of the process have in their hands: made once when the world has been stopped, for
/// [`for_each_mut`](crate::channel::Sender::for_each_mut) of each channel.
pub struct Hands<'a> {
    /// By channel.
    all: Vec<(usize, &'static Record, *const dyn InHand)>,
    stopped: PhantomData<&'a ()>,
}

impl Hands<'_> {
    /// Looks at the threads of all runtimes.
    ///
    /// # Safety
    /// As long as the result lives no thread runs that is attached to any runtime, but the caller: each one waits, is
    /// [`outside`](crate::outside), or is held up in a request, and does not leave that.
    pub unsafe fn gather() -> Self {
        let mut all = Vec::new();
        for record in record::all() {
            let mut at = record.hand();
            while !at.is_null() {
                // SAFETY: a listed link lives (I2), and nobody writes (I3).
                let link = unsafe { &*at };
                let holds: *const dyn InHand = link.holds;
                link.holds.channels(&mut |channel| all.push((channel, record, holds)));
                at = link.next;
            }
        }
        all.sort_unstable_by_key(|&(channel, ..)| channel);
        Self { all, stopped: PhantomData }
    }

    /// Calls for each value of that channel.
    ///
    /// # Safety
    /// `T` is the type of the channel's values.
    pub(crate) unsafe fn each<T>(&self, channel: usize, mut f: &mut dyn FnMut(&mut T)) {
        let first = self.all.partition_point(|&(other, ..)| other < channel);
        for &(_, record, holds) in self.all[first..].iter().take_while(|(c, ..)| *c == channel) {
            // SAFETY: a listed one lives (I2), and the world is still stopped.
            let holds = unsafe { &*holds };
            // SAFETY: the caller's promise; the world is stopped.
            unsafe { holds.each(record.waiter(), channel, (&raw mut f).cast()) };
        }
    }
}

impl std::fmt::Debug for Hands<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hands").field("len", &self.all.len()).finish()
    }
}
