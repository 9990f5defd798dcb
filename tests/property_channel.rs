//! Channels against a sequential model: a queue of values, a queue of senders, a queue of receivers.
//!
//! Four threads of a runtime are stepped one operation at a time, over a channel of each kind. The model says who answers
//! what, who blocks, and what the channel says of itself; after each step the crate must say the same.
//! `PROPTEST_CASES=n` runs more cases; a failure is shrunk to the shortest sequence that still fails.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use selvedge::channel::{self, RecvError, SendError, TryRecvError, TrySendError};
use selvedge::*;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const THREADS: usize = 4;

/// One step: this thread does it.
#[derive(Clone, Debug)]
struct Step {
    who: usize,
    op: Op,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Send {
        uninterruptible: bool,
    },
    TrySend,
    /// With a deadline that has passed.
    SendUntil,
    /// So many values.
    SendAll(u64),
    SendAllUntil(u64),
    Recv {
        uninterruptible: bool,
    },
    TryRecv,
    RecvUntil,
    RecvMany(usize),
    RecvManyUntil(usize),
    Drain,
    /// By the thread's sending handle, or by the other one.
    Close,
    CloseReceiver,
    DropSender,
    DropReceiver,
    TakeSignal,
    /// No thread does this: a signal from outside.
    Post,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq)]
enum Reply {
    Sent,
    SentAll(usize),
    /// How many were sent, why no more, what is left.
    NotAll(usize, Box<Reply>, Vec<u64>),
    Full(u64),
    /// With the value, of a send.
    Closed(Option<u64>),
    TimedOut(Option<u64>),
    Interrupted(Option<u64>),
    ShutDown,
    Got(Vec<u64>),
    Empty,
    Done(bool),
}

/// What a channel says of itself: length, waiting senders, waiting receivers, sending handles, receiving handles, closed.
type Seen = (usize, usize, usize, usize, usize, bool);

#[derive(Clone, Debug)]
enum On {
    Send {
        value: u64,
        uninterruptible: bool,
    },
    Recv {
        uninterruptible: bool,
        /// It takes what comes after the first value, too.
        many: bool,
    },
}

#[derive(Clone, Debug)]
struct Life {
    on: Option<On>,
    signals: usize,
    sender: bool,
    receiver: bool,
}

#[derive(Clone, Debug)]
struct Model {
    room: Option<usize>,
    baton: bool,
    looks: bool,
    lives: Vec<Life>,
    stored: VecDeque<u64>,
    senders: VecDeque<usize>,
    receivers: VecDeque<usize>,
    closed: bool,
    /// Values are numbered.
    next: u64,
    replies: Vec<(usize, Reply)>,
    /// The first value of the last step.
    first: u64,
}

impl Model {
    fn new((room, baton, looks): (Option<usize>, bool, bool)) -> Self {
        let life = Life { on: None, signals: 0, sender: true, receiver: true };
        Self {
            room,
            baton,
            looks,
            lives: vec![life; THREADS],
            stored: VecDeque::new(),
            senders: VecDeque::new(),
            receivers: VecDeque::new(),
            closed: false,
            next: 0,
            replies: vec![],
            first: 0,
        }
    }

    fn seen(&self) -> Seen {
        let count = |f: fn(&Life) -> bool| self.lives.iter().filter(|l| f(l)).count();
        let handles = (count(|l| l.sender), count(|l| l.receiver));
        let (senders, receivers) = (self.senders.len(), self.receivers.len());
        (self.stored.len(), senders, receivers, handles.0, handles.1, self.closed)
    }

    fn reply(&mut self, who: usize, reply: Reply) {
        self.lives[who].on = None;
        self.replies.push((who, reply));
    }

    /// Without waiting. False: there is no room.
    fn push(&mut self, value: u64) -> bool {
        if let Some(who) = self.receivers.pop_front() {
            self.reply(who, Reply::Got(vec![value]));
        } else if self.room.is_none_or(|room| self.stored.len() < room) {
            self.stored.push_back(value);
        } else {
            return false;
        }
        true
    }

    /// Without waiting. The place goes to who waits for one.
    fn pop(&mut self) -> Option<u64> {
        let stored = self.stored.pop_front();
        let Some(who) = self.senders.pop_front() else { return stored };
        let Some(On::Send { value, .. }) = self.lives[who].on else { panic!("{who} sends") };
        self.reply(who, Reply::Sent);
        if stored.is_none() {
            return Some(value);
        }
        self.stored.push_back(value);
        stored
    }

