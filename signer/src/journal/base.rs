//! From where a journal is verified that is not read from its beginning.

use portcullis_policy::id::Epoch;
use portcullis_policy::tree::Frontier;

/// What there is to know of all records up to one.
#[derive(Clone, Debug)]
pub struct Base {
    /// The tree over them.
    pub tree: Frontier,
    /// The epoch of the last of them.
    pub epoch: Epoch,
}
