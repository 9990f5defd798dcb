//! What the models of selects and permits share: two channels, the arms of a select, threads that do something with them.

use crate::scene::{Log, Pipe, Token, barging, seats, soon};
use selvedge::channel::{
    Case, Permit, RecvArm, ReserveArm, Select, SelectError, SendArm, SendError, TryRecvError,
    TrySendError,
};
use selvedge::model::{internals::waits_not, thread};
use selvedge::{Participant, Runtime, Schedule, Thread, safe_point, yield_now};
use std::sync::Arc;

/// Two channels, and what is written about them.
pub struct Two {
    /// One.
    pub a: Pipe,
    /// The other.
    pub b: Pipe,
    /// Written in an order that the model sees to.
    pub log: Log,
}

/// One arm of a select.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// A receive.
    TakeA,
    /// A receive.
    TakeB,
    /// A send.
    PutA,
    /// A send.
    PutB,
    /// A reservation; if it is chosen, the value follows at once.
    HoldA,
    /// A reservation; if it is chosen, the value follows at once.
    HoldB,
}
use Way::*;

enum Arm<'a> {
    Take(RecvArm<'a, Token>),
    Put(usize, SendArm<'a, Token>),
    Hold(ReserveArm<'a, Token>),
}

impl<'a> Arm<'a> {
    fn new(pipe: &'a Pipe, way: Way) -> Self {
        match way {
            TakeA | TakeB => Self::Take(pipe.rx.arm()),
            HoldA | HoldB => Self::Hold(pipe.tx.reserve_arm()),
            PutA | PutB => {
                let token = pipe.make();
                Self::Put(token.n, pipe.tx.arm(token))
            }
        }
    }
    fn case(&mut self) -> &mut (dyn Case + 'a) {
        match self {
            Self::Take(arm) => arm,
            Self::Put(_, arm) => arm,
            Self::Hold(arm) => arm,
        }
    }
    /// What came of it; an arm that was not chosen has done nothing.
    fn end(self, pipe: &Pipe) -> Option<String> {
        Some(match self {
            Self::Take(arm) => match arm.complete() {
                Ok(token) => token.read().to_string(),
                Err(TryRecvError::Empty) => return None,
                Err(e) => closed(e == TryRecvError::Closed),
            },
            Self::Put(n, arm) => match arm.complete() {
                Ok(()) => "+".into(),
                Err(e) => {
                    let full = matches!(e, TrySendError::Full(_));
                    let back = e.into_inner();
                    assert_eq!((back.n, back.read()), (n, n), "the value comes back");
                    if full {
                        return None;
                    }
                    closed(true)
                }
            },
            Self::Hold(arm) => match arm.complete() {
                Ok(permit) => publish(pipe, permit),
                Err(TrySendError::Full(())) => return None,
                Err(e) => closed(matches!(e, TrySendError::Closed(()))),
            },
        })
    }
}

fn closed(is: bool) -> String {
    assert!(is);
    "c".into()
}

impl Two {
    /// Each with room for so many values, so many of which are in.
    pub fn new(a: (usize, usize), b: (usize, usize)) -> Self {
        Self { a: Pipe::with_room(a.0, a.1), b: Pipe::with_room(b.0, b.1), log: Log::new() }
    }
    /// Neither has room.
    pub fn rendezvous() -> Self {
        Self::new((0, 0), (0, 0))
    }
    fn of(&self, way: Way) -> (&Pipe, char) {
        match way {
            TakeA | PutA | HoldA => (&self.a, 'a'),
            TakeB | PutB | HoldB => (&self.b, 'b'),
        }
    }
    /// Waits for one of the arms: whose channel it was, and what came of it; or why there was none.
    pub fn choose(&self, me: &mut Participant, ways: &[Way]) -> String {
        self.choose_of(me, ways, |select, me| select.wait(me))
    }
    /// With a deadline.
    pub fn choose_until(&self, me: &mut Participant, ways: &[Way]) -> String {
        self.choose_of(me, ways, |select, me| select.until(soon()).wait(me))
    }
    /// Of several that can be done the first one.
    pub fn choose_biased(&self, me: &mut Participant, ways: &[Way]) -> String {
        self.choose_of(me, ways, |select, me| select.biased().wait(me))
    }
    /// Without a wait; `late`: none can be done.
    pub fn choose_now(&self, me: &mut Participant, ways: &[Way]) -> String {
        self.choose_of(me, ways, |select, me| select.try_now(me).ok_or(SelectError::TimedOut))
    }
    fn choose_of(
        &self,
        me: &mut Participant,
        ways: &[Way],
        how: impl FnOnce(Select<'_>, &mut Participant) -> Result<usize, SelectError>,
    ) -> String {
        let mut arms: Vec<_> = ways.iter().map(|&way| Arm::new(self.of(way).0, way)).collect();
        let select = arms.iter_mut().fold(Select::new(), |select, arm| select.arm(arm.case()));
        let chosen = how(select, me);
        let mut said = None;
        for (n, (arm, &way)) in arms.into_iter().zip(ways).enumerate() {
            let (pipe, name) = self.of(way);
            let end = arm.end(pipe);
            assert_eq!(end.is_some(), chosen == Ok(n), "arm {n} of {ways:?}, chosen {chosen:?}");
            said = said.or(end.map(|end| format!("{name}{end}")));
        }
        match chosen {
            Ok(_) => said.expect("the chosen arm"),
            Err(SelectError::Interrupted) => "signal".into(),
            Err(SelectError::TimedOut) => "late".into(),
            Err(SelectError::ShutDown) => "shutdown".into(),
            Err(e) => panic!("{e}"),
        }
    }
    /// When all is over: how many values are left in each; then all are gone.
    pub fn end(this: Arc<Self>) -> String {
        let Ok(Self { a, b, log: _ }) = Arc::try_unwrap(this) else {
            panic!("somebody has the pipes still")
        };
        format!("{}{}", a.finish(), b.finish())
    }
}

/// Sends the next value by a place that was kept. `+`, or `c`: closed.
pub fn publish(pipe: &Pipe, permit: Permit<'_, Token>) -> String {
    let token = pipe.make();
    let n = token.n;
    match permit.publish(token) {
        Ok(()) => "+".into(),
        Err(SendError::Closed(back)) => {
            assert_eq!((back.n, back.read()), (n, n), "the value comes back");
            "c".into()
        }
        Err(e) => panic!("{e}"),
    }
}

/// A place, and why there is none.
pub type Place<'a> = Result<Permit<'a, Token>, String>;

/// Waits for a place.
pub fn reserve<'a>(pipe: &'a Pipe, me: &mut Participant) -> Place<'a> {
    pipe.tx.reserve(me).map_err(refused)
}

/// With a deadline.
pub fn reserve_until<'a>(pipe: &'a Pipe, me: &mut Participant) -> Place<'a> {
    pipe.tx.reserve_until(me, soon()).map_err(refused)
}

