//! Snapshots of this very state. What they hold, records do not say; only that they follow each
//! other.

use super::{State, Unfoldable};
use crate::id::Sequence;
use crate::record::{Entry, Snapshot};

impl State {
    /// How far the last snapshot goes that was recorded; 0 if none was.
    pub fn snapshot(&self) -> Sequence {
        self.snapshot
    }

    /// Whether a snapshot so far can be recorded next.
    pub fn takes_snapshot(&self, upto: Sequence) -> bool {
        upto > self.snapshot && upto <= self.head
    }

    pub(super) fn note_snapshot(
        &mut self,
        entry: &Entry,
        snapshot: &Snapshot,
    ) -> Result<(), Unfoldable> {
        if !self.takes_snapshot(snapshot.upto) {
            return Err(Unfoldable::Snapshot(entry.seq));
        }
        self.snapshot = snapshot.upto;
        Ok(())
    }
}
