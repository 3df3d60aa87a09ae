//! What was authorised: charges by slot, and their sums over exact rolling windows.
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

/// Of all transactions of one account with one nonce on one chain, at most one is ever mined.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Slot {
    /// The account.
    pub key: KeyId,
    /// The chain.
    pub chain: ChainId,
    /// The nonce.
    pub nonce: u64,
}

/// When a charge was recorded; the sequence number keeps stamps apart.
type Stamp = (Millis, Sequence);

/// Charges recorded, by slot and by account.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    spans: BTreeSet<Span>,
    logs: BTreeMap<(KeyId, Account), Log>,
    slots: BTreeMap<Slot, Held>,
    stamps: BTreeMap<Stamp, Slot>,
    faded: Option<Millis>,
}

/// What a slot is charged: the larger of its alternatives, account by account.
#[derive(Clone, Debug)]
pub struct Held {
    charges: Charges,
    stamp: Stamp,
    digests: Vec<(Digest, Sequence)>,
}

impl Held {
    /// What it is charged.
    pub fn charges(&self) -> &Charges {
        &self.charges
    }

    /// The record that first signed this digest, if it is remembered.
    pub fn signed_at(&self, digest: Digest) -> Option<Sequence> {
        let mut digests = self.digests.iter();
        digests.find(|(known, _)| *known == digest).map(|(_, sequence)| *sequence)
    }
}

impl Ledger {
    /// Sums over these spans from now on, past charges included.
    pub fn set_spans(&mut self, spans: BTreeSet<Span>) {
        for log in self.logs.values_mut() {
            log.set_spans(&spans);
        }
        self.spans = spans;
    }

    /// Records a charge. Nothing changes if the slot already holds as much in every account;
    /// otherwise its whole new maximum is stamped now.
    pub fn charge(&mut self, slot: Slot, charges: &Charges, digest: Digest, stamp: Stamp) {
        let before = self.slots.remove(&slot);
        let held = match before {
            Some(held) if charges.within(&held.charges) => held,
            Some(held) => {
                self.unstamp(slot.key, &held);
                let charges = held.charges.max(charges);
                self.stamp(slot, Held { charges, stamp, digests: held.digests })
            }
            None => {
                let charges = charges.clone();
                self.stamp(slot, Held { charges, stamp, digests: Vec::new() })
            }
        };
        self.slots.insert(slot, held.with(digest, stamp.1));
    }

    fn stamp(&mut self, slot: Slot, held: Held) -> Held {
        for (account, amount) in held.charges.iter() {
            let log = self.logs.entry((slot.key, account)).or_insert_with(|| Log::new(&self.spans));
            log.insert(held.stamp, amount);
        }
        self.stamps.insert(held.stamp, slot);
        held
    }

    fn unstamp(&mut self, key: KeyId, held: &Held) {
        for (account, _) in held.charges.iter() {
            if let Some(log) = self.logs.get_mut(&(key, account)) {
                log.remove(held.stamp);
            }
        }
        self.stamps.remove(&held.stamp);
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

    /// Forgets what is older than every window and its margin. Called for records alone, so that
    /// what is remembered follows from the journal.
    pub fn forget(&mut self, now: Millis) {
        let Some(horizon) = now.minus(self.memory()) else { return };
        while let Some((stamp, slot)) = self.stamps.first_key_value() {
            let (stamp, slot) = (*stamp, *slot);
            if stamp.0 > horizon {
                return;
            }
            if let Some(held) = self.slots.remove(&slot) {
                self.unstamp(slot.key, &held);
            }
            self.stamps.remove(&stamp);
        }
    }

    /// How long charges and slots are remembered: the longest window and a day, and never less
    /// than [`MEMORY_MIN`], so that a longer window adopted later finds its history.
    pub fn memory(&self) -> Span {
        let longest = self.spans.last().map_or(0, |span| span.0);
        Span(longest.saturating_add(MARGIN.0)).max(MEMORY_MIN)
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

    /// What of a slot's charge is in the window that ends now.
    pub fn used_by(&self, slot: Slot, account: Account, span: Span) -> Amount {
        let Some(held) = self.slots.get(&slot) else { return Amount::ZERO };
        let log = self.logs.get(&(slot.key, account));
        let counted = log.is_some_and(|log| log.counts(span, held.stamp));
        if counted { held.charges.of(account) } else { Amount::ZERO }
    }
}

impl Held {
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

    fn insert(&mut self, stamp: Stamp, amount: Amount) {
        self.entries.insert(stamp, amount);
        for running in self.windows.values_mut() {
            running.total = running.total.plus(amount);
        }
    }

    fn remove(&mut self, stamp: Stamp) {
        let Some(amount) = self.entries.remove(&stamp) else { return };
        for running in self.windows.values_mut() {
            if Some(stamp) > running.expired {
                running.total = running.total.minus(amount);
            }
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
