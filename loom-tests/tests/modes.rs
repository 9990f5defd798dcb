//! Models of the modes of `mutex`: releases by a plain store or a swap, and the switch to the queue. Edges and invariants
//! are those of its header. In all other models a mutex starts in QUEUE and becomes STEADY.
#![cfg(selvedge_loom)]

use loom_tests::check;
use loom_tests::scene::{Log, One, barging, go, heavy, plain, quiet, seats};
use selvedge::{LockError, Runtime, Schedule, yield_now};
use std::sync::Arc;

fn two(name: &'static str, vm: fn() -> Runtime, at_least: usize) {
    check(name, Some(3), at_least, &["ab", "ba"], move || {
        let vm = vm();
        let ([a, b], _) = seats(&vm);
        let s = One::new();
        let mut me = a.sit();
        quiet(&s.m, &mut me);
        let t = go(&s, b, |s, me| s.visit(me, "b"));
        s.visit(&mut me, "a");
        t.join().unwrap();
        s.end()
    });
}

/// A waiter comes while the owner stores 0. Kills E1 and either half of E4, a late release that leaves. Bound 3.
#[test]
fn a_plain_release_meets_a_waiter() {
    two("modes.plain_two", plain, 13_000);
}

/// A waiter comes while the owner swaps 0 in. Kills E1 and either half of E5. Bound 3.
#[test]
fn a_swapping_release_meets_a_waiter() {
    two("modes.steady_two", barging, 15_000);
}

/// The mutex goes to QUEUE, back to its quiet mode, and to QUEUE again: the second switch needs a barrier of its own.
fn there_and_back(name: &'static str, vm: fn() -> Runtime, at_least: usize) {
    check(name, Some(2), at_least, &["aab", "aba", "baa"], move || {
        let vm = vm();
        let ([a, b], _) = seats(&vm);
        let s = One::new();
        let mut me = a.sit();
        quiet(&s.m, &mut me);
        let t = go(&s, b, |s, me| s.visit(me, "b"));
        s.visit(&mut me, "a");
        s.visit(&mut me, "a");
        t.join().unwrap();
        s.end()
    });
}

/// By plain stores. Bound 2.
#[test]
fn plain_there_and_back() {
    there_and_back("modes.plain_there_and_back", plain, 63_000);
}

/// By swaps. Bound 2.
#[test]
fn steady_there_and_back() {
    there_and_back("modes.steady_there_and_back", barging, 72_000);
}

/// Two waiters switch at once, and the mutex may be quiet again before the barrier of one is over. Kills a release that
/// takes CALLED back meanwhile (I6).
fn two_callers(name: &'static str, vm: fn() -> Runtime, bound: Option<usize>, at_least: usize) {
    check(name, bound, at_least, &["ok"], move || {
        let vm = vm();
        let ([a, b, c], _) = seats(&vm);
        let s = One::new();
        let mut me = a.sit();
        quiet(&s.m, &mut me);
        s.m.acquire(&mut me).unwrap();
        let t = go(&s, b, |s, me| s.visit(me, ""));
        let u = go(&s, c, |s, me| s.visit(me, ""));
        s.m.release(&me).unwrap();
        t.join().unwrap();
        u.join().unwrap();
        s.end() + "ok"
    });
}

/// By plain stores. Bound 1; long 2.
#[test]
fn plain_two_callers() {
    two_callers("modes.plain_two_callers", plain, heavy(), 83_000);
}

/// By swaps. Bound 1.
#[test]
fn steady_two_callers() {
    two_callers("modes.steady_two_callers", barging, Some(1), 186_000);
}

/// A waiter that called gives up, by a deadline: the release wakes nobody, the next one finds a sound mutex. Bound 3.
#[test]
fn a_plain_release_meets_a_deadline() {
    check("modes.plain_vs_timeout", Some(3), 4500, &["a", "ab"], || {
        let vm = plain();
        let ([a, b], _) = seats(&vm);
        let s = One::new();
        let mut me = a.sit();
        quiet(&s.m, &mut me);
        s.m.acquire(&mut me).unwrap();
        let t = go(&s, b, |s, me| s.visit_until(me, "b"));
        s.leave(&me, "a");
        t.join().unwrap();
        s.end()
    });
}

/// A signal for a waiter that called, with a plain release. Bound 2.
#[test]
fn a_plain_release_meets_a_signal() {
    check("modes.plain_vs_signal", Some(2), 3600, &["a", "ab"], || {
        let vm = plain();
        let ([a, b], [_, tb]) = seats(&vm);
        let s = One::new();
        let mut me = a.sit();
        quiet(&s.m, &mut me);
        s.m.acquire(&mut me).unwrap();
        let t = go(&s, b, |s, me| s.visit_or(me, "b", LockError::Interrupted));
        s.log.put("a");
        let _ = tb.signal(&me, ()).unwrap();
        s.m.release(&me).unwrap();
        t.join().unwrap();
        s.end()
    });
}

