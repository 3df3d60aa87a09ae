//! Notes of what was done straight on the token: a folder each, with the note, the text that a
//! person of security signs, and their signature. At its start the signer takes in what is signed.
//!
//! None of it is trusted before the signature is looked at, and none of it keeps the signer from
//! starting: all that a note can do is freeze a key.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use portcullis_policy::credential::{Credential, Evidence, Purpose};
use portcullis_policy::id::{CredentialId, KeyId, PersonId};
use portcullis_policy::record::{Actor, Frozen, RescueNote, SignedNote};
use portcullis_policy::state::OrderFault;
use portcullis_policy::statement;
use portcullis_policy::stops::Scope;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::hsm::causes;
use crate::sequencer::{Sequencer, View};

/// A note that nobody has signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Draft {
    pub(super) key: KeyId,
    pub(super) note: RescueNote,
    pub(super) reason: String,
}

/// The folder of one note.
pub(super) struct Place(PathBuf);

/// A note that cannot be written, or not be taken in.
#[derive(Debug, thiserror::Error)]
pub enum NoteFault {
    /// A file or folder.
    #[error("{path:?} cannot be written")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody else could put something else in its place.
    #[error(
        "{path:?} belongs to user {owner}, or others may write there, and this is user {own}: run \
         it as that user (sudo -u), or name a folder of your own with --notes"
    )]
    NotOurs {
        /// Which.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        own: u32,
    },
    /// The note or a signature.
    #[error("{path:?} cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not ours.
    #[error("{path:?} is no note of a rescue: {what}")]
    Parse {
        /// Which.
        path: PathBuf,
        /// What it is, without a byte of it.
        what: String,
    },
    /// Another vault's.
    #[error("it is about key {0}, which this vault does not have")]
    OtherKey(KeyId),
    /// By nobody we know.
    #[error("{0} is not a person of this vault")]
    Nobody(PersonId),
    /// No signature yet, or none that fits.
    #[error(
        "{by} has not signed it: ssh-keygen -Y sign -n {namespace} -f KEY {statement:?}, with a \
         key that is enrolled for {by}, then restart the signer",
        namespace = Purpose::Rescue.namespace()
    )]
    Unsigned {
        /// Who should.
        by: PersonId,
        /// What.
        statement: PathBuf,
    },
    /// Signed, and worth nothing.
    #[error("what is signed does not stop it")]
    Refused(#[from] OrderFault),
    /// It stops the key, and the record of it is not there.
    #[error("it was taken in and could not be recorded: the journal is out of space, or ended")]
    Unrecorded,
}

/// Where the signer looks for notes.
pub(super) fn folder(data: &Path) -> PathBuf {
    data.join("rescue")
}

/// Makes the folder if it is not there. It must be ours alone: whoever else can write there could
/// have us write somewhere else.
pub(super) fn make_folder(path: &Path) -> Result<(), NoteFault> {
    let fault = |source| NoteFault::Write { path: path.into(), source };
    if let Some(above) = path.parent().filter(|above| above.exists()) {
        ours(above, false).map_err(fault)??;
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fault)?;
    ours(path, true).map_err(fault)?
}

/// Whether a folder is no link and ours; and if `closed`, whether nobody else may write there.
fn ours(path: &Path, closed: bool) -> io::Result<Result<(), NoteFault>> {
    let (found, own) = (fs::symlink_metadata(path)?, rustix::process::geteuid().as_raw());
    let written_by_others = closed && found.mode() & 0o022 != 0;
    let fine = found.is_dir() && found.uid() == own && !written_by_others;
    let fault = || NoteFault::NotOurs { path: path.into(), owner: found.uid(), own };
    Ok(fine.then_some(()).ok_or_else(fault))
}

impl Draft {
    fn statement(&self) -> String {
        statement::rescue(&self.note, &self.key, &self.reason)
    }

    /// In a folder of its own.
    pub(super) fn write(&self, folder: &Path) -> Result<Place, NoteFault> {
        let place = Place(folder.join(hex::encode(self.note.id)));
        make_folder(&place.0)?;
        self.write_again(&place)?;
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|source| NoteFault::Write { path: folder.into(), source })?;
        Ok(place)
    }

    /// Over what was written there before: each file is there whole, or as it was.
    pub(super) fn write_again(&self, place: &Place) -> Result<(), NoteFault> {
        let note = serde_json::to_string_pretty(self).unwrap_or_default();
        for (path, text) in [(place.statement(), self.statement()), (place.note(), note)] {
            replace(&path, &text).map_err(|source| NoteFault::Write { path, source })?;
        }
        let synced = File::open(&place.0).and_then(|folder| folder.sync_all());
        synced.map_err(|source| NoteFault::Write { path: place.0.clone(), source })
    }
}

#[expect(clippy::disallowed_methods, reason = "file and folder are synced, here and by the caller")]
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

impl Place {
    pub(super) fn statement(&self) -> PathBuf {
        self.0.join("statement.txt")
    }

