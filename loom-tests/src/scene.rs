//! What the models of the rooms share: a runtime, threads seated before anything races, a log that loom watches.

use selvedge::channel::{self, Receiver, RecvError, SendError, Sender, TryRecvError, TrySendError};
use selvedge::model::{Seat, UnsafeCell, internals::is_idle, thread};
use selvedge::{Condvar, LockError, Mutex, Participant, Runtime, Schedule, Thread};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A runtime whose waiters are never owed a hand-over.
pub fn barging() -> Runtime {
    Runtime::builder().schedule(Schedule::new().hand_over_after(None)).build()
}

/// The same, whose threads look for a while before they queue at a channel.
pub fn looking() -> Runtime {
    Runtime::builder().schedule(Schedule::new().hand_over_after(None).looks(1)).build()
}

/// A runtime whose every contended release hands over.
pub fn fair() -> Runtime {
    Runtime::builder().schedule(Schedule::new().hand_over_after(None).fair(true)).build()
}

/// A runtime whose woken waiters are owed a hand-over once they lose.
pub fn impatient() -> Runtime {
    Runtime::builder().schedule(Schedule::new().hand_over_after(Some(Duration::ZERO))).build()
}

/// A runtime whose releases are plain stores, once a mutex is [`quiet`].
pub fn plain() -> Runtime {
    Runtime::builder().schedule(Schedule::new().hand_over_after(None).membarrier(true)).build()
}

/// The mutex leaves the mode that it was made in: its next release is a plain store under [`plain`], else a swap.
pub fn quiet(m: &Mutex, me: &mut Participant) {
    m.acquire(me).unwrap();
    m.release(me).unwrap();
}

/// Preemptions of a model of three threads that takes a minute with two: one in the short list.
pub fn heavy() -> Option<usize> {
    Some(if crate::long() { 2 } else { 1 })
}

/// The same of one that takes minutes with one: none in the short list, where threads still switch when they block, and
/// loads still see old values.
pub fn heaviest() -> Option<usize> {
    Some(if crate::long() { 1 } else { 0 })
}

/// A deadline: under the model checker it may fire as soon as its thread looks.
pub fn soon() -> Instant {
    Instant::now()
}

/// `N` threads of `vm`, and their handles.
pub fn seats<const N: usize>(vm: &Runtime) -> ([Seat; N], [Thread; N]) {
    let seats: [Seat; N] = std::array::from_fn(|_| Seat::new(vm, ()));
    let threads = std::array::from_fn(|i| seats[i].thread().clone());
    (seats, threads)
}

/// Runs `f` as the seated thread on a model thread of its own, with the shared state.
pub fn go<S: Send + Sync + 'static>(
    shared: &Arc<S>,
    seat: Seat,
    f: impl FnOnce(&S, &mut Participant) + 'static,
) -> thread::JoinHandle<()> {
    let shared = shared.clone();
    thread::spawn(move || f(&shared, &mut seat.sit()))
}

/// One mutex, its condition variable, and what its owners write.
pub struct One {
    /// Named `m`.
    pub m: Arc<Mutex>,
    /// Of that mutex.
    pub c: Condvar<Arc<Mutex>>,
    /// Written by who holds it.
    pub log: Log,
}

impl One {
    /// A free mutex, nobody waits.
    pub fn new() -> Arc<Self> {
        let m = Arc::new(Mutex::named("m"));
        Arc::new(Self { c: Condvar::new(m.clone()), m, log: Log::new() })
    }
    /// Locks, writes, unlocks.
    pub fn visit(&self, me: &mut Participant, who: &str) {
        self.m.acquire(me).unwrap();
        self.leave(me, who);
    }
    /// The same, or ends the wait by this error and does not write; a signal is there then.
    pub fn visit_or(&self, me: &mut Participant, who: &str, end: LockError) {
        match self.m.acquire(me) {
            Ok(_) => self.leave(me, who),
            Err(e) => {
                assert_eq!(e, end);
                assert_eq!(me.take_signal().is_some(), e == LockError::Interrupted);
            }
        }
    }
    /// The same with a deadline.
    pub fn visit_until(&self, me: &mut Participant, who: &str) {
        match self.m.acquire_until(me, soon()) {
            Ok(_) => self.leave(me, who),
            Err(e) => assert_eq!(e, LockError::TimedOut),
        }
    }
    /// Writes and unlocks.
    pub fn leave(&self, me: &Participant, who: &str) {
        self.log.put(who);
        self.m.release(me).unwrap();
    }
    /// What was written, when all is over.
    pub fn end(&self) -> String {
        assert!(is_idle(&self.m), "a flag, a waiter or an owner is left");
        assert_eq!(self.c.waiters(), 0);
        self.log.get()
    }
}

