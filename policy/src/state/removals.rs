//! The end of keys. Each is agreed to by a quorum; to be removed from the token it is revoked
//! before, and the signer does and proves it.
//!
//! The record of the agreement is the intent; until the token has answered, the removal is due. A
//! key that was removed keeps its tombstone: its id, label and address are nobody's again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{State, Unfoldable};
use crate::act::ActFault;
use crate::id::{KeyId, Sequence};
use crate::record::{DestroyAnswered, Destruction, Entry};

/// What became of a key that is to be removed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Tomb {
    /// The record in which people agreed to it.
    pub intent: Sequence,
    /// What the token said, last; `None`: nothing yet.
    pub answer: Option<Destruction>,
}

impl Tomb {
    /// Whether the key is gone.
    pub fn is_closed(&self) -> bool {
        matches!(self.answer, Some(Destruction::Gone(_)))
    }
}

impl State {
    /// Keys that are removed, or are to be.
    pub fn tombs(&self) -> &BTreeMap<KeyId, Tomb> {
        &self.tombs
    }

    /// Keys that the token is to be told to remove, by the records that say so.
    pub fn removals_due(&self) -> Vec<(KeyId, Sequence)> {
        let due = self.tombs.iter().filter(|(_, tomb)| !tomb.is_closed());
        due.map(|(key, tomb)| (*key, tomb.intent)).collect()
    }

    pub(super) fn check_revoke(&self, id: KeyId) -> Result<(), ActFault> {
        let key = self.keys.get(&id).filter(|key| key.made.is_some());
        key.ok_or(ActFault::NoKey(id))?;
        if self.revoked.contains(&id) {
            return Err(ActFault::Revoked(id));
        }
        if self.is_stopped(id) { Ok(()) } else { Err(ActFault::NotFrozen(id)) }
    }

    pub(super) fn check_destroy(&self, key: KeyId) -> Result<(), ActFault> {
        if self.tombs.contains_key(&key) {
            return Err(ActFault::Destroyed(key));
        }
        let made = self.keys.get(&key).is_some_and(|key| key.made.is_some());
        match (made, self.revoked.contains(&key)) {
            (false, _) => Err(ActFault::NoKey(key)),
            (true, false) => Err(ActFault::NotRevoked(key)),
            (true, true) => Ok(()),
        }
    }

    pub(super) fn intend_removal(&mut self, entry: &Entry, key: KeyId) {
        self.tombs.insert(key, Tomb { intent: entry.seq, answer: None });
    }

    pub(super) fn answer_removal(
        &mut self,
        entry: &Entry,
        answered: &DestroyAnswered,
    ) -> Result<(), Unfoldable> {
        let asked = |tomb: &&mut Tomb| tomb.intent == answered.intent && !tomb.is_closed();
        let tomb = self.tombs.get_mut(&answered.key).filter(asked);
        tomb.ok_or(Unfoldable::Destroyed(entry.seq))?.answer = Some(answered.answer.clone());
        Ok(())
    }
}
