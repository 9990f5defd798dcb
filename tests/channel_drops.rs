//! Each value is delivered, given back or dropped, and that once: whoever closes, leaves, is stopped, or panics.

mod scene;

use scene::misuse::*;
use scene::{both, far, soon, until};
use selvedge::channel::{self, Receiver, RecvError, SendError, Sender};
use selvedge::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Instant;

/// How often each value was dropped.
#[derive(Clone)]
struct Ledger(Arc<Vec<AtomicU32>>);

/// A value that is counted. On the heap too, so that a second drop does not stay unnoticed.
struct Value {
    n: usize,
    ledger: Ledger,
    bomb: bool,
}

impl Ledger {
    fn new(values: usize) -> Self {
        Self(Arc::new((0..values).map(|_| AtomicU32::new(0)).collect()))
    }
    fn value(&self, n: usize) -> Box<Value> {
        Box::new(Value { n, ledger: self.clone(), bomb: false })
    }
    fn bomb(&self, n: usize) -> Box<Value> {
        Box::new(Value { n, ledger: self.clone(), bomb: true })
    }
    fn drops(&self) -> Vec<u32> {
        self.0.iter().map(|n| n.load(SeqCst)).collect()
    }
    /// Every value was dropped once.
    #[track_caller]
    fn is_even(&self) {
        assert!(self.0.iter().all(|n| n.load(SeqCst) == 1), "{:?}", self.drops());
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        add(&self.ledger.0[self.n]);
        if self.bomb {
            quiet_panic("bomb");
        }
    }
}

type Made = (Sender<Box<Value>>, Receiver<Box<Value>>);

/// Those with room.
fn stores() -> [Made; 3] {
    [channel::bounded(1), channel::bounded(40), channel::unbounded()]
}
/// Those in which a sender may wait, and how many values fill them.
fn tight() -> [(Made, usize); 2] {
    [(channel::rendezvous(), 0), (channel::bounded(2), 2)]
}

fn fill(tx: &Sender<Box<Value>>, ledger: &Ledger, values: std::ops::Range<usize>) {
    for n in values {
        assert!(tx.try_send(ledger.value(n)).is_ok());
    }
}

#[test]
fn what_nobody_received_is_dropped_with_the_last_receiver() {
    for (tx, rx) in stores() {
        let ledger = Ledger::new(101);
        // Through the ring's end and through several blocks first.
        for n in 0..80 {
            fill(&tx, &ledger, n..n + 1);
            assert_eq!(rx.try_recv().unwrap().n, n);
        }
        let room = tx.capacity().unwrap_or(20).min(20);
        fill(&tx, &ledger, 80..80 + room);
        let second = rx.clone();
        drop(rx);
        assert_eq!((tx.len(), tx.is_closed()), (room, false), "there is one more");
        drop(second);
        assert_eq!((tx.len(), tx.is_closed()), (0, true));
        let back = tx.try_send(ledger.value(100)).unwrap_err().into_inner();
        assert_eq!((back.n, ledger.drops()[100]), (100, 0));
        drop(back);
        let made: Vec<u32> = (0..101).map(|n| (n < 80 + room || n == 100).into()).collect();
        assert_eq!(ledger.drops(), made);
    }
}

/// Waves, each larger than the one before, none of them received to its end: blocks of all sizes, new ones and used ones.
#[test]
fn what_piles_up_comes_in_order_and_is_dropped_once() {
    let (tx, rx) = channel::unbounded();
    let (mut sent, mut got) = (0, 0);
    let ledger = Ledger::new(12_000);
    for wave in [10, 100, 1_000, 4_000, 10, 1_000, 5_000] {
        fill(&tx, &ledger, sent..sent + wave);
        sent += wave;
        while got < sent - wave / 4 {
            assert_eq!(rx.try_recv().unwrap().n, got);
            got += 1;
        }
        let mut there = Vec::new();
        rx.visit(|v| there.push(v.n));
        assert!(there.into_iter().eq(got..sent));
    }
    drop((tx, rx));
    assert!(ledger.drops()[..sent].iter().all(|n| *n == 1));
    assert!(ledger.drops()[sent..].iter().all(|n| *n == 0));
}

#[test]
fn what_is_left_outlives_the_senders() {
    for (tx, rx) in stores() {
        let room = tx.capacity().unwrap_or(40);
        let ledger = Ledger::new(room);
        fill(&tx, &ledger, 0..room);
        let second = tx.clone();
        drop((tx, second));
        assert!(rx.is_closed());
        assert_eq!(rx.try_recv().unwrap().n, 0);
        let left: Vec<usize> = rx.try_iter().take(room / 2).map(|v| v.n).collect();
        assert_eq!(left, (1..=room / 2).take(room - 1).collect::<Vec<_>>());
        drop(rx);
        ledger.is_even();
    }
}

