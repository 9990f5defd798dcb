//! Models of `park`: the lock bit of the queues. In every other model loom's mutex stands for it.
#![cfg(selvedge_loom)]

use loom_tests::check;
use loom_tests::scene::Log;
use selvedge::model::{internals::SpinLock, thread};
use std::sync::Arc;

/// Two threads, one section each. Kills queue E1, both sides. Bound: none.
#[test]
fn the_lock_bit_excludes_and_publishes() {
    check("park.lock_bit", None, 39, &["ab", "ba"], || {
        let s = Arc::new((SpinLock::default(), Log::new()));
        let t = thread::spawn({
            let s = s.clone();
            move || s.0.with(|| s.1.put("b"))
        });
        s.0.with(|| s.1.put("a"));
        t.join().unwrap();
        s.1.get()
    });
}
