//! The baton: one Lisp thread at a time, handed on in order, the same way in every run.

mod scene;

use scene::*;
use selvedge::*;
use std::collections::HashSet;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::{Duration, Instant};

fn seeded(seed: u64) -> Runtime {
    Runtime::builder().baton(true).schedule(Schedule::new().pick(Pick::Seeded(seed))).build()
}
/// What a program said. Under the baton its order is the order of the turns.
#[derive(Clone, Default)]
struct Transcript(Arc<StdMutex<Vec<String>>>);
impl Transcript {
    fn say(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }
    fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().unwrap()).join(" ")
    }
}

/// Set while a Lisp thread runs.
#[derive(Clone, Default)]
struct Alone(Arc<AtomicBool>);
impl Alone {
    /// From here to the drop nobody else is in here.
    fn enter(&self) -> Inside<'_> {
        assert!(!self.0.swap(true, SeqCst), "two Lisp threads run");
        Inside(&self.0)
    }
}
struct Inside<'a>(&'a AtomicBool);
impl Drop for Inside<'_> {
    fn drop(&mut self) {
        assert!(self.0.swap(false, SeqCst));
    }
}

#[test]
fn one_thread_runs_at_a_time() {
    guarded(|| {
        let vm = baton();
        let mut cx = vm.attach("main").unwrap();
        let alone = Alone::default();
        let m = leaked();
        let c: &'static Condvar<&Mutex> = Box::leak(Box::new(Condvar::new(m)));
        // Some time in which a second runner would show.
        let work = |alone: &Alone| {
            let _inside = alone.enter();
            for _ in 0..200 {
                std::hint::spin_loop();
            }
        };
        let hs: Vec<_> = (0..6u64)
            .map(|i| {
                let alone = alone.clone();
                let h = vm.spawn((), move |cx| {
                    for k in 0..60u64 {
                        work(&alone);
                        match (i + k) % 6 {
                            0 => drop(m.lock(cx).map_err(drop)?),
                            1 => {
                                let held = m.lock(cx).map_err(drop)?;
                                work(&alone);
                                let _ = yield_now(cx);
                                work(&alone);
                                drop(held);
                            }
                            2 => {
                                let _held = m.lock(cx).map_err(drop)?;
                                let end = Instant::now() + Duration::from_micros(50 * k);
                                let _ = c.wait_until(cx, end);
                                work(&alone);
                            }
                            3 => {
                                let _held = m.lock(cx).map_err(drop)?;
                                work(&alone);
                                c.notify_one(cx).map_err(drop)?;
                            }
                            4 => {
                                let end = Instant::now() + Duration::from_micros(20 * k);
                                sleep_until(cx, end).map_err(drop)?;
                            }
                            _ => outside(cx, |o| {
                                std::thread::yield_now();
                                o.inside(|_| work(&alone));
                            }),
                        }
                    }
                    work(&alone);
                    Unit::Ok(())
                });
                h.unwrap()
            })
            .collect();
        // Threads that come and go from outside take turns as well.
        let guests: Vec<_> = (0..3)
            .map(|_| {
                let (vm, alone) = (vm.clone(), alone.clone());
                std::thread::spawn(move || {
                    for _ in 0..20 {
                        let mut cx = vm.attach("guest").unwrap();
                        work(&alone);
                        let _ = yield_now(&mut cx);
                        work(&alone);
                    }
                })
            })
            .collect();
        for h in hs {
            h.join(&mut cx).unwrap();
            work(&alone);
        }
        outside(&mut cx, |_| guests.into_iter().for_each(|g| g.join().unwrap()));
        assert!(m.owner().is_none() && m.waiters() == 0 && c.waiters() == 0);
    });
}

