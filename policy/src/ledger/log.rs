//! One account's charges, or those of a part of it, in order of time.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::Sequence;
use crate::money::{Amount, Total};
use crate::time::{Millis, Span};

/// When a charge was recorded; the sequence number keeps stamps apart.
pub(super) type Stamp = (Millis, Sequence);

/// So much was authorised when, and less ever since: what lies between the amount of the step
/// before it and its own leaves with this stamp. The youngest and smallest comes first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) amount: Amount,
    pub(super) stamp: Stamp,
}

/// One account's charges in order of time, with a running sum for each window.
#[derive(Clone, Debug)]
pub(super) struct Log {
    entries: BTreeMap<Stamp, Amount>,
    windows: BTreeMap<Span, Running>,
}

/// The sum of all entries after `expired`.
#[derive(Clone, Copy, Debug, Default)]
struct Running {
    expired: Option<Stamp>,
    total: Total,
}

impl Log {
    pub(super) fn new(spans: &BTreeSet<Span>) -> Self {
        let windows = spans.iter().map(|span| (*span, Running::default())).collect();
        Self { entries: BTreeMap::new(), windows }
    }

    pub(super) fn set_spans(&mut self, spans: &BTreeSet<Span>) {
        let whole = self.entries.values().fold(Total::ZERO, |sum, amount| sum.plus(*amount));
        // Everything is in a new window until `advance` says it has left.
        let fresh = Running { expired: None, total: whole };
        let old = std::mem::take(&mut self.windows);
        let kept = |span: &Span| old.get(span).copied().unwrap_or(fresh);
        self.windows = spans.iter().map(|span| (*span, kept(span))).collect();
    }

    /// Stamps an alternative, and what is left of those it stands beside. Returns the slot's steps.
    pub(super) fn step(
        &mut self,
        before: &[Step],
        new: Step,
        horizon: Option<Millis>,
    ) -> Vec<Step> {
        self.prune(horizon);
        let mut steps = vec![new];
        let mut below = Amount::ZERO;
        for step in before {
            let covered = step.amount.min(new.amount).checked_sub(below);
            self.remove(step.stamp, covered.unwrap_or(Amount::ZERO));
            below = step.amount;
            if step.amount > new.amount {
                steps.push(*step);
            }
        }
        self.add(new.stamp, new.amount);
        if steps.len() > STEPS_MAX {
            self.join_oldest(&mut steps);
        }
        if self.entries.len() > LOG_ENTRIES_MAX {
            self.merge();
        }
        steps
    }

    /// The oldest step leaves with the one after it: later than it might.
    fn join_oldest(&mut self, steps: &mut Vec<Step>) {
        let Some([younger, oldest]) = steps.last_chunk::<2>().copied() else { return };
        let Some(between) = oldest.amount.checked_sub(younger.amount) else { return };
        self.remove(oldest.stamp, between);
        self.add(younger.stamp, between);
        steps.truncate(steps.len().saturating_sub(2));
        steps.push(Step { amount: oldest.amount, stamp: younger.stamp });
    }

    /// Drops what is older than the horizon: it has left every window.
    pub(super) fn prune(&mut self, horizon: Option<Millis>) {
        while let Some(oldest) = self.entries.first_entry() {
            if horizon.is_none_or(|horizon| oldest.key().0 > horizon) {
                return;
            }
            oldest.remove();
        }
    }

    fn add(&mut self, stamp: Stamp, amount: Amount) {
        let before = self.entries.get(&stamp).copied().unwrap_or(Amount::ZERO);
        // No sum of charges that limits let pass is that large; if one is, it passes no limit more.
        let sum = before.checked_add(amount).unwrap_or(Amount::MAX);
        self.entries.insert(stamp, sum);
        for running in self.windows.values_mut() {
            if Some(stamp) > running.expired {
                running.total = running.total.plus(amount);
            }
        }
    }

    /// Takes a charge back, to be stamped anew. One that was merged into another stays where it is,
    /// and counts twice: rather too much than too little.
    fn remove(&mut self, stamp: Stamp, amount: Amount) {
        let Some(left) = self.entries.get(&stamp).and_then(|held| held.checked_sub(amount)) else {
            return;
        };
        if left == Amount::ZERO {
            self.entries.remove(&stamp);
        } else {
            self.entries.insert(stamp, left);
        }
        for running in self.windows.values_mut() {
            if Some(stamp) > running.expired {
                running.total = running.total.minus(amount);
            }
        }
    }

    /// Merges the older half, [`MERGED`] at a time into the youngest of them.
    fn merge(&mut self) {
        let half = self.entries.len() / 2;
        let Some(middle) = self.entries.keys().nth(half).copied() else { return };
        let young = self.entries.split_off(&middle);
        let old: Vec<(Stamp, Amount)> =
            std::mem::replace(&mut self.entries, young).into_iter().collect();
        for group in old.chunks(MERGED) {
            let sum =
                group.iter().try_fold(Amount::ZERO, |sum, (_, amount)| sum.checked_add(*amount));
            match (sum, group.last()) {
                (Some(sum), Some((youngest, _))) => drop(self.entries.insert(*youngest, sum)),
                // No amount is that large: then they stay apart.
                (None, _) | (_, None) => self.entries.extend(group.iter().copied()),
            }
        }
        for (span, running) in &mut self.windows {
            use std::ops::Bound::{Excluded, Unbounded};
            // What was spent in a lifetime is not all kept apart any more.
            if *span == Span::LIFETIME {
                continue;
            }
            let after = running.expired.map_or(Unbounded, Excluded);
            let counted = self.entries.range((after, Unbounded));
            running.total = counted.fold(Total::ZERO, |sum, (_, amount)| sum.plus(*amount));
        }
    }

    pub(super) fn advance(&mut self, now: Millis) {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        for (span, running) in &mut self.windows {
            // A charge is in the window (now - span, now].
            let Some(left) = now.minus(*span) else { continue };
            let through = (left, Sequence(u64::MAX));
            if running.expired >= Some(through) {
                continue;
            }
            let after = running.expired.map_or(Unbounded, Excluded);
            for (_, amount) in self.entries.range((after, Included(through))) {
                running.total = running.total.minus(*amount);
            }
            running.expired = Some(through);
        }
    }

    pub(super) fn used(&self, span: Span, now: Millis) -> Total {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let Some(running) = self.windows.get(&span) else { return Total::ZERO };
        let Some(through) = now.minus(span).map(|left| (left, Sequence(u64::MAX))) else {
            return running.total;
        };
        if running.expired >= Some(through) {
            return running.total;
        }
        let after = running.expired.map_or(Unbounded, Excluded);
        let leaving = self.entries.range((after, Included(through)));
        leaving.fold(running.total, |total, (_, amount)| total.minus(*amount))
    }

    pub(super) fn counts(&self, span: Span, stamp: Stamp, now: Millis) -> bool {
        let running = self.windows.get(&span);
        let left = now.minus(span).map(|left| (left, Sequence(u64::MAX)));
        self.entries.contains_key(&stamp)
            && running.is_some_and(|one| Some(stamp) > one.expired.max(left))
    }
}

/// Alternatives of one nonce that are told apart by when they leave.
const STEPS_MAX: usize = 8;

/// Charges of one account that are kept apart: about 100 bytes each.
const LOG_ENTRIES_MAX: usize = 65_536;

/// Of the older half, so many are merged into one.
const MERGED: usize = 16;
