//! `audit export -o FILE`: the journal as it is, a line a record, and its head in `FILE.head`.
//!
//! The file is the journal and nothing else, so that anybody can check it with other tools. It
//! appears only when it is whole.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_client::wire::{JournalHead, JournalLine, ReadJournalRequest, ReadJournalResponse};
use portcullis_client::{CallError, ControlClient};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tempfile::NamedTempFile;

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
    /// The signer gave no head that the records add up to.
    #[error("the signer's records never added up to its head of {size} records, after {have}")]
    NoHead { size: u64, have: u64 },
}

impl ExportFault {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Write { .. } | Self::Head(_) => Exit::Failure,
            Self::Gap { .. } | Self::NotALine { .. } | Self::NoHead { .. } => Exit::Unverified,
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
    let head = export.read_all(&control).await?;
    let attachments = export.attachments;
    export.finish(&head)?;
    let root = hex0x(&head.root);
    let human = fields(&[
        ("written", args.file.display().to_string()),
        ("records", head.size.to_string()),
        ("attachments", attachments.to_string()),
        ("root", root.clone()),
    ]);
    let json = json!({
        "file": args.file,
        "size": head.size,
        "attachments": attachments,
        "root": root,
    });
    output.result(&human, &json)?;
    Ok(Exit::Done)
}

/// Where the head of an export is.
pub(crate) fn head_file(export: &Path) -> PathBuf {
    let mut name = export.as_os_str().to_owned();
    name.push(".head");
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
            agreed: None,
        })
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
    fn finish(self, head: &JournalHead) -> Result<(), ExportFault> {
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
        place(file, &path)
    }
}

fn beside(path: &Path) -> Result<NamedTempFile, ExportFault> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    NamedTempFile::new_in(folder).map_err(|source| unwritable(path, source))
}

/// Durable under its name, or not there.
fn place(file: NamedTempFile, path: &Path) -> Result<(), ExportFault> {
    let fault = |source| unwritable(path, source);
    // A device or a pipe would be gone, and a file in its place.
    if std::fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(fault(io::Error::other("something that is no regular file is there")));
    }
    file.as_file().sync_all().map_err(fault)?;
    let file: File = file.persist(path).map_err(|error| fault(error.error))?;
    file.sync_all().map_err(fault)
}

fn unwritable(path: &Path, source: io::Error) -> ExportFault {
    ExportFault::Write { path: path.to_owned(), source }
}

/// How an attachment's line begins. No record's does: a record's first name is "at".
pub(crate) const ATTACHMENT: &str = "{\"attachment\":\"";

/// Readings at most, each from where the last ended, before the export settles for less than the
/// newest record.
const READINGS_MAX: u32 = 8;
