//! The model that docs/GUIDE.md shows to VM authors, word for word, and its planted bug, which must be found.
#![cfg(selvedge_loom)]

// guide: the block of its last chapter
#[cfg(selvedge_loom)]
use selvedge::model::{AtomicU32, AtomicU64, Ordering::*};
#[cfg(not(selvedge_loom))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use selvedge::{Context, LockError, Mutex, Runtime};
use std::sync::Arc;

/// A constant that is computed by who needs it first.
struct Constant<const BUG: bool> {
    lock: Mutex,
    made: AtomicU32,
    value: AtomicU64,
}

impl<const BUG: bool> Constant<BUG> {
    fn new() -> Self {
        Self { lock: Mutex::new(), made: AtomicU32::new(0), value: AtomicU64::new(0) }
    }

    fn get(&self, cx: &mut impl Context) -> Result<u64, LockError> {
        if self.made.load(Acquire) == 0 {
            let _held = self.lock.lock(cx)?;
            if self.made.load(Relaxed) == 0 {
                self.value.store(42, Relaxed);
                self.made.store(1, if BUG { Relaxed } else { Release });
            }
        }
        Ok(self.value.load(Relaxed))
    }
}

/// Two threads need the constant at the same time: both get it.
fn two_threads_need_it<const BUG: bool>() {
    let vm = Runtime::new();
    let mut cx = vm.attach("main").unwrap();
    let constant = Arc::new(Constant::<BUG>::new());
    let theirs = constant.clone();
    let other = vm.spawn("other", move |cx| theirs.get(cx)).unwrap();
    assert_eq!(constant.get(&mut cx), Ok(42));
    assert_eq!(other.join(&mut cx).unwrap(), 42);
}

#[cfg(selvedge_loom)]
#[test]
fn a_constant_is_whole_when_it_is_seen() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(two_threads_need_it::<false>);
}

#[cfg(not(selvedge_loom))]
fn main() {
    two_threads_need_it::<false>();
}
// guide: end

use loom_tests::{apart, check};

/// The same through this crate's harness. 2 threads, the constant made by either. Kills a flag set too weakly. Bound 2.
#[test]
fn both_threads_get_the_constant() {
    check("guide.constant", Some(2), 5_000, &["done"], || {
        two_threads_need_it::<false>();
        "done".into()
    });
}

#[test]
fn the_planted_bug_is_found() {
    let (passed, printed) = apart("planted", &[]);
    let found = printed.contains("RED guide.planted | assertion `left == right` failed");
    assert!(!passed && found && printed.contains("left: 0\n"), "{printed}");
    println!("\nSELFTEST guide.planted | fails as it must");
}

#[test]
#[ignore = "red on purpose"]
fn planted() {
    check("guide.planted", Some(2), 1, &["done"], || {
        two_threads_need_it::<true>();
        "done".into()
    });
}

/// A reader of the guide sees the code that runs here.
#[test]
fn the_guide_shows_this_code() {
    let (me, guide) = (include_str!("guide.rs"), include_str!("../../docs/GUIDE.md"));
    let (_, from) = me.split_once("of its last chapter\n").unwrap();
    let (code, _) = from.split_once("// guide: end\n").unwrap();
    assert!(guide.contains(&format!("```rust\n{code}```\n")), "docs/GUIDE.md shows other code");
}
