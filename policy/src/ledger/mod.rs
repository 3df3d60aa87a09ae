//! What was authorised: charges by slot, and their sums over rolling windows.
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
//!
//! Everything here is bounded, whatever callers ask ([`Bounds`]). What is given up at a bound only
//! ever tightens: a slot that is not recognised is charged again, charges that are merged leave
//! later, recipients that are not told apart are counted together. And it follows from the records
//! alone, so that a replay gives up the same.

mod bounds;
mod log;
mod recipients;
mod slots;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use self::bounds::{Bounds, LEAST_EACH};
use self::log::{Log, LogId, Stamp, Step};
use self::recipients::{Recipients, Whom};
use self::slots::{CallerNumber, Charged, Slots};
use crate::book::{Book, Per};
use crate::id::{CallerId, ChainId, Digest, KeyId, Sequence};
use crate::money::{Account, Amount, Charges, Facet, Line, Total};
use crate::outage::Outage;
use crate::time::{Millis, Span};

/// Of all that is signed for one slot, at most one ever takes effect.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Slot {
    /// The account.
    pub key: KeyId,
    /// The chain.
    pub chain: ChainId,
    /// Which on it.
    pub place: Place,
}

/// What sets the signatures of one key on one chain apart.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Place {
    /// The account's nonce: of all transactions and authorizations with it, one is ever mined.
    Nonce(u64),
    /// The digest: typed data and messages, each of which may take effect by itself.
    Digest(Digest),
}

/// Charges recorded, by slot and by account.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    spans: BTreeSet<Span>,
    longest: Span,
    /// Charges stamped no later are forgotten, as of the last signature.
    forgotten: Option<Millis>,
    /// Of accounts, and of what each caller is charged in them: as many as books name.
    logs: BTreeMap<(KeyId, Line), Log>,
    entries: usize,
    recipients: Recipients,
    slots: Slots,
    /// Callers have short numbers here: as many as books name.
    callers: BTreeMap<CallerId, CallerNumber>,
    last_log: LogId,
    faded: Option<Millis>,
    #[serde(skip)]
    bounds: Bounds,
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

/// A slot that is charged something.
#[derive(Clone, Debug)]
pub struct Held<'a> {
    charged: Charged,
    callers: &'a BTreeMap<CallerId, CallerNumber>,
}

impl Held<'_> {
    /// The record that first signed this digest, if it is remembered.
    pub fn signed_at(&self, digest: Digest) -> Option<Sequence> {
        self.charged.signed(digest).map(|signed| signed.at)
    }

    /// What of a digest is charged already, if this caller asks for it.
    pub fn repeat(&self, digest: Digest, caller: &CallerId) -> Repeat {
        repeat_of(&self.charged, digest, self.callers.get(caller))
    }
}

fn repeat_of(charged: &Charged, digest: Digest, caller: Option<&CallerNumber>) -> Repeat {
    match (charged.signed(digest), caller) {
        (None, _) => Repeat::No,
        (Some(signed), Some(caller)) if signed.callers.contains(caller) => Repeat::ByCaller,
        (Some(_), _) => Repeat::ByAnother,
    }
}

