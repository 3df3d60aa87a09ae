//! Decides in one order, charges, records: the only writer.

mod proof;

pub use proof::{Reserved, Signed};
