//! Signed notes and checkpoints, as C2SP has them (c2sp.org/signed-note, c2sp.org/tlog-checkpoint):
//! a few lines of text, and signatures of whoever stands for it. Any tool for transparency logs
//! reads them.

mod cosignature;
mod quorum;

use std::fmt;

use alloy_primitives::B256;
use base64ct::{Base64, Encoding as _};
use p256::ecdsa::signature::Verifier as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{ed25519, unhex};

pub use self::cosignature::Witness;
pub use self::quorum::{Cosigned, QuorumFault, Witnesses};

/// A key that signs notes: the checkpoint key in the token, or a witness.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "Unchecked")]
pub enum NoteKey {
    /// Ed25519 (RFC 8032): 32 bytes in lower-case hex. Signature type 0x01.
    Ed25519(String),
    /// ECDSA on P-256 with SHA-256: 65 bytes of SEC 1, uncompressed, in lower-case hex. Signature
    /// type 0x02, for tokens without Ed25519.
    P256(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Unchecked {
    Ed25519(String),
    P256(String),
}

impl TryFrom<Unchecked> for NoteKey {
    type Error = NoteFault;

    fn try_from(key: Unchecked) -> Result<Self, NoteFault> {
        match key {
            Unchecked::Ed25519(hex) => Self::ed25519(&unhex(&hex).ok_or(NoteFault::Key)?),
            Unchecked::P256(hex) => Self::p256(&unhex(&hex).ok_or(NoteFault::Key)?),
        }
    }
}

impl NoteKey {
    /// # Errors
    ///
    /// [`NoteFault::Key`] unless these are 32 bytes that are a point.
    pub fn ed25519(bytes: &[u8]) -> Result<Self, NoteFault> {
        point(bytes).ok_or(NoteFault::Key)?;
        Ok(Self::Ed25519(hex::encode(bytes)))
    }

    /// # Errors
    ///
    /// [`NoteFault::Key`] unless these are 65 bytes that are a point of the curve.
    pub fn p256(bytes: &[u8]) -> Result<Self, NoteFault> {
        let is_long = bytes.len() == POINT_BYTES;
        let point = p256::ecdsa::VerifyingKey::from_sec1_bytes(bytes).ok().filter(|_| is_long);
        point.map(|_| Self::P256(hex::encode(bytes))).ok_or(NoteFault::Key)
    }

    fn bytes(&self) -> Vec<u8> {
        let (Self::Ed25519(hex) | Self::P256(hex)) = self;
        unhex(hex).unwrap_or_default()
    }

    /// The key's id under a name: four bytes that say which key a signature is for.
    pub fn id(&self, name: &str) -> [u8; 4] {
        let hash = match self {
            Self::Ed25519(_) => {
                Sha256::new().chain_update(name).chain_update([b'\n', 1]).chain_update(self.bytes())
            }
            Self::P256(_) => Sha256::new().chain_update(P256_SPKI).chain_update(self.bytes()),
        };
        let [a, b, c, d, ..] = <[u8; 32]>::from(hash.finalize());
        [a, b, c, d]
    }

    /// Whether these bytes are a signature by it over a text.
    pub fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(_) => {
                let signature = <[u8; 64]>::try_from(signature);
                let (Some(key), Ok(signature)) = (point(&self.bytes()), signature) else {
                    return false;
                };
                key.verify_strict(text, &signature.into()).is_ok()
            }
            Self::P256(_) => {
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&self.bytes());
                let signature = p256::ecdsa::DerSignature::from_bytes(signature);
                matches!((key, signature), (Ok(key), Ok(one)) if key.verify(text, &one).is_ok())
            }
        }
    }

    /// The signature as notes have it, of what a token gives for it: `r || s` for P-256. `None`: it
    /// is none.
    pub fn encoded(&self, raw: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Ed25519(_) => (raw.len() == 64).then(|| raw.to_vec()),
            Self::P256(_) => {
                let signature = p256::ecdsa::Signature::from_slice(raw).ok()?;
                Some(signature.to_der().as_bytes().to_vec())
            }
        }
    }
}

/// A key and its name: what somebody who checks notes has to know beforehand.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verifier {
    /// For a journal, its [`origin`].
    pub name: String,
    /// The key.
    pub key: NoteKey,
}

