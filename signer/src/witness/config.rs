//! What security writes for its witness: one TOML file, every field named or refused.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use portcullis_policy::note::{NoteFault, Verifier};
use serde::Deserialize;

use super::folder;
use super::holds::HOLDS;

/// The file, understood.
#[derive(Clone, Debug)]
pub struct WitnessConfig {
    /// Where signers connect.
    pub listen: SocketAddr,
    /// Key, holds, and what was cosigned last.
    pub folder: PathBuf,
    /// The witness's name in its cosignatures.
    pub name: String,
    /// The journals that it knows. Each name stands for one, which may have several keys.
    pub journals: Vec<Verifier>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: SocketAddr,
    folder: PathBuf,
    name: String,
    journals: Vec<String>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WitnessConfigError {
    /// The file cannot be read.
    #[error("{path:?} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file does not say what it must, or says something else too.
    #[error("{path:?} is not a configuration of a witness: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what, as the parser says it.
        message: String,
    },
    /// A journal's key.
    #[error("journals: {vkey:?} cannot be used")]
    Journal {
        /// As written.
        vkey: String,
        /// Why.
        #[source]
        source: NoteFault,
    },
    /// One key twice.
    #[error("journals: {vkey} stands there twice")]
    Twice {
        /// As written.
        vkey: String,
    },
    /// More keys than a change of keys takes.
    #[error("journals: {origin} has more than {KEYS_MAX} keys: take those away that sign no more")]
    TooManyKeys {
        /// The journal.
        origin: String,
    },
    /// Nothing to do.
    #[error("journals: none is named. `portctl audit checkpoint` says a signer's")]
    NoJournal,
}

impl WitnessConfig {
    /// Reads a file. Relative paths in it are relative to the file's folder.
    ///
    /// # Errors
    ///
    /// [`WitnessConfigError`].
    pub fn read(path: &Path) -> Result<Self, WitnessConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| WitnessConfigError::Read { path: path.into(), source })?;
        let parse = |error: toml::de::Error| WitnessConfigError::Parse {
            path: path.into(),
            message: error.to_string(),
        };
        let File { listen, folder, name, journals: vkeys } =
            toml::from_str(&text).map_err(parse)?;
        let mut journals: Vec<Verifier> = Vec::new();
        for vkey in vkeys {
            let journal = Verifier::parse(&vkey)
                .map_err(|source| WitnessConfigError::Journal { vkey, source })?;
            if journals.contains(&journal) {
                return Err(WitnessConfigError::Twice { vkey: journal.to_string() });
            }
            let keys = journals.iter().filter(|one| one.name == journal.name);
            if keys.count() >= KEYS_MAX {
                return Err(WitnessConfigError::TooManyKeys { origin: journal.name });
            }
            journals.push(journal);
        }
        if journals.is_empty() {
            return Err(WitnessConfigError::NoJournal);
        }
        let folder = folder::parent(path).join(folder);
        Ok(Self { listen, folder, name, journals })
    }

    /// The journals' names, each once.
    pub fn origins(&self) -> Vec<&str> {
        let mut origins: Vec<&str> = Vec::new();
        for journal in &self.journals {
            if !origins.contains(&journal.name.as_str()) {
                origins.push(&journal.name);
            }
        }
        origins
    }

    /// The keys of one of them.
    pub(super) fn keys<'a>(&'a self, origin: &'a str) -> impl Iterator<Item = &'a Verifier> {
        self.journals.iter().filter(move |journal| journal.name == origin)
    }

    pub(super) fn key(&self) -> PathBuf {
        self.folder.join("key")
    }

    pub(super) fn kept(&self) -> PathBuf {
        self.folder.join("journals")
    }

    pub(super) fn holds(&self) -> PathBuf {
        self.folder.join(HOLDS)
    }
}

/// An old key and a new one, and then again.
const KEYS_MAX: usize = 4;
