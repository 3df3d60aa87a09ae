//! Who said no to what, for a while.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

use crate::id::{KeyId, PersonId};
use crate::time::{Millis, Span};

/// Who said no to what, for a while: shown to whoever votes on the same again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Rejections {
    by: BTreeMap<(KeyId, B256), (PersonId, Millis)>,
    ages: BTreeSet<(Millis, (KeyId, B256))>,
}

impl Rejections {
    pub(crate) fn note(&mut self, what: (KeyId, B256), (by, at): (PersonId, Millis)) {
        if let Some((_, before)) = self.by.insert(what, (by, at)) {
            self.ages.remove(&(before, what));
        }
        self.ages.insert((at, what));
    }

    pub(crate) fn of(&self, what: &(KeyId, B256)) -> Option<&(PersonId, Millis)> {
        self.by.get(what)
    }

    pub(crate) fn forget(&mut self, sure: Millis) {
        while let Some((at, what)) = self.ages.first().copied() {
            if at.plus(REJECTION_REMEMBERED) > sure && self.ages.len() <= REJECTIONS_MAX {
                return;
            }
            self.ages.remove(&(at, what));
            self.by.remove(&what);
        }
    }
}

/// How long a rejection is shown to whoever votes on the same again.
const REJECTION_REMEMBERED: Span = Span(7 * 86_400_000);

/// Rejections remembered: above it the oldest are forgotten. Some 200 bytes each.
const REJECTIONS_MAX: usize = 10_000;
