//! Threads that queue at a channel: nodes on their stacks, linked under a side's lock.
//!
//! I1. `links` change, and are read, only under the lock of the side that guards the queue: receivers queue at the tail,
//!     senders at the head, without storage at the tail too.
//! I2. A linked node's thread is in a wait; it takes that lock before the wait is over, unless its node was popped and the wait
//!     claimed as granted.
//! I3. A value is in one place: the sender's node until its wait is claimed as granted; the receiver's node from then on.
//!     Who claims moves the value before the claim, under the lock, and takes the move back if the claim is lost: the
//!     copy is forgotten.
//! E1. As the claim word's: the claimer's writes to the node -> the waiter, once it sees its wait over.

use crate::park::{Entry, Epoch, Outcome, Waiter, Wake};
use crate::shim::{UnsafeCell, planted};
use std::mem::MaybeUninit;
use std::ptr::null;

/// One wait of one thread at one channel.
pub(super) struct Node<T> {
    links: UnsafeCell<Links<T>>,
    slot: UnsafeCell<MaybeUninit<T>>,
}

struct Links<T> {
    next: *const Node<T>,
    prev: *const Node<T>,
    /// Its place: kept when the thread leaves the queue to answer a request, and comes back.
    turn: u64,
    /// Whose; none: it is in no queue.
    waiter: Option<(&'static Waiter, Epoch)>,
}

impl<T> Node<T> {
    /// A receiver's.
    pub(super) fn empty() -> Self {
        Self::new(MaybeUninit::uninit())
    }
    /// A sender's.
    pub(super) fn with(value: T) -> Self {
        Self::new(MaybeUninit::new(value))
    }
    fn new(slot: MaybeUninit<T>) -> Self {
        let links = Links { next: null(), prev: null(), turn: 0, waiter: None };
        Self { links: UnsafeCell::new(links), slot: UnsafeCell::new(slot) }
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
}

// SAFETY: reached under the side's lock only (I1); what the nodes hold may move to other threads.
unsafe impl<T: Send> Sync for Nodes<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Nodes<T> {}

/// A node that was popped. Valid while the side's lock is held (I2).
struct Popped<T> {
    node: *const Node<T>,
    waiter: &'static Waiter,
    epoch: Epoch,
}

impl<T> Nodes<T> {
    pub(super) fn new() -> Self {
        Self(UnsafeCell::new(Ends { front: null(), back: null(), turns: 0 }))
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
        let (mut n, mut at) = (0, self.ends(|e| e.front));
        while !at.is_null() {
            n += 1;
            at = self.links(at, |l| l.next);
        }
        n
    }

    /// Links a node, whose thread has begun its wait: at the back, or `again` where it was.
    pub(super) fn push(&self, node: &Node<T>, waiter: &'static Waiter, entry: Entry, again: bool) {
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
            debug_assert!(l.waiter.is_none(), "one wait, one place in the queue");
            *l = Links { next, prev, turn, waiter: Some((waiter, entry.epoch)) };
        });
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

    /// Takes a node out, if it is linked. The caller is its thread, which still waits or has waited.
    pub(super) fn remove(&self, node: &Node<T>) {
        let this: *const Node<T> = node;
        if self.links(this, |l| l.waiter.is_none()) || planted("leaver-stays-in-line") {
            return;
        }
        self.unlink(this);
    }

    fn unlink(&self, node: *const Node<T>) {
        let (prev, next) = self.links(node, |l| {
            l.waiter = None;
            (l.prev, l.next)
        });
        match prev.is_null() {
            true => self.ends(|e| e.front = next),
            false => self.links(prev, |l| l.next = next),
        }
        match next.is_null() {
            true => self.ends(|e| e.back = prev),
            false => self.links(next, |l| l.prev = prev),
        }
    }

    fn pop(&self) -> Option<Popped<T>> {
        let node = self.ends(|e| e.front);
        if node.is_null() {
            return None;
        }
        let (waiter, epoch) = self.links(node, |l| l.waiter).expect("a linked node has a waiter");
        self.unlink(node);
        Some(Popped { node, waiter, epoch })
    }

    /// Gives a value to the receiver that waits longest; or it comes back: nobody waits.
    pub(super) fn give(&self, mut value: T) -> Result<Wake, T> {
        while let Some(Popped { node, waiter, epoch }) = self.pop() {
            // SAFETY: a popped node lives until its thread has had the lock (I2).
            let node = unsafe { &*node };
            let early =
                planted("claim-before-value").then(|| waiter.claim(epoch, Outcome::Granted));
            // SAFETY: a waiting receiver's slot is empty (I3).
            unsafe { node.put(value) };
            match early.unwrap_or_else(|| waiter.claim(epoch, Outcome::Granted)) {
                Some(wake) => return Ok(wake),
                // SAFETY: what was just put in; the receiver's wait ended otherwise, so it leaves it alone (I3).
                None => value = unsafe { node.take() },
            }
            if planted("lost-claim-ends-give") {
                break;
            }
        }
        Err(value)
    }

    /// Takes the value of the sender that waits longest.
    pub(super) fn take(&self) -> Option<(T, Wake)> {
        while let Some(Popped { node, waiter, epoch }) = self.pop() {
            // Moved out before the claim: afterwards the node may be gone. If the claim is lost, the sender has it still, and
            // this copy is none.
            // SAFETY: a popped node lives until its thread has had the lock (I2).
            let copy = unsafe { &*node }.slot.with(|v| unsafe { v.read() });
            if let Some(wake) = waiter.claim(epoch, Outcome::Granted) {
                // SAFETY: a waiting sender's slot has a value, and the claim made it ours (I3).
                return Some((unsafe { copy.assume_init() }, wake));
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

    /// Ends the wait of the thread that waits longest: the channel is closed.
    pub(super) fn dismiss(&self) -> Option<Wake> {
        while let Some(Popped { waiter, epoch, .. }) = self.pop() {
            if let Some(wake) = waiter.claim(epoch, Outcome::Woken) {
                return Some(wake);
            }
        }
        None
    }
}
