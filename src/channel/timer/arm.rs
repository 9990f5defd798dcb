//! A timer as one arm of a select.
//!
//! I1. `found` and `queued` are the own thread's. While it is queued, others reach the node under the timer's lock.
//! I2. `guard` is filled from `hold` to `let_go`, in one of the arms of each timer, which all have the same type of it.

use super::{Events, Look, Timer};
use crate::channel::arm::sealed::{Raw, Wait};
use crate::channel::error::TryRecvError;
use crate::channel::node::Node;
use crate::channel::side::Held;
use crate::thread::LabelRef;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::Instant;

pub(in crate::channel) struct TimerArm<'a, T> {
    timer: &'a Timer<T>,
    node: Node<()>,
    start: Instant,
    /// It was chosen.
    found: Cell<Option<Look>>,
    queued: Cell<bool>,
    guard: RefCell<Option<Held<'a, Events>>>,
}

impl<'a, T> TimerArm<'a, T> {
    /// `gone`: of a handle that has left.
    pub(in crate::channel) fn new(timer: &'a Timer<T>, gone: bool) -> Self {
        let (node, found) = (Node::empty(), Cell::new(gone.then_some(Look::Closed)));
        let (queued, guard) = (Cell::new(false), RefCell::new(None));
        Self { timer, node, start: Instant::now(), found, queued, guard }
    }

    fn note(&self, look: Look) -> bool {
        let chosen = !matches!(look, Look::Later(_));
        self.found.set(chosen.then_some(look));
        chosen
    }

    pub(in crate::channel) fn complete(self) -> Result<T, TryRecvError> {
        match self.found.get() {
            Some(Look::Due(at)) => Ok((self.timer.make)(at)),
            Some(Look::Closed) => Err(TryRecvError::Closed),
            Some(Look::Later(_)) | None => Err(TryRecvError::Empty),
        }
    }
}

impl<T> fmt::Debug for TimerArm<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("chosen", &self.found.get().is_some()).finish()
    }
}

impl<T> Raw for TimerArm<'_, T> {
    fn receives(&self) -> bool {
        true
    }
    fn key(&self) -> usize {
        self.timer.rank.get()
    }
    fn label(&self) -> LabelRef {
        self.timer.label.clone()
    }
    fn deadline(&self) -> Option<Instant> {
        self.timer.side.lock().part(|events| events.next)
    }
    fn try_now(&self) -> bool {
        self.found.get().is_some()
            || self.note(Timer::<T>::look(&mut self.timer.side.lock(), Some(self.start)))
    }
    fn hold(&self) {
        *self.guard.borrow_mut() = Some(self.timer.side.lock());
    }
    fn let_go(&self) {
        *self.guard.borrow_mut() = None;
    }
    fn guard(&self) -> *const () {
        (&raw const self.guard).cast()
    }

    unsafe fn look(&self, guard: *const ()) -> bool {
        // SAFETY: of an arm of this timer, which holds: a guard of this type (I2).
        let cell = unsafe { &*guard.cast::<RefCell<Option<Held<'_, Events>>>>() };
        let mut held = cell.borrow_mut();
        let side = held.as_mut().expect("the guard of the arm's timer");
        self.found.get().is_some() || self.note(Timer::<T>::look(side, Some(self.start)))
    }

    unsafe fn queue(&self, _: *const (), wait: Wait) {
        self.queued.set(true);
        self.timer.waiting.push_among(&self.node, (wait.0, wait.1), wait.2);
    }

    fn leave(&self, _: bool) -> bool {
        if !self.queued.replace(false) {
            return false;
        }
        let _side = self.timer.side.lock();
        let won = self.timer.waiting.remove(&self.node);
        if won {
            self.found.set(Some(Look::Closed));
        }
        won
    }

    unsafe fn each(&self, _: bool, _: *mut ()) {}
    fn tell(&self) {}
}
