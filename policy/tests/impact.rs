//! What is told of a key's use, from the journal's records alone.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

mod support;

use alloy_primitives::{Address, U256};
use portcullis_policy::id::{ChainId, Sequence};
use portcullis_policy::impact::{DAYS, Grant, Survey, Way};
use portcullis_policy::money::{Account, Amount, Asset, Total};
use portcullis_policy::record::{Record, Settled, SettledAllowance};
use portcullis_policy::time::Millis;
use portcullis_policy::value::Value;
use support::parts::{FEES, HEAD, contract, encoded, key_head, token, uint};
use support::tx::{Tx, approve, call, word};
use support::{Ask, Said, Vault, key};

const ONE: Address = Address::repeat_byte(0x11);
const USDC: Address = Address::repeat_byte(0xaa);
const POOL: Address = Address::repeat_byte(0xb1);
const SAFE: Address = Address::repeat_byte(0xb2);
const MULTICALL3: Address = Address::repeat_byte(0xb4);
const PERMIT2: Address = Address::repeat_byte(0xb5);
const DAY: u64 = 86_400_000;

fn vault() -> Vault {
    let registry = [
        token("USDC", USDC, "erc20"),
        contract("safe", SAFE, "safe"),
        contract("multicall3", MULTICALL3, "multicall3"),
        contract("permit2", PERMIT2, "permit2"),
    ];
    Vault::new(&format!(
        "{HEAD}{}{}native = {{ to = \"{ONE:#x}\", per_tx = \"1 ETH\", window = \"2 ETH / 24h\" }}\n\
         {FEES}via = [\"@safe\", \"@multicall3\", \"@permit2\"]\n\
         token.USDC = {{ to = \"{ONE:#x}\", per_tx = \"unlimited\", window = \"unlimited\", \
         allowance = {{ spender = \"{POOL:#x}\", per_tx = \"unlimited\" }} }}\n",
        registry.concat(),
        key_head(),
    ))
}

fn pay(nonce: u64) -> Ask {
    Ask::of(&Tx { nonce, to: Some(ONE), value: U256::from(1_000), ..Tx::default() })
}

fn send(nonce: u64, to: Address, data: Vec<u8>) -> Ask {
    Ask::of(&Tx { nonce, to: Some(to), data, ..Tx::default() })
}

fn allow(nonce: u64, amount: u64) -> Ask {
    send(nonce, USDC, approve(POOL, amount))
}

/// `approve` of Permit2.
fn approve_2(amount: u64) -> Vec<u8> {
    encoded(
        "approve(address token, address spender, uint160 amount, uint48 expiration)",
        &[Value::Address(USDC), Value::Address(POOL), uint(amount), uint(u64::from(u32::MAX))],
    )
}

/// A watcher tells that the nonces below this one are mined, and what the pool may then take.
fn settle(vault: &mut Vault, nonce: u64, amount: Option<u64>) {
    let allowance = |amount: u64| SettledAllowance {
        amount: Amount::from(u128::from(amount)),
        spender: POOL,
        token: USDC,
    };
    vault.write(Record::Settled(Settled {
        allowances: amount.map(allowance).into_iter().collect(),
        by: "wanda".parse().unwrap(),
        chain: ChainId(1),
        key: key(1),
        nonce: nonce.to_string(),
        read_at: None,
    }));
}

/// What the pool may take, where that stands, and the record that signed to take it back.
fn standing(vault: &Vault) -> Vec<(Way, Amount, Option<Sequence>)> {
    let all = survey(vault).allowances();
    all.iter().map(|(grant, one)| (grant.way, one.amount, one.taken_back)).collect()
}

fn survey(vault: &Vault) -> Survey {
    let mut survey = Survey::new(key(1));
    for entry in &vault.entries {
        survey.take(entry, vault.state.book().registry(), |signed| {
            signed.asked.input.resolve(|_| None)
        });
    }
    survey
}

