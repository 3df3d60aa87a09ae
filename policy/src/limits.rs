//! Amounts against the book: per transaction, and over windows with everything in flight.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;

use crate::book::{KeyRules, Limit, Limits, Per, Registry, SharedLimit, Tier, TokenRule};
use crate::decide::Facts;
use crate::exposure::{self, Beside, Exposure};
use crate::finding::{Findings, Rule, Seen};
use crate::id::{CallerId, ChainId, KeyId};
use crate::ledger::{Place, Repeat, Slot};
use crate::money::{Account, Amount, Asset, Charges, Facet, Line, Total};
use crate::settlement;
use crate::time::Span;

/// Checks every limit that a charge touches. A repeat adds nothing, and is checked all the same.
pub fn check(
    registry: &Registry,
    rules: &KeyRules,
    facts: &Facts<'_>,
    asked: &Asked<'_>,
    out: &mut Findings,
) {
    for (account, amount) in asked.charge.iter() {
        let (limits, per_tx, window): (_, Rule, fn(Span) -> Rule) = match account.asset {
            Asset::Native => {
                let limits = rules.native.as_ref().map(|rule| &rule.limits);
                (limits, Rule::NativePerTx, Rule::NativeWindow)
            }
            Asset::Fee => {
                let limits = rules.fees.as_ref().map(|rule| &rule.limits);
                (limits, Rule::FeesPerTx, Rule::FeesWindow)
            }
            Asset::Token(contract) => {
                let limits = rules.tokens.get(&(account.chain, contract)).map(|rule| &rule.limits);
                (limits, Rule::TokenPerTx, Rule::TokenWindow)
            }
            // Counted by shared limits alone.
            Asset::Requests | Asset::Usd => continue,
        };
        match limits {
            Some(limits) => {
                check_per_tx(limits, account, amount, per_tx, out);
                // What adds nothing passes, however full the window: an allowance can be taken
                // back, and a pending payment replaced by none, under a limit that was lowered.
                if amount > Amount::ZERO {
                    check_unsettled(registry, limits, facts, asked, account, out);
                    let lines = scope(registry, account);
                    let key = asked.slot.key;
                    let parts = lines
                        .iter()
                        .map(|line| Exposure::new(Beside::from(facts), asked, (key, line)));
                    let parts: Vec<Exposure<'_>> = parts.collect();
                    let exposed = |span| exposure::total(&parts, span, facts.now.sure);
                    check_windows(limits, exposed, account, window, out);
                }
            }
            // Without a native rule nothing may be paid, which is said of the payment itself; fees
            // have limits of their own.
            None if account.asset == Asset::Native => {}
            None => absent(account, amount, per_tx, out),
        }
    }
}

/// What is asked for, as far as amounts go.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Where it is charged.
    pub slot: Slot,
    /// What it may cost at most.
    pub charge: &'a Charges,
    /// Whether the same digest was signed before: then it is charged already.
    pub repeat: Repeat,
}

/// No rule for an asset permits none of it.
pub fn absent(account: Account, amount: Amount, rule: Rule, out: &mut Findings) {
    let bound = Some(Amount::ZERO);
    out.note(rule, Seen::Amount { account, sum: amount, bound }, amount == Amount::ZERO);
}

fn check_per_tx(limits: &Limits, account: Account, sum: Amount, rule: Rule, out: &mut Findings) {
    let bound = bound(limits.per_tx);
    let passed = bound.is_none_or(|bound| sum <= bound);
    out.note(rule, Seen::Amount { account, sum, bound }, passed);
}

fn check_windows(
    limits: &Limits,
    exposed: impl Fn(Span) -> Total,
    account: Account,
    rule: fn(Span) -> Rule,
    out: &mut Findings,
) {
    for window in limits.windows.iter() {
        let total = exposed(window.span);
        let (sum, bound) = (total.to_amount_saturating(), Some(window.limit));
        let passed = !total.exceeds(window.limit);
        out.note(rule(window.span), Seen::Amount { account, sum, bound }, passed);
    }
}

