//! Values in flight are shown, each once, to who enumerates them: where nobody else runs, and between stops of threads that
//! do.

mod scene;

use scene::misuse::*;
use scene::{Unit, baton, guarded, guarded_for, soon, until};
use selvedge::channel::{
    self, Hands, Receiver, RecvError, Select, SendError, Sender, TrySendError,
};
use selvedge::*;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Condvar as StdCondvar, Mutex as StdMutex};
use std::task::{Context as Cx, Waker};
use std::time::{Duration, Instant};

/// A stopped world is that of the whole process: one test at a time.
static WORLD: StdMutex<()> = StdMutex::new(());

/// Under the baton one thread runs at a time: for that one the world is stopped.
fn alone(f: fn(Runtime)) {
    let _world = WORLD.lock().unwrap_or_else(|e| e.into_inner());
    guarded(move || f(baton()));
}

/// All values of the channel, smallest first; each is `plus` afterwards.
///
/// The caller holds the baton of the only runtime.
fn shown(rx: &Receiver<u32>, plus: u32) -> Vec<u32> {
    let mut seen = vec![];
    // SAFETY: no other thread runs, as the test says.
    let hands = unsafe { Hands::gather() };
    // SAFETY: as above.
    unsafe {
        rx.for_each_mut(&hands, |v| {
            seen.push(*v);
            *v += plus;
        });
    }
    seen.sort_unstable();
    seen
}
/// The same of `visit`, which changes nothing.
fn visited(rx: &Receiver<u32>) -> Vec<u32> {
    let mut seen = vec![];
    rx.visit(|v| seen.push(*v));
    seen.sort_unstable();
    seen
}
fn settled(cx: &mut Participant, t: &Thread) {
    until(cx, "it waits", || t.blocker().is_some());
}

type Made = (Sender<u32>, Receiver<u32>);
fn tight() -> [(Made, u32); 3] {
    [(channel::rendezvous(), 0), (channel::bounded(1), 1), (channel::bounded(3), 3)]
}

/// A thread that sends the value, and waits.
fn sender(vm: &Runtime, cx: &mut Participant, tx: &Sender<u32>, v: u32) -> JoinHandle<(), ()> {
    let tx = tx.clone();
    let h = vm.spawn("sends", move |cx| tx.send(cx, v).map_err(drop)).unwrap();
    settled(cx, h.thread());
    h
}
/// A thread that receives, and waits.
fn receiver(vm: &Runtime, cx: &mut Participant, rx: &Receiver<u32>) -> JoinHandle<u32, RecvError> {
    let rx = rx.clone();
    let h = vm.spawn("receives", move |cx| rx.recv(cx)).unwrap();
    settled(cx, h.thread());
    h
}

// ---- one thread runs ----

#[test]
fn what_is_stored() {
    alone(|vm| {
        let mut cx = vm.attach("main").unwrap();
        // Around the ring's end; over several blocks, from within the first.
        for ((tx, rx), many) in [(channel::bounded(3), 3), (channel::unbounded(), 300)] {
            assert_eq!((shown(&rx, 0), visited(&rx)), (vec![], vec![]));
            for n in 0..50 {
                tx.send(&mut cx, n).unwrap();
                assert_eq!(rx.recv(&mut cx), Ok(n));
            }
            (0..many).for_each(|n| tx.send(&mut cx, n).unwrap());
            let all: Vec<_> = (0..many).collect();
            assert_eq!((visited(&rx), shown(&rx, 1000)), (all.clone(), all));
            // Another channel's are others.
            let (_other_tx, other) = channel::bounded::<u32>(1);
            assert_eq!(shown(&other, 0), []);
            for n in 0..many {
                assert_eq!(rx.recv(&mut cx), Ok(1000 + n));
            }
            assert_eq!(shown(&rx, 0), []);
        }
    });
}

