//! Eight threads ask and answer one another, mailboxes die and others are born, promises are cancelled and settled by
//! several: every promise is settled in the end, and every message and answer dropped, once. `SELVEDGE_STRESS=n` multiplies
//! the rounds.
//!
//! A hang fails the test. Miri gets fewer rounds.

mod scene;

use scene::{baton, guarded};
use selvedge::channel::RecvError;
use selvedge::isolate::{self, Address, Answer, Mailbox, Unanswered};
use selvedge::promise::{self, Promise, PromiseError, Settled};
use selvedge::*;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex as Shared};
use std::time::{Duration, Instant};

const THREADS: usize = 8;
/// Of each thread.
const ROUNDS: usize = if cfg!(miri) { 20 } else { 12_000 };

fn rounds() -> usize {
    let times = std::env::var("SELVEDGE_STRESS").ok().and_then(|n| n.parse().ok());
    ROUNDS * times.unwrap_or(1)
}

/// Made and dropped.
#[derive(Default)]
struct Book([AtomicUsize; 2]);

struct Token(Arc<Book>, usize);
impl Token {
    fn new(book: &Arc<Book>, n: usize) -> Self {
        book.0[0].fetch_add(1, SeqCst);
        Self(book.clone(), n)
    }
}
impl Drop for Token {
    fn drop(&mut self) {
        self.0.0[1].fetch_add(1, SeqCst);
    }
}

/// Marsaglia's xorshift.
struct Random(u64);
impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }
    fn soon(&mut self) -> Instant {
        Instant::now() + Duration::from_micros(self.next(60))
    }
}

type To = Address<Token, Token, Token>;
type From = Mailbox<Token, Token, Token>;
type Asked = Answer<Token, Token, Token>;

/// What each thread knows of the others: where they take messages now.
struct World {
    book: Arc<Book>,
    doors: [Shared<To>; THREADS],
}

/// How often what happened; of all threads.
#[derive(Default, Debug)]
struct Tally {
    asked: usize,
    gone: usize,
    answered: usize,
    failed: usize,
    unread: usize,
    cancelled: usize,
}

impl Tally {
    fn add(&mut self, n: usize, settled: Settled<'_, Token, Unanswered<Token, Token>>) {
        *match settled {
            Settled::Value(token) => {
                assert_eq!(token.1, n, "the answer to this message");
                &mut self.answered
            }
            Settled::Error(Unanswered::Failed(token)) => {
                assert_eq!(token.1, n);
                &mut self.failed
            }
            Settled::Error(Unanswered::Undelivered(token)) => {
                assert_eq!(token.1, n);
                &mut self.unread
            }
            Settled::Cancelled => &mut self.cancelled,
            _ => unreachable!(),
        } += 1;
    }
}

/// Reads one letter, or none; now and then puts a new mailbox in the place of the old one.
fn answer(cx: &mut Participant, world: &World, mine: usize, from: &mut From, random: &mut Random) {
    let letter = match random.next(4) {
        0 => from.recv_until(cx, random.soon()).map_err(|e| assert_eq!(e, RecvError::TimedOut)),
        _ => from.try_recv().map_err(drop),
    };
    if let Ok(letter) = letter {
        let n = letter.message().1;
        let reply = Token::new(&world.book, n);
        // Who asked may have cancelled: then the reply comes back.
        match random.next(8) {
            0 => drop(letter.fail(reply)),
            1 => drop(letter),
            2 => {
                let (message, resolver) = letter.into_parts();
                let other = resolver.clone();
                drop(resolver);
                drop(other.resolve(reply));
                drop(message);
            }
            _ => drop(letter.answer(reply)),
        }
    }
    if random.next(16) == 0 {
        let (door, next) = isolate::mailbox();
        *world.doors[mine].lock().unwrap() = door;
        *from = next;
    }
}

fn live(
    cx: &mut Participant,
    world: &World,
    mine: usize,
    mut from: From,
) -> (Tally, Vec<(usize, Asked)>) {
    let (mut tally, mut open) = (Tally::default(), Vec::new());
    let mut random = Random(mine as u64 + 7);
    for round in 0..rounds() {
        let n = round * THREADS + mine;
        let whom = random.next(THREADS as u64) as usize;
        let to = world.doors[whom].lock().unwrap().clone();
        match to.send(Token::new(&world.book, n)) {
            Ok(asked) => {
                tally.asked += 1;
                open.push((n, asked));
            }
            Err(back) => {
                assert_eq!(back.0.1, n);
                tally.gone += 1;
            }
        }
        answer(cx, world, mine, &mut from, &mut random);
        // Looks after one of those that are open.
        let at = random.next(open.len() as u64 + 1) as usize;
        if at == open.len() {
            continue;
        }
        let asked = &open[at].1;
        let settled = match random.next(6) {
            0 => {
                asked.cancel();
                asked.is_settled()
            }
            1 => match asked.wait_until(cx, random.soon()) {
                Ok(_) => true,
                Err(e) => {
                    assert_eq!(e, PromiseError::TimedOut);
                    false
                }
            },
            _ => asked.is_settled(),
        };
        if settled {
            let (n, asked) = open.swap_remove(at);
            tally.add(n, asked.get().expect("that is final"));
        } else {
            assert!(at < open.len());
        }
    }
    // The mailbox goes: what is in it is answered by that.
    (tally, open)
}

