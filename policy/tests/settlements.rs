//! What is signed and not settled: transactions until their nonce is mined, typed data until its
//! deadline has surely passed, and what a Safe does for ever.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

mod support;

use alloy_primitives::{Address, U256};
use portcullis_policy::id::ChainId;
use portcullis_policy::money::Amount;
use portcullis_policy::record::{
    Actor, Frozen, Record, Settled, SettledAllowance, Trigger, UsedElsewhere,
};
use portcullis_policy::settlement::NotSettled;
use portcullis_policy::state::Unfoldable;
use portcullis_policy::stops::Scope;
use portcullis_policy::time::{Interval, Millis};
use portcullis_policy::value::Value;
use support::parts::{FEES, HEAD, contract, encoded, eth, key_head, token, typed, uint};
use support::tx::{Tx, approve};
use support::{Ask, Vault, address, key};

const ONE: Address = Address::repeat_byte(0x11);
const USDC: Address = Address::repeat_byte(0xaa);
const SAFE: Address = Address::repeat_byte(0xb2);
const POOL: Address = Address::repeat_byte(0xb1);
const DAY: u64 = 86_400_000;

const SAFE_TX: &str = "SafeTx(address to,uint256 value,bytes data,uint8 operation,\
    uint256 safeTxGas,uint256 baseGas,uint256 gasPrice,address gasToken,address refundReceiver,\
    uint256 nonce)";
const PERMIT: &str =
    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)";
const AUTHORIZATION: &str = "TransferWithAuthorization(address from,address to,uint256 value,\
    uint256 validAfter,uint256 validBefore,bytes32 nonce)";

/// A key with these bounds on its coin and its token, that signs for a Safe, and permits.
fn vault(native: &str, usdc: &str, rate: &str) -> Vault {
    let registry = [token("USDC", USDC, "erc20"), contract("safe", SAFE, "safe")].concat();
    let head = key_head().replace("parked = 9", &format!("parked = 9{rate}"));
    let (usdc_domain, none) = ("domain = { chain = \"main\", contract = \"@USDC\" }", "\"any\"");
    Vault::new(&format!(
        "{HEAD}{registry}{head}native = {{ to = \"{ONE:#x}\", per_tx = \"1 ETH\", \
         window = \"2 ETH / 24h\"{native} }}\n{FEES}via = \"@safe\"\n\
         token.USDC = {{ to = \"{ONE:#x}\", per_tx = \"unlimited\", window = \"unlimited\"{usdc}, \
         allowance = {{ spender = \"{POOL:#x}\", per_tx = \"100 USDC\", \
         outstanding = \"100 USDC\" }} }}\n\
         [[key.hot.typed]]\ndomain = {{ chain = \"main\", contract = \"@safe\" }}\n\
         type = \"{SAFE_TX}\"\nwhere = {none}\n\
         [[key.hot.typed]]\n{usdc_domain}\ntype = \"{PERMIT}\"\nwhere = {{ owner = \"self\", \
         spender = {none}, value = {none}, nonce = {none}, deadline = \"<= now + 15m\" }}\n\
         [[key.hot.typed]]\n{usdc_domain}\ntype = \"{AUTHORIZATION}\"\nwhere = {{ \
         from = \"self\", to = {none}, value = {none}, validAfter = {none}, \
         validBefore = \"<= now + 366d\", nonce = {none} }}\n"
    ))
}

fn safe_tx(nonce: u64, to: Address, value: U256, data: &[u8]) -> Ask {
    let (nobody, data) = (Address::ZERO, hex::encode(data));
    let message = format!(
        "\"to\":\"{to:#x}\",\"value\":\"{value}\",\"data\":\"0x{data}\",\"operation\":0,\
         \"safeTxGas\":0,\"baseGas\":0,\"gasPrice\":0,\"gasToken\":\"{nobody:#x}\",\
         \"refundReceiver\":\"{nobody:#x}\",\"nonce\":{nonce}"
    );
    let domain = format!("\"chainId\":1,\"verifyingContract\":\"{SAFE:#x}\"");
    Ask::input(&format!("s{nonce}"), typed(SAFE_TX, &domain, &message))
}

