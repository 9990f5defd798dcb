//! Everything in the crate that could go either way: who runs next, how long to spin, when a hand-over is due.

use std::time::Duration;

/// Whom the baton goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Pick {
    /// Who is ready longest. A program without timeouts then does the same in every run.
    #[default]
    Fifo,
    /// Pseudo-randomly from this seed: the same seed, the same choices. For finding races in a VM's programs.
    Seeded(u64),
}

/// The choices that a runtime makes, and its budgets.
///
/// # Examples
/// ```
/// use selvedge::{Pick, Runtime, Schedule};
/// let vm = Runtime::builder().baton(true).schedule(Schedule::new().pick(Pick::Seeded(7))).build();
/// # drop(vm);
/// ```
#[derive(Clone, Debug)]
pub struct Schedule {
    pub(crate) pick: Pick,
    /// Looks at a taken mutex, before a thread queues.
    pub(crate) looks: u32,
    /// Mutexes that its threads free may need a barrier of all threads to be waited for.
    pub(crate) membarrier: bool,
    /// None: never.
    pub(crate) hand_over_after: Option<Duration>,
    /// Every contended release hands over.
    pub(crate) fair: bool,
    pub(crate) detect: bool,
}

/// Pseudo-random numbers: the same seed, the same numbers.
#[derive(Clone, Copy)]
pub(crate) struct Lots(u64);

impl Lots {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }
    /// A number below `n`.
    pub(crate) fn draw(&mut self, n: usize) -> usize {
        // SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % n as u64) as usize
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            pick: Pick::Fifo,
            // Under the model checker a looker nearly always wins, and the queue is never visited.
            looks: if cfg!(selvedge_loom) { 0 } else { 10 },
            // Models of it say so: the others are smaller without.
            membarrier: !cfg!(selvedge_loom),
            hand_over_after: Some(Duration::from_millis(1)),
            fair: false,
            // Every model of waits would grow by it: those of deadlocks ask for it.
            detect: !cfg!(selvedge_loom),
        }
    }
}

impl Schedule {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }
    /// Whom the baton goes to. Means nothing without the baton.
    pub fn pick(self, pick: Pick) -> Self {
        Self { pick, ..self }
    }
    /// How often a thread that has looked at a taken mutex looks again before it queues: after 2, 4 and 8 pauses of the CPU
    /// the first three times, then each time after other threads had a chance to run. 0: it queues at once. Default 10.
    /// Under the baton nobody looks.
    pub fn looks(self, looks: u32) -> Self {
        Self { looks, ..self }
    }
    /// May the release of a mutex be a plain store, at the price of a barrier for the first thread that waits for it? The
    /// barrier interrupts every running thread of the process for some microseconds. Off, it is an atomic swap: for
    /// real time, and where threads wait rarely but must not disturb the others. It is the owner's runtime that decides, for
    /// each mutex when nobody has waited for it for a while. Default true; means nothing where there is no
    /// such barrier (all but Linux on x86-64).
    pub fn membarrier(self, yes: bool) -> Self {
        Self { membarrier: yes, ..self }
    }
    /// A waiter that was woken, found the mutex taken again, and has waited this long is handed the mutex at the next
    /// release. Default 1 ms; `None`: never. Under the baton it is always due, whatever is set here, so that no program
    /// depends on the clock.
    pub fn hand_over_after(self, time: Option<Duration>) -> Self {
        Self { hand_over_after: time, ..self }
    }
    /// Contended releases hand the mutex over. Fair, and several times slower under load. Default false.
    pub fn fair(self, fair: bool) -> Self {
        Self { fair, ..self }
    }
    /// Looks for deadlocks whenever a thread of this runtime is about to wait for a mutex or for a thread's end: see
    /// [`LockError::Deadlock`](crate::LockError::Deadlock). Default true (false under `--cfg selvedge_loom`). It costs each
    /// such wait two atomic operations, and a lock per thread that is waited for in turn.
    pub fn detect_deadlocks(self, detect: bool) -> Self {
        Self { detect, ..self }
    }

    /// What a runtime with the baton makes of it.
    pub(crate) fn under_baton(self) -> Self {
        Self { looks: 0, hand_over_after: Some(Duration::ZERO), ..self }
    }
}
