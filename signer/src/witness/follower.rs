//! The signer's side: hands each kept checkpoint to the witness, and stops everything when it is
//! proved that there is another journal than ours.
//!
//! A witness that hangs, lies or is gone stops nothing by that. Whether signatures wait for it, the
//! [`Cover`] says.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use parking_lot::Mutex;
use portcullis_policy::note::{Checkpoint, Note};
use portcullis_policy::record::{Actor, Frozen};
use portcullis_policy::stops::Scope;
use portcullis_policy::submission::Submission;
use portcullis_policy::time::Millis;

use super::cover::{Cover, Mode};
use super::evidence::{Weighed, weigh};
use super::remote::{Answer, Remote};
use crate::attestor::Attested;
use crate::clock;
use crate::hsm::causes;
use crate::journal::Kept;
use crate::proofs::Proofs;
use crate::sequencer::Sequencer;

/// Follows one journal to one witness.
pub struct Follower {
    remote: Remote,
    sequencer: Sequencer,
    proofs: Proofs,
    cover: Arc<Cover>,
    told: Mutex<Told>,
}

/// What came of asking.
#[derive(Debug)]
#[must_use]
pub enum Turn {
    /// It cosigned: the note with the cosignature.
    Cosigned(Note),
    /// It did not, and may if it is asked again.
    Nothing,
    /// It says that it knows of another journal.
    Contradicted,
}

/// When the witness is asked next.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Not before this.
    pub pause: Duration,
    /// From then on when there is another checkpoint, and after this if there is none.
    pub again: Duration,
}

/// What the witness told us.
#[derive(Default)]
struct Told {
    /// The size that it cosigned last, as it says: worth trying, and nothing more.
    hint: u64,
    /// The largest size of which we have its cosignature.
    cosigned: u64,
    /// Since when there is no newer cosignature, on the boot clock.
    since: Millis,
    /// The newest cosignature's own time.
    seconds: Option<u64>,
    /// What its own time is on the boot clock, at the earliest.
    first: Option<First>,
    /// The largest checkpoint that it was asked for, and when it was asked for that first.
    handed: Option<(u64, Millis)>,
    /// Why there is no newer one.
    trouble: Option<String>,
    /// What it says and does not prove.
    doubt: Option<String>,
    /// What everything was stopped for.
    alarm: Option<String>,
    /// What proved it since it cosigned last: people who thawed are not stopped for it again.
    proofs: BTreeSet<(u64, B256)>,
    /// What it must have forgotten.
    forgotten: Option<String>,
}

/// A cosignature, held against which later ones are as young as their own time says.
#[derive(Clone, Copy)]
struct First {
    /// When it was made, on the boot clock, at the earliest.
    asked: Millis,
    /// Its own time.
    seconds: u64,
}

impl Told {
    fn hand_over(&mut self, size: u64, now: Millis) {
        if self.handed.is_none_or(|(largest, _)| size > largest) {
            self.handed = Some((size, now));
        }
    }

    /// When it was asked for this one first, if it was noted.
    fn handed_over(&self, size: u64, asked: Millis) -> Millis {
        self.handed.filter(|(of, _)| *of == size).map_or(asked, |(_, first)| first)
    }
}

impl First {
    /// When one of this time was made, on the boot clock.
    fn later(self, seconds: u64) -> Millis {
        let since = seconds.saturating_sub(self.seconds).saturating_mul(1_000);
        Millis(self.asked.0.saturating_add(since))
    }
}

impl Follower {
    /// To this witness, for which signatures wait so.
    pub fn new(remote: Remote, mode: Mode, sequencer: Sequencer, proofs: Proofs) -> Self {
        let told = Told { since: clock::boot(), ..Told::default() };
        let cover = Arc::new(Cover::new(mode));
        Self { remote, sequencer, proofs, cover, told: Mutex::new(told) }
    }

    /// What its cosignatures cover.
    pub fn cover(&self) -> &Arc<Cover> {
        &self.cover
    }

    /// The same, with what was kept of the witness before this process.
    #[must_use]
    pub fn knowing(self, kept: &Kept) -> Self {
        if let Kept::Text(text) = kept
            && let Ok(note) = Note::parse(text)
            && let Ok(checkpoint) = Checkpoint::parse(&note.text)
            && self.remote.witness().check(&note).is_ok()
        {
            let mut told = self.told.lock();
            // Asked with that, one that has forgotten it tells so.
            (told.hint, told.cosigned) = (checkpoint.size, checkpoint.size);
            drop(told);
        }
        self
    }

