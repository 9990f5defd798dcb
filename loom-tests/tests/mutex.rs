//! Models of `mutex`. Edges and invariants are those of its header.
#![cfg(selvedge_loom)]

use loom_tests::scene::{Log, One, barging, fair, go, heaviest, heavy, impatient, seats, soon};
use loom_tests::{check, long};
use selvedge::model::thread;
use selvedge::{Blocker, BlockerKind, Context, LockError, Participant, Runtime, uninterruptible};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

fn two(name: &'static str, vm: fn() -> Runtime, at_least: usize) {
    check(name, Some(3), at_least, &["ab", "ba"], move || {
        let vm = vm();
        let ([a, b], _) = seats(&vm);
        let s = One::new();
        let t = go(&s, b, |s, me| s.visit(me, "b"));
        s.visit(&mut a.sit(), "a");
        t.join().unwrap();
        s.end()
    });
}

/// Two threads lock once. Kills E1 on either side, queue without a second look (I2), the unpark. Bound 3.
#[test]
fn the_next_owner_sees_what_the_last_one_wrote() {
    two("mutex.two_barging", barging, 7700);
}

/// The same by hand-over. Kills claim E1, the owner stored after the claim (E2). Bound 3.
#[test]
fn a_hand_over_publishes() {
    two("mutex.two_hand_over", fair, 6800);
}

/// The first four come with one preemption.
const SIX: [&str; 6] = ["abc", "acb", "bac", "cab", "bca", "cba"];
const FOUR: usize = 4;

fn three(name: &'static str, vm: fn() -> Runtime) {
    let must = if long() { &SIX[..] } else { &SIX[..FOUR] };
    check(name, heavy(), 15_000, must, move || {
        let vm = vm();
        let ([a, b, c], _) = seats(&vm);
        let s = One::new();
        let t = go(&s, b, |s, me| s.visit(me, "b"));
        let u = go(&s, c, |s, me| s.visit(me, "c"));
        s.visit(&mut a.sit(), "a");
        t.join().unwrap();
        u.join().unwrap();
        s.end()
    });
}

/// Three threads lock once: somebody always has K when the mutex is free and a thread waits (I2). Bound 1; long 2.
#[test]
fn three_lock_by_barging() {
    three("mutex.three_barging", barging);
}

/// The same by hand-over. Bound 1; long 2.
#[test]
fn three_lock_by_hand_over() {
    three("mutex.three_hand_over", fair);
}

/// The woken waiter loses to a barger and is owed the mutex: the next release hands over. Bound 2.
#[test]
fn a_starving_waiter_is_handed_the_mutex() {
    check("mutex.starving", Some(2), 51_000, &["aab", "aba", "baa"], || {
        let vm = impatient();
        let ([a, b], _) = seats(&vm);
        let s = One::new();
        let t = go(&s, b, |s, me| s.visit(me, "b"));
        let mut me = a.sit();
        s.visit(&mut me, "a");
        s.visit(&mut me, "a");
        t.join().unwrap();
        s.end()
    });
}

/// Re-entry, depth, and a stranger's release while the mutex is owned. Kills `levels` touched by another (I4). Bound 3.
#[test]
fn levels_belong_to_the_owner() {
    check("mutex.recursion", Some(3), 29_000, &["aab", "baa"], || {
        let vm = barging();
        let ([a, b], _) = seats(&vm);
        let s = One::new();
        let t = go(&s, b, |s, me| {
            let e = s.m.release(me).unwrap_err();
            assert_eq!(e.caller, me.id());
            s.visit(me, "b");
        });
        let mut me = a.sit();
        let outer = s.m.lock(&mut me).unwrap();
        s.visit(&mut me, "a");
        assert_eq!(s.m.depth(&me), 1);
        s.log.put("a");
        drop(outer);
        t.join().unwrap();
        s.end()
    });
}

/// A woken waiter is told by a signal not to wait while the mutex is taken again; the one behind it must not sleep for
/// ever (R4). Kills a waiter that keeps K. Bound 0; long 1.
#[test]
fn an_interrupted_woken_waiter_gives_k_back() {
    let must: &[&str] = if long() { &["", "ok"] } else { &[""] };
    check("mutex.pass_on_interrupt", heaviest(), 200, must, || {
        let vm = barging();
        let ([a, b, c], [_, tb, _]) = seats(&vm);
        let s = One::new();
        let mut me = a.sit();
        s.m.acquire(&mut me).unwrap();
        let t = go(&s, b, move |s, me| s.visit_or(me, "ok", LockError::Interrupted));
        let u = go(&s, c, |s, me| s.visit(me, ""));
        thread::yield_now();
        s.m.release(&me).unwrap();
        s.m.acquire(&mut me).unwrap();
        let _ = tb.signal(&me, ()).unwrap();
        thread::yield_now();
        s.m.release(&me).unwrap();
        t.join().unwrap();
        u.join().unwrap();
        s.end()
    });
}