/// What is signed and not known to be settled, this request included.
fn check_unsettled(
    registry: &Registry,
    limits: &Limits,
    facts: &Facts<'_>,
    asked: &Asked<'_>,
    account: Account,
    out: &mut Findings,
) {
    let Some(bound) = limits.unsettled else { return };
    let mut total = Total::ZERO;
    for line in scope(registry, account) {
        let account = line.account;
        let held = |slot: Slot| facts.settlements.unsettled_in(slot, account);
        total = total
            .plus_total(facts.settlements.unsettled(asked.slot.key, account))
            .plus_total(raised(facts, asked, |charges| charges.of_line(&line), held));
    }
    let (sum, passed) = (total.to_amount_saturating(), !total.exceeds(bound));
    out.note(Rule::Unsettled, Seen::Amount { account, sum, bound: Some(bound) }, passed);
}

/// How much more the slots of what is in flight and asked for would hold than is `held` of them,
/// each at its maximum.
pub(crate) fn raised(
    facts: &Facts<'_>,
    asked: &Asked<'_>,
    part: impl Fn(&Charges) -> Amount,
    held: impl Fn(Slot) -> Amount,
) -> Total {
    let more = |slot, most: Amount| most.checked_sub(held(slot)).unwrap_or(Amount::ZERO);
    let (mut total, mut own) = (Total::ZERO, part(asked.charge));
    for (slot, numbers) in facts.open.slots_of(asked.slot.key) {
        let others = numbers.iter().filter(|number| Some(**number) != facts.own);
        let others = others.filter_map(|number| facts.open.get(*number));
        let most = others.map(|open| part(&open.charges)).max().unwrap_or(Amount::ZERO);
        if slot == asked.slot {
            own = own.max(most);
        } else {
            total = total.plus(more(slot, most));
        }
    }
    total.plus(more(asked.slot, own))
}

/// What may stand for each spender, signed and not taken back, this request included.
pub fn check_outstanding(
    rules: &KeyRules,
    facts: &Facts<'_>,
    asked: &Asked<'_>,
    out: &mut Findings,
) {
    for (line, amount) in asked.charge.lines() {
        let (Facet::Grant(spender), Asset::Token(token)) = (&line.facet, line.account.asset) else {
            continue;
        };
        let rule = rules.tokens.get(&(line.account.chain, token));
        let bound = rule.and_then(|rule| rule.allowance.as_ref()?.outstanding);
        let Some(bound) = bound.filter(|_| amount > Amount::ZERO) else { continue };
        let (account, known) = (line.account, facts.settlements);
        let held = |slot: Slot| known.granted_in(slot, account, *spender);
        let more = raised(facts, asked, |charges| charges.of_line(line), held);
        let total = known.standing(asked.slot.key, account, *spender).plus_total(more);
        let (sum, passed) = (total.to_amount_saturating(), !total.exceeds(bound));
        out.note(Rule::Outstanding, Seen::Amount { account, sum, bound: Some(bound) }, passed);
    }
}

/// Not too much is signed ahead of what is known to be settled: of transactions, by their nonces;
/// of typed data that moves something, by how much of it may still be used.
pub fn check_nonce(rules: &KeyRules, facts: &Facts<'_>, asked: &Asked<'_>, out: &mut Findings) {
    check_memory(rules, facts, asked, out);
    let Some(ahead) = rules.rate.nonce_ahead else { return };
    let (slot, known) = (asked.slot, facts.settlements);
    let (words, passed) = if let Place::Nonce(nonce) = slot.place {
        let mined = known.mined(slot.key, slot.chain);
        let words = format!("nonce {nonce}, {mined} mined, at most {ahead} ahead");
        (words, nonce < mined.saturating_add(ahead))
    } else if settlement::moves(asked.charge) && !known.is_pending(slot) {
        let fresh = |slot: &Slot| {
            let typed = matches!(slot.place, Place::Digest(_)) && slot.chain == asked.slot.chain;
            typed && *slot != asked.slot && !known.is_pending(*slot)
        };
        let fresh = facts.open.slots_of(slot.key).filter(|(slot, _)| fresh(slot)).count();
        let others = u64::try_from(fresh).unwrap_or(u64::MAX);
        let others = others.saturating_add(known.typed(slot.key, slot.chain));
        let words = format!("{others} typed data may still be used, at most {ahead} with this");
        (words, others < ahead)
    } else {
        return;
    };
    out.note(Rule::NonceAhead, Seen::Words(words.into()), passed);
}

