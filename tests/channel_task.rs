//! Sends and receives of tasks, and those that end in a call: whoever meets them, and however they end.

mod scene;

use scene::misuse::*;
use scene::{Unit, both, far, guarded, soon, until};
use selvedge::channel::{
    self, Builder, Receiver, RecvError, Select, SendError, Sender, TryRecvError, TrySendError,
};
use selvedge::*;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex as StdMutex};
use std::task::{Context as Cx, Poll, Wake, Waker};
use std::time::Duration;

/// A waker's other end.
struct Bell {
    rung: AtomicUsize,
    sleeper: std::thread::Thread,
}
impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.fetch_add(1, SeqCst);
        self.sleeper.unpark();
    }
}
impl Bell {
    fn new() -> (Arc<Self>, Waker) {
        let bell = Arc::new(Self { rung: AtomicUsize::new(0), sleeper: std::thread::current() });
        (bell.clone(), bell.into())
    }
    fn rung(&self) -> usize {
        self.rung.load(SeqCst)
    }
}

fn poll<F: Future>(f: &mut Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    f.as_mut().poll(&mut Cx::from_waker(waker))
}

/// Not by a participant: a task is no Lisp thread.
fn block_on<F: Future>(f: F) -> F::Output {
    let (bell, waker) = Bell::new();
    let mut f = pin!(f);
    loop {
        let heard = bell.rung();
        if let Poll::Ready(end) = poll(&mut f, &waker) {
            return end;
        }
        while bell.rung() == heard {
            std::thread::park_timeout(Duration::from_secs(60));
        }
    }
}

/// How often each value was dropped.
#[derive(Clone)]
struct Ledger(Arc<Vec<AtomicU32>>);
/// On the heap too, so that a second drop does not stay unnoticed.
type Value = Box<Counted>;
struct Counted {
    n: usize,
    ledger: Ledger,
}
impl Ledger {
    fn new(values: usize) -> Self {
        Self(Arc::new((0..values).map(|_| AtomicU32::new(0)).collect()))
    }
    fn value(&self, n: usize) -> Value {
        Box::new(Counted { n, ledger: self.clone() })
    }
    fn of(&self, n: usize) -> u32 {
        self.0[n].load(SeqCst)
    }
    /// Every value was dropped once.
    #[track_caller]
    fn is_even(&self) {
        let drops: Vec<_> = self.0.iter().map(|n| n.load(SeqCst)).collect();
        assert!(drops.iter().all(|&n| n == 1), "{drops:?}");
    }
}
impl Drop for Counted {
    fn drop(&mut self) {
        add(&self.ledger.0[self.n]);
    }
}
impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.n)
    }
}

type Made<T> = (Sender<T>, Receiver<T>);

/// Each kind, empty.
fn kinds<T>() -> [Made<T>; 4] {
    [channel::rendezvous(), channel::bounded(1), channel::bounded(3), channel::unbounded()]
}
/// Those in which a sender waits, and how many values fill them.
fn tight<T>() -> [(Made<T>, usize); 3] {
    [(channel::rendezvous(), 0), (channel::bounded(1), 1), (channel::bounded(3), 3)]
}
fn nobody_waits<T>((tx, rx): (&Sender<T>, &Receiver<T>)) {
    assert_eq!((tx.waiting_senders(), rx.waiting_receivers()), (0, 0));
}
fn settled(cx: &mut Participant, t: &Thread) {
    until(cx, "it waits", || t.blocker().is_some());
}
/// An executor that runs the job at once.
fn inline(job: Box<dyn FnOnce() + Send>) {
    job();
}
/// Where calls leave what they got.
fn results<T: Send + 'static>() -> (impl Fn(T) + Clone + Send + 'static, Receiver<T>) {
    let (tx, rx) = channel::unbounded();
    (move |got| assert!(tx.try_send(got).is_ok()), rx)
}

// ---- tasks among themselves ----

#[test]
fn a_receive_waits_and_is_woken() {
    for (n, (tx, rx)) in kinds::<Value>().into_iter().enumerate() {
        let ledger = Ledger::new(2);
        let ((bell, waker), (sent, sender)) = (Bell::new(), Bell::new());
        let mut r = pin!(rx.recv_async());
        assert!(poll(&mut r, &waker).is_pending());
        assert_eq!(bell.rung(), 0);
        let mut s = pin!(tx.send_async(ledger.value(0)));
        assert_eq!(poll(&mut s, &sender).is_pending(), n == 0, "only a rendezvous has no room");
        assert_eq!(bell.rung(), 1);
        assert!(matches!(poll(&mut r, &waker), Poll::Ready(Ok(v)) if v.n == 0));
        if n == 0 {
            assert_eq!(sent.rung(), 1);
            assert!(matches!(poll(&mut s, &sender), Poll::Ready(Ok(()))));
        }
        nobody_waits((&tx, &rx));
        assert_eq!((bell.rung(), rx.len()), (1, 0));
        // Over, it receives again.
        assert!(poll(&mut r, &waker).is_pending());
        tx.try_send(ledger.value(1))
            .map_or_else(|_| assert_eq!(n, 0), |()| assert_eq!(bell.rung(), 2));
    }
}

#[test]
fn a_send_waits_and_is_woken() {
    for ((tx, rx), room) in tight::<Value>() {
        let ledger = Ledger::new(room + 2);
        for n in 0..room {
            tx.try_send(ledger.value(n)).unwrap();
        }
        let (bells, wakers): (Vec<_>, Vec<_>) = (0..2).map(|_| Bell::new()).unzip();
        let mut first = pin!(tx.send_async(ledger.value(room)));
        let mut second = pin!(tx.send_async(ledger.value(room + 1)));
        assert!(poll(&mut first, &wakers[0]).is_pending());
        assert!(poll(&mut second, &wakers[1]).is_pending());
        assert_eq!(tx.waiting_senders(), 2);
        assert_eq!(block_on(rx.recv_async()).unwrap().n, 0);
        assert_eq!((bells[0].rung(), bells[1].rung()), (1, 0), "the one that came first");
        assert!(poll(&mut second, &wakers[1]).is_pending());
        assert!(matches!(poll(&mut first, &wakers[0]), Poll::Ready(Ok(()))));
        let got: Vec<_> = (0..=room).map(|_| rx.try_recv().unwrap().n).collect();
        assert_eq!(got, (1..room + 2).collect::<Vec<_>>());
        assert!(matches!(poll(&mut second, &wakers[1]), Poll::Ready(Ok(()))));
        nobody_waits((&tx, &rx));
        ledger.is_even();
        // Over is over, for a send.
        let again = catch_unwind(AssertUnwindSafe(|| poll(&mut second, &wakers[1]).is_pending()));
        assert!(again.is_err());
    }
}

