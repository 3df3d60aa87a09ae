//! Passkeys: assertions of WebAuthn Level 3, verified as section 7.2 has it, and closer.
//!
//! The challenge is the SHA-256 of the statement, so what the authenticator signs names the very
//! text, and anybody can check it later. A person must have been verified; a page in another's
//! frame, a subdomain that nobody enrolled, and a key that came from elsewhere sign for nothing.

use std::collections::BTreeSet;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use p256::ecdsa::signature::Verifier as _;
use portcullis_tlog::{ed25519, unhex};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::client_data::ClientData;
use super::fault::cut;
use super::{BadCredential, BadEvidence, Proof, Strength};
use crate::id::CredentialId;

/// A WebAuthn credential as it was enrolled. What comes in as JSON is checked there; one that is
/// put together otherwise and cannot be read verifies nothing.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Passkey {
    /// Whether it may be copied to other devices of its owner: a synced passkey.
    pub backup_eligible: bool,
    /// The id that its authenticator gave it: 16 to 1023 bytes in lower-case hex.
    pub id: String,
    /// The public key.
    pub key: PasskeyKey,
    /// Where it may sign: `https://console.example`, exactly, with the port if there is one.
    pub origins: BTreeSet<String>,
    /// The domain for which it was made.
    pub rp_id: String,
}

/// A passkey's public key, in lower-case hex.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "UncheckedKey", rename_all = "snake_case")]
pub enum PasskeyKey {
    /// ECDSA on P-256 with SHA-256 (COSE -7): 65 bytes of SEC 1, uncompressed.
    Es256(String),
    /// Ed25519 (COSE -8): 32 bytes.
    Ed25519(String),
}

impl PasskeyKey {
    /// The public key itself.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let (Self::Es256(hex) | Self::Ed25519(hex)) = self;
        unhex(hex).unwrap_or_default()
    }
}

/// What a browser gave when it signed: `AuthenticatorAssertionResponse`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// In lower-case hex.
    pub authenticator_data: String,
    /// The JSON text, byte for byte.
    pub client_data: String,
    /// In lower-case hex: DER for ES256, 64 bytes for Ed25519.
    pub signature: String,
}

impl Passkey {
    pub(super) fn verify(
        &self,
        statement: &[u8],
        assertion: &Assertion,
    ) -> Result<Proof, BadEvidence> {
        assertion.check_size()?;
        self.check_client_data(&ClientData::parse(&assertion.client_data)?, statement)?;
        let bytes = unhex(&assertion.authenticator_data);
        let mut signed = bytes.ok_or(BadEvidence::Hex("authenticator_data"))?;
        let counter = self.check_authenticator_data(&signed)?;
        let signature = unhex(&assertion.signature).ok_or(BadEvidence::Hex("signature"))?;
        signed.extend_from_slice(&Sha256::digest(&assertion.client_data));
        self.key.check(&signed, &signature)?;
        Ok(Proof { strength: Strength::Verified, counter })
    }

    /// Section 7.2, steps 10 to 14: type, challenge, origin, and whose page.
    fn check_client_data(&self, said: &ClientData, statement: &[u8]) -> Result<(), BadEvidence> {
        if said.text("type") != Some("webauthn.get") {
            return Err(BadEvidence::Type);
        }
        let challenge = Base64UrlUnpadded::encode_string(&Sha256::digest(statement));
        if said.text("challenge") != Some(&challenge) {
            return Err(BadEvidence::Challenge);
        }
        let origin = said.text("origin").unwrap_or_default();
        if !self.origins.contains(origin) {
            return Err(BadEvidence::Origin { found: cut(origin) });
        }
        if !said.is_false("crossOrigin") {
            return Err(BadEvidence::CrossOrigin);
        }
        if said.has("topOrigin") {
            return Err(BadEvidence::TopOrigin);
        }
        Ok(())
    }

