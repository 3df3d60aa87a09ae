//! `key create LABEL`.

use clap::Args;
use portcullis_client::wire::CreateKeyRequest;

use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::key;
use crate::output::Output;

#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// The name the book uses: 1 to 64 of a-z, 0-9 and -.
    label: String,
    /// A tag, for stops over many keys; may be given more than once.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// What it is for, in a word: payments, canary.
    #[arg(long, default_value = "")]
    purpose: String,
    /// The person who answers for it [default: you].
    #[arg(long, value_name = "PERSON", default_value = "", hide_default_value = true)]
    owner: String,
}

pub(crate) async fn run(
    args: CreateArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let CreateArgs { label, tags, purpose, owner } = args;
    let request = CreateKeyRequest { label, tags, purpose, owner };
    let made = connection.control().await?.create_key(request).await?;
    output.result(&key::human(&made), &key::json(&made))?;
    Ok(Exit::Done)
}
