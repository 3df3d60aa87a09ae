//! `people suspend ID`: a vote, or a credential, no longer counts. At once, and by one person; only
//! a quorum brings it back.

use clap::Args;
use portcullis_client::wire::SuspendRequest;
use serde_json::json;

use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::freeze::reason;
use crate::output::{Output, fields};

#[derive(Args, Debug)]
pub(crate) struct SuspendArgs {
    /// Whose.
    id: String,
    /// Only this credential, by its id [default: their vote altogether].
    #[arg(long, value_name = "CREDENTIAL", default_value = "", hide_default_value = true)]
    credential: String,
    /// Why: 1 to 500 characters, kept in the journal.
    #[arg(long, value_parser = reason)]
    reason: String,
}

pub(crate) async fn run(
    args: SuspendArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let SuspendArgs { id: person, credential, reason } = args;
    let request =
        SuspendRequest { person: person.clone(), credential_id: credential.clone(), reason };
    let sequence = connection.control().await?.suspend(request).await?.sequence;
    let what = match credential.as_str() {
        "" => format!("all votes of {person}"),
        credential => format!("votes of {person} with {credential}"),
    };
    let human = fields(&[("suspended", output.alarm(&what)), ("record", sequence.to_string())]);
    let json = json!({
        "person": person,
        "credential_id": (!credential.is_empty()).then_some(credential),
        "sequence": sequence,
    });
    output.result(&human, &json)?;
    output.note(&format!("a quorum brings it back: portctl people reinstate {person}"));
    Ok(Exit::Done)
}
