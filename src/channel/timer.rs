//! Timers: receivers of what the clock sends.
//!
//! | `next`     | meaning                        | leaves by                                                         |
//! |------------|--------------------------------|-------------------------------------------------------------------|
//! | an instant | then the next event is due     | a receive, then or later -> the event after it; `close` -> none   |
//! | none       | no event comes                 | never                                                             |
//!
//! There is no thread behind a timer, and no store of events: whoever wants the next one sleeps until it is due. One that
//! nobody waits for costs nothing.
//!
//! I1. `next` and the queue change under the side's lock.
//! I2. An event is taken when it is due, not before: a wait that ends otherwise has taken nothing.
//! I3. `next` never becomes earlier. So a thread that sleeps until `next` as it was does not oversleep an event; if another
//!     one took it, it sleeps again.
//! I4. Threads queue only to be told of a close. After CLOSED nobody queues.
//! E1. The side's lock.

mod arm;

use super::core::Kind;
use super::error::{RecvError, TryRecvError};
use super::handle::{Book, Ends, Handle, Id, Source};
use super::node::{Node, Nodes};
use super::side::{CLOSED, Held, LEFT, Side};
use super::{Builder, Receiver};
use crate::park::{Entry, Waiter};
use crate::shim::{self, Arc, AtomicU64, Ordering::*, Rank, planted};
use crate::thread::{Blocker, BlockerKind, Context, Hands, LabelRef};
use crate::wait::{self, End, Site};
pub(super) use arm::TimerArm;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// A receiver to which nothing ever comes: a place holder, where a program has an arm to switch off.
///
/// A receive waits for a deadline, a signal, or a [`close`](Receiver::close). Its capacity is 0.
pub fn never<T>() -> Receiver<T> {
    Builder::new().never()
}

/// A receiver to which one value comes, that instant, then. It has been, if the instant is past.
///
/// No thread stands behind it: a receive sleeps until the event is due, as every wait does. Clones share the one event: one
/// receive gets it. Afterwards nothing comes any more, and a receive waits as at [`never()`]. It has no senders, and is not
/// closed by that; [`close`](Receiver::close) closes it, with an event that nobody has received. The value is the instant at
/// which the event was due, however late it is received. Its capacity is 1, and it is full from then on until the event is
/// received.
///
/// # Examples
/// ```
/// use selvedge::{Runtime, channel};
/// use std::time::{Duration, Instant};
/// let vm = Runtime::new();
/// let mut cx = vm.attach("main")?;
/// let then = Instant::now() + Duration::from_millis(5);
/// let alarm = channel::at(then);
/// assert_eq!(alarm.recv(&mut cx)?, then);
/// assert!(Instant::now() >= then);
/// assert!(alarm.try_recv().is_err(), "once");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn at(instant: Instant) -> Receiver<Instant> {
    Builder::new().at(instant)
}

/// As [`at`], after that time from now. Longer than the clock goes: never.
pub fn after(time: Duration) -> Receiver<Instant> {
    Builder::new().after(time)
}

/// A receiver to which an instant comes every `period`, for the first time in one from now.
///
/// What nobody receives in time does not pile up: it holds one event, and the next one is due a period after that, or after
/// the call that receives it, whichever is later. So who always waits in time gets events at even distances, however long it
/// takes to wake; and who comes late gets one at once. A period of zero: one is always due; one longer than the clock
/// goes: never. In all else it is as [`at`].
///
/// # Examples
/// ```
/// use selvedge::{Runtime, channel};
/// use std::time::{Duration, Instant};
/// let vm = Runtime::new();
/// let mut cx = vm.attach("main")?;
/// let period = Duration::from_millis(2);
/// let ticker = channel::tick(period);
/// let (first, second) = (ticker.recv(&mut cx)?, ticker.recv(&mut cx)?);
/// assert!(second - first >= period);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn tick(period: Duration) -> Receiver<Instant> {
    Builder::new().tick(period)
}

impl Builder {
    /// See [`never()`].
    pub fn never<T>(self) -> Receiver<T> {
        self.timer(None, None, |_| unreachable!("nothing comes"), 0)
    }
    /// See [`at`].
    pub fn at(self, instant: Instant) -> Receiver<Instant> {
        self.timer(Some(instant), None, |at| at, 1)
    }
    /// See [`after`].
    pub fn after(self, time: Duration) -> Receiver<Instant> {
        self.timer(Instant::now().checked_add(time), None, |at| at, 1)
    }
    /// See [`tick`].
    pub fn tick(self, period: Duration) -> Receiver<Instant> {
        self.timer(Instant::now().checked_add(period), Some(period), |at| at, 1)
    }

    fn timer<T>(
        self,
        next: Option<Instant>,
        period: Option<Duration>,
        make: fn(Instant) -> T,
        capacity: usize,
    ) -> Receiver<T> {
        let timer = Timer {
            side: Side::new(Events { next, period }),
            waiting: Nodes::new(),
            make,
            capacity,
            label: self.traits.label,
            receivers: AtomicU64::new(1),
            book: Book::new(),
            rank: Rank::new(),
        };
        Receiver(Handle::new(Source::Timer(Arc::new(timer))))
    }
}

