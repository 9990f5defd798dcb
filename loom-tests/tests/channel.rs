//! Models of `channel`: senders and receivers that wait for each other. Edges and invariants are those of its headers.
//!
//! Every value is counted: delivered, given back or thrown away with the channel, and dropped once.
#![cfg(selvedge_loom)]

use loom_tests::check;
use loom_tests::history::{Done, linearizable};
use loom_tests::scene::{
    Pipe, Token, Tokens, UNBOUNDED, Wants, barging, go, received, seats, soon,
};
use selvedge::channel::{self, SendError, TrySendError};
use selvedge::model::{AtomicU32, Ordering::Relaxed, Seat, thread};
use selvedge::{Participant, Runtime};
use std::collections::VecDeque;
use std::sync::Arc;

/// A send and a receive on an empty channel, whichever comes first: the receiver has what the sender wrote. Kills E1 of the
/// storage and of the claim, a receiver that does not look again under both locks, or queues without its flag. Bound 3.
fn meet(name: &'static str, room: usize, at_least: usize) {
    check(name, Some(3), at_least, &["0"], move || {
        let vm = barging();
        let ([a, b], _) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(room, 0));
        let t = go(&pipe, b, |pipe, me| assert_eq!(pipe.wait(me, Wants::Room), "sent"));
        let got = pipe.wait(&mut a.sit(), Wants::Value);
        t.join().unwrap();
        assert_eq!(Pipe::end(pipe), 0);
        got
    });
}

#[test]
fn a_send_meets_a_receive() {
    meet("channel.meet_array", 1, 300);
}

#[test]
fn a_send_meets_a_receive_in_a_list() {
    meet("channel.meet_list", UNBOUNDED, 290);
}

#[test]
fn a_send_meets_a_receive_without_storage() {
    meet("channel.meet_zero", 0, 300);
}

/// More values than there is room for: the sender waits, then the receiver. Kills E2 of the array, a sender without its
/// flag. Bound 3.
fn stream(name: &'static str, room: usize, at_least: usize) {
    check(name, Some(3), at_least, &["01"], move || {
        let vm = barging();
        let ([a, b], _) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(room, 0));
        let t = go(&pipe, b, |pipe, me| {
            for _ in 0..2 {
                assert_eq!(pipe.wait(me, Wants::Room), "sent");
            }
        });
        let me = &mut a.sit();
        let got = pipe.wait(me, Wants::Value) + &pipe.wait(me, Wants::Value);
        t.join().unwrap();
        assert_eq!(Pipe::end(pipe), 0);
        got
    });
}

#[test]
fn a_sender_waits_for_room() {
    stream("channel.full", 1, 3_900);
}

#[test]
fn a_sender_waits_for_a_receiver() {
    stream("channel.full_zero", 0, 7_200);
}

/// Two receivers, one value, and then a close: one has the value, the other is told. Bound 2.
fn two_receivers(name: &'static str, room: usize, at_least: usize) {
    check(name, Some(2), at_least, &["0 closed", "closed 0"], move || {
        let vm = barging();
        let ([a, b, c], _) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(room, 0));
        let first = take(&pipe, b);
        let second = take(&pipe, c);
        assert_eq!(pipe.wait(&mut a.sit(), Wants::Room), "sent");
        assert!(pipe.tx.close());
        let got = [first.join().unwrap(), second.join().unwrap()].join(" ");
        assert_eq!(Pipe::end(pipe), 0);
        got
    });
}

/// A thread that receives.
fn take(pipe: &Arc<Pipe>, seat: Seat) -> thread::JoinHandle<String> {
    let pipe = pipe.clone();
    thread::spawn(move || pipe.wait(&mut seat.sit(), Wants::Value))
}

#[test]
fn two_receivers_of_one_value() {
    two_receivers("channel.two_receivers", 1, 1_000);
}

#[test]
fn two_receivers_of_one_value_without_storage() {
    two_receivers("channel.two_receivers_zero", 0, 3_800);
}

