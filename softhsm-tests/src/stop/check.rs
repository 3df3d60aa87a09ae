//! Whether a history is one in which every stop was total. A function of the history alone.
//!
//! Bytes that were handed to a connection before a freeze was acknowledged may arrive after it, so
//! the time of an arrival by itself proves nothing. What can be known from outside, and is judged:
//!
//! - **By the clock.** A request sent after the acknowledgement was there, and answered with a
//!   signature before any thaw of that scope was sent, was released while the stop held. This
//!   trusts nothing that the signer says.
//! - **By the record.** The acknowledgement names the last signature in scope that was released.
//!   One with a later record, up to that of the thaw, must never arrive, not even after the thaw:
//!   it was ready or under way, and the signer said that it is withheld.
//! - **By the count.** A signature with an earlier record than the last one released may have been
//!   waiting all the same. The acknowledgement counts those that waited, so one that it counts and
//!   that arrives makes it count too many.
//! - **By the journal.** It holds each acknowledged freeze and thaw at the place that was named,
//!   each signature that a caller has, and none in scope between a freeze and its thaw, whether
//!   anybody received it or not.
//!
//! A signature in scope that arrives late, with a record up to the last one released and counted by
//! nobody, cannot be told from one that was under way in the network: that is what the signer says
//! of it, and nothing that reached a client says otherwise. And a request that the token still had
//! when the stop came, and after the thaw, was decided anew: its record is after the thaw's, and it
//! is none that was released against the stop.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use alloy_primitives::B256;

use super::history::{
    Acknowledged, Call, End, History, Line, Moment, Request, Scope, Stop, Subject, Thaw, What,
};

/// A promise that was broken. Numbers are records, but for `mark`: that stands in the reason.
#[expect(missing_docs, reason = "each variant's sentence names its numbers")]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Violation {
    /// A request sent after the acknowledgement was signed before any thaw was sent.
    AfterAcknowledgement { mark: u64, signed: u64, sent_after_us: u128 },
    /// A signature arrived that the acknowledgement does not count as released; so long after it.
    AboveLastReleased { mark: u64, signed: u64, last_released: u64, thawed: u64, after_us: u128 },
    /// There is a signature on record between a freeze and its thaw.
    SignedWhileStopped { frozen: u64, signed: u64 },
    /// A freeze was acknowledged that is not on record where it was said to be.
    StopNotOnRecord { mark: u64, said: u64 },
    /// A thaw was acknowledged that is not on record where it was said to be.
    ThawNotOnRecord { proposal: u64, said: u64 },
    /// A caller has a signature that is not on record where it was said to be.
    SignatureNotOnRecord { said: u64, digest: B256 },
    /// The last signature released is none in scope, or none at all.
    LastReleasedIsNone { mark: u64, said: u64 },
    /// The last signature released was refused to everybody who asked for it.
    LastReleasedWasRefused { mark: u64, said: u64 },
    /// The acknowledgement counts fewer withheld than were under way.
    WithheldTooFew { mark: u64, said: u64, at_least: u64 },
    /// The acknowledgement counts more withheld than there were: one of them arrived.
    WithheldTooMany { mark: u64, said: u64, at_most: u64 },
}

/// All broken promises.
pub fn violations(history: &History) -> Vec<Violation> {
    let judge = Judge::of(history);
    let mut found = judge.signatures_are_on_record();
    found.extend(judge.nothing_is_recorded_while_stopped());
    found.extend(judge.thaws_are_on_record());
    for stop in &history.stops {
        let Some(said) = stop.acknowledged else { continue };
        found.extend(judge.by_the_clock(stop, said));
        if !judge.is_on_record(stop, said) {
            found.push(Violation::StopNotOnRecord { mark: stop.mark, said: said.sequence });
            continue;
        }
        found.extend(judge.by_the_record(stop, said));
        found.extend(judge.last_released(stop, said));
        found.extend(judge.by_the_count(stop, said));
    }
    found
}

