//! Models of `channel`. Edges and invariants are those of its headers.
#![cfg(selvedge_loom)]

use loom_tests::check;
use loom_tests::scene::{barging, go, seats, soon};
use selvedge::channel::{self, Receiver, RecvError, Sender};
use std::sync::Arc;

/// A send and a receive on an empty channel, whichever comes first. Kills E1 of the storage and of the claim, a receiver that does not look again under both locks, or
/// queues without its flag. Bound 3.
fn meet(name: &'static str, make: fn() -> (Sender<Box<u32>>, Receiver<Box<u32>>), at_least: usize) {
    check(name, Some(3), at_least, &["7"], move || {
        let vm = barging();
        let ([a, b], _) = seats(&vm);
        let (tx, rx) = make();
        let t = go(&Arc::new(tx), b, |tx, me| tx.send(me, Box::new(7)).unwrap());
        let mut me = a.sit();
        let got = rx.recv(&mut me).unwrap();
        t.join().unwrap();
        got.to_string()
    });
}

#[test]
fn a_send_meets_a_receive() {
    meet("channel.meet_array", || channel::bounded(1), 10);
}

#[test]
fn a_send_meets_a_receive_in_a_list() {
    meet("channel.meet_list", channel::unbounded, 10);
}

#[test]
fn a_send_meets_a_receive_without_storage() {
    meet("channel.meet_zero", channel::rendezvous, 10);
}

/// Two values through one place: the sender waits for it. Kills E2 of the array, a sender without its flag. Bound 3.
#[test]
fn a_sender_waits_for_room() {
    check("channel.full", Some(3), 10, &["12"], || {
        let vm = barging();
        let ([a, b], _) = seats(&vm);
        let (tx, rx) = channel::bounded(1);
        let t = go(&Arc::new(tx), b, |tx, me| {
            tx.send(me, Box::new(1)).unwrap();
            tx.send(me, Box::new(2)).unwrap();
        });
        let mut me = a.sit();
        let got = (rx.recv(&mut me).unwrap(), rx.recv(&mut me).unwrap());
        t.join().unwrap();
        format!("{}{}", got.0, got.1)
    });
}

/// A receive with a deadline against a send: the value is in one place. Bound 3.
#[test]
fn a_receive_times_out() {
    check("channel.recv_vs_timeout", Some(3), 10, &["got", "left"], || {
        let vm = barging();
        let ([a, b], _) = seats(&vm);
        let (tx, rx) = channel::bounded(1);
        let t = go(&Arc::new(tx), b, |tx, me| tx.send(me, Box::new(7)).unwrap());
        let mut me = a.sit();
        let got = rx.recv_until(&mut me, soon());
        t.join().unwrap();
        match got {
            Ok(_) => "got".into(),
            Err(e) => {
                assert_eq!((e, rx.try_recv()), (RecvError::TimedOut, Ok(Box::new(7))));
                "left".into()
            }
        }
    });
}
