//! Records have one form: what is written is read back, and nothing else is read.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

mod support;

use std::collections::BTreeSet;

use alloy_primitives::{Address, B128, B256, U256};
use portcullis_policy::act::{
    AcceptTime, Act, AddCredential, AdoptBook, CancelRecovery, Destroy, Drain, DropCredential,
    Enrol, Govern, Reinstate, Remove, Revoke, SetRoles, Thaw,
};
use portcullis_policy::credential::{
    Assertion, Credential, Evidence, Passkey, PasskeyKey, Purpose, Strength,
};
use portcullis_policy::drain::{DrainChain, DrainPlan, DrainTo};
use portcullis_policy::finding::Reason;
use portcullis_policy::governance::{Deed, Governance, Recovery, Requirement};
use portcullis_policy::id::{
    BookHash, ChainId, DecisionNumber, Epoch, PersonId, Sequence, StepName,
};
use portcullis_policy::money::{Account, Amount, Asset, Charges, Facet, Line};
use portcullis_policy::note::NoteKey;
use portcullis_policy::record::{
    Absence, Actor, Adopted, Asked, CheckpointKeyIntended, CheckpointKeyMade, Choice, DenialBurst,
    Denied, DestroyAnswered, Destruction, DrainEnded, Drilled, Entry, Environment, Executed,
    FORMAT, Failed, FenceAnswered, FenceCause, FenceIntended, Frozen, Genesis, Grade,
    INLINE_BYTES_MAX, KeyCreated, KeyIntended, Matter, ParkedRecord, Party, Person, Proposed,
    Record, RecordedInput, RecordedSlot, Recovered, RecoveryBegun, Renewal, RescueDeed, RescueNote,
    Role, Signature, SignedNote, SignedRecord, Snapshot, Started, Suppressed, Suspended, Trigger,
    UnreadableEntry, UsedElsewhere, Voted, Withdrawn, Withheld,
};
use portcullis_policy::request::{Input, sha256};
use portcullis_policy::stops::Scope;
use portcullis_policy::time::{Interval, Millis, Span};
use proptest::prelude::*;
use support::people::{Pen, person};
use support::tx::Tx;
use support::{Ask, CALLER, key};

/// RFC 8032 section 7.1, the public key of test 1.
const EDWARDS: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

fn charges() -> Charges {
    let mut charges = Charges::default();
    for (asset, amount) in [
        (Asset::Native, Amount::from(1_000)),
        (Asset::Fee, Amount::ZERO),
        (Asset::Token(Address::repeat_byte(0xaa)), Amount::MAX),
    ] {
        charges.add(Account { chain: ChainId(1), asset }, amount).unwrap();
    }
    charges
}

fn asked() -> Asked {
    let request = Ask::of(&Tx::default()).request();
    Asked {
        at: Interval { possible: Millis(1_700_000_000_002), sure: Millis(1_700_000_000_001) },
        by: request.asker().clone(),
        digest: request.digest(),
        input: RecordedInput::of(&request.input()).0,
        number: DecisionNumber(7),
        seen: Sequence(41),
    }
}

fn reasons() -> Vec<Reason> {
    let reason = |limit| Reason {
        code: "OVER_WINDOW_LIMIT".into(),
        limit,
        rule: "native.window 1d".into(),
        saw: "say \"é\"\n\u{1}".into(),
    };
    vec![reason(None), reason(Some(Amount::MAX))]
}

fn hash(byte: u8) -> BookHash {
    BookHash(B256::repeat_byte(byte))
}

/// As they were before anybody kept count of what was believed, and since.
fn started(believed: Option<Span>) -> Record {
    Record::Started(Started {
        believed,
        boot: "b".into(),
        boot_clock: Millis(1),
        cut: 0,
        epoch: Epoch(2),
        lost: vec![DecisionNumber(5), DecisionNumber(6)],
        version: "0.1.0".into(),
        wall_clock: Millis((1 << 53) - 1),
    })
}

