//! `policy show`: the book in force. For people its bytes alone, so that it can be saved.

use serde_json::json;

use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::{Output, hex0x};

pub(crate) async fn run(connection: &ConnectionArgs, output: &Output) -> Result<Exit, Failure> {
    let force = connection.control().await?.book().await?;
    let hash = hex0x(&force.book_hash);
    output.note(&format!("book {hash}, adopted by record {}", force.sequence));
    let json = json!({ "book": force.book, "book_hash": hash, "sequence": force.sequence });
    output.exact(&force.book, &json)?;
    Ok(Exit::Done)
}
