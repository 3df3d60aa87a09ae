//! Everything that can happen to a vault, and the one way it is written down.
//!
//! A record is one line of canonical JSON (RFC 8785 subset: sorted ASCII keys, no floats, no null,
//! integers below 2^53, 256-bit numbers as decimal strings). Those bytes are what is hashed.
//! Signatures, raw signed transactions, secrets and people's names are never in it.

mod checkpoint;
mod drill;
mod people;
mod request;
mod rescue;
mod snapshot;
mod vault;

use serde::{Deserialize, Serialize};

pub use self::checkpoint::{CheckpointKeyIntended, CheckpointKeyMade};
pub use self::drill::Drilled;
pub use self::people::{
    Choice, Executed, Matter, Party, Proposed, RECOVERY_CREDENTIALS_MAX, RECOVERY_PEOPLE_MAX,
    Recovered, RecoveryBegun, Renewal, Suspended, Voted, Withdrawn,
};
pub use self::request::{
    Asked, Denied, Failed, INLINE_BYTES_MAX, ParkedRecord, RecordedInput, RecordedSlot,
    SignedRecord, Suppressed, Withheld,
};
pub use self::rescue::{RescueDeed, RescueNote, SignedNote};
pub use self::snapshot::Snapshot;
pub use self::vault::{
    Absence, Actor, Adopted, DenialBurst, DestroyAnswered, Destruction, DrainEnded, Environment,
    FenceAnswered, FenceCause, FenceIntended, Frozen, Genesis, Grade, KeyCreated, KeyIntended,
    Order, Priced, Settled, SettledAllowance, Signature, Started, Trigger, UsedElsewhere,
};
use crate::canonical;
use crate::id::{DecisionNumber, Sequence};
pub use crate::people::{Person, Role};
use crate::time::Interval;

/// A record at its place in the journal.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// When it was written.
    pub at: Interval,
    /// What happened.
    pub record: Record,
    /// Its place. Genesis is 1.
    pub seq: Sequence,
}

/// What can happen. Closed: a new kind must break every `match`, and its meaning never changes
/// within a format version.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Record {
    /// The first record. Its leaf hash is the vault's id.
    Genesis(Genesis),
    /// The process started.
    Started(Started),
    /// A key is about to be made in the token.
    KeyIntended(KeyIntended),
    /// It was made.
    KeyCreated(KeyCreated),
    /// A key for checkpoints is about to be made in the token.
    CheckpointKeyIntended(CheckpointKeyIntended),
    /// It was made: from here on it signs what the journal is.
    CheckpointKeyMade(CheckpointKeyMade),
    /// A book came into force.
    Adopted(Adopted),
    /// A watcher told what is mined.
    Settled(Settled),
    /// A pricer told what things cost.
    Priced(Priced),
    /// A stop.
    Frozen(Frozen),
    /// The token is about to be told which keys may not sign, or may again.
    FenceIntended(FenceIntended),
    /// What the token answered.
    FenceAnswered(FenceAnswered),
    /// What the token said when it was told to remove a key.
    DestroyAnswered(Box<DestroyAnswered>),
    /// The time of a drain is over: the key is stopped again.
    DrainEnded(DrainEnded),
    /// A drill of the stop is over.
    Drilled(Box<Drilled>),
    /// Everything that is known up to a record was written to a file of its own.
    Snapshot(Snapshot),
    /// A request was allowed, signed, verified, and allowed again.
    Signed(Box<SignedRecord>),
    /// A request was refused.
    Denied(Box<Denied>),
    /// A request waits for people.
    Parked(Box<ParkedRecord>),
    /// A request was allowed and signed, and refused at the last look.
    Withheld(Box<Withheld>),
    /// A request was allowed and could not be signed.
    Failed(Box<Failed>),
    /// Equal refusals, counted instead of written one by one.
    Suppressed(Suppressed),
    /// A person voted.
    Voted(Box<Voted>),
    /// A person proposes to change the vault itself.
    Proposed(Box<Proposed>),
    /// Enough people agreed to a proposal, and it was done.
    Executed(Executed),
    /// Somebody took back what they asked for or proposed.
    Withdrawn(Withdrawn),
    /// A vote no longer counts.
    Suspended(Suspended),
    /// Recovery credentials announce that they will replace the people.
    RecoveryBegun(Box<RecoveryBegun>),
    /// They have.
    Recovered(Recovered),
}

/// A line that is not the canonical form of an entry.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableEntry {
    /// It does not parse as one.
    #[error("not a record: {0}")]
    Parse(#[from] serde_json::Error),
    /// It parses, but is not written as it must be.
    #[error("a record, but not in canonical form")]
    NotCanonical,
}