struct Judge<'a> {
    history: &'a History,
    /// Signatures on record.
    signed: BTreeMap<u64, Signed<'a>>,
    frozen: BTreeMap<u64, (&'a Scope, Option<u64>)>,
    thawed: BTreeMap<u64, (&'a Scope, u64)>,
    starts: BTreeSet<u64>,
    /// Records of signatures that somebody received.
    received: BTreeSet<u64>,
    calls: BTreeMap<Request, &'a Call>,
    /// Requests that a record says the end of.
    closed: BTreeSet<Request>,
}

struct Signed<'a> {
    subject: &'a Subject,
    request: Request,
    digest: B256,
}

impl<'a> Judge<'a> {
    fn of(history: &'a History) -> Self {
        let mut judge = Self {
            history,
            signed: BTreeMap::new(),
            frozen: BTreeMap::new(),
            thawed: BTreeMap::new(),
            starts: BTreeSet::new(),
            received: BTreeSet::new(),
            calls: history.calls.iter().map(|call| (call.request, call)).collect(),
            closed: BTreeSet::new(),
        };
        for line in &history.journal {
            judge.read(line);
        }
        let received = history.calls.iter().filter_map(|call| match call.end {
            End::Signed { sequence, .. } => Some(sequence),
            End::Refused { .. } | End::Cut { .. } => None,
        });
        judge.received = received.collect();
        judge
    }

    fn read(&mut self, line: &'a Line) {
        let at = line.sequence;
        match &line.what {
            What::Started => drop(self.starts.insert(at)),
            What::Signed { subject, request, digest, .. } => {
                let (request, digest) = (*request, *digest);
                self.closed.insert(request);
                self.signed.insert(at, Signed { subject, request, digest });
            }
            What::Unsigned { request, .. } | What::Denied { request } => {
                self.closed.insert(*request);
            }
            What::Frozen { scope, mark } => drop(self.frozen.insert(at, (scope, *mark))),
            What::Thawed { scope, proposal } => drop(self.thawed.insert(at, (scope, *proposal))),
        }
    }

