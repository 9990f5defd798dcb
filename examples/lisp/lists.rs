//! Predicates, lists, vectors, and functions over sequences.

use std::sync::Arc;

use crate::eval::{Interp, get_property, put_property};
use crate::strings::{character, slice};
use crate::value::{Cons, Flow, Hare, Res, Subr, Value, error, out_of_range, signal, wrong_type};

/// The elements of any sequence.
pub fn elements(v: &Value) -> Res<Vec<Value>> {
    match v {
        Value::Nil | Value::Cons(_) => v.to_vec(),
        Value::Vector(items) => Ok(items.0.iter().map(|i| i.get()).collect()),
        Value::Str(s) => {
            let text = s.0.get();
            Ok(text.as_str().chars().map(|c| Value::Int(c as i64)).collect())
        }
        v => wrong_type("sequencep", v),
    }
}

fn length(v: &Value) -> Res<usize> {
    match v {
        Value::Str(s) => Ok(s.0.get().len()),
        Value::Vector(items) => Ok(items.0.len()),
        Value::Nil | Value::Cons(_) => {
            let mut n = 0;
            for item in v.items() {
                item?;
                n += 1;
            }
            Ok(n)
        }
        v => wrong_type("sequencep", v),
    }
}

/// `list` without its first `n` conses.
fn nthcdr(n: i64, list: &Value) -> Res {
    let mut rest = list.clone();
    let mut hare = Hare::new(list);
    for i in 0..n {
        rest = match &rest {
            Value::Cons(c) => c.cdr(),
            Value::Nil => return Ok(Value::Nil),
            _ => return wrong_type("listp", list),
        };
        if hare.is_back(&rest) {
            // Go round the circle no more often than needed.
            let round = rest.clone();
            let (mut length, mut at) = (1, rest.cdr()?);
            while !at.eq(&round) {
                (length, at) = (length + 1, at.cdr()?);
            }
            return nthcdr((n - i - 1) % length, &round);
        }
    }
    Ok(rest)
}

fn aref(array: &Value, index: &Value) -> Res {
    let at = usize::try_from(match array {
        Value::Vector(_) | Value::Str(_) => index.fixnum()?,
        v => return wrong_type("arrayp", v),
    });
    let found = match (array, at) {
        (Value::Vector(items), Ok(at)) => items.0.get(at).map(|i| i.get()),
        (Value::Str(s), Ok(at)) => {
            let text = s.0.get();
            let inside = at < text.len();
            let c = inside.then(|| text.as_str()[text.offset(at)..].chars().next());
            c.flatten().map(|c| Value::Int(c as i64))
        }
        _ => None,
    };
    found.map_or_else(|| out_of_range(&[array, index]), Ok)
}

fn aset(array: &Value, index: &Value, new: &Value) -> Res {
    let at = match array {
        Value::Vector(_) | Value::Str(_) => index.fixnum()?,
        v => return wrong_type("arrayp", v),
    };
    if at < 0 || at as usize >= length(array)? {
        return out_of_range(&[array, index]);
    }
    let at = at as usize;
    match array {
        Value::Vector(items) => items.0[at].set(new.clone()),
        Value::Str(s) => {
            let (c, text) = (character(new)?, s.0.get());
            let (before, after) = (slice(&text, 0, at), slice(&text, at + 1, text.len()));
            s.0.set(format!("{before}{c}{after}").as_str().into());
        }
        _ => unreachable!("checked above"),
    }
    Ok(new.clone())
}

/// Searches blame the whole list for a wrong tail.
fn about(e: Box<Flow>, list: &Value) -> Box<Flow> {
    match *e {
        Flow::WrongType(predicate, _) => Box::new(Flow::WrongType(predicate, list.clone())),
        _ => e,
    }
}

/// The first tail of `list` whose car `fits`.
fn find_tail(list: &Value, fits: impl Fn(&Value) -> Res<bool>) -> Res {
    let mut items = list.items();
    loop {
        let tail = items.rest.clone();
        match items.next().transpose().map_err(|e| about(e, list))? {
            None => return Ok(Value::Nil),
            Some(item) if fits(&item)? => return Ok(tail),
            Some(_) => {}
        }
    }
}

/// The first cons in `alist` whose `half` fits.
fn find_pair(alist: &Value, fits: impl Fn(&Value, &Value) -> Res<bool>) -> Res {
    for entry in alist.items() {
        let entry = entry.map_err(|e| about(e, alist))?;
        if let Value::Cons(c) = &entry
            && fits(&c.car(), &c.cdr())?
        {
            return Ok(entry);
        }
    }
    Ok(Value::Nil)
}

