//! An export, checked as far as bytes and tree: each line is a record in its one form and at its
//! place, inputs kept beside records are there, and size and root are those of the head.
//!
//! Makes no decision again and verifies no vote: that is `audit verify`, which takes longer.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use alloy_primitives::B256;
use portcullis_policy::id::{Sequence, VaultId};
use portcullis_policy::record::{Entry, Record, RecordedInput, UnreadableEntry};
use portcullis_policy::request::sha256;
use portcullis_policy::tree::{Frontier, leaf_hash};

use crate::audit::export::{Head, head_file};
use crate::audit::verify::attachment;
use crate::failure::Exit;
use crate::output::hex0x;

/// An export that checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checked {
    /// Leaf hash of its first record.
    pub(super) vault: VaultId,
    /// Number of records.
    pub(super) size: u64,
    /// RFC 6962 root over them, which is the head's.
    pub(super) root: B256,
}

/// An export that does not check, or could not be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckFault {
    /// A file is missing or unreadable.
    #[error("{path} cannot be read", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    /// Nothing says where the export ends.
    #[error(
        "{path} is not there: it shows that no record was cut off. Put it beside the export, or \
         name another head with --head",
        path = path.display()
    )]
    NoHead { path: PathBuf },
    /// The head is damaged.
    #[error("{path} is no head", path = path.display())]
    Head { path: PathBuf, source: serde_json::Error },
    /// A line that is none of a journal.
    #[error(
        "line {line} of {path} is no record: was it written by portctl audit export, and is it \
         whole?",
        path = path.display()
    )]
    Record { path: PathBuf, line: u64, source: UnreadableEntry },
    /// An attachment's line is damaged.
    #[error("line {line} of {path} is no attachment", path = path.display())]
    Attachment { path: PathBuf, line: u64 },
    /// A record is missing, twice there, or elsewhere.
    #[error(
        "line {line} of {path} is record {found}, and record {wanted} belongs there",
        path = path.display()
    )]
    Place { path: PathBuf, line: u64, found: Sequence, wanted: Sequence },
    /// A journal begins with genesis.
    #[error("{path} does not begin with a genesis record", path = path.display())]
    Genesis { path: PathBuf },
    /// What a record was about is not there.
    #[error("the input of record {at} is not in {path}, or was changed", path = path.display())]
    Input { path: PathBuf, at: Sequence },
    /// It is not what the head speaks of.
    #[error(
        "the head speaks of {said} records with root {said_root}, and {path} holds {is} with root \
         {is_root}",
        path = path.display()
    )]
    Differs { path: PathBuf, said: u64, said_root: String, is: u64, is_root: String },
}

impl CheckFault {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Read { .. } => Exit::Failure,
            Self::NoHead { .. }
            | Self::Head { .. }
            | Self::Record { .. }
            | Self::Attachment { .. }
            | Self::Place { .. }
            | Self::Genesis { .. }
            | Self::Input { .. }
            | Self::Differs { .. } => Exit::Unverified,
        }
    }
}

/// Hands over every record, in order. What was made of them counts only if all of it checks.
pub(super) fn read(
    path: &Path,
    head: Option<&Path>,
    mut each: impl FnMut(&Entry),
) -> Result<Checked, CheckFault> {
    let unreadable = |source| CheckFault::Read { path: path.to_owned(), source };
    let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(unreadable)?);
    let head = read_head(head.unwrap_or(&head_file(path)))?;
    let mut taken = Taken::default();
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if file.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
            break;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        if let Some(entry) = taken.line(line, path, number)? {
            each(&entry);
        }
    }
    let path = path.to_owned();
    let Some(vault) = taken.vault else { return Err(CheckFault::Genesis { path }) };
    let (size, root) = (taken.frontier.size(), taken.frontier.root());
    let is_root = hex0x(root.as_slice());
    if (head.size, &head.root) != (size, &is_root) {
        let (said, said_root, is) = (head.size, head.root, size);
        return Err(CheckFault::Differs { path, said, said_root, is, is_root });
    }
    Ok(Checked { vault, size, root })
}

/// What was read so far.
#[derive(Default)]
struct Taken {
    frontier: Frontier,
    vault: Option<VaultId>,
    attachments: BTreeSet<B256>,
}

impl Taken {
    /// The record of a line; `None`: it is an attachment's.
    fn line(&mut self, line: &[u8], path: &Path, number: u64) -> Result<Option<Entry>, CheckFault> {
        let path = || path.to_owned();
        match attachment(line) {
            Some(Ok(bytes)) => {
                self.attachments.insert(sha256(&bytes));
                return Ok(None);
            }
            Some(Err(_)) => return Err(CheckFault::Attachment { path: path(), line: number }),
            None => {}
        }
        let entry = Entry::decode(line);
        let entry =
            entry.map_err(|source| CheckFault::Record { path: path(), line: number, source })?;
        self.frontier.push(leaf_hash(line));
        let (found, wanted) = (entry.seq, Sequence(self.frontier.size()));
        if found != wanted {
            return Err(CheckFault::Place { path: path(), line: number, found, wanted });
        }
        if self.vault.is_none() {
            if !matches!(entry.record, Record::Genesis(_)) {
                return Err(CheckFault::Genesis { path: path() });
            }
            self.vault = Some(VaultId(leaf_hash(line)));
        }
        let named = entry.record.asked().and_then(|asked| beside(&asked.input));
        if named.is_some_and(|name| !self.attachments.contains(&name)) {
            return Err(CheckFault::Input { path: path(), at: entry.seq });
        }
        Ok(Some(entry))
    }
}

/// The attachment that holds an input.
fn beside(input: &RecordedInput) -> Option<B256> {
    match input {
        RecordedInput::TransactionSha256(name) | RecordedInput::TypedSha256(name) => Some(*name),
        RecordedInput::Delegation(_)
        | RecordedInput::Message(_)
        | RecordedInput::Transaction(_)
        | RecordedInput::Typed(_) => None,
    }
}

fn read_head(path: &Path) -> Result<Head, CheckFault> {
    let text = std::fs::read_to_string(path).map_err(|source| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::NotFound {
            CheckFault::NoHead { path }
        } else {
            CheckFault::Read { path, source }
        }
    })?;
    serde_json::from_str(&text).map_err(|source| CheckFault::Head { path: path.to_owned(), source })
}

/// What was checked, for people.
pub(super) const LEVEL: &str = "bytes and tree: every record is in its one form and place, and \
                                size and root are those of the head";
