//! Selecting among operations in the other crate's two steps: one is chosen, then completed by whoever asked. A value to send
//! is made in between.
//!
//! For now: selvedge has no select yet, so the choice is polled. A receive is done when it is chosen, and its value lies in
//! the [`SelectedOperation`]; a send is done when it is completed, and waits then if another sender was quicker. Where
//! two polls could miss each other, at a rendezvous, the receiving one waits for a moment.

use crate::channel::{Receiver, Sender};
use crate::error::{
    ReadyTimeoutError, RecvError, RecvTimeoutError, SelectTimeoutError, SendError, TryReadyError,
    TryRecvError, TrySelectError,
};
use crate::here::with;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a poll sleeps or waits in a turn.
const MOMENT: Duration = Duration::from_micros(100);

/// One operation of a select: what it is at, its index, and the address that tells whether the right end completes it.
type Handle<'a> = (&'a dyn SelectHandle, usize, *const u8);

/// An end of a channel, whatever its values.
pub trait SelectHandle {
    /// Begins the operation if that takes no wait.
    #[doc(hidden)]
    fn start(&self) -> Option<Started>;
    /// As `start`, and shows itself to a sender for a moment.
    #[doc(hidden)]
    fn start_in_a_moment(&self) -> Option<Started> {
        self.start()
    }
    /// Would it take no wait?
    #[doc(hidden)]
    fn is_ready(&self) -> bool;
}

/// An operation that was chosen.
#[doc(hidden)]
pub enum Started {
    /// A boxed `Result<T, RecvError>`, of the receiver's `T`.
    Received(NonNull<()>),
    /// A sender found room.
    Room,
}

impl Started {
    fn received<T>(result: Result<T, RecvError>) -> Self {
        Self::Received(NonNull::from(Box::leak(Box::new(result))).cast())
    }
}

impl<T> SelectHandle for Receiver<T> {
    fn start(&self) -> Option<Started> {
        match self.try_recv() {
            Err(TryRecvError::Empty) => None,
            other => Some(Started::received(other.map_err(|_| RecvError))),
        }
    }
    fn start_in_a_moment(&self) -> Option<Started> {
        if self.capacity() != Some(0) {
            return self.start();
        }
        match self.recv_timeout(MOMENT) {
            Err(RecvTimeoutError::Timeout) => None,
            other => Some(Started::received(other.map_err(|_| RecvError))),
        }
    }
    fn is_ready(&self) -> bool {
        !self.is_empty() || self.0.waiting_senders() > 0 || self.0.is_closed()
    }
}

impl<T> SelectHandle for Sender<T> {
    fn start(&self) -> Option<Started> {
        self.is_ready().then_some(Started::Room)
    }
    fn is_ready(&self) -> bool {
        !self.is_full() || self.0.waiting_receivers() > 0 || self.0.is_closed()
    }
}

/// Numbers that look random, for the first operation that is tried.
fn any() -> usize {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    // ORDERING: Relaxed. Any number will do.
    let n = LAST.fetch_add(0x9E37_79B9, Ordering::Relaxed);
    n.wrapping_mul(0x85EB_CA6B) >> 8
}

/// Asks `f` of each operation in turn, until one answers.
fn each<'a, R>(
    handles: &[Handle<'a>],
    biased: bool,
    f: impl Fn(&'a dyn SelectHandle) -> Option<R>,
) -> Option<(R, usize, *const u8)> {
    let first = if biased || handles.is_empty() { 0 } else { any() % handles.len() };
    let (before, after) = handles.split_at(first);
    after.iter().chain(before).find_map(|&(handle, i, address)| Some((f(handle)?, i, address)))
}

fn poll<'a>(
    handles: &[Handle<'a>],
    deadline: Option<Instant>,
    biased: bool,
) -> Option<SelectedOperation<'a>> {
    let mut found = each(handles, biased, |h| h.start());
    while found.is_none() && deadline.is_none_or(|d| Instant::now() < d) {
        thread::sleep(MOMENT / 4);
        found = each(handles, biased, |h| h.start());
        found = found.or_else(|| each(handles, biased, |h| h.start_in_a_moment()));
    }
    let (started, index, address) = found?;
    let address = NonNull::new(address.cast_mut()).expect("the address of a reference");
    Some(SelectedOperation { started, index, address, of: PhantomData })
}

