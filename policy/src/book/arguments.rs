//! Reads bounds on arguments: `where`. Every argument has one, and "any" is a word that somebody
//! wrote.

use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};

use super::Addresses;
use super::file::{Field, Word};
use super::limits::span_of;
use super::names::LIST_ADDRESSES_MAX;
use super::rules::Scope;
use super::units::{UnitDef, parse_amount};
use super::words::quoted;
use crate::bounds::Bound;
use crate::id::ChainId;
use crate::money::parse_decimal;
use crate::value::{Kind, Member, Value};

/// A bound for each of these, in their order; one for each name. `None` after a fault.
pub(super) fn bounds(
    field: &Field<'_>,
    members: &[Member],
    scope: &Scope<'_>,
    chain: ChainId,
) -> Option<Vec<Bound>> {
    if field.as_word().is_some_and(|word| word.text == "any") {
        return Some(vec![Bound::Any; members.len()]);
    }
    if !field.is_table() {
        let hint = "write where = { name = \"BOUND\", .. } with every argument, or \"any\"";
        field.fault("is neither a table nor \"any\"", hint);
        return None;
    }
    let mut sound = true;
    let entries = field.entries(MEMBERS_MAX);
    for (word, _) in &entries {
        let named = members.iter().filter_map(|member| member.name.as_deref());
        if !named.clone().any(|name| name == word.text) {
            let hint = match field.nearest(word.text, named) {
                Some(near) => format!("did you mean {near:?}?"),
                None => "write a bound for each argument, by its name".to_owned(),
            };
            field.fault_at(word.at, format!("there is no argument {}", quoted(word.text)), hint);
            sound = false;
        }
    }
    let mut bounds = Vec::with_capacity(members.len());
    for member in members {
        let Some(name) = member.name.as_deref() else {
            let hint = "give every argument a name in the signature, so that a bound can name it";
            field.fault(format!("an argument of type {} has no name", member.kind), hint);
            sound = false;
            continue;
        };
        let Some((_, entry)) = entries.iter().find(|(word, _)| word.text == name) else {
            let hint = format!("write a bound for it, or {name} = \"any\"");
            field.fault(format!("the argument {name} has no bound"), hint);
            sound = false;
            continue;
        };
        bounds.push(bound(entry, &member.kind, scope, chain));
    }
    let bounds: Option<Vec<Bound>> = bounds.into_iter().collect();
    bounds.filter(|_| sound)
}

fn bound(field: &Field<'_>, kind: &Kind, scope: &Scope<'_>, chain: ChainId) -> Option<Bound> {
    if field.as_word().is_some_and(|word| word.text == "any") {
        return Some(Bound::Any);
    }
    match kind {
        Kind::Array(element, _) => array(field, element, scope, chain),
        Kind::Tuple(_, members) => bounds(field, members, scope, chain).map(Bound::Members),
        Kind::Uint(_) => numbers(field, scope, chain),
        Kind::Address => addresses(field, scope, chain),
        Kind::Int(_) | Kind::Bool | Kind::FixedBytes(_) | Kind::Bytes | Kind::String => {
            let words = some(field)?;
            let values: Vec<_> = words.iter().map(|word| literal(field, *word, kind)).collect();
            values.into_iter().collect::<Option<_>>().map(Bound::OneOf)
        }
    }
}

/// `{ each = BOUND, most = 10 }`, or the bound of its elements.
fn array(field: &Field<'_>, element: &Kind, scope: &Scope<'_>, chain: ChainId) -> Option<Bound> {
    let each = if field.is_table() { field.entries(MEMBERS_MAX) } else { Vec::new() };
    if !each.iter().any(|(word, _)| word.text == "each") {
        return bound(field, element, scope, chain);
    }
    let (mut inner, mut most) = (None, None);
    for (word, entry) in &each {
        match word.text {
            "each" => inner = bound(entry, element, scope, chain),
            "most" => most = entry.number(1, ELEMENTS_MAX),
            _ => field.fault_at(word.at, "only each and most stand here", "leave it out"),
        }
    }
    if !each.iter().any(|(word, _)| word.text == "most") {
        field.fault("most is missing", "write most = 10: how many elements there may be");
    }
    Some(Bound::Each(Box::new(inner?), usize::try_from(most?).ok()?))
}

