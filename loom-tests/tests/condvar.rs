//! Models of `condvar`. Edges and invariants are those of its header.
#![cfg(selvedge_loom)]

use loom_tests::scene::{Log, barging, fair, go, heaviest, heavy, seats, soon};
use loom_tests::{check, long};
use selvedge::model::internals::{is_idle, waits_not};
use selvedge::model::{UnsafeCell, thread};
use selvedge::{Condvar, LockError, Mutex, Participant, Runtime, WaitError, uninterruptible};
use std::sync::Arc;
use std::time::Instant;

struct S {
    c: Condvar<Arc<Mutex>>,
    flag: UnsafeCell<bool>,
    log: Log,
}
// SAFETY: loom watches the cell.
unsafe impl Sync for S {}
// SAFETY: as above.
unsafe impl Send for S {}

fn shared() -> Arc<S> {
    let c = Condvar::new(Arc::new(Mutex::new()));
    Arc::new(S { c, flag: UnsafeCell::new(false), log: Log::new() })
}

impl S {
    fn m(&self) -> &Mutex {
        self.c.mutex()
    }
    fn flag(&self) -> bool {
        // SAFETY: loom watches the cell.
        self.flag.with(|f| unsafe { *f })
    }
    fn raise(&self) {
        // SAFETY: loom watches the cell.
        self.flag.with_mut(|f| unsafe { *f = true });
    }
}

/// Waits for the flag at depth 2; whatever ends the wait, the mutex is held at depth 2 again (I4).
fn await_flag(s: &S, me: &mut Participant, deadline: Option<Instant>) {
    uninterruptible(me, |me| s.m().acquire(me)).unwrap();
    s.m().acquire(me).unwrap();
    let mut how = "had";
    while !s.flag() {
        let r = match deadline {
            Some(at) => s.c.wait_until(me, at),
            None => s.c.wait(me),
        };
        assert_eq!(s.m().depth(me), 2);
        how = match r {
            Ok(_) => "ok",
            Err(WaitError::Interrupted) => "int",
            Err(WaitError::TimedOut) => "time",
            Err(e) => panic!("{e}"),
        };
        if r.is_err() {
            break;
        }
    }
    s.log.put(how);
    s.m().release(me).unwrap();
    s.m().release(me).unwrap();
    assert!(waits_not(me));
}

fn end(s: &S) -> String {
    assert!(is_idle(s.m()), "a flag or a waiter is left on the mutex");
    assert_eq!(s.c.waiters(), 0);
    s.log.get()
}

fn notify_holding(s: &S, me: &mut Participant) {
    s.m().acquire(me).unwrap();
    s.raise();
    s.c.notify_one(me).unwrap();
    s.m().release(me).unwrap();
}

fn notify(name: &'static str, vm: fn() -> Runtime) {
    check(name, Some(3), 4_000, &["had", "ok"], move || {
        let vm = vm();
        let ([a, b], _) = seats(&vm);
        let s = shared();
        let t = go(&s, b, |s, me| await_flag(s, me, None));
        notify_holding(&s, &mut a.sit());
        t.join().unwrap();
        end(&s)
    });
}

/// Wait against notify. Kills a notify that does not arm the mutex (I2), E1. Bound 3.
#[test]
fn a_notified_waiter_gets_the_mutex() {
    notify("condvar.notify", barging);
}

/// The same, the mutex handed over. Bound 3.
#[test]
fn a_notified_waiter_is_handed_the_mutex() {
    notify("condvar.notify_hand_over", fair);
}

/// A deadline against a notification: a waiter that was notified does not time out (claim table), and one that timed out
/// was not notified and leaves no node (I3). Bound 3.
#[test]
fn a_deadline_races_a_notification() {
    check("condvar.timeout_vs_notify", Some(3), 180_000, &["had-", "ok+", "time-"], || {
        let vm = barging();
        let ([a, b], _) = seats(&vm);
        let s = shared();
        let t = go(&s, b, |s, me| await_flag(s, me, Some(soon())));
        let mut me = a.sit();
        s.m().acquire(&mut me).unwrap();
        s.raise();
        let notified = s.c.notify_one(&me).unwrap();
        s.m().release(&me).unwrap();
        t.join().unwrap();
        end(&s) + if notified { "+" } else { "-" }
    });
}

