//! Mined transactions, as a node tells them or as raw bytes, back to what was hashed for signing.
//!
//! Made again from their fields alone: nothing of what a node says about the hash is believed. A
//! signature that recovers to our address proves whose it is, whoever tells of it.

use alloy_primitives::{Address, B256, Bytes, Signature, U256, keccak256};
use alloy_rlp::{Encodable, Header};
use serde::Deserialize;

/// One signature that is on the chain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Signed {
    /// What was signed.
    pub(super) digest: B256,
    /// Whose signature it is; `None`: it is nobody's.
    pub(super) signer: Option<Address>,
    pub(super) nonce: u64,
}

/// A transaction, as `eth_getBlockByNumber` tells it. Other fields are nobody's business here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body {
    #[serde(rename = "type", default)]
    kind: U256,
    chain_id: Option<U256>,
    nonce: U256,
    gas: U256,
    gas_price: Option<U256>,
    max_fee_per_gas: Option<U256>,
    max_priority_fee_per_gas: Option<U256>,
    max_fee_per_blob_gas: Option<U256>,
    blob_versioned_hashes: Option<Vec<B256>>,
    to: Option<Address>,
    value: U256,
    input: Bytes,
    access_list: Option<Vec<Access>>,
    authorization_list: Option<Vec<Tuple>>,
    v: Option<U256>,
    y_parity: Option<U256>,
    r: U256,
    s: U256,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Access {
    address: Address,
    storage_keys: Vec<B256>,
}

/// An EIP-7702 authorization in a transaction of anybody.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tuple {
    chain_id: U256,
    address: Address,
    nonce: U256,
    y_parity: Option<U256>,
    v: Option<U256>,
    r: U256,
    s: U256,
}

impl Body {
    /// What its sender signed. `None`: it is of a type that this program does not know, or lacks
    /// what its type needs.
    pub(super) fn signed(&self) -> Option<Signed> {
        let kind = u8::try_from(self.kind).ok()?;
        let mut fields = Vec::new();
        self.write(kind, &mut fields)?;
        let digest = keccak256(envelope(kind, &fields));
        let v = self.v.or(self.y_parity)?;
        let parity = if kind == 0 { legacy_parity(v) } else { self.y_parity.or(self.v)? == ONE };
        let nonce = u64::try_from(self.nonce).ok()?;
        Some(Signed { digest, signer: signer(self.r, self.s, parity, digest), nonce })
    }

    /// What accounts signed that let code run.
    pub(super) fn authorizations(&self) -> &[Tuple] {
        self.authorization_list.as_deref().unwrap_or_default()
    }

    fn write(&self, kind: u8, out: &mut Vec<u8>) -> Option<()> {
        if kind > 0 {
            self.chain_id?.encode(out);
        }
        self.nonce.encode(out);
        match kind {
            0 | 1 => self.gas_price?.encode(out),
            2..=4 => {
                self.max_priority_fee_per_gas?.encode(out);
                self.max_fee_per_gas?.encode(out);
            }
            _ => return None,
        }
        self.gas.encode(out);
        self.to.as_ref().map_or(&[][..], |to| to.as_slice()).encode(out);
        self.value.encode(out);
        self.input.encode(out);
        match kind {
            0 => self.write_chain(out),
            3 => {
                self.write_access_list(out);
                self.max_fee_per_blob_gas?.encode(out);
                let mut hashes = Vec::new();
                self.blob_versioned_hashes.as_ref()?.iter().for_each(|one| one.encode(&mut hashes));
                list(&hashes, out);
            }
            4 => {
                self.write_access_list(out);
                let mut tuples = Vec::new();
                self.authorizations().iter().for_each(|one| one.write(&mut tuples));
                list(&tuples, out);
            }
            _ => self.write_access_list(out),
        }
        Some(())
    }

    /// EIP-155, unless v says that it is older.
    fn write_chain(&self, out: &mut Vec<u8>) {
        let chain = self.v.and_then(chain_of).or(self.chain_id.filter(|_| self.v.is_none()));
        if let Some(chain) = chain {
            chain.encode(out);
            out.extend_from_slice(&[0x80, 0x80]);
        }
    }

    fn write_access_list(&self, out: &mut Vec<u8>) {
        let mut all = Vec::new();
        for access in self.access_list.iter().flatten() {
            let (mut keys, mut one) = (Vec::new(), Vec::new());
            access.storage_keys.iter().for_each(|key| key.encode(&mut keys));
            access.address.encode(&mut one);
            list(&keys, &mut one);
            list(&one, &mut all);
        }
        list(&all, out);
    }
}

