//! The queue inside every primitive: a lock and a list of waiters in one pointer.
//!
//! | `head`        | meaning                                                        |
//! |---------------|----------------------------------------------------------------|
//! | null          | unlocked, nobody queues                                        |
//! | node          | unlocked, the front of a circular list                          |
//! | any \| LOCKED | a thread works on the list; it stores the new head to unlock   |
//!
//! I1. A node's fields, and whether it is linked, change only under the lock of the queue that links it.
//! I2. A linked node's waiter is in a wait: it takes this lock before the wait is over, unless it was popped and claimed.
//! E1. Unlock's Release store -> the next Acquire compare-exchange: the list.
//!
//! Unlocking is a plain store: every successful compare-exchange starts from an unlocked value, so none races with it.
//! The lock is held for a few instructions. A thread that finds it taken pauses, then yields, then naps: a bounded
//! back-off, not a wait. Nothing of the VM runs under it and nothing allocates.

use super::claim::{Epoch, Outcome};
use super::waiter::{Waiter, Wake};
use crate::id::ThreadId;
use crate::shim::{self, AtomicPtr, Ordering::*, UnsafeCell, const_fn, planted};
use std::ptr::null_mut;

/// What a waiter says of itself when it queues.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) id: ThreadId,
    pub(crate) epoch: Epoch,
    /// It was woken, lost, and is owed a hand-over.
    pub(crate) starves: bool,
    /// The address of the mutex that a condition-wait gave back; 0 for other waits.
    pub(crate) object: usize,
}

/// A waiter's place in a queue. All fields by I1.
pub(crate) struct Node(UnsafeCell<Links>);

struct Links {
    next: *const Waiter,
    prev: *const Waiter,
    /// The queue that links the node; null: none.
    home: *const Queue,
    entry: Option<Entry>,
}

impl Node {
    const_fn! {
        pub(crate) fn new() -> Self {
            let null = std::ptr::null();
            Self(UnsafeCell::new(Links { next: null, prev: null, home: std::ptr::null(), entry: None }))
        }
    }
}

/// A FIFO of waiters. It must not move while a waiter is linked: the borrow of every waiting call sees to that.
pub(crate) struct Queue {
    head: Head,
}

#[cfg(not(selvedge_loom))]
type Head = SpinHead;
/// loom's mutex stands for the lock bit, which has a model of its own.
#[cfg(selvedge_loom)]
type Head = ModelHead;

/// The list of a locked queue.
pub(crate) struct QueueGuard<'a> {
    queue: &'a Queue,
    front: *const Waiter,
    #[cfg(selvedge_loom)]
    lock: shim::MutexGuard<'a, *mut Waiter>,
}

/// A waiter that was taken from a queue, with the wait it was in. It stays valid while the queue's lock is held.
#[derive(Clone, Copy)]
pub(crate) struct Ticket {
    waiter: &'static Waiter,
    entry: Entry,
}

impl Queue {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self { head: Head::new() }
        }
    }

    /// A snapshot; exact for what happens-before the call.
    #[inline]
    pub(crate) fn looks_empty(&self) -> bool {
        #[cfg(not(selvedge_loom))]
        // ORDERING: Relaxed. Coherence: a push that happens-before the call is seen, or what came after it.
        return self.head.0.load(Relaxed).is_null();
        #[cfg(selvedge_loom)]
        return self.head.0.lock().is_null();
    }

    #[inline]
    pub(crate) fn lock(&self) -> QueueGuard<'_> {
        #[cfg(not(selvedge_loom))]
        return QueueGuard { queue: self, front: self.head.lock() };
        #[cfg(selvedge_loom)]
        {
            let lock = self.head.0.lock();
            QueueGuard { queue: self, front: *lock, lock }
        }
    }
}

impl Drop for QueueGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        #[cfg(not(selvedge_loom))]
        self.queue.head.unlock(self.front.cast_mut());
        #[cfg(selvedge_loom)]
        {
            *self.lock = self.front.cast_mut();
        }
    }
}

