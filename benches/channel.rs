//! Channels beside crossbeam's, flume, kanal, std's, async-channel and thingbuf.
//!
//! An id says who sends to whom, for how many values there is room, and how large they are; one iteration is one value
//! from thread to thread. Threads are pinned, senders and receivers alternately, so that the system's placing does not
//! decide; `_1_cpu`: all on one, where every wait is a context switch.

mod harness;

use harness::channels::{
    AsyncChannel, Channel, Crossbeam, Flume, Kanal, Large, Message, Selects, Selvedge, StdMpsc,
    Thingbuf,
};
use harness::{Cell, cpu_time, race, stay_on_cpu};
use selvedge::Runtime;
use std::hint::black_box;
use std::sync::Mutex;
use std::time::Duration;

/// What is measured without `--full`.
const SHORT: [&str; 14] = [
    "channel/alone/64_of_8b",
    "channel/alone/unbounded_of_8b",
    "channel/1_to_1/0_of_8b",
    "channel/1_to_1/1_of_8b",
    "channel/1_to_1/64_of_8b",
    "channel/1_to_1/64_of_256b",
    "channel/1_to_1/unbounded_of_8b",
    "channel/4_to_1/64_of_8b",
    "channel/8_to_8/64_of_8b",
    "channel/8_to_8/unbounded_of_8b",
    "channel/ping_pong/0_of_8b",
    "channel/1_to_1/0_of_8b_1_cpu",
    "channel/select/8_ready",
    "channel/select/2_wait",
];

fn main() {
    let mut cells = Vec::new();
    for capacity in [Some(0), Some(1), Some(64), None] {
        of_capacity::<usize>(&mut cells, capacity);
        of_capacity::<Large>(&mut cells, capacity);
    }
    for channels in [1, 2, 8] {
        cells.push(select_ready(channels));
        cells.push(select_waits(channels));
    }
    let short = |c: &Cell| SHORT.iter().any(|id| c.is(id));
    harness::run(cells.into_iter().map(|c| if short(&c) { c } else { c.in_full_only() }).collect());
}

fn of_capacity<T: Message>(cells: &mut Vec<Cell>, capacity: Option<usize>) {
    if capacity != Some(0) {
        cells.push(alone::<T>(capacity));
    }
    for one_cpu in [false, true] {
        for (senders, receivers) in [(1, 1), (4, 1), (2, 2), (8, 8)] {
            cells.push(transfer::<T>(capacity, senders, receivers, one_cpu));
        }
        cells.push(ping_pong::<T>(capacity, one_cpu));
    }
}

fn id<T: Message>(what: &str, capacity: Option<usize>, one_cpu: bool) -> String {
    let room = capacity.map_or("unbounded".to_owned(), |n| n.to_string());
    format!("channel/{what}/{room}_of_{}{}", T::SIZE, if one_cpu { "_1_cpu" } else { "" })
}

/// All that have such a channel.
macro_rules! entrants {
    ($cell:expr, $run:ident, $t:ty, $capacity:expr, $receivers:expr, ($($more:expr),*)) => {{
        let cell = $cell;
        entrants!(@ cell, $run, $t, $capacity, $receivers, ($($more),*),
            "selvedge" Selvedge, "crossbeam" Crossbeam, "flume" Flume, "kanal" Kanal,
            "std_mpsc" StdMpsc, "async_channel" AsyncChannel, "thingbuf" Thingbuf)
    }};
    (@ $cell:ident, $run:ident, $t:ty, $capacity:expr, $receivers:expr, $more:tt, $($name:literal $c:ident),*) => {{
        let mut cell = $cell;
        $(
            if exists::<$t, $c>($capacity, $receivers) {
                cell = cell.entrant($name, entrants!(@call $run, $t, $c, $capacity, $more));
            }
        )*
        cell
    }};
    (@call $run:ident, $t:ty, $c:ident, $capacity:expr, ($($more:expr),*)) => {
        $run::<$t, $c>($capacity, $($more),*)
    };
}

fn exists<T: Message, C: Channel<T>>(capacity: Option<usize>, receivers: usize) -> bool {
    C::make(capacity).is_some_and(|(_, rx)| receivers == 1 || C::share(&rx).is_some())
}

