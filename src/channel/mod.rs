//! Channels: values from thread to thread, first in, first out.
//!
//! | made by                       | room for                  | a send waits                                  |
//! |-------------------------------|---------------------------|-----------------------------------------------|
//! | [`bounded`]`(n)`              | `n` values                | while there is no room                        |
//! | [`bounded`]`(0)`, [`rendezvous`] | none                   | until a receiver takes the value              |
//! | [`unbounded`]                 | as many as memory has     | never                                         |
//! | [`dropping`]`(n)`             | `n` values                | never: it drops its value if there is no room |
//! | [`sliding`]`(n)`              | `n` values                | never: it drops the oldest value then         |
//!
//! Timers are receivers without senders: [`at`], [`after`], [`tick`], [`never()`]. [`Mapped`] is a sender behind a function.
//!
//! Any number of threads may send and receive, through clones of the two handles or through references to one. A value is
//! received once, by the receiver that waits longest. A send or receive that waits is a safe point; it ends with the
//! value moved, or with an error and nothing moved: a failed send gives the value back.
//!
//! A channel is closed by [`Sender::close`] or [`Receiver::close`], or when all handles of one kind are gone: dropped, or
//! [disconnected](Sender::disconnect). Then no value goes in any more; receivers get what is there, then
//! [`Closed`](RecvError::Closed). Who waits to send at that moment gets the value back: it is not received afterwards (but
//! see [`Builder::deliver_pending`]). [`close_discarding`](Sender::close_discarding) takes out what is there. With the last
//! receiver the values that are left are dropped, in its thread, with no lock held: their destructors may use the channel.
//! If one panics, the others are dropped all the same.
//!
//! Nothing in a channel belongs to a runtime: threads of several ones, and OS threads that are attached to none
//! ([`try_send`](Sender::try_send) and [`try_recv`](Receiver::try_recv) take no context), share it freely. A thread waits as
//! a thread of its own runtime: for its baton, its signals, its shutdown.
//!
//! A hook that panics ends the operation, as everywhere. A value that was not sent is dropped by that; one that was sent
//! is with its receiver; one that was received is dropped.
//!
//! A thread that waits for another one through a channel is in no ring that the crate detects: anybody might send.
//!
//! # Examples
//! ```
//! use selvedge::{Runtime, channel};
//! let vm = Runtime::new();
//! let mut cx = vm.attach("main")?;
//! let (tx, rx) = channel::bounded(2);
//! let worker = vm.spawn("worker", move |cx| {
//!     for n in 1..=10 {
//!         tx.send(cx, n)?;
//!     }
//!     Ok::<(), channel::SendError<u32>>(())
//! })?;
//! let mut sum = 0;
//! while let Ok(n) = rx.recv(&mut cx) {
//!     sum += n;
//! }
//! assert_eq!(sum, 55);
//! worker.join(&mut cx)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// `handle` is which channel an end is of, `arm` and `select` are what waits at several channels, `task` is for who is no
// thread, `permit` a place for a value that is made later, `lossy` and `mapped` what is done with values on the way, `timer`
// the clock's. `side` is the lock, `storage` what is asked of the place of values (`array`, `list`, none), `node` the
// threads that queue, `core` the protocol, with the two waits in `core/site`. The storages know nothing of waiting.
mod arm;
mod array;
#[cfg(selvedge_loom)]
pub(crate) mod bare;
mod core;
mod error;
mod handle;
mod list;
mod lossy;
mod mapped;
mod node;
mod permit;
mod select;
mod side;
mod storage;
mod task;
mod timer;

use self::core::{Core, Kind, Traits};
use crate::shim::Arc;
pub use crate::thread::Hands;
use crate::thread::{Context, Label};
pub use arm::{Case, RecvArm, ReserveArm, SendArm};
use array::Array;
pub use error::{MapError, RecvError, SendAllError, SendError, TryRecvError, TrySendError};
use handle::{Ends, Flavor, Handle, Source, each, each_source};
use list::List;
pub use lossy::{dropping, sliding};
pub use mapped::Mapped;
pub use permit::Permit;
pub use select::{Select, SelectError};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Instant;
use storage::Zero;
pub use task::{Executor, RecvFuture, SendFuture};
pub use timer::{after, at, never, tick};