impl QueueGuard<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.front.is_null()
    }

    /// Is the front waiter owed a hand-over?
    pub(crate) fn front_starves(&self) -> bool {
        !self.front.is_null() && self.read(self.front, |l| l.entry.is_some_and(|e| e.starves))
    }

    pub(crate) fn len(&self) -> usize {
        let (mut n, mut at) = (0, self.front);
        while !at.is_null() {
            n += 1;
            at = self.read(at, |l| l.next);
            if at == self.front {
                break;
            }
        }
        n
    }

    pub(crate) fn push_back(&mut self, waiter: &'static Waiter, entry: Entry) {
        self.link(waiter, entry);
        if self.front.is_null() {
            self.front = waiter;
        }
    }

    pub(crate) fn push_front(&mut self, waiter: &'static Waiter, entry: Entry) {
        self.link(waiter, entry);
        self.front = waiter;
    }

    /// Takes the front waiter out.
    pub(crate) fn pop(&mut self) -> Option<Ticket> {
        if self.front.is_null() {
            return None;
        }
        // SAFETY: waiters are never freed (`Waiter`).
        let waiter: &'static Waiter = unsafe { &*self.front };
        let entry = self.read(self.front, |l| l.entry).expect("a linked node has an entry");
        self.unlink(waiter);
        Some(Ticket { waiter, entry })
    }

    /// Takes `waiter` out if this queue links it. Under this queue's lock, and that of any queue that may link it.
    pub(crate) fn remove(&mut self, waiter: &'static Waiter) {
        let home: *const Queue = self.queue;
        if self.read(waiter, |l| l.home) == home && !planted("stale-node") {
            self.unlink(waiter);
        }
    }

    /// Before `front`, that is: at the back.
    fn link(&mut self, waiter: &'static Waiter, entry: Entry) {
        let me: *const Waiter = waiter;
        let (next, prev) = match self.front.is_null() {
            true => (me, me),
            false => (self.front, self.read(self.front, |l| l.prev)),
        };
        let home: *const Queue = self.queue;
        self.write(me, |l| {
            debug_assert!(l.home.is_null(), "one wait, one queue");
            *l = Links { next, prev, home, entry: Some(entry) };
        });
        self.write(prev, |l| l.next = me);
        self.write(next, |l| l.prev = me);
    }

    fn unlink(&mut self, waiter: &'static Waiter) {
        let me: *const Waiter = waiter;
        let (next, prev) = self.read(me, |l| (l.next, l.prev));
        self.write(prev, |l| l.next = next);
        self.write(next, |l| l.prev = prev);
        self.write(me, |l| l.home = std::ptr::null());
        if self.front == me {
            self.front = if next == me { std::ptr::null() } else { next };
        }
    }

    fn read<R>(&self, at: *const Waiter, f: impl FnOnce(&Links) -> R) -> R {
        // SAFETY: waiters are never freed (`Waiter`).
        let node = unsafe { (*at).node() };
        // SAFETY: the queue's lock is held (I1).
        node.0.with(|l| f(unsafe { &*l }))
    }

    fn write(&mut self, at: *const Waiter, f: impl FnOnce(&mut Links)) {
        // SAFETY: waiters are never freed (`Waiter`).
        let node = unsafe { (*at).node() };
        // SAFETY: the queue's lock is held (I1); no other borrow of the links is alive.
        node.0.with_mut(|l| f(unsafe { &mut *l }));
    }
}

impl Ticket {
    pub(crate) fn entry(self) -> Entry {
        self.entry
    }
    pub(crate) fn waiter(self) -> &'static Waiter {
        self.waiter
    }
    /// Ends the wait; none: somebody else was first, and the waiter is not ours to touch.
    pub(crate) fn claim(self, outcome: Outcome) -> Option<Wake> {
        self.waiter.claim(self.entry.epoch, outcome)
    }
}

/// The lock bit in the queue's head.
pub(crate) struct SpinHead(AtomicPtr<Waiter>);

const LOCKED: usize = 1;
const _: () = assert!(align_of::<Waiter>() > LOCKED);

#[cfg_attr(selvedge_loom, allow(dead_code))]
impl SpinHead {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self(AtomicPtr::new(null_mut()))
        }
    }

    /// Takes the lock and returns the head.
    #[inline]
    pub(crate) fn lock(&self) -> *mut Waiter {
        // ORDERING: Relaxed. A guess for the compare-exchange.
        let head = self.0.load(Relaxed);
        let locked = head.map_addr(|a| a | LOCKED);
        // ORDERING: Acquire, E1; Relaxed on failure, where nothing is taken over.
        if head.addr() & LOCKED == 0
            && self.0.compare_exchange(head, locked, Acquire, Relaxed).is_ok()
        {
            return head;
        }
        self.lock_contended()
    }

    #[cold]
    fn lock_contended(&self) -> *mut Waiter {
        let mut tries = 0u32;
        loop {
            shim::back_off(tries, 64);
            tries = tries.saturating_add(1);
            // ORDERING: Relaxed. A guess for the compare-exchange.
            let head = self.0.load(Relaxed);
            let locked = head.map_addr(|a| a | LOCKED);
            // ORDERING: Acquire, E1; Relaxed on failure, where nothing is taken over.
            if head.addr() & LOCKED == 0
                && self.0.compare_exchange(head, locked, Acquire, Relaxed).is_ok()
            {
                return head;
            }
        }
    }

    /// Gives the lock back with a new head. The caller holds it.
    #[inline]
    pub(crate) fn unlock(&self, head: *mut Waiter) {
        // ORDERING: Release, E1. The only store to a locked head is its holder's.
        self.0.store(head, Release);
    }
}

#[cfg(selvedge_loom)]
impl Default for SpinHead {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(selvedge_loom)]
struct ModelHead(shim::Mutex<*mut Waiter>);

#[cfg(selvedge_loom)]
impl ModelHead {
    fn new() -> Self {
        Self(shim::Mutex::new(null_mut()))
    }
}

// SAFETY: the raw pointers name waiters, which are never freed and are `Sync`; they change under the lock (I1).
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}
