//! Reads the functions a key may call without their being understood: `[[key.LABEL.call]]`. Each is
//! one function of one registered contract, and never one of a registered token.

use std::collections::BTreeMap;

use alloy_primitives::Address;

use super::CallRule;
use super::check::closed_word;
use super::file::{Field, Fields};
use super::rules::Scope;
use super::words::{Vocabulary, quoted};
use crate::abi;
use crate::id::ChainId;

/// `[[key.LABEL.call]]`.
pub(super) fn calls(
    field: &Field<'_>,
    scope: &Scope<'_>,
) -> BTreeMap<(ChainId, Address, [u8; 4]), CallRule> {
    let mut rules: BTreeMap<_, CallRule> = BTreeMap::new();
    for field in field.elements(CALLS_MAX) {
        let Some(fields) = field.fields(CALL) else { continue };
        bounds(&fields);
        let contract = fields.required("contract", "write contract = \"@NAME\"");
        let contract = contract.and_then(|field| no_token(&field, scope));
        let function = fields.required("function", FUNCTION_HINT);
        let Some((function, (signature, selector))) = function.and_then(read_function) else {
            continue;
        };
        let Some((chain, address)) = contract else { continue };
        let rule = CallRule { signature: signature.clone() };
        if let Some(other) = rules.insert((chain, address, selector), rule) {
            let message = format!("{signature} has the selector of {}", other.signature);
            function.fault(message, "one contract and selector has one rule");
        }
    }
    rules
}

fn read_function(field: Field<'_>) -> Option<(Field<'_>, (String, [u8; 4]))> {
    let word = field.word()?;
    match abi::function(word.text) {
        Ok(function) => Some((field, (function.canonical().to_owned(), function.selector()))),
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

/// `where`: only "any" yet.
fn bounds(fields: &Fields<'_>) {
    let hint = "write where = \"any\": any arguments at all are signed";
    let Some(field) = fields.required("where", hint) else { return };
    if field.is_table() {
        field.fault("bounds on arguments are not supported yet by this version", hint);
    } else {
        closed_word(&field, "word", Vocabulary { known: &["any"], later: &[] });
    }
}

const CALL: Vocabulary = Vocabulary { known: &["contract", "function", "where"], later: &[] };

const FUNCTION_HINT: &str = "write it as in its source: \"deposit(uint256 amount, address to)\"";

/// Functions of one key that people have read.
const CALLS_MAX: usize = 10_000;
