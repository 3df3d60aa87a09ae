//! `audit checkpoint`: what the journal is, signed by the token, to be kept elsewhere; and that it
//! continues what was kept before.

use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy_primitives::B256;
use clap::Args;
use portcullis_client::wire::GetCheckpointResponse;
use portcullis_client::{CallError, Code, ControlClient};
use portcullis_policy::note::{Checkpoint, Note, NoteFault, Verifier};
use portcullis_policy::tree::Consistency;
use serde_json::json;

use crate::audit::export::{beside, place, unwritable};
use crate::audit::witnesses::{self, Wanted, WitnessArgs};
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::{Output, fields, hex0x};

#[derive(Args, Debug)]
pub(crate) struct CheckpointArgs {
    /// Keep it in this file. If there is one already, the new one must continue it, and takes its
    /// place.
    #[arg(short = 'o', long = "file", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Who must have signed it: NAME+ID+KEY, as this verb printed it when you believed it.
    #[arg(long, value_name = "KEY")]
    journal: Option<String>,
    #[command(flatten)]
    witnesses: WitnessArgs,
}

/// A checkpoint that shows nothing, or the wrong thing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointFault {
    /// It does not count.
    #[error("the signer's checkpoint does not count: {0}")]
    Note(#[from] NoteFault),
    /// Somebody else's key.
    #[error("--journal is no verifier key: {0}")]
    Journal(NoteFault),
    /// Another journal, or another key.
    #[error("the signer's checkpoints are signed by {theirs}, and {given} was given")]
    Other { theirs: Box<Verifier>, given: Box<Verifier> },
    /// What was kept is no checkpoint of it.
    #[error("{path} holds no checkpoint of this journal: {fault}", path = path.display())]
    Kept { path: PathBuf, fault: NoteFault },
    /// The journal is not the one that was kept.
    #[error(
        "the journal does not continue the {old} records under {path}: it was changed or put back. \
         Keep the file, freeze everything, and compare exports",
        path = path.display()
    )]
    Broken { path: PathBuf, old: u64 },
}

impl CheckpointFault {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Journal(_) => Exit::Usage,
            Self::Kept { .. } => Exit::Failure,
            Self::Note(_) | Self::Other { .. } | Self::Broken { .. } => Exit::Unverified,
        }
    }
}

/// A checkpoint, signed by whoever the signer says.
#[derive(Debug)]
pub(super) struct Attested {
    pub(super) note: Note,
    pub(super) checkpoint: Checkpoint,
    pub(super) journal: Verifier,
}

impl Attested {
    fn read(response: &GetCheckpointResponse) -> Result<Self, CheckpointFault> {
        let note = Note::parse(&response.checkpoint)?;
        let checkpoint = Checkpoint::parse(&note.text)?;
        let journal = Verifier::parse(&response.verifier_key)?;
        note.check(&journal)?;
        if checkpoint.origin != journal.name {
            return Err(NoteFault::Unsigned(checkpoint.origin).into());
        }
        Ok(Self { note, checkpoint, journal })
    }
}

