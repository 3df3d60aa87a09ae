//! `portctl audit` on what people did together: a true journal in which a key is stopped by one
//! person and revoked by others, with votes signed by the real `ssh-keygen`.

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

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use alloy_primitives::{B256, hex};
use fake::{Rig, Script};
use portcullis_policy::act::{Act, Revoke};
use portcullis_policy::credential::{Credential, Evidence, Purpose, SshKey, Strength};
use portcullis_policy::governance::{Deed, Governance, Requirement};
use portcullis_policy::id::{KeyId, PersonId, Sequence};
use portcullis_policy::people::{Person, Role};
use portcullis_policy::record::{
    Actor, Choice, Entry, Environment, FORMAT, Frozen, Genesis, KeyCreated, KeyIntended, Matter,
    Record, Signature, Voted,
};
use portcullis_policy::state::State;
use portcullis_policy::statement;
use portcullis_policy::stops::Scope;
use portcullis_policy::time::{Interval, Millis, Span};
use portcullis_proto::v1;
use support::transactions::{address, key};

const KEY: KeyId = KeyId::from_bytes([7; 16]);

/// A journal as it is written, with its state.
struct Vault {
    rig: Rig,
    lines: Vec<Vec<u8>>,
    state: Option<State>,
}

impl Vault {
    fn new() -> Self {
        let rig = Script::default().run();
        for name in ["ada", "bob", "cay"] {
            rig.ssh_key(name);
        }
        let mut vault = Self { rig, lines: Vec::new(), state: None };
        let genesis = vault.genesis();
        vault.push(Record::Genesis(genesis));
        vault
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.rig.folder.path().join(name)
    }

    fn credential(&self, name: &str) -> Credential {
        let line = std::fs::read_to_string(self.file(name).with_extension("pub")).expect("a key");
        Credential::Ssh(SshKey::from_authorized_line(line.trim_end()).expect("a key"))
    }

    fn genesis(&self) -> Genesis {
        let person = |name: &str| Person {
            control: format!("{name}.example"),
            credentials: vec![self.credential(name)],
            id: id(name),
            roles: BTreeSet::from([Role::Security, Role::Operator]),
        };
        let rule = Requirement {
            channels: 1,
            credentials: Strength::File,
            delay: Span(0),
            execute: Span(3_600_000),
            expires: Span(3_600_000),
            need: "2 of security".into(),
        };
        let quorums = [(Deed::Revoke, rule.clone()), (Deed::People, rule)].into();
        let governance = Governance { quorums, recovery: None };
        // Else whoever of the three is to go would be missing with whoever proposes it.
        let proposer = Person {
            control: "olga.example".into(),
            credentials: Vec::new(),
            id: id("olga"),
            roles: BTreeSet::from([Role::Operator]),
        };
        let mut genesis = Genesis {
            book: "version = 1\n".into(),
            environment: Environment::Development,
            format: FORMAT,
            governance: Some(governance),
            people: ["ada", "bob", "cay"].map(person).into_iter().chain([proposer]).collect(),
            salt: B256::repeat_byte(5),
            signatures: Vec::new(),
        };
        let text = statement::genesis(&genesis);
        let signature = |name: &str| Signature {
            credential: self.credential(name).id(),
            evidence: sign(&self.file(name), Purpose::Genesis, &text),
        };
        genesis.signatures = ["ada", "bob", "cay"].map(signature).to_vec();
        genesis
    }

    fn now(&self) -> Interval {
        let now = Millis(1_763_924_007_042 + self.lines.len() as u64);
        Interval { possible: now, sure: now }
    }

    fn push(&mut self, record: Record) -> Sequence {
        let seq = Sequence(self.lines.len() as u64 + 1);
        let entry = Entry { at: self.now(), record, seq };
        match &mut self.state {
            None => self.state = Some(State::genesis(&entry).expect("genesis")),
            Some(state) => state.apply(&entry).expect("folds"),
        }
        self.lines.push(entry.encode().expect("encodes"));
        seq
    }

    fn state(&self) -> &State {
        self.state.as_ref().expect("a state")
    }