/// A channel with room for `capacity` values; 0: a [`rendezvous`].
///
/// # Panics
/// If there is no memory for so many values: it is all taken here. A value costs 8 bytes more than its size, rounded up to
/// 8 or to its alignment, one without a size too; so `usize::MAX` panics for every type. For a channel without a bound there
/// is [`unbounded`].
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    Builder::new().bounded(capacity)
}

/// A channel without room: a send waits until a receiver takes the value.
pub fn rendezvous<T>() -> (Sender<T>, Receiver<T>) {
    Builder::new().bounded(0)
}

/// A channel that takes as many values as there is memory: a send never waits.
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    Builder::new().unbounded()
}

/// Makes channels with a name, or a tag of the VM's, which show in [`Blocker`](crate::Blocker)s.
///
/// # Examples
/// ```
/// use selvedge::channel::Builder;
/// let (tx, rx) = Builder::new().name("jobs").bounded::<u32>(8);
/// assert_eq!((tx.name(), rx.capacity()), (Some("jobs"), Some(8)));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Builder {
    traits: Traits,
}

impl Builder {
    /// Without a name.
    pub fn new() -> Self {
        Self::default()
    }
    /// With this name.
    pub fn name(self, name: &str) -> Self {
        self.label(Label::new(name))
    }
    /// With this label.
    pub fn label(self, label: Label) -> Self {
        Self { traits: Traits { label: Some(Arc::new(label)), ..self.traits } }
    }
    /// At a close, do the threads that wait to send stay, so that their values are received still? Their sends succeed when
    /// that happens; when the last receiver goes, or one has been told that the channel is closed and empty, they fail with
    /// [`Closed`](SendError::Closed). A signal, a deadline and shutdown end them as ever. Default false: they fail at once.
    pub fn deliver_pending(self, yes: bool) -> Self {
        Self { traits: Traits { deliver_pending: yes, ..self.traits } }
    }
    /// See [`bounded`].
    ///
    /// # Panics
    /// If there is no memory for so many values.
    pub fn bounded<T>(self, capacity: usize) -> (Sender<T>, Receiver<T>) {
        self.with_room(capacity)
    }
    fn with_room<T>(self, capacity: usize) -> (Sender<T>, Receiver<T>) {
        match capacity {
            0 => pair(self.traits, Zero, Flavor::Zero),
            n => pair(self.traits, Array::new(n), Flavor::Array),
        }
    }
    /// See [`unbounded`].
    pub fn unbounded<T>(self) -> (Sender<T>, Receiver<T>) {
        pair(self.traits, List::new(), Flavor::List)
    }
}

fn pair<T, S: storage::Storage<T>>(
    traits: Traits,
    storage: S,
    flavor: fn(Arc<Core<T, S>>) -> Flavor<T>,
) -> (Sender<T>, Receiver<T>) {
    let core = Arc::new(Core::new(storage, traits));
    let sends = flavor(core.clone());
    (Sender(Handle::new(sends)), Receiver(Handle::new(Source::Channel(flavor(core)))))
}

/// The sending end of a channel. Clones and references send into the same one. `Send` and `Sync` if the values are `Send`.
///
/// ```compile_fail,E0277
/// use std::rc::Rc;
/// let (tx, _rx) = selvedge::channel::bounded::<Rc<u8>>(1);
/// std::thread::spawn(move || tx.try_send(Rc::new(1))); // an `Rc` stays where it is
/// ```
/// ```
/// use std::{cell::Cell, sync::Arc};
/// let (tx, rx) = selvedge::channel::bounded::<Cell<u8>>(1);
/// let shared = Arc::new(tx);
/// std::thread::spawn(move || shared.try_send(Cell::new(1))).join().unwrap().unwrap();
/// assert_eq!(rx.try_recv().unwrap().get(), 1);
/// ```
///
/// A borrowed value outlives the channel, since that may drop it last:
/// ```compile_fail,E0597
/// let (tx, rx) = selvedge::channel::bounded(1);
/// let name = String::from("x");
/// tx.try_send(&name).unwrap(); // `name` is dropped before the channel
/// ```
/// ```
/// let name = String::from("x");
/// let (tx, rx) = selvedge::channel::bounded(1);
/// tx.try_send(&name).unwrap();
/// ```
pub struct Sender<T>(Handle<Flavor<T>>);

