//! Votes, and what they are about: who may vote on what, whether a vote is one, and what of it
//! counts at this moment.

use std::sync::Arc;

use crate::credential::{BadEvidence, Channel, Proof, Purpose};
use crate::decide::Approval;
use crate::governance::Deed;
use crate::id::{CredentialId, KeyLabel, PersonId, Sequence};
use crate::pending::{Cast, ParkedSubject, ProposedSubject, Subject, Waiting};
use crate::people::Role;
use crate::quorum::{Terms, Vote};
use crate::record::{Choice, Entry, Matter, ParkedRecord, Party, Voted, Withdrawn};
use crate::request::Request;
use crate::statement::{self, Parking};
use crate::time::{Interval, Span};

use super::{State, Unfoldable};

/// A vote that is none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum VoteFault {
    /// Nothing of that name waits.
    #[error("nothing of that name waits: it was done, withdrawn, has expired, or a new book came")]
    NoMatter,
    /// It waits no longer.
    #[error("no more votes are taken: it has expired")]
    Expired,
    /// Somebody rejected it.
    #[error("{0} rejected it, which ended it")]
    Rejected(PersonId),
    /// Nobody of that id.
    #[error("{0} is not among the people")]
    NoPerson(PersonId),
    /// Their vote is suspended.
    #[error("the vote of {0} is suspended: a quorum can let it count again")]
    Suspended(PersonId),
    /// They have no such credential, or it is suspended.
    #[error("{person} has no credential {credential}, or it is suspended")]
    NoCredential {
        /// Who.
        person: PersonId,
        /// Which.
        credential: CredentialId,
    },
    /// Nobody asked them.
    #[error("{0} is not asked: in none of the groups it takes, or the one who asks or owns it")]
    NotAsked(PersonId),
    /// They voted with that credential.
    #[error(
        "{0} has voted with this credential already; if that vote is void, vote in other words: \
         give a reason"
    )]
    Again(CredentialId),
    /// The signature is none over this statement.
    #[error("the signature is not one over this statement")]
    Evidence(#[source] BadEvidence),
    /// A passkey showed a counter it had shown before: it may have been copied.
    #[error("the passkey's counter went back: it may have been copied; suspend it")]
    Counter,
    /// More words than anybody reads.
    #[error("a reason has at most {REASON_MAX} characters")]
    Reason,
}

impl VoteFault {
    /// The stable reason, as in `ErrorInfo.reason`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoMatter => "APPROVAL_GONE",
            Self::Expired => "APPROVAL_EXPIRED",
            Self::Rejected(_) => "REJECTED",
            Self::NoPerson(_) => "VOTER_UNKNOWN",
            Self::Suspended(_) => "VOTER_SUSPENDED",
            Self::NoCredential { .. } => "CREDENTIAL_UNKNOWN",
            Self::NotAsked(_) => "VOTER_NOT_ASKED",
            Self::Again(_) => "VOTED_ALREADY",
            Self::Evidence(fault) => fault.code(),
            Self::Counter => "PASSKEY_COUNTER",
            Self::Reason => "REASON_TOO_LONG",
        }
    }
}

