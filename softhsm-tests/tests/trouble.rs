//! What bad input and trouble get: the shipped binary, a real token, one case a test.
//!
//! Every scene ends with [`support::Scene::journal`]: the journal explains itself, and neither it
//! nor the log has a secret in it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

mod support;

#[path = "trouble/archived.rs"]
mod archived;
#[path = "trouble/attesting.rs"]
mod attesting;
#[path = "trouble/audit.rs"]
mod audit;
#[path = "trouble/callers.rs"]
mod callers;
#[path = "trouble/canaries.rs"]
mod canaries;
#[path = "trouble/certificates.rs"]
mod certificates;
#[path = "trouble/control.rs"]
mod control;
#[path = "trouble/crowds.rs"]
mod crowds;
#[path = "trouble/inputs.rs"]
mod inputs;
#[path = "trouble/limits.rs"]
mod limits;
#[path = "trouble/manners.rs"]
mod manners;
#[path = "trouble/parking.rs"]
mod parking;
#[path = "trouble/repeats.rs"]
mod repeats;
#[path = "trouble/signable.rs"]
mod signable;
#[path = "trouble/tails.rs"]
mod tails;
#[path = "trouble/traces.rs"]
mod traces;
#[path = "trouble/witnessed.rs"]
mod witnessed;
