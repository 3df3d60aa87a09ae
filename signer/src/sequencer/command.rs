//! Everything the writer can be asked. Closed: a new command must find its place in the order.

use std::sync::Arc;

use portcullis_policy::id::{CallerId, DecisionNumber, KeyId, Sequence};
use portcullis_policy::record::{Adopted, Frozen, KeyIntended};
use portcullis_policy::request::Request;
use tokio::sync::oneshot;

use super::Charged;
use super::proof::{Recorded, Signed};
use crate::refusal::Refusal;
use crate::signature::PublicPoint;

/// Where an answer goes. Whoever hung up misses it; what it says has happened all the same.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

/// One command.
#[derive(Debug)]
pub(super) enum Command {
    Charge(Box<Request>, Answer<Charged>),
    Record(Box<Signed>, Answer<Recorded>),
    Fail(DecisionNumber, &'static str, Answer<()>),
    Freeze(Frozen, Answer<(Sequence, u64)>),
    Adopt(Adopted, Answer<(Sequence, Vec<String>)>),
    IntendKey(KeyIntended, Answer<()>),
    KeyCreated(KeyId, Arc<PublicPoint>, Answer<()>),
    Note(CallerId, KeyId, &'static str),
    Finish,
}

impl Command {
    /// Stops go before everything that is queued.
    pub(super) fn is_urgent(&self) -> bool {
        matches!(self, Self::Freeze(..))
    }
}
