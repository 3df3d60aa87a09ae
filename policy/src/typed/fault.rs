//! Why a text is no typed data.

use super::types::BadType;

/// Why a text is no typed data that could be signed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TypedFault {
    /// More than [`super::TYPED_BYTES_MAX`].
    #[error("the typed data is larger than {} bytes", super::TYPED_BYTES_MAX)]
    TooLarge,
    /// No JSON, or JSON of a kind that is not read.
    #[error("not JSON as it is read here: {0}")]
    Json(String),
    /// Something in it is not as it must be.
    #[error("{at}: {problem}")]
    Field {
        /// The way to it: `message.details.amount`.
        at: String,
        /// What is wrong.
        problem: Problem,
    },
    /// A type.
    #[error("types: {0}")]
    Type(#[from] BadType),
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Problem {
    /// Not there.
    #[error("is missing")]
    Missing,
    /// There, and nobody asked for it.
    #[error("is in no type: leave it out")]
    Unknown,
    /// Should be an object.
    #[error("must be an object")]
    Object,
    /// Should be an array.
    #[error("must be an array")]
    Array,
    /// Has another length than its type.
    #[error("has another number of elements than its type")]
    Length,
    /// Should be a string.
    #[error("must be a string")]
    Text,
    /// Should be true or false.
    #[error("must be true or false")]
    Bool,
    /// Should be an address.
    #[error("must be an address: 0x and 40 hexadecimal digits, in lower case or with a checksum")]
    Address,
    /// Should be bytes.
    #[error("must be 0x and two hexadecimal digits for each byte, as many as its type has")]
    Bytes,
    /// Should be a number.
    #[error("must be a whole number: in digits, or as a string of digits or 0x-digits")]
    Number,
    /// Does not fit its type.
    #[error("does not fit its type")]
    Range,
    /// A chain that no transaction could be on.
    #[error("must be from 1 to 2^53 - 1")]
    Chain,
    /// The domain's type is not that of its fields.
    #[error("must list exactly the fields of the domain, in the order of EIP-712")]
    DomainType,
    /// A domain of nothing is good everywhere.
    #[error("has no field: a signature would be good for every contract")]
    EmptyDomain,
    /// More values than anybody would read.
    #[error("holds more values than are read")]
    TooMany,
}

impl TypedFault {
    /// The stable reason, as in `ErrorInfo.reason`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "TYPED_DATA_TOO_LARGE",
            Self::Json(_) => "TYPED_DATA_NOT_JSON",
            Self::Field { .. } => "TYPED_DATA_MALFORMED",
            Self::Type(_) => "TYPED_DATA_BAD_TYPE",
        }
    }
}
