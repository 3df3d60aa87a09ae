//! A real sequencer on real segments, with a snapshot every few records, and whoever has the disk.

mod unreadable;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::shadow::text;
use super::*;
use crate::clock::Clock;
use crate::hsm::{CheckpointFault, HsmError, ProvenKey};
use crate::journal::{Batch, Kept, Places, Reader, Segments, Storage, Stored};
use crate::marker::{Mark, Marked};
use crate::sequencer::{CheckpointKeyStep, Fatal, Heard, Sequencer, Started, start_from, vault_of};
use alloy_primitives::B128;
use ed25519_dalek::{Signer as _, SigningKey};
use portcullis_policy::id::{BookHash, Epoch, Sequence};
use portcullis_policy::note::{Checkpoint, Note, NoteKey, NoteSignature};
use portcullis_policy::record::{self, Actor, Entry, Environment, FORMAT, Frozen, Genesis, Record};
use portcullis_policy::request::sha256;
use portcullis_policy::state::{CheckpointKey, State};
use portcullis_policy::stops::Scope;
use portcullis_policy::tree::{Frontier, Tiles, leaf_hash};

const SEGMENT: u64 = 16 * 1024;
const SOON: Duration = Duration::from_millis(5);
const PACE: Pace = Pace { every: 16, step: 4, look: SOON, again_after: SOON };

/// Writes none.
const IDLE: Pace = Pace { every: u64::MAX, step: 1, ..PACE };

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

/// As a token does that has one of these keys.
fn seal() -> Seal {
    Box::new(|folded, key| {
        let own = [TOKEN, THIEF].into_iter().find(|secret| key.key == public(*secret));
        let own = own.ok_or(HsmError::Checkpoint(CheckpointFault::Objects(0)))?;
        Ok(sign(&folded.text(), own))
    })
}

/// As one does that is out of order.
fn no_seal() -> Seal {
    Box::new(|_, _| Err(HsmError::TimedOut))
}

fn sign(text: &str, secret: [u8; 32]) -> Vec<u8> {
    SigningKey::from_bytes(&secret).sign(text.as_bytes()).to_bytes().to_vec()
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

    async fn start_paced(folder: &Path, marked: Marked, pace: Pace) -> Self {
        Self::start_sealed(folder, marked, pace, seal()).await
    }

    /// As the app does.
    async fn start_sealed(folder: &Path, marked: Marked, pace: Pace, seal: Seal) -> Self {
        Self::start_archived(folder, marked, pace, (seal, None)).await
    }

    async fn start_archived(
        folder: &Path,
        marked: Marked,
        pace: Pace,
        (seal, archive): (Seal, Option<&Path>),
    ) -> Self {
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
        let claims = if started.behind.is_some() { claims } else { claims.marked(marked) };
        let shadow = Shadow::of(&started, &reader, (folder, seal), claims).paced(pace);
        let shadow = shadow.archived(archive.map(Path::to_owned));
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
    let bytes = sign(text, secret);
    let (id, name) = (public(secret).id(name), name.to_owned());
    let signatures = vec![NoteSignature { name, id, bytes }];
    Note { text: text.to_owned(), signatures }.to_string()
}

/// A folder whose journal has two snapshots under a checkpoint, and ends some records behind.
async fn settled(secret: [u8; 32]) -> tempfile::TempDir {
    settled_at(secret, 32).await
}

/// The same, with the first of the two so far or farther.
async fn settled_at(secret: [u8; 32], upto: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    make_journal(folder.path());
    let mut running = Running::start(folder.path()).await;
    assert_eq!(running.began, None);
    running.make_key(secret).await;
    running.grow(upto).await;
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
    copy_but(from, |_| false)
}

fn copy_but(from: &Path, except: fn(&Path) -> bool) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    copy_into(from, to.path(), except);
    to
}

