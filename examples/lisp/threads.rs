//! Threads, mutexes and condition variables: selvedge's, under their Lisp names. All that
//! the program waits for, it waits for here.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use selvedge::isolate::LinkBroken;
use selvedge::{
    BlockerKind, Condvar, Context, Cycle, Delivery, Exit, Host, JoinError, Label, LockError, Loss,
    Mutex, Participant, Signal, SleepError, Thread, ThreadId, WaitError, safe_point, sleep_until,
    uninterruptible, yield_now,
};

use crate::buffer::Buffer;
use crate::cell::{Flag, Slot};
use crate::chan::LispChan;
use crate::eval::{Interp, Stack};
use crate::mailbox::Mailbox;
use crate::value::{Flow, Res, Subr, Value, error, wrong_type};
use crate::world::World;

/// Stack of a Lisp thread.
pub const STACK: usize = 64 << 20;

pub struct LispThread {
    /// The string it was given.
    pub name: Option<Value>,
    /// None: it is being made.
    handle: Slot<Option<Thread>>,
    pub buffer: Slot<Arc<Buffer>>,
    disposition: Slot<Value>,
    /// The tag of the mutex of a dead owner, or of its condition variable, that the thread waits for without end.
    left_behind: Slot<Option<u64>>,
    /// The last signal sent to it: `thread-join` may want it, see there.
    signalled: Slot<Option<LispSignal>>,
    /// That signal came when the thread was dead.
    too_late: Flag,
    pub mailbox: Mailbox,
    /// What it waits for, if the crate has no label for that: a monitor, promises, the channels of `alts`.
    pub waits_for: Slot<Value>,
}

pub struct LispMutex {
    pub name: Option<Value>,
    mutex: Mutex,
}

pub struct LispCondvar {
    pub name: Option<Value>,
    condvar: Condvar<MutexRef>,
}

/// How a condition variable holds its mutex.
struct MutexRef(Arc<LispMutex>);

impl Deref for MutexRef {
    type Target = Mutex;
    fn deref(&self) -> &Mutex {
        &self.0.mutex
    }
}

/// An error on its way to a thread, or that ended one.
#[derive(Clone)]
pub struct LispSignal {
    pub symbol: Value,
    pub data: Value,
}

impl LispSignal {
    pub fn raise<T>(self) -> Res<T> {
        Err(Box::new(Flow::Signal(self.symbol, self.data)))
    }
}

impl LispThread {
    pub fn new(world: &World, name: Option<Value>, buffer: Arc<Buffer>) -> Res<LispThread> {
        Ok(LispThread {
            mailbox: Mailbox::new(world, name.clone())?,
            name,
            handle: Slot::new(None),
            buffer: Slot::new(buffer),
            disposition: Slot::new(Value::Nil),
            left_behind: Slot::new(None),
            signalled: Slot::new(None),
            too_late: Flag::new(false),
            waits_for: Slot::new(Value::Nil),
        })
    }

    fn is_main(&self) -> bool {
        self.handle.get().is_some_and(|h| h.is_main())
    }

    /// The thread as the crate knows it.
    pub fn handle(&self) -> Res<Thread> {
        match self.handle.get() {
            Some(handle) => Ok(handle),
            None => error("Thread is being made"),
        }
    }
}

/// Finds the Lisp object behind what the crate knows. Keeps none alive.
#[derive(Default)]
pub struct Registry {
    threads: Slot<HashMap<ThreadId, Weak<LispThread>>>,
    waitables: Slot<HashMap<u64, Waitable>>,
    /// Signals to the main thread that were not shown yet, with their senders.
    mail: Slot<Vec<(Value, LispSignal)>>,
}

pub enum Waitable {
    Mutex(Weak<LispMutex>),
    Condvar(Weak<LispCondvar>),
    Chan(Weak<LispChan>),
}

impl Waitable {
    fn get(&self) -> Option<Value> {
        match self {
            Waitable::Mutex(m) => m.upgrade().map(Value::Mutex),
            Waitable::Condvar(c) => c.upgrade().map(Value::Condvar),
            Waitable::Chan(c) => c.upgrade().map(Value::Chan),
        }
    }
}

