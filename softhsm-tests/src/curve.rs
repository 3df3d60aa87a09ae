//! secp256k1 as an outsider sees it: software keys, verification, addresses. libsecp256k1, so that
//! the judge shares no code with the signer, and a load generator can check every reply.

use std::sync::LazyLock;

use alloy_primitives::{Address, B256, Signature, keccak256};
use secp256k1::ecdsa::Signature as Ecdsa;
use secp256k1::{All, Message, PublicKey, Secp256k1, SecretKey};

static CURVE: LazyLock<Secp256k1<All>> = LazyLock::new(Secp256k1::new);

/// These bytes are no key of the curve.
#[derive(Debug, thiserror::Error)]
#[error("not a key of secp256k1")]
pub struct NotAKey(#[source] secp256k1::Error);

/// A key in plain memory, for tests that need a signature without a token.
#[derive(Clone, Debug)]
pub struct SoftwareKey(SecretKey);

impl SoftwareKey {
    /// A key derived from a name: the same name, the same key.
    pub fn named(name: &str) -> Result<Self, NotAKey> {
        SecretKey::from_slice(keccak256(name).as_slice()).map(Self).map_err(NotAKey)
    }

    /// Its address.
    pub fn address(&self) -> Address {
        address_of(&self.0.public_key(&CURVE).serialize_uncompressed())
    }

    /// Signs a digest; s is low.
    pub fn sign(&self, digest: B256) -> Signature {
        let message = Message::from_digest(digest.0);
        let signature = CURVE.sign_ecdsa_recoverable(&message, &self.0);
        let (recovery, bytes) = signature.serialize_compact();
        Signature::from_bytes_and_parity(&bytes, i32::from(recovery) & 1 == 1)
    }
}

/// Whether r and s (32 bytes each), high or low, are a signature of `digest` under the uncompressed
/// `point`.
pub fn verifies(point: &[u8], digest: B256, signature: &[u8]) -> bool {
    let (Ok(key), Ok(mut signature)) =
        (PublicKey::from_slice(point), Ecdsa::from_compact(signature))
    else {
        return false;
    };
    signature.normalize_s();
    CURVE.verify_ecdsa(&Message::from_digest(digest.0), &signature, &key).is_ok()
}

/// Whether s is at most half the order, as Ethereum demands.
pub fn has_low_s(signature: &[u8]) -> bool {
    let Ok(given) = Ecdsa::from_compact(signature) else { return false };
    let mut low = given;
    low.normalize_s();
    low == given
}

/// The address of an uncompressed point, 65 bytes.
pub fn address_of(point: &[u8]) -> Address {
    let hash = keccak256(point.get(1..).unwrap_or_default());
    Address::from_slice(&hash[12..])
}
