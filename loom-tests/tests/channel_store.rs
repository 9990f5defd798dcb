//! Models of the storages of channels and of the lock of their sides, without the protocol around them.
//!
//! The storages are held to their specification, a queue with room for so many values: each history of each execution has
//! one order that it allows. A block of the list has two slots here, and `spare` one place.
#![cfg(selvedge_loom)]

use loom_tests::history::{Done, linearizable};
use loom_tests::scene::{Log, Token, Tokens};
use loom_tests::{check, explore};
use selvedge::model::internals::{SideLock, Store};
use selvedge::model::thread;
use std::collections::VecDeque;
use std::sync::Arc;

/// An operation and what it came to.
#[derive(Clone, Debug)]
enum Did {
    /// False: full.
    Push(usize, bool),
    /// None: empty.
    Pop(Option<usize>),
    Len(usize),
}

/// The room there is, and the values.
type Fifo = (usize, VecDeque<usize>);

fn fifo((room, values): &mut Fifo, did: &Did) -> bool {
    match *did {
        Did::Push(_, false) => return values.len() == *room,
        Did::Push(_, true) if values.len() == *room => return false,
        Did::Push(n, true) => values.push_back(n),
        Did::Pop(got) => return values.pop_front() == got,
        Did::Len(n) => return values.len() == n,
    }
    true
}

fn push(s: &Shared, n: usize) -> Did {
    Did::Push(n, s.store.push(s.tokens.make(n)).is_ok())
}
fn pop(s: &Shared) -> Did {
    Did::Pop(s.store.pop().map(|token| token.read()))
}
/// As who waits looks: at first without the lock.
fn look(s: &Shared) -> Option<Did> {
    (!s.store.seems_empty()).then(|| pop(s))
}
fn look_for_room(s: &Shared, n: usize) -> Option<Did> {
    let token = s.tokens.make(n);
    (!s.store.seems_full()).then(|| Did::Push(n, s.store.push(token).is_ok()))
}
fn len(s: &Shared) -> Did {
    Did::Len(s.store.len())
}

struct Shared {
    store: Store<Token>,
    tokens: Tokens,
}

/// Values and moves of one thread.
type Program = fn(&Shared) -> Vec<Did>;

/// No order explains the history.
const NONE: &str = "not linearizable";

/// Room for any number of values.
const MUCH: usize = 99;

/// `before` on the main thread, then the programs at the same time, the first of them there; then all is taken out. The
/// outcome: what pops and lens saw.
fn run<const N: usize>(
    room: usize,
    before: Program,
    programs: [Program; N],
    made: usize,
    step: fn(&mut Fifo, &Did) -> bool,
) -> String {
    let store = if room == MUCH { Store::list() } else { Store::array(room) };
    let s = Arc::new(Shared { store, tokens: Tokens::new() });
    // What stands in a later phase began when all of the earlier ones had ended.
    let mut history: Vec<Done<(u32, Did)>> = vec![];
    let mut add = |thread, phase, all: Vec<Did>| {
        history.extend(all.into_iter().map(|did| Done { thread, op: (phase, did) }));
    };
    add(0, 0, before(&s));
    let [first, others @ ..] = &programs[..] else { unreachable!("there is a program") };
    let spawn = |&program: &Program| {
        let s = s.clone();
        thread::spawn(move || program(&s))
    };
    let others: Vec<_> = others.iter().map(spawn).collect();
    add(0, 1, first(&s));
    for (i, other) in others.into_iter().enumerate() {
        add(i + 1, 1, other.join().unwrap());
    }
    let left = s.store.len();
    add(0, 2, vec![Did::Len(left)]);
    add(0, 2, (0..=left).map(|_| pop(&s)).collect());
    let Ok(Shared { store, tokens }) = Arc::try_unwrap(s) else { panic!("a thread is left") };
    drop(store);
    tokens.end(made);
    let before = |i: usize, j: usize| history[i].op.0 < history[j].op.0;
    if !linearizable(&history, (room, VecDeque::new()), before, |s, op| step(s, &op.1)) {
        return NONE.into();
    }
    let results = history.iter().filter(|d| d.op.0 == 1).map(|d| match d.op.1 {
        Did::Push(_, ok) => if ok { "+" } else { "f" }.into(),
        Did::Pop(got) => got.map_or("-".into(), |n| n.to_string()),
        Did::Len(n) => format!("={n}"),
    });
    results.collect()
}

const NOTHING: Program = |_| vec![];

/// Two senders and a receiver, room for two: the values of one sender keep their order, "full" and "empty" are true at some
/// moment. Kills array E1 and E2.
#[test]
fn two_senders_and_a_receiver() {
    check(
        "channel_store.array_two_senders",
        Some(3),
        6500,
        &[
            "--++f", "--+f+", "-0+++", "-0++f", "-0+f+", "-2+++", "-2+f+", "0-+++", "01+++",
            "01++f", "02+++", "02+f+", "2-+++", "20+++", "20+f+",
        ],
        || {
            let programs: [Program; 3] =
                [|s| vec![pop(s), pop(s)], |s| vec![push(s, 0), push(s, 1)], |s| vec![push(s, 2)]];
            run(2, NOTHING, programs, 3, fifo)
        },
    );
}

