//! Operations for which no thread waits: a task's, which is woken, and one that ends in a call.
//!
//! I1. A task that would receive is a watcher (core I7): it is woken, and then takes what is there. One that goes without a
//!     value although it was woken passes the wake-up on.
//! I2. A task that would send queues with its value, like a thread. Its node is pinned, and leaves under the lock before it
//!     goes.
//! I3. A waker is cloned before the locks are taken, and an old one dropped after: both are an executor's code. From when a
//!     node is linked until the future knows that, nothing of that unwinds: else the future would leave the node behind.

use super::super::error::{RecvError, SendError, TrySendError};
use super::super::node::{Node, Tell, Then};
use super::super::storage::Storage;
use super::{Core, Refused};
use crate::shim::planted;
use crate::thread::drop_quietly;
use std::task::{Context, Poll};

impl<T, S: Storage<T>> Core<T, S> {
    /// A receive, or the watcher queues.
    pub(in super::super) fn poll_recv(
        &self,
        node: &Node<()>,
        cx: &Context<'_>,
    ) -> Poll<Result<T, RecvError>> {
        let waker = cx.waker().clone();
        let mut both = self.both();
        let popped = self.pop_locked(&mut both);
        if popped.is_some() || both.is_over() {
            self.watchers.remove(node);
            both.flag_receivers();
            both.done();
            return Poll::Ready(popped.ok_or(RecvError::Closed));
        }
        let old = self.watchers.push_task(node, waker);
        if !planted("watcher-without-flag") {
            both.flag_receivers();
        }
        self.promise_more(&mut both);
        both.done();
        drop_quietly(old);
        Poll::Pending
    }

    /// The watcher goes without a value.
    pub(in super::super) fn stop_watching(&self, node: &Node<()>) {
        let mut both = self.both();
        let (queues, _) = self.watchers.look(node);
        self.watchers.remove(node);
        both.flag_receivers();
        if !queues && !planted("watcher-passes-nothing-on") {
            both.wake_watcher();
        }
        both.done();
    }

    /// A send, or the task queues. `value`: at the first poll; later ones find it in the node.
    pub(in super::super) fn poll_send(
        &self,
        node: &Node<T>,
        value: Option<T>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), SendError<T>>> {
        let waker = cx.waker().clone();
        let mut both = self.both();
        if let Some(value) = value {
            match self.push_locked(&mut both, value) {
                Ok(()) => {
                    both.done();
                    return Poll::Ready(Ok(()));
                }
                Err(Refused::Closed(value)) => {
                    both.done();
                    return Poll::Ready(Err(SendError::Closed(value)));
                }
                // SAFETY: the first poll: the node is empty, and in no queue.
                Err(Refused::Full(value)) => unsafe { node.put(value) },
            }
            self.queue_sender(&mut both, |q| drop(q.push_task(node, waker)));
            both.done();
            return Poll::Pending;
        }
        match self.senders.look(node) {
            (true, _) => {
                let old = self.senders.push_task(node, waker);
                both.done();
                drop_quietly(old);
                Poll::Pending
            }
            (false, true) => {
                both.done();
                Poll::Ready(Ok(()))
            }
            (false, false) => {
                both.done();
                // It may panic; then the value is in the node still.
                drop(waker);
                // SAFETY: nobody took it, and the node is in no queue (node I3).
                Poll::Ready(Err(SendError::Closed(unsafe { node.take() })))
            }
        }
    }

    /// The task goes. Its value, if nobody took it.
    pub(in super::super) fn stop_sending(&self, node: &Node<T>) -> Option<T> {
        let taken = self.remove_sender(node);
        // SAFETY: nobody took it, and the node is in no queue (node I3).
        (!taken).then(|| unsafe { node.take() })
    }

    /// A receive that ends in a call.
    pub(in super::super) fn recv_then(&self, then: Then<T>) {
        let node = Node::calls(None, then);
        let mut both = self.both();
        if let Some(value) = self.pop_locked(&mut both) {
            // SAFETY: the node is ours, and empty.
            unsafe { node.put(value) };
            both.tell(Tell::Over(node, true));
        } else if both.is_over() {
            both.tell(Tell::Over(node, false));
        } else {
            self.queue_receiver(&mut both, |q| q.push_ownerless(node));
        }
        both.done();
    }

    /// A send that ends in a call.
    pub(in super::super) fn send_then(&self, value: T, then: Then<T>) {
        let node = Node::calls(None, then);
        let mut both = self.both();
        let mut lost = None;
        match self.send_locked(&mut both, value).map_err(TrySendError::from) {
            Ok(loser) => {
                lost = loser;
                both.tell(Tell::Over(node, true));
            }
            Err(TrySendError::Closed(value)) => {
                // SAFETY: the node is ours, and empty; the same below.
                unsafe { node.put(value) };
                both.tell(Tell::Over(node, false));
            }
            Err(TrySendError::Full(value)) => {
                // SAFETY: as above.
                unsafe { node.put(value) };
                self.queue_sender(&mut both, |q| q.push_ownerless(node));
            }
        }
        both.done();
        drop(lost);
    }
}
