//! Select, and places that are reserved.

mod scene;

use scene::{both, far, soon, until};
use selvedge::channel::{
    self, Receiver, RecvError, Select, SelectError, SendError, Sender, TryRecvError, TrySendError,
};
use selvedge::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

type Made<T> = (Sender<T>, Receiver<T>);

/// Waits until the thread waits, for whatever it is.
fn settled(cx: &mut Participant, t: &Thread) {
    until(cx, "it waits", || t.blocker().is_some());
}

/// Each kind, empty.
fn kinds<T>() -> [Made<T>; 4] {
    [channel::rendezvous(), channel::bounded(1), channel::bounded(3), channel::unbounded()]
}

#[test]
fn what_is_there_is_taken_without_a_wait() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for (tx, rx) in kinds::<u32>().into_iter().skip(1) {
            let (other_tx, other_rx) = channel::bounded::<String>(1);
            tx.try_send(7).unwrap();
            let (mut a, mut b) = (rx.arm(), other_rx.arm());
            assert_eq!(Select::new().arm(&mut b).arm(&mut a).wait(&mut cx), Ok(1));
            assert_eq!((a.complete(), b.complete()), (Ok(7), Err(TryRecvError::Empty)));
            // A send, and one that loses.
            other_tx.try_send("full".into()).unwrap();
            let (mut a, mut b) = (tx.arm(8), other_tx.arm("kept".into()));
            assert_eq!(Select::new().arm(&mut a).arm(&mut b).try_now(&cx), Some(0));
            assert_eq!(a.complete(), Ok(()));
            assert_eq!(b.complete(), Err(TrySendError::Full("kept".into())));
            assert_eq!((rx.try_recv(), other_rx.len()), (Ok(8), 1));
            // Nothing can be done.
            let (mut a, mut b) = (rx.arm(), other_tx.arm("kept".into()));
            assert_eq!(Select::new().arm(&mut a).arm(&mut b).try_now(&cx), None);
            let late = Select::new().arm(&mut a).arm(&mut b).until(Instant::now()).wait(&mut cx);
            assert_eq!(late, Err(SelectError::TimedOut));
            assert_eq!(b.complete(), Err(TrySendError::Full("kept".into())));
            assert_eq!((rx.waiting_receivers(), other_tx.waiting_senders()), (0, 0));
        }
    });
}

#[test]
fn a_select_that_waits_is_met_by_senders_and_receivers() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for (n, (tx, rx)) in kinds::<u32>().into_iter().enumerate() {
            let (out, results) = channel::rendezvous::<&str>();
            let spare = channel::bounded::<u8>(1);
            let (rx2, spare_rx) = (rx.clone(), spare.1.clone());
            let h = vm
                .spawn("selects", move |cx| {
                    let mut got = vec![];
                    for _ in 0..2 {
                        let (mut r, mut s, mut never) = (rx2.arm(), out.arm("out"), spare_rx.arm());
                        let select = Select::new().arm(&mut never).arm(&mut r).arm(&mut s);
                        got.push(select.wait(cx).unwrap());
                        match got.last() {
                            Some(1) => {
                                assert_eq!(r.complete(), Ok(5));
                                assert_eq!(s.complete(), Err(TrySendError::Full("out")));
                            }
                            _ => {
                                assert_eq!(r.complete(), Err(TryRecvError::Empty));
                                assert_eq!(s.complete(), Ok(()));
                            }
                        }
                        assert_eq!(never.complete(), Err(TryRecvError::Empty));
                    }
                    Ok::<_, ()>(got)
                })
                .unwrap();
            settled(&mut cx, h.thread());
            let blocker = h.thread().blocker().unwrap();
            assert_eq!(
                (blocker.kind(), blocker.to_string()),
                (BlockerKind::Select, "select".into())
            );
            assert_eq!((rx.waiting_receivers(), results.waiting_senders()), (1, 1));
            tx.send(&mut cx, 5).unwrap();
            assert_eq!(results.recv(&mut cx), Ok("out"));
            assert_eq!(h.join(&mut cx).unwrap(), [1, 2], "kind {n}");
            assert_eq!((rx.waiting_receivers(), results.waiting_senders()), (0, 0));
            assert_eq!((rx.len(), spare.1.waiting_receivers()), (0, 0));
        }
    });
}

