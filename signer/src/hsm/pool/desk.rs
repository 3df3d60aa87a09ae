//! What the threads of a pool share: the queue, the census, and how one of them works.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::lanes::{Lane, Lanes};
use super::ticket::{Given, Ticket};
use super::{After, Census, PoolFault, Sizes};
use crate::hsm::error::{HsmError, chain};

/// A job and its progress.
pub(super) struct Job<S> {
    pub(super) work: Box<dyn FnOnce(&mut S) -> After + Send>,
    pub(super) ticket: Arc<Ticket>,
}

type Open<S> = Box<dyn Fn() -> Result<S, HsmError> + Send + Sync>;

/// Lock order: a ticket before the state.
pub(super) struct Shared<S> {
    state: Mutex<State<S>>,
    /// A job came, or the pool closes.
    news: Condvar,
    open: Open<S>,
    pub(super) name: &'static str,
    pub(super) deadline: Duration,
    queue_max: usize,
    stuck_max: usize,
}

struct State<S> {
    queue: Lanes<Job<S>>,
    census: Census,
    /// A call that hangs is why a session was lost or not opened, last.
    hangs: bool,
    closed: bool,
}

/// Why a thread stops using its session.
enum End {
    Discard(String),
    /// A call on it passed its deadline, and came back.
    Late,
    Closed,
}

