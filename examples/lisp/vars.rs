//! Dynamic variables. A value is looked for in three places: the thread's own `let`s, the
//! current buffer's local values, and the symbol. `let` never touches what other threads see.

use crate::eval::{Interp, Place};
use crate::value::{Res, Subr, Sym, Value, signal, wrong_type};
use std::sync::Arc;

impl Interp<'_> {
    /// Where the value of `name` is now: in the buffer with this id, or (0) in the symbol.
    fn place(&self, name: &Sym) -> Place {
        let key = Arc::as_ptr(name) as usize;
        if name.has_locals.is_set() {
            let buffer = self.buffer();
            if name.always_local.is_set() || buffer.local(name).is_some() {
                return Place(key, buffer.id);
            }
        }
        Place(key, 0)
    }

    fn look_up(&self, name: &Sym) -> Option<Value> {
        if self.dynamic.is_empty() && !name.has_locals.is_set() {
            return name.value.get();
        }
        let place = self.place(name);
        if let Some(value) = self.dynamic.get(&place).and_then(|v| v.last()) {
            return value.clone();
        }
        let local = match place.1 {
            0 => None,
            _ => self.buffer().local(name),
        };
        local.or_else(|| name.value.get())
    }

    pub fn get_variable(&self, name: &Sym) -> Res {
        if name.is_keyword() {
            return Ok(Value::Sym(name.clone()));
        }
        match self.look_up(name) {
            Some(v) => Ok(v),
            None => signal("void-variable", [Value::Sym(name.clone())]),
        }
    }

    pub fn set_variable(&mut self, name: &Sym, value: Value) -> Res<()> {
        if name.is_keyword() {
            return signal("setting-constant", [Value::Sym(name.clone())]);
        }
        let place = self.place(name);
        if let Some(top) = self.dynamic.get_mut(&place).and_then(|v| v.last_mut()) {
            *top = Some(value);
        } else if place.1 != 0 || name.auto_local.is_set() {
            name.has_locals.set(true);
            self.buffer().set_local(name, value);
        } else {
            name.value.set(Some(value));
        }
        Ok(())
    }

    pub fn bind_dynamically(&mut self, name: &Sym, value: Value) -> Res<()> {
        if name.is_keyword() {
            return signal("setting-constant", [Value::Sym(name.clone())]);
        }
        let place = self.place(name);
        (self.dynamic.entry(place.clone()).or_default()).push(Some(value));
        self.bound.push(place);
        Ok(())
    }

    /// Undoes all but the `count` oldest dynamic bindings.
    pub fn unbind_to(&mut self, count: usize) {
        while self.bound.len() > count {
            let place = self.bound.pop().expect("longer than count");
            if let Some(values) = self.dynamic.get_mut(&place) {
                values.pop();
                if values.is_empty() {
                    self.dynamic.remove(&place);
                }
            }
        }
    }

    fn default_value(&self, name: &Sym) -> Option<Value> {
        let place = Place(Arc::as_ptr(name) as usize, 0);
        match self.dynamic.get(&place).and_then(|v| v.last()) {
            Some(value) => value.clone(),
            None => name.value.get(),
        }
    }

    fn set_default(&mut self, name: &Sym, value: Value) {
        let place = Place(Arc::as_ptr(name) as usize, 0);
        match self.dynamic.get_mut(&place).and_then(|v| v.last_mut()) {
            Some(top) => *top = Some(value),
            None => name.value.set(Some(value)),
        }
    }

    fn make_local(&mut self, name: &Sym) {
        let buffer = self.buffer();
        if buffer.local(name).is_none() {
            let value = self.default_value(name);
            name.has_locals.set(true);
            buffer.set_local(name, value.unwrap_or(Value::Nil));
        }
    }
}

/// A variable's symbol; nil and t are constants.
fn variable(v: &Value) -> Res<&Sym> {
    match v {
        Value::Nil | Value::T => signal("setting-constant", [v.clone()]),
        v => v.symbol(),
    }
}

fn buffer_arg(cx: &Interp<'_>, v: Option<&Value>) -> Res<Arc<crate::buffer::Buffer>> {
    match v {
        None | Some(Value::Nil) => Ok(cx.buffer()),
        Some(Value::Buffer(b)) => Ok(b.clone()),
        Some(v) => wrong_type("bufferp", v),
    }
}

pub static SUBRS: &[Subr] = &[
    Subr::new("boundp", 1, 1, |cx, a| {
        Ok(match &a[0] {
            Value::Nil | Value::T => Value::T,
            v => (v.symbol()?.is_keyword() || cx.look_up(v.symbol()?).is_some()).into(),
        })
    }),
    Subr::new("symbol-value", 1, 1, |cx, a| match &a[0] {
        v @ (Value::Nil | Value::T) => Ok(v.clone()),
        v => cx.get_variable(v.symbol()?),
    }),
    Subr::new("set", 2, 2, |cx, a| {
        cx.set_variable(variable(&a[0])?, a[1].clone())?;
        Ok(a[1].clone())
    }),
    Subr::new("makunbound", 1, 1, |cx, a| {
        let name = variable(&a[0])?;
        let place = cx.place(name);
        match cx.dynamic.get_mut(&place).and_then(|v| v.last_mut()) {
            Some(top) => *top = None,
            None => name.value.set(None),
        }
        Ok(a[0].clone())
    }),
    Subr::new("default-value", 1, 1, |cx, a| match &a[0] {
        v @ (Value::Nil | Value::T) => Ok(v.clone()),
        v => match cx.default_value(v.symbol()?) {
            Some(value) => Ok(value),
            None => signal("void-variable", [v.clone()]),
        },
    }),
    Subr::new("set-default", 2, 2, |cx, a| {
        cx.set_default(variable(&a[0])?, a[1].clone());
        Ok(a[1].clone())
    }),
    Subr::new("make-local-variable", 1, 1, |cx, a| {
        cx.make_local(variable(&a[0])?);
        Ok(a[0].clone())
    }),
    Subr::new("make-variable-buffer-local", 1, 1, |_, a| {
        let name = variable(&a[0])?;
        name.auto_local.set(true);
        name.special.set(true);
        name.value.with(|v| {
            v.get_or_insert(Value::Nil);
        });
        Ok(a[0].clone())
    }),
    Subr::new("local-variable-p", 1, 2, |cx, a| {
        let name = a[0].symbol()?;
        let buffer = buffer_arg(cx, a.get(1))?;
        Ok((name.always_local.is_set() || buffer.local(name).is_some()).into())
    }),
    Subr::new("buffer-local-value", 2, 2, |cx, a| {
        let name = a[0].symbol()?;
        let buffer = buffer_arg(cx, Some(&a[1]))?;
        let saved = cx.thread.buffer.replace(buffer);
        let value = cx.get_variable(name);
        cx.thread.buffer.set(saved);
        value
    }),
];
