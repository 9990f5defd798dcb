//! Buffers: a plain stand-in, one short lock per text, until the crate has its buffer lock.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cell::Slot;
use crate::eval::Interp;
use crate::value::{Res, Subr, Sym, Value, error, out_of_range, signal, wrong_type};
use crate::world::World;

pub struct Buffer {
    pub id: u64,
    /// None: killed.
    name: Slot<Option<Arc<str>>>,
    text: Arc<Slot<Text>>,
    /// This buffer shares the text of that one.
    base: Option<Arc<Buffer>>,
    locals: Slot<Vec<(Sym, Value)>>,
}

/// A text, and the places that move with it: the points of all buffers that show it, and
/// what `save-excursion` remembers. Places count from 0.
#[derive(Default)]
struct Text {
    chars: Vec<char>,
    places: HashMap<u64, usize>,
}

impl Text {
    fn insert(&mut self, id: u64, s: &str) {
        let at = self.places[&id];
        let before = self.chars.len();
        self.chars.splice(at..at, s.chars());
        let added = self.chars.len() - before;
        for (&other, place) in &mut self.places {
            if *place > at || other == id {
                *place += added;
            }
        }
    }

    fn delete(&mut self, from: usize, to: usize) {
        self.chars.drain(from..to);
        for place in self.places.values_mut() {
            if *place > from {
                *place = from.max(place.saturating_sub(to - from));
            }
        }
    }

    fn slice(&self, from: usize, to: usize) -> String {
        self.chars[from..to].iter().collect()
    }
}

impl Buffer {
    pub fn name(&self) -> Option<Arc<str>> {
        self.name.get()
    }

    pub fn is_live(&self) -> bool {
        self.name.with(|n| n.is_some())
    }

    pub fn local(&self, name: &Sym) -> Option<Value> {
        self.locals.with(|locals| {
            let found = locals.iter().find(|(n, _)| Arc::ptr_eq(n, name));
            found.map(|(_, v)| v.clone())
        })
    }

    pub fn set_local(&self, name: &Sym, value: Value) {
        let old = self.locals.with(|locals| {
            match locals.iter_mut().find(|(n, _)| Arc::ptr_eq(n, name)) {
                Some((_, v)) => Some(std::mem::replace(v, value)),
                None => {
                    locals.push((name.clone(), value));
                    None
                }
            }
        });
        drop(old);
    }

    /// Remembers point, for `save-excursion`.
    pub fn add_marker(&self, world: &World) -> u64 {
        let marker = world.ids.next();
        self.text.with(|t| {
            let point = t.places[&self.id];
            t.places.insert(marker, point);
        });
        marker
    }

    pub fn back_to_marker(&self, marker: u64) {
        self.text.with(|t| {
            if let Some(place) = t.places.remove(&marker) {
                t.places.insert(self.id, place);
            }
        });
    }

    /// Appends a line; repetitions of the last line are counted instead, as Emacs does.
    pub fn add_message(&self, line: &str) {
        self.text.with(|t| {
            let end = t.chars.len().saturating_sub(1);
            let start = t.chars[..end].iter().rposition(|&c| c == '\n');
            let start = start.map_or(0, |n| n + 1);
            let last: String = t.chars[start..end].iter().collect();
            let times = match last.strip_prefix(line) {
                Some("") if !last.is_empty() => Some(1),
                Some(rest) => (rest.strip_prefix(" [").and_then(|r| r.strip_suffix(" times]")))
                    .and_then(|n| n.parse::<u64>().ok()),
                None => None,
            };
            if let Some(times) = times {
                t.chars.truncate(start);
                t.chars.extend(format!("{line} [{} times]\n", times + 1).chars());
            } else {
                t.chars.extend(line.chars());
                t.chars.push('\n');
            }
            let end = t.chars.len();
            for place in t.places.values_mut() {
                *place = (*place).min(end);
            }
        });
    }

    fn point(&self) -> usize {
        self.text.with(|t| t.places[&self.id])
    }

    fn len(&self) -> usize {
        self.text.with(|t| t.chars.len())
    }

    fn go_to(&self, place: i64) {
        self.text.with(|t| {
            let place = place.clamp(0, t.chars.len() as i64) as usize;
            t.places.insert(self.id, place);
        });
    }

