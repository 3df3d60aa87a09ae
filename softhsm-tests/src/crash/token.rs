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
                let now = fs::read(path)?;
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
            files.insert(path.clone(), fs::read(&path)?);
        }
    }
    Ok(())
}
