//! The evaluator: one `Interp` per Lisp thread, over one `World` per program.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use selvedge::Participant;

use crate::buffer::Buffer;
use crate::cell::Slot;
use crate::syntax::{Call, Code, ConditionCase, Defvar, Head, Let, Node, is_macro};
use crate::threads::LispThread;
use crate::value::{Closure, Flow, Res, Run, Subr, Sym, Value, signal};
use crate::world::World;

/// The state of one thread.
pub struct Interp<'p> {
    pub world: Arc<World>,
    pub participant: &'p mut Participant,
    pub thread: Arc<LispThread>,
    pub stack: Stack,
    /// The lexical bindings in effect.
    pub env: Option<Arc<Frame>>,
    /// The dynamic bindings of this thread, innermost last, by variable and buffer.
    pub dynamic: HashMap<Place, Vec<Option<Value>>>,
    /// The same in the order they were made.
    pub bound: Vec<Place>,
    /// Tags of the catches in effect.
    pub catches: Vec<Value>,
    pub matched: crate::strings::MatchData,
    pub depth: usize,
    /// No put or take waits longer.
    pub limit: Option<Instant>,
    /// Macros being expanded, each by the one before.
    pub expanding: usize,
}

/// A variable, or its local value in one buffer: address of the symbol and id of the buffer
/// (0: none).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Place(pub usize, pub u64);

/// One lexical binding, and those outside it.
pub struct Frame {
    pub name: Sym,
    pub value: Slot<Value>,
    /// Not a binding, but a local `(defvar NAME)`: `let` binds NAME dynamically.
    pub special: bool,
    /// This or an outer frame is `special`.
    pub any_special: bool,
    pub next: Option<Arc<Frame>>,
}

pub fn push_frame(env: &mut Option<Arc<Frame>>, name: &Sym, value: Value, special: bool) {
    let next = env.take();
    let any_special = special || next.as_ref().is_some_and(|f| f.any_special);
    *env = Some(Arc::new(Frame {
        name: name.clone(),
        value: Slot::new(value),
        special,
        any_special,
        next,
    }));
}

fn frames(env: &Option<Arc<Frame>>) -> impl Iterator<Item = &Frame> {
    std::iter::successors(env.as_deref(), |f| f.next.as_deref())
}

/// The environment as Emacs prints it in a closure.
pub fn env_as_list(env: &Option<Arc<Frame>>) -> Value {
    let entry = |f: &Frame| match f.special {
        true => Value::Sym(f.name.clone()),
        false => Value::cons(Value::Sym(f.name.clone()), f.value.get()),
    };
    let entries: Vec<Value> = frames(env).map(entry).collect();
    Value::list_with_tail(entries, Value::list([Value::T]))
}

/// How much of the OS thread's stack is left. A Lisp that nests too deep gets an error
/// before the process would get a fault.
#[derive(Clone, Copy)]
pub struct Stack {
    floor: usize,
}

impl Stack {
    /// The stack of the calling thread, of which `size` bytes are left. It grows down.
    pub fn here(size: usize) -> Stack {
        let reserve = 256 * 1024;
        Stack { floor: Stack::top().saturating_sub(size.saturating_sub(reserve)) }
    }

    pub fn is_low(&self) -> bool {
        Stack::top() < self.floor
    }

    #[inline(never)]
    fn top() -> usize {
        let here = 0u8;
        (&raw const here) as usize
    }
}