/// Without a wait: `f` is full, `c` closed.
pub fn try_reserve(pipe: &Pipe) -> Place<'_> {
    pipe.tx.try_reserve().map_err(|e| match e {
        TrySendError::Full(()) => "f".into(),
        e => closed(matches!(e, TrySendError::Closed(()))),
    })
}

fn refused(e: SendError<()>) -> String {
    match e {
        SendError::Closed(()) => "closed".into(),
        SendError::Interrupted(()) => "signal".into(),
        SendError::TimedOut(()) => "late".into(),
        SendError::ShutDown(()) => "shutdown".into(),
        e => panic!("{e}"),
    }
}

/// The place is used, if there is one: `!`, and what came of it.
pub fn use_up(pipe: &Pipe, place: Place<'_>) -> String {
    place.map_or_else(|why| why, |permit| format!("!{}", publish(pipe, permit)))
}

/// What a thread does, and says of it.
pub type Program<S> = fn(&S, &mut Participant) -> String;

/// The programs at the same time, the first on the main thread. What they said.
pub fn together<S: Send + Sync + 'static, const N: usize>(
    vm: &Runtime,
    shared: &Arc<S>,
    programs: [Program<S>; N],
) -> String {
    let mut seats = seats::<N>(vm).0.into_iter().zip(programs);
    let (first, program) = seats.next().expect("a program");
    let others: Vec<_> = seats
        .map(|(seat, program)| {
            let shared = shared.clone();
            thread::spawn(move || say(&*shared, &mut seat.sit(), program))
        })
        .collect();
    let mut said = say(&**shared, &mut first.sit(), program);
    for other in others {
        said += " ";
        said += &other.join().unwrap();
    }
    said
}