/// One of each kind, and of each form that a kind has.
fn every_record() -> Vec<Record> {
    let frozen = |by, scope| Record::Frozen(Frozen { by, reason: "drill".into(), scope });
    let sam = || Actor::Person(sam());
    let fence = |cause| Record::FenceIntended(FenceIntended { cause, keys: [key(1)].into() });
    let mut records = vec![
        Record::Genesis(Genesis {
            book: "version = 1\n".into(),
            environment: Environment::Production,
            format: FORMAT,
            governance: Some(governance()),
            people: vec![sam_of_security()],
            salt: B256::repeat_byte(4),
            signatures: vec![signature()],
        }),
        started(None),
        started(Some(Span(60_000))),
        Record::KeyIntended(KeyIntended {
            by: "olga".parse().unwrap(),
            chains: BTreeSet::from([ChainId(1), ChainId(10)]),
            environment: Environment::Production,
            key: key(1),
            label: "hot".parse().unwrap(),
            owner: "alan".parse().unwrap(),
            purpose: "payouts".into(),
            review_by: Millis(1_900_000_000_000),
            tags: BTreeSet::from(["b".parse().unwrap(), "a".parse().unwrap()]),
        }),
        Record::Adopted(Adopted { book: "é".into(), by: "olga".parse().unwrap() }),
        frozen(sam(), Scope::All),
        frozen(sam(), Scope::Caller(CALLER.parse().unwrap())),
        frozen(Actor::Signer, Scope::Key(key(1))),
        frozen(Actor::Signer, Scope::Tag("hot".parse().unwrap())),
        fence(FenceCause::Stopped),
        fence(FenceCause::Undone),
        fence(FenceCause::Thawed),
        Record::FenceAnswered(FenceAnswered {
            done: [key(1), key(3)].into(),
            intent: Sequence(5),
            refused: [(key(2), "it is not on the token".into())].into(),
        }),
        destroyed(Destruction::Refused("it will not".into())),
        destroyed(Destruction::Gone(Absence {
            backups: vec!["tape 7".into()],
            grade: Grade::Unlinked,
            objects: 2,
            token: "SoftHSM project, SoftHSM v2, 1234".into(),
        })),
        Record::DrainEnded(DrainEnded { key: key(1) }),
        Record::Suppressed(Suppressed {
            caller: CALLER.parse().unwrap(),
            code: "FROZEN".into(),
            count: 1_000,
            key: key(1),
        }),
    ];
    records
        .extend(by_triggers().into_iter().chain(of_keys()).chain(by_rescue()).chain([drilled()]));
    records.extend(decisions());
    records.extend(by_people());
    records
}

fn of_keys() -> [Record; 5] {
    let object = B128::repeat_byte(6);
    let key = NoteKey::ed25519(&hex::decode(EDWARDS).unwrap()).unwrap();
    [
        Record::CheckpointKeyIntended(CheckpointKeyIntended { object }),
        Record::CheckpointKeyMade(CheckpointKeyMade { key, object }),
        Record::Snapshot(Snapshot { code: None, hash: B256::repeat_byte(8), upto: Sequence(3) }),
        Record::Snapshot(Snapshot {
            code: Some(B256::repeat_byte(7)),
            hash: B256::repeat_byte(8),
            upto: Sequence(3),
        }),
        Record::KeyCreated(KeyCreated {
            address: Address::repeat_byte(0xab),
            key: self::key(1),
            point: "04".into(),
        }),
    ]
}

fn by_triggers() -> Vec<Record> {
    let burst = DenialBurst { denials: 9, within: Span(60_000) };
    let used = UsedElsewhere {
        by: "wanda".parse().unwrap(),
        chain: ChainId(1),
        nonce: "7".into(),
        signed: "1".into(),
    };
    let caller = Scope::Caller(CALLER.parse().unwrap());
    let frozen = |trigger, scope| {
        let (by, reason) = (Actor::Trigger(trigger), "by itself".into());
        Record::Frozen(Frozen { by, reason, scope })
    };
    vec![
        frozen(Trigger::BadSignature, Scope::Key(key(1))),
        frozen(Trigger::Denials(burst), caller),
        frozen(Trigger::UsedElsewhere(used), Scope::Key(key(1))),
    ]
}

