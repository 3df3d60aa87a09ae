//! The fold of the journal, and nothing that is not in a record, but for the open reservations.
//!
//! The same type runs live, in replay, and in an auditor's hands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::Address;

use crate::book::Book;
use crate::decide::{Allowed, Facts, KeyFacts};
use crate::id::{
    CallerId, DecisionNumber, Digest, Epoch, KeyId, KeyLabel, PersonId, RequestId, Sequence, Tag,
};
use crate::ledger::{FADING, Ledger};
use crate::payees::Payees;
use crate::prices::{NotPriced, Prices};
use crate::record::{
    Adopted, Asked, Entry, Environment, FORMAT, Frozen, Genesis, KeyCreated, KeyIntended,
    ParkedRecord, Person, Priced, Record, Settled, SignedRecord, Started,
};
use crate::request::{Asker, Request};
use crate::reservation::{Open, Reservations};
use crate::settlement::{NotSettled, Settlements};
use crate::stops::Stops;
use crate::time::{Interval, Millis};

/// Everything a vault knows.
#[derive(Clone, Debug)]
pub struct State {
    head: Sequence,
    at: Interval,
    epoch: Epoch,
    started: Option<(Started, Interval)>,
    last_start: Sequence,
    environment: Environment,
    people: BTreeMap<PersonId, Person>,
    book: Arc<Book>,
    expected: Option<Arc<Book>>,
    adopted: Sequence,
    keys: BTreeMap<KeyId, Key>,
    labels: BTreeMap<KeyLabel, KeyId>,
    payees: Payees,
    settlements: Settlements,
    prices: Prices,
    stops: Stops,
    ledger: Ledger,
    requests: Requests,
    parked: BTreeMap<(CallerId, KeyId, Digest), Waiting>,
    last_signed: BTreeMap<(KeyId, CallerId), Sequence>,
    open: Reservations,
    last_number: DecisionNumber,
    unreported: BTreeSet<DecisionNumber>,
    narrowed: Sequence,
}

/// A key, as the journal has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Key {
    /// Its name in books.
    pub label: KeyLabel,
    /// Its tags.
    pub tags: BTreeSet<Tag>,
    /// What it is for.
    pub purpose: String,
    /// Who answers for it.
    pub owner: PersonId,
    /// What became of it; `None` while only intended.
    pub made: Option<Made>,
}

/// A key that was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Made {
    /// Its address.
    pub address: Address,
    /// Its public point: 65 bytes as hex.
    pub point: String,
    /// When.
    pub at: Millis,
}

/// A request that waits for people.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Waiting {
    /// Until when, in possible time.
    pub expires: Millis,
    /// The record that says so.
    pub sequence: Sequence,
}