impl State {
    /// Whether this is a vote that may be recorded now; and then, as it will be counted.
    ///
    /// # Errors
    ///
    /// What is wrong with it. Nothing was recorded.
    pub fn check_vote(&self, voted: &Voted, now: Interval) -> Result<Cast, VoteFault> {
        let Voted { by, choice, credential: id, evidence, matter, reason } = voted;
        if reason.chars().count() > REASON_MAX {
            return Err(VoteFault::Reason);
        }
        let waiting = self.pending.get(matter).ok_or(VoteFault::NoMatter)?;
        if let Some((who, _)) = &waiting.rejected {
            return Err(VoteFault::Rejected(who.clone()));
        }
        if !waiting.takes_votes(now.possible) {
            return Err(VoteFault::Expired);
        }
        let member = self.people.member(by).ok_or_else(|| VoteFault::NoPerson(by.clone()))?;
        if member.suspended {
            return Err(VoteFault::Suspended(by.clone()));
        }
        let (person, unknown) = (by.clone(), id.clone());
        let credential =
            member.active(id).ok_or(VoteFault::NoCredential { person, credential: unknown })?;
        // Whoever may stop everything may stop this, unless it is about themselves.
        let own = waiting.proposed().is_some_and(|proposed| proposed.act.is_about(by));
        let stops = *choice == Choice::Reject && self.people.may(by, &[Role::Security]);
        if own || (!stops && !self.is_asked(waiting, by)) {
            return Err(VoteFault::NotAsked(by.clone()));
        }
        // Whoever agreed may think better of it: a rejection is never too late.
        let agrees = *choice == Choice::Approve;
        // One that is void may be another's: its very text is not taken again, because whoever
        // carries votes could bring it back.
        let counted =
            |cast: &Cast| cast.credential == *id && (!cast.void || cast.reason == *reason);
        if agrees && waiting.votes.iter().any(counted) {
            return Err(VoteFault::Again(id.clone()));
        }
        let text = statement::ballot(&waiting.statement, *choice, by, reason);
        let proof = credential.verify(Purpose::Vote, text.as_bytes(), evidence);
        let Proof { strength, counter } = proof.map_err(VoteFault::Evidence)?;
        // Votes by SSH are made offline and may come in another order than they were signed in.
        let counted = credential.channel() == Channel::Console;
        if counted && !member.counter_is_new(id, counter) {
            return Err(VoteFault::Counter);
        }
        Ok(Cast {
            by: by.clone(),
            credential: id.clone(),
            choice: *choice,
            reason: reason.clone(),
            evidence: evidence.clone(),
            strength,
            channel: credential.channel(),
            counter,
            at: now.sure,
            sequence: self.head.next(),
            void: false,
        })
    }

    pub(super) fn vote(&mut self, entry: &Entry, voted: &Voted) -> Result<(), Unfoldable> {
        let cast = self.check_vote(voted, entry.at);
        let cast = cast.map_err(|fault| Unfoldable::Vote(entry.seq, fault))?;
        if cast.channel == Channel::Console {
            self.people.change(&voted.by, |one| one.note_counter(&voted.credential, cast.counter));
        }
        if cast.choice == Choice::Reject {
            self.narrowed = entry.seq;
        }
        self.pending.vote(&voted.matter, cast);
        Ok(())
    }

    /// Whether a quorum that this waits for asks this person at all.
    pub(super) fn is_asked(&self, waiting: &Waiting, person: &PersonId) -> bool {
        match &waiting.subject {
            Subject::Parked(parked) => {
                let label = self.keys.get(&parked.request.asker().key).map(|key| &key.label);
                let owns = self.book.caller(parked.caller());
                let owns = owns.is_some_and(|caller| caller.owners.contains(person));
                !owns && label.is_some_and(|label| self.tier_asks(label, person))
            }
            Subject::Proposed(proposed) => {
                let terms = self.terms_of(proposed);
                let asked = terms.is_some_and(|all| all.iter().any(|one| one.need.asks(person)));
                proposed.by != *person && !proposed.act.is_about(person) && asked
            }
        }
    }

    fn tier_asks(&self, label: &KeyLabel, person: &PersonId) -> bool {
        let Some(rules) = self.book.rules(label) else { return false };
        let tiers = rules.approve.iter().map(|tier| &tier.terms);
        let mut terms = tiers.chain(rules.authorize.as_ref().map(|rule| &rule.terms));
        terms.any(|terms| terms.need.asks(person))
    }

    /// What a proposal takes: what its text says, and whatever governance asks since then. Either
    /// may have become harder to meet, and both must be. A canary may be practised on without
    /// waiting.
    pub(super) fn terms_of(&self, proposed: &ProposedSubject) -> Option<[Terms; 2]> {
        let now = self.governance.terms(proposed.act.deed(), &self.people)?;
        let then = proposed.takes.terms(&self.people)?;
        let canary = self.is_about_a_canary(&proposed.act);
        let terms = |terms: Terms| if canary { Terms { delay: Span(0), ..terms } } else { terms };
        Some([terms(then), terms(now)])
    }

    /// What people said to a request, as far as it counts now.
    pub(super) fn approval(&self, request: &Request, now: Interval) -> Approval {
        let mut approval = Approval::default();
        for (_, waiting) in self.pending.covering(request, now.possible) {
            approval.rejected |= waiting.rejected.is_some();
            self.count(waiting, |vote, at| {
                approval.votes.push(vote);
                approval.records.push(at);
            });
        }
        approval
    }

