//! The protocol of a channel: two sides, a storage between them, threads that queue.
//!
//! Senders take the tail, receivers the head, for the time of one move. Whoever wants more than to move one value takes
//! both, head first: that is the lock of the whole channel.
//!
//! | flag            | says                                                         | goes up and down                     |
//! |-----------------|--------------------------------------------------------------|--------------------------------------|
//! | tail WAITERS    | receivers queue                                              | under both locks, with their queue   |
//! | head WAITERS    | senders queue                                                | under both locks, with their queue   |
//! | tail CLOSED     | no value goes in any more                                    | up once, under both locks            |
//! | tail PROMISED   | places are kept free (`permit`)                              | under both locks, with their number  |
//! | tail ENDED      | what queued senders have is not received any more (`end`)    | up once, under both locks            |
//! | head SEALED     | no value comes out any more (`end`)                          | up once, under both locks            |
//! | LEFT, one each  | a handle has left, and is there still (`handle`)             | under the side's lock                |
//!
//! I1. Under both locks, when they are given back: tail WAITERS if and only if receivers or watchers queue; receivers only
//!     while the storage is empty and no sender queues; head WAITERS if and only if senders queue, and then the storage is
//!     full. Without storage the tail is both: it guards both queues, and nobody but them is behind it.
//! I2. A thread queues only under both locks, after it found nothing to do there. So who takes one side and finds no flag up
//!     need not look for anybody: a thread that queues afterwards sees what it did.
//! I3. Values leave in the order in which they came in; those of queued senders follow those in the storage, in their order.
//! I4. A value given to a thread, or taken from one, moves under both locks, before the claim (`node` I3).
//! I5. After CLOSED nobody queues, and who queued is dismissed, but for senders whose values are to be delivered still. What
//!     is not comes out no more from CLOSED on, though its sender be dismissed a little later (`pop_locked`).
//! I6. Of a storage with room, that is values and promised places <= capacity; a sender that wants only a place queues as
//!     any other does. Without storage a place is promised while more receivers queue than places are promised; who then
//!     wants one queues beside receivers, an exception from I1.
//! I7. A watcher is a task that would receive. It is woken, not given to: one for each value that comes where it can be
//!     received, and one more by each that was woken and goes without one. So no value lies while all watchers sleep.
//! E1. The sides' locks (`side` E1), the storage's slots: a send -> the receive that gets its value. The claim for a value
//!     from hand to hand.
//!
//! Because the flag that a thread must notice is in the word that it takes anyway, by a read-modify-write, and is put there
//! by a holder of the same word, no fence is needed.

mod each;
mod end;
mod many;
mod permit;
mod policy;
mod site;
mod task;
mod told;

use self::site::{Found, Receiving, Sending};
use super::error::{RecvError, SendError, TryRecvError, TrySendError};
use super::handle::{Book, Ends, Id};
use super::node::{Nodes, Taken, Tell};
use super::side::{CLOSED, ENDED, Held, PROMISED, Side, WAITERS};
use super::storage::Storage;
use crate::shim::{AtomicU64, Rank, UnsafeCell, planted};
use crate::thread::{Blocker, BlockerKind, Context, LabelRef, Participant};
use crate::wait::{self, End};
use std::time::Instant;
pub(super) use told::Told;

/// A channel with a given storage. In this order: what changes under both locks is on the line of the tail's, which has come
/// with it; the head has a line of its own, and what hardly changes the rest.
#[repr(C)]
pub(super) struct Core<T, S: Storage<T>> {
    tail: Side<S::Tail>,
    /// Under the lock of the tail; it grows under both.
    receivers: Nodes<T>,
    /// The same, of the head.
    senders: Nodes<T>,
    /// Tasks that would receive. Under the lock of the tail.
    watchers: Nodes<()>,
    /// Places that are promised. Under both locks.
    places: UnsafeCell<u64>,
    head: Apart<Side<S::Head>>,
    storage: Apart<S>,
    pub(super) label: LabelRef,
    policy: Policy,
    /// Senders that queue at a close stay.
    deliver_pending: bool,
    /// Handles that can send, and that can receive.
    handles: [AtomicU64; 2],
    book: Book,
    /// Which channel it is: the order of a select's locks.
    pub(super) rank: Rank,
}

