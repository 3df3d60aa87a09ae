//! The book: what is read from a sound one, everything that is said of a faulty one, and which
//! changes count as narrowing.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, U256, keccak256};
use portcullis_policy::book::{
    Book, Difference, Faults, Limit, Recipients, Window, Windows, format_amount,
};
use portcullis_policy::decide::{Approval, Decision, Facts, KeyFacts, decide};
use portcullis_policy::effect::{Effect, charges, describe, of_transaction};
use portcullis_policy::id::{BookHash, ChainId, KeyLabel};
use portcullis_policy::ledger::Ledger;
use portcullis_policy::money::{Account, Amount, Asset};
use portcullis_policy::payees::Payees;
use portcullis_policy::prices::Prices;
use portcullis_policy::request::Request;
use portcullis_policy::reservation::Reservations;
use portcullis_policy::settlement::Settlements;
use portcullis_policy::stops::Stops;
use portcullis_policy::time::Span;
use proptest::prelude::*;
use support::Ask;
use support::tx::{self, Tx};

const WORKED: &str = include_str!("books/worked.toml");
const GUIDE: &str = include_str!("../../docs/book.md");
const USDC: &str = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48";
const AAVE: &str = "0x87870Bca3F3fD6335C3F4ce8392D69350B4fA4E2";

fn worked() -> Book {
    Book::parse(WORKED).unwrap()
}

fn label(text: &str) -> KeyLabel {
    text.parse().unwrap()
}

fn eth(milli: u128) -> Amount {
    Amount::from(milli * 1_000_000_000_000_000)
}

fn hours(hours: u64) -> Span {
    Span(hours * 3_600_000)
}

/// The worked book with one text replaced by another, which must be there.
fn edited(from: &str, to: &str) -> String {
    assert_eq!(WORKED.matches(from).count(), 1, "{from} must stand in the book once");
    WORKED.replace(from, to)
}

// What is read.

#[test]
fn every_amount_and_name_of_the_worked_book_is_resolved() {
    let book = worked();
    let rules = book.rules(&label("payouts-hot")).unwrap();
    let native = rules.native.as_ref().unwrap();
    assert_eq!(native.limits.per_tx, Limit::AtMost(eth(10_000)));
    let windows = vec![
        Window { limit: eth(25_000), span: hours(1) },
        Window { limit: eth(100_000), span: hours(24) },
    ];
    assert_eq!(native.limits.windows, Windows::Each(windows));
    assert!(native.to.include("0x3333333333333333333333333333333333333333".parse().unwrap()));
    assert!(!native.to.include(AAVE.parse().unwrap()));
    let fees = rules.fees.as_ref().unwrap();
    assert_eq!(fees.max_priority_fee, Limit::AtMost(Amount::from(5_000_000_000)));
    assert_eq!(rules.deny.len(), 3);
    let token = &rules.tokens[&(ChainId(1), USDC.parse().unwrap())];
    assert_eq!(token.limits.per_tx, Limit::AtMost(Amount::from(500_000_000_000)));
    let spender = &token.allowance.as_ref().unwrap().spender;
    assert!(spender.contains(&AAVE.parse::<Address>().unwrap()) && spender.len() == 1);
    let supply = &rules.calls[&(ChainId(1), AAVE.parse().unwrap(), [0x61, 0x7b, 0xa0, 0x37])];
    assert_eq!(supply.function.canonical(), "supply(address,uint256,address,uint16)");
}

#[test]
fn a_threshold_of_native_coin_counts_on_every_chain_of_that_coin() {
    let book = worked();
    let tier = &book.rules(&label("payouts-hot")).unwrap().approve[1];
    let chains: Vec<ChainId> = tier.above[0].accounts.iter().map(|one| one.chain).collect();
    assert_eq!(chains, [ChainId(1), ChainId(8453)]);
    assert_eq!(tier.terms.need.to_string(), "2 of treasury + 1 of security");
    assert_eq!(tier.terms.expires, Span(1_800_000));
}

