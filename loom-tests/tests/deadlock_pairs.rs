//! Models of the detector, and of an owner's death, beside the other mechanisms: cells of docs/INTERACTIONS.md. Edges and
//! invariants are those of the headers of `deadlock` and `mutex`.
//!
//! One thread waits; main meets it in a ring (bound 1), or ends as the owner of what it waits for (bound 2), unless the
//! comment says otherwise.
#![cfg(selvedge_loom)]

use loom_tests::scene::{Deeds, Log, Many, go, heaviest, heavy, quiet, seats, soon};
use loom_tests::{check, long};
use selvedge::model::thread;
use selvedge::{LockError, Mutex, OwnerDeath, Participant, Runtime, Schedule, safe_point};
use std::sync::Arc;

fn schedule() -> Schedule {
    Schedule::new().hand_over_after(None)
}

fn told() -> Runtime {
    Runtime::builder().schedule(schedule()).owner_death(OwnerDeath::LeaveLocked).build()
}

fn told_fair() -> Runtime {
    Runtime::builder().schedule(schedule().fair(true)).owner_death(OwnerDeath::LeaveLocked).build()
}

fn told_plain() -> Runtime {
    let schedule = schedule().membarrier(true);
    Runtime::builder().schedule(schedule).owner_death(OwnerDeath::LeaveLocked).build()
}

fn inherits() -> Runtime {
    Runtime::builder().schedule(schedule()).owner_death(OwnerDeath::Abandon).build()
}

fn inherits_plain() -> Runtime {
    let schedule = schedule().membarrier(true);
    Runtime::builder().schedule(schedule).owner_death(OwnerDeath::Abandon).build()
}

fn looks() -> Runtime {
    let schedule = schedule().detect_deadlocks(true);
    Runtime::builder().schedule(schedule).owner_death(OwnerDeath::LeaveLocked).build()
}

fn looks_plain() -> Runtime {
    Runtime::builder().schedule(schedule().detect_deadlocks(true).membarrier(true)).build()
}

/// How a wait for `m`, which has been taken back, ended.
fn wait(m: &Mutex, me: &mut Participant, timed: bool) -> &'static str {
    let r = if timed { m.acquire_until(me, soon()) } else { m.acquire(me) };
    match r {
        Ok(got) => {
            m.release(me).unwrap();
            if got.abandoned_by.is_some() { "inherited" } else { "locked" }
        }
        Err(LockError::OwnerDied(_)) => "told",
        Err(LockError::TimedOut) => "late",
        Err(LockError::ShutDown) => "shutdown",
        Err(LockError::Deadlock(cycle)) => {
            assert_eq!(cycle.links().len(), 2);
            assert_eq!(cycle.links()[0].thread(), me.thread());
            "ring"
        }
        Err(e) => panic!("{e}"),
    }
}

/// The waiter against main, which owns the mutex before, does `deeds`, and ends. The outcome: how the wait ended, and who
/// answered.
fn dies(
    name: &'static str,
    vm: fn() -> Runtime,
    at_least: usize,
    must: &'static [&'static str],
    deeds: fn(&mut Deeds<'_, Many<2>>),
) {
    let woken = name.ends_with("pass_on") || name.ends_with("_k");
    check(name, if woken { heavy() } else { Some(2) }, at_least, must, move || {
        let vm = vm();
        let ([b, after], [tb, _]) = seats(&vm);
        let s = Many::<2>::new();
        let mut me = vm.attach(()).unwrap();
        quiet(&s.m[0], &mut me);
        s.m[0].acquire(&mut me).unwrap();
        let timed = name.ends_with("timeout");
        let t = go(&s, b, move |s, me| {
            let how = wait(&s.m[0], me, timed);
            safe_point(me);
            s.log.put(how);
        });
        let answers = Arc::new(Log::new());
        deeds(&mut Deeds {
            vm: &vm,
            target: &tb,
            s: &s,
            m: &s.m[0],
            me: &mut me,
            answers: answers.clone(),
        });
        drop(me);
        t.join().unwrap();
        drop(s.m[0].recover(&after.sit()));
        s.end() + &answers.get()
    });
}

