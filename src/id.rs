//! Identities: of threads and of runtimes. Unique in the process, over all runtimes, and never used again.

use std::fmt;
use std::num::NonZeroU64;

/// The identity of a Lisp thread: unique in the process, never reused.
///
/// # Examples
/// ```
/// let vm = selvedge::Runtime::new();
/// let main = vm.attach("main").unwrap();
/// assert_eq!(vm.thread(main.id()).unwrap().id(), main.id());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId(NonZeroU64);

impl ThreadId {
    /// Bits of an identity that name the slot of the record; the others count the slot's lives.
    pub(crate) const SLOT_BITS: u32 = 24;
    /// Bits of an identity in all.
    pub(crate) const BITS: u32 = 56;

    /// The `life`-th thread that lives in `slot`. Lives count from 1.
    pub(crate) fn new(slot: u32, life: u32) -> Self {
        debug_assert!(slot >> Self::SLOT_BITS == 0 && life != 0);
        let bits = u64::from(life) << Self::SLOT_BITS | u64::from(slot);
        Self(NonZeroU64::new(bits).expect("lives count from 1"))
    }

    /// The identity whose number is `bits`; none for 0.
    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        NonZeroU64::new(bits).map(Self)
    }

    pub(crate) fn slot(self) -> u32 {
        (self.get() & ((1 << Self::SLOT_BITS) - 1)) as u32
    }

    pub(crate) fn life(self) -> u32 {
        (self.get() >> Self::SLOT_BITS) as u32
    }

    /// The identity as a number, for C and for logs. Never 0.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

const _: () = assert!(ThreadId::SLOT_BITS + 32 == ThreadId::BITS);

impl fmt::Debug for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ThreadId({self})")
    }
}

impl fmt::Display for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot(), self.life())
    }
}

/// The identity of a runtime: unique in the process, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RuntimeId(NonZeroU64);

impl RuntimeId {
    pub(crate) fn new(n: u64) -> Self {
        // A record keeps the runtime's number beside the count of its lives.
        assert!(n <= u64::from(u32::MAX), "this process made 2^32 runtimes");
        Self(NonZeroU64::new(n).expect("runtimes count from 1"))
    }
    /// The identity as a number. Never 0.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for RuntimeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
