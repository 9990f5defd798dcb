//! Models of two mechanisms that meet in one wait, for the cells of docs/INTERACTIONS.md that no room's model fills.
//!
//! One thread waits; main does the two things to it, while it goes to sleep, sleeps, wakes or ends. Bound 2, or 1 where
//! the comment says so.
#![cfg(selvedge_loom)]

use loom_tests::check;
use loom_tests::scene::{Deeds, Log, One, barging, fair, go, seats, soon};
use selvedge::model::thread;
use selvedge::{
    JoinError, LockError, Participant, Runtime, SleepError, WaitError, safe_point, sleep_until,
    yield_now,
};
use std::sync::Arc;

/// What the waiter waits for.
#[derive(Clone, Copy)]
enum For {
    Lock,
    LockUntil,
    Sleep,
    Notification,
}

fn wait(s: &One, me: &mut Participant, what: For) -> &'static str {
    let r = match what {
        For::Lock => s.m.acquire(me),
        For::LockUntil => s.m.acquire_until(me, soon()),
        For::Sleep => {
            return match sleep_until(me, soon()) {
                Ok(()) => "slept",
                Err(SleepError::Interrupted) => "signal",
                Err(SleepError::ShutDown) => "shutdown",
                Err(e) => panic!("{e}"),
            };
        }
        For::Notification => {
            if s.m.acquire(me).is_err() {
                return "not waited";
            }
            let r = s.c.wait(me);
            if s.m.is_owner(me) {
                s.m.release(me).unwrap();
            }
            return match r {
                Ok(_) => "ok",
                Err(WaitError::Interrupted) => "signal",
                Err(e) => panic!("{e}"),
            };
        }
    };
    match r {
        Ok(_) => {
            s.m.release(me).unwrap();
            "locked"
        }
        Err(LockError::Interrupted) => "signal",
        Err(LockError::TimedOut) => "late",
        Err(LockError::ShutDown) => "shutdown",
        Err(e) => panic!("{e}"),
    }
}

/// The waiter against main, which holds the mutex before and does `deeds`; both end, nothing is left, a signal that did not
/// end the wait is pending. The outcome: how the wait ended, and who answered.
fn meet(
    name: &'static str,
    vm: fn() -> Runtime,
    what: For,
    at_least: usize,
    must: &'static [&'static str],
    deeds: fn(&mut Deeds<'_, One>),
) {
    let long = ["pairs.pass_on_vs_proxy", "pairs.pass_on_vs_serve", "pairs.morph_vs_proxy"];
    let bound = if long.contains(&name) { 1 } else { 2 };
    check(name, Some(bound), at_least, must, move || {
        let vm = vm();
        let ([a, b], [_, tb]) = seats(&vm);
        let s = One::new();
        let mut me = a.sit();
        s.m.acquire(&mut me).unwrap();
        let t = go(&s, b, move |s, me| {
            let how = wait(s, me, what);
            safe_point(me);
            if how == "signal" {
                assert!(me.take_signal().is_some(), "interrupted by nothing");
            }
            s.log.put(how);
        });
        let answers = Arc::new(Log::new());
        let (s, m, me) = (&*s, &*s.m, &mut me);
        deeds(&mut Deeds { vm: &vm, target: &tb, s, m, me, answers: answers.clone() });
        t.join().unwrap();
        format!("{}{}", s.end(), answers.get())
    });
}

/// A request that anybody may answer, to a waiter that is handed the mutex: answered once, and the mutex is its own.
#[test]
fn a_hand_over_meets_a_proxy() {
    meet("pairs.hand_over_vs_proxy", fair, For::Lock, 2200, &["locked?"], |d| {
        d.ask();
        d.release();
    });
}

/// A request that ends the wait of a waiter that is handed the mutex: who loses the claim goes on to the next.
#[test]
fn a_hand_over_meets_serve() {
    meet("pairs.hand_over_vs_serve", fair, For::Lock, 1_200, &["locked!"], |d| {
        d.ask_owner();
        d.release();
    });
}

/// A shutdown and a hand-over: the waiter owns the mutex, or neither it nor anybody.
#[test]
fn a_hand_over_meets_shutdown() {
    meet("pairs.hand_over_vs_shutdown", fair, For::Lock, 2300, &["locked", "shutdown"], |d| {
        d.shutdown();
        d.release();
    });
}

