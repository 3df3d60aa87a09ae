//! What the journal must say of a canary whose drill was good. Asked when the drill ends, and again
//! by whoever verifies its evidence.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use portcullis_policy::act::Act;
use portcullis_policy::drain::DrainTo;
use portcullis_policy::id::{ChainId, KeyId, Sequence};
use portcullis_policy::record::{Absence, Actor, Destruction, Entry, Grade, KeyIntended, Record};
use portcullis_policy::state::CANARY;
use portcullis_policy::stops::Scope;

use super::evidence::Evidence;
use crate::output::address;

/// What the records about the canary show.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// What it was to be, and its address once it was made.
    intended: Option<KeyIntended>,
    address: Option<Address>,
    made: Option<Sequence>,
    frozen: Option<Sequence>,
    stopped_by: Option<Actor>,
    /// Orders to the token to fence it, after the stop.
    fencing: BTreeSet<Sequence>,
    signed_before: u64,
    signed_after: Vec<Sequence>,
    /// What people agreed to drain it by, and where to; its plan is signed after that, and counts
    /// as no broken promise.
    drained: Option<(Sequence, DrainTo)>,
    signed_draining: u64,
    fenced: Option<Sequence>,
    revoked: Option<Sequence>,
    destroyed: Option<Sequence>,
    gone: Option<(Sequence, Absence)>,
    thawed: Option<Sequence>,
}

impl Claims {
    /// From records about this key, in order.
    pub(super) fn of(key: KeyId, entries: &[Entry]) -> Self {
        let (mut claims, mut acts) = (Self::default(), BTreeMap::new());
        for entry in entries {
            claims.life(key, entry);
            if let Record::Proposed(one) = &entry.record {
                acts.insert(entry.seq, &one.act);
            }
            if let Record::Executed(one) = &entry.record {
                match acts.get(&one.proposal) {
                    Some(Act::Revoke(_)) => claims.revoked = Some(entry.seq),
                    Some(Act::Destroy(_)) => claims.destroyed = Some(entry.seq),
                    Some(Act::Thaw(_)) => claims.thawed = Some(entry.seq),
                    Some(Act::Drain(act)) => claims.drained = Some((entry.seq, act.plan.to)),
                    Some(_) | None => {}
                }
            }
        }
        claims
    }

    fn life(&mut self, key: KeyId, entry: &Entry) {
        if let Record::KeyCreated(made) = &entry.record
            && made.key == key
        {
            self.made = Some(entry.seq);
            self.address = Some(made.address);
        }
        if let Record::KeyIntended(intended) = &entry.record
            && intended.key == key
        {
            self.intended = Some(intended.clone());
        }
        if let Record::Frozen(frozen) = &entry.record
            && frozen.scope == Scope::Key(key)
            && self.frozen.is_none()
        {
            self.frozen = Some(entry.seq);
            self.stopped_by = Some(frozen.by.clone());
        }
        self.fence(key, entry);
        if let Record::Signed(signed) = &entry.record
            && signed.asked.by.key == key
        {
            self.signed(entry.seq);
        }
        if let Record::DestroyAnswered(answered) = &entry.record
            && let Destruction::Gone(absence) = &answered.answer
            && answered.key == key
        {
            self.gone = Some((entry.seq, absence.clone()));
        }
    }

    /// An answer counts if it is to an order that came after the stop.
    fn fence(&mut self, key: KeyId, entry: &Entry) {
        if let Record::FenceIntended(intended) = &entry.record
            && intended.keys.contains(&key)
            && intended.cause.is_up()
            && self.frozen.is_some()
        {
            self.fencing.insert(entry.seq);
        }
        if let Record::FenceAnswered(answered) = &entry.record
            && answered.done.contains(&key)
            && self.fencing.contains(&answered.intent)
        {
            self.fenced.get_or_insert(entry.seq);
        }
    }

    fn signed(&mut self, at: Sequence) {
        // Its drain, as long as that can be: a key that was ended signs nothing at all.
        if self.drained.is_some() && self.revoked.is_none() {
            self.signed_draining = self.signed_draining.saturating_add(1);
        } else if self.frozen.is_some() {
            self.signed_after.push(at);
        } else {
            self.signed_before = self.signed_before.saturating_add(1);
        }
    }

