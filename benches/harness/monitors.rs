//! The condition variable, std's, parking_lot's and pthread's, each with its mutex, under one trait.

use super::cpu_time;
use selvedge::{Condvar, Mutex, Participant, Runtime};
use std::cell::UnsafeCell;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

/// What the monitor guards.
#[derive(Default)]
pub(crate) struct State {
    /// Whose turn it is, or how many broadcasts there were.
    pub(crate) turn: u64,
    /// How many threads have not seen the last broadcast.
    pub(crate) behind: u64,
}

/// Whom a critical section notifies, at which of the two condition variables.
#[derive(Clone, Copy)]
pub(crate) enum Notify {
    Nobody,
    One(usize),
    All(usize),
}

impl Notify {
    fn send<A, B>(self, one: impl FnOnce(usize) -> A, all: impl FnOnce(usize) -> B) {
        match self {
            Self::Nobody => {}
            Self::One(place) => drop(one(place)),
            Self::All(place) => drop(all(place)),
        }
    }
}

/// How long `n` notifications take.
fn time_of<T>(n: u64, notify: impl Fn() -> T) -> Duration {
    cpu_time(|| {
        for _ in 0..n {
            drop(notify());
        }
    })
}

/// A mutex, two condition variables, and a state.
pub(crate) trait Monitor: Sync + 'static {
    type Me;
    fn new() -> Self;
    fn attach(&self) -> Self::Me;
    /// Waits at `place` until the state is `ready`; then changes it, and notifies.
    fn when(
        &self,
        me: &mut Self::Me,
        place: usize,
        ready: impl Fn(&State) -> bool,
        then: impl FnOnce(&mut State) -> Notify,
    );
    /// Notifies `n` times at a place where nobody waits, with the mutex held.
    fn notify_nobody(&self, me: &mut Self::Me, n: u64) -> Duration;
}

pub(crate) struct Selvedge {
    vm: Runtime,
    mutex: Arc<Mutex>,
    places: [Condvar<Arc<Mutex>>; 2],
    state: UnsafeCell<State>,
}

// SAFETY: `state` is reached by who holds the mutex.
unsafe impl Sync for Selvedge {}

impl Monitor for Selvedge {
    type Me = Participant;
    fn new() -> Self {
        let mutex = Arc::new(Mutex::new());
        let places = [(); 2].map(|()| Condvar::new(mutex.clone()));
        Self { vm: Runtime::new(), mutex, places, state: UnsafeCell::default() }
    }
    fn attach(&self) -> Participant {
        self.vm.attach(()).unwrap()
    }
    fn when(
        &self,
        me: &mut Participant,
        place: usize,
        ready: impl Fn(&State) -> bool,
        then: impl FnOnce(&mut State) -> Notify,
    ) {
        let _held = self.mutex.lock(me).unwrap();
        // SAFETY: the mutex is held, and the borrow ends before the wait.
        while !ready(unsafe { &*self.state.get() }) {
            self.places[place].wait(me).unwrap();
        }
        // SAFETY: the mutex is held.
        let notify = then(unsafe { &mut *self.state.get() });
        notify.send(
            |place| self.places[place].notify_one(me).unwrap(),
            |place| self.places[place].notify_all(me).unwrap(),
        );
    }
    fn notify_nobody(&self, me: &mut Participant, n: u64) -> Duration {
        let _held = self.mutex.lock(me).unwrap();
        time_of(n, || black_box(&self.places[0]).notify_one(me).unwrap())
    }
}

/// `AFTER`: notifies when it has given the mutex back, which std allows and Lisp does not.
pub(crate) struct Std<const AFTER: bool> {
    state: std::sync::Mutex<State>,
    places: [std::sync::Condvar; 2],
}

