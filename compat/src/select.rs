//! Selecting among operations in the other crate's two steps: one is chosen, then completed by whoever asked. A value to send
//! is made in between: a send is a reservation here, and the place is kept until it is completed.
//!
//! For now: selvedge has no arm that is only told, so `ready` polls.

use crate::channel::{Receiver, Sender};
use crate::error::{
    ReadyTimeoutError, RecvError, SelectTimeoutError, SendError, TryReadyError, TrySelectError,
};
use crate::here::with;
use selvedge::Context;
use selvedge::channel::{Case, RecvArm, ReserveArm, Select as Ours, SelectError};
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// How often a poll yields, and how long it sleeps then.
const YIELDS: usize = 100;
const MOMENT: Duration = Duration::from_micros(100);

/// One operation of a select: what it is at, its index, and the address that tells whether the right end completes it.
type Handle<'a> = (&'a dyn SelectHandle, usize, *const u8);

/// An end of a channel, whatever its values.
pub trait SelectHandle {
    /// The arm that does the operation.
    #[doc(hidden)]
    fn arm<'a>(&'a self) -> Box<dyn Case + 'a>;
    /// Would it take no wait?
    #[doc(hidden)]
    fn is_ready(&self) -> bool;
}

impl<T> SelectHandle for Receiver<T> {
    fn arm<'a>(&'a self) -> Box<dyn Case + 'a> {
        Box::new(self.0.arm())
    }
    fn is_ready(&self) -> bool {
        !self.is_empty() || self.0.waiting_senders() > 0 || self.0.is_closed()
    }
}

impl<T> SelectHandle for Sender<T> {
    fn arm<'a>(&'a self) -> Box<dyn Case + 'a> {
        Box::new(self.0.reserve_arm())
    }
    fn is_ready(&self) -> bool {
        !self.is_full() || self.0.waiting_receivers() > 0 || self.0.is_closed()
    }
}

/// How long to wait.
#[derive(Clone, Copy)]
enum Until {
    Now,
    At(Instant),
    Ever,
}

fn run<'a>(handles: &[Handle<'a>], until: Until, biased: bool) -> Option<SelectedOperation<'a>> {
    let mut arms: Vec<Box<dyn Case + 'a>> =
        handles.iter().map(|(handle, ..)| handle.arm()).collect();
    let chosen = with(|cx| {
        let mut select = Ours::new();
        for arm in &mut arms {
            select = select.arm(&mut **arm);
        }
        if biased {
            select = select.biased();
        }
        let chosen = match until {
            Until::Now => return select.try_now(cx.me()),
            Until::At(deadline) => select.until(deadline).wait(cx),
            Until::Ever => select.wait(cx),
        };
        match chosen {
            Ok(n) => Some(n),
            Err(SelectError::TimedOut) => None,
            Err(other) => unreachable!("{other}"),
        }
    })?;
    let (_, index, address) = handles[chosen];
    let address = NonNull::new(address.cast_mut()).expect("the address of a reference");
    Some(SelectedOperation { arm: Some(arms.swap_remove(chosen)), index, address })
}

fn poll_ready(handles: &[Handle<'_>], until: Until, biased: bool) -> Option<usize> {
    // Another one is first each time, of all that poll.
    static TURNS: AtomicUsize = AtomicUsize::new(0);
    for looks in 0.. {
        // ORDERING: Relaxed. Any number will do.
        let turn = TURNS.fetch_add(1, Relaxed);
        let first = if biased || handles.is_empty() { 0 } else { turn % handles.len() };
        let (before, after) = handles.split_at(first);
        if let Some(ready) = after.iter().chain(before).find(|(handle, ..)| handle.is_ready()) {
            return Some(ready.1);
        }
        match until {
            Until::Now => return None,
            Until::At(deadline) if Instant::now() >= deadline => return None,
            _ if looks < YIELDS => thread::yield_now(),
            _ => thread::sleep(MOMENT),
        }
    }
    unreachable!("it polls for ever")
}

/// Without waiting.
pub fn try_select<'a>(
    handles: &mut [Handle<'a>],
    biased: bool,
) -> Result<SelectedOperation<'a>, TrySelectError> {
    run(handles, Until::Now, biased).ok_or(TrySelectError)
}

/// Waits until one can be done.
///
/// # Panics
/// If there is none.
pub fn select<'a>(handles: &mut [Handle<'a>], biased: bool) -> SelectedOperation<'a> {
    assert!(!handles.is_empty(), "a select among no operations waits for ever");
    run(handles, Until::Ever, biased).expect("without a deadline it waits")
}

/// Waits so long at most.
pub fn select_timeout<'a>(
    handles: &mut [Handle<'a>],
    timeout: Duration,
    biased: bool,
) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
    match Instant::now().checked_add(timeout) {
        Some(deadline) => run(handles, Until::At(deadline), biased).ok_or(SelectTimeoutError),
        None => Ok(select(handles, biased)),
    }
}

/// A list of operations, made at run time.
#[derive(Clone, Default)]
pub struct Select<'a> {
    handles: Vec<Handle<'a>>,
    next: usize,
    biased: bool,
}

// SAFETY: the handles are references to ends of channels, which are `Sync` if their values are `Send`; with other values they
// cannot have come to another thread. The addresses are only compared.
unsafe impl Send for Select<'_> {}
// SAFETY: as above.
unsafe impl Sync for Select<'_> {}

