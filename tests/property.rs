//! Mutex, condition variable, signals and joins against a sequential model.
//!
//! Three threads of a runtime (parallel, fair, or under the baton) are stepped one operation at a time through channels. The
//! model says who answers what, who blocks on what, who owns what to which depth, and who queues; after each step the crate
//! must say the same. `PROPTEST_CASES=n` runs more cases; a failure is shrunk to the shortest sequence that still fails.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use selvedge::*;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

/// Threads at a time; who ends can be followed by another one.
const SLOTS: usize = 3;
/// Mutexes, each with a condition variable.
const LOCKS: usize = 2;
const NAMES: [&str; LOCKS] = ["first", "second"];

/// One step: the thread in this slot does it.
#[derive(Clone, Debug)]
struct Step {
    slot: usize,
    op: Op,
}

/// Numbers are of mutexes and their condition variables, or of slots.
#[derive(Clone, Copy, Debug)]
enum Op {
    Lock {
        m: usize,
        uninterruptible: bool,
    },
    TryLock(usize),
    /// With a deadline that has passed.
    LockUntil(usize),
    Release(usize),
    Wait {
        c: usize,
        uninterruptible: bool,
    },
    WaitUntil(usize),
    NotifyOne(usize),
    NotifyAll(usize),
    Signal(usize),
    TakeSignal,
    Join(usize),
    JoinUntil(usize),
    /// The thread ends, with what it holds.
    End,
    /// No thread does this: a signal from outside to the one in the slot.
    Post,
    /// Nor this: a new thread where one has ended.
    Spawn,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq)]
enum Reply {
    Locked,
    Taken,
    Released,
    NotOwner,
    TimedOut,
    Interrupted,
    Woken,
    Notified(usize),
    Sent,
    Own,
    Dead,
    Signal(Option<u32>),
    Joined(usize),
    Yourself,
    /// The owner is dead, and the mutex stays locked.
    OwnerDied,
    /// The wait would have closed a ring.
    Deadlock,
    /// The same two when the mutex was to be taken back.
    LostToTheDead,
    LostToARing,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Flavour {
    Parallel,
    Fair,
    Baton,
}

/// The number of a thread, over all that ever lived.
type Id = usize;

/// What a thread waits for.
#[derive(Clone, Debug)]
enum On {
    Lock {
        m: usize,
        uninterruptible: bool,
    },
    Wait {
        c: usize,
        levels: u32,
        uninterruptible: bool,
    },
    /// The wait for the condition is over; the mutex is to be taken back.
    Back {
        m: usize,
        levels: u32,
        reply: Reply,
    },
    Join(Id),
}

#[derive(Clone, Debug)]
struct Life {
    alive: bool,
    on: Option<On>,
    signals: VecDeque<u32>,
}

#[derive(Clone, Debug, Default)]
struct Lock {
    owner: Option<Id>,
    levels: u32,
    queue: VecDeque<Id>,
}

/// The whole world, one step after the other.
#[derive(Clone, Debug)]
struct Model {
    flavour: Flavour,
    slots: [Id; SLOTS],
    lives: Vec<Life>,
    locks: [Lock; LOCKS],
    waiters: [VecDeque<Id>; LOCKS],
    notes: u32,
    /// What the last step made threads answer.
    replies: Vec<(Id, Reply)>,
}

impl Model {
    fn new(flavour: Flavour) -> Self {
        let life = Life { alive: true, on: None, signals: VecDeque::new() };
        Self {
            flavour,
            slots: std::array::from_fn(|slot| slot),
            lives: vec![life; SLOTS],
            locks: Default::default(),
            waiters: Default::default(),
            notes: 0,
            replies: vec![],
        }
    }

    fn is_idle(&self, slot: usize) -> bool {
        let life = &self.lives[self.slots[slot]];
        life.alive && life.on.is_none()
    }

    /// The depth to which the thread holds the mutex.
    fn depth(&self, id: Id, m: usize) -> u32 {
        let lock = &self.locks[m];
        if lock.owner == Some(id) { lock.levels } else { 0 }
    }

    fn reply(&mut self, id: Id, reply: Reply) {
        self.replies.push((id, reply));
    }

