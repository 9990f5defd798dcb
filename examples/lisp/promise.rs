//! Promises: selvedge's, under their Lisp names. The answer to a message is one, too.

use std::sync::Arc;
use std::time::Instant;

use selvedge::isolate::{Answer, Unanswered};
use selvedge::promise::{self, PromiseError, Resolver, Settled};

use crate::chan::timed_out;
use crate::eval::Interp;
use crate::threads::{self, LispSignal, shut_down};
use crate::value::{Res, Subr, Value, error, signal, wrong_type};

/// The value is shared by all who read it.
type Kept = Arc<Value>;
pub type Reader = Answer<Value, Kept, LispSignal>;
type Keeper = Resolver<Kept, Unanswered<Value, LispSignal>>;

pub struct LispPromise {
    /// The string it was given.
    pub name: Option<Value>,
    /// None: it is being dropped.
    ends: Option<(Reader, Option<Keeper>)>,
}

impl LispPromise {
    /// Whoever has it may keep it.
    fn new(name: Option<Value>) -> Res<Arc<LispPromise>> {
        let (keeper, reader) = promise::labelled(threads::label(&name, 0)?);
        Ok(Arc::new(LispPromise { name, ends: Some((reader, Some(keeper))) }))
    }

    /// An answer, for who has asked.
    pub fn to_read(reader: Reader) -> Arc<LispPromise> {
        Arc::new(LispPromise { name: None, ends: Some((reader, None)) })
    }

    /// An answer, for who gives it.
    pub fn to_keep(keeper: Keeper) -> Arc<LispPromise> {
        Arc::new(LispPromise { name: None, ends: Some((keeper.promise(), Some(keeper))) })
    }

    pub fn reader(&self) -> &Reader {
        let (reader, _) = self.ends.as_ref().expect("nobody has a promise that is dropped");
        reader
    }

    fn keeper(&self) -> Res<&Keeper> {
        match &self.ends {
            Some((_, Some(keeper))) => Ok(keeper),
            _ => error("The promise of an answer is kept by who was asked"),
        }
    }

    /// The value of one that is settled; or its error, as one of who asks.
    pub fn result(self: &Arc<Self>) -> Res {
        let this = || Value::Promise(self.clone());
        match self.reader().get() {
            Some(Settled::Value(value)) => Ok((**value).clone()),
            Some(Settled::Error(Unanswered::Failed(e))) => e.clone().raise(),
            Some(Settled::Error(Unanswered::Undelivered(call))) => {
                signal("thread-dead", [this(), call.clone()])
            }
            Some(_) => signal("promise-cancelled", [this()]),
            None => error("The promise is not settled yet"),
        }
    }

    /// The value, if this was the last to hold it. The promise is gone then.
    pub fn take(&mut self) -> Option<Value> {
        let (reader, keeper) = self.ends.take()?;
        let value = match reader.get() {
            Some(Settled::Value(value)) => Some(value.clone()),
            _ => None,
        };
        drop((reader, keeper));
        Arc::into_inner(value?)
    }
}

impl Interp<'_> {
    fn wait_for<T>(
        &mut self,
        what: &Value,
        mut wait: impl FnMut(&mut Self, Option<Instant>) -> Result<T, PromiseError>,
    ) -> Res<T> {
        loop {
            self.thread.waits_for.set(what.clone());
            let waited = wait(self, self.limit);
            self.thread.waits_for.set(Value::Nil);
            match waited {
                Ok(value) => return Ok(value),
                Err(PromiseError::Interrupted) => self.raise_pending()?,
                Err(PromiseError::TimedOut) => return timed_out(what.clone()),
                Err(PromiseError::ShutDown) => return shut_down(),
                Err(e) => return error(e.to_string()),
            }
        }
    }

    fn wait_for_all(&mut self, what: &Value, readers: &[Reader]) -> Res<()> {
        self.wait_for(what, |cx, limit| match limit {
            None => promise::wait_all(cx, readers),
            Some(limit) => promise::wait_all_until(cx, readers, limit),
        })
    }

    fn wait_for_any(&mut self, what: &Value, readers: &[Reader]) -> Res<usize> {
        self.wait_for(what, |cx, limit| match limit {
            None => promise::wait_any(cx, readers),
            Some(limit) => promise::wait_any_until(cx, readers, limit),
        })
    }
}

fn promise(v: &Value) -> Res<&Arc<LispPromise>> {
    match v {
        Value::Promise(p) => Ok(p),
        v => wrong_type("promise-p", v),
    }
}

fn promises(v: &Value) -> Res<Vec<Arc<LispPromise>>> {
    v.to_vec()?.iter().map(|p| promise(p).cloned()).collect()
}

fn readers(promises: &[Arc<LispPromise>]) -> Vec<Reader> {
    promises.iter().map(|p| p.reader().clone()).collect()
}

pub static SUBRS: &[Subr] = &[
    Subr::new("make-promise", 0, 1, |_, a| {
        Ok(Value::Promise(LispPromise::new(threads::name(a.first())?)?))
    }),
    Subr::new("promise-p", 1, 1, |_, a| Ok(matches!(a[0], Value::Promise(_)).into())),
    Subr::new("promise-settled-p", 1, 1, |_, a| Ok(promise(&a[0])?.reader().is_settled().into())),
    Subr::new("promise-resolve", 2, 2, |_, a| {
        Ok(promise(&a[0])?.keeper()?.resolve(Arc::new(a[1].clone())).is_ok().into())
    }),
    Subr::new("promise-reject", 2, 2, |_, a| {
        let keeper = promise(&a[0])?.keeper()?;
        let (symbol, data) = (a[1].car()?, a[1].cdr()?);
        symbol.symbol()?;
        let error = LispSignal { symbol, data };
        Ok(keeper.reject(Unanswered::Failed(error)).is_ok().into())
    }),
    Subr::new("promise-cancel", 1, 1, |_, a| Ok(promise(&a[0])?.reader().cancel().into())),
    Subr::new("promise-wait", 1, 1, |cx, a| {
        let promise = promise(&a[0])?;
        cx.wait_for_all(&a[0], std::slice::from_ref(promise.reader()))?;
        promise.result()
    }),
    Subr::new("promise-all", 1, 1, |cx, a| {
        let promises = promises(&a[0])?;
        cx.wait_for_all(&a[0], &readers(&promises))?;
        let values = promises.iter().map(LispPromise::result).collect::<Res<Vec<_>>>()?;
        Ok(Value::list(values))
    }),
    Subr::new("promise-any", 1, 1, |cx, a| {
        let promises = promises(&a[0])?;
        let first = cx.wait_for_any(&a[0], &readers(&promises))?;
        Ok(Value::Promise(promises[first].clone()))
    }),
];
