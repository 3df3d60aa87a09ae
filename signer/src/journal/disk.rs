//! Every call to the operating system that the journal makes, one function each, and nothing else.
//!
//! In which order they come is the business of [`super::durable`], and of those who use it. They
//! stand behind a trait so that a test can put a disk in the place of the real one that loses all
//! that a disk may lose.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt, MetadataExt as _, OpenOptionsExt as _, symlink,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::{Condvar, MutexGuard};
use rustix::fs::{FallocateFlags, FlockOperation, OFlags};

use super::spares::State;

/// A disk with folders and files, and the one thread that makes files ahead.
pub(super) trait Disk: Send + Sync {
    /// Makes a folder for its owner only, and makes it last; nothing if it is there.
    fn make_folder(&self, path: &Path) -> io::Result<()>;

    /// Opens a folder and takes its lock; `None` if another has it.
    fn lock(&self, folder: &Path) -> io::Result<Option<Box<dyn Media>>>;

    /// The names in a folder, in no order.
    fn names(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// Makes an empty file, in place of one of that name.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Media>>;

    /// Opens a file to read and write it.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Media>>;

    /// Opens a file to read it.
    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn Media>>;

    /// Gives a file another name, in place of a file that had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a name that leads to a file elsewhere.
    fn link(&self, _to: &Path, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Where a name leads that stands for a file elsewhere, whether it is there or not.
    fn leads_to(&self, _path: &Path) -> Option<PathBuf> {
        None
    }

    /// Makes an empty file where there is nothing of that name, not even a link.
    fn create_new(&self, _path: &Path) -> io::Result<Box<dyn Media>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes the names in a folder durable whose lock another may have.
    fn sync_names(&self, _folder: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Has work done beside this thread. What comes back waits for its end.
    fn beside(&self, work: Box<dyn FnOnce() + Send>) -> io::Result<Join>;

    /// Waits until `changed` tells of something, at most so long. May return early.
    fn wait(&self, changed: &Condvar, state: &mut MutexGuard<'_, State>, most: Option<Duration>);
}

/// Waits for the end of what was begun.
pub(super) type Join = Box<dyn FnOnce() + Send>;

/// A file, or a folder's handle.
pub(super) trait Media: FileExt + Send + Sync {
    /// Its length.
    fn bytes(&self) -> io::Result<u64>;

    /// What tells it from every other file, whatever its names are: device and number.
    fn identity(&self) -> io::Result<(u64, u64)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Has the disk keep so many bytes for it, or says that it cannot.
    fn reserve(&self, bytes: u64) -> io::Result<()>;

    /// Makes durable what was written; length and times may stay behind.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes durable what was written and the file's length; or the names in a folder.
    fn sync_all(&self) -> io::Result<()>;
}

/// The machine's own.
pub(super) struct Os;

impl Disk for Os {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        DirBuilder::new().mode(0o700).create(path)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn lock(&self, folder: &Path) -> io::Result<Option<Box<dyn Media>>> {
        let handle = File::open(folder)?;
        match rustix::fs::flock(&handle, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(handle))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let name =
            |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        fs::read_dir(folder)?.map(name).collect()
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Media>> {
        let mut options = OpenOptions::new();
        Ok(Box::new(options.write(true).create(true).truncate(true).mode(0o600).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Media>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn Media>> {
        // Whoever has the disk may have put a pipe there, and opening that would never end.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        if file.metadata()?.is_file() {
            return Ok(Box::new(file));
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
    }

    #[expect(clippy::disallowed_methods, reason = "the one rename; every caller syncs the folder")]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn link(&self, to: &Path, path: &Path) -> io::Result<()> {
        symlink(to, path)
    }

    fn leads_to(&self, path: &Path) -> Option<PathBuf> {
        fs::read_link(path).ok()
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn Media>> {
        let mut options = OpenOptions::new();
        Ok(Box::new(options.write(true).create_new(true).mode(0o600).open(path)?))
    }

    fn sync_names(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn beside(&self, work: Box<dyn FnOnce() + Send>) -> io::Result<Join> {
        let thread = std::thread::Builder::new().name("journal-spares".to_owned()).spawn(work)?;
        Ok(Box::new(move || drop(thread.join())))
    }

    fn wait(&self, changed: &Condvar, state: &mut MutexGuard<'_, State>, most: Option<Duration>) {
        match most {
            Some(most) => drop(changed.wait_for(state, most)),
            None => changed.wait(state),
        }
    }
}

impl Media for File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        let found = self.metadata()?;
        Ok((found.dev(), found.ino()))
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(self, FallocateFlags::empty(), 0, bytes)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        Self::sync_all(self)
    }
}
