//! The current thread's token, and the trait by which a VM passes it along.

use super::exit::Finish;
use super::pace::Pace;
use super::record::Record;
use super::schedule::Lots;
use super::{Blocker, Runtime, Signal, Thread};
use crate::id::ThreadId;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

/// What a VM passes to every operation: its interpreter, or a bare [`Participant`].
///
/// `&mut` of a context means "this can block, and a collection may happen here"; `&Participant` means "this cannot". So no
/// value borrowed from the context crosses a wait. The hooks run around real waits only, on the waiting thread, with no
/// internal lock held. A wait inside a hook is refused with `WouldBlock`.
///
/// # Examples
/// ```
/// use selvedge::{Blocker, Context, Participant};
/// struct Interpreter {
///     participant: Participant,
///     roots_published: u32,
/// }
/// impl Context for Interpreter {
///     fn me(&self) -> &Participant {
///         &self.participant
///     }
///     fn me_mut(&mut self) -> &mut Participant {
///         &mut self.participant
///     }
///     fn before_block(&mut self, _on: &Blocker) {
///         self.roots_published += 1;
///     }
/// }
/// ```
pub trait Context {
    /// The current thread.
    fn me(&self) -> &Participant;
    /// The current thread.
    fn me_mut(&mut self) -> &mut Participant;
    /// The thread is about to wait: publish roots, drop a VM-wide lock. Not called by [`outside`](crate::outside).
    fn before_block(&mut self, on: &Blocker) {
        let _ = on;
    }
    /// The wait is over: undo what [`before_block`](Self::before_block) did.
    fn after_block(&mut self) {}
    /// A request came: at a safe point, or between two halves of a wait (after
    /// [`after_block`](Self::after_block); [`before_block`](Self::before_block) follows). Waiting is allowed here.
    fn serve(&mut self) {}
}

/// The token of the current thread: `!Send`, one per attached thread. Dropping it detaches: of mutexes that the thread still
/// owns [`OwnerDeath`](crate::OwnerDeath) says what becomes, and [`Mutex::owner`](crate::Mutex::owner) that the owner is
/// dead. Requests that are left run in the drop, and one that another thread runs for this one is awaited.
///
/// ```compile_fail
/// let vm = selvedge::Runtime::new();
/// let me = vm.attach("main").unwrap();
/// std::thread::spawn(move || me.id()); // not `Send`
/// ```
/// ```
/// let vm = selvedge::Runtime::new();
/// let me = vm.attach("main").unwrap();
/// let handle = me.thread().clone();
/// std::thread::spawn(move || handle.id()).join().unwrap();
/// ```
pub struct Participant {
    record: &'static Record,
    id: ThreadId,
    mask: Cell<Mask>,
    pace: Pace,
    lots: Cell<Lots>,
    /// None only while the token drops.
    thread: Option<Thread>,
    runtime: Runtime,
    finish: Option<Finish>,
    #[cfg(selvedge_loom)]
    stays: bool,
    not_send: PhantomData<*const ()>,
}

/// What the thread refuses at the moment.
#[derive(Clone, Copy, Default)]
pub(crate) struct Mask {
    /// Waits fail with `WouldBlock`.
    pub(crate) no_blocking: bool,
    /// Signals do not end waits.
    pub(crate) uninterruptible: bool,
}

impl Participant {
    pub(super) fn new(thread: Thread, runtime: Runtime) -> Self {
        let seed = thread.id().get();
        Self {
            record: thread.record(),
            id: thread.id(),
            mask: Cell::default(),
            pace: Pace::default(),
            lots: Cell::new(Lots::new(seed)),
            thread: Some(thread),
            runtime,
            finish: None,
            #[cfg(selvedge_loom)]
            stays: false,
            not_send: PhantomData,
        }
    }

    /// The handle of this thread.
    pub fn thread(&self) -> &Thread {
        self.thread.as_ref().expect("the token has not dropped")
    }
    /// This thread's identity.
    #[inline]
    pub fn id(&self) -> ThreadId {
        self.id
    }
    /// The runtime.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Takes the oldest signal.
    ///
    /// # Ordering
    /// Everything its sender did before it sent happens-before the return.
    pub fn take_signal(&self) -> Option<Signal> {
        // No look at the gate first: it may lag behind the claim that interrupted a wait.
        self.thread().take_signal()
    }
    /// Is a signal pending? One relaxed load, which may lag behind the sender; [`take_signal`](Self::take_signal) does not.
    #[inline]
    pub fn has_signal(&self) -> bool {
        self.record.gate().look().signal()
    }

    #[inline(always)]
    pub(crate) fn record(&self) -> &'static Record {
        self.record
    }
    pub(super) fn pace(&self) -> &Pace {
        &self.pace
    }
    pub(crate) fn mask(&self) -> Mask {
        self.mask.get()
    }
    /// A number below `n`, at random: the same for the same thread in the same run of a program. Under the model checker 0.
    pub(crate) fn draw(&self, n: usize) -> usize {
        if cfg!(selvedge_loom) {
            return 0;
        }
        let mut lots = self.lots.get();
        let drawn = lots.draw(n);
        self.lots.set(lots);
        drawn
    }
    /// Replaces the mask; returns the old one.
    pub(crate) fn set_mask(&self, mask: Mask) -> Mask {
        self.mask.replace(mask)
    }
    /// Dropping the token does not end the thread: a model leaves that out.
    #[cfg(selvedge_loom)]
    pub(crate) fn stay_registered(&mut self) {
        self.stays = true;
    }
    /// How the thread will have ended when the token drops.
    pub(crate) fn set_finish(&mut self, finish: Finish) {
        self.finish = Some(finish);
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        #[cfg(selvedge_loom)]
        if self.stays {
            return;
        }
        let finish = self.finish.take().unwrap_or(Finish::Detached);
        if let Some(thread) = self.thread.take() {
            self.runtime.end(thread, finish);
        }
    }
}

impl Context for Participant {
    #[inline(always)]
    fn me(&self) -> &Participant {
        self
    }
    #[inline(always)]
    fn me_mut(&mut self) -> &mut Participant {
        self
    }
}

impl<C: Context + ?Sized> Context for &mut C {
    #[inline(always)]
    fn me(&self) -> &Participant {
        (**self).me()
    }
    #[inline(always)]
    fn me_mut(&mut self) -> &mut Participant {
        (**self).me_mut()
    }
    fn before_block(&mut self, on: &Blocker) {
        (**self).before_block(on);
    }
    fn after_block(&mut self) {
        (**self).after_block();
    }
    fn serve(&mut self) {
        (**self).serve();
    }
}

impl fmt::Debug for Participant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Participant").field(&self.thread).finish()
    }
}
