//! The recursive mutex and the locks that a VM could take instead, under one trait.

use selvedge::{Blocker, Context, Mutex, MutexGuard, Participant, Runtime};
use std::cell::UnsafeCell;
use std::hint::black_box;
use std::marker::PhantomData;

/// A lock, and what a thread needs to take it.
pub(crate) trait Lock: Sync + 'static {
    type Me;
    type Guard<'a>;
    fn attach(&self) -> Self::Me;
    fn lock<'a>(&'a self, me: &mut Self::Me) -> Self::Guard<'a>;
}

/// By a bare participant, or by an interpreter around one.
pub(crate) struct Selvedge<C> {
    vm: Runtime,
    pub(crate) mutex: Mutex,
    contexts: PhantomData<fn() -> C>,
}

impl<C> Selvedge<C> {
    pub(crate) fn of(vm: &Runtime) -> Self {
        Self { vm: vm.clone(), mutex: Mutex::new(), contexts: PhantomData }
    }
}

impl<C: Context + From<Participant> + 'static> Lock for Selvedge<C> {
    type Me = C;
    type Guard<'a> = MutexGuard<'a>;
    fn attach(&self) -> C {
        self.vm.attach(()).unwrap().into()
    }
    #[inline(always)]
    fn lock<'a>(&'a self, me: &mut C) -> MutexGuard<'a> {
        self.mutex.lock(me).unwrap()
    }
}

/// An interpreter that counts its waits, as one that publishes its roots would do a few stores.
pub(crate) struct Hooked {
    participant: Participant,
    blocked: u64,
    back: u64,
}

impl From<Participant> for Hooked {
    fn from(participant: Participant) -> Self {
        Self { participant, blocked: 0, back: 0 }
    }
}

impl Context for Hooked {
    fn me(&self) -> &Participant {
        &self.participant
    }
    fn me_mut(&mut self) -> &mut Participant {
        &mut self.participant
    }
    fn before_block(&mut self, on: &Blocker) {
        black_box(on);
        self.blocked += 1;
    }
    fn after_block(&mut self) {
        self.back += 1;
    }
}

impl Lock for std::sync::Mutex<()> {
    type Me = ();
    type Guard<'a> = std::sync::MutexGuard<'a, ()>;
    fn attach(&self) {}
    #[inline(always)]
    fn lock<'a>(&'a self, _: &mut ()) -> Self::Guard<'a> {
        self.lock().unwrap()
    }
}

impl Lock for parking_lot::Mutex<()> {
    type Me = ();
    type Guard<'a> = parking_lot::MutexGuard<'a, ()>;
    fn attach(&self) {}
    #[inline(always)]
    fn lock<'a>(&'a self, _: &mut ()) -> Self::Guard<'a> {
        self.lock()
    }
}

impl Lock for parking_lot::ReentrantMutex<()> {
    type Me = ();
    type Guard<'a> = parking_lot::ReentrantMutexGuard<'a, ()>;
    fn attach(&self) {}
    #[inline(always)]
    fn lock<'a>(&'a self, _: &mut ()) -> Self::Guard<'a> {
        self.lock()
    }
}

/// What a VM in C takes.
pub(crate) struct PthreadRecursive(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a pthread mutex is made to be shared, and this one never moves once it is in use.
unsafe impl Sync for PthreadRecursive {}
// SAFETY: as above.
unsafe impl Send for PthreadRecursive {}

impl PthreadRecursive {
    pub(crate) fn new() -> Self {
        // The static initializer that C offers for it is not in `libc`; the attribute does the same.
        let mut mutex = libc::PTHREAD_MUTEX_INITIALIZER;
        // SAFETY: an attribute is plain data, written by `init` before it is read.
        let mut attribute = unsafe { std::mem::zeroed() };
        // SAFETY: the attribute is there and nobody else's.
        unsafe { libc::pthread_mutexattr_init(&mut attribute) };
        // SAFETY: as above.
        unsafe {
            libc::pthread_mutexattr_settype(&mut attribute, libc::PTHREAD_MUTEX_RECURSIVE);
        }
        // SAFETY: nobody uses the mutex yet. glibc allows to move it until somebody does.
        let error = unsafe { libc::pthread_mutex_init(&mut mutex, &attribute) };
        assert_eq!(error, 0, "a recursive mutex can be made");
        Self(UnsafeCell::new(mutex))
    }
}

pub(crate) struct PthreadGuard<'a>(&'a PthreadRecursive);

impl Drop for PthreadGuard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the mutex is initialized, and this thread holds it: the guard says so and stays on its thread.
        unsafe { libc::pthread_mutex_unlock(self.0.0.get()) };
    }
}

impl Lock for PthreadRecursive {
    type Me = ();
    type Guard<'a> = PthreadGuard<'a>;
    fn attach(&self) {}
    #[inline(always)]
    fn lock<'a>(&'a self, _: &mut ()) -> PthreadGuard<'a> {
        // SAFETY: the mutex is initialized.
        let error = unsafe { libc::pthread_mutex_lock(self.0.get()) };
        assert_eq!(error, 0);
        PthreadGuard(self)
    }
}
