//! Repeats every decision from genesis and the records alone.
//!
//! Nothing is taken from the records but their inputs: verdicts, reasons, charges and digests are
//! computed again with the same code that made them, and compared.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, keccak256};

use crate::book::Book;
use crate::decide::{Decision, decide, still_allows};
use crate::finding::Reason;
use crate::id::{DecisionNumber, Sequence, VaultId};
use crate::record::{Actor, Asked, Entry, Frozen, Proposed, Record, RecordedInput, Role, Trigger};
use crate::request::{Request, sha256};
use crate::state::State;
use crate::time::Millis;
use crate::tree::{Frontier, leaf_hash};

/// Takes an export, line by line.
#[derive(Debug, Default)]
pub struct Verifier {
    entries: Vec<Entry>,
    attachments: BTreeMap<B256, Vec<u8>>,
    frontier: Frontier,
    vault: Option<VaultId>,
    findings: Vec<Discrepancy>,
}

/// What was found out about an export.
#[derive(Debug)]
pub struct Report {
    /// The genesis record's leaf hash, if there is one.
    pub vault: Option<VaultId>,
    /// Number of records.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: B256,
    /// Decisions that were made again, and came out the same.
    pub repeated: u64,
    /// Decisions that could not be made again, because they counted reservations that have no
    /// record: a crash lost them, or they were open when the export ended.
    pub not_repeated: Vec<Sequence>,
    /// How many records of each kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Everything that is wrong. Empty: the journal explains itself.
    pub discrepancies: Vec<Discrepancy>,
}

/// Something wrong with a journal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Discrepancy {
    /// The record, or the one before which it was noticed.
    pub at: Sequence,
    /// What is wrong.
    pub what: String,
}

impl Verifier {
    /// Takes one record's line, without its newline.
    pub fn record(&mut self, line: &[u8]) {
        self.frontier.push(leaf_hash(line));
        let at = Sequence(self.frontier.size());
        if self.vault.is_none() {
            self.vault = Some(VaultId(leaf_hash(line)));
        }
        match Entry::decode(line) {
            Ok(entry) => self.entries.push(entry),
            Err(error) => self.findings.push(Discrepancy { at, what: error.to_string() }),
        }
    }

    /// Takes one attachment.
    pub fn attachment(&mut self, bytes: Vec<u8>) {
        self.attachments.insert(sha256(&bytes), bytes);
    }

    /// Checks everything that was taken.
    pub fn finish(self) -> Report {
        let mut kinds = BTreeMap::new();
        for entry in &self.entries {
            let count: &mut u64 = kinds.entry(entry.record.kind()).or_default();
            *count = count.saturating_add(1);
        }
        let (size, root, vault) = (self.frontier.size(), self.frontier.root(), self.vault);
        let mut report = Report {
            vault,
            size,
            root,
            repeated: 0,
            not_repeated: Vec::new(),
            kinds,
            discrepancies: self.findings,
        };
        if report.discrepancies.is_empty() {
            replay(&self.entries, &self.attachments, &mut report);
        }
        report
    }
}

fn replay(entries: &[Entry], attachments: &BTreeMap<B256, Vec<u8>>, report: &mut Report) {
    let Some((first, rest)) = entries.split_first() else {
        return report.wrong(Sequence(0), "empty: not even a genesis record");
    };
    let state = match State::genesis(first) {
        Ok(state) => state,
        Err(error) => return report.wrong(first.seq, error),
    };
    let mut decisions: BTreeMap<(Sequence, DecisionNumber), &Entry> = BTreeMap::new();
    for entry in rest {
        let Some(asked) = entry.record.asked() else { continue };
        if asked.seen >= entry.seq {
            report.wrong(entry.seq, "decided on records that came after it");
        }
        if decisions.insert((asked.seen, asked.number), entry).is_some() {
            report.wrong(entry.seq, "its decision number is used twice");
        }
    }
    let unrecorded = Unrecorded::of(rest);
    let decided = (DecisionNumber(0), first.at.sure);
    let mut replay = Replay { state, attachments, unrecorded, decided, made: 0, report };
    for entry in rest {
        replay.decide_all_before(entry, &decisions);
        replay.last_look(entry);
        replay.authority(entry);
        replay.place(entry);
        if let Err(error) = replay.state.apply(entry) {
            return replay.report.wrong(entry.seq, error);
        }
    }
    if replay.made != decisions.len() {
        let at = replay.state.head();
        replay.report.wrong(at, "decisions were made that cannot be made again");
    }
}

