//! One description of what is measured, two ways to run it: criterion's, and rounds in which the rivals alternate.
//!
//! A cell is an id, a number of iterations, and the entrants that run them: selvedge first, then its rivals. An entrant
//! does its work a given number of times and says how long that took, by the clock that suits it: `cpu_time` where nobody
//! waits, `race` where threads do.
//!
//! On a shared machine the speed drifts from second to second, so two entrants that ran one after the other cannot be
//! compared. `--alternate FILE` runs A B C A B C .. over the whole room; medians and ratios come from these rounds.
//!
//! `--list` and `--once ID ENTRANT N` are for who counts instructions from outside: one entrant, N iterations, no clock.

#![allow(dead_code, reason = "no room uses all of it")]

pub(crate) mod channels;
pub(crate) mod locks;
pub(crate) mod monitors;

use criterion::{Criterion, SamplingMode};
use std::fmt::Write;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

/// What an entrant reports of one run: the time of all iterations, and further measures.
pub(crate) struct Sample {
    time: Duration,
    more: Vec<f64>,
}

impl From<Duration> for Sample {
    fn from(time: Duration) -> Self {
        Self { time, more: Vec::new() }
    }
}

impl Sample {
    /// Adds a measure, in the order of the cell's `also`.
    pub(crate) fn also(mut self, value: f64) -> Self {
        self.more.push(value);
        self
    }
}

struct Entrant {
    name: &'static str,
    run: Box<dyn FnMut(u64) -> Sample>,
}

struct Measure {
    /// Follows the cell's id.
    suffix: &'static str,
    unit: &'static str,
    better: &'static str,
}

/// See the module.
pub(crate) struct Cell {
    id: String,
    iterations: u64,
    rounds: usize,
    /// Not measured unless it is asked for.
    in_full_only: bool,
    measures: Vec<Measure>,
    entrants: Vec<Entrant>,
}

impl Cell {
    /// `iterations`: of one entrant in one round.
    pub(crate) fn new(id: impl Into<String>, iterations: u64) -> Self {
        let time = Measure { suffix: "", unit: "ns", better: "lower" };
        Self {
            id: id.into(),
            iterations,
            rounds: usize::MAX,
            in_full_only: false,
            measures: vec![time],
            entrants: Vec::new(),
        }
    }
    pub(crate) fn is(&self, id: &str) -> bool {
        self.id == id
    }
    /// For `--full`, or who names it: a room has more cells than one waits for.
    pub(crate) fn in_full_only(mut self) -> Self {
        self.in_full_only = true;
        self
    }
    /// No more rounds than so many: for a cell that takes seconds. Criterion's many samples are not for it.
    pub(crate) fn at_most(mut self, rounds: usize) -> Self {
        self.rounds = rounds;
        self
    }
    /// Names the time per iteration, where that is one measure of several.
    pub(crate) fn time_is(mut self, suffix: &'static str) -> Self {
        self.measures[0].suffix = suffix;
        self
    }
    /// A measure beside the time per iteration.
    pub(crate) fn also(
        mut self,
        suffix: &'static str,
        unit: &'static str,
        better: &'static str,
    ) -> Self {
        self.measures.push(Measure { suffix, unit, better });
        self
    }
    /// The first one is selvedge.
    pub(crate) fn entrant<S: Into<Sample>>(
        mut self,
        name: &'static str,
        mut run: impl FnMut(u64) -> S + 'static,
    ) -> Self {
        self.entrants.push(Entrant { name, run: Box::new(move |n| run(n).into()) });
        self
    }
}

