//! Atomics that now and then sleep before they act: under `--cfg selvedge_chaos` they stand for std's.
//!
//! The scheduler of the system seldom stops a thread between two atomic operations; here that happens all the time, and
//! for up to 20 ms. `SELVEDGE_SEED=n` seeds the draws; without it the seed is drawn. It is printed at the first draw. A
//! seed gives each thread the same draws again, by the order in which threads meet their first atomic; it does not give
//! the same schedule.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{self, Ordering};
use std::time::Duration;

/// One operation in so many sleeps.
const RARELY: u64 = 500;
const LONGEST: Duration = Duration::from_millis(20);

/// Marsaglia's xorshift. Never 0.
fn step(mut x: u64) -> u64 {
    x ^= x << 13;
    x ^= x >> 7;
    x ^ (x << 17)
}

/// The states after `draw`, and how long to sleep. Most sleeps are short: each halving is as likely as the next.
fn drawn(draw: u64) -> (u64, Option<Duration>) {
    let next = step(draw);
    let sleeps = (next >> 32).is_multiple_of(RARELY);
    (next, sleeps.then(|| LONGEST / (1 << (next & 15))))
}

fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| {
        let given = std::env::var("SELVEDGE_SEED").ok();
        let seed = match given {
            Some(text) => text.parse().expect("SELVEDGE_SEED is a number"),
            None => std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0u8),
        };
        eprintln!("SELVEDGE_SEED={seed}");
        seed
    })
}

thread_local! {
    /// 0: the thread has not drawn yet. Without a destructor: threads use atomics to their end.
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// The first draw of the `nth` thread.
fn first(seed: u64, nth: u64) -> u64 {
    // Neighbouring seeds and threads shall not draw alike.
    let x = (seed ^ nth.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    step(step(x | 1))
}

fn disturb() {
    static THREADS: atomic::AtomicU64 = atomic::AtomicU64::new(0);
    let state = match STATE.get() {
        // ORDERING: Relaxed. A number that no other thread gets.
        0 => first(seed(), THREADS.fetch_add(1, Ordering::Relaxed)),
        state => state,
    };
    let (next, sleep) = drawn(state);
    STATE.set(next);
    if let Some(time) = sleep {
        std::thread::sleep(time);
    }
}

macro_rules! atomic {
    ($name:ident, [$($generic:tt)*], $t:ty, $cell:ty) => {
        /// std's atomic, disturbed.
        #[derive(Debug)]
        #[repr(transparent)]
        pub(crate) struct $name $($generic)* ($cell);
        #[allow(dead_code)]
        impl $($generic)* $name $($generic)* {
            pub(crate) const fn new(value: $t) -> Self {
                Self(<$cell>::new(value))
            }
            pub(crate) fn as_ptr(&self) -> *mut $t {
                self.0.as_ptr()
            }
            pub(crate) fn load(&self, o: Ordering) -> $t {
                disturb();
                self.0.load(o)
            }
            pub(crate) fn store(&self, value: $t, o: Ordering) {
                disturb();
                self.0.store(value, o);
            }
            pub(crate) fn swap(&self, value: $t, o: Ordering) -> $t {
                disturb();
                self.0.swap(value, o)
            }
            pub(crate) fn compare_exchange(&self, from: $t, to: $t, ok: Ordering, no: Ordering) -> Result<$t, $t> {
                disturb();
                self.0.compare_exchange(from, to, ok, no)
            }
        }
    };
}
macro_rules! integer {
    ($name:ident, $t:ty) => {
        atomic!($name, [], $t, atomic::$name);
        #[allow(dead_code)]
        impl $name {
            pub(crate) fn fetch_add(&self, value: $t, o: Ordering) -> $t {
                disturb();
                self.0.fetch_add(value, o)
            }
            pub(crate) fn fetch_sub(&self, value: $t, o: Ordering) -> $t {
                disturb();
                self.0.fetch_sub(value, o)
            }
            pub(crate) fn fetch_or(&self, value: $t, o: Ordering) -> $t {
                disturb();
                self.0.fetch_or(value, o)
            }
            pub(crate) fn fetch_and(&self, value: $t, o: Ordering) -> $t {
                disturb();
                self.0.fetch_and(value, o)
            }
        }
    };
}
integer!(AtomicU32, u32);
integer!(AtomicU64, u64);
atomic!(AtomicPtr, [<T>], *mut T, atomic::AtomicPtr<T>);

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeps(mut state: u64) -> Vec<Option<Duration>> {
        (0..200_000)
            .map(|_| {
                let (next, sleep) = drawn(state);
                state = next;
                sleep
            })
            .collect()
    }

    #[test]
    fn a_seed_repeats_its_draws_and_another_does_not() {
        assert_eq!(sleeps(first(7, 0)), sleeps(first(7, 0)));
        assert_ne!(sleeps(first(7, 0)), sleeps(first(8, 0)));
        assert_ne!(sleeps(first(7, 0)), sleeps(first(7, 1)));
    }

    #[test]
    fn sleeps_are_rare_short_and_long() {
        let drawn: Vec<Duration> = sleeps(first(1, 0)).into_iter().flatten().collect();
        assert!((200..800).contains(&drawn.len()), "{}", drawn.len());
        assert_eq!(drawn.iter().max(), Some(&LONGEST));
        assert!(drawn.iter().min().is_some_and(|d| *d < Duration::from_micros(10)));
    }
}
