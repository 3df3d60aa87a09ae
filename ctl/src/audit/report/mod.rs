//! `audit report FILE`: what the vault did in a period, in figures, from an export alone.
//!
//! Tells nothing of an export that does not check. The figures are sums over records; whether each
//! of these decisions was right is for `audit verify` to say.

mod gather;
mod json;
mod page;
mod period;
mod sheet;
mod stops;
mod tally;
mod text;
mod voters;

use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_policy::utc::rfc3339;

use self::gather::{Found, Gatherer};
use self::period::Period;
use self::stops::Stop;
use crate::audit::checked::{self, Checked, LEVEL};
use crate::failure::{Exit, Failure};
use crate::output::{Output, hex0x};
use crate::written_time::{Written, written};

#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// The export, as `audit export` wrote it.
    file: PathBuf,
    /// The head to hold it against [default: FILE.head].
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    /// Only what was written from here on: a day, 2026-12-01, or a time in UTC,
    /// 2026-12-01T12:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = written)]
    from: Option<Written>,
    /// Only what was written before this; a day is taken with all of its hours.
    #[arg(long, value_name = "TIME", value_parser = written)]
    to: Option<Written>,
    /// Only requests of this key, by label or id. Can be given again.
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// Write a page for people, too: one file, to be printed or kept.
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

/// There is nothing to report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportFault {
    /// It ends before it begins.
    #[error("the period is empty: it begins at {from} and ends at {until}. Change --from or --to")]
    Backwards { from: String, until: String },
    /// No record is of it.
    #[error(
        "no record is in the period {period}: the export goes from {first} to {last}. Change \
         --from or --to, or make a newer export"
    )]
    Nothing { period: String, first: String, last: String },
    /// Keys that the export does not know.
    #[error("the export knows no key {unknown}: it has {known}")]
    Keys { unknown: String, known: String },
}

impl ReportFault {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Backwards { .. } => Exit::Usage,
            Self::Nothing { .. } | Self::Keys { .. } => Exit::Failure,
        }
    }
}

/// All that is told.
struct Told<'a> {
    file: &'a Path,
    checked: Checked,
    period: Period,
    only: &'a [String],
    found: &'a Found,
    stops: Vec<Stop>,
}

pub(crate) fn run(args: &ReportArgs, output: &Output) -> Result<Exit, Failure> {
    let period = Period::of(args.from, args.to)?;
    let mut gatherer = Gatherer::new(period, args.keys.clone());
    let head = args.head.as_deref();
    let checked = checked::read(&args.file, head, |entry| gatherer.take(entry))?;
    let (mut found, unknown) = gatherer.finish();
    if !unknown.is_empty() {
        let known: Vec<&str> = found.keys.values().map(|key| key.label.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(ReportFault::Keys { unknown: unknown.join(", "), known }.into());
    }
    if found.within == 0 {
        let (first, last) = (rfc3339(found.first.1.0), rfc3339(found.last.1.0));
        return Err(ReportFault::Nothing { period: period.words(), first, last }.into());
    }
    let mut stops = std::mem::take(&mut found.stops).during(&period);
    stops.retain(|stop| found.concerns(&stop.scope, &args.keys));
    let (file, only, found) = (args.file.as_path(), args.keys.as_slice(), &found);
    let told = Told { file, checked, period, only, found, stops };
    if let Some(path) = &args.page {
        std::fs::write(path, page::render(&told))
            .map_err(|source| Failure::Write { path: path.clone(), source })?;
    }
    output.result(&text::render(&told), &json::render(&told))?;
    if let Some(path) = &args.page {
        output.note(&format!("the page is in {}", path.display()));
    }
    Ok(Exit::Done)
}

impl Told<'_> {
    fn vault(&self) -> String {
        hex0x(self.checked.vault.0.as_slice())
    }

    fn root(&self) -> String {
        hex0x(self.checked.root.as_slice())
    }

    fn level(&self) -> String {
        LEVEL.to_owned()
    }

    fn unchecked(&self) -> String {
        format!("that decisions and votes are right, which {} shows", self.next())
    }

    fn next(&self) -> String {
        format!("portctl audit verify {}", self.file.display())
    }
}
