//! Threads that wait at a channel: who sees them, what ends the wait, what they answer meanwhile, whose they are.

mod scene;

use scene::misuse::*;
use scene::{baton, both, far, guarded, soon, until, until_blocked};
use selvedge::channel::{self, Receiver, RecvError, SendError, Sender, TryRecvError, TrySendError};
use selvedge::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Instant;

type Made = (Sender<u64>, Receiver<u64>);

/// Each full: a send waits.
fn full() -> [Made; 3] {
    let all = [channel::rendezvous(), channel::bounded(1), channel::bounded(3)];
    for (tx, _) in &all {
        (0..tx.capacity().unwrap() as u64).for_each(|n| tx.try_send(n).unwrap());
    }
    all
}
/// Each empty: a receive waits.
fn empty() -> [Made; 4] {
    [channel::rendezvous(), channel::bounded(1), channel::bounded(3), channel::unbounded()]
}

/// Everything that waits, where waiting is refused: the value comes back, nothing was done.
fn refused(cx: &mut Participant) {
    for (tx, rx) in full() {
        let room = tx.capacity().unwrap();
        assert_eq!(tx.send(cx, 9), Err(SendError::WouldBlock(9)));
        assert_eq!(tx.send_until(cx, 9, far()), Err(SendError::WouldBlock(9)));
        let (why, rest) = tx.send_all(cx, 9..12).unwrap_err().into_parts();
        assert_eq!((why, rest), (SendError::WouldBlock(9), 10..12));
        assert_eq!(tx.try_send(9), Err(TrySendError::Full(9)));
        // What need not wait does not.
        let there: Vec<u64> = (0..room as u64).collect();
        let mut got = Vec::new();
        match room {
            0 => assert_eq!(rx.recv_many(cx, &mut got, 9), Err(RecvError::WouldBlock)),
            _ => assert_eq!(rx.recv_many(cx, &mut got, 9), Ok(room)),
        }
        assert_eq!(got, there);
        assert_eq!(rx.recv(cx), Err(RecvError::WouldBlock));
        assert_eq!(rx.recv_until(cx, far()), Err(RecvError::WouldBlock));
        assert_eq!(rx.recv_many(cx, &mut got, 9), Err(RecvError::WouldBlock));
        assert!(rx.iter(cx).eq([Err(RecvError::WouldBlock)]));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        assert_eq!((rx.waiting_senders(), tx.waiting_receivers()), (0, 0));
        assert_eq!(tx.send_all(cx, there).unwrap(), room);
        assert!(tx.close());
        assert_eq!(tx.send(cx, 9), Err(SendError::Closed(9)));
    }
}

#[test]
fn waiting_is_refused_in_hooks_and_scopes() {
    both(|vm| {
        let mut cx = Hooked::new(vm.attach("main").unwrap());
        no_blocking(&mut cx.me, refused);
        cx.hook(BEFORE, refused);
        cx.hook(AFTER, refused);
        let (_tx, rx) = channel::bounded::<u64>(1);
        assert_eq!(rx.recv_until(&mut cx, soon()), Err(RecvError::TimedOut));
        assert_eq!(cx.calls, [1, 1, 0], "what is refused, and what need not wait, calls no hook");
    });
}

/// A signal that is pending, a deadline that has passed: they fail only what would have to wait.
#[test]
fn only_a_wait_is_ended() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let me = cx.thread().clone();
        let past = Instant::now();
        for (tx, rx) in full() {
            if !rx.is_empty() {
                assert_eq!(rx.recv_until(&mut cx, past), Ok(0));
                assert_eq!(tx.send_until(&mut cx, 4, past), Ok(()));
                assert_eq!(rx.recv_many_until(&mut cx, &mut vec![], 1, past), Ok(1));
                assert_eq!(tx.send_all_until(&mut cx, [5], past).unwrap(), 1);
            }
            assert_eq!(tx.send_until(&mut cx, 9, past), Err(SendError::TimedOut(9)));
            me.post(5).unwrap();
            until(&mut cx, "it is there", || me.undelivered() == 1);
            assert_eq!(tx.send(&mut cx, 9), Err(SendError::Interrupted(9)));
            assert_eq!(tx.send_until(&mut cx, 9, far()), Err(SendError::Interrupted(9)));
            let there = rx.len();
            assert!((0..there).all(|_| rx.recv(&mut cx).is_ok()));
            assert_eq!(rx.recv(&mut cx), Err(RecvError::Interrupted));
            assert_eq!(rx.recv_many(&mut cx, &mut vec![], 1), Err(RecvError::Interrupted));
            assert!((0..there).all(|_| tx.send(&mut cx, 1).is_ok()));
            assert!(rx.close());
            assert_eq!(tx.send(&mut cx, 9), Err(SendError::Closed(9)), "that is no wait");
            assert!(cx.take_signal().is_some_and(|s| s.downcast::<i32>().is_ok_and(|n| n == 5)));
        }
    });
}

