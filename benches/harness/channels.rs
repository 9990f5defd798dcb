//! Our channels and those that a VM could take instead, under one trait.

use selvedge::channel::{self, Receiver, Select, Sender};
use selvedge::{Participant, Runtime};

/// What is sent. Made from a number, which it shows again.
pub(crate) trait Message: Copy + Default + Send + Sync + 'static {
    /// How it shows in an id.
    const SIZE: &'static str;
    fn new(number: u64) -> Self;
    fn number(&self) -> u64;
}

impl Message for usize {
    const SIZE: &'static str = "8b";
    fn new(number: u64) -> Self {
        number as usize
    }
    fn number(&self) -> u64 {
        *self as u64
    }
}

/// 256 bytes, all of which are written.
#[derive(Clone, Copy, Default)]
pub(crate) struct Large([u64; 32]);

impl Message for Large {
    const SIZE: &'static str = "256b";
    fn new(number: u64) -> Self {
        Self([number; 32])
    }
    fn number(&self) -> u64 {
        self.0[31]
    }
}

/// A kind of channel, its two ends, and what a thread needs to use them.
pub(crate) trait Channel<T>: 'static {
    type Tx: Clone + Send;
    type Rx: Send;
    type Me;
    /// With room for so many; none: unbounded. No channel: there is no such one of this kind.
    fn make(capacity: Option<usize>) -> Option<(Self::Tx, Self::Rx)>;
    /// One more receiving end, where there may be several.
    fn share(rx: &Self::Rx) -> Option<Self::Rx>;
    fn attach(vm: &Runtime) -> Self::Me;
    fn send(tx: &Self::Tx, me: &mut Self::Me, value: T);
    fn recv(rx: &Self::Rx, me: &mut Self::Me) -> T;
}

pub(crate) struct Selvedge;

impl<T: Message> Channel<T> for Selvedge {
    type Tx = Sender<T>;
    type Rx = Receiver<T>;
    type Me = Participant;
    fn make(capacity: Option<usize>) -> Option<(Self::Tx, Self::Rx)> {
        Some(capacity.map_or_else(channel::unbounded, channel::bounded))
    }
    fn share(rx: &Self::Rx) -> Option<Self::Rx> {
        Some(rx.clone())
    }
    fn attach(vm: &Runtime) -> Participant {
        vm.attach(()).unwrap()
    }
    #[inline(always)]
    fn send(tx: &Self::Tx, me: &mut Participant, value: T) {
        tx.send(me, value).expect("nobody closes it");
    }
    #[inline(always)]
    fn recv(rx: &Self::Rx, me: &mut Participant) -> T {
        rx.recv(me).expect("nobody closes it")
    }
}

/// A channel of which a thread can wait for several.
pub(crate) trait Selects<T>: Channel<T> {
    /// The next value of whichever has one.
    fn any(rxs: &[Self::Rx], me: &mut Self::Me) -> T;
}

impl<T: Message> Selects<T> for Selvedge {
    #[inline(always)]
    fn any(rxs: &[Receiver<T>], me: &mut Participant) -> T {
        match rxs.len() {
            1 => any_of::<T, 1>(rxs, me),
            2 => any_of::<T, 2>(rxs, me),
            8 => any_of::<T, 8>(rxs, me),
            n => panic!("no cell has {n} channels"),
        }
    }
}

/// As a program does it that knows its channels.
#[inline(always)]
fn any_of<T, const N: usize>(rxs: &[Receiver<T>], me: &mut Participant) -> T {
    let mut arms: [_; N] = std::array::from_fn(|n| rxs[n].arm());
    let mut select = Select::new();
    for arm in &mut arms {
        select = select.arm(arm);
    }
    let chosen = select.wait(me).expect("nobody interrupts it");
    let arm = arms.into_iter().nth(chosen).expect("one of them");
    arm.complete().expect("nobody closes it")
}

impl<T: Message> Selects<T> for Crossbeam {
    #[inline(always)]
    fn any(rxs: &[Self::Rx], (): &mut ()) -> T {
        let mut select = crossbeam_channel::Select::new();
        for rx in rxs {
            select.recv(rx);
        }
        let chosen = select.select();
        let rx = &rxs[chosen.index()];
        chosen.recv(rx).expect("nobody closes it")
    }
}