impl Tuple {
    /// What the account signed.
    pub(super) fn signed(&self) -> Option<Signed> {
        let mut fields = Vec::new();
        self.chain_id.encode(&mut fields);
        self.address.encode(&mut fields);
        self.nonce.encode(&mut fields);
        let digest = keccak256(envelope(AUTHORIZATION, &fields));
        let parity = self.y_parity.or(self.v)? == ONE;
        let nonce = u64::try_from(self.nonce).ok()?;
        Some(Signed { digest, signer: signer(self.r, self.s, parity, digest), nonce })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut one = Vec::new();
        self.chain_id.encode(&mut one);
        self.address.encode(&mut one);
        self.nonce.encode(&mut one);
        self.y_parity.or(self.v).unwrap_or_default().encode(&mut one);
        self.r.encode(&mut one);
        self.s.encode(&mut one);
        list(&one, out);
    }
}

/// A raw signed transaction: its chain, its hash, and what its sender signed. `None`: it is none.
pub(super) fn raw(bytes: &[u8]) -> Option<(u64, B256, Signed)> {
    let (first, rest) = bytes.split_first()?;
    let kind = if *first < 0x80 { *first } else { 0 };
    let mut items = items(if kind == 0 { bytes } else { rest })?;
    // With its blobs, as it is sent: they are no part of what is hashed.
    let mut whole = bytes.to_vec();
    if let (3, Some(body)) = (kind, items.first().filter(|item| item.first() >= Some(&0xc0))) {
        whole = [&[kind], *body].concat();
        items = self::items(body)?;
    }
    let at = |place: usize| items.get(place).and_then(|item| number(item));
    let count = match kind {
        0 => 9,
        1 => 11,
        2 => 12,
        3 => 14,
        4 => 13,
        _ => return None,
    };
    let (fields, [v, r, s]) = items.split_last_chunk::<3>().filter(|_| items.len() == count)?;
    let (v, r, s) = (number(v)?, number(r)?, number(s)?);
    let mut unsigned = fields.concat();
    let (chain, nonce, parity) = if kind == 0 {
        let chain = chain_of(v)?;
        chain.encode(&mut unsigned);
        unsigned.extend_from_slice(&[0x80, 0x80]);
        (chain, at(0)?, legacy_parity(v))
    } else {
        (at(0)?, at(1)?, v == ONE)
    };
    let digest = keccak256(envelope(kind, &unsigned));
    let nonce = u64::try_from(nonce).ok()?;
    let signed = Signed { digest, signer: signer(r, s, parity, digest), nonce };
    Some((u64::try_from(chain).ok()?, keccak256(whole), signed))
}

/// The encoded items of one list, and nothing after it.
fn items(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let header = Header::decode(&mut bytes).ok().filter(|header| header.list)?;
    if bytes.len() != header.payload_length {
        return None;
    }
    let mut items = Vec::new();
    while !bytes.is_empty() {
        let before = bytes;
        let header = Header::decode(&mut bytes).ok()?;
        bytes = bytes.get(header.payload_length..)?;
        items.push(before.get(..before.len().checked_sub(bytes.len())?)?);
    }
    Some(items)
}

fn number(item: &[u8]) -> Option<U256> {
    let mut item = item;
    alloy_rlp::Decodable::decode(&mut item).ok()
}

fn envelope(kind: u8, fields: &[u8]) -> Vec<u8> {
    let mut out = if kind == 0 { Vec::new() } else { vec![kind] };
    list(fields, &mut out);
    out
}

fn list(payload: &[u8], out: &mut Vec<u8>) {
    Header { list: true, payload_length: payload.len() }.encode(out);
    out.extend_from_slice(payload);
}

fn signer(r: U256, s: U256, parity: bool, digest: B256) -> Option<Address> {
    Signature::new(r, s, parity).recover_address_from_prehash(&digest).ok()
}

/// v is 35 + 2 x chain + parity (EIP-155), or 27 + parity where no chain is named.
fn chain_of(v: U256) -> Option<U256> {
    v.checked_sub(U256::from(35)).map(|rest| rest.wrapping_shr(1))
}

fn legacy_parity(v: U256) -> bool {
    v == U256::from(28) || (v >= U256::from(35) && !v.bit(0))
}

const ONE: U256 = U256::ONE;

/// What tells an authorization from a transaction (EIP-7702).
const AUTHORIZATION: u8 = 0x05;

#[cfg(test)]
mod tests {
    use alloy_consensus::private::alloy_eips::eip2930::{AccessList, AccessListItem};
    use alloy_consensus::private::alloy_eips::eip7702::{Authorization, SignedAuthorization};
    use alloy_consensus::transaction::RlpEcdsaEncodableTx;
    use alloy_consensus::{
        SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy,
    };
    use alloy_primitives::TxKind;
    use k256::ecdsa::SigningKey;
    use serde_json::{Value, json};

    use super::*;

    const TO: Address = Address::repeat_byte(0x11);

    fn sign<T>(tx: &T) -> (Address, B256, Signature, Vec<u8>)
    where
        T: SignableTransaction<Signature> + RlpEcdsaEncodableTx,
    {
        let key = SigningKey::from_slice(&[7; 32]).expect("a key");
        let digest = tx.signature_hash();
        let (signature, id) = key.sign_prehash_recoverable(digest.as_slice()).expect("signs");
        let signature = Signature::from((signature, id));
        let mut raw = Vec::new();
        tx.eip2718_encode(&signature, &mut raw);
        (Address::from_private_key(&key), digest, signature, raw)
    }

