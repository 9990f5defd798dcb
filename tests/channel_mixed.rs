//! Selects, places, tasks, calls and plain operations on the same channels at once, with deadlines and signals: every value
//! is received once, given back, or dropped with its channel. `SELVEDGE_STRESS=n` multiplies them.

use selvedge::channel::{self, Receiver, Select, Sender, TryRecvError, TrySendError};
use selvedge::{Participant, Runtime, safe_point};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

fn times() -> usize {
    std::env::var("SELVEDGE_STRESS").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// How often each value was received, and how often dropped.
struct Books {
    received: Vec<AtomicU32>,
    dropped: Vec<AtomicU32>,
    alive: AtomicUsize,
}

struct Value(usize, Arc<Books>);

impl Drop for Value {
    fn drop(&mut self) {
        self.1.dropped[self.0].fetch_add(1, SeqCst);
        self.1.alive.fetch_sub(1, SeqCst);
    }
}

/// xorshift (Marsaglia, 2003).
struct Random(u64);
impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

type Ends = (Vec<Sender<Value>>, Vec<Receiver<Value>>);

fn soon(random: &mut Random) -> Instant {
    Instant::now() + Duration::from_micros(random.below(200))
}

/// Sends the value somehow; it comes back if that fails.
fn send(
    cx: &mut Participant,
    txs: &[Sender<Value>],
    value: Value,
    r: &mut Random,
) -> Option<Value> {
    let tx = &txs[r.below(txs.len() as u64) as usize];
    match r.below(7) {
        0 => tx.send_until(cx, value, soon(r)).map_err(|e| e.into_inner()).err(),
        1 => tx.try_send(value).map_err(TrySendError::into_inner).err(),
        2 => match tx.reserve_until(cx, soon(r)) {
            Ok(place) if r.below(4) > 0 => place.publish(value).map_err(|e| e.into_inner()).err(),
            _ => Some(value),
        },
        3 => {
            let mut value = Some(value);
            let mut arms: Vec<_> = txs.iter().map(Sender::reserve_arm).collect();
            let all = arms.iter_mut().fold(Select::new(), |all, arm| all.arm(arm));
            if let Ok(n) = all.until(soon(r)).wait(cx) {
                let place = arms.swap_remove(n).complete().ok().zip(value.take());
                if let Some((place, made)) = place {
                    value = place.publish(made).map_err(|e| e.into_inner()).err();
                }
            }
            value
        }
        4 => {
            tx.send_then(value, |job: Box<dyn FnOnce() + Send>| job(), |_| {});
            None
        }
        5 => {
            let mut future = pin!(tx.send_async(value));
            let mut task = Context::from_waker(Waker::noop());
            for _ in 0..3 {
                if let Poll::Ready(sent) = future.as_mut().poll(&mut task) {
                    return sent.map_err(|e| e.into_inner()).err();
                }
                std::thread::yield_now();
            }
            None // dropped, or sent at last
        }
        _ => {
            let mut arm = tx.arm(value);
            let _ = Select::new().arm(&mut arm).until(soon(r)).wait(cx);
            arm.complete().map_err(TrySendError::into_inner).err()
        }
    }
}

/// Receives somehow. False: all are closed and empty.
fn receive(cx: &mut Participant, rxs: &[Receiver<Value>], r: &mut Random) -> bool {
    let note = |value: Value| {
        value.1.received[value.0].fetch_add(1, SeqCst);
    };
    let rx = &rxs[r.below(rxs.len() as u64) as usize];
    match r.below(5) {
        0 => rx.recv_until(cx, soon(r)).into_iter().for_each(note),
        1 => {
            let mut got = Vec::new();
            let _ = rx.recv_many_until(cx, &mut got, 8, soon(r));
            got.into_iter().for_each(note);
        }
        2 => rx.recv_then(
            |job: Box<dyn FnOnce() + Send>| job(),
            move |got| got.into_iter().for_each(note),
        ),
        3 => {
            let mut future = pin!(rx.recv_async());
            let mut task = Context::from_waker(Waker::noop());
            for _ in 0..3 {
                if let Poll::Ready(got) = future.as_mut().poll(&mut task) {
                    got.into_iter().for_each(note);
                    break;
                }
                std::thread::yield_now();
            }
        }
        _ => {
            let mut arms: Vec<_> = rxs.iter().map(Receiver::arm).collect();
            let all = arms.iter_mut().fold(Select::new(), |all, arm| all.arm(arm));
            let _ = all.until(soon(r)).wait(cx);
            arms.into_iter().for_each(|arm| arm.complete().into_iter().for_each(note));
        }
    }
    rxs.iter().any(|rx| !matches!(rx.try_recv().map(note), Err(TryRecvError::Closed)))
}

fn mixed(vm: &Runtime, each: usize, seed: u64) {
    let mut cx = vm.attach("main").unwrap();
    const SENDERS: usize = 3;
    let zeros = || (0..SENDERS * each).map(|_| AtomicU32::new(0)).collect();
    let (received, dropped) = (zeros(), zeros());
    let books = Arc::new(Books { received, dropped, alive: AtomicUsize::new(0) });
    let (txs, rxs): Ends =
        [channel::rendezvous(), channel::bounded(2), channel::unbounded()].into_iter().unzip();
    let senders: Vec<_> = (0..SENDERS)
        .map(|n| {
            let (txs, books) = (txs.clone(), books.clone());
            vm.spawn("sends", move |cx| {
                let mut r = Random(seed + n as u64);
                for i in 0..each {
                    books.alive.fetch_add(1, SeqCst);
                    let mut value = Some(Value(n * each + i, books.clone()));
                    while let Some(again) = value.take() {
                        value = send(cx, &txs, again, &mut r).filter(|_| r.below(4) > 0);
                        safe_point(cx);
                        while cx.take_signal().is_some() {}
                    }
                }
                Ok::<_, ()>(())
            })
            .unwrap()
        })
        .collect();
    let receivers: Vec<_> = (0..3)
        .map(|n| {
            let rxs = rxs.clone();
            vm.spawn("receives", move |cx| {
                let mut r = Random(seed + 10 + n);
                while receive(cx, &rxs, &mut r) {
                    safe_point(cx);
                    while cx.take_signal().is_some() {}
                }
                Ok::<_, ()>(())
            })
            .unwrap()
        })
        .collect();
    drop((txs, rxs));
    let mut r = Random(seed + 20);
    for h in &senders {
        while h.thread().is_alive() {
            let all =
                senders.iter().map(|h| h.thread()).chain(receivers.iter().map(|h| h.thread()));
            for thread in all {
                let _ = thread.signal(&cx, ());
            }
            let nap = Instant::now() + Duration::from_micros(100 + r.below(900));
            let _ = selvedge::sleep_until(&mut cx, nap);
        }
    }
    senders.iter().chain(&receivers).for_each(|h| h.join(&mut cx).unwrap());
    assert_eq!(books.alive.load(SeqCst), 0, "a value is left");
    let mut got = 0;
    for (n, (received, dropped)) in books.received.iter().zip(&books.dropped).enumerate() {
        let (received, dropped) = (received.load(SeqCst), dropped.load(SeqCst));
        assert!(dropped == 1 && received <= 1, "value {n}: received {received}, dropped {dropped}");
        got += received as usize;
    }
    assert!(got > SENDERS * each / 2, "most arrive: {got}");
}

#[test]
fn everything_in_parallel() {
    for round in 1..=times() as u64 {
        mixed(&Runtime::new(), 20_000, 977 * round);
    }
}

#[test]
fn everything_under_the_baton() {
    for round in 1..=times() as u64 {
        mixed(&Runtime::builder().baton(true).build(), 3_000, 1009 * round);
    }
}
