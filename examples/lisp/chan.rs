//! Channels: selvedge's, under their Lisp names. They carry values as threads share them: a handle, no copy. Timers, monitors
//! and mailboxes are channels too, into which Lisp puts nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge::channel::{
    Builder, Receiver, RecvArm, RecvError, Select, SelectError, SendArm, SendError, Sender,
};
use selvedge::{Exit, Label};

use crate::eval::Interp;
use crate::mailbox::{Letter, Letters};
use crate::print;
use crate::promise::LispPromise;
use crate::threads::{self, Waitable, failure, shut_down};
use crate::value::{Res, Subr, Value, error, signal, wrong_type};
use crate::world::World;

/// Both ends: a Lisp channel is closed by `chan-close`, not because a handle of it went away.
pub struct LispChan {
    /// The string it was given.
    pub name: Option<Value>,
    pub source: Source,
    /// None: nothing can be put.
    sender: Option<Sender<Value>>,
}

/// What is taken from it.
pub enum Source {
    Values(Receiver<Value>),
    /// Of a timer that was made then.
    Times(Receiver<Instant>, Instant),
    /// How this thread ended.
    Exits(Receiver<Exit>, Value),
    Letters(Letters),
}

macro_rules! each {
    ($chan:expr, $rx:ident => $e:expr) => {
        match &$chan.source {
            Source::Values($rx) => $e,
            Source::Times($rx, _) => $e,
            Source::Exits($rx, _) => $e,
            Source::Letters(mailbox) => {
                let $rx = mailbox.channel();
                $e
            }
        }
    };
}

/// What comes through the crate's channels, as Lisp sees it.
trait Taken {
    fn lisp(self, chan: &LispChan, world: &World) -> Value;
}

impl Taken for Value {
    fn lisp(self, _: &LispChan, _: &World) -> Value {
        self
    }
}

/// The seconds since the timer was made.
impl Taken for Instant {
    fn lisp(self, chan: &LispChan, _: &World) -> Value {
        match chan.source {
            Source::Times(_, made) => Value::float(self.duration_since(made).as_secs_f64()),
            _ => unreachable!("instants come from timers"),
        }
    }
}

impl Taken for Exit {
    fn lisp(self, chan: &LispChan, world: &World) -> Value {
        match &chan.source {
            Source::Exits(_, thread) => Value::cons(thread.clone(), failure(&self, world)),
            _ => unreachable!("exits come from monitors"),
        }
    }
}

impl Taken for Letter {
    fn lisp(self, _: &LispChan, _: &World) -> Value {
        let (message, resolver) = self.into_parts();
        Value::cons(Value::Promise(LispPromise::to_keep(resolver)), message)
    }
}

impl LispChan {
    /// `make` makes the ends; Lisp knows a channel by its label.
    pub fn new(
        world: &World,
        name: Option<Value>,
        make: impl FnOnce(Label) -> (Source, Option<Sender<Value>>),
    ) -> Res<Arc<LispChan>> {
        let tag = world.ids.next();
        let (source, sender) = make(threads::label(&name, tag)?);
        let new = Arc::new(LispChan { name, source, sender });
        world.registry.add_waitable(tag, Waitable::Chan(Arc::downgrade(&new)));
        Ok(new)
    }

    /// False: it was closed.
    pub fn close(&self) -> bool {
        each!(self, rx => rx.close())
    }

    /// The values in it, taken without waiting.
    pub fn remains(&self) -> impl Iterator<Item = Value> {
        let values = match &self.source {
            Source::Values(rx) => Some(rx.try_iter()),
            _ => None,
        };
        values.into_iter().flatten()
    }

    fn sender(&self) -> Res<&Sender<Value>> {
        match &self.sender {
            Some(sender) => Ok(sender),
            None => error("Nothing can be put into this channel"),
        }
    }
}