/// The same in a list.
#[test]
fn two_senders_and_a_receiver_in_a_list() {
    check(
        "channel_store.list_two_senders",
        Some(3),
        1500,
        &["--+++", "-0+++", "-2+++", "0-+++", "01+++", "02+++", "2-+++", "20+++"],
        || {
            let programs: [Program; 3] =
                [|s| vec![pop(s), pop(s)], |s| vec![push(s, 0), push(s, 1)], |s| vec![push(s, 2)]];
            run(MUCH, NOTHING, programs, 3, fifo)
        },
    );
}

/// The ring goes round: a slot is used again, and again by a sender that sees it full or free. Kills array E1 and E2.
#[test]
fn the_ring_goes_round() {
    check(
        "channel_store.array_round",
        None,
        46100,
        &[
            "01-++f", "01-f++", "01-ff+", "01-fff", "012+++", "012++f", "012+f+", "012+ff",
            "013f++", "013f+f", "014ff+",
        ],
        || {
            let programs: [Program; 2] =
                [|s| vec![pop(s), pop(s), pop(s)], |s| vec![push(s, 2), push(s, 3), push(s, 4)]];
            run(2, |s| vec![push(s, 0), push(s, 1)], programs, 5, fifo)
        },
    );
}

/// A slot that both sides want: one place.
#[test]
fn one_place() {
    check(
        "channel_store.array_one",
        Some(3),
        2200,
        &["-++f0", "-+f0", "-+ff2", "-f+f0", "0+++1", "0++1", "0++f-", "0++f2", "0+f-", "0f++1"],
        || {
            let programs: [Program; 2] = [
                |s| vec![pop(s)].into_iter().chain(look_for_room(s, 2)).collect(),
                |s| vec![push(s, 0), push(s, 1), pop(s)],
            ];
            run(1, NOTHING, programs, 3, fifo)
        },
    );
}

/// Two receivers, one of which looks first.
#[test]
fn two_receivers() {
    check(
        "channel_store.array_two_receivers",
        Some(3),
        21200,
        &[
            "++-0-", "++-01", "++0-", "++0--", "++0-1", "++01", "++01-", "++012", "++10-", "++102",
            "++201", "+f-01", "+f01", "+f01-", "+f10-",
        ],
        || {
            let programs: [Program; 3] = [
                |s| vec![push(s, 1), push(s, 2)],
                |s| look(s).into_iter().collect(),
                |s| vec![pop(s), pop(s)],
            ];
            run(2, |s| vec![push(s, 0)], programs, 3, fifo)
        },
    );
}

/// The same in a list, over the end of a block.
#[test]
fn two_receivers_of_a_list() {
    check(
        "channel_store.list_two_receivers",
        Some(2),
        7400,
        &[
            "++-0-", "++-01", "++0-", "++0--", "++0-1", "++01", "++01-", "++012", "++10-", "++102",
            "++201",
        ],
        || {
            let programs: [Program; 3] = [
                |s| vec![push(s, 1), push(s, 2)],
                |s| look(s).into_iter().collect(),
                |s| vec![pop(s), pop(s)],
            ];
            run(MUCH, |s| vec![push(s, 0)], programs, 3, fifo)
        },
    );
}

/// The receiver leaves a block to `spare`, the sender takes it from there, and uses it again; or neither comes in time, and
/// blocks are made and freed. Kills list E1, E2, E3.
#[test]
fn blocks_go_round() {
    check(
        "channel_store.list_blocks",
        None,
        2100,
        &["012--+++", "012-3+++", "0123-+++", "01234+++"],
        || {
            let programs: [Program; 2] = [
                |s| vec![pop(s), pop(s), pop(s), pop(s), pop(s)],
                |s| vec![push(s, 3), push(s, 4), push(s, 5)],
            ];
            run(MUCH, |s| vec![push(s, 0), push(s, 1), push(s, 2)], programs, 6, fifo)
        },
    );
}

/// How many there are, while one comes and one goes.
#[test]
fn how_many() {
    check(
        "channel_store.array_len",
        Some(3),
        160,
        &["=0=0+0", "=0=1+0", "=1=0+0", "=1=1+0", "=1=2+0", "=2=1+0", "=2=2+0"],
        || {
            let programs: [Program; 3] =
                [|s| vec![len(s), len(s)], |s| vec![push(s, 1)], |s| vec![pop(s)]];
            run(2, |s| vec![push(s, 0)], programs, 2, fifo)
        },
    );
}

