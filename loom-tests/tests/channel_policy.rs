//! Models of `channel`: policies, ends of handles and channels, timers. Edges and invariants are those of its headers.
//!
//! Every value is counted: delivered, given back, handed out or lost, and dropped once. No time passes, and what has a time
//! is due.
#![cfg(selvedge_loom)]

use loom_tests::check;
use loom_tests::history::{Done, linearizable};
use loom_tests::scene::{Pipe, Token, Wants, barging, go, seats, soon};
use selvedge::channel::{self, Builder, Receiver, RecvError, Sender, TrySendError};
use selvedge::model::{AtomicU32, Ordering::Relaxed, thread};
use std::collections::VecDeque;
use std::sync::Arc;

type Ends = (Sender<Token>, Receiver<Token>);

// ---- policies ----

/// An operation and what it came to.
#[derive(Clone, Debug)]
enum Did {
    /// Sent; it displaced that one.
    Force(usize, Option<usize>),
    /// Sent as the policy says.
    Send(usize),
    Got(usize),
    Empty,
}

fn text(did: &Did) -> String {
    match did {
        Did::Force(_, None) | Did::Send(_) => "+".into(),
        Did::Force(_, Some(lost)) => format!("/{lost}"),
        Did::Got(n) => n.to_string(),
        Did::Empty => "-".into(),
    }
}

/// Room for one value. `slides`: a send to a full channel drops the oldest, else its own.
fn step(slides: bool, values: &mut VecDeque<usize>, did: &Did) -> bool {
    match *did {
        Did::Force(n, lost) => {
            let oldest = if values.is_empty() { None } else { values.pop_front() };
            values.push_back(n);
            oldest == lost
        }
        Did::Send(n) => {
            if values.is_empty() || slides {
                values.clear();
                values.push_back(n);
            }
            true
        }
        Did::Got(n) => values.pop_front() == Some(n),
        Did::Empty => values.is_empty(),
    }
}

fn force(pipe: &Pipe, n: usize) -> Did {
    let lost = pipe.tx.force_send(pipe.make_nth(n)).expect("nobody closes");
    Did::Force(n, lost.map(|token| token.read()))
}
fn got(text: &str) -> Did {
    match text {
        "-" | "late" => Did::Empty,
        n => Did::Got(n.parse().unwrap()),
    }
}

/// One thread sends twice, one receives twice, the first time waiting for a moment; then what is left is taken out. One
/// order explains it all: nobody sees a value displaced and there, or neither. Bound 2.
fn history(
    name: &'static str,
    at_least: usize,
    must: &'static [&'static str],
    ends: fn() -> Ends,
    slides: bool,
    send: fn(&Pipe, usize) -> Did,
) {
    check(name, Some(2), at_least, must, move || {
        let vm = barging();
        let ([a, b], _) = seats(&vm);
        let pipe = Arc::new(Pipe::of(ends(), 0));
        let receiver = thread::spawn({
            let pipe = pipe.clone();
            move || {
                let me = &mut b.sit();
                [got(&pipe.wait(me, Wants::ValueUntil)), got(&pipe.try_recv())]
            }
        });
        let _me = a.sit();
        let sent = [send(&pipe, 0), send(&pipe, 1)];
        let received = receiver.join().unwrap();
        let left = [got(&pipe.try_recv()), got(&pipe.try_recv())];
        assert_eq!(Pipe::end(pipe), 0);
        let phases = [(0, 0, sent), (1, 0, received), (0, 1, left)];
        let history: Vec<Done<(u32, Did)>> = phases
            .into_iter()
            .flat_map(|(thread, phase, dids)| dids.map(|did| Done { thread, op: (phase, did) }))
            .collect();
        let before = |i: usize, j: usize| history[i].op.0 < history[j].op.0;
        if !linearizable(&history, VecDeque::new(), before, |s, op| step(slides, s, &op.1)) {
            return "not linearizable".into();
        }
        history.iter().map(|done| text(&done.op.1)).collect()
    });
}

