//! Compares the amounts, recipients and quorums of one key in two books.
//!
//! Never says that something is narrower because it looks smaller: each comparison is an
//! implication, and its comment says why it holds.

use std::collections::BTreeSet;

use alloy_primitives::Address;

use super::diff::Lines;
use super::units::{format_amount, format_gwei};
use super::{
    Addresses, AllowanceRule, KeyRules, Limit, Limits, Rate, RateRule, Recipients, Registry,
    TokenRule, Window,
};
use crate::id::ChainId;
use crate::money::{Account, Amount, Asset};
use crate::time::Span;

/// The rules of a key, and the registry its amounts and addresses are shown with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    pub(super) registry: &'a Registry,
    pub(super) rules: &'a KeyRules,
}

impl<'a> Rules<'a> {
    pub(super) fn unit(self, account: Account) -> Unit<'a> {
        Unit { registry: self.registry, account }
    }

    /// All native coins of a key are one.
    pub(super) fn native(self) -> Unit<'a> {
        let chain = self.rules.chains.first().copied().unwrap_or_default();
        self.unit(Account { chain, asset: Asset::Native })
    }
}

/// How amounts of an account are shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit<'a> {
    registry: &'a Registry,
    account: Account,
}

impl Unit<'_> {
    pub(super) fn amount(self, amount: Amount) -> String {
        format_amount(self.registry, self.account, amount)
    }

    fn limit(self, limit: Limit) -> String {
        match limit {
            Limit::Unlimited => "unlimited".to_owned(),
            Limit::AtMost(amount) => self.amount(amount),
        }
    }

    fn window(self, window: &Window) -> String {
        format!("{} / {}", self.amount(window.limit), window.span)
    }

    /// All of them.
    fn limits(self, limits: &Limits) -> String {
        let windows: Vec<String> = limits.windows.iter().map(|one| self.window(one)).collect();
        let windows = if windows.is_empty() { "unlimited".to_owned() } else { windows.join(", ") };
        format!("per_tx {}, window {windows}", self.limit(limits.per_tx))
    }
}

/// Native coin and fees.
pub(super) fn coins(old: Rules<'_>, new: Rules<'_>, lines: &mut Lines<'_>) {
    let units = (old.native(), new.native());
    match (&old.rules.native, &new.rules.native) {
        (None, None) => {}
        (None, Some(rule)) => {
            lines.wider(format!("native added: {}", units.1.limits(&rule.limits)));
            everybody("native to", &rule.to, new.registry, lines);
        }
        (Some(before), None) => {
            lines.narrower("native removed");
            still_bound(&before.limits, new, lines);
        }
        (Some(before), Some(after)) => {
            recipients("native to", (&before.to, &after.to), new.registry, lines);
            limits("native", (&before.limits, &after.limits), units, lines);
        }
    }
    match (&old.rules.fees, &new.rules.fees) {
        (None, None) => {}
        (None, Some(rule)) => {
            lines.wider(format!("fees added: {}", units.1.limits(&rule.limits)));
        }
        (Some(_), None) => lines.narrower("fees removed"),
        (Some(before), Some(after)) => {
            limits("fees", (&before.limits, &after.limits), units, lines);
            let (before, after) = (before.max_priority_fee, after.max_priority_fee);
            limit("fees max_priority_fee", (before, after), lines, |_, limit| gwei(limit));
        }
    }
}

/// Fees count as native spend, so a native rule bounds them too, and goes with its bounds.
///
/// A fee window, however small, does not replace a native one: it does not count the payments of
/// the past, which would have left less room for fees. Nor is there another word for what of them
/// is not settled.
fn still_bound(gone: &Limits, new: Rules<'_>, lines: &mut Lines<'_>) {
    let Some(fees) = &new.rules.fees else { return };
    let sums = gone.windows.iter().next().is_some() || gone.unsettled.is_some();
    if sums || !at_most(fees.limits.per_tx, gone.per_tx) {
        lines.wider("fees no longer count in native limits: rather keep native, to fewer");
    }
}

/// Tokens, each by its contract.
pub(super) fn tokens(old: Rules<'_>, new: Rules<'_>, lines: &mut Lines<'_>) {
    for (place, after) in &new.rules.tokens {
        let units = (old.unit(token(*place)), new.unit(token(*place)));
        let what = format!("token {}", super::asset_name(new.registry, token(*place)));
        match old.rules.tokens.get(place) {
            Some(before) => token_rule(&what, (before, after), units, lines),
            None => {
                lines.wider(format!("{what} added: {}", units.1.limits(&after.limits)));
                everybody(&format!("{what} to"), &after.to, new.registry, lines);
                token_rule(&what, (&nothing(after), after), units, lines);
            }
        }
    }
    for place in old.rules.tokens.keys().filter(|place| !new.rules.tokens.contains_key(*place)) {
        let name = super::asset_name(old.registry, token(*place));
        lines.narrower(format!("token {name} removed"));
    }
}

