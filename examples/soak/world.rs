//! What a crew shares, and what must hold at the end.

use crate::meter::Slot;
use selvedge::{Condvar, Host, Mutex, Participant, Runtime, Signal, Thread};
use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

/// Data under a mutex.
pub(crate) struct Guarded<T> {
    /// The mutex.
    pub(crate) mutex: Arc<Mutex>,
    data: UnsafeCell<T>,
}

// SAFETY: the data is touched by who owns the mutex; `with` checks that.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    /// With a mutex of its own.
    pub(crate) fn new(name: String, data: T) -> Self {
        Self { mutex: Arc::new(Mutex::named(&name)), data: UnsafeCell::new(data) }
    }
    /// The caller owns the mutex.
    pub(crate) fn with<R>(&self, me: &Participant, f: impl FnOnce(&mut T) -> R) -> R {
        assert!(self.mutex.is_owner(me), "{:?} is not ours", self.mutex);
        // SAFETY: the caller owns the mutex, and `f` gets no context to release it with.
        f(unsafe { &mut *self.data.get() })
    }
}

/// An account: tokens move from one to another, and entries are counted the unsafe way.
pub(crate) struct Account {
    /// How often the mutex was held.
    pub(crate) entries: u64,
    /// All accounts together keep what they had.
    pub(crate) tokens: u64,
    inside: u64,
}

impl Account {
    /// One more visit: an update that a second thread inside would break.
    pub(crate) fn enter(&mut self, me: &Participant) {
        let (entries, inside) = (self.entries, me.id().get());
        // SAFETY: a plain write, behind the optimizer's back.
        unsafe { std::ptr::write_volatile(&mut self.inside, inside) };
        for _ in 0..inside % 16 {
            std::hint::spin_loop();
        }
        // SAFETY: as above.
        let seen = unsafe { std::ptr::read_volatile(&self.inside) };
        assert_eq!(seen, inside, "two threads inside");
        self.entries = entries + 1;
    }
}

/// A bounded buffer of (producer, number).
#[derive(Default)]
pub(crate) struct Buffer {
    /// What is in it.
    pub(crate) items: VecDeque<(usize, u64)>,
    /// How many were put.
    pub(crate) put: u64,
    /// How many were taken.
    pub(crate) got: u64,
}

/// Items that fit.
pub(crate) const ROOM: usize = 4;
const TOKENS: u64 = 1000;

/// A condition of the data under a mutex.
pub(crate) type Condition = Condvar<Arc<Mutex>>;

/// Everything that the threads of one crew share.
pub(crate) struct World {
    /// The crew.
    pub(crate) name: &'static str,
    /// Its runtime.
    pub(crate) vm: Runtime,
    /// What is locked.
    pub(crate) accounts: Vec<Guarded<Account>>,
    /// The buffer.
    pub(crate) buffer: Guarded<Buffer>,
    /// There is an item.
    pub(crate) filled: Condition,
    /// There is room.
    pub(crate) emptied: Condition,
    /// How often it came.
    pub(crate) event: Guarded<u64>,
    /// It came again.
    pub(crate) came: Condition,
    /// Under its mutex `paused` and `stop` change.
    pub(crate) gate: Guarded<()>,
    /// They did.
    pub(crate) opened: Condition,
    /// The crew rests.
    pub(crate) paused: AtomicBool,
    /// When it rested last, in nanoseconds.
    pub(crate) resumed: AtomicU64,
    /// The end.
    pub(crate) stop: AtomicBool,
    /// Who may be signalled and asked.
    pub(crate) targets: OnceLock<Vec<Thread>>,
    /// One per worker.
    pub(crate) slots: Vec<Slot>,
    /// The counts that must agree at the end.
    pub(crate) books: Books,
}

/// Every signal and every request, sent and answered.
#[derive(Default)]
pub(crate) struct Books {
    /// Signals made.
    pub(crate) made: AtomicU64,
    /// Signals gone, however.
    pub(crate) dropped: AtomicU64,
    /// Signals that were queued.
    pub(crate) sent: AtomicU64,
    /// Signals taken by their targets or left undelivered.
    pub(crate) taken: AtomicU64,
    /// Signals to the main thread.
    pub(crate) to_main: AtomicU64,
    /// What the host saw of them.
    pub(crate) at_host: Arc<AtomicU64>,
    /// Requests that were accepted.
    pub(crate) asked: AtomicU64,
    /// Requests that ran.
    pub(crate) answered: AtomicU64,
    /// Threads spawned that live.
    pub(crate) children: AtomicU64,
}

/// The payload of a signal.
pub(crate) struct Note {
    /// Which worker sent it.
    pub(crate) from: usize,
    /// The sender's number.
    pub(crate) number: u64,
    /// Where it is counted.
    pub(crate) books: &'static Books,
}

