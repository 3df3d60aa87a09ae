//! One order. Every decision, stop and book change of a vault has one place in one journal, given
//! by one thread.
//!
//! This handle queues commands for that thread and waits for its answers. It holds no rule.

mod books;
mod changes;
mod checkpoints;
mod command;
mod decisions;
mod fences;
mod flood;
mod people;
mod proof;
mod snapshots;
mod standing;
mod start;
#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test")]
mod tests;
mod triggers;
mod turns;
mod under_way;
mod view;
mod writer;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arc_swap::ArcSwap;
use portcullis_policy::act::Act;
use portcullis_policy::credential::Purpose;
use portcullis_policy::fences::FenceOrder;
use portcullis_policy::id::{CallerId, DecisionNumber, KeyId, PersonId, Sequence};
use portcullis_policy::record::{
    Adopted, DenialBurst, DestroyAnswered, FenceAnswered, Frozen, KeyIntended, Matter,
    RecoveryBegun, Suspended, Voted, Withdrawn,
};
use portcullis_policy::request::Request;
use portcullis_policy::state::{OrderFault, VoteFault};
use portcullis_policy::statement;
use portcullis_policy::time::Interval;
use portcullis_policy::unsettled::Listing;
use tokio::sync::{oneshot, watch};

use self::books::prepare;
pub use self::checkpoints::CheckpointKeyStep;
use self::command::{Answer, Command, Ended, NewBook, Senders, Urgent};
pub use self::command::{Report, Uses};
use self::people::NewProposal;
pub use self::people::{Announcement, Done};
pub use self::proof::{DurableRoot, Recorded, Reserved, Signed};
pub use self::snapshots::{Begun, Noted};
pub use self::standing::{Origin, Outline, Said, Standing};
pub use self::start::{Heard, StartError, Started, start, start_from, vault_of};
use self::turns::{Turn, Turns};
use self::under_way::UnderWay;
pub use self::view::{KeyView, View};
pub use self::writer::{Fatal, Figures};
use crate::clock::Deadline;
use crate::gate::Gate;
use crate::journal::Head;
use crate::refusal::Refusal;
use crate::signature::PublicPoint;

/// What the sequencer made of a decoded request.
#[derive(Debug)]
#[must_use]
pub enum Charged {
    /// Allowed and charged: go and have it signed.
    Reserved(Box<Reserved>),
    /// It waits for people.
    Parked(ParkedAnswer),
}

/// A recorded parking.
#[derive(Clone, Debug)]
pub struct ParkedAnswer {
    /// Names it.
    pub parked: String,
    /// The quorums missing, in the words of the book.
    pub missing: Vec<String>,
    /// When it expires, milliseconds since 1970.
    pub expires_ms: u64,
    /// The record.
    pub sequence: Sequence,
}

/// The acknowledgement of a stop.
#[derive(Clone, Debug, Default)]
pub struct FrozenAnswer {
    /// The record; `None` if it could not be written: fenced, not recorded.
    pub sequence: Option<Sequence>,
    /// The last signature in scope that was released.
    pub last_released: Sequence,
    /// Signatures in scope that were ready or under way.
    pub withheld: u64,
    /// What no stop calls back. Empty if nothing was recorded.
    pub unsettled: Listing,
}

/// The way to the writer.
#[derive(Clone, Debug)]
pub struct Sequencer {
    queue: Senders,
    under_way: Arc<AtomicUsize>,
    view: Arc<ArcSwap<View>>,
    head: watch::Receiver<Head>,
    matters: watch::Sender<u64>,
    changes: watch::Sender<u64>,
    figures: Arc<Figures>,
    gate: Gate,
    adopting: Turns,
    checking: Turns,
    recovering: Turns,
}

impl Sequencer {
    /// Decides a request and takes its charge, in one step; past its deadline, neither.
    pub async fn charge(
        &self,
        request: Request,
        deadline: Option<Deadline>,
    ) -> Result<Charged, Refusal> {
        // Bounded here and not by the queue, so that a stop never finds the queue full.
        let _slot = UnderWay::enter(&self.under_way)?;
        self.ask(|answer| Command::Charge(Box::new(request), deadline, answer)).await
    }

    /// The last look, the record, and the wait until it is durable.
    pub async fn record(&self, signed: Signed) -> Result<Recorded, Refusal> {
        self.ask(|answer| Command::Record(Box::new(signed), answer)).await
    }

    /// Closes a reservation that no signature came for. A signature that comes later is wiped.
    pub async fn fail(&self, number: DecisionNumber, fault: &'static str) -> Result<(), Refusal> {
        self.ask(|answer| Command::Fail(number, fault, answer)).await
    }

    /// Stops a scope: the gate first, then the record. Never refused for want of room.
    pub async fn freeze(&self, frozen: Frozen) -> FrozenAnswer {
        let stopped = self.stop(frozen).await;
        // Only an order can be found to be none.
        stopped.unwrap_or_default()
    }

