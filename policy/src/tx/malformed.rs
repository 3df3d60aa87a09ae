//! Why bytes are not a transaction that this service signs: one reason each, with its remedy.
//!
//! A text never repeats the bytes it complains about: calldata does not belong into logs.

use super::{
    ACCESS_LIST_ITEMS_MAX, AUTHORIZATIONS_MAX, BLOB_HASHES_MAX, CHAIN_ID_MAX, INIT_CODE_BYTES_MAX,
    TX_BYTES_MAX, TxKind,
};
use std::fmt;

/// A field of a transaction, as its EIP orders them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Field {
    /// The EIP-155 chain id.
    ChainId,
    /// The sender's transaction count.
    Nonce,
    /// The price of gas in legacy and EIP-2930 transactions.
    GasPrice,
    /// The most that is paid for a unit of gas.
    MaxFeePerGas,
    /// The most of it that goes to the block builder.
    MaxPriorityFeePerGas,
    /// Units of gas.
    GasLimit,
    /// The recipient.
    To,
    /// What the recipient is paid.
    Value,
    /// Calldata or init code.
    Data,
    /// The EIP-2930 list as a whole, or one entry of it.
    AccessList,
    /// An account in the access list.
    AccessListAddress,
    /// A storage key in the access list.
    AccessListKey,
    /// The most that is paid for a unit of blob gas.
    MaxFeePerBlobGas,
    /// The EIP-4844 hashes, or one of them.
    BlobHashes,
    /// The EIP-7702 list as a whole, or one tuple of it.
    Authorizations,
    /// A tuple's chain id.
    AuthorizationChainId,
    /// A tuple's delegate.
    AuthorizationAddress,
    /// A tuple's nonce.
    AuthorizationNonce,
    /// A tuple's parity bit.
    AuthorizationParity,
    /// A tuple's r.
    AuthorizationR,
    /// A tuple's s.
    AuthorizationS,
    /// The first of the two empty items that end an EIP-155 preimage.
    LegacyR,
    /// The second.
    LegacyS,
}

impl fmt::Display for Field {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::ChainId => "chain id",
            Self::Nonce => "nonce",
            Self::GasPrice => "gas price",
            Self::MaxFeePerGas => "max fee per gas",
            Self::MaxPriorityFeePerGas => "max priority fee per gas",
            Self::GasLimit => "gas limit",
            Self::To => "to",
            Self::Value => "value",
            Self::Data => "data",
            Self::AccessList => "access list",
            Self::AccessListAddress => "access list address",
            Self::AccessListKey => "access list storage key",
            Self::MaxFeePerBlobGas => "max fee per blob gas",
            Self::BlobHashes => "blob versioned hashes",
            Self::Authorizations => "authorization list",
            Self::AuthorizationChainId => "authorization's chain id",
            Self::AuthorizationAddress => "authorization's address",
            Self::AuthorizationNonce => "authorization's nonce",
            Self::AuthorizationParity => "authorization's y parity",
            Self::AuthorizationR => "authorization's r",
            Self::AuthorizationS => "authorization's s",
            Self::LegacyR => "r",
            Self::LegacyS => "s",
        })
    }
}

