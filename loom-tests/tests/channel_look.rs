//! Models of a thread that looks for a while before it queues at a channel: it finds what it looks for, between the looks
//! and the queue, or something overtakes it. In all other models threads queue at once.
//!
//! One thread sends or receives, main does the other things. Every value is delivered, given back or left, and dropped once.
//! Bound 3 for two threads, 2 for three.
#![cfg(selvedge_loom)]

use loom_tests::check;
use loom_tests::scene::{Log, Pipe, UNBOUNDED, Wants, go, looking, seats};
use selvedge::model::internals::waits_not;
use selvedge::{Participant, Thread, safe_point};
use std::sync::Arc;

/// What the other thread does; how it ended goes into the log.
fn wait(pipe: &Pipe, me: &mut Participant, wants: Wants) {
    let how = pipe.wait(me, wants);
    safe_point(me);
    let signal = me.take_signal().is_some();
    assert!(signal || how != "signal", "interrupted by nothing");
    assert!(waits_not(me), "a wait is left");
    pipe.log.put(&how);
}

/// What main does, and what it says of it.
struct Deeds<'a> {
    pipe: &'a Pipe,
    target: &'a Thread,
    me: &'a mut Participant,
    said: String,
}

impl Deeds<'_> {
    fn give(&mut self) {
        self.said += &self.pipe.wait(self.me, Wants::Room);
    }
    fn take(&mut self) {
        self.said += &self.pipe.wait(self.me, Wants::Value);
    }
    fn close(&mut self) {
        assert!(self.pipe.tx.close(), "nobody else closes");
    }
    fn signal(&mut self) {
        let _ = self.target.signal(self.me, ());
    }
    fn ask(&mut self) {
        let _ = self.target.ask_owner(|| ());
    }
}

/// The outcome: how the other thread's operation ended, what came of main's, how many values are left.
fn meet(
    name: &'static str,
    (room, full): (usize, usize),
    wants: Wants,
    at_least: usize,
    must: &'static [&'static str],
    deeds: fn(&mut Deeds<'_>),
) {
    check(name, Some(3), at_least, must, move || {
        let vm = looking();
        let ([a, b], [_, target]) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(room, full));
        let mut me = a.sit();
        let t = go(&pipe, b, move |pipe, me| wait(pipe, me, wants));
        let mut d = Deeds { pipe: &pipe, target: &target, me: &mut me, said: String::new() };
        deeds(&mut d);
        let said = d.said;
        t.join().unwrap();
        let how = pipe.log.get();
        let left = Pipe::end(pipe);
        format!("{how} {said} {left}")
    });
}

// ---- it finds a value ----

/// Kills a look that loses what it finds; E1 of the array, as the look sees it.
#[test]
fn a_receiver_looks() {
    meet("channel_look.value", (2, 0), Wants::Value, 15, &["0 sent 0"], |d| d.give());
}

#[test]
fn a_receiver_looks_at_one_place() {
    meet("channel_look.value_brief", (1, 0), Wants::Value, 40, &["0 sent 0"], |d| d.give());
}

#[test]
fn a_receiver_looks_at_a_list() {
    meet("channel_look.value_list", (UNBOUNDED, 0), Wants::Value, 48, &["0 sent 0"], |d| d.give());
}

/// Nothing to look at but the own wait.
#[test]
fn a_receiver_looks_without_storage() {
    meet("channel_look.value_zero", (0, 0), Wants::Value, 135, &["0 sent 0"], |d| d.give());
}

// ---- it finds room ----

/// Kills a look that keeps a value that did not go in; E2 of the array, as the look sees it.
#[test]
fn a_sender_looks() {
    meet("channel_look.room", (2, 2), Wants::Room, 15, &["sent 0 2"], |d| d.take());
}

#[test]
fn a_sender_looks_at_one_place() {
    meet("channel_look.room_brief", (1, 1), Wants::Room, 40, &["sent 0 1"], |d| d.take());
}

#[test]
fn a_sender_looks_without_storage() {
    meet("channel_look.room_zero", (0, 0), Wants::Room, 161, &["sent 0 0"], |d| d.take());
}

// ---- it is overtaken ----

/// Room that another thread was quicker to fill: the sender goes on looking, or queues.
#[test]
fn somebody_is_quicker_than_a_sender() {
    let must = &["sent 0+1 1", "sent 0+2 1", "sent 0f1 0", "sent 0f2 0"];
    meet("channel_look.room_lost", (1, 1), Wants::Room, 532, must, |d| {
        d.take();
        d.said += if d.pipe.try_send().is_ok() { "+" } else { "f" };
        d.take();
    });
}

/// A value that another thread was quicker to take.
#[test]
fn somebody_is_quicker_than_a_receiver() {
    let must = &["0 sentsent1 0", "1 sentsent0 0"];
    meet("channel_look.value_lost", (2, 0), Wants::Value, 299, must, |d| {
        d.give();
        d.give();
        d.take();
    });
}

#[test]
fn a_close_overtakes_a_receiver() {
    meet("channel_look.value_vs_close", (2, 0), Wants::Value, 6, &["closed  0"], |d| d.close());
}

#[test]
fn a_value_and_a_close_overtake_a_receiver() {
    meet("channel_look.value_then_close", (UNBOUNDED, 0), Wants::Value, 123, &["0 sent 0"], |d| {
        d.give();
        d.close();
    });
}

#[test]
fn a_close_overtakes_a_sender() {
    meet("channel_look.room_vs_close", (1, 1), Wants::Room, 34, &["closed  1"], |d| d.close());
}

/// Room, and then a close: the value went in before, or came back.
#[test]
fn room_and_a_close_overtake_a_sender() {
    let must = &["closed 0 0", "sent 0 1"];
    meet("channel_look.room_then_close", (1, 1), Wants::Room, 119, must, |d| {
        d.take();
        d.close();
    });
}

/// The value is the receiver's, or in the channel.
#[test]
fn a_signal_overtakes_a_receiver() {
    let must = &["0 sent 0", "signal sent 1"];
    meet("channel_look.value_vs_signal", (2, 0), Wants::Value, 1221, must, |d| {
        d.signal();
        d.give();
    });
}

/// The value is in the channel, or the sender's.
#[test]
fn a_signal_overtakes_a_sender() {
    let must = &["sent 0 1", "signal 0 0"];
    meet("channel_look.room_vs_signal", (1, 1), Wants::Room, 3598, must, |d| {
        d.signal();
        d.take();
    });
}

/// Who is asked for something answers, and comes back.
#[test]
fn a_request_overtakes_a_receiver() {
    meet("channel_look.value_vs_serve", (2, 0), Wants::Value, 182, &["0 sent 0"], |d| {
        d.ask();
        d.give();
    });
}

/// Two look for one value, and then the channel is closed: one has it, the other is told.
#[test]
fn two_receivers_look() {
    check("channel_look.two_receivers", Some(2), 2132, &["0 closed", "closed 0"], || {
        let vm = looking();
        let ([a, b, c], _) = seats(&vm);
        let pipe = Arc::new(Pipe::with_room(2, 0));
        let logs = [Log::new(), Log::new()].map(Arc::new);
        let threads = [(b, logs[0].clone()), (c, logs[1].clone())].map(|(seat, log)| {
            go(&pipe, seat, move |pipe, me| log.put(&pipe.wait(me, Wants::Value)))
        });
        assert_eq!(pipe.wait(&mut a.sit(), Wants::Room), "sent");
        assert!(pipe.tx.close());
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(Pipe::end(pipe), 0);
        logs.map(|log| log.get()).join(" ")
    });
}
