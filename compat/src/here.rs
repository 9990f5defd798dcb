//! The participant of the calling thread, from a thread-local: attached at the first operation, detached with the thread.
//!
//! I1. The thread-local is empty while an operation has its participant, and when the thread's locals are gone. Then the
//!     operation attaches the thread for itself, to a runtime of its own: so a destructor of another thread-local may use
//!     channels, and so may one that runs inside an operation.

use selvedge::{Participant, Runtime};
use std::cell::Cell;
use std::sync::OnceLock;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

thread_local! {
    static HERE: Cell<Option<Participant>> = const { Cell::new(None) };
}

/// Runs an operation with the context of this thread.
pub(crate) fn with<R>(operation: impl FnOnce(&mut Participant) -> R) -> R {
    // Puts it back also when the operation unwinds.
    struct Lent(Option<Participant>);
    impl Drop for Lent {
        fn drop(&mut self) {
            let lent = self.0.take();
            // In the place of one that an operation inside has left there. Without the local it detaches.
            drop(HERE.try_with(|here| here.replace(lent)));
        }
    }
    let kept = HERE.try_with(Cell::take).ok().flatten();
    let mut lent = Lent(Some(kept.unwrap_or_else(attach)));
    operation(lent.0.as_mut().expect("given back at the end only"))
}

fn attach() -> Participant {
    // Attached already: by an operation around this one (I1).
    let shared = RUNTIME.get_or_init(Runtime::new).attach("here");
    shared.unwrap_or_else(|_| Runtime::new().attach("here").expect("a runtime of its own"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_thread_has_one_participant() {
        let id = with(|cx| cx.id());
        assert_eq!(with(|cx| cx.id()), id);
        assert_ne!(thread::spawn(|| with(|cx| cx.id())).join().unwrap(), id);
    }

    #[test]
    fn an_operation_inside_another_has_a_participant_of_its_own() {
        let (outer, inner) = with(|cx| (cx.id(), with(|cx| cx.id())));
        assert_ne!(outer, inner);
        assert_eq!(with(|cx| cx.id()), outer);
    }

    #[test]
    fn destructors_of_thread_locals_have_one() {
        struct Last(std::sync::mpsc::Sender<bool>);
        impl Drop for Last {
            fn drop(&mut self) {
                let gone = HERE.try_with(|_| ()).is_err();
                with(|cx| cx.id());
                self.0.send(gone).unwrap();
            }
        }
        thread_local! {
            static LAST: Cell<Option<Last>> = const { Cell::new(None) };
        }
        let (tx, rx) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            LAST.set(Some(Last(tx)));
            with(|cx| cx.id());
        });
        thread.join().unwrap();
        // Not on every system is the order that of the first uses.
        let gone = rx.recv().unwrap();
        assert!(gone || !cfg!(target_os = "linux"));
    }

    #[test]
    fn a_panic_gives_it_back() {
        let id = with(|cx| cx.id());
        let caught = std::panic::catch_unwind(|| with(|_| panic!("in an operation")));
        assert!(caught.is_err());
        assert_eq!(with(|cx| cx.id()), id);
    }
}