pub(super) struct Timer<T> {
    side: Side<Events>,
    waiting: Nodes<()>,
    make: fn(Instant) -> T,
    capacity: usize,
    pub(super) label: LabelRef,
    receivers: AtomicU64,
    book: Book,
    pub(super) rank: Rank,
}

struct Events {
    next: Option<Instant>,
    period: Option<Duration>,
}

/// What a look at a timer finds.
#[derive(Clone, Copy)]
enum Look {
    /// An event, which is the looker's.
    Due(Instant),
    /// When to look again; none: no event comes.
    Later(Option<Instant>),
    Closed,
}

impl Events {
    /// Takes the event that is due, by a call that began at `start`, or now.
    fn take(&mut self, start: Option<Instant>) -> Option<Instant> {
        let due = self.next.filter(|&at| shim::expired(at))?;
        let from = |start: Instant| start.max(due);
        self.next =
            self.period.and_then(|p| from(start.unwrap_or_else(Instant::now)).checked_add(p));
        Some(due)
    }
}

impl<T> Timer<T> {
    fn look(side: &mut Held<'_, Events>, start: Option<Instant>) -> Look {
        if side.has(CLOSED) {
            return Look::Closed;
        }
        side.part(|events| match events.take(start) {
            Some(at) => Look::Due(at),
            None => Look::Later(events.next),
        })
    }

    pub(super) fn try_recv(&self, id: Option<Id>) -> Result<T, TryRecvError> {
        if id.is_some_and(|id| self.has_left(Kind::Receive, id)) {
            return Err(TryRecvError::Closed);
        }
        let look = Self::look(&mut self.side.lock(), None);
        match look {
            Look::Due(at) => Ok((self.make)(at)),
            Look::Later(_) => Err(TryRecvError::Empty),
            Look::Closed => Err(TryRecvError::Closed),
        }
    }

    pub(super) fn recv<C: Context>(
        &self,
        cx: &mut C,
        deadline: Option<Instant>,
        id: Id,
    ) -> Result<T, RecvError> {
        if self.has_left(Kind::Receive, id) {
            return Err(RecvError::Closed);
        }
        self.wait(cx, deadline).map(self.make)
    }

    #[cold]
    fn wait(&self, cx: &mut dyn Context, deadline: Option<Instant>) -> Result<Instant, RecvError> {
        let start = Instant::now();
        let on = Blocker::new(BlockerKind::Receive, self.label.clone());
        let mut late = false;
        loop {
            let look = Self::look(&mut self.side.lock(), Some(start));
            let next = match look {
                Look::Due(at) => return Ok(at),
                Look::Closed => return Err(RecvError::Closed),
                Look::Later(_) if late => return Err(RecvError::TimedOut),
                Look::Later(next) => next,
            };
            let site = Waiting::new(self, start);
            let until = [next, deadline].into_iter().flatten().min();
            let end = wait::wait_at(cx, &site, &on, until);
            return Err(match (site.found.get(), end) {
                (Some(Look::Due(at)), _) => return Ok(at),
                (Some(Look::Closed), _) | (_, End::Woken | End::Done) => RecvError::Closed,
                (_, End::TimedOut) => {
                    // An event, the deadline, or both.
                    late = deadline.is_some_and(shim::expired);
                    continue;
                }
                (_, End::Interrupted) => RecvError::Interrupted,
                (_, End::ShutDown) => RecvError::ShutDown,
                (_, End::WouldBlock) => RecvError::WouldBlock,
                (_, End::Deadlock(_)) => unreachable!("a receive waits for no thread"),
            });
        }
    }

    pub(super) fn recv_many<C: Context>(
        &self,
        cx: &mut C,
        into: &mut Vec<T>,
        max: usize,
        deadline: Option<Instant>,
        id: Id,
    ) -> Result<usize, RecvError> {
        if self.has_left(Kind::Receive, id) {
            return Err(RecvError::Closed);
        }
        if max == 0 {
            return Ok(0);
        }
        // Nothing allocates, and so nothing fails, between a receive and its push.
        into.reserve(1);
        into.push(self.recv(cx, deadline, id)?);
        Ok(1)
    }

    /// No event comes any more; who waits is told. True: by this call.
    pub(super) fn close(&self) -> bool {
        self.close_with_event().0
    }

    /// The same, with the event that was due.
    pub(super) fn close_discarding(&self, f: &mut dyn FnMut(T)) -> bool {
        let (first, due) = self.close_with_event();
        if let Some(at) = due {
            f((self.make)(at));
        }
        first
    }

