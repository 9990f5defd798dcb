//! Why a wait failed: the errors that can name threads. Plain data; all others are in `error`.

use crate::error::{NotOwner, Panic};
use crate::id::{RuntimeId, ThreadId};
use crate::thread::Cycle;
use std::fmt;

/// The mutex was not locked. The caller holds what it held before, nothing more.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LockError {
    /// A signal is pending: take it.
    Interrupted,
    /// The deadline passed.
    TimedOut,
    /// The runtime shuts down.
    ShutDown,
    /// Waiting is refused here: inside a hook, or in a [`no_blocking`](crate::no_blocking) scope.
    WouldBlock,
    /// The caller would wait for a thread that waits, over others perhaps, for the caller: the ring. It still holds what it
    /// held: let go of it, and the others go on. Reported to one thread of the ring. Waits with a deadline do not make
    /// a ring, nor does a wait for a notification; the way back from one does.
    Deadlock(Cycle),
    /// The owner is over, and the mutex stays locked ([`OwnerDeath::LeaveLocked`](crate::OwnerDeath::LeaveLocked)):
    /// [`Mutex::recover`](crate::Mutex::recover) takes it.
    OwnerDied(ThreadId),
    /// The caller already holds the mutex 2^32 times.
    Overflow,
    /// The owner belongs to another runtime, dead or alive (a dead one counts as this runtime's once its record is another
    /// thread's); two runtimes do not wait for each other. A snapshot: a thread of
    /// another runtime that takes the mutex while this one queues for it is waited for.
    ForeignRuntime {
        /// The owner.
        owner: ThreadId,
        /// The caller's runtime.
        mine: RuntimeId,
        /// The owner's runtime.
        theirs: RuntimeId,
    },
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => f.write_str("a signal interrupted the lock"),
            Self::TimedOut => f.write_str("the lock timed out"),
            Self::ShutDown => f.write_str("the runtime shuts down"),
            Self::WouldBlock => f.write_str("waiting is refused here"),
            Self::Deadlock(cycle) => cycle.fmt(f),
            Self::OwnerDied(dead) => write!(f, "the owner {dead} ended with the mutex locked"),
            Self::Overflow => f.write_str("the mutex is held too many times"),
            Self::ForeignRuntime { owner, mine, theirs } => write!(
                f,
                "the owner {owner} belongs to runtime {theirs}, the caller to runtime {mine}"
            ),
        }
    }
}

/// Why a wait for a condition variable ended without a notification, or never began.
///
/// In every case but [`Lost`](Self::Lost) and [`NotOwner`](Self::NotOwner) the caller holds the mutex at the depth it had.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WaitError {
    /// The caller does not own the mutex. Nothing happened.
    NotOwner(NotOwner),
    /// A signal is pending: take it.
    Interrupted,
    /// The deadline passed.
    TimedOut,
    /// The runtime shuts down; the wait did not begin.
    ShutDown,
    /// Waiting is refused here: inside a hook, or in a [`no_blocking`](crate::no_blocking) scope.
    WouldBlock,
    /// The mutex could not be taken back. The caller holds none of its levels; guards of it that were made before the
    /// wait do nothing when they drop.
    Lost(Loss),
}

/// Why a mutex could not be taken back.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Loss {
    /// The runtime shuts down.
    ShutDown,
    /// Taking the mutex back would have closed a ring of threads that wait for each other: see [`LockError::Deadlock`].
    Deadlock(Cycle),
    /// The owner is over, and the mutex stays locked: see [`LockError::OwnerDied`].
    OwnerDied(ThreadId),
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOwner(e) => e.fmt(f),
            Self::Interrupted => f.write_str("a signal interrupted the wait"),
            Self::TimedOut => f.write_str("the wait timed out"),
            Self::ShutDown => f.write_str("the runtime shuts down"),
            Self::WouldBlock => f.write_str("waiting is refused here"),
            Self::Lost(Loss::ShutDown) => {
                f.write_str("the runtime shuts down, and the mutex is lost")
            }
            Self::Lost(Loss::OwnerDied(dead)) => {
                write!(f, "the owner {dead} ended with the mutex locked, and the mutex is lost")
            }
            Self::Lost(Loss::Deadlock(cycle)) => write!(f, "the mutex is lost: {cycle}"),
        }
    }
}

/// Why a join did not get to the thread's end. The thread is untouched; join again.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum JoinError {
    /// A signal is pending: take it.
    Interrupted,
    /// The deadline passed.
    TimedOut,
    /// The runtime shuts down.
    ShutDown,
    /// Waiting is refused here: inside a hook, or in a [`no_blocking`](crate::no_blocking) scope.
    WouldBlock,
    /// The thread waits, over others perhaps, for the caller's end or for what the caller holds: see
    /// [`LockError::Deadlock`].
    Deadlock(Cycle),
    /// A thread cannot wait for its own end.
    Yourself(ThreadId),
    /// The thread belongs to another runtime.
    ForeignRuntime {
        /// The caller's runtime.
        mine: RuntimeId,
        /// The thread's runtime.
        theirs: RuntimeId,
    },
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => f.write_str("a signal interrupted the join"),
            Self::TimedOut => f.write_str("the join timed out"),
            Self::ShutDown => f.write_str("the runtime shuts down"),
            Self::WouldBlock => f.write_str("waiting is refused here"),
            Self::Deadlock(cycle) => cycle.fmt(f),
            Self::Yourself(id) => write!(f, "thread {id} cannot join itself"),
            Self::ForeignRuntime { mine, theirs } => {
                write!(f, "the thread belongs to runtime {theirs}, the caller to runtime {mine}")
            }
        }
    }
}

/// What a typed join gives in place of a result.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum JoinFailure<E> {
    /// The thread ended with this error.
    Failed(E),
    /// The thread ended in a panic.
    Panicked(Panic),
    /// The join did not get to the thread's end.
    Wait(JoinError),
}

impl<E> fmt::Display for JoinFailure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(_) => f.write_str("the thread ended with an error"),
            Self::Panicked(panic) => write!(f, "the thread panicked: {panic}"),
            Self::Wait(e) => e.fmt(f),
        }
    }
}
impl<E: fmt::Debug> std::error::Error for JoinFailure<E> {}

impl std::error::Error for LockError {}
impl std::error::Error for WaitError {}
impl std::error::Error for JoinError {}
