//! A small Emacs Lisp whose threads, mutexes and condition variables are selvedge's.
//!
//! ```text
//! cargo run --release --example lisp -- [--baton | --parallel] [--timeout SECONDS] FILE...
//! ```

// Each file is a room of one program, not a library.
#![allow(unreachable_pub)]

mod buffer;
mod cell;
mod chan;
mod control;
mod ert;
mod eval;
mod lists;
mod mailbox;
mod numbers;
mod print;
mod promise;
mod reader;
mod regex;
mod strings;
mod syntax;
mod threads;
mod value;
mod vars;
mod world;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge::{JoinError, JoinFailure, Participant, Runtime, SignalPolicy, sleep_until};

use cell::Slot;
use eval::{Interp, Stack};
use threads::{LispThread, MainMail, Registry};
use value::{Flow, Value};
use world::World;

/// The language's own part, in this order.
const PRELUDES: [(&str, &str); 2] =
    [("prelude.el", include_str!("prelude.el")), ("channels.el", include_str!("channels.el"))];

/// Stack of the thread that runs a program.
const STACK: usize = 256 << 20;

/// How long the threads of a program that is over may take to end.
const GRACE: Duration = Duration::from_secs(2);

const USAGE: &str = "usage: lisp [--baton | --parallel] [--timeout SECONDS] FILE...";

struct Options {
    modes: Vec<Mode>,
    timeout: Duration,
    files: Vec<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Baton,
    Parallel,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Baton => "baton",
            Mode::Parallel => "parallel",
        }
    }
}

fn options() -> Result<Options, String> {
    let mut options =
        Options { modes: Vec::new(), timeout: Duration::from_secs(60), files: Vec::new() };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--baton" => options.modes.push(Mode::Baton),
            "--parallel" => options.modes.push(Mode::Parallel),
            "--timeout" => {
                let seconds = args.next().and_then(|s| s.parse().ok());
                let time = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
                options.timeout = time.ok_or("--timeout needs a number of seconds")?;
            }
            _ if arg.starts_with("--") => return Err(format!("unknown option {arg}")),
            _ => options.files.push(arg),
        }
    }
    if options.files.is_empty() {
        return Err("no files".to_string());
    }
    if options.modes.is_empty() {
        options.modes = vec![Mode::Baton, Mode::Parallel];
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(why) => {
            eprintln!("lisp: {why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // The driver is a VM too: each program is a thread of it that can be joined in time.
    let driver = Runtime::builder().stack_size(STACK).build();
    let mut me = driver.attach("driver").expect("a new runtime takes threads");
    let mut all_ok = true;
    for file in &options.files {
        for &mode in &options.modes {
            let start = Instant::now();
            let ok = drive(&mut me, file, mode, options.timeout);
            let verdict = if ok { "ok" } else { "failed" };
            let time = start.elapsed().as_secs_f64();
            eprintln!("{:8}  {file}  {verdict}  {time:.3} s", mode.name());
            all_ok &= ok;
        }
    }
    // Threads that did not end in time end with the process.
    std::process::exit(i32::from(!all_ok));
}

/// Runs one program in a thread of its own, at most until the timeout.
fn drive(me: &mut Participant, file: &str, mode: Mode, timeout: Duration) -> bool {
    let world = Arc::new(Slot::new(None));
    let (path, shared) = (file.to_string(), world.clone());
    let body = move |_: &mut Participant| Ok::<bool, ()>(run(&path, mode, &shared));
    let program = match me.runtime().clone().spawn(file, body) {
        Ok(program) => program,
        Err(e) => {
            eprintln!("{file}: cannot start: {e}");
            return false;
        }
    };
    let deadline = Instant::now() + timeout.min(Duration::from_secs(1 << 32));
    match program.join_until(me, deadline) {
        Ok(ok) => ok,
        Err(JoinFailure::Wait(JoinError::TimedOut)) => {
            eprintln!("{file}: not done after {} s", timeout.as_secs_f64());
            if let Some(world) = world.get() {
                let world: Arc<World> = world;
                eprintln!("{}", world.runtime.wait_graph());
                // Since the last look, half a second ago.
                world.runtime.laggards(Duration::ZERO);
                let _ = sleep_until(me, Instant::now() + Duration::from_millis(500));
                for laggard in world.runtime.laggards(Duration::from_millis(400)) {
                    eprintln!("{laggard}");
                }
                world.closed.set(true);
                world.runtime.shutdown(me);
            }
            let _ = program.join_until(me, Instant::now() + 2 * GRACE);
            false
        }
        Err(e) => {
            eprintln!("{file}: the interpreter failed: {e:?}");
            false
        }
    }
}

/// Runs the program in `path` as the main thread of a runtime of its own.
fn run(path: &str, mode: Mode, shared: &Slot<Option<Arc<World>>>) -> bool {
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) => {
            eprintln!("{path}: cannot read: {e}");
            return false;
        }
    };
    let registry = Arc::new(Registry::default());
    let runtime = Runtime::builder()
        .baton(mode == Mode::Baton)
        .signals(SignalPolicy::Replace)
        .host(MainMail(registry.clone()))
        .stack_size(threads::STACK)
        .build();
    let mut participant = runtime.attach(()).expect("a new runtime takes threads");
    let world = Arc::new(World::new(runtime, registry));
    shared.set(Some(world.clone()));
    let scratch = world.find_buffer("*scratch*").expect("every world has one");
    let Ok(thread) = LispThread::new(&world, None, scratch).map(Arc::new) else {
        unreachable!("no name is a good name");
    };
    world.registry.add(&thread, participant.thread());
    world.set_global("main-thread", Value::Thread(thread.clone()));
    let stack = Stack::here(STACK);
    let mut cx = Interp::new(world.clone(), &mut participant, thread, stack);
    let ok = run_program(&mut cx, path, &text);
    world.closed.set(true);
    let _ = std::io::stdout().flush();
    shared.set(None);
    end_others(&mut cx);
    ok
}

