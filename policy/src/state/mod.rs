//! The fold of the journal, and nothing that is not in a record, but for the open reservations.
//!
//! The same type runs live, in replay, and in an auditor's hands.

mod accepted;
mod acts;
mod believed;
mod checkpoints;
mod drains;
mod drills;
mod faults;
mod fences;
pub(crate) mod image;
mod orders;
mod outlook;
mod recovery;
mod removals;
mod snapshots;
mod suspensions;
mod unsettled;
mod votes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::{Address, B128, B256};
use serde::{Deserialize, Serialize};

use self::accepted::Stood;
pub use self::acts::CANARY;
use self::believed::Believed;
pub use self::checkpoints::{CheckpointKey, Checkpoints};
pub use self::drills::{Drill, DrillFault, Drills};
pub use self::faults::{ExecutionFault, ProposalFault, RecoveryFault};
pub use self::image::{IMAGE_FORMAT, ImageFault, code};
pub use self::orders::{OrderFault, Signatories};
pub use self::outlook::{Outlook, Progress};
pub use self::recovery::Announced;
pub use self::removals::Tomb;
pub use self::suspensions::SuspensionFault;
pub use self::votes::{REASON_MAX, VoteFault};
use crate::book::{Book, Change};
use crate::credential::Purpose;
use crate::decide::{Allowed, Approval, Decision, Facts, KeyFacts, decide};
use crate::drain::Drain;
use crate::fences::Fences;
use crate::governance::Governance;
use crate::id::{
    BookHash, CallerId, ChainId, DecisionNumber, Digest, Epoch, KeyId, KeyLabel, PersonId,
    RequestId, Sequence, Tag, VaultId,
};
use crate::ledger::{FADING, Ledger};
use crate::outage::{Outage, Stamp};
use crate::payees::Payees;
use crate::pending::{Pending, WAITING_MAX, Waiting};
use crate::people::People;
use crate::prices::{NotPriced, Prices};
use crate::record::{
    Adopted, Asked, Entry, Environment, FORMAT, Genesis, KeyCreated, KeyIntended, Matter, Priced,
    Record, RecordedInput, Settled, SignedRecord, Started,
};
use crate::request::{Asker, Request};
use crate::reservation::{Open, Reservations};
use crate::settlement::{NotSettled, Settlements, Watched};
use crate::statement;
use crate::stops::Stops;
use crate::time::{Interval, Millis};
use crate::tree::leaf_hash;
use crate::unsettled::Unsettled;

/// Everything a vault knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    head: Sequence,
    at: Interval,
    /// What sure time was made by people, when they last did.
    accepted: Millis,
    stood: Stood,
    believed: Believed,
    epoch: Epoch,
    started: Option<(Started, Interval)>,
    last_start: Sequence,
    vault: VaultId,
    environment: Environment,
    people: People,
    governance: Governance,
    recovery: Option<Announced>,
    /// Recovery statements that were announced once, until they are no longer good.
    spent: BTreeSet<(Millis, B256)>,
    #[serde(with = "image::book")]
    book: Arc<Book>,
    #[serde(skip)]
    prepared: Option<Prepared>,
    adopted: Sequence,
    keys: BTreeMap<KeyId, Key>,
    labels: BTreeMap<KeyLabel, KeyId>,
    checkpoints: Checkpoints,
    payees: Payees,
    settlements: Settlements,
    unsettled: Unsettled,
    prices: Prices,
    stops: Stops,
    revoked: BTreeSet<KeyId>,
    fences: Fences,
    drains: BTreeMap<KeyId, Drain>,
    drills: Drills,
    /// Which key took the place of one that was drained.
    successors: BTreeMap<KeyId, KeyId>,
    tombs: BTreeMap<KeyId, Tomb>,
    /// Stop orders that were used, until they are no longer good.
    used_orders: BTreeSet<(Millis, B128)>,
    /// Notes of rescues that were taken in.
    taken_notes: BTreeSet<B128>,
    ledger: Ledger,
    requests: Requests,
    pending: Pending,
    last_signed: BTreeMap<(KeyId, CallerId), (Sequence, Millis)>,
    #[serde(skip)]
    open: Reservations,
    last_number: DecisionNumber,
    unreported: BTreeSet<DecisionNumber>,
    narrowed: Sequence,
    /// How far the last snapshot goes that was recorded.
    snapshot: Sequence,
}

