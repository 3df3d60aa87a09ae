//! Which snapshot a start begins from: the newest under the checkpoint that was kept, if the
//! token's own key signed both. If there is none: from the first record.

use std::path::Path;

use portcullis_policy::id::Sequence;
use portcullis_policy::note::{Checkpoint, Note, NoteFault, Verifier, origin};
use portcullis_policy::state::{CheckpointKey, ImageFault, State};
use portcullis_policy::tree::{Tiles, leaf_hash};

use super::claims::{Claim, Claims};
use super::file::{Folder, Snapshot};
use super::shadow::text;
use crate::hsm::{HsmError, ProvenKey, causes};
use crate::journal::{Kept, OpenError, Opened, PlacesError, ReadError, Reader, Segments, Storage};
use crate::sequencer::{Begun, vault_of};

/// A journal that was opened, and what it may be started from.
pub struct Chosen {
    /// The journal. Believed below the candidate, if there is one.
    pub storage: Segments,
    /// What was found when it was opened.
    pub opened: Opened,
    /// A snapshot that the journal goes on from.
    pub candidate: Option<Candidate>,
}

/// A snapshot that the journal goes on from up to its checkpoint: only the token can tell whether
/// either counts.
#[derive(Debug)]
pub struct Candidate {
    snapshot: Snapshot,
    checkpoint: Checkpoint,
    note: Note,
}

/// A snapshot that counts.
#[derive(Debug)]
pub struct Trusted {
    /// What a start begins with.
    pub begun: Begun,
    /// What is still to be found true.
    pub claims: Claims,
}

/// A journal, and what it is started from.
pub struct Judged {
    /// The journal.
    pub storage: Segments,
    /// What was found when it was opened.
    pub opened: Opened,
    /// `None`: from the first record.
    pub trusted: Option<Trusted>,
}

