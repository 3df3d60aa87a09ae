//! `portcullis-stop [--freezes N] [--seconds S] [--seed X]`: the stop experiment. The last line it
//! prints is one JSON object; it fails if a stop was not total.

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use portcullis_softhsm_tests::stop::{self, Figures, Plan};
use serde_json::json;

/// Freezes and thaws under load while the signer is killed, halted and given a bad token, and
/// checks that nothing is released after a freeze was acknowledged.
#[derive(Parser)]
struct Arguments {
    /// How many freezes are to be acknowledged.
    #[arg(long, default_value_t = 1_000)]
    freezes: u64,
    /// Begin no further vault after so many seconds.
    #[arg(long, default_value_t = 7_200)]
    seconds: u64,
    /// Of everything that is left to chance; by default another one each time.
    #[arg(long)]
    seed: Option<u64>,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    let Arguments { freezes, seconds, seed } = Arguments::parse();
    let seed = seed.unwrap_or_else(rand::random);
    let plan = Plan {
        freezes,
        freezes_each: 250,
        halt: Duration::from_secs(10),
        hang: Duration::from_secs(6),
        at_most: Duration::from_secs(seconds),
        seed,
    };
    say(&format!("seed {seed}: {freezes} freezes under load and under every trouble"))?;
    let figures = stop::run(plan, |line| drop(say(line))).await?;
    report(&figures)?;
    let clean = figures.violations.is_empty() && figures.freezes >= freezes;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report(figures: &Figures) -> Result<(), Box<dyn Error + Send + Sync>> {
    for violation in &figures.violations {
        say(&format!("VIOLATION: {violation}"))?;
    }
    say(&format!("all figures: {}", serde_json::to_string(figures)?))?;
    let Figures { freezes, signatures, violations, .. } = figures;
    let violations = violations.len();
    let last = json!({ "freezes": freezes, "signatures": signatures, "violations": violations });
    Ok(say(&last.to_string())?)
}

fn say(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}
