//! The one writer: takes what is queued, decides each in order, commits the batch, then answers.
//!
//! Private state may run ahead of the disk only because nobody sees it before the commit, and
//! because a commit that fails ends the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use alloy_primitives::B256;
use arc_swap::ArcSwap;
use portcullis_policy::decide::{Allowed, Decision, Denial, Parked, decide, still_allows};
use portcullis_policy::finding::{Findings, Reason};
use portcullis_policy::id::{DecisionNumber, Epoch, KeyId, Sequence, VaultId};
use portcullis_policy::record::{
    Asked, Denied, Entry, Failed, Frozen, KeyCreated, KeyIntended, ParkedRecord, Record,
    RecordedInput, RecordedSlot, SignedRecord, Withheld,
};
use portcullis_policy::request::{Input, Request};
use portcullis_policy::state::{State, Unfoldable, Waiting};
use portcullis_policy::stops::Subject;
use portcullis_policy::time::Interval;
use tokio::sync::watch;

use super::command::{Answer, Command, Lanes, NewBook, Urgent};
use super::flood::Flood;
use super::proof::{Appended, Recorded, Reserved, Signed};
use super::view::View;
use super::{Charged, ParkedAnswer};
use crate::clock::Clock;
use crate::gate::{Gate, Who};
use crate::journal::{Batch, Durable, EntryTooLong, Head, Space, Storage, StorageError};
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
    pub(super) batch: Vec<Line>,
    pub(super) batch_bytes: usize,
    pub(super) answers: Vec<AfterCommit>,
    pub(super) flood: Flood,
    pub(super) changed: bool,
}

/// A request between its charge and its record.
pub(super) struct Pending {
    request: Request,
    asked: Asked,
    attachment: Option<Vec<u8>>,
    allowed: Allowance,
    who: Arc<Who>,
}

/// What a decision allowed.
struct Allowance {
    charge: portcullis_policy::money::Charges,
    book: portcullis_policy::id::BookHash,
    repeats: Option<Sequence>,
}

