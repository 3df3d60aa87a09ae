//! What effects cost at most.

use alloy_primitives::Address;

use super::Effect;
use crate::id::ChainId;
use crate::money::{Account, Amount, Asset, Charges};

/// What these effects may cost at most. `None` if a sum passes 2^256 - 1.
///
/// Fees count as native spend and, again, by themselves. An allowance counts as spent.
pub fn charges(effects: &[Effect], chain: ChainId) -> Option<Charges> {
    let native = Account { chain, asset: Asset::Native };
    let fee = Account { chain, asset: Asset::Fee };
    let token = |contract| Account { chain, asset: Asset::Token(contract) };
    let mut charges = Charges::default();
    for effect in effects {
        match effect {
            Effect::Fee { most, priority: _ } => {
                charges.add(native, (*most)?)?;
                charges.add(fee, (*most)?)?;
            }
            Effect::PayNative { to: _, amount } => charges.add(native, *amount)?,
            Effect::Deploy { init_code: _, value } => charges.add(native, *value)?,
            Effect::TransferToken { token: contract, amount, .. } => {
                charges.add(token(*contract), *amount)?;
            }
            Effect::GrantAllowance { token: contract, amount, .. } => {
                charges.add(token(*contract), *amount)?;
            }
            // Everything there is, and everything that will be.
            Effect::GrantOperator { token: contract, .. } => {
                charges.add(token(*contract), Amount::MAX)?;
            }
            Effect::Wrap { token: _, amount } => charges.add(native, *amount)?,
            Effect::Unwrap { token: contract, amount } => {
                charges.add(token(*contract), *amount)?;
            }
            Effect::RevokeOperator { .. }
            | Effect::Call { .. }
            | Effect::Via { .. }
            | Effect::DelegateCall { .. }
            | Effect::Typed { .. }
            | Effect::SignIn { .. }
            | Effect::Authorize { .. }
            | Effect::Delegate { .. }
            | Effect::Unknown { .. } => {}
        }
    }
    Some(charges)
}

/// What goes to whom, or may be taken by whom: fees aside, which go to the chain.
pub fn payments(effects: &[Effect], chain: ChainId) -> Vec<(Account, Address, Amount)> {
    let native = Account { chain, asset: Asset::Native };
    let token = |contract: &Address| Account { chain, asset: Asset::Token(*contract) };
    let payment = |effect: &Effect| match effect {
        Effect::PayNative { to, amount } => Some((native, *to, *amount)),
        Effect::TransferToken { token: contract, to, amount, .. } => {
            Some((token(contract), *to, *amount))
        }
        Effect::GrantAllowance { token: contract, spender, amount } => {
            Some((token(contract), *spender, *amount))
        }
        Effect::GrantOperator { token: contract, operator } => {
            Some((token(contract), *operator, Amount::MAX))
        }
        Effect::Fee { .. }
        | Effect::RevokeOperator { .. }
        | Effect::Wrap { .. }
        | Effect::Unwrap { .. }
        | Effect::Call { .. }
        | Effect::Via { .. }
        | Effect::DelegateCall { .. }
        | Effect::Typed { .. }
        | Effect::SignIn { .. }
        | Effect::Authorize { .. }
        | Effect::Deploy { .. }
        | Effect::Delegate { .. }
        | Effect::Unknown { .. } => None,
    };
    let payments = effects.iter().filter_map(payment);
    payments.filter(|(_, _, amount)| *amount > Amount::ZERO).collect()
}

/// What spenders are allowed to take from now on.
pub fn grants(effects: &[Effect], chain: ChainId) -> Vec<(Account, Address, Amount)> {
    let token = |contract: &Address| Account { chain, asset: Asset::Token(*contract) };
    let granted = effects.iter().filter_map(|effect| {
        if let Effect::GrantAllowance { token: contract, spender, amount } = effect {
            Some((token(contract), *spender, *amount))
        } else {
            None
        }
    });
    granted.filter(|(_, _, amount)| *amount > Amount::ZERO).collect()
}
