//! The end of a channel: handles that come and go, and what becomes of the values that nobody will receive.
//!
//! | closed by                            | queued senders                      | values in the channel            |
//! |--------------------------------------|-------------------------------------|----------------------------------|
//! | `close`, the last sender             | get theirs back                     | are received                     |
//! | the same, of `deliver_pending`       | stay, and are received from         | are received                     |
//! | `close_discarding`                   | get theirs back                     | go to its caller                 |
//! | the last receiver                    | get theirs back                     | are dropped                      |
//!
//! I1. Tail ENDED: what queued senders have is not received any more. It goes up with CLOSED, or, where pending values are
//!     to be delivered, as soon as a receiver is told `Closed` or there is none: so `Closed` is final.
//! I2. Head SEALED: no value goes out any more, but to who closed it so.
//! I3. A sender of a `deliver_pending` channel that leaves the queue to answer a request may come back to its place after
//!     CLOSED, not after ENDED.

use super::{Both, CLOSED, Core, Kind, Refused};
use crate::channel::handle::{Book, Ends};
use crate::channel::side::{ENDED, LEFT, SEALED};
use crate::channel::storage::Storage;
use crate::shim::{Ordering::*, planted};

impl<T, S: Storage<T>> Both<'_, T, S> {
    /// There is no value. Will there be none? Then that is said, and stands.
    pub(in crate::channel) fn is_over(&mut self) -> bool {
        let closed = self.tail.has(CLOSED);
        if closed && !planted("closed-is-not-final") {
            self.tail.set(ENDED, true);
        }
        closed
    }

    /// The oldest value that waits by itself.
    pub(super) fn take_ownerless(&mut self) -> Option<T> {
        let taken = self.core.senders.take_ownerless();
        self.flag_senders();
        let (value, tell) = taken?;
        self.tell(tell);
        Some(value)
    }

    /// No value comes out any more.
    pub(super) fn is_sealed(&self) -> bool {
        match &self.head {
            Some(head) => head.has(SEALED),
            None => self.tail.has(SEALED),
        }
    }
}

/// How a channel is closed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shut {
    /// What is there is received.
    Open,
    /// What queued senders have is not.
    Ended,
    /// Nothing is.
    Sealed,
}

impl<T, S: Storage<T>> Core<T, S> {
    /// No value goes in any more; who waits is told. True: by this call.
    pub(in crate::channel) fn close(&self) -> bool {
        self.close_how(if self.deliver_pending { Shut::Open } else { Shut::Ended })
    }

    fn close_how(&self, how: Shut) -> bool {
        let mut first = false;
        loop {
            let mut both = self.both();
            first |= !both.tail.has(CLOSED);
            let over = self.shut(&mut both, how);
            both.done();
            if over {
                return first;
            }
        }
    }

    pub(in crate::channel) fn is_closed(&self) -> bool {
        self.tail.flags() & CLOSED != 0
    }

    pub(in crate::channel) fn handles(&self, end: Kind) -> usize {
        // ORDERING: Relaxed. A snapshot.
        self.handles[end as usize].load(Relaxed) as usize
    }

    /// One step of a close, under both locks: closes it, and takes one out of the queues. False: there may be another one.
    pub(super) fn shut(&self, both: &mut Both<'_, T, S>, how: Shut) -> bool {
        both.tail.set(CLOSED, both.tail.has(CLOSED) || !planted("close-without-flag"));
        if how != Shut::Open && !planted("queued-senders-are-received-from") {
            both.tail.set(ENDED, true);
        }
        if how == Shut::Sealed {
            match &mut both.head {
                Some(head) => head.set(SEALED, true),
                None => both.tail.set(SEALED, true),
            }
        }
        let receivers = !planted("close-forgets-receivers");
        let one = match receivers.then(|| self.receivers.dismiss(false)).flatten() {
            Some(tell) => {
                // It is told that there is nothing.
                both.is_over();
                Some(tell)
            }
            None if planted("close-forgets-senders") => None,
            None => self.senders.dismiss(!both.tail.has(ENDED)),
        };
        let over = one.is_none() && (self.watchers.is_empty() || planted("close-forgets-watchers"));
        one.into_iter().for_each(|tell| both.tell(tell));
        if !planted("close-forgets-watchers") {
            both.wake_watcher();
        }
        both.flag_receivers();
        both.flag_senders();
        over
    }

    /// Closes it, and hands out what is in it. True: by this call.
    pub(in crate::channel) fn close_discarding(&self, f: &mut dyn FnMut(T)) -> bool {
        let first = self.close_how(Shut::Sealed);
        hand_out(&mut || self.pop_left(), f);
        first
    }

    /// Takes a value out of a channel that is sealed.
    fn pop_left(&self) -> Option<T> {
        let mut both = self.both();
        let value = both.pop().or_else(|| both.take_ownerless());
        both.done();
        value
    }

    /// A sender that has queued before comes back to its place in a closed channel (I3). `Full`: it is to queue.
    pub(super) fn push_pending(
        &self,
        both: &mut Both<'_, T, S>,
        value: T,
    ) -> Result<(), Refused<T>> {
        if both.tail.has(ENDED) {
            return Err(Refused::Closed(value));
        }
        self.storage.0.push(&mut both.tail, value).map_err(Refused::Full)
    }
}

impl<T, S: Storage<T>> Ends for Core<T, S> {
    fn book(&self) -> &Book {
        &self.book
    }

    #[inline(always)]
    fn flag(&self, end: Kind) -> bool {
        let flags = match end {
            Kind::Receive if !S::NONE => self.head.0.flags(),
            Kind::Send | Kind::Receive => self.tail.flags(),
        };
        flags & LEFT[end as usize] != 0
    }

    fn set_flag(&self, end: Kind, up: bool) {
        match end {
            Kind::Receive if !S::NONE => self.head.0.lock().set(LEFT[end as usize], up),
            Kind::Send | Kind::Receive => self.tail.lock().set(LEFT[end as usize], up),
        }
    }

    fn add_handle(&self, end: Kind) {
        // ORDERING: Relaxed. If the count is 0, the channel is closed and stays so.
        self.handles[end as usize].fetch_add(1, Relaxed);
    }

    /// A handle less; the last one closes the channel, and the last receiver throws away what is left.
    fn remove_handle(&self, end: Kind) {
        // ORDERING: Relaxed. What the others did passes by the sides' locks, which `close` takes.
        if self.handles[end as usize].fetch_sub(1, Relaxed) != 1 {
            return;
        }
        if !planted("last-handle-leaves-it-open") {
            match end {
                Kind::Send => self.close(),
                Kind::Receive => self.close_how(Shut::Ended),
            };
        }
        if end == Kind::Receive && !planted("last-receiver-leaves-values") {
            // Each one drops with no lock held: its destructor may be a VM's.
            hand_out(&mut || self.pop_now().ok(), &mut drop);
        }
    }
}

/// Hands out all values; if that panics, the others are dropped all the same. If a second one does, the process ends.
fn hand_out<T>(pop: &mut dyn FnMut() -> Option<T>, f: &mut dyn FnMut(T)) {
    struct Rest<'a, T>(&'a mut dyn FnMut() -> Option<T>);
    impl<T> Drop for Rest<'_, T> {
        fn drop(&mut self) {
            while (self.0)().is_some() {}
        }
    }
    let rest = Rest(pop);
    while let Some(value) = (rest.0)() {
        f(value);
    }
}