#[test]
fn another_waker_takes_the_place_of_the_old_one() {
    for ((tx, rx), room) in tight::<usize>() {
        let ((old, a), (new, b)) = (Bell::new(), Bell::new());
        let mut r = pin!(rx.recv_async());
        assert!(poll(&mut r, &a).is_pending() && poll(&mut r, &b).is_pending());
        drop(a);
        assert_eq!(Arc::strong_count(&old), 1, "it keeps only the last one");
        let (_, c) = Bell::new();
        let mut s = pin!(tx.send_async(0));
        let _ = poll(&mut s, &c);
        assert_eq!((old.rung(), new.rung()), (0, 1));
        assert_eq!(poll(&mut r, &b), Poll::Ready(Ok(0)));
        (0..room).for_each(|n| tx.try_send(n).unwrap());
        let ((old, a), (new, b)) = (Bell::new(), Bell::new());
        let mut s = pin!(tx.send_async(9));
        assert!(poll(&mut s, &a).is_pending() && poll(&mut s, &b).is_pending());
        drop(a);
        assert_eq!((Arc::strong_count(&old), tx.waiting_senders()), (1, 1));
        rx.try_recv().unwrap();
        assert_eq!((old.rung(), new.rung()), (0, 1));
        assert_eq!(poll(&mut s, &b), Poll::Ready(Ok(())));
    }
}

/// A poll that nobody asked for takes a value if there is one; who was woken for that waits on, and misses no other.
#[test]
fn a_quicker_task_takes_the_value_and_no_wake_up_with_it() {
    for (tx, rx) in kinds::<u32>().into_iter().skip(1) {
        let ((first, a), (second, b)) = (Bell::new(), Bell::new());
        let (mut f, mut g) = (pin!(rx.recv_async()), pin!(rx.recv_async()));
        assert!(poll(&mut f, &a).is_pending() && poll(&mut g, &b).is_pending());
        tx.try_send(1).unwrap();
        assert_eq!((first.rung(), second.rung()), (1, 0));
        assert_eq!(poll(&mut g, &b), Poll::Ready(Ok(1)));
        assert!(poll(&mut f, &a).is_pending());
        tx.try_send(2).unwrap();
        assert_eq!((first.rung(), second.rung()), (2, 0));
        assert_eq!(poll(&mut f, &a), Poll::Ready(Ok(2)));
        // Two values, two tasks.
        assert!(poll(&mut f, &a).is_pending() && poll(&mut g, &b).is_pending());
        let (_, c) = Bell::new();
        let (mut s, mut t) = (pin!(tx.send_async(3)), pin!(tx.send_async(4)));
        let _ = (poll(&mut s, &c), poll(&mut t, &c));
        assert_eq!((first.rung(), second.rung()), (3, 1));
        assert_eq!(poll(&mut g, &b), Poll::Ready(Ok(3)));
        assert_eq!(poll(&mut f, &a), Poll::Ready(Ok(4)));
    }
}

// ---- dropped ----

#[test]
fn a_receive_that_is_dropped_loses_nothing() {
    for (n, (tx, rx)) in kinds::<Value>().into_iter().enumerate() {
        let ledger = Ledger::new(2);
        let ((a_bell, a), (b_bell, b), (_, s_waker)) = (Bell::new(), Bell::new(), Bell::new());
        let mut send = pin!(tx.send_async(ledger.value(0)));
        {
            // Not yet polled; polled; woken.
            drop(rx.recv_async());
            {
                let mut f = pin!(rx.recv_async());
                assert!(poll(&mut f, &a).is_pending());
            }
            assert_eq!(Arc::strong_count(&a_bell), 2, "its waker went with it");
            let mut g = pin!(rx.recv_async());
            {
                let mut f = pin!(rx.recv_async());
                assert!(poll(&mut f, &a).is_pending() && poll(&mut g, &b).is_pending());
                assert_eq!(poll(&mut send, &s_waker).is_pending(), n == 0);
                assert_eq!((a_bell.rung(), b_bell.rung()), (1, 0));
            }
            assert_eq!((a_bell.rung(), b_bell.rung()), (1, 1), "the wake-up goes on");
        }
        // And is lost with the last: the value is not.
        assert_eq!(rx.try_recv().unwrap().n, 0);
        assert_eq!(rx.try_recv().unwrap_err(), TryRecvError::Empty);
        nobody_waits((&tx, &rx));
        drop(ledger.value(1));
        ledger.is_even();
    }
}

#[test]
fn a_send_that_is_dropped_drops_its_value() {
    for ((tx, rx), room) in tight::<Value>() {
        let ledger = Ledger::new(room + 4);
        for n in 0..room {
            tx.try_send(ledger.value(n)).unwrap();
        }
        let (_, w) = Bell::new();
        // Not polled; queued; between others; taken.
        drop(tx.send_async(ledger.value(room)));
        assert_eq!(ledger.of(room), 1);
        let mut behind = pin!(tx.send_async(ledger.value(room + 3)));
        {
            let mut taken = pin!(tx.send_async(ledger.value(room + 1)));
            assert!(poll(&mut taken, &w).is_pending());
            {
                let mut queued = pin!(tx.send_async(ledger.value(room + 2)));
                assert!(poll(&mut queued, &w).is_pending());
                assert!(poll(&mut behind, &w).is_pending());
                assert_eq!((tx.waiting_senders(), ledger.of(room + 2)), (3, 0));
            }
            assert_eq!((tx.waiting_senders(), ledger.of(room + 2)), (2, 1));
            let first = rx.try_recv().unwrap();
            assert_eq!((first.n, tx.waiting_senders()), (if room == 0 { 1 } else { 0 }, 1));
            assert_eq!(ledger.of(first.n), 0);
        }
        assert_eq!(ledger.of(room + 1), u32::from(room == 0), "it is in the channel");
        let left: Vec<_> = rx.try_iter().map(|v| v.n).collect();
        let all = (1..room).chain((room > 0).then_some(room + 1)).chain([room + 3]);
        assert_eq!(left, all.collect::<Vec<_>>());
        assert!(matches!(poll(&mut behind, &w), Poll::Ready(Ok(()))));
        ledger.is_even();
    }
}

