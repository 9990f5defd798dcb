//! Isolates: threads that share nothing but messages. Mailboxes, whose messages are answered by promises; monitors and
//! links.
//!
//! A mailbox is an unbounded channel of letters, an answer is a promise, a monitor is a channel too: nothing here waits by
//! itself.
//!
//! I1. A letter is answered once: by who reads it, or by its own end (`Letter`), or, if nobody will read it, by the end of
//!     the mailbox, which gives the message back. So whoever waits for an answer gets one.
//! I2. What is said at the end of a thread is said by `thread/exit`, after its joiners were woken.

use crate::channel::{self, Builder, Receiver, RecvArm, RecvError, Sender, TryRecvError};
use crate::promise::{self, Promise, Resolver};
use crate::shim::planted;
use crate::thread::{AtEnd, Context, Exit, Label, Thread};
use std::fmt;
use std::time::Instant;

/// Why a message has no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Unanswered<M, E> {
    /// Nobody has read it: the mailbox is gone. The message; [`Promise::into_inner`] gives it out.
    Undelivered(M),
    /// Who read it failed.
    Failed(E),
}

/// The answer to a message, once there is one. [`Cancelled`](promise::Settled::Cancelled): who read the message let go of it
/// without an answer, or the asker has cancelled it.
pub type Answer<M, R, E> = Promise<R, Unanswered<M, E>>;

/// Where messages are sent to. Clones are the same address.
pub struct Address<M, R = (), E = ()>(Sender<Letter<M, R, E>>);

/// Where messages come in, in the order in which they were sent. When it is dropped, the messages that nobody has read go
/// back to their senders, and so does each later one.
///
/// # Examples
/// ```
/// use selvedge::Runtime;
/// use selvedge::isolate;
/// use selvedge::promise::Settled;
/// let vm = Runtime::new();
/// let mut cx = vm.attach("main")?;
/// let (address, mailbox) = isolate::mailbox::<u32, u32, String>();
/// let doubler = vm.spawn("doubler", move |cx| {
///     while let Ok(letter) = mailbox.recv(cx) {
///         let twice = letter.message() * 2;
///         let _ = letter.answer(twice); // nobody may wait for it any more
///     }
///     Ok::<_, ()>(())
/// })?;
/// let answer = address.send(21)?;
/// assert_eq!(answer.wait(&mut cx)?, Settled::Value(&42));
/// drop(address); // the last one: the doubler ends
/// doubler.join(&mut cx)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Mailbox<M, R = (), E = ()>(Receiver<Letter<M, R, E>>);

/// A message, and who waits for the answer. Dropped, it cancels that.
pub struct Letter<M, R = (), E = ()> {
    message: Option<M>,
    resolver: Resolver<R, Unanswered<M, E>>,
}

/// The message was not sent: the mailbox is gone. It gives the message back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Gone<M>(pub M);

impl<M> fmt::Debug for Gone<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gone(..)")
    }
}
impl<M> fmt::Display for Gone<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message was sent to a mailbox that is gone")
    }
}
impl<M> std::error::Error for Gone<M> {}

/// A mailbox, and its address.
///
/// Between threads, messages, answers and errors are `Send` and `Sync`: an answer has any number of readers, and so has a
/// message that comes back.
/// ```compile_fail,E0277
/// let (_address, mailbox) = selvedge::isolate::mailbox::<std::cell::Cell<u8>, (), ()>();
/// std::thread::spawn(move || mailbox.try_recv());
/// ```
/// ```
/// let (_address, mailbox) = selvedge::isolate::mailbox::<std::sync::Mutex<u8>, (), ()>();
/// std::thread::spawn(move || mailbox.try_recv());
/// ```
pub fn mailbox<M, R, E>() -> (Address<M, R, E>, Mailbox<M, R, E>) {
    make(Builder::new())
}

/// The same, with a name or a tag, which blockers show.
pub fn labelled<M, R, E>(label: Label) -> (Address<M, R, E>, Mailbox<M, R, E>) {
    make(Builder::new().label(label))
}

fn make<M, R, E>(builder: Builder) -> (Address<M, R, E>, Mailbox<M, R, E>) {
    let (tx, rx) = builder.unbounded();
    (Address(tx), Mailbox(rx))
}

impl<M, R, E> Address<M, R, E> {
    /// Sends a message. Never waits; the answer is the promise's.
    ///
    /// # Errors
    /// [`Gone`]: the mailbox is. With the message.
    /// # Cost
    /// Allocates the promise.
    pub fn send(&self, message: M) -> Result<Answer<M, R, E>, Gone<M>> {
        let (resolver, answer) = promise::new();
        let letter = Letter { message: Some(message), resolver };
        match self.0.try_send(letter) {
            Ok(()) => Ok(answer),
            Err(e) => Err(Gone(e.into_inner().into_parts().0)),
        }
    }
    /// Is the mailbox gone? True is final.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
    /// How many messages wait to be read: a snapshot.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// As [`len`](Self::len).
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// The channel of the letters, for who enumerates values.
    pub fn channel(&self) -> &Sender<Letter<M, R, E>> {
        &self.0
    }
}

