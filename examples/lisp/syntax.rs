//! From forms to syntax trees. Macros are expanded on the way, once, so that running code
//! touches no shared cons.

use std::sync::Arc;

use crate::eval::Interp;
use crate::value::{Flow, Res, Run, Subr, Sym, Value, error, signal, wrong_type};

pub type Body = Box<[Node]>;

pub enum Node {
    Const(Value),
    Var(Sym),
    Call(Box<Call>),
    Lambda(Arc<Code>),
    Progn(Body),
    Prog1(Box<Node>, Body),
    If(Box<(Node, Node)>, Body),
    And(Body),
    Or(Body),
    Cond(Box<[(Node, Body)]>),
    While(Box<Node>, Body),
    Let(Box<Let>),
    Setq(Box<[(Sym, Node)]>),
    Defvar(Box<Defvar>),
    ConditionCase(Box<ConditionCase>),
    UnwindProtect(Box<Node>, Body),
    Catch(Box<Node>, Body),
    SaveBuffer(Body),
    SaveExcursion(Body),
    /// A malformed form: the error it signals when it is reached.
    Fail(Box<Flow>),
}

pub struct Call {
    pub head: Head,
    pub args: Body,
    /// The form itself, for a macro that is defined only later.
    pub form: Value,
}

pub enum Head {
    Name(Sym),
    Lambda(Arc<Code>),
}

/// A lambda expression.
pub struct Code {
    pub required: Vec<Sym>,
    pub optional: Vec<Sym>,
    pub rest: Option<Sym>,
    pub body: Body,
    /// `(PARAMETERS . BODY)` as written.
    pub source: Value,
}

pub struct Let {
    pub sequential: bool,
    pub vars: Vec<(Sym, Option<Node>)>,
    pub body: Body,
}

pub struct Defvar {
    pub name: Sym,
    pub value: Option<Node>,
    /// defconst: sets even what has a value.
    pub always: bool,
}

pub struct ConditionCase {
    pub var: Option<Sym>,
    pub form: Node,
    pub handlers: Vec<Handler>,
}

pub struct Handler {
    pub conditions: Vec<Value>,
    pub body: Body,
}