/// Of two receives that are polled by one task, the other is dropped: it has taken nothing.
#[test]
fn two_at_once() {
    for (n, (tx, rx)) in kinds::<u32>().into_iter().enumerate() {
        let (other_tx, other) = channel::unbounded::<u32>();
        for round in 0..4 {
            let (bell, w) = Bell::new();
            let (_, sw) = Bell::new();
            let (mut s, mut t) = (pin!(tx.send_async(round)), pin!(other_tx.send_async(round)));
            {
                let (mut f, mut g) = (pin!(rx.recv_async()), pin!(other.recv_async()));
                assert!(poll(&mut f, &w).is_pending() && poll(&mut g, &w).is_pending());
                assert_eq!(poll(&mut s, &sw).is_pending(), n == 0);
                assert!(poll(&mut t, &sw).is_ready());
                assert_eq!(bell.rung(), 2);
                let got = if round % 2 == 0 { poll(&mut f, &w) } else { poll(&mut g, &w) };
                assert_eq!(got, Poll::Ready(Ok(round)));
            }
            let left = if round % 2 == 0 { other.try_recv() } else { rx.try_recv() };
            assert_eq!(left, Ok(round));
        }
        nobody_waits((&tx, &rx));
    }
}

// ---- the end ----

#[test]
fn a_close_tells_all_tasks() {
    for way in 0..3 {
        for (tx, rx) in kinds::<u32>() {
            let (bells, wakers): (Vec<_>, Vec<_>) = (0..3).map(|_| Bell::new()).unzip();
            let mut all: Vec<_> = (0..3).map(|_| Box::pin(rx.recv_async())).collect();
            for (f, w) in all.iter_mut().zip(&wakers) {
                assert!(poll(&mut f.as_mut(), w).is_pending());
            }
            match way {
                0 => assert!(tx.close()),
                1 => assert!(rx.close()),
                // The last sender goes.
                _ => {}
            }
            drop(tx);
            for ((f, w), bell) in all.iter_mut().zip(&wakers).zip(&bells) {
                assert_eq!(bell.rung(), 1);
                assert_eq!(poll(&mut f.as_mut(), w), Poll::Ready(Err(RecvError::Closed)));
            }
            assert_eq!(block_on(rx.recv_async()), Err(RecvError::Closed));
        }
    }
}

#[test]
fn a_close_gives_back_what_tasks_send() {
    for way in 0..3 {
        for ((tx, rx), room) in tight::<Value>() {
            let ledger = Ledger::new(room + 4);
            for n in 0..room {
                tx.try_send(ledger.value(n)).unwrap();
            }
            let (bells, wakers): (Vec<_>, Vec<_>) = (0..3).map(|_| Bell::new()).unzip();
            let mut all: Vec<_> =
                (0..3).map(|n| Box::pin(tx.send_async(ledger.value(room + n)))).collect();
            for (f, w) in all.iter_mut().zip(&wakers) {
                assert!(poll(&mut f.as_mut(), w).is_pending());
            }
            let left = match way {
                0 => {
                    tx.close();
                    Some(rx)
                }
                1 => {
                    // One of them has room before that.
                    {
                        let mut f = pin!(rx.recv_async());
                        assert!(room == 0 || poll(&mut f, &wakers[0]).is_ready());
                    }
                    rx.close();
                    drop(rx);
                    None
                }
                _ => {
                    drop(rx);
                    None
                }
            };
            // The first one may have been sent by the receive above.
            let sent = usize::from(way == 1 && room > 0);
            for (n, ((f, w), bell)) in all.iter_mut().zip(&wakers).zip(&bells).enumerate() {
                assert_eq!(bell.rung(), 1);
                match poll(&mut f.as_mut(), w) {
                    Poll::Ready(Ok(())) => assert!(n < sent),
                    Poll::Ready(Err(SendError::Closed(v))) => assert_eq!(v.n, room + n),
                    other => panic!("{other:?}"),
                }
            }
            drop(all);
            let late = block_on(tx.send_async(ledger.value(room + 3)));
            assert!(matches!(late, Err(SendError::Closed(v)) if v.n == room + 3));
            if let Some(rx) = left {
                let got: Vec<_> = rx.try_iter().map(|v| v.n).collect();
                assert_eq!(got, (0..room).collect::<Vec<_>>());
                assert_eq!(block_on(rx.recv_async()).unwrap_err(), RecvError::Closed);
            } else {
                drop(tx);
            }
            ledger.is_even();
        }
    }
}

/// A task that was told of the close and goes unpolled has its value still.
#[test]
fn a_send_dropped_after_the_close_drops_its_value_once() {
    for ((tx, rx), room) in tight::<Value>() {
        let ledger = Ledger::new(room + 1);
        (0..room).for_each(|n| tx.try_send(ledger.value(n)).unwrap());
        let (bell, w) = Bell::new();
        {
            let mut f = pin!(tx.send_async(ledger.value(room)));
            assert!(poll(&mut f, &w).is_pending());
            rx.close();
            assert_eq!((bell.rung(), ledger.of(room)), (1, 0));
        }
        assert_eq!(ledger.of(room), 1);
        drop(rx);
        ledger.is_even();
    }
}

