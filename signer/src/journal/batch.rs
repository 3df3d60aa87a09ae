//! What is appended at once: records, each with the attachments that belong to it.

use alloy_primitives::B256;
use portcullis_policy::tree::leaf_hash;

use super::StorageError;

/// Longest record or attachment, in bytes. A book with 100,000 addresses takes about 5 MB; nothing
/// else comes near.
pub const ENTRY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes before each entry: one for its kind, four for its length.
pub(super) const ENTRY_HEADER_BYTES: usize = 5;

/// Memory that an emptied batch keeps, in bytes.
const KEPT_BYTES: usize = 1024 * 1024;

/// A record or an attachment over [`ENTRY_BYTES_MAX`].
#[derive(Debug, thiserror::Error)]
#[error("an entry of {bytes} bytes is over the {ENTRY_BYTES_MAX} that the journal takes")]
pub struct EntryTooLong {
    /// What was offered.
    pub bytes: usize,
}

/// Which of a batch's entries an entry is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Record,
    Attachment,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Record => 1,
            Self::Attachment => 2,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Record),
            2 => Some(Self::Attachment),
            _ => None,
        }
    }
}

/// Whether a batch may use the space kept back for emergencies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Urgency {
    /// For most records. Needs one free segment to stay behind, or is refused.
    Ordinary,
    /// For stop, withheld, start and checkpoint records, and no others: may use the last segment.
    Emergency,
}

/// Records to append together, in order: all of them become durable, or none.
#[derive(Debug)]
pub struct Batch {
    urgency: Urgency,
    body: Vec<u8>,
    leaves: Vec<B256>,
    loose_attachment: bool,
}

impl Batch {
    /// An empty one for most records.
    pub fn ordinary() -> Self {
        Self::new(Urgency::Ordinary)
    }

    /// An empty one for what must be written even when space runs out.
    pub fn emergency() -> Self {
        Self::new(Urgency::Emergency)
    }

    fn new(urgency: Urgency) -> Self {
        Self { urgency, body: Vec::new(), leaves: Vec::new(), loose_attachment: false }
    }

    /// Empties it for the next batch. It keeps its memory, which it needs again at once, but not
    /// what a large book took.
    pub fn clear(&mut self) {
        self.body.clear();
        self.body.shrink_to(KEPT_BYTES);
        self.leaves.clear();
        self.loose_attachment = false;
    }

    /// Says how urgent it is, whatever was said before.
    pub fn mark(&mut self, urgency: Urgency) {
        self.urgency = urgency;
    }

    /// Adds bytes that are kept beside the record pushed next, and are not in the tree: that
    /// record has to carry their hash.
    pub fn push_attachment(&mut self, bytes: &[u8]) -> Result<(), EntryTooLong> {
        self.push(Kind::Attachment, bytes)?;
        self.loose_attachment = true;
        Ok(())
    }

    /// Adds a record, and a leaf to the tree.
    pub fn push_record(&mut self, bytes: &[u8]) -> Result<(), EntryTooLong> {
        self.push(Kind::Record, bytes)?;
        self.leaves.push(leaf_hash(bytes));
        self.loose_attachment = false;
        Ok(())
    }

    /// The records' leaf hashes, in order.
    pub fn leaves(&self) -> &[B256] {
        &self.leaves
    }

    /// Whether it holds no record yet.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// Size so far, in bytes; the bound on a batch is its writer's to set.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    pub(super) fn urgency(&self) -> Urgency {
        self.urgency
    }

    /// The entries as they are stored. Fails if this is no whole batch.
    pub(super) fn body(&self) -> Result<&[u8], StorageError> {
        if self.loose_attachment {
            return Err(StorageError::LooseAttachment);
        }
        if self.is_empty() {
            return Err(StorageError::Empty);
        }
        Ok(&self.body)
    }

    fn push(&mut self, kind: Kind, bytes: &[u8]) -> Result<(), EntryTooLong> {
        let too_long = EntryTooLong { bytes: bytes.len() };
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(too_long);
        }
        let length = u32::try_from(bytes.len()).map_err(|_| too_long)?;
        self.body.push(kind.code());
        self.body.extend_from_slice(&length.to_be_bytes());
        self.body.extend_from_slice(bytes);
        Ok(())
    }
}