impl Registry {
    /// Notes which thread of the crate `thread` is.
    pub fn add(&self, thread: &Arc<LispThread>, handle: &Thread) {
        thread.handle.set(Some(handle.clone()));
        self.threads.with(|all| {
            all.retain(|_, t| t.strong_count() > 0);
            all.insert(handle.id(), Arc::downgrade(thread));
        });
    }

    fn find(&self, id: ThreadId) -> Option<Arc<LispThread>> {
        self.threads.with(|all| all.get(&id)?.upgrade())
    }

    pub fn add_waitable(&self, tag: u64, waitable: Waitable) {
        self.waitables.with(|all| {
            if all.len() == all.capacity() {
                all.retain(|_, w| match w {
                    Waitable::Mutex(m) => m.strong_count() > 0,
                    Waitable::Condvar(c) => c.strong_count() > 0,
                    Waitable::Chan(c) => c.strong_count() > 0,
                });
            }
            all.insert(tag, waitable);
        });
    }
}

/// Signals to the main thread are not raised there but kept for its next `read-event`.
pub struct MainMail(pub Arc<Registry>);

impl Host for MainMail {
    fn main_signal(&self, sender: &Thread, payload: Signal) {
        if let (Some(sender), Ok(sent)) = (self.0.find(sender.id()), payload.downcast()) {
            self.0.mail.with(|mail| mail.push((Value::Thread(sender), sent)));
        }
    }
}

impl Context for Interp<'_> {
    fn me(&self) -> &Participant {
        self.participant
    }

    fn me_mut(&mut self) -> &mut Participant {
        self.participant
    }
}

pub fn shut_down<T>() -> Res<T> {
    Err(Box::new(Flow::Shutdown))
}

/// Emacs would hang.
fn deadlock<T>(ring: &Cycle) -> Res<T> {
    let links = ring.links().iter();
    crate::value::signal(
        "deadlock",
        links.map(|link| Value::str(link.to_string())).collect::<Vec<_>>(),
    )
}

