//! Stops everything, because the journal is not what it was taken for.

use std::sync::Arc;

use portcullis_policy::record::{Actor, Frozen};
use portcullis_policy::stops::Scope;
use tokio::runtime::Handle;

use super::Progress;
use crate::sequencer::Sequencer;

/// What outlives the thread, also if that panics.
#[derive(Clone)]
pub(super) struct Alarm {
    pub(super) progress: Arc<Progress>,
    pub(super) sequencer: Sequencer,
    pub(super) runtime: Handle,
}

impl Alarm {
    /// Nothing that was decided on this journal can be relied on.
    pub(super) fn ring(&self, why: &str) {
        let reason = format!("the journal does not verify: {why}");
        tracing::error!("{reason}: everything is stopped");
        self.progress.mismatches(format!(
            "{reason}; restore the data folder, all of it from one place, and let people decide \
             what to start again"
        ));
        let frozen = Frozen { by: Actor::Signer, reason, scope: Scope::All };
        let stopped = self.runtime.block_on(self.sequencer.freeze(frozen));
        if stopped.sequence.is_none() {
            tracing::error!("everything is stopped, and that could not be recorded");
        }
    }
}