/// Decisions of which no record tells.
struct Unrecorded {
    /// Those that a start calls lost, and which start.
    lost: BTreeMap<DecisionNumber, Sequence>,
    last_start: Sequence,
    recorded: BTreeSet<DecisionNumber>,
}

impl Unrecorded {
    fn of(entries: &[Entry]) -> Self {
        let starts = entries.iter().filter_map(|entry| {
            let Record::Started(started) = &entry.record else { return None };
            Some((entry.seq, started))
        });
        let lost = starts
            .clone()
            .flat_map(|(at, started)| started.lost.iter().map(move |number| (*number, at)));
        let recorded = entries.iter().filter_map(|entry| entry.record.asked());
        Self {
            lost: lost.collect(),
            last_start: starts.map(|(at, _)| at).max().unwrap_or_default(),
            recorded: recorded.map(|asked| asked.number).collect(),
        }
    }

    /// Whether a decision was open at a record and never recorded: the start after it calls it
    /// lost, or there is none, and it is open still.
    fn open_at(&self, at: Sequence, number: DecisionNumber) -> bool {
        let still = at > self.last_start && !self.recorded.contains(&number);
        self.lost.get(&number).map_or(still, |start| *start > at)
    }
}

struct Replay<'a> {
    state: State,
    attachments: &'a BTreeMap<B256, Vec<u8>>,
    unrecorded: Unrecorded,
    /// The decision made last, and when.
    decided: (DecisionNumber, Millis),
    /// How many were made again, or at least tried.
    made: usize,
    report: &'a mut Report,
}

