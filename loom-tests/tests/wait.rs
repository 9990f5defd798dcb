//! Models of `wait`: requests and signals against a thread on its way to sleep.
#![cfg(selvedge_loom)]

use loom_tests::check;
use loom_tests::scene::{Log, barging, go, seats};
use selvedge::{Mutex, SleepError, sleep_until};
use std::sync::Arc;

/// A request against a thread that goes to sleep in a lock and is never woken otherwise: it ends the wait with SERVE, is
/// answered by a proxy, or was answered before; it does not wait for the lock. Kills a sleep that ignores REQ. Bound 3.
#[test]
fn a_request_races_the_way_to_sleep() {
    check("wait.sleep_vs_request", Some(3), 24_000, &["served"], || {
        let vm = barging();
        let ([a, b], [_, tb]) = seats(&vm);
        let s = Arc::new((Mutex::new(), Log::new()));
        let mut me = a.sit();
        s.0.acquire(&mut me).unwrap();
        let t = go(&s, b, |s, me| {
            s.0.acquire(me).unwrap();
            s.0.release(me).unwrap();
        });
        // The owner gives the mutex back only when the request was answered.
        let flag = Arc::new(selvedge::model::AtomicU32::new(0));
        let answered = flag.clone();
        let log = s.clone();
        tb.ask_owner(move || {
            log.1.put("served");
            answered.fetch_add(1, selvedge::model::Ordering::Release);
        })
        .unwrap();
        while flag.load(selvedge::model::Ordering::Acquire) == 0 {
            selvedge::model::thread::yield_now();
        }
        s.0.release(&me).unwrap();
        t.join().unwrap();
        s.1.get()
    });
}

/// A signal against a sleep: the sleep runs its time and the signal is pending, or it is interrupted. Bound 3.
#[test]
fn a_signal_races_a_sleep() {
    check("wait.signal_vs_sleep", Some(3), 570, &["interrupted", "slept"], || {
        let vm = barging();
        let ([a, b], [_, tb]) = seats(&vm);
        let log = Arc::new(Log::new());
        let t = go(&log, b, |log, me| match sleep_until(me, std::time::Instant::now()) {
            Ok(()) => log.put("slept"),
            Err(SleepError::Interrupted) => {
                assert!(me.take_signal().is_some());
                log.put("interrupted");
            }
            Err(e) => panic!("{e}"),
        });
        let _ = tb.signal(&a.sit(), ()).unwrap();
        t.join().unwrap();
        assert_eq!(tb.undelivered(), usize::from(log.get() == "slept"));
        log.get()
    });
}
