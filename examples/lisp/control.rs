//! Errors, output, macros, definitions, and loading of files.

use std::path::Path;

use crate::eval::Interp;
use crate::print;
use crate::reader::{Reader, is_end_of_file};
use crate::strings;
use crate::syntax::{backquote, is_macro};
use crate::value::{Flow, Res, Subr, Value, error, signal};

impl Interp<'_> {
    /// Evaluates the forms of a text, one after the other.
    pub fn load_text(&mut self, name: &str, text: &str) -> Res<()> {
        let env = self.env.take();
        let result = self.load_forms(name, text);
        self.env = env;
        result
    }

    fn load_forms(&mut self, name: &str, text: &str) -> Res<()> {
        let world = self.world.clone();
        let mut reader = Reader::new(&world, self.stack, text);
        loop {
            let start = reader.position();
            match reader.next_form() {
                Ok(Some(form)) => self.eval_toplevel(&form)?,
                Ok(None) => return Ok(()),
                Err(flow) => {
                    let (line, column) = reader.line_and_column();
                    let mut place = format!("{name}:{line}:{column}: cannot read");
                    if is_end_of_file(&flow) {
                        reader.seek(start);
                        reader.skip_blanks();
                        let (line, column) = reader.line_and_column();
                        place += &format!(", the form from {line}:{column} has no end");
                    }
                    self.world.log(&place);
                    return Err(flow);
                }
            };
        }
    }

    /// Like Emacs, expands macros before anything of the form is evaluated, but takes a
    /// `progn` apart, so that its first forms may define macros for the others.
    fn eval_toplevel(&mut self, form: &Value) -> Res {
        let form = self.macroexpand(form).unwrap_or_else(|_| form.clone());
        if !form.car().is_ok_and(|head| head.is_named("progn")) {
            return self.eval_form(&form);
        }
        let mut value = Value::Nil;
        for form in form.cdr()?.items() {
            value = self.eval_toplevel(&form?)?;
        }
        Ok(value)
    }

    fn macroexpand_1(&mut self, form: &Value) -> Res {
        if let Value::Cons(c) = form
            && let Value::Sym(head) = c.car()
        {
            let f = self.resolve(&head);
            if is_macro(&f) {
                return self.expand(&f, &c.cdr());
            }
        }
        Ok(form.clone())
    }

    fn macroexpand(&mut self, form: &Value) -> Res {
        let mut form = form.clone();
        loop {
            let next = self.macroexpand_1(&form)?;
            if next.eq(&form) {
                return Ok(next);
            }
            form = next;
        }
    }

    /// Shows a line, and adds it to `*Messages*`.
    pub fn message(&mut self, a: &[Value]) -> Res {
        if a[0].is_nil() {
            return Ok(Value::Nil);
        }
        let line = strings::format(a, true)?;
        self.world.log(&line);
        let found = self.world.find_buffer("*Messages*");
        let buffer = found.unwrap_or_else(|| self.world.new_buffer("*Messages*"));
        buffer.add_message(&line);
        Ok(Value::str(line))
    }

    /// Prints `text` to `destination`, or where `standard-output` says.
    fn output(&mut self, text: &str, destination: Option<&Value>) -> Res<()> {
        let to = match destination {
            None | Some(Value::Nil) => self.get_variable(&self.world.known.standard_output)?,
            Some(v) => v.clone(),
        };
        match &to {
            Value::T | Value::Nil => self.world.print(text),
            Value::Buffer(b) => {
                let saved = self.thread.buffer.replace(b.clone());
                let result = self.insert(text);
                self.thread.buffer.set(saved);
                result?;
            }
            v if v.is_named("external-debugging-output") => {
                self.world.log_raw(text);
            }
            f => {
                for c in text.chars() {
                    self.funcall(f, vec![Value::Int(c as i64)])?;
                }
            }
        }
        Ok(())
    }

    /// The text of an error, as the echo area would show it.
    pub fn error_text(&self, form: &Value) -> Res<String> {
        let symbol = form.car()?;
        let rest = form.cdr()?;
        if let (true, Value::Cons(c)) = (symbol.is_named("error"), &rest)
            && let (Value::Str(text), Value::Nil) = (c.car(), c.cdr())
        {
            return Ok(text.0.get().as_str().to_string());
        }
        let (mut text, mut items, mut plain) = (Value::Nil, rest.clone(), false);
        if symbol.is_named("error") {
            if let Value::Cons(c) = &rest {
                (text, items) = (c.car(), c.cdr());
            }
        } else if let Value::Sym(s) = &symbol {
            text = crate::eval::get_property(s, &self.world.known.error_message);
            let of_files = (self.conditions_of(&symbol)?.iter()).any(|c| c.is_named("file-error"));
            if let (true, Value::Cons(c)) = (of_files, &rest) {
                (text, items) = (c.car(), c.cdr());
            }
            plain = of_files || symbol.is_named("end-of-file") || symbol.is_named("user-error");
        }
        let mut separator = ": ";
        let mut out = match &text {
            Value::Str(s) => strings::curved(s.0.get().as_str()),
            _ => "peculiar error".to_string(),
        };
        if out.is_empty() {
            separator = "";
        }
        while let Value::Cons(c) = &items {
            out += separator;
            separator = ", ";
            out += &print::to_string(&c.car(), !plain)?;
            let next = c.cdr();
            items = next;
        }
        Ok(out)
    }

    fn load(&mut self, name: &str, quietly: bool) -> Res {
        let candidates = [format!("{name}.el"), name.to_string()];
        let Some(path) = candidates.iter().find(|p| Path::new(p).is_file()) else {
            return match quietly {
                true => Ok(Value::Nil),
                false => no_such_file(name),
            };
        };
        match std::fs::read_to_string(path) {
            Ok(text) => {
                self.load_text(path, &text)?;
                Ok(Value::T)
            }
            Err(_) => no_such_file(name),
        }
    }

    fn has_feature(&self, feature: &Value) -> Res<bool> {
        let features = self.features()?;
        Ok(features.iter().any(|f| f.eq(feature)))
    }

    fn features(&self) -> Res<Vec<Value>> {
        let features = self.world.intern("features");
        self.get_variable(features.symbol()?)?.to_vec()
    }
}

