//! Models of `Permit`: places that are promised before there is a value for them. Invariants are those of `core/permit`.
//!
//! Every value is delivered, given back or left, and dropped once; no place stays promised.
#![cfg(selvedge_loom)]

use loom_tests::check;
use loom_tests::choice::{
    Deeds, Program, against, in_turn, reserve, reserve_until, together, try_reserve, use_up,
};
use loom_tests::history::{Done, linearizable};
use loom_tests::scene::{
    Log, Pipe, Token, Tokens, UNBOUNDED, Wants, barging, go, heavy, seats, soon,
};
use selvedge::channel::{self, Permit, SendError, TrySendError};
use selvedge::model::thread;
use selvedge::{Participant, Runtime};
use std::collections::VecDeque;
use std::sync::Arc;

/// When all is over: the values that are left, in their order. Then every place is free.
fn end(pipe: Arc<Pipe>) -> String {
    let (mut left, there) = (String::new(), pipe.rx.len());
    assert_eq!(pipe.tx.waiting_senders(), 0, "a value is no thread");
    loop {
        match pipe.try_recv().as_str() {
            "-" | "c" => break,
            n => left += n,
        }
    }
    assert_eq!(there, left.len(), "values that nobody has are in the channel");
    if let Some(room) = pipe.tx.capacity().filter(|_| !pipe.tx.is_closed()) {
        let places: Vec<_> =
            std::iter::from_fn(|| pipe.tx.try_reserve().ok()).take(room + 1).collect();
        assert_eq!(places.len(), room, "a place is promised still");
    }
    assert_eq!(Pipe::end(pipe), 0);
    left
}

/// The programs at the same time. What they said, and what is left.
fn run<const N: usize>(
    name: &'static str,
    bound: Option<usize>,
    at_least: usize,
    must: &'static [&'static str],
    room: usize,
    programs: [Program<Pipe>; N],
) {
    check(name, bound, at_least, must, move || {
        let (vm, pipe) = (barging(), Arc::new(Pipe::with_room(room, 0)));
        let said = together(&vm, &pipe, programs);
        format!("{said} {}", end(pipe))
    });
}

fn got(pipe: &Pipe, me: &mut Participant) -> String {
    match pipe.wait(me, Wants::Value).as_str() {
        "0" | "1" => "got".into(),
        why => why.into(),
    }
}
fn hold_and_use(pipe: &Pipe, me: &mut Participant) -> String {
    use_up(pipe, reserve(pipe, me))
}
fn try_and_use(pipe: &Pipe, _: &mut Participant) -> String {
    use_up(pipe, try_reserve(pipe))
}
fn try_and_drop(pipe: &Pipe, _: &mut Participant) -> String {
    try_reserve(pipe).map_or_else(|why| why, |_| "!".into())
}
fn close(pipe: &Pipe, _: &mut Participant) -> String {
    pipe.tx.close().to_string()
}
fn send(pipe: &Pipe, me: &mut Participant) -> String {
    pipe.wait(me, Wants::Room)
}

// ---- publish ----

/// A close: the value is in, or back. Bound 3.
#[test]
fn a_permit_meets_a_close() {
    run(
        "channel_permit.vs_close",
        Some(3),
        13,
        &["!+ true 0", "!c true ", "c true "],
        1,
        [try_and_use, close],
    );
}

/// The same of a rendezvous, whose receiver gets the value or is told. Bound 2.
#[test]
fn a_permit_of_a_rendezvous_meets_a_close() {
    run(
        "channel_permit.vs_close_zero",
        Some(2),
        570,
        &["!+ got true ", "!c closed true ", "c closed true ", "f closed true "],
        0,
        [try_and_use, got, close],
    );
}

/// A receiver gets what is published. Bound 3.
#[test]
fn a_permit_meets_a_receiver() {
    run("channel_permit.meet", Some(3), 300, &["!+ got "], 1, [hold_and_use, got]);
}

