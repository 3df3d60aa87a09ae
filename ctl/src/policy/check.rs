//! `policy check FILE`: all faults at once, warnings, and what the book would widen and narrow.

use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_client::wire::{BookFault, CheckBookResponse};
use portcullis_policy::book::{Book, Faults};
use serde_json::{Value, json};

use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::{Output, hex0x};
use crate::policy;

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// The book, a TOML file.
    file: PathBuf,
    /// Look for faults only, without a signer; says nothing about wider and narrower.
    #[arg(long)]
    offline: bool,
}

/// A faulty book is a failure; one that would widen is sound, and the answer says what it takes.
/// Warnings change no exit code: this program's own are about the book, the signer's about who is
/// there.
pub(crate) async fn run(
    args: &CheckArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let book = policy::read(&args.file)?;
    let mut warnings = Book::parse(&book).map(|book| book.warnings()).unwrap_or_default();
    let said = if args.offline {
        without_signer(&book)
    } else {
        connection.control().await?.check_book(book).await?
    };
    warnings.extend(said.warnings.iter().cloned());
    output.result(&human(&args.file, &said, &warnings), &json(&said, &warnings))?;
    Ok(if said.faults.is_empty() { Exit::Done } else { Exit::Failure })
}

fn without_signer(text: &str) -> CheckBookResponse {
    match Book::parse(text) {
        Ok(book) => {
            let book_hash = book.hash().0.to_vec();
            CheckBookResponse { book_hash, ..Default::default() }
        }
        Err(Faults(faults)) => {
            let place = |number| u32::try_from(number).unwrap_or(u32::MAX);
            let faults = faults.into_iter().map(|fault| BookFault {
                line: place(fault.line),
                column: place(fault.column),
                message: fault.message,
                hint: fault.hint,
            });
            CheckBookResponse { faults: faults.collect(), ..Default::default() }
        }
    }
}

fn human(file: &Path, said: &CheckBookResponse, warnings: &[String]) -> String {
    let mut lines = Vec::new();
    for fault in &said.faults {
        let place = match (fault.line, fault.column) {
            (0, _) => file.display().to_string(),
            (line, 0) => format!("{}:{line}", file.display()),
            (line, column) => format!("{}:{line}:{column}", file.display()),
        };
        lines.push(format!("{place}: {}", fault.message));
        if !fault.hint.is_empty() {
            lines.push(format!("  hint: {}", fault.hint));
        }
    }
    if !said.faults.is_empty() {
        lines.push(format!("{} fault(s): the book would be refused", said.faults.len()));
        return lines.join("\n");
    }
    lines.push(format!("sound: {}", hex0x(&said.book_hash)));
    lines.extend(warnings.iter().map(|line| format!("warning: {line}")));
    lines.extend(said.wider.iter().map(|line| format!("wider: {line}")));
    lines.extend(said.narrower.iter().map(|line| format!("narrower: {line}")));
    if !said.wider.is_empty() {
        lines.push("it widens what is allowed: adopting it takes a quorum".to_owned());
    }
    lines.join("\n")
}

fn json(said: &CheckBookResponse, warnings: &[String]) -> Value {
    let faults = said.faults.iter().map(|fault| {
        json!({
            "line": fault.line,
            "column": fault.column,
            "message": fault.message,
            "hint": fault.hint,
        })
    });
    json!({
        "sound": said.faults.is_empty(),
        "faults": Value::from_iter(faults),
        "warnings": warnings,
        "wider": said.wider,
        "narrower": said.narrower,
        "book_hash": hex0x(&said.book_hash),
    })
}
