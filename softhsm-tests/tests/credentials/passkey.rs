//! A software authenticator registers and signs; webauthn-rs judges the same assertions; OpenSSL
//! signs as authenticators do.

use std::fs;
use std::process::Command;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;
use portcullis_policy::credential::{
    Assertion, BadEvidence, Credential, Evidence, Passkey, Proof, Purpose, Strength,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use webauthn_authenticator_rs::AuthenticatorBackendHashedClientData as _;
use webauthn_authenticator_rs::prelude::{Url, WebauthnAuthenticator as _};
use webauthn_authenticator_rs::softpasskey::SoftPasskey;
use webauthn_rs_core::WebauthnCore;
use webauthn_rs_core::proto::{
    AuthenticationState, AuthenticatorAssertionResponseRaw, COSEKeyType,
    Credential as TheirCredential, PublicKeyCredential, RequestChallengeResponse,
    UserVerificationPolicy,
};

use super::{STATEMENT, run, written};

const ORIGIN: &str = "https://console.example";
const RP_ID: &str = "console.example";

/// A relying party of webauthn-rs, and a passkey that it registered.
struct Site {
    core: WebauthnCore,
    device: SoftPasskey,
    registered: TheirCredential,
}

impl Site {
    fn new() -> Self {
        let origins = vec![Url::parse(ORIGIN).expect("a URL")];
        let minute = Duration::from_secs(60);
        let core =
            WebauthnCore::new_unsafe_experts_only("Console", RP_ID, origins, minute, None, None);
        let mut device = SoftPasskey::new(true);
        let registered = register(&core, &mut device);
        Self { core, device, registered }
    }

    /// Another passkey on the same device.
    fn register(&mut self) -> TheirCredential {
        register(&self.core, &mut self.device)
    }

    /// What the device signs with the first passkey, in the words of a browser. (The client of
    /// webauthn-rs is not used: it writes the origin with a slash at its end, as no browser does.)
    fn signs(&mut self, verification: UserVerificationPolicy) -> Assertion {
        let (mut asked, _) = self.asks(&self.registered);
        asked.public_key.user_verification = verification;
        let hash = Sha256::digest(client_data()).to_vec();
        let made = self.device.perform_auth(hash, asked.public_key, 0).expect("an assertion");
        Assertion {
            authenticator_data: hex::encode(made.response.authenticator_data),
            client_data: client_data(),
            signature: hex::encode(made.response.signature),
        }
    }

    /// A request to sign our statement. webauthn-rs draws its challenges; this one is put in.
    fn asks(
        &self,
        credential: &TheirCredential,
    ) -> (RequestChallengeResponse, AuthenticationState) {
        let required = Some(UserVerificationPolicy::Required);
        let credentials = vec![credential.clone()];
        let builder = self.core.new_challenge_authenticate_builder(credentials, required);
        let builder = builder.expect("a builder");
        let (mut asked, state) =
            self.core.generate_challenge_authenticate(builder).expect("a challenge");
        asked.public_key.challenge = Sha256::digest(STATEMENT).to_vec();
        let mut state = serde_json::to_value(state).expect("JSON");
        state["challenge"] = json!(Base64UrlUnpadded::encode_string(&Sha256::digest(STATEMENT)));
        (asked, serde_json::from_value(state).expect("a state"))
    }

    /// What webauthn-rs says.
    fn takes(&self, credential: &TheirCredential, assertion: &Assertion) -> bool {
        let (_, state) = self.asks(credential);
        let id = credential.cred_id.clone();
        let theirs = PublicKeyCredential {
            id: Base64UrlUnpadded::encode_string(&id),
            raw_id: id,
            response: AuthenticatorAssertionResponseRaw {
                authenticator_data: hex::decode(&assertion.authenticator_data).expect("hex"),
                client_data_json: assertion.client_data.clone().into_bytes(),
                signature: hex::decode(&assertion.signature).expect("hex"),
                user_handle: None,
            },
            extensions: Default::default(),
            type_: "public-key".to_owned(),
        };
        self.core.authenticate_credential(&theirs, &state).is_ok()
    }
}

fn register(core: &WebauthnCore, device: &mut SoftPasskey) -> TheirCredential {
    let builder = core.new_challenge_register_builder(b"alice", "alice", "Alice");
    let required = UserVerificationPolicy::Required;
    let builder = builder.expect("a builder").user_verification_policy(required);
    let (asked, state) = core.generate_challenge_register(builder).expect("a challenge");
    let origin = Url::parse(ORIGIN).expect("a URL");
    let made = device.do_registration(origin, asked).expect("a new passkey");
    core.register_credential(&made, &state, None).expect("registered")
}

/// As we would enrol what webauthn-rs registered.
fn enrolled(credential: &TheirCredential) -> Credential {
    let COSEKeyType::EC_EC2(point) = &credential.cred.key else { panic!("not ES256") };
    let passkey = json!({
        "backup_eligible": credential.backup_eligible,
        "id": hex::encode(&credential.cred_id),
        "key": { "es256": format!("04{}{}", hex::encode(&point.x), hex::encode(&point.y)) },
        "origins": [ORIGIN],
        "rp_id": RP_ID,
    });
    Credential::Passkey(serde_json::from_value(passkey).expect("a passkey that we take"))
}

fn ours(credential: &TheirCredential, assertion: &Assertion) -> Result<Proof, BadEvidence> {
    let evidence = Evidence::Passkey(assertion.clone());
    enrolled(credential).verify(Purpose::Vote, STATEMENT, &evidence)
}

fn client_data() -> String {
    let challenge = Base64UrlUnpadded::encode_string(&Sha256::digest(STATEMENT));
    format!(r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"{ORIGIN}"}}"#)
}

