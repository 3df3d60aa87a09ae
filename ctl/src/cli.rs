//! The words of the command line. What they do is in the file named after the verb.

use clap::{Parser, Subcommand};

use crate::connection::ConnectionArgs;
use crate::output::Format;
use crate::{
    approvals, audit, clock, completions, drain, drill, freeze, key, people, policy, report, sign,
    stop_order, thaw,
};

/// Speaks to a Portcullis signer: keys, signatures, the policy book, the stop, the journal.
#[derive(Debug, Parser)]
#[command(name = "portctl", version, after_help = AFTER_HELP, propagate_version = true)]
pub(crate) struct Cli {
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Human)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// One variant a noun or verb.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make keys and show them.
    #[command(subcommand)]
    Key(key::KeyVerb),
    /// Ask for a signature, to try things. Uses the data plane and a service certificate.
    Sign(sign::SignArgs),
    /// Check, adopt and show the policy book.
    #[command(subcommand)]
    Policy(policy::PolicyVerb),
    /// Stop signing in a scope, at once. Thawing takes a quorum.
    Freeze(freeze::FreezeArgs),
    /// Sign a stop beforehand, to be used without a certificate.
    #[command(subcommand)]
    StopOrder(stop_order::StopOrderVerb),
    /// Start again what one freeze stopped. Takes a quorum.
    Thaw(thaw::ThawArgs),
    /// End a stopped key for good. Takes a quorum.
    Revoke(thaw::RevokeArgs),
    /// Bring what a key holds to safety, and let it sign nothing else. Takes a quorum.
    #[command(subcommand)]
    Drain(drain::DrainVerb),
    /// Remove a revoked key from the token. Takes a quorum, and its delay.
    Destroy(thaw::DestroyArgs),
    /// Try the stop on a key that is made for it, and keep the evidence.
    #[command(subcommand)]
    Drill(drill::DrillVerb),
    /// See what waits for people, vote on it, and do what was agreed.
    #[command(subcommand)]
    Approvals(approvals::ApprovalsVerb),
    /// Show and change the people, what they sign with, and what deeds take.
    #[command(subcommand)]
    People(people::PeopleVerb),
    /// Tell the signer what is mined, and what things cost.
    #[command(subcommand)]
    Report(report::ReportVerb),
    /// Show how far sure time is behind, and let it go forward. That takes a quorum.
    #[command(subcommand)]
    Clock(clock::ClockVerb),
    /// Show state, health and figures.
    Status,
    /// Read, export and verify the journal.
    #[command(subcommand)]
    Audit(audit::AuditVerb),
    /// Print completions for a shell.
    Completions(completions::CompletionsArgs),
}

const AFTER_HELP: &str = "\
Exit codes: 0 ok, 1 failure, 2 usage, 3 denied by policy, 4 waits for people, 5 unauthenticated or
not authorised, 6 unavailable, 7 verification failed, 8 a key was used outside the signer. Of audit
verify: 9 nobody attests all of it, 10 inputs were left out, 11 form, 12 tree or checkpoint,
13 people, 14 replay. With --witness: 15 too few witnesses cosigned.

Connection: flags, or a TOML file given by --config, $PORTCTL_CONFIG or ./portctl.toml, with
endpoint, ca, certificate, private_key and optionally server_name for the control plane, and the
same in [data_plane] for `sign`. Paths in the file are relative to it. With vault, the vault's id,
statements of any other vault are not signed.

What takes a quorum is proposed by its verb, which exits with 4; people vote with `approvals
approve`; the same verb again, or `approvals execute`, does it.";
