//! Transactions that others published, byte by byte and hash by hash.
//!
//! Nothing expected here was computed by this crate.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "test"
)]

use alloy_primitives::{Address, B256, U256, address, b256, hex, keccak256};
use alloy_rlp::Header;
use portcullis_policy::id::ChainId;
use portcullis_policy::money::Amount;
use portcullis_policy::tx::{Destination, Malformed, TxKind, UnsignedTx};

const MINED: &str = include_str!("vectors/mined.txt");

/// A signed transaction taken apart by alloy-rlp, not by what is tested.
struct Signed {
    preimage: Vec<u8>,
    y_parity: bool,
    r: [u8; 32],
    s: [u8; 32],
}

/// Removes v, r and s; for legacy, puts the chain id that v names and two zeros in their place.
fn unsign(raw: &[u8]) -> Signed {
    let legacy = raw[0] >= 0xc0;
    let mut list = if legacy { raw } else { &raw[1..] };
    let mut items = Vec::new();
    let mut rest = Header::decode_bytes(&mut list, true).unwrap();
    while !rest.is_empty() {
        let before = rest;
        let header = Header::decode(&mut rest).unwrap();
        rest = &rest[header.payload_length..];
        items.push(&before[..before.len() - rest.len()]);
    }
    let number = |item: &[u8]| {
        let bytes = Header::decode_bytes(&mut &*item, false).unwrap();
        U256::from_be_slice(bytes)
    };
    let (fields, signature) = items.split_at(items.len() - 3);
    let v: u64 = number(signature[0]).to();
    let mut payload = fields.concat();
    if legacy {
        alloy_rlp::Encodable::encode(&((v - 35) / 2), &mut payload);
        payload.extend_from_slice(&[0x80, 0x80]);
    }
    let mut preimage = if legacy { vec![] } else { vec![raw[0]] };
    Header { list: true, payload_length: payload.len() }.encode(&mut preimage);
    preimage.extend_from_slice(&payload);
    let y_parity = if legacy { (v - 35) % 2 == 1 } else { v == 1 };
    let [r, s] = [1, 2].map(|place| number(signature[place]).to_be_bytes());
    Signed { preimage, y_parity, r, s }
}

#[test]
fn mined_transactions_are_read_and_signed_into_the_very_bytes_that_were_mined() {
    let mut seen = 0;
    for line in MINED.lines().filter(|line| !line.starts_with('#')) {
        let [kind, place, hash, raw] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let raw = hex::decode(raw).unwrap();
        let Signed { preimage, y_parity, r, s } = unsign(&raw);
        let tx = UnsignedTx::decode(&preimage).unwrap();
        assert_eq!(tx.kind().to_string(), kind, "{place}");
        assert_eq!(tx.signed_bytes(&r, &s, y_parity), raw, "{place}");
        assert_eq!(tx.signed_hash(&r, &s, y_parity), hash.parse::<B256>().unwrap(), "{place}");
        assert_eq!(UnsignedTx::decode(&raw), Err(Malformed::AlreadySigned), "{place}");
        seen += 1;
    }
    assert_eq!(seen, 5);
}

#[test]
fn the_example_of_eip_155_gives_its_digest_and_its_signed_bytes() {
    let preimage = hex!(
        "ec098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a7640000"
        "80018080"
    );
    let tx = UnsignedTx::decode(&preimage).unwrap();
    assert_eq!(
        tx.signing_hash(),
        b256!("daf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53")
    );
    assert_eq!((tx.kind(), tx.chain(), tx.nonce()), (TxKind::Legacy, ChainId(1), 9));
    assert_eq!(tx.max_fee_per_gas(), Amount::from(20_000_000_000));
    assert_eq!(tx.value(), Amount::from(1_000_000_000_000_000_000));
    assert_eq!(tx.destination(), Destination::Call(Address::repeat_byte(0x35)));
    assert_eq!(
        tx.signed_bytes(
            &hex!("28ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276"),
            &hex!("67cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83"),
            false,
        ),
        hex!(
            "f86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400"
            "008025a028ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276a067cbe9d8"
            "997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83"
        )
    );
}