    /// The same at the word of whoever holds an order that was signed beforehand.
    ///
    /// # Errors
    ///
    /// It is none, or was used. Nothing is stopped by it then.
    pub async fn stop_by_order(
        &self,
        stop: Frozen,
        now: Interval,
    ) -> Result<FrozenAnswer, OrderFault> {
        self.view().signatories().check(&stop, now)?;
        self.stop(stop).await
    }

    async fn stop(&self, frozen: Frozen) -> Result<FrozenAnswer, OrderFault> {
        let closed = self.gate.close(&frozen.scope);
        let (answer, recorded) = oneshot::channel();
        let waiting = u64::try_from(closed.unreleased.len()).unwrap_or(u64::MAX);
        let stop = Urgent::Freeze { frozen, unreleased: closed.unreleased, answer };
        let recorded = match self.queue.stop(stop) {
            Ok(()) => recorded.await.ok().transpose()?,
            Err(Ended) => None,
        };
        let under_way = recorded.as_ref().map_or(0, |recorded| recorded.under_way);
        Ok(FrozenAnswer {
            sequence: recorded.as_ref().map(|recorded| recorded.sequence),
            last_released: closed.last_released,
            withheld: waiting.saturating_add(under_way),
            unsettled: recorded.map(|recorded| recorded.unsettled).unwrap_or_default(),
        })
    }

    /// Puts a book in force, if it only narrows. Reading and comparing it takes long if it is
    /// large, so that is not done by the writer, which a stop may wait for.
    pub async fn adopt(&self, adopted: Adopted) -> Result<(Sequence, Vec<String>), Refusal> {
        // In force when its turn has come: the one before may have changed that.
        let view = self.view.clone();
        let read = move || NewBook::read(adopted, &view.load_full());
        let (new, turn) = self.adopting.take(read).await?;
        let new = Box::new(new?);
        self.ask_in(turn, |answer| Command::Adopt(new, answer)).await
    }

