//! Promises: a value that is written once and read by many.
//!
//! | `state` | meaning                     | leaves by                                        |
//! |---------|-----------------------------|--------------------------------------------------|
//! | PENDING | nobody has settled it       | `settle`, compare-exchange -> CLAIMED            |
//! | CLAIMED | one thread writes the slot  | that thread -> SETTLED                           |
//! | SETTLED | the slot is read by anybody | never                                            |
//!
//! I1. The slot is written by who took the state from PENDING, once, and never after SETTLED.
//! I2. Who finds the state taken goes on when it is SETTLED, a few moves later: what it is told, that the promise is settled
//!     already, is true by then. Nothing of the VM runs in between.
//! I3. The gate is a rendezvous into which nobody sends. It is closed after SETTLED, so who waits at it, or finds it closed,
//!     finds the slot written: waiting for a promise is a receive that ends with the close, and all that channels can do.
//! E1. SETTLED, Release -> Acquire: the slot.

use crate::channel::{Builder, Receiver, RecvArm, RecvError, Select, SelectError, Sender};
use crate::shim::{Arc, AtomicU32, Ordering::*, UnsafeCell, back_off, planted};
use crate::thread::{Context, Label};
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Instant;

const PENDING: u32 = 0;
const CLAIMED: u32 = 1;
const SETTLED: u32 = 2;

struct Inner<T, E> {
    state: AtomicU32,
    slot: UnsafeCell<Option<Result<T, E>>>,
    open: Sender<Infallible>,
    gate: Receiver<Infallible>,
}

// SAFETY: the slot is written by one thread, and read by others when it is settled (I1, E1). It is shared and dropped
// anywhere.
unsafe impl<T: Send + Sync, E: Send + Sync> Sync for Inner<T, E> {}
// SAFETY: as above.
unsafe impl<T: Send, E: Send> Send for Inner<T, E> {}

/// What became of a promise.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settled<'a, T, E> {
    /// It was kept.
    Value(&'a T),
    /// It was broken, for this reason.
    Error(&'a E),
    /// It was cancelled, or nobody is left who could keep it.
    Cancelled,
}

impl<T, E> Clone for Settled<'_, T, E> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T, E> Copy for Settled<'_, T, E> {}

/// A wait for a promise did not see it settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PromiseError {
    /// A signal is pending: take it.
    Interrupted,
    /// The deadline passed.
    TimedOut,
    /// The runtime shuts down.
    ShutDown,
    /// Waiting is refused here: inside a hook, or in a [`no_blocking`](crate::no_blocking) scope.
    WouldBlock,
    /// There is no promise to wait for.
    NoPromises,
}

impl fmt::Display for PromiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupted => "the wait for a promise was interrupted by a signal",
            Self::TimedOut => "the wait for a promise timed out",
            Self::ShutDown => "the runtime shuts down",
            Self::WouldBlock => "the promise would be waited for where waiting is refused",
            Self::NoPromises => "any of no promises would be waited for for ever",
        })
    }
}
impl Error for PromiseError {}

/// The reading end of a promise: a value, or an error, that will be written once. Clones read the same one.
///
/// Who waits is told when it is settled, whoever they are and however many: threads, a [`Select`] ([`arm`](Self::arm)),
/// tasks ([`settled_async`](Self::settled_async)).
///
/// # Examples
/// ```
/// use selvedge::Runtime;
/// use selvedge::promise::{self, Settled};
/// let vm = Runtime::new();
/// let mut cx = vm.attach("main")?;
/// let (resolver, answer) = promise::new::<u32, String>();
/// let worker = vm.spawn("worker", move |_| Ok::<_, u32>(resolver.resolve(42)?))?;
/// assert_eq!(answer.wait(&mut cx)?, Settled::Value(&42));
/// worker.join(&mut cx)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Promise<T, E = Infallible>(Arc<Inner<T, E>>);