fn run(vm: Runtime) {
    let mut cx = vm.attach("main").unwrap();
    let book = Arc::new(Book::default());
    let mut mailboxes = Vec::new();
    let doors = std::array::from_fn(|_| {
        let (door, from) = isolate::mailbox();
        mailboxes.push(from);
        Shared::new(door)
    });
    let world = Arc::new(World { book: book.clone(), doors });
    let threads: Vec<_> = mailboxes
        .into_iter()
        .enumerate()
        .map(|(mine, from)| {
            let world = world.clone();
            let lives = move |cx: &mut Participant| {
                let (tally, open) = live(cx, &world, mine, from);
                Ok::<_, ()>(Arc::new(Shared::new(Some((tally, open)))))
            };
            vm.spawn("lives", lives).unwrap()
        })
        .collect();
    let monitors: Vec<_> = threads.iter().map(|h| isolate::monitor(h.thread())).collect();
    let mut all = Tally::default();
    let mut late = Vec::new();
    for (h, monitor) in threads.into_iter().zip(monitors) {
        assert!(monitor.recv(&mut cx).unwrap().is_ok());
        let (tally, open) = h.join(&mut cx).unwrap().lock().unwrap().take().unwrap();
        all.asked += tally.asked;
        all.gone += tally.gone;
        all.answered += tally.answered;
        all.failed += tally.failed;
        all.unread += tally.unread;
        all.cancelled += tally.cancelled;
        late.extend(open);
    }
    // All mailboxes are gone, so nothing is left to wait for.
    for (n, asked) in late {
        all.add(n, asked.get().expect("every promise is settled"));
    }
    drop(world);
    assert_eq!(all.asked + all.gone, THREADS * rounds());
    assert_eq!(all.answered + all.failed + all.unread + all.cancelled, all.asked, "{all:?}");
    assert!(all.answered > 0 && all.unread > 0, "{all:?}");
    let [made, dropped] = book.0.each_ref().map(|n| n.load(SeqCst));
    assert_eq!(made, dropped, "each value is dropped, once");
}

#[test]
fn every_message_is_answered_or_comes_back() {
    guarded(|| run(Runtime::new()));
}

#[test]
fn every_message_is_answered_or_comes_back_under_the_baton() {
    guarded(|| run(baton()));
}

/// Threads settle one promise after the other, each several times, while others wait for it: one wins, and all read what it
/// brought, whoever told them first.
#[test]
fn one_settles_and_all_read_the_same() {
    guarded(|| {
        let vm = Runtime::new();
        let mut cx = vm.attach("main").unwrap();
        let book = Arc::new(Book::default());
        let (resolvers, promises): (Vec<_>, Vec<Promise<Token, Token>>) =
            (0..rounds() / 4).map(|_| promise::new::<Token, Token>()).unzip();
        let threads: Vec<_> = (0..THREADS)
            .map(|mine| {
                let (resolvers, promises) = (resolvers.clone(), promises.clone());
                let book = book.clone();
                let lives = move |cx: &mut Participant| {
                    let (mut won, mut seen) = (0, vec![]);
                    for (r, p) in resolvers.into_iter().zip(&promises) {
                        if mine < 4 {
                            let value = Token::new(&book, mine);
                            won += usize::from(match mine {
                                0 => r.resolve(value).is_ok(),
                                1 => r.reject(value).is_ok(),
                                2 => p.cancel(),
                                _ => r.cancel(),
                            });
                            assert!(p.is_settled(), "who has tried finds it settled");
                        }
                        drop(r);
                        seen.push(match p.wait(cx).unwrap() {
                            Settled::Value(token) => (0, token.1),
                            Settled::Error(token) => (1, token.1),
                            _ => (2, 2),
                        });
                    }
                    Ok::<_, ()>((won, seen))
                };
                vm.spawn("settles", lives).unwrap()
            })
            .collect();
        drop(resolvers);
        let all: Vec<_> = threads.into_iter().map(|h| h.join(&mut cx).unwrap()).collect();
        assert_eq!(all.iter().map(|(won, _)| won).sum::<usize>(), promises.len());
        assert!(all.iter().all(|(_, seen)| *seen == all[0].1));
        drop(promises);
        let [made, dropped] = book.0.each_ref().map(|n| n.load(SeqCst));
        assert_eq!(made, dropped, "each value is dropped, once");
    });
}
