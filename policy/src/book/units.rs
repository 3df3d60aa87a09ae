//! Amounts as people write them. Exact in both directions: what is printed reads back as the same
//! number of base units.

use alloy_primitives::U256;

use super::{Registry, Token};
use crate::money::{Account, Amount, Asset};

/// An amount with its unit, for people: `0.05 ETH`, `500000.5 USDC`.
///
/// An asset that the registry does not know has no unit, so its base units are counted.
pub fn format_amount(registry: &Registry, account: Account, amount: Amount) -> String {
    let name = asset_name(registry, account);
    match registry.decimals(account) {
        Some(decimals) => format!("{} {name}", decimal(amount, decimals)),
        None => format!("{amount} base units of {name} on chain {}", account.chain),
    }
}

/// With how many digits after the point amounts of an account are written.
pub(super) fn decimals(registry: &Registry, account: Account) -> Option<u8> {
    match account.asset {
        Asset::Native | Asset::Fee => registry.chain(account.chain).map(|_| NATIVE_DECIMALS),
        Asset::Token(contract) => {
            registry.token(account.chain, contract).map(|token: &Token| token.decimals)
        }
        Asset::Requests => Some(0),
        Asset::Usd => Some(USD_DECIMALS),
    }
}

/// The asset a registered account is counted in, as people call it.
pub fn asset_name(registry: &Registry, account: Account) -> String {
    let native = registry.chain(account.chain).map_or("native", |chain| chain.native.as_str());
    match account.asset {
        Asset::Native | Asset::Fee => native.to_owned(),
        Asset::Token(contract) => registry
            .token(account.chain, contract)
            .map_or_else(|| contract.to_checksum(None), |token| token.name.clone()),
        Asset::Requests => "requests".to_owned(),
        Asset::Usd => "USD".to_owned(),
    }
}

/// An amount per unit of gas: `5 gwei`.
pub(super) fn format_gwei(amount: Amount) -> String {
    format!("{} gwei", decimal(amount, GWEI_DECIMALS))
}

/// Reads `50_000.5 USDC` in one of the units given.
pub(super) fn parse_amount(text: &str, units: &[UnitDef<'_>]) -> Result<Amount, InvalidAmount> {
    let (number, unit) = split_amount(text)?;
    let Some(known) = units.iter().find(|known| known.name == unit) else {
        return Err(InvalidAmount::Unit);
    };
    parse_number(number, known.decimals)
}

/// The number and the unit of an amount, neither looked at.
pub(super) fn split_amount(text: &str) -> Result<(&str, &str), InvalidAmount> {
    text.split_once(' ').ok_or(InvalidAmount::Form)
}

/// The units of native coins: their symbols, and the parts that all of them have.
pub(super) fn coin_units<'a>(symbols: impl Iterator<Item = &'a str>) -> Vec<UnitDef<'a>> {
    let coins = symbols.map(|name| UnitDef { name, decimals: NATIVE_DECIMALS });
    let gwei = UnitDef { name: "gwei", decimals: GWEI_DECIMALS };
    coins.chain([gwei, UnitDef { name: "wei", decimals: 0 }]).collect()
}

/// A unit: ten to the power of `decimals` base units.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnitDef<'a> {
    /// What follows the number.
    pub(super) name: &'a str,
    /// Digits after the point.
    pub(super) decimals: u8,
}

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum InvalidAmount {
    /// Not a number, a space and a unit.
    #[error("is not an amount")]
    Form,
    /// The unit is another asset's, or nobody's.
    #[error("has a unit that is not one of this rule's asset")]
    Unit,
    /// More digits after the point than the unit has.
    #[error("is finer than its unit: at most {0} digits after the point")]
    Finer(u8),
    /// 2^256 base units or more.
    #[error("is 2^256 base units or more")]
    Overflow,
}

fn parse_number(number: &str, decimals: u8) -> Result<Amount, InvalidAmount> {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (number, None),
    };
    let fraction = fraction.map(digits).transpose()?.unwrap_or_default();
    let whole = digits(whole)?;
    let missing = usize::from(decimals).checked_sub(fraction.len());
    let missing = missing.ok_or(InvalidAmount::Finer(decimals))?;
    let all = format!("{whole}{fraction}{}", "0".repeat(missing));
    let units = U256::from_str_radix(&all, 10).map_err(|_| InvalidAmount::Overflow)?;
    Ok(Amount::from_units(units))
}

