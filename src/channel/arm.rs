//! One arm of a select: a send, a receive or a reservation that is tried, queued and withdrawn together with others.
//!
//! | `state` | the node's slot                              | leaves by                                              |
//! |---------|----------------------------------------------|--------------------------------------------------------|
//! | OPEN    | a send's value; else nothing                 | `try_now`, `look` -> DONE, CLOSED; `queue` -> QUEUED   |
//! | QUEUED  | the same, until the wait is claimed by it    | `leave` -> DONE, CLOSED: it won; else OPEN             |
//! | DONE    | a receive's value; else nothing              | `complete`                                             |
//! | CLOSED  | a send's value; else nothing                 | `complete`                                             |
//!
//! I1. `state` is the own thread's. While it is QUEUED, others reach the node under the locks of its queue (node I1).
//! I2. `guard` is filled from `hold` to `let_go`, in one of the arms of each channel. Who gets it by its address casts it
//!     back to the type that it has, since the arms of one channel have one type.

use super::array::Array;
use super::core::{Both, Told};
use super::error::{TryRecvError, TrySendError};
use super::handle::{Flavor, Source, each};
use super::list::List;
use super::node::{Node, Nodes};
use super::permit::Permit;
use super::storage::Zero;
use super::timer::TimerArm;
use super::{Receiver, Sender};
use crate::park::{Epoch, Waiter};
use crate::shim::planted;
use crate::thread::LabelRef;
use sealed::{Raw, Wait};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::Instant;

/// What may be an arm of a [`Select`](super::Select): [`RecvArm`], [`SendArm`], [`ReserveArm`].
pub trait Case: sealed::Case {}
impl<C: sealed::Case + ?Sized> Case for C {}

pub(super) mod sealed {
    use super::{Epoch, Instant, LabelRef, Waiter};

    /// Which wait of which thread; and did it have a place in the queue, to which it goes back?
    #[derive(Clone, Copy)]
    pub struct Wait(
        pub(in super::super) &'static Waiter,
        pub(in super::super) Epoch,
        pub(in super::super) bool,
    );

    pub trait Case {
        fn raw(&self) -> &dyn Raw;
    }