#[test]
fn what_was_signed_is_counted_by_caller_recipient_and_contract_and_forgotten_after_a_month() {
    let mut vault = vault();
    for nonce in 0..3 {
        vault.sign(&pay(nonce)).unwrap();
    }
    vault.sign(&pay(0)).unwrap();
    vault.sign(&allow(3, 70)).unwrap();
    assert!(matches!(
        vault.ask(&Ask::of(&Tx { to: Some(POOL), ..Tx::default() })),
        Said::Denied(_)
    ));
    let told = survey(&vault);
    let usage = told.usage(vault.now.sure);
    assert_eq!((usage.signed, usage.refused, usage.busiest_hour), (5, 1, 5));
    assert_eq!(usage.callers.values().sum::<u64>(), 5);
    let account = |asset| Account { chain: ChainId(1), asset };
    // What is signed again is a signature more, and no more money.
    let paid = usage.recipients[&(account(Asset::Native), ONE)];
    assert_eq!(paid, (4, Total::ZERO.plus(Amount::from(4_000))));
    let charged = usage.charged[&account(Asset::Token(USDC))];
    assert_eq!(charged, Total::ZERO.plus(Amount::from(70)));
    assert_eq!(usage.contracts[&(ChainId(1), USDC)], 1);
    let (account, way) = (account(Asset::Token(USDC)), Way::Token);
    let place = Grant { account, spender: POOL, way, safe: None };
    assert_eq!(told.allowances()[&place].amount, Amount::from(70));
    assert_eq!(told.unread(), 0);

    // A month later there is the allowance, and what was signed last.
    vault.wait((DAYS + 1) * DAY);
    vault.sign(&pay(4)).unwrap();
    let told = survey(&vault);
    let usage = told.usage(vault.now.sure);
    assert_eq!((usage.signed, usage.contracts.len()), (1, 0));
    assert!(told.allowances().contains_key(&place));
    assert_eq!(told.last_signed().unwrap().0, vault.entries.last().unwrap().seq);
    // What was signed to be taken back may never be mined.
    let back = vault.sign(&allow(5, 0)).unwrap();
    assert_eq!(standing(&vault), [(Way::Token, Amount::from(70), Some(back))]);
    // And of another key nothing is told.
    let mut other = Survey::new(key(2));
    for entry in &vault.entries {
        other.take(entry, vault.state.book().registry(), |_| None);
    }
    assert_eq!((other.usage(vault.now.sure).signed, other.last_signed()), (0, None));
}

#[test]
fn a_key_that_was_last_used_a_year_ago_is_not_told_to_be_in_use() {
    let mut vault = vault();
    vault.sign(&pay(0)).unwrap();
    let told = survey(&vault);
    let signed = |days: u64| told.usage(Millis(vault.now.sure.0 + days * DAY)).signed;
    assert_eq!([signed(0), signed(DAYS - 1), signed(DAYS), signed(365)], [1, 1, 0, 0]);
    assert!(told.last_signed().is_some());
}

#[test]
fn what_is_lowered_or_taken_back_as_signed_stands_until_a_watcher_tells_more() {
    let mut vault = vault();
    let of_pool = |selector: &str, amount: u64| call(selector, &[word(POOL), U256::from(amount)]);
    vault.sign(&send(0, USDC, approve(POOL, U256::MAX))).unwrap();
    let lowered = vault.sign(&send(1, USDC, of_pool("a457c2d7", 1))).unwrap();
    assert_eq!(standing(&vault), [(Way::Token, Amount::MAX, Some(lowered))]);
    // Five more than unlimited is not five.
    vault.sign(&send(2, USDC, of_pool("39509351", 5))).unwrap();
    assert_eq!(standing(&vault), [(Way::Token, Amount::MAX, None)]);
    let back = vault.sign(&allow(3, 0)).unwrap();
    let unlimited = [(Way::Token, Amount::MAX, Some(back))];
    assert_eq!(standing(&vault), unlimited);
    // A report that does not know of all that was granted, or does not name it, ends nothing.
    settle(&mut vault, 2, None);
    assert_eq!(standing(&vault), unlimited);
    settle(&mut vault, 2, Some(50));
    assert_eq!(standing(&vault), [unlimited[0], (Way::Told, Amount::from(50), None)]);
    settle(&mut vault, 3, Some(40));
    assert_eq!(standing(&vault), [(Way::Told, Amount::from(40), None)]);
    let back = vault.sign(&allow(4, 0)).unwrap();
    settle(&mut vault, 4, None);
    assert_eq!(standing(&vault), [(Way::Told, Amount::from(40), Some(back))]);
    settle(&mut vault, 5, Some(0));
    assert!(standing(&vault).is_empty());
}