impl Interp<'_> {
    /// Lets the crate in, as every loop and call does. Signals wait until the thread does.
    pub fn safe_point(&mut self) -> Res<()> {
        match safe_point(self).shut_down() {
            true => shut_down(),
            false => Ok(()),
        }
    }

    /// Raises the signal that another thread sent, if there is one.
    pub fn raise_pending(&mut self) -> Res<()> {
        let Some(signal) = self.participant.take_signal() else {
            return Ok(());
        };
        match signal.downcast::<LispSignal>().map_err(Signal::downcast) {
            Ok(sent) => sent.raise(),
            Err(Ok(LinkBroken(exit))) => self.link_broken(&exit),
            Err(Err(_)) => Ok(()),
        }
    }

    fn link_broken(&self, exit: &Exit) -> Res<()> {
        let thread = self.world.registry.find(exit.thread().id());
        let thread = thread.map(Value::Thread).unwrap_or_default();
        crate::value::signal("thread-link-broken", [thread, failure(exit, &self.world)])
    }

    fn thread_yield(&mut self) -> Res<()> {
        match yield_now(self).shut_down() {
            true => shut_down(),
            false => self.raise_pending(),
        }
    }

    /// Sleeps; a signal is raised at the end of the time, not before.
    fn sleep(&mut self, time: Duration) -> Res<()> {
        // Centuries will do.
        let longest = Duration::from_secs(1 << 33);
        let deadline = Instant::now() + time.min(longest);
        match uninterruptible(self, |cx| sleep_until(cx, deadline)) {
            Ok(()) => self.raise_pending(),
            Err(SleepError::ShutDown) => shut_down(),
            Err(e) => error(e.to_string()),
        }
    }

    fn mutex_lock(&mut self, m: &LispMutex) -> Res<()> {
        loop {
            match m.mutex.acquire(self) {
                Ok(_) => return Ok(()),
                Err(LockError::Interrupted) => self.raise_pending()?,
                Err(LockError::ShutDown) => return shut_down(),
                Err(LockError::OwnerDied(_)) => self.wait_for_the_dead(m.mutex.tag())?,
                Err(LockError::Deadlock(ring)) => return deadlock(&ring),
                Err(e) => return error(e.to_string()),
            }
        }
    }

    /// The mutex stays locked for ever, and Emacs waits for it: until a signal comes, which is raised.
    fn wait_for_the_dead(&mut self, tag: u64) -> Res<()> {
        eprintln!("lisp: a thread waits for a mutex whose owner has ended");
        let never = Instant::now() + Duration::from_secs(1 << 33);
        self.thread.left_behind.set(Some(tag));
        let slept = sleep_until(self, never);
        self.thread.left_behind.set(None);
        match slept {
            Ok(()) | Err(SleepError::Interrupted) => self.raise_pending(),
            Err(SleepError::ShutDown) => shut_down(),
            Err(e) => error(e.to_string()),
        }
    }

    fn condition_wait(&mut self, c: &LispCondvar) -> Res<()> {
        match c.condvar.wait(self) {
            Ok(_) => Ok(()),
            Err(WaitError::NotOwner(_)) => not_held(),
            Err(WaitError::Interrupted) => self.raise_pending(),
            Err(WaitError::Lost(Loss::Deadlock(ring))) => deadlock(&ring),
            Err(WaitError::Lost(Loss::OwnerDied(_))) => self.wait_for_the_dead(c.condvar.tag()),
            Err(WaitError::ShutDown | WaitError::Lost(Loss::ShutDown)) => shut_down(),
            Err(e) => error(e.to_string()),
        }
    }

    fn make_thread(&mut self, f: Value, name: Option<Value>, disposition: Value) -> Res {
        let known_as = match &name {
            Some(name) => Some(name.text()?.as_str().to_string()),
            None => None,
        };
        let thread = Arc::new(LispThread::new(&self.world, name, self.buffer())?);
        thread.disposition.set(disposition);
        let (world, new) = (self.world.clone(), thread.clone());
        let body = move |participant: &mut Participant| {
            world.registry.add(&new, participant.thread());
            let stack = Stack::here(STACK);
            let mut cx = Interp::new(world, participant, new.clone(), stack);
            let end = cx.funcall(&f, Vec::new());
            new.mailbox.end();
            match end {
                Ok(value) => Ok(value),
                Err(flow) => match cx.settle(*flow) {
                    Ok((symbol, data)) => Err(LispSignal { symbol, data }),
                    Err(flow) => {
                        cx.leave(&flow);
                        Ok(Value::Nil)
                    }
                },
            }
        };
        match self.world.runtime.spawn(known_as, body) {
            Ok(handle) => {
                self.world.registry.add(&thread, &handle);
                Ok(Value::Thread(thread))
            }
            Err(e) => error(format!("Could not start a new thread: {e}")),
        }
    }

    /// A thread asked the whole program to end.
    fn leave(&mut self, flow: &Flow) {
        if let Flow::Exit(code) = flow {
            self.world.exit_code.set(Some(*code));
            self.world.runtime.shutdown(self.participant);
        }
    }

    fn thread_join(&mut self, thread: &LispThread) -> Res {
        let handle = thread.handle()?;
        // Emacs' quirk: who joins a thread with an undelivered signal gets that signal.
        let quirk = match handle.undelivered() > 0 || thread.too_late.is_set() {
            true => thread.signalled.get(),
            false => None,
        };
        let exit = match handle.join(self) {
            Ok(exit) => exit,
            Err(JoinError::Yourself(_)) => return error("Cannot join current thread"),
            Err(JoinError::Interrupted) => {
                self.raise_pending()?;
                return self.thread_join(thread);
            }
            Err(JoinError::ShutDown) => return shut_down(),
            Err(JoinError::Deadlock(ring)) => return deadlock(&ring),
            Err(e) => return error(e.to_string()),
        };
        match quirk {
            Some(sent) => sent.raise(),
            None => Ok(exit.value().unwrap_or_default()),
        }
    }

    fn thread_signal(&mut self, thread: &LispThread, symbol: Value, data: Value) -> Res {
        let sent = LispSignal { symbol, data };
        let handle = thread.handle()?;
        if !handle.is_main() && handle != *self.participant.thread() {
            thread.signalled.set(Some(sent.clone()));
        }
        match handle.signal(self.participant, sent) {
            Ok(Delivery::Own(sent)) => sent.raise(),
            Ok(_) => Ok(Value::Nil),
            Err(_) => {
                thread.too_late.set(true);
                Ok(Value::Nil)
            }
        }
    }

    fn last_error(&mut self, cleanup: bool) -> Value {
        let exit = self.world.runtime.last_error(cleanup);
        exit.map(|exit| failure(&exit, &self.world)).unwrap_or_default()
    }

    fn blocker(&self, thread: &LispThread) -> Res {
        let Some(on) = thread.handle()?.blocker() else {
            return Ok(Value::Nil);
        };
        let registry = &self.world.registry;
        let waitable = |tag| {
            let find = |all: &mut HashMap<_, Waitable>| all.get(&tag)?.get();
            registry.waitables.with(find)
        };
        Ok(match on.kind() {
            BlockerKind::Mutex | BlockerKind::Condvar | BlockerKind::Send => waitable(on.tag()),
            BlockerKind::Receive | BlockerKind::Select => Some(thread.waits_for.get()),
            BlockerKind::Sleep => thread.left_behind.get().and_then(waitable),
            BlockerKind::Join => {
                let thread = on.thread().and_then(|t| registry.find(t.id()));
                thread.map(Value::Thread)
            }
            _ => None,
        }
        .unwrap_or_default())
    }

    fn all_threads(&self) -> Vec<Arc<LispThread>> {
        let live = self.world.runtime.all_threads();
        let find = |t: &Thread| self.world.registry.find(t.id());
        live.iter().filter_map(find).collect()
    }

    /// Shows the signals that other threads sent to the main thread.
    fn show_mail(&mut self) -> Res<()> {
        for (sender, LispSignal { symbol, data }) in self.world.registry.mail.replace(Vec::new()) {
            let format = Value::str("Error %s: %S");
            self.message(&[format, sender, Value::list([symbol, data])])?;
        }
        Ok(())
    }

    // Buffers that are current in other threads.

    fn others_in(&self, buffer: &Arc<Buffer>) -> Vec<Arc<LispThread>> {
        let mut others = self.all_threads();
        others.retain(|t| !Arc::ptr_eq(t, &self.thread) && Arc::ptr_eq(&t.buffer.get(), buffer));
        others
    }

    /// May the buffer die, as far as other threads mind?
    pub fn may_kill(&self, buffer: &Arc<Buffer>) -> bool {
        let minds = |t: &Arc<LispThread>| matches!(t.disposition.get(), Value::T);
        !self.others_in(buffer).iter().any(minds)
    }

    /// Moves other threads from a dead buffer to another, and tells those that want to know.
    pub fn evict(&mut self, dead: &Arc<Buffer>, to: &Arc<Buffer>) -> Res<()> {
        for thread in self.others_in(dead) {
            thread.buffer.set(to.clone());
            if thread.disposition.get().is_nil() {
                let symbol = self.world.intern("thread-buffer-killed");
                self.thread_signal(&thread, symbol, Value::Nil)?;
            }
        }
        Ok(())
    }
}