/// Closed from three sides while senders and receivers wait: the senders get theirs back.
#[test]
fn a_close_gives_back_what_waits() {
    both(|vm| {
        for way in 0..3 {
            for ((tx, rx), room) in tight() {
                let mut cx = vm.attach("main").unwrap();
                let ledger = Ledger::new(room + 3);
                fill(&tx, &ledger, 0..room);
                let senders: Vec<_> = (room..room + 3)
                    .map(|n| {
                        let (tx, value) = (tx.clone(), ledger.value(n));
                        let send = move |cx: &mut Participant| match tx.send(cx, value) {
                            Err(SendError::Closed(back)) if back.n == n => Ok::<_, ()>(()),
                            other => panic!("{other:?}"),
                        };
                        let h = vm.spawn("sender", send).unwrap();
                        until(&mut cx, "it waits", || rx.waiting_senders() == n - room + 1);
                        h
                    })
                    .collect();
                match way {
                    0 => assert!(rx.close() && !tx.close()),
                    1 => assert!(tx.close() && !rx.close()),
                    _ => {}
                }
                if way < 2 {
                    assert_eq!(rx.drain().map(|v| v.n).collect::<Vec<_>>(), [0, 1][..room]);
                }
                drop(rx);
                for h in senders {
                    h.join(&mut cx).unwrap();
                }
                assert_eq!(tx.waiting_senders(), 0);
                ledger.is_even();
            }
        }
    });
}

#[test]
fn a_wait_that_ends_otherwise_gives_the_value_back() {
    for baton in [false, true] {
        for ((tx, rx), room) in tight() {
            let vm = Runtime::builder().baton(baton).build();
            let mut cx = vm.attach("main").unwrap();
            let ledger = Ledger::new(room + 2);
            fill(&tx, &ledger, 0..room);
            let late = tx.send_until(&mut cx, ledger.value(room), soon());
            assert!(matches!(&late, Err(SendError::TimedOut(v)) if v.n == room), "{late:?}");
            let (tx2, value) = (tx.clone(), ledger.value(room + 1));
            let h = vm.spawn("sender", move |cx| {
                let Err(SendError::Interrupted(value)) = tx2.send(cx, value) else { panic!() };
                assert!(cx.take_signal().is_some());
                let Err(SendError::ShutDown(value)) = tx2.send(cx, value) else { panic!() };
                assert_eq!(value.ledger.drops()[value.n], 0);
                Ok::<_, ()>(())
            });
            let h = h.unwrap();
            until(&mut cx, "it waits", || tx.waiting_senders() == 1);
            let _queued = h.signal(&cx, ()).unwrap();
            until(&mut cx, "it waits again", || h.undelivered() == 0 && tx.waiting_senders() == 1);
            assert_eq!(ledger.drops(), vec![0; room + 2]);
            vm.shutdown(&cx);
            h.join(&mut cx).unwrap();
            assert_eq!(rx.drain().count(), room);
            drop(late);
            ledger.is_even();
        }
    }
}

/// A context whose hook number `which` panics once, at a channel.
fn hooked(vm: &Runtime, which: usize) -> Hooked {
    let mut cx = Hooked::new(vm.attach("main").unwrap());
    cx.hook(which, |_| quiet_panic("hook"));
    cx
}
fn panics<R>(cx: &mut Hooked, f: impl FnOnce(&mut Hooked) -> R) {
    let caught = catch_unwind(AssertUnwindSafe(|| drop(f(cx))));
    assert_eq!(message(caught.unwrap_err()), "hook");
}

#[test]
fn a_hook_that_panics_before_a_wait_drops_what_was_to_be_sent() {
    both(|vm| {
        for ((tx, rx), room) in tight() {
            let mut cx = hooked(&vm, BEFORE);
            let ledger = Ledger::new(room + 1);
            fill(&tx, &ledger, 0..room);
            panics(&mut cx, |cx| tx.send(cx, ledger.value(room)));
            assert_eq!((ledger.drops()[room], rx.waiting_senders()), (1, 0));
            assert_eq!(rx.drain().count(), room);
            ledger.is_even();
            cx.hook(BEFORE, |_| quiet_panic("hook"));
            panics(&mut cx, |cx| rx.recv(cx));
            assert_eq!((rx.waiting_receivers(), cx.calls), (0, [2, 0, 0]));
            assert_eq!(rx.recv_until(&mut cx, Instant::now()).err(), Some(RecvError::TimedOut));
        }
    });
}

