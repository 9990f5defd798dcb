//! A thread's life: the handle, its inbox of signals and requests, alive or dead.
//!
//! | `inbox.alive` | meaning                                                      | leaves by                    |
//! |---------------|--------------------------------------------------------------|------------------------------|
//! | true          | the record is this thread's; signals and requests are taken  | `die`, by the thread itself  |
//! | false         | it is over: signals and requests come back to the sender     | never                        |
//!
//! I1. While `inbox` is locked and `alive`, `record` is this thread's and cannot become another's.
//! I2. Signals, the claim word's SIG and the gate's SIGNAL change together, under the inbox's lock.
//! I3. Requests are pushed, and the gate's REQ set, under the inbox's lock; they run with no lock held.
//! I4. A request runs once: on the thread itself, or on a proxy that holds TAKEN.

use super::exit::{AtEnd, Exit, ExitCell, Finish};
use super::gate::GiveBack;
use super::record::{self, Record};
use super::{Blocker, Name, Participant, SignalPolicy};
use crate::error::{Dead, SignalError};
use crate::id::{RuntimeId, ThreadId};
use crate::park::{Entry, Outcome, Waiter};
use crate::shim::{self, Arc, Mutex};
use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// A signal: a payload of the VM's own type, and who sent it.
///
/// # Examples
/// ```
/// use selvedge::{Runtime, SleepError, sleep_until};
/// use std::time::{Duration, Instant};
/// let vm = Runtime::new();
/// let mut cx = vm.attach("main")?;
/// let far = Instant::now() + Duration::from_secs(3600);
/// let sleeper = vm.spawn("sleeper", move |cx| match sleep_until(cx, far) {
///     Err(SleepError::Interrupted) => {
///         let signal = cx.take_signal().expect("who is interrupted has a signal");
///         let signal = signal.downcast::<u32>().expect_err("it is text"); // it comes back
///         Ok(signal.downcast::<&str>().expect("it is text"))
///     }
///     other => Err(other),
/// })?;
/// let _queued = sleeper.signal(&cx, "wake up")?;
/// assert_eq!(sleeper.join(&mut cx).unwrap(), "wake up");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Signal {
    sender: Option<ThreadId>,
    payload: Box<dyn Any + Send>,
}

impl Signal {
    /// The thread that sent it; none: it came from outside the runtime.
    pub fn sender(&self) -> Option<ThreadId> {
        self.sender
    }
    /// Is the payload a `P`?
    pub fn is<P: Any>(&self) -> bool {
        self.payload.is::<P>()
    }
    /// The payload, if it is a `P`; else the signal comes back.
    pub fn downcast<P: Any>(self) -> Result<P, Self> {
        let sender = self.sender;
        self.payload.downcast().map(|p| *p).map_err(|payload| Self { sender, payload })
    }
    /// The payload as it is.
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.payload
    }
}
impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal").field("sender", &self.sender).finish_non_exhaustive()
    }
}

/// What became of a signal.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a signal to oneself is the caller's to raise"]
#[non_exhaustive]
pub enum Delivery<P> {
    /// It is in the target's inbox; an interruptible wait of the target has ended.
    Queued,
    /// The target is the sender: raise it.
    Own(P),
    /// The target is the main thread: [`Host::main_signal`](crate::Host::main_signal) ran, on this thread.
    Host,
}

struct Request {
    run: Box<dyn FnOnce() + Send>,
    owner_only: bool,
}

struct Inbox {
    alive: bool,
    signals: VecDeque<Signal>,
    requests: VecDeque<Request>,
    /// So many at the front are known to be for the thread alone: a proxy does not go through them again.
    kept: usize,
}

pub(crate) struct Life {
    id: ThreadId,
    runtime: RuntimeId,
    name: Name,
    /// 0: the main thread; else the order of birth.
    age: u64,
    record: &'static Record,
    policy: SignalPolicy,
    inbox: Mutex<Inbox>,
    exit: ExitCell,
}

/// A handle of a Lisp thread: who it is, whether it lives, what it waits for. `Send`, `Sync`, cheap to clone; it keeps
/// the thread's result, not the thread, alive.
#[derive(Clone)]
pub struct Thread(Arc<Life>);

impl Thread {
    pub(super) fn new(
        id: ThreadId,
        runtime: RuntimeId,
        name: Name,
        age: u64,
        record: &'static Record,
        policy: SignalPolicy,
    ) -> Self {
        let (signals, requests) = (VecDeque::new(), VecDeque::new());
        let inbox = Inbox { alive: true, signals, requests, kept: 0 };
        let (inbox, exit) = (Mutex::new(inbox), ExitCell::new());
        Self(Arc::new(Life { id, runtime, name, age, record, policy, inbox, exit }))
    }

