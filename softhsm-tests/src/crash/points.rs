//! The named moments at which the signer is killed, besides random ones.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use rand::Rng;

use crate::child::Environment;
use crate::place::{self, PlaceError};

/// A moment: as the library `crash-points` names it, and the how many-eth of its kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Point {
    pub(super) name: &'static str,
    number: u32,
}

/// One kind, and where in the life of a process it is taken.
struct Kind {
    name: &'static str,
    numbers: RangeInclusive<u32>,
    /// How long it may take to come.
    patience: Duration,
}

const fn kind(name: &'static str, last: u32, seconds: u64) -> Kind {
    Kind { name, numbers: 1..=last, patience: Duration::from_secs(seconds) }
}

/// All of them. A start alone writes, syncs and renames some of these; segments are small here, so
/// that load takes spares into use and has new ones made.
const KINDS: [Kind; 20] = [
    kind("segment:write:before", 60, 3),
    kind("segment:write:half", 60, 3),
    kind("segment:write:after", 60, 3),
    kind("segment:sync:before", 60, 3),
    kind("segment:sync:after", 60, 3),
    kind("segment:rename:before", 2, 6),
    kind("segment:rename:after", 2, 6),
    kind("spare:write:half", 2, 6),
    kind("spare:sync:before", 2, 6),
    kind("spare:rename:before", 2, 6),
    kind("spare:rename:after", 2, 6),
    kind("folder:sync:before", 3, 6),
    kind("folder:sync:after", 3, 6),
    kind("checkpoints:write:before", 2, 4),
    kind("checkpoints:write:half", 2, 4),
    kind("checkpoints:write:after", 2, 4),
    kind("checkpoints:sync:before", 2, 4),
    kind("checkpoints:sync:after", 2, 4),
    kind("snapshot:write:half", 1, 45),
    kind("snapshot:rename:before", 1, 45),
];

/// Snapshots are rare, so that whoever waits for one waits long.
const LATE: &str = "snapshot:";

/// A snapshot is waited for once in so many points.
const LATE_ONE_IN: u32 = 40;

impl Point {
    /// One by chance, and how long it may take to come.
    pub(super) fn any(chance: &mut impl Rng) -> (Self, Duration) {
        let late = chance.random_ratio(1, LATE_ONE_IN);
        let fit: Vec<&Kind> =
            KINDS.iter().filter(|kind| kind.name.starts_with(LATE) == late).collect();
        let place = chance.random_range(0..fit.len().max(1));
        let kind = fit.get(place).copied().unwrap_or(&KINDS[0]);
        let number = chance.random_range(kind.numbers.clone());
        (Self { name: kind.name, number }, kind.patience)
    }

    /// What a process needs that is to end there.
    pub(super) fn environment(self) -> Result<Environment, PlaceError> {
        let at = format!("{} {}", self.name, self.number);
        Ok(vec![("LD_PRELOAD", place::crash_points()?.into()), ("PORTCULLIS_CRASH_AT", at.into())])
    }
}

/// How often each was hit: none yet.
pub(super) fn none() -> BTreeMap<String, u32> {
    KINDS.iter().map(|kind| (kind.name.to_owned(), 0)).collect()
}