#[test]
fn yields_go_round_in_order() {
    guarded(|| {
        let vm = baton();
        let mut cx = vm.attach("main").unwrap();
        let t = Transcript::default();
        let hs: Vec<_> = ["a", "b", "c"]
            .map(|name| {
                let t = t.clone();
                let h = vm.spawn(name, move |cx| {
                    for n in 0..3 {
                        t.say(format!("{name}{n}"));
                        let _ = yield_now(cx);
                    }
                    Unit::Ok(())
                });
                h.unwrap()
            })
            .into();
        // Nobody ran: the spawner keeps the baton.
        assert_eq!(t.take(), "");
        let _ = yield_now(&mut cx);
        t.say("main");
        assert_eq!(t.take(), "a0 b0 c0 main");
        let _ = yield_now(&mut cx);
        t.say("main");
        for h in &hs {
            h.join(&mut cx).unwrap();
        }
        assert_eq!(t.take(), "a1 b1 c1 main a2 b2 c2");
    });
}

#[test]
fn the_thread_runs_on_after_spawn_release_and_notify() {
    guarded(|| {
        let vm = baton();
        let mut cx = vm.attach("main").unwrap();
        let t = Transcript::default();
        let m = leaked();
        let c: &'static Condvar<&Mutex> = Box::leak(Box::new(Condvar::new(m)));
        let t1 = t.clone();
        let a = vm.spawn("a", move |cx| {
            let _held = m.lock(cx).map_err(drop)?;
            t1.say("a-waits");
            c.wait(cx).map_err(drop)?;
            t1.say("a-notified");
            Unit::Ok(())
        });
        t.say("spawned");
        let _ = yield_now(&mut cx);
        let held = m.lock(&mut cx).unwrap();
        let t2 = t.clone();
        let b = vm.spawn("b", move |cx| {
            t2.say("b-locks");
            let _held = m.lock(cx).map_err(drop)?;
            t2.say("b-has-it");
            Unit::Ok(())
        });
        let _ = yield_now(&mut cx);
        c.notify_one(&cx).unwrap();
        t.say("notified");
        drop(held);
        t.say("released");
        assert_eq!(a.as_ref().unwrap().signal(&cx, ()), Ok(Delivery::Queued));
        t.say("signalled");
        b.unwrap().join(&mut cx).unwrap();
        t.say("joined-b");
        a.unwrap().join(&mut cx).unwrap();
        // b queued for the mutex before a was moved there.
        assert_eq!(
            t.take(),
            "spawned a-waits b-locks notified released signalled b-has-it a-notified joined-b"
        );
    });
}

#[test]
fn waiters_of_a_mutex_take_their_turns_in_order() {
    guarded(|| {
        let vm = baton();
        let mut cx = vm.attach("main").unwrap();
        let t = Transcript::default();
        let m = leaked();
        let mut round = || {
            let held = m.lock(&mut cx).unwrap();
            let hs: Vec<_> = ["a", "b", "c", "d"]
                .into_iter()
                .map(|name| {
                    let t = t.clone();
                    let h = vm.spawn(name, move |cx| {
                        for n in 0..2 {
                            let _held = m.lock(cx).map_err(drop)?;
                            t.say(format!("{name}{n}"));
                        }
                        Unit::Ok(())
                    });
                    h.unwrap()
                })
                .collect();
            let _ = yield_now(&mut cx);
            assert_eq!((m.waiters(), t.take().as_str()), (4, ""));
            drop(held);
            for h in &hs {
                h.join(&mut cx).unwrap();
            }
            t.take()
        };
        // Who releases may lock again before the woken waiter runs, once: then it is handed over.
        let first = round();
        assert_eq!(first.split(' ').count(), 8);
        for _ in 0..20 {
            assert_eq!(round(), first);
        }
    });
}