impl Ledger {
    /// Sums over the windows of this book from now on, past charges included, as far as they are
    /// remembered.
    pub fn adopt(&mut self, book: &Book, now: Millis) {
        // Everything there ever was is summed always, so that a cap adopted later knows all that
        // was ever spent; but for parts of an account, which count from when a book first asks.
        let apart = |per| {
            let limits = book.limits().iter().filter(move |limit| limit.per == per);
            limits.flat_map(|limit| limit.windows.iter().map(|window| window.span))
        };
        let callers_forever = apart(Per::Caller).any(|span| span == Span::LIFETIME);
        let mut spans = book.spans();
        spans.remove(&Span::LIFETIME);
        for log in self.logs.values_mut() {
            log.advance(now);
            log.prune(self.forgotten);
            log.set_spans(&spans);
        }
        self.logs.retain(|(_, line), log| {
            let part = matches!(line.facet, Facet::Caller(_)) && !callers_forever;
            log.len() > 0 || !part
        });
        self.entries = self.logs.values().map(Log::len).sum();
        self.recipients.adopt(apart(Per::Recipient));
        // Never shorter: the history of spending outlives every book.
        self.longest = spans.last().copied().unwrap_or_default().max(self.longest);
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
        let mut charged = self.slots.take(slot).unwrap_or_else(|| Charged::new(stamp));
        self.add(slot.key, &mut charged, (charges, Repeat::No), stamp);
        charged.stamp = stamp;
        charged.sign(digest, stamp.1);
        self.count(&mut charged, charges, (digest, caller));
        self.slots.put(slot, &charged);
        self.slots.forget(self.forgotten, (self.bounds.slots, self.bounds.slot_bytes));
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
        let known = self.slots.take(slot);
        let remembered = known.is_some();
        let mut charged = known.unwrap_or_else(|| Charged::new(stamp));
        // What was forgotten since it was decided counts as asked for by others.
        if repeat_of(&charged, digest, self.callers.get(caller)) != Repeat::ByCaller {
            self.add(slot.key, &mut charged, (charges, Repeat::ByAnother), stamp);
            self.count(&mut charged, charges, (digest, caller));
        }
        if remembered {
            self.slots.put(slot, &charged);
            // Another caller is one more to remember.
            self.slots.forget(self.forgotten, (self.bounds.slots, self.bounds.slot_bytes));
        }
    }

    fn add(
        &mut self,
        key: KeyId,
        charged: &mut Charged,
        (charges, repeat): (&Charges, Repeat),
        stamp: Stamp,
    ) {
        self.recipients.make_room(stamp.0, &self.bounds);
        let mut to: BTreeMap<(Account, Whom, LogId), Amount> = BTreeMap::new();
        for (line, _) in charges.lines() {
            let amount = repeat.added(charges, line);
            if amount == Amount::ZERO {
                continue;
            }
            match &line.facet {
                Facet::Whole | Facet::Caller(_) => {
                    self.add_line(key, charged, line, Step { amount, stamp });
                }
                Facet::To(who) => {
                    self.last_log = self.last_log.saturating_add(1);
                    let place = ((key, line.account), *who);
                    let (whom, id) = self.recipients.place(place, self.last_log, &self.bounds);
                    let sum = to.entry((line.account, whom, id)).or_default();
                    *sum = sum.checked_add(amount).unwrap_or(Amount::MAX);
                }
                // What is granted is counted until it is settled, not in windows.
                Facet::Grant(_) => {}
            }
        }
        // Several that are not told apart are one charge.
        for ((account, whom, id), amount) in to {
            let owner = (key, account);
            let (before, new) = (charged.steps(id), Step { amount, stamp });
            let steps = self.recipients.step(owner, (whom, id), (&before, new), &self.bounds);
            charged.set(id, steps);
        }
    }

    fn add_line(&mut self, key: KeyId, charged: &mut Charged, line: &Line, new: Step) {
        let now = new.stamp.0;
        self.last_log = self.last_log.saturating_add(1);
        let (fresh, spans) = (self.last_log, &self.spans);
        let log = self.logs.entry((key, line.clone())).or_insert_with(|| Log::new(fresh, spans));
        let length = log.len();
        log.advance(now);
        log.prune(self.forgotten);
        let steps = log.step(&charged.steps(log.id), new);
        charged.set(log.id, steps);
        if log.len() >= self.bounds.log {
            log.merge(self.bounds.log / 2, now);
        }
        self.entries = self.entries.saturating_sub(length).saturating_add(log.len());
        let lines = self.logs.len();
        let most = self.bounds.entries.max(lines.saturating_mul(LEAST_EACH).saturating_mul(2));
        if self.entries > most {
            let each = (most / 2).checked_div(lines).unwrap_or(0);
            self.entries =
                self.logs.values_mut().map(|log| recipients::merged(log, each, now)).sum();
        }
    }

    fn count(
        &mut self,
        charged: &mut Charged,
        charges: &Charges,
        (digest, caller): (Digest, &CallerId),
    ) {
        if charges.lines().any(|(line, _)| matches!(line.facet, Facet::Caller(_))) {
            let fresh = CallerNumber::try_from(self.callers.len()).unwrap_or(CallerNumber::MAX);
            let number = *self.callers.entry(caller.clone()).or_insert(fresh);
            charged.count(digest, number);
        }
    }

