//! Errors: plain data, which give back what an operation took. Those that can name threads are in `failure`.

use crate::id::{RuntimeId, ThreadId};
use crate::shim::Arc;
use std::any::Any;
use std::fmt;

/// The calling thread does not own the mutex. Nothing happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotOwner {
    /// Who called.
    pub caller: ThreadId,
    /// Who owns the mutex; none: nobody did at the moment of the call.
    pub owner: Option<ThreadId>,
}

impl fmt::Display for NotOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {} does not own the mutex", self.caller)?;
        match self.owner {
            Some(owner) => write!(f, ": thread {owner} does"),
            None => f.write_str(": nobody does"),
        }
    }
}

/// The mutex could not be locked at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TryLockError {
    /// Another thread owns it, perhaps one of another runtime. Trying again later can succeed.
    Taken,
    /// The owner is over, and the mutex stays locked ([`OwnerDeath::LeaveLocked`](crate::OwnerDeath::LeaveLocked)).
    OwnerDied(ThreadId),
    /// The caller already holds the mutex 2^32 times.
    Overflow,
    /// The owner is over, and belonged to another runtime. (It counts as this runtime's once its record is another
    /// thread's.)
    ForeignRuntime {
        /// The owner.
        owner: ThreadId,
        /// The caller's runtime.
        mine: RuntimeId,
        /// The owner's runtime.
        theirs: RuntimeId,
    },
}

impl fmt::Display for TryLockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken => f.write_str("another thread owns the mutex"),
            Self::OwnerDied(dead) => write!(f, "the owner {dead} ended with the mutex locked"),
            Self::Overflow => f.write_str("the mutex is held too many times"),
            Self::ForeignRuntime { owner, mine, theirs } => write!(
                f,
                "the owner {owner} belonged to runtime {theirs}, the caller belongs to runtime {mine}"
            ),
        }
    }
}

/// The mutex has no dead owner to take it from. Nothing happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RecoverError {
    /// Nobody owns it: lock it.
    Free,
    /// Its owner lives; it may be the caller.
    NotDead {
        /// The owner.
        owner: ThreadId,
    },
    /// Its dead owner belonged to another runtime. (It counts as this runtime's once its record is another thread's.)
    ForeignRuntime {
        /// The owner.
        owner: ThreadId,
        /// The caller's runtime.
        mine: RuntimeId,
        /// The owner's runtime.
        theirs: RuntimeId,
    },
}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free => f.write_str("nobody owns the mutex"),
            Self::NotDead { owner } => write!(f, "the owner {owner} lives"),
            Self::ForeignRuntime { owner, mine, theirs } => write!(
                f,
                "the owner {owner} belonged to runtime {theirs}, the caller belongs to runtime {mine}"
            ),
        }
    }
}

/// A panic that ended a thread.
#[derive(Clone)]
pub struct Panic {
    message: Arc<str>,
}

impl Panic {
    pub(crate) fn new(payload: &(dyn Any + Send)) -> Self {
        let message = payload.downcast_ref::<&str>().map(|s| Arc::from(*s));
        let message =
            message.or_else(|| payload.downcast_ref::<String>().map(|s| s.as_str().into()));
        Self { message: message.unwrap_or_else(|| "a panic whose payload is no text".into()) }
    }
    /// What the panic said.
    pub fn message(&self) -> &str {
        &self.message
    }
}
impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panic").field(&self.message).finish()
    }
}
impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Why a sleep ended before its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SleepError {
    /// A signal is pending: take it.
    Interrupted,
    /// The runtime shuts down.
    ShutDown,
    /// Waiting is refused here: inside a hook, or in a [`no_blocking`](crate::no_blocking) scope.
    WouldBlock,
}

impl fmt::Display for SleepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupted => "a signal interrupted the sleep",
            Self::ShutDown => "the runtime shuts down",
            Self::WouldBlock => "waiting is refused here",
        })
    }
}

/// The thread is over; what it was sent comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Dead<T>(pub T);

impl<T> Dead<T> {
    /// Takes it back.
    pub fn into_inner(self) -> T {
        self.0
    }
}
impl<T> fmt::Debug for Dead<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dead(..)")
    }
}
impl<T> fmt::Display for Dead<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the thread is over")
    }
}

/// The signal could not be sent; its payload comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignalError<P> {
    /// The thread is over.
    Dead(P),
    /// The thread belongs to another runtime.
    ForeignRuntime {
        /// What was to be sent.
        payload: P,
        /// The sender's runtime.
        mine: RuntimeId,
        /// The thread's runtime.
        theirs: RuntimeId,
    },
}

impl<P> SignalError<P> {
    /// Takes the payload back.
    pub fn into_inner(self) -> P {
        match self {
            Self::Dead(payload) | Self::ForeignRuntime { payload, .. } => payload,
        }
    }
}
impl<P> fmt::Debug for SignalError<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dead(_) => f.write_str("Dead(..)"),
            Self::ForeignRuntime { mine, theirs, .. } => {
                write!(f, "ForeignRuntime {{ mine: {mine}, theirs: {theirs}, .. }}")
            }
        }
    }
}
impl<P> fmt::Display for SignalError<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dead(_) => f.write_str("the thread is over"),
            Self::ForeignRuntime { mine, theirs, .. } => {
                write!(f, "the thread belongs to runtime {theirs}, the sender to runtime {mine}")
            }
        }
    }
}

/// The thread was not attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AttachError {
    /// This OS thread is attached to this runtime already.
    AlreadyAttached(RuntimeId),
    /// The runtime shuts down.
    ShutDown,
    /// 2^24 threads live in this process.
    TooManyThreads,
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyAttached(id) => write!(f, "attached to runtime {id} already"),
            Self::ShutDown => f.write_str("the runtime shuts down"),
            Self::TooManyThreads => f.write_str("too many threads"),
        }
    }
}

/// The thread was not spawned.
#[derive(Debug)]
#[non_exhaustive]
pub enum SpawnError {
    /// The runtime shuts down.
    ShutDown,
    /// 2^24 threads live in this process.
    TooManyThreads,
    /// The operating system refused.
    Os(std::io::Error),
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShutDown => f.write_str("the runtime shuts down"),
            Self::TooManyThreads => f.write_str("too many threads"),
            Self::Os(e) => write!(f, "the operating system refused a thread: {e}"),
        }
    }
}

impl std::error::Error for NotOwner {}
impl std::error::Error for TryLockError {}
impl std::error::Error for RecoverError {}
impl std::error::Error for SleepError {}
impl std::error::Error for AttachError {}
impl std::error::Error for SpawnError {}
impl<T> std::error::Error for Dead<T> {}
impl<P> std::error::Error for SignalError<P> {}
