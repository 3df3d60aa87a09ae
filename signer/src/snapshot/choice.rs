//! Which snapshot a start begins from: the newest that the journal names under the checkpoint that
//! was kept, if the token's own key signed that one. If there is none: from the first record.

use std::path::Path;

use portcullis_policy::id::Sequence;
use portcullis_policy::note::{Checkpoint, Note, NoteFault, Verifier, origin};
use portcullis_policy::record::{Entry, Record};
use portcullis_policy::state::{CheckpointKey, ImageFault, State};
use portcullis_policy::tree::{Tiles, leaf_hash};

use super::file::{Folder, Snapshot};
use super::shadow::{Claim, Claims};
use crate::hsm::{HsmError, ProvenKey, causes};
use crate::journal::{Kept, OpenError, Opened, PlacesError, ReadError, Reader, Segments, Storage};
use crate::sequencer::{Begun, vault_of};

/// A journal that was opened, and what it may be started from.
pub struct Chosen {
    /// The journal. Believed below the candidate, if there is one.
    pub storage: Segments,
    /// What was found when it was opened.
    pub opened: Opened,
    /// A snapshot that the journal itself says is good.
    pub candidate: Option<Candidate>,
}

/// A snapshot that the journal names, with the checkpoint over that: only the token can tell
/// whether that one counts.
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
    /// The tree over its records, for proofs.
    pub tiles: Tiles,
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
    #[error("it is cut, or of another version")]
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
    /// Somebody wrote the file and not the record.
    #[error("no record under the checkpoint names it")]
    Unnamed,
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

/// Opens a journal, from the newest snapshot that it names itself; else it is read from its first
/// byte.
///
/// # Errors
///
/// As [`Segments::open`].
pub fn open(data: &Path) -> Result<Chosen, OpenError> {
    let folder = Folder::of(data);
    let mut cut = None;
    let listed = folder.list().unwrap_or_else(|error| {
        tracing::warn!(why = %causes(&error), "snapshots cannot be listed");
        Vec::new()
    });
    for upto in listed {
        match open_from(data, &folder, upto, &mut cut) {
            Ok(mut chosen) => {
                chosen.opened.cut = cut;
                return Ok(chosen);
            }
            Err(Unusable::Journal(
                error @ (OpenError::Held { .. } | OpenError::Missing { .. }),
            )) => {
                return Err(error);
            }
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
    /// A snapshot that a record under the kept checkpoint names, in a journal of which that
    /// checkpoint speaks.
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
        let (mut tree, mut named) = (self.snapshot.tiles.frontier(), false);
        for stored in reader.records_from(upto.next()) {
            let record = stored?.record;
            tree.push(leaf_hash(&record));
            named |= self.is_named_by(&record);
            if tree.size() == size {
                break;
            }
        }
        if tree.size() != size || tree.root() != self.checkpoint.root {
            return Err(Unusable::Root);
        }
        if named { Ok(()) } else { Err(Unusable::Unnamed) }
    }

    fn is_named_by(&self, record: &[u8]) -> bool {
        // Reading each record would take most of the time that a snapshot saves.
        if !std::str::from_utf8(record).is_ok_and(|line| line.contains(SNAPSHOT)) {
            return false;
        }
        let Ok(Entry { record: Record::Snapshot(named), .. }) = Entry::decode(record) else {
            return false;
        };
        named.hash == self.snapshot.hash && named.upto == self.snapshot.upto()
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

    /// What the token's key signed may be started from.
    ///
    /// # Errors
    ///
    /// The checkpoint is not by that key.
    pub fn trusted(self, state: State, key: &ProvenKey) -> Result<Trusted, Unusable> {
        let name = origin(state.vault().0);
        self.note.check(&Verifier { name, key: key.key().clone() })?;
        let Self { snapshot, checkpoint, .. } = self;
        let tree = snapshot.tiles.frontier();
        let (upto, root) = (snapshot.upto(), tree.root());
        let mut claims = Claims::default();
        claims.claim(upto.0, Claim::Root { root, whose: "the snapshot that the start began with" });
        claims.claim(upto.0, Claim::Snapshot(snapshot.hash));
        let (root, whose) = (checkpoint.root, "the checkpoint beside the journal");
        claims.claim(checkpoint.size, Claim::Root { root, whose });
        Ok(Trusted { begun: Begun { state, tree }, tiles: snapshot.tiles, claims })
    }
}

impl Trusted {
    /// Its parts, as those of a start from the first record would be.
    pub fn parts(self) -> (Option<Begun>, Tiles, Claims) {
        (Some(self.begun), self.tiles, self.claims)
    }
}

impl Chosen {
    /// The journal with what it may be started from, now that the token can be asked. A candidate
    /// that the token does not vouch for leaves the journal to be read from its first byte. `prove`
    /// is [`Hsm::prove_checkpoint_key`](crate::hsm::Hsm::prove_checkpoint_key).
    ///
    /// # Errors
    ///
    /// As [`Segments::open`].
    pub async fn judged(
        self,
        data: &Path,
        prove: impl AsyncFnOnce(CheckpointKey) -> Result<ProvenKey, HsmError>,
    ) -> Result<Judged, OpenError> {
        let Self { storage, opened, candidate } = self;
        let Some(candidate) = candidate else {
            return Ok(Judged { storage, opened, trusted: None });
        };
        let upto = candidate.snapshot.upto();
        match vouched(candidate, prove).await {
            Ok(trusted) => {
                tracing::info!(%upto, "the start begins with a snapshot");
                Ok(Judged { storage, opened, trusted: Some(trusted) })
            }
            Err(why) => {
                unused(upto, &why);
                // Its tree was believed.
                drop(storage);
                let Chosen { storage, opened, .. } = open_whole(data, opened.cut)?;
                Ok(Judged { storage, opened, trusted: None })
            }
        }
    }
}

async fn vouched(
    candidate: Candidate,
    prove: impl AsyncFnOnce(CheckpointKey) -> Result<ProvenKey, HsmError>,
) -> Result<Trusted, Unusable> {
    let (state, key) = candidate.state()?;
    let proven = prove(key).await?;
    candidate.trusted(state, &proven)
}

/// How the record begins that names one, in canonical form.
const SNAPSHOT: &str = "\"record\":{\"snapshot\":{";
