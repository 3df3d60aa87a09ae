//! Says of one job how far it is, so that it is either answered or given up, never both.

use parking_lot::{Mutex, MutexGuard};

/// One job's progress.
#[derive(Default)]
pub(super) struct Ticket(Mutex<Stage>);

#[derive(Clone, Copy, Default)]
enum Stage {
    #[default]
    Queued,
    Running,
    Answered,
    GivenUp,
}

/// What giving up found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Given {
    /// The answer was there already, and is to be delivered.
    Answered,
    /// The job had not begun, and will not.
    BeforeStart,
    /// The job is inside a call; its answer will be dropped.
    Running,
}

impl Ticket {
    /// The job's turn has come; `false` if it was given up before.
    pub(super) fn start(&self) -> bool {
        let mut stage = self.0.lock();
        match *stage {
            Stage::Queued => {
                *stage = Stage::Running;
                true
            }
            Stage::Running | Stage::Answered | Stage::GivenUp => false,
        }
    }

    /// There is an answer; `false` if nobody may have it any more.
    pub(super) fn answer(&self) -> bool {
        let mut stage = self.0.lock();
        match *stage {
            Stage::Running => {
                *stage = Stage::Answered;
                true
            }
            Stage::Queued | Stage::Answered | Stage::GivenUp => false,
        }
    }

    /// Was it given up?
    pub(super) fn was_given_up(&self) -> bool {
        matches!(*self.0.lock(), Stage::GivenUp)
    }

    /// The deadline has passed. `set_aside` is called for a job inside a call, before its thread
    /// can see that it was given up.
    pub(super) fn give_up(&self, set_aside: impl FnOnce()) -> Given {
        let mut stage: MutexGuard<'_, Stage> = self.0.lock();
        match *stage {
            Stage::Answered => Given::Answered,
            Stage::Queued | Stage::GivenUp => {
                *stage = Stage::GivenUp;
                Given::BeforeStart
            }
            Stage::Running => {
                *stage = Stage::GivenUp;
                set_aside();
                Given::Running
            }
        }
    }
}
