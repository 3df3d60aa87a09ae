//! Threads that each own one session, a bounded queue in front of them in which callers take turns,
//! a deadline on every call, that which opens a session included.
//!
//! Knows nothing of PKCS#11: `S` is whatever a thread owns. Never delivers an answer after its
//! deadline, never runs a job twice, and never waits for a thread that is stuck: its job is given
//! up, its thread set aside and replaced, up to a bound.

mod desk;
mod lanes;
mod opening;
mod ticket;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use desk::{Job, Shared};
pub(super) use lanes::Lane;
pub(super) use ticket::Turn;
use ticket::{Given, Ticket};

use super::error::HsmError;

/// How many threads, how long a queue, how patient.
pub(super) struct Sizes {
    /// Names the threads.
    pub(super) name: &'static str,
    /// Threads with a session each.
    pub(super) workers: usize,
    /// Jobs that may wait.
    pub(super) queue_max: usize,
    /// Threads that may be set aside and replaced.
    pub(super) stuck_max: usize,
    /// How long a job may wait for its turn, and then how long it may run.
    pub(super) deadline: Duration,
}

/// What becomes of a session after a job.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum After {
    /// It is as good as before.
    Keep,
    /// It is not used again, for this reason.
    Discard(String),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PoolFault {
    /// The queue is full and nobody takes up more of it, or the job's turn did not come in time. It
    /// has not run.
    Full,
    /// The job began and did not end in time.
    TimedOut,
    /// No session is usable.
    Unavailable,
    /// The pool takes no more jobs.
    Closed,
}

/// How it stands with the threads.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Census {
    /// Threads there should be.
    pub(super) wanted: usize,
    /// Threads with a session and without a stuck call.
    pub(super) usable: usize,
    /// Threads, the stuck ones not counted.
    pub(super) workers: usize,
    /// Threads in a call past its deadline, or in the opening of a session.
    pub(super) stuck: usize,
    /// Answers that came after their deadline, and were dropped.
    pub(super) late: u64,
    /// Jobs waiting.
    pub(super) queued: usize,
    /// Jobs turned away because the queue was full, the newcomer or another.
    pub(super) shed: u64,
    /// Why a session was lost or not opened, last.
    pub(super) trouble: Option<String>,
}

/// The threads and their queue. Dropping it lets the threads finish what is queued and end.
pub(super) struct Pool<S: 'static> {
    shared: Arc<Shared<S>>,
    deadline: Duration,
}

impl<S: Send + 'static> Pool<S> {
    /// Starts the threads; the first one owns `first`, the others open their own.
    ///
    /// # Errors
    ///
    /// A thread could not be started.
    pub(super) fn start(
        sizes: &Sizes,
        first: S,
        open: impl Fn() -> Result<S, HsmError> + Send + Sync + 'static,
    ) -> Result<Self, HsmError> {
        let shared = Shared::new(sizes, Box::new(open));
        let pool = Self { shared: Arc::clone(&shared), deadline: sizes.deadline };
        Shared::hire(&shared, Some(first)).map_err(HsmError::Thread)?;
        for _ in 1..sizes.workers {
            Shared::hire(&shared, None).map_err(HsmError::Thread)?;
        }
        Ok(pool)
    }

    /// Runs `job`, which has no need to know whether it was given up, as [`Self::run_in_turn`].
    ///
    /// # Errors
    ///
    /// The same.
    pub(super) async fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut S) -> (R, After) + Send + 'static,
    ) -> Result<R, PoolFault> {
        self.run_in_turn(move |session, _| job(session)).await
    }

    /// Runs `job`, which is our own, as [`Self::run_for`].
    ///
    /// # Errors
    ///
    /// The same.
    pub(super) async fn run_in_turn<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut S, &Turn) -> (R, After) + Send + 'static,
    ) -> Result<R, PoolFault> {
        self.run_for(&Lane::default(), job).await
    }

    /// Runs `job` on some session, when it is the turn of its lane, and brings back its answer.
    ///
    /// Dropping the future does not stop a job that has begun: its answer is dropped, and its
    /// thread is still watched until the deadline.
    ///
    /// # Errors
    ///
    /// [`PoolFault`]; only after [`PoolFault::TimedOut`] may the job have had an effect.
    pub(super) async fn run_for<R: Send + 'static>(
        &self,
        lane: &Lane,
        job: impl FnOnce(&mut S, &Turn) -> (R, After) + Send + 'static,
    ) -> Result<R, PoolFault> {
        let ticket = Arc::new(Ticket::new(self.deadline));
        let (answer, mut answered) = oneshot::channel();
        let work = {
            let ticket = Arc::clone(&ticket);
            Box::new(move |session: &mut S| {
                let (value, after) = job(session, &Turn::of(&ticket));
                if ticket.answer() {
                    // A caller that went away leaves its answer to be dropped here.
                    drop(answer.send(value));
                }
                after
            })
        };
        self.shared.push(lane, Job { work, ticket: Arc::clone(&ticket) })?;
        let mut watch = Watch { pool: self, ticket: &ticket, over: false };
        let mut patience = self.deadline;
        let outcome = loop {
            if let Ok(answer) = tokio::time::timeout(patience, &mut answered).await {
                break answer.map_err(|_| why_dropped(&ticket));
            }
            match Shared::give_up(&self.shared, &ticket) {
                Given::NotYet(rest) => patience = rest,
                Given::Answered => break answered.await.map_err(|_| PoolFault::Unavailable),
                Given::BeforeStart => break Err(PoolFault::Full),
                Given::Running => break Err(PoolFault::TimedOut),
            }
        };
        watch.over = true;
        outcome
    }

    /// How it stands with the threads, now.
    pub(super) fn census(&self) -> Census {
        self.shared.census()
    }

    /// Whether jobs are taken.
    pub(super) fn has_hands(&self) -> bool {
        self.shared.takes_jobs()
    }

    /// Whether no job is taken because of calls that hang, and for no other reason.
    pub(super) fn is_hung(&self) -> bool {
        self.shared.is_hung()
    }

    /// Takes no more jobs; what is queued is still done.
    pub(super) fn close(&self) {
        self.shared.close();
    }
}

impl<S: 'static> Drop for Pool<S> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// Sees to it that a stuck thread is noticed even if the one who waited for it went away.
struct Watch<'a, S: Send + 'static> {
    pool: &'a Pool<S>,
    ticket: &'a Arc<Ticket>,
    over: bool,
}

impl<S: Send + 'static> Drop for Watch<'_, S> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let (shared, ticket) = (Arc::clone(&self.pool.shared), Arc::clone(self.ticket));
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                while let Given::NotYet(rest) = Shared::give_up(&shared, &ticket) {
                    tokio::time::sleep(rest).await;
                }
            });
        }
    }
}

/// Why a job went without an answer, where nobody gave it up from outside.
fn why_dropped(ticket: &Ticket) -> PoolFault {
    // Its turn came too late or its place went to another, and it was not begun.
    if ticket.was_given_up() { PoolFault::Full } else { PoolFault::Unavailable }
}

#[cfg(test)]
mod tests;
