//! Promises: written once, read by many, waited for by threads, selects and tasks.

mod scene;

use scene::{both, far, soon, until};
use selvedge::channel::{self, Select, TryRecvError};
use selvedge::promise::{self, Promise, PromiseError, Settled};
use selvedge::*;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context as Task, Poll, Wake, Waker};
use std::time::Instant;

#[test]
fn the_first_settles_it_and_what_others_bring_comes_back() {
    let (r, p) = promise::new::<String, u8>();
    assert_eq!((p.get(), p.is_settled()), (None, false));
    assert_eq!(r.resolve("one".into()), Ok(()));
    assert_eq!(r.resolve("two".into()), Err("two".into()));
    assert_eq!(r.clone().reject(3), Err(3));
    assert!(!r.cancel() && !p.cancel());
    assert_eq!(p.clone().get(), Some(Settled::Value(&"one".into())));
    assert!(p.same_promise(&r.promise()) && r.is_settled());
    let (r, p) = promise::new::<u8, u8>();
    assert_eq!((r.reject(7), p.get()), (Ok(()), Some(Settled::Error(&7))));
    let (r, p) = promise::new::<u8, u8>();
    assert!(p.cancel());
    assert_eq!((r.resolve(1), p.get()), (Err(1), Some(Settled::Cancelled)));
}

#[test]
fn the_last_handle_takes_what_became_of_it() {
    let (r, p) = promise::new::<Box<u8>, ()>();
    r.resolve(Box::new(1)).unwrap();
    let p = p.into_inner().unwrap_err(); // the resolver can read it
    drop(r);
    let other = p.clone();
    let p = p.into_inner().unwrap_err();
    drop(other);
    assert_eq!(p.into_inner().unwrap(), Some(Ok(Box::new(1))));
    let (_, p) = promise::new::<u8, ()>();
    assert_eq!(p.into_inner().unwrap(), None);
}

#[test]
fn the_last_resolver_cancels_it() {
    let (r, p) = promise::new::<u8, u8>();
    let other = r.clone();
    drop(r);
    assert_eq!(p.get(), None);
    drop(other);
    assert_eq!(p.get(), Some(Settled::Cancelled));
    // Not what was kept; and readers that go change nothing.
    let (r, p) = promise::new::<u8, u8>();
    drop(p);
    let p = r.promise();
    r.resolve(1).unwrap();
    drop(r);
    assert_eq!(p.get(), Some(Settled::Value(&1)));
}

#[test]
fn everybody_who_waits_is_told() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (r, p) = promise::labelled::<u32, ()>(Label::new("answer"));
        assert_eq!(p.name(), Some("answer"));
        let threads: Vec<_> = (0..20)
            .map(|n| {
                let p = p.clone();
                vm.spawn("waits", move |cx| match n % 2 {
                    0 => Ok::<_, ()>(p.wait(cx) == Ok(Settled::Value(&5))),
                    _ => {
                        let (tx, rx) = channel::rendezvous::<()>();
                        let (mut a, mut b) = (rx.arm(), p.arm());
                        let chosen = Select::new().arm(&mut a).arm(&mut b).wait(cx);
                        drop(tx);
                        let closed = b.complete() == Err(TryRecvError::Closed);
                        Ok(chosen == Ok(1) && closed && p.get() == Some(Settled::Value(&5)))
                    }
                })
                .unwrap()
            })
            .collect();
        for h in &threads {
            until(&mut cx, "it waits", || h.thread().blocker().is_some());
        }
        let blocker = threads[0].thread().blocker().unwrap();
        assert_eq!((blocker.kind(), blocker.name()), (BlockerKind::Receive, Some("answer")));
        r.resolve(5).unwrap();
        for h in threads {
            assert!(h.join(&mut cx).unwrap());
        }
    });
}

#[test]
fn what_ends_a_wait_ends_this_one() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (r, p) = promise::new::<u32, ()>();
        assert_eq!(p.wait_until(&mut cx, soon()), Err(PromiseError::TimedOut));
        let refused = no_blocking(&mut cx, |cx| p.wait(cx).map(drop));
        assert_eq!(refused, Err(PromiseError::WouldBlock));
        let me = cx.thread().clone();
        me.post(1).unwrap();
        until(&mut cx, "it is there", || me.undelivered() == 1);
        assert_eq!(p.wait_until(&mut cx, far()), Err(PromiseError::Interrupted));
        r.resolve(1).unwrap();
        assert_eq!(p.wait(&mut cx), Ok(Settled::Value(&1)), "that is no wait");
        assert_eq!(promise::wait_all(&mut cx, &[p]), Ok(()));
        cx.take_signal().unwrap();
        let (_r, p) = promise::new::<u32, ()>();
        let p2 = p.clone();
        let h = vm.spawn("waits", move |cx| Ok::<_, ()>(p2.wait(cx).map(drop))).unwrap();
        until(&mut cx, "it waits", || h.thread().blocker().is_some());
        vm.shutdown(&cx);
        assert_eq!(h.join(&mut cx).unwrap(), Err(PromiseError::ShutDown));
    });
}