/// The whole value comes out, as for who uses more of it than a number.
#[inline(always)]
fn number_of<T: Message>(value: T) -> u64 {
    black_box(&value).number()
}

// -- One thread

/// Fills the channel, then empties it. Decides what a send and a receive cost where nobody waits and no line moves.
fn alone<T: Message>(capacity: Option<usize>) -> Cell {
    let cell = Cell::new(id::<T>("alone", capacity, false), 64_000);
    entrants!(cell, there_and_back, T, capacity, 1, ())
}

fn there_and_back<T: Message, C: Channel<T>>(
    capacity: Option<usize>,
) -> impl FnMut(u64) -> Duration {
    let vm = Runtime::new();
    let mut me = C::attach(&vm);
    move |n| {
        let (tx, rx) = C::make(capacity).expect("there is one");
        let batch = capacity.map_or(1_000, |c| c as u64);
        let mut sum = 0u64;
        let time = cpu_time(|| {
            let (tx, rx) = (black_box(&tx), black_box(&rx));
            for first in (0..n).step_by(batch as usize) {
                let batch = first..(first + batch).min(n);
                for number in batch.clone() {
                    C::send(tx, &mut me, T::new(number));
                }
                for _ in batch {
                    sum += number_of(C::recv(rx, &mut me));
                }
            }
        });
        assert_eq!(sum, (0..n).sum::<u64>(), "every value once");
        time
    }
}

// -- From threads to threads

/// Values as fast as they go. Decides the storage, and how a thread looks before it waits.
fn transfer<T: Message>(
    capacity: Option<usize>,
    senders: usize,
    receivers: usize,
    one_cpu: bool,
) -> Cell {
    let n = match (capacity, one_cpu) {
        (Some(0 | 1), true) => 2_000,
        (Some(0 | 1), false) => 8_000,
        (Some(_), _) => 64_000,
        (None, _) => 96_000,
    };
    let id = id::<T>(&format!("{senders}_to_{receivers}"), capacity, one_cpu);
    entrants!(Cell::new(id, n), crowd, T, capacity, receivers, (senders, receivers, one_cpu))
}

/// An end of a channel, for the thread that takes it.
enum End<Tx, Rx> {
    Tx(Tx),
    Rx(Rx),
}

fn crowd<T: Message, C: Channel<T>>(
    capacity: Option<usize>,
    senders: usize,
    receivers: usize,
    one_cpu: bool,
) -> impl FnMut(u64) -> Duration {
    let vm = Runtime::new();
    move |n| {
        let divides = |threads: usize| n.is_multiple_of(threads as u64);
        assert!(divides(senders) && divides(receivers), "every thread does its part");
        let (tx, rx) = C::make(capacity).expect("there is one");
        let mut ends: Vec<_> = (1..receivers).map(|_| C::share(&rx).map(End::Rx)).collect();
        ends.push(Some(End::Rx(rx)));
        ends.extend((1..senders).map(|_| Some(End::Tx(tx.clone()))));
        ends.push(Some(End::Tx(tx)));
        let ends: Vec<_> = ends.into_iter().map(Mutex::new).collect();
        let (time, sums) = race(senders + receivers, |i, gate| {
            // The first receiver and the first sender on different ones.
            let cpu = if i < receivers { i } else { i - receivers + 1 };
            stay_on_cpu(if one_cpu { 0 } else { cpu });
            let end = ends[i].lock().unwrap().take().expect("one thread takes it");
            let mut me = C::attach(&vm);
            gate.pass();
            match end {
                End::Tx(tx) => {
                    for number in 0..n / senders as u64 {
                        C::send(&tx, &mut me, T::new(number));
                    }
                    0
                }
                End::Rx(rx) => {
                    (0..n / receivers as u64).map(|_| number_of(C::recv(&rx, &mut me))).sum::<u64>()
                }
            }
        });
        let each: u64 = (0..n / senders as u64).sum();
        assert_eq!(sums.iter().sum::<u64>(), each * senders as u64, "every value once");
        time
    }
}