#[test]
fn closed_channels_are_chosen() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for (tx, rx) in kinds::<u32>() {
            let (keep, never) = channel::rendezvous::<()>();
            let (tx2, never2) = (tx.clone(), never.clone());
            let h = vm
                .spawn("waits", move |cx| {
                    let (mut a, mut b) = (never2.arm(), rx.arm());
                    let n = Select::new().arm(&mut a).arm(&mut b).wait(cx);
                    assert_eq!(
                        (a.complete(), b.complete()),
                        (Err(TryRecvError::Empty), Err(TryRecvError::Closed))
                    );
                    Ok::<_, ()>((n, rx))
                })
                .unwrap();
            settled(&mut cx, h.thread());
            assert!(tx2.close());
            let (n, rx) = h.join(&mut cx).unwrap();
            assert_eq!(n, Ok(1));
            // And without a wait; a send gives its value back.
            let (mut a, mut b) = (tx.arm(3), rx.arm());
            assert_eq!(Select::new().biased().arm(&mut a).arm(&mut b).wait(&mut cx), Ok(0));
            assert_eq!(a.complete(), Err(TrySendError::Closed(3)));
            assert_eq!(b.complete(), Err(TryRecvError::Empty), "not chosen");
            drop(keep);
        }
    });
}

#[test]
fn a_blocked_send_arm_gets_its_value_back_at_close() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (tx, rx) = channel::rendezvous::<String>();
        let h = vm
            .spawn("waits", move |cx| {
                let mut a = tx.arm("back".into());
                assert_eq!(Select::new().arm(&mut a).wait(cx), Ok(0));
                Ok::<_, ()>(a.complete())
            })
            .unwrap();
        settled(&mut cx, h.thread());
        rx.close();
        assert_eq!(h.join(&mut cx).unwrap(), Err(TrySendError::Closed("back".into())));
    });
}

#[test]
fn what_ends_a_wait_ends_a_select() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (tx, rx) = channel::bounded::<u32>(1);
        let me = cx.thread().clone();
        let late = |cx: &mut Participant, until| {
            let mut a = rx.arm();
            Select::new().arm(&mut a).until(until).wait(cx)
        };
        assert_eq!(late(&mut cx, soon()), Err(SelectError::TimedOut));
        assert_eq!(no_blocking(&mut cx, |cx| late(cx, far())), Err(SelectError::WouldBlock));
        me.post(1).unwrap();
        until(&mut cx, "it is there", || me.undelivered() == 1);
        assert_eq!(late(&mut cx, far()), Err(SelectError::Interrupted));
        // What need not wait is done all the same.
        tx.try_send(1).unwrap();
        let mut a = rx.arm();
        assert_eq!(Select::new().arm(&mut a).wait(&mut cx), Ok(0));
        assert_eq!(a.complete(), Ok(1));
        cx.take_signal().unwrap();
        // No arm.
        assert_eq!(Select::new().wait(&mut cx), Err(SelectError::NoArms));
        assert_eq!(Select::new().until(soon()).wait(&mut cx), Err(SelectError::TimedOut));
        assert_eq!(Select::new().try_now(&cx), None);
        // A signal from outside, a shutdown.
        let waits = |cx: &mut Participant, rx: &Receiver<u32>| {
            let mut a = rx.arm();
            Ok::<_, ()>(Select::new().arm(&mut a).wait(cx))
        };
        let rx2 = rx.clone();
        let h = vm.spawn("waits", move |cx| waits(cx, &rx2)).unwrap();
        settled(&mut cx, h.thread());
        let _ = h.thread().signal(&cx, 2).unwrap();
        assert_eq!(h.join(&mut cx).unwrap(), Err(SelectError::Interrupted));
        let rx2 = rx.clone();
        let h = vm.spawn("waits", move |cx| waits(cx, &rx2)).unwrap();
        settled(&mut cx, h.thread());
        vm.shutdown(&cx);
        assert_eq!(h.join(&mut cx).unwrap(), Err(SelectError::ShutDown));
        assert_eq!(rx.waiting_receivers(), 0);
    });
}

