//! OpenSC's `pkcs11-tool`, which owes us nothing, as a witness of what a token gives away.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use crate::token::{LABEL, Token};

/// The witness could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// It is not installed, or did not run.
    #[error("pkcs11-tool could not be run: install the Debian package opensc")]
    NoTool(#[source] io::Error),
    /// A file for it could not be made or read.
    #[error("{path} could not be used")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A private key as the witness lists it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Seen {
    /// `CKA_LABEL`.
    pub label: String,
    /// `CKA_ID`, lower-case hexadecimal.
    pub id: String,
    /// What it may do, in `pkcs11-tool`'s words: `sign`, `decrypt`, `unwrap`, `derive`.
    pub usage: Vec<String>,
    /// How it is kept: `sensitive`, `always sensitive`, `extractable`, `never extractable`,
    /// `local`.
    pub access: Vec<String>,
}

/// The witness, looking at one token. It always uses the real module's own answers as the token's
/// module gives them.
#[derive(Debug)]
pub struct Witness<'a> {
    token: &'a Token,
}

impl<'a> Witness<'a> {
    /// Looks at `token`.
    pub fn of(token: &'a Token) -> Self {
        Self { token }
    }

    /// All objects, as text for a person.
    pub fn objects(&self) -> Result<String, WitnessError> {
        self.run(&["--list-objects"])
    }

    /// The private keys.
    pub fn private_keys(&self) -> Result<Vec<Seen>, WitnessError> {
        let listing = self.run(&["--list-objects", "--type", "privkey"])?;
        let mut keys: Vec<Seen> = Vec::new();
        for line in listing.lines() {
            if line.starts_with("Private Key Object") {
                keys.push(Seen::default());
            }
            if let (Some(key), Some((word, value))) = (keys.last_mut(), line.trim().split_once(':'))
            {
                let value = value.trim();
                let list = || value.split(", ").map(str::to_owned).collect();
                match word {
                    "label" => key.label = value.to_owned(),
                    "ID" => key.id = value.to_owned(),
                    "Usage" => key.usage = list(),
                    "Access" => key.access = list(),
                    _ => {}
                }
            }
        }
        Ok(keys)
    }

    /// Has the witness try to read the private key with this `CKA_ID` out, and to wrap it under an
    /// AES key that it makes for that. Gives what came out: nothing, it is to be hoped.
    ///
    /// The OpenSC of Debian 12 has no way to ask for a private key's bytes, so this alone proves
    /// little; the probe's `read-out`, `wrap-out` and `copy-out` ask for them in PKCS#11 itself.
    pub fn take_out(&self, id: &str) -> Result<Vec<u8>, WitnessError> {
        let wrapping = "77aa";
        self.run(&[
            "--keygen",
            "--key-type",
            "AES:32",
            "--label",
            "wrapping",
            "--id",
            wrapping,
            "--usage-wrap",
        ])?;
        let mut taken = Vec::new();
        for attempt in [
            &["--read-object", "--type", "privkey", "--id", id][..],
            &["--wrap", "-m", "0x210A", "--id", wrapping, "--application-id", id][..],
        ] {
            let file = tempfile::NamedTempFile::new()
                .map_err(|source| WitnessError::File { path: std::env::temp_dir(), source })?;
            let path = file.path().to_string_lossy().into_owned();
            self.run(&[attempt, &["--output-file", &path]].concat())?;
            taken.extend(
                std::fs::read(file.path()).map_err(|source| WitnessError::File {
                    path: file.path().to_owned(),
                    source,
                })?,
            );
        }
        self.run(&["--delete-object", "--type", "secrkey", "--id", wrapping])?;
        Ok(taken)
    }

    /// Runs the tool, logged in, and gives what it printed. Its exit code means little: it is 0 for
    /// some refusals.
    pub fn run(&self, arguments: &[&str]) -> Result<String, WitnessError> {
        let output = Command::new("pkcs11-tool")
            .arg("--module")
            .arg(self.token.module())
            .args(["--token-label", LABEL, "--login", "--pin", "env:PORTCULLIS_RIG_PIN"])
            .args(arguments)
            .env("PORTCULLIS_RIG_PIN", self.token.pin())
            .envs(self.token.environment())
            .output()
            .map_err(WitnessError::NoTool)?;
        let text = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