/// Nobody else can take it: the send waits until something ends it, and is no deadlock.
#[test]
fn a_send_to_oneself_without_room_waits() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (tx, rx) = channel::rendezvous();
        assert_eq!(tx.send_until(&mut cx, 1, soon()), Err(SendError::TimedOut(1)));
        assert_eq!(rx.recv_until(&mut cx, soon()), Err(RecvError::TimedOut));
        let h = vm.spawn("lonely", move |cx| {
            let (tx, rx) = channel::rendezvous();
            assert_eq!(tx.send(cx, 1), Err(SendError::Interrupted(1)));
            assert!(cx.take_signal().is_some());
            assert_eq!(rx.recv(cx), Err(RecvError::Interrupted));
            assert!(cx.take_signal().is_some());
            Ok::<_, ()>(())
        });
        let h = h.unwrap();
        for kind in [BlockerKind::Send, BlockerKind::Receive] {
            until_blocked(&mut cx, &h, kind);
            let _queued = h.signal(&cx, ()).unwrap();
            until(&mut cx, "it took the signal", || h.undelivered() == 0);
        }
        h.join(&mut cx).unwrap();
    });
}

#[test]
fn what_a_thread_waits_for_can_be_seen() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let named = || channel::Builder::new().label(Label::new("jobs").tag(17));
        let ((tx, rx), (tx2, rx2)) = (named().bounded(0), named().unbounded());
        let (tx3, rx3) = channel::bounded::<u64>(1);
        let send = vm.spawn("from", move |cx| tx.send(cx, 1)).unwrap();
        let receive = vm.spawn("to", move |cx| rx2.recv(cx)).unwrap();
        let nameless = vm.spawn("nameless", move |cx| rx3.recv(cx)).unwrap();
        for (h, kind, text) in [
            (send.thread(), BlockerKind::Send, "send on channel jobs"),
            (receive.thread(), BlockerKind::Receive, "receive on channel jobs"),
            (nameless.thread(), BlockerKind::Receive, "receive on channel"),
        ] {
            until_blocked(&mut cx, h, kind);
            let on = h.blocker().unwrap();
            assert_eq!(on.to_string(), text);
            let label = if h == nameless.thread() { (None, 0) } else { (Some("jobs"), 17) };
            assert_eq!((on.name(), on.tag()), label);
            let graph = vm.wait_graph();
            assert!(graph.to_string().contains(text) && graph.to_dot().contains(text), "{graph}");
        }
        assert_eq!(rx.recv(&mut cx), Ok(1));
        tx2.send(&mut cx, 2u64).unwrap();
        tx3.send(&mut cx, 3).unwrap();
        send.join(&mut cx).unwrap();
        let got = (receive.join(&mut cx).unwrap(), nameless.join(&mut cx).unwrap());
        assert_eq!(got, (2, 3));
        assert!(!vm.wait_graph().to_string().contains("channel"));
    });
}

/// In the scope only the runtime's end, and what the wait is for.
#[test]
fn signals_end_no_uninterruptible_wait() {
    for vm in [Runtime::new(), baton()] {
        guarded(move || {
            let mut cx = vm.attach("main").unwrap();
            let (tx, rx) = channel::rendezvous();
            let (tx2, rx2) = (tx.clone(), rx.clone());
            let h = vm.spawn("deaf", move |cx| {
                let sent = uninterruptible(cx, |cx| tx2.send(cx, 1));
                let got = uninterruptible(cx, |cx| rx2.recv(cx));
                assert_eq!((sent, got, cx.has_signal()), (Ok(()), Ok(2), true));
                assert_eq!(rx2.recv(cx), Err(RecvError::Interrupted));
                let stopped = uninterruptible(cx, |cx| tx2.send(cx, 3));
                let late = uninterruptible(cx, |cx| rx2.recv(cx));
                assert_eq!(
                    (stopped, late),
                    (Err(SendError::ShutDown(3)), Err(RecvError::ShutDown))
                );
                Ok::<_, ()>(cx.take_signal().is_some())
            });
            let h = h.unwrap();
            until(&mut cx, "it waits", || rx.waiting_senders() == 1);
            let _queued = h.signal(&cx, ()).unwrap();
            assert_eq!(rx.recv(&mut cx), Ok(1));
            until(&mut cx, "it waits", || tx.waiting_receivers() == 1);
            let _queued = h.signal(&cx, ()).unwrap();
            tx.send(&mut cx, 2).unwrap();
            until(&mut cx, "it waits", || rx.waiting_senders() == 1);
            vm.shutdown(&cx);
            assert!(h.join(&mut cx).unwrap());
            assert_eq!(rx.try_recv(), Err(TryRecvError::Empty), "what was not sent is not there");
        });
    }
}

