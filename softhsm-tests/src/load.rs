//! What `deploy/bench` measures, and the load generator that it measures with.
//!
//! Every reply is checked: it recovers to the key's address over a digest computed here, s is low,
//! the raw transaction is ours. A run in which the journal does not name exactly the replies that
//! came fails. A figure is never a test's business: nothing here asserts a duration.

mod audit;
mod cpu;
mod disk;
mod drive;
mod figures;
mod judge;
mod preimages;
mod raw_rate;
mod rounds;
mod site;

pub use audit::{AuditError, Tally};
pub use cpu::{CpuTimes, Spent};
pub use disk::CommitProbe;
pub use drive::{Load, LoadError, Measured, Reply, Target};
pub use figures::{Round, Spread, Summary, per_request, percentile, table};
pub use judge::{Judge, ReplyFault};
pub use preimages::Preimages;
pub use raw_rate::{RawMeter, RawRate, RawRateError, RawTarget, serve_raw};
pub use rounds::{Measurement, Options, Profile, measure};
pub use site::{OwnToken, Plan, Site};
