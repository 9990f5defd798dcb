//! For model checking with loom: exists under `--cfg selvedge_loom` only.
//!
//! A VM author takes atomics, cells and threads from here, in place of std's, and checks the VM's own protocols through
//! this crate's primitives: loom then explores both. Deadlines may fire as soon as their thread looks; what can be made in
//! a constant elsewhere cannot here; a thread that finds a mutex taken queues at once. A model runs inside `loom::model`;
//! every primitive is made inside it. The last chapter of `docs/GUIDE.md` has a whole one.
//!
//! ```sh
//! RUSTFLAGS="--cfg selvedge_loom" cargo test --release --features loom --test model
//! ```

use crate::deadlock;
pub use crate::shim::{
    AtomicBool, AtomicIsize, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
    UnsafeCell, fence, thread,
};
use crate::thread::{Name, Participant, Runtime, Thread};
use crate::wait;

/// A thread of a runtime that no OS thread runs yet: made before the model branches, so that registering costs no
/// executions.
#[derive(Debug)]
pub struct Seat(Participant);

// SAFETY: a participant is bound to the thread that uses it first; before `sit` a seat is used by its maker alone, through
// `prepare`, which leaves nothing on that thread.
unsafe impl Send for Seat {}

impl Seat {
    /// A registered thread. Not under the baton.
    pub fn new(vm: &Runtime, name: impl Into<Name>) -> Self {
        assert!(!vm.is_baton(), "under the baton a thread begins by taking its turn");
        deadlock::touch();
        let mut me = vm.enter(name.into(), false).expect("a runtime that is open").here();
        wait::start(&me, true);
        me.stay_registered();
        Self(me)
    }
    /// Does something as that thread before it runs, such as to take a mutex: nothing that waits.
    pub fn prepare(&mut self, f: impl FnOnce(&mut Participant)) {
        f(&mut self.0);
    }
    /// The calling thread is that thread from now on. Dropping the participant does not end it.
    pub fn sit(self) -> Participant {
        self.0
    }
    /// The handle.
    pub fn thread(&self) -> &Thread {
        self.0.thread()
    }
}

/// What this crate's own models look at. No VM's business: it may change or go at any time.
#[doc(hidden)]
pub mod internals {
    pub use crate::channel::bare::{SideLock, Store};
    use crate::mutex::Mutex;
    use crate::park::SpinHead;
    use crate::thread::Participant;
    use crate::wait;

    /// Is the mutex free, nobody on the way to it, and does nobody queue?
    pub fn is_idle(mutex: &Mutex) -> bool {
        mutex.is_idle()
    }

    /// Has the thread no wait on?
    pub fn waits_not(me: &Participant) -> bool {
        me.record().waiter().state().is_idle()
    }

    /// Leaves RUN for SAFE and comes back: what every sleep does, without a wait.
    pub fn safe_and_back(me: &Participant) {
        wait::safe_and_back(me);
    }

    /// The lock bit of a queue, for its own model: in all others loom's mutex stands for it.
    #[derive(Default)]
    pub struct SpinLock(SpinHead);

    impl std::fmt::Debug for SpinLock {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("SpinLock").finish_non_exhaustive()
        }
    }

    impl SpinLock {
        /// Takes the lock, runs `f`, gives it back.
        pub fn with<R>(&self, f: impl FnOnce() -> R) -> R {
            let head = self.0.lock();
            let r = f();
            self.0.unlock(head);
            r
        }
    }
}
