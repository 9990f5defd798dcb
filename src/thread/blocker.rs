//! What a thread waits for, as any other thread may read it, and the label by which a VM knows its objects.

use super::Thread;
use crate::shim::Arc;
use std::borrow::Cow;
use std::fmt;
use std::time::Instant;

/// A name, or none. Made from `&str`, `String`, an `Option` of either, or `()` for none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Name(Option<Arc<str>>);

impl Name {
    pub(crate) fn as_deref(&self) -> Option<&str> {
        self.0.as_deref()
    }
}
impl From<&str> for Name {
    fn from(s: &str) -> Self {
        Self(Some(s.into()))
    }
}
impl From<String> for Name {
    fn from(s: String) -> Self {
        Self(Some(s.into()))
    }
}
impl From<Option<&str>> for Name {
    fn from(s: Option<&str>) -> Self {
        Self(s.map(Into::into))
    }
}
impl From<Option<String>> for Name {
    fn from(s: Option<String>) -> Self {
        Self(s.map(Into::into))
    }
}
impl From<()> for Name {
    fn from((): ()) -> Self {
        Self(None)
    }
}
impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A name as a report of one line shows it: control characters and what breaks a line are spaces.
pub(super) fn flat(name: &str) -> Cow<'_, str> {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if name.contains(breaks) { name.replace(breaks, " ").into() } else { name.into() }
}

/// How a VM recognises a primitive in a [`Blocker`]: a name for people, a tag for the VM.
///
/// # Examples
/// ```
/// use selvedge::{Label, Mutex};
/// let m = Mutex::with_label(Label::new("registry").tag(17));
/// assert_eq!((m.name(), m.tag()), (Some("registry"), 17));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    name: Name,
    tag: u64,
}

impl Label {
    /// A label with a name, or with none: `Label::new(())`.
    pub fn new(name: impl Into<Name>) -> Self {
        Self { name: name.into(), tag: 0 }
    }
    /// Adds the VM's number for the object. 0 means none.
    pub fn tag(self, tag: u64) -> Self {
        Self { tag, ..self }
    }
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
    pub(crate) fn get_tag(&self) -> u64 {
        self.tag
    }
}

/// A primitive's label: one pointer, none for most.
pub(crate) type LabelRef = Option<Arc<Label>>;

/// The kind of thing a thread waits for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BlockerKind {
    /// A mutex that another thread owns.
    Mutex,
    /// The notification of a condition variable.
    Condvar,
    /// The end of a thread.
    Join,
    /// Room in a channel, or a receiver.
    Send,
    /// A value from a channel.
    Receive,
    /// One of several sends and receives.
    Select,
    /// A point in time.
    Sleep,
    /// Its turn under the baton, after a yield. Hooks see it; [`Thread::blocker`] does not show it.
    Turn,
}

/// What a thread waits for, and since when.
#[derive(Clone)]
pub struct Blocker {
    kind: BlockerKind,
    label: LabelRef,
    thread: Option<Thread>,
    since: Instant,
}

impl Blocker {
    pub(crate) fn new(kind: BlockerKind, label: LabelRef) -> Self {
        Self { kind, label, thread: None, since: Instant::now() }
    }
    pub(crate) fn join(thread: Thread) -> Self {
        Self { thread: Some(thread), ..Self::new(BlockerKind::Join, None) }
    }
    /// The same wait, as one for the mutex with this label.
    pub(super) fn as_mutex(&self, label: LabelRef) -> Self {
        Self { kind: BlockerKind::Mutex, label, thread: None, since: self.since }
    }

    /// The kind of thing waited for.
    pub fn kind(&self) -> BlockerKind {
        self.kind
    }
    /// The name of the primitive, or of the thread that is joined.
    pub fn name(&self) -> Option<&str> {
        let thread = self.thread.as_ref().and_then(Thread::name);
        thread.or_else(|| self.label.as_ref().and_then(|l| l.name()))
    }
    /// The tag of the primitive; 0: none.
    pub fn tag(&self) -> u64 {
        self.label.as_ref().map_or(0, |l| l.get_tag())
    }
    /// The thread that is joined.
    pub fn thread(&self) -> Option<&Thread> {
        self.thread.as_ref()
    }
    /// When the wait began.
    pub fn since(&self) -> Instant {
        self.since
    }
}

impl fmt::Debug for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = f.debug_struct("Blocker");
        s.field("kind", &self.kind).field("name", &self.name()).field("tag", &self.tag());
        s.field("thread", &self.thread.as_ref().map(Thread::id)).finish_non_exhaustive()
    }
}

/// As `mutex registry`, `join worker`, `sleep`: one line; control characters in the name become spaces.
impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            BlockerKind::Mutex => "mutex",
            BlockerKind::Condvar => "condition variable",
            BlockerKind::Join => "join",
            BlockerKind::Send => "send on channel",
            BlockerKind::Receive => "receive on channel",
            BlockerKind::Select => "select",
            BlockerKind::Sleep => return f.write_str("sleep"),
            BlockerKind::Turn => return f.write_str("turn"),
        };
        match (self.name(), &self.thread, self.tag()) {
            (Some(name), _, _) => write!(f, "{kind} {}", flat(name)),
            (None, Some(thread), _) => write!(f, "{kind} {}", thread.id()),
            (None, None, 0) => f.write_str(kind),
            (None, None, tag) => write!(f, "{kind} #{tag}"),
        }
    }
}
