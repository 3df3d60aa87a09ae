//! Traps of POLICY.md that no other test has by name: batches of a Safe, limits over keys and
//! recipients, what adoption may not forget, and bounds that imply each other.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

mod support;

use alloy_primitives::{Address, U256};
use portcullis_policy::abi;
use portcullis_policy::book::Book;
use portcullis_policy::bounds::{Bound, Moment, broken};
use portcullis_policy::id::PersonId;
use portcullis_policy::record::{Adopted, Record};
use portcullis_policy::time::{Millis, Span};
use portcullis_policy::value::Value;
use proptest::prelude::*;
use support::tx::{Tx, transfer};
use support::{Ask, Vault, address, key};

const HOUR: u64 = 3_600_000;
const USDC: Address = Address::repeat_byte(0xaa);
const SAFE: Address = Address::repeat_byte(0x5a);
const MULTISEND: Address = Address::repeat_byte(0x9a);
const POOL: Address = Address::repeat_byte(0x87);
const ONE: Address = Address::repeat_byte(0x11);
const TWO: Address = Address::repeat_byte(0x22);
const STRANGER: Address = Address::repeat_byte(0x99);

fn book(more: &str) -> String {
    let key = |label: &str| {
        format!(
            "[key.{label}]\ncallers = [\"spiffe://acme/payouts\"]\nchains = [\"main\"]\n\
             via = [\"@safe\", \"@multisend\"]\n\
             rate = {{ per_caller = \"unlimited\", per_key = \"unlimited\", parked = 0 }}\n\
             [key.{label}.native]\nto = \"@payees\"\nper_tx = \"50 ETH\"\nwindow = \"unlimited\"\n\
             lifetime = \"60 ETH\"\n\
             [key.{label}.fees]\nper_tx = \"1 ETH\"\nwindow = \"unlimited\"\n\
             max_priority_fee = \"5 gwei\"\ncounts_as = \"native\"\n\
             [key.{label}.token.USDC]\nto = \"@payees\"\nper_tx = \"500 USDC\"\n\
             window = \"500 USDC / 1h\"\n"
        )
    };
    format!(
        "version = 1\n[chain.main]\nid = 1\nnative = \"ETH\"\n\
         [asset.USDC]\nkind = \"erc20\"\nchain = \"main\"\naddress = \"{USDC:#x}\"\ndecimals = 6\n\
         [contract.safe]\nchain = \"main\"\naddress = \"{SAFE:#x}\"\nkind = \"safe\"\n\
         [contract.multisend]\nchain = \"main\"\naddress = \"{MULTISEND:#x}\"\n\
         kind = \"multisend\"\n\
         [contract.pool]\nchain = \"main\"\naddress = \"{POOL:#x}\"\n\
         [list]\npayees = [\"{ONE:#x}\", \"{TWO:#x}\"]\n\
         [caller.\"spiffe://acme/payouts\"]\nowners = [\"carol\"]\n{}{}{more}",
        key("hot"),
        key("cold")
    )
}

fn vault(more: &str) -> Vault {
    Vault::new(&book(more))
}

fn ask(number: u8, tx: &Tx) -> Ask {
    let asked = Ask::of(tx);
    Ask { key: key(number), name: format!("{}-{number}", asked.name), ..asked }
}

fn milli_eth(amount: u64) -> U256 {
    U256::from(amount) * U256::from(10).pow(U256::from(15))
}

/// A call of the Safe: to, value, data, operation.
fn exec(nonce: u64, to: Address, value: U256, data: Vec<u8>, operation: u8, gas_price: u64) -> Ask {
    let function = abi::function(
        "execTransaction(address to, uint256 value, bytes data, uint8 operation, \
         uint256 safeTxGas, uint256 baseGas, uint256 gasPrice, address gasToken, \
         address refundReceiver, bytes signatures)",
    )
    .unwrap();
    let number = |number: u64| Value::Uint(U256::from(number));
    let values = [
        Value::Address(to),
        Value::Uint(value),
        Value::Bytes(data),
        number(u64::from(operation)),
        number(0),
        number(0),
        number(gas_price),
        Value::Address(Address::ZERO),
        Value::Address(Address::ZERO),
        Value::Bytes(vec![1; 65]),
    ];
    let data = [&function.selector()[..], &abi::encode(function.parameters(), &values)].concat();
    ask(1, &Tx { nonce, to: Some(SAFE), data, ..Tx::default() })
}

