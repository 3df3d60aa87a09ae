//! What the journal's storage promises, on real files: nothing durable is lost, nothing that is not
//! durable is seen, and nothing that does not verify is opened.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis::journal::{
    Base, Batch, CreateError, Cut, Fault, Memory, OpenError, Opened, Segments, Space, Step,
    Storage, StorageError, Stored,
};
use portcullis_policy::id::{Epoch, Sequence};
use portcullis_policy::tree::{Frontier, leaf_hash};
use proptest::prelude::*;

const SEGMENT: u64 = 8192;
const SECTOR: usize = 512;

// ---------------------------------------------------------------------------------------------
// Helpers

/// A folder in memory if there is one: these tests open journals thousands of times.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// One record with its attachments.
type Entry = (Vec<Vec<u8>>, Vec<u8>);

fn batch_of(entries: &[Entry], mut batch: Batch) -> Batch {
    for (attachments, record) in entries {
        attachments.iter().for_each(|bytes| batch.push_attachment(bytes).unwrap());
        batch.push_record(record).unwrap();
    }
    batch
}

fn ordinary(record: &[u8]) -> Batch {
    batch_of(&[(vec![], record.to_vec())], Batch::ordinary())
}

fn emergency(record: &[u8]) -> Batch {
    batch_of(&[(vec![], record.to_vec())], Batch::emergency())
}

fn append(storage: &mut dyn Storage, entries: &[Entry]) {
    let batch = batch_of(entries, Batch::ordinary());
    let durable = storage.append_if_owner(Epoch(1), &batch).unwrap();
    assert_eq!(durable.head(), storage.head());
}

/// Everything that can be read, as it was put in.
fn contents(storage: &dyn Storage) -> Vec<Entry> {
    let mut expected = Sequence(1);
    let mut entries = Vec::new();
    for stored in storage.reader().records_from(Sequence(0)) {
        let Stored { sequence, attachments, record, .. } = stored.unwrap();
        assert_eq!(sequence, expected);
        expected = expected.next();
        entries.push((attachments.iter().map(|bytes| bytes.to_vec()).collect(), record.to_vec()));
    }
    entries
}

fn root_of(entries: &[Entry]) -> alloy_primitives::B256 {
    entries.iter().map(|(_, record)| leaf_hash(record)).collect::<Frontier>().root()
}

/// The segments' bytes by file name. Free segments are left out: they hold no records, and a start
/// makes new ones.
type Disk = BTreeMap<String, Vec<u8>>;

fn disk(folder: &Path) -> Disk {
    let mut disk = Disk::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "journal") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            disk.insert(name, fs::read(path).unwrap());
        }
    }
    disk
}