#[test]
fn a_hook_that_panics_after_a_wait_leaves_the_value_where_it_is() {
    both(|vm| {
        for ((tx, rx), room) in tight() {
            // Sent: a receiver has it.
            let mut cx = hooked(&vm, AFTER);
            let ledger = Ledger::new(room + 4);
            fill(&tx, &ledger, 0..room);
            let other = rx.clone();
            let h = vm.spawn("receiver", move |cx| {
                until(cx, "main waits", || other.waiting_senders() == 1);
                Ok::<_, ()>((0..=room).map(|_| other.recv(cx).unwrap().n).collect::<Vec<_>>())
            });
            panics(&mut cx, |cx| tx.send(cx, ledger.value(room)));
            let received = h.unwrap().join(&mut cx).unwrap();
            assert_eq!(received, (0..=room).collect::<Vec<_>>());
            assert_eq!(ledger.drops(), [vec![1; room + 1], vec![0; 3]].concat());

            // Received: it ends with the wait.
            cx.hook(AFTER, |_| quiet_panic("hook"));
            let (other, ledger2) = (tx.clone(), ledger.clone());
            let h = vm.spawn("sender", move |cx| {
                until(cx, "main waits", || other.waiting_receivers() == 1);
                Ok::<_, ()>(other.send_until(cx, ledger2.value(room + 1), far()).is_ok())
            });
            let h = h.unwrap();
            panics(&mut cx, |cx| rx.recv(cx));
            assert!(h.join(&mut cx).unwrap());
            assert_eq!(ledger.drops()[room + 1], 1);

            // Neither: it is dropped.
            fill(&tx, &Ledger::new(room), 0..room);
            cx.hook(AFTER, |_| quiet_panic("hook"));
            panics(&mut cx, |cx| tx.send_until(cx, ledger.value(room + 2), soon()));
            assert_eq!((ledger.drops()[room + 2], tx.waiting_senders()), (1, 0));
            assert_eq!(rx.drain().count(), room);
            assert!(rx.close());
            cx.hook(AFTER, |_| quiet_panic("hook"));
            let calls = cx.calls;
            let back = tx.send(&mut cx, ledger.value(room + 3)).unwrap_err().into_inner();
            assert_eq!((back.n, cx.calls), (room + 3, calls), "no wait, no hook");
            drop(back);
            ledger.is_even();
        }
    });
}

/// A request that the thread itself must answer ends its wait for a moment; if it panics, for ever.
#[test]
fn a_request_that_panics_in_a_send_drops_the_value() {
    both(|vm| {
        for ((tx, rx), room) in tight() {
            let mut cx = vm.attach("main").unwrap();
            let ledger = Ledger::new(room + 1);
            fill(&tx, &ledger, 0..room);
            let (tx2, value) = (tx.clone(), ledger.value(room));
            let h = vm.spawn("sender", move |cx| {
                let caught = catch_unwind(AssertUnwindSafe(|| tx2.send(cx, value).is_ok()));
                assert_eq!(message(caught.unwrap_err()), "request");
                let got = catch_unwind(AssertUnwindSafe(|| rx.recv_until(cx, far()).is_ok()));
                Ok::<_, ()>(got.unwrap())
            });
            let h = h.unwrap();
            until(&mut cx, "it waits", || tx.waiting_senders() == 1);
            h.ask_owner(|| quiet_panic("request")).unwrap();
            until(&mut cx, "the value is gone", || ledger.drops()[room] == 1);
            if room == 0 {
                tx.send(&mut cx, Ledger::new(1).value(0)).unwrap();
            }
            assert!(h.join(&mut cx).unwrap());
            ledger.is_even();
        }
    });
}

#[test]
fn a_destructor_that_panics_keeps_no_other_value_alive() {
    for (tx, rx) in [channel::bounded(70), channel::unbounded()] {
        let ledger = Ledger::new(70);
        fill(&tx, &ledger, 0..1);
        assert!(tx.try_send(ledger.bomb(1)).is_ok());
        fill(&tx, &ledger, 2..70);
        let caught = catch_unwind(move || drop(rx));
        assert_eq!(message(caught.unwrap_err()), "bomb");
        ledger.is_even();
        assert!(tx.is_closed() && tx.is_empty());
        assert_eq!(tx.receivers(), 0);
    }
}

