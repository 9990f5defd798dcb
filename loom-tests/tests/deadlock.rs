//! Models of `deadlock`, and of what `mutex`, `condvar` and `join` do with its reports. Edges and invariants are those of
//! its header.
#![cfg(selvedge_loom)]

use loom_tests::scene::{Log, Many, go, heaviest, heavy, seats};
use loom_tests::{check, long};
use selvedge::model::Ordering::Relaxed;
use selvedge::model::{AtomicU32, Seat, internals::is_idle, thread};
use selvedge::{
    Blocker, Condvar, Context, Cycle, JoinError, LockError, Loss, Mutex, OwnerDeath, Participant,
    Runtime, Schedule, WaitError,
};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

/// A runtime that looks for deadlocks.
fn vm() -> Runtime {
    Runtime::builder()
        .schedule(Schedule::new().hand_over_after(None).detect_deadlocks(true))
        .build()
}

/// The report leads once around, from the victim.
fn judge(cycle: &Cycle, victim: &Participant, length: usize) {
    assert_eq!(cycle.links().len(), length);
    assert_eq!(cycle.links()[0].thread(), victim.thread());
}

/// Each thread holds the mutex of its number, before anything races.
fn hold_one_each<const N: usize>(s: &Many<N>, seats: &mut [Seat; N]) {
    for (m, seat) in s.m.iter().zip(seats) {
        seat.prepare(|me| assert!(m.acquire(me).is_ok()));
    }
}

/// Holding one mutex, waits for another; writes its name if it is the victim. Lets go of both.
fn ask<const N: usize>(s: &Many<N>, me: &mut Participant, held: usize, wanted: usize, name: &str) {
    match s.m[wanted].acquire(me) {
        Ok(_) => s.m[wanted].release(me).unwrap(),
        Err(LockError::Deadlock(cycle)) => {
            judge(&cycle, me, N);
            // With all it held still held: nobody else is in `log`.
            s.log.put(name);
        }
        Err(e) => panic!("{e}"),
    }
    s.m[held].release(me).unwrap();
}

/// Two threads that hold one mutex each ask for the other's: one of them, never both, is told. Kills a look before the entry
/// is published and a forgotten list (nobody is told), and a detector without its word (both are). Bound 2.
#[test]
fn two_threads_hold_crosswise() {
    check("deadlock.ring_of_2", Some(2), 10_000, &["a", "b"], || {
        let vm = vm();
        let (mut seats, _) = seats::<2>(&vm);
        let s = Many::<2>::new();
        hold_one_each(&s, &mut seats);
        let [a, b] = seats;
        let t = go(&s, b, |s, me| ask(s, me, 1, 0, "b"));
        ask(&s, &mut a.sit(), 0, 1, "a");
        t.join().unwrap();
        s.end()
    });
}

/// Two threads take two mutexes crosswise: they pass, or one of them is told. Bound 1; long 2.
#[test]
fn two_threads_cross() {
    // It takes two for the second thread to be the last.
    let must = if long() { &["", "a", "b"][..] } else { &["", "a"] };
    check("deadlock.cross", heavy(), 1200, must, || {
        let vm = vm();
        let ([a, b], _) = seats(&vm);
        let s = Many::<2>::new();
        let t = go(&s, b, |s, me| {
            s.m[1].acquire(me).unwrap();
            ask(s, me, 1, 0, "b");
        });
        let mut me = a.sit();
        s.m[0].acquire(&mut me).unwrap();
        ask(&s, &mut me, 0, 1, "a");
        t.join().unwrap();
        s.end()
    });
}