    fn note(&self) -> PathBuf {
        self.0.join("note.json")
    }

    fn read(&self) -> Result<Draft, NoteFault> {
        let path = self.note();
        let text = read(&path)?;
        serde_json::from_str(&text).map_err(|error| {
            let (line, column, kind) = (error.line(), error.column(), error.classify());
            NoteFault::Parse { path, what: format!("line {line}, column {column}: {kind:?}") }
        })
    }

    /// Every signature that is there and can be read, as ssh-keygen writes it.
    fn signatures(&self) -> Result<Vec<Evidence>, NoteFault> {
        let unread = |source| NoteFault::Read { path: self.0.clone(), source };
        let paths = fs::read_dir(&self.0).map_err(unread)?.filter_map(|one| Some(one.ok()?.path()));
        let signatures = paths.filter(|path| path.extension().is_some_and(|end| end == "sig"));
        Ok(signatures.filter_map(|path| read(&path).ok().map(Evidence::Ssh)).collect())
    }

    /// Freezes the key, at the word of whoever signed. A note that was taken in does nothing.
    async fn take_in(&self, sequencer: &Sequencer, clock: &Clock) -> Result<(), NoteFault> {
        let (draft, view) = (self.read()?, sequencer.view());
        if view.taken_notes.contains(&draft.note.id) {
            return Ok(());
        }
        if !view.keys.contains_key(&draft.key) {
            return Err(NoteFault::OtherKey(draft.key));
        }
        let (credential, evidence) = self.signed(&draft, &view)?;
        let Draft { key, note, reason } = draft;
        let by = Actor::Rescue(Box::new(SignedNote { credential, evidence, note }));
        let frozen = Frozen { by, reason, scope: Scope::Key(key) };
        let answer = sequencer.stop_by_order(frozen, clock.now()).await?;
        let sequence = answer.sequence.ok_or(NoteFault::Unrecorded)?;
        tracing::warn!(%key, %sequence, "a note of a rescue was taken in");
        Ok(())
    }

    fn signed(&self, draft: &Draft, view: &View) -> Result<(CredentialId, Evidence), NoteFault> {
        let member = view.people.member(&draft.note.by);
        let member = member.ok_or_else(|| NoteFault::Nobody(draft.note.by.clone()))?;
        let text = draft.statement();
        for evidence in self.signatures()? {
            let fits = |held: &&Credential| {
                held.verify(Purpose::Rescue, text.as_bytes(), &evidence).is_ok()
            };
            let counts = |held: &&Credential| !member.silenced.contains(&held.id());
            let held = member.person.credentials.iter().filter(counts).find(fits);
            if let Some(held) = held {
                return Ok((held.id(), evidence));
            }
        }
        Err(NoteFault::Unsigned { by: draft.note.by.clone(), statement: self.statement() })
    }
}

/// A regular file, no link, and not longer than a note is. None of its bytes is in an error.
fn read(path: &Path) -> Result<String, NoteFault> {
    let unread = |source| NoteFault::Read { path: path.into(), source };
    let no_note = |what: &str| NoteFault::Parse { path: path.into(), what: what.into() };
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(unread)?;
    if !file.metadata().map_err(unread)?.is_file() {
        return Err(no_note("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX.saturating_add(1)).read_to_end(&mut bytes).map_err(unread)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(no_note("it is too long"));
    }
    String::from_utf8(bytes).map_err(|_| no_note("it is not UTF-8"))
}

/// Takes in every note in the data folder that was not, and says of the others why not, a line
/// each.
pub async fn take_in(data: &Path, sequencer: &Sequencer, clock: &Clock) -> Vec<String> {
    let folder = folder(data);
    let places: io::Result<Vec<PathBuf>> = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        entries => entries.and_then(|mut entries| entries.try_fold(Vec::new(), with_place)),
    };
    let mut places = match places {
        Ok(places) => places,
        Err(error) => {
            tracing::error!(?folder, %error, "notes of rescues cannot be read");
            return vec![format!("notes of rescues in {folder:?} cannot be read: {error}")];
        }
    };
    places.sort_unstable();
    let mut troubles = Vec::new();
    for place in places {
        let taken = Place(place.clone()).take_in(sequencer, clock).await;
        if let Err(fault) = taken {
            let why = causes(&fault);
            tracing::error!(?place, %why, "a note of a rescue was not taken in");
            troubles.push(format!("the note of a rescue in {place:?} was not taken in: {why}"));
        }
    }
    troubles
}

/// Folders only, and no links.
fn with_place(
    mut places: Vec<PathBuf>,
    entry: io::Result<fs::DirEntry>,
) -> io::Result<Vec<PathBuf>> {
    let entry = entry?;
    if entry.file_type()?.is_dir() {
        places.push(entry.path());
    }
    Ok(places)
}

/// A note is small.
const FILE_BYTES_MAX: u64 = 64 * 1_024;
