//! Channels that lose values in place of waiting, and sends that force their way in: who loses, where it is dropped, and
//! that all others are received once.

mod scene;

use scene::misuse::*;
use scene::{both, until};
use selvedge::channel::{self, Receiver, Select, Sender, TryRecvError, TrySendError};
use selvedge::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex as Lock};
use std::thread;

fn drained<T>(rx: &Receiver<T>) -> Vec<T> {
    rx.drain().collect()
}

#[test]
fn dropping_keeps_the_oldest() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for room in [1, 2, 5] {
            let (tx, rx) = channel::dropping(room);
            for n in 0..10 {
                assert_eq!(tx.send(&mut cx, n), Ok(()));
                assert_eq!((tx.len(), tx.capacity()), (room.min(n + 1), Some(room)));
            }
            assert_eq!(tx.try_send(10), Err(TrySendError::Full(10)));
            assert_eq!(tx.send_until(&mut cx, 11, std::time::Instant::now()), Ok(()));
            assert_eq!(tx.send_all(&mut cx, 12..15), Ok(3));
            assert_eq!(drained(&rx), (0..room).collect::<Vec<_>>());
            assert_eq!(tx.try_send(15), Ok(()));
            assert_eq!(rx.try_recv(), Ok(15));
        }
    });
}

#[test]
fn sliding_keeps_the_newest() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for room in [1, 2, 5] {
            let (tx, rx) = channel::sliding(room);
            for n in 0..10 {
                match n % 2 {
                    0 => assert_eq!(tx.send(&mut cx, n), Ok(())),
                    _ => assert_eq!(tx.try_send(n), Ok(())),
                }
                assert_eq!((tx.len(), tx.capacity()), (room.min(n + 1), Some(room)));
            }
            assert_eq!(drained(&rx), (10 - room..10).collect::<Vec<_>>());
        }
    });
}

/// Nothing that a lossy channel does waits: also where waiting is refused, and for no hook.
#[test]
fn no_send_waits() {
    both(|vm| {
        let mut cx = Hooked::new(vm.attach("main").unwrap());
        for (tx, rx) in [channel::dropping(1), channel::sliding(1), channel::dropping(0)] {
            no_blocking(&mut cx, |cx| (0..3).for_each(|n| tx.send(cx, n).unwrap()));
            assert_eq!(rx.len(), tx.capacity().unwrap());
        }
        assert_eq!(cx.calls, [0, 0, 0]);
    });
}

#[test]
fn without_room_a_value_needs_a_receiver_that_waits() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for (tx, rx) in [channel::dropping(0), channel::sliding(0)] {
            assert_eq!(tx.send(&mut cx, 1), Ok(()));
            assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
            assert_eq!(tx.force_send(3), Err(TrySendError::Full(3)));
            assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
            let h = vm.spawn("receiver", move |cx| rx.recv(cx)).unwrap();
            until(&mut cx, "it waits", || tx.waiting_receivers() == 1);
            assert_eq!(tx.send(&mut cx, 4), Ok(()));
            assert_eq!(h.join(&mut cx).unwrap(), 4);
            assert_eq!(tx.send(&mut cx, 5).unwrap_err().into_inner(), 5, "closed");
        }
    });
}

#[test]
fn a_forced_value_displaces_the_oldest() {
    for (tx, rx) in [channel::bounded(2), channel::dropping(2), channel::sliding(2)] {
        assert_eq!((tx.force_send(0), tx.force_send(1)), (Ok(None), Ok(None)));
        assert_eq!((tx.force_send(2), tx.force_send(3)), (Ok(Some(0)), Ok(Some(1))));
        assert_eq!(drained(&rx), [2, 3]);
        assert!(tx.close());
        assert_eq!(tx.force_send(4), Err(TrySendError::Closed(4)));
    }
    let (tx, rx) = channel::unbounded();
    (0..100).for_each(|n| assert_eq!(tx.force_send(n), Ok(None)));
    assert_eq!(drained(&rx).len(), 100);
    let (tx, rx) = channel::rendezvous();
    assert_eq!(tx.force_send(1), Err(TrySendError::Full(1)));
    drop(rx);
    assert_eq!(tx.force_send(1), Err(TrySendError::Closed(1)));
}

/// Who waits to send keeps its turn, and its value comes behind those in the channel.
#[test]
fn a_forced_value_takes_nobodys_turn() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (tx, rx) = channel::bounded(2);
        (0..2).for_each(|n| tx.try_send(n).unwrap());
        let senders: Vec<_> = (10..13)
            .map(|n| {
                let sender = tx.clone();
                let h = vm.spawn("sender", move |cx| sender.send(cx, n)).unwrap();
                until(&mut cx, "it waits", || tx.waiting_senders() == n - 9);
                h
            })
            .collect();
        assert_eq!(tx.force_send(2), Ok(Some(0)));
        assert_eq!((tx.waiting_senders(), tx.len()), (3, 2));
        let got: Vec<usize> = (0..5).map(|_| rx.recv(&mut cx).unwrap()).collect();
        assert_eq!(got, [1, 2, 10, 11, 12]);
        senders.iter().for_each(|h| h.join(&mut cx).unwrap());
    });
}