impl Interp<'_> {
    /// False: the channel is closed, the value is not in it.
    fn chan_put(&mut self, chan: &Arc<LispChan>, mut value: Value) -> Res<bool> {
        let sender = chan.sender()?;
        loop {
            let sent = match self.limit {
                None => sender.send(self, value),
                Some(limit) => sender.send_until(self, value, limit),
            };
            value = match sent {
                Ok(()) => return Ok(true),
                Err(SendError::Closed(_)) => return Ok(false),
                Err(SendError::Interrupted(value)) => {
                    self.raise_pending()?;
                    value
                }
                Err(SendError::TimedOut(_)) => return timed_out(Value::Chan(chan.clone())),
                Err(SendError::ShutDown(_)) => return shut_down(),
                Err(e) => return error(e.to_string()),
            };
        }
    }

    /// None: the channel is closed and empty.
    fn chan_take(&mut self, chan: &Arc<LispChan>) -> Res<Option<Value>> {
        let world = self.world.clone();
        loop {
            // A monitor has no label.
            self.thread.waits_for.set(Value::Chan(chan.clone()));
            let received = each!(chan, rx => match self.limit {
                None => rx.recv(self),
                Some(limit) => rx.recv_until(self, limit),
            }
            .map(|taken| taken.lisp(chan, &world)));
            self.thread.waits_for.set(Value::Nil);
            match received {
                Ok(value) => return Ok(Some(value)),
                Err(RecvError::Closed) => return Ok(None),
                Err(RecvError::Interrupted) => self.raise_pending()?,
                Err(RecvError::TimedOut) => return timed_out(Value::Chan(chan.clone())),
                Err(RecvError::ShutDown) => return shut_down(),
                Err(e) => return error(e.to_string()),
            }
        }
    }

    /// Does one of the ports' operations; gives its result and its channel.
    fn alts(&mut self, ports: &Value, how: &Alts) -> Res {
        let world = self.world.clone();
        let ports = ports.to_vec()?.iter().map(Port::new).collect::<Res<Vec<_>>>()?;
        let shown = Value::list(ports.iter().map(Port::shown).collect::<Vec<_>>());
        let mut arms = ports.iter().map(|p| p.arm(&world)).collect::<Res<Vec<_>>>()?;
        let chosen = loop {
            let mut select = Select::new();
            for arm in &mut arms {
                select = arm.join(select);
            }
            if how.priority {
                select = select.biased();
            }
            if let Some(default) = &how.default {
                match select.try_now(self.participant) {
                    Some(n) => break n,
                    None => {
                        let symbol = self.world.intern(":default");
                        return Ok(Value::cons(default.clone(), symbol));
                    }
                }
            }
            if let Some(limit) = self.limit {
                select = select.until(limit);
            }
            self.thread.waits_for.set(shown.clone());
            let waited = select.wait(self);
            self.thread.waits_for.set(Value::Nil);
            match waited {
                Ok(n) => break n,
                Err(SelectError::Interrupted) => self.raise_pending()?,
                Err(SelectError::TimedOut) => return timed_out(shown),
                Err(SelectError::ShutDown) => return shut_down(),
                Err(e) => return error(e.to_string()),
            }
        };
        let result = arms.swap_remove(chosen).result()?;
        Ok(Value::cons(result.unwrap_or_else(|| how.closed.clone()), ports[chosen].shown()))
    }

    /// Calls `f`, whose puts and takes are over in `time`, or when those around it must be.
    fn with_limit(&mut self, time: Duration, f: &Value) -> Res {
        let new = Instant::now().checked_add(time);
        let saved = self.limit;
        self.limit = match (saved, new) {
            (Some(saved), Some(new)) => Some(saved.min(new)),
            (saved, new) => saved.or(new),
        };
        let result = self.funcall(f, Vec::new());
        self.limit = saved;
        result
    }
}

pub fn timed_out<T>(on: Value) -> Res<T> {
    signal("chan-timeout", [on])
}

/// The options of `alts`.
#[derive(Default)]
struct Alts {
    priority: bool,
    default: Option<Value>,
    closed: Value,
}