/// Which digest a caller's request id stands for.
#[derive(Clone, Debug, Default)]
struct Requests {
    digests: BTreeMap<(CallerId, RequestId), Digest>,
    ages: BTreeMap<(Millis, Sequence), (CallerId, RequestId)>,
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
    /// A book that was recorded does not parse.
    #[error("record {0}: the recorded book has faults")]
    Book(Sequence),
    /// A key is named that was not intended, or is intended or made twice, or shares a label or an
    /// address.
    #[error("record {0}: does not fit the keys recorded before it")]
    Key(Sequence),
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
    /// An epoch that is not newer than the one before.
    #[error("record {0}: the epoch is not newer")]
    Epoch(Sequence),
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
        let Genesis { book, environment, format, people, salt: _ } = genesis;
        if *format != FORMAT {
            return Err(Unfoldable::Format { found: *format });
        }
        let book = Book::parse(book).map_err(|_| Unfoldable::Book(entry.seq))?;
        let ids: BTreeSet<&PersonId> = people.iter().map(|person| &person.id).collect();
        let names: BTreeSet<&str> = people.iter().map(|person| person.control.as_str()).collect();
        if ids.len() != people.len() || names.len() != people.len() {
            return Err(Unfoldable::People(entry.seq));
        }
        let mut ledger = Ledger::default();
        ledger.adopt(&book, entry.at.sure);
        Ok(Self {
            head: entry.seq,
            at: entry.at,
            epoch: Epoch(0),
            started: None,
            last_start: Sequence(u64::MAX),
            environment: *environment,
            people: people.iter().map(|person| (person.id.clone(), person.clone())).collect(),
            book: Arc::new(book),
            expected: None,
            adopted: entry.seq,
            keys: BTreeMap::new(),
            labels: BTreeMap::new(),
            payees: Payees::default(),
            settlements: Settlements::default(),
            prices: Prices::default(),
            stops: Stops::default(),
            ledger,
            requests: Requests::default(),
            parked: BTreeMap::new(),
            last_signed: BTreeMap::new(),
            open: Reservations::default(),
            last_number: DecisionNumber(0),
            unreported: BTreeSet::new(),
            narrowed: entry.seq,
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
        match &entry.record {
            Record::Genesis(_) => return Err(Unfoldable::Genesis(entry.seq)),
            Record::Started(started) => self.start(entry, started)?,
            Record::KeyIntended(intended) => self.intend_key(entry, intended)?,
            Record::KeyCreated(created) => self.create_key(entry, created)?,
            Record::Adopted(adopted) => self.adopt(entry, adopted)?,
            Record::Settled(settled) => self.settle(entry, settled)?,
            Record::Priced(priced) => self.price(entry, priced)?,
            Record::Frozen(frozen) => self.freeze(entry, frozen),
            Record::Signed(signed) => self.sign(entry, signed)?,
            Record::Parked(parked) => self.park(entry.seq, parked),
            Record::Denied(_) | Record::Withheld(_) | Record::Failed(_) => {}
            Record::Suppressed(_) => {}
        }
        self.report(entry)?;
        self.head = entry.seq;
        self.at = entry.at;
        Ok(())
    }

    fn start(&mut self, entry: &Entry, started: &Started) -> Result<(), Unfoldable> {
        if started.epoch <= self.epoch {
            return Err(Unfoldable::Epoch(entry.seq));
        }
        self.epoch = started.epoch;
        self.started = Some((started.clone(), entry.at));
        self.last_start = entry.seq;
        // Whatever was open died with the process that held it.
        self.open = Reservations::default();
        self.unreported.clear();
        Ok(())
    }

    fn intend_key(&mut self, entry: &Entry, intended: &KeyIntended) -> Result<(), Unfoldable> {
        let made = |key: &Key| key.label == intended.label && key.made.is_some();
        if self.keys.contains_key(&intended.key) || self.keys.values().any(made) {
            return Err(Unfoldable::Key(entry.seq));
        }
        let key = Key {
            label: intended.label.clone(),
            tags: intended.tags.clone(),
            purpose: intended.purpose.clone(),
            owner: intended.owner.clone(),
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
        let expected = self.expected.take().filter(|book| book.text() == adopted.book);
        let book = match expected {
            Some(book) => book,
            None => Arc::new(Book::parse(&adopted.book).map_err(|_| Unfoldable::Book(entry.seq))?),
        };
        self.ledger.adopt(&book, entry.at.sure);
        self.payees.adopt(&self.book, &book, entry.at.sure);
        self.book = book;
        self.adopted = entry.seq;
        self.narrowed = entry.seq;
        // Whoever waits for people is asked about anew, under the new book.
        self.parked.clear();
        Ok(())
    }

    /// A book that is about to be adopted, parsed already: large ones take long.
    pub fn expect_book(&mut self, book: Arc<Book>) {
        self.expected = Some(book);
    }

    fn settle(&mut self, entry: &Entry, settled: &Settled) -> Result<(), Unfoldable> {
        let told = self.settlements.settle(settled, entry.at.sure);
        told.map_err(|fault| Unfoldable::Settled(entry.seq, fault))
    }

    fn price(&mut self, entry: &Entry, priced: &Priced) -> Result<(), Unfoldable> {
        let believed = self.prices.check(self.book.prices(), priced, entry.at.sure);
        believed.map_err(|fault| Unfoldable::Priced(entry.seq, fault))?;
        self.prices.report(priced, entry.at.sure);
        Ok(())
    }

    fn freeze(&mut self, entry: &Entry, frozen: &Frozen) {
        self.stops.add(frozen.scope.clone());
        self.narrowed = entry.seq;
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
        self.open.note_charged(slot);
        let rules = self.keys.get(&by.key).and_then(|key| self.book.rules(&key.label));
        if let Some(rules) = rules.filter(|_| signed.repeats.is_none()) {
            let until = entry.at.sure.plus(rules.longest_permit());
            self.settlements.sign(slot, &signed.charge, rules.watches(), until);
        }
        self.payees.pay(by.key, slot.chain, &signed.first_payments, entry.seq);
        self.last_signed.insert((by.key, by.caller.clone()), entry.seq);
        self.parked.remove(&(by.caller.clone(), by.key, signed.asked.digest));
        let horizon = entry.at.sure.minus(self.ledger.memory());
        self.requests.bind(by, signed.asked.digest, stamp, horizon);
        Ok(())
    }

    fn park(&mut self, sequence: Sequence, parked: &ParkedRecord) {
        let by = &parked.asked.by;
        let now = parked.asked.at.possible;
        self.parked.retain(|_, waiting| waiting.expires > now);
        let waiting = Waiting { expires: parked.expires, sequence };
        self.parked.insert((by.caller.clone(), by.key, parked.asked.digest), waiting);
    }

    /// Whether this very request waits for people already, under the book in force.
    pub fn waiting(&self, request: &Request, now: Interval) -> Option<Waiting> {
        let by = request.asker();
        let waiting = self.parked.get(&(by.caller.clone(), by.key, request.digest()));
        waiting.filter(|waiting| waiting.expires > now.possible).copied()
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
        let asker = request.asker();
        let key = self.keys.get(&asker.key).and_then(Key::facts);
        let in_flight = || self.open.digest_of(&asker.caller, &asker.request);
        let bound = self.requests.digest_of(asker).or_else(in_flight);
        let first = (asker.caller.clone(), KeyId::from_bytes([0; 16]), Digest::ZERO);
        let of_caller =
            self.parked.range(first..).take_while(|((caller, ..), _)| *caller == asker.caller);
        let waiting = of_caller.filter(|((_, key, digest), waiting)| {
            let other = (*key, *digest) != (asker.key, request.digest());
            other && waiting.expires > now.possible
        });
        let parked = u32::try_from(waiting.count()).unwrap_or(u32::MAX);
        let (stops, ledger, open) = (&self.stops, &self.ledger, &self.open);
        let (labels, payees) = (&self.labels, &self.payees);
        let (settlements, prices, votes) = (&self.settlements, &self.prices, &NOBODY);
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
            votes,
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
    pub fn must_look_again(&self, asked: &Asked, now: Interval) -> bool {
        self.narrowed > asked.seen || now.sure > asked.at.sure.plus(FADING)
    }

    /// The last record folded.
    pub fn head(&self) -> Sequence {
        self.head
    }

    /// When it was written.
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

    /// What the vault is for.
    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// The people, by id.
    pub fn people(&self) -> &BTreeMap<PersonId, Person> {
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

    /// The last signature recorded for each caller of each key.
    pub fn last_signed(&self) -> &BTreeMap<(KeyId, CallerId), Sequence> {
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
        Some(KeyFacts { label: &self.label, address: made.address, tags: &self.tags })
    }
}

impl Requests {
    fn bind(
        &mut self,
        by: &Asker,
        digest: Digest,
        stamp: (Millis, Sequence),
        horizon: Option<Millis>,
    ) {
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

    fn digest_of(&self, asker: &Asker) -> Option<Digest> {
        self.digests.get(&(asker.caller.clone(), asker.request.clone())).copied()
    }
}

/// Votes become records with quorums; until then nobody has voted.
static NOBODY: BTreeSet<PersonId> = BTreeSet::new();

/// Decisions without a record at any time: far more than reservations that may be open at once, and
/// few enough that a forged number costs nothing.
const UNREPORTED_MAX: usize = 65_536;

/// Request ids remembered: above it the oldest are forgotten, and an id used again for something
/// else is then not noticed. About 300 bytes each.
const REQUESTS_MAX: usize = 200_000;