/// The writing end of a promise. Clones write the same one; the first to do so settles it, and when the last one goes
/// without, it is cancelled: nobody waits for a promise that nobody can keep.
pub struct Resolver<T, E = Infallible>(Arc<Last<T, E>>);

/// Goes with the last resolver.
struct Last<T, E>(Arc<Inner<T, E>>);

/// A promise, and who can keep it.
pub fn new<T, E>() -> (Resolver<T, E>, Promise<T, E>) {
    make(Builder::new())
}

/// The same, with a name or a tag, which blockers show.
pub fn labelled<T, E>(label: Label) -> (Resolver<T, E>, Promise<T, E>) {
    make(Builder::new().label(label))
}

fn make<T, E>(builder: Builder) -> (Resolver<T, E>, Promise<T, E>) {
    let (open, gate) = builder.bounded(0);
    let (state, slot) = (AtomicU32::new(PENDING), UnsafeCell::new(None));
    let inner = Arc::new(Inner { state, slot, open, gate });
    (Resolver(Arc::new(Last(inner.clone()))), Promise(inner))
}

impl<T, E> Inner<T, E> {
    /// None: it is settled already, and this comes back.
    fn settle(&self, with: Option<Result<T, E>>) -> Result<(), Option<Result<T, E>>> {
        // ORDERING: Relaxed, both. It says who writes; E1 publishes what.
        if let Err(state) = self.state.compare_exchange(PENDING, CLAIMED, Relaxed, Relaxed) {
            if state != SETTLED && !planted("loser-goes-first") {
                self.wait_for_winner();
            }
            return Err(with);
        }
        // ORDERING: Release, E1.
        let show = || self.state.swap(SETTLED, Release);
        if planted("promise-shown-before-written") {
            show();
        }
        // SAFETY: this thread alone took it from PENDING (I1).
        self.slot.with_mut(|slot| unsafe { *slot = with });
        show();
        if !planted("promise-tells-nobody") {
            self.open.close();
        }
        Ok(())
    }

    /// Until the slot is written (I2).
    #[cold]
    fn wait_for_winner(&self) {
        let mut tries = 0u32;
        // ORDERING: Relaxed. Who then reads the slot loads the state again, and finds this or later.
        while self.state.load(Relaxed) != SETTLED {
            back_off(tries, 16);
            tries = tries.saturating_add(1);
        }
    }

    fn get(&self) -> Option<Settled<'_, T, E>> {
        // ORDERING: Acquire, E1.
        if self.state.load(Acquire) != SETTLED {
            return None;
        }
        Some(self.slot.with(|slot| {
            // SAFETY: it is settled, so nobody writes any more (I1, E1).
            match unsafe { &*slot } {
                Some(Ok(value)) => Settled::Value(value),
                Some(Err(error)) => Settled::Error(error),
                None => Settled::Cancelled,
            }
        }))
    }
}

impl<T, E> Resolver<T, E> {
    /// Keeps the promise.
    ///
    /// # Errors
    /// The value: it is settled already.
    /// # Ordering
    /// Everything before happens-before the return of who reads the value.
    pub fn resolve(&self, value: T) -> Result<(), T> {
        self.0.0.settle(Some(Ok(value))).map_err(|back| match back {
            Some(Ok(value)) => value,
            _ => unreachable!("what was given comes back"),
        })
    }
    /// Breaks it, for a reason.
    ///
    /// # Errors
    /// The reason: it is settled already.
    pub fn reject(&self, error: E) -> Result<(), E> {
        self.0.0.settle(Some(Err(error))).map_err(|back| match back {
            Some(Err(error)) => error,
            _ => unreachable!("what was given comes back"),
        })
    }
    /// Another reader of it.
    pub fn promise(&self) -> Promise<T, E> {
        Promise(self.0.0.clone())
    }
}

