//! A machine that was away for days: sure time stands until people say otherwise, then goes on
//! from there, in this process and in the next.

use std::sync::Arc;

use base64ct::{Base64, Encoding as _};
use ed25519_dalek::{Signer as _, SigningKey};
use portcullis_policy::act::{AcceptTime, Act};
use portcullis_policy::credential::{Credential, Evidence, Purpose, SshKey, Strength};
use portcullis_policy::governance::{Deed, Governance, Requirement};
use portcullis_policy::id::{BookHash, Epoch, PersonId, Sequence};
use portcullis_policy::record::{
    Choice, Entry, Environment, FORMAT, Genesis, Matter, Person, Record, Role, Signature, Voted,
};
use portcullis_policy::state::ExecutionFault;
use portcullis_policy::statement;
use portcullis_policy::stops::Scope;
use portcullis_policy::time::{Interval, Millis, Span};
use portcullis_policy::verify::Verifier;
use sha2::{Digest as _, Sha512};

use super::super::{Heard, Sequencer, Started, start};
use super::BOOK;
use crate::clock::{Clock, wall};
use crate::journal::{Batch, Memory, Storage};
use crate::refusal::Refusal;

const DAY: Span = Span(86_400_000);

/// A key in a file, which signs as `ssh-keygen -Y sign` does (PROTOCOL.sshsig).
struct Pen(SigningKey);

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    out.extend(bytes);
}

fn strings(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    parts.iter().for_each(|part| string(&mut out, part));
    out
}

impl Pen {
    fn of(name: &str) -> Self {
        Self(SigningKey::from_bytes(&BookHash::of(name).0.0))
    }

    fn blob(&self) -> Vec<u8> {
        strings(&[b"ssh-ed25519", self.0.verifying_key().as_bytes()])
    }

    fn credential(&self) -> Credential {
        let line = format!("ssh-ed25519 {}", Base64::encode_string(&self.blob()));
        Credential::Ssh(SshKey::try_from(line).unwrap())
    }

    fn sign(&self, purpose: Purpose, text: &str) -> Evidence {
        let (namespace, hash) = (purpose.namespace().as_bytes(), Sha512::digest(text));
        let signed = strings(&[namespace, b"", b"sha512", &hash]);
        let signature = self.0.sign(&[b"SSHSIG", &signed[..]].concat()).to_bytes();
        let signature = strings(&[b"ssh-ed25519", &signature]);
        let rest = strings(&[&self.blob(), namespace, b"", b"sha512", &signature]);
        let whole = [b"SSHSIG", &1_u32.to_be_bytes()[..], &rest].concat();
        let lines = Base64::encode_string(&whole);
        let lines: Vec<&str> =
            lines.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let body = lines.join("\n");
        Evidence::Ssh(format!(
            "-----BEGIN SSH SIGNATURE-----\n{body}\n-----END SSH SIGNATURE-----\n"
        ))
    }
}

const GUARDS: [&str; 3] = ["sam", "sid", "sue"];

fn id(name: &str) -> PersonId {
    name.parse().unwrap()
}

/// What two of security may do, a millisecond after they said so.
fn governance() -> Governance {
    let requirement = Requirement {
        channels: 1,
        credentials: Strength::File,
        delay: Span(1),
        execute: DAY,
        expires: DAY,
        need: "2 of security".into(),
    };
    let people = Requirement { delay: Span(0), ..requirement.clone() };
    let quorums = [(Deed::Widen, requirement), (Deed::People, people)].into();
    Governance { quorums, recovery: None }
}

/// A vault that was made so long ago, and then nothing.
fn journal_of(age: Span) -> Memory {
    let person = |name: &str, role, pens: Vec<Credential>| Person {
        control: format!("spiffe://test/people/{name}"),
        credentials: pens,
        id: id(name),
        roles: [role].into(),
    };
    let mut people = vec![person("olga", Role::Operator, Vec::new())];
    let guard = |name: &&str| person(name, Role::Security, vec![Pen::of(name).credential()]);
    people.extend(GUARDS.iter().map(guard));
    let mut genesis = Genesis {
        book: BOOK.into(),
        environment: Environment::Development,
        format: FORMAT,
        governance: Some(governance()),
        people,
        salt: BookHash::of("salt").0,
        signatures: Vec::new(),
    };
    let text = statement::genesis(&genesis);
    let sign = |name: &&str| Signature {
        credential: Pen::of(name).credential().id(),
        evidence: Pen::of(name).sign(Purpose::Genesis, &text),
    };
    genesis.signatures = GUARDS.iter().map(sign).collect();
    let made = wall().minus(age).unwrap();
    let at = Interval { possible: made, sure: made };
    let entry = Entry { at, record: Record::Genesis(genesis), seq: Sequence(1) };
    let mut batch = Batch::ordinary();
    batch.push_record(&entry.encode().unwrap()).unwrap();
    let mut memory = Memory::default();
    let _durable = memory.append_if_owner(Epoch(0), &batch).unwrap();
    memory
}

