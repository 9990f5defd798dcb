//! Who waits for whom, and who keeps others waiting: snapshots for people and for watchdogs. Nothing here waits for a thread
//! of the VM: each record's locks are held for a few instructions.

use super::blocker::flat;
use super::record;
use super::{Blocker, BlockerKind, Runtime, Thread};
use crate::id::ThreadId;
use crate::shim;
use std::collections::HashMap;
use std::fmt::{self, Write};
use std::time::{Duration, Instant};

/// What one thread waits for. A row of a [`WaitGraph`].
#[derive(Clone, Debug)]
pub struct WaitRow {
    thread: Thread,
    waits_for: Option<Blocker>,
    owner: Option<ThreadId>,
    owner_thread: Option<Thread>,
    owner_is_alive: bool,
}

impl WaitRow {
    /// The thread.
    pub fn thread(&self) -> &Thread {
        &self.thread
    }
    /// What it waits for, and since when; none: it does not wait. A thread that was notified waits for the mutex.
    pub fn waits_for(&self) -> Option<&Blocker> {
        self.waits_for.as_ref()
    }
    /// Who owns the mutex, or is joined; none: nobody, or the wait is for nobody in particular.
    pub fn owner(&self) -> Option<ThreadId> {
        self.owner
    }
    /// The same as a handle; none as well if the owner is not a live thread of this runtime.
    pub fn owner_thread(&self) -> Option<&Thread> {
        self.owner_thread.as_ref()
    }
    /// Is there an owner that lives?
    pub fn owner_is_alive(&self) -> bool {
        self.owner_is_alive
    }
}

/// Who waits for whom, made by [`Runtime::wait_graph`]: a snapshot, row by row, of threads that go on meanwhile.
///
/// `Display` is a table for people:
///
/// ```text
/// thread  waits for   owner   for how long
/// main    join worker worker  1.302 s
/// worker  mutex queue main    1.301 s
/// ```
#[derive(Clone, Debug)]
pub struct WaitGraph {
    rows: Vec<WaitRow>,
    made: Instant,
}

impl WaitGraph {
    /// The live threads, the main thread first, then by age.
    pub fn rows(&self) -> &[WaitRow] {
        &self.rows
    }

    /// The graph in the language of Graphviz: an arrow from each waiting thread to the owner of what it waits for; dead
    /// owners are dashed. `dot -Tsvg` draws it.
    pub fn to_dot(&self) -> String {
        let mut dot = String::from("digraph waits {\n    node [shape=box];\n");
        for row in &self.rows {
            let mut label = name(&row.thread);
            if let (Some(on), None) = (&row.waits_for, row.owner) {
                let _ = write!(label, "\nwaits for {on}");
            }
            let _ = writeln!(dot, "    \"{}\" [label=\"{}\"];", row.thread.id(), quoted(&label));
        }
        for row in &self.rows {
            let (Some(on), Some(owner)) = (&row.waits_for, row.owner) else { continue };
            if !row.owner_is_alive {
                let _ = writeln!(dot, "    \"{owner}\" [label=\"{owner}, dead\", style=dashed];");
            }
            let (from, on) = (row.thread.id(), quoted(&on.to_string()));
            let _ = writeln!(dot, "    \"{from}\" -> \"{owner}\" [label=\"{on}\"];");
        }
        dot.push_str("}\n");
        dot
    }
}

/// A thread's name on one line, or what stands for one.
fn name(thread: &Thread) -> String {
    match thread.name() {
        Some(name) => flat(name).into_owned(),
        None if thread.is_main() => "main".to_owned(),
        None => thread.id().to_string(),
    }
}

/// Inside quotes of Graphviz. The lines of it are ours: names and blockers have one.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out
}

impl fmt::Display for WaitGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = vec![["thread", "waits for", "owner", "for how long"].map(String::from)];
        for row in &self.rows {
            let owner = match (row.owner, &row.owner_thread) {
                (None, _) => "-".to_owned(),
                (Some(_), Some(thread)) => name(thread),
                (Some(id), None) if row.owner_is_alive => id.to_string(),
                (Some(id), None) => format!("{id}, dead"),
            };
            let (on, time) = match &row.waits_for {
                None => ("-".to_owned(), "-".to_owned()),
                Some(on) => {
                    let time = self.made.saturating_duration_since(on.since());
                    (on.to_string(), format!("{:.3} s", time.as_secs_f64()))
                }
            };
            table.push([name(&row.thread), on, owner, time]);
        }
        let width = |i: usize| table.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2)];
        for (n, [thread, on, owner, time]) in table.iter().enumerate() {
            let [a, b, c] = widths;
            let end = if n + 1 < table.len() { "\n" } else { "" };
            write!(f, "{thread:a$}  {on:b$}  {owner:c$}  {time}{end}")?;
        }
        Ok(())
    }
}

/// Who keeps others waiting, and how. Made by [`Runtime::laggards`].
#[derive(Clone, Debug)]
pub struct Laggard {
    thread: Thread,
    why: Lag,
}

/// How a thread keeps others waiting.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Lag {
    /// It runs, and has come to no safe point.
    #[non_exhaustive]
    NoSafePoint {
        /// It has not been at one since then; perhaps for longer.
        since: Instant,
    },
    /// It owns a mutex that others wait for.
    #[non_exhaustive]
    Holds {
        /// What they wait for.
        what: Blocker,
        /// When the first of them began.
        since: Instant,
        /// How many they are.
        waiters: usize,
    },
}