#[test]
fn any_and_all() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let none: [Promise<u32>; 0] = [];
        assert_eq!(promise::wait_any(&mut cx, &none), Err(PromiseError::NoPromises));
        assert_eq!(promise::wait_any_until(&mut cx, &none, soon()), Err(PromiseError::TimedOut));
        assert_eq!(promise::wait_all(&mut cx, &none), Ok(()));
        let (mut resolvers, promises): (Vec<_>, Vec<_>) =
            (0..12).map(|_| promise::new::<u32, ()>()).unzip();
        let now = Instant::now();
        assert_eq!(promise::wait_any_until(&mut cx, &promises, now), Err(PromiseError::TimedOut));
        let waits = promises.clone();
        let h = vm
            .spawn("waits", move |cx| {
                Ok::<_, PromiseError>((
                    promise::wait_any(cx, &waits)?,
                    promise::wait_all(cx, &waits)?,
                ))
            })
            .unwrap();
        until(&mut cx, "it waits", || h.thread().blocker().is_some());
        resolvers[7].resolve(7).unwrap();
        assert_eq!(promise::wait_any(&mut cx, &promises), Ok(7));
        assert_eq!(
            promise::wait_all_until(&mut cx, &promises, soon()),
            Err(PromiseError::TimedOut)
        );
        resolvers.pop().unwrap().reject(()).unwrap();
        resolvers.clear(); // cancels the others
        assert_eq!(h.join(&mut cx).unwrap(), (7, ()));
        assert_eq!(promises[11].get(), Some(Settled::Error(&())));
        assert_eq!(promises[0].get(), Some(Settled::Cancelled));
    });
}

struct Count(AtomicUsize);
impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn tasks_wait_too() {
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(count.clone());
    let mut task = Task::from_waker(&waker);
    let (r, p) = promise::new::<u32, ()>();
    let mut one = pin!(p.settled_async());
    let mut two = pin!(p.settled_async());
    assert_eq!(one.as_mut().poll(&mut task), Poll::Pending);
    assert_eq!(two.as_mut().poll(&mut task), Poll::Pending);
    r.resolve(3).unwrap();
    assert_eq!(count.0.load(SeqCst), 2);
    assert_eq!(one.poll(&mut task), Poll::Ready(Settled::Value(&3)));
    assert_eq!(two.poll(&mut task), Poll::Ready(Settled::Value(&3)));
}

/// Wakes by a panic.
struct Bad(Arc<Count>);
impl Wake for Bad {
    fn wake(self: Arc<Self>) {
        self.0.0.fetch_add(1, SeqCst);
        std::panic::resume_unwind(Box::new("waker"));
    }
}

/// That is not the matter of who settles, and keeps nobody waiting: neither tasks nor threads.
#[test]
fn a_waker_that_panics_keeps_nobody_waiting() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let (good, bad) = (Waker::from(count.clone()), Waker::from(Arc::new(Bad(count.clone()))));
        let (r, p) = promise::new::<u32, ()>();
        let mut tasks: Vec<_> = (0..5).map(|_| Box::pin(p.settled_async())).collect();
        for (n, task) in tasks.iter_mut().enumerate() {
            let mut with = Task::from_waker(if n == 0 { &bad } else { &good });
            assert_eq!(task.as_mut().poll(&mut with), Poll::Pending);
        }
        let p2 = p.clone();
        let h = vm
            .spawn("waits", move |cx| Ok::<_, ()>(p2.wait(cx) == Ok(Settled::Value(&3))))
            .unwrap();
        until(&mut cx, "it waits", || h.thread().blocker().is_some());
        r.resolve(3).unwrap();
        assert_eq!(count.0.load(SeqCst), 5);
        assert!(h.join(&mut cx).unwrap());
        let mut with = Task::from_waker(&good);
        for task in &mut tasks {
            assert_eq!(task.as_mut().poll(&mut with), Poll::Ready(Settled::Value(&3)));
        }
    });
}

#[test]
fn many_threads_settle_one_wins_and_all_read_the_same() {
    for _ in 0..200 {
        let (r, p) = promise::new::<Box<usize>, Box<usize>>();
        let won = AtomicUsize::new(0);
        std::thread::scope(|s| {
            for n in 0..4 {
                let (r, p, won) = (r.clone(), p.clone(), &won);
                s.spawn(move || {
                    let settled = match n % 2 {
                        0 => r.resolve(Box::new(n)).is_ok(),
                        _ => r.reject(Box::new(n)).is_ok(),
                    };
                    won.fetch_add(settled.into(), SeqCst);
                    while p.get().is_none() {
                        std::thread::yield_now();
                    }
                    match p.get().unwrap() {
                        Settled::Value(v) => assert_eq!(**v % 2, 0),
                        Settled::Error(e) => assert_eq!(**e % 2, 1),
                        _ => panic!("nobody cancels"),
                    }
                });
            }
        });
        assert_eq!(won.load(SeqCst), 1);
    }
}
