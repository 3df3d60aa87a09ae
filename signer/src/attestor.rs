//! Signs what the journal durably is, about once a second while it grows and at once after each
//! change of what is in force, and keeps the newest checkpoint beside the journal.
//!
//! Nobody waits for it: a stop that is acknowledged is durable, and its checkpoint follows as soon
//! as the token signs. A token that hangs must not keep a stop from being acknowledged. What lies
//! above the newest checkpoint is what somebody who has the disk can take away unseen.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B128;
use parking_lot::Mutex;
use portcullis_policy::note::{Checkpoint, Note};
use portcullis_policy::record::Environment;
use portcullis_policy::state::CheckpointKey;
use tokio::sync::watch;

use crate::hsm::{Hsm, HsmError, causes};
use crate::journal::{Places, StorageError};
use crate::keys::rand_bytes;
use crate::refusal::Refusal;
use crate::sequencer::{CheckpointKeyStep, Sequencer};
use crate::witness::{AGAIN_EVERY, Follower, PAUSE};

/// A signed checkpoint that was kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attested {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// It, signed.
    pub note: Note,
}

/// Signs checkpoints.
pub struct Attestor {
    sequencer: Sequencer,
    token: Arc<Hsm>,
    places: tokio::sync::Mutex<Places>,
    newest: watch::Sender<Option<Arc<Attested>>>,
    trouble: Mutex<Option<String>>,
    follower: Option<Follower>,
}

