//! SSH: what enrols, and every rule of PROTOCOL.sshsig and PROTOCOL.u2f that we hold.

use base64ct::{Base64, Encoding as _};
use ed25519_dalek::Verifier as _;
use sha2::{Digest as _, Sha256, Sha512};

use super::super::sshsig::{armored, push, signed_bytes};
use super::*;

const FILE: &str = "ssh-ed25519";
const DEVICE: &str = "sk-ssh-ed25519@openssh.com";

fn text(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    push(&mut out, bytes);
    out
}

/// A key line of any type over any parts.
fn line(algorithm: &str, parts: &[&[u8]]) -> String {
    let blob: Vec<u8> = parts.iter().flat_map(|part| text(part)).collect();
    format!("{algorithm} {}", Base64::encode_string(&blob))
}

fn file_line(point: &[u8]) -> String {
    line(FILE, &[FILE.as_bytes(), point])
}

fn device_line(application: &[u8]) -> String {
    let point = signing_key(7).verifying_key();
    line(DEVICE, &[DEVICE.as_bytes(), point.as_bytes(), application])
}

fn enrolled(line: &str) -> Result<SshKey, BadCredential> {
    SshKey::try_from(line.to_owned())
}

/// What a device signs with.
#[derive(Clone)]
struct Touch {
    application: String,
    flags: u8,
    counter: u32,
}

/// A signature about to be made. Every field goes into what is signed as it goes into the blob.
#[derive(Clone)]
pub(super) struct Ceremony {
    seed: u8,
    version: u32,
    namespace: Vec<u8>,
    reserved: Vec<u8>,
    hash_algorithm: Vec<u8>,
    hash: Vec<u8>,
    touch: Option<Touch>,
}

impl Ceremony {
    pub(super) fn of_file() -> Self {
        Self {
            seed: 7,
            version: 1,
            namespace: b"vote.v1@portcullis".to_vec(),
            reserved: Vec::new(),
            hash_algorithm: b"sha512".to_vec(),
            hash: Sha512::digest(STATEMENT).to_vec(),
            touch: None,
        }
    }

    pub(super) fn of_device() -> Self {
        let touch = Touch { application: "ssh:".into(), flags: 0x05, counter: 41 };
        Self { touch: Some(touch), ..Self::of_file() }
    }

    fn with_flags(flags: u8) -> Self {
        let mut ceremony = Self::of_device();
        ceremony.touch.as_mut().unwrap().flags = flags;
        ceremony
    }

    /// The key as this test's own hands write it.
    fn line(&self) -> String {
        let point = signing_key(self.seed).verifying_key();
        match &self.touch {
            None => file_line(point.as_bytes()),
            Some(touch) => {
                let application = touch.application.as_bytes();
                line(DEVICE, &[DEVICE.as_bytes(), point.as_bytes(), application])
            }
        }
    }

    pub(super) fn credential(&self) -> Credential {
        Credential::Ssh(enrolled(&self.line()).unwrap())
    }

    fn key_blob(&self) -> Vec<u8> {
        Base64::decode_vec(self.line().split_once(' ').unwrap().1).unwrap()
    }

    fn signed(&self) -> Vec<u8> {
        let parts = [&self.namespace, &self.reserved, &self.hash_algorithm, &self.hash];
        let signed: Vec<u8> = parts.into_iter().flat_map(|part| text(part)).collect();
        [b"SSHSIG".as_slice(), &signed].concat()
    }

    fn signature(&self) -> Vec<u8> {
        let key = signing_key(self.seed);
        let Some(Touch { application, flags, counter }) = &self.touch else {
            let bytes = key.sign(&self.signed()).to_bytes();
            return [text(FILE.as_bytes()), text(&bytes)].concat();
        };
        let said = [&[*flags], counter.to_be_bytes().as_slice()].concat();
        let asked = Sha256::digest(self.signed());
        let hash = Sha256::digest(application);
        let bytes = key.sign(&[&hash[..], &said, &asked[..]].concat()).to_bytes();
        [text(DEVICE.as_bytes()), text(&bytes), said].concat()
    }

