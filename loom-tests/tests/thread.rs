//! Models of `thread`: the gate and its proxies, signals, the registry, the slab. Edges as in the headers of its files.
#![cfg(selvedge_loom)]

use loom_tests::check;
use loom_tests::scene::{Log, barging, go, seats};
use selvedge::model::{internals::safe_and_back, thread};
use selvedge::{AttachError, Delivery, Mutex, Runtime, SignalError, SleepError};
use std::sync::Arc;
use std::time::Duration;

/// A signal to a running thread: its safe point sees it or not yet; the payload is never lost, and what the sender wrote
/// is there. Bound: none.
#[test]
fn a_signal_races_a_poll() {
    check("thread.poll_vs_signal", None, 10, &["late", "seen"], || {
        let vm = barging();
        let ([a, b], [_, tb]) = seats(&vm);
        let shared = Arc::new(Log::new());
        let t = go(&shared, b, |log, me| {
            if selvedge::safe_point(me).signal() {
                let note = me.take_signal().unwrap().downcast::<Arc<Log>>().unwrap();
                log.put(&note.get());
                assert!(!me.has_signal());
            }
        });
        let note = Arc::new(Log::new());
        note.put("seen");
        assert!(matches!(tb.signal(&a.sit(), note).unwrap(), Delivery::Queued));
        t.join().unwrap();
        let seen = shared.get();
        assert_eq!(tb.undelivered(), usize::from(seen.is_empty()));
        if seen.is_empty() { "late".into() } else { seen }
    });
}

/// A request to a thread that goes SAFE and comes back: a proxy answers it under TAKEN, or the thread does; never both,
/// never at once, and each sees what the other wrote. Kills gate E1, E2, a way back that ignores TAKEN. Bound 3.
#[test]
fn a_proxy_races_a_thread_that_wakes() {
    check("thread.proxy_vs_wake", Some(3), 84, &["abc", "acb"], || {
        let vm = barging();
        let ([_, b], [_, tb]) = seats(&vm);
        let log = Arc::new(Log::new());
        let t = go(&log, b, |log, me| {
            log.put("a");
            safe_and_back(me);
            log.put("c");
            selvedge::safe_point(me);
            // Asked after that: the thread's next safe point.
            while !log.get().contains('b') {
                thread::yield_now();
                selvedge::safe_point(me);
            }
        });
        let note = log.clone();
        tb.ask(move || note.put("b")).unwrap();
        t.join().unwrap();
        log.get()
    });
}

/// The same while the thread runs foreign code: it goes out whatever requests there are. Kills gate E1 on that way. Bound 3.
#[test]
fn a_proxy_races_foreign_code() {
    check("thread.proxy_vs_outside", Some(3), 260, &["abc", "acb"], || {
        let vm = barging();
        let ([_, b], [_, tb]) = seats(&vm);
        let log = Arc::new(Log::new());
        let t = go(&log, b, |log, me| {
            log.put("a");
            selvedge::outside(me, |_| ());
            log.put("c");
            while !log.get().contains('b') {
                selvedge::safe_point(me);
                thread::yield_now();
            }
        });
        let note = log.clone();
        tb.ask(move || note.put("b")).unwrap();
        t.join().unwrap();
        log.get()
    });
}

/// Two requests from two threads: one proxy at a time (gate I2), each request once. Bound 2.
#[test]
fn two_proxies_exclude_each_other() {
    check(
        "thread.two_proxies",
        Some(3),
        5400,
        &["abcd", "abdc", "acbd", "acdb", "adbc", "adcb"],
        || {
            let vm = barging();
            let ([_, b, c], [_, tb, _]) = seats(&vm);
            let log = Arc::new(Log::new());
            let t = go(&log, b, |log, me| {
                log.put("a");
                safe_and_back(me);
                log.put("d");
                while log.get().len() < 4 {
                    selvedge::safe_point(me);
                    thread::yield_now();
                }
            });
            let (note, tb2) = (log.clone(), tb.clone());
            let u = go(&log, c, move |_, _| {
                tb2.ask(move || note.put("c")).unwrap();
            });
            let note = log.clone();
            tb.ask(move || note.put("b")).unwrap();
            t.join().unwrap();
            u.join().unwrap();
            log.get()
        },
    );
}