#[test]
fn unlimited_and_anyone_are_what_somebody_wrote() {
    let book = worked();
    let rules = book.rules(&label("sweeper")).unwrap();
    let limits = &rules.native.as_ref().unwrap().limits;
    assert_eq!((limits.per_tx, &limits.windows), (Limit::Unlimited, &Windows::Unlimited));
    assert_eq!(rules.rate.per_caller, None);
    assert_eq!(rules.rate.per_key.unwrap().to_string(), "100/m");
    let token = rules.tokens.values().next().unwrap();
    assert_eq!(token.to, Recipients::Anyone);
    assert!(!token.to.include(Default::default()));
    assert_eq!(token.limits.per_tx, Limit::AtMost(Amount::from(1_000_500_000)));
    assert!(rules.calls.is_empty() && rules.approve.is_empty());
}

#[test]
fn a_book_keeps_its_text_and_the_hash_of_it() {
    let book = worked();
    assert_eq!((book.text(), book.hash()), (WORKED, BookHash::of(WORKED)));
    let spans: Vec<Span> = book.spans().into_iter().collect();
    assert_eq!(spans, [hours(1), hours(24)]);
}

#[test]
fn amounts_are_printed_in_the_units_of_the_book() {
    let book = worked();
    let native = Account { chain: ChainId(1), asset: Asset::Native };
    let usdc = Account { chain: ChainId(1), asset: Asset::Token(USDC.parse().unwrap()) };
    let print = |account, units: u128| format_amount(book.registry(), account, units.into());
    assert_eq!(print(native, 25_000_000_000_000_000_000), "25 ETH");
    assert_eq!(print(native, 1), "0.000000000000000001 ETH");
    assert_eq!(print(usdc, 500_000_500_000), "500000.5 USDC");
}

#[test]
fn an_address_with_two_names_is_shown_with_both() {
    let text =
        edited("[list]", "acme-too = \"0x1111111111111111111111111111111111111111\"\n[list]");
    let book = Book::parse(&text).unwrap();
    let address = "0x1111111111111111111111111111111111111111".parse().unwrap();
    assert_eq!(book.registry().label(address), Some("acme-cold, acme-too"));
}

#[test]
fn every_book_in_the_guide_is_sound() {
    let blocks = GUIDE.split("```toml\n").skip(1);
    let blocks: Vec<&str> = blocks.map(|rest| rest.split("```").next().unwrap()).collect();
    let whole: Vec<_> = blocks.iter().filter(|text| text.starts_with("version = 1")).collect();
    assert!(!whole.is_empty());
    for text in whole {
        Book::parse(text).unwrap_or_else(|faults| panic!("{}\n{text}", printed(&faults)));
    }
}

#[test]
fn a_list_of_a_hundred_thousand_addresses_is_shared_by_the_rules_that_name_it() {
    let addresses: Vec<String> = (1..=100_000).map(|n| format!("\"0x{n:040x}\"")).collect();
    let list = format!("many = [\n{}\n]", addresses.join(",\n"));
    let text = edited("[list]", &format!("[list]\n{list}"));
    let text = text.replace("to = \"@suppliers\"", "to = \"@many\"");
    let book = Book::parse(&text).unwrap();
    let rules = book.rules(&label("payouts-hot")).unwrap();
    let token = rules.tokens.values().next().unwrap();
    match (&rules.native.as_ref().unwrap().to, &token.to) {
        (Recipients::Only(native), Recipients::Only(token)) => {
            assert!(std::sync::Arc::ptr_eq(native, token) && native.len() == 100_000);
        }
        other => panic!("{other:?}"),
    }
}

// What is refused.

fn printed(faults: &Faults) -> String {
    faults.0.iter().map(|fault| format!("{fault}\n")).collect()
}

/// What is changed in the worked book: a title, a text in it, and what stands there instead.
const FAULTY: &[(&str, &str, &str)] = include!("books/faulty.in");

