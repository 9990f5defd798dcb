//! Channels on real threads: what the documentation says of each operation, and that no value is lost or seen twice.

mod scene;

use scene::{both, far, soon, until, until_blocked};
use selvedge::channel::{self, Receiver, RecvError, SendError, Sender, TryRecvError, TrySendError};
use selvedge::*;
use std::error::Error;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

type Made = (Sender<u64>, Receiver<u64>);

fn flavors() -> [Made; 4] {
    [channel::rendezvous(), channel::bounded(1), channel::bounded(3), channel::unbounded()]
}

#[test]
fn values_arrive_once_and_in_order() {
    both(|vm| {
        for (tx, rx) in flavors() {
            let mut cx = vm.attach("main").unwrap();
            let sender = vm
                .spawn("sender", move |cx| {
                    for n in 0..1000 {
                        tx.send(cx, n)?;
                    }
                    Ok::<_, SendError<u64>>(())
                })
                .unwrap();
            for n in 0..1000 {
                assert_eq!(rx.recv(&mut cx), Ok(n));
            }
            assert_eq!(rx.recv(&mut cx), Err(RecvError::Closed));
            sender.join(&mut cx).unwrap();
        }
    });
}

#[test]
fn many_to_many_lose_nothing() {
    both(|vm| {
        for (tx, rx) in flavors() {
            let mut cx = vm.attach("main").unwrap();
            let sum = Arc::new(AtomicU64::new(0));
            let mut workers = Vec::new();
            for s in 0..3 {
                let tx = tx.clone();
                workers.push(vm.spawn("sender", move |cx| {
                    for n in 0..2000 {
                        tx.send(cx, n * 3 + s).map_err(drop)?;
                    }
                    Ok::<_, ()>(())
                }));
            }
            for _ in 0..3 {
                let (rx, sum) = (rx.clone(), sum.clone());
                workers.push(vm.spawn("receiver", move |cx| {
                    while let Ok(n) = rx.recv(cx) {
                        sum.fetch_add(n, SeqCst);
                    }
                    Ok::<_, ()>(())
                }));
            }
            drop((tx, rx));
            for w in workers {
                w.unwrap().join(&mut cx).unwrap();
            }
            assert_eq!(sum.load(SeqCst), (0..6000).sum());
        }
    });
}

#[test]
fn what_does_not_wait_says_full_empty_closed() {
    let (tx, rx) = channel::bounded(2);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    tx.try_send(1).unwrap();
    tx.try_send(2).unwrap();
    assert!(tx.is_full() && matches!(tx.try_send(3), Err(TrySendError::Full(3))));
    assert_eq!((tx.len(), tx.capacity(), tx.senders(), tx.receivers()), (2, Some(2), 1, 1));
    assert!(tx.close() && !rx.close() && tx.is_closed());
    assert!(matches!(tx.try_send(4), Err(TrySendError::Closed(4))));
    assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(1), Ok(2)));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    let (tx, rx) = channel::rendezvous::<u8>();
    assert!(tx.is_full() && tx.is_empty());
    assert!(matches!(tx.try_send(1), Err(TrySendError::Full(1))));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    drop(rx);
    assert!(matches!(tx.try_send(1), Err(TrySendError::Closed(1))));
}

