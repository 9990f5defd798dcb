//! The recursive mutex beside the locks that a VM could take instead.

mod harness;

use harness::{Cell, Line, Sample, Steps, cpu_time, race, stay_on_cpu};
use selvedge::{Blocker, Context, Mutex, MutexGuard, Participant, Runtime, Schedule};
use std::cell::UnsafeCell;
use std::hint::black_box;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering::*, compiler_fence};

fn main() {
    harness::run(vec![
        lock_unlock(),
        acquire_release(),
        relock(),
        reacquire(),
        contended("mutex/contended/2_short", 2, SHORT, 4_000_000),
        contended("mutex/contended/2_medium", 2, MEDIUM, 400_000),
        contended("mutex/contended/8_short", 8, SHORT, 4_000_000),
        contended("mutex/contended/8_medium", 8, MEDIUM, 400_000),
        block_unblock("mutex/block_unblock/with_hooks", false),
        block_unblock("mutex/block_unblock/with_hooks_1_cpu", true),
    ]);
}

// -- The entrants

/// A lock, and what a thread needs to take it.
trait Lock: Sync + 'static {
    type Me;
    type Guard<'a>;
    fn attach(&self) -> Self::Me;
    fn lock<'a>(&'a self, me: &mut Self::Me) -> Self::Guard<'a>;
}

/// By a bare participant, or by an interpreter around one.
struct Selvedge<C> {
    vm: Runtime,
    mutex: Mutex,
    contexts: PhantomData<fn() -> C>,
}

impl<C> Selvedge<C> {
    fn of(vm: &Runtime) -> Self {
        Self { vm: vm.clone(), mutex: Mutex::new(), contexts: PhantomData }
    }
}

impl<C: Context + From<Participant> + 'static> Lock for Selvedge<C> {
    type Me = C;
    type Guard<'a> = MutexGuard<'a>;
    fn attach(&self) -> C {
        self.vm.attach(()).unwrap().into()
    }
    #[inline(always)]
    fn lock<'a>(&'a self, me: &mut C) -> MutexGuard<'a> {
        self.mutex.lock(me).unwrap()
    }
}

/// An interpreter that counts its waits, as one that publishes its roots would do a few stores.
struct Hooked {
    participant: Participant,
    blocked: u64,
    back: u64,
}

impl From<Participant> for Hooked {
    fn from(participant: Participant) -> Self {
        Self { participant, blocked: 0, back: 0 }
    }
}

impl Context for Hooked {
    fn me(&self) -> &Participant {
        &self.participant
    }
    fn me_mut(&mut self) -> &mut Participant {
        &mut self.participant
    }
    fn before_block(&mut self, on: &Blocker) {
        black_box(on);
        self.blocked += 1;
    }
    fn after_block(&mut self) {
        self.back += 1;
    }
}

impl Lock for std::sync::Mutex<()> {
    type Me = ();
    type Guard<'a> = std::sync::MutexGuard<'a, ()>;
    fn attach(&self) {}
    #[inline(always)]
    fn lock<'a>(&'a self, _: &mut ()) -> Self::Guard<'a> {
        self.lock().unwrap()
    }
}

impl Lock for parking_lot::Mutex<()> {
    type Me = ();
    type Guard<'a> = parking_lot::MutexGuard<'a, ()>;
    fn attach(&self) {}
    #[inline(always)]
    fn lock<'a>(&'a self, _: &mut ()) -> Self::Guard<'a> {
        self.lock()
    }
}

impl Lock for parking_lot::ReentrantMutex<()> {
    type Me = ();
    type Guard<'a> = parking_lot::ReentrantMutexGuard<'a, ()>;
    fn attach(&self) {}
    #[inline(always)]
    fn lock<'a>(&'a self, _: &mut ()) -> Self::Guard<'a> {
        self.lock()
    }
}

