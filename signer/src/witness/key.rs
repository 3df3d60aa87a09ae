//! The witness's key: made once, in a file that nobody but its owner may read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer as _, SigningKey};
use portcullis_policy::note::{NoteFault, Witness};
use zeroize::Zeroizing;

use super::folder;
use crate::keys::rand_bytes;

/// The secret half. Wiped on drop, and never printed.
pub(super) struct Secret(SigningKey);

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The disk said no.
    #[error("{path:?} cannot be made or read")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody else may read it.
    #[error("{path:?} has mode {mode:03o}; others may read it (chmod 600)")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is something else.
    #[error("{path:?} holds no key: 64 hex digits in one line")]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The operating system gave no randomness.
    #[error("there is no randomness for a key")]
    Random,
    /// What it is called.
    #[error("name: a witness is named by one word without a plus, like witness.example.com/one")]
    Name(#[source] NoteFault),
}

impl Secret {
    /// Makes a new one, where there is no file yet. When this returns, it lasts.
    pub(super) fn make(path: &Path) -> Result<(), SecretError> {
        let bytes = Zeroizing::new(rand_bytes::<32>().map_err(|_| SecretError::Random)?);
        let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(hex::encode(*bytes))));
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            File::open(folder::parent(path))?.sync_all()
        };
        write().map_err(|source| SecretError::Io { path: path.into(), source })
    }

    pub(super) fn read(path: &Path) -> Result<Self, SecretError> {
        let io = |source| SecretError::Io { path: path.into(), source };
        let file = File::open(path).map_err(io)?;
        // Asked of the open file, so that it cannot be another one than the one we read.
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SecretError::Exposed { path: path.into(), mode });
        }
        let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX));
        let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
        file.take(limit).read_to_string(&mut text).map_err(io)?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let bytes = hex::decode(line).ok().map(Zeroizing::new);
        let seed = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
        let seed = Zeroizing::new(seed.ok_or(SecretError::NoKey { path: path.into() })?);
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// The public half under a name.
    pub(super) fn witness(&self, name: &str) -> Result<Witness, SecretError> {
        Witness::new(name, self.0.verifying_key().as_bytes()).map_err(SecretError::Name)
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// A key and its newline, and one more to see that there is more.
const FILE_BYTES_MAX: usize = 66;
