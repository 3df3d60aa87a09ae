//! Where the newest checkpoint is kept, beside the segments: two places in one file, written in
//! turn, so that a write that is interrupted spoils the older one at most.
//!
//! Knows as little of what it keeps as the segments do: to it a checkpoint is a text.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use portcullis_policy::request::sha256;

use super::disk::Media;
use super::durable::{self, Folder};
use super::frame::{is_blank, wide};
use super::{Step, StorageError};

/// The file's name.
pub(super) const CHECKPOINTS: &str = "checkpoints";
/// A place's length, in bytes: more than a checkpoint with the signatures of twenty witnesses.
const PLACE_BYTES: usize = 8 * 1024;
/// Count, length of the text, SHA-256 over both and the text.
const HEADER_BYTES: usize = 8 + 4 + 32;
/// The longest text that fits, in bytes.
const TEXT_BYTES_MAX: usize = PLACE_BYTES - HEADER_BYTES;

/// What was kept.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Kept {
    /// There is no such file.
    NoFile,
    /// Nothing yet.
    #[default]
    Nothing,
    /// The text that was written last and in full.
    Text(String),
}

/// Checkpoints that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PlacesError {
    /// The disk said no.
    #[error("{path:?} cannot be opened")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An interrupted write spoils one place. Here both are spoiled, or the file is cut.
    #[error(
        "{path:?} is damaged, and with it what the journal is held against: restore it from the \
         newest backup. Without one take the file away; everything is stopped then until people \
         have looked at it"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// The two places.
pub struct Places {
    folder: Arc<Folder>,
    /// `None` until [`Places::make`].
    file: Option<Box<dyn Media>>,
    /// The newest text's.
    count: u64,
    /// Whether the second one holds it.
    second: bool,
    poisoned: bool,
}

/// What stands in a place.
enum Place {
    Blank,
    Sound { count: u64, text: String },
    Spoiled,
}

impl Places {
    /// Opens the file, if it is there. Makes nothing: that it is missing must be on record first.
    pub(super) fn open(folder: &Arc<Folder>) -> Result<(Self, Kept), PlacesError> {
        let path = folder.file(CHECKPOINTS);
        let io = |source| PlacesError::Io { path: path.clone(), source };
        let folder = Arc::clone(folder);
        let empty = Self { folder, file: None, count: 0, second: true, poisoned: false };
        if !empty.folder.names().map_err(io)?.iter().any(|name| name == CHECKPOINTS) {
            return Ok((empty, Kept::NoFile));
        }
        let file = empty.folder.open(CHECKPOINTS).map_err(io)?;
        let mut bytes = [0; PLACE_BYTES];
        let mut read = |at| match file.read_exact_at(&mut bytes, at) {
            Ok(()) => Ok(Place::read(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Place::Spoiled),
            Err(source) => Err(PlacesError::Io { path: path.clone(), source }),
        };
        let (first, second) = (read(0)?, read(wide(PLACE_BYTES))?);
        let (count, second, text) = match (first, second) {
            (Place::Sound { count, text }, Place::Sound { count: newer, text: other }) => {
                if newer > count { (newer, true, other) } else { (count, false, text) }
            }
            (Place::Sound { count, text }, Place::Blank | Place::Spoiled) => (count, false, text),
            (Place::Blank | Place::Spoiled, Place::Sound { count, text }) => (count, true, text),
            (Place::Blank, Place::Blank) | (Place::Spoiled, Place::Blank) => {
                return Ok((Self { file: Some(file), ..empty }, Kept::Nothing));
            }
            (Place::Blank | Place::Spoiled, Place::Spoiled) => {
                return Err(PlacesError::Damaged { path });
            }
        };
        Ok((Self { file: Some(file), count, second, ..empty }, Kept::Text(text)))
    }

    /// Makes the file, if it is not there.
    ///
    /// # Errors
    ///
    /// [`StorageError::NoSpace`], and it may be tried again; or [`StorageError::Io`].
    pub fn make(&mut self) -> Result<(), StorageError> {
        if self.file.is_some() {
            return Ok(());
        }
        let bytes = wide(PLACE_BYTES).saturating_mul(2);
        let made = self.folder.make_zeros(CHECKPOINTS, bytes);
        match made.and_then(|()| self.folder.open(CHECKPOINTS)) {
            Ok(file) => self.file = Some(file),
            Err(error) if durable::is_out_of_space(&error) => return Err(StorageError::NoSpace),
            Err(source) => return Err(StorageError::Io { step: Step::Prepare, source }),
        }
        Ok(())
    }

    /// Keeps a text in the older place, and returns when it lasts.
    ///
    /// # Errors
    ///
    /// [`StorageError::TooLarge`], [`StorageError::NoSpace`]; or [`StorageError::Io`], after which
    /// it is never tried again.
    pub fn write(&mut self, text: &str) -> Result<(), StorageError> {
        if self.poisoned {
            return Err(StorageError::Poisoned);
        }
        if text.len() > TEXT_BYTES_MAX {
            let (bytes, bytes_max) = (wide(text.len()), wide(TEXT_BYTES_MAX));
            return Err(StorageError::TooLarge { bytes, bytes_max });
        }
        self.make()?;
        let Some(file) = &self.file else { return Err(StorageError::NoSpace) };
        let (count, second) = (self.count.saturating_add(1), !self.second);
        let at = if second { wide(PLACE_BYTES) } else { 0 };
        let io = |step| move |source| StorageError::Io { step, source };
        self.poisoned = true;
        file.write_all_at(&encoded(count, text), at).map_err(io(Step::Write))?;
        durable::sync(&**file).map_err(io(Step::Sync))?;
        (self.count, self.second, self.poisoned) = (count, second, false);
        Ok(())
    }
}

impl Place {
    fn read(bytes: &[u8]) -> Self {
        if is_blank(bytes) {
            return Self::Blank;
        }
        Self::sound(bytes).unwrap_or(Self::Spoiled)
    }