/// An owner hands the mutex over, and ends: nobody inherits anything, nobody is told.
#[test]
fn a_hand_over_and_a_death() {
    dies("deadlock_pairs.death_vs_hand_over", told_fair, 1_400, &["locked"], |d| d.release());
}

/// A waiter is handed the mutex, and ends as its owner. Bound 1; long 2.
#[test]
fn a_hand_over_to_who_dies() {
    check("deadlock_pairs.hand_over_vs_death", heavy(), 1_000, &["locked", "told"], || {
        let vm = told_fair();
        let ([mut b, after], _) = seats(&vm);
        let s = Many::<2>::new();
        let mut me = vm.attach(()).unwrap();
        b.prepare(|b| assert!(s.m[0].acquire(b).is_ok()));
        let t = go(&s, b, |s, me| {
            s.m[0].release(me).unwrap();
            s.log.put(wait(&s.m[0], me, false));
        });
        s.m[0].acquire(&mut me).unwrap();
        drop(me);
        t.join().unwrap();
        drop(s.m[0].recover(&after.sit()).unwrap());
        s.end()
    });
}

/// A woken waiter finds the mutex taken by a newcomer that ends: it is told, and K goes on. Bound 1; long 2.
#[test]
fn a_woken_waiter_is_told() {
    dies("deadlock_pairs.death_vs_pass_on", told, 600, &["locked", "told"], |d| {
        d.release();
        d.relock();
    });
}

/// The same, where it inherits: K is given back. Bound 1; long 2.
#[test]
fn a_woken_waiter_inherits() {
    dies("deadlock_pairs.death_vs_k", inherits, 600, &["inherited", "locked"], |d| {
        d.release();
        d.relock();
    });
}

/// A deadline and a death.
#[test]
fn a_deadline_and_a_death() {
    dies("deadlock_pairs.death_vs_timeout", told, 80, &["late", "told"], |_| {});
}

/// A waiter answers, goes back to its wait, and the owner ends.
#[test]
fn an_answer_and_a_death() {
    dies("deadlock_pairs.death_vs_serve", told, 370, &["told!"], |d| d.ask_owner());
}

/// A shutdown and a death: one of them ends the wait.
#[test]
fn a_shutdown_and_a_death() {
    dies("deadlock_pairs.death_vs_shutdown", told, 530, &["shutdown", "told"], |d| d.shutdown());
}

/// The owner of a quiet mutex ends while its first waiter calls.
#[test]
fn a_switch_and_a_death() {
    dies("deadlock_pairs.death_vs_switch", told_plain, 90, &["told"], |_| {});
}

/// The same, where the waiter inherits, and gives the mutex back in its new mode.
#[test]
fn a_switch_and_an_heir() {
    dies("deadlock_pairs.heir_vs_switch", inherits_plain, 110, &["inherited"], |_| {});
}

/// Main and another thread hold one mutex each; main does `deeds`, and then both ask for the other's. The outcome: who was
/// told, and who answered.
fn ring(
    name: &'static str,
    vm: fn() -> Runtime,
    at_least: usize,
    must: &'static [&'static str],
    deeds: fn(&mut Deeds<'_, Many<2>>),
) {
    let bound = if name.ends_with("pass_on") { heaviest() } else { Some(1) };
    check(name, bound, at_least, must, move || {
        let vm = vm();
        let (mut seats, [_, tb]) = seats::<2>(&vm);
        let s = Many::<2>::new();
        for (m, seat) in s.m.iter().zip(&mut seats) {
            seat.prepare(|me| {
                quiet(m, me);
                m.acquire(me).unwrap();
            });
        }
        let [a, b] = seats;
        let t = go(&s, b, |s, me| {
            if wait(&s.m[0], me, false) == "ring" {
                s.log.put("b");
            }
            s.m[1].release(me).unwrap();
            safe_point(me);
        });
        let mut me = a.sit();
        let answers = Arc::new(Log::new());
        deeds(&mut Deeds {
            vm: &vm,
            target: &tb,
            s: &s,
            m: &s.m[0],
            me: &mut me,
            answers: answers.clone(),
        });
        if wait(&s.m[1], &mut me, false) == "ring" {
            s.log.put("a");
        }
        s.m[0].release(&me).unwrap();
        t.join().unwrap();
        s.end() + &answers.get()
    });
}