/// A key, as the journal has it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// Its name in books.
    pub label: KeyLabel,
    /// Its tags.
    pub tags: BTreeSet<Tag>,
    /// What it is for.
    pub purpose: String,
    /// Who answers for it.
    pub owner: PersonId,
    /// The chains that it may ever sign for.
    pub chains: BTreeSet<ChainId>,
    /// By when somebody looks whether it is still needed.
    pub review_by: Millis,
    /// What became of it; `None` while only intended.
    pub made: Option<Made>,
}

/// A key that was made.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// Its address.
    pub address: Address,
    /// Its public point: 65 bytes as hex.
    pub point: String,
    /// When.
    pub at: Millis,
}

/// A book that was parsed and compared outside of whoever has no time for it.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The book.
    pub book: Arc<Book>,
    /// The book it was compared with.
    pub base: BookHash,
    /// What it would change.
    pub change: Arc<Change>,
}

/// Which digest a caller's request id stands for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Vec<image::Named>")]
struct Requests {
    digests: BTreeMap<(CallerId, RequestId), Digest>,
    ages: BTreeMap<Stamp, (CallerId, RequestId)>,
}

/// A record that cannot follow what came before it.
#[derive(Debug, thiserror::Error)]
pub enum Unfoldable {
    /// The first record is not genesis, or a later one is.
    #[error("record {0}: genesis must be the first record and only that")]
    Genesis(Sequence),
    /// Written by a newer version.
    #[error("the journal has format {found}; this version reads up to {FORMAT}")]
    Format {
        /// What was found.
        found: u64,
    },
    /// The sequence has a gap.
    #[error("record {found} follows record {after}")]
    Sequence {
        /// The record's own number.
        found: Sequence,
        /// The one before it.
        after: Sequence,
    },
    /// Sure time went back.
    #[error("record {0}: sure time goes back")]
    Time(Sequence),
    /// A book that was recorded does not parse, or is of another environment.
    #[error("record {0}: the recorded book has faults, or is of another environment")]
    Book(Sequence),
    /// A key is named that was not intended, or is intended or made twice, or shares a label or an
    /// address, or is of another environment.
    #[error("record {0}: does not fit the keys recorded before it")]
    Key(Sequence),
    /// A second key for checkpoints, or one that was not intended.
    #[error("record {0}: a vault has one key for checkpoints, and intends it before it is made")]
    CheckpointKey(Sequence),
    /// A slot that is no number.
    #[error("record {0}: the nonce is not a 64-bit decimal number")]
    Nonce(Sequence),
    /// One person twice, or two people with one control certificate.
    #[error("record {0}: two people share an id or a control certificate")]
    People(Sequence),
    /// Decided before the last start: what was open then died with the process that held it.
    #[error("record {0}: decided before the process that recorded it started")]
    Seen(Sequence),
    /// A decision that has a record already, was lost in a crash, or skips too many.
    #[error("record {0}: its decision number cannot be open")]
    Number(Sequence),
    /// A watcher's report that cannot follow those before it.
    #[error("record {0}: {1}")]
    Settled(Sequence, NotSettled),
    /// A pricer's report that the book in force did not believe.
    #[error("record {0}: {1}")]
    Priced(Sequence, NotPriced),
    /// The first people did not all sign, or could not govern the vault.
    #[error("record {0}: {1}")]
    Governance(Sequence, String),
    /// A parked request whose input is not there.
    #[error("record {0}: the input of the parked request cannot be read")]
    Parked(Sequence),
    /// A vote that is none.
    #[error("record {0}: {1}")]
    Vote(Sequence, VoteFault),
    /// A proposal that could not be made, or not in these words.
    #[error("record {0}: this could not be proposed, or not in these words")]
    Proposed(Sequence),
    /// Something done without the people it takes.
    #[error("record {0}: this could not be done on these votes")]
    Executed(Sequence),
    /// Taken back by somebody else.
    #[error("record {0}: taken back by somebody who did not ask for it")]
    Withdrawn(Sequence),
    /// A suspension by somebody who may not, or of nothing.
    #[error("record {0}: {1}")]
    Suspended(Sequence, SuspensionFault),
    /// A recovery that could not be.
    #[error("record {0}: {1}")]
    Recovery(Sequence, RecoveryFault),
    /// A stop by an order that is none.
    #[error("record {0}: {1}")]
    Order(Sequence, OrderFault),
    /// The token told to fence what is not stopped, or to let sign what is; or an answer to
    /// nothing.
    #[error("record {0}: no stop or thaw asks for this fence")]
    Fence(Sequence),
    /// A stop by the signer itself that what it says does not call for.
    #[error("record {0}: what set this stop off does not stop that, or is not so")]
    Trigger(Sequence),
    /// A removal that nobody agreed to, or that was done.
    #[error("record {0}: answers no removal of a key that is due")]
    Destroyed(Sequence),
    /// The end of a drain that is none.
    #[error("record {0}: ends a drain whose time is not over")]
    Drain(Sequence),
    /// A report of a drill that cannot have been.
    #[error("record {0}: {1}")]
    Drilled(Sequence, DrillFault),
    /// A snapshot of what is not recorded yet, or no newer than the one before.
    #[error("record {0}: a snapshot of no later records than the one before, or of its own")]
    Snapshot(Sequence),
    /// An epoch that is not newer than the one before.
    #[error("record {0}: the epoch is not newer")]
    Epoch(Sequence),
}

