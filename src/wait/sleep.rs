//! Sleeping until a point in time: a wait that nothing but its deadline grants.

use super::{End, Site, wait_at};
use crate::error::SleepError;
use crate::park::{Entry, Waiter};
use crate::thread::{Blocker, BlockerKind, Context};
use std::time::Instant;

struct Nowhere;
impl Site for Nowhere {
    fn enqueue(&self, _: &'static Waiter, _: Entry) -> bool {
        true
    }
    fn dequeue(&self, _: &'static Waiter) {}
}

/// Sleeps until `deadline`. A deadline that has passed still gives the baton up once.
///
/// # Errors
/// [`Interrupted`](SleepError::Interrupted): a signal is pending; inside [`uninterruptible`](crate::uninterruptible) the
/// sleep runs its time. [`ShutDown`](SleepError::ShutDown), [`WouldBlock`](SleepError::WouldBlock).
/// # Blocking
/// Yes; a safe point.
pub fn sleep_until<C: Context>(cx: &mut C, deadline: Instant) -> Result<(), SleepError> {
    let on = Blocker::new(BlockerKind::Sleep, None);
    match wait_at(cx, &Nowhere, &on, Some(deadline)) {
        End::Done | End::Woken | End::TimedOut => Ok(()),
        End::Interrupted => Err(SleepError::Interrupted),
        End::ShutDown => Err(SleepError::ShutDown),
        End::Deadlock(_) => unreachable!("a sleep waits for no thread"),
        End::WouldBlock => Err(SleepError::WouldBlock),
    }
}