/// It ends waits, and nothing else: what needs none goes on, so that a thread can clean up.
#[test]
fn the_end_of_a_runtime_ends_waits() {
    for vm in [Runtime::new(), baton()] {
        guarded(move || {
            let mut cx = vm.attach("main").unwrap();
            let ready = Arc::new(AtomicU64::new(0));
            let mut threads = Vec::new();
            for (tx, rx) in full() {
                let ready = ready.clone();
                threads.push(vm.spawn("sender", move |cx| {
                    ready.fetch_add(1, SeqCst);
                    assert_eq!(tx.send(cx, 9), Err(SendError::ShutDown(9)));
                    assert_eq!(tx.send_until(cx, 9, far()), Err(SendError::ShutDown(9)));
                    let room = tx.capacity().unwrap();
                    assert_eq!((rx.waiting_senders(), rx.drain().count()), (0, room));
                    (0..room).try_for_each(|_| tx.send(cx, 5)).map_err(drop)
                }));
            }
            for (tx, rx) in empty() {
                let ready = ready.clone();
                threads.push(vm.spawn("receiver", move |cx| {
                    ready.fetch_add(1, SeqCst);
                    assert_eq!(rx.recv(cx), Err(RecvError::ShutDown));
                    assert_eq!(rx.recv_many(cx, &mut vec![], 2), Err(RecvError::ShutDown));
                    assert!(rx.iter(cx).eq([Err(RecvError::ShutDown)]));
                    assert_eq!(tx.waiting_receivers(), 0);
                    if tx.capacity() != Some(0) {
                        tx.send(cx, 1).map_err(drop)?;
                        assert_eq!(rx.recv(cx), Ok(1));
                    }
                    Ok(())
                }));
            }
            let threads: Vec<_> = threads.into_iter().map(Result::unwrap).collect();
            until(&mut cx, "all wait", || {
                ready.load(SeqCst) == 7 && threads.iter().all(|h| h.thread().blocker().is_some())
            });
            vm.shutdown(&cx);
            threads.iter().for_each(|h| h.join(&mut cx).unwrap());
        });
    }
}

/// Threads that wait answer requests, and keep their place.
#[test]
fn a_request_costs_no_place_in_the_queue() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for (tx, rx) in full() {
            let room = tx.capacity().unwrap() as u64;
            let senders: Vec<_> = (0..4)
                .map(|n| {
                    let tx = tx.clone();
                    let h = vm.spawn("sender", move |cx| tx.send(cx, 10 + n)).unwrap();
                    until(&mut cx, "it waits", || rx.waiting_senders() == n as usize + 1);
                    h
                })
                .collect();
            // One that only the first can answer, one that anybody may.
            let answered = Arc::new(AtomicU64::new(0));
            let answer = || {
                let answered = answered.clone();
                move || assert!(answered.fetch_add(1, SeqCst) < 2)
            };
            senders[0].ask_owner(answer()).unwrap();
            senders[1].ask(answer()).unwrap();
            until(&mut cx, "answered, and back", || {
                answered.load(SeqCst) == 2 && rx.waiting_senders() == 4
            });
            until_blocked(&mut cx, &senders[0], BlockerKind::Send);
            let got: Vec<u64> = (0..room + 4).map(|_| rx.recv(&mut cx).unwrap()).collect();
            assert!(got.into_iter().eq((0..room).chain(10..14)));
            senders.iter().for_each(|h| h.join(&mut cx).unwrap());
        }
    });
}