/// What cannot be remembered cannot be counted, and so is not signed.
fn check_memory(rules: &KeyRules, facts: &Facts<'_>, asked: &Asked<'_>, out: &mut Findings) {
    let (slot, known) = (asked.slot, facts.settlements);
    // All that is in flight is more than what is in flight of this key: mostly that settles it.
    let entries = known.entries(slot.key);
    if entries.saturating_add(facts.open.len()) < settlement::ENTRIES_MAX {
        return;
    }
    let entries = entries.saturating_add(facts.open.slots_of(slot.key).count());
    let grants = asked.charge.lines().any(|(line, _)| matches!(line.facet, Facet::Grant(_)));
    let counted = rules.counts_unsettled(slot.place) && settlement::moves(asked.charge);
    let fresh = counted && !known.is_pending(slot);
    if !grants && !fresh {
        return;
    }
    if entries >= settlement::ENTRIES_MAX {
        let words = format!("{entries} signatures wait to be settled: tell what is mined");
        out.note(Rule::Unsettled, Seen::Words(words.into()), false);
    }
}

/// The accounts a limit sums over: a native coin on every registered chain that has it; a token
/// on its own chain.
fn scope(registry: &Registry, account: Account) -> Vec<Line> {
    match (account.asset, registry.chain(account.chain)) {
        (Asset::Native | Asset::Fee, Some(chain)) => {
            let chains = registry.chains_with_native(&chain.native);
            chains.map(|chain| Account { chain, asset: account.asset }.into()).collect()
        }
        (Asset::Token(_) | Asset::Requests | Asset::Usd, _)
        | (Asset::Native | Asset::Fee, None) => vec![account.into()],
    }
}

fn bound(limit: Limit) -> Option<Amount> {
    match limit {
        Limit::Unlimited => None,
        Limit::AtMost(bound) => Some(bound),
    }
}

/// Fees are allowed, and so much of each unit of gas may go to the builder.
pub fn check_priority(rules: &KeyRules, chain: ChainId, priority: Amount, out: &mut Findings) {
    out.note(Rule::FeesAllowed, Seen::Nothing, rules.fees.is_some());
    let Some(fees) = &rules.fees else { return };
    let account = Account { chain, asset: Asset::Fee };
    let bound = bound(fees.max_priority_fee);
    let passed = bound.is_none_or(|bound| priority <= bound);
    out.note(Rule::MaxPriorityFee, Seen::Amount { account, sum: priority, bound }, passed);
}

/// An allowance of nothing may be granted to anybody, once the token has rules.
pub fn check_allowance(
    rule: &TokenRule,
    (chain, token): (ChainId, Address),
    spender: Address,
    sum: Amount,
    out: &mut Findings,
) {
    if sum == Amount::ZERO {
        return;
    }
    let allowance = rule.allowance.as_ref();
    let known = allowance.is_some_and(|allowance| allowance.spender.contains(&spender));
    out.note(Rule::AllowanceSpender, Seen::Address(spender), known);
    let Some(allowance) = allowance else { return };
    let account = Account { chain, asset: Asset::Token(token) };
    let bound = bound(allowance.per_tx);
    let passed = bound.is_none_or(|bound| sum <= bound);
    out.note(Rule::AllowancePerTx, Seen::Amount { account, sum, bound }, passed);
}