impl Alts {
    fn new(options: &[Value]) -> Res<Alts> {
        let mut how = Alts::default();
        for option in options.chunks(2) {
            match option {
                [key, value] if key.is_named(":priority") => how.priority = value.is_true(),
                [key, value] if key.is_named(":default") => how.default = Some(value.clone()),
                [key, value] if key.is_named(":closed") => how.closed = value.clone(),
                other => return bad_option(other),
            }
        }
        Ok(how)
    }
}

/// One of the operations of `alts`.
enum Port {
    Take(Arc<LispChan>),
    Put(Arc<LispChan>, Value),
    Wait(Arc<LispPromise>),
}

impl Port {
    fn new(v: &Value) -> Res<Port> {
        Ok(match v {
            Value::Vector(pair) if pair.0.len() == 2 => {
                Port::Put(chan(&pair.0[0].get())?.clone(), pair.0[1].get())
            }
            Value::Promise(p) => Port::Wait(p.clone()),
            v => Port::Take(chan(v)?.clone()),
        })
    }

    fn shown(&self) -> Value {
        match self {
            Port::Take(c) | Port::Put(c, _) => Value::Chan(c.clone()),
            Port::Wait(p) => Value::Promise(p.clone()),
        }
    }

    fn arm<'a>(&'a self, world: &'a World) -> Res<Box<dyn Arm + 'a>> {
        Ok(match self {
            Port::Take(chan) => each!(chan, rx => Box::new(Take { arm: rx.arm(), chan, world })),
            Port::Put(chan, value) => Box::new(Put(chan.sender()?.arm(value.clone()))),
            Port::Wait(promise) => Box::new(Wait { arm: promise.reader().arm(), promise }),
        })
    }
}

/// An arm of a select, whatever it carries.
trait Arm {
    fn join<'s>(&'s mut self, select: Select<'s>) -> Select<'s>;
    /// None: its channel is closed.
    fn result(self: Box<Self>) -> Res<Option<Value>>;
}

struct Take<'a, T> {
    arm: RecvArm<'a, T>,
    chan: &'a LispChan,
    world: &'a World,
}

impl<T: Taken> Arm for Take<'_, T> {
    fn join<'s>(&'s mut self, select: Select<'s>) -> Select<'s> {
        select.arm(&mut self.arm)
    }

    fn result(self: Box<Self>) -> Res<Option<Value>> {
        let Take { arm, chan, world } = *self;
        Ok(arm.complete().ok().map(|taken| taken.lisp(chan, world)))
    }
}

struct Put<'a>(SendArm<'a, Value>);

impl Arm for Put<'_> {
    fn join<'s>(&'s mut self, select: Select<'s>) -> Select<'s> {
        select.arm(&mut self.0)
    }

    fn result(self: Box<Self>) -> Res<Option<Value>> {
        Ok(Some(self.0.complete().is_ok().into()))
    }
}

struct Wait<'a> {
    arm: RecvArm<'a, Infallible>,
    promise: &'a Arc<LispPromise>,
}

impl Arm for Wait<'_> {
    fn join<'s>(&'s mut self, select: Select<'s>) -> Select<'s> {
        select.arm(&mut self.arm)
    }

    fn result(self: Box<Self>) -> Res<Option<Value>> {
        self.promise.result().map(Some)
    }
}

fn bad_option<T>(option: &[Value]) -> Res<T> {
    error(format!("Bad option of a channel: {}", print::shown(&option[0])))
}

fn chan(v: &Value) -> Res<&Arc<LispChan>> {
    match v {
        Value::Chan(c) => Ok(c),
        v => wrong_type("chanp", v),
    }
}

/// Room for one is taken when the channel is made.
const MOST: i64 = 1 << 24;