#[test]
fn waits_end_by_deadline_signal_and_close() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for (tx, rx) in flavors() {
            assert_eq!(rx.recv_until(&mut cx, soon()), Err(RecvError::TimedOut));
            while tx.try_send(0).is_ok() && tx.len() < 3 {}
            if tx.capacity().is_some() {
                assert_eq!(tx.send_until(&mut cx, 9, soon()).unwrap_err().into_inner(), 9);
                let (tx2, held) = (tx.clone(), rx.clone());
                let blocked =
                    vm.spawn("sender", move |cx| Ok::<_, ()>(tx2.send_until(cx, 7, far())));
                let blocked = blocked.unwrap();
                until_blocked(&mut cx, blocked.thread(), BlockerKind::Send);
                assert_eq!(tx.waiting_senders(), 1);
                assert_eq!(blocked.thread().signal(&cx, ()).unwrap(), Delivery::Queued);
                assert_eq!(blocked.join(&mut cx).unwrap(), Err(SendError::Interrupted(7)));
                let tx2 = tx.clone();
                let blocked = vm.spawn("sender", move |cx| Ok::<_, ()>(tx2.send(cx, 8))).unwrap();
                until(&mut cx, "it waits", || tx.waiting_senders() == 1);
                assert!(held.close());
                assert_eq!(blocked.join(&mut cx).unwrap(), Err(SendError::Closed(8)));
            }
        }
        for (tx, rx) in flavors() {
            let blocked = vm.spawn("receiver", move |cx| Ok::<_, ()>(rx.recv(cx))).unwrap();
            until_blocked(&mut cx, blocked.thread(), BlockerKind::Receive);
            assert_eq!(tx.waiting_receivers(), 1);
            drop(tx);
            assert_eq!(blocked.join(&mut cx).unwrap(), Err(RecvError::Closed));
        }
    });
}

#[test]
fn handles_are_counted_and_known() {
    let (tx, rx) = channel::Builder::new().label(Label::new("jobs").tag(7)).bounded::<u8>(2);
    assert_eq!((tx.name(), rx.name(), tx.tag(), rx.tag()), (Some("jobs"), Some("jobs"), 7, 7));
    let (tx2, rx2, rx3) = (tx.clone(), rx.clone(), rx.clone());
    assert_eq!((tx.senders(), rx.senders(), tx.receivers(), rx.receivers()), (2, 2, 3, 3));
    assert!(tx.same_channel(&tx2) && rx.same_channel(&rx3));
    let (other, other_rx) = channel::Builder::default().unbounded::<u8>();
    assert!(!tx.same_channel(&other) && !rx.same_channel(&other_rx));
    assert_eq!((other.name(), other.tag(), other.capacity()), (None, 0, None));
    drop((tx2, rx2, rx3));
    assert_eq!((tx.senders(), tx.receivers(), tx.is_closed()), (1, 1, false));
    tx.try_send(1).unwrap();
    let shown = r#"{ name: Some("jobs"), len: 1, capacity: Some(2), closed: false }"#;
    assert_eq!(format!("{tx:?} {rx:?}"), format!("Sender {shown} Receiver {shown}"));
    drop(tx);
    assert!(rx.is_closed() && rx.senders() == 0 && rx.len() == 1);
    // A handle forgotten is a handle still.
    let (tx, rx) = channel::unbounded::<u8>();
    std::mem::forget(tx.clone());
    drop(tx);
    assert!(!rx.is_closed() && rx.senders() == 1);
}

#[test]
fn lengths_and_limits() {
    for (tx, rx) in flavors() {
        let room = tx.capacity().unwrap_or(100);
        for n in 0..room as u64 {
            assert!(!tx.is_full());
            tx.try_send(n).unwrap();
            assert!(!rx.is_empty() && rx.len() == n as usize + 1);
        }
        assert_eq!(
            (tx.is_full(), rx.is_full()),
            (tx.capacity().is_some(), rx.capacity().is_some())
        );
        assert_eq!((rx.capacity(), rx.drain().count()), (tx.capacity(), room));
        assert!(tx.is_empty() && rx.is_empty() && rx.try_iter().next().is_none());
    }
}

/// What a capacity costs is taken when the channel is made, or the call says that it cannot be had.
#[test]
fn a_capacity_that_memory_does_not_have_is_a_panic() {
    let message = |f: fn()| *catch_unwind(f).unwrap_err().downcast::<String>().unwrap();
    let most = usize::MAX;
    let said = format!("a channel with room for {most} values: ");
    assert!(message(|| drop(channel::bounded::<u8>(usize::MAX))).starts_with(&said));
    // Without a size too: each place has its stamp.
    assert!(message(|| drop(channel::bounded::<()>(usize::MAX))).starts_with(&said));
    // Within the address space of a pointer, but nothing has so much.
    let said = message(|| drop(channel::bounded::<[u8; 4096]>(1 << 44)));
    assert!(said.starts_with("a channel with room for 17592186044416 values: "), "{said}");
}