    /// Lets charges of `key` leave the windows they have surely left by `now`, so that sums asked
    /// for after that need not leave them out one by one.
    ///
    /// Nothing that matters later is lost: decisions that are in no record move the clock too, and
    /// a replay, which knows nothing of them, must find the same charges.
    pub fn advance(&mut self, key: KeyId, now: Millis) {
        let first = Account { chain: ChainId(0), asset: crate::money::Asset::Native };
        for ((owner, _), log) in self.logs.range_mut((key, first.into())..) {
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
        self.slots.forget(self.forgotten, (self.bounds.slots, self.bounds.slot_bytes));
    }

    /// Sure time goes forward over an outage: what was charged since it ended grows no older by it.
    pub(crate) fn keep_young(&mut self, outage: Outage) {
        self.logs.values_mut().for_each(|log| log.keep_young(outage));
        self.recipients.keep_young(outage);
        self.slots.keep_young(outage);
        // What was forgotten stays so.
        for horizon in [&mut self.forgotten, &mut self.faded] {
            *horizon = horizon.map(|at| outage.moved_time(at));
        }
    }

    /// How long charges and slots are remembered: the longest window there ever was and a day, and
    /// never less than [`MEMORY_MIN`], so that a longer window adopted later finds its history.
    pub fn memory(&self) -> Span {
        Span(self.longest.0.saturating_add(MARGIN.0)).max(MEMORY_MIN)
    }

    /// What a slot is charged, if that will still be remembered when a decision made now is
    /// recorded: what is about to be forgotten would then be charged anew, so it counts as new.
    pub fn held(&self, slot: Slot) -> Option<Held<'_>> {
        let fades = |stamp: &Stamp| self.faded.is_none_or(|faded| stamp.0 > faded);
        self.slots.stamp(slot).filter(fades)?;
        Some(Held { charged: self.slots.charged(slot)?, callers: &self.callers })
    }

    /// Whether a slot is charged anything.
    pub(crate) fn is_charged(&self, slot: Slot) -> bool {
        self.slots.stamp(slot).is_some()
    }

    /// Recorded charges in the window that ends now.
    pub fn used(&self, key: KeyId, line: &Line, span: Span, now: Millis) -> Total {
        self.sums(key, line).used(span, now)
    }

    /// What was recorded of a line, window by window.
    pub(crate) fn sums(&self, key: KeyId, line: &Line) -> Sums<'_> {
        match &line.facet {
            Facet::To(who) => Sums(self.recipients.of((key, line.account), *who)),
            Facet::Whole | Facet::Caller(_) | Facet::Grant(_) => {
                Sums([self.logs.get(&(key, line.clone())), None])
            }
        }
    }

    /// An alternative of this amount for a slot that is charged already in the same line. `None`
    /// if it is not.
    pub(crate) fn again<'a>(
        &self,
        slot: Slot,
        sums: Sums<'a>,
        amount: Amount,
    ) -> Option<Again<'a>> {
        let charged = self.slots.charged(slot)?;
        let in_log = |log: &'a Log| charged.steps(log.id).into_iter().map(move |step| (log, step));
        let steps: Vec<(&Log, Step)> = sums.0.into_iter().flatten().flat_map(in_log).collect();
        (!steps.is_empty()).then_some(Again { steps, amount })
    }
}

/// What was recorded of one line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sums<'a>([Option<&'a Log>; 2]);

impl Sums<'_> {
    /// In the window that ends now.
    pub(crate) fn used(self, span: Span, now: Millis) -> Total {
        let logs = self.0.iter().flatten();
        logs.fold(Total::ZERO, |sum, log| sum.plus_total(log.used(span, now)))
    }
}

/// An alternative for a slot that is charged already.
#[derive(Debug)]
pub(crate) struct Again<'a> {
    steps: Vec<(&'a Log, Step)>,
    amount: Amount,
}

impl Again<'_> {
    /// How much less than its amount a window holds of the slot: what it would add.
    pub(crate) fn missing(&self, span: Span, now: Millis) -> Amount {
        let counted = self.steps.iter().filter(|(log, step)| log.counts(span, step.stamp, now));
        let held = counted.map(|(_, step)| step.amount).max().unwrap_or(Amount::ZERO);
        self.amount.checked_sub(held).unwrap_or(Amount::ZERO)
    }
}

