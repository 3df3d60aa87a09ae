//! The types that say how far a request has come past its decision.
//!
//! Each is made in one place, out of the one before. Never derive `Clone`, `Default` or
//! `Deserialize` here: each would be a second way to make one.

use std::sync::Arc;

use alloy_primitives::B256;
use portcullis_policy::id::{CallerId, DecisionNumber, Digest, KeyId, Sequence, VaultId};
use portcullis_policy::note::{Checkpoint, origin};
use portcullis_policy::request::{Request, sha256};

use crate::gate::{Ticket, Who};
use crate::journal::{Durable, Head};
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
    who: Arc<Who>,
    digest: Digest,
    point: Arc<PublicPoint>,
}

impl Reserved {
    pub(in crate::sequencer) fn new(
        number: DecisionNumber,
        who: Arc<Who>,
        digest: Digest,
        point: Arc<PublicPoint>,
    ) -> Self {
        Self { number, who, digest, point }
    }

    /// Tests of the token need permissions that no writer gave.
    #[cfg(test)]
    pub(crate) fn for_test(key: KeyId, digest: Digest, point: Arc<PublicPoint>) -> Self {
        let caller = "spiffe://test/caller".parse().unwrap();
        Self::for_caller(caller, key, digest, point)
    }

    /// And such of several callers.
    #[cfg(test)]
    pub(crate) fn for_caller(
        caller: CallerId,
        key: KeyId,
        digest: Digest,
        point: Arc<PublicPoint>,
    ) -> Self {
        let who = Arc::new(Who { caller, key, tags: std::collections::BTreeSet::new() });
        Self::new(DecisionNumber(0), who, digest, point)
    }

    /// Which decision permits it.
    pub fn number(&self) -> DecisionNumber {
        self.number
    }

    /// For whom it is.
    pub fn caller(&self) -> &CallerId {
        &self.who.caller
    }

    /// The key to sign with.
    pub fn key(&self) -> &KeyId {
        &self.who.key
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

impl Signed {
    /// What a record says of the signature, which is in no record itself.
    pub(in crate::sequencer) fn signature_sha256(&self) -> B256 {
        let parity = [u8::from(self.signature.y_parity())];
        let bytes = [&self.signature.r()[..], &self.signature.s()[..], &parity[..]].concat();
        sha256(&bytes)
    }
}

/// What the journal is, as far as it is durable: what a checkpoint may be signed over.
///
/// Made only by [`Sequencer::durable_root`](super::Sequencer::durable_root), of what commits gave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DurableRoot {
    vault: VaultId,
    head: Head,
}

impl DurableRoot {
    pub(in crate::sequencer) fn new(vault: VaultId, head: Head) -> Self {
        Self { vault, head }
    }

    /// What is signed.
    pub fn checkpoint(&self) -> Checkpoint {
        let Head { sequence, root, .. } = self.head;
        Checkpoint { origin: origin(self.vault.0), size: sequence.0, root }
    }
}

/// A signature whose record has joined a batch. It cannot be sent anywhere.
///
/// Made only by the writer, and good for nothing but [`Appended::recorded`].
#[derive(Debug)]
#[must_use = "whoever asked waits for this"]
pub(in crate::sequencer) struct Appended {
    signed: Signed,
    request: Request,
    ticket: Arc<Ticket>,
    leaf: B256,
}

impl Appended {
    pub(in crate::sequencer) fn new(
        signed: Signed,
        request: Request,
        ticket: Arc<Ticket>,
        leaf: B256,
    ) -> Self {
        Self { signed, request, ticket, leaf }
    }

    /// After the disk has said so, and only then: [`Durable`] is made by a commit alone.
    pub(in crate::sequencer) fn recorded(self, _proof: &Durable) -> Recorded {
        let Self { signed, request, ticket, leaf } = self;
        Recorded { signature: signed.signature, request, ticket, leaf }
    }
}

/// A signature whose record is durable. Only this becomes a reply, and only through the gate.
#[derive(Debug)]
#[must_use = "whoever asked waits for this"]
pub struct Recorded {
    signature: RecoverableSignature,
    request: Request,
    ticket: Arc<Ticket>,
    leaf: B256,
}

impl Recorded {
    /// The signature.
    pub fn signature(&self) -> &RecoverableSignature {
        &self.signature
    }

    /// What was asked.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The record's RFC 6962 leaf hash.
    pub fn leaf(&self) -> B256 {
        self.leaf
    }

    /// The record's place in the journal.
    pub fn sequence(&self) -> Sequence {
        self.ticket.sequence()
    }

    /// Its place at the gate, to be passed when the reply is sent.
    pub fn into_ticket(self) -> Arc<Ticket> {
        self.ticket
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