/// A select with both ends of one channel does not meet itself; two of them meet.
#[test]
fn a_select_meets_others_and_never_itself() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (tx, rx) = channel::rendezvous::<u32>();
        let (mut s, mut r) = (tx.arm(1), rx.arm());
        let alone = Select::new().arm(&mut s).arm(&mut r).until(soon()).wait(&mut cx);
        assert_eq!(alone, Err(SelectError::TimedOut));
        let (tx2, rx2) = (tx.clone(), rx.clone());
        let h = vm
            .spawn("other", move |cx| {
                let (mut r, mut s, mut again) = (rx2.arm(), tx2.arm(2), rx2.arm());
                let n = Select::new().arm(&mut r).arm(&mut s).arm(&mut again).wait(cx).unwrap();
                Ok::<_, ()>((n, r.complete().or(again.complete()).ok(), s.complete().ok()))
            })
            .unwrap();
        settled(&mut cx, h.thread());
        let (mut s, mut r) = (tx.arm(1), rx.arm());
        let n = Select::new().arm(&mut s).arm(&mut r).wait(&mut cx).unwrap();
        let (sent, got) = (s.complete().ok(), r.complete().ok());
        let (m, their_got, their_sent) = h.join(&mut cx).unwrap();
        match n {
            0 => assert_eq!(
                (sent, got, m != 1, their_got, their_sent),
                (Some(()), None, true, Some(1), None)
            ),
            _ => assert_eq!(
                (sent, got, m, their_got, their_sent),
                (None, Some(2), 1, None, Some(()))
            ),
        }
        assert_eq!((rx.waiting_receivers(), rx.waiting_senders()), (0, 0));
    });
}

#[test]
fn by_priority_the_first_and_else_each_at_times() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let made: Vec<Made<usize>> = (0..20).map(|_| channel::bounded(1)).collect();
        let mut seen = [0; 20];
        for _ in 0..1000 {
            made.iter().enumerate().for_each(|(n, (tx, _))| {
                let _ = tx.try_send(n);
            });
            let mut arms: Vec<_> = made.iter().map(|(_, rx)| rx.arm()).collect();
            let mut select = Select::new();
            for arm in &mut arms {
                select = select.arm(arm);
            }
            assert_eq!(select.len(), 20);
            let n = select.wait(&mut cx).unwrap();
            assert_eq!(arms.swap_remove(n).complete(), Ok(n));
            seen[n] += 1;
        }
        assert!(seen.iter().all(|&n| n > 10), "{seen:?}");
        let _ = (made[0].0.try_send(0), made[1].0.try_send(1));
        for want in 0..2 {
            let (mut a, mut b) = (made[0].1.arm(), made[1].1.arm());
            let biased = Select::new().arm(&mut a).arm(&mut b).biased();
            assert_eq!(biased.try_now(&cx), Some(want));
        }
        // Many arms wait, too.
        let (txs, rxs): (Vec<_>, Vec<_>) = (0..20).map(|_| channel::rendezvous::<usize>()).unzip();
        let h = vm
            .spawn("many", move |cx| {
                let mut arms: Vec<_> = rxs.iter().map(|rx| rx.arm()).collect();
                let mut select = Select::new();
                for arm in arms.iter_mut().rev() {
                    select = select.arm(arm);
                }
                let n = select.wait(cx).unwrap();
                let got = arms.swap_remove(19 - n).complete();
                Ok::<_, ()>(got)
            })
            .unwrap();
        settled(&mut cx, h.thread());
        txs[13].send(&mut cx, 13).unwrap();
        assert_eq!(h.join(&mut cx).unwrap(), Ok(13));
    });
}

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);
impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn arms_that_are_dropped_drop_their_values() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let dropped = Arc::new(AtomicUsize::new(0));
        let value = || Counted(dropped.clone());
        let (tx, rx) = channel::bounded(1);
        drop(tx.arm(value()));
        assert_eq!(dropped.load(SeqCst), 1);
        let mut a = tx.arm(value());
        assert_eq!(Select::new().arm(&mut a).wait(&mut cx), Ok(0));
        drop(a);
        assert_eq!(dropped.load(SeqCst), 1, "it is in the channel");
        let mut a = rx.arm();
        assert_eq!(Select::new().arm(&mut a).wait(&mut cx), Ok(0));
        drop(a);
        assert_eq!(dropped.load(SeqCst), 2);
        let mut a = tx.arm(value());
        assert_eq!(Select::new().arm(&mut a).wait(&mut cx), Ok(0));
        // Full: the arm waits, in vain.
        let mut b = tx.arm(value());
        assert_eq!(
            Select::new().arm(&mut b).until(soon()).wait(&mut cx),
            Err(SelectError::TimedOut)
        );
        drop((a, b));
        assert_eq!(dropped.load(SeqCst), 3);
        drop((tx, rx));
        assert_eq!(dropped.load(SeqCst), 4);
    });
}

