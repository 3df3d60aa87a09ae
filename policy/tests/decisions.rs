//! Decisions, as a table that treasury can read (`golden/decisions.txt`), and as laws.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use alloy_primitives::{Address, U256, keccak256};
use portcullis_policy::book::{Book, format_amount};
use portcullis_policy::credential::{Channel, Strength};
use portcullis_policy::decide::{Approval, Decision, Facts, decide};
use portcullis_policy::finding::{Findings, Rule};
use portcullis_policy::money::Charges;
use portcullis_policy::quorum::Vote;
use portcullis_policy::stops::Scope;
use portcullis_policy::time::Span;
use proptest::prelude::*;
use support::tx::{Tx, approve, call, transfer, transfer_from, word};
use support::{Ask, CALLER, Said, Vault, key};

const BOOK: &str = include_str!("books/decisions.toml");

const SUPPLIER: Address = Address::repeat_byte(0x11);
const PARTNER: Address = Address::repeat_byte(0x22);
const STRANGER: Address = Address::repeat_byte(0x99);
const WALLET: Address = Address::repeat_byte(0x77);
const POOL: Address = Address::repeat_byte(0x50);
const USDC: Address = Address::repeat_byte(0xaa);
const INIT_CODE: [u8; 2] = [0x60, 0x01];
/// `supply(address,uint256,address,uint16)`.
const SUPPLY: &str = "617ba037";

fn vault() -> Vault {
    let book = BOOK.replace("INIT_CODE", &keccak256(INIT_CODE).to_string());
    let mut vault = Vault::new(&book);
    vault.make_key(key(3), "feeless");
    vault.make_key(key(4), "ruleless");
    vault
}

/// Thousandths of ETH.
fn milli(count: u64) -> U256 {
    U256::from(count) * U256::from(10).pow(U256::from(15))
}

fn gwei(count: u64) -> U256 {
    U256::from(count) * U256::from(1_000_000_000)
}

fn dollars(count: u64) -> U256 {
    U256::from(count) * U256::from(1_000_000)
}

fn pay(value: U256) -> Tx {
    Tx { value, max_fee: gwei(1), ..Tx::default() }
}

fn send(to: Address, data: Vec<u8>) -> Tx {
    Tx { to: Some(to), data, gas: 100_000, max_fee: gwei(1), ..Tx::default() }
}

fn with(number: u8, tx: &Tx) -> Ask {
    Ask { key: key(number), ..Ask::of(tx) }
}

/// One line of the table: what happened before, what is asked, and who voted for it.
struct Case {
    title: &'static str,
    before: fn(&mut Vault),
    ask: Ask,
    votes: &'static [&'static str],
    /// Decided before what happened before, and looked at again after it.
    last_look: bool,
}

fn case(title: &'static str, tx: &Tx) -> Case {
    Case { title, before: |_| {}, ask: Ask::of(tx), votes: &[], last_look: false }
}

impl Case {
    fn after(self, before: fn(&mut Vault)) -> Self {
        Self { before, ..self }
    }

    fn with(self, number: u8) -> Self {
        Self { ask: Ask { key: key(number), ..self.ask }, ..self }
    }

    fn voted(self, votes: &'static [&'static str]) -> Self {
        Self { votes, ..self }
    }

    fn last_look(self) -> Self {
        Self { last_look: true, ..self }
    }
}

