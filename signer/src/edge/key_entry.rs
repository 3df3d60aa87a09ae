//! Says what is known of a key: how it stands, who may use it, who did, and whether somebody should
//! look at it.

use std::sync::Arc;

use portcullis_policy::book::{Book, KeyRules};
use portcullis_policy::drain::DrainPlan;
use portcullis_policy::fences::Told;
use portcullis_policy::id::{ChainId, KeyId, KeyLabel};
use portcullis_policy::record::{Absence, Destruction, Grade};
use portcullis_policy::state::Tomb;
use portcullis_policy::time::Millis;
use portcullis_proto::v1::{FenceState, Key, KeyRemoval, KeyState, KeyUse, RemovalGrade};

use crate::keys::Keys;
use crate::sequencer::{KeyView, Uses, View};

/// What keys are told with, as of one moment.
pub(super) struct Seen<'a> {
    pub(super) view: &'a View,
    pub(super) keys: &'a Keys,
    pub(super) uses: Uses,
    pub(super) now: Millis,
}

impl Seen<'_> {
    /// One key.
    pub(super) fn entry(&self, id: KeyId, key: &KeyView) -> Key {
        let (tomb, drain) = (self.view.tombs.get(&id), self.view.drains.get(&id));
        let successor = self.view.successor(&id);
        let rules = self.view.book.rules(&key.label);
        let allowed = rules.iter().flat_map(|rules| &rules.callers);
        Key {
            key_id: id.to_string(),
            label: key.label.to_string(),
            address: key.address.to_vec(),
            public_point: hex::decode(&key.point).unwrap_or_default(),
            state: state(self.view, id, key).into(),
            tags: key.tags.iter().map(ToString::to_string).collect(),
            purpose: key.purpose.clone(),
            owner: key.owner.to_string(),
            created_at_ms: key.created_at.0,
            trouble: self.keys.trouble(id).unwrap_or_default(),
            fence: fence(self.view, &id, key).into(),
            fence_refused: refused(self.view, &id),
            chains: key.chains.iter().map(|chain| chain.0).collect(),
            environment: self.view.environment.name().into(),
            review_by_ms: key.review_by.0,
            review_overdue: key.review_by <= self.now,
            age_ms: self.now.0.saturating_sub(key.created_at.0),
            callers: allowed.map(ToString::to_string).collect(),
            used_by: self.used_by(id),
            successor: successor.map(ToString::to_string).unwrap_or_default(),
            drained_until_ms: drain.map(|drain| drain.expires.0).unwrap_or_default(),
            removal: tomb.map(removal),
            drain_plan: drain.map(plan_text).unwrap_or_default(),
        }
    }

    fn used_by(&self, id: KeyId) -> Vec<KeyUse> {
        let of_key = self.uses.iter().filter(|((key, _), _)| *key == id);
        let told = of_key.map(|((_, caller), (sequence, at))| KeyUse {
            caller: caller.to_string(),
            sequence: sequence.0,
            at_ms: at.0,
        });
        told.collect()
    }
}

/// Rules that permit nothing, because the key they are for was not made for the chain: a line each.
pub(super) fn rules_in_vain(view: &View, book: &Book) -> Vec<String> {
    let of_label = |(label, rules): (&KeyLabel, &KeyRules)| {
        let key = view.keys.values().find(|key| key.label == *label)?;
        let foreign: Vec<ChainId> = rules.chains.difference(&key.chains).copied().collect();
        let names = foreign.iter().map(|chain| match book.registry().chain(*chain) {
            Some(known) => format!("{} ({chain})", known.name),
            None => chain.to_string(),
        });
        let names: Vec<String> = names.collect();
        let in_vain = format!(
            "key {label} was not made for {}: its rules for that permit nothing. A key for more \
             chains is another key",
            names.join(", ")
        );
        (!foreign.is_empty()).then_some(in_vain)
    };
    book.keys().filter_map(of_label).collect()
}

fn state(view: &View, id: KeyId, key: &KeyView) -> KeyState {
    if view.tombs.get(&id).is_some_and(Tomb::is_closed) {
        KeyState::Destroyed
    } else if view.revoked.contains(&id) {
        KeyState::Revoked
    } else if view.drains.contains_key(&id) {
        KeyState::Draining
    } else if key.stopped {
        KeyState::Frozen
    } else {
        KeyState::Active
    }
}

fn fence(view: &View, id: &KeyId, key: &KeyView) -> FenceState {
    match (key.stopped, view.fences.of(id).map(|fence| (fence.up, &fence.told))) {
        (false, None | Some((false, Told::Done))) => FenceState::Open,
        (true, Some((true, Told::Done))) => FenceState::Fenced,
        (_, Some((_, Told::Refused(_)))) => FenceState::Refused,
        (true, None | Some((false, _) | (true, Told::Nothing))) => FenceState::Closing,
        (false, Some((true, _) | (false, Told::Nothing))) => FenceState::Opening,
    }
}

fn removal(tomb: &Tomb) -> KeyRemoval {
    let agreed_sequence = tomb.intent.0;
    let told = KeyRemoval { agreed_sequence, ..KeyRemoval::default() };
    match tomb.answer.clone() {
        None => told,
        Some(Destruction::Refused(refused)) => KeyRemoval { refused, ..told },
        Some(Destruction::Gone(Absence { backups, grade, objects, token })) => {
            let proves = match grade {
                Grade::Told => RemovalGrade::Told,
                Grade::Unlinked => RemovalGrade::Unlinked,
            };
            let proves = proves.into();
            KeyRemoval { gone: true, proves, objects, token, backups, ..told }
        }
    }
}

fn plan_text(plan: &Arc<DrainPlan>) -> String {
    serde_json::to_string(plan.as_ref()).unwrap_or_default()
}

fn refused(view: &View, id: &KeyId) -> String {
    match view.fences.of(id).map(|fence| &fence.told) {
        Some(Told::Refused(why)) => why.clone(),
        None | Some(Told::Nothing | Told::Done) => String::new(),
    }
}
