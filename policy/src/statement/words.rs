//! The words of a statement: what one effect, argument, recipient or field is called.

use alloy_primitives::{Address, B256};

use super::LINES_MAX;
use crate::abi;
use crate::book::{KeyRules, Registry, format_amount};
use crate::effect::{self, Effect};
use crate::finding::{Finding, Rule};
use crate::id::{ChainId, KeyId};
use crate::money::{Account, Amount, Asset};
use crate::request::{Request, Signable};
use crate::state::State;
use crate::utc::rfc3339;
use crate::value::{Kind, Member, Value};

/// What is narrower may be cut: nobody loses by not having read it.
pub(super) fn shortened(lines: &[String]) -> Vec<String> {
    let mut shown: Vec<String> = lines.iter().take(LINES_MAX).cloned().collect();
    if let Some(more) = lines.len().checked_sub(LINES_MAX).filter(|more| *more > 0) {
        shown.push(format!("and {more} more"));
    }
    shown
}

pub(super) fn chain_name(chain: ChainId, registry: &Registry) -> String {
    registry.chain(chain).map_or_else(|| chain.to_string(), |one| format!("{} ({chain})", one.name))
}

pub(super) fn kind(request: &Request) -> String {
    match request.signable() {
        Signable::Transaction(tx) => format!("transaction: {}, nonce {}", tx.kind(), tx.nonce()),
        Signable::Typed(data) => format!("typed data: {}", quoted(data.primary().text())),
        Signable::Message(message) => format!("sign-in: {}", quoted(message.text())),
        Signable::Delegation(one) => format!("EIP-7702 authorization, nonce {}", one.nonce()),
    }
}

/// An effect, and under it what it is called with.
pub(super) fn words(
    one: &Effect,
    request: &Request,
    registry: &Registry,
    rules: Option<&KeyRules>,
) -> Vec<String> {
    let (chain, at) = (request.chain(), (registry, request.chain()));
    let Effect::Call { contract, selector, arguments } = one else {
        return vec![effect::describe(one, chain, registry)];
    };
    let rule = rules.and_then(|rules| rules.calls.get(&(chain, *contract, *selector)));
    let Some(rule) = rule else { return vec![effect::describe(one, chain, registry)] };
    let mut lines = vec![format!("call {} of {}", rule.function.canonical(), who(*contract, at))];
    let members = rule.function.parameters();
    let values = abi::decode(members, arguments).unwrap_or_default();
    lines.extend(fields(members, &values, at).into_iter().map(|line| format!("  {line}")));
    lines
}

/// Fields or arguments with their values, those of tuples and arrays indented.
pub(super) fn fields(members: &[Member], values: &[Value], at: Place<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for (member, value) in members.iter().zip(values) {
        let name = member.name.as_deref().unwrap_or("value");
        field(name, &member.kind, value, at, &mut lines);
    }
    lines
}

pub(super) fn field(name: &str, kind: &Kind, value: &Value, at: Place<'_>, out: &mut Vec<String>) {
    let before = out.len();
    match (kind, value) {
        (Kind::Tuple(_, members), Value::List(values)) => {
            out.push(format!("{name}:"));
            out.extend(fields(members, values, at).into_iter().map(|one| format!("  {one}")));
        }
        (Kind::Array(element, _), Value::List(values)) => {
            out.push(format!("{name}: {} elements", values.len()));
            let mut inner = Vec::new();
            for (value, number) in values.iter().zip(1_u32..) {
                field(&number.to_string(), element, value, at, &mut inner);
            }
            out.extend(inner.into_iter().map(|one| format!("  {one}")));
        }
        (_, Value::Address(address)) => out.push(format!("{name}: {}", who(*address, at))),
        (_, Value::Bytes(bytes)) => out.push(format!("{name}: 0x{}", hex::encode(bytes))),
        (_, Value::String(text)) => out.push(format!("{name}: {}", quoted(text))),
        (_, other) => out.push(format!("{name}: {other}")),
    }
    debug_assert!(out.len() > before, "every field has a line");
}

/// What names mean, and on which chain.
pub(super) type Place<'a> = (&'a Registry, ChainId);

pub(super) fn who(address: Address, (registry, chain): Place<'_>) -> String {
    match registry.label_on(chain, address) {
        Some(label) => format!("{label} ({})", address.to_checksum(None)),
        None => address.to_checksum(None),
    }
}

/// Whom it pays: known by name or not, paid before or not, and alike to somebody known or not.
pub(super) fn recipient(state: &State, (key, chain): (KeyId, ChainId), address: Address) -> String {
    let at = (state.book().registry(), chain);
    let paid = state.payees().were_paid(key, chain, address);
    let paid = if paid { "paid before" } else { "NEVER PAID BEFORE by this key" };
    let mut line = format!("{}: {paid}", who(address, at));
    if at.0.label_on(chain, address).is_none() {
        line.push_str(", NOT NAMED in the book");
    }
    let mut alike = state.book().alike(address);
    alike.extend(state.payees().alike(key, chain, address));
    for other in alike.iter().take(ALIKE_MAX) {
        line.push_str(&format!(", LOOKS LIKE {} AND IS NOT", who(*other, at)));
    }
    if let Some(more) = alike.len().checked_sub(ALIKE_MAX).filter(|more| *more > 0) {
        line.push_str(&format!(", nor any of {more} others that it looks like"));
    }
    line
}

/// Addresses that one looks like, and that are told. There is one, if any, unless somebody makes
/// them by the dozen.
const ALIKE_MAX: usize = 5;

pub(super) fn is_budget(finding: &Finding) -> bool {
    matches!(
        finding.rule,
        Rule::NativePerTx
            | Rule::NativeWindow(_)
            | Rule::FeesPerTx
            | Rule::FeesWindow(_)
            | Rule::TokenPerTx
            | Rule::TokenWindow(_)
            | Rule::AllowancePerTx
            | Rule::Shared(_)
            | Rule::Unsettled
            | Rule::Outstanding
    )
}

/// Requests that would do the same under another nonce, and what became of earlier ones.
pub(super) fn like_it(state: &State, request: &Request) -> Vec<String> {
    let mut lines = Vec::new();
    let waiting = state.pending().like(request);
    if waiting > 0 {
        lines.push(format!("{waiting} other requests that would do the same wait as well"));
    }
    if let Some((by, at)) = state.pending().rejected_before(request) {
        lines.push(format!("REJECTED BEFORE by {by} at {}", rfc3339(at.0)));
    }
    lines
}

/// What else the votes for it permit.
pub(super) fn replaced(request: &Request, registry: &Registry, fee_most: Option<Amount>) -> String {
    let Some(most) = fee_most else { return "it may be replaced by nothing else".into() };
    let account = Account { chain: request.chain(), asset: Asset::Native };
    let most = format_amount(registry, account, most);
    format!(
        "it may be replaced: same nonce and all else the same, but gas and fees of at most {most}"
    )
}

pub(super) fn bare(hash: B256) -> String {
    hex::encode(hash)
}

/// Words of somebody else's choosing: in quotes, escaped, and whole: nobody signs what they do not
/// see. What is too long for that is refused before.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_default())
}
