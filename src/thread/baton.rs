//! The baton: at most one thread of the runtime runs. Who holds it, who is ready, whose deadline is next.
//!
//! | `held` | `ready`   | meaning                                       | leaves by                        |
//! |--------|-----------|-----------------------------------------------|----------------------------------|
//! | false  | empty     | every thread waits or is outside              | `ready`: the first one gets it   |
//! | true   | any       | one thread has its turn and runs              | `release`, `hand_on`             |
//!
//! A thread is queued by whoever makes it ready: the spawner, the claimer of its wait, the deadline that fires; only a
//! thread that comes from outside queues itself. So a program without deadlines runs the same way every time.
//!
//! I1. Each wait is one `release` by the waiter and one `ready` by its claimer; deadlines count as the claimer.
//! I2. A waiter in `ready` or `deadlines` is in a wait: its thread passes this lock, or takes its turn, before it is over.
//! E1. `grant_turn` -> `take_turn` (waiter E1): what the last holder did.
//!
//! Nobody sleeps here: the turn is awaited in `wait`.

use super::schedule::{Lots, Pick};
use crate::park::{Epoch, Outcome, Ready, Waiter};
use crate::shim::{self, Mutex};
use std::collections::VecDeque;
use std::time::Instant;

pub(crate) struct Baton(Mutex<State>);

struct State {
    held: bool,
    ready: VecDeque<&'static Waiter>,
    /// By deadline, then by arrival.
    deadlines: Vec<Deadline>,
    members: usize,
    pick: Picker,
}

#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) waiter: &'static Waiter,
    pub(crate) epoch: Epoch,
}

enum Picker {
    Fifo,
    Random(Lots),
}

impl Baton {
    pub(super) fn new(pick: Pick) -> Self {
        let pick = match pick {
            Pick::Fifo => Picker::Fifo,
            Pick::Seeded(seed) => Picker::Random(Lots::new(seed)),
        };
        let (ready, deadlines) = (VecDeque::new(), Vec::new());
        Self(Mutex::new(State { held: false, ready, deadlines, members: 0, pick }))
    }

    /// A thread more: makes room, so that no wait allocates.
    pub(super) fn join(&self) {
        let mut s = self.0.lock();
        s.members += 1;
        let room = s.members;
        let (queued, timed) = (s.ready.len(), s.deadlines.len());
        s.ready.reserve(room - queued.min(room));
        s.deadlines.reserve(room - timed.min(room));
    }

    /// A thread less.
    pub(super) fn part(&self) {
        self.0.lock().members -= 1;
    }

    /// The holder goes to sleep or outside; the next one runs. `deadline`: when its wait shall end.
    pub(crate) fn release(&self, deadline: Option<Deadline>) {
        let mut s = self.0.lock();
        debug_assert!(s.held, "who releases the baton holds it");
        if let Some(d) = deadline {
            let at = s.deadlines.partition_point(|other| other.at <= d.at);
            s.deadlines.insert(at, d);
        }
        s.held = false;
        let next = s.next();
        drop(s);
        grant(next);
    }

    /// The holder queues behind all that are ready.
    pub(crate) fn hand_on(&self, me: &'static Waiter) {
        let mut s = self.0.lock();
        s.fire();
        s.ready.push_back(me);
        s.held = false;
        let next = s.next();
        drop(s);
        grant(next);
    }

    /// Ends the waits whose deadline has passed, in the order of the deadlines.
    pub(crate) fn fire(&self) {
        let mut s = self.0.lock();
        let next = s.next();
        drop(s);
        grant(next);
    }

    /// The wait with this deadline is over.
    pub(crate) fn forget(&self, waiter: &'static Waiter, epoch: Epoch) {
        let mut s = self.0.lock();
        s.deadlines.retain(|d| !(std::ptr::eq(d.waiter, waiter) && d.epoch == epoch));
    }
}

impl Ready for Baton {
    fn ready(&self, waiter: &'static Waiter) {
        let mut s = self.0.lock();
        s.ready.push_back(waiter);
        let next = s.next();
        drop(s);
        grant(next);
    }
}

impl State {
    /// Who runs next, if the baton is free.
    fn next(&mut self) -> Option<&'static Waiter> {
        self.fire();
        if self.held {
            return None;
        }
        let next = match &mut self.pick {
            Picker::Fifo => self.ready.pop_front(),
            Picker::Random(_) if self.ready.is_empty() => None,
            Picker::Random(lots) => self.ready.remove(lots.draw(self.ready.len())),
        };
        self.held = next.is_some();
        next
    }

    fn fire(&mut self) {
        while let Some(&Deadline { at, waiter, epoch }) = self.deadlines.first() {
            if !shim::expired(at) {
                return;
            }
            self.deadlines.remove(0);
            if waiter.state().claim(epoch, Outcome::TimedOut).is_some() {
                self.ready.push_back(waiter);
            }
        }
    }
}

fn grant(next: Option<&'static Waiter>) {
    if let Some(waiter) = next {
        waiter.grant_turn();
        waiter.unpark();
    }
}
