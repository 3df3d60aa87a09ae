//! Pure: decides, records, folds and re-checks. No I/O, no clock, no async.

pub mod id;
pub mod money;
pub mod time;
pub mod tree;
