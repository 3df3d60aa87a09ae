//! The writer's part in what people decide together: votes, proposals, and what comes of them.
//!
//! Whether something may be is the state's to say; here it is given its place in the order.

use std::collections::BTreeMap;

use portcullis_policy::act::Act;
use portcullis_policy::id::{CallerId, PersonId, Sequence};
use portcullis_policy::pending::{Subject, Waiting};
use portcullis_policy::record::{
    Entry, Matter, Proposed, Record, Recovered, RecoveryBegun, Suspended, Voted, Withdrawn,
};
use portcullis_policy::state::Prepared;
use portcullis_policy::stops::Scope;
use portcullis_policy::time::{Interval, Millis};

use super::command::{Answer, reply};
use super::standing::{Outline, Standing};
use super::writer::{Fatal, Writer, done};
use crate::gate::Drained;
use crate::journal::Space;
use crate::refusal::Refusal;

/// A proposal on its way to the writer.
#[derive(Debug)]
pub(super) struct NewProposal {
    pub(super) by: PersonId,
    pub(super) act: Act,
    pub(super) reason: String,
    /// The book it would adopt, if it would.
    pub(super) prepared: Option<Prepared>,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Done {
    /// The record.
    pub sequence: Sequence,
    /// What, in one line.
    pub summary: String,
}

/// A recovery that was announced.
#[derive(Clone, Copy, Debug)]
pub struct Announcement {
    /// The record.
    pub sequence: Sequence,
    /// When it can be carried out, in sure time.
    pub from: Millis,
}

impl Writer {
    /// One thing that waits, for this person to look at.
    pub(super) fn standing(&self, matter: &Matter, person: Option<&PersonId>) -> Option<Standing> {
        let now = self.clock.now();
        let waiting = self.state.pending().get(matter)?;
        Some(Standing {
            matter: matter.clone(),
            outlook: self.state.outlook(waiting, now),
            asks: person.is_some_and(|person| self.state.asks(waiting, person, now)),
            waiting: Outline::of(waiting),
        })
    }

    /// What waits, in the order it began, and how much more there is. Proposals first; then what
    /// callers asked for, the same number of each, so that nobody hides what others wait for behind
    /// requests of their own.
    pub(super) fn standings(&self, person: Option<&PersonId>) -> (Vec<Standing>, usize) {
        let pending = self.state.pending();
        let mut listed: Vec<(usize, Sequence, &Matter)> = Vec::new();
        let mut asked: BTreeMap<&CallerId, Vec<(Sequence, &Matter)>> = BTreeMap::new();
        for (matter, waiting) in pending.iter() {
            match &waiting.subject {
                Subject::Proposed(_) => listed.push((0, waiting.sequence, matter)),
                Subject::Parked(parked) => {
                    asked.entry(parked.caller()).or_default().push((waiting.sequence, matter));
                }
            }
        }
        for begun in asked.values_mut() {
            begun.sort_unstable();
            let turns = (1..).zip(begun.iter());
            listed.extend(turns.map(|(turn, (sequence, matter))| (turn, *sequence, *matter)));
        }
        listed.sort_unstable();
        let more = listed.len().saturating_sub(LISTED_MAX);
        listed.truncate(LISTED_MAX);
        listed.sort_unstable_by_key(|(turn, sequence, _)| (*turn > 0, *sequence));
        let shown = listed.into_iter();
        (shown.filter_map(|(.., matter)| self.standing(matter, person)).collect(), more)
    }

    pub(super) fn vote(&mut self, voted: Voted, answer: Answer<Standing>) -> Result<(), Fatal> {
        if self.space() != Space::Ample {
            return done(answer, Err(Refusal::JournalFull));
        }
        let now = self.clock.now();
        if let Err(fault) = self.state.check_vote(&voted, now) {
            return done(answer, Err(Refusal::Vote(fault)));
        }
        let (matter, by) = (voted.matter.clone(), voted.by.clone());
        self.append(now, Record::Voted(Box::new(voted)), None)?;
        self.matters_changed = true;
        let standing = self.standing(&matter, Some(&by)).ok_or_else(|| gone(&matter));
        self.after_commit(move |_| reply(answer, standing));
        Ok(())
    }

