//! Removes keys from the token once enough people have agreed to it, and writes down what proves
//! that they are gone.
//!
//! The record of the agreement is the intent, so it is durable before anything is touched; until an
//! answer is on record the removal is done again, which finds nothing left if it was done before.

use std::sync::Arc;
use std::time::Duration;

use portcullis_policy::id::{KeyId, Sequence};
use portcullis_policy::record::{Absence, DestroyAnswered, Destruction};
use portcullis_policy::state::Tomb;

use crate::hsm::{Doomed, Hsm, Removal};
use crate::sequencer::{Sequencer, View};
use crate::signature::PublicPoint;

/// Removes keys.
pub struct Remover {
    sequencer: Sequencer,
    token: Arc<Hsm>,
    backups: Vec<String>,
}

impl Remover {
    /// Joins the parts. `backups` are copies of the token that the operator says there are.
    pub fn new(sequencer: Sequencer, token: Arc<Hsm>, backups: Vec<String>) -> Self {
        Self { sequencer, token, backups }
    }

    /// Follows every change for as long as it is let.
    pub async fn run(self) {
        let mut changes = self.sequencer.changes();
        loop {
            changes.mark_unchanged();
            let view = self.sequencer.view();
            let due = view.tombs.iter().filter(|(_, tomb)| !tomb.is_closed());
            for (key, tomb) in due {
                self.remove(&view, *key, tomb).await;
            }
            if let Ok(Err(_)) = tokio::time::timeout(ASKED_AGAIN_EVERY, changes.changed()).await {
                return;
            }
        }
    }

    async fn remove(&self, view: &View, key: KeyId, tomb: &Tomb) {
        let Some(doomed) = doomed(view, key) else {
            let why = "its pinned point cannot be understood".to_owned();
            return self.answer(key, tomb.intent, Destruction::Refused(why)).await;
        };
        let answer = match self.token.destroy(doomed).await {
            Ok(Removal::Gone(objects)) => Destruction::Gone(self.absence(objects)),
            Ok(Removal::Refused(why)) => {
                tracing::error!(%key, %why, "the token did not remove a key");
                Destruction::Refused(why)
            }
            Err(error) => {
                tracing::error!(%key, %error, "the token could not be told to remove a key");
                return;
            }
        };
        self.answer(key, tomb.intent, answer).await;
    }

    async fn answer(&self, key: KeyId, intent: Sequence, answer: Destruction) {
        let gone = matches!(answer, Destruction::Gone(_));
        let answered = DestroyAnswered { answer, intent, key };
        match self.sequencer.removal_answered(answered).await {
            Ok(()) if gone => tracing::warn!(%key, "key removed from the token"),
            Ok(()) => {}
            Err(refusal) => {
                tracing::error!(%key, ?refusal, "the token's answer could not be written down");
            }
        }
    }

    fn absence(&self, objects: u64) -> Absence {
        let (backups, grade) = (self.backups.clone(), self.token.grade());
        Absence { backups, grade, objects, token: self.token.facts().name() }
    }
}

fn doomed(view: &View, id: KeyId) -> Option<Doomed> {
    let key = view.keys.get(&id)?;
    let point = hex::decode(&key.point).ok()?;
    let point = PublicPoint::try_from(&point[..]).ok()?;
    Some(Doomed { id, label: key.label.to_string(), point: Some(Arc::new(point)) })
}

/// Refused is not for ever: somebody may have mended the token.
const ASKED_AGAIN_EVERY: Duration = Duration::from_secs(60);
