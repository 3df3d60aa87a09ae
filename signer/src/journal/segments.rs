//! The embedded storage: frames in files of equal length, in one folder, for one process.
//!
//! A segment is named by its first record and holds zeros until it is written; free ones are made
//! ahead. A batch is one write and one sync, and never crosses segments. Nothing here deletes or
//! shortens a segment.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_policy::id::{Epoch, Sequence};
use portcullis_policy::tree::Frontier;
use tokio::sync::watch;

use super::base::Base;
use super::batch::{Batch, ENTRY_BYTES_MAX, Urgency};
use super::disk::{Disk, Media, Os};
use super::durable::{self, Folder};
use super::fault::{CreateError, OpenError};
use super::frame::{self, Header, narrow, wide};
use super::places::{Kept, Places, PlacesError};
use super::reader::{Reader, Tip};
use super::spares::{SPARE, Spares};
use super::verify::{Verified, verify};
use super::{Durable, Head, Space, Step, Storage, StorageError};

/// A segment's length where nothing else is asked for, in bytes.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
/// More would make a start with an almost empty journal slow, in bytes.
const SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// A segment is a multiple of this: what file systems allocate, in bytes.
const SEGMENT_BYTES_STEP: u64 = 4096;

/// Ending of a segment's name.
pub(super) const SEGMENT: &str = "journal";

/// The name of the segment that begins with record `first`; names sort as their numbers do.
pub(super) fn segment_name(first: Sequence) -> String {
    format!("{:020}.{SEGMENT}", first.0)
}

/// A journal in a folder, held by a lock until this is dropped.
pub struct Segments {
    folder: Arc<Folder>,
    segment_bytes: u64,
    /// The segment being written.
    file: Box<dyn Media>,
    /// Where the next frame goes in it, in bytes.
    end: u64,
    frontier: Frontier,
    epoch: Epoch,
    spares: Spares,
    tip: watch::Sender<Tip>,
    frame: Vec<u8>,
    poisoned: bool,
}

/// What was found when a journal was opened. The start record has to tell.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "a cut has to be recorded"]
pub struct Opened {
    /// Where the journal ends.
    pub head: Head,
    /// What an interrupted write had left, and is gone now.
    pub cut: Option<Cut>,
}

/// An incomplete batch, which nobody was ever told of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cut {
    /// The segment.
    pub file: PathBuf,
    /// Where the batch began, in bytes from the start of the file.
    pub position: u64,
    /// Bytes from there that were set to zero.
    pub bytes: u64,
    /// The last record before it.
    pub after: Sequence,
}

impl Segments {
    /// Makes a new journal without records; for `init` only. The first batch is the genesis, and
    /// until it is durable the journal cannot be opened again.
    pub fn create(folder: &Path, segment_bytes: u64) -> Result<Self, CreateError> {
        let disk: Arc<dyn Disk> = Arc::new(Os);
        Self::create_on(&disk, folder, segment_bytes)
    }

    pub(super) fn create_on(
        disk: &Arc<dyn Disk>,
        folder: &Path,
        segment_bytes: u64,
    ) -> Result<Self, CreateError> {
        let step = segment_bytes.checked_rem(SEGMENT_BYTES_STEP);
        if step != Some(0) || !(SEGMENT_BYTES_STEP..=SEGMENT_BYTES_MAX).contains(&segment_bytes) {
            return Err(CreateError::SegmentBytes { bytes: segment_bytes });
        }
        let io = |source| OpenError::Io { path: folder.to_owned(), source };
        disk.make_folder(folder).map_err(io)?;
        let locked = lock(disk, folder)?;
        let ours = |name: &String| name.ends_with(SEGMENT) || name.ends_with(SPARE);
        if locked.names().map_err(io)?.iter().any(ours) {
            return Err(CreateError::Exists { folder: folder.to_owned() });
        }
        locked.make_zeros(&segment_name(Sequence(1)), segment_bytes).map_err(io)?;
        let verified = verify(&locked, None)?;
        Ok(Self::start(locked, verified)?)
    }

