//! Keeps a marker in the token that says how far the journal has come, and holds the journal against
//! it at the start: a data folder from before a stop, or from before money was spent, stops
//! everything.
//!
//! The token is told after every change of what is in force, and now and then as signatures are
//! recorded. What lies between the marker and the journal's end can be lost unseen.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use portcullis_policy::id::Sequence;
use portcullis_policy::record::{Actor, Frozen};
use portcullis_policy::stops::Scope;

use crate::hsm::{Hsm, HsmError, causes};
use crate::sequencer::Sequencer;

/// Tells the token.
pub struct Marker {
    sequencer: Sequencer,
    token: Arc<Hsm>,
    told: Mutex<Told>,
}

/// What came of it last.
#[derive(Default)]
struct Told {
    sequence: Sequence,
    trouble: Option<String>,
    /// The journal was found to end before the marker.
    behind: Option<String>,
}

impl Marker {
    /// Joins the parts.
    pub fn new(sequencer: Sequencer, token: Arc<Hsm>) -> Self {
        Self { sequencer, token, told: Mutex::default() }
    }

    /// Stops everything if the journal, as it was opened, ends before the marker.
    ///
    /// # Errors
    ///
    /// The token cannot be read: then nobody knows.
    pub async fn check(&self, opened: Sequence) -> Result<(), HsmError> {
        let view = self.sequencer.view();
        let Some(marked) = self.token.marker(view.vault).await? else { return Ok(()) };
        self.told.lock().sequence = marked;
        if marked <= opened {
            return Ok(());
        }
        let reason = format!(
            "the data folder is from before: its journal ended at record {opened}, and the token has \
             heard of record {marked}"
        );
        tracing::error!("{reason}: everything is stopped");
        self.told.lock().behind = Some(reason.clone());
        if !view.stops.iter().any(|stop| *stop == Scope::All) {
            let frozen = Frozen { by: Actor::Signer, reason, scope: Scope::All };
            self.sequencer.freeze(frozen).await;
        }
        Ok(())
    }

    /// Follows every change for as long as it is let.
    pub async fn run(self: Arc<Self>) {
        let mut changes = self.sequencer.changes();
        loop {
            changes.mark_unchanged();
            self.tell().await;
            // Not more often, however often something changes: every marker is a write to flash.
            tokio::time::sleep(TOLD_AT_MOST_EVERY).await;
            if let Ok(Err(_)) = tokio::time::timeout(TOLD_AT_LEAST_EVERY, changes.changed()).await {
                return;
            }
        }
    }

    async fn tell(&self) {
        let head = self.sequencer.head().borrow().sequence;
        if self.told.lock().sequence == head {
            return;
        }
        let told = self.token.mark(self.sequencer.view().vault, head).await;
        let mut last = self.told.lock();
        match told {
            Ok(()) => (last.sequence, last.trouble) = (head, None),
            Err(error) => {
                let why = causes(&error);
                tracing::warn!(%why, "the token was not told how far the journal has come");
                last.trouble = Some(why);
            }
        }
    }

    /// The last record that the token has heard of.
    pub fn sequence(&self) -> Sequence {
        self.told.lock().sequence
    }

    /// What needs attention, a line each.
    pub fn troubles(&self) -> Vec<String> {
        let told = self.told.lock();
        let refused = told.trouble.as_ref().map(|why| {
            format!(
                "the token keeps no marker, so a data folder from before would not be noticed: {why}"
            )
        });
        told.behind.iter().cloned().chain(refused).collect()
    }
}

/// After a change.
const TOLD_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// While nothing but signatures is recorded.
const TOLD_AT_LEAST_EVERY: Duration = Duration::from_secs(600);
