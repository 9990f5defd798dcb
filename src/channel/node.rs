//! Threads that queue at a channel: nodes on their stacks, linked under a side's lock.
//!
//! I1. `links` change, and are read, only under the lock of the side that guards the queue: receivers queue at the tail,
//!     senders at the head, without storage at the tail too.
//! I2. A linked node's thread is in a wait; it takes that lock before the wait is over, unless its node was popped and the
//!     wait claimed as granted. A thread that waits by several nodes (a select) takes the lock of each, however its wait
//!     ended; the node by which it was claimed says so (`won`, written under the lock). A task's node is pinned, and taken
//!     out under the lock before it goes. A node that no thread waits by lies in the heap, and belongs to who pops it.
//! I3. A value is in one place: the sender's node until its wait is claimed as granted; the receiver's node from then on.
//!     Who claims moves the value before the claim, under the lock, and takes the move back if the claim is lost: the
//!     copy is forgotten. A node that wants a place, or only to be told, never has one. A task is never given a value:
//!     it might never come for it.
//! E1. As the claim word's: the claimer's writes to the node -> the waiter, once it sees its wait over. `won`: the side's
//!     lock.

use super::error::{RecvError, SendError};
use crate::park::{Entry, Epoch, Outcome, Waiter, Wake};
use crate::shim::{UnsafeCell, planted};
use crate::thread::quietly;
use std::mem::MaybeUninit;
use std::ptr::{self, null};
use std::task::Waker;

/// One wait of one thread at one channel, or one of its several.
pub(super) struct Node<T> {
    links: UnsafeCell<Links<T>>,
    slot: UnsafeCell<MaybeUninit<T>>,
    wants: Wants,
    /// What is done when it is over, if no thread waits.
    then: Option<Then<T>>,
}

/// What comes of a receive and of a send, for whom nobody waits for.
pub(super) enum Then<T> {
    Received(Box<dyn FnOnce(Result<T, RecvError>) + Send>),
    Sent(Box<dyn FnOnce(Result<(), SendError<T>>) + Send>),
}

/// What the one who queues by a node wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wants {
    /// To move a value: its own in, or another one out.
    Value,
    /// A place for a value that it has not made yet. Among senders only.
    Place,
}

struct Links<T> {
    next: *const Node<T>,
    prev: *const Node<T>,
    /// Its place: kept when the thread leaves the queue to answer a request, and comes back.
    turn: u64,
    who: Who,
    /// One of several: the wait was claimed by this one. A task's: its value was taken.
    won: bool,
    waker: Option<Waker>,
}