    /// Section 6.1 for the form, section 7.2, steps 15 to 19, for the rules. Gives the counter.
    fn check_authenticator_data(&self, bytes: &[u8]) -> Result<u32, BadEvidence> {
        let short = BadEvidence::AuthenticatorData;
        let (rp_id_hash, rest) = bytes.split_first_chunk::<32>().ok_or(short.clone())?;
        let (&flags, rest) = rest.split_first().ok_or(short.clone())?;
        let (counter, rest) = rest.split_first_chunk::<4>().ok_or(short.clone())?;
        let has = |flag: u8| flags & flag != 0;

        if has(RESERVED) {
            return Err(BadEvidence::ReservedFlags);
        }
        if has(ATTESTED) {
            return Err(BadEvidence::AttestedData);
        }
        // Extensions are a CBOR map, and signed with the rest. None is asked for, none is read.
        let is_map = |first: &u8| first >> 5 == CBOR_MAP;
        let fits = if has(EXTENSIONS) { rest.first().is_some_and(is_map) } else { rest.is_empty() };
        if !fits {
            return Err(short);
        }
        if *rp_id_hash != <[u8; 32]>::from(Sha256::digest(&self.rp_id)) {
            return Err(BadEvidence::RpId);
        }
        if !has(PRESENT) {
            return Err(BadEvidence::NoPresence);
        }
        if !has(VERIFIED) {
            return Err(BadEvidence::NoVerification);
        }
        if has(BACKUP_ELIGIBLE) != self.backup_eligible {
            return Err(BadEvidence::BackupEligible);
        }
        if has(BACKED_UP) && !self.backup_eligible {
            return Err(BadEvidence::BackupState);
        }
        Ok(u32::from_be_bytes(*counter))
    }

    /// A hash over all of it: whoever reads the id in a statement has read the key and the origins
    /// too, and nobody can put another key behind an id that people voted on.
    pub(super) fn credential_id(&self) -> CredentialId {
        // It was read from its canonical form, and has nothing in it that cannot be written.
        CredentialId::of_passkey(&crate::canonical::to_vec(self).unwrap_or_default())
    }
}

impl Assertion {
    fn check_size(&self) -> Result<(), BadEvidence> {
        let fits = self.client_data.len() <= CLIENT_DATA_BYTES_MAX
            && self.authenticator_data.len() <= AUTHENTICATOR_DATA_HEX_MAX
            && self.signature.len() <= SIGNATURE_HEX_MAX;
        if fits { Ok(()) } else { Err(BadEvidence::TooLarge) }
    }
}

impl PasskeyKey {
    fn check(&self, signed: &[u8], signature: &[u8]) -> Result<(), BadEvidence> {
        match self {
            Self::Es256(text) => {
                let key = es256(text).ok_or(BadEvidence::Credential)?;
                // Strict DER. A high s is as good as a low one: authenticators give both.
                let signature = p256::ecdsa::Signature::from_der(signature);
                let signature = signature.map_err(|_| BadEvidence::SignatureForm)?;
                key.verify(signed, &signature).map_err(|_| BadEvidence::Signature)
            }
            Self::Ed25519(text) => {
                let key = ed25519_hex(text).ok_or(BadEvidence::Credential)?;
                let signature = ed25519_dalek::Signature::from_slice(signature);
                let signature = signature.map_err(|_| BadEvidence::SignatureForm)?;
                key.verify_strict(signed, &signature).map_err(|_| BadEvidence::Signature)
            }
        }
    }
}

/// On the curve, in the one encoding that WebAuthn's coordinates give.
fn es256(text: &str) -> Option<p256::ecdsa::VerifyingKey> {
    let bytes = unhex(text)?;
    let uncompressed = bytes.len() == 65 && bytes.first() == Some(&0x04);
    if uncompressed { p256::ecdsa::VerifyingKey::from_sec1_bytes(&bytes).ok() } else { None }
}

fn ed25519_hex(text: &str) -> Option<ed25519_dalek::VerifyingKey> {
    ed25519(unhex(text)?.as_slice().try_into().ok()?)
}

