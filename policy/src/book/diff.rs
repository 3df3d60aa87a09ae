//! What a new book permits that an old one does not, and the other way round.
//!
//! A book that only narrows may be adopted by one person, at once. So a change counts as wider
//! unless it is shown here, rule by rule, that no request gains by it in any state of the ledger.
//! Rules are compared as they were resolved, so a renamed list or group is no change. Narrowing is
//! reflexive and transitive: a narrowing reached in two steps is one that could be taken in one.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use alloy_primitives::Address;

use super::compare::{Rules, addresses, named_address};
use super::units::format_amount;
use super::{Book, KeyRules, Registry, SharedLimit};
use crate::id::{CallerId, ChainId, KeyLabel};
use crate::money::{Account, Amount, Asset};

/// Compares two books.
pub(super) fn difference(old: &Book, new: &Book) -> Difference {
    let mut found = Difference::default();
    compare_chains(old, new, &mut found);
    compare_tokens(old, new, &mut found);
    compare_contracts(&old.registry, &new.registry, &mut found);
    super::named::labels(&old.registry, &new.registry, &mut found);
    super::named::owners(old, new, &mut found);
    super::named::compare(old, new, &mut found);
    super::shared_diff::compare(old, new, &mut found);
    super::shared_diff::prices(old, new, &mut found);
    let priced = |label: &KeyLabel| {
        let in_usd =
            |limit: &&SharedLimit| limit.accounts.iter().any(|one| one.asset == Asset::Usd);
        old.prices != new.prices
            && new.shared.iter().filter(in_usd).any(|limit| limit.keys.contains(label))
    };
    let labels: BTreeSet<&KeyLabel> = old.keys.keys().chain(new.keys.keys()).collect();
    for label in labels {
        match (old.keys.get(label), new.keys.get(label)) {
            (Some(old_rules), Some(new_rules)) => {
                let before = Rules { registry: &old.registry, rules: old_rules };
                let after = Rules { registry: &new.registry, rules: new_rules };
                let told = found.wider.len();
                compare_key(before, after, &mut found.about(format!("key {label}")));
                if found.wider.len() > told {
                    found.keys.insert(label.clone());
                }
            }
            (None, Some(rules)) => {
                found.tell_wider(|| format!("key {label}: added"));
                found.keys.insert(label.clone());
                let nothing = KeyRules::default();
                let before = Rules { registry: &new.registry, rules: &nothing };
                let after = Rules { registry: &new.registry, rules };
                // All of it is new, also what holds it.
                let mut all = found.about(format!("key {label}"));
                all.is_new = true;
                compare_key(before, after, &mut all);
            }
            (Some(_), None) => found.tell_narrower(|| format!("key {label}: removed")),
            (None, None) => {}
        }
    }
    // What is read in another way, or costs less, may let every key on that chain do more.
    let reread = |rules: &KeyRules| !rules.chains.is_disjoint(&found.reread);
    // Of a caller that loses an owner, people count who did not.
    let less = |rules: &KeyRules| !rules.callers.is_disjoint(&found.less_owned);
    let all =
        new.keys.iter().filter(|(label, rules)| priced(label) || reread(rules) || less(rules));
    let all: Vec<KeyLabel> = all.map(|(label, _)| label.clone()).collect();
    found.keys.extend(all);
    found.end()
}

/// What one book permits more and less than another, a line for people each.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Difference {
    /// What the new book permits and the old one may not: `key hot: native per_tx 5 ETH -> 10 ETH`.
    pub wider: Vec<String>,
    /// What the old book permits and the new one may not.
    pub narrower: Vec<String>,
    /// Keys that gain, or may.
    pub(super) keys: BTreeSet<KeyLabel>,
    /// Chains on which something is read in another way.
    reread: BTreeSet<ChainId>,
    /// Callers that lose an owner.
    pub(super) less_owned: BTreeSet<CallerId>,
    /// How many lines were left out of each, because nobody reads so many.
    more: (usize, usize),
}

