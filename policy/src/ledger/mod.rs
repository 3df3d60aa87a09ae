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

mod log;

use std::collections::{BTreeMap, BTreeSet};

use self::log::{Log, Stamp, Step};
use crate::id::{CallerId, ChainId, Digest, KeyId, Sequence};
use crate::money::{Account, Amount, Asset, Charges, Facet, Line, Total};
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
    logs: BTreeMap<(KeyId, Line), Log>,
    slots: BTreeMap<Slot, Held>,
    stamps: BTreeMap<Stamp, Slot>,
    faded: Option<Millis>,
}

/// What of a digest is charged already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Repeat {
    /// Nothing: it was never signed.
    No,
    /// All but what counts for this caller alone: others asked for it.
    ByAnother,
    /// All of it.
    ByCaller,
}

impl Repeat {
    /// What of a charge is still to be charged.
    pub fn added(self, charges: &Charges, line: &Line) -> Amount {
        let added = match self {
            Self::No => true,
            Self::ByAnother => matches!(line.facet, Facet::Caller(_)),
            Self::ByCaller => false,
        };
        if added { charges.of_line(line) } else { Amount::ZERO }
    }
}

/// What a slot is charged, account by account.
#[derive(Clone, Debug)]
pub struct Held {
    charges: Vec<(Line, Vec<Step>)>,
    stamp: Stamp,
    digests: Vec<Signed>,
}

/// A digest that was signed.
#[derive(Clone, Debug)]
struct Signed {
    digest: Digest,
    /// First.
    at: Sequence,
    /// For whom it was charged, if a limit counts callers apart.
    callers: Vec<CallerId>,
}

impl Held {
    fn steps(&self, line: &Line) -> &[Step] {
        let mut charges = self.charges.iter();
        charges.find(|(known, _)| known == line).map_or(&[], |(_, steps)| steps.as_slice())
    }

    /// The record that first signed this digest, if it is remembered.
    pub fn signed_at(&self, digest: Digest) -> Option<Sequence> {
        self.signed(digest).map(|signed| signed.at)
    }

    /// What of a digest is charged already, if this caller asks for it.
    pub fn repeat(&self, digest: Digest, caller: &CallerId) -> Repeat {
        match self.signed(digest) {
            None => Repeat::No,
            Some(signed) if signed.callers.contains(caller) => Repeat::ByCaller,
            Some(_) => Repeat::ByAnother,
        }
    }

    fn signed(&self, digest: Digest) -> Option<&Signed> {
        self.digests.iter().find(|signed| signed.digest == digest)
    }
}

impl Ledger {
    /// Sums over these spans from now on, past charges included, as far as they are remembered.
    pub fn set_spans(&mut self, mut spans: BTreeSet<Span>, now: Millis) {
        // Always, so that a cap adopted later knows all that was ever spent.
        spans.insert(Span::LIFETIME);
        for log in self.logs.values_mut() {
            log.advance(now);
            log.prune(self.forgotten);
            log.set_spans(&spans);
        }
        // Never shorter: the history of spending outlives every book.
        let windows = spans.iter().copied().filter(|span| *span != Span::LIFETIME);
        self.longest = windows.max().unwrap_or_default().max(self.longest);
        self.spans = spans;
    }

    /// Records a charge that is no repeat.
    pub fn charge(
        &mut self,
        slot: Slot,
        charges: &Charges,
        (digest, caller): (Digest, &CallerId),
        stamp: Stamp,
    ) {
        let mut held = self.slots.remove(&slot).unwrap_or_else(|| Held::new(stamp));
        self.stamps.remove(&held.stamp);
        self.add(slot, &mut held, charges, Repeat::No, stamp);
        held.stamp = stamp;
        self.stamps.insert(stamp, slot);
        held.sign(digest, stamp.1);
        held.count(digest, caller, charges);
        self.slots.insert(slot, held);
        while self.slots.len() > SLOTS_MAX {
            let Some((_, oldest)) = self.stamps.pop_first() else { return };
            self.slots.remove(&oldest);
        }
    }

