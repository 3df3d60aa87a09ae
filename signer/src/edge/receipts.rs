//! Proofs for whoever asks: that a record is in the journal, that a checkpoint continues another.
//!
//! To read for one holds a thread, so they are bounded for each name and for all.

use std::sync::Arc;

use portcullis_policy::id::{CallerId, Sequence};
use portcullis_policy::note::{Verifier, origin};
use portcullis_policy::receipt::Receipt;
use portcullis_policy::record::Entry;
use portcullis_proto::v1::GetCheckpointResponse;
use tonic::Status;

use super::places::Places;
use super::status;
use crate::attestor::Attestor;
use crate::journal::ReadError;
use crate::proofs::Proofs;
use crate::refusal::Refusal;
use crate::sequencer::Sequencer;

/// Gives proofs.
#[derive(Clone)]
pub struct Receipts {
    sequencer: Sequencer,
    attestor: Arc<Attestor>,
    proofs: Proofs,
    places: Places,
}

/// A record, and the receipt for it.
pub(super) struct Proved {
    pub(super) record: Vec<u8>,
    pub(super) receipt: String,
}

impl Receipts {
    /// Joins the parts.
    pub fn new(sequencer: Sequencer, attestor: Arc<Attestor>, proofs: Proofs) -> Self {
        let places = Places::new(PROOFS_PER_NAME_MAX, PROOFS_MAX);
        Self { sequencer, attestor, proofs, places }
    }

    /// The same, with places of its own: what callers ask for takes none of people's.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self { places: Places::new(PROOFS_PER_NAME_MAX, PROOFS_MAX), ..self.clone() }
    }

    /// A record and its receipt; of a caller, if one is given, and of nobody else.
    pub(super) async fn receipt(
        &self,
        name: &str,
        at: Sequence,
        own: Option<CallerId>,
    ) -> Result<Proved, Status> {
        let number = at.to_string();
        let unknown = move || Refusal::NotFound { kind: "record", name: number };
        if at.0 == 0 || at > self.sequencer.head().borrow().sequence {
            return Err(unknown().into());
        }
        if self.sequencer.view().checkpoints.made.is_none() {
            let name = "checkpoint".to_owned();
            return Err(Refusal::NotFound { kind: "key", name }.into());
        }
        let covering = self.attestor.covering(at);
        let read = self.read(name, move |proofs| {
            let Some(record) = proofs.record(at)?.filter(|record| is_own(record, own.as_ref()))
            else {
                return Ok(None);
            };
            let Some(newest) = covering else { return Ok(Some((record, None))) };
            let size = newest.checkpoint.size;
            Ok(proofs.inclusion(at, size)?.map(|proof| (record, Some((proof, newest)))))
        });
        let (record, proof) = read.await?.ok_or_else(unknown)?;
        let (proof, newest) = proof.ok_or(Refusal::NotAttested(at))?;
        let (index, path) = (proof.index, proof.path);
        let receipt = Receipt { index, path, checkpoint: newest.note.clone() };
        Ok(Proved { record, receipt: receipt.to_string() })
    }

    /// The newest checkpoint, and that it continues that of an older size.
    pub(super) async fn checkpoint(
        &self,
        name: &str,
        old: u64,
    ) -> Result<GetCheckpointResponse, Status> {
        let view = self.sequencer.view();
        let head = self.sequencer.head().borrow().sequence;
        let name_of_key = || "checkpoint".to_owned();
        let made = view.checkpoints.made.as_ref();
        let made = made.ok_or_else(|| Refusal::NotFound { kind: "key", name: name_of_key() })?;
        let newest = self.attestor.newest().ok_or(Refusal::NotAttested(head))?;
        let size = newest.checkpoint.size;
        if old > size {
            return Err(Refusal::NotAttested(Sequence(old)).into());
        }
        let proof = if old == 0 {
            None
        } else {
            self.read(name, move |proofs| proofs.consistency(old, size)).await?
        };
        let path = proof.map(|proof| proof.path).unwrap_or_default();
        let verifier = Verifier { name: origin(view.vault.0), key: made.key.clone() };
        Ok(GetCheckpointResponse {
            checkpoint: newest.note.to_string(),
            size,
            verifier_key: verifier.to_string(),
            consistency_proof: path.iter().map(|hash| hash.to_vec()).collect(),
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        name: &str,
        read: impl FnOnce(&Proofs) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Status> {
        let place = self.places.share(name).try_take().map_err(|_| Refusal::Overloaded)?;
        let proofs = self.proofs.clone();
        // What was read is kept, also if nobody waits for it any more.
        let read = tokio::task::spawn_blocking(move || (read(&proofs), place)).await;
        let (read, _place) = read.map_err(|_| Refusal::ShuttingDown)?;
        read.map_err(|error| {
            tracing::error!(%error, "a record cannot be proved");
            status::journal_unreadable(&error)
        })
    }
}

/// Whether a record is of a caller's own request; anything is, if nobody is named.
fn is_own(record: &[u8], own: Option<&CallerId>) -> bool {
    let Some(own) = own else { return true };
    let entry = Entry::decode(record).ok();
    entry.and_then(|entry| Some(entry.record.asked()?.by.caller == *own)).unwrap_or(false)
}

/// Proofs that are read for one name at once, and for all together.
const PROOFS_PER_NAME_MAX: usize = 4;
const PROOFS_MAX: usize = 32;
