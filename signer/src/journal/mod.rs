//! Keeps records in order and for good, and knows nothing of what they mean: to it they are bytes.
//!
//! [`Storage::append_if_owner`] returns only when its batch is durable, and its [`Durable`] is the
//! proof of that: nothing that a record permits may be visible before one is in hand. There are
//! two implementors: [`Segments`] keeps files in one folder, [`Memory`] serves tests. A [`Reader`]
//! sees durable records only.
//!
//! A missing or damaged journal is never replaced by a fresh one here. A write or sync that failed
//! is never tried again: the storage is poisoned, and the process has to end and open it anew.
//! Removing whole records from the end leaves a shorter journal that is sound in itself; that is
//! found by comparing it with a checkpoint, a witness or the token's marker, which is not done
//! here.

mod apart;
mod archive;
mod base;
mod batch;
mod disk;
mod durable;
mod fault;
mod frame;
mod memory;
mod places;
mod reader;
mod segments;
mod spares;
#[cfg(test)]
mod tests;
mod verify;
mod walk;

use std::fmt;
use std::io;

use alloy_primitives::B256;
use portcullis_policy::id::{Epoch, Sequence};
use portcullis_policy::tree::empty_root;

pub use apart::{Apart, ApartError};
pub use archive::{Archive, ArchiveError, Moved};
pub use base::Base;
pub use batch::{Batch, ENTRY_BYTES_MAX, EntryTooLong, Urgency};
pub use fault::{CreateError, Fault, OpenError, ReadError};
pub use memory::Memory;
pub use places::{Kept, Places, PlacesError};
pub use reader::{Reader, Records, Stored, Tip};
pub use segments::{Cut, Opened, SEGMENT_BYTES_DEFAULT, Segments};

/// One ordered sequence of records with one writer at a time.
pub trait Storage: Send {
    /// Appends the batch as a whole and returns when it is durable.
    ///
    /// A higher epoch takes the storage over: from then on a lower one gets
    /// [`StorageError::NotOwner`]. After [`StorageError::Io`] every call gives
    /// [`StorageError::Poisoned`]; after any other error nothing has changed.
    fn append_if_owner(&mut self, epoch: Epoch, batch: &Batch) -> Result<Durable, StorageError>;

    /// What is durable now.
    fn head(&self) -> Head;

    /// Whether there is room for more. Ask before admitting a request, not before a commit.
    fn space(&self) -> Space;

    /// The longest record or attachment that fits, in bytes.
    fn entry_bytes_max(&self) -> usize;

    /// Reads what is durable, from any thread, while this goes on appending.
    fn reader(&self) -> Reader;
}

/// Where a journal ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// The last record's; 0 if there is none. Also the number of records.
    pub sequence: Sequence,
    /// Root of the RFC 6962 tree over all records' bytes.
    pub root: B256,
    /// The newest that has appended; 0 if none has.
    pub epoch: Epoch,
}

impl Head {
    /// Of a journal without records.
    pub fn empty() -> Self {
        Self { sequence: Sequence(0), root: empty_root(), epoch: Epoch(0) }
    }
}

/// Proof that a batch is on stable storage.
///
/// Made only by [`Storage::append_if_owner`]. Never derive `Clone` or `Default` here: each would
/// be a second way to make one.
///
/// ```compile_fail,E0451
/// use portcullis::journal::{Durable, Head};
/// use portcullis_policy::id::Sequence;
///
/// let forged = Durable { first: Sequence(1), head: Head::empty() };
/// ```
#[derive(Debug, Eq, PartialEq)]
#[must_use = "what the batch permits waits for this"]
pub struct Durable {
    first: Sequence,
    head: Head,
}

impl Durable {
    /// The batch's first record's; the following ones count on from there.
    pub fn first(&self) -> Sequence {
        self.first
    }

    /// Where the journal ended right after the batch.
    pub fn head(&self) -> Head {
        self.head
    }
}

/// How much room is left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Space {
    /// A new segment is ready when the present one is full.
    Ample,
    /// One free segment is left and no other can be made. Admit nothing more: ordinary batches
    /// still fit into the rest of the present segment, and the free one takes emergencies only.
    Low,
    /// No free segment is left. Emergencies fit into the rest of the present one; nothing else.
    Exhausted,
}

/// Why a batch was not appended.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A caller's mistake.
    #[error("the batch holds no record")]
    Empty,
    /// A caller's mistake: attachments belong to the record that follows.
    #[error("the batch ends with an attachment that belongs to no record")]
    LooseAttachment,
    /// It would not fit into an empty segment.
    #[error("the batch needs {bytes} bytes and a segment holds {bytes_max}")]
    TooLarge {
        /// What the batch takes on disk.
        bytes: u64,
        /// What a segment holds.
        bytes_max: u64,
    },
    /// Somebody else writes here now. End the process.
    #[error("epoch {ours} has been replaced by epoch {newest}")]
    NotOwner {
        /// Which tried to append.
        ours: Epoch,
        /// Which owns the storage.
        newest: Epoch,
    },
    /// Not an I/O error: nothing was written, and a batch may be tried again when there is space.
    #[error("no space is left for this batch; free disk space where the journal is")]
    NoSpace,
    /// What is on disk is unknown. End the process; the next start finds out.
    #[error("the journal could not {step}")]
    Io {
        /// What failed.
        step: Step,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An earlier call failed with [`StorageError::Io`].
    #[error("the journal failed before; the process must end and open it anew")]
    Poisoned,
}

/// What a storage does to its disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Write a batch.
    Write,
    /// Make a written batch durable.
    Sync,
    /// Take the next segment into use.
    Roll,
    /// Make another free segment.
    Prepare,
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Write => "write a batch",
            Self::Sync => "make a batch durable",
            Self::Roll => "take the next segment into use",
            Self::Prepare => "prepare a free segment",
        })
    }
}
