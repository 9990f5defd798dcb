//! The ends of a channel: handles that leave, closes that keep what is pending or throw away what is there.

mod scene;

use scene::misuse::*;
use scene::{both, far, soon, until};
use selvedge::channel::{self, Builder, Receiver, RecvError, SendError, Sender};
use selvedge::channel::{Select, TryRecvError, TrySendError};
use selvedge::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

type Made = (Sender<u64>, Receiver<u64>);

fn flavors() -> [Made; 4] {
    [channel::rendezvous(), channel::bounded(1), channel::bounded(3), channel::unbounded()]
}

// -- Handles that leave

#[test]
fn a_handle_that_left_is_gone_and_the_others_are_not() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for (tx, rx) in flavors() {
            let (tx2, rx2) = (tx.clone(), rx.clone());
            assert!(!tx.is_disconnected() && tx.disconnect() && !tx.disconnect());
            assert!(tx.is_disconnected() && !tx2.is_disconnected() && !rx.is_disconnected());
            assert!(rx.disconnect() && !rx.disconnect() && rx.is_disconnected());
            assert_eq!((tx.senders(), tx.receivers(), tx.is_closed()), (1, 1, false));
            assert_eq!(tx.try_send(1), Err(TrySendError::Closed(1)));
            assert_eq!(tx.force_send(1), Err(TrySendError::Closed(1)));
            assert_eq!(tx.send(&mut cx, 1), Err(SendError::Closed(1)));
            assert_eq!(tx.send_until(&mut cx, 1, far()), Err(SendError::Closed(1)));
            assert_eq!(tx.send_all(&mut cx, [1]).unwrap_err().sent(), 0);
            // The others go on, and nothing of theirs is seen by it.
            if tx.capacity() != Some(0) {
                assert_eq!(tx2.try_send(2), Ok(()));
                assert_eq!(rx.len(), 1);
            }
            assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
            assert_eq!(rx.recv(&mut cx), Err(RecvError::Closed));
            assert_eq!(rx.recv_until(&mut cx, far()), Err(RecvError::Closed));
            assert_eq!(rx.recv_many(&mut cx, &mut vec![], 3), Err(RecvError::Closed));
            assert!(rx.iter(&mut cx).next().is_none() && rx.drain().next().is_none());
            assert_eq!(rx2.try_recv().is_ok(), tx.capacity() != Some(0));
            assert_eq!(rx2.recv_until(&mut cx, soon()), Err(RecvError::TimedOut));
            // Clones of it are gone too; drops change nothing.
            let (tx3, rx3) = (tx.clone(), rx.clone());
            assert!(tx3.is_disconnected() && !tx3.disconnect() && rx3.is_disconnected());
            drop((tx3, rx3));
            drop((tx, rx));
            assert_eq!((tx2.senders(), tx2.receivers(), tx2.is_closed()), (1, 1, false));
            // And there is nothing left of it.
            let h = vm.spawn("receiver", move |cx| rx2.recv(cx)).unwrap();
            assert_eq!(tx2.send(&mut cx, 5), Ok(()));
            assert_eq!(h.join(&mut cx).unwrap(), 5);
        }
    });
}

#[test]
fn the_last_one_that_leaves_closes() {
    for (tx, rx) in flavors() {
        let room = tx.capacity().unwrap_or(2).min(2) as u64;
        (0..room).for_each(|n| tx.try_send(n).unwrap());
        assert!(tx.disconnect());
        assert!(rx.is_closed() && tx.is_closed());
        assert_eq!(rx.drain().collect::<Vec<_>>(), (0..room).collect::<Vec<_>>());
        assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
        drop(tx);
        assert_eq!(rx.senders(), 0);
    }
    for (tx, rx) in flavors() {
        let room = tx.capacity().unwrap_or(2).min(2) as u64;
        (0..room).for_each(|n| tx.try_send(n).unwrap());
        assert!(rx.disconnect());
        assert_eq!((tx.is_closed(), tx.len(), tx.receivers()), (true, 0, 0), "dropped");
        assert_eq!(tx.try_send(9), Err(TrySendError::Closed(9)));
    }
}

