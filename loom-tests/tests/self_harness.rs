//! The harness, and the sites and mutants of the shim, each shown to fail when it must.
//!
//! What needs an environment of its own runs in a child process: the ignored tests.
#![cfg(selvedge_loom)]

use loom::sync::Arc;
use loom_tests::{apart, check};
use selvedge::model::{AtomicU32, UnsafeCell, fence, thread};
use std::fs;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Runs the ignored test `test`; `says` must be the start of a line it printed, and it must have failed.
fn fails(test: &str, env: &[(&str, &str)], says: &str) {
    let (passed, printed) = apart(test, env);
    let said = printed.lines().any(|l| l.starts_with(says));
    assert!(!passed && said, "{test} {env:?}: no {says:?} in\n{printed}");
    println!("\nSELFTEST {test} {env:?} | fails as it must");
}

#[test]
fn an_undeclared_outcome_is_red() {
    fails("undeclared", &[], "RED self.undeclared | undeclared");
}

#[test]
#[ignore = "red on purpose"]
fn undeclared() {
    check("self.undeclared", None, 1, &["2"], || "1".into());
}

/// Such a model proves less than it says, but nothing against the code.
#[test]
fn an_outcome_that_never_comes_and_too_few_executions_accuse_the_model() {
    fails("unreached", &[], "HARNESS self.unreached | never reached");
    fails("few", &[], "HARNESS self.few | 1 executions");
}

#[test]
#[ignore = "fails on purpose"]
fn unreached() {
    check("self.unreached", None, 1, &["1", "2"], || "1".into());
}

#[test]
#[ignore = "fails on purpose"]
fn few() {
    check("self.few", None, 2, &["1"], || "1".into());
}

#[test]
fn a_panic_a_race_a_leak_and_a_deadlock_are_red() {
    fails("panics", &[], "RED self.panics | on purpose");
    fails("races", &[], "RED self.races | ");
    fails("leaks", &[], "RED self.leaks | ");
    fails("deadlocks", &[], "RED self.deadlocks | deadlock");
}

#[test]
#[ignore = "red on purpose"]
fn panics() {
    check("self.panics", None, 1, &[], || panic!("on purpose"));
}

#[test]
#[ignore = "red on purpose"]
fn races() {
    check("self.races", None, 1, &[""], || {
        let cell = Arc::new(UnsafeCell::new(0));
        let other = thread::spawn({
            let cell = cell.clone();
            move || cell.with_mut(|_| ())
        });
        cell.with(|_| ());
        other.join().unwrap();
        String::new()
    });
}

#[test]
#[ignore = "red on purpose"]
fn leaks() {
    check("self.leaks", None, 1, &[""], || {
        std::mem::forget(Arc::new(0));
        String::new()
    });
}

#[test]
#[ignore = "red on purpose"]
fn deadlocks() {
    check("self.deadlocks", None, 1, &[""], || {
        thread::park();
        String::new()
    });
}

#[test]
fn budgets_are_refused() {
    for budget in [
        "LOOM_MAX_DURATION",
        "LOOM_MAX_PERMUTATIONS",
        "LOOM_MAX_PREEMPTIONS",
        "LOOM_MAX_BRANCHES",
        "LOOM_CHECKPOINT_FILE",
    ] {
        fails("bounded", &[(budget, "1")], "HARNESS self.bounded | HARNESS LOOM_");
    }
}

#[test]
fn deeper_adds_to_the_bound() {
    for (env, bound) in [(&[][..], "bound 1 "), (&[("SELVEDGE_DEEPER", "2")], "bound 3 ")] {
        let (passed, printed) = apart("bounded", env);
        assert!(passed && printed.contains(bound), "{printed}");
    }
    fails("bounded", &[("SELVEDGE_DEEPER", "-1")], "HARNESS SELVEDGE_DEEPER=-1");
}

#[test]
#[ignore = "run by others"]
fn bounded() {
    check("self.bounded", Some(1), 1, &["1"], || "1".into());
}

/// One binary, and the environment decides which ordering is weakened.
#[test]
fn sites_are_recorded_and_mutants_die() {
    let sites = concat!(env!("CARGO_TARGET_TMPDIR"), "/self_harness.sites");
    let _ = fs::remove_file(sites);
    let (passed, printed) = apart("message_passing", &[("SELVEDGE_SITES", sites)]);
    assert!(passed, "{printed}");
    let sites = fs::read_to_string(sites).unwrap();
    let mut sites: Vec<&str> = sites.lines().collect();
    sites.sort_by_key(|s| s.split(' ').nth(1));
    let operations: Vec<&str> = sites.iter().map(|s| s.split_once(' ').unwrap().1).collect();
    assert_eq!(operations, ["Fence Release", "Load Acquire", "Store Relaxed"]);

    let mutant = |site: usize, to: &str| {
        let (operation, _) = sites[site].rsplit_once(' ').unwrap();
        format!("{operation} {to}")
    };
    let after = |text: &str, start: &str| text.rsplit_once(start).unwrap().1.to_owned();
    let red = "RED self.message_passing | ";
    let set = |m: &str| apart("message_passing", &[("SELVEDGE_MUTANT", m)]);
    for (mutant, dies) in [
        (mutant(0, "none"), true),
        (mutant(0, "Acquire"), true),
        (mutant(0, "AcqRel"), false),
        (mutant(1, "Relaxed"), true),
        (mutant(2, "Release"), false),
        // The last components of the path are enough, a part of one is not.
        (after(&mutant(1, "Relaxed"), "/"), true),
        (after(&mutant(1, "Relaxed"), "self_"), false),
    ] {
        let (passed, printed) = set(&mutant);
        let died = printed.contains(red);
        assert_eq!((passed, died), (!dies, dies), "{mutant}\n{printed}");
        println!("\nSELFTEST mutant {mutant} | died {died}");
    }
    // A mutant that makes no sense must not look like a death.
    for mutant in [mutant(2, "none"), mutant(1, "Lax"), "x".into()] {
        let says = "HARNESS site | SELVEDGE_MUTANT";
        fails("message_passing", &[("SELVEDGE_MUTANT", &mutant)], says);
    }
}

#[test]
#[ignore = "run by others"]
fn message_passing() {
    check("self.message_passing", None, 2, &["0", "1"], || {
        let shared = Arc::new((UnsafeCell::new(()), AtomicU32::new(0)));
        let other = thread::spawn({
            let shared = shared.clone();
            move || {
                shared.0.with_mut(|_| ());
                fence(Release);
                shared.1.store(1, Relaxed);
            }
        });
        let seen = shared.1.load(Acquire);
        if seen == 1 {
            shared.0.with(|_| ());
        }
        other.join().unwrap();
        seen.to_string()
    });
}
