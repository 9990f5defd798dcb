//! A function in front of a channel: what is sent goes through it first, in the sender's thread.

use super::Sender;
use super::error::{MapError, SendError, TrySendError};
use crate::shim::Arc;
use crate::thread::Context;
use std::convert::Infallible;
use std::fmt;
use std::time::Instant;

/// A [`Sender`] behind a function, which makes of what is sent the value that goes into the channel, or none, or fails. Made
/// by [`Sender::try_filter_map`], [`map`](Sender::map) and [`filter`](Sender::filter). Clones share the function.
///
/// It runs in the thread that sends, before anything is sent, with no lock held: it may use channels, this one too. If it
/// panics nothing was sent. It has no context, so it cannot wait; a function that must is called before a plain send.
pub struct Mapped<T, F> {
    tx: Sender<T>,
    f: Arc<F>,
}

impl<T> Sender<T> {
    /// What is sent goes through `f` first: the value that it makes is sent, or nothing if it makes none; if it fails, who
    /// sends gets the error.
    ///
    /// # Examples
    /// ```
    /// use selvedge::channel::{self, MapError};
    /// use selvedge::Runtime;
    /// let vm = Runtime::new();
    /// let mut cx = vm.attach("main")?;
    /// let (tx, rx) = channel::unbounded::<u32>();
    /// let tx = tx.try_filter_map(|line: &str| match line.trim() {
    ///     "" => Ok(None),
    ///     text => text.parse().map(Some),
    /// });
    /// assert!(tx.send(&mut cx, "17")?);
    /// assert!(!tx.send(&mut cx, "")?, "nothing was sent");
    /// assert!(matches!(tx.send(&mut cx, "x"), Err(MapError::Refused(_))));
    /// assert_eq!(rx.drain().collect::<Vec<_>>(), [17]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_filter_map<U, E, F>(self, f: F) -> Mapped<T, F>
    where
        F: Fn(U) -> Result<Option<T>, E>,
    {
        Mapped { tx: self, f: Arc::new(f) }
    }

    /// What is sent goes through `f` first.
    ///
    /// # Examples
    /// ```
    /// let (tx, rx) = selvedge::channel::unbounded();
    /// let lengths = tx.map(|word: &str| word.len());
    /// assert!(lengths.try_send("selvedge").is_ok());
    /// assert_eq!(rx.try_recv(), Ok(8));
    /// ```
    pub fn map<U>(
        self,
        f: impl Fn(U) -> T,
    ) -> Mapped<T, impl Fn(U) -> Result<Option<T>, Infallible>> {
        self.try_filter_map(move |value| Ok(Some(f(value))))
    }

    /// Only what `f` says `true` of is sent; the rest is dropped, by who sends it.
    ///
    /// # Examples
    /// ```
    /// let (tx, rx) = selvedge::channel::unbounded();
    /// let even = tx.filter(|n: &u32| n % 2 == 0);
    /// assert_eq!(even.try_send(3), Ok(false));
    /// assert_eq!(even.try_send(4), Ok(true));
    /// assert_eq!(rx.drain().collect::<Vec<_>>(), [4]);
    /// ```
    pub fn filter(
        self,
        f: impl Fn(&T) -> bool,
    ) -> Mapped<T, impl Fn(T) -> Result<Option<T>, Infallible>> {
        self.try_filter_map(move |value| Ok(f(&value).then_some(value)))
    }
}

impl<T, F> Mapped<T, F> {
    /// Makes the value and sends it, as [`Sender::send`]. False: there was none to send.
    ///
    /// # Errors
    /// See [`MapError`]. The value that was made and not sent comes back.
    /// # Blocking
    /// As [`Sender::send`], if there is a value.
    pub fn send<U, E, C: Context>(
        &self,
        cx: &mut C,
        value: U,
    ) -> Result<bool, MapError<E, SendError<T>>>
    where
        F: Fn(U) -> Result<Option<T>, E>,
    {
        self.made(value, |value| self.tx.send(cx, value))
    }

    /// The same, until `deadline` at the latest. The function has the time that it takes.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::TimedOut`].
    pub fn send_until<U, E, C: Context>(
        &self,
        cx: &mut C,
        value: U,
        deadline: Instant,
    ) -> Result<bool, MapError<E, SendError<T>>>
    where
        F: Fn(U) -> Result<Option<T>, E>,
    {
        self.made(value, |value| self.tx.send_until(cx, value, deadline))
    }

    /// Makes the value, and sends it if that takes no wait: [`Sender::try_send`].
    ///
    /// # Errors
    /// See [`MapError`]. The value that was made and not sent comes back.
    pub fn try_send<U, E>(&self, value: U) -> Result<bool, MapError<E, TrySendError<T>>>
    where
        F: Fn(U) -> Result<Option<T>, E>,
    {
        self.made(value, |value| self.tx.try_send(value))
    }

    fn made<U, E, S>(
        &self,
        value: U,
        send: impl FnOnce(T) -> Result<(), S>,
    ) -> Result<bool, MapError<E, S>>
    where
        F: Fn(U) -> Result<Option<T>, E>,
    {
        match (self.f)(value).map_err(MapError::Refused)? {
            Some(value) => send(value).map(|()| true).map_err(MapError::NotSent),
            None => Ok(false),
        }
    }

    /// The sender behind the function: for all that does not send. What it sends goes past the function.
    pub fn sender(&self) -> &Sender<T> {
        &self.tx
    }
    /// The same, without the function.
    pub fn into_sender(self) -> Sender<T> {
        self.tx
    }
}

impl<T, F> Clone for Mapped<T, F> {
    fn clone(&self) -> Self {
        Self { tx: self.tx.clone(), f: self.f.clone() }
    }
}

/// Shows the sender.
impl<T, F> fmt::Debug for Mapped<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapped").field("sender", &self.tx).finish_non_exhaustive()
    }
}
