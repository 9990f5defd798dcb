//! Models of a wait at a channel and two things that would end it, for the cells of docs/INTERACTIONS.md.
//!
//! One thread waits to send or to receive; main does the two things, while it goes to sleep, sleeps, wakes or is told. Every
//! value is delivered, given back or left, and dropped once. Bound 3; 2 under the baton.
#![cfg(selvedge_loom)]

use loom_tests::check;
use loom_tests::scene::{Log, Pipe, Wants, barging, go, seats};
use selvedge::channel::TrySendError;
use selvedge::model::internals::waits_not;
use selvedge::{Participant, Runtime, Schedule, Thread, safe_point, yield_now};
use std::sync::Arc;

/// What main does.
struct Deeds<'a> {
    vm: &'a Runtime,
    target: &'a Thread,
    pipe: &'a Pipe,
    me: &'a mut Participant,
    answers: Arc<Log>,
    /// What came of it.
    said: String,
}

impl Deeds<'_> {
    /// Sends without waiting.
    fn give(&mut self) {
        self.said += match self.pipe.try_send() {
            Ok(()) => "+",
            Err(TrySendError::Full(_)) => "f",
            Err(TrySendError::Closed(_)) => "c",
            Err(e) => panic!("{e}"),
        };
    }
    /// Receives without waiting.
    fn take(&mut self) {
        self.said += &self.pipe.try_recv();
    }
    fn close(&mut self) {
        assert!(self.pipe.tx.close(), "nobody else closes");
    }
    /// Anybody may answer.
    fn ask(&self) {
        let answers = self.answers.clone();
        let _ = self.target.ask(move || answers.put("?"));
    }
    /// The target alone.
    fn ask_owner(&self) {
        let answers = self.answers.clone();
        let _ = self.target.ask_owner(move || answers.put("!"));
    }
    fn signal(&self) {
        let _ = self.target.signal(self.me, ());
    }
    fn shutdown(&self) {
        self.vm.shutdown(self.me);
    }
}

/// What the other thread does; how it ended goes into the log.
fn wait(pipe: &Pipe, me: &mut Participant, wants: Wants) {
    let how = pipe.wait(me, wants);
    safe_point(me);
    let signal = me.take_signal().is_some();
    assert!(signal || how != "signal", "interrupted by nothing");
    assert!(waits_not(me), "a wait is left");
    pipe.log.put(&how);
}

/// The waiter against main. The outcome: how the wait ended, what main got, how many values are left, who answered.
fn meet(
    name: &'static str,
    pipe: fn() -> Pipe,
    wants: Wants,
    at_least: usize,
    must: &'static [&'static str],
    deeds: fn(&mut Deeds<'_>),
) {
    check(name, Some(3), at_least, must, move || {
        let vm = barging();
        let ([a, b], [_, target]) = seats(&vm);
        let pipe = Arc::new(pipe());
        let mut me = a.sit();
        let t = go(&pipe, b, move |pipe, me| wait(pipe, me, wants));
        let answers = Arc::new(Log::new());
        let mut d = Deeds {
            vm: &vm,
            target: &target,
            pipe: &pipe,
            me: &mut me,
            answers: answers.clone(),
            said: String::new(),
        };
        deeds(&mut d);
        let said = d.said;
        t.join().unwrap();
        let how = pipe.log.get();
        let left = Pipe::end(pipe);
        format!("{how} {said} {left}{}", answers.get())
    });
}

/// No room and one place, empty or taken: where a receiver waits, and where a sender does.
fn empty() -> Pipe {
    Pipe::with_room(1, 0)
}
fn full() -> Pipe {
    Pipe::with_room(1, 1)
}
fn none() -> Pipe {
    Pipe::with_room(0, 0)
}

// ---- a value is given to a receiver ----

/// A deadline: the value is the receiver's, or in the channel.
#[test]
fn a_give_meets_a_deadline() {
    meet(
        "channel_pairs.give_vs_timeout",
        empty,
        Wants::ValueUntil,
        43,
        &["0 + 0", "late + 1"],
        |d| d.give(),
    );
}

