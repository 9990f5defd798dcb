//! Channels: values from thread to thread, first in, first out.
//!
//! | made by                       | room for                  | a send waits                                 |
//! |-------------------------------|---------------------------|----------------------------------------------|
//! | [`bounded`]`(n)`              | `n` values                | while there is no room                       |
//! | [`bounded`]`(0)`, [`rendezvous`] | none                   | until a receiver takes the value             |
//! | [`unbounded`]                 | as many as memory has     | never                                        |
//!
//! Any number of threads may send and receive, through clones of the two handles or through references to one. A value is
//! received once, by the receiver that waits longest. A send or receive that waits is a safe point; it ends with the
//! value moved, or with an error and nothing moved: a failed send gives the value back.
//!
//! A channel is closed by [`Sender::close`] or [`Receiver::close`], or when all handles of one kind are gone. Then no value
//! goes in any more; receivers get what is there, then [`Closed`](RecvError::Closed). Who waits to send at that
//! moment gets the value back.
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

// `side` is the lock, `storage` what is asked of the place of values (`array`, `list`, none), `node` the threads that queue,
// `core` the protocol. The storages know nothing of waiting.
mod array;
mod core;
mod error;
mod list;
mod node;
mod side;
mod storage;

use self::core::{Core, Kind};
use crate::shim::Arc;
use crate::thread::{Context, Label, LabelRef};
use array::Array;
pub use error::{RecvError, SendError, TryRecvError, TrySendError};
use list::List;
use std::fmt;
use std::time::Instant;
use storage::Zero;

enum Flavor<T> {
    Array(Arc<Core<T, Array<T>>>),
    List(Arc<Core<T, List<T>>>),
    Zero(Arc<Core<T, Zero>>),
}

/// Does the same with the channel, whatever its storage.
macro_rules! each {
    ($flavor:expr, $core:ident => $e:expr) => {
        match $flavor {
            Flavor::Array($core) => $e,
            Flavor::List($core) => $e,
            Flavor::Zero($core) => $e,
        }
    };
}

/// A channel with room for `capacity` values; 0: a [`rendezvous`].
///
/// # Panics
/// If so many values do not fit into memory.
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
    label: LabelRef,
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
        Self { label: Some(Arc::new(label)) }
    }
    /// See [`bounded`].
    ///
    /// # Panics
    /// If so many values do not fit into memory.
    pub fn bounded<T>(self, capacity: usize) -> (Sender<T>, Receiver<T>) {
        match capacity {
            0 => pair(self.label, Zero, Flavor::Zero),
            n => pair(self.label, Array::new(n), Flavor::Array),
        }
    }
    /// See [`unbounded`].
    pub fn unbounded<T>(self) -> (Sender<T>, Receiver<T>) {
        pair(self.label, List::new(), Flavor::List)
    }
}

fn pair<T, S: storage::Storage<T>>(
    label: LabelRef,
    storage: S,
    flavor: fn(Arc<Core<T, S>>) -> Flavor<T>,
) -> (Sender<T>, Receiver<T>) {
    let core = Arc::new(Core::new(storage, label));
    (Sender(flavor(core.clone())), Receiver(flavor(core)))
}

impl<T> Flavor<T> {
    fn share(&self, end: Kind) -> Self {
        each!(self, core => core.add_handle(end));
        match self {
            Self::Array(core) => Self::Array(core.clone()),
            Self::List(core) => Self::List(core.clone()),
            Self::Zero(core) => Self::Zero(core.clone()),
        }
    }
    fn address(&self) -> usize {
        each!(self, core => Arc::as_ptr(core).addr())
    }
}

/// The sending end of a channel. Clones and references send into the same one.
pub struct Sender<T>(Flavor<T>);

