//! What is counted: what became of requests, and what their signatures may cost at most.

use std::collections::BTreeMap;
use std::rc::Rc;

use portcullis_policy::book::{Registry, format_amount};
use portcullis_policy::id::Sequence;
use portcullis_policy::ledger::Slot;
use portcullis_policy::money::{Account, Amount, Charges, Total};

/// Requests of one caller with one key, or of many.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) requests: Requests,
    pub(super) sums: Sums,
}

/// What became of requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    pub(super) signed: u64,
    /// Of these, over a digest that was signed before: charged once.
    pub(super) again: u64,
    pub(super) refused: ByCode,
    pub(super) parked: u64,
    pub(super) withheld: ByCode,
    pub(super) failed: ByCode,
    /// Refusals of which only the number is on record.
    pub(super) suppressed: ByCode,
}

/// Each is counted once, under its first reason.
#[derive(Clone, Debug, Default)]
pub(super) struct ByCode(BTreeMap<String, u64>);

impl ByCode {
    pub(super) fn add(&mut self, code: &str, count: u64) {
        let all = self.0.entry(code.to_owned()).or_default();
        *all = all.saturating_add(count);
    }

    pub(super) fn total(&self) -> u64 {
        self.0.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(code, count)| (code.as_str(), *count))
    }

    fn add_all(&mut self, other: &Self) {
        other.iter().for_each(|(code, count)| self.add(code, count));
    }
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        let (ours, theirs) = (&mut self.requests, &other.requests);
        ours.signed = ours.signed.saturating_add(theirs.signed);
        ours.again = ours.again.saturating_add(theirs.again);
        ours.parked = ours.parked.saturating_add(theirs.parked);
        ours.refused.add_all(&theirs.refused);
        ours.withheld.add_all(&theirs.withheld);
        ours.failed.add_all(&theirs.failed);
        ours.suppressed.add_all(&theirs.suppressed);
        for (unit, sum) in &other.sums.0 {
            self.sums.0.entry(unit.clone()).or_insert_with(|| Sum::new(&sum.units)).add(sum);
        }
    }
}

/// Sums by what they are counted in.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums(BTreeMap<Unit, Sum>);

/// An account, and how its smallest amount was written by the book of the time: a book that gives
/// an asset another name or other decimals begins another sum.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Unit {
    pub(super) account: Account,
    smallest: String,
}

/// One sum.
#[derive(Clone, Debug)]
pub(super) struct Sum {
    /// Of the book in force.
    pub(super) units: Rc<Registry>,
    /// Signatures that were charged something in it.
    pub(super) signatures: u64,
    /// All that has a bound.
    pub(super) total: Total,
    /// The largest single one that has a bound, and its record.
    pub(super) largest: Option<(Amount, Sequence)>,
    /// How many have none: everything there is, and will be.
    pub(super) unlimited: u64,
}

impl Sums {
    pub(super) fn iter(&self) -> impl Iterator<Item = (Account, &Sum)> {
        self.0.iter().map(|(unit, sum)| (unit.account, sum))
    }
}

impl Sum {
    fn new(units: &Rc<Registry>) -> Self {
        let (units, total) = (Rc::clone(units), Total::ZERO);
        Self { units, signatures: 0, total, largest: None, unlimited: 0 }
    }

    fn add(&mut self, other: &Self) {
        self.signatures = self.signatures.saturating_add(other.signatures);
        self.unlimited = self.unlimited.saturating_add(other.unlimited);
        self.total = self.total.plus_total(other.total);
        if let Some((amount, at)) = other.largest {
            self.see(amount, at);
        }
    }

    /// The first of equals stays.
    fn see(&mut self, amount: Amount, at: Sequence) {
        let larger = self
            .largest
            .is_none_or(|(most, first)| amount > most || (amount == most && at < first));
        if larger {
            self.largest = Some((amount, at));
        }
    }
}

/// What each slot was charged in the period: of several transactions for one nonce only one can be
/// mined, so a slot counts once, with the most of them.
#[derive(Debug, Default)]
pub(super) struct Slots(BTreeMap<Slot, BTreeMap<Account, Amount>>);

impl Slots {
    /// Adds what a signature costs more than what its slot was charged already.
    pub(super) fn charge(
        &mut self,
        slot: Slot,
        charges: &Charges,
        (at, units): (Sequence, &Rc<Registry>),
        sums: &mut Sums,
    ) {
        let slot = self.0.entry(slot).or_default();
        for (account, amount) in charges.iter() {
            let smallest = format_amount(units, account, Amount::from(1));
            let unit = Unit { account, smallest };
            let sum = sums.0.entry(unit).or_insert_with(|| Sum::new(units));
            sum.signatures = sum.signatures.saturating_add(1);
            let before = slot.get(&account).copied().unwrap_or(Amount::ZERO);
            if is_unlimited(amount) {
                let first = u64::from(!is_unlimited(before));
                sum.unlimited = sum.unlimited.saturating_add(first);
            } else {
                let more = amount.checked_sub(before).unwrap_or(Amount::ZERO);
                sum.total = sum.total.plus(more);
                sum.see(amount, at);
            }
            slot.insert(account, before.max(amount));
        }
    }
}

/// What grants everything is charged so.
fn is_unlimited(amount: Amount) -> bool {
    amount == Amount::MAX
}

#[cfg(test)]
mod tests {
    use portcullis_policy::id::{ChainId, KeyId};
    use portcullis_policy::ledger::Place;
    use portcullis_policy::money::Asset;

    use super::*;

    const ETH: Account = Account { chain: ChainId(1), asset: Asset::Native };

    fn charged(all: &[(u64, u64, Amount)]) -> Sum {
        let (mut slots, mut sums) = (Slots::default(), Sums::default());
        for (record, nonce, amount) in all {
            let place = Place::Nonce(*nonce);
            let slot = Slot { key: KeyId::from_bytes([1; 16]), chain: ChainId(1), place };
            let mut charges = Charges::default();
            charges.add(ETH, *amount).expect("fits");
            let at = (Sequence(*record), &Rc::new(Registry::default()));
            slots.charge(slot, &charges, at, &mut sums);
        }
        sums.iter().next().expect("a sum").1.clone()
    }

    #[test]
    fn alternatives_of_one_nonce_count_once_with_the_most_of_them() {
        let sum = charged(&[
            (2, 0, Amount::from(5)),
            (3, 0, Amount::from(7)),
            (4, 0, Amount::from(6)),
            (5, 1, Amount::from(1)),
        ]);
        assert_eq!(sum.total.to_amount_saturating(), Amount::from(8));
        assert_eq!((sum.signatures, sum.unlimited), (4, 0));
        assert_eq!(sum.largest, Some((Amount::from(7), Sequence(3))));
    }

    #[test]
    fn what_has_no_bound_is_counted_and_not_added() {
        let sum = charged(&[(2, 0, Amount::from(5)), (3, 1, Amount::MAX), (4, 1, Amount::MAX)]);
        assert_eq!(sum.total.to_amount_saturating(), Amount::from(5));
        assert_eq!((sum.signatures, sum.unlimited), (3, 1));
    }
}
