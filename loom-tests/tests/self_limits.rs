//! What loom cannot show, and what it shows falsely: one test per limit, so that a loom that changes one turns a test red.
//!
//! | limit                                                            | seen by                                 |
//! |------------------------------------------------------------------|-----------------------------------------|
//! | a load is forgotten once its thread stores to the same atomic    | `self_litmus.rs` (the shim repairs it)  |
//! | an RMW against a plain store gives impossible values             | `self_litmus.rs`                        |
//! | a store of 1 may end last after 3 although it came first         | `self_litmus.rs`                        |
//! | a SeqCst access is AcqRel                                        | here; SeqCst fences: `self_litmus.rs`   |
//! | load buffering, weak failures, timeouts, stray Condvar wakes: never | here                                 |
//! | `try_lock`, and Condvar with `park`: false deadlocks             | here                                    |
//! | five threads with main, seven remembered stores                  | here                                    |
//! | a spent budget is a success                                      | here; the harness refuses budgets       |
#![cfg(selvedge_loom)]

use loom::sync::atomic::AtomicU32;
use loom::sync::{Arc, Condvar, Mutex, Notify};
use loom::thread;
use loom_tests::{apart, caught, explore};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::time::Duration;

/// The outcomes of a model on loom's own types, and a line for the log.
fn outcomes(limit: &str, model: impl Fn() -> String + Send + Sync + 'static) -> Vec<String> {
    let seen = explore(None, 4, model);
    let outcomes: Vec<String> = seen.outcomes.into_keys().collect();
    println!("\nLIMIT {limit} | executions {} | {outcomes:?}", seen.executions);
    outcomes
}

/// `a` and `b` on two atomics, each in its thread: what they returned.
fn two(
    a: impl FnOnce(&AtomicU32, &AtomicU32) -> u32 + Send + 'static,
    b: impl FnOnce(&AtomicU32, &AtomicU32) -> u32,
) -> String {
    let cells = Arc::new((AtomicU32::new(0), AtomicU32::new(0)));
    let other = thread::spawn({
        let cells = cells.clone();
        move || a(&cells.0, &cells.1)
    });
    let b = b(&cells.0, &cells.1);
    format!("{} {b}", other.join().unwrap())
}

fn store_then_load(a: &AtomicU32, b: &AtomicU32) -> u32 {
    a.store(1, SeqCst);
    b.load(SeqCst)
}

fn load_then_store(a: &AtomicU32, b: &AtomicU32) -> u32 {
    let value = a.load(Relaxed);
    b.store(1, Relaxed);
    value
}

/// loom #180.
#[test]
fn false_alarm_seqcst_accesses_are_acqrel() {
    let seen = outcomes("store buffering, SeqCst accesses", || {
        two(store_then_load, |x, y| store_then_load(y, x))
    });
    assert_eq!(seen, ["0 0", "0 1", "1 0", "1 1"]);
}

#[test]
fn blind_to_load_buffering() {
    let seen = outcomes("load buffering", || two(load_then_store, |x, y| load_then_store(y, x)));
    assert_eq!(seen, ["0 0", "0 1", "1 0"]);
}

#[test]
fn blind_to_weak_failures() {
    let seen = outcomes("weak compare-exchange", || {
        let word = AtomicU32::new(0);
        format!("{:?}", word.compare_exchange_weak(0, 1, AcqRel, Relaxed))
    });
    assert_eq!(seen, ["Ok(0)"]);
}

/// Eight stores, and a reader that knows of them without being ordered behind them.
#[test]
fn blind_to_stores_before_the_last_seven() {
    let seen = outcomes("stores a reader can still see", || {
        two(
            |x, y| {
                (1..9).for_each(|v| x.store(v, Relaxed));
                y.store(1, Relaxed);
                0
            },
            |x, y| match y.load(Relaxed) {
                0 => 99,
                _ => x.load(Relaxed),
            },
        )
    });
    let last_seven = ["0 2", "0 3", "0 4", "0 5", "0 6", "0 7", "0 8"];
    assert_eq!(seen, [&last_seven[..], &["0 99"]].concat());
}

