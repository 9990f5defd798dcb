//! Faults that a tool must see before its silence means anything: `scripts/tsan` and `scripts/miri` run them, each on
//! its own, and want a report. In no other build do they exist.
#![cfg(any(selvedge_tsan, miri))]

use selvedge::{Mutex, Runtime};
use std::cell::UnsafeCell;
use std::sync::{Arc, Barrier};

struct Counter(Mutex, UnsafeCell<u64>);
// SAFETY: in `race_mended` touched under the mutex only. In `race` this is the fault.
unsafe impl Sync for Counter {}

/// Two threads of one runtime count; `locked` says which of them lock.
fn count(locked: [bool; 2]) {
    let vm = Runtime::new();
    let mut cx = vm.attach("main").unwrap();
    let counter = Arc::new(Counter(Mutex::new(), UnsafeCell::new(0)));
    // Else the first thread could end before the second begins, and its end is an edge.
    let both_run = Arc::new(Barrier::new(2));
    let threads = locked.map(|locked| {
        let (counter, both_run) = (counter.clone(), both_run.clone());
        let h = vm.spawn((), move |cx| {
            both_run.wait();
            for _ in 0..100 {
                let _held = locked.then(|| counter.0.lock(cx).unwrap());
                // SAFETY: under the mutex, or the fault.
                unsafe { *counter.1.get() += 1 };
            }
            Ok::<_, ()>(())
        });
        h.unwrap()
    });
    for t in threads {
        t.join(&mut cx).unwrap();
    }
    // SAFETY: both threads are over.
    assert!(unsafe { *counter.1.get() } > 0);
}

#[test]
#[ignore = "a data race, for a tool to find"]
fn race() {
    count([true, false]);
}

#[test]
#[ignore = "the same without the race, for a tool to be silent about"]
fn race_mended() {
    count([true, true]);
}