    /// The thread's identity.
    pub fn id(&self) -> ThreadId {
        self.0.id
    }
    /// The runtime it belongs to.
    pub fn runtime_id(&self) -> RuntimeId {
        self.0.runtime
    }
    /// The name it was given.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }
    /// Is it the first thread that its runtime had?
    pub fn is_main(&self) -> bool {
        self.0.age == 0
    }
    /// Is it alive? From before [`spawn`](crate::Runtime::spawn) returns until its end, when [`join`](Self::join) has an
    /// answer. A snapshot; `false` is final.
    pub fn is_alive(&self) -> bool {
        self.0.exit.get().is_none()
    }
    /// Is it over? True is final; false may be late, but takes no lock.
    pub(crate) fn looks_over(&self) -> bool {
        self.0.exit.looks_over()
    }
    /// What it waits for, and since when; none: it does not wait. A snapshot.
    ///
    /// # Blocking
    /// Never on anything that a thread of the VM holds: one short internal lock.
    pub fn blocker(&self) -> Option<Blocker> {
        self.0.record.blocker(self.0.id)
    }
    /// How many signals it has not taken yet. A snapshot.
    pub fn undelivered(&self) -> usize {
        self.0.inbox.lock().signals.len()
    }
    /// Takes the oldest signal that a dead thread left untaken. None while it lives: it may still take them itself.
    pub fn take_undelivered(&self) -> Option<Signal> {
        let mut inbox = self.0.inbox.lock();
        if inbox.alive { None } else { inbox.signals.pop_front() }
    }
    /// How it ended; none: it lives.
    pub fn exit(&self) -> Option<Exit> {
        let finish = self.0.exit.get()?;
        Some(Exit { thread: self.clone(), finish })
    }

    /// Makes the thread's next safe point take its slow path and report [`Polled::poked`](crate::Polled::poked). Ends no
    /// wait. A poke that comes after the thread's end may reach the slot's next thread, which then looks in vain.
    ///
    /// # Blocking
    /// Never; async-signal-safe: one atomic operation.
    pub fn poke(&self) {
        let _ = self.0.record.gate().request();
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`SignalError::Dead`]: the thread is over. [`SignalError::ForeignRuntime`]: `me` belongs to another runtime. The
    /// payload comes back in both.
    /// # Blocking
    /// No. If the target is the main thread, [`Host::main_signal`](crate::Host::main_signal) runs here.
    /// # Ordering
    /// Everything the sender did before happens-before the target's [`take_signal`](Participant::take_signal).
    pub fn signal<P: Any + Send>(
        &self,
        me: &Participant,
        payload: P,
    ) -> Result<Delivery<P>, SignalError<P>> {
        if me.runtime().id() != self.0.runtime {
            let (mine, theirs) = (me.runtime().id(), self.0.runtime);
            return Err(SignalError::ForeignRuntime { payload, mine, theirs });
        }
        if me.thread() == self {
            return Ok(Delivery::Own(payload));
        }
        if self.is_main() {
            if !self.0.inbox.lock().alive {
                return Err(SignalError::Dead(payload));
            }
            let signal = Signal { sender: Some(me.id()), payload: Box::new(payload) };
            me.runtime().host().main_signal(me.thread(), signal);
            return Ok(Delivery::Host);
        }
        match self.put_signal(Some(me.id()), payload) {
            Ok(()) => Ok(Delivery::Queued),
            Err(Dead(payload)) => Err(SignalError::Dead(payload)),
        }
    }

    /// As [`signal`](Self::signal), from an OS thread that belongs to no runtime. Also to the main thread, which then takes
    /// it as any other does.
    ///
    /// # Errors
    /// The thread is over: the payload comes back.
    /// # Blocking
    /// No.
    /// # Ordering
    /// As `signal`.
    pub fn post<P: Any + Send>(&self, payload: P) -> Result<(), Dead<P>> {
        self.put_signal(None, payload)
    }

    fn put_signal<P: Any + Send>(
        &self,
        sender: Option<ThreadId>,
        payload: P,
    ) -> Result<(), Dead<P>> {
        let mut old = VecDeque::new();
        let mut inbox = self.0.inbox.lock();
        if !inbox.alive {
            return Err(Dead(payload));
        }
        if self.0.policy == SignalPolicy::Replace {
            old = std::mem::take(&mut inbox.signals);
        }
        inbox.signals.push_back(Signal { sender, payload: Box::new(payload) });
        self.0.record.gate().set_signal();
        let wake = self.0.record.waiter().interrupt();
        drop(inbox);
        if let Some(wake) = wake {
            wake.now();
        }
        drop(old); // the VM's values: dropped with no lock held
        Ok(())
    }

