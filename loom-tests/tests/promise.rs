//! Models of `promise`. Edges and invariants are those of its header.
//!
//! Values are counted: read, given back or thrown away, and dropped once. loom watches that who reads one is behind who
//! wrote it.
#![cfg(selvedge_loom)]

use loom_tests::check;
use loom_tests::scene::{Token, Tokens, barging, heavy, seats, soon};
use selvedge::Participant;
use selvedge::model::thread;
use selvedge::promise::{self, Promise, PromiseError, Settled};

type Written = Promise<Token, Token>;

/// A value is its number, an error too, marked.
fn text(settled: Settled<'_, Token, Token>) -> String {
    match settled {
        Settled::Value(token) => token.read().to_string(),
        Settled::Error(token) => format!("!{}", token.read()),
        Settled::Cancelled => "cancelled".into(),
        _ => unreachable!(),
    }
}
fn got(promise: &Written) -> String {
    promise.get().map_or("-".into(), text)
}
fn waited(settled: Result<Settled<'_, Token, Token>, PromiseError>) -> String {
    match settled {
        Ok(settled) => text(settled),
        Err(PromiseError::Interrupted) => "signal".into(),
        Err(PromiseError::TimedOut) => "late".into(),
        Err(PromiseError::ShutDown) => "shutdown".into(),
        Err(e) => panic!("{e}"),
    }
}
/// Waits, with no end but that it is settled.
fn wait(promise: &Written, me: &mut Participant) -> String {
    waited(promise.wait(me))
}

/// Two threads settle: one wins, the other gets back what it brought. Whoever has tried finds it settled, and both read the
/// same. Kills E1, and a loser that does not wait for the winner (I2). Bound: none.
#[test]
fn two_settle() {
    check("promise.two_settle", None, 43, &["!1", "0"], || {
        let tokens = Tokens::new();
        let (r, p) = promise::new::<Token, Token>();
        let (mine, others) = (tokens.make(0), tokens.make(1));
        let t = thread::spawn({
            let (r, p) = (r.clone(), p.clone());
            move || {
                let lost = r.reject(others);
                assert!(lost.as_ref().err().is_none_or(|token| token.read() == 1));
                (lost.is_ok(), got(&p))
            }
        });
        let lost = r.resolve(mine);
        assert!(lost.as_ref().err().is_none_or(|token| token.read() == 0));
        let seen = got(&p);
        let (won, seen_there) = t.join().unwrap();
        assert_ne!(won, lost.is_ok(), "one wins");
        assert_eq!((seen == "!1", &seen_there), (won, &seen));
        drop((lost, r, p));
        tokens.end(2);
        seen
    });
}

/// One is settled while another thread looks, twice: what is there once stays. Kills E1. Bound: none.
#[test]
fn a_look() {
    check("promise.get", None, 36, &["- -", "- 0", "0 0"], || {
        let tokens = Tokens::new();
        let (r, p) = promise::new::<Token, Token>();
        let value = tokens.make(0);
        let t = thread::spawn(move || assert!(r.resolve(value).is_ok()));
        let seen = format!("{} {}", got(&p), got(&p));
        t.join().unwrap();
        assert_eq!(got(&p), "0");
        drop(p);
        tokens.end(1);
        seen
    });
}

/// Two threads wait, a third settles: both are told, and read the value. Bound 1; long 2.
#[test]
fn two_readers() {
    check("promise.two_readers", heavy(), 295, &["0 0"], || {
        let vm = barging();
        let ([a, b], _) = seats(&vm);
        let tokens = Tokens::new();
        let (r, p) = promise::new::<Token, Token>();
        let readers = [a, b].map(|seat| {
            let p = p.clone();
            thread::spawn(move || wait(&p, &mut seat.sit()))
        });
        assert!(r.resolve(tokens.make(0)).is_ok());
        let seen = readers.map(|t| t.join().unwrap()).join(" ");
        drop((r, p));
        tokens.end(1);
        seen
    });
}

/// Who settles lets go of it at once, and of a reader: who waits still reads the value. Bound 2.
#[test]
fn a_reader_outlives_the_others() {
    check("promise.last_reader", Some(2), 131, &["0"], || {
        let vm = barging();
        let ([a], _) = seats(&vm);
        let tokens = Tokens::new();
        let (r, p) = promise::new::<Token, Token>();
        let (value, gone) = (tokens.make(0), p.clone());
        let t = thread::spawn(move || {
            assert!(r.resolve(value).is_ok());
            drop(gone);
        });
        let seen = wait(&p, &mut a.sit());
        drop(p);
        t.join().unwrap();
        tokens.end(1);
        seen
    });
}

