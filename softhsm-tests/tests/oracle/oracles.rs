//! What others read, in one shape.

use std::panic::catch_unwind;

use alloy_consensus::{EthereumTypedTransaction, SignableTransaction, Transaction, TxEip4844};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, TxKind, U256, hex, keccak256};
use ethers_core::types::transaction::eip2718::TypedTransaction;
use ethers_core::utils::rlp::{Decodable, Rlp};
use portcullis_policy::tx::{Destination, UnsignedTx};

use super::generate::Dice;

type Alloy = EthereumTypedTransaction<TxEip4844>;

/// An EIP-7702 tuple as an oracle reads it.
pub(crate) struct Tuple {
    pub(crate) chain: U256,
    pub(crate) address: Address,
    pub(crate) nonce: u64,
    pub(crate) y_parity: u8,
    pub(crate) r: U256,
    pub(crate) s: U256,
}

/// A transaction as an oracle reads it.
pub(crate) struct Seen {
    pub(crate) chain: Option<u64>,
    pub(crate) nonce: U256,
    pub(crate) gas_limit: U256,
    pub(crate) max_fee: U256,
    pub(crate) priority_fee: U256,
    pub(crate) to: Option<Address>,
    pub(crate) value: U256,
    pub(crate) data: Vec<u8>,
    pub(crate) access_list: Vec<(Address, Vec<B256>)>,
    pub(crate) max_blob_fee: Option<U256>,
    pub(crate) blob_hashes: Vec<B256>,
    pub(crate) authorizations: Vec<Tuple>,
    pub(crate) preimage: Vec<u8>,
    digest: B256,
    source: Source,
}

enum Source {
    Alloy(Alloy),
    Ethers(TypedTransaction),
}

impl Seen {
    /// Whether this oracle is known to take bytes for a transaction whose bytes are others:
    /// ethers-core ignores what follows, and alloy the last two items of a legacy preimage.
    pub(crate) fn may_misread(&self, input: &[u8]) -> bool {
        match self.source {
            Source::Alloy(_) => input.first().is_some_and(|first| *first >= 0xc0),
            Source::Ethers(_) => true,
        }
    }
}

/// Any r and s: whether they verify is not this test's business.
pub(crate) struct Signature {
    r: [u8; 32],
    s: [u8; 32],
    y_parity: bool,
}

impl Signature {
    pub(crate) fn random(dice: &mut Dice) -> Self {
        let mut scalar = || {
            let mut bytes: [u8; 32] = dice.bytes(32).try_into().unwrap();
            // Short ones too: their leading zeros must not be written.
            let zeros = if dice.percent(20) { 1 + dice.below(30) } else { 0 };
            bytes[..zeros].fill(0);
            bytes[31] |= 1;
            bytes
        };
        let (r, s) = (scalar(), scalar());
        Self { r, s, y_parity: dice.percent(50) }
    }
}

/// `None` if alloy refuses, or does not read to the end.
pub(crate) fn alloy(input: &[u8]) -> Option<Seen> {
    let mut rest = input;
    let tx = Alloy::decode_unsigned(&mut rest).ok().filter(|_| rest.is_empty())?;
    let list = tx.access_list().map(|list| list.0.as_slice()).unwrap_or_default();
    let priced = tx.gas_price();
    let tuple = |each: &alloy_eips::eip7702::SignedAuthorization| Tuple {
        chain: each.chain_id,
        address: each.address,
        nonce: each.nonce,
        y_parity: each.y_parity(),
        r: each.r(),
        s: each.s(),
    };
    Some(Seen {
        chain: tx.chain_id(),
        nonce: U256::from(tx.nonce()),
        gas_limit: U256::from(tx.gas_limit()),
        max_fee: U256::from(tx.max_fee_per_gas()),
        priority_fee: U256::from(tx.max_priority_fee_per_gas().or(priced).unwrap()),
        to: match tx.kind() {
            TxKind::Call(to) => Some(to),
            TxKind::Create => None,
        },
        value: tx.value(),
        data: tx.input().to_vec(),
        access_list: list.iter().map(|e| (e.address, e.storage_keys.clone())).collect(),
        max_blob_fee: tx.max_fee_per_blob_gas().map(U256::from),
        blob_hashes: tx.blob_versioned_hashes().unwrap_or_default().to_vec(),
        authorizations: tx.authorization_list().unwrap_or_default().iter().map(tuple).collect(),
        preimage: tx.encoded_for_signing(),
        digest: tx.signature_hash(),
        source: Source::Alloy(tx),
    })
}

/// ethers-core knows types 0 to 2, and takes every other byte string for legacy.
pub(crate) fn ethers_knows(input: &[u8]) -> bool {
    input.first().is_none_or(|first| matches!(first, 1 | 2 | 0xc0..))
}