/// What a send to a full channel does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Policy {
    #[default]
    Wait,
    /// It drops its value.
    Drop,
    /// It drops the oldest value.
    Slide,
}

/// What a channel is made with, but for its storage.
#[derive(Clone, Debug, Default)]
pub(super) struct Traits {
    pub(super) label: LabelRef,
    pub(super) policy: Policy,
    pub(super) deliver_pending: bool,
}

/// On cache lines of its own.
#[repr(align(128))]
struct Apart<V>(V);

/// Which end of the channel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Send = 0,
    Receive = 1,
}

// SAFETY: `places` is reached under both locks; the rest synchronizes itself.
unsafe impl<T: Send, S: Storage<T, Tail: Send, Head: Send> + Sync> Sync for Core<T, S> {}

/// Both sides, head first; of a channel without storage the tail, which then guards all.
pub(super) struct Both<'a, T, S: Storage<T>> {
    core: &'a Core<T, S>,
    tail: Held<'a, S::Tail>,
    head: Option<Held<'a, S::Head>>,
    told: Told<T>,
}

impl<T, S: Storage<T>> Both<'_, T, S> {
    fn senders_queue(&self) -> bool {
        match &self.head {
            Some(head) => head.has(WAITERS),
            None => !self.core.senders.is_empty(),
        }
    }
    /// The flag of a queue that may have become empty, or is empty no more.
    fn flag_receivers(&mut self) {
        self.tail.set(WAITERS, self.core.receivers_queue());
    }
    /// Once the locks are given back.
    fn tell(&mut self, tell: Tell<T>) {
        self.told.add(tell);
    }
    /// Whom to tell so far: the caller does.
    fn take_told(&mut self) -> Told<T> {
        std::mem::replace(&mut self.told, Told::nobody())
    }
    /// Gives the locks back. Whom to tell is the caller's.
    pub(super) fn unlock(self) -> Told<T> {
        self.told
    }
    /// Gives the locks back, then tells whoever is to be told.
    pub(super) fn done(self) {
        let Self { tail, head, told, .. } = self;
        drop((tail, head));
        drop(told);
    }
    /// There is a value that was not given to anybody: a watcher may come for it.
    fn wake_watcher(&mut self) {
        if self.core.watchers.is_empty() || planted("watcher-sleeps-on") {
            return;
        }
        if let Some(tell) = self.core.watchers.wake_one() {
            self.tell(tell.of());
        }
        self.flag_receivers();
    }
    /// As `flag_receivers`.
    fn flag_senders(&mut self) {
        if let Some(head) = &mut self.head {
            head.set(WAITERS, !self.core.senders.is_empty());
        }
    }
    fn pop(&mut self) -> Option<T> {
        self.core.storage.0.pop(self.head.as_mut()?)
    }
    /// How many values the storage holds.
    fn len(&self) -> u64 {
        self.tail.index() - self.core.head.0.index()
    }
    /// How many values may come out: those, and what waits by itself.
    fn inside(&self) -> usize {
        if self.is_sealed() { 0 } else { self.len() as usize + self.core.senders.alone() }
    }
    pub(super) fn is_closed(&self) -> bool {
        self.tail.has(CLOSED)
    }
}

/// Why a value did not go in.
pub(super) enum Refused<T> {
    Full(T),
    Closed(T),
}

impl<T> From<Refused<T>> for TrySendError<T> {
    fn from(refused: Refused<T>) -> Self {
        match refused {
            Refused::Full(value) => Self::Full(value),
            Refused::Closed(value) => Self::Closed(value),
        }
    }
}

/// What one step on one side came to.
enum Quick<T> {
    Done,
    Full(T),
    /// Take both sides.
    Noticed(T),
}

