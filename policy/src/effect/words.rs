//! Effects for people: with labels and units.

use alloy_primitives::Address;

use super::Effect;
use crate::book::{Registry, format_amount};
use crate::id::ChainId;
use crate::money::{Account, Amount, Asset};

/// An effect in words, with labels and units from the registry: `pay 1 ETH to suppliers (0x…)`.
pub fn describe(effect: &Effect, chain: ChainId, registry: &Registry) -> String {
    let native = Account { chain, asset: Asset::Native };
    let amount = |account, amount| format_amount(registry, account, amount);
    let token_amount = |token: &Address, units: &Amount| {
        amount(Account { chain, asset: Asset::Token(*token) }, *units)
    };
    let who = |address: &Address| match registry.label_on(chain, *address) {
        Some(label) => format!("{label} ({})", address.to_checksum(None)),
        None => address.to_checksum(None),
    };
    match effect {
        Effect::Fee { most, priority: _ } => fee(*most, chain, registry),
        Effect::PayNative { to, amount: wei } => {
            format!("pay {} to {}", amount(native, *wei), who(to))
        }
        Effect::TransferToken { token, id, from, to, amount: units } => {
            let moved = token_amount(token, units);
            let moved = id.map_or(moved.clone(), |id| format!("{moved} #{id}"));
            match from {
                None => format!("send {moved} to {}", who(to)),
                Some(from) => format!("move {moved} from {} to {}", who(from), who(to)),
            }
        }
        Effect::GrantAllowance { token, spender, amount: units } => {
            format!("let {} take up to {}", who(spender), token_amount(token, units))
        }
        Effect::GrantOperator { token, operator } => {
            format!("let {} take all of {}, now and later", who(operator), who(token))
        }
        Effect::RevokeOperator { token, operator } => {
            format!("no longer let {} take {}", who(operator), who(token))
        }
        Effect::Wrap { token, amount: wei } => {
            format!("turn {} into {}", amount(native, *wei), who(token))
        }
        Effect::Unwrap { token, amount: units } => {
            format!("turn {} into the native coin", token_amount(token, units))
        }
        Effect::Via { contract } => format!("go through {}", who(contract)),
        Effect::DelegateCall { account, target } => {
            format!("let the code of {} run as {}", who(target), who(account))
        }
        Effect::Typed { contract: Some(contract), name, type_hash: _ } => {
            format!("sign {name} for {}", who(contract))
        }
        Effect::Typed { contract: None, name, type_hash: _ } => {
            format!("sign {name} for whatever contract takes it")
        }
        Effect::SignIn { domain, address } => format!("sign in to {domain} as {}", who(address)),
        Effect::Authorize { to } if *to == Address::ZERO => "end the delegation of code".into(),
        Effect::Authorize { to } => format!("run as {} until another is named", who(to)),
        Effect::Call { contract, selector, arguments: _ } => {
            format!("call function 0x{} of {}", hex::encode(selector), who(contract))
        }
        Effect::Deploy { init_code, value } => {
            format!("deploy a contract (init code {init_code}) with {}", amount(native, *value))
        }
        Effect::Delegate { chain: on, to } => {
            format!("carry an authorisation to run as {} on chain {on}", who(to))
        }
        Effect::Unknown { contract, why } => format!("not understood at {}: {why}", who(contract)),
    }
}

fn fee(most: Option<Amount>, chain: ChainId, registry: &Registry) -> String {
    let Some(most) = most else { return "pay a fee beyond all amounts".into() };
    let amount = |amount| format_amount(registry, Account { chain, asset: Asset::Native }, amount);
    let most = amount(most);
    match super::l1_fee(chain, registry) {
        Amount::ZERO => format!("pay a fee of at most {most}"),
        l1_fee => {
            let reserved = amount(l1_fee);
            format!("pay a fee of at most {most}, {reserved} of it kept for layer 1")
        }
    }
}
