//! Calls, opened to their leaves: what a batch or a contract account would do is listed as if each
//! part had been sent by itself.
//!
//! Bounded in depth and number; what cannot be opened to the end is unknown, and unknown means no.

use std::sync::LazyLock;

use alloy_primitives::{Address, U256};

use super::{Effect, multisend, tokens};
use crate::abi::{self, Function};
use crate::book::{ContractKind, Registry, TokenKind};
use crate::id::ChainId;
use crate::money::Amount;
use crate::typed::TypedData;
use crate::value::Value;

/// What a call with this value and data would do.
pub(super) fn open(
    registry: &Registry,
    chain: ChainId,
    to: Address,
    value: Amount,
    data: &[u8],
) -> Vec<Effect> {
    let mut opener = Opener::new(registry, chain);
    opener.call(to, value, data, 0);
    opener.out
}

/// What the transaction of a Safe would do that an owner signs (`SafeTx`).
pub(super) fn open_safe_tx(
    registry: &Registry,
    chain: ChainId,
    safe: Address,
    data: &TypedData,
) -> Vec<Effect> {
    let mut opener = Opener::new(registry, chain);
    opener.out.push(Effect::Via { contract: safe });
    opener.safe_call(safe, data.fields(), 0);
    opener.out
}

/// A function whose contract no rule understands: the arguments go to whatever rule there is.
pub(super) fn opaque(contract: Address, data: &[u8]) -> Effect {
    match data.split_first_chunk::<4>() {
        Some((selector, arguments)) => {
            Effect::Call { contract, selector: *selector, arguments: arguments.to_vec() }
        }
        None => {
            let why = "call data shorter than a function selector".to_owned();
            Effect::Unknown { contract, why }
        }
    }
}

/// Whether calls of this function are opened, so that no rule can name it as a whole.
pub(crate) fn is_opened(kind: ContractKind, selector: [u8; 4]) -> bool {
    let functions: &[&LazyLock<Function>] = match kind {
        ContractKind::Plain => &[],
        ContractKind::Multicall => &MULTICALLS,
        ContractKind::Multicall3 => &MULTICALLS_3,
        ContractKind::Safe => &[&EXEC_TRANSACTION],
        ContractKind::MultiSend => &[&MULTI_SEND],
        ContractKind::Permit2 => &[&P2_APPROVE, &P2_TRANSFER, &P2_TRANSFER_BATCH, &P2_LOCKDOWN],
    };
    functions.iter().any(|function| function.selector() == selector)
}

struct Opener<'r> {
    registry: &'r Registry,
    chain: ChainId,
    out: Vec<Effect>,
    left: usize,
    /// Whether Multicall3 is who calls: what it is credited, anybody may take.
    pooled: bool,
}

impl<'r> Opener<'r> {
    fn new(registry: &'r Registry, chain: ChainId) -> Self {
        Self { registry, chain, out: Vec::new(), left: LEAVES_MAX, pooled: false }
    }

    /// One call. Whatever it is, something of it is listed: a call without an effect would be one
    /// that no rule is asked about.
    fn call(&mut self, to: Address, value: Amount, data: &[u8], depth: usize) {
        let before = self.out.len();
        if self.count(to, 1) {
            self.list(to, value, data, depth);
        }
        if self.out.len() == before {
            self.unknown(to, "a call of which nothing is known");
        }
    }