fn run_program(cx: &mut Interp<'_>, path: &str, text: &str) -> bool {
    for (name, text) in PRELUDES {
        if let Err(flow) = cx.load_text(name, text) {
            let why = failure(cx, *flow);
            panic!("{name} is wrong: {why:?}");
        }
    }
    cx.world.set_global("load-file-name", Value::str(path));
    let result = cx.load_text(path, text).and_then(|()| {
        if cx.world.tests_ran.is_set() || cx.world.tests.with(|t| t.is_empty()) {
            return Ok(true);
        }
        // Emacs would not run these; standard output stays what Emacs prints.
        cx.world.divert.set(true);
        cx.run_tests().map(|unexpected| unexpected == 0)
    });
    match result {
        Ok(ok) => ok,
        Err(flow) => match failure(cx, *flow) {
            None => true,
            Some(why) => {
                eprintln!("{path}: {why}");
                false
            }
        },
    }
}

/// Why the program failed; None: it ended of its own will, and well.
fn failure(cx: &Interp<'_>, flow: Flow) -> Option<String> {
    let (symbol, data) = match cx.settle(flow) {
        Ok(error) => error,
        Err(flow) => {
            let code = match *flow {
                Flow::Exit(code) => Some(code),
                _ => cx.world.exit_code.get(),
            };
            return match code {
                Some(0) => None,
                Some(code) => Some(format!("exit status {code}")),
                None => Some("stopped".to_string()),
            };
        }
    };
    let form = Value::cons(symbol, data);
    let text = cx.error_text(&form);
    Some(text.unwrap_or_else(|_| print::shown(&form)))
}

/// Ends the threads that the program left behind, if they let themselves be ended.
fn end_others(cx: &mut Interp<'_>) {
    let runtime = cx.world.runtime.clone();
    runtime.shutdown(cx.participant);
    let deadline = Instant::now() + GRACE;
    for thread in runtime.all_threads() {
        if thread != *cx.participant.thread() {
            let _ = thread.join_until(cx, deadline);
        }
    }
}
