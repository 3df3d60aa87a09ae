//! Which records a report is about, by when they surely were written.

use portcullis_policy::time::Millis;
use portcullis_policy::utc::rfc3339;

use super::ReportFault;
use crate::written_time::Written;

/// From a time on, and up to another, which is no more part of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Period {
    pub(super) from: Option<Millis>,
    pub(super) until: Option<Millis>,
}

impl Period {
    pub(super) fn of(from: Option<Written>, to: Option<Written>) -> Result<Self, ReportFault> {
        let (from, until) = (from.map(|from| from.begins), to.map(|to| to.over));
        match (from, until) {
            (Some(from), Some(until)) if from >= until => {
                Err(ReportFault::Backwards { from: rfc3339(from.0), until: rfc3339(until.0) })
            }
            _ => Ok(Self { from, until }),
        }
    }

    pub(super) fn holds(&self, at: Millis) -> bool {
        !self.is_before(at) && self.until.is_none_or(|until| at < until)
    }

    /// Whether something that ended then was over before the period.
    pub(super) fn is_before(&self, end: Millis) -> bool {
        self.from.is_some_and(|from| end < from)
    }

    /// Whether a time is after it.
    pub(super) fn is_after(&self, at: Millis) -> bool {
        self.until.is_some_and(|until| at >= until)
    }

    pub(super) fn words(&self) -> String {
        match (self.from, self.until) {
            (None, None) => "all of it".to_owned(),
            (Some(from), None) => format!("from {} on", rfc3339(from.0)),
            (None, Some(until)) => format!("until before {}", rfc3339(until.0)),
            (Some(from), Some(until)) => {
                format!("from {} until before {}", rfc3339(from.0), rfc3339(until.0))
            }
        }
    }
}
