//! Timers on real threads. No test asserts that something is quick, only that nothing comes before its time, and what comes.

mod scene;

use scene::misuse::*;
use scene::{both, far, soon, until, until_blocked};
use selvedge::channel::{self, Receiver, RecvError, Select, SelectError, TryRecvError};
use selvedge::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);

#[test]
fn an_event_comes_once_and_not_before_its_time() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let then = Instant::now() + 20 * MS;
        let rx = channel::at(then);
        let early = rx.try_recv();
        if Instant::now() < then {
            assert_eq!(early, Err(TryRecvError::Empty));
            assert_eq!(rx.recv(&mut cx), Ok(then));
        }
        assert!(Instant::now() >= then);
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(rx.recv_until(&mut cx, soon()), Err(RecvError::TimedOut));
        assert_eq!((rx.len(), rx.is_closed()), (0, false));

        let before = Instant::now();
        let rx = channel::after(2 * MS);
        let at = rx.recv(&mut cx).unwrap();
        assert!(at >= before + 2 * MS && Instant::now() >= at);
    });
}

#[test]
fn what_is_past_has_come() {
    let past = Instant::now();
    let rx = channel::at(past);
    assert_eq!((rx.len(), rx.capacity(), rx.is_full(), rx.is_empty()), (1, Some(1), true, false));
    assert_eq!(rx.try_recv(), Ok(past));
    assert_eq!((rx.len(), rx.is_full(), rx.is_empty()), (0, false, true));
    assert!(channel::after(Duration::ZERO).try_recv().is_ok());
}

/// The next one is due a period after the last, or after the call that received it, whichever is later.
#[test]
fn ticks_come_after_each_other_and_do_not_pile_up() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let period = 3 * MS;
        let rx = channel::tick(period);
        let mut earliest = Instant::now();
        for n in 0..9 {
            if n % 3 == 2 {
                sleep_until(&mut cx, earliest + 10 * period).unwrap();
                assert_eq!((rx.len(), rx.is_full()), (1, true), "one, however many were missed");
            }
            let called = Instant::now();
            let at = if n == 2 { rx.try_recv().unwrap() } else { rx.recv(&mut cx).unwrap() };
            assert!(at >= earliest && Instant::now() >= at);
            earliest = called.max(at) + period;
        }
    });
}

#[test]
fn a_period_of_nothing_is_always_due() {
    let rx = channel::tick(Duration::ZERO);
    assert_eq!(rx.try_iter().take(1000).count(), 1000);
    assert_eq!(rx.drain().count(), 1, "as many as there are");
}

#[test]
fn beyond_the_clock_is_never() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let most = Duration::MAX;
        for rx in [channel::after(most), channel::tick(most), channel::never()] {
            assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
            assert_eq!(rx.recv_until(&mut cx, soon()), Err(RecvError::TimedOut));
            assert_eq!((rx.len(), rx.is_empty(), rx.is_closed()), (0, true, false));
        }
        assert_eq!(channel::after(most).capacity(), Some(1));
        let rx = channel::never::<String>();
        assert_eq!((rx.capacity(), rx.is_full()), (Some(0), true));
        assert!(rx.try_iter().next().is_none() && rx.drain().next().is_none());
    });
}

fn all() -> [Receiver<Instant>; 4] {
    let hour = Duration::from_secs(3600);
    [channel::never(), channel::at(far()), channel::after(hour), channel::tick(hour)]
}

#[test]
fn waits_end_by_deadline_signal_and_close() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for rx in all() {
            assert_eq!(rx.recv_until(&mut cx, soon()), Err(RecvError::TimedOut));
            assert_eq!(rx.recv_until(&mut cx, Instant::now()), Err(RecvError::TimedOut));
            let clone = rx.clone();
            let h = vm.spawn("waits", move |cx| {
                assert_eq!(clone.recv(cx), Err(RecvError::Interrupted));
                assert!(cx.take_signal().is_some());
                assert_eq!(clone.recv_many(cx, &mut Vec::new(), 3), Err(RecvError::Closed));
                Ok::<_, ()>(())
            });
            let h = h.unwrap();
            until_blocked(&mut cx, &h, BlockerKind::Receive);
            until(&mut cx, "it waits", || rx.waiting_receivers() == 1);
            let _queued = h.signal(&cx, ()).unwrap();
            until(&mut cx, "it waits again", || h.undelivered() == 0);
            until(&mut cx, "it waits again", || rx.waiting_receivers() == 1);
            assert!(rx.close() && !rx.close() && rx.is_closed());
            h.join(&mut cx).unwrap();
            assert_eq!(rx.waiting_receivers(), 0);
            assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
            assert_eq!(rx.recv(&mut cx), Err(RecvError::Closed));
            assert!(rx.iter(&mut cx).next().is_none());
        }
    });
}

