//! Channels of all kinds under everything that ends a wait: about a million values, each of which is received, given back or
//! dropped with its channel, once. `SELVEDGE_STRESS=n` multiplies them.
//!
//! A hang ends the process, with the threads and what each waits for. Miri gets fewer values.

use selvedge::channel::{self, Receiver, RecvError, SendError, Sender, TryRecvError, TrySendError};
use selvedge::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Under Miri one value of so many is sent.
const FEWER: u64 = if cfg!(miri) { 5_000 } else { 1 };
const SENDERS: u64 = 3;
const RECEIVERS: u64 = 3;

fn times() -> u64 {
    std::env::var("SELVEDGE_STRESS").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// What became of each value of one channel.
struct Fates {
    received: Vec<AtomicU8>,
    dropped: Vec<AtomicU8>,
}

/// Of which sender, and its how many-th.
struct Value {
    sender: u64,
    nth: u64,
    fates: Arc<Fates>,
}

impl Value {
    fn place(&self) -> usize {
        (self.nth * SENDERS + self.sender) as usize
    }
}
impl Drop for Value {
    fn drop(&mut self) {
        self.fates.dropped[self.place()].fetch_add(1, SeqCst);
    }
}

/// Marsaglia's xorshift.
struct Random(u64);
impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }
    fn soon(&mut self) -> Instant {
        Instant::now() + Duration::from_micros(self.next(60))
    }
}

/// How a channel comes to its end.
#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    /// All is sent, the senders go.
    Sent,
    /// Somebody closes it in the middle.
    Closed,
    /// The receivers go in the middle.
    Left,
    /// The runtime is shut down in the middle.
    Stopped,
}

fn take_signals(cx: &mut Participant) {
    while cx.take_signal().is_some() {}
}

/// How many it sent; the rest came back, or was never made.
fn send(cx: &mut Participant, tx: &Sender<Value>, values: Vec<Value>, random: &mut Random) -> u64 {
    let all = values.len();
    let mut values = values.into_iter();
    let mut next = values.next();
    while let Some(value) = next.take() {
        let sent = match random.next(8) {
            0 => match tx.try_send(value) {
                Ok(()) => Ok(()),
                Err(TrySendError::Full(value)) => {
                    let _ = yield_now(cx);
                    Err(SendError::TimedOut(value))
                }
                Err(e) => Err(SendError::Closed(e.into_inner())),
            },
            1 => tx.send_until(cx, value, random.soon()),
            2 => {
                let few: Vec<_> = std::iter::once(value).chain(values.by_ref().take(5)).collect();
                tx.send_all(cx, few).map(drop).map_err(|e| {
                    let (e, rest) = e.into_parts();
                    values = rest.chain(values.by_ref()).collect::<Vec<_>>().into_iter();
                    e
                })
            }
            _ => tx.send(cx, value),
        };
        match sent {
            Ok(()) => next = values.next(),
            Err(SendError::Interrupted(value)) => {
                take_signals(cx);
                next = Some(value);
            }
            Err(SendError::TimedOut(value)) => next = Some(value),
            Err(SendError::Closed(_) | SendError::ShutDown(_)) => {
                return (all - 1 - values.len()) as u64;
            }
            Err(e) => panic!("{e}"),
        }
    }
    all as u64
}

/// Receives `most` values, or all. How many it got.
fn receive(cx: &mut Participant, rx: &Receiver<Value>, most: u64, random: &mut Random) -> u64 {
    let mut last = [None; SENDERS as usize];
    let mut got = 0;
    let mut some = Vec::new();
    while got < most {
        let end = match random.next(8) {
            0 => match rx.try_recv() {
                Ok(value) => {
                    some.push(value);
                    Ok(())
                }
                Err(TryRecvError::Closed) => Err(RecvError::Closed),
                Err(_) => {
                    let _ = yield_now(cx);
                    Err(RecvError::TimedOut)
                }
            },
            1 => rx.recv_until(cx, random.soon()).map(|value| some.push(value)),
            2 => rx.recv_many(cx, &mut some, 1 + random.next(100) as usize).map(drop),
            3 => {
                some.extend(rx.drain());
                Ok(())
            }
            _ => rx.recv(cx).map(|value| some.push(value)),
        };
        for value in some.drain(..) {
            let before = last[value.sender as usize].replace(value.nth);
            assert!(before < Some(value.nth), "{before:?}, then {}", value.nth);
            value.fates.received[value.place()].fetch_add(1, SeqCst);
            got += 1;
        }
        match end {
            Ok(()) | Err(RecvError::TimedOut) => {}
            Err(RecvError::Interrupted) => take_signals(cx),
            Err(RecvError::Closed | RecvError::ShutDown) => break,
            Err(e) => panic!("{e}"),
        }
    }
    got
}