/// `None` if ethers-core refuses, or panics.
pub(crate) fn ethers(input: &[u8]) -> Option<Seen> {
    let decode = || TypedTransaction::decode(&Rlp::new(input)).ok();
    let tx = catch_unwind(decode).ok().flatten()?;
    let wide = |number: ethers_core::types::U256| {
        let mut bytes = [0; 32];
        number.to_big_endian(&mut bytes);
        U256::from_be_bytes(bytes)
    };
    let list = tx.access_list().map(|list| list.0.as_slice()).unwrap_or_default();
    let (max_fee, priority_fee) = match &tx {
        TypedTransaction::Eip1559(tx) => (tx.max_fee_per_gas, tx.max_priority_fee_per_gas),
        _ => (tx.gas_price(), tx.gas_price()),
    };
    let hash = |hash: &ethers_core::types::H256| B256::from(hash.0);
    let preimage = tx.rlp().to_vec();
    Some(Seen {
        chain: tx.chain_id().map(|id| id.as_u64()),
        nonce: wide(*tx.nonce().unwrap()),
        gas_limit: wide(*tx.gas().unwrap()),
        max_fee: wide(max_fee.unwrap()),
        priority_fee: wide(priority_fee.unwrap()),
        to: tx.to_addr().map(|to| Address::from(to.0)),
        value: wide(*tx.value().unwrap()),
        data: tx.data().map(|data| data.to_vec()).unwrap_or_default(),
        access_list: list
            .iter()
            .map(|e| (Address::from(e.address.0), e.storage_keys.iter().map(hash).collect()))
            .collect(),
        max_blob_fee: None,
        blob_hashes: vec![],
        authorizations: vec![],
        preimage,
        digest: B256::from(tx.sighash().0),
        source: Source::Ethers(tx),
    })
}

/// The signed bytes and their hash.
fn signed(seen: &Seen, signature: &Signature) -> (Vec<u8>, B256) {
    match &seen.source {
        Source::Alloy(tx) => {
            let (r, s) = (U256::from_be_bytes(signature.r), U256::from_be_bytes(signature.s));
            let signature = alloy_primitives::Signature::new(r, s, signature.y_parity);
            let envelope = tx.clone().into_envelope(signature);
            (envelope.encoded_2718(), *envelope.tx_hash())
        }
        Source::Ethers(tx) => {
            let parity = u64::from(signature.y_parity);
            let v = match tx {
                TypedTransaction::Legacy(_) => 35 + 2 * seen.chain.unwrap() + parity,
                _ => parity,
            };
            let (r, s) = (signature.r.into(), signature.s.into());
            let signature = ethers_core::types::Signature { r, s, v };
            (tx.rlp_signed(&signature).to_vec(), B256::from(tx.hash(&signature).0))
        }
    }
}

/// Field by field, digest by digest, and byte by byte when signed.
pub(crate) fn assert_same(tx: &UnsignedTx, seen: &Seen, input: &[u8], signature: &Signature) {
    let shown = hex::encode(&input[..input.len().min(400)]);
    assert_eq!(Some(tx.chain().0), seen.chain, "{shown}");
    assert_eq!(U256::from(tx.nonce()), seen.nonce, "{shown}");
    assert_eq!(U256::from(tx.gas_limit()), seen.gas_limit, "{shown}");
    assert_eq!(tx.max_fee_per_gas().units(), seen.max_fee, "{shown}");
    assert_eq!(tx.max_priority_fee_per_gas().units(), seen.priority_fee, "{shown}");
    let to = match tx.destination() {
        Destination::Call(to) => Some(to),
        Destination::Create => None,
    };
    assert_eq!((to, tx.value().units()), (seen.to, seen.value), "{shown}");
    assert_eq!(tx.data(), seen.data, "{shown}");
    assert_eq!(tx.access_list().len(), seen.access_list.len(), "{shown}");
    for (ours, (address, keys)) in tx.access_list().iter().zip(&seen.access_list) {
        assert_eq!((ours.address(), ours.storage_keys()), (*address, keys.as_slice()));
    }
    assert_eq!(tx.max_fee_per_blob_gas().map(|fee| fee.units()), seen.max_blob_fee, "{shown}");
    assert_eq!(tx.blob_hashes(), seen.blob_hashes, "{shown}");
    assert_eq!(tx.authorizations().len(), seen.authorizations.len(), "{shown}");
    for (ours, theirs) in tx.authorizations().iter().zip(&seen.authorizations) {
        assert_eq!(U256::from(ours.chain().0), theirs.chain, "{shown}");
        assert_eq!((ours.address(), ours.nonce()), (theirs.address, theirs.nonce), "{shown}");
        assert_eq!((ours.r(), ours.s()), (theirs.r, theirs.s), "{shown}");
        assert_eq!(u8::from(ours.y_parity()), theirs.y_parity, "{shown}");
    }
    assert_eq!(seen.preimage, input, "{shown}");
    assert_eq!((tx.signing_hash(), keccak256(input)), (seen.digest, seen.digest), "{shown}");
    let Signature { r, s, y_parity } = signature;
    let ours = (tx.signed_bytes(r, s, *y_parity), tx.signed_hash(r, s, *y_parity));
    assert_eq!(ours, signed(seen, signature), "{shown}");
}