    /// The mutex is given back: the first in the queue gets it.
    fn free(&mut self, m: usize) {
        let lock = &mut self.locks[m];
        lock.owner = lock.queue.pop_front();
        let Some(id) = lock.owner else { return };
        let (levels, reply) = match self.lives[id].on.take() {
            Some(On::Lock { .. }) => (1, Reply::Locked),
            Some(On::Back { levels, reply, .. }) => (levels, reply),
            on => panic!("{on:?} is in no mutex's queue"),
        };
        lock.levels = levels;
        self.reply(id, reply);
    }

    /// Is the owner of the mutex over?
    fn is_dead(&self, m: usize) -> bool {
        self.locks[m].owner.is_some_and(|owner| !self.lives[owner].alive)
    }

    /// Would a thread that waits for `other` wait for itself?
    fn is_ring(&self, me: Id, mut other: Id) -> bool {
        while other != me {
            let next = match self.lives[other].on {
                Some(On::Lock { m, .. } | On::Back { m, .. }) => self.locks[m].owner,
                Some(On::Join(of)) => Some(of),
                Some(On::Wait { .. }) | None => None,
            };
            let Some(next) = next else { return false };
            other = next;
        }
        true
    }

    /// After the wait for a condition: takes the mutex back, or queues for it behind all others.
    fn back(&mut self, id: Id, m: usize, levels: u32, reply: Reply) {
        self.lives[id].on = None;
        let Some(owner) = self.locks[m].owner else {
            (self.locks[m].owner, self.locks[m].levels) = (Some(id), levels);
            return self.reply(id, reply);
        };
        if self.is_dead(m) {
            self.lose(id, m, &reply);
        } else if self.is_ring(id, owner) {
            self.reply(id, Reply::LostToARing);
        } else {
            self.locks[m].queue.push_back(id);
            self.lives[id].on = Some(On::Back { m, levels, reply });
        }
    }

    /// The mutex cannot be taken back from the dead. A notification goes on to the next waiter, to no avail.
    fn lose(&mut self, id: Id, m: usize, reply: &Reply) {
        self.lives[id].on = None;
        self.locks[m].queue.retain(|other| *other != id);
        self.reply(id, Reply::LostToTheDead);
        if *reply == Reply::Woken {
            self.notify(m, 1);
        }
    }

    fn notify(&mut self, c: usize, max: usize) -> Reply {
        let n = self.waiters[c].len().min(max);
        for _ in 0..n {
            let id = self.waiters[c].pop_front().expect("so many wait");
            let Some(On::Wait { levels, .. }) = self.lives[id].on else {
                panic!("{id} does not wait");
            };
            self.back(id, c, levels, Reply::Woken);
        }
        Reply::Notified(n)
    }

    /// A signal to a live thread; it ends an interruptible wait.
    fn signal(&mut self, to: Id) {
        self.notes += 1;
        self.lives[to].signals.push_back(self.notes);
        match self.lives[to].on.clone() {
            Some(On::Lock { m, uninterruptible: false }) => {
                self.locks[m].queue.retain(|id| *id != to);
                self.lives[to].on = None;
                self.reply(to, Reply::Interrupted);
            }
            Some(On::Wait { c, levels, uninterruptible: false }) => {
                self.waiters[c].retain(|id| *id != to);
                self.back(to, c, levels, Reply::Interrupted);
            }
            Some(On::Join(_)) => {
                self.lives[to].on = None;
                self.reply(to, Reply::Interrupted);
            }
            _ => {}
        }
    }

