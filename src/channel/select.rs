//! Select: one of several sends and receives, whichever can be done first.
//!
//! 1. Each arm is tried, in a random order or in theirs.
//! 2. None could, one after the other: the locks of all channels are taken, by rank, each channel once, head before tail
//!    (core). Each arm is looked at again, so that "none" is true of all at one moment. To wait, all queue before the locks
//!    are given back.
//! 3. The wait is over: each arm leaves its queue, under its channel's lock. The one by which the wait was claimed has won.
//!
//! I1. Under all locks the thread is in no queue, so what it finds there is another thread's: one claim, and never of
//!     itself.
//! I2. All its nodes carry one wait, which one claim ends: at most one arm moves a value.
//! I3. Nobody else holds locks of two channels (`visit` forbids it to its function), so their order is all that is needed
//!     against a ring.

use super::arm::Case;
use super::arm::sealed::{Raw, Wait};
use crate::park::{Entry, Waiter};
use crate::shim::{self, planted};
use crate::thread::hand::InHand;
use crate::thread::{Blocker, BlockerKind, Context, Participant};
use crate::wait::{self, End, Site};
use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::time::Instant;

/// Waits for one of several sends and receives, and does that one.
///
/// Arms come from [`Receiver::arm`](super::Receiver::arm), [`Sender::arm`](super::Sender::arm) and
/// [`Sender::reserve_arm`](super::Sender::reserve_arm), of any channels and of any types; one channel may be there twice,
/// and on both sides (a select never meets itself). Exactly one arm is chosen; the others have done nothing, and a send
/// among them has its value still. A closed channel can be chosen at any time, as it answers at once: take its arm out.
///
/// Of several arms that can be done, a random one is chosen, so that none starves; with [`biased`](Self::biased) the first
/// one.
///
/// # Examples
/// ```
/// use selvedge::channel::{self, Select};
/// use selvedge::Runtime;
/// let vm = Runtime::new();
/// let mut cx = vm.attach("main")?;
/// let (jobs, to_do) = channel::unbounded();
/// let (stop, stopped) = channel::rendezvous::<()>();
/// jobs.send(&mut cx, "sweep")?;
///
/// let (mut job, mut end) = (to_do.arm(), stopped.arm());
/// let chosen = Select::new().arm(&mut job).arm(&mut end).wait(&mut cx)?;
/// assert_eq!(chosen, 0);
/// assert_eq!(job.complete(), Ok("sweep"));
/// # drop(stop);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
/// A list that is made while the program runs:
/// ```
/// # use selvedge::channel::{self, Select};
/// # use selvedge::Runtime;
/// # let vm = Runtime::new();
/// # let mut cx = vm.attach("main")?;
/// let channels: Vec<_> = (0..20).map(|_| channel::bounded(1)).collect();
/// channels[17].0.send(&mut cx, "here")?;
/// let mut arms: Vec<_> = channels.iter().map(|(_, rx)| rx.arm()).collect();
/// let mut select = Select::new();
/// for arm in &mut arms {
///     select = select.arm(arm);
/// }
/// let chosen = select.wait(&mut cx)?;
/// assert_eq!(arms.swap_remove(chosen).complete(), Ok("here"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "`wait` or `try_now` does it"]
pub struct Select<'a> {
    few: [Option<Numbered<'a>>; FEW],
    more: Vec<Numbered<'a>>,
    len: usize,
    biased: bool,
    deadline: Option<Instant>,
}

/// So many arms need no allocation.
const FEW: usize = 8;

/// An arm, and the how manieth it was that was added: they change places.
type Numbered<'a> = (&'a dyn Raw, usize);

/// No arm was chosen; none has done anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SelectError {
    /// A signal is pending: take it.
    Interrupted,
    /// The deadline passed.
    TimedOut,
    /// The runtime shuts down.
    ShutDown,
    /// Waiting is refused here: inside a hook, or in a [`no_blocking`](crate::no_blocking) scope.
    WouldBlock,
    /// There is no arm, and no deadline: it would wait for ever.
    NoArms,
}

impl fmt::Display for SelectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupted => "the select was interrupted by a signal",
            Self::TimedOut => "the select timed out",
            Self::ShutDown => "the runtime shuts down",
            Self::WouldBlock => "the select would wait where waiting is refused",
            Self::NoArms => "a select without arms and without a deadline",
        })
    }
}
impl Error for SelectError {}

impl<'a> Select<'a> {
    /// Without arms.
    pub fn new() -> Self {
        let few = [const { None }; FEW];
        Self { few, more: Vec::new(), len: 0, biased: false, deadline: None }
    }

    /// One arm more; the first one has number 0. Up to eight need no allocation.
    pub fn arm(mut self, arm: &'a mut (impl Case + ?Sized)) -> Self {
        let arm = (arm.raw(), self.len);
        match self.few.get_mut(self.len) {
            Some(place) => *place = Some(arm),
            None => self.more.push(arm),
        }
        self.len += 1;
        self
    }