/// Why there is no key for checkpoints.
#[derive(Debug, thiserror::Error)]
enum NoKey {
    #[error(transparent)]
    Token(#[from] HsmError),
    #[error(transparent)]
    Record(#[from] Refusal),
}

impl Attestor {
    /// Joins the parts.
    pub fn new(
        sequencer: Sequencer,
        token: Arc<Hsm>,
        places: Places,
        follower: Option<Follower>,
    ) -> Self {
        Self {
            sequencer,
            token,
            places: tokio::sync::Mutex::new(places),
            newest: watch::Sender::new(None),
            trouble: Mutex::default(),
            follower,
        }
    }

    /// Makes the vault's key for checkpoints, if it has none: intent on record, then the token,
    /// then the outcome on record. A token that cannot leaves the journal unattested, and that is
    /// said.
    pub async fn prepare(&self) {
        // Before there is a key: a file that is missing although there is one was taken away.
        if let Err(error) = self.places.lock().await.make() {
            tracing::error!(%error, "there is no room for checkpoints");
            *self.trouble.lock() = Some(format!("no checkpoint can be kept: {error}"));
            return;
        }
        if self.key().is_some() {
            return;
        }
        if let Err(error) = self.make_key().await {
            let why = causes(&error);
            tracing::error!(%why, "there is no key for checkpoints");
            *self.trouble.lock() = Some(format!("no key for checkpoints could be made: {why}"));
        }
    }

    async fn make_key(&self) -> Result<(), NoKey> {
        let kind = self.token.checkpoint_kind()?;
        let object = B128::from(rand_bytes()?);
        self.sequencer.checkpoint_key(CheckpointKeyStep::Intended(object)).await?;
        let key = self.token.create_checkpoint_key(object, kind).await?;
        self.sequencer.checkpoint_key(CheckpointKeyStep::Made(object, key)).await?;
        tracing::info!(?kind, "a key for checkpoints was made in the token");
        Ok(())
    }

    fn key(&self) -> Option<CheckpointKey> {
        self.sequencer.view().checkpoints.made.clone()
    }

    /// Follows the journal, and has it witnessed, for as long as it is let.
    ///
    /// # Errors
    ///
    /// A checkpoint cannot be kept: like every fault of the disk this ends the process.
    pub async fn run(self: Arc<Self>) -> StorageError {
        tokio::select! {
            error = self.follow() => error,
            error = self.be_witnessed() => error,
        }
    }

    /// Hands what is kept to the witness: each time there is something new, and from time to time.
    async fn be_witnessed(&self) -> StorageError {
        let Some(follower) = &self.follower else { return pending().await };
        let mut kept = self.newest.subscribe();
        loop {
            let newest = kept.borrow_and_update().clone();
            let asked = newest.as_ref().map(|newest| newest.checkpoint.clone());
            if let Some(newest) = newest
                && let Some(note) = follower.cosigned(&newest).await
                && let Err(error) = self.keep_cosigned(&newest.checkpoint, note).await
            {
                tracing::error!(%error, "a cosignature could not be kept");
                return error;
            }
            tokio::time::sleep(PAUSE).await;
            // The note with its cosignature is no other checkpoint.
            let other = |newest: &Option<Arc<Attested>>| {
                newest.as_ref().map(|newest| &newest.checkpoint) != asked.as_ref()
            };
            drop(tokio::time::timeout(AGAIN_EVERY, kept.wait_for(other)).await);
        }
    }

    /// Keeps a checkpoint with its cosignature, unless a newer one is kept already.
    async fn keep_cosigned(&self, of: &Checkpoint, note: Note) -> Result<(), StorageError> {
        let mut places = self.places.lock().await;
        if self.newest.borrow().as_ref().is_none_or(|newest| newest.checkpoint != *of) {
            return Ok(());
        }
        tokio::task::block_in_place(|| places.write(&note.to_string()))?;
        self.newest.send_replace(Some(Arc::new(Attested { checkpoint: of.clone(), note })));
        Ok(())
    }

    async fn follow(&self) -> StorageError {
        let (mut changes, mut head) = (self.sequencer.changes(), self.sequencer.head());
        loop {
            changes.mark_unchanged();
            head.mark_unchanged();
            if let Err(error) = self.attest().await {
                tracing::error!(%error, "a checkpoint could not be kept");
                return error;
            }
            // However often something changes.
            tokio::time::sleep(AT_MOST_EVERY).await;
            // What the token refused is asked for again, also if nothing is recorded meanwhile.
            let troubled = self.trouble.lock().is_some() && self.key().is_some();
            let grown = async {
                tokio::time::sleep(if troubled { AGAIN_AFTER } else { ABOUT_EVERY }).await;
                if troubled { Ok(()) } else { head.changed().await }
            };
            let ended = tokio::select! {
                changed = changes.changed() => changed,
                grown = grown => grown,
            };
            if ended.is_err() {
                // The sequencer is gone, and the process about to be.
                return pending().await;
            }
        }
    }

    /// Signs the journal as it is now and keeps that, unless it was signed before. A token that
    /// would not is asked again the next time.
    ///
    /// # Errors
    ///
    /// The checkpoint cannot be kept.
    pub async fn attest(&self) -> Result<(), StorageError> {
        let Some(key) = self.key() else { return Ok(()) };
        // One at a time, in order: an older one must not come to stand over a newer one.
        let mut places = self.places.lock().await;
        let root = self.sequencer.durable_root();
        let checkpoint = root.checkpoint();
        if self.newest.borrow().as_ref().is_some_and(|newest| newest.checkpoint == checkpoint) {
            return Ok(());
        }
        let note = match self.token.sign_checkpoint(root, key).await {
            Ok(note) => note,
            Err(error) => {
                let why = causes(&error);
                tracing::warn!(%why, "no checkpoint was signed");
                *self.trouble.lock() = Some(format!("no checkpoint is signed: {why}"));
                return Ok(());
            }
        };
        match tokio::task::block_in_place(|| places.write(&note.to_string())) {
            // No fault of the disk: stops are taken all the same, and it is tried again.
            Err(error @ (StorageError::NoSpace | StorageError::TooLarge { .. })) => {
                *self.trouble.lock() = Some(format!("no checkpoint can be kept: {error}"));
                return Ok(());
            }
            written => written?,
        }
        *self.trouble.lock() = None;
        self.newest.send_replace(Some(Arc::new(Attested { checkpoint, note })));
        Ok(())
    }

    /// The newest one that was kept since the start; `None`: there is none yet.
    pub fn newest(&self) -> Option<Arc<Attested>> {
        self.newest.borrow().clone()
    }

    /// What needs attention, a line each.
    pub fn troubles(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.trouble.lock().iter().cloned().collect();
        match &self.follower {
            Some(follower) => lines.extend(follower.troubles()),
            None if self.sequencer.view().environment == Environment::Production => {
                lines.push(NO_WITNESS.to_owned());
            }
            None => {}
        }
        lines
    }
}

/// Whoever has the disk can put an older one back.
const NO_WITNESS: &str = "no witness is configured: nobody elsewhere notices a disk that is rolled \
    back, or a second signer on a copy ([witness])";

/// While the journal grows.
const ABOUT_EVERY: Duration = Duration::from_secs(1);

/// After the token would not.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// However often something changes.
const AT_MOST_EVERY: Duration = Duration::from_millis(20);