    /// Tells the cover how far the journal is, for as long as it is let.
    pub async fn watch_growth(&self) -> Infallible {
        let mut head = self.sequencer.head();
        loop {
            self.cover.grown(head.borrow_and_update().sequence.0);
            if head.changed().await.is_err() {
                // The sequencer is gone, and the process about to be.
                return pending().await;
            }
        }
    }

    /// Asks for a cosignature, up to three times: the first answer may be how far the witness is.
    pub async fn cosigned(&self, newest: &Attested) -> Turn {
        for _ in 0..ROUNDS_MAX {
            if let Some(turn) = self.round(newest).await {
                return turn;
            }
        }
        self.without("it tells another size each time".to_owned())
    }

    /// One time; `None`: it told a size with which it may be asked again.
    async fn round(&self, newest: &Attested) -> Option<Turn> {
        let size = newest.checkpoint.size;
        let old = self.told.lock().hint.min(size);
        let path = match self.path(old, &newest.checkpoint).await {
            Ok(path) => path,
            Err(why) => return Some(self.without(why)),
        };
        let submission = Submission { old, path, note: newest.note.clone() };
        let asked = clock::boot();
        self.told.lock().hand_over(size, asked);
        match self.remote.submit(&submission).await {
            Ok(Answer::Cosigned { note, seconds }) => {
                self.count(size, asked, seconds);
                Some(Turn::Cosigned(note))
            }
            Ok(Answer::Other(told)) => self.told_size(newest, old, told).await,
            // Of nothing anything is the continuation.
            Ok(Answer::Inconsistent) if old == 0 => {
                Some(self.without("it finds no proof where none is needed".to_owned()))
            }
            Ok(Answer::Inconsistent) => {
                let doubt = format!("it says that it cosigned another journal of {old} records");
                Some(self.contradicted(newest, doubt).await)
            }
            Err(error) => Some(self.without(causes(&error))),
        }
    }

    /// It cosigned something else than we thought.
    async fn told_size(&self, newest: &Attested, old: u64, told: Option<u64>) -> Option<Turn> {
        let (size, head) = (newest.checkpoint.size, self.sequencer.head().borrow().sequence.0);
        let Some(told) = told else {
            if old == 0 || old < size {
                return Some(self.without("it does not say which size it cosigned".to_owned()));
            }
            let doubt = format!("it says that it cosigned another journal of {size} records");
            return Some(self.contradicted(newest, doubt).await);
        };
        self.remember(told);
        if told > head {
            let doubt = format!("it says that it cosigned {told} records, and here are {head}");
            return Some(self.contradicted(newest, doubt).await);
        }
        // It knows that size, and not what we have of it.
        if told == old && old > 0 {
            let doubt = format!("it says that it cosigned another journal of {old} records");
            return Some(self.contradicted(newest, doubt).await);
        }
        // Of this very journal, and more than the checkpoint in hand.
        (told > size).then(|| self.without(format!("it cosigned {told} records, not {size}")))
    }

    /// None is ever taken back: a witness that says so was put back, and may have cosigned two.
    fn remember(&self, size: u64) {
        let mut told = self.told.lock();
        told.hint = size;
        if size < told.cosigned {
            let cosigned = told.cosigned;
            let line = format!(
                "the witness has forgotten: it cosigned {cosigned} records, and says {size}. It \
                 was put back, or somebody answers in its place"
            );
            tracing::error!("{line}");
            told.forgotten = Some(line);
        }
    }

    /// It cosigned so many records, when it was asked then.
    fn count(&self, size: u64, asked: Millis, seconds: u64) {
        let mut told = self.told.lock();
        // One may have been held back: it is as much younger than another as its own signed time
        // says, and no older than its checkpoint.
        let is_new = told.first.is_none() || size > told.cosigned;
        let later = told
            .first
            .map_or_else(|| by_the_wall(asked, seconds), |first| first.later(seconds).min(asked));
        let made = if is_new { later.max(told.handed_over(size, asked)) } else { later };
        if is_new || told.first.is_some_and(|first| seconds > first.seconds) {
            told.first = Some(First { asked: made, seconds });
        }
        (told.hint, told.cosigned) = (size, told.cosigned.max(size));
        if !is_new && made <= told.since {
            // Brought once more it says nothing of now.
            return self.cover.answered();
        }
        (told.since, told.seconds) = (made, Some(seconds));
        self.cover.cosigned(size, made);
        (told.trouble, told.doubt, told.alarm) = (None, None, None);
        told.proofs.clear();
    }

    /// No cosignature, and nothing learnt.
    fn without(&self, why: String) -> Turn {
        self.told.lock().trouble = Some(why);
        self.cover.away();
        Turn::Nothing
    }