#[test]
fn values_without_size_are_counted() {
    for (tx, rx) in [channel::bounded(3), channel::unbounded()] {
        for round in 0..40 {
            (0..3).for_each(|_| tx.try_send(()).unwrap());
            assert_eq!((rx.len(), rx.drain().count(), round), (3, 3, round));
        }
    }
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (tx, rx) = channel::rendezvous();
        let h = vm.spawn("sender", move |cx| tx.send_all(cx, [(); 10]).map_err(drop)).unwrap();
        assert_eq!(rx.iter(&mut cx).filter(Result::is_ok).count(), 10);
        assert_eq!(h.join(&mut cx).unwrap(), 10);
    });
}

/// 16 KiB, aligned to 256.
#[repr(align(256))]
struct Huge([u64; 2048]);

#[test]
fn huge_values_arrive_whole() {
    both(|vm| {
        for (tx, rx) in [channel::rendezvous(), channel::bounded(2), channel::unbounded()] {
            let mut cx = vm.attach("main").unwrap();
            let sender = vm.spawn("sender", move |cx| {
                for n in 0..40 {
                    tx.send(cx, Huge([n; 2048])).map_err(drop)?;
                }
                Ok::<_, ()>(())
            });
            for n in 0..40 {
                let got = Box::new(rx.recv(&mut cx).unwrap());
                assert!(got.0.iter().all(|word| *word == n));
                assert!((&raw const *got).addr().is_multiple_of(256));
            }
            sender.unwrap().join(&mut cx).unwrap();
        }
    });
    // Room is made in place: a stack too small for a block of such values is enough.
    let small = std::thread::Builder::new().stack_size(256 << 10);
    let made = small.spawn(|| (channel::unbounded::<Huge>(), channel::bounded::<Huge>(40)));
    let ((a, _), (b, _)) = made.unwrap().join().unwrap();
    assert!(a.is_empty() && b.is_empty());
}

#[test]
fn receives_of_many_take_what_is_there() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for (tx, rx) in [channel::bounded(300), channel::unbounded()] {
            let mut got = vec![7];
            assert_eq!(rx.recv_many(&mut cx, &mut got, 0), Ok(0), "not even waited for");
            assert_eq!(tx.send_all(&mut cx, 0..300), Ok(300));
            // Less than a batch, more than one, the rest.
            assert_eq!(rx.recv_many(&mut cx, &mut got, 1), Ok(1));
            assert_eq!(rx.recv_many(&mut cx, &mut got, 150), Ok(150));
            assert_eq!(rx.recv_many(&mut cx, &mut got, usize::MAX), Ok(149));
            assert!(got.iter().copied().eq([7].into_iter().chain(0..300)));
            let before = got.clone();
            assert_eq!(rx.recv_many_until(&mut cx, &mut got, 9, soon()), Err(RecvError::TimedOut));
            tx.try_send(1).unwrap();
            assert!(tx.close());
            assert_eq!(rx.recv_many(&mut cx, &mut Vec::new(), 9), Ok(1));
            assert_eq!(rx.recv_many(&mut cx, &mut got, 9), Err(RecvError::Closed));
            assert_eq!(got, before, "untouched by an error");
        }
        // Who waits for one gets one at least.
        for (tx, rx) in flavors() {
            let h = vm.spawn("receiver", move |cx| {
                let mut got = Vec::new();
                while rx.recv_many(cx, &mut got, 5).is_ok_and(|n| (1..=5).contains(&n)) {}
                Ok::<_, ()>(got)
            });
            let h = h.unwrap();
            until(&mut cx, "it waits", || tx.waiting_receivers() == 1);
            assert_eq!(tx.send_all(&mut cx, 0..200).unwrap(), 200);
            drop(tx);
            assert_eq!(h.join(&mut cx).unwrap(), (0..200).collect::<Vec<_>>());
        }
    });
}