    /// What the thread answers at once; none: it blocks, or ends.
    fn step(&mut self, slot: usize, op: Op) -> Option<Reply> {
        let me = self.slots[slot];
        let signalled = !self.lives[me].signals.is_empty();
        let depth = |m| self.depth(me, m);
        Some(match op {
            Op::Lock { m, .. } | Op::TryLock(m) | Op::LockUntil(m)
                if self.locks[m].owner.is_none_or(|owner| owner == me) =>
            {
                let lock = &mut self.locks[m];
                lock.levels = if lock.owner.is_none() { 1 } else { lock.levels + 1 };
                lock.owner = Some(me);
                Reply::Locked
            }
            Op::Lock { m, .. } | Op::TryLock(m) | Op::LockUntil(m) if self.is_dead(m) => {
                Reply::OwnerDied
            }
            Op::TryLock(_) => Reply::Taken,
            Op::Lock { uninterruptible: false, .. } | Op::LockUntil(_) if signalled => {
                Reply::Interrupted
            }
            Op::LockUntil(_) => Reply::TimedOut,
            Op::Lock { m, .. } if self.locks[m].owner.is_some_and(|o| self.is_ring(me, o)) => {
                Reply::Deadlock
            }
            Op::Lock { m, uninterruptible } => {
                self.locks[m].queue.push_back(me);
                self.lives[me].on = Some(On::Lock { m, uninterruptible });
                return None;
            }
            Op::Release(m) | Op::NotifyOne(m) | Op::NotifyAll(m) if depth(m) == 0 => {
                Reply::NotOwner
            }
            Op::Wait { c, .. } | Op::WaitUntil(c) if depth(c) == 0 => Reply::NotOwner,
            Op::Release(m) => {
                self.locks[m].levels -= 1;
                if self.locks[m].levels == 0 {
                    self.free(m);
                }
                Reply::Released
            }
            Op::NotifyOne(c) => self.notify(c, 1),
            Op::NotifyAll(c) => self.notify(c, usize::MAX),
            Op::Wait { uninterruptible: false, .. } | Op::WaitUntil(_) if signalled => {
                Reply::Interrupted
            }
            Op::Wait { c, uninterruptible } => {
                let levels = depth(c);
                self.waiters[c].push_back(me);
                self.lives[me].on = Some(On::Wait { c, levels, uninterruptible });
                self.free(c);
                return None;
            }
            Op::WaitUntil(c) => {
                let levels = depth(c);
                self.free(c);
                self.back(me, c, levels, Reply::TimedOut);
                return None;
            }
            Op::Signal(to) if self.slots[to] == me => Reply::Own,
            Op::Signal(to) if !self.lives[self.slots[to]].alive => Reply::Dead,
            Op::Signal(to) => {
                self.signal(self.slots[to]);
                Reply::Sent
            }
            Op::TakeSignal => Reply::Signal(self.lives[me].signals.pop_front()),
            Op::Join(of) | Op::JoinUntil(of) if self.slots[of] == me => Reply::Yourself,
            Op::Join(of) | Op::JoinUntil(of) if !self.lives[self.slots[of]].alive => {
                Reply::Joined(self.slots[of])
            }
            Op::Join(_) | Op::JoinUntil(_) if signalled => Reply::Interrupted,
            Op::JoinUntil(_) => Reply::TimedOut,
            Op::Join(of) if self.is_ring(me, self.slots[of]) => Reply::Deadlock,
            Op::Join(of) => {
                self.lives[me].on = Some(On::Join(self.slots[of]));
                return None;
            }
            Op::End => {
                self.lives[me].alive = false;
                for id in 0..self.lives.len() {
                    match self.lives[id].on.clone() {
                        Some(On::Join(of)) if of == me => {
                            self.lives[id].on = None;
                            self.reply(id, Reply::Joined(me));
                        }
                        Some(On::Lock { m, .. }) if self.is_dead(m) => {
                            self.lives[id].on = None;
                            self.locks[m].queue.retain(|other| *other != id);
                            self.reply(id, Reply::OwnerDied);
                        }
                        Some(On::Back { m, reply, .. }) if self.is_dead(m) => {
                            self.lose(id, m, &reply);
                        }
                        _ => {}
                    }
                }
                return None;
            }
            Op::Post => {
                self.signal(me);
                return None;
            }
            Op::Spawn => {
                self.slots[slot] = self.lives.len();
                self.lives.push(Life { alive: true, on: None, signals: VecDeque::new() });
                return None;
            }
        })
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        select(vec![Flavour::Parallel, Flavour::Fair, Flavour::Baton]).prop_map(Self::new).boxed()
    }

    fn transitions(model: &Self) -> BoxedStrategy<Step> {
        let mut choices = vec![];
        for slot in 0..SLOTS {
            let outside = |weight, op| (weight, Just(Step { slot, op }).boxed());
            if model.is_idle(slot) {
                choices.push((20, op(model, slot)));
            }
            choices.push(match model.lives[model.slots[slot]].alive {
                true => outside(1, Op::Post),
                false => outside(5, Op::Spawn),
            });
        }
        Union::new_weighted(choices).boxed()
    }

    fn preconditions(model: &Self, step: &Step) -> bool {
        let life = &model.lives[model.slots[step.slot]];
        match step.op {
            Op::Post => life.alive,
            Op::Spawn => !life.alive,
            // A woken waiter and the one that waits no longer both go for the mutex: only the baton says who is first.
            Op::WaitUntil(c) => {
                let alone = model.locks[c].queue.is_empty() || model.flavour == Flavour::Baton;
                model.is_idle(step.slot) && alone
            }
            _ => model.is_idle(step.slot),
        }
    }