    async fn path(&self, old: u64, checkpoint: &Checkpoint) -> Result<Vec<B256>, String> {
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

    /// What it says is signed by nobody. What it shows may be.
    async fn contradicted(&self, newest: &Attested, doubt: String) -> Turn {
        let checkpoint = &newest.checkpoint;
        let weighed = match self.remote.kept(&checkpoint.origin).await {
            Ok(note) => weigh(&note, checkpoint, &self.sequencer, &self.proofs).await,
            Err(error) => Weighed::Unproved(format!("it shows nothing: {}", causes(&error))),
        };
        match weighed {
            Weighed::Another(shown, reason) => {
                self.stop(&shown, reason).await;
                Turn::Contradicted
            }
            Weighed::Ahead(size) => {
                self.remember(size);
                self.without(format!("it cosigned {size} records, and has not the one in hand"))
            }
            Weighed::Ours => self.doubt(&doubt, "what it shows is of this journal"),
            Weighed::Unproved(why) => self.doubt(&doubt, &why),
        }
    }

    /// Looks at what the witness shows, also if it cosigns nothing or there is nothing to cosign:
    /// what proves itself needs no answer.
    pub async fn look(&self, durable: &Checkpoint) {
        let Ok(note) = self.remote.kept(&durable.origin).await else { return };
        let weighed = weigh(&note, durable, &self.sequencer, &self.proofs).await;
        if let Weighed::Another(shown, reason) = weighed {
            self.stop(&shown, reason).await;
        }
    }

    fn doubt(&self, doubt: &str, why: &str) -> Turn {
        let line = format!(
            "the witness contradicts this journal, and proves it not: {doubt}; {why}. Compare it \
             with what you keep elsewhere"
        );
        tracing::error!("{line}");
        self.told.lock().doubt = Some(line);
        self.cover.contradicted();
        Turn::Contradicted
    }

    /// Once for each proof.
    async fn stop(&self, shown: &Checkpoint, reason: String) {
        tracing::error!(%reason, "there is another journal");
        self.cover.contradicted();
        let is_known = {
            let mut told = self.told.lock();
            told.alarm = Some(reason.clone());
            if told.proofs.len() >= PROOFS_MAX {
                told.proofs.clear();
            }
            !told.proofs.insert((shown.size, shown.root))
        };
        if is_known {
            return;
        }
        let stop = Frozen { by: Actor::Signer, reason, scope: Scope::All };
        let stopped = self.sequencer.freeze(stop).await;
        tracing::error!(recorded = stopped.sequence.is_some(), "everything is stopped");
    }

    /// When to ask next, after this.
    pub fn pace(&self, turn: &Turn) -> Pace {
        match (turn, self.cover.mode()) {
            // Whatever is recorded meanwhile waits for the next one.
            (Turn::Cosigned(_), Mode::Fence) => Pace { pause: Duration::ZERO, again: AGAIN_EVERY },
            (Turn::Cosigned(_), Mode::Lag(max)) => {
                let third = Duration::from_millis(max.0.checked_div(3).unwrap_or(0));
                Pace { pause: PAUSE.min(third), again: AGAIN_EVERY.min(third) }
            }
            (Turn::Cosigned(_), Mode::Off) | (Turn::Contradicted, _) => {
                Pace { pause: PAUSE, again: AGAIN_EVERY }
            }
            (Turn::Nothing, _) => Pace { pause: PAUSE, again: Duration::ZERO },
        }
    }

    /// What needs attention, a line each.
    pub fn troubles(&self) -> Vec<String> {
        let told = self.told.lock();
        let lines = [&told.alarm, &told.doubt, &told.forgotten];
        let mut lines: Vec<String> = lines.into_iter().flatten().cloned().collect();
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

/// When one was made, by its own word and the wall clock: the first is held against no other.
fn by_the_wall(asked: Millis, seconds: u64) -> Millis {
    let age = clock::wall().0.saturating_sub(seconds.saturating_mul(1_000));
    Millis(asked.0.saturating_sub(age))
}

/// How often a checkpoint is cosigned again while nothing is recorded.
const AGAIN_EVERY: Duration = Duration::from_secs(20);

/// However fast the journal grows, and however often it fails.
const PAUSE: Duration = Duration::from_secs(1);

/// The first may be told how far the witness is.
const ROUNDS_MAX: usize = 3;

/// Proofs that are remembered.
const PROOFS_MAX: usize = 1_024;

/// Three times as long as the witness is left alone.
const OLD_SECONDS: u64 = 60;

#[cfg(test)]
mod tests;
