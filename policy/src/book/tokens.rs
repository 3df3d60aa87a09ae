//! Reads what a key may do with each token: `token.NAME`.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;

use super::check::closed_word;
use super::file::{Field, Word};
use super::limits::{PER_TX_HINT, Zero, amount, limit, limits};
use super::names::{Names, Thing};
use super::rules::{Scope, recipients};
use super::units::UnitDef;
use super::words::Vocabulary;
use super::{Addresses, AllowanceRule, Token, TokenKind, TokenRule};
use crate::id::ChainId;

/// `token.NAME = { .. }`.
pub(super) fn tokens<'a>(
    field: &Field<'a>,
    scope: &mut Scope<'a>,
) -> BTreeMap<(ChainId, Address), TokenRule> {
    let mut rules = BTreeMap::new();
    for (word, field) in field.entries(TOKENS_MAX) {
        let Some((account, token)) = token(&field, word, scope) else { continue };
        let chain = BTreeSet::from([account.0]);
        let unit = [UnitDef { name: word.text, decimals: token.decimals }];
        let rule = token_rule(&field, scope.names, &chain, token.kind, &unit);
        scope.ruled.insert(word.text);
        rules.extend(rule.map(|rule| (account, rule)));
    }
    rules
}

fn token<'a>(
    field: &Field<'_>,
    word: Word<'_>,
    scope: &Scope<'a>,
) -> Option<((ChainId, Address), &'a Token)> {
    let tokens = &scope.names.registry.tokens;
    let Some(thing) = scope.names.things.get(word.text) else {
        let hint = match field.nearest(word.text, tokens.values().map(|token| token.name.as_str()))
        {
            Some(near) => format!("did you mean {near:?}?"),
            None => "register it as [asset.NAME]".to_owned(),
        };
        field.fault_at(word.at, "unknown asset", hint);
        return None;
    };
    let Thing::Token(chain, contract) = *thing.as_ref()? else {
        field.fault_at(word.at, "not an asset", "register it as [asset.NAME]");
        return None;
    };
    if !scope.chains.is_empty() && !scope.chains.contains(&chain) {
        let hint = "add the chain to the key's chains, or leave the rule out";
        field.fault_at(word.at, "the token is on a chain this key may not use", hint);
    }
    Some(((chain, contract), scope.names.registry.token(chain, contract)?))
}

fn token_rule(
    field: &Field<'_>,
    names: &Names,
    chain: &BTreeSet<ChainId>,
    kind: TokenKind,
    unit: &[UnitDef<'_>],
) -> Option<TokenRule> {
    let fields = field.fields(TOKEN)?;
    let to = recipients(&fields, names, chain);
    let from = fields.optional("from").map(|field| names.addresses(&field, chain));
    let limits = limits(&fields, unit);
    let given = fields.optional("allowance");
    let allowance = given.as_ref().map(|field| allowance_rule(field, names, chain, unit));
    let allowance = match allowance {
        Some(rule) => Some(rule?),
        None => None,
    };
    let operator = fields.optional("operator").map(|field| names.addresses(&field, chain));
    let convert = fields.optional("convert").map(|field| {
        let known = Vocabulary { known: &["allowed"], later: &[] };
        let wrapped = kind == TokenKind::Wrapped;
        if !wrapped {
            field.fault("the token stands for no coin", "leave it out: it is for wrapped-native");
        }
        closed_word(&field, "word", known) && wrapped
    });
    Some(TokenRule {
        to,
        from: from.unwrap_or_default(),
        limits: limits?,
        allowance,
        operator: operator.unwrap_or_default(),
        convert: convert.unwrap_or_default(),
    })
}

fn allowance_rule(
    field: &Field<'_>,
    names: &Names,
    chain: &BTreeSet<ChainId>,
    unit: &[UnitDef<'_>],
) -> Option<AllowanceRule> {
    let fields = field.fields(ALLOWANCE)?;
    let spender = fields.required("spender", "write spender = \"@NAME\": who may be allowed");
    let spender: Option<Addresses> = spender.map(|field| names.addresses(&field, chain));
    let per_tx = fields.required("per_tx", PER_TX_HINT);
    let per_tx = per_tx.and_then(|field| limit(&field, unit, Zero::Fault));
    let outstanding = fields.optional("outstanding");
    let outstanding = outstanding.map(|field| amount(&field, field.word()?, unit, Zero::Fault));
    let outstanding = match outstanding {
        Some(amount) => Some(amount?),
        None => None,
    };
    Some(AllowanceRule { spender: spender?, per_tx: per_tx?, outstanding })
}

const TOKEN: Vocabulary = Vocabulary {
    known: &[
        "to",
        "per_tx",
        "window",
        "lifetime",
        "from",
        "allowance",
        "operator",
        "convert",
        "unsettled",
    ],
    later: &[],
};
const ALLOWANCE: Vocabulary =
    Vocabulary { known: &["spender", "per_tx", "outstanding"], later: &[] };

/// Each token has windows that every transfer is checked against.
const TOKENS_MAX: usize = 1_000;