    fn close_with_event(&self) -> (bool, Option<Instant>) {
        let (mut first, mut due) = (false, None);
        loop {
            let mut side = self.side.lock();
            if !side.has(CLOSED) {
                side.set(CLOSED, true);
                (first, due) = (true, side.part(|events| events.take(None)));
            }
            let forgets = planted("close-forgets-who-waits-for-a-timer");
            let wake = if forgets { None } else { self.waiting.dismiss(false) };
            drop(side);
            match wake {
                Some(told) => told.now(),
                None => return (first, due),
            }
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.side.flags() & CLOSED != 0
    }

    pub(super) fn handles(&self, end: Kind) -> usize {
        match end {
            Kind::Send => 0,
            // ORDERING: Relaxed. A snapshot.
            Kind::Receive => self.receivers.load(Relaxed) as usize,
        }
    }

    /// Is an event due?
    pub(super) fn len(&self) -> usize {
        let mut side = self.side.lock();
        let open = !side.has(CLOSED);
        (open && side.part(|events| events.next.is_some_and(shim::expired))).into()
    }
    pub(super) fn there(&self) -> usize {
        self.len()
    }
    /// No value of a VM is in it.
    pub(super) fn visit(&self, _: &mut dyn FnMut(&mut T)) {}
    /// The same.
    pub(super) unsafe fn for_each_mut(&self, _: &Hands<'_>, _: &mut dyn FnMut(&mut T)) {}
    pub(super) fn capacity(&self) -> Option<usize> {
        Some(self.capacity)
    }
    pub(super) fn waiting(&self, end: Kind) -> usize {
        let _side = self.side.lock();
        match end {
            Kind::Send => 0,
            Kind::Receive => self.waiting.len(),
        }
    }
}

impl<T> Ends for Timer<T> {
    fn book(&self) -> &Book {
        &self.book
    }
    fn flag(&self, end: Kind) -> bool {
        self.side.flags() & LEFT[end as usize] != 0
    }
    fn set_flag(&self, end: Kind, up: bool) {
        self.side.lock().set(LEFT[end as usize], up);
    }
    fn add_handle(&self, _: Kind) {
        // ORDERING: Relaxed. If the count is 0, the timer is closed and stays so.
        self.receivers.fetch_add(1, Relaxed);
    }
    fn remove_handle(&self, _: Kind) {
        // ORDERING: Relaxed. What the others did passes by the side's lock, which `close` takes.
        if self.receivers.fetch_sub(1, Relaxed) == 1 {
            self.close();
        }
    }
}

/// A wait for an event, or for the end.
struct Waiting<'a, T> {
    timer: &'a Timer<T>,
    node: Node<()>,
    start: Instant,
    found: Cell<Option<Look>>,
    again: Cell<bool>,
}

impl<'a, T> Waiting<'a, T> {
    fn new(timer: &'a Timer<T>, start: Instant) -> Self {
        Self { timer, node: Node::empty(), start, found: Cell::new(None), again: Cell::new(false) }
    }
}

impl<T> Site for Waiting<'_, T> {
    fn enqueue(&self, waiter: &'static Waiter, entry: Entry) -> bool {
        let mut side = self.timer.side.lock();
        match Timer::<T>::look(&mut side, Some(self.start)) {
            Look::Later(_) => {
                self.timer.waiting.push(&self.node, waiter, entry, self.again.replace(true));
                true
            }
            found => {
                self.found.set(Some(found));
                false
            }
        }
    }

    fn dequeue(&self, _: &'static Waiter) {
        let _side = self.timer.side.lock();
        let _ = self.timer.waiting.remove(&self.node);
    }
}

#[cfg(all(test, not(any(selvedge_loom, selvedge_shuttle))))]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_next_event_is_a_period_after_the_last_or_after_the_call() {
        let due = Instant::now();
        let mut events = Events { next: Some(due), period: Some(MS) };
        // A call that waited for it: the time that waking took does not count.
        assert_eq!((events.take(due.checked_sub(MS)), events.next), (Some(due), Some(due + MS)));
        // One that came late.
        let late = due + 7 * MS;
        events.next = Some(due);
        assert_eq!((events.take(Some(late)), events.next), (Some(due), Some(late + MS)));
        // One whose beginning is now.
        events.next = Some(due);
        let before = Instant::now();
        assert_eq!(events.take(None), Some(due));
        assert!(events.next >= Some(before + MS) && events.next <= Some(Instant::now() + MS));
    }

    #[test]
    fn an_event_is_not_taken_before_its_time_and_not_twice() {
        let due = Instant::now() + Duration::from_secs(3600);
        let mut events = Events { next: Some(due), period: None };
        assert_eq!((events.take(None), events.next), (None, Some(due)));
        events.next = Some(Instant::now());
        assert!(events.take(None).is_some());
        assert_eq!((events.take(None), events.next), (None, None));
    }

    #[test]
    fn after_the_last_instant_there_is_none() {
        let due = Instant::now();
        let mut events = Events { next: Some(due), period: Some(Duration::MAX) };
        assert_eq!((events.take(Some(due)), events.next), (Some(due), None));
    }
}
