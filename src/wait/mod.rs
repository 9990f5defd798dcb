//! The wait: the one order in which every primitive sleeps, and the only caller of the parker.
//!
//! 1. `enter`: refuse in a hook, a `no_blocking` scope or outside; answer requests; `before_block`.
//! 2. The primitive: `begin`, queue under its lock, look again.
//! 3. `sleep`: publish the entry (blocker and edge); check that the owner lives; look for a deadlock; the gate to SAFE (or a
//!    request ends the wait with SERVE); give the baton up; park until the claim word says how the wait ended; take the
//!    turn; leave SAFE, behind any proxy; take the entry away, with what was reported in it.
//! 4. The primitive: unlink under its lock, unless granted or woken; `end`.
//! 5. SERVE: `serve`, and from 2 again. Else `leave`: `after_block`.
//!
//! I1. Nothing of the VM runs between 2 and 4 (R7), but for what a channel's queue tells: wakers and executors, which have no
//!     context to wait with, and whose panics end there. Between 1 and 5 no internal lock is held while a hook runs.
//! I2. In step 3, between `enter_safe` and `come_back`, only the claim word, the gate and the parker are touched, and
//!     the baton's books, which hold no value of the VM (gate I1).
//! I3. The entry is published before the check of the owner (waits I2) and the look (deadlock I2), and taken away before the
//!     thread does anything that a wait does not (waits I1).
//! I4. Under the baton each wait is one `release` and one turn, also when it ended before the thread slept (baton I1).
//!     A wait that the thread itself ended before `release` is none.
//!
//! Which wake-up goes with which end of a wait is `park`'s; which ends exist is the primitive's.

mod point;
mod sleep;

use crate::deadlock;
use crate::id::ThreadId;
use crate::park::{Entry, Epoch, Outcome, Ready, Refusal, Waiter, Wake};
use crate::shim::{self, planted};
use crate::thread::baton::{Baton, Deadline};
use crate::thread::hand::{InHand, Link};
use crate::thread::record::{self, Record};
use crate::thread::waits::{Edge, Report, Waits};
use crate::thread::{Blocker, Context, Cycle, Mask, Participant, drop_quietly};
use std::time::Instant;

pub use point::{Outside, Polled, no_blocking, outside, safe_point, uninterruptible, yield_now};
pub use sleep::sleep_until;

/// Waiting is refused here.
pub(crate) struct WouldBlock;

/// Sets a mask for as long as it lives.
struct Masked<'a, C: Context + ?Sized> {
    cx: &'a mut C,
    id: ThreadId,
    old: Mask,
}

impl<'a, C: Context + ?Sized> Masked<'a, C> {
    fn new(cx: &'a mut C, change: impl FnOnce(&mut Mask)) -> Self {
        let mut mask = cx.me().mask();
        change(&mut mask);
        let (id, old) = (cx.me().id(), cx.me().set_mask(mask));
        Self { cx, id, old }
    }
}

impl<C: Context + ?Sized> Drop for Masked<'_, C> {
    fn drop(&mut self) {
        // A token that was put in the place of ours has a mask of its own.
        if self.cx.me().id() == self.id {
            self.cx.me().set_mask(self.old);
        }
    }
}

/// Runs a hook: waits inside it are refused.
fn hook(cx: &mut dyn Context, f: impl FnOnce(&mut dyn Context)) {
    f(Masked::new(cx, |m| m.no_blocking = true).cx);
}

/// Step 1.
pub(crate) fn enter(cx: &mut dyn Context, on: &Blocker) -> Result<(), WouldBlock> {
    let seen = cx.me().record().gate().look();
    // SAFE: this thread is outside, and has a second context there.
    if cx.me().mask().no_blocking || seen.is_safe() {
        return Err(WouldBlock);
    }
    if seen.asked() {
        answer(cx);
    }
    hook(cx, |cx| cx.before_block(on));
    Ok(())
}

/// The end of step 5.
pub(crate) fn leave(cx: &mut dyn Context) {
    hook(cx, |cx| cx.after_block());
    // Destructors of the VM: when the hook is done (R7), and a panic of theirs is not this wait's.
    cx.me().record().take_kept().into_iter().for_each(drop_quietly);
}

/// Step 5 after SERVE: the wait is over for now, its hook too; answers, and enters again.
pub(crate) fn serve(cx: &mut dyn Context, on: &Blocker) {
    hook(cx, |cx| cx.after_block());
    answer(cx);
    hook(cx, |cx| cx.before_block(on));
}