impl<'p> Interp<'p> {
    pub fn new(
        world: Arc<World>,
        participant: &'p mut Participant,
        thread: Arc<LispThread>,
        stack: Stack,
    ) -> Interp<'p> {
        Interp {
            world,
            participant,
            thread,
            stack,
            env: None,
            dynamic: HashMap::new(),
            bound: Vec::new(),
            catches: Vec::new(),
            matched: Default::default(),
            depth: 0,
            limit: None,
            expanding: 0,
        }
    }

    pub fn buffer(&self) -> Arc<Buffer> {
        self.thread.buffer.get()
    }

    /// Evaluates a form in the environment of the moment.
    pub fn eval_form(&mut self, form: &Value) -> Res {
        let node = self.analyse(form)?;
        self.eval(&node)
    }

    pub fn eval(&mut self, node: &Node) -> Res {
        match node {
            Node::Const(v) => Ok(v.clone()),
            Node::Var(name) => self.variable(name),
            _ => {
                self.enter()?;
                let result = self.eval_compound(node);
                self.depth -= 1;
                result
            }
        }
    }

    /// One level deeper, if that is allowed. The caller decrements `depth`.
    fn enter(&mut self) -> Res<()> {
        let depth = self.depth + 1;
        // Emacs allows at least 100 levels.
        if (depth > 100 && depth > self.depth_limit()) || self.stack.is_low() {
            return crate::reader::too_deep();
        }
        self.depth = depth;
        Ok(())
    }

    fn depth_limit(&self) -> usize {
        match self.get_variable(&self.world.known.max_depth) {
            Ok(Value::Int(n)) => n.max(100) as usize,
            _ => 1600,
        }
    }

    fn eval_compound(&mut self, node: &Node) -> Res {
        match node {
            Node::Const(_) | Node::Var(_) => unreachable!("not compound"),
            Node::Call(call) => self.eval_call(call),
            Node::Lambda(code) => Ok(self.close(code)),
            Node::Progn(body) => self.progn(body),
            Node::Prog1(first, rest) => {
                let value = self.eval(first)?;
                self.progn(rest)?;
                Ok(value)
            }
            Node::If(test_and_then, otherwise) => {
                let (test, then) = &**test_and_then;
                match self.eval(test)? {
                    Value::Nil => self.progn(otherwise),
                    _ => self.eval(then),
                }
            }
            Node::And(forms) => {
                let mut value = Value::T;
                for form in forms {
                    value = self.eval(form)?;
                    if value.is_nil() {
                        break;
                    }
                }
                Ok(value)
            }
            Node::Or(forms) => {
                for form in forms {
                    let value = self.eval(form)?;
                    if value.is_true() {
                        return Ok(value);
                    }
                }
                Ok(Value::Nil)
            }
            Node::Cond(clauses) => {
                for (test, body) in clauses {
                    let value = self.eval(test)?;
                    if value.is_true() {
                        return match body.is_empty() {
                            true => Ok(value),
                            false => self.progn(body),
                        };
                    }
                }
                Ok(Value::Nil)
            }
            Node::While(test, body) => {
                while self.eval(test)?.is_true() {
                    self.progn(body)?;
                    self.safe_point()?;
                }
                Ok(Value::Nil)
            }
            Node::Let(form) => {
                let (env, bound) = (self.env.clone(), self.bound.len());
                let result = self.eval_let(form);
                self.unbind_to(bound);
                self.env = env;
                result
            }
            Node::Setq(pairs) => {
                let mut value = Value::Nil;
                for (name, form) in pairs {
                    value = self.eval(form)?;
                    self.set_lexical_or_dynamic(name, value.clone())?;
                }
                Ok(value)
            }
            Node::Defvar(form) => self.eval_defvar(form),
            Node::ConditionCase(form) => self.eval_condition_case(form),
            Node::UnwindProtect(form, cleanup) => {
                let result = self.eval(form);
                if let Err(flow) = &result
                    && matches!(**flow, Flow::Shutdown | Flow::Exit(_))
                {
                    return result;
                }
                self.progn(cleanup)?;
                result
            }
            Node::Catch(tag, body) => {
                let tag = self.eval(tag)?;
                self.catches.push(tag.clone());
                let result = self.progn(body);
                self.catches.pop();
                match result {
                    Err(flow) => match *flow {
                        Flow::Throw(to, value) if to.eq(&tag) => Ok(value),
                        _ => Err(flow),
                    },
                    value => value,
                }
            }
            Node::SaveBuffer(body) => {
                let buffer = self.buffer();
                let result = self.progn(body);
                self.back_to(buffer);
                result
            }
            Node::SaveExcursion(body) => {
                let buffer = self.buffer();
                let marker = buffer.add_marker(&self.world);
                let result = self.progn(body);
                buffer.back_to_marker(marker);
                self.back_to(buffer);
                result
            }
            Node::Fail(flow) => Err(flow.clone()),
        }
    }

    /// Makes `buffer` current again, unless it was killed meanwhile.
    fn back_to(&mut self, buffer: Arc<Buffer>) {
        if buffer.is_live() {
            self.thread.buffer.set(buffer);
        }
    }

    pub fn progn(&mut self, body: &[Node]) -> Res {
        let mut value = Value::Nil;
        for form in body {
            value = self.eval(form)?;
        }
        Ok(value)
    }

    fn close(&self, code: &Arc<Code>) -> Value {
        Value::Closure(Arc::new(Closure { code: code.clone(), env: self.env.clone() }))
    }

    fn variable(&self, name: &Sym) -> Res {
        for frame in frames(&self.env) {
            if Arc::ptr_eq(&frame.name, name) && !frame.special {
                return Ok(frame.value.get());
            }
        }
        self.get_variable(name)
    }

    fn set_lexical_or_dynamic(&mut self, name: &Sym, value: Value) -> Res<()> {
        for frame in frames(&self.env) {
            if Arc::ptr_eq(&frame.name, name) && !frame.special {
                frame.value.set(value);
                return Ok(());
            }
        }
        self.set_variable(name, value)
    }

    fn eval_let(&mut self, form: &Let) -> Res {
        if form.sequential {
            for (name, init) in &form.vars {
                let value = self.eval_init(init)?;
                self.bind(name, value)?;
            }
        } else {
            let mut values = Vec::with_capacity(form.vars.len());
            for (_, init) in &form.vars {
                values.push(self.eval_init(init)?);
            }
            // Specials of the outer environment count, not variables of this `let`.
            for ((name, _), value) in form.vars.iter().zip(values) {
                self.bind(name, value)?;
            }
        }
        self.progn(&form.body)
    }

    fn eval_init(&mut self, init: &Option<Node>) -> Res {
        match init {
            Some(form) => self.eval(form),
            None => Ok(Value::Nil),
        }
    }

    /// Binds a variable: dynamically if it is special, else lexically.
    fn bind(&mut self, name: &Sym, value: Value) -> Res<()> {
        let locally_special = || frames(&self.env).any(|f| f.special && Arc::ptr_eq(&f.name, name));
        let any_special = self.env.as_ref().is_some_and(|f| f.any_special);
        if name.special.is_set() || (any_special && locally_special()) {
            self.bind_dynamically(name, value)
        } else {
            push_frame(&mut self.env, name, value, false);
            Ok(())
        }
    }

    fn eval_defvar(&mut self, form: &Defvar) -> Res {
        let name = &form.name;
        match &form.value {
            None => {
                if !name.special.is_set() {
                    push_frame(&mut self.env, name, Value::Nil, true);
                }
            }
            Some(value) => {
                name.special.set(true);
                if form.always || name.value.with(|v| v.is_none()) {
                    let value = self.eval(value)?;
                    name.value.set(Some(value));
                }
            }
        }
        Ok(Value::Sym(name.clone()))
    }

    fn eval_condition_case(&mut self, form: &ConditionCase) -> Res {
        let flow = match self.eval(&form.form) {
            Ok(value) => {
                let success = |c: &Value| c.is_named(":success");
                let mut handlers = form.handlers.iter();
                return match handlers.find(|h| h.conditions.iter().any(success)) {
                    Some(handler) => self.run_handler(form, &handler.body, value),
                    None => Ok(value),
                };
            }
            Err(flow) => flow,
        };
        let (symbol, data) = self.settle(*flow)?;
        let conditions = self.conditions_of(&symbol)?;
        let matches = |c: &Value| matches!(c, Value::T) || conditions.iter().any(|o| o.eq(c));
        let mut handlers = form.handlers.iter();
        match handlers.find(|h| h.conditions.iter().any(matches)) {
            Some(handler) => self.run_handler(form, &handler.body, Value::cons(symbol, data)),
            None => Err(Box::new(Flow::Signal(symbol, data))),
        }
    }

    fn run_handler(&mut self, form: &ConditionCase, body: &[Node], value: Value) -> Res {
        let Some(var) = &form.var else {
            return self.progn(body);
        };
        let env = self.env.clone();
        push_frame(&mut self.env, var, value, false);
        let result = self.progn(body);
        self.env = env;
        result
    }

    /// The symbol and data of a Lisp error; other flow passes on as Err.
    pub fn settle(&self, flow: Flow) -> Res<(Value, Value)> {
        let name = |s: &str| self.world.intern(s);
        Ok(match flow {
            Flow::Signal(symbol, data) => (symbol, data),
            Flow::Error(symbol, data) => (name(symbol), Value::list(data)),
            Flow::WrongType(predicate, v) => {
                (name("wrong-type-argument"), Value::list([name(predicate), v]))
            }
            Flow::WrongCount(form, n) => {
                (name("wrong-number-of-arguments"), Value::list([name(form), Value::from(n)]))
            }
            flow => return Err(Box::new(flow)),
        })
    }

    /// The error conditions that an error of this symbol has.
    pub fn conditions_of(&self, symbol: &Value) -> Res<Vec<Value>> {
        match symbol {
            Value::Sym(s) => get_property(s, &self.world.known.error_conditions).to_vec(),
            _ => Ok(Vec::new()),
        }
    }

    // Functions.

    /// The function `name` stands for, through aliases; nil if void.
    pub fn resolve(&self, name: &Sym) -> Value {
        let mut f = name.function.get();
        // A chain this long is a circle.
        for _ in 0..100 {
            match f {
                Value::Sym(alias) => f = alias.function.get(),
                f => return f,
            }
        }
        Value::Nil
    }

    fn eval_call(&mut self, call: &Call) -> Res {
        let name = match &call.head {
            Head::Name(name) => name,
            Head::Lambda(code) => {
                let args = self.eval_args(&call.args)?;
                let Value::Closure(f) = self.close(code) else {
                    unreachable!("close makes closures")
                };
                return self.call_closure(&f, args);
            }
        };
        match self.resolve(name) {
            Value::Subr(f) => {
                let Run::Fn(run) = f.run else {
                    return self.eval_form(&call.form);
                };
                if !f.takes(call.args.len()) {
                    let data = [Value::Sym(name.clone()), Value::from(call.args.len())];
                    return signal("wrong-number-of-arguments", data);
                }
                let args = self.eval_args(&call.args)?;
                run(self, &args)
            }
            Value::Closure(f) => {
                let args = self.eval_args(&call.args)?;
                self.call_closure(&f, args)
            }
            Value::Nil => signal("void-function", [Value::Sym(name.clone())]),
            ref f if is_macro(f) => {
                let expansion = self.expand(f, &call.form.cdr()?)?;
                self.eval_form(&expansion)
            }
            f => {
                let args = self.eval_args(&call.args)?;
                self.apply(&f, &Value::Sym(name.clone()), args)
            }
        }
    }

    fn eval_args(&mut self, forms: &[Node]) -> Res<Vec<Value>> {
        let mut args = Vec::with_capacity(forms.len());
        for form in forms {
            args.push(self.eval(form)?);
        }
        Ok(args)
    }

    pub fn funcall(&mut self, f: &Value, args: Vec<Value>) -> Res {
        self.enter()?;
        let result = match f {
            Value::Closure(f) => self.call_closure(f, args),
            Value::Sym(name) => match self.resolve(name) {
                Value::Nil => signal("void-function", [f.clone()]),
                resolved => self.apply(&resolved, f, args),
            },
            Value::Nil | Value::T => signal("void-function", [f.clone()]),
            _ => self.apply(f, f, args),
        };
        self.depth -= 1;
        result
    }

    /// Calls `f`, which the program knows as `name`.
    fn apply(&mut self, f: &Value, name: &Value, args: Vec<Value>) -> Res {
        match f {
            Value::Subr(subr @ Subr { run: Run::Fn(run), .. }) => {
                if !subr.takes(args.len()) {
                    let data = [f.clone(), Value::from(args.len())];
                    return signal("wrong-number-of-arguments", data);
                }
                run(self, &args)
            }
            Value::Closure(f) => self.call_closure(f, args),
            Value::Cons(c) if c.car().is_named("lambda") => {
                let code = self.lambda(&c.cdr())?;
                self.call_closure(&Closure { code, env: None }, args)
            }
            _ => signal("invalid-function", [name.clone()]),
        }
    }

    fn call_closure(&mut self, f: &Closure, args: Vec<Value>) -> Res {
        self.safe_point()?;
        let code = &f.code;
        let most = code.required.len() + code.optional.len();
        if args.len() < code.required.len() || (code.rest.is_none() && args.len() > most) {
            let shown = Value::cons(env_as_list(&f.env), code.source.clone());
            return signal("wrong-number-of-arguments", [shown, args.len().into()]);
        }
        let mut env = f.env.clone();
        let mut args = args.into_iter();
        for name in code.required.iter().chain(&code.optional) {
            push_frame(&mut env, name, args.next().unwrap_or_default(), false);
        }
        if let Some(rest) = &code.rest {
            push_frame(&mut env, rest, Value::list(args), false);
        }
        let saved = mem::replace(&mut self.env, env);
        let result = self.progn(&code.body);
        self.env = saved;
        result
    }

    pub fn is_function(&self, v: &Value) -> bool {
        match v {
            Value::Closure(_) => true,
            Value::Subr(s) => matches!(s.run, Run::Fn(_)),
            Value::Cons(c) => c.car().is_named("lambda"),
            Value::Sym(s) => match self.resolve(s) {
                Value::Cons(c) => c.car().is_named("lambda"),
                Value::Closure(_) => true,
                Value::Subr(s) => matches!(s.run, Run::Fn(_)),
                _ => false,
            },
            _ => false,
        }
    }
}

pub fn get_property(symbol: &Sym, property: &Value) -> Value {
    let mut plist = symbol.plist.get();
    while let Value::Cons(c) = &plist {
        let rest = c.cdr();
        if c.car().eq(property) {
            return rest.car().unwrap_or_default();
        }
        plist = rest.cdr().unwrap_or_default();
    }
    Value::Nil
}

pub fn put_property(symbol: &Sym, property: Value, value: Value) {
    let mut plist = symbol.plist.get();
    while let Value::Cons(c) = &plist {
        let rest = c.cdr();
        if let Value::Cons(rest) = &rest
            && c.car().eq(&property)
        {
            return rest.set_car(value);
        }
        plist = rest.cdr().unwrap_or_default();
    }
    let old = symbol.plist.get();
    let new = Value::list_with_tail([property, value], Value::Nil);
    symbol.plist.set(match old {
        Value::Nil => new,
        old => append_two(&old, new),
    });
}

fn append_two(list: &Value, tail: Value) -> Value {
    Value::list_with_tail(list.to_vec().unwrap_or_default(), tail)
}
