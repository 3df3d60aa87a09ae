//! `portctl`: the operators' command line. Remote, or on exports only; it never touches the token
//! or the data folder.
//!
//! One file a verb. Data goes to stdout and messages to stderr, and the exit code says what kind of
//! failure it was; [`failure::Exit`] lists them.

mod approvals;
mod audit;
mod cli;
mod clock;
mod collect;
mod completions;
mod connection;
mod drain;
mod drill;
mod failure;
mod fence;
mod freeze;
mod key;
mod output;
mod paper;
mod people;
mod policy;
mod report;
mod sign;
mod status;
mod stop_order;
mod thaw;
mod transaction;
mod unsettled;
mod written_time;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Verb};
use crate::failure::{Exit, Failure};
use crate::output::Output;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output::new(cli.output);
    match run(cli, &output).await {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit().into()
        }
    }
}

async fn run(cli: Cli, output: &Output) -> Result<Exit, Failure> {
    let connection = &cli.connection;
    match cli.verb {
        Verb::Key(verb) => key::run(verb, connection, output).await,
        Verb::Sign(args) => sign::run(args, connection, output).await,
        Verb::Policy(verb) => policy::run(verb, connection, output).await,
        Verb::Report(verb) => report::run(verb, connection, output).await,
        Verb::Freeze(args) => freeze::run(args, connection, output).await,
        Verb::StopOrder(verb) => stop_order::run(verb, connection, output).await,
        Verb::Thaw(args) => thaw::run(args, connection, output).await,
        Verb::Revoke(args) => thaw::revoke(args, connection, output).await,
        Verb::Drain(verb) => drain::run(verb, connection, output).await,
        Verb::Drill(verb) => drill::run(verb, connection, output).await,
        Verb::Destroy(args) => thaw::destroy(args, connection, output).await,
        Verb::Approvals(verb) => approvals::run(verb, connection, output).await,
        Verb::People(verb) => people::run(verb, connection, output).await,
        Verb::Clock(verb) => clock::run(verb, connection, output).await,
        Verb::Status => status::run(connection, output).await,
        Verb::Audit(verb) => audit::run(verb, connection, output).await,
        Verb::Completions(args) => completions::run(&args, output),
    }
}

/// Help and version are no failures; everything else the parser refuses is.
fn usage(error: &clap::Error) -> ExitCode {
    // Nothing can be done about a closed terminal.
    drop(error.print());
    if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() }
}