/// The client data, and a member more.
fn with(member: &str) -> String {
    client_data().replace('}', &format!(",{member}}}"))
}

#[test]
fn what_a_software_authenticator_signs_is_a_proof_to_us_and_to_webauthn_rs() {
    let mut site = Site::new();
    for counter in 1..=20 {
        let assertion = site.signs(UserVerificationPolicy::Required);
        let proof = ours(&site.registered, &assertion).expect("a proof");
        assert_eq!((proof.strength, proof.counter), (Strength::Verified, counter));
        assert!(site.takes(&site.registered, &assertion));

        let evidence = Evidence::Passkey(assertion);
        let other = enrolled(&site.registered).verify(Purpose::Vote, b"another", &evidence);
        assert_eq!(other, Err(BadEvidence::Challenge));
    }
}

#[test]
fn a_software_authenticator_that_verified_nobody_is_refused_by_both() {
    let mut site = Site::new();
    let assertion = site.signs(UserVerificationPolicy::Discouraged_DO_NOT_USE);
    assert_eq!(ours(&site.registered, &assertion), Err(BadEvidence::NoVerification));
    assert!(!site.takes(&site.registered, &assertion));
}

#[test]
fn what_another_passkey_of_the_same_device_signed_is_refused_by_both() {
    let mut site = Site::new();
    let other = site.register();
    let assertion = site.signs(UserVerificationPolicy::Required);
    assert_eq!(ours(&other, &assertion), Err(BadEvidence::Signature));
    assert!(!site.takes(&other, &assertion));
}

#[test]
fn what_a_software_authenticator_signed_cannot_be_changed() {
    let mut site = Site::new();
    let good = site.signs(UserVerificationPolicy::Required);
    let bytes = hex::decode(&good.authenticator_data).expect("hex");
    for (place, bit) in (0..bytes.len()).flat_map(|place| (0..8).map(move |bit| (place, bit))) {
        let mut changed = bytes.clone();
        changed[place] ^= 1 << bit;
        let assertion = Assertion { authenticator_data: hex::encode(changed), ..good.clone() };
        assert!(ours(&site.registered, &assertion).is_err(), "byte {place}, bit {bit}");
        assert!(!site.takes(&site.registered, &assertion), "byte {place}, bit {bit}");
    }
}