fn native_cases() -> Vec<Case> {
    let wei = U256::ONE;
    vec![
        case("pay a supplier", &pay(milli(1_000))),
        case("pay a supplier in a legacy transaction", &Tx { kind: 0, ..pay(milli(1_000)) }),
        case("pay a supplier with an access list", &Tx { kind: 1, ..pay(milli(1_000)) }),
        case("pay a stranger", &Tx { to: Some(STRANGER), ..pay(milli(1_000)) }),
        case("pay nothing to a stranger", &Tx { to: Some(STRANGER), ..pay(U256::ZERO) }),
        case("pay the zero address, though anyone may be paid", &{
            Tx { to: Some(Address::ZERO), ..pay(milli(1)) }
        })
        .with(2),
        case("fees take a payment over its limit by one wei", &{
            Tx { max_fee: U256::ONE, gas: 21_001, ..pay(milli(10_000) - U256::from(21_000)) }
        })
        .voted(&["alice", "bob", "dave"]),
        case("pay all there is", &pay(U256::MAX)),
        case("pay all there is, without fees", &Tx { max_fee: U256::ZERO, ..pay(U256::MAX) }),
        case("over the hour", &pay(milli(4_000))).after(|vault| {
            (0..5).for_each(|n| {
                drop(vault.sign(&Ask::of(&Tx { nonce: 9 + n, ..pay(milli(4_000)) })))
            });
        }),
        case("over the hour with what is in flight", &pay(milli(4_000))).after(|vault| {
            (0..5)
                .for_each(|n| drop(vault.ask(&Ask::of(&Tx { nonce: 9 + n, ..pay(milli(4_000)) }))));
        }),
        case("a chain that the key may not use", &Tx { chain: 3, ..pay(wei) }),
        case("a chain that nobody knows", &Tx { chain: 4_444, ..pay(wei) }),
        case("a chain that the key was not made for", &Tx { chain: 11, ..pay(wei) }),
        case("a key without a native rule", &pay(wei)).with(3),
    ]
}

fn fee_cases() -> Vec<Case> {
    let blob = Tx { kind: 3, blobs: 2, blob_fee: gwei(100), ..pay(milli(1_000)) };
    vec![
        case("fees above a transaction's limit", &Tx { max_fee: gwei(5_000), ..pay(milli(1)) }),
        case("blobs count as fees", &blob),
        case("too many blobs for the limit", &Tx { blobs: 6, blob_fee: gwei(200), ..blob }),
        case("too much for the builder", &{
            Tx { priority: gwei(6), max_fee: gwei(6), ..pay(milli(1)) }
        }),
        case("a legacy gas price goes to the builder, all of it", &{
            Tx { kind: 0, max_fee: gwei(6), ..pay(milli(1)) }
        }),
        case("more fees in a day than may be", &Tx { max_fee: gwei(4_000), ..pay(milli(1)) })
            .after(|vault| {
                for nonce in 10..16 {
                    let tx = Tx { nonce, max_fee: gwei(4_000), ..pay(milli(1)) };
                    drop(vault.sign(&Ask::of(&tx)));
                }
            }),
        case("the largest gas limit at the largest fee", &{
            Tx { gas: u64::MAX, max_fee: U256::from(u128::MAX), ..pay(milli(1)) }
        }),
    ]
}

fn token_cases() -> Vec<Case> {
    let usdc = |data| send(USDC, data);
    let mut dirty = transfer(SUPPLIER, dollars(1));
    dirty[4] = 1;
    vec![
        case("send USDC", &usdc(transfer(SUPPLIER, dollars(100)))),
        case("send USDC to a stranger", &usdc(transfer(STRANGER, dollars(100)))),
        case("send USDC to the zero address", &usdc(transfer(Address::ZERO, dollars(1)))).with(2),
        case("send too much USDC", &usdc(transfer(SUPPLIER, dollars(1_001))))
            .voted(&["alice", "bob", "dave"]),
        case("send all USDC there could be", &usdc(transfer(SUPPLIER, U256::MAX))),
        case("send more USDC in a day than may be", &usdc(transfer(SUPPLIER, dollars(700)))).after(
            |vault| {
                for nonce in 10..12 {
                    let data = transfer(SUPPLIER, dollars(700));
                    drop(vault.sign(&Ask::of(&Tx { nonce, ..send(USDC, data) })));
                }
            },
        ),
        case("move the partner's USDC", &usdc(transfer_from(PARTNER, SUPPLIER, dollars(1)))),
        case("move a stranger's USDC", &usdc(transfer_from(STRANGER, SUPPLIER, dollars(1)))),
        case("move the key's own USDC", &{
            usdc(transfer_from(support::address(key(1)), SUPPLIER, dollars(1)))
        }),
        case(
            "send USDC with ether",
            &Tx { value: milli(1), ..usdc(transfer(SUPPLIER, dollars(1))) },
        ),
        case("a token that is not registered", &send(STRANGER, transfer(SUPPLIER, dollars(1)))),
        case("USDC's address on another chain", &{
            Tx { chain: 2, ..usdc(transfer(SUPPLIER, dollars(1))) }
        }),
        case("a token without rules for the key", &usdc(transfer(SUPPLIER, dollars(1)))).with(3),
        case("a transfer with bytes after it", &{
            usdc([transfer(SUPPLIER, dollars(1)), vec![0]].concat())
        }),
        case("a transfer to a dirty address", &usdc(dirty)),
        case("let the pool take USDC", &usdc(approve(POOL, dollars(500)))),
        case("let the pool take too much USDC", &usdc(approve(POOL, dollars(501)))),
        case("let a stranger take USDC", &usdc(approve(STRANGER, dollars(1)))),
        case("let a stranger take nothing", &usdc(approve(STRANGER, U256::ZERO))),
        case("take an allowance back under a limit that was lowered", &{
            usdc(approve(POOL, U256::ZERO))
        })
        .after(|vault| {
            for nonce in 9..11 {
                let tx = Tx { nonce, ..send(USDC, approve(POOL, dollars(500))) };
                vault.sign(&Ask::of(&tx)).unwrap();
            }
            let book = vault.state.book().text().replace("2_000 USDC / 24h", "900 USDC / 24h");
            assert!(vault.adopt(&book));
        }),
        case("an unlimited allowance where no amount is limited", &{
            usdc(approve(POOL, U256::from(1) << 96))
        })
        .with(2),
        case("the largest allowance that is not unlimited", &{
            usdc(approve(POOL, (U256::from(1) << 96) - U256::from(2)))
        })
        .with(2),
    ]
}

