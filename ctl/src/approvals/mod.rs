//! `approvals list | show | approve | reject | watch | execute | withdraw`: what waits for people.
//!
//! Votes are signed here, by the voter's own key, over the text that is on the screen and nothing
//! else: see `statement.rs` for what of it is believed, and `ssh.rs` for how it is signed.

pub(crate) mod awaiting;
mod id;
mod list;
mod order;
pub(crate) mod proposing;
mod show;
pub(crate) mod ssh;
pub(crate) mod statement;
pub(crate) mod vote;
mod watch;
pub(crate) mod words;

pub(crate) use self::awaiting::AwaitFault;
pub(crate) use self::vote::VoteFault;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::{Output, fields};

#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalsVerb {
    /// List what waits for people.
    List,
    /// Show one thing that waits: exactly the text that voters sign, and who has voted.
    Show(IdArgs),
    /// Sign a vote for it, with your SSH key.
    Approve(vote::ApproveArgs),
    /// Sign a vote against it, with your SSH key. One rejection ends it.
    Reject(vote::VoteArgs),
    /// Stay, and print a line for each change; rings the bell for what asks you.
    Watch,
    /// Do what was proposed, once enough people have agreed.
    Execute(IdArgs),
    /// Take back a proposal of your own.
    Withdraw(IdArgs),
}

/// Something that waits.
#[derive(Args, Debug)]
pub(crate) struct IdArgs {
    /// A parked request's id, or for `show` its first six digits; or a proposal's, such as p12.
    id: String,
}

pub(crate) async fn run(
    verb: ApprovalsVerb,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    match verb {
        ApprovalsVerb::List => list::run(connection, output).await,
        ApprovalsVerb::Show(args) => show::run(&args.id, connection, output).await,
        ApprovalsVerb::Approve(args) => vote::approve(args, connection, output).await,
        ApprovalsVerb::Reject(args) => vote::reject(args, connection, output).await,
        ApprovalsVerb::Watch => watch::run(connection, output).await,
        ApprovalsVerb::Execute(args) => execute(&args.id, connection, output).await,
        ApprovalsVerb::Withdraw(args) => withdraw(&args.id, connection, output).await,
    }
}

async fn execute(id: &str, connection: &ConnectionArgs, output: &Output) -> Result<Exit, Failure> {
    only_proposals(id, "collects its signature by asking for it again")?;
    let done = connection.control().await?.execute(id).await?;
    let human = proposing::done(&done);
    output.result(&fields(&human), &proposing::done_json(id, &done))?;
    Ok(Exit::Done)
}

async fn withdraw(id: &str, connection: &ConnectionArgs, output: &Output) -> Result<Exit, Failure> {
    only_proposals(id, "can take it back; people can reject it")?;
    let withdrawn = connection.control().await?.withdraw_proposal(id).await?;
    let human = fields(&[("withdrawn", id.to_owned()), ("record", withdrawn.sequence.to_string())]);
    output.result(&human, &json!({ "withdrawn": id, "sequence": withdrawn.sequence }))?;
    Ok(Exit::Done)
}

fn only_proposals(id: &str, caller: &'static str) -> Result<(), VoteFault> {
    // A parked request's id is hexadecimal, so none begins with p.
    if id.starts_with('p') {
        return Ok(());
    }
    Err(VoteFault::NotAProposal { id: id.to_owned(), caller })
}
