//! Models of `channel`: tasks and calls. Edges and invariants are those of its headers.
//!
//! Every value is counted: delivered, given back or thrown away with the channel, and dropped once.
#![cfg(selvedge_loom)]

use loom::sync::Notify;
use loom_tests::check;
use loom_tests::scene::{Pipe, Token, UNBOUNDED, Wants, barging, go, received, seats};
use selvedge::channel::{RecvError, RecvFuture, SendError, SendFuture};
use selvedge::model::{AtomicU32, Ordering::*, thread};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// A waker's other end, by which one task sleeps.
struct Bell(AtomicU32, Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Release);
        self.1.notify();
    }
}

impl Bell {
    fn new() -> (Arc<Self>, Waker) {
        let bell = Arc::new(Self(AtomicU32::new(0), Notify::new()));
        (bell.clone(), bell.into())
    }
    fn rung(&self) -> u32 {
        self.0.load(Acquire)
    }
    /// Until it is rung again. A wake-up that is lost makes a deadlock of the model.
    fn wait(&self, heard: u32) {
        while self.rung() == heard {
            self.1.wait();
        }
    }
}

fn poll<F: Future>(f: &mut Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    f.as_mut().poll(&mut Context::from_waker(waker))
}

fn block_on<F: Future>(f: F) -> F::Output {
    let (bell, waker) = Bell::new();
    let mut f = pin!(f);
    loop {
        let heard = bell.rung();
        match poll(&mut f, &waker) {
            Poll::Ready(end) => return end,
            Poll::Pending => bell.wait(heard),
        }
    }
}

fn sent(result: Result<(), SendError<Token>>) -> String {
    match result {
        Ok(()) => "sent".into(),
        Err(SendError::Closed(token)) => {
            token.read();
            "closed".into()
        }
        Err(e) => panic!("{e}"),
    }
}

fn task(pipe: &Arc<Pipe>, f: impl FnOnce(&Pipe) -> String + 'static) -> thread::JoinHandle<String> {
    let pipe = pipe.clone();
    thread::spawn(move || f(&pipe))
}
fn receives(pipe: &Arc<Pipe>) -> thread::JoinHandle<String> {
    task(pipe, |pipe| received(block_on(pipe.rx.recv_async())))
}
fn sends(pipe: &Arc<Pipe>) -> thread::JoinHandle<String> {
    task(pipe, |pipe| sent(block_on(pipe.tx.send_async(pipe.make()))))
}

/// A task receives, and somebody sends. Kills a watcher that sleeps on, or of which senders do not know. Bound 3.
fn meet(name: &'static str, room: usize, at_least: usize) {
    check(name, Some(3), at_least, &["0"], move || {
        let pipe = Arc::new(Pipe::with_room(room, 0));
        let t = receives(&pipe);
        assert_eq!(sent(block_on(pipe.tx.send_async(pipe.make()))), "sent");
        let got = t.join().unwrap();
        assert_eq!(Pipe::end(pipe), 0);
        got
    });
}

#[test]
fn a_task_meets_a_task_at_an_array() {
    meet("channel_task.meet_array", 1, 54);
}
#[test]
fn a_task_meets_a_task_at_a_list() {
    meet("channel_task.meet_list", UNBOUNDED, 47);
}
#[test]
fn a_task_meets_a_task_without_storage() {
    meet("channel_task.meet_zero", 0, 230);
}

/// A task meets a thread, either way, without storage. Bound 2.
#[test]
fn a_task_receives_from_a_thread() {
    check("channel_task.from_thread", Some(2), 290, &["0"], || {
        let vm = barging();
        let ([a], _) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(0, 0));
        let t = receives(&pipe);
        assert_eq!(pipe.wait(&mut a.sit(), Wants::Room), "sent");
        let got = t.join().unwrap();
        Pipe::end(pipe);
        got
    });
}
#[test]
fn a_task_sends_to_a_thread() {
    check("channel_task.to_thread", Some(2), 140, &["0"], || {
        let vm = barging();
        let ([a], _) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(0, 0));
        let t = sends(&pipe);
        let got = pipe.wait(&mut a.sit(), Wants::Value);
        assert_eq!(t.join().unwrap(), "sent");
        Pipe::end(pipe);
        got
    });
}

/// Two tasks receive two values: each one. Bound 2.
fn two(name: &'static str, room: usize, at_least: usize) {
    check(name, Some(2), at_least, &["01", "10"], move || {
        let pipe = Arc::new(Pipe::with_room(room, 0));
        let tasks = [receives(&pipe), receives(&pipe)];
        for _ in 0..2 {
            assert_eq!(sent(block_on(pipe.tx.send_async(pipe.make()))), "sent");
        }
        let got = tasks.map(|t| t.join().unwrap()).concat();
        assert_eq!(Pipe::end(pipe), 0);
        got
    });
}

#[test]
fn two_tasks_and_two_values() {
    two("channel_task.two", UNBOUNDED, 1_400);
}
#[test]
fn two_tasks_and_two_values_through_one_place() {
    two("channel_task.two_array", 1, 8_100);
}