/// Who waits is woken by the last one that leaves, whatever else stands in the book.
#[test]
fn who_waits_is_told() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for (tx, rx) in flavors() {
            let gone = tx.clone();
            assert!(gone.disconnect());
            let clone = rx.clone();
            let h = vm.spawn("receiver", move |cx| Ok::<_, ()>(clone.recv(cx))).unwrap();
            until(&mut cx, "it waits", || tx.waiting_receivers() == 1);
            assert!(tx.disconnect());
            assert_eq!(h.join(&mut cx).unwrap(), Err(RecvError::Closed));
        }
        for (tx, rx) in [channel::rendezvous(), channel::bounded(1)] {
            let _ = tx.try_send(0);
            let clone = tx.clone();
            let h = vm.spawn("sender", move |cx| Ok::<_, ()>(clone.send(cx, 1))).unwrap();
            until(&mut cx, "it waits", || tx.waiting_senders() == 1);
            assert!(rx.disconnect());
            assert_eq!(h.join(&mut cx).unwrap(), Err(SendError::Closed(1)));
        }
    });
}

/// From many threads at once: one of them does it.
#[test]
fn one_call_disconnects() {
    for _ in 0..200 {
        let (tx, rx) = channel::bounded::<u8>(1);
        let other = tx.clone();
        let done = AtomicU32::new(0);
        std::thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| done.fetch_add(tx.disconnect().into(), SeqCst));
            }
        });
        assert_eq!((done.load(SeqCst), rx.senders(), rx.is_closed()), (1, 1, false));
        drop((tx, other));
        assert_eq!((rx.senders(), rx.is_closed()), (0, true));
    }
}

// -- What is pending

fn pending() -> [Made; 2] {
    let builder = Builder::new().deliver_pending(true);
    [builder.clone().bounded(0), builder.bounded(2)]
}

/// Senders of these values, queued in this order.
fn queue(
    vm: &Runtime,
    cx: &mut Participant,
    tx: &Sender<u64>,
    values: std::ops::Range<u64>,
) -> Vec<JoinHandle<Result<(), SendError<u64>>, ()>> {
    let before = tx.waiting_senders();
    let mut queued = before;
    values
        .map(|n| {
            let sender = tx.clone();
            let h = vm.spawn("sender", move |cx| Ok(sender.send(cx, n))).unwrap();
            queued += 1;
            until(cx, "it waits", || tx.waiting_senders() == queued);
            h
        })
        .collect()
}

#[test]
fn pending_values_are_delivered() {
    both(|vm| {
        for (tx, rx) in pending() {
            let mut cx = vm.attach("main").unwrap();
            let room = tx.capacity().unwrap() as u64;
            (0..room).for_each(|n| tx.try_send(n).unwrap());
            let senders = queue(&vm, &mut cx, &tx, room..room + 3);
            assert!(tx.close() && tx.is_closed());
            assert_eq!(tx.send(&mut cx, 9), Err(SendError::Closed(9)), "nobody comes after it");
            assert_eq!(tx.waiting_senders(), 3);
            for n in 0..room + 3 {
                assert_eq!(
                    if n % 2 == 0 { rx.recv(&mut cx) } else { Ok(rx.try_recv().unwrap()) },
                    Ok(n)
                );
            }
            assert_eq!(rx.recv(&mut cx), Err(RecvError::Closed));
            senders.iter().for_each(|h| assert_eq!(h.join(&mut cx).unwrap(), Ok(())));
        }
    });
}

#[test]
fn pending_values_go_back_with_the_last_receiver() {
    both(|vm| {
        for closed_before in [true, false] {
            for (tx, rx) in pending() {
                let mut cx = vm.attach("main").unwrap();
                let room = tx.capacity().unwrap() as u64;
                (0..room).for_each(|n| tx.try_send(n).unwrap());
                let senders = queue(&vm, &mut cx, &tx, room..room + 3);
                let second = rx.clone();
                if closed_before {
                    assert!(rx.close());
                }
                drop(rx);
                assert_eq!(tx.waiting_senders(), 3, "there is a receiver still");
                drop(second);
                for (n, h) in (room..).zip(&senders) {
                    assert_eq!(h.join(&mut cx).unwrap(), Err(SendError::Closed(n)));
                }
                assert_eq!((tx.len(), tx.is_closed()), (0, true));
            }
        }
    });
}

