//! The only file that has anything in the data folder made, renamed or synced.
//!
//! The order matters more than it shows. A file is filled and synced under a name that nobody
//! takes for a part of the journal, then renamed, then its folder is synced: whatever has a name
//! of ours is complete. Nothing here tries a failed sync again: after one, Linux counts the lost
//! pages as clean, and the second answer would be a lie.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, Media};
use super::frame::{is_blank, narrow, wide};

/// Ending of a file that is still being filled: left over, it may go.
const UNFINISHED: &str = "new";
/// How much is zeroed or compared at once, in bytes.
const CHUNK_BYTES: u64 = 1024 * 1024;

/// A journal's folder, locked for as long as this lives.
pub(super) struct Folder {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    handle: Box<dyn Media>,
}

impl Folder {
    /// Takes the folder's lock; `None` if another process, or another part of this one, has it.
    pub(super) fn lock(disk: &Arc<dyn Disk>, path: &Path) -> io::Result<Option<Self>> {
        let locked = disk.lock(path)?;
        Ok(locked.map(|handle| Self { disk: Arc::clone(disk), path: path.to_owned(), handle }))
    }

    pub(super) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The names of all files, sorted; what is left over from an interrupted start is removed.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for name in self.disk.names(&self.path)? {
            if Path::new(&name).extension().is_some_and(|ending| ending == UNFINISHED) {
                self.disk.remove(&self.file(&name))?;
            } else {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Opens a file of the journal to read and write it.
    pub(super) fn open(&self, name: &str) -> io::Result<Box<dyn Media>> {
        self.disk.open(&self.file(name))
    }

    /// Opens a file of the journal to read it.
    pub(super) fn open_to_read(&self, name: &str) -> io::Result<Box<dyn Media>> {
        self.disk.open_to_read(&self.file(name))
    }

    /// Makes a file of zeros whose blocks are the disk's promise. When this returns, it lasts;
    /// when it fails, it takes no space.
    pub(super) fn make_zeros(&self, name: &str, bytes: u64) -> io::Result<()> {
        let unfinished = self.file(name).with_extension(UNFINISHED);
        let made = self
            .fill(&unfinished, bytes)
            .and_then(|()| self.disk.rename(&unfinished, &self.file(name)))
            .and_then(|()| self.sync());
        if made.is_err() {
            // It may not exist at all. The first error is the one that counts.
            drop(self.disk.remove(&unfinished));
        }
        made
    }

    /// Gives a file another name. Not durable before [`Folder::sync`].
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(&self.file(from), &self.file(to))
    }

    /// Makes names durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    /// Reserves first, so that a lack of space shows before much is written; then writes, because
    /// a block that was reserved but never written costs another commit of the file system later.
    fn fill(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = self.disk.create(path)?;
        match file.reserve(bytes) {
            // Where a file system cannot reserve, writing shows whether there is room.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            reserved => reserved?,
        }
        write_zeros(&*file, 0, bytes)?;
        file.sync_all()
    }
}

/// Whether an error says that there is no room, rather than that the disk is broken.
pub(super) fn is_out_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Makes what was written durable; the file's length and times are none of our business.
pub(super) fn sync(file: &dyn Media) -> io::Result<()> {
    file.sync_data()
}

/// Overwrites a stretch with zeros. Not durable before [`sync`].
pub(super) fn write_zeros(file: &dyn Media, from: u64, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; narrow(bytes.min(CHUNK_BYTES))];
    let end = from.saturating_add(bytes);
    let mut at = from;
    while at < end {
        let some = zeros.get(..narrow(end.saturating_sub(at))).unwrap_or(&zeros);
        file.write_all_at(some, at)?;
        at = at.saturating_add(wide(some.len()));
    }
    Ok(())
}

/// Where the first byte other than zero stands, if any.
pub(super) fn first_nonzero(file: &dyn Media) -> io::Result<Option<u64>> {
    let mut chunk = vec![0; narrow(CHUNK_BYTES)];
    let mut at = 0_u64;
    loop {
        let read = file.read_at(&mut chunk, at)?;
        let bytes = chunk.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(None);
        }
        if !is_blank(bytes) {
            let before = bytes.iter().take_while(|byte| **byte == 0).count();
            return Ok(Some(at.saturating_add(wide(before))));
        }
        at = at.saturating_add(wide(read));
    }
}