    /// Verifies a journal from its first byte to its last and makes it ready to append.
    ///
    /// One incomplete batch at the very end is cut; whatever else does not verify is an error, and
    /// nothing has been changed then. Waits until two free segments are ready or the disk is full.
    pub fn open(folder: &Path) -> Result<(Self, Opened), OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(Os);
        Self::open_on(&disk, folder, None)
    }

    /// The same from a base on: what lies before it is believed, and has to be read by somebody.
    pub fn open_from(folder: &Path, base: &Base) -> Result<(Self, Opened), OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(Os);
        Self::open_on(&disk, folder, Some(base))
    }

    pub(super) fn open_on(
        disk: &Arc<dyn Disk>,
        folder: &Path,
        base: Option<&Base>,
    ) -> Result<(Self, Opened), OpenError> {
        let locked = lock(disk, folder)?;
        let verified = verify(&locked, base)?;
        if verified.frontier.size() == 0 {
            return Err(OpenError::Unborn { folder: folder.to_owned() });
        }
        let cut = (verified.incomplete.bytes > 0).then(|| Cut {
            file: folder.join(last_segment(&verified)),
            position: verified.end,
            bytes: verified.incomplete.bytes,
            after: Sequence(verified.frontier.size()),
        });
        let segments = Self::start(locked, verified)?;
        let head = segments.head();
        Ok((segments, Opened { head, cut }))
    }

    /// Where this journal's checkpoints are kept, and what is kept there.
    ///
    /// # Errors
    ///
    /// The file cannot be opened or made, or is damaged.
    pub fn places(&self) -> Result<(Places, Kept), PlacesError> {
        Places::open(&self.folder)
    }

    fn start(folder: Arc<Folder>, verified: Verified) -> Result<Self, OpenError> {
        let name = last_segment(&verified);
        let io = |source| OpenError::Io { path: folder.file(&name), source };
        let file = folder.open(&name).map_err(io)?;
        settle(&folder, &*file, &verified).map_err(io)?;
        let spares = Spares::start(Arc::clone(&folder), verified.segment_bytes, verified.spares);
        let head = Head {
            sequence: Sequence(verified.frontier.size()),
            root: verified.frontier.root(),
            epoch: verified.epoch,
        };
        let tip = Tip { head, segments: verified.segments.into(), end: verified.end };
        Ok(Self {
            spares: spares.map_err(io)?,
            segment_bytes: verified.segment_bytes,
            file,
            end: verified.end,
            frontier: verified.frontier,
            epoch: verified.epoch,
            tip: watch::Sender::new(tip),
            frame: Vec::new(),
            poisoned: false,
            folder,
        })
    }

    /// Makes sure that a frame of so many bytes fits into the present segment.
    fn make_room(&mut self, bytes: u64, urgency: Urgency) -> Result<(), StorageError> {
        let fits = self.end.saturating_add(bytes) <= self.segment_bytes;
        let to_use = if fits { 0 } else { 1 };
        let to_leave = match urgency {
            Urgency::Ordinary => 1,
            Urgency::Emergency => 0,
        };
        let wanted = usize::saturating_add(to_use, to_leave);
        let ready = self.spares.wait_for(wanted);
        if !ready.map_err(|source| StorageError::Io { step: Step::Prepare, source })? {
            return Err(StorageError::NoSpace);
        }
        if fits { Ok(()) } else { self.roll() }
    }

    /// Takes a free segment into use.
    fn roll(&mut self) -> Result<(), StorageError> {
        let failed = |source| StorageError::Io { step: Step::Roll, source };
        let spare = self.spares.next().ok_or(StorageError::NoSpace)?;
        let first = Sequence(self.frontier.size()).next();
        let name = segment_name(first);
        match self.folder.rename(&spare, &name) {
            // The folder itself may need a block for the name. Nothing has happened then.
            Err(error) if durable::is_out_of_space(&error) => return Err(StorageError::NoSpace),
            renamed => renamed.map_err(failed)?,
        }
        self.spares.used(&spare);
        self.folder.sync().map_err(failed)?;
        self.file = self.folder.open(&name).map_err(failed)?;
        self.end = 0;
        self.tip.send_modify(|tip| {
            tip.segments = tip.segments.iter().copied().chain([first]).collect();
            tip.end = 0;
        });
        Ok(())
    }

    /// One write, one sync; then, and only then, readers may see it.
    fn commit(&mut self, header: &Header, body: &[u8]) -> Result<(), StorageError> {
        frame::encode(header, body, &mut self.frame);
        let written = self.file.write_all_at(&self.frame, self.end);
        written.map_err(|source| StorageError::Io { step: Step::Write, source })?;
        durable::sync(&*self.file)
            .map_err(|source| StorageError::Io { step: Step::Sync, source })?;
        self.end = self.end.saturating_add(wide(self.frame.len()));
        Ok(())
    }

    fn append(&mut self, epoch: Epoch, batch: &Batch) -> Result<Durable, StorageError> {
        let body = batch.body()?;
        if epoch < self.epoch {
            return Err(StorageError::NotOwner { ours: epoch, newest: self.epoch });
        }
        let (bytes, bytes_max) = (frame::frame_bytes(body.len()), self.segment_bytes);
        let too_large = StorageError::TooLarge { bytes, bytes_max };
        let (Ok(body_bytes), Ok(records)) =
            (u32::try_from(body.len()), u32::try_from(batch.leaves().len()))
        else {
            return Err(too_large);
        };
        if bytes > bytes_max {
            return Err(too_large);
        }
        self.make_room(bytes, batch.urgency())?;

        let mut frontier = self.frontier.clone();
        batch.leaves().iter().for_each(|leaf| frontier.push(*leaf));
        let first = Sequence(self.frontier.size()).next();
        let root = frontier.root();
        self.commit(&Header { epoch, first, records, body_bytes, root }, body)?;

        let head = Head { sequence: Sequence(frontier.size()), root, epoch };
        (self.frontier, self.epoch) = (frontier, epoch);
        let end = self.end;
        self.tip.send_modify(|tip| (tip.head, tip.end) = (head, end));
        Ok(Durable { first, head })
    }
}