impl<T, S: Storage<T>> Core<T, S> {
    pub(super) fn new(storage: S, traits: Traits) -> Self {
        let Traits { label, policy, deliver_pending } = traits;
        let (tail, head) = storage.sides();
        let (receivers, senders) = (Nodes::new(), Nodes::new());
        let (watchers, places) = (Nodes::new(), UnsafeCell::new(0));
        let handles = [AtomicU64::new(1), AtomicU64::new(1)];
        let (head, storage) = (Apart(head), Apart(storage));
        let (book, rank) = (Book::new(), Rank::new());
        Self {
            tail,
            receivers,
            senders,
            watchers,
            places,
            head,
            storage,
            label,
            policy,
            deliver_pending,
            handles,
            book,
            rank,
        }
    }

    pub(super) fn both(&self) -> Both<'_, T, S> {
        let head = (!S::NONE).then(|| self.head.0.lock());
        Both { core: self, tail: self.tail.lock(), head, told: Told::nobody() }
    }

    /// Does anybody queue who wants a value? Under the lock of the tail.
    fn receivers_queue(&self) -> bool {
        !self.receivers.is_empty() || !self.watchers.is_empty()
    }

    // -- Without waiting

    /// One step: also `Noticed` where another thread has the side.
    #[inline(always)]
    fn push_at_once(&self, value: T) -> Quick<T> {
        let tail = if S::NONE { None } else { self.tail.try_lock_quiet() };
        match tail {
            Some(tail) => self.push_to(tail, value),
            None => Quick::Noticed(value),
        }
    }

    /// The same, after whoever has the side.
    fn push_after(&self, value: T) -> Quick<T> {
        let tail = if S::NONE { None } else { self.tail.lock_quiet() };
        match tail {
            Some(tail) => self.push_to(tail, value),
            None => Quick::Noticed(value),
        }
    }

    #[inline(always)]
    fn push_to(&self, mut tail: Held<'_, S::Tail>, value: T) -> Quick<T> {
        match self.storage.0.push(&mut tail, value) {
            Ok(()) => Quick::Done,
            Err(value) => Quick::Full(value),
        }
    }

    /// As `push_at_once`. False: take both sides; else there was a value, or none.
    #[inline(always)]
    fn pop_at_once(&self, into: &mut Option<T>) -> bool {
        let head = if S::NONE { None } else { self.head.0.try_lock_quiet() };
        head.map(|mut head| self.storage.0.pop_into(&mut head, into)).is_some()
    }

    fn pop_after(&self, into: &mut Option<T>) -> bool {
        let head = if S::NONE { None } else { self.head.0.lock_quiet() };
        head.map(|mut head| self.storage.0.pop_into(&mut head, into)).is_some()
    }

    /// Sends if that takes no wait.
    pub(super) fn push_locked(
        &self,
        both: &mut Both<'_, T, S>,
        value: T,
    ) -> Result<(), Refused<T>> {
        if both.tail.has(CLOSED) {
            return Err(Refused::Closed(value));
        }
        let mut value = value;
        if both.tail.has(WAITERS) {
            let given = self.receivers.give(value);
            both.flag_receivers();
            match given {
                Ok(tell) => {
                    both.tell(tell);
                    return Ok(());
                }
                Err(back) => value = back,
            }
        }
        let looks = !planted("sender-takes-a-promised-place");
        if looks && both.tail.has(PROMISED) && !both.has_room() {
            return Err(Refused::Full(value));
        }
        self.storage.0.push(&mut both.tail, value).map_err(Refused::Full)?;
        both.wake_watcher();
        Ok(())
    }

    /// Receives if that takes no wait; none: there is no value.
    pub(super) fn pop_locked(&self, both: &mut Both<'_, T, S>) -> Option<T> {
        if both.is_sealed() {
            return None;
        }
        let stored = both.pop();
        if !both.senders_queue() {
            return stored;
        }
        if both.tail.has(ENDED) {
            return stored.or_else(|| both.take_ownerless());
        }
        let Some(value) = stored else {
            // No storage, or its places are all promised. Who wants only a place has nothing to give.
            let taken = self.senders.take(planted("place-for-a-value"));
            both.flag_senders();
            return match taken? {
                Taken::Value(value, tell) => {
                    both.tell(tell);
                    Some(value)
                }
                Taken::Place(_) => unreachable!("not asked for"),
            };
        };
        if !planted("room-is-not-passed-on") {
            self.refill(both);
        }
        Some(value)
    }

    /// The sender that waits longest gets a place that has become free.
    fn refill(&self, both: &mut Both<'_, T, S>) {
        if both.tail.has(ENDED) {
            return;
        }
        let taken = self.senders.take(true);
        both.flag_senders();
        match taken {
            Some(Taken::Value(next, tell)) => {
                let full = self.storage.0.push(&mut both.tail, next);
                debug_assert!(full.is_ok(), "a place was free");
                both.tell(tell);
                both.wake_watcher();
            }
            Some(Taken::Place(tell)) => {
                if !planted("place-without-promise") {
                    both.promise();
                }
                both.tell(tell);
            }
            None => {}
        }
    }

    /// A sender that has not sent queues: `link` puts its node in.
    pub(super) fn queue_sender(&self, both: &mut Both<'_, T, S>, link: impl FnOnce(&Nodes<T>)) {
        link(&self.senders);
        if !planted("sender-without-flag") {
            both.flag_senders();
        }
        // Its value can be received from now on.
        both.wake_watcher();
    }

    /// The same, a receiver.
    pub(super) fn queue_receiver(&self, both: &mut Both<'_, T, S>, link: impl FnOnce(&Nodes<T>)) {
        link(&self.receivers);
        if !planted("receiver-without-flag") {
            both.flag_receivers();
        }
        self.promise_more(both);
    }

    /// Sends if that takes no wait.
    fn push_now(&self, value: T) -> Result<(), Refused<T>> {
        let mut both = self.both();
        let pushed = self.push_locked(&mut both, value);
        both.done();
        pushed
    }

    /// Receives if that takes no wait.
    fn pop_now(&self) -> Result<T, TryRecvError> {
        let mut both = self.both();
        let popped = self.pop_locked(&mut both);
        let closed = popped.is_none() && both.is_over();
        both.done();
        popped.ok_or(if closed { TryRecvError::Closed } else { TryRecvError::Empty })
    }

    #[inline(always)]
    pub(super) fn try_send(&self, value: T, id: Option<Id>) -> Result<(), TrySendError<T>> {
        match self.push_at_once(value) {
            Quick::Done => Ok(()),
            Quick::Full(value) if self.policy != Policy::Slide => Err(TrySendError::Full(value)),
            Quick::Full(value) => self.try_send_to_full(value),
            Quick::Noticed(value) if id.is_some_and(|id| self.has_left(Kind::Send, id)) => {
                Err(TrySendError::Closed(value))
            }
            Quick::Noticed(value) => self.try_send_contended(value),
        }
    }

    #[inline(always)]
    pub(super) fn try_recv(&self, id: Option<Id>) -> Result<T, TryRecvError> {
        let mut value = None;
        let looked = self.pop_at_once(&mut value);
        match value {
            Some(value) => Ok(value),
            None if !looked && id.is_some_and(|id| self.has_left(Kind::Receive, id)) => {
                Err(TryRecvError::Closed)
            }
            None => came(|into| self.try_recv_contended(looked, into)),
        }
    }

    #[cold]
    fn try_send_contended(&self, value: T) -> Result<(), TrySendError<T>> {
        let refused = match self.push_after(value) {
            Quick::Done => return Ok(()),
            Quick::Full(value) => return self.try_send_to_full(value),
            Quick::Noticed(value) => self.push_now(value),
        };
        match refused {
            Ok(()) => Ok(()),
            Err(Refused::Full(value)) => self.try_send_to_full(value),
            Err(Refused::Closed(value)) => Err(TrySendError::Closed(value)),
        }
    }

    #[cold]
    fn try_recv_contended(&self, empty: bool, into: &mut Option<T>) -> Result<(), TryRecvError> {
        let empty = empty || self.pop_after(into);
        match into {
            Some(_) => Ok(()),
            // Closed or not is the other side's to say.
            None if empty && self.tail.flags() & CLOSED == 0 => Err(TryRecvError::Empty),
            None => self.pop_now().map(|value| *into = Some(value)),
        }
    }

    // -- With waiting

    #[inline(always)]
    pub(super) fn send<C: Context>(
        &self,
        cx: &mut C,
        value: T,
        deadline: Option<Instant>,
        id: Id,
    ) -> Result<(), SendError<T>> {
        match self.push_at_once(value) {
            Quick::Done => Ok(()),
            Quick::Full(value) => self.send_contended(cx, value, deadline, true),
            Quick::Noticed(value) if self.has_left(Kind::Send, id) => Err(SendError::Closed(value)),
            Quick::Noticed(value) => self.send_contended(cx, value, deadline, false),
        }
    }

    #[inline(always)]
    pub(super) fn recv<C: Context>(
        &self,
        cx: &mut C,
        deadline: Option<Instant>,
        id: Id,
    ) -> Result<T, RecvError> {
        let mut value = None;
        let looked = self.pop_at_once(&mut value);
        match value {
            Some(value) => Ok(value),
            None if !looked && self.has_left(Kind::Receive, id) => Err(RecvError::Closed),
            None => came(|into| self.recv_contended(cx, deadline, looked, into)),
        }
    }

    #[cold]
    fn send_contended(
        &self,
        cx: &mut dyn Context,
        value: T,
        deadline: Option<Instant>,
        full: bool,
    ) -> Result<(), SendError<T>> {
        let (value, full) = match if full { Quick::Full(value) } else { self.push_after(value) } {
            Quick::Done => return Ok(()),
            Quick::Full(value) => (value, true),
            Quick::Noticed(value) => (value, false),
        };
        if full && self.policy != Policy::Wait {
            return self.send_to_full(value);
        }
        let mut value = Some(value);
        if full && self.look_for_room(cx.me(), deadline, &mut value) {
            return Ok(());
        }
        let mut value = value.take().expect("not sent yet");
        // It was full, and nothing is to notice: there is no need to take both sides before the wait does.
        let waits = self.policy == Policy::Wait && (full || S::NONE) && self.tail.flags() == 0;
        if !waits {
            value = match self.push_now(value) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed(value)) => return Err(SendError::Closed(value)),
                Err(Refused::Full(value)) if self.policy != Policy::Wait => {
                    return self.send_to_full(value);
                }
                Err(Refused::Full(value)) => value,
            };
        }
        let on = Blocker::new(BlockerKind::Send, self.label.clone());
        let site = Sending::new(self, value);
        let end = wait::wait_at(cx, &site, &on, deadline);
        let Some(why) = why_not(site.found.get(), end) else { return Ok(()) };
        site.found.set(Found::Done);
        // SAFETY: the wait was not granted, so the value is the sender's still (node I3); `found` says that it is out.
        Err(why(unsafe { site.node.take() }))
    }

    #[cold]
    fn recv_contended(
        &self,
        cx: &mut dyn Context,
        deadline: Option<Instant>,
        empty: bool,
        into: &mut Option<T>,
    ) -> Result<(), RecvError> {
        let empty = empty || self.pop_after(into);
        if empty && into.is_none() {
            *into = self.look_for_value(cx.me(), deadline);
        }
        if into.is_some() {
            return Ok(());
        }
        // As in `send_contended`.
        if !empty || (self.tail.flags() & CLOSED) | self.head.0.flags() != 0 {
            match self.pop_now() {
                Ok(value) => {
                    *into = Some(value);
                    return Ok(());
                }
                Err(TryRecvError::Closed) => return Err(RecvError::Closed),
                Err(TryRecvError::Empty) => {}
            }
        }
        let on = Blocker::new(BlockerKind::Receive, self.label.clone());
        let site = Receiving::new(self);
        match (wait::wait_at(cx, &site, &on, deadline), site.found.get()) {
            (_, Found::Closed) | (End::Woken, _) => Err(RecvError::Closed),
            (End::Done, _) => {
                site.found.set(Found::Nothing);
                // SAFETY: put in by `enqueue`, or by who claimed the wait as granted (node I3); `found` says that it is out.
                *into = Some(unsafe { site.node.take() });
                Ok(())
            }
            (End::Interrupted, _) => Err(RecvError::Interrupted),
            (End::TimedOut, _) => Err(RecvError::TimedOut),
            (End::ShutDown, _) => Err(RecvError::ShutDown),
            (End::WouldBlock, _) => Err(RecvError::WouldBlock),
            (End::Deadlock(_), _) => unreachable!("a receive waits for no thread"),
        }
    }

    fn look_for_room(
        &self,
        me: &Participant,
        deadline: Option<Instant>,
        value: &mut Option<T>,
    ) -> bool {
        let mut look = || {
            if self.storage.0.seems_full(&self.tail) {
                // Also when it is closed: then there is nothing to look for.
                return (self.tail.flags() != 0).then_some(false);
            }
            match self.push_at_once(value.take()?) {
                Quick::Done => Some(true),
                Quick::Full(back) => {
                    *value = Some(back).filter(|_| !planted("look-keeps-what-did-not-go"));
                    None
                }
                Quick::Noticed(back) => {
                    *value = Some(back);
                    // Else another thread has the side for a moment.
                    (self.tail.flags() != 0).then_some(false)
                }
            }
        };
        let sent = match self.storage.0.capacity() {
            Some(1) => me.look_briefly(deadline, look),
            _ => me.look(deadline, || self.tail.index(), &mut look),
        };
        sent == Some(true)
    }

    fn look_for_value(&self, me: &Participant, deadline: Option<Instant>) -> Option<T> {
        let mut look = || {
            if self.storage.0.seems_empty(&self.head.0, &self.tail) {
                return (self.tail.flags() & CLOSED != 0).then_some(None);
            }
            let mut head = self.head.0.try_lock_quiet()?;
            let value = self.storage.0.pop(&mut head)?;
            (!planted("look-loses-what-it-finds")).then_some(Some(value))
        };
        match self.storage.0.capacity() {
            Some(1) => me.look_briefly(deadline, look),
            _ => me.look(deadline, || self.head.0.index(), &mut look),
        }
        .flatten()
    }

    // -- Snapshots

    /// Values in the storage: exact at some moment of the call.
    pub(super) fn len(&self) -> usize {
        self.both().inside()
    }
    pub(super) fn capacity(&self) -> Option<usize> {
        self.storage.0.capacity()
    }
    /// How many threads wait to send, or to receive.
    pub(super) fn waiting(&self, end: Kind) -> usize {
        let _both = self.both();
        match end {
            Kind::Send => self.senders.len() - self.senders.alone(),
            Kind::Receive => self.receivers.len(),
        }
    }
}