fn call_cases() -> Vec<Case> {
    let supply = call(SUPPLY, &[word(USDC), dollars(1), word(WALLET), U256::ZERO]);
    let deploy = Tx { to: None, data: INIT_CODE.to_vec(), max_fee: gwei(1), ..Tx::default() };
    let delegate = Tx { kind: 4, delegations: vec![(1, WALLET)], ..pay(U256::ZERO) };
    let value = |tx: &Tx| Tx { value: milli(1), ..tx.clone() };
    vec![
        case("call a pinned function", &send(POOL, supply.clone())),
        case("call a pinned function with ether", &value(&send(POOL, supply.clone()))),
        case("call another function", &send(POOL, call("12345678", &[]))),
        case("call a pinned function of another contract", &send(STRANGER, supply.clone())),
        case("call a pinned function on another chain", &Tx { chain: 2, ..send(POOL, supply) }),
        case("call data too short for a function", &send(POOL, vec![1, 2, 3])),
        case("call data to a supplier", &Tx { data: vec![0; 8], ..pay(milli(1)) }),
        case("deploy known code", &deploy),
        case("deploy known code with ether", &value(&deploy)),
        case("deploy other code", &Tx { data: vec![0x60, 0x02], ..deploy.clone() }),
        case("deploy known code where that is denied", &deploy).with(2),
        case("carry a delegation to a known wallet", &delegate),
        case("carry a delegation to a stranger", &{
            Tx { delegations: vec![(1, WALLET), (1, STRANGER)], ..delegate.clone() }
        }),
        case("carry a delegation for every chain", &{
            Tx { delegations: vec![(0, WALLET)], ..delegate.clone() }
        }),
        case("carry a delegation where that is denied", &delegate).with(2),
    ]
}

fn people_cases() -> Vec<Case> {
    vec![
        case("above the first tier", &pay(milli(5_000))),
        case("exactly at the first tier", &Tx { max_fee: U256::ZERO, ..pay(milli(5_000)) }),
        case("above the first tier, with votes", &pay(milli(6_000))).voted(&["alice", "bob"]),
        case("above both tiers", &pay(milli(9_000))),
        case("above both tiers, with votes for one", &pay(milli(9_000))).voted(&["alice", "bob"]),
        case("above both tiers, with all votes", &pay(milli(9_000)))
            .voted(&["alice", "bob", "dave"]),
        case("one person in both groups does not fill both places", &pay(milli(9_000)))
            .voted(&["alice", "erin"]),
        case("an owner's vote does not count", &pay(milli(6_000))).voted(&["alice", "carol"]),
        case("a stranger's vote does not count", &pay(milli(6_000))).voted(&["alice", "mallory"]),
        case("USDC above the second tier", &send(USDC, transfer(SUPPLIER, dollars(900)))),
        case("votes do not lift a limit", &pay(milli(11_000))).voted(&["alice", "bob", "dave"]),
        case("the same request parked again", &pay(milli(6_000))).after(|vault| {
            assert_eq!(vault.ask(&Ask::of(&pay(milli(6_000)))), Said::Parked);
        }),
        case("a second request parked where one may wait", &pay(milli(6_000))).after(|vault| {
            assert_eq!(vault.ask(&Ask::of(&pay(milli(7_000)))), Said::Parked);
        }),
        case("a second request parked once the first has expired", &pay(milli(6_000))).after(
            |vault| {
                assert_eq!(vault.ask(&Ask::of(&pay(milli(7_000)))), Said::Parked);
                vault.wait(7_200_000);
            },
        ),
    ]
}