/// A batch of MultiSend, packed as the contract reads it.
fn batch(parts: &[(u8, Address, U256, Vec<u8>)]) -> Vec<u8> {
    let mut packed = Vec::new();
    for (operation, to, value, data) in parts {
        packed.push(*operation);
        packed.extend(to.as_slice());
        packed.extend(value.to_be_bytes::<32>());
        packed.extend(U256::from(data.len()).to_be_bytes::<32>());
        packed.extend(data);
    }
    multi_send(packed)
}

fn multi_send(packed: Vec<u8>) -> Vec<u8> {
    let function = abi::function("multiSend(bytes transactions)").unwrap();
    let arguments = abi::encode(function.parameters(), &[Value::Bytes(packed)]);
    [&function.selector()[..], &arguments].concat()
}

#[test]
fn a_safes_batch_is_what_its_calls_are_and_all_of_them_are_charged() {
    let mut vault = vault("");
    let zero = U256::ZERO;
    let dollars = |amount: u64| U256::from(amount * 1_000_000);
    let pay = |to, amount| (0, USDC, zero, transfer(to, dollars(amount)));
    let sound = batch(&[pay(ONE, 300), pay(TWO, 100), (0, ONE, milli_eth(1), Vec::new())]);
    vault.sign(&exec(0, MULTISEND, zero, sound, 1, 0)).unwrap();
    // 400 of 500 USDC are spent.
    let more = batch(&[pay(ONE, 60), pay(TWO, 41)]);
    let refused = vault.sign(&exec(1, MULTISEND, zero, more, 1, 0)).unwrap_err();
    assert_eq!(refused, ["TOKEN_OVER_WINDOW_LIMIT"]);
    let hidden = batch(&[pay(ONE, 1), pay(STRANGER, 1)]);
    let refused = vault.sign(&exec(1, MULTISEND, zero, hidden, 1, 0)).unwrap_err();
    assert_eq!(refused, ["TOKEN_RECIPIENT_NOT_ALLOWED"]);
}

#[test]
fn code_runs_as_a_safe_only_where_it_is_pinned() {
    let mut vault = vault("");
    let zero = U256::ZERO;
    let mut refused = |ask: &Ask| vault.sign(ask).unwrap_err();
    let inside = batch(&[(1, POOL, zero, vec![1, 2, 3, 4])]);
    assert_eq!(refused(&exec(0, MULTISEND, zero, inside, 1, 0)), ["DELEGATECALL_NOT_ALLOWED"]);
    assert_eq!(refused(&exec(0, POOL, zero, vec![], 1, 0)), ["DELEGATECALL_NOT_ALLOWED"]);
    // Any operation but 0 is code that runs as the Safe.
    assert_eq!(refused(&exec(0, ONE, zero, vec![], 2, 0)), ["DELEGATECALL_NOT_ALLOWED"]);
    // A refund of gas is paid out of the Safe, to any amount.
    assert_eq!(refused(&exec(0, ONE, zero, vec![], 0, 1)), ["NOT_UNDERSTOOD"]);
    // MultiSend that is called, and not run, keeps what it is sent.
    let called = batch(&[(0, ONE, zero, vec![])]);
    assert_eq!(refused(&exec(0, MULTISEND, zero, called, 0, 0)), ["NOT_UNDERSTOOD"]);
    let cut = multi_send(vec![0; 84]);
    assert_eq!(refused(&exec(0, MULTISEND, zero, cut, 1, 0)), ["NOT_UNDERSTOOD"]);
}

