//! What calldata says to a registered token, by the kind that the registry gives it.

use std::sync::LazyLock;

use alloy_primitives::{Address, U256};

use super::Effect;
use crate::abi::{self, Erc20, Function};
use crate::book::TokenKind;
use crate::money::Amount;
use crate::value::Value;

/// What a call to a token would do. Whatever is not understood in full is unknown, or a call that
/// no rule can allow.
pub(super) fn effects(kind: TokenKind, token: Address, value: Amount, data: &[u8]) -> Vec<Effect> {
    match kind {
        TokenKind::Erc20 => paid(token, value, fungible(token, data)),
        TokenKind::Wrapped => wrapped(token, value, data),
        TokenKind::Erc721 => paid(token, value, vec![erc721(token, data)]),
        TokenKind::Erc1155 => paid(token, value, erc1155(token, data)),
    }
}

/// Coin sent along is a payment to the contract.
fn paid(to: Address, amount: Amount, mut effects: Vec<Effect>) -> Vec<Effect> {
    if amount > Amount::ZERO {
        effects.insert(0, Effect::PayNative { to, amount });
    }
    effects
}

fn fungible(token: Address, data: &[u8]) -> Vec<Effect> {
    let one = match abi::erc20(data) {
        Erc20::Transfer { to, amount } => {
            Effect::TransferToken { token, id: None, from: None, to, amount }
        }
        Erc20::TransferFrom { from, to, amount } => {
            Effect::TransferToken { token, id: None, from: Some(from), to, amount }
        }
        Erc20::Approve { spender, amount } => Effect::GrantAllowance { token, spender, amount },
        Erc20::NotCanonical(fault) => unknown(token, fault),
        Erc20::NotErc20 => match read(&INCREASE, token, data) {
            Some(Ok([Value::Address(spender), Value::Uint(amount)])) => {
                Effect::GrantAllowance { token, spender, amount: Amount::from_units(amount) }
            }
            Some(Err(unknown)) => unknown,
            _ => match read(&DECREASE, token, data) {
                // Taking back is always within limits.
                Some(Ok([Value::Address(spender), Value::Uint(_)])) => {
                    Effect::GrantAllowance { token, spender, amount: Amount::ZERO }
                }
                Some(Err(unknown)) => unknown,
                _ => opaque(token, data),
            },
        },
    };
    vec![one]
}

fn wrapped(token: Address, value: Amount, data: &[u8]) -> Vec<Effect> {
    // Coin that comes without a call is a deposit too.
    if data.is_empty() || data == DEPOSIT.selector() {
        return vec![Effect::Wrap { token, amount: value }];
    }
    match read(&WITHDRAW, token, data) {
        Some(Ok([Value::Uint(amount)])) => {
            paid(token, value, vec![Effect::Unwrap { token, amount: Amount::from_units(amount) }])
        }
        Some(Err(unknown)) => vec![unknown],
        _ => paid(token, value, fungible(token, data)),
    }
}

fn erc721(token: Address, data: &[u8]) -> Effect {
    let one = Amount::from(1);
    let moved = |from: Address, to: Address, id: U256| Effect::TransferToken {
        token,
        id: Some(id),
        from: Some(from),
        to,
        amount: one,
    };
    for function in [&TRANSFER_FROM, &SAFE_TRANSFER_FROM] {
        match read(function, token, data) {
            Some(Ok([Value::Address(from), Value::Address(to), Value::Uint(id)])) => {
                return moved(from, to, id);
            }
            Some(Err(unknown)) => return unknown,
            _ => {}
        }
    }
    match read(&SAFE_TRANSFER_FROM_DATA, token, data) {
        Some(Ok([Value::Address(from), Value::Address(to), Value::Uint(id), _])) => {
            return moved(from, to, id);
        }
        Some(Err(unknown)) => return unknown,
        _ => {}
    }
    match read(&APPROVE, token, data) {
        // To the zero address it takes an approval back.
        Some(Ok([Value::Address(spender), Value::Uint(_)])) => {
            let amount = if spender == Address::ZERO { Amount::ZERO } else { one };
            Effect::GrantAllowance { token, spender, amount }
        }
        Some(Err(unknown)) => unknown,
        _ => operator(token, data),
    }
}

