//! `audit tail | show | export | verify`.

pub(crate) mod cursor;
pub(crate) mod export;
pub(crate) mod line;
mod people;
mod show;
mod tail;
mod together;
pub(crate) mod verify;

use clap::Subcommand;

use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditVerb {
    /// Show the last records, a line each.
    Tail(tail::TailArgs),
    /// Show one record, with the text that people signed.
    Show(show::ShowArgs),
    /// Write the whole journal to a file, as it is, and its head beside it.
    Export(export::ExportArgs),
    /// Check an export offline: bytes, tree, and every decision made again.
    Verify(verify::VerifyArgs),
}

pub(crate) async fn run(
    verb: AuditVerb,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    match verb {
        AuditVerb::Tail(args) => tail::run(&args, connection, output).await,
        AuditVerb::Show(args) => show::run(&args, connection, output).await,
        AuditVerb::Export(args) => export::run(&args, connection, output).await,
        AuditVerb::Verify(args) => verify::run(&args, output),
    }
}
