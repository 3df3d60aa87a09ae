//! A start that begins with a snapshot: everything the signer does but the token's part, on a
//! journal of which the snapshot leaves as much to fold as it may.

use std::fs;
use std::path::Path;
use std::time::Instant;

use ed25519_dalek::Signer as _;
use portcullis::journal::{Batch, Kept, SEGMENT_BYTES_DEFAULT, Segments, Storage};
use portcullis::sequencer::{Begun, Heard, start_from, vault_of};
use portcullis::snapshot::{Folder, Pace, Snapshot, open};
use portcullis_policy::id::{Epoch, Sequence};
use portcullis_policy::note::{Checkpoint, Note, NoteSignature, origin};
use portcullis_policy::record::{self, Entry, Record};
use portcullis_policy::request::sha256;
use portcullis_policy::state::State;
use portcullis_policy::tree::{Tiles, leaf_hash};

use super::Spread;
use super::rounds::Row;
use super::vault::{checkpoint_public, checkpoint_secret};

/// How often each is measured.
const ROUNDS: usize = 3;
/// Records in a commit of the journal.
const BATCH: usize = 64;

pub(crate) fn measure(folder: &Path, lines: &[Vec<u8>]) -> Vec<Row> {
    let place = folder.join("snapshot");
    let most = usize::try_from(Pace::default().every).unwrap();
    let tail = most.min(lines.len() / 2);
    let (bytes, written) = prepare(&place, lines, lines.len() - tail);
    let (mut opened, mut read, mut folded) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let chosen = open(&place).unwrap();
        opened.push(begun.elapsed().as_secs_f64());

        let begun = Instant::now();
        let (state, _) = chosen.candidate.unwrap().state().unwrap();
        let upto = state.head();
        read.push(begun.elapsed().as_secs_f64());

        let (_, kept) = chosen.storage.places().unwrap();
        let heard = Heard { kept, ..Heard::default() };
        let tiles = Folder::of(&place).read(upto).unwrap().unwrap().tiles;
        let begun = Instant::now();
        let started =
            start_from(Box::new(chosen.storage), 0, &heard, Some(Begun { state, tiles })).unwrap();
        folded.push(begun.elapsed().as_secs_f64());
        started.sequencer.finish();
        started.writer.join().unwrap().unwrap();
    }
    let once = |figure: f64| Spread::of(vec![figure]);
    vec![
        ("snapshot: records behind it", "snapshot_tail", once(tail as f64)),
        ("snapshot: bytes", "snapshot_bytes", once(bytes)),
        ("snapshot: seconds of writing the state down", "snapshot_image_s", once(written)),
        ("start from it: seconds of checking", "snapshot_open_s", Spread::of(opened)),
        ("start from it: seconds of reading the state", "snapshot_read_s", Spread::of(read)),
        ("start from it: seconds of folding the rest", "snapshot_fold_s", Spread::of(folded)),
    ]
}

/// Makes the journal with a snapshot of its first `upto` records, and a checkpoint over all of it.
fn prepare(place: &Path, lines: &[Vec<u8>], upto: usize) -> (f64, f64) {
    let mut segments = Segments::create(place, SEGMENT_BYTES_DEFAULT).unwrap();
    let (mut state, mut tiles): (Option<State>, _) = (None, Tiles::default());
    for line in &lines[..upto] {
        let entry = Entry::decode(line).unwrap();
        match &mut state {
            Some(state) => state.apply(&entry).unwrap(),
            None => state = Some(State::genesis(&entry).unwrap()),
        }
        tiles.push(leaf_hash(line));
    }
    let begun = Instant::now();
    let body = Snapshot::body(&tiles, Epoch(1), &state.unwrap().image().unwrap());
    let written = begun.elapsed().as_secs_f64();
    let upto = Sequence(tiles.size());
    // What the token signs of it is checked with the token's own proof, and not measured here.
    Folder::of(place).write(upto, &Snapshot::encode(&[], &body)).unwrap();

    let Entry { at, seq, .. } = Entry::decode(lines.last().unwrap()).unwrap();
    let snapshot = Record::Snapshot(record::Snapshot { code: None, hash: sha256(&body), upto });
    let last = Entry { at, record: snapshot, seq: seq.next() }.encode().unwrap();
    for lines in lines.chunks(BATCH) {
        append(&mut segments, lines);
    }
    append(&mut segments, &[last]);

    let name = origin(vault_of(&segments).unwrap().unwrap().0);
    let head = segments.head();
    let checkpoint = Checkpoint { origin: name.clone(), size: head.sequence.0, root: head.root };
    let text = checkpoint.text();
    let signature = checkpoint_secret().sign(text.as_bytes()).to_bytes().to_vec();
    let id = checkpoint_public().id(&name);
    let signatures = vec![NoteSignature { name, id, bytes: signature }];
    let (mut places, kept) = segments.places().unwrap();
    assert_eq!(kept, Kept::NoFile);
    places.write(&Note { text, signatures }.to_string()).unwrap();
    let path = fs::read_dir(place.join("snapshots")).unwrap().next().unwrap().unwrap();
    (path.metadata().unwrap().len() as f64, written)
}

fn append(segments: &mut Segments, lines: &[Vec<u8>]) {
    let mut batch = Batch::ordinary();
    lines.iter().for_each(|line| batch.push_record(line).unwrap());
    let _durable = segments.append_if_owner(Epoch(1), &batch).unwrap();
}
