//! The steps of those who act upon a thread: proxies and strangers, as in `life`.

use super::*;

impl Scene {
    /// A step of whoever holds TAKEN of `i`; `Some(None)`: the last one; none: it must wait.
    pub(super) fn proxy(&self, s: &mut State, i: usize, step: Proxy) -> Option<Option<Proxy>> {
        let t = s.lisp[i];
        let next = match step {
            Proxy::Mark => {
                self.gate(s, i, G::AnswerForAnother, t.gate | POKED);
                Proxy::Clear
            }
            Proxy::Clear => {
                self.gate(s, i, G::AnswerForAnother, t.gate & !REQ);
                Proxy::Drain
            }
            Proxy::Drain | Proxy::EndWait if t.locked => return None,
            Proxy::Drain => {
                s.lisp[i].served += t.asked;
                s.lisp[i].asked = 0;
                if t.asked_owner > 0 { Proxy::EndWait } else { Proxy::GiveBack }
            }
            Proxy::EndWait => match self.end_wait(s, i, None, Outcome::Serve) {
                Some(true) => Proxy::WakeServed,
                _ => Proxy::GiveBack,
            },
            Proxy::WakeServed => {
                s.lisp[i].token = true;
                Proxy::GiveBack
            }
            Proxy::GiveBack if t.gate & REQ != 0 => Proxy::Mark,
            Proxy::GiveBack => {
                let left = if t.asked_owner > 0 { REQ } else { 0 };
                self.gate(s, i, G::GiveBack, t.gate & !(TAKEN | COMING) | left);
                if t.gate & COMING == 0 {
                    return Some(None);
                }
                Proxy::Unpark
            }
            Proxy::Unpark => {
                s.lisp[i].token = true;
                return Some(None);
            }
        };
        Some(Some(next))
    }

    /// All states that follow by a step of stranger `j`.
    pub(super) fn stranger(&self, now: &State, j: usize, out: &mut Vec<State>) {
        let mut s = *now;
        let me = s.strangers[j];
        let Some(&deed) = self.deeds[j].get(usize::from(me.deed)) else { return };
        let at = me.at;
        let i = match deed {
            Deed::Signal(i) | Deed::Ask(i) | Deed::AskOwner(i) | Deed::Poke(i) => i,
            Deed::End(i, _) | Deed::Mark(i) => i,
            Deed::ShutDown => usize::from(me.next),
        };
        if let Some(step) = me.proxy {
            let Some(next) = self.proxy(&mut s, i, step) else { return };
            s.strangers[j].proxy = next;
            if next.is_none() {
                s.strangers[j].deed += 1;
            }
            return out.push(s);
        }
        let t = s.lisp[i];
        let done = |s: &mut State| {
            let me = &mut s.strangers[j];
            me.at = 0;
            if matches!(deed, Deed::ShutDown) && me.next < 2 {
                me.next += 1;
            } else {
                me.deed += 1;
            }
        };
        // The first step of all but pokes and marks locks the inbox, the one before the last unlocks it.
        match (deed, at) {
            (Deed::Poke(_), _) => {
                self.gate(&mut s, i, G::Ask, t.gate | REQ);
                done(&mut s);
            }
            (Deed::Mark(_), _) => {
                let runs = t.gate & SAFE == 0;
                self.gate(&mut s, i, G::Mark, if runs { t.gate | MARK } else { t.gate });
                done(&mut s);
            }
            (Deed::End(..), 0) if matches!(phase(t.claim), WAITING | MORPHED) => {
                s.strangers[j].next = epoch(t.claim);
                s.strangers[j].at = 1;
            }
            // It looks again, unless there is nothing to come.
            (Deed::End(..), 0) if t.alive => return,
            (Deed::End(..), 0) => done(&mut s),
            (Deed::End(_, how), 1) => {
                let parked = self.end_wait(&mut s, i, Some(me.next), how);
                s.strangers[j].at = 3;
                if parked != Some(true) {
                    done(&mut s);
                }
            }
            (_, 0) if t.locked => return,
            (_, 0) if !t.alive => done(&mut s),
            (_, 0) => {
                s.lisp[i].locked = true;
                match deed {
                    Deed::Signal(_) => s.lisp[i].signals += 1,
                    Deed::Ask(_) => s.lisp[i].asked += 1,
                    Deed::AskOwner(_) => s.lisp[i].asked_owner += 1,
                    Deed::ShutDown | Deed::Poke(_) | Deed::End(..) | Deed::Mark(_) => {}
                }
                s.strangers[j].at = 1;
            }
            (Deed::Signal(_), 1) => {
                self.gate(&mut s, i, G::Signal, t.gate | SIGNAL);
                s.strangers[j].at = 2;
            }
            (Deed::Signal(_), 2) => {
                let hit = phase(t.claim) == WAITING && t.claim & NOINTR == 0;
                let ended = (Outcome::Interrupted as u64) << OUTCOME_AT | DONE;
                let to = if hit { t.claim & !(PHASE | PARKED) | ended } else { t.claim };
                self.claim(&mut s, i, C::Signal, to | SIG);
                s.lisp[i].locked = false;
                s.strangers[j].at = 3;
                if !hit || t.claim & PARKED == 0 {
                    done(&mut s);
                }
            }
            (Deed::ShutDown, 1) => {
                self.gate(&mut s, i, G::Stop, t.gate | G_STOP);
                s.strangers[j].at = 2;
            }
            (Deed::ShutDown, 2) => {
                self.claim(&mut s, i, C::Stop, t.claim | STOP);
                s.strangers[j].at = 4;
            }
            (Deed::ShutDown, 4) => {
                let parked = self.end_wait(&mut s, i, None, Outcome::ShutDown);
                s.lisp[i].locked = false;
                s.strangers[j].at = 3;
                if parked != Some(true) {
                    done(&mut s);
                }
            }
            (Deed::Signal(_) | Deed::ShutDown | Deed::End(..), _) => {
                s.lisp[i].token = self.fault != Fault::NoUnpark;
                done(&mut s);
            }
            (Deed::Ask(_) | Deed::AskOwner(_), 1) => {
                self.gate(&mut s, i, G::Ask, t.gate | REQ);
                s.strangers[j].at = 2;
                if t.gate & SAFE == 0 {
                    s.lisp[i].locked = false;
                    done(&mut s);
                }
            }
            (Deed::Ask(_) | Deed::AskOwner(_), _) => {
                s.lisp[i].locked = false;
                if t.gate & (SAFE | TAKEN) == SAFE {
                    self.gate(&mut s, i, G::Take, t.gate | TAKEN);
                    s.strangers[j].at = 0;
                    s.strangers[j].proxy = Some(Proxy::Mark);
                } else {
                    done(&mut s);
                }
            }
        }
        out.push(s);
    }
}