    fn apply(mut model: Self, step: &Step) -> Self {
        model.replies.clear();
        if let Some(reply) = model.step(step.slot, step.op) {
            model.reply(model.slots[step.slot], reply);
        }
        model
    }
}

/// What the thread in the slot could do: mostly what makes sense for who holds what.
fn op(model: &Model, slot: usize) -> BoxedStrategy<Step> {
    let mut ops: Vec<(u32, Op)> = vec![(4, Op::TakeSignal), (1, Op::End)];
    for other in 0..SLOTS {
        ops.extend([(2, Op::Signal(other)), (1, Op::Join(other)), (1, Op::JoinUntil(other))]);
    }
    for m in 0..LOCKS {
        let holds = model.depth(model.slots[slot], m) > 0;
        let (taking, holding) = if holds { (2, 4) } else { (4, 1) };
        for uninterruptible in [false, true] {
            ops.push((3 * taking, Op::Lock { m, uninterruptible }));
            ops.push((2 * holding, Op::Wait { c: m, uninterruptible }));
        }
        ops.extend([(taking, Op::TryLock(m)), (taking, Op::LockUntil(m))]);
        ops.extend([(3 * holding, Op::Release(m)), (holding, Op::WaitUntil(m))]);
        ops.extend([(holding, Op::NotifyOne(m)), (holding, Op::NotifyAll(m))]);
    }
    let steps = ops.into_iter().map(|(weight, op)| (weight, Just(Step { slot, op }).boxed()));
    Union::new_weighted(steps.collect()).boxed()
}

/// A thread of the runtime, how it is told what to do, and what it answers: with the depths to which it holds the mutexes.
struct Actor {
    handle: JoinHandle<Id, ()>,
    orders: Sender<Order>,
    replies: Receiver<(Reply, [u32; LOCKS])>,
}

/// An operation, with the thread that it is about.
struct Order {
    op: Op,
    note: u32,
    other: JoinHandle<Id, ()>,
}

struct Shared {
    mutexes: [Arc<Mutex>; LOCKS],
    conditions: [Condvar<Arc<Mutex>>; LOCKS],
}

/// The crate's side.
struct Real {
    vm: Runtime,
    shared: Arc<Shared>,
    actors: Vec<Actor>,
}

/// A case failed: later ones are attempts to shrink it, which need not wait as long for what does not come.
static FAILED: AtomicBool = AtomicBool::new(false);

fn patience() -> Duration {
    Duration::from_secs(if FAILED.load(Relaxed) { 1 } else { 20 })
}

impl Real {
    fn new(flavour: Flavour) -> Self {
        let schedule = Schedule::new().fair(flavour == Flavour::Fair);
        let vm = Runtime::builder().baton(flavour == Flavour::Baton).schedule(schedule).build();
        let mutexes = NAMES.map(|name| Arc::new(Mutex::named(name)));
        let conditions = std::array::from_fn(|i| Condvar::named(mutexes[i].clone(), NAMES[i]));
        let shared = Arc::new(Shared { mutexes, conditions });
        let mut real = Self { vm, shared, actors: vec![] };
        (0..SLOTS).for_each(|_| real.spawn());
        real
    }

    fn spawn(&mut self) {
        let (orders, inbox) = channel::<Order>();
        let (outbox, replies) = channel();
        let (id, shared) = (self.actors.len(), self.shared.clone());
        let life = move |cx: &mut Participant| {
            while let Ok(order) = outside(cx, |_| inbox.recv()) {
                let Some(reply) = obey(cx, &shared, order) else { break };
                let depths = std::array::from_fn(|m| shared.mutexes[m].depth(cx));
                if outbox.send((reply, depths)).is_err() {
                    break;
                }
            }
            Ok(id)
        };
        let handle = self.vm.spawn(id.to_string(), life).expect("the system has threads");
        self.actors.push(Actor { handle, orders, replies });
    }

