//! A crew: the workers of one runtime, their main thread, and an OS thread that comes and goes. And the hours of work.

use crate::meter::now;
use crate::work::{Random, Role, Worker};
use crate::world::{Condition, Note, Results, World};
use selvedge::{Participant, outside, sleep_until};
use std::sync::Barrier;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

/// When the run began, and how long it takes.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    /// The beginning.
    pub(crate) start: Instant,
    /// The length.
    pub(crate) total: Duration,
}

/// A quarter of a minute, or of the run if that is shorter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quarter {
    /// The large crew rests.
    Few,
    /// The small crew rests.
    Many,
    /// All work.
    All,
    /// All work, and every core is busy with something else.
    Busy,
}

impl Clock {
    /// The quarter of now.
    pub(crate) fn quarter(&self) -> Quarter {
        let round = self.total.min(Duration::from_secs(60)).as_secs_f64();
        let place = self.start.elapsed().as_secs_f64() % round / round;
        [Quarter::Few, Quarter::Many, Quarter::All, Quarter::Busy][(place * 4.0) as usize % 4]
    }
    /// Is the time over?
    pub(crate) fn is_over(&self) -> bool {
        self.start.elapsed() >= self.total
    }
}

/// The main thread of a crew, from the beginning to the end: all results hold, or it panics. `rests`: when the crew does.
pub(crate) fn run(
    world: &'static World,
    seed: u64,
    clock: Clock,
    rests: Option<Quarter>,
    all_over: &Barrier,
) {
    let mut cx = world.vm.attach("main").expect("a new runtime");
    let guest = world.slots.len() - 1;
    let seed_of = move |who: usize| seed ^ (who as u64 + 1) << 20;
    let workers: Vec<_> = (0..guest)
        .map(|who| {
            let work = move |cx: &mut Participant| {
                Ok::<_, ()>(Worker::new(cx, world, who, seed_of(who), 0).work(Role::of(who)))
            };
            world.vm.spawn(world.slots[who].name.as_str(), work).expect("the system has threads")
        })
        .collect();
    let loud = workers.iter().enumerate().filter(|(who, _)| Role::of(*who) == Role::Loud);
    let loud = loud.map(|(_, h)| h.thread().clone()).collect();
    assert!(world.targets.set(loud).is_ok());
    let guest = std::thread::spawn(move || visit(world, guest, seed_of(guest)));

    while !clock.is_over() {
        let rest = rests == Some(clock.quarter());
        if rest != world.paused.load(Relaxed) {
            let _held = world.gate.mutex.lock(&mut cx).expect("no signal comes to main");
            world.resumed.store(now(), Relaxed);
            world.paused.store(rest, Relaxed);
            world.opened.notify_all(&cx).expect("the mutex is ours");
        }
        sleep_until(&mut cx, Instant::now() + Duration::from_millis(20)).expect("the same");
    }
    world.stop.store(true, SeqCst);
    let tell = |cx: &mut Participant, on: &Condition| {
        let _held = on.mutex().lock(cx).expect("no signal comes to main");
        on.notify_all(cx).expect("the mutex is ours");
    };
    for on in [&world.opened, &world.filled, &world.emptied] {
        tell(&mut cx, on);
    }
    let mut results = Results::default();
    for h in &workers {
        results += h.join(&mut cx).expect("it ended well");
    }
    results += outside(&mut cx, |_| guest.join()).expect("it ended well");
    // Requests of other crews run before their targets end; these books are right when all are over.
    outside(&mut cx, |_| all_over.wait());
    for t in workers.iter().map(|h| h.thread()) {
        while let Some(signal) = t.take_undelivered() {
            assert!(signal.is::<Note>());
            world.books.taken.fetch_add(1, SeqCst);
        }
    }
    world.check(&mut cx, &results);
    assert_eq!(world.vm.all_threads(), [cx.thread().clone()]);
}

/// An OS thread that attaches, works a little, leaves, and sends signals as nobody in between.
fn visit(world: &'static World, who: usize, seed: u64) -> Results {
    let mut random = Random::new(!seed);
    let (mut results, mut sent) = (Results::default(), 0);
    while !world.stop.load(Relaxed) {
        {
            let mut cx = world.vm.attach("guest").expect("the runtime is open");
            let mut worker = Worker::new(&mut cx, world, who, seed ^ sent, sent);
            (0..16).for_each(|_| worker.step());
            results += worker.results;
            sent = worker.sent();
        }
        for _ in 0..random.below(4) {
            sent += 1;
            Worker::post(world, who, sent, &mut random);
        }
        std::thread::sleep(Duration::from_micros(random.below(500)));
    }
    results
}