impl Replay<'_> {
    /// Makes again, in their order, all decisions made after the record before this one.
    fn decide_all_before(
        &mut self,
        next: &Entry,
        decisions: &BTreeMap<(Sequence, DecisionNumber), &Entry>,
    ) {
        let seen = self.state.head();
        let first = (seen, DecisionNumber(0));
        let last = (seen, DecisionNumber(u64::MAX));
        for (_, entry) in decisions.range(first..=last) {
            self.made = self.made.saturating_add(1);
            if let Err(what) = self.decide_again(entry, next.at.sure) {
                self.report.wrong(entry.seq, what);
            }
        }
    }

    /// Makes a decision again. It was made before `until`, when the next record was written.
    fn decide_again(&mut self, entry: &Entry, until: Millis) -> Result<(), String> {
        let Some(asked) = entry.record.asked() else { return Ok(()) };
        let (number, now) = (asked.number, asked.at);
        let (last, since) = self.decided;
        if number <= last {
            return Err("its decision number is not that of its place".into());
        }
        let since = since.max(self.state.at().sure);
        if !(since..=until).contains(&now.sure) || now.possible < now.sure {
            return Err("decided at a time that is not that of its place".into());
        }
        self.decided = (number, now.sure);
        let request = self.request(asked)?;
        self.state.advance(asked.by.key, now);
        let book = self.state.book().clone();
        let facts = self.state.facts(&request, now, None);
        let counted = self.state.counted(&asked.by, None);
        let decision = decide(&book, &facts, request);
        self.compare(entry, &decision, &counted)?;
        if let Decision::Allow(allowed) = decision {
            self.state.reserve(number, &allowed);
        }
        Ok(())
    }

    fn request(&self, asked: &Asked) -> Result<Request, String> {
        let find = |name| self.attachments.get(&name).cloned();
        let Some(input) = asked.input.resolve(find) else {
            return Err("its input is missing, or is not what its hash says".into());
        };
        if RecordedInput::of(&input).0 != asked.input {
            return Err("its input is recorded in another form than its size asks for".into());
        }
        let request = Request::decode(asked.by.clone(), &input);
        let request = request.map_err(|error| format!("its input is malformed: {error}"))?;
        if request.digest() != asked.digest {
            return Err("its digest is not that of its input".into());
        }
        Ok(request)
    }

    fn compare(
        &mut self,
        entry: &Entry,
        decision: &Decision,
        counted: &[DecisionNumber],
    ) -> Result<(), String> {
        let same = match (&entry.record, decision) {
            (Record::Signed(signed), Decision::Allow(allowed)) => {
                signed.charge == *allowed.charge()
                    && signed.first_payments == allowed.first_payments()
                    && signed.repeats == allowed.repeat()
                    && signed.book == allowed.revision()
                    && signed.votes == allowed.votes()
                    && signed.slot == allowed.slot()
            }
            (Record::Withheld(_) | Record::Failed(_), Decision::Allow(_)) => true,
            (Record::Denied(denied), decision) => {
                let book = denied.book == self.state.book().hash();
                if book && self.depends_on_unrecorded(entry.seq, &denied.counted, counted) {
                    return Ok(());
                }
                let Decision::Deny(denial) = decision else { return Err(mismatch(decision)) };
                book && denied.counted == counted && denied.reasons == denial.findings.reasons()
            }
            (Record::Parked(parked), decision) => {
                let book = parked.book == self.state.book().hash();
                if book && self.depends_on_unrecorded(entry.seq, &parked.counted, counted) {
                    return Ok(());
                }
                let Decision::Park(again) = decision else { return Err(mismatch(decision)) };
                // Name, quorums, times, bounds, and every word that people signed.
                self.state.parking(again, parked.asked.clone()) == **parked
            }
            (Record::Signed(_) | Record::Withheld(_) | Record::Failed(_), _) => {
                return Err(mismatch(decision));
            }
            (
                Record::Genesis(_)
                | Record::Started(_)
                | Record::KeyIntended(_)
                | Record::KeyCreated(_)
                | Record::Adopted(_)
                | Record::Settled(_)
                | Record::Priced(_)
                | Record::Frozen(_)
                | Record::FenceIntended(_)
                | Record::FenceAnswered(_)
                | Record::DestroyAnswered(_)
                | Record::DrainEnded(_)
                | Record::Drilled(_)
                | Record::Suppressed(_)
                | Record::Voted(_)
                | Record::Proposed(_)
                | Record::Executed(_)
                | Record::Withdrawn(_)
                | Record::Suspended(_)
                | Record::RecoveryBegun(_)
                | Record::Recovered(_),
                _,
            ) => return Ok(()),
        };
        if !same {
            return Err(mismatch(decision));
        }
        self.report.repeated = self.report.repeated.saturating_add(1);
        Ok(())
    }

    fn depends_on_unrecorded(
        &mut self,
        at: Sequence,
        said: &[DecisionNumber],
        counted: &[DecisionNumber],
    ) -> bool {
        let known = counted.iter().all(|number| said.contains(number));
        let mut more = said.iter().filter(|number| !counted.contains(number)).peekable();
        let more_counted = more.peek().is_some();
        let depends =
            known && more_counted && more.all(|number| self.unrecorded.open_at(at, *number));
        if depends {
            self.report.not_repeated.push(at);
        }
        depends
    }

    /// A signature is recorded only if it is still allowed at the moment of the record.
    fn last_look(&mut self, entry: &Entry) {
        let mut votes: &[Sequence] = &[];
        let (asked, withheld) = if let Record::Signed(signed) = &entry.record {
            votes = &signed.votes;
            (&signed.asked, None)
        } else if let Record::Withheld(withheld) = &entry.record {
            (&withheld.asked, Some((&withheld.counted, &withheld.reasons)))
        } else {
            return;
        };
        if withheld.is_none() && !self.state.must_look_again(asked, votes, entry.at) {
            return;
        }
        let request = match self.request(asked) {
            Ok(request) => request,
            Err(what) => return self.report.wrong(entry.seq, what),
        };
        let counted = self.state.counted(&asked.by, Some(asked.number));
        if withheld.is_some_and(|(said, _)| self.depends_on_unrecorded(entry.seq, said, &counted)) {
            return;
        }
        self.state.advance(asked.by.key, entry.at);
        let book = self.state.book().clone();
        let facts = self.state.facts(&request, entry.at, Some(asked.number));
        let now = still_allows(&book, &facts, &request);
        let now = now.err().map(|findings| (counted, findings.reasons()));
        let now = now.as_ref().map(|(counted, reasons)| (counted, reasons));
        if now != withheld {
            let said = now.map(|(_, reasons)| codes(reasons));
            let said = said.unwrap_or_else(|| "it is still allowed".to_owned());
            let what = format!("at the last look it comes out otherwise: {said}");
            self.report.wrong(entry.seq, what);
        }
    }

    /// What a record says of itself that follows from its place.
    fn place(&mut self, entry: &Entry) {
        if entry.at.possible < entry.at.sure {
            self.report.wrong(entry.seq, "possible time lies before sure time");
        }
        let at_once = matches!(entry.record, Record::Denied(_) | Record::Parked(_));
        let place = entry.record.asked().map(|asked| (asked.seen.next(), asked.at));
        if at_once && place != Some((entry.seq, entry.at)) {
            self.report.wrong(entry.seq, "not recorded when it was decided");
        }
        if let Record::Started(started) = &entry.record
            && !self.state.unreported().iter().eq(&started.lost)
        {
            self.report.wrong(entry.seq, "names other decisions as lost than are missing");
        }
        if let Record::Proposed(proposed) = &entry.record {
            let Proposed { act, by, reason, .. } = &**proposed;
            let again = self.state.propose((by, act.clone(), reason.clone()), entry.at);
            if again.ok().as_ref() != Some(&**proposed) {
                self.report.wrong(entry.seq, "this could not be proposed, or not in these words");
            }
        }
        if let Record::KeyCreated(created) = &entry.record
            && address_of(&created.point) != Some(created.address)
        {
            self.report.wrong(entry.seq, "the key's address is not that of its public point");
        }
    }

    /// People may do only what their roles allow, and books may only narrow.
    fn authority(&mut self, entry: &Entry) {
        let may = |person, roles: &[Role]| self.state.people().may(person, roles);
        // Whoever is suspended still stops, and does nothing else.
        let acts = |person, roles: &[Role]| {
            may(person, roles)
                && self.state.people().member(person).is_some_and(|one| !one.suspended)
        };
        let wrong = if let Record::KeyIntended(key) = &entry.record {
            let wrong = !acts(&key.by, &[Role::Operator]);
            wrong.then(|| "a key made by somebody who may not".to_owned())
        } else if let Record::Frozen(Frozen { by: Actor::Person(person), .. }) = &entry.record {
            let wrong = !may(person, &[Role::Security]);
            wrong.then(|| "a stop by somebody who may not".to_owned())
        } else if let Record::Frozen(Frozen {
            by: Actor::Trigger(Trigger::UsedElsewhere(told)),
            ..
        }) = &entry.record
        {
            let wrong = !may(&told.by, &[Role::Watcher]);
            wrong.then(|| "a stop on the report of somebody who may not".to_owned())
        } else if let Record::Settled(settled) = &entry.record {
            let wrong = !may(&settled.by, &[Role::Watcher]);
            wrong.then(|| "a settlement reported by somebody who may not".to_owned())
        } else if let Record::Priced(priced) = &entry.record {
            let wrong = !may(&priced.by, &[Role::Pricer]);
            wrong.then(|| "prices reported by somebody who may not".to_owned())
        } else if let Record::Proposed(proposed) = &entry.record {
            let wrong = !may(&proposed.by, &Role::VOTERS);
            wrong.then(|| "a proposal by somebody who may not".to_owned())
        } else if let Record::Executed(executed) = &entry.record {
            let wrong = !may(&executed.by, &Role::VOTERS);
            wrong.then(|| "something done at the word of somebody who may not".to_owned())
        } else if let Record::Adopted(adopted) = &entry.record {
            let allowed = acts(&adopted.by, &[Role::Operator, Role::Security]);
            let wider = Book::parse(&adopted.book).map(|new| self.state.book().difference(&new));
            let wider = wider.map(|difference| difference.wider).unwrap_or_default();
            if !allowed {
                Some("a book adopted by somebody who may not".to_owned())
            } else if wider.is_empty() {
                None
            } else {
                Some(format!("a book that widens without a quorum: {}", wider.join("; ")))
            }
        } else {
            None
        };
        if let Some(wrong) = wrong {
            self.report.wrong(entry.seq, wrong);
        }
    }
}

/// The address of a public point in uncompressed SEC1 form, as hex. That it lies on the curve was
/// checked by whoever verified a signature with it.
fn address_of(point: &str) -> Option<Address> {
    let bytes = hex::decode(point).ok().filter(|bytes| bytes.len() == 65)?;
    let hash = keccak256(bytes.strip_prefix(&[4])?);
    hash.last_chunk::<20>().map(Address::from)
}

fn mismatch(decision: &Decision) -> String {
    let said = match decision {
        Decision::Allow(_) => "allowed".into(),
        Decision::Park(_) => "parked".into(),
        Decision::Deny(denial) => format!("denied: {}", codes(&denial.findings.reasons())),
    };
    format!("decided again, it is {said}")
}

fn codes(reasons: &[Reason]) -> String {
    let all = reasons.iter().map(|one| format!("{} at {}", one.code, one.rule));
    all.collect::<Vec<_>>().join(", ")
}

impl Report {
    fn wrong(&mut self, at: Sequence, what: impl ToString) {
        // Whoever shows it says which record by itself.
        let what = what.to_string();
        let what = what.strip_prefix(&format!("record {at}: ")).unwrap_or(&what).to_owned();
        self.discrepancies.push(Discrepancy { at, what });
    }
}