impl Verifier {
    /// From one line with name, id and key (a *vkey*), as [`Verifier`] prints it and other tools
    /// do.
    ///
    /// # Errors
    ///
    /// [`NoteFault::Vkey`] if it is none, or of a kind that we do not know.
    pub fn parse(vkey: &str) -> Result<Self, NoteFault> {
        let mut parts = vkey.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteFault::Vkey);
        };
        let bytes = Base64::decode_vec(key).map_err(|_| NoteFault::Vkey)?;
        let key = match bytes.split_first() {
            Some((1, key)) => NoteKey::ed25519(key)?,
            Some((2, key)) => NoteKey::p256(key.strip_prefix(P256_SPKI).ok_or(NoteFault::Vkey)?)?,
            Some(_) | None => return Err(NoteFault::Vkey),
        };
        let verifier = Self { name: name.to_owned(), key };
        // One line for one key: the id is the one that follows, and the name can be one.
        let same = verifier.to_string() == vkey && is_name(name) && !id.is_empty();
        if same { Ok(verifier) } else { Err(NoteFault::Vkey) }
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, key) = match &self.key {
            NoteKey::Ed25519(_) => (1, self.key.bytes()),
            NoteKey::P256(_) => (2, [P256_SPKI, &self.key.bytes()].concat()),
        };
        let encoded = Base64::encode_string(&[&[kind][..], &key].concat());
        write!(formatter, "{}+{}+{encoded}", self.name, hex::encode(self.key.id(&self.name)))
    }
}

/// What a journal was, up to a number of records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checkpoint {
    /// Which journal: [`origin`] of its vault.
    pub origin: String,
    /// How many records.
    pub size: u64,
    /// The root of the tree over them.
    pub root: B256,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{self}")
    }

    /// Reads one back. Extension lines may follow: they are signed and cosigned with the rest, say
    /// nothing of the tree, and stay in the note's text alone.
    ///
    /// # Errors
    ///
    /// [`NoteFault::Text`] if it is none.
    pub fn parse(text: &str) -> Result<Self, NoteFault> {
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(NoteFault::Text);
        };
        let size = size.parse().map_err(|_| NoteFault::Text)?;
        let checkpoint = Self { origin: origin.to_owned(), size, root: hash(root)? };
        // One text for one checkpoint: no leading zeroes, no other base64.
        let more = text.strip_prefix(&checkpoint.text()).ok_or(NoteFault::Text)?;
        if !origin.is_empty() && are_lines(more) { Ok(checkpoint) } else { Err(NoteFault::Text) }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = Base64::encode_string(self.root.as_slice());
        write!(formatter, "{}\n{}\n{root}\n", self.origin, self.size)
    }
}

/// The origin of a vault's journal, which is its key's name too.
pub fn origin(vault: B256) -> String {
    format!("portcullis/{}", hex::encode(vault))
}

/// A text and who signed it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// Lines, each with its end.
    pub text: String,
    /// In the order of the note.
    pub signatures: Vec<NoteSignature>,
}

/// One of its signatures.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NoteSignature {
    /// The key's name.
    pub name: String,
    /// The key's id.
    pub id: [u8; 4],
    /// What it made of the text.
    pub bytes: Vec<u8>,
}

impl Note {
    /// Reads one, and verifies nothing.
    ///
    /// # Errors
    ///
    /// If it is none, longer than [`NOTE_BYTES_MAX`], or signed by more than
    /// [`SIGNATURES_MAX`].
    pub fn parse(note: &str) -> Result<Self, NoteFault> {
        let is_plain = |one: char| one == '\n' || !one.is_ascii_control();
        if note.len() > NOTE_BYTES_MAX || !note.chars().all(is_plain) {
            return Err(NoteFault::Note);
        }
        let (text, signed) = note.rsplit_once("\n\n").ok_or(NoteFault::Note)?;
        let lines = signed.strip_suffix('\n').ok_or(NoteFault::Note)?.split('\n');
        // Counted first: what comes from anybody is not worth more work than that.
        if lines.clone().nth(SIGNATURES_MAX).is_some() {
            return Err(NoteFault::TooMany);
        }
        let signatures: Result<Vec<_>, NoteFault> = lines.map(NoteSignature::parse).collect();
        Ok(Self { text: format!("{text}\n"), signatures: signatures? })
    }

