//! The condition variable: a queue of waiters that notifiers move to the queue of its mutex (wait morphing).
//!
//! | the waiter is in        | claim word | meaning                                | leaves by                                    |
//! |-------------------------|------------|----------------------------------------|----------------------------------------------|
//! | this queue              | WAITING    | not notified                           | a notifier; signal, deadline, SERVE, SHUT_DOWN |
//! | the mutex's queue       | MORPHED    | notified; waits for the mutex          | a release of the mutex; SERVE, SHUT_DOWN     |
//! | none, in a claimer's hand | either   | popped, about to be claimed            | the claim, or its loss                       |
//!
//! I1. Order of the locks: this queue's, then the mutex's.
//! I2. A notifier owns the mutex, so the mutex stays owned while waiters move; the mutex is ARMED before the first one is
//!     claimed.
//! I3. Whoever leaves otherwise than GRANTED or WOKEN takes both locks before its wait is over: nobody has its node then.
//! I4. A condition-wait returns with the mutex at the depth it had, whatever ended it, but for `Lost` (R3): the way back is
//!     uninterruptible.
//! E1. As the mutex's: the notifier's critical section reaches the waiter by the release that wakes it, or by the hand-over.
//!
//! The handle may lie: each operation follows it once, and a waiter that waits for another mutex than the notifier's is
//! woken, not moved.
//!
//! No thread is woken by a notification itself: it is moved, and woken when the mutex is free.