    /// What a select needs of an arm.
    pub trait Raw {
        fn receives(&self) -> bool;
        /// Which channel, by its rank.
        fn key(&self) -> usize;
        /// What it waits for, for who asks.
        fn label(&self) -> LabelRef;
        /// When to look again, though nobody claims the wait.
        fn deadline(&self) -> Option<Instant> {
            None
        }
        /// Does it if that takes no wait. True: done, or closed.
        fn try_now(&self) -> bool;
        /// Takes both locks of the channel, and keeps them.
        fn hold(&self);
        /// Gives them back.
        fn let_go(&self);
        /// Where an arm that holds the locks keeps them.
        fn guard(&self) -> *const ();
        /// As `try_now`, under the locks.
        ///
        /// # Safety
        /// `guard` is that of an arm of the same channel, which holds.
        unsafe fn look(&self, guard: *const ()) -> bool;
        /// Queues.
        ///
        /// # Safety
        /// As `look`. The arm stays where it is until `leave`, which is called before the wait is over.
        unsafe fn queue(&self, guard: *const (), wait: Wait);
        /// Leaves the queue. True: the wait was claimed by this arm; `granted`, or else the channel is closed.
        fn leave(&self, granted: bool) -> bool;
        /// Calls with the value that it holds.
        ///
        /// # Safety
        /// `f` points to a `&mut dyn FnMut(&mut T)` of the channel's type; no thread runs but the caller.
        unsafe fn each(&self, granted: bool, f: *mut ());
        /// Tells whoever is to be told, with no lock held.
        fn tell(&self);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    Queued,
    Done,
    Closed,
}

enum Guard<'a, T> {
    Array(Both<'a, T, Array<T>>),
    List(Both<'a, T, List<T>>),
    Zero(Both<'a, T, Zero>),
}

/// What the arm does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Deed {
    Receive,
    Send,
    Reserve,
}

struct Arm<'a, T> {
    flavor: &'a Flavor<T>,
    deed: Deed,
    node: Node<T>,
    state: Cell<State>,
    guard: RefCell<Option<Guard<'a, T>>>,
    told: Cell<Option<Told<T>>>,
}

/// The same for each storage, with the guard of that storage.
macro_rules! with {
    ($arm:expr, $guard:expr, $core:ident, $both:ident => $e:expr) => {{
        // SAFETY: of an arm of this channel, which holds (I2): a guard of this type.
        let cell = unsafe { &*$guard.cast::<RefCell<Option<Guard<'_, T>>>>() };
        match ($arm.flavor, cell.borrow_mut().as_mut()) {
            (Flavor::Array($core), Some(Guard::Array($both))) => $e,
            (Flavor::List($core), Some(Guard::List($both))) => $e,
            (Flavor::Zero($core), Some(Guard::Zero($both))) => $e,
            _ => unreachable!("the guard of the arm's channel"),
        }
    }};
}

impl<'a, T> Arm<'a, T> {
    /// `gone`: of a handle that has left.
    fn new(flavor: &'a Flavor<T>, deed: Deed, node: Node<T>, gone: bool) -> Self {
        let state = Cell::new(if gone { State::Closed } else { State::Open });
        let (guard, told) = (RefCell::new(None), Cell::new(None));
        Self { flavor, deed, node, state, guard, told }
    }

    /// Takes the value out of the node.
    fn value(&self) -> T {
        // SAFETY: the states in which this is called have it, and it is the own thread's (node I3).
        unsafe { self.node.take() }
    }
    fn keep(&self, value: T) {
        // SAFETY: the slot is empty, and the own thread's (node I3).
        unsafe { self.node.put(value) };
    }

    /// Notes what came of a try; a value that did not go in goes back.
    fn note(&self, tried: Result<(), TrySendError<Option<T>>>) -> bool {
        let (state, back) = match tried {
            Ok(()) => (State::Done, None),
            Err(TrySendError::Full(back)) => (State::Open, back),
            Err(TrySendError::Closed(back)) => (State::Closed, back),
        };
        if let Some(value) = back {
            self.keep(value);
        }
        self.state.set(state);
        state != State::Open
    }

    /// Has the node a value that is this thread's to drop?
    fn has_value(&self) -> bool {
        match self.deed {
            Deed::Receive => self.state.get() == State::Done,
            Deed::Send => self.state.get() != State::Done,
            Deed::Reserve => false,
        }
    }

    /// Ends the arm: how, and with the value that is in it.
    fn finish(&mut self) -> (State, Option<T>) {
        let value = self.has_value().then(|| self.value());
        let state = self.state.replace(State::Open);
        // Nothing is left for `drop`.
        self.deed = Deed::Reserve;
        (state, value)
    }
}

fn with<T, V>(e: TrySendError<T>, f: impl FnOnce(T) -> V) -> TrySendError<V> {
    match e {
        TrySendError::Full(value) => TrySendError::Full(f(value)),
        TrySendError::Closed(value) => TrySendError::Closed(f(value)),
    }
}
fn received<T>(e: TryRecvError) -> TrySendError<Option<T>> {
    match e {
        TryRecvError::Empty => TrySendError::Full(None),
        TryRecvError::Closed => TrySendError::Closed(None),
    }
}

impl<T> Raw for Arm<'_, T> {
    fn receives(&self) -> bool {
        self.deed == Deed::Receive
    }
    fn key(&self) -> usize {
        each!(self.flavor, core => core.rank.get())
    }
    fn label(&self) -> LabelRef {
        each!(self.flavor, core => core.label.clone())
    }

    fn try_now(&self) -> bool {
        if self.state.get() != State::Open {
            return true;
        }
        let tried = match self.deed {
            Deed::Receive => each!(self.flavor, core => core.try_recv(None))
                .map(|value| self.keep(value))
                .map_err(received),
            Deed::Send => {
                // What loses its place is dropped in there. If that panics, this value is out of the node all the same.
                self.state.set(State::Done);
                let value = self.value();
                each!(self.flavor, core => core.send_at_once(value)).map_err(|e| with(e, Some))
            }
            Deed::Reserve => each!(self.flavor, core => core.try_reserve())
                .map_err(|e| with(e.into(), |()| None)),
        };
        self.note(tried)
    }

    fn hold(&self) {
        *self.guard.borrow_mut() = Some(match self.flavor {
            Flavor::Array(core) => Guard::Array(core.both()),
            Flavor::List(core) => Guard::List(core.both()),
            Flavor::Zero(core) => Guard::Zero(core.both()),
        });
    }
    fn let_go(&self) {
        self.told.set(self.guard.take().map(|guard| match guard {
            Guard::Array(both) => both.unlock(),
            Guard::List(both) => both.unlock(),
            Guard::Zero(both) => both.unlock(),
        }));
    }
    fn guard(&self) -> *const () {
        (&raw const self.guard).cast()
    }

    unsafe fn look(&self, guard: *const ()) -> bool {
        if self.state.get() != State::Open {
            return true;
        }
        let tried = match self.deed {
            Deed::Receive => with!(self, guard, core, both => match core.pop_locked(both) {
                Some(value) => {
                    self.keep(value);
                    Ok(())
                }
                None if both.is_over() => Err(TrySendError::Closed(None)),
                None => Err(TrySendError::Full(None)),
            }),
            // Where a send never waits, `try_now` was the end of it.
            Deed::Send => with!(self, guard, core, both => core.push_locked(both, self.value()))
                .map_err(|e| with(e.into(), Some)),
            Deed::Reserve => with!(self, guard, core, both => core.place_locked(both))
                .map_err(|e| with(e.into(), |()| None)),
        };
        self.note(tried)
    }

    unsafe fn queue(&self, guard: *const (), wait: Wait) {
        let Wait(waiter, epoch, again) = wait;
        self.state.set(State::Queued);
        with!(self, guard, core, both => {
            let link = |q: &Nodes<T>| q.push_among(&self.node, (waiter, epoch), again);
            match self.deed {
                Deed::Receive => core.queue_receiver(both, link),
                Deed::Send | Deed::Reserve => core.queue_sender(both, link),
            }
        });
    }

    fn leave(&self, granted: bool) -> bool {
        if self.state.get() != State::Queued || planted("loser-stays-in-line") {
            return false;
        }
        let won = match self.deed {
            Deed::Receive => each!(self.flavor, core => core.remove_receiver(&self.node)),
            Deed::Send | Deed::Reserve => {
                each!(self.flavor, core => core.remove_sender(&self.node))
            }
        };
        self.state.set(match (won, granted) {
            (false, _) => State::Open,
            (true, false) if self.deed == Deed::Receive || !planted("closed-arm-is-done") => {
                State::Closed
            }
            (true, _) => State::Done,
        });
        won
    }

    unsafe fn each(&self, granted: bool, f: *mut ()) {
        let has = match self.state.get() {
            State::Queued if granted && self.node.has_won() => self.deed == Deed::Receive,
            State::Queued => self.deed == Deed::Send,
            _ => self.has_value(),
        };
        if has {
            // SAFETY: the caller's promise: of this type.
            let f = unsafe { &mut *f.cast::<&mut dyn FnMut(&mut T)>() };
            // SAFETY: the value is this thread's, and no thread runs.
            unsafe { self.node.with_value(f) };
        }
    }
    fn tell(&self) {
        drop(self.told.take());
    }
}

impl<T> Drop for Arm<'_, T> {
    fn drop(&mut self) {
        debug_assert!(self.state.get() != State::Queued, "an arm leaves the queue first");
        if self.has_value() {
            drop(self.value());
        }
    }
}