    /// Whether this key signed it.
    ///
    /// # Errors
    ///
    /// If it did not, or if one that says it is its signature is none.
    pub fn check(&self, by: &Verifier) -> Result<(), NoteFault> {
        let Verifier { name, key } = by;
        // A signature of a known key that is none spoils the note.
        let own = self.own(name, key.id(name))?;
        if own.iter().all(|one| key.verifies(self.text.as_bytes(), &one.bytes)) {
            Ok(())
        } else {
            Err(NoteFault::Signature(name.to_owned()))
        }
    }

    /// What says that it is one key's: at least one, and few. Each costs a verification, and
    /// anybody can add a line.
    fn own(&self, name: &str, id: [u8; 4]) -> Result<Vec<&NoteSignature>, NoteFault> {
        let own = self.signatures.iter().filter(|one| one.name == name && one.id == id);
        let own: Vec<_> = own.take(OWN_MAX.saturating_add(1)).collect();
        match own.len() {
            0 => Err(NoteFault::Unsigned(name.to_owned())),
            1..=OWN_MAX => Ok(own),
            _ => Err(NoteFault::Repeated(name.to_owned())),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.text)?;
        self.signatures.iter().try_for_each(|one| writeln!(formatter, "{one}"))
    }
}

impl NoteSignature {
    /// Reads one line.
    ///
    /// # Errors
    ///
    /// [`NoteFault::Note`] if it is no signature line.
    pub fn parse(line: &str) -> Result<Self, NoteFault> {
        let (name, encoded) = line
            .strip_prefix("\u{2014} ")
            .and_then(|rest| rest.split_once(' '))
            .filter(|(name, _)| is_name(name))
            .ok_or(NoteFault::Note)?;
        let bytes = Base64::decode_vec(encoded).map_err(|_| NoteFault::Note)?;
        let (id, bytes) = bytes.split_first_chunk::<4>().ok_or(NoteFault::Note)?;
        Ok(Self { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = Base64::encode_string(&[&self.id[..], &self.bytes].concat());
        write!(formatter, "\u{2014} {} {encoded}", self.name)
    }
}

/// Not a note, or not one that counts.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoteFault {
    /// The form.
    #[error("it is no signed note (c2sp.org/signed-note)")]
    Note,
    /// The text.
    #[error("its text is no checkpoint (c2sp.org/tlog-checkpoint): origin, size and root")]
    Text,
    /// A key and its name.
    #[error("it is no verifier key for notes: NAME+ID+KEY, in one line")]
    Vkey,
    /// A public key.
    #[error("it is no public key for notes: 32 bytes of Ed25519, or 65 of P-256")]
    Key,
    /// Nobody who counts.
    #[error("{0} did not sign it")]
    Unsigned(String),
    /// Something that says it is theirs.
    #[error("what says that it is the signature of {0} is none")]
    Signature(String),
    /// More signatures than anybody needs.
    #[error("it has more than {SIGNATURES_MAX} signatures")]
    TooMany,
    /// One key over and over.
    #[error("more than {OWN_MAX} of its lines say that they are the signature of {0}")]
    Repeated(String),
}

/// Lines with their ends, and none of them empty.
fn are_lines(text: &str) -> bool {
    let Some(lines) = text.strip_suffix('\n') else { return text.is_empty() };
    lines.split('\n').all(|line| !line.is_empty())
}

fn point(bytes: &[u8]) -> Option<ed25519_dalek::VerifyingKey> {
    ed25519(bytes.try_into().ok()?)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|one| one.is_whitespace() || one == '+')
}

/// One hash of a proof or a root: 32 bytes in base64.
pub(crate) fn hash(text: &str) -> Result<B256, NoteFault> {
    let bytes = Base64::decode_vec(text).map_err(|_| NoteFault::Text)?;
    B256::try_from(bytes.as_slice()).map_err(|_| NoteFault::Text)
}

/// Room for sixteen signatures of any kind that there is.
pub const NOTE_BYTES_MAX: usize = 128 * 1_024;

/// Signatures of one note. The specification wants room for sixteen.
pub const SIGNATURES_MAX: usize = 64;

/// Signatures of one key on one note: a witness may have cosigned it at two times.
const OWN_MAX: usize = 2;

const POINT_BYTES: usize = 65;

/// What comes before the point in the DER of a P-256 public key (RFC 5480).
const P256_SPKI: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

#[cfg(test)]
pub(crate) mod tests;
