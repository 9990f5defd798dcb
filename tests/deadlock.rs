//! Deadlocks on real threads: every planted ring is found, exactly one thread of it is told, the others go on; nothing else
//! is ever called a deadlock. What the models show for two and three threads is in `loom-tests/tests/deadlock.rs`.

mod scene;

use scene::*;
use selvedge::*;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

/// Nothing but the long run takes that long.
const LIMIT: Duration = Duration::from_secs(60);

/// Sooner than the scene's: random operations wait that long often.
fn soon() -> Instant {
    Instant::now() + Duration::from_millis(1)
}

/// `n` threads that do the same.
fn crowd(
    vm: &Runtime,
    n: usize,
    work: impl Fn(&mut Participant, usize) + Send + Sync + 'static,
) -> Vec<JoinHandle<(), ()>> {
    let work = Arc::new(work);
    let one = |i| {
        let work = work.clone();
        let h = vm.spawn((), move |cx| {
            work(cx, i);
            Unit::Ok(())
        });
        h.unwrap()
    };
    (0..n).map(one).collect()
}

fn cycle_of<T: std::fmt::Debug>(r: Result<T, LockError>) -> Option<Cycle> {
    match r {
        Ok(_) => None,
        Err(LockError::Deadlock(cycle)) => Some(cycle),
        Err(e) => panic!("{e}"),
    }
}

/// What holds of every report: it leads once around, and each thread holds what the one before it waits for.
fn judge(cycle: &Cycle, length: usize) {
    let links = cycle.links();
    assert_eq!(links.len(), length, "{cycle}");
    for (i, link) in links.iter().enumerate() {
        let before = &links[(i + length - 1) % length];
        assert_eq!(link.holds().to_string(), before.waits_for().to_string(), "{cycle}");
        assert!(links.iter().filter(|l| l.thread() == link.thread()).count() == 1, "{cycle}");
    }
}

/// `n` threads take mutex i, meet, and take mutex i + 1. The report of the one that was told.
fn ring(vm: &Runtime, cx: &mut Participant, n: usize, tag: &str) -> Cycle {
    let m: Arc<Vec<Mutex>> = Arc::new((0..n).map(|i| Mutex::named(&format!("{tag}{i}"))).collect());
    let held = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (0..n)
        .map(|i| {
            let (m, held) = (m.clone(), held.clone());
            vm.spawn(format!("{tag}-{i}"), move |cx| {
                let _mine = m[i].lock(cx).unwrap();
                held.fetch_add(1, SeqCst);
                until(cx, "all hold", || held.load(SeqCst) as usize == n);
                let cycle = cycle_of(m[(i + 1) % n].lock(cx));
                if let Some(cycle) = &cycle {
                    assert_eq!(cycle.links()[0].thread(), cx.thread());
                }
                Ok::<_, ()>(cycle)
            })
            .unwrap()
        })
        .collect();
    let start = Instant::now();
    let mut cycles: Vec<Cycle> = threads.iter().filter_map(|t| t.join(cx).unwrap()).collect();
    println!("ring of {n}: told and undone after {:?}", start.elapsed());
    assert_eq!(cycles.len(), 1, "exactly one thread is told");
    assert!(m.iter().all(|m| m.owner().is_none() && m.waiters() == 0));
    cycles.remove(0)
}

#[test]
fn rings_of_any_length_are_found_and_undone() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        for n in [2, 3, 8] {
            for _ in 0..20 {
                let cycle = ring(&vm, &mut cx, n, "r");
                judge(&cycle, n);
            }
        }
    });
}

#[test]
fn the_report_says_who_holds_and_waits_for_what() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let (x, y) = (Arc::new(Mutex::named("x")), Arc::new(Mutex::named("y")));
        let a = {
            let (x, y) = (x.clone(), y.clone());
            vm.spawn("a", move |cx| {
                let _x = x.lock(cx).unwrap();
                until(cx, "y is held", || y.owner().is_some());
                cycle_of(y.lock(cx)).map_or(Ok(()), |c| Err(c.to_string()))
            })
            .unwrap()
        };
        let b = {
            let (x, y, a) = (x.clone(), y.clone(), a.thread().clone());
            vm.spawn("b", move |cx| {
                let _y = y.lock(cx).unwrap();
                until_blocked(cx, &a, BlockerKind::Mutex);
                let r = x.lock(cx);
                let e = r.as_ref().unwrap_err().clone();
                assert_eq!(e, e.clone());
                let cycle = cycle_of(r).unwrap();
                let links = cycle.links();
                assert_eq!((links[0].thread(), links[1].thread()), (cx.thread(), &a));
                assert_eq!(links[0].waits_for().name(), Some("x"));
                assert_eq!(links[0].holds().name(), Some("y"));
                assert!(!x.is_owner(cx) && y.is_owner(cx), "the victim keeps what it had");
                Ok::<_, ()>(format!("{cycle} / {e}"))
            })
            .unwrap()
        };
        let text =
            "deadlock: b holds mutex y, waits for mutex x; a holds mutex x, waits for mutex y";
        assert_eq!(b.join(&mut cx).unwrap(), format!("{text} / {text}"));
        a.join(&mut cx).unwrap();
    });
}

