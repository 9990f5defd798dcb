//! Threads, safe points and the baton beside std's threads.

mod harness;

use harness::{Cell, Sample, Steps, cpu_time, race, stay_on_cpu, wall_time};
use selvedge::{Runtime, safe_point, yield_now};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

fn main() {
    harness::run(vec![
        spawn_join("thread/spawn_join/1", false),
        spawn_join("thread/spawn_join/1_cpu", true),
        attach_detach(),
        safe_point_quiet(),
        identity(),
        yielding("thread/yield/2_threads", false),
        yielding("thread/yield/2_threads_1_cpu", true),
    ]);
}

/// A thread that does nothing, from birth to join. Decides whether a VM needs a pool of its own. Where the system puts the
/// child decides half of it, so it is measured as the system likes and on one CPU.
fn spawn_join(id: &'static str, one_cpu: bool) -> Cell {
    /// On a thread of its own, whose children inherit its CPU.
    fn apart(one_cpu: bool, work: impl FnOnce() -> Duration + Send) -> Duration {
        let run = move || {
            if one_cpu {
                stay_on_cpu(0);
            }
            work()
        };
        thread::scope(|s| s.spawn(run).join().unwrap())
    }
    let vm = Runtime::new();
    Cell::new(id, 400)
        .entrant("selvedge", move |n| {
            apart(one_cpu, || {
                let mut cx = vm.attach("parent").unwrap();
                wall_time(|| {
                    for _ in 0..n {
                        let child = vm.spawn((), |_| Ok::<(), ()>(())).unwrap();
                        child.join(&mut cx).unwrap();
                    }
                })
            })
        })
        .entrant("std", move |n| {
            apart(one_cpu, || {
                wall_time(|| {
                    for _ in 0..n {
                        thread::spawn(|| ()).join().unwrap();
                    }
                })
            })
        })
}

/// A thread comes to the VM and leaves it. Decides whether a foreign thread may attach for one call: beside the least
/// that a registry costs, and beside a thread of its own.
fn attach_detach() -> Cell {
    let vm = Runtime::new();
    let main = vm.attach("main").unwrap();
    let registry: Mutex<BTreeMap<u64, Arc<u64>>> = Mutex::new(BTreeMap::from([(0, Arc::new(0))]));
    Cell::new("thread/attach_detach/1", 50_000)
        .entrant("selvedge", move |n| {
            let (main, vm) = (&main, &vm);
            black_box(main);
            thread::scope(|s| {
                let foreign = s.spawn(|| {
                    cpu_time(|| {
                        for _ in 0..n {
                            drop(black_box(vm.attach(()).unwrap()));
                        }
                    })
                });
                foreign.join().unwrap()
            })
        })
        .entrant("locked_map", move |n| {
            cpu_time(|| {
                for i in 1..=n {
                    registry.lock().unwrap().insert(i, Arc::new(i));
                    black_box(registry.lock().unwrap().remove(&i));
                }
            })
        })
        .entrant("std_spawn_join", |n| {
            let few = n.div_ceil(200);
            let time = wall_time(|| {
                for _ in 0..few {
                    thread::spawn(|| ()).join().unwrap();
                }
            });
            time.mul_f64(n as f64 / few as f64)
        })
}

#[cold]
#[inline(never)]
fn unexpected() {
    panic!("nothing was asked");
}

/// A safe point with nothing pending. Decides whether an interpreter may have one at every call and backward jump: half a
/// nanosecond, the loop included; the rival is a bare flag.
fn safe_point_quiet() -> Cell {
    let vm = Runtime::new();
    let mut cx = vm.attach("main").unwrap();
    let flag = Arc::new(AtomicU64::new(0));
    Cell::new("thread/safe_point/quiet", 20_000_000)
        .entrant("selvedge", move |n| {
            let cx = black_box(&mut cx);
            cpu_time(|| {
                for _ in 0..n {
                    if !safe_point(cx).is_quiet() {
                        unexpected();
                    }
                }
            })
        })
        .entrant("relaxed_flag", move |n| {
            let flag = black_box(&*flag);
            cpu_time(|| {
                for _ in 0..n {
                    if flag.load(Relaxed) != 0 {
                        unexpected();
                    }
                }
            })
        })
}

/// Who am I? Decides whether the context is worth passing along, instead of a look into thread-local storage.
fn identity() -> Cell {
    let vm = Runtime::new();
    let cx = vm.attach("main").unwrap();
    Cell::new("thread/identity/current", 4_000_000)
        .entrant("selvedge", move |n| {
            cpu_time(|| {
                for _ in 0..n {
                    black_box(black_box(&cx).id());
                }
            })
        })
        .entrant("std", |n| {
            cpu_time(|| {
                for _ in 0..n {
                    black_box(thread::current().id());
                }
            })
        })
        .entrant("thread_local", |n| {
            thread_local! {
                static ID: u64 = const { 7 };
            }
            cpu_time(|| {
                for _ in 0..n {
                    black_box(ID.with(|id| *black_box(id)));
                }
            })
        })
}

fn baton(one_cpu: bool) -> impl FnMut(u64) -> Sample {
    move |n| {
        let vm = Runtime::builder().baton(true).build();
        let here = AtomicU64::new(0);
        let (time, steps) = race(2, |_, gate| {
            if one_cpu {
                stay_on_cpu(0);
            }
            let mut cx = vm.attach(()).unwrap();
            let mut steps = Steps::new(n);
            selvedge::outside(&mut cx, |_| gate.pass());
            here.fetch_add(1, Relaxed);
            while here.load(Relaxed) < 2 {
                yield_now(&mut cx);
            }
            steps.begin();
            for _ in 0..n.div_ceil(2) {
                black_box(yield_now(&mut cx));
                steps.end();
            }
            steps
        });
        Sample::from(time).also(Steps::p99(steps))
    }
}

/// The least that hands over: unpark the other, park.
fn park(one_cpu: bool) -> impl FnMut(u64) -> Sample {
    move |n| {
        let threads = [const { OnceLock::new() }; 2];
        let turn = AtomicU64::new(0);
        let (time, steps) = race(2, |i, gate| {
            if one_cpu {
                stay_on_cpu(0);
            }
            threads[i].set(thread::current()).expect("each sets its own");
            let mut steps = Steps::new(n);
            gate.pass();
            steps.begin();
            for _ in 0..n.div_ceil(2) {
                while turn.load(Acquire) != i as u64 {
                    thread::park();
                }
                turn.store(1 - i as u64, Release);
                threads[1 - i].get().expect("set before the gate").unpark();
                steps.end();
            }
            steps
        });
        Sample::from(time).also(Steps::p99(steps))
    }
}

fn system(n: u64) -> Sample {
    let (time, steps) = race(2, |_, gate| {
        stay_on_cpu(0);
        let mut steps = Steps::new(n);
        gate.pass();
        steps.begin();
        for _ in 0..n.div_ceil(2) {
            thread::yield_now();
            steps.end();
        }
        steps
    });
    Sample::from(time).also(Steps::p99(steps))
}

/// A yield under the baton, with one other thread that does the same: a hand-over. Decides how often an interpreter that
/// runs one thread at a time may switch. std's yield stands beside it where it hands over at all: on one CPU.
fn yielding(id: &'static str, one_cpu: bool) -> Cell {
    let cell = Cell::new(id, 10_000)
        .also("p99", "ns", "lower")
        .entrant("selvedge", baton(one_cpu))
        .entrant("std_park", park(one_cpu));
    if one_cpu { cell.entrant("std_yield", system) } else { cell }
}
