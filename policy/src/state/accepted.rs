//! Sure time that people let go forward, because no clock could say how long an outage was.
//!
//! Only ever forward, and never past the wall clock: a wall clock alone moves nothing, and people
//! alone do not either. It takes both, and a delay in which the others can object.

use crate::act::{AcceptTime, ActFault};
use crate::time::{Interval, Millis, Span};

use super::State;

impl State {
    /// Whether the reading is one of now: of what sure time was since it was last moved. What was
    /// agreed before would be added to what was made good already.
    pub(super) fn check_reading(&self, accept: &AcceptTime) -> Result<(), ActFault> {
        // The delay of a recovery is there so that everybody sees it coming.
        if self.recovery.is_some() {
            return Err(ActFault::Recovering);
        }
        if accept.sure < self.accepted { Err(ActFault::TimeMoved(accept.sure)) } else { Ok(()) }
    }

    /// Whether people are asked for no more than could be given them.
    pub(super) fn check_named(&self, accept: &AcceptTime, now: Interval) -> Result<(), ActFault> {
        let named = accept.at.plus(since(accept, now));
        let (at, possible) = (accept.at, now.possible);
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
        let then = accept.at.plus(since(accept, now)).min(now.possible);
        if then > now.sure { Ok(then) } else { Err(ActFault::TimeNotBehind(now.sure)) }
    }

    pub(super) fn accept_time(
        &mut self,
        accept: &AcceptTime,
        now: Interval,
    ) -> Result<(), ActFault> {
        let then = self.sure_after(accept, now)?;
        self.accepted = then;
        // The boot clock counts on from the start, to which it was told what time it was.
        if let Some((_, at)) = &mut self.started {
            at.sure = at.sure.plus(Span(then.0.saturating_sub(now.sure.0)));
        }
        Ok(())
    }
}

/// How long ago it was read: on the boot clock, which nobody can set.
fn since(accept: &AcceptTime, now: Interval) -> Span {
    Span(now.sure.0.saturating_sub(accept.sure.0))
}
