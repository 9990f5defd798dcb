//! The shim of ordinary builds: std's types, and a parker on a futex where there is one.

#[cfg(selvedge_chaos)]
pub(crate) use super::chaos::{AtomicPtr, AtomicU32, AtomicU64};
#[cfg(not(selvedge_chaos))]
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

/// std's cell, with loom's way of access.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }
    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// A mutex for the cold books of the crate (registry, inbox). Held for a few instructions; no user code runs under it,
/// so that a poisoned one still holds sound data.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);
pub(crate) type MutexGuard<'a, T> = std::sync::MutexGuard<'a, T>;

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

pub(crate) use barrier::*;
pub(crate) use parker::Parker;

/// A full fence of a thread that has just done a read-modify-write. On x86 that was one, and only the compiler is left.
#[inline(always)]
pub(crate) fn fence_after_rmw() {
    use std::sync::atomic::{Ordering::SeqCst, compiler_fence, fence};
    if cfg!(all(any(target_arch = "x86_64", target_arch = "x86"), not(miri))) {
        compiler_fence(SeqCst);
    } else {
        // ORDERING: SeqCst. The caller's half of an either-or.
        fence(SeqCst);
    }
}

/// Asymmetric fences (P1202): the light one costs nothing, the heavy one makes every running thread of the process pass a
/// barrier. Either what stands before a light fence is seen after a heavy one, or the other way round.
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(miri)))]
mod barrier {
    use std::sync::OnceLock;
    use std::sync::atomic::{Ordering::SeqCst, compiler_fence, fence};
    use std::time::Duration;

    // From linux/membarrier.h.
    const PRIVATE_EXPEDITED: libc::c_long = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_long = 1 << 4;

    fn membarrier(command: libc::c_long) -> bool {
        // SAFETY: membarrier takes no pointers.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    /// Can this process have heavy fences? The first call asks the kernel.
    pub(crate) fn has_heavy_fence() -> bool {
        static READY: OnceLock<bool> = OnceLock::new();
        *READY.get_or_init(|| membarrier(REGISTER_PRIVATE_EXPEDITED))
    }

    #[inline(always)]
    pub(crate) fn light_fence() {
        compiler_fence(SeqCst);
    }

    /// After `has_heavy_fence`.
    #[cold]
    pub(crate) fn heavy_fence() {
        if !membarrier(PRIVATE_EXPEDITED) {
            // Forbidden since (a sandbox): no store stays in a processor's buffer for as long as this.
            std::thread::sleep(Duration::from_millis(10));
            // ORDERING: SeqCst. This thread's half; the sleep stands for the others'.
            fence(SeqCst);
        }
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(miri))))]
mod barrier {
    pub(crate) fn has_heavy_fence() -> bool {
        false
    }
    #[inline(always)]
    pub(crate) fn light_fence() {}
    pub(crate) fn heavy_fence() {
        unreachable!("there is none");
    }
}

#[cfg(target_os = "linux")]
mod parker {
    use super::{AtomicU32, Instant};
    use std::sync::atomic::Ordering::*;

    const EMPTY: u32 = 0;
    const NOTIFIED: u32 = 1;
    /// EMPTY - 1: the sleeper announces itself and takes a token by the same `fetch_sub`.
    const PARKED: u32 = u32::MAX;

    /// Puts one thread to sleep; any thread may end the sleep. One token, as std's.
    #[derive(Debug)]
    pub(crate) struct Parker(AtomicU32);

    impl Parker {
        pub(crate) const fn new() -> Self {
            Self(AtomicU32::new(EMPTY))
        }

        /// Sleeps until `unpark` or the deadline; may return early. Own thread only.
        pub(crate) fn park(&self, deadline: Option<Instant>) {
            // ORDERING: Acquire: what the unparker did before `unpark` is seen.
            if self.0.fetch_sub(1, Acquire) == NOTIFIED {
                return;
            }
            match deadline.map(|d| d.saturating_duration_since(Instant::now())) {
                Some(left) if left.is_zero() => {}
                left => wait(&self.0, PARKED, left),
            }
            // ORDERING: Acquire, as above: the token may have come while it slept.
            self.0.swap(EMPTY, Acquire);
        }

