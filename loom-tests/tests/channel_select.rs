//! Models of `Select`: a thread that waits at two channels for whichever comes first. Invariants are those of its headers.
//!
//! Every arm that was not chosen has done nothing; every value is delivered, given back or left, and dropped once.
#![cfg(selvedge_loom)]

use loom_tests::check;
use loom_tests::choice::{
    Deeds, Program, Two, Way::*, against, in_turn, reserve, together, try_reserve, use_up,
};
use loom_tests::scene::{UNBOUNDED, Wants, barging, go, heavy, seats};
use selvedge::channel::Select;
use selvedge::model::{AtomicU32, Ordering::Relaxed, thread};
use std::sync::Arc;

/// The programs at the same time. What they said, and how many values are left in each channel.
fn run<const N: usize>(
    name: &'static str,
    bound: Option<usize>,
    at_least: usize,
    must: &'static [&'static str],
    two: fn() -> Two,
    programs: [Program<Two>; N],
) {
    check(name, bound, at_least, must, move || {
        let (vm, two) = (barging(), Arc::new(two()));
        let said = together(&vm, &two, programs);
        format!("{said} {}", Two::end(two))
    });
}

// ---- a select and those that it waits for ----

/// A sender at each channel: the select gets one value, the next one the other. Bound 1; 2 in the long list.
#[test]
fn two_receives_meet_two_senders() {
    run(
        "channel_select.two_senders",
        heavy(),
        2_200,
        &["a0b0 sent sent 00", "b0a0 sent sent 00"],
        || Two::new((1, 0), (0, 0)),
        [
            |two, me| two.choose(me, &[TakeA, TakeB]) + &two.choose(me, &[TakeA, TakeB]),
            |two, me| two.a.wait(me, Wants::Room),
            |two, me| two.b.wait(me, Wants::Room),
        ],
    );
}

/// A channel without a bound. Bound 3.
#[test]
fn two_receives_meet_a_sender_of_a_list() {
    run(
        "channel_select.list",
        Some(3),
        220,
        &["a0 + 00"],
        || Two::new((UNBOUNDED, 0), (0, 0)),
        [
            |two, me| two.choose(me, &[TakeB, TakeA]),
            |two, _| two.a.try_send().map_or("f", |()| "+").into(),
        ],
    );
}

/// Both at one of them. Bound 1; 2 in the long list.
#[test]
fn two_receives_meet_two_senders_of_one_channel() {
    run(
        "channel_select.both_to_one",
        heavy(),
        1,
        &["a0a1 sent sent 00", "a1a0 sent sent 00"],
        Two::rendezvous,
        [
            |two, me| two.choose(me, &[TakeB, TakeA]) + &two.choose(me, &[TakeB, TakeA]),
            |two, me| two.a.wait(me, Wants::Room),
            |two, me| two.a.wait(me, Wants::Room),
        ],
    );
}

/// There is a value at every moment, first in one channel, then in the other: a select that does not wait finds it, although
/// the arms that it tries one by one are empty when it comes to them. Bound 3.
#[test]
fn none_is_said_of_all_arms_at_one_moment() {
    run(
        "channel_select.now",
        Some(3),
        20,
        &["a0 b+a- 01", "b0 b+a0 00"],
        || Two::new((1, 1), (1, 0)),
        [
            |two, me| two.choose_now(me, &[TakeB, TakeA]),
            |two, _| {
                let put = two.b.try_send().map_or("f", |()| "+");
                format!("b{put}a{}", two.a.try_recv())
            },
        ],
    );
}

/// One of its channels is closed, the other gets a value: either is chosen. Bound 2.
#[test]
fn a_select_meets_a_close() {
    run(
        "channel_select.vs_close",
        Some(2),
        3_700,
        &["ac + true 01", "b0 + true 00"],
        || Two::new((0, 0), (1, 0)),
        [
            |two, me| two.choose(me, &[TakeA, TakeB]),
            |two, _| two.b.try_send().map_or("f", |()| "+").into(),
            |two, _| two.a.tx.close().to_string(),
        ],
    );
}

/// The same of a select that would send: the value is its own again.
#[test]
fn a_select_that_sends_meets_a_close() {
    run(
        "channel_select.send_vs_close",
        Some(3),
        230,
        &["ac true 00"],
        Two::rendezvous,
        [|two, me| two.choose(me, &[PutB, PutA]), |two, _| two.a.tx.close().to_string()],
    );
}