#[test]
fn five_threads_with_main_are_the_most() {
    let spawn = |others: usize| {
        caught(|| {
            explore(Some(0), others + 1, move || {
                let threads: Vec<_> = (0..others).map(|_| thread::spawn(|| {})).collect();
                threads.into_iter().for_each(|t| t.join().unwrap());
                String::new()
            })
        })
    };
    let (four, five) = (spawn(4), spawn(5));
    println!("\nLIMIT five and six threads | {four:?} | {five:?}");
    assert!(four.is_none() && five.is_some());
}

#[test]
fn blind_to_timeouts() {
    let wait = || {
        let (mutex, condvar) = (Mutex::new(()), Condvar::new());
        let held = mutex.lock().unwrap();
        let wait = condvar.wait_timeout(held, Duration::from_millis(1));
        format!("{}", wait.unwrap().1.timed_out())
    };
    let why = caught(|| explore(None, 3, wait)).expect("a deadlock");
    println!("\nLIMIT wait_timeout alone | {why}");
    assert!(why.contains("deadlock"), "{why}");
}

#[test]
fn blind_to_stray_condvar_wakes() {
    let seen = outcomes("stray condvar wakes", || {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let other = thread::spawn({
            let shared = shared.clone();
            move || {
                *shared.0.lock().unwrap() = true;
                shared.1.notify_one();
            }
        });
        let mut stray = 0;
        let mut ready = shared.0.lock().unwrap();
        while !*ready {
            ready = shared.1.wait(ready).unwrap();
            stray += !*ready as u32;
        }
        drop(ready);
        other.join().unwrap();
        stray.to_string()
    });
    assert_eq!(seen, ["0"]);
}

/// Why the shim's parker is a `Notify`.
#[test]
fn notify_returns_early_once() {
    let seen = outcomes("stray Notify returns", || {
        let shared = Arc::new((AtomicU32::new(0), Notify::new()));
        let other = thread::spawn({
            let shared = shared.clone();
            move || {
                shared.0.store(1, Release);
                shared.1.notify();
            }
        });
        let mut stray = 0;
        loop {
            shared.1.wait();
            if shared.0.load(Acquire) == 1 {
                break;
            }
            stray += 1;
        }
        other.join().unwrap();
        stray.to_string()
    });
    assert_eq!(seen, ["0", "1"]);
}

/// loom #376 and #422. Both kill the process, hence the children.
#[test]
fn false_deadlocks() {
    for test in ["two_try_locks", "condvar_then_park"] {
        let (passed, printed) = apart(test, &[]);
        println!("\nLIMIT {test} | passed {passed}");
        assert!(!passed && printed.contains("deadlock; threads"), "{printed}");
    }
}

#[test]
#[ignore = "dies: `false_deadlocks` runs it"]
fn two_try_locks() {
    explore(None, 3, || {
        let mutex = Arc::new(Mutex::new(0));
        let other = thread::spawn({
            let mutex = mutex.clone();
            move || drop(mutex.try_lock())
        });
        let held = mutex.try_lock();
        other.join().unwrap();
        drop(held);
        String::new()
    });
}

#[test]
#[ignore = "dies: `false_deadlocks` runs it"]
fn condvar_then_park() {
    explore(None, 3, || {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let main = thread::current();
        let other = thread::spawn({
            let shared = shared.clone();
            move || {
                main.unpark();
                *shared.0.lock().unwrap() = true;
                shared.1.notify_one();
            }
        });
        let mut ready = shared.0.lock().unwrap();
        while !*ready {
            ready = shared.1.wait(ready).unwrap();
        }
        drop(ready);
        thread::park();
        other.join().unwrap();
        String::new()
    });
}

/// With a failing execution still ahead, the check returns.
#[test]
fn a_spent_budget_is_a_success() {
    let model = || {
        let seen = two(
            |x, _| {
                x.store(1, Release);
                0
            },
            |x, _| x.load(Acquire),
        );
        assert_ne!(seen, "0 1", "the failing execution");
        seen
    };
    assert!(caught(|| explore(None, 3, model)).is_some());
    let mut builder = loom::model::Builder::new();
    builder.max_permutations = Some(1);
    builder.checkpoint_interval = 1;
    builder.check(move || drop(model()));
    println!("\nLIMIT a spent budget | success");
}