/// Another receiver takes the value for which a task was woken: it waits on, for the next. Bound 3.
#[test]
fn a_task_that_comes_late_waits_on() {
    check("channel_task.late", Some(3), 82, &["- 0", "0 1"], || {
        let pipe = Arc::new(Pipe::with_room(UNBOUNDED, 0));
        let t = receives(&pipe);
        assert!(pipe.try_send().is_ok());
        let mine = pipe.try_recv();
        if mine == "0" {
            assert!(pipe.try_send().is_ok());
        }
        let got = format!("{mine} {}", t.join().unwrap());
        assert_eq!(Pipe::end(pipe), 0);
        got
    });
}

/// A close, or the end of the last sender, against a task that waits. Bound 3.
#[test]
fn a_close_meets_a_task_that_receives() {
    check("channel_task.close", Some(3), 18, &["closed"], || {
        let pipe = Arc::new(Pipe::with_room(1, 0));
        let t = receives(&pipe);
        pipe.tx.close();
        let got = t.join().unwrap();
        Pipe::end(pipe);
        got
    });
}
#[test]
fn the_last_sender_meets_a_task_that_receives() {
    check("channel_task.last_sender", Some(3), 62, &["closed"], || {
        let (tx, rx) = selvedge::channel::rendezvous::<Token>();
        let t = thread::spawn(move || received(block_on(rx.recv_async())));
        drop(tx);
        t.join().unwrap()
    });
}
/// Two tasks wait; both are told. Bound 2.
#[test]
fn a_close_meets_two_tasks() {
    check("channel_task.close_two", Some(2), 320, &["closed closed"], || {
        let pipe = Arc::new(Pipe::with_room(1, 0));
        let tasks = [receives(&pipe), receives(&pipe)];
        pipe.tx.close();
        let got = tasks.map(|t| t.join().unwrap()).join(" ");
        Pipe::end(pipe);
        got
    });
}

/// A close against a task that waits to send: the value is back, or with who received before. Bound 3.
fn close_send(name: &'static str, room: usize, at_least: usize) {
    check(name, Some(3), at_least, &["0 sent", "c closed"], move || {
        let pipe = Arc::new(Pipe::with_room(room, room));
        let t = sends(&pipe);
        (0..room).for_each(|_| drop(pipe.try_recv()));
        pipe.tx.close();
        let got =
            format!("{} {}", pipe.try_recv().replace(char::is_numeric, "0"), t.join().unwrap());
        assert_eq!(Pipe::end(pipe), 0);
        got
    });
}
#[test]
fn a_close_meets_a_task_that_sends() {
    close_send("channel_task.close_send", 1, 230);
}

/// A task that waits is dropped while it is woken: the next one gets the value. Bound 2.
fn dropped(name: &'static str, room: usize, at_least: usize) {
    check(name, Some(2), at_least, &["0"], move || {
        let pipe = Arc::new(Pipe::with_room(room, 0));
        // The first in line is there before the others, and goes unpolled.
        let (bell, waker) = Bell::new();
        let mut first = Box::pin(pipe.rx.recv_async());
        assert!(poll(&mut first.as_mut(), &waker).is_pending());
        let t = receives(&pipe);
        let u = sends(&pipe);
        drop(first);
        assert!(bell.rung() < 2);
        let got = t.join().unwrap();
        assert_eq!(u.join().unwrap(), "sent");
        assert_eq!(Arc::strong_count(&bell), 2, "the channel has let go of it");
        drop(waker);
        assert_eq!(Pipe::end(pipe), 0);
        got
    });
}
#[test]
fn a_task_that_is_dropped_passes_its_wake_up_on() {
    dropped("channel_task.dropped", UNBOUNDED, 370);
}
#[test]
fn a_task_that_is_dropped_passes_its_wake_up_on_without_storage() {
    dropped("channel_task.dropped_zero", 0, 1_100);
}

/// A task polls again with another waker while a value comes: that one is rung, or it sees the value. Bound 3.
#[test]
fn another_waker_comes_while_it_is_woken() {
    check("channel_task.another_waker", Some(3), 21, &["0"], || {
        let pipe = Arc::new(Pipe::with_room(UNBOUNDED, 0));
        let t = task(&pipe, |pipe| {
            let (_, old) = Bell::new();
            let mut f = pin!(pipe.rx.recv_async());
            if let Poll::Ready(got) = poll(&mut f, &old) {
                return received(got);
            }
            received(block_on(f))
        });
        assert!(pipe.try_send().is_ok());
        let got = t.join().unwrap();
        Pipe::end(pipe);
        got
    });
}
#[test]
fn another_waker_comes_while_its_value_is_taken() {
    check("channel_task.another_waker_send", Some(3), 360, &["0"], || {
        let pipe = Arc::new(Pipe::with_room(0, 0));
        let t = task(&pipe, |pipe| {
            let (_, old) = Bell::new();
            let mut f = pin!(pipe.tx.send_async(pipe.make()));
            match poll(&mut f, &old) {
                Poll::Ready(end) => sent(end),
                Poll::Pending => sent(block_on(f)),
            }
        });
        let got = received(block_on(pipe.rx.recv_async()));
        assert_eq!(t.join().unwrap(), "sent");
        Pipe::end(pipe);
        got
    });
}