/// Two senders, one place: both values come, in either order. Bound 2.
fn two_senders(name: &'static str, room: usize, at_least: usize) {
    check(name, Some(2), at_least, &["01", "10"], move || {
        let vm = barging();
        let ([a, b, c], _) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(room, 0));
        let senders = [b, c]
            .map(|seat| go(&pipe, seat, |pipe, me| assert_eq!(pipe.wait(me, Wants::Room), "sent")));
        let me = &mut a.sit();
        let got = pipe.wait(me, Wants::Value) + &pipe.wait(me, Wants::Value);
        senders.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(Pipe::end(pipe), 0);
        got
    });
}

#[test]
fn two_senders_and_one_place() {
    two_senders("channel.two_senders", 1, 9_300);
}

#[test]
fn two_senders_and_no_place() {
    two_senders("channel.two_senders_zero", 0, 8_500);
}

/// Two senders queue one after the other; their values come in that order, behind what is stored; also if one of them
/// is `asked` for something that it leaves its place for. Bound 2; asked 1.
fn queue(
    name: &'static str,
    room: usize,
    asked: Option<usize>,
    at_least: usize,
    must: &'static [&'static str],
) {
    check(name, Some(if asked.is_some() { 1 } else { 2 }), at_least, must, move || {
        let vm = barging();
        let ([a, b, c], [_, handles @ ..]) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(room, room));
        let senders = [b, c].map(|seat| {
            let n = pipe.tx.waiting_senders();
            let t = go(&pipe, seat, |pipe, me| assert_eq!(pipe.wait(me, Wants::Room), "sent"));
            while pipe.tx.waiting_senders() == n {
                thread::yield_now();
            }
            t
        });
        if let Some(n) = asked {
            // It leaves its place to answer, and comes back to it; meanwhile the other one is the first.
            let answered = Arc::new(AtomicU32::new(0));
            let flag = answered.clone();
            handles[n].ask_owner(move || flag.store(1, Relaxed)).unwrap();
            while answered.load(Relaxed) == 0 || pipe.tx.waiting_senders() < 2 {
                thread::yield_now();
            }
        }
        let me = &mut a.sit();
        let got: String = (0..room + 2).map(|_| pipe.wait(me, Wants::Value)).collect();
        senders.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(Pipe::end(pipe), 0);
        got
    });
}

#[test]
fn senders_queue() {
    queue("channel.queue", 1, None, 7_100, &["012"]);
}

#[test]
fn senders_queue_without_storage() {
    queue("channel.queue_zero", 0, None, 3_700, &["01"]);
}

#[test]
fn the_first_sender_keeps_its_place() {
    queue("channel.queue_serve_first", 0, Some(0), 2_800, &["01"]);
}

#[test]
fn the_second_sender_keeps_its_place() {
    queue("channel.queue_serve", 0, Some(1), 2_900, &["01"]);
}

/// The last sender goes, with or without a value: the receiver gets that, then it is told. Bound 3.
fn last_sender(name: &'static str, room: usize, at_least: usize) {
    check(name, Some(3), at_least, &["0closed"], move || {
        let vm = barging();
        let ([a, b], _) = seats(&vm);
        let (tx, rx) = match room {
            UNBOUNDED => channel::unbounded(),
            n => channel::bounded(n),
        };
        let tokens = Arc::new(Tokens::new());
        let t = thread::spawn({
            let tokens = tokens.clone();
            move || tx.send(&mut b.sit(), tokens.make(0)).is_ok()
        });
        let me = &mut a.sit();
        let got = received(rx.recv(me)) + &received(rx.recv(me));
        assert!(t.join().unwrap() && rx.is_closed());
        drop(rx);
        Arc::into_inner(tokens).unwrap().end(1);
        got
    });
}

#[test]
fn the_last_sender_goes() {
    last_sender("channel.last_sender", 1, 2_700);
}