/// It is settled while a deadline passes. Bound 3.
#[test]
fn a_deadline() {
    check("promise.deadline", Some(3), 397, &["0", "late"], || {
        let vm = barging();
        let ([a], _) = seats(&vm);
        let tokens = Tokens::new();
        let (r, p) = promise::new::<Token, Token>();
        let value = tokens.make(0);
        let t = thread::spawn(move || assert!(r.resolve(value).is_ok()));
        let seen = waited(p.wait_until(&mut a.sit(), soon()));
        t.join().unwrap();
        assert_eq!(got(&p), "0");
        drop(p);
        tokens.end(1);
        seen
    });
}

/// A signal ends the wait, or it is settled before; then the next wait sees it. Bound 2.
#[test]
fn a_signal() {
    check("promise.signal", Some(2), 1305, &["0", "signal"], || {
        let vm = barging();
        let ([a, b], [_, target]) = seats(&vm);
        let tokens = Tokens::new();
        let (r, p) = promise::new::<Token, Token>();
        let t = thread::spawn({
            let p = p.clone();
            move || {
                let me = &mut b.sit();
                let seen = wait(&p, me);
                if seen == "signal" {
                    assert!(me.take_signal().is_some());
                    assert_eq!(wait(&p, me), "0");
                }
                seen
            }
        });
        let me = a.sit();
        let _queued = target.signal(&me, ()).unwrap();
        assert!(r.resolve(tokens.make(0)).is_ok());
        let seen = t.join().unwrap();
        drop((r, p));
        tokens.end(1);
        seen
    });
}

/// Two resolvers go, in two threads, while a third waits: that one is told that nobody is left. Bound 2.
#[test]
fn nobody_is_left() {
    check("promise.broken", Some(2), 602, &["cancelled"], || {
        let vm = barging();
        let ([a], _) = seats(&vm);
        let (r, p) = promise::new::<Token, Token>();
        let others = [r.clone(), r].map(|r| thread::spawn(move || drop(r)));
        let seen = wait(&p, &mut a.sit());
        others.into_iter().for_each(|t| t.join().unwrap());
        seen
    });
}

/// One resolver goes while another one keeps the promise: it is kept. Bound 3.
#[test]
fn one_is_left() {
    check("promise.one_left", Some(3), 516, &["0"], || {
        let vm = barging();
        let ([a], _) = seats(&vm);
        let tokens = Tokens::new();
        let (r, p) = promise::new::<Token, Token>();
        let (other, value) = (r.clone(), tokens.make(0));
        let t = thread::spawn(move || assert!(other.resolve(value).is_ok()));
        drop(r);
        let seen = wait(&p, &mut a.sit());
        t.join().unwrap();
        drop(p);
        tokens.end(1);
        seen
    });
}

/// Who waits for it cancels instead, against who keeps it: one of the two did, and both know which. Bound: none.
#[test]
fn a_cancel() {
    check("promise.cancel", None, 40, &["0", "cancelled"], || {
        let tokens = Tokens::new();
        let (r, p) = promise::new::<Token, Token>();
        let value = tokens.make(0);
        let t = thread::spawn(move || r.resolve(value).is_ok());
        let cancelled = p.cancel();
        let seen = got(&p);
        assert_eq!((t.join().unwrap(), seen == "cancelled"), (!cancelled, cancelled));
        drop(p);
        tokens.end(1);
        seen
    });
}

/// One of two promises is waited for, in a select, and the two are settled by two threads. Bound 2.
#[test]
fn any_of_two() {
    check("promise.any", Some(2), 3896, &["0", "1"], || {
        let vm = barging();
        let ([a], _) = seats(&vm);
        let tokens = Tokens::new();
        let (resolvers, promises): (Vec<_>, Vec<_>) =
            (0..2).map(|_| promise::new::<Token, Token>()).unzip();
        let mut threads = vec![];
        for (n, r) in resolvers.into_iter().enumerate() {
            let value = tokens.make(n);
            threads.push(thread::spawn(move || assert!(r.resolve(value).is_ok())));
        }
        let n = promise::wait_any(&mut a.sit(), &promises).unwrap();
        let seen = got(&promises[n]);
        assert_eq!(seen, n.to_string());
        threads.into_iter().for_each(|t| t.join().unwrap());
        drop(promises);
        tokens.end(2);
        seen
    });
}