    fn vote(&mut self, name: &str, proposal: Sequence, reason: &str) {
        let matter = Matter::Proposal(proposal);
        let text = self.state().pending().get(&matter).expect("it waits").statement.clone();
        let text = statement::ballot(&text, Choice::Approve, &id(name), reason);
        let voted = Voted {
            by: id(name),
            choice: Choice::Approve,
            credential: self.credential(name).id(),
            evidence: sign(&self.file(name), Purpose::Vote, &text),
            matter,
            reason: reason.into(),
        };
        self.push(Record::Voted(Box::new(voted)));
    }

    /// The mission's sentence: one person freezes, two others vote, the key is revoked.
    fn revoked() -> Self {
        let mut vault = Self::new();
        vault.push(Record::KeyIntended(KeyIntended {
            by: id("ada"),
            chains: BTreeSet::new(),
            environment: Environment::Development,
            key: KEY,
            label: "hot".parse().expect("label"),
            owner: id("ada"),
            purpose: "payments".into(),
            review_by: Millis(1 << 50),
            tags: BTreeSet::new(),
        }));
        let point = key(1).verifying_key().to_encoded_point(false);
        vault.push(Record::KeyCreated(KeyCreated {
            address: address(&key(1)),
            key: KEY,
            point: hex::encode(point.as_bytes()),
        }));
        vault.push(Record::Frozen(Frozen {
            by: Actor::Person(id("ada")),
            reason: "odd traffic".into(),
            scope: Scope::Key(KEY),
        }));
        let act = Act::Revoke(Revoke { key: KEY });
        let proposed = (&id("ada"), act, "it was stolen".to_owned());
        let proposed = vault.state().propose(proposed, vault.now()).expect("proposed");
        let proposal = vault.push(Record::Proposed(Box::new(proposed)));
        vault.vote("bob", proposal, "seen it");
        vault.vote("cay", proposal, "");
        let done = vault.state().execution(&id("ada"), proposal, vault.now()).expect("done");
        vault.push(Record::Executed(done));
        vault
    }

    fn export(&self) {
        let text = [self.lines.join(&b'\n'), b"\n".to_vec()].concat();
        std::fs::write(self.file("out"), text).expect("write");
    }
}

fn id(name: &str) -> PersonId {
    name.parse().expect("id")
}

fn sign(key: &Path, purpose: Purpose, text: &str) -> Evidence {
    let file = key.with_extension("text");
    std::fs::write(&file, text).expect("write");
    let signed = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", purpose.namespace(), "-f"])
        .args([key, &file])
        .status();
    assert!(signed.expect("ssh-keygen").success());
    let signature = key.with_extension("text.sig");
    let text = std::fs::read_to_string(&signature).expect("a signature");
    std::fs::remove_file(signature).expect("remove");
    Evidence::Ssh(text)
}

#[test]
fn an_export_alone_tells_who_revoked_a_key_when_and_over_which_text() {
    let vault = Vault::revoked();
    vault.export();
    let ran = vault.rig.portctl(&["--config", "/dev/null", "audit", "verify", "out"]);
    assert_eq!(ran.code, 9, "{ran:?}");
    let (_, told) = ran.out.split_once("\nwhat people did together\n\n").expect("a section");
    let (bob, cay) = (vault.credential("bob").id(), vault.credential("cay").id());
    let key = "key hot (07070707070707070707070707070707)";
    for line in [
        format!("record 4: freeze {key}\n"),
        "  stopped by   ada at 2025-11-23T18:53:27.045Z: odd traffic\n".to_owned(),
        "  last signed  nothing\n".to_owned(),
        format!("record 8: revoke {key} for good\n"),
        "  proposed by  ada, record 5 at 2025-11-23T18:53:27.046Z: it was stolen\n".to_owned(),
        format!("  approved by  bob with {bob}, record 6 at 2025-11-23T18:53:27.047Z: seen it\n"),
        format!("  approved by  cay with {cay}, record 7 at 2025-11-23T18:53:27.048Z\n"),
        "  executed by  ada, record 8 at 2025-11-23T18:53:27.049Z\n".to_owned(),
        "  statement    SHA-256 ".to_owned(),
    ] {
        assert!(told.contains(&line), "{line}: {told}");
    }
    let proposed = Entry::decode(&vault.lines[4]).expect("a record").record;
    let Record::Proposed(proposed) = proposed else { panic!("{proposed:?}") };
    assert!(!told.contains("Portcullis approval"), "{told}");
    let args = ["audit", "verify", "out", "--statements", "--output", "json"];
    let said = vault.rig.portctl(&args).json();
    assert_eq!(said["together"][1]["statement"], proposed.statement);
    assert_eq!(said["together"][1]["votes"][0]["by"], "bob");
    let ran = vault.rig.portctl(&["audit", "verify", "out", "--statements"]);
    assert!(ran.out.contains(&proposed.statement), "{}", ran.out);
}

