//! What the token was told of keys: a fenced one has `CKA_SIGN` false, so that no process that has
//! a handle to it can sign with it. Whoever has the PIN can set it back, which is found out.
//!
//! Every change is bracketed: an intent before, the token's answer after. An intent without an
//! answer stands until the token has been told.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::id::{KeyId, Sequence};
use crate::record::{FenceAnswered, FenceCause, FenceIntended};

/// What the journal says of one key's object.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Fence {
    /// Whether it is to be fenced, or to sign again.
    pub up: bool,
    /// The intent.
    pub intent: Sequence,
    /// What the token said.
    pub told: Told,
}

/// What the token said.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Told {
    /// Nothing yet.
    Nothing,
    /// It is so, read back.
    Done,
    /// It would not, for this reason.
    Refused(String),
}

/// What the journal says of all of them. A key that is not in it was never fenced.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Fences(BTreeMap<KeyId, Fence>);

/// An intent that the token has not fulfilled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FenceOrder {
    /// The intent; `None` if there was no room to write it down, which keeps nothing from being
    /// stopped.
    pub intent: Option<Sequence>,
    /// Whether the keys are to be fenced, or to sign again.
    pub up: bool,
    /// Which.
    pub keys: BTreeSet<KeyId>,
}

impl FenceCause {
    /// Whether it fences.
    pub fn is_up(self) -> bool {
        match self {
            Self::Stopped | Self::Undone => true,
            Self::Thawed => false,
        }
    }
}

impl Fences {
    /// What the journal says of one key.
    pub fn of(&self, key: &KeyId) -> Option<&Fence> {
        self.0.get(key)
    }

    /// Whether the token was told, last, to fence this key.
    pub fn is_up(&self, key: &KeyId) -> bool {
        self.of(key).is_some_and(|fence| fence.up)
    }

    pub(crate) fn intend(&mut self, intended: &FenceIntended, intent: Sequence) {
        let fence = Fence { up: intended.cause.is_up(), intent, told: Told::Nothing };
        self.0.extend(intended.keys.iter().map(|key| (*key, fence.clone())));
    }

    /// Takes the token's answer; `false` if it answers what was not asked, or not any more.
    pub(crate) fn answer(&mut self, answered: &FenceAnswered) -> bool {
        let keys = answered.done.iter().chain(answered.refused.keys());
        let asked = |key: &KeyId| {
            let fence = self.of(key);
            fence.is_some_and(|fence| fence.intent == answered.intent && fence.told != Told::Done)
        };
        let mut both = answered.refused.keys().filter(|key| answered.done.contains(key));
        if !keys.clone().all(asked) || both.next().is_some() || keys.count() == 0 {
            return false;
        }
        for key in &answered.done {
            self.tell(key, Told::Done);
        }
        for (key, why) in &answered.refused {
            self.tell(key, Told::Refused(why.clone()));
        }
        true
    }

    fn tell(&mut self, key: &KeyId, told: Told) {
        if let Some(fence) = self.0.get_mut(key) {
            fence.told = told;
        }
    }

    /// What the token has not been told yet, by intent.
    pub fn standing(&self) -> Vec<FenceOrder> {
        let mut orders: BTreeMap<Sequence, FenceOrder> = BTreeMap::new();
        for (key, fence) in self.0.iter().filter(|(_, fence)| fence.told != Told::Done) {
            let order = orders.entry(fence.intent).or_insert_with(|| FenceOrder {
                intent: Some(fence.intent),
                up: fence.up,
                keys: BTreeSet::new(),
            });
            order.keys.insert(*key);
        }
        orders.into_values().collect()
    }
}
