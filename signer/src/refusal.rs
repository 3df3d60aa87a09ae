//! Why a request gets no signature. One closed list; `edge::status` says each in gRPC's words.

use std::time::Duration;

use portcullis_policy::finding::Reason;
use portcullis_policy::id::{InvalidName, PersonId, Sequence};
use portcullis_policy::request::Unreadable;
use portcullis_policy::state::{
    ExecutionFault, ProposalFault, RecoveryFault, SuspensionFault, VoteFault,
};
use portcullis_policy::stops::Scope;

use crate::witness::Unwitnessed;

/// A request that was not answered with a signature.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The certificate stands for nobody that the book or genesis knows.
    #[error("{name} is not known here")]
    UnknownPeer {
        /// The name in the certificate.
        name: String,
    },
    /// The person's roles do not cover this.
    #[error("{person} may not do this: it takes the role {role}")]
    NotAuthorised {
        /// Who asked.
        person: String,
        /// What it takes, any one of them: "operator or security".
        role: String,
    },
    /// The person's say is suspended: they still look, and stop things.
    #[error(
        "{0} is suspended, and so adopts no book and makes no key: a quorum can let them again"
    )]
    PersonSuspended(PersonId),
    /// Too many requests.
    #[error("more requests than the rate {rate} allows")]
    Throttled {
        /// When the next one is let in.
        retry_after: Duration,
        /// Which rate.
        rate: &'static str,
    },
    /// A field is missing or not well formed.
    #[error("{field}: {problem}")]
    BadField {
        /// The field of the request.
        field: &'static str,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// The input cannot be read, or not in only one way.
    #[error("the input is malformed: {0}")]
    Unreadable(#[from] Unreadable),
    /// Policy said no.
    #[error("denied")]
    Denied {
        /// Everything every rule had against it. Never empty.
        reasons: Vec<Reason>,
        /// The same in words with units.
        described: Vec<String>,
        /// The record; 0 if it was only counted.
        sequence: Sequence,
    },
    /// Signed, and refused at the last look.
    #[error("withheld")]
    Withheld {
        /// What was said at the last look. Never empty.
        reasons: Vec<Reason>,
        /// The same in words with units.
        described: Vec<String>,
        /// The record.
        sequence: Sequence,
    },
    /// A stop came between record and release.
    #[error("stopped: {0}")]
    Stopped(Scope),
    /// The caller has stopped waiting, and nothing was charged.
    #[error("the deadline that the caller set has passed")]
    PastDeadline,
    /// Too much is under way.
    #[error("too many requests are under way")]
    Overloaded,
    /// The journal has no room. Freezing still works.
    #[error("the journal is out of space")]
    JournalFull,
    /// The witness has not seen what it must have.
    #[error(transparent)]
    Unwitnessed(#[from] Unwitnessed),
    /// The sequencer has ended: the process is about to.
    #[error("the signer is shutting down")]
    ShuttingDown,
    /// The token gave no signature.
    #[error("the token gave no signature: {code}")]
    Token {
        /// A stable code.
        code: &'static str,
        /// After how long asking again may help; `None` if only a person can help.
        retry_after: Option<Duration>,
    },
    /// Nothing of that name.
    #[error("no {kind} is called {name:?}")]
    NotFound {
        /// What was looked for.
        kind: &'static str,
        /// The name given.
        name: String,
    },
    /// No checkpoint covers a record yet.
    #[error("record {0} is not under a signed checkpoint yet")]
    NotAttested(Sequence),
    /// A label that is taken.
    #[error("a key is already called {0:?}")]
    LabelTaken(String),
    /// A key that is wanted for another environment.
    #[error("this vault is of {vault}, and no key for {given} is made in it: ask that vault")]
    WrongEnvironment {
        /// What it is wanted for.
        given: &'static str,
        /// What the vault is for.
        vault: &'static str,
    },
    /// A book with faults.
    #[error("the book has {} fault(s)", .0.0.len())]
    FaultyBook(portcullis_policy::book::Faults),
    /// A book that widens, which takes a quorum.
    #[error("the book widens what is allowed, which takes a quorum: propose it")]
    Widens(Vec<String>),
    /// Another book came while this one was compared.
    #[error("another book was adopted meanwhile: compare this one with it, and try again")]
    BookChanged,
    /// A vote that is none.
    #[error("not a vote that counts")]
    Vote(#[source] VoteFault),
    /// A proposal that cannot be made.
    #[error("this cannot be proposed")]
    Proposal(#[source] ProposalFault),
    /// A proposal that cannot be executed now.
    #[error("this cannot be done now")]
    Execution(#[source] ExecutionFault),
    /// A vote that is not suspended.
    #[error("nothing is suspended")]
    Suspension(#[source] SuspensionFault),
    /// A recovery that cannot be announced or carried out.
    #[error("no recovery")]
    Recovery(#[source] RecoveryFault),
}

impl Refusal {
    /// A name that is not well formed.
    pub fn bad_name(field: &'static str, error: &InvalidName) -> Self {
        Self::BadField { field, problem: error.to_string() }
    }
}
