//! What the threads of one VM share: the registry, the last error, shutdown.
//!
//! | `registry`       | meaning                                            | leaves by                                      |
//! |------------------|----------------------------------------------------|------------------------------------------------|
//! | open             | threads come and go                                | `shutdown`                                     |
//! | stopping         | none comes; each but the one that stops is stopped | never                                          |
//!
//! I1. `threads` holds exactly the threads between `enter` and `end`.
//! I2. A thread enters under the lock under which `stopping` is set: it is refused, or `shutdown` finds it.
//! I3. End of a thread, in this order: its inbox closes; it leaves the registry; its record is free, and it is marked over;
//!     who waits for its mutexes is told (waits I2); its joiners wake; it gives the baton up. So who joined it does not
//!     find it listed, and finds its record given back.

use super::baton::Baton;
use super::exit::{Exit, Finish};
use super::host::{Host, NoHost};
use super::life::drop_quietly;
use super::record;
use super::waits;
use super::{Name, Participant, Schedule, Thread};
use crate::error::AttachError;
use crate::id::{RuntimeId, ThreadId};
use crate::park::{Ready, Wake};
use crate::shim::{self, Arc, Mutex, OsThread};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// What becomes of a signal that waits when the next one comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum SignalPolicy {
    /// Signals queue, in order.
    #[default]
    Queue,
    /// The new one takes the place of the old one, as in Emacs.
    Replace,
}

/// What becomes of a mutex whose owner ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum OwnerDeath {
    /// It stays locked, as in Emacs. Who waits for it, and who comes later, fails with
    /// [`LockError::OwnerDied`](crate::LockError::OwnerDied); [`Mutex::recover`](crate::Mutex::recover) takes it.
    #[default]
    LeaveLocked,
    /// The next thread that asks for it gets it, and is told: [`Acquired::abandoned_by`](crate::Acquired::abandoned_by),
    /// [`MutexGuard::abandoned_by`](crate::Guard::abandoned_by). One whose
    /// [`Context::after_block`](crate::Context::after_block) panics before it is told holds nothing; the next one is told.
    Abandon,
}

/// Everything the threads of one VM share. A handle: cheap to clone, `Send` and `Sync`. Several may live in one process
/// and do not notice each other.
///
/// The first thread to attach is the main thread. Dropping the handle does not end the runtime: its threads keep it;
/// [`shutdown`](Self::shutdown) does.
///
/// # Examples
/// ```
/// use selvedge::Runtime;
/// let vm = Runtime::new();
/// let mut cx = vm.attach("main").unwrap();
/// let worker = vm.spawn("worker", |_cx| Ok::<_, ()>(6 * 7)).unwrap();
/// assert_eq!(worker.join(&mut cx).unwrap(), 42);
/// ```
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    id: RuntimeId,
    registry: Mutex<Registry>,
    last_error: Mutex<Option<Exit>>,
    baton: Option<Arc<Baton>>,
    host: Box<dyn Host>,
    schedule: Schedule,
    signals: SignalPolicy,
    owner_death: OwnerDeath,
    /// A thread that ends tells those who wait for its mutexes.
    tells_orphans: bool,
    stack: Option<usize>,
}

#[derive(Default)]
struct Registry {
    threads: BTreeMap<u64, Thread>,
    attached: HashSet<OsThread>,
    born: u64,
    has_main: bool,
    stopping: bool,
}

/// Makes a [`Runtime`] that differs from the default.
#[derive(Default)]
pub struct RuntimeBuilder {
    baton: bool,
    host: Option<Box<dyn Host>>,
    schedule: Schedule,
    signals: SignalPolicy,
    owner_death: Option<OwnerDeath>,
    stack: Option<usize>,
}

impl fmt::Debug for RuntimeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = f.debug_struct("RuntimeBuilder");
        s.field("baton", &self.baton).field("schedule", &self.schedule);
        s.field("signals", &self.signals).field("owner_death", &self.owner_death);
        s.field("stack", &self.stack).finish_non_exhaustive()
    }
}

