//! What is in force, for readers outside the writer: replaced whole whenever a record changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::{Address, B128};
use portcullis_policy::book::Book;
use portcullis_policy::drain::DrainPlan;
use portcullis_policy::fences::Fences;
use portcullis_policy::governance::Governance;
use portcullis_policy::id::{CallerId, ChainId, KeyId, KeyLabel, PersonId, Sequence, Tag, VaultId};
use portcullis_policy::people::People;
use portcullis_policy::record::Environment;
use portcullis_policy::state::{Checkpoints, Drills, Signatories, State, Tomb};
use portcullis_policy::stops::{Scope, Stops};
use portcullis_policy::time::Millis;

/// A picture of the state. May be a batch older than the writer's: nothing is decided from it.
#[derive(Clone, Debug)]
pub struct View {
    /// Hash of the genesis record.
    pub vault: VaultId,
    /// What the vault is for.
    pub environment: Environment,
    /// The people.
    pub people: People,
    /// What it takes to change the vault.
    pub governance: Governance,
    /// A recovery that was announced: its record, and when it can be carried out.
    pub recovery: Option<(Sequence, Millis)>,
    /// Keys that were ended for good.
    pub revoked: BTreeSet<KeyId>,
    /// The book in force.
    pub book: Arc<Book>,
    /// The record that brought it into force.
    pub adopted: Sequence,
    /// The last record that may forbid what was allowed before it.
    pub narrowed: Sequence,
    /// Keys that were made.
    pub keys: BTreeMap<KeyId, KeyView>,
    /// The key that signs checkpoints, and what was intended for one.
    pub checkpoints: Checkpoints,
    /// What is stopped.
    pub stops: Stops,
    /// What the token was told.
    pub fences: Fences,
    /// Keys that are drained.
    pub drains: BTreeMap<KeyId, Arc<DrainPlan>>,
    /// Drills of the stop.
    pub drills: Drills,
    /// Which key took the place of one that was drained.
    pub successors: BTreeMap<KeyId, KeyId>,
    /// Keys that were removed from the token, or are to be.
    pub tombs: BTreeMap<KeyId, Tomb>,
    /// Stop orders that were used, with their ends.
    pub used_orders: BTreeSet<(Millis, B128)>,
    /// Notes of what was done straight on the token that were taken in.
    pub taken_notes: BTreeSet<B128>,
}

/// A key that was made.
#[derive(Clone, Debug)]
pub struct KeyView {
    /// Its name in books.
    pub label: KeyLabel,
    /// Its address.
    pub address: Address,
    /// Its public point: 65 bytes as hex.
    pub point: String,
    /// Its tags.
    pub tags: BTreeSet<Tag>,
    /// What it is for.
    pub purpose: String,
    /// Who answers for it.
    pub owner: PersonId,
    /// The chains that it may ever sign for.
    pub chains: BTreeSet<ChainId>,
    /// By when somebody looks whether it is still needed.
    pub review_by: Millis,
    /// When its record was written.
    pub created_at: Millis,
    /// Whether it may sign for nobody: it is stopped, or ended for good.
    pub stopped: bool,
}

impl View {
    pub(super) fn of(state: &State, vault: VaultId) -> Self {
        let made = state.keys().iter().filter_map(|(id, key)| {
            let made = key.made.as_ref()?;
            let view = KeyView {
                label: key.label.clone(),
                address: made.address,
                point: made.point.clone(),
                tags: key.tags.clone(),
                purpose: key.purpose.clone(),
                owner: key.owner.clone(),
                chains: key.chains.clone(),
                review_by: key.review_by,
                created_at: made.at,
                stopped: state.must_be_fenced(*id),
            };
            Some((*id, view))
        });
        let drains = state.drains();
        let drains = drains.map(|(id, drain)| (*id, drain.plan.clone()));
        Self {
            vault,
            environment: state.environment(),
            people: state.people().clone(),
            governance: state.governance().clone(),
            recovery: state.recovery().map(|announced| {
                let delay = state.governance().recovery.as_ref().map(|one| one.delay);
                (announced.begun, announced.at.plus(delay.unwrap_or_default()))
            }),
            revoked: state.revoked().clone(),
            book: state.book().clone(),
            adopted: state.adopted(),
            narrowed: state.narrowed(),
            keys: made.collect(),
            checkpoints: state.checkpoints().clone(),
            stops: state.stops().clone(),
            fences: state.fences().clone(),
            drains: drains.collect(),
            drills: state.drills().clone(),
            successors: state.successors().clone(),
            tombs: state.tombs().clone(),
            used_orders: state.used_orders().clone(),
            taken_notes: state.taken_notes().clone(),
        }
    }

    /// What the book calls the key that took the place of this one.
    pub fn successor(&self, key: &KeyId) -> Option<&KeyLabel> {
        let successor = self.successors.get(key)?;
        self.keys.get(successor).map(|key| &key.label)
    }

    /// The keys whose place a key takes now, by label: those that were drained to it, and those
    /// before them.
    pub fn replaced_by(&self, key: &KeyId) -> Vec<&KeyLabel> {
        let replaced = self.successors.keys().filter(|old| self.last_successor(old) == *key);
        replaced.filter_map(|old| self.keys.get(old)).map(|old| &old.label).collect()
    }

    fn last_successor(&self, key: &KeyId) -> KeyId {
        let mut last = *key;
        // The fold makes no circle of them; this ends all the same.
        for _ in 0..self.successors.len() {
            let Some(next) = self.successors.get(&last) else { break };
            last = *next;
        }
        last
    }

    /// The stop that covers a key for everybody, if one does.
    pub fn stop_of(&self, key: &KeyId) -> Option<Scope> {
        let tags = &self.keys.get(key)?.tags;
        self.stops.iter().find(|scope| scope.covers_key(*key, tags)).cloned()
    }

    /// Whether something else than a stop, which the gate knows of, may forbid now what this caller
    /// was allowed with this key when that was recorded.
    pub fn may_forbid(&self, caller: &CallerId, key: &KeyId, recorded: Sequence) -> bool {
        // A key that is drained is stopped, and the gate lets its drain through.
        let is_kept = self.stop_of(key).is_some() && !self.drains.contains_key(key);
        let is_stopped = is_kept || self.stops.covering_caller(caller).is_some();
        self.narrowed > recorded && !is_stopped
    }

    /// Whether a stop of this very key is in force, and nothing is let through it: one that is
    /// drained can be stopped once more.
    pub fn is_stopped_by_itself(&self, key: &KeyId) -> bool {
        let own = Scope::Key(*key);
        self.stops.iter().any(|stop| *stop == own) && !self.drains.contains_key(key)
    }

    /// What it takes to judge a stop order.
    pub fn signatories(&self) -> Signatories<'_> {
        Signatories {
            vault: &self.vault,
            people: &self.people,
            used: &self.used_orders,
            taken: &self.taken_notes,
        }
    }

    /// A key by its id or its label.
    pub fn key_named(&self, name: &str) -> Option<(KeyId, &KeyView)> {
        let by_id = |id: KeyId| self.keys.get(&id).map(|key| (id, key));
        let by_label = || {
            let mut keys = self.keys.iter();
            keys.find(|(_, key)| key.label.as_str() == name).map(|(id, key)| (*id, key))
        };
        name.parse().ok().and_then(by_id).or_else(by_label)
    }
}
