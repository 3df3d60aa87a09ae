//! Lines for the log that anybody can cause: one a minute is written, and how many were not.

use parking_lot::Mutex;
use portcullis_policy::time::Millis;

/// One kind of line.
#[derive(Debug, Default)]
pub(super) struct Quiet(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    said: Option<Millis>,
    unsaid: u64,
}

impl Quiet {
    /// Whether to write a line now, and how many were kept back since the last one.
    pub(super) fn speaks(&self, now: Millis) -> Option<u64> {
        let mut state = self.0.lock();
        let is_early = |said: Millis| now.0.saturating_sub(said.0) < PAUSE_MILLIS;
        if state.said.is_some_and(is_early) {
            state.unsaid = state.unsaid.saturating_add(1);
            return None;
        }
        state.said = Some(now);
        Some(std::mem::take(&mut state.unsaid))
    }
}

/// Between two lines.
const PAUSE_MILLIS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_is_written_and_the_others_are_counted() {
        let quiet = Quiet::default();
        let speaks = |at| quiet.speaks(Millis(at));
        assert_eq!((speaks(5), speaks(6), speaks(60_004)), (Some(0), None, None));
        assert_eq!((speaks(60_005), speaks(60_006), speaks(120_005)), (Some(2), None, Some(1)));
        assert_eq!(speaks(1), None, "a clock that goes back is no minute");
    }
}
