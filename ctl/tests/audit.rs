//! `portctl audit` against a fake signer with a small true journal.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    dead_code,
    unreachable_pub,
    reason = "test"
)]

mod fake;
#[path = "../../client/tests/support/mod.rs"]
mod support;

use std::collections::BTreeSet;

use alloy_primitives::{B128, B256, hex};
use fake::attesting::{Attesting, note_key, witness};
use fake::{Rig, Script};
use portcullis_policy::id::{PersonId, Sequence};
use portcullis_policy::note::NoteKey;
use portcullis_policy::record::{
    Actor, CheckpointKeyIntended, CheckpointKeyMade, Entry, Environment, FORMAT, Frozen, Genesis,
    Person, Record, Role,
};
use portcullis_policy::stops::Scope;
use portcullis_policy::time::{Interval, Millis};
use portcullis_policy::tree::{Frontier, leaf_hash};
use portcullis_proto::v1;
use serde_json::{Value, json};

/// Genesis, and stops by a person who may.
fn records(count: u64) -> Vec<Vec<u8>> {
    journal_of(count, Vec::new())
}

/// The same with a key that signs it.
fn attested(count: u64) -> Attesting {
    let object = B128::repeat_byte(3);
    let made = CheckpointKeyMade { key: note_key(), object };
    let key = vec![
        Record::CheckpointKeyIntended(CheckpointKeyIntended { object }),
        Record::CheckpointKeyMade(made),
    ];
    Attesting { records: journal_of(count, key), size: count as usize, witnesses: Vec::new() }
}

fn journal_of(count: u64, first: Vec<Record>) -> Vec<Vec<u8>> {
    let ada = || PersonId::try_from("ada".to_owned()).expect("id");
    let roles = BTreeSet::from([Role::Security, Role::Operator]);
    let (control, credentials) = ("ada.example".into(), Vec::new());
    let person = Person { control, credentials, id: ada(), roles };
    let genesis = Genesis {
        book: "version = 1\n".into(),
        environment: Environment::Development,
        format: FORMAT,
        governance: None,
        people: vec![person],
        salt: B256::repeat_byte(5),
        signatures: Vec::new(),
    };
    let line = |seq: u64, record| {
        let at = Millis(1_763_924_007_042 + seq);
        let at = Interval { possible: at, sure: at };
        Entry { at, record, seq: Sequence(seq) }.encode().expect("encodes")
    };
    let stop = |seq| {
        let by = Actor::Person(ada());
        line(seq, Record::Frozen(Frozen { by, reason: format!("drill {seq}"), scope: Scope::All }))
    };
    let mut records = vec![line(1, Record::Genesis(genesis))];
    records.extend((2..).zip(first).map(|(seq, record)| line(seq, record)));
    let next = records.len() as u64 + 1;
    records.extend((next..=count).map(stop));
    records
}

fn head(records: &[Vec<u8>]) -> v1::JournalHead {
    let mut frontier = Frontier::default();
    for record in records {
        frontier.push(leaf_hash(record));
    }
    v1::JournalHead { size: frontier.size(), root: frontier.root().to_vec() }
}

fn lines(records: &[Vec<u8>], first: u64) -> Vec<v1::JournalLine> {
    let line = |(sequence, content): (u64, &Vec<u8>)| v1::JournalLine {
        sequence,
        content: content.clone(),
    };
    (first..).zip(records).map(line).collect()
}

/// The journal in batches of two, each with the head of the moment.
fn journal(records: &[Vec<u8>]) -> Vec<v1::ReadJournalResponse> {
    let batch = |(number, part): (usize, &[Vec<u8>])| {
        let first = 2 * number as u64 + 1;
        v1::ReadJournalResponse { lines: lines(part, first), head: Some(head(records)) }
    };
    records.chunks(2).enumerate().map(batch).collect()
}

fn rig(journal: Vec<v1::ReadJournalResponse>) -> Rig {
    Script { journal, ..Default::default() }.run()
}

