//! A process that uses a token directly, driven line by line.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use alloy_primitives::B256;

use crate::place::{self, PlaceError};
use crate::token::{LABEL, Token};
use crate::wait::PATIENCE;

/// The probe failed, or the token refused.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The probe is not built.
    #[error("the probe is not there")]
    Place(#[from] PlaceError),
    /// It could not be run or talked to.
    #[error("the probe could not be run or talked to")]
    Process(#[from] io::Error),
    /// The token refused.
    #[error("the token refused: {text}")]
    Refused {
        /// The PKCS#11 error, as text for a person.
        text: String,
    },
    /// It ended, or is held for longer than anyone waits.
    #[error("the probe does not answer")]
    Silent(#[from] mpsc::RecvTimeoutError),
    /// It answered in no known way.
    #[error("the probe answered {answer:?}")]
    Confused {
        /// What it said.
        answer: String,
    },
}

/// One session on a token, in a process of its own. Dropping it kills it.
#[derive(Debug)]
pub struct Probe {
    process: Child,
    input: ChildStdin,
    output: Receiver<io::Result<String>>,
}

impl Probe {
    /// Starts one. It logs in once.
    pub fn start(token: &Token) -> Result<Self, ProbeError> {
        let mut process = Command::new(place::binary("portcullis-p11-probe")?)
            .arg(token.module())
            .arg(LABEL)
            .arg(token.pin_file())
            .envs(token.environment())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let missing = || io::Error::from(io::ErrorKind::BrokenPipe);
        let input = process.stdin.take().ok_or_else(missing)?;
        let output = lines(process.stdout.take().ok_or_else(missing)?);
        Ok(Self { process, input, output })
    }

    /// Makes a key; gives its point, 65 bytes.
    pub fn generate(&mut self, label: &str) -> Result<Vec<u8>, ProbeError> {
        self.ask(&format!("generate {label}"))
    }

    /// Signs a digest; gives r and s.
    pub fn sign(&mut self, label: &str, digest: B256) -> Result<Vec<u8>, ProbeError> {
        self.begin_sign(label, digest)?;
        self.answer()
    }

    /// Asks for a signature without waiting for it; [`Self::answer`] waits.
    pub fn begin_sign(&mut self, label: &str, digest: B256) -> Result<(), ProbeError> {
        self.say(&format!("sign {label} {}", hex::encode(digest)))
    }

    /// Any of the probe's commands.
    pub fn ask(&mut self, line: &str) -> Result<Vec<u8>, ProbeError> {
        self.say(line)?;
        self.answer()
    }

    /// Waits for the answer to the oldest unanswered line.
    pub fn answer(&mut self) -> Result<Vec<u8>, ProbeError> {
        let answer = self.output.recv_timeout(PATIENCE)??;
        match answer.split_once(' ') {
            Some(("ok", bytes)) => {
                hex::decode(bytes).map_err(|_| ProbeError::Confused { answer: bytes.to_owned() })
            }
            Some(("error", text)) => Err(ProbeError::Refused { text: text.to_owned() }),
            Some(_) | None => Err(ProbeError::Confused { answer }),
        }
    }

    fn say(&mut self, line: &str) -> Result<(), ProbeError> {
        writeln!(self.input, "{line}")?;
        Ok(self.input.flush()?)
    }
}

/// The probe's lines as they come, so that they can be waited for in bounds.
fn lines(output: ChildStdout) -> Receiver<io::Result<String>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Drop for Probe {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