/// Of a channel, or of a timer.
#[expect(
    clippy::large_enum_variant,
    reason = "an arm lies on the stack: a select does not allocate"
)]
enum Receives<'a, T> {
    Channel(Arm<'a, T>),
    Timer(TimerArm<'a, T>),
}

impl<T> Receives<'_, T> {
    fn as_raw(&self) -> &dyn Raw {
        match self {
            Self::Channel(arm) => arm,
            Self::Timer(arm) => arm,
        }
    }
    fn state(&self) -> &dyn fmt::Debug {
        match self {
            Self::Channel(arm) => arm.state(),
            Self::Timer(arm) => arm,
        }
    }
}

impl<T> Arm<'_, T> {
    fn as_raw(&self) -> &dyn Raw {
        self
    }
    fn state(&self) -> &dyn fmt::Debug {
        &self.state
    }
}

macro_rules! arm {
    ($(#[$doc:meta])* $name:ident, $inner:ident) => {
        $(#[$doc])*
        #[must_use = "an arm does nothing without a `Select`"]
        pub struct $name<'a, T>($inner<'a, T>);

        impl<T> sealed::Case for $name<'_, T> {
            fn raw(&self) -> &dyn Raw {
                self.0.as_raw()
            }
        }

        impl<T> fmt::Debug for $name<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("state", self.0.state()).finish()
            }
        }
    };
}
arm! {
    /// A receive that is one of several: see [`Select`](super::Select). From [`Receiver::arm`](super::Receiver::arm).
    ///
    /// Dropped after it was chosen, it drops the value.
    RecvArm, Receives
}
arm! {
    /// A send that is one of several: see [`Select`](super::Select). From [`Sender::arm`](super::Sender::arm).
    ///
    /// Dropped when it was not chosen, it drops the value.
    SendArm, Arm
}
arm! {
    /// A reservation that is one of several: see [`Select`](super::Select). From
    /// [`Sender::reserve_arm`](super::Sender::reserve_arm).
    ReserveArm, Arm
}