fn standing_cases() -> Vec<Case> {
    let small = pay(milli(1));
    let ask = |change: fn(&mut Ask)| {
        let mut ask = Ask::of(&pay(milli(1)));
        change(&mut ask);
        ask
    };
    let frozen = |title, freeze| case(title, &pay(milli(1))).after(freeze);
    vec![
        frozen("everything is frozen", |vault| vault.freeze("sam", Scope::All)),
        frozen("the key is frozen", |vault| vault.freeze("sam", Scope::Key(key(1)))),
        frozen("the caller is frozen", |vault| {
            vault.freeze("sam", Scope::Caller(CALLER.parse().unwrap()));
        }),
        frozen("the key's tag is frozen", |vault| {
            vault.freeze("sam", Scope::Tag("tag-hot".parse().unwrap()));
        }),
        frozen("others are frozen", |vault| {
            vault.freeze("sam", Scope::Key(key(2)));
            vault.freeze("sam", Scope::Tag("tag-cold".parse().unwrap()));
            vault.freeze("sam", Scope::Caller("spiffe://acme/settlement".parse().unwrap()));
        }),
        frozen("a freeze is not lifted by votes", |vault| vault.freeze("sam", Scope::All))
            .voted(&["alice", "bob", "dave"]),
        case("a key that does not exist", &small).with(9),
        case("a key that the book does not know", &small).with(4),
        Case {
            ask: ask(|ask| ask.caller = "spiffe://acme/settlement".into()),
            ..case("a caller that the key's rules do not name", &small)
        },
        Case {
            ask: ask(|ask| ask.caller = "spiffe://acme/nobody".into()),
            ..case("a caller that the book does not know", &small)
        },
        Case {
            ask: ask(|ask| ask.expected = Some(STRANGER)),
            ..case("another address than the key has", &small)
        },
        Case {
            ask: ask(|ask| ask.name = "r1".into()),
            ..case("a request id for a second digest", &small)
        }
        .after(|vault| {
            let first = Ask { name: "r1".into(), ..Ask::of(&pay(milli(2))) };
            vault.sign(&first).unwrap();
        }),
        Case {
            ask: ask(|ask| ask.name = "r1".into()),
            ..case("a request id that is in flight for another key", &small)
        }
        .after(|vault| {
            let first = Ask { name: "r1".into(), ..with(2, &pay(milli(2))) };
            assert!(matches!(vault.ask(&first), Said::Reserved(_)));
        }),
        case("a tier came between decision and record", &pay(milli(4_000)))
            .after(|vault| {
                let book =
                    vault.state.book().text().replace("above = [\"5 ETH\"]", "above = [\"1 ETH\"]");
                assert!(vault.adopt(&book));
            })
            .last_look(),
        case("a freeze came between decision and record", &pay(milli(4_000)))
            .after(|vault| vault.freeze("sam", Scope::Key(key(1))))
            .last_look(),
    ]
}

fn cases() -> Vec<Case> {
    let mut cases = native_cases();
    cases.extend(fee_cases());
    cases.extend(token_cases());
    cases.extend(call_cases());
    cases.extend(people_cases());
    cases.extend(standing_cases());
    cases
}

/// Decides with votes, whoever cast them.
fn decided(vault: &mut Vault, ask: &Ask, votes: &[&str]) -> Decision {
    let at = vault.now.sure;
    let vote = |person: &&str| Vote {
        person: person.parse().unwrap(),
        strength: Strength::Presence,
        channel: Channel::Terminal,
        at,
    };
    let votes: Vec<Vote> = votes.iter().map(vote).collect();
    let request = ask.request();
    vault.state.advance(ask.key, vault.now);
    let book = vault.state.book().clone();
    let facts = Facts {
        approval: Approval { votes, ..Approval::default() },
        ..vault.state.facts(&request, vault.now, None)
    };
    decide(&book, &facts, request)
}

