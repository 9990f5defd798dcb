//! Safe points, yields, foreign code, and the scopes that change what a wait does.

use super::{Masked, answer, come_back, hook, safe_whatever_comes, serve, take_turn};
use crate::park::Ready;
use crate::shim;
use crate::thread::gate::Seen;
use crate::thread::{Blocker, BlockerKind, Context, Participant};
use std::fmt;

/// What a safe point found.
#[derive(Clone, Copy)]
pub struct Polled(Option<Seen>);

impl Polled {
    /// Nothing.
    #[inline]
    pub fn is_quiet(self) -> bool {
        self.0.is_none()
    }
    /// A signal is pending: [`take_signal`](Participant::take_signal). Reported until it is taken.
    #[inline]
    pub fn signal(self) -> bool {
        self.0.is_some_and(Seen::signal)
    }
    /// The runtime shuts down: end the thread. Reported for ever.
    #[inline]
    pub fn shut_down(self) -> bool {
        self.0.is_some_and(Seen::stop)
    }
    /// Requests were answered, or a [`poke`](crate::Thread::poke) came, since the last safe point. Reported once;
    /// a request that comes in the middle of a safe point is answered by it, and may be reported by the next one again.
    #[inline]
    pub fn poked(self) -> bool {
        self.0.is_some_and(Seen::poked)
    }
}

impl fmt::Debug for Polled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = f.debug_struct("Polled");
        s.field("signal", &self.signal()).field("shut_down", &self.shut_down());
        s.field("poked", &self.poked()).finish()
    }
}

/// A safe point: the VM holds no borrowed value here. Answers requests, and reports what is pending; it takes no signal.
///
/// # Blocking
/// It does not wait, but a collection may happen here. Requests that [`ask`](crate::Thread::ask) left run here; so does
/// [`Context::serve`].
/// # Cost
/// Nothing pending: one relaxed load and a branch.
#[inline(always)]
pub fn safe_point<C: Context>(cx: &mut C) -> Polled {
    if cx.me().record().gate().look().is_quiet() {
        return Polled(None);
    }
    poll(cx)
}

#[cold]
fn poll(cx: &mut dyn Context) -> Polled {
    let gate = cx.me().record().gate();
    let mut seen = gate.look();
    if seen.marked() {
        gate.clear_mark();
        seen = seen.without_mark();
    }
    if seen.poked() {
        cx.me().thread().clone().serve_own();
        cx.serve();
    }
    Polled((!seen.is_quiet()).then_some(seen))
}

/// Lets other threads run; a safe point too. Under the baton the thread queues behind all that are ready, and returns when
/// its turn comes; inside [`no_blocking`] or a hook it keeps the baton, [`outside`] it has none. In parallel mode it gives
/// the rest of its time slice to the system.
///
/// # Blocking
/// Under the baton, yes: between [`before_block`](Context::before_block) and [`after_block`](Context::after_block).
pub fn yield_now<C: Context>(cx: &mut C) -> Polled {
    let before = safe_point(cx);
    let cx: &mut dyn Context = cx;
    if cx.me().runtime().baton().is_none() {
        shim::yield_now();
        return before;
    }
    if cx.me().mask().no_blocking || cx.me().record().gate().look().is_safe() {
        return before;
    }
    let on = Blocker::new(BlockerKind::Turn, None);
    hook(cx, |cx| cx.before_block(&on));
    while !cx.me().record().gate().enter_safe() {
        serve(cx, &on);
    }
    let me = cx.me();
    if let Some(baton) = me.runtime().baton() {
        baton.hand_on(me.record().waiter());
        take_turn(me.record());
    }
    come_back(me.record());
    hook(cx, |cx| cx.after_block());
    let seen = cx.me().record().gate().look();
    let after = if seen.is_quiet() { before } else { poll(cx) };
    // What the first poll answered is reported as well.
    if before.poked() && !after.poked() { before.or_state_of(after) } else { after }
}

