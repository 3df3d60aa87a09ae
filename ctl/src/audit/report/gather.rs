//! Goes through the records of an export once, and keeps what a report tells. A new kind of record
//! must find its place in [`Gatherer::take`].

use std::collections::{BTreeMap, BTreeSet};

use portcullis_policy::act::Act;
use portcullis_policy::finding::Reason;
use portcullis_policy::id::{BookHash, CallerId, KeyId, PersonId, Sequence, Tag};
use portcullis_policy::record::{
    Adopted, Asked, Entry, Executed, Genesis, KeyCreated, KeyIntended, Proposed, Record,
    SignedRecord, Started, Suppressed,
};
use portcullis_policy::stops::Scope;
use portcullis_policy::time::Millis;

use super::period::Period;
use super::stops::{Stops, Thawed, actor};
use super::tally::{Requests, Slots, Tally};
use super::voters::Votes;
use crate::approvals::words::plain;
use crate::audit::in_force::InForce;
use crate::audit::{line, people};

/// A record's place and time.
pub(super) type At = (Sequence, Millis);

/// Takes the records of an export, in their order.
pub(super) struct Gatherer {
    period: Period,
    /// Labels or ids of the keys that requests are told of; empty: of all.
    only: Vec<String>,
    wanted: BTreeSet<KeyId>,
    in_force: InForce,
    slots: Slots,
    proposed: BTreeMap<Sequence, Box<Proposed>>,
    found: Found,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) environment: &'static str,
    /// First and last record of the export.
    pub(super) first: At,
    pub(super) last: At,
    /// First and last record of the period, and how many.
    pub(super) first_within: Option<At>,
    pub(super) last_within: At,
    pub(super) within: u64,
    pub(super) keys: BTreeMap<KeyId, KeyTold>,
    pub(super) tallies: BTreeMap<(KeyId, CallerId), Tally>,
    pub(super) stops: Stops,
    pub(super) votes: Votes,
    pub(super) deeds: Vec<Deed>,
    pub(super) starts: Vec<(At, Started)>,
}

/// A key, as it was asked for and made.
#[derive(Debug)]
pub(super) struct KeyTold {
    pub(super) label: String,
    pub(super) address: Option<String>,
    asked_by: PersonId,
    tags: BTreeSet<Tag>,
}

/// Something that changed the vault.
#[derive(Debug)]
pub(super) struct Deed {
    pub(super) at: At,
    /// What kind of record tells of it.
    pub(super) kind: &'static str,
    pub(super) what: String,
    /// Who did it, or proposed it.
    pub(super) by: String,
    pub(super) why: String,
    pub(super) approved: Vec<PersonId>,
}

impl Gatherer {
    pub(super) fn new(period: Period, only: Vec<String>) -> Self {
        let (wanted, in_force) = (BTreeSet::new(), InForce::default());
        let (slots, proposed) = (Slots::default(), BTreeMap::new());
        let found = Found::default();
        Self { period, only, wanted, in_force, slots, proposed, found }
    }

