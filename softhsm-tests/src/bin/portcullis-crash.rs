//! `portcullis-crash [--cycles N] [--seconds S] [--seed X] [--instant] [--into FOLDER]`: the crash
//! experiment.
//! The last line it prints is one JSON object; it fails if any promise was broken.

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use portcullis_softhsm_tests::crash::{self, Figures, Plan};
use serde_json::json;

/// Kills the signer under load again and again, and checks that no promise is broken.
#[derive(Parser)]
struct Arguments {
    /// How often to kill it.
    #[arg(long, default_value_t = 100)]
    cycles: u32,
    /// Begin no further cycle after so many seconds.
    #[arg(long, default_value_t = 3_600)]
    seconds: u64,
    /// Of everything that is left to chance; by default another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// With a token whose signatures cost nothing: more is under way at each kill.
    #[arg(long)]
    instant: bool,
    /// Keep what was done in this folder, round by round of 50 cycles; the same command goes on
    /// where it was broken off.
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    let Arguments { cycles, seconds, seed, instant, into } = Arguments::parse();
    let seed = seed.unwrap_or_else(rand::random);
    let plan = Plan { cycles, at_most: Duration::from_secs(seconds), seed, instant };
    say(&format!("seed {seed}: killing the signer {cycles} times under load"))?;
    let figures = crash::in_rounds(plan, into.as_deref(), |line| drop(say(line))).await?;
    report(&figures)?;
    let clean = figures.violations.is_empty() && figures.cycles > 0;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report(figures: &Figures) -> Result<(), Box<dyn Error + Send + Sync>> {
    for violation in &figures.violations {
        say(&format!("VIOLATION: {violation}"))?;
    }
    say(&format!("all figures: {}", serde_json::to_string(figures)?))?;
    let Figures { cycles, signatures, violations, points, .. } = figures;
    let (violations, at_points) = (violations.len(), points.values().sum::<u32>());
    let unhit: Vec<_> =
        points.iter().filter(|(_, count)| **count == 0).map(|(name, _)| name).collect();
    let last = json!({
        "cycles": cycles,
        "signatures": signatures,
        "at_points": at_points,
        "points_not_hit": unhit,
        "violations": violations,
    });
    Ok(say(&last.to_string())?)
}

fn say(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}