/// The arm that loses keeps its value, and stands in no line. Bound 3.
#[test]
fn a_send_that_was_not_chosen() {
    run(
        "channel_select.loser",
        Some(3),
        1_600,
        &["b0 +- true 00", "bc f- true 00", "a+ f0 true 00"],
        Two::rendezvous,
        [
            |two, me| two.choose(me, &[PutA, TakeB]),
            |two, _| {
                let given = two.b.try_send().map_or("f", |()| "+");
                format!("{given}{} {}", two.a.try_recv(), two.b.tx.close())
            },
        ],
    );
}

// ---- select against select ----

/// Two selects on the same two channels, the arms in opposite order: one value passes, over one of them. Bound 3.
#[test]
fn selects_meet() {
    run(
        "channel_select.meet",
        Some(3),
        1_000,
        &["a+ a0 00", "b+ b0 00"],
        Two::rendezvous,
        [|two, me| two.choose(me, &[PutA, PutB]), |two, me| two.choose(me, &[TakeB, TakeA])],
    );
}

/// Each would send over one and receive over the other. Bound 3.
#[test]
fn selects_cross() {
    run(
        "channel_select.cross",
        Some(3),
        1_100,
        &["a+ a0 00", "b0 b+ 00"],
        Two::rendezvous,
        [|two, me| two.choose(me, &[PutA, TakeB]), |two, me| two.choose(me, &[PutB, TakeA])],
    );
}

/// The same with room for one value, which is taken: one of them receives, the other one sends. Bound 3.
#[test]
fn selects_cross_full() {
    run(
        "channel_select.cross_full",
        Some(3),
        650,
        &["a0 a+ 11"],
        || Two::new((1, 1), (1, 1)),
        [|two, me| two.choose(me, &[PutB, TakeA]), |two, me| two.choose(me, &[PutA, PutB])],
    );
}

/// Two selects that receive, in opposite order, and a value for each. Bound 2.
#[test]
fn selects_share() {
    run(
        "channel_select.share",
        Some(2),
        3_000,
        &["++ a0 b0 00", "++ b0 a0 00"],
        || Two::new((1, 0), (1, 0)),
        [
            |two, me| {
                two.a.wait(me, Wants::Room).replace("sent", "+")
                    + &two.b.wait(me, Wants::Room).replace("sent", "+")
            },
            |two, me| two.choose(me, &[TakeA, TakeB]),
            |two, me| two.choose(me, &[TakeB, TakeA]),
        ],
    );
}

/// A send and a receive of one select on one channel do not meet. Bound 3.
#[test]
fn a_select_does_not_meet_itself() {
    run(
        "channel_select.alone",
        Some(3),
        500,
        &["ac true 00"],
        Two::rendezvous,
        [|two, me| two.choose(me, &[TakeA, PutA]), |two, _| two.a.tx.close().to_string()],
    );
}

/// Nor do a reservation and a receive. Bound 3.
#[test]
fn a_reservation_does_not_meet_its_own_receive() {
    run(
        "channel_select.alone_reserve",
        Some(3),
        500,
        &["ac true 00"],
        Two::rendezvous,
        [|two, me| two.choose(me, &[HoldA, TakeA]), |two, _| two.a.tx.close().to_string()],
    );
}

/// Nor when somebody gives back the place that the receive had made for him. Bound 3.
#[test]
fn a_place_that_is_given_back_is_none_for_its_maker() {
    run(
        "channel_select.alone_release",
        Some(3),
        1_100,
        &["ac !true 00", "ac ftrue 00"],
        Two::rendezvous,
        [
            |two, me| two.choose(me, &[HoldA, TakeA]),
            |two, _| {
                let place = try_reserve(&two.a).map_or_else(|why| why, |_| "!".into());
                place + &two.a.tx.close().to_string()
            },
        ],
    );
}

/// Two such selects do. Bound 3.
#[test]
fn two_of_them_meet() {
    run(
        "channel_select.twins",
        Some(3),
        1_500,
        &["a+ a0 00", "a+ a1 00", "a0 a+ 00", "a1 a+ 00"],
        Two::rendezvous,
        [|two, me| two.choose(me, &[TakeA, PutA]), |two, me| two.choose(me, &[PutA, TakeA])],
    );
}

/// With reservations. Bound 3.
#[test]
fn two_of_them_meet_by_a_reservation() {
    run(
        "channel_select.twins_reserve",
        Some(3),
        1_500,
        &["a+ a0 00", "a0 a+ 00"],
        Two::rendezvous,
        [|two, me| two.choose(me, &[TakeA, HoldA]), |two, me| two.choose(me, &[HoldA, TakeA])],
    );
}

/// One channel twice: one value is taken, the other one left. Bound 3.
#[test]
fn the_same_receive_twice() {
    run(
        "channel_select.twice",
        Some(3),
        1_000,
        &["a0 ++ 10"],
        || Two::new((2, 0), (0, 0)),
        [
            |two, me| two.choose(me, &[TakeA, TakeA]),
            |two, _| (0..2).map(|_| two.a.try_send().map_or("f", |()| "+")).collect(),
        ],
    );
}