#[test]
fn what_is_to_be_delivered_still_is_received_from_tasks_and_calls() {
    for room in [0, 1] {
        let (tx, rx) = Builder::new().deliver_pending(true).bounded::<u32>(room);
        (0..room).for_each(|_| tx.try_send(0).unwrap());
        let (bell, w) = Bell::new();
        let mut f = pin!(tx.send_async(1));
        assert!(poll(&mut f, &w).is_pending());
        let (told, calls) = results();
        tx.send_then(2, inline, told);
        tx.close();
        assert_eq!((bell.rung(), calls.len()), (0, 0));
        (0..room).for_each(|_| assert_eq!(rx.try_recv(), Ok(0)));
        assert_eq!(block_on(rx.recv_async()), Ok(1));
        assert_eq!(poll(&mut f, &w), Poll::Ready(Ok(())));
        assert_eq!(block_on(rx.recv_async()), Ok(2));
        assert_eq!(calls.try_recv(), Ok(Ok(())));
        assert_eq!(block_on(rx.recv_async()), Err(RecvError::Closed));
    }
}

#[test]
fn handles_that_have_left_and_channels_that_lose() {
    let (tx, rx) = channel::bounded::<u32>(1);
    let (tx2, rx2) = (tx.clone(), rx.clone());
    assert!(tx2.disconnect() && rx2.disconnect());
    assert_eq!(block_on(tx2.send_async(1)), Err(SendError::Closed(1)));
    assert_eq!(block_on(rx2.recv_async()), Err(RecvError::Closed));
    let (told, calls) = results();
    tx2.send_then(2, inline, told);
    assert_eq!(calls.try_recv(), Ok(Err(SendError::Closed(2))));
    let (told, calls) = results();
    rx2.recv_then(inline, told);
    assert_eq!(calls.try_recv(), Ok(Err(RecvError::Closed)));
    drop((tx, rx));
    for (made, kept) in [(channel::dropping(1), 0), (channel::sliding(1), 1)] {
        let (tx, rx): Made<Value> = made;
        let ledger = Ledger::new(3);
        block_on(tx.send_async(ledger.value(0))).unwrap();
        block_on(tx.send_async(ledger.value(1))).unwrap();
        assert_eq!((ledger.of(kept), ledger.of(1 - kept)), (0, 1));
        let (told, calls) = results();
        tx.send_then(ledger.value(2), inline, told);
        assert!(matches!(calls.try_recv(), Ok(Ok(()))));
        drop((tx, rx));
        ledger.is_even();
    }
}

// ---- with threads ----

#[test]
fn a_thread_and_a_task_meet() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for (n, (tx, rx)) in kinds::<u32>().into_iter().enumerate() {
            // The thread waits to receive: it is given the value.
            let rx2 = rx.clone();
            let h = vm.spawn("receives", move |cx| rx2.recv(cx)).unwrap();
            settled(&mut cx, h.thread());
            assert_eq!(block_on(tx.send_async(1)), Ok(()));
            assert_eq!(h.join(&mut cx).unwrap(), 1);
            // The task waits to receive.
            let (bell, w) = Bell::new();
            let mut f = pin!(rx.recv_async());
            assert!(poll(&mut f, &w).is_pending());
            if n == 0 {
                // Nobody is given a value who may never come for it.
                assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
                assert_eq!(tx.send_until(&mut cx, 2, soon()), Err(SendError::TimedOut(2)));
                assert_eq!(bell.rung(), 1);
                assert!(poll(&mut f, &w).is_pending());
            }
            let tx2 = tx.clone();
            let h = vm.spawn("sends", move |cx| tx2.send(cx, 2)).unwrap();
            until(&mut cx, "rung", || bell.rung() == 1 + usize::from(n == 0));
            assert_eq!(poll(&mut f, &w), Poll::Ready(Ok(2)));
            h.join(&mut cx).unwrap();
            nobody_waits((&tx, &rx));
        }
        for ((tx, rx), room) in tight::<u32>() {
            // The thread waits to send.
            (0..room).for_each(|_| tx.try_send(0).unwrap());
            let tx2 = tx.clone();
            let h = vm.spawn("sends", move |cx| tx2.send(cx, 1)).unwrap();
            settled(&mut cx, h.thread());
            (0..room).for_each(|_| assert_eq!(block_on(rx.recv_async()), Ok(0)));
            assert_eq!(block_on(rx.recv_async()), Ok(1));
            h.join(&mut cx).unwrap();
            // The task waits to send; a thread receives, alone and in a select.
            (0..room).for_each(|_| tx.try_send(0).unwrap());
            let (bell, w) = Bell::new();
            let mut f = pin!(tx.send_async(2));
            let mut g = pin!(tx.send_async(3));
            assert!(poll(&mut f, &w).is_pending() && poll(&mut g, &w).is_pending());
            for want in std::iter::repeat_n(0, room).chain([2]) {
                assert_eq!(rx.recv(&mut cx), Ok(want));
            }
            let mut arm = rx.arm();
            assert_eq!(Select::new().arm(&mut arm).wait(&mut cx), Ok(0));
            assert_eq!((arm.complete(), bell.rung()), (Ok(3), 2));
            assert!(poll(&mut f, &w).is_ready() && poll(&mut g, &w).is_ready());
        }
    });
}

/// Threads, tasks and calls queue as senders in one line; so do threads and calls as receivers.
#[test]
fn they_come_in_the_order_in_which_they_came() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for ((tx, rx), room) in tight::<usize>() {
            (0..room).for_each(|n| tx.try_send(n).unwrap());
            let (_, w) = Bell::new();
            let send = |n: usize| {
                let tx = tx.clone();
                vm.spawn("sends", move |cx| tx.send(cx, n)).unwrap()
            };
            let (told, calls) = results();
            let a = send(room);
            settled(&mut cx, a.thread());
            let mut f = pin!(tx.send_async(room + 1));
            assert!(poll(&mut f, &w).is_pending());
            let b = send(room + 2);
            settled(&mut cx, b.thread());
            tx.send_then(room + 3, inline, told);
            let mut g = pin!(tx.send_async(room + 4));
            assert!(poll(&mut g, &w).is_pending());
            let mut got = vec![];
            assert_eq!(rx.recv_many(&mut cx, &mut got, 100), Ok(room + 5));
            assert_eq!(got, (0..room + 5).collect::<Vec<_>>());
            assert_eq!(calls.try_recv(), Ok(Ok(())));
            assert!(poll(&mut f, &w).is_ready() && poll(&mut g, &w).is_ready());
            a.join(&mut cx).unwrap();
            b.join(&mut cx).unwrap();
        }
        for (tx, rx) in kinds::<usize>() {
            let (bell, w) = Bell::new();
            let mut f = pin!(rx.recv_async());
            assert!(poll(&mut f, &w).is_pending());
            let recv = || {
                let rx = rx.clone();
                vm.spawn("receives", move |cx| rx.recv(cx)).unwrap()
            };
            let (told, calls) = results();
            let a = recv();
            settled(&mut cx, a.thread());
            rx.recv_then(inline, told);
            let b = recv();
            settled(&mut cx, b.thread());
            assert_eq!(rx.waiting_receivers(), 3, "a task only watches");
            (0..3).for_each(|n| tx.send(&mut cx, n).unwrap());
            assert_eq!(calls.try_recv(), Ok(Ok(1)));
            assert_eq!((a.join(&mut cx).unwrap(), b.join(&mut cx).unwrap()), (0, 2));
            assert_eq!(bell.rung(), 0, "threads go before it");
            let (_, sw) = Bell::new();
            let mut s = pin!(tx.send_async(3));
            let _ = poll(&mut s, &sw);
            assert_eq!((bell.rung(), poll(&mut f, &w)), (1, Poll::Ready(Ok(3))));
        }
    });
}