/// A close ends them all, however many there are.
#[test]
fn a_close_ends_every_wait() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let rx = channel::never::<u8>();
        let hs = [(); 20].map(|()| {
            let rx = rx.clone();
            vm.spawn("waits", move |cx| Ok::<_, ()>(rx.recv(cx))).unwrap()
        });
        until(&mut cx, "all wait", || rx.waiting_receivers() == 20);
        assert_eq!((rx.receivers(), rx.senders(), rx.waiting_senders()), (21, 0, 0));
        assert!(rx.close());
        for h in hs {
            assert_eq!(h.join(&mut cx).unwrap(), Err(RecvError::Closed));
        }
    });
}

#[test]
fn an_event_that_is_due_goes_with_the_close() {
    let past = Instant::now();
    let rx = channel::at(past);
    assert!(rx.close());
    assert_eq!((rx.try_recv(), rx.len()), (Err(TryRecvError::Closed), 0));
    let (rx, mut left) = (channel::at(past), Vec::new());
    assert!(rx.close_discarding(|at| left.push(at)));
    assert!(!rx.close_discarding(|at| left.push(at)));
    assert_eq!((left, rx.try_recv()), (vec![past], Err(TryRecvError::Closed)));
}

/// Clones share the events: each is one receive's. The others wait on.
#[test]
fn clones_share_the_events() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let rx = channel::after(5 * MS);
        let got = Arc::new(AtomicU64::new(0));
        let hs = [(); 4].map(|()| {
            let (rx, got) = (rx.clone(), got.clone());
            vm.spawn("waits", move |cx| {
                let r = rx.recv(cx);
                got.fetch_add(r.is_ok().into(), SeqCst);
                Ok::<_, ()>(r.is_ok() || r == Err(RecvError::Closed))
            })
            .unwrap()
        });
        until(&mut cx, "one has it", || got.load(SeqCst) == 1);
        until(&mut cx, "the others wait on", || rx.waiting_receivers() == 3);
        assert!(rx.close());
        for h in hs {
            assert!(h.join(&mut cx).unwrap());
        }
        assert_eq!(got.load(SeqCst), 1);

        // Four threads, twelve ticks, no two of them the same.
        let rx = channel::tick(MS / 4);
        let hs = [(); 4].map(|()| {
            let rx = rx.clone();
            let three = move |cx: &mut Participant| {
                (0..3).map(|_| rx.recv(cx)).collect::<Result<Vec<_>, _>>()
            };
            vm.spawn("waits", three).unwrap()
        });
        let mut ticks: Vec<_> = hs.iter().flat_map(|h| h.join(&mut cx).unwrap()).collect();
        ticks.sort();
        assert!(ticks.windows(2).all(|w| w[1] >= w[0] + MS / 4), "{ticks:?}");
    });
}

#[test]
fn many_at_once_is_one() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (rx, mut got) = (channel::tick(MS), Vec::new());
        assert_eq!(rx.recv_many(&mut cx, &mut got, 0), Ok(0));
        assert_eq!(rx.recv_many(&mut cx, &mut got, 5), Ok(1));
        assert_eq!(rx.recv_many_until(&mut cx, &mut got, 5, far()), Ok(1));
        assert_eq!((got.len(), got[1] >= got[0] + MS), (2, true));
        assert_eq!(rx.iter(&mut cx).take(2).filter(Result::is_ok).count(), 2);
        let far = channel::at(far());
        assert_eq!(far.recv_many_until(&mut cx, &mut got, 5, soon()), Err(RecvError::TimedOut));
    });
}

#[test]
fn waiting_is_refused_in_hooks_and_scopes() {
    both(|vm| {
        fn refused(cx: &mut Participant) {
            for rx in all() {
                assert_eq!(rx.recv(cx), Err(RecvError::WouldBlock));
                assert_eq!(rx.recv_until(cx, far()), Err(RecvError::WouldBlock));
            }
            assert!(channel::at(Instant::now()).recv(cx).is_ok(), "that is no wait");
        }
        let mut cx = Hooked::new(vm.attach("main").unwrap());
        no_blocking(&mut cx.me, refused);
        cx.hook(BEFORE, refused);
        cx.hook(AFTER, refused);
        assert_eq!(channel::never::<u8>().recv_until(&mut cx, soon()), Err(RecvError::TimedOut));
        assert_eq!(cx.calls, [1, 1, 0], "what is refused, and what need not wait, calls no hook");
    });
}

/// A thread that is asked for something in its wait answers, and waits on.
#[test]
fn requests_are_answered_meanwhile() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let rx = channel::never::<u8>();
        let clone = rx.clone();
        let h = vm.spawn("waits", move |cx| Ok::<_, ()>(clone.recv(cx))).unwrap();
        until(&mut cx, "it waits", || rx.waiting_receivers() == 1);
        let asked = Arc::new(AtomicU64::new(0));
        for n in 1..=3 {
            let flag = asked.clone();
            h.thread().ask_owner(move || ignore(flag.fetch_add(1, SeqCst))).unwrap();
            until(&mut cx, "it answers", || asked.load(SeqCst) == n);
        }
        until(&mut cx, "it waits", || rx.waiting_receivers() == 1);
        assert!(rx.close());
        assert_eq!(h.join(&mut cx).unwrap(), Err(RecvError::Closed));
    });
}

