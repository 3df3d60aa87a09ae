//! What happens to the vault itself: its first record, starts, keys, books, reports, stops.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B128, B256};
use serde::{Deserialize, Serialize};

use super::rescue::SignedNote;
use crate::credential::Evidence;
use crate::governance::Governance;
use crate::id::{
    ChainId, CredentialId, DecisionNumber, Epoch, KeyId, KeyLabel, PersonId, Sequence, Tag,
};
use crate::money::Amount;
use crate::people::Person;
use crate::stops::Scope;
use crate::time::{Millis, Span};

/// The first people, rules and names, signed by everybody who has something to sign with.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// The first book.
    pub book: String,
    /// Development, staging or production: each a vault of its own.
    pub environment: Environment,
    /// Version of the records' form and of what decisions mean.
    pub format: u64,
    /// What it takes to change the vault itself. Absent: nothing of that can be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub governance: Option<Governance>,
    /// The first people.
    pub people: Vec<Person>,
    /// 32 random bytes, so that no two vaults share an id.
    pub salt: B256,
    /// One by each credential of the first people, over the statement of this record without
    /// them: they agree, and hold what they are enrolled with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<Signature>,
}

/// What one credential signed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Which.
    pub credential: CredentialId,
    /// The signature.
    pub evidence: Evidence,
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

impl Environment {
    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }

    /// The one that people call this.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Development, Self::Staging, Self::Production]
            .into_iter()
            .find(|environment| environment.name() == word)
    }
}

/// The process started.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Started {
    /// How far sure time went forward on the wall clock's word alone, because the machine was
    /// booted in between. Absent: nobody kept count of it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub believed: Option<Span>,
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

impl Started {
    /// Whether it was within this boot of the machine. One without a name is never the same.
    pub fn is_within(&self, boot: &str) -> bool {
        !boot.is_empty() && self.boot == boot
    }
}

/// A key is about to be made.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyIntended {
    /// Who asked for it.
    pub by: PersonId,
    /// The chains that it may ever sign for, whatever a book says.
    pub chains: BTreeSet<ChainId>,
    /// What it was made for: the vault's own.
    pub environment: Environment,
    /// Its id.
    pub key: KeyId,
    /// Its name in books.
    pub label: KeyLabel,
    /// Who answers for it.
    pub owner: PersonId,
    /// What it is for.
    pub purpose: String,
    /// By when somebody looks whether it is still needed, and as it is. Nothing happens by itself.
    pub review_by: Millis,
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

/// A stop that a person signed before there was a need for it, together with the scope and the
/// reason of the record it stands in. Good once.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Who signed it.
    pub by: PersonId,
    /// With what.
    pub credential: CredentialId,
    /// The signature over the order's text.
    pub evidence: Evidence,
    /// When it can no longer be used, in possible time.
    pub expires: Millis,
    /// 16 random bytes, so that no order is used twice.
    pub order: B128,
}

/// Private keys in the token are about to be told not to sign, or to sign again.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FenceIntended {
    /// Why.
    pub cause: FenceCause,
    /// Which.
    pub keys: BTreeSet<KeyId>,
}

/// Why the token is told something about keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FenceCause {
    /// They are stopped or revoked: `CKA_SIGN` becomes false.
    Stopped,
    /// They are stopped or revoked, were fenced, and were found to sign again: somebody who has the
    /// PIN set `CKA_SIGN` back.
    Undone,
    /// Enough people agreed that they may sign again: `CKA_SIGN` becomes true.
    Thawed,
}

/// What came of it, as far as the token has answered.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FenceAnswered {
    /// Keys whose private object says so now: it was read back.
    pub done: BTreeSet<KeyId>,
    /// The intent.
    pub intent: Sequence,
    /// Keys of which the token would not be told, and why.
    pub refused: BTreeMap<KeyId, String>,
}

/// What came of removing a key from the token. The intent is the record in which people agreed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DestroyAnswered {
    /// What the token said.
    pub answer: Destruction,
    /// The intent.
    pub intent: Sequence,
    /// The key.
    pub key: KeyId,
}

/// What the token said.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Destruction {
    /// A session that was opened afterwards found nothing of it.
    Gone(Absence),
    /// It would not, or something is still there, for this reason.
    Refused(String),
}

/// What was looked for and not found: private and public objects with its id, objects with its
/// label, public objects with its point.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Absence {
    /// Copies of the token that the operator says there are: the key may be in each of them.
    pub backups: Vec<String>,
    /// What it proves on such a token.
    pub grade: Grade,
    /// Objects that were removed; 0: they were gone already.
    pub objects: u64,
    /// Which token: manufacturer, model and serial number.
    pub token: String,
}

/// What it proves that a token no longer shows a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// The token says so. What it keeps inside, and what its backups hold, is for its maker to
    /// say.
    Told,
    /// The token is software: a file was unlinked. Its blocks, snapshots and backups may be read
    /// by whoever has them and the PIN. It proves nothing about copies.
    Unlinked,
}

/// The time of a drain is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainEnded {
    /// Of which key.
    pub key: KeyId,
}

/// Who did something.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Actor {
    /// Whoever held an order that a person had signed beforehand.
    Order(Box<Order>),
    /// A person.
    Person(PersonId),
    /// A person with the PIN, straight on the token, while the signer was down or distrusted. What
    /// they did is noted, and here is taken in.
    Rescue(Box<SignedNote>),
    /// The signer itself, on an alarm.
    Signer,
    /// The signer itself, because of something it was set to stop on.
    Trigger(Trigger),
}

/// What the signer stops on by itself. It only ever stops: what starts it again is a quorum.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Trigger {
    /// The token gave a signature that does not verify. Stops the key.
    BadSignature,
    /// A caller was refused too often. Stops the caller.
    Denials(DenialBurst),
    /// A watcher reported a nonce that was never signed here: somebody else signs with the key.
    /// Stops the key.
    UsedElsewhere(UsedElsewhere),
}

/// How often a caller was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenialBurst {
    /// So many times,
    pub denials: u64,
    /// within so long.
    pub within: Span,
}

/// What was reported of a key's account.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsedElsewhere {
    /// Who told.
    pub by: PersonId,
    /// On which chain.
    pub chain: ChainId,
    /// The account's transaction count. A decimal string.
    pub nonce: String,
    /// The nonce after the highest that was ever signed here. A decimal string.
    pub signed: String,
}