impl<'a> Select<'a> {
    /// Empty. Of several operations that are ready, any one is chosen.
    pub fn new() -> Self {
        Self::default()
    }
    /// Empty. Of several operations that are ready, the first is chosen.
    pub fn new_biased() -> Self {
        Self { biased: true, ..Self::default() }
    }
    /// Adds a send; its index.
    pub fn send<T>(&mut self, tx: &'a Sender<T>) -> usize {
        self.add(tx, (&raw const *tx).cast())
    }
    /// Adds a receive; its index.
    pub fn recv<T>(&mut self, rx: &'a Receiver<T>) -> usize {
        self.add(rx, (&raw const *rx).cast())
    }
    fn add(&mut self, handle: &'a dyn SelectHandle, address: *const u8) -> usize {
        self.handles.push((handle, self.next, address));
        self.next += 1;
        self.next - 1
    }
    /// Takes an operation out again.
    ///
    /// # Panics
    /// If there is none with this index.
    pub fn remove(&mut self, index: usize) {
        let found = self.handles.iter().position(|&(_, i, _)| i == index);
        self.handles.remove(found.expect("no operation with this index"));
    }
    /// Without waiting.
    pub fn try_select(&mut self) -> Result<SelectedOperation<'a>, TrySelectError> {
        try_select(&mut self.handles, self.biased)
    }
    /// Waits until one can be done.
    ///
    /// # Panics
    /// If there is none.
    pub fn select(&mut self) -> SelectedOperation<'a> {
        select(&mut self.handles, self.biased)
    }
    /// Waits so long at most.
    pub fn select_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        select_timeout(&mut self.handles, timeout, self.biased)
    }
    /// Waits until then at most.
    pub fn select_deadline(
        &mut self,
        deadline: Instant,
    ) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        run(&self.handles, Until::At(deadline), self.biased).ok_or(SelectTimeoutError)
    }
    /// The index of one that can be done, without doing it.
    pub fn try_ready(&mut self) -> Result<usize, TryReadyError> {
        poll_ready(&self.handles, Until::Now, self.biased).ok_or(TryReadyError)
    }
    /// The same, waiting.
    ///
    /// # Panics
    /// If there is none.
    pub fn ready(&mut self) -> usize {
        assert!(!self.handles.is_empty(), "among no operations none becomes ready");
        poll_ready(&self.handles, Until::Ever, self.biased).expect("without a deadline it waits")
    }
    /// The same, so long at most.
    pub fn ready_timeout(&mut self, timeout: Duration) -> Result<usize, ReadyTimeoutError> {
        match Instant::now().checked_add(timeout) {
            Some(deadline) => self.ready_deadline(deadline),
            None => Ok(self.ready()),
        }
    }
    /// The same, until then at most.
    pub fn ready_deadline(&mut self, deadline: Instant) -> Result<usize, ReadyTimeoutError> {
        poll_ready(&self.handles, Until::At(deadline), self.biased).ok_or(ReadyTimeoutError)
    }
}

impl fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Select { .. }")
    }
}

/// An operation that was chosen, and must be completed. Dropping it panics.
#[must_use]
pub struct SelectedOperation<'a> {
    /// None: it was completed.
    arm: Option<Box<dyn Case + 'a>>,
    index: usize,
    address: NonNull<u8>,
}

// The macro turns a `Result` of it with an empty error into an `Option`, by its bytes: both must keep the other case where this
// type leaves room.
const _: () = {
    assert!(size_of::<Option<SelectedOperation<'_>>>() == size_of::<SelectedOperation<'_>>());
};

impl<'a> SelectedOperation<'a> {
    /// Which one.
    pub fn index(&self) -> usize {
        self.index
    }
    /// The arm, if it is that of the end at this address.
    fn take(&mut self, address: *const u8) -> *mut (dyn Case + 'a) {
        assert!(address == self.address.as_ptr(), "another end's operation was chosen");
        Box::into_raw(self.arm.take().expect("completed once: that takes the operation"))
    }
    /// Sends.
    ///
    /// # Panics
    /// If it is not by this reference that the operation was added.
    pub fn send<T>(mut self, tx: &Sender<T>, value: T) -> Result<(), SendError<T>> {
        let arm = self.take((&raw const *tx).cast()).cast::<ReserveArm<'_, T>>();
        // SAFETY: the sender at this address made it (`SelectHandle::arm`), and two ends never share an address.
        let arm = unsafe { Box::from_raw(arm) };
        match arm.complete() {
            Ok(place) => Ok(place.publish(value)?),
            Err(_) => Err(SendError(value)),
        }
    }
    /// Receives.
    ///
    /// # Panics
    /// If it is not by this reference that the operation was added.
    pub fn recv<T>(mut self, rx: &Receiver<T>) -> Result<T, RecvError> {
        let arm = self.take((&raw const *rx).cast()).cast::<RecvArm<'_, T>>();
        // SAFETY: as above, of the receiver.
        let arm = unsafe { Box::from_raw(arm) };
        arm.complete().map_err(|_| RecvError)
    }
}

impl fmt::Debug for SelectedOperation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("SelectedOperation { .. }")
    }
}

impl Drop for SelectedOperation<'_> {
    fn drop(&mut self) {
        assert!(
            self.arm.is_none() || thread::panicking(),
            "a selected operation was dropped without being completed"
        );
    }
}
