//! `people recover sign | begin | finish | cancel`: replaces the people with offline credentials,
//! when too few are left to vote.
//!
//! Each holder signs on their own machine, from a file of their own; whoever has a certificate
//! brings the signatures. Announcing stops everything; nothing else happens until the delay is
//! over.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use portcullis_client::ControlClient;
use portcullis_policy::act::{Act, CancelRecovery};
use portcullis_policy::credential::{Credential, Purpose};
use portcullis_policy::governance::Governance;
use portcullis_policy::record::{RecoveryBegun, Renewal, Signature};
use portcullis_policy::statement;
use portcullis_policy::utc::rfc3339;
use serde_json::json;

use crate::approvals::proposing::Wanted;
use crate::approvals::ssh::Signer;
use crate::approvals::statement::{framed, vault};
use crate::approvals::vote::confirm;
use crate::connection::{ConnectionArgs, VaultHex};
use crate::failure::{Exit, Failure};
use crate::freeze::reason;
use crate::output::{Output, fields};
use crate::people::{PeopleFault, read_json, renewal_file, write_new};

#[derive(Debug, Subcommand)]
pub(crate) enum RecoverVerb {
    /// Sign a renewal: as the holder of a recovery credential, or as one of the new people.
    Sign(SignArgs),
    /// Announce it with the signatures. Stops everything at once.
    Begin(BeginArgs),
    /// Carry out a recovery whose delay is over.
    Finish(FinishArgs),
    /// Call off a recovery that was announced. Takes a quorum.
    Cancel(CancelArgs),
}

#[derive(Args, Debug)]
pub(crate) struct SignArgs {
    /// The renewal: a TOML file with expires, reason, [[person]], [quorum.DEED] and [recovery].
    renewal: PathBuf,
    /// The SSH key, public or private half.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where to write the signature [default: standard output].
    #[arg(short = 'o', long = "file", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Sign without being asked.
    #[arg(long)]
    yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct BeginArgs {
    /// The renewal, as it was signed.
    renewal: PathBuf,
    /// A signature by `portctl people recover sign`; one for each credential.
    #[arg(long = "signature", value_name = "FILE", required = true)]
    signatures: Vec<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct FinishArgs {
    /// The record that announced it.
    sequence: u64,
}

#[derive(Args, Debug)]
pub(crate) struct CancelArgs {
    /// Why: 1 to 500 characters. Part of what voters sign.
    #[arg(long, value_parser = reason)]
    reason: String,
}

pub(crate) async fn run(
    verb: RecoverVerb,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    match verb {
        RecoverVerb::Sign(args) => sign(&args, connection, output).await,
        RecoverVerb::Begin(args) => begin(&args, connection, output).await,
        RecoverVerb::Finish(args) => finish(args.sequence, connection, output).await,
        RecoverVerb::Cancel(args) => {
            let act = Act::CancelRecovery(CancelRecovery {});
            let wanted = Wanted { act, reason: args.reason };
            wanted.settle(&connection.control().await?, output).await
        }
    }
}

/// Needs no signer if the vault is named: an offline credential is used on an offline machine.
async fn sign(
    args: &SignArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let renewal = renewal_file::read(&args.renewal)?;
    let vault = match connection.pinned_vault()? {
        Some(vault) => vault,
        None => VaultHex::of(&connection.control().await?.status().await?.vault_id),
    };
    let signer = Signer::at(&args.key)?;
    let text = statement::recovery(vault.as_str(), &renewal);
    output.aside(&framed("what follows is exactly what you sign", &text, output));
    confirm("recover", args.yes, output)?;
    let evidence = signer.sign(Purpose::Recovery, &text, output).await?;
    let credential = signer.credential().id();
    let signature = Signature { credential: credential.clone(), evidence };
    let signature = serde_json::to_string(&signature)?;
    let Some(file) = &args.file else {
        output.data(&signature)?;
        return Ok(Exit::Done);
    };
    write_new(file, &format!("{signature}\n"))?;
    let human = fields(&[
        ("written", file.display().to_string()),
        ("credential", credential.to_string()),
        ("vault", vault.as_str().to_owned()),
    ]);
    let json = json!({
        "file": file,
        "credential_id": credential.as_str(),
        "vault_id": format!("0x{}", vault.as_str()),
    });
    output.result(&human, &json)?;
    Ok(Exit::Done)
}

async fn begin(
    args: &BeginArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let renewal = renewal_file::read(&args.renewal)?;
    let control = connection.control().await?;
    let vault = vault(&control, connection).await?;
    let known = signatories(&control, &renewal).await?;
    let text = statement::recovery(vault.as_str(), &renewal);
    let mut signatures = Vec::new();
    for path in &args.signatures {
        signatures.push(signature(path, &known, &text)?);
    }
    let begun = serde_json::to_string(&RecoveryBegun { renewal, signatures })?;
    let begun = control.begin_recovery(&begun).await?;
    let (sequence, from) = (begun.sequence, rfc3339(begun.from_ms));
    let human = fields(&[
        ("announced", format!("record {sequence}")),
        ("stopped", output.alarm("everything")),
        ("not before", from.clone()),
        ("and then", format!("portctl people recover finish {sequence}")),
    ]);
    output.result(&human, &json!({ "sequence": sequence, "from": from }))?;
    Ok(Exit::Done)
}

/// The vault's recovery credentials, and those of the new people.
async fn signatories(
    control: &ControlClient,
    renewal: &Renewal,
) -> Result<Vec<Credential>, Failure> {
    let listed = control.list_people().await?;
    let governance: Governance =
        serde_json::from_str(&listed.governance_json).map_err(PeopleFault::Governance)?;
    let offline = governance.recovery.into_iter().flat_map(|recovery| recovery.credentials);
    let new = renewal.people.iter().flat_map(|person| person.credentials.clone());
    Ok(offline.chain(new).collect())
}

/// A signature in a file, if it is one by somebody who is asked.
fn signature(path: &Path, known: &[Credential], text: &str) -> Result<Signature, Failure> {
    let signature: Signature = read_json(path)?;
    let credential = signature.credential.to_string();
    let Some(signer) = known.iter().find(|one| one.id() == signature.credential) else {
        return Err(PeopleFault::Stranger { path: path.to_owned(), credential }.into());
    };
    match signer.verify(Purpose::Recovery, text.as_bytes(), &signature.evidence) {
        Ok(_) => Ok(signature),
        Err(source) => {
            Err(PeopleFault::Signature { path: path.to_owned(), credential, source }.into())
        }
    }
}

async fn finish(
    sequence: u64,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let done = connection.control().await?.finish_recovery(sequence).await?;
    let human = fields(&[
        ("recovered", "all people were replaced".to_owned()),
        ("record", done.sequence.to_string()),
        ("stopped", output.alarm("everything, until the new people thaw it")),
    ]);
    output.result(&human, &json!({ "sequence": done.sequence }))?;
    Ok(Exit::Done)
}
