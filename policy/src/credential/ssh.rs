//! Keys of OpenSSH, in files and on security keys, and whether they signed a statement.
//!
//! Ed25519 only: one curve, one encoding of everything, and no parameter that somebody can choose.

use std::fmt;

use base64ct::{Base64, Encoding as _};
use ed25519_dalek::Signature;
use portcullis_tlog::ed25519;
use serde::{Deserialize, Serialize};

use super::fault::cut;
use super::sshsig::{self, DEVICE, SshSignature, Sshsig, Wire, push};
use super::{BadCredential, BadEvidence, Proof, Purpose, Strength};
use crate::id::CredentialId;

/// An `ssh-ed25519` or `sk-ssh-ed25519@openssh.com` public key. Its one text form is
/// `ALG BASE64`, without a comment.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SshKey {
    point: [u8; 32],
    holder: Holder,
}

/// Where the secret is.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
enum Holder {
    File,
    /// A security key, which signs for one application: `ssh:`, or one that begins so.
    Device {
        application: String,
    },
}

impl SshKey {
    /// The Ed25519 public key.
    pub(super) fn point(&self) -> &[u8; 32] {
        &self.point
    }

    /// From a line as in `id_ed25519.pub`: a comment may follow the key.
    ///
    /// # Errors
    ///
    /// Another type of key, a damaged one, options before it, or another line after it.
    pub fn from_authorized_line(line: &str) -> Result<Self, BadCredential> {
        let line = line.strip_suffix('\n').unwrap_or(line);
        let mut words = line.splitn(3, ' ');
        let (Some(algorithm), Some(base64)) = (words.next(), words.next()) else {
            return Err(BadCredential::SshForm);
        };
        if line.contains('\n') {
            return Err(BadCredential::SshForm);
        }
        Self::from_words(algorithm, base64)
    }

    fn from_words(algorithm: &str, base64: &str) -> Result<Self, BadCredential> {
        if !algorithm.bytes().all(|b| b.is_ascii_graphic()) || base64.len() > BLOB_TEXT_MAX {
            return Err(BadCredential::SshForm);
        }
        if algorithm != FILE && algorithm != DEVICE {
            return Err(BadCredential::SshAlgorithm {
                found: cut(algorithm),
                instead: instead(algorithm),
            });
        }
        let blob = Base64::decode_vec(base64).map_err(|_| BadCredential::SshBlob)?;
        let (point, application) = read_key(&blob).ok_or(BadCredential::SshBlob)?;
        let holder = match application {
            None => Holder::File,
            Some(application) => Holder::Device { application: readable(application)?.to_owned() },
        };
        ed25519(&point).ok_or(BadCredential::Ed25519)?;
        let key = Self { point, holder };
        // What is written of it is what was read: no byte more, no other name inside.
        let same = key.to_string() == [algorithm, base64].join(" ");
        if same { Ok(key) } else { Err(BadCredential::SshBlob) }
    }

    pub(super) fn id(&self) -> CredentialId {
        CredentialId::of_ssh_key(&self.blob())
    }

    pub(super) fn could_be(&self) -> Strength {
        match self.holder {
            Holder::File => Strength::File,
            Holder::Device { .. } => Strength::Verified,
        }
    }

    pub(super) fn verify(
        &self,
        purpose: Purpose,
        statement: &[u8],
        armored: &str,
    ) -> Result<Proof, BadEvidence> {
        let bytes = sshsig::unarmored(armored)?;
        let sshsig = Sshsig::read(&bytes)?;
        sshsig.check(purpose)?;
        if sshsig.key != self.blob() {
            return Err(BadEvidence::OtherKey);
        }
        let signature = SshSignature::read(sshsig.signature).ok_or(BadEvidence::Sshsig)?;
        if signature.algorithm != self.algorithm().as_bytes() {
            return Err(BadEvidence::SignatureAlgorithm);
        }
        let signed = sshsig::signed_bytes(purpose, statement);
        match (&self.holder, signature.trailer) {
            (Holder::File, None) => {
                self.check(&signed, signature.bytes)?;
                Ok(Proof { strength: Strength::File, counter: 0 })
            }
            (Holder::Device { application }, Some(trailer)) => {
                let strength = trailer.strength()?;
                self.check(&trailer.signed(application, &signed), signature.bytes)?;
                Ok(Proof { strength, counter: u32::from_be_bytes(trailer.counter) })
            }
            (Holder::File, Some(_)) | (Holder::Device { .. }, None) => Err(BadEvidence::Sshsig),
        }
    }