#[test]
fn every_faulty_book_is_refused_with_the_faults_in_the_table() {
    let mut table = String::new();
    for (title, from, to) in FAULTY {
        let faults = Book::parse(&edited(from, to)).expect_err(title);
        table.push_str(&format!("# {title}\n{}\n", printed(&faults)));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/faults.txt");
    if std::env::var("PORTCULLIS_REGENERATE").is_ok() {
        std::fs::write(path, &table).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    for (found, expected) in table.lines().zip(golden.lines()) {
        assert_eq!(found, expected, "PORTCULLIS_REGENERATE=1 writes the table anew");
    }
    assert_eq!(table.len(), golden.len());
}

#[test]
fn all_faults_of_a_book_are_told_at_once_in_order_of_line() {
    let mut text = WORKED.to_owned();
    for (from, to) in [
        ("id = 137", "id = 1"),
        ("decimals = 6\n\n[asset.USDC-base]", "decimals = 99\n\n[asset.USDC-base]"),
        ("owners = [\"frank\"]", "owner = [\"frank\"]"),
        ("per_tx = \"10 ETH\"", "per_tx = \"10 USDC\""),
        ("where = \"any\"", ""),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    let faults = Book::parse(&text).unwrap_err().0;
    let lines: Vec<usize> = faults.iter().map(|fault| fault.line).collect();
    assert_eq!(lines.len(), 6, "{faults:#?}");
    assert!(lines.is_sorted());
    assert!(faults.iter().all(|fault| fault.column > 0 && !fault.hint.is_empty()));
}

#[test]
fn a_book_over_64_mib_is_refused_unread() {
    let text = format!("version = 1\n#{}", "x".repeat(64 * 1024 * 1024));
    let faults = Book::parse(&text).unwrap_err().0;
    assert_eq!(faults.len(), 1);
}

// What is narrower and what is wider.

fn difference(old: &str, new: &str) -> Difference {
    let parse = |text: &str| {
        Book::parse(text).unwrap_or_else(|faults| panic!("{}\n{text}", printed(&faults)))
    };
    parse(old).difference(&parse(new))
}

/// Changes to the worked book that narrow it: from, to, and the line that says so.
const NARROWING: &[(&str, &str, &str)] = include!("books/narrowing.in");

#[test]
fn each_narrowing_edit_is_narrowing_and_its_inverse_is_not() {
    for (from, to, line) in NARROWING {
        let new = edited(from, to);
        let there = difference(WORKED, &new);
        assert!(there.is_narrowing(), "{from} -> {to}: {there:#?}");
        assert!(there.narrower.iter().any(|said| said == line), "{line}\n{there:#?}");
        let back = difference(&new, WORKED);
        assert!(!back.is_narrowing(), "{to} -> {from}: {back:#?}");
    }
}

/// Changes that are no narrowing in either direction.
const WIDENING: &[(&str, &str, &str)] = include!("books/widening.in");

#[test]
fn each_widening_edit_is_told_with_its_numbers() {
    for (from, to, line) in WIDENING {
        let there = difference(WORKED, &edited(from, to));
        assert!(there.wider.iter().any(|said| said == line), "{line}\n{there:#?}");
    }
}

/// Changes that permit exactly the same.
const NEUTRAL: &[(&str, &str)] = include!("books/neutral.in");

#[test]
fn another_spelling_of_the_same_rules_is_no_change() {
    for (from, to) in NEUTRAL {
        assert!(WORKED.contains(from), "{from}");
        let new = WORKED.replace(from, to);
        assert_eq!(difference(WORKED, &new), Difference::default(), "{from} -> {to}");
        assert_eq!(difference(&new, WORKED), Difference::default(), "{to} -> {from}");
    }
}

#[test]
fn a_smaller_fee_for_layer_1_is_wider_and_leaving_it_out_is_too() {
    let book = |fee: &str| edited("id = 8453", &format!("id = 8453{fee}"));
    let most = book("\nl1_fee = \"0.001 ETH\"");
    let less = difference(&most, &book("\nl1_fee = \"999_999 gwei\""));
    assert_eq!(less.wider, ["chain 8453: l1_fee 0.001 ETH -> 0.000999999 ETH"]);
    let none = difference(&most, &book(""));
    assert_eq!(none.wider, ["chain 8453: l1_fee 0.001 ETH -> 0 ETH"]);
}

#[test]
fn leaving_out_native_with_what_may_stand_unsettled_is_wider_while_fees_stay() {
    let to = "native = { to = [\"@acme-cold\", \"0x4444444444444444444444444444444444444444\"], \
              per_tx = \"unlimited\", window = \"unlimited\"";
    let bounded = edited(to, &format!("{to}, unsettled = \"1 ETH\""));
    let none = edited(&format!("{to} }}"), "");
    assert!(difference(WORKED, &none).is_narrowing());
    let wider = difference(&bounded, &none).wider;
    let line = "key sweeper: fees no longer count in native limits: rather keep native, to fewer";
    assert_eq!(wider, [line]);
}

#[test]
fn a_book_that_counts_what_only_a_watcher_tells_says_so() {
    let needs = |from: &str, to: &str| Book::parse(&edited(from, to)).unwrap().needs_watcher();
    assert!(!worked().needs_watcher());
    assert!(needs("per_tx = \"10 ETH\"", "per_tx = \"10 ETH\", unsettled = \"1 ETH\""));
    assert!(needs("per_tx = \"500_000 USDC\"", "per_tx = \"5 USDC\", unsettled = \"1 USDC\""));
    assert!(needs("parked = 25", "parked = 25, nonce_ahead = 3"));
    let most = "per_tx = \"250_000 USDC\"";
    assert!(needs(most, &format!("{most}, outstanding = \"1 USDC\"")));
}

// What a chain takes beside gas.

/// The worked book with an `l1_fee` for Base, and what 1 ETH sent there would do.
fn on_base(l1_fee: &str) -> (Book, Vec<Effect>) {
    let text = edited("id = 8453", &format!("id = 8453\nl1_fee = \"{l1_fee}\""));
    let book = Book::parse(&text).unwrap();
    let max_fee = U256::from(1_000_000_000);
    let tx = Tx { chain: 8453, value: eth(1_000).units(), max_fee, ..Tx::default() };
    let effects = of_transaction(Ask::of(&tx).request().transaction().unwrap(), book.registry());
    (book, effects)
}

#[test]
fn the_fee_for_layer_1_is_charged_with_every_transaction_as_fee_and_as_native_spend() {
    let gas = Amount::from(21_000 * 1_000_000_000);
    let charged = |l1_fee: &str| {
        let (_, effects) = on_base(l1_fee);
        let charges = charges(&effects, ChainId(8453)).unwrap();
        [Asset::Fee, Asset::Native].map(|asset| charges.of(Account { chain: ChainId(8453), asset }))
    };
    let plus = |one: Amount, other: Amount| one.checked_add(other).unwrap();
    assert_eq!(charged("0 ETH"), [gas, plus(gas, eth(1_000))]);
    let both = plus(gas, eth(1));
    assert_eq!(charged("0.001 ETH"), [both, plus(both, eth(1_000))]);
}

#[test]
fn the_fee_for_layer_1_of_one_chain_is_not_charged_on_another() {
    let (book, _) = on_base("0.001 ETH");
    let effects =
        of_transaction(Ask::of(&Tx::default()).request().transaction().unwrap(), book.registry());
    let fee = Account { chain: ChainId(1), asset: Asset::Fee };
    assert_eq!(charges(&effects, ChainId(1)).unwrap().of(fee), Amount::ZERO);
}

#[test]
fn people_are_told_how_much_of_a_fee_is_for_layer_1() {
    let told = |l1_fee: &str| {
        let (book, effects) = on_base(l1_fee);
        describe(&effects[0], ChainId(8453), book.registry())
    };
    assert_eq!(told("0 wei"), "pay a fee of at most 0.000021 ETH");
    assert_eq!(
        told("0.001 ETH"),
        "pay a fee of at most 0.001021 ETH, 0.001 ETH of it kept for layer 1"
    );
}

#[test]
fn a_fee_for_layer_1_that_overflows_with_the_gas_is_beyond_all_limits() {
    let (book, effects) = on_base(&format!("{} wei", Amount::MAX));
    assert!(charges(&effects, ChainId(8453)).is_none());
    let told = describe(&effects[0], ChainId(8453), book.registry());
    assert_eq!(told, "pay a fee beyond all amounts");
}

#[test]
fn only_a_used_chain_that_takes_a_fee_beside_gas_and_does_not_say_so_is_warned_of() {
    let warned = worked().warnings();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains("chain base (8453)") && warned[0].contains("l1_fee"), "{warned:?}");
    for fee in ["0.001 ETH", "0 ETH"] {
        assert_eq!(on_base(fee).0.warnings(), [""; 0], "{fee}");
    }
    let unused =
        edited("[chain.polygon]", "[chain.zora]\nid = 7777777\nnative = \"ETH\"\n[chain.polygon]");
    assert_eq!(Book::parse(&unused).unwrap().warnings(), warned);
}

// Laws over generated books.

const POOL: u64 = 50;
const TOKEN: u64 = 99;

/// A small book, each part from a few choices, so that two of them are often comparable.
#[derive(Clone, Debug)]
struct Small {
    chains: [bool; 2],
    registered: bool,
    token_call: bool,
    l1_fee: u8,
    decimals: u8,
    named: bool,
    owners: [bool; 3],
    second_key: bool,
    callers: [bool; 2],
    native: Option<(u8, u8, [Option<u8>; 2])>,
    fees: Option<(u8, Option<u8>)>,
    token: Option<(u8, u8)>,
    allowance: bool,
    call: bool,
    deny: [bool; 3],
    tier: Option<(u8, u8, u8)>,
    group: [bool; 3],
    rate: Option<u8>,
    parked: u8,
}

prop_compose! {
    fn registry_part()(
        chains: [bool; 2],
        (registered, token_call) in (prop::bool::weighted(0.7), any::<bool>()),
        l1_fee in 0_u8..3,
        decimals in 6_u8..8,
        named: bool,
        owners: [bool; 3],
        second_key: bool,
        callers: [bool; 2],
    ) -> Small {
        Small {
            chains, registered, token_call, l1_fee, decimals, named, owners, second_key, callers,
            native: None, fees: None, token: None, allowance: false, call: false,
            deny: [false; 3], tier: None, group: [true; 3], rate: None, parked: 0,
        }
    }
}

fn windows() -> impl Strategy<Value = [Option<u8>; 2]> {
    prop::array::uniform2(prop::option::of(1_u8..4))
}

prop_compose! {
    fn small()(
        small in registry_part(),
        native in prop::option::weighted(0.8, (0_u8..4, 1_u8..4, windows())),
        fees in prop::option::weighted(0.8, (1_u8..3, prop::option::of(1_u8..3))),
        token in prop::option::of((0_u8..4, 1_u8..4)),
        (allowance, call, deny) in any::<(bool, bool, [bool; 3])>(),
        tier in prop::option::of((0_u8..3, 1_u8..3, 1_u8..3)),
        group: [bool; 3],
        rate in prop::option::of(1_u8..4),
        parked in 0_u8..3,
    ) -> Small {
        Small { native, fees, token, allowance, call, deny, tier, group, rate, parked, ..small }
    }
}

/// The words whose flag is set, as TOML strings.
fn chosen(words: &[&str], flags: &[bool]) -> String {
    let words = words.iter().zip(flags).filter(|(_, flag)| **flag);
    words.map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(", ")
}

fn recipients(to: u8) -> &'static str {
    ["\"@few\"", "\"@more\"", "[\"@one\", \"@other\"]", "\"anyone\""][usize::from(to)]
}

impl Small {
    /// As text. Parts that would be faulty together are left out.
    fn text(&self) -> String {
        let mut text = String::from("version = 1\n[chain.main]\nid = 1\nnative = \"ETH\"\n");
        text += &format!("l1_fee = \"{} gwei\"\n", u64::from(self.l1_fee) * 50_000_000);
        if self.chains[1] {
            text += "[chain.side]\nid = 2\nnative = \"ETH\"\n";
        }
        if self.registered {
            text += &format!(
                "[asset.USD]\nkind = \"erc20\"\nchain = \"main\"\n\
                 address = \"0x{TOKEN:040x}\"\ndecimals = {}\n",
                self.decimals
            );
        }
        text += &format!("[contract.usd]\nchain = \"main\"\naddress = \"0x{TOKEN:040x}\"\n");
        text += &format!("[address]\none = \"0x{:040x}\"\nother = \"0x{:040x}\"\n", 1, 2);
        if self.named {
            text += &format!("third = \"0x{:040x}\"\n", 3);
        }
        text += &format!("[list]\nfew = [\"one\"]\nmore = [\"one\", \"0x{:040x}\"]\n", 3);
        text += &format!("[contract.pool]\nchain = \"main\"\naddress = \"0x{POOL:040x}\"\n");
        let group = chosen(&["alice", "bob", "carol"], &self.group);
        text += &format!("[group]\npeople = [\"dave\", \"erin\"{}{group}]\n", comma(&group));
        let owners = chosen(&["alice", "bob", "carol"], &self.owners);
        text += &format!("[caller.a]\nowners = [\"zed\"{}{owners}]\n", comma(&owners));
        text += "[caller.b]\nowners = [\"zed\"]\n";
        text += &self.key("hot");
        if self.second_key {
            text += "[key.cold]\ncallers = [\"b\"]\nchains = [\"main\"]\n";
            text += "rate = { per_caller = \"1/s\", per_key = \"1/s\", parked = 0 }\n";
        }
        text
    }

    fn key(&self, label: &str) -> String {
        let callers = chosen(&["a", "b"], &self.callers);
        let callers = if callers.is_empty() { "\"a\"".to_owned() } else { callers };
        let side = if self.chains[0] && self.chains[1] { ", \"side\"" } else { "" };
        let mut text = format!("[key.{label}]\ncallers = [{callers}]\nchains = [\"main\"{side}]\n");
        if let Some((to, per_tx, windows)) = self.native {
            let windows = windows.iter().zip(["1h", "24h"]);
            let windows: Vec<String> = windows
                .filter_map(|(limit, span)| Some(format!("\"{} ETH / {span}\"", (*limit)?)))
                .collect();
            let windows = match windows.join(", ").as_str() {
                "" => "\"unlimited\"".to_owned(),
                windows => format!("[{windows}]"),
            };
            let to = recipients(to);
            text += &format!(
                "native = {{ to = {to}, per_tx = \"{per_tx} ETH\", window = {windows} }}\n"
            );
        }
        if let Some((per_tx, priority)) = self.fees {
            let priority = priority.map_or("unlimited".to_owned(), |most| format!("{most} gwei"));
            text += &format!(
                "fees = {{ per_tx = \"{per_tx} ETH\", window = \"3 ETH / 24h\", \
                 max_priority_fee = {priority:?}, counts_as = \"native\" }}\n"
            );
        }
        let rate = self.rate.map_or("unlimited".to_owned(), |rate| format!("{rate}/s"));
        text += &format!(
            "rate = {{ per_caller = {rate:?}, per_key = \"9/m\", parked = {} }}\n",
            self.parked
        );
        let deny = ["contract-creation", "eip7702", "unlimited-allowance"];
        text += &format!("deny = [{}]\n", chosen(&deny, &self.deny));
        if let (Some((amount, count, expires)), true) = (self.tier, self.native.is_some()) {
            // Below every limit that can be generated.
            text += &format!(
                "approve = [{{ above = \"0.{amount} ETH\", need = \"{count} of people\", \
                 expires = \"{expires}h\" }}]\n"
            );
        }
        if let (Some((to, per_tx)), true) = (self.token, self.registered) {
            let to = recipients(to);
            let allowance = if self.allowance {
                ", allowance = { spender = \"@pool\", per_tx = \"1 USD\" }"
            } else {
                ""
            };
            text += &format!(
                "token.USD = {{ to = {to}, per_tx = \"{per_tx} USD\", \
                 window = \"9 USD / 24h\"{allowance} }}\n"
            );
        }
        if self.call {
            text += &format!(
                "[[key.{label}.call]]\ncontract = \"@pool\"\n\
                 function = \"f(uint)\"\nwhere = \"any\"\n"
            );
        }
        if self.token_call && !self.registered {
            // Its selector is that of transfer(address,uint256).
            text += &format!(
                "[[key.{label}.call]]\ncontract = \"@usd\"\n\
                 function = \"many_msg_babbage(bytes1)\"\nwhere = \"any\"\n"
            );
        }
        text
    }
}

fn comma(rest: &str) -> &'static str {
    if rest.is_empty() { "" } else { ", " }
}

