//! Signatures made a short while ago, in memory only: a caller that lost its reply and asks again
//! is given the same signature, after the same decision, record and gate as any other.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;
use portcullis_policy::id::{Digest, KeyId};

use crate::signature::{RawSignature, RecoverableSignature};

/// A bounded memory of signatures. The oldest leave first, and are wiped as they do.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    signatures: BTreeMap<(KeyId, Digest), RawSignature>,
    order: VecDeque<(KeyId, Digest)>,
}

impl Recent {
    /// Keeps a signature.
    pub fn keep(&self, key: KeyId, digest: Digest, signature: &RecoverableSignature) {
        let bytes = zeroize::Zeroizing::new([&signature.r()[..], &signature.s()[..]].concat());
        let Some(raw) = RawSignature::from_slice(&bytes) else { return };
        let mut kept = self.0.lock();
        if kept.signatures.insert((key, digest), raw).is_none() {
            kept.order.push_back((key, digest));
        }
        if kept.order.len() > KEPT_MAX
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.signatures.remove(&oldest);
        }
    }

    /// Takes one out, to be verified and kept again.
    pub fn take(&self, key: KeyId, digest: Digest) -> Option<RawSignature> {
        let mut kept = self.0.lock();
        let signature = kept.signatures.remove(&(key, digest))?;
        kept.order.retain(|name| *name != (key, digest));
        Some(signature)
    }
}

/// About 1 MB. A caller that asks again does so within seconds; later the token signs anew.
const KEPT_MAX: usize = 4_096;