/// Who was woken and found the mutex taken again is first, before those that came after it.
#[test]
fn a_waiter_that_lost_keeps_its_place() {
    guarded(|| {
        let vm = baton();
        let mut cx = vm.attach("main").unwrap();
        let t = Transcript::default();
        let m = leaked();
        let held = m.lock(&mut cx).unwrap();
        let hs: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .map(|name| {
                let t = t.clone();
                let h = vm.spawn(name, move |cx| {
                    let _held = m.lock(cx).map_err(drop)?;
                    t.say(name);
                    Unit::Ok(())
                });
                h.unwrap()
            })
            .collect();
        let _ = yield_now(&mut cx);
        assert_eq!(m.waiters(), 3);
        drop(held); // wakes a
        let held = m.lock(&mut cx).unwrap(); // but is quicker
        t.say("main");
        let _ = yield_now(&mut cx);
        assert_eq!(m.waiters(), 3);
        drop(held); // hands over
        assert!(!m.is_owner(&cx));
        assert_eq!(m.owner().unwrap().id(), hs[0].id());
        for h in hs {
            h.join(&mut cx).unwrap();
        }
        assert_eq!(t.take(), "main a b c");
    });
}

/// Many threads: mutex, condition variable, yield, join, spawn, recursion, signals. No deadline.
fn program(vm: &Runtime) -> String {
    let mut cx = vm.attach("main").unwrap();
    let t = Transcript::default();
    let m = Arc::new(Mutex::new());
    let full = Arc::new(Condvar::new(m.clone()));
    let empty = Arc::new(Condvar::new(m.clone()));
    let slots = Arc::new(StdMutex::new(Vec::<u32>::new()));
    let producers: Vec<_> = (0..2u32)
        .map(|p| {
            let (t, m, full, empty, slots) =
                (t.clone(), m.clone(), full.clone(), empty.clone(), slots.clone());
            let h = vm.spawn((), move |cx| {
                for n in 0..3 {
                    let _held = m.lock(cx).map_err(|_| ())?;
                    let _again = m.lock(cx).map_err(|_| ())?;
                    while slots.lock().unwrap().len() == 2 {
                        t.say(format!("p{p}-waits"));
                        empty.wait(cx).map_err(|_| ())?;
                    }
                    slots.lock().unwrap().push(p * 10 + n);
                    t.say(format!("p{p}+{}", p * 10 + n));
                    full.notify_one(cx).map_err(|_| ())?;
                    if n == 1 {
                        let _ = yield_now(cx);
                    }
                }
                Unit::Ok(())
            });
            h.unwrap()
        })
        .collect();
    let consumers: Vec<_> = (0..3)
        .map(|c| {
            let (t, m, full, empty, slots) =
                (t.clone(), m.clone(), full.clone(), empty.clone(), slots.clone());
            let vm2 = vm.clone();
            let h = vm.spawn((), move |cx| {
                for n in 0..2 {
                    let held = m.lock(cx).map_err(|_| ())?;
                    while slots.lock().unwrap().is_empty() {
                        t.say(format!("c{c}-waits"));
                        full.wait(cx).map_err(|_| ())?;
                    }
                    let got = slots.lock().unwrap().remove(0);
                    t.say(format!("c{c}={got}"));
                    empty.notify_all(cx).map_err(|_| ())?;
                    drop(held);
                    let t2 = t.clone();
                    let child = vm2.spawn((), move |cx| {
                        let _ = yield_now(cx);
                        t2.say(format!("child{c}{n}"));
                        Ok::<_, ()>(got)
                    });
                    if n == 0 {
                        let _ = yield_now(cx);
                    }
                    assert_eq!(child.unwrap().join(cx).unwrap(), got);
                }
                Unit::Ok(())
            });
            h.unwrap()
        })
        .collect();
    let t2 = t.clone();
    let late = vm.spawn((), move |cx| {
        let end = sleep_until(cx, far());
        t2.say(format!("late-{end:?}"));
        Unit::Ok(())
    });
    let late = late.unwrap();
    for (i, h) in producers.iter().chain(&consumers).enumerate() {
        h.join(&mut cx).unwrap();
        t.say(format!("joined{i}"));
        if i == 2 {
            assert_eq!(late.signal(&cx, ()), Ok(Delivery::Queued));
        }
    }
    late.join(&mut cx).unwrap();
    assert!(m.owner().is_none() && m.waiters() == 0);
    assert_eq!((full.waiters(), empty.waiters()), (0, 0));
    t.take()
}

