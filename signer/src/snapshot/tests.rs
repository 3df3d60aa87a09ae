//! A real sequencer on real segments, with a snapshot every few records, and whoever has the disk.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use alloy_primitives::B128;
use ed25519_dalek::{Signer as _, SigningKey};
use portcullis_policy::id::{BookHash, Epoch, Sequence};
use portcullis_policy::note::{Checkpoint, Note, NoteKey, NoteSignature, origin};
use portcullis_policy::record::{self, Actor, Entry, Environment, FORMAT, Frozen, Genesis, Record};
use portcullis_policy::request::sha256;
use portcullis_policy::state::{CheckpointKey, State};
use portcullis_policy::stops::Scope;
use portcullis_policy::tree::{Frontier, Tiles, leaf_hash};

use super::*;
use crate::clock::Clock;
use crate::hsm::{CheckpointFault, HsmError, ProvenKey};
use crate::journal::{Batch, Kept, Places, Reader, Segments, Storage, Stored};
use crate::marker::{Mark, Marked};
use crate::sequencer::{CheckpointKeyStep, Fatal, Heard, Sequencer, Started, start_from, vault_of};

const SEGMENT: u64 = 16 * 1024;
const PACE: Pace = Pace { every: 16, step: 4 };

/// Writes none.
const IDLE: Pace = Pace { every: u64::MAX, step: 1 };

/// The token's own key, and that of somebody who has only the disk.
const TOKEN: [u8; 32] = [5; 32];
const THIEF: [u8; 32] = [6; 32];

fn public(secret: [u8; 32]) -> NoteKey {
    let key = SigningKey::from_bytes(&secret).verifying_key();
    NoteKey::ed25519(key.as_bytes()).unwrap()
}

/// As the token does: it has one key, and proves no other.
async fn prove(key: CheckpointKey) -> Result<ProvenKey, HsmError> {
    if key.key == public(TOKEN) {
        return Ok(ProvenKey::assume(key.key));
    }
    Err(HsmError::Checkpoint(CheckpointFault::Objects(0)))
}

fn make_journal(folder: &Path) {
    let genesis = Genesis {
        book: "version = 1\n".into(),
        environment: Environment::Development,
        format: FORMAT,
        governance: None,
        people: Vec::new(),
        salt: BookHash::of("salt").0,
        signatures: Vec::new(),
    };
    let record = Record::Genesis(genesis);
    let entry = Entry { at: Clock::genesis().now(), record, seq: Sequence(1) };
    let mut segments = Segments::create(folder, SEGMENT).unwrap();
    append(&mut segments, Epoch(0), &entry.encode().unwrap());
}

fn append(segments: &mut Segments, epoch: Epoch, record: &[u8]) {
    let mut batch = Batch::ordinary();
    batch.push_record(record).unwrap();
    let _durable = segments.append_if_owner(epoch, &batch).unwrap();
}

/// A signer that runs.
struct Running {
    sequencer: Sequencer,
    writer: JoinHandle<Result<(), Fatal>>,
    shadow: JoinHandle<()>,
    progress: Arc<Progress>,
    places: Places,
    reader: Reader,
    /// Where it began, if not at the first record.
    began: Option<Sequence>,
    view: String,
    /// Where the journal ended right after the start.
    head: Sequence,
}

impl Running {
    async fn start(folder: &Path) -> Self {
        Self::start_paced(folder, Marked::Nothing, PACE).await
    }

    /// As the app does.
    async fn start_paced(folder: &Path, marked: Marked, pace: Pace) -> Self {
        let chosen = open(folder).unwrap();
        let Judged { storage, opened, trusted } = chosen.judged(folder, prove).await.unwrap();
        let (places, kept) = storage.places().unwrap();
        let (reader, cut) = (storage.reader(), opened.cut.map_or(0, |cut| cut.bytes));
        let (begun, tiles, claims) = trusted.map_or_else(Default::default, Trusted::parts);
        let began = begun.as_ref().map(|begun| begun.state.head());
        assert_eq!(began.unwrap_or_default(), Sequence(tiles.size()));
        let heard = Heard { marked, kept };
        let started = start_from(Box::new(storage), cut, &heard, begun).unwrap();
        let head = started.sequencer.head().borrow().sequence;
        let shadow = Shadow::of(&started, &reader, folder, claims.marked(marked)).paced(pace);
        let (progress, shadow) = shadow.spawn().unwrap();
        let Started { sequencer, writer, .. } = started;
        let view = format!("{:?}", sequencer.view());
        Self { sequencer, writer, shadow, progress, places, reader, began, view, head }
    }

    /// Has the vault's checkpoints signed with this key from now on.
    async fn make_key(&self, secret: [u8; 32]) {
        let object = B128::from([secret[0]; 16]);
        let steps =
            [CheckpointKeyStep::Intended(object), CheckpointKeyStep::Made(object, public(secret))];
        for step in steps {
            self.sequencer.checkpoint_key(step).await.unwrap();
        }
    }

