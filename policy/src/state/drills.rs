//! Drills of the stop: the last, and the last good one.
//!
//! Whoever ran a drill says what it came to. What the journal knows better is not believed: that a
//! drill was good whose canary is still there, or is no canary, or was another drill's.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{CANARY, State, Unfoldable};
use crate::id::{KeyId, PersonId, Sequence};
use crate::people::Role;
use crate::record::{Drilled, Entry};
use crate::time::{Millis, Span};

/// What is known of drills.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Drills {
    /// When the vault began: it owes its first drill from then on.
    since: Millis,
    last: Option<Drill>,
    last_good: Option<Drill>,
    /// Canaries that were somebody's.
    canaries: BTreeSet<KeyId>,
}

/// A drill that was reported.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Drill {
    /// Its record.
    pub sequence: Sequence,
    /// When that was written, in sure time.
    pub at: Millis,
    /// Whether every step found what it must.
    pub good: bool,
}

impl Drills {
    pub(super) fn begin(since: Millis) -> Self {
        Self { since, ..Self::default() }
    }

    /// The last one, however it ended.
    pub fn last(&self) -> Option<Drill> {
        self.last
    }

    /// The last good one.
    pub fn last_good(&self) -> Option<Drill> {
        self.last_good
    }

    /// Since when the next one is overdue, if one must be good every so often. A vault that never
    /// had one owes it from its beginning.
    pub fn overdue_since(&self, every: Span, now: Millis) -> Option<Millis> {
        let since = self.last_good.map_or(self.since, |drill| drill.at);
        let due = since.plus(every);
        (due <= now).then_some(due)
    }
}

/// A report of a drill that is not believed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DrillFault {
    /// By nobody.
    #[error("there is no person {0} in this vault")]
    NoPerson(PersonId),
    /// By somebody who may not.
    #[error("{0} may report no drill: it takes the role security, and no suspension")]
    MayNot(PersonId),
    /// The key.
    #[error("the key {0} is no canary of this vault: a drill is on a key of purpose \"canary\"")]
    NoCanary(KeyId),
    /// It ended already.
    #[error("a drill on the key {0} was reported already: each drill has a canary of its own")]
    Twice(KeyId),
    /// It cannot have been.
    #[error("the drill was not good: its canary {0} was not removed from the token")]
    NotDestroyed(KeyId),
    /// Too much, or nothing.
    #[error("measured must be 1 to {STEPS_MAX} steps of at most {STEP_DAYS_MAX} days each")]
    Measured,
    /// Missed without having been measured.
    #[error("missed names a step that was not measured")]
    Missed,
}

impl State {
    /// Drills so far.
    pub fn drills(&self) -> &Drills {
        &self.drills
    }

    /// Whether a report can follow what is recorded.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check_drill(&self, drilled: &Drilled) -> Result<(), DrillFault> {
        let Drilled { by, key, measured, missed, .. } = drilled;
        let member = self.people.member(by).ok_or_else(|| DrillFault::NoPerson(by.clone()))?;
        if member.suspended || !self.people.may(by, &[Role::Security]) {
            return Err(DrillFault::MayNot(by.clone()));
        }
        let canary = self.keys.get(key).filter(|key| key.made.is_some() && key.purpose == CANARY);
        canary.ok_or(DrillFault::NoCanary(*key))?;
        if self.drills.canaries.contains(key) {
            return Err(DrillFault::Twice(*key));
        }
        let gone = self.tombs.get(key).is_some_and(super::Tomb::is_closed);
        if drilled.good && !gone {
            return Err(DrillFault::NotDestroyed(*key));
        }
        let long = measured.values().any(|took| *took > STEP_MAX);
        if measured.is_empty() || measured.len() > STEPS_MAX || long {
            return Err(DrillFault::Measured);
        }
        if missed.iter().all(|step| measured.contains_key(step)) {
            Ok(())
        } else {
            Err(DrillFault::Missed)
        }
    }

    pub(super) fn drill(&mut self, entry: &Entry, drilled: &Drilled) -> Result<(), Unfoldable> {
        self.check_drill(drilled).map_err(|fault| Unfoldable::Drilled(entry.seq, fault))?;
        let drill = Drill { sequence: entry.seq, at: entry.at.sure, good: drilled.good };
        self.drills.last = Some(drill);
        if drilled.good {
            self.drills.last_good = Some(drill);
        }
        self.drills.canaries.insert(drilled.key);
        Ok(())
    }
}

/// Steps of a drill, and more than there are.
const STEPS_MAX: usize = 32;

/// People may take their time, and not for ever.
const STEP_DAYS_MAX: u64 = 7;

const STEP_MAX: Span = Span(STEP_DAYS_MAX * 86_400_000);
