//! `policy lint FILE`: faults, and foot-guns that a sound book may hold. Needs no signer.

use portcullis_policy::book::{Book, Faults};
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::policy::{self, BookFile};

/// A fault or a foot-gun is a failure: a script can stand on the exit code.
pub(crate) fn run(args: &BookFile, output: &Output) -> Result<Exit, Failure> {
    let text = policy::read(&args.file)?;
    let file = args.file.display();
    let (mut lines, mut found) = (Vec::new(), Vec::new());
    match Book::parse(&text) {
        Err(Faults(faults)) => {
            for fault in faults {
                lines.push(format!("{file}:{fault}"));
                found.push(json!({
                    "code": "fault",
                    "at": format!("{}:{}", fault.line, fault.column),
                    "message": fault.message,
                    "hint": fault.hint,
                }));
            }
        }
        Ok(book) => {
            for lint in book.lints() {
                lines.push(format!("{}: {} [{}]", lint.at, lint.message, lint.code));
                lines.push(format!("    hint: {}", lint.hint));
                found.push(json!({
                    "code": lint.code,
                    "at": lint.at,
                    "message": lint.message,
                    "hint": lint.hint,
                }));
            }
            for warning in book.warnings() {
                lines.push(format!("warning: {warning}"));
                found.push(json!({ "code": "warning", "message": warning }));
            }
        }
    }
    let clean = found.is_empty();
    lines.push(match found.len() {
        0 => "nothing found".to_owned(),
        count => format!("{count} found"),
    });
    output.result(&lines.join("\n"), &json!({ "clean": clean, "found": found }))?;
    Ok(if clean { Exit::Done } else { Exit::Failure })
}
