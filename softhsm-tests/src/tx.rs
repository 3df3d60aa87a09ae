//! Transactions of all five types: unsigned, as a caller would send them to the signer, and
//! assembled with a signature that came back. Built with alloy, which the signer does not use.

use alloy_consensus::transaction::{SignableTransaction, TxEip4844WithSidecar};
use alloy_consensus::{
    EthereumTxEnvelope, EthereumTypedTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip7702,
    TxLegacy,
};
use alloy_eips::eip2718::{Decodable2718, Eip2718Error, Encodable2718};
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_eips::eip4844::{Blob, BlobTransactionSidecar, Bytes48};
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use sha2::{Digest, Sha256};

use crate::curve::SoftwareKey;

/// A transaction of any type without a blob's contents.
pub type Unsigned = EthereumTypedTransaction<TxEip4844>;

/// The envelope types.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Type 0, with the chain id of EIP-155.
    Legacy,
    /// Type 1, with an access list.
    Eip2930,
    /// Type 2.
    Eip1559,
    /// Type 3, with one blob, which is all zeros.
    Eip4844,
    /// Type 4, with [`Payment::authorizations`].
    Eip7702,
}

impl Kind {
    /// All of them, in order of type.
    pub const ALL: [Self; 5] =
        [Self::Legacy, Self::Eip2930, Self::Eip1559, Self::Eip4844, Self::Eip7702];
}

/// What a transaction is to do. Fees are in wei per gas.
#[derive(Clone, Debug)]
pub struct Payment {
    /// The chain.
    pub chain_id: u64,
    /// The sender's nonce.
    pub nonce: u64,
    /// The recipient, or the contract called.
    pub to: Address,
    /// Native amount, in wei.
    pub value: U256,
    /// Gas limit.
    pub gas_limit: u64,
    /// Highest fee; the gas price of types 0 and 1.
    pub max_fee_per_gas: u128,
    /// Highest tip; types 2 to 4.
    pub max_priority_fee_per_gas: u128,
    /// Highest blob fee; type 3.
    pub max_fee_per_blob_gas: u128,
    /// Calldata.
    pub data: Bytes,
    /// Delegations; type 4. A node wants at least one.
    pub authorizations: Vec<SignedAuthorization>,
}

impl Payment {
    /// A plain payment that any test chain mines: 2 gwei at most, 100,000 gas.
    pub fn new(chain_id: u64, nonce: u64, to: Address, value: U256) -> Self {
        Self {
            chain_id,
            nonce,
            to,
            value,
            gas_limit: 100_000,
            max_fee_per_gas: 2_000_000_000,
            max_priority_fee_per_gas: 1_000_000_000,
            max_fee_per_blob_gas: 1_000_000_000,
            data: Bytes::new(),
            authorizations: Vec::new(),
        }
    }

    /// The same with an ERC-20 `transfer(to, amount)` to the contract that it goes to.
    pub fn erc20_transfer(mut self, to: Address, amount: U256) -> Self {
        let mut data = vec![0xa9, 0x05, 0x9c, 0xbb];
        data.extend_from_slice(to.into_word().as_slice());
        data.extend_from_slice(&amount.to_be_bytes::<32>());
        self.data = data.into();
        self
    }

    /// As a transaction of this type.
    pub fn unsigned(&self, kind: Kind) -> Unsigned {
        match kind {
            Kind::Legacy => Unsigned::Legacy(self.legacy()),
            Kind::Eip2930 => Unsigned::Eip2930(self.eip2930()),
            Kind::Eip1559 => Unsigned::Eip1559(self.eip1559()),
            Kind::Eip4844 => Unsigned::Eip4844(self.eip4844()),
            Kind::Eip7702 => Unsigned::Eip7702(self.eip7702()),
        }
    }

    fn legacy(&self) -> TxLegacy {
        TxLegacy {
            chain_id: Some(self.chain_id),
            nonce: self.nonce,
            gas_price: self.max_fee_per_gas,
            gas_limit: self.gas_limit,
            to: TxKind::Call(self.to),
            value: self.value,
            input: self.data.clone(),
        }
    }

