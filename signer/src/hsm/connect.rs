//! Opens the token, and the first session of each pool.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use super::config::HsmConfig;
use super::error::HsmError;
use super::keeper::Keeper;
use super::session::SigningSession;
use super::token::Token;

pub(super) fn connect(
    config: &HsmConfig,
) -> Result<(Arc<Token>, SigningSession, [Keeper; 3]), HsmError> {
    let wanted = config.clone();
    in_time(config.admin_deadline, move || {
        let token = Token::find(&wanted)?;
        let manage = || Keeper::open(Arc::clone(&token));
        let managing = [manage()?, manage()?, manage()?];
        let first = SigningSession::open(Arc::clone(&token))?;
        Ok((token, first, managing))
    })
}

/// On a thread of its own, because a module may hang in its first call as well as in any other.
pub(super) fn in_time<T: Send + 'static>(
    deadline: Duration,
    work: impl FnOnce() -> Result<T, HsmError> + Send + 'static,
) -> Result<T, HsmError> {
    let (done, outcome) = mpsc::channel();
    thread::Builder::new()
        .name("hsm-connect".to_owned())
        // Nobody listens any more: then it came too late.
        .spawn(move || drop(done.send(work())))
        .map_err(HsmError::Thread)?;
    outcome.recv_timeout(deadline).map_err(|error| match error {
        mpsc::RecvTimeoutError::Timeout => HsmError::TimedOut,
        mpsc::RecvTimeoutError::Disconnected => HsmError::Panicked,
    })?
}

/// As many as configured, and no more than the token allows beside those kept back.
pub(super) fn sessions(config: &HsmConfig, sessions_max: Option<u64>) -> usize {
    let wanted = config.sessions.get();
    let Some(allowed) = sessions_max else { return wanted };
    let allowed = allowed.saturating_sub(SESSIONS_KEPT_BACK).max(1);
    wanted.min(usize::try_from(allowed).unwrap_or(usize::MAX))
}

/// Sessions that do not sign requests: one that makes keys, one that fences them, one that signs
/// checkpoints, one to spare for a replaced thread.
const SESSIONS_KEPT_BACK: u64 = 4;