/// A receiver gives up while a task watches: the value is the task's.
#[test]
fn a_task_behind_a_thread_that_gave_up() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for (tx, rx) in kinds::<u32>() {
            let (bell, w) = Bell::new();
            let mut f = pin!(rx.recv_async());
            assert!(poll(&mut f, &w).is_pending());
            assert_eq!(rx.recv_until(&mut cx, soon()), Err(RecvError::TimedOut));
            let (_, sw) = Bell::new();
            let mut s = pin!(tx.send_async(3));
            let _ = poll(&mut s, &sw);
            assert_eq!((bell.rung(), poll(&mut f, &w)), (1, Poll::Ready(Ok(3))));
        }
    });
}

/// A promise of a place is made for a task, too, and kept when the task goes.
#[test]
fn a_place_that_a_task_stands_for() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (tx, rx) = channel::rendezvous::<u32>();
        for goes in [false, true] {
            // It comes after who wants the place, and before.
            for first in [false, true] {
                let (bell, w) = Bell::new();
                let mut f = Some(Box::pin(rx.recv_async()));
                let wait =
                    |f: &mut Pin<Box<channel::RecvFuture<'_, u32>>>| poll(&mut f.as_mut(), &w);
                if first {
                    assert!(wait(f.as_mut().unwrap()).is_pending());
                }
                let tx2 = tx.clone();
                let (there, go) = (scene::flag(), scene::flag());
                let (there2, go2) = (there.clone(), go.clone());
                let h = vm.spawn("reserves", move |cx| {
                    let permit = tx2.reserve(cx).unwrap();
                    there2.store(true, SeqCst);
                    until(cx, "go", || go2.load(SeqCst));
                    permit.publish(7)
                });
                let h = h.unwrap();
                if !first {
                    settled(&mut cx, h.thread());
                    assert!(wait(f.as_mut().unwrap()).is_pending());
                }
                until(&mut cx, "it has a place", || there.load(SeqCst));
                assert_eq!(tx.try_reserve().unwrap_err(), TrySendError::Full(()));
                if goes {
                    f = None;
                }
                go.store(true, SeqCst);
                h.join(&mut cx).unwrap();
                match &mut f {
                    Some(f) => {
                        assert!(bell.rung() > 0);
                        assert_eq!(wait(f), Poll::Ready(Ok(7)));
                    }
                    None => assert_eq!(rx.recv(&mut cx), Ok(7), "it waits for the next"),
                }
            }
        }
    });
}

// ---- calls ----

#[test]
fn a_receive_that_ends_in_a_call() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for (n, (tx, rx)) in kinds::<Value>().into_iter().enumerate() {
            let ledger = Ledger::new(6);
            let (told, calls) = results();
            let call = || rx.recv_then(inline, told.clone());
            let got = || calls.try_recv().map(|got| got.map(|v| v.n));
            if n > 0 {
                tx.try_send(ledger.value(0)).unwrap();
                call();
                assert_eq!(got(), Ok(Ok(0)), "at once");
            } else {
                drop(ledger.value(0));
            }
            call();
            assert_eq!((got(), rx.waiting_receivers()), (Err(TryRecvError::Empty), 1));
            tx.try_send(ledger.value(1)).unwrap();
            assert_eq!(got(), Ok(Ok(1)));
            call();
            tx.send(&mut cx, ledger.value(2)).unwrap();
            assert_eq!(got(), Ok(Ok(2)));
            call();
            block_on(tx.send_async(ledger.value(3))).unwrap();
            assert_eq!(got(), Ok(Ok(3)));
            // A call meets a call.
            call();
            let (sent, sends) = results();
            tx.send_then(ledger.value(4), inline, sent);
            assert_eq!(got(), Ok(Ok(4)));
            assert!(matches!(sends.try_recv(), Ok(Ok(()))));
            // A place is promised for one.
            if n == 0 {
                call();
                tx.try_reserve().unwrap().publish(ledger.value(5)).unwrap();
                assert_eq!(got(), Ok(Ok(5)));
            } else {
                drop(ledger.value(5));
            }
            call();
            call();
            match n {
                0 => drop(tx.close()),
                1 => drop(rx.close()),
                _ => drop(tx),
            }
            assert_eq!((got(), got()), (Ok(Err(RecvError::Closed)), Ok(Err(RecvError::Closed))));
            call();
            assert_eq!(got(), Ok(Err(RecvError::Closed)));
            ledger.is_even();
        }
    });
}

