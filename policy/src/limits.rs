//! Amounts against the book: per transaction, and over windows with everything in flight.

use alloy_primitives::Address;

use crate::book::{DenyWord, KeyRules, Limit, Limits, Registry, Tier, TokenRule};
use crate::decide::Facts;
use crate::effect::Effect;
use crate::finding::{Findings, Rule, Seen};
use crate::id::{ChainId, KeyId};
use crate::ledger::{Ledger, Slot};
use crate::money::{Account, Amount, Asset, Charges, Total};
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
        };
        match limits {
            Some(limits) => {
                check_per_tx(limits, account, amount, per_tx, out);
                // What adds nothing passes, however full the window: an allowance can be taken
                // back, and a pending payment replaced by none, under a limit that was lowered.
                if amount > Amount::ZERO {
                    let exposure = Exposure::new(registry, facts, asked, account);
                    check_windows(limits, &exposure, account, window, out);
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
    pub repeat: bool,
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
    rule: fn(Span) -> Rule,
    out: &mut Findings,
) {
    for window in limits.windows.iter() {
        let total = exposure.total(window.span);
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
    ledger: &'a Ledger,
    key: KeyId,
    scope: Vec<Account>,
    /// In flight, or asked for, in slots that hold nothing yet.
    fresh: Total,
    /// The same in slots that do: they add only what a window does not hold of them.
    again: Vec<(Slot, Account, Amount)>,
}

impl<'a> Exposure<'a> {
    fn new(registry: &Registry, facts: &'a Facts<'a>, asked: &Asked<'_>, account: Account) -> Self {
        let (ledger, key) = (facts.ledger, asked.slot.key);
        let scope = scope(registry, account);
        let mut exposure =
            Self { ledger, key, scope: scope.clone(), fresh: Total::ZERO, again: Vec::new() };
        for account in scope {
            let mut own = if asked.repeat { Amount::ZERO } else { asked.charge.of(account) };
            for (slot, numbers) in facts.open.slots_of(key) {
                let others = numbers.iter().filter(|number| Some(**number) != facts.own);
                let others = others.filter_map(|number| facts.open.get(*number));
                let charged =
                    others.filter(|open| !open.repeat).map(|open| open.charges.of(account));
                let most = charged.max().unwrap_or(Amount::ZERO);
                if slot == asked.slot {
                    own = own.max(most);
                } else {
                    exposure.add(slot, account, most);
                }
            }
            exposure.add(asked.slot, account, own);
        }
        exposure
    }

    fn add(&mut self, slot: Slot, account: Account, most: Amount) {
        if most == Amount::ZERO {
            return;
        }
        if self.ledger.holds(slot, account) {
            self.again.push((slot, account, most));
        } else {
            self.fresh = self.fresh.plus(most);
        }
    }

    fn total(&self, span: Span) -> Total {
        let used = self.scope.iter().map(|account| self.ledger.used(self.key, *account, span));
        let total = used.fold(self.fresh, Total::plus_total);
        self.again.iter().fold(total, |total, (slot, account, most)| {
            total.plus(self.ledger.missing(*slot, *account, span, *most))
        })
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

/// The word of `deny` that covers an effect, if one does.
pub fn denied_word(rules: &KeyRules, effect: &Effect) -> Option<&'static str> {
    let words = DenyWord::ALL.iter().filter(|(word, _)| rules.deny.contains(word));
    let covers = |word: &DenyWord| match word {
        DenyWord::ContractCreation => matches!(effect, Effect::Deploy { .. }),
        DenyWord::Eip7702 => {
            matches!(effect, Effect::Delegate { .. } | Effect::Authorize { .. })
        }
        DenyWord::UnlimitedAllowance => {
            matches!(effect, Effect::GrantAllowance { amount, .. } if *amount >= unlimited())
                || matches!(effect, Effect::GrantOperator { .. })
        }
        DenyWord::DelegateCall => matches!(effect, Effect::DelegateCall { .. }),
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