#[test]
fn what_is_added_to_an_allowance_is_told_with_what_was_there_and_once() {
    let mut vault = vault();
    let more = send(1, USDC, call("39509351", &[word(POOL), U256::from(5)]));
    vault.sign(&allow(0, 10)).unwrap();
    vault.sign(&more).unwrap();
    vault.sign(&Ask { name: "again".into(), ..more }).unwrap();
    assert_eq!(standing(&vault), [(Way::Token, Amount::from(15), None)]);
    // A smaller one takes its place only once it is mined.
    vault.sign(&allow(2, 3)).unwrap();
    assert_eq!(standing(&vault), [(Way::Token, Amount::from(15), None)]);
    settle(&mut vault, 2, Some(15));
    let both = [(Way::Token, Amount::from(3), None), (Way::Told, Amount::from(15), None)];
    assert_eq!(standing(&vault), both);
}

#[test]
fn what_permit2_is_told_changes_nothing_in_the_token_and_is_settled_with_it() {
    let mut vault = vault();
    vault.sign(&allow(0, 70)).unwrap();
    vault.sign(&send(1, PERMIT2, approve_2(5))).unwrap();
    let token = (Way::Token, Amount::from(70), None);
    assert_eq!(standing(&vault), [token, (Way::Permit2, Amount::from(5), None)]);
    let pair = Value::List(vec![Value::Address(USDC), Value::Address(POOL)]);
    let back = encoded(
        "lockdown((address token, address spender)[] approvals)",
        &[Value::List(vec![pair])],
    );
    let back = vault.sign(&send(2, PERMIT2, back)).unwrap();
    assert_eq!(standing(&vault), [token, (Way::Permit2, Amount::from(5), Some(back))]);

    // In a batch, what follows Permit2's may be Permit2's or the token's.
    let batch = |nonce, parts: [(Address, Vec<u8>); 2]| {
        let part = |(to, data)| Value::List(vec![Value::Address(to), Value::Bytes(data)]);
        let calls = Value::List(parts.map(part).to_vec());
        let function = "aggregate((address target, bytes callData)[] calls)";
        send(nonce, MULTICALL3, encoded(function, &[calls]))
    };
    let back = batch(3, [(PERMIT2, approve_2(0)), (USDC, approve(POOL, 0u64))]);
    let back = vault.sign(&back).unwrap();
    assert_eq!(standing(&vault), [token, (Way::Permit2, Amount::from(5), Some(back))]);
    vault.sign(&batch(4, [(PERMIT2, approve_2(6)), (USDC, approve(POOL, 80u64))])).unwrap();
    let both = [(Way::Token, Amount::from(80), None), (Way::Permit2, Amount::from(6), None)];
    assert_eq!(standing(&vault), both);
    settle(&mut vault, 5, Some(30));
    assert_eq!(standing(&vault), [(Way::Told, Amount::from(30), None)]);
}

#[test]
fn what_a_safe_grants_is_told_apart_and_no_report_ends_it() {
    let mut vault = vault();
    let exec = |nonce, data| {
        let nobody = || Value::Address(Address::ZERO);
        let values = [
            Value::Address(USDC),
            uint(0),
            Value::Bytes(data),
            uint(0),
            uint(0),
            uint(0),
            uint(0),
            nobody(),
            nobody(),
            Value::Bytes(vec![1; 65]),
        ];
        let function = "execTransaction(address to, uint256 value, bytes data, uint8 operation, \
                        uint256 safeTxGas, uint256 baseGas, uint256 gasPrice, address gasToken, \
                        address refundReceiver, bytes signatures)";
        send(nonce, SAFE, encoded(function, &values))
    };
    vault.sign(&exec(0, approve(POOL, 100u64))).unwrap();
    vault.sign(&allow(1, 70)).unwrap();
    // The Safe takes back what is the Safe's.
    let back = vault.sign(&exec(2, approve(POOL, 0u64))).unwrap();
    let safe = (Way::Token, Amount::from(100), Some(back));
    assert_eq!(standing(&vault), [(Way::Token, Amount::from(70), None), safe]);
    settle(&mut vault, 3, Some(0));
    assert_eq!(standing(&vault), [safe]);
    assert!(survey(&vault).allowances().keys().all(|grant| grant.safe == Some(SAFE)));
}