/// The receiving end of a channel. Clones and references receive from the same one; each value goes to one of them. `Send`
/// and `Sync` if the values are `Send`.
///
/// It is no `IntoIterator`: receiving waits, and waiting takes the context. [`iter`](Self::iter) is given it;
/// [`try_iter`](Self::try_iter) and [`drain`](Self::drain) do without, and do not wait.
/// ```compile_fail,E0277
/// let (_tx, rx) = selvedge::channel::bounded::<u8>(1);
/// for value in rx {}
/// ```
/// Receiving is a safe point, so no borrowed value of the context lives across it:
/// ```compile_fail,E0502
/// fn next(cx: &mut selvedge::Participant, rx: &selvedge::channel::Receiver<u8>) -> usize {
///     let name = cx.thread().name();
///     let _ = rx.recv(cx);
///     name.map_or(0, str::len)
/// }
/// ```
/// ```
/// fn next(cx: &mut selvedge::Participant, rx: &selvedge::channel::Receiver<u8>) -> usize {
///     let _ = rx.recv(cx);
///     let name = cx.thread().name();
///     name.map_or(0, str::len)
/// }
/// ```
pub struct Receiver<T>(Handle<Source<T>>);

impl<T> Sender<T> {
    /// Sends a value, waiting while there is no room.
    ///
    /// # Errors
    /// See [`SendError`]; it gives the value back. `Ok`: it is in the channel, or in the hand of a receiver.
    /// # Blocking
    /// Yes, between [`Context::before_block`] and [`Context::after_block`]; a safe point then. A signal ends the wait.
    /// # Ordering
    /// Everything before happens-before the return of the receive that gets the value.
    /// # Cost
    /// There is room, and nobody waits: one compare-exchange. An unbounded channel allocates once in 8 to 64 values (64: of
    /// a few words), less often where they pile up, unless it has a used block left. It keeps four of those: up to
    /// 64 KiB, more if 8 values are larger than 16 KiB.
    #[inline(always)]
    pub fn send<C: Context>(&self, cx: &mut C, value: T) -> Result<(), SendError<T>> {
        each!(&self.0.of, core => core.send(cx, value, None, self.0.id))
    }

    /// As [`send`](Self::send), until `deadline` at the latest.
    ///
    /// # Errors
    /// [`SendError::TimedOut`] as well.
    #[inline(always)]
    pub fn send_until<C: Context>(
        &self,
        cx: &mut C,
        value: T,
        deadline: Instant,
    ) -> Result<(), SendError<T>> {
        each!(&self.0.of, core => core.send(cx, value, Some(deadline), self.0.id))
    }

    /// Sends the values one after the other, each as [`send`](Self::send) does; gives their number. Another sender's values
    /// may come in between. Returns when the iterator ends, which runs between the sends.
    ///
    /// # Errors
    /// [`SendAllError`], at the first value that is not sent: with how many were sent, why no more, that value, and the rest
    /// of the iterator. It is an iterator of what was not sent, to go on with.
    /// # Blocking
    /// Yes, in each send.
    /// # Ordering
    /// As [`send`](Self::send), value by value.
    /// # Cost
    /// That of the sends.
    pub fn send_all<C: Context, I: IntoIterator<Item = T>>(
        &self,
        cx: &mut C,
        values: I,
    ) -> Result<usize, SendAllError<T, I::IntoIter>> {
        self.send_each(cx, values.into_iter(), None)
    }

    /// As [`send_all`](Self::send_all), until `deadline` at the latest: one deadline for all. What takes no wait is sent
    /// afterwards too.
    ///
    /// # Errors
    /// [`SendError::TimedOut`] as well.
    pub fn send_all_until<C: Context, I: IntoIterator<Item = T>>(
        &self,
        cx: &mut C,
        values: I,
        deadline: Instant,
    ) -> Result<usize, SendAllError<T, I::IntoIter>> {
        self.send_each(cx, values.into_iter(), Some(deadline))
    }

    fn send_each<C: Context, I: Iterator<Item = T>>(
        &self,
        cx: &mut C,
        mut rest: I,
        deadline: Option<Instant>,
    ) -> Result<usize, SendAllError<T, I>> {
        let mut sent = 0;
        while let Some(value) = rest.next() {
            let one = each!(&self.0.of, core => core.send(cx, value, deadline, self.0.id));
            if let Err(error) = one {
                return Err(SendAllError { sent, error, rest });
            }
            sent += 1;
        }
        Ok(sent)
    }