impl<M, R, E> Mailbox<M, R, E> {
    /// Waits for the next letter.
    ///
    /// # Errors
    /// See [`RecvError`]. `Closed`: all addresses are gone, and every letter was read.
    /// # Blocking
    /// Yes, as [`Receiver::recv`].
    pub fn recv<C: Context>(&self, cx: &mut C) -> Result<Letter<M, R, E>, RecvError> {
        self.0.recv(cx)
    }
    /// The same, until `deadline` at the latest.
    ///
    /// # Errors
    /// [`RecvError::TimedOut`] as well.
    pub fn recv_until<C: Context>(
        &self,
        cx: &mut C,
        deadline: Instant,
    ) -> Result<Letter<M, R, E>, RecvError> {
        self.0.recv_until(cx, deadline)
    }
    /// The next letter, if there is one.
    ///
    /// # Errors
    /// See [`TryRecvError`].
    pub fn try_recv(&self) -> Result<Letter<M, R, E>, TryRecvError> {
        self.0.try_recv()
    }
    /// Takes no message any more; what nobody has read goes back to its sender. False: it was closed. As the drop of the
    /// mailbox does, for one that is shared, or an object of a collected heap.
    pub fn close(&self) -> bool {
        let first = !planted("mailbox-looks-before-it-closes") && self.0.close();
        if !planted("mailbox-drops-what-is-left") {
            let rest = Rest(&self.0);
            rest.return_all();
        }
        first
    }
    /// As one of the arms of a [`Select`](crate::channel::Select).
    pub fn arm(&self) -> RecvArm<'_, Letter<M, R, E>> {
        self.0.arm()
    }
    /// The channel of the letters, for who enumerates values.
    pub fn channel(&self) -> &Receiver<Letter<M, R, E>> {
        &self.0
    }
}

impl<M, R, E> Drop for Mailbox<M, R, E> {
    fn drop(&mut self) {
        self.close();
    }
}

/// Letters that nobody will read. If the destructor of one that nobody wants back panics, the others go back all the same.
struct Rest<'a, M, R, E>(&'a Receiver<Letter<M, R, E>>);

impl<M, R, E> Rest<'_, M, R, E> {
    fn return_all(&self) {
        while let Ok(letter) = self.0.try_recv() {
            letter.return_to_sender();
        }
    }
}

impl<M, R, E> Drop for Rest<'_, M, R, E> {
    fn drop(&mut self) {
        self.return_all();
    }
}

impl<M, R, E> Letter<M, R, E> {
    /// What was sent.
    pub fn message(&self) -> &M {
        self.message.as_ref().expect("the message leaves with the letter")
    }
    /// The message, and who answers it.
    pub fn into_parts(mut self) -> (M, Resolver<R, Unanswered<M, E>>) {
        let message = self.message.take().expect("the message leaves with the letter");
        (message, self.resolver.clone())
    }
    /// Answers.
    ///
    /// # Errors
    /// The answer: nobody wants it, who asked has cancelled.
    pub fn answer(self, answer: R) -> Result<(), R> {
        self.resolver.resolve(answer)
    }
    /// Says that there is no answer, and why.
    ///
    /// # Errors
    /// The reason: as [`answer`](Self::answer).
    pub fn fail(self, error: E) -> Result<(), E> {
        self.resolver.reject(Unanswered::Failed(error)).map_err(|back| match back {
            Unanswered::Failed(error) => error,
            Unanswered::Undelivered(_) => unreachable!("what was given comes back"),
        })
    }
    /// Has who asked cancelled? True is final.
    pub fn is_cancelled(&self) -> bool {
        self.resolver.is_settled()
    }
    fn return_to_sender(self) {
        let (message, resolver) = self.into_parts();
        // Cancelled meanwhile: nobody wants it back.
        drop(resolver.reject(Unanswered::Undelivered(message)));
    }
}

macro_rules! debug {
    ($($name:ident),*) => {$(
        impl<M, R, E> fmt::Debug for $name<M, R, E> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}
debug!(Address, Mailbox, Letter);

impl<M, R, E> Clone for Address<M, R, E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Erlang's monitor: a channel that tells of the thread's end, with its reason, once; then it is closed. At once, if the
/// thread is over. Dropping the receiver ends the monitor.
///
/// Unlike [`join`](Thread::join) it can be one of the arms of a select, and be asked from any runtime.
///
/// # Examples
/// ```
/// use selvedge::{Runtime, isolate};
/// let vm = Runtime::new();
/// let mut cx = vm.attach("main")?;
/// let worker = vm.spawn("worker", |_| Err::<(), _>("out of paper"))?;
/// let exit = isolate::monitor(worker.thread()).recv(&mut cx)?;
/// assert_eq!(exit.error::<&str>(), Some("out of paper"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn monitor(thread: &Thread) -> Receiver<Exit> {
    let (tx, rx) = channel::bounded(1);
    thread.at_end(Box::new(Monitor(tx)));
    rx
}

struct Monitor(Sender<Exit>);

impl AtEnd for Monitor {
    fn call(self: Box<Self>, exit: Exit) {
        // Nobody may want to know any more.
        drop(self.0.try_send(exit));
    }
    fn is_idle(&self) -> bool {
        self.0.is_closed()
    }
}

/// The signal that a link sends: the other thread ended in error or panic.
#[derive(Clone, Debug)]
pub struct LinkBroken(pub Exit);

/// Erlang's link: when one of the two threads ends in error or panic, the other gets [`LinkBroken`] as a signal; so a
/// failure goes through a group of threads unless one of them takes the signal. Ending well is no failure. At once, if one
/// is over.
///
/// A second link of the same two makes a second signal. A thread that is linked to itself is not.
pub fn link(one: &Thread, other: &Thread) {
    if one != other {
        one.at_end(Box::new(Link(other.clone())));
        other.at_end(Box::new(Link(one.clone())));
    }
}

struct Link(Thread);

impl AtEnd for Link {
    fn call(self: Box<Self>, exit: Exit) {
        if !exit.is_ok() || planted("a-good-end-breaks-links") {
            // It may be over, too.
            drop(self.0.post(LinkBroken(exit)));
        }
    }
    fn is_idle(&self) -> bool {
        if planted("idle-takes-a-lock") { !self.0.is_alive() } else { self.0.looks_over() }
    }
}
