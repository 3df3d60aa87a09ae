//! Amounts, the accounts they are charged to, and sums of charges. No operators: each step says
//! what happens when it does not fit.

use std::collections::BTreeMap;
use std::fmt;

use alloy_primitives::{Address, U256, Uint};
use serde::{Deserialize, Serialize};

use crate::id::{CallerId, ChainId};

/// An amount in base units (wei, or a token's smallest unit).
///
/// `U256` wraps silently on `+`, `-`, `*` and `.sum()`, so none of them is reachable from here.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Amount(U256);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(U256::ZERO);
    /// 2^256 - 1: what "unlimited" allowances say.
    pub const MAX: Self = Self(U256::MAX);

    /// Base units.
    pub const fn from_units(units: U256) -> Self {
        Self(units)
    }

    /// Base units.
    pub fn units(self) -> U256 {
        self.0
    }

    /// `None` on overflow. A caller treats that as over every limit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// `None` if `other` is more.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// `None` on overflow. A caller treats that as over every limit.
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        self.0.checked_mul(other.0).map(Self)
    }

    /// As a sum of one.
    pub fn to_total(self) -> Total {
        Total(Wide::from(self.0))
    }
}

impl From<u128> for Amount {
    fn from(units: u128) -> Self {
        Self(U256::from(units))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl Serialize for Amount {
    /// As a decimal string: JSON numbers are not integers.
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Amount {
    /// From a decimal string without sign, spaces or leading zeros.
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        parse_decimal(&text).ok_or_else(|| serde::de::Error::custom("not a decimal amount"))
    }
}

/// A decimal integer, strictly: digits only, no leading zero. `None` if not, or if over 2^256 - 1.
pub fn parse_decimal(text: &str) -> Option<Amount> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let leading_zero = text.len() > 1 && text.starts_with('0');
    if !digits || leading_zero {
        return None;
    }
    U256::from_str_radix(text, 10).ok().map(Amount)
}

/// 2^64 amounts add up to less than 2^320, so a total cannot overflow.
type Wide = Uint<320, 5>;

/// A sum of amounts.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Total(Wide);

impl Total {
    /// Nothing.
    pub const ZERO: Self = Self(Wide::ZERO);

    /// With one more. Saturates, which no number of amounts that fits into memory reaches.
    #[must_use]
    pub fn plus(self, amount: Amount) -> Self {
        Self(self.0.saturating_add(Wide::from(amount.0)))
    }

    /// Of two sums.
    #[must_use]
    pub fn plus_total(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Without one that is part of it.
    #[must_use]
    pub fn minus(self, amount: Amount) -> Self {
        Self(self.0.saturating_sub(Wide::from(amount.0)))
    }

    /// Whether it is more than `limit`.
    pub fn exceeds(self, limit: Amount) -> bool {
        self.0 > Wide::from(limit.0)
    }

    /// As an amount, or 2^256 - 1 if it is more. For display, never for a decision.
    pub fn to_amount_saturating(self) -> Amount {
        Amount(U256::saturating_from(self.0))
    }
}

/// What an amount is counted in. On another chain the same address is another asset.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Asset {
    /// The chain's native coin, fees included at their worst case.
    Native,
    /// The worst-case fee by itself, in the native coin.
    Fee,
    /// A registered token, by its contract.
    Token(Address),
    /// Requests, whatever they cost: each is 1.
    Requests,
    /// What everything is worth, in millionths of a USD, by reference prices.
    Usd,
}

/// Where charges are counted: one asset on one chain.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Account {
    /// The chain.
    pub chain: ChainId,
    /// The asset on it.
    pub asset: Asset,
}

/// Which part of an account's charges a limit sums.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Facet {
    /// All of them.
    Whole,
    /// What one caller asked for.
    Caller(CallerId),
    /// What goes to one recipient, or may be taken by one spender.
    To(Address),
    /// What one spender is allowed to take: counted until a watcher says what is left of it.
    Grant(Address),
}

/// One sum that is kept: an account, or a part of it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Line {
    /// Which part. First, so that what is always summed comes first.
    pub facet: Facet,
    /// Of which account.
    pub account: Account,
}

impl From<Account> for Line {
    fn from(account: Account) -> Self {
        Self { facet: Facet::Whole, account }
    }
}

/// Amounts by account: what one request may cost at most. Parts of an account are there only where
/// a limit of the book sums them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Charges(BTreeMap<Line, Amount>);

impl Charges {
    /// Adds to an account. `None` on overflow; then nothing has changed.
    #[must_use]
    pub fn add(&mut self, account: Account, amount: Amount) -> Option<()> {
        self.add_line(account.into(), amount)
    }

    /// Adds to a part of an account. `None` on overflow; then nothing has changed.
    #[must_use]
    pub fn add_line(&mut self, line: Line, amount: Amount) -> Option<()> {
        let sum = self.of_line(&line).checked_add(amount)?;
        self.0.insert(line, sum);
        Some(())
    }