impl RuntimeBuilder {
    /// One thread at a time: handed over at [`yield_now`](crate::yield_now), at every wait, and by
    /// [`outside`](crate::outside). Default false: true parallelism.
    pub fn baton(self, baton: bool) -> Self {
        Self { baton, ..self }
    }
    /// The VM's answers for no thread in particular. Default: none.
    pub fn host(self, host: impl Host + 'static) -> Self {
        Self { host: Some(Box::new(host)), ..self }
    }
    /// Choices and budgets.
    pub fn schedule(self, schedule: Schedule) -> Self {
        Self { schedule, ..self }
    }
    /// Do signals queue, or does a new one replace the old? Default: they queue.
    pub fn signals(self, signals: SignalPolicy) -> Self {
        Self { signals, ..self }
    }
    /// What becomes of a mutex whose owner ends? Default: it stays locked.
    pub fn owner_death(self, owner_death: OwnerDeath) -> Self {
        Self { owner_death: Some(owner_death), ..self }
    }
    /// The stack size of spawned threads, in bytes. Default: std's.
    pub fn stack_size(self, bytes: usize) -> Self {
        Self { stack: Some(bytes), ..self }
    }
    /// Makes the runtime.
    pub fn build(self) -> Runtime {
        let Self { baton, host, mut schedule, signals, owner_death, stack } = self;
        if baton {
            schedule = schedule.under_baton();
        }
        Runtime(Arc::new(Inner {
            id: RuntimeId::new(shim::unique()),
            registry: Mutex::new(Registry::default()),
            last_error: Mutex::new(None),
            baton: baton.then(|| Arc::new(Baton::new(schedule.pick))),
            host: host.unwrap_or_else(|| Box::new(NoHost)),
            schedule,
            signals,
            // Every model in which a thread ends would grow by it: those of dead owners ask for it.
            tells_orphans: owner_death.is_some() || !cfg!(selvedge_loom),
            owner_death: owner_death.unwrap_or_default(),
            stack,
        }))
    }
}

impl Default for Runtime {
    fn default() -> Self {
        Self::new()
    }
}

impl Runtime {
    /// A runtime whose threads run in parallel.
    pub fn new() -> Self {
        RuntimeBuilder::default().build()
    }
    /// For a runtime that differs from the default.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }
    /// Its identity.
    pub fn id(&self) -> RuntimeId {
        self.0.id
    }
    /// Does one thread run at a time?
    pub fn is_baton(&self) -> bool {
        self.0.baton.is_some()
    }

    /// The live threads: the main thread first, then by age. A fresh list each time; a snapshot.
    pub fn all_threads(&self) -> Vec<Thread> {
        self.0.registry.lock().threads.values().cloned().collect()
    }
    /// The main thread, while it lives.
    pub fn main_thread(&self) -> Option<Thread> {
        self.0.registry.lock().threads.get(&0).cloned()
    }
    /// The live thread with this identity.
    pub fn thread(&self, id: ThreadId) -> Option<Thread> {
        self.0.registry.lock().threads.values().find(|t| t.id() == id).cloned()
    }
    /// How the last thread ended that ended in error or panic; `cleanup` forgets it.
    pub fn last_error(&self, cleanup: bool) -> Option<Exit> {
        let mut last = self.0.last_error.lock();
        if cleanup { last.take() } else { last.clone() }
    }

    /// Ends every wait of every other thread with `ShutDown`, lets no further wait begin, and makes their safe points
    /// report it. Threads can no longer be attached or spawned. The caller itself may still wait: for the others to end.
    /// Again and from another thread: stops the rest.
    ///
    /// # Blocking
    /// No; it does not wait for the threads: [`join`](Thread::join) them.
    pub fn shutdown(&self, me: &Participant) {
        let threads: Vec<Thread> = {
            let mut registry = self.0.registry.lock();
            registry.stopping = true;
            registry.threads.values().filter(|t| *t != me.thread()).cloned().collect()
        };
        for thread in threads {
            thread.stop();
        }
    }
    /// How many thread records are in use in the whole process, over all runtimes: back to what it was once threads are
    /// over. A measure for tests of leaks.
    pub fn records_in_use() -> usize {
        record::in_use()
    }
    /// Has [`shutdown`](Self::shutdown) been called?
    pub fn is_shut_down(&self) -> bool {
        self.0.registry.lock().stopping
    }

