//! The journal as a transparency log (C2SP): the tree over its records, checkpoints signed over
//! that tree, receipts that a record is under one.
//!
//! Knows nothing of what a record means, so that a caller who checks a receipt links neither books
//! nor decisions. Pure: no I/O, no clock.

mod bytes;
pub mod note;
pub mod receipt;
pub mod submission;
pub mod tree;

pub use bytes::{ed25519, unhex};
