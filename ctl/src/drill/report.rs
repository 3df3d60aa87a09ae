//! `drill report FOLDER`: tells the journal of a drill whose report was lost, because the signer
//! could not be reached when it ended; and signs its evidence, if nobody has.

use std::path::PathBuf;

use clap::Args;
use portcullis_client::ControlClient;
use portcullis_client::wire::{DrillStep, ReportDrillRequest};
use portcullis_policy::credential::{Evidence as Signed, Purpose};
use portcullis_policy::request::sha256;
use serde_json::json;

use super::evidence::{Bundle, Evidence, StepVerdict, write_new};
use super::history::History;
use super::verify::{compare_page, of_what_it_says};
use super::{DrillFault, WHOLE};
use crate::approvals::ssh::Signer;
use crate::approvals::vote::{enrolled, person};
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::{Output, fields};

#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// The folder that `drill run` wrote.
    folder: PathBuf,
    /// Your SSH key, public or private half, if the evidence is not signed yet [default: yours in
    /// ~/.ssh].
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

pub(crate) async fn run(
    args: &ReportArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let bundle = Bundle { folder: args.folder.clone() };
    let path = bundle.evidence();
    let text = std::fs::read_to_string(&path)
        .map_err(|source| DrillFault::Read { path: path.clone(), source })?;
    let evidence: Evidence =
        serde_json::from_str(&text).map_err(|source| DrillFault::Evidence { path, source })?;
    let control = connection.control().await?;
    let mine = person(&control).await?.id;
    if evidence.by.person != mine {
        return Err(DrillFault::Anothers { person: evidence.by.person, mine }.into());
    }
    let mut wrong = of_what_it_says(&evidence);
    compare_page(&evidence, &bundle, &mut wrong, &mut Vec::new());
    if !wrong.is_empty() {
        return Err(DrillFault::Wrong(wrong).into());
    }
    // Its answer may have been lost, or whoever was to sign it away from their key.
    let record = match History::told(&control, &text).await? {
        Some(at) => Some(at),
        None => tell(&control, &evidence, &text).await?,
    };
    if !bundle.signature().exists() {
        let signer = signer(args.key.as_ref(), &control).await?;
        if *signer.credential() != evidence.by.credential {
            return Err(DrillFault::OtherKey(evidence.by.credential.id().to_string()).into());
        }
        sign(&bundle, &text, &signer, output).await?;
    }
    let at = record.map_or_else(|| NOT_TOLD.to_owned(), |at| at.to_string());
    let human = fields(&[("drill", evidence.drill.clone()), ("record", at)]);
    output.result(&human, &json!({ "drill": evidence.drill, "record": record }))?;
    Ok(Exit::Done)
}

/// A drill without a canary is told to nobody: nothing was tried.
pub(super) async fn tell(
    control: &ControlClient,
    evidence: &Evidence,
    text: &str,
) -> Result<Option<u64>, Failure> {
    let Some(canary) = &evidence.canary else { return Ok(None) };
    let missed = evidence.missed();
    let step = |name: &str, took_ms| DrillStep {
        name: name.to_owned(),
        took_ms,
        missed: missed.contains(&name),
    };
    let taken = evidence.steps.iter().filter(|step| step.verdict == StepVerdict::Held);
    let taken = taken.map(|told| step(&told.name, told.took_ms));
    let report = ReportDrillRequest {
        drill: evidence.drill.clone(),
        key: canary.key_id.clone(),
        good: evidence.good,
        evidence: sha256(text.as_bytes()).to_vec(),
        steps: taken.chain([step(WHOLE, evidence.whole_ms)]).collect(),
    };
    Ok(Some(control.report_drill(report).await?.sequence))
}

/// The key that was named, or the first of the usual ones; and one that the vault knows as ours.
pub(super) async fn signer(
    named: Option<&PathBuf>,
    control: &ControlClient,
) -> Result<Signer, Failure> {
    let me = person(control).await?;
    let all = match named {
        Some(path) => vec![Signer::at(path)?],
        None => Signer::usual(),
    };
    let own = all.into_iter().find(|signer| enrolled(&me, signer).is_some());
    Ok(own.ok_or(DrillFault::NoSigner { person: me.id })?)
}

pub(super) async fn sign(
    bundle: &Bundle,
    text: &str,
    signer: &Signer,
    output: &Output,
) -> Result<(), Failure> {
    output.note(&format!("evidence in {}; sign it", bundle.folder.display()));
    let path = bundle.signature();
    match signer.sign(Purpose::Drill, text, output).await? {
        Signed::Ssh(armored) => {
            Ok(write_new(&path, &armored).map_err(|source| DrillFault::Write { path, source })?)
        }
        Signed::Passkey(_) => Err(DrillFault::Order.into()),
    }
}

pub(super) const NOT_TOLD: &str = "none: there was no canary";
