//! Names a key the way a caller must: by immutable id *and* by the address it expects.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::Address;

/// The key to sign with. The service refuses a pair that does not belong together, and the reply
/// must recover to this address.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct KeyRef {
    /// Its immutable id.
    pub id: KeyId,
    /// The address the caller believes it has.
    pub address: Address,
}

/// A key's immutable id: 16 bytes, written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId([u8; 16]);

/// Text that is no key id.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a key id is 32 lower-case hexadecimal digits, not {text:?}")]
pub struct InvalidKeyId {
    /// What was given.
    pub text: String,
}

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidKeyId { text: text.to_owned() };
        let lower = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !lower {
            return Err(invalid());
        }
        let mut bytes = [0; 16];
        alloy_primitives::hex::decode_to_slice(text, &mut bytes).map_err(|_| invalid())?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&alloy_primitives::hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "KeyId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_id_prints_as_it_was_written() {
        let text = "000102030405060708090a0b0c0d0eff";
        assert_eq!(text.parse::<KeyId>().map(|id| id.to_string()), Ok(text.to_owned()));
    }

    #[test]
    fn upper_case_short_long_and_prefixed_ids_are_refused() {
        for text in ["", "00", "000102030405060708090A0B0C0D0E0F", "0x0102030405060708090a0b0c0d0e"]
        {
            assert!(text.parse::<KeyId>().is_err(), "{text}");
        }
        assert!("00".repeat(17).parse::<KeyId>().is_err());
    }
}