/// The error by which the thread ended; nil: it ended well.
pub fn failure(exit: &Exit, world: &World) -> Value {
    match (exit.error::<LispSignal>(), exit.panic()) {
        (Some(e), _) => Value::cons(e.symbol, e.data),
        (None, Some(p)) => Value::list([world.intern("error"), Value::str(p.message())]),
        (None, None) => Value::Nil,
    }
}

fn not_held<T>() -> Res<T> {
    error("Condition variable’s mutex is not held by current thread")
}

pub fn thread(v: &Value) -> Res<&Arc<LispThread>> {
    match v {
        Value::Thread(t) => Ok(t),
        v => wrong_type("threadp", v),
    }
}

fn mutex(v: &Value) -> Res<&Arc<LispMutex>> {
    match v {
        Value::Mutex(m) => Ok(m),
        v => wrong_type("mutexp", v),
    }
}

fn condvar(v: &Value) -> Res<&Arc<LispCondvar>> {
    match v {
        Value::Condvar(c) => Ok(c),
        v => wrong_type("condition-variable-p", v),
    }
}

/// An optional name: a string or nil.
pub fn name(v: Option<&Value>) -> Res<Option<Value>> {
    match v {
        None | Some(Value::Nil) => Ok(None),
        Some(v @ Value::Str(_)) => Ok(Some(v.clone())),
        Some(v) => wrong_type("stringp", v),
    }
}

