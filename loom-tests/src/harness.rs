//! `check`: runs a model to the end of its bound and holds it to the outcomes and executions it declares.
//! On stdout, for the scripts:
//!
//! ```text
//! START name               names the model, if the process dies
//! MODEL name | executions n | bound b | outcomes reached/declared | t s
//! RED name | why           the model found a fault
//! HARNESS name | why       the model itself is at fault
//! ```
//!
//! A model is red when it panics, races, leaks or deadlocks (loom sees to that), or returns an undeclared outcome.
//! It is a HARNESS failure when a declared outcome never comes or the executions are too few: then the model proves
//! less than it says, whatever the code does. Both fail the test; only RED kills a mutant.
//!
//! | variable            | effect                                                                      |
//! |---------------------|-----------------------------------------------------------------------------|
//! | `SELVEDGE_DEEPER=n` | adds `n` preemptions to every bound                                         |
//! | `SELVEDGE_LONG=1`   | [`long`] holds: the long list                                               |
//! | `LOOM_MAX_*`, ..    | refused: loom calls a spent budget a success, and the bound is the model's own |
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Threads of a model if it does not say: main and three more.
const THREADS: usize = 4;
/// Steps of one execution after which loom calls it a livelock.
const STEPS: usize = 10_000;
const BUDGETS: [&str; 5] = [
    "LOOM_MAX_DURATION",
    "LOOM_MAX_PERMUTATIONS",
    "LOOM_MAX_PREEMPTIONS",
    "LOOM_MAX_BRANCHES",
    "LOOM_CHECKPOINT_FILE",
];

/// What an exploration saw.
pub struct Explored {
    /// Executions run.
    pub executions: usize,
    /// How often each outcome was returned.
    pub outcomes: BTreeMap<String, usize>,
}

/// Whether this is the long list, where a model may have a larger bound and take minutes.
pub fn long() -> bool {
    env::var("SELVEDGE_LONG").is_ok_and(|v| v == "1")
}

/// Runs `model` under loom with up to `threads` threads, main included, until every schedule with at most `bound`
/// preemptions is done. No budget ends it earlier.
///
/// # Panics
/// When loom finds a fault, with loom's message.
pub fn explore<F>(bound: Option<usize>, threads: usize, model: F) -> Explored
where
    F: Fn() -> String + Send + Sync + 'static,
{
    refuse_budgets();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    builder.max_threads = threads;
    builder.max_branches = STEPS;
    let executions = Arc::new(AtomicUsize::new(0));
    let outcomes = Arc::new(Mutex::new(BTreeMap::new()));
    builder.check({
        let (executions, outcomes) = (executions.clone(), outcomes.clone());
        move || {
            executions.fetch_add(1, Relaxed);
            let outcome = model();
            let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            *outcomes.entry(outcome).or_insert(0) += 1;
        }
    });
    let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
    Explored { executions: executions.load(Relaxed), outcomes: std::mem::take(&mut outcomes) }
}

/// [`check_with`] for models of up to four threads.
#[track_caller]
pub fn check<F>(name: &str, bound: Option<usize>, at_least: usize, must_see: &[&str], model: F)
where
    F: Fn() -> String + Send + Sync + 'static,
{
    check_with(name, bound, THREADS, at_least, must_see, model);
}

/// Explores `model` and fails unless it returns exactly the outcomes `must_see`, in `at_least` executions or more
/// (half of today's count: enough to notice that it no longer branches).
#[track_caller]
pub fn check_with<F>(
    name: &str,
    bound: Option<usize>,
    threads: usize,
    at_least: usize,
    must_see: &[&str],
    model: F,
) where
    F: Fn() -> String + Send + Sync + 'static,
{
    let declared: BTreeSet<&str> = must_see.iter().copied().collect();
    if name.contains('|') || declared.len() < must_see.len() {
        harness(name, "a `|` in the name or an outcome declared twice");
    }
    let bound = bound.map(|b| b + deeper());
    println!("START {name}");
    let start = Instant::now();
    let seen = match catch_unwind(AssertUnwindSafe(|| explore(bound, threads, model))) {
        Ok(seen) => seen,
        Err(payload) => {
            let why = message(&*payload);
            let kind = if why.starts_with("HARNESS") { "HARNESS" } else { "RED" };
            println!("{kind} {name} | {}", why.lines().next().unwrap_or_default());
            resume_unwind(payload);
        }
    };
    println!(
        "MODEL {name} | executions {} | bound {} | outcomes {}/{} | {:.2} s",
        seen.executions,
        bound.map_or_else(|| "none".into(), |b| b.to_string()),
        seen.outcomes.len(),
        declared.len(),
        start.elapsed().as_secs_f64()
    );
    let seen_outcomes: BTreeSet<&str> = seen.outcomes.keys().map(String::as_str).collect();
    let undeclared: Vec<_> = seen_outcomes.difference(&declared).collect();
    if !undeclared.is_empty() {
        println!("RED {name} | undeclared outcomes {undeclared:?}");
        panic!("{name}: undeclared outcomes {undeclared:?}");
    }
    let unreached: Vec<_> = declared.difference(&seen_outcomes).collect();
    if !unreached.is_empty() {
        harness(name, &format!("never reached {unreached:?}"));
    }
    if seen.executions < at_least {
        harness(name, &format!("{} executions, {at_least} declared", seen.executions));
    }
}

/// What `f` panicked with, if it did.
pub fn caught<R>(f: impl FnOnce() -> R) -> Option<String> {
    let result = catch_unwind(AssertUnwindSafe(f));
    result.err().map(|payload| message(&*payload))
}

/// Runs the ignored test `test` of this binary in a process of its own, with `env` set. Returns whether it passed, and
/// all it printed.
pub fn apart(test: &str, env: &[(&str, &str)]) -> (bool, String) {
    let me = env::current_exe().expect("HARNESS the path of this binary");
    let mut child = Command::new(me);
    child.args(["--exact", test, "--ignored", "--nocapture"]);
    child.env_remove("SELVEDGE_DEEPER").envs(env.iter().copied());
    let out = child.output().expect("HARNESS this binary runs");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let printed = text(&out.stdout) + &text(&out.stderr);
    assert!(printed.contains("running 1 test"), "HARNESS no test {test}");
    (out.status.success(), printed)
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").into()
}

#[track_caller]
fn harness(name: &str, why: &str) -> ! {
    println!("HARNESS {name} | {why}");
    panic!("HARNESS {name}: {why}");
}

fn refuse_budgets() {
    for v in BUDGETS {
        assert!(env::var_os(v).is_none(), "HARNESS {v} is set: refused");
    }
}

fn deeper() -> usize {
    let Ok(n) = env::var("SELVEDGE_DEEPER") else {
        return 0;
    };
    n.parse().unwrap_or_else(|_| panic!("HARNESS SELVEDGE_DEEPER={n}: not a number"))
}
