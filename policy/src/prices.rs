//! Reference prices, as records of a pricer: for limits in USD and nothing else.
//!
//! A price that is missing, stale, or that moved further in a day than the book believes is no
//! price; and without a price, what a limit in USD counts is refused.

use std::collections::{BTreeMap, VecDeque};

use alloy_primitives::U256;
use serde::{Deserialize, Serialize};

use crate::book::{PriceRule, Registry, asset_name};
use crate::id::ChainId;
use crate::money::{Account, Amount, Asset, Charges};
use crate::outage::Outage;
use crate::record::Priced;
use crate::time::{Millis, Span};

/// What was said of a day, and the last word before it: each in millionths of a USD for one whole
/// unit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Prices(BTreeMap<String, VecDeque<(Millis, Amount)>>);

/// Why a report is not believed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotPriced {
    /// The book says nothing of prices.
    #[error("the book in force has no [prices]")]
    NoRule,
    /// Nothing costs nothing.
    #[error("the price of {0} is zero")]
    Zero(String),
    /// Too far in a day.
    #[error("{asset} was at {was} within a day, and the book lets it move {percent} %: {new}")]
    TooFar {
        /// Which.
        asset: String,
        /// The price furthest from it, in millionths of a USD.
        was: Amount,
        /// The book's bound.
        percent: u64,
        /// The price reported.
        new: Amount,
    },
    /// More often than is kept.
    #[error("{0} was reported more than {REPORTS_MAX} times within a day")]
    TooOften(String),
}

impl Prices {
    /// Whether the book believes a report.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(
        &self,
        rule: Option<PriceRule>,
        priced: &Priced,
        now: Millis,
    ) -> Result<(), NotPriced> {
        let rule = rule.ok_or(NotPriced::NoRule)?;
        for (asset, new) in &priced.prices {
            if *new == Amount::ZERO {
                return Err(NotPriced::Zero(asset.clone()));
            }
            let Some(history) = self.0.get(asset) else { continue };
            if history.len() >= REPORTS_MAX {
                return Err(NotPriced::TooOften(asset.clone()));
            }
            let day = history.iter().filter(|(at, _)| at.plus(DAY) > now);
            let before = history.iter().rev().find(|(at, _)| at.plus(DAY) <= now);
            for (_, was) in day.chain(before) {
                if !within(*was, *new, rule.percent) {
                    let (asset, percent) = (asset.clone(), rule.percent);
                    return Err(NotPriced::TooFar { asset, was: *was, percent, new: *new });
                }
            }
        }
        Ok(())
    }

    /// Takes a report in.
    pub(crate) fn report(&mut self, priced: &Priced, now: Millis) {
        for (asset, price) in &priced.prices {
            let history = self.0.entry(asset.clone()).or_default();
            history.push_back((now, *price));
            while history.get(1).is_some_and(|(at, _)| at.plus(DAY) <= now) {
                history.pop_front();
            }
        }
    }

    /// What was said since an outage ended is as new after it as before.
    pub(crate) fn keep_young(&mut self, outage: Outage) {
        for (at, _) in self.0.values_mut().flatten() {
            *at = outage.moved_time(*at);
        }
    }

    /// The last price, if it is not older than the book allows.
    pub fn last(&self, asset: &str, stale: Span, now: Millis) -> Option<Amount> {
        let (at, price) = self.0.get(asset)?.back()?;
        (at.plus(stale) > now).then_some(*price)
    }

    /// What an amount is worth, in millionths of a USD, rounded up. The error names what has no
    /// price; `Ok(None)` is 2^256 and more.
    pub(crate) fn worth(
        &self,
        registry: &Registry,
        (account, amount): (Account, Amount),
        (stale, now): (Span, Millis),
    ) -> Result<Option<Amount>, String> {
        let name = asset_name(registry, account);
        let price = self.last(&name, stale, now).ok_or_else(|| name.clone())?;
        let decimals = registry.decimals(account).ok_or(name)?;
        let one = U256::from(10).checked_pow(U256::from(decimals));
        let worth = one.and_then(|one| {
            let product = amount.units().checked_mul(price.units())?;
            Some(Amount::from_units(product.div_ceil(one)))
        });
        Ok(worth)
    }

    /// What a charge is worth, fees within native spend. As [`Prices::worth`].
    pub(crate) fn worth_of(
        &self,
        registry: &Registry,
        charge: &Charges,
        (stale, now): (Span, Millis),
    ) -> Result<Option<Amount>, String> {
        let mut sum = Some(Amount::ZERO);
        for (account, amount) in charge.iter() {
            let counted = matches!(account.asset, Asset::Native | Asset::Token(_));
            if counted && amount > Amount::ZERO {
                let worth = self.worth(registry, (account, amount), (stale, now))?;
                sum = sum.and_then(|sum| sum.checked_add(worth?));
            }
        }
        Ok(sum)
    }
}

