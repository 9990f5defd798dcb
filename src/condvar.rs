//! The condition variable: a queue of waiters that notifiers move to the queue of its mutex (wait morphing).
//!
//! | the waiter is in        | claim word | meaning                                | leaves by                                    |
//! |-------------------------|------------|----------------------------------------|----------------------------------------------|
//! | this queue              | WAITING    | not notified                           | a notifier; signal, deadline, SERVE, SHUT_DOWN |
//! | the mutex's queue       | MORPHED    | notified; waits for the mutex          | a release of the mutex; SERVE, SHUT_DOWN     |
//! | none, in a claimer's hand | either   | popped, about to be claimed            | the claim, or its loss                       |
//!
//! I1. Order of the locks: this queue's, then the mutex's.
//! I2. A notifier owns the mutex, so the mutex stays owned while waiters move; W is set before the first one is claimed.
//! I3. Whoever leaves otherwise than GRANTED or WOKEN takes both locks before its wait is over: nobody has its node then.
//! I4. A condition-wait returns with the mutex at the depth it had, whatever ended it, but for `Lost` (R3): the way back is
//!     uninterruptible.
//! E1. As the mutex's: the notifier's critical section reaches the waiter by the release that wakes it, or by the hand-over.
//!
//! No thread is woken by a notification itself: it is moved, and woken when the mutex is free.

use crate::error::{LockError, Loss, NotOwner, WaitError};
use crate::mutex::Mutex;
use crate::park::{Entry, Outcome, Queue, Refusal};
use crate::shim::{Arc, const_fn};
use crate::thread::{Blocker, BlockerKind, Context, Label, LabelRef, Participant};
use crate::wait;
use std::fmt;
use std::ops::Deref;
use std::time::Instant;

/// A condition variable of one mutex, to which it is bound for ever. The mutex is reached by any handle: `&'static`, `Arc`,
/// a handle of the VM's heap.
///
/// # Examples
/// ```
/// use selvedge::{Condvar, Mutex, Runtime};
/// use std::cell::Cell;
/// use std::sync::atomic::{AtomicBool, Ordering};
/// static M: Mutex = Mutex::new();
/// static C: Condvar<&Mutex> = Condvar::new(&M);
/// static READY: AtomicBool = AtomicBool::new(false);
///
/// let vm = Runtime::new();
/// let mut cx = vm.attach("main")?;
/// let worker = vm.spawn("worker", |cx| {
///     let _held = M.lock(cx).map_err(drop)?;
///     READY.store(true, Ordering::Relaxed);
///     C.notify_one(cx).map_err(drop)?;
///     Ok::<(), ()>(())
/// })?;
/// let held = M.lock(&mut cx)?;
/// while !READY.load(Ordering::Relaxed) {
///     C.wait(&mut cx)?;
/// }
/// drop(held);
/// worker.join(&mut cx)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Condvar<M> {
    queue: Queue,
    mutex: M,
    label: LabelRef,
}

impl<M: Deref<Target = Mutex>> Condvar<M> {
    const_fn! {
        /// A condition variable of `mutex`, without a name.
        pub fn new(mutex: M) -> Self {
            Self { queue: Queue::new(), mutex, label: None }
        }
    }
    /// A condition variable with a name.
    pub fn named(mutex: M, name: &str) -> Self {
        Self::with_label(mutex, Label::new(name))
    }
    /// A condition variable with a label.
    pub fn with_label(mutex: M, label: Label) -> Self {
        Self { queue: Queue::new(), mutex, label: Some(Arc::new(label)) }
    }
    /// Its mutex.
    pub fn mutex(&self) -> &M {
        &self.mutex
    }
    /// The name. Readable by anybody at any time.
    pub fn name(&self) -> Option<&str> {
        self.label.as_ref().and_then(|l| l.name())
    }
    /// The VM's tag; 0: none.
    pub fn tag(&self) -> u64 {
        self.label.as_ref().map_or(0, |l| l.get_tag())
    }
    /// How many threads wait to be notified. A snapshot.
    pub fn waiters(&self) -> usize {
        self.queue.lock().len()
    }

    /// Gives all levels of the mutex back, waits to be notified, and takes them again. May return with no notification:
    /// wait in a loop that tests the condition.
    ///
    /// # Errors
    /// [`WaitError::NotOwner`]: the caller does not own the mutex; nothing happened. [`WaitError::Lost`]: the mutex could not
    /// be taken back; the caller holds none of its levels, and guards of it do nothing when they drop. Every other error:
    /// the caller holds the mutex at the depth it had. A signal that comes after the notification stays pending.
    /// # Blocking
    /// Yes; a safe point. A signal ends the wait for the notification, not the wait for the mutex that follows.
    /// # Ordering
    /// Everything a notifier did before it freed the mutex happens-before the return.
    pub fn wait<C: Context>(&self, cx: &mut C) -> Result<(), WaitError> {
        self.wait_dyn(cx, None)
    }

