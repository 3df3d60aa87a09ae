//! Journals that released versions wrote, as their disks had them: this version opens them, folds
//! them, makes every decision again, finds the same vault, and goes on from there.
//!
//! `softhsm-tests/released/README.md` says how a release adds its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a test stops at what it did not expect"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis::journal::{Kept, Segments, Storage, Stored};
use portcullis::sequencer::{Heard, start};
use portcullis_policy::id::Sequence;
use portcullis_policy::note::Note;
use portcullis_policy::record::Entry;
use portcullis_policy::state::State;
use portcullis_policy::utc::rfc3339;
use portcullis_policy::verify::{Level, Report, Verifier};
use tempfile::TempDir;

/// What all of them were made with.
const SEGMENT_BYTES: u64 = 256 * 1024;

/// Every version's folder.
fn released() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../softhsm-tests/released");
    let entries = fs::read_dir(folder).expect("the folder of released journals");
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders
}

/// As it lay on the disk: with the zeros behind its records.
fn laid_out(kept: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(kept).unwrap() {
        let path = entry.unwrap().path();
        let to = folder.path().join(path.file_name().unwrap());
        let extension = path.extension().unwrap_or_default();
        if extension == "journal" {
            let mut bytes = fs::read(&path).unwrap();
            bytes.resize(usize::try_from(SEGMENT_BYTES).unwrap(), 0);
            fs::write(to, bytes).unwrap();
        } else if path.file_name().unwrap() == "checkpoints" {
            fs::copy(path, to).unwrap();
        }
    }
    folder
}

fn stored(segments: &Segments) -> Vec<Stored> {
    segments.reader().records_from(Sequence(1)).map(|one| one.unwrap()).collect()
}

fn verified(records: &[Stored], kept: &Kept) -> Report {
    let Kept::Text(text) = kept else { panic!("no checkpoint was kept: {kept:?}") };
    let mut verifier = Verifier::against(vec![Note::parse(text).unwrap()], None);
    for one in records {
        one.attachments.iter().for_each(|bytes| verifier.attachment(bytes.to_vec()));
        verifier.record(&one.record);
    }
    verifier.finish()
}

fn folded(records: &[Stored]) -> State {
    let mut entries = records.iter().map(|one| Entry::decode(&one.record).unwrap());
    let mut state = State::genesis(&entries.next().unwrap()).unwrap();
    entries.for_each(|entry| state.apply(&entry).unwrap());
    state
}

fn joined<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    all.into_iter().map(|one| one.to_string()).collect::<Vec<_>>().join(" ")
}

/// What anybody could see of the vault at the journal's end, a line each.
fn facts(report: &Report, state: &State) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| writeln!(text, "{name}: {value}").unwrap();
    line("vault", hex::encode(state.vault().0));
    line("records", report.size.to_string());
    line("root", report.root.to_string());
    line("attested", report.attested.to_string());
    line("repeated", report.repeated.to_string());
    line("not repeated", joined(&report.not_repeated));
    report.kinds.iter().for_each(|(kind, count)| line(&format!("kind {kind}"), count.to_string()));
    line("starts", state.epoch().0.to_string());
    line("sure", rfc3339(state.at().sure.0));
    line("possible", rfc3339(state.at().possible.0));
    line("environment", state.environment().name().to_owned());
    line("book", state.book().hash().to_string());
    line("adopted", state.adopted().to_string());
    for (id, member) in state.people().iter() {
        let roles: Vec<&str> = member.person.roles.iter().map(|role| role.name()).collect();
        let credentials = member.person.credentials.len();
        line(&format!("person {id}"), format!("{}, {credentials}", roles.join(" ")));
    }
    for (deed, requirement) in &state.governance().quorums {
        line(&format!("quorum {deed}"), format!("{}, {}", requirement.need, requirement.delay));
    }
    for (id, key) in state.keys() {
        let address = key.made.as_ref().map(|made| made.address.to_string()).unwrap_or_default();
        line(&format!("key {id}"), format!("{} {} {address}", key.label, key.purpose));
        line(&format!("key {id} fenced"), state.must_be_fenced(*id).to_string());
    }
    line("revoked", joined(state.revoked()));
    line("destroyed", joined(state.tombs().keys()));
    for (key, successor) in state.successors() {
        line(&format!("successor of {key}"), successor.to_string());
    }
    for stop in state.stops().iter() {
        line("stopped", stop.to_string());
    }
    for ((key, caller), (sequence, at)) in state.last_signed() {
        line(&format!("signed {key} {caller}"), format!("{sequence} {}", rfc3339(at.0)));
    }
    for (matter, waiting) in state.pending().iter() {
        let (matter, votes) = (serde_json::to_string(matter).unwrap(), waiting.votes.len());
        line("waits", format!("{matter}: {votes} votes until {}", rfc3339(waiting.expires.0)));
    }
    line("last decision", state.last_number().0.to_string());
    line("recovery", state.recovery().is_some().to_string());
    text
}

#[test]
fn every_released_journal_opens_folds_and_comes_out_as_it_was() {
    let folders = released();
    assert!(!folders.is_empty(), "nothing is kept");
    for kept in folders {
        let name = kept.file_name().unwrap().to_string_lossy().into_owned();
        let folder = laid_out(&kept);
        let (segments, opened) = Segments::open(folder.path()).unwrap();
        assert_eq!(opened.cut, None, "{name}");
        let (_places, checkpoint) = segments.places().unwrap();
        let records = stored(&segments);
        let report = verified(&records, &checkpoint);
        assert!(report.discrepancies.is_empty(), "{name}: {:#?}", report.discrepancies);
        assert!(report.is_good(Level::Replay), "{name}");
        let facts = facts(&report, &folded(&records));
        let path = kept.join("facts.txt");
        if std::env::var_os("PORTCULLIS_REGENERATE").is_some() && !path.exists() {
            fs::write(&path, &facts).unwrap();
        }
        let wanted = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(facts, wanted, "{name}: what a release wrote now means something else");
    }
}

#[tokio::test]
async fn every_released_journal_is_gone_on_from() {
    for kept in released() {
        let folder = laid_out(&kept);
        let (segments, _) = Segments::open(folder.path()).unwrap();
        let before = segments.head().sequence;
        let reader = segments.reader();
        let (_places, checkpoint) = segments.places().unwrap();
        let heard = Heard { kept: checkpoint.clone(), ..Heard::default() };
        let started = start(Box::new(segments), 0, &heard).unwrap();
        assert_eq!(started.behind, None, "{kept:?}");
        let records: Vec<Stored> =
            reader.records_from(Sequence(1)).map(|one| one.unwrap()).collect();
        assert!(records.last().unwrap().sequence > before, "{kept:?}: no start was recorded");
        let report = verified(&records, &checkpoint);
        assert!(report.discrepancies.is_empty(), "{kept:?}: {:#?}", report.discrepancies);
    }
}