/// Bytes that are not an unsigned transaction in its one form. Closed.
///
/// `docs/decoding.md` explains each code to the people who meet it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Malformed {
    /// No bytes.
    #[error("there is no transaction: send the unsigned EIP-2718 bytes that would be hashed")]
    Empty,
    /// More than [`TX_BYTES_MAX`].
    #[error("the transaction has {bytes} bytes: nodes relay at most {TX_BYTES_MAX}")]
    TooLarge {
        /// How many there are.
        bytes: usize,
    },
    /// ASCII "0x...".
    #[error("this is hexadecimal text: send the bytes it stands for")]
    HexText,
    /// A first byte that names no type known here.
    #[error("transaction type {0:#04x} is unknown: use legacy (EIP-155), 1, 2, 3 or 4")]
    UnknownType(u8),
    /// An RLP string: the form in which nodes send typed transactions to each other.
    #[error("the transaction is wrapped in an RLP string: send the bytes inside")]
    Wrapped,
    /// After the type byte there is no list.
    #[error("a transaction is a list of fields, and this is not a list")]
    NotAList,
    /// Not an EIP-7702 authorization.
    #[error("an authorization is 0x05 and the list of chain id, address and nonce")]
    Delegation,
    /// A length reaches beyond the end.
    #[error("the transaction is cut short: an item claims more bytes than there are")]
    Truncated,
    /// Bytes after the end of the list.
    #[error("{bytes} bytes follow the transaction: send the transaction alone")]
    TrailingBytes {
        /// How many follow.
        bytes: usize,
    },
    /// A length or single byte that is not in its shortest form.
    #[error("the RLP is not canonical: encode every length and every small byte in its one form")]
    NonCanonical,
    /// A number that starts with a zero byte.
    #[error("{0} starts with a zero byte: numbers are encoded without leading zeros")]
    LeadingZero(Field),
    /// A number wider than its field.
    #[error("{field} has {bytes} bytes: at most {bytes_max} fit")]
    FieldTooLong {
        /// Which.
        field: Field,
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        bytes_max: usize,
    },
    /// An address or hash of another length.
    #[error("{field} has {bytes} bytes: it must have {expected}")]
    FieldLength {
        /// Which.
        field: Field,
        /// How many it has.
        bytes: usize,
        /// How many it must have.
        expected: usize,
    },
    /// A list where bytes belong, or bytes where a list belongs.
    #[error("{0} is a list where bytes belong, or bytes where a list belongs")]
    FieldShape(Field),
    /// Another number of fields than the type has.
    #[error("{kind} has {expected} fields unsigned, and this has {found}")]
    FieldCount {
        /// The type.
        kind: TxKind,
        /// How many it has.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// An access list entry or authorization with another number of parts.
    #[error("an entry of the {0} has the wrong number of parts")]
    EntryParts(Field),
    /// Signature fields are present.
    #[error("the transaction is signed already: send the unsigned bytes")]
    AlreadySigned,
    /// A blob transaction in its network form.
    #[error("the transaction carries its blobs: send the inner transaction alone")]
    BlobSidecar,
    /// Six legacy fields: valid on every chain.
    #[error("legacy without a chain id is valid on every chain: encode it as EIP-155 says")]
    LegacyWithoutChainId,
    /// Chain id 0.
    #[error("chain id 0 is no chain: set the chain id")]
    ChainIdZero,
    /// Above [`CHAIN_ID_MAX`].
    #[error("the chain id is above {CHAIN_ID_MAX}, the largest for which v fits 64 bits")]
    ChainIdTooLarge,
    /// 2^64 - 1.
    #[error("nonce 2^64 - 1 can never be mined (EIP-2681)")]
    NonceTooLarge,
    /// Gas limit 0.
    #[error("gas limit 0 can never be mined: set the gas limit")]
    GasLimitZero,
    /// The priority fee is part of the fee.
    #[error("the max priority fee is above the max fee: such a transaction is never mined")]
    PriorityFeeAboveMaxFee,
    /// A creation with nothing to run.
    #[error("to and data are both empty: what is paid would be lost in an account without code")]
    CreateWithoutCode,
    /// More init code than EIP-3860 permits.
    #[error("the init code has {bytes} bytes: EIP-3860 permits {INIT_CODE_BYTES_MAX}")]
    InitCodeTooLarge {
        /// How many it has.
        bytes: usize,
    },
    /// More than [`ACCESS_LIST_ITEMS_MAX`].
    #[error("the access list has more than {ACCESS_LIST_ITEMS_MAX} addresses and keys")]
    AccessListTooLong,
    /// A blob transaction must have a recipient.
    #[error("a blob transaction cannot create a contract: set to")]
    BlobCreate,
    /// A blob transaction must have blobs.
    #[error("a blob transaction has at least one blob hash: use type 2 for none")]
    BlobWithoutHashes,
    /// More than [`BLOB_HASHES_MAX`].
    #[error("there are more than {BLOB_HASHES_MAX} blob hashes")]
    BlobHashesTooMany,
    /// Not a KZG commitment's hash.
    #[error("a blob hash has version {0:#04x}: only 0x01 (KZG) exists")]
    BlobHashVersion(u8),
    /// A set-code transaction must have a recipient.
    #[error("a set-code transaction cannot create a contract: set to")]
    SetCodeCreate,
    /// A set-code transaction must set code.
    #[error("a set-code transaction has at least one authorization: use type 2 for none")]
    SetCodeWithoutAuthorizations,
    /// More than [`AUTHORIZATIONS_MAX`].
    #[error("there are more than {AUTHORIZATIONS_MAX} authorizations")]
    AuthorizationsTooMany,
    /// A tuple that this transaction's chain would skip, and another chain would take.
    #[error("an authorization is for another chain than the transaction")]
    AuthorizationChain,
    /// A tuple that can never take effect because of its nonce.
    #[error("an authorization's nonce is 2^64 - 1: it would be skipped (EIP-7702)")]
    AuthorizationNonce,
    /// A tuple that can never take effect because of its signature.
    #[error("an authorization's signature is out of range or has a high s: it would be skipped")]
    AuthorizationSignature,
}