/// Typed data for the token, good for so many seconds.
fn of_usdc(vault: &Vault, kind: &str, number: u64, seconds: u64) -> Ask {
    let domain = format!("\"chainId\":1,\"verifyingContract\":\"{USDC:#x}\"");
    let (own, end) = (address(key(1)), vault.now.sure.0 / 1_000 + seconds);
    let message = if kind == PERMIT {
        format!(
            "\"owner\":\"{own:#x}\",\"spender\":\"{POOL:#x}\",\"value\":100000000,\
             \"nonce\":{number},\"deadline\":{end}"
        )
    } else {
        format!(
            "\"from\":\"{own:#x}\",\"to\":\"{ONE:#x}\",\"value\":2000000,\"validAfter\":0,\
             \"validBefore\":{end},\"nonce\":\"0x{number:064x}\""
        )
    };
    Ask::input(&format!("t{number}"), typed(kind, &domain, &message))
}

fn settled(nonce: u64, pool: Option<u128>, read_at: Option<u64>) -> Settled {
    let allowance =
        |amount| SettledAllowance { amount: Amount::from(amount), spender: POOL, token: USDC };
    Settled {
        allowances: pool.map(allowance).into_iter().collect(),
        by: "wanda".parse().unwrap(),
        chain: ChainId(1),
        key: key(1),
        nonce: nonce.to_string(),
        read_at: read_at.map(Millis),
    }
}

fn refused(vault: &mut Vault, ask: &Ask) -> Vec<String> {
    vault.sign(ask).unwrap_err()
}

#[test]
fn what_a_safe_was_signed_for_is_never_known_to_be_settled() {
    let mut vault = vault(", unsettled = \"2 ETH\"", "", "");
    let mut signed = 0;
    for day in 0..5 {
        for number in 0..2 {
            let ask = safe_tx(day * 2 + number, ONE, eth(1), &[]);
            signed += u64::from(vault.sign(&ask).is_ok());
        }
        vault.wait(400 * DAY);
    }
    assert_eq!(signed, 2);
    let ask = safe_tx(99, ONE, eth(1), &[]);
    assert_eq!(refused(&mut vault, &ask), ["OVER_UNSETTLED_LIMIT"]);
    vault.restart();
    assert_eq!(refused(&mut vault, &ask), ["OVER_UNSETTLED_LIMIT"]);
    assert!(vault.verify().discrepancies.is_empty());
}

#[test]
fn typed_data_counts_as_signed_ahead_while_it_may_be_used() {
    let mut vault = vault("", "", ", nonce_ahead = 2");
    for number in 0..2 {
        vault.sign(&of_usdc(&vault.clone(), AUTHORIZATION, number, 60)).unwrap();
    }
    let third = of_usdc(&vault, AUTHORIZATION, 2, 90);
    assert_eq!(refused(&mut vault, &third), ["NONCE_TOO_FAR_AHEAD"]);
    // Again is no more, and what moves nothing is not counted.
    let again = of_usdc(&vault, AUTHORIZATION, 1, 60);
    vault.sign(&Ask { name: "again".into(), ..again }).unwrap();
    vault.wait(60_999);
    assert_eq!(refused(&mut vault, &third), ["NONCE_TOO_FAR_AHEAD"]);
    vault.wait(1);
    vault.sign(&third).unwrap();
    // A Safe's transactions stay.
    vault.sign(&safe_tx(0, ONE, U256::ONE, &[])).unwrap();
    vault.wait(DAY);
    vault.sign(&safe_tx(1, ONE, U256::ONE, &[])).unwrap();
    assert_eq!(refused(&mut vault, &safe_tx(2, ONE, U256::ONE, &[])), ["NONCE_TOO_FAR_AHEAD"]);
    vault.restart();
    assert_eq!(refused(&mut vault, &safe_tx(2, ONE, U256::ONE, &[])), ["NONCE_TOO_FAR_AHEAD"]);
    assert!(vault.verify().discrepancies.is_empty());
}

