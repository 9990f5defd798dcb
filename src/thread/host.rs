//! What a VM answers for no thread in particular.

use super::{Signal, Thread};

/// What belongs to no thread: the VM's answers to questions of the runtime.
///
/// # Examples
/// ```
/// use selvedge::{Host, Runtime, Signal, Thread};
/// struct Log;
/// impl Host for Log {
///     fn main_signal(&self, sender: &Thread, _payload: Signal) {
///         eprintln!("Error {:?}", sender.name());
///     }
/// }
/// let vm = Runtime::builder().host(Log).build();
/// # drop(vm);
/// ```
pub trait Host: Send + Sync {
    /// A signal was sent to the main thread, which takes none (as in Emacs, where it is shown as a message). Runs on the
    /// sender, with no internal lock held. The default drops the payload.
    fn main_signal(&self, sender: &Thread, payload: Signal) {
        let _ = (sender, payload);
    }
}

/// The host of a runtime that was given none.
pub(super) struct NoHost;
impl Host for NoHost {}
