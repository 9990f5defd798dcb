//! Mailboxes, monitors, links.

mod scene;

use scene::{both, soon, until};
use selvedge::channel::{RecvError, Select, TryRecvError};
use selvedge::isolate::{self, Address, Gone, LinkBroken, Unanswered};
use selvedge::promise::Settled;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

#[test]
fn messages_come_in_order_and_each_is_answered() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (address, mailbox) = isolate::mailbox::<u32, u32, String>();
        let worker = vm
            .spawn("worker", move |cx| {
                let mut seen = vec![];
                while let Ok(letter) = mailbox.recv(cx) {
                    seen.push(*letter.message());
                    match *letter.message() {
                        n if n % 3 == 0 => letter.answer(n * 10).unwrap(),
                        n if n % 3 == 1 => letter.fail(format!("not {n}")).unwrap(),
                        _ => drop(letter),
                    }
                }
                Ok::<_, ()>(seen)
            })
            .unwrap();
        let answers: Vec<_> = (0..30).map(|n| address.send(n).unwrap()).collect();
        for (n, answer) in (0..).zip(&answers) {
            let got = answer.wait(&mut cx).unwrap();
            match n % 3 {
                0 => assert_eq!(got, Settled::Value(&(n * 10))),
                1 => assert_eq!(got, Settled::Error(&Unanswered::Failed(format!("not {n}")))),
                _ => assert_eq!(got, Settled::Cancelled),
            }
        }
        drop(address);
        assert!(worker.join(&mut cx).unwrap().into_iter().eq(0..30));
    });
}

#[test]
fn a_mailbox_that_goes_gives_its_messages_back() {
    let (address, mailbox) = isolate::mailbox::<String, (), ()>();
    let one = address.send("one".into()).unwrap();
    let two = address.send("two".into()).unwrap();
    let three = address.send("three".into()).unwrap();
    assert_eq!((address.len(), mailbox.try_recv().unwrap().message().as_str()), (3, "one"));
    assert!(two.cancel());
    drop(mailbox);
    assert_eq!(one.get(), Some(Settled::Cancelled), "read, and dropped");
    assert_eq!(two.get(), Some(Settled::Cancelled));
    assert_eq!(three.get(), Some(Settled::Error(&Unanswered::Undelivered("three".into()))));
    assert!(address.is_closed());
    let Gone(back) = address.send("four".into()).unwrap_err();
    assert_eq!(back, "four");
}

#[derive(Debug, PartialEq)]
struct Bomb(u8);
impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 == 1 {
            std::panic::resume_unwind(Box::new("bomb"));
        }
    }
}

/// A message that nobody wants back panics where it goes, in who drops the mailbox; the others go back all the same.
#[test]
fn a_message_that_panics_keeps_no_other() {
    let (address, mailbox) = isolate::mailbox::<Bomb, (), ()>();
    let answers: Vec<_> = (0..4).map(|n| address.send(Bomb(n)).unwrap()).collect();
    assert!(answers[1].cancel());
    assert!(catch_unwind(move || drop(mailbox)).is_err());
    assert_eq!(answers[1].get(), Some(Settled::Cancelled));
    for n in [0, 2, 3] {
        let back = Unanswered::Undelivered(Bomb(n));
        assert_eq!(answers[usize::from(n)].get(), Some(Settled::Error(&back)));
    }
}

#[test]
fn a_mailbox_that_is_shared_is_closed() {
    let (address, mailbox) = isolate::mailbox::<u8, (), ()>();
    let answer = address.send(1).unwrap();
    assert!(mailbox.close() && !mailbox.close());
    assert_eq!(answer.get(), Some(Settled::Error(&Unanswered::Undelivered(1))));
    assert_eq!(answer.into_inner().unwrap(), Some(Err(Unanswered::Undelivered(1))));
    assert!(matches!(address.send(2), Err(Gone(2))));
    assert!(matches!(mailbox.try_recv(), Err(TryRecvError::Closed)));
}

#[test]
fn who_asked_can_cancel() {
    let (address, mailbox) = isolate::mailbox::<u8, u8, u8>();
    let (a, b) = (address.send(1).unwrap(), address.send(2).unwrap());
    let letter = mailbox.try_recv().unwrap();
    assert!(!letter.is_cancelled() && a.cancel() && letter.is_cancelled());
    assert_eq!(letter.answer(7), Err(7));
    b.cancel();
    assert_eq!(mailbox.try_recv().unwrap().fail(8), Err(8));
    // A letter in parts.
    let c = address.send(3).unwrap();
    let (message, resolver) = mailbox.try_recv().unwrap().into_parts();
    assert_eq!((message, c.get()), (3, None));
    resolver.resolve(9).unwrap();
    assert_eq!(c.get(), Some(Settled::Value(&9)));
}