    fn holds<T>(tx: &T, mut told: Value)
    where
        T: SignableTransaction<Signature> + RlpEcdsaEncodableTx,
    {
        let (from, digest, signature, raw) = sign(tx);
        let parity = u64::from(signature.v());
        let v = if told["type"] == "0x0" { 37_u64.saturating_add(parity) } else { parity };
        for (name, value) in [
            ("chainId", json!("0x1")),
            ("gas", json!("0x5208")),
            ("input", json!("0xabcd")),
            ("nonce", json!("0x9")),
            ("r", json!(signature.r())),
            ("s", json!(signature.s())),
            ("to", json!(TO)),
            ("v", json!(format!("{v:#x}"))),
            ("value", json!("0x5")),
            ("from", json!(from)),
        ] {
            told[name] = value;
        }
        let body: Body = serde_json::from_value(told).expect("a body");
        let same = Signed { digest, signer: Some(from), nonce: 9 };
        assert_eq!(body.signed(), Some(same));
        assert_eq!(self::raw(&raw), Some((1, keccak256(&raw), same)));
        for end in 0..raw.len() {
            assert_eq!(self::raw(&raw[..end]), None);
        }
    }

    fn call() -> (u64, u64, TxKind, U256, Bytes) {
        (9, 21_000, TxKind::Call(TO), U256::from(5), Bytes::from(vec![0xab, 0xcd]))
    }

    fn listed() -> (AccessList, Value) {
        let item = AccessListItem { address: TO, storage_keys: vec![B256::repeat_byte(2)] };
        let told = json!([{ "address": TO, "storageKeys": [B256::repeat_byte(2)] }]);
        (AccessList(vec![item]), told)
    }

    fn fees(kind: &str) -> Value {
        json!({
            "type": kind, "gasPrice": "0x63", "maxFeePerGas": "0x4",
            "maxPriorityFeePerGas": "0x1", "accessList": listed().1,
        })
    }

    #[test]
    fn types_with_a_gas_price_are_hashed_as_they_were_signed_whether_told_or_raw() {
        let (nonce, gas_limit, to, value, input) = call();
        let legacy = TxLegacy {
            chain_id: Some(1),
            nonce,
            gas_price: 3,
            gas_limit,
            to,
            value,
            input: input.clone(),
        };
        holds(&legacy, json!({ "type": "0x0", "gasPrice": "0x3" }));
        let (access_list, keys) = listed();
        let listed = TxEip2930 {
            chain_id: 1,
            nonce,
            gas_price: 3,
            gas_limit,
            to,
            value,
            access_list,
            input,
        };
        holds(&listed, json!({ "type": "0x1", "gasPrice": "0x3", "accessList": keys }));
    }

    #[test]
    fn types_with_a_maximum_fee_are_hashed_as_they_were_signed_whether_told_or_raw() {
        let (nonce, gas_limit, to, value, input) = call();
        let (chain_id, access_list) = (1, listed().0);
        let dynamic = TxEip1559 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: 4,
            max_priority_fee_per_gas: 1,
            to,
            value,
            access_list: access_list.clone(),
            input: input.clone(),
        };
        holds(&dynamic, fees("0x2"));
        let blob = TxEip4844 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: 4,
            max_priority_fee_per_gas: 1,
            to: TO,
            value,
            access_list: access_list.clone(),
            blob_versioned_hashes: vec![B256::repeat_byte(1)],
            max_fee_per_blob_gas: 9,
            input: input.clone(),
        };
        let mut told = fees("0x3");
        told["maxFeePerBlobGas"] = json!("0x9");
        told["blobVersionedHashes"] = json!([B256::repeat_byte(1)]);
        holds(&blob, told);
        let tuple = json!({
            "chainId": "0x1", "address": TO, "nonce": "0x2", "yParity": "0x1", "r": "0x7",
            "s": "0x8",
        });
        let delegating = TxEip7702 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: 4,
            max_priority_fee_per_gas: 1,
            to: TO,
            value,
            access_list,
            authorization_list: vec![SignedAuthorization::new_unchecked(
                Authorization { chain_id: U256::from(1), address: TO, nonce: 2 },
                1,
                U256::from(7),
                U256::from(8),
            )],
            input,
        };
        let mut told = fees("0x4");
        told["authorizationList"] = json!([tuple]);
        holds(&delegating, told);
    }

    #[test]
    fn a_type_that_nobody_knows_is_not_judged() {
        let told = json!({
            "type": "0x7e", "nonce": "0x0", "gas": "0x1", "to": null, "value": "0x0",
            "input": "0x", "r": "0x0", "s": "0x0", "v": "0x0",
        });
        let body: Body = serde_json::from_value(told).expect("a body");
        assert_eq!(body.signed(), None);
        assert_eq!(raw(&[0x7e, 0xc0]), None);
        assert_eq!(raw(&[]), None);
    }
}