/// Ends the process if the run does not come to its end.
struct Watchdog(Arc<AtomicBool>);
impl Watchdog {
    fn new(what: String, vm: Runtime) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let watched = over.clone();
        std::thread::spawn(move || {
            let end = Instant::now() + Duration::from_secs(120 * times());
            while !watched.load(SeqCst) {
                if Instant::now() > end {
                    eprintln!("{what} hangs: {}", vm.wait_graph());
                    std::process::abort();
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self(over)
    }
}
impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// One channel, from its making to its end. How many values were sent.
fn run(baton: bool, room: Option<usize>, end: End, each: u64, seed: u64) -> u64 {
    let what = format!("{room:?}, {end:?}, baton {baton}, seed {seed}");
    let schedule = Schedule::new().looks(seed as u32 % 2);
    let vm = Runtime::builder().baton(baton).schedule(schedule).build();
    let mut cx = vm.attach("main").unwrap();
    let made = channel::Builder::new().name("stressed");
    let (tx, rx) = match room {
        Some(room) => made.bounded(room),
        None => made.unbounded(),
    };
    let _watchdog = Watchdog::new(what.clone(), vm.clone());
    let all = (each * SENDERS) as usize;
    let zeros = || (0..all).map(|_| AtomicU8::new(0)).collect();
    let fates = Arc::new(Fates { received: zeros(), dropped: zeros() });
    let random = |who: u64| Random(seed << 8 | who << 1 | 1);
    let most = if end == End::Left { each / 2 } else { u64::MAX };
    let workers: Vec<_> = (0..SENDERS + RECEIVERS)
        .map(|who| {
            let (tx, rx, fates) = (tx.clone(), rx.clone(), fates.clone());
            let mut random = random(who);
            let work = move |cx: &mut Participant| {
                let n = if who < SENDERS {
                    drop(rx);
                    let make = |nth| Value { sender: who, nth, fates: fates.clone() };
                    send(cx, &tx, (0..each).map(make).collect(), &mut random)
                } else {
                    drop(tx);
                    receive(cx, &rx, most, &mut random)
                };
                Ok::<u64, ()>(n)
            };
            vm.spawn(format!("w{who}"), work).unwrap()
        })
        .collect();
    // While others live: signals, pokes, and in the middle the end.
    let mut random = random(99);
    let middle = all as u64 / 3;
    let passed =
        |fates: &Fates| fates.received.iter().step_by(7).filter(|n| n.load(SeqCst) > 0).count();
    let mut handles = Some((tx, rx)).filter(|_| end == End::Closed);
    while workers.iter().any(|h| h.is_alive()) {
        let h = &workers[random.next(SENDERS + RECEIVERS) as usize];
        match random.next(3) {
            0 => drop(h.signal(&cx, seed)),
            1 => h.poke(),
            _ => drop(h.ask(|| ())),
        }
        let late = || passed(&fates) as u64 * 7 > middle;
        match end {
            End::Closed if handles.is_some() && late() => {
                let (tx, rx) = handles.take().unwrap();
                assert!(if random.next(2) == 0 { tx.close() } else { rx.close() });
            }
            End::Stopped if late() => vm.shutdown(&cx),
            _ => {}
        }
        let at = Instant::now() + Duration::from_micros(200);
        sleep_until(&mut cx, at).unwrap();
    }
    let counts: Vec<u64> = workers.iter().map(|h| h.join(&mut cx).unwrap()).collect();
    let (sent, got) = counts.split_at(SENDERS as usize);
    let (sent, got) = (sent.iter().sum::<u64>(), got.iter().sum::<u64>());
    let fate = |fate: &[AtomicU8], n| fate.iter().filter(|f| f.load(SeqCst) == n).count() as u64;
    assert_eq!(fate(&fates.dropped, 1), all as u64, "{what}: each value ends once");
    assert_eq!(fate(&fates.received, 1), got, "{what}: none is received twice");
    match end {
        End::Sent => assert_eq!((sent, got), (all as u64, all as u64), "{what}"),
        End::Closed => assert_eq!(sent, got, "{what}: what went in before the close comes out"),
        End::Left | End::Stopped => assert!(got <= sent, "{what}: {got} of {sent}"),
    }
    sent
}

/// Each end, until enough values were sent, and each end but the first has come in the middle.
fn stress(baton: bool, room: Option<usize>, values: u64) {
    let wanted = values * times() / FEWER;
    let each = wanted / 12 + 10;
    let (mut sent, mut cut, mut seed) = (0, [cfg!(miri); 3], 1);
    while sent < wanted || cut.contains(&false) {
        sent += run(baton, room, End::Sent, each, seed);
        for (i, end) in [End::Closed, End::Left, End::Stopped].into_iter().enumerate() {
            let n = run(baton, room, end, each, seed);
            // Who sends without waiting is done before an end comes.
            cut[i] |= n < each * SENDERS || room.is_none();
            sent += n;
        }
        seed += 1;
    }
}

#[test]
fn rendezvous() {
    stress(false, Some(0), 60_000);
}
#[test]
fn one_place() {
    stress(false, Some(1), 60_000);
}
#[test]
fn few_places() {
    stress(false, Some(7), 180_000);
}
#[test]
fn many_places() {
    stress(false, Some(64), 300_000);
}
#[test]
fn unbounded() {
    stress(false, None, 360_000);
}
#[test]
fn under_the_baton() {
    for room in [Some(0), Some(1), Some(7), None] {
        stress(true, room, 10_000);
    }
}