#[test]
fn tail_shows_the_last_records_for_people() {
    let ran = rig(journal(&records(5))).portctl(&["audit", "tail", "-n", "2"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        ran.out,
        "       4  2025-11-23T18:53:27.046Z  frozen          everything by ada: drill 4\n\
         \x20      5  2025-11-23T18:53:27.047Z  frozen          everything by ada: drill 5\n"
    );
}

#[test]
fn tail_as_json_gives_the_bytes_that_are_hashed() {
    let records = records(3);
    let ran = rig(journal(&records)).portctl(&["audit", "tail", "--output", "json"]);
    let got: Vec<&[u8]> = ran.out.lines().map(str::as_bytes).collect();
    assert_eq!(got, records);
}

#[test]
fn following_asks_for_records_to_come_without_a_bound() {
    let rig = rig(journal(&records(5)));
    let ran = rig.portctl(&["audit", "tail", "--follow", "-n", "1"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let asked = rig.seen().pop().expect("a read");
    for part in ["from_sequence: 5", "follow: true", "limit: 0"] {
        assert!(asked.contains(part), "{asked}");
    }
}

#[test]
fn a_cursor_gives_every_record_once_and_tells_a_journal_that_is_not_the_one_it_read() {
    let (all, vault) = (records(5), "07".repeat(32));
    let tail = ["audit", "tail", "--cursor", "at", "--output", "json"];
    let first = rig(journal(&all[..3]));
    let ran = first.portctl(&tail);
    assert_eq!(ran.out.lines().map(str::as_bytes).collect::<Vec<_>>(), all[..3], "{ran:?}");
    let at = std::fs::read_to_string(first.folder.path().join("at")).expect("a cursor");
    let leaf = hex::encode(leaf_hash(&all[2]));
    assert_eq!(at, format!("{{\"leaf\":\"{leaf}\",\"sequence\":3,\"vault\":\"{vault}\"}}"));
    assert_eq!(first.portctl(&tail).out, "", "nothing came since");

    // On from there, on another day.
    let on = |text: &str, records: &[Vec<u8>]| {
        let rig = rig(journal(records));
        std::fs::write(rig.folder.path().join("at"), text).expect("a cursor");
        rig.portctl(&tail)
    };
    let ran = on(&at, &all);
    assert_eq!(ran.out.lines().map(str::as_bytes).collect::<Vec<_>>(), all[3..], "{ran:?}");
    let mut changed = all.clone();
    changed[2] = changed[3].clone();
    for (text, records, words) in [
        (at.as_str(), &all[..2], "ends at record 2, and record 3 was read before"),
        (at.as_str(), &changed[..], "record 3 is not the one that was read before"),
        (&at.replace("\"0707", "\"0807"), &all[..], "is of the vault 0807"),
        ("{}", &all[..], "is no cursor"),
    ] {
        let ran = on(text, records);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
}

#[test]
fn an_export_is_the_journal_itself_with_its_head_and_verifies() {
    let records = records(5);
    let rig = rig(journal(&records));
    let ran = rig.portctl(&["audit", "export", "-o", "out.jsonl", "--output", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json()["size"], 5);
    let path = rig.folder.path().join("out.jsonl");
    let expected = [records.join(&b'\n'), b"\n".to_vec()].concat();
    assert_eq!(std::fs::read(&path).expect("export"), expected);
    let written = std::fs::read_to_string(rig.folder.path().join("out.jsonl.head"));
    let written: Value = serde_json::from_str(&written.expect("head")).expect("JSON");
    let root = format!("0x{}", hex::encode(head(&records).root));
    assert_eq!(written, json!({ "size": 5, "root": root }));

    let ran = rig.portctl(&["audit", "verify", "out.jsonl", "--output", "json"]);
    assert_eq!(ran.code, 9, "nobody signed it: {ran:?}");
    let said = ran.json();
    assert_eq!((&said["verified"], &said["size"]), (&json!(true), &json!(5)));
    assert_eq!((&said["attested"], &said["unattested"]), (&json!(0), &json!(5)));
    assert_eq!(said["vault_id"], format!("0x{}", hex::encode(leaf_hash(&records[0]))));
    assert_eq!(said["kinds"], json!({ "genesis": 1, "frozen": 4 }));
}

#[test]
fn attachments_are_lines_of_their_own_and_no_records() {
    let records = records(2);
    let mut batches = journal(&records);
    let attachment = v1::JournalLine { sequence: 0, content: vec![0xab, 0xcd] };
    batches[0].lines.insert(1, attachment);
    let rig = rig(batches);
    let ran = rig.portctl(&["audit", "export", "-o", "out.jsonl", "--output", "json"]);
    assert_eq!((ran.code, &ran.json()["attachments"]), (0, &json!(1)), "{ran:?}");
    let text = std::fs::read_to_string(rig.folder.path().join("out.jsonl")).expect("export");
    assert_eq!(text.lines().nth(1), Some("{\"attachment\":\"abcd\"}"));
    let ran = rig.portctl(&["audit", "verify", "out.jsonl"]);
    assert_eq!(ran.code, 11, "no record names it: {ran:?}");
    assert!(ran.out.contains("record 2: what stands before it in the file"), "{}", ran.out);
    for damaged in ["abc", "abcD"] {
        rig.file("out.jsonl", &text.replace("abcd", damaged));
        let ran = rig.portctl(&["audit", "verify", "out.jsonl"]);
        assert_eq!(ran.code, 11, "{ran:?}");
        assert!(ran.err.contains("line 2"), "{}", ran.err);
    }
}

#[test]
fn an_export_under_load_ends_where_records_and_head_agree() {
    let records = records(6);
    // Two records are there when the first batch is read, and the head has run ahead in the last.
    let early =
        v1::ReadJournalResponse { lines: lines(&records[..2], 1), head: Some(head(&records[..2])) };
    let late =
        v1::ReadJournalResponse { lines: lines(&records[2..4], 3), head: Some(head(&records)) };
    let rig = rig(vec![early, late]);
    let ran = rig.portctl(&["audit", "export", "-o", "out.jsonl", "--output", "json"]);
    assert_eq!((ran.code, &ran.json()["size"]), (0, &json!(2)), "{ran:?}");
    let ran = rig.portctl(&["audit", "verify", "out.jsonl"]);
    assert_eq!(ran.code, 9, "{ran:?}");
}

#[test]
fn a_gap_in_what_the_signer_sends_leaves_no_export_behind() {
    let records = records(4);
    let mut batches = journal(&records);
    batches[0].lines.remove(1);
    let rig = rig(batches);
    let ran = rig.portctl(&["audit", "export", "-o", "out.jsonl"]);
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.err.contains("record 2 should have come"), "{}", ran.err);
    let left: Vec<_> = std::fs::read_dir(rig.folder.path()).expect("folder").collect();
    assert_eq!(left.len(), 1, "only the configuration: {left:?}");
}

#[test]
fn an_export_takes_the_place_of_a_file_and_of_nothing_else() {
    let rig = rig(journal(&records(5)));
    let path = rig.folder.path().join("out.jsonl");
    std::fs::write(&path, "an export of yesterday").expect("file");
    let ran = rig.portctl(&["audit", "export", "-o", "out.jsonl"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let other = rig.folder.path().join("other");
    std::fs::rename(&path, &other).expect("moved");
    std::os::unix::fs::symlink(&other, &path).expect("link");
    let socket = rig.folder.path().join("socket");
    let _listens = std::os::unix::net::UnixListener::bind(&socket).expect("socket");
    for name in ["out.jsonl", "socket"] {
        let ran = rig.portctl(&["audit", "export", "-o", name]);
        assert_ne!(ran.code, 0, "{ran:?}");
        assert!(ran.err.contains("no regular file"), "{}", ran.err);
    }
    assert!(path.is_symlink() && !socket.is_file(), "they are what they were");
}

#[test]
fn any_removed_changed_or_reordered_record_fails_the_verification() {
    let good = records(5);
    let root = format!("0x{}", hex::encode(head(&good).root));
    let folder = tempfile::tempdir().expect("folder");
    let verify = |records: &[Vec<u8>]| {
        let text = [records.join(&b'\n'), b"\n".to_vec()].concat();
        std::fs::write(folder.path().join("out"), text).expect("write");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_portctl"));
        fake::run(command.current_dir(folder.path()).args(["audit", "verify", "out"]))
    };
    let said = json!({ "size": 5, "root": root }).to_string();
    std::fs::write(folder.path().join("out.head"), said).expect("write");
    assert_eq!(verify(&good).code, 9);

    let mut cut = good.clone();
    cut.pop();
    let mut removed = good.clone();
    removed.remove(2);
    let mut reordered = good.clone();
    reordered.swap(2, 3);
    let mut changed = good.clone();
    let text = String::from_utf8(changed[3].clone()).expect("text");
    changed[3] = text.replace("drill 4", "drill 9").into_bytes();
    for (name, bad, code) in [
        ("cut", cut, 12),
        ("removed", removed, 11),
        ("reordered", reordered, 11),
        ("changed", changed, 12),
    ] {
        let ran = verify(&bad);
        assert_eq!(ran.code, code, "{name}: {ran:?}");
        assert!(ran.out.contains("not verified"), "{name}: {}", ran.out);
    }
}

#[test]
fn an_export_whose_last_line_has_no_end_is_not_the_one_that_was_written() {
    let rig = rig(vec![]);
    let text = String::from_utf8(records(3).join(&b'\n')).expect("text");
    rig.file("out", &format!("{text}\n"));
    assert_eq!(rig.portctl(&["audit", "verify", "out"]).code, 9);
    rig.file("out", &text);
    let ran = rig.portctl(&["audit", "verify", "out"]);
    assert_eq!(ran.code, 11, "{ran:?}");
    assert!(ran.out.contains("last line has no end"), "{}", ran.out);
}

#[test]
fn an_export_without_a_head_is_checked_and_the_lack_is_said() {
    let rig = rig(vec![]);
    let text = [records(3).join(&b'\n'), b"\n".to_vec()].concat();
    rig.file("out", &String::from_utf8(text).expect("text"));
    let ran = rig.portctl(&["audit", "verify", "out"]);
    assert_eq!(ran.code, 9, "{ran:?}");
    assert!(ran.err.contains("no head"), "{}", ran.err);
    let ran = rig.portctl(&["audit", "verify", "out", "--head", "mine.head"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("mine.head cannot be read"), "{}", ran.err);
}

#[test]
fn an_export_that_is_not_there_is_a_failure_of_its_own() {
    let ran = rig(vec![]).portctl(&["audit", "verify", "nothing"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("nothing cannot be read"), "{}", ran.err);
}

/// A signer whose newest checkpoint is over so many of its records.
fn attesting(count: u64, size: usize) -> (Rig, Attesting) {
    let journal_of_it = Attesting { size, ..attested(count) };
    let rig = rig(journal(&journal_of_it.records));
    *rig.script.attesting.lock().expect("lock") = Some(journal_of_it.clone());
    (rig, journal_of_it)
}

#[test]
fn an_export_ends_at_the_newest_checkpoint_and_nothing_in_it_is_anybodys_word() {
    let (rig, signed) = attesting(9, 7);
    let ran = rig.portctl(&["audit", "export", "-o", "out", "--output", "json"]);
    let said = ran.json();
    assert_eq!((ran.code, &said["size"], &said["attested"]), (0, &json!(7), &json!(true)));
    let kept = std::fs::read_to_string(rig.folder.path().join("out.checkpoint")).expect("file");
    assert_eq!(kept, signed.note(7).to_string());

    let verify = |args: &[&str]| {
        let ran = rig.portctl(&[&["audit", "verify", "out", "--output", "json"], args].concat());
        let json = if ran.out.is_empty() { Value::Null } else { ran.json() };
        (ran.code, json, ran.err)
    };
    let (code, said, err) = verify(&[]);
    assert_eq!((code, &said["attested"], &said["unattested"]), (0, &json!(7), &json!(0)), "{err}");
    assert!(err.contains("own word"), "{err}");
    let levels: Vec<_> = said["levels"].as_array().expect("levels").iter().collect();
    assert!(levels.len() == 4 && levels.iter().all(|level| level["good"] == true), "{levels:?}");
    let journal = signed.verifier().to_string();
    assert_eq!(said["journal"], json!(journal));
    let (code, _, err) = verify(&["--journal", &journal]);
    assert_eq!((code, err.as_str()), (0, ""));

    // Another key than the one that was written down.
    let mut other = signed.verifier();
    other.key = NoteKey::ed25519(&hex::decode(EDWARDS).expect("hex")).expect("a key");
    let (code, said, _) = verify(&["--journal", &other.to_string()]);
    assert_eq!((code, &said["levels"][1]["good"]), (12, &json!(false)), "{said}");
    let (code, _, err) = verify(&["--journal", "nonsense"]);
    assert!(code == 2 && err.contains("NAME+ID+KEY"), "{code} {err}");

    // Kept on other days: each must be of this journal, and one over more shows what is missing.
    rig.file("old", &signed.note(4).to_string());
    assert_eq!(verify(&["--checkpoint", "old"]).0, 0);
    rig.file("newer", &signed.note(9).to_string());
    let (code, said, _) = verify(&["--checkpoint", "newer"]);
    assert_eq!(code, 12);
    let wrong = said["wrong"].to_string();
    assert!(wrong.contains("signed over 9 records, and 7 are here"), "{wrong}");
    let (code, _, err) = verify(&["--checkpoint", "out"]);
    assert!(code == 12 && err.contains("no signed checkpoint"), "{code} {err}");

    // A record that was changed in place is found by the checkpoint alone.
    let path = rig.folder.path().join("out");
    let text = std::fs::read_to_string(&path).expect("export");
    std::fs::write(&path, text.replace("drill 6", "drill 9")).expect("write");
    std::fs::remove_file(rig.folder.path().join("out.head")).expect("a head");
    let (code, said, _) = verify(&[]);
    let wrong = said["wrong"].to_string();
    assert!(code == 12 && wrong.contains("signed over others"), "{code} {wrong}");
    assert_eq!(said["attested"], json!(0));
}

#[test]
fn what_lies_above_the_last_checkpoint_is_told_and_is_never_ok() {
    let (rig, signed) = attesting(9, 6);
    assert_eq!(rig.portctl(&["audit", "export", "-o", "out"]).code, 0);
    let all = [signed.records.join(&b'\n'), b"\n".to_vec()].concat();
    std::fs::write(rig.folder.path().join("out"), all).expect("write");
    std::fs::remove_file(rig.folder.path().join("out.head")).expect("a head");
    let ran = rig.portctl(&["audit", "verify", "out"]);
    assert_eq!(ran.code, 9, "{ran:?}");
    assert!(ran.out.contains("6 of 9 records"), "{}", ran.out);
    assert!(ran.out.contains("nobody attests its last 3 records"), "{}", ran.out);
    // A new export without any checkpoint leaves none of an old one beside it.
    *rig.script.attesting.lock().expect("lock") = None;
    let ran = rig.portctl(&["audit", "export", "-o", "out"]);
    assert!(ran.code == 0 && ran.err.contains("no signed checkpoint"), "{ran:?}");
    assert!(!rig.folder.path().join("out.checkpoint").exists());
}

#[test]
fn records_that_are_not_those_that_were_signed_leave_no_export() {
    let (rig, mut signed) = attesting(9, 7);
    let text = String::from_utf8(signed.records[5].clone()).expect("text");
    signed.records[5] = text.replace("drill", "thrill").into_bytes();
    *rig.script.attesting.lock().expect("lock") = Some(signed);
    let ran = rig.portctl(&["audit", "export", "-o", "out"]);
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.err.contains("not those that its checkpoint"), "{}", ran.err);
    assert!(!rig.folder.path().join("out").exists());
}

#[test]
fn a_checkpoint_is_kept_and_the_next_must_continue_it() {
    let (rig, mut signed) = attesting(9, 5);
    let keep = || rig.portctl(&["audit", "checkpoint", "-o", "kept", "--output", "json"]);
    let ran = keep();
    assert_eq!((ran.code, &ran.json()["size"]), (0, &json!(5)), "{ran:?}");
    let journal = ran.json()["journal"].as_str().expect("a key").to_owned();
    let first = std::fs::read_to_string(rig.folder.path().join("kept")).expect("file");
    assert_eq!(first, signed.note(5).to_string());
    assert_eq!(keep().json()["continues"], json!(5), "the same again");
    signed.size = 8;
    *rig.script.attesting.lock().expect("lock") = Some(signed.clone());
    let ran = rig.portctl(&["audit", "checkpoint", "-o", "kept", "--journal", &journal]);
    assert!(ran.code == 0 && ran.out.contains("the 5 records kept before"), "{ran:?}");

    // Put back, and changed.
    for (size, changed) in [(6, false), (9, true)] {
        let mut other = Attesting { size, ..signed.clone() };
        if changed {
            other.records[4] = other.records[5].clone();
        }
        *rig.script.attesting.lock().expect("lock") = Some(other);
        let ran = keep();
        assert_ne!(ran.code, 0, "{ran:?}");
        if changed {
            assert_eq!(ran.code, 7, "{ran:?}");
            assert!(ran.err.contains("does not continue the 8 records"), "{}", ran.err);
        }
        let kept = std::fs::read_to_string(rig.folder.path().join("kept")).expect("file");
        assert_eq!(kept, signed.note(8).to_string());
    }
    rig.file("kept", "no checkpoint");
    let ran = keep();
    assert!(ran.code == 1 && ran.err.contains("no checkpoint of this journal"), "{ran:?}");
}

#[test]
fn a_receipt_is_fetched_checked_and_checked_again_without_a_signer() {
    let (rig, signed) = attesting(9, 7);
    let journal = signed.verifier().to_string();
    let get = ["audit", "receipt", "4", "-o", "r", "--journal", &journal];
    let ran = rig.portctl(&get);
    assert_eq!(ran.code, 0, "{ran:?}");
    let record = std::fs::read(rig.folder.path().join("r.record")).expect("file");
    assert_eq!(record, signed.records[3]);
    *rig.script.attesting.lock().expect("lock") = None;
    let check = [&get[..], &["--check"]].concat();
    assert_eq!(rig.portctl(&check).code, 0);
    let mut other = check.clone();
    other[2] = "5";
    let ran = rig.portctl(&other);
    assert!(ran.code == 7 && ran.err.contains("is of record 4"), "{ran:?}");
    std::fs::write(rig.folder.path().join("r.record"), &signed.records[4]).expect("write");
    let ran = rig.portctl(&check);
    assert!(ran.code == 7 && ran.err.contains("does not count"), "{ran:?}");
}

/// A signature of the journal's own key says nothing of a fork; whoever wants more is told.
#[test]
fn whoever_names_witnesses_gets_what_enough_of_them_cosigned_or_an_exit_code_of_its_own() {
    let (rig, mut signed) = attesting(9, 7);
    signed.witnesses = vec![1, 2];
    *rig.script.attesting.lock().expect("lock") = Some(signed.clone());
    let journal = signed.verifier().to_string();
    let [one, two, three] = [1, 2, 3].map(|number| witness(number).to_string());
    assert_eq!(rig.portctl(&["audit", "export", "-o", "out"]).code, 0);
    let verbs = [
        vec!["audit", "receipt", "4", "-o", "r", "--journal", &journal],
        vec!["audit", "checkpoint", "-o", "kept", "--journal", &journal],
        vec!["audit", "verify", "out", "--journal", &journal],
    ];
    for verb in &verbs {
        let run = |more: &[&str]| rig.portctl(&[verb, more].concat());
        let good = run(&["--witness", &one, "--witness", &two]);
        assert_eq!(good.code, 0, "{good:?}");
        let said = "witness.example.com/1 at 1970-01-01T00:16:40.000Z, witness.example.com/2 at";
        assert!(good.out.contains(said), "{good:?}");
        let two_of_three =
            ["--witness", &one, "--witness", &two, "--witness", &three, "--witnesses-needed", "2"];
        assert_eq!(run(&two_of_three).code, 0);
        let ran = run(&["--witness", &one, "--witness", &three]);
        assert_eq!(ran.code, 15, "{ran:?}");
        let why = "1 of the 2 witnesses that are needed cosigned it. Not there: \
                   witness.example.com/3";
        assert!(ran.err.contains(why), "{ran:?}");
        // No key, one that signs checkpoints, one twice, more than there are, and none.
        for wrong in [
            &["--witness", "nonsense"][..],
            &["--witness", &journal],
            &["--witness", &one, "--witness", &one],
            &["--witness", &one, "--witnesses-needed", "2"],
            &["--witness", &one, "--witnesses-needed", "0"],
            &["--witnesses-needed", "1"],
        ] {
            let ran = run(wrong);
            assert_eq!(ran.code, 2, "{wrong:?}: {ran:?}");
        }
    }
    // Nothing was written over by what does not count.
    let kept = std::fs::read_to_string(rig.folder.path().join("kept")).expect("file");
    assert_eq!(kept, signed.note(7).to_string());
    // Offline as well.
    *rig.script.attesting.lock().expect("lock") = None;
    let check = [&verbs[0][..], &["--check", "--witness", &two]].concat();
    assert_eq!(rig.portctl(&check).code, 0);
    let check = [&verbs[0][..], &["--check", "--witness", &three]].concat();
    assert_eq!(rig.portctl(&check).code, 15);
}

/// The newest checkpoint may be too new for a cosignature; one that was kept before has it.
#[test]
fn of_a_journal_so_much_is_witnessed_as_its_newest_cosigned_checkpoint_covers() {
    let (rig, mut signed) = attesting(9, 9);
    assert_eq!(rig.portctl(&["audit", "export", "-o", "out"]).code, 0);
    signed.witnesses = vec![1];
    for size in [4, 6] {
        rig.file(&format!("kept{size}"), &signed.note(size).to_string());
    }
    let one = witness(1).to_string();
    let kept = ["--checkpoint", "kept6", "--checkpoint", "kept4"];
    let verify = |more: &[&str]| {
        let verb = ["audit", "verify", "out", "--output", "json", "--witness", &one];
        let ran = rig.portctl(&[&verb[..], more].concat());
        (ran.code, ran.json(), ran.err)
    };
    let (code, said, err) = verify(&kept);
    let figures = (&said["attested"], &said["witnessed"]);
    assert_eq!((code, figures), (15, (&json!(9), &json!(6))), "{said}");
    assert!(
        err.contains("NOT WITNESSED: 9 records") && err.contains("6 by the witnesses"),
        "{err}"
    );
    let (code, said, _) = verify(&[]);
    assert_eq!((code, &said["witnessed"]), (15, &json!(0)), "{said}");
    // A checkpoint of another journal is none of this one, whoever cosigned it.
    let mut other = signed.clone();
    other.records[2] = other.records[3].clone();
    rig.file("other", &other.note(9).to_string());
    let (code, said, _) = verify(&["--checkpoint", "other"]);
    assert_eq!((code, &said["witnessed"]), (12, &Value::Null), "{said}");
}

/// RFC 8032 section 7.1, the public key of test 1.
const EDWARDS: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