    fn in_scope(&self, scope: &'a Scope) -> impl Iterator<Item = &'a Call> {
        self.history.calls.iter().filter(move |call| self.history.covers(scope, &call.subject))
    }

    /// The record that ends a stop.
    fn thaw_after(&self, scope: &Scope, frozen: u64) -> u64 {
        let mut later = self.thawed.range(frozen..);
        later.find(|(_, (thawed, _))| *thawed == scope).map_or(u64::MAX, |(at, _)| *at)
    }

    fn signatures_are_on_record(&self) -> Vec<Violation> {
        let calls = self.history.calls.iter().filter_map(|call| match call.end {
            End::Signed { sequence, .. } => Some((call, sequence)),
            End::Refused { .. } | End::Cut { .. } => None,
        });
        let lacking = calls.filter(|(call, sequence)| {
            let known = self.signed.get(sequence);
            !known.is_some_and(|known| {
                *known.subject == call.subject
                    && known.request == call.request
                    && known.digest == call.digest
            })
        });
        let lacking = lacking
            .map(|(call, said)| Violation::SignatureNotOnRecord { said, digest: call.digest });
        lacking.collect()
    }

    /// Also of freezes that nobody was told of, and of those that the signer made itself.
    fn nothing_is_recorded_while_stopped(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for (frozen, (scope, _)) in &self.frozen {
            let signed = self.signed.range(*frozen..self.thaw_after(scope, *frozen));
            let covered = signed.filter(|(_, signed)| self.history.covers(scope, signed.subject));
            found.extend(covered.map(|(signed, _)| Violation::SignedWhileStopped {
                frozen: *frozen,
                signed: *signed,
            }));
        }
        found
    }

    fn thaws_are_on_record(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for Thaw { proposal, scope, acknowledged, .. } in &self.history.thaws {
            let Some((_, said)) = *acknowledged else { continue };
            if self.thawed.get(&said) != Some(&(scope, *proposal)) {
                found.push(Violation::ThawNotOnRecord { proposal: *proposal, said });
            }
        }
        found
    }

    fn is_on_record(&self, stop: &Stop, said: Acknowledged) -> bool {
        said.recorded && self.frozen.get(&said.sequence) == Some(&(&stop.scope, Some(stop.mark)))
    }

    fn by_the_clock(&self, stop: &'a Stop, said: Acknowledged) -> Vec<Violation> {
        // Whatever ended before the freeze was sent cannot have ended the freeze.
        let thaws = self.history.thaws.iter().filter(|thaw| thaw.scope == stop.scope);
        let thaws = thaws.filter(|thaw| self.is_over(thaw) >= stop.sent);
        let opened = thaws.map(|thaw| thaw.sent).min().unwrap_or(Moment::NEVER);
        let calls = self.in_scope(&stop.scope).filter(|call| call.sent > said.at);
        let broken = calls.filter_map(|call| match call.end {
            End::Signed { at, sequence } if at <= opened => {
                let sent_after_us = call.sent.since(said.at).as_micros();
                let (mark, signed) = (stop.mark, sequence);
                Some(Violation::AfterAcknowledgement { mark, signed, sent_after_us })
            }
            End::Signed { .. } | End::Refused { .. } | End::Cut { .. } => None,
        });
        broken.collect()
    }

    /// After that it can change nothing any more.
    fn is_over(&self, thaw: &Thaw) -> Moment {
        let said = thaw.acknowledged.map(|(at, _)| at);
        said.unwrap_or_else(|| self.history.end_of(thaw.life))
    }

    fn by_the_record(&self, stop: &'a Stop, said: Acknowledged) -> Vec<Violation> {
        let Acknowledged { sequence: frozen, last_released, .. } = said;
        let (mark, thawed) = (stop.mark, self.thaw_after(&stop.scope, frozen));
        let broken = self.in_scope(&stop.scope).filter_map(|call| match call.end {
            End::Signed { at, sequence } if last_released < sequence && sequence < thawed => {
                let (signed, after_us) = (sequence, at.since(said.at).as_micros());
                let above =
                    Violation::AboveLastReleased { mark, signed, last_released, thawed, after_us };
                Some(above)
            }
            End::Signed { .. } | End::Refused { .. } | End::Cut { .. } => None,
        });
        broken.collect()
    }

    fn last_released(&self, stop: &Stop, said: Acknowledged) -> Option<Violation> {
        let (mark, last) = (stop.mark, said.last_released);
        if last == 0 {
            return None;
        }
        let known = self.signed.get(&last).filter(|_| last < said.sequence);
        let known = known.filter(|signed| self.history.covers(&stop.scope, signed.subject));
        let Some(Signed { request, .. }) = known else {
            return Some(Violation::LastReleasedIsNone { mark, said: last });
        };
        // What an earlier process recorded counts as released, because it may have been.
        let earlier = last < self.start_before(said.sequence);
        let received = |call: &&Call| match call.end {
            End::Signed { sequence, .. } => sequence == last,
            End::Refused { .. } => false,
            // It was on its way, and nobody can say how far it came.
            End::Cut { .. } => true,
        };
        let fine = earlier || self.calls.get(request).is_some_and(received);
        (!fine).then_some(Violation::LastReleasedWasRefused { mark, said: last })
    }

    fn start_before(&self, sequence: u64) -> u64 {
        self.starts.range(..sequence).next_back().copied().unwrap_or_default()
    }

    fn by_the_count(&self, stop: &'a Stop, said: Acknowledged) -> Option<Violation> {
        let (mark, counted) = (stop.mark, said.withheld);
        // Decided before the freeze and closed after it: under way, to the last one.
        let at_least = self.closed_after(stop, said.sequence);
        if counted < at_least {
            return Some(Violation::WithheldTooFew { mark, said: counted, at_least });
        }
        let waited = self.may_have_waited(stop, said.sequence);
        let at_most = at_least + waited + self.may_have_been_lost(stop, said);
        (counted > at_most).then_some(Violation::WithheldTooMany { mark, said: counted, at_most })
    }

    fn closed_after(&self, stop: &Stop, frozen: u64) -> u64 {
        let lines = self.history.journal.iter();
        let lines = lines.skip_while(|line| line.sequence <= frozen);
        let closed = lines.filter(|line| match &line.what {
            What::Signed { subject, seen, .. } | What::Unsigned { subject, seen, .. } => {
                *seen < frozen && self.history.covers(&stop.scope, subject)
            }
            What::Started | What::Denied { .. } | What::Frozen { .. } | What::Thawed { .. } => {
                false
            }
        });
        u64::try_from(closed.count()).unwrap_or(u64::MAX)
    }

    /// Signatures that this process had recorded before the freeze, that nobody ever received, and
    /// that had been refused to nobody when the freeze was sent.
    fn may_have_waited(&self, stop: &Stop, frozen: u64) -> u64 {
        let ready = self.signed.range(self.start_before(frozen)..frozen).filter(|(at, signed)| {
            let waits = |call: &&Call| match call.end {
                End::Refused { at } | End::Cut { at: Some(at) } => at >= stop.sent,
                End::Cut { at: None } => true,
                End::Signed { .. } => false,
            };
            self.history.covers(&stop.scope, signed.subject)
                && !self.received.contains(at)
                && self.calls.get(&signed.request).is_none_or(waits)
        });
        u64::try_from(ready.count()).unwrap_or(u64::MAX)
    }
}

impl Judge<'_> {
    /// Requests that were under way and that the process took with it when it was killed: nobody
    /// was answered, and no record says what became of them.
    fn may_have_been_lost(&self, stop: &Stop, said: Acknowledged) -> u64 {
        let killed = stop.life < self.history.ends.len();
        let lost = self.in_scope(&stop.scope).filter(|call| {
            matches!(call.end, End::Cut { .. })
                && call.life == stop.life
                && call.sent <= said.at
                && !self.closed.contains(&call.request)
        });
        if killed { u64::try_from(lost.count()).unwrap_or(u64::MAX) } else { 0 }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AfterAcknowledgement { mark, signed, sent_after_us } => write!(
                out,
                "stop {mark}: a request sent {sent_after_us} us after its acknowledgement was \
                 signed, record {signed}"
            ),
            Self::AboveLastReleased { mark, signed, last_released, thawed, after_us } => write!(
                out,
                "stop {mark}: it says that {last_released} was the last released, and {signed} \
                 arrived {after_us} us after it said so (thawed at {thawed})"
            ),
            Self::SignedWhileStopped { frozen, signed } => {
                write!(out, "the freeze at {frozen}: {signed} was signed before it was thawed")
            }
            Self::StopNotOnRecord { mark, said } => {
                write!(out, "stop {mark}: acknowledged as record {said}, and it is not there")
            }
            Self::ThawNotOnRecord { proposal, said } => {
                write!(out, "thaw {proposal}: acknowledged as record {said}, and it is not there")
            }
            Self::SignatureNotOnRecord { said, digest } => {
                write!(out, "the signature over {digest}: record {said} is another")
            }
            Self::LastReleasedIsNone { mark, said } => {
                write!(out, "stop {mark}: {said}, the last released, is no signature in scope")
            }
            Self::LastReleasedWasRefused { mark, said } => {
                write!(out, "stop {mark}: {said}, the last released, was refused to its caller")
            }
            Self::WithheldTooFew { mark, said, at_least } => {
                write!(out, "stop {mark}: {said} withheld, and {at_least} were under way")
            }
            Self::WithheldTooMany { mark, said, at_most } => {
                write!(out, "stop {mark}: {said} withheld, of which at most {at_most} were")
            }
        }
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
