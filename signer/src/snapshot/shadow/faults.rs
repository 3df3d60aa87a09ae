//! What may come out otherwise than it must, or not at all.

use std::fs;
use std::io;
use std::path::Path;

use portcullis_policy::id::Sequence;
use portcullis_policy::record::UnreadableEntry;
use portcullis_policy::state::{ImageFault, Unfoldable};

use crate::hsm::HsmError;
use crate::journal::ReadError;
use crate::refusal::Refusal;

/// Why the thread does not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Halt {
    #[error("record {at} cannot be understood")]
    Entry {
        at: Sequence,
        #[source]
        source: UnreadableEntry,
    },
    #[error("it does not fold")]
    Fold(#[from] Unfoldable),
    #[error("it cannot be read")]
    Read(#[from] ReadError),
    #[error("up to record {at} it holds other records than {whose} speaks of")]
    Root { at: u64, whose: &'static str },
    #[error("up to record {at} it comes to something else than the snapshot that was used says")]
    Snapshot { at: u64 },
    #[error(
        "record {at} names a snapshot of everything up to record {upto} that says something else \
         than those records come to"
    )]
    Named { at: Sequence, upto: Sequence },
    #[error("the state cannot be written down")]
    Image(#[from] ImageFault),
}

/// Why no snapshot was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unwritten {
    #[error("it cannot be written to the disk")]
    Disk(#[from] io::Error),
    #[error("it cannot be recorded")]
    Record(#[from] Refusal),
    #[error("the token did not sign it")]
    Token(#[from] HsmError),
    #[error("the journal was not read up to a place that the writer knows")]
    Unheld,
    #[error("one of as many records is recorded already")]
    Older,
}

impl Halt {
    /// Whether a segment is only away, with the whole archive in which somebody said that it may
    /// be. One that is missing while others are there was taken away.
    pub(super) fn is_away_in(&self, archive: Option<&Path>) -> bool {
        match (self, archive) {
            (Self::Read(ReadError::Away { path, to }), Some(archive)) => {
                let is_its_own = path.file_name().is_some_and(|name| *to == archive.join(name));
                is_its_own && !holds_segments(archive)
            }
            _ => false,
        }
    }

    /// Whether the journal is not what it must be; else it only could not be read just now.
    pub(super) fn is_mismatch(&self) -> bool {
        match self {
            Self::Entry { .. }
            | Self::Fold(_)
            | Self::Root { .. }
            | Self::Snapshot { .. }
            | Self::Named { .. }
            | Self::Image(_) => true,
            Self::Read(ReadError::Damaged { .. }) => true,
            // A segment that was taken away.
            Self::Read(ReadError::Away { .. }) => true,
            Self::Read(ReadError::Io { source, .. }) => source.kind() == io::ErrorKind::NotFound,
        }
    }
}

fn holds_segments(folder: &Path) -> bool {
    let is_segment = |path: &Path| path.extension().is_some_and(|end| end == "journal");
    fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| is_segment(&entry.path())))
    })
}
