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

use alloy_primitives::{B256, hex};
use fake::{Rig, Script};
use portcullis_policy::id::{PersonId, Sequence};
use portcullis_policy::record::{
    Actor, Entry, Environment, FORMAT, Frozen, Genesis, Person, Record, Role,
};
use portcullis_policy::stops::Scope;
use portcullis_policy::time::{Interval, Millis};
use portcullis_policy::tree::{Frontier, leaf_hash};
use portcullis_proto::v1;
use serde_json::{Value, json};

/// Genesis, and stops by a person who may.
fn records(count: u64) -> Vec<Vec<u8>> {
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
    std::iter::once(line(1, Record::Genesis(genesis))).chain((2..=count).map(stop)).collect()
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
    assert_eq!(ran.code, 0, "{ran:?}");
    let said = ran.json();
    assert_eq!((&said["verified"], &said["size"]), (&json!(true), &json!(5)));
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
    assert_eq!(ran.code, 0, "{ran:?}");
    let damaged = text.replace("abcd", "abc");
    rig.file("out.jsonl", &damaged);
    let ran = rig.portctl(&["audit", "verify", "out.jsonl"]);
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.err.contains("line 2"), "{}", ran.err);
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
    assert_eq!(ran.code, 0, "{ran:?}");
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
    assert_eq!(verify(&good).code, 0);

    let mut cut = good.clone();
    cut.pop();
    let mut removed = good.clone();
    removed.remove(2);
    let mut reordered = good.clone();
    reordered.swap(2, 3);
    let mut changed = good.clone();
    let text = String::from_utf8(changed[3].clone()).expect("text");
    changed[3] = text.replace("drill 4", "drill 9").into_bytes();
    for (name, bad) in
        [("cut", cut), ("removed", removed), ("reordered", reordered), ("changed", changed)]
    {
        let ran = verify(&bad);
        assert_eq!(ran.code, 7, "{name}: {ran:?}");
        assert!(ran.out.contains("not verified"), "{name}: {}", ran.out);
    }
}

#[test]
fn an_export_without_a_head_is_checked_and_the_lack_is_said() {
    let rig = rig(vec![]);
    let text = [records(3).join(&b'\n'), b"\n".to_vec()].concat();
    rig.file("out", &String::from_utf8(text).expect("text"));
    let ran = rig.portctl(&["audit", "verify", "out"]);
    assert_eq!(ran.code, 0, "{ran:?}");
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