/// `--alternate FILE [--rounds N] [--full] [--only PART,PART..] [--rivals NAME,NAME..]`, `--list`, `--once ID ENTRANT N`, or criterion's own arguments.
pub(crate) fn run(mut cells: Vec<Cell>) {
    // glibc takes the lock prefix out of a process that has one thread; a VM with one thread needs no lock.
    std::thread::spawn(|| {
        loop {
            std::thread::park();
        }
    });
    let args: Vec<String> = std::env::args().collect();
    let after = |flag| args.iter().position(|a| a == flag).and_then(|i| args.get(i + 1));
    if args.iter().any(|a| a == "--list") {
        for cell in &cells {
            let names: Vec<&str> = cell.entrants.iter().map(|e| e.name).collect();
            println!("{} {}", cell.id, names.join(" "));
        }
        return;
    }
    if let Some(i) = args.iter().position(|a| a == "--once") {
        let [id, entrant, n] = &args[i + 1..] else { panic!("--once ID ENTRANT N") };
        let cell = cells.iter_mut().find(|c| c.is(id)).expect("a cell of this room");
        let entrant = cell.entrants.iter_mut().find(|e| e.name == entrant);
        let n = n.parse().expect("a number of iterations");
        UNTIMED.store(true, Relaxed);
        black_box((entrant.expect("an entrant of the cell").run)(n));
        return;
    }
    match after("--alternate") {
        Some(file) => {
            let rounds = after("--rounds").map_or(15, |n| n.parse().expect("--rounds N"));
            let (full, only) = (args.iter().any(|a| a == "--full"), after("--only"));
            cells.retain(|c| match only {
                Some(only) => only.split(',').any(|part| c.id.contains(part)),
                None => full || !c.in_full_only,
            });
            if let Some(rivals) = after("--rivals") {
                for cell in &mut cells {
                    let ours = |name: &str| name == "selvedge";
                    cell.entrants
                        .retain(|e| ours(e.name) || rivals.split(',').any(|r| r == e.name));
                }
            }
            alternate(&mut cells, rounds, file);
        }
        None => by_criterion(cells),
    }
}

fn by_criterion(cells: Vec<Cell>) {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for cell in cells {
        if cell.rounds != usize::MAX || cell.in_full_only {
            println!("{}: by scripts/bench only", cell.id);
            continue;
        }
        let mut group = criterion.benchmark_group(cell.id.as_str());
        group.sampling_mode(SamplingMode::Flat);
        for mut entrant in cell.entrants {
            group.bench_function(entrant.name, |b| b.iter_custom(|n| (entrant.run)(n).time));
        }
        group.finish();
    }
    criterion.final_summary();
}

/// By cell, entrant, measure, round.
type Values = Vec<Vec<Vec<Vec<f64>>>>;

fn alternate(cells: &mut [Cell], rounds: usize, file: &str) {
    let mut values: Values = Vec::new();
    for cell in &*cells {
        let of_entrant = vec![Vec::new(); cell.measures.len()];
        values.push(vec![of_entrant; cell.entrants.len()]);
    }
    // The first round warms up.
    for round in 0..=rounds {
        for (cell, values) in cells.iter_mut().zip(&mut values) {
            if round > cell.rounds {
                continue;
            }
            let n = cell.iterations;
            for (entrant, values) in cell.entrants.iter_mut().zip(values) {
                let sample = (entrant.run)(n);
                let time = sample.time.as_nanos() as f64 / n as f64;
                assert_eq!(sample.more.len() + 1, values.len(), "{}: its measures", cell.id);
                for (value, of_measure) in std::iter::once(time).chain(sample.more).zip(values) {
                    if round > 0 {
                        of_measure.push(value);
                    }
                }
            }
        }
    }
    let (mut table, mut json) = (String::new(), Vec::new());
    for (cell, values) in cells.iter().zip(&values) {
        for m in 0..cell.measures.len() {
            json.push(report(cell, m, values, &mut table));
        }
    }
    println!(
        "medians of at most {rounds} rounds; x: selvedge / rival, with the quartiles of the rounds\n{table}"
    );
    std::fs::write(file, format!("[\n{}\n]\n", json.join(",\n"))).expect("the file can be written");
}