#[test]
fn a_chosen_arm_stays_chosen() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (tx, rx) = channel::bounded(2);
        tx.try_send(1).unwrap();
        tx.try_send(2).unwrap();
        let mut a = rx.arm();
        for _ in 0..2 {
            assert_eq!(Select::new().arm(&mut a).wait(&mut cx), Ok(0));
        }
        assert_eq!((a.complete(), rx.len()), (Ok(1), 1));
    });
}

#[test]
fn a_place_is_kept_until_it_is_published_or_dropped() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (tx, rx) = channel::bounded(2);
        let one = tx.reserve(&mut cx).unwrap();
        tx.try_send(1).unwrap();
        assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
        assert_eq!(tx.try_reserve().unwrap_err(), TrySendError::Full(()));
        assert_eq!(tx.reserve_until(&mut cx, soon()).unwrap_err(), SendError::TimedOut(()));
        assert_eq!((rx.len(), rx.recv(&mut cx)), (1, Ok(1)));
        tx.try_send(3).unwrap();
        one.publish(4).unwrap();
        assert_eq!(tx.try_send(5), Err(TrySendError::Full(5)));
        assert!(rx.try_iter().eq([3, 4]));
        drop((tx.try_reserve().unwrap(), tx.try_reserve().unwrap()));
        assert!((0..3).map(|n| tx.try_send(n).is_ok()).eq([true, true, false]));
        // Unbounded: always.
        let (tx, rx) = channel::unbounded();
        let (a, b) = (tx.try_reserve().unwrap(), tx.reserve(&mut cx).unwrap());
        a.publish(1).unwrap();
        drop(b);
        assert!(rx.try_iter().eq([1]));
    });
}

#[test]
fn a_place_that_is_given_back_goes_to_who_waits() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (tx, rx) = channel::bounded(1);
        for wants_place in [false, true] {
            let permit = tx.reserve(&mut cx).unwrap();
            let tx2 = tx.clone();
            let h = vm
                .spawn("waits", move |cx| match wants_place {
                    true => Ok::<_, SendError<u32>>(tx2.reserve(cx).unwrap().publish(7)?),
                    false => Ok(tx2.send(cx, 7)?),
                })
                .unwrap();
            settled(&mut cx, h.thread());
            assert_eq!(rx.waiting_senders(), 1);
            drop(permit);
            h.join(&mut cx).unwrap();
            assert_eq!(rx.recv(&mut cx), Ok(7));
        }
        // A receiver that finds the places promised takes from who waits to send.
        let permit = tx.reserve(&mut cx).unwrap();
        let tx2 = tx.clone();
        let h = vm.spawn("waits", move |cx| tx2.send(cx, 8)).unwrap();
        settled(&mut cx, h.thread());
        assert_eq!((rx.recv(&mut cx), rx.waiting_senders()), (Ok(8), 0));
        h.join(&mut cx).unwrap();
        permit.publish(9).unwrap();
        assert_eq!(rx.recv(&mut cx), Ok(9));
    });
}