impl Unfoldable {
    /// Whether it is about who people are, what they signed, and what they may do together.
    pub fn is_of_people(&self) -> bool {
        match self {
            Self::People(_)
            | Self::Governance(..)
            | Self::Vote(..)
            | Self::Proposed(_)
            | Self::Executed(_)
            | Self::Withdrawn(_)
            | Self::Suspended(..)
            | Self::Recovery(..)
            | Self::Order(..) => true,
            Self::Genesis(_)
            | Self::Format { .. }
            | Self::Sequence { .. }
            | Self::Time(_)
            | Self::Book(_)
            | Self::Key(_)
            | Self::CheckpointKey(_)
            | Self::Nonce(_)
            | Self::Seen(_)
            | Self::Number(_)
            | Self::Settled(..)
            | Self::Priced(..)
            | Self::Parked(_)
            | Self::Fence(_)
            | Self::Trigger(_)
            | Self::Destroyed(_)
            | Self::Drain(_)
            | Self::Drilled(..)
            | Self::Snapshot(_)
            | Self::Epoch(_) => false,
        }
    }
}

impl State {
    /// The state after genesis.
    pub fn genesis(entry: &Entry) -> Result<Self, Unfoldable> {
        let Record::Genesis(genesis) = &entry.record else {
            return Err(Unfoldable::Genesis(entry.seq));
        };
        if entry.seq != Sequence(1) {
            return Err(Unfoldable::Genesis(entry.seq));
        }
        let Genesis { book, environment, format, people, governance, .. } = genesis;
        if *format != FORMAT {
            return Err(Unfoldable::Format { found: *format });
        }
        let book = Book::parse_for(book, *environment);
        let book = book.map_err(|_| Unfoldable::Book(entry.seq))?;
        let people = People::new(people).ok_or(Unfoldable::People(entry.seq))?;
        let governance = governance.clone().unwrap_or_default();
        let unfit = |why| Unfoldable::Governance(entry.seq, why);
        check_genesis(genesis, &people).map_err(unfit)?;
        let line = entry.encode().map_err(|error| unfit(error.to_string()))?;
        let mut ledger = Ledger::default();
        ledger.adopt(&book, entry.at.sure);
        Ok(Self {
            head: entry.seq,
            at: entry.at,
            accepted: Millis(0),
            stood: Stood::begin(entry),
            believed: Believed::begin(entry.at),
            epoch: Epoch(0),
            started: None,
            last_start: Sequence(u64::MAX),
            vault: VaultId(leaf_hash(&line)),
            environment: *environment,
            people,
            governance,
            recovery: None,
            spent: BTreeSet::new(),
            book: Arc::new(book),
            prepared: None,
            adopted: entry.seq,
            keys: BTreeMap::new(),
            labels: BTreeMap::new(),
            checkpoints: Checkpoints::default(),
            payees: Payees::default(),
            settlements: Settlements::default(),
            unsettled: Unsettled::default(),
            prices: Prices::default(),
            stops: Stops::default(),
            revoked: BTreeSet::new(),
            fences: Fences::default(),
            drains: BTreeMap::new(),
            drills: Drills::begin(entry.at.sure),
            successors: BTreeMap::new(),
            tombs: BTreeMap::new(),
            used_orders: BTreeSet::new(),
            taken_notes: BTreeSet::new(),
            ledger,
            requests: Requests::default(),
            pending: Pending::default(),
            last_signed: BTreeMap::new(),
            open: Reservations::default(),
            last_number: DecisionNumber(0),
            unreported: BTreeSet::new(),
            narrowed: entry.seq,
            snapshot: Sequence(0),
        })
    }