/// A passkey whose secret the test holds, so that it can sign anything as if it were right.
struct Held {
    site: Site,
    secret: SigningKey,
}

impl Held {
    fn new() -> Self {
        let mut site = Site::new();
        let secret = SigningKey::from_slice(&[33; 32]).expect("a scalar");
        let point = secret.verifying_key().to_encoded_point(false);
        let COSEKeyType::EC_EC2(key) = &mut site.registered.cred.key else { panic!("not ES256") };
        key.x = point.x().expect("x").to_vec();
        key.y = point.y().expect("y").to_vec();
        Self { site, secret }
    }

    fn signs(&self, flags: u8, extensions: &[u8], client_data: &str) -> Assertion {
        let hash = Sha256::digest(RP_ID);
        let bytes = [&hash[..], &[flags, 0, 0, 0, 9], extensions].concat();
        let signature: p256::ecdsa::Signature =
            self.secret.sign(&[&bytes, &Sha256::digest(client_data)[..]].concat());
        Assertion {
            authenticator_data: hex::encode(bytes),
            client_data: client_data.to_owned(),
            signature: hex::encode(signature.to_der().as_bytes()),
        }
    }

    fn both(&self, assertion: &Assertion) -> (Result<Proof, BadEvidence>, bool) {
        let credential = &self.site.registered;
        (ours(credential, assertion), self.site.takes(credential, assertion))
    }
}

#[test]
fn whatever_the_flags_and_extensions_what_we_take_webauthn_rs_takes() {
    let mut held = Held::new();
    let mut taken = Vec::new();
    for eligible in [false, true] {
        held.site.registered.backup_eligible = eligible;
        for flags in 0..=u8::MAX {
            for extensions in [&[][..], &[0xa0], &[0x80], &[0x00], &[0xff; 9]] {
                let assertion = held.signs(flags, extensions, &client_data());
                let (ours, theirs) = held.both(&assertion);
                if ours.is_ok() {
                    assert!(theirs, "flags {flags:#04x}, extensions {extensions:02x?}");
                    taken.push((eligible, flags, extensions.len()));
                }
            }
        }
    }
    let expected = [
        (false, 0x05, 0),
        (false, 0x85, 1),
        (true, 0x0d, 0),
        (true, 0x1d, 0),
        (true, 0x8d, 1),
        (true, 0x9d, 1),
    ];
    assert_eq!(taken, expected);
}

