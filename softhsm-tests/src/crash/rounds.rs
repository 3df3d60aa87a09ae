//! Many lives of many vaults, one after the other; what was done is kept, so that a run which was
//! broken off goes on where it was.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Figures, Plan, run};
use crate::world::Failure;

/// What was kept does not belong to this plan.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The folder or the file.
    #[error("{path} cannot be read or written")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something else stands there.
    #[error("{path} is no list of rounds: give another folder")]
    Form {
        /// The file.
        path: PathBuf,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
    /// It was begun otherwise.
    #[error(
        "{path} was begun with another kind of token: say --instant as then, or give another folder"
    )]
    Other {
        /// The file.
        path: PathBuf,
    },
}

/// A round that was done.
#[derive(Debug, Deserialize, Serialize)]
struct Done {
    seed: u64,
    instant: bool,
    figures: Figures,
}

/// What was done before, and where more is kept.
struct Kept {
    path: PathBuf,
    done: Vec<Done>,
}

impl Kept {
    fn open(folder: &Path, instant: bool) -> Result<Self, KeptError> {
        let path = folder.join("rounds.jsonl");
        let failed = |source| KeptError::File { path: path.clone(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(failed)?,
        };
        // A line that was cut off is of a round that is done again.
        let whole = text.rfind('\n').and_then(|end| text.get(..=end)).unwrap_or_default();
        if whole.len() < text.len() {
            fs::write(&path, whole).map_err(failed)?;
        }
        let done: Result<Vec<Done>, _> = whole.lines().map(serde_json::from_str).collect();
        let done = done.map_err(|source| KeptError::Form { path: path.clone(), source })?;
        if done.iter().any(|done| done.instant != instant) {
            return Err(KeptError::Other { path });
        }
        Ok(Self { path, done })
    }

    fn keep(&self, done: &Done) -> Result<(), Failure> {
        let mut line = serde_json::to_string(done)?;
        line.push('\n');
        let mut file = File::options().create(true).append(true).open(&self.path)?;
        file.write_all(line.as_bytes())?;
        Ok(file.sync_all()?)
    }
}

/// Kills and judges until so many cycles are done, in rounds with a vault each; goes on with what
/// is kept in a folder, if there is one.
///
/// # Errors
///
/// The rig failed, or what is kept is of something else. Rounds that were done are kept.
pub async fn in_rounds(
    plan: Plan,
    into: Option<&Path>,
    tell: impl Fn(&str),
) -> Result<Figures, Failure> {
    let kept = into.map(|folder| Kept::open(folder, plan.instant)).transpose()?;
    let begun = Instant::now();
    let (mut sum, mut round) = (Figures::default(), 0_u64);
    for done in kept.iter().flat_map(|kept| &kept.done) {
        sum.add(&done.figures);
        round = round.saturating_add(1);
    }
    if round > 0 {
        tell(&format!("{} cycles in {round} rounds were done before", sum.cycles));
    }
    while sum.cycles < plan.cycles && begun.elapsed() < plan.at_most {
        let cycles = plan.cycles.saturating_sub(sum.cycles).min(ROUND);
        let at_most = plan.at_most.saturating_sub(begun.elapsed());
        // What was done before took its seeds already.
        let seed = plan.seed.wrapping_add(round);
        let figures = run(Plan { cycles, at_most, seed, ..plan }, &tell).await?;
        sum.add(&figures);
        round = round.saturating_add(1);
        if let Some(kept) = &kept {
            kept.keep(&Done { seed, instant: plan.instant, figures })?;
        }
    }
    Ok(sum)
}

/// Cycles with one vault: enough that its windows span many, and few enough to be lost.
const ROUND: u32 = 50;