/// The same without a bound. Bound 3.
#[test]
fn a_permit_meets_a_receiver_of_a_list() {
    run("channel_permit.meet_list", Some(3), 240, &["!+ got "], UNBOUNDED, [hold_and_use, got]);
}

/// A receiver that waits makes a place. Bound 3.
#[test]
fn a_permit_meets_a_receiver_without_storage() {
    run("channel_permit.meet_zero", Some(3), 3_100, &["!+ got "], 0, [hold_and_use, got]);
}

/// The receiver gives up between reservation and value: the value waits for the next one. Bound 3.
#[test]
fn the_receiver_has_gone() {
    run(
        "channel_permit.late_receiver",
        Some(3),
        130,
        &["!+ 0 ", "!+ late 0", "f late "],
        0,
        [try_and_use, |pipe, me| pipe.wait(me, Wants::ValueUntil)],
    );
}

/// Such a value is another receiver's, also after a close. Bound 2.
#[test]
fn a_value_that_nobody_has() {
    run(
        "channel_permit.ownerless",
        Some(2),
        2_300,
        &[
            "!+true 0 closed ",
            "!+true closed got ",
            "!+true late got ",
            "ftrue closed closed ",
            "ftrue late closed ",
        ],
        0,
        [
            |pipe, me| try_and_use(pipe, me) + &close(pipe, me),
            |pipe, me| pipe.wait(me, Wants::ValueUntil),
            got,
        ],
    );
}

/// The value goes from hand to hand, so the place is free for who waits for it. Bound 2.
#[test]
fn a_place_that_was_not_needed() {
    run(
        "channel_permit.pass_on",
        Some(2),
        4_500,
        &["!+ got !+ 1"],
        1,
        [hold_and_use, got, hold_and_use],
    );
}

/// While its place is promised, a value that is sent finds the channel full. Bound 3.
#[test]
fn a_promised_place_is_taken() {
    run(
        "channel_permit.vs_send",
        Some(3),
        20,
        &["!+ f 0", "!+ f 1", "f + 0"],
        1,
        [try_and_use, |pipe, _| pipe.try_send().map_or("f", |()| "+").into()],
    );
}

// ---- drop ----

/// A sender that waits gets the place of a permit that is dropped. Bound 3.
#[test]
fn a_sender_gets_the_place() {
    run(
        "channel_permit.drop_vs_send",
        Some(3),
        66,
        &["! sent 0", "f sent 0"],
        1,
        [try_and_drop, send],
    );
}

/// The same of who reserves. Bound 3.
#[test]
fn the_next_one_gets_the_place() {
    run(
        "channel_permit.drop_vs_reserve",
        Some(3),
        220,
        &["! !+ 0", "f !+ 0"],
        1,
        [try_and_drop, hold_and_use],
    );
}

/// The same of a rendezvous. Bound 2.
#[test]
fn the_next_one_gets_the_receiver() {
    run(
        "channel_permit.drop_zero",
        Some(2),
        2_700,
        &["! got !+ ", "f got !+ "],
        0,
        [try_and_drop, got, hold_and_use],
    );
}

// ---- reservations in a line ----

/// Two of them, one place: both get it in turn. Bound 1; 2 in the long list.
#[test]
fn two_reservations() {
    run(
        "channel_permit.two",
        heavy(),
        4_300,
        &["gotgot !+ !+ "],
        1,
        [|pipe, me| got(pipe, me) + &got(pipe, me), hold_and_use, hold_and_use],
    );
}

/// The same without storage. Bound 1; 2 in the long list.
#[test]
fn two_reservations_without_storage() {
    run(
        "channel_permit.two_zero",
        heavy(),
        10_000,
        &["gotgot !+ !+ "],
        0,
        [|pipe, me| got(pipe, me) + &got(pipe, me), hold_and_use, hold_and_use],
    );
}

