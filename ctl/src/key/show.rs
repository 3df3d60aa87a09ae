//! `key show KEY`.

use clap::Args;

use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::key;
use crate::output::Output;

#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// Its id or label.
    key: String,
}

pub(crate) async fn run(
    args: &ShowArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let found = connection.control().await?.key(&args.key).await?;
    output.result(&key::human(&found), &key::json(&found))?;
    Ok(Exit::Done)
}