/// go-ethereum, core/types/transaction_test.go: `signedEip2718Tx` and its signing hash.
#[test]
fn the_eip_2930_transaction_of_go_ethereum_gives_its_digest_and_its_signed_bytes() {
    let raw = hex!(
        "01f8630103018261a894b94f5374fce5edbc8e2a8697c15331677e6ebf0b0a825544c001a0c9519f4f2b30"
        "335884581971573fadf60c6204f59a911df35ee8a540456b2660a032f1e8e2c5dd761f9e4f88f41c8310ae"
        "aba26a8bfcdacfedfa12ec3862d37521"
    );
    let Signed { preimage, y_parity, r, s } = unsign(&raw);
    let tx = UnsignedTx::decode(&preimage).unwrap();
    assert_eq!(
        tx.signing_hash(),
        b256!("49b486f0ec0a60dfbbca2d30cb07c9e8ffb2a2ff41f29a1ab6737475f6ff69f3")
    );
    assert_eq!(tx.signed_bytes(&r, &s, y_parity), raw);
    assert_eq!((tx.kind(), tx.nonce(), tx.gas_limit()), (TxKind::AccessList, 3, 25_000));
    assert_eq!(tx.data(), hex!("5544"));
}

/// A set-code transaction sent to real nodes on the chain of the execution test suites.
#[test]
fn a_published_set_code_transaction_is_read_with_its_authorization() {
    let raw = hex!(
        "04f8d4870c72dd9d5e883e818501847735940083030d40941563915e194d8cfba1943570603f7606a31155"
        "088080c0f863f861870c72dd9d5e883e9400000000000000000000000000000000000010028001a0909ccd"
        "479b49d4de221beaed4e2b48ee8623d1efe6c9ba4f10653c26855123d8a0489bae47a8c46d50d536a34d96"
        "95a07668c64e89e2e17e1df04d37acb228601501a0138e133d330b2ac9573aef02e8182d29d97e5669e090"
        "79e1828d4ffe7abb73b2a018efb64c0af5c267645bd3de711a50fa787eece3679231a6843a23b3f29892c1"
    );
    let Signed { preimage, y_parity, r, s } = unsign(&raw);
    let tx = UnsignedTx::decode(&preimage).unwrap();
    assert_eq!((tx.kind(), tx.chain()), (TxKind::SetCode, ChainId(3_503_995_874_084_926)));
    assert_eq!(tx.signing_hash(), keccak256(&preimage));
    assert_eq!(tx.signed_bytes(&r, &s, y_parity), raw);
    let [tuple] = tx.authorizations() else { panic!("one tuple") };
    assert_eq!((tuple.chain(), tuple.nonce(), tuple.y_parity()), (tx.chain(), 0, true));
    assert_eq!(tuple.address(), address!("0000000000000000000000000000000000001002"));
}

/// viem's own snapshot of an unsigned set-code transaction: chain 1, with a tuple for chain 10.
#[test]
fn a_tuple_that_is_meant_for_another_chain_is_refused_although_libraries_encode_it() {
    let preimage = hex!(
        "04f8e3018203118080809470997970c51812dc3a010c7d01b50e0d17dc79c8880de0b6b3a764000080c0f8ba"
        "f85c0194fba3912ca04dd458c843e2ee08967fc04f3579c28201a480a060fdd29ff912ce880cd3edaf9f932d"
        "c61d3dae823ea77e0323f94adb9f6a72fea060fdd29ff912ce880cd3edaf9f932dc61d3dae823ea77e0323f9"
        "4adb9f6a72fef85a0a9400000000000000000000000000000000000000004501a060fdd29ff912ce880cd3ed"
        "af9f932dc61d3dae823ea77e0323f94adb9f6a72fea060fdd29ff912ce880cd3edaf9f932dc61d3dae823ea7"
        "7e0323f94adb9f6a72fe"
    );
    // The snapshot leaves the gas limit out, which is looked at first.
    assert_eq!(UnsignedTx::decode(&preimage), Err(Malformed::GasLimitZero));
    let mut with_gas = preimage.to_vec();
    let gas = with_gas.windows(4).position(|bytes| bytes == hex!("80808094")).unwrap() + 2;
    with_gas[gas] = 0x7f;
    assert_eq!(UnsignedTx::decode(&with_gas), Err(Malformed::AuthorizationChain));
}

#[test]
fn every_refusal_is_explained_in_the_documentation() {
    let source = include_str!("../src/tx/malformed.rs");
    let page = include_str!("../../docs/decoding.md");
    let codes: Vec<_> = source.split('"').filter(|text| text.starts_with("TX_")).collect();
    assert!(codes.len() >= 36, "{codes:?}");
    for code in codes {
        assert!(page.contains(&format!("`{code}`")), "{code} is not in docs/decoding.md");
    }
}