/// Two of every three parts from the first, the rest from the second: near enough to the first to
/// be comparable.
fn mixed(first: &Small, second: &Small, pick: u32) -> Small {
    let from = |bit: u32| pick & (1 << bit) != 0;
    let mut mix = first.clone();
    if from(0) {
        mix.chains = second.chains
    }
    if from(1) {
        mix.decimals = second.decimals
    }
    if from(2) {
        mix.named = second.named
    }
    if from(3) {
        mix.owners = second.owners
    }
    if from(4) {
        mix.second_key = second.second_key
    }
    if from(5) {
        mix.callers = second.callers
    }
    if from(6) {
        mix.native = second.native
    }
    if from(7) {
        mix.fees = second.fees
    }
    if from(8) {
        mix.token = second.token
    }
    if from(9) {
        mix.allowance = second.allowance
    }
    if from(10) {
        mix.call = second.call
    }
    if from(11) {
        mix.deny = second.deny
    }
    if from(12) {
        mix.tier = second.tier
    }
    if from(13) {
        mix.group = second.group
    }
    if from(14) {
        mix.rate = second.rate
    }
    if from(15) {
        mix.parked = second.parked
    }
    if from(16) {
        mix.registered = second.registered
    }
    if from(17) {
        mix.token_call = second.token_call
    }
    if from(18) {
        mix.l1_fee = second.l1_fee
    }
    mix
}

