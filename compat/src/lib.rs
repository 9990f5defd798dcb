//! selvedge's channels under the names of crossbeam-channel, so that `scripts/crossbeam-tests` can run that crate's tests
//! against them. Not published, and for nothing else: a program passes its context, and says so where it may block.
//!
//! | file      | what is in it                                                                          |
//! |-----------|----------------------------------------------------------------------------------------|
//! | `here`    | the one thing that selvedge does not do: it finds the context by itself                |
//! | `channel` | the two ends, iterators, timers                                                        |
//! | `error`   | the errors, which have fewer cases: nobody signals these threads or shuts them down    |
//! | `select`  | `Select`, and what the `select!` macro calls; the macro itself comes from the published crate |

mod channel;
mod error;
mod here;
mod select;

pub use channel::{
    IntoIter, Iter, Receiver, Sender, TryIter, after, at, bounded, never, tick, unbounded,
};
pub use error::{
    ReadyTimeoutError, RecvError, RecvTimeoutError, SelectTimeoutError, SendError,
    SendTimeoutError, TryReadyError, TryRecvError, TrySelectError, TrySendError,
};
pub use select::{Select, SelectedOperation};

/// What the `select!` macro calls.
pub mod internal {
    pub use crate::select::{SelectHandle, select, select_timeout, try_select};
}