fn by_rescue() -> Vec<Record> {
    let frozen = |deed| {
        let (by, reason) = (rescued(deed), "the host is not ours any more".into());
        Record::Frozen(Frozen { by, reason, scope: Scope::Key(key(1)) })
    };
    vec![frozen(RescueDeed::Fence), frozen(RescueDeed::Destroy)]
}

fn rescued(deed: RescueDeed) -> Actor {
    let note = RescueNote {
        answer: "it may not sign: read back".into(),
        by: sam(),
        deed,
        id: B128::repeat_byte(3),
        label: "hot".into(),
        token: "SoftHSM project, SoftHSM v2, 1234".into(),
        written: Millis(1_900_000_000_000),
    };
    let Signature { credential, evidence } = signature();
    Actor::Rescue(Box::new(SignedNote { credential, evidence, note }))
}

fn sam() -> PersonId {
    "sam".parse().unwrap()
}

fn pen() -> Pen {
    Pen::new("sam", 1, true)
}

fn passkey() -> Credential {
    // The generator of P-256, which is on the curve.
    let point = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                 4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
    Credential::Passkey(Passkey {
        backup_eligible: true,
        id: "00112233445566778899aabbccddeeff".into(),
        key: PasskeyKey::Es256(point.into()),
        origins: BTreeSet::from(["https://console.acme".to_owned()]),
        rp_id: "console.acme".into(),
    })
}

fn sam_of_security() -> Person {
    let mut person = person("sam", &[Role::Security, Role::Approver], &[pen()]);
    person.credentials.push(passkey());
    person
}

fn governance() -> Governance {
    let requirement = Requirement {
        channels: 2,
        credentials: Strength::Verified,
        delay: Span(1),
        execute: Span(2),
        expires: Span(3),
        need: "2 of security".into(),
    };
    let recovery = Recovery { credentials: vec![pen().credential()], delay: Span(4), need: 1 };
    let quorums = Deed::ALL.into_iter().map(|deed| (deed, requirement.clone())).collect();
    Governance { quorums, recovery: Some(recovery) }
}

fn signature() -> Signature {
    let evidence = pen().sign(Purpose::Genesis, "text");
    Signature { credential: pen().credential().id(), evidence }
}

fn assertion() -> Evidence {
    Evidence::Passkey(Assertion {
        authenticator_data: "00".into(),
        client_data: "{\"type\":\"webauthn.get\"}".into(),
        signature: "30".into(),
    })
}

fn destroyed(answer: Destruction) -> Record {
    let answered = DestroyAnswered { answer, intent: Sequence(5), key: key(1) };
    Record::DestroyAnswered(Box::new(answered))
}

fn drilled() -> Record {
    let step = |name: &str| name.parse::<StepName>().unwrap();
    Record::Drilled(Box::new(Drilled {
        by: "sam".parse().unwrap(),
        drill: "2026-11-30-canary-1".parse().unwrap(),
        evidence: B256::repeat_byte(7),
        good: true,
        key: key(1),
        measured: [(step("freeze"), Span(12)), (step("whole"), Span(4_321))].into(),
        missed: [step("whole")].into(),
    }))
}

fn plan(to: DrainTo) -> DrainPlan {
    let (fees, tokens) = (Amount::from(7), vec![Address::repeat_byte(0xaa)]);
    let chains = vec![DrainChain { chain: ChainId(1), fees, native: true, tokens }];
    DrainPlan { callers: vec![CALLER.parse().unwrap()], chains, expires: Millis(5), to }
}