/// Why a snapshot is not used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The folder or the file.
    #[error("it cannot be read")]
    Disk(#[from] std::io::Error),
    /// The file.
    #[error("it is cut, or other code wrote it")]
    Format,
    /// The journal does not go on from it.
    #[error("the journal does not go on from it")]
    Journal(#[from] OpenError),
    /// Nothing to hold it against.
    #[error("the checkpoints beside the journal cannot be read")]
    Places(#[from] PlacesError),
    /// The journal after it.
    #[error("the journal after it cannot be read")]
    Read(#[from] ReadError),
    /// Nothing to hold it against.
    #[error("there is no checkpoint of this journal that covers it")]
    NoCheckpoint,
    /// The journal with it is another than the one that was signed.
    #[error("with it, the journal is not the one that its checkpoint was signed over")]
    Root,
    /// Somebody wrote the file, and not the background.
    #[error("the token's key did not sign it")]
    Unsigned,
    /// The token.
    #[error("the token does not prove that it holds the key of the checkpoint")]
    Token(#[from] HsmError),
    /// What is in it.
    #[error("the state in it cannot be read")]
    Image(#[from] ImageFault),
    /// What is in it.
    #[error("the state in it is of another record or vault, or knows no key for checkpoints")]
    Other,
    /// The checkpoint.
    #[error("the checkpoint over it does not count")]
    Note(#[from] NoteFault),
}

/// Opens a journal, from the newest snapshot that it goes on from; else it is read from its first
/// byte.
///
/// # Errors
///
/// As [`Segments::open`].
pub fn open(data: &Path) -> Result<Chosen, OpenError> {
    open_before(data, Sequence(u64::MAX), None)
}

/// From the newest one that goes less far.
fn open_before(
    data: &Path,
    before: Sequence,
    mut cut: Option<crate::journal::Cut>,
) -> Result<Chosen, OpenError> {
    let folder = Folder::of(data);
    let listed = folder.list().unwrap_or_else(|error| {
        tracing::warn!(why = %causes(&error), "snapshots cannot be listed");
        Vec::new()
    });
    for upto in listed.into_iter().filter(|upto| *upto < before) {
        match open_from(data, &folder, upto, &mut cut) {
            Ok(mut chosen) => {
                chosen.opened.cut = cut;
                return Ok(chosen);
            }
            // A disk that fails now is no fault of the snapshot: nothing is written to it again.
            Err(Unusable::Journal(
                error @ (OpenError::Held { .. }
                | OpenError::Missing { .. }
                | OpenError::Away { .. }
                | OpenError::Io { .. }),
            )) => return Err(error),
            Err(error) => unused(upto, &error),
        }
    }
    open_whole(data, cut)
}

/// An incomplete batch is cut the first time that a journal is opened: the start record tells.
fn open_whole(data: &Path, cut: Option<crate::journal::Cut>) -> Result<Chosen, OpenError> {
    let (storage, mut opened) = Segments::open(data)?;
    opened.cut = cut.or(opened.cut);
    Ok(Chosen { storage, opened, candidate: None })
}

fn open_from(
    data: &Path,
    folder: &Folder,
    upto: Sequence,
    cut: &mut Option<crate::journal::Cut>,
) -> Result<Chosen, Unusable> {
    let snapshot = folder.read(upto)?.ok_or(Unusable::Format)?;
    let (storage, opened) = Segments::open_from(data, &snapshot.base())?;
    *cut = cut.take().or_else(|| opened.cut.clone());
    let candidate = Some(Candidate::new(&storage, snapshot)?);
    Ok(Chosen { storage, opened, candidate })
}

fn unused(upto: Sequence, why: &Unusable) {
    tracing::warn!(%upto, why = %causes(why), "a snapshot is not used");
}

impl Candidate {
    /// A snapshot with which the journal is the one that the kept checkpoint speaks of.
    fn new(storage: &Segments, snapshot: Snapshot) -> Result<Self, Unusable> {
        let (_, Kept::Text(text)) = storage.places()? else { return Err(Unusable::NoCheckpoint) };
        let note = Note::parse(&text)?;
        let checkpoint = Checkpoint::parse(&note.text)?;
        let vault = vault_of(storage)?.ok_or(Unusable::Other)?;
        if checkpoint.origin != origin(vault.0) {
            return Err(Unusable::Other);
        }
        let candidate = Self { snapshot, checkpoint, note };
        candidate.check(&storage.reader())?;
        Ok(candidate)
    }

    fn check(&self, reader: &Reader) -> Result<(), Unusable> {
        let (upto, size) = (self.snapshot.upto(), self.checkpoint.size);
        if size <= upto.0 {
            return Err(Unusable::NoCheckpoint);
        }
        let mut tree = self.snapshot.tiles.frontier();
        for stored in reader.records_from(upto.next()) {
            tree.push(leaf_hash(&stored?.record));
            if tree.size() == size {
                break;
            }
        }
        let same = tree.size() == size && tree.root() == self.checkpoint.root;
        if same { Ok(()) } else { Err(Unusable::Root) }
    }

    /// The state in it, and the key that its checkpoint must be signed with. Believe neither before
    /// the token has proved the key, and [`Candidate::trusted`] the rest.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn state(&self) -> Result<(State, CheckpointKey), Unusable> {
        let state = State::of_image(&self.snapshot.image)?;
        let key = state.checkpoints().made.clone().ok_or(Unusable::Other)?;
        let own = self.checkpoint.origin == origin(state.vault().0);
        if own && state.head() == self.snapshot.upto() {
            Ok((state, key))
        } else {
            Err(Unusable::Other)
        }
    }

    /// What the token's key signed may be started from. The checkpoint is not enough: the token
    /// signs one over whatever stands in the journal, and only of a snapshot what was folded.
    ///
    /// # Errors
    ///
    /// The checkpoint or the snapshot is not by that key.
    pub fn trusted(self, state: State, key: &ProvenKey) -> Result<Trusted, Unusable> {
        let name = origin(state.vault().0);
        self.note.check(&Verifier { name, key: key.key().clone() })?;
        let Self { snapshot, checkpoint, .. } = self;
        let said = text(state.vault(), snapshot.upto(), snapshot.hash);
        if !key.key().verifies(said.as_bytes(), &snapshot.signature) {
            return Err(Unusable::Unsigned);
        }
        let tiles = snapshot.tiles;
        let (upto, root) = (Sequence(tiles.size()), tiles.frontier().root());
        let mut claims = Claims::after(upto);
        claims.claim(upto.0, Claim::Root { root, whose: "the snapshot that the start began with" });
        claims.claim(upto.0, Claim::Snapshot(snapshot.hash));
        let (root, whose) = (checkpoint.root, "the checkpoint beside the journal");
        claims.claim(checkpoint.size, Claim::Root { root, whose });
        Ok(Trusted { begun: Begun { state, tiles }, claims })
    }
}

impl Trusted {
    /// Its parts, as those of a start from the first record would be.
    pub fn parts(self) -> (Option<Begun>, Tiles, Claims) {
        let tiles = self.begun.tiles.clone();
        (Some(self.begun), tiles, self.claims)
    }
}

impl Chosen {
    /// The journal with what it may be started from, now that the token can be asked. A candidate
    /// that the token does not vouch for leaves the one before, and that the first byte. `prove` is
    /// [`Hsm::prove_checkpoint_key`](crate::hsm::Hsm::prove_checkpoint_key).
    ///
    /// # Errors
    ///
    /// As [`Segments::open`].
    pub async fn judged(
        self,
        data: &Path,
        prove: impl AsyncFn(CheckpointKey) -> Result<ProvenKey, HsmError>,
    ) -> Result<Judged, OpenError> {
        let mut chosen = self;
        loop {
            let Self { storage, opened, candidate } = chosen;
            let Some(candidate) = candidate else {
                return Ok(Judged { storage, opened, trusted: None });
            };
            let upto = candidate.snapshot.upto();
            match vouched(candidate, &prove).await {
                Ok(trusted) => {
                    tracing::info!(%upto, "the start begins with a snapshot");
                    return Ok(Judged { storage, opened, trusted: Some(trusted) });
                }
                Err(why) => {
                    unused(upto, &why);
                    // Its tree was believed.
                    drop(storage);
                    chosen = open_before(data, upto, opened.cut)?;
                }
            }
        }
    }
}

async fn vouched(
    candidate: Candidate,
    prove: &impl AsyncFn(CheckpointKey) -> Result<ProvenKey, HsmError>,
) -> Result<Trusted, Unusable> {
    let (state, key) = candidate.state()?;
    let proven = prove(key).await?;
    candidate.trusted(state, &proven)
}