/// Runs a program; its wait is over, and a signal that it tells of is there.
pub fn say<S>(shared: &S, me: &mut Participant, program: Program<S>) -> String {
    let said = program(shared, me);
    safe_point(me);
    let signal = me.take_signal().is_some();
    assert!(signal || !said.contains("signal"), "interrupted by nothing");
    assert!(waits_not(me), "a wait is left");
    said
}

/// What main does while another thread waits.
pub struct Other<'a, S> {
    /// Of both.
    pub vm: &'a Runtime,
    /// The other thread.
    pub target: &'a Thread,
    /// What they share.
    pub s: &'a S,
    /// Main.
    pub me: &'a mut Participant,
    /// Who answered a request.
    pub answers: Arc<Log>,
    /// What came of it.
    pub said: String,
}

impl<S> Other<'_, S> {
    /// Sends without waiting.
    pub fn give(&mut self, pipe: impl Fn(&S) -> &Pipe) {
        self.said += match pipe(self.s).try_send() {
            Ok(()) => "+",
            Err(TrySendError::Full(_)) => "f",
            Err(TrySendError::Closed(_)) => "c",
            Err(e) => panic!("{e}"),
        };
    }
    /// Receives without waiting.
    pub fn take(&mut self, pipe: impl Fn(&S) -> &Pipe) {
        self.said += &pipe(self.s).try_recv();
    }
    /// Anybody may answer.
    pub fn ask(&self) {
        let answers = self.answers.clone();
        let _ = self.target.ask(move || answers.put("?"));
    }
    /// The target alone.
    pub fn ask_owner(&self) {
        let answers = self.answers.clone();
        let _ = self.target.ask_owner(move || answers.put("!"));
    }
    /// Interrupts the target.
    pub fn signal(&self) {
        let _ = self.target.signal(self.me, ());
    }
    /// For both.
    pub fn shutdown(&self) {
        self.vm.shutdown(self.me);
    }
}

/// What main does to it.
pub type Deeds<S> = fn(&mut Other<'_, S>);

/// A thread that waits, against main. What it said, what main got, who answered.
pub fn against<S: Send + Sync + 'static>(s: &Arc<S>, waits: Program<S>, deeds: Deeds<S>) -> String {
    let vm = barging();
    let ([a, b], [_, target]) = seats(&vm);
    let mut me = a.sit();
    let shared = s.clone();
    let t = thread::spawn(move || say(&*shared, &mut b.sit(), waits));
    let (said, answers) = do_it(&vm, &target, &**s, &mut me, deeds);
    format!("{} {said} {}", t.join().unwrap(), answers.get())
}

/// The same under the baton: the other thread waits first.
pub fn in_turn<S: Send + Sync + 'static>(s: &Arc<S>, waits: Program<S>, deeds: Deeds<S>) -> String {
    let schedule = Schedule::new().hand_over_after(None);
    let vm = Runtime::builder().baton(true).schedule(schedule).build();
    let main = &mut vm.attach(()).unwrap();
    let shared = s.clone();
    let worker = vm.spawn((), move |me| Ok::<_, ()>(say(&*shared, me, waits))).unwrap();
    yield_now(main);
    let (said, answers) = do_it(&vm, worker.thread(), &**s, main, deeds);
    format!("{} {said} {}", worker.join(main).unwrap(), answers.get())
}

fn do_it<S>(
    vm: &Runtime,
    target: &Thread,
    s: &S,
    me: &mut Participant,
    deeds: Deeds<S>,
) -> (String, Arc<Log>) {
    let answers = Arc::new(Log::new());
    let mut other = Other { vm, target, s, me, answers: answers.clone(), said: String::new() };
    deeds(&mut other);
    (other.said, answers)
}