/// A receiver that waits is given the value, whatever the policy.
#[test]
fn who_waits_is_served_first() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for (tx, rx) in [channel::dropping(1), channel::sliding(1), channel::bounded(1)] {
            let h = vm.spawn("receiver", move |cx| rx.recv(cx)).unwrap();
            until(&mut cx, "it waits", || tx.waiting_receivers() == 1);
            assert_eq!(tx.force_send(7), Ok(None));
            assert_eq!(h.join(&mut cx).unwrap(), 7);
        }
    });
}

/// Notes in which thread it is dropped; it may use the channel then, or panic.
struct Loser {
    n: u64,
    log: Arc<Lock<Vec<(u64, thread::ThreadId)>>>,
    then: fn(u64, &Sender<Loser>),
    tx: Option<Sender<Loser>>,
}
impl Drop for Loser {
    fn drop(&mut self) {
        self.log.lock().unwrap().push((self.n, thread::current().id()));
        if let Some(tx) = &self.tx {
            (self.then)(self.n, tx);
        }
    }
}

/// In the thread of the sender, with no lock held: all that the channel has can be asked and done there.
#[test]
fn who_loses_is_dropped_by_the_sender_and_may_use_the_channel() {
    both(|vm| {
        for (dropping, lost) in [(true, vec![1, 2, 3]), (false, vec![0, 1, 2])] {
            let (tx, rx) = if dropping { channel::dropping(1) } else { channel::sliding(1) };
            let log = Arc::new(Lock::new(Vec::new()));
            let then = |_, tx: &Sender<Loser>| {
                assert_eq!((tx.len(), tx.waiting_senders(), tx.waiting_receivers()), (1, 0, 0));
            };
            let (sender, book) = (tx.clone(), log.clone());
            let h = vm.spawn("sender", move |cx| {
                for n in 0..4 {
                    let tx = Some(sender.clone());
                    sender.send(cx, Loser { n, log: book.clone(), then, tx }).map_err(drop)?;
                }
                Ok::<_, ()>(thread::current().id())
            });
            let mut cx = vm.attach("main").unwrap();
            let id = h.unwrap().join(&mut cx).unwrap();
            assert_eq!(*log.lock().unwrap(), lost.iter().map(|&n| (n, id)).collect::<Vec<_>>());
            let mut left = rx.try_recv().ok().unwrap();
            left.tx = None;
            assert_eq!(left.n, if dropping { 0 } else { 3 });
        }
    });
}

/// The send is done when the destructor of who lost panics: the panic is the sender's, the channel is as it should be.
#[test]
fn a_loser_that_panics_harms_nobody() {
    let vm = Runtime::new();
    let mut cx = vm.attach("main").unwrap();
    let log = Arc::new(Lock::new(Vec::new()));
    let then = |n: u64, _: &Sender<Loser>| {
        if n < 2 {
            quiet_panic("loser");
        }
    };
    for dropping in [true, false] {
        let (tx, rx) = if dropping { channel::dropping(1) } else { channel::sliding(1) };
        let value =
            |n, armed: bool| Loser { n, log: log.clone(), then, tx: armed.then(|| tx.clone()) };
        assert!(tx.try_send(value(0, !dropping)).is_ok());
        let one = value(1, dropping);
        let sent = catch_unwind(AssertUnwindSafe(|| tx.send(&mut cx, one)));
        assert_eq!(message(sent.unwrap_err()), "loser");
        assert_eq!(rx.len(), 1);
        assert_eq!(rx.try_recv().ok().unwrap().n, if dropping { 0 } else { 1 });
        assert!(tx.send(&mut cx, value(2, true)).is_ok(), "it works on");
    }
}

/// The same in a select: the arm has sent its value, and has none to drop.
#[test]
fn a_loser_that_panics_in_a_select_is_dropped_once() {
    let vm = Runtime::new();
    let cx = vm.attach("main").unwrap();
    let log = Arc::new(Lock::new(Vec::new()));
    let then = |_: u64, _: &Sender<Loser>| quiet_panic("loser");
    for dropping in [true, false] {
        let (tx, rx) = if dropping { channel::dropping(1) } else { channel::sliding(1) };
        let value =
            |n, armed: bool| Loser { n, log: log.clone(), then, tx: armed.then(|| tx.clone()) };
        assert!(tx.try_send(value(0, !dropping)).is_ok());
        let mut arm = tx.arm(value(1, dropping));
        let tried = catch_unwind(AssertUnwindSafe(|| Select::new().arm(&mut arm).try_now(&cx)));
        assert_eq!(message(tried.unwrap_err()), "loser");
        assert!(arm.complete().is_ok(), "it was sent");
        assert_eq!(rx.try_recv().ok().unwrap().n, if dropping { 0 } else { 1 });
        assert!(rx.is_empty());
        let dropped: Vec<_> = std::mem::take(&mut *log.lock().unwrap());
        let loser = u64::from(dropping);
        assert_eq!(dropped.iter().map(|&(n, _)| n).collect::<Vec<_>>(), [loser, 1 - loser]);
    }
}

