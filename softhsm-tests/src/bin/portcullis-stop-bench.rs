//! `portcullis-stop-bench [--quick] [--summary FILE]`: how long a stop takes, on an idle signer and
//! under full load in turns, and whether anything is released after it. The figures are of the
//! machine that it runs on; only a signature after an acknowledgement fails it.

use std::error::Error;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use portcullis_softhsm_tests::stop::bench::{Measured, Options, measure};

/// Measures the stop.
#[derive(Parser)]
struct Arguments {
    /// Where the figures go, as JSON.
    #[arg(long)]
    summary: Option<PathBuf>,
    /// One short round: shows that it runs, measures little.
    #[arg(long)]
    quick: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    let Arguments { summary, quick } = Arguments::parse();
    let options = if quick { Options::quick() } else { Options::whole() };
    let measured = measure(options, |line| drop(say(line))).await?;
    say(&measured.table())?;
    for violation in &measured.violations {
        say(&format!("VIOLATION: {violation}"))?;
    }
    if let Some(path) = summary {
        std::fs::write(path, format!("{:#}\n", measured.summary(quick)))?;
    }
    let Measured { violations, .. } = measured;
    Ok(if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}
