//! Whether a signature may be given, as far as the witness has a say: the one place that decides.
//!
//! It is asked twice for each: before anything is charged, and before what is recorded is released.
//! Stops, thaws, books and people never come here. Start reading in [`Heard::admits`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use portcullis_policy::id::Sequence;
use portcullis_policy::time::{Millis, Span};
use tokio::sync::watch;
use tokio::time::timeout;

use super::growth::Growth;
use crate::clock::{self, Deadline};
use crate::sequencer::{Recorded, View};

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
    /// A cosignature that is young covers nothing that came after its checkpoint.
    #[error("records that are older than {0} are in no checkpoint that the witness cosigned")]
    Uncovered(Span),
    /// In fence: what is signed now could not be released.
    #[error("the witness did not cosign when it was asked last")]
    Away,
    /// In fence: there is nothing that the witness could cosign.
    #[error("no checkpoint of the newest records could be signed and kept")]
    Unsigned,
    /// It need not be true, but somebody has to look.
    #[error("the witness says that it knows of another journal than this one")]
    Contradicted,
    /// In fence.
    #[error("the witness did not cosign the record in time: the signature was not released")]
    Late,
    /// In fence: asked again, it is decided anew.
    #[error("the book or the people changed while the signature waited: it was not released")]
    Narrowed,
}

impl Unwitnessed {
    /// The stable code, as in `ErrorInfo.reason`.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotYet | Self::Old(_) | Self::Uncovered(_) => "WITNESS_LAG",
            Self::Away | Self::Unsigned => "WITNESS_LAG",
            Self::Contradicted => "WITNESS_CONTRADICTS",
            Self::Late | Self::Narrowed => "WITNESS_LATE",
        }
    }

    /// Whether it may end by itself at any moment.
    pub fn may_pass(self) -> bool {
        match self {
            Self::NotYet | Self::Old(_) | Self::Uncovered(_) => true,
            Self::Away | Self::Unsigned | Self::Late | Self::Narrowed => true,
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
    growth: Mutex<Growth>,
    refused: AtomicU64,
}

/// What was heard of the witness since the start.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    newest: Option<Newest>,
    last: Last,
    /// Whether the token would not sign the newest checkpoint, or the disk not keep it.
    unsigned: bool,
}