impl Laggard {
    /// The thread.
    pub fn thread(&self) -> &Thread {
        &self.thread
    }
    /// How it keeps others waiting.
    pub fn why(&self) -> &Lag {
        &self.why
    }
}

/// As `worker holds mutex queue, for which 3 wait, the first for 1.302 s`.
impl fmt::Display for Laggard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = name(&self.thread);
        match &self.why {
            Lag::NoSafePoint { since } => {
                let time = since.elapsed().as_secs_f64();
                write!(f, "{name} has come to no safe point for {time:.3} s")
            }
            Lag::Holds { what, since, waiters } => {
                let time = since.elapsed().as_secs_f64();
                let wait = if *waiters == 1 { "waits" } else { "wait" };
                write!(
                    f,
                    "{name} holds {what}, for which {waiters} {wait}, the first for {time:.3} s"
                )
            }
        }
    }
}

/// One wait as an entry shows it.
struct Shown {
    on: Blocker,
    owner: Option<ThreadId>,
    /// The address of the mutex, if it waits for one.
    mutex: Option<usize>,
    /// It waits for that since `on` says so; on the way back from a condition-wait nobody knows since when.
    throughout: bool,
}

fn shown(thread: &Thread) -> Option<Shown> {
    let record = thread.record();
    record.with_waits(|w| {
        let w = w.as_ref().filter(|w| w.thread() == thread)?;
        let state = record.waiter().state().waiting();
        let moved = state.is_some_and(|s| s.moved);
        let mutex = state.and_then(|state| w.mutex(state));
        let owner = state.and_then(|s| w.held_up_by(s));
        let throughout = w.on().kind() == BlockerKind::Mutex;
        Some(Shown { on: w.awaited(moved), owner, mutex, throughout })
    })
}

impl Runtime {
    /// Who waits for whom, over all live threads. A fresh list each time; a snapshot.
    ///
    /// # Blocking
    /// Never on anything that a thread of the VM holds: short internal locks.
    pub fn wait_graph(&self) -> WaitGraph {
        let threads = self.all_threads();
        let row = |thread: &Thread| {
            let shown = shown(thread);
            let owner = shown.as_ref().and_then(|s| s.owner);
            WaitRow {
                thread: thread.clone(),
                waits_for: shown.map(|s| s.on),
                owner,
                owner_thread: owner.and_then(|id| threads.iter().find(|t| t.id() == id).cloned()),
                owner_is_alive: owner.is_some_and(|id| !record::is_over(id)),
            }
        };
        WaitGraph { rows: threads.iter().map(row).collect(), made: Instant::now() }
    }

    /// The threads that keep others waiting for `than` or longer: those that run and have come to no safe point, which keeps
    /// off handshakes and signals; and owners of mutexes for which others wait.
    ///
    /// Whether a thread comes to safe points is seen from one call to a later one: a call marks the threads that run, and
    /// names those whose mark is still there and old enough. So the first call names none of them: call it regularly, from
    /// a watchdog. A thread that sleeps, waits, or is [`outside`](crate::outside) is at a safe point all the time. The
    /// caller, if it is a thread of this runtime, is treated like the others.
    ///
    /// # Blocking
    /// Never on anything that a thread of the VM holds: short internal locks. A marked thread's next safe point takes its
    /// slow path once, and reports nothing.
    pub fn laggards(&self, than: Duration) -> Vec<Laggard> {
        let threads = self.all_threads();
        let mut found: Vec<Laggard> = threads
            .iter()
            .filter_map(|thread| {
                let since = thread.record().mark_run(thread.id(), than)?;
                Some(Laggard { thread: thread.clone(), why: Lag::NoSafePoint { since } })
            })
            .collect();
        for (owner, why) in held(&threads, than) {
            if let Some(thread) = threads.iter().find(|t| t.id() == owner) {
                found.push(Laggard { thread: thread.clone(), why });
            }
        }
        found
    }
}

/// The mutexes for which one of the threads has waited for `than`, with their owners.
fn held(threads: &[Thread], than: Duration) -> Vec<(ThreadId, Lag)> {
    let mut order = Vec::new();
    let mut mutexes: HashMap<(usize, ThreadId), (Option<Blocker>, usize)> = HashMap::new();
    for wait in threads.iter().filter_map(shown) {
        let (Some(owner), Some(mutex)) = (wait.owner, wait.mutex) else { continue };
        let (first, waiters) = mutexes.entry((mutex, owner)).or_insert_with(|| {
            order.push((mutex, owner));
            (None, 0)
        });
        *waiters += 1;
        if wait.throughout && first.as_ref().is_none_or(|f| wait.on.since() < f.since()) {
            *first = Some(wait.on);
        }
    }
    let lag = |key: (usize, ThreadId)| {
        let (first, waiters) = mutexes.remove(&key)?;
        let what = first.filter(|f| shim::is_past(f.since(), than))?;
        let since = what.since();
        Some((key.1, Lag::Holds { what, since, waiters }))
    };
    order.into_iter().filter_map(lag).collect()
}