/// Takes the elements that fit out of `list`, in place.
fn delete(list: &Value, fits: impl Fn(&Value) -> Res<bool>) -> Res {
    let mut head = list.clone();
    let (mut rest, mut last): (_, Option<Arc<Cons>>) = (list.clone(), None);
    let mut hare = Hare::new(list);
    loop {
        let cell = match &rest {
            Value::Cons(c) => c.clone(),
            Value::Nil => return Ok(head),
            _ => return wrong_type("listp", list),
        };
        let next = cell.cdr();
        if fits(&cell.car())? {
            match &last {
                None => head = next.clone(),
                Some(last) => last.set_cdr(next.clone()),
            }
        } else {
            last = Some(cell);
        }
        rest = next;
        if hare.is_back(&rest) {
            return signal("circular-list", [rest]);
        }
    }
}

fn nreverse(list: &Value) -> Res {
    if let Value::Vector(items) = list {
        let n = items.0.len();
        for i in 0..n / 2 {
            let a = items.0[i].get();
            items.0[i].set(items.0[n - 1 - i].replace(a));
        }
        return Ok(list.clone());
    }
    let (mut done, mut rest) = (Value::Nil, list.clone());
    loop {
        match &rest {
            Value::Nil => return Ok(done),
            Value::Cons(c) => {
                let next = c.cdr();
                c.set_cdr(done);
                (done, rest) = (rest.clone(), next);
            }
            _ => return wrong_type("listp", &done),
        }
    }
}

/// The indices of `items` in sorted order: a stable merge sort, which may stop with the
/// predicate's error.
fn sorted(cx: &mut Interp<'_>, items: &[Value], less: &Value) -> Res<Vec<usize>> {
    fn merge(cx: &mut Interp<'_>, items: &[Value], less: &Value, all: &[usize]) -> Res<Vec<usize>> {
        if all.len() < 2 {
            return Ok(all.to_vec());
        }
        let (left, right) = all.split_at(all.len() / 2);
        let mut left = merge(cx, items, less, left)?.into_iter().peekable();
        let mut right = merge(cx, items, less, right)?.into_iter().peekable();
        let mut merged = Vec::with_capacity(all.len());
        while let (Some(&l), Some(&r)) = (left.peek(), right.peek()) {
            let args = vec![items[r].clone(), items[l].clone()];
            let swap = cx.funcall(less, args)?.is_true();
            merged.extend(if swap { right.next() } else { left.next() });
        }
        merged.extend(left);
        merged.extend(right);
        Ok(merged)
    }
    let all: Vec<usize> = (0..items.len()).collect();
    merge(cx, items, less, &all)
}

fn sort(cx: &mut Interp<'_>, a: &[Value]) -> Res {
    let items = match &a[0] {
        v @ (Value::Nil | Value::Cons(_) | Value::Vector(_)) => elements(v)?,
        v => return wrong_type("list-or-vector-p", v),
    };
    let order = sorted(cx, &items, &a[1])?;
    if let Value::Vector(slots) = &a[0] {
        for (slot, &i) in slots.0.iter().zip(&order) {
            slot.set(items[i].clone());
        }
        return Ok(a[0].clone());
    }
    // The conses are put in order, not their contents.
    let mut cells = Vec::new();
    let mut rest = a[0].clone();
    while let Value::Cons(c) = &rest
        && cells.len() < items.len()
    {
        let next = c.cdr();
        cells.push(c.clone());
        rest = next;
    }
    let mut tail = Value::Nil;
    for &i in order.iter().rev() {
        // Another thread may have made the list shorter meanwhile.
        if let Some(cell) = cells.get(i) {
            cell.set_cdr(tail);
            tail = Value::Cons(cell.clone());
        }
    }
    Ok(tail)
}

fn append(a: &[Value]) -> Res {
    let Some((last, others)) = a.split_last() else {
        return Ok(Value::Nil);
    };
    let mut items = Vec::new();
    for v in others {
        items.extend(elements(v)?);
    }
    Ok(Value::list_with_tail(items, last.clone()))
}

/// The number of conses of a list that may end in a dot.
fn conses(list: &Value) -> Res<i64> {
    let (mut rest, mut hare, mut n) = (list.clone(), Hare::new(list), 0);
    while let Value::Cons(c) = &rest {
        n += 1;
        rest = c.cdr();
        if hare.is_back(&rest) {
            return signal("circular-list", [rest]);
        }
    }
    Ok(n)
}

