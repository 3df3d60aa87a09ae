//! Reads records back, from any thread, while the writer goes on.
//!
//! Only what is durable can be read: a reader knows the durable end and never looks past it, so no
//! record is seen that a crash could still take away.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use portcullis_policy::id::{Epoch, Sequence};
use tokio::sync::watch;

use super::Head;
use super::disk::Disk;
use super::durable::Folder;
use super::fault::{Fault, ReadError, unopened};
use super::segments::segment_name;
use super::walk::{Walk, WalkError};

/// Reads a journal. Cheap to clone; may outlive the storage, and then sees what was durable last.
#[derive(Clone)]
pub struct Reader {
    source: Source,
    tip: watch::Receiver<Tip>,
}

/// Where the records are.
#[derive(Clone)]
enum Source {
    Folder(Arc<dyn Disk>, PathBuf),
    Memory(Arc<RwLock<Vec<Stored>>>),
}

/// One record as it was appended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stored {
    /// Its place.
    pub sequence: Sequence,
    /// Of the writer that appended it.
    pub epoch: Epoch,
    /// What was pushed before it, in order.
    pub attachments: Vec<Bytes>,
    /// Its bytes: a leaf of the tree.
    pub record: Bytes,
}

/// The durable end, as the writer publishes it after each commit.
#[derive(Clone, Debug)]
pub struct Tip {
    pub(super) head: Head,
    /// Each segment's first record, in order.
    pub(super) segments: Arc<[Sequence]>,
    /// Where the last segment's durable part ends, in bytes.
    pub(super) end: u64,
}

impl Tip {
    /// Where the journal ends.
    pub fn head(&self) -> Head {
        self.head
    }
}

impl Reader {
    pub(super) fn of_folder(folder: &Folder, tip: watch::Receiver<Tip>) -> Self {
        let (disk, path) = (Arc::clone(folder.disk()), folder.path().to_owned());
        Self { source: Source::Folder(disk, path), tip }
    }

    pub(super) fn of_memory(records: Arc<RwLock<Vec<Stored>>>, tip: watch::Receiver<Tip>) -> Self {
        Self { source: Source::Memory(records), tip }
    }

    /// What is durable now.
    pub fn head(&self) -> Head {
        self.tip.borrow().head
    }

    /// Tells of each commit; it fails when the storage is gone.
    pub fn watch(&self) -> watch::Receiver<Tip> {
        self.tip.clone()
    }

    /// The records from `first` on, in order, without a gap. 0 means from the beginning.
    ///
    /// Ends at what is durable when it gets there; call `next` again after more has been committed
    /// and it goes on. After an error it has ended for good.
    pub fn records_from(&self, first: Sequence) -> Records {
        let next = first.max(Sequence(1));
        let frame = Vec::new().into_iter();
        Records { reader: self.clone(), next, place: None, frame, failed: false }
    }
}

/// Records in order: see [`Reader::records_from`].
pub struct Records {
    reader: Reader,
    next: Sequence,
    /// The segment being read, by its first record.
    place: Option<(Sequence, Walk)>,
    /// What is left of the batch being read.
    frame: std::vec::IntoIter<Stored>,
    failed: bool,
}

impl Iterator for Records {
    type Item = Result<Stored, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let found = match self.reader.source.clone() {
            Source::Folder(disk, folder) => self.next_in(&*disk, &folder).transpose()?,
            Source::Memory(records) => self.next_of(&records.read()).map(Ok)?,
        };
        match &found {
            Ok(stored) => self.next = stored.sequence.next(),
            Err(_) => self.failed = true,
        }
        Some(found)
    }
}

impl Records {
    fn next_of(&self, records: &[Stored]) -> Option<Stored> {
        let place = usize::try_from(self.next.0.checked_sub(1)?).ok()?;
        records.get(place).cloned()
    }

    fn next_in(&mut self, disk: &dyn Disk, folder: &Path) -> Result<Option<Stored>, ReadError> {
        loop {
            let next = self.next;
            if let Some(stored) = self.frame.find(|stored| stored.sequence >= next) {
                return Ok(Some(stored));
            }
            let tip = self.reader.tip.borrow().clone();
            if next > tip.head.sequence {
                return Ok(None);
            }
            self.read_frame(disk, folder, &tip)?;
        }
    }

    /// Reads the batch that holds the next record, which is durable.
    fn read_frame(&mut self, disk: &dyn Disk, folder: &Path, tip: &Tip) -> Result<(), ReadError> {
        let after = tip.segments.partition_point(|first| *first <= self.next);
        let first = after.checked_sub(1).and_then(|place| tip.segments.get(place));
        let first = *first.unwrap_or(&Sequence(1));
        let path = folder.join(segment_name(first));
        let failed = |source| ReadError::Io { path: path.clone(), source };

        let mut walk = match self.place.take() {
            Some((place, walk)) if place == first => walk,
            Some(_) | None => {
                let file = disk.open_to_read(&path);
                Walk::new(file.map_err(|source| unopened(disk, path.clone(), source))?, first)
            }
        };
        let last = tip.segments.last() == Some(&first);
        let limit = if last { tip.end } else { walk.bytes().map_err(failed)? };

        let frame = walk.skip_to(self.next, limit).and_then(|()| walk.read(limit));
        let position = walk.offset();
        match frame {
            Ok(Some(frame)) => self.frame = frame.records.into_iter(),
            Ok(None) => {
                return Err(ReadError::Damaged { path, position, fault: Fault::NotABatch });
            }
            Err(WalkError::Io(source)) => return Err(unopened(disk, path, source)),
            Err(WalkError::Fault { position, fault }) => {
                return Err(ReadError::Damaged { path, position, fault });
            }
        }
        self.place = Some((first, walk));
        Ok(())
    }
}
