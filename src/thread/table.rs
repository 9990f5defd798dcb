//! The legal transitions of the gate, as data. What a table is for stands in `park/table.rs`.

use super::gate;
use crate::park::table::{Row, Table};

const SAFE: u64 = gate::SAFE as u64;
const TAKEN: u64 = gate::TAKEN as u64;
const REQ: u64 = gate::REQ as u64;
const COMING: u64 = gate::COMING as u64;
const SIGNAL: u64 = gate::SIGNAL as u64;
const STOP: u64 = gate::STOP as u64;
const POKED: u64 = gate::POKED as u64;
const MARK: u64 = gate::MARK as u64;

/// What changes the gate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum GateStep {
    EnterSafe,
    ForceSafe,
    LeaveSafe,
    Coming,
    Take,
    GiveBack,
    Ask,
    Answer,
    AnswerForAnother,
    Remember,
    Signal,
    TakeSignal,
    Stop,
    Mark,
    ClearMark,
    Renew,
}

use GateStep as G;

const RUN: u64 = 0;
const BOTH: u64 = SAFE | TAKEN;
const ANY: &[u64] = &[RUN, SAFE, BOTH, BOTH | COMING, SAFE | COMING];

pub(crate) static GATE: Table<G> = Table {
    phases: &[
        ("RUN", RUN),
        ("SAFE", SAFE),
        ("SAFE TAKEN", BOTH),
        ("SAFE TAKEN COMING", BOTH | COMING),
        ("SAFE COMING", SAFE | COMING),
    ],
    phase_mask: SAFE | TAKEN | COMING,
    flags: &[("REQ", REQ), ("SIGNAL", SIGNAL), ("STOP", STOP), ("POKED", POKED), ("MARK", MARK)],
    flag_mask: REQ | SIGNAL | STOP | POKED | MARK,
    rows: &[
        Row::new(G::EnterSafe, &[RUN], Some(SAFE), "the thread, to sleep").refuse(REQ),
        Row::new(G::ForceSafe, &[RUN], Some(SAFE), "the thread, to go outside"),
        Row::new(G::LeaveSafe, &[SAFE, SAFE | COMING], Some(RUN), "the thread").clears(MARK),
        Row::new(G::Coming, &[BOTH], Some(BOTH | COMING), "the thread: the proxy must unpark"),
        Row::new(G::Coming, &[SAFE], Some(SAFE | COMING), "the thread; the proxy had just left"),
        Row::new(G::Take, &[SAFE], Some(BOTH), "a proxy"),
        Row::new(G::Take, &[SAFE | COMING], Some(BOTH | COMING), "a proxy"),
        Row::new(G::GiveBack, &[BOTH, BOTH | COMING], Some(SAFE), "the proxy; REQ: some are left")
            .refuse(REQ)
            .may_set(REQ),
        Row::new(G::Ask, ANY, None, "who pushed a request, or pokes").sets(REQ),
        Row::new(G::Answer, ANY, None, "the thread, which drains its inbox next")
            .clears(REQ | POKED),
        Row::new(G::Remember, &[RUN], None, "the thread, which answered inside a wait").sets(POKED),
        Row::new(G::AnswerForAnother, &[BOTH, BOTH | COMING], None, "the proxy, first").sets(POKED),
        Row::new(G::AnswerForAnother, &[BOTH, BOTH | COMING], None, "the proxy, then").clears(REQ),
        Row::new(G::Signal, ANY, None, "a sender").sets(SIGNAL),
        Row::new(G::TakeSignal, ANY, None, "the thread, which took its last signal").clears(SIGNAL),
        Row::new(G::Stop, ANY, None, "the runtime; never taken back").sets(STOP),
        Row::new(G::Mark, &[RUN], None, "who looks for laggards").sets(MARK),
        Row::new(G::ClearMark, ANY, None, "the thread, at a safe point").clears(MARK),
        Row::new(G::Renew, &[RUN, SAFE], Some(SAFE), "the slab, for a new thread")
            .clears(REQ | SIGNAL | STOP | POKED | MARK),
    ],
    rest: |_, _, _| true,
};

/// [`Table::check`] for the gate's word.
#[inline(always)]
pub(super) fn check(step: GateStep, from: u32, to: u32) {
    GATE.check(step, from.into(), to.into());
}

#[cfg(all(test, not(selvedge_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_the_gate_has_its_table() {
        GATE.must_stand_in(include_str!("gate.rs"), "step");
        GATE.must_be_unambiguous();
    }
}