/// One measure of one cell: its lines in the table, and its entry in the JSON.
fn report(cell: &Cell, m: usize, values: &[Vec<Vec<f64>>], table: &mut String) -> String {
    let Measure { suffix, unit, better } = cell.measures[m];
    let id = if suffix.is_empty() { cell.id.clone() } else { format!("{}/{suffix}", cell.id) };
    let ours = &values[0][m];
    let (mut rivals, mut spread) = (Vec::new(), Vec::new());
    writeln!(table, "{id:44} {:>10} {unit}, {better} is better", short(median(ours))).unwrap();
    for (rival, values) in cell.entrants.iter().zip(values).skip(1) {
        let theirs = median(&values[m]);
        let ratios: Vec<f64> = ours.iter().zip(&values[m]).map(|(a, b)| over(*a, *b)).collect();
        let (low, high) = (quantile(&ratios, 0.25), quantile(&ratios, 0.75));
        let ratio = over(median(ours), theirs);
        let name = rival.name;
        writeln!(
            table,
            "    {name:40} {:>10}   x {}  ({} .. {})",
            short(theirs),
            times(ratio),
            times(low),
            times(high)
        )
        .unwrap();
        rivals.push(format!("\"{name}\": {}", short(theirs)));
        spread.push(format!("\"{name}\": [{}, {}]", short(low), short(high)));
    }
    format!(
        "  {{\"cell\": \"{id}\", \"unit\": \"{unit}\", \"better\": \"{better}\", \"selvedge\": {}, \"rivals\": {{{}}}, \"quartiles_of_ratio\": {{{}}}}}",
        short(median(ours)),
        rivals.join(", "),
        spread.join(", ")
    )
}

/// The ratio; two values that are both nothing are alike, and no ratio is beyond what JSON can say.
fn over(a: f64, b: f64) -> f64 {
    if a == b { 1.0 } else { (a / b).min(BEYOND) }
}

const BEYOND: f64 = 1e9;

fn times(ratio: f64) -> String {
    if ratio < BEYOND { format!("{ratio:.2}") } else { "inf".to_owned() }
}

/// Four significant digits, more than any median here has.
fn short(x: f64) -> String {
    if x == 0.0 {
        return "0".to_owned();
    }
    let digits = (3 - x.abs().max(1e-6).log10().floor() as i32).max(0) as usize;
    format!("{x:.digits$}")
}

fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which the part `q` of `values` lies.
pub(crate) fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(((sorted.len() as f64 - 1.0) * q).round() as usize).copied().unwrap_or(0.0)
}

/// A value with cache lines of its own.
#[repr(align(128))]
pub(crate) struct Line<T>(pub(crate) T);

/// The CPU time that this thread spends in `work`.
pub(crate) fn cpu_time(work: impl FnOnce()) -> Duration {
    let before = thread_cpu();
    work();
    thread_cpu() - before
}

