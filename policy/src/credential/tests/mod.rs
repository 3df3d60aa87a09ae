//! Each rule is broken by itself: all else is right, and what is signed is signed properly.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

mod passkey;
mod ssh;

use std::collections::BTreeSet;

use ed25519_dalek::{Signer as _, SigningKey};
use proptest::prelude::*;

use super::*;

const STATEMENT: &[u8] = b"portcullis-vote/v1\nvote: APPROVE\n";

fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// A credential of each kind, what it signed, and the strength that shows.
fn one_of_each() -> Vec<(Credential, Evidence, Strength)> {
    let file = ssh::Ceremony::of_file();
    let device = ssh::Ceremony::of_device();
    let p256 = passkey::Ceremony::es256();
    let edwards = passkey::Ceremony::ed25519();
    vec![
        (file.credential(), file.evidence(), Strength::File),
        (device.credential(), device.evidence(), Strength::Verified),
        (p256.credential(), p256.evidence(), Strength::Verified),
        (edwards.credential(), edwards.evidence(), Strength::Verified),
    ]
}

#[test]
fn each_kind_of_credential_proves_what_it_signed() {
    for (credential, evidence, strength) in one_of_each() {
        let proof = credential.verify(Purpose::Vote, STATEMENT, &evidence).unwrap();
        assert_eq!(proof.strength, strength);
        assert_eq!(credential.could_be(), strength);
    }
}

#[test]
fn a_credential_proves_nothing_about_what_another_signed() {
    let all = one_of_each();
    for (credential, own, _) in &all {
        for (_, evidence, _) in all.iter().filter(|(_, evidence, _)| evidence != own) {
            let verdict = credential.verify(Purpose::Vote, STATEMENT, evidence);
            assert!(verdict.is_err(), "{credential:?} {evidence:?}");
        }
    }
}

#[test]
fn the_other_kind_of_evidence_is_told_apart_from_a_wrong_signature() {
    let (ssh, passkey) = (ssh::Ceremony::of_file(), passkey::Ceremony::es256());
    for (credential, evidence) in
        [(ssh.credential(), passkey.evidence()), (passkey.credential(), ssh.evidence())]
    {
        let verdict = credential.verify(Purpose::Vote, STATEMENT, &evidence);
        assert_eq!(verdict, Err(BadEvidence::OtherKind));
    }
}

#[test]
fn a_terminal_shows_what_ssh_signs_and_a_console_what_a_passkey_signs() {
    let channels: Vec<_> = one_of_each().iter().map(|(one, _, _)| one.channel()).collect();
    assert_eq!(
        channels,
        [Channel::Terminal, Channel::Terminal, Channel::Console, Channel::Console]
    );
}

#[test]
fn a_stronger_showing_is_greater() {
    assert!(Strength::File < Strength::Presence && Strength::Presence < Strength::Verified);
}

#[test]
fn a_record_holds_credentials_and_evidence_in_their_one_form() {
    for (credential, evidence, _) in one_of_each() {
        let text = String::from_utf8(crate::canonical::to_vec(&credential).unwrap()).unwrap();
        assert_eq!(serde_json::from_str::<Credential>(&text).unwrap(), credential);
        let sorted: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(sorted.to_string(), text, "fields are declared in the order of their names");

        let text = String::from_utf8(crate::canonical::to_vec(&evidence).unwrap()).unwrap();
        assert_eq!(serde_json::from_str::<Evidence>(&text).unwrap(), evidence);
        let sorted: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(sorted.to_string(), text);
    }
}

#[test]
fn no_two_credentials_share_an_id_and_each_id_is_a_name() {
    let ids: Vec<_> = one_of_each().iter().map(|(one, _, _)| one.id()).collect();
    let different: BTreeSet<_> = ids.iter().collect();
    assert_eq!(different.len(), ids.len());
    for id in ids {
        assert_eq!(id.as_str().parse::<CredentialId>().unwrap(), id);
    }
}

#[test]
fn the_namespaces_are_what_the_manual_says() {
    let all =
        [Purpose::Vote, Purpose::Genesis, Purpose::Enrolment, Purpose::Recovery, Purpose::Stop];
    assert_eq!(
        all.map(Purpose::namespace),
        [
            "vote.v1@portcullis",
            "genesis.v1@portcullis",
            "enrolment.v1@portcullis",
            "recovery.v1@portcullis",
            "stop.v1@portcullis",
        ]
    );
}

