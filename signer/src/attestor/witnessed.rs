//! Has what is kept cosigned by the witness, one checkpoint at a time.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Attested, Attestor};
use crate::journal::StorageError;
use crate::witness::{Follower, Turn};

impl Attestor {
    /// Hands what is kept to the witness: each time there is something new, and from time to time.
    pub(super) async fn be_witnessed(&self) -> StorageError {
        let Some(follower) = &self.follower else { return pending().await };
        tokio::select! {
            error = self.hand_over_each(follower) => error,
            never = follower.watch_growth() => match never {},
        }
    }

    async fn hand_over_each(&self, follower: &Follower) -> StorageError {
        let mut kept = self.newest.subscribe();
        loop {
            let newest = kept.borrow_and_update().clone();
            if let Some(newest) = &newest {
                let pace = match self.hand_over(follower, newest).await {
                    Ok(turn) => follower.pace(&turn),
                    Err(error) => {
                        tracing::error!(%error, "a cosignature could not be kept");
                        return error;
                    }
                };
                tokio::time::sleep(pace.pause).await;
                self.answered.send_replace(newest.checkpoint.size);
                // The note with its cosignature is no other checkpoint.
                let other = |now: &Option<Arc<Attested>>| {
                    now.as_ref().is_none_or(|now| now.checkpoint != newest.checkpoint)
                };
                drop(timeout(pace.again, kept.wait_for(other)).await);
            } else if kept.wait_for(Option::is_some).await.is_err() {
                return pending().await;
            }
        }
    }

    /// Signs what is durable and asks the witness for it once, within a bound: at a start, so that
    /// a disk that was rolled back is stopped before anybody can ask for anything, and at an end,
    /// so that what is recorded last is known elsewhere.
    pub async fn ask_once(&self) {
        let Some(follower) = &self.follower else { return };
        // A token that signs no checkpoint, or a hold, must not hide another journal.
        let durable = self.sequencer.durable_root().checkpoint();
        let (attested, looked) = tokio::join!(
            timeout(ONCE_MAX, self.attest()),
            timeout(ONCE_MAX, follower.look(&durable)),
        );
        if attested.is_err() {
            tracing::warn!("the token has signed no checkpoint in time");
        }
        let asking = async {
            attested.unwrap_or(Ok(()))?;
            match self.newest() {
                Some(newest) => self.hand_over(follower, &newest).await.map(drop),
                None => Ok(()),
            }
        };
        let asked = timeout(ONCE_MAX, asking).await;
        if looked.is_err() || asked.is_err() {
            tracing::warn!("the witness has not answered in time");
        }
        if let Ok(Err::<(), StorageError>(error)) = asked {
            tracing::error!(%error, "a checkpoint could not be kept");
        }
    }

    /// Whatever is recorded while the witness is asked comes under the next checkpoint.
    pub(super) async fn newest_answered(&self) {
        let newest = self.newest().map_or(0, |newest| newest.checkpoint.size);
        let mut answered = self.answered.subscribe();
        drop(answered.wait_for(|size| *size >= newest).await);
    }

    async fn hand_over(
        &self,
        follower: &Follower,
        newest: &Arc<Attested>,
    ) -> Result<Turn, StorageError> {
        let turn = follower.cosigned(newest).await;
        if let Turn::Cosigned(note) = &turn {
            let checkpoint = newest.checkpoint.clone();
            let cosigned = Attested { checkpoint, note: note.clone() };
            *self.cosigned.lock() = Some(Arc::new(cosigned.clone()));
            self.keep_cosigned(cosigned).await?;
        }
        Ok(turn)
    }

    /// Keeps a checkpoint with its cosignature, unless a newer one is kept already.
    async fn keep_cosigned(&self, cosigned: Attested) -> Result<(), StorageError> {
        let mut places = self.places.lock().await;
        let newest = self.newest();
        if newest.is_none_or(|newest| newest.checkpoint != cosigned.checkpoint) {
            return Ok(());
        }
        self.keep(&mut places, cosigned)
    }
}

/// How long a start or an end waits: more than a witness takes that answers.
const ONCE_MAX: Duration = Duration::from_secs(5);
