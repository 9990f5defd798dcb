//! Strings, matching and formatting.

use std::collections::HashMap;
use std::iter::Peekable;
use std::str::Chars;
use std::sync::Arc;

use crate::eval::Interp;
use crate::print;
use crate::reader::{Reader, parse_number};
use crate::regex::Regex;
use crate::value::{Res, Subr, Text, Value, error, out_of_range, signal, wrong_type};

/// The last successful match of a thread, in characters, and the expressions it has used.
#[derive(Default)]
pub struct MatchData {
    groups: Vec<Option<(usize, usize)>>,
    compiled: HashMap<(String, bool), Arc<Regex>>,
}

impl Interp<'_> {
    fn regex(&mut self, source: &Text) -> Res<Arc<Regex>> {
        let fold = (self.get_variable(&self.world.known.case_fold)).is_ok_and(|v| v.is_true());
        let key = (source.as_str().to_string(), fold);
        if let Some(regex) = self.matched.compiled.get(&key) {
            return Ok(regex.clone());
        }
        let regex = Arc::new(Regex::new(source.as_str(), fold)?);
        if self.matched.compiled.len() > 100 {
            self.matched.compiled.clear();
        }
        self.matched.compiled.insert(key, regex.clone());
        Ok(regex)
    }

    fn string_match(&mut self, a: &[Value], keep: bool) -> Res {
        let (source, text) = (a[0].text()?, a[1].text()?);
        let start = match a.get(2) {
            None | Some(Value::Nil) => 0,
            Some(v) => {
                let (length, n) = (text.len() as i64, v.fixnum()?);
                let from = if n < 0 { n + length } else { n };
                if from < 0 || from > length {
                    return out_of_range(&[&a[1], v]);
                }
                text.offset(from as usize)
            }
        };
        let regex = self.regex(&source)?;
        let Some(groups) = regex.search(text.as_str(), start) else {
            return Ok(Value::Nil);
        };
        let in_chars = |(from, to)| (text.index(from), text.index(to));
        let groups: Vec<_> = groups.into_iter().map(|g| g.map(in_chars)).collect();
        let at = groups[0].map_or(Value::Nil, |(from, _)| Value::from(from));
        if keep {
            self.matched.groups = groups;
        }
        Ok(at)
    }

    /// Start and end of group `n` of the last match.
    fn group(&self, n: &Value) -> Res<Option<(usize, usize)>> {
        let index = n.fixnum()?;
        if index < 0 {
            return out_of_range(&[n, &Value::Int(0)]);
        }
        Ok(self.matched.groups.get(index as usize).copied().flatten())
    }
}

/// A string, or the name of a symbol.
fn string_or_symbol(v: &Value) -> Res<Text> {
    match (v, v.symbol_name()) {
        (_, Some(name)) => Ok(name.into()),
        (v, None) => v.text(),
    }
}

pub fn character(v: &Value) -> Res<char> {
    let code = match v {
        Value::Int(n) => u32::try_from(*n).ok(),
        _ => None,
    };
    match code.and_then(char::from_u32) {
        Some(c) => Ok(c),
        None => wrong_type("characterp", v),
    }
}

/// START and END of a part of a sequence of `length`; negative ones count from the end.
pub fn part(what: &Value, length: usize, ends: &[Value]) -> Res<(usize, usize)> {
    let from_end = |v: Option<&Value>, default: i64| match v {
        None | Some(Value::Nil) => Ok(default),
        Some(Value::Int(n)) if *n < 0 => Ok(n + length as i64),
        Some(v) => v.int(),
    };
    let from = from_end(ends.first(), 0)?;
    let to = from_end(ends.get(1), length as i64)?;
    if from < 0 || from > to || to > length as i64 {
        let nil = Value::Nil;
        let (from, to) = (ends.first().unwrap_or(&nil), ends.get(1).unwrap_or(&nil));
        return out_of_range(&[what, from, to]);
    }
    Ok((from as usize, to as usize))
}