/// Opens a journal with exactly these segments.
fn open(disk: &Disk) -> (tempfile::TempDir, Result<(Segments, Opened), OpenError>) {
    let folder = folder();
    for (name, bytes) in disk {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let opened = Segments::open(folder.path());
    (folder, opened)
}

fn refused(disk: &Disk) -> OpenError {
    match open(disk).1 {
        Ok((_, opened)) => panic!("opened: {opened:?}"),
        Err(error) => error,
    }
}

fn fault(disk: &Disk) -> (String, u64, Fault) {
    let error = refused(disk);
    let OpenError::Damaged { path, position, fault } = error else { panic!("{error}") };
    (path.file_name().unwrap().to_string_lossy().into_owned(), position, fault)
}

/// What the disk held in the beginning of a journal, and after each of the given batches.
fn journal(batches: &[Vec<Entry>]) -> Vec<Disk> {
    let folder = folder();
    let mut segments = Segments::create(folder.path(), SEGMENT).unwrap();
    let mut disks = vec![disk(folder.path())];
    for batch in batches {
        append(&mut segments, batch);
        disks.push(disk(folder.path()));
    }
    disks
}

fn small(bytes: usize) -> Vec<Entry> {
    vec![(vec![], vec![b'r'; bytes])]
}

fn segment(first: u64) -> String {
    format!("{first:020}.journal")
}

// ---------------------------------------------------------------------------------------------
// What every storage promises

fn conforms(mut storage: impl Storage) {
    assert_eq!(storage.head().sequence, Sequence(0));
    assert_eq!(storage.head().root, Frontier::default().root());
    assert_eq!(storage.space(), Space::Ample);
    let mut tail = storage.reader().records_from(Sequence(1));
    assert!(tail.next().is_none());

    // Numbers, root and epoch of what was appended.
    let first = vec![(vec![], b"genesis".to_vec())];
    let second = vec![
        (vec![b"preimage".to_vec(), Vec::new(), vec![0; 2000]], b"two".to_vec()),
        (vec![], Vec::new()),
    ];
    append(&mut storage, &first);
    let batch = batch_of(&second, Batch::ordinary());
    let durable = storage.append_if_owner(Epoch(3), &batch).unwrap();
    let all = [first, second].concat();
    assert_eq!((durable.first(), durable.head().sequence), (Sequence(2), Sequence(3)));
    assert_eq!((durable.head().root, durable.head().epoch), (root_of(&all), Epoch(3)));
    assert_eq!(contents(&storage), all);

    // An iterator that had ended goes on, and one can begin anywhere.
    let seen: Vec<u64> = tail.by_ref().map(|stored| stored.unwrap().sequence.0).collect();
    assert_eq!(seen, [1, 2, 3]);
    let third = storage.reader().records_from(Sequence(3)).next().unwrap().unwrap();
    assert_eq!((third.sequence, third.epoch), (Sequence(3), Epoch(3)));
    assert!(storage.reader().records_from(Sequence(4)).next().is_none());

    // A writer that was replaced is refused, and so is what is no batch; nothing changes.
    let late = storage.append_if_owner(Epoch(2), &ordinary(b"late"));
    let Err(StorageError::NotOwner { ours, newest }) = late else { panic!("{late:?}") };
    assert_eq!((ours, newest), (Epoch(2), Epoch(3)));
    let nothing = storage.append_if_owner(Epoch(3), &Batch::ordinary());
    assert!(matches!(nothing, Err(StorageError::Empty)));
    let mut loose = ordinary(b"x");
    loose.push_attachment(b"belongs to nothing").unwrap();
    let loose = storage.append_if_owner(Epoch(3), &loose);
    assert!(matches!(loose, Err(StorageError::LooseAttachment)));
    assert_eq!(contents(&storage), all);

    // A refusal is no failure, and a reader may be on another thread and outlive the storage.
    let _stop = storage.append_if_owner(Epoch(3), &emergency(b"stop")).unwrap();
    let reader = storage.reader();
    let watch = reader.watch();
    assert_eq!(watch.borrow().head(), storage.head());
    drop(storage);
    let count = std::thread::spawn(move || reader.records_from(Sequence(1)).count());
    assert_eq!(count.join().unwrap(), 4);
    assert_eq!(watch.borrow().head().sequence, Sequence(4));
}

#[test]
fn segments_conform() {
    let folder = folder();
    conforms(Segments::create(folder.path(), SEGMENT).unwrap());
}

#[test]
fn memory_conforms() {
    conforms(Memory::default());
}

#[test]
fn of_two_owners_of_one_memory_the_older_is_refused() {
    let mut old = Memory::default();
    let mut new = old.clone();
    let _genesis = old.append_if_owner(Epoch(1), &ordinary(b"genesis")).unwrap();
    let _start = new.append_if_owner(Epoch(2), &ordinary(b"start")).unwrap();
    let late = old.append_if_owner(Epoch(1), &ordinary(b"late"));
    assert!(matches!(late, Err(StorageError::NotOwner { .. })));
    assert_eq!(old.head(), new.head());
}

#[test]
fn memory_without_space_takes_emergencies_only_and_a_broken_disk_stays_broken() {
    let mut memory = Memory::default();
    memory.set_space(Space::Low);
    let refused = memory.append_if_owner(Epoch(1), &ordinary(b"x"));
    assert!(matches!(refused, Err(StorageError::NoSpace)));
    let _stop = memory.append_if_owner(Epoch(1), &emergency(b"stop")).unwrap();
    memory.break_disk();
    let failed = memory.append_if_owner(Epoch(1), &emergency(b"stop"));
    assert!(matches!(failed, Err(StorageError::Io { step: Step::Sync, .. })));
    let failed = memory.append_if_owner(Epoch(1), &emergency(b"stop"));
    assert!(matches!(failed, Err(StorageError::Poisoned)));
    assert_eq!(memory.head().sequence, Sequence(1));
}

// ---------------------------------------------------------------------------------------------
// Files

#[test]
fn everything_comes_back_across_many_segments() {
    let folder = folder();
    let mut segments = Segments::create(folder.path(), SEGMENT).unwrap();
    let mut all = Vec::new();
    for n in 0..200_usize {
        let entry = |m: usize| {
            let record = format!("{{\"n\":{n},\"m\":{m}}}").into_bytes();
            (vec![vec![0x5A; (n * 7) % 900]; m % 2], record)
        };
        let batch: Vec<Entry> = (0..=n % 5).map(entry).collect();
        append(&mut segments, &batch);
        all.extend(batch);
    }
    let head = segments.head();
    assert_eq!(contents(&segments), all);
    drop(segments);

    assert!(disk(folder.path()).len() > 20);
    let (mut segments, opened) = Segments::open(folder.path()).unwrap();
    assert_eq!(opened, Opened { head, cut: None });
    assert_eq!(head.root, root_of(&all));
    assert_eq!(contents(&segments), all);
    for (n, first) in (1..=head.sequence.0).step_by(37).enumerate() {
        let stored = segments.reader().records_from(Sequence(first)).next().unwrap().unwrap();
        assert_eq!((stored.sequence, &stored.record[..]), (Sequence(first), &*all[n * 37].1));
    }

    // Free segments were made anew, and the records go on where they ended.
    let durable = segments.append_if_owner(Epoch(2), &ordinary(b"start")).unwrap();
    assert_eq!(durable.first(), head.sequence.next());
}

/// The tree over the first records, as somebody has it who knows them.
fn base(entries: &[Entry], size: usize) -> Base {
    let tree = entries[..size].iter().map(|(_, record)| leaf_hash(record)).collect();
    Base { tree, epoch: Epoch(1) }
}

#[test]
fn a_journal_that_is_opened_from_any_record_on_is_the_same_and_goes_on() {
    let folder = folder();
    let mut segments = Segments::create(folder.path(), SEGMENT).unwrap();
    let mut all = Vec::new();
    for n in 0..30_usize {
        let entry = |m: usize| (Vec::new(), vec![b'r'; (n * 31 + m) % 600 + 1]);
        let batch: Vec<Entry> = (0..=n % 4).map(entry).collect();
        append(&mut segments, &batch);
        all.extend(batch);
    }
    let head = segments.head();
    drop(segments);
    assert!(disk(folder.path()).len() > 3);
    for size in 0..=all.len() {
        let (segments, opened) = Segments::open_from(folder.path(), &base(&all, size)).unwrap();
        assert_eq!(opened, Opened { head, cut: None }, "from record {size}");
        assert_eq!(contents(&segments), all);
    }
    let based = Segments::open_from(folder.path(), &base(&all, all.len() / 2)).unwrap();
    let mut segments = based.0;
    append(&mut segments, &[(Vec::new(), b"more".to_vec())]);
    let head = segments.head();
    drop(segments);
    assert_eq!(Segments::open(folder.path()).unwrap().1, Opened { head, cut: None });
}

#[test]
fn a_base_of_other_records_or_of_more_than_there_are_opens_nothing() {
    let folder = folder();
    let mut segments = Segments::create(folder.path(), SEGMENT).unwrap();
    let all: Vec<Entry> = (0..40_u8).map(|n| (Vec::new(), vec![n; 300])).collect();
    all.iter().for_each(|entry| append(&mut segments, std::slice::from_ref(entry)));
    drop(segments);
    let mut other = all.clone();
    other[3].1[0] ^= 1;
    let wrong = Segments::open_from(folder.path(), &base(&other, 20));
    let root = matches!(wrong, Err(OpenError::Damaged { fault: Fault::Root { .. }, .. }));
    assert!(root, "{:?}", wrong.err());
    let more = [all.clone(), all.clone()].concat();
    for size in [41, 60] {
        let far = Segments::open_from(folder.path(), &base(&more, size));
        let short = matches!(far, Err(OpenError::Damaged { fault: Fault::Order { .. }, .. }));
        assert!(short, "{size}: {:?}", far.err());
    }
    let whole = Segments::open(folder.path()).unwrap();
    assert_eq!(contents(&whole.0), all, "nothing was changed by that");
}

#[test]
fn a_missing_journal_is_never_made_by_opening() {
    let folder = folder();
    let nowhere = folder.path().join("nowhere");
    for place in [folder.path(), nowhere.as_path()] {
        assert!(matches!(Segments::open(place), Err(OpenError::Missing { .. })));
    }
    assert!(!nowhere.exists());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_journal_is_never_made_over_another_or_over_what_is_left_of_one() {
    let folder = folder();
    drop(Segments::create(folder.path(), SEGMENT).unwrap());
    let again = Segments::create(folder.path(), SEGMENT).map(drop);
    assert!(matches!(again, Err(CreateError::Exists { .. })));
    fs::remove_file(folder.path().join(segment(1))).unwrap();
    let again = Segments::create(folder.path(), SEGMENT).map(drop);
    assert!(matches!(again, Err(CreateError::Exists { .. })), "free segments are left");
}

#[test]
fn a_journal_without_genesis_is_not_opened() {
    let folder = folder();
    drop(Segments::create(folder.path(), SEGMENT).unwrap());
    assert!(matches!(Segments::open(folder.path()), Err(OpenError::Unborn { .. })));
}

#[test]
fn a_segment_has_a_possible_size() {
    for bytes in [0, 512, 4095, 4097, u64::MAX, 2 << 30] {
        let made = Segments::create(folder().path(), bytes).map(drop);
        assert!(matches!(made, Err(CreateError::SegmentBytes { .. })), "{bytes}");
    }
}

#[test]
fn a_second_opener_is_refused_until_the_first_is_gone() {
    let folder = folder();
    let mut first = Segments::create(folder.path(), SEGMENT).unwrap();
    append(&mut first, &small(10));
    let reader = first.reader();
    assert!(matches!(Segments::open(folder.path()), Err(OpenError::Held { .. })));
    drop(first);
    assert!(Segments::open(folder.path()).is_ok(), "a reader holds no lock");
    assert_eq!(reader.head().sequence, Sequence(1));
}

#[test]
fn a_batch_fills_a_segment_to_its_last_byte_and_not_further() {
    let folder = folder();
    let mut segments = Segments::create(folder.path(), SEGMENT).unwrap();
    // 16 sectors with 507 bytes each, less the frame's header and the entry's.
    let most = 16 * 507 - 64 - 5;
    append(&mut segments, &small(most));
    append(&mut segments, &small(most));
    let more = segments.append_if_owner(Epoch(1), &ordinary(&vec![b'r'; most + 1]));
    assert!(matches!(more, Err(StorageError::TooLarge { bytes: 8704, bytes_max: 8192 })));
    append(&mut segments, &small(1));
    drop(segments);
    let (segments, opened) = Segments::open(folder.path()).unwrap();
    assert_eq!(opened.cut, None);
    assert_eq!(contents(&segments), [small(most), small(most), small(1)].concat());
}

#[test]
fn a_leftover_of_making_a_free_segment_is_harmless() {
    let folder = folder();
    append(&mut Segments::create(folder.path(), SEGMENT).unwrap(), &small(10));
    let leftover = folder.path().join("00000000000000000007.new");
    fs::write(&leftover, b"half").unwrap();
    let (segments, opened) = Segments::open(folder.path()).unwrap();
    assert_eq!((opened.cut, segments.space()), (None, Space::Ample));
    assert!(!leftover.exists());
}

#[test]
fn readers_see_every_record_once_and_in_order_while_the_writer_goes_on() {
    const BATCHES: u64 = 2_000;
    let folder = folder();
    let mut segments = Segments::create(folder.path(), SEGMENT).unwrap();
    append(&mut segments, &[(vec![], 1_u64.to_be_bytes().to_vec())]);
    let readers = [1, 500, 1_999].map(|from| (from, segments.reader()));
    std::thread::scope(|scope| {
        for (from, reader) in readers {
            scope.spawn(move || {
                let mut records = reader.records_from(Sequence(from));
                let mut expected = from;
                while expected <= BATCHES {
                    let Some(stored) = records.next() else {
                        std::thread::yield_now();
                        continue;
                    };
                    let stored = stored.unwrap();
                    assert!(stored.sequence <= reader.head().sequence, "not durable yet");
                    assert_eq!(stored.sequence, Sequence(expected));
                    assert_eq!(&stored.record[..8], expected.to_be_bytes());
                    expected += 1;
                }
            });
        }
        for n in 2..=BATCHES {
            let filler = vec![b'x'; usize::try_from(n * 31 % 900).unwrap()];
            append(&mut segments, &[(vec![], [n.to_be_bytes().to_vec(), filler].concat())]);
        }
    });
}

// ---------------------------------------------------------------------------------------------
// Interrupted writes

/// Where two disks differ: the file, and the first and last sector that differ in it.
fn difference(before: &Disk, after: &Disk) -> (String, usize, usize) {
    let (name, new) = after.iter().next_back().unwrap();
    let blank = vec![0; new.len()];
    let old = before.get(name).unwrap_or(&blank);
    let differs: Vec<usize> = (0..new.len()).filter(|at| old[*at] != new[*at]).collect();
    (name.clone(), differs[0] / SECTOR, differs[differs.len() - 1] / SECTOR)
}

/// As `after`, with the sectors of the last batch for which `lost` says so still zero.
fn torn(before: &Disk, after: &Disk, lost: impl Fn(usize) -> bool) -> Disk {
    let (name, first, last) = difference(before, after);
    let mut disk = after.clone();
    for (index, sector) in (first..=last).enumerate() {
        if lost(index) {
            disk.get_mut(&name).unwrap()[sector * SECTOR..(sector + 1) * SECTOR].fill(0);
        }
    }
    disk
}

fn three_batches() -> Vec<Vec<Entry>> {
    let attachments = vec![vec![0; 1100], b"text".to_vec()];
    vec![small(10), small(700), vec![(attachments, vec![b'a'; 900]), (vec![], b"end".to_vec())]]
}

#[test]
fn a_write_broken_off_at_any_byte_leaves_exactly_the_batches_before() {
    let disks = journal(&three_batches());
    let (before, after) = (&disks[2], &disks[3]);
    let (name, first, last) = difference(before, after);
    let (start, end) = (first * SECTOR, (last + 1) * SECTOR);
    for length in 0..end - start {
        let mut broken_off = before.clone();
        let written = &after[&name][start..start + length];
        broken_off.get_mut(&name).unwrap()[start..start + length].copy_from_slice(written);
        let (folder, opened) = open(&broken_off);
        let (segments, opened) = opened.unwrap_or_else(|error| panic!("{length}: {error}"));
        assert_eq!(opened.head.sequence, Sequence(2), "{length}");
        let cut = opened.cut.map(|cut| Cut { bytes: 0, ..cut });
        let expected = Cut {
            file: folder.path().join(&name),
            position: u64::try_from(start).unwrap(),
            bytes: 0,
            after: Sequence(2),
        };
        assert_eq!(cut, (length > 0).then_some(expected), "{length}");
        drop(segments);
        assert!(disk(folder.path()) == *before, "{length}: the cut is zeroed");
    }
}

#[test]
fn a_write_that_lost_any_of_its_sectors_leaves_exactly_the_batches_before() {
    let disks = journal(&three_batches());
    let (_, first, last) = difference(&disks[2], &disks[3]);
    let sectors = last - first + 1;
    assert_eq!(sectors, 5);
    for lost in 1..(1_u32 << sectors) {
        let disk = torn(&disks[2], &disks[3], |index| lost & (1 << index) != 0);
        let (folder, opened) = open(&disk);
        let (mut segments, opened) = opened.unwrap_or_else(|error| panic!("{lost:b}: {error}"));
        assert_eq!(opened.head.sequence, Sequence(2), "{lost:b}");
        let all_lost = lost == (1 << sectors) - 1;
        assert_eq!(opened.cut.is_none(), all_lost, "{lost:b}");
        append(&mut segments, &small(30));
        drop(segments);
        let (segments, opened) = Segments::open(folder.path()).unwrap();
        assert_eq!(opened.cut, None, "{lost:b}: a cut is final");
        assert_eq!(contents(&segments).len(), 3);
    }
}

#[test]
fn an_interrupted_genesis_is_no_journal() {
    let disks = journal(&[small(3000)]);
    let disk = torn(&disks[0], &disks[1], |index| index == 2);
    assert!(matches!(refused(&disk), OpenError::Unborn { .. }));
}

#[test]
fn a_crash_after_a_new_segment_got_its_name_is_harmless() {
    let disks = journal(&[small(10), small(7000), small(7000)]);
    let mut disk = disks[2].clone();
    disk.insert(segment(3), vec![0; usize::try_from(SEGMENT).unwrap()]);
    let (_folder, opened) = open(&disk);
    let (mut segments, opened) = opened.unwrap();
    assert_eq!((opened.cut, opened.head.sequence), (None, Sequence(2)));
    append(&mut segments, &small(7000));
    assert_eq!(contents(&segments).len(), 3);
}

// ---------------------------------------------------------------------------------------------
// Damage

#[test]
fn a_changed_byte_anywhere_below_the_last_batch_is_refused_with_its_place() {
    let disks = journal(&[small(10), vec![(vec![vec![0; 600]], b"two".to_vec())], small(500)]);
    let (name, last_batch, _) = difference(&disks[2], &disks[3]);
    for at in 0..last_batch * SECTOR {
        for change in [1_u8, 0x80, 0xFF] {
            let mut disk = disks[3].clone();
            disk.get_mut(&name).unwrap()[at] ^= change;
            let (file, position, _) = fault(&disk);
            let sector = u64::try_from(at / SECTOR * SECTOR).unwrap();
            assert_eq!((file, position), (name.clone(), sector), "{at} {change}");
        }
        let mut disk = disks[3].clone();
        disk.get_mut(&name).unwrap()[at] = 0;
        if disk != disks[3] {
            fault(&disk);
        }
    }
}

/// In the last batch a change is damage too, never an excuse to cut. A single one looks exactly
/// like an interrupted write, and is treated as one: its very last byte set to zero.
#[test]
fn a_changed_byte_in_the_last_batch_is_refused() {
    let disks = journal(&[small(10), vec![(vec![vec![0; 1200]], vec![b'x'; 500])]]);
    let (name, first, last) = difference(&disks[1], &disks[2]);
    let end = (last + 1) * SECTOR;
    for at in first * SECTOR..end {
        for change in [1_u8, 0x80, 0xFF] {
            let mut disk = disks[2].clone();
            disk.get_mut(&name).unwrap()[at] ^= change;
            let found = fault(&disk).2;
            let expected = [Fault::Checksum, Fault::NotABatch];
            assert!(expected.contains(&found) || matches!(found, Fault::Format { .. }), "{found}");
        }
    }
    let mut disk = disks[2].clone();
    disk.get_mut(&name).unwrap()[end - 1] = 0;
    let (_folder, opened) = open(&disk);
    assert!(opened.unwrap().1.cut.is_some());
}

#[test]
fn a_changed_byte_anywhere_behind_the_last_batch_is_refused() {
    let disks = journal(&[small(10), small(600)]);
    let (name, _, last) = difference(&disks[1], &disks[2]);
    for at in (last + 1) * SECTOR..usize::try_from(SEGMENT).unwrap() {
        for value in [1_u8, 0xA5, b'{'] {
            let mut disk = disks[2].clone();
            disk.get_mut(&name).unwrap()[at] = value;
            fault(&disk);
        }
    }
}

#[test]
fn an_interrupted_batch_with_anything_behind_it_is_refused() {
    let disks = journal(&[small(10), small(1200), small(600)]);
    let (name, first, last) = difference(&disks[1], &disks[2]);
    // A whole batch behind one with any of its sectors gone.
    for lost in first..=last {
        let mut disk = disks[3].clone();
        disk.get_mut(&name).unwrap()[lost * SECTOR..(lost + 1) * SECTOR].fill(0);
        assert_eq!(fault(&disk).2, Fault::Checksum);
    }
    // Its own beginning, copied behind it.
    let mut disk = torn(&disks[1], &disks[2], |index| index == 1);
    let bytes = disk.get_mut(&name).unwrap();
    bytes.copy_within(first * SECTOR..(first + 1) * SECTOR, (last + 1) * SECTOR);
    assert_eq!(fault(&disk).2, Fault::Checksum);
    // A single byte, far behind it.
    let mut disk = torn(&disks[1], &disks[2], |index| index == 1);
    disk.get_mut(&name).unwrap()[8000] = b'P';
    assert_eq!(fault(&disk).2, Fault::Garbage);
}

#[test]
fn an_interrupted_batch_before_another_segment_is_refused() {
    let disks = journal(&[small(10), small(5000), small(5000)]);
    let mut disk = torn(&disks[1], &disks[2], |index| index == 3);
    disk.insert(segment(3), disks[3][&segment(3)].clone());
    assert_eq!(fault(&disk), (segment(1), 512, Fault::Incomplete));
    disk.insert(segment(3), vec![0; usize::try_from(SEGMENT).unwrap()]);
    assert_eq!(fault(&disk), (segment(1), 512, Fault::Incomplete));
}

#[test]
fn a_missing_segment_is_named() {
    let whole = journal(&[small(5000), small(5000), small(5000), small(5000)]).pop().unwrap();
    assert_eq!(whole.len(), 4);
    for (gone, next) in [(1, 2), (2, 3), (3, 4)] {
        let mut disk = whole.clone();
        disk.remove(&segment(gone));
        let error = refused(&disk);
        let OpenError::MissingSegment { expected, found } = error else { panic!("{error}") };
        assert!(expected.ends_with(segment(gone)) && found.ends_with(segment(next)));
    }
}

#[test]
fn exchanged_batches_and_segments_are_refused() {
    let mut disk = journal(&[small(5000), small(5000), small(5000)]).pop().unwrap();
    let (second, third) = (disk[&segment(2)].clone(), disk[&segment(3)].clone());
    disk.insert(segment(2), third);
    disk.insert(segment(3), second);
    let (expected, found) = (Sequence(2), Sequence(3));
    assert_eq!(fault(&disk), (segment(2), 0, Fault::Order { expected, found }));

    let mut disk = journal(&[small(10), small(11), small(12)]).pop().unwrap();
    let bytes = disk.get_mut(&segment(1)).unwrap();
    let (left, right) = bytes.split_at_mut(2 * SECTOR);
    left[SECTOR..].swap_with_slice(&mut right[..SECTOR]);
    assert_eq!(fault(&disk), (segment(1), 512, Fault::Order { expected, found }));
}

#[test]
fn a_segment_of_another_journal_does_not_fit_under_the_root() {
    let mut disk = journal(&[small(5000), small(5000)]).pop().unwrap();
    let other = journal(&[small(5001), small(5000)]).pop().unwrap();
    disk.insert(segment(2), other[&segment(2)].clone());
    let (file, position, found) = fault(&disk);
    assert_eq!((file, position), (segment(2), 0));
    assert!(matches!(found, Fault::Root { .. }), "{found}");
}

#[test]
fn a_batch_of_an_older_epoch_after_a_newer_one_is_refused() {
    let folder = folder();
    let mut segments = Segments::create(folder.path(), SEGMENT).unwrap();
    for epoch in [5, 6] {
        let _durable = segments.append_if_owner(Epoch(epoch), &ordinary(&[b'r'; 5000])).unwrap();
    }
    drop(segments);
    // The same records, the second by an older writer.
    let other = self::folder();
    let mut segments = Segments::create(other.path(), SEGMENT).unwrap();
    for epoch in [3, 4] {
        let _durable = segments.append_if_owner(Epoch(epoch), &ordinary(&[b'r'; 5000])).unwrap();
    }
    let mut mixed = disk(folder.path());
    mixed.insert(segment(2), disk(other.path())[&segment(2)].clone());
    let (newest, found) = (Epoch(5), Epoch(4));
    assert_eq!(fault(&mixed), (segment(2), 0, Fault::Epoch { newest, found }));
}

#[test]
fn a_file_of_another_length_or_a_strange_name_is_refused() {
    let whole = journal(&[small(5000), small(5000)]).pop().unwrap();
    let mut disk = whole.clone();
    disk.get_mut(&segment(2)).unwrap().truncate(6000);
    assert!(matches!(fault(&disk), (file, 6000, Fault::Length { .. }) if file == segment(2)));
    let mut disk = whole.clone();
    disk.get_mut(&segment(1)).unwrap().truncate(6000);
    assert!(matches!(fault(&disk), (file, _, Fault::Overrun) if file == segment(1)));
    for strange in ["2.journal", "x.journal", "000000000000000000003.journal", "y.spare"] {
        let mut disk = whole.clone();
        disk.insert(strange.to_owned(), vec![]);
        assert!(matches!(refused(&disk), OpenError::StrangeFile { .. }), "{strange}");
    }
}

#[test]
fn a_free_segment_that_is_not_free_is_refused() {
    let mut disk = journal(&[small(10)]).pop().unwrap();
    let mut bytes = vec![0; usize::try_from(SEGMENT).unwrap()];
    bytes[7000] = 1;
    let name = "00000000000000000000.spare".to_owned();
    disk.insert(name.clone(), bytes);
    assert_eq!(fault(&disk), (name, 7000, Fault::Garbage));
}

#[test]
fn a_batch_of_another_format_asks_for_the_release_that_wrote_it() {
    let mut disk = journal(&[small(10), small(10)]).pop().unwrap();
    disk.get_mut(&segment(1)).unwrap()[SECTOR + 7] = 2;
    let (_, position, found) = fault(&disk);
    assert_eq!((position, found), (512, Fault::Format { found: 2 }));
    assert!(refused(&disk).to_string().contains("start the release that wrote it"));
}

#[test]
fn a_refused_start_changes_nothing() {
    let folder = folder();
    append(&mut Segments::create(folder.path(), SEGMENT).unwrap(), &small(10));
    let path = folder.path().join(segment(1));
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let names = || fs::read_dir(folder.path()).unwrap().count();
    let before = names();
    assert!(Segments::open(folder.path()).is_err());
    assert!(fs::read(&path).unwrap() == bytes && names() == before);
}

#[test]
fn a_record_that_is_changed_under_a_running_reader_is_not_returned() {
    let folder = folder();
    let mut segments = Segments::create(folder.path(), SEGMENT).unwrap();
    (0..3).for_each(|_| append(&mut segments, &small(10)));
    let path = folder.path().join(segment(1));
    let mut bytes = fs::read(&path).unwrap();
    bytes[SECTOR + 100] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let read: Vec<_> = segments.reader().records_from(Sequence(1)).collect();
    assert_eq!(read.len(), 2, "an error ends it");
    assert!(read[0].is_ok());
    let error = read[1].as_ref().unwrap_err().to_string();
    assert!(error.contains("at byte 512: the checksum does not match"), "{error}");
}

// ---------------------------------------------------------------------------------------------
// Laws

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let attachment = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..700),
        (0_usize..1500).prop_map(|length| vec![0; length]),
    ];
    let record = prop::collection::vec(any::<u8>(), 0..500);
    let entry = (prop::collection::vec(attachment, 0..2), record);
    prop::collection::vec(entry, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Killed at any moment of any journal: what was durable is there, what was not is there whole
    /// or not at all, and the journal goes on.
    #[test]
    fn a_killed_journal_opens_with_a_prefix_of_its_batches(
        batches in prop::collection::vec(entries(), 2..12),
        kill in any::<prop::sample::Index>(),
        arrived in prop::collection::vec(any::<bool>(), 64),
    ) {
        let disks = journal(&batches);
        // Batch number `kill` is in flight; the first is the genesis and was acknowledged.
        let kill = 1 + kill.index(batches.len() - 1);
        let (before, after) = (&disks[kill], &disks[kill + 1]);
        let disk = torn(before, after, |index| !arrived[index]);
        let whole = disk == *after;

        let (folder, opened) = open(&disk);
        let (mut segments, opened) = opened.unwrap();
        let expected = batches[..kill + usize::from(whole)].concat();
        prop_assert_eq!(contents(&segments), expected.clone());
        prop_assert_eq!(opened.head.root, root_of(&expected));
        prop_assert!(!whole || opened.cut.is_none());

        append(&mut segments, &batches[kill]);
        drop(segments);
        let (segments, opened) = Segments::open(folder.path()).unwrap();
        prop_assert_eq!(opened.cut, None);
        prop_assert_eq!(contents(&segments), [expected, batches[kill].clone()].concat());
    }
}