#[test]
fn the_last_sender_of_a_list_goes() {
    last_sender("channel.last_sender_list", UNBOUNDED, 2_600);
}

#[test]
fn the_last_sender_goes_without_storage() {
    last_sender("channel.last_sender_zero", 0, 3_100);
}

/// Two senders, of which main drops its own at once: the other one is the last, whichever is dropped first. Bound 3.
#[test]
fn one_of_two_senders_is_the_last() {
    check("channel.last_of_two_senders", Some(3), 2_900, &["0closed"], || {
        let vm = barging();
        let ([a, b], _) = seats(&vm);
        let (tx, rx) = channel::bounded(1);
        let tokens = Arc::new(Tokens::new());
        let other = tx.clone();
        assert_eq!(tx.senders(), 2);
        let t = thread::spawn({
            let tokens = tokens.clone();
            move || assert!(other.send(&mut b.sit(), tokens.make(0)).is_ok())
        });
        drop(tx);
        let me = &mut a.sit();
        let got = received(rx.recv(me)) + &received(rx.recv(me));
        t.join().unwrap();
        drop(rx);
        Arc::into_inner(tokens).unwrap().end(1);
        got
    });
}

/// The last receiver goes while a sender sends and waits for room: each value is thrown away with the channel or the
/// sender's again; the sender does not sleep on. Bound 3.
fn last_receiver(name: &'static str, room: usize, at_least: usize, must: &'static [&'static str]) {
    check(name, Some(3), at_least, must, move || {
        let vm = barging();
        let ([_, b], _) = seats(&vm);
        let (tx, rx) = channel::bounded(room);
        let tokens = Arc::new(Tokens::new());
        let t = thread::spawn({
            let tokens = tokens.clone();
            move || {
                let me = &mut b.sit();
                let sent = [0, 1].map(|n| match tx.send(me, tokens.make(n)) {
                    Ok(()) => "+",
                    Err(SendError::Closed(back)) if back.n == n => "c",
                    Err(e) => panic!("{e}"),
                });
                (sent.concat(), tx)
            }
        });
        drop(rx);
        let (sent, tx) = t.join().unwrap();
        assert!(tx.is_empty(), "nobody can receive what is left");
        drop(tx);
        Arc::into_inner(tokens).unwrap().end(2);
        sent
    });
}

#[test]
fn the_last_receiver_goes() {
    last_receiver("channel.last_receiver", 1, 110, &["+c", "cc"]);
}

#[test]
fn the_last_receiver_goes_without_storage() {
    last_receiver("channel.last_receiver_zero", 0, 100, &["cc"]);
}

/// Two receivers, one of which gives up, and one value: who gave up does not keep it from the other. Bound 2.
#[test]
fn a_value_passes_who_gave_up() {
    check("channel.give_passes_on", Some(2), 1_200, &["0 closed", "late 0"], || {
        let vm = barging();
        let ([a, b, c], _) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(1, 0));
        let t = go(&pipe, b, |pipe, me| pipe.log.put(&pipe.wait(me, Wants::ValueUntil)));
        let other = take(&pipe, c);
        assert_eq!(pipe.wait(&mut a.sit(), Wants::Room), "sent");
        t.join().unwrap();
        let first = pipe.log.get();
        if first == "0" {
            pipe.tx.close();
        }
        let got = format!("{first} {}", other.join().unwrap());
        Pipe::end(pipe);
        got
    });
}

/// The same of two senders without storage: the receiver gets a value. Bound 2.
#[test]
fn a_receiver_passes_who_gave_up() {
    check("channel.take_passes_on", Some(2), 3_700, &["late", "sent"], || {
        let vm = barging();
        let ([a, b, c], _) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(0, 0));
        let t = go(&pipe, b, |pipe, me| pipe.log.put(&pipe.wait(me, Wants::RoomUntil)));
        let u = go(&pipe, c, |pipe, me| assert_eq!(pipe.wait(me, Wants::Room), "sent"));
        let me = &mut a.sit();
        pipe.wait(me, Wants::Value);
        t.join().unwrap();
        if pipe.log.get() == "sent" {
            pipe.wait(me, Wants::Value);
        }
        u.join().unwrap();
        let how = pipe.log.get();
        assert_eq!(Pipe::end(pipe), 0);
        how
    });
}

