//! Foot-guns: a sound book that says something nobody should mean. `portctl policy lint` refuses
//! them; the signer does not, since somebody may mean it all the same.

use alloy_primitives::{Address, address};

use super::{Book, ContractKind, KeyRules, Limit, Limits, Quorum, Recipients, Registry, Windows};
use crate::bounds::Bound;
use crate::id::KeyLabel;
use crate::money::{Account, Amount, Asset};
use crate::value::{Kind, Member};

/// A foot-gun: where it stands, what can happen, what to write instead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lint {
    /// Which kind, for programs.
    pub code: &'static str,
    /// Where in the book.
    pub at: String,
    /// What can happen.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
}

/// All of them, key by key.
pub(super) fn lints(book: &Book) -> Vec<Lint> {
    let mut found = Vec::new();
    well_known(&book.registry, &mut found);
    for (label, rules) in &book.keys {
        key(label, rules, &book.registry, &mut found);
    }
    found
}

fn key(label: &KeyLabel, rules: &KeyRules, registry: &Registry, out: &mut Vec<Lint>) {
    let at = |what: &str| format!("key.{label}.{what}");
    if let Some(native) = &rules.native {
        amounts(&at("native"), &native.limits, out);
        recipients(&at("native"), &native.to, &native.limits, out);
    }
    if let Some(fees) = &rules.fees {
        amounts(&at("fees"), &fees.limits, out);
        if fees.max_priority_fee == Limit::Unlimited {
            let message = "a whole fee can be paid to a builder who is in league with the caller";
            let hint = "write max_priority_fee = \"5 gwei\"";
            lint(out, "unbounded-priority-fee", at("fees"), message, hint);
        }
    }
    for ((chain, contract), rule) in &rules.tokens {
        let account = Account { chain: *chain, asset: Asset::Token(*contract) };
        let at = at(&format!("token.{}", super::asset_name(registry, account)));
        amounts(&at, &rule.limits, out);
        recipients(&at, &rule.to, &rule.limits, out);
        let uncapped = |allowance: &super::AllowanceRule| allowance.per_tx == Limit::Unlimited;
        if rule.allowance.as_ref().is_some_and(uncapped) {
            let message = "an allowance without a cap is everything the key will ever hold";
            let hint = "write allowance = { spender, per_tx = \"AMOUNT\" }";
            lint(out, "unbounded-allowance", at, message, hint);
        }
    }
    for rule in rules.calls.values() {
        let at = at(&format!("call {}", rule.function.canonical()));
        arguments(&at, rule.function.parameters(), &rule.bounds, out);
    }
    for rule in rules.typed.values() {
        // What moves value in these is charged and checked by itself.
        if crate::effect::permit_deadline(rule.kind.text()).is_none() {
            let at = at(&format!("typed {}", rule.kind.name()));
            arguments(&at, rule.kind.members(), &rule.bounds, out);
            if !super::offchain::ends(rule.kind.members(), &rule.bounds) {
                let message = "a promise without an end, which somebody can keep";
                let hint = "write where = { FIELD = \"<= now + 15m\", .. } for its deadline";
                lint(out, "endless-typed-data", at, message, hint);
            }
        }
    }
    if !rules.delegatecall.is_empty() {
        let message = "code that runs as a Safe can do anything with what the Safe has";
        let hint = "leave delegatecall out; MultiSend needs only kind = \"multisend\"";
        lint(out, "delegatecall", at("delegatecall"), message, hint);
    }
    unreachable(&at("approve"), rules, out);
    for tier in &rules.approve {
        quorum(&at("approve"), &tier.terms.need, out);
    }
}

/// A contract that moves what others hold, and that is read as if it did not.
fn well_known(registry: &Registry, out: &mut Vec<Lint>) {
    for ((chain, contract), kind) in &registry.contracts {
        let known = WELL_KNOWN.iter().find(|(address, _)| address == contract);
        if known.is_some_and(|(_, known)| known != kind) {
            let name = registry.label(*contract).unwrap_or_default();
            let at = format!("contract.{name} (chain {chain})");
            let message = "calls to it move tokens or run other calls, and are not opened";
            let hint = "write its kind: \"permit2\", \"multicall3\" or \"multisend\"";
            lint(out, "contract-without-its-kind", at, message, hint);
        }
    }
}

