//! Signs what the journal durably is, about once a second while it grows and at once after each
//! change of what is in force, and keeps the newest checkpoint beside the journal.
//!
//! Nobody waits for it: a stop that is acknowledged is durable, and its checkpoint follows as soon
//! as the token signs. A token that hangs must not keep a stop from being acknowledged. What lies
//! above the newest checkpoint is what somebody who has the disk can take away unseen.
//!
//! Where signatures wait for the witness's word, one is signed as soon as there is anything new and
//! the one before was answered.

mod witnessed;

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B128;
use parking_lot::Mutex;
use portcullis_policy::id::Sequence;
use portcullis_policy::note::{Checkpoint, Note};
use portcullis_policy::record::Environment;
use portcullis_policy::state::CheckpointKey;
use tokio::sync::watch;

use crate::hsm::{Hsm, HsmError, causes};
use crate::journal::{Places, StorageError};
use crate::keys::rand_bytes;
use crate::refusal::Refusal;
use crate::sequencer::{CheckpointKeyStep, Sequencer};
use crate::witness::{Cover, Follower, Mode};

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
    /// One is signed at a time, in order. Not held while one is kept, nor the other way round: a
    /// token that hangs must not hold up what is there already.
    signing: tokio::sync::Mutex<()>,
    places: tokio::sync::Mutex<Places>,
    newest: watch::Sender<Option<Arc<Attested>>>,
    /// The newest one with a cosignature, which may be older.
    cosigned: Mutex<Option<Arc<Attested>>>,
    trouble: Mutex<Option<String>>,
    follower: Option<Follower>,
    cover: Arc<Cover>,
    /// The size that the witness was asked for last, and has answered.
    answered: watch::Sender<u64>,
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
        let cover = follower.as_ref().map(|follower| follower.cover().clone());
        Self {
            sequencer,
            token,
            signing: tokio::sync::Mutex::default(),
            places: tokio::sync::Mutex::new(places),
            newest: watch::Sender::new(None),
            cosigned: Mutex::default(),
            trouble: Mutex::default(),
            follower,
            cover: cover.unwrap_or_else(|| Arc::new(Cover::new(Mode::Off))),
            answered: watch::Sender::default(),
        }
    }

    /// What the witness's cosignatures cover.
    pub fn cover(&self) -> Arc<Cover> {
        self.cover.clone()
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
            return;
        }
        *self.trouble.lock() = None;
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
            never = self.come_by_a_key() => match never {},
        }
    }

    /// A token that could make no key at the start may do so later. Each try leaves an intent on
    /// record, so that they become rare.
    async fn come_by_a_key(&self) -> Infallible {
        let mut pause = KEY_AGAIN_AFTER;
        while self.key().is_none() {
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(KEY_AGAIN_AT_LEAST_EVERY);
            self.prepare().await;
        }
        pending().await
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
            let is_fenced = self.cover.mode() == Mode::Fence;
            tokio::time::sleep(if is_fenced { FENCED_EVERY } else { AT_MOST_EVERY }).await;
            // What the token refused is asked for again, also if nothing is recorded meanwhile.
            let troubled = self.trouble.lock().is_some() && self.key().is_some();
            let grown = async {
                match (troubled, is_fenced) {
                    (true, _) => {
                        let pause = if is_fenced { FENCED_AGAIN_AFTER } else { AGAIN_AFTER };
                        tokio::time::sleep(pause).await;
                        return Ok(());
                    }
                    (false, false) => tokio::time::sleep(ABOUT_EVERY).await,
                    (false, true) => self.newest_answered().await,
                }
                head.changed().await
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
        // An older one must not come to stand over a newer one.
        let _in_order = self.signing.lock().await;
        let root = self.sequencer.durable_root();
        let checkpoint = root.checkpoint();
        if self.newest.borrow().as_ref().is_some_and(|newest| newest.checkpoint == checkpoint) {
            self.cover.unsigned(false);
            return Ok(());
        }
        let note = match self.token.sign_checkpoint(root, key).await {
            Ok(note) => note,
            Err(error) => {
                self.troubled(format!("no checkpoint is signed: {}", causes(&error)));
                return Ok(());
            }
        };
        let mut places = self.places.lock().await;
        self.keep(&mut places, Attested { checkpoint, note })
    }

    /// Keeps one as the newest.
    fn keep(&self, places: &mut Places, attested: Attested) -> Result<(), StorageError> {
        match tokio::task::block_in_place(|| places.write(&attested.note.to_string())) {
            // No fault of the disk: stops are taken all the same, and it is tried again.
            Err(error @ (StorageError::NoSpace | StorageError::TooLarge { .. })) => {
                self.troubled(format!("no checkpoint can be kept: {error}"));
                return Ok(());
            }
            written => written?,
        }
        *self.trouble.lock() = None;
        self.cover.unsigned(false);
        self.newest.send_replace(Some(Arc::new(attested)));
        Ok(())
    }

    /// What is recorded now waits for a checkpoint that is not there. Asked often, it says so once.
    fn troubled(&self, line: String) {
        self.cover.unsigned(true);
        let mut trouble = self.trouble.lock();
        if trouble.as_ref() != Some(&line) {
            tracing::warn!("{line}");
        }
        *trouble = Some(line);
    }

    /// The newest one that was kept since the start; `None`: there is none yet.
    pub fn newest(&self) -> Option<Arc<Attested>> {
        self.newest.borrow().clone()
    }

    /// One that covers a record, with a cosignature if there is such a one.
    pub fn covering(&self, at: Sequence) -> Option<Arc<Attested>> {
        let covers = |one: &Arc<Attested>| one.checkpoint.size >= at.0;
        let cosigned = self.cosigned.lock().clone();
        cosigned.filter(covers).or_else(|| self.newest().filter(covers))
    }

    /// What needs attention, a line each.
    pub fn troubles(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.trouble.lock().iter().cloned().collect();
        let is_production = self.sequencer.view().environment == Environment::Production;
        match &self.follower {
            Some(follower) => lines.extend(follower.troubles()),
            None if is_production => lines.push(NO_WITNESS.to_owned()),
            None => {}
        }
        if is_production && self.follower.is_some() && self.cover.mode() == Mode::Off {
            lines.push(WAITS_FOR_NONE.to_owned());
        }
        lines
    }

    /// How many records are cosigned, and since how many seconds; `None`: there is no cosignature.
    pub fn cosigned(&self) -> Option<(u64, u64)> {
        self.cover.newest()
    }

    /// Why nothing is signed, if the witness keeps it.
    pub fn blocking(&self) -> Option<String> {
        let why = self.cover.ready().err()?;
        Some(format!("{why}: nothing is signed ([witness] mode)"))
    }
}

/// Whoever has the disk can put an older one back.
const NO_WITNESS: &str = "no witness is configured: nobody elsewhere notices a disk that is rolled \
    back, or a second signer on a copy ([witness])";

/// What it cannot do then.
const WAITS_FOR_NONE: &str = "no signature waits for the witness: a disk that is rolled back is \
    noticed, and signs until then ([witness] mode = \"lag\" or \"fence\")";

/// After no key could be made for the first time, and after many times.
const KEY_AGAIN_AFTER: Duration = Duration::from_secs(30);
const KEY_AGAIN_AT_LEAST_EVERY: Duration = Duration::from_secs(3_600);

/// While the journal grows.
const ABOUT_EVERY: Duration = Duration::from_secs(1);

/// After the token would not.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The same where nothing is signed meanwhile.
const FENCED_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// However often something changes.
const AT_MOST_EVERY: Duration = Duration::from_millis(20);

/// The same where signatures wait for it: what is recorded in this time comes under one.
const FENCED_EVERY: Duration = Duration::from_millis(1);
