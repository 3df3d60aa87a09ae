//! Says of one job how far it is, so that it is either answered or given up, never both.
//!
//! A job is as patient with its turn as with its call, one after the other: what it waited in the
//! queue never counts against the call, or a busy token would be taken for a stuck one.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::clock::monotonic;

/// One job's progress.
pub(super) struct Ticket {
    patience: Duration,
    stage: Mutex<Stage>,
}

/// A job's own look at its ticket: one that was given up has no business with the token any more,
/// because what it was to do may have been done again, or undone, since.
pub(in crate::hsm) struct Turn(Arc<Ticket>);

impl Turn {
    pub(super) fn of(ticket: &Arc<Ticket>) -> Self {
        Self(Arc::clone(ticket))
    }

    /// Whether nobody waits for the job any more.
    pub(in crate::hsm) fn is_over(&self) -> bool {
        self.0.was_given_up()
    }

    /// One that is over, or is not.
    #[cfg(test)]
    pub(in crate::hsm) fn fake(over: bool) -> Self {
        let ticket = Arc::new(Ticket::new(if over { Duration::ZERO } else { Duration::MAX }));
        assert_eq!(ticket.start(), !over);
        Self(ticket)
    }
}

#[derive(Clone, Copy)]
enum Stage {
    /// Since this moment of the monotonic clock.
    Queued(Duration),
    /// Since this moment of it.
    Running(Duration),
    Answered,
    GivenUp,
}

/// What giving up found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Given {
    /// It is too early: the job has this much time left.
    NotYet(Duration),
    /// The answer was there already, and is to be delivered.
    Answered,
    /// The job had not begun, and will not.
    BeforeStart,
    /// The job is inside a call; its answer will be dropped.
    Running,
}

impl Ticket {
    /// For a job that begins to wait now, as long for its turn as then for its call.
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, stage: Mutex::new(Stage::Queued(monotonic())) }
    }

    /// The job's turn has come; `false` if that is too late, or if it was given up before.
    pub(super) fn start(&self) -> bool {
        let mut stage = self.stage.lock();
        let Stage::Queued(since) = *stage else { return false };
        let in_time = self.rest(since).is_some();
        *stage = if in_time { Stage::Running(monotonic()) } else { Stage::GivenUp };
        in_time
    }

    /// There is an answer; `false` if nobody may have it any more.
    pub(super) fn answer(&self) -> bool {
        let mut stage = self.stage.lock();
        match *stage {
            Stage::Running(_) => {
                *stage = Stage::Answered;
                true
            }
            Stage::Queued(_) | Stage::Answered | Stage::GivenUp => false,
        }
    }

    /// The job lost its place to another one, and will not begin.
    pub(super) fn shed(&self) {
        let mut stage = self.stage.lock();
        if let Stage::Queued(_) = *stage {
            *stage = Stage::GivenUp;
        }
    }

    /// Was it given up?
    pub(super) fn was_given_up(&self) -> bool {
        matches!(*self.stage.lock(), Stage::GivenUp)
    }

    /// Gives the job up if its time is over. `set_aside` is called for a job inside a call, before
    /// its thread can see that it was given up.
    pub(super) fn give_up(&self, set_aside: impl FnOnce()) -> Given {
        let mut stage: MutexGuard<'_, Stage> = self.stage.lock();
        let rest = match *stage {
            Stage::Queued(since) | Stage::Running(since) => self.rest(since),
            Stage::Answered | Stage::GivenUp => None,
        };
        if let Some(rest) = rest {
            return Given::NotYet(rest);
        }
        match *stage {
            Stage::Answered => Given::Answered,
            Stage::Queued(_) | Stage::GivenUp => {
                *stage = Stage::GivenUp;
                Given::BeforeStart
            }
            Stage::Running(_) => {
                *stage = Stage::GivenUp;
                set_aside();
                Given::Running
            }
        }
    }

    fn rest(&self, since: Duration) -> Option<Duration> {
        let passed = monotonic().saturating_sub(since);
        self.patience.checked_sub(passed).filter(|rest| !rest.is_zero())
    }
}
