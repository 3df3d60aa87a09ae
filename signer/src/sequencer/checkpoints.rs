//! The sequencer's part in checkpoints: it says what is durable, and records the key that signs it.

use alloy_primitives::{B128, B256};
use portcullis_policy::note::{Checkpoint, Note, NoteFault, NoteKey, Verifier, origin};
use portcullis_policy::record::{CheckpointKeyIntended, CheckpointKeyMade, Record};
use portcullis_policy::state::State;

use super::Sequencer;
use super::command::{Answer, Command, reply};
use super::proof::DurableRoot;
use super::start::StartError;
use super::writer::{Fatal, Writer, done};
use crate::journal::{Kept, Space};
use crate::refusal::Refusal;

/// How far the key has come.
#[derive(Clone, Debug)]
pub enum CheckpointKeyStep {
    /// It is about to be made.
    Intended(B128),
    /// It was.
    Made(B128, NoteKey),
}

impl Sequencer {
    /// What the journal durably is.
    pub fn durable_root(&self) -> DurableRoot {
        DurableRoot::new(self.view().vault, *self.head.borrow())
    }

    /// Notes how far the key for checkpoints has come.
    ///
    /// # Errors
    ///
    /// There is no room for it, or a key already.
    pub async fn checkpoint_key(&self, step: CheckpointKeyStep) -> Result<(), Refusal> {
        self.ask(|answer| Command::CheckpointKey(step, answer)).await
    }
}

impl Writer {
    pub(super) fn checkpoint_key(
        &mut self,
        step: CheckpointKeyStep,
        answer: Answer<()>,
    ) -> Result<(), Fatal> {
        if self.space() != Space::Ample {
            return done(answer, Err(Refusal::JournalFull));
        }
        let checkpoints = self.state.checkpoints();
        let (fits, record) = match step {
            CheckpointKeyStep::Intended(object) => {
                let fits = !checkpoints.intended.contains(&object);
                (fits, Record::CheckpointKeyIntended(CheckpointKeyIntended { object }))
            }
            CheckpointKeyStep::Made(object, key) => {
                let fits = checkpoints.intended.contains(&object);
                (fits, Record::CheckpointKeyMade(CheckpointKeyMade { key, object }))
            }
        };
        if !fits || checkpoints.made.is_some() {
            let name = "the checkpoint key".to_owned();
            return done(answer, Err(Refusal::LabelTaken(name)));
        }
        self.append(self.clock.now(), record, None)?;
        self.changed = true;
        self.after_commit(move |_| reply(answer, Ok(())));
        Ok(())
    }
}

/// The checkpoint that a journal is held against at its start.
pub(super) struct Held(Option<(Note, Checkpoint)>);

impl Held {
    /// # Errors
    ///
    /// What was kept is no checkpoint.
    pub(super) fn read(kept: &Kept) -> Result<Self, StartError> {
        let Kept::Text(text) = kept else { return Ok(Self(None)) };
        let note = Note::parse(text)?;
        let checkpoint = Checkpoint::parse(&note.text)?;
        Ok(Self(Some((note, checkpoint))))
    }

    /// Of how many records it speaks.
    pub(super) fn size(&self) -> u64 {
        self.0.as_ref().map_or(0, |(_, checkpoint)| checkpoint.size)
    }

    /// Whether the journal is the one that it speaks of, and maybe a longer one. `root` gives its
    /// own at a size.
    ///
    /// # Errors
    ///
    /// It is shorter, or another one; or nobody of its own signed this.
    pub(super) fn check(&self, state: &State, root: Option<B256>) -> Result<(), StartError> {
        let Some((note, checkpoint)) = &self.0 else { return Ok(()) };
        let (head, size) = (state.head(), checkpoint.size);
        if head.0 < size {
            return Err(StartError::Shorter { head, size });
        }
        let name = origin(state.vault().0);
        if root != Some(checkpoint.root) || checkpoint.origin != name {
            return Err(StartError::OtherRecords { size });
        }
        let made = state.checkpoints().made.as_ref();
        let made = made.ok_or(NoteFault::Unsigned(name.clone()))?;
        Ok(note.check(&Verifier { name, key: made.key.clone() })?)
    }
}