impl Malformed {
    /// The stable name, for machines. Never renamed.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "TX_EMPTY",
            Self::TooLarge { .. } => "TX_TOO_LARGE",
            Self::HexText => "TX_HEX_TEXT",
            Self::UnknownType(_) => "TX_UNKNOWN_TYPE",
            Self::Wrapped => "TX_WRAPPED",
            Self::NotAList => "TX_NOT_A_LIST",
            Self::Truncated => "TX_TRUNCATED",
            Self::TrailingBytes { .. } => "TX_TRAILING_BYTES",
            Self::NonCanonical => "TX_NON_CANONICAL",
            Self::LeadingZero(_) => "TX_LEADING_ZERO",
            Self::FieldTooLong { .. } => "TX_FIELD_TOO_LONG",
            Self::FieldLength { .. } => "TX_FIELD_LENGTH",
            Self::FieldShape(_) => "TX_FIELD_SHAPE",
            Self::FieldCount { .. } => "TX_FIELD_COUNT",
            Self::EntryParts(_) => "TX_ENTRY_PARTS",
            Self::AlreadySigned => "TX_ALREADY_SIGNED",
            Self::BlobSidecar => "TX_BLOB_SIDECAR",
            Self::LegacyWithoutChainId => "TX_LEGACY_WITHOUT_CHAIN_ID",
            Self::ChainIdZero => "TX_CHAIN_ID_ZERO",
            Self::Delegation => "TX_NOT_AN_AUTHORIZATION",
            Self::ChainIdTooLarge => "TX_CHAIN_ID_TOO_LARGE",
            Self::NonceTooLarge => "TX_NONCE_TOO_LARGE",
            Self::GasLimitZero => "TX_GAS_LIMIT_ZERO",
            Self::PriorityFeeAboveMaxFee => "TX_PRIORITY_FEE_ABOVE_MAX_FEE",
            Self::CreateWithoutCode => "TX_CREATE_WITHOUT_CODE",
            Self::InitCodeTooLarge { .. } => "TX_INIT_CODE_TOO_LARGE",
            Self::AccessListTooLong => "TX_ACCESS_LIST_TOO_LONG",
            Self::BlobCreate => "TX_BLOB_CREATE",
            Self::BlobWithoutHashes => "TX_BLOB_WITHOUT_HASHES",
            Self::BlobHashesTooMany => "TX_BLOB_HASHES_TOO_MANY",
            Self::BlobHashVersion(_) => "TX_BLOB_HASH_VERSION",
            Self::SetCodeCreate => "TX_SET_CODE_CREATE",
            Self::SetCodeWithoutAuthorizations => "TX_SET_CODE_WITHOUT_AUTHORIZATIONS",
            Self::AuthorizationsTooMany => "TX_AUTHORIZATIONS_TOO_MANY",
            Self::AuthorizationChain => "TX_AUTHORIZATION_CHAIN",
            Self::AuthorizationNonce => "TX_AUTHORIZATION_NONCE",
            Self::AuthorizationSignature => "TX_AUTHORIZATION_SIGNATURE",
        }
    }
}