/// The newest checkpoint, over all that is in the journal now; after a while over less. `None`: the
/// signer has none.
pub(super) async fn newest(control: &ControlClient) -> Result<Option<Attested>, Failure> {
    let wanted = control.status().await?.sequence;
    let mut newest = None;
    for _ in 0..TRIES_MAX {
        match control.checkpoint(0).await {
            Ok(response) => newest = Some(Attested::read(&response)?),
            Err(CallError::Refused(refusal)) if refusal.code() == Code::NotFound => break,
            Err(CallError::Refused(refusal)) if refusal.reason() == Some("NOT_ATTESTED_YET") => {}
            Err(error) => return Err(error.into()),
        }
        if newest.as_ref().is_some_and(|newest| newest.checkpoint.size >= wanted) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(newest)
}

pub(crate) async fn run(
    args: &CheckpointArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let given = args.journal.as_deref().map(Verifier::parse).transpose();
    let given = given.map_err(CheckpointFault::Journal)?;
    let witnesses = args.witnesses.read()?;
    let kept = args.file.as_deref().map(kept).transpose()?.flatten();
    let control = connection.control().await?;
    let old = kept.as_ref().map_or(0, |(_, checkpoint)| checkpoint.size);
    let response = fetched(&control, old, &witnesses).await?;
    let attested = Attested::read(&response)?;
    if let Some(given) = given.filter(|given| *given != attested.journal) {
        let (theirs, given) = (Box::new(attested.journal), Box::new(given));
        return Err(CheckpointFault::Other { theirs, given }.into());
    }
    if let (Some(path), Some((note, old))) = (&args.file, &kept) {
        let kept = |fault| CheckpointFault::Kept { path: path.clone(), fault };
        note.check(&attested.journal).map_err(kept)?;
        if !continues(old, &attested.checkpoint, &response) {
            return Err(CheckpointFault::Broken { path: path.clone(), old: old.size }.into());
        }
    }
    let cosigned = witnesses.check(&attested.note, attested.checkpoint.size)?;
    if let Some(path) = &args.file {
        let mut file = beside(path)?;
        std::io::Write::write_all(&mut file, attested.note.to_string().as_bytes())
            .map_err(|source| unwritable(path, source))?;
        place(file, path)?;
    }
    let (size, root) = (attested.checkpoint.size, hex0x(attested.checkpoint.root.as_slice()));
    let journal = attested.journal.to_string();
    let mut lines =
        vec![("records", size.to_string()), ("root", root.clone()), ("signed by", journal.clone())];
    if let Some((_, old)) = &kept {
        lines.push(("continues", format!("the {} records kept before", old.size)));
    }
    if !cosigned.is_empty() {
        lines.push(("cosigned by", witnesses::words(&cosigned)));
    }
    let continues = kept.map(|(_, old)| old.size);
    let json = json!({
        "size": size,
        "root": root,
        "journal": journal,
        "continues": continues,
        "checkpoint": attested.note.to_string(),
        "cosigned": witnesses::json(&cosigned),
    });
    output.result(&fields(&lines), &json)?;
    Ok(Exit::Done)
}

/// The newest checkpoint; after a while also one that is not cosigned yet.
async fn fetched(
    control: &ControlClient,
    old: u64,
    witnesses: &Wanted,
) -> Result<GetCheckpointResponse, Failure> {
    let mut response = control.checkpoint(old).await?;
    for _ in 1..witnesses::TRIES_MAX {
        if witnesses.is_met(&response.checkpoint) {
            break;
        }
        tokio::time::sleep(witnesses::PAUSE).await;
        response = control.checkpoint(old).await?;
    }
    Ok(response)
}

/// What is in a file, if it is there.
fn kept(path: &Path) -> Result<Option<(Note, Checkpoint)>, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Failure::Read { path: path.to_owned(), source }),
    };
    let kept = |fault| CheckpointFault::Kept { path: path.to_owned(), fault };
    let note = Note::parse(&text).map_err(kept)?;
    let checkpoint = Checkpoint::parse(&note.text).map_err(kept)?;
    Ok(Some((note, checkpoint)))
}

fn continues(old: &Checkpoint, new: &Checkpoint, response: &GetCheckpointResponse) -> bool {
    if old.size == new.size {
        return old == new;
    }
    let hashes = response.consistency_proof.iter().map(|hash| B256::try_from(hash.as_slice()));
    let Ok(path) = hashes.collect::<Result<Vec<_>, _>>() else { return false };
    let proof = Consistency { old: old.size, new: new.size, path };
    old.origin == new.origin && proof.proves(old.root, new.root)
}

/// A checkpoint follows about a second after a record.
const TRIES_MAX: u32 = 10;
const PAUSE: Duration = Duration::from_millis(300);