    fn char_at(&self, place: i64) -> Value {
        let place = usize::try_from(place).ok();
        let found = self.text.with(|t| place.and_then(|p| t.chars.get(p).copied()));
        found.map_or(Value::Nil, |c| Value::Int(c as i64))
    }
}

impl World {
    pub fn new_buffer(&self, name: &str) -> Arc<Buffer> {
        self.add_buffer(name, Arc::default(), None)
    }

    fn add_buffer(
        &self,
        name: &str,
        text: Arc<Slot<Text>>,
        base: Option<Arc<Buffer>>,
    ) -> Arc<Buffer> {
        let buffer = Arc::new(Buffer {
            id: self.ids.next(),
            name: Slot::new(Some(name.into())),
            text,
            base,
            locals: Slot::new(Vec::new()),
        });
        buffer.go_to(0);
        self.buffers.with(|all| all.push(buffer.clone()));
        buffer
    }

    pub fn find_buffer(&self, name: &str) -> Option<Arc<Buffer>> {
        let all = self.buffers.get();
        all.into_iter().find(|b| b.name().as_deref() == Some(name))
    }

    fn free_name(&self, name: &str) -> String {
        if self.find_buffer(name).is_none() {
            return name.to_string();
        }
        let numbered = (2..).map(|n| format!("{name}<{n}>"));
        let mut free = numbered.filter(|name| self.find_buffer(name).is_none());
        free.next().expect("numbers do not end")
    }

    /// A buffer to be in when `buffer` is gone: as in Emacs, rather one that no window shows.
    fn other_buffer(&self, buffer: &Arc<Buffer>) -> Arc<Buffer> {
        let all = self.buffers.get();
        let fits = |b: &&Arc<Buffer>, shown: bool| {
            let name = b.name().unwrap_or_default();
            !Arc::ptr_eq(b, buffer) && !name.starts_with(' ') && (*name == *"*scratch*") == shown
        };
        let hidden = all.iter().find(|b| fits(b, false));
        match hidden.or_else(|| all.iter().find(|b| fits(b, true))) {
            Some(other) => other.clone(),
            None => self.new_buffer("*scratch*"),
        }
    }
}

impl Interp<'_> {
    pub fn insert(&mut self, s: &str) -> Res<()> {
        if s.is_empty() {
            return Ok(());
        }
        self.check_writable()?;
        let buffer = self.buffer();
        buffer.text.with(|t| t.insert(buffer.id, s));
        Ok(())
    }

    /// Deletes what is between two places. Nothing may be deleted even where nothing may
    /// be changed.
    fn delete(&mut self, from: usize, to: usize) -> Res {
        if from < to {
            self.check_writable()?;
            self.buffer().text.with(|t| t.delete(from, to.min(t.chars.len())));
        }
        Ok(Value::Nil)
    }

    fn check_writable(&self) -> Res<()> {
        let known = &self.world.known;
        if self.get_variable(&known.read_only)?.is_true()
            && self.get_variable(&known.inhibit_read_only)?.is_nil()
        {
            return signal("buffer-read-only", [Value::Buffer(self.buffer())]);
        }
        Ok(())
    }

    /// The places START and END, in order and checked, counted from 0.
    fn region(&self, a: &[Value]) -> Res<(usize, usize)> {
        let (from, to) = (position(&a[0])?, position(&a[1])?);
        let (first, last) = (from.min(to), from.max(to));
        if first < 1 || last > self.buffer().len() as i64 + 1 {
            return out_of_range(&[&Value::Buffer(self.buffer()), &a[0], &a[1]]);
        }
        Ok((first as usize - 1, last as usize - 1))
    }

    /// Moves point by `n` characters.
    fn move_point(&mut self, n: i64) -> Res {
        let buffer = self.buffer();
        let to = (buffer.point() as i64).saturating_add(n);
        buffer.go_to(to);
        if to < 0 {
            return signal("beginning-of-buffer", []);
        }
        if to > buffer.len() as i64 {
            return signal("end-of-buffer", []);
        }
        Ok(Value::Nil)
    }

    pub fn kill_buffer(&mut self, buffer: &Arc<Buffer>) -> Res {
        if !buffer.is_live() {
            return Ok(Value::Nil);
        }
        if !self.may_kill(buffer) {
            return Ok(Value::Nil);
        }
        let all = self.world.buffers.get();
        let shares = |b: &Arc<Buffer>| b.base.as_ref().is_some_and(|o| Arc::ptr_eq(o, buffer));
        for indirect in all.iter().filter(|b| shares(b)) {
            self.kill_buffer(indirect)?;
        }
        buffer.name.set(None);
        self.world.buffers.with(|all| all.retain(|b| !Arc::ptr_eq(b, buffer)));
        let other = self.world.other_buffer(buffer);
        if Arc::ptr_eq(&self.buffer(), buffer) {
            self.thread.buffer.set(other.clone());
        }
        self.evict(buffer, &other)?;
        Ok(Value::T)
    }
}

