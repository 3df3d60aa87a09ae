//! `policy test BOOK EXAMPLES`: a book's own examples, as a table for people. Needs no signer.

use std::path::PathBuf;

use clap::Args;
use portcullis_policy::examples::{Examples, Outcome};
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::policy::{self, diff};

#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    /// The book.
    book: PathBuf,
    /// The examples: requests, and what the book should say of each.
    examples: PathBuf,
    /// Show every step, not only those that come out otherwise.
    #[arg(long)]
    all: bool,
}

/// An example that does not hold is a failure.
pub(crate) fn run(args: &TestArgs, output: &Output) -> Result<Exit, Failure> {
    let book = diff::book(&args.book)?;
    let examples = Examples::parse(&policy::read(&args.examples)?)?;
    let outcomes = examples.run(&book)?;
    let wrong = outcomes.iter().filter(|outcome| !outcome.holds()).count();
    let mut lines = Vec::new();
    for outcome in outcomes.iter().filter(|outcome| args.all || !outcome.holds()) {
        lines.extend(human(outcome));
    }
    let steps = outcomes.len();
    lines.push(match wrong {
        0 => format!("{steps} steps of {} cases: all as they say", examples.case.len()),
        wrong => format!("{wrong} of {steps} steps come out otherwise than they say"),
    });
    let json = json!({
        "holds": wrong == 0,
        "steps": outcomes.iter().map(machine).collect::<Vec<Value>>(),
    });
    output.result(&lines.join("\n"), &json)?;
    Ok(if wrong == 0 { Exit::Done } else { Exit::Failure })
}

fn human(outcome: &Outcome) -> Vec<String> {
    let mark = if outcome.holds() { "ok    " } else { "WRONG " };
    let mut lines = vec![format!("{mark}{}, step {}", outcome.case, outcome.step)];
    lines.extend(outcome.asked.iter().map(|asked| format!("        {asked}")));
    let verdict = outcome.verdict.map_or("cannot be read".to_owned(), |said| said.to_string());
    let why = [outcome.reasons.join(", "), outcome.missing.join(", ")].concat();
    lines.push(format!("      {verdict} {why}").trim_end().to_owned());
    if !outcome.charge.is_empty() {
        lines.push(format!("      charged {}", outcome.charge.join(", ")));
    }
    let failed = outcome.findings.iter().filter(|(_, passed)| !passed);
    lines.extend(failed.map(|(said, _)| format!("      against it: {said}")));
    lines.extend(outcome.faults.iter().map(|fault| format!("      {fault}")));
    lines
}

fn machine(outcome: &Outcome) -> Value {
    json!({
        "case": outcome.case,
        "step": outcome.step,
        "holds": outcome.holds(),
        "asked": outcome.asked,
        "verdict": outcome.verdict.map(|said| said.to_string()),
        "reasons": outcome.reasons,
        "missing": outcome.missing,
        "charge": outcome.charge,
        "faults": outcome.faults,
    })
}