/// A task that waits to send is dropped while a receiver takes its value: one of them has it. Bound 3.
fn taken(name: &'static str, room: usize, at_least: usize, must: &'static [&'static str]) {
    check(name, Some(3), at_least, must, move || {
        let pipe = Arc::new(Pipe::with_room(room, room));
        let t = task(&pipe, |pipe| {
            let mut f = pin!(pipe.tx.send_async(pipe.make()));
            let (_, w) = Bell::new();
            match poll(&mut f, &w) {
                Poll::Ready(end) => sent(end),
                Poll::Pending => "dropped".into(),
            }
        });
        let mut got = pipe.try_recv();
        got += &t.join().unwrap();
        got += &pipe.try_recv();
        assert_eq!(Pipe::end(pipe), 0);
        got
    });
}
#[test]
fn a_value_is_taken_from_a_task_that_is_dropped() {
    taken("channel_task.taken", 1, 17, &["0dropped-", "0dropped1", "0sent1"]);
}
#[test]
fn a_value_is_taken_from_a_task_that_is_dropped_without_storage() {
    taken("channel_task.taken_zero", 0, 8, &["-dropped-", "0dropped-"]);
}

// ---- calls ----

/// Runs the job at once; what it is called with is written down.
fn inline(job: Box<dyn FnOnce() + Send>) {
    job();
}

/// A receive that ends in a call, against a send and a close: one of them ends it, once. Bound 3.
fn call(name: &'static str, room: usize, at_least: usize, must: &'static [&'static str]) {
    check(name, Some(3), at_least, must, move || {
        let pipe = Arc::new(Pipe::with_room(room, 0));
        let calls = Arc::new(AtomicU32::new(0));
        let t = task(&pipe, {
            let calls = calls.clone();
            move |pipe| {
                pipe.rx.recv_then(inline, move |got| {
                    let what = match got {
                        Ok(token) => 1 + token.read() as u32,
                        Err(RecvError::Closed) => 0x10,
                        Err(e) => panic!("{e}"),
                    };
                    calls.fetch_add(what, Relaxed);
                });
                String::new()
            }
        });
        let sent = if pipe.try_send().is_ok() { "sent" } else { "full" };
        pipe.tx.close();
        t.join().unwrap();
        let left = pipe.try_recv();
        let got = format!("{sent} {:x} {left}", calls.load(Relaxed));
        Pipe::end(pipe);
        got
    });
}
#[test]
fn a_call_meets_a_send_and_a_close() {
    call("channel_task.call", 1, 11, &["sent 1 c"]);
}
#[test]
fn a_call_meets_a_send_and_a_close_without_storage() {
    call("channel_task.call_zero", 0, 18, &["full 10 c", "sent 1 c"]);
}

/// A send that ends in a call, against a receive and a close. Bound 3.
#[test]
fn a_call_of_a_send_meets_a_receive_and_a_close() {
    check("channel_task.call_send", Some(3), 14, &["- closed", "0 sent"], || {
        let pipe = Arc::new(Pipe::with_room(0, 0));
        let calls = Arc::new(AtomicU32::new(0));
        let t = task(&pipe, {
            let calls = calls.clone();
            move |pipe| {
                pipe.tx.send_then(pipe.make(), inline, move |end| {
                    let closed = sent(end) == "closed";
                    calls.fetch_add(if closed { 0x10 } else { 1 }, Relaxed);
                });
                String::new()
            }
        });
        let got = pipe.try_recv();
        pipe.tx.close();
        t.join().unwrap();
        let end = match calls.load(Relaxed) {
            1 => "sent",
            0x10 => "closed",
            n => panic!("called {n:x}"),
        };
        assert_eq!(Pipe::end(pipe), 0);
        format!("{got} {end}")
    });
}

/// A call and a thread wait to receive; the thread gives up. The value is one's. Bound 2.
#[test]
fn a_call_is_behind_a_thread_that_gives_up() {
    check("channel_task.call_behind", Some(2), 100, &["0 10", "late 1"], || {
        let vm = barging();
        let ([_, b], _) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(0, 0));
        let t = go(&pipe, b, |pipe, me| pipe.log.put(&pipe.wait(me, Wants::ValueUntil)));
        while pipe.rx.waiting_receivers() == 0 && Arc::strong_count(&pipe) > 1 {
            thread::yield_now();
        }
        let calls = Arc::new(AtomicU32::new(0));
        let note = calls.clone();
        pipe.rx.recv_then(inline, move |got| {
            note.fetch_add(if got.is_ok() { 1 } else { 0x10 }, Relaxed);
        });
        assert!(pipe.try_send().is_ok());
        t.join().unwrap();
        pipe.tx.close();
        let got = format!("{} {:x}", pipe.log.get(), calls.load(Relaxed));
        Pipe::end(pipe);
        got
    });
}

/// The futures may go to other threads.
#[allow(dead_code, reason = "compiled is enough")]
fn are_send<'a>(f: RecvFuture<'a, Token>, g: SendFuture<'a, Token>) -> impl Send {
    (f, g)
}