    /// Does the crate say of every thread and every lock what the model says?
    fn compare(&self, model: &Model) -> Result<(), String> {
        let same = |what: &str, real: String, model: String| {
            if real == model {
                Ok(())
            } else {
                Err(format!("{what}: {real}, in the model {model}"))
            }
        };
        for (id, (actor, life)) in self.actors.iter().zip(&model.lives).enumerate() {
            let t = actor.handle.thread();
            let on = t.blocker().map(|b| (b.kind(), b.name().map(str::to_owned)));
            let expected = life.on.as_ref().map(|on| match on {
                On::Lock { m, .. } => (BlockerKind::Mutex, Some(NAMES[*m].to_owned())),
                // While it takes the mutex back, too.
                On::Wait { c: i, .. } | On::Back { m: i, .. } => {
                    (BlockerKind::Condvar, Some(NAMES[*i].to_owned()))
                }
                On::Join(of) => (BlockerKind::Join, Some(of.to_string())),
            });
            let real = format!("alive {}, {} signals, {on:?}", t.is_alive(), t.undelivered());
            let life =
                format!("alive {}, {} signals, {expected:?}", life.alive, life.signals.len());
            same(&format!("thread {id}"), real, life)?;
        }
        for (i, lock) in model.locks.iter().enumerate() {
            let m = &self.shared.mutexes[i];
            let owner = m.owner().map(|o| (o.id(), o.is_alive()));
            let expected =
                lock.owner.map(|id| (self.actors[id].handle.id(), model.lives[id].alive));
            let queues = (m.waiters(), self.shared.conditions[i].waiters());
            let lengths = (lock.queue.len(), model.waiters[i].len());
            let (real, model) = ((owner, queues), (expected, lengths));
            same(&format!("mutex {}", NAMES[i]), format!("{real:?}"), format!("{model:?}"))?;
        }
        Ok(())
    }

