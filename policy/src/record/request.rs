//! What becomes of requests: every decision, with its input.

use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};

use crate::finding::Reason;
use crate::id::{BookHash, CallerId, ChainId, DecisionNumber, Digest, KeyId, Sequence};
use crate::ledger::{Place, Slot};
use crate::money::{Amount, Charges};
use crate::request::{Asker, Input, Request, sha256};
use crate::time::{Interval, Millis};

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
    /// The records of the votes that counted for it, if people were asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub votes: Vec<Sequence>,
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
    /// When it can no longer be signed on votes, in possible time.
    pub execute_until: Millis,
    /// When votes are no longer taken, in possible time.
    pub expires: Millis,
    /// The most that it may cost in fees when the same is asked for at another price. Absent: it
    /// cannot be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fee_most: Option<Amount>,
    /// The quorums that are missing, in the words of the book.
    pub missing: Vec<String>,
    /// Names it: the first 16 bytes of a hash over caller, key and digest, as hex:
    /// [`ParkedRecord::name`].
    pub parked: String,
    /// The text that voters sign, but for the lines of each vote.
    pub statement: String,
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

    /// The attachment that holds it, if it does not stand in the record.
    pub fn attachment(&self) -> Option<B256> {
        match self {
            Self::TransactionSha256(name) | Self::TypedSha256(name) => Some(*name),
            Self::Transaction(_) | Self::Typed(_) | Self::Message(_) | Self::Delegation(_) => None,
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

/// Inputs up to this size stand in the record itself; larger ones beside it.
pub const INLINE_BYTES_MAX: usize = 8 * 1024;