fn token((chain, contract): (ChainId, Address)) -> Account {
    Account { chain, asset: Asset::Token(contract) }
}

fn token_rule(
    what: &str,
    (old, new): (&TokenRule, &TokenRule),
    units: (Unit<'_>, Unit<'_>),
    lines: &mut Lines<'_>,
) {
    let registry = units.1.registry;
    recipients(&format!("{what} to"), (&old.to, &new.to), registry, lines);
    addresses(&format!("{what} from"), (&old.from, &new.from), registry, lines);
    limits(what, (&old.limits, &new.limits), units, lines);
    addresses(&format!("{what} operator"), (&old.operator, &new.operator), registry, lines);
    match (old.convert, new.convert) {
        (false, true) => lines.wider(format!("{what} may be converted")),
        (true, false) => lines.narrower(format!("{what} may no longer be converted")),
        (true, true) | (false, false) => {}
    }
    match (&old.allowance, &new.allowance) {
        (None, None) => {}
        (None, Some(AllowanceRule { per_tx, spender, .. })) => {
            lines.wider(format!("{what} allowance added: per_tx {}", units.1.limit(*per_tx)));
            let spenders = (&Addresses::default(), spender);
            addresses(&format!("{what} allowance spender"), spenders, registry, lines);
        }
        (Some(_), None) => lines.narrower(format!("{what} allowance removed")),
        (Some(before), Some(after)) => {
            let spenders = (&before.spender, &after.spender);
            addresses(&format!("{what} allowance spender"), spenders, registry, lines);
            let per_tx = (before.per_tx, after.per_tx);
            limit(&format!("{what} allowance per_tx"), per_tx, lines, |new, limit| {
                if new { units.1.limit(limit) } else { units.0.limit(limit) }
            });
            let line = format!("{what} allowance outstanding changed");
            optional(&line, before.outstanding, after.outstanding, lines);
        }
    }
}

/// Per transaction, and windows.
///
/// A window of L in S is kept if a new one admits no more than L in no less than S: in any stretch
/// of S lies within one of S', so no more than L' <= L is spent in it, history included.
fn limits(
    what: &str,
    (old, new): (&Limits, &Limits),
    (old_unit, new_unit): (Unit<'_>, Unit<'_>),
    lines: &mut Lines<'_>,
) {
    limit(&format!("{what} per_tx"), (old.per_tx, new.per_tx), lines, |is_new, limit| {
        if is_new { new_unit.limit(limit) } else { old_unit.limit(limit) }
    });
    let shown = |unit: Unit<'_>, amount: Option<Amount>| {
        amount.map_or("not counted".to_owned(), |amount| unit.amount(amount))
    };
    let (before, after) = (shown(old_unit, old.unsettled), shown(new_unit, new.unsettled));
    optional(&format!("{what} unsettled {before} -> {after}"), old.unsettled, new.unsettled, lines);
    let same_span = |limits: &Limits, window: &Window| {
        limits.windows.iter().find(|other| other.span == window.span).copied()
    };
    for window in old.windows.iter().filter(|window| !kept(window, new)) {
        let shown = old_unit.window(window);
        lines.wider(match same_span(new, window) {
            Some(after) => format!("{what} window {shown} -> {}", new_unit.window(&after)),
            None => format!("{what} window {shown} removed"),
        });
    }
    for window in new.windows.iter().filter(|window| !kept(window, old)) {
        let shown = new_unit.window(window);
        lines.narrower(match same_span(old, window) {
            Some(before) => format!("{what} window {} -> {shown}", old_unit.window(&before)),
            None => format!("{what} window {shown} added"),
        });
    }
}

/// A bound that is counted only while it is there. A new one begins with nothing, which is no
/// less than was.
fn optional<T: Ord>(line: &str, old: Option<T>, new: Option<T>, lines: &mut Lines<'_>) {
    match (old, new) {
        (None, None) => {}
        (None, Some(_)) => lines.narrower(line),
        (Some(_), None) => lines.wider(line),
        (Some(old), Some(new)) => match new.cmp(&old) {
            std::cmp::Ordering::Less => lines.narrower(line),
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => lines.wider(line),
        },
    }
}

fn kept(window: &Window, by: &Limits) -> bool {
    by.windows.iter().any(|other| other.limit <= window.limit && other.span >= window.span)
}

/// One bound. `show` is told whether it shows the new one.
fn limit(
    what: &str,
    (old, new): (Limit, Limit),
    lines: &mut Lines<'_>,
    show: impl Fn(bool, Limit) -> String,
) {
    if old == new {
        return;
    }
    let line = format!("{what} {} -> {}", show(false, old), show(true, new));
    if at_most(new, old) { lines.narrower(line) } else { lines.wider(line) }
}

fn at_most(one: Limit, other: Limit) -> bool {
    match (one, other) {
        (_, Limit::Unlimited) => true,
        (Limit::Unlimited, Limit::AtMost(_)) => false,
        (Limit::AtMost(one), Limit::AtMost(other)) => one <= other,
    }
}

