//! Counts bad signatures; a key that gives a second one is not asked again.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use portcullis_policy::id::KeyId;

/// Bad signatures by key, since the start of the process. Good ones in between do not forgive.
#[derive(Default)]
pub(super) struct Alarms(Mutex<BTreeMap<KeyId, u32>>);

/// One may be a flipped bit on the way; two are a token that signs with something else.
const BAD_SIGNATURES_MAX: u32 = 1;

impl Alarms {
    pub(super) fn raise(&self, key: KeyId) {
        let mut counts = self.0.lock();
        let count = counts.entry(key).or_default();
        *count = count.saturating_add(1);
        tracing::error!(%key, count, "the token gave a signature that does not verify");
    }

    pub(super) fn is_quarantined(&self, key: &KeyId) -> bool {
        self.0.lock().get(key).is_some_and(|count| *count > BAD_SIGNATURES_MAX)
    }

    /// Every key that ever gave a bad signature, and how many.
    pub(super) fn list(&self) -> Vec<(KeyId, u32)> {
        self.0.lock().iter().map(|(key, count)| (*key, *count)).collect()
    }
}
