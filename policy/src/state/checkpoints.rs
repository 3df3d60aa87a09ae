//! The key that signs what the journal is: one for a vault, made in the token.

use std::collections::BTreeSet;

use alloy_primitives::B128;
use serde::{Deserialize, Serialize};

use super::{State, Unfoldable};
use crate::id::Sequence;
use crate::note::NoteKey;
use crate::record::{CheckpointKeyIntended, CheckpointKeyMade, Entry};

/// What the journal says of it.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Checkpoints {
    /// Objects that were intended. All but the one that was made are left over from starts that did
    /// not end well.
    pub intended: BTreeSet<B128>,
    /// The one that was made.
    pub made: Option<CheckpointKey>,
}

/// A key that signs checkpoints.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct CheckpointKey {
    /// Which object of the token.
    pub object: B128,
    /// Its public key.
    pub key: NoteKey,
    /// The record that pins it.
    pub since: Sequence,
}

impl State {
    /// The key that signs what the journal is.
    pub fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    /// The record of the last start.
    pub fn last_start(&self) -> Sequence {
        self.last_start
    }

    pub(super) fn intend_checkpoint_key(
        &mut self,
        entry: &Entry,
        intended: &CheckpointKeyIntended,
    ) -> Result<(), Unfoldable> {
        let Checkpoints { intended: objects, made } = &mut self.checkpoints;
        // Another key later would let whoever has the disk sign a journal of their own.
        if made.is_some() || !objects.insert(intended.object) {
            return Err(Unfoldable::CheckpointKey(entry.seq));
        }
        Ok(())
    }

    pub(super) fn make_checkpoint_key(
        &mut self,
        entry: &Entry,
        new: &CheckpointKeyMade,
    ) -> Result<(), Unfoldable> {
        let Checkpoints { intended, made } = &mut self.checkpoints;
        if made.is_some() || !intended.contains(&new.object) {
            return Err(Unfoldable::CheckpointKey(entry.seq));
        }
        let CheckpointKeyMade { key, object } = new.clone();
        *made = Some(CheckpointKey { object, key, since: entry.seq });
        Ok(())
    }
}
