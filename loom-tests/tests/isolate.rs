//! Models of `isolate`, and of the calls at the end of a thread (`thread/exit` I2).
#![cfg(selvedge_loom)]

use loom_tests::check;
use loom_tests::scene::{Token, Tokens, barging, heavy, seats};
use selvedge::channel::{self, Receiver, RecvError, TryRecvError};
use selvedge::isolate::{self, Address, Answer, Gone, LinkBroken, Mailbox, Unanswered};
use selvedge::model::thread;
use selvedge::promise::Settled;
use selvedge::{Exit, Participant};
use std::sync::Arc;

type To = Address<Token, Token, Token>;
type From = Mailbox<Token, Token, Token>;
type Asked = Answer<Token, Token, Token>;

/// Asks. The answer; none: the message came back.
fn ask(to: &To, message: Token) -> Option<Asked> {
    let n = message.n;
    match to.send(message) {
        Ok(answer) => Some(answer),
        Err(Gone(back)) => {
            assert_eq!((back.n, back.read()), (n, n), "it comes back");
            None
        }
    }
}

/// What became of a message, as who sent it knows it.
fn heard(answer: Option<&Asked>) -> &'static str {
    let Some(answer) = answer else { return "gone" };
    match answer.get() {
        None => "-",
        Some(settled) => how(settled),
    }
}

fn how(settled: Settled<'_, Token, Unanswered<Token, Token>>) -> &'static str {
    match settled {
        Settled::Value(token) => {
            token.read();
            "answered"
        }
        Settled::Error(Unanswered::Undelivered(token)) => {
            token.read();
            "unread"
        }
        Settled::Error(Unanswered::Failed(token)) => {
            token.read();
            "failed"
        }
        Settled::Cancelled => "cancelled",
        other => panic!("{}", matches!(other, Settled::Error(_))),
    }
}

fn wait(answer: &Asked, me: &mut Participant) -> &'static str {
    how(answer.wait(me).unwrap())
}

// ---- mailboxes ----

/// A mailbox goes, with a message in it, while two more are sent: each goes back, one way or the other. Kills a mailbox that
/// drops what is left, or takes letters when it has looked for the last time. Bound 3.
#[test]
fn a_mailbox_goes() {
    let all = ["unread gone gone", "unread unread gone", "unread unread unread"];
    check("isolate.mailbox_goes", Some(3), 401, &all, || {
        let tokens = Tokens::new();
        let (to, from): (To, From) = isolate::mailbox();
        let first = ask(&to, tokens.make(0));
        let others = [tokens.make(1), tokens.make(2)];
        let t = thread::spawn(move || others.map(|message| ask(&to, message)));
        drop(from);
        let rest = t.join().unwrap();
        let all = [&first, &rest[0], &rest[1]].map(|answer| heard(answer.as_ref())).join(" ");
        drop((first, rest));
        tokens.end(3);
        all
    });
}

/// The same, two threads ask once each, and wait. Bound 2.
#[test]
fn two_ask_a_mailbox_that_goes() {
    let all = ["gone gone", "gone unread", "unread gone", "unread unread"];
    check("isolate.two_ask", Some(2), 1507, &all, || {
        let vm = barging();
        let ([a, b], _) = seats(&vm);
        let tokens = Tokens::new();
        let (to, from): (To, From) = isolate::mailbox();
        let mut n = 0;
        let threads = [a, b].map(|seat| {
            let (to, message) = (to.clone(), tokens.make(n));
            n += 1;
            thread::spawn(move || {
                ask(&to, message).map_or("gone", |answer| wait(&answer, &mut seat.sit()))
            })
        });
        drop(from);
        let all = threads.map(|t| t.join().unwrap()).join(" ");
        drop(to);
        tokens.end(2);
        all
    });
}

/// A mailbox that is shared is closed while another thread reads: each message is read or goes back. Bound 3.
#[test]
fn a_mailbox_is_closed() {
    let all = ["answered unread", "unread answered", "unread unread"];
    check("isolate.close_vs_recv", Some(3), 126, &all, || {
        let tokens = Tokens::new();
        let (to, from): (To, From) = isolate::mailbox();
        let from = Arc::new(from);
        let asked = [0, 1].map(|n| ask(&to, tokens.make(n)));
        let answer = tokens.make(2);
        let t = thread::spawn({
            let from = from.clone();
            move || {
                if let Ok(letter) = from.try_recv() {
                    assert!(letter.answer(answer).is_ok());
                }
            }
        });
        assert!(from.close());
        t.join().unwrap();
        let all = asked.each_ref().map(|answer| heard(answer.as_ref())).join(" ");
        drop((asked, to, from));
        tokens.end(3);
        all
    });
}