/// One of each, in the order of the type.
fn every_fault() -> Vec<BadEvidence> {
    use BadEvidence as B;
    let found = String::new;
    vec![
        B::OtherKind,
        B::Credential,
        B::TooLarge,
        B::Signature,
        B::NoPresence,
        B::Armor,
        B::Sshsig,
        B::Version(2),
        B::Namespace { expected: "", found: found() },
        B::Reserved,
        B::HashAlgorithm,
        B::OtherKey,
        B::SignatureAlgorithm,
        B::SkFlags(0),
        B::Hex("signature"),
        B::ClientData,
        B::KeyTwice,
        B::Type,
        B::Challenge,
        B::Origin { found: found() },
        B::CrossOrigin,
        B::TopOrigin,
        B::AuthenticatorData,
        B::AttestedData,
        B::ReservedFlags,
        B::RpId,
        B::NoVerification,
        B::BackupEligible,
        B::BackupState,
        B::SignatureForm,
    ]
}

#[test]
fn every_cause_has_a_code_and_a_message_of_its_own() {
    let faults = every_fault();
    let codes: BTreeSet<_> = faults.iter().map(BadEvidence::code).collect();
    let messages: BTreeSet<_> = faults.iter().map(ToString::to_string).collect();
    assert_eq!((codes.len(), messages.len()), (faults.len(), faults.len()));
    for code in codes {
        assert!(code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'), "{code}");
    }
}

/// The texts of which evidence consists.
fn texts(evidence: &Evidence) -> Vec<String> {
    match evidence.clone() {
        Evidence::Ssh(armored) => vec![armored],
        Evidence::Passkey(Assertion { authenticator_data, client_data, signature }) => {
            vec![authenticator_data, client_data, signature]
        }
    }
}

fn of_texts(texts: &[String]) -> Evidence {
    match texts {
        [armored] => Evidence::Ssh(armored.clone()),
        [authenticator_data, client_data, signature] => Evidence::Passkey(Assertion {
            authenticator_data: authenticator_data.clone(),
            client_data: client_data.clone(),
            signature: signature.clone(),
        }),
        other => panic!("{other:?}"),
    }
}

#[test]
fn evidence_with_any_one_bit_changed_proves_nothing() {
    for (credential, evidence, _) in one_of_each() {
        for (field, text) in texts(&evidence).iter().enumerate() {
            for (place, bit) in (0..text.len()).flat_map(|at| (0..7).map(move |bit| (at, bit))) {
                let mut bytes = text.clone().into_bytes();
                bytes[place] ^= 1 << bit;
                let mut changed = texts(&evidence);
                changed[field] = String::from_utf8(bytes).unwrap();
                let verdict = credential.verify(Purpose::Vote, STATEMENT, &of_texts(&changed));
                assert!(verdict.is_err(), "field {field}, byte {place}, bit {bit}");
            }
        }
    }
}

#[test]
fn a_statement_with_any_one_bit_changed_was_not_signed() {
    for (credential, evidence, _) in one_of_each() {
        for (place, bit) in (0..STATEMENT.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut changed = STATEMENT.to_vec();
            changed[place] ^= 1 << bit;
            let verdict = credential.verify(Purpose::Vote, &changed, &evidence);
            assert!(verdict.is_err(), "byte {place}, bit {bit}");
        }
    }
}

proptest! {
    #[test]
    fn evidence_with_anything_put_in_place_of_a_part_proves_nothing(
        kind in 0_usize..4,
        field in 0_usize..3,
        from in any::<prop::sample::Index>(),
        length in 0_usize..4,
        put in "[ -~\n]{0,3}|\\PC{0,2}",
    ) {
        let (credential, evidence, _) = one_of_each().swap_remove(kind);
        let mut changed = texts(&evidence);
        let field = field % changed.len();
        let text = &mut changed[field];
        let from = from.index(text.len());
        let to = from.saturating_add(length).min(text.len());
        text.replace_range(from..to, &put);
        prop_assume!(changed != texts(&evidence));
        prop_assert!(credential.verify(Purpose::Vote, STATEMENT, &of_texts(&changed)).is_err());
    }

    #[test]
    fn no_text_at_all_makes_the_readers_panic(text in "\\PC{0,200}", hex in "[0-9a-f]{0,200}") {
        for (credential, evidence, _) in one_of_each() {
            for field in 0..texts(&evidence).len() {
                for put in [&text, &hex] {
                    let mut changed = texts(&evidence);
                    changed[field] = put.clone();
                    let verdict = credential.verify(Purpose::Vote, STATEMENT, &of_texts(&changed));
                    prop_assert!(verdict.is_err());
                }
            }
        }
    }
}
