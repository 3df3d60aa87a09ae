//! When the module is loaded again: as the last resort, and not too often.

use std::time::Duration;

use parking_lot::Mutex;

use super::error::{CheckpointFault, HsmError};
use super::verdict::{self, Verdict};
use crate::clock::monotonic;

/// What has failed since something last went well.
#[derive(Default)]
pub(super) struct Recovery(Mutex<State>);

#[derive(Default)]
struct State {
    /// Sessions in a row that could not be opened because the token is gone.
    failures: u32,
    /// Not before this moment of the monotonic clock.
    not_before: Duration,
    /// How often in a row it was loaded again, each soon after the one before.
    in_a_row: u32,
    /// Something worked since it was tried last: that is what another try would end.
    works: bool,
    /// How many calls were inside the module when it should have been loaded again.
    held_by: Option<usize>,
}

impl Recovery {
    /// A session could not be opened, with this verdict; whether to load the module again for it.
    pub(super) fn is_due(&self, verdict: Verdict) -> bool {
        let mut state = self.0.lock();
        match verdict {
            Verdict::Reload => {}
            Verdict::Gone => {
                state.failures = state.failures.saturating_add(1);
                if state.failures < FAILURES_MIN {
                    return false;
                }
            }
            Verdict::Fine
            | Verdict::FindAgain
            | Verdict::Refused
            | Verdict::NewSession
            | Verdict::LogIn
            | Verdict::Later
            | Verdict::Pin
            | Verdict::Unclear => return false,
        }
        let now = monotonic();
        if now < state.not_before {
            return false;
        }
        // Whoever asks next, before this one is done, is not to do the same.
        (state.failures, state.not_before) = (0, now.saturating_add(PAUSE));
        true
    }

    /// It was tried just now, with this outcome.
    pub(super) fn tried(&self, outcome: &Result<(), HsmError>) {
        let mut state = self.0.lock();
        let now = monotonic();
        let is_soon = now < state.not_before.saturating_add(SOON) && state.works;
        state.works = false;
        state.in_a_row = if is_soon { state.in_a_row.saturating_add(1) } else { 0 };
        // It ends the sessions that still work, too: what it does not mend is not to cost them.
        let doublings = state.in_a_row.saturating_sub(AT_ONCE).min(PAUSE_DOUBLED_MAX);
        state.not_before = now.saturating_add(PAUSE.saturating_mul(1 << doublings));
        state.held_by = match outcome {
            Err(HsmError::ModuleHeld { inside }) => Some(*inside),
            Ok(()) | Err(_) => None,
        };
    }

    /// What to say of a session that could not be opened: calls that keep the module from being
    /// loaded again are the reason behind all others, for whoever is on call.
    pub(super) fn explain(&self, error: HsmError) -> HsmError {
        self.0.lock().held_by.map_or(error, |inside| HsmError::ModuleHeld { inside })
    }

    /// Something went well: a session that still works must not be lost to a reload.
    pub(super) fn calm(&self) {
        let mut state = self.0.lock();
        (state.failures, state.held_by, state.works) = (0, None, true);
    }
}

impl HsmError {
    /// What is to be done about it, by the one table.
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Slots(source)
            | Self::Session(source)
            | Self::Login(source)
            | Self::Sign { source, .. }
            | Self::Read(source)
            | Self::Generate { source, .. }
            | Self::Fence { source, .. }
            | Self::Marker(source)
            | Self::Destroy { source, .. }
            | Self::Checkpoint(CheckpointFault::Token(source)) => verdict::of(source),
            // The module lists no such token any more.
            Self::TokenMissing { .. } => Verdict::Gone,
            // It was not initialised, and is not now.
            Self::Initialise { .. } => Verdict::Reload,
            Self::LoginLost => Verdict::LogIn,
            Self::Reloaded => Verdict::NewSession,
            Self::WrongPin | Self::PinLocked | Self::PinFinalTry => Verdict::Pin,
            Self::LoginRefused => Verdict::Unclear,
            Self::Module { .. }
            | Self::SecondModule { .. }
            | Self::TokenAmbiguous { .. }
            | Self::TokenExchanged { .. }
            | Self::Mechanism { .. }
            | Self::OpeningTimedOut
            | Self::TooManyStuck
            | Self::Pin(_)
            | Self::LoginBusy
            | Self::BadSignature { .. }
            | Self::Panicked
            | Self::Reloading
            | Self::ModuleHeld { .. }
            | Self::TimedOut
            | Self::Unavailable
            | Self::Thread(_)
            | Self::KeyExists { .. }
            | Self::Checkpoint(
                CheckpointFault::Mechanism
                | CheckpointFault::Objects(_)
                | CheckpointFault::Drifted(_)
                | CheckpointFault::Point
                | CheckpointFault::Signature,
            )
            | Self::Drifted { .. }
            | Self::PointMissing { .. }
            | Self::Point { .. }
            | Self::SelfTest { .. } => Verdict::Later,
        }
    }
}

