//! Models of `deadlock`, and of what `mutex`, `condvar` and `join` do with its reports. Edges and invariants are those of
//! its header.
#![cfg(selvedge_loom)]

use loom_tests::scene::{Log, go, heaviest, seats};
use loom_tests::{check, long};
use selvedge::model::is_idle;
use selvedge::{Cycle, JoinError, LockError, Mutex, OwnerDeath, Participant, Runtime, Schedule};
use std::sync::Arc;

/// A runtime that looks for deadlocks.
fn vm() -> Runtime {
    Runtime::builder()
        .schedule(Schedule::new().hand_over_after(None).detect_deadlocks(true))
        .build()
}

struct S<const N: usize> {
    m: [Mutex; N],
    log: Log,
}

fn shared<const N: usize>() -> Arc<S<N>> {
    Arc::new(S { m: std::array::from_fn(|_| Mutex::new()), log: Log::new() })
}

fn end<const N: usize>(s: &S<N>) -> String {
    for m in &s.m {
        assert!(is_idle(m), "a flag, a waiter or an owner is left");
    }
    s.log.get()
}

/// Takes the first mutex and then, for ever, the second: true, or it is the victim. Lets go of both.
fn chain<const N: usize>(
    s: &S<N>,
    me: &mut Participant,
    first: usize,
    second: usize,
) -> Option<Cycle> {
    s.m[first].acquire(me).unwrap();
    let r = s.m[second].acquire(me);
    if r.is_ok() {
        s.m[second].release(me).unwrap();
    }
    s.m[first].release(me).unwrap();
    match r {
        Ok(_) => None,
        Err(LockError::Deadlock(cycle)) => Some(cycle),
        Err(e) => panic!("{e}"),
    }
}

/// The report leads once around, from the victim.
fn judge(cycle: &Cycle, victim: &Participant, length: usize) {
    assert_eq!(cycle.links().len(), length);
    assert_eq!(cycle.links()[0].thread(), victim.thread());
}

/// Holding one mutex, waits for another; writes its name if it is the victim. Lets go of both.
fn ask<const N: usize>(s: &S<N>, me: &mut Participant, held: usize, wanted: usize, name: &str) {
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

/// Two threads take two mutexes crosswise: they pass, or one of them, never both, is told. Kills a look before the entry is
/// published (nobody is told) and a detector without its word (both are). Bound 3.
#[test]
fn two_threads_cross() {
    check("deadlock.ring_of_2", Some(2), 100, &["", "a", "b"], || {
        let vm = vm();
        let ([a, b], _) = seats(&vm);
        let s = shared::<2>();
        let victims = Arc::new(Log::new());
        let told = victims.clone();
        let t = go(&s, b, move |s, me| {
            if let Some(cycle) = chain(s, me, 1, 0) {
                judge(&cycle, me, 2);
                told.put("b");
            }
        });
        let mut me = a.sit();
        let mine = chain(&s, &mut me, 0, 1);
        t.join().unwrap();
        if let Some(cycle) = mine {
            judge(&cycle, &me, 2);
            victims.put("a");
        }
        end(&s);
        victims.get()
    });
}

/// Three threads that hold one mutex each ask for the next one's: one of them is told. Bound 0; long 1.
#[test]
fn three_threads_chase_each_other() {
    // Without a preemption the last thread to begin is the last to wait; the first one needs two.
    let must = if long() { &["b", "c"][..] } else { &["c"] };
    check("deadlock.ring_of_3", heaviest(), 100, must, || {
        let vm = vm();
        let (mut seats, _) = seats::<3>(&vm);
        let s = shared::<3>();
        for (i, seat) in seats.iter_mut().enumerate() {
            seat.prepare(|me| {
                let _ = s.m[i].acquire(me).unwrap();
            });
        }
        let [a, b, c] = seats;
        let t = go(&s, b, |s, me| ask(s, me, 1, 2, "b"));
        let u = go(&s, c, |s, me| ask(s, me, 2, 0, "c"));
        ask(&s, &mut a.sit(), 0, 1, "a");
        t.join().unwrap();
        u.join().unwrap();
        end(&s)
    });
}

/// A thread joins another that waits for a mutex of the first. Bound 2.
#[test]
fn a_join_and_a_mutex_make_a_ring() {
    check("deadlock.join_and_mutex", Some(2), 100, &["join", "lock"], || {
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

/// An owner ends while another thread goes to wait for its mutex. Kills a check of the owner before the entry is published,
/// `ended` weakened (record E2).
fn owner_dies(name: &'static str, death: OwnerDeath, must: &'static [&'static str]) {
    check(name, Some(2), 50, must, move || {
        let schedule = Schedule::new().hand_over_after(None);
        let vm = Runtime::builder().schedule(schedule).owner_death(death).build();
        let main = &mut vm.attach(()).unwrap();
        let s = shared::<1>();
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
        end(&s);
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
