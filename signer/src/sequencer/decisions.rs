//! The writer's part in one request: the decision with its charge, the last look with its record,
//! and every way in which neither comes to a signature.

use std::sync::Arc;

use alloy_primitives::Address;
use portcullis_policy::decide::{Allowed, Decision, Denial, Parked, decide, still_allows};
use portcullis_policy::finding::{Findings, Reason};
use portcullis_policy::id::{BookHash, DecisionNumber, KeyId, Sequence};
use portcullis_policy::money::Charges;
use portcullis_policy::record::{
    Asked, Denied, Failed, Matter, Record, RecordedInput, RecordedSlot, SignedRecord, Withheld,
};
use portcullis_policy::request::Request;
use portcullis_policy::time::Interval;

use super::command::{Answer, reply};
use super::proof::{Appended, Recorded, Reserved, Signed};
use super::writer::{Fatal, Figures, IDLE, Writer, done};
use super::{Charged, ParkedAnswer};
use crate::gate::Who;
use crate::journal::Space;
use crate::refusal::Refusal;

/// A request between its charge and its record.
pub(super) struct Pending {
    request: Request,
    asked: Asked,
    attachment: Option<Vec<u8>>,
    allowed: Allowance,
    pub(super) who: Arc<Who>,
}

/// What a decision allowed.
struct Allowance {
    charge: Charges,
    first_payments: Vec<Address>,
    book: BookHash,
    repeats: Option<Sequence>,
    votes: Vec<Sequence>,
    slot: RecordedSlot,
}

impl Writer {
    /// Decides a request and takes its charge: nothing comes between the two.
    pub(super) fn charge(
        &mut self,
        request: Request,
        answer: Answer<Charged>,
    ) -> Result<(), Fatal> {
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
        let reserved = Reserved::new(number, Arc::clone(&who), asked.digest, point);
        let allowance = Allowance {
            charge: allowed.charge().clone(),
            first_payments: allowed.first_payments().to_vec(),
            book: allowed.revision(),
            repeats: allowed.repeat(),
            votes: allowed.votes().to_vec(),
            slot: allowed.slot(),
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
        let size = denial.request.input().size();
        let caller = asker.caller.clone();
        let stopped = STOPPED.contains(&code);
        if self.has_tripped(&caller) {
            self.flood.note(&caller, key, code, now.sure);
            let sequence = Sequence(0);
            return done(answer, Err(Refusal::Denied { reasons, described, sequence }));
        }
        if !self.flood.admits(&caller, key, code, size, now.sure) {
            let sequence = Sequence(0);
            reply(answer, Err(Refusal::Denied { reasons, described, sequence }));
            return if stopped { Ok(()) } else { self.count_denial(&caller, now) };
        }
        let counted = self.state.counted(asker, None);
        let (asked, attachment) = self.ask(&denial.request, now);
        let book = self.state.book().hash();
        let record = Denied { asked, book, counted, reasons: reasons.clone() };
        let sequence = self.append(now, Record::Denied(Box::new(record)), attachment)?;
        self.after_commit(move |_| {
            reply(answer, Err(Refusal::Denied { reasons, described, sequence }))
        });
        // After its record, which was decided before the stop.
        if stopped { Ok(()) } else { self.count_denial(&caller, now) }
    }

    fn park(
        &mut self,
        parked: Parked,
        now: Interval,
        answer: Answer<Charged>,
    ) -> Result<(), Fatal> {
        Figures::count(&self.figures.parked);
        let missing: Vec<String> = parked.missing.iter().map(ToString::to_string).collect();
        // It waits already, under the same book: asked again, it waits no longer and is recorded no
        // more, so that nobody can fill the journal with it.
        if let Some((Matter::Parked(name), waiting)) = self.state.waiting(&parked.request, now) {
            let (expires_ms, sequence) = (waiting.expires.0, waiting.sequence);
            let again = ParkedAnswer { parked: name.clone(), missing, expires_ms, sequence };
            return done(answer, Ok(Charged::Parked(again)));
        }
        let (asked, attachment) = self.ask(&parked.request, now);
        let record = self.state.parking(&parked, asked);
        let (name, expires_ms) = (record.parked.clone(), record.expires.0);
        let sequence = self.append(now, Record::Parked(Box::new(record)), attachment)?;
        self.matters_changed = true;
        let parked = ParkedAnswer { parked: name, missing, expires_ms, sequence };
        self.after_commit(move |_| reply(answer, Ok(Charged::Parked(parked))));
        Ok(())
    }

    /// The last look before a signature is ours to give: decides again, without charging, against
    /// the state of this moment, and joins the batch.
    ///
    /// What joins cannot be sent anywhere. Only a commit turns it into [`Recorded`], after the disk
    /// has said so; a crash in between forgets a signature nobody has seen.
    pub(super) fn record(&mut self, signed: Signed, answer: Answer<Recorded>) -> Result<(), Fatal> {
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
            asked,
            slot: allowed.slot,
            book: allowed.book,
            charge: allowed.charge,
            first_payments: allowed.first_payments,
            repeats: allowed.repeats,
            signature_sha256: signed.signature_sha256(),
            votes: allowed.votes,
        };
        self.matters_changed |= !record.votes.is_empty();
        let sequence = self.append(now, Record::Signed(Box::new(record)), attachment)?;
        Figures::count(&self.figures.signed);
        self.show_open();
        let leaf = self.batch.leaves().last().copied().unwrap_or_default();
        let ticket = self.gate.ticket(who, sequence);
        let appended = Appended::new(signed, request, ticket, leaf);
        self.after_commit(move |durable| reply(answer, Ok(appended.recorded(durable))));
        Ok(())
    }

    fn still_allows(&mut self, pending: &Pending, now: Interval) -> Result<(), Findings> {
        if !self.state.must_look_again(&pending.asked, &pending.allowed.votes, now) {
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
        let counted = self.state.counted(&asked.by, Some(asked.number));
        let record = Withheld { asked, counted, reasons: reasons.clone() };
        let record = Record::Withheld(Box::new(record));
        let sequence = self.append(now, record, pending.attachment)?;
        Figures::count(&self.figures.withheld);
        self.show_open();
        let refusal = Refusal::Withheld { reasons, described, sequence };
        self.after_commit(move |_| reply(answer, Err(refusal)));
        Ok(())
    }

    pub(super) fn fail(
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

    /// Gives a request its place in the order of decisions.
    fn ask(&mut self, request: &Request, at: Interval) -> (Asked, Option<Vec<u8>>) {
        let number = self.next;
        self.next = self.next.next();
        let (input, attachment) = RecordedInput::of(&request.input());
        let (by, digest) = (request.asker().clone(), request.digest());
        (Asked { at, by, digest, input, number, seen: self.state.head() }, attachment)
    }

    /// Which key's refusals a refusal is counted among. All keys that do not exist count as one: a
    /// caller that invents them would have a record for each.
    pub(super) fn counted_under(&self, key: KeyId) -> KeyId {
        if self.state.keys().contains_key(&key) { key } else { NO_KEY }
    }
}

/// Reservations open at once. Each is a request inside the token or on its way there and back.
const OPEN_MAX: usize = 4_096;

/// Whoever is refused for these is stopped already, or goes on with another key, and perhaps does
/// not know it.
const STOPPED: [&str; 3] = ["FROZEN", "KEY_REVOKED", "KEY_DRAINING"];

/// Stands for all keys that do not exist.
const NO_KEY: KeyId = KeyId::from_bytes([0; 16]);