fn send(pipe: &Pipe, n: usize) -> Did {
    assert!(pipe.tx.try_send(pipe.make_nth(n)).is_ok());
    Did::Send(n)
}
fn send_or_drop(pipe: &Pipe, n: usize) -> Did {
    match pipe.tx.try_send(pipe.make_nth(n)) {
        Ok(()) | Err(TrySendError::Full(_)) => Did::Send(n),
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn a_forced_send_and_receives() {
    history(
        "channel_policy.force",
        130,
        &["++-01-", "++0-1-", "++01--", "+/0--1-", "+/0-1--", "+/01---"],
        || channel::bounded(1),
        true,
        force,
    );
}

#[test]
fn a_sliding_send_and_receives() {
    history(
        "channel_policy.sliding",
        130,
        &["++--1-", "++-01-", "++-1--", "++0-1-", "++01--", "++1---"],
        || channel::sliding(1),
        true,
        send,
    );
}

#[test]
fn a_dropping_send_and_receives() {
    history(
        "channel_policy.dropping",
        100,
        &["++--0-", "++-0--", "++0---", "++0-1-", "++01--"],
        || channel::dropping(1),
        false,
        send_or_drop,
    );
}

/// Two threads force; each value is received or given back, once, and one is left. Bound 2.
#[test]
fn two_force() {
    check("channel_policy.two_force", Some(2), 11, &["/0 /1 2", "/2 /0 1"], || {
        let pipe = Arc::new(Pipe::with_room(1, 1));
        let other = thread::spawn({
            let pipe = pipe.clone();
            move || text(&force(&pipe, 1))
        });
        let mine = text(&force(&pipe, 2));
        let got = format!("{} {mine} {}", other.join().unwrap(), pipe.try_recv());
        assert_eq!(Pipe::end(pipe), 0);
        got
    });
}

/// One thread waits to send, another forces: who waits keeps its place, behind what is in the channel. Bound 3.
#[test]
fn a_forced_send_and_who_waits() {
    check("channel_policy.force_vs_waiter", Some(3), 2_000, &["/0 21"], || {
        let vm = barging();
        let ([a, b], _) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(1, 1));
        let t = go(&pipe, b, |pipe, me| assert!(pipe.tx.send(me, pipe.make_nth(1)).is_ok()));
        let lost = text(&force(&pipe, 2));
        let me = &mut a.sit();
        let got = pipe.wait(me, Wants::Value) + &pipe.wait(me, Wants::Value);
        t.join().unwrap();
        assert_eq!(Pipe::end(pipe), 0);
        format!("{lost} {got}")
    });
}

/// A send to a full lossy channel drops its value: nobody else has it. Kills a loser that is forgotten. Bound: none.
#[test]
fn who_loses_is_dropped() {
    check("channel_policy.loser", None, 2, &["0"], || {
        let vm = barging();
        let ([a], _) = seats(&vm);
        let pipe = Arc::new(Pipe::of(channel::dropping(1), 1));
        let other = thread::spawn({
            let pipe = pipe.clone();
            move || assert!(pipe.tx.is_full())
        });
        assert!(pipe.tx.send(&mut a.sit(), pipe.make()).is_ok());
        other.join().unwrap();
        let got = pipe.try_recv();
        assert_eq!(Pipe::end(pipe), 0);
        got
    });
}

// ---- ends ----

/// Two senders queue, one is closed upon; the first one that is told receives at once, and gets nothing of the other. Kills
/// queued senders that are received from after a close. Bound 2.
#[test]
fn a_close_keeps_back_what_is_queued() {
    check("channel_policy.close_keeps_back", Some(2), 7_200, &["closed c"], || {
        let vm = barging();
        let ([_, b, c], _) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(0, 0));
        let senders = [b, c].map(|seat| {
            let n = pipe.tx.waiting_senders();
            let t = go(&pipe, seat, |pipe, me| {
                let how = pipe.wait(me, Wants::Room);
                assert_eq!((how.as_str(), pipe.try_recv().as_str()), ("closed", "c"));
            });
            while pipe.tx.waiting_senders() == n {
                thread::yield_now();
            }
            t
        });
        assert!(pipe.tx.close());
        senders.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(Pipe::end(pipe), 0);
        "closed c".into()
    });
}

