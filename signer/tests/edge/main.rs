//! The edge over real TLS on loopback: who gets in, who stays in, and how much anybody may take.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::disallowed_methods,
    unreachable_pub,
    missing_docs,
    reason = "test"
)]

mod deadlines;
mod handshake;
mod limits;
mod live;
mod loopback;
mod rotation;
mod world;
