//! What security writes for its witness: one TOML file, every field named or refused.

use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use portcullis_policy::note::{NoteFault, Verifier};
use serde::Deserialize;

use super::WitnessError;

/// The file, understood.
#[derive(Clone, Debug)]
pub struct WitnessConfig {
    /// Where signers connect.
    pub listen: SocketAddr,
    /// Key, holds, and what was cosigned last.
    pub folder: PathBuf,
    /// The witness's name in its cosignatures.
    pub name: String,
    /// The journals that it knows. Each name stands for one.
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
    /// One name for two keys.
    #[error("journals: {origin} stands there twice")]
    Twice {
        /// The name.
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
            if journals.iter().any(|one| one.name == journal.name) {
                return Err(WitnessConfigError::Twice { origin: journal.name });
            }
            journals.push(journal);
        }
        if journals.is_empty() {
            return Err(WitnessConfigError::NoJournal);
        }
        let folder = path.parent().unwrap_or(Path::new(".")).join(folder);
        Ok(Self { listen, folder, name, journals })
    }

    pub(super) fn key(&self) -> PathBuf {
        self.folder.join("key")
    }

    pub(super) fn kept(&self) -> PathBuf {
        self.folder.join("journals")
    }

    /// For their owner only.
    pub(super) fn make_folders(&self) -> Result<(), WitnessError> {
        for path in [self.folder.clone(), self.kept(), self.folder.join(super::holds::HOLDS)] {
            let made = DirBuilder::new().mode(0o700).recursive(true).create(&path);
            let synced = made.and_then(|()| match path.parent() {
                Some(parent) => std::fs::File::open(parent)?.sync_all(),
                None => Ok(()),
            });
            synced.map_err(|source| WitnessError::Folder { path, source })?;
        }
        Ok(())
    }
}