/// Three threads that hold one mutex each ask for the next one's: one of them is told. Bound 0; long 1.
#[test]
fn three_threads_chase_each_other() {
    // Without a preemption the last thread to begin is the last to wait; the first one needs two.
    let must = if long() { &["b", "c"][..] } else { &["c"] };
    check("deadlock.ring_of_3", heaviest(), 320, must, || {
        let vm = vm();
        let (mut seats, _) = seats::<3>(&vm);
        let s = Many::<3>::new();
        hold_one_each(&s, &mut seats);
        let [a, b, c] = seats;
        let t = go(&s, b, |s, me| ask(s, me, 1, 2, "b"));
        let u = go(&s, c, |s, me| ask(s, me, 2, 0, "c"));
        ask(&s, &mut a.sit(), 0, 1, "a");
        t.join().unwrap();
        u.join().unwrap();
        s.end()
    });
}

/// Three threads that never make a ring, but that a look can find in one when it sees them one after the other: after it has
/// passed the second, the third gives back what that waits for, and waits for the first. Nobody is told. Kills one walk that
/// nothing confirms. Bound 1.
#[test]
fn a_ring_that_never_stood() {
    check("deadlock.no_ring_at_any_time", Some(1), 80_000, &["bac"], || {
        let vm = vm();
        let (mut seats, _) = seats::<3>(&vm);
        let s = Many::<3>::new();
        hold_one_each(&s, &mut seats);
        let [a, b, c] = seats;
        let get = |s: &Many<3>, me: &mut Participant, m: usize, name: &str| {
            s.m[m].acquire(me).expect("no ring");
            s.log.put(name);
            s.m[m].release(me).unwrap();
        };
        let t = go(&s, b, move |s, me| {
            get(s, me, 2, "b");
            s.m[1].release(me).unwrap();
        });
        thread::yield_now(); // b waits
        let u = go(&s, c, move |s, me| {
            s.m[2].release(me).unwrap();
            get(s, me, 0, "c");
        });
        let mut me = a.sit();
        get(&s, &mut me, 1, "a");
        s.m[0].release(&me).unwrap();
        t.join().unwrap();
        u.join().unwrap();
        s.end()
    });
}

/// A thread joins another that waits for a mutex of the first. Bound 1; long 2.
#[test]
fn a_join_and_a_mutex_make_a_ring() {
    check("deadlock.join_and_mutex", heavy(), 820, &["join", "lock"], || {
        let vm = vm();
        let main = &mut vm.attach(()).unwrap();
        let m = Arc::new(Mutex::new());
        m.acquire(main).unwrap();
        let n = m.clone();
        let worker = vm.spawn((), move |me| match n.acquire(me) {
            Ok(_) => {
                n.release(me).unwrap();
                Ok::<_, ()>(false)
            }
            Err(LockError::Deadlock(cycle)) => {
                judge(&cycle, me, 2);
                Ok(true)
            }
            Err(e) => panic!("{e}"),
        });
        let worker = worker.unwrap();
        let first = worker.thread().join(main);
        m.release(main).unwrap();
        let told = worker.join(main).unwrap();
        assert!(is_idle(&m));
        match first {
            Ok(_) => {
                assert!(told);
                "lock".into()
            }
            Err(JoinError::Deadlock(cycle)) => {
                judge(&cycle, main, 2);
                assert!(!told);
                "join".into()
            }
            Err(e) => panic!("{e}"),
        }
    });
}

/// A mutex is handed to a thread that looks for a deadlock: the word names it already, its claim has not come. It is not told.
/// Bound 3.
#[test]
fn a_hand_over_in_flight_is_no_ring() {
    check("deadlock.hand_over_in_flight", Some(3), 4200, &["b"], || {
        let schedule = Schedule::new().hand_over_after(None).fair(true).detect_deadlocks(true);
        let vm = Runtime::builder().schedule(schedule).build();
        let (mut seats, _) = seats::<2>(&vm);
        let s = Many::<1>::new();
        seats[0].prepare(|me| assert!(s.m[0].acquire(me).is_ok()));
        let [a, b] = seats;
        let t = go(&s, b, |s, me| {
            s.m[0].acquire(me).unwrap();
            s.log.put("b");
            s.m[0].release(me).unwrap();
        });
        s.m[0].release(&a.sit()).unwrap();
        t.join().unwrap();
        s.end()
    });
}