use crate::error::NotOwner;
use crate::failure::{LockError, Loss, WaitError};
use crate::id::ThreadId;
use crate::mutex::{Acquired, Mutex};
use crate::park::{Entry, Outcome, Queue, QueueGuard, Refusal, Ticket, Wake};
use crate::shim::{Arc, const_fn};
use crate::thread::record::Record;
use crate::thread::waits::Edge;
use crate::thread::{Blocker, BlockerKind, Context, Label, LabelRef, OwnerDeath, Participant};
use crate::wait::{self, Plan};
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
    /// [`WaitError::NotOwner`]: the caller does not own the mutex; nothing happened. [`WaitError::Lost`]: the mutex could
    /// not be taken back; the caller holds none of its levels, and guards of it do nothing when they drop. Every other
    /// error: the caller holds the mutex at the depth it had. A hook that panics while the mutex is given back loses it as
    /// well, and so does one after it was taken from a dead owner; the next locker is then told of that owner. A signal
    /// that comes after the notification stays pending.
    /// # Blocking
    /// Yes; a safe point. A signal ends the wait for the notification, not the wait for the mutex that follows.
    /// # Ordering
    /// Everything a notifier did before it freed the mutex happens-before the return.
    ///
    /// If the mutex had to be taken from a dead owner ([`OwnerDeath::Abandon`](crate::OwnerDeath::Abandon)), the result is
    /// `Ok` and says so, whatever ended the wait: the signal is then pending still, the deadline past the next time as well.
    pub fn wait<C: Context>(&self, cx: &mut C) -> Result<Acquired, WaitError> {
        self.wait_dyn(cx, None)
    }

    /// As [`wait`](Self::wait), until `deadline` at the latest; taking the mutex again may take longer.
    ///
    /// # Errors
    /// [`WaitError::TimedOut`] as well, with the mutex held.
    pub fn wait_until<C: Context>(
        &self,
        cx: &mut C,
        deadline: Instant,
    ) -> Result<Acquired, WaitError> {
        self.wait_dyn(cx, Some(deadline))
    }

    /// Notifies the thread that waits longest, if any: it goes on when it gets the mutex. Says whether there was one.
    ///
    /// # Errors
    /// [`NotOwner`]: the caller does not own the mutex; nobody was notified.
    /// # Blocking
    /// No. The caller keeps the mutex.
    /// # Cost
    /// Nobody waits: two relaxed loads. Else two short internal locks; the thread that waits sleeps on.
    pub fn notify_one(&self, me: &Participant) -> Result<bool, NotOwner> {
        let mutex = &*self.mutex;
        mutex.check_owner(me)?;
        Ok(self.notify(mutex, 1) == 1)
    }

    /// Notifies every thread that waits; says how many.
    ///
    /// # Errors
    /// [`NotOwner`]: the caller does not own the mutex; nobody was notified.
    /// # Blocking
    /// No. The caller keeps the mutex.
    /// # Cost
    /// As [`notify_one`](Self::notify_one), and one compare-exchange for each thread.
    pub fn notify_all(&self, me: &Participant) -> Result<usize, NotOwner> {
        let mutex = &*self.mutex;
        mutex.check_owner(me)?;
        Ok(self.notify(mutex, usize::MAX))
    }

    /// Moves up to `max` waiters to the mutex's queue. The caller owns the mutex (I2).
    fn notify(&self, mutex: &Mutex, max: usize) -> usize {
        // Who waits queued while it owned the mutex that the caller owns now: a queue that looks empty is empty.
        if self.queue.looks_empty() {
            return 0;
        }
        let mut n = 0;
        let mut queue = self.queue.lock();
        let mut lockers = mutex.expect_waiters();
        while n < max {
            let Some(ticket) = queue.pop() else { break };
            match self.move_over(mutex, &mut lockers, ticket) {
                Moved::Yes => n += 1,
                Moved::Over => {}
                Moved::Woken(wake) => {
                    n += 1;
                    drop((lockers, queue));
                    wake.now();
                    (queue, lockers) = (self.queue.lock(), mutex.expect_waiters());
                }
            }
        }
        n
    }

    fn move_over(&self, mutex: &Mutex, lockers: &mut QueueGuard<'_>, ticket: Ticket) -> Moved {
        let entry = ticket.entry();
        if entry.object != address(mutex) {
            // As after a request: it takes its own mutex, and looks at its condition.
            return ticket.claim(Outcome::Serve).map_or(Moved::Over, Moved::Woken);
        }
        if !ticket.waiter().state().morph(entry.epoch) {
            return Moved::Over;
        }
        lockers.push_back(ticket.waiter(), entry);
        Moved::Yes
    }

    /// A notified waiter leaves without the mutex: the notification goes to the next one. The caller owns nothing.
    fn pass_notification_on(&self, mutex: &Mutex, mine: &'static Record, me: ThreadId) {
        let mut queue = self.queue.lock();
        let mut lockers = mutex.call();
        while let Some(ticket) = queue.pop() {
            match self.move_over(mutex, &mut lockers, ticket) {
                Moved::Over => {}
                Moved::Yes => {
                    drop(queue);
                    mutex.wake(lockers);
                    // The owner does not look for the waiter, as a notifier would that blocks later (deadlock I2).
                    return wait::look_for_another(mine, me, ticket.entry().id);
                }
                Moved::Woken(wake) => {
                    drop((lockers, queue));
                    return wake.now();
                }
            }
        }
    }

    fn wait_dyn(
        &self,
        cx: &mut dyn Context,
        deadline: Option<Instant>,
    ) -> Result<Acquired, WaitError> {
        let mutex = &*self.mutex;
        mutex.check_owner(cx.me()).map_err(WaitError::NotOwner)?;
        let on = Blocker::new(BlockerKind::Condvar, self.label.clone());
        wait::enter(cx, &on).map_err(|_| WaitError::WouldBlock)?;
        let result = self.wait_inside(cx, mutex, &on, deadline);
        // Who inherited has left already.
        if !matches!(result, Ok(Acquired { abandoned_by: Some(_) })) {
            wait::leave(cx);
        }
        result
    }

    fn wait_inside(
        &self,
        cx: &mut dyn Context,
        mutex: &Mutex,
        on: &Blocker,
        deadline: Option<Instant>,
    ) -> Result<Acquired, WaitError> {
        let me = cx.me();
        // Again: a hook may have given the mutex back.
        mutex.check_owner(me).map_err(WaitError::NotOwner)?;
        let (record, id) = (me.record(), me.id());
        let waiter = record.waiter();
        let epoch = wait::begin(me).map_err(|refusal| match refusal {
            Refusal::Interrupted => WaitError::Interrupted,
            Refusal::ShutDown => WaitError::ShutDown,
        })?;
        // Asked now: between the sleep and the way back nothing of the VM may fail.
        let stays_locked = me.runtime().owner_death() == OwnerDeath::LeaveLocked;
        let (object, starves) = (address(mutex), me.runtime().schedule().fair);
        self.queue.lock().push_back(waiter, Entry { id, epoch, starves, object });
        let saved = mutex.release_all(record);
        let edge = Edge::OwnerOnceMoved(mutex.owned());
        let slept = wait::sleep(me, Plan { on, edge, epoch, deadline, looks: false });
        let outcome = slept.outcome;
        let was_moved = waiter.state().was_moved();
        // However this ends without the mutex, by shutdown or by a hook's panic: its guards are void (R3).
        let mut lost = OnDrop::new(|| {
            record.count_loss(id, object);
            if was_moved {
                self.pass_notification_on(mutex, record, id);
            }
        });
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
        let acquired = match outcome {
            Outcome::ShutDown => return Err(WaitError::Lost(Loss::ShutDown)),
            Outcome::Deadlock => return Err(WaitError::Lost(Loss::Deadlock(slept.into_cycle()))),
            Outcome::OwnerDied if stays_locked => {
                return Err(WaitError::Lost(Loss::OwnerDied(slept.into_dead())));
            }
            _ => mutex.take_back(cx, outcome, on, saved).map_err(loss)?,
        };
        if let Some(dead) = acquired.abandoned_by {
            // Here: a hook that panics loses the mutex, and the notification goes to the next one.
            mutex.leave(cx, dead);
        }
        lost.defuse();
        match outcome {
            _ if acquired.abandoned_by.is_some() => Ok(acquired),
            Outcome::Interrupted => Err(WaitError::Interrupted),
            Outcome::TimedOut => Err(WaitError::TimedOut),
            // SERVE: a wake-up without a notification, which the caller's loop expects.
            _ => Ok(acquired),
        }
    }
}

/// What became of a waiter that was popped.
enum Moved {
    Yes,
    /// Its wait was over.
    Over,
    /// It waits for another mutex.
    Woken(Wake),
}

/// Why a way back ended. It is uninterruptible and has no deadline.
fn loss(e: LockError) -> WaitError {
    WaitError::Lost(match e {
        LockError::Deadlock(cycle) => Loss::Deadlock(cycle),
        LockError::OwnerDied(dead) => Loss::OwnerDied(dead),
        _ => Loss::ShutDown,
    })
}

fn address(mutex: &Mutex) -> usize {
    std::ptr::from_ref(mutex).addr()
}

/// Does something when it drops, be it by return or by a panic, unless it was defused.
struct OnDrop<F: FnMut()> {
    f: F,
    armed: bool,
}

impl<F: FnMut()> OnDrop<F> {
    fn new(f: F) -> Self {
        Self { f, armed: true }
    }
    fn defuse(&mut self) {
        self.armed = false;
    }
}

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if self.armed {
            (self.f)();
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
