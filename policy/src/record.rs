//! Everything that can happen to a vault, and the one way it is written down.
//!
//! A record is one line of canonical JSON (RFC 8785 subset: sorted ASCII keys, no floats, no null,
//! integers below 2^53, 256-bit numbers as decimal strings). Those bytes are what is hashed.
//! Signatures, raw signed transactions, secrets and people's names are never in it.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::finding::Reason;
use crate::id::{
    BookHash, CallerId, ChainId, DecisionNumber, Digest, Epoch, KeyId, KeyLabel, PersonId,
    Sequence, Tag,
};
use crate::ledger::{Place, Slot};
use crate::money::{Amount, Charges};
use crate::request::{Asker, Input, Request, sha256};
use crate::stops::Scope;
use crate::time::{Interval, Millis};

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
    /// A book came into force.
    Adopted(Adopted),
    /// A watcher told what is mined.
    Settled(Settled),
    /// A pricer told what things cost.
    Priced(Priced),
    /// A stop.
    Frozen(Frozen),
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
}

/// The first people, rules and names. Signed by nobody yet: the ceremony comes with quorums.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// The first book.
    pub book: String,
    /// Development, staging or production: each a vault of its own.
    pub environment: Environment,
    /// Version of the records' form and of what decisions mean.
    pub format: u64,
    /// The first people.
    pub people: Vec<Person>,
    /// 32 random bytes, so that no two vaults share an id.
    pub salt: B256,
}

/// What a vault is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// Play.
    Development,
    /// Rehearsal.
    Staging,
    /// Money.
    Production,
}

/// A person: an id, what they may do, and how they are known on the control plane.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// The one name (SPIFFE URI or DNS) in their control certificate.
    pub control: String,
    /// Their id. Not a name: journals are handed to auditors.
    pub id: PersonId,
    /// What they may do.
    pub roles: BTreeSet<Role>,
}

/// What a person may do.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Votes on parked requests.
    Approver,
    /// Reads everything.
    Auditor,
    /// Makes keys, proposes books.
    Operator,
    /// Reports reference prices.
    Pricer,
    /// Freezes.
    Security,
    /// Reports what is mined.
    Watcher,
}

/// The process started.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Started {
    /// The machine's boot, as the kernel names it: within one boot the boot clock goes on.
    pub boot: String,
    /// What the boot clock said, milliseconds.
    pub boot_clock: Millis,
    /// Bytes of an incomplete batch that were cut from the end.
    pub cut: u64,
    /// Which start this is.
    pub epoch: Epoch,
    /// Decisions that were open when the process before ended.
    pub lost: Vec<DecisionNumber>,
    /// Version of the program.
    pub version: String,
    /// What the wall clock said.
    pub wall_clock: Millis,
}

/// A key is about to be made.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyIntended {
    /// Who asked for it.
    pub by: PersonId,
    /// Its id.
    pub key: KeyId,
    /// Its name in books.
    pub label: KeyLabel,
    /// Who answers for it.
    pub owner: PersonId,
    /// What it is for.
    pub purpose: String,
    /// Its tags.
    pub tags: BTreeSet<Tag>,
}

/// A key was made, checked, and proved by a signature.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyCreated {
    /// Its address.
    pub address: Address,
    /// Its id, as intended.
    pub key: KeyId,
    /// Its public point, uncompressed SEC1: 65 bytes as hex.
    pub point: String,
}

/// A book came into force.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adopted {
    /// Its bytes.
    pub book: String,
    /// Who adopted it.
    pub by: PersonId,
}

/// A watcher told what is mined.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settled {
    /// Allowances that stand, of those that were granted.
    pub allowances: Vec<SettledAllowance>,
    /// Who told.
    pub by: PersonId,
    /// On which chain.
    pub chain: ChainId,
    /// Of which key.
    pub key: KeyId,
    /// The account's transaction count: all nonces below it are mined. A decimal string.
    pub nonce: String,
    /// The timestamp of the block that was read. Absent: nobody said; then no permit is known to be
    /// over by this report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Millis>,
}

/// An allowance as it stands on the chain.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettledAllowance {
    /// Base units.
    pub amount: Amount,
    /// Who may take it.
    pub spender: Address,
    /// The token's contract.
    pub token: Address,
}