    /// Folds the next record.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Unfoldable> {
        if entry.seq != self.head.next() {
            return Err(Unfoldable::Sequence { found: entry.seq, after: self.head });
        }
        if entry.at.sure < self.at.sure {
            return Err(Unfoldable::Time(entry.seq));
        }
        self.pending.pass(entry.at.possible, entry.at.sure);
        self.note_lag(entry);
        match &entry.record {
            Record::Genesis(_) => return Err(Unfoldable::Genesis(entry.seq)),
            Record::Started(started) => self.start(entry, started)?,
            Record::KeyIntended(intended) => self.intend_key(entry, intended)?,
            Record::KeyCreated(created) => self.create_key(entry, created)?,
            Record::CheckpointKeyIntended(key) => self.intend_checkpoint_key(entry, key)?,
            Record::CheckpointKeyMade(key) => self.make_checkpoint_key(entry, key)?,
            Record::Adopted(adopted) => self.adopt(entry, adopted)?,
            Record::Settled(settled) => self.settle(entry, settled)?,
            Record::Priced(priced) => self.price(entry, priced)?,
            Record::Frozen(frozen) => self.freeze(entry, frozen)?,
            Record::FenceIntended(intended) => self.intend_fence(entry, intended)?,
            Record::FenceAnswered(answered) => self.answer_fence(entry, answered)?,
            Record::DestroyAnswered(answered) => self.answer_removal(entry, answered)?,
            Record::DrainEnded(ended) => self.end_drain(entry, ended)?,
            Record::Drilled(drilled) => self.drill(entry, drilled)?,
            Record::Snapshot(snapshot) => self.note_snapshot(entry, snapshot)?,
            Record::Signed(signed) => self.sign(entry, signed)?,
            Record::Parked(parked) => self.park(entry, parked)?,
            Record::Voted(voted) => self.vote(entry, voted)?,
            Record::Proposed(proposed) => self.proposed(entry, proposed)?,
            Record::Executed(executed) => self.execute(entry, executed)?,
            Record::Withdrawn(withdrawn) => self.withdraw(entry, withdrawn)?,
            Record::Suspended(suspended) => self.suspend(entry, suspended)?,
            Record::RecoveryBegun(begun) => self.announce(entry, begun)?,
            Record::Recovered(recovered) => self.recover(entry, recovered)?,
            Record::Denied(_) | Record::Withheld(_) | Record::Failed(_) => {}
            Record::Suppressed(_) => {}
        }
        self.report(entry)?;
        self.head = entry.seq;
        // Later than the record's own time if it let sure time go forward.
        self.at = Interval { sure: entry.at.sure.max(self.accepted), ..entry.at };
        Ok(())
    }

    fn start(&mut self, entry: &Entry, started: &Started) -> Result<(), Unfoldable> {
        if started.epoch <= self.epoch {
            return Err(Unfoldable::Epoch(entry.seq));
        }
        self.epoch = started.epoch;
        self.note_believed(entry, started);
        self.started = Some((started.clone(), entry.at));
        self.last_start = entry.seq;
        // Whatever was open died with the process that held it.
        self.open = Reservations::default();
        self.unreported.clear();
        Ok(())
    }

    fn intend_key(&mut self, entry: &Entry, intended: &KeyIntended) -> Result<(), Unfoldable> {
        let made = |key: &Key| key.label == intended.label && key.made.is_some();
        let foreign = intended.environment != self.environment;
        if foreign || self.keys.contains_key(&intended.key) || self.keys.values().any(made) {
            return Err(Unfoldable::Key(entry.seq));
        }
        let key = Key {
            label: intended.label.clone(),
            tags: intended.tags.clone(),
            purpose: intended.purpose.clone(),
            owner: intended.owner.clone(),
            chains: intended.chains.clone(),
            review_by: intended.review_by,
            made: None,
        };
        self.keys.insert(intended.key, key);
        Ok(())
    }

    fn create_key(&mut self, entry: &Entry, created: &KeyCreated) -> Result<(), Unfoldable> {
        let key = self.keys.get(&created.key).filter(|key| key.made.is_none());
        let label = key.map(|key| key.label.clone()).ok_or(Unfoldable::Key(entry.seq))?;
        // A label twice would be two keys under one rule, an address twice two budgets for one
        // account.
        let clashes = |key: &Key| {
            let made = key.made.as_ref();
            made.is_some_and(|made| key.label == label || made.address == created.address)
        };
        if self.keys.values().any(clashes) {
            return Err(Unfoldable::Key(entry.seq));
        }
        let key = self.keys.get_mut(&created.key).ok_or(Unfoldable::Key(entry.seq))?;
        let (address, point) = (created.address, created.point.clone());
        key.made = Some(Made { address, point, at: entry.at.sure });
        self.labels.insert(label, created.key);
        Ok(())
    }

    fn adopt(&mut self, entry: &Entry, adopted: &Adopted) -> Result<(), Unfoldable> {
        let prepared = self.prepared.take().map(|prepared| prepared.book);
        let book = match prepared.filter(|book| book.text() == adopted.book) {
            Some(book) => book,
            None => Arc::new(Book::parse(&adopted.book).map_err(|_| Unfoldable::Book(entry.seq))?),
        };
        if book.environment() != self.environment {
            return Err(Unfoldable::Book(entry.seq));
        }
        self.put_in_force(entry, book);
        Ok(())
    }

    fn put_in_force(&mut self, entry: &Entry, book: Arc<Book>) {
        self.ledger.adopt(&book, entry.at.sure);
        self.payees.adopt(&self.book, &book, entry.at.sure);
        self.book = book;
        self.adopted = entry.seq;
        self.narrowed = entry.seq;
        // Whoever waits for people is asked about anew, under the new book.
        self.pending.adopt();
    }

    /// A book that is about to be adopted or proposed, parsed already: large ones take long.
    pub fn prepare(&mut self, prepared: Prepared) {
        self.prepared = Some(prepared);
    }

    fn settle(&mut self, entry: &Entry, settled: &Settled) -> Result<(), Unfoldable> {
        let told = self.settlements.settle(settled, entry.at);
        told.map_err(|fault| Unfoldable::Settled(entry.seq, fault))?;
        let (key, chain) = (settled.key, settled.chain);
        self.unsettled.settle(key, chain, self.settlements.mined(key, chain));
        Ok(())
    }

    fn price(&mut self, entry: &Entry, priced: &Priced) -> Result<(), Unfoldable> {
        let believed = self.prices.check(self.book.prices(), priced, entry.at.sure);
        believed.map_err(|fault| Unfoldable::Priced(entry.seq, fault))?;
        self.prices.report(priced, entry.at.sure);
        Ok(())
    }

    fn sign(&mut self, entry: &Entry, signed: &SignedRecord) -> Result<(), Unfoldable> {
        let by = &signed.asked.by;
        let slot = signed.slot.resolve(by.key, signed.asked.digest);
        let slot = slot.ok_or(Unfoldable::Nonce(entry.seq))?;
        let stamp = (entry.at.sure, entry.seq);
        // Everything that has left a window must have left before something is stamped anew.
        self.ledger.advance(by.key, entry.at.sure);
        self.ledger.forget(entry.at.sure);
        let whose = (signed.asked.digest, &by.caller);
        if signed.repeats.is_none() {
            self.ledger.charge(slot, &signed.charge, whose, stamp);
        } else {
            self.ledger.repeat(slot, &signed.charge, whose, stamp);
        }
        self.settlements.advance(entry.at.sure);
        self.settlements.used(slot);
        if matches!(signed.asked.input, RecordedInput::Delegation(_)) {
            self.settlements.elsewhere.delegate(slot.key, slot.chain);
        }
        let mined = self.settlements.mined(slot.key, slot.chain);
        self.unsettled.sign(signed, slot, (entry.seq, entry.at.sure), mined);
        self.open.note_charged(slot);
        let rules = self.keys.get(&by.key).and_then(|key| self.book.rules(&key.label));
        if let Some(rules) = rules.filter(|_| signed.repeats.is_none()) {
            let (ends, as_safe) = (signed.slot.ends, signed.slot.as_safe);
            let watched = Watched { counted: rules.counts_unsettled(slot.place), ends, as_safe };
            self.settlements.sign(slot, &signed.charge, watched);
        }
        if let Some(drain) = self.drains.get_mut(&by.key) {
            drain.pay(slot, &signed.charge);
        }
        self.payees.pay(by.key, slot.chain, &signed.first_payments, entry.seq);
        self.last_signed.insert((by.key, by.caller.clone()), (entry.seq, entry.at.sure));
        self.pending.sign((by.caller.clone(), slot), &signed.votes, entry.seq);
        let horizon = entry.at.sure.minus(self.ledger.memory());
        self.requests.bind(by, signed.asked.digest, stamp, horizon);
        Ok(())
    }

    /// What waits for people already and covers this very request, under the book in force.
    pub fn waiting(&self, request: &Request, now: Interval) -> Option<(&Matter, &Waiting)> {
        let mut covering = self.pending.covering(request, now.possible);
        covering.find(|(_, waiting)| {
            waiting.takes_votes(now.possible) || self.ripens(request, waiting, now)
        })
    }

    /// Whether enough people have agreed, and only not long enough ago: then it goes on waiting
    /// although no more votes are taken.
    fn ripens(&self, request: &Request, waiting: &Waiting, now: Interval) -> bool {
        if waiting.rejected.is_some() || waiting.votes.is_empty() {
            return false;
        }
        let mut approval = self.approval(request, now);
        for vote in &mut approval.votes {
            vote.at = Millis(0);
        }
        let facts = Facts { approval, ..self.facts_without_votes(request, now, None) };
        matches!(decide(&self.book, &facts, request.clone()), Decision::Allow(_))
    }

    fn is_full(&self) -> bool {
        self.pending.len() >= WAITING_MAX
    }

    /// Closes a decision for good, and notes those before it that are still open.
    fn report(&mut self, entry: &Entry) -> Result<(), Unfoldable> {
        let Some(asked) = entry.record.asked() else { return Ok(()) };
        if asked.seen < self.last_start {
            return Err(Unfoldable::Seen(entry.seq));
        }
        let made = entry.record.counted().iter().copied().chain([asked.number]).max();
        while self.last_number < made.unwrap_or_default() {
            self.last_number = self.last_number.next();
            self.unreported.insert(self.last_number);
            if self.unreported.len() > UNREPORTED_MAX {
                return Err(Unfoldable::Number(entry.seq));
            }
        }
        self.open.close(asked.number);
        let open = self.unreported.remove(&asked.number);
        if open { Ok(()) } else { Err(Unfoldable::Number(entry.seq)) }
    }

    /// Lets everything that has surely left the windows of a key, and of those that are summed with
    /// it, leave them. Must be called before [`State::facts`] of the same moment.
    pub fn advance(&mut self, key: KeyId, now: Interval) {
        self.ledger.advance(key, now.sure);
        self.settlements.advance(now.sure);
        let Some(own) = self.keys.get(&key).map(|key| &key.label) else { return };
        let summed = self.book.shared(own).flat_map(|limit| &limit.keys);
        for id in summed.filter(|label| *label != own).filter_map(|label| self.labels.get(label)) {
            self.ledger.advance(*id, now.sure);
        }
    }

    /// Everything a decision on this request may depend on.
    pub fn facts<'a>(
        &'a self,
        request: &Request,
        now: Interval,
        own: Option<DecisionNumber>,
    ) -> Facts<'a> {
        let approval = self.approval(request, now);
        Facts { approval, ..self.facts_without_votes(request, now, own) }
    }

    fn facts_without_votes<'a>(
        &'a self,
        request: &Request,
        now: Interval,
        own: Option<DecisionNumber>,
    ) -> Facts<'a> {
        let asker = request.asker();
        let key = self.keys.get(&asker.key).and_then(Key::facts);
        let in_flight = || self.open.digest_of(&asker.caller, &asker.request);
        let bound = self.requests.digest_of(asker).or_else(in_flight);
        let parked = self.pending.others_of(request, now.possible);
        let (approval, full) = (Approval::default(), self.is_full());
        let (stops, ledger, open) = (&self.stops, &self.ledger, &self.open);
        let (labels, payees, revoked) = (&self.labels, &self.payees, &self.revoked);
        let (settlements, prices) = (&self.settlements, &self.prices);
        let draining = self.draining(asker.key, now);
        Facts {
            now,
            key,
            stops,
            ledger,
            labels,
            payees,
            settlements,
            prices,
            open,
            own,
            bound,
            parked,
            full,
            approval,
            revoked,
            draining,
        }
    }

    /// The open reservations that a decision on a request of this asker looks at, but for one.
    pub fn counted(&self, asker: &Asker, except: Option<DecisionNumber>) -> Vec<DecisionNumber> {
        let label = self.keys.get(&asker.key).map(|key| &key.label);
        let companions = label.map(|label| self.book.companions(label)).unwrap_or_default();
        let ids = companions.into_iter().filter_map(|label| self.labels.get(label).copied());
        self.open.counted(asker, ids, except)
    }

    /// Takes the charge of an allowed request: from now on it is in flight.
    pub fn reserve(&mut self, number: DecisionNumber, allowed: &Allowed) {
        let request = allowed.request();
        let asker = request.asker();
        let open = Open {
            caller: asker.caller.clone(),
            request: asker.request.clone(),
            digest: request.digest(),
            slot: request.slot(),
            charges: allowed.charge().clone(),
            seen: self.head,
            repeat: allowed.known(),
        };
        let slot = open.slot;
        self.open.open(number, open);
        if self.ledger.is_charged(slot) {
            self.open.note_charged(slot);
        }
    }

    /// Whether something happened since a decision that may forbid now what was allowed then, or
    /// so much time went by that charges it relied on may be forgotten.
    pub fn must_look_again(&self, asked: &Asked, votes: &[Sequence], now: Interval) -> bool {
        // What people agreed to has an end of its own.
        let agreed = !votes.is_empty() || self.drains.contains_key(&asked.by.key);
        agreed || self.narrowed > asked.seen || now.sure > asked.at.sure.plus(FADING)
    }

    /// The last record that may forbid what was allowed before it.
    pub fn narrowed(&self) -> Sequence {
        self.narrowed
    }

    /// The last record folded.
    pub fn head(&self) -> Sequence {
        self.head
    }

    /// When it was written; later if it let sure time go forward.
    pub fn at(&self) -> Interval {
        self.at
    }

    /// Which start of the process writes.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The last start, and when that was.
    pub fn started(&self) -> Option<&(Started, Interval)> {
        self.started.as_ref()
    }

    /// Hash of the genesis record.
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// What waits for people.
    pub fn pending(&self) -> &Pending {
        &self.pending
    }

    /// Whom keys have paid.
    pub fn payees(&self) -> &Payees {
        &self.payees
    }

    /// Keys that were ended for good.
    pub fn revoked(&self) -> &BTreeSet<KeyId> {
        &self.revoked
    }

    /// What the vault is for.
    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// The people.
    pub fn people(&self) -> &People {
        &self.people
    }

    /// The book in force.
    pub fn book(&self) -> &Arc<Book> {
        &self.book
    }

    /// The record that brought it into force.
    pub fn adopted(&self) -> Sequence {
        self.adopted
    }

    /// All keys, made or intended, by id.
    pub fn keys(&self) -> &BTreeMap<KeyId, Key> {
        &self.keys
    }

    /// What watchers told.
    pub fn settlements(&self) -> &Settlements {
        &self.settlements
    }

    /// What pricers told.
    pub fn prices(&self) -> &Prices {
        &self.prices
    }

    /// What is stopped.
    pub fn stops(&self) -> &Stops {
        &self.stops
    }

    /// What is in flight.
    pub fn open(&self) -> &Reservations {
        &self.open
    }

    /// What was authorised.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The highest decision number in a record.
    pub fn last_number(&self) -> DecisionNumber {
        self.last_number
    }

    /// Decisions without a record, below the highest one with: open, or lost in a crash.
    pub fn unreported(&self) -> &BTreeSet<DecisionNumber> {
        &self.unreported
    }

    /// The last signature recorded for each caller of each key, and when that was.
    pub fn last_signed(&self) -> &BTreeMap<(KeyId, CallerId), (Sequence, Millis)> {
        &self.last_signed
    }

    /// A stop's scope by what people call it, if that exists: keys go by id or label.
    pub fn key_named(&self, name: &str) -> Option<(KeyId, &Key)> {
        let by_id = |id: KeyId| self.keys.get(&id).map(|key| (id, key));
        let by_label = || {
            let mut made = self.keys.iter().filter(|(_, key)| key.made.is_some());
            made.find(|(_, key)| key.label.as_str() == name).map(|(id, key)| (*id, key))
        };
        name.parse().ok().and_then(by_id).or_else(by_label)
    }
}

