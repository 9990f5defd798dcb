//! What nobody sees in a mean: the longest waits for a lock, and what a program costs that hardly does anything.

mod harness;

use harness::locks::{self, Lock};
use harness::monitors::{self, Monitor, Notify, ParkingLot, Std};
use harness::{Cell, Line, Sample, Steps, Usage, multiply, race, stay_on_cpu};
use selvedge::{Participant, Runtime};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::thread;
use std::time::{Duration, Instant};

fn main() {
    harness::run(vec![lock_wait(), idle(), producer_consumer()]);
}

type Selvedge = locks::Selvedge<Participant>;

fn selvedge() -> Selvedge {
    Selvedge::of(&Runtime::new())
}

// -- The tail of a lock's waits

/// Runs `work` while each CPU also has a thread that does nothing else than compute.
fn beside_busy_cpus<R>(work: impl FnOnce() -> R) -> R {
    /// Also when `work` panics: the scope waits for the busy threads.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
        }
    }
    let over = AtomicBool::new(false);
    thread::scope(|s| {
        let stop = Stop(&over);
        let over = &over;
        for cpu in 0..thread::available_parallelism().map_or(1, |n| n.get()) {
            s.spawn(move || {
                stay_on_cpu(cpu);
                let mut x = 1;
                while !over.load(Relaxed) {
                    multiply(1_000, &mut x);
                }
            });
        }
        let r = work();
        drop(stop);
        r
    })
}

/// Some 10 microseconds each: long enough for the other threads to come meanwhile, so that the tail is not drowned in locks
/// that nobody wanted.
const INSIDE: u32 = 3_000;
const OUTSIDE: u32 = 3_000;

/// `n` critical sections, by whoever comes, each wait for one timed.
fn waits<L: Lock>(make: impl Fn() -> L) -> impl FnMut(u64) -> Sample {
    move |n| {
        let lock = Line(make());
        let left = Line(AtomicU64::new(n));
        let (time, steps) = beside_busy_cpus(|| {
            race(4, |i, gate| {
                stay_on_cpu(i);
                let mut me = lock.0.attach();
                let (mut steps, mut x, mut y) = (Steps::new(n), 1, 1);
                gate.pass();
                loop {
                    steps.begin();
                    let held = lock.0.lock(&mut me);
                    steps.end();
                    let rest = left.0.load(Relaxed);
                    if rest == 0 {
                        break steps;
                    }
                    left.0.store(rest - 1, Relaxed);
                    multiply(INSIDE, &mut x);
                    drop(held);
                    multiply(OUTSIDE, &mut y);
                }
            })
        });
        let [p50, p99, p999, max] = Steps::quantiles(steps, [0.5, 0.99, 0.999, 1.0]);
        Sample::from(time).also(p50).also(p99).also(p999).also(max)
    }
}

/// Waits for a lock on a machine that has other work: four threads, and one that computes on each CPU. Decides how long a
/// waiter may lose before it is handed the lock.
fn lock_wait() -> Cell {
    Cell::new("tail/lock_wait/4_threads_busy_cpus", 20_000)
        .at_most(9)
        .time_is("ns_per_op")
        .also("p50", "ns", "lower")
        .also("p99", "ns", "lower")
        .also("p99.9", "ns", "lower")
        .also("max", "ns", "lower")
        .entrant("selvedge", waits(selvedge))
        .entrant("std", waits(|| std::sync::Mutex::new(())))
        .entrant("parking_lot", waits(|| parking_lot::Mutex::new(())))
        .entrant("parking_lot_reentrant", waits(|| parking_lot::ReentrantMutex::new(())))
}

// -- What little work costs

