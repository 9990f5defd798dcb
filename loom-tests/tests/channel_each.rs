//! Models of `channel`: who enumerates values, in a world that is stopped. Invariants are those of `thread/hand`.
//!
//! The world stops as by a collector's handshake: the other thread answers a request, by itself or by its proxy, and the
//! look is in the answer.
#![cfg(selvedge_loom)]

use loom_tests::check;
use loom_tests::scene::{Pipe, UNBOUNDED, Wants, barging, go, seats};
use selvedge::channel::{Hands, Select};
use selvedge::model::thread;
use selvedge::{Participant, Thread};
use std::sync::Arc;

/// Asks the thread; in its answer all values are shown, to `log`.
fn look(pipe: &Arc<Pipe>, t: &Thread) {
    let pipe = pipe.clone();
    t.ask(move || {
        let mut seen: Vec<String> = vec![];
        // SAFETY: the caller waits for the end of this thread, or is in this call; the thread itself is held up.
        let hands = unsafe { Hands::gather() };
        // SAFETY: as above.
        unsafe { pipe.rx.for_each_mut(&hands, |token| seen.push(token.read().to_string())) };
        seen.sort();
        pipe.log.put(&format!("[{}]", seen.concat()));
    })
    .unwrap();
}

/// Until it has answered.
fn answer(pipe: &Pipe, me: &mut Participant) {
    while !pipe.log.get().contains(']') {
        selvedge::safe_point(me);
        thread::yield_now();
    }
}

/// Main gives a thread its value, then looks: it is in the thread's hand, or received, or still in the channel. Kills a hand
/// that forgets a receive. Bound 3.
fn given(name: &'static str, room: usize, at_least: usize, must: &'static [&'static str]) {
    check(name, Some(3), at_least, must, move || {
        let vm = barging();
        let ([_, b], [_, tb]) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(room, 0));
        let t = go(&pipe, b, |pipe, me| {
            let got = pipe.wait(me, Wants::Value);
            pipe.log.put(&format!("got {got}"));
            answer(pipe, me);
        });
        while room == 0 && pipe.rx.waiting_receivers() == 0 {
            thread::yield_now();
        }
        assert!(pipe.try_send().is_ok());
        look(&pipe, &tb);
        t.join().unwrap();
        let got = pipe.log.get();
        Pipe::end(pipe);
        got
    });
}

#[test]
fn a_value_that_was_given_without_storage() {
    given("channel_each.given_zero", 0, 14_000, &["[0]got 0", "got 0[]"]);
}
#[test]
fn a_value_that_was_given_or_stored() {
    given("channel_each.given", 1, 1_300, &["[0]got 0", "got 0[]"]);
}
#[test]
fn a_value_that_was_given_or_is_in_a_list() {
    given("channel_each.given_list", UNBOUNDED, 1_300, &["[0]got 0", "got 0[]"]);
}

/// A thread sends, and waits, and gives up; main takes the value or not, and looks: it is in one place. Kills a hand that
/// forgets a send, or that shows what was taken. Bound 3.
fn sent(name: &'static str, room: usize, at_least: usize, must: &'static [&'static str]) {
    check(name, Some(3), at_least, must, move || {
        let vm = barging();
        let ([_, b], [_, tb]) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(room, room));
        let t = go(&pipe, b, |pipe, me| {
            let end = pipe.wait(me, Wants::RoomUntil);
            pipe.log.put(&end);
            answer(pipe, me);
        });
        let mine = pipe.try_recv();
        look(&pipe, &tb);
        t.join().unwrap();
        let got = format!("{mine} {}", pipe.log.get());
        Pipe::end(pipe);
        got
    });
}

#[test]
fn a_value_of_a_sender_without_storage() {
    let must = &["- [0]late", "- late[]", "0 []sent", "0 sent[]"];
    sent("channel_each.sent_zero", 0, 2_000, must);
}
#[test]
fn a_value_of_a_sender() {
    let must = &["0 [1]late", "0 [1]sent", "0 late[]", "0 sent[1]"];
    sent("channel_each.sent", 1, 850, must);
}

/// The same of a select with two sends to one rendezvous, of which main may take one. Bound 2.
#[test]
fn the_values_of_a_select() {
    let must = &["- 01[]", "- [01]01", "0 +1[]", "0 [1]+1"];
    check("channel_each.select", Some(2), 190, must, || {
        let vm = barging();
        let ([_, b], [_, tb]) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(0, 0));
        let t = go(&pipe, b, |pipe, me| {
            let (mut x, mut y) = (pipe.tx.arm(pipe.make_nth(0)), pipe.tx.arm(pipe.make_nth(1)));
            let select = Select::new().biased().arm(&mut x).arm(&mut y);
            let _ = select.until(loom_tests::scene::soon()).wait(me);
            for end in [x.complete(), y.complete()] {
                pipe.log.put(&end.err().map_or("+".into(), |e| e.into_inner().n.to_string()));
            }
            answer(pipe, me);
        });
        let mine = pipe.try_recv();
        look(&pipe, &tb);
        t.join().unwrap();
        let got = format!("{mine} {}", pipe.log.get());
        Pipe::end(pipe);
        got
    });
}

/// Who visits a list while another thread sends into it sees the first so many values, over the end of a block. Bound 3.
#[test]
fn a_list_is_visited_over_its_blocks() {
    check("channel_each.blocks", Some(3), 5, &["", "0", "01", "012"], || {
        let vm = barging();
        let ([_, b], _) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(UNBOUNDED, 0));
        let t = go(&pipe, b, |pipe, _| {
            (0..3).for_each(|_| assert!(pipe.try_send().is_ok()));
        });
        let mut seen = String::new();
        pipe.rx.visit(|token| seen += &token.read().to_string());
        t.join().unwrap();
        assert_eq!(Pipe::end(pipe), 3);
        seen
    });
}