/// The receiving end of a channel. Clones and references receive from the same one; each value goes to one of them.
pub struct Receiver<T>(Flavor<T>);

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
    /// There is room, and nobody waits: one compare-exchange. An unbounded channel allocates once in 31 values, unless
    /// it has a used block left.
    #[inline]
    pub fn send<C: Context>(&self, cx: &mut C, value: T) -> Result<(), SendError<T>> {
        each!(&self.0, core => core.send(cx, value, None))
    }

    /// As [`send`](Self::send), until `deadline` at the latest.
    ///
    /// # Errors
    /// [`SendError::TimedOut`] as well.
    #[inline]
    pub fn send_until<C: Context>(
        &self,
        cx: &mut C,
        value: T,
        deadline: Instant,
    ) -> Result<(), SendError<T>> {
        each!(&self.0, core => core.send(cx, value, Some(deadline)))
    }

    /// Sends a value if that takes no wait: there is room, or a receiver waits.
    ///
    /// # Errors
    /// See [`TrySendError`]; it gives the value back. `Full` was true at some moment of the call.
    #[inline]
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        each!(&self.0, core => core.try_send(value))
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
    #[inline]
    pub fn recv<C: Context>(&self, cx: &mut C) -> Result<T, RecvError> {
        each!(&self.0, core => core.recv(cx, None))
    }

    /// As [`recv`](Self::recv), until `deadline` at the latest.
    ///
    /// # Errors
    /// [`RecvError::TimedOut`] as well.
    #[inline]
    pub fn recv_until<C: Context>(&self, cx: &mut C, deadline: Instant) -> Result<T, RecvError> {
        each!(&self.0, core => core.recv(cx, Some(deadline)))
    }

    /// Receives the oldest value if that takes no wait.
    ///
    /// # Errors
    /// See [`TryRecvError`]. `Empty` was true at some moment of the call.
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        each!(&self.0, core => core.try_recv())
    }

    /// Receives what is there, one value after the other, without waiting: ends when the channel is empty.
    pub fn try_iter(&self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.try_recv().ok())
    }
}

/// What both ends can do.
macro_rules! both_ends {
    ($name:ident, $end:expr) => {
        impl<T> $name<T> {
            /// Closes the whole channel, for all handles. False: it was closed. Threads that wait are woken: senders get
            /// their values back, and receivers [`Closed`](RecvError::Closed).
            pub fn close(&self) -> bool {
                each!(&self.0, core => core.close())
            }
            /// Is it closed? `true` is final.
            pub fn is_closed(&self) -> bool {
                each!(&self.0, core => core.is_closed())
            }
            /// How many values it holds: true at some moment of the call. Those in the hands of threads that wait to send do not
            /// count.
            pub fn len(&self) -> usize {
                each!(&self.0, core => core.len())
            }
            /// As [`len`](Self::len).
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
            /// As [`len`](Self::len). A rendezvous is both empty and full.
            pub fn is_full(&self) -> bool {
                self.capacity() == Some(self.len())
            }
            /// How many values it has room for; none: it is unbounded.
            pub fn capacity(&self) -> Option<usize> {
                each!(&self.0, core => core.capacity())
            }
            /// How many sending handles there are. A snapshot.
            pub fn senders(&self) -> usize {
                each!(&self.0, core => core.handles(Kind::Send))
            }
            /// How many receiving handles there are. A snapshot.
            pub fn receivers(&self) -> usize {
                each!(&self.0, core => core.handles(Kind::Receive))
            }
            /// How many threads wait to send. A snapshot.
            pub fn waiting_senders(&self) -> usize {
                each!(&self.0, core => core.waiting(Kind::Send))
            }
            /// How many threads wait to receive. A snapshot.
            pub fn waiting_receivers(&self) -> usize {
                each!(&self.0, core => core.waiting(Kind::Receive))
            }
            /// The name. Readable by anybody at any time.
            pub fn name(&self) -> Option<&str> {
                each!(&self.0, core => core.label.as_ref().and_then(|l| l.name()))
            }
            /// The VM's tag; 0: none.
            pub fn tag(&self) -> u64 {
                each!(&self.0, core => core.label.as_ref().map_or(0, |l| l.get_tag()))
            }
            /// Are the two ends of one channel?
            pub fn same_channel(&self, other: &Self) -> bool {
                self.0.address() == other.0.address()
            }
        }

        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                Self(self.0.share($end))
            }
        }

        /// The last one of its kind closes the channel.
        impl<T> Drop for $name<T> {
            fn drop(&mut self) {
                each!(&self.0, core => core.remove_handle($end));
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
both_ends!(Sender, Kind::Send);
both_ends!(Receiver, Kind::Receive);