/// What ends a wait ends that of a pending sender, and those behind it move up.
#[test]
fn a_pending_sender_can_give_up() {
    both(|vm| {
        for (tx, rx) in pending() {
            let mut cx = vm.attach("main").unwrap();
            let room = tx.capacity().unwrap() as u64;
            (0..room).for_each(|n| tx.try_send(n).unwrap());
            let senders = queue(&vm, &mut cx, &tx, room..room + 3);
            assert!(tx.close());
            let _queued = senders[1].thread().signal(&cx, ()).unwrap();
            assert_eq!(senders[1].join(&mut cx).unwrap(), Err(SendError::Interrupted(room + 1)));
            let left: Vec<u64> = rx.drain().collect();
            assert!(left.into_iter().eq((0..room + 3).filter(|&n| n != room + 1)));
            for n in [0, 2] {
                assert_eq!(senders[n].join(&mut cx).unwrap(), Ok(()));
            }
        }
    });
}

/// A pending sender that answers a request keeps its place.
#[test]
fn a_pending_sender_answers_and_comes_back() {
    both(|vm| {
        for (tx, rx) in pending() {
            let mut cx = vm.attach("main").unwrap();
            let room = tx.capacity().unwrap() as u64;
            (0..room).for_each(|n| tx.try_send(n).unwrap());
            let senders = queue(&vm, &mut cx, &tx, room..room + 2);
            assert!(tx.close());
            for h in &senders {
                let answered = Arc::new(AtomicBool::new(false));
                let flag = answered.clone();
                h.thread().ask_owner(move || flag.store(true, SeqCst)).unwrap();
                until(&mut cx, "it answers", || answered.load(SeqCst));
                until(&mut cx, "it is back", || tx.waiting_senders() == 2);
            }
            assert!(rx.drain().eq(0..room + 2));
            senders.iter().for_each(|h| assert_eq!(h.join(&mut cx).unwrap(), Ok(())));
        }
    });
}

/// Without the flag no value of who waited is received after the close, however many there are.
#[test]
fn a_close_keeps_what_was_pending_back() {
    both(|vm| {
        for (tx, rx) in [channel::rendezvous(), channel::bounded(1)] {
            let mut cx = vm.attach("main").unwrap();
            let room = tx.capacity().unwrap() as u64;
            (0..room).for_each(|n| tx.try_send(n).unwrap());
            let senders = queue(&vm, &mut cx, &tx, room..room + 4);
            let seen = rx.clone();
            // It takes what it can as soon as the channel is closed.
            let h = vm.spawn("receiver", move |cx| {
                until(cx, "closed", || seen.is_closed());
                Ok::<_, ()>(seen.try_iter().collect::<Vec<u64>>())
            });
            assert!(tx.close());
            assert!(h.unwrap().join(&mut cx).unwrap().into_iter().eq(0..room));
            for (n, h) in (room..).zip(&senders) {
                assert_eq!(h.join(&mut cx).unwrap(), Err(SendError::Closed(n)));
            }
            drop(rx);
        }
    });
}

// -- What is thrown away

