//! `portcullis-crash [--cycles N] [--seconds S] [--seed X] [--instant]`: the crash experiment.
//! The last line it prints is one JSON object; it fails if any promise was broken.

use std::error::Error;
use std::io::Write as _;
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
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    let Arguments { cycles, seconds, seed, instant } = Arguments::parse();
    let seed = seed.unwrap_or_else(rand::random);
    let plan = Plan { cycles, at_most: Duration::from_secs(seconds), seed, instant };
    say(&format!("seed {seed}: killing the signer {cycles} times under load"))?;
    let figures = crash::run(plan, |line| drop(say(line))).await?;
    report(&figures)?;
    let clean = figures.violations.is_empty() && figures.cycles > 0;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report(figures: &Figures) -> Result<(), Box<dyn Error + Send + Sync>> {
    for violation in &figures.violations {
        say(&format!("VIOLATION: {violation}"))?;
    }
    say(&format!("all figures: {}", serde_json::to_string(figures)?))?;
    let Figures { cycles, signatures, violations, .. } = figures;
    let violations = violations.len();
    let last = json!({ "cycles": cycles, "signatures": signatures, "violations": violations });
    Ok(say(&last.to_string())?)
}

fn say(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}