    /// Of several arms that can be done, the one that was added first is chosen (core.async's `:priority`). While a wait
    /// goes on, whoever comes first decides.
    pub fn biased(self) -> Self {
        Self { biased: true, ..self }
    }

    /// Until `deadline` at the latest: then [`SelectError::TimedOut`].
    pub fn until(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// How many arms there are.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn at(&self, place: usize) -> Numbered<'a> {
        match self.few.get(place) {
            Some(arm) => arm.expect("an arm that was added"),
            None => self.more[place - FEW],
        }
    }
    fn case(&self, place: usize) -> &'a dyn Raw {
        self.at(place).0
    }
    fn put(&mut self, place: usize, arm: Numbered<'a>) {
        match self.few.get_mut(place) {
            Some(few) => *few = Some(arm),
            None => self.more[place - FEW] = arm,
        }
    }

    /// The arm that can be done without a wait, which is done; none: no arm could, at one moment of the call for all of
    /// them. (A select's `default`.)
    ///
    /// # Cost
    /// That of as many `try_send`s and `try_recv`s as there are arms before it. Of several arms of which none can be done,
    /// also the locks of all channels for a moment; more than eight allocate.
    pub fn try_now(mut self, me: &Participant) -> Option<usize> {
        self.try_each(me).or_else(|| self.try_together())
    }

    /// Shuffles the arms as far as it comes. A random first one alone would be unfair: the arm behind those that cannot be
    /// done would have their turns too.
    fn try_each(&mut self, me: &Participant) -> Option<usize> {
        for place in 0..self.len {
            let left = self.len - place;
            if !self.biased && left > 1 {
                let (this, other) = (self.at(place), place + me.draw(left));
                self.put(place, self.at(other));
                self.put(other, this);
            }
            let (arm, number) = self.at(place);
            if arm.try_now() {
                return Some(number);
            }
        }
        None
    }

    fn try_in_order(&self) -> Option<usize> {
        (0..self.len).map(|place| self.at(place)).find(|(arm, _)| arm.try_now()).map(|(_, n)| n)
    }

    /// After each arm in its turn had nothing: meanwhile an earlier one may have become ready, and a later one not ready any
    /// more.
    #[cold]
    fn try_together(&self) -> Option<usize> {
        // What one arm found was true for all.
        if self.len < 2 || planted("arms-are-tried-one-by-one") {
            return None;
        }
        self.choosing(|site| {
            site.firsts().for_each(Raw::hold);
            let found = site.look();
            site.let_go();
            found
        })
    }

    fn choosing<R>(&self, f: impl FnOnce(&Choosing<'_, 'a>) -> R) -> R {
        let (mut few, mut more) = ([0; FEW], Vec::new());
        let order = if self.len <= FEW {
            &mut few[..self.len]
        } else {
            more.resize(self.len, 0);
            &mut more[..]
        };
        order.iter_mut().enumerate().for_each(|(n, place)| *place = n);
        // The places as well: the arms of one channel keep their order.
        order.sort_unstable_by_key(|&n| (self.case(n).key(), n));
        let (chosen, again) = (Cell::new(None), Cell::new(false));
        f(&Choosing { select: self, order, chosen, again })
    }

    /// Waits until an arm can be done, does it, and gives its number: the arm's `complete` has what came of it.
    ///
    /// # Errors
    /// See [`SelectError`].
    /// # Blocking
    /// Yes, as [`Sender::send`](super::Sender::send).
    /// # Ordering
    /// As that of the arm.
    /// # Cost
    /// As [`try_now`](Self::try_now) if an arm can be done. A wait takes the locks of all channels for a moment, and once
    /// more that of each when it is over. More than eight arms allocate.
    pub fn wait<C: Context>(mut self, cx: &mut C) -> Result<usize, SelectError> {
        match self.try_each(cx.me()) {
            Some(number) => Ok(number),
            None => self.wait_contended(cx),
        }
    }

    #[cold]
    fn wait_contended(&self, cx: &mut dyn Context) -> Result<usize, SelectError> {
        if self.is_empty() && self.deadline.is_none() {
            return Err(SelectError::NoArms);
        }
        let label = if self.len == 1 { self.case(0).label() } else { None };
        let on = Blocker::new(BlockerKind::Select, label);
        let (end, chosen) = self.choosing(|site| {
            loop {
                let timers = (0..self.len).filter_map(|n| self.case(n).deadline());
                let until = timers.chain(self.deadline).min();
                let end = wait::wait_at(cx, site, &on, until);
                let late = matches!(end, End::TimedOut);
                // An event of a timer, the deadline, or both.
                let found = site.chosen.get().or_else(|| late.then(|| self.try_in_order())?);
                if found.is_some() || !late || self.deadline.is_some_and(shim::expired) {
                    return (end, found);
                }
            }
        });
        if let Some(number) = chosen {
            return Ok(number);
        }
        Err(match end {
            End::Interrupted => SelectError::Interrupted,
            End::TimedOut => SelectError::TimedOut,
            End::ShutDown => SelectError::ShutDown,
            End::WouldBlock => SelectError::WouldBlock,
            End::Done | End::Woken => unreachable!("an arm was chosen then"),
            End::Deadlock(_) => unreachable!("a select waits for no thread"),
        })
    }
}

