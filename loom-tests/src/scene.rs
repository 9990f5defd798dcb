//! What the models of the rooms share: a runtime, threads seated before anything races, a log that loom watches.

use selvedge::model::{Seat, UnsafeCell, thread};
use selvedge::{Mutex, Participant, Runtime, Schedule, Thread};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A runtime whose waiters are never owed a hand-over.
pub fn barging() -> Runtime {
    Runtime::builder().schedule(Schedule::new().hand_over_after(None)).build()
}

/// A runtime whose every contended release hands over.
pub fn fair() -> Runtime {
    Runtime::builder().schedule(Schedule::new().hand_over_after(None).fair(true)).build()
}

/// A runtime whose woken waiters are owed a hand-over once they lose.
pub fn impatient() -> Runtime {
    Runtime::builder().schedule(Schedule::new().hand_over_after(Some(Duration::ZERO))).build()
}

/// A runtime whose releases are plain stores, once a mutex is [`quiet`].
pub fn plain() -> Runtime {
    Runtime::builder().schedule(Schedule::new().hand_over_after(None).membarrier(true)).build()
}

/// The mutex leaves the mode that it was made in: its next release is a plain store under [`plain`], else a swap.
pub fn quiet(m: &Mutex, me: &mut Participant) {
    m.acquire(me).unwrap();
    m.release(me).unwrap();
}

/// Preemptions of a model of three threads that takes a minute with two: one in the short list.
pub fn heavy() -> Option<usize> {
    Some(if crate::long() { 2 } else { 1 })
}

/// The same of one that takes minutes with one: none in the short list, where threads still switch when they block, and
/// loads still see old values.
pub fn heaviest() -> Option<usize> {
    Some(if crate::long() { 1 } else { 0 })
}

/// A deadline: under the model checker it may fire as soon as its thread looks.
pub fn soon() -> Instant {
    Instant::now()
}

/// `N` threads of `vm`, and their handles.
pub fn seats<const N: usize>(vm: &Runtime) -> ([Seat; N], [Thread; N]) {
    let seats: [Seat; N] = std::array::from_fn(|_| Seat::new(vm, ()));
    let threads = std::array::from_fn(|i| seats[i].thread().clone());
    (seats, threads)
}

/// Runs `f` as the seated thread on a model thread of its own, with the shared state.
pub fn go<S: Send + Sync + 'static>(
    shared: &Arc<S>,
    seat: Seat,
    f: impl FnOnce(&S, &mut Participant) + 'static,
) -> thread::JoinHandle<()> {
    let shared = shared.clone();
    thread::spawn(move || f(&shared, &mut seat.sit()))
}

/// A text that threads write in turn: loom reports two of them that do it at once, or unordered.
pub struct Log(UnsafeCell<String>);

// SAFETY: loom watches every access; an unordered one turns the model red.
unsafe impl Sync for Log {}
// SAFETY: as above.
unsafe impl Send for Log {}

impl Default for Log {
    fn default() -> Self {
        Self::new()
    }
}

impl Log {
    /// An empty log.
    pub fn new() -> Self {
        Self(UnsafeCell::new(String::new()))
    }
    /// Appends.
    pub fn put(&self, text: &str) {
        // SAFETY: as the type says.
        self.0.with_mut(|log| unsafe { &mut *log }.push_str(text));
    }
    /// What was written.
    pub fn get(&self) -> String {
        // SAFETY: as the type says.
        self.0.with(|log| unsafe { &*log }.clone())
    }
}
