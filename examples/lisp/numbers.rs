//! Arithmetic. Integers have 64 bits; a result that needs more signals overflow-error.

use std::cmp::Ordering;

use crate::eval::Interp;
use crate::value::{Res, Subr, Value, signal, wrong_type};

#[derive(Clone, Copy)]
enum Number {
    Int(i64),
    Float(f64),
}

use Number::{Float, Int};

impl Number {
    fn of(v: &Value) -> Res<Number> {
        match v {
            Value::Int(n) => Ok(Int(*n)),
            Value::Float(x) => Ok(Float(**x)),
            v => wrong_type("number-or-marker-p", v),
        }
    }

    fn to_f64(self) -> f64 {
        match self {
            Int(n) => n as f64,
            Float(x) => x,
        }
    }

    fn compare(self, other: Number) -> Option<Ordering> {
        match (self, other) {
            (Int(a), Int(b)) => Some(a.cmp(&b)),
            (Float(a), Float(b)) => a.partial_cmp(&b),
            (Int(a), Float(b)) => compare_mixed(a, b),
            (Float(a), Int(b)) => compare_mixed(b, a).map(Ordering::reverse),
        }
    }
}

/// Exact, where `a as f64` would round.
fn compare_mixed(a: i64, b: f64) -> Option<Ordering> {
    let rounded = (a as f64).partial_cmp(&b)?;
    if rounded != Ordering::Equal || b.abs() >= 9.3e18 {
        return Some(rounded);
    }
    Some((a as i128).cmp(&(b as i128)))
}

impl From<Number> for Value {
    fn from(n: Number) -> Value {
        match n {
            Int(n) => Value::Int(n),
            Float(x) => Value::float(x),
        }
    }
}

fn overflow<T>() -> Res<T> {
    signal("overflow-error", [])
}

/// Folds `rest` onto `first`, in integers as long as all are integers.
fn fold(
    first: &Value,
    rest: &[Value],
    int: fn(i64, i64) -> Option<i64>,
    float: fn(f64, f64) -> f64,
) -> Res {
    let mut total = Number::of(first)?;
    for v in rest {
        total = match (total, Number::of(v)?) {
            (Int(a), Int(b)) => match int(a, b) {
                Some(n) => Int(n),
                None => return overflow(),
            },
            (a, b) => Float(float(a.to_f64(), b.to_f64())),
        };
    }
    Ok(total.into())
}

fn plus(_: &mut Interp<'_>, a: &[Value]) -> Res {
    match a {
        [] => Ok(Value::Int(0)),
        [first, rest @ ..] => fold(first, rest, i64::checked_add, |a, b| a + b),
    }
}

fn times(_: &mut Interp<'_>, a: &[Value]) -> Res {
    match a {
        [] => Ok(Value::Int(1)),
        [first, rest @ ..] => fold(first, rest, i64::checked_mul, |a, b| a * b),
    }
}

fn minus(_: &mut Interp<'_>, a: &[Value]) -> Res {
    match a {
        [] => Ok(Value::Int(0)),
        [one] => match Number::of(one)? {
            Int(n) => n.checked_neg().map_or_else(overflow, |n| Ok(Value::Int(n))),
            Float(x) => Ok(Value::float(-x)),
        },
        [first, rest @ ..] => fold(first, rest, i64::checked_sub, |a, b| a - b),
    }
}

fn divide(_: &mut Interp<'_>, a: &[Value]) -> Res {
    // With any float among them, all divide as floats.
    let mut numbers = Vec::with_capacity(a.len());
    for v in a {
        numbers.push(Number::of(v)?);
    }
    if let [one] = numbers[..] {
        numbers = vec![Int(1), one];
    }
    if numbers.iter().any(|n| matches!(n, Float(_))) {
        let mut total = numbers[0].to_f64();
        for n in &numbers[1..] {
            total /= n.to_f64();
        }
        return Ok(Value::float(total));
    }
    let Int(mut total) = numbers[0] else { unreachable!("no floats here") };
    for n in &numbers[1..] {
        let Int(n) = *n else { unreachable!("no floats here") };
        if n == 0 {
            return signal("arith-error", []);
        }
        total = match total.checked_div(n) {
            Some(n) => n,
            None => return overflow(),
        };
    }
    Ok(Value::Int(total))
}