/// Margin over the longest window within which repeats are recognised.
const MARGIN: Span = Span(86_400_000);

/// 35 days: a window of a month, adopted later, is summed over a whole month of history.
const MEMORY_MIN: Span = Span(35 * 86_400_000);

/// What is remembered for less than this is not relied on: from a decision to its record it takes
/// seconds, and whatever takes longer than this is decided again.
pub(crate) const FADING: Span = Span(3_600_000);

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "the numbers of a test are small")]

    use alloy_primitives::Address;
    use proptest::prelude::*;

    use super::*;
    use crate::money::Asset;

    const HOUR: u64 = 3_600_000;
    const NATIVE: Account = Account { chain: ChainId(1), asset: Asset::Native };

    /// So tight that everything is given up early.
    const TIGHT: Bounds = Bounds {
        slots: 12,
        slot_bytes: 1_000,
        log: 24,
        entries: 40,
        recipients: 4,
        recipient_log: 10,
        recipient_entries: 30,
    };

    /// Sums over 1 and 24 hours, of recipients over 3.
    fn ledger(bounds: Bounds) -> Ledger {
        let hours = |hours| Span(hours * HOUR);
        let spans = BTreeSet::from([hours(1), hours(3), hours(24)]);
        let mut ledger = Ledger { longest: hours(24), spans, bounds, ..Ledger::default() };
        ledger.recipients.adopt([hours(3)].into_iter());
        ledger
    }

    fn key(number: u8) -> KeyId {
        KeyId::from_bytes([number; 16])
    }

    fn caller(number: u8) -> CallerId {
        format!("caller-{number}").parse().unwrap()
    }

    /// Some share their last byte.
    fn recipient(number: u8) -> Address {
        let mut address = Address::repeat_byte(number);
        address.0[19] = number % 3;
        address
    }

    /// A request: milliseconds after the one before, of which key, its nonce, for whom, and what
    /// goes to which recipients.
    #[derive(Clone, Debug)]
    struct Asked {
        wait: u64,
        key: u8,
        nonce: u64,
        caller: u8,
        to: Vec<(u8, u8)>,
    }

    fn asked() -> impl Strategy<Value = Asked> {
        let wait =
            prop_oneof![4 => 0..HOUR, 4 => 0_u64..60_000, 1 => 0..60 * HOUR, 1 => Just(900 * HOUR)];
        let to = prop::collection::vec((0_u8..12, 1_u8..9), 1..4);
        (wait, 1_u8..3, 0_u64..30, 0_u8..3, to).prop_map(|(wait, key, nonce, caller, to)| Asked {
            wait,
            key,
            nonce,
            caller,
            to,
        })
    }

    impl Asked {
        fn slot(&self) -> Slot {
            Slot { key: key(self.key), chain: ChainId(1), place: Place::Nonce(self.nonce) }
        }

        fn charges(&self) -> Charges {
            let mut charges = Charges::default();
            for (to, units) in &self.to {
                let amount = Amount::from(u128::from(*units));
                let by = Facet::Caller(caller(self.caller));
                for facet in [Facet::Whole, by, Facet::To(recipient(*to))] {
                    charges.add_line(Line { facet, account: NATIVE }, amount).unwrap();
                }
            }
            charges
        }

        fn digest(&self) -> Digest {
            alloy_primitives::keccak256(format!("{} {:?}", self.nonce, self.to))
        }

        /// Records it as a vault would. What that adds to a list of all charges.
        fn record(&self, ledger: &mut Ledger, stamp: Stamp) -> Charges {
            let (slot, charges, by) = (self.slot(), self.charges(), caller(self.caller));
            let held = ledger.held(slot);
            let repeat = held.map_or(Repeat::No, |held| held.repeat(self.digest(), &by));
            ledger.advance(slot.key, stamp.0);
            ledger.forget(stamp.0);
            match repeat {
                Repeat::No => ledger.charge(slot, &charges, (self.digest(), &by), stamp),
                Repeat::ByAnother | Repeat::ByCaller => {
                    ledger.repeat(slot, &charges, (self.digest(), &by), stamp);
                }
            }
            let mut added = Charges::default();
            for (line, _) in charges.lines() {
                added.add_line(line.clone(), repeat.added(&charges, line)).unwrap();
            }
            added
        }
    }

    /// What a window truly holds: of each slot the largest.
    fn truly(all: &[(u64, Slot, Charges)], key: KeyId, line: &Line, since: Option<u64>) -> Total {
        let mut most: BTreeMap<Slot, Amount> = BTreeMap::new();
        for (at, slot, charges) in all {
            if slot.key == key && since.is_none_or(|since| *at > since) {
                let most = most.entry(*slot).or_default();
                *most = charges.of_line(line).max(*most);
            }
        }
        most.values().fold(Total::ZERO, |sum, amount| sum.plus(*amount))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn whatever_is_given_up_at_a_bound_no_window_ever_holds_less_than_was_authorised(
            requests in prop::collection::vec(asked(), 1..120),
        ) {
            let (mut ledger, mut all) = (ledger(TIGHT), Vec::new());
            let mut now = 1_700_000_000_000;
            for (request, seq) in requests.iter().zip(1..) {
                now += request.wait;
                let added = request.record(&mut ledger, (Millis(now), Sequence(seq)));
                all.push((now, request.slot(), added));
                let places = [1, 2].map(key).into_iter().flat_map(|key| {
                    let callers = (0..3).map(|number| Facet::Caller(caller(number)));
                    let to = (0..12).map(|number| Facet::To(recipient(number)));
                    let facets = [Facet::Whole].into_iter().chain(callers).chain(to);
                    facets.map(move |facet| (key, Line { facet, account: NATIVE }))
                });
                for (key, line) in places {
                    let spans: &[u64] = match line.facet {
                        Facet::To(_) => &[1, 3],
                        Facet::Whole | Facet::Caller(_) | Facet::Grant(_) => &[1, 3, 24],
                    };
                    for span in spans.iter().map(|hours| Span(hours * HOUR)) {
                        let used = ledger.used(key, &line, span, Millis(now));
                        let truth = truly(&all, key, &line, Some(now - span.0));
                        prop_assert!(used >= truth, "{line:?} {span} at {seq}: {used:?} {truth:?}");
                    }
                    if line.facet == Facet::Whole {
                        let used = ledger.used(key, &line, Span::LIFETIME, Millis(now));
                        prop_assert!(used >= truly(&all, key, &line, None));
                    }
                }
            }
        }

        #[test]
        fn over_an_outage_no_window_loses_what_was_charged_since_and_none_keeps_more_than_before(
            requests in prop::collection::vec(asked(), 1..80),
            since in 0_usize..80,
            until in 1_usize..40,
            by in prop_oneof![1_u64..HOUR, HOUR..60 * HOUR, Just(900 * HOUR)],
        ) {
            let (mut ledger, mut all, mut first) = (ledger(TIGHT), Vec::new(), None);
            let mut now = 1_700_000_000_000;
            for (index, request) in requests.iter().enumerate() {
                now += request.wait;
                let stamp = (Millis(now), Sequence(u64::try_from(index).unwrap()));
                let added = request.record(&mut ledger, stamp);
                all.push((now, request.slot(), added));
                if index == since {
                    first = Some(stamp);
                }
                let whole = Line { facet: Facet::Whole, account: NATIVE };
                if let Some(first) = first.take_if(|_| index >= since + until) {
                    let days = |ledger: &Ledger, now| {
                        [1, 2].map(|one| ledger.used(key(one), &whole, Span(24 * HOUR), now))
                    };
                    let before = days(&ledger, Millis(now));
                    ledger.keep_young(Outage::before(first, Span(by)));
                    now += by;
                    for (at, ..) in all.get_mut(since..).unwrap() {
                        *at += by;
                    }
                    let after = days(&ledger, Millis(now));
                    prop_assert!(before.iter().zip(&after).all(|(old, new)| old >= new));
                }
                for line in [whole, Line { facet: Facet::To(recipient(3)), account: NATIVE }] {
                    for span in [1, 3].map(|hours| Span(hours * HOUR)) {
                        let used = ledger.used(key(1), &line, span, Millis(now));
                        let truth = truly(&all, key(1), &line, Some(now - span.0));
                        prop_assert!(used >= truth, "{line:?} {span}: {used:?} {truth:?}");
                    }
                }
            }
            let (slots, bytes) = ledger.slots.sizes();
            let packed = ledger.slots.packed_bytes();
            prop_assert_eq!(bytes, packed, "{} slots", slots);
        }

        #[test]
        fn nothing_is_remembered_beyond_its_bound(
            requests in prop::collection::vec(asked(), 1..120),
        ) {
            let mut ledger = ledger(TIGHT);
            let mut now = 1_700_000_000_000;
            for (request, seq) in requests.iter().zip(1..) {
                now += request.wait;
                request.record(&mut ledger, (Millis(now), Sequence(seq)));
                let (slots, bytes) = ledger.slots.sizes();
                prop_assert!(slots <= TIGHT.slots && bytes <= TIGHT.slot_bytes);
                let entries: usize = ledger.logs.values().map(Log::len).sum();
                prop_assert_eq!(entries, ledger.entries);
                let least = 2 * LEAST_EACH * ledger.logs.len();
                prop_assert!(entries <= TIGHT.entries.max(least));
                prop_assert!(ledger.logs.values().all(|log| log.len() < TIGHT.log));
                let (own, lines, entries) = ledger.recipients.sizes();
                prop_assert!(own <= TIGHT.recipients && lines <= own + 2 * 3);
                prop_assert!(entries <= TIGHT.recipient_entries.max(4 * lines));
            }
        }

        #[test]
        fn what_is_given_up_follows_from_the_records_and_not_from_what_was_asked_between_them(
            requests in prop::collection::vec((asked(), any::<bool>()), 1..80),
        ) {
            let (mut live, mut replayed) = (ledger(TIGHT), ledger(TIGHT));
            let mut now = 1_700_000_000_000;
            for ((request, between), seq) in requests.iter().zip(1..) {
                now += request.wait / 2;
                if *between {
                    live.advance(key(1), Millis(now));
                    live.advance(key(2), Millis(now));
                }
                now += request.wait / 2;
                let stamp = (Millis(now), Sequence(seq));
                let added = request.record(&mut live, stamp);
                prop_assert_eq!(added, request.record(&mut replayed, stamp));
                for (key, line) in live.logs.keys() {
                    for span in [1, 3, 24].map(|hours| Span(hours * HOUR)) {
                        let used = |ledger: &Ledger| ledger.used(*key, line, span, Millis(now));
                        prop_assert_eq!(used(&live), used(&replayed));
                    }
                }
            }
        }
    }

    #[test]
    fn recipients_beyond_the_bound_are_counted_together_until_others_are_forgotten() {
        let mut ledger = ledger(TIGHT);
        let mut seq = 0;
        let mut pay = |ledger: &mut Ledger, now: u64, number: u8| {
            seq += 1;
            let to = vec![(number, 5)];
            let asked = Asked { wait: 0, key: 1, nonce: seq, caller: 0, to };
            asked.record(ledger, (Millis(now), Sequence(seq)));
        };
        let used = |ledger: &Ledger, now: u64, number: u8| {
            let line = Line { facet: Facet::To(recipient(number)), account: NATIVE };
            ledger.used(key(1), &line, Span(3 * HOUR), Millis(now)).to_amount_saturating()
        };
        let begin = 1_700_000_000_000;
        (0..4).for_each(|number| pay(&mut ledger, begin, number));
        // The table is full. 6 and 9 have one last byte, which they share with 0 and 3.
        pay(&mut ledger, begin, 6);
        pay(&mut ledger, begin, 9);
        assert_eq!(
            [6, 9, 12, 0].map(|one| used(&ledger, begin, one)),
            [10, 10, 10, 15].map(Amount::from)
        );
        assert_eq!([1, 7].map(|one| used(&ledger, begin, one)), [5, 0].map(Amount::from));
        let later = begin + 28 * HOUR;
        pay(&mut ledger, later, 7);
        assert_eq!(ledger.recipients.sizes(), (1, 1, 1));
        assert_eq!([6, 7, 10].map(|one| used(&ledger, later, one)), [0, 5, 0].map(Amount::from));
    }
}
