//! OpenSSH makes signatures and judges them; the `ssh-key` crate is a third opinion.

use base64ct::{Base64, Encoding as _};
use ed25519_dalek::{Signer as _, SigningKey};
use portcullis_policy::credential::{
    BadCredential, BadEvidence, Credential, Evidence, Proof, Purpose, SshKey, Strength,
};
use sha2::{Digest as _, Sha512};
use ssh_key::{PublicKey, SshSig};

use super::agent::{Device, text};
use super::keygen::Keygen;
use super::{PURPOSES, STATEMENT};

fn enrolled(line: &str) -> Credential {
    Credential::Ssh(SshKey::from_authorized_line(line).expect("a key that we take"))
}

fn ours(
    line: &str,
    armored: &str,
    purpose: Purpose,
    statement: &[u8],
) -> Result<Proof, BadEvidence> {
    enrolled(line).verify(purpose, statement, &Evidence::Ssh(armored.to_owned()))
}

/// What the `ssh-key` crate says.
fn crates(line: &str, armored: &str, namespace: &str, message: &[u8]) -> bool {
    let key = PublicKey::from_openssh(line).expect("a key");
    SshSig::from_pem(armored).is_ok_and(|sig| key.verify(namespace, message, &sig).is_ok())
}

/// PROTOCOL.sshsig by hand, apart from what is under test.
#[derive(Clone)]
struct Parts {
    version: u32,
    key: Vec<u8>,
    namespace: &'static [u8],
    reserved: &'static [u8],
    hash_algorithm: &'static [u8],
    hash: Vec<u8>,
}

impl Parts {
    fn of(key: Vec<u8>) -> Self {
        Self {
            version: 1,
            key,
            namespace: b"vote.v1@portcullis",
            reserved: b"",
            hash_algorithm: b"sha512",
            hash: Sha512::digest(STATEMENT).to_vec(),
        }
    }

    fn signed(&self) -> Vec<u8> {
        let parts = [self.namespace, self.reserved, self.hash_algorithm, &self.hash];
        [b"SSHSIG".to_vec(), parts.into_iter().flat_map(text).collect()].concat()
    }

    fn armored(&self, signature: &[u8]) -> String {
        let parts = [&self.key, self.namespace, self.reserved, self.hash_algorithm, signature];
        let parts = parts.into_iter().flat_map(text).collect();
        armor(&[b"SSHSIG".to_vec(), self.version.to_be_bytes().to_vec(), parts].concat())
    }
}

fn armor(blob: &[u8]) -> String {
    let base64 = Base64::encode_string(blob);
    let lines: Vec<_> = base64.as_bytes().chunks(70).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
}

#[test]
fn what_ssh_keygen_signs_for_a_purpose_is_a_proof_for_that_purpose_only() {
    let keygen = Keygen::new();
    for name in ["one", "two", "three"] {
        let line = keygen.key(name, &["-t", "ed25519"]);
        for (made, asked) in PURPOSES.iter().flat_map(|made| PURPOSES.map(|asked| (*made, asked))) {
            let armored = keygen.signs(name, made.namespace(), STATEMENT);
            let verdict = ours(&line, &armored, asked, STATEMENT);
            let (namespace, same) = (asked.namespace(), made == asked);
            assert_eq!(keygen.takes(&line, [namespace, &armored], STATEMENT), same);
            assert_eq!(crates(&line, &armored, namespace, STATEMENT), same);
            match verdict {
                Ok(proof) => {
                    assert!(same);
                    assert_eq!((proof.strength, proof.counter), (Strength::File, 0));
                }
                Err(fault) => assert!(!same && fault.code() == "SSHSIG_NAMESPACE", "{fault}"),
            }
        }
    }
}

#[test]
fn what_ssh_keygen_signs_is_a_proof_of_that_statement_only_whatever_its_length() {
    let keygen = Keygen::new();
    let line = keygen.key("key", &["-t", "ed25519"]);
    let statement: Vec<u8> = (0..=u8::MAX).cycle().take(70_000).collect();
    for length in [0, 1, 63, 64, 65, 111, 112, 128, 5_000, 70_000] {
        let statement = &statement[..length];
        let armored = keygen.signs("key", "vote.v1@portcullis", statement);
        assert!(ours(&line, &armored, Purpose::Vote, statement).is_ok(), "{length}");
        let other = [statement, b"\n"].concat();
        let verdict = ours(&line, &armored, Purpose::Vote, &other);
        assert_eq!(verdict, Err(BadEvidence::Signature));
        assert!(!keygen.takes(&line, ["vote.v1@portcullis", &armored], &other));
        assert!(!crates(&line, &armored, "vote.v1@portcullis", &other));
    }
}

