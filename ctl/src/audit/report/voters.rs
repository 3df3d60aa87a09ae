//! Approvals: who voted how, and what was signed or done on whose votes.

use std::collections::BTreeMap;

use portcullis_policy::id::{CallerId, KeyId, PersonId, RequestId, Sequence};
use portcullis_policy::record::{Choice, SignedRecord, Voted};
use portcullis_policy::time::Millis;

/// Votes of the whole export; what is counted is of the period.
#[derive(Debug, Default)]
pub(super) struct Votes {
    cast: BTreeMap<Sequence, PersonId>,
    pub(super) people: BTreeMap<PersonId, Voter>,
    pub(super) requests: Vec<Approved>,
}

/// One person's votes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Voter {
    pub(super) approved: u64,
    pub(super) rejected: u64,
    /// Signatures that their vote was needed for.
    pub(super) requests: u64,
    /// Proposals that were executed on their vote.
    pub(super) proposals: u64,
}

/// A request that was signed because people agreed.
#[derive(Clone, Debug)]
pub(super) struct Approved {
    pub(super) at: (Sequence, Millis),
    pub(super) caller: CallerId,
    pub(super) key: KeyId,
    pub(super) request: RequestId,
    pub(super) by: Vec<PersonId>,
}

impl Votes {
    pub(super) fn cast(&mut self, at: Sequence, voted: &Voted, counts: bool) {
        self.cast.insert(at, voted.by.clone());
        if counts {
            let voter = self.people.entry(voted.by.clone()).or_default();
            let all = match voted.choice {
                Choice::Approve => &mut voter.approved,
                Choice::Reject => &mut voter.rejected,
            };
            *all = all.saturating_add(1);
        }
    }

    /// Whose votes these were.
    pub(super) fn of(&self, votes: &[Sequence]) -> Vec<PersonId> {
        votes.iter().filter_map(|at| self.cast.get(at).cloned()).collect()
    }

    /// The first signature over a digest on these votes.
    pub(super) fn signed(&mut self, at: (Sequence, Millis), signed: &SignedRecord) {
        let by = self.of(&signed.votes);
        if by.is_empty() || signed.repeats.is_some() {
            return;
        }
        for person in &by {
            let voter = self.people.entry(person.clone()).or_default();
            voter.requests = voter.requests.saturating_add(1);
        }
        let asker = &signed.asked.by;
        let (caller, key, request) = (asker.caller.clone(), asker.key, asker.request.clone());
        self.requests.push(Approved { at, caller, key, request, by });
    }

    pub(super) fn executed(&mut self, by: &[PersonId]) {
        for person in by {
            let voter = self.people.entry(person.clone()).or_default();
            voter.proposals = voter.proposals.saturating_add(1);
        }
    }
}