#[test]
fn batches_in_batches_are_opened_to_a_bound_and_refused_beyond_it() {
    let mut vault = vault("");
    let nested = |depth: usize| {
        let mut data = Vec::new();
        let mut to = ONE;
        for _ in 0..depth {
            let function = abi::function(
                "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,\
                 address,bytes)",
            )
            .unwrap();
            let zero = || Value::Uint(U256::ZERO);
            let nobody = || Value::Address(Address::ZERO);
            let values = [
                Value::Address(to),
                zero(),
                Value::Bytes(data),
                zero(),
                zero(),
                zero(),
                zero(),
                nobody(),
                nobody(),
                Value::Bytes(Vec::new()),
            ];
            let arguments = abi::encode(function.parameters(), &values);
            data = [&function.selector()[..], &arguments].concat();
            to = SAFE;
        }
        ask(1, &Tx { to: Some(SAFE), data, ..Tx::default() })
    };
    assert!(vault.sign(&nested(4)).is_ok());
    assert_eq!(vault.sign(&nested(5)).unwrap_err(), ["NOT_UNDERSTOOD"]);
    let zero = U256::ZERO;
    let many = batch(&vec![(0, ONE, zero, Vec::new()); 300]);
    let refused = vault.sign(&exec(1, MULTISEND, zero, many, 1, 0)).unwrap_err();
    assert_eq!(refused[0], "NOT_UNDERSTOOD");
}

#[test]
fn a_book_of_other_names_forgets_nothing_that_was_spent() {
    let mut vault = vault("");
    let pay = |nonce, dollars: u64| {
        let data = transfer(ONE, U256::from(dollars * 1_000_000));
        ask(1, &Tx { nonce, to: Some(USDC), data, ..Tx::default() })
    };
    vault.sign(&pay(0, 400)).unwrap();
    // The list is called otherwise, the limit is lower by a dollar, and the process starts anew.
    let renamed = book("").replace("payees", "suppliers").replace("500 USDC / 1h", "499 USDC / 1h");
    assert!(vault.adopt(&renamed));
    vault.restart();
    assert_eq!(vault.sign(&pay(1, 100)).unwrap_err(), ["TOKEN_OVER_WINDOW_LIMIT"]);
    vault.sign(&pay(1, 99)).unwrap();
    // Another window, adopted later, finds the same history.
    let longer = renamed.replace("\"499 USDC / 1h\"", "[\"499 USDC / 1h\", \"499 USDC / 2h\"]");
    assert!(vault.adopt(&longer));
    vault.wait(HOUR);
    assert_eq!(vault.sign(&pay(2, 1)).unwrap_err(), ["TOKEN_OVER_WINDOW_LIMIT"]);
    assert!(vault.verify().discrepancies.is_empty());
}

#[test]
fn what_was_spent_in_a_lifetime_never_leaves_it() {
    let mut vault = vault("");
    let pay = |nonce, amount| {
        ask(1, &Tx { nonce, to: Some(ONE), value: milli_eth(amount), ..Tx::default() })
    };
    vault.sign(&pay(0, 40_000)).unwrap();
    for nonce in 1..6 {
        // Half a year, five times: every memory of single charges is long gone.
        vault.wait(183 * 24 * HOUR);
        vault.sign(&pay(nonce, 3_000)).unwrap();
    }
    vault.restart();
    assert_eq!(vault.sign(&pay(7, 5_001)).unwrap_err(), ["OVER_WINDOW_LIMIT"]);
    assert!(vault.sign(&pay(7, 4_999)).is_ok());
    assert!(vault.verify().discrepancies.is_empty());
}

#[test]
fn a_recipient_that_a_book_adds_waits_before_it_is_paid() {
    let cooled = |text: &str| text.replace("via =", "cooling = \"24h\"\nvia =");
    let short = cooled(&book("")).replace(&format!(", \"{TWO:#x}\""), "");
    let mut vault = Vault::new(&short);
    let pay = |nonce, to| {
        let value = U256::ONE;
        ask(1, &Tx { nonce, to: Some(to), value, ..Tx::default() })
    };
    vault.sign(&pay(0, ONE)).unwrap();
    // Widening takes a quorum; here it is written as one would have it.
    let (book, by) = (cooled(&book("")), "olga".parse().unwrap());
    vault.write(Record::Adopted(Adopted { book, by }));
    assert_eq!(vault.sign(&pay(1, TWO)).unwrap_err(), ["RECIPIENT_COOLING_OFF"]);
    vault.sign(&pay(1, ONE)).unwrap();
    vault.restart();
    vault.wait(24 * HOUR - 1);
    assert_eq!(vault.sign(&pay(2, TWO)).unwrap_err(), ["RECIPIENT_COOLING_OFF"]);
    vault.wait(1);
    vault.sign(&pay(2, TWO)).unwrap();
}