/// A request to a woken waiter on its way, which then loses the mutex to main. Bound 1.
#[test]
fn a_woken_waiter_meets_a_proxy() {
    meet("pairs.pass_on_vs_proxy", barging, For::Lock, 4_300, &["locked", "locked?"], |d| {
        d.release();
        d.ask();
        d.relock();
        d.release();
    });
}

/// The same with a request that it must answer itself: K does not wait for that. Bound 1.
#[test]
fn a_woken_waiter_meets_serve() {
    meet("pairs.pass_on_vs_serve", barging, For::Lock, 4_300, &["locked", "locked!"], |d| {
        d.release();
        d.ask_owner();
        d.relock();
        d.release();
    });
}

/// A signal and a request: the wait ends once, the request runs once.
#[test]
fn a_signal_meets_a_proxy() {
    meet(
        "pairs.signal_vs_proxy",
        barging,
        For::Lock,
        2_800,
        &["locked?", "signal", "signal?"],
        |d| {
            d.ask();
            d.signal();
            d.release();
        },
    );
}

/// A signal and SERVE: both would end the wait; the signal is not lost to the service.
#[test]
fn a_signal_meets_serve() {
    meet(
        "pairs.signal_vs_serve",
        barging,
        For::Lock,
        3_000,
        &["locked!", "signal", "signal!"],
        |d| {
            d.ask_owner();
            d.signal();
            d.release();
        },
    );
}

/// A signal and a shutdown.
#[test]
fn a_signal_meets_shutdown() {
    meet(
        "pairs.signal_vs_shutdown",
        barging,
        For::Lock,
        3_300,
        &["locked", "shutdown", "signal"],
        |d| {
            d.signal();
            d.shutdown();
            d.release();
        },
    );
}

/// A deadline while a proxy works for the thread: it comes back behind the proxy.
#[test]
fn a_deadline_meets_a_proxy() {
    meet(
        "pairs.timeout_vs_proxy",
        barging,
        For::LockUntil,
        2300,
        &["late", "late?", "locked?"],
        |d| {
            d.ask();
            d.release();
        },
    );
}

/// A deadline and SERVE: a wait that was served is timed still.
#[test]
fn a_deadline_meets_serve() {
    meet(
        "pairs.timeout_vs_serve",
        barging,
        For::LockUntil,
        2300,
        &["late", "late!", "locked!"],
        |d| {
            d.ask_owner();
            d.release();
        },
    );
}

/// A deadline and a shutdown.
#[test]
fn a_deadline_meets_shutdown() {
    meet("pairs.timeout_vs_shutdown", barging, For::Sleep, 320, &["shutdown", "slept"], |d| {
        d.shutdown();
        d.release();
    });
}

/// A request that a proxy answers for a thread that shutdown wakes.
#[test]
fn a_proxy_meets_shutdown() {
    meet(
        "pairs.proxy_vs_shutdown",
        barging,
        For::Lock,
        4600,
        &["locked?", "shutdown", "shutdown?"],
        |d| {
            d.ask();
            d.shutdown();
            d.release();
        },
    );
}

/// A request that the thread must answer itself, and a shutdown: it is answered, and the wait does not begin again.
#[test]
fn serve_meets_shutdown() {
    meet(
        "pairs.serve_vs_shutdown",
        barging,
        For::Lock,
        4900,
        &["locked!", "shutdown", "shutdown!"],
        |d| {
            d.ask_owner();
            d.shutdown();
            d.release();
        },
    );
}

/// A request that a proxy answers for a thread that is moved to the mutex's queue, where it sleeps on. Bound 1.
#[test]
fn a_moved_waiter_meets_a_proxy() {
    meet("pairs.morph_vs_proxy", barging, For::Notification, 4_500, &["ok?"], |d| {
        d.release();
        while d.s.c.waiters() == 0 {
            thread::yield_now();
        }
        d.relock();
        d.s.c.notify_one(d.me).unwrap();
        d.ask();
        d.release();
    });
}

