//! Instant mode: signs with a throw-away key and a fixed nonce, in one multiplication.
//!
//! A measuring device. Two of its signatures reveal the key, and so does one together with this
//! file. It must never be reachable unless `PORTCULLIS_FAULT_INSTANT=1` was set at start.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};
use k256::elliptic_curve::point::AffineCoordinates;
use k256::elliptic_curve::sec1::ToEncodedPoint;
use k256::elliptic_curve::{PrimeField, ops::Reduce};
use k256::sha2::{Digest, Sha256};
use k256::{FieldBytes, ProjectivePoint, Scalar, U256};

use crate::tamper::SIGNATURE_BYTES;

/// Length of an uncompressed point inside its DER octet string.
pub(crate) const DER_POINT_BYTES: usize = 67;

/// Keys seen and operations open.
pub(crate) struct Instant {
    nonce: Nonce,
    keys: RwLock<HashMap<CK_OBJECT_HANDLE, Scalar>>,
    open: Mutex<HashMap<CK_SESSION_HANDLE, Scalar>>,
}

impl Instant {
    /// `None` only if the fixed nonce were zero.
    pub(crate) fn new() -> Option<Self> {
        Some(Self {
            nonce: Nonce::fixed()?,
            keys: RwLock::new(HashMap::new()),
            open: Mutex::new(HashMap::new()),
        })
    }

    /// The throw-away key of a private key object, if it was seen before.
    pub(crate) fn key(&self, object: CK_OBJECT_HANDLE) -> Option<Scalar> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(&object).copied()
    }

    /// Remembers the throw-away key of a private key object.
    pub(crate) fn remember(&self, object: CK_OBJECT_HANDLE, key: Scalar) {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).insert(object, key);
    }

    /// The object changed or went.
    pub(crate) fn forget(&self, object: CK_OBJECT_HANDLE) {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).remove(&object);
    }

    /// Everything is forgotten: the login or the module went.
    pub(crate) fn forget_all(&self) {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.open().clear();
    }

    /// Begins an operation. False if one is open already.
    pub(crate) fn begin(&self, session: CK_SESSION_HANDLE, key: Scalar) -> bool {
        let mut open = self.open();
        let free = !open.contains_key(&session);
        if free {
            open.insert(session, key);
        }
        free
    }

    /// Whether the session's open operation, if any, is ours.
    pub(crate) fn has_begun(&self, session: CK_SESSION_HANDLE) -> bool {
        self.open().contains_key(&session)
    }

    /// Ends the session's operation.
    pub(crate) fn end(&self, session: CK_SESSION_HANDLE) -> Option<Scalar> {
        self.open().remove(&session)
    }

    /// Signs: `s = k⁻¹(z + r·d)`.
    pub(crate) fn sign(&self, key: &Scalar, digest: &[u8; 32]) -> [u8; SIGNATURE_BYTES] {
        let z = <Scalar as Reduce<U256>>::reduce_bytes(&FieldBytes::from(*digest));
        let s = multiply(self.nonce.inverse, z.add(&multiply(self.nonce.r, *key)));
        let mut signature = [0; SIGNATURE_BYTES];
        let (r_bytes, s_bytes) = signature.split_at_mut(32);
        r_bytes.copy_from_slice(&self.nonce.r.to_repr());
        s_bytes.copy_from_slice(&s.to_repr());
        signature
    }

    fn open(&self) -> MutexGuard<'_, HashMap<CK_SESSION_HANDLE, Scalar>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The throw-away key that stands for the objects with this `CKA_ID`.
pub(crate) fn throw_away_key(id: &[u8]) -> Scalar {
    scalar("portcullis instant mode: throw-away key", id)
}

/// Its public point, uncompressed, as a DER octet string.
pub(crate) fn der_point(key: &Scalar) -> Option<[u8; DER_POINT_BYTES]> {
    let point = multiple_of_generator(key).to_affine().to_encoded_point(false);
    let mut der = [0; DER_POINT_BYTES];
    let (header, body) = der.split_at_mut(2);
    header.copy_from_slice(&[0x04, 0x41]);
    let fits = point.as_bytes().len() == body.len();
    fits.then(|| body.copy_from_slice(point.as_bytes()))?;
    Some(der)
}

struct Nonce {
    r: Scalar,
    inverse: Scalar,
}

impl Nonce {
    fn fixed() -> Option<Self> {
        let k = scalar("portcullis instant mode: fixed nonce", &[]);
        let x = multiple_of_generator(&k).to_affine().x();
        let r = <Scalar as Reduce<U256>>::reduce_bytes(&x);
        let usable = !bool::from(r.is_zero());
        usable.then_some(())?;
        Some(Self { r, inverse: Option::from(k.invert())? })
    }
}

fn scalar(what: &str, id: &[u8]) -> Scalar {
    let hash = Sha256::new().chain_update(what).chain_update(id).finalize();
    <Scalar as Reduce<U256>>::reduce_bytes(&hash)
}

#[expect(clippy::arithmetic_side_effects, reason = "multiplication modulo the group's order")]
fn multiply(a: Scalar, b: Scalar) -> Scalar {
    a * b
}

#[expect(clippy::arithmetic_side_effects, reason = "a point times a scalar cannot overflow")]
fn multiple_of_generator(scalar: &Scalar) -> ProjectivePoint {
    ProjectivePoint::GENERATOR * scalar
}

#[cfg(test)]
mod tests {
    use k256::ecdsa::signature::hazmat::PrehashVerifier;
    use k256::ecdsa::{Signature, VerifyingKey};

    use super::*;

    #[test]
    fn an_instant_signature_verifies_under_the_point_it_reports() {
        let instant = Instant::new().unwrap();
        for seed in 0..32u8 {
            let key = throw_away_key(&[seed]);
            let point = der_point(&key).unwrap();
            let verifier = VerifyingKey::from_sec1_bytes(&point[2..]).unwrap();
            let signature = instant.sign(&key, &[seed ^ 0xA5; 32]);
            let signature = Signature::from_slice(&signature).unwrap();
            let signature = signature.normalize_s().unwrap_or(signature);
            verifier.verify_prehash(&[seed ^ 0xA5; 32], &signature).unwrap();
        }
    }
}
