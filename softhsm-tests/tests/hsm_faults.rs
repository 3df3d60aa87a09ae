//! Faults of the token, one after the other: the shipped binary comes back from each by itself, in
//! the same process, and nobody is charged twice.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

mod support;

#[path = "hsm_faults/cures.rs"]
mod cures;
#[path = "hsm_faults/hangs.rs"]
mod hangs;
#[path = "hsm_faults/network.rs"]
mod network;
#[path = "hsm_faults/pins.rs"]
mod pins;
#[path = "hsm_faults/till.rs"]
mod till;