#[test]
fn reports_have_one_line_whatever_the_names() {
    both(|vm| {
        let mut cx = vm.attach("ma\nin").unwrap();
        let m = Arc::new(Mutex::named("m\u{2028}\n"));
        m.acquire(&mut cx).unwrap();
        let n = m.clone();
        let t = vm.spawn("\x1b[t", move |cx| n.lock(cx).map(drop)).unwrap();
        until_blocked(&mut cx, &t, BlockerKind::Mutex);
        assert_eq!(t.blocker().unwrap().to_string(), "mutex m  ");
        assert_eq!(t.blocker().unwrap().name(), Some("m\u{2028}\n"), "the name is what it was");
        let Err(JoinError::Deadlock(cycle)) = t.thread().join(&mut cx) else {
            panic!("a deadlock");
        };
        assert_eq!(cycle.links()[1].to_string(), " [t waits for mutex m  ");
        let text = "deadlock: ma in holds mutex m  , waits for join  [t;  [t waits for mutex m  ";
        assert_eq!(JoinError::Deadlock(cycle).to_string(), text);
        let graph = vm.wait_graph();
        assert_eq!(graph.to_string().lines().count(), 3);
        assert!(graph.to_dot().contains("[label=\"ma in\"]"), "{}", graph.to_dot());
        let lags = vm.laggards(Duration::ZERO);
        let text = lags.iter().find(|l| matches!(l.why(), Lag::Holds { .. })).unwrap().to_string();
        assert!(text.starts_with("ma in holds mutex m  , for which 1 waits"), "{text}");
        m.release(&cx).unwrap();
        t.join(&mut cx).unwrap();
    });
}

#[test]
fn several_rings_at_once() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let vm2 = vm.clone();
        let threads = crowd(&vm, 4, move |cx, i| {
            for n in [2, 3, 5] {
                judge(&ring(&vm2, cx, n, &format!("ring{i}.")), n);
            }
        });
        for t in threads {
            t.join(&mut cx).unwrap();
        }
    });
}

#[test]
fn a_ring_of_joins_and_mutexes() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::named("m"));
        m.acquire(&mut cx).unwrap();
        let n = m.clone();
        let inner = vm.spawn("inner", move |cx| Ok::<_, ()>(cycle_of(n.acquire(cx)).is_some()));
        let inner = inner.unwrap();
        let i = inner.thread().clone();
        // The one in between joins: three threads, two joins, one mutex.
        let middle = vm.spawn("middle", move |cx| i.join(cx).map(drop)).unwrap();
        until_blocked(&mut cx, &inner, BlockerKind::Mutex);
        until_blocked(&mut cx, &middle, BlockerKind::Join);
        let Err(JoinError::Deadlock(cycle)) = middle.thread().join(&mut cx) else {
            panic!("a deadlock");
        };
        judge(&cycle, 3);
        assert_eq!(
            cycle.to_string(),
            "deadlock: main holds mutex m, waits for join middle; middle waits for join inner; \
             inner waits for mutex m"
        );
        m.release(&cx).unwrap();
        middle.join(&mut cx).unwrap();
        assert!(!inner.join(&mut cx).unwrap());
    });
}

#[test]
fn victims_may_be_uninterruptible() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m: Arc<[Mutex; 2]> = Arc::new([Mutex::new(), Mutex::new()]);
        m[0].acquire(&mut cx).unwrap();
        let n = m.clone();
        let t = vm.spawn("t", move |cx| {
            n[1].acquire(cx).unwrap();
            let told = cycle_of(uninterruptible(cx, |cx| n[0].acquire(cx))).is_some();
            n[1].release(cx).unwrap();
            if !told {
                n[0].release(cx).unwrap();
            }
            Ok::<_, ()>(told)
        });
        let t = t.unwrap();
        until_blocked(&mut cx, &t, BlockerKind::Mutex);
        let mine = cycle_of(uninterruptible(&mut cx, |cx| m[1].acquire(cx)));
        judge(&mine.expect("who comes last is told"), 2);
        m[0].release(&cx).unwrap();
        assert!(!t.join(&mut cx).unwrap());
    });
}

/// A thread that was notified waits for the mutex; its new owner waits for what that thread holds beside.
#[test]
fn the_way_back_of_a_condition_wait_is_part_of_a_ring() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::named("m"));
        let c = Arc::new(Condvar::named(m.clone(), "c"));
        let other = Arc::new(Mutex::named("other"));
        let (m2, c2, other2) = (m.clone(), c.clone(), other.clone());
        let waiter = vm
            .spawn("waiter", move |cx| {
                let _held = other2.lock(cx).unwrap();
                let _m = m2.lock(cx).unwrap();
                // A wait with a deadline: once notified, it waits for ever.
                c2.wait_until(cx, Instant::now() + 10 * LIMIT).unwrap();
                Ok::<_, ()>(m2.is_owner(cx))
            })
            .unwrap();
        until(&mut cx, "it waits", || c.waiters() == 1);
        m.acquire(&mut cx).unwrap();
        assert!(c.notify_one(&cx).unwrap());
        let cycle = cycle_of(other.acquire(&mut cx)).expect("a ring");
        judge(&cycle, 2);
        assert_eq!(
            cycle.to_string(),
            "deadlock: main holds mutex m, waits for mutex other; waiter holds mutex other, waits for mutex m"
        );
        m.release(&cx).unwrap();
        assert!(waiter.join(&mut cx).unwrap());
    });
}

