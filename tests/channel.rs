//! Channels on real threads: what the documentation says of each operation, and that no value is lost or seen twice.

mod scene;

use scene::{both, far, soon, until};
use selvedge::channel::{self, Receiver, RecvError, SendError, Sender, TryRecvError, TrySendError};
use selvedge::*;
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
                until(&mut cx, "it waits", || tx.waiting_senders() == 1);
                assert_eq!(blocked.thread().blocker().unwrap().kind(), BlockerKind::Send);
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
            until(&mut cx, "it waits", || tx.waiting_receivers() == 1);
            assert_eq!(blocked.thread().blocker().unwrap().kind(), BlockerKind::Receive);
            drop(tx);
            assert_eq!(blocked.join(&mut cx).unwrap(), Err(RecvError::Closed));
        }
    });
}
