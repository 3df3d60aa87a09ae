//! The one writer: takes what is queued, decides each in order, commits the batch, then answers.
//!
//! Private state may run ahead of the disk only because nobody sees it before the commit, and
//! because a commit that fails ends the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use arc_swap::ArcSwap;
use portcullis_policy::id::{DecisionNumber, Epoch, KeyId, Sequence, VaultId};
use portcullis_policy::record::{Entry, Record};
use portcullis_policy::state::{State, Unfoldable};
use portcullis_policy::time::{Interval, Span};
use tokio::sync::watch;

use super::command::{Answer, Command, Lanes, Urgent, reply};
use super::decisions::Pending;
use super::flood::Flood;
use super::triggers::Bursts;
use super::view::View;
use crate::clock::Clock;
use crate::gate::Gate;
use crate::journal::{Batch, Durable, EntryTooLong, Head, Space, Storage, StorageError, Urgency};
use crate::refusal::Refusal;
use crate::signature::PublicPoint;

/// The writer and everything only it may touch.
pub(super) struct Writer {
    pub(super) vault: VaultId,
    pub(super) epoch: Epoch,
    pub(super) state: State,
    pub(super) storage: Box<dyn Storage>,
    pub(super) clock: Arc<Clock>,
    pub(super) gate: Gate,
    pub(super) points: BTreeMap<KeyId, Arc<PublicPoint>>,
    pub(super) view: Arc<ArcSwap<View>>,
    pub(super) head: watch::Sender<Head>,
    pub(super) figures: Arc<Figures>,
    pub(super) pending: BTreeMap<DecisionNumber, Pending>,
    pub(super) next: DecisionNumber,
    pub(super) batch: Batch,
    pub(super) answers: Vec<AfterCommit>,
    pub(super) flood: Flood,
    pub(super) bursts: Bursts,
    pub(super) changed: bool,
    /// Whether something that waits for people has changed.
    pub(super) matters_changed: bool,
    /// Counts such changes, for whoever watches.
    pub(super) matters: watch::Sender<u64>,
    /// Counts changes of what is in force.
    pub(super) changes: watch::Sender<u64>,
}

/// What is said once the batch is durable.
pub(super) type AfterCommit = Box<dyn FnOnce(&Durable) + Send>;

/// Counters, for metrics and status.
#[derive(Debug, Default)]
pub struct Figures {
    /// Signatures recorded.
    pub signed: AtomicU64,
    /// Requests refused by policy.
    pub denied: AtomicU64,
    /// Requests parked.
    pub parked: AtomicU64,
    /// Signatures refused at the last look.
    pub withheld: AtomicU64,
    /// Requests that were allowed and could not be signed.
    pub failed: AtomicU64,
    /// Signatures that came for a reservation that was closed, and were wiped.
    pub late: AtomicU64,
    /// Commits.
    pub commits: AtomicU64,
    /// Reservations open now.
    pub open: AtomicU64,
    /// 0 ample, 1 low, 2 exhausted.
    pub space: AtomicU64,
}