/// A victim on its way back from a condition-wait has lost the mutex, and its guards of that are void.
#[test]
fn a_victim_on_its_way_back_has_lost_the_mutex() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::named("m"));
        let c = Arc::new(Condvar::named(m.clone(), "c"));
        let other = Arc::new(Mutex::named("other"));
        let (m2, c2, other2) = (m.clone(), c.clone(), other.clone());
        let waiter = vm
            .spawn("waiter", move |cx| {
                let held = other2.lock(cx).unwrap();
                let guards = (m2.lock(cx).unwrap(), m2.lock(cx).unwrap());
                let Err(WaitError::Lost(Loss::Deadlock(cycle))) = c2.wait(cx) else {
                    panic!("the way back closes the ring");
                };
                assert!(!m2.is_owner(cx) && other2.is_owner(cx));
                assert!(cx.has_signal(), "the signal that ended the wait is pending");
                drop((guards, held));
                Ok::<_, ()>(cycle)
            })
            .unwrap();
        until(&mut cx, "it waits", || c.waiters() == 1);
        m.acquire(&mut cx).unwrap();
        let (main, w) = (cx.thread().clone(), waiter.thread().clone());
        let helper = vm
            .spawn("helper", move |cx| {
                until_blocked(cx, &main, BlockerKind::Mutex);
                // Ends the wait for the notification; the way back waits for `m`, whose owner waits for `other`.
                w.signal(cx, ()).map(drop).map_err(drop)
            })
            .unwrap();
        other.acquire(&mut cx).expect("the waiter is told and lets go");
        let cycle = waiter.join(&mut cx).unwrap();
        judge(&cycle, 2);
        assert_eq!(
            cycle.to_string(),
            "deadlock: waiter holds mutex other, waits for mutex m; main holds mutex m, waits for mutex other"
        );
        helper.join(&mut cx).unwrap();
        assert!(m.is_owner(&cx) && m.depth(&cx) == 1);
        m.release(&cx).unwrap();
        other.release(&cx).unwrap();
        assert_eq!((m.waiters(), other.waiters()), (0, 0));
    });
}

/// Two threads on their way back from condition-waits, and one that waits for what the first of them holds: who comes last
/// is told, be it that one (`signalled` false) or one on its way back.
fn two_ways_back(vm: Runtime, signalled: bool) {
    let mut cx = vm.attach("c").unwrap();
    let conds: [_; 2] = ["x", "y"].map(|n| Arc::new(Condvar::new(Arc::new(Mutex::named(n)))));
    let (x, y) = (conds[0].clone(), conds[1].clone());
    let last = Arc::new(Mutex::named("last"));
    let held = last.clone();
    let a = vm
        .spawn("a", move |cx| {
            let _last = held.lock(cx).unwrap();
            let _x = x.mutex().lock(cx).unwrap();
            match x.wait(cx) {
                Ok(_) => Ok(None),
                Err(WaitError::Lost(Loss::Deadlock(cycle))) => Ok(Some(cycle)),
                Err(e) => Err(e),
            }
        })
        .unwrap();
    let [x, y2] = conds;
    until(&mut cx, "a waits", || x.waiters() == 1);
    x.mutex().acquire(&mut cx).unwrap();
    let x2 = x.clone();
    let b = vm
        .spawn("b", move |cx| {
            let _y = y.mutex().lock(cx).unwrap();
            let _x = x2.mutex().lock(cx).unwrap();
            y.wait(cx).map(drop)
        })
        .unwrap();
    // In front of the first one in the queue of its mutex: it has the mutex when that comes back for it.
    until_blocked(&mut cx, b.thread(), BlockerKind::Mutex);
    if !signalled {
        assert!(x.notify_one(&cx).unwrap());
    }
    x.mutex().release(&cx).unwrap();
    until(&mut cx, "b waits", || y2.waiters() == 1);
    y2.mutex().acquire(&mut cx).unwrap();
    assert!(y2.notify_one(&cx).unwrap());
    let cycle = if signalled {
        let (me, first) = (cx.thread().clone(), a.thread().clone());
        let helper = vm.spawn("helper", move |cx| {
            until_blocked(cx, &me, BlockerKind::Mutex);
            first.signal(cx, ()).map(drop).map_err(drop)
        });
        last.acquire(&mut cx).expect("the first one is told and lets go");
        last.release(&cx).unwrap();
        helper.unwrap().join(&mut cx).unwrap();
        y2.mutex().release(&cx).unwrap();
        a.join(&mut cx).unwrap().expect("it is told")
    } else {
        let cycle = cycle_of(last.acquire(&mut cx)).expect("the last one is told");
        y2.mutex().release(&cx).unwrap();
        assert_eq!(a.join(&mut cx).unwrap(), None);
        cycle
    };
    b.join(&mut cx).unwrap();
    judge(&cycle, 3);
    let ring = ["a holds mutex last, waits for mutex x", "b holds mutex x, waits for mutex y"];
    let ring = [ring[0], ring[1], "c holds mutex y, waits for mutex last"];
    let ring = if signalled { ring } else { [ring[2], ring[0], ring[1]] };
    assert_eq!(cycle.to_string(), format!("deadlock: {}", ring.join("; ")));
    assert_eq!((x.mutex().waiters(), y2.mutex().waiters(), last.waiters()), (0, 0, 0));
    assert!(last.owner().is_none() && x.mutex().owner().is_none() && y2.mutex().owner().is_none());
}