    /// Everything that is missing for a good drill, a line each.
    pub(super) fn missing(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (what, there) in [
            ("that the canary was made", self.made.is_some()),
            ("a signature before the stop", self.signed_before > 0),
            ("the stop", self.frozen.is_some()),
            ("that the token was read back as fenced", self.fenced.is_some()),
            ("that people agreed to its drain", self.drained.is_some()),
            ("a signature of its drain", self.signed_draining > 0),
            ("that people agreed to its revocation", self.revoked.is_some()),
            ("that people agreed to its destruction", self.destroyed.is_some()),
            ("that it is absent from the token", self.gone.is_some()),
        ] {
            if !there {
                lines.push(format!("the journal does not say {what}"));
            }
        }
        let gone = self.gone.as_ref().map(|(at, _)| *at);
        let drained = self.drained.map(|(at, _)| at);
        let begun = [self.made, self.frozen, self.fenced, drained];
        let order = begun.into_iter().chain([self.revoked, self.destroyed, gone]);
        if !order.flatten().is_sorted() {
            let line = "the journal has it in another order: making, stop, fence, drain, end";
            lines.push(line.to_owned());
        }
        if let Some(at) = self.thawed {
            lines.push(format!("the canary was started again: record {at}"));
        }
        if let Some(at) = self.signed_after.first() {
            let count = self.signed_after.len();
            lines.push(format!(
                "the journal has {count} signatures that neither came before the stop nor were of \
                 its drain: record {at}"
            ));
        }
        lines
    }

    /// What the records show, a line each.
    pub(super) fn told(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(frozen) = self.frozen {
            let (before, after) = (self.signed_before, self.signed_after.len());
            lines.push(format!(
                "{before} signatures are recorded before the stop (record {frozen}), {after} after"
            ));
        }
        if let Some((at, _)) = self.drained {
            let count = self.signed_draining;
            lines.push(format!("people agreed to its drain in record {at}: {count} signed by it"));
        }
        if let (Some(revoked), Some(destroyed), Some((gone, absence))) =
            (self.revoked, self.destroyed, &self.gone)
        {
            lines.push(format!(
                "revoked in record {revoked}, agreed to be destroyed in record {destroyed}, absent \
                 from {} since record {gone}: {}",
                absence.token,
                grade(absence.grade)
            ));
        }
        lines
    }

    /// What else a bundle says of the canary, and the journal otherwise; a line each.
    pub(super) fn contradicts(&self, evidence: &Evidence) -> Vec<String> {
        let Some(canary) = &evidence.canary else { return Vec::new() };
        let (intended, own) = (self.intended.as_ref(), self.address.as_ref());
        let checks = [
            (intended.is_some_and(|key| key.label.as_str() == canary.label), "label"),
            (intended.is_some_and(|key| key.purpose == CANARY), "purpose"),
            (intended.is_some_and(|key| key.chains.contains(&ChainId(canary.chain_id))), "chain"),
            (
                intended.is_some_and(|key| key.environment.name() == evidence.vault.environment),
                "environment",
            ),
            (own.is_some_and(|own| address(own.as_slice()) == canary.address), "address"),
            (self.absence() == canary.absence, "absence"),
            (self.successor() == canary.successor, "successor"),
        ];
        let wrong = checks.into_iter().filter(|(holds, _)| !holds);
        wrong
            .map(|(_, what)| format!("the journal says otherwise of the canary's {what}"))
            .collect()
    }

    /// Who stopped it first.
    pub(super) fn is_stopped_by(&self, person: &str) -> bool {
        matches!(&self.stopped_by, Some(Actor::Person(by)) if by.as_str() == person)
    }

    /// The first stop of the canary.
    pub(super) fn frozen(&self) -> Option<Sequence> {
        self.frozen
    }

    /// Where its drain brought it, if to a key.
    pub(super) fn successor(&self) -> Option<String> {
        match self.drained?.1 {
            DrainTo::Key(key) => Some(key.to_string()),
            DrainTo::Address(_) => None,
        }
    }

    /// What its absence proves.
    pub(super) fn absence(&self) -> Option<String> {
        self.gone.as_ref().map(|(_, absence)| grade(absence.grade).to_owned())
    }
}

/// What an absence of this grade proves.
fn grade(grade: Grade) -> &'static str {
    match grade {
        Grade::Told => "the token says so; what it keeps inside is for its maker to say",
        Grade::Unlinked => {
            "the token is software and unlinked a file, which proves nothing about copies"
        }
    }
}