/// A buffer position, counted from 1.
fn position(v: &Value) -> Res<i64> {
    match v {
        Value::Int(n) => Ok(*n),
        v => wrong_type("integer-or-marker-p", v),
    }
}

/// The live buffer that `v` is or names.
fn named_buffer(cx: &Interp<'_>, v: &Value) -> Res<Arc<Buffer>> {
    match v {
        Value::Buffer(b) => Ok(b.clone()),
        v => {
            let name = v.text()?;
            match cx.world.find_buffer(name.as_str()) {
                Some(b) => Ok(b),
                None => error(format!("No buffer named {}", name.as_str())),
            }
        }
    }
}

/// The buffer that an optional argument means; nil means the current one.
fn or_current(cx: &Interp<'_>, v: Option<&Value>) -> Res<Arc<Buffer>> {
    match v {
        None | Some(Value::Nil) => Ok(cx.buffer()),
        Some(Value::Buffer(b)) => Ok(b.clone()),
        Some(v) => wrong_type("bufferp", v),
    }
}

fn place(n: usize) -> Res {
    Ok(Value::from(n + 1))
}

fn count(v: Option<&Value>) -> Res<i64> {
    match v {
        None | Some(Value::Nil) => Ok(1),
        Some(v) => v.fixnum(),
    }
}