#[test]
fn a_program_without_deadlines_does_the_same_in_a_thousand_runs() {
    guarded(|| {
        let first = program(&baton());
        assert!(first.contains("waits"), "nobody ever waited: {first}");
        for run in 1..1_000 {
            assert_eq!(program(&baton()), first, "run {run}");
        }
    });
}

#[test]
fn a_seed_is_a_schedule() {
    guarded(|| {
        let mut seen = HashSet::new();
        for seed in 0..40 {
            let first = program(&seeded(seed));
            for _ in 0..3 {
                assert_eq!(program(&seeded(seed)), first, "seed {seed}");
            }
            seen.insert(first);
        }
        assert!(seen.len() >= 20, "40 seeds gave {} schedules", seen.len());
        seen.insert(program(&baton()));
    });
}

/// Random schedules are fair to nobody, but they all come to the end.
#[test]
fn every_seed_comes_to_an_end() {
    guarded(|| {
        for seed in 0..60 {
            let vm = seeded(seed);
            let mut cx = vm.attach("main").unwrap();
            let m = leaked();
            let n = Arc::new(AtomicU32::new(0));
            let hs: Vec<_> = (0..4)
                .map(|_| {
                    let n = n.clone();
                    let h = vm.spawn((), move |cx| {
                        for _ in 0..10 {
                            let _held = m.lock(cx).map_err(drop)?;
                            let seen = n.load(SeqCst);
                            let _ = yield_now(cx);
                            n.store(seen + 1, SeqCst);
                        }
                        Unit::Ok(())
                    });
                    h.unwrap()
                })
                .collect();
            for h in hs {
                h.join(&mut cx).unwrap();
            }
            assert_eq!(n.load(SeqCst), 40);
        }
    });
}

#[test]
fn sleepers_wake_in_the_order_of_their_deadlines() {
    guarded(|| {
        let vm = baton();
        let mut cx = vm.attach("main").unwrap();
        let (mut lead, mut orders) = (Duration::from_millis(5), 0);
        while orders < 5 {
            let t = Transcript::default();
            let start = Instant::now() + lead;
            let hs: Vec<_> = [3u64, 1, 4, 0, 2, 2, 1]
                .into_iter()
                .enumerate()
                .map(|(i, at)| {
                    let t = t.clone();
                    let h = vm.spawn((), move |cx| {
                        sleep_until(cx, start + Duration::from_millis(at)).map_err(drop)?;
                        t.say(format!("{at}/{i}"));
                        Unit::Ok(())
                    });
                    h.unwrap()
                })
                .collect();
            let _ = yield_now(&mut cx);
            let all_sleep = Instant::now() < start;
            // All are due before anybody may run: the order is theirs, not the clock's.
            while Instant::now() < start + Duration::from_millis(5) {
                std::hint::spin_loop();
            }
            for h in hs {
                h.join(&mut cx).unwrap();
            }
            if all_sleep {
                assert_eq!(t.take(), "0/3 1/1 1/6 2/4 2/5 3/0 4/2");
                orders += 1;
            } else {
                lead *= 2; // a slow machine: the first was due before the last slept
            }
        }
    });
}

#[test]
fn a_deadline_that_has_passed_gives_the_baton_up_once() {
    guarded(|| {
        let vm = baton();
        let mut cx = vm.attach("main").unwrap();
        let t = Transcript::default();
        let t2 = t.clone();
        let h = vm.spawn((), move |_| {
            t2.say("other");
            Unit::Ok(())
        });
        t.say("main");
        sleep_until(&mut cx, Instant::now()).unwrap();
        t.say("main");
        assert_eq!(t.take(), "main other main");
        h.unwrap().join(&mut cx).unwrap();
    });
}

