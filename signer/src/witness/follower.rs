//! The signer's side: hands each kept checkpoint to the witness, and stops everything when the
//! witness knows of a journal that is not ours.
//!
//! Nobody waits for it. A witness that hangs, lies or is gone costs a line in the status.

use std::time::Duration;

use parking_lot::Mutex;
use portcullis_policy::note::{Checkpoint, Note};
use portcullis_policy::record::{Actor, Frozen};
use portcullis_policy::stops::Scope;
use portcullis_policy::submission::Submission;
use portcullis_policy::time::Millis;

use super::remote::{Answer, Remote};
use crate::attestor::Attested;
use crate::clock;
use crate::hsm::causes;
use crate::proofs::Proofs;
use crate::sequencer::Sequencer;

/// Follows one journal to one witness.
pub struct Follower {
    remote: Remote,
    sequencer: Sequencer,
    proofs: Proofs,
    told: Mutex<Told>,
}

/// What the witness told us.
struct Told {
    /// The size that it cosigned last, as far as we know.
    known: u64,
    /// Since when there is no newer cosignature, on the boot clock.
    since: Millis,
    /// The newest cosignature's own time.
    seconds: Option<u64>,
    trouble: Option<String>,
    /// What everything was stopped for.
    alarm: Option<String>,
}

impl Follower {
    /// To this witness.
    pub fn new(remote: Remote, sequencer: Sequencer, proofs: Proofs) -> Self {
        let since = clock::boot();
        let told = Told { known: 0, since, seconds: None, trouble: None, alarm: None };
        Self { remote, sequencer, proofs, told: Mutex::new(told) }
    }

    /// Asks for a cosignature, up to three times: the first answer may be how far the witness is.
    /// `None`: there is none now.
    pub async fn cosigned(&self, newest: &Attested) -> Option<Note> {
        for _ in 0..ROUNDS_MAX {
            let old = self.told.lock().known.min(newest.checkpoint.size);
            let path = match self.path(old, &newest.checkpoint).await {
                Ok(path) => path,
                Err(why) => {
                    self.told.lock().trouble = Some(why);
                    return None;
                }
            };
            let submission = Submission { old, path, note: newest.note.clone() };
            match self.remote.submit(&submission).await {
                Ok(Answer::Cosigned { note, seconds }) => {
                    let mut told = self.told.lock();
                    told.known = newest.checkpoint.size;
                    (told.since, told.seconds) = (clock::boot(), Some(seconds));
                    told.trouble = None;
                    return Some(note);
                }
                Ok(Answer::Other(size)) => {
                    let head = self.sequencer.head().borrow().sequence.0;
                    self.told.lock().known = size;
                    if let Some(reason) = conflict(old, size, head) {
                        self.stop(reason).await;
                        return None;
                    }
                    // Cosigned of this very journal, and more than the checkpoint in hand.
                    if size > newest.checkpoint.size {
                        return None;
                    }
                }
                Ok(Answer::Inconsistent) => {
                    self.stop(another(old)).await;
                    return None;
                }
                Err(error) => {
                    self.told.lock().trouble = Some(causes(&error));
                    return None;
                }
            }
        }
        None
    }

    async fn path(
        &self,
        old: u64,
        checkpoint: &Checkpoint,
    ) -> Result<Vec<alloy_primitives::B256>, String> {
        if old == 0 {
            return Ok(Vec::new());
        }
        let (proofs, new) = (self.proofs.clone(), checkpoint.size);
        let proof = tokio::task::spawn_blocking(move || proofs.consistency(old, new)).await;
        match proof {
            Ok(Ok(Some(proof))) => Ok(proof.path),
            Ok(Ok(None)) => Err("the journal cannot be proved to continue what it knows".into()),
            Ok(Err(error)) => Err(causes(&error)),
            Err(error) => Err(causes(&error)),
        }
    }

    /// Once in a process: people who have looked and thawed are not stopped again at once.
    async fn stop(&self, reason: String) {
        {
            let mut told = self.told.lock();
            if told.alarm.is_some() {
                return;
            }
            told.alarm = Some(reason.clone());
        }
        tracing::error!(%reason, "everything is stopped");
        let stop = Frozen { by: Actor::Signer, reason, scope: Scope::All };
        let stopped = self.sequencer.freeze(stop).await;
        tracing::error!(recorded = stopped.sequence.is_some(), "everything is stopped");
    }

    /// What needs attention, a line each.
    pub fn troubles(&self) -> Vec<String> {
        let told = self.told.lock();
        let mut lines: Vec<String> = told.alarm.iter().cloned().collect();
        let waited = clock::boot().0.saturating_sub(told.since.0).checked_div(1_000).unwrap_or(0);
        let now = clock::wall().0.checked_div(1_000).unwrap_or(0);
        let age = told.seconds.map_or(waited, |seconds| now.saturating_sub(seconds).max(waited));
        if age > OLD_SECONDS {
            let why = told.trouble.as_deref().unwrap_or("it did not say why");
            let what = if told.seconds.is_some() { "the newest is" } else { "none since" };
            lines.push(format!("witness: no new cosignature: {what} {age} seconds ago: {why}"));
        }
        lines
    }
}

/// Whether what the witness cosigned is not of this journal. It was asked with a size, told
/// another, and we have so many records.
fn conflict(old: u64, told: u64, head: u64) -> Option<String> {
    if told > head {
        return Some(format!(
            "the witness cosigned a journal of {told} records, and here are {head}: the disk was \
             rolled back, or another signer runs on a copy"
        ));
    }
    // It knows that size, and of another journal.
    (told == old && old > 0).then(|| another(old))
}

fn another(old: u64) -> String {
    format!(
        "the witness cosigned another journal of {old} records: the disk was rolled back, or \
         another signer runs on a copy"
    )
}

/// How often a checkpoint is cosigned again while nothing is recorded.
pub const AGAIN_EVERY: Duration = Duration::from_secs(20);

/// However fast the journal grows, and however often it fails.
pub const PAUSE: Duration = Duration::from_secs(1);

/// The first may be told how far the witness is.
const ROUNDS_MAX: usize = 3;

/// Three times as long as the witness is left alone.
const OLD_SECONDS: u64 = 60;

#[cfg(test)]
mod tests;