pub static SUBRS: &[Subr] = &[
    Subr::new("bufferp", 1, 1, |_, a| Ok(matches!(a[0], Value::Buffer(_)).into())),
    Subr::new("current-buffer", 0, 0, |cx, _| Ok(Value::Buffer(cx.buffer()))),
    Subr::new("buffer-list", 0, 1, |cx, _| {
        Ok(Value::list(cx.world.buffers.get().into_iter().map(Value::Buffer)))
    }),
    Subr::new("buffer-name", 0, 1, |cx, a| {
        let name = or_current(cx, a.first())?.name();
        Ok(name.map_or(Value::Nil, Value::str))
    }),
    Subr::new("buffer-live-p", 1, 1, |_, a| {
        Ok(matches!(&a[0], Value::Buffer(b) if b.is_live()).into())
    }),
    Subr::new("get-buffer", 1, 1, |cx, a| match &a[0] {
        b @ Value::Buffer(_) => Ok(b.clone()),
        name => {
            let found = cx.world.find_buffer(name.text()?.as_str());
            Ok(found.map_or(Value::Nil, Value::Buffer))
        }
    }),
    Subr::new("get-buffer-create", 1, 2, |cx, a| {
        if let b @ Value::Buffer(_) = &a[0] {
            return Ok(b.clone());
        }
        let name = a[0].text()?;
        if name.len() == 0 {
            return error("Empty string for buffer name is not allowed");
        }
        let found = cx.world.find_buffer(name.as_str());
        let buffer = found.unwrap_or_else(|| cx.world.new_buffer(name.as_str()));
        Ok(Value::Buffer(buffer))
    }),
    Subr::new("generate-new-buffer", 1, 2, |cx, a| {
        let name = cx.world.free_name(a[0].text()?.as_str());
        if name.is_empty() {
            return error("Empty string for buffer name is not allowed");
        }
        Ok(Value::Buffer(cx.world.new_buffer(&name)))
    }),
    Subr::new("rename-buffer", 1, 2, |cx, a| {
        let wanted = a[0].text()?;
        let buffer = cx.buffer();
        let mut name = wanted.as_str().to_string();
        match cx.world.find_buffer(&name) {
            Some(other) if Arc::ptr_eq(&other, &buffer) => return Ok(a[0].clone()),
            Some(_) if a.get(1).is_none_or(Value::is_nil) => {
                return error(format!("Buffer name ‘{name}’ is in use"));
            }
            Some(_) => name = cx.world.free_name(&name),
            None => {}
        }
        buffer.name.set(Some(name.as_str().into()));
        Ok(Value::str(name))
    }),
    Subr::new("clone-indirect-buffer", 2, 3, |cx, a| {
        let current = cx.buffer();
        let base = current.base.clone().unwrap_or_else(|| current.clone());
        let name = match &a[0] {
            Value::Nil => current.name().unwrap_or_default(),
            v => v.text()?.as_str().into(),
        };
        let name = cx.world.free_name(&name);
        let buffer = (cx.world).add_buffer(&name, base.text.clone(), Some(base.clone()));
        buffer.go_to(current.point() as i64);
        buffer.locals.set(current.locals.get());
        Ok(Value::Buffer(buffer))
    }),
    Subr::new("set-buffer", 1, 1, |cx, a| {
        let buffer = named_buffer(cx, &a[0])?;
        if !buffer.is_live() {
            return error("Selecting deleted buffer");
        }
        cx.thread.buffer.set(buffer.clone());
        Ok(Value::Buffer(buffer))
    }),
    Subr::new("kill-buffer", 0, 1, |cx, a| {
        let buffer = match a.first() {
            None | Some(Value::Nil) => cx.buffer(),
            Some(v) => named_buffer(cx, v)?,
        };
        cx.kill_buffer(&buffer)
    }),
    Subr::many("insert", 0, |cx, a| {
        for item in a {
            match item {
                Value::Str(s) => cx.insert(s.0.get().as_str())?,
                Value::Int(c) => match u32::try_from(*c).ok().and_then(char::from_u32) {
                    Some(c) => cx.insert(c.encode_utf8(&mut [0; 4]))?,
                    None => return wrong_type("char-or-string-p", item),
                },
                v => return wrong_type("char-or-string-p", v),
            }
        }
        Ok(Value::Nil)
    }),
    Subr::new("erase-buffer", 0, 0, |cx, _| {
        let end = cx.buffer().len();
        cx.delete(0, end)
    }),
    Subr::new("delete-region", 2, 2, |cx, a| {
        let (from, to) = cx.region(a)?;
        cx.delete(from, to)
    }),
    Subr::new("buffer-string", 0, 0, |cx, _| {
        let buffer = cx.buffer();
        Ok(Value::str(buffer.text.with(|t| t.slice(0, t.chars.len()))))
    }),
    Subr::new("buffer-substring", 2, 2, |cx, a| {
        let (from, to) = cx.region(a)?;
        Ok(Value::str(cx.buffer().text.with(|t| t.slice(from, to))))
    }),
    Subr::new("buffer-substring-no-properties", 2, 2, |cx, a| {
        let (from, to) = cx.region(a)?;
        Ok(Value::str(cx.buffer().text.with(|t| t.slice(from, to))))
    }),
    Subr::new("buffer-size", 0, 1, |cx, a| Ok(Value::from(or_current(cx, a.first())?.len()))),
    Subr::new("point", 0, 0, |cx, _| place(cx.buffer().point())),
    Subr::new("point-min", 0, 0, |_, _| place(0)),
    Subr::new("point-max", 0, 0, |cx, _| place(cx.buffer().len())),
    Subr::new("goto-char", 1, 1, |cx, a| {
        cx.buffer().go_to(position(&a[0])? - 1);
        Ok(a[0].clone())
    }),
    Subr::new("forward-char", 0, 1, |cx, a| {
        let n = count(a.first())?;
        cx.move_point(n)
    }),
    Subr::new("backward-char", 0, 1, |cx, a| {
        let n = count(a.first())?;
        cx.move_point(-n)
    }),
    Subr::new("char-after", 0, 1, |cx, a| match a.first() {
        None | Some(Value::Nil) => Ok(cx.buffer().char_at(cx.buffer().point() as i64)),
        Some(v) => Ok(cx.buffer().char_at(position(v)? - 1)),
    }),
    Subr::new("char-before", 0, 1, |cx, a| match a.first() {
        None | Some(Value::Nil) => Ok(cx.buffer().char_at(cx.buffer().point() as i64 - 1)),
        Some(v) => Ok(cx.buffer().char_at(position(v)? - 2)),
    }),
    Subr::new("bobp", 0, 0, |cx, _| Ok((cx.buffer().point() == 0).into())),
    Subr::new("eobp", 0, 0, |cx, _| Ok((cx.buffer().point() == cx.buffer().len()).into())),
];
