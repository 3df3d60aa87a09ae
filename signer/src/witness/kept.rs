//! What the witness keeps of a journal: the newest checkpoint that it cosigned, and when it said
//! so. The time is kept too, or a restart under a clock that was set back could take it back.

use std::fmt;

use portcullis_policy::note::{Checkpoint, Note};
use portcullis_policy::time::Millis;

/// A checkpoint, and the time that stands in its cosignature.
#[derive(Debug)]
pub(super) struct Kept {
    /// Seconds since 1970.
    pub(super) seconds: u64,
    pub(super) checkpoint: Checkpoint,
    /// With the signatures of the journal, and of nobody else.
    pub(super) note: Note,
}

impl Kept {
    /// Reads it back. `None`: it is something else, or of another journal.
    pub(super) fn parse(text: &str, origin: &str) -> Option<Self> {
        let timed = text.strip_prefix(TIME).and_then(|rest| rest.split_once('\n'));
        let (seconds, note) = match timed {
            Some((seconds, note)) => (seconds.parse().ok()?, note),
            // As it was kept before times were.
            None => (0, text),
        };
        let note = Note::parse(note).ok()?;
        let checkpoint = Checkpoint::parse(&note.text).ok()?;
        (checkpoint.origin == origin).then_some(Self { seconds, checkpoint, note })
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{TIME}{}\n{}", self.seconds, self.note)
    }
}

/// The time to cosign with, in seconds since 1970: never before the one that was said last. `None`:
/// the clock says nothing, and in a cosignature 0 means that there is no time.
pub(super) fn seconds(wall: Millis, last: u64) -> Option<u64> {
    let now = wall.0.checked_div(1_000).filter(|seconds| *seconds > 0)?;
    Some(now.max(last))
}

/// Before the time. No origin begins so: a name in a note has no space.
const TIME: &str = "time ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_never_goes_back_and_is_never_nothing() {
        assert_eq!(seconds(Millis(5_999), 0), Some(5));
        assert_eq!(seconds(Millis(5_999), 4), Some(5));
        assert_eq!(seconds(Millis(5_999), 9), Some(9));
        assert_eq!((seconds(Millis(999), 9), seconds(Millis(0), 0)), (None, None));
    }
}