fn poll_ready(handles: &[Handle<'_>], deadline: Option<Instant>, biased: bool) -> Option<usize> {
    loop {
        let ready = each(handles, biased, |h| h.is_ready().then_some(()));
        if let Some(((), index, _)) = ready {
            return Some(index);
        }
        if deadline.is_some_and(|d| Instant::now() >= d) {
            return None;
        }
        thread::sleep(MOMENT);
    }
}

/// Without waiting.
pub fn try_select<'a>(
    handles: &mut [Handle<'a>],
    biased: bool,
) -> Result<SelectedOperation<'a>, TrySelectError> {
    poll(handles, Some(Instant::now()), biased).ok_or(TrySelectError)
}

/// Waits until one can be done.
///
/// # Panics
/// If there is none.
pub fn select<'a>(handles: &mut [Handle<'a>], biased: bool) -> SelectedOperation<'a> {
    assert!(!handles.is_empty(), "a select among no operations waits for ever");
    poll(handles, None, biased).expect("without a deadline it waits")
}

/// Waits so long at most.
pub fn select_timeout<'a>(
    handles: &mut [Handle<'a>],
    timeout: Duration,
    biased: bool,
) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
    match Instant::now().checked_add(timeout) {
        Some(deadline) => poll(handles, Some(deadline), biased).ok_or(SelectTimeoutError),
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
        poll(&self.handles, Some(deadline), self.biased).ok_or(SelectTimeoutError)
    }
    /// The index of one that can be done, without doing it.
    pub fn try_ready(&mut self) -> Result<usize, TryReadyError> {
        poll_ready(&self.handles, Some(Instant::now()), self.biased).ok_or(TryReadyError)
    }
    /// The same, waiting.
    ///
    /// # Panics
    /// If there is none.
    pub fn ready(&mut self) -> usize {
        assert!(!self.handles.is_empty(), "among no operations none becomes ready");
        poll_ready(&self.handles, None, self.biased).expect("without a deadline it waits")
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
        poll_ready(&self.handles, Some(deadline), self.biased).ok_or(ReadyTimeoutError)
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
    started: Started,
    index: usize,
    address: NonNull<u8>,
    of: PhantomData<&'a ()>,
}

// The macro turns a `Result` of it with an empty error into an `Option`, by its bytes: both must keep the other case where this
// type leaves room.
const _: () =
    assert!(size_of::<Option<SelectedOperation<'_>>>() == size_of::<SelectedOperation<'_>>());

impl SelectedOperation<'_> {
    /// Which one.
    pub fn index(&self) -> usize {
        self.index
    }
    /// Sends.
    ///
    /// # Panics
    /// If it is not by this reference that the operation was added.
    pub fn send<T>(self, tx: &Sender<T>, value: T) -> Result<(), SendError<T>> {
        assert!(
            std::ptr::eq((&raw const *tx).cast(), self.address.as_ptr()),
            "another sender was chosen"
        );
        mem::forget(self);
        Ok(with(|cx| tx.0.send(cx, value))?)
    }
    /// Receives.
    ///
    /// # Panics
    /// If it is not by this reference that the operation was added.
    pub fn recv<T>(self, rx: &Receiver<T>) -> Result<T, RecvError> {
        assert!(
            std::ptr::eq((&raw const *rx).cast(), self.address.as_ptr()),
            "another receiver was chosen"
        );
        let Started::Received(result) = self.started else {
            unreachable!("a receiver's address belongs to a receive")
        };
        mem::forget(self);
        // SAFETY: boxed by `Started::received` for the receiver at this address, so with its `T`; taken once.
        *unsafe { Box::from_raw(result.cast::<Result<T, RecvError>>().as_ptr()) }
    }
}

impl fmt::Debug for SelectedOperation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("SelectedOperation { .. }")
    }
}

impl Drop for SelectedOperation<'_> {
    fn drop(&mut self) {
        panic!("a selected operation was dropped without being completed");
    }
}
