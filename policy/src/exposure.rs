//! What would be authorised in a window if a request and everything in flight were recorded.

use crate::decide::Facts;
use crate::id::{DecisionNumber, KeyId};
use crate::ledger::{Again, Ledger, Slot, Sums};
use crate::limits::Asked;
use crate::money::{Amount, Line, Total};
use crate::reservation::Reservations;
use crate::time::{Millis, Span};

/// What stands beside a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beside<'a> {
    ledger: &'a Ledger,
    open: &'a Reservations,
    /// The request's own reservation.
    own: Option<DecisionNumber>,
}

impl<'a> From<&Facts<'a>> for Beside<'a> {
    fn from(facts: &Facts<'a>) -> Self {
        Self { ledger: facts.ledger, open: facts.open, own: facts.own }
    }
}

/// One line of one key: added up once, and asked for window by window.
#[derive(Debug)]
pub(crate) struct Exposure<'a> {
    recorded: Sums<'a>,
    /// In flight, or asked for, in slots that are charged nothing yet.
    fresh: Total,
    /// The same in slots that are: they add only what a window does not hold of them.
    again: Vec<Again<'a>>,
}

impl<'a> Exposure<'a> {
    pub(crate) fn new(beside: Beside<'a>, asked: &Asked<'_>, (key, line): (KeyId, &Line)) -> Self {
        let recorded = beside.ledger.sums(key, line);
        let mut exposure = Self { recorded, fresh: Total::ZERO, again: Vec::new() };
        let but = (beside.own, asked.slot);
        let own = beside
            .open
            .in_flight((key, line), but, |charged, most| exposure.add(beside, charged, most));
        if key == asked.slot.key {
            let most = own.max(asked.repeat.added(asked.charge, line));
            exposure.add(beside, Some(asked.slot), most);
        }
        exposure
    }

    fn add(&mut self, beside: Beside<'a>, charged: Option<Slot>, most: Amount) {
        if most == Amount::ZERO {
            return;
        }
        match charged.and_then(|slot| beside.ledger.again(slot, self.recorded, most)) {
            Some(again) => self.again.push(again),
            None => self.fresh = self.fresh.plus(most),
        }
    }

    fn total(&self, span: Span, now: Millis) -> Total {
        let total = self.fresh.plus_total(self.recorded.used(span, now));
        self.again.iter().fold(total, |total, again| total.plus(again.missing(span, now)))
    }
}

