//! What can be wrong with a journal on disk, where, and what to do about it.
//!
//! None of these is ever repaired in silence: the message is for the person called at night.

use std::io;
use std::path::{Path, PathBuf};

use alloy_primitives::B256;
use portcullis_policy::id::{Epoch, Sequence};

use super::disk::Disk;

/// Why a journal was not opened. Nothing on disk was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Never answered by making one.
    #[error(
        "there is no journal in {}; if there was one, restore the folder from a copy; \
         `portcullis init` is for a new vault only", folder.display()
    )]
    Missing {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// There are files, but not one whole batch.
    #[error(
        "the journal in {} holds no record, so its making was interrupted; nothing was ever \
         signed under it: remove the folder and run `portcullis init` again", folder.display()
    )]
    Unborn {
        /// The journal's.
        folder: PathBuf,
    },
    /// A journal has one writer.
    #[error(
        "another process holds the journal in {}; find and stop it before starting this one",
        folder.display()
    )]
    Held {
        /// The journal's.
        folder: PathBuf,
    },
    /// The operating system refused.
    #[error("{} could not be read or made ready; see the cause, then start again", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A segment was archived, and its archive is not there.
    #[error("{}", away(path, to))]
    Away {
        /// The name that leads there.
        path: PathBuf,
        /// Where it leads.
        to: PathBuf,
    },
    /// Segments follow each other without a gap.
    #[error(
        "{} is missing ({} comes instead); restore it from a copy: \
         without it nothing can be proved", expected.display(), found.display()
    )]
    MissingSegment {
        /// Which file has to be there.
        expected: PathBuf,
        /// Which file stands in its place.
        found: PathBuf,
    },
    /// Named like a part of the journal, yet none.
    #[error("{} is no name of this journal's; move the file away and start again", path.display())]
    StrangeFile {
        /// The file.
        path: PathBuf,
    },
    /// Something does not verify.
    #[error("{} at byte {position}: {fault}; {}", path.display(), fault.remedy())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes from its start.
        position: u64,
        /// What is wrong there.
        fault: Fault,
    },
}

impl ReadError {
    /// What whoever reads from elsewhere is told: a stable reason, and words without a path.
    pub fn told(&self) -> (&'static str, &'static str) {
        match self {
            Self::Away { .. } => (
                "JOURNAL_ARCHIVED",
                "that part of the journal is in the archive, which is not there now: have the \
                 operator mount it",
            ),
            Self::Io { .. } | Self::Damaged { .. } => {
                ("JOURNAL_UNREADABLE", "the journal cannot be read")
            }
        }
    }
}

fn away(path: &Path, to: &Path) -> String {
    format!(
        "{} was archived to {}, which is not there: mount the archive, or put the file back",
        path.display(),
        to.display()
    )
}

/// What it means that a file of the journal cannot be opened or read: its archive may be away, by
/// whatever a network file system says then.
pub(super) fn unopened(disk: &dyn Disk, path: PathBuf, source: io::Error) -> ReadError {
    let is_away = matches!(
        source.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::NotConnected
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::StaleNetworkFileHandle
            | io::ErrorKind::TimedOut
    );
    match is_away.then(|| disk.leads_to(&path)).flatten() {
        Some(to) => ReadError::Away { path, to },
        None => ReadError::Io { path, source },
    }
}

/// Why a journal was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// It is never replaced.
    #[error("{} holds a journal, or part of one; choose another folder", folder.display())]
    Exists {
        /// The folder.
        folder: PathBuf,
    },
    /// A segment's size has bounds.
    #[error("a segment of {bytes} bytes is not possible: give a multiple of 4096, up to 1 GiB")]
    SegmentBytes {
        /// What was asked for.
        bytes: u64,
    },
    /// The folder could not be taken or its first segment not made.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Why a record that is durable could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system refused.
    #[error("{} could not be read", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Its segment was archived, and the archive is not there.
    #[error("{}", away(path, to))]
    Away {
        /// The name that leads there.
        path: PathBuf,
        /// Where it leads.
        to: PathBuf,
    },
    /// It verified when it was opened or written, and does not now. Stop signing.
    #[error("{} at byte {position}: {fault}; {}", path.display(), fault.remedy())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes from its start.
        position: u64,
        /// What is wrong there.
        fault: Fault,
    },
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io { path, source } => Self::Io { path, source },
            ReadError::Away { path, to } => Self::Away { path, to },
            ReadError::Damaged { path, position, fault } => Self::Damaged { path, position, fault },
        }
    }
}

/// What is wrong at one place of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// A sector is neither as it was written nor still zero.
    #[error("the checksum does not match")]
    Checksum,
    /// A batch should begin here, and something else does.
    #[error("what stands here is no batch")]
    NotABatch,
    /// From another release.
    #[error(
        "the batch is of format {found}, and this program knows format {}",
        super::frame::FORMAT
    )]
    Format {
        /// The number found.
        found: u32,
    },
    /// A batch is missing, double or out of order.
    #[error("record {found} stands where record {expected} belongs")]
    Order {
        /// What comes next.
        expected: Sequence,
        /// What is there.
        found: Sequence,
    },
    /// A writer that had been replaced went on.
    #[error("a batch of epoch {found} follows one of epoch {newest}")]
    Epoch {
        /// The newest before it.
        newest: Epoch,
        /// The batch's.
        found: Epoch,
    },
    /// The records are not those that were recorded.
    #[error("the tree over all records has root {found}, and the batch says {stated}")]
    Root {
        /// As the batch says.
        stated: B256,
        /// As computed.
        found: B256,
    },
    /// The batch's parts do not add up to the batch.
    #[error("the batch's entries do not add up")]
    Entries,
    /// A batch ends outside of its file.
    #[error("the batch is longer than the file")]
    Overrun,
    /// Bytes other than zero where nothing was ever written.
    #[error("there are bytes after the last batch that are no part of one")]
    Garbage,
    /// Only the very last batch can have been interrupted.
    #[error("the batch is incomplete, and it is not the last")]
    Incomplete,
    /// All of a journal's files have one length.
    #[error("the file has {found} bytes, and the journal's first has {expected}")]
    Length {
        /// The first segment's.
        expected: u64,
        /// This file's.
        found: u64,
    },
}

impl Fault {
    /// What a person can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Format { .. } => "start the release that wrote it",
            Self::Checksum
            | Self::NotABatch
            | Self::Order { .. }
            | Self::Epoch { .. }
            | Self::Root { .. }
            | Self::Entries
            | Self::Overrun
            | Self::Garbage
            | Self::Incomplete
            | Self::Length { .. } => {
                "edit nothing: keep the folder as evidence, restore the file from a copy, and \
                 check the copy with `portctl audit verify` against a head you kept"
            }
        }
    }
}