#[test]
fn a_send_that_ends_in_a_call() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for way in 0..3 {
            for ((tx, rx), room) in tight::<Value>() {
                let ledger = Ledger::new(room + 5);
                let (told, calls) = results();
                let call = |n| tx.send_then(ledger.value(n), inline, told.clone());
                let got = || calls.try_recv().map(|sent| sent.map_err(|e| e.into_inner().n));
                (0..room).for_each(call);
                (0..room).for_each(|_| assert_eq!(got(), Ok(Ok(())), "at once"));
                (room..room + 4).for_each(call);
                assert_eq!((got(), tx.waiting_senders()), (Err(TryRecvError::Empty), 4));
                assert_eq!(rx.recv(&mut cx).unwrap().n, 0);
                assert_eq!((got(), tx.waiting_senders()), (Ok(Ok(())), 3));
                assert_eq!(block_on(rx.recv_async()).unwrap().n, 1);
                assert_eq!((got(), tx.waiting_senders()), (Ok(Ok(())), 2));
                match way {
                    0 => drop(tx.close()),
                    1 => drop(rx),
                    _ => {
                        let mut left = vec![];
                        tx.close_discarding(|v| left.push(v.n));
                        assert_eq!(left, (2..room + 2).collect::<Vec<_>>());
                    }
                }
                assert_eq!((got(), got()), (Ok(Err(room + 2)), Ok(Err(room + 3))));
                call(room + 4);
                assert_eq!((got(), tx.waiting_senders()), (Ok(Err(room + 4)), 0));
                drop((calls, tx));
                if way == 1 || way == 2 || room == 0 {
                    ledger.is_even();
                }
            }
        }
    });
}

/// The last handle of the kind goes, and its end is the end of the calls.
#[test]
fn calls_outlive_the_handles() {
    for (tx, rx) in kinds::<Value>() {
        let ledger = Ledger::new(1);
        let (told, calls) = results();
        rx.recv_then(inline, told);
        drop(rx);
        assert!(matches!(calls.try_recv(), Ok(Err(RecvError::Closed))));
        let (told, calls) = results();
        tx.send_then(ledger.value(0), inline, told);
        assert!(matches!(calls.try_recv(), Ok(Err(SendError::Closed(v))) if v.n == 0));
        drop(tx);
        ledger.is_even();
    }
}

/// An executor may keep jobs, run them elsewhere, or drop them: the value goes with the job.
#[test]
fn a_job_that_never_runs_drops_its_value() {
    let ledger = Ledger::new(3);
    let (tx, rx) = channel::rendezvous::<Value>();
    let ran = scene::flag();
    let note = || {
        let ran = ran.clone();
        move || ran.store(true, SeqCst)
    };
    let (f, g) = (note(), note());
    rx.recv_then(ignore, move |_| f());
    tx.try_send(ledger.value(0)).unwrap();
    assert_eq!(ledger.of(0), 1);
    tx.send_then(ledger.value(1), ignore, move |_| g());
    rx.close();
    assert_eq!(ledger.of(1), 1);
    assert!(!ran.load(SeqCst));
    // Later, on another thread.
    let (tx, rx) = channel::bounded::<Value>(1);
    let (queue, jobs) = channel::unbounded::<Box<dyn FnOnce() + Send>>();
    let (told, calls) = results();
    rx.recv_then(move |job| queue.try_send(job).unwrap(), told);
    tx.try_send(ledger.value(2)).unwrap();
    assert_eq!((calls.len(), ledger.of(2)), (0, 0));
    std::thread::spawn(move || jobs.try_recv().unwrap()()).join().unwrap();
    assert_eq!(calls.try_recv().unwrap().unwrap().n, 2);
    ledger.is_even();
}

#[test]
fn a_call_may_use_the_channel_again() {
    guarded(|| {
        for (tx, rx) in kinds::<u32>() {
            // Each value asks for the next one.
            let sum = Arc::new(AtomicU32::new(0));
            fn next(rx: Receiver<u32>, tx: Sender<u32>, sum: Arc<AtomicU32>) {
                let again = rx.clone();
                rx.recv_then(inline, move |got| {
                    let Ok(n) = got else {
                        add(&sum);
                        return;
                    };
                    sum.fetch_add(100 * n, SeqCst);
                    assert_eq!((again.len(), again.try_recv()), (0, Err(TryRecvError::Empty)));
                    if n == 3 {
                        assert!(again.close() && !tx.close());
                        assert_eq!(tx.try_send(9), Err(TrySendError::Closed(9)));
                    }
                    next(again, tx, sum);
                });
            }
            next(rx.clone(), tx.clone(), sum.clone());
            (1..=3).for_each(|n| tx.try_send(n).unwrap());
            assert_eq!(sum.load(SeqCst), 601);
            nobody_waits((&tx, &rx));
        }
    });
}

// ---- what executors should not do ----

/// Panics when it is rung.
struct Broken(AtomicUsize);
impl Wake for Broken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
        quiet_panic("waker");
    }
}
fn broken() -> (Arc<Broken>, Waker) {
    let broken = Arc::new(Broken(AtomicUsize::new(0)));
    (broken.clone(), broken.into())
}
fn panics(_: Box<dyn FnOnce() + Send>) {
    quiet_panic("executor");
}

/// The waker of another task panics while a thread queues: the thread waits on, and its place is in order.
#[test]
fn a_waker_that_panics_leaves_a_thread_in_its_place() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for select in [false, true] {
            for ((tx, rx), room) in tight::<Value>() {
                let ledger = Ledger::new(room + 2);
                let (rung, w) = broken();
                let mut f = pin!(rx.recv_async());
                assert!(poll(&mut f, &w).is_pending());
                for n in 0..room {
                    let _ =
                        catch_unwind(AssertUnwindSafe(|| tx.try_send(ledger.value(n)).unwrap()));
                }
                assert_eq!(rx.len(), room);
                if room > 0 {
                    // It is there again, while there are values.
                    let mut all: Vec<_> = (0..room).map(|_| rx.try_recv().unwrap()).collect();
                    assert!(poll(&mut f, &w).is_pending());
                    let mut fast = all.drain(..);
                    let _ = catch_unwind(AssertUnwindSafe(|| tx.try_send(fast.next().unwrap())));
                    fast.for_each(|v| tx.try_send(v).unwrap());
                }
                let (tx2, ledger2) = (tx.clone(), ledger.clone());
                let h = vm.spawn("sends", move |cx| {
                    let sent = catch_unwind(AssertUnwindSafe(|| {
                        if select {
                            let mut arm = tx2.arm(ledger2.value(room));
                            Select::new().arm(&mut arm).wait(cx).unwrap();
                            arm.complete().is_ok()
                        } else {
                            tx2.send(cx, ledger2.value(room)).is_ok()
                        }
                    }));
                    Ok::<_, ()>(sent.is_ok_and(|sent| sent))
                });
                let h = h.unwrap();
                settled(&mut cx, h.thread());
                assert!(rung.0.load(SeqCst) >= 1);
                // Its node is where it was.
                let got: Vec<_> = (0..=room).map(|_| rx.recv(&mut cx).unwrap().n).collect();
                assert_eq!(got, (0..=room).collect::<Vec<_>>());
                assert!(h.join(&mut cx).unwrap());
                nobody_waits((&tx, &rx));
                drop(ledger.value(room + 1));
                ledger.is_even();
            }
        }
    });
}

