//! The watchdog: ends the process, with a dump of every thread, when nothing goes on any more. And what it costs.

use crate::meter::{LIMIT, now};
use crate::world::World;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

static WORLDS: OnceLock<Vec<World>> = OnceLock::new();
static STOOD_STILL: AtomicU64 = AtomicU64::new(0);
const TICK: Duration = Duration::from_millis(200);

/// Publishes the worlds.
pub(crate) fn set_worlds(worlds: Vec<World>) {
    assert!(WORLDS.set(worlds).is_ok(), "once");
}

/// Every crew's world.
pub(crate) fn worlds() -> &'static [World] {
    WORLDS.get().map_or(&[], Vec::as_slice)
}

/// For how long the machine as a whole stood still of late, in nanoseconds: no wait is blamed for that.
pub(crate) fn stood_still() -> u64 {
    STOOD_STILL.load(Relaxed)
}

/// Looks at every worker from now on, until `over`.
pub(crate) fn start(over: &'static AtomicBool) {
    std::thread::spawn(move || {
        let (mut last, mut done) = (now(), u64::MAX);
        let mut changed = last;
        let mut stops: Vec<(u64, u64)> = Vec::new();
        while !over.load(Relaxed) {
            std::thread::sleep(TICK);
            let late = now() - last;
            last = now();
            if late > 5 * TICK.as_nanos() as u64 {
                stops.push((last, late));
            }
            stops.retain(|(at, _)| last - at < 2 * LIMIT.as_nanos() as u64);
            STOOD_STILL.store(stops.iter().map(|(_, late)| late).sum(), Relaxed);
            let limit = LIMIT.as_nanos() as u64 + stood_still();
            let mut sum = crate::meter::Sum::new();
            for slot in worlds().iter().flat_map(|w| &w.slots) {
                sum.look(slot);
            }
            if sum.operations() != done {
                (done, changed) = (sum.operations(), last);
            } else if last - changed > limit {
                die("no operation ended for ten seconds");
            }
            for w in worlds().iter().filter(|w| !w.paused.load(Relaxed)) {
                let resumed = w.resumed.load(Relaxed);
                for slot in &w.slots {
                    let Some((what, since)) = slot.at() else { continue };
                    if last.saturating_sub(since.max(resumed)) > limit {
                        die(&format!("{} is at `{what}` for ten seconds", slot.name));
                    }
                }
            }
        }
    });
}

/// Prints why and what every thread is at, and aborts.
fn die(why: &str) -> ! {
    tell(why);
    std::process::abort()
}

/// The same for a broken invariant: ends the process with 1.
pub(crate) fn fail(why: &str) -> ! {
    tell(why);
    std::process::exit(1)
}

fn tell(why: &str) {
    static ONCE: AtomicBool = AtomicBool::new(false);
    if ONCE.swap(true, Relaxed) {
        // Somebody tells already, and ends the process.
        std::thread::sleep(2 * LIMIT);
        return;
    }
    eprintln!("SOAK FAILED: {why}");
    // A thread of its own, since the caller may hold what the dump wants to read.
    let dump = std::thread::spawn(dump);
    for _ in 0..50 {
        if dump.is_finished() {
            break;
        }
        std::thread::sleep(TICK / 2);
    }
}

/// Every worker and its operation, every thread and its blocker, every mutex and every condition variable.
fn dump() {
    for w in worlds() {
        eprintln!("crew {}: {:?}, paused {:?}", w.name, w.vm, w.paused);
        for slot in &w.slots {
            if let Some((what, since)) = slot.at() {
                let time = Duration::from_nanos(now().saturating_sub(since));
                eprintln!("  worker {} is at `{what}` for {time:.1?}", slot.name);
            }
        }
        for row in w.vm.wait_graph().rows() {
            let t = row.thread();
            eprint!("  {t:?}, {} signals", t.undelivered());
            match (row.waits_for(), row.owner()) {
                (Some(on), None) => eprintln!(", waits for {on} for {:.1?}", on.since().elapsed()),
                (Some(on), Some(owner)) => {
                    let (time, alive) = (on.since().elapsed(), row.owner_is_alive());
                    eprintln!(
                        ", waits for {on} for {time:.1?}, which {owner} holds, alive {alive}"
                    );
                }
                (None, _) => eprintln!(", runs or is outside"),
            }
        }
        for m in w.mutexes() {
            eprintln!("  {m:?}, {} wait", m.waiters());
        }
        for c in w.conditions() {
            eprintln!("  {c:?}, {} wait", c.waiters());
        }
    }
}

/// The memory that the process has in use, in KiB; none where the system does not say.
pub(crate) fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