#[test]
fn a_place_of_a_closed_channel_gives_the_value_back() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for (tx, rx) in kinds::<u32>().into_iter().skip(1) {
            let (permit, unused) = (tx.reserve(&mut cx).unwrap(), tx.try_reserve().ok());
            let receives = rx.clone();
            let h = vm.spawn("waits", move |cx| Ok::<_, ()>(receives.recv(cx))).unwrap();
            settled(&mut cx, h.thread());
            rx.close();
            assert_eq!(permit.publish(1), Err(SendError::Closed(1)));
            drop(unused);
            assert_eq!(tx.reserve(&mut cx).unwrap_err(), SendError::Closed(()));
            assert_eq!(tx.try_reserve().unwrap_err(), TrySendError::Closed(()));
            assert_eq!(h.join(&mut cx).unwrap(), Err(RecvError::Closed));
        }
    });
}

#[test]
fn a_place_of_a_rendezvous_is_a_receiver_that_waits() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (tx, rx) = channel::rendezvous();
        assert_eq!(tx.try_reserve().unwrap_err(), TrySendError::Full(()));
        assert_eq!(tx.reserve_until(&mut cx, soon()).unwrap_err(), SendError::TimedOut(()));
        let receives = rx.clone();
        let h = vm.spawn("waits", move |cx| Ok::<_, ()>(receives.recv(cx))).unwrap();
        settled(&mut cx, h.thread());
        let permit = tx.try_reserve().unwrap();
        assert_eq!(tx.try_reserve().unwrap_err(), TrySendError::Full(()), "one waits, one place");
        permit.publish(1).unwrap();
        assert_eq!(h.join(&mut cx).unwrap(), Ok(1));
        // Who waits for a place gets it when a receiver comes, and not from one that does not wait.
        let tx2 = tx.clone();
        let h = vm
            .spawn("reserves", move |cx| Ok::<_, ()>(tx2.reserve(cx).unwrap().publish(2)))
            .unwrap();
        settled(&mut cx, h.thread());
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(rx.recv(&mut cx), Ok(2));
        assert_eq!(h.join(&mut cx).unwrap(), Ok(()));
        // The receiver goes away: the value waits for the next one.
        let receives = rx.clone();
        let h = vm.spawn("leaves", move |cx| Ok::<_, ()>(receives.recv(cx))).unwrap();
        settled(&mut cx, h.thread());
        let permit = tx.try_reserve().unwrap();
        let _ = h.thread().signal(&cx, ()).unwrap();
        assert_eq!(h.join(&mut cx).unwrap(), Err(RecvError::Interrupted));
        permit.publish(3).unwrap();
        assert_eq!((rx.len(), rx.waiting_senders(), rx.try_recv()), (1, 0, Ok(3)));
        // The same, and nobody ever comes: it is dropped with the last receiver; closed before, it can still be received.
        for close in [false, true] {
            let dropped = Arc::new(AtomicUsize::new(0));
            let (tx, rx) = channel::rendezvous();
            let receives = rx.clone();
            let h = vm.spawn("leaves", move |cx| Ok::<_, ()>(receives.recv(cx).is_ok())).unwrap();
            settled(&mut cx, h.thread());
            let permit = tx.try_reserve().unwrap();
            let _ = h.thread().signal(&cx, ()).unwrap();
            assert!(!h.join(&mut cx).unwrap());
            assert!(permit.publish(Counted(dropped.clone())).is_ok());
            if close {
                rx.close();
                assert!(rx.recv(&mut cx).is_ok());
            }
            drop((tx, rx));
            assert_eq!(dropped.load(SeqCst), 1);
        }
    });
}

