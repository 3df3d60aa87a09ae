//! The folder of a rotation: the plan of its drain, which is kept once it is written, because its
//! end is a point in time; and the books, which are there to be read.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use portcullis_client::ControlClient;
use portcullis_client::wire::Key;
use portcullis_policy::drain::{DrainPlan, DrainTo};
use serde_json::Value;
use tempfile::NamedTempFile;

use super::fits::RotateFault;
use crate::drain::{self, PlanArgs};
use crate::failure::Failure;
use crate::output::Output;

/// Where it is.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// The one that was named, or one that is named after the two keys.
    pub(super) fn of(named: Option<PathBuf>, old: &str, new: &str) -> Result<Self, Failure> {
        let path = named.unwrap_or_else(|| format!("rotate-{old}-to-{new}").into());
        fs::create_dir_all(&path)
            .map_err(|source| Failure::Write { path: path.clone(), source })?;
        // Nothing is written or read through a link, a pipe or a device.
        for name in [PLAN, SENT] {
            let path = path.join(name);
            if fs::symlink_metadata(&path).is_ok_and(|there| !there.is_file()) {
                return Err(RotateFault::NoFile { path: path.display().to_string() }.into());
            }
        }
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn plan_path(&self) -> PathBuf {
        self.0.join(PLAN)
    }

    /// Adds what was sent, signed, to what is there: if a chain forgets a block, it is sent again,
    /// and a key that was ended signs it no second time.
    pub(super) fn remember(&self, sent: &[Value]) -> Result<(), Failure> {
        if sent.is_empty() {
            return Ok(());
        }
        let path = self.0.join(SENT);
        let fault = |source| Failure::Write { path: path.clone(), source };
        let mut file = OpenOptions::new().append(true).create(true).open(&path).map_err(fault)?;
        let lines: String = sent.iter().map(|one| format!("{one}\n")).collect();
        file.write_all(lines.as_bytes()).and_then(|()| file.sync_all()).map_err(fault)
    }

    /// Writes a file anew; where it is.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.0.join(name);
        let fault = |source| Failure::Write { path: path.clone(), source };
        // In the place of what is there, and not through it: that may be a link.
        let mut file = NamedTempFile::new_in(&self.0).map_err(fault)?;
        file.write_all(text.as_bytes()).map_err(fault)?;
        file.persist(&path).map_err(|error| fault(error.error))?;
        Ok(path)
    }

    /// The plan: the one that is there, unless it is over; else a new one.
    pub(super) async fn plan(
        &self,
        (old, new): (&Key, &Key),
        draft: &PlanArgs,
        (control, output): (&ControlClient, &Output),
    ) -> Result<DrainPlan, Failure> {
        let path = self.plan_path();
        let shown = || path.display().to_string();
        if path.exists() {
            let plan = drain::read(control, &path).await?;
            check_whither(&plan, new, shown)?;
            let now = control.status().await?.sure_time_ms;
            if plan.expires.0 > now {
                let minutes = plan.expires.0.saturating_sub(now).checked_div(60_000).unwrap_or(0);
                if minutes < SHORT_MINUTES {
                    output.note(&format!(
                        "warning: {minutes} minutes are left of the plan, for votes and everything \
                         that is moved: take {} away to have it written anew",
                        shown()
                    ));
                }
                output.note(&format!(
                    "the plan is the one in {}: --caller, --fees and --for are for one that is \
                     written anew",
                    shown()
                ));
                return Ok(plan);
            }
            output.note(&format!("{} is over, and is written anew", shown()));
        }
        if draft.callers.is_empty() {
            return Err(RotateFault::Callers.into());
        }
        let text = drain::draft(draft, &old.label, control).await?;
        self.write(PLAN, &text)?;
        output.note(&format!("the plan is in {}", shown()));
        drain::read(control, &path).await
    }
}

fn check_whither(
    plan: &DrainPlan,
    new: &Key,
    path: impl Fn() -> String,
) -> Result<(), RotateFault> {
    let to = match plan.to {
        DrainTo::Key(id) => id.to_string(),
        DrainTo::Address(_) => String::new(),
    };
    if to == new.key_id {
        return Ok(());
    }
    Err(RotateFault::OtherPlan { path: path(), new: new.label.clone() })
}

const PLAN: &str = "drain.toml";
const SENT: &str = "sent.jsonl";

/// Less is short for people who vote, and for a chain.
const SHORT_MINUTES: u64 = 60;