    fn blob(&self, signature: &[u8]) -> Vec<u8> {
        let parts = [&self.key_blob(), &self.namespace, &self.reserved, &self.hash_algorithm];
        let parts: Vec<u8> = parts.into_iter().flat_map(|part| text(part)).collect();
        let head = [b"SSHSIG".as_slice(), &self.version.to_be_bytes()].concat();
        [head, parts, text(signature)].concat()
    }

    pub(super) fn evidence(&self) -> Evidence {
        Evidence::Ssh(armored(&self.blob(&self.signature())))
    }

    /// The verdict on evidence, by the key that this ceremony's kind enrols.
    fn verdict_on(&self, evidence: &Evidence) -> Result<Proof, BadEvidence> {
        let usual = if self.touch.is_some() { Self::of_device() } else { Self::of_file() };
        usual.credential().verify(Purpose::Vote, STATEMENT, evidence)
    }

    fn verdict(&self) -> Result<Proof, BadEvidence> {
        self.verdict_on(&self.evidence())
    }

    fn verdict_with(&self, signature: &[u8]) -> Result<Proof, BadEvidence> {
        self.verdict_on(&Evidence::Ssh(armored(&self.blob(signature))))
    }
}

/// A file's and a device's.
fn both() -> [Ceremony; 2] {
    [Ceremony::of_file(), Ceremony::of_device()]
}

#[test]
fn a_key_in_a_file_shows_that_somebody_had_it_and_counts_nothing() {
    let proof = Ceremony::of_file().verdict().unwrap();
    assert_eq!(proof, Proof { strength: Strength::File, counter: 0 });
}

#[test]
fn a_touch_shows_presence_and_a_pin_shows_the_person() {
    let proof = Ceremony::with_flags(0x01).verdict().unwrap();
    assert_eq!(proof, Proof { strength: Strength::Presence, counter: 41 });
    let proof = Ceremony::with_flags(0x05).verdict().unwrap();
    assert_eq!(proof, Proof { strength: Strength::Verified, counter: 41 });
}

#[test]
fn a_security_key_that_was_not_touched_signs_for_nothing() {
    for flags in [0x00, 0x04] {
        assert_eq!(Ceremony::with_flags(flags).verdict(), Err(BadEvidence::NoPresence));
    }
}

#[test]
fn a_security_key_that_says_anything_else_is_none() {
    for flags in (0..=u8::MAX).filter(|flags| flags & !0x05 != 0) {
        let verdict = Ceremony::with_flags(flags).verdict();
        assert_eq!(verdict, Err(BadEvidence::SkFlags(flags)));
    }
}

#[test]
fn flags_and_counter_cannot_be_changed_after_the_device_signed() {
    let ceremony = Ceremony::with_flags(0x01);
    let signature = ceremony.signature();
    let trailer = signature.len() - 5;
    for (place, put) in [(trailer, 0x05), (trailer + 4, 42)] {
        let mut changed = signature.clone();
        changed[place] = put;
        assert_eq!(ceremony.verdict_with(&changed), Err(BadEvidence::Signature));
    }
}

#[test]
fn a_device_signs_for_the_application_it_is_enrolled_with() {
    // The key says another application, and all is signed for that.
    let mut other = Ceremony::of_device();
    other.touch.as_mut().unwrap().application = "ssh:other".into();
    assert_eq!(other.verdict(), Err(BadEvidence::OtherKey));
    assert!(other.credential().verify(Purpose::Vote, STATEMENT, &other.evidence()).is_ok());
    // The key is the enrolled one, and the device signed for another application.
    let verdict = Ceremony::of_device().verdict_with(&other.signature());
    assert_eq!(verdict, Err(BadEvidence::Signature));
}

#[test]
fn a_devices_key_must_sign_as_a_device() {
    let device = Ceremony::of_device();
    let plain = signing_key(7).sign(&device.signed()).to_bytes();
    let said = [0x05, 0, 0, 0, 41];
    let signature = [text(DEVICE.as_bytes()), text(&plain), said.to_vec()].concat();
    assert_eq!(device.verdict_with(&signature), Err(BadEvidence::Signature));
}