    async fn stop(&self, number: u64) {
        let reason = format!("stop {number:06}");
        let scope = Scope::Tag(format!("tag-{}", number % 5).parse().unwrap());
        let stopped = self.sequencer.freeze(Frozen { by: Actor::Signer, reason, scope }).await;
        assert!(stopped.sequence.is_some());
    }

    /// Lets records come until a snapshot that goes so far is recorded.
    async fn grow(&self, upto: u64) {
        for number in 0.. {
            if self.progress.snapshot().0 >= upto {
                return;
            }
            self.stop(number).await;
        }
    }

    /// Until everything was verified that was there when this is called, or found to be wrong.
    async fn verified(&self) {
        let head = self.sequencer.head().borrow().sequence;
        for number in 0.. {
            if self.progress.verified() >= head || self.progress.is_mismatch() {
                return;
            }
            self.stop(1_000_000 + number).await;
        }
    }

    fn is_all_stopped(&self) -> bool {
        self.sequencer.view().stops.iter().any(|stop| *stop == Scope::All)
    }

    fn end(self) {
        self.sequencer.finish();
        self.writer.join().unwrap().unwrap();
        self.shadow.join().unwrap();
    }
}

fn signed(text: &str, name: &str, secret: [u8; 32]) -> String {
    let bytes = SigningKey::from_bytes(&secret).sign(text.as_bytes()).to_bytes().to_vec();
    let (id, name) = (public(secret).id(name), name.to_owned());
    let signatures = vec![NoteSignature { name, id, bytes }];
    Note { text: text.to_owned(), signatures }.to_string()
}

/// A folder whose journal has two snapshots under a checkpoint, and ends some records behind.
async fn settled(secret: [u8; 32]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    make_journal(folder.path());
    let mut running = Running::start(folder.path()).await;
    assert_eq!(running.began, None);
    running.make_key(secret).await;
    running.grow(32).await;
    running.grow(running.progress.snapshot().0 + 1).await;
    assert!(!running.is_all_stopped(), "{:?}", running.progress.troubles());
    running.sequencer.finish();
    running.writer.join().unwrap().unwrap();
    running.shadow.join().unwrap();
    let checkpoint = running.sequencer.durable_root().checkpoint();
    running.places.write(&signed(&checkpoint.text(), &checkpoint.origin, secret)).unwrap();
    drop(running.places);

    // Records that no checkpoint covers.
    let running = Running::start_paced(folder.path(), Marked::Nothing, IDLE).await;
    running.stop(7).await;
    running.end();
    folder
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    copy_into(from, to.path());
    to
}

