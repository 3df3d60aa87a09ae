//! Keeps a marker in the token that says how far the journal has come, and holds the journal
//! against it at the start: a data folder from before a stop, or from before money was spent, stops
//! everything.
//!
//! The token is told after every change of what is in force, now and then as signatures are
//! recorded, and at the end. What lies between the marker and the journal's end can be lost unseen.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use parking_lot::Mutex;
use portcullis_policy::id::{Sequence, VaultId};
use portcullis_policy::stops::Scope;

use crate::hsm::{Hsm, HsmError, causes};
use crate::journal::Head;
use crate::sequencer::Sequencer;

/// What the token has heard of a journal.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Marked {
    /// Nothing.
    #[default]
    Nothing,
    /// That this was its end, once.
    At(Mark),
    /// Something that we did not write.
    Unreadable,
}

/// A place in a journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mark {
    /// The last record there.
    pub sequence: Sequence,
    /// Root of the tree over all records up to it.
    pub root: B256,
}

impl Marked {
    /// By the texts in the token. The highest counts: after a crash there may be two, one torn.
    fn parse(texts: &[Vec<u8>]) -> Self {
        let marks = texts.iter().filter_map(|text| Mark::parse(text));
        match marks.max_by_key(|mark| mark.sequence) {
            Some(mark) => Self::At(mark),
            None if texts.is_empty() => Self::Nothing,
            None => Self::Unreadable,
        }
    }

    /// Where to look for its root.
    pub fn sequence(&self) -> Sequence {
        match self {
            Self::At(mark) => mark.sequence,
            Self::Nothing | Self::Unreadable => Sequence(0),
        }
    }

    /// Why the journal is not the one that the token has heard of, if it is not. `root` is that of
    /// its own tree at the marker's place, if it comes as far.
    pub fn contradicts(&self, head: Sequence, root: Option<B256>) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Unreadable => Some(
                "what the token should know of the journal was changed by somebody with the PIN"
                    .into(),
            ),
            Self::At(mark) if mark.sequence > head => Some(format!(
                "the data folder is from before: its journal ends at record {head}, and the token \
                 has heard of record {}",
                mark.sequence
            )),
            Self::At(mark) => (root != Some(mark.root)).then(|| {
                format!(
                    "the data folder is another one: up to record {} it holds other records than \
                     the token has heard of",
                    mark.sequence
                )
            }),
        }
    }
}

impl Mark {
    fn parse(text: &[u8]) -> Option<Self> {
        let (sequence, root) = std::str::from_utf8(text).ok()?.split_once(':')?;
        Some(Self { sequence: Sequence(sequence.parse().ok()?), root: root.parse().ok()? })
    }
}

impl From<Head> for Mark {
    fn from(head: Head) -> Self {
        Self { sequence: head.sequence, root: head.root }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.sequence, hex::encode(self.root))
    }
}

/// Tells the token.
pub struct Marker {
    sequencer: Sequencer,
    token: Arc<Hsm>,
    told: Mutex<Told>,
}

/// What came of it last.
struct Told {
    marked: Marked,
    trouble: Option<String>,
    /// The journal was found not to be the one that the token has heard of.
    behind: Option<String>,
}

impl Marker {
    /// What the token has heard of this vault's journal.
    ///
    /// # Errors
    ///
    /// The token cannot be read: then nobody knows.
    pub async fn read(token: &Hsm, vault: VaultId) -> Result<Marked, HsmError> {
        Ok(Marked::parse(&token.markers(vault).await?))
    }

    /// Joins the parts. `behind`: what the start found to be wrong, so that everything is stopped.
    pub fn new(
        sequencer: Sequencer,
        token: Arc<Hsm>,
        marked: Marked,
        behind: Option<String>,
    ) -> Self {
        let told = Mutex::new(Told { marked, trouble: None, behind });
        Self { sequencer, token, told }
    }

    /// Follows every change for as long as it is let.
    pub async fn run(self: Arc<Self>) {
        let mut changes = self.sequencer.changes();
        loop {
            changes.mark_unchanged();
            self.tell().await;
            // Not more often, however often something changes: every marker is a write to flash.
            tokio::time::sleep(TOLD_AT_MOST_EVERY).await;
            if let Ok(Err(_)) = tokio::time::timeout(TOLD_AT_LEAST_EVERY, changes.changed()).await {
                return;
            }
        }
    }

    /// Tells the token where the journal ends. Not while everything is stopped because it had heard
    /// of more: it forgets that only once people have looked at it and started everything again.
    pub async fn tell(&self) {
        let (head, view) = (Mark::from(*self.sequencer.head().borrow()), self.sequencer.view());
        let is_stopped = view.stops.iter().any(|stop| *stop == Scope::All);
        let settled = {
            let told = self.told.lock();
            told.marked == Marked::At(head) || (told.behind.is_some() && is_stopped)
        };
        if settled {
            return;
        }
        let answer = self.token.mark(view.vault, head.to_string().into_bytes()).await;
        let mut told = self.told.lock();
        match answer {
            Ok(()) => *told = Told { marked: Marked::At(head), trouble: None, behind: None },
            Err(error) => {
                let why = causes(&error);
                tracing::warn!(%why, "the token was not told how far the journal has come");
                told.trouble = Some(why);
            }
        }
    }

    /// The last record that the token has heard of.
    pub fn sequence(&self) -> Sequence {
        self.told.lock().marked.sequence()
    }

    /// What needs attention, a line each.
    pub fn troubles(&self) -> Vec<String> {
        let told = self.told.lock();
        let refused = told.trouble.as_ref().map(|why| {
            format!("the token keeps no marker, so a data folder from before is not noticed: {why}")
        });
        told.behind.iter().cloned().chain(refused).collect()
    }
}

/// After a change.
const TOLD_AT_MOST_EVERY: Duration = Duration::from_secs(5);

/// While nothing but signatures is recorded.
const TOLD_AT_LEAST_EVERY: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(sequence: u64, byte: u8) -> Mark {
        Mark { sequence: Sequence(sequence), root: B256::repeat_byte(byte) }
    }

    fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    #[test]
    fn a_marker_reads_as_it_was_written_and_the_highest_counts() {
        let [low, high] = [mark(7, 1).to_string(), mark(80, 2).to_string()];
        assert_eq!(Marked::parse(&texts(&[&high, &low])), Marked::At(mark(80, 2)));
        assert_eq!(Marked::parse(&[]), Marked::Nothing);
        for wrong in ["", "80", "80:", "x:00", "-1:00", &format!("{high}0")] {
            assert_eq!(Marked::parse(&texts(&[wrong])), Marked::Unreadable, "{wrong:?}");
            assert_eq!(Marked::parse(&texts(&[wrong, &low])), Marked::At(mark(7, 1)), "{wrong:?}");
        }
    }

    #[test]
    fn a_journal_that_ends_before_the_marker_or_holds_other_records_is_found_out() {
        let marked = Marked::At(mark(80, 2));
        let root = |byte| Some(B256::repeat_byte(byte));
        for (head, root, wrong) in
            [(79, None, "from before"), (80, root(3), "another one"), (81, None, "another one")]
        {
            let said = marked.contradicts(Sequence(head), root).unwrap();
            assert!(said.contains(wrong), "{said}");
        }
        assert_eq!(marked.contradicts(Sequence(80), root(2)), None);
        assert_eq!(marked.contradicts(Sequence(900), root(2)), None);
        assert_eq!(Marked::Nothing.contradicts(Sequence(9), None), None);
        assert!(Marked::Unreadable.contradicts(Sequence(9), None).is_some());
    }
}