/// A pricer told what things cost.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Priced {
    /// Who told.
    pub by: PersonId,
    /// Millionths of a USD for one whole unit, by the asset's name in the book.
    pub prices: BTreeMap<String, Amount>,
}

/// A stop.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frozen {
    /// Who stopped it.
    pub by: Actor,
    /// Why.
    pub reason: String,
    /// What.
    pub scope: Scope,
}

/// Who did something.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Actor {
    /// A person.
    Person(PersonId),
    /// The signer itself, on an alarm.
    Signer,
}

/// What a decision was asked, and when.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// When it was decided.
    pub at: Interval,
    /// Who asked.
    pub by: Asker,
    /// What would be signed.
    pub digest: Digest,
    /// The input, or its hash.
    pub input: RecordedInput,
    /// Its place in the order of decisions.
    pub number: DecisionNumber,
    /// The last record folded when it was decided.
    pub seen: Sequence,
}

/// An input as records hold it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RecordedInput {
    /// An EIP-7702 authorization, as 0x-hex.
    Delegation(String),
    /// A message of EIP-4361, as it came: it is never large.
    Message(String),
    /// An unsigned transaction of at most [`INLINE_BYTES_MAX`], as 0x-hex.
    Transaction(String),
    /// A larger one: the SHA-256 of an attachment written just before the record.
    TransactionSha256(B256),
    /// Typed data of at most [`INLINE_BYTES_MAX`], as it came.
    Typed(String),
    /// Larger typed data: the SHA-256 of an attachment.
    TypedSha256(B256),
}

/// A signature was recorded, and may be released.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedRecord {
    /// What was asked.
    pub asked: Asked,
    /// The book it was allowed under.
    pub book: BookHash,
    /// What it may cost at most.
    pub charge: Charges,
    /// Whom the key never paid before, if the book asks people about such payments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first_payments: Vec<Address>,
    /// The record that first signed this digest: it is not charged again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<Sequence>,
    /// SHA-256 over the 65 bytes of the signature. The signature itself is in no record.
    pub signature_sha256: B256,
    /// The slot it is charged to.
    pub slot: RecordedSlot,
}

/// A slot of the key that was asked for, and when it is known what became of it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedSlot {
    /// Whether it acts for a Safe: what that lets others take is the Safe's, and no report tells
    /// of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub as_safe: bool,
    /// The chain.
    pub chain: ChainId,
    /// From when on typed data can surely not be used. Absent: that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Millis>,
    /// The nonce, in decimal: a string, because nonces pass 2^53. Absent where the digest is the
    /// slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

impl RecordedSlot {
    /// The form records hold.
    pub(crate) fn of(request: &Request, as_safe: bool) -> Self {
        let slot = request.slot();
        let nonce = match slot.place {
            Place::Nonce(nonce) => Some(nonce.to_string()),
            Place::Digest(_) => None,
        };
        Self { as_safe, chain: slot.chain, ends: request.ends(), nonce }
    }

    /// The slot, for a signature by this key over this digest. `None` if the nonce is no number in
    /// its one form.
    pub fn resolve(&self, key: KeyId, digest: Digest) -> Option<Slot> {
        let place = match &self.nonce {
            Some(text) => {
                let nonce: u64 = text.parse().ok()?;
                Some(Place::Nonce(nonce)).filter(|_| nonce.to_string() == *text)?
            }
            None => Place::Digest(digest),
        };
        Some(Slot { key, chain: self.chain, place })
    }
}

/// A request was refused.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denied {
    /// What was asked.
    pub asked: Asked,
    /// The book in force.
    pub book: BookHash,
    /// The open reservations that were counted.
    pub counted: Vec<DecisionNumber>,
    /// Why: everything every rule had against it.
    pub reasons: Vec<Reason>,
}

/// A request waits for people.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParkedRecord {
    /// What was asked.
    pub asked: Asked,
    /// The book in force.
    pub book: BookHash,
    /// The open reservations that were counted.
    pub counted: Vec<DecisionNumber>,
    /// When it expires.
    pub expires: Millis,
    /// The quorums that are missing, in the words of the book.
    pub missing: Vec<String>,
    /// Names it: the first 16 bytes of a hash over caller, key and digest, as hex:
    /// [`ParkedRecord::name`].
    pub parked: String,
}

