//! An outage that sure time is let go forward over after it had ended.
//!
//! What was recorded before it grows older by all of it. What was recorded since it ended does not:
//! else a window would be emptied of what was charged a minute ago, and a delay that began a minute
//! ago would be over. So whatever in the state is stamped with sure time since then is stamped
//! anew, that much later, at the very moment at which sure time goes forward. Stamps keep their
//! order by that.

use crate::id::Sequence;
use crate::time::{Millis, Span};

/// The sure time of a record, and which one it is: several may share a millisecond.
pub(crate) type Stamp = (Millis, Sequence);

/// Since when nothing grows older, and by how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outage {
    since: Stamp,
    by: Span,
}

impl Outage {
    /// One that was over when this record was written.
    pub(crate) fn before(since: Stamp, by: Span) -> Self {
        Self { since, by }
    }

    /// What is stamped like this, as it is stamped from now on.
    pub(crate) fn moved(self, stamp: Stamp) -> Stamp {
        let (at, seq) = stamp;
        if stamp < self.since { stamp } else { (at.plus(self.by), seq) }
    }

    /// The same where nobody knows of which record a time is: if in doubt, it is of a later one.
    pub(crate) fn moved_time(self, at: Millis) -> Millis {
        self.moved((at, Sequence(u64::MAX))).0
    }
}
