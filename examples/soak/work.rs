//! What a worker does: one random operation after the other, each measured, each with results that must hold.
//!
//! A quiet worker is no target of signals and requests, and waits without deadlines: a wake-up that is lost stays lost, and
//! the watchdog finds it. The loud ones do everything.

use crate::meter::{Event, Kind, LIMIT, Slot, now};
use crate::watch;
use crate::world::{Condition, Note, ROOM, Results, World};
use selvedge::{
    Blocker, Context, Delivery, JoinError, JoinFailure, JoinHandle, LockError, Mutex, MutexGuard,
    Participant, Polled, SignalError, Thread, WaitError, no_blocking, outside, safe_point,
    sleep_until, uninterruptible, yield_now,
};
use std::any::Any;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

/// Marsaglia's xorshift.
pub(crate) struct Random(u64);

impl Random {
    /// Never the same for two seeds, as good as never.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            random.below(2);
        }
        random
    }
    /// Any number below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
    fn soon(&mut self, micros: u64) -> Instant {
        Instant::now() + Duration::from_micros(self.below(micros))
    }
}

/// What a worker does all day.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Puts; quiet.
    Producer,
    /// Gets; quiet.
    Consumer,
    /// Locks; quiet.
    Locker,
    /// Everything.
    Loud,
}

impl Role {
    /// Of the `who`-th worker.
    pub(crate) fn of(who: usize) -> Self {
        match who % 8 {
            0 => Self::Producer,
            1 => Self::Consumer,
            4 => Self::Locker,
            _ => Self::Loud,
        }
    }
}

/// An interpreter, as a VM would have it.
pub(crate) struct Worker<'a> {
    me: &'a mut Participant,
    world: &'static World,
    slot: &'static Slot,
    who: usize,
    random: Random,
    blocked: bool,
    sent: u64,
    /// Per sender: the number of the last signal.
    seen: Vec<u64>,
    /// What it did so far.
    pub(crate) results: Results,
}

impl Context for Worker<'_> {
    fn me(&self) -> &Participant {
        self.me
    }
    fn me_mut(&mut self) -> &mut Participant {
        self.me
    }
    fn before_block(&mut self, _on: &Blocker) {
        assert!(!self.blocked, "a wait inside a wait");
        self.blocked = true;
    }
    fn after_block(&mut self) {
        assert!(self.blocked, "the end of no wait");
        self.blocked = false;
        self.slot.count(Event::Blocks, 1);
    }
    fn serve(&mut self) {
        assert!(!self.blocked, "a request inside a wait");
        self.slot.count(Event::Served, 1);
    }
}

impl<'a> Worker<'a> {
    /// The `who`-th worker of the crew. `sent`: signals that it sent in earlier lives.
    pub(crate) fn new(
        me: &'a mut Participant,
        world: &'static World,
        who: usize,
        seed: u64,
        sent: u64,
    ) -> Self {
        let (slot, seen) = (&world.slots[who], vec![0; world.slots.len()]);
        let (random, results) = (Random::new(seed), Results::default());
        Self { me, world, slot, who, random, blocked: false, sent, seen, results }
    }

    /// How many signals it has sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Works until the end of the run.
    pub(crate) fn work(mut self, role: Role) -> Results {
        while !self.world.stop.load(Relaxed) {
            self.pause();
            match role {
                Role::Producer => self.put(None),
                Role::Consumer => self.get(None),
                Role::Locker if self.random.below(64) == 0 => drop_report(yield_now(&mut self)),
                Role::Locker => self.lock(),
                Role::Loud => self.step(),
            }
        }
        self.take_signals();
        self.results
    }

    fn measured(&mut self, kind: Kind, f: impl FnOnce(&mut Self)) {
        self.slot.begin(kind);
        f(self);
        self.slot.end();
        assert!(!self.blocked);
    }

    /// At the gate, while the crew rests.
    fn pause(&mut self) {
        let w = self.world;
        let rests = || w.paused.load(Relaxed) && !w.stop.load(Relaxed);
        if rests() {
            self.measured(Kind::Pause, |s| {
                uninterruptible(s, |s| {
                    let _held = w.gate.mutex.lock(s).expect("no signal ends this");
                    while rests() {
                        w.opened.wait(s).expect("no signal ends this");
                    }
                });
            });
        }
    }

