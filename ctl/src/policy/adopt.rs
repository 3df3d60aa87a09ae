//! `policy adopt FILE`: puts a book into force.

use serde_json::json;

use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::{Output, hex0x};
use crate::policy::{self, BookFile};

pub(crate) async fn run(
    book: &BookFile,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let text = policy::read(&book.file)?;
    let adopted = connection.control().await?.adopt_book(text).await?;
    let hash = hex0x(&adopted.book_hash);
    let mut human = vec![format!("in force: {hash}, record {}", adopted.sequence)];
    human.extend(adopted.changes.iter().map(|change| format!("  {change}")));
    let json = json!({
        "book_hash": hash,
        "sequence": adopted.sequence,
        "changes": adopted.changes,
    });
    output.result(&human.join("\n"), &json)?;
    Ok(Exit::Done)
}