/// A request to a thread that ends: it runs once, or comes back to the sender.
fn end(name: &'static str, owner_only: bool, must: &'static [&'static str]) {
    check(name, Some(2), 1_500, must, move || {
        let vm = barging();
        let main = &mut vm.attach(()).unwrap();
        let log = Arc::new(Log::new());
        let worker = vm.spawn((), |me| Ok::<_, ()>(sleep_until(me, soon()).is_ok())).unwrap();
        let note = log.clone();
        let run = move || note.put("ran");
        let sent = match owner_only {
            true => worker.ask_owner(run).is_ok(),
            false => worker.ask(run).is_ok(),
        };
        worker.join(main).unwrap();
        assert_eq!(Runtime::records_in_use(), 1);
        assert_eq!(sent, log.get() == "ran", "a request is answered if and only if it was taken");
        if sent { "ran".into() } else { "over".into() }
    });
}

/// The record is not free before its proxy is done.
#[test]
fn a_proxy_meets_the_end() {
    end("pairs.proxy_vs_exit", false, &["over", "ran"]);
}

/// A thread answers what came before its end.
#[test]
fn serve_meets_the_end() {
    end("pairs.serve_vs_exit", true, &["over", "ran"]);
}

/// A joiner, the end it waits for, and a shutdown: one of them ends the wait, and the end can be read all the same.
#[test]
fn the_end_meets_shutdown() {
    check("pairs.exit_vs_shutdown", Some(2), 1_700, &["joined", "shutdown"], || {
        let vm = barging();
        let ([a, b], _) = seats(&vm);
        let s = One::new();
        let mut me = a.sit();
        let worker = vm.spawn((), |_| Ok::<_, ()>(())).unwrap();
        let target = worker.thread().clone();
        let t = go(&s, b, move |s, me| {
            s.log.put(match target.join(me) {
                Ok(_) => "joined",
                Err(JoinError::ShutDown) => "shutdown",
                Err(e) => panic!("{e}"),
            });
        });
        vm.shutdown(&me);
        t.join().unwrap();
        while worker.exit().is_none() {
            thread::yield_now();
        }
        assert!(worker.join(&mut me).is_ok());
        s.log.get()
    });
}

fn baton(schedule: selvedge::Schedule) -> Runtime {
    Runtime::builder().baton(true).schedule(schedule).build()
}

/// Under the baton, a waiter and main, which does `deeds`, with the mutex, and joins.
fn turns(
    name: &'static str,
    fair: bool,
    what: For,
    at_least: usize,
    must: &'static [&'static str],
    deeds: fn(&mut Deeds<'_, One>),
) {
    let bound = if matches!(what, For::Notification) { 1 } else { 2 };
    check(name, Some(bound), at_least, must, move || {
        let vm = baton(selvedge::Schedule::new().hand_over_after(None).fair(fair));
        let main = &mut vm.attach(()).unwrap();
        let s = One::new();
        s.m.acquire(main).unwrap();
        let t = s.clone();
        let worker = vm
            .spawn((), move |me| {
                let how = wait(&t, me, what);
                safe_point(me);
                t.log.put(how);
                Ok::<_, ()>(())
            })
            .unwrap();
        yield_now(main);
        let answers = Arc::new(Log::new());
        let target = worker.thread();
        let (s, m, me) = (&*s, &*s.m, &mut *main);
        deeds(&mut Deeds { vm: &vm, target, s, m, me, answers: answers.clone() });
        worker.join(main).unwrap();
        format!("{}{}", s.end(), answers.get())
    });
}

/// A hand-over under the baton: the new owner waits for its turn, the mutex for it.
#[test]
fn a_hand_over_meets_the_baton() {
    turns("pairs.hand_over_vs_baton", true, For::Lock, 4_200, &["locked"], |d| {
        d.release();
        d.relock();
        d.release();
    });
}

/// A woken waiter has no turn yet when main takes the mutex again: it keeps its place.
#[test]
fn a_woken_waiter_meets_the_baton() {
    turns("pairs.pass_on_vs_baton", false, For::Lock, 4_200, &["locked"], |d| {
        d.release();
        d.relock();
        d.release();
    });
}

/// SERVE under the baton: the waiter takes a turn to answer.
#[test]
fn serve_meets_the_baton() {
    turns("pairs.serve_vs_baton", false, For::Lock, 4_700, &["locked!"], |d| {
        d.ask_owner();
        d.release();
    });
}

/// A notified waiter under the baton: it is moved, woken by the release, and takes the mutex in its turn. Bound 1.
#[test]
fn a_moved_waiter_meets_the_baton() {
    turns("pairs.morph_vs_baton", false, For::Notification, 3_800, &["ok"], |d| {
        d.release();
        yield_now(d.me);
        d.relock();
        d.s.c.notify_one(d.me).unwrap();
        d.release();
    });
}