fn gwei(limit: Limit) -> String {
    match limit {
        Limit::Unlimited => "unlimited".to_owned(),
        Limit::AtMost(amount) => format_gwei(amount),
    }
}

/// "anyone" contains everybody; a list, however long, never contains "anyone".
fn recipients(
    what: &str,
    (old, new): (&Recipients, &Recipients),
    registry: &Registry,
    lines: &mut Lines<'_>,
) {
    match (old, new) {
        (Recipients::Anyone, Recipients::Anyone) => {}
        (Recipients::Only(these), Recipients::Anyone) => {
            lines.wider(format!("{what} {} addresses -> anyone", these.len()));
        }
        (Recipients::Anyone, Recipients::Only(these)) => {
            lines.narrower(format!("{what} anyone -> {} addresses", these.len()));
        }
        (Recipients::Only(before), Recipients::Only(after)) => {
            addresses(what, (before, after), registry, lines);
        }
    }
}

/// All recipients of a rule that is new.
fn everybody(what: &str, to: &Recipients, registry: &Registry, lines: &mut Lines<'_>) {
    let nobody = Recipients::Only(Addresses::default());
    recipients(what, (&nobody, to), registry, lines);
}

/// A rule with the same limits that lets nobody do anything.
fn nothing(rule: &TokenRule) -> TokenRule {
    TokenRule {
        from: Addresses::default(),
        operator: Addresses::default(),
        convert: false,
        allowance: None,
        ..rule.clone()
    }
}

/// Addresses that each may do something.
pub(super) fn addresses(
    what: &str,
    (old, new): (&Addresses, &Addresses),
    registry: &Registry,
    lines: &mut Lines<'_>,
) {
    let (added, removed) = (new.difference(old), old.difference(new));
    lines.members(what, (added, removed), |address| named_address(*address, registry));
}

/// An address in full, with its name if it has one.
pub(super) fn named_address(address: Address, registry: &Registry) -> String {
    match registry.label(address) {
        Some(label) => format!("{label} ({})", address.to_checksum(None)),
        None => address.to_checksum(None),
    }
}

/// A rate is kept if there are no more requests in no less time: then neither the burst nor the
/// refill is larger. 60/m instead of 1/s is wider: all 60 may come at once.
pub(super) fn rates(old: RateRule, new: RateRule, lines: &mut Lines<'_>) {
    rate("rate per_caller", (old.per_caller, new.per_caller), lines);
    rate("rate per_key", (old.per_key, new.per_key), lines);
    optional("rate nonce_ahead changed", old.nonce_ahead, new.nonce_ahead, lines);
    let line = format!("rate parked {} -> {}", old.parked, new.parked);
    match new.parked.cmp(&old.parked) {
        std::cmp::Ordering::Less => lines.narrower(line),
        std::cmp::Ordering::Equal => {}
        std::cmp::Ordering::Greater => lines.wider(line),
    }
}

fn rate(what: &str, (old, new): (Option<Rate>, Option<Rate>), lines: &mut Lines<'_>) {
    let kept = match (old, new) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(old), Some(new)) => new.requests <= old.requests && new.per >= old.per,
    };
    let show = |rate: Option<Rate>| rate.map_or("unlimited".to_owned(), |rate| rate.to_string());
    let line = format!("{what} {} -> {}", show(old), show(new));
    match (old == new, kept) {
        (true, _) => {}
        (false, true) => lines.narrower(line),
        (false, false) => lines.wider(line),
    }
}

/// A recipient that is added must wait at least as long as before.
pub(super) fn cooling(old: &KeyRules, new: &KeyRules, lines: &mut Lines<'_>) {
    let show = |span: Option<Span>| span.map_or("none".to_owned(), |span| span.to_string());
    let line = format!("cooling {} -> {}", show(old.cooling), show(new.cooling));
    match new.cooling.cmp(&old.cooling) {
        std::cmp::Ordering::Less => lines.wider(line),
        std::cmp::Ordering::Equal => {}
        std::cmp::Ordering::Greater => lines.narrower(line),
    }
}

/// Which chains a native or fee limit sums over. What was spent on a chain that leaves the sum
/// would be room to spend again.
pub(super) fn scopes(old: Rules<'_>, new: Rules<'_>, lines: &mut Lines<'_>) {
    let limited = |rules: &KeyRules| rules.native.is_some() || rules.fees.is_some();
    if limited(old.rules) && limited(new.rules) {
        let what = "chains counted in native and fee limits";
        lines.forbidden(what, (&scope(old), &scope(new)), ToString::to_string);
    }
}

fn scope(key: Rules<'_>) -> BTreeSet<ChainId> {
    let chains = key.rules.chains.iter().filter_map(|id| key.registry.chain(*id));
    chains.flat_map(|chain| key.registry.chains_with_native(&chain.native)).collect()
}