#[test]
fn a_discarding_close_hands_out_what_is_there() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for (tx, rx) in flavors() {
            let room = tx.capacity().unwrap_or(5) as u64;
            (0..room).for_each(|n| tx.try_send(n).unwrap());
            let senders = match tx.capacity() {
                Some(_) => queue(&vm, &mut cx, &tx, room..room + 2),
                None => Vec::new(),
            };
            let mut left = Vec::new();
            assert!(tx.close_discarding(|n| {
                // No lock is held, and receivers get nothing any more.
                assert_eq!((tx.len(), rx.len(), rx.is_closed()), (0, 0, true));
                assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
                assert_eq!(tx.try_send(9), Err(TrySendError::Closed(9)));
                assert!(rx.drain().next().is_none());
                left.push(n);
            }));
            assert!(left.into_iter().eq(0..room), "the oldest first");
            for (n, h) in (room..).zip(&senders) {
                assert_eq!(h.join(&mut cx).unwrap(), Err(SendError::Closed(n)));
            }
            assert_eq!(rx.recv(&mut cx), Err(RecvError::Closed));
            assert_eq!(rx.recv_many(&mut cx, &mut vec![], 5), Err(RecvError::Closed));
            assert!(!rx.close_discarding(|_| unreachable!("nothing is left")) && !rx.close());
        }
        // What a close left is handed out too; who waits to receive is told.
        let (tx, rx) = channel::unbounded();
        assert_eq!(tx.send_all(&mut cx, 0..40), Ok(40));
        assert!(tx.close());
        assert_eq!(rx.try_recv(), Ok(0));
        let mut left = Vec::new();
        assert!(!rx.close_discarding(|n| left.push(n)));
        assert!(left.into_iter().eq(1..40));
        let (tx, rx) = channel::bounded::<u8>(1);
        let h = vm.spawn("receiver", move |cx| Ok::<_, ()>(rx.recv(cx))).unwrap();
        until(&mut cx, "it waits", || tx.waiting_receivers() == 1);
        assert!(tx.close_discarding(|_| unreachable!("it is empty")));
        assert_eq!(h.join(&mut cx).unwrap(), Err(RecvError::Closed));
    });
}

/// Counts its drops.
struct Value(usize, Arc<Vec<AtomicU32>>);
impl Drop for Value {
    fn drop(&mut self) {
        add(&self.1[self.0]);
    }
}

#[test]
fn what_is_left_is_dropped_if_the_function_panics() {
    for (tx, rx) in [channel::bounded(9), channel::unbounded()] {
        let drops: Arc<Vec<AtomicU32>> = Arc::new((0..9).map(|_| AtomicU32::new(0)).collect());
        (0..9).for_each(|n| assert!(tx.try_send(Value(n, drops.clone())).is_ok()));
        let mut kept = Vec::new();
        let closed = catch_unwind(AssertUnwindSafe(|| {
            tx.close_discarding(|value| match value.0 {
                4 => quiet_panic("enough"),
                _ => kept.push(value),
            })
        }));
        assert_eq!(message(closed.unwrap_err()), "enough");
        let now: Vec<u32> = drops.iter().map(|d| d.load(SeqCst)).collect();
        assert_eq!(now, [0, 0, 0, 0, 1, 1, 1, 1, 1]);
        assert_eq!((kept.len(), rx.is_closed(), rx.len()), (4, true, 0));
        drop((kept, tx, rx));
        assert!(drops.iter().all(|d| d.load(SeqCst) == 1));
    }
}

/// From both ends at once, while others send and receive: each value has one end.
#[test]
fn every_value_has_one_end() {
    both(|vm| {
        for (tx, rx) in flavors() {
            let mut cx = vm.attach("main").unwrap();
            let drops: Arc<Vec<AtomicU32>> =
                Arc::new((0..3000).map(|_| AtomicU32::new(0)).collect());
            let (tx, rx) = match tx.capacity() {
                Some(n) => channel::bounded(n),
                None => {
                    drop(rx);
                    channel::unbounded()
                }
            };
            let made = Arc::new(AtomicU32::new(0));
            let senders: Vec<_> = (0..3)
                .map(|s| {
                    let (tx, drops, made) = (tx.clone(), drops.clone(), made.clone());
                    let send = move |cx: &mut Participant| {
                        for n in 0..1000 {
                            add(&made);
                            if tx.send(cx, Value(s * 1000 + n, drops.clone())).is_err() {
                                break;
                            }
                        }
                        Ok::<_, ()>(())
                    };
                    vm.spawn("sender", send).unwrap()
                })
                .collect();
            for n in 0..200 {
                assert!(rx.recv(&mut cx).is_ok(), "{n}");
            }
            let second = tx.clone();
            let mut handed = 0;
            let other = vm.spawn("closer", move |_| {
                let mut handed = 0;
                second.close_discarding(|_| handed += 1);
                Ok::<u32, ()>(handed)
            });
            rx.close_discarding(|_| handed += 1);
            assert_eq!(rx.try_recv().err(), Some(TryRecvError::Closed));
            handed += other.unwrap().join(&mut cx).unwrap();
            senders.iter().for_each(|h| h.join(&mut cx).unwrap());
            let gone: u32 = drops.iter().map(|d| d.load(SeqCst)).sum();
            assert_eq!(gone, made.load(SeqCst), "{handed} handed out");
            assert!(drops.iter().all(|d| d.load(SeqCst) <= 1));
        }
    });
}