/// An interpreter that panics in its `me`, once it was woken.
struct Trap<'a> {
    me: &'a mut Participant,
    calls: Cell<u32>,
}

impl Context for Trap<'_> {
    fn me(&self) -> &Participant {
        let calls = self.calls.get();
        self.calls.set(calls.saturating_sub(1));
        if calls == 1 {
            std::panic::resume_unwind(Box::new(()));
        }
        self.me
    }
    fn me_mut(&mut self) -> &mut Participant {
        self.me
    }
    fn before_block(&mut self, _: &Blocker) {
        // One for the end of the hook, one for the mask, one before the sleep, one after it.
        self.calls.set(5);
    }
}

/// A woken waiter panics with K in hand: the next one gets it. Kills a waiter that only clears K. Bound 0, for a thread that
/// another interrupts while it unwinds makes loom's mutexes look poisoned.
#[test]
fn a_panic_passes_on() {
    check("mutex.pass_on_panic", Some(0), 24, &[""], || {
        let vm = barging();
        let ([a, b, c], _) = seats(&vm);
        let s = One::new();
        let mut me = a.sit();
        s.m.acquire(&mut me).unwrap();
        let t = go(&s, b, |s, me| {
            let mut cx = Trap { me, calls: Cell::new(0) };
            let taken = catch_unwind(AssertUnwindSafe(|| s.m.acquire(&mut cx)));
            cx.calls.set(0);
            if taken.is_ok() {
                s.log.put("ok");
                s.m.release(cx.me()).unwrap();
            }
        });
        let u = go(&s, c, |s, me| s.visit(me, ""));
        thread::yield_now();
        s.m.release(&me).unwrap();
        t.join().unwrap();
        u.join().unwrap();
        s.end()
    });
}

fn deadline(name: &'static str, vm: fn() -> Runtime, at_least: usize) {
    check(name, Some(3), at_least, &["a", "ab"], move || {
        let vm = vm();
        let ([a, b], _) = seats(&vm);
        let s = One::new();
        let mut me = a.sit();
        s.m.acquire(&mut me).unwrap();
        let t = go(&s, b, |s, me| s.visit_until(me, "b"));
        s.leave(&me, "a");
        t.join().unwrap();
        s.end()
    });
}

/// A deadline against a wake-up. Bound 3.
#[test]
fn a_deadline_races_a_wake_up() {
    deadline("mutex.timeout_vs_wake", barging, 2800);
}

/// A deadline against a hand-over: who loses the claim does nothing (claim I1); the mutex does not go to the dead. Bound 3.
#[test]
fn a_deadline_races_a_hand_over() {
    deadline("mutex.timeout_vs_grant", fair, 2400);
}

/// A hand-over whose claim is lost goes to the next waiter. Bound 1; long 2.
#[test]
fn a_lost_hand_over_goes_to_the_next() {
    check("mutex.timeout_vs_grant_next", heavy(), 43_000, &["ac", "abc", "acb"], || {
        let vm = fair();
        let ([a, b, c], _) = seats(&vm);
        let s = One::new();
        let mut me = a.sit();
        s.m.acquire(&mut me).unwrap();
        let t = go(&s, b, |s, me| s.visit_until(me, "b"));
        let u = go(&s, c, |s, me| s.visit(me, "c"));
        s.leave(&me, "a");
        t.join().unwrap();
        u.join().unwrap();
        s.end()
    });
}

/// A waiter, a release, a signal: either end of the wait is right, and the signal is there (R2).
fn signal(name: &'static str, vm: fn() -> Runtime, bound: Option<usize>) {
    let must: &[&str] = if bound == Some(0) { &["a1ok"] } else { &["a1int", "a1ok"] };
    check(name, bound, 150, must, move || {
        let vm = vm();
        let ([a, b, c], [_, tb, _]) = seats(&vm);
        let s = One::new();
        let mut me = a.sit();
        s.m.acquire(&mut me).unwrap();
        let t = go(&s, b, |s, me| {
            let r = s.m.acquire(me);
            if r.is_err() {
                let signal = me.take_signal().expect("interrupted by a signal");
                // What the sender wrote before is there.
                assert_eq!(signal.downcast::<Arc<Log>>().unwrap().get(), "x");
                uninterruptible(me, |me| s.m.acquire(me)).unwrap();
            }
            s.log.put(if r.is_ok() { "ok" } else { "int" });
            s.m.release(me).unwrap();
        });
        let u = go(&s, c, move |s, me| {
            let note = Arc::new(Log::new());
            note.put("x");
            let _ = tb.signal(me, note).unwrap();
            s.m.acquire(me).unwrap();
            s.m.release(me).unwrap();
        });
        s.leave(&me, "a1");
        t.join().unwrap();
        u.join().unwrap();
        s.end()
    });
}

