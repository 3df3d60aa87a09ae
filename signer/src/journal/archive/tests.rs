//! Moves that end well, and that break off at any call; archives that are not what they should be.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "small numbers; and a disk that dies stands in for the one that may rename"
)]

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, MutexGuard};
use portcullis_policy::id::Epoch;

use super::super::disk::Join;
use super::super::spares::State;
use super::super::{Batch, Reader, Segments, Storage as _};
use super::*;

const SEGMENT: u64 = 4096;

/// Everything archived that can be.
const ALL: Sequence = Sequence(u64::MAX - 1);

struct Vault {
    data: tempfile::TempDir,
    archive: tempfile::TempDir,
}

impl Vault {
    /// A journal of some segments.
    fn new() -> Self {
        let vault =
            Self { data: tempfile::tempdir().unwrap(), archive: tempfile::tempdir().unwrap() };
        let mut segments = Segments::create(vault.data.path(), SEGMENT).unwrap();
        for number in 1..=RECORDS {
            append(&mut segments, number);
        }
        vault
    }

    fn open(&self) -> Archive {
        Archive::open(self.data.path(), self.archive.path()).unwrap()
    }

    fn move_below(&self, upto: Sequence) -> Result<Moved, ArchiveError> {
        self.open().move_below(upto, |_| ())
    }

    fn firsts(&self) -> Vec<Sequence> {
        segments_of(Os.names(self.data.path()).unwrap(), self.data.path()).unwrap()
    }

    fn data(&self, first: Sequence) -> PathBuf {
        self.data.path().join(segment_name(first))
    }

    fn archived(&self, first: Sequence) -> PathBuf {
        self.archive.path().join(segment_name(first))
    }

    fn links(&self) -> Vec<Sequence> {
        let is_link = |first: &Sequence| fs::read_link(self.data(*first)).is_ok();
        self.firsts().into_iter().filter(is_link).collect()
    }

    /// Opens it as a start does, reads all of it, and goes on.
    fn is_whole(&self) {
        let (segments, opened) = Segments::open(self.data.path()).unwrap();
        assert_eq!((opened.cut, opened.head.sequence), (None, Sequence(RECORDS)));
        assert_eq!(read(&segments.reader()), (1..=RECORDS).map(record).collect::<Vec<_>>());
    }
}

const RECORDS: u64 = 40;

fn record(number: u64) -> Vec<u8> {
    format!("{number:0>1000}").into_bytes()
}

fn append(segments: &mut Segments, number: u64) {
    let mut batch = Batch::ordinary();
    batch.push_record(&record(number)).unwrap();
    let _durable = segments.append_if_owner(Epoch(1), &batch).unwrap();
}

fn read(reader: &Reader) -> Vec<Vec<u8>> {
    reader.records_from(Sequence(1)).map(|stored| stored.unwrap().record.to_vec()).collect()
}

#[test]
fn what_was_moved_is_read_as_before_while_the_writer_goes_on() {
    let vault = Vault::new();
    let firsts = vault.firsts();
    assert!(firsts.len() > 8, "{firsts:?}");
    let (mut segments, _) = Segments::open(vault.data.path()).unwrap();
    let reader = segments.reader();
    let mut reading = reader.records_from(firsts[2]);
    assert_eq!(reading.next().unwrap().unwrap().sequence, firsts[2]);

    let moved = vault.move_below(ALL).unwrap();
    let middle = wide(firsts.len()) - 2;
    let bytes = middle * SEGMENT;
    let expected = Moved { segments: middle, bytes, led_here: 0, archived: middle, stay: 2 };
    assert_eq!(moved, expected);
    assert_eq!(vault.links(), firsts[1..firsts.len() - 1], "neither the first nor the last");

    assert_eq!(wide(reading.by_ref().count()), RECORDS - firsts[2].0);
    append(&mut segments, RECORDS + 1);
    assert_eq!(reading.next().unwrap().unwrap().record, record(RECORDS + 1));
    assert_eq!(wide(read(&reader).len()), RECORDS + 1);
    // What was the last one is no longer.
    let again = vault.move_below(ALL).unwrap();
    assert_eq!((again.segments, again.archived, again.stay), (1, middle + 1, 2));
    assert_eq!(vault.move_below(ALL).unwrap().segments, 0);
    drop(segments);
    assert_eq!(Segments::open(vault.data.path()).unwrap().1.head.sequence.0, RECORDS + 1);
}