/// Wait, notify and signal: whoever wins, the waiter holds the mutex and has the signal (R3). Bound 2.
#[test]
fn a_signal_races_a_notification() {
    check("condvar.signal_vs_notify", Some(2), 110_000, &["had", "int", "ok"], || {
        let vm = barging();
        let ([a, b, c], [_, tb, _]) = seats(&vm);
        let s = shared();
        let t = go(&s, b, |s, me| await_flag(s, me, None));
        let tb2 = tb.clone();
        let u = go(&s, c, move |_, me| drop(tb2.signal(me, ()).unwrap()));
        notify_holding(&s, &mut a.sit());
        t.join().unwrap();
        u.join().unwrap();
        assert_eq!(tb.undelivered(), 1);
        end(&s)
    });
}

/// A signal to a waiter that was notified and waits for the mutex: it stays pending, the wait is a success. Kills an
/// interruptible way back. Bound 1; long 2.
#[test]
fn a_signal_during_the_re_acquire_stays_pending() {
    check("condvar.signal_during_reacquire", heavy(), 9_000, &["had", "ok"], || {
        let vm = barging();
        let ([a, b], [_, tb]) = seats(&vm);
        let s = shared();
        let t = go(&s, b, |s, me| await_flag(s, me, None));
        let mut me = a.sit();
        s.m().acquire(&mut me).unwrap();
        s.raise();
        s.c.notify_one(&me).unwrap();
        let _ = tb.signal(&me, ()).unwrap();
        s.m().release(&me).unwrap();
        // Barging: the woken waiter queues again.
        s.m().acquire(&mut me).unwrap();
        s.m().release(&me).unwrap();
        t.join().unwrap();
        assert_eq!(tb.undelivered(), 1);
        end(&s)
    });
}

/// Two waiters, one with a deadline, and a notification: if it does not reach the first, it reaches the second. Long list
/// only; bound 2.
#[test]
fn a_notification_is_not_lost_to_a_deadline() {
    if !long() {
        return;
    }
    let must = &["hadhad", "hadok", "hadtime", "okhad", "okok", "timehad", "timeok"];
    check("condvar.notify_goes_to_the_next", Some(2), 500_000, must, || {
        let vm = barging();
        let ([a, b, c], _) = seats(&vm);
        let s = shared();
        let t = go(&s, b, |s, me| await_flag(s, me, Some(soon())));
        let u = go(&s, c, |s, me| await_flag(s, me, None));
        let mut me = a.sit();
        s.m().acquire(&mut me).unwrap();
        s.raise();
        // Once for each waiter that a first one leaves behind.
        if s.c.notify_one(&me).unwrap() {
            s.c.notify_one(&me).unwrap();
        }
        s.m().release(&me).unwrap();
        t.join().unwrap();
        u.join().unwrap();
        end(&s)
    });
}

/// `notify_all` reaches all that wait. Bound 0, after both wait; long 1.
#[test]
fn notify_all_wakes_all() {
    let must: &[&str] = match long() {
        false => &["okok"],
        true => &["hadhad", "hadok", "okhad", "okok"],
    };
    check("condvar.notify_all", heaviest(), 48_000, must, || {
        let vm = barging();
        let ([a, b, c], _) = seats(&vm);
        let s = shared();
        let t = go(&s, b, |s, me| await_flag(s, me, None));
        let u = go(&s, c, |s, me| await_flag(s, me, None));
        thread::yield_now();
        let mut me = a.sit();
        s.m().acquire(&mut me).unwrap();
        s.raise();
        s.c.notify_all(&me).unwrap();
        s.m().release(&me).unwrap();
        t.join().unwrap();
        u.join().unwrap();
        end(&s)
    });
}

/// A claimer that was slow with a first wait must not end the second one (claim I2): the waiter times out, waits again, and
/// is found there by its own notification only. Bound 2.
#[test]
fn a_stale_claim_does_not_end_the_next_wait() {
    check("condvar.stale_claim", Some(2), 44_000, &["hadok", "okok", "timehad", "timeok"], || {
        let vm = barging();
        let ([a, b], _) = seats(&vm);
        let s = shared();
        let t = go(&s, b, |s, me| {
            s.m().acquire(me).unwrap();
            let first = match s.flag() {
                true => "had",
                false => match s.c.wait_until(me, soon()) {
                    Ok(_) => "ok",
                    Err(WaitError::TimedOut) => "time",
                    Err(e) => panic!("{e}"),
                },
            };
            s.log.put(first);
            s.m().release(me).unwrap();
            // An other wait of the same thread, on the mutex alone.
            s.m().acquire(me).unwrap();
            s.log.put(if s.flag() && first == "time" { "had" } else { "ok" });
            s.m().release(me).unwrap();
        });
        notify_holding(&s, &mut a.sit());
        t.join().unwrap();
        end(&s)
    });
}