impl Storage for Segments {
    fn append_if_owner(&mut self, epoch: Epoch, batch: &Batch) -> Result<Durable, StorageError> {
        if self.poisoned {
            return Err(StorageError::Poisoned);
        }
        let appended = self.append(epoch, batch);
        self.poisoned = matches!(appended, Err(StorageError::Io { .. }));
        appended
    }

    fn head(&self) -> Head {
        self.tip.borrow().head
    }

    fn space(&self) -> Space {
        self.spares.space()
    }

    fn entry_bytes_max(&self) -> usize {
        // A sixteenth is more than headers and checksums take.
        let held = self.segment_bytes.saturating_sub(self.segment_bytes >> 4);
        usize::try_from(held).map_or(ENTRY_BYTES_MAX, |held| held.min(ENTRY_BYTES_MAX))
    }

    fn reader(&self) -> Reader {
        Reader::of_folder(&self.folder, self.tip.subscribe())
    }
}

fn lock(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Arc<Folder>, OpenError> {
    match Folder::lock(disk, folder) {
        Ok(Some(locked)) => Ok(Arc::new(locked)),
        Ok(None) => Err(OpenError::Held { folder: folder.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(OpenError::Missing { folder: folder.to_owned() })
        }
        Err(source) => Err(OpenError::Io { path: folder.to_owned(), source }),
    }
}

fn last_segment(verified: &Verified) -> String {
    segment_name(*verified.segments.last().unwrap_or(&Sequence(1)))
}

/// Makes durable what was found, and sets to zero what is cut.
///
/// What a process sees need not be on the disk: after a sync that failed, and ended the process
/// before, the kernel holds pages that it believes clean and the disk does not have. Nor need it
/// be seen twice, since such pages may be dropped. So all that was believed is written once more:
/// the last batch, if it is still what was verified, and every zero after it.
///
/// What is behind the last sound sector goes first, because a sector that is broken off is only
/// understood while the sound ones before it are there.
fn settle(folder: &Folder, file: &dyn Media, verified: &Verified) -> io::Result<()> {
    let end = verified.end;
    if let Some((start, first)) = verified.last_batch {
        let mut last = vec![0; narrow(end.saturating_sub(start))];
        file.read_exact_at(&mut last, start)?;
        if !frame::is_sound(&last, first) {
            return Err(io::Error::other("the last batch was there, and is not there any more"));
        }
        file.write_all_at(&last, start)?;
    }
    let sound = verified.incomplete.sound;
    let sound_end = end.saturating_add(sound);
    durable::write_zeros(file, sound_end, verified.segment_bytes.saturating_sub(sound_end))?;
    durable::sync(file)?;
    if sound > 0 {
        durable::write_zeros(file, end, sound)?;
        durable::sync(file)?;
    }
    folder.sync()
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};

    use super::*;

    fn genesis() -> (tempfile::TempDir, Segments) {
        let folder = tempfile::tempdir().unwrap();
        let mut segments = Segments::create(folder.path(), 8192).unwrap();
        let durable = segments.append_if_owner(Epoch(1), &one(b"genesis")).unwrap();
        assert_eq!(durable.first(), Sequence(1));
        (folder, segments)
    }

    fn one(record: &[u8]) -> Batch {
        let mut batch = Batch::ordinary();
        batch.push_record(record).unwrap();
        batch
    }

    /// Fails with the given step and then refuses everything, with nothing new to see.
    fn fails_once_and_for_all(mut segments: Segments, expected: Step) {
        let before = segments.head();
        let reader = segments.reader();
        match segments.append_if_owner(Epoch(1), &one(b"lost")) {
            Err(StorageError::Io { step, .. }) => assert_eq!(step, expected),
            other => panic!("{other:?}"),
        }
        let again = segments.append_if_owner(Epoch(1), &one(b"lost"));
        assert!(matches!(again, Err(StorageError::Poisoned)), "{again:?}");
        assert_eq!(segments.head(), before);
        assert_eq!(reader.records_from(Sequence(1)).count(), 1);
    }

    #[test]
    fn a_failed_write_poisons_the_storage() {
        let (folder, mut segments) = genesis();
        let path = folder.path().join(segment_name(Sequence(1)));
        segments.file = Box::new(File::open(path).unwrap());
        fails_once_and_for_all(segments, Step::Write);
    }

    #[test]
    fn a_failed_sync_is_not_tried_again() {
        let (_folder, mut segments) = genesis();
        // Takes every write and knows no sync.
        segments.file = Box::new(OpenOptions::new().write(true).open("/dev/null").unwrap());
        fails_once_and_for_all(segments, Step::Sync);
    }

    #[test]
    fn a_reader_does_not_see_a_batch_that_is_written_but_not_durable() {
        let (folder, mut segments) = genesis();
        let reader = segments.reader();
        let mut records = reader.records_from(Sequence(1));
        assert_eq!(records.next().unwrap().unwrap().record, "genesis");

        // All of a commit but its last step.
        let batch = one(b"written");
        let mut frontier = segments.frontier.clone();
        frontier.push(batch.leaves()[0]);
        let body = batch.body().unwrap();
        let header = Header {
            epoch: Epoch(1),
            first: Sequence(2),
            records: 1,
            body_bytes: u32::try_from(body.len()).unwrap(),
            root: frontier.root(),
        };
        segments.commit(&header, body).unwrap();
        assert!(records.next().is_none());
        assert!(reader.records_from(Sequence(2)).next().is_none());

        drop(segments);
        let (segments, opened) = Segments::open(folder.path()).unwrap();
        assert_eq!(opened.head.sequence, Sequence(2), "a whole batch stays");
        assert_eq!(segments.reader().records_from(Sequence(2)).count(), 1);
    }
}
