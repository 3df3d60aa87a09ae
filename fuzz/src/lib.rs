//! What must hold for every input there is. Each function here panics on an input that breaks its
//! claim; libFuzzer looks for one (`fuzz/run`), and a plain build replays files.

#![allow(clippy::panic, reason = "a broken claim has to stop the fuzzer")]

use alloy_primitives::keccak256;
use alloy_rlp::Header;
use portcullis_policy::abi::{self, Erc20};
use portcullis_policy::book::{Book, Difference, Faults};
use portcullis_policy::tx::{Malformed, TX_BYTES_MAX, TxKind, UnsignedTx};
use portcullis_policy::typed::{StructType, TypedData};

/// Runs a claim over the files named on the command line.
///
/// # Errors
///
/// A file that cannot be read.
pub fn replay(claim: fn(&[u8])) -> std::io::Result<()> {
    for path in std::env::args_os().skip(1) {
        claim(&std::fs::read(path)?);
    }
    Ok(())
}

/// What is accepted as a transaction is exactly what is hashed, cannot overflow, and comes back
/// from its signed form; what is refused has a code and a text.
pub fn tx(input: &[u8]) {
    let tx = match UnsignedTx::decode(input) {
        Ok(tx) => tx,
        Err(refusal) => {
            assert!(refusal.code().starts_with("TX_") && !refusal.to_string().is_empty());
            return;
        }
    };
    assert!(input.len() <= TX_BYTES_MAX);
    assert_eq!(tx.preimage(), input);
    assert_eq!(tx.signing_hash(), keccak256(input));
    assert!(tx.chain().0 > 0 && tx.gas_limit() > 0 && tx.nonce() < u64::MAX);
    assert!(tx.max_priority_fee_per_gas() <= tx.max_fee_per_gas());
    assert!(tx.worst_case_fee().is_some());
    assert_eq!(tx.blob_hashes().is_empty(), tx.kind() != TxKind::Blob);
    assert_eq!(tx.authorizations().is_empty(), tx.kind() != TxKind::SetCode);
    for y_parity in [false, true] {
        // Any scalars; the second has zeros in front, which must not be written.
        let (r, s) = (keccak256(input).0, [[0; 16], [0x5a; 16]].concat().try_into());
        let Ok(s) = s else { panic!("32 bytes") };
        let signed = tx.signed_bytes(&r, &s, y_parity);
        assert_eq!(tx.signed_hash(&r, &s, y_parity), keccak256(&signed));
        assert_eq!(UnsignedTx::decode(&signed), Err(Malformed::AlreadySigned));
        assert_eq!(without_signature(&tx, &signed).as_deref(), Some(input));
    }
}

/// The preimage again, taken out of the signed form by alloy-rlp.
fn without_signature(tx: &UnsignedTx, signed: &[u8]) -> Option<Vec<u8>> {
    let legacy = tx.kind() == TxKind::Legacy;
    let (prefix, mut list) = signed.split_at_checked(usize::from(!legacy))?;
    let mut rest = Header::decode_bytes(&mut list, true).ok().filter(|_| list.is_empty())?;
    let mut items = Vec::new();
    while !rest.is_empty() {
        let whole = rest;
        let header = Header::decode(&mut rest).ok()?;
        rest = rest.get(header.payload_length..)?;
        items.push(whole.get(..whole.len().checked_sub(rest.len())?)?);
    }
    let (fields, _signature) = items.split_last_chunk::<3>()?;
    let mut payload = fields.concat();
    if legacy {
        alloy_rlp::Encodable::encode(&tx.chain().0, &mut payload);
        payload.extend_from_slice(&[0x80, 0x80]);
    }
    let mut preimage = prefix.to_vec();
    Header { list: true, payload_length: payload.len() }.encode(&mut preimage);
    preimage.extend_from_slice(&payload);
    Some(preimage)
}

