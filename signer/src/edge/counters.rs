//! What the edge counts, for metrics. Counts decide nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one plane. Names ending in `_open` go down again; the others only grow.
#[derive(Debug, Default)]
pub struct EdgeCounters {
    /// TCP connections accepted.
    pub accepted: AtomicU64,
    /// `accept` calls that failed (out of descriptors, mostly).
    pub accept_failed: AtomicU64,
    /// Handshakes in progress now.
    pub handshakes_open: AtomicU64,
    /// Handshakes that ended without an authenticated peer.
    pub handshakes_failed: AtomicU64,
    /// Handshakes cut at their deadline.
    pub handshakes_timed_out: AtomicU64,
    /// Handshakes dropped, unfinished, for newer ones: somebody floods the listener.
    pub handshakes_crowded_out: AtomicU64,
    /// Certificates that verified but name nobody (no SAN, several, no client purpose).
    pub identities_refused: AtomicU64,
    /// Connections refused because the plane was full.
    pub refused_full: AtomicU64,
    /// Connections refused because their identity had too many.
    pub refused_identity_full: AtomicU64,
    /// Authenticated connections now.
    pub connections_open: AtomicU64,
    /// Live connections closed because their certificate was revoked, expired or lost its CA.
    pub connections_cut: AtomicU64,
    /// Connections asked to go away because of their age.
    pub connections_aged: AtomicU64,
    /// Connections closed with requests unfinished because draining took too long.
    pub connections_overran: AtomicU64,
    /// Requests handed to the service.
    pub requests_dispatched: AtomicU64,
    /// Requests refused because their peer's certificate was no longer valid.
    pub requests_refused: AtomicU64,
    /// Connection tasks that panicked: always a bug.
    pub tasks_panicked: AtomicU64,
}

impl EdgeCounters {
    /// Names and values at this moment, in a fixed order, ready to become metrics.
    pub fn snapshot(&self) -> [(&'static str, u64); 16] {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("accepted", read(&self.accepted)),
            ("accept_failed", read(&self.accept_failed)),
            ("handshakes_open", read(&self.handshakes_open)),
            ("handshakes_failed", read(&self.handshakes_failed)),
            ("handshakes_timed_out", read(&self.handshakes_timed_out)),
            ("handshakes_crowded_out", read(&self.handshakes_crowded_out)),
            ("identities_refused", read(&self.identities_refused)),
            ("refused_full", read(&self.refused_full)),
            ("refused_identity_full", read(&self.refused_identity_full)),
            ("connections_open", read(&self.connections_open)),
            ("connections_cut", read(&self.connections_cut)),
            ("connections_aged", read(&self.connections_aged)),
            ("connections_overran", read(&self.connections_overran)),
            ("requests_dispatched", read(&self.requests_dispatched)),
            ("requests_refused", read(&self.requests_refused)),
            ("tasks_panicked", read(&self.tasks_panicked)),
        ]
    }
}

/// Adds one. Relaxed: nothing is ordered by a count.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Holds one of the `_open` counters up for as long as it lives.
pub(super) struct Open {
    counters: Arc<EdgeCounters>,
    which: fn(&EdgeCounters) -> &AtomicU64,
}

impl Open {
    pub(super) fn new(
        counters: &Arc<EdgeCounters>,
        which: fn(&EdgeCounters) -> &AtomicU64,
    ) -> Self {
        count(which(counters));
        Self { counters: Arc::clone(counters), which }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        (self.which)(&self.counters).fetch_sub(1, Ordering::Relaxed);
    }
}
