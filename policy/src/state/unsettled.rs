//! What a stop is told that it cannot call back: signatures in its scope that may still take
//! effect.

use super::{CANARY, Key, State};
use crate::id::KeyId;
use crate::stops::Scope;
use crate::time::Interval;
use crate::unsettled::{Listing, Named, Wanted};

impl State {
    /// What was signed in a scope, was released or may have been, and is not known to be settled.
    pub fn unsettled(&self, wanted: &Wanted<'_>, now: Interval) -> Listing {
        let in_scope = |key: &Key| match wanted.scope {
            Scope::Tag(tag) => key.tags.contains(tag),
            Scope::All | Scope::Key(_) | Scope::Caller(_) => true,
        };
        let named = |id: KeyId| {
            let key = self.keys.get(&id).filter(|key| in_scope(key))?;
            let last = key.purpose == CANARY;
            Some(Named { label: &key.label, address: key.made.as_ref()?.address, last })
        };
        self.unsettled.list(wanted, now.sure, named)
    }
}