/// One letter is read, waited for, and answered; then the mailbox goes, beside the next message. Bound 2.
#[test]
fn one_is_answered() {
    let all = ["answered gone", "answered unread"];
    check("isolate.answered", Some(2), 6276, &all, || {
        let vm = barging();
        let ([a, b], _) = seats(&vm);
        let tokens = Tokens::new();
        let (to, from): (To, From) = isolate::mailbox();
        let answer = tokens.make(2);
        let t = thread::spawn(move || {
            let letter = from.recv(&mut b.sit()).unwrap();
            assert_eq!(letter.message().read(), 0);
            assert!(letter.answer(answer).is_ok());
        });
        let me = &mut a.sit();
        let asked = [0, 1].map(|n| ask(&to, tokens.make(n)));
        let all = asked.each_ref().map(|a| a.as_ref().map_or("gone", |a| wait(a, me))).join(" ");
        t.join().unwrap();
        drop((asked, to));
        tokens.end(3);
        all
    });
}

/// Who asked cancels while the letter is answered: the answer is there, or comes back to who brought it. Bound 3.
#[test]
fn who_asked_cancels() {
    check("isolate.cancel", Some(3), 16, &["answered", "cancelled"], || {
        let tokens = Tokens::new();
        let (to, from): (To, From) = isolate::mailbox();
        let asked = ask(&to, tokens.make(0)).unwrap();
        let answer = tokens.make(1);
        let t = thread::spawn(move || match from.try_recv().unwrap().answer(answer) {
            Ok(()) => "answered",
            Err(back) => {
                assert_eq!(back.read(), 1);
                "cancelled"
            }
        });
        let cancelled = asked.cancel();
        let seen = heard(Some(&asked));
        assert_eq!((t.join().unwrap(), seen == "cancelled"), (seen, cancelled));
        drop((asked, to));
        tokens.end(2);
        seen.into()
    });
}

// ---- monitors ----

/// `-`: nothing said yet.
fn said(monitor: &Receiver<Exit>) -> &'static str {
    match monitor.try_recv() {
        Ok(exit) => {
            assert_eq!(exit.error::<u8>(), Some(7));
            "told"
        }
        Err(TryRecvError::Empty) => "-",
        Err(TryRecvError::Closed) => "closed",
        Err(e) => panic!("{e}"),
    }
}

/// A monitor is left while the thread ends: it is told, once, and closed. Kills a call that is lost between the last look
/// and the end. Bound 2.
#[test]
fn a_monitor_of_a_thread_that_ends() {
    check("isolate.monitor_vs_exit", Some(2), 1112, &["later", "now"], || {
        let vm = barging();
        let main = &mut vm.attach(()).unwrap();
        let worker = vm.spawn((), |_| Err::<(), u8>(7)).unwrap();
        let monitor = isolate::monitor(worker.thread());
        let now = said(&monitor) == "told";
        if !now {
            assert_eq!(monitor.recv(main).unwrap().error(), Some(7u8));
        }
        assert!(matches!(monitor.recv(main), Err(RecvError::Closed)));
        if now { "now".into() } else { "later".into() }
    });
}

/// Two threads leave monitors while a third one ends: both are told. Bound 1; long 2.
#[test]
fn two_monitors() {
    check("isolate.two_monitors", heavy(), 898, &["told told"], || {
        let vm = barging();
        let main = &mut vm.attach(()).unwrap();
        let ([a], _) = seats(&vm);
        let worker = vm.spawn((), |_| Err::<(), u8>(7)).unwrap();
        let target = worker.thread().clone();
        let told = |exit: Exit| exit.error::<u8>().map_or("?", |_| "told");
        let t = thread::spawn(move || told(isolate::monitor(&target).recv(&mut a.sit()).unwrap()));
        let mine = told(isolate::monitor(worker.thread()).recv(main).unwrap());
        format!("{mine} {}", t.join().unwrap())
    });
}

/// The joiner is told before the monitor: when it goes on, the thread is over, and a monitor is told at once. Bound 2.
#[test]
fn a_monitor_after_a_join() {
    check("isolate.monitor_after_join", Some(2), 652, &["told told"], || {
        let vm = barging();
        let main = &mut vm.attach(()).unwrap();
        let worker = vm.spawn((), |_| Err::<(), u8>(7)).unwrap();
        let early = isolate::monitor(worker.thread());
        assert!(worker.join(main).is_err() && !worker.is_alive());
        let late = said(&isolate::monitor(worker.thread()));
        let early = early.recv(main).unwrap();
        format!("{late} {}", early.error::<u8>().map_or("?", |_| "told"))
    });
}

