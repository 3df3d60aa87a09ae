//! Pure: decides, records, folds and re-checks. No I/O, no clock, no async.
//!
//! [`decide::decide`] is the one place where a signature is permitted; [`state::State`] is the fold
//! of the journal; [`verify`] repeats every decision from genesis and the records alone. The same
//! functions answer a live request, `portctl policy explain`, and a replay of last year.

pub mod abi;
pub mod act;
mod asks;
pub mod book;
mod bounded;
pub mod bounds;
mod canonical;
mod checks;
pub mod credential;
pub mod decide;
pub mod drain;
pub mod effect;
mod elsewhere;
pub mod examples;
mod exposure;
pub mod fences;
pub mod finding;
pub mod governance;
pub mod id;
pub mod impact;
pub mod ledger;
pub mod limits;
pub mod message;
pub mod money;
mod outage;
pub mod payees;
pub mod pending;
pub mod people;
mod permitted;
pub mod prices;
pub mod quorum;
pub mod record;
mod rejections;
pub mod request;
pub mod reservation;
pub mod settlement;
pub mod state;
pub mod statement;
pub mod stops;
pub mod time;
pub mod tx;
pub mod typed;
pub mod unseen;
pub mod unsettled;
pub mod utc;
pub mod value;
pub mod verify;

pub use portcullis_tlog::{note, receipt, submission, tree};
