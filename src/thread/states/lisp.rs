//! The steps of a Lisp thread, as `wait`, `mutex`, `condvar` and `life` take them.

use super::*;

impl Scene {
    /// All states that follow by a step of thread `i`.
    pub(super) fn lisp(&self, now: &State, i: usize, out: &mut Vec<State>) {
        let me = i as u8;
        let mut s = *now;
        let t = s.lisp[i];
        let program = self.programs[i];
        let op = program.get(usize::from(t.op)).copied();
        let lock_free = s.queue_lock == NOBODY;
        let go = |mut s: State, at: At| {
            s.lisp[i].at = at;
            s
        };
        let advance = |mut s: State| {
            s.lisp[i].op += 1;
            go(s, At::Op)
        };
        // Gives the program up; K, if it has it, goes on.
        let quit = |mut s: State| {
            s.lisp[i].op = program.len() as u8;
            go(s, if s.lisp[i].woken { At::PassOn } else { At::Op })
        };
        let then = |s: State, then: Then| match then {
            Then::Advance => advance(s),
            Then::GoSafe => go(s, At::GoSafe),
            Then::Quit => go(s, At::Op),
        };
        let next = match t.at {
            At::Op => match op {
                None => go(s, At::Die),
                Some(Op::Lock | Op::LockUntil) => {
                    s.lisp[i].mode = Mode::Lock;
                    go(s, At::Try)
                }
                Some(Op::Wait | Op::WaitUntil) if s.flag => advance(s),
                Some(Op::Wait | Op::WaitUntil) => {
                    s.lisp[i].mode = Mode::Wait;
                    go(s, At::Begin)
                }
                Some(Op::Notify) if !lock_free => return,
                Some(Op::Notify) => {
                    s.flag = true;
                    self.notify(&mut s);
                    advance(s)
                }
                Some(Op::Unlock) => go(s, At::Release(Then::Advance)),
                Some(Op::Outside) => {
                    self.gate(&mut s, i, G::ForceSafe, t.gate | SAFE);
                    go(s, if t.gate & REQ != 0 { At::TakeOwn } else { At::GoneOut })
                }
                Some(Op::Poll) => {
                    if t.gate & MARK != 0 {
                        self.gate(&mut s, i, G::ClearMark, t.gate & !MARK);
                        s
                    } else if t.gate & (REQ | POKED) != 0 {
                        self.gate(&mut s, i, G::Answer, t.gate & !(REQ | POKED));
                        go(s, At::Drain)
                    } else if t.locked {
                        return;
                    } else {
                        self.take_signals(&mut s, i);
                        advance(s)
                    }
                }
            },
            At::Drain if t.locked => return,
            At::Drain => {
                serve_all(&mut s.lisp[i]);
                go(s, At::Op)
            }
            At::TakeOwn if t.gate & TAKEN == 0 => {
                self.gate(&mut s, i, G::Take, t.gate | TAKEN);
                go(s, At::Proxy(Proxy::Mark))
            }
            At::TakeOwn => go(s, At::GoneOut),
            At::GoneOut => go(s, At::Back),
            At::Try if s.owner == NOBODY => {
                s.owner = me;
                if t.woken {
                    (s.k, s.lisp[i].woken) = (false, false);
                }
                self.got(s, i)
            }
            At::Try => go(s, At::Begin),
            At::Begin => {
                let masked = t.mode == Mode::Again;
                assert_eq!(phase(t.claim), IDLE, "a wait inside a wait");
                if t.claim & STOP != 0 || !masked && t.claim & SIG != 0 {
                    // A condition-wait that does not begin still has the mutex.
                    match t.mode {
                        Mode::Wait => advance(s),
                        Mode::Lock | Mode::Again => quit(s),
                    }
                } else {
                    let to = (t.claim + EPOCH) | WAITING | if masked { NOINTR } else { 0 };
                    self.claim(&mut s, i, C::Begin, to);
                    go(s, At::Enqueue)
                }
            }
            At::Enqueue if !lock_free => return,
            At::Enqueue if t.mode == Mode::Wait => {
                s.waiters.push(me, epoch(t.claim));
                go(s, At::Release(Then::GoSafe))
            }
            At::Enqueue if s.owner == NOBODY => go(s, At::Withdraw),
            At::Enqueue => {
                if t.woken {
                    s.lockers.push_front(me, epoch(t.claim));
                    (s.k, s.lisp[i].woken) = (false, false);
                } else {
                    s.lockers.push(me, epoch(t.claim));
                }
                go(s, At::GoSafe)
            }
            At::Withdraw if phase(t.claim) == WAITING => {
                self.claim(&mut s, i, C::Cancel, t.claim & !(PHASE | NOINTR | PARKED));
                go(s, At::Try)
            }
            At::Withdraw => {
                let how = outcome(t.claim);
                self.end(&mut s, i);
                match how {
                    Outcome::Interrupted | Outcome::ShutDown => quit(s),
                    _ => go(s, At::Try),
                }
            }
            At::GoSafe if t.gate & REQ != 0 => {
                let _ = self.end_wait(&mut s, i, Some(epoch(t.claim)), Outcome::Serve);
                go(s, At::Unlink)
            }
            At::GoSafe => {
                self.gate(&mut s, i, G::EnterSafe, t.gate | SAFE);
                go(s, At::Look)
            }
            At::Look if phase(t.claim) == DONE => go(s, At::Back),
            At::Look => {
                if self.timed(&t, op) && phase(t.claim) == WAITING {
                    let mut late = s;
                    let _ = self.end_wait(&mut late, i, Some(epoch(t.claim)), Outcome::TimedOut);
                    out.push(late);
                }
                self.claim(&mut s, i, C::Sleep, t.claim | PARKED);
                go(s, At::Sleep)
            }
            At::Sleep => {
                let late = self.timed(&t, op) && phase(t.claim) == WAITING;
                if !(t.token || late) {
                    return;
                }
                s.lisp[i].token = false;
                go(s, At::Look)
            }
            At::Back if t.gate & TAKEN != 0 => go(s, At::Coming),
            At::Back => {
                self.gate(&mut s, i, G::LeaveSafe, t.gate & !(SAFE | COMING | MARK));
                if op == Some(Op::Outside) { advance(s) } else { go(s, At::Unlink) }
            }
            At::Coming => {
                self.gate(&mut s, i, G::Coming, t.gate | COMING);
                go(s, if t.gate & TAKEN != 0 { At::SleepBack } else { At::Back })
            }
            At::SleepBack if !t.token => return,
            At::SleepBack => {
                s.lisp[i].token = false;
                go(s, At::Back)
            }
            At::Unlink => match outcome(t.claim) {
                Outcome::Granted | Outcome::Woken => go(s, At::End),
                _ if !lock_free => return,
                _ => {
                    s.lockers.remove(me);
                    s.waiters.remove(me);
                    go(s, At::End)
                }
            },
            At::End => {
                let (how, moved) = (outcome(t.claim), t.claim & MOVED != 0);
                self.end(&mut s, i);
                if t.mode == Mode::Wait {
                    s.lisp[i].mode = Mode::Again;
                }
                match how {
                    Outcome::Granted => {
                        assert_eq!(s.owner, me, "granted, and not the owner: {s:#?}");
                        self.got(s, i)
                    }
                    Outcome::Woken => {
                        s.lisp[i].woken = true;
                        go(s, At::Try)
                    }
                    Outcome::Serve => go(s, At::Serve),
                    Outcome::Interrupted | Outcome::TimedOut => match t.mode {
                        Mode::Lock => quit(s),
                        Mode::Wait => {
                            // Not in a loop any more: it goes on with the mutex, notified or not.
                            s.lisp[i].op += 1;
                            go(s, At::Try)
                        }
                        Mode::Again => panic!("the way back was interrupted: {s:#?}"),
                    },
                    _ if moved => go(s, At::PassNotification),
                    _ => quit(s),
                }
            }
            At::Serve => {
                self.gate(&mut s, i, G::Answer, t.gate & !(REQ | POKED));
                go(s, At::Remember)
            }
            At::Remember if t.locked => return,
            At::Remember => {
                serve_all(&mut s.lisp[i]);
                self.gate(&mut s, i, G::Remember, t.gate | POKED);
                go(s, At::Try)
            }
            At::PassNotification if !lock_free => return,
            At::PassNotification => {
                self.notify(&mut s);
                // As `admit`: somebody must have K if the mutex is free.
                if s.owner == NOBODY && !s.k && s.lockers.len > 0 {
                    s.lisp[i].woken = true;
                    s.k = true;
                }
                quit(s)
            }
            At::PassOn if !lock_free => return,
            At::PassOn => {
                s.lisp[i].woken = false;
                self.wake_next(s, i, Then::Quit)
            }
            At::Release(_) if !lock_free => return,
            At::Release(after) => {
                assert_eq!(s.owner, me, "released by another: {s:#?}");
                if s.k || s.lockers.len == 0 {
                    s.owner = NOBODY;
                    then(s, after)
                } else {
                    let mut fair = s;
                    let (who, e) = fair.lockers.pop().unwrap();
                    (fair.owner, fair.queue_lock) = (who, me);
                    out.push(go(fair, At::Hand(who, e, after)));
                    (s.owner, s.k) = (NOBODY, true);
                    self.wake_next(s, i, after)
                }
            }
            At::Hand(who, e, after) => {
                match self.end_wait(&mut s, usize::from(who), Some(e), Outcome::Granted) {
                    Some(parked) => {
                        s.queue_lock = NOBODY;
                        if parked { go(s, At::Unpark(who, after)) } else { then(s, after) }
                    }
                    None => match s.lockers.pop() {
                        Some((who, e)) => {
                            s.owner = who;
                            go(s, At::Hand(who, e, after))
                        }
                        None => {
                            (s.owner, s.queue_lock) = (NOBODY, NOBODY);
                            then(s, after)
                        }
                    },
                }
            }
            At::Wake(who, e, after) => {
                let woken = self.end_wait(&mut s, usize::from(who), Some(e), Outcome::Woken);
                s.queue_lock = NOBODY;
                match woken {
                    Some(true) => go(s, At::Unpark(who, after)),
                    Some(false) => then(s, after),
                    None => self.wake_next(s, i, after),
                }
            }
            At::Unpark(who, after) => {
                s.lisp[usize::from(who)].token = true;
                then(s, after)
            }
            At::Proxy(step) => match self.proxy(&mut s, i, step) {
                Some(Some(step)) => go(s, At::Proxy(step)),
                Some(None) => go(s, At::GoneOut),
                None => return,
            },
            At::Die if t.gate & (REQ | POKED) != 0 => {
                self.gate(&mut s, i, G::Answer, t.gate & !(REQ | POKED));
                s
            }
            At::Die if t.locked => return,
            At::Die => {
                if t.asked + t.asked_owner > 0 {
                    serve_all(&mut s.lisp[i]);
                    s
                } else {
                    s.lisp[i].alive = false;
                    go(s, At::Last)
                }
            }
            At::Last => {
                self.claim(&mut s, i, C::Renew, t.claim & !(SIG | STOP));
                self.gate(&mut s, i, G::Renew, SAFE);
                s.lisp[i].signals = 0;
                go(s, At::Over)
            }
            At::Over => return,
        };
        out.push(next);
    }

