//! A session for everything but requests, and how a chore is done with it: once more in a fresh
//! session if the first one turns out to be lost, so that a key is fenced at once and not at the
//! next round.

use std::sync::Arc;

use super::error::{HsmError, chain};
use super::module::{Held, Inside};
use super::pool::{After, Pool, PoolFault, Turn};
use super::token::{Access, Token};
use super::verdict::Verdict;

/// A session that may change the token.
pub(super) struct Keeper {
    token: Arc<Token>,
    held: Held,
}

/// Whether a chore may be done twice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Repeat {
    /// What it did, it finds done.
    Harmless,
    /// It makes or removes something: only if it was turned away at its first look at the session.
    IfNotBegun,
}

impl Keeper {
    /// # Errors
    ///
    /// No session to be had.
    pub(super) fn open(token: Arc<Token>) -> Result<Self, HsmError> {
        let held = token.open(Access::Manage)?;
        Ok(Self { token, held })
    }

    /// Does a chore, and once more if a fresh session may help and somebody still waits for it.
    pub(super) fn attend<R>(
        &mut self,
        repeat: Repeat,
        turn: &Turn,
        chore: impl Fn(&Inside<'_>) -> Result<R, HsmError>,
    ) -> Result<R, HsmError> {
        let once = |held: &Held| chore(&held.enter_for(turn)?);
        let error = match once(&self.held) {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if !is_cured_by_a_session(&error) || !(repeat == Repeat::Harmless || not_begun(&error)) {
            return Err(error);
        }
        // What nobody waits for is not done late: the opposite may have been done meanwhile.
        if turn.is_over() {
            return Err(error);
        }
        self.held = self.token.open(Access::Manage)?;
        once(&self.held)
    }
}

/// Does a chore on the pool's session.
///
/// # Errors
///
/// The chore's own, or the token could not be asked.
pub(super) async fn manage<R: Send + 'static>(
    pool: &Pool<Keeper>,
    repeat: Repeat,
    chore: impl Fn(&Inside<'_>) -> Result<R, HsmError> + Send + 'static,
) -> Result<R, HsmError> {
    let answer = pool.run_in_turn(move |keeper, turn| {
        let result = keeper.attend(repeat, turn, chore);
        let after = match &result {
            Err(error) if !keeps_the_session(error) => After::Discard(chain(error)),
            Ok(_) | Err(_) => After::Keep,
        };
        (result, after)
    });
    answer.await.map_err(told)?
}

/// Does something with the pool's token in a session of its own, opened for it alone.
///
/// # Errors
///
/// As [`manage`].
pub(super) async fn in_a_fresh_session<R: Send + 'static>(
    pool: &Pool<Keeper>,
    chore: impl FnOnce(&Inside<'_>) -> Result<R, HsmError> + Send + 'static,
) -> Result<R, HsmError> {
    let answer = pool.run(move |keeper| {
        // Not inside the module meanwhile, which may have to be loaded again for it.
        let fresh = keeper.token.open(Access::Manage);
        (fresh.and_then(|fresh| chore(&fresh.enter()?)), After::Keep)
    });
    answer.await.map_err(told)?
}

fn told(fault: PoolFault) -> HsmError {
    match fault {
        PoolFault::TimedOut => HsmError::TimedOut,
        PoolFault::Full | PoolFault::Unavailable | PoolFault::Closed => HsmError::Unavailable,
    }
}

/// Whether it may go well in a fresh session.
pub(super) fn is_cured_by_a_session(error: &HsmError) -> bool {
    let cured = [Verdict::NewSession, Verdict::LogIn, Verdict::Gone, Verdict::Reload];
    cured.contains(&error.verdict())
}

/// Every chore looks at its session before it does anything, and none that may not be repeated
/// looks again.
fn not_begun(error: &HsmError) -> bool {
    matches!(error, HsmError::Session(_) | HsmError::LoginLost | HsmError::Reloaded)
}

/// What is no fault of the session: the token refused, the key is not as it should be, or the door
/// was shut and the session not asked.
fn keeps_the_session(error: &HsmError) -> bool {
    if matches!(error, HsmError::Reloading) {
        return true;
    }
    let of_the_key = if let HsmError::Checkpoint(fault) = error {
        fault.is_of_the_key()
    } else {
        matches!(error, HsmError::KeyExists { .. } | HsmError::Drifted { .. })
    };
    of_the_key || matches!(error.verdict(), Verdict::Refused | Verdict::FindAgain)
}