/// The same of a task that queues.
#[test]
fn a_waker_that_panics_leaves_a_task_in_its_place() {
    let (tx, rx) = channel::rendezvous::<Value>();
    let ledger = Ledger::new(2);
    for n in 0..2 {
        let (rung, w) = broken();
        let mut f = pin!(rx.recv_async());
        assert!(poll(&mut f, &w).is_pending());
        let (_, sw) = Bell::new();
        let mut s = Box::pin(tx.send_async(ledger.value(n)));
        let polled = catch_unwind(AssertUnwindSafe(|| poll(&mut s.as_mut(), &sw).is_pending()));
        assert_eq!((rung.0.load(SeqCst), tx.waiting_senders()), (1, 1));
        if n == 0 {
            drop(s);
            assert_eq!((tx.waiting_senders(), ledger.of(0)), (0, 1));
            assert_eq!(rx.try_recv().unwrap_err(), TryRecvError::Empty);
        } else {
            assert_eq!(rx.try_recv().unwrap().n, 1);
            assert!(matches!(poll(&mut s.as_mut(), &sw), Poll::Ready(Ok(()))));
        }
        assert!(polled.unwrap_or(true));
    }
    ledger.is_even();
}

/// At a handle that has left it ends with the call, as elsewhere.
#[test]
fn an_executor_that_panics_for_a_handle_that_has_left() {
    let (tx, rx) = channel::bounded::<u8>(1);
    assert!(tx.disconnect() && rx.disconnect());
    tx.send_then(1, panics, ignore);
    rx.recv_then(panics, ignore);
}

/// Whoever closes tells everybody, whatever some do when they are told.
#[test]
fn a_close_tells_those_behind_an_executor_that_panics() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for way in 0..2 {
            for ((tx, rx), room) in tight::<Value>() {
                let ledger = Ledger::new(room + 5);
                (0..room).for_each(|n| tx.try_send(ledger.value(n)).unwrap());
                let (_, bad) = broken();
                let (bell, w) = Bell::new();
                tx.send_then(ledger.value(room), panics, ignore);
                let mut f = Box::pin(tx.send_async(ledger.value(room + 1)));
                assert!(poll(&mut f.as_mut(), &bad).is_pending());
                let mut g = Box::pin(tx.send_async(ledger.value(room + 2)));
                assert!(poll(&mut g.as_mut(), &w).is_pending());
                let (tx2, ledger2) = (tx.clone(), ledger.clone());
                let h = vm.spawn("sends", move |cx| {
                    Ok::<_, ()>(tx2.send(cx, ledger2.value(room + 3)).map_err(|e| e.into_inner().n))
                });
                let h = h.unwrap();
                settled(&mut cx, h.thread());
                let (told, calls) = results();
                tx.send_then(ledger.value(room + 4), inline, told);
                let ended = catch_unwind(AssertUnwindSafe(|| match way {
                    0 => drop(tx.close()),
                    _ => drop(rx),
                }));
                ended.unwrap();
                assert_eq!((bell.rung(), tx.waiting_senders()), (1, 0));
                assert_eq!(h.join(&mut cx).unwrap(), Err(room + 3));
                assert!(
                    matches!(calls.try_recv(), Ok(Err(SendError::Closed(v))) if v.n == room + 4)
                );
                for (mut f, n) in [(f, room + 1), (g, room + 2)] {
                    let end = poll(&mut f.as_mut(), &w);
                    assert!(matches!(end, Poll::Ready(Err(SendError::Closed(v))) if v.n == n));
                }
                drop((calls, tx));
                if way == 1 {
                    ledger.is_even();
                }
            }
        }
        for (tx, rx) in kinds::<u32>() {
            let (_, bad) = broken();
            let (bell, w) = Bell::new();
            rx.recv_then(panics, ignore);
            let (mut f, mut g) = (pin!(rx.recv_async()), pin!(rx.recv_async()));
            assert!(poll(&mut f, &bad).is_pending() && poll(&mut g, &w).is_pending());
            let rx2 = rx.clone();
            let h = vm.spawn("receives", move |cx| Ok::<_, ()>(rx2.recv(cx))).unwrap();
            settled(&mut cx, h.thread());
            let (told, calls) = results();
            rx.recv_then(inline, told);
            catch_unwind(AssertUnwindSafe(|| drop(tx))).unwrap();
            assert_eq!(h.join(&mut cx).unwrap(), Err(RecvError::Closed));
            assert_eq!((bell.rung(), calls.try_recv()), (1, Ok(Err(RecvError::Closed))));
        }
    });
}

/// Who completes the operation of another has its own all the same.
#[test]
fn a_value_outlives_the_panic_of_somebody_elses_executor() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for ((tx, rx), room) in tight::<Value>() {
            let ledger = Ledger::new(room + 4);
            (0..room).for_each(|n| tx.try_send(ledger.value(n)).unwrap());
            (0..4).for_each(|n| tx.send_then(ledger.value(room + n), panics, ignore));
            let mut got = vec![rx.try_recv().unwrap().n, rx.recv(&mut cx).unwrap().n];
            got.push(block_on(rx.recv_async()).unwrap().n);
            let mut many = vec![];
            rx.recv_many(&mut cx, &mut many, 100).unwrap();
            got.extend(many.drain(..).map(|v| v.n));
            assert_eq!(got, (0..room + 4).collect::<Vec<_>>());
            ledger.is_even();
            // A send to a call whose executor panics is done.
            rx.recv_then(panics, ignore);
            assert!(tx.try_send(Ledger::new(1).value(0)).is_ok());
            rx.recv_then(panics, ignore);
            assert!(block_on(tx.send_async(Ledger::new(1).value(0))).is_ok());
            rx.recv_then(panics, ignore);
            tx.try_reserve().unwrap().publish(Ledger::new(1).value(0)).unwrap();
            assert_eq!(rx.len(), 0);
        }
    });
}