/// Shutdown against a condition-wait that was notified: the waiter has the mutex, or has lost it and holds nothing (R3).
/// Bound 2.
#[test]
fn shutdown_ends_the_re_acquire() {
    check("condvar.shutdown_vs_reacquire", Some(2), 35_000, &["", "had", "lost", "ok"], || {
        let vm = barging();
        let ([a, b, c], _) = seats(&vm);
        let s = shared();
        let t = go(&s, b, |s, me| {
            match s.m().acquire(me) {
                Ok(_) => {}
                Err(e) => return assert_eq!(e, LockError::ShutDown),
            }
            let mut how = "had";
            while !s.flag() {
                match s.c.wait(me) {
                    Ok(_) => how = "ok",
                    Err(WaitError::Lost(_)) => {
                        assert!(!s.m().is_owner(me));
                        return s.log.put("lost");
                    }
                    Err(WaitError::ShutDown) => {
                        how = "";
                        break;
                    }
                    Err(e) => panic!("{e}"),
                }
            }
            s.log.put(how);
            s.m().release(me).unwrap();
        });
        let mut me = a.sit();
        let stop = vm.clone();
        let u = go(&s, c, move |_, me| stop.shutdown(me));
        if s.m().acquire(&mut me).is_ok() {
            s.raise();
            s.c.notify_one(&me).unwrap();
            s.m().release(&me).unwrap();
        }
        t.join().unwrap();
        u.join().unwrap();
        end(&s)
    });
}

/// A notified waiter that shutdown makes leave passes its notification on, to who waits by then: the thread that shuts
/// down. Bound 2.
#[test]
fn a_lost_waiter_passes_its_notification_on() {
    check(
        "condvar.lost_passes_on",
        Some(2),
        23_000,
        &["not notified", "passed on", "too late"],
        || {
            let vm = barging();
            let ([a, b], _) = seats(&vm);
            let s = shared();
            let t = go(&s, b, |s, me| {
                if s.m().acquire(me).is_ok() {
                    let r = s.c.wait(me);
                    assert!(matches!(r, Err(WaitError::Lost(_) | WaitError::ShutDown)));
                    if s.m().is_owner(me) {
                        s.m().release(me).unwrap();
                    }
                }
            });
            let me = &mut a.sit();
            s.m().acquire(me).unwrap();
            let notified = s.c.notify_one(me).unwrap();
            vm.shutdown(me);
            let answer = match notified {
                false => "not notified",
                true if s.c.wait_until(me, soon()).is_ok() => "passed on",
                true => "too late",
            };
            s.m().release(me).unwrap();
            t.join().unwrap();
            assert!(is_idle(s.m()));
            answer.into()
        },
    );
}

/// A request that only the waiter can answer, against a notification: answered, outside the wait, and no notification is
/// lost. Bound 2.
#[test]
fn a_condition_wait_serves() {
    check("condvar.serve_vs_notify", Some(2), 119_000, &["had", "ok"], || {
        let vm = barging();
        let ([a, b], [_, tb]) = seats(&vm);
        let s = shared();
        let t = go(&s, b, |s, me| {
            await_flag(s, me, None);
            selvedge::safe_point(me);
        });
        let served = Arc::new(Log::new());
        let note = served.clone();
        tb.ask_owner(move || note.put("s")).unwrap();
        notify_holding(&s, &mut a.sit());
        t.join().unwrap();
        assert_eq!(served.get(), "s");
        end(&s)
    });
}

/// A release inside a condition-wait wakes one more, while another woken thread is on its way to the mutex: neither is lost,
/// and the last of them notifies (mutex I3). Bound 0, with a switch in the middle; long 1.
#[test]
fn two_are_on_their_way() {
    check("condvar.two_in_flight", heaviest(), 16_000, &["bcm", "cbm"], || {
        let vm = barging();
        let ([a, b, c], _) = seats(&vm);
        let s = shared();
        let mut me = a.sit();
        s.m().acquire(&mut me).unwrap();
        let visit = |who: &'static str| {
            move |s: &S, me: &mut Participant| {
                s.m().acquire(me).unwrap();
                s.log.put(who);
                if s.log.get().len() == 2 {
                    s.c.notify_one(me).unwrap();
                }
                s.m().release(me).unwrap();
            }
        };
        let t = go(&s, b, visit("b"));
        let u = go(&s, c, visit("c"));
        thread::yield_now();
        s.m().release(&me).unwrap();
        s.m().acquire(&mut me).unwrap();
        while s.log.get().len() < 2 {
            s.c.wait(&mut me).unwrap();
        }
        s.log.put("m");
        s.m().release(&me).unwrap();
        t.join().unwrap();
        u.join().unwrap();
        assert!(is_idle(s.m()));
        s.log.get()
    });
}