fn integer(v: &Value) -> Res<i64> {
    match v {
        Value::Int(n) => Ok(*n),
        v => wrong_type("integer-or-marker-p", v),
    }
}

fn remainder(_: &mut Interp<'_>, a: &[Value]) -> Res {
    let (x, y) = (integer(&a[0])?, integer(&a[1])?);
    match y {
        0 => signal("arith-error", []),
        y => Ok(Value::Int(x.wrapping_rem(y))),
    }
}

fn modulo(_: &mut Interp<'_>, a: &[Value]) -> Res {
    match (Number::of(&a[0])?, Number::of(&a[1])?) {
        (Int(_), Int(0)) => signal("arith-error", []),
        (Int(x), Int(y)) => {
            let r = x.wrapping_rem(y);
            Ok(Value::Int(if r != 0 && (r < 0) != (y < 0) { r + y } else { r }))
        }
        (x, y) => {
            let (x, y) = (x.to_f64(), y.to_f64());
            let r = x % y;
            Ok(Value::float(if r != 0.0 && (r < 0.0) != (y < 0.0) { r + y } else { r }))
        }
    }
}

/// Does `holds` hold between each two neighbours?
fn chain(a: &[Value], holds: fn(Option<Ordering>) -> bool) -> Res {
    let mut all = true;
    let mut last = Number::of(&a[0])?;
    for v in &a[1..] {
        let next = Number::of(v)?;
        all = all && holds(last.compare(next));
        last = next;
    }
    Ok(all.into())
}

/// The first argument that no other one is `than`.
fn extreme(a: &[Value], than: Ordering) -> Res {
    let mut best = Number::of(&a[0])?;
    for v in &a[1..] {
        let next = Number::of(v)?;
        let is_nan = matches!(best, Float(x) if x.is_nan());
        if !is_nan && next.compare(best).is_none_or(|o| o == than) {
            best = next;
        }
    }
    Ok(best.into())
}

/// floor, ceiling, round and truncate: of X, or of X / DIVISOR.
fn rounded(a: &[Value], round: fn(f64) -> f64, int: fn(i128, i128) -> i128) -> Res {
    let number = |v: &Value| match v {
        Value::Int(_) | Value::Float(_) => Number::of(v),
        v => wrong_type("numberp", v),
    };
    let n = number(&a[0])?;
    let divisor = match a.get(1) {
        None | Some(Value::Nil) => Int(1),
        Some(v) => number(v)?,
    };
    let quotient = match (n, divisor) {
        (_, Int(0)) => return signal("arith-error", []),
        (Int(x), Int(y)) => int(x as i128, y as i128) as f64,
        (x, y) => round(x.to_f64() / y.to_f64()),
    };
    if let (Int(x), Int(y)) = (n, divisor) {
        return match i64::try_from(int(x as i128, y as i128)) {
            Ok(n) => Ok(Value::Int(n)),
            Err(_) => overflow(),
        };
    }
    if quotient.abs() < 9.2e18 { Ok(Value::Int(quotient as i64)) } else { overflow() }
}

fn round_half_even(x: i128, y: i128) -> i128 {
    let (floor, rest) = (x.div_euclid(y), x.rem_euclid(y));
    match (2 * rest).cmp(&y.abs()) {
        Ordering::Less => floor,
        Ordering::Greater => floor + y.signum(),
        Ordering::Equal if floor % 2 == 0 => floor,
        Ordering::Equal => floor + y.signum(),
    }
}

fn floor_div(x: i128, y: i128) -> i128 {
    let q = x / y;
    q - i128::from(x % y != 0 && (x < 0) != (y < 0))
}

fn expt(_: &mut Interp<'_>, a: &[Value]) -> Res {
    match (Number::of(&a[0])?, Number::of(&a[1])?) {
        (Int(x), Int(y)) if y >= 0 => {
            let power = u32::try_from(y).ok().and_then(|y| x.checked_pow(y));
            power.map_or_else(overflow, |n| Ok(Value::Int(n)))
        }
        (x, y) => Ok(Value::float(x.to_f64().powf(y.to_f64()))),
    }
}

fn float_fn(v: &Value, f: fn(f64) -> f64) -> Res {
    match v {
        Value::Int(_) | Value::Float(_) => Ok(Value::float(f(Number::of(v)?.to_f64()))),
        v => wrong_type("numberp", v),
    }
}

