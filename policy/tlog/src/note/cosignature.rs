//! Cosignatures of witnesses (c2sp.org/tlog-cosignature, `cosignature/v1` with Ed25519): when a
//! witness saw a checkpoint, and that it is the continuation of every one that it saw before.
//!
//! A key that signs checkpoints and a key that cosigns them are different types: neither passes for
//! the other.

use std::fmt;

use base64ct::{Base64, Encoding as _};
use ed25519_dalek::VerifyingKey;
use sha2::{Digest as _, Sha256};

use super::{Note, NoteFault, NoteSignature, is_name, point};

/// A witness, as somebody knows it beforehand.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Witness {
    name: String,
    pub(super) key: VerifyingKey,
}

impl Witness {
    /// # Errors
    ///
    /// It cannot be a name in a note, or these 32 bytes are no key.
    pub fn new(name: &str, key: &[u8]) -> Result<Self, NoteFault> {
        if !is_name(name) || name.chars().any(char::is_control) {
            return Err(NoteFault::Vkey);
        }
        let key = point(key).ok_or(NoteFault::Key)?;
        Ok(Self { name: name.to_owned(), key })
    }

    /// From one line with name, id and key (a *vkey*), as [`Witness`] prints it and other tools do.
    ///
    /// # Errors
    ///
    /// [`NoteFault::Vkey`] if it is none of a witness.
    pub fn parse(vkey: &str) -> Result<Self, NoteFault> {
        let mut parts = vkey.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteFault::Vkey);
        };
        let bytes = Base64::decode_vec(key).map_err(|_| NoteFault::Vkey)?;
        let Some((&KIND, key)) = bytes.split_first() else { return Err(NoteFault::Vkey) };
        let witness = Self::new(name, key)?;
        if witness.to_string() == vkey { Ok(witness) } else { Err(NoteFault::Vkey) }
    }

    /// Its key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> [u8; 4] {
        let hash = Sha256::new().chain_update(&self.name).chain_update([b'\n', KIND]);
        let [a, b, c, d, ..] = <[u8; 32]>::from(hash.chain_update(self.key.as_bytes()).finalize());
        [a, b, c, d]
    }

    /// Cosigns a checkpoint's text at a time, in seconds since 1970. `sign` makes the signature of
    /// the key's other half.
    pub fn cosign(
        &self,
        text: &str,
        seconds: u64,
        sign: impl FnOnce(&[u8]) -> [u8; SIGNATURE_BYTES],
    ) -> NoteSignature {
        let signature = sign(message(text, seconds).as_bytes());
        let bytes = [&seconds.to_be_bytes()[..], &signature].concat();
        NoteSignature { name: self.name.clone(), id: self.id(), bytes }
    }

    /// When it cosigned a note last, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// If it did not, or if one that says it is its cosignature is none.
    pub fn check(&self, note: &Note) -> Result<u64, NoteFault> {
        let mut newest = 0;
        for one in note.own(&self.name, self.id())? {
            let time = self.verified(&note.text, one);
            newest = time.ok_or_else(|| NoteFault::Signature(self.name.clone()))?.max(newest);
        }
        Ok(newest)
    }

    fn verified(&self, text: &str, cosignature: &NoteSignature) -> Option<u64> {
        let (seconds, signature) = cosignature.bytes.split_first_chunk::<8>()?;
        let signature = <[u8; SIGNATURE_BYTES]>::try_from(signature).ok()?;
        let seconds = u64::from_be_bytes(*seconds);
        let message = message(text, seconds);
        let is_good = self.key.verify_strict(message.as_bytes(), &signature.into()).is_ok();
        (is_good && i64::try_from(seconds).is_ok()).then_some(seconds)
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = Base64::encode_string(&[&[KIND][..], self.key.as_bytes()].concat());
        write!(formatter, "{}+{}+{encoded}", self.name, hex::encode(self.id()))
    }
}

/// What a witness signs.
fn message(text: &str, seconds: u64) -> String {
    format!("cosignature/v1\ntime {seconds}\n{text}")
}

/// The kind of key: Ed25519, for cosignatures alone.
const KIND: u8 = 4;

