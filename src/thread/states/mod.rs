//! A search through all states of claim words, gates and those who drive them. Tests only.
//!
//! Three Lisp threads with one mutex and one condition variable, and strangers who signal, ask, poke and shut down, move
//! one atomic operation at a time, in every order (sequentially consistent: orderings are for the models). The mutex is
//! kept small: an owner, whether a woken waiter is on its way (K), two queues under one lock. A deadline may fire whenever
//! its thread looks. Whether a release wakes or hands over is left open, so both are searched.
//!
//! Every step must be a row of the tables. In every state a wait has ended at most once, and a pending signal shows in
//! inbox, claim word and gate alike. Where nothing can move, every thread is over and nothing is left behind.

mod lisp;
mod others;

use super::table::{GATE, GateStep as G};
use crate::park::Outcome;
use crate::park::table::{CLAIM, ClaimStep as C};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::hash::{Hash, Hasher};

// The layout of the words, as the headers of `claim.rs` and `gate.rs` give it: the tables check it.
const SIG: u64 = 1;
const NOINTR: u64 = 2;
const PARKED: u64 = 4;
const STOP: u64 = 8;
const PHASE: u64 = 0xf0;
const IDLE: u64 = 0;
const WAITING: u64 = 0x10;
const MORPHED: u64 = 0x20;
const DONE: u64 = 0x30;
const OUTCOME_AT: u32 = 8;
const MOVED: u64 = 0x8000;
const EPOCH: u64 = 0x1_0000;
const SAFE: u64 = 1;
const TAKEN: u64 = 2;
const REQ: u64 = 4;
const COMING: u64 = 8;
const SIGNAL: u64 = 16;
const G_STOP: u64 = 32;
const POKED: u64 = 64;
const MARK: u64 = 128;

const NOBODY: u8 = 9;

/// What a Lisp thread does, one after the other.
#[derive(Clone, Copy, PartialEq)]
enum Op {
    Lock,
    LockUntil,
    /// Waits while the flag is down.
    Wait,
    WaitUntil,
    /// Raises the flag and notifies one.
    Notify,
    Unlock,
    Outside,
    Poll,
}

/// What a stranger does to a thread.
#[derive(Clone, Copy)]
enum Deed {
    Signal(usize),
    Ask(usize),
    AskOwner(usize),
    Poke(usize),
    /// Asks whether it comes to safe points.
    Mark(usize),
    /// Ends a wait that it saw, without a lock, as a detector does: a late one must not end the next wait.
    End(usize, Outcome),
    ShutDown,
}