impl<S: Send + 'static> Shared<S> {
    pub(super) fn new(sizes: &Sizes, open: Open<S>) -> Arc<Self> {
        let census = Census { wanted: sizes.workers, ..Census::default() };
        Arc::new(Self {
            state: Mutex::new(State {
                queue: Lanes::default(),
                census,
                hangs: false,
                closed: false,
            }),
            news: Condvar::new(),
            open,
            name: sizes.name,
            deadline: sizes.deadline,
            queue_max: sizes.queue_max,
            stuck_max: sizes.stuck_max,
        })
    }

    /// Starts one more thread, with a session or to open its own.
    pub(super) fn hire(shared: &Arc<Self>, first: Option<S>) -> io::Result<()> {
        {
            let census = &mut shared.state.lock().census;
            census.workers = census.workers.saturating_add(1);
            if first.is_some() {
                census.usable = census.usable.saturating_add(1);
            }
        }
        let worker = Arc::clone(shared);
        let started = thread::Builder::new()
            .name(shared.name.to_owned())
            .spawn(move || Self::work(&worker, first));
        if let Err(error) = started {
            let census = &mut shared.state.lock().census;
            census.workers = census.workers.saturating_sub(1);
            census.trouble = Some(format!("a thread could not be started: {error}"));
            return Err(error);
        }
        Ok(())
    }

    /// Queues a job, or says at once why not. Where there is no room, whoever takes up most of it
    /// loses a job.
    pub(super) fn push(&self, lane: &Lane, job: Job<S>) -> Result<(), PoolFault> {
        let ticket = Arc::clone(&job.ticket);
        let mut state = self.state.lock();
        if state.closed {
            return Err(PoolFault::Closed);
        }
        if !self.has_hands(&state) {
            return Err(PoolFault::Unavailable);
        }
        let shed = state.queue.push(lane, job, self.queue_max);
        if shed.is_some() {
            state.census.shed = state.census.shed.saturating_add(1);
        }
        drop(state);
        let Some(shed) = shed else {
            self.news.notify_one();
            return Ok(());
        };
        if Arc::ptr_eq(&shed.ticket, &ticket) {
            return Err(PoolFault::Full);
        }
        // Before it is dropped, which has whoever waits for it ask why.
        shed.ticket.shed();
        Ok(())
    }

    /// Whether no job is taken because of calls that hang: too many of ours, or those that keep
    /// every session from being opened, whosever they are.
    pub(super) fn is_hung(&self) -> bool {
        let state = self.state.lock();
        state.census.stuck > self.stuck_max || (state.census.usable == 0 && state.hangs)
    }

    /// Whether a job would be taken now.
    pub(super) fn takes_jobs(&self) -> bool {
        let state = self.state.lock();
        !state.closed && self.has_hands(&state)
    }

    /// A session is there, and not so many calls are stuck that more would only join them.
    fn has_hands(&self, state: &State<S>) -> bool {
        state.census.usable > 0 && state.census.stuck <= self.stuck_max
    }

    /// Gives a job up whose time is over. If it is inside a call, its thread is set aside, and
    /// replaced while the bound allows.
    pub(super) fn give_up(shared: &Arc<Self>, ticket: &Ticket) -> Given {
        let mut replace = false;
        let given = ticket.give_up(|| replace = shared.set_aside());
        if replace && let Err(error) = Self::hire(shared, None) {
            tracing::error!(pool = shared.name, %error, "a stuck thread could not be replaced");
        }
        given
    }

    fn set_aside(&self) -> bool {
        let mut state = self.state.lock();
        let closed = state.closed;
        state.hangs = true;
        let census = &mut state.census;
        census.usable = census.usable.saturating_sub(1);
        census.workers = census.workers.saturating_sub(1);
        census.stuck = census.stuck.saturating_add(1);
        census.trouble = Some(LATE.to_owned());
        tracing::error!(pool = self.name, stuck = census.stuck, "a call passed its deadline");
        !closed && census.stuck <= self.stuck_max
    }

    pub(super) fn census(&self) -> Census {
        let state = self.state.lock();
        Census { queued: state.queue.len(), ..state.census.clone() }
    }

    /// Are more calls stuck than are replaced?
    pub(super) fn is_too_stuck(&self) -> bool {
        self.state.lock().census.stuck > self.stuck_max
    }

    /// The call that opens a session.
    pub(super) fn open(&self) -> Result<S, HsmError> {
        (self.open)()
    }

    /// A session was not opened in time.
    pub(super) fn opening_hangs(&self) {
        let census = &mut self.state.lock().census;
        census.stuck = census.stuck.saturating_add(1);
        tracing::error!(pool = self.name, stuck = census.stuck, "a session is not opened in time");
    }

    /// An opening that was counted as stuck has ended after all.
    pub(super) fn opening_ended(&self) {
        let census = &mut self.state.lock().census;
        census.stuck = census.stuck.saturating_sub(1);
        tracing::warn!(pool = self.name, "a session that was opened too late is not used");
    }

    /// One thread's life.
    fn work(shared: &Arc<Self>, mut first: Option<S>) {
        let (mut strikes, mut lost) = (0, None);
        while let Some(mut session) =
            first.take().or_else(|| Self::session(shared, &mut strikes, &mut lost))
        {
            match shared.serve(&mut session, &mut strikes) {
                End::Discard(reason) => {
                    shared.lose(reason);
                    lost = Some(session);
                }
                End::Late => {
                    // Closing may hang as well, and is counted as long as its call is.
                    drop(session);
                    if !shared.come_back() {
                        return;
                    }
                    shared.lose(LATE.to_owned());
                }
                End::Closed => {
                    let census = &mut shared.state.lock().census;
                    census.usable = census.usable.saturating_sub(1);
                    break;
                }
            }
            strikes = strikes.saturating_add(1);
        }
        let census = &mut shared.state.lock().census;
        census.workers = census.workers.saturating_sub(1);
    }

    /// Works off jobs until the session is no good or the pool is closed.
    fn serve(&self, session: &mut S, strikes: &mut u32) -> End {
        while let Some(Job { work, ticket }) = self.next() {
            // A panic in a binding to foreign code must cost a session, not a thread.
            let after = catch_unwind(AssertUnwindSafe(|| work(session)))
                .unwrap_or_else(|_| After::Discard(HsmError::Panicked.to_string()));
            if ticket.was_given_up() {
                // The session was stuck once: it is not trusted again.
                return End::Late;
            }
            match after {
                After::Keep => *strikes = 0,
                After::Discard(reason) => return End::Discard(reason),
            }
        }
        End::Closed
    }

    fn next(&self) -> Option<Job<S>> {
        let mut before = None;
        loop {
            let (lane, job) = self.pop(before.take())?;
            if job.ticket.start() {
                return Some(job);
            }
            before = Some(lane);
        }
    }

    /// The next job, of this lane if the one before was too late to be any.
    fn pop(&self, mut again: Option<Lane>) -> Option<(Lane, Job<S>)> {
        let mut state = self.state.lock();
        loop {
            let next = match again.take() {
                Some(lane) => state.queue.pop_again(lane),
                None => state.queue.pop(),
            };
            if next.is_some() {
                return next;
            }
            if state.closed {
                return None;
            }
            self.news.wait(&mut state);
        }
    }

    /// A stuck call has ended after all; `true` if its thread is needed.
    fn come_back(&self) -> bool {
        let mut state = self.state.lock();
        let closed = state.closed;
        let census = &mut state.census;
        census.stuck = census.stuck.saturating_sub(1);
        census.late = census.late.saturating_add(1);
        tracing::warn!(pool = self.name, late = census.late, "a late answer was dropped");
        let needed = census.workers < census.wanted && !closed;
        if needed {
            census.workers = census.workers.saturating_add(1);
            census.usable = census.usable.saturating_add(1);
        }
        needed
    }

    fn lose(&self, reason: String) {
        tracing::warn!(pool = self.name, reason, "a session is discarded");
        let mut state = self.state.lock();
        state.hangs = false;
        state.census.usable = state.census.usable.saturating_sub(1);
        state.census.trouble = Some(reason);
    }

    /// Opens a session in the place of a lost one, at ever longer intervals; `None` once the pool
    /// is closed.
    fn session(shared: &Arc<Self>, strikes: &mut u32, lost: &mut Option<S>) -> Option<S> {
        loop {
            if !shared.rest(back_off(*strikes)) {
                return None;
            }
            match Self::open_in_time(shared, lost) {
                Ok(session) => {
                    let census = &mut shared.state.lock().census;
                    census.usable = census.usable.saturating_add(1);
                    return Some(session);
                }
                Err(error) => {
                    *strikes = strikes.saturating_add(1);
                    let reason = chain(&error);
                    tracing::warn!(pool = shared.name, reason, "no session could be opened");
                    let mut state = shared.state.lock();
                    state.hangs = error.is_of_a_hang();
                    state.census.trouble = Some(reason);
                }
            }
        }
    }

    /// Waits. With no session left anywhere, what is queued is answered as unavailable now.
    /// `false` once the pool is closed.
    fn rest(&self, time: Duration) -> bool {
        let stranded = {
            let mut state = self.state.lock();
            if state.census.usable == 0 {
                std::mem::take(&mut state.queue)
            } else {
                Lanes::default()
            }
        };
        drop(stranded);
        if !time.is_zero() && !self.state.lock().closed {
            thread::sleep(time);
        }
        !self.state.lock().closed
    }
}

impl<S> Shared<S> {
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.news.notify_all();
    }
}

const LATE: &str = "a call on it passed its deadline";

/// None after the first failure, which a fresh session usually cures; then 50 ms, doubling up to a
/// second, so that recovery takes at most that long once the fault is over.
fn back_off(strikes: u32) -> Duration {
    let doublings = match strikes {
        0 | 1 => return Duration::ZERO,
        more => more.saturating_sub(2).min(5),
    };
    BACK_OFF_MIN.saturating_mul(1 << doublings).min(BACK_OFF_MAX)
}

const BACK_OFF_MIN: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
