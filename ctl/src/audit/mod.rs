//! `audit tail | show | export | verify | checkpoint | receipt | report | reconcile`.

pub(crate) mod checked;
pub(crate) mod checkpoint;
pub(crate) mod cursor;
pub(crate) mod export;
mod in_force;
pub(crate) mod line;
mod people;
pub(crate) mod receipt;
pub(crate) mod reconcile;
pub(crate) mod report;
mod show;
mod tail;
mod together;
pub(crate) mod verify;
pub(crate) mod witnesses;

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
    /// Check an export offline, in four levels: form, tree, people, and every decision made again.
    Verify(verify::VerifyArgs),
    /// Show the newest signed checkpoint, and keep it to hold the journal against another day.
    Checkpoint(checkpoint::CheckpointArgs),
    /// Fetch or check the proof that one record is in the journal.
    Receipt(receipt::ReceiptArgs),
    /// Sum up an export for auditors: who signed how much, who stopped and approved what.
    Report(report::ReportArgs),
    /// Hold what chains have mined against the journal: what has no record was made outside the
    /// signer. Exit code 8 if there is any.
    Reconcile(reconcile::ReconcileArgs),
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
        AuditVerb::Checkpoint(args) => checkpoint::run(&args, connection, output).await,
        AuditVerb::Receipt(args) => receipt::run(&args, connection, output).await,
        AuditVerb::Report(args) => report::run(&args, output),
        AuditVerb::Reconcile(args) => reconcile::run(&args, connection, output).await,
    }
}