impl<T> Sender<T> {
    /// This send, as one of the arms of a [`Select`](super::Select).
    pub fn arm(&self, value: T) -> SendArm<'_, T> {
        SendArm(Arm::new(&self.0.of, Deed::Send, Node::with(value), self.is_disconnected()))
    }
    /// A reservation as one of the arms of a [`Select`](super::Select): the value is made only if this arm is chosen.
    pub fn reserve_arm(&self) -> ReserveArm<'_, T> {
        ReserveArm(Arm::new(&self.0.of, Deed::Reserve, Node::place(), self.is_disconnected()))
    }
}

impl<T> Receiver<T> {
    /// A receive, as one of the arms of a [`Select`](super::Select).
    pub fn arm(&self) -> RecvArm<'_, T> {
        let gone = self.is_disconnected();
        RecvArm(match &self.0.of {
            Source::Channel(flavor) => {
                Receives::Channel(Arm::new(flavor, Deed::Receive, Node::empty(), gone))
            }
            Source::Timer(timer) => Receives::Timer(TimerArm::new(timer, gone)),
        })
    }
}

impl<T> RecvArm<'_, T> {
    /// What came of it.
    ///
    /// # Errors
    /// [`Empty`](TryRecvError::Empty): it was not chosen, and has received nothing. [`Closed`](TryRecvError::Closed): it was
    /// chosen because the channel is closed and empty.
    pub fn complete(self) -> Result<T, TryRecvError> {
        let mut arm = match self.0 {
            Receives::Channel(arm) => arm,
            Receives::Timer(arm) => return arm.complete(),
        };
        match arm.finish() {
            (State::Done, Some(value)) => Ok(value),
            (State::Closed, _) => Err(TryRecvError::Closed),
            _ => Err(TryRecvError::Empty),
        }
    }
}

impl<T> SendArm<'_, T> {
    /// What came of it. The value is back unless it was sent.
    ///
    /// # Errors
    /// [`Full`](TrySendError::Full): it was not chosen. [`Closed`](TrySendError::Closed): it was chosen because the channel
    /// is closed.
    pub fn complete(mut self) -> Result<(), TrySendError<T>> {
        match self.0.finish() {
            (State::Closed, Some(value)) => Err(TrySendError::Closed(value)),
            (_, Some(value)) => Err(TrySendError::Full(value)),
            (_, None) => Ok(()),
        }
    }
}

impl<'a, T> ReserveArm<'a, T> {
    /// What came of it: the place.
    ///
    /// # Errors
    /// [`Full`](TrySendError::Full): it was not chosen. [`Closed`](TrySendError::Closed): it was chosen because the channel
    /// is closed.
    pub fn complete(self) -> Result<Permit<'a, T>, TrySendError<()>> {
        match self.0.state.replace(State::Open) {
            State::Done => Ok(Permit::new(self.0.flavor)),
            State::Closed => Err(TrySendError::Closed(())),
            _ => Err(TrySendError::Full(())),
        }
    }
}

impl<T> Drop for ReserveArm<'_, T> {
    fn drop(&mut self) {
        if self.0.state.get() == State::Done {
            each!(self.0.flavor, core => core.release());
        }
    }
}
