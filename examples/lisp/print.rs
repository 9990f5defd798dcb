//! From values to text. Never waits, and never fails but by depth.

use std::sync::Arc;

use crate::value::{Hare, Res, Sym, Value, error};

/// Nesting at which Emacs takes a structure for circular.
const PRINT_DEPTH: usize = 200;

/// `v` as `prin1` (readable) or `princ` prints it.
pub fn to_string(v: &Value, readable: bool) -> Res<String> {
    let mut printer = Printer { out: String::new(), readable, inside: Vec::new(), backquotes: 0 };
    printer.value(v)?;
    Ok(printer.out)
}

/// As `to_string`, for messages of our own: no error.
pub fn shown(v: &Value) -> String {
    to_string(v, true).unwrap_or_else(|_| "#<too deep>".into())
}

struct Printer {
    out: String,
    readable: bool,
    /// The conses and vectors being printed, outermost first.
    inside: Vec<Value>,
    backquotes: usize,
}

impl Printer {
    fn value(&mut self, v: &Value) -> Res<()> {
        match v {
            Value::Nil => self.out += "nil",
            Value::T => self.out += "t",
            Value::Int(i) => self.out += &i.to_string(),
            Value::Float(x) => self.out += &float(**x),
            Value::Sym(s) if self.readable => symbol(&mut self.out, s),
            Value::Sym(s) => self.out += &s.name,
            Value::Str(s) if self.readable => quoted(&mut self.out, s.0.get().as_str()),
            Value::Str(s) => self.out += s.0.get().as_str(),
            Value::Subr(s) => self.out += &format!("#<subr {}>", s.name),
            Value::Buffer(b) => match b.name() {
                Some(name) if self.readable => self.out += &format!("#<buffer {name}>"),
                Some(name) => self.out += &name,
                None => self.out += "#<killed buffer>",
            },
            Value::Thread(t) => self.opaque("thread", &t.name, Arc::as_ptr(t).addr()),
            Value::Mutex(m) => self.opaque("mutex", &m.name, Arc::as_ptr(m).addr()),
            Value::Condvar(c) => self.opaque("condvar", &c.name, Arc::as_ptr(c).addr()),
            Value::Chan(c) => self.opaque("channel", &c.name, Arc::as_ptr(c).addr()),
            Value::Promise(p) => self.opaque("promise", &p.name, Arc::as_ptr(p).addr()),
            Value::Cons(_) | Value::Vector(_) | Value::Closure(_) => {
                if let Some(level) = self.inside.iter().position(|o| o.eq(v)) {
                    self.out += &format!("#{level}");
                    return Ok(());
                }
                if self.inside.len() >= PRINT_DEPTH {
                    return error("Apparently circular structure being printed");
                }
                self.inside.push(v.clone());
                self.compound(v)?;
                self.inside.pop();
            }
        }
        Ok(())
    }

    fn opaque(&mut self, kind: &str, name: &Option<Value>, address: usize) {
        let name = match name {
            Some(Value::Str(name)) => name.0.get().as_str().to_string(),
            _ => format!("{address:#x}"),
        };
        self.out += &format!("#<{kind} {name}>");
    }

    fn compound(&mut self, v: &Value) -> Res<()> {
        match v {
            Value::Cons(_) => self.cons(v),
            Value::Vector(items) => {
                self.out.push('[');
                for (i, item) in items.0.iter().enumerate() {
                    if i > 0 {
                        self.out.push(' ');
                    }
                    self.value(&item.get())?;
                }
                self.out.push(']');
                Ok(())
            }
            Value::Closure(c) => {
                let list = Value::cons(crate::eval::env_as_list(&c.env), c.code.source.clone());
                let list = to_string(&list, self.readable)?;
                self.out += "(closure ";
                self.out += &list[1..];
                Ok(())
            }
            _ => unreachable!("not a compound"),
        }
    }

    fn cons(&mut self, v: &Value) -> Res<()> {
        if self.short_form(v)? {
            return Ok(());
        }
        self.out.push('(');
        let (mut rest, mut count, mut hare) = (v.clone(), 0, Hare::new(v));
        loop {
            let Value::Cons(c) = &rest else { unreachable!("rest is a cons") };
            self.value(&c.car())?;
            count += 1;
            rest = c.cdr();
            match &rest {
                Value::Nil => break,
                // Emacs tells roughly how far back the circle goes.
                Value::Cons(_) if hare.is_back(&rest) => {
                    self.out += &format!(" . #{}", count / 2);
                    break;
                }
                Value::Cons(_) => self.out.push(' '),
                // Emacs' closures are lists.
                Value::Closure(_) => {
                    let start = self.out.len();
                    self.value(&rest)?;
                    self.out.replace_range(start..=start, " ");
                    self.out.pop();
                    break;
                }
                last => {
                    self.out += " . ";
                    self.value(last)?;
                    break;
                }
            }
        }
        self.out.push(')');
        Ok(())
    }

