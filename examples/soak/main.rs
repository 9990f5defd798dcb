//! The soak: everything at once, for as long as asked. `scripts/soak MINUTES [SEED]`.
//!
//! Three crews: twice and 32 times as many threads as cores in parallel, and four times as many under the baton. Each
//! minute has four quarters: the small crew, the large one, both, and both beside a busy loop on every core; the baton goes
//! round all the time. Rings of locks are planted, and one thread of each must be told.
//!
//! Every minute it prints operations by kind, lock waits and memory. It ends with 1 when an invariant breaks, a lock is
//! waited for longer than ten seconds or memory grows, and aborts with a dump of what every thread waits for when one
//! operation takes that long.
//!
//! Not deterministic: the seed only chooses the operations.

mod crew;
mod meter;
mod watch;
mod work;
mod world;

use crew::{Clock, Quarter};
use meter::Sum;
use selvedge::Runtime;
use std::process::exit;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use world::{Counting, World};

static OVER: AtomicBool = AtomicBool::new(false);
/// Growth that is noise: allocators keep what they once had.
const NOISE: u64 = 16 * 1024;

fn usage() -> ! {
    eprintln!("usage: soak MINUTES [SEED]");
    exit(2)
}

fn world(name: &'static str, baton: bool, workers: usize, accounts: usize) -> World {
    let seen = std::sync::Arc::default();
    let host = Counting(std::sync::Arc::clone(&seen));
    let vm = Runtime::builder().baton(baton).host(host).build();
    // The last slot is the guest's.
    World::new(name, vm, seen, workers + 1, accounts)
}

fn main() {
    let mut args = std::env::args().skip(1);
    let minutes = args.next().and_then(|m| m.parse::<f64>().ok());
    let Some(minutes) = minutes.filter(|m| *m > 0.0 && *m < 1e6) else { usage() };
    let seed = match args.next().map(|s| s.parse()) {
        None => 1,
        Some(Ok(seed)) => seed,
        Some(Err(_)) => usage(),
    };
    let cores = std::thread::available_parallelism().map_or(2, |n| n.get());
    let clock = Clock { start: Instant::now(), total: Duration::from_secs_f64(minutes * 60.0) };
    println!("soak: {minutes} minutes, seed {seed}, {cores} cores, process {}", std::process::id());

    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        default(info);
        watch::fail("an invariant is broken");
    }));
    watch::set_worlds(vec![
        world("few", false, (2 * cores).max(4), 3),
        world("many", false, 32 * cores, 8),
        world("baton", true, (4 * cores).max(4), 3),
    ]);
    let records = Runtime::records_in_use();
    watch::start(&OVER);
    for _ in 0..cores {
        std::thread::spawn(move || spin(clock));
    }
    let all_over = Barrier::new(watch::worlds().len());
    let rests = [Some(Quarter::Many), Some(Quarter::Few), None];
    std::thread::scope(|scope| {
        for (i, world) in watch::worlds().iter().enumerate() {
            let (seed, all_over) = (seed << 8 | i as u64, &all_over);
            scope.spawn(move || crew::run(world, seed, clock, rests[i], all_over));
        }
        report(clock);
    });
    OVER.store(true, Relaxed);
    assert_eq!(Runtime::records_in_use(), records, "records are left");
    println!("soak: passed");
}

/// Keeps a core busy for a quarter of the time.
fn spin(clock: Clock) {
    while !OVER.load(Relaxed) {
        if clock.quarter() == Quarter::Busy {
            (0..100_000).for_each(|_| std::hint::spin_loop());
        } else {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Prints every minute, and the whole at the end.
fn report(clock: Clock) {
    let worlds = watch::worlds();
    let mut last = vec![Sum::new(); worlds.len()];
    let mut longest = vec![0; worlds.len()];
    // When every thread has worked and every stack has been used.
    let warm = (clock.total * 3 / 4).min(Duration::from_secs(60));
    let mut before = None;
    let mut minute = 1;
    loop {
        let end = (Duration::from_secs(60 * minute)).min(clock.total);
        while clock.start.elapsed() < end {
            std::thread::sleep(Duration::from_millis(50));
            if before.is_none() && clock.start.elapsed() >= warm {
                before = watch::resident();
            }
        }
        let now: Vec<Sum> = worlds.iter().map(sum).collect();
        let seconds = clock.start.elapsed().as_secs();
        println!("{seconds} s, {} KiB resident", watch::resident().unwrap_or(0));
        for (i, w) in worlds.iter().enumerate() {
            longest[i] = now[i].longest.max(longest[i]);
            let new = now[i].since(&last[i]);
            println!("{:>6}: {} operations, {new}", w.name, new.operations());
        }
        last = now;
        if end == clock.total {
            break;
        }
        minute += 1;
    }
    let after = watch::resident();
    println!("in all:");
    for (i, w) in worlds.iter().enumerate() {
        last[i].longest = longest[i];
        println!(
            "{:>6}: {} operations, {}\n  {}",
            w.name,
            last[i].operations(),
            last[i],
            last[i].kinds()
        );
    }
    if let (Some(before), Some(after)) = (before, after) {
        println!("memory: {before} KiB resident at {} s, {after} KiB at the end", warm.as_secs());
        assert!(after < before + before / 4 + NOISE, "memory grows");
    }
}

fn sum(world: &World) -> Sum {
    let mut sum = Sum::new();
    world.slots.iter().for_each(|slot| sum.add(slot));
    sum
}
