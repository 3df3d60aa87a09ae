//! The writer's part in what changes the vault itself: stops, books and keys.

use std::sync::Arc;

use portcullis_policy::book::Change;
use portcullis_policy::id::{KeyId, PersonId, Sequence};
use portcullis_policy::record::{Entry, KeyCreated, KeyIntended, Record};
use portcullis_policy::state::Prepared;
use portcullis_policy::stops::Subject;
use portcullis_policy::time::Span;
use portcullis_policy::unsettled::Wanted;

use super::command::{Answer, NewBook, RecordedStop, Report, Urgent, reply};
use super::writer::{Fatal, Writer, done};
use crate::gate::Who;
use crate::journal::Space;
use crate::refusal::Refusal;
use crate::signature::PublicPoint;

impl Writer {
    pub(super) fn freeze(&mut self, stop: Urgent) -> Result<(), Fatal> {
        let Urgent::Freeze { frozen, mut unreleased, answer } = stop;
        let now = self.clock.now();
        if let Err(fault) = self.state.signatories().check(&frozen, now) {
            // Used a moment ago, by somebody else: what closed the gate is taken back, unless that
            // stop still holds.
            self.gate.recorded(&frozen.scope);
            if !self.state.stops().iter().any(|scope| *scope == frozen.scope) {
                self.gate.open(&frozen.scope);
            }
            drop(answer.send(Err(fault)));
            return Ok(());
        }
        let under_way = self.pending.values().filter(|pending| {
            let Who { caller, key, tags } = &*pending.who;
            Subject { key: *key, tags, caller }.is_in(&frozen.scope)
        });
        let under_way = u64::try_from(under_way.count()).unwrap_or(u64::MAX);
        let scope = frozen.scope.clone();
        let sequence = self.append(now, Record::Frozen(frozen), None)?;
        self.gate.recorded(&scope);
        (self.changed, self.matters_changed) = (true, true);
        // What was recorded since the gate closed was not released either.
        unreleased.append(&mut self.gate.withhold(&scope));
        let wanted = Wanted { scope: &scope, unreleased: &unreleased, most: UNSETTLED_MAX };
        let unsettled = self.state.unsettled(&wanted, now);
        let recorded = RecordedStop { sequence, under_way, unsettled };
        self.after_commit(move |_| drop(answer.send(Ok(recorded))));
        Ok(())
    }

    pub(super) fn adopt(
        &mut self,
        new: NewBook,
        answer: Answer<(Sequence, Vec<String>)>,
    ) -> Result<(), Fatal> {
        if self.space() != Space::Ample {
            return done(answer, Err(Refusal::JournalFull));
        }
        let NewBook { adopted, book, base, difference } = new;
        if let Err(refusal) = self.check_not_suspended(&adopted.by) {
            return done(answer, Err(refusal));
        }
        // One book is read at a time, so this is what it was compared with; but it is this check,
        // and not that lock, on which the promise rests.
        if base != self.state.book().hash() || !difference.is_narrowing() {
            return done(answer, Err(Refusal::BookChanged));
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
        let (base, narrower) = (self.state.book().hash(), difference.narrower.clone());
        // Nobody signs what one person adopts, so no lines of it are told.
        let change = Arc::new(Change { difference, ..Change::default() });
        self.state.prepare(Prepared { book, base, change });
        let sequence = self.append(entry.at, entry.record, None)?;
        (self.changed, self.matters_changed) = (true, true);
        self.after_commit(move |_| reply(answer, Ok((sequence, narrower))));
        Ok(())
    }

    /// The edge has asked this too, but of a view that may be a batch old.
    fn check_not_suspended(&self, by: &PersonId) -> Result<(), Refusal> {
        let member = self.state.people().member(by);
        if member.is_some_and(|member| member.suspended) {
            return Err(Refusal::PersonSuspended(by.clone()));
        }
        Ok(())
    }

    pub(super) fn report(&mut self, report: Report, answer: Answer<Sequence>) -> Result<(), Fatal> {
        let now = self.clock.now();
        if self.space() != Space::Ample {
            // There is room left for stops.
            if let Report::Settled(settled) = &report
                && let Err(fault) = self.state.settlements().check(settled, now)
            {
                let _stopped = self.check_elsewhere(settled, fault, now)?;
            }
            return done(answer, Err(Refusal::JournalFull));
        }
        let mut stopped = false;
        let (record, told) = match report {
            Report::Settled(settled) => {
                let told = self.state.settlements().check(&settled, now).map(drop);
                if let Err(fault) = told {
                    stopped = self.check_elsewhere(&settled, fault, now)?;
                }
                let told = told.map_err(|fault| (fault.field(), fault.to_string()));
                (Record::Settled(settled), told)
            }
            Report::Priced(priced) => {
                let rule = self.state.book().prices();
                let told = self.state.prices().check(rule, &priced, now.sure);
                (Record::Priced(priced), told.map_err(|fault| ("prices", fault.to_string())))
            }
            Report::Drilled(drilled) => {
                let told = self.state.check_drill(&drilled);
                self.changed = self.changed || told.is_ok();
                (Record::Drilled(drilled), told.map_err(|fault| ("drill", fault.to_string())))
            }
        };
        if let Err((field, problem)) = told {
            let refused = Err(Refusal::BadField { field, problem });
            if !stopped {
                return done(answer, refused);
            }
            // Once the stop is on record.
            self.after_commit(move |_| reply(answer, refused));
            return Ok(());
        }
        let sequence = self.append(now, record, None)?;
        self.after_commit(move |_| reply(answer, Ok(sequence)));
        Ok(())
    }

    pub(super) fn intend_key(
        &mut self,
        intended: KeyIntended,
        answer: Answer<()>,
    ) -> Result<(), Fatal> {
        if self.space() != Space::Ample {
            return done(answer, Err(Refusal::JournalFull));
        }
        if let Err(refusal) = self.check_not_suspended(&intended.by) {
            return done(answer, Err(refusal));
        }
        if self.state.key_named(intended.label.as_str()).is_some() {
            let taken = Refusal::LabelTaken(intended.label.to_string());
            return done(answer, Err(taken));
        }
        let now = self.clock.now();
        let review = intended.review_by;
        if review <= now.possible || review > now.possible.plus(REVIEW_MAX) {
            let problem = "a time later than now, and within three years".into();
            return done(answer, Err(Refusal::BadField { field: "review_by_ms", problem }));
        }
        self.append(now, Record::KeyIntended(intended), None)?;
        self.after_commit(move |_| reply(answer, Ok(())));
        Ok(())
    }

    pub(super) fn key_created(
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
}

/// A key that nobody looks at for longer is forgotten: three years, with a leap day.
const REVIEW_MAX: Span = Span(1_096 * 86_400_000);

/// Signatures that a stop's answer lists: more than anybody races by hand, and 80 KB of JSON.
const UNSETTLED_MAX: usize = 256;