/// Those who wait to send have values to give: they are let go, in their order.
#[test]
fn receives_of_many_take_from_waiting_senders() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for room in [0, 1, 5] {
            let (tx, rx) = channel::bounded(room);
            (0..room).for_each(|n| tx.try_send(n).unwrap());
            let senders: Vec<_> = (room..room + 20)
                .map(|n| {
                    let tx = tx.clone();
                    let h = vm.spawn("sender", move |cx| tx.send(cx, n)).unwrap();
                    until(&mut cx, "it waits", || rx.waiting_senders() == n - room + 1);
                    h
                })
                .collect();
            let mut got = Vec::new();
            assert_eq!(rx.recv_many(&mut cx, &mut got, 2), Ok(2));
            assert_eq!((rx.len(), rx.waiting_senders()), (room, 18));
            assert_eq!(rx.drain().take(1).collect::<Vec<_>>(), [2]);
            assert_eq!(rx.recv_many(&mut cx, &mut got, usize::MAX), Ok(17 + room));
            assert!(got.into_iter().eq((0..2).chain(3..room + 20)));
            assert_eq!((rx.len(), rx.waiting_senders()), (0, 0));
            senders.iter().for_each(|h| h.join(&mut cx).unwrap());
        }
    });
}

#[test]
fn a_drain_ends() {
    let (tx, rx) = channel::unbounded();
    (0..5).for_each(|n| tx.try_send(n).unwrap());
    let mut seen = Vec::new();
    for n in rx.drain() {
        tx.try_send(n + 10).unwrap();
        seen.push(n);
    }
    assert_eq!((seen, rx.len()), (vec![0, 1, 2, 3, 4], 5));
    // What is not asked for stays; what another receiver takes is not waited for.
    let mut some = rx.drain();
    assert_eq!((some.next(), some.size_hint()), (Some(10), (0, Some(4))));
    assert_eq!(rx.drain().count(), 4);
    tx.try_send(1).unwrap();
    assert_eq!((some.next(), some.next()), (Some(1), None), "as many as there were");
    tx.try_send(2).unwrap();
    assert_eq!((some.next(), rx.len()), (None, 1), "it is over");
}

#[test]
fn an_iterator_ends_with_the_channel_and_at_every_error() {
    both(|vm| {
        for (tx, rx) in flavors() {
            let mut cx = vm.attach("main").unwrap();
            let h = vm.spawn("receiver", move |cx| {
                let mut values = rx.iter(cx);
                let first = values.by_ref().collect::<Result<Vec<_>, _>>();
                assert_eq!((first, values.next()), (Err(RecvError::Interrupted), None));
                drop(values);
                assert!(cx.take_signal().is_some());
                let rest: Result<Vec<u64>, _> = rx.iter(cx).collect();
                assert_eq!(rx.iter(cx).next(), None, "closed and empty");
                rest.map_err(drop)
            });
            let h = h.unwrap();
            until(&mut cx, "it waits", || tx.waiting_receivers() == 1);
            let _queued = h.signal(&cx, ()).unwrap();
            assert_eq!(tx.send_all(&mut cx, 0..9).unwrap(), 9);
            drop(tx);
            assert_eq!(h.join(&mut cx).unwrap(), (0..9).collect::<Vec<_>>());
        }
    });
}

#[test]
fn sends_of_many_give_back_what_is_left() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (tx, rx) = channel::bounded(3);
        assert_eq!(tx.send_all(&mut cx, []).unwrap(), 0);
        let late = tx.send_all_until(&mut cx, 0..8, soon()).unwrap_err();
        assert_eq!((late.sent(), late.error()), (3, &SendError::TimedOut(3)));
        assert_eq!(late.to_string(), "the send timed out, 3 values were sent before");
        assert_eq!(format!("{late:?}"), "SendAllError { sent: 3, error: TimedOut(..), .. }");
        assert_eq!(late.clone().into_iter().collect::<Vec<_>>(), [3, 4, 5, 6, 7]);
        assert_eq!(rx.drain().collect::<Vec<_>>(), [0, 1, 2]);
        // As long as there is room, a deadline that has passed is none.
        let late = tx.send_all_until(&mut cx, late, soon()).unwrap_err();
        assert_eq!((late.sent(), late.error()), (3, &SendError::TimedOut(6)));
        rx.close();
        let (why, mut rest) = tx.send_all(&mut cx, late).unwrap_err().into_parts();
        assert_eq!((why, rest.next(), rest.next()), (SendError::Closed(6), Some(7), None));
        assert_eq!(rx.drain().collect::<Vec<_>>(), [3, 4, 5]);
    });
}