    /// Sends a value if that takes no wait: there is room, or a receiver waits. A task that receives is no such receiver: it
    /// is given nothing, so a rendezvous has no room for it ([`try_reserve`](Self::try_reserve) is kept a place by it).
    ///
    /// # Errors
    /// See [`TrySendError`]; it gives the value back. `Full` was true at some moment of the call.
    #[inline(always)]
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        each!(&self.0.of, core => core.try_send(value, Some(self.0.id)))
    }
}

impl<T> Receiver<T> {
    /// Receives the oldest value, waiting for one if there is none.
    ///
    /// # Errors
    /// See [`RecvError`]; no value was taken.
    /// # Blocking
    /// Yes, as [`Sender::send`].
    /// # Ordering
    /// Everything before the send of the value happens-before the return.
    /// # Cost
    /// There is a value, and no sender waits: one compare-exchange.
    #[inline(always)]
    pub fn recv<C: Context>(&self, cx: &mut C) -> Result<T, RecvError> {
        each_source!(&self.0.of, core => core.recv(cx, None, self.0.id))
    }

    /// As [`recv`](Self::recv), until `deadline` at the latest.
    ///
    /// # Errors
    /// [`RecvError::TimedOut`] as well.
    #[inline(always)]
    pub fn recv_until<C: Context>(&self, cx: &mut C, deadline: Instant) -> Result<T, RecvError> {
        each_source!(&self.0.of, core => core.recv(cx, Some(deadline), self.0.id))
    }

    /// Receives the oldest value if that takes no wait.
    ///
    /// # Errors
    /// See [`TryRecvError`]. `Empty` was true at some moment of the call.
    #[inline(always)]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        each_source!(&self.0.of, core => core.try_recv(Some(self.0.id)))
    }

    /// Receives many values at once: what is there, or, if there is nothing, waits for one and takes what is there then.
    /// They come behind those that are in `into`, oldest first, at most `max` of them; gives their number. With `max` 0 it
    /// does nothing.
    ///
    /// What is there: what the channel holds, and what threads wait to send. What comes in meanwhile may be among it, or may
    /// be left; so the call ends however fast others send.
    ///
    /// # Errors
    /// See [`RecvError`]; no value was taken, `into` is as it was.
    /// # Blocking
    /// As [`recv`](Self::recv), if there is nothing.
    /// # Ordering
    /// As [`recv`](Self::recv), for each value.
    /// # Cost
    /// One compare-exchange for up to 64 values, while nobody waits to send. Other receivers wait as long as that takes.
    /// `into` grows before, by as much as it may need.
    ///
    /// # Examples
    /// ```
    /// use selvedge::{Runtime, channel};
    /// let vm = Runtime::new();
    /// let mut cx = vm.attach("main")?;
    /// let (tx, rx) = channel::unbounded();
    /// tx.send_all(&mut cx, 0..10)?;
    /// let mut batch = Vec::new();
    /// assert_eq!(rx.recv_many(&mut cx, &mut batch, 4)?, 4);
    /// assert_eq!(rx.recv_many(&mut cx, &mut batch, 100)?, 6);
    /// assert_eq!(batch, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_many<C: Context>(
        &self,
        cx: &mut C,
        into: &mut Vec<T>,
        max: usize,
    ) -> Result<usize, RecvError> {
        each_source!(&self.0.of, core => core.recv_many(cx, into, max, None, self.0.id))
    }

    /// As [`recv_many`](Self::recv_many), until `deadline` at the latest.
    ///
    /// # Errors
    /// [`RecvError::TimedOut`] as well.
    pub fn recv_many_until<C: Context>(
        &self,
        cx: &mut C,
        into: &mut Vec<T>,
        max: usize,
        deadline: Instant,
    ) -> Result<usize, RecvError> {
        each_source!(&self.0.of, core => core.recv_many(cx, into, max, Some(deadline), self.0.id))
    }

    /// Receives one value after the other, waiting for each, until the channel is closed and empty. Anything else that ends
    /// a wait comes as an error, after which the iterator is over: a signal is no end of the values.
    ///
    /// The iterator has the context, so the body of its loop cannot wait. For a body that does:
    /// `while let Ok(value) = rx.recv(&mut cx)`.
    ///
    /// # Errors
    /// See [`RecvError`], but for `Closed`, which is the end.
    /// # Blocking
    /// As [`recv`](Self::recv), in each `next`. Ordering and cost too.
    ///
    /// # Examples
    /// ```
    /// # use selvedge::{Runtime, channel};
    /// # let vm = Runtime::new();
    /// # let mut cx = vm.attach("main")?;
    /// let (tx, rx) = channel::unbounded();
    /// tx.send_all(&mut cx, ["a", "b"])?;
    /// drop(tx);
    /// for word in rx.iter(&mut cx) {
    ///     println!("{}", word?);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    /// ```compile_fail,E0499
    /// # use selvedge::{Runtime, channel, yield_now};
    /// # let vm = Runtime::new();
    /// # let mut cx = vm.attach("main").unwrap();
    /// # let (tx, rx) = channel::unbounded::<&str>();
    /// for word in rx.iter(&mut cx) {
    ///     yield_now(&mut cx); // the iterator has it
    /// }
    /// ```
    pub fn iter<C: Context>(&self, cx: &mut C) -> impl Iterator<Item = Result<T, RecvError>> {
        let mut over = false;
        let next = move || {
            let received = if over { Err(RecvError::Closed) } else { self.recv(cx) };
            over = received.is_err();
            (!matches!(received, Err(RecvError::Closed))).then_some(received)
        };
        std::iter::from_fn(next).fuse()
    }

    /// Receives without waiting, one value after the other: ends when there is none. While others send it need not end; see
    /// [`drain`](Self::drain).
    pub fn try_iter(&self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.try_recv().ok())
    }

    /// Receives without waiting, and ends: as many values as there are at the call, in the channel and in the hands of
    /// threads that wait to send, or fewer, if other receivers take some. Values that are not asked for stay in the channel.
    ///
    /// # Cost
    /// As so many calls of [`try_recv`](Self::try_recv). [`recv_many`](Self::recv_many) takes a batch at once.
    pub fn drain(&self) -> impl Iterator<Item = T> {
        self.try_iter().take(each_source!(&self.0.of, core => core.there())).fuse()
    }
}

