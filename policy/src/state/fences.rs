//! Which keys the token must be told of, and that nothing else was told it.
//!
//! A fence is lowered only where no stop is left, which took a quorum: the journal shows it.

use std::collections::BTreeSet;

use super::{State, Unfoldable};
use crate::fences::{Fences, Told};
use crate::id::KeyId;
use crate::record::{Entry, FenceAnswered, FenceCause, FenceIntended};

impl State {
    /// Whether a key may sign for nobody at all: it is stopped and not drained, or ended for good.
    pub fn must_be_fenced(&self, key: KeyId) -> bool {
        let made = self.keys.get(&key).is_some_and(|key| key.made.is_some());
        let stopped = self.is_stopped(key) && !self.drains.contains_key(&key);
        made && (self.revoked.contains(&key) || stopped)
    }

    /// What the token is to be told now and no intent says yet. `undone` are keys that were found
    /// to sign although they are fenced.
    pub fn fences_due(&self, undone: &BTreeSet<KeyId>) -> Vec<FenceIntended> {
        let causes = [FenceCause::Stopped, FenceCause::Undone, FenceCause::Thawed];
        let due = causes.into_iter().flat_map(|cause| {
            let named = |key: &KeyId| cause != FenceCause::Undone || undone.contains(key);
            let keys = self.keys.keys().copied();
            let keys: Vec<KeyId> =
                keys.filter(|key| named(key) && self.is_due(*key, cause)).collect();
            let chunks = keys.chunks(KEYS_AT_ONCE_MAX);
            let intents =
                chunks.map(|keys| FenceIntended { cause, keys: keys.iter().copied().collect() });
            intents.collect::<Vec<_>>()
        });
        due.collect()
    }

    fn is_due(&self, key: KeyId, cause: FenceCause) -> bool {
        let must = self.must_be_fenced(key);
        let is_up = self.fences.is_up(&key);
        match cause {
            FenceCause::Stopped => must && !is_up,
            FenceCause::Undone => {
                let fence = self.fences.of(&key);
                must && fence.is_some_and(|fence| fence.up && fence.told == Told::Done)
            }
            FenceCause::Thawed => !must && is_up,
        }
    }

    pub(super) fn intend_fence(
        &mut self,
        entry: &Entry,
        intended: &FenceIntended,
    ) -> Result<(), Unfoldable> {
        let mut keys = intended.keys.iter();
        if intended.keys.is_empty() || !keys.all(|key| self.is_due(*key, intended.cause)) {
            return Err(Unfoldable::Fence(entry.seq));
        }
        self.fences.intend(intended, entry.seq);
        Ok(())
    }

    pub(super) fn answer_fence(
        &mut self,
        entry: &Entry,
        answered: &FenceAnswered,
    ) -> Result<(), Unfoldable> {
        if self.fences.answer(answered) { Ok(()) } else { Err(Unfoldable::Fence(entry.seq)) }
    }

    /// What the token was told.
    pub fn fences(&self) -> &Fences {
        &self.fences
    }
}

/// Keys of one intent: its record takes about 5 KB.
const KEYS_AT_ONCE_MAX: usize = 128;
