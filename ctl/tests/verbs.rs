//! The built `portctl` against a fake signer: what it prints, and how it exits.

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

use std::process::Command;

use alloy_primitives::hex;
use fake::{Ran, Script, denial, refusal, run};
use portcullis_proto::v1;
use serde_json::json;
use support::transactions::{address, key, transfer};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

fn tell(script: Script, args: &[&str]) -> Ran {
    script.run().portctl(args)
}

fn sign_args(hex: &str) -> [String; 5] {
    ["sign", "--key", "hot", "--hex", hex].map(str::to_owned)
}

fn sign(script: Script, more: &[&str]) -> Ran {
    let hex = format!("0x{}", hex::encode(transfer().preimage));
    let args = sign_args(&hex);
    let args: Vec<&str> = args.iter().map(String::as_str).chain(more.iter().copied()).collect();
    tell(script, &args)
}

#[test]
fn keys_are_listed_in_aligned_columns_with_checksummed_addresses_and_troubles_on_the_side() {
    let ran = tell(Script::default(), &["key", "list"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let address = address(&key(1)).to_checksum(None);
    let pad = " ".repeat(16);
    assert_eq!(
        ran.out,
        format!(
            "LABEL                ID                                ADDRESS{}\
             STATE    TOKEN    AGE  LAST USED                 CALLERS            PURPOSE   \
             TAGS\n\
             a-rather-long-label  ffffffffffffffffffffffffffffffff  {address}  trouble  refused  \
             3d   never                     spiffe://acme/pay  payments  eu,treasury\n\
             hot{pad}  000102030405060708090a0b0c0d0e0f  {address}  \
             active   signs    3d   2025-11-23T18:53:28.000Z  spiffe://acme/pay  payments  \
             eu,treasury\n",
            " ".repeat(37),
        )
    );
    assert_eq!(
        ran.err,
        "key a-rather-long-label may not sign: absent from the token\n\
         key a-rather-long-label: its review was due 2027-01-15T08:00:00.000Z; ada answers for it\n"
    );
}

#[test]
fn a_listed_key_as_json_has_every_field() {
    let ran = tell(Script::default(), &["--output", "json", "key", "list"]);
    let listed = ran.json();
    assert_eq!(listed[1]["label"], "hot");
    assert_eq!(listed[1]["address"], address(&key(1)).to_checksum(None));
    assert_eq!(listed[1]["created_at"], "2025-11-23T18:53:27.042Z");
    assert_eq!(listed[0]["state"], "frozen");
    assert_eq!(listed[0]["trouble"], "absent from the token");
    assert_eq!(listed[0]["last_used_at"], serde_json::Value::Null);
    assert_eq!((&listed[0]["review_overdue"], &listed[0]["age_days"]), (&json!(true), &json!(3)));
    assert_eq!(listed[1]["last_used_at"], "2025-11-23T18:53:28.000Z");
    assert_eq!(listed[1]["used_by"][0]["caller"], "spiffe://acme/pay");
    assert_eq!(listed[1]["chains"], json!([1, 10]));
}

#[test]
fn a_key_is_made_with_what_was_said() {
    let rig = Script::default().run();
    let ran = rig.portctl(&[
        "key",
        "create",
        "cold",
        "--tag",
        "eu",
        "--tag",
        "x",
        "--purpose",
        "canary",
        "--owner",
        "eve",
        "--chain",
        "1",
        "--chain",
        "8453",
        "--environment",
        "staging",
        "--review-by",
        "2027-03-31",
        "--output",
        "json",
    ]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json()["label"], "cold");
    let asked = &rig.seen()[0];
    let said = ["\"cold\"", "[\"eu\", \"x\"]", "\"canary\"", "\"eve\"", "\"staging\""];
    for part in said.into_iter().chain(["[1, 8453]", "1806451200000"]) {
        assert!(asked.contains(part), "{part}: {asked}");
    }
}

#[test]
fn a_key_is_shown_and_an_unknown_one_is_a_failure() {
    let rig = Script::default().run();
    let ran = rig.portctl(&["key", "show", "hot"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("created       2025-11-23T18:53:27.042Z, 3d ago"), "{}", ran.out);
    assert!(ran.out.contains("2025-11-23T18:53:28.000Z for spiffe://acme/pay, record 40"));
    let ran = rig.portctl(&["key", "show", "hto"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("NOT_FOUND"), "{}", ran.err);
}

#[test]
fn a_signature_is_printed_for_people_and_for_programs() {
    let raw = transfer().signed(&key(1)).raw_transaction;
    let raw = format!("0x{}", hex::encode(raw));
    let ran = sign(Script::default(), &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.starts_with(&format!("raw transaction   {raw}\n")), "{}", ran.out);
    let ran = sign(Script::default(), &["--output", "json", "--request-id", "try-1"]);
    let said = ran.json();
    assert_eq!(said["status"], "signed");
    assert_eq!(said["raw_transaction"], raw.as_str());
    assert_eq!((&said["sequence"], &said["request_id"]), (&json!(7), &json!("try-1")));
}

#[test]
fn a_transaction_object_from_a_file_or_standard_input_signs_the_same_bytes() {
    let rig = Script::default().run();
    let to = support::transactions::recipient().to_checksum(None);
    let from = address(&key(1)).to_checksum(None);
    let object = json!({
        "from": from, "to": to, "value": "0xde0b6b3a7640000", "nonce": 2, "chainId": 1,
        "gas": 21000, "maxFeePerGas": "30000000000", "maxPriorityFeePerGas": "1000000000",
    });
    rig.file("tx.json", &object.to_string());
    // The client compares the fake's answer with the bytes that it sent itself.
    let ran = rig.portctl(&["sign", "--key", "hot", "--json", "tx.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let input = std::fs::File::open(rig.folder.path().join("tx.json")).expect("open");
    let ran = run(Command::new(env!("CARGO_BIN_EXE_portctl"))
        .current_dir(rig.folder.path())
        .args(["sign", "--key", &from, "--json", "-"])
        .stdin(input));
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn an_object_for_another_sender_or_with_a_misspelt_field_is_never_sent() {
    let rig = Script::default().run();
    let object = r#"{"from":"0x00000000000000000000000000000000000000aa","to":null,"nonce":2,
        "chainId":1,"gas":1,"gasPrice":1}"#;
    rig.file("tx.json", object);
    let ran = rig.portctl(&["sign", "--key", "hot", "--json", "tx.json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("\"from\" is 0x"), "{}", ran.err);
    rig.file("tx.json", &object.replace("gasPrice", "gaspPrice"));
    let ran = rig.portctl(&["sign", "--key", "hot", "--json", "tx.json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("unknown field `gaspPrice`"), "{}", ran.err);
    assert!(rig.seen().is_empty());
}

#[test]
fn an_unknown_key_names_those_that_are_ours() {
    let ran = tell(Script::default(), &["sign", "--key", "hott", "--hex", "0x02c0"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("no key \"hott\"") && ran.err.contains("use: hot"), "{}", ran.err);
}

#[test]
fn a_denial_exits_with_3_and_names_the_rule() {
    let script = Script { refuse: Some(denial()), ..Default::default() };
    let ran = sign(script.clone(), &[]);
    assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{ran:?}");
    for part in ["NATIVE_OVER_LIMIT", "payouts", "5 of at most 1"] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    let ran = sign(script, &["--output", "json"]);
    let error: serde_json::Value = serde_json::from_str(&ran.err).expect("JSON on stderr");
    assert_eq!(error["error"]["reason"], "NATIVE_OVER_LIMIT");
    assert_eq!(error["error"]["metadata"]["rule"], "payouts");
    assert_eq!((ran.code, ran.out.as_str()), (3, ""));
}

#[test]
fn a_parked_request_exits_with_4_and_says_how_to_collect() {
    let script = Script { park: true, ..Default::default() };
    let ran = sign(script, &["--output", "json"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert_eq!(ran.json()["missing"], json!(["2 of treasury"]));
    assert_eq!(ran.json()["expires_at"], "2025-11-23T18:53:27.042Z");
    assert!(ran.err.contains("--request-id"), "{}", ran.err);
    assert!(ran.err.contains("portctl approvals show p-1"), "{}", ran.err);
}

#[test]
fn waiting_prints_each_change_and_then_the_signature_or_why_there_is_none() {
    use v1::ParkedState::{Ready, Rejected, Waiting};
    let waited = |states: &[v1::ParkedState]| {
        let script = Script::default();
        *script.watched.lock().expect("lock") = states.to_vec();
        sign(script, &["--wait", "--output", "json"])
    };
    let ran = waited(&[Waiting, Ready]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json()["status"], "signed");
    let said: Vec<&str> = ran.err.lines().collect();
    for (line, part) in said.iter().zip(["show p-1", "missing 1 of treasury", "ready: 1"]) {
        assert!(line.contains(part), "{part}: {said:?}");
    }
    let ran = waited(&[Waiting, Rejected]);
    assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{ran:?}");
    assert!(ran.err.contains("p-1 was rejected"), "{}", ran.err);
}

#[test]
fn a_reply_that_does_not_verify_exits_with_7_and_prints_no_signature() {
    let script = Script { lie: true, ..Default::default() };
    let ran = sign(script, &[]);
    assert_eq!((ran.code, ran.out.as_str()), (7, ""), "{ran:?}");
    assert!(ran.err.contains("not to be trusted"), "{}", ran.err);
}

#[test]
fn each_kind_of_refusal_has_its_exit_code() {
    for (status, code) in [
        (refusal(Code::Unauthenticated, "UNKNOWN_CALLER"), 5),
        (refusal(Code::PermissionDenied, "NOT_AUTHORISED"), 5),
        (refusal(Code::FailedPrecondition, "FROZEN"), 3),
        (refusal(Code::FailedPrecondition, "BOOK_WIDENS"), 3),
        (refusal(Code::Unavailable, "JOURNAL_FULL"), 6),
        (refusal(Code::ResourceExhausted, "THROTTLED"), 6),
        (refusal(Code::InvalidArgument, "BAD_FIELD"), 1),
        (refusal(Code::Internal, "BUG"), 1),
    ] {
        let reason = status.message().to_owned();
        let script = Script { refuse: Some(status), ..Default::default() };
        let ran = tell(script, &["freeze", "--all", "--reason", "drill"]);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{reason}: {ran:?}");
    }
}

#[test]
fn what_a_refusal_says_twice_is_told_once() {
    let mut details = ErrorDetails::with_error_info("BAD_FIELD", "portcullis.v1", []);
    details.add_bad_request_violation("reason", "say why");
    details.add_bad_request_violation("scope", "is missing");
    let status = Status::with_error_details(Code::InvalidArgument, "reason: say why", details);
    let script = Script { refuse: Some(status), ..Default::default() };
    let ran = tell(script, &["freeze", "--all", "--reason", "drill"]);
    assert_eq!(ran.err.matches("say why").count(), 1, "{}", ran.err);
    assert!(ran.err.contains("  FIELD at scope: is missing\n"), "{}", ran.err);
}

#[test]
fn a_freeze_sends_its_one_scope_and_prints_what_it_stopped() {
    for (args, scope, words) in [
        (vec!["hot"], "Key(\"hot\")", "key hot"),
        (vec!["--caller", "pay"], "Caller(\"pay\")", "caller pay"),
        (vec!["--tag", "eu"], "Tag(\"eu\")", "tag eu"),
        (vec!["--all"], "All(true)", "everything"),
    ] {
        let rig = Script::default().run();
        let mut all = vec!["freeze", "--reason", "odd traffic"];
        all.extend(args);
        let ran = rig.portctl(&all);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.out.starts_with(&format!("stopped               {words}\n")), "{}", ran.out);
        assert!(ran.out.contains("last released before  record 40"), "{}", ran.out);
        assert!(ran.out.contains("\n40      hot  spiffe://acme/pay  1      18     transaction"));
        assert!(ran.out.contains("typed data until 2023-11-14T22:28:20.000Z"), "{}", ran.out);
        assert!(
            ran.out.contains("and 7 older ones in scope\nsender of hot: 0x2222"),
            "{}",
            ran.out
        );
        assert_eq!(rig.seen()[0], format!("{scope} odd traffic"));
        // A slip of the hand is told, after the stop and never instead of it.
        let warned = ran.err.contains("warning: the book in force has no caller pay");
        assert_eq!(warned, words == "caller pay", "{}", ran.err);
    }
}

#[test]
fn what_a_stop_cannot_call_back_is_told_to_programs_too() {
    let ran = tell(Script::default(), &["freeze", "hot", "--reason", "x", "--output", "json"]);
    let answer = ran.json();
    let (transaction, permit) = (&answer["unsettled"][0], &answer["unsettled"][1]);
    assert_eq!(transaction["nonce"], "18");
    assert_eq!(transaction["form"], "transaction");
    assert_eq!(transaction["digest"], format!("0x{}", "33".repeat(32)));
    assert_eq!(transaction["callers"][0], "spiffe://acme/pay");
    assert_eq!(permit["nonce"], serde_json::Value::Null);
    assert_eq!(permit["form"], "typed_data");
    assert_eq!(permit["ends_at_ms"], 1_700_000_900_000_u64);
    assert_eq!(answer["unsettled_more"], 7);
}

#[test]
fn a_freeze_that_was_not_recorded_is_printed_and_is_a_failure() {
    let script = Script { unrecorded: true, ..Default::default() };
    let ran = tell(script, &["freeze", "hot", "--reason", "x", "--output", "json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(ran.json()["recorded"], false);
    assert!(ran.err.contains("not recorded"), "{}", ran.err);
}

#[test]
fn mistakes_in_the_command_line_exit_with_2_and_connect_nowhere() {
    let long = "x".repeat(501);
    for args in [
        &["freeze", "--reason", "x"][..],
        &["freeze", "hot", "--all", "--reason", "x"],
        &["freeze", "--tag", "a", "--caller", "b", "--reason", "x"],
        &["freeze", "hot"],
        &["freeze", "hot", "--reason", " "],
        &["freeze", "hot", "--reason", &long],
        &["sign", "--key", "hot"],
        &["sign", "--key", "hot", "--hex", "0x", "--json", "-"],
        &["sign", "--hex", "0x00"],
        &["sign", "--key", "hot", "--hex", "0x00", "--request-id", "no blanks"],
        &["key"],
        &["key", "create"],
        &["key", "create", "cold", "--purpose", "x", "--environment", "staging", "--chain", "1"],
        &[
            "key",
            "create",
            "cold",
            "--purpose",
            "x",
            "--environment",
            "staging",
            "--chain",
            "1",
            "--review-by",
            "2027-02-29",
        ],
        &["audit", "export"],
        &["--output", "yaml", "status"],
        &["thaw"],
        &["thaw", "hot"],
        &["thaw", "hot", "--all", "--reason", "x"],
        &["revoke", "--reason", "x"],
        &["approvals"],
        &["approvals", "approve"],
        &["approvals", "approve", "p1", "--reason", &long],
        &["approvals", "reject", "p1", "--no-execute"],
        &["people", "add", "eve", "--control", "eve.example", "--reason", "x"],
        &["people", "set-roles", "eve", "--role", "king", "--reason", "x"],
        &["people", "recover", "begin", "renewal.toml"],
        &["--vault", "07", "status"],
    ] {
        let rig = Script::default().run();
        let ran = rig.portctl(args);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?}: {ran:?}");
        assert!(rig.seen().is_empty(), "{args:?}");
    }
}

#[test]
fn a_faulty_book_prints_every_fault_with_its_place_and_hint() {
    let fault = |line, column, message: &str, hint: &str| v1::BookFault {
        line,
        column,
        message: message.into(),
        hint: hint.into(),
    };
    let faults = vec![fault(3, 7, "unknown chain", "add [[chain]]"), fault(0, 0, "no rules", "")];
    let checked = v1::CheckBookResponse { faults, ..Default::default() };
    let rig = Script { checked, ..Default::default() }.run();
    rig.file("book.toml", "version = 1\n");
    let ran = rig.portctl(&["policy", "check", "book.toml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(
        ran.out,
        "book.toml:3:7: unknown chain\n  hint: add [[chain]]\nbook.toml: no rules\n\
         2 fault(s): the book would be refused\n"
    );
    assert_eq!(rig.seen(), ["version = 1\n"]);
}

#[test]
fn a_sound_book_lists_what_it_widens_and_narrows() {
    let checked = v1::CheckBookResponse {
        wider: vec!["payouts: more per day".into()],
        narrower: vec!["fees: less".into()],
        book_hash: vec![0xcd; 32],
        ..Default::default()
    };
    let rig = Script { checked, ..Default::default() }.run();
    rig.file("book.toml", "version = 1\n");
    let ran = rig.portctl(&["policy", "check", "book.toml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for line in ["wider: payouts: more per day\n", "narrower: fees: less\n", "takes a quorum"] {
        assert!(ran.out.contains(line), "{line}: {}", ran.out);
    }
    let ran = rig.portctl(&["policy", "check", "book.toml", "--output", "json"]);
    assert_eq!(ran.json()["sound"], true);
    assert_eq!(ran.json()["wider"], json!(["payouts: more per day"]));
}

#[test]
fn a_book_can_be_checked_without_a_signer() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("book.toml");
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portctl"));
        run(command.current_dir(folder.path()).args(["policy", "check", "--offline", "book.toml"]))
    };
    std::fs::write(&path, "version = 1\nnonsense = 2\n").expect("write");
    let ran = check();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.starts_with("book.toml:2:1: "), "{}", ran.out);
    std::fs::write(&path, "version = 1\n").expect("write");
    let ran = check();
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_rollup_without_a_fee_for_layer_1_is_warned_of_and_the_book_is_sound() {
    let rig = Script::default().run();
    let check = |l1_fee: &str, options: &[&str]| {
        let book = format!(
            "version = 1\n[chain.base]\nid = 8453\nnative = \"ETH\"\n{l1_fee}\n\
             [caller.a]\nowners = [\"zed\"]\n[key.hot]\ncallers = [\"a\"]\nchains = [\"base\"]\n\
             rate = {{ per_caller = \"1/s\", per_key = \"1/s\", parked = 0 }}\n"
        );
        rig.file("book.toml", &book);
        let ran = rig.portctl(&[&["policy", "check", "book.toml"], options].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran
    };
    for options in [&[][..], &["--offline"]] {
        let ran = check("", options);
        assert!(ran.out.contains("\nwarning: chain base (8453) "), "{}", ran.out);
        let ran = check("l1_fee = \"0.001 ETH\"", options);
        assert!(!ran.out.contains("warning"), "{}", ran.out);
    }
    let ran = check("", &["--output", "json"]);
    assert_eq!(ran.json()["sound"], true);
    assert_eq!(ran.json()["warnings"].as_array().map(Vec::len), Some(1), "{}", ran.out);
}

#[test]
fn a_book_is_adopted_and_the_one_in_force_is_printed_byte_for_byte() {
    let rig = Script::default().run();
    rig.file("book.toml", "version = 1\n# narrower\n");
    let ran = rig.portctl(&["policy", "adopt", "book.toml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains(&format!("0x{}, record 9", "ab".repeat(32))), "{}", ran.out);
    assert!(ran.out.contains("  payouts: less per day"), "{}", ran.out);
    assert_eq!(rig.seen(), ["version = 1\n# narrower\n"]);
    let ran = rig.portctl(&["policy", "show"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "version = 1\n\n"), "{ran:?}");
}

#[test]
fn a_misspelt_file_is_named() {
    let rig = Script::default().run();
    let ran = rig.portctl(&["policy", "adopt", "bok.toml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("bok.toml cannot be read"), "{}", ran.err);
    assert!(ran.err.contains("because: No such file"), "{}", ran.err);
    let ran = rig.portctl(&["--ca", "typo.pem", "status"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("CA certificate file typo.pem cannot be read"), "{}", ran.err);
}

#[test]
fn status_shows_stops_and_troubles_without_colour_when_nobody_looks() {
    let ran = tell(Script::default(), &["status"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for line in [
        "serving       no\n",
        "environment   staging\n",
        "stopped       tag eu\n",
        "trouble       the token is away\n",
        "journal room  5 MiB until admission stops\n",
        "sure time     2025-11-23T18:53:27.042Z\n",
        "good drill    2025-11-13T02:13:20.000Z\n",
    ] {
        assert!(ran.out.contains(line), "{line}: {}", ran.out);
    }
    assert!(!ran.out.contains('\u{1b}'), "{}", ran.out);
    let said = tell(Script::default(), &["status", "--output", "json"]).json();
    assert_eq!((&said["serving"], &said["frozen"]), (&json!(false), &json!(["tag eu"])));
}

#[test]
fn nobody_listening_exits_with_6_and_says_what_to_check() {
    let rig = Script::default().run();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = free.local_addr().expect("address").port();
    drop(free);
    let ran = rig.portctl(&["--endpoint", &format!("https://localhost:{port}"), "status"]);
    assert_eq!((ran.code, ran.out.as_str()), (6, ""), "{ran:?}");
    assert!(ran.err.contains("nothing listens there. Check that the signer runs"), "{}", ran.err);
}

#[test]
fn a_signer_of_another_authority_exits_with_5() {
    let rig = Script::default().run();
    let other = support::pki::Pki::new("other");
    let ca = other.ca_file();
    let ran = rig.portctl(&["--ca", ca.to_str().expect("path"), "status"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("Check the CA file"), "{}", ran.err);
}

#[test]
fn what_is_missing_or_misspelt_in_the_configuration_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let portctl = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portctl"));
        run(command.current_dir(folder.path()).args(args))
    };
    let ran = portctl(&["status"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("give --endpoint, or endpoint in portctl.toml"), "{}", ran.err);
    std::fs::write(folder.path().join("portctl.toml"), "endpiont = \"x\"\n").expect("write");
    let ran = portctl(&["status"]);
    assert!(ran.err.contains("unknown field `endpiont`"), "{}", ran.err);
    let ran = portctl(&["--config", "none.toml", "status"]);
    assert!(ran.err.contains("none.toml cannot be read"), "{}", ran.err);
    std::fs::write(folder.path().join("portctl.toml"), "endpoint = \"x\"\n").expect("write");
    let ran = portctl(&["sign", "--key", "hot", "--hex", "0x02c0"]);
    assert!(ran.err.contains("[data_plane] endpoint"), "{}", ran.err);
}

#[test]
fn completions_name_every_verb() {
    let ran = tell(Script::default(), &["completions", "bash"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for verb in ["freeze", "policy", "audit", "--request-id", "completions"] {
        assert!(ran.out.contains(verb), "{verb}");
    }
}

/// Three days and an hour.
const BEHIND_MS: u64 = 73 * 3_600_000;

#[test]
fn clocks_that_agree_are_shown_and_nothing_is_there_to_accept() {
    let ran = tell(Script::default(), &["clock", "show"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        ran.out,
        "sure        2025-11-23T18:53:27.042Z\n\
         possible    2025-11-23T18:53:27.042Z\n\
         wall clock  2025-11-23T18:53:27.042Z\n\
         apart       0s\n\
         so          windows and delays end when people expect it\n"
    );
    let ran = tell(Script::default(), &["clock", "accept", "--reason", "x"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("nothing is there to accept"), "{}", ran.err);
}

#[test]
fn an_outage_is_shown_with_what_is_late_and_what_to_type() {
    let rig = Script { behind_ms: BEHIND_MS, ..Script::default() }.run();
    let ran = rig.portctl(&["clock", "show"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("apart          3d 1h\n"), "{}", ran.out);
    assert!(ran.out.contains("portctl clock accept --reason WORDS\n"), "{}", ran.out);
    let said = rig.portctl(&["--output", "json", "clock", "show"]).json();
    assert_eq!(said["late"], true);
    assert_eq!(said["behind_ms"], BEHIND_MS);
    assert_eq!(said["sure_time"], "2025-11-23T18:53:27.042Z");
    assert_eq!(said["wall_time"], "2025-11-26T19:53:27.042Z");
}

#[test]
fn an_outage_is_accepted_by_a_proposal_in_whole_seconds() {
    let rig = Script { behind_ms: BEHIND_MS, ..Script::default() }.run();
    let proposed = |args: &[&str]| {
        let ran = rig.portctl(&[&["clock", "accept", "--reason", "x"], args].concat());
        assert_eq!(ran.code, 4, "{ran:?}");
        let call = rig.seen().pop().expect("a call");
        let sent = call.strip_prefix("propose ").and_then(|rest| rest.strip_suffix(" x"));
        serde_json::from_str::<serde_json::Value>(sent.expect("a proposal")).expect("JSON")
    };
    let sure = 1_763_924_007_000_u64;
    let at = sure + BEHIND_MS - 1_000;
    assert_eq!(proposed(&[]), json!({ "accept_time": { "at": at, "sure": sure } }));
    let at = 1_763_985_600_000_u64;
    assert_eq!(
        proposed(&["--at", "2025-11-24T12:00:00Z"]),
        json!({ "accept_time": { "at": at, "sure": sure } })
    );
    let beyond = ["clock", "accept", "--reason", "x", "--at", "2025-12-24T12:00:00Z"];
    let ran = rig.portctl(&beyond);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("later than the clock of the signer's machine says"), "{}", ran.err);
    let ran = rig.portctl(&["clock", "accept", "--reason", "x", "--at", "2025-12-24"]);
    assert_eq!(ran.code, 2, "a day is no moment: {ran:?}");
}
