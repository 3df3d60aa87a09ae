//! Whether it is proved that there is another journal than ours. That a witness says so is signed
//! by nobody: whoever answers in its place could say it. A checkpoint that our own key signed, and
//! that our journal does not continue, proves itself, whoever brings it.

use portcullis_policy::note::{Checkpoint, Note, Verifier};

use crate::hsm::causes;
use crate::proofs::Proofs;
use crate::sequencer::Sequencer;

/// What a checkpoint that somebody brings is worth.
#[derive(Debug)]
pub(super) enum Weighed {
    /// It is of this journal, and no newer than the one in hand.
    Ours,
    /// It is newer than the one in hand, and not than the journal: another time.
    Ahead(u64),
    /// It is of another journal, which our key signed.
    Another(Checkpoint, String),
    /// Why it proves nothing.
    Unproved(String),
}

/// Holds a note against our journal and its newest checkpoint.
pub(super) async fn weigh(
    note: &Note,
    newest: &Checkpoint,
    sequencer: &Sequencer,
    proofs: &Proofs,
) -> Weighed {
    let shown = match verified(note, newest, sequencer) {
        Ok(shown) => shown,
        Err(why) => return Weighed::Unproved(why),
    };
    let (size, head) = (shown.size, sequencer.head().borrow().sequence.0);
    if size > head {
        let reason = format!(
            "the witness cosigned a journal of {size} records, signed by the key of this one, and \
             here are {head}: {ROLLED_BACK}"
        );
        return Weighed::Another(shown, reason);
    }
    if size > newest.size {
        return Weighed::Ahead(size);
    }
    if size == 0 {
        return Weighed::Ours;
    }
    match continues(&shown, newest, proofs).await {
        Ok(true) => Weighed::Ours,
        Ok(false) => {
            let reason = format!(
                "the witness cosigned another journal of {size} records, signed by the key of \
                 this one: {ROLLED_BACK}"
            );
            Weighed::Another(shown, reason)
        }
        Err(why) => Weighed::Unproved(why),
    }
}

/// The checkpoint, if our own key signed it.
fn verified(note: &Note, newest: &Checkpoint, sequencer: &Sequencer) -> Result<Checkpoint, String> {
    let made = sequencer.view().checkpoints.made.clone();
    let key = made.ok_or("there is no key for checkpoints to check it with")?.key;
    let name = newest.origin.clone();
    note.check(&Verifier { name, key }).map_err(|fault| format!("what it shows: {fault}"))?;
    let shown = Checkpoint::parse(&note.text).map_err(|fault| format!("what it shows: {fault}"))?;
    if shown.origin == newest.origin {
        Ok(shown)
    } else {
        Err("what it shows is elsewhere's".into())
    }
}

/// Whether the journal under one checkpoint is the beginning of that under another.
async fn continues(old: &Checkpoint, new: &Checkpoint, proofs: &Proofs) -> Result<bool, String> {
    let (proofs, sizes) = (proofs.clone(), (old.size, new.size));
    let read = tokio::task::spawn_blocking(move || proofs.consistency(sizes.0, sizes.1)).await;
    let proof = read.map_err(|error| causes(&error))?.map_err(|error| causes(&error))?;
    let proof = proof.ok_or("the journal cannot be read that far")?;
    Ok(proof.proves(old.root, new.root))
}

const ROLLED_BACK: &str = "the disk was rolled back, or another signer runs on a copy";
