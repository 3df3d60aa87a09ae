//! A child process that never outlives the test, with its output in a file.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitStatus, Stdio};

use crate::wait::{self, TimedOut};

/// Names and values for a child's environment.
pub type Environment = Vec<(&'static str, OsString)>;

/// A child could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It could not be started.
    #[error("{program} could not be started")]
    Start {
        /// What was to run.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Its log could not be made or read.
    #[error("the log {path} could not be used")]
    Log {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It could not be signalled or waited for.
    #[error("process {pid} could not be signalled or waited for")]
    Signal {
        /// Its id.
        pid: u32,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It did not end in time.
    #[error("the process did not end")]
    DidNotEnd(#[source] TimedOut),
}

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Child {
    process: process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts `command` with both outputs appended to `log`, and no input.
    pub fn start(mut command: Command, log: &Path) -> Result<Self, ChildError> {
        let refused = |source| ChildError::Log { path: log.to_owned(), source };
        let file = File::options().create(true).append(true).open(log).map_err(refused)?;
        let twin = file.try_clone().map_err(refused)?;
        command.stdin(Stdio::null()).stdout(file).stderr(twin);
        let process = command.spawn().map_err(|source| ChildError::Start {
            program: command.get_program().into(),
            source,
        })?;
        Ok(Self { process, log: log.to_owned() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// All it (and its predecessors with the same log) has printed.
    pub fn log(&self) -> Result<String, ChildError> {
        let bytes = fs::read(&self.log)
            .map_err(|source| ChildError::Log { path: self.log.clone(), source })?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, ChildError> {
        let pid = self.pid();
        self.process.try_wait().map_err(|source| ChildError::Signal { pid, source })
    }

    /// Ends it at any instruction, as a power cut would.
    pub fn kill_9(mut self) -> Result<ExitStatus, ChildError> {
        let pid = self.pid();
        let refused = |source| ChildError::Signal { pid, source };
        self.process.kill().map_err(refused)?;
        self.process.wait().map_err(refused)
    }

    /// Asks it to end (SIGTERM) and waits, bounded.
    pub fn terminate(self) -> Result<ExitStatus, ChildError> {
        self.signal("TERM")?;
        self.wait()
    }

    /// Sends it a signal, by name without SIG: `STOP`, `CONT`, `HUP`.
    pub fn signal(&self, name: &str) -> Result<(), ChildError> {
        let pid = self.pid();
        // The shell's own `kill` needs neither `unsafe` nor another crate.
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(ChildError::Signal { pid, source: io::ErrorKind::NotFound.into() }),
            Err(source) => Err(ChildError::Signal { pid, source }),
        }
    }

    /// Waits until it ends by itself, bounded.
    pub fn wait(mut self) -> Result<ExitStatus, ChildError> {
        wait::until("a process to end", || self.ended().transpose())
            .map_err(ChildError::DidNotEnd)?
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