#[test]
fn an_authorization_that_is_good_for_a_year_is_unsettled_for_a_year() {
    let mut vault = vault("", ", unsettled = \"5 USDC\"", "");
    let mut signed = 0;
    for number in 0..9 {
        let ask = of_usdc(&vault, AUTHORIZATION, number, 366 * 86_400);
        signed += 2 * u64::from(vault.sign(&ask).is_ok());
        vault.wait(40 * DAY);
    }
    assert_eq!(signed, 4);
    // The first ends 366 days after it was signed.
    vault.wait(7 * DAY);
    let ask = of_usdc(&vault, AUTHORIZATION, 9, 60);
    vault.sign(&ask).unwrap();
    // What is under way counts, too.
    let (one, other) = (of_usdc(&vault, PERMIT, 1, 60), of_usdc(&vault, AUTHORIZATION, 10, 60));
    assert_eq!(refused(&mut vault, &one), ["OVER_UNSETTLED_LIMIT"]);
    assert_eq!(refused(&mut vault, &other), ["OVER_UNSETTLED_LIMIT"]);
    vault.wait(61_000);
    let asked = of_usdc(&vault, AUTHORIZATION, 11, 60);
    let said = vault.ask(&asked);
    assert!(matches!(said, support::Said::Reserved(_)), "{said:?}");
    let other = of_usdc(&vault, AUTHORIZATION, 12, 60);
    assert_eq!(refused(&mut vault, &other), ["OVER_UNSETTLED_LIMIT"]);
    assert!(vault.verify().discrepancies.is_empty());
}

#[test]
fn no_report_tells_of_what_a_safe_lets_others_take() {
    let allow = approve(POOL, 100_000_000u64);
    let exec = |nonce| {
        let zero = || uint(0);
        let nobody = || Value::Address(Address::ZERO);
        let values = [
            Value::Address(USDC),
            zero(),
            Value::Bytes(allow.clone()),
            zero(),
            zero(),
            zero(),
            zero(),
            nobody(),
            nobody(),
            Value::Bytes(vec![1; 65]),
        ];
        let data = encoded(
            "execTransaction(address to, uint256 value, bytes data, uint8 operation, \
             uint256 safeTxGas, uint256 baseGas, uint256 gasPrice, address gasToken, \
             address refundReceiver, bytes signatures)",
            &values,
        );
        Ask::of(&Tx { nonce, to: Some(SAFE), data, ..Tx::default() })
    };
    for (first, second) in [
        (safe_tx(0, USDC, U256::ZERO, &allow), safe_tx(1, USDC, U256::ZERO, &allow)),
        (exec(0), exec(1)),
        (exec(0), safe_tx(1, USDC, U256::ZERO, &allow)),
    ] {
        let mut vault = vault("", "", "");
        vault.sign(&first).unwrap();
        let mined = vault.state.settlements().next(key(1), ChainId(1));
        assert_eq!(refused(&mut vault, &second), ["OVER_OUTSTANDING_LIMIT"]);
        for days in [0, 400] {
            vault.wait(days * DAY);
            // The key itself granted nothing: the truth, and not about the Safe.
            let read = vault.now.sure.0;
            vault.write(Record::Settled(settled(mined, Some(0), Some(read))));
            assert_eq!(refused(&mut vault, &second), ["OVER_OUTSTANDING_LIMIT"]);
        }
        vault.restart();
        assert_eq!(refused(&mut vault, &second), ["OVER_OUTSTANDING_LIMIT"]);
        assert!(vault.verify().discrepancies.is_empty());
    }
}

