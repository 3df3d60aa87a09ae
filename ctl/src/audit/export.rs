//! `audit export -o FILE`: the journal as it is, a line a record; its head in `FILE.head`, and the
//! signed checkpoint that it ends with in `FILE.checkpoint`.
//!
//! The file is the journal and nothing else, so that anybody can check it with other tools. It
//! appears only when it is whole. It ends at the newest checkpoint, so that nothing in it is
//! anybody's mere word; where the signer has none, it ends at the head, and that is said.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_client::wire::{JournalHead, JournalLine, ReadJournalRequest, ReadJournalResponse};
use portcullis_client::{CallError, ControlClient};
use portcullis_policy::note::Checkpoint;
use portcullis_policy::tree::{Frontier, leaf_hash};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tempfile::NamedTempFile;

use crate::audit::checkpoint::{self, Attested};
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::{Output, fields, hex0x};

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// The file to write.
    #[arg(short = 'o', long = "file", value_name = "FILE")]
    file: PathBuf,
}

/// The head beside an export: how many records, and their root.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    /// Number of records.
    pub(crate) size: u64,
    /// RFC 6962 root over them, 0x-hex.
    pub(crate) root: String,
}

/// An export that was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportFault {
    /// The disk said no.
    #[error("{path} cannot be written", path = path.display())]
    Write { path: PathBuf, source: io::Error },
    /// The head could not be put beside it.
    #[error("the head has no JSON form")]
    Head(#[from] serde_json::Error),
    /// Records came out of order, or some are missing.
    #[error(
        "record {wanted} should have come, and record {came} came: the signer's journal has a \
         gap, or hides something"
    )]
    Gap { wanted: u64, came: u64 },
    /// A record that is not one line.
    #[error("record {at} is not one line: it is not the journal's form")]
    NotALine { at: u64 },
    /// What was read is not what was signed.
    #[error(
        "the {size} records that the signer sent are not those that its checkpoint was signed \
         over: its journal was changed, or this is none of its own"
    )]
    OtherRecords { size: u64 },
    /// The signer gave no head that the records add up to.
    #[error("the signer's records never added up to its head of {size} records, after {have}")]
    NoHead { size: u64, have: u64 },
}

impl ExportFault {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Write { .. } | Self::Head(_) => Exit::Failure,
            Self::Gap { .. }
            | Self::NotALine { .. }
            | Self::OtherRecords { .. }
            | Self::NoHead { .. } => Exit::Unverified,
        }
    }
}

pub(crate) async fn run(
    args: &ExportArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let control = connection.control().await?;
    let mut export = Export::create(&args.file)?;
    let attested = checkpoint::newest(&control).await?;
    let head = match &attested {
        Some(attested) => export.read_to(&control, &attested.checkpoint).await?,
        None => export.read_all(&control).await?,
    };
    let attachments = export.attachments;
    export.finish(&head, attested.as_ref())?;
    let root = hex0x(&head.root);
    let under = if attested.is_some() { "a signed checkpoint" } else { "nothing" };
    let human = fields(&[
        ("written", args.file.display().to_string()),
        ("records", head.size.to_string()),
        ("attachments", attachments.to_string()),
        ("root", root.clone()),
        ("attested by", under.to_owned()),
    ]);
    let json = json!({
        "file": args.file,
        "size": head.size,
        "attachments": attachments,
        "root": root,
        "attested": attested.is_some(),
    });
    output.result(&human, &json)?;
    if attested.is_none() {
        output.note("warning: the signer has no signed checkpoint: portctl status says why");
    }
    Ok(Exit::Done)
}

/// Writes an export up to the newest record, attested or not, and its head.
pub(super) async fn write(path: &Path, control: &ControlClient) -> Result<JournalHead, Failure> {
    let mut export = Export::create(path)?;
    let head = export.read_all(control).await?;
    export.finish(&head, None)?;
    Ok(head)
}

/// Where the head of an export is.
pub(crate) fn head_file(export: &Path) -> PathBuf {
    with_ending(export, ".head")
}

/// Where its checkpoint is.
pub(crate) fn checkpoint_file(export: &Path) -> PathBuf {
    with_ending(export, ".checkpoint")
}

