//! What a channel asks of the place where its values lie. A storage knows nothing of waiting.

use super::side::{Held, Side};

/// A FIFO between two sides. `push` and `pop` may run at the same time; the lock of a side lets in one of each.
pub(super) trait Storage<T> {
    /// What the holder of the tail alone touches.
    type Tail;
    /// What the holder of the head alone touches.
    type Head;
    /// It never has a value.
    const NONE: bool = false;

    /// The sides of a new channel: tail, head.
    fn sides(&self) -> (Side<Self::Tail>, Side<Self::Head>);
    /// How many values fit; none: as many as memory does.
    fn capacity(&self) -> Option<usize>;
    /// Puts a value in, or gives it back: then the storage was full at some moment of the call.
    fn push(&self, tail: &mut Held<'_, Self::Tail>, value: T) -> Result<(), T>;
    /// Takes the oldest value out, straight to where the caller wants it, which is empty still: moved on from here, a large
    /// one would be copied before each of the stores that let others in. Nothing comes: the storage was empty at some
    /// moment of the call.
    fn pop_into(&self, head: &mut Held<'_, Self::Head>, into: &mut Option<T>);
    /// The same.
    #[inline(always)]
    fn pop(&self, head: &mut Held<'_, Self::Head>) -> Option<T> {
        let mut value = None;
        self.pop_into(head, &mut value);
        value
    }
    /// Each value that is in, oldest first. Both sides are held: the head, and the tail with this index.
    fn each(&self, sides: (&mut Held<'_, Self::Head>, u64), f: &mut dyn FnMut(&mut T));
    /// A hint for who holds nothing: a push may fail.
    fn seems_full(&self, tail: &Side<Self::Tail>) -> bool;
    /// A hint for who holds nothing: a pop may fail.
    fn seems_empty(&self, head: &Side<Self::Head>, tail: &Side<Self::Tail>) -> bool;
    /// The holder of the head lets go of all that the storage keeps; it is empty, and nobody else is left.
    fn end(&mut self, _head: &mut Held<'_, Self::Head>) {}
}

/// No storage: a value goes from hand to hand.
pub(super) struct Zero;

impl<T> Storage<T> for Zero {
    type Tail = ();
    type Head = ();
    const NONE: bool = true;

    fn sides(&self) -> (Side<()>, Side<()>) {
        (Side::new(()), Side::new(()))
    }
    fn capacity(&self) -> Option<usize> {
        Some(0)
    }
    fn push(&self, _: &mut Held<'_, ()>, value: T) -> Result<(), T> {
        Err(value)
    }
    fn pop_into(&self, _: &mut Held<'_, ()>, _: &mut Option<T>) {}
    fn each(&self, _: (&mut Held<'_, ()>, u64), _: &mut dyn FnMut(&mut T)) {}
    fn seems_full(&self, _: &Side<()>) -> bool {
        true
    }
    fn seems_empty(&self, _: &Side<()>, _: &Side<()>) -> bool {
        true
    }
}