fn nconc(a: &[Value]) -> Res {
    let mut whole = Value::Nil;
    for v in a {
        if whole.is_nil() {
            whole = v.clone();
        } else if v.is_true() {
            match &nthcdr(conses(&whole)? - 1, &whole)? {
                Value::Cons(c) => c.set_cdr(v.clone()),
                last => return wrong_type("consp", last),
            }
        }
    }
    Ok(whole)
}

fn map(cx: &mut Interp<'_>, f: &Value, sequence: &Value) -> Res<Vec<Value>> {
    let mut results = Vec::new();
    for item in elements(sequence)? {
        results.push(cx.funcall(f, vec![item])?);
    }
    Ok(results)
}

fn copy(v: &Value) -> Res {
    match v {
        Value::Nil => Ok(Value::Nil),
        Value::Cons(_) => Ok(Value::list(v.to_vec()?)),
        Value::Vector(_) => Ok(Value::vector(elements(v)?)),
        Value::Str(s) => Ok(Value::str(s.0.get().as_str())),
        v => wrong_type("sequencep", v),
    }
}

/// A list of the elements that do not fit; shares nothing with `list`.
fn without(list: &Value, fits: impl Fn(&Value) -> Res<bool>) -> Res<Vec<Value>> {
    let mut kept = Vec::new();
    for item in elements(list)? {
        if !fits(&item)? {
            kept.push(item);
        }
    }
    Ok(kept)
}

fn path(v: &Value, steps: &str) -> Res {
    let mut at = v.clone();
    for step in steps.chars().rev() {
        at = if step == 'a' { at.car()? } else { at.cdr()? };
    }
    Ok(at)
}

fn plist_tail(plist: &Value, key: &Value) -> Value {
    let mut rest = plist.clone();
    while let Value::Cons(c) = &rest {
        if c.car().eq(key) {
            return rest;
        }
        rest = c.cdr().cdr().unwrap_or_default();
    }
    Value::Nil
}

fn type_of(v: &Value) -> &'static str {
    match v {
        Value::Nil | Value::T | Value::Sym(_) => "symbol",
        Value::Int(_) => "integer",
        Value::Float(_) => "float",
        Value::Str(_) => "string",
        Value::Cons(_) | Value::Closure(_) => "cons",
        Value::Vector(_) => "vector",
        Value::Subr(_) => "subr",
        Value::Buffer(_) => "buffer",
        Value::Thread(_) => "thread",
        Value::Mutex(_) => "mutex",
        Value::Condvar(_) => "condition-variable",
        Value::Chan(_) => "channel",
        Value::Promise(_) => "promise",
    }
}

fn is_list(v: &Value) -> bool {
    matches!(v, Value::Nil | Value::Cons(_))
}

