//! `audit verify FILE`: offline, trusting nobody. The checking itself is the policy crate's.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_policy::record::Entry;
use portcullis_policy::verify::{Report, Verifier};
use serde_json::{Value, json};

use crate::audit::export::{ATTACHMENT, Head, head_file};
use crate::audit::together::Together;
use crate::failure::{Exit, Failure};
use crate::output::{Output, fields, hex0x};

#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// The export.
    file: PathBuf,
    /// The head to hold it against [default: FILE.head]. Best one you got on another day, or from
    /// somebody else.
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    /// Print the texts that people signed, too.
    #[arg(long)]
    statements: bool,
}

/// An export that could not be checked at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyFault {
    /// A file is missing or unreadable.
    #[error("{path} cannot be read", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    /// An attachment's line is damaged.
    #[error("line {line} of {path} is no attachment", path = path.display())]
    Attachment { path: PathBuf, line: u64 },
    /// The head is damaged.
    #[error("{path} is no head", path = path.display())]
    Head { path: PathBuf, source: serde_json::Error },
}

impl VerifyFault {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Read { .. } => Exit::Failure,
            Self::Attachment { .. } | Self::Head { .. } => Exit::Unverified,
        }
    }
}

pub(crate) fn run(args: &VerifyArgs, output: &Output) -> Result<Exit, Failure> {
    let (report, together) = check(&args.file)?;
    let named = args.head.clone().unwrap_or_else(|| head_file(&args.file));
    // Only a head nobody named may be missing, and that is said.
    let head = if args.head.is_none() && !named.exists() { None } else { Some(read_head(&named)?) };
    let mut wrong: Vec<String> = report
        .discrepancies
        .iter()
        .map(|found| format!("record {}: {}", found.at, found.what))
        .collect();
    let root = hex0x(report.root.as_slice());
    if let Some(head) = &head {
        let (said, is) = ((head.size, &head.root), (report.size, &root));
        if said != is {
            wrong.push(format!(
                "the head speaks of {} records with root {}, and the file holds {} with root {}",
                said.0, said.1, is.0, is.1
            ));
        }
    }
    let (mut human, mut json) =
        (human(&report, &root, &wrong), json(&report, &root, &wrong, head.is_some()));
    // What a journal tells that does not verify is no evidence of anything.
    if wrong.is_empty() {
        let told = together.human(args.statements);
        if !told.is_empty() {
            human.push_str(&format!("\n\nwhat people did together\n\n{told}"));
        }
        if let Some(all) = json.as_object_mut() {
            all.insert("together".to_owned(), together.json(args.statements));
        }
    }
    output.result(&human, &json)?;
    if head.is_none() {
        output.note("warning: no head to hold it against, so records cut from its end go unseen");
    }
    output
        .note("no checkpoint attests these records: who could edit the export could edit its head");
    Ok(if wrong.is_empty() { Exit::Done } else { Exit::Unverified })
}

/// What checking an export finds.
pub(crate) fn report(path: &Path) -> Result<Report, VerifyFault> {
    Ok(check(path)?.0)
}

/// Hands the export to the policy crate, line by line.
fn check(path: &Path) -> Result<(Report, Together), VerifyFault> {
    let unreadable = |source| VerifyFault::Read { path: path.to_owned(), source };
    let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(unreadable)?);
    let (mut verifier, mut together) = (Verifier::default(), Together::default());
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if file.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
            break;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        match attachment(line) {
            None => {
                verifier.record(line);
                // One that cannot be read is among the verifier's findings.
                if let Ok(entry) = Entry::decode(line) {
                    together.take(entry);
                }
            }
            Some(Ok(bytes)) => verifier.attachment(bytes),
            Some(Err(_)) => {
                return Err(VerifyFault::Attachment { path: path.to_owned(), line: number });
            }
        }
    }
    Ok((verifier.finish(), together))
}

/// The bytes of an attachment's line, or `None` for a record's.
pub(crate) fn attachment(line: &[u8]) -> Option<Result<Vec<u8>, hex::FromHexError>> {
    let rest = line.strip_prefix(ATTACHMENT.as_bytes())?;
    let digits = rest.strip_suffix(b"\"}").unwrap_or(b"?");
    Some(hex::decode(digits))
}

fn read_head(path: &Path) -> Result<Head, VerifyFault> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| VerifyFault::Read { path: path.to_owned(), source })?;
    serde_json::from_str(&text)
        .map_err(|source| VerifyFault::Head { path: path.to_owned(), source })
}

fn vault(report: &Report) -> String {
    report.vault.as_ref().map_or_else(|| "none".to_owned(), |vault| hex0x(vault.0.as_slice()))
}

fn human(report: &Report, root: &str, wrong: &[String]) -> String {
    let kinds = report.kinds.iter().map(|(kind, count)| format!("{count} {kind}"));
    let mut lines = vec![
        ("vault", vault(report)),
        ("records", report.size.to_string()),
        ("root", root.to_owned()),
        ("kinds", kinds.collect::<Vec<_>>().join(", ")),
        ("decisions made again", report.repeated.to_string()),
    ];
    if !report.not_repeated.is_empty() {
        let list: Vec<String> = report.not_repeated.iter().map(ToString::to_string).collect();
        lines.push(("not made again: they counted requests without a record", list.join(", ")));
    }
    lines.extend(wrong.iter().map(|what| ("wrong", what.clone())));
    let verdict = if wrong.is_empty() { "the journal explains itself" } else { "not verified" };
    lines.push(("verdict", verdict.to_owned()));
    fields(&lines)
}

fn json(report: &Report, root: &str, wrong: &[String], against_head: bool) -> Value {
    json!({
        "verified": wrong.is_empty(),
        "vault_id": vault(report),
        "size": report.size,
        "root": root,
        "kinds": report.kinds,
        "repeated": report.repeated,
        "not_repeated": report.not_repeated.iter().map(|at| at.0).collect::<Vec<_>>(),
        "against_head": against_head,
        "wrong": wrong,
    })
}
