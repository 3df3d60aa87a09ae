//! One journal that is witnessed: its keys, and the checkpoint of it that was cosigned last.

use std::path::PathBuf;

use parking_lot::{Mutex, MutexGuard};
use portcullis_policy::note::{Checkpoint, Note, NoteFault, NoteSignature, Verifier, Witness};
use portcullis_policy::request::sha256;
use portcullis_policy::submission::Submission;
use portcullis_policy::time::Millis;
use portcullis_policy::tree::{Consistency, empty_root};

use super::exhibits::{Exhibits, Kind};
use super::kept::{self, Kept};
use super::quiet::Quiet;
use super::{Refused, WitnessConfig, WitnessError};
use crate::clock;
use crate::journal::Apart;

/// A journal, and how far it was cosigned.
pub(super) struct Known {
    origin: String,
    /// More than one while one takes the place of another.
    keys: Vec<Verifier>,
    seen: Mutex<Seen>,
    exhibits: Exhibits,
    forks: Quiet,
    suspicions: Quiet,
}

struct Seen {
    newest: Option<Kept>,
    keeps: Apart,
}

/// A checkpoint that the journal's key signed. Made only by [`Known::verify`].
#[derive(Debug)]
#[must_use]
pub(super) struct Signed {
    checkpoint: Checkpoint,
    submission: Submission,
}

/// A checkpoint that continues what was cosigned before, and lasts on our disk. Made only by
/// [`Known::advance`]; never derive `Clone` here.
#[derive(Debug)]
#[must_use = "a checkpoint that is kept and not cosigned holds up its journal"]
pub(super) struct Lasting {
    text: String,
    seconds: u64,
}

impl Lasting {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The time that is kept with it, in seconds since 1970.
    pub(super) fn seconds(&self) -> u64 {
        self.seconds
    }
}

