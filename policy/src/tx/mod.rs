//! Understands unsigned transactions: the bytes that are hashed for signing, and nothing else.
//!
//! [`UnsignedTx::decode`] is the only way in. It must never accept two forms of one transaction,
//! nor bytes of which it does not know what they do: whatever is signed here was read here.

mod decode;
mod delegation;
mod draft;
mod encode;
mod essence;
mod malformed;
mod parts;
mod rlp;
#[cfg(test)]
mod tests;

use alloy_primitives::{B256, keccak256};

pub use delegation::Delegation;
pub use draft::Draft;
pub use malformed::{Field, Malformed};
pub use parts::{
    AccessListEntry, AccessListed, Authorization, Blob, Destination, DynamicFee, Legacy, SetCode,
    TxKind,
};

use crate::id::ChainId;
use crate::money::Amount;
use parts::{Common, Fees};

/// Largest preimage we decode: 128 KiB, what geth's pool relays (signed, and without blobs).
/// Nobody could broadcast more, so decoding it only helps an attacker.
pub const TX_BYTES_MAX: usize = 131_072;

/// Largest chain id: the largest for which 35 + 2 x chain + parity fits 64 bits. EIP-2294 meant
/// this one, but is one too high: with its own bound and parity 1, v is 2^64.
pub const CHAIN_ID_MAX: u64 = 0x7fff_ffff_ffff_ffed;

/// Largest init code (EIP-3860), in bytes.
pub const INIT_CODE_BYTES_MAX: usize = 49_152;

/// Most addresses and storage keys in one access list, together. At 1,900 gas and more each they
/// would fill half of the largest transaction (EIP-7825) before anything is called.
pub const ACCESS_LIST_ITEMS_MAX: usize = 4_096;

/// Most blobs in one transaction. Ethereum permits 6 (EIP-7594); the rest is room for its forks
/// and for other chains.
pub const BLOB_HASHES_MAX: usize = 64;

/// Most authorizations in one transaction. Each hands over an account for good, and whoever
/// approves has to read every one.
pub const AUTHORIZATIONS_MAX: usize = 256;

/// Blob gas of one blob (EIP-4844).
pub const GAS_PER_BLOB: u64 = 131_072;

/// A transaction that was understood, in the one form in which it can be hashed and signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum UnsignedTx {
    /// EIP-155.
    Legacy(Legacy),
    /// EIP-2930.
    AccessList(AccessListed),
    /// EIP-1559.
    DynamicFee(DynamicFee),
    /// EIP-4844.
    Blob(Blob),
    /// EIP-7702.
    SetCode(SetCode),
}

impl UnsignedTx {
    /// Reads the bytes that are hashed for signing: the type byte, if any, and one RLP list.
    ///
    /// # Errors
    ///
    /// Anything that is not the one canonical form of a transaction that could be mined.
    pub fn decode(preimage: &[u8]) -> Result<Self, Malformed> {
        let tx = decode::decode(preimage)?;
        // The reader is strict already. This is the proof that it was: what is hashed below is
        // what was sent, byte for byte.
        if tx.preimage() == preimage { Ok(tx) } else { Err(Malformed::NonCanonical) }
    }

    /// Which envelope it has.
    pub fn kind(&self) -> TxKind {
        match self {
            Self::Legacy(_) => TxKind::Legacy,
            Self::AccessList(_) => TxKind::AccessList,
            Self::DynamicFee(_) => TxKind::DynamicFee,
            Self::Blob(_) => TxKind::Blob,
            Self::SetCode(_) => TxKind::SetCode,
        }
    }

    /// The only chain on which it is valid. Never 0.
    pub fn chain(&self) -> ChainId {
        self.common().chain
    }

    /// The sender's transaction count. At most 2^64 - 2 (EIP-2681).
    pub fn nonce(&self) -> u64 {
        self.common().nonce
    }

    /// Units of gas. Never 0.
    pub fn gas_limit(&self) -> u64 {
        self.common().gas_limit
    }

    /// The most that is paid for a unit of gas, in wei. The gas price where there is only that.
    pub fn max_fee_per_gas(&self) -> Amount {
        self.fees().max
    }

    /// The most of it that goes to the block builder, in wei. The gas price where there is only
    /// that.
    pub fn max_priority_fee_per_gas(&self) -> Amount {
        self.fees().priority
    }

    /// Where it goes.
    pub fn destination(&self) -> Destination {
        self.common().to
    }