fn make_chan(cx: &Interp<'_>, a: &[Value]) -> Res {
    let is_key = |v: &Value| v.symbol().is_ok_and(|s| s.is_keyword());
    let (capacity, options) = match a {
        [first, rest @ ..] if !is_key(first) => (first, rest),
        options => (&Value::Nil, options),
    };
    let capacity = match capacity {
        Value::Nil => Some(0),
        Value::Int(n @ 0..MOST) => Some(*n as usize),
        Value::Int(MOST..) => return signal("overflow-error", []),
        v if v.is_named("unbounded") => None,
        v => return wrong_type("wholenump", v),
    };
    let (mut name, mut full) = (None, Full::Wait);
    for option in options.chunks(2) {
        match option {
            [key, value] if key.is_named(":name") => name = threads::name(Some(value))?,
            [key, value] if key.is_named(":policy") => full = Full::new(value)?,
            other => return bad_option(other),
        }
    }
    Ok(Value::Chan(LispChan::new(&cx.world, name, |label| {
        let builder = Builder::new().label(label);
        let (sender, receiver) = match (capacity, full) {
            // It is never full.
            (None, _) => builder.unbounded(),
            (Some(n), Full::Wait) => builder.bounded(n),
            (Some(n), Full::Drop) => builder.dropping(n),
            (Some(n), Full::Slide) => builder.sliding(n),
        };
        (Source::Values(receiver), Some(sender))
    })?))
}

/// What a put does when there is no room.
#[derive(Clone, Copy)]
enum Full {
    Wait,
    Drop,
    Slide,
}

impl Full {
    fn new(v: &Value) -> Res<Full> {
        match v.symbol_name() {
            Some("nil") => Ok(Full::Wait),
            Some("dropping") => Ok(Full::Drop),
            Some("sliding") => Ok(Full::Slide),
            _ => bad_option(std::slice::from_ref(v)),
        }
    }
}

/// A timer; `make` makes its receiver.
fn timer(cx: &Interp<'_>, time: &Value, make: fn(Builder, Duration) -> Receiver<Instant>) -> Res {
    let Some(time) = threads::seconds(Some(time))? else {
        return wrong_type("numberp", &Value::Nil);
    };
    Ok(Value::Chan(LispChan::new(&cx.world, None, |label| {
        // First: no event comes before.
        let now = Instant::now();
        (Source::Times(make(Builder::new().label(label), time), now), None)
    })?))
}

pub static SUBRS: &[Subr] = &[
    Subr::many("make-chan", 0, |cx, a| make_chan(cx, a)),
    Subr::new("chan-after", 1, 1, |cx, a| timer(cx, &a[0], Builder::after)),
    Subr::new("chan-tick", 1, 1, |cx, a| timer(cx, &a[0], Builder::tick)),
    Subr::new("chanp", 1, 1, |_, a| Ok(matches!(a[0], Value::Chan(_)).into())),
    Subr::new("chan-name", 1, 1, |_, a| Ok(chan(&a[0])?.name.clone().unwrap_or_default())),
    Subr::new("chan-len", 1, 1, |_, a| Ok(each!(chan(&a[0])?, rx => rx.len()).into())),
    Subr::new("chan-put", 2, 2, |cx, a| Ok(cx.chan_put(chan(&a[0])?, a[1].clone())?.into())),
    Subr::new("chan-offer", 2, 2, |_, a| {
        Ok(chan(&a[0])?.sender()?.try_send(a[1].clone()).is_ok().into())
    }),
    Subr::new("chan-take", 1, 2, |cx, a| {
        let taken = cx.chan_take(chan(&a[0])?)?;
        Ok(taken.or_else(|| a.get(1).cloned()).unwrap_or_default())
    }),
    Subr::many("alts", 1, |cx, a| cx.alts(&a[0], &Alts::new(&a[1..])?)),
    Subr::new("chan-close", 1, 1, |_, a| Ok(chan(&a[0])?.close().into())),
    Subr::new("chan-closed-p", 1, 1, |_, a| Ok(each!(chan(&a[0])?, rx => rx.is_closed()).into())),
    Subr::new("chan--limit", 2, 2, |cx, a| match threads::seconds(a.first())? {
        Some(time) => cx.with_limit(time, &a[1]),
        None => cx.funcall(&a[1], Vec::new()),
    }),
];
