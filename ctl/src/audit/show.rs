//! `audit show SEQUENCE`: one record in plain words, and the text that people signed, if it holds
//! one.

use clap::Args;
use portcullis_client::wire::ReadJournalRequest;
use portcullis_policy::book::Book;
use portcullis_policy::record::{Entry, Record};

use crate::audit::line;
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::Output;

#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// The record's sequence number.
    sequence: u64,
}

/// With `--output json`, the record's canonical JSON, byte for byte.
pub(crate) async fn run(
    args: &ShowArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let control = connection.control().await?;
    let book = Book::parse(&control.book().await?.book).ok();
    let registry = book.map(|book| book.registry().clone()).unwrap_or_default();
    let request = ReadJournalRequest { from_sequence: args.sequence, follow: false, limit: 1 };
    let mut journal = control.read_journal(request).await?;
    while let Some(batch) = journal.next().await? {
        let found = batch.lines.iter().find(|line| line.sequence == args.sequence);
        let Some(record) = found else { continue };
        let mut human = line::summary(record.sequence, &record.content, &registry);
        if let Some(statement) = statement(&record.content) {
            human.push_str("\n\n");
            human.push_str(statement.trim_end());
        }
        output.record(&human, &String::from_utf8_lossy(&record.content))?;
        return Ok(Exit::Done);
    }
    output.note(&format!("there is no record {}: portctl status says how many", args.sequence));
    Ok(Exit::Failure)
}

/// The text of something that waits.
fn statement(line: &[u8]) -> Option<String> {
    let record = Entry::decode(line).ok()?.record;
    if let Record::Proposed(proposed) = record {
        return Some(proposed.statement);
    }
    if let Record::Parked(parked) = record { Some(parked.statement) } else { None }
}
