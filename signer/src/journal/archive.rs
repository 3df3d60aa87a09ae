//! Moves segments to where there is more room, beside a signer that may be running, and leaves
//! links in their places: whoever reads the journal goes on reading all of it.
//!
//! Only what nobody writes any more is moved: never the last segment, and never the first, which
//! says whose journal it is. What came to the new place is compared before the link takes the
//! old one's name, so that there is a whole copy under that name at every moment. A move that was
//! broken off is made good by the next one.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_policy::id::Sequence;
use rustix::process::geteuid;

use super::disk::{Disk, Media, Os};
use super::fault::{Fault, OpenError, ReadError, unopened};
use super::frame::{narrow, wide};
use super::segments::segment_name;
use super::verify::segments_of;
use super::walk::{Walk, WalkError};

/// A folder with room, locked for as long as this lives.
pub struct Archive {
    disk: Arc<dyn Disk>,
    data: PathBuf,
    folder: PathBuf,
    handle: Box<dyn Media>,
}

/// What was moved, and what could be later.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Moved {
    /// Segments that were moved now.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Links that led to where the archive was before, and lead here now.
    pub led_here: u64,
    /// Segments that are in the archive by now.
    pub archived: u64,
    /// Segments that stay in the data folder.
    pub stay: u64,
}

/// Why segments were not moved. What was moved before is moved.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is never made here: where a disk should be mounted, that would fill another one.
    #[error("there is no folder {}: mount the archive, or make the folder", folder.display())]
    Missing {
        /// The archive.
        folder: PathBuf,
    },
    /// Then nothing would be gained.
    #[error("the archive {} is in the data folder, or the other way round", folder.display())]
    Inside {
        /// The archive.
        folder: PathBuf,
    },
    /// Then the signer could not read what was moved.
    #[error("the data folder belongs to user {uid}: run this as that user")]
    Owner {
        /// The signer's user.
        uid: u32,
    },
    /// One at a time.
    #[error("segments are being moved to {} already: wait for that", folder.display())]
    Held {
        /// The archive.
        folder: PathBuf,
    },
    /// A folder that is not the one from before, or a mount point with nothing mounted on it.
    #[error(
        "{} is to be in the archive {}, and is not: mount the archive. If it was moved elsewhere, \
         all of it has to be there",
        file.display(),
        folder.display()
    )]
    Empty {
        /// What was archived before.
        file: PathBuf,
        /// The archive.
        folder: PathBuf,
    },
    /// It is never replaced.
    #[error(
        "{} is there already and holds something else: another journal's archive? choose another \
         folder",
        file.display()
    )]
    Other {
        /// The file in the archive.
        file: PathBuf,
    },
    /// What was written and what was read back differ.
    #[error("{} does not hold what was written to it: look at that disk", file.display())]
    Copy {
        /// The file in the archive.
        file: PathBuf,
    },
    /// The operating system refused.
    #[error("{} could not be read or written", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The journal, or a segment of it: it stays where it is.
    #[error("the journal cannot be moved as it is")]
    Journal(#[from] OpenError),
}

impl Archive {
    /// The folder `to`, for the journal in `data`. Waits for nobody.
    ///
    /// # Errors
    ///
    /// It is not there, not apart, or another moves segments to it.
    pub fn open(data: &Path, to: &Path) -> Result<Self, ArchiveError> {
        let disk: Arc<dyn Disk> = Arc::new(Os);
        Self::open_on(&disk, data, to)
    }