/// Whose a node is.
#[derive(Clone, Copy)]
enum Who {
    /// It is in no queue.
    Unlinked,
    /// This is the node of that wait.
    Alone(&'static Waiter, Epoch),
    /// This is one of the nodes of that wait.
    Among(&'static Waiter, Epoch),
    /// A task, which is woken by its waker.
    Task,
    /// No thread; the node is a `Box`'s. A value that waits by itself, or an operation with a `then`.
    Nobody,
}

impl<T> Node<T> {
    /// A receiver's.
    pub(super) fn empty() -> Self {
        Self::new(MaybeUninit::uninit(), Wants::Value, None)
    }
    /// A sender's.
    pub(super) fn with(value: T) -> Self {
        Self::new(MaybeUninit::new(value), Wants::Value, None)
    }
    /// Of who wants a place.
    pub(super) fn place() -> Self {
        Self::new(MaybeUninit::uninit(), Wants::Place, None)
    }
    /// Of who will be told by a call; a sender's has its value.
    pub(super) fn calls(value: Option<T>, then: Then<T>) -> Box<Self> {
        let slot = value.map_or_else(MaybeUninit::uninit, MaybeUninit::new);
        Box::new(Self::new(slot, Wants::Value, Some(then)))
    }
    fn new(slot: MaybeUninit<T>, wants: Wants, then: Option<Then<T>>) -> Self {
        let (next, prev, waker) = (null(), null(), None);
        let links = Links { next, prev, turn: 0, who: Who::Unlinked, won: false, waker };
        Self { links: UnsafeCell::new(links), slot: UnsafeCell::new(slot), wants, then }
    }
    /// The value.
    ///
    /// # Safety
    /// It is in there, and this node's to give (I3); it is not taken twice.
    pub(super) unsafe fn take(&self) -> T {
        // SAFETY: the caller's promise.
        let value = self.slot.with(|v| unsafe { v.read() });
        // SAFETY: as above.
        unsafe { value.assume_init() }
    }
    /// Was the wait claimed by this node? In a stopped world.
    pub(super) fn has_won(&self) -> bool {
        // SAFETY: no thread runs, so none writes.
        self.links.with(|l| unsafe { (*l).won })
    }
    /// Shows the value.
    ///
    /// # Safety
    /// As `take`, for as long as `f` runs; but it stays in there.
    pub(super) unsafe fn with_value(&self, f: &mut dyn FnMut(&mut T)) {
        // SAFETY: the caller's promise.
        self.slot.with_mut(|v| f(unsafe { &mut *v.cast::<T>() }));
    }
    /// Puts the value in.
    ///
    /// # Safety
    /// There is none, and nobody else has the slot (I3).
    pub(super) unsafe fn put(&self, value: T) {
        // SAFETY: the caller's promise.
        self.slot.with_mut(|v| unsafe { (*v).write(value) });
    }
}

/// A FIFO of nodes. Everything under the lock of its side (I1), which the caller of each function holds.
pub(super) struct Nodes<T>(UnsafeCell<Ends<T>>);

struct Ends<T> {
    front: *const Node<T>,
    back: *const Node<T>,
    /// Places given out.
    turns: u64,
    len: usize,
    /// Of these, values that wait by themselves.
    alone: usize,
}

// SAFETY: reached under the side's lock only (I1); what the nodes hold may move to other threads.
unsafe impl<T: Send> Sync for Nodes<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Nodes<T> {}

/// Who is to be told, once both locks are given back, that something came of a node.
#[must_use = "a thread sleeps until it is told"]
pub(super) enum Tell<T> {
    Thread(Wake),
    Task(Waker),
    /// No thread. The node is the caller's; its operation was done, or ended because the channel is closed.
    Over(Box<Node<T>>, bool),
}

impl<T> Tell<T> {
    /// With no internal lock held: what is called is a VM's, or an executor's. It may be called by a thread that queues, or
    /// in the middle of a close: so a panic of it ends there, and neither leaves a node behind nor others untold.
    pub(super) fn now(self) {
        match self {
            Self::Thread(wake) => wake.now(),
            Self::Task(waker) => quietly(|| waker.wake()),
            Self::Over(..) if planted("calls-are-forgotten") => {}
            Self::Over(mut node, done) => quietly(|| node.call(done)),
        }
    }
}

impl<T> Node<T> {
    /// Its operation was done, or else the channel is closed: says so, if anybody wants to know.
    fn call(&mut self, done: bool) {
        match (self.then.take(), done) {
            (None, _) => {}
            // SAFETY: it was given, and the node is ours (I3).
            (Some(Then::Received(then)), true) => then(Ok(unsafe { self.take() })),
            (Some(Then::Received(then)), false) => then(Err(RecvError::Closed)),
            (Some(Then::Sent(then)), true) => then(Ok(())),
            (Some(Then::Sent(then)), false) => {
                // SAFETY: it was not taken, and the node is ours (I3).
                let value = unsafe { self.take() };
                then(Err(SendError::Closed(value)));
            }
        }
    }
}

impl Tell<()> {
    /// Of who waits for no value: a thread or a task.
    pub(super) fn of<T>(self) -> Tell<T> {
        match self {
            Self::Thread(wake) => Tell::Thread(wake),
            Self::Task(waker) => Tell::Task(waker),
            Self::Over(..) => unreachable!("who only watches is a thread or a task"),
        }
    }
}

/// What the front sender let go of.
pub(super) enum Taken<T> {
    /// Its value.
    Value(T, Tell<T>),
    /// It got what it wanted: the caller keeps a place free for it.
    Place(Tell<T>),
}

impl<T> Nodes<T> {
    pub(super) fn new() -> Self {
        Self(UnsafeCell::new(Ends { front: null(), back: null(), turns: 0, len: 0, alone: 0 }))
    }

    fn ends<R>(&self, f: impl FnOnce(&mut Ends<T>) -> R) -> R {
        // SAFETY: the side's lock is held (I1); `f` has the only borrow.
        self.0.with_mut(|e| f(unsafe { &mut *e }))
    }

    fn links<R>(&self, node: *const Node<T>, f: impl FnOnce(&mut Links<T>) -> R) -> R {
        // SAFETY: a linked node, or the caller's own, lives (I2).
        let node = unsafe { &*node };
        // SAFETY: the side's lock is held (I1); `f` has the only borrow.
        node.links.with_mut(|l| f(unsafe { &mut *l }))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends(|e| e.front.is_null())
    }

    pub(super) fn len(&self) -> usize {
        self.ends(|e| e.len)
    }
    /// How many values wait by themselves.
    pub(super) fn alone(&self) -> usize {
        self.ends(|e| e.alone)
    }

    /// Links a node, whose thread has begun its wait: at the back, or `again` where it was.
    pub(super) fn push(&self, node: &Node<T>, waiter: &'static Waiter, entry: Entry, again: bool) {
        self.link(node, Who::Alone(waiter, entry.epoch), again);
    }

    /// The same, of a wait that has several nodes.
    pub(super) fn push_among(
        &self,
        node: &Node<T>,
        (waiter, epoch): (&'static Waiter, Epoch),
        again: bool,
    ) {
        self.link(node, Who::Among(waiter, epoch), again);
    }

    /// An operation for which no thread waits.
    pub(super) fn push_ownerless(&self, node: Box<Node<T>>) {
        // SAFETY: it belongs to who pops it (I2), and lives until then.
        let node = unsafe { &*Box::into_raw(node) };
        self.link(node, Who::Nobody, false);
        self.ends(|e| e.alone += usize::from(node.then.is_none()));
    }

    /// A task queues, or queues still: then it keeps its place, and is woken by this waker. The old one is for after the
    /// lock.
    pub(super) fn push_task(&self, node: &Node<T>, waker: Waker) -> Option<Waker> {
        if self.links(node, |l| matches!(l.who, Who::Unlinked)) {
            self.link(node, Who::Task, false);
        }
        self.links(node, |l| match &l.waker {
            Some(_) if planted("task-keeps-its-first-waker") => Some(waker),
            _ => l.waker.replace(waker),
        })
    }

    /// Is it in the queue? Was it claimed, or its value taken?
    pub(super) fn look(&self, node: &Node<T>) -> (bool, bool) {
        self.links(node, |l| (!matches!(l.who, Who::Unlinked), l.won))
    }

    fn link(&self, node: &Node<T>, who: Who, again: bool) {
        let this: *const Node<T> = node;
        let (turn, prev, next) = if again && !planted("served-goes-last") {
            let turn = self.links(this, |l| l.turn);
            let (prev, next) = self.place_of(if planted("served-goes-first") { 0 } else { turn });
            (turn, prev, next)
        } else {
            self.ends(|e| {
                e.turns += 1;
                (e.turns, e.back, null())
            })
        };
        self.links(this, |l| {
            debug_assert!(matches!(l.who, Who::Unlinked), "one wait, one place in the queue");
            (l.next, l.prev, l.turn, l.who, l.won) = (next, prev, turn, who, false);
        });
        self.ends(|e| e.len += 1);
        self.hook_up(prev, this, next);
    }

    /// Between whom that place is.
    fn place_of(&self, turn: u64) -> (*const Node<T>, *const Node<T>) {
        let (mut prev, mut at) = (null(), self.ends(|e| e.front));
        while !at.is_null() && self.links(at, |l| l.turn < turn) {
            (prev, at) = (at, self.links(at, |l| l.next));
        }
        (prev, at)
    }

    /// Makes `this` follow `prev` and precede `next`; null: the end of the queue.
    fn hook_up(&self, prev: *const Node<T>, this: *const Node<T>, next: *const Node<T>) {
        match prev.is_null() {
            true => self.ends(|e| e.front = this),
            false => self.links(prev, |l| l.next = this),
        }
        match next.is_null() {
            true => self.ends(|e| e.back = this),
            false => self.links(next, |l| l.prev = this),
        }
    }

    /// Takes a node out, if it is linked. The caller is its thread, which still waits or has waited. One of several: was the
    /// wait claimed by it?
    pub(super) fn remove(&self, node: &Node<T>) -> bool {
        let this: *const Node<T> = node;
        let (linked, won) = self.links(this, |l| (!matches!(l.who, Who::Unlinked), l.won));
        if linked && !planted("leaver-stays-in-line") {
            self.unlink(this);
        }
        won
    }

    fn unlink(&self, node: *const Node<T>) {
        let (prev, next, who) = self.links(node, |l| {
            let who = std::mem::replace(&mut l.who, Who::Unlinked);
            (l.prev, l.next, who)
        });
        // SAFETY: a linked node lives (I2), and `then` does not change while it is linked.
        let alone = matches!(who, Who::Nobody) && unsafe { (*node).then.is_none() };
        match prev.is_null() {
            true => self.ends(|e| e.front = next),
            false => self.links(prev, |l| l.next = next),
        }
        match next.is_null() {
            true => self.ends(|e| e.back = prev),
            false => self.links(next, |l| l.prev = prev),
        }
        self.ends(|e| {
            e.len -= 1;
            e.alone -= usize::from(alone);
        });
    }

    /// The first one that fits, unlinked. It lives as long as the side's lock is held (I2).
    fn pop(&self, fits: impl Fn(Wants, Who) -> bool) -> Option<(*const Node<T>, Who)> {
        let mut at = self.ends(|e| e.front);
        // SAFETY: a linked node lives (I2), and `wants` never changes.
        while !at.is_null() && !fits(unsafe { (*at).wants }, self.links(at, |l| l.who)) {
            at = self.links(at, |l| l.next);
        }
        if at.is_null() {
            return None;
        }
        let who = self.links(at, |l| l.who);
        self.unlink(at);
        Some((at, who))
    }

    /// Ends the wait of who queued by a popped node; none: it had ended otherwise.
    fn claim(&self, node: *const Node<T>, who: Who, outcome: Outcome) -> Option<Tell<T>> {
        match who {
            Who::Alone(waiter, epoch) => waiter.claim(epoch, outcome).map(Tell::Thread),
            Who::Among(waiter, epoch) => {
                let wake = waiter.claim(epoch, outcome)?;
                // It takes this lock before it lets go of the node (I2).
                self.links(node, |l| l.won = !planted("winner-is-not-told"));
                Some(Tell::Thread(wake))
            }
            Who::Task => {
                let waker = self.links(node, |l| {
                    l.won = outcome == Outcome::Granted && !planted("taken-task-is-not-told");
                    l.waker.take()
                });
                waker.map(Tell::Task)
            }
            Who::Nobody => {
                // SAFETY: popped, and a `Box`'s (I2).
                let node = unsafe { Box::from_raw(node.cast_mut()) };
                Some(Tell::Over(node, outcome == Outcome::Granted))
            }
            Who::Unlinked => unreachable!("a linked node is somebody's, or nobody's"),
        }
    }

    /// Gives a value to the receiver that waits longest; or it comes back: nobody waits.
    pub(super) fn give(&self, mut value: T) -> Result<Tell<T>, T> {
        while let Some((node, who)) = self.pop(|_, _| true) {
            // SAFETY: a popped node lives until its thread has had the lock (I2).
            let slot = unsafe { &*node };
            let granted = || self.claim(node, who, Outcome::Granted);
            let early = planted("claim-before-value").then(granted);
            // SAFETY: a waiting receiver's slot is empty (I3).
            unsafe { slot.put(value) };
            match early.unwrap_or_else(granted) {
                Some(tell) => return Ok(tell),
                // SAFETY: what was just put in; the receiver's wait ended otherwise, so it leaves it alone (I3).
                None => value = unsafe { slot.take() },
            }
            if planted("lost-claim-ends-give") {
                break;
            }
        }
        Err(value)
    }

    /// Takes the value of the sender that waits longest, or lets it have a place, if that is what it wants. Without
    /// `places`: of the one that waits longest with a value.
    pub(super) fn take(&self, places: bool) -> Option<Taken<T>> {
        while let Some((node, who)) = self.pop(|wants, _| places || wants == Wants::Value) {
            // SAFETY: a popped node lives until its thread has had the lock (I2).
            let sender = unsafe { &*node };
            if sender.wants == Wants::Place {
                match self.claim(node, who, Outcome::Granted) {
                    Some(tell) => return Some(Taken::Place(tell)),
                    None => continue,
                }
            }
            // Moved out before the claim: afterwards the node may be gone. If the claim is lost, the sender has it still,
            // and this copy is none.
            // SAFETY: it lives, as above.
            let copy = sender.slot.with(|v| unsafe { v.read() });
            if let Some(tell) = self.claim(node, who, Outcome::Granted) {
                // SAFETY: a waiting sender's slot has a value, and the claim made it ours (I3).
                return Some(Taken::Value(unsafe { copy.assume_init() }, tell));
            }
            if planted("lost-claim-drops-value") {
                // SAFETY: none: the sender has it still.
                drop(unsafe { copy.assume_init() });
            } else if planted("lost-claim-ends-take") {
                break;
            }
        }
        None
    }

    /// How many nodes a select has here.
    fn nodes_of(&self, who: Who) -> usize {
        let Who::Among(its, _) = who else { return 0 };
        if planted("select-meets-itself") {
            return 0;
        }
        let (mut n, mut at) = (0, self.ends(|e| e.front));
        while !at.is_null() {
            let (next, who) = self.links(at, |l| (l.next, l.who));
            n += usize::from(matches!(who, Who::Among(waiter, _) if ptr::eq(waiter, its)));
            at = next;
        }
        n
    }

    /// Lets the one that waits longest for a place have it, of those for whom one of `free` receivers is another one: a
    /// select is none for itself.
    pub(super) fn take_place(&self, receivers: &Self, free: usize) -> Option<Tell<T>> {
        let met = |who| receivers.nodes_of(who) < free;
        while let Some((node, who)) = self.pop(|wants, who| wants == Wants::Place && met(who)) {
            if let Some(tell) = self.claim(node, who, Outcome::Granted) {
                return Some(tell);
            }
        }
        None
    }

    /// Takes the oldest value that waits by itself.
    pub(super) fn take_ownerless(&self) -> Option<(T, Tell<T>)> {
        let mut at = self.ends(|e| e.front);
        while !at.is_null() {
            let (next, who) = self.links(at, |l| (l.next, l.who));
            // SAFETY: a linked node lives (I2), and `then` does not change while it is linked.
            if matches!(who, Who::Nobody) && unsafe { (*at).then.is_none() } {
                self.unlink(at);
                // SAFETY: it lives until it is freed, by who pops it (I2): below.
                let node = unsafe { &*at };
                // SAFETY: nobody's has a value, which is taken once (I3).
                let value = unsafe { node.take() };
                return self.claim(at, who, Outcome::Granted).map(|tell| (value, tell));
            }
            at = next;
        }
        None
    }

    /// The values of those that queue; or only of those that no thread waits for, and that are in no thread's hand.
    pub(super) fn each(&self, all: bool, f: &mut dyn FnMut(&mut T)) {
        let mut at = self.ends(|e| e.front);
        while !at.is_null() {
            let (next, who) = self.links(at, |l| (l.next, l.who));
            // SAFETY: a linked node lives (I2).
            let node = unsafe { &*at };
            let a_thread = matches!(who, Who::Alone(..) | Who::Among(..));
            if node.wants == Wants::Value && (all || !a_thread) {
                // SAFETY: it has its value as long as it is linked, and nobody else reaches it (I3).
                unsafe { node.with_value(f) };
            }
            at = next;
        }
    }

    /// Wakes the one that waits longest to see for itself.
    pub(super) fn wake_one(&self) -> Option<Tell<T>> {
        while let Some((node, who)) = self.pop(|_, _| true) {
            if let Some(tell) = self.claim(node, who, Outcome::Woken) {
                return Some(tell);
            }
        }
        None
    }

    /// Ends the wait of who waits longest: the channel is closed. Values that wait by themselves stay; if what is `pending`
    /// does, also those of who waits for nothing else.
    pub(super) fn dismiss(&self, pending: bool) -> Option<Tell<T>> {
        let mut at = self.ends(|e| e.front);
        while !at.is_null() {
            let (next, who) = self.links(at, |l| (l.next, l.who));
            // SAFETY: a linked node lives (I2); what is read of it here does not change while it is linked.
            let node = unsafe { &*at };
            let stays = match who {
                Who::Nobody => pending || node.then.is_none() && !planted("close-forgets-values"),
                Who::Alone(..) | Who::Task => pending && node.wants == Wants::Value,
                Who::Among(..) | Who::Unlinked => false,
            };
            if !stays {
                self.unlink(at);
                if let Some(tell) = self.claim(at, who, Outcome::Woken) {
                    return Some(tell);
                }
            }
            at = next;
        }
        None
    }
}