#[test]
fn two_ways_back_are_part_of_a_ring() {
    both(|vm| two_ways_back(vm, false));
}

#[test]
fn one_of_two_ways_back_is_told() {
    both(|vm| two_ways_back(vm, true));
}

/// Waits with a deadline and waits for a notification are no part of a ring.
#[test]
fn waits_that_can_end_otherwise_are_not_reported() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m: Arc<[Mutex; 2]> = Arc::new([Mutex::new(), Mutex::new()]);
        m[0].acquire(&mut cx).unwrap();
        let n = m.clone();
        let t = vm.spawn("t", move |cx| {
            n[1].acquire(cx).unwrap();
            let end = n[0].acquire_until(cx, Instant::now() + Duration::from_millis(300));
            assert_eq!(end, Err(LockError::TimedOut));
            n[1].release(cx).unwrap();
            Ok::<_, ()>(())
        });
        let t = t.unwrap();
        // Or over: a loaded machine may not let this thread look before the deadline.
        until(&mut cx, "blocked", || t.blocker().is_some() || !t.is_alive());
        m[1].acquire(&mut cx).expect("the other one gives up");
        t.join(&mut cx).unwrap();
        m[1].release(&cx).unwrap();
        m[0].release(&cx).unwrap();
        // A join with a deadline, of a thread that waits for the caller's mutex.
        m[0].acquire(&mut cx).unwrap();
        let n = m.clone();
        let t = vm.spawn("u", move |cx| {
            n[0].acquire(cx).unwrap();
            n[0].release(cx).unwrap();
            Ok::<_, ()>(())
        });
        let t = t.unwrap();
        until_blocked(&mut cx, &t, BlockerKind::Mutex);
        assert_eq!(t.thread().join_until(&mut cx, soon()).unwrap_err(), JoinError::TimedOut);
        m[0].release(&cx).unwrap();
        t.join(&mut cx).unwrap();
    });
}

#[test]
fn the_look_can_be_switched_off() {
    guarded(|| {
        let vm = Runtime::builder().schedule(Schedule::new().detect_deadlocks(false)).build();
        let mut cx = vm.attach("main").unwrap();
        let m: Arc<[Mutex; 2]> = Arc::new([Mutex::new(), Mutex::new()]);
        m[0].acquire(&mut cx).unwrap();
        let n = m.clone();
        let t = vm.spawn("t", move |cx| {
            n[1].acquire(cx).unwrap();
            let end = n[0].acquire(cx);
            n[1].release(cx).unwrap();
            assert!(cx.take_signal().is_some());
            Ok::<_, ()>(end.unwrap_err())
        });
        let t = t.unwrap();
        until_blocked(&mut cx, &t, BlockerKind::Mutex);
        let out = t.thread().clone();
        let helper = vm.spawn("helper", move |cx| {
            sleep_until(cx, Instant::now() + Duration::from_millis(20)).unwrap();
            let _ = out.signal(cx, ()).unwrap();
            Ok::<_, ()>(())
        });
        m[1].acquire(&mut cx).unwrap();
        assert_eq!(t.join(&mut cx).unwrap(), LockError::Interrupted);
        helper.unwrap().join(&mut cx).unwrap();
        m[1].release(&cx).unwrap();
        m[0].release(&cx).unwrap();
    });
}