pub static SUBRS: &[Subr] = &[
    Subr::new("eq", 2, 2, |_, a| Ok(a[0].eq(&a[1]).into())),
    Subr::new("eql", 2, 2, |_, a| Ok(a[0].eql(&a[1]).into())),
    Subr::new("equal", 2, 2, |_, a| Ok(a[0].equal(&a[1])?.into())),
    Subr::new("not", 1, 1, |_, a| Ok(a[0].is_nil().into())),
    Subr::new("null", 1, 1, |_, a| Ok(a[0].is_nil().into())),
    Subr::new("consp", 1, 1, |_, a| Ok(matches!(a[0], Value::Cons(_) | Value::Closure(_)).into())),
    Subr::new(
        "atom",
        1,
        1,
        |_, a| Ok((!matches!(a[0], Value::Cons(_) | Value::Closure(_))).into()),
    ),
    Subr::new("listp", 1, 1, |_, a| Ok(is_list(&a[0]).into())),
    Subr::new("symbolp", 1, 1, |_, a| Ok(a[0].symbol_name().is_some().into())),
    Subr::new("keywordp", 1, 1, |_, a| Ok(matches!(&a[0], Value::Sym(s) if s.is_keyword()).into())),
    Subr::new("booleanp", 1, 1, |_, a| Ok(matches!(a[0], Value::Nil | Value::T).into())),
    Subr::new("vectorp", 1, 1, |_, a| Ok(matches!(a[0], Value::Vector(_)).into())),
    Subr::new("arrayp", 1, 1, |_, a| Ok(matches!(a[0], Value::Vector(_) | Value::Str(_)).into())),
    Subr::new("sequencep", 1, 1, |_, a| {
        Ok((is_list(&a[0]) || matches!(a[0], Value::Vector(_) | Value::Str(_))).into())
    }),
    Subr::new("functionp", 1, 1, |cx, a| Ok(cx.is_function(&a[0]).into())),
    Subr::new("subrp", 1, 1, |_, a| Ok(matches!(a[0], Value::Subr(_)).into())),
    Subr::new("type-of", 1, 1, |cx, a| Ok(cx.world.intern(type_of(&a[0])))),
    Subr::new("cons", 2, 2, |_, a| Ok(Value::cons(a[0].clone(), a[1].clone()))),
    Subr::many("list", 0, |_, a| Ok(Value::list(a.to_vec()))),
    Subr::new("car", 1, 1, |_, a| a[0].car()),
    Subr::new("cdr", 1, 1, |_, a| a[0].cdr()),
    Subr::new("car-safe", 1, 1, |_, a| Ok(a[0].car().unwrap_or_default())),
    Subr::new("cdr-safe", 1, 1, |_, a| Ok(a[0].cdr().unwrap_or_default())),
    Subr::new("caar", 1, 1, |_, a| path(&a[0], "aa")),
    Subr::new("cadr", 1, 1, |_, a| path(&a[0], "ad")),
    Subr::new("cdar", 1, 1, |_, a| path(&a[0], "da")),
    Subr::new("cddr", 1, 1, |_, a| path(&a[0], "dd")),
    Subr::new("caddr", 1, 1, |_, a| path(&a[0], "add")),
    Subr::new("cdddr", 1, 1, |_, a| path(&a[0], "ddd")),
    Subr::new("setcar", 2, 2, |_, a| match &a[0] {
        Value::Cons(c) => {
            c.set_car(a[1].clone());
            Ok(a[1].clone())
        }
        v => wrong_type("consp", v),
    }),
    Subr::new("setcdr", 2, 2, |_, a| match &a[0] {
        Value::Cons(c) => {
            c.set_cdr(a[1].clone());
            Ok(a[1].clone())
        }
        v => wrong_type("consp", v),
    }),
    Subr::new("nth", 2, 2, |_, a| nthcdr(a[0].int()?, &a[1])?.car()),
    Subr::new("nthcdr", 2, 2, |_, a| nthcdr(a[0].int()?, &a[1])),
    Subr::new("elt", 2, 2, |_, a| match &a[0] {
        v @ (Value::Cons(_) | Value::Nil) => {
            a[1].int()?;
            nthcdr(a[1].int()?, v)?.car()
        }
        v @ (Value::Vector(_) | Value::Str(_)) => aref(v, &a[1]),
        v => wrong_type("sequencep", v),
    }),
    Subr::new("last", 1, 2, |_, a| {
        let n = match a.get(1) {
            None | Some(Value::Nil) => 1,
            Some(v) => v.int()?,
        };
        nthcdr((conses(&a[0])? - n).max(0), &a[0])
    }),
    Subr::new("length", 1, 1, |_, a| Ok(length(&a[0])?.into())),
    Subr::new("proper-list-p", 1, 1, |_, a| match is_list(&a[0]) {
        true => Ok(length(&a[0]).map_or(Value::Nil, Value::from)),
        false => Ok(Value::Nil),
    }),
    Subr::many("append", 0, |_, a| append(a)),
    Subr::many("nconc", 0, |_, a| nconc(a)),
    Subr::new("reverse", 1, 1, |_, a| match &a[0] {
        Value::Vector(_) => {
            let items = elements(&a[0])?;
            Ok(Value::vector(items.into_iter().rev().collect()))
        }
        Value::Str(s) => {
            let reversed: String = s.0.get().as_str().chars().rev().collect();
            Ok(Value::str(reversed))
        }
        v => Ok(Value::list(elements(v)?.into_iter().rev().collect::<Vec<_>>())),
    }),
    Subr::new("nreverse", 1, 1, |_, a| match &a[0] {
        Value::Nil | Value::Cons(_) | Value::Vector(_) => nreverse(&a[0]),
        Value::Str(s) => {
            let reversed: String = s.0.get().as_str().chars().rev().collect();
            Ok(Value::str(reversed))
        }
        v => wrong_type("arrayp", v),
    }),
    Subr::new("memq", 2, 2, |_, a| find_tail(&a[1], |v| Ok(v.eq(&a[0])))),
    Subr::new("member", 2, 2, |_, a| find_tail(&a[1], |v| v.equal(&a[0]))),
    Subr::new("assq", 2, 2, |_, a| find_pair(&a[1], |k, _| Ok(k.eq(&a[0])))),
    Subr::new("rassq", 2, 2, |_, a| find_pair(&a[1], |_, v| Ok(v.eq(&a[0])))),
    Subr::new("assoc", 2, 3, |cx, a| match a.get(2) {
        None | Some(Value::Nil) => find_pair(&a[1], |k, _| k.equal(&a[0])),
        Some(test) => {
            for entry in a[1].items() {
                let entry = entry?;
                if let Value::Cons(c) = &entry
                    && cx.funcall(test, vec![c.car(), a[0].clone()])?.is_true()
                {
                    return Ok(entry);
                }
            }
            Ok(Value::Nil)
        }
    }),
    Subr::new("delq", 2, 2, |_, a| delete(&a[1], |v| Ok(v.eq(&a[0])))),
    Subr::new("delete", 2, 2, |_, a| match &a[1] {
        list @ (Value::Nil | Value::Cons(_)) => delete(list, |v| v.equal(&a[0])),
        v => Ok(Value::vector(without(v, |v| v.equal(&a[0]))?)),
    }),
    Subr::new("remq", 2, 2, |_, a| Ok(Value::list(without(&a[1], |v| Ok(v.eq(&a[0])))?))),
    Subr::new("remove", 2, 2, |_, a| {
        let kept = without(&a[1], |v| v.equal(&a[0]))?;
        Ok(match &a[1] {
            Value::Vector(_) => Value::vector(kept),
            _ => Value::list(kept),
        })
    }),
    Subr::new("copy-sequence", 1, 1, |_, a| copy(&a[0])),
    Subr::many("vector", 0, |_, a| Ok(Value::vector(a.to_vec()))),
    Subr::new("make-vector", 2, 2, |_, a| match a[0] {
        Value::Int(n @ 0..0x1000_0000) => Ok(Value::vector(vec![a[1].clone(); n as usize])),
        Value::Int(0..) => signal("overflow-error", []),
        ref v => wrong_type("wholenump", v),
    }),
    Subr::many("vconcat", 0, |_, a| {
        let mut items = Vec::new();
        for v in a {
            items.extend(elements(v)?);
        }
        Ok(Value::vector(items))
    }),
    Subr::new("aref", 2, 2, |_, a| aref(&a[0], &a[1])),
    Subr::new("aset", 3, 3, |_, a| aset(&a[0], &a[1], &a[2])),
    Subr::new("mapcar", 2, 2, |cx, a| Ok(Value::list(map(cx, &a[0], &a[1])?))),
    Subr::new("mapc", 2, 2, |cx, a| {
        map(cx, &a[0], &a[1])?;
        Ok(a[1].clone())
    }),
    Subr::new("mapcan", 2, 2, |cx, a| nconc(&map(cx, &a[0], &a[1])?)),
    Subr::new("mapconcat", 2, 3, |cx, a| {
        let mut out = String::new();
        let separator = match a.get(2) {
            None | Some(Value::Nil) => String::new(),
            Some(v) => v.text()?.as_str().to_string(),
        };
        for (i, piece) in map(cx, &a[0], &a[1])?.iter().enumerate() {
            if i > 0 {
                out += &separator;
            }
            for c in elements(piece)? {
                out.push(character(&c)?);
            }
        }
        Ok(Value::str(out))
    }),
    Subr::new("sort", 2, 2, sort),
    Subr::many("apply", 1, |cx, a| {
        let (last, first) = a.split_last().expect("at least one");
        let Some((f, spread)) = first.split_first() else {
            return cx.funcall(&last.car()?, last.cdr()?.to_vec()?);
        };
        let mut args = spread.to_vec();
        args.extend(last.to_vec()?);
        cx.funcall(f, args)
    }),
    Subr::many("funcall", 1, |cx, a| cx.funcall(&a[0], a[1..].to_vec())),
    Subr::new("identity", 1, 1, |_, a| Ok(a[0].clone())),
    Subr::many("ignore", 0, |_, _| Ok(Value::Nil)),
    Subr::new("plist-get", 2, 2, |_, a| plist_tail(&a[0], &a[1]).cdr()?.car()),
    Subr::new("get", 2, 2, |_, a| match &a[0] {
        Value::Nil | Value::T => Ok(Value::Nil),
        v => Ok(get_property(v.symbol()?, &a[1])),
    }),
    Subr::new("put", 3, 3, |_, a| {
        put_property(a[0].symbol()?, a[1].clone(), a[2].clone());
        Ok(a[2].clone())
    }),
    Subr::new("number-sequence", 1, 3, |_, a| {
        let from = a[0].int()?;
        let to = match a.get(1) {
            None | Some(Value::Nil) => from,
            Some(v) => v.int()?,
        };
        let step = match a.get(2) {
            None | Some(Value::Nil) => 1,
            Some(Value::Int(0)) => return error("The step size must not be zero"),
            Some(v) => v.int()?,
        };
        let mut items = Vec::new();
        let mut n = from;
        while if step > 0 { n <= to } else { n >= to } {
            items.push(Value::Int(n));
            n += step;
        }
        Ok(Value::list(items))
    }),
];
