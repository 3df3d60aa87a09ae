//! A fresh SoftHSM token in a folder of its own, thrown away with the test.
//!
//! Must never touch the system's token folder: every child gets its own `SOFTHSM2_CONF`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::child::Environment;
use crate::fault::Faults;
use crate::place::{self, PlaceError};

/// The token's label.
pub const LABEL: &str = "portcullis";

const PIN: &str = "rig-user-pin-1f7c";
const SO_PIN: &str = "rig-so-pin-90ab";

/// A token could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A module is missing.
    #[error("a PKCS#11 module is missing")]
    Place(#[from] PlaceError),
    /// The token's files could not be written.
    #[error("the token's folder could not be prepared")]
    Folder(#[source] io::Error),
    /// `softhsm2-util` could not be run.
    #[error("softhsm2-util could not be run: install the Debian package softhsm2")]
    NoUtility(#[source] io::Error),
    /// `softhsm2-util` refused.
    #[error("softhsm2-util could not make a token: {output}")]
    Refused {
        /// What it printed.
        output: String,
    },
    /// Faults were asked of a token that is used directly.
    #[error("this token is not used through the fault module")]
    NoFaultModule,
}

/// How a process reaches the token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Through {
    /// SoftHSM's module itself.
    Real,
    /// The fault module, with a script and a log.
    Faults,
    /// The fault module's instant mode: signatures cost nothing, and protect nothing.
    Instant,
}

/// A token and what a process needs to use it.
#[derive(Debug)]
pub struct Token {
    folder: TempDir,
    module: PathBuf,
    through: Through,
    faults: Faults,
}

impl Token {
    /// Makes an empty token labelled [`LABEL`].
    pub fn fresh(through: Through) -> Result<Self, TokenError> {
        let real = place::softhsm_module()?;
        let folder = tempfile::Builder::new().prefix("portcullis-token-").tempdir();
        let folder = folder.map_err(TokenError::Folder)?;
        let module = match through {
            Through::Real => real,
            Through::Faults | Through::Instant => place::fault_module()?,
        };
        let faults = Faults::new(folder.path());
        let token = Self { folder, module, through, faults };
        token.prepare().map_err(TokenError::Folder)?;
        token.init()?;
        Ok(token)
    }

    /// The module a process must load.
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// A file that holds the user PIN, mode 0600.
    pub fn pin_file(&self) -> PathBuf {
        self.folder.path().join("pin")
    }

    /// The folder in which SoftHSM keeps its objects.
    pub fn objects(&self) -> PathBuf {
        self.folder.path().join("objects")
    }

    /// The user PIN.
    pub fn pin(&self) -> &'static str {
        PIN
    }

    /// What a process that loads [`Self::module`] must have in its environment.
    pub fn environment(&self) -> Environment {
        let mut environment = vec![("SOFTHSM2_CONF", self.configuration().into())];
        match self.through {
            Through::Real => {}
            Through::Faults => environment.extend(self.faults.environment()),
            Through::Instant => environment.push(("PORTCULLIS_FAULT_INSTANT", "1".into())),
        }
        environment
    }

    /// What goes wrong in it. Fails if the token is not used through [`Through::Faults`].
    pub fn faults(&self) -> Result<&Faults, TokenError> {
        match self.through {
            Through::Faults => Ok(&self.faults),
            Through::Real | Through::Instant => Err(TokenError::NoFaultModule),
        }
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("softhsm2.conf")
    }

    fn prepare(&self) -> io::Result<()> {
        let objects = self.objects();
        fs::create_dir(&objects)?;
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            objects.display()
        );
        fs::write(self.configuration(), text)?;
        write_secret(&self.pin_file(), PIN)
    }

    fn init(&self) -> Result<(), TokenError> {
        let made = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", LABEL, "--so-pin", SO_PIN, "--pin", PIN])
            .env("SOFTHSM2_CONF", self.configuration())
            .output()
            .map_err(TokenError::NoUtility)?;
        if made.status.success() {
            return Ok(());
        }
        Err(TokenError::Refused { output: String::from_utf8_lossy(&made.stderr).into_owned() })
    }
}

/// Writes a file that only its owner can read.
pub fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let mut file: File =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