/// A woken waiter loses the mutex to main again, which then waits for it: K is in nobody's hand while the ring stands.
/// Bound 0; long 1.
#[test]
fn a_ring_and_a_woken_waiter() {
    let must = if long() { &["", "a", "b"][..] } else { &["b"] };
    ring("deadlock_pairs.ring_vs_pass_on", looks, 570, must, |d| {
        thread::yield_now(); // the other one queues
        d.release();
        d.relock();
    });
}

/// A proxy answers for a member of the ring.
#[test]
fn a_ring_and_a_proxy() {
    ring("deadlock_pairs.ring_vs_proxy", looks, 1_800, &["a?", "b?"], |d| d.ask());
}

/// A member of the ring answers, and waits again: the ring stands again, and is found again.
#[test]
fn a_ring_and_an_answer() {
    ring("deadlock_pairs.ring_vs_serve", looks, 1_900, &["a!", "b!"], |d| d.ask_owner());
}

/// The ring closes over two mutexes that are quiet, while their waiters call.
#[test]
fn a_ring_and_a_switch() {
    ring("deadlock_pairs.ring_vs_switch", looks_plain, 550, &["a", "b"], |_| {});
}

/// A joined thread takes the mutex that main gave back, and ends: its wait is over, its record free. Nobody is told.
#[test]
fn a_look_and_an_end() {
    check("deadlock_pairs.look_vs_exit", Some(1), 550, &["ok"], || {
        let vm = looks();
        let main = &mut vm.attach(()).unwrap();
        let s = Many::<2>::new();
        s.m[0].acquire(main).unwrap();
        let t = s.clone();
        let worker = vm.spawn((), move |me| Ok::<_, ()>(wait(&t.m[0], me, false))).unwrap();
        s.m[0].release(main).unwrap();
        assert_eq!(worker.join(main).unwrap(), "locked");
        assert_eq!(Runtime::records_in_use(), 1);
        s.end() + "ok"
    });
}

/// Two threads make a ring while main shuts the runtime down: one report at most, and each wait ends. Bound 0; long 1.
#[test]
fn a_ring_and_a_shutdown() {
    let must = ["shutdown locked", "shutdown shutdown", "locked ring"];
    let must = if long() { &must[..] } else { &must[..2] };
    check("deadlock_pairs.ring_vs_shutdown", heaviest(), 80, must, || {
        let vm = looks();
        let (mut seats, _) = seats::<3>(&vm);
        let s = Many::<2>::new();
        for (m, seat) in s.m.iter().zip(&mut seats) {
            seat.prepare(|me| assert!(m.acquire(me).is_ok()));
        }
        let [a, b, c] = seats;
        let (how, of) = (Arc::new(Log::new()), Arc::new(Log::new()));
        let (first, second) = (how.clone(), of.clone());
        let t = go(&s, a, move |s, me| {
            first.put(wait(&s.m[1], me, false));
            s.m[0].release(me).unwrap();
        });
        thread::yield_now(); // the first one waits
        let u = go(&s, b, move |s, me| {
            second.put(wait(&s.m[0], me, false));
            s.m[1].release(me).unwrap();
        });
        vm.shutdown(&c.sit());
        t.join().unwrap();
        u.join().unwrap();
        s.end();
        how.get() + " " + &of.get()
    });
}

/// A thread that was told ends with what it holds: the other one is told of that, in the same wait.
#[test]
fn a_ring_and_a_death() {
    let must = &["ring told", "locked ring"][..];
    check("deadlock_pairs.ring_vs_death", Some(1), 550, must, || {
        let vm = looks();
        let ([mut b, after], _) = seats(&vm);
        let s = Many::<2>::new();
        let mut me = vm.attach(()).unwrap();
        s.m[0].acquire(&mut me).unwrap();
        b.prepare(|me| assert!(s.m[1].acquire(me).is_ok()));
        let t = go(&s, b, |s, me| {
            s.log.put(wait(&s.m[0], me, false));
            s.m[1].release(me).unwrap();
        });
        let how = wait(&s.m[1], &mut me, false);
        drop(me);
        t.join().unwrap();
        drop(s.m[0].recover(&after.sit()).unwrap());
        format!("{how} {}", s.end())
    });
}
