//! What was authorised: charges by slot, and their sums over exact rolling windows.
//!
//! Of all alternatives for one nonce at most one is mined: a window holds, for each slot, the
//! largest of those that were authorised within it. An alternative that costs less than an older
//! one, to cancel it for instance, stamps only so much anew; the rest leaves when the older one
//! does.
//!
//! A charge is stamped with the time of its record. It leaves a window of length W when a time that
//! has *surely* passed is W later, never before; while its reservation is open it does not age. So
//! for every interval of length W the charges recorded in it never exceed a limit that held at
//! each decision: of any set recorded within W, the one decided last saw all the others, recorded
//! or open.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{ChainId, Digest, KeyId, Sequence};
use crate::money::{Account, Amount, Charges, Total};
use crate::time::{Millis, Span};

/// Of all that is signed for one slot, at most one ever takes effect.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Slot {
    /// The account.
    pub key: KeyId,
    /// The chain.
    pub chain: ChainId,
    /// Which on it.
    pub place: Place,
}

/// What sets the signatures of one key on one chain apart.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Place {
    /// The account's nonce: of all transactions and authorizations with it, one is ever mined.
    Nonce(u64),
    /// The digest: typed data and messages, each of which may take effect by itself.
    Digest(Digest),
}

/// When a charge was recorded; the sequence number keeps stamps apart.
type Stamp = (Millis, Sequence);

/// Charges recorded, by slot and by account.
///
/// Bounded: of more than [`SLOTS_MAX`] slots the oldest are no longer recognised, and of more than
/// [`LOG_ENTRIES_MAX`] charges of an account the oldest are merged, each into one that is younger.
/// Both only tighten: what is not recognised is charged again, and what is merged leaves later.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    spans: BTreeSet<Span>,
    longest: Span,
    /// Charges stamped no later are forgotten, as of the last signature.
    forgotten: Option<Millis>,
    logs: BTreeMap<(KeyId, Account), Log>,
    slots: BTreeMap<Slot, Held>,
    stamps: BTreeMap<Stamp, Slot>,
    faded: Option<Millis>,
}

/// What a slot is charged, account by account.
#[derive(Clone, Debug)]
pub struct Held {
    charges: Vec<(Account, Vec<Step>)>,
    stamp: Stamp,
    digests: Vec<(Digest, Sequence)>,
}

/// So much was authorised when, and less ever since: what lies between the amount of the step
/// before it and its own leaves with this stamp. The youngest and smallest comes first.
#[derive(Clone, Copy, Debug)]
struct Step {
    amount: Amount,
    stamp: Stamp,
}

impl Held {
    fn steps(&self, account: Account) -> &[Step] {
        let mut charges = self.charges.iter();
        charges.find(|(known, _)| *known == account).map_or(&[], |(_, steps)| steps.as_slice())
    }

    /// The record that first signed this digest, if it is remembered.
    pub fn signed_at(&self, digest: Digest) -> Option<Sequence> {
        let mut digests = self.digests.iter();
        digests.find(|(known, _)| *known == digest).map(|(_, sequence)| *sequence)
    }
}

impl Ledger {
    /// Sums over these spans from now on, past charges included, as far as they are remembered.
    pub fn set_spans(&mut self, spans: BTreeSet<Span>, now: Millis) {
        for log in self.logs.values_mut() {
            log.advance(now);
            log.prune(self.forgotten);
            log.set_spans(&spans);
        }
        // Never shorter: the history of spending outlives every book.
        self.longest = spans.last().copied().unwrap_or_default().max(self.longest);
        self.spans = spans;
    }

    /// Records a charge that is no repeat.
    pub fn charge(&mut self, slot: Slot, charges: &Charges, digest: Digest, stamp: Stamp) {
        let horizon = self.forgotten;
        let mut held = self.slots.remove(&slot).unwrap_or_else(|| Held::new(stamp));
        self.stamps.remove(&held.stamp);
        for (account, amount) in charges.iter().filter(|(_, amount)| *amount > Amount::ZERO) {
            let log = self.logs.entry((slot.key, account)).or_insert_with(|| Log::new(&self.spans));
            let steps = log.step(held.steps(account), Step { amount, stamp }, horizon);
            held.set(account, steps);
        }
        held.stamp = stamp;
        self.stamps.insert(stamp, slot);
        self.slots.insert(slot, held.with(digest, stamp.1));
        while self.slots.len() > SLOTS_MAX {
            let Some((_, oldest)) = self.stamps.pop_first() else { return };
            self.slots.remove(&oldest);
        }
    }

    /// Lets charges of `key` leave the windows they have surely left by `now`. Must be called
    /// before sums are asked for.
    ///
    /// Nothing that matters later is lost: decisions that are in no record move the clock too, and
    /// a replay, which knows nothing of them, must find the same charges.
    pub fn advance(&mut self, key: KeyId, now: Millis) {
        let first = Account { chain: ChainId(0), asset: crate::money::Asset::Native };
        for ((owner, _), log) in self.logs.range_mut((key, first)..) {
            if *owner != key {
                break;
            }
            log.advance(now);
        }
        let fresh = Span(self.memory().0.saturating_sub(FADING.0));
        self.faded = now.minus(fresh);
    }