/// Mutexes, and what was written.
pub struct Many<const N: usize> {
    /// None has a name.
    pub m: [Mutex; N],
    /// Written in an order that the model sees to.
    pub log: Log,
}

impl<const N: usize> Many<N> {
    /// All free.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { m: std::array::from_fn(|_| Mutex::new()), log: Log::new() })
    }
    /// What was written, when all is over.
    pub fn end(&self) -> String {
        assert!(self.m.iter().all(is_idle), "a flag, a waiter or an owner is left");
        self.log.get()
    }
}

/// What main does to a thread that waits, or will wait, for `m`, which main owns.
pub struct Deeds<'a, S> {
    /// Of both.
    pub vm: &'a Runtime,
    /// The other thread.
    pub target: &'a Thread,
    /// What they share.
    pub s: &'a S,
    /// Of that.
    pub m: &'a Mutex,
    /// Main.
    pub me: &'a mut Participant,
    /// Who answered a request.
    pub answers: Arc<Log>,
}

impl<S> Deeds<'_, S> {
    /// Anybody may answer.
    pub fn ask(&self) {
        let answers = self.answers.clone();
        self.target.ask(move || answers.put("?")).unwrap();
    }
    /// The target alone.
    pub fn ask_owner(&self) {
        let answers = self.answers.clone();
        self.target.ask_owner(move || answers.put("!")).unwrap();
    }
    /// Interrupts the target.
    pub fn signal(&self) {
        let _ = self.target.signal(self.me, ()).unwrap();
    }
    /// For both.
    pub fn shutdown(&self) {
        self.vm.shutdown(self.me);
    }
    /// Gives one level of the mutex back.
    pub fn release(&self) {
        self.m.release(self.me).unwrap();
    }
    /// Takes the mutex again, and keeps it.
    pub fn relock(&mut self) {
        self.m.acquire(self.me).unwrap();
    }
}

/// A text that threads write in turn: loom reports two of them that do it at once, or unordered.
pub struct Log(UnsafeCell<String>);

// SAFETY: loom watches every access; an unordered one turns the model red.
unsafe impl Sync for Log {}
// SAFETY: as above.
unsafe impl Send for Log {}

impl Default for Log {
    fn default() -> Self {
        Self::new()
    }
}

impl Log {
    /// An empty log.
    pub fn new() -> Self {
        Self(UnsafeCell::new(String::new()))
    }
    /// Appends.
    pub fn put(&self, text: &str) {
        // SAFETY: as the type says.
        self.0.with_mut(|log| unsafe { &mut *log }.push_str(text));
    }
    /// What was written.
    pub fn get(&self) -> String {
        // SAFETY: as the type says.
        self.0.with(|log| unsafe { &*log }.clone())
    }
}

/// Values with a destructor, numbered from 0: each is to be dropped once.
pub struct Tokens(Arc<[AtomicU32; 6]>);

/// One of them. loom watches what it holds: who receives it must be behind who sent it.
pub struct Token {
    /// Which.
    pub n: usize,
    inside: UnsafeCell<usize>,
    /// Not counted: a token that is dropped twice must not harm the book.
    book: *const [AtomicU32; 6],
}

// SAFETY: loom watches the cell; the book outlives every token, as `Tokens::end` sees.
unsafe impl Send for Token {}
// SAFETY: as above.
unsafe impl Sync for Token {}

impl Default for Tokens {
    fn default() -> Self {
        Self::new()
    }
}

impl Tokens {
    /// None was made.
    pub fn new() -> Self {
        Self(Arc::default())
    }
    /// Makes one.
    pub fn make(&self, n: usize) -> Token {
        Token { n, inside: UnsafeCell::new(n), book: Arc::as_ptr(&self.0) }
    }
    /// When all is over: the first `n` were made, and each is gone, once.
    pub fn end(self, n: usize) {
        let gone: Vec<u32> = self.0.iter().map(|d| d.load(Relaxed)).collect();
        assert!(gone[..n].iter().all(|&d| d == 1), "dropped: {gone:?}");
    }
}

impl Token {
    /// Its number, as the maker wrote it.
    pub fn read(&self) -> usize {
        // SAFETY: as the type says.
        self.inside.with(|n| unsafe { *n })
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        // SAFETY: as the type says.
        let book = unsafe { &*self.book };
        book[self.n].fetch_add(1, Relaxed);
    }
}

