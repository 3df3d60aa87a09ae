//! Signatures made a short while ago, in memory only: a caller that lost its reply and asks again
//! is given the same signature, after the same decision, record and gate as any other.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use portcullis_policy::id::{Digest, KeyId};

use crate::signature::{RawSignature, RecoverableSignature};

/// A bounded memory of signatures. They are wiped when they leave it.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    young: BTreeMap<(KeyId, Digest), RawSignature>,
    old: BTreeMap<(KeyId, Digest), RawSignature>,
}

impl Recent {
    /// Keeps a signature.
    pub fn keep(&self, key: KeyId, digest: Digest, signature: &RecoverableSignature) {
        let bytes = zeroize::Zeroizing::new([&signature.r()[..], &signature.s()[..]].concat());
        let Some(raw) = RawSignature::from_slice(&bytes) else { return };
        let mut kept = self.0.lock();
        if kept.young.len() >= KEPT_MAX {
            kept.age();
        }
        kept.young.insert((key, digest), raw);
    }

    /// Takes one out, to be verified and kept again.
    pub fn take(&self, key: KeyId, digest: Digest) -> Option<RawSignature> {
        let mut kept = self.0.lock();
        let young = kept.young.remove(&(key, digest));
        young.or_else(|| kept.old.remove(&(key, digest)))
    }

    /// Forgets what was kept before the last call. Call it every minute.
    pub fn age(&self) {
        self.0.lock().age();
    }
}

impl Kept {
    fn age(&mut self) {
        self.old = std::mem::take(&mut self.young);
    }
}

/// Twice as many make about 1 MB. A caller that asks again does so within seconds; later the token
/// signs anew.
const KEPT_MAX: usize = 4_096;