#[test]
fn a_recipient_of_one_thing_is_new_to_another_and_waits_before_it_is_paid_that() {
    let text = |native: &str, usdc: &str| {
        book("")
            .replace("via =", "cooling = \"24h\"\nvia =")
            .replace("native]\nto = \"@payees\"", &format!("native]\nto = {native}"))
            .replace("USDC]\nto = \"@payees\"", &format!("USDC]\nto = {usdc}"))
    };
    let (one, both) = (format!("\"{ONE:#x}\""), format!("[\"{ONE:#x}\", \"{TWO:#x}\"]"));
    let mut vault = Vault::new(&text(&one, &both));
    let by: PersonId = "olga".parse().unwrap();
    let pay = |nonce, to| ask(1, &Tx { nonce, to: Some(to), value: U256::ONE, ..Tx::default() });
    let send = |nonce, to| {
        let data = transfer(to, U256::ONE);
        ask(1, &Tx { nonce, to: Some(USDC), data, ..Tx::default() })
    };
    vault.sign(&send(0, TWO)).unwrap();
    vault.write(Record::Adopted(Adopted { book: text(&both, &both), by: by.clone() }));
    assert_eq!(vault.sign(&pay(1, TWO)).unwrap_err(), ["RECIPIENT_COOLING_OFF"]);
    vault.sign(&pay(1, ONE)).unwrap();
    vault.sign(&send(2, TWO)).unwrap();
    // Who spends and does not receive is new among those who do.
    let spender = "window = \"500 USDC / 1h\"\n";
    let spends =
        format!("{spender}allowance = {{ spender = \"{STRANGER:#x}\", per_tx = \"1 USDC\" }}\n");
    let spending = text(&both, &both).replace(spender, &spends);
    vault.write(Record::Adopted(Adopted { book: spending.clone(), by: by.clone() }));
    vault.wait(25 * HOUR);
    let three = format!("[\"{ONE:#x}\", \"{TWO:#x}\", \"{STRANGER:#x}\"]");
    let paid = text(&both, &three).replace(spender, &spends);
    vault.write(Record::Adopted(Adopted { book: paid, by: by.clone() }));
    assert_eq!(vault.sign(&send(3, STRANGER)).unwrap_err(), ["RECIPIENT_COOLING_OFF"]);
    vault.sign(&send(3, TWO)).unwrap();
    // Whoever paid anyone has nobody who is new.
    let mut vault = Vault::new(&text("\"anyone\"", &both));
    assert!(vault.adopt(&text(&both, &both)));
    vault.sign(&pay(0, TWO)).unwrap();
}

#[test]
fn a_permit_without_an_end_cannot_stand_in_a_book() {
    let typed = |deadline: &str| {
        format!(
            "[[key.cold.typed]]\ndomain = {{ chain = \"main\", contract = \"@USDC\" }}\n\
             type = \"Permit(address owner,address spender,uint256 value,uint256 nonce,\
             uint256 deadline)\"\nwhere = {{ owner = \"self\", spender = \"@payees\", \
             value = \"any\", nonce = \"any\", deadline = \"{deadline}\" }}\n"
        )
    };
    assert!(Book::parse(&book(&typed("<= now + 15m"))).is_ok());
    for deadline in ["any", "<= 99999999999", ">= 1"] {
        let faults = Book::parse(&book(&typed(deadline))).unwrap_err();
        assert!(faults.0[0].message.contains("deadline has no bound in time"), "{faults:?}");
    }
    // Nor one that is not understood, for a contract that holds value.
    let order = typed("any").replace("Permit(", "Order(");
    let faults = Book::parse(&book(&order)).unwrap_err();
    assert!(faults.0[0].message.contains("is not understood"), "{faults:?}");
}