/// A thread attaches and detaches while another lists: the list has the main thread first, and never a stranger. Bound 3.
#[test]
fn a_list_races_a_thread_that_comes_and_goes() {
    check("thread.attach_vs_all_threads", Some(3), 3, &["1", "2"], || {
        let vm = barging();
        let main = vm.attach("main").unwrap();
        let before = Runtime::records_in_use();
        let t = thread::spawn({
            let vm = vm.clone();
            move || {
                let me = vm.attach("t").unwrap();
                assert_eq!(vm.attach("t").unwrap_err(), AttachError::AlreadyAttached(vm.id()));
                me.id()
            }
        });
        let list = vm.all_threads();
        let id = t.join().unwrap();
        assert_eq!(list[0], *main.thread());
        assert!(list.len() == 1 || list[1].id() == id);
        assert!(vm.thread(id).is_none() && Runtime::records_in_use() == before);
        list.len().to_string()
    });
}

/// A signal to a thread that ends: it is queued, and still there after the end, or comes back. Bound 3.
#[test]
fn a_signal_races_the_end() {
    check("thread.signal_vs_exit", Some(3), 900, &["dead", "queued", "taken"], || {
        let vm = barging();
        let main = &mut vm.attach(()).unwrap();
        let worker = vm
            .spawn((), |me| {
                let polled = selvedge::safe_point(me);
                Ok::<_, ()>(polled.signal() && me.take_signal().is_some())
            })
            .unwrap();
        let sent = worker.signal(main, 7u8);
        let taken = worker.join(main).unwrap();
        match sent {
            Ok(Delivery::Queued) if taken => "taken".into(),
            Ok(Delivery::Queued) => {
                let signal = worker.take_undelivered().expect("kept");
                assert_eq!(signal.downcast::<u8>().unwrap(), 7);
                "queued".into()
            }
            Err(SignalError::Dead(7)) => "dead".into(),
            other => panic!("{other:?}"),
        }
    });
}

/// Shutdown against attach: refused, or found and stopped (runtime I2). Bound 3.
#[test]
fn shutdown_races_an_attach() {
    check("thread.shutdown_vs_attach", Some(3), 77, &["refused", "stopped"], || {
        let vm = barging();
        let main = vm.attach(()).unwrap();
        let log = Arc::new(Log::new());
        let t = thread::spawn({
            let (vm, log) = (vm.clone(), log.clone());
            move || match vm.attach(()) {
                Err(e) => {
                    assert_eq!(e, AttachError::ShutDown);
                    log.put("refused");
                }
                Ok(mut me) => {
                    // The shutdown comes before, within or after this; it comes.
                    while !selvedge::safe_point(&mut me).shut_down() {
                        thread::yield_now();
                    }
                    // The report may be a moment ahead of the refusal.
                    let r = selvedge::sleep_until(&mut me, std::time::Instant::now());
                    assert!(matches!(r, Ok(()) | Err(SleepError::ShutDown)));
                    log.put("stopped");
                }
            }
        });
        vm.shutdown(&main);
        t.join().unwrap();
        log.get()
    });
}

/// A record in a new segment of the slab is found through the owner of a mutex. Kills record E1. Bound 3.
#[test]
fn a_new_segment_is_published() {
    check("thread.new_segment", Some(3), 4, &["alive", "free"], || {
        let vm = barging();
        let (seats, _) = seats::<4>(&vm); // the first segment is full
        let m = Arc::new(Mutex::new());
        let t = thread::spawn({
            let (vm, m) = (vm.clone(), m.clone());
            move || {
                let mut me = vm.attach(()).unwrap();
                m.acquire(&mut me).unwrap();
                // It stays attached, and the owner.
                std::mem::forget(me);
            }
        });
        let owner = m.owner();
        let answer = match owner {
            None => "free",
            Some(owner) if owner.is_alive() => "alive",
            Some(_) => "dead",
        };
        t.join().unwrap();
        drop(seats);
        answer.into()
    });
}

/// Two looks for laggards against a safe point and a sleep: a thread is named only if its mark stood from the first look to
/// the second, and the mark changes nothing else. Bound: none.
#[test]
fn a_look_for_laggards_races_a_safe_point() {
    check("thread.laggards", None, 8000, &["-", "b"], || {
        let vm = barging();
        let ([a, b], [_, tb]) = seats(&vm);
        let shared = Arc::new(Log::new());
        let t = go(&shared, b, |_, me| {
            assert!(!selvedge::safe_point(me).poked());
            safe_and_back(me);
        });
        let _me = a.sit();
        let named = || vm.laggards(Duration::ZERO).iter().any(|l| *l.thread() == tb);
        assert!(!named(), "nobody was marked");
        let seen = if named() { "b" } else { "-" };
        t.join().unwrap();
        seen.into()
    });
}
