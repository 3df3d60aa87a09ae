//! The journals that a witness ever knew, a line each: of these it must not begin anew, whatever
//! else of its folder is gone.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{WitnessError, folder};

/// The list, as it is on the disk.
#[derive(Debug)]
pub(super) struct Origins {
    path: PathBuf,
    listed: BTreeSet<String>,
    /// Whether the last line was cut: somebody was stopped while it was written.
    is_cut: bool,
}

impl Origins {
    /// In a witness's folder. One that is not there is empty.
    pub(super) fn read(folder: &Path) -> Result<Self, WitnessError> {
        let path = folder.join(ORIGINS);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(WitnessError::Folder { path, source }),
            Ok(text) => text,
        };
        let is_cut = !text.is_empty() && !text.ends_with('\n');
        Ok(Self { path, listed: text.lines().map(str::to_owned).collect(), is_cut })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    pub(super) fn contains(&self, origin: &str) -> bool {
        self.listed.contains(origin)
    }

    /// Lists those that are not there yet. When this returns, they last; nothing is taken away.
    pub(super) fn add(&mut self, origins: &[&str]) -> Result<(), WitnessError> {
        let new: Vec<&str> =
            origins.iter().copied().filter(|origin| !self.contains(origin)).collect();
        if new.is_empty() && !self.is_cut {
            return Ok(());
        }
        let end = if self.is_cut { "\n" } else { "" };
        let lines: String = new.iter().map(|origin| format!("{origin}\n")).collect();
        let written = append(&self.path, &format!("{end}{lines}"));
        written.map_err(|source| WitnessError::Folder { path: self.path.clone(), source })?;
        self.listed.extend(new.into_iter().map(str::to_owned));
        self.is_cut = false;
        Ok(())
    }
}

fn append(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    File::open(folder::parent(path))?.sync_all()
}

/// The file's name.
const ORIGINS: &str = "origins";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_listed_once_stays_and_a_line_that_was_cut_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let read = || Origins::read(folder.path()).unwrap();
        assert!(read().is_empty());
        read().add(&["portcullis/aa", "portcullis/bb"]).unwrap();
        let path = folder.path().join(ORIGINS);
        fs::write(&path, "portcullis/aa\nportcullis/b").unwrap();
        read().add(&["portcullis/aa", "portcullis/cc"]).unwrap();
        let listed = read();
        assert!(listed.contains("portcullis/aa") && listed.contains("portcullis/cc"));
        assert!(!listed.contains("portcullis/bb"));
        read().add(&["portcullis/aa"]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "portcullis/aa\nportcullis/b\nportcullis/cc\n");
    }
}