/// One of each act.
fn acts() -> Vec<Act> {
    let (person, credential) = (sam(), passkey().id());
    vec![
        Act::AcceptTime(AcceptTime { at: Millis(9), since: None, sure: Millis(5) }),
        Act::AcceptTime(AcceptTime { at: Millis(9), since: Some(Sequence(3)), sure: Millis(5) }),
        Act::AddCredential(AddCredential {
            credential: passkey(),
            person: sam(),
            possession: assertion(),
        }),
        Act::Adopt(AdoptBook { book: "version = 1\n".into() }),
        Act::CancelRecovery(CancelRecovery {}),
        Act::Destroy(Destroy { key: key(1) }),
        Act::Drain(Drain { key: key(1), plan: plan(DrainTo::Key(key(2))) }),
        Act::Drain(Drain { key: key(1), plan: plan(DrainTo::Address(Address::repeat_byte(0xbb))) }),
        Act::DropCredential(DropCredential {
            credential: credential.clone(),
            person: person.clone(),
        }),
        Act::Enrol(Enrol { person: sam_of_security(), possession: vec![assertion()] }),
        Act::Govern(Govern { governance: governance() }),
        Act::Reinstate(Reinstate { credential: Some(credential), person: person.clone() }),
        Act::Reinstate(Reinstate { credential: None, person: person.clone() }),
        Act::Remove(Remove { person: person.clone() }),
        Act::Revoke(Revoke { key: key(1) }),
        Act::SetRoles(SetRoles { person, roles: BTreeSet::from([Role::Auditor, Role::Approver]) }),
        Act::Thaw(Thaw { scope: Scope::All }),
    ]
}

/// Those that tell of people.
fn by_people() -> Vec<Record> {
    let voted = |matter, choice, reason: &str| {
        Record::Voted(Box::new(Voted {
            by: sam(),
            choice,
            credential: pen().credential().id(),
            evidence: pen().sign(Purpose::Vote, "text"),
            matter,
            reason: reason.into(),
        }))
    };
    let proposed = |act| {
        Record::Proposed(Box::new(Proposed {
            act,
            by: sam(),
            execute_until: Millis(3),
            expires: Millis(2),
            reason: "é".into(),
            statement: "Portcullis approval\n".into(),
        }))
    };
    let withdrawn = |by, matter| Record::Withdrawn(Withdrawn { by, matter });
    let parked = || Matter::Parked("00".into());
    let suspended = |credential| {
        let reason = "lost".into();
        Record::Suspended(Suspended { by: sam(), credential, person: sam(), reason })
    };
    let renewal = Renewal {
        expires: Millis(5),
        governance: governance(),
        people: vec![sam_of_security()],
        reason: "all lost".into(),
    };
    let signatures = vec![signature()];
    let mut records: Vec<Record> = acts().into_iter().map(proposed).collect();
    records.extend([
        voted(parked(), Choice::Approve, ""),
        voted(Matter::Proposal(Sequence(4)), Choice::Reject, "no"),
        Record::Executed(Executed { by: sam(), proposal: Sequence(4), votes: vec![Sequence(5)] }),
        withdrawn(Party::Caller(CALLER.parse().unwrap()), parked()),
        withdrawn(Party::Person(sam()), Matter::Proposal(Sequence(4))),
        suspended(None),
        suspended(Some(passkey().id())),
        Record::RecoveryBegun(Box::new(RecoveryBegun { renewal, signatures })),
        Record::Recovered(Recovered { begun: Sequence(9) }),
    ]);
    records
}

/// Those that tell of a decision.
fn decisions() -> Vec<Record> {
    let signed = |repeats| {
        Record::Signed(Box::new(SignedRecord {
            asked: asked(),
            book: hash(1),
            charge: charges(),
            first_payments: Vec::new(),
            repeats,
            signature_sha256: B256::repeat_byte(2),
            slot: RecordedSlot {
                as_safe: true,
                chain: ChainId(1),
                ends: None,
                nonce: Some("18446744073709551614".into()),
            },
            votes: repeats.into_iter().collect(),
        }))
    };
    let counted = vec![DecisionNumber(5), DecisionNumber(6)];
    let mut large = asked();
    large.input = RecordedInput::TransactionSha256(B256::repeat_byte(3));
    vec![
        signed(None),
        signed(Some(Sequence(3))),
        Record::Denied(Box::new(Denied {
            asked: asked(),
            book: hash(1),
            counted: counted.clone(),
            reasons: reasons(),
        })),
        Record::Parked(Box::new(ParkedRecord {
            asked: large,
            book: hash(1),
            counted: counted.clone(),
            execute_until: Millis(10),
            expires: Millis(9),
            fee_most: Some(Amount::MAX),
            missing: vec!["2 of treasury".into()],
            parked: "00".into(),
            statement: "Portcullis approval\n".into(),
        })),
        Record::Withheld(Box::new(Withheld { asked: asked(), counted, reasons: reasons() })),
        Record::Failed(Box::new(Failed { asked: asked(), fault: "TOKEN_TIMED_OUT".into() })),
        typed(RecordedInput::Typed("{\"é\": 1}".into())),
        typed(RecordedInput::TypedSha256(B256::repeat_byte(3))),
        typed(RecordedInput::Message("a\nb".into())),
        typed(RecordedInput::Delegation("0x05c0".into())),
    ]
}