impl Difference {
    /// Whether no request gains, no limit's scope loses a member, and no quorum gets easier.
    pub fn is_narrowing(&self) -> bool {
        self.wider.is_empty()
    }

    pub(super) fn about(&mut self, subject: String) -> Lines<'_> {
        Lines { subject, is_new: false, found: self }
    }

    /// Notes what is permitted that was not; of more than anybody reads, that there are more. So
    /// much of it can be asked for that making the lines would take longer than all the rest.
    pub(super) fn tell_wider(&mut self, line: impl FnOnce() -> String) {
        tell(&mut self.wider, &mut self.more.0, line);
    }

    /// Notes what is no longer permitted.
    pub(super) fn tell_narrower(&mut self, line: impl FnOnce() -> String) {
        tell(&mut self.narrower, &mut self.more.1, line);
    }

    fn end(mut self) -> Self {
        for (lines, more) in [(&mut self.wider, self.more.0), (&mut self.narrower, self.more.1)] {
            if more > 0 {
                lines.push(format!("and {more} changes more"));
            }
        }
        self
    }
}

/// Takes the lines about one thing.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    subject: String,
    /// Whether nothing of it was there before: then it is all one permission, and is told as such.
    is_new: bool,
    found: &'a mut Difference,
}

impl Lines<'_> {
    /// Something is permitted that was not.
    pub(super) fn wider(&mut self, line: impl AsRef<str>) {
        self.found.tell_wider(|| format!("{}: {}", self.subject, line.as_ref()));
    }

    /// Something is no longer permitted.
    pub(super) fn narrower(&mut self, line: impl AsRef<str>) {
        let line = || format!("{}: {}", self.subject, line.as_ref());
        if self.is_new { self.found.tell_wider(line) } else { self.found.tell_narrower(line) }
    }

    /// Whether nothing that is said now is read.
    fn is_full(&self) -> bool {
        self.found.wider.len() >= TOLD_MAX
    }

    /// A set whose members each permit something.
    pub(super) fn permitted<T: Ord>(
        &mut self,
        what: &str,
        (old, new): (&BTreeSet<T>, &BTreeSet<T>),
        show: impl Fn(&T) -> String,
    ) {
        self.members(what, (new.difference(old), old.difference(new)), show);
    }

    /// Members of a set that each permit something, added and removed.
    pub(super) fn members<'a, T: 'a>(
        &mut self,
        what: &str,
        (added, removed): (impl Iterator<Item = &'a T>, impl Iterator<Item = &'a T>),
        show: impl Fn(&T) -> String,
    ) {
        let what = if what.is_empty() { String::new() } else { format!("{what} ") };
        if self.is_full() {
            if added.count() > 0 {
                self.wider("more added");
            }
            return;
        }
        for added in all_of(added, &show) {
            self.wider(format!("{what}added: {added}"));
        }
        if let Some(removed) = some_of(removed, &show) {
            self.narrower(format!("{what}removed: {removed}"));
        }
    }

    /// A set whose members each forbid something.
    pub(super) fn forbidden<T: Ord>(
        &mut self,
        what: &str,
        (old, new): (&BTreeSet<T>, &BTreeSet<T>),
        show: impl Fn(&T) -> String,
    ) {
        if let Some(added) = some_of(new.difference(old), &show) {
            self.narrower(format!("{what} added: {added}"));
        }
        for removed in all_of(old.difference(new), &show) {
            self.wider(format!("{what} removed: {removed}"));
        }
    }
}

fn tell(lines: &mut Vec<String>, more: &mut usize, line: impl FnOnce() -> String) {
    if lines.len() < TOLD_MAX {
        lines.push(line());
    } else {
        *more = more.saturating_add(1);
    }
}

