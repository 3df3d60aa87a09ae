//! What lets a start begin at a later record than the first.

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

use crate::id::Sequence;

/// The fold of all records up to one was written to a file. Only under a checkpoint does this say
/// anything: whoever has the disk can write a file, and a record that names it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// SHA-256 over the file.
    pub hash: B256,
    /// The last record that was folded.
    pub upto: Sequence,
}