/// Where worth is charged: on no chain.
pub(crate) const USD: Account = Account { chain: ChainId(0), asset: Asset::Usd };

/// Whether one price is at most so many per cent above or below another.
fn within(was: Amount, new: Amount, percent: u64) -> bool {
    let (low, high) = (was.min(new), was.max(new));
    let hundred = Amount::from(100);
    let grown = Amount::from(u128::from(percent.saturating_add(100)));
    match (high.checked_mul(hundred), low.checked_mul(grown)) {
        (Some(high), Some(low)) => high <= low,
        (None, _) | (_, None) => false,
    }
}

const DAY: Span = Span(86_400_000);

/// One a minute, and a few more.
const REPORTS_MAX: usize = 1_500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Sequence;

    const RULE: Option<PriceRule> = Some(PriceRule { stale: Span(3_600_000), percent: 20 });

    fn report(price: u128) -> Priced {
        let prices = BTreeMap::from([("ETH".to_owned(), Amount::from(price))]);
        Priced { by: "petra".parse().unwrap(), prices }
    }

    #[test]
    fn a_price_moves_no_further_in_any_stretch_of_a_day_than_the_book_says() {
        let mut prices = Prices::default();
        let mut tell = |hours: u64, price: u128| {
            let now = Millis(hours * 3_600_000);
            let said = prices.check(RULE, &report(price), now);
            if said.is_ok() {
                prices.report(&report(price), now);
            }
            said.is_ok()
        };
        assert!(tell(0, 1_000));
        assert!(tell(23, 1_200) && !tell(23, 1_201) && !tell(23, 999));
        // A day after the first, 1,000 still stands: it was the last word before the day began.
        assert!(!tell(25, 1_400));
        assert!(tell(48, 1_440));
        assert!(!tell(48, 1_190));
    }

    #[test]
    fn over_an_outage_a_price_grows_older_if_it_was_said_before_it_alone() {
        let mut prices = Prices::default();
        let hours = |hours: u64| Millis(hours * 3_600_000);
        let last = |prices: &Prices, now| prices.last("ETH", Span(hours(1).0), now);
        let outage = Outage::before((hours(2), Sequence(9)), Span(hours(48).0));
        prices.report(&report(7), hours(1));
        prices.keep_young(outage);
        assert_eq!(last(&prices, hours(50)), None);
        prices.report(&report(8), hours(2));
        prices.keep_young(outage);
        assert_eq!(last(&prices, hours(50)), Some(Amount::from(8)));
        assert_eq!(last(&prices, hours(51)), None);
    }

    #[test]
    fn a_stale_or_missing_price_is_none() {
        let mut prices = Prices::default();
        prices.report(&report(7), Millis(1_000));
        let hour = Span(3_600_000);
        assert_eq!(prices.last("ETH", hour, Millis(3_600_999)), Some(Amount::from(7)));
        assert_eq!(prices.last("ETH", hour, Millis(3_601_000)), None);
        assert_eq!(prices.last("USDC", hour, Millis(1_000)), None);
        assert_eq!(prices.check(None, &report(7), Millis(0)), Err(NotPriced::NoRule));
        assert!(matches!(prices.check(RULE, &report(0), Millis(0)), Err(NotPriced::Zero(_))));
    }
}