    fn pop_many(&mut self, max: usize) -> Vec<u64> {
        let there = (self.stored.len() + self.senders.len()).min(max);
        (0..there).map(|_| self.pop().expect("so many are there")).collect()
    }

    fn close(&mut self) -> bool {
        for who in std::mem::take(&mut self.receivers) {
            self.reply(who, Reply::Closed(None));
        }
        for who in std::mem::take(&mut self.senders) {
            let Some(On::Send { value, .. }) = self.lives[who].on else { panic!("{who} sends") };
            self.reply(who, Reply::Closed(Some(value)));
        }
        !std::mem::replace(&mut self.closed, true)
    }

    /// The answer; none: the thread waits.
    fn step(&mut self, who: usize, op: Op) -> Option<Reply> {
        let signalled = self.lives[who].signals > 0;
        self.first = self.next;
        let mut value = || {
            self.next += 1;
            self.next - 1
        };
        Some(match op {
            Op::Send { .. } | Op::TrySend | Op::SendUntil => {
                let value = value();
                match op {
                    _ if self.closed => Reply::Closed(Some(value)),
                    _ if self.push(value) => Reply::Sent,
                    Op::TrySend => Reply::Full(value),
                    Op::Send { uninterruptible: true } => {
                        return self.wait(who, On::Send { value, uninterruptible: true });
                    }
                    _ if signalled => Reply::Interrupted(Some(value)),
                    Op::SendUntil => Reply::TimedOut(Some(value)),
                    _ => return self.wait(who, On::Send { value, uninterruptible: false }),
                }
            }
            Op::SendAll(n) | Op::SendAllUntil(n) => {
                let values: Vec<u64> = (0..n).map(|_| value()).collect();
                let sent = values.iter().take_while(|v| !self.closed && self.push(**v)).count();
                let rest = values[sent..].to_vec();
                let Some(&first) = rest.first() else { return Some(Reply::SentAll(sent)) };
                let why = match (self.closed, signalled) {
                    (true, _) => Reply::Closed(Some(first)),
                    (_, true) => Reply::Interrupted(Some(first)),
                    _ => Reply::TimedOut(Some(first)),
                };
                Reply::NotAll(sent, Box::new(why), rest)
            }
            Op::Recv { .. } | Op::TryRecv | Op::RecvUntil => match (self.pop(), op) {
                (Some(value), _) => Reply::Got(vec![value]),
                _ if self.closed => Reply::Closed(None),
                (_, Op::TryRecv) => Reply::Empty,
                (_, Op::Recv { uninterruptible: true }) => {
                    return self.wait(who, On::Recv { uninterruptible: true, many: false });
                }
                _ if signalled => Reply::Interrupted(None),
                (_, Op::RecvUntil) => Reply::TimedOut(None),
                _ => return self.wait(who, On::Recv { uninterruptible: false, many: false }),
            },
            Op::RecvMany(max) | Op::RecvManyUntil(max) => {
                let got = self.pop_many(max);
                match op {
                    _ if !got.is_empty() || max == 0 => Reply::Got(got),
                    _ if self.closed => Reply::Closed(None),
                    _ if signalled => Reply::Interrupted(None),
                    Op::RecvManyUntil(_) => Reply::TimedOut(None),
                    _ => return self.wait(who, On::Recv { uninterruptible: false, many: true }),
                }
            }
            Op::Drain => Reply::Got(self.pop_many(usize::MAX)),
            Op::Close | Op::CloseReceiver => Reply::Done(self.close()),
            Op::DropSender => {
                self.lives[who].sender = false;
                if self.lives.iter().all(|l| !l.sender) {
                    self.close();
                }
                Reply::Done(true)
            }
            Op::DropReceiver => {
                self.lives[who].receiver = false;
                if self.lives.iter().all(|l| !l.receiver) {
                    self.close();
                    self.stored.clear();
                }
                Reply::Done(true)
            }
            Op::TakeSignal => {
                self.lives[who].signals -= usize::from(signalled);
                Reply::Done(signalled)
            }
            Op::Post => {
                self.lives[who].signals += 1;
                match self.lives[who].on {
                    Some(On::Send { value, uninterruptible: false }) => {
                        self.senders.retain(|other| *other != who);
                        self.reply(who, Reply::Interrupted(Some(value)));
                    }
                    Some(On::Recv { uninterruptible: false, .. }) => {
                        self.receivers.retain(|other| *other != who);
                        self.reply(who, Reply::Interrupted(None));
                    }
                    _ => {}
                }
                return None;
            }
        })
    }

