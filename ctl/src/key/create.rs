//! `key create LABEL`.

use clap::Args;
use portcullis_client::wire::{CreateKeyRequest, Key};
use portcullis_policy::utc::first_of_day;

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
    #[arg(long)]
    purpose: String,
    /// A chain that it may ever sign for, by its id; may be given more than once. A book cannot add
    /// one later.
    #[arg(long = "chain", value_name = "ID", required = true)]
    chains: Vec<u64>,
    /// What it is for: development, staging or production. Another vault's key is made in that
    /// vault.
    #[arg(long, value_name = "NAME")]
    environment: String,
    /// The day by which somebody looks whether it is still needed: 2027-03-31, within three years.
    #[arg(long, value_name = "DAY", value_parser = day)]
    review_by: u64,
    /// The person who answers for it [default: you].
    #[arg(long, value_name = "PERSON", default_value = "", hide_default_value = true)]
    owner: String,
}

pub(crate) async fn run(
    args: CreateArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let CreateArgs { label, tags, purpose, chains, environment, review_by, owner } = args;
    let review_by_ms = review_by;
    let request =
        CreateKeyRequest { label, tags, purpose, owner, environment, chains, review_by_ms };
    let made = connection.control().await?.create_key(request).await?;
    output.result(&key::human(&made), &key::json(&made))?;
    Ok(Exit::Done)
}

/// What makes a key like this one, under another label.
pub(crate) fn like(key: &Key, label: &str, review_by_ms: u64) -> CreateKeyRequest {
    CreateKeyRequest {
        label: label.to_owned(),
        tags: key.tags.clone(),
        purpose: key.purpose.clone(),
        owner: key.owner.clone(),
        environment: key.environment.clone(),
        chains: key.chains.clone(),
        review_by_ms,
    }
}

/// The first moment of a day, UTC.
pub(crate) fn day(text: &str) -> Result<u64, String> {
    first_of_day(text).ok_or_else(|| "write a day as 2027-03-31".to_owned())
}