impl<const AFTER: bool> Monitor for Std<AFTER> {
    type Me = ();
    fn new() -> Self {
        Self { state: std::sync::Mutex::default(), places: Default::default() }
    }
    fn attach(&self) {}
    fn when(
        &self,
        _: &mut (),
        place: usize,
        ready: impl Fn(&State) -> bool,
        then: impl FnOnce(&mut State) -> Notify,
    ) {
        let held = self.state.lock().unwrap();
        let mut held = self.places[place].wait_while(held, |s| !ready(s)).unwrap();
        let notify = then(&mut held);
        let held = (!AFTER).then_some(held);
        notify
            .send(|place| self.places[place].notify_one(), |place| self.places[place].notify_all());
        drop(held);
    }
    fn notify_nobody(&self, _: &mut (), n: u64) -> Duration {
        let _held = self.state.lock().unwrap();
        time_of(n, || black_box(&self.places[0]).notify_one())
    }
}

pub(crate) struct ParkingLot {
    state: parking_lot::Mutex<State>,
    places: [parking_lot::Condvar; 2],
}

impl Monitor for ParkingLot {
    type Me = ();
    fn new() -> Self {
        Self { state: parking_lot::Mutex::default(), places: Default::default() }
    }
    fn attach(&self) {}
    fn when(
        &self,
        _: &mut (),
        place: usize,
        ready: impl Fn(&State) -> bool,
        then: impl FnOnce(&mut State) -> Notify,
    ) {
        let mut held = self.state.lock();
        self.places[place].wait_while(&mut held, |s| !ready(s));
        then(&mut held)
            .send(|place| self.places[place].notify_one(), |place| self.places[place].notify_all());
    }
    fn notify_nobody(&self, _: &mut (), n: u64) -> Duration {
        let _held = self.state.lock();
        time_of(n, || black_box(&self.places[0]).notify_one())
    }
}

pub(crate) struct Pthread {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    places: [UnsafeCell<libc::pthread_cond_t>; 2],
    state: UnsafeCell<State>,
}

// SAFETY: `state` is reached by who holds the mutex; the rest is made to be shared, and never moves once it is in use.
unsafe impl Sync for Pthread {}

impl Pthread {
    fn lock(&self) {
        // SAFETY: the mutex is initialized.
        unsafe { libc::pthread_mutex_lock(self.mutex.get()) };
    }
    fn unlock(&self) {
        // SAFETY: the mutex is initialized, and every caller holds it.
        unsafe { libc::pthread_mutex_unlock(self.mutex.get()) };
    }
    fn notify_one(&self, place: usize) {
        // SAFETY: the condition variable is initialized.
        unsafe { libc::pthread_cond_signal(self.places[place].get()) };
    }
    fn notify_all(&self, place: usize) {
        // SAFETY: the condition variable is initialized.
        unsafe { libc::pthread_cond_broadcast(self.places[place].get()) };
    }
}

impl Monitor for Pthread {
    type Me = ();
    fn new() -> Self {
        Self {
            mutex: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
            places: [(); 2].map(|()| UnsafeCell::new(libc::PTHREAD_COND_INITIALIZER)),
            state: UnsafeCell::default(),
        }
    }
    fn attach(&self) {}
    fn when(
        &self,
        _: &mut (),
        place: usize,
        ready: impl Fn(&State) -> bool,
        then: impl FnOnce(&mut State) -> Notify,
    ) {
        self.lock();
        // SAFETY: the mutex is held, and the borrow ends before the wait.
        while !ready(unsafe { &*self.state.get() }) {
            // SAFETY: both are initialized, and the mutex is held.
            unsafe { libc::pthread_cond_wait(self.places[place].get(), self.mutex.get()) };
        }
        // SAFETY: the mutex is held.
        let notify = then(unsafe { &mut *self.state.get() });
        notify.send(|place| self.notify_one(place), |place| self.notify_all(place));
        self.unlock();
    }
    fn notify_nobody(&self, _: &mut (), n: u64) -> Duration {
        self.lock();
        let time = time_of(n, || black_box(self).notify_one(0));
        self.unlock();
        time
    }
}