/// A sender waits, the channel is closed, and a receive takes what is pending, or the sender had come too late. Bound 3.
fn pending(name: &'static str, room: usize, at_least: usize, must: &'static [&'static str]) {
    check(name, Some(3), at_least, must, move || {
        let vm = barging();
        let ([_, b], _) = seats(&vm);
        let ends = Builder::new().deliver_pending(true).bounded(room);
        let pipe = Arc::new(Pipe::of(ends, room));
        let t = go(&pipe, b, |pipe, me| pipe.log.put(&pipe.wait(me, Wants::Room)));
        assert!(pipe.rx.close());
        let got: String = (0..room + 2).map(|_| pipe.try_recv()).collect();
        t.join().unwrap();
        let how = pipe.log.get();
        assert_eq!(Pipe::end(pipe), 0);
        format!("{got} {how}")
    });
}

#[test]
fn what_is_pending_is_delivered() {
    pending("channel_policy.pending", 1, 200, &["01c sent", "0cc closed"]);
}

#[test]
fn what_is_pending_is_delivered_without_storage() {
    pending("channel_policy.pending_zero", 0, 110, &["0c sent", "cc closed"]);
}

/// A pending sender is asked for something and leaves its place meanwhile: it comes back to it, unless a receiver was told
/// that nothing is left. Kills a `Closed` that is not final. Bound 2.
#[test]
fn a_pending_sender_answers() {
    check("channel_policy.pending_serve", Some(2), 840, &["0 sent", "c closed"], || {
        let vm = barging();
        let ([_, b], [_, target]) = seats(&vm);
        let pipe = Arc::new(Pipe::of(Builder::new().deliver_pending(true).bounded(0), 0));
        let t = go(&pipe, b, |pipe, me| pipe.log.put(&pipe.wait(me, Wants::Room)));
        while pipe.tx.waiting_senders() == 0 {
            thread::yield_now();
        }
        let answered = Arc::new(AtomicU32::new(0));
        let flag = answered.clone();
        target.ask_owner(move || flag.store(1, Relaxed)).unwrap();
        assert!(pipe.rx.close());
        let got = pipe.try_recv();
        t.join().unwrap();
        assert_eq!(pipe.try_recv(), "c", "that is final");
        let how = pipe.log.get();
        assert_eq!(Pipe::end(pipe), 0);
        format!("{got} {how}")
    });
}

/// The last receiver goes: what is pending goes back. Bound 3.
#[test]
fn what_is_pending_goes_back() {
    check("channel_policy.pending_back", Some(3), 330, &["closed"], || {
        let vm = barging();
        let ([_, b], _) = seats(&vm);
        let pipe = Arc::new(Pipe::of(Builder::new().deliver_pending(true).bounded(0), 0));
        let t = go(&pipe, b, |pipe, me| pipe.log.put(&pipe.wait(me, Wants::Room)));
        assert!(pipe.rx.disconnect());
        t.join().unwrap();
        let how = pipe.log.get();
        assert_eq!(Pipe::end(pipe), 0);
        how
    });
}

/// A close that discards, while another thread receives: what that got is older than what is handed out. Bound 3.
#[test]
fn a_discarding_close_and_receives() {
    check("channel_policy.discard", Some(3), 300, &["01 ", "0c 1", "cc 01"], || {
        let pipe = Arc::new(Pipe::with_room(2, 2));
        let t = thread::spawn({
            let pipe = pipe.clone();
            move || pipe.try_recv() + &pipe.try_recv()
        });
        let mut left = String::new();
        assert!(pipe.tx.close_discarding(|token| left += &token.read().to_string()));
        assert_eq!(pipe.try_recv(), "c");
        let got = t.join().unwrap();
        assert_eq!(Pipe::end(pipe), 0);
        format!("{got} {left}")
    });
}

/// Two threads disconnect the one handle by which a third one's channel is open: one of them did, and the third is told.
/// Bound 2.
#[test]
fn two_disconnect() {
    check("channel_policy.two_disconnect", Some(2), 1_400, &["closed"], || {
        let vm = barging();
        let ([a], _) = seats(&vm);
        let (tx, rx) = channel::bounded::<u8>(1);
        let tx = Arc::new(tx);
        let others = [tx.clone(), tx.clone()].map(|tx| thread::spawn(move || tx.disconnect()));
        let got = rx.recv(&mut a.sit());
        let by: usize = others.map(|t| t.join().unwrap().into()).iter().sum();
        assert_eq!((by, rx.senders(), got), (1, 0, Err(RecvError::Closed)));
        "closed".into()
    });
}

/// A handle leaves and is dropped while another one sends: that one's values come, and the last to go closes the channel.
/// Bound 3.
#[test]
fn a_handle_leaves_beside_a_send() {
    check("channel_policy.leave_vs_send", Some(3), 15_000, &["0closed"], || {
        let vm = barging();
        let ([a, b], _) = seats(&vm);
        let pipe = Pipe::with_room(1, 0);
        let (gone, sends) = (pipe.tx.clone(), pipe.tx.clone());
        let token = pipe.make();
        let t = thread::spawn(move || {
            assert!(sends.send(&mut b.sit(), token).is_ok());
        });
        assert!(gone.disconnect() && pipe.tx.disconnect());
        drop(gone);
        let me = &mut a.sit();
        let got = pipe.wait(me, Wants::Value) + &pipe.wait(me, Wants::Value);
        t.join().unwrap();
        assert_eq!(Pipe::end(Arc::new(pipe)), 0);
        got
    });
}

// ---- timers ----

fn event<T>(result: Result<T, RecvError>) -> String {
    match result {
        Ok(_) => "due".into(),
        Err(RecvError::TimedOut) => "late".into(),
        Err(RecvError::Closed) => "closed".into(),
        Err(RecvError::Interrupted) => "signal".into(),
        Err(e) => panic!("{e}"),
    }
}

/// Two threads wait for the one event: one has it, the other waits on until its deadline, or until the timer is closed.
/// Kills a close that forgets who waits. Bound 3.
fn two_wait(name: &'static str, at_least: usize, must: &'static [&'static str], deadline: bool) {
    check(name, Some(3), at_least, must, move || {
        let vm = barging();
        let ([a, b], _) = seats(&vm);
        let rx = channel::at(soon());
        let t = thread::spawn({
            let rx = rx.clone();
            move || {
                let got = rx.recv(&mut b.sit());
                if got.is_ok() {
                    rx.close();
                }
                event(got)
            }
        });
        let me = &mut a.sit();
        let mine = if deadline { rx.recv_until(me, soon()) } else { rx.recv(me) };
        rx.close();
        let got = format!("{} {}", event(mine), t.join().unwrap());
        assert_eq!(rx.waiting_receivers(), 0);
        got
    });
}

#[test]
fn one_has_the_event() {
    two_wait("channel_policy.event", 120, &["closed due", "due closed"], false);
}

#[test]
fn one_has_the_event_or_is_late() {
    two_wait("channel_policy.event_until", 110, &["closed due", "due closed", "late due"], true);
}

/// Nothing comes; a close or a signal ends the wait, whichever is first. Bound 3.
#[test]
fn a_timer_is_closed() {
    check("channel_policy.timer_close", Some(3), 1_240, &["closed", "signal"], || {
        let vm = barging();
        let ([a, b], [_, target]) = seats(&vm);
        let rx = channel::never::<u8>();
        let t = thread::spawn({
            let rx = rx.clone();
            move || event(rx.recv(&mut b.sit()))
        });
        let me = a.sit();
        let _queued = target.signal(&me, ()).unwrap();
        assert!(rx.close());
        let got = t.join().unwrap();
        assert_eq!((rx.waiting_receivers(), rx.receivers()), (0, 1));
        got
    });
}

/// A timer and a channel in one select, beside a send. The value is received or left. Bound 3.
#[test]
fn a_timer_is_an_arm() {
    use selvedge::channel::Select;
    check("channel_policy.select_never", Some(3), 230, &["0"], || {
        let vm = barging();
        let ([a], _) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(1, 0));
        let never = channel::never::<u8>();
        let t = thread::spawn({
            let pipe = pipe.clone();
            move || assert!(pipe.try_send().is_ok())
        });
        let (mut event, mut value) = (never.arm(), pipe.rx.arm());
        let chosen = Select::new().biased().arm(&mut event).arm(&mut value).wait(&mut a.sit());
        assert_eq!((chosen, never.waiting_receivers()), (Ok(1), 0));
        let got = value.complete().unwrap().read().to_string();
        drop(event);
        t.join().unwrap();
        assert_eq!(Pipe::end(pipe), 0);
        got
    });
}