/// A line that waits for the next commit, and the attachment that goes before it.
pub(super) struct Line {
    record: Vec<u8>,
    attachment: Option<Vec<u8>>,
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
        while let Ok(Urgent::Freeze(frozen, answer)) = urgent.try_recv() {
            if !std::mem::replace(&mut any, true) {
                // Ordinary records first, so that they take none of the room kept for stops.
                self.commit_all()?;
            }
            self.freeze(frozen, answer)?;
        }
        if any { self.commit(Batch::emergency()) } else { Ok(()) }
    }

    fn commit_all(&mut self) -> Result<(), Fatal> {
        // When space runs out, nothing but closings is left to write here.
        let ample = self.space() == Space::Ample;
        self.commit(if ample { Batch::ordinary() } else { Batch::emergency() })
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
            Command::Charge(request, answer) => self.charge(*request, answer)?,
            Command::Record(signed, answer) => self.record(*signed, answer)?,
            Command::Fail(number, fault, answer) => self.fail(number, fault, answer)?,
            Command::Adopt(new, answer) => self.adopt(*new, answer)?,
            Command::IntendKey(intended, answer) => self.intend_key(intended, answer)?,
            Command::KeyCreated(key, point, answer) => self.key_created(key, &point, answer)?,
            Command::Note(caller, key, code) => {
                let key = self.counted_under(key);
                self.flood.note(&caller, key, code, self.clock.now().sure);
            }
            Command::Wake => {}
            Command::Finish => return Ok(true),
        }
        Ok(false)
    }

    /// Decides a request and takes its charge: nothing comes between the two.
    fn charge(&mut self, request: Request, answer: Answer<Charged>) -> Result<(), Fatal> {
        if self.space() != Space::Ample {
            return done(answer, Err(Refusal::JournalFull));
        }
        if self.state.open().len() >= OPEN_MAX {
            return done(answer, Err(Refusal::Overloaded));
        }
        let now = self.clock.now();
        self.state.advance(request.asker().key, now);
        let book = self.state.book().clone();
        let facts = self.state.facts(&request, now, None);
        match decide(&book, &facts, request) {
            Decision::Allow(allowed) => self.reserve(*allowed, now, answer),
            Decision::Deny(denial) => self.deny(denial, now, answer),
            Decision::Park(parked) => self.park(parked, now, answer),
        }
    }

    fn reserve(
        &mut self,
        allowed: Allowed,
        now: Interval,
        answer: Answer<Charged>,
    ) -> Result<(), Fatal> {
        let key = allowed.request().asker().key;
        let found = self.points.get(&key).zip(self.state.keys().get(&key));
        let Some((point, held)) = found.map(|(point, held)| (point.clone(), held)) else {
            let unknown = Refusal::Token { code: "KEY_MISSING", retry_after: None };
            return done(answer, Err(unknown));
        };
        let caller = allowed.request().asker().caller.clone();
        let who = Arc::new(Who { caller, key, tags: held.tags.clone() });
        let (asked, attachment) = self.ask(allowed.request(), now);
        let number = asked.number;
        self.state.reserve(number, &allowed);
        let reserved = Reserved::new(number, key, asked.digest, point);
        let allowance = Allowance {
            charge: allowed.charge().clone(),
            book: allowed.revision(),
            repeats: allowed.repeat(),
        };
        let request = allowed.into_request();
        let pending = Pending { request, asked, attachment, allowed: allowance, who };
        self.pending.insert(number, pending);
        self.show_open();
        done(answer, Ok(Charged::Reserved(Box::new(reserved))))
    }

    fn deny(
        &mut self,
        denial: Denial,
        now: Interval,
        answer: Answer<Charged>,
    ) -> Result<(), Fatal> {
        Figures::count(&self.figures.denied);
        let reasons = denial.findings.reasons();
        let described = denial.findings.refusals(self.state.book().registry());
        let asker = denial.request.asker();
        let code = reasons.first().map_or("", |reason| reason.code.as_str());
        let key = self.counted_under(asker.key);
        let Input::Transaction(preimage) = denial.request.input();
        if !self.flood.admits(&asker.caller, key, code, preimage.len(), now.sure) {
            let sequence = Sequence(0);
            return done(answer, Err(Refusal::Denied { reasons, described, sequence }));
        }
        let counted = self.state.open().counted(asker, None);
        let (asked, attachment) = self.ask(&denial.request, now);
        let book = self.state.book().hash();
        let record = Denied { asked, book, counted, reasons: reasons.clone() };
        let sequence = self.append(now, Record::Denied(Box::new(record)), attachment)?;
        self.after_commit(move |_| {
            reply(answer, Err(Refusal::Denied { reasons, described, sequence }))
        });
        Ok(())
    }

    fn park(
        &mut self,
        parked: Parked,
        now: Interval,
        answer: Answer<Charged>,
    ) -> Result<(), Fatal> {
        Figures::count(&self.figures.parked);
        let asker = parked.request.asker();
        let name = ParkedRecord::name(asker, parked.request.digest());
        let missing: Vec<String> = parked.missing.iter().map(ToString::to_string).collect();
        // It waits already, under the same book: asked again, it waits no longer and is recorded no
        // more, so that nobody can fill the journal with it.
        if let Some(Waiting { expires, sequence }) = self.state.waiting(&parked.request, now) {
            let again = ParkedAnswer { parked: name, missing, expires_ms: expires.0, sequence };
            return done(answer, Ok(Charged::Parked(again)));
        }
        let counted = self.state.open().counted(asker, None);
        let expires = now.possible.plus(parked.expires);
        let (asked, attachment) = self.ask(&parked.request, now);
        let book = self.state.book().hash();
        let record = ParkedRecord {
            asked,
            book,
            counted,
            expires,
            missing: missing.clone(),
            parked: name.clone(),
        };
        let sequence = self.append(now, Record::Parked(Box::new(record)), attachment)?;
        let parked = ParkedAnswer { parked: name, missing, expires_ms: expires.0, sequence };
        self.after_commit(move |_| reply(answer, Ok(Charged::Parked(parked))));
        Ok(())
    }

    /// The last look before a signature is ours to give: decides again, without charging, against
    /// the state of this moment, and joins the batch.
    ///
    /// What joins cannot be sent anywhere. Only a commit turns it into [`Recorded`], after the disk
    /// has said so; a crash in between forgets a signature nobody has seen.
    fn record(&mut self, signed: Signed, answer: Answer<Recorded>) -> Result<(), Fatal> {
        let Some(pending) = self.pending.remove(&signed.reserved().number()) else {
            Figures::count(&self.figures.late);
            let late = Refusal::Token { code: "TOKEN_TIMED_OUT", retry_after: Some(IDLE) };
            return done(answer, Err(late));
        };
        let now = self.clock.now();
        if let Err(findings) = self.still_allows(&pending, now) {
            return self.withhold(pending, &findings, now, answer);
        }
        if self.space() != Space::Ample {
            self.close_failed(pending, "JOURNAL_FULL", now)?;
            self.after_commit(move |_| reply(answer, Err(Refusal::JournalFull)));
            return Ok(());
        }
        let Pending { request, asked, attachment, allowed, who } = pending;
        let record = SignedRecord {
            slot: RecordedSlot::of(request.slot()),
            asked,
            book: allowed.book,
            charge: allowed.charge,
            repeats: allowed.repeats,
            signature_sha256: signed.signature_sha256(),
        };
        let sequence = self.append(now, Record::Signed(Box::new(record)), attachment)?;
        Figures::count(&self.figures.signed);
        self.show_open();
        let leaf = self.last_leaf();
        let ticket = self.gate.ticket(who, sequence);
        let appended = Appended::new(signed, request, ticket, leaf);
        self.after_commit(move |durable| reply(answer, Ok(appended.recorded(durable))));
        Ok(())
    }

    fn still_allows(&mut self, pending: &Pending, now: Interval) -> Result<(), Findings> {
        if !self.state.must_look_again(&pending.asked, now) {
            return Ok(());
        }
        self.state.advance(pending.asked.by.key, now);
        let book = self.state.book().clone();
        let facts = self.state.facts(&pending.request, now, Some(pending.asked.number));
        still_allows(&book, &facts, &pending.request)
    }

    fn withhold(
        &mut self,
        pending: Pending,
        findings: &Findings,
        now: Interval,
        answer: Answer<Recorded>,
    ) -> Result<(), Fatal> {
        let reasons: Vec<Reason> = findings.reasons();
        let described = findings.refusals(self.state.book().registry());
        let asked = pending.asked;
        let counted = self.state.open().counted(&asked.by, Some(asked.number));
        let record = Withheld { asked, counted, reasons: reasons.clone() };
        let record = Record::Withheld(Box::new(record));
        let sequence = self.append(now, record, pending.attachment)?;
        Figures::count(&self.figures.withheld);
        self.show_open();
        let refusal = Refusal::Withheld { reasons, described, sequence };
        self.after_commit(move |_| reply(answer, Err(refusal)));
        Ok(())
    }

    fn fail(
        &mut self,
        number: DecisionNumber,
        fault: &'static str,
        answer: Answer<()>,
    ) -> Result<(), Fatal> {
        let Some(pending) = self.pending.remove(&number) else {
            return done(answer, Ok(()));
        };
        self.close_failed(pending, fault, self.clock.now())?;
        self.after_commit(move |_| reply(answer, Ok(())));
        Ok(())
    }

    fn close_failed(&mut self, pending: Pending, fault: &str, now: Interval) -> Result<(), Fatal> {
        let record = Failed { asked: pending.asked, fault: fault.into() };
        self.append(now, Record::Failed(Box::new(record)), pending.attachment)?;
        Figures::count(&self.figures.failed);
        self.show_open();
        Ok(())
    }

    fn freeze(&mut self, frozen: Frozen, answer: Answer<(Sequence, u64)>) -> Result<(), Fatal> {
        let under_way = self.pending.values().filter(|pending| {
            let Who { caller, key, tags } = &*pending.who;
            Subject { key: *key, tags, caller }.is_in(&frozen.scope)
        });
        let under_way = u64::try_from(under_way.count()).unwrap_or(u64::MAX);
        let sequence = self.append(self.clock.now(), Record::Frozen(frozen), None)?;
        self.changed = true;
        self.after_commit(move |_| reply(answer, Ok((sequence, under_way))));
        Ok(())
    }

    fn adopt(
        &mut self,
        new: NewBook,
        answer: Answer<(Sequence, Vec<String>)>,
    ) -> Result<(), Fatal> {
        if self.space() != Space::Ample {
            return done(answer, Err(Refusal::JournalFull));
        }
        let NewBook { adopted, book, base, difference } = new;
        // One book is read at a time, so this is what it was compared with; but it is this check,
        // and not that lock, on which the promise rests.
        if base != self.state.book().hash() || !difference.is_narrowing() {
            return done(answer, Err(Refusal::Overloaded));
        }
        let record = Record::Adopted(adopted);
        let entry = Entry { at: self.clock.now(), record, seq: self.state.head().next() };
        let (bytes, bytes_max) = (entry.encode()?.len(), self.storage.entry_bytes_max());
        if bytes > bytes_max {
            let problem = format!(
                "the book takes {bytes} bytes as a record, and the journal takes {bytes_max}: \
                 shorten it"
            );
            return done(answer, Err(Refusal::BadField { field: "book", problem }));
        }
        self.state.expect_book(book);
        let sequence = self.append(entry.at, entry.record, None)?;
        self.changed = true;
        self.after_commit(move |_| reply(answer, Ok((sequence, difference.narrower))));
        Ok(())
    }

    fn intend_key(&mut self, intended: KeyIntended, answer: Answer<()>) -> Result<(), Fatal> {
        if self.space() != Space::Ample {
            return done(answer, Err(Refusal::JournalFull));
        }
        if self.state.key_named(intended.label.as_str()).is_some() {
            let taken = Refusal::LabelTaken(intended.label.to_string());
            return done(answer, Err(taken));
        }
        self.append(self.clock.now(), Record::KeyIntended(intended), None)?;
        self.after_commit(move |_| reply(answer, Ok(())));
        Ok(())
    }

    fn key_created(
        &mut self,
        key: KeyId,
        point: &Arc<PublicPoint>,
        answer: Answer<()>,
    ) -> Result<(), Fatal> {
        // Two keys of one label may have been intended at the same time; only one may be made.
        let label = self.state.keys().get(&key).map(|key| key.label.to_string());
        if let Some(label) = label.filter(|label| self.state.key_named(label).is_some()) {
            return done(answer, Err(Refusal::LabelTaken(label)));
        }
        let hex = hex::encode(point.as_bytes());
        let created = KeyCreated { address: point.address(), key, point: hex };
        self.append(self.clock.now(), Record::KeyCreated(created), None)?;
        self.points.insert(key, point.clone());
        self.changed = true;
        self.after_commit(move |_| reply(answer, Ok(())));
        Ok(())
    }

    /// Gives a request its place in the order of decisions.
    fn ask(&mut self, request: &Request, at: Interval) -> (Asked, Option<Vec<u8>>) {
        let number = self.next;
        self.next = self.next.next();
        let (input, attachment) = RecordedInput::of(&request.input());
        let (by, digest) = (request.asker().clone(), request.digest());
        (Asked { at, by, digest, input, number, seen: self.state.head() }, attachment)
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
        if self.batch_bytes.saturating_add(bytes) > BATCH_BYTES_MAX {
            self.commit_all()?;
        }
        self.state.apply(&entry)?;
        self.batch_bytes = self.batch_bytes.saturating_add(bytes);
        self.batch.push(Line { record, attachment });
        Ok(seq)
    }

    fn last_leaf(&self) -> B256 {
        let line = self.batch.last().map_or(&[][..], |line| &line.record);
        portcullis_policy::tree::leaf_hash(line)
    }

    fn after_commit(&mut self, say: impl FnOnce(&Durable) + Send + 'static) {
        self.answers.push(Box::new(say));
    }

    /// Which key's refusals a refusal is counted among. All keys that do not exist count as one: a
    /// caller that invents them would have a record for each.
    fn counted_under(&self, key: KeyId) -> KeyId {
        if self.state.keys().contains_key(&key) { key } else { NO_KEY }
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
    pub(super) fn commit(&mut self, mut batch: Batch) -> Result<(), Fatal> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.batch_bytes = 0;
        for Line { record, attachment } in self.batch.drain(..) {
            if let Some(attachment) = attachment {
                batch.push_attachment(&attachment)?;
            }
            batch.push_record(&record)?;
        }
        let durable = self.storage.append_if_owner(self.epoch, &batch)?;
        Figures::count(&self.figures.commits);
        if std::mem::take(&mut self.changed) {
            self.view.store(Arc::new(View::of(&self.state, self.vault)));
        }
        self.head.send_replace(durable.head());
        for say in self.answers.drain(..) {
            say(&durable);
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

    fn show_open(&self) {
        let open = u64::try_from(self.pending.len()).unwrap_or(u64::MAX);
        self.figures.open.store(open, Ordering::Relaxed);
    }
}

impl Figures {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whoever hung up misses the answer.
fn reply<T>(answer: Answer<T>, said: Result<T, Refusal>) {
    drop(answer.send(said));
}

/// Said at once, because nothing was recorded.
fn done<T>(answer: Answer<T>, said: Result<T, Refusal>) -> Result<(), Fatal> {
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

/// Reservations open at once. Each is a request inside the token or on its way there and back.
const OPEN_MAX: usize = 4_096;

/// Stands for all keys that do not exist.
const NO_KEY: KeyId = KeyId::from_bytes([0; 16]);

/// How long the writer sleeps when nobody asks: then it writes down the counts of floods.
const IDLE: Duration = Duration::from_secs(1);
