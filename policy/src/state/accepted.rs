//! Sure time that people let go forward, because no clock could say how long an outage was.
//!
//! Only ever forward, and never past the wall clock: a wall clock alone moves nothing, and people
//! alone do not either. It takes both, and a delay in which the others can object.
//!
//! What was recorded since the outage ended grows no older by it ([`Outage`]). Where sure time
//! stood still more than once, nobody knows for how long each time: then nothing does that was
//! recorded since the first.

use serde::{Deserialize, Serialize};

use crate::act::{AcceptTime, Act, ActFault};
use crate::id::PersonId;
use crate::outage::{Outage, Stamp};
use crate::record::{Entry, Proposed, Record};
use crate::time::{Interval, Millis, Span};

use super::State;
use super::faults::ProposalFault;

/// Since when sure time may be behind. It stands still between two boots of the machine; a machine
/// that is itself held still within one is taken for one that stood still before it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stood {
    /// The first start within this boot.
    boot: Stamp,
    /// The one after which sure time was first seen to be behind the wall clock, since it was last
    /// put right.
    behind: Option<Stamp>,
}

impl Stood {
    pub(super) fn begin(genesis: &Entry) -> Self {
        Self { boot: (genesis.at.sure, genesis.seq), behind: None }
    }

    /// The start since which nothing grows older when sure time goes forward.
    fn since(&self) -> Stamp {
        self.behind.unwrap_or(self.boot)
    }
}

impl State {
    /// Before a record is folded. That sure time is level is for people to say and not for the wall
    /// clock: whoever sets that back for a while would have the outage end later than it did.
    pub(super) fn note_lag(&mut self, entry: &Entry) {
        if let Record::Started(started) = &entry.record
            && !self.is_within_boot(started)
        {
            self.stood.boot = (entry.at.sure, entry.seq);
        }
        if self.stood.behind.is_none() && is_behind(entry.at) {
            self.stood.behind = Some(self.stood.boot);
        }
    }

    /// A proposal as it would be recorded next. Since when nothing grows older, the journal says
    /// and not whoever proposes.
    ///
    /// # Errors
    ///
    /// Why it cannot be made.
    pub fn propose(
        &self,
        (by, mut act, reason): (&PersonId, Act, String),
        now: Interval,
    ) -> Result<Proposed, ProposalFault> {
        if let Act::AcceptTime(accept) = &mut act {
            let (_, since) = self.stood.since();
            accept.since.get_or_insert(since);
        }
        self.propose_as_it_is((by, act, reason), now)
    }

    /// Whether the reading is one of now: of what sure time was since it was last moved. What was
    /// agreed before would be added to what was made good already.
    pub(super) fn check_reading(&self, accept: &AcceptTime) -> Result<(), ActFault> {
        // The delay of a recovery is there so that everybody sees it coming.
        if self.recovery.is_some() {
            return Err(ActFault::Recovering);
        }
        if accept.sure < self.accepted {
            return Err(ActFault::TimeMoved(accept.sure));
        }
        let (_, is) = self.stood.since();
        let fits = accept.since.map_or(self.knew_no_since(), |since| since == is);
        if fits { Ok(()) } else { Err(ActFault::TimeSince { is }) }
    }

    /// Whether people are asked for no more than could be given them.
    pub(super) fn check_named(&self, accept: &AcceptTime, now: Interval) -> Result<(), ActFault> {
        let (named, at, possible) = (named(accept, now), accept.at, now.possible);
        if named > possible { Err(ActFault::TimeBeyondPossible { at, possible }) } else { Ok(()) }
    }

    /// What sure time would be from now on. The wall clock is the bound, also if it was set back
    /// since people agreed.
    pub(super) fn sure_after(
        &self,
        accept: &AcceptTime,
        now: Interval,
    ) -> Result<Millis, ActFault> {
        if accept.sure > now.sure {
            return Err(ActFault::TimeMoved(accept.sure));
        }
        let then = named(accept, now).min(now.possible);
        if then > now.sure { Ok(then) } else { Err(ActFault::TimeNotBehind(now.sure)) }
    }

    pub(super) fn accept_time(
        &mut self,
        accept: &AcceptTime,
        now: Interval,
    ) -> Result<(), ActFault> {
        let then = self.sure_after(accept, now)?;
        self.accepted = then;
        let by = Span(then.0.saturating_sub(now.sure.0));
        // The boot clock counts on from the start, to which it was told what time it was.
        if let Some((_, at)) = &mut self.started {
            at.sure = at.sure.plus(by);
        }
        if accept.since.is_some() {
            self.keep_young(Outage::before(self.stood.since(), by));
        }
        // All that people said, and no less than the wall clock says: then nothing is left that
        // another outage could be taken for.
        let level = then == named(accept, now) && !is_behind(Interval { sure: then, ..now });
        if level {
            self.stood.behind = None;
        }
        self.note_accepted((now.sure, then), level);
        Ok(())
    }

    /// Everything that a window, a limit over a time, or a delay hangs on. Times that are only told
    /// stay those of their records.
    fn keep_young(&mut self, outage: Outage) {
        self.ledger.keep_young(outage);
        self.payees.keep_young(outage);
        self.pending.keep_young(outage);
        self.prices.keep_young(outage);
        self.requests.keep_young(outage);
        let Stood { boot, behind } = &mut self.stood;
        for stamp in [Some(boot), behind.as_mut()].into_iter().flatten() {
            *stamp = outage.moved(*stamp);
        }
    }
}

/// What people agreed to, as it is now.
fn named(accept: &AcceptTime, now: Interval) -> Millis {
    accept.at.plus(since(accept, now))
}

/// How long ago it was read: on the boot clock, which nobody can set.
fn since(accept: &AcceptTime, now: Interval) -> Span {
    Span(now.sure.0.saturating_sub(accept.sure.0))
}

/// Whether the two are further apart than clocks that do not tick alike.
fn is_behind(at: Interval) -> bool {
    at.possible > at.sure.plus(TICKS_APART_MAX)
}

/// What the wall clock may gain on the boot clock without anything having stood still.
const TICKS_APART_MAX: Span = Span(60_000);
