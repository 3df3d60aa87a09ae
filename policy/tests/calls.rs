//! Calls that say less than they do: batches of nothing, and amounts that are numbers of tokens.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

mod support;

use alloy_primitives::Address;
use portcullis_policy::value::Value;
use support::parts::{FEES, HEAD, codes, contract, encoded, key_head, token, uint};
use support::tx::Tx;
use support::{Ask, Vault, address, key};

const ONE: Address = Address::repeat_byte(0x11);
const TWO: Address = Address::repeat_byte(0x22);
const STRANGER: Address = Address::repeat_byte(0x99);
const USDC: Address = Address::repeat_byte(0xaa);
const NFT: Address = Address::repeat_byte(0xac);
const ITEMS: Address = Address::repeat_byte(0xad);
const PERMIT2: Address = Address::repeat_byte(0xb5);
const MULTICALL3: Address = Address::repeat_byte(0xb4);
const ROUTER: Address = Address::repeat_byte(0xb3);

/// One of each contract whose calls are opened, and a key that has rules for what is given.
fn vault(rules: &str) -> Vault {
    let registry = [
        token("USDC", USDC, "erc20"),
        token("NFT", NFT, "erc721"),
        token("ITEMS", ITEMS, "erc1155"),
        contract("permit2", PERMIT2, "permit2"),
        contract("multicall3", MULTICALL3, "multicall3"),
        contract("router", ROUTER, "multicall"),
    ];
    Vault::new(&format!("{HEAD}{}{}{FEES}{rules}", registry.concat(), key_head()))
}

fn call(nonce: u64, to: Address, data: Vec<u8>) -> Ask {
    Ask::of(&Tx { nonce, to: Some(to), gas: 1_000_000, data, ..Tx::default() })
}

fn none() -> Value {
    Value::List(Vec::new())
}

#[test]
fn a_batch_of_nothing_is_still_a_call_that_some_rule_must_allow() {
    let mut vault = vault("");
    let own = Value::Address(address(key(1)));
    let items = "safeBatchTransferFrom(address f, address t, uint256[] ids, uint256[] a, bytes d)";
    // Whoever it is "sent" to is called, with these bytes.
    let values = [own, Value::Address(STRANGER), none(), none(), Value::Bytes(vec![1, 2, 3])];
    let batch = encoded(items, &values);
    assert_eq!(codes(&mut vault, &call(0, ITEMS, batch.clone())), ["NOT_UNDERSTOOD"]);
    for (to, data) in [
        (ROUTER, encoded("multicall(bytes[] data)", &[none()])),
        (MULTICALL3, encoded("aggregate((address target, bytes callData)[] calls)", &[none()])),
        (PERMIT2, encoded("lockdown((address token, address spender)[] approvals)", &[none()])),
        (
            PERMIT2,
            encoded(
                "transferFrom((address from, address to, uint160 amount, address token)[] details)",
                &[none()],
            ),
        ),
    ] {
        assert_eq!(codes(&mut vault, &call(0, to, data)), ["VIA_NOT_ALLOWED"], "{to}");
    }
    // Nor does it hide in a batch of others.
    let inner = Value::List(vec![Value::Address(ITEMS), Value::Bytes(batch)]);
    let several =
        encoded("aggregate((address target, bytes callData)[] calls)", &[Value::List(vec![inner])]);
    let said = codes(&mut vault, &call(0, MULTICALL3, several));
    assert!(said.contains(&"NOT_UNDERSTOOD".to_owned()), "{said:?}");
}