fn nth(number: u64) -> Address {
    Address::left_padding_from(&number.to_be_bytes())
}

/// One request for each thing that a small book can permit, by each caller, on each chain.
fn probes() -> Vec<Request> {
    let milli = |count: u64| U256::from(count) * U256::from(10).pow(U256::from(15));
    let gwei = |count: u64| U256::from(count) * U256::from(1_000_000_000);
    let base = Tx { gas: 500_000, max_fee: gwei(10), priority: gwei(1), ..Tx::default() };
    let mut all = Vec::new();
    for to in [1, 2, 3, 9] {
        for value in [50, 150, 950, 1_900, 2_900, 3_900].map(milli) {
            all.push(Tx { to: Some(nth(to)), value, ..base.clone() });
        }
        for amount in [0, 1_000_000, 2_000_000, 30_000_000, 500_000_000_u64] {
            let to_token = Tx { to: Some(nth(TOKEN)), ..base.clone() };
            all.push(Tx { data: tx::transfer(nth(to), amount), ..to_token.clone() });
            all.push(Tx { data: tx::transfer_from(nth(1), nth(to), amount), ..to_token });
        }
    }
    for amount in [0, 1_000_000, 9_000_000_u64] {
        let data = tx::approve(nth(POOL), amount);
        all.push(Tx { to: Some(nth(TOKEN)), data, ..base.clone() });
    }
    let data = tx::call(&hex::encode(&keccak256("f(uint256)")[..4]), &[U256::ONE]);
    all.push(Tx { to: Some(nth(POOL)), data, ..base.clone() });
    for fee in [gwei(1), gwei(3_000), gwei(5_000)] {
        all.push(Tx { max_fee: fee, priority: fee.min(gwei(2)), ..base.clone() });
    }
    let on = |chain| all.iter().map(move |tx| Tx { chain, ..tx.clone() });
    let requests = on(1).chain(on(2)).flat_map(|tx| {
        let ask = Ask::of(&tx);
        ["a", "b"].map(|caller| Ask { caller: caller.into(), ..ask.clone() }.request())
    });
    requests.collect()
}