/// Adds to a charge the parts that limits of the book sum: requests, what one caller asks for, what
/// goes to one recipient. `None` if a sum passes 2^256 - 1.
///
/// Of recipients no more than one too many: then [`check_shared`] refuses.
pub fn extend(
    charge: &mut Charges,
    shared: &[&SharedLimit],
    (caller, chain): (&CallerId, ChainId),
    payments: &[(Account, Address, Amount)],
    grants: &[(Account, Address, Amount)],
) -> Option<()> {
    let requests = Account { chain, asset: Asset::Requests };
    let counts = |limit: &&&SharedLimit| limit.accounts.contains(&requests);
    if shared.iter().any(|limit| counts(&limit)) {
        charge.add(requests, Amount::from(1))?;
    }
    for (account, spender, amount) in grants {
        charge.add_line(Line { facet: Facet::Grant(*spender), account: *account }, *amount)?;
    }
    let whole: Vec<(Account, Amount)> = charge.iter().collect();
    let summed = |per| {
        let sums = move |account: &Account| {
            shared.iter().any(|limit| limit.per == per && limit.accounts.contains(account))
        };
        let accounts = whole.iter().filter(move |(account, _)| sums(account));
        accounts.map(|(account, amount)| (*account, *amount))
    };
    for (account, amount) in summed(Per::Caller) {
        charge.add_line(Line { facet: Facet::Caller(caller.clone()), account }, amount)?;
    }
    let apart: BTreeSet<Account> = summed(Per::Recipient).map(|(account, _)| account).collect();
    let mut to: BTreeMap<(Account, Address), Amount> = BTreeMap::new();
    for (account, whom, amount) in payments {
        if apart.contains(account) && to.len() <= RECIPIENTS_MAX {
            let sum = to.entry((*account, *whom)).or_default();
            *sum = sum.checked_add(*amount)?;
        }
        if apart.contains(&requests) && to.len() <= RECIPIENTS_MAX {
            to.insert((requests, *whom), Amount::from(1));
        }
    }
    for ((account, whom), amount) in to {
        charge.add_line(Line { facet: Facet::To(whom), account }, amount)?;
    }
    Some(())
}

/// Checks the limits over several keys, or over each caller or recipient apart.
pub fn check_shared(
    shared: &[&SharedLimit],
    facts: &Facts<'_>,
    asked: &Asked<'_>,
    out: &mut Findings,
) {
    let apart = asked.charge.lines().filter(|(line, _)| matches!(line.facet, Facet::To(_)));
    if apart.count() > RECIPIENTS_MAX {
        let words = format!("more than {RECIPIENTS_MAX} in one request");
        return out.note(Rule::Recipients, Seen::Words(words.into()), false);
    }
    // Each line once, however many limits sum over it.
    let mut known: BTreeMap<(KeyId, Line), Exposure<'_>> = BTreeMap::new();
    for limit in shared {
        let ids = limit.keys.iter().filter_map(|label| facts.labels.get(label).copied());
        let keys: Vec<KeyId> = ids.collect();
        let touched = asked.charge.lines().filter(|(line, amount)| {
            let of_kind = match (&line.facet, limit.per) {
                (Facet::Whole, Per::All)
                | (Facet::Caller(_), Per::Caller)
                | (Facet::To(_), Per::Recipient) => true,
                (Facet::Whole | Facet::Caller(_) | Facet::To(_) | Facet::Grant(_), _) => false,
            };
            of_kind && limit.accounts.contains(&line.account) && *amount > Amount::ZERO
        });
        let facets: BTreeMap<&Facet, Account> =
            touched.map(|(line, _)| (&line.facet, line.account)).collect();
        for (facet, account) in facets {
            let line = |account: &Account| Line { facet: facet.clone(), account: *account };
            let lines = limit.accounts.iter().map(line);
            let places: Vec<(KeyId, Line)> =
                lines.flat_map(|line| keys.iter().map(move |key| (*key, line.clone()))).collect();
            for (key, line) in &places {
                let new = || Exposure::new(Beside::from(facts), asked, (*key, line));
                known.entry((*key, line.clone())).or_insert_with(new);
            }
            let parts = || places.iter().filter_map(|place| known.get(place));
            for window in &limit.windows {
                let total = exposure::total(parts(), window.span, facts.now.sure);
                let passed = !total.exceeds(window.limit);
                let (sum, bound) = (total.to_amount_saturating(), window.limit);
                let limit = limit.name.clone();
                let seen = Seen::Shared { limit, account, sum, bound };
                out.note(Rule::Shared(window.span), seen, passed);
            }
        }
    }
}

/// The first amount of a tier that a charge is above: more may not be signed without people.
pub fn reached(tier: &Tier, charge: &Charges) -> Option<(Account, Amount)> {
    let mut all = tier
        .above
        .iter()
        .flat_map(|one| one.accounts.iter().map(move |account| (*account, one.amount)));
    all.find(|(account, amount)| charge.of(*account) > *amount)
}

/// Sums per recipient that one request may add to: pairs of recipient and asset that limits count
/// apart. Each is remembered as long as its window, and looked up at each decision.
const RECIPIENTS_MAX: usize = 32;