impl Note {
    /// One more.
    pub(crate) fn new(from: usize, number: u64, books: &'static Books) -> Self {
        books.made.fetch_add(1, SeqCst);
        Self { from, number, books }
    }
}
impl Drop for Note {
    fn drop(&mut self) {
        self.books.dropped.fetch_add(1, SeqCst);
    }
}

/// Counts the signals to the main thread.
pub(crate) struct Counting(pub(crate) Arc<AtomicU64>);
impl Host for Counting {
    fn main_signal(&self, _sender: &Thread, payload: Signal) {
        assert!(payload.is::<Note>());
        self.0.fetch_add(1, SeqCst);
    }
}

impl World {
    /// For `workers` threads over `accounts` mutexes.
    pub(crate) fn new(
        name: &'static str,
        vm: Runtime,
        at_host: Arc<AtomicU64>,
        workers: usize,
        accounts: usize,
    ) -> Self {
        let label = |what: &str| format!("{name}.{what}");
        let account = || Account { entries: 0, tokens: TOKENS, inside: 0 };
        let account = |i| Guarded::new(label(&format!("account{i}")), account());
        let buffer = Guarded::new(label("buffer"), Buffer::default());
        let event = Guarded::new(label("event"), 0);
        let gate = Guarded::new(label("gate"), ());
        let condition = |m: &Arc<Mutex>, what| Condvar::named(m.clone(), &label(what));
        Self {
            name,
            vm,
            accounts: (0..accounts).map(account).collect(),
            filled: condition(&buffer.mutex, "filled"),
            emptied: condition(&buffer.mutex, "emptied"),
            buffer,
            came: condition(&event.mutex, "came"),
            event,
            opened: condition(&gate.mutex, "opened"),
            gate,
            paused: AtomicBool::new(false),
            resumed: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            targets: OnceLock::new(),
            slots: (0..workers).map(|i| Slot::new(label(&i.to_string()))).collect(),
            books: Books { at_host, ..Books::default() },
        }
    }

    /// Every mutex.
    pub(crate) fn mutexes(&self) -> impl Iterator<Item = &Arc<Mutex>> {
        let others = [&self.buffer.mutex, &self.event.mutex, &self.gate.mutex];
        self.accounts.iter().map(|a| &a.mutex).chain(others)
    }

    /// Every condition variable.
    pub(crate) fn conditions(&self) -> [&Condition; 4] {
        [&self.filled, &self.emptied, &self.came, &self.opened]
    }

    /// All threads of the crew are over but the caller: nothing is locked, queued, lost or made up.
    pub(crate) fn check(&self, cx: &mut Participant, results: &Results) {
        let name = self.name;
        for m in self.mutexes() {
            assert!(m.owner().is_none() && m.waiters() == 0, "{m:?} is left, {}", m.waiters());
        }
        for c in self.conditions() {
            assert_eq!(c.waiters(), 0, "{c:?}");
        }
        let (mut entries, mut tokens) = (0, 0);
        for account in &self.accounts {
            let _held = account.mutex.lock(cx).expect("nobody else is there");
            account.with(cx, |a| (entries, tokens) = (entries + a.entries, tokens + a.tokens));
        }
        assert_eq!(entries, results.entries, "{name}: visits");
        assert_eq!(tokens, TOKENS * self.accounts.len() as u64, "{name}: tokens");
        let _held = self.buffer.mutex.lock(cx).expect("nobody else is there");
        self.buffer.with(cx, |b| {
            assert_eq!((b.put, b.got), (results.put, results.got), "{name}: put and got");
            assert_eq!(b.put - b.got, b.items.len() as u64, "{name}: items");
        });
        let _held = self.event.mutex.lock(cx).expect("nobody else is there");
        assert_eq!(self.event.with(cx, |n| *n), results.announced, "{name}: events");
        let of = |n: &AtomicU64| n.load(SeqCst);
        let b = &self.books;
        assert_eq!(of(&b.sent), of(&b.taken), "{name}: signals sent and taken");
        assert_eq!(of(&b.made), of(&b.dropped), "{name}: signals made and dropped");
        assert_eq!(of(&b.to_main), of(&b.at_host), "{name}: signals to the main thread");
        assert_eq!(of(&b.asked), of(&b.answered), "{name}: requests");
        assert_eq!(of(&b.children), 0, "{name}: children");
    }
}

/// What a thread did, as its result; and the sum of them.
#[derive(Clone, Copy, Default)]
pub(crate) struct Results {
    /// Visits of accounts.
    pub(crate) entries: u64,
    /// Items put.
    pub(crate) put: u64,
    /// Items taken.
    pub(crate) got: u64,
    /// Events announced.
    pub(crate) announced: u64,
}

impl std::ops::AddAssign for Results {
    fn add_assign(&mut self, other: Self) {
        self.entries += other.entries;
        self.put += other.put;
        self.got += other.got;
        self.announced += other.announced;
    }
}