/// A condition-wait gives the mutex back by a plain store; the notifier switches it to QUEUE without a barrier. Kills a
/// notification that does not. Bound 2.
#[test]
fn a_plain_release_and_a_notification() {
    check("modes.plain_condvar", Some(2), 17_000, &["ba"], || {
        let vm = plain();
        let ([a, b], _) = seats(&vm);
        let s = One::new();
        let mut me = a.sit();
        quiet(&s.m, &mut me);
        s.m.acquire(&mut me).unwrap();
        let t = go(&s, b, |s, me| {
            s.m.acquire(me).unwrap();
            s.log.put("b");
            s.c.notify_one(me).unwrap();
            s.m.release(me).unwrap();
        });
        while s.log.get().is_empty() {
            s.c.wait(&mut me).unwrap();
        }
        s.leave(&me, "a");
        t.join().unwrap();
        s.end()
    });
}

/// A waiter with K gives up while a plain release is late: the one behind it is woken by either. Bound 1.
#[test]
fn a_plain_release_and_a_pass_on() {
    check("modes.plain_pass_on", Some(1), 136_000, &["", "ok"], || {
        let vm = plain();
        let ([a, b, c], [_, tb, _]) = seats(&vm);
        let s = One::new();
        let mut me = a.sit();
        quiet(&s.m, &mut me);
        s.m.acquire(&mut me).unwrap();
        let t = go(&s, b, |s, me| s.visit_or(me, "ok", LockError::Interrupted));
        let u = go(&s, c, |s, me| s.visit(me, ""));
        s.m.release(&me).unwrap();
        let _ = tb.signal(&me, ()).unwrap();
        t.join().unwrap();
        u.join().unwrap();
        s.end()
    });
}

/// The mutex goes to QUEUE and is handed over at once. Bound 2.
#[test]
fn a_switch_and_a_hand_over() {
    check("modes.plain_hand_over", Some(2), 1600, &["ab", "ba"], || {
        let schedule = Schedule::new().hand_over_after(None).membarrier(true).fair(true);
        let vm = Runtime::builder().schedule(schedule).build();
        let ([a, b], _) = seats(&vm);
        let s = One::new();
        let mut me = a.sit();
        quiet(&s.m, &mut me);
        let t = go(&s, b, |s, me| s.visit(me, "b"));
        s.visit(&mut me, "a");
        t.join().unwrap();
        s.end()
    });
}

/// A waiter that called is asked for something, which anybody may do for it (`owner_only` false) or it alone. Bound 2.
fn asked(name: &'static str, owner_only: bool) {
    check(name, Some(2), 400, &["ab"], move || {
        let vm = plain();
        let ([a, b], [_, tb]) = seats(&vm);
        let s = One::new();
        let mut me = a.sit();
        quiet(&s.m, &mut me);
        s.m.acquire(&mut me).unwrap();
        let t = go(&s, b, |s, me| {
            s.visit(me, "b");
            selvedge::safe_point(me); // if it was not asked while it waited
        });
        let asked = Arc::new(Log::new());
        let note = asked.clone();
        let run = move || note.put("s");
        if owner_only {
            tb.ask_owner(run).unwrap()
        } else {
            tb.ask(run).unwrap()
        }
        s.leave(&me, "a");
        t.join().unwrap();
        assert_eq!(asked.get(), "s");
        s.end()
    });
}

/// By a proxy, or by itself.
#[test]
fn a_switch_and_a_proxy() {
    asked("modes.plain_vs_proxy", false);
}

/// By itself, between two halves of its wait.
#[test]
fn a_switch_and_a_request() {
    asked("modes.plain_vs_serve", true);
}

/// Shutdown ends the wait of a thread that called. Bound 2.
#[test]
fn a_switch_and_a_shutdown() {
    check("modes.plain_vs_shutdown", Some(2), 4200, &["a", "ab"], || {
        let vm = plain();
        let ([a, b], _) = seats(&vm);
        let s = One::new();
        let mut me = a.sit();
        quiet(&s.m, &mut me);
        s.m.acquire(&mut me).unwrap();
        let t = go(&s, b, |s, me| s.visit_or(me, "b", LockError::ShutDown));
        vm.shutdown(&me);
        s.leave(&me, "a");
        t.join().unwrap();
        s.end()
    });
}

/// Under the baton the owner sleeps while another thread calls, and gives the mutex back by a plain store otherwise. Bound 2.
#[test]
fn a_switch_under_the_baton() {
    check("modes.plain_vs_baton", Some(2), 4200, &["ab"], || {
        let vm = Runtime::builder().baton(true).schedule(Schedule::new().membarrier(true)).build();
        let main = &mut vm.attach(()).unwrap();
        let s = One::new();
        quiet(&s.m, main);
        s.m.acquire(main).unwrap();
        let other = s.clone();
        let worker = vm
            .spawn((), move |me| {
                other.visit(me, "b");
                Ok::<_, ()>(())
            })
            .unwrap();
        yield_now(main);
        s.leave(main, "a");
        worker.join(main).unwrap();
        s.end()
    });
}