impl HsmError {
    /// Whether a start that ended so would end so again until somebody has done something, or would
    /// cost an attempt of the PIN. All else, a token that is gone or hangs, may be over by itself.
    pub fn needs_a_person(&self) -> bool {
        match self {
            Self::WrongPin
            | Self::PinLocked
            | Self::PinFinalTry
            | Self::LoginRefused
            | Self::Pin(_)
            | Self::TokenExchanged { .. }
            | Self::TokenAmbiguous { .. }
            | Self::Module { .. }
            | Self::SecondModule { .. }
            | Self::Mechanism { .. }
            | Self::KeyExists { .. }
            | Self::Drifted { .. }
            | Self::PointMissing { .. }
            | Self::Point { .. } => true,
            Self::Checkpoint(fault) => fault.is_of_the_key(),
            Self::Initialise { .. }
            | Self::Slots(_)
            | Self::TokenMissing { .. }
            | Self::Session(_)
            | Self::OpeningTimedOut
            | Self::TooManyStuck
            | Self::Login(_)
            | Self::LoginBusy
            | Self::LoginLost
            | Self::Sign { .. }
            | Self::BadSignature { .. }
            | Self::Panicked
            | Self::Reloading
            | Self::Reloaded
            | Self::ModuleHeld { .. }
            | Self::TimedOut
            | Self::Unavailable
            | Self::Thread(_)
            | Self::Generate { .. }
            | Self::Read(_)
            | Self::Fence { .. }
            | Self::Marker(_)
            | Self::Destroy { .. }
            | Self::SelfTest { .. } => false,
        }
    }

    /// Whether a session was not opened because of a call that does not come back, ours or another
    /// one's; the module itself if it hangs while it is loaded again.
    pub(super) fn is_of_a_hang(&self) -> bool {
        matches!(
            self,
            Self::OpeningTimedOut
                | Self::TooManyStuck
                | Self::ModuleHeld { .. }
                | Self::LoginBusy
                | Self::Reloading
        )
    }
}

/// One may be chance, and two sessions that were lost together fail together.
const FAILURES_MIN: u32 = 3;

/// From the end of one try to the next: a module that is not worse for it starts in much less, and
/// a token that comes back is not kept waiting.
const PAUSE: Duration = Duration::from_secs(1);

/// What comes so soon after the last one may be due to the same.
const SOON: Duration = Duration::from_secs(120);

/// So many follow each other without a longer pause; then it doubles, up to a minute or so.
const AT_ONCE: u32 = 5;
const PAUSE_DOUBLED_MAX: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loading_it_again_does_not_mend_ends_the_sessions_that_work_ever_more_rarely() {
        let (recovery, mut pauses) = (Recovery::default(), Vec::new());
        for _ in 0..20 {
            recovery.calm();
            recovery.tried(&Ok(()));
            let left = recovery.0.lock().not_before.saturating_sub(monotonic());
            pauses.push(left.saturating_add(Duration::from_millis(500)).as_secs());
        }
        assert_eq!(pauses[..5], [1; 5]);
        assert_eq!(pauses[19], 64);
        assert!(pauses.is_sorted(), "{pauses:?}");
        // Where nothing works, nothing is ended by it.
        recovery.tried(&Ok(()));
        let left = recovery.0.lock().not_before.saturating_sub(monotonic());
        assert!(left <= PAUSE, "{left:?}");
    }

    #[test]
    fn a_module_that_lost_itself_is_loaded_at_once_and_a_token_that_is_gone_after_three_failures() {
        assert!(Recovery::default().is_due(Verdict::Reload));
        let recovery = Recovery::default();
        let gone = [(); 3].map(|()| recovery.is_due(Verdict::Gone));
        assert_eq!(gone, [false, false, true]);
        assert!(!recovery.is_due(Verdict::Later), "time helps there");
    }

    #[test]
    fn what_goes_well_in_between_starts_the_count_anew() {
        let recovery = Recovery::default();
        assert!(!recovery.is_due(Verdict::Gone) && !recovery.is_due(Verdict::Gone));
        recovery.calm();
        assert!(!recovery.is_due(Verdict::Gone));
    }

    #[test]
    fn it_is_not_tried_again_at_once() {
        let recovery = Recovery::default();
        assert!(recovery.is_due(Verdict::Reload));
        assert!(!recovery.is_due(Verdict::Reload), "the one before is still at it");
        let recovery = Recovery::default();
        recovery.tried(&Ok(()));
        assert!(!recovery.is_due(Verdict::Reload));
    }
}
