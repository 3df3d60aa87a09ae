//! Who said no to what, for a while.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

use crate::id::{KeyId, PersonId};
use crate::outage::Outage;
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

    /// What was rejected since an outage ended is as new after it as before.
    pub(crate) fn keep_young(&mut self, outage: Outage) {
        for (_, at) in self.by.values_mut() {
            *at = outage.moved_time(*at);
        }
        let ages = std::mem::take(&mut self.ages).into_iter();
        self.ages = ages.map(|(at, what)| (outage.moved_time(at), what)).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Sequence;

    #[test]
    fn over_an_outage_a_rejection_is_forgotten_early_if_it_came_before_it_alone() {
        let what = |number| (KeyId::from_bytes([number; 16]), B256::ZERO);
        let mut rejections = Rejections::default();
        rejections.note(what(1), ("sam".parse().unwrap(), Millis(1)));
        rejections.note(what(2), ("sam".parse().unwrap(), Millis(9)));
        rejections.keep_young(Outage::before((Millis(5), Sequence(7)), REJECTION_REMEMBERED));
        rejections.forget(Millis(9).plus(REJECTION_REMEMBERED));
        assert_eq!(rejections.of(&what(1)), None);
        let later = Millis(9).plus(REJECTION_REMEMBERED);
        assert_eq!(rejections.of(&what(2)), Some(&("sam".parse().unwrap(), later)));
        rejections.forget(later.plus(REJECTION_REMEMBERED));
        assert_eq!(rejections.of(&what(2)), None);
    }
}