/// The operations of the long run; `SELVEDGE_STRESS=n` multiplies them.
fn operations() -> u64 {
    let times = std::env::var("SELVEDGE_STRESS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    1_000_000 * times
}

/// Threads that take mutexes in one order never deadlock, whatever else they do; nobody is told of one.
#[test]
fn no_false_report() {
    guarded_for(10 * LIMIT, || {
        let vm = Runtime::new();
        let mut cx = vm.attach("main").unwrap();
        let m: Arc<Vec<Arc<Mutex>>> = Arc::new((0..6).map(|_| Arc::new(Mutex::new())).collect());
        let c = Arc::new(Condvar::new(m[5].clone()));
        let (done, start) = (AtomicU64::new(0), Barrier::new(8));
        let goal = operations();
        let all = m.clone();
        let threads = crowd(&vm, 8, move |cx, i| {
            outside(cx, |_| start.wait());
            let mut random = 0x9e37_79b9_7f4a_7c15 ^ (i as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            while done.load(SeqCst) < goal {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let set = random >> 8 & 0x3f;
                let mut n = 0;
                for (j, m) in all.iter().enumerate() {
                    if set >> j & 1 == 1 {
                        m.acquire(cx).unwrap();
                        n += 1;
                    }
                }
                if set >> 5 == 1 {
                    // The mutex of the condition variable is the last one: the way back keeps the order.
                    match random >> 20 & 0xff {
                        0 => drop(c.wait_until(cx, soon())),
                        1 => drop(c.notify_all(cx).unwrap()),
                        _ => {}
                    }
                }
                for (j, m) in all.iter().enumerate() {
                    if set >> j & 1 == 1 {
                        m.release(cx).unwrap();
                    }
                }
                done.fetch_add(n, SeqCst);
            }
        });
        for t in threads {
            t.join(&mut cx).unwrap();
        }
        assert!(m.iter().all(|m| m.owner().is_none() && m.waiters() == 0));
    });
}

/// Rings and innocent traffic at once: as many reports as rings.
#[test]
fn rings_amid_traffic() {
    guarded(|| {
        let vm = Runtime::new();
        let mut cx = vm.attach("main").unwrap();
        let (m, stop) = (Arc::new(Mutex::new()), Arc::new(AtomicBool::new(false)));
        let (n, stopped) = (m.clone(), stop.clone());
        let traffic = crowd(&vm, 3, move |cx, _| {
            while !stopped.load(SeqCst) {
                let _held = n.lock(cx).unwrap();
                yield_now(cx);
            }
        });
        for _ in 0..50 {
            judge(&ring(&vm, &mut cx, 3, "t"), 3);
        }
        stop.store(true, SeqCst);
        for t in traffic {
            t.join(&mut cx).unwrap();
        }
    });
}

fn both_deaths(f: impl Fn(Runtime, OwnerDeath) + Send + Sync + Copy + 'static) {
    for baton in [false, true] {
        for death in [OwnerDeath::LeaveLocked, OwnerDeath::Abandon] {
            let vm = Runtime::builder().baton(baton).owner_death(death).build();
            guarded(move || f(vm, death));
        }
    }
}

/// A thread that takes `m` twice, waits until `ready`, and ends.
fn dies_holding(
    vm: &Runtime,
    m: &Arc<Mutex>,
    mut ready: impl FnMut() -> bool + Send + 'static,
) -> JoinHandle<(), ()> {
    let m = m.clone();
    vm.spawn("dead", move |cx| {
        m.acquire(cx).unwrap();
        m.acquire(cx).unwrap();
        until(cx, "ready", &mut ready);
        Ok(())
    })
    .unwrap()
}

#[test]
fn waiters_are_told_that_their_owner_died() {
    both_deaths(|vm, death| {
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::named("m"));
        let n = m.clone();
        let dead = dies_holding(&vm, &m, move || n.waiters() == 3);
        let id = dead.id();
        until(&mut cx, "held", || m.owner().is_some());
        let waiters: Vec<_> = (0..3)
            .map(|i| {
                let m = m.clone();
                vm.spawn(format!("w{i}"), move |cx| {
                    let timed = Instant::now() + 10 * LIMIT;
                    let r = if i == 0 { m.acquire_until(cx, timed) } else { m.acquire(cx) };
                    if r.is_ok() {
                        assert_eq!(m.depth(cx), 1, "the levels of the dead are gone");
                        m.release(cx).unwrap();
                    }
                    Ok::<_, ()>(r)
                })
                .unwrap()
            })
            .collect();
        dead.join(&mut cx).unwrap();
        let ends: Vec<_> = waiters.iter().map(|w| w.join(&mut cx).unwrap()).collect();
        match death {
            OwnerDeath::LeaveLocked => {
                assert!(ends.iter().all(|e| *e == Err(LockError::OwnerDied(id))), "{ends:?}");
                assert_eq!(m.try_lock(&cx).unwrap_err(), TryLockError::OwnerDied(id));
                assert_eq!(m.owner().map(|o| (o.id(), o.is_alive())), Some((id, false)));
            }
            _ => {
                let told = ends.iter().filter(|e| e.as_ref().unwrap().abandoned_by == Some(id));
                assert_eq!(told.count(), 1, "one took it from the dead: {ends:?}");
                assert!(m.owner().is_none());
            }
        }
        assert_eq!(m.waiters(), 0);
    });
}

#[test]
fn a_newcomer_meets_a_dead_owner() {
    both_deaths(|vm, death| {
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::new());
        let die = |cx: &mut Participant| {
            let dead = dies_holding(&vm, &m, || true);
            dead.join(cx).unwrap();
            dead.id()
        };
        let id = die(&mut cx);
        if death == OwnerDeath::LeaveLocked {
            assert_eq!(m.lock(&mut cx).unwrap_err(), LockError::OwnerDied(id));
            assert_eq!(m.acquire(&mut cx), Err(LockError::OwnerDied(id)));
            let guard = m.recover(&cx).unwrap();
            assert_eq!((guard.abandoned_by(), m.depth(&cx)), (Some(id), 1));
            assert_eq!(m.recover(&cx).unwrap_err(), RecoverError::NotDead { owner: cx.id() });
            drop(guard);
        } else {
            assert_eq!(m.lock(&mut cx).unwrap().abandoned_by(), Some(id));
            let id = die(&mut cx);
            assert_eq!(m.acquire(&mut cx).unwrap().abandoned_by, Some(id));
            assert_eq!(m.acquire(&mut cx).unwrap().abandoned_by, None, "told once");
            m.release(&cx).unwrap();
            m.release(&cx).unwrap();
            let id = die(&mut cx);
            let guard = m.try_lock(&cx).unwrap();
            assert_eq!(guard.abandoned_by(), Some(id));
            drop(guard);
            die(&mut cx);
            drop(m.recover(&cx).unwrap());
        }
        assert!(m.owner().is_none());
        assert_eq!(m.recover(&cx).unwrap_err(), RecoverError::Free);
        assert_eq!(m.lock(&mut cx).unwrap().abandoned_by(), None);
        // A living owner.
        let n = m.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let lives = vm.spawn("lives", move |cx| {
            let _held = n.lock(cx).unwrap();
            until(cx, "stop", || stopped.load(SeqCst));
            Ok::<_, ()>(())
        });
        let lives = lives.unwrap();
        until(&mut cx, "held", || m.owner().is_some());
        assert_eq!(m.recover(&cx).unwrap_err(), RecoverError::NotDead { owner: lives.id() });
        assert_eq!(m.try_lock(&cx).unwrap_err(), TryLockError::Taken);
        stop.store(true, SeqCst);
        lives.join(&mut cx).unwrap();
    });
}

