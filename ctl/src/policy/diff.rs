//! `policy diff OLD NEW`: what is wider and what is narrower, in numbers. Needs no signer.

use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_policy::book::{Book, Faults};
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::policy;

#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// The book as it is.
    old: PathBuf,
    /// The book as it would be.
    new: PathBuf,
}

/// A book with faults, where one without is needed.
#[derive(Debug, thiserror::Error)]
#[error("{file} has {count} fault(s), the first: {first}", file = file.display())]
pub(crate) struct FaultyBook {
    file: PathBuf,
    count: usize,
    first: String,
}

/// Widening is an answer, not a failure: what it takes is said.
pub(crate) fn run(args: &DiffArgs, output: &Output) -> Result<Exit, Failure> {
    let (old, new) = (book(&args.old)?, book(&args.new)?);
    let difference = old.difference(&new);
    let same = difference.wider.is_empty() && difference.narrower.is_empty();
    let mut lines: Vec<String> = Vec::new();
    lines.extend(difference.wider.iter().map(|line| format!("wider: {line}")));
    lines.extend(difference.narrower.iter().map(|line| format!("narrower: {line}")));
    lines.push(match (same, difference.is_narrowing()) {
        (true, _) => "both permit exactly the same".to_owned(),
        (false, true) => {
            "it only narrows: one person may adopt it, and it holds at once".to_owned()
        }
        (false, false) => "it widens what is allowed: adopting it takes a quorum".to_owned(),
    });
    let json = json!({
        "narrowing": difference.is_narrowing(),
        "narrower": difference.narrower,
        "wider": difference.wider,
    });
    output.result(&lines.join("\n"), &json)?;
    Ok(Exit::Done)
}

/// A sound book out of a file.
pub(super) fn book(file: &Path) -> Result<Book, Failure> {
    let text = policy::read(file)?;
    Ok(Book::parse(&text).map_err(|Faults(faults)| FaultyBook {
        file: file.to_owned(),
        count: faults.len(),
        first: faults.first().map(ToString::to_string).unwrap_or_default(),
    })?)
}