    fn wait(&mut self, who: usize, on: On) -> Option<Reply> {
        match on {
            On::Send { .. } => self.senders.push_back(who),
            On::Recv { .. } => self.receivers.push_back(who),
        }
        self.lives[who].on = Some(on);
        None
    }

    fn allows(&self, step: &Step) -> bool {
        let life = &self.lives[step.who];
        let idle = life.on.is_none();
        // Whoever waits for many and gets the first value races with who sends the next.
        let race = self.lives.iter().any(|l| matches!(l.on, Some(On::Recv { many: true, .. })));
        match step.op {
            Op::Post => life.sender || life.receiver,
            Op::TakeSignal => idle,
            // It would wait in the middle.
            Op::SendAll(n) => {
                let takes = self.receivers.len() as u64;
                let free = self.room.map_or(u64::MAX, |room| (room - self.stored.len()) as u64);
                idle && !race && life.sender && (self.closed || n <= takes.saturating_add(free))
            }
            Op::SendAllUntil(_) => idle && !race && life.sender,
            Op::Send { .. } | Op::TrySend | Op::SendUntil | Op::Close | Op::DropSender => {
                idle && life.sender
            }
            _ => idle && life.receiver,
        }
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let rooms = select(vec![Some(0), Some(1), Some(2), Some(5), None]);
        (rooms, any::<bool>(), any::<bool>()).prop_map(Self::new).boxed()
    }

    fn transitions(model: &Self) -> BoxedStrategy<Step> {
        let mut ops = vec![
            (3, Op::TrySend),
            (3, Op::SendUntil),
            (3, Op::TryRecv),
            (3, Op::RecvUntil),
            (3, Op::Drain),
            (4, Op::TakeSignal),
            (2, Op::Post),
        ];
        for uninterruptible in [false, true] {
            ops.extend([(8, Op::Send { uninterruptible }), (6, Op::Recv { uninterruptible })]);
        }
        for n in 0..4 {
            ops.extend([(1, Op::SendAll(n)), (1, Op::SendAllUntil(n))]);
            ops.extend([(1, Op::RecvMany(n as usize)), (1, Op::RecvManyUntil(n as usize))]);
        }
        // The end is rare.
        let ends = [Op::Close, Op::CloseReceiver, Op::DropSender, Op::DropReceiver];
        let ops = ops.into_iter().map(|(weight, op)| (8 * weight, op));
        let ops: Vec<(u32, Op)> = ops.chain(ends.map(|op| (2, op))).collect();
        let all =
            (0..THREADS).flat_map(|who| ops.iter().map(move |&(n, op)| (n, Step { who, op })));
        let now = all.filter(|(_, step)| model.allows(step));
        let now: Vec<_> = now.map(|(weight, step)| (weight, Just(step))).collect();
        Union::new_weighted(now).boxed()
    }

    fn preconditions(model: &Self, step: &Step) -> bool {
        model.allows(step)
    }

    fn apply(mut model: Self, step: &Step) -> Self {
        model.replies.clear();
        if let Some(reply) = model.step(step.who, step.op) {
            model.reply(step.who, reply);
        }
        model
    }
}

/// A thread, how it is told what to do with which value, and what it answers.
struct Actor {
    handle: JoinHandle<(), ()>,
    orders: mpsc::Sender<(Op, u64)>,
    replies: mpsc::Receiver<(Reply, Option<Seen>)>,
}

struct Real {
    vm: Runtime,
    actors: Vec<Actor>,
}

/// A case failed: later ones are attempts to shrink it, which need not wait as long for what does not come.
static FAILED: AtomicBool = AtomicBool::new(false);

fn patience() -> Duration {
    Duration::from_secs(if FAILED.load(Relaxed) { 1 } else { 20 })
}

/// What a thread has of the channel.
struct Hands {
    tx: Option<channel::Sender<u64>>,
    rx: Option<channel::Receiver<u64>>,
}