#[test]
fn a_signature_for_one_purpose_is_none_for_another() {
    let all =
        [Purpose::Vote, Purpose::Genesis, Purpose::Enrolment, Purpose::Recovery, Purpose::Stop];
    for ceremony in both() {
        for (made, asked) in all.iter().flat_map(|made| all.map(|asked| (*made, asked))) {
            let namespace = made.namespace().as_bytes().to_vec();
            let evidence = Ceremony { namespace, ..ceremony.clone() }.evidence();
            let verdict = ceremony.credential().verify(asked, STATEMENT, &evidence);
            let (expected, found) = (asked.namespace(), made.namespace().to_owned());
            match verdict {
                Ok(_) => assert_eq!(made, asked),
                Err(fault) => assert_eq!(fault, BadEvidence::Namespace { expected, found }),
            }
        }
    }
}

#[test]
fn a_namespace_that_only_begins_alike_is_another() {
    for namespace in ["", "vote.v1@portcullis2", "vote.v1", "Vote.v1@portcullis", "file"] {
        let ceremony = Ceremony { namespace: namespace.into(), ..Ceremony::of_file() };
        let fault = ceremony.verdict().unwrap_err();
        assert_eq!(fault.code(), "SSHSIG_NAMESPACE");
    }
}

#[test]
fn a_namespace_that_is_relabelled_was_not_signed() {
    let other = Ceremony { namespace: b"genesis.v1@portcullis".to_vec(), ..Ceremony::of_file() };
    let verdict = Ceremony::of_file().verdict_with(&other.signature());
    assert_eq!(verdict, Err(BadEvidence::Signature));
}

#[test]
fn another_version_is_refused() {
    for ceremony in both() {
        for version in [0, 2, u32::MAX] {
            let verdict = Ceremony { version, ..ceremony.clone() }.verdict();
            assert_eq!(verdict, Err(BadEvidence::Version(version)));
        }
    }
}

#[test]
fn a_reserved_field_that_holds_something_is_refused_though_it_was_signed() {
    for ceremony in both() {
        let verdict = Ceremony { reserved: b"x".to_vec(), ..ceremony }.verdict();
        assert_eq!(verdict, Err(BadEvidence::Reserved));
    }
}

#[test]
fn another_hash_is_refused_though_ssh_knows_it() {
    for ceremony in both() {
        let hash = Sha256::digest(STATEMENT).to_vec();
        let hash_algorithm = b"sha256".to_vec();
        let verdict = Ceremony { hash, hash_algorithm, ..ceremony }.verdict();
        assert_eq!(verdict, Err(BadEvidence::HashAlgorithm));
    }
}

#[test]
fn another_statement_was_not_signed() {
    for ceremony in both() {
        let verdict = Ceremony { hash: Sha512::digest(b"other").to_vec(), ..ceremony }.verdict();
        assert_eq!(verdict, Err(BadEvidence::Signature));
    }
}

#[test]
fn another_persons_key_is_another_key() {
    for ceremony in both() {
        let verdict = Ceremony { seed: 8, ..ceremony.clone() }.verdict();
        assert_eq!(verdict, Err(BadEvidence::OtherKey));
        // And their signature under the enrolled key is wrong.
        let signature = Ceremony { seed: 8, ..ceremony.clone() }.signature();
        assert_eq!(ceremony.verdict_with(&signature), Err(BadEvidence::Signature));
    }
}

#[test]
fn a_key_in_a_file_is_not_the_same_key_on_a_device() {
    let evidence = Ceremony::of_device().evidence();
    assert_eq!(Ceremony::of_file().verdict_on(&evidence), Err(BadEvidence::OtherKey));
    let evidence = Ceremony::of_file().evidence();
    assert_eq!(Ceremony::of_device().verdict_on(&evidence), Err(BadEvidence::OtherKey));
}

#[test]
fn a_signature_of_another_type_than_the_key_is_refused() {
    let (file, device) = (Ceremony::of_file(), Ceremony::of_device());
    let other = Err(BadEvidence::SignatureAlgorithm);
    assert_eq!(file.verdict_with(&device.signature()), other);
    assert_eq!(device.verdict_with(&file.signature()), other);
    let bytes = signing_key(7).sign(&file.signed()).to_bytes();
    for algorithm in ["ssh-rsa", "rsa-sha2-512", "ssh-ed448", ""] {
        let signature = [text(algorithm.as_bytes()), text(&bytes)].concat();
        assert_eq!(file.verdict_with(&signature), other);
    }
}

