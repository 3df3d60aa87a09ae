//! The clock of whoever runs a drill: how long something took. It decides nothing that is signed or
//! recorded as true; the journal has its own time.

use std::time::{Duration, Instant};

/// A moment of this process.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Moment(Instant);

impl Moment {
    pub(super) fn now() -> Self {
        Self(Instant::now())
    }

    /// How long after another one this is; nothing if it is before.
    pub(super) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }

    /// How long ago it was.
    pub(super) fn ago(self) -> Duration {
        Self::now().since(self)
    }

    /// So many milliseconds later, or earlier.
    #[cfg(test)]
    pub(super) fn shifted(self, millis: i64) -> Self {
        let span = Duration::from_millis(millis.unsigned_abs());
        let at = if millis < 0 { self.0.checked_sub(span) } else { self.0.checked_add(span) };
        Self(at.expect("a time"))
    }
}
