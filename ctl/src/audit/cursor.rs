//! `audit tail --cursor FILE`: every record once, for programs that keep them elsewhere. The file
//! says how far they came, so that the next run goes on from there; after a crash the last few come
//! again, and their numbers tell. Whoever reads slowly holds up nobody who signs.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_client::ControlClient;
use portcullis_client::wire::{JournalLine, ReadJournalRequest};
use portcullis_policy::book::{Book, Registry};
use portcullis_policy::tree::leaf_hash;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::audit::line;
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// It does not go on from where the file says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CursorFault {
    /// Somebody else's file, or half of one.
    #[error(
        "{path} is no cursor: take it away to begin with the first record",
        path = path.display()
    )]
    Form { path: PathBuf },
    /// Another journal.
    #[error(
        "{path} is of the vault {theirs}, and this is {own}: give another file for this one",
        path = path.display()
    )]
    Vault { path: PathBuf, theirs: String, own: String },
    /// The journal was put back.
    #[error(
        "the journal ends at record {last}, and record {seen} was read before: it was put back, or \
         this is a copy. Keep what you have, and look at portctl status"
    )]
    Behind { last: u64, seen: u64 },
    /// The journal was changed.
    #[error(
        "record {0} is not the one that was read before: the journal was changed. Keep what you \
         have, freeze everything, and compare exports"
    )]
    Changed(u64),
    /// One is missing.
    #[error("record {wanted} should have come, and {came} did")]
    Gap { wanted: u64, came: u64 },
}

/// How far the records were read.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    /// Leaf hash of the last record (RFC 6962), 64 hexadecimal digits; empty: none was read.
    leaf: String,
    /// Its number.
    sequence: u64,
    /// The vault's id.
    vault: String,
}

impl Cursor {
    fn read(path: &Path, vault: String) -> Result<Self, Failure> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { leaf: String::new(), sequence: 0, vault });
            }
            Err(source) => return Err(Failure::Read { path: path.to_owned(), source }),
        };
        let path = path.to_owned();
        let cursor: Self =
            serde_json::from_str(&text).map_err(|_| CursorFault::Form { path: path.clone() })?;
        if cursor.vault != vault {
            let theirs = cursor.vault;
            return Err(CursorFault::Vault { path, theirs, own: vault }.into());
        }
        Ok(cursor)
    }

    /// Whole, or as it was.
    fn write(&self, path: &Path) -> Result<(), Failure> {
        let fault = |source| Failure::Write { path: path.to_owned(), source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut file = NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(fault)?;
        file.write_all(serde_json::to_string(self)?.as_bytes()).map_err(fault)?;
        file.as_file().sync_all().map_err(fault)?;
        file.persist(path).map_err(|error| fault(error.error))?;
        Ok(())
    }

    /// Whether a record comes next; `false`: it is the last one that was read, once more.
    fn take(&mut self, record: &JournalLine) -> Result<bool, CursorFault> {
        let leaf = hex::encode(leaf_hash(&record.content));
        let wanted = self.sequence.saturating_add(1);
        if self.sequence > 0 && record.sequence == self.sequence {
            return if leaf == self.leaf {
                Ok(false)
            } else {
                Err(CursorFault::Changed(self.sequence))
            };
        }
        if record.sequence != wanted {
            return Err(CursorFault::Gap { wanted, came: record.sequence });
        }
        (self.leaf, self.sequence) = (leaf, wanted);
        Ok(true)
    }
}

/// Reads on from a cursor, to the end or for good.
pub(super) async fn run(
    path: &Path,
    follow: bool,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let mut pause = PAUSE_FIRST;
    loop {
        let read = match connection.control().await {
            Ok(control) => read_on(path, follow, &control, output).await,
            Err(failure) => Err(failure),
        };
        match read {
            Ok(()) if !follow => return Ok(Exit::Done),
            // It stopped, or starts again: whoever follows stays.
            Ok(()) => pause = PAUSE_FIRST,
            Err(failure) if follow && failure.exit() == Exit::Unavailable => {
                output.note(&format!("{failure}; asking again"));
            }
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
    }
}

async fn read_on(
    path: &Path,
    follow: bool,
    control: &ControlClient,
    output: &Output,
) -> Result<(), Failure> {
    let status = control.status().await?;
    let mut cursor = Cursor::read(path, hex::encode(&status.vault_id))?;
    let (last, seen) = (status.sequence, cursor.sequence);
    if seen > last {
        return Err(CursorFault::Behind { last, seen }.into());
    }
    let registry = registry(control).await?;
    // The last one once more: it shows that the journal is the one that was read.
    let request = ReadJournalRequest { from_sequence: seen.max(1), follow, limit: 0 };
    let mut journal = control.read_journal(request).await?;
    while let Some(batch) = journal.next().await? {
        for record in batch.lines.iter().filter(|line| line.sequence != 0) {
            if cursor.take(record)? {
                let json = String::from_utf8_lossy(&record.content);
                output
                    .record(&line::summary(record.sequence, &record.content, &registry), &json)?;
            }
        }
        // After they are out: what is lost on the way comes again.
        cursor.write(path)?;
    }
    Ok(())
}

/// Amounts and addresses are shown with the units and labels of the book in force.
pub(super) async fn registry(control: &ControlClient) -> Result<Registry, Failure> {
    let book = Book::parse(&control.book().await?.book).ok();
    Ok(book.map(|book| book.registry().clone()).unwrap_or_default())
}

/// A signer that starts again takes a second or two.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