    pub(super) fn propose(
        &mut self,
        new: NewProposal,
        answer: Answer<Standing>,
    ) -> Result<(), Fatal> {
        if self.space() != Space::Ample {
            return done(answer, Err(Refusal::JournalFull));
        }
        let NewProposal { by, act, reason, prepared } = new;
        if let Some(prepared) = prepared {
            // Else it would be read and compared again here, where a stop may wait for it.
            if prepared.base != self.state.book().hash() {
                return done(answer, Err(Refusal::BookChanged));
            }
            self.state.prepare(prepared);
        }
        let now = self.clock.now();
        let proposed: Proposed = match self.state.propose((&by, act, reason), now) {
            Ok(proposed) => proposed,
            Err(fault) => return done(answer, Err(Refusal::Proposal(fault))),
        };
        let record = Record::Proposed(Box::new(proposed));
        let record = match self.fitting(now, record, "act_json") {
            Ok(record) => record,
            Err(refusal) => return done(answer, Err(refusal)),
        };
        let sequence = self.append(now, record, None)?;
        self.matters_changed = true;
        let matter = Matter::Proposal(sequence);
        let standing = self.standing(&matter, Some(&by)).ok_or_else(|| gone(&matter));
        self.after_commit(move |_| reply(answer, standing));
        Ok(())
    }

    /// A record of what somebody sent, if it can be written down and the journal takes it.
    fn fitting(
        &self,
        at: Interval,
        record: Record,
        field: &'static str,
    ) -> Result<Record, Refusal> {
        let entry = Entry { at, record, seq: self.state.head().next() };
        let bytes_max = self.storage.entry_bytes_max();
        let problem = match entry.encode() {
            Ok(line) if line.len() <= bytes_max => return Ok(entry.record),
            Ok(line) => format!("it takes {} bytes, and a record at most {bytes_max}", line.len()),
            Err(error) => format!("it cannot be written down: {error}"),
        };
        Err(Refusal::BadField { field, problem })
    }

    /// Does what was proposed, if enough people have agreed by now. The gate opens only after the
    /// record is durable, and not if a stop of the same scope came meanwhile.
    pub(super) fn execute(
        &mut self,
        by: &PersonId,
        proposal: Sequence,
        answer: Answer<Done>,
    ) -> Result<(), Fatal> {
        if self.space() != Space::Ample {
            return done(answer, Err(Refusal::JournalFull));
        }
        let now = self.clock.now();
        let executed = match self.state.execution(by, proposal, now) {
            Ok(executed) => executed,
            Err(fault) => return done(answer, Err(Refusal::Execution(fault))),
        };
        let waiting = self.state.pending().get(&Matter::Proposal(proposal));
        let summary = waiting.map(|one| portcullis_policy::statement::summary(&one.statement));
        let act = waiting.and_then(Waiting::proposed).map(|proposed| &proposed.act);
        let (mut thawed, mut stopped, mut drained) = (None, None, None);
        if let Some(Act::Thaw(thaw)) = act {
            thawed = Some(thaw.scope.clone());
        }
        if let Some(Act::Revoke(revoke)) = act {
            stopped = Some(Scope::Key(revoke.key));
        }
        if let Some(Act::Drain(drain)) = act {
            // What was recorded before it is held back: the plan permits what comes after.
            stopped = Some(Scope::Key(drain.key));
            let tags = self.state.keys().get(&drain.key).map(|key| key.tags.clone());
            drained = Some((drain.key, tags.unwrap_or_default()));
        }
        let sequence = self.append(now, Record::Executed(executed), None)?;
        (self.changed, self.matters_changed) = (true, true);
        if let Some(scope) = stopped {
            self.stop_at_the_gate(scope);
        }
        let gate = self.gate.clone();
        let done = Done { sequence, summary: summary.unwrap_or_default() };
        self.after_commit(move |_| {
            if let Some(scope) = thawed {
                gate.open(&scope);
            }
            if let Some((key, tags)) = drained {
                gate.drain(key, Drained { from: sequence, tags });
            }
            reply(answer, Ok(done));
        });
        Ok(())
    }

