//! The condition variable beside std's, parking_lot's and pthread's.

mod harness;

use harness::{Cell, Sample, Steps, cpu_time, race, stay_on_cpu};
use selvedge::{Condvar, Mutex, Participant, Runtime};
use std::cell::UnsafeCell;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

fn main() {
    harness::run(vec![
        ping_pong("condvar/ping_pong/2_threads", false),
        ping_pong("condvar/ping_pong/2_threads_1_cpu", true),
        broadcast("condvar/broadcast/8", 8, 1_000),
        broadcast("condvar/broadcast/64", 64, 100),
        nobody_waits(),
    ]);
}

// -- The entrants

/// What the monitor guards.
#[derive(Default)]
struct State {
    /// Whose turn it is, or how many broadcasts there were.
    turn: u64,
    /// How many threads have not seen the last broadcast.
    behind: u64,
}

/// Whom a critical section notifies, at which of the two condition variables.
#[derive(Clone, Copy)]
enum Notify {
    Nobody,
    One(usize),
    All(usize),
}

/// A mutex, two condition variables, and a state.
trait Monitor: Sync + 'static {
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

struct Selvedge {
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
        match then(unsafe { &mut *self.state.get() }) {
            Notify::Nobody => {}
            Notify::One(place) => drop(self.places[place].notify_one(me).unwrap()),
            Notify::All(place) => drop(self.places[place].notify_all(me).unwrap()),
        }
    }
    fn notify_nobody(&self, me: &mut Participant, n: u64) -> Duration {
        let _held = self.mutex.lock(me).unwrap();
        cpu_time(|| {
            for _ in 0..n {
                black_box(&self.places[0]).notify_one(me).unwrap();
            }
        })
    }
}

/// `AFTER`: notifies when it has given the mutex back, which std allows and Lisp does not.
struct Std<const AFTER: bool> {
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
        match notify {
            Notify::Nobody => {}
            Notify::One(place) => self.places[place].notify_one(),
            Notify::All(place) => self.places[place].notify_all(),
        }
        drop(held);
    }
    fn notify_nobody(&self, _: &mut (), n: u64) -> Duration {
        let _held = self.state.lock().unwrap();
        cpu_time(|| {
            for _ in 0..n {
                black_box(&self.places[0]).notify_one();
            }
        })
    }
}

struct ParkingLot {
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
        match then(&mut held) {
            Notify::Nobody => {}
            Notify::One(place) => drop(self.places[place].notify_one()),
            Notify::All(place) => drop(self.places[place].notify_all()),
        }
    }
    fn notify_nobody(&self, _: &mut (), n: u64) -> Duration {
        let _held = self.state.lock();
        cpu_time(|| {
            for _ in 0..n {
                black_box(&self.places[0]).notify_one();
            }
        })
    }
}

struct Pthread {
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
        match then(unsafe { &mut *self.state.get() }) {
            Notify::Nobody => {}
            Notify::One(place) => self.notify_one(place),
            Notify::All(place) => self.notify_all(place),
        }
        self.unlock();
    }
    fn notify_nobody(&self, _: &mut (), n: u64) -> Duration {
        self.lock();
        let time = cpu_time(|| {
            for _ in 0..n {
                black_box(self).notify_one(0);
            }
        });
        self.unlock();
        time
    }
}

// -- The cells

fn play<M: Monitor>(one_cpu: bool) -> impl FnMut(u64) -> Sample {
    move |n| {
        let monitor = M::new();
        let (time, steps) = race(2, |i, gate| {
            if one_cpu {
                stay_on_cpu(0);
            }
            let mut me = monitor.attach();
            let mut steps = Steps::new(n);
            let other = 1 - i;
            gate.pass();
            steps.begin();
            for _ in 0..n {
                let mine = |s: &State| s.turn == i as u64;
                monitor.when(&mut me, i, mine, |s| {
                    s.turn = other as u64;
                    Notify::One(other)
                });
                steps.end();
            }
            steps
        });
        Sample::from(time).also(Steps::p99(steps))
    }
}

/// Two threads that wake each other by turns; one iteration is there and back. Decides whether moving the waiter to the
/// mutex's queue pays: it shall be no slower than parking_lot, and twice as fast as std.
fn ping_pong(id: &'static str, one_cpu: bool) -> Cell {
    Cell::new(id, 2_000)
        .also("p99", "ns", "lower")
        .entrant("selvedge", play::<Selvedge>(one_cpu))
        .entrant("std", play::<Std<false>>(one_cpu))
        .entrant("std_notify_after_unlock", play::<Std<true>>(one_cpu))
        .entrant("parking_lot", play::<ParkingLot>(one_cpu))
        .entrant("pthread", play::<Pthread>(one_cpu))
}

/// Thread 0 wakes all others, and waits until the last of them has answered.
fn call<M: Monitor>(waiters: usize) -> impl FnMut(u64) -> Sample {
    const GO: usize = 0;
    const DONE: usize = 1;
    move |n| {
        let monitor = M::new();
        let (time, steps) = race(waiters + 1, |i, gate| {
            let mut me = monitor.attach();
            let mut steps = Steps::new(n);
            gate.pass();
            steps.begin();
            for turn in 1..=n {
                if i > 0 {
                    let called = |s: &State| s.turn >= turn;
                    monitor.when(&mut me, GO, called, |s| {
                        s.behind -= 1;
                        if s.behind == 0 { Notify::One(DONE) } else { Notify::Nobody }
                    });
                    continue;
                }
                let nobody_is_behind = |s: &State| s.behind == 0;
                monitor.when(&mut me, DONE, nobody_is_behind, |s| {
                    s.turn = turn;
                    s.behind = waiters as u64;
                    Notify::All(GO)
                });
                monitor.when(&mut me, DONE, nobody_is_behind, |_| Notify::Nobody);
                steps.end();
            }
            steps
        });
        Sample::from(time).also(Steps::p99(steps))
    }
}

/// One broadcast, until all have answered. Decides whether a stampede for the mutex is worth avoiding.
fn broadcast(id: &'static str, waiters: usize, n: u64) -> Cell {
    Cell::new(id, n)
        .also("p99", "ns", "lower")
        .entrant("selvedge", call::<Selvedge>(waiters))
        .entrant("std", call::<Std<false>>(waiters))
        .entrant("parking_lot", call::<ParkingLot>(waiters))
        .entrant("pthread", call::<Pthread>(waiters))
}

fn alone<M: Monitor>() -> impl FnMut(u64) -> Duration {
    let monitor = Box::new(M::new());
    let mut me = monitor.attach();
    move |n| monitor.notify_nobody(&mut me, n)
}

/// A notification that nobody waits for. Decides whether a Lisp program may notify without looking first.
fn nobody_waits() -> Cell {
    Cell::new("condvar/notify/nobody_waits", 2_000_000)
        .entrant("selvedge", alone::<Selvedge>())
        .entrant("std", alone::<Std<false>>())
        .entrant("parking_lot", alone::<ParkingLot>())
        .entrant("pthread", alone::<Pthread>())
}
