//! `portctl people` against a fake signer. Keys are made and used by the real `ssh-keygen`.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    dead_code,
    unreachable_pub,
    reason = "a test stops at what it did not expect, and uses a part of what tests share"
)]

mod fake;
#[path = "../../client/tests/support/mod.rs"]
mod support;

use std::path::Path;

use fake::council::{VAULT, person};
use fake::{Rig, Script};
use portcullis_policy::act::Act;
use portcullis_policy::credential::{Credential, Purpose, SshKey};
use portcullis_policy::id::PersonId;
use portcullis_policy::record::RecoveryBegun;
use portcullis_policy::statement;
use serde_json::{Value, json};

fn rig() -> Rig {
    let rig = Script::default().run();
    let (ada, bob) = (rig.ssh_key("ada"), rig.ssh_key("bob"));
    rig.council().people = vec![person("ada", &[&ada]), person("bob", &[&bob])];
    rig
}

fn line(key: &Path) -> String {
    let text = std::fs::read_to_string(key.with_extension("pub")).expect("a public key");
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn credential(key: &Path) -> Credential {
    Credential::Ssh(SshKey::from_authorized_line(&line(key)).expect("a key"))
}

/// The act that was proposed last.
fn proposed(rig: &Rig) -> Act {
    rig.council().acts.values().next_back().expect("an act").clone()
}

#[test]
fn everybody_is_listed_with_what_they_sign_with_and_what_deeds_take() {
    let rig = rig();
    let second = rig.ssh_key("second");
    rig.council().people[1] = person("bob", &[&rig.folder.path().join("bob"), &second]);
    rig.council().people[1].suspended = true;
    rig.council().governance_json = json!({ "quorums": { "thaw": {
        "channels": 1, "credentials": "presence", "delay": 600_000, "execute": 0,
        "expires": 3_600_000, "need": "2 of security",
    } } })
    .to_string();
    let ran = rig.portctl(&["people", "list"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let rows: Vec<&str> = ran.out.lines().collect();
    assert!(
        rows[1].starts_with("ada  approver,security  ada.example  counts     SHA256:"),
        "{rows:?}"
    );
    assert!(
        rows[2].starts_with("bob  approver,security  bob.example  SUSPENDED  SHA256:"),
        "{rows:?}"
    );
    assert!(rows[3].trim_start().starts_with("SHA256:") && rows[3].ends_with(" (file)"));
    assert_eq!(rows.last(), Some(&"thaw  2 of security, within 1h, each vote after 10m"));
    let said = rig.portctl(&["people", "list", "--output", "json"]).json();
    assert_eq!(said["governance"]["quorums"]["thaw"]["need"], "2 of security");

    let ran = rig.portctl(&["people", "show", "bob"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("vote         SUSPENDED\n"), "{}", ran.out);
    let ran = rig.portctl(&["people", "show", "zed"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("no person zed; there are: ada, bob"), "{}", ran.err);
}

#[test]
fn a_new_person_signs_for_their_key_without_a_signer_and_is_proposed_with_it() {
    let rig = rig();
    let key = rig.ssh_key("eve");
    let sign = |person: &str, file: &str| {
        // No configuration: a machine that knows nothing but the vault's id.
        rig.portctl(&[
            "--config",
            "/dev/null",
            "--vault",
            VAULT,
            "people",
            "enrolment",
            "--person",
            person,
            "--key",
            "eve",
            "-o",
            file,
        ])
    };
    let ran = sign("eve", "eve.json");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("\nperson: eve\n"), "{}", ran.err);
    let add = |file: &str| {
        rig.portctl(&[
            "people",
            "add",
            "eve",
            "--control",
            "eve.example",
            "--role",
            "security",
            "--role",
            "approver",
            "--enrolment",
            file,
            "--reason",
            "hired",
        ])
    };
    let ran = add("eve.json");
    assert_eq!(ran.code, 4, "{ran:?}");
    let Act::Enrol(enrol) = proposed(&rig) else { panic!("{:?}", proposed(&rig)) };
    assert_eq!(enrol.person.credentials, [credential(&key)]);
    let eve: PersonId = "eve".parse().expect("id");
    let text = statement::enrolment(VAULT, &eve, &credential(&key).id());
    let proof = credential(&key).verify(Purpose::Enrolment, text.as_bytes(), &enrol.possession[0]);
    assert!(proof.is_ok(), "{proof:?}");

    // The same once more is the same proposal.
    let ran = add("eve.json");
    assert!(ran.code == 4 && ran.out.starts_with("waits "), "{ran:?}");

    // Signed as somebody else.
    assert_eq!(sign("mallory", "mallory.json").code, 0);
    let ran = add("mallory.json");
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.err.contains("does not prove that eve holds SHA256:"), "{}", ran.err);

    // Never over a file that is there.
    let ran = sign("eve", "eve.json");
    assert_eq!(ran.code, 1, "{ran:?}");
    let ran = rig.portctl(&[
        "people",
        "add-credential",
        "eve",
        "--enrolment",
        "eve.json",
        "--reason",
        "second key",
    ]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(matches!(proposed(&rig), Act::AddCredential(_)));
}

#[test]
fn an_enrolment_without_a_file_is_one_line_of_json_on_standard_output() {
    let rig = rig();
    let ran = rig.portctl(&["people", "enrolment", "--person", "ada", "--key", "ada.pub"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.out.lines().count(), 1);
    let said: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert!(said["possession"]["ssh"].as_str().expect("text").starts_with("-----BEGIN SSH"));
}

#[test]
fn each_verb_proposes_its_act_with_the_reason() {
    let rig = rig();
    for (args, act) in [
        (vec!["remove", "bob"], json!({ "remove": { "person": "bob" } })),
        (
            vec!["drop-credential", "bob", "SHA256:abc"],
            json!({ "drop_credential": { "credential": "SHA256:abc", "person": "bob" } }),
        ),
        (
            vec!["set-roles", "bob", "--role", "operator", "--role", "auditor"],
            json!({ "set_roles": { "person": "bob", "roles": ["auditor", "operator"] } }),
        ),
        (vec!["reinstate", "bob"], json!({ "reinstate": { "person": "bob" } })),
        (
            vec!["reinstate", "bob", "--credential", "SHA256:abc"],
            json!({ "reinstate": { "credential": "SHA256:abc", "person": "bob" } }),
        ),
        (vec!["recover", "cancel"], json!({ "cancel_recovery": {} })),
    ] {
        let ran = rig.portctl(&[&["people"], &args[..], &["--reason", "x"]].concat());
        assert_eq!(ran.code, 4, "{args:?}: {ran:?}");
        let call = rig.seen().pop().expect("a call");
        let sent = call.strip_prefix("propose ").and_then(|rest| rest.strip_suffix(" x"));
        let sent: Value = serde_json::from_str(sent.expect("a proposal")).expect("JSON");
        assert_eq!(sent, act);
    }
}

#[test]
fn a_suspension_holds_at_once_and_says_how_it_ends() {
    let rig = rig();
    let ran = rig.portctl(&[
        "people",
        "suspend",
        "bob",
        "--credential",
        "SHA256:abc",
        "--reason",
        "lost",
    ]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.out, "suspended  votes of bob with SHA256:abc\nrecord     61\n");
    assert!(ran.err.contains("portctl people reinstate bob"), "{}", ran.err);
    let sent = rig.council().suspended.pop().expect("a call");
    assert_eq!((sent.person.as_str(), sent.reason.as_str()), ("bob", "lost"));
}

#[test]
fn a_governance_file_is_proposed_or_every_fault_in_it_is_named() {
    let rig = rig();
    let good = "[quorum.thaw]\nneed = \"2 of security\"\nexpires = \"1h\"\ndelay = \"10m\"\n";
    rig.file("govern.toml", good);
    let govern = || rig.portctl(&["people", "govern", "govern.toml", "--reason", "x"]);
    assert_eq!(govern().code, 4);
    let Act::Govern(act) = proposed(&rig) else { panic!("{:?}", proposed(&rig)) };
    assert_eq!(act.governance.quorums.len(), 1);
    rig.file("govern.toml", &good.replace("1h", "an hour").replace("2 of", "two of"));
    let ran = govern();
    assert_eq!(ran.code, 1, "{ran:?}");
    for part in ["quorum.thaw.need", "quorum.thaw.expires"] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    rig.file("govern.toml", &good.replace("need", "needs"));
    assert!(govern().err.contains("unknown field `needs`"));
}

/// A renewal that makes zed and yan the people, and safe the recovery credential.
fn renewal(rig: &Rig) -> String {
    let key = |name: &str| line(&rig.folder.path().join(name));
    format!(
        "expires = 2026-12-24T12:00:00Z\nreason = \"all keys were lost\"\n\
         [[person]]\nid = \"zed\"\ncontrol = \"zed.example\"\nroles = [\"security\"]\n\
         credentials = [\"{}\"]\n\
         [quorum.thaw]\nneed = \"1 of security\"\nexpires = \"1h\"\ndelay = \"10m\"\n\
         [recovery]\nneed = 1\ndelay = \"3d\"\ncredentials = [\"{}\", \"{}\"]\n",
        key("zed"),
        key("safe1"),
        key("safe2"),
    )
}

#[test]
fn a_recovery_is_signed_offline_by_each_holder_and_announced_with_all_signatures() {
    let rig = rig();
    for name in ["zed", "safe1", "safe2", "stranger"] {
        rig.ssh_key(name);
    }
    let offline: Vec<Credential> =
        ["safe1", "safe2"].map(|name| credential(&rig.folder.path().join(name))).to_vec();
    rig.council().governance_json = json!({ "quorums": {}, "recovery": {
        "credentials": offline, "delay": 259_200_000, "need": 1,
    } })
    .to_string();
    rig.file("renewal.toml", &renewal(&rig));
    let sign = |key: &str| {
        let file = format!("{key}.json");
        let ran = rig.portctl(&[
            "--config",
            "/dev/null",
            "--vault",
            VAULT,
            "people",
            "recover",
            "sign",
            "renewal.toml",
            "--key",
            key,
            "-o",
            &file,
            "--yes",
        ]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.err.contains("After the delay these people replace all others"), "{}", ran.err);
    };
    ["zed", "safe1", "stranger"].iter().for_each(|key| sign(key));
    let begin = |files: &[&str]| {
        let mut args = vec!["people", "recover", "begin", "renewal.toml"];
        files.iter().for_each(|file| args.extend(["--signature", file]));
        rig.portctl(&args)
    };
    let ran = begin(&["zed.json", "stranger.json"]);
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.err.contains("neither a recovery credential"), "{}", ran.err);
    assert!(rig.council().recovery.is_none());

    let ran = begin(&["zed.json", "safe1.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("and then    portctl people recover finish 70\n"), "{}", ran.out);
    let sent = rig.council().recovery.clone().expect("a recovery");
    let sent: RecoveryBegun = serde_json::from_str(&sent).expect("as records hold it");
    let text = statement::recovery(VAULT, &sent.renewal);
    let verified = sent.signatures.iter().all(|one| {
        let known = offline.iter().chain(&sent.renewal.people[0].credentials);
        let signer = known.into_iter().find(|known| known.id() == one.credential).expect("known");
        signer.verify(Purpose::Recovery, text.as_bytes(), &one.evidence).is_ok()
    });
    assert!(verified && sent.signatures.len() == 2);
    assert_eq!(sent.renewal.expires.0, 1_798_113_600_000);

    // A file that says something else than what was signed.
    // (The whole line: the keys of the file are random, and may hold any two characters.)
    let sooner = renewal(&rig).replace("delay = \"3d\"", "delay = \"1d\"");
    rig.file("renewal.toml", &sooner);
    let ran = begin(&["zed.json", "safe1.json"]);
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.err.contains("is no signature by SHA256:"), "{}", ran.err);

    let ran = rig.portctl(&["people", "recover", "finish", "70"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(rig.seen().contains(&"finish 70".to_owned()));
}

#[test]
fn a_renewal_whose_reason_the_signer_would_refuse_is_signed_by_nobody() {
    let rig = rig();
    for name in ["zed", "safe1", "safe2"] {
        rig.ssh_key(name);
    }
    let text = renewal(&rig).replace("all keys were lost", "all keys\\nwere lost");
    rig.file("renewal.toml", &text);
    let sign = ["people", "recover", "sign", "renewal.toml", "--key", "safe1", "--yes"];
    let machine = ["--config", "/dev/null", "--vault", VAULT];
    let ran = rig.portctl(&[&machine[..], &sign[..]].concat());
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
    assert!(ran.err.contains("reason: write it on one line"), "{}", ran.err);
    assert!(!ran.err.contains("what follows is exactly what you sign"), "{}", ran.err);
}