fn logical(a: &[Value], start: i64, f: fn(i64, i64) -> i64) -> Res {
    let mut total = start;
    for v in a {
        total = f(total, integer(v)?);
    }
    Ok(Value::Int(total))
}

pub static SUBRS: &[Subr] = &[
    Subr::new("integerp", 1, 1, |_, a| Ok(matches!(a[0], Value::Int(_)).into())),
    Subr::new("natnump", 1, 1, |_, a| Ok(matches!(a[0], Value::Int(0..)).into())),
    Subr::new("floatp", 1, 1, |_, a| Ok(matches!(a[0], Value::Float(_)).into())),
    Subr::new("numberp", 1, 1, |_, a| Ok(Number::of(&a[0]).is_ok().into())),
    Subr::new("characterp", 1, 2, |_, a| Ok(matches!(a[0], Value::Int(0..=0x3f_ffff)).into())),
    Subr::many("+", 0, plus),
    Subr::many("*", 0, times),
    Subr::many("-", 0, minus),
    Subr::many("/", 1, divide),
    Subr::new("%", 2, 2, remainder),
    Subr::new("mod", 2, 2, modulo),
    Subr::new("1+", 1, 1, |cx, a| plus(cx, &[a[0].clone(), Value::Int(1)])),
    Subr::new("1-", 1, 1, |cx, a| minus(cx, &[a[0].clone(), Value::Int(1)])),
    Subr::many("=", 1, |_, a| chain(a, |o| o == Some(Ordering::Equal))),
    Subr::many("<", 1, |_, a| chain(a, |o| o == Some(Ordering::Less))),
    Subr::many(">", 1, |_, a| chain(a, |o| o == Some(Ordering::Greater))),
    Subr::many("<=", 1, |_, a| chain(a, |o| o.is_some_and(Ordering::is_le))),
    Subr::many(">=", 1, |_, a| chain(a, |o| o.is_some_and(Ordering::is_ge))),
    Subr::new("/=", 2, 2, |_, a| chain(a, |o| o != Some(Ordering::Equal))),
    Subr::many("max", 1, |_, a| extreme(a, Ordering::Greater)),
    Subr::many("min", 1, |_, a| extreme(a, Ordering::Less)),
    Subr::new("abs", 1, 1, |_, a| match &a[0] {
        Value::Int(n) => n.checked_abs().map_or_else(overflow, |n| Ok(Value::Int(n))),
        Value::Float(x) => Ok(Value::float(x.abs())),
        v => wrong_type("numberp", v),
    }),
    Subr::new("random", 0, 1, |cx, a| {
        let limit = match a.first() {
            Some(Value::Int(n)) if *n > 0 => *n,
            _ => 1 << 61,
        };
        let seed = std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_nanos() as u64);
        // splitmix64
        let mut z = seed.wrapping_add(cx.world.ids.next().wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(Value::Int(((z ^ (z >> 31)) % limit as u64) as i64))
    }),
    Subr::new("float", 1, 1, |_, a| float_fn(&a[0], |x| x)),
    Subr::new("sqrt", 1, 1, |_, a| float_fn(&a[0], f64::sqrt)),
    Subr::new("expt", 2, 2, expt),
    Subr::new("truncate", 1, 2, |_, a| rounded(a, f64::trunc, |x, y| x / y)),
    Subr::new("floor", 1, 2, |_, a| rounded(a, f64::floor, floor_div)),
    Subr::new("ceiling", 1, 2, |_, a| rounded(a, f64::ceil, |x, y| -floor_div(-x, y))),
    Subr::new("round", 1, 2, |_, a| rounded(a, f64::round_ties_even, round_half_even)),
    Subr::many("logand", 0, |_, a| logical(a, -1, |x, y| x & y)),
    Subr::many("logior", 0, |_, a| logical(a, 0, |x, y| x | y)),
    Subr::new("lognot", 1, 1, |_, a| Ok(Value::Int(!integer(&a[0])?))),
    Subr::new("ash", 2, 2, shift),
];

fn shift(_: &mut Interp<'_>, a: &[Value]) -> Res {
    let (n, by) = (a[0].int()?, a[1].int()?);
    if by <= 0 {
        return Ok(Value::Int(n >> (-by).min(63)));
    }
    let shifted = (n as i128) << by.min(64);
    match i64::try_from(shifted) {
        Ok(n) => Ok(Value::Int(n)),
        Err(_) => overflow(),
    }
}
