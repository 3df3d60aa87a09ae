//! What a transaction would do, in the words that rules are written in. Rules never see bytes.
//!
//! An asset's kind comes from the book's registry, never from a selector: `approve` and
//! `transferFrom` are shared by ERC-20 and ERC-721.

use alloy_primitives::{Address, B256, keccak256};

use crate::abi::{self, Erc20};
use crate::book::{Registry, format_amount};
use crate::id::ChainId;
use crate::money::{Account, Amount, Asset, Charges};
use crate::tx::{Destination, UnsignedTx};

/// One thing a transaction would do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Pays a fee of at most so much.
    Fee {
        /// Gas limit times maximum fee, plus blobs at their maximum fee, plus what the book says
        /// that the chain takes beside gas. `None`: 2^256 or more.
        most: Option<Amount>,
        /// Of each unit of gas, at most so much goes to the block's builder.
        priority: Amount,
    },
    /// Pays the native coin.
    PayNative {
        /// To whom.
        to: Address,
        /// Wei.
        amount: Amount,
    },
    /// Moves a registered ERC-20 token.
    TransferToken {
        /// The contract.
        token: Address,
        /// Whose; `None`: the key's own.
        from: Option<Address>,
        /// To whom.
        to: Address,
        /// Base units.
        amount: Amount,
    },
    /// Lets somebody move a registered ERC-20 token. Replaces what was granted before.
    GrantAllowance {
        /// The contract.
        token: Address,
        /// Who may then move it.
        spender: Address,
        /// Base units.
        amount: Amount,
    },
    /// Calls a contract without being understood.
    Call {
        /// The contract.
        contract: Address,
        /// The function.
        selector: [u8; 4],
    },
    /// Deploys a contract.
    Deploy {
        /// Keccak-256 of the init code.
        init_code: B256,
        /// Native coin sent along.
        value: Amount,
    },
    /// Carries an EIP-7702 authorisation: an account would run this contract's code.
    Delegate {
        /// The chain it is valid on; 0: all of them.
        chain: ChainId,
        /// The contract.
        to: Address,
    },
    /// Not understood, so not signed.
    Unknown {
        /// What it was sent to.
        contract: Address,
        /// Why it is not understood.
        why: String,
    },
}

/// Everything a transaction would do.
pub fn effects(tx: &UnsignedTx, registry: &Registry) -> Vec<Effect> {
    let priority = tx.max_priority_fee_per_gas();
    let most = tx.worst_case_fee().and_then(|fee| fee.checked_add(l1_fee(tx.chain(), registry)));
    let mut effects = vec![Effect::Fee { most, priority }];
    match tx.destination() {
        Destination::Create => {
            effects.push(Effect::Deploy { init_code: keccak256(tx.data()), value: tx.value() });
        }
        Destination::Call(to) => {
            if tx.value() > Amount::ZERO || tx.data().is_empty() {
                effects.push(Effect::PayNative { to, amount: tx.value() });
            }
            if !tx.data().is_empty() {
                effects.push(call(tx.chain(), to, tx.data(), registry));
            }
        }
    }
    let delegations = tx.authorizations().iter();
    effects
        .extend(delegations.map(|one| Effect::Delegate { chain: one.chain(), to: one.address() }));
    effects
}

/// What the book reserves of each transaction for the chain's layer 1; it is in no signed field.
fn l1_fee(chain: ChainId, registry: &Registry) -> Amount {
    registry.chain(chain).and_then(|chain| chain.l1_fee).unwrap_or(Amount::ZERO)
}

fn call(chain: ChainId, contract: Address, data: &[u8], registry: &Registry) -> Effect {
    let Some(selector) = abi::selector(data) else {
        return Effect::Unknown {
            contract,
            why: "call data shorter than a function selector".into(),
        };
    };
    let token = contract;
    if registry.token(chain, token).is_none() {
        return Effect::Call { contract, selector };
    }
    match abi::erc20(data) {
        Erc20::Transfer { to, amount } => Effect::TransferToken { token, from: None, to, amount },
        Erc20::TransferFrom { from, to, amount } => {
            Effect::TransferToken { token, from: Some(from), to, amount }
        }
        Erc20::Approve { spender, amount } => Effect::GrantAllowance { token, spender, amount },
        Erc20::NotCanonical(fault) => Effect::Unknown { contract, why: fault.to_string() },
        Erc20::NotErc20 => Effect::Call { contract, selector },
    }
}

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
            Effect::Call { .. } | Effect::Delegate { .. } | Effect::Unknown { .. } => {}
        }
    }
    Some(charges)
}

/// An effect in words, with labels and units from the registry: `pay 1 ETH to suppliers (0x…)`.
pub fn describe(effect: &Effect, chain: ChainId, registry: &Registry) -> String {
    let native = Account { chain, asset: Asset::Native };
    let amount = |account, amount| format_amount(registry, account, amount);
    let token_amount = |token: &Address, units: &Amount| {
        amount(Account { chain, asset: Asset::Token(*token) }, *units)
    };
    let who = |address: &Address| match registry.label(*address) {
        Some(label) => format!("{label} ({})", address.to_checksum(None)),
        None => address.to_checksum(None),
    };
    match effect {
        Effect::Fee { most: Some(most), priority: _ } => {
            let most = amount(native, *most);
            match l1_fee(chain, registry) {
                Amount::ZERO => format!("pay a fee of at most {most}"),
                l1_fee => {
                    let reserved = amount(native, l1_fee);
                    format!("pay a fee of at most {most}, {reserved} of it kept for layer 1")
                }
            }
        }
        Effect::Fee { most: None, priority: _ } => "pay a fee beyond all amounts".into(),
        Effect::PayNative { to, amount: wei } => {
            format!("pay {} to {}", amount(native, *wei), who(to))
        }
        Effect::TransferToken { token, from: None, to, amount: units } => {
            format!("send {} to {}", token_amount(token, units), who(to))
        }
        Effect::TransferToken { token, from: Some(from), to, amount: units } => {
            let moved = token_amount(token, units);
            format!("move {moved} from {} to {}", who(from), who(to))
        }
        Effect::GrantAllowance { token, spender, amount: units } => {
            format!("let {} take up to {}", who(spender), token_amount(token, units))
        }
        Effect::Call { contract, selector } => {
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