/// The owner ends while notified threads, and one that timed out, are on their way back.
#[test]
fn the_way_back_meets_a_dead_owner() {
    both_deaths(|vm, death| {
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::new());
        let c = Arc::new(Condvar::new(m.clone()));
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let (m, c) = (m.clone(), c.clone());
                vm.spawn((), move |cx| {
                    let guards = (m.lock(cx).unwrap(), m.lock(cx).unwrap());
                    let r = c.wait(cx);
                    assert_eq!(m.depth(cx), if r.is_ok() { 2 } else { 0 });
                    drop(guards);
                    Ok::<_, ()>(r)
                })
                .unwrap()
            })
            .collect();
        until(&mut cx, "all wait", || c.waiters() == 3);
        let (m2, c2) = (m.clone(), c.clone());
        // Two are notified; the third one gets what the first that gives up passes on.
        let dead = vm.spawn("dead", move |cx| {
            m2.acquire(cx).unwrap();
            assert!(c2.notify_one(cx).unwrap() && c2.notify_one(cx).unwrap());
            Ok::<_, ()>(())
        });
        let dead = dead.unwrap();
        dead.join(&mut cx).unwrap();
        if death == OwnerDeath::Abandon {
            until(&mut cx, "two are through", || {
                waiters.iter().filter(|w| !w.is_alive()).count() == 2
            });
            let _held = m.lock(&mut cx).unwrap();
            assert!(c.notify_one(&cx).unwrap());
        }
        let ends: Vec<_> = waiters.iter().map(|w| w.join(&mut cx).unwrap()).collect();
        if death == OwnerDeath::LeaveLocked {
            let lost = Err(WaitError::Lost(Loss::OwnerDied(dead.id())));
            assert!(ends.iter().all(|e| *e == lost), "{ends:?}");
            assert_eq!(m.recover(&cx).unwrap().abandoned_by(), Some(dead.id()));
        } else {
            let told = ends.iter().filter(|e| e.as_ref().unwrap().abandoned_by == Some(dead.id()));
            assert_eq!(told.count(), 1, "{ends:?}");
        }
        assert!(m.owner().is_none() && m.waiters() == 0 && c.waiters() == 0);
    });
}

/// Whatever ended the wait for the notification: that the mutex was taken from the dead is told.
#[test]
fn an_interrupted_condition_wait_tells_of_the_dead_owner() {
    both_deaths(|vm, death| {
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::new());
        let c = Arc::new(Condvar::new(m.clone()));
        let (m2, c2) = (m.clone(), c.clone());
        let waiter = vm.spawn("waiter", move |cx| {
            let guard = m2.lock(cx).unwrap();
            let end = c2.wait(cx);
            assert!(cx.take_signal().is_some());
            assert_eq!(m2.is_owner(cx), end.is_ok());
            drop(guard);
            Ok::<_, ()>(end)
        });
        let waiter = waiter.unwrap();
        until(&mut cx, "it waits", || c.waiters() == 1);
        let (m2, w) = (m.clone(), waiter.thread().clone());
        let dead = vm.spawn("dead", move |cx| {
            m2.acquire(cx).unwrap();
            let _ = w.signal(cx, ()).map_err(drop)?;
            until(cx, "it wants the mutex back", || m2.waiters() == 1);
            Ok::<_, ()>(())
        });
        let dead = dead.unwrap();
        dead.join(&mut cx).unwrap();
        let end = waiter.join(&mut cx).unwrap();
        if death == OwnerDeath::LeaveLocked {
            assert_eq!(end, Err(WaitError::Lost(Loss::OwnerDied(dead.id()))));
            assert_eq!(m.owner().map(Owner::id), Some(dead.id()), "the guard is void");
        } else {
            assert_eq!(end.unwrap().abandoned_by, Some(dead.id()));
            assert!(m.owner().is_none());
        }
    });
}

#[test]
fn a_dead_owner_of_another_runtime() {
    guarded(|| {
        let (vm, other) = (Runtime::new(), Runtime::new());
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::new());
        let dead = dies_holding(&other, &m, || true);
        {
            let mut o = other.attach("main").unwrap();
            dead.join(&mut o).unwrap();
        }
        let (owner, mine, theirs) = (dead.id(), vm.id(), other.id());
        match m.recover(&cx) {
            Err(e) => {
                assert_eq!(e, RecoverError::ForeignRuntime { owner, mine, theirs });
                // Other tests' threads may get the record of the dead one, and then nobody knows whose it was.
                let e = m.lock(&mut cx).unwrap_err();
                let foreign = LockError::ForeignRuntime { owner, mine, theirs };
                assert!(e == foreign || e == LockError::OwnerDied(owner), "{e}");
                let e = m.try_lock(&cx).unwrap_err();
                let foreign = TryLockError::ForeignRuntime { owner, mine, theirs };
                assert!(e == foreign || e == TryLockError::OwnerDied(owner), "{e}");
            }
            Ok(guard) => assert_eq!(guard.abandoned_by(), Some(owner)),
        }
    });
}

