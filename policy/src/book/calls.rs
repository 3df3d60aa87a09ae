//! Reads the functions a key may call: `[[key.LABEL.call]]`. Each is one function of one registered
//! contract with a bound for every argument, and never one of a registered token.

use std::collections::BTreeMap;

use alloy_primitives::{Address, keccak256};

use super::arguments::bounds;
use super::file::Field;
use super::rules::Scope;
use super::words::{Vocabulary, quoted};
use super::{CallRule, ContractKind};
use crate::abi::{self, Function};
use crate::effect::is_opened;
use crate::id::ChainId;

/// `[[key.LABEL.call]]`.
pub(super) fn calls(
    field: &Field<'_>,
    scope: &Scope<'_>,
) -> BTreeMap<(ChainId, Address, [u8; 4]), CallRule> {
    let mut rules: BTreeMap<_, CallRule> = BTreeMap::new();
    for field in field.elements(CALLS_MAX) {
        let Some(fields) = field.fields(CALL) else { continue };
        let hint = "write where = { name = \"BOUND\", .. } with every argument, or \"any\"";
        let within = fields.required("where", hint);
        let contract = fields.required("contract", "write contract = \"@NAME\"");
        let contract = contract.and_then(|field| no_token(&field, scope));
        let given = fields.required("function", FUNCTION_HINT);
        let Some((given, function)) = given.and_then(read_function) else { continue };
        let (Some((chain, address)), Some(within)) = (contract, within) else { continue };
        let selector = function.selector();
        if is_opened(scope.names.registry.contract_kind(chain, address), selector) {
            let hint = "name the contract in via; what goes through it is ruled by itself";
            given.fault("the function is opened to what it does", hint);
            continue;
        }
        let kind = scope.names.registry.contract_kind(chain, address);
        if kind == ContractKind::Safe && keccak256(APPROVE_HASH).starts_with(&selector) {
            let hint = "leave it out: sign the Safe's transactions as typed data (SafeTx)";
            given.fault("approves a transaction of the Safe by its hash, unseen", hint);
            continue;
        }
        let Some(bounds) = bounds(&within, function.parameters(), scope, chain) else { continue };
        let rule = CallRule { function: function.clone(), bounds };
        if let Some(other) = rules.insert((chain, address, selector), rule) {
            let (one, other) = (function.canonical(), other.function.canonical().to_owned());
            let message = format!("{one} has the selector of {other}");
            given.fault(message, "one contract and selector has one rule");
        }
    }
    rules
}

fn read_function(field: Field<'_>) -> Option<(Field<'_>, Function)> {
    let word = field.word()?;
    match abi::function(word.text) {
        Ok(function) => Some((field, function)),
        Err(why) => {
            field.fault(format!("{}: {why}", quoted(word.text)), FUNCTION_HINT);
            None
        }
    }
}

/// The contract, unless it is a registered token, under whatever name.
///
/// A call is charged nothing, and what a token's functions move or promise no list can say: beside
/// the standard ones there are `transferAndCall`, `send`, `push`, `permit`, `authorizeOperator` and
/// whatever else its author thought of, and for every selector other names that have it too.
fn no_token(field: &Field<'_>, scope: &Scope<'_>) -> Option<(ChainId, Address)> {
    let (chain, address) = scope.names.contract(field, &scope.chains)?;
    let Some(token) = scope.names.registry.token(chain, address) else {
        return Some((chain, address));
    };
    let message = format!("{} is a token: a call would pass by its limits", token.name);
    let hint = format!("leave the call out; what moves it is ruled by token.{}", token.name);
    field.fault(message, hint);
    None
}

const CALL: Vocabulary = Vocabulary { known: &["contract", "function", "where"], later: &[] };

/// A Safe's owner approves so whatever has that hash: nothing of it is decoded, or charged. By its
/// selector, which other names may have too.
const APPROVE_HASH: &str = "approveHash(bytes32)";

const FUNCTION_HINT: &str = "write it as in its source: \"deposit(uint256 amount, address to)\"";

/// Functions of one key that people have read.
const CALLS_MAX: usize = 10_000;