impl Interp<'_> {
    /// The syntax tree of `form`. An error in the form becomes part of the tree.
    pub fn analyse(&mut self, form: &Value) -> Res<Node> {
        if self.stack.is_low() {
            return crate::reader::too_deep();
        }
        match self.analyse_strictly(form) {
            Err(e) if !matches!(*e, Flow::Shutdown | Flow::Exit(_)) => Ok(Node::Fail(e)),
            done => done,
        }
    }

    fn analyse_strictly(&mut self, form: &Value) -> Res<Node> {
        let cell = match form {
            Value::Sym(s) if !s.is_keyword() => return Ok(Node::Var(s.clone())),
            Value::Cons(c) => c,
            v => return Ok(Node::Const(v.clone())),
        };
        let head = match cell.car() {
            Value::Sym(s) => s,
            Value::Cons(c) if c.car().is_named("lambda") => {
                if let Some(form) = self.as_let(&c.cdr(), &cell.cdr()) {
                    return self.analyse_strictly(&form);
                }
                let code = self.lambda(&c.cdr())?;
                return self.call(Head::Lambda(code), form);
            }
            v @ (Value::Nil | Value::T) => return signal("void-function", [v]),
            v => return signal("invalid-function", [v]),
        };
        if *head.name == *"funcall"
            && let Some(form) = open_coded(&cell.cdr())
        {
            return self.analyse_strictly(&form);
        }
        match self.resolve(&head) {
            Value::Subr(Subr { run: Run::Form(parse), .. }) => {
                let args = cell.cdr().to_vec()?;
                parse(self, &args)
            }
            ref f if is_macro(f) => match self.expand(f, &cell.cdr()) {
                Ok(expansion) => self.analyse(&expansion),
                Err(e) if matches!(*e, Flow::Shutdown | Flow::Exit(_)) => Err(e),
                // Trying twice at each level of nested expansions would take forever.
                Err(e) if self.expanding > 0 => Err(e),
                // It may work when the form is reached; if not, that is where it fails.
                Err(_) => self.call(Head::Name(head), form),
            },
            _ => self.call(Head::Name(head), form),
        }
    }

    /// `((lambda (X) BODY) Y)` as `(let ((X Y)) BODY)`, if the numbers agree, as in Emacs.
    fn as_let(&self, lambda: &Value, args: &Value) -> Option<Value> {
        let (params, args) = (lambda.car().ok()?.to_vec().ok()?, args.to_vec().ok()?);
        let plain = |p: &Value| matches!(p, Value::Sym(s) if !s.name.starts_with('&'));
        if params.len() != args.len() || !params.iter().all(plain) {
            return None;
        }
        let pairs = params.into_iter().zip(args);
        let bindings: Vec<_> = pairs.map(|(p, a)| Value::list([p, a])).collect();
        let rest = Value::cons(Value::list(bindings), lambda.cdr().ok()?);
        Some(Value::cons(self.world.intern("let"), rest))
    }

    fn call(&mut self, head: Head, form: &Value) -> Res<Node> {
        let args = self.analyse_all(&form.cdr()?.to_vec()?)?;
        let form = form.clone();
        Ok(Node::Call(Box::new(Call { head, args, form })))
    }

    /// Calls the macro `f` on the argument forms `args`.
    pub fn expand(&mut self, f: &Value, args: &Value) -> Res {
        let (f, args) = (f.cdr()?, args.to_vec()?);
        self.expanding += 1;
        let expansion = self.funcall(&f, args);
        self.expanding -= 1;
        expansion
    }

    pub fn analyse_all(&mut self, forms: &[Value]) -> Res<Body> {
        forms.iter().map(|f| self.analyse(f)).collect()
    }

    /// Reads `(PARAMETERS . BODY)`.
    pub fn lambda(&mut self, source: &Value) -> Res<Arc<Code>> {
        let invalid = |s: &Value| signal("invalid-function", [s.clone()]);
        let (mut required, mut optional, mut rest) = (Vec::new(), Vec::new(), None);
        let mut place = 0;
        for param in source.car()?.items() {
            let param = param?;
            let Value::Sym(name) = &param else {
                return invalid(source);
            };
            match &*name.name {
                "&optional" if place == 0 => place = 1,
                "&rest" if place < 2 => place = 2,
                _ => match place {
                    0 => required.push(name.clone()),
                    1 => optional.push(name.clone()),
                    2 => {
                        rest = Some(name.clone());
                        place = 3;
                    }
                    _ => return invalid(source),
                },
            }
        }
        let mut forms = source.cdr()?.to_vec()?;
        if forms.len() > 1 && matches!(forms[0], Value::Str(_)) {
            forms.remove(0);
        }
        let body = self.analyse_all(&forms)?;
        let source = source.clone();
        Ok(Arc::new(Code { required, optional, rest, body, source }))
    }
}

/// `(funcall #'F ARGS...)` as `(F ARGS...)`, as in Emacs.
fn open_coded(args: &Value) -> Option<Value> {
    let Value::Cons(args) = args else { return None };
    let f = args.car();
    if f.car().ok()?.is_named("lambda") {
        return Some(Value::cons(f, args.cdr()));
    }
    match f.cdr().ok()?.car().ok()? {
        name @ (Value::Sym(_) | Value::Cons(_)) if f.car().ok()?.is_named("function") => {
            Some(Value::cons(name, args.cdr()))
        }
        _ => None,
    }
}

pub fn is_macro(f: &Value) -> bool {
    matches!(f, Value::Cons(c) if c.car().is_named("macro"))
}

