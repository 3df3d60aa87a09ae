//! A whole journal of plain transfers: how fast it is verified and started from, and what it takes.

use std::fs;
use std::path::Path;
use std::time::Instant;

use portcullis::journal::{Batch, SEGMENT_BYTES_DEFAULT, Segments, Storage};
use portcullis_policy::id::{Epoch, Sequence};
use portcullis_policy::record::Entry;
use portcullis_policy::state::State;
use portcullis_policy::tree::{Frontier, leaf_hash};
use portcullis_policy::verify::Verifier;

use super::Spread;
use super::rounds::Row;

/// How often each is measured.
const ROUNDS: usize = 3;
/// Records in a commit of the journal that is started from.
const BATCH: usize = 64;

pub(crate) fn measure(folder: &Path, lines: &[Vec<u8>]) -> Vec<Row> {
    let rate = |seconds: f64| lines.len() as f64 / seconds;
    let million = |seconds: f64| seconds * 1e6 / lines.len() as f64;
    let (mut tree, mut bytes, mut replay) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let frontier: Frontier = lines.iter().map(|line| leaf_hash(line)).collect();
        tree.push(rate(begun.elapsed().as_secs_f64()));

        let mut verifier = Verifier::default();
        let begun = Instant::now();
        lines.iter().for_each(|line| verifier.record(line));
        let taken = begun.elapsed().as_secs_f64();
        bytes.push(rate(taken));
        let report = verifier.finish();
        replay.push(rate(begun.elapsed().as_secs_f64() - taken));
        assert_eq!(report.root, frontier.root());
        assert!(report.discrepancies.is_empty(), "{:?}", report.discrepancies);
        assert!(report.repeated as usize > lines.len() - 10, "{}", report.repeated);
    }

    let place = folder.join("whole");
    fill(&place, lines);
    let (mut opened, mut folded) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let (segments, _) = Segments::open(&place).unwrap();
        let open = begun.elapsed().as_secs_f64();
        fold(&segments);
        opened.push(million(open));
        folded.push(million(begun.elapsed().as_secs_f64() - open));
    }
    let record = Spread::of(lines.iter().map(|line| line.len() as f64).collect());
    vec![
        ("bytes of a plain transfer's record", "record_bytes", record),
        ("bytes on disk for each, 64 in a commit", "disk_bytes", once(disk_bytes(&place, lines))),
        ("bytes on disk for each, alone in a commit", "disk_bytes_alone", once(alone(&record))),
        ("verify: leaf hashes and tree alone, records /s", "tree_per_s", Spread::of(tree)),
        ("verify: bytes (decoded, canonical) and tree, /s", "bytes_per_s", Spread::of(bytes)),
        ("verify: every decision repeated, records /s", "replay_per_s", Spread::of(replay)),
        ("start: seconds of checking, a million records", "open_s", Spread::of(opened)),
        ("start: seconds of folding, a million records", "fold_s", Spread::of(folded)),
    ]
}

fn once(figure: f64) -> Spread {
    Spread::of(vec![figure])
}

fn fill(place: &Path, lines: &[Vec<u8>]) {
    let mut segments = Segments::create(place, SEGMENT_BYTES_DEFAULT).unwrap();
    let mut batch = Batch::ordinary();
    for lines in lines.chunks(BATCH) {
        batch.clear();
        lines.iter().for_each(|line| batch.push_record(line).unwrap());
        let _durable = segments.append_if_owner(Epoch(1), &batch).unwrap();
    }
}

/// As the signer does at its start.
fn fold(segments: &Segments) {
    let mut records = segments.reader().records_from(Sequence(1));
    let first = records.next().unwrap().unwrap();
    let mut state = State::genesis(&Entry::decode(&first.record).unwrap()).unwrap();
    for stored in records {
        state.apply(&Entry::decode(&stored.unwrap().record).unwrap()).unwrap();
    }
    assert_eq!(state.head(), segments.head().sequence);
}

/// Sectors with anything in them, for each record.
fn disk_bytes(place: &Path, lines: &[Vec<u8>]) -> f64 {
    let files = fs::read_dir(place).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    let used =
        |file: Vec<u8>| file.chunks(512).filter(|sector| sector.iter().any(|b| *b != 0)).count();
    (files.map(used).sum::<usize>() * 512) as f64 / lines.len() as f64
}

/// A header of 64 bytes, one of 5 for the record, and 507 of a sector's 512 bytes are content.
fn alone(record: &Spread) -> f64 {
    ((record.median + 69.0) / 507.0).ceil() * 512.0
}
