//! A handle: which channel it is of, and whether it has left that.
//!
//! A handle that has left does not count any more, and nothing goes through it. That is not kept in the handle: who sends or
//! receives would have to look there each time. It stands in a book at the channel, and a flag in the word of the side says
//! that there is something in the book; who comes notices the flag as any other.
//!
//! I1. A number is one handle's. It is in the book from the time that the handle leaves until the handle is dropped.
//! I2. The flag of the handle's side is up if and only if the book has a number of its kind, when the book's lock is free;
//!     the side's lock is taken inside the book's, never the other way round.

use super::array::Array;
use super::core::{Core, Kind};
use super::list::List;
use super::storage::Zero;
use super::timer::Timer;
use crate::shim::{self, Arc, Mutex};
use std::collections::BTreeSet;

/// The channel of a sender.
pub(super) enum Flavor<T> {
    Array(Arc<Core<T, Array<T>>>),
    List(Arc<Core<T, List<T>>>),
    Zero(Arc<Core<T, Zero>>),
}

/// That of a receiver.
pub(super) enum Source<T> {
    Channel(Flavor<T>),
    Timer(Arc<Timer<T>>),
}

/// Does the same with the channel of a sender, whatever its storage.
macro_rules! each {
    ($of:expr, $core:ident => $e:expr) => {
        match $of {
            Flavor::Array($core) => $e,
            Flavor::List($core) => $e,
            Flavor::Zero($core) => $e,
        }
    };
}
/// The same of a receiver.
macro_rules! each_source {
    ($of:expr, $core:ident => $e:expr) => {
        match $of {
            Source::Channel(Flavor::Array($core)) => $e,
            Source::Channel(Flavor::List($core)) => $e,
            Source::Channel(Flavor::Zero($core)) => $e,
            Source::Timer($core) => $e,
        }
    };
}
pub(super) use {each, each_source};

impl<T> Clone for Flavor<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Array(core) => Self::Array(core.clone()),
            Self::List(core) => Self::List(core.clone()),
            Self::Zero(core) => Self::Zero(core.clone()),
        }
    }
}

impl<T> Clone for Source<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Channel(flavor) => Self::Channel(flavor.clone()),
            Self::Timer(timer) => Self::Timer(timer.clone()),
        }
    }
}

/// Which handle (I1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(u64);

impl Id {
    pub(super) fn new() -> Self {
        Self(shim::unique())
    }
}

/// A handle of what `F` says.
pub(super) struct Handle<F> {
    pub(super) of: F,
    pub(super) id: Id,
}

impl<F> Handle<F> {
    pub(super) fn new(of: F) -> Self {
        Self { of, id: Id::new() }
    }
}

/// What a channel does for its handles.
pub(super) trait Ends {
    fn book(&self) -> &Book;
    /// Is there something in the book, of that kind? A snapshot.
    fn flag(&self, end: Kind) -> bool;
    fn set_flag(&self, end: Kind, up: bool);
    fn add_handle(&self, end: Kind);
    /// The last one closes the channel.
    fn remove_handle(&self, end: Kind);

    /// Has the handle left?
    #[inline(always)]
    fn has_left(&self, end: Kind, id: Id) -> bool {
        self.flag(end) && self.book().has(end, id)
    }
    /// It leaves. False: it had.
    fn leave(&self, end: Kind, id: Id) -> bool {
        let new = self.book().change(|book| {
            let new = book.of(end).insert(id);
            self.set_flag(end, true);
            new
        });
        if new {
            self.remove_handle(end);
        }
        new
    }
    /// It is dropped.
    fn end(&self, end: Kind, id: Id) {
        let had_left = self.flag(end)
            && self.book().change(|book| {
                let had_left = book.of(end).remove(&id);
                self.set_flag(end, !book.of(end).is_empty());
                had_left
            });
        if !had_left {
            self.remove_handle(end);
        }
    }
    /// It is cloned. The copy of one that has left has left.
    fn share(&self, end: Kind, id: Id) -> Id {
        let copy = Id::new();
        if self.has_left(end, id) {
            self.book().change(|book| {
                book.of(end).insert(copy);
                self.set_flag(end, true);
            });
        } else {
            self.add_handle(end);
        }
        copy
    }
}

/// Which handles have left, and are there still.
pub(super) struct Book(Mutex<Left>);

#[derive(Default)]
struct Left([BTreeSet<Id>; 2]);

impl Left {
    fn of(&mut self, end: Kind) -> &mut BTreeSet<Id> {
        &mut self.0[end as usize]
    }
}

impl Book {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Left::default()))
    }
    #[cold]
    fn has(&self, end: Kind, id: Id) -> bool {
        self.change(|left| left.of(end).contains(&id))
    }
    fn change<R>(&self, f: impl FnOnce(&mut Left) -> R) -> R {
        f(&mut self.0.lock())
    }
}