/// Digits with single `_` between digits, without the `_`.
fn digits(text: &str) -> Result<String, InvalidAmount> {
    let grouped = text.split('_').all(|group| !group.is_empty());
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    if !grouped || !plain || text.len() > NUMBER_BYTES_MAX {
        return Err(InvalidAmount::Form);
    }
    Ok(text.replace('_', ""))
}

/// Without trailing zeros after the point, and without a point if nothing follows it.
fn decimal(amount: Amount, decimals: u8) -> String {
    let places = usize::from(decimals);
    let text = format!("{:0>width$}", amount.to_string(), width = places.saturating_add(1));
    let point = text.len().saturating_sub(places);
    let (whole, fraction) = text.split_at_checked(point).unwrap_or((&text, ""));
    match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    }
}

/// Every EVM chain counts its native coin in 10^-18.
pub(super) const NATIVE_DECIMALS: u8 = 18;

/// Worth is counted in millionths.
pub(super) const USD_DECIMALS: u8 = 6;

const GWEI_DECIMALS: u8 = 9;

/// 2^256 has 78 digits; more, with room for `_` and leading zeros, is no amount of anything.
const NUMBER_BYTES_MAX: usize = 160;

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "test")]
mod tests {
    use alloy_primitives::Address;
    use proptest::prelude::*;

    use super::super::Chain;
    use super::*;
    use crate::id::ChainId;

    fn eth(text: &str) -> Result<Amount, InvalidAmount> {
        parse_amount(text, &coin_units(["ETH"].into_iter()))
    }

    #[test]
    fn an_amount_is_a_number_one_space_and_a_unit() {
        assert_eq!(eth("10 ETH"), Ok(Amount::from(10_000_000_000_000_000_000)));
        assert_eq!(eth("0.05 ETH"), Ok(Amount::from(50_000_000_000_000_000)));
        assert_eq!(eth("5 gwei"), Ok(Amount::from(5_000_000_000)));
        assert_eq!(eth("1_000_000 wei"), Ok(Amount::from(1_000_000)));
        let bad = ["", "10", "10ETH", "+1 ETH", "-1 ETH", "1e3 ETH", ".5 ETH", "5. ETH"];
        for bad in
            bad.iter().chain(&["1__0 ETH", "_1 ETH", "1_ ETH", "0x1 ETH", "1,5 ETH", "1.5.0 ETH"])
        {
            assert_eq!(eth(bad), Err(InvalidAmount::Form), "{bad}");
        }
        for bad in [" 10 ETH", "10 USDC", "10 eth", "10  ETH", "10 ETH "] {
            assert_eq!(eth(bad), Err(InvalidAmount::Unit), "{bad}");
        }
    }

    #[test]
    fn nothing_is_rounded_and_nothing_wraps() {
        assert_eq!(eth("0.5 wei"), Err(InvalidAmount::Finer(0)));
        assert_eq!(eth("0.0000000000000000001 ETH"), Err(InvalidAmount::Finer(18)));
        let most = format!("{} wei", Amount::MAX);
        assert_eq!(eth(&most), Ok(Amount::MAX));
        let over = format!("{}0 wei", Amount::MAX);
        assert_eq!(eth(&over), Err(InvalidAmount::Overflow));
    }

    #[test]
    fn an_unregistered_asset_is_printed_in_base_units() {
        let account = Account { chain: ChainId(9), asset: Asset::Token(Address::repeat_byte(1)) };
        let text = format_amount(&Registry::default(), account, Amount::from(12));
        assert_eq!(text, "12 base units of 0x0101010101010101010101010101010101010101 on chain 9");
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back_as_the_same_amount(
            limbs: [u64; 4],
            shift in 0_usize..256,
            decimals in 0_u8..=77,
        ) {
            let amount = Amount::from_units(U256::from_limbs(limbs) >> shift);
            let text = format!("{} X", decimal(amount, decimals));
            prop_assert_eq!(parse_amount(&text, &[UnitDef { name: "X", decimals }]), Ok(amount));
        }

        #[test]
        fn a_native_amount_is_printed_with_its_symbol(units: u128) {
            let mut registry = Registry::default();
            let chain = Chain { name: "ethereum".into(), native: "ETH".into(), l1_fee: None };
            registry.chains.insert(ChainId(1), chain);
            let account = Account { chain: ChainId(1), asset: Asset::Native };
            let text = format_amount(&registry, account, Amount::from(units));
            prop_assert_eq!(eth(&text), Ok(Amount::from(units)));
        }
    }
}