    /// Forgets slots that are older than every window and its margin. Called for records alone, so
    /// that what is remembered follows from the journal.
    pub fn forget(&mut self, now: Millis) {
        let Some(horizon) = now.minus(self.memory()) else { return };
        self.forgotten = self.forgotten.max(Some(horizon));
        while let Some(oldest) = self.stamps.first_entry() {
            if oldest.key().0 > horizon {
                return;
            }
            self.slots.remove(&oldest.remove());
        }
    }

    /// How long charges and slots are remembered: the longest window there ever was and a day, and
    /// never less than [`MEMORY_MIN`], so that a longer window adopted later finds its history.
    pub fn memory(&self) -> Span {
        Span(self.longest.0.saturating_add(MARGIN.0)).max(MEMORY_MIN)
    }

    /// What a slot is charged, if that will still be remembered when a decision made now is
    /// recorded: what is about to be forgotten would then be charged anew, so it counts as new.
    pub fn held(&self, slot: Slot) -> Option<&Held> {
        self.slots.get(&slot).filter(|held| self.faded.is_none_or(|faded| held.stamp.0 > faded))
    }

    /// Recorded charges in the window that ends now.
    pub fn used(&self, key: KeyId, account: Account, span: Span) -> Total {
        self.logs.get(&(key, account)).map_or(Total::ZERO, |log| log.used(span))
    }

    /// Whether a slot is charged anything in an account.
    pub fn holds(&self, slot: Slot, account: Account) -> bool {
        self.slots.get(&slot).is_some_and(|held| !held.steps(account).is_empty())
    }

    /// How much less than `amount` a window holds of a slot: what an alternative of this amount
    /// would add to it.
    pub fn missing(&self, slot: Slot, account: Account, span: Span, amount: Amount) -> Amount {
        let Some(log) = self.logs.get(&(slot.key, account)) else { return amount };
        let steps = self.slots.get(&slot).map_or(&[][..], |held| held.steps(account));
        let counted = steps.iter().filter(|step| log.counts(span, step.stamp));
        let held = counted.map(|step| step.amount).max().unwrap_or(Amount::ZERO);
        amount.checked_sub(held).unwrap_or(Amount::ZERO)
    }
}

impl Held {
    fn new(stamp: Stamp) -> Self {
        Self { charges: Vec::new(), stamp, digests: Vec::new() }
    }

    fn set(&mut self, account: Account, steps: Vec<Step>) {
        self.charges.retain(|(known, _)| *known != account);
        self.charges.push((account, steps));
    }

    fn with(mut self, digest: Digest, sequence: Sequence) -> Self {
        if self.signed_at(digest).is_none() {
            if self.digests.len() >= DIGESTS_PER_SLOT_MAX {
                self.digests.remove(0);
            }
            self.digests.push((digest, sequence));
        }
        self
    }
}

/// One account's charges in order of time, with a running sum for each window.
#[derive(Clone, Debug)]
struct Log {
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
    fn new(spans: &BTreeSet<Span>) -> Self {
        let windows = spans.iter().map(|span| (*span, Running::default())).collect();
        Self { entries: BTreeMap::new(), windows }
    }

    fn set_spans(&mut self, spans: &BTreeSet<Span>) {
        let whole = self.entries.values().fold(Total::ZERO, |sum, amount| sum.plus(*amount));
        // Everything is in a new window until `advance` says it has left.
        let fresh = Running { expired: None, total: whole };
        let old = std::mem::take(&mut self.windows);
        let kept = |span: &Span| old.get(span).copied().unwrap_or(fresh);
        self.windows = spans.iter().map(|span| (*span, kept(span))).collect();
    }

    /// Stamps an alternative, and what is left of those it stands beside. Returns the slot's steps.
    fn step(&mut self, before: &[Step], new: Step, horizon: Option<Millis>) -> Vec<Step> {
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
    fn prune(&mut self, horizon: Option<Millis>) {
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
        for running in self.windows.values_mut() {
            use std::ops::Bound::{Excluded, Unbounded};
            let after = running.expired.map_or(Unbounded, Excluded);
            let counted = self.entries.range((after, Unbounded));
            running.total = counted.fold(Total::ZERO, |sum, (_, amount)| sum.plus(*amount));
        }
    }

    fn advance(&mut self, now: Millis) {
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

    fn used(&self, span: Span) -> Total {
        self.windows.get(&span).map_or(Total::ZERO, |running| running.total)
    }

    fn counts(&self, span: Span, stamp: Stamp) -> bool {
        let running = self.windows.get(&span);
        self.entries.contains_key(&stamp) && running.is_some_and(|one| Some(stamp) > one.expired)
    }
}

/// Margin over the longest window within which repeats are recognised.
const MARGIN: Span = Span(86_400_000);

/// 35 days: a window of a month, adopted later, is summed over a whole month of history.
const MEMORY_MIN: Span = Span(35 * 86_400_000);

/// What is remembered for less than this is not relied on: from a decision to its record it takes
/// seconds, and whatever takes longer than this is decided again.
pub(crate) const FADING: Span = Span(3_600_000);

/// How many alternatives of one nonce are recognised as repeats. More are signed all the same, as
/// new alternatives that raise nothing.
const DIGESTS_PER_SLOT_MAX: usize = 16;

/// Alternatives of one nonce that are told apart by when they leave.
const STEPS_MAX: usize = 8;

/// Slots that are recognised, over all keys: about 400 bytes each.
const SLOTS_MAX: usize = 200_000;

/// Charges of one account that are kept apart: about 100 bytes each.
const LOG_ENTRIES_MAX: usize = 65_536;

/// Of the older half, so many are merged into one.
const MERGED: usize = 16;