/// The same address on every chain. Permit2, Multicall3; MultiSend and MultiSendCallOnly of Safe
/// 1.3.0 and 1.4.1.
const WELL_KNOWN: [(Address, ContractKind); 6] = [
    (address!("000000000022d473030f116ddee9f6b43ac78ba3"), ContractKind::Permit2),
    (address!("ca11bde05977b3631167028862be2a173976ca11"), ContractKind::Multicall3),
    (address!("a238cbeb142c10ef7ad8442c6d1f9e89e07e7761"), ContractKind::MultiSend),
    (address!("40a2accbd92bca938b02010e17a5b8929b49130d"), ContractKind::MultiSend),
    (address!("38869bf66a61cf6bdb996a6ae40d5853fd43b526"), ContractKind::MultiSend),
    (address!("9641d764fc13c8b624c04430c7356c1c7c8102e2"), ContractKind::MultiSend),
];

/// Neither a transaction nor a window has a bound.
fn amounts(at: &str, limits: &Limits, out: &mut Vec<Lint>) {
    if limits.per_tx == Limit::Unlimited {
        let message = "one transaction may take everything";
        let hint = "write per_tx = \"AMOUNT\"";
        lint(out, "unbounded-transaction", at.to_owned(), message, hint);
    }
    if limits.windows == Windows::Unlimited {
        let message = "one transaction after the other may take everything";
        let hint = "write window = \"AMOUNT / 24h\"";
        lint(out, "unbounded-window", at.to_owned(), message, hint);
    }
}

fn recipients(at: &str, to: &Recipients, limits: &Limits, out: &mut Vec<Lint>) {
    let day = crate::time::Span(86_400_000);
    let daily = limits.windows.iter().any(|window| window.span >= day);
    if *to == Recipients::Anyone && !daily {
        let message = "anyone may be paid, and no window of a day or more bounds it";
        let hint = "list who is paid, or write window = \"AMOUNT / 24h\"";
        lint(out, "anyone-without-a-day", at.to_owned(), message, hint);
    }
}

/// An amount or an address that may be anything, however deep it stands.
fn arguments(at: &str, members: &[Member], bounds: &[Bound], out: &mut Vec<Lint>) {
    for name in members.iter().zip(bounds).filter_map(|(member, bound)| unbounded(member, bound)) {
        let message = format!("the argument {name} may be anything");
        let hint = "write what it may be: \"self\", \"@name\", \"<= AMOUNT\", \"0\"";
        lint(out, "unbounded-argument", at.to_owned(), message, hint);
    }
}

/// The way to what has no bound: `orders.to`.
fn unbounded(member: &Member, bound: &Bound) -> Option<String> {
    let name = member.name.as_deref().unwrap_or("?");
    let inner = inside(&member.kind, bound)?;
    Some(if inner.is_empty() { name.to_owned() } else { format!("{name}.{inner}") })
}

fn inside(kind: &Kind, bound: &Bound) -> Option<String> {
    match (kind, bound) {
        (kind, Bound::Any) => matters(kind).then(String::new),
        (Kind::Array(element, _), Bound::Each(each, _)) => inside(element, each),
        (Kind::Array(element, _), bound) => inside(element, bound),
        (Kind::Tuple(_, members), Bound::Members(bounds)) => {
            members.iter().zip(bounds).find_map(|(member, bound)| unbounded(member, bound))
        }
        (_, _) => None,
    }
}

/// Whether a value of this type can say who or how much. Bytes from 20 on can: an address for
/// another kind of chain, or the hash of an order.
fn matters(kind: &Kind) -> bool {
    match kind {
        Kind::Uint(_) | Kind::Int(_) | Kind::Address | Kind::Bytes => true,
        Kind::FixedBytes(size) => *size >= 20,
        Kind::Array(element, _) => matters(element),
        Kind::Tuple(_, members) => members.iter().any(|member| matters(&member.kind)),
        Kind::Bool | Kind::String => false,
    }
}

/// A tier in vain: whoever lowered the limit left nobody to ask.
fn unreachable(at: &str, rules: &KeyRules, out: &mut Vec<Lint>) {
    let thresholds = rules.approve.iter().flat_map(|tier| &tier.above);
    for threshold in thresholds {
        let limits = threshold.accounts.iter().find_map(|account| rules.limits_of(*account));
        if limits.map(ceiling).is_some_and(|most| most <= Some(threshold.amount) && most.is_some())
        {
            let message = "a tier that nothing reaches: more is refused by per_tx or a window";
            let hint = "ask people below that limit, or leave the tier out";
            lint(out, "unreachable-tier", at.to_owned(), message, hint);
        }
    }
}

/// What one request can be charged at most: more than any window admits, it can never be either.
fn ceiling(limits: &Limits) -> Option<Amount> {
    let per_tx = match limits.per_tx {
        Limit::Unlimited => None,
        Limit::AtMost(amount) => Some(amount),
    };
    limits.windows.iter().map(|window| window.limit).chain(per_tx).min()
}

