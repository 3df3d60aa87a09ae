//! Whether sure time went forward by itself: what a start says of the boot clock bounds it.
//!
//! Between two starts no record says how long it took, so that a signer that lies is found at the
//! next start within the same boot of the machine, and across a boot by how far the wall clock
//! may still be believed. What came after the last start, or before a boot ended, cannot be
//! checked: hold it against clocks of your own.

use super::replay::Replay;
use crate::record::{Entry, Record, Started};
use crate::time::{Millis, Span};

impl Replay<'_> {
    /// Before a start is folded: whether it is later than its clocks allow.
    pub(super) fn leap(&mut self, entry: &Entry) {
        let Record::Started(started) = &entry.record else { return };
        if started.believed.is_some_and(|believed| believed > self.state.believable()) {
            let what = "believed the wall clock further than it may";
            self.report.wrong(entry.seq, what);
        }
        let most = self.latest(started).plus(READING_MAX);
        if entry.at.sure > most {
            let leapt = Span(entry.at.sure.0.saturating_sub(most.0)).in_words();
            let what = format!(
                "sure time went forward by {leapt} more than its clocks allow, and nobody accepted \
                 that"
            );
            self.report.wrong(entry.seq, what);
        }
    }

    fn latest(&self, started: &Started) -> Millis {
        let before = self.state.started();
        let before = before.filter(|(before, _)| before.is_within(&started.boot));
        match before {
            Some((before, at)) => {
                let passed = started.boot_clock.0.saturating_sub(before.boot_clock.0);
                at.sure.plus(Span(passed))
            }
            None => self.state.at().sure.plus(self.state.believable_by(started)),
        }
    }
}

/// Between the reading of the boot clock and that of the record's own time.
const READING_MAX: Span = Span(60_000);
