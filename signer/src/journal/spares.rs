//! Keeps two free segments ready: the next one, and the one kept back for emergencies.
//!
//! A thread of its own fills and syncs them, so that no commit waits for that unless segments fill
//! faster than the disk makes them. Running out of space here is a state, not an error.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::Space;
use super::disk::Join;
use super::durable::{Folder, is_out_of_space};

/// Free segments to have: the next one, and one that only emergencies may take.
const SPARES: usize = 2;
/// After finding the disk full, how long to wait before looking again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Ending of a free segment's name.
pub(super) const SPARE: &str = "spare";

/// The free segments, and the thread that makes more.
pub(super) struct Spares {
    shared: Arc<Shared>,
    folder: Arc<Folder>,
    join: Option<Join>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// How it stands with them.
pub(super) struct State {
    ready: VecDeque<String>,
    making: Making,
    closed: bool,
}

/// How the thread is doing.
enum Making {
    /// Whatever is missing is on its way.
    Well,
    /// The disk was full at the last attempt.
    Full,
    /// The disk is broken, and the thread has ended. The error is handed out once.
    Broken(Option<io::Error>),
}

impl Spares {
    /// Starts with the free segments found. Returns when two are ready or no more can be made.
    pub(super) fn start(
        folder: Arc<Folder>,
        bytes: u64,
        found: Vec<String>,
    ) -> Result<Self, io::Error> {
        let number = found.last().and_then(|name| name.split('.').next()?.parse().ok());
        let state = State { ready: found.into(), making: Making::Well, closed: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let worker =
            Worker { shared: Arc::clone(&shared), folder: Arc::clone(&folder), bytes, number };
        let join = folder.disk().beside(Box::new(move || worker.run()))?;
        let spares = Self { shared, folder, join: Some(join) };
        spares.wait_for(SPARES)?;
        Ok(spares)
    }

    /// Whether so many free segments are ready; waits while they are being made.
    pub(super) fn wait_for(&self, count: usize) -> Result<bool, io::Error> {
        let mut state = self.shared.state.lock();
        loop {
            let enough = state.ready.len() >= count;
            match &mut state.making {
                Making::Broken(error) => {
                    let told_before = || io::Error::other("the disk failed before");
                    return Err(error.take().unwrap_or_else(told_before));
                }
                Making::Well | Making::Full if enough => return Ok(true),
                Making::Full => return Ok(false),
                Making::Well => {
                    self.folder.disk().wait(&self.shared.changed, &mut state, None);
                }
            }
        }
    }

    /// Which free segment to use next.
    pub(super) fn next(&self) -> Option<String> {
        self.shared.state.lock().ready.front().cloned()
    }

    /// Counts it as used, and has another made.
    pub(super) fn used(&self, name: &str) {
        self.shared.state.lock().ready.retain(|ready| ready != name);
        self.shared.changed.notify_all();
    }

    pub(super) fn space(&self) -> Space {
        let state = self.shared.state.lock();
        match (&state.making, state.ready.len()) {
            (Making::Well, 1..) | (Making::Full | Making::Broken(_), 2..) => Space::Ample,
            (Making::Well, 0) | (Making::Full | Making::Broken(_), 1) => Space::Low,
            (Making::Full | Making::Broken(_), 0) => Space::Exhausted,
        }
    }
}

impl Drop for Spares {
    /// Waits for the thread, so that the folder's lock is free when the storage is gone.
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.changed.notify_all();
        if let Some(join) = self.join.take() {
            join();
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    folder: Arc<Folder>,
    bytes: u64,
    number: Option<u64>,
}

impl Worker {
    fn run(mut self) {
        while self.wait_until_missing() {
            let number = self.number.map_or(0, |number| number.saturating_add(1));
            let name = format!("{number:020}.{SPARE}");
            match self.folder.make_zeros(&name, self.bytes) {
                Ok(()) => {
                    self.number = Some(number);
                    self.tell(|state| {
                        state.ready.push_back(name);
                        state.making = Making::Well;
                    });
                }
                Err(error) if is_out_of_space(&error) => {
                    self.tell(|state| state.making = Making::Full);
                    self.pause();
                }
                Err(error) => {
                    self.tell(|state| state.making = Making::Broken(Some(error)));
                    return;
                }
            }
        }
    }

    /// False when the storage is closed.
    fn wait_until_missing(&self) -> bool {
        let mut state = self.shared.state.lock();
        while !state.closed && state.ready.len() >= SPARES {
            self.folder.disk().wait(&self.shared.changed, &mut state, None);
        }
        !state.closed
    }

    fn pause(&self) {
        let mut state = self.shared.state.lock();
        if !state.closed {
            self.folder.disk().wait(&self.shared.changed, &mut state, Some(RETRY_AFTER));
        }
    }

    fn tell(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state.lock());
        self.shared.changed.notify_all();
    }
}