impl Key {
    fn facts(&self) -> Option<KeyFacts<'_>> {
        let made = self.made.as_ref()?;
        let (address, chains) = (made.address, &self.chains);
        Some(KeyFacts { label: &self.label, address, tags: &self.tags, chains })
    }
}

impl Requests {
    fn bind(&mut self, by: &Asker, digest: Digest, stamp: Stamp, horizon: Option<Millis>) {
        let name = (by.caller.clone(), by.request.clone());
        if self.digests.insert(name.clone(), digest).is_none() {
            self.ages.insert(stamp, name);
        }
        while let Some(oldest) = self.ages.first_entry() {
            let old = horizon.is_some_and(|horizon| oldest.key().0 <= horizon);
            if !old && self.digests.len() <= REQUESTS_MAX {
                return;
            }
            self.digests.remove(&oldest.remove());
        }
    }

    /// What was asked for since an outage ended is remembered as long after it as before.
    fn keep_young(&mut self, outage: Outage) {
        let ages = std::mem::take(&mut self.ages).into_iter();
        self.ages = ages.map(|(stamp, name)| (outage.moved(stamp), name)).collect();
    }

    fn digest_of(&self, asker: &Asker) -> Option<Digest> {
        self.digests.get(&(asker.caller.clone(), asker.request.clone())).copied()
    }
}

/// Everybody who has something to sign with signed genesis with it, and the vault can be governed.
fn check_genesis(genesis: &Genesis, people: &People) -> Result<(), String> {
    let text = statement::genesis(genesis);
    for credential in genesis.people.iter().flat_map(|person| &person.credentials) {
        let id = credential.id();
        let own = genesis.signatures.iter().find(|signature| signature.credential == id);
        let own = own.ok_or_else(|| format!("{id} has not signed genesis"))?;
        let signed = credential.verify(Purpose::Genesis, text.as_bytes(), &own.evidence);
        signed.map(drop).map_err(|fault| format!("{id} has not signed this genesis: {fault}"))?;
    }
    match &genesis.governance {
        None => Ok(()),
        Some(governance) => {
            let faults = governance.faults(people);
            if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
        }
    }
}

/// Decisions without a record at any time: far more than reservations that may be open at once, and
/// few enough that a forged number costs nothing.
const UNREPORTED_MAX: usize = 65_536;

/// Request ids remembered: above it the oldest are forgotten, and an id used again for something
/// else is then not noticed. About 300 bytes each.
const REQUESTS_MAX: usize = 200_000;