    fn open_on(disk: &Arc<dyn Disk>, data: &Path, to: &Path) -> Result<Self, ArchiveError> {
        let folder = to.to_owned();
        let failed = |source| ArchiveError::Io { path: to.to_owned(), source };
        let real = match to.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ArchiveError::Missing { folder });
            }
            real => real.map_err(failed)?,
        };
        let of_data = |source| ArchiveError::Io { path: data.into(), source };
        let source = data.canonicalize().map_err(of_data)?;
        let (there, here) = (real.metadata().map_err(failed)?, source.metadata().map_err(of_data)?);
        // One folder may be mounted at two places.
        let is_one = (there.dev(), there.ino()) == (here.dev(), here.ino());
        if is_one || real.starts_with(&source) || source.starts_with(&real) {
            return Err(ArchiveError::Inside { folder });
        }
        // What is moved belongs to whoever moves it, and the signer has to read it.
        if here.uid() != geteuid().as_raw() {
            return Err(ArchiveError::Owner { uid: here.uid() });
        }
        let locked = disk.lock(to).map_err(failed)?;
        let handle = locked.ok_or_else(|| ArchiveError::Held { folder: folder.clone() })?;
        Ok(Self { disk: Arc::clone(disk), data: data.to_owned(), folder, handle })
    }

    /// Moves every segment that ends with record `upto` or before, but the first. `tell` hears of
    /// each that is about to be moved.
    ///
    /// # Errors
    ///
    /// See [`ArchiveError`].
    pub fn move_below(
        &self,
        upto: Sequence,
        mut tell: impl FnMut(&Path),
    ) -> Result<Moved, ArchiveError> {
        let io = |source| ArchiveError::Io { path: self.data.clone(), source };
        let segments = segments_of(self.disk.names(&self.data).map_err(io)?, &self.data)?;
        let ends = segments.iter().skip(1).copied();
        let mut all = segments.iter().copied().zip(ends).skip(1).peekable();
        self.holds_what_was_moved(all.clone().map(|(first, _)| first))?;
        let mut moved = Moved { stay: wide(segments.len()), ..Moved::default() };
        while let Some((first, next)) = all.next_if(|(_, next)| next.0 <= upto.next().0) {
            let name = segment_name(first);
            match self.disk.leads_to(&self.data.join(&name)) {
                Some(to) if to == self.folder.join(&name) => {}
                Some(_) => {
                    self.check(&self.folder.join(&name), first, next)?;
                    self.lead(&name)?;
                    moved.led_here = moved.led_here.saturating_add(1);
                }
                None => {
                    tell(&self.data.join(&name));
                    let bytes = self.carry(&name, first, next)?;
                    moved.bytes = moved.bytes.saturating_add(bytes);
                    moved.segments = moved.segments.saturating_add(1);
                }
            }
            moved.archived = moved.archived.saturating_add(1);
        }
        moved.stay = moved.stay.saturating_sub(moved.archived);
        Ok(moved)
    }

    /// A mount point on which nothing is mounted takes files too.
    fn holds_what_was_moved(
        &self,
        mut segments: impl Iterator<Item = Sequence>,
    ) -> Result<(), ArchiveError> {
        let moved = segments.find(|first| {
            let path = self.data.join(segment_name(*first));
            self.disk.leads_to(&path).is_some()
        });
        let Some(first) = moved else { return Ok(()) };
        let file = self.folder.join(segment_name(first));
        match self.disk.open_to_read(&file) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(ArchiveError::Empty { file, folder: self.folder.clone() })
            }
            Err(source) => Err(ArchiveError::Io { path: file, source }),
        }
    }

    /// Moves one, and says how many bytes it has.
    fn carry(&self, name: &str, first: Sequence, next: Sequence) -> Result<u64, ArchiveError> {
        let (from, to) = (self.data.join(name), self.folder.join(name));
        self.check(&from, first, next)?;
        let source = self.read(&from)?;
        let io = |source| ArchiveError::Io { path: to.clone(), source };
        if self.disk.leads_to(&to).is_some() {
            return Err(ArchiveError::Other { file: to });
        }
        match self.disk.open_to_read(&to) {
            // By another name. Then the link would lead to itself, and nothing would be left.
            Ok(there) if there.identity().map_err(io)? == source.identity().map_err(io)? => {
                return Err(ArchiveError::Inside { folder: self.folder.clone() });
            }
            // Moved before, all but the link.
            Ok(there) if is_same(&*source, &*there).map_err(io)? => {}
            Ok(_) => return Err(ArchiveError::Other { file: to }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let unfinished = self.folder.join(unfinished(name));
                self.clear(&unfinished).map_err(io)?;
                copy(&*source, &*self.disk.create_new(&unfinished).map_err(io)?).map_err(io)?;
                let there = self.disk.open_to_read(&unfinished).map_err(io)?;
                if !is_same(&*source, &*there).map_err(io)? {
                    return Err(ArchiveError::Copy { file: unfinished });
                }
                self.disk.rename(&unfinished, &to).map_err(io)?;
            }
            Err(source) => return Err(io(source)),
        }
        // Also of one that was there already: nobody knows whether its name lasts.
        self.handle.sync_all().map_err(io)?;
        self.lead(name)?;
        source.bytes().map_err(io)
    }

    /// Removes what a move left that was broken off.
    fn clear(&self, unfinished: &Path) -> io::Result<()> {
        match self.disk.remove(unfinished) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Has a segment's name lead to the archive.
    fn lead(&self, name: &str) -> Result<(), ArchiveError> {
        let (path, made) = (self.data.join(name), self.data.join(unfinished(name)));
        let led = self.clear(&made);
        let led = led.and_then(|()| self.disk.link(&self.folder.join(name), &made));
        let led = led.and_then(|()| self.disk.rename(&made, &path));
        let led = led.and_then(|()| self.disk.sync_names(&self.data));
        led.map_err(|source| ArchiveError::Io { path, source })
    }

    /// Whether a file is the segment from `first` on, whole and sound, with `next` after it.
    fn check(&self, path: &Path, first: Sequence, next: Sequence) -> Result<(), ArchiveError> {
        let damaged = |position, fault| OpenError::Damaged { path: path.into(), position, fault };
        let io = |source| OpenError::Io { path: path.into(), source };
        let mut walk = Walk::new(self.read(path)?, first);
        let bytes = walk.bytes().map_err(io)?;
        loop {
            match walk.read(bytes) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(WalkError::Io(source)) => return Err(io(source).into()),
                Err(WalkError::Fault { position, fault }) => {
                    return Err(damaged(position, fault).into());
                }
            }
        }
        let found = walk.next_sequence();
        let fault = Fault::Order { expected: next, found };
        if found == next { Ok(()) } else { Err(damaged(walk.offset(), fault).into()) }
    }

    fn read(&self, path: &Path) -> Result<Box<dyn Media>, ArchiveError> {
        let opened = self.disk.open_to_read(path);
        let opened = opened.map_err(|source| unopened(&*self.disk, path.to_owned(), source));
        Ok(opened.map_err(|error: ReadError| OpenError::from(error))?)
    }
}