/// One line each, without the value, which need not be printable.
#[test]
fn errors_say_why() {
    struct Mute;
    type E = SendError<Mute>;
    let sends: [(E, &str, &str); 5] = [
        (SendError::Closed(Mute), "the channel is closed", "Closed(..)"),
        (SendError::Interrupted(Mute), "a signal interrupted the send", "Interrupted(..)"),
        (SendError::TimedOut(Mute), "the send timed out", "TimedOut(..)"),
        (SendError::ShutDown(Mute), "the runtime shuts down", "ShutDown(..)"),
        (SendError::WouldBlock(Mute), "waiting is refused here", "WouldBlock(..)"),
    ];
    for (e, text, debug) in sends {
        assert_eq!((e.to_string(), format!("{e:?}")), (text.into(), debug.into()));
        let boxed: Box<dyn Error> = Box::new(e);
        let Mute = boxed.downcast::<E>().unwrap().into_inner();
    }
    let tries: [(TrySendError<Mute>, &str, &str); 2] = [
        (TrySendError::Full(Mute), "the channel is full", "Full(..)"),
        (TrySendError::Closed(Mute), "the channel is closed", "Closed(..)"),
    ];
    for (e, text, debug) in tries {
        assert_eq!((e.to_string(), format!("{e:?}")), (text.into(), debug.into()));
        let _: &dyn Error = &e;
        let Mute = e.into_inner();
    }
    let receives = [
        (RecvError::Closed, "the channel is closed"),
        (RecvError::Interrupted, "a signal interrupted the receive"),
        (RecvError::TimedOut, "the receive timed out"),
        (RecvError::ShutDown, "the runtime shuts down"),
        (RecvError::WouldBlock, "waiting is refused here"),
    ];
    for (e, text) in receives {
        assert_eq!((&e as &dyn Error).to_string(), text);
    }
    for (e, text) in [
        (TryRecvError::Empty, "the channel is empty"),
        (TryRecvError::Closed, "the channel is closed"),
    ] {
        assert_eq!((&e as &dyn Error).to_string(), text);
    }
}

/// What a VM puts into a channel need only be `Send`; handles go anywhere and are shared by reference.
#[test]
fn handles_go_where_values_may() {
    fn anywhere<T: Send + Sync + Unpin + std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    anywhere::<Sender<std::cell::Cell<u8>>>();
    anywhere::<Receiver<std::cell::Cell<u8>>>();
    anywhere::<Sender<Box<dyn FnOnce() + Send>>>();
    anywhere::<channel::Builder>();
    fn moves<T: Send>() {}
    moves::<channel::RecvFuture<'_, std::cell::Cell<u8>>>();
    moves::<channel::SendFuture<'_, std::cell::Cell<u8>>>();
    let (tx, rx) = channel::bounded(1);
    let place = tx.try_reserve().unwrap();
    std::thread::scope(|s| {
        s.spawn(|| place.publish(std::cell::Cell::new(7)).unwrap()).join().unwrap()
    });
    assert_eq!(rx.try_recv().unwrap().get(), 7);
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (tx, rx) = channel::bounded::<Box<dyn FnOnce() -> u8 + Send>>(1);
        let shared = Arc::new((tx, rx));
        let theirs = shared.clone();
        let h = vm.spawn("sender", move |cx| theirs.0.send(cx, Box::new(|| 5)).map_err(drop));
        assert_eq!(shared.1.recv(&mut cx).unwrap()(), 5);
        h.unwrap().join(&mut cx).unwrap();
    });
}