#[test]
fn bytes_too_few_or_too_many_are_refused_at_every_level() {
    for ceremony in both() {
        let signature = ceremony.signature();
        let blob = ceremony.blob(&signature);
        for length in 0..blob.len() {
            let evidence = Evidence::Ssh(armored(&blob[..length]));
            let fault = ceremony.verdict_on(&evidence).unwrap_err();
            assert!(matches!(fault, BadEvidence::Sshsig | BadEvidence::Armor), "{length}");
        }
        let longer = Evidence::Ssh(armored(&[&blob[..], b"x"].concat()));
        assert_eq!(ceremony.verdict_on(&longer), Err(BadEvidence::Sshsig));
        let longer = [&signature[..], b"x"].concat();
        assert_eq!(ceremony.verdict_with(&longer), Err(BadEvidence::Sshsig));
        let shorter = &signature[..signature.len() - 1];
        assert_eq!(ceremony.verdict_with(shorter), Err(BadEvidence::Sshsig));
        let magic = [b"SSHSIH", &blob[6..]].concat();
        assert_eq!(ceremony.verdict_on(&Evidence::Ssh(armored(&magic))), Err(BadEvidence::Sshsig));
    }
    for length in [63, 65] {
        let signature = [text(FILE.as_bytes()), text(&vec![1; length])].concat();
        assert_eq!(Ceremony::of_file().verdict_with(&signature), Err(BadEvidence::Sshsig));
    }
}

#[test]
fn a_length_beyond_the_end_is_refused() {
    let blob = [b"SSHSIG".as_slice(), &1_u32.to_be_bytes(), &u32::MAX.to_be_bytes()].concat();
    let verdict = Ceremony::of_file().verdict_on(&Evidence::Ssh(armored(&blob)));
    assert_eq!(verdict, Err(BadEvidence::Sshsig));
}

#[test]
fn armor_in_any_other_form_than_ssh_keygens_is_refused() {
    let Evidence::Ssh(good) = Ceremony::of_file().evidence() else { panic!() };
    let last = good.trim_end_matches('\n');
    let (begin, rest) = good.split_once('\n').unwrap();
    let (inner, end) = rest.split_once("\n-----END").unwrap();
    let one_line = inner.replace('\n', "");
    for bad in [
        String::new(),
        last.to_owned(),
        format!("{good}\n"),
        format!("{good}x"),
        format!("x{good}"),
        format!("\n{good}"),
        format!(" {good}"),
        format!("{good}{good}"),
        good.replace('\n', "\r\n"),
        good.replace("SSH SIGNATURE", "SSH  SIGNATURE"),
        good.replace("SSH SIGNATURE", "PGP SIGNATURE"),
        good.replacen('\n', "\n\n", 1),
        good.replacen('\n', "\nComment: x\n", 1),
        format!("{begin}\n{one_line}\n-----END{end}"),
        format!("{begin}\n{inner}\n\n-----END{end}"),
        format!("{begin}\n{inner}=\n-----END{end}"),
        format!("{begin}\n-----END{end}"),
        format!("{begin}\n\n-----END{end}"),
        one_line,
    ] {
        assert_ne!(bad, good);
        let fault = Ceremony::of_file().verdict_on(&Evidence::Ssh(bad.clone())).unwrap_err();
        // The empty armor is one of no bytes.
        assert!(matches!(fault, BadEvidence::Armor | BadEvidence::Sshsig), "{bad}");
    }
}

#[test]
fn base64_with_bits_left_over_is_refused() {
    let Evidence::Ssh(good) = Ceremony::of_file().evidence() else { panic!() };
    // Its last letter before the padding carries bits of nothing.
    let at = good.find('=').unwrap();
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let last = letters.find(&good[at - 1..at]).unwrap();
    let mut bad = good.clone();
    bad.replace_range(at - 1..at, &letters[last + 1..last + 2]);
    let verdict = Ceremony::of_file().verdict_on(&Evidence::Ssh(bad));
    assert_eq!(verdict, Err(BadEvidence::Armor));
}