/// Over several lines and keys.
pub(crate) fn total<'p, 'a: 'p>(
    parts: impl IntoIterator<Item = &'p Exposure<'a>>,
    span: Span,
    now: Millis,
) -> Total {
    parts.into_iter().fold(Total::ZERO, |sum, part| sum.plus_total(part.total(span, now)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "the numbers of a test are small")]

    use std::collections::BTreeMap;

    use alloy_primitives::Address;
    use proptest::prelude::*;

    use super::*;
    use crate::id::{CallerId, ChainId, Digest, Sequence};
    use crate::ledger::{Place, Repeat};
    use crate::money::{Account, Asset, Charges, Facet};
    use crate::reservation::Open;

    /// One by one: every open reservation of the key, slot by slot, without any index.
    fn plainly(
        beside: Beside<'_>,
        asked: &Asked<'_>,
        (key, line): (KeyId, &Line),
        (span, now): (Span, Millis),
    ) -> Total {
        let mut most: BTreeMap<Slot, Amount> = BTreeMap::new();
        let mut raise = |slot, amount: Amount| {
            let most = most.entry(slot).or_default();
            *most = amount.max(*most);
        };
        for number in (0..OPEN).map(DecisionNumber).filter(|number| Some(*number) != beside.own) {
            if let Some(open) = beside.open.get(number).filter(|open| open.slot.key == key) {
                raise(open.slot, open.repeat.added(&open.charges, line));
            }
        }
        if asked.slot.key == key {
            raise(asked.slot, asked.repeat.added(asked.charge, line));
        }
        let sums = beside.ledger.sums(key, line);
        most.into_iter().fold(sums.used(span, now), |total, (slot, most)| {
            let again = beside.ledger.again(slot, sums, most);
            total.plus(again.map_or(most, |again| again.missing(span, now)))
        })
    }

    /// Reservations there can be in a run.
    const OPEN: u64 = 60;

    /// What happens, to which slot, by whom, for how much.
    type Step = (u8, (u8, u8), bool, (u8, u8), u64);

    fn slot((key, place): (u8, u8)) -> Slot {
        let place = match place {
            0..4 => Place::Nonce(place.into()),
            _ => Place::Digest(Digest::repeat_byte(place)),
        };
        Slot { key: KeyId::from_bytes([key; 16]), chain: ChainId(1), place }
    }

    fn caller(first: bool) -> CallerId {
        if first { "one" } else { "two" }.parse().unwrap()
    }

    const NATIVE: Account = Account { chain: ChainId(1), asset: Asset::Native };

    fn lines() -> Vec<Line> {
        let of = |facet| Line { facet, account: NATIVE };
        let to = |byte| of(Facet::To(Address::repeat_byte(byte)));
        let by = |first| of(Facet::Caller(caller(first)));
        vec![NATIVE.into(), by(true), by(false), to(1), to(2)]
    }

    fn charges(by: bool, to: u8, units: u8) -> Charges {
        let mut charges = Charges::default();
        let units = Amount::from(u128::from(units));
        let parts = [Facet::Whole, Facet::Caller(caller(by)), Facet::To(Address::repeat_byte(to))];
        for facet in parts {
            charges.add_line(Line { facet, account: NATIVE }, units).unwrap();
        }
        charges
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn what_is_in_flight_adds_up_to_the_same_with_an_index_as_one_by_one(
            steps in prop::collection::vec(
                (0_u8..8, (1_u8..3, 0_u8..6), any::<bool>(), (1_u8..3, 0_u8..9), 0_u64..5_000_000),
                1..usize::try_from(OPEN).unwrap(),
            ),
        ) {
            let (mut ledger, mut open) = (Ledger::default(), Reservations::default());
            let mut at = 1_700_000_000_000;
            for (step, number) in steps.iter().zip(0..) {
                let now = Millis(at);
                run(&mut ledger, &mut open, (DecisionNumber(number), now), step);
                let (_, place, by, (to, units), wait) = *step;
                at += wait;
                let (now, charge) = (Millis(at), charges(by, to, units));
                let repeat = if units == 3 { Repeat::ByAnother } else { Repeat::No };
                let asked = Asked { slot: slot(place), charge: &charge, repeat };
                let own = (units > 5).then_some(DecisionNumber(number / 2));
                let beside = Beside { ledger: &ledger, open: &open, own };
                for (key, line) in lines().iter().flat_map(|line| [(1, line), (2, line)]) {
                    let place = (KeyId::from_bytes([key; 16]), line);
                    let exposure = Exposure::new(beside, &asked, place);
                    for hours in [1, 3, 24] {
                        let span = Span(hours * 3_600_000);
                        let plain = plainly(beside, &asked, place, (span, now));
                        prop_assert_eq!(exposure.total(span, now), plain, "{:?}", place);
                    }
                }
            }
        }
    }

    /// Opens, records, or closes.
    fn run(
        ledger: &mut Ledger,
        open: &mut Reservations,
        (number, now): (DecisionNumber, Millis),
        (what, place, by, (to, units), _): &Step,
    ) {
        let slot = slot(*place);
        let charges = charges(*by, *to, *units);
        let digest = Digest::repeat_byte(*units);
        match what {
            0..4 => {
                let known = ledger.held(slot);
                let repeat = known.map_or(Repeat::No, |held| held.repeat(digest, &caller(*by)));
                let request = "name".parse().unwrap();
                let (caller, seen) = (caller(*by), Sequence(0));
                open.open(number, Open { caller, request, digest, slot, charges, seen, repeat });
                if ledger.is_charged(slot) {
                    open.note_charged(slot);
                }
            }
            4..7 => {
                let numbers = open.slots_of(slot.key).flat_map(|(_, numbers)| numbers).copied();
                let Some(recorded) = numbers.min().and_then(|number| open.get(number)).cloned()
                else {
                    return;
                };
                let (Open { slot, charges, digest, caller, .. }, by) =
                    (&recorded, &recorded.caller);
                let stamp = (now, Sequence(number.0));
                ledger.advance(slot.key, now);
                ledger.forget(now);
                if recorded.repeat == Repeat::No {
                    ledger.charge(*slot, charges, (*digest, caller), stamp);
                } else {
                    ledger.repeat(*slot, charges, (*digest, by), stamp);
                }
                open.note_charged(*slot);
                let same = (0..OPEN).map(DecisionNumber);
                let first = same.filter(|one| open.get(*one).is_some_and(|one| one.slot == *slot));
                if let Some(number) = first.min() {
                    open.close(number);
                }
            }
            _ => {
                if let Some(number) =
                    (0..OPEN).map(DecisionNumber).find(|one| open.get(*one).is_some())
                {
                    open.close(number);
                }
            }
        }
    }
}
