//! Channels: selvedge's, under their Lisp names. They carry values as threads share them: a handle, no copy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge::channel::{
    Builder, Receiver, RecvArm, RecvError, Select, SelectError, SendArm, SendError, Sender,
};

use crate::eval::Interp;
use crate::print;
use crate::threads::{self, Waitable, shut_down};
use crate::value::{Res, Subr, Value, error, signal, wrong_type};
use crate::world::World;

/// Both ends: a Lisp channel is closed by `chan-close`, not because a handle of it went away.
pub struct LispChan {
    /// The string it was given.
    pub name: Option<Value>,
    sender: Sender<Value>,
    receiver: Receiver<Value>,
}

impl LispChan {
    /// With room for `capacity` values; None: for any number.
    pub fn new(world: &World, capacity: Option<usize>, name: Option<Value>) -> Res<Arc<LispChan>> {
        let tag = world.ids.next();
        let builder = Builder::new().label(threads::label(&name, tag)?);
        let (sender, receiver) = match capacity {
            Some(n) => builder.bounded(n),
            None => builder.unbounded(),
        };
        let new = Arc::new(LispChan { name, sender, receiver });
        world.registry.add_waitable(tag, Waitable::Chan(Arc::downgrade(&new)));
        Ok(new)
    }

    /// False: it was closed.
    pub fn close(&self) -> bool {
        self.sender.close()
    }

    /// The values in it, taken without waiting.
    pub fn remains(&self) -> impl Iterator<Item = Value> {
        self.receiver.try_iter()
    }
}

impl Interp<'_> {
    /// False: the channel is closed, the value is not in it.
    fn chan_put(&mut self, chan: &Arc<LispChan>, mut value: Value) -> Res<bool> {
        loop {
            let sent = match self.limit {
                None => chan.sender.send(self, value),
                Some(limit) => chan.sender.send_until(self, value, limit),
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
        loop {
            let received = match self.limit {
                None => chan.receiver.recv(self),
                Some(limit) => chan.receiver.recv_until(self, limit),
            };
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
        let ports = ports.to_vec()?.iter().map(port).collect::<Res<Vec<_>>>()?;
        let chans =
            Value::list(ports.iter().map(|(c, _)| Value::Chan(c.clone())).collect::<Vec<_>>());
        let mut arms: Vec<Arm<'_>> = ports.iter().map(Arm::new).collect();
        let chosen = loop {
            let mut select = Select::new();
            for arm in &mut arms {
                select = match arm {
                    Arm::Take(arm) => select.arm(arm),
                    Arm::Put(arm) => select.arm(arm),
                };
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
            self.thread.choosing.set(chans.clone());
            let waited = select.wait(self);
            self.thread.choosing.set(Value::Nil);
            match waited {
                Ok(n) => break n,
                Err(SelectError::Interrupted) => self.raise_pending()?,
                Err(SelectError::TimedOut) => return timed_out(chans),
                Err(SelectError::ShutDown) => return shut_down(),
                Err(e) => return error(e.to_string()),
            }
        };
        let value = match arms.swap_remove(chosen) {
            Arm::Take(arm) => arm.complete().unwrap_or_else(|_| how.closed.clone()),
            Arm::Put(arm) => arm.complete().is_ok().into(),
        };
        Ok(Value::cons(value, Value::Chan(ports[chosen].0.clone())))
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

fn timed_out<T>(on: Value) -> Res<T> {
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

/// A channel to take from, or with a value to put.
type Port = (Arc<LispChan>, Option<Value>);

fn port(v: &Value) -> Res<Port> {
    match v {
        Value::Vector(pair) if pair.0.len() == 2 => {
            Ok((chan(&pair.0[0].get())?.clone(), Some(pair.0[1].get())))
        }
        v => Ok((chan(v)?.clone(), None)),
    }
}

enum Arm<'a> {
    Take(RecvArm<'a, Value>),
    Put(SendArm<'a, Value>),
}

impl<'a> Arm<'a> {
    fn new((chan, value): &'a Port) -> Arm<'a> {
        match value {
            None => Arm::Take(chan.receiver.arm()),
            Some(value) => Arm::Put(chan.sender.arm(value.clone())),
        }
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
    let mut name = None;
    for option in options.chunks(2) {
        match option {
            [key, value] if key.is_named(":name") => name = threads::name(Some(value))?,
            other => return bad_option(other),
        }
    }
    Ok(Value::Chan(LispChan::new(&cx.world, capacity, name)?))
}

pub static SUBRS: &[Subr] = &[
    Subr::many("make-chan", 0, |cx, a| make_chan(cx, a)),
    Subr::new("chanp", 1, 1, |_, a| Ok(matches!(a[0], Value::Chan(_)).into())),
    Subr::new("chan-name", 1, 1, |_, a| Ok(chan(&a[0])?.name.clone().unwrap_or_default())),
    Subr::new("chan-len", 1, 1, |_, a| Ok(chan(&a[0])?.receiver.len().into())),
    Subr::new("chan-put", 2, 2, |cx, a| Ok(cx.chan_put(chan(&a[0])?, a[1].clone())?.into())),
    Subr::new("chan-take", 1, 2, |cx, a| {
        let taken = cx.chan_take(chan(&a[0])?)?;
        Ok(taken.or_else(|| a.get(1).cloned()).unwrap_or_default())
    }),
    Subr::many("alts", 1, |cx, a| cx.alts(&a[0], &Alts::new(&a[1..])?)),
    Subr::new("chan-close", 1, 1, |_, a| Ok(chan(&a[0])?.close().into())),
    Subr::new("chan-closed-p", 1, 1, |_, a| Ok(chan(&a[0])?.sender.is_closed().into())),
    Subr::new("chan--limit", 2, 2, |cx, a| match threads::seconds(a.first())? {
        Some(time) => cx.with_limit(time, &a[1]),
        None => cx.funcall(&a[1], Vec::new()),
    }),
];