// -- With a select, and with places that are kept

#[test]
fn arms_and_places_of_a_handle_that_left_are_closed() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for (tx, rx) in flavors() {
            let (_tx2, _rx2) = (tx.clone(), rx.clone());
            assert!(tx.disconnect() && rx.disconnect());
            let (mut a, mut b, mut c) = (tx.arm(1), rx.arm(), tx.reserve_arm());
            assert_eq!(Select::new().biased().arm(&mut a).wait(&mut cx), Ok(0));
            assert_eq!(Select::new().biased().arm(&mut b).wait(&mut cx), Ok(0));
            assert_eq!(Select::new().biased().arm(&mut c).wait(&mut cx), Ok(0));
            assert_eq!(a.complete(), Err(TrySendError::Closed(1)));
            assert_eq!(b.complete(), Err(TryRecvError::Closed));
            assert_eq!(c.complete().unwrap_err(), TrySendError::Closed(()));
            assert_eq!(tx.reserve(&mut cx).unwrap_err(), SendError::Closed(()));
            assert_eq!(tx.try_reserve().unwrap_err(), TrySendError::Closed(()));
        }
    });
}

/// A value that was published into a rendezvous is in the channel: a close leaves it there, and one that discards hands it
/// out.
#[test]
fn a_published_value_outlives_its_place() {
    both(|vm| {
        for way in 0..3 {
            let mut cx = vm.attach("main").unwrap();
            let (tx, rx) = channel::rendezvous();
            let waits = rx.clone();
            let h = vm.spawn("waits", move |cx| Ok::<_, ()>(waits.recv(cx))).unwrap();
            until(&mut cx, "it waits", || tx.waiting_receivers() == 1);
            let place = tx.try_reserve().unwrap();
            let _queued = h.thread().signal(&cx, ()).unwrap();
            assert_eq!(h.join(&mut cx).unwrap(), Err(RecvError::Interrupted));
            place.publish(7).unwrap();
            let mut left = Vec::new();
            match way {
                0 => assert!(tx.close()),
                1 => assert!(tx.close_discarding(|n| left.push(n))),
                _ => drop(tx),
            }
            let got: Vec<u64> = rx.try_iter().collect();
            assert_eq!((got.len(), left.len()), if way == 1 { (0, 1) } else { (1, 0) });
            assert_eq!(rx.recv(&mut cx), Err(RecvError::Closed));
        }
    });
}

/// Who waits for a place has nothing that is pending: it is told at once.
#[test]
fn who_waits_for_a_place_is_told_of_a_close() {
    both(|vm| {
        for (tx, rx) in pending() {
            let mut cx = vm.attach("main").unwrap();
            let room = tx.capacity().unwrap() as u64;
            (0..room).for_each(|n| tx.try_send(n).unwrap());
            let senders = queue(&vm, &mut cx, &tx, room..room + 1);
            let wants = tx.clone();
            let place = vm.spawn("wants", move |cx| Ok::<_, ()>(wants.reserve(cx).is_err()));
            until(&mut cx, "it waits", || tx.waiting_senders() == 2);
            let selects = tx.clone();
            let arm = vm.spawn("selects", move |cx| {
                let mut arm = selects.arm(9);
                assert_eq!(Select::new().arm(&mut arm).wait(cx), Ok(0));
                Ok::<_, ()>(arm.complete())
            });
            until(&mut cx, "it waits", || tx.waiting_senders() == 3);
            assert!(tx.close());
            assert!(place.unwrap().join(&mut cx).unwrap());
            assert_eq!(arm.unwrap().join(&mut cx).unwrap(), Err(TrySendError::Closed(9)));
            assert_eq!(tx.waiting_senders(), 1);
            assert!(rx.drain().eq(0..room + 1));
            assert_eq!(senders[0].join(&mut cx).unwrap(), Ok(()));
        }
    });
}