/// First come, first served, on both sides; who leaves in between is not missed.
#[test]
fn queues_are_in_order() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for (tx, rx) in empty() {
            let log = Arc::new(std::sync::Mutex::new(Vec::new()));
            let receivers: Vec<_> = (0..5)
                .map(|n| {
                    let (rx, log) = (rx.clone(), log.clone());
                    let h = vm.spawn("receiver", move |cx| {
                        let got = rx.recv(cx);
                        log.lock().unwrap().push((n, got));
                        Ok::<_, ()>(())
                    });
                    until(&mut cx, "it waits", || tx.waiting_receivers() == n + 1);
                    h.unwrap()
                })
                .collect();
            let _queued = receivers[2].signal(&cx, ()).unwrap();
            receivers[2].join(&mut cx).unwrap();
            assert_eq!(tx.waiting_receivers(), 4);
            (0..4).for_each(|n| tx.send(&mut cx, n).unwrap());
            receivers.iter().for_each(|h| h.join(&mut cx).unwrap());
            let mut log = log.lock().unwrap().clone();
            log.sort_by_key(|(n, _)| *n);
            let got = [Ok(0), Ok(1), Err(RecvError::Interrupted), Ok(2), Ok(3)];
            assert!(log.into_iter().map(|(_, got)| got).eq(got));
        }
    });
}

/// A channel between two runtimes and threads of neither: each thread waits, and is stopped, as its own runtime's.
#[test]
fn a_channel_belongs_to_no_runtime() {
    for make in [|| channel::rendezvous(), || channel::bounded(2), channel::unbounded] {
        guarded(move || {
            let vms = [Runtime::new(), baton()];
            let (tx, rx): Made = make();
            let sides = vms.clone().map(|vm| {
                let (tx, rx) = (tx.clone(), rx.clone());
                std::thread::spawn(move || {
                    let mut cx = vm.attach("main").unwrap();
                    let threads: Vec<_> = (0..2u64)
                        .map(|n| {
                            let (tx, rx) = (tx.clone(), rx.clone());
                            let h = vm.spawn("worker", move |cx| {
                                let mut sum = 0;
                                for i in 0..500 {
                                    if n == 0 {
                                        tx.send(cx, i).map_err(drop)?;
                                    } else {
                                        sum += rx.recv(cx).map_err(drop)?;
                                    }
                                }
                                Ok::<u64, ()>(sum)
                            });
                            h.unwrap()
                        })
                        .collect();
                    threads.iter().map(|h| h.join(&mut cx).unwrap()).sum::<u64>()
                })
            });
            let sums = sides.map(|side| side.join().unwrap());
            assert_eq!(sums.iter().sum::<u64>(), 2 * (0..500).sum::<u64>());

            // One runtime ends: only its threads' waits do. A thread of no runtime wakes the other's.
            let mut cx = vms[0].attach("again").unwrap();
            let waiters = vms.clone().map(|vm| {
                let rx = rx.clone();
                vm.spawn("waiter", move |cx| Ok::<_, ()>(rx.recv(cx))).unwrap()
            });
            until(&mut cx, "both wait", || tx.waiting_receivers() == 2);
            let other = vms[1].clone();
            let stop = move || other.shutdown(&other.attach("stopper").unwrap());
            std::thread::spawn(stop).join().unwrap();
            until(&mut cx, "one is left", || tx.waiting_receivers() == 1);
            let tx2 = tx.clone();
            std::thread::spawn(move || tx2.try_send(7)).join().unwrap().unwrap();
            assert_eq!(waiters[0].join(&mut cx).unwrap(), Ok(7));
            until(&mut cx, "stopped", || !waiters[1].is_alive());
            let ended = waiters[1].exit().unwrap();
            assert!(matches!(
                ended.value::<Result<u64, RecvError>>(),
                Some(Err(RecvError::ShutDown))
            ));
        });
    }
}

/// Threads of no runtime need no context, and close like everybody.
#[test]
fn threads_of_no_runtime_close_and_let_go() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for ((tx, rx), close) in full().into_iter().zip([true, false, true]) {
            let (tx2, rx2) = (tx.clone(), rx.clone());
            let h = vm.spawn("sender", move |cx| Ok::<_, ()>(tx2.send(cx, 9))).unwrap();
            until(&mut cx, "it waits", || rx.waiting_senders() == 1);
            drop(rx);
            // Dropped, without a close first or with one.
            let end = move || assert!(!close || rx2.close());
            outside(&mut cx, |_| std::thread::spawn(end).join().unwrap());
            assert_eq!(h.join(&mut cx).unwrap(), Err(SendError::Closed(9)));
            assert!(tx.is_closed());
        }
    });
}