#[test]
fn a_permit_is_over_only_by_a_report_that_read_the_chain_after_its_deadline() {
    let mut vault = vault("", "", "");
    let permit = of_usdc(&vault, PERMIT, 0, 900);
    vault.sign(&permit).unwrap();
    let began = vault.now.sure.0;
    vault.wait(901_000);
    let next = of_usdc(&vault, PERMIT, 1, 900);
    // Read a second before the end, when it could still be used; or nobody says when.
    for read in [None, Some(began + 899_000), Some(began + 900_999)] {
        vault.write(Record::Settled(settled(0, Some(0), read)));
        assert_eq!(refused(&mut vault, &next), ["OVER_OUTSTANDING_LIMIT"], "{read:?}");
    }
    // It names another spender, so it tells nothing of this one.
    vault.write(Record::Settled(settled(0, None, Some(began + 900_999))));
    assert_eq!(refused(&mut vault, &next), ["OVER_OUTSTANDING_LIMIT"]);
    vault.write(Record::Settled(settled(0, Some(0), Some(began + 901_000))));
    vault.sign(&next).unwrap();
    assert!(vault.verify().discrepancies.is_empty());
}

#[test]
fn a_report_tells_of_nothing_that_is_yet_to_come_and_nothing_older_than_the_last() {
    let mut vault = vault("", "", "");
    vault.wait(DAY);
    let now = vault.now.sure.0;
    let check = |vault: &Vault, settled: &Settled| {
        let now = Interval { possible: Millis(vault.now.sure.0 + 5_000), ..vault.now };
        vault.state.settlements().check(settled, now).err()
    };
    assert_eq!(check(&vault, &settled(0, Some(0), Some(now + 5_000))), None);
    let late = settled(0, Some(0), Some(now + 5_001));
    assert_eq!(check(&vault, &late), Some(NotSettled::Future));
    vault.write(Record::Settled(settled(0, Some(7), Some(now - 1_000))));
    let older = settled(0, Some(0), Some(now - 1_001));
    assert_eq!(check(&vault, &older), Some(NotSettled::Older));
    assert_eq!(check(&vault, &settled(0, Some(0), None)), Some(NotSettled::Undated));
    assert_eq!(check(&vault, &settled(0, None, None)), None);
    assert_eq!(check(&vault, &settled(0, Some(0), Some(now - 1_000))), None);
}

#[test]
fn a_nonce_that_was_never_signed_is_proof_of_use_elsewhere_and_settles_nothing() {
    let mut vault = vault("", "", ", nonce_ahead = 2");
    let pay = |nonce| Ask::of(&Tx { nonce, to: Some(ONE), value: U256::ONE, ..Tx::default() });
    let check = |vault: &Vault, nonce| {
        vault.state.settlements().check(&settled(nonce, None, None), vault.now).err()
    };
    assert_eq!(check(&vault, u64::MAX), Some(NotSettled::Elsewhere(0)));
    assert_eq!(check(&vault, 1), Some(NotSettled::Elsewhere(0)));
    vault.sign(&pay(1)).unwrap();
    vault.restart();
    assert_eq!(check(&vault, 3), Some(NotSettled::Elsewhere(2)));
    assert!(NotSettled::Elsewhere(2).to_string().contains("somebody else signs"));
    vault.write(Record::Settled(settled(2, None, None)));
    vault.sign(&pay(3)).unwrap();
    assert_eq!(refused(&mut vault, &pay(1_000_000)), ["NONCE_TOO_FAR_AHEAD"]);
}