#[test]
fn what_waits_to_be_sent() {
    alone(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for ((tx, rx), room) in tight() {
            (0..room).for_each(|n| tx.try_send(n).unwrap());
            let a = sender(&vm, &mut cx, &tx, room);
            let b = sender(&vm, &mut cx, &tx, room + 1);
            let all: Vec<_> = (0..room + 2).collect();
            assert_eq!((visited(&rx), shown(&rx, 100)), (all.clone(), all.clone()));
            // One is taken, or moves up; its thread has not run since.
            assert_eq!(rx.try_recv(), Ok(100));
            let left: Vec<_> = all[1..].iter().map(|n| 100 + n).collect();
            assert_eq!((visited(&rx), shown(&rx, 100)), (left.clone(), left));
            for n in &all[1..] {
                assert_eq!(rx.recv(&mut cx), Ok(200 + n));
            }
            a.join(&mut cx).unwrap();
            b.join(&mut cx).unwrap();
            assert_eq!(shown(&rx, 0), []);
        }
    });
}

/// The wait is over, by a close, a signal or a deadline, and its thread has not run since: the value is in its hand.
#[test]
fn what_comes_back_to_a_sender() {
    alone(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for way in 0..3 {
            for ((tx, rx), room) in tight() {
                (0..room).for_each(|n| tx.try_send(n).unwrap());
                let tx2 = tx.clone();
                let deadline = Instant::now() + Duration::from_millis(100);
                let h = vm.spawn("sends", move |cx| {
                    let sent = match way {
                        2 => tx2.send_until(cx, 7, deadline),
                        _ => tx2.send(cx, 7),
                    };
                    Ok::<_, ()>(sent)
                });
                let h = h.unwrap();
                settled(&mut cx, h.thread());
                match way {
                    0 => drop(tx.close()),
                    1 => drop(h.thread().signal(&cx, ()).unwrap()),
                    _ => std::thread::sleep(Duration::from_millis(120)),
                }
                let all: Vec<_> = (0..room).chain([7]).collect();
                assert_eq!(shown(&rx, 10), all);
                let want = match way {
                    0 => SendError::Closed(17),
                    1 => SendError::Interrupted(17),
                    _ => SendError::TimedOut(17),
                };
                assert_eq!(h.join(&mut cx).unwrap(), Err(want));
                assert_eq!(shown(&rx, 0).len(), room as usize);
            }
        }
    });
}

#[test]
fn what_was_given_to_a_receiver_that_has_not_run_since() {
    alone(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for (tx, rx) in [channel::rendezvous(), channel::bounded(1), channel::unbounded()] {
            let a = receiver(&vm, &mut cx, &rx);
            let b = receiver(&vm, &mut cx, &rx);
            assert_eq!((shown(&rx, 0), visited(&rx)), (vec![], vec![]));
            tx.try_send(1).unwrap();
            assert_eq!((visited(&rx), shown(&rx, 10)), (vec![], vec![1]));
            tx.try_send(2).unwrap();
            assert_eq!((visited(&rx), shown(&rx, 10)), (vec![], vec![2, 11]));
            // A signal comes too late for both.
            a.thread().signal(&cx, ()).map(drop).unwrap();
            tx.close();
            assert_eq!(shown(&rx, 10), [12, 21]);
            assert_eq!((a.join(&mut cx).unwrap(), b.join(&mut cx).unwrap()), (31, 22));
            assert_eq!(shown(&rx, 0), []);
        }
    });
}