#[test]
fn only_segments_that_end_before_the_snapshot_are_moved() {
    let vault = Vault::new();
    let firsts = vault.firsts();
    let end_of_second = Sequence(firsts[2].0 - 1);
    let moved = vault.move_below(Sequence(end_of_second.0 - 1)).unwrap();
    assert_eq!((moved.segments, moved.stay), (0, wide(firsts.len())));
    assert_eq!(vault.move_below(end_of_second).unwrap().segments, 1);
    assert_eq!(vault.links(), [firsts[1]]);
    vault.is_whole();
}

/// A disk on which only so many more calls succeed, and then none; or that writes what is not so.
struct Dying {
    left: AtomicU32,
    is_faulty: bool,
}

impl Dying {
    fn after(calls: u32) -> Arc<dyn Disk> {
        Arc::new(Self { left: AtomicU32::new(calls), is_faulty: false })
    }

    fn faulty() -> Arc<dyn Disk> {
        Arc::new(Self { left: AtomicU32::new(u32::MAX), is_faulty: true })
    }

    fn live(&self) -> io::Result<()> {
        let less = |left: u32| left.checked_sub(1);
        let lived = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        lived.map(drop).map_err(|_| io::Error::other("it is dead"))
    }
}

impl Disk for Dying {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        Os.make_folder(path)
    }
    fn lock(&self, folder: &Path) -> io::Result<Option<Box<dyn Media>>> {
        Os.lock(folder)
    }
    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.live().and_then(|()| Os.names(folder))
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn Media>> {
        self.live().and_then(|()| Os.create(path))
    }
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn Media>> {
        self.live()?;
        let file = Os.create_new(path)?;
        // As far as a process gets that is killed while it writes.
        if self.left.load(Ordering::SeqCst) == 0 {
            file.write_all_at(b"half", 0)?;
        }
        Ok(file)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn Media>> {
        self.live().and_then(|()| Os.open(path))
    }
    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn Media>> {
        let is_copy = path.extension().is_some_and(|end| end == "new");
        if self.is_faulty && is_copy {
            Os.open(path)?.write_all_at(b"other", 700)?;
        }
        self.live().and_then(|()| Os.open_to_read(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        assert!(!self.is_faulty, "what was not as written got a name");
        self.live().and_then(|()| Os.rename(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.live().and_then(|()| Os.remove(path))
    }
    fn link(&self, to: &Path, path: &Path) -> io::Result<()> {
        self.live().and_then(|()| Os.link(to, path))
    }
    fn leads_to(&self, path: &Path) -> Option<PathBuf> {
        Os.leads_to(path)
    }
    fn sync_names(&self, folder: &Path) -> io::Result<()> {
        self.live().and_then(|()| Os.sync_names(folder))
    }
    fn beside(&self, work: Box<dyn FnOnce() + Send>) -> io::Result<Join> {
        Os.beside(work)
    }
    fn wait(&self, changed: &Condvar, state: &mut MutexGuard<'_, State>, most: Option<Duration>) {
        Os.wait(changed, state, most);
    }
}

#[test]
fn a_move_that_breaks_off_at_any_call_leaves_a_whole_journal_and_is_made_good_by_the_next() {
    let mut broken_off = 0;
    for calls in 0.. {
        let vault = Vault::new();
        let (data, archive) = (vault.data.path(), vault.archive.path());
        let disk = Dying::after(calls);
        let moved = Archive::open_on(&disk, data, archive).unwrap().move_below(ALL, |_| ());
        vault.is_whole();
        if moved.is_ok() {
            break;
        }
        broken_off += 1;
        let moved = vault.move_below(ALL).unwrap();
        assert_eq!((moved.archived, moved.stay), (wide(vault.firsts().len()) - 2, 2), "{calls}");
        vault.is_whole();
    }
    assert!(broken_off > 50, "{broken_off}");
}

#[test]
fn an_archive_that_is_away_is_named_by_readers_and_by_starts_and_may_come_back() {
    let vault = Vault::new();
    vault.move_below(ALL).unwrap();
    let second = vault.firsts()[1];
    let (segments, _) = Segments::open(vault.data.path()).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let elsewhere = elsewhere.path().join("archive");
    fs::rename(vault.archive.path(), &elsewhere).unwrap();

    let read_of = |at| segments.reader().records_from(at).next().unwrap();
    let error = read_of(second).unwrap_err();
    assert!(matches!(&error, ReadError::Away { to, .. } if *to == vault.archived(second)));
    assert!(error.to_string().contains("mount the archive"), "{error}");
    assert_eq!(read_of(Sequence(1)).unwrap().record, record(1));
    assert_eq!(read_of(Sequence(RECORDS)).unwrap().record, record(RECORDS));
    drop(segments);
    let error = Segments::open(vault.data.path()).err().unwrap();
    assert!(matches!(error, OpenError::Away { .. }), "{error}");

    fs::rename(&elsewhere, vault.archive.path()).unwrap();
    vault.is_whole();
}

#[test]
fn a_segment_that_is_not_sound_stays_where_it_is() {
    let vault = Vault::new();
    let [_, _, third, ..] = vault.firsts()[..] else { panic!() };
    let mut bytes = fs::read(vault.data(third)).unwrap();
    bytes[700] ^= 1;
    fs::write(vault.data(third), bytes).unwrap();
    let moved = vault.move_below(ALL);
    assert!(matches!(moved, Err(ArchiveError::Journal(OpenError::Damaged { .. }))), "{moved:?}");
    assert_eq!(vault.links().len(), 1);
    assert!(!vault.archived(third).exists());
}

#[test]
fn a_copy_that_does_not_hold_what_was_written_takes_nobodys_place() {
    let vault = Vault::new();
    // The disk takes one byte of a segment for another.
    let disk = Dying::faulty();
    let archive = Archive::open_on(&disk, vault.data.path(), vault.archive.path()).unwrap();
    let moved = archive.move_below(ALL, |_| ());
    assert!(matches!(moved, Err(ArchiveError::Copy { .. })), "{moved:?}");
    assert_eq!(vault.links(), []);
    vault.is_whole();
}

#[test]
fn what_is_in_the_archive_is_never_replaced_by_something_else() {
    let vault = Vault::new();
    let second = vault.firsts()[1];
    fs::write(vault.archived(second), "of another vault").unwrap();
    let moved = vault.move_below(ALL);
    assert!(matches!(moved, Err(ArchiveError::Other { .. })), "{moved:?}");
    assert_eq!(fs::read(vault.archived(second)).unwrap(), b"of another vault");
    vault.is_whole();
}

#[test]
fn a_mount_point_without_its_disk_is_no_archive() {
    let vault = Vault::new();
    vault.move_below(Sequence(vault.firsts()[3].0 - 1)).unwrap();
    for entry in fs::read_dir(vault.archive.path()).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let moved = vault.move_below(ALL);
    assert!(matches!(moved, Err(ArchiveError::Empty { .. })), "{moved:?}");
    assert_eq!(fs::read_dir(vault.archive.path()).unwrap().count(), 0);
}

#[test]
fn an_archive_that_was_moved_is_led_to_where_it_is_now() {
    let vault = Vault::new();
    let moved = vault.move_below(ALL).unwrap();
    let new = tempfile::tempdir().unwrap();
    for first in vault.links() {
        fs::rename(vault.archived(first), new.path().join(segment_name(first))).unwrap();
    }
    let again = Archive::open(vault.data.path(), new.path()).unwrap().move_below(ALL, |_| ());
    let again = again.unwrap();
    assert_eq!((again.led_here, again.segments), (moved.archived, 0));
    vault.is_whole();
}

#[test]
fn an_archive_is_a_folder_apart_and_taken_by_one() {
    let vault = Vault::new();
    let open = |to: &Path| Archive::open(vault.data.path(), to);
    assert!(matches!(open(vault.data.path()), Err(ArchiveError::Inside { .. })));
    let inside = vault.data.path().join("archive");
    assert!(matches!(open(&inside), Err(ArchiveError::Missing { .. })));
    fs::create_dir(&inside).unwrap();
    assert!(matches!(open(&inside), Err(ArchiveError::Inside { .. })));
    let one = vault.open();
    assert!(matches!(open(vault.archive.path()), Err(ArchiveError::Held { .. })));
    drop(one);
    assert!(open(vault.archive.path()).is_ok());
}

/// Two names of one file are no copy: a link that takes the place of one would lead to itself.
#[test]
fn a_name_of_the_very_segment_in_the_archive_is_no_copy_of_it() {
    for hard in [true, false] {
        let vault = Vault::new();
        let second = vault.firsts()[1];
        let (data, archived) = (vault.data(second), vault.archived(second));
        if hard {
            fs::hard_link(&data, &archived).unwrap();
        } else {
            std::os::unix::fs::symlink(&data, &archived).unwrap();
        }
        assert!(vault.move_below(ALL).is_err());
        assert_eq!(vault.links(), []);
        vault.is_whole();
    }
}

#[test]
fn what_somebody_put_in_the_place_of_an_unfinished_copy_is_not_written_to() {
    let vault = Vault::new();
    let [first, second, ..] = vault.firsts()[..] else { panic!() };
    let planted = vault.archive.path().join(unfinished(&segment_name(second)));
    std::os::unix::fs::symlink(vault.data(first), planted).unwrap();
    vault.move_below(ALL).unwrap();
    vault.is_whole();
}