/// All places are promised: a receiver gets the value of a sender that waits, behind who waits for a place. Bound 1.
#[test]
fn a_value_behind_a_place() {
    check("channel_permit.behind", Some(1), 350, &["0 !+ sent 1"], || {
        let vm = barging();
        let ([_, b, c], _) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(1, 0));
        let place = pipe.tx.try_reserve().unwrap();
        let waiting = |n| {
            while pipe.tx.waiting_senders() < n {
                thread::yield_now();
            }
        };
        let said = Arc::new(Log::new());
        let log = said.clone();
        let t = go(&pipe, b, move |pipe, me| log.put(&use_up(pipe, reserve(pipe, me))));
        waiting(1);
        let u = go(&pipe, c, |pipe, me| pipe.log.put(&pipe.wait(me, Wants::Room)));
        waiting(2);
        let first = pipe.try_recv();
        drop(place);
        [t, u].into_iter().for_each(|t| t.join().unwrap());
        let said = format!("{first} {} {}", said.get(), pipe.log.get());
        format!("{said} {}", end(pipe))
    });
}

/// The last receiver goes while a place is promised: the value is thrown away with the channel, or back. Bound 3.
#[test]
fn the_last_receiver_goes() {
    check("channel_permit.last_receiver", Some(3), 37, &["+", "c", "closed"], || {
        let vm = barging();
        let ([_, b], _) = seats(&vm);
        let (tx, rx) = channel::bounded(1);
        let tokens = Arc::new(Tokens::new());
        let t = thread::spawn({
            let tokens = tokens.clone();
            move || {
                let how = match tx.reserve(&mut b.sit()) {
                    Ok(permit) => match permit.publish(tokens.make(0)) {
                        Ok(()) => "+",
                        Err(SendError::Closed(back)) if back.n == 0 => "c",
                        Err(e) => panic!("{e}"),
                    },
                    Err(SendError::Closed(())) => {
                        drop(tokens.make(0));
                        "closed"
                    }
                    Err(e) => panic!("{e}"),
                };
                (how, tx)
            }
        });
        drop(rx);
        let (how, tx) = t.join().unwrap();
        assert!(tx.is_empty(), "nobody can receive what is left");
        drop(tx);
        Arc::into_inner(tokens).unwrap().end(1);
        how.into()
    });
}

// ---- what else would end the wait for a place ----

fn meet(
    name: &'static str,
    at_least: usize,
    must: &'static [&'static str],
    waits: Program<Pipe>,
    deeds: Deeds<Pipe>,
) {
    check(name, Some(3), at_least, must, move || {
        let pipe = Arc::new(Pipe::with_room(1, 1));
        let said = against(&pipe, waits, deeds);
        format!("{said} {}", end(pipe))
    });
}

/// A deadline. Bound 3.
#[test]
fn a_reservation_meets_a_deadline() {
    meet(
        "channel_permit.vs_timeout",
        54,
        &["!+ 0  1", "late 0  "],
        |pipe, me| use_up(pipe, reserve_until(pipe, me)),
        |d| d.take(|pipe| pipe),
    );
}

/// A signal. Bound 3.
#[test]
fn a_reservation_meets_a_signal() {
    meet("channel_permit.vs_signal", 2_100, &["!+ 0  1", "signal 0  "], hold_and_use, |d| {
        d.signal();
        d.take(|pipe| pipe);
    });
}

/// A shutdown. Bound 3.
#[test]
fn a_reservation_meets_shutdown() {
    meet("channel_permit.vs_shutdown", 2_600, &["!+ 0  1", "shutdown 0  "], hold_and_use, |d| {
        d.shutdown();
        d.take(|pipe| pipe);
    });
}

/// A request that anybody may answer. Bound 3.
#[test]
fn a_reservation_meets_a_proxy() {
    meet("channel_permit.vs_proxy", 530, &["!+ 0 ? 1"], hold_and_use, |d| {
        d.ask();
        d.take(|pipe| pipe);
    });
}

/// A request that ends the wait: it goes on. Bound 3.
#[test]
fn a_reservation_meets_serve() {
    meet("channel_permit.vs_serve", 1_800, &["!+ 0 ! 1"], hold_and_use, |d| {
        d.ask_owner();
        d.take(|pipe| pipe);
    });
}