/// The same in a list, over the end of a block.
#[test]
fn how_many_in_a_list() {
    check(
        "channel_store.list_len",
        Some(3),
        210,
        &[
            "=0=0+01", "=0=1+01", "=1=0+01", "=1=1+01", "=1=2+01", "=2=0+01", "=2=1+01", "=2=2+01",
            "=2=3+01", "=3=1+01", "=3=2+01", "=3=3+01",
        ],
        || {
            let programs: [Program; 3] =
                [|s| vec![len(s), len(s)], |s| vec![push(s, 2)], |s| vec![pop(s), pop(s)]];
            run(MUCH, |s| vec![push(s, 0), push(s, 1)], programs, 3, fifo)
        },
    );
}

/// Two storages: each thread puts a value into its own and looks into the other's. One of them finds something.
fn crosswise(name: &'static str, make: fn() -> Store<usize>) {
    check(name, None, 35, &["-0", "1-", "10"], move || {
        let s = Arc::new([make(), make()]);
        let visit = |s: &[Store<usize>; 2], me: usize| {
            assert!(s[me].push(me).is_ok());
            s[1 - me].pop().map_or("-".into(), |n| n.to_string())
        };
        let t = thread::spawn({
            let s = s.clone();
            move || visit(&s, 1)
        });
        let first = visit(&s, 0);
        first + &t.join().unwrap()
    });
}

/// Kills array E3.
#[test]
fn two_arrays_crosswise() {
    crosswise("channel_store.two_arrays", || Store::array(1));
}

/// Kills list E4 at a slot.
#[test]
fn two_lists_crosswise() {
    crosswise("channel_store.two_lists", Store::list);
}

/// Kills list E4 at the end of a block.
#[test]
fn two_lists_crosswise_after_a_block() {
    crosswise("channel_store.two_lists_after_a_block", || {
        let list = Store::list();
        for n in [7, 8] {
            list.push(n).unwrap();
            assert_eq!(list.pop(), Some(n));
        }
        list
    });
}

/// The lock of a side, two threads: each section stands alone, and sees the one before. Kills side E1, all three ways in.
/// Bound: none.
#[test]
fn the_lock_of_a_side() {
    check("channel_store.lock", None, 15, &["ab", "ba"], || {
        let s = Arc::new((SideLock::default(), Log::new()));
        let t = thread::spawn({
            let s = s.clone();
            move || {
                s.0.with(|flags| {
                    s.1.put("b");
                    flags
                });
            }
        });
        assert!(s.0.with_quiet(|| s.1.put("a")), "no flag is up");
        t.join().unwrap();
        s.1.get()
    });
}

/// One raises a flag, the other takes the lock only while none is up: it sees the flag, or is before it. Bound: none.
#[test]
fn the_flags_of_a_side() {
    check("channel_store.lock_flags", None, 15, &["ab", "bn"], || {
        let s = Arc::new((SideLock::default(), Log::new()));
        let t = thread::spawn({
            let s = s.clone();
            move || {
                s.0.with(|flags| {
                    s.1.put("b");
                    flags | 2
                });
            }
        });
        let quiet = s.0.with_quiet(|| s.1.put("a"));
        if !quiet {
            // Who saw the flag takes the lock for what comes with it.
            s.0.with(|flags| {
                assert_eq!(flags, 2);
                s.1.put("n");
                flags
            });
        }
        t.join().unwrap();
        assert_eq!(s.0.flags(), 2);
        s.1.get()
    });
}

// ---- the same programs, and specifications that are wrong ----

fn caught(name: &str, model: impl Fn() -> String + Send + Sync + 'static) {
    let seen = explore(Some(2), 4, model);
    let n = seen.outcomes.get(NONE).copied().unwrap_or(0);
    println!("\nSELFTEST {name} | executions {} | not linearizable {n}", seen.executions);
    assert!(n > 0, "the wrong specification explains every history");
}

const PUSHES_AND_POPS: [Program; 2] = [|s| vec![pop(s), pop(s)], |s| vec![push(s, 1), push(s, 2)]];

/// Wrong: the last one in is the first one out.
#[test]
fn self_order() {
    caught("array of slots", || {
        run(
            2,
            |s| vec![push(s, 0)],
            PUSHES_AND_POPS,
            3,
            |s, did| match *did {
                Did::Pop(got) => s.1.pop_back() == got,
                _ => fifo(s, did),
            },
        )
    });
}

/// Wrong: there is never too little room; there is room for one only.
#[test]
fn self_full() {
    caught("array of slots", || {
        run(
            2,
            |s| vec![push(s, 0)],
            PUSHES_AND_POPS,
            3,
            |s, did| !matches!(did, Did::Push(_, false)) && fifo(s, did),
        )
    });
    caught("array of slots", || {
        run(
            2,
            |s| vec![push(s, 0)],
            PUSHES_AND_POPS,
            3,
            |s, did| {
                s.0 = 1;
                fifo(s, did)
            },
        )
    });
}

/// Wrong: a receiver always finds something.
#[test]
fn self_empty() {
    caught("list of blocks", || {
        run(
            MUCH,
            |s| vec![push(s, 0)],
            PUSHES_AND_POPS,
            3,
            |s, did| !matches!(did, Did::Pop(None)) && fifo(s, did),
        )
    });
}