/// The same of sends: one value passes, the other one stays. Bound 3.
#[test]
fn the_same_send_twice() {
    run(
        "channel_select.send_twice",
        Some(3),
        1_000,
        &["a+ 0- 00", "a+ 1- 00"],
        Two::rendezvous,
        [
            |two, me| two.choose(me, &[PutA, PutA]),
            |two, me| two.a.wait(me, Wants::Value) + &two.a.try_recv(),
        ],
    );
}

/// The first of what can be done, while another thread takes it away. Bound 3.
#[test]
fn the_first_arm_comes_first() {
    run(
        "channel_select.biased",
        Some(3),
        3,
        &["a0 - 01", "b0 0 00"],
        || Two::new((1, 1), (1, 1)),
        [|two, me| two.choose_biased(me, &[TakeA, TakeB]), |two, _| two.a.try_recv()],
    );
}

// ---- reservations ----

/// A reservation and a receive: either is chosen; the place that was not taken is free. Bound 3.
#[test]
fn a_select_reserves() {
    run(
        "channel_select.reserve",
        Some(3),
        3_200,
        &["a+ f0f true 10", "b0 +0+ true 10", "bc f0+ true 10"],
        || Two::new((1, 1), (0, 0)),
        [
            |two, me| two.choose(me, &[HoldA, TakeB]),
            |two, _| {
                let given = two.b.try_send().map_or("f", |()| "+");
                let taken = two.a.try_recv();
                let sent = two.a.try_send().map_or("f", |()| "+");
                format!("{given}{taken}{sent} {}", two.b.tx.close())
            },
        ],
    );
}

/// A receive of a select makes a place for who waits for one. Bound 3.
#[test]
fn a_select_that_receives_promises() {
    run(
        "channel_select.promises",
        Some(3),
        2_500,
        &["a0 !+ 00"],
        Two::rendezvous,
        [|two, me| two.choose(me, &[TakeA, TakeB]), |two, me| use_up(&two.a, reserve(&two.a, me))],
    );
}

/// A place that is given back goes to a select that would send. Bound 3.
#[test]
fn a_place_goes_to_a_select() {
    run(
        "channel_select.vs_release",
        Some(3),
        86,
        &["a+ ! 10", "a+ f 10"],
        || Two::new((1, 0), (0, 0)),
        [
            |two, me| two.choose(me, &[TakeB, PutA]),
            |two, _| try_reserve(&two.a).map_or_else(|why| why, |_| "!".into()),
        ],
    );
}

/// A value that waits by itself, since its receiver has gone, is a select's. Bound 3.
#[test]
fn a_select_meets_a_value_that_nobody_has() {
    run(
        "channel_select.ownerless",
        Some(3),
        8_200,
        &["0 ac !+true 00", "closed ac ftrue 00", "late a0 !+true 00", "late ac ftrue 00"],
        Two::rendezvous,
        [
            |two, me| two.a.wait(me, Wants::ValueUntil) + " " + &two.choose(me, &[TakeB, TakeA]),
            |two, _| use_up(&two.a, try_reserve(&two.a)) + &two.a.tx.close().to_string(),
        ],
    );
}

// ---- what else would end the wait ----

fn meet(
    name: &'static str,
    at_least: usize,
    must: &'static [&'static str],
    two: fn() -> Two,
    waits: Program<Two>,
    deeds: Deeds<Two>,
) {
    check(name, Some(3), at_least, must, move || {
        let two = Arc::new(two());
        let said = against(&two, waits, deeds);
        format!("{said} {}", Two::end(two))
    });
}

/// Room in the first one, none in the other.
fn roomy() -> Two {
    Two::new((1, 0), (0, 0))
}

/// A deadline: one arm, or none, and then nothing was done. Bound 3.
#[test]
fn a_select_meets_a_deadline() {
    meet(
        "channel_select.vs_timeout",
        290,
        &["a0 +-  00", "b+ f0  00", "late f-  00"],
        Two::rendezvous,
        |two, me| two.choose_until(me, &[TakeA, PutB]),
        |d| {
            d.give(|two| &two.a);
            d.take(|two| &two.b);
        },
    );
}

/// A signal. Bound 3.
#[test]
fn a_select_meets_a_signal() {
    meet(
        "channel_select.vs_signal",
        2_100,
        &["a0 +  00", "signal +  10"],
        roomy,
        |two, me| two.choose(me, &[TakeA, PutB]),
        |d| {
            d.signal();
            d.give(|two| &two.a);
        },
    );
}