/// A close. Bound 3.
#[test]
fn a_reservation_meets_a_close() {
    meet("channel_permit.reserve_vs_close", 85, &["closed true0  "], hold_and_use, |d| {
        d.said += &d.s.tx.close().to_string();
        d.take(|pipe| pipe);
    });
}

/// The baton. Bound 2.
#[test]
fn a_reservation_meets_the_baton() {
    check("channel_permit.vs_baton", Some(2), 4_200, &["!+ 0f  2"], || {
        let pipe = Arc::new(Pipe::with_room(1, 1));
        let said = in_turn(&pipe, hold_and_use, |d| {
            d.take(|pipe| pipe);
            d.give(|pipe| pipe);
        });
        format!("{said} {}", end(pipe))
    });
}

// ---- histories ----

/// An operation and what it came to.
#[derive(Clone, Debug)]
enum Did {
    Send(usize),
    Full,
    Got(usize),
    Empty,
    Len(usize),
    Reserve(bool),
    Publish(usize),
    Drop,
}

/// The values, and how many places are promised. Room for one.
type State = (VecDeque<usize>, usize);

/// Values and promised places fit in; but a value may go from hand to hand while its place is promised to somebody else:
/// then it is received before anything else happens.
fn places((values, promised): &mut State, did: &Did) -> bool {
    let used = values.len() + *promised;
    if used > 1 && !matches!(did, Did::Got(_)) {
        return false;
    }
    match *did {
        Did::Send(_) if !values.is_empty() => return false,
        Did::Send(n) => values.push_back(n),
        Did::Full => return used == 1,
        Did::Got(n) => return values.pop_front() == Some(n),
        Did::Empty => return values.is_empty(),
        Did::Len(n) => return values.len() == n,
        Did::Reserve(true) if used == 1 => return false,
        Did::Reserve(true) => *promised += 1,
        Did::Reserve(false) => return used == 1,
        Did::Publish(n) => {
            *promised -= 1;
            values.push_back(n);
        }
        Did::Drop => *promised -= 1,
    }
    true
}

fn text(did: &Did) -> String {
    match *did {
        Did::Send(_) => "+".into(),
        Did::Full => "f".into(),
        Did::Got(n) => n.to_string(),
        Did::Empty => "-".into(),
        Did::Len(n) => format!("={n}"),
        Did::Reserve(true) => "!".into(),
        Did::Reserve(false) => "x".into(),
        Did::Publish(_) => "^".into(),
        Did::Drop => "d".into(),
    }
}

fn try_send(p: &Pipe, n: usize) -> Did {
    match p.tx.try_send(p.make_nth(n)) {
        Ok(()) => Did::Send(n),
        Err(TrySendError::Full(_)) => Did::Full,
        Err(e) => panic!("{e}"),
    }
}
fn receive(p: &Pipe, me: Option<&mut Participant>) -> Did {
    let text = match me {
        Some(me) => p.wait(me, Wants::ValueUntil),
        None => p.try_recv(),
    };
    text.parse().map_or(Did::Empty, Did::Got)
}
fn hold<'a>(did: &mut Vec<Did>, permit: Option<Permit<'a, Token>>) -> Option<Permit<'a, Token>> {
    did.push(Did::Reserve(permit.is_some()));
    permit
}

type History = fn(&Pipe, &mut Participant) -> Vec<Did>;

