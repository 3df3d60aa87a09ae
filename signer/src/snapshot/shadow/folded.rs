//! What the token signs of a snapshot, and the proof that it may.

use alloy_primitives::B256;
use portcullis_policy::id::{Sequence, VaultId};
use portcullis_policy::request::sha256;
use portcullis_policy::state::CheckpointKey;
use portcullis_policy::tree::Tiles;

use crate::journal::Head;

/// A snapshot as it was when the fold passed its last record.
pub(super) struct Taken {
    vault: VaultId,
    upto: Sequence,
    key: CheckpointKey,
    body: Vec<u8>,
}

/// A snapshot that says what the records come to which this process has recorded and read again:
/// what the token may sign one of.
///
/// Made only by the shadow, of its own fold, once that was held against the writer. Never derive
/// `Clone`, `Default` or `Deserialize` here.
///
/// ```compile_fail,E0451
/// use portcullis_policy::id::{Sequence, VaultId};
///
/// fn made(vault: VaultId, upto: Sequence) -> portcullis::snapshot::Folded {
///     portcullis::snapshot::Folded { vault, upto, hash: vault.0 }
/// }
/// ```
#[derive(Debug)]
#[must_use = "a snapshot that is not signed is not used"]
pub struct Folded {
    vault: VaultId,
    upto: Sequence,
    hash: B256,
}

impl Taken {
    pub(super) fn new(vault: VaultId, upto: Sequence, key: CheckpointKey, body: Vec<u8>) -> Self {
        Self { vault, upto, key, body }
    }

    pub(super) fn upto(&self) -> Sequence {
        self.upto
    }

    pub(super) fn key(&self) -> &CheckpointKey {
        &self.key
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The proof, if the records read since are those that the writer knows: somebody may have
    /// changed the disk between the start and the reading, and may change it back.
    pub(super) fn folded(&self, read: &Tiles, head: &Head) -> Option<Folded> {
        let is_held = read.size() == head.sequence.0 && read.frontier().root() == head.root;
        let Self { vault, upto, .. } = *self;
        let hash = sha256(&self.body);
        (is_held && upto <= head.sequence).then_some(Folded { vault, upto, hash })
    }
}

impl Folded {
    /// What is signed.
    pub fn text(&self) -> String {
        text(self.vault, self.upto, self.hash)
    }

    /// SHA-256 over the file, without its signature.
    pub(super) fn hash(&self) -> B256 {
        self.hash
    }
}

/// What is signed of a snapshot, with the key for checkpoints: no checkpoint, now or ever, because
/// the first line of those (C2SP tlog-checkpoint: the origin) begins with `portcullis/`.
pub(in crate::snapshot) fn text(vault: VaultId, upto: Sequence, hash: B256) -> String {
    let [vault, hash] = [vault.0, hash].map(hex::encode);
    format!("portcullis snapshot v1\n{vault}\n{upto}\n{hash}\n")
}
