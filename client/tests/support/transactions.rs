//! One transaction of each type, and the reply an honest signer gives to it.

use alloy_consensus::transaction::RlpEcdsaEncodableTx;
use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use k256::ecdsa::SigningKey;
use portcullis_proto::v1;

/// A transaction to sign, and what it is once signed.
pub struct Transaction {
    pub name: &'static str,
    pub preimage: Vec<u8>,
    encode: Encode,
}

/// The raw transaction that a signature makes.
type Encode = Box<dyn Fn(&Signature) -> Vec<u8> + Send + Sync>;

impl Transaction {
    fn of<T>(name: &'static str, tx: T) -> Self
    where
        T: SignableTransaction<Signature> + RlpEcdsaEncodableTx + Send + Sync + 'static,
    {
        let preimage = tx.encoded_for_signing();
        let encode: Encode = Box::new(move |signature: &Signature| {
            let mut raw = Vec::new();
            tx.eip2718_encode(signature, &mut raw);
            raw
        });
        Self { name, preimage, encode }
    }

    pub fn digest(&self) -> B256 {
        keccak256(&self.preimage)
    }

    pub fn raw(&self, signature: &Signature) -> Vec<u8> {
        (self.encode)(signature)
    }

    /// What an honest signer with `key` says.
    pub fn signed(&self, key: &SigningKey) -> v1::Signed {
        self.signed_with(&sign(key, self.digest()))
    }

    /// A reply that is consistent, whatever the signature is.
    pub fn signed_with(&self, signature: &Signature) -> v1::Signed {
        let raw = self.raw(signature);
        v1::Signed {
            signature: signature.as_rsy().to_vec(),
            transaction_hash: keccak256(&raw).to_vec(),
            raw_transaction: raw,
            digest: self.digest().to_vec(),
            sequence: 7,
            leaf_hash: vec![0x11; 32],
            receipt: None,
        }
    }
}

/// One of each type.
pub fn each_type() -> Vec<Transaction> {
    let blobs = TxEip4844 {
        chain_id: 1,
        nonce: 3,
        gas_limit: 21_000,
        max_fee_per_gas: 30_000_000_000,
        max_priority_fee_per_gas: 1,
        to: recipient(),
        value: U256::from(5),
        max_fee_per_blob_gas: 9,
        blob_versioned_hashes: vec![B256::repeat_byte(1)],
        ..Default::default()
    };
    let delegating = TxEip7702 {
        chain_id: 1,
        nonce: 4,
        gas_limit: 60_000,
        max_fee_per_gas: 30_000_000_000,
        to: recipient(),
        authorization_list: vec![],
        ..Default::default()
    };
    vec![
        Transaction::of("legacy", legacy(1)),
        Transaction::of("legacy on a chain with the largest id", legacy(u64::MAX)),
        Transaction::of(
            "access list",
            TxEip2930 {
                chain_id: 1,
                nonce: 1,
                gas_price: 2_000_000_000,
                gas_limit: 50_000,
                to: TxKind::Call(recipient()),
                value: U256::ZERO,
                ..Default::default()
            },
        ),
        transfer(),
        Transaction::of(
            "deploy",
            TxEip1559 {
                chain_id: 1,
                to: TxKind::Create,
                input: Bytes::from(vec![0xfe; 3000]),
                ..Default::default()
            },
        ),
        Transaction::of("blobs", blobs),
        Transaction::of("delegation", delegating),
    ]
}

/// The plain case: an EIP-1559 payment.
pub fn transfer() -> Transaction {
    Transaction::of(
        "transfer",
        TxEip1559 {
            chain_id: 1,
            nonce: 2,
            gas_limit: 21_000,
            max_fee_per_gas: 30_000_000_000,
            max_priority_fee_per_gas: 1_000_000_000,
            to: TxKind::Call(recipient()),
            value: U256::from(10).pow(U256::from(18)),
            ..Default::default()
        },
    )
}

fn legacy(chain_id: u64) -> TxLegacy {
    TxLegacy {
        chain_id: Some(chain_id),
        nonce: 0,
        gas_price: 1_000_000_000,
        gas_limit: 21_000,
        to: TxKind::Call(recipient()),
        value: U256::from(1),
        input: Bytes::from(vec![1, 2, 3]),
    }
}

pub fn recipient() -> Address {
    Address::repeat_byte(0xaa)
}

/// A signing key that is the same in every run.
pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).expect("key")
}

pub fn address(key: &SigningKey) -> Address {
    Address::from_public_key(key.verifying_key())
}

pub fn sign(key: &SigningKey, digest: B256) -> Signature {
    let (signature, parity) = key.sign_prehash_recoverable(digest.as_slice()).expect("signing");
    let signature = Signature::from_signature_and_parity(signature, parity.is_y_odd());
    assert!(signature.normalize_s().is_none(), "k256 gives a low s");
    signature
}