    /// As [`wait`](Self::wait), until `deadline` at the latest; taking the mutex again may take longer.
    ///
    /// # Errors
    /// [`WaitError::TimedOut`] as well, with the mutex held.
    pub fn wait_until<C: Context>(&self, cx: &mut C, deadline: Instant) -> Result<(), WaitError> {
        self.wait_dyn(cx, Some(deadline))
    }

    /// Notifies the thread that waits longest, if any: it goes on when it gets the mutex.
    ///
    /// # Errors
    /// [`NotOwner`]: the caller does not own the mutex; nobody was notified.
    /// # Blocking
    /// No. The caller keeps the mutex.
    /// # Cost
    /// Nobody waits: the queue's lock, two atomic operations.
    pub fn notify_one(&self, me: &Participant) -> Result<bool, NotOwner> {
        self.mutex.check_owner(me)?;
        Ok(self.notify(1) == 1)
    }

    /// Notifies every thread that waits; says how many.
    ///
    /// # Errors
    /// [`NotOwner`]: the caller does not own the mutex; nobody was notified.
    /// # Blocking
    /// No. The caller keeps the mutex.
    pub fn notify_all(&self, me: &Participant) -> Result<usize, NotOwner> {
        self.mutex.check_owner(me)?;
        Ok(self.notify(usize::MAX))
    }

    /// Moves up to `max` waiters to the mutex's queue. The caller owns the mutex (I2).
    fn notify(&self, max: usize) -> usize {
        let mut queue = self.queue.lock();
        if queue.is_empty() {
            return 0;
        }
        let mut lockers = self.mutex.queue.lock();
        self.mutex.expect_waiters();
        let mut n = 0;
        while n < max {
            let Some(ticket) = queue.pop() else { break };
            let Entry { id, epoch, .. } = ticket.entry();
            if ticket.waiter().state().morph(epoch) {
                lockers.push_back(ticket.waiter(), Entry { id, epoch, starves: false });
                n += 1;
            }
        }
        n
    }

    /// A notified waiter leaves without the mutex: the notification goes to the next one. The caller owns nothing.
    fn pass_notification_on(&self) {
        let mut queue = self.queue.lock();
        let mut lockers = self.mutex.queue.lock();
        while let Some(ticket) = queue.pop() {
            let Entry { id, epoch, .. } = ticket.entry();
            if ticket.waiter().state().morph(epoch) {
                lockers.push_back(ticket.waiter(), Entry { id, epoch, starves: false });
                drop(queue);
                return self.mutex.admit(lockers);
            }
        }
    }

    fn wait_dyn(&self, cx: &mut dyn Context, deadline: Option<Instant>) -> Result<(), WaitError> {
        let mutex = &*self.mutex;
        mutex.check_owner(cx.me()).map_err(WaitError::NotOwner)?;
        let on = Blocker::new(BlockerKind::Condvar, self.label.clone());
        wait::enter(cx, &on).map_err(|_| WaitError::WouldBlock)?;
        let result = self.wait_inside(cx, &on, deadline);
        wait::leave(cx);
        result
    }

    fn wait_inside(
        &self,
        cx: &mut dyn Context,
        on: &Blocker,
        deadline: Option<Instant>,
    ) -> Result<(), WaitError> {
        let mutex = &*self.mutex;
        let me = cx.me();
        let (record, id) = (me.record(), me.id());
        let waiter = record.waiter();
        let epoch = wait::begin(me).map_err(|refusal| match refusal {
            Refusal::Interrupted => WaitError::Interrupted,
            Refusal::ShutDown => WaitError::ShutDown,
        })?;
        self.queue.lock().push_back(waiter, Entry { id, epoch, starves: false });
        let saved = mutex.release_all(me);
        let outcome = wait::publish(record, id, on, || wait::sleep(me, epoch, deadline));
        let was_moved = waiter.state().was_moved();
        if !matches!(outcome, Outcome::Granted | Outcome::Woken) {
            // I3.
            let mut queue = self.queue.lock();
            let mut lockers = mutex.queue.lock();
            queue.remove(waiter);
            lockers.remove(waiter);
        }
        waiter.state().end();
        if outcome == Outcome::Serve {
            wait::serve(cx, on);
        }
        let back = match outcome {
            Outcome::ShutDown => Err(LockError::ShutDown),
            outcome => mutex.take_back(cx, outcome, on, saved),
        };
        if back.is_err() {
            record.count_loss();
            if was_moved {
                self.pass_notification_on();
            }
            return Err(WaitError::Lost(Loss::ShutDown));
        }
        match outcome {
            Outcome::Interrupted => Err(WaitError::Interrupted),
            Outcome::TimedOut => Err(WaitError::TimedOut),
            // SERVE: a wake-up without a notification, which the caller's loop expects.
            _ => Ok(()),
        }
    }
}

/// Shows the name and who owns the mutex; never waits.
impl<M: Deref<Target = Mutex>> fmt::Debug for Condvar<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = f.debug_struct("Condvar");
        s.field("name", &self.name()).field("mutex", &*self.mutex).finish()
    }
}

#[cfg(all(test, not(selvedge_loom)))]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size_of::<Mutex>(), 32);
        assert_eq!(size_of::<Condvar<&'static Mutex>>(), 24);
    }
}