/// What a thread wants of a [`Pipe`].
#[derive(Clone, Copy)]
pub enum Wants {
    /// To receive.
    Value,
    /// The same with a deadline.
    ValueUntil,
    /// To send.
    Room,
    /// The same with a deadline.
    RoomUntil,
}

/// A channel of [`Token`]s, and what its users write.
pub struct Pipe {
    /// One end.
    pub tx: Sender<Token>,
    /// The other.
    pub rx: Receiver<Token>,
    /// Written in an order that the model sees to.
    pub log: Log,
    tokens: Tokens,
    made: AtomicU32,
}

impl Pipe {
    /// With room for so many values, `full` of which are in: the numbers from 0. [`UNBOUNDED`]: a list.
    pub fn with_room(room: usize, full: usize) -> Self {
        let ends = match room {
            UNBOUNDED => channel::unbounded(),
            n => channel::bounded(n),
        };
        Self::of(ends, full)
    }
    /// Of these ends.
    pub fn of((tx, rx): (Sender<Token>, Receiver<Token>), full: usize) -> Self {
        let (tokens, made) = (Tokens::new(), AtomicU32::new(0));
        let pipe = Self { tx, rx, log: Log::new(), tokens, made };
        for _ in 0..full {
            assert!(pipe.try_send().is_ok());
        }
        pipe
    }
    /// The next value.
    pub fn make(&self) -> Token {
        self.tokens.make(self.made.fetch_add(1, Relaxed) as usize)
    }
    /// Value `n`, where the model numbers them.
    pub fn make_nth(&self, n: usize) -> Token {
        self.made.fetch_max(n as u32 + 1, Relaxed);
        self.tokens.make(n)
    }
    /// Sends the next value without waiting.
    ///
    /// # Errors
    /// As the channel's.
    pub fn try_send(&self) -> Result<(), TrySendError<Token>> {
        self.tx.try_send(self.make())
    }
    /// The number of the value that is there; `-`: none, `c`: nor will be.
    pub fn try_recv(&self) -> String {
        match self.rx.try_recv() {
            Ok(token) => token.read().to_string(),
            Err(TryRecvError::Empty) => "-".into(),
            Err(TryRecvError::Closed) => "c".into(),
            Err(e) => panic!("{e}"),
        }
    }
    /// Waits. How that ended: the number, or `sent`, or the error; a value that was not sent is the caller's.
    pub fn wait(&self, me: &mut Participant, wants: Wants) -> String {
        let sent = match wants {
            Wants::Value => return received(self.rx.recv(me)),
            Wants::ValueUntil => return received(self.rx.recv_until(me, soon())),
            Wants::Room => {
                let token = self.make();
                let n = token.n;
                (n, self.tx.send(me, token))
            }
            Wants::RoomUntil => {
                let token = self.make();
                let n = token.n;
                (n, self.tx.send_until(me, token, soon()))
            }
        };
        let (n, result) = sent;
        let (why, token) = match result {
            Ok(()) => return "sent".into(),
            Err(SendError::Closed(t)) => ("closed", t),
            Err(SendError::Interrupted(t)) => ("signal", t),
            Err(SendError::TimedOut(t)) => ("late", t),
            Err(SendError::ShutDown(t)) => ("shutdown", t),
            Err(e) => panic!("{e}"),
        };
        assert_eq!((token.n, token.read()), (n, n), "the value comes back");
        why.into()
    }
    /// When all is over: nobody waits; how many values are left; then all are gone, each once.
    pub fn end(this: Arc<Self>) -> usize {
        Arc::try_unwrap(this).unwrap_or_else(|_| panic!("somebody has the pipe still")).finish()
    }
    /// The same.
    pub fn finish(self) -> usize {
        let Self { tx, rx, tokens, made, log: _ } = self;
        assert_eq!((tx.waiting_senders(), rx.waiting_receivers()), (0, 0), "who waits is over");
        let left = rx.len();
        drop((tx, rx));
        tokens.end(made.into_inner() as usize);
        left
    }
}

/// For [`Pipe::with_room`].
pub const UNBOUNDED: usize = usize::MAX;

/// The number of the value, or the error.
pub fn received(result: Result<Token, RecvError>) -> String {
    match result {
        Ok(token) => token.read().to_string(),
        Err(RecvError::Closed) => "closed".into(),
        Err(RecvError::Interrupted) => "signal".into(),
        Err(RecvError::TimedOut) => "late".into(),
        Err(RecvError::ShutDown) => "shutdown".into(),
        Err(e) => panic!("{e}"),
    }
}