    /// Takes the oldest signal. Own thread only.
    pub(super) fn take_signal(&self) -> Option<Signal> {
        let mut inbox = self.0.inbox.lock();
        let signal = inbox.signals.pop_front();
        if inbox.signals.is_empty() {
            self.0.record.waiter().state().clear_signal();
            self.0.record.gate().clear_signal();
        }
        signal
    }

    /// Runs `f` once for this thread: here and now if it sleeps or is outside (or on another thread that is at that already
    /// for an `ask` of its own), else by itself at its next safe point or before its next sleep. `f` may not wait or lock
    /// Lisp locks; a panic of it is raised where it ran.
    ///
    /// # Errors
    /// The thread is over: `f` comes back, and has not run.
    /// # Blocking
    /// No, but for what `f` takes. A thread that wakes meanwhile waits for `f`.
    /// # Ordering
    /// Everything the thread did before it slept, went outside or came to its safe point happens-before `f`; `f`
    /// happens-before what the thread does next.
    pub fn ask<F: FnOnce() + Send + 'static>(&self, f: F) -> Result<(), Dead<F>> {
        self.request(f, false)
    }

    /// Runs `f` once on the thread itself: at its next safe point, or between two halves of its present wait, which it
    /// then resumes; at its end at the latest, for a thread that the system refused on the spawner. Never inside a wait, so
    /// that `f` may lock; see [`Context::serve`](crate::Context::serve) for work that needs the interpreter.
    ///
    /// # Errors
    /// The thread is over: `f` comes back, and has not run.
    /// # Blocking
    /// No.
    /// # Ordering
    /// Everything before the call happens-before `f`.
    pub fn ask_owner<F: FnOnce() + Send + 'static>(&self, f: F) -> Result<(), Dead<F>> {
        self.request(f, true)
    }

    fn request<F: FnOnce() + Send + 'static>(&self, f: F, owner_only: bool) -> Result<(), Dead<F>> {
        let gate = self.0.record.gate();
        let taken = {
            let mut inbox = self.0.inbox.lock();
            if !inbox.alive {
                return Err(Dead(f));
            }
            inbox.requests.push_back(Request { run: Box::new(f), owner_only });
            // Taken under the lock: from then on the thread cannot end (I1).
            gate.request().is_safe() && gate.take()
        };
        if taken {
            raise(self.serve_as_proxy());
        }
        Ok(())
    }

    /// Carries out the requests of a thread that is SAFE. The caller holds TAKEN. The panics of requests come back.
    fn serve_as_proxy(&self) -> Vec<Box<dyn Any + Send>> {
        let gate = self.0.record.gate();
        let mut panics = Vec::new();
        let coming = loop {
            gate.clear_request_for_another();
            while let Some(request) = self.pop_request_for_another() {
                if let Err(e) = catch_unwind(AssertUnwindSafe(request.run)) {
                    panics.push(e);
                }
            }
            let inbox = self.0.inbox.lock();
            let unanswered = inbox.kept != 0;
            // Its wait ends; it cannot begin another one before TAKEN is given back. A thread that is over has none.
            let ends = unanswered && inbox.alive;
            let wake = ends.then(|| self.0.record.waiter().claim_any(Outcome::Serve)).flatten();
            drop(inbox);
            if let Some(wake) = wake {
                wake.now();
            }
            if let GiveBack::Done(coming) = gate.give_back(unanswered) {
                break coming;
            }
        };
        if coming {
            self.0.record.waiter().unpark();
        }
        panics
    }

    /// What others may answer for this thread, it answers itself; the rest is kept. Own thread only, which is SAFE. A panic
    /// of a request is raised at the next safe point.
    pub(crate) fn serve_as_own_proxy(&self) {
        if !self.0.record.gate().take() {
            return;
        }
        let panics = self.serve_as_proxy();
        if !panics.is_empty() {
            let run = Box::new(move || raise(panics));
            let mut inbox = self.0.inbox.lock();
            inbox.requests.push_front(Request { run, owner_only: true });
            inbox.kept += 1;
            let _ = self.0.record.gate().request();
        }
    }

    fn pop_request(&self) -> Option<Request> {
        let mut inbox = self.0.inbox.lock();
        inbox.kept = inbox.kept.saturating_sub(1);
        inbox.requests.pop_front()
    }

    /// The next request that anybody may answer.
    fn pop_request_for_another(&self) -> Option<Request> {
        let inbox = &mut *self.0.inbox.lock();
        while inbox.requests.get(inbox.kept)?.owner_only {
            inbox.kept += 1;
        }
        inbox.requests.remove(inbox.kept)
    }

    /// Clears REQ and carries out all requests. Own thread only, with no wait on.
    pub(crate) fn serve_own(&self) {
        self.0.record.gate().clear_request();
        while let Some(request) = self.pop_request() {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(request.run)) {
                // The rest is for the next safe point.
                let _ = self.0.record.gate().request();
                resume_unwind(panic);
            }
        }
    }

    /// The runtime shuts down: ends the thread's wait, and keeps it from beginning another.
    pub(super) fn stop(&self) {
        let inbox = self.0.inbox.lock();
        if !inbox.alive {
            return;
        }
        self.0.record.gate().set_stop();
        self.0.record.waiter().state().stop();
        let wake = self.0.record.waiter().claim_any(Outcome::ShutDown);
        drop(inbox);
        if let Some(wake) = wake {
            wake.now();
        }
    }

    /// The thread is over: no signal or request reaches it any more. Requests that came before run here.
    pub(super) fn die(&self) {
        // A thread that never ran may have a proxy at work, with requests in hand that it will put back: no new one comes
        // once the thread runs.
        while !self.0.record.gate().leave_safe() {
            shim::yield_now();
        }
        loop {
            // A panic of a request has been reported by the panic hook; here there is nobody left to raise it in.
            let panic = catch_unwind(AssertUnwindSafe(|| self.serve_own())).err();
            drop_quietly(panic);
            let mut inbox = self.0.inbox.lock();
            if inbox.requests.is_empty() {
                inbox.alive = false;
                break;
            }
        }
    }

    /// Sets how it ended, and wakes who joins it.
    pub(super) fn finish(&self, finish: Finish) {
        self.0.exit.finish(self, finish);
    }

    pub(super) fn age(&self) -> u64 {
        self.0.age
    }
    pub(crate) fn record(&self) -> &'static Record {
        self.0.record
    }

    /// Calls when the thread is over, in the thread that ends, or now. See `exit` I2.
    pub(crate) fn at_end(&self, call: Box<dyn AtEnd>) {
        if let Err((call, finish)) = self.0.exit.at_end(call) {
            call.call(Exit { thread: self.clone(), finish });
        }
    }

    /// Queues a joiner. False: the thread is over.
    pub(crate) fn enqueue_joiner(&self, waiter: &'static Waiter, entry: Entry) -> bool {
        self.0.exit.enqueue(waiter, entry)
    }
    pub(crate) fn dequeue_joiner(&self, waiter: &'static Waiter) {
        self.0.exit.dequeue(waiter);
    }

    pub(super) fn release_record(&self) {
        record::release(self.0.record);
    }
}