/// Answers all requests, between waits; the next safe point reports it.
fn answer(cx: &mut dyn Context) {
    cx.me().thread().clone().serve_own();
    cx.me().record().gate().remember_poke();
    cx.serve();
}

/// Step 2: a new wait of this thread. `Err`: a signal is pending, or the runtime shuts down.
pub(crate) fn begin(me: &Participant) -> Result<Epoch, Refusal> {
    me.record().waiter().state().begin(!me.mask().uninterruptible)
}

/// Step 2: the same, whatever signals there are.
pub(crate) fn begin_uninterruptible(me: &Participant) -> Result<Epoch, Refusal> {
    me.record().waiter().state().begin(false)
}

/// Takes back a wait whose node is in no queue. The outcome, if somebody ended the wait before.
pub(crate) fn withdraw(me: &Participant) -> Option<Outcome> {
    let record = me.record();
    let state = record.waiter().state();
    if state.cancel() {
        return None;
    }
    let outcome = state.outcome().expect("a wait that cannot be cancelled is over");
    if let Some(baton) = me.runtime().baton() {
        safe_whatever_comes(me);
        baton.release(None);
        take_turn(record);
        come_back(record);
    }
    state.end();
    Some(outcome)
}

/// A wait that is queued, before it sleeps.
pub(crate) struct Plan<'a> {
    pub(crate) on: &'a Blocker,
    pub(crate) edge: Edge,
    pub(crate) epoch: Epoch,
    pub(crate) deadline: Option<Instant>,
    /// The thread looks for the end of the wait for a while before it sleeps.
    pub(crate) looks: bool,
}

/// How a wait ended.
pub(crate) struct Slept {
    pub(crate) outcome: Outcome,
    report: Option<Report>,
}

impl Slept {
    /// The dead owner, if that is what ended the wait.
    pub(crate) fn into_dead(self) -> ThreadId {
        match self.report {
            Some(Report::OwnerDied(dead)) => dead,
            _ => unreachable!("who claims OWNER_DIED leaves its report"),
        }
    }

    /// The ring, if that is what ended the wait.
    pub(crate) fn into_cycle(self) -> Cycle {
        match self.report {
            Some(Report::Deadlock(cycle)) => cycle,
            _ => unreachable!("who claims DEADLOCK leaves its report"),
        }
    }
}

/// Step 3. The caller then unlinks and calls `end`.
pub(crate) fn sleep(me: &Participant, plan: Plan<'_>) -> Slept {
    let Plan { on, edge, epoch, deadline, looks } = plan;
    let record = me.record();
    let detect = me.runtime().schedule().detect;
    let waits = Waits::new((me.thread(), on), edge, epoch, deadline.is_some(), detect);
    let entry = Entered(record);
    if planted("look-before-publishing") {
        let mut waits = waits;
        let verdict = judge(record, &mut waits);
        act(record, me.id(), record, verdict);
        record.with_waits(|w| *w = Some(waits));
    } else {
        let verdict = record.with_waits(|w| judge(record, w.insert(waits)));
        act(record, me.id(), record, verdict);
    }
    let outcome = doze(me, epoch, deadline, looks);
    Slept { outcome, report: entry.take().and_then(|w| w.report) }
}

