//! `portctl audit report` and `portctl audit reconcile` over exports that tests write themselves.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    dead_code,
    unreachable_pub,
    reason = "a test stops at what it did not expect, and uses a part of what tests share"
)]

mod fake;
#[path = "../../client/tests/support/mod.rs"]
mod support;

#[path = "exports/journal.rs"]
mod journal;
#[path = "exports/reconcile.rs"]
mod reconcile;
#[path = "exports/report.rs"]
mod report;
