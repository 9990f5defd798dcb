//! The words that a VM author gets from `selvedge::model`: each is explored, its orderings count, its operations exclude
//! each other.
#![cfg(selvedge_loom)]

use loom_tests::explore;
use selvedge::model::{
    AtomicBool, AtomicIsize, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{self, *},
    thread,
};
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::Arc;

/// A word that is clear or set.
trait Word: Send + Sync + 'static {
    fn clear() -> Self;
    fn set(&self, o: Ordering);
    fn is_set(&self, o: Ordering) -> bool;
    /// By a swap. Was it set?
    fn swap(&self) -> bool;
    /// By a compare-exchange. Was it set?
    fn exchange(&self) -> bool;
}

macro_rules! word {
    ($t:ty, $clear:expr, $set:expr) => {
        impl Word for $t {
            fn clear() -> Self {
                Self::new($clear)
            }
            fn set(&self, o: Ordering) {
                self.store($set, o);
            }
            fn is_set(&self, o: Ordering) -> bool {
                self.load(o) == $set
            }
            fn swap(&self) -> bool {
                self.swap($set, Relaxed) == $set
            }
            fn exchange(&self) -> bool {
                self.compare_exchange($clear, $set, Relaxed, Relaxed).is_err()
            }
        }
    };
}
word!(AtomicBool, false, true);
word!(AtomicU8, 0, u8::MAX);
word!(AtomicU32, 0, u32::MAX);
word!(AtomicU64, 0, u64::MAX);
word!(AtomicUsize, 0, usize::MAX);
word!(AtomicIsize, 0, -1);
word!(AtomicPtr<u8>, null_mut(), without_provenance_mut(8));

/// What two threads get from two clear words, in all schedules: a digit for each answer.
fn two<W: Word>(left: fn([&W; 2]) -> Vec<bool>, right: fn([&W; 2]) -> Vec<bool>) -> Vec<String> {
    let seen = explore(None, 2, move || {
        let words = Arc::new([W::clear(), W::clear()]);
        let t = thread::spawn({
            let words = words.clone();
            move || left(words.each_ref())
        });
        let mine = right(words.each_ref());
        let all = [t.join().unwrap(), mine].concat();
        all.into_iter().map(|set| if set { '1' } else { '0' }).collect()
    });
    seen.outcomes.into_keys().collect()
}

/// Two threads each set one word and read the other; one sets two words in order and another reads them in the opposite
/// order, with and without orderings; both set one word by read-modify-writes.
fn litmus<W: Word>() {
    let seen = two::<W>(
        |[x, y]| {
            x.set(Relaxed);
            vec![y.is_set(Relaxed)]
        },
        |[x, y]| {
            y.set(Relaxed);
            vec![x.is_set(Relaxed)]
        },
    );
    assert_eq!(seen, ["00", "01", "10", "11"], "store buffering");
    let seen = two::<W>(
        |[x, y]| {
            x.set(Relaxed);
            y.set(Release);
            vec![]
        },
        |[x, y]| vec![y.is_set(Acquire), x.is_set(Relaxed)],
    );
    assert_eq!(seen, ["00", "01", "11"], "message passing");
    let seen = two::<W>(
        |[x, y]| {
            x.set(Relaxed);
            y.set(Relaxed);
            vec![]
        },
        |[x, y]| vec![y.is_set(Relaxed), x.is_set(Relaxed)],
    );
    assert_eq!(seen, ["00", "01", "10", "11"], "message passing, relaxed");
    let seen = two::<W>(|[x, _]| vec![x.swap()], |[x, _]| vec![x.exchange()]);
    assert_eq!(seen, ["01", "10"], "one is first");
    println!("\nSELFTEST {} | 4 programs, as in the textbook", std::any::type_name::<W>());
}

#[test]
fn each_word_is_explored() {
    litmus::<AtomicBool>();
    litmus::<AtomicU8>();
    litmus::<AtomicU32>();
    litmus::<AtomicU64>();
    litmus::<AtomicUsize>();
    litmus::<AtomicIsize>();
    litmus::<AtomicPtr<u8>>();
}

/// The numbers count, to their own width; the bits are bits.
#[test]
fn the_arithmetic_is_that_of_std() {
    let seen = explore(None, 1, || {
        let (a, b) = (AtomicU8::new(255), AtomicIsize::new(isize::MIN));
        assert_eq!((a.fetch_add(2, Relaxed), a.load(Relaxed)), (255, 1));
        assert_eq!((b.fetch_sub(1, Relaxed), b.load(Relaxed)), (isize::MIN, isize::MAX));
        let c = AtomicUsize::new(0b1100);
        assert_eq!((c.fetch_and(0b0110, Relaxed), c.fetch_or(1, Relaxed)), (0b1100, 0b0100));
        assert_eq!(c.load(Relaxed), 0b0101);
        let d = AtomicBool::new(true);
        assert!(d.fetch_and(false, Relaxed) && !d.fetch_or(true, Relaxed) && d.load(Relaxed));
        String::new()
    });
    assert_eq!(seen.executions, 1);
}