    /// What the destination is paid, in wei.
    pub fn value(&self) -> Amount {
        self.common().value
    }

    /// Calldata, or init code if a contract is created.
    pub fn data(&self) -> &[u8] {
        &self.common().data.0
    }

    /// The access list, empty where the envelope has none. It changes what gas costs, and nothing
    /// else.
    pub fn access_list(&self) -> &[AccessListEntry] {
        match self {
            Self::Legacy(_) => &[],
            Self::AccessList(tx) => &tx.access_list,
            Self::DynamicFee(tx) => &tx.access_list,
            Self::Blob(tx) => &tx.access_list,
            Self::SetCode(tx) => &tx.access_list,
        }
    }

    /// The hashes of its blobs; empty unless it is a blob transaction, never empty if it is one.
    pub fn blob_hashes(&self) -> &[B256] {
        match self {
            Self::Blob(tx) => &tx.hashes,
            Self::Legacy(_) | Self::AccessList(_) | Self::DynamicFee(_) | Self::SetCode(_) => &[],
        }
    }

    /// The most that is paid for a unit of blob gas, in wei. `None` unless it has blobs.
    pub fn max_fee_per_blob_gas(&self) -> Option<Amount> {
        match self {
            Self::Blob(tx) => Some(tx.max_fee_per_blob_gas),
            Self::Legacy(_) | Self::AccessList(_) | Self::DynamicFee(_) | Self::SetCode(_) => None,
        }
    }

    /// The accounts' authorizations it carries; empty unless it is a set-code transaction, never
    /// empty if it is one.
    pub fn authorizations(&self) -> &[Authorization] {
        match self {
            Self::SetCode(tx) => &tx.authorizations,
            Self::Legacy(_) | Self::AccessList(_) | Self::DynamicFee(_) | Self::Blob(_) => &[],
        }
    }

    /// The most that it can cost beside its value, in wei: the gas limit at the max fee, and all
    /// blobs at the max blob fee. `None` on overflow; a caller treats that as over every limit.
    /// What a rollup takes beside gas for its layer 1 is in no signed field, and not in here: the
    /// book says how much to reserve for it, and [`crate::effect::effects`] adds that.
    pub fn worst_case_fee(&self) -> Option<Amount> {
        let gas = Amount::from(u128::from(self.gas_limit()));
        let execution = gas.checked_mul(self.max_fee_per_gas())?;
        let Some(blob_fee) = self.max_fee_per_blob_gas() else { return Some(execution) };
        let blobs = Amount::from(u128::try_from(self.blob_hashes().len()).ok()?);
        let blob_gas = blobs.checked_mul(Amount::from(u128::from(GAS_PER_BLOB)))?;
        execution.checked_add(blob_gas.checked_mul(blob_fee)?)
    }

    /// The bytes it was read from.
    pub fn preimage(&self) -> Vec<u8> {
        encode::unsigned(self)
    }

    /// What is signed: the Keccak-256 of the preimage.
    pub fn signing_hash(&self) -> B256 {
        keccak256(self.preimage())
    }

    /// The EIP-2718 bytes to broadcast, with a signature that the caller has verified. For
    /// legacy, v is 35 + 2 x chain + parity.
    pub fn signed_bytes(&self, r: &[u8; 32], s: &[u8; 32], y_parity: bool) -> Vec<u8> {
        encode::signed(self, r, s, y_parity)
    }

    /// The transaction hash: the Keccak-256 of [`Self::signed_bytes`].
    pub fn signed_hash(&self, r: &[u8; 32], s: &[u8; 32], y_parity: bool) -> B256 {
        keccak256(self.signed_bytes(r, s, y_parity))
    }

    fn common(&self) -> &Common {
        match self {
            Self::Legacy(tx) => &tx.common,
            Self::AccessList(tx) => &tx.common,
            Self::DynamicFee(tx) => &tx.common,
            Self::Blob(tx) => &tx.common,
            Self::SetCode(tx) => &tx.common,
        }
    }

    fn fees(&self) -> Fees {
        match self {
            Self::Legacy(tx) => Fees { max: tx.gas_price, priority: tx.gas_price },
            Self::AccessList(tx) => Fees { max: tx.gas_price, priority: tx.gas_price },
            Self::DynamicFee(tx) => tx.fees,
            Self::Blob(tx) => tx.fees,
            Self::SetCode(tx) => tx.fees,
        }
    }
}
