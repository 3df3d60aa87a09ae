//! The shipped witness as a child: its configuration, its key, its life and death. It comes back
//! where it was, because signers know its address.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::child::{Child, ChildError};
use crate::place::{self, PlaceError};
use crate::wait::{self, TimedOut};

/// The witness could not be made, asked, or brought up.
#[derive(Debug, thiserror::Error)]
pub enum CosignerError {
    /// It is not built.
    #[error("the witness is not there")]
    Place(#[from] PlaceError),
    /// Its files could not be written, or it could not be run.
    #[error("its files could not be written, or it could not be run")]
    Io(#[from] io::Error),
    /// It could not be started or ended.
    #[error("the witness could not be started or ended")]
    Child(#[from] ChildError),
    /// It refused.
    #[error("`portcullis witness {verb}` failed: {output:?}")]
    Refused {
        /// What it was told.
        verb: String,
        /// What it said.
        output: Output,
    },
    /// It does not listen.
    #[error("the witness does not listen")]
    Silent(#[from] TimedOut),
}

/// A witness of one journal. Dropping it kills it.
#[derive(Debug)]
pub struct Cosigner {
    folder: TempDir,
    journal: String,
    port: u16,
    key: String,
    child: Option<Child>,
}

impl Cosigner {
    /// Makes one for this journal (a vkey) and starts it.
    pub fn of(journal: &str) -> Result<Self, CosignerError> {
        let folder = tempfile::Builder::new().prefix("portcullis-witness-").tempdir()?;
        let (journal, key) = (journal.to_owned(), String::new());
        let mut cosigner = Self { folder, journal, port: 0, key, child: None };
        cosigner.configure()?;
        cosigner.key = cosigner.said(&["init"])?.trim_end().to_owned();
        cosigner.serve()?;
        Ok(cosigner)
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its key, as it printed it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The journal's name.
    pub fn origin(&self) -> &str {
        self.journal.split('+').next().unwrap_or_default()
    }

    /// Starts it where it was before, and waits until it listens.
    pub fn serve(&mut self) -> Result<(), CosignerError> {
        let log = self.folder.path().join("log");
        let port = wait::until("the witness to listen", || match self.attempt(&log) {
            Ok(None) => None,
            Ok(Some(port)) => Some(Ok(port)),
            Err(error) => Some(Err(error)),
        })??;
        if self.port == 0 {
            self.port = port;
            self.configure()?;
        }
        Ok(())
    }

    /// Its port, once it listens. Somebody may have the port it had: then another time.
    fn attempt(&mut self, log: &Path) -> Result<Option<u16>, CosignerError> {
        let running = match &mut self.child {
            Some(child) => child.ended()?.is_none(),
            None => false,
        };
        if !running {
            fs::write(log, "")?;
            self.child = Some(Child::start(self.command(&["serve"])?, log)?);
        }
        let said = fs::read_to_string(log)?;
        // Colours may stand between a name and what it is.
        let address = said.split_once("127.0.0.1:").filter(|_| said.contains("serving"));
        let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>();
        Ok(address.and_then(|(_, rest)| digits(rest).parse().ok()))
    }

    /// Ends it at any instruction.
    pub fn kill_9(&mut self) -> Result<(), CosignerError> {
        if let Some(child) = self.child.take() {
            child.kill_9()?;
        }
        Ok(())
    }

    /// Sends it a signal, by name without SIG.
    pub fn signal(&self, name: &str) -> Result<(), CosignerError> {
        self.child.as_ref().map_or(Ok(()), |child| Ok(child.signal(name)?))
    }

    /// Holds the journal.
    pub fn hold(&self, reason: &str) -> Result<String, CosignerError> {
        self.said(&["hold", self.origin(), "--reason", reason])
    }

    /// Lets go of it.
    pub fn release(&self) -> Result<String, CosignerError> {
        self.said(&["release", self.origin()])
    }

    fn said(&self, verb: &[&str]) -> Result<String, CosignerError> {
        let output = self.command(verb)?.output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(CosignerError::Refused { verb: verb.join(" "), output })
    }

    fn command(&self, verb: &[&str]) -> Result<Command, CosignerError> {
        let mut command = Command::new(place::binary("portcullis")?);
        command.arg("witness").args(verb).arg("--config").arg(self.config());
        Ok(command)
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("witness.toml")
    }

    fn configure(&self) -> Result<(), CosignerError> {
        let Self { port, journal, .. } = self;
        let text = format!(
            "listen = \"127.0.0.1:{port}\"\nfolder = \"state\"\nname = \"witness.test/one\"\n\
             journals = [\"{journal}\"]\n"
        );
        Ok(fs::write(self.config(), text)?)
    }
}