#[test]
fn more_than_four_kibibytes_are_not_looked_at() {
    let namespace = vec![b'x'; 3_000];
    let ceremony = Ceremony { namespace, ..Ceremony::of_file() };
    assert_eq!(ceremony.verdict(), Err(BadEvidence::TooLarge));
    let largest = Ceremony { namespace: vec![b'x'; 2_700], ..Ceremony::of_file() };
    assert_eq!(largest.verdict().unwrap_err().code(), "SSHSIG_NAMESPACE");
}

/// Adds the order of the group to the second half, little-endian.
fn with_s_plus_order(signature: &[u8]) -> Vec<u8> {
    let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut sum = signature.to_vec();
    let mut carry = 0_u16;
    for (byte, add) in sum[signature.len() - 32..].iter_mut().zip(order.unwrap()) {
        let [low, high] = (u16::from(*byte) + u16::from(add) + carry).to_le_bytes();
        *byte = low;
        carry = high.into();
    }
    sum
}

#[test]
fn a_second_encoding_of_a_signature_is_refused() {
    let file = Ceremony::of_file();
    let verdict = file.verdict_with(&with_s_plus_order(&file.signature()));
    assert_eq!(verdict, Err(BadEvidence::Signature));
}

#[test]
fn a_signature_that_only_a_lax_verifier_takes_is_refused() {
    // By the owner of the key, with the neutral point as R: S = k * a.
    let bytes: [u8; 64] = hex::decode(
        "0100000000000000000000000000000000000000000000000000000000000000\
         72ca679c881545eab7c7dffb873b92f8af9601bf87869f512dd02d951146c004",
    )
    .unwrap()
    .try_into()
    .unwrap();
    let signed = signed_bytes(Purpose::Vote, STATEMENT);
    let lax = signing_key(7).verifying_key();
    assert!(lax.verify(&signed, &ed25519_dalek::Signature::from_bytes(&bytes)).is_ok());
    let signature = [text(FILE.as_bytes()), text(&bytes)].concat();
    assert_eq!(Ceremony::of_file().verdict_with(&signature), Err(BadEvidence::Signature));
}

/// Made with OpenSSH 9.2.
const REAL: &str = "ssh-ed25519 \
    AAAAC3NzaC1lZDI1NTE5AAAAICJ9PuXsFN6ONylSXPc+XjQljAD3oDkx+D6LSWHUf+bl";

#[test]
fn the_id_of_an_ssh_key_is_the_fingerprint_that_ssh_keygen_prints() {
    let id = Credential::Ssh(enrolled(REAL).unwrap()).id();
    assert_eq!(id.as_str(), "SHA256:hc0ogQKtD0m74NcfBSJm3S3NBucaajWZ4xG0KCInjNM");
}

#[test]
fn a_line_of_a_pub_file_may_have_a_comment_and_a_record_may_not() {
    let key = enrolled(REAL).unwrap();
    assert_eq!(key.to_string(), REAL);
    for end in ["", "\n", " a@b", " a@b c\n"] {
        assert_eq!(SshKey::from_authorized_line(&format!("{REAL}{end}")), Ok(key.clone()));
    }
    for end in ["\n", " a@b", " ", "\t"] {
        assert_eq!(enrolled(&format!("{REAL}{end}")), Err(BadCredential::SshForm), "{end:?}");
    }
    assert_eq!(enrolled("ssh-ed25519"), Err(BadCredential::SshForm));
    for bad in [String::new(), format!("{REAL} a@b\n{REAL}"), format!("{REAL}\n\n")] {
        assert_eq!(SshKey::from_authorized_line(&bad), Err(BadCredential::SshForm));
    }
    let json = format!(r#"{{"ssh":"{REAL} a@b"}}"#);
    assert!(serde_json::from_str::<Credential>(&json).is_err());
}

#[test]
fn a_record_says_ssh_and_the_key() {
    let json = format!(r#"{{"ssh":"{REAL}"}}"#);
    let credential: Credential = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&credential).unwrap(), json);
}

