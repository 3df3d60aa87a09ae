//! Since when the journal holds records that no cosignature covers. The age of a cosignature does
//! not tell: a checkpoint of which nothing newer is signed can be cosigned again for ever.

use std::collections::VecDeque;

use portcullis_policy::time::{Millis, Span};

/// How the journal grew past what is cosigned.
#[derive(Debug, Default)]
pub(super) struct Growth {
    head: u64,
    cosigned: u64,
    /// By time. The first is what counts now, the others when more is cosigned.
    marks: VecDeque<Mark>,
}

/// When the journal grew beyond a size.
#[derive(Clone, Copy, Debug)]
struct Mark {
    beyond: u64,
    at: Millis,
}

impl Growth {
    /// So many records are durable now.
    pub(super) fn grown(&mut self, head: u64, now: Millis) {
        if head <= self.head {
            return;
        }
        // What is left out makes a record look older than it is, and never younger.
        let is_close = self.marks.back().is_some_and(|last| now.0 < last.at.plus(SLICE).0);
        if !is_close && self.marks.len() < MARKS_MAX {
            self.marks.push_back(Mark { beyond: self.head, at: now });
        }
        self.head = head;
        self.forget();
    }

    /// So many records are cosigned.
    pub(super) fn cosigned(&mut self, size: u64) {
        self.cosigned = self.cosigned.max(size);
        self.forget();
    }

    fn forget(&mut self) {
        while self.marks.get(1).is_some_and(|next| next.beyond <= self.cosigned) {
            self.marks.pop_front();
        }
    }

    /// For how long the first record waits that is not covered; nothing if all are.
    pub(super) fn waits(&self, now: Millis) -> Span {
        match self.marks.front() {
            Some(first) if self.head > self.cosigned => Span(now.0.saturating_sub(first.at.0)),
            Some(_) | None => Span(0),
        }
    }
}

/// However fast it grows.
const SLICE: Span = Span(100);

/// Some minutes of steady growth; what comes after counts as old as the last of them.
const MARKS_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn grown(steps: &[(u64, u64)]) -> Growth {
        let mut growth = Growth::default();
        for (head, now) in steps {
            growth.grown(*head, Millis(*now));
        }
        growth
    }

    #[test]
    fn the_first_record_that_is_not_covered_says_how_long_it_waits() {
        let mut growth = grown(&[(5, 1_000), (6, 2_000), (9, 3_000)]);
        for (cosigned, waits) in [(0, 9_000), (4, 9_000), (5, 8_000), (6, 7_000), (8, 7_000)] {
            growth.cosigned(cosigned);
            assert_eq!(growth.waits(Millis(10_000)), Span(waits), "{cosigned}");
        }
        growth.cosigned(9);
        assert_eq!(growth.waits(Millis(10_000)), Span(0));
        growth.grown(10, Millis(20_000));
        assert_eq!(growth.waits(Millis(20_500)), Span(500));
    }

    #[test]
    fn the_same_checkpoint_cosigned_again_makes_nothing_younger() {
        let mut growth = grown(&[(5, 1_000)]);
        growth.cosigned(5);
        growth.grown(6, Millis(2_000));
        for at in [3_000, 30_000, 300_000] {
            growth.cosigned(5);
            growth.grown(at, Millis(at));
            assert_eq!(growth.waits(Millis(at)), Span(at - 2_000));
        }
    }

    #[test]
    fn what_is_not_marked_only_looks_older_and_nothing_is_kept_without_end() {
        let mut growth = grown(&[(5, 1_000), (6, 1_050)]);
        growth.cosigned(5);
        assert_eq!(growth.waits(Millis(2_000)), Span(1_000));
        for step in 0..10_000 {
            growth.grown(7 + step, Millis(2_000 + step * 100));
        }
        assert_eq!(growth.marks.len(), MARKS_MAX);
        growth.cosigned(20_000);
        assert_eq!((growth.marks.len(), growth.waits(Millis(9_000_000))), (1, Span(0)));
    }
}