/// What a VM in C takes.
struct PthreadRecursive(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a pthread mutex is made to be shared, and this one never moves once it is in use.
unsafe impl Sync for PthreadRecursive {}
// SAFETY: as above.
unsafe impl Send for PthreadRecursive {}

impl PthreadRecursive {
    fn new() -> Self {
        // The static initializer that C offers for it is not in `libc`; the attribute does the same.
        let mut mutex = libc::PTHREAD_MUTEX_INITIALIZER;
        // SAFETY: an attribute is plain data, written by `init` before it is read.
        let mut attribute = unsafe { std::mem::zeroed() };
        // SAFETY: the attribute is there and nobody else's.
        unsafe { libc::pthread_mutexattr_init(&mut attribute) };
        // SAFETY: as above.
        unsafe {
            libc::pthread_mutexattr_settype(&mut attribute, libc::PTHREAD_MUTEX_RECURSIVE);
        }
        // SAFETY: nobody uses the mutex yet. glibc allows to move it until somebody does.
        let error = unsafe { libc::pthread_mutex_init(&mut mutex, &attribute) };
        assert_eq!(error, 0, "a recursive mutex can be made");
        Self(UnsafeCell::new(mutex))
    }
}

struct PthreadGuard<'a>(&'a PthreadRecursive);

impl Drop for PthreadGuard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the mutex is initialized, and this thread holds it: the guard says so and stays on its thread.
        unsafe { libc::pthread_mutex_unlock(self.0.0.get()) };
    }
}

impl Lock for PthreadRecursive {
    type Me = ();
    type Guard<'a> = PthreadGuard<'a>;
    fn attach(&self) {}
    #[inline(always)]
    fn lock<'a>(&'a self, _: &mut ()) -> PthreadGuard<'a> {
        // SAFETY: the mutex is initialized.
        let error = unsafe { libc::pthread_mutex_lock(self.0.get()) };
        assert_eq!(error, 0);
        PthreadGuard(self)
    }
}

// -- Nobody else wants it

/// Lock and unlock, through a mutex and a context that the compiler knows nothing of. The fence makes it read them anew
/// each time, as after anything that a VM does in between; it costs no instruction.
#[inline(always)]
fn pairs<L: Lock>(lock: &L, me: &mut L::Me, n: u64) {
    let (lock, me) = (black_box(lock), black_box(me));
    for _ in 0..n {
        let held = lock.lock(me);
        compiler_fence(SeqCst);
        drop(held);
        compiler_fence(SeqCst);
    }
}

fn uncontended<L: Lock>(lock: L) -> impl FnMut(u64) -> std::time::Duration {
    let lock = Box::new(Line(lock));
    let mut me = lock.0.attach();
    move |n| cpu_time(|| pairs(&lock.0, &mut me, n))
}

fn reentrant<L: Lock>(lock: L) -> impl FnMut(u64) -> std::time::Duration {
    let lock = Box::new(Line(lock));
    let mut me = lock.0.attach();
    move |n| {
        let _outer = lock.0.lock(&mut me);
        cpu_time(|| pairs(&lock.0, &mut me, n))
    }
}

/// Lock and unlock by guard. Decides whether a VM pays for recursion, signals and blockers where nobody waits: it shall
/// not, by parking_lot's reentrant mutex, and be below pthread's recursive one.
fn lock_unlock() -> Cell {
    Cell::new("mutex/lock_unlock/uncontended", 1_000_000)
        .entrant("selvedge", uncontended(Selvedge::<Participant>::of(&Runtime::new())))
        .entrant("std", uncontended(std::sync::Mutex::new(())))
        .entrant("parking_lot", uncontended(parking_lot::Mutex::new(())))
        .entrant("parking_lot_reentrant", uncontended(parking_lot::ReentrantMutex::new(())))
        .entrant("pthread_recursive", uncontended(PthreadRecursive::new()))
}

/// The same by the explicit calls. Decides whether an interpreter's `mutex-lock` can be a call of its own.
fn acquire_release() -> Cell {
    Cell::new("mutex/acquire_release/uncontended", 1_000_000)
        .entrant("selvedge", explicit(false))
        .entrant("std", uncontended(std::sync::Mutex::new(())))
        .entrant("parking_lot", uncontended(parking_lot::Mutex::new(())))
        .entrant("parking_lot_reentrant", uncontended(parking_lot::ReentrantMutex::new(())))
        .entrant("pthread_recursive", uncontended(PthreadRecursive::new()))
}