    /// Records a repeat: it is charged to a caller that others asked for it before, if limits count
    /// callers apart, and to nobody else. What was forgotten since it was decided was charged all
    /// the same, but for whom is not known any more.
    pub fn repeat(
        &mut self,
        slot: Slot,
        charges: &Charges,
        (digest, caller): (Digest, &CallerId),
        stamp: Stamp,
    ) {
        let mut held = self.slots.remove(&slot).unwrap_or_else(|| Held::new(stamp));
        if held.repeat(digest, caller) != Repeat::ByCaller {
            self.add(slot, &mut held, charges, Repeat::ByAnother, stamp);
            held.sign(digest, stamp.1);
            held.count(digest, caller, charges);
        }
        self.stamps.insert(held.stamp, slot);
        self.slots.insert(slot, held);
    }

    fn add(
        &mut self,
        slot: Slot,
        held: &mut Held,
        charges: &Charges,
        repeat: Repeat,
        stamp: Stamp,
    ) {
        for (line, _) in charges.lines() {
            let amount = repeat.added(charges, line);
            // What is granted is counted until it is settled, not in windows.
            if amount == Amount::ZERO || matches!(line.facet, Facet::Grant(_)) {
                continue;
            }
            let log = self.logs.entry((slot.key, line.clone()));
            let log = log.or_insert_with(|| Log::new(&self.spans));
            log.advance(stamp.0);
            let steps = log.step(held.steps(line), Step { amount, stamp }, self.forgotten);
            held.set(line, steps);
        }
    }

    /// Lets charges of `key` leave the windows they have surely left by `now`, so that sums asked
    /// for after that need not leave them out one by one.
    ///
    /// Nothing that matters later is lost: decisions that are in no record move the clock too, and
    /// a replay, which knows nothing of them, must find the same charges.
    pub fn advance(&mut self, key: KeyId, now: Millis) {
        let first = Account { chain: ChainId(0), asset: Asset::Native };
        for ((owner, line), log) in self.logs.range_mut((key, first.into())..) {
            // Parts by recipient can be many: they leave when they are charged again.
            if *owner != key || matches!(line.facet, Facet::To(_) | Facet::Grant(_)) {
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
    pub fn used(&self, key: KeyId, line: &Line, span: Span, now: Millis) -> Total {
        let log = self.logs.get(&(key, line.clone()));
        log.map_or(Total::ZERO, |log| log.used(span, now))
    }

    /// Whether a slot is charged anything in a line.
    pub fn holds(&self, slot: Slot, line: &Line) -> bool {
        self.slots.get(&slot).is_some_and(|held| !held.steps(line).is_empty())
    }

    /// How much less than `amount` a window holds of a slot: what an alternative of this amount
    /// would add to it.
    pub fn missing(
        &self,
        slot: Slot,
        line: &Line,
        (span, now): (Span, Millis),
        amount: Amount,
    ) -> Amount {
        let Some(log) = self.logs.get(&(slot.key, line.clone())) else { return amount };
        let steps = self.slots.get(&slot).map_or(&[][..], |held| held.steps(line));
        let counted = steps.iter().filter(|step| log.counts(span, step.stamp, now));
        let held = counted.map(|step| step.amount).max().unwrap_or(Amount::ZERO);
        amount.checked_sub(held).unwrap_or(Amount::ZERO)
    }
}

impl Held {
    fn new(stamp: Stamp) -> Self {
        Self { charges: Vec::new(), stamp, digests: Vec::new() }
    }

    fn set(&mut self, line: &Line, steps: Vec<Step>) {
        self.charges.retain(|(known, _)| known != line);
        self.charges.push((line.clone(), steps));
    }

    fn sign(&mut self, digest: Digest, at: Sequence) {
        if self.signed(digest).is_none() {
            if self.digests.len() >= DIGESTS_PER_SLOT_MAX {
                self.digests.remove(0);
            }
            self.digests.push(Signed { digest, at, callers: Vec::new() });
        }
    }

    /// Remembers for whom a digest is charged. Beyond the bound it is charged again, each time.
    fn count(&mut self, digest: Digest, caller: &CallerId, charges: &Charges) {
        let apart = charges.lines().any(|(line, _)| matches!(line.facet, Facet::Caller(_)));
        let signed = self.digests.iter_mut().find(|signed| signed.digest == digest);
        let Some(signed) = signed.filter(|_| apart) else { return };
        if signed.callers.len() < CALLERS_PER_DIGEST_MAX && !signed.callers.contains(caller) {
            signed.callers.push(caller.clone());
        }
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

/// Callers of one digest that are told apart.
const CALLERS_PER_DIGEST_MAX: usize = 16;

/// Slots that are recognised, over all keys: about 400 bytes each.
const SLOTS_MAX: usize = 200_000;