    fn sound(bytes: &[u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (_, text) = rest.split_first_chunk::<32>()?;
        let text = text.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        let text = std::str::from_utf8(text).ok()?.to_owned();
        let count = u64::from_be_bytes(*count);
        let same = bytes.starts_with(&encoded(count, &text));
        (same && count > 0).then_some(Self::Sound { count, text })
    }
}

fn encoded(count: u64, text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let numbers = [&count.to_be_bytes()[..], &length.to_be_bytes()].concat();
    let hash = sha256(&[&numbers, text.as_bytes()].concat());
    [&numbers, hash.as_slice(), text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::super::disk::{Disk, Os};
    use super::*;

    impl Places {
        /// From now on its disk takes every write and knows no sync.
        pub(in super::super) fn spoil(&mut self) {
            let file = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
            self.file = Some(Box::new(file));
        }
    }

    fn folder() -> (tempfile::TempDir, Arc<Folder>) {
        let folder = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(Os);
        let locked = Folder::lock(&disk, folder.path()).unwrap().unwrap();
        (folder, Arc::new(locked))
    }

    fn kept(folder: &Arc<Folder>) -> Kept {
        Places::open(folder).unwrap().1
    }

    #[test]
    fn the_newest_text_is_kept_and_a_file_that_was_not_there_is_told() {
        let (_held, folder) = folder();
        assert_eq!(kept(&folder), Kept::NoFile);
        assert_eq!(kept(&folder), Kept::NoFile, "to look makes none");
        Places::open(&folder).unwrap().0.make().unwrap();
        assert_eq!(kept(&folder), Kept::Nothing);
        for number in 0..5 {
            let (mut places, _) = Places::open(&folder).unwrap();
            places.write(&format!("{number} long")).unwrap();
            places.write(&format!("{number}")).unwrap();
            assert_eq!(kept(&folder), Kept::Text(format!("{number}")));
        }
        let (mut places, _) = Places::open(&folder).unwrap();
        let long = "x".repeat(TEXT_BYTES_MAX);
        assert!(matches!(places.write(&format!("{long}x")), Err(StorageError::TooLarge { .. })));
        places.write(&long).unwrap();
        assert_eq!(kept(&folder), Kept::Text(long));
    }

    #[test]
    fn a_write_that_stops_anywhere_leaves_the_text_from_before() {
        let (_held, folder) = folder();
        let (mut places, _) = Places::open(&folder).unwrap();
        places.make().unwrap();
        let file = folder.open(CHECKPOINTS).unwrap();
        // The first of all, and one over an older one.
        for (text, before) in [("first", Kept::Nothing), ("third", Kept::Text("second".into()))] {
            let at = if places.second { 0 } else { wide(PLACE_BYTES) };
            let mut old = [0; PLACE_BYTES];
            file.read_exact_at(&mut old, at).unwrap();
            let new = encoded(places.count + 1, text);
            for written in 0..new.len() {
                file.write_all_at(&old, at).unwrap();
                file.write_all_at(&new[..written], at).unwrap();
                assert_eq!(kept(&folder), before, "{written} bytes of {text}");
            }
            file.write_all_at(&old, at).unwrap();
            places.write(text).unwrap();
            assert_eq!(kept(&folder), Kept::Text(text.into()));
            places.write("second").unwrap();
        }
    }

    #[test]
    fn the_text_from_before_stands_until_the_newest_lasts() {
        let (_held, folder) = folder();
        let (mut places, _) = Places::open(&folder).unwrap();
        for (text, before) in [("two", "one"), ("four", "three")] {
            places.write(before).unwrap();
            places.write(text).unwrap();
            let at = if places.second { wide(PLACE_BYTES) } else { 0 };
            folder.open(CHECKPOINTS).unwrap().write_all_at(b"?", at).unwrap();
            assert_eq!(kept(&folder), Kept::Text(before.into()));
        }
    }

    #[test]
    fn two_spoiled_places_and_a_cut_file_are_damage() {
        let (held, folder) = folder();
        let (mut places, _) = Places::open(&folder).unwrap();
        places.write("one").unwrap();
        places.write("two").unwrap();
        let file = folder.open(CHECKPOINTS).unwrap();
        file.write_all_at(b"?", 45).unwrap();
        assert_eq!(kept(&folder), Kept::Text("two".into()));
        file.write_all_at(b"?", wide(PLACE_BYTES) + 45).unwrap();
        assert!(matches!(Places::open(&folder), Err(PlacesError::Damaged { .. })));
        std::fs::write(held.path().join(CHECKPOINTS), "").unwrap();
        assert!(matches!(Places::open(&folder), Err(PlacesError::Damaged { .. })));
    }

    #[test]
    fn a_failed_sync_is_not_tried_again() {
        let (_held, folder) = folder();
        let (mut places, _) = Places::open(&folder).unwrap();
        places.spoil();
        let failed = places.write("one");
        assert!(matches!(failed, Err(StorageError::Io { step: Step::Sync, .. })), "{failed:?}");
        assert!(matches!(places.write("one"), Err(StorageError::Poisoned)));
    }
}
