//! Opens a session on a thread of its own, because opening can hang like any other call, and so
//! can the closing of the one before it.
//!
//! A thread that hangs here is counted and set aside like one that hangs in a job; the one that
//! wanted the session tries again, or ends with the pool.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;

use super::desk::Shared;
use super::ticket::{Given, Ticket};
use crate::hsm::error::HsmError;

impl<S: Send + 'static> Shared<S> {
    /// A fresh session, within the deadline of a job, once the lost one is closed: some tokens have
    /// no place for both. One that comes later is not used.
    ///
    /// # Errors
    ///
    /// It could not be opened, or not in time; or as many calls are stuck as may be.
    pub(super) fn open_in_time(shared: &Arc<Self>, lost: &mut Option<S>) -> Result<S, HsmError> {
        if shared.is_too_stuck() {
            return Err(HsmError::TooManyStuck);
        }
        let ticket = Arc::new(Ticket::new(shared.deadline));
        let (done, opened) = mpsc::channel();
        let opener = {
            let (shared, ticket, lost) = (Arc::clone(shared), Arc::clone(&ticket), lost.take());
            move || {
                ticket.start();
                // As in a job: foreign code must not leave a thread counted as stuck for ever.
                let session = catch_unwind(AssertUnwindSafe(|| {
                    drop(lost);
                    shared.open()
                }))
                .unwrap_or(Err(HsmError::Panicked));
                if ticket.answer() {
                    // A pool that closed leaves its session to be dropped here.
                    drop(done.send(session));
                } else {
                    drop(session);
                    shared.opening_ended();
                }
            }
        };
        let name = format!("{}-open", shared.name);
        thread::Builder::new().name(name).spawn(opener).map_err(HsmError::Thread)?;
        Self::await_opening(shared, &ticket, &opened)
    }

    fn await_opening(
        shared: &Arc<Self>,
        ticket: &Ticket,
        opened: &Receiver<Result<S, HsmError>>,
    ) -> Result<S, HsmError> {
        let mut patience = shared.deadline;
        loop {
            match opened.recv_timeout(patience) {
                Ok(session) => return session,
                Err(RecvTimeoutError::Disconnected) => return Err(HsmError::Panicked),
                Err(RecvTimeoutError::Timeout) => {}
            }
            match ticket.give_up(|| shared.opening_hangs()) {
                Given::NotYet(rest) => patience = rest,
                Given::Answered => return opened.recv().unwrap_or(Err(HsmError::Panicked)),
                Given::BeforeStart | Given::Running => return Err(HsmError::OpeningTimedOut),
            }
        }
    }
}