pub fn slice(text: &Text, from: usize, to: usize) -> &str {
    &text.as_str()[text.offset(from)..text.offset(to)]
}

/// ASCII quotes of a message become curved ones.
fn curve(c: char) -> char {
    match c {
        '`' => '‘',
        '\'' => '’',
        c => c,
    }
}

/// `text` with curved quotes.
pub fn curved(text: &str) -> String {
    text.chars().map(curve).collect()
}

/// `format`; with `message`, quotes in the format string become curved.
pub fn format(args: &[Value], message: bool) -> Res<String> {
    let text = args[0].text()?;
    let mut chars = text.as_str().chars().peekable();
    let (mut out, mut next) = (String::new(), 1);
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(if message { curve(c) } else { c });
            continue;
        }
        let mut spec = Spec::default();
        // `%N$`: take argument N.
        let mut ahead = chars.clone();
        if let Some(n) = number(&mut ahead)
            && ahead.next_if_eq(&'$').is_some()
        {
            (next, chars) = (n, ahead);
        }
        while let Some(flag) = chars.next_if(|c| "-+ #0".contains(*c)) {
            match flag {
                '-' => spec.left = true,
                '+' => spec.plus = true,
                ' ' => spec.space = true,
                '#' => spec.alternate = true,
                _ => spec.zero = true,
            }
        }
        spec.width = number(&mut chars).unwrap_or(0);
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(number(&mut chars).unwrap_or(0));
        }
        let Some(kind) = chars.next() else {
            return error("Format string ends in middle of format specifier");
        };
        if kind == '%' {
            out.push('%');
            continue;
        }
        if !"sSdoxXcefg".contains(kind) {
            let shown = if kind == '`' { '‘' } else { kind };
            return error(format!("Invalid format operation %{shown}"));
        }
        let Some(arg) = args.get(next) else {
            return error("Not enough arguments for format string");
        };
        next += 1;
        spec.convert(&mut out, kind, arg)?;
    }
    Ok(out)
}

fn number(chars: &mut Peekable<Chars<'_>>) -> Option<usize> {
    let mut digits = String::new();
    while let Some(d) = chars.next_if(char::is_ascii_digit) {
        digits.push(d);
    }
    digits.parse().ok()
}