/// A mailbox in a thread that ends by a panic.
#[test]
fn a_thread_that_dies_gives_its_messages_back() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (address, mailbox) = isolate::mailbox::<u8, (), ()>();
        let answer = address.send(1).unwrap();
        let h = vm
            .spawn("dies", move |_| {
                let _mailbox = mailbox;
                Err::<(), _>("dead")
            })
            .unwrap();
        assert_eq!(answer.wait(&mut cx), Ok(Settled::Error(&Unanswered::Undelivered(1))));
        assert!(h.join(&mut cx).is_err());
        assert!(matches!(address.send(2), Err(Gone(2))));
    });
}

#[test]
fn a_monitor_tells_of_the_end_once() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (address, mailbox) = isolate::mailbox::<(), (), ()>();
        let h = vm
            .spawn("ends", move |cx| match mailbox.recv(cx) {
                Ok(_) => Err("asked to"),
                Err(_) => Ok(5),
            })
            .unwrap();
        let (one, two) = (isolate::monitor(h.thread()), isolate::monitor(h.thread()));
        assert!(matches!(one.try_recv(), Err(TryRecvError::Empty)));
        assert!(matches!(two.recv_until(&mut cx, soon()), Err(RecvError::TimedOut)));
        let _ = address.send(()).unwrap();
        let (mut a, mut b) = (one.arm(), two.arm());
        let chosen = Select::new().arm(&mut a).arm(&mut b).wait(&mut cx).unwrap();
        let exit = if chosen == 0 { a.complete() } else { b.complete() }.unwrap();
        assert_eq!((exit.thread(), exit.error::<&str>()), (h.thread(), Some("asked to")));
        assert!(h.join(&mut cx).is_err());
        let late = isolate::monitor(h.thread());
        assert!(!late.recv(&mut cx).unwrap().is_ok());
        assert!(matches!(late.recv(&mut cx), Err(RecvError::Closed)));
    });
}

/// Monitors that nobody reads are let go of while the thread lives.
#[test]
fn monitors_do_not_pile_up() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (address, mailbox) = isolate::mailbox::<(), (), ()>();
        let h = vm.spawn("lives", move |cx| Ok::<_, ()>(mailbox.recv(cx).is_err())).unwrap();
        let watched = isolate::monitor(h.thread());
        let kept = (0..1000).filter(|_| isolate::monitor(h.thread()).senders() > 1).count();
        assert_eq!(kept, 0);
        drop(address);
        assert!(watched.recv(&mut cx).unwrap().is_ok());
    });
}

#[test]
fn a_failure_goes_through_a_link() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let broken = Arc::new(AtomicUsize::new(0));
        for fails in [true, false] {
            let (go, start) = isolate::mailbox::<(), (), ()>();
            let (stop, end) = isolate::mailbox::<(), (), ()>();
            let n = broken.clone();
            let waits = vm
                .spawn("waits", move |cx| {
                    let ended = end.recv(cx).map(drop);
                    if let Some(signal) = cx.take_signal() {
                        let LinkBroken(exit) = signal.downcast::<LinkBroken>().unwrap();
                        assert_eq!(exit.error::<&str>(), Some("failed"));
                        n.fetch_add(1, SeqCst);
                    }
                    Ok::<_, ()>(ended)
                })
                .unwrap();
            let h = vm
                .spawn("fails", move |cx| {
                    let _ = start.recv(cx);
                    if fails { Err("failed") } else { Ok(()) }
                })
                .unwrap();
            isolate::link(h.thread(), waits.thread());
            isolate::link(h.thread(), h.thread());
            until(&mut cx, "it waits", || waits.thread().blocker().is_some());
            let go: Address<(), (), ()> = go;
            drop(go);
            assert_eq!(h.join(&mut cx).is_err(), fails);
            match fails {
                true => {
                    let ended = waits.join(&mut cx).unwrap();
                    assert_eq!(ended.map_err(|e| matches!(e, RecvError::Interrupted)), Err(true));
                }
                false => {
                    drop(stop);
                    assert_eq!(waits.join(&mut cx).unwrap(), Err(RecvError::Closed));
                }
            }
        }
        assert_eq!(broken.load(SeqCst), 1);
    });
}