/// Monitors that nobody reads go, while the thread ends. Bound 3.
#[test]
fn nobody_reads_a_monitor() {
    check("isolate.monitor_dropped", Some(3), 755, &["ended"], || {
        let vm = barging();
        let main = &mut vm.attach(()).unwrap();
        let worker = vm.spawn((), |_| Err::<(), u8>(7)).unwrap();
        drop(isolate::monitor(worker.thread()));
        drop(isolate::monitor(worker.thread()));
        assert!(worker.join(main).is_err());
        "ended".into()
    });
}

// ---- links ----

/// What the calling thread is told of another one's end.
fn broken(me: &mut Participant) -> String {
    let Some(signal) = me.take_signal() else { return "-".into() };
    let LinkBroken(exit) = signal.downcast::<LinkBroken>().unwrap();
    exit.error::<u8>().unwrap().to_string()
}

/// A thread links itself to one that ends in error: it is interrupted, and knows why. Bound 3.
#[test]
fn a_link_to_a_thread_that_ends() {
    check("isolate.link_vs_exit", Some(3), 1114, &["7-"], || {
        let vm = barging();
        let main = &mut vm.attach(()).unwrap();
        let me = main.thread().clone();
        let worker = vm.spawn((), |_| Err::<(), u8>(7)).unwrap();
        isolate::link(&me, worker.thread());
        assert_eq!(channel::never::<()>().recv(main), Err(RecvError::Interrupted));
        broken(main) + &broken(main)
    });
}

/// The same of one that ends well: nothing is said. The end of the calls shows by a monitor that was left after the link.
/// Bound 3.
#[test]
fn a_good_end_breaks_no_link() {
    check("isolate.link_vs_good_exit", Some(3), 1202, &["-"], || {
        let vm = barging();
        let main = &mut vm.attach(()).unwrap();
        let me = main.thread().clone();
        let worker = vm.spawn((), |_| Ok::<(), u8>(())).unwrap();
        isolate::link(&me, worker.thread());
        assert!(isolate::monitor(worker.thread()).recv(main).unwrap().is_ok());
        broken(main)
    });
}

/// Two threads end in error while a third links them: each is told if it was there still, and both end. Bound 1; long 2.
#[test]
fn a_link_of_two_that_end() {
    check("isolate.link_both_exit", heavy(), 491, &["ended"], || {
        let vm = barging();
        let main = &mut vm.attach(()).unwrap();
        let end = |_: &mut Participant| Err::<(), u8>(7);
        let [one, other] = [vm.spawn((), end).unwrap(), vm.spawn((), end).unwrap()];
        isolate::link(one.thread(), other.thread());
        assert!(one.join(main).is_err() && other.join(main).is_err());
        "ended".into()
    });
}

/// A failure goes from thread to thread: one ends in error, the next is interrupted, and ends in its turn. Bound 1; long 2.
#[test]
fn a_failure_goes_on() {
    check("isolate.link_goes_on", heavy(), 684, &["8"], || {
        let vm = barging();
        let main = &mut vm.attach(()).unwrap();
        let first = vm.spawn((), |_| Err::<(), u8>(7)).unwrap();
        let next = vm
            .spawn((), |me| {
                assert_eq!(channel::never::<()>().recv(me), Err(RecvError::Interrupted));
                assert_eq!(broken(me), "7");
                Err::<(), u8>(8)
            })
            .unwrap();
        isolate::link(first.thread(), next.thread());
        let exit = isolate::monitor(next.thread()).recv(main).unwrap();
        exit.error::<u8>().unwrap().to_string()
    });
}

/// Two threads link the same two, this way and that: neither waits for the other. Kills a look at another thread's end under
/// the lock of one's own. Bound 3.
#[test]
fn links_across() {
    check("isolate.links_across", Some(3), 9, &["linked"], || {
        let vm = barging();
        let (_seats, [a, b]) = seats::<2>(&vm);
        isolate::link(&a, &b);
        let t = thread::spawn({
            let (a, b) = (a.clone(), b.clone());
            move || isolate::link(&a, &b)
        });
        isolate::link(&b, &a);
        t.join().unwrap();
        "linked".into()
    });
}