#[derive(Default)]
struct Spec {
    left: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

impl Spec {
    fn convert(&self, out: &mut String, kind: char, arg: &Value) -> Res<()> {
        let mismatch = || error("Format specifier doesn’t match argument type");
        match (kind, arg) {
            ('s' | 'S', arg) | ('c', arg @ Value::Int(_)) => {
                let text = match kind {
                    'c' => character(arg)?.to_string(),
                    _ => print::to_string(arg, kind == 'S')?,
                };
                let most = self.precision.unwrap_or(usize::MAX);
                let text: String = text.chars().take(most).collect();
                self.pad(out, "", &text, false);
            }
            ('d' | 'o' | 'x' | 'X', Value::Float(x)) if !x.is_finite() => {
                self.pad_number(out, x.is_sign_negative(), "", &not_finite(**x), false);
            }
            ('d' | 'o' | 'x' | 'X', Value::Int(_) | Value::Float(_)) => {
                let n = match arg {
                    Value::Int(n) => *n as i128,
                    Value::Float(x) => **x as i128,
                    _ => unreachable!("matched above"),
                };
                let digits = match (kind, arg) {
                    _ if n == 0 && self.precision == Some(0) => String::new(),
                    // A float may be larger than any integer of Rust.
                    ('d', Value::Float(x)) => format!("{:.0}", x.trunc().abs()),
                    ('d', _) => n.unsigned_abs().to_string(),
                    ('o', _) => format!("{:o}", n.unsigned_abs()),
                    ('x', _) => format!("{:x}", n.unsigned_abs()),
                    _ => format!("{:X}", n.unsigned_abs()),
                };
                let least = self.precision.unwrap_or(0);
                let digits = format!("{digits:0>least$}");
                let prefix = match kind {
                    'o' if self.alternate && !digits.starts_with('0') => "0",
                    'x' if self.alternate && n != 0 => "0x",
                    'X' if self.alternate && n != 0 => "0X",
                    _ => "",
                };
                self.pad_number(out, n < 0, prefix, &digits, self.precision.is_none());
            }
            ('e' | 'f' | 'g', Value::Int(_) | Value::Float(_)) => {
                let x = match arg {
                    Value::Int(n) => *n as f64,
                    Value::Float(x) => **x,
                    _ => unreachable!("matched above"),
                };
                let precision = self.precision.unwrap_or(6);
                let size = x.abs();
                let digits = match kind {
                    _ if !x.is_finite() => not_finite(x),
                    'f' => match arg {
                        Value::Int(n) if precision == 0 => n.unsigned_abs().to_string(),
                        Value::Int(n) => format!("{}.{}", n.unsigned_abs(), "0".repeat(precision)),
                        _ => format!("{size:.precision$}"),
                    },
                    'g' => print::general(size, precision, self.alternate),
                    _ => {
                        let text = format!("{size:.precision$e}");
                        let (digits, exponent) = text.split_once('e').expect("{:e} has an e");
                        let exponent = exponent.parse().expect("the exponent is a number");
                        format!("{digits}{}", print::c_exponent(exponent))
                    }
                };
                let dot = match self.alternate && x.is_finite() && !digits.contains('.') {
                    true => ".",
                    false => "",
                };
                // The exponent, if any, comes behind the dot.
                let (front, back) = digits.split_at(digits.find('e').unwrap_or(digits.len()));
                let digits = format!("{front}{dot}{back}");
                self.pad_number(out, x.is_sign_negative(), "", &digits, x.is_finite());
            }
            _ => return mismatch(),
        }
        Ok(())
    }

    fn pad_number(&self, out: &mut String, minus: bool, prefix: &str, digits: &str, zero: bool) {
        let sign = match minus {
            true => "-",
            false if self.plus => "+",
            false if self.space => " ",
            false => "",
        };
        self.pad(out, &format!("{sign}{prefix}"), digits, zero && self.zero);
    }