impl Entry {
    /// The canonical bytes.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        canonical::to_vec(self)
    }

    /// From canonical bytes, and only from those.
    pub fn decode(line: &[u8]) -> Result<Self, UnreadableEntry> {
        let entry: Self = serde_json::from_slice(line)?;
        if entry.encode()? == line { Ok(entry) } else { Err(UnreadableEntry::NotCanonical) }
    }
}

impl Record {
    /// The decision this record reports, if it reports one.
    pub fn asked(&self) -> Option<&Asked> {
        match self {
            Self::Signed(record) => Some(&record.asked),
            Self::Denied(record) => Some(&record.asked),
            Self::Parked(record) => Some(&record.asked),
            Self::Withheld(record) => Some(&record.asked),
            Self::Failed(record) => Some(&record.asked),
            Self::Genesis(_)
            | Self::Started(_)
            | Self::KeyIntended(_)
            | Self::KeyCreated(_)
            | Self::CheckpointKeyIntended(_)
            | Self::CheckpointKeyMade(_)
            | Self::Adopted(_)
            | Self::Settled(_)
            | Self::Priced(_)
            | Self::Frozen(_)
            | Self::FenceIntended(_)
            | Self::FenceAnswered(_)
            | Self::DestroyAnswered(_)
            | Self::DrainEnded(_)
            | Self::Drilled(_)
            | Self::Snapshot(_)
            | Self::Suppressed(_)
            | Self::Voted(_)
            | Self::Proposed(_)
            | Self::Executed(_)
            | Self::Withdrawn(_)
            | Self::Suspended(_)
            | Self::RecoveryBegun(_)
            | Self::Recovered(_) => None,
        }
    }

    /// Open reservations that this record says it counted; the others count none, or need not say.
    pub fn counted(&self) -> &[DecisionNumber] {
        match self {
            Self::Denied(record) => &record.counted,
            Self::Parked(record) => &record.counted,
            Self::Withheld(record) => &record.counted,
            Self::Signed(_)
            | Self::Failed(_)
            | Self::Genesis(_)
            | Self::Started(_)
            | Self::KeyIntended(_)
            | Self::KeyCreated(_)
            | Self::CheckpointKeyIntended(_)
            | Self::CheckpointKeyMade(_)
            | Self::Adopted(_)
            | Self::Settled(_)
            | Self::Priced(_)
            | Self::Frozen(_)
            | Self::FenceIntended(_)
            | Self::FenceAnswered(_)
            | Self::DestroyAnswered(_)
            | Self::DrainEnded(_)
            | Self::Drilled(_)
            | Self::Snapshot(_)
            | Self::Suppressed(_)
            | Self::Voted(_)
            | Self::Proposed(_)
            | Self::Executed(_)
            | Self::Withdrawn(_)
            | Self::Suspended(_)
            | Self::RecoveryBegun(_)
            | Self::Recovered(_) => &[],
        }
    }

    /// Its kind, as it stands in the journal.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Genesis(_) => "genesis",
            Self::Started(_) => "started",
            Self::KeyIntended(_) => "key_intended",
            Self::KeyCreated(_) => "key_created",
            Self::CheckpointKeyIntended(_) => "checkpoint_key_intended",
            Self::CheckpointKeyMade(_) => "checkpoint_key_made",
            Self::Adopted(_) => "adopted",
            Self::Settled(_) => "settled",
            Self::Priced(_) => "priced",
            Self::Frozen(_) => "frozen",
            Self::FenceIntended(_) => "fence_intended",
            Self::FenceAnswered(_) => "fence_answered",
            Self::DestroyAnswered(_) => "destroy_answered",
            Self::DrainEnded(_) => "drain_ended",
            Self::Drilled(_) => "drilled",
            Self::Snapshot(_) => "snapshot",
            Self::Signed(_) => "signed",
            Self::Denied(_) => "denied",
            Self::Parked(_) => "parked",
            Self::Withheld(_) => "withheld",
            Self::Failed(_) => "failed",
            Self::Suppressed(_) => "suppressed",
            Self::Voted(_) => "voted",
            Self::Proposed(_) => "proposed",
            Self::Executed(_) => "executed",
            Self::Withdrawn(_) => "withdrawn",
            Self::Suspended(_) => "suspended",
            Self::RecoveryBegun(_) => "recovery_begun",
            Self::Recovered(_) => "recovered",
        }
    }
}

/// The format that this version writes.
pub const FORMAT: u64 = 1;
