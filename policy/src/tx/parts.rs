//! What transactions are made of. Values of these types are made by the decoder alone.

use std::fmt;

use alloy_primitives::{Address, B256, U256};

use crate::id::ChainId;
use crate::money::Amount;

/// Which envelope a transaction has.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum TxKind {
    /// Nine RLP items, the chain id among them (EIP-155).
    Legacy,
    /// Type 1, with an access list (EIP-2930).
    AccessList,
    /// Type 2, with a priority fee (EIP-1559).
    DynamicFee,
    /// Type 3, with blobs (EIP-4844).
    Blob,
    /// Type 4, with authorizations that put code into accounts (EIP-7702).
    SetCode,
}

impl fmt::Display for TxKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Legacy => "legacy",
            Self::AccessList => "eip2930",
            Self::DynamicFee => "eip1559",
            Self::Blob => "eip4844",
            Self::SetCode => "eip7702",
        })
    }
}

/// Where a transaction goes.
///
/// Creation is a case of its own and never an address: no list of addresses can permit it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Destination {
    /// To an account. The zero address is one: it burns.
    Call(Address),
    /// Creates a contract; the data are its init code.
    Create,
}

/// One line of an EIP-2930 access list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessListEntry {
    pub(super) address: Address,
    pub(super) storage_keys: Vec<B256>,
}

impl AccessListEntry {
    /// The account.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Its storage keys, as written. Repeats are permitted.
    pub fn storage_keys(&self) -> &[B256] {
        &self.storage_keys
    }
}

/// One EIP-7702 tuple: an account, known by its signature, lets an address be its code.
#[derive(Clone, Eq, PartialEq)]
pub struct Authorization {
    pub(super) chain: ChainId,
    pub(super) address: Address,
    pub(super) nonce: u64,
    pub(super) y_parity: bool,
    pub(super) r: U256,
    pub(super) s: U256,
}

impl Authorization {
    /// The transaction's chain, or 0 for every chain there is.
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    /// The delegate. The zero address ends a delegation.
    pub fn address(&self) -> Address {
        self.address
    }

    /// The nonce at which the account accepts it.
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    /// The signature's parity bit.
    pub fn y_parity(&self) -> bool {
        self.y_parity
    }

    /// The signature's r: above 0, below the curve's order.
    pub fn r(&self) -> U256 {
        self.r
    }

    /// The signature's s: above 0, at most half the curve's order.
    pub fn s(&self) -> U256 {
        self.s
    }
}

impl fmt::Debug for Authorization {
    /// Without the signature, which is as good as the account.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Authorization")
            .field("chain", &self.chain)
            .field("address", &self.address)
            .field("nonce", &self.nonce)
            .finish_non_exhaustive()
    }
}

/// Calldata or init code: prints its length and nothing else.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Calldata(pub(super) Vec<u8>);

impl fmt::Debug for Calldata {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} bytes", self.0.len())
    }
}

/// What every transaction has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Common {
    pub(super) chain: ChainId,
    pub(super) nonce: u64,
    pub(super) gas_limit: u64,
    pub(super) to: Destination,
    pub(super) value: Amount,
    pub(super) data: Calldata,
}

/// What EIP-1559 made of the gas price, in wei per unit of gas.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Fees {
    pub(super) max: Amount,
    pub(super) priority: Amount,
}

/// A legacy transaction with its chain id (EIP-155).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Legacy {
    pub(super) common: Common,
    pub(super) gas_price: Amount,
}

/// A type 1 transaction (EIP-2930).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessListed {
    pub(super) common: Common,
    pub(super) gas_price: Amount,
    pub(super) access_list: Vec<AccessListEntry>,
}

/// A type 2 transaction (EIP-1559).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DynamicFee {
    pub(super) common: Common,
    pub(super) fees: Fees,
    pub(super) access_list: Vec<AccessListEntry>,
}

/// A type 3 transaction (EIP-4844), as it is hashed: without its blobs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Blob {
    pub(super) common: Common,
    pub(super) fees: Fees,
    pub(super) access_list: Vec<AccessListEntry>,
    pub(super) max_fee_per_blob_gas: Amount,
    pub(super) hashes: Vec<B256>,
}

/// A type 4 transaction (EIP-7702).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SetCode {
    pub(super) common: Common,
    pub(super) fees: Fees,
    pub(super) access_list: Vec<AccessListEntry>,
    pub(super) authorizations: Vec<Authorization>,
}