    fn eip2930(&self) -> TxEip2930 {
        let item = AccessListItem { address: self.to, storage_keys: vec![B256::with_last_byte(1)] };
        TxEip2930 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_price: self.max_fee_per_gas,
            gas_limit: self.gas_limit,
            to: TxKind::Call(self.to),
            value: self.value,
            access_list: AccessList(vec![item]),
            input: self.data.clone(),
        }
    }

    fn eip1559(&self) -> TxEip1559 {
        TxEip1559 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_limit: self.gas_limit,
            max_fee_per_gas: self.max_fee_per_gas,
            max_priority_fee_per_gas: self.max_priority_fee_per_gas,
            to: TxKind::Call(self.to),
            value: self.value,
            access_list: AccessList::default(),
            input: self.data.clone(),
        }
    }

    fn eip4844(&self) -> TxEip4844 {
        TxEip4844 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_limit: self.gas_limit,
            max_fee_per_gas: self.max_fee_per_gas,
            max_priority_fee_per_gas: self.max_priority_fee_per_gas,
            to: self.to,
            value: self.value,
            access_list: AccessList::default(),
            blob_versioned_hashes: vec![zero_blob_hash()],
            max_fee_per_blob_gas: self.max_fee_per_blob_gas,
            input: self.data.clone(),
        }
    }

    fn eip7702(&self) -> TxEip7702 {
        TxEip7702 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_limit: self.gas_limit,
            max_fee_per_gas: self.max_fee_per_gas,
            max_priority_fee_per_gas: self.max_priority_fee_per_gas,
            to: self.to,
            value: self.value,
            access_list: AccessList::default(),
            authorization_list: self.authorizations.clone(),
            input: self.data.clone(),
        }
    }
}

/// What is hashed for signing: the signer's input.
pub fn preimage(unsigned: &Unsigned) -> Vec<u8> {
    unsigned.encoded_for_signing()
}

/// The digest that gets signed.
pub fn digest(unsigned: &Unsigned) -> B256 {
    unsigned.signature_hash()
}

/// The signed transaction, as the signer should return it: a blob transaction without its blob.
pub fn signed(unsigned: Unsigned, signature: Signature) -> Vec<u8> {
    let envelope: EthereumTxEnvelope<TxEip4844> = match unsigned {
        Unsigned::Legacy(tx) => tx.into_signed(signature).into(),
        Unsigned::Eip2930(tx) => tx.into_signed(signature).into(),
        Unsigned::Eip1559(tx) => tx.into_signed(signature).into(),
        Unsigned::Eip4844(tx) => EthereumTxEnvelope::Eip4844(tx.into_signed(signature)),
        Unsigned::Eip7702(tx) => tx.into_signed(signature).into(),
    };
    envelope.encoded_2718()
}

/// A signed transaction as a node wants it: a blob transaction gets its (zero) blob and proof.
pub fn for_node(signed: &[u8]) -> Result<Vec<u8>, Eip2718Error> {
    let envelope = EthereumTxEnvelope::<TxEip4844>::decode_2718_exact(signed)?;
    let EthereumTxEnvelope::Eip4844(transaction) = envelope else { return Ok(signed.to_vec()) };
    let (tx, signature, _) = transaction.into_parts();
    let sidecar = BlobTransactionSidecar {
        blobs: vec![Blob::ZERO],
        commitments: vec![point_at_infinity()],
        proofs: vec![point_at_infinity()],
    };
    let whole = TxEip4844WithSidecar { tx, sidecar }.into_signed(signature);
    Ok(EthereumTxEnvelope::Eip4844(whole).encoded_2718())
}

/// `key` lets `delegate` act for it on `chain_id`, if its nonce is `nonce` by then.
pub fn authorization(
    key: &SoftwareKey,
    chain_id: u64,
    delegate: Address,
    nonce: u64,
) -> SignedAuthorization {
    let open = Authorization { chain_id: U256::from(chain_id), address: delegate, nonce };
    let signature = key.sign(open.signature_hash());
    open.into_signed(signature)
}

/// The commitment and the proof of a blob of zeros, in BLS12-381's compressed form.
fn point_at_infinity() -> Bytes48 {
    let mut point = Bytes48::ZERO;
    point[0] = 0xc0;
    point
}

/// EIP-4844: a version byte, then the commitment's SHA-256 without its first byte.
fn zero_blob_hash() -> B256 {
    let mut hash: [u8; 32] = Sha256::digest(point_at_infinity()).into();
    hash[0] = 1;
    hash.into()
}
