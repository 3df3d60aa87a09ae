//! Types and values that calldata and typed data share.
//!
//! Both are read against types that people pinned in the book, or that are written in this crate;
//! what a caller says about a type is only ever compared with those.

use std::fmt;

use alloy_primitives::{Address, B256, U256};

/// A Solidity type, canonical by construction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `uint8` to `uint256`: the number of bits.
    Uint(u16),
    /// `int8` to `int256`: the number of bits.
    Int(u16),
    /// `bool`.
    Bool,
    /// `address`.
    Address,
    /// `bytes1` to `bytes32`: the number of bytes.
    FixedBytes(u8),
    /// `bytes`.
    Bytes,
    /// `string`.
    String,
    /// `T[]`, or `T[n]`.
    Array(Box<Self>, Option<u16>),
    /// `(T,U)`; in typed data a struct, with its name.
    Tuple(Option<String>, Vec<Member>),
}

/// A parameter of a function, or a field of a tuple.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    /// Its type.
    pub kind: Kind,
    /// Its name, if one was written. Two members of one tuple never share one.
    pub name: Option<String>,
}

/// A value of a [`Kind`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// Of `uint`.
    Uint(U256),
    /// Of `int`: two's complement, sign-extended to 256 bits.
    Int(U256),
    /// Of `bool`.
    Bool(bool),
    /// Of `address`.
    Address(Address),
    /// Of `bytesN`: followed by zeros.
    FixedBytes(B256),
    /// Of `bytes`.
    Bytes(Vec<u8>),
    /// Of `string`.
    String(String),
    /// Of an array or a tuple: its elements, in order.
    List(Vec<Self>),
}

impl Kind {
    /// The elementary type of this name; `uint` and `int` are written in full.
    pub(crate) fn elementary(word: &str) -> Option<Self> {
        let bits = |digits: &str| plain(digits).filter(|bits| bits % 8 == 0 && *bits <= 256);
        match word {
            "address" => Some(Self::Address),
            "bool" => Some(Self::Bool),
            "string" => Some(Self::String),
            "bytes" => Some(Self::Bytes),
            "uint" => Some(Self::Uint(256)),
            "int" => Some(Self::Int(256)),
            _ => {
                if let Some(digits) = word.strip_prefix("uint") {
                    bits(digits).map(Self::Uint)
                } else if let Some(digits) = word.strip_prefix("int") {
                    bits(digits).map(Self::Int)
                } else {
                    let size = word.strip_prefix("bytes").and_then(plain);
                    let size = size.filter(|bytes| *bytes <= 32);
                    size.and_then(|bytes| u8::try_from(bytes).ok()).map(Self::FixedBytes)
                }
            }
        }
    }
}

impl fmt::Display for Kind {
    /// Canonical, as it is hashed in a function's signature.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uint(bits) => write!(out, "uint{bits}"),
            Self::Int(bits) => write!(out, "int{bits}"),
            Self::Bool => out.write_str("bool"),
            Self::Address => out.write_str("address"),
            Self::FixedBytes(bytes) => write!(out, "bytes{bytes}"),
            Self::Bytes => out.write_str("bytes"),
            Self::String => out.write_str("string"),
            Self::Array(kind, None) => write!(out, "{kind}[]"),
            Self::Array(kind, Some(length)) => write!(out, "{kind}[{length}]"),
            Self::Tuple(_, members) => {
                out.write_str("(")?;
                for (at, member) in members.iter().enumerate() {
                    if at > 0 {
                        out.write_str(",")?;
                    }
                    write!(out, "{}", member.kind)?;
                }
                out.write_str(")")
            }
        }
    }
}

impl Value {
    /// The number, if it is a `uint`.
    pub fn as_uint(&self) -> Option<U256> {
        if let Self::Uint(number) = self { Some(*number) } else { None }
    }

    /// The address, if it is one.
    pub fn as_address(&self) -> Option<Address> {
        if let Self::Address(address) = self { Some(*address) } else { None }
    }

    /// The bytes, if it is `bytes`.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// The elements, if it is an array or a tuple.
    pub fn as_list(&self) -> Option<&[Self]> {
        if let Self::List(elements) = self { Some(elements) } else { None }
    }
}

impl fmt::Display for Value {
    /// For people: long values are cut.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uint(number) => write!(out, "{number}"),
            Self::Int(number) if number.bit(255) => write!(out, "-{}", number.wrapping_neg()),
            Self::Int(number) => write!(out, "{number}"),
            Self::Bool(value) => write!(out, "{value}"),
            Self::Address(address) => out.write_str(&address.to_checksum(None)),
            Self::FixedBytes(word) => write!(out, "{word}"),
            Self::Bytes(bytes) if bytes.len() > SHOWN_BYTES_MAX => {
                write!(out, "{} bytes", bytes.len())
            }
            Self::Bytes(bytes) => write!(out, "0x{}", hex::encode(bytes)),
            Self::String(text) => {
                let shown: String = text.chars().take(SHOWN_BYTES_MAX).collect();
                write!(out, "{shown:?}")?;
                if shown.len() < text.len() { out.write_str("..") } else { Ok(()) }
            }
            Self::List(elements) => write!(out, "{} elements", elements.len()),
        }
    }
}

/// A number above zero, without sign or leading zeros.
fn plain(digits: &str) -> Option<u16> {
    let starts_well = digits.bytes().next().is_some_and(|digit| matches!(digit, b'1'..=b'9'));
    digits.parse().ok().filter(|_| starts_well)
}

/// More of a value is not read by people.
const SHOWN_BYTES_MAX: usize = 64;