/// The programs at the same time, the first on the main thread; then what is left is taken out.
fn history<const N: usize>(programs: [History; N]) -> String {
    let vm: Runtime = barging();
    let pipe = Arc::new(Pipe::with_room(1, 0));
    let mut seats = seats::<N>(&vm).0.into_iter().zip(programs);
    let (first, program) = seats.next().expect("a program");
    let others: Vec<_> = seats
        .map(|(seat, program)| {
            let pipe = pipe.clone();
            thread::spawn(move || program(&pipe, &mut seat.sit()))
        })
        .collect();
    let mut all = vec![(0, 0, program(&pipe, &mut first.sit()))];
    for (n, other) in others.into_iter().enumerate() {
        all.push((n + 1, 0, other.join().unwrap()));
    }
    all.push((0, 1, vec![receive(&pipe, None), receive(&pipe, None)]));
    end(pipe);
    let done = |(thread, phase, dids): (usize, u32, Vec<Did>)| {
        dids.into_iter().map(move |did| Done { thread, op: (phase, did) })
    };
    let history: Vec<_> = all.into_iter().flat_map(done).collect();
    let before = |i: usize, j: usize| history[i].op.0 < history[j].op.0;
    if !linearizable(&history, (VecDeque::new(), 0), before, |s, op| places(s, &op.1)) {
        return "not linearizable".into();
    }
    history.iter().map(|d| text(&d.op.1)).collect()
}

/// Reserves without waiting, looks how many values there are, publishes value 0.
fn promise_and_keep(p: &Pipe, _: &mut Participant) -> Vec<Did> {
    let (mut did, token) = (vec![], p.make_nth(0));
    if let Some(permit) = hold(&mut did, p.tx.try_reserve().ok()) {
        did.push(Did::Len(p.tx.len()));
        permit.publish(token).unwrap();
        did.push(Did::Publish(0));
    }
    did
}

/// Reserve, publish, and what others find meanwhile: full, empty and how many are true at some moment of the call. Bound 2.
#[test]
fn reservations_and_values() {
    check(
        "channel_permit.linear",
        Some(2),
        100,
        &["!=0^-f=00-", "!=0^-f=10-", "!=0^0+=11-", "x-+=11-"],
        || {
            history([promise_and_keep, |p, me| {
                vec![receive(p, Some(me)), try_send(p, 1), Did::Len(p.tx.len())]
            }])
        },
    );
}

/// A value goes from hand to hand beside a promised place. Bound 2.
#[test]
fn values_pass_a_reservation() {
    check(
        "channel_permit.linear_hand",
        Some(2),
        840,
        &[
            "!=0^-f=00-",
            "!=0^-f=10-",
            "!=0^0+=11-",
            "!=0^0f=0--",
            "!=0^0f=1--",
            "!=0^1+=00-",
            "!=0^1+=10-",
            "x-+=11-",
            "x1+=0--",
            "x1+=1--",
        ],
        || {
            history([
                promise_and_keep,
                |p, me| vec![receive(p, Some(me))],
                |p, _| vec![try_send(p, 1), Did::Len(p.tx.len())],
            ])
        },
    );
}

/// The same with a place that is given back, and a sender that waits for it until a deadline. Bound 2.
#[test]
fn reservations_that_are_dropped() {
    check(
        "channel_permit.linear_drop",
        Some(2),
        160,
        &[
            "!d=0-+x0-",
            "!d=0-f!d--",
            "!d=0-fx--",
            "!d=00+!d--",
            "!d=00+x--",
            "!d=10+!d--",
            "!d=10+x--",
            "x=10+!d--",
            "x=10+x--",
        ],
        || {
            history([
                |p, _| {
                    let mut did = vec![];
                    if let Some(permit) = hold(&mut did, p.tx.try_reserve().ok()) {
                        drop(permit);
                        did.push(Did::Drop);
                    }
                    did.push(Did::Len(p.tx.len()));
                    did.push(receive(p, None));
                    did
                },
                |p, me| {
                    let sent = match p.tx.send_until(me, p.make_nth(0), soon()) {
                        Ok(()) => Did::Send(0),
                        Err(SendError::TimedOut(_)) => Did::Full,
                        Err(e) => panic!("{e}"),
                    };
                    let mut did = vec![sent];
                    if let Some(permit) = hold(&mut did, reserve_until(p, me).ok()) {
                        drop(permit);
                        did.push(Did::Drop);
                    }
                    did
                },
            ])
        },
    );
}
