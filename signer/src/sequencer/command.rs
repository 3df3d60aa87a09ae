//! Everything the writer can be asked. Closed: a new command must find its place in the order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc;

use portcullis_policy::book::{Book, Difference};
use portcullis_policy::fences::FenceOrder;
use portcullis_policy::id::{BookHash, CallerId, DecisionNumber, KeyId, PersonId, Sequence};
use portcullis_policy::record::{
    Adopted, DenialBurst, DestroyAnswered, Drilled, FenceAnswered, Frozen, KeyIntended, Matter,
    Priced, RecoveryBegun, Settled, Snapshot, Suspended, Voted, Withdrawn,
};
use portcullis_policy::request::Request;
use portcullis_policy::state::OrderFault;
use portcullis_policy::time::Millis;
use portcullis_policy::unsettled::Listing;
use tokio::sync::oneshot;

use super::Charged;
use super::checkpoints::CheckpointKeyStep;
use super::people::{Announcement, Done, NewProposal};
use super::proof::{Recorded, Signed};
use super::snapshots::Noted;
use super::standing::Standing;
use crate::clock::Deadline;
use crate::refusal::Refusal;
use crate::signature::PublicPoint;

/// Where an answer goes. Whoever hung up misses it; what it says has happened all the same.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

/// Says it. Whoever hung up misses it.
pub(super) fn reply<T>(answer: Answer<T>, said: Result<T, Refusal>) {
    drop(answer.send(said));
}

/// One command.
#[derive(Debug)]
pub(super) enum Command {
    Charge(Box<Request>, Option<Deadline>, Answer<Charged>),
    Record(Box<Signed>, Answer<Recorded>),
    Fail(DecisionNumber, &'static str, Answer<()>),
    Adopt(Box<NewBook>, Answer<(Sequence, Vec<String>)>),
    Report(Report, Answer<Sequence>),
    IntendKey(KeyIntended, Answer<()>),
    KeyCreated(KeyId, Arc<PublicPoint>, Answer<()>),
    CheckpointKey(CheckpointKeyStep, Answer<()>),
    Snapshot(Snapshot, Answer<Noted>),
    DueFences(BTreeSet<KeyId>, Answer<Vec<FenceOrder>>),
    FencesAnswered(FenceAnswered, Answer<()>),
    RemovalAnswered(Box<DestroyAnswered>, Answer<()>),
    Matter(Matter, Option<PersonId>, Answer<Standing>),
    Matters(Option<PersonId>, Answer<(Vec<Standing>, usize)>),
    Vote(Box<Voted>, Answer<Standing>),
    Propose(Box<NewProposal>, Answer<Standing>),
    Execute(PersonId, Sequence, Answer<Done>),
    Withdraw(Withdrawn, Answer<Sequence>),
    Suspend(Suspended, Answer<Sequence>),
    BeginRecovery(Box<RecoveryBegun>, Answer<Announcement>),
    FinishRecovery(Sequence, Answer<Sequence>),
    Note(CallerId, KeyId, &'static str),
    Uses(Answer<Uses>),
    Arm(Option<DenialBurst>),
    /// Nothing but the end of a sleep.
    Wake,
    Finish,
}

/// A book that was parsed and compared outside of the writer, which has no time for it.
#[derive(Debug)]
pub(super) struct NewBook {
    pub(super) adopted: Adopted,
    pub(super) book: Arc<Book>,
    /// The book it was compared with.
    pub(super) base: BookHash,
    pub(super) difference: Difference,
}

/// The last signature of each key for each caller, and when that was.
pub type Uses = BTreeMap<(KeyId, CallerId), (Sequence, Millis)>;

/// What somebody outside tells.
#[derive(Debug)]
pub enum Report {
    /// What is mined.
    Settled(Settled),
    /// What things cost.
    Priced(Priced),
    /// What a drill came to.
    Drilled(Box<Drilled>),
}

/// Wakes the writer up for a stop, which waits in a lane of its own: see [`Lanes`].
#[derive(Debug)]
pub(super) enum Urgent {
    Freeze {
        frozen: Frozen,
        /// Records whose signatures the gate kept from being released.
        unreleased: BTreeSet<Sequence>,
        answer: oneshot::Sender<Result<RecordedStop, OrderFault>>,
    },
}

/// A stop that is on record.
#[derive(Debug)]
pub(super) struct RecordedStop {
    pub(super) sequence: Sequence,
    /// Requests in scope that were under way.
    pub(super) under_way: u64,
    /// What no stop calls back.
    pub(super) unsettled: Listing,
}

/// What the writer takes from. Stops go before everything that is queued, however much that is.
#[derive(Debug)]
pub(super) struct Lanes {
    pub(super) urgent: mpsc::Receiver<Urgent>,
    pub(super) rest: mpsc::Receiver<Command>,
}

/// The other ends.
#[derive(Clone, Debug)]
pub(super) struct Senders {
    urgent: mpsc::Sender<Urgent>,
    rest: mpsc::Sender<Command>,
}

/// The writer has ended.
#[derive(Debug)]
pub(super) struct Ended;

impl Senders {
    pub(super) fn send(&self, command: Command) -> Result<(), Ended> {
        self.rest.send(command).map_err(|_| Ended)
    }

    pub(super) fn stop(&self, urgent: Urgent) -> Result<(), Ended> {
        self.urgent.send(urgent).map_err(|_| Ended)?;
        // The writer may be asleep on the other lane.
        self.send(Command::Wake)
    }
}

/// Both lanes.
pub(super) fn lanes() -> (Senders, Lanes) {
    let ((urgent, urgent_end), (rest, rest_end)) = (mpsc::channel(), mpsc::channel());
    (Senders { urgent, rest }, Lanes { urgent: urgent_end, rest: rest_end })
}