    fn step(&mut self, model: &Model, step: &Step) -> Result<(), String> {
        let id = match step.op {
            Op::Spawn => {
                self.spawn();
                model.slots[step.slot]
            }
            Op::Post => {
                let t = self.actors[model.slots[step.slot]].handle.thread();
                t.post(model.notes).map_err(|_| "the thread is dead".to_owned())?;
                model.slots[step.slot]
            }
            op => {
                let id = model.slots[step.slot];
                let other = match op {
                    Op::Signal(slot) | Op::Join(slot) | Op::JoinUntil(slot) => model.slots[slot],
                    _ => id,
                };
                let other = self.actors[other].handle.clone();
                let order = Order { op, note: model.notes, other };
                self.actors[id].orders.send(order).map_err(|_| format!("thread {id} is gone"))?;
                id
            }
        };
        let end = Instant::now() + patience();
        for (id, expected) in &model.replies {
            let left = end.saturating_duration_since(Instant::now());
            let real = self.actors[*id].replies.recv_timeout(left);
            let depths = std::array::from_fn(|m| model.depth(*id, m));
            if real != Ok((expected.clone(), depths)) {
                return Err(format!("{id} answers {real:?}, in the model {expected:?} {depths:?}"));
            }
        }
        // Who must block is about to.
        while let Err(why) = self.compare(model) {
            if Instant::now() > end {
                return Err(why);
            }
            std::thread::yield_now();
        }
        for (other, actor) in self.actors.iter().enumerate() {
            match actor.replies.try_recv() {
                Ok(reply) => return Err(format!("{other} answers {reply:?} to what {id} did")),
                Err(TryRecvError::Disconnected) if model.lives[other].alive => {
                    return Err(format!("{other} is over"));
                }
                Err(_) => {}
            }
        }
        Ok(())
    }
}

/// On the thread itself. None: it ends.
fn obey(cx: &mut Participant, shared: &Shared, order: Order) -> Option<Reply> {
    let (m, c) = (|i: usize| &*shared.mutexes[i], |i: usize| &shared.conditions[i]);
    let past = Instant::now();
    let locked = |result: Result<MutexGuard<'_>, LockError>| match result.map(std::mem::forget) {
        Ok(()) => Reply::Locked,
        Err(LockError::Interrupted) => Reply::Interrupted,
        Err(LockError::TimedOut) => Reply::TimedOut,
        Err(LockError::OwnerDied(_)) => Reply::OwnerDied,
        Err(LockError::Deadlock(_)) => Reply::Deadlock,
        Err(LockError::ShutDown) => Reply::Dead,
        Err(e) => panic!("{e}"),
    };
    let waited = |result: Result<Acquired, WaitError>| match result {
        Ok(_) => Reply::Woken,
        Err(WaitError::Lost(Loss::OwnerDied(_))) => Reply::LostToTheDead,
        Err(WaitError::Lost(Loss::Deadlock(_))) => Reply::LostToARing,
        Err(WaitError::NotOwner(_)) => Reply::NotOwner,
        Err(WaitError::Interrupted) => Reply::Interrupted,
        Err(WaitError::TimedOut) => Reply::TimedOut,
        Err(WaitError::ShutDown | WaitError::Lost(Loss::ShutDown)) => Reply::Dead,
        Err(e) => panic!("{e}"),
    };
    let joined = |result: Result<Id, JoinFailure<()>>| match result {
        Ok(id) => Reply::Joined(id),
        Err(JoinFailure::Wait(JoinError::Interrupted)) => Reply::Interrupted,
        Err(JoinFailure::Wait(JoinError::TimedOut)) => Reply::TimedOut,
        Err(JoinFailure::Wait(JoinError::Yourself(_))) => Reply::Yourself,
        Err(JoinFailure::Wait(JoinError::Deadlock(_))) => Reply::Deadlock,
        Err(JoinFailure::Wait(JoinError::ShutDown)) => Reply::Dead,
        Err(e) => panic!("{e}"),
    };
    Some(match order.op {
        Op::Lock { m: i, uninterruptible: false } => locked(m(i).lock(cx)),
        Op::Lock { m: i, uninterruptible: true } => locked(uninterruptible(cx, |cx| m(i).lock(cx))),
        Op::TryLock(i) => match m(i).try_lock(cx).map(std::mem::forget) {
            Ok(()) => Reply::Locked,
            Err(TryLockError::OwnerDied(_)) => Reply::OwnerDied,
            Err(_) => Reply::Taken,
        },
        Op::LockUntil(i) => locked(m(i).lock_until(cx, past)),
        Op::Release(i) => m(i).release(cx).map_or(Reply::NotOwner, |()| Reply::Released),
        Op::Wait { c: i, uninterruptible: false } => waited(c(i).wait(cx)),
        Op::Wait { c: i, uninterruptible: true } => waited(uninterruptible(cx, |cx| c(i).wait(cx))),
        Op::WaitUntil(i) => waited(c(i).wait_until(cx, past)),
        Op::NotifyOne(i) => {
            c(i).notify_one(cx).map_or(Reply::NotOwner, |n| Reply::Notified(n.into()))
        }
        Op::NotifyAll(i) => c(i).notify_all(cx).map_or(Reply::NotOwner, Reply::Notified),
        Op::Signal(_) => match order.other.signal(cx, order.note) {
            Ok(Delivery::Queued) => Reply::Sent,
            Ok(Delivery::Own(_)) => Reply::Own,
            Err(SignalError::Dead(_)) => Reply::Dead,
            _ => panic!("no signal goes to main or abroad"),
        },
        Op::TakeSignal => {
            let note = cx.take_signal().map(|s| s.downcast().expect("notes are numbers"));
            Reply::Signal(note)
        }
        Op::Join(_) => joined(order.other.join(cx)),
        Op::JoinUntil(_) => joined(order.other.join_until(cx, past)),
        Op::End => return None,
        Op::Post | Op::Spawn => panic!("no thread does that"),
    })
}

impl Drop for Real {
    fn drop(&mut self) {
        // Whoever still waits is stopped; who waits for an order finds nobody that gives one.
        let mut cx = self.vm.attach("the end").expect("the runtime is open");
        self.vm.shutdown(&cx);
        let end = Instant::now() + patience();
        for Actor { handle, orders, .. } in self.actors.drain(..) {
            drop(orders);
            let over = handle.join_until(&mut cx, end);
            assert!(over.is_ok() || std::thread::panicking(), "{handle:?}: {over:?}");
        }
    }
}

impl StateMachineTest for Real {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(model: &Model) -> Self {
        Self::new(model.flavour)
    }

    fn apply(mut real: Self, model: &Model, step: Step) -> Self {
        if let Err(why) = real.step(model, &step) {
            FAILED.store(true, Relaxed);
            panic!("{why}\nafter {step:?}");
        }
        real
    }
}

fn config() -> ProptestConfig {
    // `default` reads PROPTEST_CASES.
    let given = std::env::var_os("PROPTEST_CASES").is_some();
    let default = ProptestConfig::default();
    let cases = if given { default.cases } else { 200 };
    ProptestConfig { cases, max_shrink_time: 60_000, failure_persistence: None, ..default }
}

prop_state_machine! {
    #![proptest_config(config())]

    #[test]
    fn the_crate_does_as_the_model(sequential 1..60 => Real);
}