    /// Every vote in favour that counts at this moment: of somebody who is still among the people,
    /// whose vote and credential are not suspended, and whose signature, looked at once more, is
    /// one over this very statement.
    pub(super) fn count(&self, waiting: &Waiting, mut counts: impl FnMut(Vote, Sequence)) {
        let agreed = |cast: &&Cast| cast.choice == Choice::Approve && !cast.void;
        for cast in waiting.votes.iter().filter(agreed) {
            let member = self.people.member(&cast.by);
            let Some(credential) = member.and_then(|one| one.active(&cast.credential)) else {
                continue;
            };
            let text = statement::ballot(&waiting.statement, cast.choice, &cast.by, &cast.reason);
            if credential.verify(Purpose::Vote, text.as_bytes(), &cast.evidence).is_ok() {
                counts(cast.vote(), cast.sequence);
            }
        }
    }

    /// The record that parks a request which was just decided, if it does not wait already.
    pub fn parking(
        &self,
        parked: &crate::decide::Parked,
        asked: crate::record::Asked,
    ) -> ParkedRecord {
        let request = &parked.request;
        let asker = request.asker();
        let rules = self.keys.get(&asker.key).and_then(|key| self.book.rules(&key.label));
        let expires = asked.at.possible.plus(parked.expires);
        let execute_until = expires.plus(parked.execute);
        let name = ParkedRecord::name(asker, request.digest());
        let fee_most = statement::fee_most(request, &self.book, rules);
        let parking = Parking {
            parked,
            name: &name,
            at: asked.at.possible,
            expires,
            execute_until,
            fee_most,
        };
        ParkedRecord {
            statement: statement::request(self, &parking),
            counted: self.counted(asker, None),
            book: self.book.hash(),
            asked,
            execute_until,
            expires,
            fee_most,
            missing: parked.missing.iter().map(|one| one.terms.need.to_string()).collect(),
            parked: name,
        }
    }

    pub(super) fn park(&mut self, entry: &Entry, parked: &ParkedRecord) -> Result<(), Unfoldable> {
        let by = &parked.asked.by;
        // What people cannot read is not parked, so the input stands in the record itself.
        let input = parked.asked.input.resolve(|_| None);
        let request = input.and_then(|input| Request::decode(by.clone(), &input).ok());
        let request = request.ok_or(Unfoldable::Parked(entry.seq))?;
        let digest = request.digest();
        let essence = request.transaction().map_or(digest, crate::tx::UnsignedTx::essence);
        let likeness = request.transaction().map_or(digest, crate::tx::UnsignedTx::likeness);
        let subject = ParkedSubject {
            request: Arc::new(request),
            parked_at: parked.asked.at.possible,
            essence,
            likeness,
            fee_most: parked.fee_most,
            missing: parked.missing.clone(),
            signed: None,
        };
        let waiting = Waiting {
            sequence: entry.seq,
            subject: Subject::Parked(subject),
            statement: parked.statement.as_str().into(),
            expires: parked.expires,
            execute_until: parked.execute_until,
            votes: Vec::new(),
            rejected: None,
        };
        self.pending.begin(Matter::Parked(parked.parked.clone()), waiting);
        Ok(())
    }

    /// Whether this party may take the matter back now: it asked for it, or proposed it, and it
    /// still waits.
    pub fn may_withdraw(&self, withdrawn: &Withdrawn, now: Interval) -> bool {
        let waiting = self.pending.get(&withdrawn.matter);
        let waiting = waiting.filter(|waiting| now.possible < waiting.execute_until);
        waiting.is_some_and(|waiting| match (&waiting.subject, &withdrawn.by) {
            (Subject::Parked(parked), Party::Caller(caller)) => parked.caller() == caller,
            (Subject::Proposed(proposed), Party::Person(person)) => proposed.by == *person,
            (Subject::Parked(_), Party::Person(_)) | (Subject::Proposed(_), Party::Caller(_)) => {
                false
            }
        })
    }

    pub(super) fn withdraw(
        &mut self,
        entry: &Entry,
        withdrawn: &Withdrawn,
    ) -> Result<(), Unfoldable> {
        if !self.may_withdraw(withdrawn, entry.at) {
            return Err(Unfoldable::Withdrawn(entry.seq));
        }
        self.pending.end(&withdrawn.matter);
        // Something approved that is inside the token must not come out on these votes.
        self.narrowed = entry.seq;
        Ok(())
    }

    /// What a deed takes of people as things stand. `None`: nobody can do it.
    pub fn terms(&self, deed: Deed) -> Option<Terms> {
        self.governance.terms(deed, &self.people)
    }
}

/// Words that come with a vote, a proposal, a suspension.
pub const REASON_MAX: usize = 500;