fn started(memory: &Memory) -> (Sequencer, Arc<Clock>) {
    let Started { sequencer, clock, .. } =
        start(Box::new(memory.clone()), 0, &Heard::default()).unwrap();
    (sequencer, clock)
}

/// Proposed by an operator, and agreed to by two of security.
async fn agreed(sequencer: &Sequencer, act: Act) -> Sequence {
    let standing = sequencer.propose(id("olga"), act, "the site was dark".into()).await.unwrap();
    let Matter::Proposal(proposal) = standing.matter else { panic!("{standing:?}") };
    for name in ["sam", "sue"] {
        let pen = Pen::of(name);
        let text = statement::ballot(&standing.waiting.statement, Choice::Approve, &id(name), "");
        let voted = Voted {
            by: id(name),
            choice: Choice::Approve,
            credential: pen.credential().id(),
            evidence: pen.sign(Purpose::Vote, &text),
            matter: Matter::Proposal(proposal),
            reason: String::new(),
        };
        sequencer.vote(voted).await.unwrap();
    }
    proposal
}

/// As soon as the votes are a millisecond old.
async fn execute(sequencer: &Sequencer, proposal: Sequence) -> Result<(), Refusal> {
    loop {
        match sequencer.execute(id("olga"), proposal).await {
            Err(Refusal::Execution(ExecutionFault::NotMet(_))) => tokio::task::yield_now().await,
            other => return other.map(drop),
        }
    }
}

#[tokio::test]
async fn sure_time_stands_over_an_outage_until_people_let_it_go_on_and_then_for_good() {
    let memory = journal_of(Span(3 * DAY.0));
    let (sequencer, clock) = started(&memory);
    let before = clock.now();
    let behind = Span(before.possible.0 - before.sure.0);
    assert!(behind > Span(2 * DAY.0), "only people know how long it was: {before:?}");

    // An hour less than the wall clock says.
    let at = before.possible.minus(Span(3_600_000)).unwrap();
    let accept = AcceptTime { at, since: None, sure: before.sure };
    let proposal = agreed(&sequencer, Act::AcceptTime(accept)).await;
    assert!(clock.now().sure < at, "votes alone move nothing");
    execute(&sequencer, proposal).await.unwrap();
    let after = clock.now();
    assert!(after.sure >= at && after.sure < after.possible, "{after:?}");

    // Whatever comes next has its place after it.
    let frozen = portcullis_policy::record::Frozen {
        by: portcullis_policy::record::Actor::Signer,
        reason: "test".into(),
        scope: Scope::All,
    };
    assert!(sequencer.freeze(frozen).await.sequence.is_some());

    // The next process goes on from there too.
    let (_sequencer, next) = started(&memory);
    let next = next.now();
    assert!(next.sure >= after.sure && next.sure < next.possible, "{next:?}");

    let mut verifier = Verifier::default();
    for stored in memory.reader().records_from(Sequence(1)) {
        verifier.record(&stored.unwrap().record);
    }
    let report = verifier.finish();
    assert!(report.discrepancies.is_empty(), "{:#?}", report.discrepancies);
}

#[tokio::test]
async fn what_no_clock_of_the_machine_says_is_not_even_proposed() {
    let (sequencer, clock) = started(&journal_of(Span(3 * DAY.0)));
    let Interval { possible, sure } = clock.now();
    let act = Act::AcceptTime(AcceptTime { at: Millis(possible.0 + DAY.0), since: None, sure });
    let refused = sequencer.propose(id("olga"), act, "a guess".into()).await.unwrap_err();
    let Refusal::Proposal(fault) = refused else { panic!("{refused:?}") };
    assert_eq!(fault.code(), "TIME_BEYOND_POSSIBLE");
    assert_eq!(clock.now().sure.0.saturating_sub(sure.0) / DAY.0, 0);
}