fn no_such_file<T>(name: &str) -> Res<T> {
    let data = ["Cannot open load file", "No such file or directory", name];
    signal("file-missing", data.map(Value::str))
}

fn define_error(cx: &mut Interp<'_>, a: &[Value]) -> Res {
    let parents = match a.get(2) {
        None | Some(Value::Nil) => vec![cx.world.intern("error")],
        Some(list @ Value::Cons(_)) => list.to_vec()?,
        Some(one) => vec![one.clone()],
    };
    let mut conditions = vec![a[0].clone()];
    for parent in &parents {
        let mut inherited = cx.conditions_of(parent)?;
        if inherited.is_empty() {
            let shown = print::shown(parent);
            return error(format!("Unknown signal ‘{shown}’"));
        }
        if !inherited.iter().any(|c| c.eq(parent)) {
            inherited.insert(0, parent.clone());
        }
        for c in inherited {
            if !conditions.iter().any(|o| o.eq(&c)) {
                conditions.push(c);
            }
        }
    }
    let symbol = a[0].symbol()?;
    let known = &cx.world.known;
    let put = crate::eval::put_property;
    put(symbol, known.error_conditions.clone(), Value::list(conditions));
    put(symbol, known.error_message.clone(), a[1].clone());
    Ok(a[1].clone())
}

fn print_form(cx: &mut Interp<'_>, a: &[Value], readable: bool, lines: bool) -> Res {
    let mut text = print::to_string(&a[0], readable)?;
    if lines {
        text = format!("\n{text}\n");
    }
    cx.output(&text, a.get(1))?;
    Ok(a[0].clone())
}

fn function_cell(v: &Value) -> Res {
    match v {
        Value::Nil | Value::T => Ok(Value::Nil),
        v => Ok(v.symbol()?.function.get()),
    }
}

fn fset(a: &[Value]) -> Res<()> {
    match &a[0] {
        v @ (Value::Nil | Value::T) => signal("setting-constant", [v.clone()]),
        v => {
            v.symbol()?.function.set(a[1].clone());
            Ok(())
        }
    }
}

fn float_time() -> f64 {
    let now = std::time::UNIX_EPOCH.elapsed();
    now.map_or(0.0, |t| t.as_secs_f64())
}