/// A shutdown. Bound 3.
#[test]
fn a_select_meets_shutdown() {
    meet(
        "channel_select.vs_shutdown",
        2_600,
        &["a0 +  00", "shutdown +  10"],
        roomy,
        |two, me| two.choose(me, &[TakeA, PutB]),
        |d| {
            d.shutdown();
            d.give(|two| &two.a);
        },
    );
}

/// A request that anybody may answer. Bound 3.
#[test]
fn a_select_meets_a_proxy() {
    meet(
        "channel_select.vs_proxy",
        460,
        &["a0 + ? 00"],
        roomy,
        |two, me| two.choose(me, &[TakeA, PutB]),
        |d| {
            d.ask();
            d.give(|two| &two.a);
        },
    );
}

/// A request that ends the wait: the select answers, and waits again. Bound 3.
#[test]
fn a_select_meets_serve() {
    meet(
        "channel_select.vs_serve",
        1_800,
        &["a0 + ! 00"],
        roomy,
        |two, me| two.choose(me, &[TakeA, PutB]),
        |d| {
            d.ask_owner();
            d.give(|two| &two.a);
        },
    );
}

/// The baton: the select waits for its turn with the value in its hand. Bound 2.
#[test]
fn a_select_meets_the_baton() {
    check("channel_select.vs_baton", Some(2), 4_700, &["a0 +-  00"], || {
        let two = Arc::new(Two::rendezvous());
        let said = in_turn(
            &two,
            |two, me| two.choose(me, &[TakeA, PutB]),
            |d| {
                d.give(|two| &two.a);
                d.take(|two| &two.b);
            },
        );
        format!("{said} {}", Two::end(two))
    });
}

// ---- the line ----

/// A select that leaves its line to answer a request keeps its place before another receiver. Bound 1.
#[test]
fn a_select_keeps_its_place() {
    check("channel_select.queue_serve", Some(1), 3_000, &["a0 1 00"], || {
        let vm = barging();
        let ([a, b, c], [_, asked, _]) = seats(&vm);
        let two = Arc::new(Two::rendezvous());
        let waiting = |n| {
            while two.a.rx.waiting_receivers() < n {
                thread::yield_now();
            }
        };
        let first = go(&two, b, |two, me| two.log.put(&two.choose(me, &[TakeB, TakeA])));
        waiting(1);
        let second = go(&two, c, |two, me| two.b.log.put(&two.a.wait(me, Wants::Value)));
        waiting(2);
        let answered = Arc::new(AtomicU32::new(0));
        let flag = answered.clone();
        asked.ask_owner(move || flag.store(1, Relaxed)).unwrap();
        while answered.load(Relaxed) == 0 {
            thread::yield_now();
        }
        waiting(2);
        let me = &mut a.sit();
        (0..2).for_each(|_| assert_eq!(two.a.wait(me, Wants::Room), "sent"));
        [first, second].into_iter().for_each(|t| t.join().unwrap());
        let said = format!("{} {}", two.log.get(), two.b.log.get());
        format!("{said} {}", Two::end(two))
    });
}

/// An arm that has lost, in a select that waits anew, is behind who waits already. Bound 1.
#[test]
fn an_arm_that_is_used_again_comes_last() {
    check("channel_select.queue_anew", Some(1), 1_300, &["1 0 00"], || {
        let vm = barging();
        let ([a, b, c], _) = seats(&vm);
        let two = Arc::new(Two::rendezvous());
        let over = Arc::new(AtomicU32::new(0));
        let flag = over.clone();
        let waiting = |n| {
            while two.a.rx.waiting_receivers() < n {
                thread::yield_now();
            }
        };
        let first = go(&two, b, move |two, me| {
            let (mut a, mut b) = (two.a.rx.arm(), two.b.rx.arm());
            assert_eq!(Select::new().arm(&mut a).arm(&mut b).wait(me), Ok(1));
            drop(b);
            flag.store(1, Relaxed);
            assert_eq!(Select::new().arm(&mut a).wait(me), Ok(0));
            two.log.put(&a.complete().unwrap().read().to_string());
        });
        waiting(1);
        let second = go(&two, c, |two, me| two.b.log.put(&two.a.wait(me, Wants::Value)));
        waiting(2);
        let me = &mut a.sit();
        assert_eq!(two.b.wait(me, Wants::Room), "sent");
        while over.load(Relaxed) == 0 {
            thread::yield_now();
        }
        waiting(2);
        (0..2).for_each(|_| assert_eq!(two.a.wait(me, Wants::Room), "sent"));
        [first, second].into_iter().for_each(|t| t.join().unwrap());
        let said = format!("{} {}", two.log.get(), two.b.log.get());
        format!("{said} {}", Two::end(two))
    });
}