fn thread_cpu() -> Duration {
    cpu_clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn cpu_clock(clock: libc::clockid_t) -> Duration {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec, which is there.
    let error = unsafe { libc::clock_gettime(clock, &raw mut t) };
    assert_eq!(error, 0, "there is a CPU clock");
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// Work that the compiler cannot leave out, some nanoseconds each time.
#[inline(always)]
pub(crate) fn multiply(times: u32, x: &mut u64) {
    for _ in 0..times {
        *x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

/// The wall time of `work`.
pub(crate) fn wall_time(work: impl FnOnce()) -> Duration {
    let before = Instant::now();
    work();
    before.elapsed()
}

/// What threads have used of the machine.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    /// Context switches because a thread slept, and because the system took the CPU away.
    pub(crate) voluntary: i64,
    pub(crate) involuntary: i64,
}

impl Usage {
    /// The threads of the process but for the calling one, those that ended included.
    pub(crate) fn of_others() -> Self {
        let all = Self::of(libc::RUSAGE_SELF, libc::CLOCK_PROCESS_CPUTIME_ID);
        all.since(Self::of(libc::RUSAGE_THREAD, libc::CLOCK_THREAD_CPUTIME_ID))
    }
    pub(crate) fn of_process() -> Self {
        Self::of(libc::RUSAGE_SELF, libc::CLOCK_PROCESS_CPUTIME_ID)
    }
    fn of(who: libc::c_int, clock: libc::clockid_t) -> Self {
        // SAFETY: plain numbers.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes one rusage, which is there.
        let error = unsafe { libc::getrusage(who, &raw mut usage) };
        assert_eq!(error, 0, "usage is counted");
        Self { cpu: cpu_clock(clock), voluntary: usage.ru_nvcsw, involuntary: usage.ru_nivcsw }
    }
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            voluntary: self.voluntary - before.voluntary,
            involuntary: self.involuntary - before.involuntary,
        }
    }
}

/// Where the threads of a race start.
pub(crate) struct Gate {
    barrier: Barrier,
    start: OnceLock<Instant>,
}

impl Gate {
    /// Waits until all threads are here. The clock starts.
    pub(crate) fn pass(&self) {
        // The leader came last, so it is the first to go on.
        if self.barrier.wait().is_leader() {
            let _ = self.start.set(Instant::now());
        }
    }
}

/// Runs `body` on so many threads, each of which passes the gate once. The time from there to the end of the last one.
pub(crate) fn race<R: Send>(
    threads: usize,
    body: impl Fn(usize, &Gate) -> R + Sync,
) -> (Duration, Vec<R>) {
    let gate = Gate { barrier: Barrier::new(threads), start: OnceLock::new() };
    let (body, gate) = (&body, &gate);
    let results: Vec<(R, Instant)> = std::thread::scope(|scope| {
        let run = |i| scope.spawn(move || (body(i, gate), Instant::now()));
        let threads: Vec<_> = (0..threads).map(run).collect();
        threads.into_iter().map(|t| t.join().expect("a racing thread does not panic")).collect()
    });
    let end = results.iter().map(|r| r.1).max().expect("a race has threads");
    let start = *gate.start.get().expect("every thread passed the gate");
    (end - start, results.into_iter().map(|r| r.0).collect())
}

/// Keeps the calling thread on the `n`-th of the process's CPUs, counted round. The system spreads threads only after a
/// while, or not at all where it has other work: a race for a lock would be run by turns.
pub(crate) fn stay_on_cpu(n: usize) {
    // SAFETY: an all-zero set is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes a set of this size, which is there. 0 is the calling thread.
    let error = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    assert_eq!(error, 0, "a thread has CPUs");
    // SAFETY: `cpu` is in the range of the set.
    let allowed = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, &set) };
    let cpus: Vec<usize> = (0..libc::CPU_SETSIZE as usize).filter(allowed).collect();
    // SAFETY: as above.
    let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the CPU was in the range of a set.
    unsafe { libc::CPU_SET(cpus[n % cpus.len()], &mut one) };
    // SAFETY: the kernel reads a set of this size, which is there.
    let error = unsafe { libc::sched_setaffinity(0, size_of_val(&one), &raw const one) };
    assert_eq!(error, 0, "the CPU is one of the thread's");
}

/// No step is timed: the clock would be counted.
static UNTIMED: AtomicBool = AtomicBool::new(false);

/// How long single steps took, in the order they came.
pub(crate) struct Steps {
    last: Instant,
    nanoseconds: Vec<f64>,
}

impl Steps {
    pub(crate) fn new(expected: u64) -> Self {
        Self { last: Instant::now(), nanoseconds: Vec::with_capacity(expected as usize) }
    }
    /// A step begins.
    pub(crate) fn begin(&mut self) {
        if UNTIMED.load(Relaxed) {
            return;
        }
        self.last = Instant::now();
    }
    /// A step ends, and the next one begins.
    pub(crate) fn end(&mut self) {
        if UNTIMED.load(Relaxed) {
            return;
        }
        let now = Instant::now();
        self.nanoseconds.push((now - self.last).as_nanos() as f64);
        self.last = now;
    }
    /// A step that somebody else timed.
    pub(crate) fn add(&mut self, nanoseconds: f64) {
        self.nanoseconds.push(nanoseconds);
    }
    /// The longest step but one in a hundred, over all threads.
    pub(crate) fn p99(all: Vec<Self>) -> f64 {
        Self::quantiles(all, [0.99])[0]
    }
    /// The steps below which these parts lie, over all threads.
    pub(crate) fn quantiles<const N: usize>(all: Vec<Self>, parts: [f64; N]) -> [f64; N] {
        let all: Vec<f64> = all.into_iter().flat_map(|s| s.nanoseconds).collect();
        parts.map(|part| quantile(&all, part))
    }
}
