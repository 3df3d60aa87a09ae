//! Bounds on what the ledger remembers and on what one decision looks at: reached through requests,
//! as callers would.

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
use portcullis_policy::value::Value;
use support::tx::{Tx, transfer};
use support::{Ask, CALLER, Said, Vault, key};

const DAY: u64 = 86_400_000;
const USDC: Address = Address::repeat_byte(0xaa);
const MULTICALL: Address = Address::repeat_byte(0xb4);
const ONE_USDC: u64 = 1_000_000;

/// Two keys that pay anyone, batched, at most 10 USDC each in a day.
fn vault() -> Vault {
    let key = |label| {
        format!(
            "[key.{label}]\ncallers = [\"{CALLER}\"]\nchains = [\"main\"]\nvia = [\"@batch\"]\n\
             native = {{ to = \"anyone\", per_tx = \"unlimited\", window = \"100 ETH / 24h\" }}\n\
             fees = {{ per_tx = \"1 ETH\", window = \"100 ETH / 1h\", \
             max_priority_fee = \"unlimited\", counts_as = \"native\" }}\n\
             rate = {{ per_caller = \"unlimited\", per_key = \"unlimited\", parked = 0 }}\n\
             token.USDC = {{ to = \"anyone\", per_tx = \"unlimited\", \
             window = \"1_000_000 USDC / 24h\" }}\n"
        )
    };
    Vault::new(&format!(
        "version = 1\n[chain.main]\nid = 1\nnative = \"ETH\"\n\
         [asset.USDC]\nkind = \"erc20\"\nchain = \"main\"\naddress = \"{USDC}\"\ndecimals = 6\n\
         [contract.batch]\nchain = \"main\"\naddress = \"{MULTICALL}\"\nkind = \"multicall3\"\n\
         [caller.\"{CALLER}\"]\nowners = [\"alan\"]\n{}{}\
         [limit.each]\nkeys = [\"hot\", \"cold\"]\nasset = \"USDC\"\nper = \"recipient\"\n\
         window = \"10 USDC / 24h\"\n\
         [limit.both]\nkeys = [\"hot\", \"cold\"]\nasset = \"ETH\"\nwindow = \"120 ETH / 24h\"\n",
        key("hot"),
        key("cold")
    ))
}

/// The nth recipient. Every 256th has the same last byte.
fn recipient(number: u64) -> Address {
    let mut address = [0x77; 20];
    address.as_mut_slice().get_mut(12..).unwrap().copy_from_slice(&number.to_be_bytes());
    address.into()
}

/// Pays each of these recipients so many units, in one transaction.
fn batch(nonce: u64, recipients: std::ops::Range<u64>, units: u64) -> Ask {
    let pay = |number| {
        let call = transfer(recipient(number), units);
        Value::List(vec![Value::Address(USDC), Value::Bytes(call)])
    };
    let function = abi::function("aggregate((address target, bytes callData)[] calls)").unwrap();
    let calls = Value::List(recipients.map(pay).collect());
    let arguments = abi::encode(function.parameters(), &[calls]);
    let data = [&function.selector()[..], &arguments].concat();
    Ask::of(&Tx { nonce, to: Some(MULTICALL), gas: 1_000_000, data, ..Tx::default() })
}

#[test]
fn one_request_pays_at_most_32_recipients_that_a_limit_counts_apart() {
    let mut vault = vault();
    vault.sign(&batch(0, 0..32, ONE_USDC)).unwrap();
    assert_eq!(vault.sign(&batch(1, 0..33, ONE_USDC)).unwrap_err(), ["TOO_MANY_RECIPIENTS"]);
    assert_eq!(vault.sign(&batch(1, 0..200, ONE_USDC)).unwrap_err(), ["TOO_MANY_RECIPIENTS"]);
    // One that is paid often is one recipient.
    let (same, other) = (batch(1, 5..6, 9 * ONE_USDC), batch(2, 5..6, 1));
    vault.sign(&same).unwrap();
    assert_eq!(vault.sign(&other).unwrap_err(), ["OVER_SHARED_LIMIT"]);
    assert_eq!(vault.verify().discrepancies, []);
}