/// The own entry, as long as it stands: also when this thread unwinds, it does not outlive what it names.
struct Entered(&'static Record);

impl Entered {
    fn take(self) -> Option<Waits> {
        let record = self.0;
        std::mem::forget(self);
        record.with_waits(Option::take)
    }
}
impl Drop for Entered {
    fn drop(&mut self) {
        // The report's destructor may run a VM's: outside the lock.
        drop(self.0.with_waits(Option::take));
    }
}

/// What is to be done about an entry.
enum Verdict {
    Nothing,
    /// It is part of a ring, if there is one.
    Look,
    /// Its owner is over, and its wait too.
    Orphaned(Wake),
}

/// Under the lock of the entry, which was just published or whose wait was just moved.
fn judge(record: &'static Record, w: &mut Waits) -> Verdict {
    if let Some(wake) = w.end_if_orphaned(record, record::is_over) {
        return Verdict::Orphaned(wake);
    }
    let state = record.waiter().state().waiting().filter(|_| w.detect);
    match state.and_then(|state| w.held_up_for_ever_by(state)) {
        Some(_) => Verdict::Look,
        None => Verdict::Nothing,
    }
}

/// For the thread `me` of the record `mine`, with no internal lock held.
fn act(mine: &'static Record, me: ThreadId, record: &'static Record, verdict: Verdict) {
    match verdict {
        Verdict::Nothing => {}
        Verdict::Look => deadlock::look_from(record, |cycle| {
            // A hook may have ended `me`: then the record is another thread's, and its reports too.
            if mine.id_bits() == me.get() {
                mine.keep(cycle);
            } else {
                drop_quietly(cycle);
            }
        }),
        Verdict::Orphaned(wake) => wake.now(),
    }
}

/// Somebody without the mutex moved the waiter of `id` to its queue: is the owner dead, does that close a ring? For the thread
/// `me` of the record `mine`, with no internal lock held.
pub(crate) fn look_for_another(mine: &'static Record, me: ThreadId, id: ThreadId) {
    let Some(record) = record::find(id) else { return };
    let verdict = record.with_waits(|w| w.as_mut().map(|w| judge(record, w)));
    act(mine, me, record, verdict.unwrap_or(Verdict::Nothing));
}

fn doze(me: &Participant, epoch: Epoch, deadline: Option<Instant>, looks: bool) -> Outcome {
    let record = me.record();
    let waiter = record.waiter();
    let state = waiter.state();
    let baton = me.runtime().baton();
    if !record.gate().enter_safe() {
        if state.claim(epoch, Outcome::Serve).is_some() {
            return Outcome::Serve;
        }
        match baton {
            None => return state.outcome().expect("a wait whose claim is lost is over"),
            Some(_) => safe_whatever_comes(me),
        }
    }
    if let Some(baton) = baton {
        baton.release(deadline.map(|at| Deadline { at, waiter, epoch }));
    }
    let seen = if looks { me.look_at_own_wait(deadline, || state.outcome()) } else { None };
    let outcome = seen.unwrap_or_else(|| park(waiter, epoch, deadline, baton));
    if let Some(baton) = baton {
        take_turn(record);
        if deadline.is_some() {
            baton.forget(waiter, epoch);
        }
    }
    come_back(record);
    outcome
}

fn park(
    waiter: &'static Waiter,
    epoch: Epoch,
    deadline: Option<Instant>,
    baton: Option<&Baton>,
) -> Outcome {
    let state = waiter.state();
    loop {
        if let Some(outcome) = state.outcome() {
            return outcome;
        }
        let deadline = deadline.filter(|_| state.timeable());
        if deadline.is_some_and(shim::expired) {
            match baton {
                Some(baton) => baton.fire(),
                None => drop(state.claim(epoch, Outcome::TimedOut)),
            }
        } else if state.announce_sleep() {
            waiter.park(deadline);
        }
    }
}

/// RUN -> SAFE although there may be requests: what anybody may answer is answered as a proxy would. A request that reaches
/// this thread's token by a way of its own cannot wait with it.
fn safe_whatever_comes(me: &Participant) {
    if me.record().gate().force_safe() {
        let mask = me.mask();
        me.set_mask(Mask { no_blocking: true, ..mask });
        me.thread().serve_as_own_proxy();
        me.set_mask(mask);
    }
}

fn take_turn(record: &'static Record) {
    while !record.waiter().take_turn() {
        record.waiter().park(None);
    }
}

/// SAFE -> RUN, behind any proxy.
fn come_back(record: &'static Record) {
    while !record.gate().leave_safe() {
        record.waiter().park(None);
    }
}

/// What every sleep does to the gate, and nothing else: for a model.
#[cfg(selvedge_loom)]
pub(crate) fn safe_and_back(me: &Participant) {
    if me.record().gate().enter_safe() {
        come_back(me.record());
    }
}

/// A thread runs for the first time. `queued`: its spawner put it into the baton's queue.
pub(crate) fn start(me: &Participant, queued: bool) {
    if let Some(baton) = me.runtime().baton() {
        if !queued {
            baton.ready(me.record().waiter());
        }
        take_turn(me.record());
    }
    come_back(me.record());
}

/// Where a thread may wait that needs nothing but a queue.
pub(crate) trait Site {
    /// Queues the waiter. False: what it waits for is there.
    fn enqueue(&self, waiter: &'static Waiter, entry: Entry) -> bool;
    /// Takes the waiter out, if it is linked.
    fn dequeue(&self, waiter: &'static Waiter);
    /// Its wait was granted, so it is linked nowhere; but where it waits at several places.
    fn granted(&self) {}
    /// Who holds up whoever waits here.
    fn edge(&self) -> Edge {
        Edge::None
    }
    /// What the thread holds meanwhile.
    fn in_hand(&self) -> Option<&dyn InHand> {
        None
    }
    /// Shall the thread look for the end of its wait for a while before it sleeps?
    fn looks(&self) -> bool {
        false
    }
}

/// How such a wait ended.
pub(crate) enum End {
    /// What it waited for was there, or was granted.
    Done,
    /// It was woken to see for itself.
    Woken,
    Interrupted,
    TimedOut,
    ShutDown,
    Deadlock(Cycle),
    WouldBlock,
}

/// All five steps at a `site`.
pub(crate) fn wait_at(
    cx: &mut dyn Context,
    site: &dyn Site,
    on: &Blocker,
    deadline: Option<Instant>,
) -> End {
    let record = cx.me().record();
    let link = site.in_hand().map(|holds| Link::new(record, holds));
    let _held = link.as_ref().map(|link| link.hold(record));
    if enter(cx, on).is_err() {
        return End::WouldBlock;
    }
    let end = loop {
        match once(cx.me(), site, on, deadline) {
            Some(end) => break end,
            None => serve(cx, on),
        }
    };
    leave(cx);
    end
}

/// Steps 2 to 4; none: SERVE.
fn once(me: &Participant, site: &dyn Site, on: &Blocker, deadline: Option<Instant>) -> Option<End> {
    let (record, id) = (me.record(), me.id());
    let epoch = match begin(me) {
        Ok(epoch) => epoch,
        Err(Refusal::Interrupted) => return Some(End::Interrupted),
        Err(Refusal::ShutDown) => return Some(End::ShutDown),
    };
    if !site.enqueue(record.waiter(), Entry { id, epoch, starves: false, object: 0 }) {
        // What was waited for is there; a signal that came too late stays pending.
        let _ = withdraw(me);
        return Some(End::Done);
    }
    let slept = sleep(me, Plan { on, edge: site.edge(), epoch, deadline, looks: site.looks() });
    match slept.outcome {
        Outcome::Granted => site.granted(),
        _ => site.dequeue(record.waiter()),
    }
    record.waiter().state().end();
    Some(match slept.outcome {
        Outcome::Granted => End::Done,
        Outcome::Woken => End::Woken,
        Outcome::Interrupted => End::Interrupted,
        Outcome::TimedOut => End::TimedOut,
        Outcome::ShutDown => End::ShutDown,
        Outcome::Deadlock => End::Deadlock(slept.into_cycle()),
        Outcome::OwnerDied => unreachable!("only a mutex has an owner"),
        Outcome::Serve => return None,
    })
}

#[cfg(all(test, not(any(selvedge_loom, selvedge_shuttle))))]
mod tests {
    use super::*;
    use crate::shim::{Arc, AtomicU32, Ordering::*};
    use crate::thread::{BlockerKind, Link, Runtime};

    struct Vm {
        me: Participant,
        blocked: Arc<AtomicU32>,
    }
    impl Context for Vm {
        fn me(&self) -> &Participant {
            &self.me
        }
        fn me_mut(&mut self) -> &mut Participant {
            &mut self.me
        }
        fn before_block(&mut self, _: &Blocker) {
            // ORDERING: Relaxed. One thread at a time, under the baton; the same below.
            self.blocked.swap(1, Relaxed);
        }
        fn after_block(&mut self) {
            // ORDERING: Relaxed. As above.
            self.blocked.swap(0, Relaxed);
        }
    }

    /// Notes whether the VM was between its hooks.
    struct Bomb(Arc<AtomicU32>, Arc<AtomicU32>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            // ORDERING: Relaxed. As above.
            self.1.swap(1 + self.0.load(Relaxed), Relaxed);
            std::panic::resume_unwind(Box::new("bomb"));
        }
    }

    #[test]
    fn a_report_that_nobody_got_is_dropped_after_the_hooks() {
        // With the baton a thread has dropped its own handle before its joiner runs.
        let vm = Runtime::builder().baton(true).build();
        let me = vm.attach("main").unwrap();
        let (blocked, dropped) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let mut cx = Vm { me, blocked: blocked.clone() };
        let (b, d) = (blocked.clone(), dropped.clone());
        let over = vm.spawn("over", move |_| Ok::<_, ()>(Arc::new(Bomb(b, d)))).unwrap();
        drop(over.thread().join(&mut cx).unwrap());
        let on = Blocker::new(BlockerKind::Sleep, None);
        let link = Link { thread: over.thread().clone(), waits_for: on.clone(), holds: on };
        drop(over);
        cx.me.record().keep(Cycle::new(vec![link]));
        sleep_until(&mut cx, Instant::now()).unwrap();
        // ORDERING: Relaxed. As above.
        assert_eq!((dropped.load(Relaxed), blocked.load(Relaxed)), (1, 0));
    }
}