    pub(super) fn take(&mut self, entry: &Entry) {
        let at = (entry.seq, entry.at.sure);
        let within = self.pass(at);
        self.in_force.take(entry);
        match &entry.record {
            Record::Genesis(genesis) => self.genesis(at, genesis),
            Record::Started(one) if within => self.found.starts.push((at, one.clone())),
            Record::KeyIntended(intended) => self.intended(intended),
            Record::KeyCreated(created) => self.created(at, created),
            Record::Adopted(adopted) => self.adopted(at, adopted),
            Record::Frozen(frozen) => {
                let (scope, by) = (frozen.scope.clone(), actor(&frozen.by));
                self.found.stops.begin(scope, at, by, &frozen.reason);
            }
            Record::Voted(voted) => self.found.votes.cast(entry.seq, voted, within),
            Record::Proposed(one) => drop(self.proposed.insert(entry.seq, one.clone())),
            Record::Executed(done) => self.executed(at, done),
            Record::RecoveryBegun(begun) => {
                self.recovery(at, &entry.record, &begun.renewal.reason);
            }
            Record::Recovered(_) => self.recovery(at, &entry.record, "the people were replaced"),
            Record::Suspended(suspended) => self.told(at, &entry.record, suspended.by.to_string()),
            Record::Drilled(drilled) => self.told(at, &entry.record, drilled.by.to_string()),
            Record::DestroyAnswered(_) | Record::DrainEnded(_) | Record::CheckpointKeyMade(_) => {
                self.told(at, &entry.record, SIGNER.to_owned());
            }
            Record::Signed(signed) if within => self.signed(at, signed),
            Record::Denied(one) if within => {
                self.count(&one.asked, |all| all.refused.add(first(&one.reasons), 1));
            }
            Record::Parked(one) if within => {
                self.count(&one.asked, |all| all.parked = all.parked.saturating_add(1));
            }
            Record::Withheld(one) if within => {
                self.count(&one.asked, |all| all.withheld.add(first(&one.reasons), 1));
            }
            Record::Failed(one) if within => {
                self.count(&one.asked, |all| all.failed.add(&one.fault, 1));
            }
            Record::Suppressed(many) if within => self.suppressed(many),
            // Outside of the period nobody asks for numbers.
            Record::Started(_)
            | Record::Signed(_)
            | Record::Denied(_)
            | Record::Parked(_)
            | Record::Withheld(_)
            | Record::Failed(_)
            | Record::Suppressed(_) => {}
            // Reports, the token's answers, and what was taken back: `audit tail` has them.
            Record::Settled(_)
            | Record::Priced(_)
            | Record::CheckpointKeyIntended(_)
            | Record::Snapshot(_)
            | Record::FenceIntended(_)
            | Record::FenceAnswered(_)
            | Record::Withdrawn(_) => {}
        }
    }

    /// Whether it is of the period.
    fn pass(&mut self, at: At) -> bool {
        if self.found.first.0 == Sequence(0) {
            self.found.first = at;
        }
        self.found.last = at;
        let within = self.period.holds(at.1);
        if within {
            self.found.first_within.get_or_insert(at);
            self.found.last_within = at;
            self.found.within = self.found.within.saturating_add(1);
        }
        within
    }

    /// What was found; and the keys that were asked for and are not there.
    pub(super) fn finish(self) -> (Found, Vec<String>) {
        let keys = &self.found.keys;
        let known = |name: &&String| {
            keys.iter().any(|(id, key)| key.label == **name || id.to_string() == **name)
        };
        let unknown = self.only.iter().filter(|name| !known(name)).cloned().collect();
        (self.found, unknown)
    }

    fn genesis(&mut self, at: At, genesis: &Genesis) {
        self.found.environment = genesis.environment.name();
        let people: Vec<&str> = genesis.people.iter().map(|one| one.id.as_str()).collect();
        let what = format!("the vault was made, with the people {}", people.join(", "));
        self.deed(at, "genesis", what, "all of them".to_owned());
    }

    fn intended(&mut self, intended: &KeyIntended) {
        let (id, label) = (intended.key, intended.label.to_string());
        if self.only.iter().any(|name| *name == label || *name == id.to_string()) {
            self.wanted.insert(id);
        }
        let (asked_by, tags) = (intended.by.clone(), intended.tags.clone());
        self.found.keys.insert(id, KeyTold { label, address: None, asked_by, tags });
    }

    fn created(&mut self, at: At, created: &KeyCreated) {
        let address = created.address.to_checksum(None);
        let what = format!("key {} was made: {address}", self.found.name(created.key));
        let Some(key) = self.found.keys.get_mut(&created.key) else { return };
        key.address = Some(address);
        let by = key.asked_by.to_string();
        self.deed(at, "key_created", what, by);
    }

    /// Everything is stopped by it.
    fn recovery(&mut self, at: At, record: &Record, why: &str) {
        let by = || "recovery credentials".to_owned();
        self.found.stops.begin(Scope::All, at, by(), why);
        self.told(at, record, by());
    }

    fn adopted(&mut self, at: At, adopted: &Adopted) {
        let hash = BookHash::of(&adopted.book);
        let what = format!("the book {hash} came into force: it narrows");
        self.deed(at, "adopted", what, adopted.by.to_string());
    }

