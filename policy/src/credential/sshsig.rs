//! Signatures of OpenSSH as bytes: PROTOCOL.sshsig, PROTOCOL.u2f and RFC 4251, section 5.
//!
//! Read by hand, because what matters here is what the usual readers leave to their callers:
//! `ssh-keygen -Y verify` and the `ssh-key` crate accept a signature whose security key was never
//! touched. Both are judges in the tests.

use base64ct::{Base64, Encoding as _};
use sha2::{Digest as _, Sha256, Sha512};

use super::fault::cut;
use super::{BadEvidence, Purpose, Strength};

/// The bytes in the armor, which must be exactly the armor that `ssh-keygen` puts around them.
pub(super) fn unarmored(text: &str) -> Result<Vec<u8>, BadEvidence> {
    if text.len() > SSHSIG_TEXT_MAX {
        return Err(BadEvidence::TooLarge);
    }
    let inner = text.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
    let base64: String = inner.ok_or(BadEvidence::Armor)?.split('\n').collect();
    let bytes = Base64::decode_vec(&base64).map_err(|_| BadEvidence::Armor)?;
    if armored(&bytes) == text { Ok(bytes) } else { Err(BadEvidence::Armor) }
}

/// As in OpenSSH's `sshsig_armor`: lines of 70 columns.
pub(super) fn armored(bytes: &[u8]) -> String {
    let mut text = BEGIN.to_owned();
    for (letter, at) in Base64::encode_string(bytes).chars().zip(0_usize..) {
        if at > 0 && at.is_multiple_of(70) {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push_str(END);
    text
}

/// PROTOCOL.sshsig, section 2, "Blob format".
pub(super) struct Sshsig<'a> {
    version: u32,
    pub(super) key: &'a [u8],
    namespace: &'a [u8],
    reserved: &'a [u8],
    hash_algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
}

impl<'a> Sshsig<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, BadEvidence> {
        Self::fields(bytes).ok_or(BadEvidence::Sshsig)
    }

    fn fields(bytes: &'a [u8]) -> Option<Self> {
        let mut wire = Wire(bytes.strip_prefix(MAGIC)?);
        let sshsig = Self {
            version: wire.number()?,
            key: wire.text()?,
            namespace: wire.text()?,
            reserved: wire.text()?,
            hash_algorithm: wire.text()?,
            signature: wire.text()?,
        };
        wire.end()?;
        Some(sshsig)
    }

    pub(super) fn check(&self, purpose: Purpose) -> Result<(), BadEvidence> {
        if self.version != 1 {
            return Err(BadEvidence::Version(self.version));
        }
        let expected = purpose.namespace();
        if self.namespace != expected.as_bytes() {
            let found = cut(&String::from_utf8_lossy(self.namespace));
            return Err(BadEvidence::Namespace { expected, found });
        }
        if !self.reserved.is_empty() {
            return Err(BadEvidence::Reserved);
        }
        if self.hash_algorithm != HASH {
            return Err(BadEvidence::HashAlgorithm);
        }
        Ok(())
    }
}

/// PROTOCOL.sshsig, section 3, "Signed Data". All of it is known: nothing is taken from evidence.
pub(super) fn signed_bytes(purpose: Purpose, statement: &[u8]) -> Vec<u8> {
    let mut signed = Vec::with_capacity(160);
    signed.extend_from_slice(MAGIC);
    push(&mut signed, purpose.namespace().as_bytes());
    push(&mut signed, b"");
    push(&mut signed, HASH);
    push(&mut signed, &Sha512::digest(statement));
    signed
}

/// The signature itself: RFC 8709, section 6, and for a device PROTOCOL.u2f, "SSH U2F signatures".
pub(super) struct SshSignature<'a> {
    pub(super) algorithm: &'a [u8],
    pub(super) bytes: &'a [u8; 64],
    pub(super) trailer: Option<Trailer>,
}

impl<'a> SshSignature<'a> {
    pub(super) fn read(blob: &'a [u8]) -> Option<Self> {
        let mut wire = Wire(blob);
        let algorithm = wire.text()?;
        let bytes = wire.text()?.try_into().ok()?;
        let trailer = if algorithm == DEVICE.as_bytes() {
            Some(Trailer { flags: wire.byte()?, counter: wire.array()? })
        } else {
            None
        };
        wire.end()?;
        Some(Self { algorithm, bytes, trailer })
    }
}

/// What the device says besides.
pub(super) struct Trailer {
    flags: u8,
    pub(super) counter: [u8; 4],
}

impl Trailer {
    /// Touched, or touched and verified. A security key says nothing else: an authenticator that
    /// speaks of backups (0x08, 0x10) or extensions (0x80) is a passkey's, and not the hardware
    /// that this type of key promises.
    pub(super) fn strength(&self) -> Result<Strength, BadEvidence> {
        match self.flags {
            PRESENT => Ok(Strength::Presence),
            PRESENT_AND_VERIFIED => Ok(Strength::Verified),
            0x00 | VERIFIED => Err(BadEvidence::NoPresence),
            other => Err(BadEvidence::SkFlags(other)),
        }
    }

    /// PROTOCOL.u2f: what the device signs, around what it was asked to sign.
    pub(super) fn signed(&self, application: &str, message: &[u8]) -> Vec<u8> {
        let mut signed = Vec::with_capacity(69);
        signed.extend_from_slice(&Sha256::digest(application));
        signed.push(self.flags);
        signed.extend_from_slice(&self.counter);
        signed.extend_from_slice(&Sha256::digest(message));
        signed
    }
}

/// RFC 4251, section 5: reads from the front. `None` is the end come too soon.
pub(super) struct Wire<'a>(pub(super) &'a [u8]);

impl<'a> Wire<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn number(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// Appends a string. Ours are short; one of 4 GiB would only fail to verify.
pub(super) fn push(out: &mut Vec<u8>, text: &[u8]) {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text);
}

/// The type of a security key, and of its signatures.
pub(super) const DEVICE: &str = "sk-ssh-ed25519@openssh.com";

const MAGIC: &[u8] = b"SSHSIG";
const HASH: &[u8] = b"sha512";

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----\n";
const END: &str = "\n-----END SSH SIGNATURE-----\n";

const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const PRESENT_AND_VERIFIED: u8 = 0x05;

/// Largest armored signature we read. The largest that can pass, with an application of 128
/// characters and the longest namespace, has about 700 bytes.
const SSHSIG_TEXT_MAX: usize = 4 * 1_024;