    /// What an account is charged.
    pub fn of(&self, account: Account) -> Amount {
        self.of_line(&account.into())
    }

    /// What a part of an account is charged.
    pub fn of_line(&self, line: &Line) -> Amount {
        self.0.get(line).copied().unwrap_or(Amount::ZERO)
    }

    /// All accounts charged, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Account, Amount)> + '_ {
        let whole = self.0.iter().take_while(|(line, _)| line.facet == Facet::Whole);
        whole.map(|(line, amount)| (line.account, *amount))
    }

    /// All accounts and parts charged, in order.
    pub fn lines(&self) -> impl Iterator<Item = (&Line, Amount)> + '_ {
        self.0.iter().map(|(line, amount)| (line, *amount))
    }

    /// The larger of both, line by line: what a slot can cost if it has alternatives.
    #[must_use]
    pub fn max(mut self, other: &Self) -> Self {
        for (line, amount) in other.lines() {
            let larger = self.of_line(line).max(amount);
            self.0.insert(line.clone(), larger);
        }
        self
    }

    /// Whether no line is charged more than in `other`.
    pub fn within(&self, other: &Self) -> bool {
        self.lines().all(|(line, amount)| amount <= other.of_line(line))
    }
}

/// One line of [`Charges`] in a record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChargeLine {
    amount: Amount,
    asset: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caller: Option<CallerId>,
    chain: ChainId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grant: Option<Address>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<Address>,
}

impl Serialize for Charges {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(self.lines().map(|(line, amount)| {
            let (caller, grant, to) = match &line.facet {
                Facet::Whole => (None, None, None),
                Facet::Caller(caller) => (Some(caller.clone()), None, None),
                Facet::To(to) => (None, None, Some(*to)),
                Facet::Grant(spender) => (None, Some(*spender), None),
            };
            let asset = match line.account.asset {
                Asset::Native => "native".into(),
                Asset::Fee => "fee".into(),
                Asset::Token(contract) => format!("0x{}", hex::encode(contract)),
                Asset::Requests => "requests".into(),
                Asset::Usd => "usd".into(),
            };
            ChargeLine { amount, asset, caller, chain: line.account.chain, grant, to }
        }))
    }
}

impl<'de> Deserialize<'de> for Charges {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let mut charges = BTreeMap::new();
        for line in Vec::<ChargeLine>::deserialize(input)? {
            let asset = match line.asset.as_str() {
                "native" => Asset::Native,
                "fee" => Asset::Fee,
                "requests" => Asset::Requests,
                "usd" => Asset::Usd,
                contract => Asset::Token(contract.parse().map_err(D::Error::custom)?),
            };
            let account = Account { chain: line.chain, asset };
            let facet = match (line.caller, line.grant, line.to) {
                (None, None, None) => Facet::Whole,
                (Some(caller), None, None) => Facet::Caller(caller),
                (None, Some(spender), None) => Facet::Grant(spender),
                (None, None, Some(to)) => Facet::To(to),
                _ => return Err(D::Error::custom("two parts of an account in one line")),
            };
            if charges.insert(Line { facet, account }, line.amount).is_some() {
                return Err(D::Error::custom("an account is charged twice"));
            }
        }
        Ok(Self(charges))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETH: Account = Account { chain: ChainId(1), asset: Asset::Native };

    #[test]
    fn a_charge_that_overflows_is_refused_and_changes_nothing() {
        let mut charges = Charges::default();
        charges.add(ETH, Amount::MAX).unwrap();
        assert_eq!(charges.add(ETH, Amount::from(1)), None);
        assert_eq!(charges.of(ETH), Amount::MAX);
    }

    #[test]
    fn a_total_of_many_maximal_amounts_is_over_every_limit() {
        let total = Total::ZERO.plus(Amount::MAX).plus(Amount::MAX);
        assert!(total.exceeds(Amount::MAX));
        assert!(!total.minus(Amount::MAX).exceeds(Amount::MAX));
    }

    #[test]
    fn decimals_are_strict() {
        assert_eq!(parse_decimal("10"), Some(Amount::from(10)));
        for bad in ["", "01", "+1", "-1", "1 ", "1e3", "0x10", "1_000"] {
            assert_eq!(parse_decimal(bad), None, "{bad}");
        }
        let over = format!("{}0", Amount::MAX);
        assert_eq!(parse_decimal(&over), None);
    }

    #[test]
    fn a_slot_costs_the_larger_of_its_alternatives_in_every_account() {
        let usdc = Account { chain: ChainId(1), asset: Asset::Token(Address::ZERO) };
        let mut first = Charges::default();
        first.add(usdc, Amount::from(10)).unwrap();
        let mut second = Charges::default();
        second.add(ETH, Amount::from(5)).unwrap();
        let both = first.clone().max(&second);
        assert_eq!((both.of(ETH), both.of(usdc)), (Amount::from(5), Amount::from(10)));
        assert!(first.within(&both) && second.within(&both) && !both.within(&first));
    }
}
