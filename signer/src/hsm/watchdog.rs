//! Tells when calls that do not come out of the module have kept everybody from signing for so long
//! that only a fresh process helps: a thread inside foreign code cannot be stopped, and the module
//! cannot be loaded again around it.

use std::time::Duration;

use super::Hsm;
use crate::clock::monotonic;

impl Hsm {
    /// Comes back once nothing could be signed for `hung_max`, because of calls that hang.
    pub async fn hung(&self) {
        let mut since = None;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            since = self.is_hung().then(|| since.unwrap_or_else(monotonic));
            if since.is_some_and(|since| monotonic().saturating_sub(since) >= self.hung_max) {
                return;
            }
        }
    }

    /// A token that is gone is not hung: it may come back, and the process can wait for it.
    fn is_hung(&self) -> bool {
        let pools = [&self.keeping, &self.fencing, &self.attesting].map(|pool| pool.census().stuck);
        let stuck = pools.iter().any(|stuck| *stuck > 0) || self.signing.census().stuck > 0;
        stuck && !self.signing.admits()
    }
}

/// Often enough for a wait of seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);