    fn pad(&self, out: &mut String, sign: &str, text: &str, zero: bool) {
        let length = sign.chars().count() + text.chars().count();
        let missing = self.width.saturating_sub(length);
        let blanks = " ".repeat(missing);
        *out += &match (self.left, zero) {
            (true, _) => format!("{sign}{text}{blanks}"),
            (false, true) => format!("{sign}{}{text}", "0".repeat(missing)),
            (false, false) => format!("{blanks}{sign}{text}"),
        };
    }
}

fn not_finite(x: f64) -> String {
    if x.is_nan() { "nan" } else { "inf" }.to_string()
}

/// `concat` and its like take any sequence of characters.
fn push_chars(out: &mut String, v: &Value) -> Res<()> {
    match v {
        Value::Str(s) => out.push_str(s.0.get().as_str()),
        Value::Nil => {}
        Value::Cons(_) => {
            for c in v.items() {
                out.push(character(&c?)?);
            }
        }
        Value::Vector(items) => {
            for c in &items.0 {
                out.push(character(&c.get())?);
            }
        }
        v => return wrong_type("sequencep", v),
    }
    Ok(())
}

fn capitalize(s: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in s.chars() {
        match inside {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        inside = c.is_alphanumeric();
    }
    out
}

/// Changes the case of a string or character.
fn change_case(v: &Value, change: fn(&str) -> String) -> Res {
    match v {
        Value::Str(s) => Ok(Value::str(change(s.0.get().as_str()))),
        Value::Int(_) => {
            let c = character(v)?;
            let changed = change(&c.to_string());
            let mut chars = changed.chars();
            match (chars.next(), chars.next()) {
                (Some(c), None) => Ok(Value::Int(c as i64)),
                _ => Ok(v.clone()),
            }
        }
        v => wrong_type("char-or-string-p", v),
    }
}

fn string_to_number(text: &str, radix: u32) -> Value {
    let text = text.trim_start_matches([' ', '\t']);
    if radix != 10 {
        let digits = text.trim_start_matches('-');
        let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
        let n = i64::from_str_radix(&digits[..end], radix).unwrap_or(0);
        return Value::Int(if text.starts_with('-') { -n } else { n });
    }
    let ends = (1..=text.len()).rev().filter(|&end| text.is_char_boundary(end));
    let mut numbers = ends
        .filter(|&end| text[..end].bytes().all(|c| b"+-.0123456789eE".contains(&c)))
        .filter_map(|end| parse_number(&text[..end]));
    numbers.next().unwrap_or(Value::Int(0))
}

pub static SUBRS: &[Subr] = &[
    Subr::new("stringp", 1, 1, |_, a| Ok(matches!(a[0], Value::Str(_)).into())),
    Subr::new("string-equal", 2, 2, string_equal),
    Subr::new("string=", 2, 2, string_equal),
    Subr::new("string-lessp", 2, 2, string_lessp),
    Subr::new("string<", 2, 2, string_lessp),
    Subr::many("concat", 0, |_, a| {
        let mut out = String::new();
        for v in a {
            push_chars(&mut out, v)?;
        }
        Ok(Value::str(out))
    }),
    Subr::new("substring", 1, 3, |_, a| match &a[0] {
        Value::Str(s) => {
            let text = s.0.get();
            let (from, to) = part(&a[0], text.len(), &a[1..])?;
            Ok(Value::str(slice(&text, from, to)))
        }
        Value::Vector(v) => {
            let (from, to) = part(&a[0], v.0.len(), &a[1..])?;
            Ok(Value::vector(v.0[from..to].iter().map(|i| i.get()).collect()))
        }
        v => wrong_type("arrayp", v),
    }),
    Subr::new("number-to-string", 1, 1, |_, a| match &a[0] {
        Value::Int(_) | Value::Float(_) => Ok(Value::str(print::to_string(&a[0], false)?)),
        v => wrong_type("numberp", v),
    }),
    Subr::new("string-to-number", 1, 2, |_, a| {
        let radix = match a.get(1) {
            None | Some(Value::Nil) => 10,
            Some(v) => v.fixnum()?,
        };
        if !(2..=16).contains(&radix) {
            return out_of_range(&[&a[1]]);
        }
        Ok(string_to_number(a[0].text()?.as_str(), radix as u32))
    }),
    Subr::new("symbol-name", 1, 1, |_, a| match a[0].symbol_name() {
        Some(name) => Ok(Value::str(name)),
        None => wrong_type("symbolp", &a[0]),
    }),
    Subr::new("intern", 1, 2, |cx, a| Ok(cx.world.intern(a[0].text()?.as_str()))),
    Subr::new("make-symbol", 1, 1, |cx, a| Ok(cx.world.make_symbol(a[0].text()?.as_str()))),
    Subr::new("make-string", 2, 3, |_, a| match a[0] {
        Value::Int(n) if n >= 0 => {
            let c = character(&a[1])?;
            Ok(Value::str(c.to_string().repeat(n as usize)))
        }
        ref v => wrong_type("wholenump", v),
    }),
    Subr::many("string", 0, |_, a| {
        let chars: Res<String> = a.iter().map(character).collect();
        Ok(Value::str(chars?))
    }),
    Subr::new("char-to-string", 1, 1, |_, a| Ok(Value::str(character(&a[0])?.to_string()))),
    Subr::new("string-to-char", 1, 1, |_, a| {
        let first = a[0].text()?.as_str().chars().next();
        Ok(Value::Int(first.map_or(0, |c| c as i64)))
    }),
    Subr::new("upcase", 1, 1, |_, a| change_case(&a[0], |s| s.to_uppercase())),
    Subr::new("downcase", 1, 1, |_, a| change_case(&a[0], |s| s.to_lowercase())),
    Subr::new("capitalize", 1, 1, |_, a| change_case(&a[0], capitalize)),
    Subr::new("string-match", 2, 4, |cx, a| cx.string_match(a, true)),
    Subr::new("string-match-p", 2, 3, |cx, a| cx.string_match(a, false)),
    Subr::new("match-beginning", 1, 1, |cx, a| {
        Ok(cx.group(&a[0])?.map_or(Value::Nil, |(from, _)| from.into()))
    }),
    Subr::new("match-end", 1, 1, |cx, a| {
        Ok(cx.group(&a[0])?.map_or(Value::Nil, |(_, to)| to.into()))
    }),
    Subr::new("match-string", 1, 2, |cx, a| {
        let Some((from, to)) = cx.group(&a[0])? else {
            return Ok(Value::Nil);
        };
        match a.get(1) {
            None | Some(Value::Nil) => error("match-string needs a string here"),
            Some(v) => {
                let text = v.text()?;
                let ends = [from.into(), to.into()];
                part(v, text.len(), &ends)?;
                Ok(Value::str(slice(&text, from, to)))
            }
        }
    }),
    Subr::new("match-data", 0, 3, |cx, _| {
        let groups = &cx.matched.groups;
        let used = groups.iter().rposition(|g| g.is_some()).map_or(0, |n| n + 1);
        let ends = groups[..used].iter().flat_map(|g| match g {
            Some((from, to)) => [Value::from(*from), Value::from(*to)],
            None => [Value::Nil, Value::Nil],
        });
        Ok(Value::list(ends.collect::<Vec<_>>()))
    }),
    Subr::new("set-match-data", 1, 2, |cx, a| {
        let ends = a[0].to_vec()?;
        let group = |pair: &[Value]| match pair {
            [Value::Int(from), Value::Int(to)] => Some((*from as usize, *to as usize)),
            _ => None,
        };
        cx.matched.groups = ends.chunks(2).map(group).collect();
        Ok(Value::Nil)
    }),
    Subr::new("regexp-quote", 1, 1, |_, a| {
        let mut out = String::new();
        for c in a[0].text()?.as_str().chars() {
            if "[*.\\?+^$".contains(c) {
                out.push('\\');
            }
            out.push(c);
        }
        Ok(Value::str(out))
    }),
    Subr::many("format", 1, |_, a| Ok(Value::str(format(a, false)?))),
    Subr::many("format-message", 1, |_, a| Ok(Value::str(format(a, true)?))),
    Subr::new("prin1-to-string", 1, 2, |_, a| {
        let readable = a.get(1).is_none_or(Value::is_nil);
        Ok(Value::str(print::to_string(&a[0], readable)?))
    }),
    Subr::new("read", 0, 1, |cx, a| {
        let text = a.first().cloned().unwrap_or_default().text()?;
        match Reader::new(&cx.world, cx.stack, text.as_str()).next_form()? {
            Some(form) => Ok(form),
            None => signal("end-of-file", []),
        }
    }),
    Subr::new("read-from-string", 1, 3, |cx, a| {
        let text = a[0].text()?;
        let (from, to) = part(&a[0], text.len(), &a[1..])?;
        let text = slice(&text, 0, to);
        let mut reader = Reader::new(&cx.world, cx.stack, text);
        reader.seek(from);
        match reader.next_form()? {
            Some(form) => Ok(Value::cons(form, reader.position().into())),
            None => signal("end-of-file", []),
        }
    }),
];

fn string_equal(_: &mut Interp<'_>, a: &[Value]) -> Res {
    let (x, y) = (string_or_symbol(&a[0])?, string_or_symbol(&a[1])?);
    Ok((x.as_str() == y.as_str()).into())
}

fn string_lessp(_: &mut Interp<'_>, a: &[Value]) -> Res {
    let (x, y) = (string_or_symbol(&a[0])?, string_or_symbol(&a[1])?);
    Ok((x.as_str() < y.as_str()).into())
}