/// The same without storage: the value is the receiver's, or the sender's still.
#[test]
fn a_give_without_storage_meets_a_deadline() {
    meet(
        "channel_pairs.give_zero_vs_timeout",
        none,
        Wants::ValueUntil,
        31,
        &["0 + 0", "late f 0"],
        |d| d.give(),
    );
}

/// A signal: it ends the wait, or is pending behind the value.
#[test]
fn a_give_meets_a_signal() {
    meet(
        "channel_pairs.give_vs_signal",
        empty,
        Wants::Value,
        1_800,
        &["0 + 0", "signal + 1"],
        |d| {
            d.signal();
            d.give();
        },
    );
}

/// A request that anybody may answer: once, and the value comes.
#[test]
fn a_give_meets_a_proxy() {
    meet("channel_pairs.give_vs_proxy", empty, Wants::Value, 370, &["0 + 0?"], |d| {
        d.ask();
        d.give();
    });
}

/// A request that ends the wait: the receiver answers, and gets the value all the same.
#[test]
fn a_give_meets_serve() {
    meet("channel_pairs.give_vs_serve", empty, Wants::Value, 1_000, &["0 + 0!"], |d| {
        d.ask_owner();
        d.give();
    });
}

/// A shutdown.
#[test]
fn a_give_meets_shutdown() {
    meet(
        "channel_pairs.give_vs_shutdown",
        empty,
        Wants::Value,
        2_400,
        &["0 + 0", "shutdown + 1"],
        |d| {
            d.shutdown();
            d.give();
        },
    );
}

/// A close right behind the value: the receiver gets it. The next one does not go in.
#[test]
fn a_give_meets_a_close() {
    meet("channel_pairs.give_vs_close", empty, Wants::Value, 88, &["0 +c 0"], |d| {
        d.give();
        d.close();
        d.give();
    });
}

// ---- a value is taken from a sender ----

/// A deadline: the value is the receiver's or in the channel, or the sender's again.
#[test]
fn a_take_meets_a_deadline() {
    meet(
        "channel_pairs.take_vs_timeout",
        full,
        Wants::RoomUntil,
        150,
        &["late 0- 0", "sent 0- 1", "sent 01 0"],
        |d| {
            d.take();
            d.take();
        },
    );
}

/// The same without storage.
#[test]
fn a_take_without_storage_meets_a_deadline() {
    meet(
        "channel_pairs.take_zero_vs_timeout",
        none,
        Wants::RoomUntil,
        27,
        &["late - 0", "sent 0 0"],
        |d| d.take(),
    );
}

/// A signal.
#[test]
fn a_take_meets_a_signal() {
    meet(
        "channel_pairs.take_vs_signal",
        full,
        Wants::Room,
        2_100,
        &["sent 0 1", "signal 0 0"],
        |d| {
            d.signal();
            d.take();
        },
    );
}

/// A request that anybody may answer.
#[test]
fn a_take_meets_a_proxy() {
    meet("channel_pairs.take_vs_proxy", full, Wants::Room, 440, &["sent 0 1?"], |d| {
        d.ask();
        d.take();
    });
}

/// A request that ends the wait: the sender answers, and sends all the same.
#[test]
fn a_take_meets_serve() {
    meet("channel_pairs.take_vs_serve", full, Wants::Room, 980, &["sent 0 1!"], |d| {
        d.ask_owner();
        d.take();
    });
}

/// A shutdown.
#[test]
fn a_take_meets_shutdown() {
    meet(
        "channel_pairs.take_vs_shutdown",
        full,
        Wants::Room,
        2_700,
        &["sent 0 1", "shutdown 0 0"],
        |d| {
            d.shutdown();
            d.take();
        },
    );
}

/// A close: the sender's value went in before, or is its own again, also if it was about to queue.
#[test]
fn a_take_meets_a_close() {
    meet(
        "channel_pairs.take_vs_close",
        full,
        Wants::Room,
        130,
        &["closed 0c 0", "sent 01 0"],
        |d| {
            d.take();
            d.close();
            d.take();
        },
    );
}