/// One thread in a condition-wait, one in a lock-wait, for `n` milliseconds. The time is the CPU's.
fn sleepers<L: Lock, M: Monitor>(make: impl Fn() -> L) -> impl FnMut(u64) -> Sample {
    move |n| {
        let (lock, monitor) = (make(), M::new());
        let (lock, monitor) = (&lock, &monitor);
        thread::scope(|s| {
            let mut me = lock.attach();
            let held = lock.lock(&mut me);
            s.spawn(|| {
                let mut me = monitor.attach();
                monitor.when(&mut me, 0, |s| s.turn > 0, |_| Notify::Nobody);
            });
            s.spawn(|| drop(lock.lock(&mut lock.attach())));
            // Both are asleep by then, or their first look around is counted, too.
            thread::sleep(Duration::from_millis(50));
            let before = Usage::of_others();
            thread::sleep(Duration::from_millis(n));
            let used = Usage::of_others().since(before);
            drop(held);
            let mut me = monitor.attach();
            monitor.when(
                &mut me,
                1,
                |_| true,
                |s| {
                    s.turn = 1;
                    Notify::All(0)
                },
            );
            Sample::from(used.cpu).also(used.voluntary as f64).also(used.involuntary as f64)
        })
    }
}

/// A program that waits. Decides whether a wait may look around now and then (for a deadlock, for a deadline): it shall
/// not, an idle VM uses no CPU.
fn idle() -> Cell {
    Cell::new("tail/idle/2_threads_2_s", 2_000)
        .at_most(3)
        .time_is("cpu_ns_per_ms")
        .also("voluntary", "switches", "lower")
        .also("involuntary", "switches", "lower")
        .entrant("selvedge", sleepers::<_, monitors::Selvedge>(selvedge))
        .entrant("std", sleepers::<_, Std<false>>(|| std::sync::Mutex::new(())))
        .entrant("parking_lot", sleepers::<_, ParkingLot>(|| parking_lot::Mutex::new(())))
}

/// One item per millisecond, `n` items. The time is the CPU's; the delay is from before the producer's lock until the
/// consumer has the item.
fn items<M: Monitor>(n: u64) -> Sample {
    let monitor = M::new();
    let epoch = Instant::now();
    let now = || epoch.elapsed().as_nanos() as u64;
    let made_at = AtomicU64::new(0);
    let (_, mut results) = race(2, |i, gate| {
        stay_on_cpu(i);
        let mut me = monitor.attach();
        let mut delays = Steps::new(n);
        gate.pass();
        let (before, start) = (Usage::of_process(), Instant::now());
        let mut seen = 0;
        while i == 0 && seen < n {
            let ready = |s: &monitors::State| s.turn > seen;
            let mut turn = 0;
            monitor.when(&mut me, 0, ready, |s| {
                turn = s.turn;
                // Written under the same mutex.
                delays.add((now() - made_at.load(Relaxed)) as f64);
                Notify::Nobody
            });
            seen = turn;
        }
        for item in 1..=n * i as u64 {
            let due = start + Duration::from_millis(item);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let at = now();
            let make = |s: &mut monitors::State| {
                s.turn = item;
                made_at.store(at, Relaxed);
                Notify::One(0)
            };
            monitor.when(&mut me, 1, |_| true, make);
        }
        (Usage::of_process().since(before), delays)
    });
    let (_, delays) = results.swap_remove(0);
    let (used, _) = results.swap_remove(0);
    let [p50, p99, max] = Steps::quantiles(vec![delays], [0.5, 0.99, 1.0]);
    let per_item = |count: i64| count as f64 / n as f64;
    Sample::from(used.cpu)
        .also(per_item(used.voluntary))
        .also(per_item(used.involuntary))
        .also(p50)
        .also(p99)
        .also(max)
}

/// A producer with an item each millisecond, and its consumer. Decides what a program pays that wakes up often and has
/// little to do. One sleep of the producer and one of the consumer are two voluntary switches per item.
fn producer_consumer() -> Cell {
    Cell::new("tail/producer_consumer/1_khz_2_s", 2_000)
        .at_most(9)
        .time_is("cpu_ns_per_item")
        .also("voluntary", "switches per item", "lower")
        .also("involuntary", "switches per item", "lower")
        .also("delay_p50", "ns", "lower")
        .also("delay_p99", "ns", "lower")
        .also("delay_max", "ns", "lower")
        .entrant("selvedge", items::<monitors::Selvedge>)
        .entrant("std", items::<Std<false>>)
        .entrant("parking_lot", items::<ParkingLot>)
}
