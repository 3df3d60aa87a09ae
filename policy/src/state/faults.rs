//! Why what people want done together is not done.

use super::recovery::RECOVERY_STATEMENT_MAX;
use crate::act::ActFault;
use crate::id::{PersonId, Sequence};
use crate::pending::PROPOSALS_MAX;
use crate::record::{RECOVERY_CREDENTIALS_MAX, RECOVERY_PEOPLE_MAX};
use crate::time::Millis;

use super::votes::REASON_MAX;

/// Why a proposal cannot be made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProposalFault {
    /// The act cannot be done as things stand.
    #[error(transparent)]
    Act(#[from] ActFault),
    /// Too many of one person wait.
    #[error("{PROPOSALS_MAX} proposals of {0} wait already: withdraw one")]
    TooMany(PersonId),
    /// Their say is suspended.
    #[error("{0} is suspended, and so proposes nothing: a quorum can let them again")]
    Suspended(PersonId),
    /// A reason is missing, or longer than anybody reads.
    #[error("say why, in 1 to {REASON_MAX} characters")]
    Reason,
    /// Nobody of that id.
    #[error("{0} is not among the people")]
    NoPerson(PersonId),
}

/// Why a proposal is not executed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ExecutionFault {
    /// Nothing of that number waits.
    #[error(
        "nothing of that number waits: it was done, withdrawn, has expired, or a new book came"
    )]
    NoMatter,
    /// Their say is suspended.
    #[error("{0} is suspended, and so carries nothing out: somebody else can")]
    Suspended(PersonId),
    /// Somebody rejected it.
    #[error("{0} rejected it, which ended it")]
    Rejected(PersonId),
    /// It is too late.
    #[error("it is too late: it had to be done before {}", crate::utc::rfc3339(.0.0))]
    Expired(Millis),
    /// Not enough people have agreed, or not long enough ago.
    #[error("it takes {0}, and not enough votes count yet")]
    NotMet(String),
    /// It can no longer be done.
    #[error(transparent)]
    Act(#[from] ActFault),
    /// Whoever asks for it is nobody here any more.
    #[error("{0} is not among the people")]
    NoPerson(PersonId),
}

/// Why a recovery is not announced, or not carried out.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RecoveryFault {
    /// Genesis names no recovery credentials.
    #[error("the vault has no recovery credentials")]
    None,
    /// One is announced already.
    #[error("a recovery is announced already, by record {0}")]
    Announced(Sequence),
    /// Not announced, or called off.
    #[error("no recovery of that number is announced")]
    NotAnnounced,
    /// Too old, or announced once before.
    #[error("its statement is no longer good: it has expired, or was used before")]
    Expired,
    /// One that lies about could be used for ever.
    #[error("its statement is good for more than {RECOVERY_STATEMENT_MAX}: write a nearer date")]
    TooLong,
    /// Too early.
    #[error("the delay is not over: not before {}", crate::utc::rfc3339(.0.0))]
    TooEarly(Millis),
    /// Not enough recovery credentials signed, or a new one did not.
    #[error("it takes the signatures of {need} recovery credentials, and of each new credential")]
    Signatures {
        /// How many.
        need: u64,
    },
    /// What would be cannot be.
    #[error("it would leave the vault without what it takes: {}", .0.join("; "))]
    Ungovernable(Vec<String>),
    /// More than anybody needs.
    #[error(
        "at most {RECOVERY_PEOPLE_MAX} people with {RECOVERY_CREDENTIALS_MAX} credentials, one \
         signature each, and no more words than people read"
    )]
    Oversized,
}

impl ProposalFault {
    /// The stable reason, as in `ErrorInfo.reason`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Act(fault) => fault.code(),
            Self::TooMany(_) => "TOO_MANY_PROPOSALS",
            Self::Reason => "REASON_MISSING",
            Self::NoPerson(_) => "PERSON_UNKNOWN",
            Self::Suspended(_) => "VOTER_SUSPENDED",
        }
    }
}

impl ExecutionFault {
    /// The stable reason, as in `ErrorInfo.reason`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoMatter => "APPROVAL_GONE",
            Self::Rejected(_) => "REJECTED",
            Self::Expired(_) => "APPROVAL_EXPIRED",
            Self::NotMet(_) => "QUORUM_NOT_MET",
            Self::Act(fault) => fault.code(),
            Self::NoPerson(_) => "PERSON_UNKNOWN",
            Self::Suspended(_) => "VOTER_SUSPENDED",
        }
    }
}

impl RecoveryFault {
    /// The stable reason, as in `ErrorInfo.reason`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::None => "NO_RECOVERY_CREDENTIALS",
            Self::Announced(_) => "RECOVERY_ANNOUNCED",
            Self::NotAnnounced => "NO_RECOVERY",
            Self::Expired => "RECOVERY_EXPIRED",
            Self::TooLong => "RECOVERY_TOO_LONG",
            Self::TooEarly(_) => "RECOVERY_TOO_EARLY",
            Self::Signatures { .. } => "RECOVERY_SIGNATURES",
            Self::Oversized => "RECOVERY_TOO_LARGE",
            Self::Ungovernable(_) => "UNGOVERNABLE",
        }
    }
}
