//! Amounts against the book: per transaction, and over windows with everything in flight.

use std::collections::BTreeMap;

use alloy_primitives::Address;

use crate::book::{DenyWord, KeyRules, Limit, Limits, Registry, Tier};
use crate::decide::Facts;
use crate::effect::Effect;
use crate::finding::{Findings, Rule, Seen};
use crate::id::ChainId;
use crate::ledger::Slot;
use crate::money::{Account, Amount, Asset, Charges, Total};
use crate::time::Span;

/// Checks every limit that a charge touches.
pub fn check(
    registry: &Registry,
    rules: &KeyRules,
    facts: &Facts<'_>,
    slot: Slot,
    charge: &Charges,
    out: &mut Findings,
) {
    let exposure = Exposure::new(facts, slot, charge);
    // Every account the slot would hold is checked, not only those this request charges: when a
    // slot's maximum rises, all of it is stamped now.
    let accounts: Vec<Account> = exposure.slot_maximum.iter().map(|(account, _)| account).collect();
    for account in accounts {
        let scope = scope(registry, account);
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
        };
        match limits {
            Some(limits) => {
                check_per_tx(limits, account, charge.of(account), per_tx, out);
                // What adds nothing passes, however full the window: an allowance can be taken back
                // under a limit that was lowered below what is spent.
                if exposure.slot_maximum.of(account) > Amount::ZERO {
                    check_windows(limits, &exposure, account, &scope, window, out);
                }
            }
            // Without a native rule nothing may be paid, which is said of the payment itself; fees
            // have limits of their own.
            None if account.asset == Asset::Native => {}
            None => absent(account, exposure.slot_maximum.of(account), per_tx, out),
        }
    }
}

/// No rule for an asset permits none of it.
fn absent(account: Account, amount: Amount, rule: Rule, out: &mut Findings) {
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
    exposure: &Exposure<'_>,
    account: Account,
    scope: &[Account],
    rule: fn(Span) -> Rule,
    out: &mut Findings,
) {
    for window in limits.windows.iter() {
        let totals = scope.iter().map(|account| exposure.total(*account, window.span));
        let total = totals.fold(Total::ZERO, Total::plus_total);
        let (sum, bound) = (total.to_amount_saturating(), Some(window.limit));
        let passed = !total.exceeds(window.limit);
        out.note(rule(window.span), Seen::Amount { account, sum, bound }, passed);
    }
}

/// The accounts a limit sums over: a native coin on every registered chain that has it; a token
/// on its own chain.
fn scope(registry: &Registry, account: Account) -> Vec<Account> {
    match (account.asset, registry.chain(account.chain)) {
        (Asset::Native | Asset::Fee, Some(chain)) => {
            let chains = registry.chains_with_native(&chain.native);
            chains.map(|chain| Account { chain, asset: account.asset }).collect()
        }
        (Asset::Token(_), _) | (Asset::Native | Asset::Fee, None) => vec![account],
    }
}

/// What would be authorised in a window if this request and everything in flight were recorded.
struct Exposure<'a> {
    facts: &'a Facts<'a>,
    slot: Slot,
    /// The slot's new maximum, account by account.
    slot_maximum: Charges,
    /// Whether that is more than the slot holds: then the whole maximum is stamped now.
    raises: bool,
    /// The maxima of other slots that are in flight and would be stamped anew.
    in_flight: BTreeMap<Slot, Charges>,
}

impl<'a> Exposure<'a> {
    fn new(facts: &'a Facts<'a>, slot: Slot, charge: &Charges) -> Self {
        let mut in_flight = facts.open.by_slot(slot.key, facts.own);
        let alternatives = in_flight.remove(&slot).unwrap_or_default().max(charge);
        let held = |slot: &Slot| facts.ledger.held(*slot).map(|held| held.charges());
        in_flight.retain(|slot, charges| !held(slot).is_some_and(|held| charges.within(held)));
        for (slot, charges) in &mut in_flight {
            if let Some(held) = held(slot) {
                *charges = std::mem::take(charges).max(held);
            }
        }
        let (slot_maximum, raises) = match held(&slot) {
            Some(held) => (alternatives.clone().max(held), !alternatives.within(held)),
            None => (alternatives, true),
        };
        Self { facts, slot, slot_maximum, raises, in_flight }
    }

    fn total(&self, account: Account, span: Span) -> Total {
        let ledger = self.facts.ledger;
        let mut total = ledger.used(self.slot.key, account, span);
        for (slot, charges) in &self.in_flight {
            let counted = ledger.used_by(*slot, account, span);
            total = total.minus(counted).plus(charges.of(account));
        }
        if self.raises {
            let counted = ledger.used_by(self.slot, account, span);
            total = total.minus(counted).plus(self.slot_maximum.of(account));
        }
        total
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
    rules: &KeyRules,
    (chain, token): (ChainId, Address),
    spender: Address,
    sum: Amount,
    out: &mut Findings,
) {
    let rule = rules.tokens.get(&(chain, token));
    out.note(Rule::TokenAllowed, Seen::Address(token), rule.is_some());
    let Some(rule) = rule else { return };
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

/// The word of `deny` that covers an effect, if one does.
pub fn denied_word(rules: &KeyRules, effect: &Effect) -> Option<&'static str> {
    let words = DenyWord::ALL.iter().filter(|(word, _)| rules.deny.contains(word));
    let covers = |word: &DenyWord| match word {
        DenyWord::ContractCreation => matches!(effect, Effect::Deploy { .. }),
        DenyWord::Eip7702 => matches!(effect, Effect::Delegate { .. }),
        DenyWord::UnlimitedAllowance => {
            matches!(effect, Effect::GrantAllowance { amount, .. } if *amount >= unlimited())
        }
    };
    words.filter(|(word, _)| covers(word)).map(|(_, spelling)| *spelling).next()
}

/// 2^96 - 1: the smallest of the amounts that tokens and wallets take for "no limit".
fn unlimited() -> Amount {
    Amount::from((1u128 << 96).saturating_sub(1))
}

/// Whether a charge is above what may be signed without people.
pub fn reaches(tier: &Tier, charge: &Charges) -> bool {
    let above = |account: &Account, amount| charge.of(*account) > amount;
    let mut thresholds = tier.above.iter();
    thresholds.any(|one| one.accounts.iter().any(|account| above(account, one.amount)))
}
