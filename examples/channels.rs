//! Channels as a Rust program uses them: jobs to workers, results back, a deadline, an end.
//!
//! ```text
//! cargo run --example channels
//! ```

use selvedge::channel::{self, Builder, RecvError, SendError};
use selvedge::{Runtime, SpawnError};
use std::error::Error;
use std::time::{Duration, Instant};

/// What a worker did, or why it stopped.
type Worked = Result<usize, SendError<(u64, u64)>>;

/// The length of the Collatz sequence from `n`.
fn steps(mut n: u64) -> u64 {
    let mut steps = 0;
    while n > 1 {
        n = if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 };
        steps += 1;
    }
    steps
}

fn main() -> Result<(), Box<dyn Error>> {
    let vm = Runtime::new();
    let mut cx = vm.attach("main")?;

    // Room for 16 jobs: who makes them is held up by who does them. Results take as much memory as they need.
    let (jobs, inbox) = Builder::new().name("jobs").bounded::<u64>(16);
    let (outbox, results) = channel::unbounded();
    let start = |n| {
        let (inbox, outbox) = (inbox.clone(), outbox.clone());
        vm.spawn(format!("worker {n}"), move |cx| -> Worked {
            let mut done = 0;
            while let Ok(n) = inbox.recv(cx) {
                outbox.send(cx, (steps(n), n))?;
                done += 1;
            }
            Ok(done) // no job is left, and none will come
        })
    };
    let workers = (1..=3).map(start).collect::<Result<Vec<_>, SpawnError>>()?;
    drop((inbox, outbox)); // theirs are the only ones now

    let sent = jobs.send_all(&mut cx, 1..=1000)?;
    jobs.close();
    assert_eq!(jobs.send(&mut cx, 1001), Err(SendError::Closed(1001))); // it comes back

    // What has come so far, at once; it ends when the last worker has dropped its end.
    let (mut batch, mut best, mut got) = (Vec::new(), (0, 0), 0);
    while let Ok(n) = results.recv_many(&mut cx, &mut batch, 100) {
        got += n;
        best = batch.drain(..).fold(best, Ord::max);
    }
    let mut done = 0;
    for worker in &workers {
        done += worker.join(&mut cx)?;
    }
    println!("{} takes {} steps, the most of {got}", best.1, best.0);
    assert_eq!((sent, got, done, best), (1000, 1000, 1000, (178, 871)));

    // A rendezvous has no room: after the send, the other thread has the value. A wait can end otherwise, and says so.
    let (hand, other) = channel::rendezvous::<String>();
    let late = other.recv_until(&mut cx, Instant::now() + Duration::from_millis(5));
    assert_eq!(late, Err(RecvError::TimedOut));
    let reader = vm.spawn("reader", move |cx| other.recv(cx))?;
    hand.send(&mut cx, "read this".into())?;
    assert_eq!(reader.join(&mut cx)?, "read this");

    // Without waiting, from any thread, of a runtime or of none.
    let (tx, rx) = channel::unbounded();
    std::thread::spawn(move || tx.try_send(7)).join().expect("it does not panic")?;
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [7]);
    Ok(())
}