    fn executed(&mut self, at: At, done: &Executed) {
        let Some(proposed) = self.proposed.remove(&done.proposal) else { return };
        let approved = self.found.votes.of(&done.votes);
        let (by, why) = (proposed.by.clone(), plain(&proposed.reason));
        if let Act::Thaw(thaw) = &proposed.act {
            let (by, why, approved) = (by.clone(), why.clone(), approved.clone());
            self.found.stops.thaw(&thaw.scope, &Thawed { at, by, why, approved });
        }
        if !self.period.holds(at.1) {
            return;
        }
        self.found.votes.executed(&approved);
        let what = people::act(&proposed.act, |scope| self.found.scope(scope));
        let by = by.to_string();
        self.found.deeds.push(Deed { at, kind: "executed", what, by, why, approved });
    }

    fn signed(&mut self, at: At, signed: &SignedRecord) {
        let asked = &signed.asked;
        if !self.is_wanted(asked.by.key) {
            return;
        }
        self.found.votes.signed(at, signed);
        let whose = (asked.by.key, asked.by.caller.clone());
        let tally = self.found.tallies.entry(whose).or_default();
        tally.requests.signed = tally.requests.signed.saturating_add(1);
        if signed.repeats.is_some() {
            tally.requests.again = tally.requests.again.saturating_add(1);
            return;
        }
        if let Some(slot) = signed.slot.resolve(asked.by.key, asked.digest) {
            let place = (at.0, self.in_force.registry());
            self.slots.charge(slot, &signed.charge, place, &mut tally.sums);
        }
    }

    fn suppressed(&mut self, many: &Suppressed) {
        if self.is_wanted(many.key) {
            let whose = (many.key, many.caller.clone());
            let tally = self.found.tallies.entry(whose).or_default();
            tally.requests.suppressed.add(&many.code, many.count);
        }
    }

    fn count(&mut self, asked: &Asked, count: impl FnOnce(&mut Requests)) {
        if self.is_wanted(asked.by.key) {
            let whose = (asked.by.key, asked.by.caller.clone());
            count(&mut self.found.tallies.entry(whose).or_default().requests);
        }
    }

    fn is_wanted(&self, key: KeyId) -> bool {
        self.only.is_empty() || self.wanted.contains(&key)
    }

    /// Something that `audit tail` has words for.
    fn told(&mut self, at: At, record: &Record, by: String) {
        let mut what = line::what(record);
        for (id, key) in &self.found.keys {
            what = what.replace(&id.to_string(), &key.label);
        }
        self.deed(at, record.kind(), what, by);
    }

    fn deed(&mut self, at: At, kind: &'static str, what: String, by: String) {
        if self.period.holds(at.1) {
            let (why, approved) = (String::new(), Vec::new());
            self.found.deeds.push(Deed { at, kind, what, by, why, approved });
        }
    }
}

impl Found {
    /// A key's label; its id, where it has none.
    pub(super) fn name(&self, key: KeyId) -> String {
        if *key.bytes() == [0; 16] {
            return "(no such key)".to_owned();
        }
        self.keys.get(&key).map_or_else(|| key.to_string(), |key| key.label.clone())
    }

    pub(super) fn scope(&self, scope: &Scope) -> String {
        match scope {
            Scope::Key(key) => format!("key {}", self.name(*key)),
            Scope::All | Scope::Caller(_) | Scope::Tag(_) => scope.to_string(),
        }
    }

    /// Whether a stop is about one of these keys, by label or id; always, if there are none.
    pub(super) fn concerns(&self, scope: &Scope, only: &[String]) -> bool {
        let named = |id: &KeyId, key: &KeyTold| {
            only.iter().any(|name| *name == key.label || *name == id.to_string())
        };
        let mut keys = self.keys.iter().filter(|(id, key)| named(id, key));
        only.is_empty() || keys.any(|(id, key)| scope.covers_key(*id, &key.tags))
    }
}

/// Equal refusals share their first reason.
fn first(reasons: &[Reason]) -> &str {
    reasons.first().map_or("UNKNOWN", |reason| reason.code.as_str())
}

const SIGNER: &str = "the signer";
