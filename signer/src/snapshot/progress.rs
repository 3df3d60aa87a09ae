//! How far the background has come, and how often it does what.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use portcullis_policy::id::Sequence;

/// How often what is done.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A snapshot at each multiple of so many records.
    pub every: u64,
    /// The journal is read on when it has grown by so many.
    pub step: u64,
    /// How often that is looked at. Waiting for each commit would wake at each, and hold the lock
    /// that the writer needs for the next.
    pub look: Duration,
    /// How long a journal that could not be read is left alone.
    pub again_after: Duration,
}

impl Default for Pace {
    /// A start folds some 30,000 records in a second, so it has two seconds to go at the most.
    fn default() -> Self {
        let (look, again_after) = (Duration::from_secs(1), Duration::from_secs(5));
        Self { every: 32_768, step: 8_192, look, again_after }
    }
}

/// How far it has come, for health and metrics.
#[derive(Debug, Default)]
pub struct Progress {
    verified: AtomicU64,
    snapshot: AtomicU64,
    mismatch: Mutex<Option<String>>,
    trouble: Mutex<Option<String>>,
}

impl Progress {
    /// The last record that was read, folded and found to be what others say.
    pub fn verified(&self) -> Sequence {
        Sequence(self.verified.load(Ordering::Relaxed))
    }

    /// How far the last snapshot goes that was recorded; 0 if none was.
    pub fn snapshot(&self) -> Sequence {
        Sequence(self.snapshot.load(Ordering::Relaxed))
    }

    /// Whether something was found that is not as it must be: everything was stopped then.
    pub fn is_mismatch(&self) -> bool {
        self.mismatch.lock().is_some()
    }

    /// What needs attention, a line each.
    pub fn troubles(&self) -> Vec<String> {
        self.mismatch.lock().iter().chain(self.trouble.lock().iter()).cloned().collect()
    }

    pub(super) fn has_verified(&self, upto: u64) {
        self.verified.store(upto, Ordering::Relaxed);
    }

    pub(super) fn has_recorded(&self, upto: Sequence) {
        self.snapshot.store(upto.0, Ordering::Relaxed);
    }

    pub(super) fn mismatches(&self, line: String) {
        *self.mismatch.lock() = Some(line);
    }

    pub(super) fn is_troubled(&self, line: Option<String>) {
        *self.trouble.lock() = line;
    }
}