#[test]
fn a_reservation_among_others() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (tx, rx) = channel::bounded(1);
        let (keep, other) = channel::rendezvous::<()>();
        let (mut a, mut b) = (tx.reserve_arm(), other.arm());
        assert_eq!(Select::new().arm(&mut a).arm(&mut b).wait(&mut cx), Ok(0));
        drop(a);
        assert!(tx.try_send(1).is_ok(), "a place that nobody took is given back");
        let (tx2, other2) = (tx.clone(), other.clone());
        let h = vm
            .spawn("waits", move |cx| {
                let (mut a, mut b) = (other2.arm(), tx2.reserve_arm());
                assert_eq!(Select::new().arm(&mut a).arm(&mut b).wait(cx), Ok(1));
                Ok::<_, ()>(b.complete().unwrap().publish(2))
            })
            .unwrap();
        settled(&mut cx, h.thread());
        assert_eq!(rx.recv(&mut cx), Ok(1));
        assert_eq!(rx.recv(&mut cx), Ok(2));
        assert_eq!(h.join(&mut cx).unwrap(), Ok(()));
        drop(keep);
    });
}

#[test]
fn arms_that_can_be_done_have_equal_chances_beside_those_that_cannot() {
    let vm = Runtime::new();
    let cx = vm.attach("main").unwrap();
    let (_open, nothing) = channel::bounded::<()>(1);
    let (tx, rx) = channel::unbounded();
    (0..4000).for_each(|n| tx.try_send(n).unwrap());
    let mut hits = [0_u32; 4];
    for _ in 0..4000 {
        let (mut a, mut b) = (nothing.arm(), nothing.arm());
        let (mut c, mut d) = (rx.arm(), rx.arm());
        let select = Select::new().arm(&mut a).arm(&mut b).arm(&mut c).arm(&mut d);
        hits[select.try_now(&cx).unwrap()] += 1;
    }
    // 2000 on the average, with a deviation of 32.
    assert!(hits[..2] == [0, 0] && hits[2].abs_diff(2000) < 320, "{hits:?}");
}

#[test]
fn of_two_arms_that_wait_at_one_channel_each_has_its_chance() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (tx, rx) = channel::rendezvous();
        let h = vm
            .spawn("waits", move |cx| {
                let mut hits = [0; 2];
                for _ in 0..64 {
                    let (mut a, mut b) = (rx.arm(), rx.arm());
                    hits[Select::new().arm(&mut a).arm(&mut b).wait(cx).unwrap()] += 1;
                }
                Ok::<_, ()>(hits)
            })
            .unwrap();
        for _ in 0..64 {
            until(&mut cx, "it waits", || tx.waiting_receivers() > 0);
            tx.send(&mut cx, ()).unwrap();
        }
        let hits = h.join(&mut cx).unwrap();
        assert!(hits[0] > 0 && hits[1] > 0, "{hits:?}");
    });
}

#[test]
fn none_is_said_of_all_arms_at_one_moment() {
    let vm = Runtime::new();
    let mut cx = vm.attach("main").unwrap();
    let ends: [Made<()>; 2] = [channel::bounded(1), channel::bounded(1)];
    let (there, over) = (ends.clone(), Arc::new(AtomicUsize::new(0)));
    let end = over.clone();
    // One of the two has room all the time: each is emptied before the other one is filled.
    let h = vm
        .spawn("moves", move |_| {
            let [(a, from_a), (b, from_b)] = there;
            while end.load(SeqCst) == 0 {
                let _ = (from_b.try_recv(), a.try_send(()));
                let _ = (from_a.try_recv(), b.try_send(()));
            }
            Ok::<_, ()>(())
        })
        .unwrap();
    for _ in 0..200_000 {
        let (mut a, mut b) = (ends[0].0.reserve_arm(), ends[1].0.reserve_arm());
        let chosen = Select::new().arm(&mut a).arm(&mut b).try_now(&cx);
        assert!(chosen.is_some(), "there was room all the time");
    }
    over.store(1, SeqCst);
    h.join(&mut cx).unwrap();
}