impl Known {
    pub(super) fn open(config: &WitnessConfig, origin: &str) -> Result<Self, WitnessError> {
        let state = |source| WitnessError::State { origin: origin.to_owned(), source };
        let (keeps, text) = Apart::open(&place(config, origin)).map_err(state)?;
        let wrong = || WitnessError::Kept { origin: origin.to_owned() };
        let newest = text.map(|text| Kept::parse(&text, origin).ok_or_else(wrong));
        let seen = Seen { newest: newest.transpose()?, keeps };
        Ok(Self {
            origin: origin.to_owned(),
            keys: config.keys(origin).cloned().collect(),
            seen: Mutex::new(seen),
            exhibits: Exhibits::new(&config.folder, file_name(origin)),
            forks: Quiet::default(),
            suspicions: Quiet::default(),
        })
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether the journal signed it. `own`: us.
    pub(super) fn verify(
        &self,
        checkpoint: Checkpoint,
        mut submission: Submission,
        own: &Witness,
    ) -> Result<Signed, Refused> {
        let signatures = self.signatures(&submission.note).map_err(Refused::Unsigned)?;
        self.remembers(&checkpoint, &submission.note, own)?;
        // What others made of it we neither know nor keep.
        submission.note.signatures = signatures;
        Ok(Signed { checkpoint, submission })
    }

    /// One of each key that signed it: at least one did, and none spoils it.
    fn signatures(&self, note: &Note) -> Result<Vec<NoteSignature>, NoteFault> {
        let mut signatures = Vec::new();
        for journal in &self.keys {
            let Verifier { name, key } = journal;
            match note.check(journal) {
                Err(NoteFault::Unsigned(_)) => continue,
                checked => checked?,
            }
            let id = key.id(name);
            let own = |one: &&NoteSignature| one.name == *name && one.id == id;
            signatures.extend(note.signatures.iter().find(own).cloned());
        }
        if signatures.is_empty() {
            return Err(NoteFault::Unsigned(self.origin.clone()));
        }
        Ok(signatures)
    }

    /// Whether we know whatever we cosigned: a cosignature of ours on something else says that an
    /// older folder was put back, or that another process has our key.
    fn remembers(
        &self,
        checkpoint: &Checkpoint,
        note: &Note,
        own: &Witness,
    ) -> Result<(), Refused> {
        if own.check(note).is_err() {
            return Ok(());
        }
        let seen = self.seen.lock();
        let newest = seen.newest.as_ref().map(|kept| &kept.checkpoint);
        let size = checkpoint.size;
        let is_known = match newest {
            Some(newest) => size < newest.size || checkpoint == newest,
            None => size == 0,
        };
        if is_known {
            return Ok(());
        }
        self.testify(Kind::Forgotten, &seen, note);
        Err(Refused::Forgotten { size })
    }

    /// Goes on to a checkpoint: compares with the one before, and keeps the new one and the time,
    /// with nobody in between.
    pub(super) fn advance(
        &self,
        signed: Signed,
        wall: impl FnOnce() -> Millis,
    ) -> Result<Lasting, Refused> {
        let Signed { checkpoint, submission: Submission { old, path, note } } = signed;
        let Checkpoint { size, root, .. } = checkpoint;
        if old > size {
            return Err(Refused::Backwards { old, size });
        }
        let mut seen = self.seen.lock();
        let newest = seen.newest.as_ref();
        let (before, known) =
            newest.map_or((0, empty_root()), |kept| (kept.checkpoint.size, kept.checkpoint.root));
        // Whatever it says of the old size: both are signed, and both cannot be of one journal.
        if newest.is_some() && size == before && root != known {
            self.accuse(Kind::Fork, &seen, &checkpoint, &note);
            return Err(Refused::Fork { size });
        }
        if old != before {
            return Err(Refused::Conflict { size: before });
        }
        if !(Consistency { old, new: size, path }).proves(known, root) {
            self.accuse(Kind::Suspicion, &seen, &checkpoint, &note);
            return Err(Refused::Inconsistent);
        }
        let last = newest.map_or(0, |kept| kept.seconds);
        let seconds = kept::seconds(wall(), last).ok_or(Refused::Clock)?;
        let text = note.text.clone();
        let kept = Kept { seconds, checkpoint, note };
        let written = kept.to_string();
        if written.len() > KEPT_BYTES_MAX {
            return Err(Refused::TooLong);
        }
        // The same one at another time is kept again; within one second it lasts already.
        let lasts = |before: &Kept| before.note.text == text && before.seconds == seconds;
        if !seen.newest.as_ref().is_some_and(lasts) {
            seen.keeps.write(&written)?;
            seen.newest = Some(kept);
        }
        Ok(Lasting { text, seconds })
    }

    /// Says what does not fit, and keeps it.
    fn accuse(&self, kind: Kind, seen: &MutexGuard<'_, Seen>, other: &Checkpoint, note: &Note) {
        self.testify(kind, seen, note);
        let known = seen.newest.as_ref().map(|kept| &kept.checkpoint);
        let (origin, size, root) = (&self.origin, other.size, other.root);
        let known = known.map(|known| format!("{} records, root {}", known.size, known.root));
        let known = known.as_deref().unwrap_or("nothing");
        let quiet = if kind == Kind::Fork { &self.forks } else { &self.suspicions };
        let Some(unsaid) = quiet.speaks(clock::boot()) else { return };
        if kind == Kind::Fork {
            tracing::error!(%origin, size, %root, %known, unsaid,
                "TWO JOURNALS: one size, two roots, both signed by the journal's key");
        } else {
            tracing::warn!(%origin, size, %root, %known, unsaid,
                "no continuation: maybe two journals, maybe a bad proof");
        }
    }

    /// Keeps a note that was refused. That it could not be kept changes nothing of the refusal.
    fn testify(&self, kind: Kind, seen: &MutexGuard<'_, Seen>, note: &Note) {
        let known = seen.newest.as_ref().map(|kept| &kept.note);
        let origin = &self.origin;
        match self.exhibits.keep(kind, known, note) {
            Ok(Some(path)) => tracing::error!(%origin, ?path, "evidence is kept: copy it away"),
            Ok(None) => {}
            Err(error) => tracing::error!(%origin, %error, "evidence could not be kept"),
        }
    }

    /// The newest one that lasts, with the journal's own signature; `None`: there is none.
    pub(super) fn note(&self) -> Option<String> {
        self.seen.lock().newest.as_ref().map(|kept| kept.note.to_string())
    }

    /// From now on its disk fails.
    #[cfg(test)]
    pub(super) fn spoil(&self) {
        self.seen.lock().keeps.spoil();
    }

    /// Whoever comes waits until this is dropped.
    #[cfg(test)]
    pub(super) fn busy(&self) -> impl Drop + '_ {
        self.seen.lock()
    }
}

/// Where a journal's newest checkpoint is kept.
pub(super) fn place(config: &WitnessConfig, origin: &str) -> PathBuf {
    config.kept().join(file_name(origin))
}

/// A name may hold what a path may not.
fn file_name(origin: &str) -> String {
    hex::encode(sha256(origin.as_bytes()))
}

/// A checkpoint with its signatures: less than fits in the place where it is kept.
const KEPT_BYTES_MAX: usize = 6 * 1_024;