    /// Looks at what somebody may want to adopt, which may take as long: one at a time, and never
    /// in the way of what is adopted.
    pub async fn check<T: Send + 'static>(
        &self,
        look: impl FnOnce(&View) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let view = self.view.clone();
        let look = move || look(&view.load_full());
        self.checking.take(look).await.map(|(seen, _turn)| seen)
    }

    /// Takes in what somebody outside tells, if it can follow what was told before.
    pub async fn report(&self, report: Report) -> Result<Sequence, Refusal> {
        self.ask(|answer| Command::Report(report, answer)).await
    }

    /// Notes that a key is about to be made.
    pub async fn intend_key(&self, intended: KeyIntended) -> Result<(), Refusal> {
        self.ask(|answer| Command::IntendKey(intended, answer)).await
    }

    /// Notes that it was made, and pins its point.
    pub async fn key_created(&self, key: KeyId, point: PublicPoint) -> Result<(), Refusal> {
        self.ask(|answer| Command::KeyCreated(key, Arc::new(point), answer)).await
    }

    /// Notes what the token is to be told about fences, and says it.
    pub async fn due_fences(&self, undone: BTreeSet<KeyId>) -> Result<Vec<FenceOrder>, Refusal> {
        self.ask(|answer| Command::DueFences(undone, answer)).await
    }

    /// Notes what the token answered.
    pub async fn fences_answered(&self, answered: FenceAnswered) -> Result<(), Refusal> {
        self.ask(|answer| Command::FencesAnswered(answered, answer)).await
    }

    /// Notes what the token answered when it was told to remove a key.
    pub async fn removal_answered(&self, answered: DestroyAnswered) -> Result<(), Refusal> {
        self.ask(|answer| Command::RemovalAnswered(Box::new(answered), answer)).await
    }

    /// Says how many refusals of one caller are too many. `None`: none ever are.
    pub fn arm(&self, bound: Option<DenialBurst>) {
        let _ended_already = self.queue.send(Command::Arm(bound)).is_err();
    }

    /// Whom each key last signed for, and when.
    pub async fn uses(&self) -> Result<Uses, Refusal> {
        self.ask(Command::Uses).await
    }

    /// Counts a request that could not even be read. The count is recorded within a second.
    pub fn note(&self, caller: CallerId, key: KeyId, code: &'static str) {
        // Nobody waits for this, so nothing else bounds it: under a flood that even counting cannot
        // keep up with, some are not counted.
        let Ok(_slot) = UnderWay::enter(&self.under_way) else { return };
        let _ended_already = self.queue.send(Command::Note(caller, key, code)).is_err();
    }

    /// One thing that waits for people.
    pub async fn matter(
        &self,
        matter: Matter,
        person: Option<PersonId>,
    ) -> Result<Standing, Refusal> {
        self.ask(|answer| Command::Matter(matter, person, answer)).await
    }

    /// Everything that waits, in the order it began, and how much more there is.
    pub async fn matters(
        &self,
        person: Option<PersonId>,
    ) -> Result<(Vec<Standing>, usize), Refusal> {
        self.ask(|answer| Command::Matters(person, answer)).await
    }

    /// Follows changes of what waits: a count that moves.
    pub fn matter_changes(&self) -> watch::Receiver<u64> {
        self.matters.subscribe()
    }

    /// Records a vote, if it is one. What is plainly none is found out here, and not by the writer,
    /// for which a stop may wait.
    pub async fn vote(&self, voted: Voted) -> Result<Standing, Refusal> {
        let standing = self.matter(voted.matter.clone(), None).await?;
        let view = self.view();
        let member = view.people.member(&voted.by);
        if let Some(credential) = member.and_then(|member| member.active(&voted.credential)) {
            let statement = &standing.waiting.statement;
            let text = statement::ballot(statement, voted.choice, &voted.by, &voted.reason);
            let proof = credential.verify(Purpose::Vote, text.as_bytes(), &voted.evidence);
            proof.map(drop).map_err(|fault| Refusal::Vote(VoteFault::Evidence(fault)))?;
        }
        self.ask(|answer| Command::Vote(Box::new(voted), answer)).await
    }

    /// Proposes an act. A book is read and compared outside of the writer.
    pub async fn propose(
        &self,
        by: PersonId,
        act: Act,
        reason: String,
    ) -> Result<Standing, Refusal> {
        let text = if let Act::Adopt(adopt) = &act { Some(adopt.book.clone()) } else { None };
        let Some(text) = text else {
            // Books are read one at a time; what ends a key or changes people waits for none.
            let new = Box::new(NewProposal { by, act, reason, prepared: None });
            return self.ask(|answer| Command::Propose(new, answer)).await;
        };
        let view = self.view.clone();
        let read = move || prepare(&text, &view.load_full());
        let (prepared, turn) = self.adopting.take(read).await?;
        let new = Box::new(NewProposal { by, act, reason, prepared: Some(prepared?) });
        self.ask_in(turn, |answer| Command::Propose(new, answer)).await
    }

    /// Does what was proposed, if enough people have agreed.
    pub async fn execute(&self, by: PersonId, proposal: Sequence) -> Result<Done, Refusal> {
        self.ask(|answer| Command::Execute(by, proposal, answer)).await
    }

    /// Takes something back.
    pub async fn withdraw(&self, withdrawn: Withdrawn) -> Result<Sequence, Refusal> {
        self.ask(|answer| Command::Withdraw(withdrawn, answer)).await
    }

    /// Lets a vote no longer count.
    pub async fn suspend(&self, suspended: Suspended) -> Result<Sequence, Refusal> {
        self.ask(|answer| Command::Suspend(suspended, answer)).await
    }

    /// Announces that the people will be replaced.
    ///
    /// Whoever has any certificate of the control plane may ask: its signatures are looked at here,
    /// one at a time, before the writer is troubled, for which a stop may wait.
    pub async fn begin_recovery(&self, begun: RecoveryBegun) -> Result<Announcement, Refusal> {
        let view = self.view.clone();
        let check = move || {
            let view = view.load_full();
            let signed = begun.check_signatures(&view.vault, view.governance.recovery.as_ref());
            signed.map(|()| begun)
        };
        let (checked, turn) = self.recovering.take(check).await?;
        let begun = Box::new(checked.map_err(Refusal::Recovery)?);
        self.ask_in(turn, |answer| Command::BeginRecovery(begun, answer)).await
    }

    /// Replaces the people, if the delay is over.
    pub async fn finish_recovery(&self, begun: Sequence) -> Result<Sequence, Refusal> {
        self.ask(|answer| Command::FinishRecovery(begun, answer)).await
    }

    /// What is in force now.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Follows changes of what is in force: a count that moves.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Follows the durable head.
    pub fn head(&self) -> watch::Receiver<Head> {
        self.head.clone()
    }

    /// Counters.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Ends the writer after everything queued before.
    pub fn finish(&self) {
        let _ended_already = self.queue.send(Command::Finish).is_err();
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, Refusal> {
        self.put(command)?.await.map_err(|_| Refusal::ShuttingDown)?
    }

    /// The same, in a turn that ends with the writer's answer, also if whoever asked has hung up.
    async fn ask_in<T: Send + 'static>(
        &self,
        turn: Turn,
        command: impl FnOnce(Answer<T>) -> Command,
    ) -> Result<T, Refusal> {
        let wait = self.put(command)?;
        let answered = tokio::spawn(async move {
            let answered = wait.await;
            drop(turn);
            answered
        });
        let answered = answered.await.map_err(|_| Refusal::ShuttingDown)?;
        answered.map_err(|_| Refusal::ShuttingDown)?
    }

    fn put<T>(
        &self,
        command: impl FnOnce(Answer<T>) -> Command,
    ) -> Result<oneshot::Receiver<Result<T, Refusal>>, Refusal> {
        let (answer, wait) = oneshot::channel();
        self.queue.send(command(answer)).map_err(|_| Refusal::ShuttingDown)?;
        Ok(wait)
    }
}
