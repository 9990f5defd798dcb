//! The linearizability search: on histories written down by hand, and on a counter that is right and one that is not.
#![cfg(selvedge_loom)]

use loom_tests::history::{Done, linearizable};
use loom_tests::{check, explore};
use selvedge::model::{AtomicU32, thread};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Operations of a queue, with their results.
#[derive(Clone)]
enum Queue {
    Push(u32),
    Pop(Option<u32>),
}

fn is_queue(ops: &[(usize, Queue)], before: impl Fn(usize, usize) -> bool) -> bool {
    let done = |(thread, op): &(usize, Queue)| Done { thread: *thread, op: op.clone() };
    let ops: Vec<_> = ops.iter().map(done).collect();
    linearizable(&ops, vec![], before, |queue: &mut Vec<u32>, op| match *op {
        Queue::Push(v) => {
            queue.push(v);
            true
        }
        Queue::Pop(None) => queue.is_empty(),
        Queue::Pop(Some(v)) => !queue.is_empty() && queue.remove(0) == v,
    })
}

#[test]
fn histories_by_hand() {
    use Queue::{Pop, Push};
    let unordered = |_, _| false;
    let two_pushes = |a, b| {
        let pushes = [(0, Push(1)), (1, Push(2))];
        [&pushes[..], &[(2, Pop(a)), (2, Pop(b))]].concat()
    };
    assert!(is_queue(&two_pushes(Some(1), Some(2)), unordered));
    assert!(is_queue(&two_pushes(Some(2), Some(1)), unordered));
    assert!(is_queue(&two_pushes(None, Some(2)), unordered));
    assert!(!is_queue(&two_pushes(Some(1), Some(1)), unordered));
    // The push of 1 had ended when the push of 2 began: they come out in this order.
    let first_push_first = |a, b| (a, b) == (0, 1);
    assert!(is_queue(&two_pushes(Some(1), Some(2)), first_push_first));
    assert!(!is_queue(&two_pushes(Some(2), Some(1)), first_push_first));
    // A thread's own order counts without being told.
    assert!(!is_queue(&[(0, Push(1)), (0, Pop(None))], unordered));
    assert!(is_queue(&[(0, Push(1)), (1, Pop(None))], unordered));
}

/// Two threads bump the counter twice each: whether what they read is what a counter gives.
fn counter(bump: fn(&AtomicU32) -> u32) -> String {
    let counter = Arc::new(AtomicU32::new(0));
    let spawn = |thread| {
        let counter = counter.clone();
        thread::spawn(move || {
            let done = |_| Done { thread, op: bump(&counter) };
            (0..2).map(done).collect::<Vec<_>>()
        })
    };
    let threads: Vec<_> = (0..2).map(spawn).collect();
    let ops: Vec<_> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    let step = |count: &mut u32, read: &u32| {
        *count += 1;
        *read == *count - 1
    };
    linearizable(&ops, 0, |_, _| false, step).to_string()
}

/// 2 threads, 2 increments each. Bound: none.
#[test]
fn an_atomic_increment_is_linearizable() {
    let name = "self.an_atomic_increment_is_linearizable";
    check(name, None, 15, &["true"], || counter(|c| c.fetch_add(1, Relaxed)));
}

/// 2 threads, 2 increments each. Bound: none.
#[test]
fn a_load_and_a_store_are_not() {
    let seen = explore(None, 3, || {
        counter(|c| {
            let n = c.load(Relaxed);
            c.store(n + 1, Relaxed);
            n
        })
    });
    let outcomes: Vec<_> = seen.outcomes.keys().collect();
    println!("\nSELFTEST lost update | executions {} | {outcomes:?}", seen.executions);
    assert_eq!(outcomes, ["false", "true"]);
}