fn numbers(field: &Field<'_>, scope: &Scope<'_>, chain: ChainId) -> Option<Bound> {
    let number = |word: Word<'_>, text: &str| number(field, word, text.trim(), scope, chain);
    if let Some(word) = field.as_word() {
        if let Some(rest) = word.text.strip_prefix("<=") {
            if let Some(span) = rest.trim().strip_prefix("now +") {
                return span_of(field, Word { text: span.trim(), ..word }).map(Bound::Within);
            }
            return number(word, rest).map(Bound::AtMost);
        }
        if let Some(rest) = word.text.strip_prefix(">=") {
            return number(word, rest).map(Bound::AtLeast);
        }
        if let Some((least, most)) = word.text.split_once("..") {
            let (least, most) = (number(word, least)?, number(word, most)?);
            if least > most {
                field.fault("the range is empty", "write the smaller number first");
                return None;
            }
            return Some(Bound::Between(least, most));
        }
    }
    let words = some(field)?;
    let read: Vec<_> = words.iter().map(|word| number(*word, word.text)).collect();
    read.into_iter().map(|number| number.map(Value::Uint)).collect::<Option<_>>().map(Bound::OneOf)
}

/// Digits, or an amount in the key's coin or in a token of the chain.
fn number(
    field: &Field<'_>,
    word: Word<'_>,
    text: &str,
    scope: &Scope<'_>,
    chain: ChainId,
) -> Option<U256> {
    if let Some(number) = parse_decimal(&text.replace('_', "")) {
        return Some(number.units());
    }
    let mut units = scope.units.clone().unwrap_or_default();
    let tokens = scope.names.registry.tokens.iter().filter(|((on, _), _)| *on == chain);
    units.extend(
        tokens.map(|(_, token)| UnitDef { name: token.name.as_str(), decimals: token.decimals }),
    );
    match parse_amount(text, &units) {
        Ok(amount) => Some(amount.units()),
        Err(_) => {
            let message = format!("{} is no bound on a number", quoted(word.text));
            field.fault_at(word.at, message, NUMBER_HINT);
            None
        }
    }
}

fn addresses(field: &Field<'_>, scope: &Scope<'_>, chain: ChainId) -> Option<Bound> {
    let words = some(field)?;
    super::names::refuse_repeats(field, &words);
    let own = words.iter().any(|word| word.text == "self");
    let others = words.iter().filter(|word| word.text != "self");
    let sets: Vec<Option<Addresses>> = others
        .map(|word| match word.text {
            "zero" => Some(Arc::new([Address::ZERO].into_iter().collect())),
            _ => scope.names.argument(field, *word, chain),
        })
        .collect();
    let sets = sets.into_iter().collect::<Option<Vec<Addresses>>>()?;
    let these = match sets.as_slice() {
        [one] => Arc::clone(one),
        several => Arc::new(several.iter().flat_map(|set| set.iter().copied()).collect()),
    };
    Some(Bound::Addresses { own, these })
}

/// A value in its one spelling.
fn literal(field: &Field<'_>, word: Word<'_>, kind: &Kind) -> Option<Value> {
    let bytes = || hex::decode(word.text.strip_prefix("0x")?).ok();
    let value = match kind {
        Kind::String => Some(Value::String(word.text.to_owned())),
        Kind::Bool => match word.text {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        },
        Kind::Bytes => bytes().map(Value::Bytes),
        Kind::FixedBytes(size) => {
            let bytes = bytes().filter(|bytes| bytes.len() == usize::from(*size));
            bytes.map(|bytes| Value::FixedBytes(B256::right_padding_from(&bytes)))
        }
        Kind::Int(_) => {
            let negative = word.text.strip_prefix('-');
            let number = parse_decimal(negative.unwrap_or(word.text)).map(|number| number.units());
            let number = number.filter(|number| !number.bit(255));
            number.map(|number| {
                Value::Int(if negative.is_some() { number.wrapping_neg() } else { number })
            })
        }
        Kind::Uint(_) | Kind::Address | Kind::Array(..) | Kind::Tuple(..) => None,
    };
    if value.is_none() {
        let hint = "write \"true\", \"false\", \"-5\", \"0x..\" with all its bytes, or \"any\"";
        field.fault_at(word.at, format!("{} is no {kind}", quoted(word.text)), hint);
    }
    value
}

fn some<'a>(field: &Field<'a>) -> Option<Vec<Word<'a>>> {
    let words = field.one_or_more(LIST_ADDRESSES_MAX)?;
    if words.is_empty() {
        field.fault("is empty", "write what the argument may be, or \"any\"");
        return None;
    }
    Some(words)
}

const NUMBER_HINT: &str = "write \"5\", [\"5\", \"6\"], \"<= 10 USDC\", \">= 1\", \"1 .. 10\", \
                           \"<= now + 15m\", or \"any\"";

/// Fields of one tuple.
const MEMBERS_MAX: usize = 1_000;

/// More values than are decoded.
const ELEMENTS_MAX: u64 = 8_192;
