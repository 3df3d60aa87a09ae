//! The sequencer's part in snapshots: it records that there is one. What is in it is nobody's
//! business here.

use portcullis_policy::record::{Record, Snapshot};
use portcullis_policy::state::State;
use portcullis_policy::tree::Tiles;

use super::Sequencer;
use super::command::{Answer, Command, reply};
use super::writer::{Fatal, Writer, done};
use crate::journal::{ReadError, Reader, Space};
use crate::marker::Mark;
use crate::proofs::Proofs;
use crate::refusal::Refusal;

/// What a start begins with, if not with the first record: the fold of all records up to one, and
/// the tree over them. Whoever gives it has made sure of it.
#[derive(Debug)]
pub struct Begun {
    /// The fold.
    pub state: State,
    /// The tree, of which any beginning can be told with a few records more.
    pub tiles: Tiles,
}

impl Begun {
    /// Whether the tree has the marker's as its beginning. The state would be served before the
    /// background has read as far, and the marker that tells of a fork would be written over.
    ///
    /// # Errors
    ///
    /// The journal cannot be read there.
    pub(super) fn follows(&self, mark: &Mark, reader: &Reader) -> Result<bool, ReadError> {
        let proofs = Proofs::from(reader, self.tiles.clone());
        let proof = proofs.consistency(mark.sequence.0, self.tiles.size())?;
        let root = self.tiles.frontier().root();
        Ok(proof.is_some_and(|proof| proof.proves(mark.root, root)))
    }
}

/// What became of a snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Noted {
    /// It is recorded.
    Recorded,
    /// One of as many records, or more, is recorded already.
    Older,
}

impl Sequencer {
    /// Records that a snapshot was written.
    ///
    /// # Errors
    ///
    /// There is no room for it.
    pub async fn snapshot(&self, snapshot: Snapshot) -> Result<Noted, Refusal> {
        self.ask(|answer| Command::Snapshot(snapshot, answer)).await
    }
}

impl Writer {
    pub(super) fn snapshot(
        &mut self,
        snapshot: Snapshot,
        answer: Answer<Noted>,
    ) -> Result<(), Fatal> {
        if self.space() != Space::Ample {
            return done(answer, Err(Refusal::JournalFull));
        }
        if !self.state.takes_snapshot(snapshot.upto) {
            return done(answer, Ok(Noted::Older));
        }
        self.append(self.clock.now(), Record::Snapshot(snapshot), None)?;
        self.after_commit(move |_| reply(answer, Ok(Noted::Recorded)));
        Ok(())
    }
}
