//! Races, made by stopping one request between two steps: the shipped binary, and a token that
//! hangs, fails and lies on request.
//!
//! What callers hold is added up by the rig's own ledger, which knows nothing of `policy`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

mod support;

#[path = "races/budget.rs"]
mod budget;
#[path = "races/inside.rs"]
mod inside;
#[path = "races/leaving.rs"]
mod leaving;
#[path = "races/streams.rs"]
mod streams;
#[path = "races/token.rs"]
mod token;
#[path = "races/windows.rs"]
mod windows;