    /// Whether so many more may be listed; said once where they may not.
    fn count(&mut self, to: Address, more: usize) -> bool {
        let left = self.left.checked_sub(more);
        if left.is_none() {
            self.unknown(to, "more calls in one than are opened");
        }
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    fn list(&mut self, to: Address, value: Amount, data: &[u8], depth: usize) {
        let contract = !data.is_empty() || self.registry.is_contract(self.chain, to);
        if self.pooled && value > Amount::ZERO && contract {
            return self.unknown(to, "coin through Multicall3 to a contract is Multicall3's there");
        }
        if let Some(token) = self.registry.token(self.chain, to) {
            let effects = tokens::effects(token.kind, to, value, data);
            // One is counted already; a batch is as many as whoever approves has to read.
            if self.count(to, effects.len().saturating_sub(1)) {
                self.out.extend(effects);
            }
            return;
        }
        let kind = self.registry.contract_kind(self.chain, to);
        let opened = data.split_first_chunk::<4>().filter(|(found, _)| is_opened(kind, **found));
        let Some((selector, arguments)) = opened else {
            if value > Amount::ZERO || data.is_empty() {
                self.out.push(Effect::PayNative { to, amount: value });
            }
            if !data.is_empty() {
                self.out.push(opaque(to, data));
            }
            return;
        };
        if depth >= DEPTH_MAX {
            return self.unknown(to, "calls nest deeper than they are opened");
        }
        self.out.push(Effect::Via { contract: to });
        let depth = depth.saturating_add(1);
        match kind {
            ContractKind::Plain => {}
            ContractKind::Multicall => self.multicall(to, value, *selector, arguments, depth),
            ContractKind::Multicall3 => self.multicall3(to, value, *selector, arguments, depth),
            ContractKind::Safe => {
                self.paid(to, value);
                let values = self.read(&EXEC_TRANSACTION, to, arguments);
                self.safe_call(to, &values, depth);
            }
            // Called as itself it keeps what it is sent; it is made to be run by a Safe.
            ContractKind::MultiSend => self.unknown(to, "MultiSend not called by a Safe"),
            ContractKind::Permit2 => {
                self.paid(to, value);
                self.permit2(to, *selector, arguments);
            }
        }
    }

    /// `multicall(bytes[])`: the contract calls itself, as whoever called it.
    fn multicall(
        &mut self,
        to: Address,
        value: Amount,
        selector: [u8; 4],
        data: &[u8],
        depth: usize,
    ) {
        self.paid(to, value);
        let known = MULTICALLS.iter().find(|function| function.selector() == selector);
        let Some(function) = known else {
            return self.unknown(to, "no function of a multicall");
        };
        let values = self.read(function, to, data);
        for inner in values.last().and_then(Value::as_list).unwrap_or_default() {
            self.call(to, Amount::ZERO, inner.as_bytes().unwrap_or_default(), depth);
        }
    }

    /// Multicall3: each call may carry coin; together they carry what came. Multicall3 calls as
    /// itself and keeps nothing for anybody: coin of a call that fails, or that is credited to who
    /// calls, belongs to whoever comes next.
    fn multicall3(
        &mut self,
        to: Address,
        value: Amount,
        selector: [u8; 4],
        data: &[u8],
        depth: usize,
    ) {
        let known = MULTICALLS_3.iter().find(|function| function.selector() == selector);
        let Some(function) = known else {
            return self.unknown(to, "no function of Multicall3");
        };
        let values = self.read(function, to, data);
        let mut sum = Some(Amount::ZERO);
        let before = std::mem::replace(&mut self.pooled, true);
        for inner in values.last().and_then(Value::as_list).unwrap_or_default() {
            let parts = inner.as_list().unwrap_or_default();
            let target = parts.first().and_then(Value::as_address);
            let carried = parts.iter().find_map(Value::as_uint).unwrap_or_default();
            let carried = Amount::from_units(carried);
            let data = parts.last().and_then(Value::as_bytes);
            let (Some(target), Some(data)) = (target, data) else {
                self.unknown(to, "a part of a batch that is no call");
                continue;
            };
            sum = sum.and_then(|sum| sum.checked_add(carried));
            if carried > Amount::ZERO && parts.contains(&Value::Bool(true)) {
                self.unknown(to, "coin of a call that may fail: set allowFailure to false");
            }
            self.call(target, carried, data, depth);
        }
        self.pooled = before;
        if sum != Some(value) {
            self.unknown(to, "Multicall3 is sent other coin than its calls carry");
        }
    }

    /// The fields that `execTransaction` and `SafeTx` have in common: to, value, data, operation,
    /// safeTxGas, baseGas, gasPrice, ..
    fn safe_call(&mut self, safe: Address, values: &[Value], depth: usize) {
        let [
            Value::Address(to),
            Value::Uint(value),
            Value::Bytes(data),
            Value::Uint(operation),
            ..,
        ] = values
        else {
            return;
        };
        // With a price for gas, whoever sends it is refunded out of the Safe, to any amount.
        if values.get(6).and_then(Value::as_uint) != Some(U256::ZERO) {
            return self.unknown(safe, "a Safe that refunds gas: set gasPrice to 0");
        }
        let before = std::mem::replace(&mut self.pooled, false);
        self.run_as_safe(safe, (*to, Amount::from_units(*value), data), *operation, depth);
        self.pooled = before;
    }

    fn run_as_safe(
        &mut self,
        safe: Address,
        (to, value, data): (Address, Amount, &[u8]),
        operation: U256,
        depth: usize,
    ) {
        if operation.is_zero() {
            return self.call(to, value, data, depth);
        }
        let multisend = self.registry.contract_kind(self.chain, to) == ContractKind::MultiSend;
        let batch = data.split_first_chunk::<4>().filter(|(found, _)| {
            multisend && operation == U256::ONE && **found == MULTI_SEND.selector()
        });
        let Some((_, arguments)) = batch else {
            return self.out.push(Effect::DelegateCall { account: safe, target: to });
        };
        self.out.push(Effect::Via { contract: to });
        let values = self.read(&MULTI_SEND, to, arguments);
        let packed = values.first().and_then(Value::as_bytes).unwrap_or_default();
        let Some(parts) = multisend::parts(packed) else {
            return self.unknown(to, "a MultiSend batch that ends in the middle");
        };
        for part in parts {
            if part.delegate {
                self.out.push(Effect::DelegateCall { account: safe, target: part.to });
            } else {
                self.call(part.to, part.value, part.data, depth.saturating_add(1));
            }
        }
    }

    /// Permit2: allowances of any token, kept in one contract.
    fn permit2(&mut self, permit2: Address, selector: [u8; 4], data: &[u8]) {
        if selector == P2_APPROVE.selector() {
            let values = self.read(&P2_APPROVE, permit2, data);
            if let [Value::Address(token), Value::Address(spender), Value::Uint(amount), _] =
                values[..]
                && self.fungible(permit2, token)
            {
                self.grant(token, spender, Amount::from_units(amount));
            }
        } else if selector == P2_LOCKDOWN.selector() {
            let values = self.read(&P2_LOCKDOWN, permit2, data);
            let pairs = values.first().and_then(Value::as_list).unwrap_or_default();
            if !self.count(permit2, pairs.len()) {
                return;
            }
            for pair in pairs {
                if let Some([Value::Address(token), Value::Address(spender)]) = pair.as_list() {
                    self.grant(*token, *spender, Amount::ZERO);
                }
            }
        } else if selector == P2_TRANSFER.selector() {
            let values = self.read(&P2_TRANSFER, permit2, data);
            self.permit2_transfer(permit2, &values);
        } else {
            let values = self.read(&P2_TRANSFER_BATCH, permit2, data);
            let several = values.first().and_then(Value::as_list).unwrap_or_default();
            if !self.count(permit2, several.len()) {
                return;
            }
            for one in several {
                self.permit2_transfer(permit2, one.as_list().unwrap_or_default());
            }
        }
    }

    /// Permit2 calls `transferFrom(from, to, amount)` of whatever token it is told: of one whose
    /// tokens have numbers, the amount would be a number, and 0 one of them.
    fn fungible(&mut self, permit2: Address, token: Address) -> bool {
        let kind = self.registry.token(self.chain, token).map(|token| token.kind);
        // A token that is in no book is refused as one.
        let known = matches!(kind, None | Some(TokenKind::Erc20 | TokenKind::Wrapped));
        if !known {
            self.unknown(permit2, "Permit2 on a token whose amounts are numbers of tokens");
        }
        known
    }

    fn permit2_transfer(&mut self, permit2: Address, values: &[Value]) {
        if let [
            Value::Address(from),
            Value::Address(to),
            Value::Uint(amount),
            Value::Address(token),
        ] = values
            && self.fungible(permit2, *token)
        {
            let (from, to, amount) = (Some(*from), *to, Amount::from_units(*amount));
            self.out.push(Effect::TransferToken { token: *token, id: None, from, to, amount });
        }
    }

    fn grant(&mut self, token: Address, spender: Address, amount: Amount) {
        self.out.push(Effect::GrantAllowance { token, spender, amount });
    }

    fn paid(&mut self, to: Address, amount: Amount) {
        if amount > Amount::ZERO {
            self.out.push(Effect::PayNative { to, amount });
        }
    }

    fn read(&mut self, function: &Function, contract: Address, data: &[u8]) -> Vec<Value> {
        match abi::decode(function.parameters(), data) {
            Ok(values) => values,
            Err(fault) => {
                self.out.push(Effect::Unknown { contract, why: fault.to_string() });
                Vec::new()
            }
        }
    }

    fn unknown(&mut self, contract: Address, why: &str) {
        self.out.push(Effect::Unknown { contract, why: why.to_owned() });
    }
}

functions! {
    MULTICALL = "multicall(bytes[] data)";
    MULTICALL_DEADLINE = "multicall(uint256 deadline, bytes[] data)";
    MULTICALL_BLOCK = "multicall(bytes32 previousBlockhash, bytes[] data)";
    AGGREGATE = "aggregate((address target, bytes callData)[] calls)";
    TRY_AGGREGATE = "tryAggregate(bool requireSuccess, (address target, bytes callData)[] calls)";
    AGGREGATE_3 = "aggregate3((address target, bool allowFailure, bytes callData)[] calls)";
    AGGREGATE_3_VALUE =
        "aggregate3Value((address target, bool allow, uint256 value, bytes callData)[] calls)";
    BLOCK = "blockAndAggregate((address target, bytes callData)[] calls)";
    TRY_BLOCK =
        "tryBlockAndAggregate(bool requireSuccess, (address target, bytes callData)[] calls)";
    EXEC_TRANSACTION =
        "execTransaction(address to, uint256 value, bytes data, uint8 operation, \
         uint256 safeTxGas, uint256 baseGas, uint256 gasPrice, address gasToken, \
         address refundReceiver, bytes signatures)";
    MULTI_SEND = "multiSend(bytes transactions)";
    P2_APPROVE = "approve(address token, address spender, uint160 amount, uint48 expiration)";
    P2_TRANSFER = "transferFrom(address from, address to, uint160 amount, address token)";
    P2_TRANSFER_BATCH =
        "transferFrom((address from, address to, uint160 amount, address token)[] details)";
    P2_LOCKDOWN = "lockdown((address token, address spender)[] approvals)";
}

/// Uniswap's routers have all three.
static MULTICALLS: [&LazyLock<Function>; 3] = [&MULTICALL, &MULTICALL_DEADLINE, &MULTICALL_BLOCK];

static MULTICALLS_3: [&LazyLock<Function>; 6] =
    [&AGGREGATE, &TRY_AGGREGATE, &AGGREGATE_3, &AGGREGATE_3_VALUE, &BLOCK, &TRY_BLOCK];

/// Batches in batches.
const DEPTH_MAX: usize = 4;

/// Calls in one request, and transfers in one call: whoever approves has to read every one.
const LEAVES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_here_can_be_parsed_to_a_selector_of_its_own() {
        let selectors: std::collections::BTreeSet<[u8; 4]> =
            SIGNATURES.iter().map(|signature| abi::selector_of(signature).unwrap()).collect();
        assert_eq!(selectors.len(), SIGNATURES.len());
        // As block explorers show them.
        assert_eq!(EXEC_TRANSACTION.selector(), [0x6a, 0x76, 0x12, 0x02]);
        assert_eq!(MULTI_SEND.selector(), [0x8d, 0x80, 0xff, 0x0a]);
        assert_eq!(AGGREGATE_3.selector(), [0x82, 0xad, 0x56, 0xcb]);
        assert_eq!(AGGREGATE_3_VALUE.selector(), [0x17, 0x4d, 0xea, 0x71]);
        assert_eq!(P2_APPROVE.selector(), [0x87, 0x51, 0x7c, 0x45]);
        assert_eq!(P2_TRANSFER.selector(), [0x36, 0xc7, 0x85, 0x16]);
    }
}