/// Signed beside transactions: no nonce, and parts of accounts that limits sum.
fn typed(input: RecordedInput) -> Record {
    let mut asked = asked();
    asked.input = input;
    let mut charge = charges();
    let account = Account { chain: ChainId(1), asset: Asset::Requests };
    let facets =
        [Facet::Whole, Facet::Caller(CALLER.parse().unwrap()), Facet::To(Address::repeat_byte(6))];
    for facet in facets {
        charge.add_line(Line { facet, account }, Amount::from(1)).unwrap();
    }
    Record::Signed(Box::new(SignedRecord {
        asked,
        book: hash(1),
        charge,
        first_payments: vec![Address::repeat_byte(6)],
        repeats: None,
        signature_sha256: B256::repeat_byte(2),
        slot: RecordedSlot {
            as_safe: false,
            chain: ChainId(1),
            ends: Some(Millis(1_700_000_001_000)),
            nonce: None,
        },
        votes: Vec::new(),
    }))
}

fn entry(record: Record) -> Entry {
    let at = Interval { possible: Millis(1_700_000_000_004), sure: Millis(1_700_000_000_003) };
    Entry { at, record, seq: Sequence(42) }
}

fn lines() -> Vec<String> {
    let lines = every_record().into_iter().map(|record| entry(record).encode().unwrap());
    lines.map(|line| String::from_utf8(line).unwrap()).collect()
}

#[test]
fn every_kind_of_record_is_read_back_as_it_was_written() {
    let mut kinds = BTreeSet::new();
    for record in every_record() {
        kinds.insert(record.kind());
        let entry = entry(record);
        let line = entry.encode().unwrap();
        let again = Entry::decode(&line).unwrap();
        assert_eq!(again, entry);
        assert_eq!(again.encode().unwrap(), line);
        let named = format!("\"record\":{{\"{}\":", entry.record.kind());
        assert!(String::from_utf8(line).unwrap().contains(&named), "{named}");
    }
    assert_eq!(kinds.len(), 27);
}

/// Checks the form without the code that wrote it.
fn check_form(value: &serde_json::Value) {
    match value {
        serde_json::Value::Null => panic!("null"),
        serde_json::Value::Bool(_) | serde_json::Value::String(_) => {}
        serde_json::Value::Number(number) => assert!(number.as_u64().unwrap() < 1 << 53),
        serde_json::Value::Array(items) => items.iter().for_each(check_form),
        serde_json::Value::Object(fields) => {
            assert!(fields.keys().all(|name| name.is_ascii()));
            fields.values().for_each(check_form);
        }
    }
}