/// A thread whose wait was ended by a signal, and whose entry still stands, does not wait. Bound 1; long 2.
#[test]
fn a_claimed_wait_is_no_part_of_a_ring() {
    check("deadlock.claimed_but_info_not_cleared", heavy(), 1000, &["int"], || {
        let vm = vm();
        let (mut seats, [_, tb]) = seats::<2>(&vm);
        let s = Many::<2>::new();
        hold_one_each(&s, &mut seats);
        let [a, b] = seats;
        let t = go(&s, b, |s, me| {
            assert_eq!(s.m[0].acquire(me), Err(LockError::Interrupted));
            s.log.put("int");
            s.m[1].release(me).unwrap();
        });
        let mut me = a.sit();
        let _ = tb.signal(&me, ()).unwrap();
        s.m[1].acquire(&mut me).expect("the other one was signalled before");
        s.m[1].release(&me).unwrap();
        s.m[0].release(&me).unwrap();
        t.join().unwrap();
        s.end()
    });
}

/// A notified thread on its way back to a mutex whose owner waits for what it holds: one of the two
/// is told, at whatever moment it was moved. Bound 1; long 2.
#[test]
fn the_way_back_is_part_of_a_ring() {
    check("deadlock.morphed_waiter", heavy(), 5800, &["back", "lock"], || {
        let vm = vm();
        let (mut seats, _) = seats::<2>(&vm);
        let s = Arc::new((Condvar::new(Arc::new(Mutex::new())), Mutex::new(), Log::new()));
        seats[1].prepare(|me| {
            s.0.mutex().acquire(me).unwrap();
            s.1.acquire(me).unwrap();
        });
        let [a, b] = seats;
        let t = go(&s, b, |s, me| {
            match s.0.wait(me) {
                Ok(_) => s.0.mutex().release(me).unwrap(),
                Err(WaitError::Lost(Loss::Deadlock(cycle))) => {
                    judge(&cycle, me, 2);
                    s.2.put("back");
                }
                Err(e) => panic!("{e}"),
            }
            s.1.release(me).unwrap();
        });
        let mut me = a.sit();
        s.0.mutex().acquire(&mut me).unwrap();
        s.0.notify_one(&me).unwrap();
        let told = match s.1.acquire(&mut me) {
            Ok(_) => {
                s.1.release(&me).unwrap();
                false
            }
            Err(LockError::Deadlock(cycle)) => {
                judge(&cycle, &me, 2);
                true
            }
            Err(e) => panic!("{e}"),
        };
        s.0.mutex().release(&me).unwrap();
        t.join().unwrap();
        assert!(is_idle(s.0.mutex()) && is_idle(&s.1));
        format!("{}{}", s.2.get(), if told { "lock" } else { "" })
    });
}