// ---------------------------------------------------------------------------------------------
// A full disk

/// Says to a child of this test where to mount its small disk.
const TINY_DISK: &str = "PORTCULLIS_TEST_TINY_DISK";

/// Runs itself again in a mount namespace of its own, with a disk that is soon full.
#[test]
fn on_a_full_disk_emergencies_still_fit_and_what_was_promised_is_kept() {
    const NAME: &str = "on_a_full_disk_emergencies_still_fit_and_what_was_promised_is_kept";
    if let Some(place) = std::env::var_os(TINY_DISK) {
        return fill_a_tiny_disk(&PathBuf::from(place));
    }
    let place = tempfile::tempdir().unwrap();
    let child = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(TINY_DISK, place.path())
        .output()
        .expect("this test needs `unshare` (util-linux)");
    let said = String::from_utf8([child.stdout, child.stderr].concat()).unwrap();
    assert!(child.status.success(), "this test mounts a tmpfs, which takes root:\n{said}");
    assert!(said.contains("1 passed"), "the child ran something else:\n{said}");
}

fn fill_a_tiny_disk(place: &Path) {
    let mut mount = Command::new("mount");
    let mount = mount.args(["-t", "tmpfs", "-o", "size=1m", "tiny"]).arg(place);
    let mounted = mount.status().expect("this test needs `mount`");
    assert!(mounted.success(), "this test mounts a tmpfs, which takes root");
    let (data, ballast) = (place.join("journal"), place.join("ballast"));

    // Room for five segments: the present one, two free ones, and two more.
    let mut segments = Segments::create(&data, 128 * 1024).unwrap();
    fs::write(&ballast, vec![1; 300 * 1024]).unwrap();
    let record = vec![b'r'; 3000];
    let mut records = 0_u64;
    let refused = loop {
        match segments.append_if_owner(Epoch(1), &ordinary(&record)) {
            Ok(_) => records += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StorageError::NoSpace), "{refused}");
    assert_eq!(records, 4 * 36, "four segments are used up, and one is kept");
    assert_eq!(segments.space(), Space::Low);

    // Low is a warning: what fits into the present segment is still taken, and nothing is broken.
    let _durable = segments.append_if_owner(Epoch(1), &ordinary(b"small")).unwrap();
    records += 1;
    let again = segments.append_if_owner(Epoch(1), &ordinary(&record));
    assert!(matches!(again, Err(StorageError::NoSpace)));

    // The last free segment takes stops, as many as it holds, and nothing else.
    let long_stop = vec![b's'; 3000];
    let _durable = segments.append_if_owner(Epoch(1), &emergency(&long_stop)).unwrap();
    records += 1;
    assert_eq!(segments.space(), Space::Exhausted);
    let stops = loop {
        let ordinary = segments.append_if_owner(Epoch(1), &ordinary(b"x"));
        assert!(matches!(ordinary, Err(StorageError::NoSpace)));
        match segments.append_if_owner(Epoch(1), &emergency(b"stop")) {
            Ok(durable) => records = durable.head().sequence.0,
            Err(error) => break error,
        }
    };
    assert!(matches!(stops, StorageError::NoSpace), "{stops}");
    assert_eq!(records, 4 * 36 + 2 + (256 - 7), "the last segment is used to its end");
    let head = segments.head();

    // A start on a full disk works, and says so.
    drop(segments);
    let (mut segments, opened) = Segments::open(&data).unwrap();
    assert_eq!(opened, Opened { head, cut: None });
    assert_eq!(segments.space(), Space::Exhausted);

    // When there is space again, nobody has to restart anything.
    fs::remove_file(&ballast).unwrap();
    while segments.space() != Space::Ample {
        std::thread::yield_now();
    }
    let mut appended = segments.append_if_owner(Epoch(1), &ordinary(&record));
    while matches!(appended, Err(StorageError::NoSpace)) {
        std::thread::yield_now();
        appended = segments.append_if_owner(Epoch(1), &ordinary(&record));
    }
    assert_eq!(appended.unwrap().first(), head.sequence.next());
}

// ---------------------------------------------------------------------------------------------
// The code

#[test]
fn only_one_file_calls_the_operating_system_and_one_says_in_what_order() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/journal");
    let words =
        ["sync_all", "sync_data", "rename(", "OpenOptions::", "DirBuilder::", "fs::", "File::"];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let found: Vec<_> = words.into_iter().filter(|word| code.contains(word)).collect();
        if path.ends_with("disk.rs") {
            assert_eq!(found, words);
        } else if path.ends_with("durable.rs") {
            assert_eq!(found, ["sync_all", "sync_data", "rename("], "in what order");
        } else if path.ends_with("segments.rs") {
            assert_eq!(found, ["rename("], "which is durable.rs's");
        } else if path.ends_with("archive.rs") {
            let of_two_folders = ["sync_all", "rename(", "fs::"];
            assert_eq!(found, of_two_folders, "in what order, and whether they are two");
        } else {
            assert_eq!(found, [""; 0], "{}", path.display());
        }
    }
}