pub static SUBRS: &[Subr] = &[
    Subr::many("error", 1, |_, a| error(strings::format(a, true)?)),
    Subr::many("user-error", 1, |_, a| {
        signal("user-error", [Value::str(strings::format(a, true)?)])
    }),
    Subr::new("signal", 2, 2, |_, a| {
        let (symbol, data) = match &a[0] {
            Value::Nil => (a[1].car()?, a[1].cdr()?),
            symbol => (symbol.clone(), a[1].clone()),
        };
        Err(Box::new(Flow::Signal(symbol, data)))
    }),
    Subr::new("throw", 2, 2, |cx, a| {
        let caught = cx.catches.iter().any(|tag| tag.eq(&a[0]));
        match caught && a[0].is_true() {
            true => Err(Box::new(Flow::Throw(a[0].clone(), a[1].clone()))),
            false => signal("no-catch", a),
        }
    }),
    Subr::new("define-error", 2, 3, define_error),
    Subr::new("error-message-string", 1, 1, |cx, a| Ok(Value::str(cx.error_text(&a[0])?))),
    Subr::new("eval", 1, 2, |cx, a| {
        let env = cx.env.take();
        let result = cx.eval_form(&a[0]);
        cx.env = env;
        result
    }),
    Subr::new("load", 1, 5, |cx, a| {
        let quietly = a.get(1).is_some_and(Value::is_true);
        cx.load(a[0].text()?.as_str(), quietly)
    }),
    Subr::new("require", 1, 3, |cx, a| {
        let name = a[0].symbol()?.name.clone();
        if !cx.has_feature(&a[0])? {
            let file = match a.get(1) {
                None | Some(Value::Nil) => name.to_string(),
                Some(file) => file.text()?.as_str().to_string(),
            };
            let quietly = a.get(2).is_some_and(Value::is_true);
            if cx.load(&file, quietly)?.is_nil() {
                return Ok(Value::Nil);
            }
            if !cx.has_feature(&a[0])? {
                return error(format!("Loading file {file} failed to provide feature ‘{name}’"));
            }
        }
        Ok(a[0].clone())
    }),
    Subr::new("provide", 1, 2, |cx, a| {
        if !cx.has_feature(&a[0])? {
            let tail = Value::list(cx.features()?);
            let features = cx.world.intern("features");
            cx.set_variable(features.symbol()?, Value::cons(a[0].clone(), tail))?;
        }
        Ok(a[0].clone())
    }),
    Subr::new("featurep", 1, 2, |cx, a| Ok(cx.has_feature(&a[0])?.into())),
    Subr::new("princ", 1, 3, |cx, a| print_form(cx, a, false, false)),
    Subr::new("prin1", 1, 3, |cx, a| print_form(cx, a, true, false)),
    Subr::new("print", 1, 2, |cx, a| print_form(cx, a, true, true)),
    Subr::new("terpri", 0, 2, |cx, a| {
        cx.output("\n", a.first())?;
        Ok(Value::T)
    }),
    Subr::new("write-char", 1, 2, |cx, a| {
        let c = strings::character(&a[0])?;
        cx.output(&c.to_string(), a.get(1))?;
        Ok(a[0].clone())
    }),
    Subr::many("message", 1, |cx, a| cx.message(a)),
    Subr::new("symbol-function", 1, 1, |_, a| function_cell(&a[0])),
    Subr::new("fboundp", 1, 1, |_, a| Ok(function_cell(&a[0])?.is_true().into())),
    Subr::new("fset", 2, 2, |_, a| {
        fset(a)?;
        Ok(a[1].clone())
    }),
    Subr::new("defalias", 2, 3, |_, a| {
        fset(a)?;
        Ok(a[0].clone())
    }),
    Subr::new("macroexpand", 1, 2, |cx, a| cx.macroexpand(&a[0])),
    Subr::new("macroexpand-1", 1, 2, |cx, a| cx.macroexpand_1(&a[0])),
    Subr::new("backquote--expand", 1, 1, |cx, a| backquote(cx, &a[0], 0)),
    Subr::new("gensym", 0, 1, |cx, a| {
        let prefix = match a.first() {
            None | Some(Value::Nil) => "g".into(),
            Some(v) => v.text()?,
        };
        let counter = cx.world.intern("gensym-counter");
        let n = cx.get_variable(counter.symbol()?)?.int()?;
        cx.set_variable(counter.symbol()?, Value::Int(n + 1))?;
        Ok(cx.world.make_symbol(&format!("{}{n}", prefix.as_str())))
    }),
    Subr::new("float-time", 0, 1, |_, a| match a.first() {
        None | Some(Value::Nil) => Ok(Value::float(float_time())),
        Some(Value::Int(n)) => Ok(Value::float(*n as f64)),
        Some(x @ Value::Float(_)) => Ok(x.clone()),
        Some(_) => error("Invalid time specification"),
    }),
    Subr::new("garbage-collect", 0, 0, |_, _| Ok(Value::Nil)),
];
