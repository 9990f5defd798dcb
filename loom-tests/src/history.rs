//! Linearizability of a small history: is there one order of its operations that the sequential object allows?
//!
//! The order must keep each thread's own order and whatever `before` adds: precedence that the model itself made by
//! spawn and join. It is never taken from a clock. loom runs one thread at a time, and an operation that merely runs
//! later may lawfully read older data.

/// One finished operation. A thread's operations stand in the history in the order it did them.
#[derive(Clone, Debug)]
pub struct Done<O> {
    /// Which thread did it.
    pub thread: usize,
    /// What it did and what it got.
    pub op: O,
}

/// Whether some order of `ops` takes the object from `state` through all of them. `step` does one operation and says
/// whether its result is the one recorded; `before(i, j)`: `ops[i]` had ended when `ops[j]` began.
///
/// # Panics
/// If there are more than 32 operations.
pub fn linearizable<S: Clone, O>(
    ops: &[Done<O>],
    state: S,
    before: impl Fn(usize, usize) -> bool,
    step: impl Fn(&mut S, &O) -> bool,
) -> bool {
    assert!(ops.len() <= 32, "HARNESS the history is too long");
    let precedes = |i: usize, j: usize| before(i, j) || ops[i].thread == ops[j].thread && i < j;
    search(0, ops, &state, &precedes, &step)
}

/// Depth first over the sets of operations already done, one bit each.
fn search<S: Clone, O>(
    done: u32,
    ops: &[Done<O>],
    state: &S,
    precedes: &impl Fn(usize, usize) -> bool,
    step: &impl Fn(&mut S, &O) -> bool,
) -> bool {
    let is_done = |i: usize| done >> i & 1 == 1;
    if (0..ops.len()).all(is_done) {
        return true;
    }
    let may_be_next =
        |i: usize| !is_done(i) && (0..ops.len()).all(|j| j == i || is_done(j) || !precedes(j, i));
    (0..ops.len()).filter(|&i| may_be_next(i)).any(|i| {
        let mut next = state.clone();
        step(&mut next, &ops[i].op) && search(done | 1 << i, ops, &next, precedes, step)
    })
}