/// Two notified threads on their way back, each to a mutex that the next one of the ring holds; the third waits for what the
/// first one holds. One is told: a condition-wait loses its mutex then. Two such threads alone make no ring: the later
/// one would hold, in its wait, what the earlier one was notified under. Long list only: half a million executions. Bound 0,
/// which does not make the third thread the last one; `tests/deadlock.rs` has that.
#[test]
fn two_ways_back_are_part_of_a_ring() {
    if !long() {
        return;
    }
    struct S {
        c: [Condvar<Arc<Mutex>>; 2],
        last: Mutex,
        log: Log,
    }
    fn wait(s: &S, me: &mut Participant, which: usize, name: &str) {
        match s.c[which].wait(me) {
            Ok(_) => s.c[which].mutex().release(me).unwrap(),
            Err(WaitError::Lost(Loss::Deadlock(cycle))) => {
                judge(&cycle, me, 3);
                s.log.put(name);
            }
            Err(e) => panic!("{e}"),
        }
    }
    check("deadlock.two_reacquirers", Some(0), 400_000, &["", "a"], || {
        let vm = vm();
        let (mut seats, _) = seats::<3>(&vm);
        let c = std::array::from_fn(|_| Condvar::new(Arc::new(Mutex::new())));
        let s = Arc::new(S { c, last: Mutex::new(), log: Log::new() });
        seats[0].prepare(|me| {
            s.c[0].mutex().acquire(me).unwrap();
            s.last.acquire(me).unwrap();
        });
        seats[1].prepare(|me| assert!(s.c[1].mutex().acquire(me).is_ok()));
        let [a, b, c] = seats;
        let t = go(&s, a, |s, me| {
            wait(s, me, 0, "a");
            s.last.release(me).unwrap();
        });
        let mut me = c.sit();
        s.c[0].mutex().acquire(&mut me).unwrap();
        assert!(s.c[0].notify_one(&me).unwrap());
        s.c[0].mutex().release(&me).unwrap();
        let u = go(&s, b, |s, me| {
            s.c[0].mutex().acquire(me).unwrap();
            wait(s, me, 1, "b");
            s.c[0].mutex().release(me).unwrap();
        });
        s.c[1].mutex().acquire(&mut me).unwrap();
        assert!(s.c[1].notify_one(&me).unwrap());
        match s.last.acquire(&mut me) {
            Ok(_) => s.last.release(&me).unwrap(),
            Err(LockError::Deadlock(cycle)) => {
                judge(&cycle, &me, 3);
                s.log.put("c");
            }
            Err(e) => panic!("{e}"),
        }
        s.c[1].mutex().release(&me).unwrap();
        t.join().unwrap();
        u.join().unwrap();
        assert!(is_idle(s.c[0].mutex()) && is_idle(s.c[1].mutex()) && is_idle(&s.last));
        s.log.get()
    });
}

/// A thread that waits for a ring, and is no part of it, is not told, and its look ends. Bound 0; long 1.
#[test]
fn a_tail_that_leads_into_a_ring() {
    let must = if long() { &["a", "b"][..] } else { &["b"] };
    check("deadlock.tail_into_a_ring", heaviest(), 50, must, || {
        let vm = vm();
        let (mut seats, _) = seats::<3>(&vm);
        let s = Many::<2>::new();
        for (m, seat) in s.m.iter().zip(&mut seats) {
            seat.prepare(|me| assert!(m.acquire(me).is_ok()));
        }
        let [a, b, c] = seats;
        let u = go(&s, c, |s, me| {
            s.m[0].acquire(me).expect("no part of the ring");
            s.m[0].release(me).unwrap();
        });
        let t = go(&s, b, |s, me| ask(s, me, 1, 0, "b"));
        ask(&s, &mut a.sit(), 0, 1, "a");
        t.join().unwrap();
        u.join().unwrap();
        s.end()
    });
}

