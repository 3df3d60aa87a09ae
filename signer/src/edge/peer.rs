//! The authenticated other end of one live connection, and whether it still is one.
//!
//! A handshake proves who somebody was when it happened. [`Peer::is_valid_now`] is asked at every
//! request, and may be asked again before anything is released. Once no, it is never yes again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::identity::PeerIdentity;
use super::trust::Trust;

/// Every request carries an `Arc<Peer>` among its extensions.
pub struct Peer {
    identity: PeerIdentity,
    remote: SocketAddr,
    trust: Arc<Trust>,
    /// The newest generation of trust that has accepted the chain, or [`CUT`].
    accepted_by: AtomicU64,
    draining: watch::Sender<bool>,
}

impl Peer {
    /// For a connection whose handshake has just verified `identity`'s chain. Verifies once more,
    /// because a reload may have happened meanwhile: `None` when it no longer holds.
    pub(super) fn admit(
        identity: PeerIdentity,
        remote: SocketAddr,
        trust: Arc<Trust>,
    ) -> Option<Arc<Self>> {
        let now = (trust.clock())();
        let accepted_by = AtomicU64::new(NOT_YET);
        let draining = watch::Sender::new(false);
        let peer = Self { identity, remote, trust, accepted_by, draining };
        peer.is_valid_now(now).then(|| Arc::new(peer))
    }

    /// Who it is.
    pub fn identity(&self) -> &PeerIdentity {
        &self.identity
    }

    /// Where it connects from, for logs only.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Whether the certificate holds at `now` under the trust material in force. Costs two atomic
    /// reads, and a chain verification the first time after a reload.
    pub fn is_valid_now(&self, now: SystemTime) -> bool {
        let accepted_by = self.accepted_by.load(Ordering::Acquire);
        if accepted_by == CUT {
            false
        } else if now > self.identity.not_after() {
            self.cut();
            false
        } else {
            accepted_by == self.trust.generation() || self.verify_again(now)
        }
    }

    /// Resolves when this connection has been asked to go away: a long-lived stream should finish
    /// what it has begun and end. Unary calls need not care.
    pub async fn draining(&self) {
        // The sender lives in `self`, so this cannot fail; if it did, ending is right.
        self.draining.subscribe().wait_for(|draining| *draining).await.ok();
    }

    /// Verifies the whole chain whatever was found before.
    pub(super) fn verify_again(&self, now: SystemTime) -> bool {
        match self.trust.verify(self.identity.chain(), now) {
            // `fetch_max`, because a concurrent cut is the greatest number and must stay.
            Some(generation) => self.accepted_by.fetch_max(generation, Ordering::AcqRel) != CUT,
            None => {
                self.cut();
                false
            }
        }
    }

    /// How long until the next thing that time alone can change, at most `at_most`.
    pub(super) fn next_look(&self, now: SystemTime, at_most: Duration) -> Duration {
        let left = self.identity.not_after().duration_since(now).unwrap_or_default();
        left.saturating_add(JUST_AFTER).min(at_most)
    }

    pub(super) fn start_draining(&self) {
        self.draining.send_replace(true);
    }

    fn cut(&self) {
        self.accepted_by.store(CUT, Ordering::Release);
        self.start_draining();
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("name", &self.identity.name())
            .field("serial", &self.identity.serial())
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

/// No generation has this number: the peer is refused for good.
const CUT: u64 = u64::MAX;

/// Before the first generation.
const NOT_YET: u64 = 0;

/// `not_after` itself is still valid.
const JUST_AFTER: Duration = Duration::from_millis(1);