/// A receiver takes many while a sender sends, and waits for room: what is there comes in order, what a waiting sender has
/// moves up. Bound 3.
fn many(name: &'static str, room: usize, at_least: usize, must: &'static [&'static str]) {
    check(name, Some(3), at_least, must, move || {
        let vm = barging();
        let ([a, b], _) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(room, 0));
        let t = go(&pipe, b, |pipe, me| {
            for _ in 0..2 {
                assert_eq!(pipe.wait(me, Wants::Room), "sent");
            }
        });
        let me = &mut a.sit();
        let (mut all, mut got) = (vec![], String::new());
        while all.len() < 2 {
            got += &pipe.rx.recv_many(me, &mut all, 2).unwrap().to_string();
        }
        t.join().unwrap();
        assert!(all.iter().map(Token::read).eq(0..2), "in their order");
        drop(all);
        assert_eq!(Pipe::end(pipe), 0);
        got
    });
}

#[test]
fn many_at_once() {
    many("channel.many", 1, 19_500, &["11", "2"]);
}

#[test]
fn many_at_once_without_storage() {
    many("channel.many_zero", 0, 9_500, &["11", "2"]);
}

/// Two close: one of them did it; who waits, senders and all, is told. Bound 2.
#[test]
fn two_close() {
    check("channel.two_close", Some(2), 70, &["closed"], || {
        let vm = barging();
        let ([_, b, _], _) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(0, 0));
        let waiter = go(&pipe, b, |pipe, me| pipe.log.put(&pipe.wait(me, Wants::Room)));
        let other = thread::spawn({
            let pipe = pipe.clone();
            move || pipe.tx.close()
        });
        let mine = pipe.rx.close();
        assert_ne!(mine, other.join().unwrap(), "one of them closed it");
        waiter.join().unwrap();
        let how = pipe.log.get();
        Pipe::end(pipe);
        how
    });
}

// ---- histories ----

/// An operation and what it came to.
#[derive(Clone, Debug)]
enum Did {
    Send(usize),
    /// True: closed; else it was full.
    NotSent(bool),
    Got(usize),
    /// The same, of empty.
    NotGot(bool),
    Len(usize),
    Close(bool),
}

/// The values, and whether it is closed. Room for one.
type State = (VecDeque<usize>, bool);

fn fifo((values, over): &mut State, did: &Did) -> bool {
    match *did {
        Did::Send(_) if *over || values.len() == 1 => return false,
        Did::Send(n) => values.push_back(n),
        Did::NotSent(closed) => return if closed { *over } else { !*over && values.len() == 1 },
        Did::Got(n) => return values.pop_front() == Some(n),
        Did::NotGot(closed) => return values.is_empty() && closed == *over,
        Did::Len(n) => return values.len() == n,
        Did::Close(first) => return first != std::mem::replace(over, true),
    }
    true
}

fn text(did: &Did) -> String {
    match *did {
        Did::Send(_) => "+".into(),
        Did::NotSent(closed) => if closed { "c" } else { "f" }.into(),
        Did::Got(n) => n.to_string(),
        Did::NotGot(closed) => if closed { "C" } else { "-" }.into(),
        Did::Len(n) => format!("={n}"),
        Did::Close(first) => if first { "!" } else { "i" }.into(),
    }
}