/// There and back; each waits for the other. Decides the latency of a wait that is short.
fn ping_pong<T: Message>(capacity: Option<usize>, one_cpu: bool) -> Cell {
    let n = if one_cpu { 1_000 } else { 4_000 };
    let cell = Cell::new(id::<T>("ping_pong", capacity, one_cpu), n);
    entrants!(cell, rally, T, capacity, 1, (one_cpu))
}

fn rally<T: Message, C: Channel<T>>(
    capacity: Option<usize>,
    one_cpu: bool,
) -> impl FnMut(u64) -> Duration {
    let vm = Runtime::new();
    move |n| {
        let (there, from_there) = C::make(capacity).expect("there is one");
        let (back, from_back) = C::make(capacity).expect("there is one");
        let ends = [(there, from_back), (back, from_there)].map(|e| Mutex::new(Some(e)));
        let (time, _) = race(2, |i, gate| {
            stay_on_cpu(if one_cpu { 0 } else { i });
            let (tx, rx) = ends[i].lock().unwrap().take().expect("one thread takes it");
            let mut me = C::attach(&vm);
            gate.pass();
            for number in 0..n {
                if i == 0 {
                    C::send(&tx, &mut me, T::new(number));
                    assert_eq!(number_of(C::recv(&rx, &mut me)), number);
                } else {
                    let value = C::recv(&rx, &mut me);
                    C::send(&tx, &mut me, value);
                }
            }
        });
        time
    }
}

// -- Select

/// Each of several channels has a value. Decides what a select costs that need not wait.
fn select_ready(channels: usize) -> Cell {
    fn run<C: Selects<usize>>(channels: usize) -> impl FnMut(u64) -> Duration {
        let vm = Runtime::new();
        let mut me = C::attach(&vm);
        move |n| {
            let (txs, rxs) = several::<C>(channels);
            let mut sum = 0;
            let time = cpu_time(|| {
                let rxs = black_box(&rxs[..]);
                let mut number = 0;
                while number < n {
                    for tx in &txs {
                        C::send(tx, &mut me, number as usize);
                        number += 1;
                    }
                    for _ in &txs {
                        sum += C::any(rxs, &mut me) as u64;
                    }
                }
            });
            assert_eq!(sum, (0..n).sum::<u64>(), "every value once");
            time
        }
    }
    Cell::new(format!("channel/select/{channels}_ready"), 16_000)
        .entrant("selvedge", run::<Selvedge>(channels))
        .entrant("crossbeam", run::<Crossbeam>(channels))
        .entrant("flume", run::<Flume>(channels))
}

/// One thread sends to one after the other, another one selects. Decides how a select waits.
fn select_waits(channels: usize) -> Cell {
    fn run<C: Selects<usize>>(channels: usize) -> impl FnMut(u64) -> Duration
    where
        C::Tx: Send,
    {
        let vm = Runtime::new();
        move |n| {
            let (txs, rxs) = several::<C>(channels);
            // A channel that is empty and closed would be chosen before those with values.
            let _open = txs.clone();
            let (txs, rxs) = (Mutex::new(Some(txs)), Mutex::new(Some(rxs)));
            let (time, sums) = race(2, |i, gate| {
                stay_on_cpu(i);
                let mut me = C::attach(&vm);
                if i == 0 {
                    let rxs = rxs.lock().unwrap().take().expect("one thread takes it");
                    gate.pass();
                    return (0..n).map(|_| C::any(&rxs, &mut me) as u64).sum();
                }
                let txs = txs.lock().unwrap().take().expect("one thread takes it");
                gate.pass();
                for (number, tx) in (0..n).zip(txs.iter().cycle()) {
                    C::send(tx, &mut me, number as usize);
                }
                0
            });
            assert_eq!(sums.iter().sum::<u64>(), (0..n).sum::<u64>(), "every value once");
            time
        }
    }
    Cell::new(format!("channel/select/{channels}_wait"), 8_000)
        .entrant("selvedge", run::<Selvedge>(channels))
        .entrant("crossbeam", run::<Crossbeam>(channels))
        .entrant("flume", run::<Flume>(channels))
}

fn several<C: Channel<usize>>(channels: usize) -> (Vec<C::Tx>, Vec<C::Rx>) {
    (0..channels).map(|_| C::make(Some(1)).expect("there is one")).unzip()
}
