//! Lisp values, and the ways an evaluation can end early.

use std::sync::Arc;

use crate::buffer::Buffer;
use crate::cell::{Flag, Slot};
use crate::chan::LispChan;
use crate::eval::{Frame, Interp};
use crate::promise::LispPromise;
use crate::syntax::Code;
use crate::threads::{LispCondvar, LispMutex, LispThread};

/// Any Lisp object. A handle: cloning it does not copy the object.
#[derive(Clone, Default)]
pub enum Value {
    #[default]
    Nil,
    T,
    Int(i64),
    Float(Arc<f64>),
    Sym(Sym),
    Str(Arc<Str>),
    Cons(Arc<Cons>),
    Vector(Arc<Vector>),
    Subr(&'static Subr),
    Closure(Arc<Closure>),
    Buffer(Arc<Buffer>),
    Thread(Arc<LispThread>),
    Mutex(Arc<LispMutex>),
    Condvar(Arc<LispCondvar>),
    Chan(Arc<LispChan>),
    Promise(Arc<LispPromise>),
}

pub type Sym = Arc<Symbol>;

pub struct Symbol {
    pub name: Arc<str>,
    pub interned: bool,
    /// The global value; None: void.
    pub value: Slot<Option<Value>>,
    /// Nil: void.
    pub function: Slot<Value>,
    pub plist: Slot<Value>,
    /// `let` binds it dynamically.
    pub special: Flag,
    /// Setting it makes it local to the current buffer.
    pub auto_local: Flag,
    /// It is local in every buffer, even for `let`.
    pub always_local: Flag,
    /// Some buffer may have a local value for it.
    pub has_locals: Flag,
}

impl Symbol {
    pub fn new(name: &str, interned: bool) -> Symbol {
        let keyword = interned && name.starts_with(':');
        Symbol {
            name: name.into(),
            interned,
            value: Slot::new(None),
            function: Slot::new(Value::Nil),
            plist: Slot::new(Value::Nil),
            special: Flag::new(keyword),
            auto_local: Flag::new(false),
            always_local: Flag::new(false),
            has_locals: Flag::new(false),
        }
    }

    pub fn is_keyword(&self) -> bool {
        self.interned && self.name.starts_with(':')
    }
}

/// The text of a string. Immutable; a `Str` holds one at a time.
#[derive(Clone)]
pub struct Text {
    bytes: Arc<str>,
    chars: usize,
}

impl Text {
    pub fn as_str(&self) -> &str {
        &self.bytes
    }

    /// Length in characters.
    pub fn len(&self) -> usize {
        self.chars
    }

    /// Byte offset of character `index`, which is at most `len`.
    pub fn offset(&self, index: usize) -> usize {
        if self.chars == self.bytes.len() {
            return index;
        }
        let mut at = self.bytes.char_indices().map(|(i, _)| i);
        at.nth(index).unwrap_or(self.bytes.len())
    }

    /// Number of the character at byte `offset`.
    pub fn index(&self, offset: usize) -> usize {
        if self.chars == self.bytes.len() {
            return offset;
        }
        self.bytes[..offset].chars().count()
    }
}

impl From<&str> for Text {
    fn from(s: &str) -> Text {
        Text { chars: s.chars().count(), bytes: s.into() }
    }
}

pub struct Str(pub Slot<Text>);

pub struct Cons {
    car: Slot<Value>,
    cdr: Slot<Value>,
}

impl Cons {
    pub fn car(&self) -> Value {
        self.car.get()
    }

    pub fn cdr(&self) -> Value {
        self.cdr.get()
    }

    pub fn set_car(&self, v: Value) {
        self.car.set(v);
    }

