//! From text to values.

use crate::eval::Stack;
use crate::print::looks_like_number;
use crate::value::{Flow, Res, Value, error, signal};
use crate::world::World;

pub struct Reader<'w> {
    world: &'w World,
    stack: Stack,
    text: Vec<char>,
    at: usize,
}

impl<'w> Reader<'w> {
    pub fn new(world: &'w World, stack: Stack, text: &str) -> Reader<'w> {
        let text = text.chars().collect();
        Reader { world, stack, text, at: 0 }
    }

    /// The next form; None at the end of the text.
    pub fn next_form(&mut self) -> Res<Option<Value>> {
        self.skip_blanks();
        if self.at == self.text.len() {
            return Ok(None);
        }
        self.form().map(Some)
    }

    /// Characters read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    pub fn seek(&mut self, at: usize) {
        self.at = at;
    }

    /// Line and column (from 1) of where the reader stands.
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = &self.text[..self.at];
        let line = before.iter().filter(|&&c| c == '\n').count() + 1;
        let column = before.iter().rev().take_while(|&&c| c != '\n').count() + 1;
        (line, column)
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Res<char> {
        let Some(c) = self.peek() else {
            return signal("end-of-file", []);
        };
        self.at += 1;
        Ok(c)
    }

    /// Steps over `c` if it comes next.
    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        self.at += usize::from(found);
        found
    }

    pub fn skip_blanks(&mut self) {
        while let Some(c) = self.peek() {
            if c == ';' || (c == '#' && self.text.get(self.at + 1) == Some(&'!')) {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.at += 1;
                }
            } else if c <= ' ' || c == '\u{a0}' || c == '\u{2028}' {
                self.at += 1;
            } else {
                return;
            }
        }
    }

    fn form(&mut self) -> Res {
        if self.stack.is_low() {
            return too_deep();
        }
        self.skip_blanks();
        let start = self.at;
        match self.next()? {
            '(' => self.list(),
            '[' => self.vector(),
            ')' => bad_syntax(")"),
            ']' => bad_syntax("]"),
            '\'' => self.wrapped("quote"),
            '`' => self.wrapped("`"),
            ',' if self.eat('@') => self.wrapped(",@"),
            ',' => self.wrapped(","),
            '"' => self.string(),
            '?' => self.character(),
            '#' => self.hash(),
            _ => {
                self.at = start;
                self.atom()
            }
        }
    }

    fn wrapped(&mut self, symbol: &str) -> Res {
        let form = self.form()?;
        Ok(Value::list([self.world.intern(symbol), form]))
    }

    fn list(&mut self) -> Res {
        let mut items = Vec::new();
        let tail = loop {
            self.skip_blanks();
            if self.eat(')') {
                break Value::Nil;
            }
            let lone_dot = self.peek() == Some('.')
                && (self.text.get(self.at + 1))
                    .is_none_or(|&c| c <= ' ' || "\"';([#?`,".contains(c));
            if lone_dot {
                self.at += 1;
                let tail = self.form()?;
                self.skip_blanks();
                match self.next()? {
                    ')' => break tail,
                    _ => return bad_syntax(". in wrong context"),
                }
            }
            items.push(self.form()?);
        };
        Ok(Value::list_with_tail(items, tail))
    }

    fn vector(&mut self) -> Res {
        let mut items = Vec::new();
        loop {
            self.skip_blanks();
            if self.eat(']') {
                return Ok(Value::vector(items));
            }
            items.push(self.form()?);
        }
    }

    fn string(&mut self) -> Res {
        let mut s = String::new();
        loop {
            match self.next()? {
                '"' => return Ok(Value::str(s)),
                '\\' if self.eat('\n') || self.eat(' ') => {}
                '\\' => s.push(self.escape()?),
                c => s.push(c),
            }
        }
    }

    fn character(&mut self) -> Res {
        let c = match self.next()? {
            '\\' => return self.character_escape(),
            c => c,
        };
        let ends = self.peek().is_none_or(|c| c <= ' ' || "\"';()[]#?`,.".contains(c));
        if ends { Ok(Value::Int(c as i64)) } else { bad_syntax("?") }
    }

    /// What follows `?\`: an escape, perhaps behind modifiers such as `C-`.
    fn character_escape(&mut self) -> Res {
        let rest = &self.text[self.at..];
        let modifier = match rest {
            ['C', '-', ..] => 2,
            ['^', _, ..] => 1,
            ['M', '-', ..] => {
                self.at += 2;
                return Ok(Value::Int(self.modified()? | 1 << 27));
            }
            _ => return Ok(Value::Int(self.escape()? as i64)),
        };
        self.at += modifier;
        let c = self.modified()?;
        Ok(Value::Int(match c {
            63 => 127,
            64..=95 => c - 64,
            97..=122 => c - 96,
            c => c | 1 << 26,
        }))
    }

    fn modified(&mut self) -> Res<i64> {
        match self.next()? {
            '\\' => self.character_escape()?.int(),
            c => Ok(c as i64),
        }
    }

    /// The character that `\` and what follows stand for.
    fn escape(&mut self) -> Res<char> {
        Ok(match self.next()? {
            'a' => '\x07',
            'b' => '\x08',
            'd' => '\x7f',
            'e' => '\x1b',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            's' => ' ',
            't' => '\t',
            'v' => '\x0b',
            'x' => self.digits(16, usize::MAX)?,
            'u' => self.digits(16, 4)?,
            'U' => self.digits(16, 8)?,
            '^' => match self.next()? {
                '?' => '\x7f',
                c => char::from((c as u32 & 31) as u8),
            },
            c if c.is_digit(8) => {
                self.at -= 1;
                self.digits(8, 3)?
            }
            c => c,
        })
    }

    fn digits(&mut self, radix: u32, most: usize) -> Res<char> {
        let (mut n, mut count) = (0u32, 0);
        while let Some(d) = self.peek().and_then(|c| c.to_digit(radix)) {
            if count == most {
                break;
            }
            n = n.saturating_mul(radix).saturating_add(d);
            self.at += 1;
            count += 1;
        }
        match char::from_u32(n) {
            Some(c) => Ok(c),
            None => error("Invalid character in escape"),
        }
    }

    fn hash(&mut self) -> Res {
        match self.peek() {
            Some('\'') => {
                self.at += 1;
                self.wrapped("function")
            }
            Some(':') => {
                self.at += 1;
                let (name, _) = self.name();
                Ok(self.world.make_symbol(&name))
            }
            Some('#') => {
                self.at += 1;
                Ok(self.world.intern(""))
            }
            Some(c @ ('x' | 'X' | 'o' | 'O' | 'b' | 'B')) => {
                self.at += 1;
                let (digits, _) = self.name();
                let radix = match c {
                    'x' | 'X' => 16,
                    'o' | 'O' => 8,
                    _ => 2,
                };
                match i64::from_str_radix(&digits, radix) {
                    Ok(n) => Ok(Value::Int(n)),
                    Err(_) => bad_syntax(format!("integer, radix {radix}")),
                }
            }
            _ => bad_syntax("#"),
        }
    }

    /// A run of symbol constituents, and whether a backslash was in it.
    fn name(&mut self) -> (String, bool) {
        let (mut name, mut quoted) = (String::new(), false);
        while let Some(c) = self.peek() {
            if c <= ' '
                || c == '\u{a0}'
                || "\"';()[]`,".contains(c)
                || (c == '#' && name.is_empty())
            {
                break;
            }
            self.at += 1;
            if c == '\\' {
                quoted = true;
                name.extend(self.peek());
                self.at += usize::from(self.at < self.text.len());
            } else {
                name.push(c);
            }
        }
        (name, quoted)
    }

    fn atom(&mut self) -> Res {
        let (name, quoted) = self.name();
        if !quoted && let Some(number) = parse_number(&name) {
            return Ok(number);
        }
        Ok(self.world.intern(&name))
    }
}