fn try_send(p: &Pipe, n: usize) -> Did {
    match p.tx.try_send(p.make_nth(n)) {
        Ok(()) => Did::Send(n),
        Err(TrySendError::Full(_)) => Did::NotSent(false),
        Err(TrySendError::Closed(_)) => Did::NotSent(true),
        Err(e) => panic!("{e}"),
    }
}
fn send_until(p: &Pipe, me: &mut Participant, n: usize) -> Did {
    match p.tx.send_until(me, p.make_nth(n), soon()) {
        Ok(()) => Did::Send(n),
        Err(SendError::TimedOut(_)) => Did::NotSent(false),
        Err(SendError::Closed(_)) => Did::NotSent(true),
        Err(e) => panic!("{e}"),
    }
}
fn got(text: &str) -> Did {
    match text {
        "-" | "late" => Did::NotGot(false),
        "c" | "closed" => Did::NotGot(true),
        n => Did::Got(n.parse().unwrap()),
    }
}

type Program = fn(&Pipe, &mut Participant) -> Vec<Did>;

/// The programs at the same time, the first on the main thread; then what is left is taken out.
fn run<const N: usize>(programs: [Program; N], step: fn(&mut State, &Did) -> bool) -> String {
    let vm: Runtime = barging();
    let (seats, _) = seats::<N>(&vm);
    let pipe = Arc::new(Pipe::with_room(1, 0));
    let mut history: Vec<Done<(u32, Did)>> = vec![];
    let mut add = |thread, phase, all: Vec<Did>| {
        history.extend(all.into_iter().map(|did| Done { thread, op: (phase, did) }));
    };
    let (mut first, mut others) = (None, vec![]);
    for (seat, program) in seats.into_iter().zip(programs) {
        if first.is_none() {
            first = Some((seat, program));
            continue;
        }
        let pipe = pipe.clone();
        others.push(thread::spawn(move || program(&pipe, &mut seat.sit())));
    }
    let (seat, program) = first.expect("there is a program");
    let me = &mut seat.sit();
    add(0, 0, program(&pipe, me));
    for (i, other) in others.into_iter().enumerate() {
        add(i + 1, 0, other.join().unwrap());
    }
    add(0, 1, vec![got(&pipe.try_recv()), got(&pipe.try_recv())]);
    assert_eq!(Pipe::end(pipe), 0);
    let before = |i: usize, j: usize| history[i].op.0 < history[j].op.0;
    let state = (VecDeque::new(), false);
    if !linearizable(&history, state, before, |s, op| step(s, &op.1)) {
        return "not linearizable".into();
    }
    history.iter().map(|d| text(&d.op.1)).collect()
}

/// Sends and receives, some of which give up: "full" and "empty" are true at some moment of the call, with waiters and
/// without. Bound 2.
#[test]
fn sends_and_receives() {
    check(
        "channel.linear",
        Some(2),
        390,
        &[
            "++=001+2-",
            "++=10-f1-",
            "++=101+2-",
            "+f=00-+2-",
            "+f=1--f0-",
            "+f=1-0+2-",
            "+f=10-+2-",
            "ff=1--+2-",
        ],
        || {
            let programs: [Program; 2] = [
                |p, me| vec![try_send(p, 0), send_until(p, me, 1), Did::Len(p.tx.len())],
                |p, me| {
                    vec![got(&p.wait(me, Wants::ValueUntil)), got(&p.try_recv()), try_send(p, 2)]
                },
            ];
            run(programs, fifo)
        },
    );
}

/// The same with a close: what is in comes out, nothing more goes in. Bound 2.
#[test]
fn sends_and_a_close() {
    check(
        "channel.linear_close",
        Some(2),
        960,
        &["++!c01C", "+c!c-0C", "+c!c0CC", "+f!c-0C", "+f!c0CC", "cc!c-CC", "cc!cCCC"],
        || {
            let programs: [Program; 3] = [
                |p, me| vec![try_send(p, 0), send_until(p, me, 1)],
                |p, _| vec![Did::Close(p.rx.close()), try_send(p, 2)],
                |p, me| vec![got(&p.wait(me, Wants::ValueUntil))],
            ];
            run(programs, fifo)
        },
    );
}