/// All of them, a few on a line: who agrees to something wider is told of every member. Of more
/// lines than anybody may be asked to read, how many more there are.
pub(super) fn all_of<'t, T: 't>(
    all: impl Iterator<Item = &'t T>,
    show: impl Fn(&T) -> String,
) -> Vec<String> {
    let mut all = all.peekable();
    let mut lines = Vec::new();
    while lines.len() < SHOWN_LINES_MAX && all.peek().is_some() {
        let line: Vec<String> = all.by_ref().take(SHOWN_MAX).map(&show).collect();
        lines.push(line.join(", "));
    }
    let more = all.count();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

/// The first few, and how many more there are. `None` if there are none.
fn some_of<'t, T: 't>(
    mut all: impl Iterator<Item = &'t T>,
    show: impl Fn(&T) -> String,
) -> Option<String> {
    let shown: Vec<String> = all.by_ref().take(SHOWN_MAX).map(show).collect();
    let more = all.count();
    let shown_text = shown.join(", ");
    match (shown.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(shown_text),
        (false, more) => Some(format!("{shown_text} and {more} more")),
    }
}

/// A chain that a key uses must keep the name and the coin that people see, and the fee for layer 1
/// that it is charged.
///
/// No request gains by another name, but the people who approve it would be told of another chain
/// or coin: also where no key uses it yet, because one may tomorrow, and then only its name is
/// told. That a limit's sum loses a chain is looked at with each key.
fn compare_chains(old: &Book, new: &Book, found: &mut Difference) {
    for (id, after) in &new.registry.chains {
        let id = *id;
        let mut lines = found.about(format!("chain {id}"));
        let Some(before) = old.registry.chain(id) else {
            let account = Account { chain: id, asset: Asset::Fee };
            let l1_fee = after.l1_fee.map_or_else(
                || "no l1_fee".to_owned(),
                |fee| format!("l1_fee {}", format_amount(&new.registry, account, fee)),
            );
            lines.wider(format!("added as {}, coin {}, {l1_fee}", after.name, after.native));
            continue;
        };
        if before.name != after.name {
            lines.wider(format!("name {} -> {}", before.name, after.name));
        }
        if before.native != after.native {
            lines.wider(format!("native {} -> {}", before.native, after.native));
            found.reread.insert(id);
        }
        let mut lines = found.about(format!("chain {id}"));
        if l1_fees((&old.registry, &new.registry), id, &mut lines) == Ordering::Less {
            found.reread.insert(id);
        }
    }
}

/// Every transaction on the chain is charged its fee for layer 1. Charged more, none passes a limit
/// that it did not pass before, and none needs fewer people.
fn l1_fees((old, new): (&Registry, &Registry), id: ChainId, lines: &mut Lines<'_>) -> Ordering {
    let fee = |registry: &Registry| registry.chain(id).and_then(|chain| chain.l1_fee);
    let (before, after) = (fee(old).unwrap_or(Amount::ZERO), fee(new).unwrap_or(Amount::ZERO));
    let account = Account { chain: id, asset: Asset::Fee };
    let show = |registry, amount| format_amount(registry, account, amount);
    let line = format!("l1_fee {} -> {}", show(old, before), show(new, after));
    let how = after.cmp(&before);
    match how {
        Ordering::Less => lines.wider(line),
        Ordering::Equal => {}
        Ordering::Greater => lines.narrower(line),
    }
    how
}

/// What the registry says of a contract decides how calldata sent to it is read, and how its
/// amounts are shown to those who approve.
///
/// New decimals or a new name change what people are told, and so may never come with a narrowing.
/// A contract that becomes a token is read in another way. A token that leaves the registry is read
/// as anybody: coin that is sent to it, which was refused, is a payment, its transfers are calls
/// without limits, and Multicall3 may carry coin to it.
fn compare_tokens(old: &Book, new: &Book, found: &mut Difference) {
    for ((chain, contract), token) in &new.registry.tokens {
        let shown = contract.to_checksum(None);
        let mut lines = found.about(format!("token {} ({shown}) on chain {chain}", token.name));
        match old.registry.token(*chain, *contract) {
            None => lines.wider("registered: calls to it are now read as transfers"),
            Some(before) if before.name != token.name => {
                lines.wider(format!("name {} -> {}", before.name, token.name));
                found.reread.insert(*chain);
            }
            Some(_) => {}
        }
        let mut lines = found.about(format!("token {} ({shown}) on chain {chain}", token.name));
        if let Some(before) = old.registry.token(*chain, *contract)
            && before.decimals != token.decimals
        {
            lines.wider(format!("decimals {} -> {}", before.decimals, token.decimals));
            found.reread.insert(*chain);
        }
        let mut lines = found.about(format!("token {} ({shown}) on chain {chain}", token.name));
        if old.registry.token(*chain, *contract).is_some_and(|before| before.kind != token.kind) {
            lines.wider("another kind: calls to it are read in another way");
            found.reread.insert(*chain);
        }
    }
    for ((chain, contract), token) in &old.registry.tokens {
        if new.registry.token(*chain, *contract).is_some() {
            continue;
        }
        let mut lines = found.about(format!("token {} on chain {chain}", token.name));
        lines.wider("no longer registered: it may be paid coin, and called, as anybody");
        found.reread.insert(*chain);
    }
}

/// A contract of another kind is read in another way: what was opened to its leaves is a call, or
/// the other way round. Which of them permits more depends on everything else. One that leaves the
/// registry, of whatever kind, may be sent coin through Multicall3, which is then anybody's.
fn compare_contracts(old: &Registry, new: &Registry, found: &mut Difference) {
    let places: BTreeSet<_> = old.contracts.keys().chain(new.contracts.keys()).collect();
    for (chain, contract) in places {
        let shown = contract.to_checksum(None);
        let mut lines = found.about(format!("contract {shown} on chain {chain}"));
        if !old.is_contract(*chain, *contract) {
            let name = new.label(*contract).unwrap_or_default();
            lines.wider(format!("added as {name}"));
        }
        if old.contract_kind(*chain, *contract) != new.contract_kind(*chain, *contract) {
            lines.wider("another kind: calls to it are read in another way");
            found.reread.insert(*chain);
        } else if !new.is_contract(*chain, *contract) {
            lines.wider("no longer registered: Multicall3 may carry coin to it");
            found.reread.insert(*chain);
        }
    }
}

fn compare_key(old: Rules<'_>, new: Rules<'_>, lines: &mut Lines<'_>) {
    let (before, after) = (old.rules, new.rules);
    lines.permitted("callers", (&before.callers, &after.callers), ToString::to_string);
    let chain = |id: &ChainId| {
        let chain = new.registry.chain(*id).or_else(|| old.registry.chain(*id));
        chain.map_or_else(|| id.to_string(), |chain| format!("{} ({id})", chain.name))
    };
    lines.permitted("chains", (&before.chains, &after.chains), chain);
    super::compare::scopes(old, new, lines);
    super::compare::coins(old, new, lines);
    super::compare::tokens(old, new, lines);
    super::compare::rates(before.rate, after.rate, lines);
    lines.forbidden("deny", (&before.deny, &after.deny), |word| word.to_string());
    super::signed::calls(old, new, lines);
    super::signed::typed(old, new, lines);
    super::signed::messages(before, after, lines);
    super::signed::authorize(old, new, lines);
    let place = |(chain, contract): &(ChainId, Address)| {
        format!("{} on chain {chain}", named_address(*contract, new.registry))
    };
    lines.permitted("via", (&before.via, &after.via), place);
    lines.permitted("delegatecall", (&before.delegatecall, &after.delegatecall), place);
    lines.permitted("deploy", (&before.deploy, &after.deploy), ToString::to_string);
    addresses("delegate", (&before.delegate, &after.delegate), new.registry, lines);
    super::tiers_diff::compare(old, new, lines);
    super::compare::cooling(before, after, lines);
}

/// More than a few addresses on a line are not read.
const SHOWN_MAX: usize = 5;

/// A book with more such lines is not proposed: see `LINES_MAX` of statements.
const SHOWN_LINES_MAX: usize = 400;

/// Lines of each kind that are told at all.
const TOLD_MAX: usize = 2_000;
