//! The beginning of a thread: attached, or spawned. Its end is `thread/runtime`'s.

use crate::error::{AttachError, Panic, SpawnError};
use crate::park::Ready;
use crate::shim::{self, Arc};
use crate::thread::{Finish, JoinHandle, Name, Participant, Participation, Runtime, Slot};
use crate::wait;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

impl Runtime {
    /// Makes the calling OS thread a thread of this runtime; the first one is the main thread. No registration in advance;
    /// an OS thread may be attached to several runtimes; it is stopped for a runtime only while it waits in that one, and
    /// keeps the baton of the others meanwhile. Drop the participant to detach.
    ///
    /// # Errors
    /// [`AttachError::AlreadyAttached`], [`AttachError::ShutDown`], [`AttachError::TooManyThreads`].
    /// # Blocking
    /// With the baton it waits for its turn. Else no, but for what another thread that has found it in the list carries out
    /// for it ([`Thread::ask`](crate::Thread::ask)).
    pub fn attach(&self, name: impl Into<Name>) -> Result<Participant, AttachError> {
        let me = self.enter(name.into(), true)?.here();
        wait::start(&me, false);
        Ok(me)
    }

    /// Starts a thread. It is alive, listed and, with the baton, queued before this returns. What `f` returns, result or
    /// error, is kept for whoever joins; so is a panic, which goes no further.
    ///
    /// # Errors
    /// [`SpawnError::ShutDown`], [`SpawnError::TooManyThreads`], [`SpawnError::Os`].
    /// # Blocking
    /// No, but for what the operating system takes. With the baton the caller keeps it.
    /// # Ordering
    /// Everything before the call happens-before `f`.
    pub fn spawn<T, E, F>(
        &self,
        name: impl Into<Name>,
        f: F,
    ) -> Result<JoinHandle<T, E>, SpawnError>
    where
        F: FnOnce(&mut Participant) -> Result<T, E> + Send + 'static,
        T: Any + Clone + Send + Sync,
        E: Any + Clone + Send + Sync,
    {
        let new = self.enter(name.into(), false).map_err(|e| match e {
            AttachError::TooManyThreads => SpawnError::TooManyThreads,
            _ => SpawnError::ShutDown,
        })?;
        let thread = new.thread.clone();
        let id = thread.id();
        let started = shim::spawn(thread.name(), self.stack(), move || {
            let mut me = new.spawned();
            wait::start(&me, true);
            let result = catch_unwind(AssertUnwindSafe(|| f(&mut me)));
            if me.id() != id {
                // `f` swapped the token for another runtime's; what becomes of this thread is in its hands.
                return;
            }
            match result {
                Ok(result) => me.set_finish(Finish::Returned(Arc::new(Slot(result)))),
                Err(payload) => {
                    me.set_finish(Finish::Panicked(Panic::new(&*payload)));
                    drop(payload); // last: it may panic too
                }
            }
        });
        if let Err(e) = started {
            Participation::undo(self, &thread);
            return Err(SpawnError::Os(e));
        }
        if let Some(baton) = self.baton() {
            baton.ready(thread.record().waiter());
        }
        Ok(JoinHandle::new(thread))
    }
}
