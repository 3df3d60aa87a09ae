//! `portcullis init`: makes the first journal of a vault out of a proposal that the first people
//! have signed. Never touches one that exists.

mod ceremony;
mod proposal;

use std::path::{Path, PathBuf};

use portcullis_policy::book::Faults;
use portcullis_policy::id::{Epoch, Sequence, VaultId};
use portcullis_policy::record::{Entry, Genesis, Record};
use portcullis_policy::state::State;
use portcullis_policy::tree::leaf_hash;

use self::ceremony::Ceremony;
pub use self::ceremony::Outstanding;
use crate::clock::Clock;
use crate::config::Config;
use crate::journal::{
    Batch, CreateError, EntryTooLong, SEGMENT_BYTES_DEFAULT, Segments, Storage, StorageError,
};

/// A vault that was not made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A segment could not hold the largest transaction beside its record.
    #[error("segment_bytes is {bytes}; it takes at least {SEGMENT_BYTES_MIN}")]
    SegmentBytes {
        /// What the configuration says.
        bytes: u64,
    },
    /// A file cannot be read.
    #[error("{path:?} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The proposal does not say what it must.
    #[error("{path:?} is not a genesis proposal: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what.
        message: String,
    },
    /// The book has faults.
    #[error("{path:?} cannot be the first book:\n{}", lines(faults))]
    Book {
        /// The file.
        path: PathBuf,
        /// All of them.
        faults: Faults,
    },
    /// Two people share an id or a control certificate.
    #[error("{0:?} stands for more than one person")]
    Twice(String),
    /// A person's control name is also a caller's.
    #[error("{0:?} is a caller in the book: a service's certificate gets no control verb")]
    AlsoCaller(String),
    /// Nobody could do it later; without a watcher, what its reports lower only fills up.
    #[error("nobody has the role {0}: add a person who has")]
    Nobody(&'static str),
    /// The owners of a caller are not people of the vault.
    #[error("the book names {0:?}, who is not among the people")]
    Stranger(String),
    /// A vault for more than play whose people cannot decide anything.
    #[error(
        "a vault for {0} needs [quorum.thaw] and the others, and credentials of its people: \
         without them what is stopped stays stopped"
    )]
    Ungoverned(&'static str),
    /// Quorums that cannot be.
    #[error("the vault could not be governed:\n  {}", .0.join("\n  "))]
    Ungovernable(Vec<String>),
    /// The folder holds a ceremony over something else.
    #[error(
        "{folder:?} holds a ceremony over another proposal, which some may have signed: use \
         another folder, or undo the change"
    )]
    OtherDraft {
        /// The folder.
        folder: PathBuf,
    },
    /// A signature file that is nobody's.
    #[error(
        "{path:?} is no signature over the statement by a credential in the proposal: sign again \
         with ssh-keygen -Y sign -n genesis.v1@portcullis, or take it away"
    )]
    Stray {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("{path:?} cannot be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The genesis record does not fold.
    #[error("the genesis record could not be started from")]
    Fold(#[from] portcullis_policy::state::Unfoldable),
    /// The journal cannot be made.
    #[error("the journal cannot be made")]
    Create(#[from] CreateError),
    /// The genesis record cannot be written.
    #[error("the genesis record cannot be written")]
    Append(#[from] StorageError),
    /// The book is too large for one record.
    #[error("the first book is too large")]
    TooLong(#[from] EntryTooLong),
    /// The record cannot be written down.
    #[error("the genesis record cannot be written down")]
    Encode(#[from] serde_json::Error),
    /// The operating system gives no random bytes.
    #[error("no randomness")]
    NoRandomness,
}

/// The largest transaction is 128 KiB, and its record stands beside it in one batch.
const SEGMENT_BYTES_MIN: u64 = 256 * 1024;

/// How far a vault has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Made {
    /// It is there.
    Vault(VaultId),
    /// The first people have not all signed.
    Waits {
        /// The text that everybody signs.
        statement: PathBuf,
        /// Who has not, and with what.
        missing: Vec<Outstanding>,
    },
}

/// Makes the journal once everybody has signed, or says who has not. Where nobody has anything to
/// sign with, which only a vault for play may be, it makes it at once.
pub fn init(config: &Config, proposal: &Path, ceremony: Option<&Path>) -> Result<Made, InitError> {
    let segment_bytes = config.segment_bytes.unwrap_or(SEGMENT_BYTES_DEFAULT);
    if segment_bytes < SEGMENT_BYTES_MIN {
        return Err(InitError::SegmentBytes { bytes: segment_bytes });
    }
    let proposed = proposal::read(proposal)?;
    if ceremony::credentials(&proposed).next().is_none() {
        return write(config, proposed, segment_bytes).map(Made::Vault);
    }
    let beside = proposal.parent().unwrap_or(Path::new(".")).join("ceremony");
    let folder = ceremony.unwrap_or(&beside);
    let ceremony = Ceremony::open(folder, || Ok(proposed))?;
    let (genesis, missing) = ceremony.collect()?;
    if missing.is_empty() {
        return write(config, genesis, segment_bytes).map(Made::Vault);
    }
    Ok(Made::Waits { statement: ceremony.statement_path(), missing })
}

fn write(config: &Config, genesis: Genesis, segment_bytes: u64) -> Result<VaultId, InitError> {
    let entry =
        Entry { at: Clock::genesis().now(), record: Record::Genesis(genesis), seq: Sequence(1) };
    // What cannot be started from is not written.
    State::genesis(&entry)?;
    let line = entry.encode()?;
    let mut batch = Batch::ordinary();
    batch.push_record(&line)?;
    let mut storage = Segments::create(&config.data, segment_bytes)?;
    let _durable = storage.append_if_owner(Epoch(0), &batch)?;
    Ok(VaultId(leaf_hash(&line)))
}

fn read_text(path: &Path) -> Result<String, InitError> {
    std::fs::read_to_string(path).map_err(|source| InitError::Read { path: path.into(), source })
}

fn lines(faults: &Faults) -> String {
    let lines = faults.0.iter().map(|fault| {
        format!(
            "  line {}, column {}: {} ({})",
            fault.line, fault.column, fault.message, fault.hint
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}