/// What is left under such a name may go: see [`super::durable`].
fn unfinished(name: &str) -> String {
    format!("{name}.new")
}

/// Copies a file, for good.
fn copy(from: &dyn Media, to: &dyn Media) -> io::Result<()> {
    let (mut chunk, mut at) = (vec![0; narrow(CHUNK_BYTES)], 0);
    loop {
        let read = fill(from, &mut chunk, at)?;
        let some = chunk.get(..read).unwrap_or_default();
        if some.is_empty() {
            return to.sync_all();
        }
        to.write_all_at(some, at)?;
        at = at.saturating_add(wide(read));
    }
}

/// Whether two files hold the same bytes.
fn is_same(one: &dyn Media, other: &dyn Media) -> io::Result<bool> {
    let (mut these, mut those, mut at) =
        (vec![0; narrow(CHUNK_BYTES)], vec![0; narrow(CHUNK_BYTES)], 0);
    loop {
        let (read, also) = (fill(one, &mut these, at)?, fill(other, &mut those, at)?);
        if read != also || these.get(..read) != those.get(..also) {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
        at = at.saturating_add(wide(read));
    }
}

/// Reads until the chunk is full or the file ends.
fn fill(file: &dyn Media, chunk: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = chunk.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at.saturating_add(wide(filled))) {
            Ok(0) => break,
            Ok(more) => filled = filled.saturating_add(more),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// How much is copied or compared at once, in bytes.
const CHUNK_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
mod tests;