impl Hands {
    fn seen(&self) -> Option<Seen> {
        macro_rules! seen {
            ($h:expr) => {{
                let (len, closed) = ($h.len(), $h.is_closed());
                let waiting = ($h.waiting_senders(), $h.waiting_receivers());
                (len, waiting.0, waiting.1, $h.senders(), $h.receivers(), closed)
            }};
        }
        self.tx.as_ref().map(|h| seen!(h)).or_else(|| self.rx.as_ref().map(|h| seen!(h)))
    }

    fn obey(&mut self, cx: &mut Participant, op: Op, value: u64) -> Reply {
        let past = Instant::now();
        let why = |e: SendError<u64>| match e {
            SendError::Closed(v) => Reply::Closed(Some(v)),
            SendError::TimedOut(v) => Reply::TimedOut(Some(v)),
            SendError::Interrupted(v) => Reply::Interrupted(Some(v)),
            SendError::ShutDown(_) => Reply::ShutDown,
            e => panic!("{e}"),
        };
        let sent = |r: Result<(), _>| r.map_or_else(why, |()| Reply::Sent);
        let got = |r: Result<Vec<u64>, RecvError>| match r {
            Ok(values) => Reply::Got(values),
            Err(RecvError::Closed) => Reply::Closed(None),
            Err(RecvError::TimedOut) => Reply::TimedOut(None),
            Err(RecvError::Interrupted) => Reply::Interrupted(None),
            Err(RecvError::ShutDown) => Reply::ShutDown,
            Err(e) => panic!("{e}"),
        };
        let all = |r: Result<usize, channel::SendAllError<u64, std::ops::Range<u64>>>| match r {
            Ok(n) => Reply::SentAll(n),
            Err(e) => {
                let (n, reply) = (e.sent(), why(*e.error()));
                Reply::NotAll(n, Box::new(reply), e.into_iter().collect())
            }
        };
        let many = |r: Result<usize, _>, values: Vec<u64>| match r {
            Ok(n) if n != values.len() => panic!("{n}, but {values:?}"),
            Err(_) if !values.is_empty() => panic!("an error, and {values:?}"),
            r => got(r.map(|_| values)),
        };
        let mut some = Vec::new();
        let (tx, rx) = (self.tx.as_ref(), self.rx.as_ref());
        let (tx, rx) = (|| tx.expect("it has a sender"), || rx.expect("it has a receiver"));
        match op {
            Op::Send { uninterruptible: false } => sent(tx().send(cx, value)),
            Op::Send { uninterruptible: true } => {
                sent(uninterruptible(cx, |cx| tx().send(cx, value)))
            }
            Op::SendUntil => sent(tx().send_until(cx, value, past)),
            Op::TrySend => match tx().try_send(value) {
                Ok(()) => Reply::Sent,
                Err(TrySendError::Full(v)) => Reply::Full(v),
                Err(e) => Reply::Closed(Some(e.into_inner())),
            },
            Op::SendAll(n) => all(tx().send_all(cx, value..value + n)),
            Op::SendAllUntil(n) => all(tx().send_all_until(cx, value..value + n, past)),
            Op::Recv { uninterruptible: false } => got(rx().recv(cx).map(|v| vec![v])),
            Op::Recv { uninterruptible: true } => {
                got(uninterruptible(cx, |cx| rx().recv(cx)).map(|v| vec![v]))
            }
            Op::RecvUntil => got(rx().recv_until(cx, past).map(|v| vec![v])),
            Op::TryRecv => match rx().try_recv() {
                Ok(v) => Reply::Got(vec![v]),
                Err(TryRecvError::Empty) => Reply::Empty,
                Err(_) => Reply::Closed(None),
            },
            Op::RecvMany(n) => many(rx().recv_many(cx, &mut some, n), some),
            Op::RecvManyUntil(n) => many(rx().recv_many_until(cx, &mut some, n, past), some),
            Op::Drain => Reply::Got(rx().drain().collect()),
            Op::Close => Reply::Done(tx().close()),
            Op::CloseReceiver => Reply::Done(rx().close()),
            Op::DropSender => Reply::Done(self.tx.take().is_some()),
            Op::DropReceiver => Reply::Done(self.rx.take().is_some()),
            Op::TakeSignal => Reply::Done(cx.take_signal().is_some()),
            Op::Post => panic!("no thread does that"),
        }
    }
}

