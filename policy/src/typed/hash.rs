//! `hashStruct` and the digest of EIP-712.

use std::collections::BTreeMap;

use alloy_primitives::{B256, keccak256};

use super::types::{StructType, encode_type};
use super::{Domain, read::DOMAIN_FIELDS};
use crate::id::Digest;
use crate::value::{Kind, Value};

/// What is signed.
pub(super) fn digest(domain: &Domain, primary: &StructType, message: &Value) -> Digest {
    let separator = domain_separator(domain);
    let message = encoded(primary.kind(), message, &mut TypeHashes::new());
    Digest::from(keccak256([&[0x19, 0x01][..], &separator.0, &message].concat()))
}

/// `hashStruct` of the domain: of the fields that are present.
fn domain_separator(domain: &Domain) -> B256 {
    let Domain { name, version, chain, contract, salt } = domain;
    let words = [
        name.as_ref().map(keccak256),
        version.as_ref().map(keccak256),
        chain.map(|chain| B256::left_padding_from(&chain.0.to_be_bytes())),
        contract.map(|contract| contract.into_word()),
        *salt,
    ];
    let fields = DOMAIN_FIELDS.iter().zip(words);
    let present: Vec<_> = fields.filter_map(|(field, word)| Some((field, word?))).collect();
    let names: Vec<String> =
        present.iter().map(|((kind, name), _)| format!("{kind} {name}")).collect();
    let type_hash = keccak256(format!("EIP712Domain({})", names.join(",")));
    let words = present.iter().flat_map(|(_, word)| word.0);
    keccak256(type_hash.0.into_iter().chain(words).collect::<Vec<u8>>())
}

/// `typeHash` by struct: each is computed once, however many of it there are.
type TypeHashes<'k> = BTreeMap<&'k str, [u8; 32]>;

/// `encodeData` of one value: always 32 bytes.
fn encoded<'k>(kind: &'k Kind, value: &Value, hashes: &mut TypeHashes<'k>) -> [u8; 32] {
    match (kind, value) {
        (_, Value::Uint(number) | Value::Int(number)) => number.to_be_bytes(),
        (_, Value::Bool(value)) => {
            let mut word = [0; 32];
            if let Some(last) = word.last_mut() {
                *last = u8::from(*value);
            }
            word
        }
        (_, Value::Address(address)) => address.into_word().0,
        (_, Value::FixedBytes(word)) => word.0,
        (_, Value::Bytes(bytes)) => keccak256(bytes).0,
        (_, Value::String(text)) => keccak256(text).0,
        (Kind::Array(element, _), Value::List(values)) => {
            let words = values.iter().flat_map(|value| encoded(element, value, hashes));
            keccak256(words.collect::<Vec<u8>>()).0
        }
        (Kind::Tuple(name, members), Value::List(values)) => {
            let name = name.as_deref().unwrap_or_default();
            let type_hash = *hashes.entry(name).or_insert_with(|| keccak256(encode_type(kind)).0);
            let fields = members.iter().zip(values);
            let words = fields.flat_map(|(member, value)| encoded(&member.kind, value, hashes));
            keccak256(type_hash.into_iter().chain(words).collect::<Vec<u8>>()).0
        }
        // A list is never read against another type.
        (_, Value::List(_)) => [0; 32],
    }
}