    /// Strict: no weak key, no point of low order, one encoding of each number.
    fn check(&self, signed: &[u8], signature: &[u8; 64]) -> Result<(), BadEvidence> {
        let key = ed25519(&self.point).ok_or(BadEvidence::Credential)?;
        let signature = Signature::from_bytes(signature);
        key.verify_strict(signed, &signature).map_err(|_| BadEvidence::Signature)
    }

    fn algorithm(&self) -> &'static str {
        match self.holder {
            Holder::File => FILE,
            Holder::Device { .. } => DEVICE,
        }
    }

    /// As on the wire: PROTOCOL.u2f, "SSH U2F Key formats", and RFC 8709, section 4.
    fn blob(&self) -> Vec<u8> {
        let mut blob = Vec::with_capacity(128);
        push(&mut blob, self.algorithm().as_bytes());
        push(&mut blob, &self.point);
        match &self.holder {
            Holder::File => {}
            Holder::Device { application } => push(&mut blob, application.as_bytes()),
        }
        blob
    }
}

impl TryFrom<String> for SshKey {
    type Error = BadCredential;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (algorithm, base64) = text.split_once(' ').ok_or(BadCredential::SshForm)?;
        if base64.contains(|letter: char| letter.is_whitespace()) {
            return Err(BadCredential::SshForm);
        }
        Self::from_words(algorithm, base64)
    }
}

impl From<SshKey> for String {
    fn from(key: SshKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for SshKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.algorithm(), Base64::encode_string(&self.blob()))
    }
}

/// What to use for a kind of key that is not taken.
fn instead(algorithm: &str) -> &'static str {
    if algorithm.contains("-cert-") {
        return "enrol the ssh-ed25519 key itself, not a certificate for it";
    }
    if algorithm.starts_with("sk-") {
        return "make one with ssh-keygen -t ed25519-sk, or enrol the security key as a passkey";
    }
    if algorithm.starts_with("ssh-") || algorithm.starts_with("ecdsa-") {
        return "make one with ssh-keygen -t ed25519, or -t ed25519-sk on a security key";
    }
    "give the line of a .pub file of type ssh-ed25519 or sk-ssh-ed25519@openssh.com, \
     without options before it"
}

/// OpenSSH makes only such applications. One that is a domain would be a passkey's, for which a
/// website can have the device sign.
fn readable(application: &[u8]) -> Result<&str, BadCredential> {
    let text = std::str::from_utf8(application).map_err(|_| BadCredential::SshApplication)?;
    let plain = text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic());
    let ours = plain && text.starts_with("ssh:");
    if ours { Ok(text) } else { Err(BadCredential::SshApplication) }
}

/// The point, and the application if there is one. What may follow is not looked at.
fn read_key(blob: &[u8]) -> Option<([u8; 32], Option<&[u8]>)> {
    let mut wire = Wire(blob);
    let is_device = wire.text()? == DEVICE.as_bytes();
    let point = wire.text()?.try_into().ok()?;
    let application = if is_device { Some(wire.text()?) } else { None };
    Some((point, application))
}

/// The type of a key in a file.
const FILE: &str = "ssh-ed25519";

/// Largest base64 of a key we decode. The largest that can pass has about 270 letters.
const BLOB_TEXT_MAX: usize = 1_024;
