//! What people do together: proposals, votes, and what comes of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Signature;
use crate::act::Act;
use crate::bounded::at_most;
use crate::credential::Evidence;
use crate::governance::Governance;
use crate::id::{CallerId, CredentialId, PersonId, Sequence};
use crate::people::Person;
use crate::time::Millis;

/// What a vote is about.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Matter {
    /// A parked request, by its name.
    Parked(String),
    /// A proposal, by the place of its record.
    Proposal(Sequence),
}

impl fmt::Display for Matter {
    /// What people call it: 32 hexadecimal digits, or `p48`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parked(name) => out.write_str(name),
            Self::Proposal(sequence) => write!(out, "p{sequence}"),
        }
    }
}

/// Yes or no. A no ends the matter.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Yes.
    Approve,
    /// No.
    Reject,
}

/// A person voted, with a key of their own.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voted {
    /// Whose vote.
    pub by: PersonId,
    /// What they said.
    pub choice: Choice,
    /// What they signed with.
    pub credential: CredentialId,
    /// The signature, over the matter's statement and the lines of this vote.
    pub evidence: Evidence,
    /// What about.
    pub matter: Matter,
    /// Why, in their words; part of what is signed. Empty: they did not say.
    pub reason: String,
}

/// Somebody proposes to change the vault itself.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposed {
    /// What to do.
    pub act: Act,
    /// Who proposes it. They do not count in its quorum.
    pub by: PersonId,
    /// When it can no longer be done, in possible time.
    pub execute_until: Millis,
    /// When votes are no longer taken, in possible time.
    pub expires: Millis,
    /// Why, in their words.
    pub reason: String,
    /// The text that voters sign, but for the lines of each vote.
    pub statement: String,
}

/// Enough people agreed, and it was done.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Executed {
    /// Who asked for it to be done.
    pub by: PersonId,
    /// The record that proposed it.
    pub proposal: Sequence,
    /// The records of the votes that counted.
    pub votes: Vec<Sequence>,
}

/// Somebody took back what they asked for or proposed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Withdrawn {
    /// Who.
    pub by: Party,
    /// What.
    pub matter: Matter,
}

/// A caller or a person.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Party {
    /// A service.
    Caller(CallerId),
    /// A person.
    Person(PersonId),
}

/// One person's vote, or one credential, no longer counts. Only a quorum brings it back.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suspended {
    /// Who did it.
    pub by: PersonId,
    /// Only this credential; absent: the person's vote altogether.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialId>,
    /// Whose.
    pub person: PersonId,
    /// Why.
    pub reason: String,
}

/// Recovery credentials announce that they will replace the people. Everything is stopped.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryBegun {
    /// What will be.
    pub renewal: Renewal,
    /// By recovery credentials, as many as it takes, and by each credential of the new people.
    #[serde(deserialize_with = "at_most::<RECOVERY_SIGNATURES_MAX, _, _>")]
    pub signatures: Vec<Signature>,
}

impl RecoveryBegun {
    /// Whether it holds more than anybody needs: checked before anything is looked at.
    pub(crate) fn is_oversized(&self) -> bool {
        let renewal = &self.renewal;
        let credentials = renewal.people.iter().map(|person| person.credentials.len());
        let credentials = credentials.fold(0, usize::saturating_add);
        let offline = renewal.governance.recovery.as_ref().map_or(0, |one| one.credentials.len());
        renewal.people.len() > RECOVERY_PEOPLE_MAX
            || credentials > RECOVERY_CREDENTIALS_MAX
            || offline > RECOVERY_CREDENTIALS_MAX
            || self.signatures.len() > RECOVERY_SIGNATURES_MAX
            || renewal.reason.chars().count() > crate::state::REASON_MAX
    }
}

/// People that a recovery can put in office; they can enrol more.
pub const RECOVERY_PEOPLE_MAX: usize = 32;

/// Credentials of all of them together: each signature is verified by the writer.
pub const RECOVERY_CREDENTIALS_MAX: usize = 64;

/// By the offline ones, and by those of the new people.
const RECOVERY_SIGNATURES_MAX: usize = 2 * RECOVERY_CREDENTIALS_MAX;

/// New people, and what it takes from then on.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    /// When the statement is no longer good, in possible time.
    pub expires: Millis,
    /// What it takes from then on.
    pub governance: Governance,
    /// Everybody there will be.
    #[serde(deserialize_with = "at_most::<RECOVERY_PEOPLE_MAX, _, _>")]
    pub people: Vec<Person>,
    /// Why.
    pub reason: String,
}

/// The delay is over, and the people were replaced.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovered {
    /// The record that announced it.
    pub begun: Sequence,
}