/// A second level taken and given back. Decides whether library code may lock what its caller holds already.
fn relock() -> Cell {
    Cell::new("mutex/relock/depth_1", 4_000_000)
        .entrant("selvedge", reentrant(Selvedge::<Participant>::of(&Runtime::new())))
        .entrant("parking_lot_reentrant", reentrant(parking_lot::ReentrantMutex::new(())))
        .entrant("pthread_recursive", reentrant(PthreadRecursive::new()))
}

/// The same by the explicit calls.
fn reacquire() -> Cell {
    Cell::new("mutex/reacquire/depth_1", 4_000_000)
        .entrant("selvedge", explicit(true))
        .entrant("parking_lot_reentrant", reentrant(parking_lot::ReentrantMutex::new(())))
        .entrant("pthread_recursive", reentrant(PthreadRecursive::new()))
}

fn explicit(owned: bool) -> impl FnMut(u64) -> std::time::Duration {
    let lock = Box::new(Line(Selvedge::<Participant>::of(&Runtime::new())));
    let mut me = lock.0.attach();
    move |n| {
        let _outer = owned.then(|| lock.0.lock(&mut me));
        cpu_time(|| {
            let (mutex, me) = (black_box(&lock.0.mutex), black_box(&mut me));
            for _ in 0..n {
                mutex.acquire(me).unwrap();
                compiler_fence(SeqCst);
                mutex.release(me).unwrap();
                compiler_fence(SeqCst);
            }
        })
    }
}

// -- Everybody wants it

/// Multiplications inside and outside of the critical section.
#[derive(Clone, Copy)]
struct Load {
    inside: u32,
    outside: u32,
}
const SHORT: Load = Load { inside: 4, outside: 12 };
const MEDIUM: Load = Load { inside: 160, outside: 160 };