#[test]
fn what_the_arms_of_a_select_hold() {
    alone(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (tx, rx) = channel::rendezvous::<u32>();
        let (full, full_rx) = channel::bounded::<u32>(1);
        let (in_tx, in_rx) = channel::bounded::<u32>(1);
        full.try_send(0).unwrap();
        let spawn = || {
            let (tx, full, in_rx) = (tx.clone(), full.clone(), in_rx.clone());
            let h = vm.spawn("selects", move |cx| {
                let (mut a, mut b, mut c, mut d) = (tx.arm(1), tx.arm(2), full.arm(3), in_rx.arm());
                let n = Select::new().arm(&mut a).arm(&mut b).arm(&mut c).arm(&mut d).wait(cx);
                let back = |sent: Result<(), TrySendError<u32>>| sent.err().map(|e| e.into_inner());
                let backs = [a, b, c].map(|arm| back(arm.complete()));
                Ok::<_, ()>((n.unwrap(), backs, d.complete().ok()))
            });
            h.unwrap()
        };
        let check = |way: &str, rest: [&[u32]; 3]| {
            let all = [&rx, &full_rx, &in_rx].map(|rx| shown(rx, 10));
            assert_eq!(all, rest.map(<[_]>::to_vec), "{way}");
        };
        // Blocked; then a send arm is chosen, and it has not run since; twice the same channel.
        let h = spawn();
        settled(&mut cx, h.thread());
        assert_eq!([visited(&rx), visited(&full_rx)], [vec![1, 2], vec![0, 3]]);
        check("blocked", [&[1, 2], &[0, 3], &[]]);
        assert!(matches!(rx.try_recv(), Ok(11 | 12)));
        assert_eq!(shown(&rx, 0).len(), 1);
        assert_eq!(shown(&full_rx, 10), [10, 13]);
        let (n, backs, got) = h.join(&mut cx).unwrap();
        assert!(n < 2 && backs[n].is_none() && backs[1 - n] == Some(12 - n as u32));
        assert_eq!((backs[2], got), (Some(23), None));
        check("over", [&[], &[20], &[]]);
        // The send to the full one.
        let h = spawn();
        settled(&mut cx, h.thread());
        assert_eq!(full_rx.try_recv(), Ok(30));
        check("moved up", [&[1, 2], &[3], &[]]);
        assert_eq!(h.join(&mut cx).unwrap(), (2, [Some(11), Some(12), None], None));
        // The receive.
        let h = spawn();
        settled(&mut cx, h.thread());
        in_tx.try_send(5).unwrap();
        check("given", [&[1, 2], &[3, 13], &[5]]);
        assert_eq!(h.join(&mut cx).unwrap(), (3, [Some(11), Some(12), Some(13)], Some(15)));
        // The close of one of them.
        let h = spawn();
        settled(&mut cx, h.thread());
        tx.close();
        check("closed", [&[1, 2], &[3, 23], &[]]);
        let (n, backs, got) = h.join(&mut cx).unwrap();
        assert!(n < 2);
        assert_eq!((backs, got), ([Some(11), Some(12), Some(13)], None));
        check("the end", [&[], &[33], &[]]);
    });
}

#[test]
fn what_no_thread_holds() {
    alone(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let mut task = Cx::from_waker(Waker::noop());
        for ((tx, rx), room) in tight() {
            (0..room).for_each(|n| tx.try_send(n).unwrap());
            let mut f = pin!(tx.send_async(room));
            assert!(f.as_mut().poll(&mut task).is_pending());
            let (end, ended) = channel::unbounded();
            tx.send_then(
                room + 1,
                |job: Box<dyn FnOnce() + Send>| job(),
                move |sent| {
                    end.try_send(sent).unwrap();
                },
            );
            let all: Vec<_> = (0..room + 2).collect();
            assert_eq!((visited(&rx), shown(&rx, 10)), (all.clone(), all.clone()));
            for n in all {
                assert_eq!(rx.recv(&mut cx), Ok(10 + n));
            }
            assert_eq!(ended.try_recv(), Ok(Ok(())));
            assert!(f.as_mut().poll(&mut task).is_ready());
            // Who waits to receive has nothing.
            rx.recv_then(|job: Box<dyn FnOnce() + Send>| job(), |_| ());
            let mut g = pin!(rx.recv_async());
            assert!(g.as_mut().poll(&mut task).is_pending());
            assert_eq!((visited(&rx), shown(&rx, 0)), (vec![], vec![]));
        }
        // Published for a receiver that has gone.
        let (tx, rx) = channel::rendezvous::<u32>();
        let permit = {
            let mut g = pin!(rx.recv_async());
            assert!(g.as_mut().poll(&mut task).is_pending());
            tx.try_reserve().unwrap()
        };
        permit.publish(7).unwrap();
        assert_eq!((visited(&rx), shown(&rx, 10)), (vec![7], vec![7]));
        tx.close();
        assert_eq!((visited(&rx), shown(&rx, 10)), (vec![17], vec![17]));
        assert_eq!(rx.recv(&mut cx), Ok(27));
        assert_eq!(shown(&rx, 0), []);
    });
}