/// Limits over both keys, each recipient, and counted.
const SHARED: &str = "[limit.together]\nkeys = [\"hot\", \"cold\"]\nasset = \"ETH\"\n\
    window = \"20 ETH / 2h\"\n[limit.each]\nkeys = [\"hot\", \"cold\"]\nasset = \"ETH\"\n\
    per = \"recipient\"\nwindow = \"8 ETH / 3h\"\n[limit.few]\nkeys = [\"hot\", \"cold\"]\n\
    asset = \"requests\"\nwindow = \"6 requests / 1h\"\n";

/// One payment that was signed: when, to whom, how much with its fee, and without.
#[derive(Clone, Copy, Debug)]
struct Paid {
    at: u64,
    to: Address,
    value: U256,
    cost: U256,
}

/// Whether a sum over every stretch of this length is at most so much.
fn holds(paid: &[Paid], hours: u64, most: U256, part: impl Fn(&Paid) -> Option<U256>) -> bool {
    paid.iter().all(|last| {
        let within = |one: &&Paid| one.at <= last.at && one.at + hours * HOUR > last.at;
        let sum = paid.iter().filter(within).filter_map(&part).fold(U256::ZERO, |a, b| a + b);
        sum <= most
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_stretch_holds_more_than_a_limit_over_keys_recipients_and_requests(
        steps in prop::collection::vec(
            (1_u8..3, any::<bool>(), 0_u64..9_000, 0_u64..120, any::<bool>()), 1..40,
        ),
    ) {
        let mut vault = vault(SHARED);
        let mut paid = Vec::new();
        let mut now = 0;
        for (nonce, (number, one, milli, minutes, restart)) in (0..).zip(steps) {
            now += minutes * 60_000;
            vault.wait(minutes * 60_000);
            if restart && minutes > 100 {
                vault.restart();
            }
            let to = if one { ONE } else { TWO };
            let value = milli_eth(milli);
            let tx = Tx { nonce, to: Some(to), value, ..Tx::default() };
            if vault.sign(&ask(number, &tx)).is_ok() {
                let cost = value + tx.max_fee * U256::from(tx.gas);
                paid.push(Paid { at: now, to, value, cost });
            }
        }
        prop_assert!(holds(&paid, 2, milli_eth(20_000), |one| Some(one.cost)));
        for to in [ONE, TWO] {
            let part = |one: &Paid| (one.to == to).then_some(one.value);
            prop_assert!(holds(&paid, 3, milli_eth(8_000), part));
        }
        prop_assert!(holds(&paid, 1, U256::from(6), |_| Some(U256::ONE)));
        prop_assert!(vault.verify().discrepancies.is_empty());
    }

    #[test]
    fn what_is_called_narrower_never_admits_what_the_wider_refuses(
        (narrow, wide) in (bound(), bound()),
        numbers in prop::collection::vec(0_u64..12, 0..4),
        many in any::<bool>(),
    ) {
        let signature = if many { "f(uint256[] a)" } else { "f(uint256 a)" };
        let function = abi::function(signature).unwrap();
        let all: Vec<Value> = numbers.iter().map(|one| Value::Uint(U256::from(*one))).collect();
        let value = match (many, all.first()) {
            (true, _) => Value::List(all),
            (false, Some(one)) => one.clone(),
            (false, None) => return Ok(()),
        };
        let moment = Moment { own: address(key(1)), now: Millis(5_000) };
        let admits = |bound: &Bound| {
            let bounds = std::slice::from_ref(bound);
            broken(bounds, function.parameters(), std::slice::from_ref(&value), moment).is_none()
        };
        let text = |bound: &Bound| call_rule(bound);
        let (old, new) = (Book::parse(&book(&text(&wide))), Book::parse(&book(&text(&narrow))));
        if old.unwrap().difference(&new.unwrap()).is_narrowing() {
            prop_assert!(!admits(&narrow) || admits(&wide), "{narrow:?} {wide:?} {value:?}");
        }
    }
}

fn bound() -> impl Strategy<Value = Bound> {
    let number = || (0_u64..12).prop_map(U256::from);
    prop_oneof![
        Just(Bound::Any),
        number().prop_map(Bound::AtMost),
        number().prop_map(Bound::AtLeast),
        (0_u64..6, 0_u64..6).prop_map(|(a, b)| Bound::Between(U256::from(a), U256::from(a + b))),
        (1_u64..6).prop_map(|seconds| Bound::Within(Span(seconds * 1_000))),
        prop::collection::vec(number().prop_map(Value::Uint), 1..4).prop_map(|mut values| {
            values.dedup();
            Bound::OneOf(values)
        }),
    ]
}

/// The same bound, as it is written in a book.
fn call_rule(bound: &Bound) -> String {
    let word = match bound {
        Bound::Any => "\"any\"".to_owned(),
        Bound::AtMost(most) => format!("\"<= {most}\""),
        Bound::AtLeast(least) => format!("\">= {least}\""),
        Bound::Between(least, most) => format!("\"{least} .. {most}\""),
        Bound::Within(span) => format!("\"<= now + {}s\"", span.0 / 1_000),
        Bound::OneOf(values) => {
            let words: Vec<String> = values.iter().map(|value| format!("\"{value}\"")).collect();
            format!("[{}]", words.join(", "))
        }
        Bound::Addresses { .. } | Bound::Members(_) | Bound::Each(..) => panic!("{bound:?}"),
    };
    format!(
        "[[key.cold.call]]\ncontract = \"@pool\"\nfunction = \"f(uint256 a)\"\n\
         where = {{ a = {word} }}\n"
    )
}

/// Everywhere tests of traps are.
const TESTS: [&str; 29] = [
    include_str!("approvals/attacks.rs"),
    include_str!("approvals/requests.rs"),
    include_str!("laws/main.rs"),
    include_str!("calls.rs"),
    include_str!("settlements.rs"),
    include_str!("prices.rs"),
    include_str!("../src/book/lint.rs"),
    include_str!("traps.rs"),
    include_str!("windows.rs"),
    include_str!("slots.rs"),
    include_str!("book.rs"),
    include_str!("decisions.rs"),
    include_str!("../src/abi/codec.rs"),
    include_str!("../src/bounds.rs"),
    include_str!("../src/book/names.rs"),
    include_str!("../src/quorum.rs"),
    include_str!("../src/message.rs"),
    include_str!("../src/money.rs"),
    include_str!("../src/prices.rs"),
    include_str!("../src/typed/tests.rs"),
    include_str!("../src/tx/tests.rs"),
    include_str!("../../signer/src/clock.rs"),
    include_str!("../../softhsm-tests/tests/crash.rs"),
    include_str!("../../softhsm-tests/tests/races/budget.rs"),
    include_str!("../../softhsm-tests/tests/trouble/control.rs"),
    include_str!("../../softhsm-tests/tests/trouble/limits.rs"),
    include_str!("../../softhsm-tests/tests/trouble/parking.rs"),
    include_str!("../../softhsm-tests/tests/trouble/repeats.rs"),
    include_str!("../../softhsm-tests/tests/trouble/signable.rs"),
];

/// The page for people says which test holds each trap; here it is held to it.
#[test]
fn every_trap_has_a_test_that_exists() {
    const PAGE: &str = include_str!("../../docs/policy.md");
    const CASES: &str = include_str!("semantics/cases.toml");
    let (_, rest) = PAGE.split_once("## Traps").unwrap();
    let rows: Vec<&str> = rest.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    let numbers = rows.iter().filter_map(|row| row.split('|').nth(1)?.trim().parse::<u32>().ok());
    assert!(numbers.eq(1..=36), "a row for each of the 36 traps, in order");
    for row in rows {
        let held = row.split('|').nth(3).unwrap();
        assert!(held.contains('`') || held.contains("later"), "{row}");
        for name in held.split('`').skip(1).step_by(2) {
            let found = match name.strip_prefix("case: ") {
                Some(case) => CASES.contains(&format!("name = \"{case}\"")),
                None => TESTS.iter().any(|text| text.contains(&format!("fn {name}("))),
            };
            assert!(found, "{name}");
        }
    }
}
