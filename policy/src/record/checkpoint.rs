//! The key that signs what the journal is.

use alloy_primitives::B128;
use serde::{Deserialize, Serialize};

use crate::note::NoteKey;

/// A key for checkpoints is about to be made in the token.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointKeyIntended {
    /// Which: 16 random bytes, after `ckpt` its `CKA_ID`.
    pub object: B128,
}

/// A key for checkpoints was made, and signed something to prove it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointKeyMade {
    /// Its public key.
    pub key: NoteKey,
    /// Which, as intended.
    pub object: B128,
}