/// Bound 1.
#[test]
fn a_signal_races_a_release() {
    signal("mutex.signal_vs_unlock", barging, Some(1));
}

/// Bound 0; long 1.
#[test]
fn a_signal_races_a_hand_over() {
    signal("mutex.signal_vs_hand_over", fair, heaviest());
}

/// An uninterruptible wait is not ended by a signal, and does not lose it. Kills claims that drop SIG. Bound 3.
#[test]
fn an_uninterruptible_wait_keeps_the_signal() {
    check("mutex.uninterruptible", Some(3), 39_000, &["b"], || {
        let vm = barging();
        let ([a, b], [_, tb]) = seats(&vm);
        let s = One::new();
        let mut me = a.sit();
        s.m.acquire(&mut me).unwrap();
        let t = go(&s, b, |s, me| {
            uninterruptible(me, |me| s.m.acquire(me)).unwrap();
            s.leave(me, "b");
            // The signal was sent before the release: it is pending, and keeps the next wait from beginning.
            let now = selvedge::sleep_until(me, soon());
            assert_eq!(now, Err(selvedge::SleepError::Interrupted), "the signal was lost");
            assert!(me.take_signal().is_some());
        });
        let _ = tb.signal(&me, ()).unwrap();
        s.m.release(&me).unwrap();
        t.join().unwrap();
        s.end()
    });
}

/// The blocker of a waiter, read while it is being woken, is the mutex or nothing. Bound 3.
#[test]
fn a_blocker_is_read_while_its_thread_wakes() {
    check("mutex.blocker_vs_wake", Some(3), 3700, &["mutex m", "none"], || {
        let vm = barging();
        let ([a, b], [_, tb]) = seats(&vm);
        let s = One::new();
        let mut me = a.sit();
        s.m.acquire(&mut me).unwrap();
        let t = go(&s, b, |s, me| {
            s.m.acquire(me).unwrap();
            s.m.release(me).unwrap();
        });
        let blocker = tb.blocker();
        s.m.release(&me).unwrap();
        t.join().unwrap();
        assert!(tb.blocker().is_none());
        s.end();
        blocker.map_or("none".into(), |b| {
            assert_eq!(b.kind(), BlockerKind::Mutex);
            b.to_string()
        })
    });
}

/// Shutdown against a lock: the waiter ends with `ShutDown`, without the mutex, or had it before. Bound 3.
#[test]
fn shutdown_ends_a_lock() {
    check("mutex.shutdown_vs_lock", Some(3), 12_000, &["", "b"], || {
        let vm = barging();
        let ([a, b], _) = seats(&vm);
        let s = One::new();
        let mut me = a.sit();
        s.m.acquire(&mut me).unwrap();
        let t = go(&s, b, |s, me| s.visit_or(me, "b", LockError::ShutDown));
        vm.shutdown(&me);
        s.m.release(&me).unwrap();
        t.join().unwrap();
        s.end()
    });
}

/// A request that only the waiter can answer, against the release: it is answered outside the wait, once, and the lock is
/// taken all the same (R7). Bound 3.
#[test]
fn a_waiter_serves_and_waits_on() {
    check("mutex.serve_vs_unlock", Some(3), 20_000, &["sb"], || {
        let vm = barging();
        let ([a, b], [_, tb]) = seats(&vm);
        let s = One::new();
        let mut me = a.sit();
        s.m.acquire(&mut me).unwrap();
        let t = go(&s, b, |s, me| {
            s.m.acquire(me).unwrap();
            s.leave(me, "b");
            selvedge::safe_point(me); // if it was not asked while it waited
        });
        let served = Arc::new(Log::new());
        let note = served.clone();
        tb.ask_owner(move || note.put("s")).unwrap();
        s.m.release(&me).unwrap();
        t.join().unwrap();
        assert_eq!(served.get(), "s");
        format!("s{}", s.end())
    });
}

/// An owner frees the mutex and ends, while another thread finds it taken: that is no dead owner. Kills a single look at the
/// owner (record E2). Bound 2.
#[test]
fn an_owner_that_frees_and_ends_is_no_dead_owner() {
    check("mutex.freed_then_ended", Some(2), 5_000, &["ab", "ba"], || {
        let vm = barging();
        let main = &mut vm.attach(()).unwrap();
        let s = One::new();
        let theirs = s.clone();
        let other = vm.spawn((), move |me| {
            theirs.visit(me, "b");
            Ok::<(), ()>(())
        });
        s.visit(main, "a");
        other.unwrap().join(main).unwrap();
        s.end()
    });
}
