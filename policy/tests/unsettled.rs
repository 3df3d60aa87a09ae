//! What a stop is told that it cannot call back: what was signed in its scope and is not known to
//! be settled. From the records alone, so that a restart knows the same.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

mod support;

use std::collections::BTreeSet;

use alloy_primitives::{Address, U256};
use portcullis_policy::id::{ChainId, Sequence};
use portcullis_policy::record::{Record, Settled};
use portcullis_policy::stops::Scope;
use portcullis_policy::time::Millis;
use portcullis_policy::unsettled::{Form, Listing, Wanted};
use support::parts::{FEES, HEAD, key_head, token, typed};
use support::tx::Tx;
use support::{Ask, CALLER, Vault, address, key};

const USDC: Address = Address::repeat_byte(0xaa);
const SUPPLIER: Address = Address::repeat_byte(0x11);
const AUTHORIZATION: &str = "TransferWithAuthorization(address from,address to,uint256 value,\
    uint256 validAfter,uint256 validBefore,bytes32 nonce)";

/// A key that pays coin and signs ERC-3009 authorizations, and `cold` that pays coin.
fn vault() -> Vault {
    let native = format!(
        "native = {{ to = \"{SUPPLIER:#x}\", per_tx = \"unlimited\", window = \"unlimited\" }}\n"
    );
    let head = key_head();
    let cold = head.split_once("[key.hot]").unwrap().1;
    let (usdc, any) = ("domain = { chain = \"main\", contract = \"@USDC\" }", "\"any\"");
    Vault::new(&format!(
        "{HEAD}{}{head}{native}{FEES}token.USDC = {{ to = \"{SUPPLIER:#x}\", \
         per_tx = \"unlimited\", window = \"unlimited\" }}\n\
         [[key.hot.typed]]\n{usdc}\ntype = \"{AUTHORIZATION}\"\nwhere = {{ from = \"self\", \
         to = {any}, value = {any}, validAfter = {any}, validBefore = \"<= now + 366d\", \
         nonce = {any} }}\n[key.cold]{cold}{native}{FEES}",
        token("USDC", USDC, "erc20")
    ))
}

fn pay(nonce: u64, wei: u64) -> Ask {
    Ask::of(&Tx { nonce, value: U256::from(wei), ..Tx::default() })
}

/// An authorization that can be used for so many seconds.
fn authorize(vault: &Vault, seconds: u64) -> Ask {
    let (own, end) = (address(key(1)), vault.now.sure.0 / 1_000 + seconds);
    let message = format!(
        "\"from\":\"{own:#x}\",\"to\":\"{SUPPLIER:#x}\",\"value\":2000000,\"validAfter\":0,\
         \"validBefore\":{end},\"nonce\":\"0x{:064x}\"",
        7
    );
    let domain = format!("\"chainId\":1,\"verifyingContract\":\"{USDC:#x}\"");
    Ask::input("permit", typed(AUTHORIZATION, &domain, &message))
}

fn settle(vault: &mut Vault, nonce: u64) {
    vault.write(Record::Settled(Settled {
        allowances: Vec::new(),
        by: "wanda".parse().unwrap(),
        chain: ChainId(1),
        key: key(1),
        nonce: nonce.to_string(),
        read_at: None,
    }));
}

fn list(vault: &Vault, scope: &Scope, unreleased: &[Sequence], most: usize) -> Listing {
    let unreleased: BTreeSet<Sequence> = unreleased.iter().copied().collect();
    vault.state.unsettled(&Wanted { scope, unreleased: &unreleased, most }, vault.now)
}

fn sequences(vault: &Vault, scope: &Scope) -> Vec<Sequence> {
    list(vault, scope, &[], 100).newest.iter().map(|one| one.sequence).collect()
}