/// Somebody who stands in two groups of one quorum fills only one place.
fn quorum(at: &str, need: &Quorum, out: &mut Vec<Lint>) {
    for (place, part) in need.parts.iter().enumerate() {
        let others = need.parts.iter().skip(place.saturating_add(1));
        for other in others {
            if let Some(person) = part.members.intersection(&other.members).next() {
                let (one, two) = (&part.group, &other.group);
                let message = format!("{person} is in {one} and in {two}, and counts once");
                let hint = "ask for groups that share nobody";
                lint(out, "person-twice-in-a-quorum", at.to_owned(), message, hint);
            }
        }
    }
}

fn lint(
    out: &mut Vec<Lint>,
    code: &'static str,
    at: String,
    message: impl Into<String>,
    hint: &'static str,
) {
    out.push(Lint { code, at, message: message.into(), hint });
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAFE: &str = r#"
version = 1
[chain.ethereum]
id = 1
native = "ETH"
[asset.USDC]
kind = "erc20"
chain = "ethereum"
address = "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"
decimals = 6
[contract.pool]
chain = "ethereum"
address = "0x87870bca3f3fd6335c3f4ce8392d69350b4fa4e2"
[address]
cold = "0x1111111111111111111111111111111111111111"
[group]
treasury = ["alice", "bob"]
security = ["dave"]
[caller."spiffe://acme/payouts"]
owners = ["carol"]
[key.hot]
callers = ["spiffe://acme/payouts"]
chains = ["ethereum"]
native = { to = "@cold", per_tx = "10 ETH", window = "20 ETH / 24h" }
rate = { per_caller = "20/s", per_key = "50/s", parked = 1 }
approve = [{ above = "1 ETH", need = "1 of treasury + 1 of security", expires = "1h" }]
[key.hot.fees]
per_tx = "0.05 ETH"
window = "1 ETH / 24h"
max_priority_fee = "5 gwei"
counts_as = "native"
[key.hot.token.USDC]
to = "@cold"
per_tx = "5 USDC"
window = "9 USDC / 1h"
allowance = { spender = "@pool", per_tx = "5 USDC" }
[[key.hot.call]]
contract = "@pool"
function = "supply(address asset, uint256 amount)"
where = { asset = "@USDC", amount = "<= 5 USDC" }
"#;

    #[test]
    fn a_book_that_bounds_everything_has_no_foot_gun() {
        assert_eq!(Book::parse(SAFE).unwrap().lints(), []);
    }

    #[test]
    fn every_foot_gun_is_named_where_it_stands() {
        for (from, to, code, at) in [
            ("per_tx = \"10 ETH\"", "per_tx = \"unlimited\"", "unbounded-transaction", "native"),
            ("\"20 ETH / 24h\"", "\"unlimited\"", "unbounded-window", "native"),
            ("\"5 gwei\"", "\"unlimited\"", "unbounded-priority-fee", "fees"),
            (
                "to = \"@cold\"\nper_tx = \"5",
                "to = \"anyone\"\nper_tx = \"5",
                "anyone-without-a-day",
                "token.USDC",
            ),
            (
                "spender = \"@pool\", per_tx = \"5 USDC\"",
                "spender = \"@pool\", per_tx = \"unlimited\"",
                "unbounded-allowance",
                "token.USDC",
            ),
            ("amount = \"<= 5 USDC\"", "amount = \"any\"", "unbounded-argument", "call supply"),
            ("per_tx = \"10 ETH\"", "per_tx = \"1 ETH\"", "unreachable-tier", "approve"),
            ("\"20 ETH / 24h\"", "\"1 ETH / 24h\"", "unreachable-tier", "approve"),
            (
                "where = { asset = \"@USDC\", amount = \"<= 5 USDC\" }",
                "where = \"any\"",
                "unbounded-argument",
                "call supply",
            ),
            (
                "chains = [\"ethereum\"]",
                "chains = [\"ethereum\"]\ndelegatecall = \"@pool\"",
                "delegatecall",
                "delegatecall",
            ),
            (
                "security = [\"dave\"]",
                "security = [\"dave\", \"bob\"]",
                "person-twice-in-a-quorum",
                "approve",
            ),
            (
                "0x87870bca3f3fd6335c3f4ce8392d69350b4fa4e2",
                "0x000000000022d473030f116ddee9f6b43ac78ba3",
                "contract-without-its-kind",
                "contract.pool",
            ),
        ] {
            let text = SAFE.replacen(from, to, 1);
            assert_ne!(text, SAFE, "{from}");
            let lints = Book::parse(&text).unwrap().lints();
            let named = |lint: &&Lint| lint.code == code && lint.at.contains(at);
            assert!(lints.iter().any(|lint| named(&lint)), "{code}: {lints:?}");
        }
    }

    /// The safe book, with a rule for this function or type instead of its own.
    fn with(rule: &str) -> Result<Book, super::super::Faults> {
        let (before, _) = SAFE.split_once("[[key.hot.call]]").unwrap();
        let safe = "[contract.safe]\nchain = \"ethereum\"\nkind = \"safe\"\n\
                    address = \"0x5afe5afe5afe5afe5afe5afe5afe5afe5afe5afe\"\n";
        Book::parse(&format!("{before}{rule}{safe}"))
    }

    fn call(contract: &str, function: &str, within: &str) -> String {
        format!(
            "[[key.hot.call]]\ncontract = \"@{contract}\"\nfunction = \"{function}\"\n\
             where = {within}\n"
        )
    }

    #[test]
    fn what_may_be_anything_is_found_however_deep_it_stands() {
        let pay = "pay((address to, uint256 amount)[] orders)";
        let burn = "burn(uint256 amount, uint32 domain, bytes32 mintRecipient)";
        for (function, within, named) in [
            (pay, "{ orders = { to = \"any\", amount = \"<= 5\" } }", Some("orders.to")),
            (pay, "{ orders = { to = \"self\", amount = \"any\" } }", Some("orders.amount")),
            (
                pay,
                "{ orders = { each = { to = \"any\", amount = \"5\" }, most = 2 } }",
                Some("orders.to"),
            ),
            (pay, "{ orders = { to = \"self\", amount = \"<= 5\" } }", None),
            ("pay(address[] to)", "{ to = { each = \"any\", most = 5 } }", Some("to")),
            ("pay(address[] to)", "{ to = \"self\" }", None),
            (
                burn,
                "{ amount = \"<= 5\", domain = \"1\", mintRecipient = \"any\" }",
                Some("mintRecipient"),
            ),
            ("f(bytes8 note)", "{ note = \"any\" }", None),
        ] {
            let lints = with(&call("pool", function, within)).unwrap().lints();
            let said: Vec<&str> = lints.iter().map(|lint| lint.message.as_str()).collect();
            let expected = named.map(|name| format!("the argument {name} may be anything"));
            assert_eq!(said, expected.iter().map(String::as_str).collect::<Vec<_>>(), "{within}");
        }
    }

    #[test]
    fn a_safes_transaction_is_not_approved_by_its_hash() {
        let rule = |contract| call(contract, "approveHash(bytes32 hash)", "{ hash = \"any\" }");
        let faults = with(&rule("safe")).unwrap_err();
        assert!(faults.0[0].message.contains("by its hash"), "{faults:?}");
        assert!(with(&rule("pool")).is_ok());
    }

    #[test]
    fn a_promise_ends_in_time_or_says_in_a_word_that_it_does_not() {
        let rule = |end: &str, more: &str| {
            format!(
                "[[key.hot.typed]]\ndomain = {{ chain = \"ethereum\", contract = \"@pool\" }}\n\
                 type = \"Order(address receiver,uint256 amount,uint256 validTo)\"\n\
                 where = {{ receiver = \"self\", amount = \"<= 5\", validTo = \"{end}\" }}\n{more}"
            )
        };
        let endless = "endless = \"allowed\"\n";
        assert_eq!(with(&rule("<= now + 15m", "")).unwrap().lints(), []);
        for end in ["any", "<= 99999999999", ">= 1"] {
            let faults = with(&rule(end, "")).unwrap_err();
            assert!(faults.0[0].message.contains("has no end"), "{faults:?}");
            let lints = with(&rule(end, endless)).unwrap().lints();
            assert!(lints.iter().any(|lint| lint.code == "endless-typed-data"), "{lints:?}");
        }
        // Where there is an end, and where the type says it, the word has no place.
        assert!(with(&rule("<= now + 15m", endless)).is_err());
        let permit = "[[key.hot.typed]]\ndomain = { chain = \"ethereum\", contract = \"@USDC\" }\n\
                      type = \"Permit(address owner,address spender,uint256 value,uint256 nonce,\
                      uint256 deadline)\"\nwhere = { owner = \"self\", spender = \"@pool\", \
                      value = \"any\", nonce = \"any\", deadline = \"<= now + 15m\" }\n";
        assert!(with(permit).is_ok());
        assert!(with(&format!("{permit}{endless}")).is_err());
    }
}