/// What both ends can do.
macro_rules! both_ends {
    ($name:ident, $end:expr, $each:ident) => {
        impl<T> $name<T> {
            /// Closes the whole channel, for all handles. False: it was closed. Threads that wait are woken: senders get
            /// their values back, and receivers [`Closed`](RecvError::Closed).
            pub fn close(&self) -> bool {
                $each!(&self.0.of, core => core.close())
            }
            /// The same, and nobody receives any more: values that were in it are handed to `f`, the oldest first, with no
            /// lock held. Those of threads that wait to send go back to them. If `f` panics, the rest is dropped. False: it
            /// was closed; what was left in it is handed to `f` all the same.
            pub fn close_discarding(&self, mut f: impl FnMut(T)) -> bool {
                $each!(&self.0.of, core => core.close_discarding(&mut f))
            }
            /// This handle counts no more, as if it were dropped; false: it did not. The last one of its kind closes the
            /// channel by that, and the last receiver drops what is left. From then on what sends or receives by it says
            /// `Closed`; a clone of it is such a handle too. What asks about the channel, or closes it, works still.
            /// A wait that has begun by it, in another thread, goes on.
            ///
            /// For handles that are objects of a garbage-collected heap, which are dropped some time.
            ///
            /// # Cost
            /// It allocates. Until the handle is dropped, sends by others (of a receiver: receives) take the
            /// locks of both sides each time, and look it up in a set.
            pub fn disconnect(&self) -> bool {
                $each!(&self.0.of, core => core.leave($end, self.0.id))
            }
            /// Has this handle been disconnected?
            pub fn is_disconnected(&self) -> bool {
                $each!(&self.0.of, core => core.has_left($end, self.0.id))
            }
            /// Is it closed? `true` is final.
            pub fn is_closed(&self) -> bool {
                $each!(&self.0.of, core => core.is_closed())
            }
            /// How many values it holds: true at some moment of the call. Those in the hands of threads that wait to send do
            /// not count.
            pub fn len(&self) -> usize {
                $each!(&self.0.of, core => core.len())
            }
            /// As [`len`](Self::len).
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
            /// As [`len`](Self::len). A rendezvous is always full, and empty unless the value of a [`Permit`] waits in it.
            /// Places that are promised do not count.
            pub fn is_full(&self) -> bool {
                self.capacity().is_some_and(|n| n <= self.len())
            }
            /// How many values it has room for; none: it is unbounded.
            pub fn capacity(&self) -> Option<usize> {
                $each!(&self.0.of, core => core.capacity())
            }
            /// How many sending handles there are. A snapshot.
            pub fn senders(&self) -> usize {
                $each!(&self.0.of, core => core.handles(Kind::Send))
            }
            /// How many receiving handles there are. A snapshot.
            pub fn receivers(&self) -> usize {
                $each!(&self.0.of, core => core.handles(Kind::Receive))
            }
            /// How many threads, tasks and calls wait to send. A snapshot.
            pub fn waiting_senders(&self) -> usize {
                $each!(&self.0.of, core => core.waiting(Kind::Send))
            }
            /// How many threads and calls wait to receive; tasks, which only watch, do not count. A snapshot.
            pub fn waiting_receivers(&self) -> usize {
                $each!(&self.0.of, core => core.waiting(Kind::Receive))
            }
            /// Shows each value that is in the channel: stored, or with a sender that waits. `f` runs under the channel's
            /// locks, for a collector that does not stop the world: it must be short, and must use no channel: this one would
            /// hang, and so may another one, whose locks a [`Select`] holds that wants these. A value that has been given to a
            /// receiver that has not run since is not shown.
            pub fn visit(&self, mut f: impl FnMut(&mut T)) {
                $each!(&self.0.of, core => core.visit(&mut f));
            }
            /// Shows each value that is on its way through the channel, once, for a collector that moves objects: stored,
            /// in the hand of a thread that waits to send, in the hand of one that received and has not run since, or
            /// without a thread. A task's value is shown while it queues, and not once its send has ended, though it be by a
            /// close. What [`recv_many`](Receiver::recv_many) has put into its vector, and the rest of
            /// [`send_all`](Sender::send_all)'s iterator, are the VM's, as are the arms of a [`Select`] that does not wait.
            /// An executor, a waker and a destructor must not call it: who calls them may have a value in between. `f` must
            /// not use this channel, which would hang.
            ///
            /// # Safety
            /// No thread that is attached to any runtime runs, but the caller: as [`Hands::gather`] demands.
            pub unsafe fn for_each_mut(&self, hands: &Hands<'_>, mut f: impl FnMut(&mut T)) {
                // SAFETY: the caller's promise.
                $each!(&self.0.of, core => unsafe { core.for_each_mut(hands, &mut f) });
            }
            /// The name. Readable by anybody at any time.
            pub fn name(&self) -> Option<&str> {
                $each!(&self.0.of, core => core.label.as_ref().and_then(|l| l.name()))
            }
            /// The VM's tag; 0: none.
            pub fn tag(&self) -> u64 {
                $each!(&self.0.of, core => core.label.as_ref().map_or(0, |l| l.get_tag()))
            }
            /// Are the two ends of one channel?
            pub fn same_channel(&self, other: &Self) -> bool {
                let rank = |handle: &Self| $each!(&handle.0.of, core => core.rank.get());
                rank(self) == rank(other)
            }
        }

        // A panic in between finds each value in one place, and nothing half done.
        impl<T> UnwindSafe for $name<T> {}
        impl<T> RefUnwindSafe for $name<T> {}

        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                let id = $each!(&self.0.of, core => core.share($end, self.0.id));
                Self(Handle { of: self.0.of.clone(), id })
            }
        }

        /// The last one of its kind closes the channel.
        impl<T> Drop for $name<T> {
            fn drop(&mut self) {
                $each!(&self.0.of, core => core.end($end, self.0.id));
            }
        }

        /// Shows the name and how full it is.
        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut s = f.debug_struct(stringify!($name));
                s.field("name", &self.name()).field("len", &self.len());
                s.field("capacity", &self.capacity()).field("closed", &self.is_closed()).finish()
            }
        }
    };
}
both_ends!(Sender, Kind::Send, each);
both_ends!(Receiver, Kind::Receive, each_source);
