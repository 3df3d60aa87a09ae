//! What waits for people, as whoever looks at it is told.
//!
//! The writer makes one for every look, and a proposed book is megabytes: nothing that an act
//! carries is copied, and of a vote not its proof.

use std::sync::Arc;

use alloy_primitives::B256;
use portcullis_policy::id::{CallerId, CredentialId, PersonId, Sequence};
use portcullis_policy::pending::{Cast, Subject, Waiting};
use portcullis_policy::record::{Choice, Matter};
use portcullis_policy::state::Outlook;
use portcullis_policy::time::Millis;

/// Something that waits, as somebody sees it at one moment.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its name.
    pub matter: Matter,
    /// The thing itself.
    pub waiting: Outline,
    /// How far it is.
    pub outlook: Outlook,
    /// Whether the person who looks is asked about it.
    pub asks: bool,
}

/// One thing that waits, in outline.
#[derive(Clone, Debug)]
pub struct Outline {
    /// The record that began it.
    pub sequence: Sequence,
    /// Who began it.
    pub origin: Origin,
    /// The text that voters sign, but for the lines of each vote.
    pub statement: Arc<str>,
    /// When votes are no longer taken, in possible time.
    pub expires: Millis,
    /// When it can no longer be done, in possible time.
    pub execute_until: Millis,
    /// Votes, in the order they came.
    pub votes: Vec<Said>,
}

/// Who began it.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A service asked for a signature.
    Parked {
        /// Which.
        caller: CallerId,
        /// What would do the same once more.
        likeness: B256,
        /// When it was parked, in possible time.
        parked_at: Millis,
    },
    /// A person proposed a change to the vault.
    Proposed {
        /// Who.
        by: PersonId,
    },
}

/// What one vote said.
#[derive(Clone, Debug)]
pub struct Said {
    /// Whose.
    pub by: PersonId,
    /// Signed with what.
    pub credential: CredentialId,
    /// What they said.
    pub choice: Choice,
    /// Why.
    pub reason: String,
    /// When, in sure time.
    pub at: Millis,
    /// Its record.
    pub sequence: Sequence,
}

impl Outline {
    pub(super) fn of(waiting: &Waiting) -> Self {
        let origin = match &waiting.subject {
            Subject::Parked(parked) => Origin::Parked {
                caller: parked.caller().clone(),
                likeness: parked.likeness,
                parked_at: parked.parked_at,
            },
            Subject::Proposed(proposed) => Origin::Proposed { by: proposed.by.clone() },
        };
        Self {
            sequence: waiting.sequence,
            origin,
            statement: waiting.statement.clone(),
            expires: waiting.expires,
            execute_until: waiting.execute_until,
            votes: waiting.votes.iter().map(Said::of).collect(),
        }
    }

    /// Whether it is a request of this caller.
    pub fn is_request_of(&self, caller: &CallerId) -> bool {
        match &self.origin {
            Origin::Parked { caller: asker, .. } => asker == caller,
            Origin::Proposed { .. } => false,
        }
    }
}

impl Said {
    fn of(cast: &Cast) -> Self {
        Self {
            by: cast.by.clone(),
            credential: cast.credential.clone(),
            choice: cast.choice,
            reason: cast.reason.clone(),
            at: cast.at,
            sequence: cast.sequence,
        }
    }
}