fn copy_into(from: &Path, to: &Path, except: fn(&Path) -> bool) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if except(&entry.path()) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_into(&entry.path(), &target, except);
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
        let hash = Folder::of(folder.path()).read(upto).unwrap().unwrap().hash;
        assert!(
            named.contains(&record::Snapshot { code: Some(file::writer()), hash, upto }),
            "{upto}"
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_snapshot_that_is_cut_or_changed_is_not_used_and_the_one_before_is() {
    let folder = settled(TOKEN).await;
    let all = Folder::of(folder.path()).list().unwrap();
    let path = snapshot_path(folder.path(), all[0]);
    let bytes = fs::read(&path).unwrap();

    // Half a file.
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let running = Running::start(folder.path()).await;
    assert_eq!(running.began, Some(all[1]));
    running.end();

    // One that is whole, and says something else than what was signed.
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&path, changed).unwrap();
    let running = Running::start(folder.path()).await;
    assert_eq!(running.began, Some(all[1]));
    running.end();
}

#[tokio::test]
async fn a_snapshot_that_is_true_and_that_nobody_signed_is_not_used() {
    let folder = settled(TOKEN).await;
    let all = Folder::of(folder.path()).list().unwrap();
    let upto = all[0].0 + 1;
    let body = body(&records(folder.path())[..usize::try_from(upto).unwrap()], |_| {});
    Folder::of(folder.path()).write(Sequence(upto), &Snapshot::encode(&[], &body)).unwrap();
    assert_eq!(newest(folder.path()), Sequence(upto));
    let running = Running::start(folder.path()).await;
    assert_eq!(running.began, Some(all[0]));
    running.end();
}