/// `name` as a number, if it is written like one.
pub fn parse_number(name: &str) -> Option<Value> {
    if !looks_like_number(name) {
        return None;
    }
    let whole = name.strip_suffix('.').unwrap_or(name);
    if !whole.contains(['.', 'e', 'E', 'N', 'I']) {
        return Some(match whole.parse() {
            Ok(n) => Value::Int(n),
            Err(_) => Value::float(whole.parse().ok()?),
        });
    }
    if let Some(digits) = name.strip_suffix("e+NaN") {
        let sign = if digits.starts_with('-') { -1.0 } else { 1.0 };
        return Some(Value::float(f64::NAN.copysign(sign)));
    }
    if let Some(digits) = name.strip_suffix("e+INF") {
        let sign = if digits.starts_with('-') { -1.0 } else { 1.0 };
        return Some(Value::float(f64::INFINITY * sign));
    }
    name.parse().ok().map(Value::float)
}

fn bad_syntax<T>(what: impl AsRef<str>) -> Res<T> {
    signal("invalid-read-syntax", [Value::str(what)])
}

pub fn too_deep<T>() -> Res<T> {
    error("Lisp nesting exceeds ‘max-lisp-eval-depth’")
}

/// Is this the error of a text that stops in the middle of a form?
pub fn is_end_of_file(flow: &Flow) -> bool {
    matches!(flow, Flow::Error("end-of-file", _))
}
