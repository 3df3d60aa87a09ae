//! Compares above which amounts people are asked in two books, and who is.

use super::compare::Rules;
use super::diff::Lines;
use super::{KeyRules, Threshold, Tier};
use crate::money::{Account, Asset};

/// Every tier whose amount a charge exceeds asks for its own quorum, so tiers never replace each
/// other, and each old one must be asked for by a new one: at no larger an amount of the same
/// account, of a quorum that is at least as hard, and to wait no longer.
pub(super) fn compare(old: Rules<'_>, new: Rules<'_>, lines: &mut Lines<'_>) {
    for (tier, threshold) in thresholds(old.rules) {
        if !asked(threshold, tier, new.rules, new.rules) {
            let before = describe(old, tier, threshold);
            let after = instead(new, threshold);
            lines.wider(format!("approve {before} no longer asked for; asked for is {after}"));
        }
    }
    for tier in old.rules.approve.iter().filter(|tier| tier.first_payment) {
        if !asks_first(tier, new.rules) {
            lines.wider("approve of a first payment no longer asked for");
        }
    }
    for tier in new.rules.approve.iter().filter(|tier| tier.first_payment) {
        if !asks_first(tier, old.rules) {
            lines.narrower("approve of a first payment added");
        }
    }
    for (tier, threshold) in thresholds(new.rules) {
        if !asked(threshold, tier, old.rules, new.rules) {
            lines.narrower(format!("approve {} added", describe(new, tier, threshold)));
        }
    }
}

/// What is asked for amounts of the same kind.
fn instead(new: Rules<'_>, threshold: &Threshold) -> String {
    let same = thresholds(new.rules).filter(|(_, above)| {
        above.accounts.iter().any(|account| threshold.accounts.contains(account))
    });
    let asked: Vec<String> = same.map(|(tier, above)| describe(new, tier, above)).collect();
    if asked.is_empty() { "nobody".to_owned() } else { asked.join("; ") }
}

fn asks_first(tier: &Tier, by: &KeyRules) -> bool {
    let mut others = by.approve.iter().filter(|other| other.first_payment);
    others.any(|other| other.terms.at_least_as_hard_as(&tier.terms))
}

fn thresholds(rules: &KeyRules) -> impl Iterator<Item = (&Tier, &Threshold)> {
    rules.approve.iter().flat_map(|tier| tier.above.iter().map(move |above| (tier, above)))
}

/// Whether `by` asks for this too, on every account that can be charged at all. Also where no
/// request is allowed so much: one that is allowed more later would be agreed to by people who
/// remember that they are asked.
fn asked(threshold: &Threshold, tier: &Tier, by: &KeyRules, charged: &KeyRules) -> bool {
    let accounts = threshold.accounts.iter().filter(|account| {
        charged.limits_of(**account).is_some() && charged.chains.contains(&account.chain)
    });
    accounts.into_iter().all(|account| {
        thresholds(by).any(|(other, above)| {
            above.accounts.contains(account)
                && above.amount <= threshold.amount
                && other.terms.at_least_as_hard_as(&tier.terms)
        })
    })
}

/// Whom a key asks, a line each, for whoever agrees to something wider: of everything that it may
/// pay, also where nobody is asked.
pub(super) fn told(key: Rules<'_>) -> Vec<String> {
    let mut lines: Vec<String> = thresholds(key.rules)
        .map(|(tier, threshold)| format!("asks people {}", describe(key, tier, threshold)))
        .collect();
    let first = key.rules.approve.iter().filter(|tier| tier.first_payment);
    lines.extend(first.map(|tier| format!("asks people at a first payment: {}", whom(tier))));
    let chain = key.rules.chains.first().copied().unwrap_or_default();
    let coin = key.rules.native.is_some() || key.rules.fees.is_some();
    let native = coin.then_some(Account { chain, asset: Asset::Native });
    let tokens = key
        .rules
        .tokens
        .keys()
        .map(|(chain, contract)| Account { chain: *chain, asset: Asset::Token(*contract) });
    let asked = |account: &Account| {
        thresholds(key.rules).any(|(_, threshold)| threshold.accounts.contains(account))
    };
    let unasked = native.into_iter().chain(tokens).filter(|account| !asked(account));
    lines.extend(unasked.map(|account| {
        let name = super::asset_name(key.registry, account);
        format!("asks NOBODY for {name}, whatever the amount")
    }));
    lines
}

fn describe(key: Rules<'_>, tier: &Tier, threshold: &Threshold) -> String {
    let account = threshold.accounts.first().copied();
    let account = account.map_or_else(|| key.native(), |account| key.unit(account));
    let amount = account.amount(threshold.amount);
    format!("above {amount}, {}", whom(tier))
}

fn whom(tier: &Tier) -> String {
    let people = tier.terms.need.parts.iter().map(|part| {
        let members: Vec<&str> = part.members.iter().map(|person| person.as_str()).collect();
        format!("{} of {}", part.count, members.join("/"))
    });
    let people: Vec<String> = people.collect();
    format!("{}, {}", people.join(" + "), tier.terms.manner())
}
