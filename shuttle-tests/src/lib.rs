//! How the schedules are run: which schedulers, how many of each, and what is printed.
//!
//! | variable                | effect                                                                       |
//! |-------------------------|------------------------------------------------------------------------------|
//! | `SELVEDGE_SCHEDULES=n`  | n schedules in all, shared out among the scenarios and the two schedulers    |
//! | `SELVEDGE_REPLAY=text`  | runs that one schedule, as a red run printed it; name the one test with it   |
//! | `SELVEDGE_PLANT=name`   | plants a fault of the protocol: `scripts/mutants.plants`                     |
//!
//! Everything here exists only under `--cfg selvedge_shuttle`; `scripts/shuttle` sets it.
#![cfg(selvedge_shuttle)]

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};
use std::time::Instant;

/// Runs `scenario` in `share` of a hundred of the schedules that the run was given: half of them random, half by PCT with
/// `depth` points of preemption. Red: a panic, or a thread that sleeps for ever.
pub fn check(
    name: &str,
    share: usize,
    depth: usize,
    scenario: impl Fn() + Clone + Send + Sync + 'static,
) {
    if let Ok(schedule) = std::env::var("SELVEDGE_REPLAY") {
        run(ReplayScheduler::new_from_encoded(&schedule), scenario);
        return;
    }
    let given = std::env::var("SELVEDGE_SCHEDULES").ok();
    let all: usize = given.map_or(2_000, |n| n.parse().expect("SELVEDGE_SCHEDULES is a number"));
    let each = (all * share / 200).max(1);
    println!("START {name}");
    let start = Instant::now();
    let random = run(RandomScheduler::new(each), scenario.clone());
    let pct = run(PctScheduler::new(depth, each), scenario);
    let seconds = start.elapsed().as_secs_f64();
    println!("SHUTTLE {name} | random {random}, pct depth {depth} {pct} | {seconds:.1} s");
}

fn run(scheduler: impl Scheduler + 'static, scenario: impl Fn() + Send + Sync + 'static) -> usize {
    let mut config = Config::new();
    config.silence_warnings = true;
    // A schedule that takes so long is a loop that never ends.
    config.max_steps = MaxSteps::FailAfter(1_000_000);
    config.stack_size = 0x10_000;
    Runner::new(scheduler, config).run(scenario)
}
