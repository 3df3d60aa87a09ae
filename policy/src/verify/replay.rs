//! Makes every decision again, in its order.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::B256;

use super::{Report, Requests};
use crate::decide::{Decision, decide, still_allows};
use crate::finding::Reason;
use crate::id::{DecisionNumber, Sequence};
use crate::record::{Asked, Entry, Record, RecordedInput};
use crate::request::Request;
use crate::state::State;
use crate::time::Millis;

pub(super) fn replay(
    entries: &[Entry],
    requests: Requests,
    attachments: &BTreeMap<B256, Vec<u8>>,
    report: &mut Report,
) {
    let Some((first, rest)) = entries.split_first() else {
        return report.wrong(Sequence(0), "empty: not even a genesis record");
    };
    let state = match State::genesis(first) {
        Ok(state) => state,
        Err(error) => return report.unfoldable(first.seq, &error),
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
    let mut replay = Replay { state, requests, attachments, unrecorded, decided, made: 0, report };
    for entry in rest {
        replay.decide_all_before(entry, &decisions);
        replay.last_look(entry);
        replay.authority(entry);
        replay.place(entry);
        replay.leap(entry);
        if let Err(error) = replay.state.apply(entry) {
            return replay.report.unfoldable(entry.seq, &error);
        }
    }
    if replay.made != decisions.len() {
        let at = replay.state.head();
        replay.report.wrong(at, "decisions were made that cannot be made again");
    }
}

/// Decisions of which no record tells.
struct Unrecorded {
    /// Those whose inputs are not in the export, until the records that close them.
    blind: BTreeMap<DecisionNumber, Sequence>,
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
            blind: BTreeMap::new(),
            lost: lost.collect(),
            last_start: starts.map(|(at, _)| at).max().unwrap_or_default(),
            recorded: recorded.map(|asked| asked.number).collect(),
        }
    }

    /// Whether a decision was open at a record and never recorded: the start after it calls it
    /// lost, or there is none, and it is open still.
    fn open_at(&self, at: Sequence, number: DecisionNumber) -> bool {
        let still = at > self.last_start && !self.recorded.contains(&number);
        if self.blind.get(&number).is_some_and(|closed| *closed > at) {
            return true;
        }
        self.lost.get(&number).map_or(still, |start| *start > at)
    }
}

pub(super) struct Replay<'a> {
    pub(super) state: State,
    /// What was read before, each until it is needed.
    requests: Requests,
    attachments: &'a BTreeMap<B256, Vec<u8>>,
    unrecorded: Unrecorded,
    /// The decision made last, and when.
    decided: (DecisionNumber, Millis),
    /// How many were made again, or at least tried.
    made: usize,
    pub(super) report: &'a mut Report,
}

/// What was asked for, from a record and what it names.
pub(super) fn request_of(
    asked: &Asked,
    find: impl Fn(B256) -> Option<Vec<u8>>,
) -> Result<Request, String> {
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
        if self.is_withheld(asked) {
            // Its charge comes in with its record; until then nobody here knows it.
            self.unrecorded.blind.insert(number, entry.seq);
            self.report.withheld.push(entry.seq);
            return Ok(());
        }
        let request = self.request(entry.seq, asked)?;
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

    /// Whether the bytes that were asked for are named in the record and left out of the export.
    fn is_withheld(&self, asked: &Asked) -> bool {
        asked.input.attachment().is_some_and(|name| !self.attachments.contains_key(&name))
    }

    fn request(&mut self, at: Sequence, asked: &Asked) -> Result<Request, String> {
        // One for each record, from the first on.
        let place = at.0.checked_sub(1).and_then(|place| usize::try_from(place).ok());
        match place.and_then(|place| self.requests.get_mut(place)?.take()) {
            Some(read) => *read,
            None => request_of(asked, |name| self.attachments.get(&name).cloned()),
        }
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
                | Record::CheckpointKeyIntended(_)
                | Record::CheckpointKeyMade(_)
                | Record::Snapshot(_)
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
        if self.is_withheld(asked) {
            return;
        }
        let request = match self.request(entry.seq, asked) {
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
