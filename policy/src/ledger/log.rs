//! One account's charges, or those of a part of it, in order of time.
//!
//! Charges are kept apart up to a bound. Beyond it, those of one stretch of time are merged into
//! the youngest of them: the older they are, the longer the stretch, so that a window holds a
//! merged charge a little longer than its length, by a fraction of it, and never shorter.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::id::Sequence;
use crate::money::{Amount, Total};
use crate::outage::Outage;
use crate::time::{Millis, Span};

/// When a charge was recorded; the sequence number keeps stamps apart.
pub(super) use crate::outage::Stamp;

/// Tells logs apart, also those that were dropped: none is ever used twice.
pub(super) type LogId = u64;

/// So much was authorised when, and less ever since: what lies between the amount of the step
/// before it and its own leaves with this stamp. The youngest and smallest comes first.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) amount: Amount,
    pub(super) stamp: Stamp,
}

/// Charges in order of time, with a running sum for each window, if it has any.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Log {
    pub(super) id: LogId,
    /// Of what was stamped anew nothing is left: zero.
    entries: VecDeque<(Stamp, Amount)>,
    /// Everything there ever was.
    lifetime: Total,
    windows: Vec<Running>,
    /// Before this, nothing leaves a window that has not left its running sum.
    due: Millis,
    /// How coarse the last merge was.
    coarse: u32,
}

/// The sum of all entries after `expired`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Running {
    span: Span,
    expired: Option<Stamp>,
    total: Total,
}

impl Log {
    /// One whose sums are asked for at every decision.
    pub(super) fn new(id: LogId, spans: &BTreeSet<Span>) -> Self {
        let running = |span: &Span| Running { span: *span, expired: None, total: Total::ZERO };
        Self { windows: spans.iter().map(running).collect(), ..Self::plain(id) }
    }

    /// One that is added up when it is asked for.
    pub(super) fn plain(id: LogId) -> Self {
        // Most recipients are paid once.
        let entries = VecDeque::with_capacity(1);
        let (windows, due) = (Vec::new(), Millis(0));
        Self { id, entries, lifetime: Total::ZERO, windows, due, coarse: 0 }
    }

    pub(super) fn set_spans(&mut self, spans: &BTreeSet<Span>) {
        let whole = self.entries.iter().fold(Total::ZERO, |sum, (_, amount)| sum.plus(*amount));
        let old = std::mem::take(&mut self.windows);
        let kept = |span: &Span| {
            let known = old.iter().find(|running| running.span == *span).copied();
            // Everything is in a new window until `advance` says it has left.
            known.unwrap_or(Running { span: *span, expired: None, total: whole })
        };
        self.windows = spans.iter().map(kept).collect();
        self.due = Millis(0);
    }

