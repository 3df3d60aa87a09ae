//! What people decide together, held against those who would decide alone, twice, blindly or in
//! somebody else's name.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

#[path = "../support/mod.rs"]
mod support;

mod acts;
mod alone;
mod attacks;
mod drains;
mod drills;
mod ended_outages;
mod endings;
mod fences;
mod laws;
mod orders;
mod outages;
mod requests;
mod rescues;
mod rig;