        /// Ends the present or the next `park`.
        pub(crate) fn unpark(&self) {
            // ORDERING: Release: pairs with the Acquire in `park`.
            if self.0.swap(NOTIFIED, Release) == PARKED {
                wake(&self.0);
            }
        }
    }

    fn wait(word: &AtomicU32, value: u32, left: Option<super::Duration>) {
        let time = left.map(|d| libc::timespec {
            // Capped at what the kernel takes; an early return is allowed.
            tv_sec: d.as_secs().min(i32::MAX as u64) as libc::time_t,
            tv_nsec: d.subsec_nanos() as _,
        });
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let op = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: `word` and `time` live across the call; the kernel only reads them.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, value, time) };
    }

    fn wake(word: &AtomicU32) {
        let op = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: FUTEX_WAKE uses the address as a key only.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, 1) };
    }
}

#[cfg(not(target_os = "linux"))]
mod parker {
    use super::Instant;
    use std::sync::{Condvar, Mutex, PoisonError};

    /// Puts one thread to sleep; any thread may end the sleep. One token, as std's.
    #[derive(Debug)]
    pub(crate) struct Parker(Mutex<bool>, Condvar);

    impl Parker {
        pub(crate) const fn new() -> Self {
            Self(Mutex::new(false), Condvar::new())
        }

        /// Sleeps until `unpark` or the deadline; may return early. Own thread only.
        pub(crate) fn park(&self, deadline: Option<Instant>) {
            let mut token = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !*token {
                token = match deadline {
                    None => self.1.wait(token).unwrap_or_else(PoisonError::into_inner),
                    Some(d) => {
                        let left = d.saturating_duration_since(Instant::now());
                        let r = self.1.wait_timeout(token, left);
                        r.unwrap_or_else(PoisonError::into_inner).0
                    }
                };
            }
            *token = false;
        }

        /// Ends the present or the next `park`.
        pub(crate) fn unpark(&self) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.1.notify_one();
        }
    }
}

/// True once `deadline` has passed.
#[inline]
pub(crate) fn expired(deadline: Instant) -> bool {
    Instant::now() >= deadline
}

/// Is `since` at least `time` ago?
#[inline]
pub(crate) fn is_past(since: Instant, time: Duration) -> bool {
    since.elapsed() >= time
}

/// A clock for durations of about a millisecond, in steps of a third of a nanosecond or so; read in a few of them.
#[inline]
pub(crate) fn ticks() -> u64 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: every x86-64 has this instruction.
    return unsafe { std::arch::x86_64::_rdtsc() };
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        3 * START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

/// One step of a spin loop.
#[inline]
pub(crate) fn pause() {
    std::hint::spin_loop();
}

/// Lets the operating system run another thread.
pub(crate) fn yield_now() {
    std::thread::yield_now();
}

/// The last step of a back-off whose lock holder the system has put aside: gives the holder's priority a chance.
pub(crate) fn nap() {
    std::thread::sleep(Duration::from_micros(50));
}

/// An OS thread's identity; never reused in the process.
pub(crate) type OsThread = std::thread::ThreadId;

pub(crate) fn os_thread() -> OsThread {
    std::thread::current().id()
}

/// Starts a detached OS thread.
pub(crate) fn spawn(
    name: Option<&str>,
    stack: Option<usize>,
    f: impl FnOnce() + Send + 'static,
) -> std::io::Result<()> {
    let mut builder = std::thread::Builder::new();
    if let Some(name) = name.filter(|n| !n.contains('\0')) {
        builder = builder.name(name.to_owned());
    }
    if let Some(bytes) = stack {
        builder = builder.stack_size(bytes);
    }
    builder.spawn(f).map(drop)
}

/// A process-wide value, made at its first use.
macro_rules! global {
    ($(#[$m:meta])* static $name:ident: $t:ty = $e:expr;) => {
        $(#[$m])*
        fn $name() -> &'static $t {
            static VALUE: $t = $e;
            &VALUE
        }
    };
}
pub(crate) use global;

/// Protocol faults exist only under the model checker.
#[inline(always)]
pub(crate) const fn planted(_: &str) -> bool {
    false
}
/// Never, as above.
#[inline(always)]
pub(crate) const fn planting() -> bool {
    false
}