/// A select that waits.
struct Choosing<'s, 'a> {
    select: &'s Select<'a>,
    /// The places of the arms, by the rank of their channel.
    order: &'s [usize],
    /// The number of the arm.
    chosen: Cell<Option<usize>>,
    /// It was asked for something meanwhile: its arms go back to their places.
    again: Cell<bool>,
}

impl Choosing<'_, '_> {
    fn cases(&self) -> impl Iterator<Item = &dyn Raw> {
        self.order.iter().map(|&n| self.select.case(n))
    }
    /// The first arm of each channel.
    fn firsts(&self) -> impl Iterator<Item = &dyn Raw> {
        let mut last = 0;
        self.cases().filter(move |case| std::mem::replace(&mut last, case.key()) != case.key())
    }
    /// Where the locks are that guard this arm.
    fn guard(&self, case: &dyn Raw) -> *const () {
        let at = self.order.partition_point(|&n| self.select.case(n).key() < case.key());
        self.select.case(self.order[at]).guard()
    }
    /// With all locks held: the first arm that can be done, which is done.
    fn look(&self) -> Option<usize> {
        let mut places = 0..self.select.len;
        let looks = !planted("select-looks-at-no-arm");
        let found = places.find(|&n| {
            if !looks || n != 0 && planted("select-looks-at-one-arm") {
                return false;
            }
            let case = self.select.case(n);
            // SAFETY: the guard of the first arm of its channel, which holds.
            unsafe { case.look(self.guard(case)) }
        });
        found.map(|n| self.select.at(n).1)
    }
    /// Gives the locks back, and tells who is to be told.
    fn let_go(&self) {
        self.firsts().for_each(Raw::let_go);
        if !planted("select-tells-nobody") {
            self.cases().for_each(Raw::tell);
        }
    }
    fn leave(&self, granted: bool) {
        for n in 0..self.select.len {
            let (arm, number) = self.select.at(n);
            if arm.leave(granted) {
                self.chosen.set(Some(number));
            }
        }
    }
}

impl Site for Choosing<'_, '_> {
    fn enqueue(&self, waiter: &'static Waiter, entry: Entry) -> bool {
        let select = self.select;
        if planted("select-locks-as-added") {
            let cases = (0..select.len).map(|n| select.case(n));
            cases.filter(|&case| self.guard(case) == case.guard()).for_each(Raw::hold);
        } else {
            self.firsts().for_each(Raw::hold);
        }
        let found = self.look();
        self.chosen.set(found);
        if found.is_none() {
            let again = self.again.replace(true) && !planted("select-loses-its-place");
            let again = again || planted("select-jumps-the-line");
            let wait = Wait(waiter, entry.epoch, again);
            // Receives first: who wants a place meets receivers that come, and these are its own.
            let (first, then) = (self.cases(), self.cases());
            for case in first.filter(|c| c.receives()).chain(then.filter(|c| !c.receives())) {
                // SAFETY: the guard of the first arm of its channel, which holds. Arms are borrowed as long as the select,
                // and `granted` or `dequeue` makes them leave.
                unsafe { case.queue(self.guard(case), wait) };
            }
        }
        self.let_go();
        found.is_none()
    }

    fn dequeue(&self, _: &'static Waiter) {
        self.leave(false);
    }
    fn granted(&self) {
        self.leave(true);
    }
    fn in_hand(&self) -> Option<&dyn InHand> {
        Some(self)
    }
    fn looks(&self) -> bool {
        true
    }
}

impl InHand for Choosing<'_, '_> {
    fn channels(&self, f: &mut dyn FnMut(usize)) {
        self.firsts().for_each(|case| f(case.key()));
    }
    unsafe fn each(&self, waiter: &Waiter, channel: usize, f: *mut ()) {
        for case in self.cases().filter(|case| case.key() == channel) {
            // SAFETY: the caller's promise; an arm of this channel, and so of its type.
            unsafe { case.each(waiter.is_granted(), f) };
        }
    }
}

impl Default for Select<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = f.debug_struct("Select");
        s.field("arms", &self.len).field("biased", &self.biased).finish_non_exhaustive()
    }
}