#[test]
fn recipients_that_no_limit_counts_apart_may_be_as_many_as_a_batch_holds() {
    let book = vault().state.book().text().replace("per = \"recipient\"\n", "");
    let mut vault = Vault::new(&book.replace("10 USDC / 24h", "1_000 USDC / 24h"));
    vault.sign(&batch(0, 0..255, ONE_USDC)).unwrap();
}

#[test]
fn recipients_beyond_those_told_apart_are_counted_together_and_never_less_than_they_were_paid() {
    let mut vault = vault();
    let full = 32_768;
    for nonce in 0..full / 32 {
        vault.sign(&batch(nonce, nonce * 32..nonce * 32 + 32, ONE_USDC)).unwrap();
    }
    let sign = |vault: &mut Vault, nonce: u64, number: u64, units: u64| {
        vault.sign(&batch(100_000 + nonce, number..number + 1, units * ONE_USDC))
    };
    // All that are told apart have 9 USDC left, and those that are not share 10.
    sign(&mut vault, 0, full, 6).unwrap();
    sign(&mut vault, 1, full + 256, 4).unwrap();
    for number in [full, full + 256, full + 512] {
        assert_eq!(sign(&mut vault, 2, number, 1).unwrap_err(), ["OVER_SHARED_LIMIT"]);
    }
    sign(&mut vault, 2, full + 1, 10).unwrap();
    sign(&mut vault, 3, 2, 9).unwrap();
    assert_eq!(sign(&mut vault, 4, 2, 1).unwrap_err(), ["OVER_SHARED_LIMIT"]);
    assert_eq!(vault.verify().discrepancies, []);
    vault.restart();
    assert_eq!(sign(&mut vault, 4, full, 1).unwrap_err(), ["OVER_SHARED_LIMIT"]);
    // A day later nothing of it is left in a window.
    vault.wait(DAY);
    sign(&mut vault, 4, full, 10).unwrap();
    assert_eq!(sign(&mut vault, 5, full + 256, 1).unwrap_err(), ["OVER_SHARED_LIMIT"]);
    // Another day, and whoever was not paid meanwhile is forgotten.
    vault.wait(DAY + DAY / 2);
    sign(&mut vault, 5, full + 256, 10).unwrap();
    sign(&mut vault, 6, full + 512, 10).unwrap();
    assert_eq!(vault.verify().discrepancies, []);
}

#[test]
fn what_is_in_flight_of_one_recipient_counts_in_batches_of_both_keys() {
    let mut vault = vault();
    let Said::Reserved(first) = vault.ask(&batch(0, 0..20, 6 * ONE_USDC)) else { panic!() };
    let cold = |ask: Ask| Ask { key: key(2), ..ask };
    assert_eq!(
        vault.sign(&cold(batch(0, 19..21, 5 * ONE_USDC))),
        Err(vec!["OVER_SHARED_LIMIT".into()])
    );
    let Said::Reserved(second) = vault.ask(&cold(batch(0, 19..21, 4 * ONE_USDC))) else { panic!() };
    vault.record(second).unwrap();
    vault.fail(first);
    vault.sign(&cold(batch(1, 0..20, 6 * ONE_USDC))).unwrap();
    assert_eq!(vault.verify().discrepancies, []);
}

#[test]
fn what_an_idle_key_spent_leaves_a_limit_that_it_shares_when_its_time_is_over() {
    let mut vault = vault();
    let ether = |nonce, units: u64| {
        let value = U256::from(units) * U256::from(10).pow(U256::from(18));
        Ask::of(&Tx { nonce, value, ..Tx::default() })
    };
    let cold = |ask: Ask| Ask { key: key(2), ..ask };
    for nonce in 0..90 {
        vault.sign(&cold(ether(nonce, 1))).unwrap();
        vault.wait(DAY / 180);
    }
    assert_eq!(vault.sign(&ether(0, 31)), Err(vec!["OVER_SHARED_LIMIT".into()]));
    vault.sign(&ether(0, 30)).unwrap();
    vault.wait(DAY / 2 - 1);
    assert_eq!(vault.sign(&ether(1, 1)), Err(vec!["OVER_SHARED_LIMIT".into()]));
    vault.wait(1);
    vault.sign(&ether(1, 1)).unwrap();
    vault.wait(DAY);
    vault.sign(&ether(2, 100)).unwrap();
    assert_eq!(vault.verify().discrepancies, []);
}
