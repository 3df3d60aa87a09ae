//! What is looked at of one request besides its limits: who asks, whether people could read it,
//! what it is worth, and whom it pays. Each only notes what it saw: [`crate::decide`] judges.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;

use crate::book::{Book, KeyRules, SharedLimit};
use crate::decide::{Facts, KeyFacts};
use crate::effect::{self, Effect};
use crate::finding::{Findings, Rule, Seen};
use crate::money::{Account, Amount, Asset, Charges};
use crate::prices::{self};
use crate::record::INLINE_BYTES_MAX;
use crate::request::{Request, Signable};
use crate::stops::Subject;

/// What nobody can read, nobody can approve.
pub(crate) fn check_readable(request: &Request, effects: &[Effect], out: &mut Findings) {
    let bytes = match request.signable() {
        Signable::Transaction(tx) => tx.preimage().len(),
        Signable::Typed(data) => data.text().len(),
        Signable::Message(message) => message.text().len(),
        Signable::Delegation(_) => 0,
    };
    if bytes > INLINE_BYTES_MAX || effects.len() > EFFECTS_MAX {
        let words = format!("{bytes} bytes, {} effects", effects.len());
        out.note(Rule::Readable, Seen::Words(words.into()), false);
    }
}

/// More effects of one request are not read by people.
const EFFECTS_MAX: usize = 64;

/// Who asks, for which key, under which name: nothing of what. `false`: the key was not made for
/// the chain, so that no rule of a book matters.
pub(crate) fn check_standing(
    facts: &Facts<'_>,
    key: &KeyFacts<'_>,
    request: &Request,
    out: &mut Findings,
) -> bool {
    let asker = request.asker();
    let subject = Subject { key: asker.key, tags: key.tags, caller: &asker.caller };
    if facts.revoked.contains(&asker.key) {
        out.note(Rule::NotRevoked, Seen::Nothing, false);
    }
    // What a quorum permits a key that is drained, it permits although the key is stopped. Whoever
    // is stopped themselves asks for nothing.
    let stop = match facts.draining {
        Some(_) => facts.stops.covering_caller(&asker.caller),
        None => facts.stops.covering(&subject),
    };
    let seen = stop.map_or(Seen::Nothing, |scope| Seen::Words(scope.to_string().into()));
    out.note(Rule::NotFrozen, seen, stop.is_none());
    let meant = asker.expected == key.address;
    out.note(Rule::ExpectedAddress, Seen::Address(asker.expected), meant);
    let same = facts.bound.is_none_or(|digest| digest == request.digest());
    out.note(Rule::RequestId, Seen::Words(asker.request.shared()), same);
    let own = key.chains.contains(&request.chain());
    if !own {
        out.note(Rule::KeyChain, Seen::Chain(request.chain()), false);
    }
    own
}

pub(crate) fn check_caller_and_chain(
    book: &Book,
    rules: &KeyRules,
    request: &Request,
    out: &mut Findings,
) {
    let caller = &request.asker().caller;
    let known = rules.callers.contains(caller) && book.caller(caller).is_some();
    out.note(Rule::CallerAllowed, Seen::Words(caller.shared()), known);
    let chain = request.chain();
    let known = rules.chains.contains(&chain) && book.registry().chain(chain).is_some();
    out.note(Rule::ChainAllowed, Seen::Chain(chain), known);
}

/// Adds what everything is worth, if a limit counts in USD. What has no price is refused.
pub(crate) fn add_worth(
    book: &Book,
    facts: &Facts<'_>,
    shared: &[&SharedLimit],
    mut charge: Charges,
    payments: &mut Vec<(Account, Address, Amount)>,
    out: &mut Findings,
) -> Option<Charges> {
    let in_usd = |limit: &&SharedLimit| limit.accounts.contains(&prices::USD);
    let (true, Some(rule)) = (shared.iter().any(in_usd), book.prices()) else {
        return Some(charge);
    };
    // A price expires, so by the time that may have passed. It is stamped with sure time: taken for
    // older than it is, never for younger.
    let (registry, when) = (book.registry(), (rule.stale, facts.now.possible));
    let worth = match facts.prices.worth_of(registry, &charge, when) {
        Ok(worth) => worth?,
        Err(asset) => {
            out.note(Rule::Priced, Seen::Words(asset.into()), false);
            return Some(charge);
        }
    };
    charge.add(prices::USD, worth)?;
    let mut in_usd = Vec::with_capacity(payments.len());
    for (account, whom, amount) in payments.iter() {
        // All of them are part of the charge, so they have a price.
        if let Ok(worth) = facts.prices.worth(registry, (*account, *amount), when) {
            in_usd.push((prices::USD, *whom, worth?));
        }
    }
    payments.append(&mut in_usd);
    Some(charge)
}

/// Allowances of tokens for which the book counts what stands.
pub(crate) fn counted_grants(
    rules: &KeyRules,
    effects: &[Effect],
    chain: crate::id::ChainId,
) -> Vec<(Account, Address, Amount)> {
    let counted = |account: &Account| {
        let Asset::Token(token) = account.asset else { return false };
        let rule = rules.tokens.get(&(account.chain, token));
        rule.and_then(|rule| rule.allowance.as_ref()?.outstanding).is_some()
    };
    let grants = effect::grants(effects, chain).into_iter();
    grants.filter(|(account, ..)| counted(account)).collect()
}

/// Recipients that a book added wait before they are paid.
pub(crate) fn check_cooling(
    rules: &KeyRules,
    facts: &Facts<'_>,
    key: &KeyFacts<'_>,
    payments: &[(Account, Address, Amount)],
    out: &mut Findings,
) {
    let Some(cooling) = rules.cooling else { return };
    let mut whom: BTreeMap<Address, bool> = BTreeMap::new();
    // What everything is worth is paid to the same people, and is in no list.
    for (account, who, _) in payments.iter().filter(|(account, ..)| *account != prices::USD) {
        let waits = facts.payees.is_cooling(key.label, (*account, *who), cooling, facts.now.sure);
        *whom.entry(*who).or_default() |= waits;
    }
    for (who, waits) in whom {
        out.note(Rule::Cooling, Seen::Address(who), !waits);
    }
}

/// Whom the key never paid on this chain, if people are ever asked about its payments.
pub(crate) fn first_payments(
    rules: &KeyRules,
    facts: &Facts<'_>,
    request: &Request,
    payments: &[(Account, Address, Amount)],
) -> Vec<Address> {
    // Whoever is asked is told whether somebody was ever paid before.
    if rules.approve.is_empty() {
        return Vec::new();
    }
    let whom: BTreeSet<Address> = payments.iter().map(|(_, whom, _)| *whom).collect();
    let (key, chain) = (request.asker().key, request.chain());
    whom.into_iter().filter(|who| !facts.payees.were_paid(key, chain, *who)).collect()
}