pub fn label(name: &Option<Value>, tag: u64) -> Res<Label> {
    Ok(match name {
        Some(name) => Label::new(name.text()?.as_str()),
        None => Label::new(()),
    }
    .tag(tag))
}

/// An optional number of seconds.
pub fn seconds(v: Option<&Value>) -> Res<Option<Duration>> {
    let seconds = match v {
        None | Some(Value::Nil) => return Ok(None),
        Some(Value::Int(n)) => *n as f64,
        Some(Value::Float(x)) => **x,
        Some(v) => return wrong_type("numberp", v),
    };
    Ok(Some(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
}

pub static SUBRS: &[Subr] = &[
    Subr::new("make-thread", 1, 3, |cx, a| {
        let disposition = a.get(2).cloned().unwrap_or_default();
        cx.make_thread(a[0].clone(), name(a.get(1))?, disposition)
    }),
    Subr::new("current-thread", 0, 0, |cx, _| Ok(Value::Thread(cx.thread.clone()))),
    Subr::new("threadp", 1, 1, |_, a| Ok(matches!(a[0], Value::Thread(_)).into())),
    Subr::new("thread-name", 1, 1, |_, a| Ok(thread(&a[0])?.name.clone().unwrap_or_default())),
    Subr::new("thread-live-p", 1, 1, |_, a| Ok(thread(&a[0])?.handle()?.is_alive().into())),
    Subr::new("all-threads", 0, 0, |cx, _| {
        Ok(Value::list(cx.all_threads().into_iter().map(Value::Thread)))
    }),
    Subr::new("thread-yield", 0, 0, |cx, _| {
        cx.thread_yield()?;
        Ok(Value::Nil)
    }),
    Subr::new("thread-join", 1, 1, |cx, a| cx.thread_join(thread(&a[0])?)),
    Subr::new("thread-signal", 3, 3, |cx, a| {
        cx.thread_signal(thread(&a[0])?, a[1].clone(), a[2].clone())
    }),
    Subr::new("thread-last-error", 0, 1, |cx, a| {
        Ok(cx.last_error(a.first().is_some_and(Value::is_true)))
    }),
    Subr::new("thread--blocker", 1, 1, |cx, a| cx.blocker(thread(&a[0])?)),
    Subr::new("thread-buffer-disposition", 1, 1, |_, a| Ok(thread(&a[0])?.disposition.get())),
    Subr::new("thread-set-buffer-disposition", 2, 2, |_, a| {
        let thread = thread(&a[0])?;
        if thread.is_main() {
            return wrong_type("threadp", &a[0]);
        }
        thread.disposition.set(a[1].clone());
        Ok(a[1].clone())
    }),
    Subr::new("make-mutex", 0, 1, |cx, a| {
        let (name, tag) = (name(a.first())?, cx.world.ids.next());
        let mutex = Mutex::with_label(label(&name, tag)?);
        let new = Arc::new(LispMutex { name, mutex });
        (cx.world.registry).add_waitable(tag, Waitable::Mutex(Arc::downgrade(&new)));
        Ok(Value::Mutex(new))
    }),
    Subr::new("mutexp", 1, 1, |_, a| Ok(matches!(a[0], Value::Mutex(_)).into())),
    Subr::new("mutex-name", 1, 1, |_, a| Ok(mutex(&a[0])?.name.clone().unwrap_or_default())),
    Subr::new("mutex-lock", 1, 1, |cx, a| {
        cx.mutex_lock(mutex(&a[0])?)?;
        Ok(Value::Nil)
    }),
    Subr::new("mutex-unlock", 1, 1, |cx, a| match mutex(&a[0])?.mutex.release(cx.participant) {
        Ok(()) => Ok(Value::Nil),
        Err(_) => error("Cannot unlock mutex owned by another thread"),
    }),
    Subr::new("make-condition-variable", 1, 2, |cx, a| {
        let mutex = MutexRef(mutex(&a[0])?.clone());
        let (name, tag) = (name(a.get(1))?, cx.world.ids.next());
        let condvar = Condvar::with_label(mutex, label(&name, tag)?);
        let new = Arc::new(LispCondvar { name, condvar });
        (cx.world.registry).add_waitable(tag, Waitable::Condvar(Arc::downgrade(&new)));
        Ok(Value::Condvar(new))
    }),
    Subr::new("condition-variable-p", 1, 1, |_, a| Ok(matches!(a[0], Value::Condvar(_)).into())),
    Subr::new("condition-name", 1, 1, |_, a| Ok(condvar(&a[0])?.name.clone().unwrap_or_default())),
    Subr::new("condition-mutex", 1, 1, |_, a| {
        Ok(Value::Mutex(condvar(&a[0])?.condvar.mutex().0.clone()))
    }),
    Subr::new("condition-wait", 1, 1, |cx, a| {
        cx.condition_wait(condvar(&a[0])?)?;
        Ok(Value::Nil)
    }),
    Subr::new("condition-notify", 1, 2, |cx, a| {
        let condvar = &condvar(&a[0])?.condvar;
        let all = a.get(1).is_some_and(Value::is_true);
        let woken = match all {
            true => condvar.notify_all(cx.participant).map(drop),
            false => condvar.notify_one(cx.participant).map(drop),
        };
        woken.map_or_else(|_| not_held(), |()| Ok(Value::Nil))
    }),
    Subr::new("sleep-for", 1, 2, |cx, a| {
        let extra = match a.get(1) {
            None | Some(Value::Nil) => 0,
            Some(v) => v.fixnum()?.max(0) as u64,
        };
        let Some(time) = seconds(a.first())? else {
            return wrong_type("numberp", &a[0]);
        };
        match time.saturating_add(Duration::from_millis(extra)) {
            Duration::ZERO => {}
            time => cx.sleep(time)?,
        }
        Ok(Value::Nil)
    }),
    Subr::new("sit-for", 1, 2, |cx, a| {
        match seconds(a.first())? {
            None => return wrong_type("numberp", &a[0]),
            Some(Duration::ZERO) => {}
            Some(time) => cx.sleep(time)?,
        }
        Ok(Value::T)
    }),
    Subr::new("accept-process-output", 0, 4, |cx, a| {
        match seconds(a.get(1))? {
            None | Some(Duration::ZERO) => cx.thread_yield()?,
            Some(time) => cx.sleep(time)?,
        }
        Ok(Value::Nil)
    }),
    Subr::new("read-event", 0, 3, |cx, a| {
        let is_main = cx.thread.is_main();
        if is_main {
            cx.show_mail()?;
        }
        match seconds(a.get(2))? {
            None | Some(Duration::ZERO) => cx.thread_yield()?,
            Some(time) => cx.sleep(time)?,
        }
        if is_main {
            cx.show_mail()?;
        }
        Ok(Value::Nil)
    }),
    Subr::new("kill-emacs", 0, 2, |_, a| {
        let code = match a.first() {
            Some(Value::Int(n)) => *n as i32,
            _ => 0,
        };
        Err(Box::new(Flow::Exit(code)))
    }),
];
