//! A VM on selvedge in one file: an interpreter, a heap with a recursive mutex, two threads, a signal, a shutdown.
//!
//! ```text
//! cargo run --example tiny_vm
//! ```
//!
//! It is built as docs/GUIDE.md says, where each step has its chapter. examples/lisp is the same at full size.

use selvedge::{Blocker, Context, JoinHandle, LockError, Mutex, OwnedMutexGuard, Participant};
use selvedge::{JoinFailure, Runtime, SpawnError, safe_point};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// Where an object lies in the heap.
type Handle = usize;

/// What a program of this VM consists of.
enum Code {
    /// Adds to a number. Reads and writes are apart: without the mutex, additions of two threads would get lost.
    Add(Handle, i64),
    /// Runs the code with the mutex held.
    WithMutex(Handle, &'static Code),
    Repeat(u32, &'static Code),
    Forever(&'static Code),
}

enum Object {
    Number(AtomicI64),
    /// In an `Arc`, so that a guard can keep it: a guard that borrowed the heap would borrow the interpreter.
    Mutex(Arc<Mutex>),
}

type Heap = Arc<Vec<Object>>;

/// How a program ends early: the VM's own error, which its threads leave to whoever joins them.
#[derive(Clone, Debug)]
enum VmError {
    /// A signal from another thread, with what it said.
    Stopped(String),
    ShutDown,
    WrongType(Handle),
    Lock(LockError),
}

impl fmt::Display for VmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped(why) => write!(f, "stopped: {why}"),
            Self::ShutDown => f.write_str("the VM shuts down"),
            Self::WrongType(handle) => write!(f, "object {handle} is of another type"),
            Self::Lock(e) => e.fmt(f),
        }
    }
}
impl std::error::Error for VmError {}

/// One per thread. It is the context: every call that may wait takes it.
struct Interpreter<'t> {
    me: &'t mut Participant,
    heap: Heap,
    waits: u32,
}

impl Context for Interpreter<'_> {
    fn me(&self) -> &Participant {
        self.me
    }
    fn me_mut(&mut self) -> &mut Participant {
        self.me
    }
    /// A VM with a collector would publish its roots here, and take them back in `after_block`.
    fn before_block(&mut self, _on: &Blocker) {
        self.waits += 1;
    }
}

impl<'t> Interpreter<'t> {
    fn new(me: &'t mut Participant, heap: Heap) -> Self {
        Self { me, heap, waits: 0 }
    }

    fn run(&mut self, code: &Code) -> Result<(), VmError> {
        match *code {
            Code::Add(number, n) => {
                let Object::Number(cell) = &self.heap[number] else {
                    return Err(VmError::WrongType(number));
                };
                cell.store(cell.load(Relaxed) + n, Relaxed);
            }
            Code::WithMutex(mutex, body) => {
                let _held = self.lock(mutex)?;
                self.run(body)?; // an error on its way out gives the level back
            }
            Code::Repeat(times, body) => {
                for _ in 0..times {
                    self.poll()?;
                    self.run(body)?;
                }
            }
            Code::Forever(body) => loop {
                self.poll()?;
                self.run(body)?;
            },
        }
        Ok(())
    }

    /// The safe point of every turn of a loop: here the VM lets itself be stopped.
    fn poll(&mut self) -> Result<(), VmError> {
        let seen = safe_point(self);
        if seen.shut_down() {
            return Err(VmError::ShutDown);
        }
        if seen.signal() { self.raise() } else { Ok(()) }
    }

    /// Turns the oldest signal into an error.
    fn raise(&mut self) -> Result<(), VmError> {
        match self.me.take_signal().map(|signal| signal.downcast::<String>()) {
            Some(Ok(why)) => Err(VmError::Stopped(why)),
            Some(Err(_)) | None => Ok(()), // this VM sends nothing else
        }
    }

    fn lock(&mut self, mutex: Handle) -> Result<OwnedMutexGuard<Arc<Mutex>>, VmError> {
        let Object::Mutex(found) = &self.heap[mutex] else {
            return Err(VmError::WrongType(mutex));
        };
        let found = found.clone();
        loop {
            match Mutex::lock_owned(found.clone(), self) {
                Ok(held) => return Ok(held),
                Err(LockError::Interrupted) => self.raise()?,
                Err(LockError::ShutDown) => return Err(VmError::ShutDown),
                Err(e) => return Err(VmError::Lock(e)),
            }
        }
    }
}

/// `make-thread` of this VM: the new thread gets an interpreter of its own on the same heap.
fn start(
    vm: &Runtime,
    heap: &Heap,
    name: &str,
    code: &'static Code,
) -> Result<JoinHandle<u32, VmError>, SpawnError> {
    let heap = heap.clone();
    vm.spawn(name, move |me| {
        let mut interpreter = Interpreter::new(me, heap);
        interpreter.run(code)?;
        Ok(interpreter.waits)
    })
}

const COUNTER: Handle = 0;
const LOCK: Handle = 1;
/// Locks twice: the mutex is recursive.
static ADD: Code = Code::WithMutex(LOCK, &Code::WithMutex(LOCK, &Code::Add(COUNTER, 1)));
static COUNT: Code = Code::Repeat(10_000, &ADD);
static COUNT_FOR_EVER: Code = Code::Forever(&ADD);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let heap: Heap = Arc::new(vec![
        Object::Number(AtomicI64::new(0)),
        Object::Mutex(Arc::new(Mutex::named("counter"))),
    ]);
    let vm = Runtime::new();
    let mut me = vm.attach("main")?;
    let mut main = Interpreter::new(&mut me, heap.clone());

    // Two threads count together.
    let worker = start(&vm, &heap, "worker", &COUNT)?;
    main.run(&COUNT)?;
    let waits = main.waits + worker.join(&mut main)?;
    let Object::Number(counter) = &heap[COUNTER] else { unreachable!("made above") };
    println!("two threads counted to {}, and waited {waits} times", counter.load(Relaxed));
    assert_eq!(counter.load(Relaxed), 20_000);

    // A signal stops a thread that would never end.
    let endless = start(&vm, &heap, "endless", &COUNT_FOR_EVER)?;
    let _queued = endless.signal(main.me(), "enough".to_string())?;
    match endless.join(&mut main) {
        Err(JoinFailure::Failed(e @ VmError::Stopped(_))) => println!("endless is {e}"),
        other => panic!("endless went on: {other:?}"),
    }

    // So does the end of the VM.
    let endless = start(&vm, &heap, "endless", &COUNT_FOR_EVER)?;
    vm.shutdown(main.me());
    match endless.join(&mut main) {
        Err(JoinFailure::Failed(e @ VmError::ShutDown)) => println!("endless ended: {e}"),
        other => panic!("endless outlived the VM: {other:?}"),
    }
    Ok(())
}