/// Raises the first of the panics.
fn raise(panics: Vec<Box<dyn Any + Send>>) {
    let mut panics = panics.into_iter();
    if let Some(first) = panics.next() {
        panics.for_each(drop_quietly);
        resume_unwind(first);
    }
}

/// Drops a value of the VM where a panic of its destructor has nowhere to go: the panic hook has reported it.
pub(crate) fn drop_quietly<T>(value: T) {
    caught(|| drop(value));
}

/// Calls a stranger's function, in the same place.
pub(crate) fn quietly(f: impl FnOnce()) {
    if cfg!(selvedge_loom) {
        // A panic in there says that the model has failed.
        f();
    } else {
        caught(f);
    }
}

fn caught(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        // Its destructor could go on for ever.
        std::mem::forget(payload);
    }
}

impl PartialEq for Thread {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}
impl Eq for Thread {}
impl Hash for Thread {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}
impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread").field("id", &self.0.id).field("name", &self.0.name).finish()
    }
}

#[cfg(all(test, not(any(selvedge_loom, selvedge_shuttle))))]
mod tests {
    use super::*;
    use crate::thread::{Participation, Runtime};

    #[test]
    fn a_request_in_a_proxys_hands_outlives_a_thread_that_never_was() {
        let vm = Runtime::new();
        let new = vm.enter(().into(), false).unwrap();
        let thread = new.thread.clone();
        let (ran, at_work) = (Arc::new(Mutex::new(false)), Arc::new(Mutex::new(false)));
        let (again, t) = (thread.clone(), thread.clone());
        let (going, told) = (at_work.clone(), ran.clone());
        thread.ask_owner(move || *told.lock() = true).unwrap();
        shim::spawn(None, None, move || {
            let asked = t.ask(move || {
                *going.lock() = true;
                // Time for the spawner to close the inbox, should it do that behind a proxy's back.
                let open = || again.0.inbox.lock().alive;
                (0..100_000).take_while(|_| open()).for_each(|_| shim::yield_now());
            });
            asked.unwrap();
        })
        .unwrap();
        while !*at_work.lock() {
            shim::yield_now();
        }
        Participation::undo(&vm, &thread);
        assert!(*ran.lock(), "it was taken, so it runs");
    }
}