/// What becomes of a request in a vault that has signed nothing yet: 0 refused, 1 shown to people,
/// 2 signed.
fn outcome(book: &Book, request: &Request) -> u8 {
    let (stops, ledger, open) = (Stops::default(), Ledger::default(), Reservations::default());
    let (hot, tags, revoked) = (label("hot"), BTreeSet::new(), BTreeSet::new());
    let (address, chains) = (request.asker().expected, BTreeSet::from([request.chain()]));
    let key = KeyFacts { label: &hot, address, tags: &tags, chains: &chains };
    let facts = Facts {
        now: support::at(support::DAWN),
        key: Some(key),
        stops: &stops,
        ledger: &ledger,
        labels: &BTreeMap::new(),
        payees: &Payees::default(),
        settlements: &Settlements::default(),
        prices: &Prices::default(),
        open: &open,
        own: None,
        bound: None,
        parked: 0,
        full: false,
        approval: Approval::default(),
        revoked: &revoked,
        draining: None,
    };
    match decide(book, &facts, request.clone()) {
        Decision::Deny(_) => 0,
        Decision::Park(_) => 1,
        Decision::Allow(_) => 2,
    }
}

#[test]
fn the_probes_are_signed_shown_to_people_and_refused_by_some_book() {
    let wide = Small {
        chains: [true; 2],
        registered: true,
        token_call: false,
        l1_fee: 0,
        decimals: 6,
        named: true,
        owners: [false; 3],
        second_key: false,
        callers: [true; 2],
        native: Some((3, 3, [None; 2])),
        fees: Some((2, None)),
        token: Some((3, 3)),
        allowance: true,
        call: true,
        deny: [false; 3],
        tier: Some((1, 1, 1)),
        group: [true; 3],
        rate: None,
        parked: 1,
    };
    let counts = |small: &Small| {
        let book = Book::parse(&small.text()).unwrap();
        let mut counts = [0; 3];
        probes().iter().for_each(|probe| counts[usize::from(outcome(&book, probe))] += 1);
        counts
    };
    let asked = counts(&wide);
    let unasked = counts(&Small { tier: None, ..wide.clone() });
    let unregistered = counts(&Small { registered: false, token_call: true, tier: None, ..wide });
    assert!(asked.iter().all(|count| *count > 10), "{asked:?}");
    assert!(unasked[1] == 0 && unasked[2] > 100, "{unasked:?}");
    assert!(unregistered[2] > 50, "{unregistered:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_a_narrowing_lets_through_was_let_through_before(
        first in small(),
        second in small(),
        picks: [u32; 2],
    ) {
        let second = mixed(&first, &second, picks[0] & picks[1]);
        let [old, new] = [&first, &second].map(|small| Book::parse(&small.text()).unwrap());
        if old.difference(&new).is_narrowing() {
            for probe in probes() {
                let (before, after) = (outcome(&old, &probe), outcome(&new, &probe));
                let texts = (old.text(), new.text());
                prop_assert!(after <= before, "{:?}\n{}\n{}", probe, texts.0, texts.1);
            }
        }
    }

    #[test]
    fn a_book_narrows_itself_and_differs_from_itself_in_nothing(small in small()) {
        let text = small.text();
        prop_assert_eq!(difference(&text, &text), Difference::default());
    }

    #[test]
    fn a_narrowing_of_a_narrowing_is_a_narrowing(
        first in small(),
        others in (small(), small()),
        picks in prop::array::uniform2(any::<[u32; 3]>()),
    ) {
        // A few bits each: most random pairs would not be comparable.
        let few = |[a, b, c]: [u32; 3]| a & b & c;
        let second = mixed(&first, &others.0, few(picks[0]));
        let third = mixed(&second, &others.1, few(picks[1]));
        let texts = [first.text(), second.text(), third.text()];
        let books = texts.map(|text| Book::parse(&text).unwrap());
        let narrows = |a: usize, b: usize| books[a].difference(&books[b]);
        if narrows(0, 1).is_narrowing() && narrows(1, 2).is_narrowing() {
            let both = narrows(0, 2);
            let (old, new) = (books[0].text(), books[2].text());
            prop_assert!(both.is_narrowing(), "{both:#?}\n{old}\n{new}");
        }
    }

    #[test]
    fn what_is_wider_one_way_is_never_silent_the_other_way(
        first in small(),
        second in small(),
        pick: u32,
    ) {
        let second = mixed(&first, &second, pick);
        let (old, new) = (first.text(), second.text());
        let (there, back) = (difference(&old, &new), difference(&new, &old));
        // If neither direction is wider, the books permit the same, and no line may say otherwise.
        if there.is_narrowing() && back.is_narrowing() {
            prop_assert_eq!(there.narrower.len() + back.narrower.len(), 0, "{:#?}", (there, back));
        }
    }

    #[test]
    fn parsing_survives_any_change_to_a_book(
        at in 0..WORKED.len(),
        cut in 0_usize..40,
        put in "[\\PC\\n\"'\\[\\]{}=.,@#_/]{0,12}",
    ) {
        let mut bytes = WORKED.as_bytes().to_vec();
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, put.bytes());
        let text = String::from_utf8_lossy(&bytes);
        if let Err(faults) = Book::parse(&text) {
            prop_assert!(!faults.0.is_empty());
            let lines = text.lines().count() + 1;
            prop_assert!(faults.0.iter().all(|fault| fault.line <= lines));
        }
    }

    #[test]
    fn parsing_survives_any_text(text in "\\PC{0,200}") {
        drop(Book::parse(&text));
    }
}

/// A key may name the caller tomorrow, and then only its name is told.
#[test]
fn an_owner_less_is_wider_also_where_no_key_names_the_caller() {
    let book = |owners: &str| {
        format!("{WORKED}\n[caller.\"spiffe://acme/unused\"]\nowners = [{owners}]\n")
    };
    let (two, one) = (book("\"frank\", \"zed\""), book("\"frank\""));
    let there = difference(&two, &one).wider;
    assert_eq!(there, ["caller spiffe://acme/unused: owners removed: zed"]);
    assert!(difference(&one, &two).is_narrowing());
}
