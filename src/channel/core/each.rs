//! All values that are in a channel, for who enumerates them.

use super::super::storage::Storage;
use super::{Both, Core};
use crate::shim::planted;
use crate::thread::hand::Hands;

impl<T, S: Storage<T>> Core<T, S> {
    fn stored(&self, both: &mut Both<'_, T, S>, f: &mut dyn FnMut(&mut T)) {
        let t = both.tail.index();
        if let Some(head) = &mut both.head {
            self.storage.0.each((head, t), f);
        }
    }

    /// Under both locks, which `f` runs under: what is stored, and what queues to be sent.
    pub(in super::super) fn visit(&self, f: &mut dyn FnMut(&mut T)) {
        let mut both = self.both();
        self.stored(&mut both, f);
        self.senders.each(true, f);
    }

    /// What is stored, what queues and is nobody's, and what is in the hands of threads.
    ///
    /// # Safety
    /// No thread runs but the caller (`Hands::gather`).
    pub(in super::super) unsafe fn for_each_mut(
        &self,
        hands: &Hands<'_>,
        f: &mut dyn FnMut(&mut T),
    ) {
        let mut both = self.both();
        self.stored(&mut both, f);
        self.senders.each(planted("hands-and-queues-show-one-value"), f);
        // SAFETY: the type of this channel's values; the caller's promise.
        unsafe { hands.each(self.rank.get(), f) };
    }
}
