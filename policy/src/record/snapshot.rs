//! What lets a start begin at a later record than the first.

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

use crate::id::Sequence;

/// The fold of all records up to one was written to a file. This tells auditors; no start believes
/// it: whoever has the disk can write a file, and a record that names it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// What wrote it: [`code`](crate::state::code). Another one's state is written otherwise, and
    /// its hash cannot be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<B256>,
    /// SHA-256 over the file, without its signature.
    pub hash: B256,
    /// The last record that was folded.
    pub upto: Sequence,
}