/// Deadlines that fire while others run: timed locks and waits, against releases and notifications.
#[test]
fn deadlines_race_with_what_they_wait_for() {
    guarded(|| {
        for round in 0..60u64 {
            let vm = if round % 2 == 0 { baton() } else { seeded(round) };
            let mut cx = vm.attach("main").unwrap();
            let m = leaked();
            let c: &'static Condvar<&Mutex> = Box::leak(Box::new(Condvar::new(m)));
            let hs: Vec<_> = (0..5u64)
                .map(|i| {
                    let h = vm.spawn((), move |cx| {
                        for k in 0..10u64 {
                            let end = Instant::now() + Duration::from_micros(i * 10 + k * round);
                            if let Ok(held) = m.lock_until(cx, end) {
                                if (i + k) % 2 == 0 {
                                    let _ = c.wait_until(cx, end);
                                    assert_eq!(m.depth(cx), 1);
                                } else {
                                    let _ = yield_now(cx);
                                    c.notify_one(cx).map_err(drop)?;
                                }
                                drop(held);
                            }
                        }
                        Unit::Ok(())
                    });
                    h.unwrap()
                })
                .collect();
            for h in hs {
                h.join(&mut cx).unwrap();
            }
            assert!(m.owner().is_none() && m.waiters() == 0 && c.waiters() == 0);
        }
    });
}

#[test]
fn outside_gives_the_baton_up_and_comes_back_for_it() {
    guarded(|| {
        let vm = baton();
        let mut cx = vm.attach("main").unwrap();
        let (ran, back) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (r, b) = (ran.clone(), back.clone());
        let h = vm.spawn("meanwhile", move |cx| {
            while !b.load(SeqCst) {
                r.fetch_add(1, SeqCst);
                let _ = yield_now(cx);
            }
            // From here on it keeps the baton: the other one cannot be back before this ends.
            for _ in 0..1_000 {
                r.fetch_add(1, SeqCst);
                std::hint::spin_loop();
            }
            r.store(0, SeqCst);
            Unit::Ok(())
        });
        assert_eq!(ran.load(SeqCst), 0);
        outside(&mut cx, |o| {
            // Blocked by foreign means until the other one has run a while.
            while ran.load(SeqCst) < 100 {
                std::thread::yield_now();
            }
            // A callback has its turn: nobody else runs meanwhile.
            o.inside(|_| {
                let n = ran.load(SeqCst);
                std::thread::sleep(Duration::from_millis(2));
                assert_eq!(ran.load(SeqCst), n);
            });
            let n = ran.load(SeqCst);
            while ran.load(SeqCst) == n {
                std::thread::yield_now();
            }
            back.store(true, SeqCst);
            while ran.load(SeqCst) != 0 {
                std::thread::yield_now();
            }
        });
        h.unwrap().join(&mut cx).unwrap();
    });
}

#[test]
fn attach_waits_for_its_turn() {
    guarded(|| {
        let vm = baton();
        let mut cx = vm.attach("main").unwrap();
        let turn = Arc::new(AtomicBool::new(false));
        let (vm2, t) = (vm.clone(), turn.clone());
        let guest = std::thread::spawn(move || {
            let mut cx = vm2.attach("guest").unwrap();
            assert!(t.load(SeqCst), "main has not given the baton up yet");
            assert!(!cx.thread().is_main());
            let _ = yield_now(&mut cx);
        });
        // It is registered before it has its turn.
        while vm.all_threads().len() < 2 {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(2));
        assert!(vm.all_threads()[1].is_alive());
        turn.store(true, SeqCst);
        let _ = yield_now(&mut cx);
        outside(&mut cx, |_| guest.join().unwrap());
        assert_eq!(vm.all_threads().len(), 1);
    });
}