fn multiply(times: u32, x: &mut u64) {
    for _ in 0..times {
        *x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

/// A lock, and beside it what it guards.
struct Shared<L> {
    lock: L,
    guarded: UnsafeCell<Guarded>,
}
struct Guarded {
    x: u64,
    left: u64,
}
// SAFETY: `guarded` is reached by who holds the lock.
unsafe impl<L: Sync> Sync for Shared<L> {}

/// `n` critical sections, whoever comes. Returns beside the time the slowest thread's share of the fastest one's.
fn crowd<L: Lock>(make: impl Fn() -> L, threads: usize, load: Load) -> impl FnMut(u64) -> Sample {
    move |n| {
        let guarded = UnsafeCell::new(Guarded { x: 1, left: n });
        let shared = Line(Shared { lock: make(), guarded });
        let shared = &shared.0;
        let (time, done) = race(threads, |i, gate| {
            stay_on_cpu(i);
            let mut me = shared.lock.attach();
            let (mut done, mut x) = (0u64, 1);
            gate.pass();
            loop {
                let held = shared.lock.lock(&mut me);
                // SAFETY: the lock is held.
                let guarded = unsafe { &mut *shared.guarded.get() };
                if guarded.left == 0 {
                    break;
                }
                guarded.left -= 1;
                multiply(load.inside, &mut guarded.x);
                drop(held);
                multiply(load.outside, &mut x);
                done += 1;
            }
            done
        });
        let (least, most) = (*done.iter().min().unwrap(), *done.iter().max().unwrap());
        Sample::from(time).also(least as f64 / most as f64)
    }
}

/// Threads that do nothing but lock. Decides the policy (looks, barging, hand-over): throughput, and the slowest thread's
/// share of the fastest one's.
fn contended(id: &'static str, threads: usize, load: Load, n: u64) -> Cell {
    let selvedge = || Selvedge::<Participant>::of(&Runtime::new());
    Cell::new(id, n)
        .time_is("ns_per_op")
        .also("share", "ratio", "higher")
        .entrant("selvedge", crowd(selvedge, threads, load))
        .entrant("std", crowd(|| std::sync::Mutex::new(()), threads, load))
        .entrant("parking_lot", crowd(|| parking_lot::Mutex::new(()), threads, load))
        .entrant(
            "parking_lot_reentrant",
            crowd(|| parking_lot::ReentrantMutex::new(()), threads, load),
        )
        .entrant("pthread_recursive", crowd(PthreadRecursive::new, threads, load))
}

// -- One blocks, the other unblocks it

/// Two threads walk around a ring of three locks, each taking the next before it frees the last: every step blocks, and
/// unblocks the other.
fn ring<L: Lock>(make: impl Fn() -> [L; 3], one_cpu: bool) -> impl FnMut(u64) -> Sample {
    move |n| {
        let ring = make().map(Line);
        let (time, steps) = race(2, |i, gate| {
            if one_cpu {
                stay_on_cpu(0);
            }
            let mut me = ring[0].0.attach();
            let mut steps = Steps::new(n);
            let mut held = ring[i].0.lock(&mut me);
            gate.pass();
            steps.begin();
            for step in 1..=n.div_ceil(2) as usize {
                let next = ring[(i + step) % 3].0.lock(&mut me);
                drop(std::mem::replace(&mut held, next));
                steps.end();
            }
            steps
        });
        Sample::from(time).also(Steps::p99(steps))
    }
}

/// The same exchange by nothing but the system's calls: the floor.
fn futexes(one_cpu: bool) -> impl FnMut(u64) -> Sample {
    move |n| {
        let turn = [Line(AtomicU32::new(1)), Line(AtomicU32::new(0))];
        let (time, steps) = race(2, |i, gate| {
            if one_cpu {
                stay_on_cpu(0);
            }
            let (mine, theirs) = (&turn[i].0, &turn[1 - i].0);
            let mut steps = Steps::new(n);
            gate.pass();
            steps.begin();
            for _ in 0..n.div_ceil(2) {
                while mine.load(Acquire) == 0 {
                    futex(mine, libc::FUTEX_WAIT, 0);
                }
                mine.store(0, Relaxed);
                theirs.store(1, Release);
                futex(theirs, libc::FUTEX_WAKE, 1);
                steps.end();
            }
            steps
        });
        Sample::from(time).also(Steps::p99(steps))
    }
}

fn futex(word: &AtomicU32, operation: i32, value: u32) {
    let operation = operation | libc::FUTEX_PRIVATE_FLAG;
    let forever = std::ptr::null::<libc::timespec>();
    // SAFETY: the word lives across the call, and the kernel only reads it.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, forever) };
}

/// The same exchange by a mutex and a condition variable for each side.
fn std_condvars(one_cpu: bool) -> impl FnMut(u64) -> Sample {
    move |n| {
        let turn = std::sync::Mutex::new(0);
        let come = [const { std::sync::Condvar::new() }; 2];
        let (time, steps) = race(2, |i, gate| {
            if one_cpu {
                stay_on_cpu(0);
            }
            let mut steps = Steps::new(n);
            gate.pass();
            steps.begin();
            for _ in 0..n.div_ceil(2) {
                let held = turn.lock().unwrap();
                let mut held = come[i].wait_while(held, |turn| *turn != i).unwrap();
                *held = 1 - i;
                drop(held);
                come[1 - i].notify_one();
                steps.end();
            }
            steps
        });
        Sample::from(time).also(Steps::p99(steps))
    }
}

/// One full block and one unblock, with the interpreter's hooks. Decides what a wait costs beside the system calls in it.
fn block_unblock(id: &'static str, one_cpu: bool) -> Cell {
    let selvedge = || {
        // Nobody looks before it queues: every step blocks.
        let vm = Runtime::builder().schedule(Schedule::new().looks(0)).build();
        [(); 3].map(|()| Selvedge::<Hooked>::of(&vm))
    };
    Cell::new(id, 4_000)
        .also("p99", "ns", "lower")
        .entrant("selvedge", ring(selvedge, one_cpu))
        .entrant("futex", futexes(one_cpu))
        .entrant("std_condvar", std_condvars(one_cpu))
        .entrant("pthread_recursive", ring(|| [(); 3].map(|()| PthreadRecursive::new()), one_cpu))
}
