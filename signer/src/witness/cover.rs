//! Whether a signature may be given, as far as the witness has a say: the one place that decides.
//!
//! It is asked twice for each: before anything is charged, and before what is recorded is released.
//! Stops, thaws, books and people never come here. Start reading in [`Heard::admits`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portcullis_policy::id::Sequence;
use portcullis_policy::time::{Millis, Span};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::clock::{self, Deadline};
use crate::sequencer::Recorded;

/// What a signature waits for: `[witness] mode`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// For nothing.
    Off,
    /// For a cosignature that is no older than this.
    Lag(Span),
    /// For a cosignature over its own record.
    Fence,
}

/// Why the witness keeps us from signing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unwitnessed {
    /// A disk that was rolled back must sign nothing before it hears of it.
    #[error("the witness has not cosigned this journal since the signer started")]
    NotYet,
    /// In lag.
    #[error("the witness's newest cosignature is older than {0}")]
    Old(Span),
    /// In fence: what is signed now could not be released.
    #[error("the witness did not cosign when it was asked last")]
    Away,
    /// It need not be true, but somebody has to look.
    #[error("the witness says that it knows of another journal than this one")]
    Contradicted,
    /// In fence.
    #[error("the witness did not cosign the record in time: the signature was not released")]
    Late,
}

impl Unwitnessed {
    /// The stable code, as in `ErrorInfo.reason`.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotYet | Self::Old(_) | Self::Away => "WITNESS_LAG",
            Self::Contradicted => "WITNESS_CONTRADICTS",
            Self::Late => "WITNESS_LATE",
        }
    }

    /// Whether it may end by itself at any moment.
    pub fn may_pass(self) -> bool {
        match self {
            Self::NotYet | Self::Old(_) | Self::Away | Self::Late => true,
            Self::Contradicted => false,
        }
    }
}

/// A signature that is on record and that the witness lets go. Made only by [`Cover::covered`]:
/// only this becomes a reply.
#[derive(Debug)]
#[must_use = "whoever asked waits for this"]
pub struct Covered(Recorded);

impl Covered {
    /// To be answered with.
    pub fn into_recorded(self) -> Recorded {
        self.0
    }
}

/// What the cosignatures cover.
#[derive(Debug)]
pub struct Cover {
    mode: Mode,
    heard: watch::Sender<Heard>,
    refused: AtomicU64,
}

/// What was heard of the witness since the start.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    newest: Option<Newest>,
    last: Last,
}

/// The newest cosignature.
#[derive(Clone, Copy, Debug)]
struct Newest {
    /// Of how many records.
    size: u64,
    /// When it was asked for, on the boot clock: it is no older.
    asked: Millis,
}

/// How it went when it was asked last.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Last {
    #[default]
    Good,
    Away,
    Contradicted,
}

impl Heard {
    /// Whether anything may be signed now.
    fn admits(self, mode: Mode, now: Millis) -> Result<(), Unwitnessed> {
        if mode == Mode::Off {
            return Ok(());
        }
        if self.last == Last::Contradicted {
            return Err(Unwitnessed::Contradicted);
        }
        let newest = self.newest.ok_or(Unwitnessed::NotYet)?;
        match mode {
            Mode::Lag(max) if newest.age(now) > max => Err(Unwitnessed::Old(max)),
            Mode::Fence if self.last == Last::Away => Err(Unwitnessed::Away),
            Mode::Off | Mode::Lag(_) | Mode::Fence => Ok(()),
        }
    }

    /// Whether what is recorded there may be released now; `None`: not yet.
    fn releases(self, mode: Mode, at: Sequence, now: Millis) -> Option<Result<(), Unwitnessed>> {
        let is_covered = self.newest.is_some_and(|newest| newest.size >= at.0);
        match mode {
            Mode::Off | Mode::Lag(_) => Some(self.admits(mode, now)),
            Mode::Fence if is_covered => Some(Ok(())),
            Mode::Fence if self.last == Last::Contradicted => Some(Err(Unwitnessed::Contradicted)),
            Mode::Fence => None,
        }
    }
}

impl Newest {
    fn age(self, now: Millis) -> Span {
        Span(now.0.saturating_sub(self.asked.0))
    }
}

impl Cover {
    /// With nothing heard yet.
    pub fn new(mode: Mode) -> Self {
        Self { mode, heard: watch::Sender::default(), refused: AtomicU64::new(0) }
    }

    /// What signatures wait for.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Before anything is charged.
    ///
    /// # Errors
    ///
    /// [`Unwitnessed`].
    pub fn admit(&self) -> Result<(), Unwitnessed> {
        self.ready().inspect_err(|_| self.count())
    }

    /// The same for whoever only wants to know.
    ///
    /// # Errors
    ///
    /// [`Unwitnessed`].
    pub fn ready(&self) -> Result<(), Unwitnessed> {
        self.heard.borrow().admits(self.mode, clock::boot())
    }