    pub fn set_cdr(&self, v: Value) {
        self.cdr.set(v);
    }
}

pub struct Vector(pub Box<[Slot<Value>]>);

/// A primitive function.
pub struct Subr {
    pub name: &'static str,
    pub min: usize,
    /// None: any number.
    pub max: Option<usize>,
    pub run: Run,
}

pub enum Run {
    Fn(fn(&mut Interp<'_>, &[Value]) -> Res),
    /// A special form: its arguments are not evaluated; this reads them into a syntax tree.
    Form(fn(&mut Interp<'_>, &[Value]) -> Res<crate::syntax::Node>),
}

impl Subr {
    pub const fn new(
        name: &'static str,
        min: usize,
        max: usize,
        run: fn(&mut Interp<'_>, &[Value]) -> Res,
    ) -> Subr {
        let run = Run::Fn(run);
        let max = Some(max);
        Subr { name, min, max, run }
    }

    /// A function of `min` or more arguments.
    pub const fn many(
        name: &'static str,
        min: usize,
        run: fn(&mut Interp<'_>, &[Value]) -> Res,
    ) -> Subr {
        let run = Run::Fn(run);
        Subr { name, min, max: None, run }
    }

    pub fn takes(&self, n: usize) -> bool {
        n >= self.min && self.max.is_none_or(|max| n <= max)
    }
}

pub struct Closure {
    pub code: Arc<Code>,
    pub env: Option<Arc<Frame>>,
}

/// Why an evaluation did not return a value.
#[derive(Clone)]
pub enum Flow {
    /// A Lisp error: its symbol and data.
    Signal(Value, Value),
    /// The same, its symbol not looked up yet.
    Error(&'static str, Vec<Value>),
    WrongType(&'static str, Value),
    /// A special form with so many arguments.
    WrongCount(&'static str, usize),
    /// A throw; the tag has a catch in this thread.
    Throw(Value, Value),
    /// The program asked to end.
    Exit(i32),
    /// The program is over; this thread unwinds without a trace.
    Shutdown,
}

pub type Res<T = Value> = Result<T, Box<Flow>>;

pub fn wrong_type<T>(predicate: &'static str, v: &Value) -> Res<T> {
    Err(Box::new(Flow::WrongType(predicate, v.clone())))
}

pub fn signal<T>(symbol: &'static str, data: impl Into<Vec<Value>>) -> Res<T> {
    Err(Box::new(Flow::Error(symbol, data.into())))
}

/// The error `(error TEXT)`.
pub fn error<T>(text: impl AsRef<str>) -> Res<T> {
    signal("error", [Value::str(text)])
}

pub fn out_of_range<T>(what: &[&Value]) -> Res<T> {
    let data: Vec<Value> = what.iter().map(|&v| v.clone()).collect();
    signal("args-out-of-range", data)
}

impl Value {
    pub fn str(s: impl AsRef<str>) -> Value {
        Value::Str(Arc::new(Str(Slot::new(s.as_ref().into()))))
    }

    pub fn float(x: f64) -> Value {
        Value::Float(Arc::new(x))
    }

    pub fn cons(car: Value, cdr: Value) -> Value {
        Value::Cons(Arc::new(Cons { car: Slot::new(car), cdr: Slot::new(cdr) }))
    }

    pub fn vector(items: Vec<Value>) -> Value {
        Value::Vector(Arc::new(Vector(items.into_iter().map(Slot::new).collect())))
    }

    pub fn list(items: impl IntoIterator<Item = Value, IntoIter: DoubleEndedIterator>) -> Value {
        Value::list_with_tail(items, Value::Nil)
    }

    pub fn list_with_tail(
        items: impl IntoIterator<Item = Value, IntoIter: DoubleEndedIterator>,
        tail: Value,
    ) -> Value {
        let items = items.into_iter().rev();
        items.fold(tail, |tail, item| Value::cons(item, tail))
    }

    pub fn is_nil(&self) -> bool {
        matches!(self, Value::Nil)
    }

    pub fn is_true(&self) -> bool {
        !self.is_nil()
    }

    /// The name, if this is a symbol.
    pub fn symbol_name(&self) -> Option<&str> {
        match self {
            Value::Nil => Some("nil"),
            Value::T => Some("t"),
            Value::Sym(s) => Some(&s.name),
            _ => None,
        }
    }

    /// Is this the interned symbol `name`?
    pub fn is_named(&self, name: &str) -> bool {
        match self {
            Value::Sym(s) => s.interned && *s.name == *name,
            _ => false,
        }
    }

    pub fn car(&self) -> Res {
        match self {
            Value::Cons(c) => Ok(c.car()),
            Value::Nil => Ok(Value::Nil),
            v => wrong_type("listp", v),
        }
    }

    pub fn cdr(&self) -> Res {
        match self {
            Value::Cons(c) => Ok(c.cdr()),
            Value::Nil => Ok(Value::Nil),
            v => wrong_type("listp", v),
        }
    }

    pub fn int(&self) -> Res<i64> {
        match self {
            Value::Int(i) => Ok(*i),
            v => wrong_type("integerp", v),
        }
    }

    pub fn fixnum(&self) -> Res<i64> {
        match self {
            Value::Int(i) => Ok(*i),
            v => wrong_type("fixnump", v),
        }
    }

    pub fn text(&self) -> Res<Text> {
        match self {
            Value::Str(s) => Ok(s.0.get()),
            v => wrong_type("stringp", v),
        }
    }

    pub fn symbol(&self) -> Res<&Sym> {
        match self {
            Value::Sym(s) => Ok(s),
            v => wrong_type("symbolp", v),
        }
    }

    /// The elements of a list; an improper or circular one ends in an error.
    pub fn items(&self) -> Items {
        Items { rest: self.clone(), hare: Hare::new(self) }
    }

    pub fn to_vec(&self) -> Res<Vec<Value>> {
        self.items().collect()
    }

    pub fn eq(&self, other: &Value) -> bool {
        use Value::*;
        match (self, other) {
            (Nil, Nil) | (T, T) => true,
            (Int(a), Int(b)) => a == b,
            (Float(a), Float(b)) => Arc::ptr_eq(a, b),
            (Sym(a), Sym(b)) => Arc::ptr_eq(a, b),
            // There is one empty string.
            (Str(a), Str(b)) => Arc::ptr_eq(a, b) || a.0.get().len() + b.0.get().len() == 0,
            (Cons(a), Cons(b)) => Arc::ptr_eq(a, b),
            (Vector(a), Vector(b)) => Arc::ptr_eq(a, b),
            (Subr(a), Subr(b)) => std::ptr::eq(*a, *b),
            (Closure(a), Closure(b)) => Arc::ptr_eq(a, b),
            (Buffer(a), Buffer(b)) => Arc::ptr_eq(a, b),
            (Thread(a), Thread(b)) => Arc::ptr_eq(a, b),
            (Mutex(a), Mutex(b)) => Arc::ptr_eq(a, b),
            (Condvar(a), Condvar(b)) => Arc::ptr_eq(a, b),
            (Chan(a), Chan(b)) => Arc::ptr_eq(a, b),
            (Promise(a), Promise(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    pub fn eql(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            _ => self.eq(other),
        }
    }

    pub fn equal(&self, other: &Value) -> Res<bool> {
        equal(self, other, 0)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Value {
        if yes { Value::T } else { Value::Nil }
    }
}

impl From<usize> for Value {
    fn from(n: usize) -> Value {
        Value::Int(n as i64)
    }
}

/// Nesting at which `equal` gives up, as in Emacs.
const EQUAL_DEPTH: usize = 200;

fn equal(a: &Value, b: &Value, depth: usize) -> Res<bool> {
    if depth > EQUAL_DEPTH {
        return error("Stack overflow in equal");
    }
    let (mut a, mut b) = (a.clone(), b.clone());
    let mut hare = Hare::new(&a);
    loop {
        if a.eql(&b) {
            return Ok(true);
        }
        let (next_a, next_b) = match (&a, &b) {
            (Value::Cons(x), Value::Cons(y)) => {
                if !equal(&x.car(), &y.car(), depth + 1)? {
                    return Ok(false);
                }
                (x.cdr(), y.cdr())
            }
            (Value::Str(x), Value::Str(y)) => {
                return Ok(x.0.get().as_str() == y.0.get().as_str());
            }
            (Value::Vector(x), Value::Vector(y)) => {
                if x.0.len() != y.0.len() {
                    return Ok(false);
                }
                for (x, y) in x.0.iter().zip(&y.0) {
                    if !equal(&x.get(), &y.get(), depth + 1)? {
                        return Ok(false);
                    }
                }
                return Ok(true);
            }
            (Value::Closure(x), Value::Closure(y)) => {
                let same_env = match (&x.env, &y.env) {
                    (None, None) => true,
                    (Some(x), Some(y)) => Arc::ptr_eq(x, y),
                    _ => false,
                };
                return Ok(same_env && equal(&x.code.source, &y.code.source, depth + 1)?);
            }
            _ => return Ok(false),
        };
        (a, b) = (next_a, next_b);
        if hare.is_back(&a) {
            return signal("circular-list", [a]);
        }
    }
}

/// Notices a circular list, by Brent's method: compares each cell with one kept from a
/// while ago.
pub struct Hare {
    kept: Value,
    steps_left: usize,
    stride: usize,
}

impl Hare {
    pub fn new(list: &Value) -> Hare {
        Hare { kept: list.clone(), steps_left: 2, stride: 2 }
    }

    /// Has the walk, now at `tail`, come back to where it was?
    pub fn is_back(&mut self, tail: &Value) -> bool {
        self.steps_left -= 1;
        if self.steps_left == 0 {
            self.stride *= 2;
            self.steps_left = self.stride;
            self.kept = tail.clone();
            return false;
        }
        matches!(tail, Value::Cons(_)) && tail.eq(&self.kept)
    }
}

/// Iterator over a list.
pub struct Items {
    /// What is still to come.
    pub rest: Value,
    hare: Hare,
}

impl Iterator for Items {
    type Item = Res;

    fn next(&mut self) -> Option<Res> {
        match std::mem::take(&mut self.rest) {
            Value::Nil => None,
            Value::Cons(c) => {
                self.rest = c.cdr();
                if self.hare.is_back(&self.rest) {
                    let tail = std::mem::take(&mut self.rest);
                    return Some(signal("circular-list", [tail]));
                }
                Some(Ok(c.car()))
            }
            tail => Some(wrong_type("listp", &tail)),
        }
    }
}

// A long list dropped cell by cell would recurse once per cell. Instead each drop takes
// its children out, and one loop drops those that nobody else holds.

/// What came loose from an object that is being dropped.
enum Loose {
    Value(Value),
    Frame(Arc<Frame>),
}

fn unravel(mut loose: Vec<Loose>) {
    while let Some(next) = loose.pop() {
        match next {
            Loose::Value(Value::Cons(c)) => {
                if let Some(mut c) = Arc::into_inner(c) {
                    loosen(c.car.get_mut(), &mut loose);
                    loosen(c.cdr.get_mut(), &mut loose);
                }
            }
            Loose::Value(Value::Vector(v)) => {
                if let Some(mut v) = Arc::into_inner(v) {
                    for slot in &mut v.0 {
                        loosen(slot.get_mut(), &mut loose);
                    }
                }
            }
            Loose::Value(Value::Closure(c)) => {
                if let Some(mut c) = Arc::into_inner(c) {
                    loose.extend(c.env.take().map(Loose::Frame));
                }
            }
            Loose::Frame(f) => {
                if let Some(mut f) = Arc::into_inner(f) {
                    loosen(f.value.get_mut(), &mut loose);
                    loose.extend(f.next.take().map(Loose::Frame));
                }
            }
            Loose::Value(Value::Chan(c)) => {
                if let Some(c) = Arc::into_inner(c) {
                    loose.extend(c.remains().map(Loose::Value));
                }
            }
            Loose::Value(Value::Promise(p)) => {
                if let Some(mut p) = Arc::into_inner(p) {
                    loose.extend(p.take().map(Loose::Value));
                }
            }
            Loose::Value(_) => {}
        }
    }
}

/// Moves `v` to `loose` if dropping it could go deeper.
fn loosen(v: &mut Value, loose: &mut Vec<Loose>) {
    use Value::*;
    if matches!(v, Cons(_) | Vector(_) | Closure(_) | Chan(_) | Promise(_)) {
        loose.push(Loose::Value(std::mem::take(v)));
    }
}

impl Drop for Cons {
    fn drop(&mut self) {
        let mut loose = Vec::new();
        loosen(self.car.get_mut(), &mut loose);
        loosen(self.cdr.get_mut(), &mut loose);
        unravel(loose);
    }
}

impl Drop for Vector {
    fn drop(&mut self) {
        let mut loose = Vec::new();
        for slot in &mut self.0 {
            loosen(slot.get_mut(), &mut loose);
        }
        unravel(loose);
    }
}

impl Drop for Closure {
    fn drop(&mut self) {
        unravel(self.env.take().map(Loose::Frame).into_iter().collect());
    }
}

impl Drop for LispChan {
    fn drop(&mut self) {
        unravel(self.remains().map(Loose::Value).collect());
    }
}

impl Drop for LispPromise {
    fn drop(&mut self) {
        unravel(self.take().map(Loose::Value).into_iter().collect());
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        let mut loose = Vec::new();
        loosen(self.value.get_mut(), &mut loose);
        loose.extend(self.next.take().map(Loose::Frame));
        unravel(loose);
    }
}