#[test]
fn a_key_goes_by_the_fingerprint_that_ssh_keygen_prints() {
    let keygen = Keygen::new();
    for line in [keygen.key("file", &["-t", "ed25519"]), Device::touched().line()] {
        keygen.file("line.pub", &line);
        let printed = keygen.does(&["-l", "-E", "sha256", "-f", "line.pub"], b"");
        let id = enrolled(&line).id();
        assert_eq!(printed.split(' ').nth(1), Some(id.as_str()), "{printed}");
    }
}

#[test]
fn a_hash_that_ssh_keygen_can_be_told_to_use_is_refused() {
    let keygen = Keygen::new();
    let line = keygen.key("key", &["-t", "ed25519"]);
    let sign = ["-Y", "sign", "-q", "-O", "hashalg=sha256", "-f", "key"];
    let armored = keygen.does(&[&sign, &["-n", "vote.v1@portcullis"][..]].concat(), STATEMENT);
    assert!(keygen.takes(&line, ["vote.v1@portcullis", &armored], STATEMENT));
    let verdict = ours(&line, &armored, Purpose::Vote, STATEMENT);
    assert_eq!(verdict, Err(BadEvidence::HashAlgorithm));
}

#[test]
fn keys_of_other_types_that_ssh_keygen_makes_do_not_enrol() {
    let keygen = Keygen::new();
    keygen.key("good", &["-t", "ed25519"]);
    keygen.does(&["-q", "-s", "good", "-I", "x", "good.pub"], b"");
    let certificate = std::fs::read_to_string(keygen.folder().join("good-cert.pub"));
    for line in [
        keygen.key("rsa", &["-t", "rsa", "-b", "2048"]),
        keygen.key("p256", &["-t", "ecdsa", "-b", "256"]),
        keygen.key("p384", &["-t", "ecdsa", "-b", "384"]),
        certificate.expect("a certificate"),
    ] {
        let fault = SshKey::from_authorized_line(&line).expect_err("not taken");
        let named = line.split(' ').next().expect("a type");
        assert!(matches!(&fault, BadCredential::SshAlgorithm { found, .. } if found == named));
    }
}

#[test]
fn a_security_keys_signature_that_ssh_keygen_writes_is_a_proof() {
    let keygen = Keygen::new();
    let device = Device::touched();
    let socket = device.serve(keygen.folder());
    keygen.file("device.pub", &device.line());
    let statement = std::str::from_utf8(STATEMENT).expect("text");
    for purpose in PURPOSES {
        let namespace = purpose.namespace();
        let armored = keygen.signs_through(&socket, "device.pub", [namespace, statement]);
        let proof = ours(&device.line(), &armored, purpose, STATEMENT).expect("a proof");
        assert_eq!((proof.strength, proof.counter), (Strength::Verified, 7));
        assert!(keygen.takes(&device.line(), [namespace, &armored], STATEMENT));
        assert!(crates(&device.line(), &armored, namespace, STATEMENT));
        // To the byte what a hand that follows PROTOCOL.sshsig writes.
        let parts = Parts { namespace: namespace.as_bytes(), ..Parts::of(device.blob()) };
        assert_eq!(parts.armored(&device.sign(&parts.signed())), armored);
    }
}

/// A signature by the device, and the three verdicts on it by the key that is enrolled.
fn three(device: &Device, keygen: &Keygen) -> (Result<Proof, BadEvidence>, bool, bool) {
    let parts = Parts::of(Device::touched().blob());
    let armored = parts.armored(&device.sign(&parts.signed()));
    let line = Device::touched().line();
    (
        ours(&line, &armored, Purpose::Vote, STATEMENT),
        keygen.takes(&line, ["vote.v1@portcullis", &armored], STATEMENT),
        crates(&line, &armored, "vote.v1@portcullis", STATEMENT),
    )
}