#[test]
fn what_is_mined_is_left_out_and_each_alternative_of_a_nonce_is_listed_newest_first() {
    let mut vault = vault();
    vault.sign(&pay(0, 1)).unwrap();
    let first = vault.sign(&pay(1, 1)).unwrap();
    vault.wait(1_000);
    let bumped = vault.sign(&pay(1, 2)).unwrap();
    let cold = vault.sign(&Ask { key: key(2), ..pay(0, 1) }).unwrap();
    settle(&mut vault, 1);
    for _ in ["as it ran", "after a restart"] {
        assert_eq!(sequences(&vault, &Scope::All), [cold, bumped, first]);
        assert_eq!(sequences(&vault, &Scope::Key(key(1))), [bumped, first]);
        assert_eq!(sequences(&vault, &Scope::Tag("tag-cold".parse().unwrap())), [cold]);
        let listing = list(&vault, &Scope::Key(key(1)), &[], 1);
        assert_eq!((listing.newest.len(), listing.more, listing.incomplete), (1, 1, false));
        let one = &listing.newest[0];
        assert_eq!((one.label.as_str(), one.address), ("hot", address(key(1))));
        assert_eq!((one.chain, one.nonce, one.form), (ChainId(1), Some(1), Form::Transaction));
        assert_eq!(one.callers, [CALLER.parse().unwrap()]);
        assert_eq!(one.digest, pay(1, 2).request().digest());
        assert_eq!((one.at, one.ends), (Millis(support::DAWN + 1_000), None));
        vault.restart();
    }
    // Signed for a nonce that is mined already: nobody can use it.
    vault.sign(&pay(0, 9)).unwrap();
    settle(&mut vault, 2);
    assert_eq!(sequences(&vault, &Scope::All), [cold]);
}

#[test]
fn typed_data_is_listed_until_it_can_surely_not_be_used() {
    let mut vault = vault();
    let signed = vault.sign(&authorize(&vault.clone(), 60)).unwrap();
    let listing = list(&vault, &Scope::All, &[], 9);
    assert_eq!((listing.newest[0].nonce, listing.newest[0].form), (None, Form::TypedData));
    // No report of a nonce settles it.
    vault.sign(&pay(0, 1)).unwrap();
    settle(&mut vault, 1);
    vault.wait(60_999);
    assert_eq!(sequences(&vault, &Scope::All), [signed]);
    vault.wait(1);
    assert_eq!(sequences(&vault, &Scope::All), []);
}

#[test]
fn what_was_not_released_is_left_out_unless_it_was_signed_again() {
    let mut vault = vault();
    let released = vault.sign(&pay(0, 1)).unwrap();
    let withheld = vault.sign(&pay(1, 1)).unwrap();
    let left = |vault: &Vault| {
        let listing = list(vault, &Scope::All, &[withheld], 9);
        listing.newest.iter().map(|one| one.sequence).collect::<Vec<_>>()
    };
    assert_eq!(left(&vault), [released]);
    let again = Ask { name: "again".into(), ..pay(1, 1) };
    assert!(vault.sign(&again).unwrap() > withheld);
    assert_eq!(left(&vault), [withheld, released], "the second answer may have gone out");
    assert_eq!(list(&vault, &Scope::All, &[], 9).newest.len(), 2, "one digest is listed once");
}

#[test]
fn a_caller_s_stop_lists_whatever_was_given_to_that_caller_also_if_another_asked_first() {
    let mut vault = vault();
    let both = vault.sign(&pay(0, 1)).unwrap();
    let own = vault.sign(&pay(1, 1)).unwrap();
    let other = "other".parse().unwrap();
    assert_eq!(sequences(&vault, &Scope::Caller("other".parse().unwrap())), []);
    vault.sign(&Ask { caller: "other".into(), ..pay(0, 1) }).unwrap();
    let listing = list(&vault, &Scope::Caller("other".parse().unwrap()), &[], 9);
    assert_eq!(listing.newest[0].callers, [CALLER.parse().unwrap(), other]);
    assert_eq!((listing.newest.len(), listing.newest[0].sequence), (1, both));
    assert_eq!(sequences(&vault, &Scope::Caller(CALLER.parse().unwrap())), [own, both]);
}
