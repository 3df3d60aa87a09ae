//! Tells when calls that do not come out of the module have kept somebody from the token for so
//! long that only a fresh process helps: a thread inside foreign code cannot be stopped, and the
//! module cannot be loaded again around it.

use std::time::Duration;

use super::Hsm;
use crate::clock::monotonic;

impl Hsm {
    /// Comes back once one and the same thing could not be done for `hung_max`, because of calls
    /// that hang, and a fresh process would not send a PIN that was refused.
    pub async fn hung(&self) {
        let mut since = [None; 5];
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = monotonic();
            for (since, hangs) in since.iter_mut().zip(self.what_hangs()) {
                *since = hangs.then(|| since.unwrap_or(now));
            }
            let longest = since.iter().flatten().map(|since| now.saturating_sub(*since)).max();
            if longest.is_some_and(|time| time >= self.hung_max) && self.may_start_anew() {
                return;
            }
        }
    }

    /// Each pool for itself, and the module. A token that is gone does not hang: it may come back,
    /// and the process can wait for it.
    fn what_hangs(&self) -> [bool; 5] {
        [
            self.signing.is_hung(),
            self.keeping.is_hung(),
            self.fencing.is_hung(),
            self.attesting.is_hung(),
            self.token.is_reloading(),
        ]
    }

    /// A process that starts sends the PIN in its file, whatever this one knows of it.
    fn may_start_anew(&self) -> bool {
        !self.token.has_a_refused_pin()
    }
}

/// Often enough for a wait of seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);
