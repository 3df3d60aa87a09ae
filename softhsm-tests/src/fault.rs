//! The fault module's script and log, as a test holds them. The words of the script are explained
//! in the fault module's own documentation.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::child::Environment;
use crate::wait::{self, TimedOut};

/// A fault could not be set, or its trace not read.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The script could not be written.
    #[error("the fault script could not be written")]
    Script(#[source] io::Error),
    /// The log could not be read.
    #[error("the fault log could not be read")]
    Log(#[source] io::Error),
    /// The calls did not come.
    #[error("the calls did not come")]
    NoCalls(#[source] TimedOut),
}

/// What goes wrong in one token, and what was called there.
#[derive(Debug)]
pub struct Faults {
    script: PathBuf,
    log: PathBuf,
}

impl Faults {
    /// Files for a fault module in `folder`; no fault yet.
    pub fn new(folder: &Path) -> Self {
        Self { script: folder.join("faults"), log: folder.join("calls") }
    }

    /// What the process that loads the fault module must have in its environment.
    pub fn environment(&self) -> Environment {
        vec![
            ("PORTCULLIS_FAULT_SCRIPT", self.script.clone().into()),
            ("PORTCULLIS_FAULT_LOG", self.log.clone().into()),
        ]
    }

    /// From now on, exactly these lines hold; hanging calls whose line is not among them go on.
    pub fn set(&self, lines: &[&str]) -> Result<(), FaultError> {
        let fresh = self.script.with_extension("new");
        fs::write(&fresh, lines.join("\n") + "\n").map_err(FaultError::Script)?;
        fs::rename(&fresh, &self.script).map_err(FaultError::Script)
    }

    /// Nothing goes wrong any more.
    pub fn clear(&self) -> Result<(), FaultError> {
        self.set(&[])
    }

    /// How many calls of `function` have come, whatever became of them.
    pub fn calls(&self, function: &str) -> Result<usize, FaultError> {
        self.count(function, "called")
    }

    /// How many calls of `function` are, or were, held by a `hang`.
    pub fn hangs(&self, function: &str) -> Result<usize, FaultError> {
        self.count(function, "hanging")
    }

    /// What the calls of `function` returned so far, in order of return.
    pub fn returns(&self, function: &str) -> Result<Vec<u64>, FaultError> {
        let events = self.events(function)?;
        let values = events.iter().filter_map(|event| event.strip_prefix("returned 0x"));
        Ok(values.filter_map(|value| u64::from_str_radix(value, 16).ok()).collect())
    }

    /// Waits until `count` calls of `function`, in all, have been held by a `hang`.
    pub fn wait_for_hangs(&self, function: &str, count: usize) -> Result<(), FaultError> {
        let enough = || match self.hangs(function) {
            Ok(hangs) => (hangs >= count).then_some(Ok(())),
            Err(error) => Some(Err(error)),
        };
        wait::until("calls to hang", enough).map_err(FaultError::NoCalls)?
    }

    fn count(&self, function: &str, event: &str) -> Result<usize, FaultError> {
        Ok(self.events(function)?.iter().filter(|e| *e == event).count())
    }

    /// What happened in calls of `function`, oldest first. The first word of a line is a pid.
    fn events(&self, function: &str) -> Result<Vec<String>, FaultError> {
        let text = match fs::read_to_string(&self.log) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(FaultError::Log(error)),
        };
        let events = text.lines().filter_map(|line| {
            let (_pid, call) = line.split_once(' ')?;
            let (name, event) = call.split_once(' ')?;
            (name == function).then(|| event.to_owned())
        });
        Ok(events.collect())
    }
}
