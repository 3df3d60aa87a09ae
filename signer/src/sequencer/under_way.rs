//! How many requests wait for their decision at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::refusal::Refusal;

/// A place among the requests that wait for their decision.
pub(super) struct UnderWay<'a>(&'a AtomicUsize);

impl<'a> UnderWay<'a> {
    pub(super) fn enter(count: &'a AtomicUsize) -> Result<Self, Refusal> {
        let place = Self(count);
        let before = count.fetch_add(1, Ordering::Relaxed);
        if before < QUEUED_MAX { Ok(place) } else { Err(Refusal::Overloaded) }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Requests that may wait for their decision at once: at 20 microseconds each they wait 80 ms.
const QUEUED_MAX: usize = 4_096;
