//! The rules that keep the architecture, over the sources and the crate graph: no token, no server.
//!
//! Each check is a function over plain text or names, and is shown here to fail on a bad sample:
//! a check that cannot fail keeps nothing.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

#[path = "architecture/crates.rs"]
mod crates;
#[path = "architecture/files.rs"]
mod files;
#[path = "architecture/runbooks.rs"]
mod runbooks;
#[path = "architecture/sources.rs"]
mod sources;
#[path = "architecture/table.rs"]
mod table;

use std::path::{Path, PathBuf};

/// The workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Fails with all faults at once, one a line.
fn none(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