/// What is read as ERC-20 encodes to exactly the calldata it was read from.
pub fn abi(input: &[u8]) {
    let known = [abi::TRANSFER, abi::TRANSFER_FROM, abi::APPROVE];
    let has_known_selector = abi::selector(input).is_some_and(|found| known.contains(&found));
    let (selector, addresses, amount) = match abi::erc20(input) {
        Erc20::Transfer { to, amount } => (abi::TRANSFER, vec![to], amount),
        Erc20::TransferFrom { from, to, amount } => (abi::TRANSFER_FROM, vec![from, to], amount),
        Erc20::Approve { spender, amount } => (abi::APPROVE, vec![spender], amount),
        Erc20::NotErc20 => return assert!(!has_known_selector),
        Erc20::NotCanonical(fault) => {
            return assert!(has_known_selector && !fault.to_string().is_empty());
        }
    };
    let mut encoded = selector.to_vec();
    for address in addresses {
        encoded.extend_from_slice(address.into_word().as_slice());
    }
    encoded.extend_from_slice(&amount.units().to_be_bytes::<32>());
    assert_eq!(encoded, input);
}

/// A function's canonical form is canonical: it has no spaces or names, and reads as itself.
pub fn function(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let function = match abi::function(text) {
        Ok(function) => function,
        Err(fault) => {
            assert_eq!(abi::selector_of(text), Err(fault));
            return assert!(!fault.to_string().is_empty());
        }
    };
    assert_eq!(abi::selector_of(text), Ok(function.selector()));
    let canonical = function.canonical();
    assert!(!canonical.contains(' '));
    assert!(keccak256(canonical).starts_with(&function.selector()));
    let Ok(again) = abi::function(canonical) else { panic!("{canonical} is not canonical") };
    assert_eq!(again.canonical(), canonical);
    let kinds = |each: &abi::Function| -> Vec<_> {
        each.parameters().iter().map(|parameter| parameter.kind.to_string()).collect()
    };
    assert_eq!(kinds(&again), kinds(&function));
    assert!(again.parameters().iter().all(|parameter| parameter.name.is_none()));
}

/// Arguments that are accepted are exactly what their values encode to. The input is a signature, a
/// line feed, and bytes.
pub fn arguments(input: &[u8]) {
    let Some(at) = input.iter().position(|byte| *byte == b'\n') else { return };
    let (signature, data) = input.split_at(at);
    let data = data.get(1..).unwrap_or_default();
    let Ok(signature) = std::str::from_utf8(signature) else { return };
    let Ok(function) = abi::function(signature) else { return };
    match abi::decode(function.parameters(), data) {
        Ok(values) => {
            assert_eq!(values.len(), function.parameters().len());
            assert_eq!(abi::encode(function.parameters(), &values), data);
        }
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}

/// Typed data that is accepted has one digest and a full type that reads as itself; what is refused
/// has a code and a text.
pub fn typed(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match TypedData::decode(text) {
        Ok(data) => {
            assert_eq!(data.text(), text);
            assert_eq!(data.fields().len(), data.primary().members().len());
            let Ok(again) = StructType::parse(data.primary().text()) else {
                panic!("{} is not canonical", data.primary().text())
            };
            assert_eq!(again.hash(), data.primary().hash());
            assert_eq!(TypedData::decode(text).map(|again| again.digest()), Ok(data.digest()));
        }
        Err(fault) => {
            assert!(fault.code().starts_with("TYPED_DATA_") && !fault.to_string().is_empty());
        }
    }
}

/// A book that is sound differs from itself in nothing and can be asked about; one that is not says
/// why, with a hint for each fault.
pub fn book(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match Book::parse(text) {
        Ok(book) => {
            assert_eq!(book.difference(&book), Difference::default());
            assert_eq!(book.text(), text);
            let (_lints, _warnings) = (book.lints(), book.warnings());
        }
        Err(Faults(faults)) => {
            assert!(!faults.is_empty());
            assert!(faults.iter().all(|fault| !fault.message.is_empty() && !fault.hint.is_empty()));
        }
    }
}
