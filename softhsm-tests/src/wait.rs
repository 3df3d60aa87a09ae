//! Waiting for something that happens in another process: bounded, and by looking, never by
//! guessing a time.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything in the rig is waited for. Long, because a loaded machine is no fault; it is a
/// bound on a failing test, not a measurement.
pub const PATIENCE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(5);

/// It did not happen in time.
#[derive(Debug, thiserror::Error)]
#[error("waited {} s in vain for {what}", PATIENCE.as_secs())]
pub struct TimedOut {
    what: String,
}

/// Looks until `look` gives something, at most [`PATIENCE`].
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T, TimedOut> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if start.elapsed() > PATIENCE {
            return Err(TimedOut { what: what.to_owned() });
        }
        thread::sleep(PAUSE);
    }
}

/// The same, for what takes a call to see.
pub async fn until_async<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> Result<T, TimedOut> {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return Ok(found);
        }
        if start.elapsed() > PATIENCE {
            return Err(TimedOut { what: what.to_owned() });
        }
        tokio::time::sleep(PAUSE).await;
    }
}