/// Many senders that displace, receivers that take: each value is received or lost, once, and none of a sender overtakes
/// another one of the same.
#[test]
fn every_value_is_received_or_lost() {
    const EACH: u64 = 5000;
    both(|vm| {
        for way in 0..3 {
            let mut cx = vm.attach("main").unwrap();
            let (tx, rx) = match way {
                0 => channel::bounded(3),
                1 => channel::sliding(3),
                _ => channel::dropping(3),
            };
            let drops: Arc<Vec<AtomicU32>> =
                Arc::new((0..3 * EACH).map(|_| AtomicU32::new(0)).collect());
            let got = Arc::new(AtomicU64::new(0));
            struct One(u64, Arc<Vec<AtomicU32>>);
            impl Drop for One {
                fn drop(&mut self) {
                    self.1[self.0 as usize].fetch_add(1, SeqCst);
                }
            }
            let senders: Vec<_> = (0..3)
                .map(|s| {
                    let (tx, drops) = (tx.clone(), drops.clone());
                    let send = move |cx: &mut Participant| {
                        for n in 0..EACH {
                            let value = One(s * EACH + n, drops.clone());
                            match way {
                                // One that waits among those that force.
                                0 if s == 0 => tx.send(cx, value).map_err(drop)?,
                                0 => drop(tx.force_send(value).map_err(drop)?),
                                _ => tx.send(cx, value).map_err(drop)?,
                            }
                            if n % 64 == 0 {
                                yield_now(cx);
                            }
                        }
                        Ok::<_, ()>(())
                    };
                    vm.spawn("sender", send).unwrap()
                })
                .collect();
            let receivers: Vec<_> = (0..2)
                .map(|_| {
                    let (rx, got) = (rx.clone(), got.clone());
                    let receive = move |cx: &mut Participant| {
                        let mut last = [None; 3];
                        while let Ok(One(n, _)) = rx.recv(cx).as_ref() {
                            let place = &mut last[(n / EACH) as usize];
                            assert!(*place < Some(*n), "in the order in which they were sent");
                            *place = Some(*n);
                            got.fetch_add(1, SeqCst);
                        }
                        Ok::<_, ()>(())
                    };
                    vm.spawn("receiver", receive).unwrap()
                })
                .collect();
            drop((tx, rx));
            senders.iter().chain(&receivers).for_each(|h| h.join(&mut cx).unwrap());
            assert!(drops.iter().all(|d| d.load(SeqCst) == 1));
            assert!((1..=3 * EACH).contains(&got.load(SeqCst)));
        }
    });
}

// -- In a select, and with places that are kept

/// A send to a lossy channel can always be done: as an arm too.
#[test]
fn an_arm_of_a_lossy_channel_never_waits() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for (tx, left) in [(channel::dropping(1), 0), (channel::sliding(1), 2)] {
            let (tx, rx) = tx;
            assert_eq!(tx.try_send(0), Ok(()));
            let mut arm = tx.arm(1);
            assert_eq!(Select::new().arm(&mut arm).wait(&mut cx), Ok(0));
            assert_eq!(arm.complete(), Ok(()));
            let mut arm = tx.arm(2);
            assert_eq!(Select::new().arm(&mut arm).try_now(&cx), Some(0));
            assert_eq!((arm.complete(), rx.try_recv()), (Ok(()), Ok(left)));
        }
    });
}

/// A place that is kept is nobody's to displace.
#[test]
fn a_kept_place_is_not_forced() {
    let (tx, rx) = channel::bounded(2);
    let place = tx.try_reserve().unwrap();
    assert_eq!((tx.force_send(0), tx.force_send(1)), (Ok(None), Ok(Some(0))));
    let second = {
        assert_eq!(rx.try_recv(), Ok(1));
        tx.try_reserve().unwrap()
    };
    assert_eq!(tx.force_send(2), Err(TrySendError::Full(2)), "all places are kept");
    second.publish(3).unwrap();
    assert_eq!(tx.force_send(4), Ok(Some(3)));
    place.publish(5).unwrap();
    assert_eq!(drained(&rx), [4, 5]);
}
