//! A deadlock as its victim is told: who waits for what, once around. Plain data.

use super::blocker::flat;
use super::{Blocker, BlockerKind, Thread};
use crate::shim::Arc;
use std::fmt;

/// One thread of a deadlock.
#[derive(Clone, Debug)]
pub struct Link {
    pub(crate) thread: Thread,
    pub(crate) waits_for: Blocker,
    pub(crate) holds: Blocker,
}

impl Link {
    /// The thread.
    pub fn thread(&self) -> &Thread {
        &self.thread
    }
    /// What it waits for: the next thread of the ring holds it.
    pub fn waits_for(&self) -> &Blocker {
        &self.waits_for
    }
    /// What the thread before it in the ring waits for. A join: this thread's end.
    pub fn holds(&self) -> &Blocker {
        &self.holds
    }
}

/// As `a holds mutex x, waits for mutex y`: one line, as a [`Blocker`]'s.
impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.thread.name() {
            Some(name) => f.write_str(&flat(name))?,
            None => write!(f, "thread {}", self.thread.id())?,
        }
        if self.holds.kind() != BlockerKind::Join {
            write!(f, " holds {},", self.holds)?;
        }
        write!(f, " waits for {}", self.waits_for)
    }
}

/// Threads that wait for each other in a ring: each for what the next one holds, the last for what the first one holds.
/// The first is the one whose wait was ended. Cheap to clone.
///
/// # Examples
/// ```
/// use selvedge::{LockError, Mutex, Runtime};
/// static X: Mutex = Mutex::new();
/// static Y: Mutex = Mutex::new();
/// let vm = Runtime::new();
/// let mut cx = vm.attach("a")?;
/// let x = X.lock(&mut cx)?;
/// let b = vm.spawn("b", |cx| {
///     let _y = Y.lock(cx)?;
///     X.lock(cx).map(drop)
/// })?;
/// while b.blocker().is_none() {
///     selvedge::yield_now(&mut cx);
/// }
/// let Err(LockError::Deadlock(cycle)) = Y.lock(&mut cx) else { panic!("a deadlock") };
/// assert_eq!(cycle.to_string(), "deadlock: a holds mutex, waits for mutex; b holds mutex, waits for mutex");
/// drop(x); // the victim lets go, and the other goes on
/// b.join(&mut cx)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Cycle(Arc<[Link]>);

impl Cycle {
    pub(crate) fn new(links: Vec<Link>) -> Self {
        Self(links.into())
    }
    /// The threads, once around.
    pub fn links(&self) -> &[Link] {
        &self.0
    }
}

/// The same report.
impl PartialEq for Cycle {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
impl Eq for Cycle {}

impl fmt::Debug for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.links()).finish()
    }
}

/// As `deadlock: a holds mutex x, waits for mutex y; b holds mutex y, waits for mutex x`.
impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadlock")?;
        for (i, link) in self.links().iter().enumerate() {
            write!(f, "{} {link}", if i == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}