#[test]
fn every_other_type_of_key_is_refused_by_name_with_what_to_use() {
    for (algorithm, instead) in [
        ("ssh-rsa", "-t ed25519"),
        ("rsa-sha2-512", ".pub file"),
        ("ssh-dss", "-t ed25519"),
        ("ecdsa-sha2-nistp256", "-t ed25519"),
        ("sk-ecdsa-sha2-nistp256@openssh.com", "-t ed25519-sk"),
        ("ssh-ed25519-cert-v01@openssh.com", "not a certificate"),
        ("sk-ssh-ed25519-cert-v01@openssh.com", "not a certificate"),
        ("verify-required", ".pub file"),
        ("SSH-ED25519", ".pub file"),
    ] {
        // The bytes are those of a good key: the name decides.
        let line = REAL.replace(FILE, algorithm);
        let fault = enrolled(&line).unwrap_err();
        assert_eq!(SshKey::from_authorized_line(&line), Err(fault.clone()));
        assert!(matches!(&fault, BadCredential::SshAlgorithm { found, .. } if found == algorithm));
        assert!(fault.to_string().contains(instead), "{fault}");
    }
}

#[test]
fn a_key_line_of_any_other_bytes_is_damaged() {
    let point = signing_key(7).verifying_key();
    let point = point.as_bytes().as_slice();
    let good = file_line(point);
    assert!(enrolled(&good).is_ok());
    let device = DEVICE.as_bytes();
    for bad in [
        line(FILE, &[device, point, b"ssh:"]),
        line(DEVICE, &[FILE.as_bytes(), point]),
        line(FILE, &[b"ssh-rsa", point]),
        line(FILE, &[FILE.as_bytes(), point, b""]),
        line(DEVICE, &[device, point]),
        line(DEVICE, &[device, point, b"ssh:", b""]),
        line(FILE, &[FILE.as_bytes(), &point[..31]]),
        line(FILE, &[FILE.as_bytes(), &[point, b"x"].concat()]),
        line(FILE, &[FILE.as_bytes()]),
        format!("{FILE} "),
        format!("{good}="),
        good.replace('A', "-"),
        good[..good.len() - 1].to_owned(),
    ] {
        assert_eq!(enrolled(&bad), Err(BadCredential::SshBlob), "{bad}");
    }
    let long = format!("{FILE} {}", "A".repeat(1_025));
    assert_eq!(enrolled(&long), Err(BadCredential::SshForm));
}

#[test]
fn a_security_key_must_be_made_for_ssh() {
    let longest = format!("ssh:{}", "x".repeat(124));
    for good in ["ssh:", "ssh:portcullis", &longest] {
        assert!(enrolled(&device_line(good.as_bytes())).is_ok(), "{good}");
    }
    let long = format!("{longest}x");
    for bad in [&b""[..], b"ssh", b"console.example", b"ssh: x", b"ssh:\xff", long.as_bytes()] {
        assert_eq!(enrolled(&device_line(bad)), Err(BadCredential::SshApplication), "{bad:?}");
    }
}

#[test]
fn a_weak_key_an_off_curve_point_and_a_second_encoding_are_no_keys() {
    let weak = hex::decode("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a");
    let mut bad = vec![weak.unwrap(), [&[1][..], &[0; 31]].concat(), vec![0; 32]];
    bad.push([&[2][..], &[0; 31]].concat());
    // y from p to 2^255 - 1, with either sign: the same points as y - p.
    let mut second_encodings = 0;
    for (low, high) in (0xed..=0xff).flat_map(|low| [(low, 0x7f), (low, 0xff)]) {
        let point: Vec<u8> = [&[low][..], &[0xff; 30], &[high]].concat();
        let lax = ed25519_dalek::VerifyingKey::from_bytes(point.as_slice().try_into().unwrap());
        second_encodings += usize::from(lax.is_ok_and(|key| !key.is_weak()));
        bad.push(point);
    }
    assert!(second_encodings > 0, "the library would take some");
    for point in bad {
        assert_eq!(enrolled(&file_line(&point)), Err(BadCredential::Ed25519), "{point:?}");
    }
}