const fn form(
    name: &'static str,
    min: usize,
    max: Option<usize>,
    parse: fn(&mut Interp<'_>, &[Value]) -> Res<Node>,
) -> Subr {
    let run = Run::Form(parse);
    Subr { name, min, max, run }
}

pub static FORMS: &[Subr] = &[
    form("quote", 1, Some(1), |_, a| {
        need("quote", a, 1, 1)?;
        Ok(Node::Const(a[0].clone()))
    }),
    form("function", 1, Some(1), |cx, a| {
        need("function", a, 1, 1)?;
        match &a[0] {
            Value::Cons(c) if c.car().is_named("lambda") => Ok(Node::Lambda(cx.lambda(&c.cdr())?)),
            v => Ok(Node::Const(v.clone())),
        }
    }),
    form("progn", 0, None, |cx, a| Ok(Node::Progn(cx.analyse_all(a)?))),
    form("prog1", 1, None, |cx, a| {
        need("prog1", a, 1, usize::MAX)?;
        Ok(Node::Prog1(first(cx, a)?, cx.analyse_all(&a[1..])?))
    }),
    form("if", 2, None, |cx, a| {
        need("if", a, 2, usize::MAX)?;
        let test_and_then = Box::new((cx.analyse(&a[0])?, cx.analyse(&a[1])?));
        Ok(Node::If(test_and_then, cx.analyse_all(&a[2..])?))
    }),
    form("and", 0, None, |cx, a| Ok(Node::And(cx.analyse_all(a)?))),
    form("or", 0, None, |cx, a| Ok(Node::Or(cx.analyse_all(a)?))),
    form("cond", 0, None, |cx, a| {
        let clause = |clause: &Value| {
            let forms = clause.to_vec()?;
            let test = cx.analyse(forms.first().unwrap_or(&Value::Nil))?;
            Ok((test, cx.analyse_all(forms.get(1..).unwrap_or(&[]))?))
        };
        let clauses: Res<Box<[_]>> = a.iter().map(clause).collect();
        Ok(Node::Cond(clauses?))
    }),
    form("while", 1, None, |cx, a| {
        need("while", a, 1, usize::MAX)?;
        Ok(Node::While(first(cx, a)?, cx.analyse_all(&a[1..])?))
    }),
    form("let", 1, None, |cx, a| parse_let(cx, a, false)),
    form("let*", 1, None, |cx, a| parse_let(cx, a, true)),
    form("setq", 0, None, |cx, a| {
        if a.len() % 2 == 1 {
            return wrong_count("setq", a.len());
        }
        let pair = |pair: &[Value]| {
            let name = match &pair[0] {
                Value::Sym(s) => s.clone(),
                v @ (Value::Nil | Value::T) => return signal("setting-constant", [v.clone()]),
                v => return wrong_type("symbolp", v),
            };
            Ok((name, cx.analyse(&pair[1])?))
        };
        let pairs: Res<Box<[_]>> = a.chunks(2).map(pair).collect();
        Ok(Node::Setq(pairs?))
    }),
    form("defvar", 1, None, |cx, a| {
        need("defvar", a, 1, 3)?;
        parse_defvar(cx, a, false)
    }),
    form("defconst", 2, None, |cx, a| {
        need("defconst", a, 2, 3)?;
        parse_defvar(cx, a, true)
    }),
    form("condition-case", 2, None, parse_condition_case),
    form("unwind-protect", 1, None, |cx, a| {
        need("unwind-protect", a, 1, usize::MAX)?;
        Ok(Node::UnwindProtect(first(cx, a)?, cx.analyse_all(&a[1..])?))
    }),
    form("catch", 1, None, |cx, a| {
        need("catch", a, 1, usize::MAX)?;
        Ok(Node::Catch(first(cx, a)?, cx.analyse_all(&a[1..])?))
    }),
    form("save-current-buffer", 0, None, |cx, a| Ok(Node::SaveBuffer(cx.analyse_all(a)?))),
    form("save-excursion", 0, None, |cx, a| Ok(Node::SaveExcursion(cx.analyse_all(a)?))),
    form("interactive", 0, None, |_, _| Ok(Node::Const(Value::Nil))),
];

fn first(cx: &mut Interp<'_>, args: &[Value]) -> Res<Box<Node>> {
    Ok(Box::new(cx.analyse(&args[0])?))
}

fn wrong_count<T>(name: &'static str, n: usize) -> Res<T> {
    Err(Box::new(Flow::WrongCount(name, n)))
}

fn need(name: &'static str, args: &[Value], min: usize, max: usize) -> Res<()> {
    if (min..=max).contains(&args.len()) { Ok(()) } else { wrong_count(name, args.len()) }
}

fn parse_let(cx: &mut Interp<'_>, a: &[Value], sequential: bool) -> Res<Node> {
    let Some((bindings, body)) = a.split_first() else {
        return Ok(Node::Const(Value::Nil));
    };
    let mut vars = Vec::new();
    for binding in bindings.items() {
        let binding = binding?;
        let (name, init) = match &binding {
            Value::Cons(c) => {
                let rest = c.cdr();
                if rest.cdr()?.is_true() {
                    let mut data = vec![Value::str("`let' bindings can have only one value-form")];
                    data.extend(binding.to_vec()?);
                    return signal("error", data);
                }
                (c.car(), Some(cx.analyse(&rest.car()?)?))
            }
            name if name.symbol_name().is_some() => (name.clone(), None),
            other => return wrong_type("listp", other),
        };
        match name {
            Value::Sym(s) if !s.is_keyword() => vars.push((s, init)),
            Value::Sym(_) | Value::Nil | Value::T => return signal("setting-constant", [name]),
            _ => return wrong_type("symbolp", &name),
        }
    }
    let body = cx.analyse_all(body)?;
    Ok(Node::Let(Box::new(Let { sequential, vars, body })))
}

fn parse_defvar(cx: &mut Interp<'_>, a: &[Value], always: bool) -> Res<Node> {
    let name = a[0].symbol()?.clone();
    let value = match a.get(1) {
        Some(v) => Some(cx.analyse(v)?),
        None => None,
    };
    Ok(Node::Defvar(Box::new(Defvar { name, value, always })))
}

fn parse_condition_case(cx: &mut Interp<'_>, a: &[Value]) -> Res<Node> {
    need("condition-case", a, 2, usize::MAX)?;
    let var = match &a[0] {
        Value::Nil => None,
        v => Some(v.symbol()?.clone()),
    };
    let form = cx.analyse(&a[1])?;
    let mut handlers = Vec::new();
    for clause in &a[2..] {
        let conditions = match clause {
            Value::Nil => continue,
            Value::Cons(c) => match c.car() {
                list @ Value::Cons(_) => list.to_vec()?,
                one => vec![one],
            },
            v => {
                return error(format!("Invalid condition handler: {}", crate::print::shown(v)));
            }
        };
        let body = cx.analyse_all(&clause.cdr()?.to_vec()?)?;
        handlers.push(Handler { conditions, body });
    }
    Ok(Node::ConditionCase(Box::new(ConditionCase { var, form, handlers })))
}

/// What `` `FORM `` stands for: an expression that builds it.
pub fn backquote(cx: &Interp<'_>, form: &Value, depth: usize) -> Res {
    let name = |s: &str| cx.world.intern(s);
    let quote = |v: Value| match &v {
        Value::Sym(s) if !s.is_keyword() => Value::list([name("quote"), v]),
        Value::Cons(_) => Value::list([name("quote"), v]),
        _ => v,
    };
    match form {
        Value::Vector(items) => {
            let list = Value::list(items.0.iter().map(|i| i.get()).collect::<Vec<_>>());
            let built = backquote(cx, &list, depth)?;
            Ok(Value::list([name("apply"), quote(name("vector")), built]))
        }
        Value::Cons(c) => {
            let head = c.car();
            let argument = || c.cdr().car();
            if head.is_named(",") || head.is_named(",@") {
                if depth == 0 {
                    return argument();
                }
                let inner = backquote(cx, &argument()?, depth - 1)?;
                return Ok(Value::list([name("list"), quote(head), inner]));
            }
            if head.is_named("`") {
                let inner = backquote(cx, &argument()?, depth + 1)?;
                return Ok(Value::list([name("list"), quote(head), inner]));
            }
            if !has_unquote(cx, form)? {
                return Ok(quote(form.clone()));
            }
            if let Value::Cons(h) = &head
                && h.car().is_named(",@")
            {
                let rest = backquote(cx, &c.cdr(), depth)?;
                let spliced = h.cdr().car()?;
                if depth == 0 {
                    if rest.is_nil() {
                        return Ok(spliced);
                    }
                    return Ok(Value::list([name("append"), spliced, rest]));
                }
                let inner = backquote(cx, &spliced, depth - 1)?;
                let inner = Value::list([name("list"), quote(h.car()), inner]);
                return Ok(Value::list([name("cons"), inner, rest]));
            }
            let head = backquote(cx, &head, depth)?;
            let rest = backquote(cx, &c.cdr(), depth)?;
            Ok(Value::list([name("cons"), head, rest]))
        }
        v => Ok(quote(v.clone())),
    }
}

fn has_unquote(cx: &Interp<'_>, form: &Value) -> Res<bool> {
    if cx.stack.is_low() {
        return crate::reader::too_deep();
    }
    let mut rest = form.clone();
    loop {
        match &rest {
            Value::Cons(c) => {
                let head = c.car();
                if head.is_named(",") || head.is_named(",@") || head.is_named("`") {
                    return Ok(true);
                }
                if matches!(head, Value::Cons(_) | Value::Vector(_)) && has_unquote(cx, &head)? {
                    return Ok(true);
                }
                let next = c.cdr();
                rest = next;
            }
            Value::Vector(items) => {
                for item in &items.0 {
                    if has_unquote(cx, &item.get())? {
                        return Ok(true);
                    }
                }
                return Ok(false);
            }
            _ => return Ok(false),
        }
    }
}