/// Why the writer cannot go on. The process ends, and the next start finds out what is on disk.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The journal failed, or is somebody else's.
    #[error("the journal cannot be written")]
    Storage(#[from] StorageError),
    /// A record that is longer than the journal takes.
    #[error("a record does not fit into the journal")]
    TooLong(#[from] EntryTooLong),
    /// A record that cannot be written down: a mistake of ours.
    #[error("a record cannot be written down")]
    Encode(#[from] serde_json::Error),
    /// A record that does not follow from the ones before: a mistake of ours.
    #[error("a record does not follow from those before it")]
    Fold(#[from] Unfoldable),
}

impl Writer {
    /// Runs until told to finish, or until nobody can ask any more.
    pub(super) fn run(mut self, lanes: &Lanes) -> Result<(), Fatal> {
        loop {
            let Some(commands) = next_commands(&lanes.rest) else { return self.finish() };
            let mut finish = false;
            for command in commands {
                self.stop_first(&lanes.urgent)?;
                finish |= self.handle(command)?;
            }
            self.stop_first(&lanes.urgent)?;
            self.summarise_floods()?;
            self.commit_all()?;
            if finish {
                return self.finish();
            }
        }
    }

    /// Records the stops that wait, and whatever came before them, before anything else is done.
    fn stop_first(&mut self, urgent: &Receiver<Urgent>) -> Result<(), Fatal> {
        let mut any = false;
        while let Ok(stop) = urgent.try_recv() {
            if !std::mem::replace(&mut any, true) {
                // Ordinary records first, so that they take none of the room kept for stops.
                self.commit_all()?;
            }
            self.freeze(stop)?;
        }
        if any { self.commit(Urgency::Emergency) } else { Ok(()) }
    }

    fn commit_all(&mut self) -> Result<(), Fatal> {
        // When space runs out, nothing but closings is left to write here.
        let ample = self.space() == Space::Ample;
        self.commit(if ample { Urgency::Ordinary } else { Urgency::Emergency })
    }

    fn finish(mut self) -> Result<(), Fatal> {
        if self.space() == Space::Ample {
            for suppressed in self.flood.take_all() {
                self.append(self.clock.now(), Record::Suppressed(suppressed), None)?;
            }
        }
        self.commit_all()
    }

    /// One command; whether it was the last.
    fn handle(&mut self, command: Command) -> Result<bool, Fatal> {
        match command {
            Command::Charge(_, Some(deadline), answer) if deadline.has_passed() => {
                reply(answer, Err(Refusal::PastDeadline));
            }
            Command::Charge(request, _, answer) => self.charge(*request, answer)?,
            Command::Record(signed, answer) => self.record(*signed, answer)?,
            Command::Fail(number, fault, answer) => self.fail(number, fault, answer)?,
            Command::Adopt(new, answer) => self.adopt(*new, answer)?,
            Command::Report(report, answer) => self.report(report, answer)?,
            Command::IntendKey(intended, answer) => self.intend_key(intended, answer)?,
            Command::KeyCreated(key, point, answer) => self.key_created(key, &point, answer)?,
            Command::CheckpointKey(step, answer) => self.checkpoint_key(step, answer)?,
            Command::Snapshot(snapshot, answer) => self.snapshot(snapshot, answer)?,
            Command::DueFences(undone, answer) => self.due_fences(&undone, answer)?,
            Command::FencesAnswered(answered, answer) => self.fences_answered(answered, answer)?,
            Command::RemovalAnswered(answered, answer) => {
                self.removal_answered(*answered, answer)?;
            }
            Command::Matter(matter, person, answer) => {
                let standing = self.standing(&matter, person.as_ref());
                reply(answer, standing.ok_or_else(|| super::people::gone(&matter)));
            }
            Command::Matters(person, answer) => {
                reply(answer, Ok(self.standings(person.as_ref())));
            }
            Command::Vote(voted, answer) => self.vote(*voted, answer)?,
            Command::Propose(new, answer) => self.propose(*new, answer)?,
            Command::Execute(by, proposal, answer) => self.execute(&by, proposal, answer)?,
            Command::Withdraw(withdrawn, answer) => self.withdraw(withdrawn, answer)?,
            Command::Suspend(suspended, answer) => self.suspend(suspended, answer)?,
            Command::BeginRecovery(begun, answer) => self.begin_recovery(*begun, answer)?,
            Command::FinishRecovery(begun, answer) => self.finish_recovery(begun, answer)?,
            Command::Note(caller, key, code) => {
                let (key, now) = (self.counted_under(key), self.clock.now());
                self.flood.note(&caller, key, code, now.sure);
                if self.space() == Space::Ample {
                    self.count_denial(&caller, now)?;
                }
            }
            Command::Uses(answer) => reply(answer, Ok(self.state.last_signed().clone())),
            Command::Arm(bound) => self.bursts.arm(bound),
            Command::Wake => {}
            Command::Finish => return Ok(true),
        }
        Ok(false)
    }

    /// Folds a record and puts its line into the batch.
    pub(super) fn append(
        &mut self,
        at: Interval,
        record: Record,
        attachment: Option<Vec<u8>>,
    ) -> Result<Sequence, Fatal> {
        let seq = self.state.head().next();
        let entry = Entry { at, record, seq };
        let record = entry.encode()?;
        let bytes = record.len().saturating_add(attachment.as_ref().map_or(0, Vec::len));
        if self.batch.bytes().saturating_add(bytes) > BATCH_BYTES_MAX {
            self.commit_all()?;
        }
        self.state.apply(&entry)?;
        // More than zero if the record let it.
        self.clock.go_forward(Span(self.state.at().sure.0.saturating_sub(at.sure.0)));
        if let Some(attachment) = attachment {
            self.batch.push_attachment(&attachment)?;
        }
        self.batch.push_record(&record)?;
        Ok(seq)
    }

    pub(super) fn after_commit(&mut self, say: impl FnOnce(&Durable) + Send + 'static) {
        self.answers.push(Box::new(say));
    }

    fn summarise_floods(&mut self) -> Result<(), Fatal> {
        if self.space() != Space::Ample {
            return Ok(());
        }
        let now = self.clock.now();
        for suppressed in self.flood.take_ended(now.sure) {
            self.append(now, Record::Suppressed(suppressed), None)?;
        }
        Ok(())
    }

    /// One durable commit for everything appended; only then is anything said.
    pub(super) fn commit(&mut self, urgency: Urgency) -> Result<(), Fatal> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.batch.mark(urgency);
        let durable = self.storage.append_if_owner(self.epoch, &self.batch)?;
        self.batch.clear();
        Figures::count(&self.figures.commits);
        let narrowed = self.view.load().narrowed < self.state.narrowed();
        let changed = std::mem::take(&mut self.changed) || narrowed;
        if changed {
            self.view.store(Arc::new(View::of(&self.state, self.vault)));
            self.changes.send_modify(|count| *count = count.wrapping_add(1));
        }
        self.head.send_replace(durable.head());
        if std::mem::take(&mut self.matters_changed) {
            self.matters.send_modify(|count| *count = count.wrapping_add(1));
        }
        for say in self.answers.drain(..) {
            say(&durable);
        }
        if changed {
            // After what was said, which may have let one through that ended in the same batch.
            self.gate.keep_drains(|key| self.state.drain_of(key).is_some());
        }
        Ok(())
    }

    /// How much room there is, which figures show from then on.
    pub(super) fn space(&self) -> Space {
        let space = self.storage.space();
        let level = match space {
            Space::Ample => 0,
            Space::Low => 1,
            Space::Exhausted => 2,
        };
        self.figures.space.store(level, Ordering::Relaxed);
        space
    }

    pub(super) fn show_open(&self) {
        let open = u64::try_from(self.pending.len()).unwrap_or(u64::MAX);
        self.figures.open.store(open, Ordering::Relaxed);
    }
}

impl Figures {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Said at once, because nothing was recorded.
pub(super) fn done<T>(answer: Answer<T>, said: Result<T, Refusal>) -> Result<(), Fatal> {
    reply(answer, said);
    Ok(())
}

/// Whatever is queued, or nothing after a while; `None` when nobody can ask any more.
fn next_commands(queue: &Receiver<Command>) -> Option<Vec<Command>> {
    let mut commands = match queue.recv_timeout(IDLE) {
        Ok(first) => vec![first],
        Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
        Err(RecvTimeoutError::Disconnected) => return None,
    };
    while commands.len() < BATCH_MAX {
        let Ok(command) = queue.try_recv() else { break };
        commands.push(command);
    }
    Some(commands)
}

/// Commands handled between two commits.
const BATCH_MAX: usize = 256;

/// Bytes of records in one commit, unless a single one is larger: the smallest segment holds it.
const BATCH_BYTES_MAX: usize = 160 * 1024;

/// How long the writer sleeps when nobody asks: then it writes down the counts of floods.
pub(super) const IDLE: Duration = Duration::from_secs(1);
