//! The condition variable beside std's, parking_lot's and pthread's.

mod harness;

use harness::monitors::{Monitor, Notify, ParkingLot, Pthread, Selvedge, State, Std};
use harness::{Cell, Sample, Steps, race, stay_on_cpu};
use std::time::Duration;

fn main() {
    harness::run(vec![
        ping_pong("condvar/ping_pong/2_threads", false),
        ping_pong("condvar/ping_pong/2_threads_1_cpu", true),
        broadcast("condvar/broadcast/8", 8, false, 1_000),
        broadcast("condvar/broadcast/8_pinned", 8, true, 500),
        broadcast("condvar/broadcast/64", 64, false, 100),
        broadcast("condvar/broadcast/64_pinned", 64, true, 100),
        nobody_waits(),
    ]);
}

fn play<M: Monitor>(one_cpu: bool) -> impl FnMut(u64) -> Sample {
    move |n| {
        let monitor = M::new();
        let (time, steps) = race(2, |i, gate| {
            if one_cpu {
                stay_on_cpu(0);
            }
            let mut me = monitor.attach();
            let mut steps = Steps::new(n);
            let other = 1 - i;
            gate.pass();
            steps.begin();
            for _ in 0..n {
                let mine = |s: &State| s.turn == i as u64;
                monitor.when(&mut me, i, mine, |s| {
                    s.turn = other as u64;
                    Notify::One(other)
                });
                steps.end();
            }
            steps
        });
        Sample::from(time).also(Steps::p99(steps))
    }
}

/// Two threads that wake each other by turns; one iteration is there and back. Decides whether moving the waiter to the
/// mutex's queue pays: it shall be no slower than parking_lot, and twice as fast as std.
fn ping_pong(id: &'static str, one_cpu: bool) -> Cell {
    Cell::new(id, 2_000)
        .also("p99", "ns", "lower")
        .entrant("selvedge", play::<Selvedge>(one_cpu))
        .entrant("std", play::<Std<false>>(one_cpu))
        .entrant("std_notify_after_unlock", play::<Std<true>>(one_cpu))
        .entrant("parking_lot", play::<ParkingLot>(one_cpu))
        .entrant("pthread", play::<Pthread>(one_cpu))
}

/// Thread 0 wakes all others, and waits until the last of them has answered.
fn call<M: Monitor>(waiters: usize, pinned: bool) -> impl FnMut(u64) -> Sample {
    const GO: usize = 0;
    const DONE: usize = 1;
    move |n| {
        let monitor = M::new();
        let (time, steps) = race(waiters + 1, |i, gate| {
            if pinned {
                stay_on_cpu(i);
            }
            let mut me = monitor.attach();
            let mut steps = Steps::new(n);
            gate.pass();
            steps.begin();
            for turn in 1..=n {
                if i > 0 {
                    let called = |s: &State| s.turn >= turn;
                    monitor.when(&mut me, GO, called, |s| {
                        s.behind -= 1;
                        if s.behind == 0 { Notify::One(DONE) } else { Notify::Nobody }
                    });
                    continue;
                }
                let nobody_is_behind = |s: &State| s.behind == 0;
                monitor.when(&mut me, DONE, nobody_is_behind, |s| {
                    s.turn = turn;
                    s.behind = waiters as u64;
                    Notify::All(GO)
                });
                monitor.when(&mut me, DONE, nobody_is_behind, |_| Notify::Nobody);
                steps.end();
            }
            steps
        });
        Sample::from(time).also(Steps::p99(steps))
    }
}

/// One broadcast, until all have answered. Decides whether a stampede for the mutex is worth avoiding, and how many woken
/// threads may be on their way at once. Pinned: spread over the CPUs, so that a wake-up has a latency to hide. Not pinned:
/// the system may put them all on one CPU, or not, from run to run.
fn broadcast(id: &'static str, waiters: usize, pinned: bool, n: u64) -> Cell {
    Cell::new(id, n)
        .also("p99", "ns", "lower")
        .entrant("selvedge", call::<Selvedge>(waiters, pinned))
        .entrant("std", call::<Std<false>>(waiters, pinned))
        .entrant("parking_lot", call::<ParkingLot>(waiters, pinned))
        .entrant("pthread", call::<Pthread>(waiters, pinned))
}

fn alone<M: Monitor>() -> impl FnMut(u64) -> Duration {
    let monitor = Box::new(M::new());
    let mut me = monitor.attach();
    move |n| monitor.notify_nobody(&mut me, n)
}

/// A notification that nobody waits for. Decides whether a Lisp program may notify without looking first.
fn nobody_waits() -> Cell {
    Cell::new("condvar/notify/nobody_waits", 2_000_000)
        .entrant("selvedge", alone::<Selvedge>())
        .entrant("std", alone::<Std<false>>())
        .entrant("parking_lot", alone::<ParkingLot>())
        .entrant("pthread", alone::<Pthread>())
}
