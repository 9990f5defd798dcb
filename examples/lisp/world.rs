//! What all threads of one program share.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use selvedge::Runtime;

use crate::buffer::Buffer;
use crate::cell::{Counter, Flag, Slot};
use crate::threads::Registry;
use crate::value::{Subr, Sym, Symbol, Value};

pub struct World {
    symbols: Slot<HashMap<Arc<str>, Sym>>,
    pub known: Known,
    pub buffers: Slot<Vec<Arc<Buffer>>>,
    pub ids: Counter,
    pub registry: Arc<Registry>,
    pub runtime: Runtime,
    /// The tests defined so far, by name.
    pub tests: Slot<Vec<Sym>>,
    /// `ert-run-tests-batch-and-exit` was called.
    pub tests_ran: Flag,
    /// What should go to standard output goes to standard error.
    pub divert: Flag,
    /// What `kill-emacs` in a thread asked for.
    pub exit_code: Slot<Option<i32>>,
    /// The program is over: nothing is printed any more.
    pub closed: Flag,
}

/// Symbols that the evaluator looks for.
pub struct Known {
    pub error_conditions: Value,
    pub error_message: Value,
    pub max_depth: Sym,
    pub read_only: Sym,
    pub inhibit_read_only: Sym,
    pub standard_output: Sym,
    pub case_fold: Sym,
}

impl World {
    pub fn new(runtime: Runtime, registry: Arc<Registry>) -> World {
        let symbols = Slot::new(HashMap::new());
        let known = |name: &str| match intern(&symbols, name) {
            Value::Sym(s) => s,
            _ => unreachable!("not nil or t"),
        };
        let known = Known {
            error_conditions: Value::Sym(known("error-conditions")),
            error_message: Value::Sym(known("error-message")),
            max_depth: known("max-lisp-eval-depth"),
            read_only: known("buffer-read-only"),
            inhibit_read_only: known("inhibit-read-only"),
            standard_output: known("standard-output"),
            case_fold: known("case-fold-search"),
        };
        let world = World {
            symbols,
            known,
            buffers: Slot::new(Vec::new()),
            ids: Counter::new(),
            registry,
            runtime,
            tests: Slot::new(Vec::new()),
            tests_ran: Flag::new(false),
            divert: Flag::new(false),
            exit_code: Slot::new(None),
            closed: Flag::new(false),
        };
        world.define_primitives();
        world.define_variables();
        for name in ["*scratch*", "*Messages*"] {
            world.new_buffer(name);
        }
        if let Some(messages) = world.find_buffer("*Messages*") {
            messages.set_local(&world.known.read_only, Value::T);
        }
        world
    }

    pub fn intern(&self, name: &str) -> Value {
        intern(&self.symbols, name)
    }

    /// A new symbol that the reader does not know.
    pub fn make_symbol(&self, name: &str) -> Value {
        Value::Sym(Arc::new(Symbol::new(name, false)))
    }

    fn symbol(&self, name: &str) -> Sym {
        match self.intern(name) {
            Value::Sym(s) => s,
            _ => unreachable!("not nil or t"),
        }
    }

    pub fn set_global(&self, name: &str, value: Value) {
        let symbol = self.symbol(name);
        symbol.special.set(true);
        symbol.value.set(Some(value));
    }

    fn define_primitives(&self) {
        let rooms: [&'static [Subr]; 12] = [
            crate::syntax::FORMS,
            crate::vars::SUBRS,
            crate::control::SUBRS,
            crate::lists::SUBRS,
            crate::numbers::SUBRS,
            crate::strings::SUBRS,
            crate::buffer::SUBRS,
            crate::threads::SUBRS,
            crate::chan::SUBRS,
            crate::mailbox::SUBRS,
            crate::promise::SUBRS,
            crate::ert::SUBRS,
        ];
        for subr in rooms.into_iter().flatten() {
            self.symbol(subr.name).function.set(Value::Subr(subr));
        }
    }

    fn define_variables(&self) {
        let variables = [
            ("max-lisp-eval-depth", Value::Int(1600)),
            ("most-positive-fixnum", Value::Int((1 << 61) - 1)),
            ("most-negative-fixnum", Value::Int(-(1 << 61))),
            ("float-pi", Value::float(std::f64::consts::PI)),
            ("pi", Value::float(std::f64::consts::PI)),
            ("case-fold-search", Value::T),
            ("standard-output", Value::T),
            ("inhibit-read-only", Value::Nil),
            ("buffer-read-only", Value::Nil),
            ("noninteractive", Value::T),
            ("lexical-binding", Value::T),
            ("load-file-name", Value::Nil),
            ("features", Value::Nil),
            ("debug-on-error", Value::Nil),
            ("gc-cons-threshold", Value::Int(800_000)),
            ("gensym-counter", Value::Int(0)),
            ("emacs-version", Value::str("28.2")),
            ("emacs-major-version", Value::Int(28)),
            ("emacs-minor-version", Value::Int(2)),
        ];
        for (name, value) in variables {
            self.set_global(name, value);
        }
        self.known.read_only.always_local.set(true);
        self.known.read_only.has_locals.set(true);
        let features = ["threads", "thread", "ert", "cl-lib", "subr-x", "seq", "emacs"];
        let features = features.map(|f| self.intern(f));
        self.symbol("features").value.set(Some(Value::list(features)));
    }

    /// Writes to standard output, all of `s` at once.
    pub fn print(&self, s: &str) {
        if self.closed.is_set() {
            return;
        }
        // A reader that went away is no error of the program.
        let _ = match self.divert.is_set() {
            true => std::io::stderr().write_all(s.as_bytes()),
            false => std::io::stdout().write_all(s.as_bytes()),
        };
    }

    /// A line to standard error.
    pub fn log(&self, line: &str) {
        self.log_raw(&format!("{line}\n"));
    }

    pub fn log_raw(&self, text: &str) {
        if !self.closed.is_set() {
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }
}

fn intern(symbols: &Slot<HashMap<Arc<str>, Sym>>, name: &str) -> Value {
    match name {
        "nil" => Value::Nil,
        "t" => Value::T,
        _ => symbols.with(|symbols| {
            if let Some(symbol) = symbols.get(name) {
                return Value::Sym(symbol.clone());
            }
            let symbol = Arc::new(Symbol::new(name, true));
            symbols.insert(symbol.name.clone(), symbol.clone());
            Value::Sym(symbol)
        }),
    }
}