    /// Registers a thread, with a record of its own. `attach`: it is the calling OS thread.
    pub(crate) fn enter(&self, name: Name, attach: bool) -> Result<Participation, AttachError> {
        let mut registry = self.0.registry.lock();
        if registry.stopping {
            return Err(AttachError::ShutDown);
        }
        if attach && !registry.attached.insert(shim::os_thread()) {
            return Err(AttachError::AlreadyAttached(self.0.id));
        }
        let ready = self.0.baton.as_ref().map(|b| b.clone() as Arc<dyn Ready>);
        let steady = !(self.0.schedule.membarrier && shim::has_heavy_fence());
        let Some((record, id)) = record::allocate(self.0.id, steady, ready) else {
            if attach {
                registry.attached.remove(&shim::os_thread());
            }
            return Err(AttachError::TooManyThreads);
        };
        let age = if attach && !registry.has_main {
            registry.has_main = true;
            0
        } else {
            registry.born += 1;
            registry.born
        };
        let thread = Thread::new(id, self.0.id, name, age, record, self.0.signals);
        registry.threads.insert(age, thread.clone());
        drop(registry);
        if let Some(baton) = &self.0.baton {
            baton.join();
        }
        Ok(Participation { thread, runtime: self.clone() })
    }

    /// The thread is over: I3.
    pub(super) fn end(&self, thread: Thread, finish: Finish) {
        thread.die();
        drop_quietly(thread.record().take_kept());
        {
            let mut registry = self.0.registry.lock();
            registry.threads.remove(&thread.age());
            registry.attached.remove(&shim::os_thread());
        }
        let exit = Exit { thread: thread.clone(), finish: finish.clone() };
        let old = (!exit.is_ok()).then(|| self.0.last_error.lock().replace(exit));
        thread.release_record();
        if self.0.tells_orphans {
            self.tell_orphans(thread.id());
        }
        thread.finish(finish);
        // Destructors of the VM: in this thread's turn, and a panic of theirs goes nowhere.
        drop_quietly(old);
        drop_quietly(thread);
        if let Some(baton) = &self.0.baton {
            baton.part();
            baton.release(None);
        }
    }

    /// Ends the waits for mutexes of a thread that is marked over: of the own threads, which are registered if they wait, in
    /// order; then of others, on the way back from a condition-wait, say.
    pub(crate) fn tell_orphans(&self, dead: ThreadId) {
        let mut wakes: Vec<Wake> = {
            let registry = self.0.registry.lock();
            registry.threads.values().filter_map(|t| waits::orphan(t.record(), dead)).collect()
        };
        wakes.extend(record::of_others(self.0.id).filter_map(|r| waits::orphan(r, dead)));
        wakes.into_iter().for_each(Wake::now);
    }

    /// Takes back an `enter` whose OS thread never was.
    fn undo(&self, thread: &Thread) {
        thread.die();
        self.0.registry.lock().threads.remove(&thread.age());
        thread.release_record();
        thread.finish(Finish::Detached);
        if let Some(baton) = &self.0.baton {
            baton.part();
        }
    }

    pub(crate) fn baton(&self) -> Option<&Baton> {
        self.0.baton.as_deref()
    }
    pub(crate) fn owner_death(&self) -> OwnerDeath {
        self.0.owner_death
    }
    pub(crate) fn schedule(&self) -> &Schedule {
        &self.0.schedule
    }
    pub(crate) fn stack(&self) -> Option<usize> {
        self.0.stack
    }
    pub(super) fn host(&self) -> &dyn Host {
        &*self.0.host
    }
}

/// A registered thread that does not run yet: what a spawner hands to the new OS thread.
pub(crate) struct Participation {
    pub(crate) thread: Thread,
    runtime: Runtime,
}

impl Participation {
    /// On the attaching OS thread.
    pub(crate) fn here(self) -> Participant {
        Participant::new(self.thread, self.runtime)
    }
    /// On the new OS thread.
    pub(crate) fn spawned(self) -> Participant {
        self.runtime.0.registry.lock().attached.insert(shim::os_thread());
        self.here()
    }
    /// There is no OS thread for it.
    pub(crate) fn undo(runtime: &Runtime, thread: &Thread) {
        runtime.undo(thread);
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registry = self.0.registry.lock();
        let mut s = f.debug_struct("Runtime");
        s.field("id", &self.0.id).field("threads", &registry.threads.len());
        s.field("baton", &self.0.baton.is_some()).field("stopping", &registry.stopping).finish()
    }
}