impl ParkedRecord {
    /// What such a request is called: the same request, parked again, has the same name.
    pub fn name(by: &Asker, digest: Digest) -> String {
        let text = format!("{}\n{}\n{digest}", by.caller, by.key);
        hex::encode(sha256(text.as_bytes())).chars().take(32).collect()
    }
}

/// A signature was made and not released.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Withheld {
    /// What was asked.
    pub asked: Asked,
    /// The open reservations that were counted at the last look.
    pub counted: Vec<DecisionNumber>,
    /// What was said at the last look.
    pub reasons: Vec<Reason>,
}

/// A request was allowed and could not be signed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failed {
    /// What was asked.
    pub asked: Asked,
    /// Which fault: a stable code.
    pub fault: String,
}

/// Equal refusals that were only counted. They change no state and are outside replay.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suppressed {
    /// Whose.
    pub caller: CallerId,
    /// The first reason they shared.
    pub code: String,
    /// How many.
    pub count: u64,
    /// For which key; all zeros: for keys that do not exist.
    pub key: KeyId,
}

/// An entry as bytes: the line that is hashed, and the attachment that goes before it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Encoded {
    /// Canonical JSON, without a newline.
    pub line: Vec<u8>,
    /// An input too large to be inline.
    pub attachment: Option<Vec<u8>>,
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

impl RecordedInput {
    /// How an input is recorded, and the attachment if it is large.
    pub fn of(input: &Input) -> (Self, Option<Vec<u8>>) {
        let inline = input.size() <= INLINE_BYTES_MAX;
        let hex = |bytes| format!("0x{}", hex::encode(bytes));
        match input {
            Input::Transaction(bytes) if inline => (Self::Transaction(hex(bytes)), None),
            Input::Transaction(bytes) => {
                (Self::TransactionSha256(sha256(bytes)), Some(bytes.clone()))
            }
            Input::Typed(text) if inline => (Self::Typed(text.clone()), None),
            Input::Typed(text) => {
                (Self::TypedSha256(sha256(text.as_bytes())), Some(text.clone().into_bytes()))
            }
            Input::Message(text) => {
                (Self::Message(String::from_utf8_lossy(text).into_owned()), None)
            }
            Input::Delegation(bytes) => (Self::Delegation(hex(bytes)), None),
        }
    }

    /// The input again. `attachment` finds bytes by their SHA-256. `None` if they are not there.
    pub fn resolve(&self, attachment: impl FnOnce(B256) -> Option<Vec<u8>>) -> Option<Input> {
        let bytes = |text: &str| hex::decode(text.strip_prefix("0x")?).ok();
        let named = |name: &B256| attachment(*name).filter(|bytes| sha256(bytes) == *name);
        match self {
            Self::Transaction(text) => bytes(text).map(Input::Transaction),
            Self::TransactionSha256(name) => named(name).map(Input::Transaction),
            Self::Typed(text) => Some(Input::Typed(text.clone())),
            Self::TypedSha256(name) => {
                named(name).and_then(|bytes| String::from_utf8(bytes).ok()).map(Input::Typed)
            }
            Self::Message(text) => Some(Input::Message(text.clone().into_bytes())),
            Self::Delegation(text) => bytes(text).map(Input::Delegation),
        }
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
            | Self::Adopted(_)
            | Self::Settled(_)
            | Self::Priced(_)
            | Self::Frozen(_)
            | Self::Suppressed(_) => None,
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
            | Self::Adopted(_)
            | Self::Settled(_)
            | Self::Priced(_)
            | Self::Frozen(_)
            | Self::Suppressed(_) => &[],
        }
    }

    /// Its kind, as it stands in the journal.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Genesis(_) => "genesis",
            Self::Started(_) => "started",
            Self::KeyIntended(_) => "key_intended",
            Self::KeyCreated(_) => "key_created",
            Self::Adopted(_) => "adopted",
            Self::Settled(_) => "settled",
            Self::Priced(_) => "priced",
            Self::Frozen(_) => "frozen",
            Self::Signed(_) => "signed",
            Self::Denied(_) => "denied",
            Self::Parked(_) => "parked",
            Self::Withheld(_) => "withheld",
            Self::Failed(_) => "failed",
            Self::Suppressed(_) => "suppressed",
        }
    }
}

/// The format that this version writes.
pub const FORMAT: u64 = 1;

/// Inputs up to this size stand in the record itself; larger ones beside it.
pub const INLINE_BYTES_MAX: usize = 8 * 1024;
