//! `audit tail [--follow] [-n N]`: the last records, and those to come.

use clap::Args;
use portcullis_client::wire::ReadJournalRequest;
use portcullis_policy::book::Book;

use crate::audit::line;
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
}

/// With `--output json`, each line is the record's canonical JSON, byte for byte.
pub(crate) async fn run(
    args: &TailArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let control = connection.control().await?;
    let last = control.status().await?.sequence;
    let from_sequence = last.saturating_add(1).saturating_sub(args.count).max(1);
    if args.count == 0 && !args.follow {
        return Ok(Exit::Done);
    }
    let limit = if args.follow { 0 } else { args.count };
    let request = ReadJournalRequest { from_sequence, follow: args.follow, limit };
    // Amounts and addresses are shown with the units and labels of the book in force.
    let book = Book::parse(&control.book().await?.book).ok();
    let registry = book.map(|book| book.registry().clone()).unwrap_or_default();
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