fn row<'a>(graph: &'a WaitGraph, t: &Thread) -> &'a WaitRow {
    graph.rows().iter().find(|r| r.thread() == t).expect("a row for each live thread")
}

#[test]
fn the_wait_graph_says_who_waits_for_whom() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::named("na\"me\\\n"));
        let c = Arc::new(Condvar::named(Arc::new(Mutex::new()), "never"));
        let (m1, m2, c1) = (m.clone(), m.clone(), c.clone());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let owner = vm
            .spawn("owner \"of\" it", move |cx| {
                let _held = m1.lock(cx).unwrap();
                until(cx, "stop", || stopped.load(SeqCst));
                Ok::<_, ()>(())
            })
            .unwrap();
        until(&mut cx, "held", || m.owner().is_some());
        let waiter = vm.spawn("waiter", move |cx| m2.lock(cx).map(drop)).unwrap();
        let w = waiter.thread().clone();
        let joiner = vm.spawn((), move |cx| w.join(cx).map(drop)).unwrap();
        let sleeper = vm
            .spawn("sleeper", move |cx| {
                let _held = c1.mutex().lock(cx).unwrap();
                c1.wait(cx).map(drop)
            })
            .unwrap();
        until_blocked(&mut cx, &waiter, BlockerKind::Mutex);
        until_blocked(&mut cx, &joiner, BlockerKind::Join);
        until_blocked(&mut cx, &sleeper, BlockerKind::Condvar);
        let graph = vm.wait_graph();
        assert_eq!(graph.rows().len(), 5);
        let main = row(&graph, cx.thread());
        assert!(main.waits_for().is_none() && main.owner().is_none() && !main.owner_is_alive());
        for (t, kind, by) in [
            (waiter.thread(), BlockerKind::Mutex, owner.thread()),
            (joiner.thread(), BlockerKind::Join, waiter.thread()),
        ] {
            let r = row(&graph, t);
            assert_eq!(r.waits_for().unwrap().kind(), kind);
            assert_eq!((r.owner(), r.owner_thread()), (Some(by.id()), Some(by)));
            assert!(r.owner_is_alive());
        }
        let r = row(&graph, &sleeper);
        assert_eq!(r.waits_for().unwrap().to_string(), "condition variable never");
        assert_eq!(r.owner(), None);

        let table = graph.to_string();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 6, "a header and a line for each thread:\n{table}");
        let words: Vec<&str> = lines[0].split_whitespace().collect();
        assert_eq!(words.join(" "), "thread waits for owner for how long");
        let line = lines.iter().find(|l| l.starts_with("waiter ")).unwrap();
        assert!(line.contains("mutex na\"me\\") && line.contains("owner \"of\" it"), "{line}");
        assert!(line.ends_with(" s"), "{line}");

        let dot = graph.to_dot();
        assert!(dot.starts_with("digraph ") && dot.ends_with("}\n"));
        let arrow =
            format!("\"{}\" -> \"{}\" [label=\"mutex na\\\"me\\\\ \"];", waiter.id(), owner.id());
        assert!(dot.contains(&arrow), "{dot}");
        assert!(dot.contains("[label=\"owner \\\"of\\\" it"), "{dot}");
        assert_eq!(dot.matches(" -> ").count(), 2, "{dot}");
        draw(&dot);

        stop.store(true, SeqCst);
        owner.join(&mut cx).unwrap();
        waiter.join(&mut cx).unwrap();
        joiner.join(&mut cx).unwrap();
        c.mutex().acquire(&mut cx).unwrap();
        assert!(c.notify_one(&cx).unwrap());
        // Moved, it waits for the mutex.
        let graph = vm.wait_graph();
        assert_eq!(row(&graph, &sleeper).waits_for().unwrap().kind(), BlockerKind::Mutex);
        assert_eq!(row(&graph, &sleeper).owner_thread(), Some(cx.thread()));
        c.mutex().release(&cx).unwrap();
        sleeper.join(&mut cx).unwrap();
    });
}

/// Graphviz reads it, where there is one.
fn draw(dot: &str) {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let dot_tool =
        Command::new("dot").arg("-Tsvg").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = dot_tool else {
        println!("no Graphviz here: the drawing is not tried");
        return;
    };
    child.stdin.take().unwrap().write_all(dot.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success() && out.stdout.windows(4).any(|w| w == b"<svg"));
}

#[test]
fn the_way_back_finds_a_dead_owner_of_another_runtime() {
    guarded(|| {
        let (vm, other) = (Runtime::new(), Runtime::new());
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::named("m"));
        let c = Arc::new(Condvar::new(m.clone()));
        let (m2, c2) = (m.clone(), c.clone());
        let waiter = vm
            .spawn("waiter", move |cx| {
                let _held = m2.lock(cx).unwrap();
                Ok::<_, ()>(c2.wait(cx).map_err(|e| e.to_string()))
            })
            .unwrap();
        until(&mut cx, "it waits", || c.waiters() == 1);
        let dead = dies_holding(&other, &m, || true);
        until(&mut cx, "dead", || !dead.is_alive());
        // The signal ends the wait for the notification; the way back finds the owner dead.
        let _ = waiter.signal(&cx, ()).unwrap();
        let end = waiter.join(&mut cx).unwrap().unwrap_err();
        assert!(end.contains(&dead.id().to_string()), "{end}");
    });
}

