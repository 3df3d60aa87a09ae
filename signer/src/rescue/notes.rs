//! Notes of what was done straight on the token: a folder each, with the note, the text that a
//! person of security signs, and their signature. At its start the signer takes in what is signed.
//!
//! None of it is trusted before the signature is looked at, and none of it keeps the signer from
//! starting: all that a note can do is freeze a key.

use std::path::{Path, PathBuf};

use portcullis_policy::credential::{Credential, Evidence, Purpose};
use portcullis_policy::id::{CredentialId, KeyId, PersonId};
use portcullis_policy::record::{Actor, Frozen, RescueNote, SignedNote};
use portcullis_policy::state::OrderFault;
use portcullis_policy::statement;
use portcullis_policy::stops::Scope;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
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
        source: std::io::Error,
    },
    /// The note or a signature.
    #[error("{path:?} cannot be read: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not ours.
    #[error("{path:?} is no note of a rescue: {message}")]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where and what.
        message: String,
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
    #[error("{0}")]
    Refused(#[from] OrderFault),
    /// It stops the key, and the record of it is not there.
    #[error("it was taken in and could not be recorded: the journal is out of space, or ended")]
    Unrecorded,
}

/// Where the signer looks for notes.
pub(super) fn folder(data: &Path) -> PathBuf {
    data.join("rescue")
}

pub(super) fn make_folder(path: &Path) -> Result<(), NoteFault> {
    std::fs::create_dir_all(path).map_err(|source| NoteFault::Write { path: path.into(), source })
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
        Ok(place)
    }

    /// Over what was written there before.
    pub(super) fn write_again(&self, place: &Place) -> Result<(), NoteFault> {
        let note = serde_json::to_string_pretty(self).unwrap_or_default();
        for (path, text) in [(place.statement(), self.statement()), (place.note(), note)] {
            let written =
                std::fs::write(&path, text).and_then(|()| std::fs::File::open(&path)?.sync_all());
            written.map_err(|source| NoteFault::Write { path, source })?;
        }
        Ok(())
    }
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
        serde_json::from_str(&text)
            .map_err(|error| NoteFault::Parse { path, message: error.to_string() })
    }

    /// Every signature that is there, as ssh-keygen writes it.
    fn signatures(&self) -> Result<Vec<Evidence>, NoteFault> {
        let unread = |source| NoteFault::Read { path: self.0.clone(), source };
        let mut signatures = Vec::new();
        for entry in std::fs::read_dir(&self.0).map_err(unread)? {
            let path = entry.map_err(unread)?.path();
            if path.extension().is_some_and(|end| end == "sig") {
                signatures.push(Evidence::Ssh(read(&path)?));
            }
        }
        Ok(signatures)
    }

    /// Freezes the key, at the word of whoever signed. A note that was taken in before does nothing.
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
            if let Some(held) = member.person.credentials.iter().find(fits) {
                return Ok((held.id(), evidence));
            }
        }
        Err(NoteFault::Unsigned { by: draft.note.by.clone(), statement: self.statement() })
    }
}

fn read(path: &Path) -> Result<String, NoteFault> {
    let unread = |source| NoteFault::Read { path: path.into(), source };
    let length = std::fs::metadata(path).map_err(unread)?.len();
    if length > FILE_BYTES_MAX {
        let message = format!("it is longer than {FILE_BYTES_MAX} bytes");
        return Err(NoteFault::Parse { path: path.into(), message });
    }
    std::fs::read_to_string(path).map_err(unread)
}

/// Takes in every note in the data folder that was not, and says of the others why not, a line
/// each.
pub async fn take_in(data: &Path, sequencer: &Sequencer, clock: &Clock) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder(data)) else { return Vec::new() };
    let mut places: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    places.sort_unstable();
    let mut troubles = Vec::new();
    for place in places {
        let taken = Place(place.clone()).take_in(sequencer, clock).await;
        if let Err(fault) = taken {
            tracing::error!(?place, %fault, "a note of a rescue was not taken in");
            troubles.push(format!("the note of a rescue in {place:?} was not taken in: {fault}"));
        }
    }
    troubles
}

/// A note is small.
const FILE_BYTES_MAX: u64 = 64 * 1_024;
