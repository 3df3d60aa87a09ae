//! `portctl approvals`, `thaw`, `revoke` and `policy propose` against a fake signer that believes a
//! vote only if its signature verifies. Keys are made and used by the real `ssh-keygen`.

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

use std::process::{Command, Stdio};

use fake::council::{Council, parked, person, statement};
use fake::{Ran, Rig, Script, refusal, run};
use portcullis_proto::v1::{self, ApprovalState};
use serde_json::json;
use tonic::Code;

/// One request that waits, and ada with a key in the usual place.
fn rig() -> Rig {
    let rig = Script::default().run();
    let key = rig.ssh_key(".ssh/id_ed25519");
    *rig.council() = Council {
        approvals: vec![parked("00ff", "")],
        people: vec![person("ada", &[&key])],
        need: 2,
        ..Default::default()
    };
    rig
}

/// Nothing went to the signer that it keeps.
fn nothing_was_sent(rig: &Rig) -> bool {
    !rig.seen().iter().any(|call| call.starts_with("vote"))
}

fn block(text: &str) -> &str {
    let (_, rest) = text.split_once("──\n").expect("a frame");
    rest.split_once("── end of").expect("its end").0
}

#[test]
fn a_vote_with_a_key_in_a_file_is_signed_over_what_is_shown_and_believed() {
    let rig = rig();
    let ran = rig.portctl(&["approvals", "approve", "00ff", "--yes", "--reason", "invoice 7"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(rig.seen().last().map(String::as_str), Some("vote true invoice 7"));
    let signed = format!(
        "{}vote: approve\nvoter: ada\nbecause: \"invoice 7\"\n",
        statement("request: 00ff")
    );
    assert_eq!(block(&ran.err), signed);
    for line in ["voted      approve, as ada with SHA256:", "state      waiting\n"] {
        assert!(ran.out.contains(line), "{line}: {}", ran.out);
    }
    let approval = rig.council().approvals[0].clone();
    assert_eq!((approval.votes.len(), approval.votes[0].approve), (1, true));

    let ran = rig.portctl(&["approvals", "approve", "00ff", "--yes"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("already, in record 57"), "{}", ran.err);
}

#[test]
fn a_void_vote_is_given_again_in_other_words_and_nobody_touches_a_key_for_the_same() {
    let rig = rig();
    let approve = |more: &[&str]| {
        rig.portctl(&[&["approvals", "approve", "00ff", "--yes"][..], more].concat())
    };
    let votes = || rig.seen().iter().filter(|call| call.starts_with("vote")).count();
    let wordings: [&[&str]; 2] = [&[], &["--reason", "seen again"]];
    for (place, words) in wordings.into_iter().enumerate() {
        let ran = approve(words);
        assert_eq!((ran.code, votes()), (0, place + 1), "{ran:?}");
        // Its credential was suspended, and is back.
        rig.council().approvals[0].votes[place].counts = false;
        let ran = approve(words);
        assert_eq!((ran.code, votes()), (1, place + 1), "{ran:?}");
        assert!(ran.err.contains("is void") && ran.err.contains("--reason"), "{}", ran.err);
        assert!(!ran.err.contains("exactly what you sign"), "{}", ran.err);
    }
}

#[test]
fn whoever_is_not_asked_is_told_what_is_missing_or_that_nothing_is() {
    let rig = rig();
    rig.council().people[0].roles = vec!["approver".into()];
    rig.council().approvals[0].asks_you = false;
    let approve = || rig.portctl(&["approvals", "approve", "00ff", "--yes"]);
    let ran = approve();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("it takes 2 of treasury, within 30m, and"), "{}", ran.err);
    // As the signer tells what is ready, or what nobody can do.
    rig.council().approvals[0].takes.clear();
    let ran = approve();
    assert!(ran.err.contains("it takes what nobody can give"), "{}", ran.err);
    rig.council().approvals[0].set_state(ApprovalState::Ready);
    let ran = approve();
    assert!(ran.err.contains("does not ask ada: enough people have agreed"), "{}", ran.err);
    assert!(nothing_was_sent(&rig));
}

#[test]
fn a_vote_takes_the_whole_id_and_says_where_it_stands() {
    let rig = rig();
    for verb in ["approve", "reject"] {
        let ran = rig.portctl(&["approvals", verb, "9edb8c38", "--yes"]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
        assert!(ran.err.contains("`portctl approvals show 9edb8c38` prints it"), "{}", ran.err);
    }
    assert!(rig.seen().is_empty());
}

#[test]
fn a_rejection_says_why_and_ends_it() {
    let rig = rig();
    let ran = rig.portctl(&[
        "approvals",
        "reject",
        "00ff",
        "--yes",
        "--reason",
        "not ours",
        "--output",
        "json",
    ]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let said = ran.json();
    assert_eq!((&said["vote"], &said["approval"]["state"]), (&json!("reject"), &json!("rejected")));
    assert!(
        said["signed"]
            .as_str()
            .expect("text")
            .ends_with("vote: reject\nvoter: ada\nbecause: \"not ours\"\n")
    );
    let ran = rig.portctl(&["approvals", "approve", "00ff", "--yes"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("takes no more votes: it is rejected"), "{}", ran.err);
}

#[test]
fn without_a_terminal_nothing_is_signed_unless_it_was_said_before() {
    let rig = rig();
    let ran = rig.portctl(&["approvals", "approve", "00ff"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
    assert!(ran.err.contains("give --yes"), "{}", ran.err);
    assert!(nothing_was_sent(&rig));
}

#[test]
fn a_named_key_may_be_its_private_or_its_public_half_or_in_an_agent() {
    let rig = rig();
    let (one, two) = (rig.ssh_key("one"), rig.ssh_key("two"));
    let (alone, held) = (rig.ssh_key("alone"), rig.ssh_key("held"));
    rig.council().people = vec![person("ada", &[&one, &two, &alone, &held])];
    std::fs::remove_file(alone.with_extension("pub")).expect("remove");
    for key in ["one", "two.pub", "alone"] {
        let ran = rig.portctl(&["approvals", "approve", "00ff", "--yes", "--key", key]);
        assert_eq!(ran.code, 0, "{key}: {ran:?}");
        rig.council().approvals[0].set_state(ApprovalState::Waiting);
    }
    let socket = rig.folder.path().join("agent");
    let mut agent = Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn()
        .expect("ssh-agent");
    while !socket.exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let added = Command::new("ssh-add").arg("-q").arg(&held).env("SSH_AUTH_SOCK", &socket).status();
    assert!(added.expect("ssh-add").success());
    std::fs::remove_file(&held).expect("remove");
    let args = ["approvals", "approve", "00ff", "--yes", "--key", "held.pub"];
    let ran = run(rig.command(&args).env("SSH_AUTH_SOCK", &socket));
    agent.kill().expect("kill");
    agent.wait().expect("wait");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(rig.council().approvals[0].votes.len(), 4);
}

#[test]
fn a_key_that_is_not_enrolled_for_the_voter_signs_nothing() {
    let rig = rig();
    let other = rig.ssh_key("other");
    rig.council().people.push(person("eve", &[&other]));
    let ran = rig.portctl(&["approvals", "approve", "00ff", "--yes", "--key", "other"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
    assert!(ran.err.contains("is not enrolled for ada. Enrolled are SHA256:"), "{}", ran.err);

    // Even if the signer calls it by the name of a key that is.
    let named = rig.council().people[0].credentials[0].id.clone();
    rig.council().people[0] = person("ada", &[&other]);
    rig.council().people[0].credentials[0].id = named;
    let ran = rig.portctl(&["approvals", "approve", "00ff", "--yes", "--key", "other"]);
    assert_eq!(ran.code, 1, "{ran:?}");

    rig.council().people.clear();
    let ran = rig.portctl(&["approvals", "approve", "00ff", "--yes"]);
    assert!(ran.err.contains("\"ada\", who is not among the people"), "{}", ran.err);
    assert!(nothing_was_sent(&rig));
}

#[test]
fn a_suspended_voter_is_told_before_they_touch_anything() {
    let rig = rig();
    rig.council().people[0].credentials[0].suspended = true;
    let ran = rig.portctl(&["approvals", "approve", "00ff", "--yes"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("your credential SHA256:"), "{}", ran.err);
    rig.council().people[0].suspended = true;
    let ran = rig.portctl(&["approvals", "approve", "00ff", "--yes"]);
    assert!(ran.err.contains("your vote, ada, is suspended"), "{}", ran.err);
    assert!(nothing_was_sent(&rig));
}

#[test]
fn a_wrong_signature_is_found_here_and_not_sent() {
    let rig = rig();
    let other = rig.ssh_key("other");
    let mixed = rig.ssh_key("mixed");
    // The public half that is enrolled, beside somebody else's private half.
    std::fs::copy(&other, &mixed).expect("copy");
    rig.council().people = vec![person("ada", &[&mixed])];
    let ran = rig.portctl(&["approvals", "approve", "00ff", "--yes", "--key", "mixed"]);
    assert!(ran.code == 7 || ran.code == 1, "{ran:?}");
    assert!(nothing_was_sent(&rig), "{ran:?}");

    // An ssh-keygen that signs something else than it was given.
    let fake = "#!/bin/sh\nfor last; do :; done\necho other > \"$last.x\"\n\
        PATH=/usr/bin:/bin ssh-keygen -q -Y sign -n vote.v1@portcullis -f \"$7\" \"$last.x\"\n\
        mv \"$last.x.sig\" \"$last.sig\"\n";
    let folder = rig.folder.path().join("bin");
    std::fs::create_dir(&folder).expect("folder");
    std::fs::write(folder.join("ssh-keygen"), fake).expect("write");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.join("ssh-keygen"), mode).expect("mode");
    rig.council().people = vec![person("ada", &[&other])];
    let args = ["approvals", "approve", "00ff", "--yes", "--key", "other"];
    let ran = run(rig.command(&args).env("PATH", format!("{}:/usr/bin:/bin", folder.display())));
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.err.contains("does not verify, and was not sent"), "{}", ran.err);
    assert!(nothing_was_sent(&rig));
}

#[test]
fn no_text_is_shown_or_signed_that_a_screen_could_show_as_another() {
    for (from, to) in [
        ("shop", "sh\u{43e}p"),
        ("12.5 ETH", "12.5 ETH\u{1b}[8m000\u{1b}[0m"),
        ("12.5 ETH", "1.5 ETH\r  pay 12.5 ETH"),
        ("12.5", "12\u{202e}.5"),
    ] {
        let rig = rig();
        let bad = rig.council().approvals[0].statement.replace(from, to);
        rig.council().approvals[0].statement = bad;
        for args in [&["approvals", "show", "00ff"][..], &["approvals", "approve", "00ff", "--yes"]]
        {
            let ran = rig.portctl(args);
            assert_eq!((ran.code, ran.out.as_str()), (7, ""), "{to:?}: {ran:?}");
            assert!(ran.err.contains("not printable ASCII"), "{}", ran.err);
            assert!(!ran.err.contains('\u{1b}'), "{}", ran.err);
        }
        assert!(nothing_was_sent(&rig));
    }
}

#[test]
fn a_statement_for_another_vault_or_matter_is_never_signed() {
    let rig = rig();
    let approve = ["approvals", "approve", "00ff", "--yes"];
    let pinned = |vault: &str| {
        let mut args = approve.to_vec();
        args.extend(["--vault", vault]);
        rig.portctl(&args)
    };
    let ran = pinned(&"08".repeat(32));
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.err.contains("the vault \"0707"), "{}", ran.err);

    let config = rig.folder.path().join("portctl.toml");
    let text = std::fs::read_to_string(&config).expect("read");
    rig.file("portctl.toml", &format!("vault = \"0x{}\"\n{text}", "08".repeat(32)));
    assert_eq!(rig.portctl(&approve).code, 7);
    rig.file("portctl.toml", &text);

    // The signer lies about itself and its statement alike, and is caught by the pin alone.
    let bad = rig.council().approvals[0].statement.replace("request: 00ff", "request: 00fe");
    rig.council().approvals[0].statement = bad;
    let ran = rig.portctl(&approve);
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.err.contains("should be \"request: 00ff\""), "{}", ran.err);
    assert!(nothing_was_sent(&rig));

    rig.council().approvals[0] = parked("00ff", "");
    assert_eq!(pinned(&"07".repeat(32)).code, 0);
}

#[test]
fn what_is_shown_between_the_frames_is_the_statement_byte_for_byte() {
    let rig = rig();
    let ran = rig.portctl(&["approvals", "show", "00ff"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(block(&ran.out), statement("request: 00ff"));
    assert!(ran.out.starts_with("── what follows is exactly what you sign"), "{}", ran.out);
    let (_, below) = ran.out.split_once("── end of").expect("the end");
    assert!(below.contains("\nstate      waiting\n"), "{below}");
    let said = rig.portctl(&["approvals", "show", "00ff", "--output", "json"]).json();
    assert_eq!(said["statement"], statement("request: 00ff"));
}

#[test]
fn what_would_do_the_same_is_listed_together_and_what_asks_you_is_marked() {
    let rig = rig();
    let parked = |id, like| v1::Approval { asks_you: id == "0001", ..parked(id, like) };
    let asks = parked("0001", "same");
    let voted =
        v1::Ballot { person: "bob".into(), approve: true, counts: false, ..Default::default() };
    let other = v1::Approval { votes: vec![voted], ..parked("0002", "other") };
    let over = v1::Approval { done_until_ms: 1, votes_until_ms: 1, ..parked("0004", "") };
    rig.council().approvals =
        vec![asks, other, parked("0003", "same"), over, parked("0005", "same")];
    let ran = rig.portctl(&["approvals", "list"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let rows: Vec<&str> = ran.out.lines().collect();
    let ids: Vec<&str> = rows.iter().filter_map(|row| row.get(6..12)).collect();
    assert_eq!(ids, ["ID    ", "0001  ", "  0003", "  0005", "0002  ", "0004  "], "{}", ran.out);
    assert!(rows[1].starts_with("you   0001"), "{}", ran.out);
    assert!(rows[1].ends_with("pay 12.5 ETH to shop on mainnet + 2 like it"), "{}", ran.out);
    assert!(rows[4].contains("  (bob)  "), "{}", ran.out);
    assert!(rows[5].contains("  over  "), "{}", ran.out);
    assert_eq!(ran.err, "1 ask you: portctl approvals show ID\n");
    let said = rig.portctl(&["approvals", "list", "--output", "json"]).json();
    assert_eq!(said["approvals"][2]["likeness"], "same");
}

#[test]
fn nothing_that_waits_is_said_in_words() {
    let ran = Script::default().run().portctl(&["approvals", "list"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "nothing waits for people\n"));
}

#[test]
fn watching_prints_a_line_for_each_thing_that_waits() {
    let rig = rig();
    rig.council().approvals.push(parked("00fe", ""));
    let ran = rig.portctl(&["approvals", "watch"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ran.out);
    assert!(lines[1].starts_with("00fe") && lines[1].contains("ASKS YOU"), "{}", ran.out);
    let hostile = "pay Z\u{fc}rich\u{9b}2J\u{202e}";
    rig.council().approvals[0].summary = hostile.into();
    let ran = rig.portctl(&["approvals", "watch", "--output", "json"]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!((lines.len(), ran.out.is_ascii()), (2, true), "{}", ran.out);
    let said: serde_json::Value = serde_json::from_str(lines[0]).expect("JSON");
    assert_eq!(said["summary"], hostile);
}

fn thaw(rig: &Rig) -> Ran {
    rig.portctl(&["thaw", "hot", "--reason", "drill over"])
}

#[test]
fn a_thaw_is_proposed_then_waits_and_is_done_once_enough_have_agreed() {
    let rig = rig();
    rig.council().approvals.clear();
    let ran = thaw(&rig);
    assert_eq!(ran.code, 4, "{ran:?}");
    let act = r#"{"thaw":{"scope":{"key":"000102030405060708090a0b0c0d0e0f"}}}"#;
    let proposed = format!("propose {act} drill over");
    assert!(rig.seen().contains(&proposed), "{:?}", rig.seen());
    for line in [
        "proposed     p101\n",
        "takes        2 of security, within 1h, each vote after 10m\n",
        "voters type  portctl approvals approve p101\n",
    ] {
        assert!(ran.out.contains(line), "{line}: {}", ran.out);
    }

    let ran = thaw(&rig);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.out.starts_with("waits        p101\n"), "{}", ran.out);
    assert_eq!(rig.seen().iter().filter(|call| call.starts_with("propose")).count(), 1);

    rig.council().approvals[0].set_state(ApprovalState::Ready);
    let ran = thaw(&rig);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("done    p101 is done\n"), "{}", ran.out);
    assert!(rig.seen().contains(&"execute p101".to_owned()));
}

#[test]
fn another_act_that_waits_is_not_taken_for_this_one() {
    let rig = rig();
    assert_eq!(thaw(&rig).code, 4);
    rig.council().approvals[1].set_state(ApprovalState::Ready);
    for (args, act) in [
        (vec!["revoke", "hot"], r#"{"revoke":{"key":"000102030405060708090a0b0c0d0e0f"}}"#),
        (vec!["thaw", "--all"], r#"{"thaw":{"scope":"all"}}"#),
        (vec!["thaw", "--tag", "eu"], r#"{"thaw":{"scope":{"tag":"eu"}}}"#),
        (vec!["thaw", "--caller", "pay"], r#"{"thaw":{"scope":{"caller":"pay"}}}"#),
    ] {
        let ran = rig.portctl(&[&args[..], &["--reason", "x"]].concat());
        assert_eq!(ran.code, 4, "{ran:?}");
        assert_eq!(rig.seen().last(), Some(&format!("propose {act} x")));
    }
}

#[test]
fn the_last_vote_that_a_proposal_takes_does_it_unless_told_not_to() {
    for (more, done) in [(&[][..], true), (&["--no-execute"], false)] {
        let rig = rig();
        rig.council().need = 1;
        assert_eq!(thaw(&rig).code, 4);
        let args = [&["approvals", "approve", "p101", "--yes"][..], more].concat();
        let ran = rig.portctl(&args);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.out.contains("p101 is done"), done, "{}", ran.out);
        assert_eq!(rig.seen().contains(&"execute p101".to_owned()), done);
        assert_eq!(ran.err.contains("portctl approvals execute p101"), !done, "{}", ran.err);
    }
}

#[test]
fn proposals_are_executed_and_withdrawn_by_id_and_requests_are_not() {
    let rig = rig();
    assert_eq!(thaw(&rig).code, 4);
    let ran = rig.portctl(&["approvals", "execute", "p101"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.err.contains("NOT_MET"), "{}", ran.err);
    let ran = rig.portctl(&["approvals", "withdraw", "p101"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "withdrawn  p101\nrecord     121\n"));
    for verb in ["execute", "withdraw"] {
        let ran = rig.portctl(&["approvals", verb, "00ff"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains("is a parked request, not a proposal"), "{}", ran.err);
    }
}

#[test]
fn who_may_not_read_the_journal_still_proposes_and_is_told_what_that_means() {
    let rig = rig();
    assert_eq!(thaw(&rig).code, 4);
    rig.council().blind = true;
    let ran = thaw(&rig);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.err.contains("do not let you read the journal"), "{}", ran.err);
}

#[test]
fn a_book_that_widens_is_refused_with_the_way_to_propose_it() {
    let script = Script {
        refuse: Some(refusal(Code::FailedPrecondition, "BOOK_WIDENS")),
        ..Default::default()
    };
    let rig = script.run();
    rig.file("book.toml", "version = 1\n");
    let ran = rig.portctl(&["policy", "adopt", "book.toml"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.err.contains("next: portctl policy propose FILE --reason TEXT"), "{}", ran.err);

    let rig = rig_with_book();
    let ran =
        rig.portctl(&["policy", "propose", "book.toml", "--reason", "more", "--output", "json"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert_eq!(ran.json()["approval"]["id"], "p101");
    let call = rig.seen().pop().expect("a call");
    assert_eq!(call, r#"propose {"adopt":{"book":"version = 1\n"}} more"#);
}

fn rig_with_book() -> Rig {
    let rig = rig();
    rig.file("book.toml", "version = 1\n");
    rig
}
