//! The transport: who is at the other end, and for how long that stays true.
//!
//! Knows names, limits and certificates; knows nothing of keys, policy or signing. A request that
//! leaves here carries an `Arc<Peer>` among its extensions, and no other proof of identity: never a
//! header, never a common name.
//!
//! Start reading at [`Plane::serve`]. Data plane and control plane are two [`Plane`]s, each with
//! [`TrustFiles`] of its own, so that a certificate of one is worthless at the other.

use std::sync::Arc;
use std::time::SystemTime;

mod accept;
mod connection;
mod counters;
mod deadline;
mod files;
mod handshakes;
mod identity;
mod limits;
mod loopback;
mod material;
mod outbound;
mod peer;
mod people;
mod places;
mod trust;
mod verifier;

pub use accept::Plane;
pub use connection::StreamFuture;
pub use counters::EdgeCounters;
pub use files::{TrustError, TrustFiles};
pub use identity::{IdentityError, PeerIdentity};
pub use limits::Limits;
pub use loopback::{Loopback, LoopbackError, Probe};
pub use material::CrlStatus;
pub use peer::Peer;
pub use trust::{Reloaded, Trust, TrustStatus, TrustTrouble};

pub mod approvals;
pub mod control;
mod key_entry;
pub mod readers;
pub mod receipts;
pub mod release;
mod reports;
pub mod sign_stream;
pub mod signing;
mod status;
pub mod stop_orders;
mod unsettled;
mod waiting;
mod watching;

/// The wall clock, handed in: nothing under `edge` reads one of its own.
pub type WallClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;