macro_rules! both_ends {
    ($name:ident, |$this:ident| $inner:expr) => {
        impl<T, E> $name<T, E> {
            /// Settles it without a value: nobody needs it, or nobody will make it. False: it is settled already.
            pub fn cancel(&self) -> bool {
                let $this = self;
                $inner.settle(None).is_ok()
            }
            /// Is it settled? True is final.
            pub fn is_settled(&self) -> bool {
                let $this = self;
                $inner.get().is_some()
            }
        }
        impl<T, E> Clone for $name<T, E> {
            fn clone(&self) -> Self {
                Self(self.0.clone())
            }
        }
        // A panic in between finds it settled or not.
        impl<T, E> UnwindSafe for $name<T, E> {}
        impl<T, E> RefUnwindSafe for $name<T, E> {}
        impl<T, E> fmt::Debug for $name<T, E> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let settled = self.is_settled();
                f.debug_struct(stringify!($name)).field("settled", &settled).finish()
            }
        }
    };
}
both_ends!(Promise, |this| this.0);
both_ends!(Resolver, |this| this.0.0);

impl<T, E> Promise<T, E> {
    /// What became of it; none: nothing yet. One load.
    #[inline]
    pub fn get(&self) -> Option<Settled<'_, T, E>> {
        self.0.get()
    }

    /// Waits until it is settled.
    ///
    /// # Errors
    /// See [`PromiseError`].
    /// # Blocking
    /// Yes, as [`Receiver::recv`]; not if it is settled.
    pub fn wait<C: Context>(&self, cx: &mut C) -> Result<Settled<'_, T, E>, PromiseError> {
        self.wait_or_until(cx, None)
    }
    /// The same, until `deadline` at the latest.
    ///
    /// # Errors
    /// [`PromiseError::TimedOut`] as well.
    pub fn wait_until<C: Context>(
        &self,
        cx: &mut C,
        deadline: Instant,
    ) -> Result<Settled<'_, T, E>, PromiseError> {
        self.wait_or_until(cx, Some(deadline))
    }

    fn wait_or_until<C: Context>(
        &self,
        cx: &mut C,
        deadline: Option<Instant>,
    ) -> Result<Settled<'_, T, E>, PromiseError> {
        if let Some(settled) = self.get() {
            return Ok(settled);
        }
        let received = match deadline {
            Some(deadline) => self.0.gate.recv_until(cx, deadline),
            None => self.0.gate.recv(cx),
        };
        match received {
            Ok(never) => match never {},
            Err(RecvError::Closed) => Ok(self.get().expect("the gate is closed after (I3)")),
            Err(RecvError::Interrupted) => Err(PromiseError::Interrupted),
            Err(RecvError::TimedOut) => Err(PromiseError::TimedOut),
            Err(RecvError::ShutDown) => Err(PromiseError::ShutDown),
            Err(RecvError::WouldBlock) => Err(PromiseError::WouldBlock),
        }
    }

    /// As one of the arms of a [`Select`]: chosen when it is settled. [`complete`](RecvArm::complete) then says `Closed`,
    /// for nothing is received: [`get`](Self::get) has what became of it.
    pub fn arm(&self) -> RecvArm<'_, Infallible> {
        self.0.gate.arm()
    }

    /// The same for a task.
    pub async fn settled_async(&self) -> Settled<'_, T, E> {
        if self.get().is_none() {
            let closed = self.0.gate.recv_async().await;
            debug_assert_eq!(closed, Err(RecvError::Closed), "nobody sends");
        }
        self.get().expect("the gate is closed after (I3)")
    }

    /// The value or the error in it, for a collector that moves objects.
    ///
    /// # Safety
    /// No other thread reads the promise, or holds what it read: the world is stopped, as for
    /// [`for_each_mut`](Receiver::for_each_mut) of a channel.
    pub unsafe fn settled_mut(&self, f: impl FnOnce(&mut Result<T, E>)) {
        if self.get().is_some() {
            // SAFETY: settled, so nobody writes; and nobody reads, by the caller's promise.
            let slot = self.0.slot.with_mut(|slot| unsafe { &mut *slot });
            slot.as_mut().map(f);
        }
    }

    /// What became of it, to keep; none: it was cancelled. It takes the only handle there is: no other reader, no resolver.
    ///
    /// # Errors
    /// The promise: it is not settled, or others can read it.
    ///
    /// # Examples
    /// ```
    /// use selvedge::promise;
    /// let (resolver, promise) = promise::new::<String, ()>();
    /// let promise = promise.into_inner().unwrap_err(); // not settled
    /// resolver.resolve("mine".into()).unwrap();
    /// drop(resolver);
    /// assert_eq!(promise.into_inner().unwrap(), Some(Ok("mine".into())));
    /// ```
    pub fn into_inner(self) -> Result<Option<Result<T, E>>, Self> {
        if !self.is_settled() {
            return Err(self);
        }
        let inner = Arc::try_unwrap(self.0).map_err(Self)?;
        // SAFETY: nobody else has it.
        Ok(inner.slot.with_mut(|slot| unsafe { &mut *slot }.take()))
    }

    /// Are the two one promise?
    pub fn same_promise(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
    /// The name. Readable by anybody at any time.
    pub fn name(&self) -> Option<&str> {
        self.0.gate.name()
    }
}