#[test]
fn what_cannot_be_remembered_until_it_is_settled_is_not_signed() {
    let mut vault = vault(", unsettled = \"1 ETH\"", "", "");
    let pay = |nonce| Ask::of(&Tx { nonce, to: Some(ONE), value: U256::ONE, ..Tx::default() });
    for nonce in 0..16_384 {
        vault.sign(&pay(nonce)).unwrap();
    }
    assert_eq!(refused(&mut vault, &pay(16_384)), ["OVER_UNSETTLED_LIMIT"]);
    // Again, or an alternative, is no slot more.
    vault.sign(&Ask { name: "again".into(), ..pay(5) }).unwrap();
    vault.write(Record::Settled(settled(1, None, None)));
    vault.sign(&pay(16_384)).unwrap();
}

#[test]
fn a_settlement_told_by_somebody_who_is_no_watcher_is_found_by_the_verifier() {
    let mut vault = vault("", "", "");
    vault.write(Record::Settled(settled(0, None, None)));
    assert!(vault.verify().discrepancies.is_empty());
    vault.write(Record::Settled(Settled { by: "olga".parse().unwrap(), ..settled(0, None, None) }));
    let found = vault.verify().discrepancies;
    assert_eq!(found.len(), 1);
    assert!(found[0].what.contains("settlement reported by somebody who may not"), "{found:?}");
}

#[test]
fn a_key_that_is_used_elsewhere_is_stopped_once_for_each_nonce_that_tells_more() {
    let mut vault = vault("", "", "");
    vault.sign(&pay(0)).unwrap();
    let told = settled(7, None, None);
    let elsewhere = vault.state.settlements().check(&told, vault.now);
    assert_eq!(elsewhere, Err(NotSettled::Elsewhere(1)));
    let known =
        |vault: &Vault, nonce| vault.state.settlements().used_elsewhere(key(1), ChainId(1), nonce);
    assert_eq!(known(&vault, 7), Some(1));
    let used = UsedElsewhere {
        by: "wanda".parse().unwrap(),
        chain: ChainId(1),
        nonce: "7".into(),
        signed: "1".into(),
    };
    let stop = |used: UsedElsewhere, scope| {
        let by = Actor::Trigger(Trigger::UsedElsewhere(used));
        Record::Frozen(Frozen { by, reason: "used elsewhere".into(), scope })
    };
    // What is not so sets nothing off, and stops nothing else than its key.
    let said = |nonce: &str, signed: &str| UsedElsewhere {
        nonce: nonce.into(),
        signed: signed.into(),
        ..used.clone()
    };
    let own = || Scope::Key(key(1));
    for (used, scope) in [
        (said("1", "1"), own()),
        (said("7", "2"), own()),
        (said("x", "1"), own()),
        (UsedElsewhere { chain: ChainId(2), ..used.clone() }, own()),
        (used.clone(), Scope::All),
        (used.clone(), Scope::Key(key(9))),
    ] {
        let forged = vault.try_write(stop(used.clone(), scope.clone())).unwrap_err();
        assert!(matches!(forged, Unfoldable::Trigger(_)), "{used:?} {scope}: {forged}");
    }
    vault.write(stop(used.clone(), own()));
    for _ in ["as it ran", "after a restart"] {
        assert_eq!(refused(&mut vault, &pay(1)), ["FROZEN"]);
        assert_eq!((known(&vault, 7), known(&vault, 8)), (None, Some(1)));
        vault.restart();
    }
    assert!(vault.verify().discrepancies.is_empty());
    // Once it is told right, the number before may have been a mistake, and is heard anew.
    vault.write(Record::Settled(settled(1, None, None)));
    assert_eq!(known(&vault, 7), Some(1));
    // By somebody who is no watcher: found by the verifier.
    let olga = UsedElsewhere { by: "olga".parse().unwrap(), ..said("8", "1") };
    vault.write(stop(olga, own()));
    let found = vault.verify().discrepancies;
    assert!(found.len() == 1 && found[0].what.contains("report of somebody"), "{found:?}");
}

fn pay(nonce: u64) -> Ask {
    Ask::of(&Tx { nonce, value: U256::ONE, to: Some(ONE), ..Tx::default() })
}