/// Is `t` named?
/// Moved to the queue of a mutex that a thread of another runtime owns: it is told when that one ends.
#[test]
fn a_notifier_of_another_runtime_ends_with_the_mutex() {
    guarded(|| {
        let (vm, other) = (Runtime::new(), Runtime::new());
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::new());
        let c = Arc::new(Condvar::new(m.clone()));
        let (m2, c2) = (m.clone(), c.clone());
        let waiter = vm
            .spawn("waiter", move |cx| {
                let _held = m2.lock(cx).unwrap();
                Ok::<_, ()>(c2.wait(cx).unwrap_err())
            })
            .unwrap();
        until(&mut cx, "it waits", || c.waiters() == 1 && m.owner().is_none());
        let o = other.attach("notifier").unwrap();
        let id = o.id();
        std::mem::forget(m.try_lock(&o).unwrap());
        assert_eq!(c.notify_one(&o), Ok(true));
        drop(o);
        // Comes too late for a waiter that was told.
        vm.shutdown(&cx);
        assert_eq!(waiter.join(&mut cx).unwrap(), WaitError::Lost(Loss::OwnerDied(id)));
    });
}

fn is_named(vm: &Runtime, than: Duration, t: &Thread) -> bool {
    vm.laggards(than).iter().any(|l| l.thread() == t)
}

#[test]
fn a_thread_without_safe_points_is_named() {
    guarded(|| {
        let vm = Runtime::new();
        let mut cx = vm.attach("main").unwrap();
        let (go_on, polls) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (g, p) = (go_on.clone(), polls.clone());
        let runs = vm
            .spawn("runs", move |cx| {
                while g.load(SeqCst) == 0 {
                    std::hint::spin_loop();
                }
                assert!(safe_point(cx).is_quiet(), "a mark is not reported");
                p.store(1, SeqCst);
                while g.load(SeqCst) == 1 {
                    assert!(safe_point(cx).is_quiet());
                    assert!(yield_now(cx).is_quiet());
                }
                Ok::<_, ()>(())
            })
            .unwrap();
        let sleeps = vm
            .spawn("sleeps", |cx| sleep_until(cx, Instant::now() + 10 * LIMIT).or(Ok::<_, ()>(())))
            .unwrap();
        until_blocked(&mut cx, &sleeps, BlockerKind::Sleep);
        let than = Duration::from_millis(5);
        let named = |cx: &mut Participant| {
            let found = outside(cx, |_| vm.laggards(than));
            assert!(found.iter().all(|l| l.thread() == runs.thread()), "{found:?}");
            found.into_iter().next()
        };
        until(&mut cx, "it runs", || runs.is_alive());
        assert!(named(&mut cx).is_none(), "the first look only marks");
        let mut laggard = None;
        // Polled from outside: this thread is at a safe point whenever it looks.
        while laggard.is_none() {
            outside(&mut cx, |_| std::thread::sleep(than));
            laggard = named(&mut cx);
        }
        let laggard = laggard.unwrap();
        let Lag::NoSafePoint { since, .. } = laggard.why() else { panic!("{laggard}") };
        assert!(since.elapsed() >= than);
        assert!(
            laggard.to_string().starts_with("runs has come to no safe point for "),
            "{laggard}"
        );
        go_on.store(1, SeqCst);
        until(&mut cx, "it polls", || polls.load(SeqCst) == 1);
        // It may be kept from running for a while: some stretch of ten times `than` without being named will come.
        let mut quiet_since = Instant::now();
        until(&mut cx, "it is named no more", || {
            if is_named(&vm, than, runs.thread()) {
                quiet_since = Instant::now();
            }
            quiet_since.elapsed() > 10 * than
        });
        go_on.store(2, SeqCst);
        runs.join(&mut cx).unwrap();
        let _ = sleeps.signal(&cx, ()).unwrap();
        sleeps.join(&mut cx).unwrap();
    });
}

#[test]
fn an_owner_that_others_wait_for_is_named() {
    both(|vm| {
        let mut cx = vm.attach("main").unwrap();
        let m = Arc::new(Mutex::named("queue"));
        m.acquire(&mut cx).unwrap();
        let n = m.clone();
        let waiters = crowd(&vm, 2, move |cx, _| drop(n.lock(cx).unwrap()));
        for w in &waiters {
            until_blocked(&mut cx, w, BlockerKind::Mutex);
        }
        let holds = |l: &Laggard| matches!(l.why(), Lag::Holds { .. });
        assert!(!vm.laggards(10 * LIMIT).iter().any(holds));
        let found: Vec<Laggard> = vm.laggards(Duration::ZERO).into_iter().filter(holds).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].thread(), cx.thread());
        let Lag::Holds { what, since, waiters: n, .. } = found[0].why() else { unreachable!() };
        assert_eq!((what.to_string().as_str(), *n), ("mutex queue", 2));
        assert!(waiters.iter().all(|w| w.blocker().unwrap().since() >= *since));
        let text = found[0].to_string();
        assert!(
            text.starts_with("main holds mutex queue, for which 2 wait, the first for "),
            "{text}"
        );
        m.release(&cx).unwrap();
        for w in waiters {
            w.join(&mut cx).unwrap();
        }
    });
}
