//! `audit tail [--follow] [-n N | --cursor FILE]`: the last records, and those to come.

use std::path::PathBuf;

use clap::Args;
use portcullis_client::wire::ReadJournalRequest;

use crate::audit::{cursor, line};
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::Output;

#[derive(Args, Debug)]
pub(crate) struct TailArgs {
    /// Stay, and show records as they become durable.
    #[arg(long, short)]
    follow: bool,
    /// How many of the last records to begin with.
    #[arg(short = 'n', value_name = "N", default_value_t = 20)]
    count: u64,
    /// Every record once, from where this file says to the end, or for good with --follow: for
    /// programs that keep them elsewhere. The file is made if it is not there.
    #[arg(long, value_name = "FILE", conflicts_with = "count")]
    cursor: Option<PathBuf>,
}

/// With `--output json`, each line is the record's canonical JSON, byte for byte.
pub(crate) async fn run(
    args: &TailArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    if let Some(path) = &args.cursor {
        return cursor::run(path, args.follow, connection, output).await;
    }
    let control = connection.control().await?;
    let last = control.status().await?.sequence;
    let from_sequence = last.saturating_add(1).saturating_sub(args.count).max(1);
    if args.count == 0 && !args.follow {
        return Ok(Exit::Done);
    }
    let limit = if args.follow { 0 } else { args.count };
    let request = ReadJournalRequest { from_sequence, follow: args.follow, limit };
    let registry = cursor::registry(&control).await?;
    let mut journal = control.read_journal(request).await?;
    while let Some(batch) = journal.next().await? {
        // Attachments are inputs too large for a line; the record after one names it.
        for record in batch.lines.iter().filter(|line| line.sequence != 0) {
            let json = String::from_utf8_lossy(&record.content);
            output.record(&line::summary(record.sequence, &record.content, &registry), &json)?;
        }
    }
    Ok(Exit::Done)
}