    /// Closes the gate for a record of the batch under way. A thaw that waits for the same commit
    /// does not open it again.
    pub(super) fn stop_at_the_gate(&mut self, scope: Scope) {
        let _closed = self.gate.close(&scope);
        let gate = self.gate.clone();
        self.after_commit(move |_| gate.recorded(&scope));
    }

    pub(super) fn withdraw(
        &mut self,
        withdrawn: Withdrawn,
        answer: Answer<Sequence>,
    ) -> Result<(), Fatal> {
        if self.space() != Space::Ample {
            return done(answer, Err(Refusal::JournalFull));
        }
        // Somebody else's is as if it were not there.
        let now = self.clock.now();
        if !self.state.may_withdraw(&withdrawn, now) {
            return done(answer, Err(gone(&withdrawn.matter)));
        }
        let sequence = self.append(now, Record::Withdrawn(withdrawn), None)?;
        self.matters_changed = true;
        self.after_commit(move |_| reply(answer, Ok(sequence)));
        Ok(())
    }

    pub(super) fn suspend(
        &mut self,
        suspended: Suspended,
        answer: Answer<Sequence>,
    ) -> Result<(), Fatal> {
        if self.space() != Space::Ample {
            return done(answer, Err(Refusal::JournalFull));
        }
        if let Err(fault) = self.state.check_suspension(&suspended) {
            return done(answer, Err(Refusal::Suspension(fault)));
        }
        let sequence = self.append(self.clock.now(), Record::Suspended(suspended), None)?;
        (self.changed, self.matters_changed) = (true, true);
        self.after_commit(move |_| reply(answer, Ok(sequence)));
        Ok(())
    }

    /// Stops everything, and announces that the people will be replaced.
    pub(super) fn begin_recovery(
        &mut self,
        begun: RecoveryBegun,
        answer: Answer<Announcement>,
    ) -> Result<(), Fatal> {
        if self.space() != Space::Ample {
            return done(answer, Err(Refusal::JournalFull));
        }
        let now = self.clock.now();
        if let Err(fault) = self.state.check_recovery(&begun, now) {
            return done(answer, Err(Refusal::Recovery(fault)));
        }
        let record = Record::RecoveryBegun(Box::new(begun));
        let record = match self.fitting(now, record, "recovery_json") {
            Ok(record) => record,
            Err(refusal) => return done(answer, Err(refusal)),
        };
        self.stop_at_the_gate(Scope::All);
        let sequence = self.append(now, record, None)?;
        (self.changed, self.matters_changed) = (true, true);
        let delay = self.state.governance().recovery.as_ref().map(|recovery| recovery.delay);
        let from = now.sure.plus(delay.unwrap_or_default());
        self.after_commit(move |_| reply(answer, Ok(Announcement { sequence, from })));
        Ok(())
    }

    pub(super) fn finish_recovery(
        &mut self,
        begun: Sequence,
        answer: Answer<Sequence>,
    ) -> Result<(), Fatal> {
        if self.space() != Space::Ample {
            return done(answer, Err(Refusal::JournalFull));
        }
        let now = self.clock.now();
        if let Err(fault) = self.state.check_recovered(begun, now) {
            return done(answer, Err(Refusal::Recovery(fault)));
        }
        self.stop_at_the_gate(Scope::All);
        let sequence = self.append(now, Record::Recovered(Recovered { begun }), None)?;
        (self.changed, self.matters_changed) = (true, true);
        self.after_commit(move |_| reply(answer, Ok(sequence)));
        Ok(())
    }
}

pub(super) fn gone(matter: &Matter) -> Refusal {
    Refusal::NotFound { kind: "approval", name: matter.to_string() }
}

/// Things listed at once: more are not read by people, and the writer makes the list.
const LISTED_MAX: usize = 200;
