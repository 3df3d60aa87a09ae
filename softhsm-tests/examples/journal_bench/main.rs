//! `deploy/bench journal`: the journal's storage by itself, beside the bare disk and SQLite in
//! interleaved rounds; then what an export of plain transfers takes to verify, to keep and to start
//! from. The figures are of the machine that it runs on; nothing here asserts a duration.
//!
//! Links the signer's library, which no other part of the rig may: what is measured is storage
//! without the service around it. SQLite is here to compare with, and nowhere else.

#![expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a benchmark prints, and needs no more than 52 bits"
)]
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a benchmark stops at what it did not expect"
)]

mod drive;
mod rounds;
mod snapshot;
mod vault;
mod whole;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};

/// Measures the journal's storage.
#[derive(Parser)]
struct Arguments {
    /// Where the figures go, as JSON.
    #[arg(long)]
    summary: Option<PathBuf>,
    /// One short round and few records: shows that it runs, measures little.
    #[arg(long)]
    quick: bool,
    /// Rounds of journal, bare disk and SQLite.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Milliseconds of each stretch of load.
    #[arg(long, default_value_t = 2_000)]
    millis: u64,
    /// Records of the export that is verified and started from.
    #[arg(long, default_value_t = 200_000)]
    records: usize,
}

/// Median, least and most.
#[derive(Clone, Copy, Debug)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(mut all: Vec<f64>) -> Self {
        all.sort_by(f64::total_cmp);
        Self { median: all[all.len() / 2], least: all[0], most: all[all.len() - 1] }
    }

    fn json(self) -> Value {
        json!({ "median": self.median, "least": self.least, "most": self.most })
    }
}

fn main() {
    let arguments = Arguments::parse();
    let (rounds, millis, records) = match arguments.quick {
        true => (1, 300, 5_000),
        false => (arguments.rounds.max(1), arguments.millis.max(1), arguments.records.max(100)),
    };
    let lines = vault::lines(records);
    let folder = tempfile::tempdir().unwrap();
    println!("{:<52}{:>12}   (least to most)", "what", "median");

    let measured = rounds::measure(folder.path(), &lines, rounds, Duration::from_millis(millis));
    let mut figures = serde_json::Map::new();
    let whole = whole::measure(folder.path(), &lines);
    let snapshot = snapshot::measure(folder.path(), &lines);
    for (what, name, spread) in measured.into_iter().chain(whole).chain(snapshot) {
        let digits = usize::from(spread.median < 100.0) * 2;
        let Spread { median, least, most } = spread;
        println!("{what:<52}{median:>12.digits$}   ({least:.digits$} to {most:.digits$})");
        figures.insert(name.to_owned(), spread.json());
    }
    figures.insert("records".to_owned(), json!(records));
    figures.insert("quick".to_owned(), json!(arguments.quick));
    if let Some(path) = arguments.summary {
        std::fs::write(path, format!("{:#}\n", Value::Object(figures))).unwrap();
    }
}
