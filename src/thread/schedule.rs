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
    /// Looks at a taken mutex, before a thread queues: after 2, 4 .. 64 pauses.
    pub(crate) looks: u32,
    /// None: never.
    pub(crate) hand_over_after: Option<Duration>,
    /// Every contended release hands over.
    pub(crate) fair: bool,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            pick: Pick::Fifo,
            // Under the model checker a looker nearly always wins, and the queue is never visited.
            looks: if cfg!(selvedge_loom) { 0 } else { 6 },
            hand_over_after: Some(Duration::from_millis(1)),
            fair: false,
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
    /// How often a thread looks at a taken mutex before it queues: 2 pauses of the CPU lie behind the first look, twice
    /// as many behind each further one, up to 64. 0: it queues at once. Default 6. Under the baton nobody looks.
    pub fn looks(self, looks: u32) -> Self {
        Self { looks, ..self }
    }
    /// A waiter that was woken, found the mutex taken again, and has waited this long is handed the mutex at the next
    /// release. Default 1 ms; `None`: never. Under the baton it is always due, whatever is set here, so that no program
    /// depends on the clock.
    pub fn hand_over_after(self, time: Option<Duration>) -> Self {
        Self { hand_over_after: time, ..self }
    }
    /// Contended releases hand the mutex over (but for a waiter that queues in the middle of one). Fair, and several times slower under load. Default false.
    pub fn fair(self, fair: bool) -> Self {
        Self { fair, ..self }
    }

    /// What a runtime with the baton makes of it.
    pub(crate) fn under_baton(self) -> Self {
        Self { looks: 0, hand_over_after: Some(Duration::ZERO), ..self }
    }
}
