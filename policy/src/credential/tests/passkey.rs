//! Passkeys: what enrols, and every rule of WebAuthn Level 3, section 7.2, that we hold.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use p256::ecdsa::signature::Signer as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::*;

const ORIGIN: &str = "https://console.example";

enum Secret {
    P256(p256::ecdsa::SigningKey),
    Edwards(SigningKey),
}

impl Secret {
    fn key(&self) -> PasskeyKey {
        match self {
            Self::P256(key) => {
                PasskeyKey::Es256(hex::encode(key.verifying_key().to_encoded_point(false)))
            }
            Self::Edwards(key) => PasskeyKey::Ed25519(hex::encode(key.verifying_key())),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
            Self::Edwards(key) => key.sign(message).to_bytes().to_vec(),
        }
    }
}

/// An assertion about to be made: what is changed here is signed as changed.
pub(super) struct Ceremony {
    secret: Secret,
    rp_id: &'static str,
    flags: u8,
    counter: u32,
    extensions: Vec<u8>,
    client_data: String,
}

fn challenge(statement: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(&Sha256::digest(statement))
}

/// What a browser writes.
fn client_data(more: &str) -> String {
    let challenge = challenge(STATEMENT);
    format!(r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"{ORIGIN}"{more}}}"#)
}

impl Ceremony {
    pub(super) fn es256() -> Self {
        let secret = Secret::P256(p256::ecdsa::SigningKey::from_slice(&[9; 32]).unwrap());
        let client_data = client_data(r#","crossOrigin":false"#);
        let rp_id = "console.example";
        Self { secret, rp_id, flags: 0x05, counter: 17, extensions: Vec::new(), client_data }
    }

    pub(super) fn ed25519() -> Self {
        Self { secret: Secret::Edwards(signing_key(9)), ..Self::es256() }
    }

    fn flags(flags: u8) -> Self {
        Self { flags, ..Self::es256() }
    }

    fn said(client_data: impl Into<String>) -> Self {
        Self { client_data: client_data.into(), ..Self::es256() }
    }

    fn enrolled(&self) -> Passkey {
        Passkey {
            backup_eligible: false,
            id: match self.secret {
                Secret::P256(_) => "11".repeat(16),
                Secret::Edwards(_) => "22".repeat(16),
            },
            key: self.secret.key(),
            origins: BTreeSet::from([ORIGIN.to_owned()]),
            rp_id: "console.example".to_owned(),
        }
    }

    pub(super) fn credential(&self) -> Credential {
        Credential::Passkey(self.enrolled())
    }

    fn authenticator_data(&self) -> Vec<u8> {
        let hash = Sha256::digest(self.rp_id);
        [&hash[..], &[self.flags], &self.counter.to_be_bytes(), &self.extensions].concat()
    }

    /// Signs these bytes as authenticator data.
    fn assertion_over(&self, authenticator_data: &[u8]) -> Assertion {
        let hash = Sha256::digest(&self.client_data);
        Assertion {
            authenticator_data: hex::encode(authenticator_data),
            client_data: self.client_data.clone(),
            signature: hex::encode(self.secret.sign(&[authenticator_data, &hash[..]].concat())),
        }
    }

    fn assertion(&self) -> Assertion {
        self.assertion_over(&self.authenticator_data())
    }

    pub(super) fn evidence(&self) -> Evidence {
        Evidence::Passkey(self.assertion())
    }

    fn verdict_on(&self, assertion: Assertion) -> Result<Proof, BadEvidence> {
        let evidence = Evidence::Passkey(assertion);
        self.credential().verify(Purpose::Vote, STATEMENT, &evidence)
    }

    fn verdict(&self) -> Result<Proof, BadEvidence> {
        self.verdict_on(self.assertion())
    }
}

fn verdict_by(passkey: Passkey, ceremony: &Ceremony) -> Result<Proof, BadEvidence> {
    Credential::Passkey(passkey).verify(Purpose::Vote, STATEMENT, &ceremony.evidence())
}

#[test]
fn an_assertion_shows_the_person_and_the_counter() {
    for ceremony in [Ceremony::es256(), Ceremony::ed25519()] {
        let proof = ceremony.verdict().unwrap();
        assert_eq!(proof, Proof { strength: Strength::Verified, counter: 17 });
    }
}

#[test]
fn a_counter_that_stays_at_zero_is_reported_and_not_judged() {
    let proof = Ceremony { counter: 0, ..Ceremony::es256() }.verdict().unwrap();
    assert_eq!(proof.counter, 0);
}

#[test]
fn client_data_need_not_speak_of_frames_and_may_say_what_we_do_not_know() {
    for more in [
        "",
        r#","crossOrigin":false"#,
        r#","other_keys_can_be_added_here":"do not compare clientDataJSON against a template""#,
        r#","new":{"a":[1,-2,0.5,null,true,{"b":"c"}],"type":"x"}"#,
    ] {
        assert!(Ceremony::said(client_data(more)).verdict().is_ok(), "{more}");
    }
}

#[test]
fn an_enrolment_is_no_assertion() {
    for put in [r#""webauthn.create""#, r#""payment.get""#, "1", "null"] {
        let said = client_data("").replace(r#""webauthn.get""#, put);
        assert_eq!(Ceremony::said(said).verdict(), Err(BadEvidence::Type));
    }
    let said = client_data("").replace("\"type\"", "\"typo\"");
    assert_eq!(Ceremony::said(said).verdict(), Err(BadEvidence::Type));
}

#[test]
fn the_challenge_is_the_hash_of_the_statement_in_its_one_encoding() {
    let good = challenge(STATEMENT);
    let url = Base64UrlUnpadded::encode_string(STATEMENT);
    let hex = hex::encode(Sha256::digest(STATEMENT));
    let padded = format!("{good}=");
    let upper = good.to_uppercase();
    let prefixed = challenge(&[b"vote.v1@portcullis\n", STATEMENT].concat());
    for bad in [&challenge(b"other"), &url, &hex, &padded, &upper, &prefixed, "", &good[..42]] {
        let said = client_data("").replace(&good, bad);
        assert_eq!(Ceremony::said(said).verdict(), Err(BadEvidence::Challenge), "{bad}");
    }
    let said = client_data("").replace("challenge", "challenges");
    assert_eq!(Ceremony::said(said).verdict(), Err(BadEvidence::Challenge));
}

#[test]
fn an_origin_must_be_one_of_the_enrolled_to_the_letter() {
    for bad in [
        "https://evil-console.example",
        "https://a.console.example",
        "https://console.example.evil",
        "https://console.example:8443",
        "https://console.example/",
        "https://CONSOLE.example",
        "http://console.example",
        "console.example",
        "",
    ] {
        let said = client_data("").replace(ORIGIN, bad);
        let verdict = Ceremony::said(said).verdict();
        assert_eq!(verdict, Err(BadEvidence::Origin { found: bad.to_owned() }));
    }
    let said = client_data("").replace(&format!("\"{ORIGIN}\""), "null");
    assert_eq!(Ceremony::said(said).verdict().unwrap_err().code(), "PASSKEY_ORIGIN");
}

#[test]
fn a_second_origin_counts_when_it_is_enrolled() {
    let port = "https://console.example:8443";
    let ceremony = Ceremony::said(client_data("").replace(ORIGIN, port));
    let mut passkey = ceremony.enrolled();
    passkey.origins.insert(port.to_owned());
    assert!(verdict_by(passkey, &ceremony).is_ok());
}

#[test]
fn a_page_in_anothers_frame_signs_nothing() {
    for put in ["true", "\"false\"", "0", "null", "[]", "{}"] {
        let said = client_data(&format!(r#","crossOrigin":{put}"#));
        assert_eq!(Ceremony::said(said).verdict(), Err(BadEvidence::CrossOrigin), "{put}");
    }
    for put in ["\"https://evil.example\"", "\"https://console.example\"", "null", "false"] {
        let said = client_data(&format!(r#","topOrigin":{put}"#));
        assert_eq!(Ceremony::said(said).verdict(), Err(BadEvidence::TopOrigin), "{put}");
    }
}

#[test]
fn a_key_twice_is_refused_at_every_depth() {
    for more in [
        r#","type":"webauthn.get""#,
        r#","\u0074ype":"webauthn.get""#,
        r#","a":1,"a":1"#,
        r#","a":{"b":1,"b":1}"#,
        r#","a":[[{"b":{"c":1,"c":2}}]]"#,
    ] {
        let verdict = Ceremony::said(client_data(more)).verdict();
        assert_eq!(verdict, Err(BadEvidence::KeyTwice), "{more}");
    }
}

#[test]
fn client_data_that_is_no_json_object_is_refused() {
    let good = client_data("");
    let deep = client_data(&format!(r#","a":{}{}"#, "[".repeat(200), "]".repeat(200)));
    for bad in [
        "",
        "null",
        "[]",
        "\"webauthn.get\"",
        "1",
        "true",
        "{",
        &format!("{good}x"),
        &format!("{good}{good}"),
        &format!("\u{feff}{good}"),
        &good.replace('"', "'"),
        &good.replace('}', ",}"),
        &client_data(r#","a":NaN"#),
        &client_data(r#","a":"\ud800""#),
        &deep,
    ] {
        assert_eq!(Ceremony::said(bad).verdict(), Err(BadEvidence::ClientData), "{bad}");
    }
}

#[test]
fn what_is_larger_than_it_can_be_is_not_looked_at() {
    let pad = |length: usize| {
        let empty = client_data(r#","a":"""#).len();
        client_data(&format!(r#","a":"{}""#, "x".repeat(length - empty)))
    };
    assert!(Ceremony::said(pad(4_096)).verdict().is_ok());
    assert_eq!(Ceremony::said(pad(4_097)).verdict(), Err(BadEvidence::TooLarge));

    let extended = |length: usize| {
        let extensions = [&[0xa1][..], &vec![0; length - 38]].concat();
        Ceremony { flags: 0x85, extensions, ..Ceremony::es256() }
    };
    assert!(extended(1_024).verdict().is_ok());
    assert_eq!(extended(1_025).verdict(), Err(BadEvidence::TooLarge));

    let mut assertion = Ceremony::es256().assertion();
    assertion.signature = "00".repeat(129);
    assert_eq!(Ceremony::es256().verdict_on(assertion), Err(BadEvidence::TooLarge));
}

#[test]
fn authenticator_data_is_as_long_as_its_flags_say() {
    let ceremony = Ceremony::es256();
    let bytes = ceremony.authenticator_data();
    for length in 0..37 {
        let verdict = ceremony.verdict_on(ceremony.assertion_over(&bytes[..length]));
        assert_eq!(verdict, Err(BadEvidence::AuthenticatorData), "{length}");
    }
    for (flags, extensions) in [(0x05, &[0xa0][..]), (0x85, &[]), (0x85, &[0x80]), (0x85, &[0x00])]
    {
        let ceremony = Ceremony { extensions: extensions.to_vec(), ..Ceremony::flags(flags) };
        assert_eq!(ceremony.verdict(), Err(BadEvidence::AuthenticatorData));
    }
}

#[test]
fn extensions_are_let_be_when_their_flag_is_set() {
    let ceremony = Ceremony { extensions: vec![0xa0], ..Ceremony::flags(0x85) };
    assert!(ceremony.verdict().is_ok());
}

#[test]
fn attested_data_and_reserved_flags_are_refused() {
    assert_eq!(Ceremony::flags(0x45).verdict(), Err(BadEvidence::AttestedData));
    for flags in [0x07, 0x25, 0x27] {
        assert_eq!(Ceremony::flags(flags).verdict(), Err(BadEvidence::ReservedFlags));
    }
}

#[test]
fn another_relying_partys_assertion_is_refused() {
    for rp_id in ["evil.example", "example", "CONSOLE.example", "ssh:", ""] {
        let verdict = Ceremony { rp_id, ..Ceremony::es256() }.verdict();
        assert_eq!(verdict, Err(BadEvidence::RpId), "{rp_id}");
    }
}

#[test]
fn a_device_that_was_not_touched_signs_nothing() {
    assert_eq!(Ceremony::flags(0x04).verdict(), Err(BadEvidence::NoPresence));
    assert_eq!(Ceremony::flags(0x00).verdict(), Err(BadEvidence::NoPresence));
}

#[test]
fn a_device_that_did_not_verify_the_person_signs_nothing() {
    assert_eq!(Ceremony::flags(0x01).verdict(), Err(BadEvidence::NoVerification));
}

#[test]
fn backup_eligibility_is_as_enrolled_and_only_the_eligible_are_backed_up() {
    let synced = |flags| {
        let ceremony = Ceremony::flags(flags);
        verdict_by(Passkey { backup_eligible: true, ..ceremony.enrolled() }, &ceremony)
    };
    assert_eq!(Ceremony::flags(0x0d).verdict(), Err(BadEvidence::BackupEligible));
    assert_eq!(Ceremony::flags(0x1d).verdict(), Err(BadEvidence::BackupEligible));
    assert_eq!(Ceremony::flags(0x15).verdict(), Err(BadEvidence::BackupState));
    assert_eq!(synced(0x05), Err(BadEvidence::BackupEligible));
    assert_eq!(synced(0x15), Err(BadEvidence::BackupEligible));
    assert!(synced(0x0d).is_ok() && synced(0x1d).is_ok());
}

#[test]
fn another_key_did_not_sign() {
    for (ceremony, other) in [
        (Ceremony::es256(), Secret::P256(p256::ecdsa::SigningKey::from_slice(&[8; 32]).unwrap())),
        (Ceremony::ed25519(), Secret::Edwards(signing_key(8))),
    ] {
        let passkey = Passkey { key: other.key(), ..ceremony.enrolled() };
        assert_eq!(verdict_by(passkey, &ceremony), Err(BadEvidence::Signature));
    }
}

#[test]
fn a_signature_over_the_client_data_alone_or_in_another_order_is_wrong() {
    for ceremony in [Ceremony::es256(), Ceremony::ed25519()] {
        let bytes = ceremony.authenticator_data();
        let hash = Sha256::digest(&ceremony.client_data);
        let other: [&[&[u8]]; 4] =
            [&[&hash], &[&bytes], &[&hash, &bytes], &[&bytes, ceremony.client_data.as_bytes()]];
        for signed in other {
            let signature = hex::encode(ceremony.secret.sign(&signed.concat()));
            let verdict = ceremony.verdict_on(Assertion { signature, ..ceremony.assertion() });
            assert_eq!(verdict, Err(BadEvidence::Signature));
        }
    }
}

#[test]
fn a_high_s_is_as_good_as_a_low_one() {
    let ceremony = Ceremony::es256();
    let assertion = ceremony.assertion();
    let der = hex::decode(&assertion.signature).unwrap();
    let signature = p256::ecdsa::Signature::from_der(&der).unwrap();
    let (r, s) = signature.split_scalars();
    let mirrored = p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-s).to_bytes()).unwrap();
    assert_ne!(mirrored, signature);
    let signature = hex::encode(mirrored.to_der().as_bytes());
    assert!(ceremony.verdict_on(Assertion { signature, ..assertion }).is_ok());
}

/// DER as anybody might write it.
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let integers = [&[2, length(r)], r, &[2, length(s)], s].concat();
    [&[0x30, length(&integers)], &integers[..]].concat()
}

#[test]
fn a_signature_in_any_other_der_than_the_one_is_refused() {
    let ceremony = Ceremony::es256();
    let good = hex::decode(ceremony.assertion().signature).unwrap();
    let (r, rest) = good[4..].split_at(good[3].into());
    let s = &rest[2..];
    assert_eq!(der(r, s), good);
    let zero = |number: &[u8]| [&[0], number].concat();
    let integers = &good[2..];
    let length = u8::try_from(integers.len()).unwrap();
    for bad in [
        vec![],
        der(&zero(r), s),
        der(r, &zero(s)),
        der(r.strip_prefix(&[0]).unwrap_or(&[]), s),
        der(&[], s),
        der(&[0], s),
        der(r, &[0]),
        [&good[..], &[0]].concat(),
        good[..good.len() - 1].to_vec(),
        [&[0x30, 0x81, length][..], integers].concat(),
        [&[0x30, length + 1][..], integers, &[0]].concat(),
        [&[0x30, 0x80][..], integers, &[0, 0]].concat(),
        [&[0x31, length][..], integers].concat(),
        [&[0; 32][..], &[1; 32]].concat(),
    ] {
        let signature = hex::encode(&bad);
        let verdict = ceremony.verdict_on(Assertion { signature, ..ceremony.assertion() });
        assert_eq!(verdict, Err(BadEvidence::SignatureForm), "{bad:02x?}");
    }
}

#[test]
fn a_signature_with_fixed_width_is_not_der_and_der_is_no_ed25519() {
    let p256 = Ceremony::es256();
    let good = hex::decode(p256.assertion().signature).unwrap();
    let fixed = p256::ecdsa::Signature::from_der(&good).unwrap().to_bytes();
    let assertion = Assertion { signature: hex::encode(fixed), ..p256.assertion() };
    assert_eq!(p256.verdict_on(assertion), Err(BadEvidence::SignatureForm));

    let edwards = Ceremony::ed25519();
    for length in [0, 63, 65, 70] {
        let assertion = Assertion { signature: "01".repeat(length), ..edwards.assertion() };
        assert_eq!(edwards.verdict_on(assertion), Err(BadEvidence::SignatureForm));
    }
}

#[test]
fn an_ed25519_signature_that_only_a_lax_verifier_takes_is_refused() {
    // By the owner of the key, with the neutral point as R: S = k * a.
    let signature = format!("01{}", "00".repeat(31))
        + "99bdb4ec6c0629ba5dea95269804fe356240ee135fb14ed47526219bca8fbd04";
    let ceremony = Ceremony::ed25519();
    let hash = Sha256::digest(&ceremony.client_data);
    let signed = [&ceremony.authenticator_data()[..], &hash].concat();
    let bytes: [u8; 64] = hex::decode(&signature).unwrap().try_into().unwrap();
    let lax = signing_key(9).verifying_key();
    let bytes = ed25519_dalek::Signature::from_bytes(&bytes);
    assert!(ed25519_dalek::Verifier::verify(&lax, &signed, &bytes).is_ok());
    let verdict = ceremony.verdict_on(Assertion { signature, ..ceremony.assertion() });
    assert_eq!(verdict, Err(BadEvidence::Signature));
}

#[test]
fn hex_is_lower_case_and_whole() {
    let ceremony = Ceremony::es256();
    let good = ceremony.assertion();
    for bad in [good.signature.to_uppercase(), format!("0x{}", good.signature), "abc".into()] {
        let assertion = Assertion { signature: bad, ..good.clone() };
        assert_eq!(ceremony.verdict_on(assertion), Err(BadEvidence::Hex("signature")));
    }
    let authenticator_data = good.authenticator_data.to_uppercase();
    let assertion = Assertion { authenticator_data, ..good };
    assert_eq!(ceremony.verdict_on(assertion), Err(BadEvidence::Hex("authenticator_data")));
}

#[test]
fn a_passkey_that_was_never_read_verifies_nothing() {
    let ceremony = Ceremony::es256();
    for key in [
        PasskeyKey::Es256(String::new()),
        PasskeyKey::Es256("zz".repeat(65)),
        PasskeyKey::Ed25519("00".repeat(32)),
    ] {
        let passkey = Passkey { key, ..ceremony.enrolled() };
        assert_eq!(verdict_by(passkey, &ceremony), Err(BadEvidence::Credential));
    }
}

fn enrolled() -> Value {
    serde_json::to_value(Ceremony::es256().enrolled()).unwrap()
}

/// What is said when a member is put in.
fn fault(member: &str, put: Value) -> String {
    let mut changed = enrolled();
    changed[member] = put;
    serde_json::from_value::<Passkey>(changed).unwrap_err().to_string()
}

#[test]
fn a_record_says_passkey_and_its_parts() {
    let PasskeyKey::Es256(key) = Ceremony::es256().secret.key() else { panic!() };
    let expected = format!(
        r#"{{"passkey":{{"backup_eligible":false,"id":"{}","key":{{"es256":"{key}"}},"#,
        "11".repeat(16)
    ) + r#""origins":["https://console.example"],"rp_id":"console.example"}}"#;
    assert_eq!(serde_json::to_string(&Ceremony::es256().credential()).unwrap(), expected);
    assert!(fault("nickname", json!("x")).contains("unknown field"));
    let with = |more: &str| expected.replace("}}", &format!("}},{more}}}"));
    assert!(serde_json::from_str::<Credential>(&with(r#""rp_id":"x""#)).is_err());
}

#[test]
fn the_id_of_a_passkey_is_a_hash_over_all_of_it() {
    let credential = Ceremony::es256().credential();
    let Credential::Passkey(passkey) = &credential else { panic!() };
    let form = serde_json::to_vec(passkey).unwrap();
    let hash = Base64UrlUnpadded::encode_string(&Sha256::digest(form));
    assert_eq!(credential.id().as_str(), format!("passkey:{hash}"));
    assert_eq!(credential.id().as_str().len(), 51);
}

#[test]
fn a_credential_id_is_of_a_length_that_authenticators_give() {
    for put in ["", "11", &"11".repeat(15), &"11".repeat(1_024), &"AA".repeat(16), "1"] {
        assert_eq!(fault("id", json!(put)), BadCredential::PasskeyId.to_string());
    }
    for put in ["11".repeat(16), "11".repeat(1_023)] {
        let mut passkey = enrolled();
        passkey["id"] = json!(put);
        assert!(serde_json::from_value::<Passkey>(passkey).is_ok());
    }
}

#[test]
fn an_rp_id_is_a_domain() {
    let long = [&"a".repeat(63); 4].map(String::as_str).join(".");
    for put in ["", ".", "a..b", "A.example", "https://a.example", "a.example:1", "a b", &long] {
        assert_eq!(fault("rp_id", json!(put)), BadCredential::RpId.to_string(), "{put}");
    }
}

#[test]
fn an_origin_is_one_that_a_browser_could_write_for_that_domain() {
    for put in
        ["https://console.example", "https://console.example:8443", "https://a.b.console.example"]
    {
        let mut passkey = enrolled();
        passkey["origins"] = json!([put]);
        assert!(serde_json::from_value::<Passkey>(passkey).is_ok(), "{put}");
    }
    for put in [
        "",
        "https://",
        "http://console.example",
        "console.example",
        "https://evilconsole.example",
        "https://.console.example",
        "https://example",
        "https://console.example/",
        "https://console.example/x",
        "https://console.example:443",
        "https://console.example:",
        "https://console.example:0",
        "https://console.example:08",
        "https://console.example:+8",
        "https://console.example:65536",
        "https://user@console.example",
        "https://CONSOLE.example",
        "https://evil.example#.console.example",
    ] {
        let said = fault("origins", json!([put]));
        assert_eq!(said, BadCredential::Origins.to_string(), "{put}");
    }
}

#[test]
fn there_are_one_to_eight_origins_and_none_twice() {
    let many: Vec<_> = (1..=9).map(|port| format!("{ORIGIN}:{port}")).collect();
    for put in [json!([]), json!([ORIGIN, ORIGIN]), json!(many)] {
        assert_eq!(fault("origins", put), BadCredential::Origins.to_string());
    }
    let mut passkey = enrolled();
    passkey["origins"] = json!(many[..8]);
    assert!(serde_json::from_value::<Passkey>(passkey).is_ok());
}

#[test]
fn localhost_may_go_without_tls_and_nothing_else_may() {
    let mut passkey = enrolled();
    passkey["rp_id"] = json!("localhost");
    for put in ["http://localhost", "http://localhost:8080", "https://localhost:8080"] {
        passkey["origins"] = json!([put]);
        assert!(serde_json::from_value::<Passkey>(passkey.clone()).is_ok(), "{put}");
    }
    for put in ["http://localhost:80", "http://console.example", "ws://localhost"] {
        passkey["origins"] = json!([put]);
        assert!(serde_json::from_value::<Passkey>(passkey.clone()).is_err(), "{put}");
    }
}

#[test]
fn a_public_key_is_a_point_on_its_curve_in_its_one_encoding() {
    let PasskeyKey::Es256(good) = Ceremony::es256().secret.key() else { panic!() };
    let compressed = format!("02{}", &good[2..66]);
    let off_curve = format!("04{}{}", &good[2..66], "11".repeat(32));
    // The point with x = 0 is on the curve, and the field's prime is a second zero.
    let y = "66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4";
    let prime = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";
    let zero = json!({ "es256": format!("04{}{y}", "00".repeat(32)) });
    assert!(serde_json::from_value::<PasskeyKey>(zero).is_ok());
    let second_zero = format!("04{prime}{y}");
    let hybrid = format!("06{}", &good[2..]);
    for put in [
        "",
        "00",
        &compressed,
        &off_curve,
        &second_zero,
        &hybrid,
        &good[2..],
        &format!("{good}00"),
        &good.to_uppercase(),
    ] {
        let said = fault("key", json!({ "es256": put }));
        assert_eq!(said, BadCredential::Es256.to_string(), "{put}");
    }
    let weak = format!("01{}", "00".repeat(31));
    let second = format!("f0{}7f", "ff".repeat(30));
    for put in ["", &weak, &second, &"00".repeat(32), &good] {
        let said = fault("key", json!({ "ed25519": put }));
        assert_eq!(said, BadCredential::Ed25519.to_string(), "{put}");
    }
    for put in [json!({}), json!({ "rs256": "00" }), json!("es256"), json!(null)] {
        let said = fault("key", put);
        assert!(!said.is_empty());
    }
}
