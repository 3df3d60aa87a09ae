//! Stops: who, why, and how long until a quorum started it again.

use portcullis_policy::id::{PersonId, Sequence};
use portcullis_policy::record::{Actor, Trigger};
use portcullis_policy::stops::Scope;
use portcullis_policy::time::Millis;
use portcullis_policy::utc::rfc3339;

use super::period::Period;
use crate::approvals::words::{plain, span};

/// Every stop there was.
#[derive(Debug, Default)]
pub(super) struct Stops(Vec<Stop>);

/// One stop.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    pub(super) scope: Scope,
    pub(super) at: (Sequence, Millis),
    pub(super) by: String,
    pub(super) why: String,
    pub(super) thawed: Option<Thawed>,
}

/// How it ended.
#[derive(Clone, Debug)]
pub(super) struct Thawed {
    pub(super) at: (Sequence, Millis),
    /// Who proposed it, and why.
    pub(super) by: PersonId,
    pub(super) why: String,
    pub(super) approved: Vec<PersonId>,
}

impl Stops {
    pub(super) fn begin(&mut self, scope: Scope, at: (Sequence, Millis), by: String, why: &str) {
        self.0.push(Stop { scope, at, by, why: plain(why), thawed: None });
    }

    /// A thaw ends all that stopped exactly this.
    pub(super) fn thaw(&mut self, scope: &Scope, thawed: &Thawed) {
        for stop in self.0.iter_mut().filter(|stop| stop.scope == *scope) {
            stop.thawed.get_or_insert_with(|| thawed.clone());
        }
    }

    /// Those that were in force at any time of a period.
    pub(super) fn during(self, period: &Period) -> Vec<Stop> {
        let ended =
            |stop: &Stop| stop.thawed.as_ref().is_some_and(|thawed| period.is_before(thawed.at.1));
        let within = |stop: &Stop| !period.is_after(stop.at.1) && !ended(stop);
        self.0.into_iter().filter(within).collect()
    }
}

impl Stop {
    /// How long, or so far.
    pub(super) fn lasted(&self, last: Millis) -> String {
        let end = self.thawed.as_ref().map_or(last, |thawed| thawed.at.1);
        let millis = end.0.saturating_sub(self.at.1.0);
        if millis < 1_000 { "under 1s".to_owned() } else { span(millis) }
    }

    /// How it ended, in words.
    pub(super) fn end(&self) -> String {
        let Some(Thawed { at: (sequence, at), by, why, approved }) = &self.thawed else {
            return "still in force".to_owned();
        };
        let approved = names(approved);
        let at = rfc3339(at.0);
        format!("record {sequence} at {at}: proposed by {by} ({why}), approved by {approved}")
    }
}

/// Names with commas.
pub(super) fn names(people: &[PersonId]) -> String {
    let names: Vec<&str> = people.iter().map(PersonId::as_str).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

/// Who, or what.
pub(super) fn actor(actor: &Actor) -> String {
    match actor {
        Actor::Person(person) => person.to_string(),
        Actor::Order(order) => format!("an order that {} had signed", order.by),
        Actor::Rescue(signed) => format!("{}, straight on the token", signed.note.by),
        Actor::Signer => "the signer, on an alarm".to_owned(),
        Actor::Trigger(Trigger::BadSignature) => {
            "the signer: a signature did not verify".to_owned()
        }
        Actor::Trigger(Trigger::Denials(_)) => "the signer: too many refusals".to_owned(),
        Actor::Trigger(Trigger::UsedElsewhere(used)) => {
            format!("the signer: {} reported use elsewhere", used.by)
        }
    }
}
