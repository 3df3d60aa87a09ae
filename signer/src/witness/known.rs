//! One journal that is witnessed: its key, and the checkpoint of it that was cosigned last.

use std::path::PathBuf;

use parking_lot::Mutex;
use portcullis_policy::note::{Checkpoint, Note, Verifier};
use portcullis_policy::request::sha256;
use portcullis_policy::submission::Submission;
use portcullis_policy::tree::{Consistency, empty_root};

use super::{Refused, WitnessConfig, WitnessError};
use crate::journal::Apart;

/// A journal, and how far it was cosigned.
pub(super) struct Known {
    journal: Verifier,
    seen: Mutex<Seen>,
}

struct Seen {
    newest: Option<Checkpoint>,
    /// The note with it, as the journal signed it.
    note: Option<String>,
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
}

impl Lasting {
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl Known {
    pub(super) fn open(config: &WitnessConfig, journal: &Verifier) -> Result<Self, WitnessError> {
        let origin = || journal.name.clone();
        let state = |source| WitnessError::State { origin: origin(), source };
        let (keeps, text) = Apart::open(&place(config, &journal.name)).map_err(state)?;
        let read = |text: String| {
            let checkpoint = Checkpoint::parse(&Note::parse(&text).ok()?.text).ok()?;
            (checkpoint.origin == journal.name).then_some(checkpoint)
        };
        let note = text.clone();
        let newest = text.map(|text| read(text).ok_or(WitnessError::Kept { origin: origin() }));
        let seen = Seen { newest: newest.transpose()?, note, keeps };
        Ok(Self { journal: journal.clone(), seen: Mutex::new(seen) })
    }

    pub(super) fn origin(&self) -> &str {
        &self.journal.name
    }

    pub(super) fn named(self) -> (String, Self) {
        (self.journal.name.clone(), self)
    }

    /// Whether the journal signed it.
    pub(super) fn verify(
        &self,
        checkpoint: Checkpoint,
        mut submission: Submission,
    ) -> Result<Signed, Refused> {
        let Verifier { name, key } = &self.journal;
        submission.note.check(&self.journal).map_err(Refused::Unsigned)?;
        // What others made of it we neither know nor keep.
        let id = key.id(name);
        submission.note.signatures.retain(|one| one.name == *name && one.id == id);
        submission.note.signatures.truncate(1);
        Ok(Signed { checkpoint, submission })
    }

    /// Goes on to a checkpoint: compares with the one before, and keeps the new one, with nobody in
    /// between.
    pub(super) fn advance(&self, signed: Signed) -> Result<Lasting, Refused> {
        let Signed { checkpoint, submission: Submission { old, path, note } } = signed;
        let Checkpoint { ref origin, size, root } = checkpoint;
        if old > size {
            return Err(Refused::Backwards { old, size });
        }
        let mut seen = self.seen.lock();
        let newest = seen.newest.as_ref();
        let (before, known) = newest.map_or((0, empty_root()), |newest| (newest.size, newest.root));
        if old != before {
            return Err(Refused::Conflict { size: before });
        }
        if size == before && root != known {
            tracing::error!(%origin, size, %root, %known, "TWO JOURNALS: one size, two roots");
            return Err(Refused::Conflict { size });
        }
        if !(Consistency { old, new: size, path }).proves(known, root) {
            tracing::error!(%origin, old, size, %root, %known, "no continuation of what is known");
            return Err(Refused::Inconsistent);
        }
        // The same one again lasts already, and gets a new time.
        if newest != Some(&checkpoint) {
            seen.keeps.write(&note.to_string())?;
            (seen.newest, seen.note) = (Some(checkpoint), Some(note.to_string()));
        }
        Ok(Lasting { text: note.text })
    }

    /// The newest one that lasts, with the journal's own signature; `None`: there is none.
    pub(super) fn note(&self) -> Option<String> {
        self.seen.lock().note.clone()
    }

    /// From now on its disk fails.
    #[cfg(test)]
    pub(super) fn spoil(&self) {
        self.seen.lock().keeps.spoil();
    }
}

/// Where a journal's newest checkpoint is kept: a name may hold what a path may not.
pub(super) fn place(config: &WitnessConfig, origin: &str) -> PathBuf {
    config.kept().join(hex::encode(sha256(origin.as_bytes())))
}