    fn timed(&self, t: &Lisp, op: Option<Op>) -> bool {
        match t.mode {
            Mode::Lock => op == Some(Op::LockUntil),
            Mode::Wait => op == Some(Op::WaitUntil),
            Mode::Again => false,
        }
    }

    /// It has the mutex.
    fn got(&self, mut s: State, i: usize) -> State {
        let t = &mut s.lisp[i];
        // A condition-wait looks at its flag again.
        t.op += u8::from(t.mode == Mode::Lock);
        t.at = At::Op;
        s
    }

    fn end(&self, s: &mut State, i: usize) {
        let w = s.lisp[i].claim;
        self.claim(s, i, C::End, w & (SIG | STOP) | (w / EPOCH * EPOCH));
        s.lisp[i].ended = 0;
    }

    fn take_signals(&self, s: &mut State, i: usize) {
        let t = s.lisp[i];
        self.claim(s, i, C::TakeSignal, t.claim & !SIG);
        self.gate(s, i, G::TakeSignal, t.gate & !SIGNAL);
        s.lisp[i].signals = 0;
    }

    /// Moves one waiter to the mutex's queue.
    fn notify(&self, s: &mut State) {
        while let Some((who, e)) = s.waiters.pop() {
            let w = s.lisp[usize::from(who)].claim;
            if phase(w) == WAITING && epoch(w) == e {
                self.claim(s, usize::from(who), C::Morph, w & !PHASE | MORPHED);
                return s.lockers.push(who, e);
            }
        }
    }

    /// With K in hand, and the queue's lock free: to the next waiter, unless an owner's release will see to it.
    fn wake_next(&self, mut s: State, i: usize, after: Then) -> State {
        let next = if s.owner == NOBODY { s.lockers.pop() } else { None };
        s.lisp[i].at = match next {
            Some((who, e)) => {
                s.queue_lock = i as u8;
                At::Wake(who, e, after)
            }
            None => {
                s.k = false;
                match after {
                    Then::GoSafe => At::GoSafe,
                    Then::Quit | Then::Advance => {
                        s.lisp[i].op += u8::from(after == Then::Advance);
                        At::Op
                    }
                }
            }
        };
        s
    }
}

fn serve_all(t: &mut Lisp) {
    t.served += t.asked + t.asked_owner;
    (t.asked, t.asked_owner) = (0, 0);
}