impl Real {
    fn new(model: &Model) -> Self {
        let schedule = if model.looks { Schedule::new() } else { Schedule::new().looks(0) };
        let vm = Runtime::builder().baton(model.baton).schedule(schedule).build();
        let (tx, rx) = match model.room {
            Some(room) => channel::bounded(room),
            None => channel::unbounded(),
        };
        let hands: Vec<_> =
            (0..THREADS).map(|_| Hands { tx: Some(tx.clone()), rx: Some(rx.clone()) }).collect();
        drop((tx, rx));
        let spawn = |mut hands: Hands| {
            let (orders, inbox) = mpsc::channel();
            let (outbox, replies) = mpsc::channel();
            let life = move |cx: &mut Participant| {
                while let Ok((op, value)) = outside(cx, |_| inbox.recv()) {
                    let reply = hands.obey(cx, op, value);
                    if outbox.send((reply, hands.seen())).is_err() {
                        break;
                    }
                }
                Ok(())
            };
            let handle = vm.spawn((), life).expect("the system has threads");
            Actor { handle, orders, replies }
        };
        let actors = hands.into_iter().map(spawn).collect();
        Self { vm, actors }
    }

    fn compare(&self, model: &Model) -> Result<(), String> {
        for (who, (actor, life)) in self.actors.iter().zip(&model.lives).enumerate() {
            let t = actor.handle.thread();
            let real = (t.blocker().map(|b| b.kind()), t.undelivered());
            let kind = life.on.as_ref().map(|on| match on {
                On::Send { .. } => BlockerKind::Send,
                On::Recv { .. } => BlockerKind::Receive,
            });
            if real != (kind, life.signals) {
                return Err(format!("{who}: {real:?}, in the model {:?}", (kind, life.signals)));
            }
        }
        Ok(())
    }

    fn step(&self, model: &Model, step: &Step) -> Result<(), String> {
        let actor = &self.actors[step.who];
        match step.op {
            Op::Post => actor.handle.thread().post(()).map_err(|_| "it is dead".to_owned())?,
            op => actor.orders.send((op, model.first)).map_err(|_| "it is gone".to_owned())?,
        }
        let end = Instant::now() + patience();
        for (who, expected) in &model.replies {
            let left = end.saturating_duration_since(Instant::now());
            let (real, seen) = match self.actors[*who].replies.recv_timeout(left) {
                Ok(answer) => answer,
                Err(e) => return Err(format!("{who}: {e}, in the model {expected:?}")),
            };
            if real != *expected {
                return Err(format!("{who} answers {real:?}, in the model {expected:?}"));
            }
            // Who acted last sees all; whom it woke may have looked before.
            let acted = *who == step.who && !matches!(step.op, Op::Post);
            if acted && seen.is_some_and(|seen| seen != model.seen()) {
                return Err(format!("seen {seen:?}, in the model {:?}", model.seen()));
            }
        }
        // Who must block is about to.
        while let Err(why) = self.compare(model) {
            if Instant::now() > end {
                return Err(why);
            }
            std::thread::yield_now();
        }
        for (other, actor) in self.actors.iter().enumerate() {
            if let Ok(reply) = actor.replies.try_recv() {
                return Err(format!("{other} answers {reply:?} unasked"));
            }
        }
        Ok(())
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let mut cx = self.vm.attach("the end").expect("the runtime is open");
        self.vm.shutdown(&cx);
        let end = Instant::now() + patience();
        for Actor { handle, orders, .. } in self.actors.drain(..) {
            drop(orders);
            let over = handle.join_until(&mut cx, end);
            assert!(over.is_ok() || std::thread::panicking(), "{handle:?}: {over:?}");
        }
    }
}

impl StateMachineTest for Real {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(model: &Model) -> Self {
        Self::new(model)
    }

    fn apply(real: Self, model: &Model, step: Step) -> Self {
        if let Err(why) = real.step(model, &step) {
            FAILED.store(true, Relaxed);
            panic!("{why}\nafter {step:?}");
        }
        real
    }
}

fn config() -> ProptestConfig {
    // `default` reads PROPTEST_CASES.
    let given = std::env::var_os("PROPTEST_CASES").is_some();
    let default = ProptestConfig::default();
    let cases = if given { default.cases } else { 200 };
    ProptestConfig { cases, max_shrink_time: 60_000, failure_persistence: None, ..default }
}

prop_state_machine! {
    #![proptest_config(config())]

    #[test]
    fn a_channel_does_as_the_model(sequential 1..60 => Real);
}