#[test]
fn the_end_of_a_thread_hands_the_baton_on() {
    guarded(|| {
        let vm = baton();
        let t = Transcript::default();
        type End = fn(&mut Participant) -> Unit;
        let ends: [(&str, End); 5] = [
            ("returns", |_| Ok(())),
            ("fails", |_| Err(())),
            ("panics", |_| resume_unwind(Box::new("end"))),
            ("yields", |cx| yield_now(cx).is_quiet().then_some(()).ok_or(())),
            ("holds", |cx| leaked().acquire(cx).map(drop).map_err(drop)),
        ];
        let mut cx = vm.attach("main").unwrap();
        let hs: Vec<_> = ends
            .into_iter()
            .map(|(name, end)| {
                let t = t.clone();
                let h = vm.spawn(name, move |cx| {
                    t.say(name);
                    end(cx)
                });
                h.unwrap()
            })
            .collect();
        // The main thread leaves: the others go on by themselves.
        let last = hs.last().unwrap().clone();
        drop(cx);
        while hs.iter().any(|h| h.exit().is_none()) {
            std::thread::yield_now();
        }
        assert!(last.exit().unwrap().is_ok());
        assert_eq!(t.take(), "returns fails panics yields holds");
        assert!(hs[2].exit().unwrap().panic().is_some());
        // And the baton is free for whoever comes.
        cx = vm.attach("again").unwrap();
        let _ = yield_now(&mut cx);
    });
}

/// The result of a thread that nobody knows any more is dropped; so is what it was sent.
#[test]
fn what_a_thread_leaves_behind_is_dropped_in_a_turn() {
    struct Left(Alone, Arc<AtomicU32>);
    impl Drop for Left {
        fn drop(&mut self) {
            let _inside = self.0.enter();
            for _ in 0..20_000 {
                std::hint::spin_loop();
            }
            self.1.fetch_add(1, SeqCst);
        }
    }
    #[derive(Clone)]
    #[allow(dead_code)]
    struct Value(Arc<Left>);
    guarded(|| {
        let vm = baton();
        let mut cx = vm.attach("main").unwrap();
        let (alone, dropped) = (Alone::default(), Arc::new(AtomicU32::new(0)));
        for n in 0..100 {
            let left = Value(Arc::new(Left(alone.clone(), dropped.clone())));
            drop(vm.spawn((), move |_| Ok::<_, ()>(left)).unwrap());
            let a = alone.clone();
            let h = vm.spawn((), move |_| {
                let _inside = a.enter();
                for _ in 0..20_000 {
                    std::hint::spin_loop();
                }
                Unit::Ok(())
            });
            h.unwrap().join(&mut cx).unwrap();
            {
                let _inside = alone.enter();
                for _ in 0..20_000 {
                    std::hint::spin_loop();
                }
            }
            let end = Instant::now() + Duration::from_secs(20);
            while dropped.load(SeqCst) != n + 1 {
                assert!(Instant::now() < end);
                outside(&mut cx, |_| std::thread::yield_now());
            }
        }
    });
}

#[test]
fn shutdown_ends_endless_yields_and_blocked_threads() {
    guarded(|| {
        let vm = baton();
        let mut cx = vm.attach("main").unwrap();
        let t = Transcript::default();
        let (m, own) = (leaked(), leaked());
        let c: &'static Condvar<&Mutex> = Box::leak(Box::new(Condvar::new(own)));
        let held = m.lock(&mut cx).unwrap();
        let endless = |name: &'static str| {
            let t = t.clone();
            let h = vm.spawn(name, move |cx| {
                while !yield_now(cx).shut_down() {}
                t.say(name);
                Unit::Ok(())
            });
            h.unwrap()
        };
        let first = endless("first");
        let (t1, t2, t3, t4) = (t.clone(), t.clone(), t.clone(), t.clone());
        let main = cx.thread().clone();
        let blocked = [
            vm.spawn("lock", move |cx| {
                t1.say(format!("{:?}", m.lock(cx).map(drop)));
                Unit::Ok(())
            }),
            vm.spawn("wait", move |cx| {
                let _held = own.lock(cx).map_err(drop)?;
                t2.say(format!("{:?}", c.wait(cx)));
                Unit::Ok(())
            }),
            vm.spawn("join", move |cx| {
                t3.say(format!("{:?}", main.join(cx).map(drop)));
                Unit::Ok(())
            }),
            vm.spawn("sleep", move |cx| {
                t4.say(format!("{:?}", sleep_until(cx, far())));
                Unit::Ok(())
            }),
        ]
        .map(|h| h.unwrap());
        for _ in 0..3 {
            let _ = yield_now(&mut cx);
        }
        assert_eq!((m.waiters(), c.waiters(), t.take().as_str()), (1, 1, ""));
        // Queued, but it has not run yet.
        let last = endless("last");
        vm.shutdown(&cx);
        assert_eq!(t.take(), "", "the caller keeps the baton");
        assert!(!yield_now(&mut cx).shut_down());
        for h in blocked.iter().chain([&first, &last]) {
            h.join(&mut cx).unwrap();
        }
        drop(held);
        assert_eq!(
            t.take(),
            "first Err(ShutDown) Err(Lost(ShutDown)) Err(ShutDown) Err(ShutDown) last",
            "the waits were ended while `last` was queued; it yields once before it looks"
        );
        assert_eq!(vm.all_threads().len(), 1);
        assert!(own.owner().is_none() && m.owner().is_none());
    });
}

