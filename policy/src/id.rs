//! Names and numbers that identify things: one newtype each, one parser each.
//!
//! After the edge nobody asks again whether one of these is well formed.

use std::fmt;
use std::sync::Arc;

use alloy_primitives::B256;
use base64ct::{Base64Unpadded, Base64UrlUnpadded, Encoding as _};
use serde::{Deserialize, Serialize};

/// A text that does not have the form its kind of name must have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text:?} is not a {kind}: expected {form}")]
pub struct InvalidName {
    /// What it was meant to be.
    pub kind: &'static str,
    /// What was given, cut to 80 characters.
    pub text: String,
    /// The form expected.
    pub form: &'static str,
}

/// Makes a newtype over a shared text whose only way in is a check.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $form:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text, without a copy.
            pub fn shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                let check: fn(&str) -> bool = $check;
                if check(&text) {
                    return Ok(Self(text.into()));
                }
                let text = text.chars().take(80).collect();
                Err(InvalidName { kind: $kind, text, form: $form })
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
    };
}

name! {
    /// An authenticated service: the one SPIFFE URI or DNS name in its certificate.
    CallerId, "caller", "1 to 255 visible ASCII characters", |text| {
        (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    }
}
name! {
    /// A key's name in the book and the logs.
    KeyLabel, "key label", "1 to 64 of a-z, 0-9 and -", plain
}
name! {
    /// A mark on keys, for stops over many of them.
    Tag, "tag", "1 to 64 of a-z, 0-9 and -", plain
}
name! {
    /// A human with credentials.
    PersonId, "person", "1 to 64 of a-z, 0-9 and -", plain
}
name! {
    /// One drill of the stop.
    DrillId, "drill id", "1 to 64 of a-z, 0-9 and -", plain
}
name! {
    /// A step of a drill.
    StepName, "step", "1 to 64 of a-z, 0-9 and -", plain
}
name! {
    /// What a person signs with: an SSH key's fingerprint as OpenSSH writes it, or `passkey:` and a
    /// hash over all of it.
    CredentialId, "credential id", "1 to 80 visible ASCII characters", |text| {
        (1..=80).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    }
}
name! {
    /// What a caller calls one of its requests.
    RequestId, "request id", "1 to 64 of A-Z a-z 0-9 . _ : -", |text| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
        (1..=64).contains(&text.len()) && text.bytes().all(plain)
    }
}

impl CredentialId {
    /// `SHA256:` and the hash of a key blob, as `ssh-keygen -l` prints it.
    pub(crate) fn of_ssh_key(blob: &[u8]) -> Self {
        use sha2::Digest as _;
        let hash = Base64Unpadded::encode_string(&sha2::Sha256::digest(blob));
        Self(format!("SHA256:{hash}").into())
    }

    /// `passkey:` and the hash of its canonical form: key, origins and all.
    pub(crate) fn of_passkey(form: &[u8]) -> Self {
        use sha2::Digest as _;
        let hash = Base64UrlUnpadded::encode_string(&sha2::Sha256::digest(form));
        Self(format!("passkey:{hash}").into())
    }
}

fn plain(text: &str) -> bool {
    let plain = |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

/// Makes a newtype over `u64` that only counts up.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Hash, Serialize,
            Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after. Saturates: 2^64 of anything do not happen.
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(out)
            }
        }
    };
}

number! {
    /// A record's place in the journal. Genesis is 1; 0 is before everything.
    Sequence
}
number! {
    /// A decision's place in the order of decisions.
    DecisionNumber
}
number! {
    /// An EIP-155 chain id.
    ChainId
}
number! {
    /// Which start of the process wrote a record. Only the newest may append.
    Epoch
}

/// A key's immutable id, also its `CKA_ID`: 16 random bytes, written as 32 lower-case hex digits.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// From the bytes of a `CKA_ID`, or fresh from a random source.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// As a `CKA_ID`.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl TryFrom<String> for KeyId {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut bytes = [0; 16];
        let lower = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if lower && hex::decode_to_slice(&text, &mut bytes).is_ok() {
            return Ok(Self(bytes));
        }
        let text = text.chars().take(80).collect();
        Err(InvalidName { kind: "key id", text, form: "32 lower-case hexadecimal digits" })
    }
}

impl std::str::FromStr for KeyId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl From<KeyId> for String {
    fn from(key: KeyId) -> Self {
        key.to_string()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex::encode(self.0))
    }
}

/// What is signed: a Keccak-256 digest.
pub type Digest = B256;

/// The genesis record's leaf hash.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VaultId(pub B256);

/// SHA-256 over a book's bytes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BookHash(pub B256);

impl BookHash {
    /// Hashes a book as it stands in the journal.
    pub fn of(text: &str) -> Self {
        use sha2::Digest as _;
        Self(B256::from_slice(&sha2::Sha256::digest(text.as_bytes())))
    }
}

impl fmt::Display for BookHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Display for VaultId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_id_is_exactly_32_lower_case_hex_digits() {
        assert!("0123456789abcdef0123456789abcdef".parse::<KeyId>().is_ok());
        for bad in
            ["", "0123", "0123456789ABCDEF0123456789abcdef", "g123456789abcdef0123456789abcdef"]
        {
            assert!(bad.parse::<KeyId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_label_is_short_and_plain() {
        assert!("payouts-hot".parse::<KeyLabel>().is_ok());
        for bad in ["", "Payouts", "a b", "a_b", &"a".repeat(65)] {
            assert!(bad.parse::<KeyLabel>().is_err(), "{bad}");
        }
    }
}