#[test]
fn a_security_key_shows_what_its_flags_say_and_openssh_takes_the_same_signature() {
    let keygen = Keygen::new();
    for (flags, strength) in [(0x01, Strength::Presence), (0x05, Strength::Verified)] {
        for counter in [0, 1, u32::MAX] {
            let device = Device { flags, counter, ..Device::touched() };
            let (ours, openssh, crates) = three(&device, &keygen);
            let proof = ours.expect("a proof");
            assert_eq!((proof.strength, proof.counter), (strength, counter));
            assert!(openssh && crates);
        }
    }
}

#[test]
fn a_security_key_that_was_not_touched_is_refused_by_us_though_the_crate_takes_it() {
    let keygen = Keygen::new();
    for flags in [0x00, 0x04] {
        let device = Device { flags, ..Device::touched() };
        // What OpenSSH says here is left open: it has changed what it asks for before.
        let (ours, _, crates) = three(&device, &keygen);
        assert_eq!(ours, Err(BadEvidence::NoPresence));
        assert!(crates, "the signature itself is right");
    }
    let device = Device { flags: 0x0d, ..Device::touched() };
    let (ours, _, crates) = three(&device, &keygen);
    assert_eq!(ours, Err(BadEvidence::SkFlags(0x0d)));
    assert!(crates);
}

#[test]
fn a_security_key_that_signed_for_another_application_is_refused_by_all() {
    let device = Device { application: "ssh:other", ..Device::touched() };
    let (ours, openssh, crates) = three(&device, &Keygen::new());
    assert_eq!(ours, Err(BadEvidence::Signature));
    assert!(!openssh && !crates);
}

/// One signature of each kind of key, as blob, with its key's line.
fn blobs() -> [(String, Vec<u8>); 2] {
    let device = Device::touched();
    let file = SigningKey::from_bytes(&[22; 32]);
    let blob = [text(b"ssh-ed25519"), text(file.verifying_key().as_bytes())].concat();
    let line = format!("ssh-ed25519 {}", Base64::encode_string(&blob));
    let parts = Parts::of(blob);
    let signature = file.sign(&parts.signed()).to_bytes();
    let of_file = parts.armored(&[text(b"ssh-ed25519"), text(&signature)].concat());
    let parts = Parts::of(device.blob());
    let of_device = parts.armored(&device.sign(&parts.signed()));
    [(line, of_file), (device.line(), of_device)].map(|(line, armored)| {
        let base64: String = armored.lines().filter(|line| !line.starts_with('-')).collect();
        (line, Base64::decode_vec(&base64).expect("base64"))
    })
}

#[test]
fn what_we_take_openssh_and_the_crate_take_for_every_change_of_one_byte() {
    let keygen = Keygen::new();
    let namespace = "vote.v1@portcullis";
    for (line, blob) in blobs() {
        let mut taken = 0;
        for (place, mask) in std::iter::once((0, 0)).chain((0..blob.len()).map(|at| (at, 0x01))) {
            let mut changed = blob.clone();
            changed[place] ^= mask;
            let armored = armor(&changed);
            if ours(&line, &armored, Purpose::Vote, STATEMENT).is_ok() {
                taken += 1;
                assert!(keygen.takes(&line, [namespace, &armored], STATEMENT));
                assert!(crates(&line, &armored, namespace, STATEMENT));
            }
            // OpenSSH is slow to start: every seventh.
            if place % 7 == 0 {
                let openssh = keygen.takes(&line, [namespace, &armored], STATEMENT);
                assert_eq!(openssh, mask == 0, "byte {place}");
            }
        }
        assert_eq!(taken, 1, "only the unchanged one");
    }
}

#[test]
fn armor_that_openssh_reads_and_does_not_write_is_refused_by_us() {
    let keygen = Keygen::new();
    let line = keygen.key("key", &["-t", "ed25519"]);
    let namespace = "vote.v1@portcullis";
    let good = keygen.signs("key", namespace, STATEMENT);
    let wide = {
        let base64: String = good.lines().filter(|line| !line.starts_with('-')).collect();
        good.lines().next().expect("a line").to_owned()
            + "\n"
            + &base64
            + "\n-----END SSH SIGNATURE-----\n"
    };
    for other in [wide, format!("{good}more"), good.replacen('\n', "\n\n", 1)] {
        assert!(keygen.takes(&line, [namespace, &other], STATEMENT), "{other}");
        let verdict = ours(&line, &other, Purpose::Vote, STATEMENT);
        assert_eq!(verdict, Err(BadEvidence::Armor));
    }
}
