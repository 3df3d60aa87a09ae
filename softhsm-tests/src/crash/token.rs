//! A copy of a token's files, as they were when its keys had been made.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::token::Token;

/// The files and their bytes.
#[derive(Debug)]
pub(crate) struct TokenCopy {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl TokenCopy {
    pub(crate) fn of(token: &Token) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        read(&token.objects(), &mut files)?;
        Ok(Self { files })
    }

    /// Whether a file is shorter than it was: written anew, and not to its end. What is in it
    /// changes at each login, its length does not.
    pub(crate) fn is_torn(&self) -> io::Result<bool> {
        for (path, bytes) in &self.files {
            if path.extension().is_some_and(|end| end == "object") {
                // The marker of the journal's end is made anew, under another name each time.
                let Some(now) = unless_gone(fs::read(path))? else { continue };
                if now.len() < bytes.len() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    pub(crate) fn restore(&self) -> io::Result<()> {
        self.files.iter().try_for_each(|(path, bytes)| fs::write(path, bytes))
    }
}

fn read(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read(&path, files)?;
        } else {
            files.extend(unless_gone(fs::read(&path))?.map(|bytes| (path.clone(), bytes)));
        }
    }
    Ok(())
}

fn unless_gone<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}