    /// How many charges are kept apart.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Stamps an alternative, and what is left of those it stands beside. Returns the slot's steps.
    pub(super) fn step(&mut self, before: &[Step], new: Step) -> Vec<Step> {
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

    /// Drops what is not younger than the horizon: it has left every window.
    pub(super) fn prune(&mut self, horizon: Option<Millis>) {
        let Some(horizon) = horizon else { return };
        while self.entries.front().is_some_and(|(stamp, _)| stamp.0 <= horizon) {
            self.entries.pop_front();
        }
    }

    /// What was charged since an outage ended leaves as long after it as before.
    pub(super) fn keep_young(&mut self, outage: Outage) {
        for (stamp, _) in &mut self.entries {
            *stamp = outage.moved(*stamp);
        }
        for running in &mut self.windows {
            running.expired = running.expired.map(|stamp| outage.moved(stamp));
        }
        self.due = Millis(0);
    }

    fn place(&self, stamp: Stamp) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&stamp, |(stamp, _)| *stamp)
    }

    fn add(&mut self, stamp: Stamp, amount: Amount) {
        match self.place(stamp) {
            Ok(at) => {
                if let Some((_, held)) = self.entries.get_mut(at) {
                    *held = saturating(*held, amount);
                }
            }
            Err(at) => self.entries.insert(at, (stamp, amount)),
        }
        for running in &mut self.windows {
            if Some(stamp) > running.expired {
                running.total = running.total.plus(amount);
            }
        }
        let shortest = self.windows.first().map_or(Span::LIFETIME, |running| running.span);
        self.due = self.due.min(stamp.0.plus(shortest));
        self.lifetime = self.lifetime.plus(amount);
    }

    /// Takes a charge back, to be stamped anew. One that was merged into another stays where it is,
    /// and so does one that is part of a sum beyond all numbers. They count twice: rather too much
    /// than too little.
    fn remove(&mut self, stamp: Stamp, amount: Amount) {
        let held = self.place(stamp).ok().and_then(|at| self.entries.get_mut(at));
        let Some((_, held)) = held.filter(|(_, held)| *held < Amount::MAX) else { return };
        let Some(left) = held.checked_sub(amount) else { return };
        *held = left;
        for running in &mut self.windows {
            if Some(stamp) > running.expired {
                running.total = running.total.minus(amount);
            }
        }
        self.lifetime = self.lifetime.minus(amount);
    }

    /// Merges until at most `target` are left, and two where that is less.
    pub(super) fn merge(&mut self, target: usize, now: Millis) {
        if self.entries.len() <= target {
            return;
        }
        self.entries.retain(|(_, amount)| *amount > Amount::ZERO);
        if self.entries.len() > target {
            // Coarser stretches are unions of finer ones. Which fit changes little between merges.
            while self.coarse > 0 && self.stretches(self.coarse.saturating_sub(1), now) <= target {
                self.coarse = self.coarse.saturating_sub(1);
            }
            while self.coarse < COARSEST && self.stretches(self.coarse, now) > target {
                self.coarse = self.coarse.saturating_add(1);
            }
            self.join(self.coarse, now);
        }
        for running in &mut self.windows {
            let counted = self.entries.iter().filter(|(stamp, _)| Some(*stamp) > running.expired);
            running.total = counted.fold(Total::ZERO, |sum, (_, amount)| sum.plus(*amount));
        }
        self.due = Millis(0);
    }

    fn stretches(&self, coarse: u32, now: Millis) -> usize {
        let mut last = None;
        let stretches = self.entries.iter().map(|(stamp, _)| stretch(stamp.0, now, coarse));
        stretches.filter(|one| last.replace(*one) != Some(*one)).count()
    }

    fn join(&mut self, coarse: u32, now: Millis) {
        let mut joined: VecDeque<(Stamp, Amount)> = VecDeque::new();
        for (stamp, amount) in std::mem::take(&mut self.entries) {
            let own = stretch(stamp.0, now, coarse);
            match joined.back_mut() {
                Some((last, sum)) if stretch(last.0, now, coarse) == own => {
                    (*last, *sum) = (stamp, saturating(*sum, amount));
                }
                Some(_) | None => joined.push_back((stamp, amount)),
            }
        }
        self.entries = joined;
    }

    /// Lets what has left the windows by `now` leave their running sums.
    pub(super) fn advance(&mut self, now: Millis) {
        if now < self.due {
            return;
        }
        let mut due = Millis(u64::MAX);
        for running in &mut self.windows {
            let after =
                |expired| self.entries.partition_point(|(stamp, _)| Some(*stamp) <= expired);
            let mut entries = self.entries.range(after(running.expired)..).peekable();
            // A charge is in the window (now - span, now].
            let through = through(now, running.span);
            if running.expired < through {
                while let Some((_, amount)) = entries.next_if(|(stamp, _)| Some(*stamp) <= through)
                {
                    running.total = running.total.minus(*amount);
                }
                running.expired = through;
            }
            if let Some((next, _)) = entries.peek() {
                due = due.min(next.0.plus(running.span));
            }
        }
        self.due = due;
    }

    pub(super) fn used(&self, span: Span, now: Millis) -> Total {
        if span == Span::LIFETIME {
            return self.lifetime;
        }
        let through = through(now, span);
        let Some(running) = self.windows.iter().find(|running| running.span == span) else {
            let young = self.entries.iter().rev().take_while(|(stamp, _)| Some(*stamp) > through);
            return young.fold(Total::ZERO, |sum, (_, amount)| sum.plus(*amount));
        };
        if now < self.due || running.expired >= through {
            return running.total;
        }
        let first = self.entries.partition_point(|(stamp, _)| Some(*stamp) <= running.expired);
        let leaving = self.entries.range(first..).take_while(|(stamp, _)| Some(*stamp) <= through);
        leaving.fold(running.total, |total, (_, amount)| total.minus(*amount))
    }

    /// Whether a window holds what a slot was charged with this stamp.
    pub(super) fn counts(&self, span: Span, stamp: Stamp, now: Millis) -> bool {
        let held = self.place(stamp).ok().and_then(|at| self.entries.get(at));
        let running = self.windows.iter().find(|running| running.span == span);
        let expired = running.and_then(|running| running.expired);
        held.is_some_and(|(_, amount)| *amount > Amount::ZERO)
            && Some(stamp) > expired.max(through(now, span))
    }
}