/// An owner ends while another thread goes to wait for its mutex. Kills a check of the owner before the entry is published,
/// `ended` weakened (record E2).
fn owner_dies(name: &'static str, death: OwnerDeath, must: &'static [&'static str]) {
    check(name, Some(2), 50, must, move || {
        let schedule = Schedule::new().hand_over_after(None);
        let vm = Runtime::builder().schedule(schedule).owner_death(death).build();
        let main = &mut vm.attach(()).unwrap();
        let s = Many::<1>::new();
        let t = s.clone();
        let (tell, told) = (Arc::new(selvedge::model::AtomicU32::new(0)), Arc::new(Log::new()));
        let (note, wrote) = (tell.clone(), told.clone());
        let dead = vm.spawn((), move |me| {
            t.m[0].acquire(me).unwrap();
            t.m[0].acquire(me).unwrap();
            wrote.put("w");
            note.fetch_add(1, selvedge::model::Ordering::Relaxed);
            Ok::<_, ()>(())
        });
        let dead = dead.unwrap();
        while tell.load(selvedge::model::Ordering::Relaxed) == 0 {
            selvedge::model::thread::yield_now();
        }
        let how = match s.m[0].acquire(main) {
            Ok(got) => {
                assert_eq!(got.abandoned_by, Some(dead.id()));
                assert_eq!(s.m[0].depth(main), 1);
                s.m[0].release(main).unwrap();
                "inherited"
            }
            Err(e) => {
                assert_eq!(e, LockError::OwnerDied(dead.id()));
                drop(s.m[0].recover(main).unwrap());
                "told"
            }
        };
        // Ordered by the mark that it is over, not by a join.
        assert_eq!(told.get(), "w");
        dead.join(main).unwrap();
        s.end();
        how.into()
    });
}

/// Bound 2.
#[test]
fn an_owner_dies_and_its_waiter_is_told() {
    owner_dies("deadlock.owner_dies_left_locked", OwnerDeath::LeaveLocked, &["told"]);
}

/// Bound 2.
#[test]
fn an_owner_dies_and_its_waiter_inherits() {
    owner_dies("deadlock.owner_dies_abandoned", OwnerDeath::Abandon, &["inherited"]);
}

/// A thread that leaves a mutex to its dead owner again, because its hook panics after the wait.
struct Leaver {
    me: Participant,
    /// Runs once, in the first hook: then the owner is dead and another thread comes.
    first: Option<Box<dyn FnOnce() -> thread::JoinHandle<()>>>,
    came: Option<thread::JoinHandle<()>>,
}

impl Context for Leaver {
    fn me(&self) -> &Participant {
        &self.me
    }
    fn me_mut(&mut self) -> &mut Participant {
        &mut self.me
    }
    fn before_block(&mut self, _: &Blocker) {
        if let Some(first) = self.first.take() {
            self.came = Some(first());
        }
    }
    fn after_block(&mut self) {
        panic::resume_unwind(Box::new("planted"));
    }
}

/// Who takes a mutex from a dead owner and panics before it is told leaves it to that owner again; another thread that comes
/// meanwhile is told in the end, whether it came first, queued behind, or came last. Kills a leaver that tells nobody. Bound 2.
#[test]
fn a_mutex_is_left_to_the_dead_again() {
    check("deadlock.left_to_the_dead", Some(2), 40_000, &["told"], || {
        let schedule = Schedule::new().hand_over_after(None);
        let vm = Runtime::builder().schedule(schedule).owner_death(OwnerDeath::Abandon).build();
        let me = vm.attach(()).unwrap();
        let ([other], _) = seats::<1>(&vm);
        let s = Many::<1>::new();
        let t = s.clone();
        // 1: the mutex is held. 2: its owner is to end.
        let step = Arc::new(AtomicU32::new(0));
        let next = step.clone();
        let owner = vm.spawn((), move |me| {
            t.m[0].acquire(me).unwrap();
            next.fetch_add(1, Relaxed);
            until(&next, 2);
            Ok::<_, ()>(())
        });
        let owner = owner.unwrap();
        let dead = owner.id();
        until(&step, 1);
        let come = s.clone();
        let first = move || {
            next_is(&step, 2);
            while owner.thread().is_alive() {
                thread::yield_now();
            }
            go(&come, other, move |s, me| {
                let got = s.m[0].acquire(me).unwrap();
                assert_eq!(got.abandoned_by, Some(dead));
                s.log.put("told");
                s.m[0].release(me).unwrap();
            })
        };
        let mut cx = Leaver { me, first: Some(Box::new(first)), came: None };
        let left = panic::catch_unwind(AssertUnwindSafe(|| s.m[0].acquire(&mut cx)));
        assert!(left.is_err() && !s.m[0].is_owner(cx.me()));
        cx.came.take().expect("the hook ran").join().unwrap();
        s.end()
    });
}

fn until(step: &AtomicU32, n: u32) {
    while step.load(Relaxed) != n {
        thread::yield_now();
    }
}

fn next_is(step: &AtomicU32, n: u32) {
    assert_eq!(step.fetch_add(1, Relaxed) + 1, n);
}