/// Client data, what we say of it, and whether webauthn-rs takes it. All is signed as it stands.
fn table() -> Vec<(String, &'static str, bool)> {
    let origin = |other: &str| client_data().replace(ORIGIN, other);
    vec![
        (client_data(), "taken", true),
        (with(r#""crossOrigin":false"#), "taken", true),
        (with(r#""new":[null,1.5,{"a":"b"}]"#), "taken", true),
        (client_data().replace("webauthn.get", "webauthn.create"), "PASSKEY_TYPE", false),
        (client_data().replace("challenge\":\"", "challenge\":\"A"), "PASSKEY_CHALLENGE", false),
        (origin("https://evil.example"), "PASSKEY_ORIGIN", false),
        (origin("https://evil-console.example"), "PASSKEY_ORIGIN", false),
        (origin("https://a.console.example"), "PASSKEY_ORIGIN", false),
        (origin("https://console.example:8443"), "PASSKEY_ORIGIN", false),
        (origin("http://console.example"), "PASSKEY_ORIGIN", false),
        ("[]".to_owned(), "PASSKEY_CLIENT_DATA", false),
        (with(r#""type":"webauthn.get""#), "PASSKEY_CLIENT_DATA_KEY_TWICE", false),
        // From here on we are the stricter.
        (origin("https://console.example/path"), "PASSKEY_ORIGIN", true),
        (origin("https://CONSOLE.example:443"), "PASSKEY_ORIGIN", true),
        (with(r#""crossOrigin":true"#), "PASSKEY_CROSS_ORIGIN", true),
        (with(r#""crossOrigin":null"#), "PASSKEY_CROSS_ORIGIN", true),
        (with(r#""topOrigin":"https://evil.example""#), "PASSKEY_TOP_ORIGIN", true),
        (with(r#""new":1,"new":2"#), "PASSKEY_CLIENT_DATA_KEY_TWICE", true),
        (with(r#""new":{"a":1,"a":2}"#), "PASSKEY_CLIENT_DATA_KEY_TWICE", true),
    ]
}

#[test]
fn where_we_and_webauthn_rs_differ_on_client_data_we_are_the_stricter() {
    let held = Held::new();
    for (client_data, expected, expected_theirs) in table() {
        let (ours, theirs) = held.both(&held.signs(0x05, &[], &client_data));
        let said = ours.map_or_else(|fault| fault.code(), |_| "taken");
        assert_eq!((said, theirs), (expected, expected_theirs), "{client_data}");
    }
}

#[test]
fn der_that_is_not_the_one_form_is_refused_by_both() {
    let held = Held::new();
    let good = held.signs(0x05, &[], &client_data());
    let der = hex::decode(&good.signature).expect("hex");
    let length = u8::try_from(der.len() - 2).expect("short");
    for bad in [
        [&der[..], &[0]].concat(),
        [&[0x30, 0x81, length], &der[2..]].concat(),
        [&[0x30, length + 1, 0x02, der[3] + 1, 0], &der[4..]].concat(),
        p256::ecdsa::Signature::from_der(&der).expect("a signature").to_bytes().to_vec(),
    ] {
        let (ours, theirs) = held.both(&Assertion { signature: hex::encode(bad), ..good.clone() });
        assert_eq!((ours, theirs), (Err(BadEvidence::SignatureForm), false));
    }
}

/// Keys and signatures of the `openssl` command.
struct Openssl {
    folder: TempDir,
}

impl Openssl {
    fn new() -> Self {
        Self { folder: TempDir::new().expect("a folder") }
    }

    fn does(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        written(run(self.folder.path(), command.args(arguments.split(' ')), b""));
    }

    fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.path().join(name)).expect("a file")
    }

    /// The end of a public key's DER, which is the point.
    fn point(&self, length: usize) -> String {
        self.does("pkey -in key -pubout -outform DER -out point");
        let der = self.file("point");
        hex::encode(&der[der.len() - length..])
    }

    fn assertion(&self, sign: &str) -> Assertion {
        let bytes = [&Sha256::digest(RP_ID)[..], &[0x05, 0, 0, 0, 1]].concat();
        let signed = [&bytes, &Sha256::digest(client_data())[..]].concat();
        fs::write(self.folder.path().join("signed"), signed).expect("written");
        self.does(sign);
        Assertion {
            authenticator_data: hex::encode(bytes),
            client_data: client_data(),
            signature: hex::encode(self.file("signature")),
        }
    }
}

#[test]
fn what_openssl_signs_is_a_proof_with_either_kind_of_key() {
    let openssl = Openssl::new();
    for (kind, length, generate, sign) in [
        (
            "es256",
            65,
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key",
            "dgst -sha256 -sign key -out signature signed",
        ),
        (
            "ed25519",
            32,
            "genpkey -algorithm ED25519 -out key",
            "pkeyutl -sign -rawin -inkey key -in signed -out signature",
        ),
    ] {
        for _ in 0..8 {
            openssl.does(generate);
            let passkey: Value = json!({
                "backup_eligible": false,
                "id": "11".repeat(16),
                "key": { kind: openssl.point(length) },
                "origins": [ORIGIN],
                "rp_id": RP_ID,
            });
            let passkey: Passkey = serde_json::from_value(passkey).expect("a passkey");
            let evidence = Evidence::Passkey(openssl.assertion(sign));
            let verdict = Credential::Passkey(passkey).verify(Purpose::Vote, STATEMENT, &evidence);
            assert_eq!(verdict.expect("a proof").counter, 1, "{kind}");
        }
    }
}