impl Polled {
    /// A poke that was answered before, with the signals and the shutdown of now.
    fn or_state_of(self, now: Self) -> Self {
        Self(match (self.0, now.0) {
            (Some(a), Some(b)) => Some(a.with_state_of(b)),
            (a, b) => b.or(a),
        })
    }
}

/// Runs foreign code: the thread counts as stopped, others may collect, hand it nothing, and answer requests for it. Under
/// the baton it gives the baton up, and queues for it at the end. Signals stay pending. It calls neither
/// [`before_block`](Context::before_block) nor [`after_block`](Context::after_block): a VM with a collector publishes its roots
/// before.
///
/// # Blocking
/// `f` may block as it likes, by foreign means; it has no context to wait with, and a wait by a second context of the thread
/// fails with `WouldBlock`. The way back waits for the baton and for whoever works on this thread's behalf; no signal and no
/// shutdown ends that.
/// # Ordering
/// Everything before the call happens-before what others do for the thread meanwhile; that happens-before the return.
/// # Cost
/// Nothing pending, no baton: two read-modify-writes.
pub fn outside<C: Context, R>(cx: &mut C, f: impl FnOnce(&mut Outside<'_, C>) -> R) -> R {
    let seen = cx.me().record().gate().look();
    if seen.asked() && !seen.is_safe() {
        answer(cx);
    }
    let mut o = Outside { cx, out: false };
    o.out = o.go_out();
    let r = f(&mut o);
    drop(o);
    r
}

/// The inside of [`outside`].
pub struct Outside<'a, C: Context> {
    cx: &'a mut C,
    /// It went out by this.
    out: bool,
}

impl<C: Context> Outside<'_, C> {
    /// Calls back into the VM: the thread runs again for as long as `f` does.
    pub fn inside<R>(&mut self, f: impl FnOnce(&mut C) -> R) -> R {
        /// Goes out again, also when `f` panics: the foreign code in between may catch that.
        struct Again<'o, 'c, C: Context>(&'o mut Outside<'c, C>, bool);
        impl<C: Context> Drop for Again<'_, '_, C> {
            fn drop(&mut self) {
                if self.1 {
                    self.0.go_out();
                }
            }
        }
        let came_in = self.come_in();
        let again = Again(self, came_in);
        f(again.0.cx)
    }

    /// False: the thread is outside already, by a second context. Raises no panic: a request that does is raised at the next
    /// safe point.
    fn go_out(&mut self) -> bool {
        let me = self.cx.me();
        if me.record().gate().look().is_safe() {
            return false;
        }
        safe_whatever_comes(me);
        if let Some(baton) = me.runtime().baton() {
            baton.release(None);
        }
        true
    }

    /// False: the thread runs already, by a second context.
    fn come_in(&mut self) -> bool {
        let me: &Participant = self.cx.me();
        if !me.record().gate().look().is_safe() {
            return false;
        }
        if let Some(baton) = me.runtime().baton() {
            baton.ready(me.record().waiter());
            take_turn(me.record());
        }
        come_back(me.record());
        true
    }
}

impl<C: Context> Drop for Outside<'_, C> {
    fn drop(&mut self) {
        if self.out {
            self.come_in();
        }
    }
}

impl<C: Context> fmt::Debug for Outside<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside").finish_non_exhaustive()
    }
}

/// Signals end no wait inside `f`; they stay pending. Shutdown still does. Scopes nest, and end with `f`, also by a panic; a
/// thread that is spawned inside begins without.
pub fn uninterruptible<C: Context, R>(cx: &mut C, f: impl FnOnce(&mut C) -> R) -> R {
    f(Masked::new(cx, |m| m.uninterruptible = true).cx)
}

/// A wait inside `f` fails with `WouldBlock`: for finalizers, and wherever waiting would be a bug. What need not wait works
/// as ever. Scopes nest, and end with `f`, also by a panic.
pub fn no_blocking<C: Context, R>(cx: &mut C, f: impl FnOnce(&mut C) -> R) -> R {
    f(Masked::new(cx, |m| m.no_blocking = true).cx)
}