impl<T, E> Drop for Last<T, E> {
    fn drop(&mut self) {
        if !planted("broken-promise-stays-open") {
            let _ = self.0.settle(None);
        }
    }
}

/// Waits until one of several promises is settled: its number. Of several that are, a random one.
///
/// # Errors
/// See [`PromiseError`].
/// # Blocking
/// Yes, as [`Select::wait`]; not if one is settled.
pub fn wait_any<C: Context, T, E>(
    cx: &mut C,
    promises: &[Promise<T, E>],
) -> Result<usize, PromiseError> {
    any(cx, promises, None)
}

/// The same, until `deadline` at the latest.
///
/// # Errors
/// [`PromiseError::TimedOut`] as well.
pub fn wait_any_until<C: Context, T, E>(
    cx: &mut C,
    promises: &[Promise<T, E>],
    deadline: Instant,
) -> Result<usize, PromiseError> {
    any(cx, promises, Some(deadline))
}

fn any<C: Context, T, E>(
    cx: &mut C,
    promises: &[Promise<T, E>],
    deadline: Option<Instant>,
) -> Result<usize, PromiseError> {
    let mut arms: Vec<_> = promises.iter().map(Promise::arm).collect();
    let mut select = Select::new();
    for arm in &mut arms {
        select = select.arm(arm);
    }
    if let Some(deadline) = deadline {
        select = select.until(deadline);
    }
    select.wait(cx).map_err(|e| match e {
        SelectError::Interrupted => PromiseError::Interrupted,
        SelectError::TimedOut => PromiseError::TimedOut,
        SelectError::ShutDown => PromiseError::ShutDown,
        SelectError::WouldBlock => PromiseError::WouldBlock,
        SelectError::NoArms => PromiseError::NoPromises,
    })
}

/// Waits until all of several promises are settled, however. Of none: at once.
///
/// # Errors
/// See [`PromiseError`].
/// # Blocking
/// Yes, as [`Promise::wait`], for one after the other.
pub fn wait_all<C: Context, T, E>(
    cx: &mut C,
    promises: &[Promise<T, E>],
) -> Result<(), PromiseError> {
    promises.iter().try_for_each(|promise| promise.wait(cx).map(drop))
}

/// The same, until `deadline` at the latest: one deadline for all.
///
/// # Errors
/// [`PromiseError::TimedOut`] as well.
pub fn wait_all_until<C: Context, T, E>(
    cx: &mut C,
    promises: &[Promise<T, E>],
    deadline: Instant,
) -> Result<(), PromiseError> {
    promises.iter().try_for_each(|promise| promise.wait_until(cx, deadline).map(drop))
}