/// A thread answers in the middle of its wait, and looks: what it holds itself is shown too, once.
#[test]
fn in_the_middle_of_a_wait() {
    alone(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for ((tx, rx), room) in tight() {
            (0..room).for_each(|n| tx.try_send(n).unwrap());
            let send = sender(&vm, &mut cx, &tx, room);
            let (tx2, tx3) = (tx.clone(), tx.clone());
            let select = vm.spawn("selects", move |cx| {
                let (mut a, mut b) = (tx2.arm(room + 1), tx3.arm(room + 2));
                let n = Select::new().arm(&mut a).arm(&mut b).wait(cx);
                Ok::<_, ()>((n, a.complete(), b.complete()))
            });
            let select = select.unwrap();
            settled(&mut cx, select.thread());
            let mut all: Vec<_> = (0..room + 3).collect();
            let seen = Arc::new(StdMutex::new(vec![]));
            for t in [send.thread(), select.thread()] {
                // Only it can: it does so when it runs next, and the world stands still then, too.
                let (rx2, note, done) = (rx.clone(), seen.clone(), scene::flag());
                let done2 = done.clone();
                t.ask_owner(move || {
                    let now = shown(&rx2, 10);
                    note.lock().unwrap().push((now, visited(&rx2).len()));
                    done2.store(true, SeqCst);
                })
                .unwrap();
                until(&mut cx, "it answers", || done.load(SeqCst));
                let (now, queued) = seen.lock().unwrap().pop().unwrap();
                assert_eq!(now, all);
                // It has left its queue meanwhile.
                assert!(queued < all.len());
                all.iter_mut().for_each(|n| *n += 10);
                settled(&mut cx, t);
                until(&mut cx, "it is back", || tx.waiting_senders() == 3);
            }
            assert_eq!(shown(&rx, 0), all);
            for n in 0..room + 2 {
                let got = rx.recv(&mut cx).unwrap();
                assert!(got == 20 + n || n == room + 1 && got == 20 + n + 1, "{got}");
            }
            send.join(&mut cx).unwrap();
            let (n, a, b) = select.join(&mut cx).unwrap();
            let (won, lost) = if n == Ok(0) { (a, b) } else { (b, a) };
            assert!(won.is_ok());
            assert!(matches!(lost, Err(TrySendError::Full(v)) if v > 20));
        }
        // One that was given its value already answers before it goes on, or afterwards.
        let (tx, rx) = channel::rendezvous::<u32>();
        let recv = receiver(&vm, &mut cx, &rx);
        tx.try_send(1).unwrap();
        let seen = Arc::new(StdMutex::new(vec![]));
        let (rx2, note) = (rx.clone(), seen.clone());
        recv.thread().ask(move || note.lock().unwrap().push(shown(&rx2, 10))).unwrap();
        assert_eq!(*seen.lock().unwrap(), [[1]], "by its proxy: it sleeps");
        assert_eq!(recv.join(&mut cx).unwrap(), 11);
    });
}

/// A thread whose hooks are called, with its contexts. It ends by the sum of what came of it.
fn hooked(
    vm: &Runtime,
    f: impl FnOnce(&mut Hooked) -> u32 + Send + 'static,
) -> std::thread::JoinHandle<u32> {
    let vm = vm.clone();
    std::thread::spawn(move || f(&mut Hooked::new(vm.attach("hooked").unwrap())))
}

