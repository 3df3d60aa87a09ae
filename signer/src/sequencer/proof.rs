//! The types that say how far a request has come past its decision.
//!
//! Each is made in one place, out of the one before. Never derive `Clone`, `Default` or
//! `Deserialize` here: each would be a second way to make one.

use std::sync::Arc;

use portcullis_policy::id::{DecisionNumber, Digest, KeyId};

use crate::signature::{
    BadSignature, PublicPoint, RawSignature, RecoverableSignature, verify_and_recover,
};

/// Permission to sign exactly this digest with exactly this key; made only by the sequencer's
/// writer.
///
/// ```compile_fail,E0624
/// use portcullis::sequencer::Reserved;
/// let _ = Reserved::new; // private to the sequencer
/// ```
///
/// ```compile_fail,E0599
/// fn twice(reserved: portcullis::sequencer::Reserved) {
///     let _ = (reserved.clone(), reserved); // one reservation, one signature
/// }
/// ```
#[derive(Debug)]
#[must_use = "dropping a reservation strands its charge"]
pub struct Reserved {
    number: DecisionNumber,
    key: KeyId,
    digest: Digest,
    point: Arc<PublicPoint>,
}

impl Reserved {
    #[cfg_attr(not(test), expect(dead_code, reason = "the writer is not built yet"))]
    pub(in crate::sequencer) fn new(
        number: DecisionNumber,
        key: KeyId,
        digest: Digest,
        point: Arc<PublicPoint>,
    ) -> Self {
        Self { number, key, digest, point }
    }

    /// Tests of the token need permissions that no writer gave.
    #[cfg(test)]
    pub(crate) fn for_test(key: KeyId, digest: Digest, point: Arc<PublicPoint>) -> Self {
        Self::new(DecisionNumber(0), key, digest, point)
    }

    /// Which decision permits it.
    pub fn number(&self) -> DecisionNumber {
        self.number
    }

    /// The key to sign with.
    pub fn key(&self) -> &KeyId {
        &self.key
    }

    /// What to sign.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The key's pinned public point: what the signature must verify against.
    pub fn point(&self) -> &Arc<PublicPoint> {
        &self.point
    }

    /// Joins the token's answer to the permission it answers.
    ///
    /// # Errors
    ///
    /// [`BadSignature`] if `raw` is not a signature of this digest by this key (invariant 10).
    pub fn attach(self, raw: RawSignature) -> Result<Signed, BadSignature> {
        let signature = verify_and_recover(&self.point, &self.digest, &raw)?;
        Ok(Signed { reserved: self, signature })
    }
}

/// A verified signature of exactly what was permitted. Not yet anybody's to see: no record says so.
///
/// Made only by [`Reserved::attach`].
#[derive(Debug)]
#[must_use = "a signature must be recorded or withheld"]
pub struct Signed {
    reserved: Reserved,
    signature: RecoverableSignature,
}

impl Signed {
    /// The permission it answers.
    pub fn reserved(&self) -> &Reserved {
        &self.reserved
    }

    /// Low-s, with its recovery bit. Prints nothing of itself.
    pub fn signature(&self) -> &RecoverableSignature {
        &self.signature
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::keccak256;
    use k256::ecdsa::SigningKey;

    use super::*;

    #[test]
    fn a_signature_attaches_only_to_the_permission_it_answers() {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        let encoded = key.verifying_key().to_encoded_point(false);
        let point = Arc::new(PublicPoint::try_from(encoded.as_bytes()).unwrap());
        let id: KeyId = "0123456789abcdef0123456789abcdef".parse().unwrap();
        let (asked, other) = (keccak256(b"asked"), keccak256(b"other"));
        let (signature, _) = key.sign_prehash_recoverable(asked.as_slice()).unwrap();
        let raw = || RawSignature::from_slice(&signature.to_bytes()).unwrap();
        let permit = |digest| Reserved::for_test(id, digest, Arc::clone(&point));
        assert_eq!(permit(asked).attach(raw()).unwrap().reserved().digest(), &asked);
        assert_eq!(permit(other).attach(raw()).err(), Some(BadSignature));
    }
}