#[test]
fn a_journal_that_does_not_verify_tells_nothing_of_what_people_did() {
    let mut vault = Vault::revoked();
    // A vote that nobody cast.
    let text = String::from_utf8(vault.lines[6].clone()).expect("text");
    vault.lines[6] = text.replace("\"by\":\"cay\"", "\"by\":\"ada\"").into_bytes();
    vault.export();
    let ran = vault.rig.portctl(&["audit", "verify", "out"]);
    assert_eq!(ran.code, 13, "{ran:?}");
    assert!(!ran.out.contains("what people did together"), "{}", ran.out);
}

#[test]
fn records_of_what_people_do_are_read_in_plain_words() {
    let vault = Vault::revoked();
    let lines = (1..).zip(&vault.lines);
    let lines =
        lines.map(|(sequence, content)| v1::JournalLine { sequence, content: content.clone() });
    let head = v1::JournalHead { size: vault.lines.len() as u64, root: vec![8; 32] };
    let batch = v1::ReadJournalResponse { lines: lines.collect(), head: Some(head) };
    let rig = Script { journal: vec![batch], ..Default::default() }.run();
    let ran = rig.portctl(&["audit", "tail"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let bob = vault.credential("bob").id();
    for line in [
        "proposed        revoke key 07070707070707070707070707070707 for good, by ada: it was \
         stolen\n",
        &format!("voted           approve proposal p5 by bob with {bob}: seen it\n"),
        "executed        proposal p5 by ada, on the votes of records 6 and 7\n",
    ] {
        assert!(ran.out.contains(line), "{line}: {}", ran.out);
    }
    let ran = rig.portctl(&["audit", "show", "5"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let shown: Vec<&str> = ran.out.lines().collect();
    assert!(shown[0].contains("proposed        revoke key"), "{}", ran.out);
    assert_eq!(shown[2..5], ["Portcullis approval, version 1", shown[3], "proposal: 5"]);
    let ran = rig.portctl(&["audit", "show", "5", "--output", "json"]);
    assert_eq!(ran.out.trim_end().as_bytes(), vault.lines[4]);
    assert_eq!(rig.portctl(&["audit", "show", "99"]).code, 1);
}

#[test]
fn what_a_key_is_used_for_is_told_from_an_export_where_no_signer_is() {
    let vault = Vault::revoked();
    vault.export();
    let impact = |more: &[&str]| {
        let args = ["--config", "/dev/null", "key", "impact"];
        vault.rig.portctl(&[&args, more].concat())
    };
    let ran = impact(&["hot", "--export", "out"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for line in [
        "key           hot (07070707070707070707070707070707)\n",
        "purpose       payments\n",
        "last signed   nothing, ever\n",
        "signed        0 in 30 days, 0 refused\n",
        "  MAY TAKE: none\n",
    ] {
        assert!(ran.out.contains(line), "{line}{}", ran.out);
    }
    let json = impact(&[&"07".repeat(16), "--export", "out", "--output", "json"]).json();
    assert_eq!((&json["signed"], &json["last_signed"]), (&0.into(), &serde_json::Value::Null));
    let ran = impact(&["cold", "--export", "out"]);
    assert_eq!((ran.code, ran.err.contains("no key is called \"cold\"")), (1, true), "{ran:?}");
    std::fs::write(vault.file("out"), "no journal\n").expect("write");
    let ran = impact(&["hot", "--export", "out"]);
    assert_eq!((ran.code, ran.err.contains("line 1 is no record")), (1, true), "{ran:?}");
}