/// When it is looked at.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// On the boot clock.
    now: Millis,
    /// For how long the first record waits that is covered by no cosignature.
    waits: Span,
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
    fn admits(self, mode: Mode, at: Moment) -> Result<(), Unwitnessed> {
        if mode == Mode::Off {
            return Ok(());
        }
        if self.last == Last::Contradicted {
            return Err(Unwitnessed::Contradicted);
        }
        let newest = self.newest.ok_or(Unwitnessed::NotYet)?;
        match mode {
            Mode::Lag(max) if newest.age(at.now) > max => Err(Unwitnessed::Old(max)),
            Mode::Lag(max) if at.waits > max => Err(Unwitnessed::Uncovered(max)),
            Mode::Fence if self.last == Last::Away => Err(Unwitnessed::Away),
            Mode::Fence if self.unsigned => Err(Unwitnessed::Unsigned),
            Mode::Fence if at.waits > FENCED_MAX => Err(Unwitnessed::Uncovered(FENCED_MAX)),
            Mode::Off | Mode::Lag(_) | Mode::Fence => Ok(()),
        }
    }

    /// Whether what is recorded there may be released now; `None`: not yet.
    fn releases(self, mode: Mode, at: Sequence, now: Moment) -> Option<Result<(), Unwitnessed>> {
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
        let (heard, growth) = (watch::Sender::default(), Mutex::default());
        Self { mode, heard, growth, refused: AtomicU64::new(0) }
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
        self.heard.borrow().admits(self.mode, self.moment())
    }

    fn moment(&self) -> Moment {
        let now = clock::boot();
        Moment { now, waits: self.waits(now) }
    }

    /// For how long the first record waits that is covered by no cosignature.
    pub(super) fn waits(&self, now: Millis) -> Span {
        self.growth.lock().waits(now)
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
        view: impl FnOnce() -> Arc<View>,
    ) -> Result<Covered, Unwitnessed> {
        let at = recorded.sequence();
        self.grown(at.0);
        let waited = timeout(patience(deadline), self.released(at)).await;
        waited.unwrap_or(Err(Unwitnessed::Late)).inspect_err(|_| self.count())?;
        // It may have waited for long: what was acknowledged meanwhile counts.
        let asker = recorded.request().asker();
        if self.mode == Mode::Fence && view().may_forbid(&asker.caller, &asker.key, at) {
            self.count();
            return Err(Unwitnessed::Narrowed);
        }
        Ok(Covered(recorded))
    }

    async fn released(&self, at: Sequence) -> Result<(), Unwitnessed> {
        let mut heard = self.heard.subscribe();
        loop {
            let now = *heard.borrow_and_update();
            if let Some(said) = now.releases(self.mode, at, self.moment()) {
                return said;
            }
            heard.changed().await.map_err(|_| Unwitnessed::Late)?;
        }
    }

    /// It cosigned so many records when it was asked at this time.
    pub(crate) fn cosigned(&self, size: u64, asked: Millis) {
        self.growth.lock().cosigned(size);
        self.heard.send_modify(|heard| {
            (heard.newest, heard.last) = (Some(Newest { size, asked }), Last::Good);
        });
    }

    /// So many records are durable.
    pub(super) fn grown(&self, head: u64) {
        self.growth.lock().grown(head, clock::boot());
    }

    /// Whether the newest checkpoint could not be signed and kept: nothing else can be cosigned.
    pub fn unsigned(&self, unsigned: bool) {
        self.heard
            .send_if_modified(|heard| std::mem::replace(&mut heard.unsigned, unsigned) != unsigned);
    }

    /// It cosigned what it cosigned before, and perhaps not now: that takes no doubt away.
    pub(super) fn answered(&self) {
        self.heard.send_if_modified(|heard| {
            let was_away = heard.last == Last::Away;
            if was_away {
                heard.last = Last::Good;
            }
            was_away
        });
    }

    /// It did not answer, or not with a cosignature. That takes no doubt away either.
    pub(super) fn away(&self) {
        self.heard.send_modify(|heard| {
            if heard.last != Last::Contradicted {
                heard.last = Last::Away;
            }
        });
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

/// In fence: twice as long as a witness may take to answer, so that a slow one is waited for.
const FENCED_MAX: Span = Span(10_000);

/// For the way back.
const MARGIN_MAX: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(100_000);
    const LAG: Mode = Mode::Lag(Span(30_000));

    fn heard(size: u64, age: u64, last: Last) -> Heard {
        let asked = Millis(NOW.0.saturating_sub(age));
        Heard { newest: Some(Newest { size, asked }), last, unsigned: false }
    }

    fn waits(waits: u64) -> Moment {
        Moment { now: NOW, waits: Span(waits) }
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
            assert_eq!(heard.admits(mode, waits(0)), said, "{mode:?} {heard:?}");
        }
    }

    #[test]
    fn a_young_cosignature_admits_nothing_while_records_wait_too_long_for_one() {
        let good = heard(5, 0, Last::Good);
        let uncovered = |max| Err(Unwitnessed::Uncovered(Span(max)));
        for (mode, waited, said) in [
            (Mode::Off, 90_000, Ok(())),
            (LAG, 30_000, Ok(())),
            (LAG, 30_001, uncovered(30_000)),
            (Mode::Fence, 10_000, Ok(())),
            (Mode::Fence, 10_001, uncovered(10_000)),
        ] {
            assert_eq!(good.admits(mode, waits(waited)), said, "{mode:?} {waited}");
        }
        // In lag, what is recorded is not released either.
        let released = good.releases(LAG, Sequence(6), waits(30_001));
        assert_eq!(released, Some(uncovered(30_000)));
    }

    #[test]
    fn in_fence_nothing_is_admitted_that_no_checkpoint_can_cover() {
        for (mode, said) in
            [(Mode::Off, Ok(())), (LAG, Ok(())), (Mode::Fence, Err(Unwitnessed::Unsigned))]
        {
            let cover = Cover::new(mode);
            cover.cosigned(5, clock::boot());
            cover.unsigned(true);
            // It cosigns the old one again, which covers nothing new.
            cover.cosigned(5, clock::boot());
            cover.answered();
            assert_eq!(cover.ready(), said, "{mode:?}");
            cover.unsigned(false);
            assert_eq!(cover.ready(), Ok(()), "{mode:?}");
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
            assert_eq!(heard.releases(mode, at, waits(0)), said, "{mode:?} {heard:?}");
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