#[tokio::test]
async fn a_token_that_does_not_sign_leaves_no_snapshot_until_it_does() {
    let folder = settled(TOKEN).await;
    fs::remove_dir_all(folder.path().join("snapshots")).unwrap();
    let refused = Arc::new(AtomicBool::new(true));
    let (refuses, seal) = (refused.clone(), seal());
    let seal: Seal = Box::new(move |folded, key| {
        if refuses.load(Ordering::SeqCst) { no_seal()(folded, key) } else { seal(folded, key) }
    });
    let running = Running::start_sealed(folder.path(), Marked::Nothing, PACE, seal).await;
    running.verified().await;
    assert_eq!(Folder::of(folder.path()).list().unwrap(), []);
    refused.store(false, Ordering::SeqCst);
    running.grow(running.progress.snapshot().0 + 1).await;
    assert!(!Folder::of(folder.path()).list().unwrap().is_empty());
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
async fn a_journal_that_somebody_made_whole_with_a_key_of_their_own_is_folded() {
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

/// The fold of these records, each changed first, as a snapshot has it.
fn body(of: &[Stored], change: impl Fn(&mut Record)) -> Vec<u8> {
    let (mut state, mut tiles) = (None, Tiles::default());
    for stored in of {
        let mut entry = Entry::decode(&stored.record).unwrap();
        change(&mut entry.record);
        match &mut state {
            None => state = Some(State::genesis(&entry).unwrap()),
            Some(state) => state.apply(&entry).unwrap(),
        }
        tiles.push(leaf_hash(&stored.record));
    }
    Snapshot::body(&tiles, of.last().unwrap().epoch, &state.unwrap().image().unwrap())
}

/// One in which no stop counts.
fn thawed(of: &[Stored]) -> Vec<u8> {
    body(of, |record| {
        if let Record::Frozen(frozen) = record {
            frozen.scope = Scope::Tag("harmless".parse().unwrap());
        }
    })
}

/// Adds a record at the journal's end, as whoever has the disk can.
fn add(folder: &Path, record: Record) {
    let (mut segments, opened) = Segments::open(folder).unwrap();
    let seq = opened.head.sequence.next();
    let last = segments.reader().records_from(opened.head.sequence).next().unwrap().unwrap();
    let Entry { at, .. } = Entry::decode(&last.record).unwrap();
    append(&mut segments, last.epoch, &Entry { at, record, seq }.encode().unwrap());
}

/// Adds records up to the next place of a snapshot.
fn fill(folder: &Path) -> Sequence {
    let len = u64::try_from(records(folder).len()).unwrap();
    let upto = len.next_multiple_of(PACE.every);
    for _ in len..upto {
        let scope = Scope::Tag("harmless".parse().unwrap());
        let reason = "a harmless one".to_owned();
        add(folder, Record::Frozen(Frozen { by: Actor::Signer, reason, scope }));
    }
    Sequence(upto)
}

#[tokio::test]
async fn a_record_that_names_a_forged_state_is_not_believed_when_the_token_signs_over_it_later() {
    let folder = settled(TOKEN).await;
    // Whoever has the disk has the tree, and a state of their own.
    let upto = fill(folder.path());
    let body = thawed(&records(folder.path()));
    let named = record::Snapshot { code: None, hash: sha256(&body), upto };
    add(folder.path(), Record::Snapshot(named));
    let genuine = fs::read(snapshot_path(folder.path(), newest(folder.path()))).unwrap();
    let signature = Snapshot::decode(&genuine).unwrap().signature;
    fs::write(snapshot_path(folder.path(), upto), Snapshot::encode(&signature, &body)).unwrap();

    // The first restart folds the record, and the token signs a checkpoint over it.
    let running = Running::start_paced(folder.path(), Marked::Nothing, IDLE).await;
    let checkpoint = running.sequencer.durable_root().checkpoint();
    assert!(checkpoint.size > upto.0);
    let Running { sequencer, writer, shadow, mut places, .. } = running;
    places.write(&signed(&checkpoint.text(), &checkpoint.origin, TOKEN)).unwrap();
    drop(places);
    sequencer.finish();
    writer.join().unwrap().unwrap();
    shadow.join().unwrap();

    // The second one has a root, a record and a key that all fit.
    let chosen = open(folder.path()).unwrap();
    assert_eq!(chosen.candidate.as_ref().unwrap().state().unwrap().0.head(), upto);
    drop(chosen);
    let running = Running::start(folder.path()).await;
    assert_ne!(running.began, Some(upto), "only what the token signed itself is believed");
    running.end();
}

#[tokio::test]
async fn what_the_token_signs_of_one_snapshot_counts_for_no_other() {
    let folder = settled(TOKEN).await;
    let (all, upto) = (records(folder.path()), newest(folder.path()));
    let path = snapshot_path(folder.path(), upto);
    let signature = Snapshot::decode(&fs::read(&path).unwrap()).unwrap().signature;
    let body = thawed(&all[..usize::try_from(upto.0).unwrap()]);
    fs::write(&path, Snapshot::encode(&signature, &body)).unwrap();
    let running = Running::start(folder.path()).await;
    assert_ne!(running.began, Some(upto));
    running.end();
}

/// A snapshot that says something else than the journal, as if the token had signed that.
fn forge(folder: &Path) -> Sequence {
    let (all, upto) = (records(folder), newest(folder));
    let body = thawed(&all[..usize::try_from(upto.0).unwrap()]);
    let (segments, _) = Segments::open(folder).unwrap();
    let vault = vault_of(&segments).unwrap().unwrap();
    let signature = sign(&text(vault, upto, sha256(&body)), TOKEN);
    fs::write(snapshot_path(folder, upto), Snapshot::encode(&signature, &body)).unwrap();
    upto
}

#[tokio::test]
async fn a_snapshot_that_the_token_signed_and_that_is_wrong_all_the_same_is_found_out() {
    let folder = settled(TOKEN).await;
    let upto = forge(folder.path());
    let running = Running::start(folder.path()).await;
    assert_eq!(running.began, Some(upto));
    running.shadow_found("it comes to something else than the snapshot").await;
    running.end();
}

#[tokio::test]
async fn a_record_that_names_a_snapshot_other_than_the_fold_stops_everything() {
    let folder = settled(TOKEN).await;
    let upto = fill(folder.path());
    let hash = sha256(b"another state");
    add(
        folder.path(),
        Record::Snapshot(record::Snapshot { code: Some(file::writer()), hash, upto }),
    );
    let running = Running::start(folder.path()).await;
    running.shadow_found("says something else than those records come to").await;
    running.end();
}

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
    // The first record of a snapshot above it tells, if not the one that the start began with.
    running.shadow_found("the journal does not verify").await;
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
async fn a_marker_below_the_snapshot_stops_everything_at_the_start_if_it_speaks_of_other_records() {
    let folder = settled(TOKEN).await;
    let early = &records(folder.path())[..9];
    let tree: Frontier = early.iter().map(|stored| leaf_hash(&stored.record)).collect();
    for (root, is_own) in [(BookHash::of("other").0, false), (tree.root(), true)] {
        let (folder, sequence) = (copy(folder.path()), Sequence(9));
        let marked = Marked::At(Mark { sequence, root });
        let running = Running::start_paced(folder.path(), marked, PACE).await;
        assert!(running.began > Some(sequence));
        assert_eq!(running.is_all_stopped(), !is_own, "before anybody can ask for anything");
        running.verified().await;
        assert!(!running.progress.is_mismatch(), "{:?}", running.progress.troubles());
        running.end();
    }
}

#[tokio::test]
async fn a_panic_in_the_background_stops_everything() {
    let folder = settled(TOKEN).await;
    fs::remove_dir_all(folder.path().join("snapshots")).unwrap();
    let seal: Seal = Box::new(|_, _| panic!("on purpose"));
    let running = Running::start_sealed(folder.path(), Marked::Nothing, PACE, seal).await;
    running.shadow_found("panicked").await;
    running.end();
}

#[tokio::test]
async fn a_snapshot_that_was_lost_is_written_again_at_the_next_start() {
    let folder = settled(TOKEN).await;
    let upto = newest(folder.path());
    fs::remove_dir_all(folder.path().join("snapshots")).unwrap();
    let pace = Pace { step: u64::MAX, ..PACE };
    let mut running = Running::start_paced(folder.path(), Marked::Nothing, pace).await;
    assert_eq!(running.began, None);
    let is_there = || {
        let recorded = running.progress.snapshot();
        Folder::of(folder.path()).list().unwrap().iter().any(|upto| *upto <= recorded)
    };
    while !is_there() {
        tokio::time::sleep(SOON).await;
    }
    let checkpoint = running.sequencer.durable_root().checkpoint();
    running.places.write(&signed(&checkpoint.text(), &checkpoint.origin, TOKEN)).unwrap();
    running.end();
    assert!(newest(folder.path()) >= upto);
    assert!(Running::start_paced(folder.path(), Marked::Nothing, IDLE).await.ended_from(upto));
}

#[tokio::test]
async fn a_journal_that_was_found_to_be_an_older_one_at_the_start_is_stopped_once() {
    let folder = settled(TOKEN).await;
    let head = u64::try_from(records(folder.path()).len()).unwrap();
    // Soon reached, by other records than those that were lost.
    let (sequence, root) = (Sequence(head + 4), BookHash::of("lost").0);
    let marked = Marked::At(Mark { sequence, root });
    let running = Running::start_paced(folder.path(), marked, PACE).await;
    assert!(running.is_all_stopped());
    for number in 0..24 {
        running.stop(number).await;
    }
    running.verified().await;
    assert!(!running.progress.is_mismatch(), "{:?}", running.progress.troubles());
    running.end();
}

impl Running {
    /// Ends it, and says whether it began so far or farther.
    fn ended_from(self, upto: Sequence) -> bool {
        let began = self.began;
        self.end();
        began >= Some(upto)
    }

    /// Waits until everything is stopped, by a record that says this.
    async fn shadow_found(&self, what: &str) {
        let mut changes = self.sequencer.changes();
        while !self.is_all_stopped() {
            changes.changed().await.unwrap();
        }
        let troubles = self.progress.troubles();
        assert!(troubles.iter().any(|line| line.contains(what)), "{troubles:?}");
        // What comes from here on no test damages.
        let records = self.reader.records_from(self.head);
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
