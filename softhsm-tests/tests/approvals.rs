//! People who decide together, black box: the shipped signer, a real token, keys of OpenSSH.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

mod support;

#[path = "approvals/attacks.rs"]
mod attacks;
#[path = "approvals/backups.rs"]
mod backups;
#[path = "approvals/ceremony.rs"]
mod ceremony;
#[path = "approvals/drains.rs"]
mod drains;
#[path = "approvals/drill.rs"]
mod drill;
#[path = "approvals/endings.rs"]
mod endings;
#[path = "approvals/fence.rs"]
mod fence;
#[path = "approvals/floods.rs"]
mod floods;
#[path = "approvals/markers.rs"]
mod markers;
#[path = "approvals/mission.rs"]
mod mission;
#[path = "approvals/orders.rs"]
mod orders;
#[path = "approvals/released.rs"]
mod released;
#[path = "approvals/requests.rs"]
mod requests;
#[path = "approvals/rescues.rs"]
mod rescues;
#[path = "approvals/rotations.rs"]
mod rotations;
#[path = "approvals/sweeps.rs"]
mod sweeps;