#[test]
fn handles_are_counted_and_known() {
    let named = || channel::Builder::new().label(Label::new("alarm").tag(7));
    let rx = named().at(far());
    assert_eq!((rx.name(), rx.tag(), rx.receivers(), rx.senders()), (Some("alarm"), 7, 1, 0));
    let second = rx.clone();
    assert!(rx.same_channel(&second) && !rx.same_channel(&named().at(far())));
    assert_eq!(named().never::<u8>().name(), Some("alarm"));
    assert_eq!(named().tick(MS).name(), named().after(MS).name());
    let shown = r#"Receiver { name: Some("alarm"), len: 0, capacity: Some(1), closed: false }"#;
    assert_eq!(format!("{rx:?}"), shown);
    drop(rx);
    assert_eq!((second.receivers(), second.is_closed()), (1, false));
    assert!(second.disconnect() && !second.disconnect());
    assert_eq!((second.receivers(), second.is_closed()), (0, true));
}

/// The blocker names the timer.
#[test]
fn what_a_thread_waits_for_can_be_seen() {
    let vm = Runtime::new();
    let mut cx = vm.attach("main").unwrap();
    let rx = channel::Builder::new().name("alarm").never::<u8>();
    let clone = rx.clone();
    let h = vm.spawn("waits", move |cx| Ok::<_, ()>(clone.recv(cx).is_err())).unwrap();
    until_blocked(&mut cx, h.thread(), BlockerKind::Receive);
    assert_eq!(h.thread().blocker().unwrap().to_string(), "receive on channel alarm");
    assert!(rx.close());
    assert!(h.join(&mut cx).unwrap());
}

// -- In a select

#[test]
fn a_timer_is_an_arm() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (tx, rx) = channel::bounded::<u8>(1);
        let then = Instant::now() + 3 * MS;
        let alarm = channel::at(then);
        let (mut value, mut late) = (rx.arm(), alarm.arm());
        assert_eq!(Select::new().arm(&mut value).arm(&mut late).wait(&mut cx), Ok(1));
        assert_eq!((late.complete(), value.complete()), (Ok(then), Err(TryRecvError::Empty)));
        assert!(Instant::now() >= then);
        // It has been: nothing but the deadline ends the next one.
        let mut late = alarm.arm();
        let until = Select::new().arm(&mut late).until(soon()).wait(&mut cx);
        assert_eq!(
            (until, late.complete()),
            (Err(SelectError::TimedOut), Err(TryRecvError::Empty))
        );
        // A value that is there comes before an event that is not.
        let hour = channel::after(Duration::from_secs(3600));
        assert_eq!(tx.try_send(7), Ok(()));
        let (mut late, mut value) = (hour.arm(), rx.arm());
        assert_eq!(Select::new().arm(&mut late).arm(&mut value).wait(&mut cx), Ok(1));
        assert_eq!(value.complete(), Ok(7));
        let mut late = hour.arm();
        assert_eq!(Select::new().arm(&mut late).try_now(&cx), None);
    });
}

#[test]
fn ticks_of_a_select_do_not_pile_up() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (fast, slow) = (channel::tick(MS), channel::tick(3 * MS));
        let (mut earliest, mut seen) = ([Instant::now(); 2], [0; 2]);
        while seen[0] < 3 || seen[1] < 3 {
            let called = Instant::now();
            let (mut a, mut b) = (fast.arm(), slow.arm());
            let n = Select::new().arm(&mut a).arm(&mut b).wait(&mut cx).unwrap();
            let at = if n == 0 { a.complete() } else { b.complete() }.unwrap();
            assert!(at >= earliest[n] && Instant::now() >= at);
            earliest[n] = called.max(at) + [MS, 3 * MS][n];
            seen[n] += 1;
        }
    });
}

/// A close, a signal, another thread that takes the event first.
#[test]
fn a_select_over_timers_ends_as_others_do() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (never, hour) = (channel::never::<u8>(), channel::after(Duration::from_secs(3600)));
        let (n2, h2) = (never.clone(), hour.clone());
        let h = vm.spawn("selects", move |cx| {
            for end in [Err(SelectError::Interrupted), Ok(1)] {
                let (mut a, mut b) = (n2.arm(), h2.arm());
                assert_eq!(Select::new().arm(&mut a).arm(&mut b).wait(cx), end);
                assert_eq!(a.complete(), Err(TryRecvError::Empty));
                let other = if end.is_ok() { TryRecvError::Closed } else { TryRecvError::Empty };
                assert_eq!(b.complete(), Err(other));
                ignore(cx.take_signal());
            }
            Ok::<_, ()>(())
        });
        let h = h.unwrap();
        until(&mut cx, "it waits", || never.waiting_receivers() == 1);
        let _queued = h.signal(&cx, ()).unwrap();
        until(&mut cx, "it took the signal", || h.undelivered() == 0);
        until(&mut cx, "it waits", || hour.waiting_receivers() == 1);
        assert!(hour.close());
        h.join(&mut cx).unwrap();
        assert_eq!((never.waiting_receivers(), hour.waiting_receivers()), (0, 0));
    });
}
