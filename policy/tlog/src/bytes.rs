//! What keys and hashes look like when they are written down.

use ed25519_dalek::VerifyingKey;

/// An Ed25519 key in its one encoding, and none for which signatures can be made without a secret.
pub fn ed25519(bytes: &[u8; 32]) -> Option<VerifyingKey> {
    let key = VerifyingKey::from_bytes(bytes).ok()?;
    let canonical = key.to_edwards().compress().as_bytes() == bytes;
    (canonical && !key.is_weak()).then_some(key)
}

/// Bytes written in lower-case hex: their one form in a record.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let lower = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if lower { hex::decode(text).ok() } else { None }
}
