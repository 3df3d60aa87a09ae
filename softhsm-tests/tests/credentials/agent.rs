//! An SSH agent (draft-miller-ssh-agent) that holds one security key made of software.
//!
//! With it the real `ssh-keygen` writes the signature of a security key that nobody has: it builds
//! what is to be signed, and the armor. This file does the device's part.

use std::io::{Read, Result, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;

use base64ct::{Base64, Encoding as _};
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha256};

pub(crate) const DEVICE: &[u8] = b"sk-ssh-ed25519@openssh.com";

/// A string of RFC 4251.
pub(crate) fn text(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("short");
    [&length.to_be_bytes(), bytes].concat()
}

/// A security key made of software: PROTOCOL.u2f.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) secret: SigningKey,
    pub(crate) application: &'static str,
    pub(crate) flags: u8,
    pub(crate) counter: u32,
}

impl Device {
    pub(crate) fn touched() -> Self {
        let secret = SigningKey::from_bytes(&[21; 32]);
        Self { secret, application: "ssh:", flags: 0x05, counter: 7 }
    }

    pub(crate) fn blob(&self) -> Vec<u8> {
        let point = self.secret.verifying_key();
        [text(DEVICE), text(point.as_bytes()), text(self.application.as_bytes())].concat()
    }

    pub(crate) fn line(&self) -> String {
        format!("sk-ssh-ed25519@openssh.com {}", Base64::encode_string(&self.blob()))
    }

    /// The signature blob.
    pub(crate) fn sign(&self, asked: &[u8]) -> Vec<u8> {
        let said = [&[self.flags], self.counter.to_be_bytes().as_slice()].concat();
        let (application, asked) = (Sha256::digest(self.application), Sha256::digest(asked));
        let bytes = self.secret.sign(&[&application[..], &said, &asked[..]].concat()).to_bytes();
        [text(DEVICE), text(&bytes), said].concat()
    }

    /// Answers at a socket in the folder, until the process ends.
    pub(crate) fn serve(&self, folder: &Path) -> PathBuf {
        let socket = folder.join("agent");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let device = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // It ends when the caller hangs up.
                device.answer(stream).ok();
            }
        });
        socket
    }

    fn answer(&self, mut stream: UnixStream) -> Result<()> {
        loop {
            let mut length = [0; 4];
            stream.read_exact(&mut length)?;
            let mut asked = vec![0; usize::try_from(u32::from_be_bytes(length)).expect("short")];
            stream.read_exact(&mut asked)?;
            let answer = match asked.split_first() {
                Some((11, _)) => {
                    [&[12, 0, 0, 0, 1][..], &text(&self.blob()), &text(b"a device")].concat()
                }
                Some((13, rest)) => [&[14], &text(&self.sign(signed(rest)))[..]].concat(),
                _ => vec![5],
            };
            stream.write_all(&text(&answer))?;
        }
    }
}

/// Of a request to sign, what is to be signed: the second string.
fn signed(request: &[u8]) -> &[u8] {
    let (_, rest) = string(request);
    string(rest).0
}

fn string(bytes: &[u8]) -> (&[u8], &[u8]) {
    let length = u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"));
    bytes[4..].split_at(usize::try_from(length).expect("short"))
}
