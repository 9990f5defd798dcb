//! The one room that names `std::sync`, `std::thread`, `UnsafeCell` and `loom`.
//!
//! | name                          | natively                      | under `--cfg selvedge_loom`                 | under `--cfg selvedge_shuttle` |
//! |-------------------------------|-------------------------------|---------------------------------------------|--------------------------------|
//! | `AtomicU32`, `U64`, `Ptr`     | std                           | loom, with the companion store (`model.rs`) | shuttle                        |
//! | `AtomicBool`, `U8`, ..        | -                             | the same, for a VM's own models             | -                              |
//! | `UnsafeCell`                  | std, behind `with`/`with_mut` | loom: every access is checked for races     | std; an overlap panics         |
//! | `Mutex`                       | std, never poisoned           | loom                                        | shuttle                        |
//! | `Parker`                      | futex, or std mutex + condvar | `loom::sync::Notify`, one sleeper           | shuttle's mutex + condvar      |
//! | `spawn`, `pause`, `yield_now` | std                           | loom                                        | shuttle                        |
//! | `light_fence`, `heavy_fence`  | a compiler fence, membarrier(2) | full fences                               | nothing                        |
//! | `fence_after_rmw`             | a fence; on x86 the compiler's  | a full fence                              | nothing                        |
//! | `expired`                     | compares with the clock       | true: every deadline may fire at once       | a draw                         |
//! | `planted`, `planting`         | false                         | a protocol fault that a test asked for      | the same                       |
//!
//! The gates are the cfgs alone; the features only add the packages. `--cfg selvedge_chaos` makes native atomics sleep now
//! and then (`chaos.rs`). What loom cannot model panics here; it is not quietly approximated.

#[cfg(all(selvedge_loom, not(feature = "loom")))]
compile_error!("`--cfg selvedge_loom` needs the feature `loom` of selvedge");
#[cfg(all(selvedge_shuttle, not(feature = "shuttle")))]
compile_error!("`--cfg selvedge_shuttle` needs the feature `shuttle` of selvedge");
#[cfg(any(
    all(selvedge_loom, selvedge_shuttle),
    all(selvedge_chaos, any(selvedge_loom, selvedge_shuttle))
))]
compile_error!("selvedge_chaos, selvedge_loom, selvedge_shuttle: one of them at a time");

#[cfg(selvedge_chaos)]
mod chaos;
#[cfg(selvedge_loom)]
#[path = "model.rs"]
mod imp;
#[cfg(not(any(selvedge_loom, selvedge_shuttle)))]
#[path = "real.rs"]
mod imp;
#[cfg(all(selvedge_shuttle, not(selvedge_loom)))]
#[path = "shuttle.rs"]
mod imp;
#[cfg(any(selvedge_loom, selvedge_shuttle))]
mod site;

#[cfg(not(selvedge_loom))]
pub(crate) use imp::*;
/// Part of it is public as `selvedge::model`.
#[cfg(selvedge_loom)]
pub use imp::*;
pub(crate) use std::sync::Arc;
#[cfg(not(selvedge_loom))]
pub(crate) use std::sync::atomic::Ordering;
#[cfg(selvedge_loom)]
pub use std::sync::atomic::Ordering;

/// `const fn` natively, `fn` under the model checker, whose atomics cannot be made in a constant.
macro_rules! const_fn {
    ($(#[$m:meta])* $v:vis fn $($rest:tt)*) => {
        #[cfg(not(selvedge_loom))]
        $(#[$m])* $v const fn $($rest)*
        #[cfg(selvedge_loom)]
        $(#[$m])* $v fn $($rest)*
    };
}
pub(crate) use const_fn;

/// Try number `n` at a spin lock that is held for a few instructions: pauses first, then lets other threads run, at last sleeps
/// a little, which gives a holder that the system has put aside its chance. Bounded, and not a wait.
pub(crate) fn back_off(n: u32, pauses: u32) {
    match n {
        n if n < pauses => imp::pause(),
        n if n - pauses < 1000 => imp::yield_now(),
        _ => imp::nap(),
    }
}

/// Puts what has it into an order that lasts: natively by address; for a checker by age, since an address is another one in
/// each execution.
pub(crate) struct Rank(#[cfg(any(selvedge_loom, selvedge_shuttle))] u64);

impl Rank {
    pub(crate) fn new() -> Self {
        Self(
            #[cfg(any(selvedge_loom, selvedge_shuttle))]
            unique(),
        )
    }
    /// No other one alive has this number; it is not 0.
    pub(crate) fn get(&self) -> usize {
        #[cfg(any(selvedge_loom, selvedge_shuttle))]
        return self.0 as usize;
        #[cfg(not(any(selvedge_loom, selvedge_shuttle)))]
        std::ptr::from_ref(self).addr()
    }
}

/// A number that no other call in this process got.
pub(crate) fn unique() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    // ORDERING: Relaxed. Nothing hangs on the order in which numbers are given out. Not modelled.
    NEXT.fetch_add(1, Ordering::Relaxed)
}
