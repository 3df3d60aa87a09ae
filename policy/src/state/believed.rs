//! How far the wall clock alone may still move sure time: across a boot of the machine there is no
//! other, and whoever can set it could boot the machine as often as they like.
//!
//! A quarter of an hour in all, which comes back by a sixty-fourth of what the boot clock measures,
//! and at once when people say what time it is. What goes beyond that stands, for people to accept.

use serde::{Deserialize, Serialize};

use super::State;
use crate::record::{Entry, Started};
use crate::time::{GAP_BELIEVED_MAX, Interval, Millis, Span};

/// What is left of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Believed {
    left: Span,
    /// When there was so much left, in sure time.
    at: Millis,
    /// Whether a start said how far it believed the wall clock. Before one did, each could believe
    /// it for a quarter of an hour.
    told: bool,
}

impl Believed {
    pub(super) fn begin(at: Interval) -> Self {
        Self { left: GAP_BELIEVED_MAX, at: at.sure, told: false }
    }

    fn left(&self, sure: Millis) -> Span {
        let measured = Span(sure.0.saturating_sub(self.at.0));
        Span(self.left.0.saturating_add(measured.0 / MEASURED_FOR_ONE)).min(GAP_BELIEVED_MAX)
    }
}

impl State {
    /// For how much of a gap the next start, in another boot of the machine, may believe the wall
    /// clock.
    pub fn believable(&self) -> Span {
        self.believed.left(self.at.sure)
    }

    /// The same, where this is the start.
    pub(crate) fn believable_by(&self, started: &Started) -> Span {
        match started.believed {
            Some(believed) => believed.min(self.believable()),
            None if self.believed.told => Span(0),
            None => GAP_BELIEVED_MAX,
        }
    }

    /// Whether an act that does not say since when nothing grows older can be one of then.
    pub(super) fn knew_no_since(&self) -> bool {
        !self.believed.told
    }

    /// Before a start is folded: whatever it went forward by, in another boot, nobody measured.
    pub(super) fn note_believed(&mut self, entry: &Entry, started: &Started) {
        self.believed.told |= started.believed.is_some();
        if self.is_within_boot(started) {
            return;
        }
        let gone = entry.at.sure.0.saturating_sub(self.at.sure.0);
        let left = Span(self.believable().0.saturating_sub(gone));
        (self.believed.left, self.believed.at) = (left, entry.at.sure);
    }

    /// What people let sure time go forward by is not measured. If they say what time it is, all of
    /// it comes back.
    pub(super) fn note_accepted(&mut self, (from, to): (Millis, Millis), level: bool) {
        let left = if level { GAP_BELIEVED_MAX } else { self.believed.left(from) };
        (self.believed.left, self.believed.at) = (left, to);
    }

    /// Whether it follows the last start within one boot of the machine.
    pub(super) fn is_within_boot(&self, started: &Started) -> bool {
        self.started.as_ref().is_some_and(|(before, _)| before.is_within(&started.boot))
    }
}

/// A boot of a minute's length is made good by an hour of running.
const MEASURED_FOR_ONE: u64 = 64;