// ---- many ----

/// Threads and tasks send and receive, some give up: each value is received once, or dropped with who gave up.
#[test]
fn many_of_both() {
    const EACH: usize = 3_000;
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for (kind, (tx, rx)) in kinds::<Value>().into_iter().enumerate() {
            let ledger = Ledger::new(4 * EACH);
            let received = Arc::new(StdMutex::new(Vec::new()));
            let (gave_up, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
            let mut tasks = vec![];
            for k in 0..2 {
                let (tx, ledger, gave_up) = (tx.clone(), ledger.clone(), gave_up.clone());
                tasks.push(std::thread::spawn(move || {
                    for n in k * EACH..(k + 1) * EACH {
                        let (_, w) = Bell::new();
                        let mut f = pin!(tx.send_async(ledger.value(n)));
                        if n % 7 == 0 && poll(&mut f, &w).is_pending() {
                            // Dropped where it queues; or it is taken meanwhile.
                            gave_up.fetch_add(1, SeqCst);
                        } else if n % 7 != 0 {
                            block_on(f).unwrap();
                        }
                    }
                }));
                let (rx, received, over) = (rx.clone(), received.clone(), over.clone());
                tasks.push(std::thread::spawn(move || {
                    let mut mine = vec![];
                    for n in 0.. {
                        if n % 5 == 0 {
                            let (_, w) = Bell::new();
                            let mut f = pin!(rx.recv_async());
                            if let Poll::Ready(Ok(v)) = poll(&mut f, &w) {
                                mine.push(v.n);
                            }
                            continue;
                        }
                        match block_on(rx.recv_async()) {
                            Ok(v) => mine.push(v.n),
                            Err(e) => {
                                assert_eq!(e, RecvError::Closed);
                                assert!(over.load(SeqCst));
                                break;
                            }
                        }
                    }
                    received.lock().unwrap().extend(mine);
                }));
            }
            let mut threads = vec![];
            for k in 2..4 {
                let (tx, ledger) = (tx.clone(), ledger.clone());
                let send = move |cx: &mut Participant| {
                    for n in k * EACH..(k + 1) * EACH {
                        let mut value = ledger.value(n);
                        while let Err(e) = tx.send_until(cx, value, soon()) {
                            assert!(matches!(e, SendError::TimedOut(_)));
                            value = e.into_inner();
                        }
                    }
                    Unit::Ok(())
                };
                threads.push(vm.spawn("sends", send).unwrap());
                let (rx, received) = (rx.clone(), received.clone());
                let recv = move |cx: &mut Participant| {
                    let mut mine = vec![];
                    loop {
                        match rx.recv_until(cx, if mine.len() % 3 == 0 { soon() } else { far() }) {
                            Ok(v) => mine.push(v.n),
                            Err(RecvError::TimedOut) => {}
                            Err(RecvError::Closed) => break,
                            Err(e) => panic!("{e}"),
                        }
                    }
                    received.lock().unwrap().extend(mine);
                    Unit::Ok(())
                };
                threads.push(vm.spawn("receives", recv).unwrap());
            }
            let all = || ledger.0.iter().all(|n| n.load(SeqCst) > 0);
            until(&mut cx, "all are gone", all);
            over.store(true, SeqCst);
            drop((tx, rx));
            outside(&mut cx, |_| {
                // The senders are over: that closes it.
                tasks.into_iter().for_each(|t| t.join().unwrap());
            });
            for t in threads {
                t.join(&mut cx).unwrap();
            }
            ledger.is_even();
            let mut got = received.lock().unwrap().clone();
            got.sort_unstable();
            let before = got.len();
            got.dedup();
            assert_eq!(got.len(), before, "none twice");
            let lost = 4 * EACH - before;
            assert!(lost <= gave_up.load(SeqCst), "{lost} are missing, kind {kind}");
        }
    });
}

/// One select queues by many arms at one channel: for each there is somebody to tell.
#[test]
fn a_select_of_many_arms_tells_everybody() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        const ARMS: usize = 12;
        let (tx, rx) = channel::rendezvous::<usize>();
        let (bells, wakers): (Vec<_>, Vec<_>) = (0..ARMS).map(|_| Bell::new()).unzip();
        let mut tasks: Vec<_> = (0..ARMS).map(|_| Box::pin(rx.recv_async())).collect();
        for (f, w) in tasks.iter_mut().zip(&wakers) {
            assert!(poll(&mut f.as_mut(), w).is_pending());
        }
        let mut arms: Vec<_> = (0..ARMS).map(|n| tx.arm(n)).collect();
        let mut select = Select::new().until(soon());
        for arm in &mut arms {
            select = select.arm(arm);
        }
        assert_eq!(select.wait(&mut cx), Err(selvedge::channel::SelectError::TimedOut));
        assert!(bells.iter().all(|bell| bell.rung() == 1));
        drop((arms, tasks));
        nobody_waits((&tx, &rx));
        // The same of those who wait for a place.
        let reserve = |_| {
            let tx = tx.clone();
            let h = vm.spawn("reserves", move |cx| {
                let permit = tx.reserve(cx).unwrap();
                let _ = permit.publish(7);
                Unit::Ok(())
            });
            h.unwrap()
        };
        let all: Vec<_> = (0..ARMS).map(reserve).collect();
        until(&mut cx, "they wait", || tx.waiting_senders() == ARMS);
        let mut arms: Vec<_> = (0..ARMS).map(|_| rx.arm()).collect();
        let mut select = Select::new();
        for arm in &mut arms {
            select = select.arm(arm);
        }
        let n = select.wait(&mut cx).unwrap();
        assert_eq!(arms.swap_remove(n).complete(), Ok(7));
        drop(arms);
        let mut got = 1;
        while got < ARMS {
            assert_eq!(rx.recv(&mut cx), Ok(7));
            got += 1;
        }
        for h in all {
            h.join(&mut cx).unwrap();
        }
    });
}