#[test]
fn permit2_moves_no_token_whose_amounts_are_numbers() {
    let mut vault = vault(&format!(
        "via = \"@permit2\"\ntoken.NFT = {{ to = \"{ONE:#x}\", per_tx = \"1 NFT\", \
         window = \"1 NFT / 24h\", from = \"{TWO:#x}\", allowance = {{ spender = \"{ONE:#x}\", \
         per_tx = \"1 NFT\" }} }}\n"
    ));
    let number = 7;
    let values = [Value::Address(TWO), Value::Address(ONE), uint(number)];
    let direct = encoded("transferFrom(address a, address b, uint256 c)", &values);
    vault.sign(&call(0, NFT, direct)).unwrap();
    for number in [0, 1, 7] {
        let one = [Value::Address(TWO), Value::Address(ONE), uint(number), Value::Address(NFT)];
        let single =
            encoded("transferFrom(address from, address to, uint160 amount, address token)", &one);
        let batch = encoded(
            "transferFrom((address from, address to, uint160 amount, address token)[] details)",
            &[Value::List(vec![Value::List(one.to_vec())])],
        );
        // An allowance of 0 is one of the token with that number.
        let allow = encoded(
            "approve(address token, address spender, uint160 amount, uint48 expiration)",
            &[Value::Address(NFT), Value::Address(ONE), uint(number), uint(u64::from(u32::MAX))],
        );
        for data in [single, batch, allow] {
            let said = codes(&mut vault, &call(1, PERMIT2, data));
            assert_eq!(said, ["NOT_UNDERSTOOD"], "{number}");
        }
    }
    // What was granted can be taken back.
    let pair = Value::List(vec![Value::Address(NFT), Value::Address(ONE)]);
    let back = encoded(
        "lockdown((address token, address spender)[] approvals)",
        &[Value::List(vec![pair])],
    );
    vault.sign(&call(1, PERMIT2, back)).unwrap();
}

#[test]
fn transfers_in_one_call_count_as_calls_that_somebody_has_to_read() {
    let mut vault = vault(&format!(
        "via = [\"@permit2\", \"@multicall3\"]\ntoken.USDC = {{ to = \"{ONE:#x}\", \
         per_tx = \"unlimited\", window = \"unlimited\", from = \"{TWO:#x}\" }}\n\
         token.ITEMS = {{ to = \"{ONE:#x}\", per_tx = \"unlimited\", window = \"unlimited\" }}\n"
    ));
    let moved = || {
        Value::List(vec![Value::Address(TWO), Value::Address(ONE), uint(1), Value::Address(USDC)])
    };
    let many = |count: usize| {
        let signature =
            "transferFrom((address from, address to, uint160 amount, address token)[] details)";
        encoded(signature, &[Value::List((0..count).map(|_| moved()).collect())])
    };
    assert_eq!(codes(&mut vault, &call(0, PERMIT2, many(255))), [""; 0]);
    assert_eq!(codes(&mut vault, &call(0, PERMIT2, many(256))), ["NOT_UNDERSTOOD"]);
    let items = |count: u64| {
        let numbers = || Value::List((0..count).map(uint).collect());
        let signature =
            "safeBatchTransferFrom(address f, address t, uint256[] ids, uint256[] a, bytes d)";
        let ends = [Value::Address(address(key(1))), Value::Address(ONE)];
        let rest = [numbers(), numbers(), Value::Bytes(Vec::new())];
        encoded(signature, &[&ends[..], &rest[..]].concat())
    };
    assert_eq!(codes(&mut vault, &call(0, ITEMS, items(256))), [""; 0]);
    let twice = |count| {
        let inner = Value::List(vec![Value::Address(ITEMS), Value::Bytes(items(count))]);
        let signature = "aggregate((address target, bytes callData)[] calls)";
        encoded(signature, &[Value::List(vec![inner.clone(), inner])])
    };
    let of = |data| Ask::of(&Tx { to: Some(MULTICALL3), gas: 9_000_000, data, ..Tx::default() });
    let said = codes(&mut vault, &of(twice(128)));
    assert_eq!(said.iter().filter(|code| *code == "NOT_UNDERSTOOD").count(), 1, "{said:?}");
    let said = codes(&mut vault, &of(twice(127)));
    assert!(!said.contains(&"NOT_UNDERSTOOD".to_owned()), "{said:?}");
}
