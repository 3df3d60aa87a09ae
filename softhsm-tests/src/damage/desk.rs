//! Whole verifications: `portctl audit verify`, as an auditor runs it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::made::Made;
use crate::place;
use crate::world::Failure;

/// A folder with damaged exports, and the checkpoint that they are held against.
pub(super) struct Desk {
    name: &'static str,
    folder: PathBuf,
    checkpoint: PathBuf,
    /// How `portctl` ends for the export as it is.
    sound: i32,
}

impl Desk {
    /// Of whoever has the checkpoint that came with the export.
    pub(super) fn newest(made: &Made) -> Self {
        let checkpoint = made.newest.clone();
        Self { name: "newest checkpoint", folder: made.folder(), checkpoint, sound: DONE }
    }

    /// Of whoever kept an earlier one, and has nothing else.
    pub(super) fn earlier(made: &Made) -> Self {
        let checkpoint = made.earlier.clone();
        Self { name: "earlier checkpoint", folder: made.folder(), checkpoint, sound: UNATTESTED }
    }

    /// With a checkpoint of one's own making.
    pub(super) fn damaged_checkpoint(made: &Made) -> Self {
        let checkpoint = made.folder().join("damaged.checkpoint");
        Self { name: "damaged checkpoint", folder: made.folder(), checkpoint, sound: DONE }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// That the export as it is passes: whatever is wrong with another one is its damage.
    pub(super) fn passes(&self, export: &[u8]) -> Result<(), Failure> {
        self.lay(0, export)?;
        let (code, said) = self.verify(0)?;
        if code == Some(self.sound) {
            return Ok(());
        }
        Err(format!("the export as it is ended with {code:?}, not {}:\n{said}", self.sound).into())
    }

    /// Whether `portctl` finds something wrong with an export's form, tree, people or decisions;
    /// or, where an input was taken away, says that not all could be made again.
    pub(super) fn finds(&self, worker: usize, export: &[u8]) -> Result<bool, Failure> {
        self.lay(worker, export)?;
        Ok(self.verify(worker)?.0.is_some_and(|code| WRONG.contains(&code)))
    }

    /// The same of the checkpoint: what is no text any more cannot even be read.
    pub(super) fn refuses(&self) -> Result<bool, Failure> {
        Ok(self.verify(0)?.0.is_some_and(|code| code == FAILURE || WRONG.contains(&code)))
    }

    /// Puts an export on it.
    pub(super) fn lay(&self, worker: usize, export: &[u8]) -> Result<(), Failure> {
        Ok(fs::write(self.export(worker), export)?)
    }

    /// Puts a checkpoint on it.
    pub(super) fn lay_checkpoint(&self, note: &[u8]) -> Result<(), Failure> {
        Ok(fs::write(&self.checkpoint, note)?)
    }

    fn export(&self, worker: usize) -> PathBuf {
        self.folder.join(format!("damaged-{worker}.jsonl"))
    }

    /// How it ended, and what was said. `None`: by a signal.
    fn verify(&self, worker: usize) -> Result<(Option<i32>, String), Failure> {
        let said = Command::new(place::binary("portctl")?)
            .args(["audit", "verify"])
            .arg(self.export(worker))
            .arg("--checkpoint")
            .arg(&self.checkpoint)
            .current_dir(&self.folder)
            .output()?;
        let text = [said.stdout, said.stderr].concat();
        Ok((said.status.code(), String::from_utf8_lossy(&text).into_owned()))
    }
}

/// Exit codes of `portctl audit verify`, as ctl/src/failure.rs has them.
const DONE: i32 = 0;
const FAILURE: i32 = 1;
const UNATTESTED: i32 = 9;
/// Not all made again; form, tree, people, replay.
const WRONG: [i32; 5] = [10, 11, 12, 13, 14];