    /// Any operation of a loud worker.
    pub(crate) fn step(&mut self) {
        match self.random.below(32) {
            0..5 => self.lock(),
            5 => self.try_lock(),
            6 | 7 => self.relock(),
            8 => self.owned(),
            9 | 10 => self.timed(),
            11..14 => self.transfer(),
            14 => {
                let end = self.random.soon(500);
                self.put(Some(end));
            }
            15 => {
                let end = self.random.soon(500);
                self.get(Some(end));
            }
            16 | 17 => self.wait_for_event(),
            18 | 19 => self.announce(),
            20 | 21 => self.signal(),
            22..25 => self.ask(),
            25 => self.safe_points(),
            26 => self.measured(Kind::Yield, |s| drop_report(yield_now(s))),
            27 | 28 => self.outside(),
            29 => self.sleep(),
            30 => match self.random.below(4) {
                0 => self.ring(),
                _ => self.spawn(),
            },
            _ => self.refused(),
        }
        self.take_signals();
    }

    /// Locks an account, and measures how long that took.
    fn hold(&mut self, m: &'static Mutex) -> Option<MutexGuard<'static>> {
        let since = now();
        let result = m.lock(self);
        self.held(since, result)
    }

    fn held<G>(&mut self, since: u64, result: Result<G, LockError>) -> Option<G> {
        match result {
            Ok(guard) => {
                self.slot.waited(since);
                let waited = now() - since;
                let limit = LIMIT.as_nanos() as u64 + watch::stood_still();
                assert!(waited < limit, "{} waited {waited} ns for a lock", self.slot.name);
                Some(guard)
            }
            Err(LockError::Interrupted) => {
                self.slot.count(Event::Interrupted, 1);
                self.take_signals();
                None
            }
            Err(LockError::TimedOut) => {
                self.slot.count(Event::TimedOut, 1);
                None
            }
            Err(e) => panic!("{e}"),
        }
    }

    fn any(&mut self) -> usize {
        self.random.below(self.world.accounts.len() as u64) as usize
    }

    /// Inside account `i`.
    fn visit(&mut self, i: usize) {
        let account = &self.world.accounts[i];
        account.with(self.me, |a| a.enter(self.me));
        self.results.entries += 1;
    }

    fn lock(&mut self) {
        self.measured(Kind::Lock, |s| {
            let i = s.any();
            if let Some(_held) = s.hold(&s.world.accounts[i].mutex) {
                s.visit(i);
            }
        });
    }

    fn try_lock(&mut self) {
        self.measured(Kind::TryLock, |s| {
            let i = s.any();
            if let Ok(_held) = s.world.accounts[i].mutex.try_lock(s.me) {
                s.visit(i);
            }
        });
    }

    /// Several levels, over a yield or a nap.
    fn relock(&mut self) {
        self.measured(Kind::Relock, |s| {
            let (i, levels) = (s.any(), 1 + s.random.below(5) as u32);
            let m = &s.world.accounts[i].mutex;
            let Some(outer) = s.hold(m) else { return };
            for _ in 1..levels {
                m.acquire(s).expect("one level more needs no wait");
            }
            s.visit(i);
            match s.random.below(8) {
                0 => drop_report(yield_now(s)),
                1 => {
                    let _ = sleep_until(s, Instant::now());
                }
                _ => drop_report(safe_point(s)),
            }
            assert_eq!(m.depth(s.me), levels);
            for _ in 1..levels {
                m.release(s.me).expect("the level is ours");
            }
            assert_eq!(m.depth(s.me), 1);
            drop(outer);
            let stranger = m.owner().is_none_or(|o| o.id() != s.me.id());
            assert!(stranger && m.release(s.me).is_err());
        });
    }

    fn owned(&mut self) {
        self.measured(Kind::Owned, |s| {
            let i = s.any();
            let since = now();
            let result = Mutex::lock_owned(s.world.accounts[i].mutex.clone(), s);
            if let Some(_held) = s.held(since, result) {
                s.visit(i);
            }
        });
    }

    fn timed(&mut self) {
        self.measured(Kind::Timed, |s| {
            let (i, end) = (s.any(), s.random.soon(300));
            let since = now();
            let result = s.world.accounts[i].mutex.lock_until(s, end);
            if let Some(_held) = s.held(since, result) {
                s.visit(i);
            }
        });
    }

    /// Moves a token. Locks are taken in order, so that nobody waits in a ring.
    fn transfer(&mut self) {
        self.measured(Kind::Transfer, |s| {
            let (from, to) = (s.any(), s.any());
            if from == to {
                return;
            }
            let accounts = &s.world.accounts;
            let Some(_first) = s.hold(&accounts[from.min(to)].mutex) else { return };
            let Some(_second) = s.hold(&accounts[from.max(to)].mutex) else { return };
            s.visit(from);
            s.visit(to);
            let taken = accounts[from].with(s.me, |a| {
                let some = a.tokens.min(1);
                a.tokens -= some;
                some
            });
            accounts[to].with(s.me, |a| a.tokens += taken);
        });
    }

    /// One wait. False: go on without what was waited for.
    fn wait(&mut self, on: &Condition, end: Option<Instant>) -> bool {
        let depth = on.mutex().depth(self.me);
        let result = match end {
            Some(end) => on.wait_until(self, end),
            None => on.wait(self),
        };
        assert_eq!(on.mutex().depth(self.me), depth, "{result:?}");
        let (event, go_on) = match result {
            Ok(_) => (Event::Woke, true),
            Err(WaitError::TimedOut) => (Event::TimedOut, false),
            Err(WaitError::Interrupted) => (Event::Interrupted, false),
            Err(e) => panic!("{e}"),
        };
        self.slot.count(event, 1);
        go_on && !self.world.stop.load(Relaxed)
    }

    fn put(&mut self, end: Option<Instant>) {
        self.measured(Kind::Put, |s| {
            let w = s.world;
            let Some(_held) = s.hold(&w.buffer.mutex) else { return };
            while w.buffer.with(s.me, |b| b.items.len() == ROOM) {
                if !s.wait(&w.emptied, end) {
                    break;
                }
            }
            if w.buffer.with(s.me, |b| b.items.len() == ROOM) {
                return;
            }
            s.results.put += 1;
            w.buffer.with(s.me, |b| {
                b.put += 1;
                b.items.push_back((s.who, s.results.put));
            });
            s.notify(&w.filled);
        });
    }

    fn get(&mut self, end: Option<Instant>) {
        self.measured(Kind::Get, |s| {
            let w = s.world;
            let Some(_held) = s.hold(&w.buffer.mutex) else { return };
            while w.buffer.with(s.me, |b| b.items.is_empty()) {
                if !s.wait(&w.filled, end) {
                    break;
                }
            }
            let item = w.buffer.with(s.me, |b| {
                b.got += u64::from(!b.items.is_empty());
                b.items.pop_front()
            });
            let Some((who, number)) = item else { return };
            assert!(who < w.slots.len() && number > 0);
            s.results.got += 1;
            s.notify(&w.emptied);
        });
    }

    fn notify(&mut self, on: &Condition) {
        let notified = on.notify_one(self.me).expect("the mutex is ours");
        self.slot.count(Event::Notified, notified.into());
    }

    fn wait_for_event(&mut self) {
        self.measured(Kind::Await, |s| {
            let (w, end) = (s.world, s.random.soon(3000));
            let Some(_held) = s.hold(&w.event.mutex) else { return };
            let _again = w.event.mutex.lock(s).expect("one level more needs no wait");
            let now = w.event.with(s.me, |n| *n);
            while w.event.with(s.me, |n| *n == now) {
                if !s.wait(&w.came, Some(end)) {
                    break;
                }
            }
        });
    }

    fn announce(&mut self) {
        self.measured(Kind::Announce, |s| {
            let w = s.world;
            let Some(_held) = s.hold(&w.event.mutex) else { return };
            w.event.with(s.me, |n| *n += 1);
            s.results.announced += 1;
            let n = w.came.notify_all(s.me).expect("the mutex is ours");
            s.slot.count(Event::NotifiedAll, n as u64);
        });
    }

    /// A loud thread of any crew but this one.
    fn target(&mut self, of: &World) -> Option<Thread> {
        let targets = of.targets.get()?;
        let t = &targets[self.random.below(targets.len() as u64) as usize];
        (t != self.me.thread()).then(|| t.clone())
    }

    fn note(&mut self) -> Note {
        self.sent += 1;
        Note::new(self.who, self.sent, &self.world.books)
    }

    fn signal(&mut self) {
        self.measured(Kind::Signal, |s| {
            let books = &s.world.books;
            if s.random.below(16) == 0 {
                let main = s.world.vm.main_thread().expect("it ends last");
                let note = s.note();
                assert!(matches!(main.signal(s.me, note), Ok(Delivery::Host)));
                books.to_main.fetch_add(1, SeqCst);
                return;
            }
            if s.random.below(16) == 0 {
                let stranger = watch::worlds().iter().find(|w| w.vm.id() != s.world.vm.id());
                let Some(t) = stranger.and_then(|w| s.target(w)) else { return };
                let note = s.note();
                let refused = t.signal(s.me, note);
                assert!(matches!(refused, Err(SignalError::ForeignRuntime { .. })));
                return;
            }
            let Some(t) = s.target(s.world) else { return };
            let note = s.note();
            // Counted first: the target may take it before this returns.
            books.sent.fetch_add(1, SeqCst);
            match t.signal(s.me, note) {
                Ok(Delivery::Queued) => {}
                Err(SignalError::Dead(_)) => drop(books.sent.fetch_sub(1, SeqCst)),
                _ => panic!("the target is of this runtime, and another"),
            }
        });
    }

    /// From nobody: the caller is attached to no runtime.
    pub(crate) fn post(world: &'static World, who: usize, number: u64, random: &mut Random) {
        let Some(targets) = world.targets.get() else { return };
        let t = &targets[random.below(targets.len() as u64) as usize];
        world.books.sent.fetch_add(1, SeqCst);
        if t.post(Note::new(who, number, &world.books)).is_err() {
            world.books.sent.fetch_sub(1, SeqCst);
        }
    }

    fn take_signals(&mut self) {
        while let Some(signal) = self.me.take_signal() {
            let note: Note = signal.downcast().expect("only notes are sent");
            let last = std::mem::replace(&mut self.seen[note.from], note.number);
            assert!(last < note.number, "signals of {} out of order", note.from);
            self.world.books.taken.fetch_add(1, SeqCst);
            self.slot.count(Event::Taken, 1);
        }
    }

    /// Asks or pokes a thread of any crew.
    fn ask(&mut self) {
        let kind = [Kind::Ask, Kind::AskOwner, Kind::Poke][self.random.below(3) as usize];
        self.measured(kind, |s| {
            let worlds = watch::worlds();
            let of = &worlds[s.random.below(worlds.len() as u64) as usize];
            let Some(t) = s.target(of) else { return };
            let books = &s.world.books;
            let id = t.id();
            let run = move || {
                assert!(id.get() != 0);
                books.answered.fetch_add(1, SeqCst);
            };
            let accepted = match kind {
                Kind::Ask => t.ask(run).is_ok(),
                Kind::AskOwner => t.ask_owner(run).is_ok(),
                _ => {
                    t.poke();
                    false
                }
            };
            books.asked.fetch_add(accepted.into(), SeqCst);
        });
    }

    fn safe_points(&mut self) {
        self.measured(Kind::SafePoint, |s| {
            for _ in 0..64 {
                if safe_point(s).signal() {
                    s.take_signals();
                }
            }
        });
    }

    /// Foreign code, and back into the VM from it.
    fn outside(&mut self) {
        self.measured(Kind::Outside, |s| {
            let (i, back) = (s.any(), s.random.below(2) == 0);
            outside(s, |o| {
                std::thread::yield_now();
                if back {
                    o.inside(|s| {
                        if let Some(_held) = s.hold(&s.world.accounts[i].mutex) {
                            s.visit(i);
                        }
                    });
                }
            });
        });
    }

    fn sleep(&mut self) {
        self.measured(Kind::Sleep, |s| {
            let end = s.random.soon(1000);
            match sleep_until(s, end) {
                Ok(()) => assert!(Instant::now() >= end),
                Err(_) => s.slot.count(Event::Interrupted, 1),
            }
        });
    }

    /// Where waiting is refused, nothing waits and nothing is lost.
    fn refused(&mut self) {
        self.measured(Kind::TryLock, |s| {
            let w = s.world;
            let Ok(_held) = w.event.mutex.try_lock(s.me) else { return };
            let refused = no_blocking(s, |s| w.came.wait(s));
            assert_eq!(refused, Err(WaitError::WouldBlock));
            assert_eq!(w.event.mutex.depth(s.me), 1);
        });
    }

    /// Until its end, whatever comes between.
    fn join<T: Any + Clone, E: Any + Clone>(
        &mut self,
        h: &JoinHandle<T, E>,
    ) -> Result<T, JoinFailure<E>> {
        loop {
            let timed = self.random.below(2) == 0;
            let end = self.random.soon(2000);
            let event = match if timed { h.join_until(self, end) } else { h.join(self) } {
                Err(JoinFailure::Wait(JoinError::TimedOut)) => Event::TimedOut,
                Err(JoinFailure::Wait(JoinError::Interrupted)) => Event::Interrupted,
                ended => return ended,
            };
            self.slot.count(event, 1);
            self.take_signals();
        }
    }

    /// A child that locks, and one that joins it. They end with a result, an error or a panic.
    fn spawn(&mut self) {
        let w = self.world;
        let children = &w.books.children;
        if children.fetch_add(1, SeqCst) >= 8 {
            children.fetch_sub(1, SeqCst);
            return;
        }
        self.measured(Kind::Spawn, |s| {
            let (i, end) = (s.any(), s.random.below(4));
            let first = w.vm.spawn((), move |cx| {
                let account = &w.accounts[i];
                let _held = account.mutex.lock(cx).expect("nobody signals a child");
                account.with(cx, |a| a.enter(cx));
                match end {
                    0 => Err(PLANNED.to_owned()),
                    1 => std::panic::resume_unwind(Box::new(PLANNED)),
                    _ => Ok(end * 7),
                }
            });
            let first = first.expect("the system has threads");
            let again = first.clone();
            let second = w.vm.spawn("joiner", move |cx| again.join(cx).map_err(drop));
            let second = second.expect("the system has threads");
            let ends = (s.join(&first), s.join(&second));
            s.results.entries += 1;
            let planned = match (end, &ends) {
                (0, (Err(JoinFailure::Failed(e)), Err(JoinFailure::Failed(())))) => e == PLANNED,
                (1, (Err(JoinFailure::Panicked(p)), Err(JoinFailure::Failed(())))) => {
                    p.message() == PLANNED
                }
                (_, (Ok(a), Ok(b))) => *a == end * 7 && a == b,
                _ => false,
            };
            assert!(planned, "{end}: {ends:?}");
        });
        children.fetch_sub(1, SeqCst);
    }
}

impl Worker<'_> {
    /// Children that wait for each other in a ring: one is told so and lets go, the others get what they wait for.
    fn ring(&mut self) {
        let w = self.world;
        let children = &w.books.children;
        if children.fetch_add(1, SeqCst) >= 8 {
            children.fetch_sub(1, SeqCst);
            return;
        }
        self.measured(Kind::Ring, |s| {
            let n = 2 + s.random.below(3) as usize;
            let mutexes: Arc<Vec<Mutex>> = Arc::new((0..n).map(|_| Mutex::new()).collect());
            let all_hold = Arc::new(Barrier::new(n));
            let member = |i: usize| {
                let (mutexes, all_hold) = (mutexes.clone(), all_hold.clone());
                let run = move |cx: &mut Participant| {
                    let _first = mutexes[i].lock(cx).expect("nobody else wants it yet");
                    outside(cx, |_| all_hold.wait());
                    match mutexes[(i + 1) % n].lock(cx) {
                        Ok(_second) => Ok::<_, ()>(0),
                        Err(LockError::Deadlock(cycle)) => Ok(cycle.links().len()),
                        Err(e) => panic!("{e}"),
                    }
                };
                w.vm.spawn("ring", run).expect("the system has threads")
            };
            let members: Vec<_> = (0..n).map(member).collect();
            let told: Vec<usize> =
                members.iter().map(|h| s.join(h).expect("it ended well")).collect();
            let victims: Vec<_> = told.iter().filter(|links| **links > 0).collect();
            assert_eq!(victims, [&n], "one member is told of the ring, and of all of it");
        });
        children.fetch_sub(1, SeqCst);
    }
}

/// What children that fail say.
const PLANNED: &str = "as planned";

/// Signals are taken after every operation, whatever was reported.
fn drop_report(_: Polled) {}