fn with_ending(export: &Path, ending: &str) -> PathBuf {
    let mut name = export.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// An export being written, beside its place.
struct Export {
    path: PathBuf,
    out: BufWriter<NamedTempFile>,
    /// Records written.
    size: u64,
    /// Attachments written up to the last place where records and head agreed.
    attachments: u64,
    pending: u64,
    bytes: u64,
    tree: Frontier,
    /// The last place where records and head agreed: bytes up to there, and the head.
    agreed: Option<(u64, JournalHead)>,
}

impl Export {
    fn create(path: &Path) -> Result<Self, ExportFault> {
        let temporary = beside(path)?;
        Ok(Self {
            path: path.to_owned(),
            out: BufWriter::new(temporary),
            size: 0,
            attachments: 0,
            pending: 0,
            bytes: 0,
            tree: Frontier::default(),
            agreed: None,
        })
    }

    /// Reads from genesis to a checkpoint, and holds what came against it.
    async fn read_to(
        &mut self,
        control: &ControlClient,
        checkpoint: &Checkpoint,
    ) -> Result<JournalHead, Failure> {
        let size = checkpoint.size;
        let request = ReadJournalRequest { from_sequence: 1, follow: false, limit: size };
        let mut journal = control.read_journal(request).await?;
        while let Some(batch) = journal.next().await? {
            for line in &batch.lines {
                self.write(line)?;
            }
        }
        if self.size != size {
            return Err(ExportFault::NoHead { size, have: self.size }.into());
        }
        if self.tree.root() != checkpoint.root {
            return Err(ExportFault::OtherRecords { size }.into());
        }
        let head = JournalHead { size, root: checkpoint.root.to_vec() };
        self.attachments = self.pending;
        self.agreed = Some((self.bytes, head.clone()));
        Ok(head)
    }

    /// Reads from genesis to the head. Under load the head runs ahead of what was read; a second
    /// reading from there catches up, and the export ends where the two last agreed.
    async fn read_all(&mut self, control: &ControlClient) -> Result<JournalHead, Failure> {
        let mut last_seen = 0;
        for _ in 0..READINGS_MAX {
            let from_sequence = self.size.saturating_add(1);
            let request = ReadJournalRequest { from_sequence, follow: false, limit: 0 };
            let mut journal = control.read_journal(request).await?;
            while let Some(batch) = journal.next().await? {
                last_seen = self.take(batch)?;
            }
            if self.size >= last_seen {
                break;
            }
        }
        match &self.agreed {
            Some((_, head)) => Ok(head.clone()),
            None => Err(ExportFault::NoHead { size: last_seen, have: self.size }.into()),
        }
    }

    /// Writes a batch and returns the size its head speaks of.
    fn take(&mut self, batch: ReadJournalResponse) -> Result<u64, Failure> {
        for line in &batch.lines {
            self.write(line)?;
        }
        let head = batch.head.ok_or(CallError::Incomplete { part: "head" })?;
        let size = head.size;
        if size == self.size {
            self.attachments = self.attachments.saturating_add(self.pending);
            self.pending = 0;
            self.agreed = Some((self.bytes, head));
        }
        Ok(size)
    }

    fn write(&mut self, line: &JournalLine) -> Result<(), ExportFault> {
        if line.sequence == 0 {
            self.pending = self.pending.saturating_add(1);
            let text = format!("{ATTACHMENT}{}\"}}", hex::encode(&line.content));
            return self.write_line(text.as_bytes());
        }
        let wanted = self.size.saturating_add(1);
        if line.sequence != wanted {
            return Err(ExportFault::Gap { wanted, came: line.sequence });
        }
        if line.content.contains(&b'\n') {
            return Err(ExportFault::NotALine { at: wanted });
        }
        self.size = wanted;
        self.tree.push(leaf_hash(&line.content));
        self.write_line(&line.content)
    }

    fn write_line(&mut self, line: &[u8]) -> Result<(), ExportFault> {
        let written = self.out.write_all(line).and_then(|()| self.out.write_all(b"\n"));
        written.map_err(|source| unwritable(&self.path, source))?;
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(length).saturating_add(1);
        Ok(())
    }

    /// Cuts what came after the head, and puts both files in their places, the head first: an
    /// export without one is never left behind.
    fn finish(self, head: &JournalHead, attested: Option<&Attested>) -> Result<(), ExportFault> {
        let Self { path, out, agreed, .. } = self;
        let length = agreed.map_or(0, |(length, _)| length);
        let fault = |source| unwritable(&path, source);
        let mut file = out.into_inner().map_err(|error| fault(error.into_error()))?;
        file.as_file_mut().set_len(length).map_err(fault)?;
        file.as_file_mut().rewind().map_err(fault)?;
        let text = serde_json::to_string(&Head { size: head.size, root: hex0x(&head.root) })?;
        let mut beside_it = beside(&path)?;
        beside_it.write_all(format!("{text}\n").as_bytes()).map_err(fault)?;
        place(beside_it, &head_file(&path))?;
        write_checkpoint(&checkpoint_file(&path), attested)?;
        place(file, &path)
    }
}

/// One of an earlier export must not stay beside another one.
fn write_checkpoint(path: &Path, attested: Option<&Attested>) -> Result<(), ExportFault> {
    match attested {
        Some(attested) => {
            let mut file = beside(path)?;
            let written = file.write_all(attested.note.to_string().as_bytes());
            written.map_err(|source| unwritable(path, source))?;
            place(file, path)
        }
        None => match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritable(path, error)),
            Ok(()) | Err(_) => Ok(()),
        },
    }
}

pub(super) fn beside(path: &Path) -> Result<NamedTempFile, ExportFault> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    NamedTempFile::new_in(folder).map_err(|source| unwritable(path, source))
}

/// Durable under its name, or not there.
pub(super) fn place(file: NamedTempFile, path: &Path) -> Result<(), ExportFault> {
    let fault = |source| unwritable(path, source);
    // A device or a pipe would be gone, and a file in its place.
    if std::fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(fault(io::Error::other("something that is no regular file is there")));
    }
    file.as_file().sync_all().map_err(fault)?;
    let file: File = file.persist(path).map_err(|error| fault(error.error))?;
    file.sync_all().map_err(fault)
}

pub(super) fn unwritable(path: &Path, source: io::Error) -> ExportFault {
    ExportFault::Write { path: path.to_owned(), source }
}

/// How an attachment's line begins. No record's does: a record's first name is "at".
pub(crate) const ATTACHMENT: &str = "{\"attachment\":\"";

/// Readings at most, each from where the last ended, before the export settles for less than the
/// newest record.
const READINGS_MAX: u32 = 8;
