//! The storages, and the lock of a side, without the protocol around them: for models of their own.

use super::array::Array;
use super::list::List;
use super::side::{Lock, Side};
use super::storage::Storage;
use std::fmt;

/// A storage between its two sides, where nobody waits.
pub struct Store<T>(Box<dyn Fifo<T>>);

/// What all storages can do.
trait Fifo<T>: Send + Sync {
    fn push(&self, value: T) -> Result<(), T>;
    fn pop(&self) -> Option<T>;
    fn len(&self) -> usize;
    fn seems_full(&self) -> bool;
    fn seems_empty(&self) -> bool;
}

struct Between<T, S: Storage<T>> {
    tail: Side<S::Tail>,
    head: Side<S::Head>,
    storage: S,
}

impl<T: Send + 'static> Store<T> {
    /// That of a bounded channel.
    pub fn array(capacity: usize) -> Self {
        Self::new(Array::new(capacity))
    }
    /// That of an unbounded one.
    pub fn list() -> Self {
        Self::new(List::new())
    }
    fn new<S>(storage: S) -> Self
    where
        S: Storage<T, Tail: Send, Head: Send> + Send + Sync + 'static,
    {
        let (tail, head) = storage.sides();
        Self(Box::new(Between { tail, head, storage }))
    }
    /// Under the lock of the tail. `Err`: it is full.
    ///
    /// # Errors
    /// The value.
    pub fn push(&self, value: T) -> Result<(), T> {
        self.0.push(value)
    }
    /// Under the lock of the head.
    pub fn pop(&self) -> Option<T> {
        self.0.pop()
    }
    /// Under both.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// As [`len`](Self::len).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// A hint, under no lock.
    pub fn seems_full(&self) -> bool {
        self.0.seems_full()
    }
    /// The same.
    pub fn seems_empty(&self) -> bool {
        self.0.seems_empty()
    }
}

impl<T> fmt::Debug for Store<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl<T, S> Fifo<T> for Between<T, S>
where
    S: Storage<T, Tail: Send, Head: Send> + Send + Sync,
{
    fn push(&self, value: T) -> Result<(), T> {
        self.storage.push(&mut self.tail.lock(), value)
    }
    fn pop(&self) -> Option<T> {
        self.storage.pop(&mut self.head.lock())
    }
    fn len(&self) -> usize {
        let head = self.head.lock();
        (self.tail.lock().index() - head.index()) as usize
    }
    fn seems_full(&self) -> bool {
        self.storage.seems_full(&self.tail)
    }
    fn seems_empty(&self) -> bool {
        self.storage.seems_empty(&self.head, &self.tail)
    }
}

impl<T, S: Storage<T>> Drop for Between<T, S> {
    fn drop(&mut self) {
        let mut head = self.head.lock();
        while self.storage.pop(&mut head).is_some() {}
        self.storage.end(&mut head);
    }
}

/// The lock of a side as it is natively: in all other models loom's mutex stands for it.
pub struct SideLock(Lock);

impl Default for SideLock {
    fn default() -> Self {
        Self(Lock::new())
    }
}

impl fmt::Debug for SideLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SideLock").finish_non_exhaustive()
    }
}

impl SideLock {
    /// Takes the lock, runs `f` with the flags, gives the lock back with those that it returns.
    pub fn with(&self, f: impl FnOnce(u32) -> u32) {
        let flags = self.0.take();
        self.0.give(f(flags));
    }
    /// The same if no flag is up, as who sends or receives does. False: one is.
    pub fn with_quiet(&self, f: impl FnOnce()) -> bool {
        let taken = self.0.take_quiet() || self.0.take_quiet_contended();
        if taken {
            f();
            self.0.give(0);
        }
        taken
    }
    /// A hint.
    pub fn flags(&self) -> u32 {
        self.0.flags()
    }
}