/// A wait in a request that is answered in a wait: what both hold is shown. And what a thread holds is shown in its own
/// hooks.
#[test]
fn in_hooks_and_in_waits_inside_waits() {
    alone(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (tx, rx) = channel::rendezvous::<u32>();
        let seen = Arc::new(StdMutex::new(Vec::<Vec<u32>>::new()));
        let look = || {
            let (rx, seen) = (rx.clone(), seen.clone());
            move |_: &mut Participant| seen.lock().unwrap().push(shown(&rx, 10))
        };
        // A send, in whose wait another one waits.
        let (before, after, tx2, tx3) = (look(), look(), tx.clone(), tx.clone());
        let (id, its) = std::sync::mpsc::channel();
        let h = hooked(&vm, move |cx| {
            id.send(cx.me.thread().clone()).unwrap();
            cx.hook(BEFORE, before);
            cx.hook(SERVE, move |me| tx3.send(me, 2).unwrap());
            // Of the outer wait: before it serves, and at its end.
            cx.hook(AFTER, |_| ());
            cx.hook(AFTER, after);
            tx2.send(cx, 1).unwrap();
            0
        });
        let t = outside(&mut cx, |_| its.recv().unwrap());
        settled(&mut cx, &t);
        assert_eq!((*seen.lock().unwrap()).clone(), [vec![1]], "before it waits");
        t.ask_owner(|| ()).unwrap();
        until(&mut cx, "the inner wait", || {
            t.blocker().is_some() && visited(&rx) == [2] && shown(&rx, 0) == [2, 11]
        });
        assert_eq!(rx.recv(&mut cx), Ok(2));
        until(&mut cx, "the outer wait", || visited(&rx) == [11]);
        assert_eq!(shown(&rx, 10), [11]);
        assert_eq!(rx.recv(&mut cx), Ok(21));
        outside(&mut cx, |_| h.join().unwrap());
        assert_eq!((*seen.lock().unwrap()).clone(), [vec![1], vec![]], "it is sent");
        // A receive, that was given its value.
        seen.lock().unwrap().clear();
        let (before, after, rx2) = (look(), look(), rx.clone());
        let h = hooked(&vm, move |cx| {
            cx.hook(BEFORE, before);
            cx.hook(AFTER, after);
            rx2.recv(cx).unwrap()
        });
        until(&mut cx, "it waits", || rx.waiting_receivers() == 1);
        tx.try_send(5).unwrap();
        assert_eq!(outside(&mut cx, |_| h.join().unwrap()), 15);
        assert_eq!((*seen.lock().unwrap()).clone(), [vec![], vec![5]], "it is in its hand");
        // A select, either way.
        seen.lock().unwrap().clear();
        let (before, after, rx2, tx2) = (look(), look(), rx.clone(), tx.clone());
        let (_full, full_rx) = channel::bounded::<u32>(1);
        let h = hooked(&vm, move |cx| {
            cx.hook(BEFORE, before);
            cx.hook(AFTER, after);
            let (mut a, mut b, mut c) = (tx2.arm(6), full_rx.arm(), rx2.arm());
            let n = Select::new().arm(&mut a).arm(&mut b).arm(&mut c).wait(cx).unwrap();
            assert_eq!((n, a.complete()), (2, Err(TrySendError::Full(26))));
            c.complete().unwrap()
        });
        until(&mut cx, "it waits", || rx.waiting_receivers() == 1);
        tx.send(&mut cx, 7).unwrap();
        assert_eq!(outside(&mut cx, |_| h.join().unwrap()), 17);
        assert_eq!((*seen.lock().unwrap()).clone(), [vec![6], vec![7, 16]]);
        // A wait that a hook unwinds out of: nothing is left in the list.
        let tx2 = tx.clone();
        let h = hooked(&vm, move |cx| {
            cx.hook(BEFORE, |_| quiet_panic("hook"));
            let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tx2.send(cx, 8)));
            u32::from(end.is_err())
        });
        assert_eq!(outside(&mut cx, |_| h.join().unwrap()), 1);
        assert_eq!(shown(&rx, 0), []);
    });
}

/// A hook ends its own thread and puts another token in its place; the record is soon another thread's, and so is its list.
#[test]
fn a_thread_that_ends_in_a_hook_leaves_the_list_of_its_follower_alone() {
    let _world = WORLD.lock().unwrap_or_else(|e| e.into_inner());
    guarded(|| {
        let (vm, other) = (Runtime::new(), Runtime::new());
        let mut cx = vm.attach("main").unwrap();
        let (tx, rx) = channel::rendezvous::<u32>();
        let (tx2, rx2) = (tx.clone(), rx.clone());
        let (vm2, other2) = (vm.clone(), other.clone());
        let first = std::thread::spawn(move || {
            let mut cx = Hooked::new(vm2.attach("first").unwrap());
            let mut spare = Some(other2.attach("spare").unwrap());
            cx.hook(BEFORE, move |me| drop(std::mem::replace(me, spare.take().unwrap())));
            rx2.recv(&mut cx).unwrap()
        });
        until(&mut cx, "it waits", || rx.waiting_receivers() == 1);
        let (full, full_rx) = channel::rendezvous::<u32>();
        let h = sender(&vm, &mut cx, &full, 7);
        tx2.send(&mut cx, 1).unwrap();
        assert_eq!(outside(&mut cx, |_| first.join().unwrap()), 1);
        // The one that is left waits.
        assert_eq!(shown(&full_rx, 10), [7]);
        assert_eq!(full_rx.recv(&mut cx), Ok(17));
        h.join(&mut cx).unwrap();
    });
}