/// Of Ed25519.
const SIGNATURE_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::super::Verifier;
    use super::super::tests::{KEY, signed};
    use super::*;
    use crate::note::Checkpoint;

    /// A witness that runs: its key as the tests of transparency-dev/formats name it.
    const PUBLISHED: &str = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";

    const NAME: &str = "witness.example.com/w1";

    fn secret() -> SigningKey {
        SigningKey::from_bytes(&[4; 32])
    }

    fn witness() -> Witness {
        Witness::new(NAME, secret().verifying_key().as_bytes()).unwrap()
    }

    fn note() -> Note {
        let checkpoint = Checkpoint { origin: "journal".into(), size: 20, root: [3; 32].into() };
        signed(&checkpoint)
    }

    fn cosigned(seconds: u64) -> Note {
        let mut note = note();
        let sign = |message: &[u8]| secret().sign(message).to_bytes();
        note.signatures.push(witness().cosign(&note.text, seconds, sign));
        note
    }

    #[test]
    fn a_published_key_of_a_witness_is_read_and_written_as_it_stands() {
        let witness = Witness::parse(PUBLISHED).unwrap();
        assert_eq!((witness.name(), witness.to_string().as_str()), ("remora.n621.de", PUBLISHED));
        for bad in [
            PUBLISHED.replace("da77", "da78"),
            PUBLISHED.replace("+BOvN", "+AOvN"),
            PUBLISHED.replace("remora.", "remora "),
            PUBLISHED.replace("remora.n621.de", ""),
            PUBLISHED.replace('+', "-"),
            format!("{PUBLISHED}\n"),
            format!("{PUBLISHED}AAAA"),
        ] {
            assert!(Witness::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cosignature_is_what_the_specification_says_byte_for_byte() {
        // Put together here once more, from the page and not from the code above.
        let public = secret().verifying_key().to_bytes();
        let mut hashed = b"witness.example.com/w1\n\x04".to_vec();
        hashed.extend(public);
        let id = &Sha256::digest(&hashed)[..4];
        let body = "journal\n20\nAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\n";
        let said = format!("cosignature/v1\ntime 1679315147\n{body}");
        let signature = secret().sign(said.as_bytes()).to_bytes();
        let bytes = [id, &[0, 0, 0, 0, 0x64, 0x18, 0x50, 0xcb], &signature].concat();
        let line = format!("\u{2014} {NAME} {}", Base64::encode_string(&bytes));
        let note = cosigned(1_679_315_147);
        assert_eq!((note.text.as_str(), note.signatures[1].to_string()), (body, line));
        let read = Note::parse(&note.to_string()).unwrap();
        let key = Witness::parse(&witness().to_string()).unwrap();
        assert_eq!(key.check(&read), Ok(1_679_315_147));
    }

    /// Of a log and a witness that run, as the tests of another program keep it.
    #[test]
    fn a_cosignature_of_another_program_is_verified() {
        let note = "arche2025h1.staging.ct.transparency.dev\n1432088532\n\
            U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n\n\
            \u{2014} arche2025h1.staging.ct.transparency.dev\u{20}\
            ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA2\
            3oHP7Ry1k3ZFWwQ=\n\
            \u{2014} witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3\
            g2RKS4\
            +eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==\n\
            \u{2014} remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g\
            /KSiXCg9\
            DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==\n";
        let note = Note::parse(note).unwrap();
        let witness = Witness::parse(PUBLISHED).unwrap();
        assert_eq!(witness.check(&note), Ok(1_779_573_024));
        let changed = Note { text: note.text.replacen("532\n", "533\n", 1), ..note };
        assert_eq!(witness.check(&changed), Err(NoteFault::Signature("remora.n621.de".into())));
    }

    #[test]
    fn another_time_text_or_key_is_noticed_and_the_newest_of_several_counts() {
        let good = cosigned(1_000);
        assert_eq!(witness().check(&good), Ok(1_000));
        assert_eq!(witness().check(&note()), Err(NoteFault::Unsigned(NAME.into())));
        let spoiled = Err(NoteFault::Signature(NAME.into()));
        for at in 0..good.signatures[1].bytes.len() {
            let mut bent = good.clone();
            bent.signatures[1].bytes[at] ^= 1;
            assert_eq!(witness().check(&bent), spoiled, "byte {at}");
        }
        let longer = Note { text: format!("{}more\n", good.text), ..good.clone() };
        assert_eq!(witness().check(&longer), spoiled);
        assert_eq!(witness().check(&cosigned(u64::MAX)), spoiled);
        let mut twice = cosigned(2_000);
        twice.signatures.extend(good.signatures.clone());
        assert_eq!(witness().check(&twice), Ok(2_000));
        let other = Witness::new(NAME, SigningKey::from_bytes(&[5; 32]).verifying_key().as_bytes());
        assert_eq!(other.unwrap().check(&good), Err(NoteFault::Unsigned(NAME.into())));
    }

    #[test]
    fn a_key_that_signs_checkpoints_passes_for_no_witness_and_the_other_way_round() {
        let journal = Verifier { name: NAME.into(), key: KEY.public() }.to_string();
        assert_eq!(Witness::parse(&journal), Err(NoteFault::Vkey));
        assert_eq!(Verifier::parse(&witness().to_string()), Err(NoteFault::Vkey));
    }
}