/// A passkey as it comes in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    backup_eligible: bool,
    id: String,
    key: PasskeyKey,
    origins: Vec<String>,
    rp_id: String,
}

impl TryFrom<Unchecked> for Passkey {
    type Error = BadCredential;

    fn try_from(came: Unchecked) -> Result<Self, Self::Error> {
        let Unchecked { backup_eligible, id, key, origins, rp_id } = came;
        if !unhex(&id).is_some_and(|id| ID_BYTES.contains(&id.len())) {
            return Err(BadCredential::PasskeyId);
        }
        if !is_domain(&rp_id) {
            return Err(BadCredential::RpId);
        }
        let count = origins.len();
        let possible = origins.iter().all(|origin| is_origin(origin, &rp_id));
        let origins: BTreeSet<String> = origins.into_iter().collect();
        if !(1..=ORIGINS_MAX).contains(&count) || origins.len() != count || !possible {
            return Err(BadCredential::Origins);
        }
        Ok(Self { backup_eligible, id, key, origins, rp_id })
    }
}

/// A key as it comes in.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum UncheckedKey {
    Es256(String),
    Ed25519(String),
}

impl TryFrom<UncheckedKey> for PasskeyKey {
    type Error = BadCredential;

    fn try_from(came: UncheckedKey) -> Result<Self, Self::Error> {
        match came {
            UncheckedKey::Es256(text) => match es256(&text) {
                Some(_) => Ok(Self::Es256(text)),
                None => Err(BadCredential::Es256),
            },
            UncheckedKey::Ed25519(text) => match ed25519_hex(&text) {
                Some(_) => Ok(Self::Ed25519(text)),
                None => Err(BadCredential::Ed25519),
            },
        }
    }
}

/// Labels of letters, digits and hyphens, in lower case.
fn is_domain(text: &str) -> bool {
    let plain = |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(plain);
    text.len() <= 253 && text.split('.').all(label)
}

/// Whether a browser could write it for a credential of that domain: RFC 6454, section 6.2, and
/// WebAuthn Level 3, 5.1.3, on which domains an origin may ask for.
fn is_origin(origin: &str, rp_id: &str) -> bool {
    let (rest, standard) = match (origin.strip_prefix("https://"), rp_id) {
        (Some(rest), _) => (rest, 443),
        (None, "localhost") => (origin.strip_prefix("http://").unwrap_or_default(), 80),
        (None, _) => return false,
    };
    let (host, port_fits) = match rest.split_once(':') {
        None => (rest, true),
        Some((host, port)) => (host, is_port(port, standard)),
    };
    let under = host.strip_suffix(rp_id).is_some_and(|sub| sub.is_empty() || sub.ends_with('.'));
    port_fits && under && is_domain(host)
}

/// A port as browsers write it: in plain digits, and not at all if it is the scheme's own.
fn is_port(text: &str, standard: u16) -> bool {
    let port = text.parse::<u16>().ok().filter(|port| *port != standard && *port != 0);
    port.is_some_and(|port| port.to_string() == text)
}

const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const BACKUP_ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
const ATTESTED: u8 = 0x40;
const EXTENSIONS: u8 = 0x80;
const RESERVED: u8 = 0x22;

/// RFC 8949, section 3.1: major type 5.
const CBOR_MAP: u8 = 5;

/// WebAuthn Level 3, section 4, "Credential ID".
const ID_BYTES: std::ops::RangeInclusive<usize> = 16..=1_023;

/// A console has a name or two, and a test address.
const ORIGINS_MAX: usize = 8;

/// Largest client data we read. Browsers write some 200 bytes.
const CLIENT_DATA_BYTES_MAX: usize = 4 * 1_024;

/// 1 KiB: 37 bytes, and room for extensions that a client asked for by itself.
const AUTHENTICATOR_DATA_HEX_MAX: usize = 2 * 1_024;

/// The DER of two numbers of 33 bytes has 72. A somewhat larger one is said to be damaged.
const SIGNATURE_HEX_MAX: usize = 2 * 128;