// ---- stops ----

/// A value, and how often it was shown.
struct Seen {
    n: usize,
    shown: u32,
}

const SENDERS: usize = 3;
const THREADS: usize = 6;
/// More than they come to.
const EACH: usize = 200_000;

/// What became of each value, by whoever has it.
struct Book {
    /// Given to the channel, and not back.
    out: Vec<AtomicBool>,
    /// Received.
    back: Vec<AtomicBool>,
    shown: Vec<AtomicU32>,
    /// Of each sender: the one after its last.
    next: [AtomicUsize; SENDERS],
}

/// Holds threads up: each is asked to stay in a request until all were seen.
#[derive(Default)]
struct Stop {
    state: StdMutex<(usize, bool)>,
    change: StdCondvar,
}
impl Stop {
    fn stay(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.change.notify_all();
        drop(self.change.wait_while(state, |s| !s.1).unwrap());
    }
    fn all(&self, n: usize) {
        let state = self.state.lock().unwrap();
        let held = self.change.wait_timeout_while(state, Duration::from_secs(60), |s| s.0 < n);
        assert!(!held.unwrap().1.timed_out(), "not all threads stop");
    }
    fn go(&self) {
        self.state.lock().unwrap().1 = true;
        self.change.notify_all();
    }
}

/// Threads send and receive; between two stops all that is on its way is shown, each value once, and by nobody else.
/// `asked`: whoever may answer does, for a thread that sleeps; else each thread itself, between two halves of its wait.
fn stops(room: usize, asked_itself: bool) {
    const STOPS: usize = 1_000;
    let vm = Runtime::new();
    let mut cx = vm.attach("main").unwrap();
    let (tx, rx) = match room {
        usize::MAX => channel::unbounded(),
        n => channel::bounded(n),
    };
    let flags = || (0..SENDERS * EACH).map(|_| AtomicBool::new(false)).collect::<Vec<_>>();
    let shown = (0..SENDERS * EACH).map(|_| AtomicU32::new(0)).collect();
    let next = std::array::from_fn(|k| AtomicUsize::new(k * EACH));
    let book = Arc::new(Book { out: flags(), back: flags(), shown, next });
    let over = Arc::new(AtomicBool::new(false));
    let mut threads = vec![];
    for k in 0..SENDERS {
        let (tx, book, over) = (tx.clone(), book.clone(), over.clone());
        let send = move |cx: &mut Participant| {
            let (_open, never) = channel::rendezvous::<Seen>();
            let mut n = k * EACH;
            loop {
                // A request is answered here, or in a wait: not in between.
                safe_point(cx);
                if over.load(SeqCst) {
                    break;
                }
                if n == (k + 1) * EACH || tx.len() > 100 {
                    continue;
                }
                book.next[k].store(n + 1, SeqCst);
                let value = Seen { n, shown: 0 };
                book.out[n].store(true, SeqCst);
                let back = match n % 4 {
                    0 => tx.send_until(cx, value, soon()).err().map(SendError::into_inner),
                    1 => {
                        let (mut a, mut b) = (tx.arm(value), never.arm());
                        let select = Select::new().arm(&mut a).arm(&mut b).until(soon());
                        let _ = select.wait(cx);
                        a.complete().err().map(TrySendError::into_inner)
                    }
                    2 => tx.try_send(value).err().map(TrySendError::into_inner),
                    _ => tx.send(cx, value).err().map(SendError::into_inner),
                };
                if let Some(value) = back {
                    assert_eq!(value.shown, book.shown[n].load(SeqCst));
                    book.out[n].store(false, SeqCst);
                }
                n += 1;
            }
            Unit::Ok(())
        };
        threads.push(vm.spawn("sends", send).unwrap());
    }
    for k in SENDERS..THREADS {
        let (rx, book) = (rx.clone(), book.clone());
        let recv = move |cx: &mut Participant| {
            let (_open, never) = channel::rendezvous::<Seen>();
            let mut turn = k;
            loop {
                safe_point(cx);
                turn += 1;
                let got = match turn % 3 {
                    0 => rx.recv_until(cx, soon()).ok(),
                    1 => {
                        let (mut a, mut b) = (rx.arm(), never.arm());
                        let select = Select::new().arm(&mut a).arm(&mut b).until(soon());
                        let _ = select.wait(cx);
                        a.complete().ok()
                    }
                    _ => rx.try_recv().ok(),
                };
                if let Some(value) = got {
                    assert_eq!(value.shown, book.shown[value.n].load(SeqCst), "mutation is seen");
                    assert!(!book.back[value.n].swap(true, SeqCst), "{} came twice", value.n);
                } else if rx.is_closed() {
                    break;
                }
            }
            Unit::Ok(())
        };
        threads.push(vm.spawn("receives", recv).unwrap());
    }
    // Who is asked may be answered for by who asks, so each has an asker of its own.
    let all = Arc::new(Barrier::new(THREADS + 1));
    let stop = Arc::new(StdMutex::new(Arc::new(Stop::default())));
    let done = Arc::new(AtomicBool::new(false));
    let askers: Vec<_> = threads
        .iter()
        .map(|h| {
            let (t, all, stop, done) =
                (h.thread().clone(), all.clone(), stop.clone(), done.clone());
            std::thread::spawn(move || {
                loop {
                    all.wait();
                    if done.load(SeqCst) {
                        break;
                    }
                    let stop = stop.lock().unwrap().clone();
                    let stay = move || stop.stay();
                    match asked_itself {
                        true => t.ask_owner(stay).map_err(drop).unwrap(),
                        false => t.ask(stay).map_err(drop).unwrap(),
                    }
                }
            })
        })
        .collect();
    let (mut most, mut low) = (0, [0, 1, 2].map(|k| k * EACH));
    for _ in 0..STOPS {
        let now = Arc::new(Stop::default());
        *stop.lock().unwrap() = now.clone();
        all.wait();
        now.all(THREADS);
        let mut seen = vec![];
        // SAFETY: all threads of the process that are attached are held up, but this one.
        let hands = unsafe { Hands::gather() };
        // SAFETY: as above.
        unsafe {
            tx.for_each_mut(&hands, |v| {
                v.shown += 1;
                seen.push((v.n, v.shown));
            });
        }
        drop(hands);
        seen.sort_unstable();
        most = most.max(seen.len());
        for &(n, shown) in &seen {
            assert_eq!(book.shown[n].fetch_add(1, SeqCst) + 1, shown, "{n} is shown once");
        }
        let left = |n: &usize| book.out[*n].load(SeqCst) && !book.back[*n].load(SeqCst);
        let mut want = vec![];
        for (k, low) in low.iter_mut().enumerate() {
            let next = book.next[k].load(SeqCst);
            while *low < next && !left(low) {
                *low += 1;
            }
            want.extend((*low..next).filter(left));
        }
        assert_eq!(seen.iter().map(|s| s.0).collect::<Vec<_>>(), want);
        now.go();
    }
    over.store(true, SeqCst);
    done.store(true, SeqCst);
    all.wait();
    askers.into_iter().for_each(|t| t.join().unwrap());
    until(&mut cx, "the senders are over", || tx.senders() == 1);
    drop(tx);
    for t in threads {
        t.join(&mut cx).unwrap();
    }
    assert!(most > 0);
    let sent = book.out.iter().filter(|b| b.load(SeqCst)).count();
    let received = book.back.iter().filter(|b| b.load(SeqCst)).count();
    assert!(sent == received && sent > 0, "{sent} sent, {received} received");
}

/// Room for so many values; who answers.
fn stopped(room: usize, asked_itself: bool) {
    let _world = WORLD.lock().unwrap_or_else(|e| e.into_inner());
    guarded_for(Duration::from_secs(300), move || stops(room, asked_itself));
}

#[test]
fn stops_without_storage() {
    stopped(0, false);
}
#[test]
fn stops_of_an_array() {
    stopped(2, false);
}
#[test]
fn stops_of_a_list() {
    stopped(usize::MAX, false);
}
#[test]
fn stops_between_two_halves_of_a_wait() {
    stopped(0, true);
    stopped(2, true);
}