/// A thread that nobody else wakes still wakes by its deadline, and so does the only thread there is.
#[test]
fn when_all_sleep_the_first_deadline_wakes_one() {
    guarded(|| {
        let vm = baton();
        let mut cx = vm.attach("main").unwrap();
        let soon = Instant::now() + Duration::from_millis(3);
        sleep_until(&mut cx, soon).unwrap();
        assert!(Instant::now() >= soon);
        let m = leaked();
        let h = vm.spawn("holds and sleeps", move |cx| {
            let _held = m.lock(cx).map_err(drop)?;
            sleep_until(cx, Instant::now() + Duration::from_millis(5)).map_err(drop)
        });
        let _ = yield_now(&mut cx);
        assert_eq!(
            m.lock_until(&mut cx, Instant::now() + Duration::from_millis(1)).map(drop),
            Err(LockError::TimedOut)
        );
        drop(m.lock_until(&mut cx, far()).unwrap());
        h.unwrap().join(&mut cx).unwrap();
        // All are outside or asleep: the sleeper gets its turn by itself.
        let h = vm.spawn("sleeps", |cx| sleep_until(cx, Instant::now() + Duration::from_millis(2)));
        let h = h.unwrap();
        outside(&mut cx, |_| {
            while h.exit().is_none() {
                std::thread::yield_now();
            }
        });
        h.join(&mut cx).unwrap();
    });
}

/// Inside a hook or a scope without waits, a yield keeps the baton.
#[test]
fn a_yield_where_waiting_is_refused_keeps_the_baton() {
    guarded(|| {
        let vm = baton();
        let mut cx = vm.attach("main").unwrap();
        let t = Transcript::default();
        let t2 = t.clone();
        let h = vm.spawn("other", move |_| {
            t2.say("other");
            Unit::Ok(())
        });
        no_blocking(&mut cx, |cx| {
            for _ in 0..10 {
                assert!(yield_now(cx).is_quiet());
            }
        });
        assert_eq!(t.take(), "");
        let _ = yield_now(&mut cx);
        assert_eq!(t.take(), "other");
        h.unwrap().join(&mut cx).unwrap();
    });
}

/// Two runtimes, each with a baton of its own, run side by side.
#[test]
fn batons_of_two_runtimes_are_two() {
    guarded(|| {
        let (a, b) = (baton(), baton());
        let mut ca = a.attach("a").unwrap();
        let met = Arc::new(AtomicBool::new(false));
        let m = met.clone();
        let b2 = b.clone();
        let os = std::thread::spawn(move || {
            let _cb = b2.attach("b").unwrap();
            // While it holds the baton of `b`, `a` runs.
            while !m.load(SeqCst) {
                std::thread::yield_now();
            }
        });
        met.store(true, SeqCst);
        os.join().unwrap();
        let _ = yield_now(&mut ca);
    });
}
