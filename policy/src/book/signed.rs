//! Compares what one key may call and sign, by rules over arguments, in two books.

use super::compare::{Rules, named_address};
use super::diff::Lines;
use super::{AuthorizeRule, KeyRules, MessageRule};
use crate::bounds::Bound;

/// Calls. Another function with the same selector is told to people as something else, and has
/// other arguments.
pub(super) fn calls(old: Rules<'_>, new: Rules<'_>, lines: &mut Lines<'_>) {
    for (place, rule) in &new.rules.calls {
        let contract = named_address(place.1, new.registry);
        let what = format!("{} of {contract}", rule.function.canonical());
        match old.rules.calls.get(place) {
            Some(before) if before.function.canonical() == rule.function.canonical() => {
                // Bounds go by place, but those who approve a request read values by name.
                if before.function != rule.function {
                    lines.wider(format!("call {what}: its arguments are called otherwise"));
                }
                bounds(&format!("call {what}"), (&before.bounds, &rule.bounds), lines);
            }
            _ => lines.wider(format!("call added: {what}")),
        }
    }
    for (place, rule) in &old.rules.calls {
        if !new.rules.calls.contains_key(place) {
            let contract = named_address(place.1, old.registry);
            lines.narrower(format!("call removed: {} of {contract}", rule.function.canonical()));
        }
    }
}

/// Typed data: one rule for one domain and type.
pub(super) fn typed(old: Rules<'_>, new: Rules<'_>, lines: &mut Lines<'_>) {
    for (place, rule) in &new.rules.typed {
        let contract = named_address(place.1, new.registry);
        let what = format!("{} for {contract}", rule.kind.name());
        match old.rules.typed.get(place) {
            Some(before) if before.domain == rule.domain && before.kind == rule.kind => {
                bounds(&format!("typed {what}"), (&before.bounds, &rule.bounds), lines);
            }
            _ => lines.wider(format!("typed added: {what}")),
        }
    }
    for (place, rule) in &old.rules.typed {
        if !new.rules.typed.contains_key(place) {
            let contract = named_address(place.1, old.registry);
            lines.narrower(format!("typed removed: {} for {contract}", rule.kind.name()));
        }
    }
}

/// Each argument must be bound at least as tightly.
fn bounds(what: &str, (old, new): (&[Bound], &[Bound]), lines: &mut Lines<'_>) {
    if old == new {
        return;
    }
    let within = old.len() == new.len() && new.iter().zip(old).all(|(new, old)| new.is_within(old));
    let line = format!("{what}: where changed");
    if within { lines.narrower(line) } else { lines.wider(line) }
}

/// A message is allowed by the first rule that names its site, so all of them count as one.
pub(super) fn messages(old: &KeyRules, new: &KeyRules, lines: &mut Lines<'_>) {
    if old.messages == new.messages {
        return;
    }
    let within = |rule: &MessageRule| {
        rule.domains.iter().all(|domain| {
            let before = old.messages.iter().find(|before| before.domains.contains(domain));
            before.is_some_and(|before| rule.expires <= before.expires)
        })
    };
    let line = "messages changed";
    if new.messages.iter().all(within) { lines.narrower(line) } else { lines.wider(line) }
}

/// Whose code the account may run, and who must agree.
pub(super) fn authorize(old: Rules<'_>, new: Rules<'_>, lines: &mut Lines<'_>) {
    match (&old.rules.authorize, &new.rules.authorize) {
        (None, None) => {}
        (None, Some(_)) => lines.wider("authorize added"),
        (Some(_), None) => lines.narrower("authorize removed"),
        (Some(before), Some(after)) => {
            let place = |(chain, contract): &(_, _)| {
                format!("{} on chain {chain}", named_address(*contract, new.registry))
            };
            lines.permitted("authorize to", (&before.to, &after.to), place);
            quorums(before, after, lines);
        }
    }
}

fn quorums(old: &AuthorizeRule, new: &AuthorizeRule, lines: &mut Lines<'_>) {
    if old.terms == new.terms {
        return;
    }
    let harder = new.terms.at_least_as_hard_as(&old.terms);
    let line = format!("authorize needs {} -> {}", old.terms.need, new.terms.need);
    if harder { lines.narrower(line) } else { lines.wider(line) }
}