    fn count(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How many requests were refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Before it is released. A stop that comes meanwhile finds it waiting at the gate, and
    /// withholds it.
    ///
    /// # Errors
    ///
    /// [`Unwitnessed`]. The signature is wiped then, and its record stays: it was charged, and may
    /// be asked for again.
    pub async fn covered(
        &self,
        recorded: Recorded,
        deadline: Option<Deadline>,
    ) -> Result<Covered, Unwitnessed> {
        let at = recorded.sequence();
        let waited = timeout(patience(deadline), self.released(at)).await;
        waited.unwrap_or(Err(Unwitnessed::Late)).inspect_err(|_| self.count())?;
        Ok(Covered(recorded))
    }

    async fn released(&self, at: Sequence) -> Result<(), Unwitnessed> {
        let mut heard = self.heard.subscribe();
        loop {
            let now = *heard.borrow_and_update();
            if let Some(said) = now.releases(self.mode, at, clock::boot()) {
                return said;
            }
            heard.changed().await.map_err(|_| Unwitnessed::Late)?;
        }
    }

    /// It cosigned so many records when it was asked at this time.
    pub(super) fn cosigned(&self, size: u64, asked: Millis) {
        self.heard.send_replace(Heard { newest: Some(Newest { size, asked }), last: Last::Good });
    }

    /// It cosigned what it cosigned before, and perhaps not now.
    pub(super) fn answered(&self) {
        self.heard.send_modify(|heard| heard.last = Last::Good);
    }

    /// It did not answer, or not with a cosignature.
    pub(super) fn away(&self) {
        self.heard.send_modify(|heard| heard.last = Last::Away);
    }

    /// It says that there is another journal.
    pub(super) fn contradicted(&self) {
        self.heard.send_modify(|heard| heard.last = Last::Contradicted);
    }

    /// How many records are cosigned, and how long ago that was asked for, in seconds.
    pub fn newest(&self) -> Option<(u64, u64)> {
        let newest = self.heard.borrow().newest?;
        let age = newest.age(clock::boot()).0.checked_div(1_000).unwrap_or(0);
        Some((newest.size, age))
    }
}

/// How long it is waited for: a little less than the caller waits, so that it hears why.
fn patience(deadline: Option<Deadline>) -> Duration {
    let left = deadline.map_or(WAIT_MAX, |deadline| deadline.left().min(WAIT_MAX));
    let tenth = left.checked_div(10).unwrap_or_default();
    left.saturating_sub(tenth.min(MARGIN_MAX))
}

/// However long a caller waits: it holds a place.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// For the way back.
const MARGIN_MAX: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(100_000);
    const LAG: Mode = Mode::Lag(Span(30_000));

    fn heard(size: u64, age: u64, last: Last) -> Heard {
        Heard { newest: Some(Newest { size, asked: Millis(NOW.0.saturating_sub(age)) }), last }
    }

    #[test]
    fn what_is_admitted_is_as_the_table_says() {
        let none = Heard::default();
        let contradicted = Err(Unwitnessed::Contradicted);
        for (mode, heard, said) in [
            (Mode::Off, none, Ok(())),
            (Mode::Off, heard(5, 90_000, Last::Contradicted), Ok(())),
            (LAG, none, Err(Unwitnessed::NotYet)),
            (LAG, Heard { last: Last::Away, ..none }, Err(Unwitnessed::NotYet)),
            (LAG, Heard { last: Last::Contradicted, ..none }, contradicted),
            (LAG, heard(5, 30_000, Last::Good), Ok(())),
            (LAG, heard(5, 30_000, Last::Away), Ok(())),
            (LAG, heard(5, 30_001, Last::Good), Err(Unwitnessed::Old(Span(30_000)))),
            (LAG, heard(5, 0, Last::Contradicted), contradicted),
            (Mode::Fence, none, Err(Unwitnessed::NotYet)),
            (Mode::Fence, heard(5, 90_000, Last::Good), Ok(())),
            (Mode::Fence, heard(5, 0, Last::Away), Err(Unwitnessed::Away)),
            (Mode::Fence, heard(5, 0, Last::Contradicted), contradicted),
        ] {
            assert_eq!(heard.admits(mode, NOW), said, "{mode:?} {heard:?}");
        }
    }

    #[test]
    fn what_is_released_is_as_the_table_says() {
        let at = Sequence(6);
        for (mode, heard, said) in [
            (Mode::Off, Heard::default(), Some(Ok(()))),
            // In lag a record need not be covered.
            (LAG, heard(5, 30_000, Last::Good), Some(Ok(()))),
            (LAG, heard(9, 30_001, Last::Good), Some(Err(Unwitnessed::Old(Span(30_000))))),
            (Mode::Fence, Heard::default(), None),
            (Mode::Fence, heard(5, 0, Last::Good), None),
            // It may come back before the caller has had enough.
            (Mode::Fence, heard(5, 0, Last::Away), None),
            (Mode::Fence, heard(6, 90_000, Last::Away), Some(Ok(()))),
            (Mode::Fence, heard(7, 0, Last::Good), Some(Ok(()))),
            (Mode::Fence, heard(5, 0, Last::Contradicted), Some(Err(Unwitnessed::Contradicted))),
        ] {
            assert_eq!(heard.releases(mode, at, NOW), said, "{mode:?} {heard:?}");
        }
    }

    #[test]
    fn nobody_waits_longer_than_the_caller_or_for_ever() {
        assert!(patience(None) < WAIT_MAX);
        assert!(patience(Some(Deadline::after(Duration::from_secs(10)))) < Duration::from_secs(10));
        assert_eq!(patience(Some(Deadline::after(Duration::ZERO))), Duration::ZERO);
    }

    #[tokio::test]
    async fn what_waits_is_released_by_the_cosignature_that_covers_it_and_by_none_before() {
        let cover = Cover::new(Mode::Fence);
        let waiting = cover.released(Sequence(7));
        tokio::pin!(waiting);
        for size in [5, 6] {
            cover.cosigned(size, clock::boot());
            cover.away();
            let waited = timeout(Duration::ZERO, waiting.as_mut()).await;
            assert!(waited.is_err(), "{size}");
        }
        cover.cosigned(7, clock::boot());
        assert_eq!(waiting.await, Ok(()));
    }
}