/// A JSON text's keys in the order they stand there, object by object.
fn keys_in_order(line: &str) -> Vec<Vec<String>> {
    let (mut done, mut open, mut rest) = (Vec::new(), Vec::<Vec<String>>::new(), line);
    while let Some(first) = rest.chars().next() {
        if first != '"' {
            match first {
                '{' => open.push(Vec::new()),
                '}' => done.extend(open.pop()),
                _ => assert!(!first.is_whitespace(), "space outside a string: {line}"),
            }
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let mut texts = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        let text = texts.next().unwrap().unwrap();
        rest = &rest[texts.byte_offset()..];
        if rest.starts_with(':') {
            open.last_mut().unwrap().push(text);
        }
    }
    done
}

#[test]
fn a_record_is_one_line_with_sorted_keys_and_no_spaces_nulls_or_floats() {
    for line in lines() {
        assert!(!line.contains('\n'));
        check_form(&serde_json::from_str(&line).unwrap());
        let objects = keys_in_order(&line);
        assert!(objects.len() >= 3, "{line}");
        for keys in objects {
            assert!(keys.is_sorted() && keys.iter().collect::<BTreeSet<_>>().len() == keys.len());
        }
    }
}

#[test]
fn numbers_that_json_readers_would_round_cannot_be_written() {
    let mut over = entry(every_record().remove(5));
    over.at.possible = Millis(1 << 53);
    assert!(over.encode().is_err());
    over.at.possible = Millis((1 << 53) - 1);
    assert!(over.encode().is_ok());
}

/// A line that has been changed so that it says the same, or nothing that can be said.
fn refused(line: &str, from: &str, to: &str) -> UnreadableEntry {
    assert!(line.contains(from), "{from} in {line}");
    let changed = line.replacen(from, to, 1);
    match Entry::decode(changed.as_bytes()) {
        Ok(_) => panic!("read: {changed}"),
        Err(refusal) => refusal,
    }
}

fn line_of(kind: &str) -> String {
    let named = format!("\"record\":{{\"{kind}\":");
    lines().into_iter().find(|line| line.contains(&named)).unwrap()
}

#[test]
fn another_spelling_of_the_same_record_is_refused() {
    let signed = line_of("signed");
    let digest = format!("0x{}", hex::encode(asked().digest));
    let again = format!("\"digest\":\"{}\"", digest.to_uppercase().replacen("0X", "0x", 1));
    let expected = format!("0x{}", hex::encode(asked().by.expected));
    let checksum = asked().by.expected.to_checksum(None);
    let charge = "\"charge\":[{\"amount\":\"1000\",\"asset\":\"native\",\"chain\":1},\
                  {\"amount\":\"0\",\"asset\":\"fee\",\"chain\":1},";
    let swapped = "\"charge\":[{\"amount\":\"0\",\"asset\":\"fee\",\"chain\":1},\
                   {\"amount\":\"1000\",\"asset\":\"native\",\"chain\":1},";
    for (from, to) in [
        ("{\"at\"", "{ \"at\""),
        ("\"seq\":42}", "\"seq\":42} "),
        ("\"seq\":42}", "\"seq\":42}\n"),
        ("\"seq\":42", "\"seq\": 42"),
        (
            "\"possible\":1700000000004,\"sure\":1700000000003",
            "\"sure\":1700000000003,\"possible\":1700000000004",
        ),
        ("\"native\"", "\"\\u006eative\""),
        ("spiffe://", "spiffe:\\/\\/"),
        (&format!("\"digest\":\"{digest}\""), &again),
        (expected.as_str(), checksum.as_str()),
        (expected.as_str(), &expected[2..]),
        (charge, swapped),
    ] {
        let refusal = refused(&signed, from, to);
        assert!(matches!(refusal, UnreadableEntry::NotCanonical), "{from} -> {to}: {refusal}");
    }
    let frozen = line_of("frozen");
    refused(&frozen, "\"scope\":\"all\"", "\"scope\":{\"all\":null}");
    let intended = line_of("key_intended");
    refused(&intended, "[\"a\",\"b\"]", "[\"b\",\"a\"]");
    refused(&intended, "[\"a\",\"b\"]", "[\"a\",\"a\",\"b\"]");
}

#[test]
fn what_is_no_record_is_refused() {
    let signed = line_of("signed");
    for (from, to) in [
        ("\"seq\":42", "\"seq\":42,\"seq\":42"),
        ("\"seq\":42", "\"seq\":42,\"sex\":42"),
        ("\"chain\":1", "\"chain\":1,\"chains\":1"),
        ("\"seen\":41", "\"seen\":41.0"),
        ("\"seen\":41", "\"seen\":4.1e1"),
        ("\"seen\":41", "\"seen\":041"),
        ("\"seen\":41", "\"seen\":-41"),
        ("\"seen\":41", "\"seen\":\"41\""),
        ("\"seen\":41", "\"seen\":null"),
        ("\"seen\":41", "\"seen\":9007199254740992"),
        ("\"seen\":41", "\"seen\":18446744073709551616"),
        (",\"seen\":41", ""),
        ("\"amount\":\"1000\"", "\"amount\":\"01000\""),
        ("\"amount\":\"1000\"", "\"amount\":\"+1000\""),
        ("\"amount\":\"1000\"", "\"amount\":\"0x3e8\""),
        ("\"amount\":\"1000\"", "\"amount\":1000"),
        ("\"asset\":\"fee\"", "\"asset\":\"native\""),
        ("\"book\":", "\"repeats\":null,\"book\":"),
        ("{\"signed\":", "{\"unsigned\":"),
        ("\"key\":\"01", "\"key\":\"0A"),
    ] {
        refused(&signed, from, to);
    }
    assert!(Entry::decode(b"").is_err());
    assert!(Entry::decode(&[0xff, 0xfe]).is_err());
    assert!(Entry::decode("[".repeat(100_000).as_bytes()).is_err());
}

#[test]
fn an_input_of_eight_kibibytes_is_inline_and_a_larger_one_stands_beside_the_record() {
    let small = Input::Transaction(vec![2; INLINE_BYTES_MAX]);
    let (recorded, attachment) = RecordedInput::of(&small);
    assert!(matches!(recorded, RecordedInput::Transaction(_)) && attachment.is_none());
    assert_eq!(recorded.resolve(|_| panic!("nothing to find")), Some(small));

    let bytes = vec![2; INLINE_BYTES_MAX + 1];
    let (recorded, attachment) = RecordedInput::of(&Input::Transaction(bytes.clone()));
    assert_eq!(attachment.as_ref(), Some(&bytes));
    assert_eq!(recorded, RecordedInput::TransactionSha256(sha256(&bytes)));
    let found = recorded.resolve(|name| (name == sha256(&bytes)).then(|| bytes.clone()));
    assert_eq!(found, Some(Input::Transaction(bytes.clone())));
    assert_eq!(recorded.resolve(|_| None), None);
    assert_eq!(recorded.resolve(|_| Some(bytes[1..].to_vec())), None);
}

#[test]
fn a_parked_request_has_the_same_name_whenever_it_is_parked() {
    let asked = asked();
    let name = ParkedRecord::name(&asked.by, asked.digest);
    assert_eq!(name.len(), 32);
    let mut renamed = asked.by.clone();
    renamed.request = "another".parse().unwrap();
    assert_eq!(ParkedRecord::name(&renamed, asked.digest), name);
    assert_ne!(ParkedRecord::name(&asked.by, B256::ZERO), name);
    renamed.key = key(2);
    assert_ne!(ParkedRecord::name(&renamed, asked.digest), name);
}

#[test]
fn an_authorisations_signature_is_printed_by_nothing() {
    // r and s are the secret here: with them anybody can hand the account over.
    let request = Ask::of(&Tx { kind: 4, ..Tx::default() }).request();
    let shown = format!("{request:?}");
    assert!(shown.contains("Authorization"));
    for field in ["r:", "s:", "y_parity"] {
        assert!(!shown.contains(&format!(" {field} ")), "{shown}");
    }
    assert!(!shown.contains("y_parity"));
    // Of our own signatures a record has the hash alone.
    assert!(!line_of("signed").contains("\"signature\""));
}

proptest! {
    #[test]
    fn any_amounts_and_any_texts_are_read_back(
        amounts in prop::collection::btree_map(
            (1_u64..5, any::<[u8; 20]>()), any::<[u8; 32]>(), 0..6,
        ),
        text in ".*",
        number in 0_u64..(1 << 53),
    ) {
        let mut charge = Charges::default();
        for ((chain, token), amount) in amounts {
            let account = Account { chain: ChainId(chain), asset: Asset::Token(token.into()) };
            charge.add(account, Amount::from_units(U256::from_be_bytes(amount))).unwrap();
        }
        let Record::Signed(mut signed) = decisions().remove(0) else { panic!() };
        (signed.charge, signed.asked.number) = (charge, DecisionNumber(number));
        let Record::Failed(mut failed) = decisions().remove(5) else { panic!() };
        failed.fault = text;
        for record in [Record::Signed(signed), Record::Failed(failed)] {
            let entry = entry(record);
            let line = entry.encode().unwrap();
            prop_assert!(!line.contains(&b'\n'));
            prop_assert_eq!(Entry::decode(&line).unwrap(), entry);
        }
    }
}