fn erc1155(token: Address, data: &[u8]) -> Vec<Effect> {
    let moved = |from: Address, to: Address, id: U256, amount: U256| Effect::TransferToken {
        token,
        id: Some(id),
        from: Some(from),
        to,
        amount: Amount::from_units(amount),
    };
    match read(&SAFE_TRANSFER_1155, token, data) {
        Some(Ok([from, to, Value::Uint(id), Value::Uint(amount), _])) => {
            if let (Some(from), Some(to)) = (from.as_address(), to.as_address()) {
                return vec![moved(from, to, id, amount)];
            }
        }
        Some(Err(unknown)) => return vec![unknown],
        _ => {}
    }
    match read(&SAFE_BATCH_1155, token, data) {
        Some(Ok([Value::Address(from), Value::Address(to), ids, amounts, _])) => {
            let (ids, amounts) = (numbers(&ids), numbers(&amounts));
            // Of nothing too: whoever it is sent to is called all the same, with any data.
            if ids.is_empty() || ids.len() != amounts.len() || ids.len() > BATCH_MAX {
                return vec![unknown(token, "a batch of unequal lists, of none, or of too many")];
            }
            let pairs = ids.into_iter().zip(amounts);
            pairs.map(|(id, amount)| moved(from, to, id, amount)).collect()
        }
        Some(Err(unknown)) => vec![unknown],
        _ => vec![operator(token, data)],
    }
}

fn operator(token: Address, data: &[u8]) -> Effect {
    match read(&SET_APPROVAL_FOR_ALL, token, data) {
        Some(Ok([Value::Address(operator), Value::Bool(true)])) => {
            Effect::GrantOperator { token, operator }
        }
        Some(Ok([Value::Address(operator), Value::Bool(false)])) => {
            Effect::RevokeOperator { token, operator }
        }
        Some(Err(unknown)) => unknown,
        _ => opaque(token, data),
    }
}

fn numbers(value: &Value) -> Vec<U256> {
    value.as_list().unwrap_or_default().iter().filter_map(Value::as_uint).collect()
}

/// The arguments, if the data calls this function: an effect that says why not, if they are not in
/// their one encoding.
fn read<const N: usize>(
    function: &Function,
    contract: Address,
    data: &[u8],
) -> Option<Result<[Value; N], Effect>> {
    let (selector, arguments) = data.split_first_chunk::<4>()?;
    if *selector != function.selector() {
        return None;
    }
    match abi::decode(function.parameters(), arguments) {
        Ok(values) => values.try_into().ok().map(Ok),
        Err(fault) => Some(Err(unknown(contract, fault))),
    }
}

fn opaque(contract: Address, data: &[u8]) -> Effect {
    super::calls::opaque(contract, data)
}

fn unknown(contract: Address, why: impl ToString) -> Effect {
    Effect::Unknown { contract, why: why.to_string() }
}

functions! {
    INCREASE = "increaseAllowance(address spender, uint256 addedValue)";
    DECREASE = "decreaseAllowance(address spender, uint256 subtractedValue)";
    DEPOSIT = "deposit()";
    WITHDRAW = "withdraw(uint256 amount)";
    TRANSFER_FROM = "transferFrom(address from, address to, uint256 id)";
    SAFE_TRANSFER_FROM = "safeTransferFrom(address from, address to, uint256 id)";
    SAFE_TRANSFER_FROM_DATA = "safeTransferFrom(address from, address to, uint256 id, bytes data)";
    APPROVE = "approve(address to, uint256 id)";
    SET_APPROVAL_FOR_ALL = "setApprovalForAll(address operator, bool approved)";
    SAFE_TRANSFER_1155 = "safeTransferFrom(address f, address t, uint256 id, uint256 a, bytes d)";
    SAFE_BATCH_1155 =
        "safeBatchTransferFrom(address f, address t, uint256[] ids, uint256[] a, bytes d)";
}

/// Tokens of one batch: whoever approves has to read every one.
const BATCH_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_here_can_be_parsed() {
        for signature in SIGNATURES {
            assert!(abi::function(signature).is_ok(), "{signature}");
        }
    }
}
