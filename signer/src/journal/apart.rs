//! One text that lasts, in a folder of its own: what the witness keeps of a journal. It never
//! starts anew by itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use super::StorageError;
use super::disk::{Disk, Os};
use super::durable::Folder;
use super::places::{CHECKPOINTS, Kept, Places, PlacesError};

/// The text; the folder is locked for as long as this lives.
pub struct Apart {
    places: Places,
}

/// What is kept apart cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ApartError {
    /// The disk said no.
    #[error("{path:?} cannot be opened")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is nothing.
    #[error("{path:?} is not there")]
    Missing {
        /// Which.
        path: PathBuf,
    },
    /// Another process has it.
    #[error("another process holds {path:?}")]
    Held {
        /// Which.
        path: PathBuf,
    },
    /// Both places are spoiled, or the file is cut.
    #[error("{path:?} is damaged: restore it from the newest backup")]
    Damaged {
        /// Which.
        path: PathBuf,
    },
    /// What stands there cannot be made to last.
    #[error("what stands in {path:?} cannot be made sure of")]
    Unsure {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: StorageError,
    },
}

impl fmt::Debug for Apart {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Apart(..)")
    }
}

impl Apart {
    /// Makes an empty one where there is none; the answer says whether it did.
    ///
    /// # Errors
    ///
    /// [`ApartError`]; what is there is left as it is.
    pub fn make(path: &Path) -> Result<bool, ApartError> {
        if Self::is_there(path)? {
            return Ok(false);
        }
        let io = |source| ApartError::Io { path: path.to_owned(), source };
        disk().make_folder(path).map_err(io)?;
        let (mut places, _) = Self::places(path)?;
        let unsure = |source| ApartError::Unsure { path: path.to_owned(), source };
        places.make().map_err(unsure)?;
        Ok(true)
    }

    /// Opens one that is there, with its text; `None`: nothing was ever kept.
    ///
    /// # Errors
    ///
    /// [`ApartError`].
    pub fn open(path: &Path) -> Result<(Self, Option<String>), ApartError> {
        if !Self::is_there(path)? {
            return Err(ApartError::Missing { path: path.join(CHECKPOINTS) });
        }
        let (mut places, kept) = Self::places(path)?;
        let text = match kept {
            Kept::NoFile | Kept::Nothing => None,
            Kept::Text(text) => Some(text),
        };
        if let Some(text) = &text {
            // It may be there by a write whose sync failed: then it is read, and does not last.
            let unsure = |source| ApartError::Unsure { path: path.to_owned(), source };
            places.write(text).map_err(unsure)?;
        }
        Ok((Self { places }, text))
    }

    /// Whether one was made.
    ///
    /// # Errors
    ///
    /// [`ApartError::Io`].
    pub fn is_there(path: &Path) -> Result<bool, ApartError> {
        let path = path.join(CHECKPOINTS);
        path.try_exists().map_err(|source| ApartError::Io { path, source })
    }

    fn places(path: &Path) -> Result<(Places, Kept), ApartError> {
        let io = |source| ApartError::Io { path: path.to_owned(), source };
        let held = || ApartError::Held { path: path.to_owned() };
        let folder = Folder::lock(&disk(), path).map_err(io)?.ok_or_else(held)?;
        match Places::open(&Arc::new(folder)) {
            Ok(opened) => Ok(opened),
            Err(PlacesError::Io { path, source }) => Err(ApartError::Io { path, source }),
            Err(PlacesError::Damaged { path }) => Err(ApartError::Damaged { path }),
        }
    }

    /// Keeps a text in the place of the one before, and returns when it lasts.
    ///
    /// # Errors
    ///
    /// As [`Places::write`].
    pub fn write(&mut self, text: &str) -> Result<(), StorageError> {
        self.places.write(text)
    }

    /// From now on its disk takes every write and knows no sync.
    #[cfg(test)]
    pub(crate) fn spoil(&mut self) {
        self.places.spoil();
    }
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(Os)
}
