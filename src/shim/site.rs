//! Which call sites of atomics a run visits, and which one of them it weakens. Model builds only; of it, a shuttle build
//! uses the planted faults.
//!
//! | variable                              | effect                                                      |
//! |---------------------------------------|-------------------------------------------------------------|
//! | `SELVEDGE_SITES=file`                 | appends each visited site and planted fault to `file`, once |
//! | `SELVEDGE_MUTANT="SITE OP ORDERING"`  | that operation of that site uses that ordering              |
//! | `SELVEDGE_PLANT=name`                 | `planted(name)` holds                                       |
//!
//! A site is `src/mutex.rs:69:22`, as the compiler names the caller; the file may be given by its last components.
//! The ordering `none` leaves a fence or an unpark out. The file gets `SITE OP ORDERING` and `plant name` lines.
//! One binary thus serves every mutant. Nothing here is modelled: the types are those of std.
#![cfg_attr(selvedge_shuttle, allow(dead_code))]

use std::collections::HashSet;
use std::env;
use std::fs::File;
use std::io::Write;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, OnceLock, PoisonError};

/// What a site does. A compare-exchange is two operations: `Rmw` for success, `Fail` for failure.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Op {
    Load,
    Store,
    Rmw,
    Fail,
    Fence,
    /// Has no ordering; written as Relaxed.
    Unpark,
}

/// The environment, read once.
struct Plan {
    visited: Option<Mutex<Visited>>,
    mutant: Option<Mutant>,
    plant: Option<String>,
}

struct Visited {
    file: File,
    sites: HashSet<(&'static Location<'static>, Op, Ordering)>,
    plants: HashSet<String>,
}

struct Mutant {
    file: PathBuf,
    line: u32,
    column: u32,
    op: Op,
    to: Option<Ordering>,
}

/// The ordering that the caller's `op` gets in this run: its own, unless the run mutates this site.
/// `None`: the operation is left out (fences and unparks only).
#[track_caller]
pub(crate) fn weaken(op: Op, o: Ordering) -> Option<Ordering> {
    let at = Location::caller();
    let plan = plan();
    if let Some(visited) = &plan.visited {
        visit(visited, |v| {
            let new = v.sites.insert((at, op, o));
            new.then(|| format!("{at} {op:?} {o:?}\n"))
        });
    }
    match &plan.mutant {
        Some(m) if m.is_at(at, op) => m.to,
        _ => Some(o),
    }
}

/// Whether this run plants the protocol fault `name`: code under the model asks, and breaks itself if so.
pub(crate) fn planted(name: &str) -> bool {
    let plan = plan();
    if let Some(visited) = &plan.visited {
        visit(visited, |v| {
            let new = !v.plants.contains(name) && v.plants.insert(name.into());
            new.then(|| format!("plant {name}\n"))
        });
    }
    plan.plant.as_deref() == Some(name)
}

/// Whether this run plants any fault: the models are to notice it, not the assertions that watch every step.
pub(crate) fn planting() -> bool {
    plan().plant.is_some()
}

fn plan() -> &'static Plan {
    static PLAN: OnceLock<Plan> = OnceLock::new();
    PLAN.get_or_init(|| Plan {
        visited: env::var_os("SELVEDGE_SITES").map(|f| Mutex::new(Visited::new(Path::new(&f)))),
        mutant: env::var("SELVEDGE_MUTANT").ok().map(|m| {
            Mutant::parse(&m)
                .unwrap_or_else(|| refuse(&format!("SELVEDGE_MUTANT={m}: not understood")))
        }),
        plant: env::var("SELVEDGE_PLANT").ok(),
    })
}

/// Appends what `line` finds new. One write a line, so that two test processes may share the file.
fn visit(visited: &Mutex<Visited>, line: impl FnOnce(&mut Visited) -> Option<String>) {
    let mut v = visited.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(line) = line(&mut v)
        && let Err(e) = v.file.write_all(line.as_bytes())
    {
        refuse(&format!("SELVEDGE_SITES: {e}"));
    }
}

/// Ends the process: a panic could pass for a fault that the model found.
fn refuse(why: &str) -> ! {
    println!("HARNESS site | {why}");
    std::process::exit(2);
}

impl Visited {
    fn new(file: &Path) -> Self {
        let file = File::options().append(true).create(true).open(file);
        let file = file.unwrap_or_else(|e| refuse(&format!("SELVEDGE_SITES: {e}")));
        Self { file, sites: HashSet::new(), plants: HashSet::new() }
    }
}

impl Mutant {
    /// Read from the right: a path may hold spaces and colons.
    fn parse(m: &str) -> Option<Self> {
        let mut words = m.rsplitn(3, ' ');
        let to = match words.next()? {
            "Relaxed" => Some(Ordering::Relaxed),
            "Acquire" => Some(Ordering::Acquire),
            "Release" => Some(Ordering::Release),
            "AcqRel" => Some(Ordering::AcqRel),
            "none" => None,
            _ => return None,
        };
        let op = match words.next()? {
            "Load" => Op::Load,
            "Store" => Op::Store,
            "Rmw" => Op::Rmw,
            "Fail" => Op::Fail,
            "Fence" => Op::Fence,
            "Unpark" => Op::Unpark,
            _ => return None,
        };
        if to.is_none() && !matches!(op, Op::Fence | Op::Unpark) {
            return None;
        }
        let mut at = words.next()?.rsplitn(3, ':');
        let column = at.next()?.parse().ok()?;
        let line = at.next()?.parse().ok()?;
        let file = at.next()?.into();
        Some(Self { file, line, column, op, to })
    }

    fn is_at(&self, at: &Location<'_>, op: Op) -> bool {
        self.line == at.line()
            && self.column == at.column()
            && self.op == op
            && Path::new(at.file()).ends_with(&self.file)
    }
}
