//! What was refused and may matter later: the first signed note of each kind that did not fit,
//! with the one that it did not fit to. Two notes over one size that the same key signed are proof
//! of two journals, and nobody can take their signatures back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use portcullis_policy::note::Note;

use super::folder;

/// Of one journal.
#[derive(Debug)]
pub(super) struct Exhibits {
    folder: PathBuf,
    journal: String,
}

/// What a refused note shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Two journals: one size, two roots, both signed.
    Fork,
    /// Maybe two journals: without a proof that fits. Anybody can send a good note with a bad one.
    Suspicion,
    /// What we cosigned ourselves, and do not know any more.
    Forgotten,
}

impl Exhibits {
    /// `journal`: what its files are called by.
    pub(super) fn new(folder: &Path, journal: String) -> Self {
        Self { folder: folder.join(EVIDENCE), journal }
    }

    /// Keeps the first of its kind; where, if this is it. When this returns, it lasts.
    pub(super) fn keep(
        &self,
        kind: Kind,
        known: Option<&Note>,
        refused: &Note,
    ) -> io::Result<Option<PathBuf>> {
        let path = self.path(kind, "refused");
        if path.try_exists()? {
            return Ok(None);
        }
        folder::make(&self.folder)?;
        // The refused one comes last: with it both are there.
        let other = self.path(kind, "known");
        remove(&other)?;
        if let Some(known) = known {
            write(&other, known)?;
        }
        write(&path, refused)?;
        Ok(Some(path))
    }

    fn path(&self, kind: Kind, which: &str) -> PathBuf {
        let kind = match kind {
            Kind::Fork => "fork",
            Kind::Suspicion => "suspicion",
            Kind::Forgotten => "forgotten",
        };
        self.folder.join(format!("{}-{kind}-{which}.note", self.journal))
    }
}

/// A file has its name only when all of it is there.
fn write(path: &Path, note: &Note) -> io::Result<()> {
    let new = path.with_extension("new");
    remove(&new)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(note.to_string().as_bytes())?;
    file.sync_all()?;
    fs::hard_link(&new, path)?;
    fs::remove_file(&new)?;
    File::open(folder::parent(path))?.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The folder's name.
pub(super) const EVIDENCE: &str = "evidence";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_kind_is_kept_with_what_it_did_not_fit_to() {
        let folder = tempfile::tempdir().unwrap();
        let note = |text: &str| Note { text: format!("{text}\n"), signatures: Vec::new() };
        let exhibits = Exhibits::new(folder.path(), "aa".into());
        // What an interrupted one left over is of no use: it is of another pair.
        folder::make(&exhibits.folder).unwrap();
        fs::write(exhibits.path(Kind::Fork, "known"), "old").unwrap();
        fs::write(exhibits.path(Kind::Fork, "refused").with_extension("new"), "half").unwrap();
        let path = exhibits.keep(Kind::Fork, Some(&note("ours")), &note("theirs")).unwrap();
        assert_eq!(path, Some(exhibits.path(Kind::Fork, "refused")));
        assert_eq!(exhibits.keep(Kind::Fork, Some(&note("b")), &note("c")).unwrap(), None);
        assert!(exhibits.keep(Kind::Forgotten, None, &note("d")).unwrap().is_some());
        let mut found: Vec<(String, String)> = fs::read_dir(&exhibits.folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let text = fs::read_to_string(entry.path()).unwrap();
                (entry.file_name().into_string().unwrap(), text)
            })
            .collect();
        found.sort();
        let expected = [
            ("aa-forgotten-refused.note", "d\n\n"),
            ("aa-fork-known.note", "ours\n\n"),
            ("aa-fork-refused.note", "theirs\n\n"),
        ];
        assert_eq!(found, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }
}
