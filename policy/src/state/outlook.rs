//! How far something that waits has come: for whoever looks at it. Decides nothing.

use crate::decide::{Approval, Decision, Facts, decide};
use crate::id::PersonId;
use crate::pending::{ParkedSubject, ProposedSubject, Subject, Waiting};
use crate::quorum::Vote;
use crate::record::Choice;
use crate::time::Interval;

use super::State;

/// How far something has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// Not enough people have agreed.
    Waiting,
    /// Enough have: asked for again, it would be signed or done.
    Ready,
    /// Enough have, and something else forbids it at the moment.
    Refused,
    /// It was signed.
    Signed,
    /// Somebody said no.
    Rejected,
    /// Votes are no longer taken, and not enough came; or it is too late.
    Expired,
}

/// What somebody sees who looks at it.
#[derive(Clone, Debug)]
pub struct Outlook {
    /// How far.
    pub progress: Progress,
    /// What is asked, and of requests: what is still missing.
    pub takes: Vec<String>,
    /// Whether each of its votes counts, in their order.
    pub counts: Vec<bool>,
}

impl State {
    /// How far something that waits has come, by the votes as they were when they came: their
    /// signatures are looked at again when they count, not whenever somebody looks.
    pub fn outlook(&self, waiting: &Waiting, now: Interval) -> Outlook {
        let counts: Vec<bool> = waiting
            .votes
            .iter()
            .map(|cast| {
                let member = self.people.member(&cast.by);
                let active = member.is_some_and(|member| member.active(&cast.credential).is_some());
                active && !cast.void
            })
            .collect();
        let agreed = waiting.votes.iter().zip(&counts);
        let agreed = agreed.filter(|(cast, counts)| **counts && cast.choice == Choice::Approve);
        let votes: Vec<Vote> = agreed.map(|(cast, _)| cast.vote()).collect();
        let (met, takes) = match &waiting.subject {
            Subject::Parked(parked) => self.request_outlook(parked, votes, now),
            Subject::Proposed(proposed) => self.proposal_outlook(proposed, &votes, now),
        };
        let signed = waiting.parked().is_some_and(|parked| parked.signed.is_some());
        let progress = if waiting.rejected.is_some() {
            Progress::Rejected
        } else if signed {
            Progress::Signed
        } else if now.possible >= waiting.execute_until
            || (met == Progress::Waiting && !waiting.takes_votes(now.possible))
        {
            Progress::Expired
        } else {
            met
        };
        Outlook { progress, takes, counts }
    }

    fn request_outlook(
        &self,
        parked: &ParkedSubject,
        votes: Vec<Vote>,
        now: Interval,
    ) -> (Progress, Vec<String>) {
        let request = (*parked.request).clone();
        let records = Vec::new();
        let approval = Approval { votes, records, rejected: false };
        let facts = Facts { approval, ..self.facts_without_votes(&request, now, None) };
        match decide(&self.book, &facts, request) {
            Decision::Allow(_) => (Progress::Ready, Vec::new()),
            Decision::Park(again) => {
                let missing = again.missing.iter().map(|one| one.terms.to_string());
                (Progress::Waiting, missing.collect())
            }
            Decision::Deny(denial) => {
                let words = denial.findings.refusals(self.book.registry());
                (Progress::Refused, words)
            }
        }
    }

    fn proposal_outlook(
        &self,
        proposed: &ProposedSubject,
        votes: &[Vote],
        now: Interval,
    ) -> (Progress, Vec<String>) {
        let met = self.have_agreed(proposed, votes, now);
        let progress = if met { Progress::Ready } else { Progress::Waiting };
        let terms = self.terms_of(proposed).map(|[then, now]| {
            if then == now {
                vec![then.to_string()]
            } else {
                vec![then.to_string(), now.to_string()]
            }
        });
        (progress, terms.unwrap_or_default())
    }

    /// Whether this person is asked about it and has not said anything yet.
    pub fn asks(&self, waiting: &Waiting, person: &PersonId, now: Interval) -> bool {
        let silent = !waiting.votes.iter().any(|cast| cast.by == *person && !cast.void);
        let able = self.people.member(person).is_some_and(|member| !member.suspended);
        silent && able && waiting.takes_votes(now.possible) && self.is_asked(waiting, person)
    }
}