fn copy_into(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_into(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// All records of a journal, with their epochs.
fn records(folder: &Path) -> Vec<Stored> {
    let (segments, _) = Segments::open(folder).unwrap();
    segments.reader().records_from(Sequence(1)).map(Result::unwrap).collect()
}

/// The same journal once more, each record in a batch of its own as it was, after `change`.
fn rewritten(of: &[Stored], change: impl Fn(&Stored) -> Vec<u8>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut segments = Segments::create(folder.path(), SEGMENT).unwrap();
    of.iter().for_each(|stored| append(&mut segments, stored.epoch, &change(stored)));
    folder
}

/// The newest snapshot that is there.
fn newest(folder: &Path) -> Sequence {
    Folder::of(folder).list().unwrap()[0]
}

fn snapshot_path(folder: &Path, upto: Sequence) -> std::path::PathBuf {
    folder.join("snapshots").join(format!("{:020}", upto.0))
}

fn first_segment(folder: &Path) -> std::path::PathBuf {
    folder.join(format!("{:020}.journal", 1))
}

#[tokio::test]
async fn a_start_from_a_snapshot_comes_to_the_same_as_one_from_the_first_record() {
    let folder = settled(TOKEN).await;
    let (whole, upto) = (copy(folder.path()), newest(folder.path()));
    fs::remove_dir_all(whole.path().join("snapshots")).unwrap();
    let short = Running::start(folder.path()).await;
    let long = Running::start(whole.path()).await;
    assert_eq!((short.began, long.began), (Some(upto), None));
    assert_eq!(short.view, long.view);
    assert_eq!(short.head, long.head);

    // What comes after is a journal that verifies from its first byte.
    short.grow(upto.0 + 1).await;
    short.verified().await;
    assert_eq!(short.progress.troubles(), Vec::<String>::new());
    assert!(!short.is_all_stopped());
    let head = *short.sequencer.head().borrow();
    short.end();
    long.end();
    let (segments, opened) = Segments::open(folder.path()).unwrap();
    assert_eq!((opened.cut, segments.head().root), (None, head.root));
}

#[tokio::test]
async fn two_snapshots_are_kept_for_their_owner_alone_and_each_is_named_by_a_record() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = settled(TOKEN).await;
    let all = Folder::of(folder.path()).list().unwrap();
    assert_eq!(all.len(), 2, "{all:?}");
    let entries = records(folder.path());
    let entries = entries.iter().map(|stored| Entry::decode(&stored.record).unwrap());
    let named: Vec<record::Snapshot> = entries
        .filter_map(|entry| {
            let Record::Snapshot(snapshot) = entry.record else { return None };
            Some(snapshot)
        })
        .collect();
    for upto in all {
        let path = snapshot_path(folder.path(), upto);
        let hash = sha256(&fs::read(&path).unwrap());
        assert!(named.contains(&record::Snapshot { hash, upto }), "{upto}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_snapshot_that_is_cut_or_that_no_record_names_is_not_used_and_the_one_before_is() {
    let folder = settled(TOKEN).await;
    let all = Folder::of(folder.path()).list().unwrap();
    let path = snapshot_path(folder.path(), all[0]);
    let bytes = fs::read(&path).unwrap();

    // Half a file.
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let running = Running::start(folder.path()).await;
    assert_eq!(running.began, Some(all[1]));
    running.end();

    // One that is whole, and says something else than what was recorded.
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&path, changed).unwrap();
    let chosen = open(folder.path()).unwrap();
    let Judged { trusted, .. } = chosen.judged(folder.path(), prove).await.unwrap();
    assert_eq!(trusted.unwrap().begun.state.head(), all[1]);
}

#[tokio::test]
async fn a_crash_between_file_and_record_leaves_a_file_that_is_not_used() {
    let folder = settled(TOKEN).await;
    let all = Folder::of(folder.path()).list().unwrap();
    let entries = records(folder.path());
    let mut state = None;
    let (mut tiles, upto) = (Tiles::default(), all[0].0 + 1);
    for stored in entries.iter().take(usize::try_from(upto).unwrap()) {
        let entry = Entry::decode(&stored.record).unwrap();
        match &mut state {
            None => state = Some(State::genesis(&entry).unwrap()),
            Some(state) => state.apply(&entry).unwrap(),
        }
        tiles.push(leaf_hash(&stored.record));
    }
    // All of it true.
    let bytes = Snapshot::encode(&tiles, Epoch(1), &state.unwrap().image().unwrap());
    Folder::of(folder.path()).write(Sequence(upto), &bytes).unwrap();
    assert_eq!(newest(folder.path()), Sequence(upto));
    let running = Running::start(folder.path()).await;
    assert_eq!(running.began, Some(all[0]));
    running.end();
}

#[tokio::test]
async fn a_snapshot_that_no_kept_checkpoint_covers_is_not_used() {
    let folder = settled(TOKEN).await;
    let (_, kept) = Segments::open(folder.path()).unwrap().0.places().unwrap();
    let Kept::Text(text) = kept else { panic!("{kept:?}") };
    let note = Note::parse(&text).unwrap();
    let origin = note.signatures[0].name.clone();
    let early = &records(folder.path())[..20];
    let tree: Frontier = early.iter().map(|stored| leaf_hash(&stored.record)).collect();
    let earlier = Checkpoint { origin: origin.clone(), size: tree.size(), root: tree.root() };
    let mut places = Segments::open(folder.path()).unwrap().0.places().unwrap().0;
    places.write(&signed(&earlier.text(), &origin, TOKEN)).unwrap();
    drop(places);
    let running = Running::start(folder.path()).await;
    assert_eq!(running.began, None);
    running.end();
}

#[tokio::test]
async fn a_journal_with_a_snapshot_under_a_key_that_the_token_does_not_have_is_folded() {
    let folder = settled(THIEF).await;
    let chosen = open(folder.path()).unwrap();
    let (_, key) = chosen.candidate.as_ref().unwrap().state().unwrap();
    assert_eq!(key.key, public(THIEF), "everything fits, but for the token");
    let Judged { trusted, storage, .. } = chosen.judged(folder.path(), prove).await.unwrap();
    assert!(trusted.is_none());
    drop(storage);
    let running = Running::start(folder.path()).await;
    assert_eq!(running.began, None);
    running.end();
}

/// Writes a snapshot in which a stop is missing, a record that names it, and a checkpoint over both
/// that is signed with `secret`.
fn forge(folder: &Path, secret: [u8; 32]) -> Sequence {
    let all = records(folder);
    let upto = newest(folder);
    let mut state = None;
    let mut tiles = Tiles::default();
    for stored in all.iter().take(usize::try_from(upto.0).unwrap()) {
        let mut entry = Entry::decode(&stored.record).unwrap();
        if let Record::Frozen(frozen) = &mut entry.record {
            frozen.scope = Scope::Tag("harmless".parse().unwrap());
        }
        match &mut state {
            None => state = Some(State::genesis(&entry).unwrap()),
            Some(state) => state.apply(&entry).unwrap(),
        }
        tiles.push(leaf_hash(&stored.record));
    }
    let bytes = Snapshot::encode(&tiles, all[0].epoch, &state.unwrap().image().unwrap());
    fs::write(snapshot_path(folder, upto), &bytes).unwrap();

    let forged = rewritten(&all, |stored| {
        let mut entry = Entry::decode(&stored.record).unwrap();
        if let Record::Snapshot(snapshot) = &mut entry.record
            && snapshot.upto == upto
        {
            snapshot.hash = sha256(&bytes);
        }
        entry.encode().unwrap()
    });
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().ends_with(".journal") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    for entry in fs::read_dir(forged.path()).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().ends_with(".journal") {
            fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
    }
    let (segments, opened) = Segments::open(folder).unwrap();
    let vault = vault_of(&segments).unwrap().unwrap();
    let origin = origin(vault.0);
    let (size, root) = (opened.head.sequence.0, opened.head.root);
    let text = Checkpoint { origin: origin.clone(), size, root }.text();
    segments.places().unwrap().0.write(&signed(&text, &origin, secret)).unwrap();
    upto
}

#[tokio::test]
async fn a_forged_snapshot_with_a_forged_record_is_not_used_without_the_tokens_signature() {
    let folder = settled(TOKEN).await;
    let upto = forge(folder.path(), THIEF);
    let chosen = open(folder.path()).unwrap();
    assert_eq!(chosen.candidate.as_ref().unwrap().state().unwrap().0.head(), upto);
    let Judged { trusted, storage, .. } = chosen.judged(folder.path(), prove).await.unwrap();
    assert!(trusted.is_none(), "its checkpoint is not by the key that the journal names");
    drop(storage);

    // Whoever could have it signed is found out afterwards.
    let folder = settled(TOKEN).await;
    let upto = forge(folder.path(), TOKEN);
    let running = Running::start(folder.path()).await;
    assert_eq!(running.began, Some(upto));
    running.verified().await;
    running.shadow_found("it comes to something else than the snapshot").await;
    running.end();
}

/// What comes from here on no test damages.
const GOOD_FROM: Sequence = Sequence(40);

#[tokio::test]
async fn a_record_that_was_changed_below_the_snapshot_is_found_and_stops_everything() {
    let folder = settled(TOKEN).await;
    let changed = rewritten(&records(folder.path()), |stored| {
        let line = String::from_utf8(stored.record.to_vec()).unwrap();
        line.replace("stop 000003", "stop 000004").into_bytes()
    });
    fs::copy(first_segment(changed.path()), first_segment(folder.path())).unwrap();
    let running = Running::start(folder.path()).await;
    assert!(running.began.is_some(), "nobody looks at it before the start");
    running.shadow_found("it holds other records than the snapshot").await;
    running.end();
}

#[tokio::test]
async fn a_byte_that_was_changed_below_the_snapshot_is_found_and_stops_everything() {
    let folder = settled(TOKEN).await;
    let mut bytes = fs::read(first_segment(folder.path())).unwrap();
    bytes[2_000] ^= 1;
    fs::write(first_segment(folder.path()), bytes).unwrap();
    let running = Running::start(folder.path()).await;
    assert!(running.began.is_some());
    running.shadow_found("the journal does not verify").await;
    running.end();
}

#[tokio::test]
async fn a_marker_below_the_snapshot_that_speaks_of_other_records_stops_everything_after_all() {
    let folder = settled(TOKEN).await;
    let (sequence, root) = (Sequence(9), BookHash::of("other").0);
    let marked = Marked::At(Mark { sequence, root });
    let running = Running::start_paced(folder.path(), marked, PACE).await;
    assert!(running.began.is_some());
    running.shadow_found("it holds other records than the marker in the token").await;
    running.end();
}

impl Running {
    /// Waits until everything is stopped, by a record that says this.
    async fn shadow_found(&self, what: &str) {
        let mut changes = self.sequencer.changes();
        while !self.is_all_stopped() {
            changes.changed().await.unwrap();
        }
        let troubles = self.progress.troubles();
        assert!(troubles.iter().any(|line| line.contains(what)), "{troubles:?}");
        let records = self.reader.records_from(GOOD_FROM);
        let entries = records.filter_map(|stored| Entry::decode(&stored.ok()?.record).ok());
        let said = entries.filter_map(|entry| {
            let Record::Frozen(Frozen { by: Actor::Signer, reason, scope: Scope::All }) =
                entry.record
            else {
                return None;
            };
            Some(reason)
        });
        let said: Vec<String> = said.collect();
        assert!(said.len() == 1 && said[0].contains(what), "{said:?}");
    }
}
