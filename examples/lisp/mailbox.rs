//! What `thread-send` needs that is not Lisp: a channel for each thread, closed with the thread, and the copying of
//! messages. The rest is in `channels.el`.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cell::Slot;
use crate::chan::LispChan;
use crate::eval::{Frame, push_frame};
use crate::threads::{LispThread, thread};
use crate::value::{Closure, Res, Subr, Value};
use crate::world::World;

/// A thread's channel of messages, made when somebody asks for it.
#[derive(Default)]
pub struct Mailbox(Slot<State>);

#[derive(Default)]
struct State {
    chan: Option<Arc<LispChan>>,
    over: bool,
}

impl Mailbox {
    /// The thread ends. A message that it has not read is a cons; if the car of it is a channel, for the answer, that is
    /// closed.
    pub fn end(&self) {
        let chan = self.0.with(|state| {
            state.over = true;
            state.chan.clone()
        });
        let Some(chan) = chan else { return };
        chan.close();
        for message in chan.remains() {
            if let Ok(Value::Chan(answer)) = message.car() {
                answer.close();
            }
        }
    }
}

fn mailbox(world: &World, thread: &LispThread) -> Res<Arc<LispChan>> {
    let new = LispChan::new(world, None, thread.name.clone())?;
    Ok(thread.mailbox.0.with(|state| {
        let chan = state.chan.get_or_insert_with(|| new.clone());
        if state.over {
            chan.close();
        }
        chan.clone()
    }))
}

/// A copy that shares no memory that Lisp can change with `v`; within, it shares as `v` does. What has an identity (buffer,
/// thread, mutex, condition variable, channel), symbols and the code of functions are not copied.
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
        Ok(Value::Chan(mailbox(&cx.world, thread)?))
    }),
    Subr::new("thread--copy", 1, 1, |_, a| Ok(copy(&a[0]))),
];