fn charged(book: &Book, charges: &Charges) -> String {
    let charges = charges.iter().map(|(account, amount)| {
        let asset = match account.asset {
            portcullis_policy::money::Asset::Requests | portcullis_policy::money::Asset::Usd => "",
            portcullis_policy::money::Asset::Fee => " as fee",
            portcullis_policy::money::Asset::Native | portcullis_policy::money::Asset::Token(_) => {
                ""
            }
        };
        format!("  charge {}{asset}\n", format_amount(book.registry(), account, amount))
    });
    charges.collect()
}

fn refusals(book: &Book, findings: &Findings, codes: &mut BTreeSet<String>) -> String {
    let reasons = findings.reasons();
    let words = findings.refusals(book.registry());
    let mut lines = String::new();
    for (reason, words) in reasons.iter().zip(words) {
        codes.insert(reason.code.clone());
        writeln!(lines, "  {} {words}", reason.code).unwrap();
    }
    lines
}

fn line(case: &Case, codes: &mut BTreeSet<String>) -> String {
    let mut vault = vault();
    if case.last_look {
        let Said::Reserved(number) = vault.ask(&case.ask) else { panic!("{}", case.title) };
        (case.before)(&mut vault);
        let reasons = vault.record(number).unwrap_err();
        let reasons = reasons.iter().map(|reason| {
            codes.insert(reason.code.clone());
            format!("  {} {}: {}\n", reason.code, reason.rule, reason.saw)
        });
        return format!("withhold\n{}", reasons.collect::<String>());
    }
    (case.before)(&mut vault);
    let decision = decided(&mut vault, &case.ask, case.votes);
    let book = vault.state.book();
    match decision {
        Decision::Allow(allowed) => format!("allow\n{}", charged(book, allowed.charge())),
        Decision::Deny(denial) => format!("deny\n{}", refusals(book, &denial.findings, codes)),
        Decision::Park(parked) => {
            let missing: Vec<String> = parked.missing.iter().map(ToString::to_string).collect();
            format!("park within {}\n  needs {}\n", parked.expires, missing.join(", "))
        }
    }
}

