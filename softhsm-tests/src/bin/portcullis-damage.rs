//! `portcullis-damage [--records N] [--whole N] [--seed X]`: the damage experiment. The last line
//! is one JSON object; it fails if any damage was not found.

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use portcullis_softhsm_tests::damage::{self, Figures, Plan};
use serde_json::json;

/// Damages an export in every way, and checks that `portctl audit verify` finds each.
#[derive(Parser)]
struct Arguments {
    /// Records of the export, at least.
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(30..))]
    records: u64,
    /// Damaged files that portctl is given as a whole, for each of two checkpoints.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(12..))]
    whole: u32,
    /// Of everything that is left to chance; by default another one each time.
    #[arg(long)]
    seed: Option<u64>,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    let Arguments { records, whole, seed } = Arguments::parse();
    let seed = seed.unwrap_or_else(rand::random);
    say(&format!("seed {seed}: an export of {records} records, then all that can be done to it"))?;
    let figures = damage::run(Plan { records, whole, seed }, |line| drop(say(line))).await?;
    report(&figures)?;
    let clean = figures.missed.is_empty() && figures.all().of > 0;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report(figures: &Figures) -> Result<(), Box<dyn Error + Send + Sync>> {
    for missed in figures.missed.iter().take(SHOWN_MAX) {
        say(&format!("NOT FOUND: {missed}"))?;
    }
    let (all, given) = (figures.all(), figures.given());
    let last = json!({
        "records": figures.records,
        "bytes": figures.bytes,
        "damages": all.of,
        "found": all.found,
        "whole": given.of,
        "whole_found": given.found,
        "not_found": figures.missed.len(),
        "below_newest": figures.newest,
        "below_earlier": figures.earlier,
        "in_checkpoint": figures.checkpoint,
    });
    Ok(say(&last.to_string())?)
}

fn say(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}

/// Of what was not found: enough to begin with.
const SHOWN_MAX: usize = 20;
