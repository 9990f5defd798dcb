//! What isolates need that is not Lisp: a mailbox for each thread, which ends with it, the copying of messages, monitors and
//! links. The rest is in `channels.el`.

use std::collections::HashMap;
use std::sync::Arc;

use selvedge::isolate::{self, Address, Gone, Unanswered};

use crate::chan::{LispChan, Source};
use crate::eval::{Frame, push_frame};
use crate::promise::LispPromise;
use crate::threads::{LispSignal, thread};
use crate::value::{Closure, Res, Subr, Value, signal};
use crate::world::World;

pub type Letters = isolate::Mailbox<Value, Arc<Value>, LispSignal>;
pub type Letter = isolate::Letter<Value, Arc<Value>, LispSignal>;

/// Where a thread gets its messages.
pub struct Mailbox {
    address: Address<Value, Arc<Value>, LispSignal>,
    chan: Arc<LispChan>,
}

impl Mailbox {
    pub fn new(world: &World, name: Option<Value>) -> Res<Mailbox> {
        let mut address = None;
        let chan = LispChan::new(world, name, |label| {
            let (to, letters) = isolate::labelled(label);
            address = Some(to);
            (Source::Letters(letters), None)
        })?;
        let address = address.expect("made with the channel");
        Ok(Mailbox { address, chan })
    }

    /// The thread ends: who waits for an answer gets the message back. Lisp may hold the channel longer than that.
    pub fn end(&self) {
        let Source::Letters(letters) = &self.chan.source else { return };
        self.chan.close();
        while let Ok(letter) = letters.try_recv() {
            let (message, resolver) = letter.into_parts();
            // Nobody may wait for it any more.
            let _ = resolver.reject(Unanswered::Undelivered(message));
        }
    }
}

/// A copy that shares no memory that Lisp can change with `v`; within, it shares as `v` does. What has an identity (buffer,
/// thread, mutex, condition variable, channel, promise), symbols and the code of functions are not copied.
fn copy(v: &Value) -> Value {
    let mut copier = Copier::default();
    let new = copier.shell(v);
    while let Some(step) = copier.left.pop() {
        match step {
            Step::Cons(old, new) => {
                let (car, cdr) = (copier.shell(&old.car()), copier.shell(&old.cdr()));
                new.set_car(car);
                new.set_cdr(cdr);
            }
            Step::Vector(old, new) => {
                for (old, new) in old.0.iter().zip(&new.0) {
                    new.set(copier.shell(&old.get()));
                }
            }
            Step::Frame(old, new) => new.value.set(copier.shell(&old.value.get())),
        }
    }
    new
}

/// A copy is made empty, then filled, so that depth and circles do not matter.
#[derive(Default)]
struct Copier {
    /// Copies by the address of the original, which is kept, so that the address stays taken.
    made: HashMap<usize, (Value, Value)>,
    frames: HashMap<usize, (Arc<Frame>, Arc<Frame>)>,
    left: Vec<Step>,
}

/// An original and its empty copy.
enum Step {
    Cons(Arc<crate::value::Cons>, Arc<crate::value::Cons>),
    Vector(Arc<crate::value::Vector>, Arc<crate::value::Vector>),
    Frame(Arc<Frame>, Arc<Frame>),
}

impl Copier {
    fn shell(&mut self, v: &Value) -> Value {
        let address = match v {
            Value::Str(s) => Arc::as_ptr(s).addr(),
            Value::Cons(c) => Arc::as_ptr(c).addr(),
            Value::Vector(v) => Arc::as_ptr(v).addr(),
            Value::Closure(c) => Arc::as_ptr(c).addr(),
            _ => return v.clone(),
        };
        if let Some((_, new)) = self.made.get(&address) {
            return new.clone();
        }
        let new = match v {
            Value::Str(s) => Value::str(s.0.get().as_str()),
            Value::Cons(_) => Value::cons(Value::Nil, Value::Nil),
            Value::Vector(items) => Value::vector(vec![Value::Nil; items.0.len()]),
            Value::Closure(c) => {
                let env = self.env(&c.env);
                Value::Closure(Arc::new(Closure { code: c.code.clone(), env }))
            }
            _ => unreachable!("it has an address"),
        };
        match (v, &new) {
            (Value::Cons(old), Value::Cons(new)) => {
                self.left.push(Step::Cons(old.clone(), new.clone()));
            }
            (Value::Vector(old), Value::Vector(new)) => {
                self.left.push(Step::Vector(old.clone(), new.clone()));
            }
            _ => {}
        }
        self.made.insert(address, (v.clone(), new.clone()));
        new
    }

    /// The same bindings, from the outermost that has no copy yet inwards.
    fn env(&mut self, env: &Option<Arc<Frame>>) -> Option<Arc<Frame>> {
        let (mut at, mut new, mut fresh) = (env.as_ref(), None, Vec::new());
        while let Some(frame) = at {
            if let Some((_, made)) = self.frames.get(&Arc::as_ptr(frame).addr()) {
                new = Some(made.clone());
                break;
            }
            fresh.push(frame);
            at = frame.next.as_ref();
        }
        for old in fresh.into_iter().rev() {
            push_frame(&mut new, &old.name, Value::Nil, old.special);
            if let Some(new) = &new {
                self.frames.insert(Arc::as_ptr(old).addr(), (old.clone(), new.clone()));
                self.left.push(Step::Frame(old.clone(), new.clone()));
            }
        }
        new
    }
}

pub static SUBRS: &[Subr] = &[
    Subr::new("thread-mailbox", 0, 1, |cx, a| {
        let thread = match a.first() {
            None | Some(Value::Nil) => &cx.thread,
            Some(v) => thread(v)?,
        };
        Ok(Value::Chan(thread.mailbox.chan.clone()))
    }),
    Subr::many("thread-send", 2, |_, a| {
        let call = copy(&Value::list(a[1..].to_vec()));
        match thread(&a[0])?.mailbox.address.send(call) {
            Ok(answer) => Ok(Value::Promise(LispPromise::to_read(answer))),
            Err(Gone(call)) => signal("thread-dead", [a[0].clone(), call]),
        }
    }),
    Subr::new("thread--copy", 1, 1, |_, a| Ok(copy(&a[0]))),
    Subr::new("thread-monitor", 1, 1, |cx, a| {
        let exits = isolate::monitor(&thread(&a[0])?.handle()?);
        let source = Source::Exits(exits, a[0].clone());
        Ok(Value::Chan(LispChan::new(&cx.world, None, |_| (source, None))?))
    }),
    Subr::new("thread-link", 1, 2, |cx, a| {
        let other = match a.get(1) {
            None | Some(Value::Nil) => &cx.thread,
            Some(v) => thread(v)?,
        };
        isolate::link(&thread(&a[0])?.handle()?, &other.handle()?);
        Ok(Value::Nil)
    }),
];