    /// Prints `(quote x)` as `'x`, and its like. False: it is another list.
    fn short_form(&mut self, v: &Value) -> Res<bool> {
        let Value::Cons(c) = v else { return Ok(false) };
        let (head, rest) = (c.car(), c.cdr());
        let Value::Cons(rest) = rest else {
            return Ok(false);
        };
        if rest.cdr().is_true() {
            return Ok(false);
        }
        let prefix = match &head {
            h if h.is_named("quote") => "'",
            h if h.is_named("function") => "#'",
            h if h.is_named("`") => "`",
            h if self.backquotes > 0 && h.is_named(",") => ",",
            h if self.backquotes > 0 && h.is_named(",@") => ",@",
            _ => return Ok(false),
        };
        self.out += prefix;
        let saved = self.backquotes;
        match prefix {
            "`" => self.backquotes += 1,
            "," | ",@" => self.backquotes -= 1,
            _ => {}
        }
        self.value(&rest.car())?;
        self.backquotes = saved;
        Ok(true)
    }
}

fn quoted(out: &mut String, s: &str) {
    out.push('"');
    for c in s.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

fn symbol(out: &mut String, s: &Sym) {
    if s.name.is_empty() {
        *out += if s.interned { "##" } else { "" };
        return;
    }
    if looks_like_number(&s.name) {
        out.push('\\');
    }
    for c in s.name.chars() {
        if c <= ' ' || c == '\u{a0}' || "\"\\';#(),`[].?".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
}

/// Would the reader take this for a number?
pub fn looks_like_number(name: &str) -> bool {
    let b = name.as_bytes();
    let digits = |from: usize| b[from..].iter().take_while(|c| c.is_ascii_digit()).count();
    let mut at = usize::from(matches!(b.first(), Some(b'+' | b'-')));
    let whole = digits(at);
    at += whole;
    if at == b.len() {
        return whole > 0;
    }
    let mut fraction = 0;
    if b[at] == b'.' {
        at += 1;
        fraction = digits(at);
        at += fraction;
        if at == b.len() {
            return whole + fraction > 0;
        }
    }
    if whole + fraction == 0 || !matches!(b[at], b'e' | b'E') {
        return false;
    }
    at += 1;
    if matches!(&b[at..], b"+INF" | b"+NaN") {
        return fraction > 0;
    }
    at += usize::from(matches!(b.get(at), Some(b'+' | b'-')));
    at < b.len() && at + digits(at) == b.len()
}

/// A float as Emacs prints it: the fewest digits, from 15 on, that read back the same.
pub fn float(x: f64) -> String {
    if x.is_nan() {
        let sign = if x.is_sign_negative() { "-" } else { "" };
        return format!("{sign}0.0e+NaN");
    }
    if x.is_infinite() {
        let sign = if x < 0.0 { "-" } else { "" };
        return format!("{sign}1.0e+INF");
    }
    let first = if x.abs() < f64::MIN_POSITIVE { 1 } else { 15 };
    let mut text = String::new();
    for precision in first..=17 {
        text = general(x, precision, false);
        if text.parse() == Ok(x) {
            break;
        }
    }
    if !text.contains(['.', 'e']) {
        text += ".0";
    }
    text
}

/// C's `%.*g`; `keep_zeros` is its `#` flag.
pub fn general(x: f64, precision: usize, keep_zeros: bool) -> String {
    let precision = precision.max(1);
    let scientific = format!("{:.*e}", precision - 1, x);
    let (digits, exponent) = scientific.split_once('e').expect("{:e} has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a number");
    let strip = |s: &str| match s.contains('.') && !keep_zeros {
        true => s.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => s.to_string(),
    };
    if exponent < -4 || exponent >= precision as i32 {
        format!("{}{}", strip(digits), c_exponent(exponent))
    } else {
        let decimals = (precision as i32 - 1 - exponent) as usize;
        strip(&format!("{x:.decimals$}"))
    }
}

/// An exponent as C writes it: a sign and at least two digits.
pub fn c_exponent(exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("e{sign}{:02}", exponent.abs())
}