impl<T: Message> Selects<T> for Flume {
    #[inline(always)]
    fn any(rxs: &[Self::Rx], (): &mut ()) -> T {
        let all = rxs.iter().fold(flume::Selector::new(), |all, rx| all.recv(rx, |got| got));
        all.wait().expect("nobody closes it")
    }
}

macro_rules! rival {
    ($name:ident, $tx:ty, $rx:ty, $make:expr, $share:expr, $send:ident, $recv:ident) => {
        pub(crate) struct $name;
        impl<T: Message> Channel<T> for $name {
            type Tx = $tx;
            type Rx = $rx;
            type Me = ();
            fn make(capacity: Option<usize>) -> Option<(Self::Tx, Self::Rx)> {
                let make: fn(Option<usize>) -> Option<(Self::Tx, Self::Rx)> = $make;
                make(capacity)
            }
            fn share(rx: &Self::Rx) -> Option<Self::Rx> {
                let share: fn(&Self::Rx) -> Option<Self::Rx> = $share;
                share(rx)
            }
            fn attach(_: &Runtime) {}
            #[inline(always)]
            fn send(tx: &Self::Tx, _: &mut (), value: T) {
                tx.$send(value).ok().expect("nobody closes it");
            }
            #[inline(always)]
            fn recv(rx: &Self::Rx, _: &mut ()) -> T {
                rx.$recv().expect("nobody closes it")
            }
        }
    };
}

rival!(
    Crossbeam,
    crossbeam_channel::Sender<T>,
    crossbeam_channel::Receiver<T>,
    |capacity| Some(capacity.map_or_else(crossbeam_channel::unbounded, crossbeam_channel::bounded)),
    |rx| Some(rx.clone()),
    send,
    recv
);

rival!(
    Flume,
    flume::Sender<T>,
    flume::Receiver<T>,
    |capacity| Some(capacity.map_or_else(flume::unbounded, flume::bounded)),
    |rx| Some(rx.clone()),
    send,
    recv
);

rival!(
    Kanal,
    kanal::Sender<T>,
    kanal::Receiver<T>,
    |capacity| Some(capacity.map_or_else(kanal::unbounded, kanal::bounded)),
    |rx| Some(rx.clone()),
    send,
    recv
);

rival!(
    AsyncChannel,
    async_channel::Sender<T>,
    async_channel::Receiver<T>,
    |capacity| match capacity {
        Some(0) => None,
        Some(n) => Some(async_channel::bounded(n)),
        None => Some(async_channel::unbounded()),
    },
    |rx| Some(rx.clone()),
    send_blocking,
    recv_blocking
);

/// std has a type for each kind of sender.
#[derive(Clone)]
pub(crate) enum StdSender<T> {
    Bounded(std::sync::mpsc::SyncSender<T>),
    Unbounded(std::sync::mpsc::Sender<T>),
}

impl<T> StdSender<T> {
    #[inline(always)]
    fn send(&self, value: T) -> Result<(), std::sync::mpsc::SendError<T>> {
        match self {
            Self::Bounded(tx) => tx.send(value),
            Self::Unbounded(tx) => tx.send(value),
        }
    }
}

rival!(
    StdMpsc,
    StdSender<T>,
    std::sync::mpsc::Receiver<T>,
    |capacity| Some(match capacity {
        Some(n) => {
            let (tx, rx) = std::sync::mpsc::sync_channel(n);
            (StdSender::Bounded(tx), rx)
        }
        None => {
            let (tx, rx) = std::sync::mpsc::channel();
            (StdSender::Unbounded(tx), rx)
        }
    }),
    |_| None,
    send,
    recv
);

rival!(
    Thingbuf,
    thingbuf::mpsc::blocking::Sender<T>,
    thingbuf::mpsc::blocking::Receiver<T>,
    |capacity| capacity.filter(|n| *n > 1).map(thingbuf::mpsc::blocking::channel),
    |_| None,
    send,
    recv
);