// ---- a close dismisses who waits ----

/// A deadline, of a receiver.
#[test]
fn a_close_meets_a_deadline() {
    meet(
        "channel_pairs.close_vs_timeout",
        empty,
        Wants::ValueUntil,
        43,
        &["closed  0", "late  0"],
        |d| d.close(),
    );
}

/// The same of a sender: it has its value again.
#[test]
fn a_close_meets_a_sender_with_a_deadline() {
    meet(
        "channel_pairs.close_vs_send_timeout",
        full,
        Wants::RoomUntil,
        39,
        &["closed  1", "late  1"],
        |d| d.close(),
    );
}

/// A signal.
#[test]
fn a_close_meets_a_signal() {
    meet(
        "channel_pairs.close_vs_signal",
        none,
        Wants::Room,
        1_000,
        &["closed  0", "signal  0"],
        |d| {
            d.signal();
            d.close();
        },
    );
}

/// A request that anybody may answer.
#[test]
fn a_close_meets_a_proxy() {
    meet("channel_pairs.close_vs_proxy", empty, Wants::Value, 450, &["closed  0?"], |d| {
        d.ask();
        d.close();
    });
}

/// A request that ends the wait: the sender comes back to a closed channel.
#[test]
fn a_close_meets_serve() {
    meet("channel_pairs.close_vs_serve", full, Wants::Room, 800, &["closed  1!"], |d| {
        d.ask_owner();
        d.close();
    });
}

/// The same of a receiver.
#[test]
fn a_close_meets_serve_of_a_receiver() {
    meet("channel_pairs.close_vs_recv_serve", empty, Wants::Value, 850, &["closed  0!"], |d| {
        d.ask_owner();
        d.close();
    });
}

/// A shutdown.
#[test]
fn a_close_meets_shutdown() {
    meet(
        "channel_pairs.close_vs_shutdown",
        full,
        Wants::Room,
        2_100,
        &["closed  1", "shutdown  1"],
        |d| {
            d.shutdown();
            d.close();
        },
    );
}

// ---- under the baton ----

/// Under the baton: the other thread waits first, then main does its `deeds`, and joins.
fn turns(
    name: &'static str,
    pipe: fn() -> Pipe,
    wants: Wants,
    must: &'static [&'static str],
    deeds: fn(&mut Deeds<'_>),
) {
    check(name, Some(2), 4_200, must, move || {
        let schedule = Schedule::new().hand_over_after(None);
        let vm = Runtime::builder().baton(true).schedule(schedule).build();
        let main = &mut vm.attach(()).unwrap();
        let pipe = Arc::new(pipe());
        let shared = pipe.clone();
        let worker = vm
            .spawn((), move |me| {
                wait(&shared, me, wants);
                Ok::<_, ()>(())
            })
            .unwrap();
        yield_now(main);
        let answers = Arc::new(Log::new());
        let mut d = Deeds {
            vm: &vm,
            target: worker.thread(),
            pipe: &pipe,
            me: main,
            answers: answers.clone(),
            said: String::new(),
        };
        deeds(&mut d);
        let said = d.said;
        worker.join(main).unwrap();
        let how = pipe.log.get();
        format!("{how} {said} {}{}", Pipe::end(pipe), answers.get())
    });
}

/// A receiver that is given a value waits for its turn, with the value in its hand.
#[test]
fn a_give_meets_the_baton() {
    turns("channel_pairs.give_vs_baton", empty, Wants::Value, &["0 ++ 1"], |d| {
        d.give();
        d.give();
    });
}

/// A sender whose value was taken.
#[test]
fn a_take_meets_the_baton() {
    turns("channel_pairs.take_vs_baton", none, Wants::Room, &["sent 0- 0"], |d| {
        d.take();
        d.take();
    });
}

/// A close.
#[test]
fn a_close_meets_the_baton() {
    turns("channel_pairs.close_vs_baton", full, Wants::Room, &["closed  1"], |d| d.close());
}
