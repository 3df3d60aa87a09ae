//! Why an act cannot be done.

use crate::credential::BadEvidence;
use crate::drain::PlanFault;
use crate::governance::Deed;
use crate::id::{CredentialId, KeyId, PersonId, Sequence};
use crate::people::CREDENTIALS_MAX;
use crate::time::Millis;
use crate::utc::rfc3339;

/// An act that cannot be done as things stand.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ActFault {
    /// No quorum is set for it.
    #[error("the vault's governance sets no quorum for {0}: nobody can do it")]
    NoQuorum(Deed),
    /// The quorum cannot be met without the proposer.
    #[error("{need} cannot be met by people other than {by}, who proposes it and does not count")]
    OutOfReach {
        /// The quorum.
        need: String,
        /// Who proposes.
        by: PersonId,
    },
    /// Nothing is stopped in that scope.
    #[error("{0} is not stopped by a freeze of its own: name exactly what one freeze stopped")]
    NotStopped(String),
    /// A key that nobody made.
    #[error("no key has the id {0}")]
    NoKey(KeyId),
    /// It was ended for good.
    #[error("key {0} is revoked: that is for good")]
    Revoked(KeyId),
    /// Only a stopped key can be ended.
    #[error("key {0} is not stopped: freeze it first, which takes one person and no time")]
    NotFrozen(KeyId),
    /// Only an ended key can be removed.
    #[error("key {0} is not revoked: revoke it first")]
    NotRevoked(KeyId),
    /// It is removed, or about to be.
    #[error("key {0} is destroyed, or about to be: that was agreed to already")]
    Destroyed(KeyId),
    /// The plan of a drain.
    #[error(transparent)]
    Plan(#[from] PlanFault),
    /// The book is faulty, or the one in force.
    #[error("the book is in force already")]
    SameBook,
    /// The book has faults.
    #[error("the book has faults")]
    FaultyBook,
    /// The book only narrows.
    #[error("the book only narrows: one person may adopt it, at once")]
    OnlyNarrows,
    /// Nobody of that id.
    #[error("{0} is not among the people")]
    NoPerson(PersonId),
    /// Something is taken.
    #[error("{0} is taken already")]
    Taken(String),
    /// A person's certificate that is a service's.
    #[error("{0} is a caller in the book: a service's certificate gets no control verb")]
    AlsoCaller(String),
    /// A person who may do nothing.
    #[error("{0} would have no role: remove them instead")]
    NoRole(PersonId),
    /// Too many credentials, or the wrong number of signatures.
    #[error("{0}: up to {CREDENTIALS_MAX} credentials, and one signature by each of them")]
    Credentials(PersonId),
    /// Whoever holds the credential has not signed.
    #[error("{credential} has not signed its enrolment")]
    Possession {
        /// Which.
        credential: CredentialId,
        /// What is wrong.
        #[source]
        source: BadEvidence,
    },
    /// They have no such credential.
    #[error("{person} has no credential {credential}")]
    NoCredential {
        /// Who.
        person: PersonId,
        /// Which.
        credential: CredentialId,
    },
    /// Nothing of theirs is suspended.
    #[error("nothing of {0} is suspended there")]
    NotSuspended(PersonId),
    /// Nothing would change.
    #[error("nothing would change")]
    NoChange,
    /// The vault could not be governed any more.
    #[error("it would leave the vault without what it takes: {}", .0.join("; "))]
    Ungovernable(Vec<String>),
    /// No recovery was announced.
    #[error("no recovery is announced")]
    NoRecovery,
    /// Everything stays stopped until a recovery is over, or called off.
    #[error("a recovery is announced: nothing is started again before it is over or called off")]
    Recovering,
    /// Sure time is there already, or the wall clock does not say that it is later.
    #[error(
        "sure time is {} already, and the clock of the signer's machine does not say that it is \
         later: nothing is there to accept. If it is later, set that clock first",
        rfc3339(.0.0)
    )]
    TimeNotBehind(Millis),
    /// Later than the signer's own wall clock says.
    #[error(
        "{} is later than the clock of the signer's machine says: {}. Name an earlier time, or \
         set that clock first, if it is wrong",
        rfc3339(.at.0),
        rfc3339(.possible.0)
    )]
    TimeBeyondPossible {
        /// What was named.
        at: Millis,
        /// The latest that it can be.
        possible: Millis,
    },
    /// A reading of sure time that is none, or from before it was moved.
    #[error(
        "sure time was not {} since it was last moved: what was agreed is of before. Look at \
         portctl clock show, and propose anew what is still behind",
        rfc3339(.0.0)
    )]
    TimeMoved(Millis),
    /// Another outage, or another part of one.
    #[error(
        "what grows no older by it begins with record {is}, and not with another as was agreed: \
         propose anew what is still behind"
    )]
    TimeSince {
        /// With which it begins.
        is: Sequence,
    },
    /// More than people read before they vote.
    #[error(
        "the book changes more than people read: propose it in steps, of at most {} lines for keys \
         of some thousand, none of more than {} characters or with an escape (\\): lists one \
         address a line",
        crate::book::CHANGED_LINES_MAX,
        crate::book::CHANGED_LINE_BYTES_MAX
    )]
    TooLong,
}

impl ActFault {
    /// The stable reason, as in `ErrorInfo.reason`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoQuorum(_) => "NO_QUORUM_SET",
            Self::OutOfReach { .. } => "QUORUM_OUT_OF_REACH",
            Self::NotStopped(_) => "NOT_STOPPED",
            Self::NoKey(_) => "KEY_UNKNOWN",
            Self::Revoked(_) => "KEY_REVOKED",
            Self::NotFrozen(_) => "KEY_NOT_FROZEN",
            Self::NotRevoked(_) => "KEY_NOT_REVOKED",
            Self::Destroyed(_) => "KEY_DESTROYED",
            Self::Plan(_) => "BAD_DRAIN_PLAN",
            Self::SameBook => "BOOK_IN_FORCE",
            Self::FaultyBook => "BOOK_FAULTY",
            Self::OnlyNarrows => "BOOK_ONLY_NARROWS",
            Self::NoPerson(_) => "PERSON_UNKNOWN",
            Self::Taken(_) => "TAKEN",
            Self::AlsoCaller(_) => "ALSO_CALLER",
            Self::NoRole(_) => "NO_ROLE",
            Self::Credentials(_) => "CREDENTIALS",
            Self::Possession { source, .. } => source.code(),
            Self::NoCredential { .. } => "CREDENTIAL_UNKNOWN",
            Self::NotSuspended(_) => "NOT_SUSPENDED",
            Self::NoChange => "NO_CHANGE",
            Self::Ungovernable(_) => "UNGOVERNABLE",
            Self::NoRecovery => "NO_RECOVERY",
            Self::Recovering => "RECOVERY_ANNOUNCED",
            Self::TimeNotBehind(_) => "TIME_NOT_BEHIND",
            Self::TimeBeyondPossible { .. } => "TIME_BEYOND_POSSIBLE",
            Self::TimeMoved(_) | Self::TimeSince { .. } => "TIME_MOVED",
            Self::TooLong => "TOO_LONG_TO_APPROVE",
        }
    }
}