/// The last stamp that has left a window of this length. `None`: none has.
fn through(now: Millis, span: Span) -> Option<Stamp> {
    now.minus(span).map(|left| (left, Sequence(u64::MAX)))
}

/// No sum of charges that limits let pass is that large; if one is, it passes no limit more.
fn saturating(sum: Amount, more: Amount) -> Amount {
    sum.checked_add(more).unwrap_or(Amount::MAX)
}

/// The stretch of time a charge is merged in: aligned, and as long as the largest power of two in
/// its age, divided by [`FINEST`], times two for each step coarser.
fn stretch(at: Millis, now: Millis, coarse: u32) -> (u32, u64) {
    let age = now.0.saturating_sub(at.0);
    let octave = age.checked_ilog2().unwrap_or(0);
    let length = octave.saturating_add(coarse).saturating_sub(FINEST.ilog2()).min(u64::BITS - 1);
    (length, at.0 >> length)
}

/// A stretch is at first a thousandth of its age, and everything younger than a second stays apart.
const FINEST: u32 = 1_024;

/// Enough for all of time to be one stretch or two.
const COARSEST: u32 = 80;

/// Alternatives of one nonce that are told apart by when they leave.
const STEPS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "the numbers of a test are small")]

    use proptest::prelude::*;

    use super::*;

    const HOUR: Span = Span(3_600_000);
    const DAY: Span = Span(86_400_000);

    fn amount(units: u64) -> Amount {
        Amount::from(u128::from(units))
    }

    fn log() -> Log {
        Log::new(1, &BTreeSet::from([HOUR, DAY]))
    }

    proptest! {
        #[test]
        fn a_merged_window_never_holds_less_than_an_exact_one_nor_more_than_one_twice_as_long(
            charges in prop::collection::vec((0_u64..4_000_000, 1_u64..100), 1..400),
            target in 100_usize..200,
        ) {
            let (mut merged, mut exact) = (log(), Vec::new());
            let mut now = 1_700_000_000_000;
            for (at, (wait, units)) in (0..).zip(&charges) {
                now += wait;
                let stamp = (Millis(now), Sequence(at));
                merged.advance(Millis(now));
                merged.step(&[], Step { amount: amount(*units), stamp });
                exact.push((now, *units));
                if merged.len() > target {
                    merged.merge(target / 2, Millis(now));
                    prop_assert!(merged.len() <= target / 2);
                }
                for span in [HOUR, DAY] {
                    let within = |length: u64| {
                        let young = exact.iter().filter(|(at, _)| at + length > now);
                        Total::ZERO.plus(amount(young.map(|(_, units)| units).sum()))
                    };
                    let used = merged.used(span, Millis(now));
                    prop_assert!(used >= within(span.0), "at {now}");
                    // Fifty stretches reach over ten days with none longer than half its age.
                    prop_assert!(used <= within(2 * span.0), "at {now}");
                    prop_assert_eq!(used, merged.clone().advanced(now).used(span, Millis(now)));
                }
            }
            let all = exact.iter().map(|(_, units)| units).sum();
            let lifetime = merged.used(Span::LIFETIME, Millis(now));
            prop_assert_eq!(lifetime, Total::ZERO.plus(amount(all)));
        }
    }

    impl Log {
        fn advanced(mut self, now: u64) -> Self {
            self.advance(Millis(now));
            self
        }
    }

    #[test]
    fn a_window_that_is_always_full_stays_as_full_as_it_is_however_often_it_is_merged() {
        let mut log = log();
        // A charge each second, for ten days: of the day's 86,400 no more than 1,024 are apart.
        for second in 0..864_000_u64 {
            let now = Millis(1_700_000_000_000 + second * 1_000);
            log.advance(now);
            log.step(&[], Step { amount: amount(1), stamp: (now, Sequence(second)) });
            if log.len() > 1_024 {
                log.merge(512, now);
            }
        }
        let now = Millis(1_700_000_000_000 + 863_999 * 1_000);
        let used = log.used(DAY, now).to_amount_saturating();
        assert!(used >= amount(86_400) && used <= amount(92_000), "{used}");
    }

    #[test]
    fn charges_that_add_up_to_more_than_any_number_are_merged_and_pass_no_limit() {
        let mut log = log();
        for second in 0..100_u64 {
            let stamp = (Millis(second), Sequence(second));
            log.step(&[], Step { amount: Amount::MAX, stamp });
        }
        log.merge(2, Millis(100_000));
        assert!(log.len() <= 2);
        let less = Amount::MAX.checked_sub(amount(1)).unwrap();
        assert!(log.used(DAY, Millis(100_000)).exceeds(less));
    }
}