#[test]
fn every_decision_is_the_one_in_the_table() {
    let mut codes = BTreeSet::new();
    let mut table = String::new();
    let mut titles = BTreeSet::new();
    for case in cases() {
        assert!(titles.insert(case.title), "{} twice", case.title);
        writeln!(table, "# {}\n{}", case.title, line(&case, &mut codes)).unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/decisions.txt");
    if std::env::var("PORTCULLIS_REGENERATE").is_ok() {
        std::fs::write(path, &table).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    for (found, expected) in table.lines().zip(golden.lines()) {
        assert_eq!(found, expected, "PORTCULLIS_REGENERATE=1 writes the table anew");
    }
    assert_eq!(table.len(), golden.len());
    let all: BTreeSet<String> = RULES.iter().map(|rule| known(*rule).code().to_owned()).collect();
    assert_eq!(all.len(), RULES.len(), "two rules share a code");
    assert_eq!(codes, all, "a rule that no line of the table shows");
}

const RULES: [Rule; 30] = [
    Rule::NotFrozen,
    Rule::KeyUsable,
    Rule::ExpectedAddress,
    Rule::RequestId,
    Rule::KeyChain,
    Rule::KeyHasRules,
    Rule::CallerAllowed,
    Rule::ChainAllowed,
    Rule::NoOverflow,
    Rule::Understood,
    Rule::NotDenied,
    Rule::NativeTo,
    Rule::NativePerTx,
    Rule::NativeWindow(Span(0)),
    Rule::FeesAllowed,
    Rule::FeesPerTx,
    Rule::FeesWindow(Span(0)),
    Rule::MaxPriorityFee,
    Rule::TokenAllowed,
    Rule::TokenTo,
    Rule::TokenFrom,
    Rule::TokenPerTx,
    Rule::TokenWindow(Span(0)),
    Rule::AllowanceSpender,
    Rule::AllowancePerTx,
    Rule::CallAllowed,
    Rule::DeployAllowed,
    Rule::DelegateAllowed,
    Rule::ParkedPerCaller,
    Rule::Approved,
];

/// A new rule does not compile until it is here, and is not tested until it is in [`RULES`] or in
/// a case of tests/semantics.
fn known(rule: Rule) -> Rule {
    match rule {
        Rule::NotFrozen | Rule::KeyUsable | Rule::ExpectedAddress | Rule::RequestId => rule,
        Rule::KeyChain | Rule::KeyHasRules | Rule::CallerAllowed | Rule::ChainAllowed => rule,
        Rule::NoOverflow => rule,
        Rule::Understood | Rule::NotDenied | Rule::NativeTo | Rule::NativePerTx => rule,
        Rule::NativeWindow(_) | Rule::FeesAllowed | Rule::FeesPerTx | Rule::FeesWindow(_) => rule,
        Rule::MaxPriorityFee | Rule::TokenAllowed | Rule::TokenTo | Rule::TokenFrom => rule,
        Rule::TokenPerTx | Rule::TokenWindow(_) | Rule::AllowanceSpender => rule,
        Rule::AllowancePerTx | Rule::CallAllowed | Rule::DeployAllowed => rule,
        Rule::DelegateAllowed | Rule::ParkedPerCaller | Rule::Approved => rule,
        // Shown by the cases of tests/semantics.
        Rule::OperatorAllowed | Rule::ConvertAllowed | Rule::Arguments | Rule::ViaAllowed => rule,
        Rule::DelegateCallAllowed | Rule::TypedAllowed | Rule::SignInAs => rule,
        Rule::SignInAllowed | Rule::SignInExpires | Rule::AuthorizeAllowed => rule,
        Rule::Shared(_) | Rule::Cooling | Rule::Unsettled | Rule::Outstanding => rule,
        Rule::NonceAhead | Rule::Priced => rule,
        // Shown by tests/approvals.
        Rule::NotRevoked | Rule::NotRejected | Rule::Readable => rule,
        Rule::NotDraining | Rule::InDrainPlan | Rule::DrainFees => rule,
        // By tests/bounds.rs.
        Rule::Recipients => rule,
    }
}

// Laws.

/// More is never easier: allowed, parked, denied.
fn rank(decision: &Decision) -> u8 {
    match decision {
        Decision::Allow(_) => 2,
        Decision::Park(_) => 1,
        Decision::Deny(_) => 0,
    }
}

/// What is asked for, with five amounts in it.
#[derive(Clone, Debug)]
struct Shape {
    what: u8,
    to: u8,
    nonce: u64,
    key: u8,
    chain: u64,
    /// Value, token units, fee per gas, priority fee (a part of it), fee per blob gas.
    amounts: [u64; 5],
}

impl Shape {
    fn ask(&self) -> Ask {
        let to = [SUPPLIER, STRANGER, POOL, Address::ZERO][usize::from(self.to)];
        let [value, units, fee, priority, blob_fee] = self.amounts;
        let max_fee = gwei(fee);
        let mut tx = Tx {
            kind: if self.what == 5 { 3 } else { 2 },
            chain: self.chain,
            nonce: self.nonce,
            to: Some(to),
            value: milli(value * 500),
            max_fee,
            priority: gwei(priority).min(max_fee),
            blob_fee: gwei(blob_fee),
            ..Tx::default()
        };
        let amount = if units > 20 { U256::MAX } else { dollars(units * 100) };
        let data = match self.what {
            1 => transfer(to, amount),
            2 => transfer_from(PARTNER, to, amount),
            3 => approve(to, amount),
            4 => call(SUPPLY, &[amount]),
            _ => Vec::new(),
        };
        if (1..4).contains(&self.what) {
            tx.to = Some(USDC);
        }
        tx.data = data;
        with(self.key, &tx)
    }
}

prop_compose! {
    fn shape()(
        what in 0_u8..6,
        to in prop_oneof![4 => Just(0_u8), 1 => 1_u8..4],
        nonce in 0_u64..3,
        key in 1_u8..4,
        chain in prop_oneof![4 => Just(1_u64), 1 => 2_u64..5],
        amounts in (0_u64..22, 0_u64..22, 0_u64..3_000, 0_u64..7, 0_u64..150),
    ) -> Shape {
        let amounts = [amounts.0, amounts.1, amounts.2, amounts.3, amounts.4];
        Shape { what, to, nonce, key, chain, amounts }
    }
}

/// A vault in which some of these were asked for; those with a number are recorded.
fn lived(history: &[(Shape, bool, u64)]) -> Vault {
    let mut vault = vault();
    for (shape, recorded, wait) in history {
        vault.wait(*wait);
        if let (Said::Reserved(number), true) = (vault.ask(&shape.ask()), *recorded) {
            vault.record(number).unwrap();
        }
    }
    vault
}

fn history() -> impl Strategy<Value = Vec<(Shape, bool, u64)>> {
    let waits = prop_oneof![3 => Just(0_u64), 1 => Just(1_800_000_u64), 1 => Just(86_400_000_u64)];
    prop::collection::vec((shape(), any::<bool>(), waits), 0..12)
}

/// Lower limits, one at a time.
const NARROWER: [(&str, &str); 9] = [
    ("20 ETH / 1h", "9 ETH / 1h"),
    ("50 ETH / 24h", "8.5 ETH / 24h"),
    ("per_tx = \"10 ETH\"", "per_tx = \"9 ETH\""),
    ("0.5 ETH / 24h", "0.1 ETH / 24h"),
    ("per_tx = \"0.1 ETH\"", "per_tx = \"0.05 ETH\""),
    ("5 gwei", "3 gwei"),
    ("2_000 USDC / 24h", "900 USDC / 24h"),
    ("per_tx = \"500 USDC\"", "per_tx = \"100 USDC\""),
    ("above = [\"5 ETH\"]", "above = [\"3 ETH\"]"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_larger_amount_is_never_easier_to_get(
        history in history(),
        shape in shape(),
        which in 0_usize..5,
        more in 1_u64..1_000,
    ) {
        let mut vault = lived(&history);
        let mut larger = shape.clone();
        larger.amounts[which] += more;
        // Names of their own, so that neither stands in the other's way.
        let small = Ask { name: "small".into(), ..shape.ask() };
        let large = Ask { name: "large".into(), ..larger.ask() };
        let (small, large) = (vault.decide(&small), vault.decide(&large));
        prop_assert!(rank(&large) <= rank(&small), "{small:?}\n{large:?}");
    }

    #[test]
    fn an_open_reservation_more_is_never_easier(
        history in history(),
        shape in shape(),
        more in shape(),
    ) {
        let mut vault = lived(&history);
        let before = vault.decide(&shape.ask());
        if let Said::Reserved(_) = vault.ask(&more.ask()) {
            let after = vault.decide(&shape.ask());
            prop_assert!(rank(&after) <= rank(&before), "{before:?}\n{after:?}");
        }
    }

    #[test]
    fn a_narrower_book_is_never_easier(
        history in history(),
        shape in shape(),
        edits in prop::collection::vec(prop::sample::select(NARROWER.to_vec()), 1..4),
    ) {
        let mut vault = lived(&history);
        let before = vault.decide(&shape.ask());
        let old = vault.state.book().clone();
        let mut text = old.text().to_owned();
        edits.iter().for_each(|(from, to)| text = text.replace(from, to));
        let new = Book::parse(&text).unwrap();
        prop_assert!(old.difference(&new).is_narrowing());
        let request = shape.ask().request();
        let after = decide(&new, &vault.state.facts(&request, vault.now, None), request);
        prop_assert!(rank(&after) <= rank(&before), "{before:?}\n{after:?}");
    }

    #[test]
    fn the_same_question_has_the_same_answer(history in history(), shape in shape()) {
        let (mut vault, mut again) = (lived(&history), lived(&history));
        let first = format!("{:?}", vault.decide(&shape.ask()));
        prop_assert_eq!(&first, &format!("{:?}", vault.decide(&shape.ask())));
        prop_assert_eq!(&first, &format!("{:?}", again.decide(&shape.ask())));
    }
}

#[test]
fn the_edits_that_the_laws_use_are_all_in_the_book() {
    for (from, _) in NARROWER {
        assert_eq!(BOOK.matches(from).count(), 1, "{from}");
    }
}