/// The bomb goes off in a thread that holds nothing of the channel, and the value behind it is there.
#[test]
fn a_value_that_panics_elsewhere_is_not_the_channels_concern() {
    let (tx, rx) = channel::bounded(2);
    let ledger = Ledger::new(2);
    assert!(tx.try_send(ledger.bomb(0)).is_ok());
    fill(&tx, &ledger, 1..2);
    let caught = catch_unwind(AssertUnwindSafe(|| drop(rx.try_recv())));
    assert_eq!(message(caught.unwrap_err()), "bomb");
    assert_eq!(rx.try_recv().unwrap().n, 1);
    ledger.is_even();
}

/// Uses the channel that it lies in, when it is dropped.
struct Meddler(Sender<Meddler>, Arc<AtomicU32>);
impl Drop for Meddler {
    fn drop(&mut self) {
        let Self(tx, drops) = self;
        let left = tx.len();
        assert!(tx.is_closed() && !tx.close() && tx.waiting_receivers() == 0);
        if drops.fetch_add(1, SeqCst) < 5 {
            // Refused, and so dropped in here.
            let refused = tx.try_send(Meddler(tx.clone(), drops.clone()));
            assert!(refused.is_err());
        }
        assert!(tx.len() <= left && format!("{tx:?}").contains("closed: true"));
    }
}

#[test]
fn a_destructor_may_use_the_channel() {
    for (tx, rx) in [channel::bounded(4), channel::unbounded()] {
        let drops = Arc::new(AtomicU32::new(0));
        for _ in 0..4 {
            assert!(tx.try_send(Meddler(tx.clone(), drops.clone())).is_ok());
        }
        drop(tx);
        assert_eq!(rx.senders(), 4, "those in the channel");
        let weak = Arc::downgrade(&drops);
        drop((rx, drops));
        assert!(weak.upgrade().is_none(), "no value, and no channel, is left");
    }
}

/// An iterator that panics: what it gave before is sent, and the channel goes on.
#[test]
fn an_iterator_that_panics_loses_nothing() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (tx, rx) = channel::unbounded();
        let ledger = Ledger::new(3);
        let values = (0..).map(|n| if n < 2 { ledger.value(n) } else { quiet_panic("iterator") });
        let caught = catch_unwind(AssertUnwindSafe(|| tx.send_all(&mut cx, values).is_ok()));
        assert_eq!(message(caught.unwrap_err()), "iterator");
        fill(&tx, &ledger, 2..3);
        let mut got = Vec::new();
        assert_eq!(rx.recv_many(&mut cx, &mut got, usize::MAX), Ok(3));
        assert_eq!(got.iter().map(|v| v.n).collect::<Vec<_>>(), [0, 1, 2]);
        drop(got);
        ledger.is_even();
    });
}

/// A receiver that is told to stop while values come: what it got it returns, what it did not get is there.
#[test]
fn a_signalled_receiver_takes_nothing_along() {
    both(|vm| {
        let zero: Made = channel::rendezvous();
        for (tx, rx) in [zero, channel::bounded(1), channel::unbounded()] {
            let mut cx = vm.attach("main").unwrap();
            let values = 200;
            let ledger = Ledger::new(values);
            let stop = Arc::new(AtomicBool::new(false));
            let (rx2, stop2) = (rx.clone(), stop.clone());
            let receiver = vm.spawn("receiver", move |cx| {
                let mut got = Vec::new();
                loop {
                    match rx2.recv(cx) {
                        Ok(value) => got.push(value.n),
                        Err(RecvError::Interrupted) => drop(cx.take_signal()),
                        Err(e) => {
                            assert_eq!(e, RecvError::Closed);
                            stop2.store(true, SeqCst);
                            return Ok::<_, ()>(got);
                        }
                    }
                }
            });
            let receiver = receiver.unwrap();
            for n in 0..values {
                let mut value = ledger.value(n);
                if n % 3 == 0 {
                    let _ = receiver.signal(&cx, ()).unwrap();
                }
                // Now and then with no time at all.
                while let Err(e) = match n % 5 {
                    0 => tx.send_until(&mut cx, value, Instant::now()),
                    _ => tx.send(&mut cx, value),
                } {
                    assert!(matches!(e, SendError::TimedOut(_)), "{e:?}");
                    value = e.into_inner();
                }
            }
            drop((tx, rx));
            let mut got = receiver.join(&mut cx).unwrap();
            assert!(stop.load(SeqCst));
            assert_eq!(got.len(), values);
            got.dedup();
            assert!(got.is_sorted() && got.len() == values, "{got:?}");
            ledger.is_even();
        }
    });
}