/// Why what was waited for did not come; none: it did.
fn why_not<T>(found: Found, end: End) -> Option<fn(T) -> SendError<T>> {
    Some(match (found, end) {
        (Found::Closed, _) | (_, End::Woken) => SendError::Closed,
        (Found::Done, _) | (_, End::Done) => return None,
        (_, End::Interrupted) => SendError::Interrupted,
        (_, End::TimedOut) => SendError::TimedOut,
        (_, End::ShutDown) => SendError::ShutDown,
        (_, End::WouldBlock) => SendError::WouldBlock,
        (_, End::Deadlock(_)) => unreachable!("a send waits for no thread"),
    })
}

/// What a slow path left behind. It says by itself whether: a whole `Result` from there, and the value of a quick path would
/// be copied into one too.
#[inline(always)]
fn came<T, E>(from: impl FnOnce(&mut Option<T>) -> Result<(), E>) -> Result<T, E> {
    let mut value = None;
    from(&mut value)?;
    Ok(value.expect("success leaves a value"))
}

impl<T, S: Storage<T>> Drop for Core<T, S> {
    fn drop(&mut self) {
        let Self { head: Apart(head), storage: Apart(storage), .. } = self;
        let mut head = head.lock();
        debug_assert!(storage.pop(&mut head).is_none(), "the last receiver empties a channel");
        storage.end(&mut head);
    }
}