/// What a thread is about to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum At {
    Op,
    Try,
    Begin,
    Enqueue,
    Withdraw,
    GoSafe,
    Look,
    Sleep,
    Back,
    Coming,
    SleepBack,
    Unlink,
    End,
    /// Serves itself between two halves of a wait.
    Serve,
    Remember,
    PassNotification,
    PassOn,
    Release(Then),
    /// With the queue's lock: claims the waiter.
    Hand(u8, u8, Then),
    Wake(u8, u8, Then),
    Unpark(u8, Then),
    Proxy(Proxy),
    /// At a safe point; outside; at the end.
    Drain,
    TakeOwn,
    GoneOut,
    Die,
    Last,
    Over,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Then {
    Advance,
    GoSafe,
    Quit,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Proxy {
    Mark,
    Clear,
    Drain,
    EndWait,
    WakeServed,
    GiveBack,
    Unpark,
}

/// Which lock the thread is after, or what it waits for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Mode {
    Lock,
    Wait,
    Again,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Lisp {
    claim: u64,
    gate: u64,
    /// An unpark that was not taken yet.
    token: bool,
    at: At,
    op: u8,
    mode: Mode,
    /// It was woken and has K.
    woken: bool,
    /// How often its present wait was ended.
    ended: u8,
    alive: bool,
    locked: bool,
    signals: u8,
    asked: u8,
    asked_owner: u8,
    served: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Stranger {
    deed: u8,
    at: u8,
    /// Whom a shutdown stops next; which wait was seen.
    next: u8,
    proxy: Option<Proxy>,
}

/// Threads, and the waits they were queued in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Fifo {
    len: u8,
    at: [(u8, u8); 3],
}

impl Fifo {
    fn push(&mut self, who: u8, epoch: u8) {
        self.at[usize::from(self.len)] = (who, epoch);
        self.len += 1;
    }
    fn push_front(&mut self, who: u8, epoch: u8) {
        self.push(who, epoch);
        self.at[..usize::from(self.len)].rotate_right(1);
    }
    fn pop(&mut self) -> Option<(u8, u8)> {
        let front = (self.len > 0).then_some(self.at[0])?;
        self.remove(front.0);
        Some(front)
    }
    fn remove(&mut self, who: u8) {
        let Some(i) = self.at[..usize::from(self.len)].iter().position(|e| e.0 == who) else {
            return;
        };
        self.at[i..usize::from(self.len)].rotate_left(1);
        self.len -= 1;
        self.at[usize::from(self.len)] = (0, 0);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct State {
    lisp: [Lisp; 3],
    strangers: [Stranger; 2],
    owner: u8,
    k: bool,
    lockers: Fifo,
    waiters: Fifo,
    queue_lock: u8,
    flag: bool,
}

struct Scene {
    programs: [&'static [Op]; 3],
    deeds: [&'static [Deed]; 2],
    fault: Fault,
    /// The rows that were steps.
    used: RefCell<(BTreeSet<usize>, BTreeSet<usize>)>,
}

/// Planted, for a test of the search.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    NoUnpark,
    ClaimDropsSignal,
}

fn epoch(claim: u64) -> u8 {
    (claim / EPOCH) as u8
}
fn phase(claim: u64) -> u64 {
    claim & PHASE
}
fn outcome(claim: u64) -> Outcome {
    assert_eq!(phase(claim), DONE, "asked how a wait ended that is on");
    let n = claim >> OUTCOME_AT & 0x7f;
    *Outcome::ALL.iter().find(|&&o| o as u64 == n).expect("DONE has an outcome")
}

impl Scene {
    fn new(programs: [&'static [Op]; 3], deeds: [&'static [Deed]; 2]) -> Self {
        Self { programs, deeds, fault: Fault::None, used: RefCell::default() }
    }

    /// A step of the claim word, which must be a row.
    fn claim(&self, s: &mut State, i: usize, step: C, to: u64) {
        let from = std::mem::replace(&mut s.lisp[i].claim, to);
        if from != to {
            let row = CLAIM.row(step, from, to);
            let row =
                row.unwrap_or_else(|| panic!("{step:?} {from:#x} to {to:#x} is no row: {s:#?}"));
            self.used.borrow_mut().0.insert(row);
        }
        if phase(from) != DONE && phase(to) == DONE {
            s.lisp[i].ended += 1;
            assert_eq!(s.lisp[i].ended, 1, "a wait ended twice: {s:#?}");
        }
    }

    /// A step of the gate, which must be a row.
    fn gate(&self, s: &mut State, i: usize, step: G, to: u64) {
        let from = std::mem::replace(&mut s.lisp[i].gate, to);
        if from != to {
            let row = GATE.row(step, from, to);
            let row =
                row.unwrap_or_else(|| panic!("{step:?} {from:#x} to {to:#x} is no row: {s:#?}"));
            self.used.borrow_mut().1.insert(row);
        }
    }

    /// Ends the wait `of`, if it is on; whether its thread sleeps.
    fn end_wait(&self, s: &mut State, i: usize, of: Option<u8>, how: Outcome) -> Option<bool> {
        let w = s.lisp[i].claim;
        let moved = phase(w) == MORPHED;
        let open = phase(w) == WAITING || moved && how != Outcome::TimedOut;
        if !open || of.is_some_and(|e| e != epoch(w)) {
            return None;
        }
        let lost = if self.fault == Fault::ClaimDropsSignal { SIG } else { 0 };
        let to = w & !(PHASE | NOINTR | PARKED | lost) | DONE | (how as u64) << OUTCOME_AT;
        self.claim(s, i, C::Ends(how), if moved { to | MOVED } else { to });
        Some(w & PARKED != 0)
    }

    fn begin(&self) -> State {
        let lisp = Lisp {
            claim: IDLE,
            gate: 0,
            token: false,
            at: At::Op,
            op: 0,
            mode: Mode::Lock,
            woken: false,
            ended: 0,
            alive: true,
            locked: false,
            signals: 0,
            asked: 0,
            asked_owner: 0,
            served: 0,
        };
        State {
            lisp: [lisp; 3],
            strangers: [Stranger { deed: 0, at: 0, next: 0, proxy: None }; 2],
            owner: NOBODY,
            k: false,
            lockers: Fifo::default(),
            waiters: Fifo::default(),
            queue_lock: NOBODY,
            flag: false,
        }
    }

    /// Visits every state. How many there are.
    fn search(&self) -> usize {
        let mut known: HashSet<u128> = HashSet::new();
        // The way here: each state, and what is left to try from it.
        let mut way = vec![(self.begin(), Vec::new())];
        self.follow(&mut way, &mut known);
        while let Some((_, left)) = way.last_mut() {
            match left.pop() {
                Some(next) => {
                    way.push((next, Vec::new()));
                    self.follow(&mut way, &mut known);
                }
                None => drop(way.pop()),
            }
        }
        known.len()
    }

    /// Fills in what follows the last state, unless it is known.
    fn follow(&self, way: &mut [(State, Vec<State>)], known: &mut HashSet<u128>) {
        let (last, before) = way.split_last_mut().expect("a way has an end");
        let (s, next) = last;
        if !known.insert(s.digest()) {
            return;
        }
        self.check(s);
        (0..3).for_each(|i| self.lisp(s, i, next));
        (0..2).for_each(|j| self.stranger(s, j, next));
        if next.is_empty() && !self.is_end(s) {
            for (s, _) in before {
                println!("{:?} {:?}", s.lisp.map(|t| (t.op, t.at)), s.strangers);
            }
            panic!("stuck, or something is left: {s:#?}");
        }
        next.iter_mut().for_each(|s| self.settle(s));
    }

    /// Takes the steps that touch nothing of anybody else: no order of them matters.
    fn settle(&self, s: &mut State) {
        for i in 0..3 {
            let t = &mut s.lisp[i];
            let op = self.programs[i].get(usize::from(t.op));
            match (t.at, op) {
                (At::Op, Some(Op::Lock | Op::LockUntil)) => (t.mode, t.at) = (Mode::Lock, At::Try),
                (At::Op, Some(Op::Unlock)) => t.at = At::Release(Then::Advance),
                (At::Op, None) => t.at = At::Die,
                (At::GoneOut, _) => t.at = At::Back,
                (At::Unlink, _)
                    if matches!(outcome(t.claim), Outcome::Granted | Outcome::Woken) =>
                {
                    t.at = At::End;
                }
                _ => {}
            }
        }
    }

    fn check(&self, s: &State) {
        for t in s.lisp.iter().filter(|t| t.alive && !t.locked) {
            let pending = t.signals > 0;
            let shown = (t.claim & SIG != 0, t.gate & SIGNAL != 0);
            assert_eq!(shown, (pending, pending), "a signal is lost: {s:#?}");
        }
    }

    /// Nothing moves any more: as it should be?
    fn is_end(&self, s: &State) -> bool {
        let over = s.lisp.iter().all(|t| t.at == At::Over && t.asked + t.asked_owner == 0);
        let idle = s.owner == NOBODY && !s.k && s.lockers.len + s.waiters.len == 0;
        let told = (0..2).all(|j| usize::from(s.strangers[j].deed) == self.deeds[j].len());
        over && idle && told
    }
}

impl State {
    /// Stands for the state among those visited: with 128 bits no two of some millions meet.
    fn digest(&self) -> u128 {
        let mut d = Digest(0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f);
        self.hash(&mut d);
        u128::from(d.0) << 64 | u128::from(d.1)
    }
}

struct Digest(u64, u64);

impl Digest {
    fn mix(&mut self, n: u64) {
        self.0 = (self.0 ^ n).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29);
        self.1 = (self.1.rotate_left(23) ^ n).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    }
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.mix(b.into()));
    }
    fn write_u8(&mut self, n: u8) {
        self.mix(n.into());
    }
    fn write_u64(&mut self, n: u64) {
        self.mix(n);
    }
    fn write_isize(&mut self, n: isize) {
        self.mix(n as u64);
    }
    fn finish(&self) -> u64 {
        self.0 ^ self.1
    }
}

use Deed::*;
use Op::*;

const WAITER: &[Op] = &[Lock, Wait, Unlock, Poll];
const TIMED_WAITER: &[Op] = &[Lock, WaitUntil, Unlock, Poll];
const NOTIFIER: &[Op] = &[Lock, Notify, Unlock];
const LOCKER: &[Op] = &[Lock, Unlock, Poll];
const TIMED_LOCKER: &[Op] = &[LockUntil, Unlock, Poll];

/// Every pair of mechanisms in some scene, no more in one than fits a few seconds.
fn scenes() -> Vec<Scene> {
    let mut all = vec![
        Scene::new([WAITER, NOTIFIER, &[]], [&[Signal(0)], &[]]),
        Scene::new([WAITER, NOTIFIER, &[]], [&[AskOwner(0)], &[]]),
        Scene::new([TIMED_WAITER, NOTIFIER, &[]], [&[Signal(0), Signal(0)], &[]]),
        Scene::new([LOCKER, LOCKER, &[]], [&[AskOwner(0), Signal(0)], &[Ask(0)]]),
        Scene::new([&[Outside, Poll], &[], &[]], [&[AskOwner(0), Signal(0)], &[Ask(0), Poke(0)]]),
        Scene::new([&[Outside, Poll], &[], &[]], [&[Mark(0), Mark(0)], &[Poke(0)]]),
        Scene::new([TIMED_LOCKER, LOCKER, LOCKER], [&[Signal(0)], &[]]),
        Scene::new([WAITER, NOTIFIER, &[]], [&[ShutDown], &[]]),
        Scene::new([WAITER, NOTIFIER, &[]], [&[End(0, Outcome::Deadlock)], &[AskOwner(0)]]),
        Scene::new([LOCKER, LOCKER, &[]], [&[End(0, Outcome::OwnerDied)], &[Signal(0)]]),
    ];
    if std::env::var("SELVEDGE_LONG").is_ok_and(|v| v == "1") {
        // A minute each, optimized.
        all.push(Scene::new([WAITER, TIMED_LOCKER, NOTIFIER], [&[Signal(0)], &[AskOwner(0)]]));
        all.push(Scene::new([WAITER, TIMED_WAITER, NOTIFIER], [&[ShutDown], &[Signal(0)]]));
    }
    all
}

#[test]
fn every_step_is_a_row_and_every_row_is_a_step() {
    let (mut claim, mut gate, mut states) = (BTreeSet::new(), BTreeSet::new(), 0);
    for scene in scenes() {
        states += scene.search();
        let (c, g) = scene.used.into_inner();
        claim.extend(c);
        gate.extend(g);
    }
    println!("{states} states");
    let unused = |used: &BTreeSet<usize>, n: usize| (0..n).find(|i| !used.contains(i));
    let claim = unused(&claim, CLAIM.rows.len()).map(|i| CLAIM.rows[i].who);
    let gate = unused(&gate, GATE.rows.len()).map(|i| GATE.rows[i].who);
    assert_eq!((claim, gate), (None, None), "a row that no step uses");
}

/// The search itself can fail.
#[test]
#[should_panic(expected = "stuck")]
fn a_lost_unpark_is_found() {
    let fault = Fault::NoUnpark;
    Scene { fault, ..Scene::new([WAITER, &[], &[]], [&[Signal(0)], &[]]) }.search();
}

#[test]
#[should_panic(expected = "is no row")]
fn a_lost_signal_is_found() {
    let fault = Fault::ClaimDropsSignal;
    Scene { fault, ..Scene::new([WAITER, NOTIFIER, &[]], [&[Signal(0)], &[]]) }.search();
}

#[test]
#[should_panic(expected = "stuck")]
fn a_notification_without_a_release_is_found() {
    Scene::new([WAITER, &[Lock, Notify], &[]], [&[], &[]]).search();
}
