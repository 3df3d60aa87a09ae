//! Equal refusals in quick succession are counted instead of recorded, so that the journal cannot
//! be used as a hose.

use std::collections::BTreeMap;

use portcullis_policy::id::{CallerId, KeyId};
use portcullis_policy::record::Suppressed;
use portcullis_policy::time::{Millis, Span};

/// Counts refusals by caller, key and first reason.
#[derive(Debug, Default)]
pub(super) struct Flood(BTreeMap<(CallerId, KeyId, String), Burst>);

#[derive(Debug)]
struct Burst {
    since: Millis,
    recorded: u64,
    bytes: usize,
    suppressed: u64,
}

impl Flood {
    /// Whether this refusal is recorded; otherwise it is counted.
    pub(super) fn admits(
        &mut self,
        caller: &CallerId,
        key: KeyId,
        code: &str,
        bytes: usize,
        now: Millis,
    ) -> bool {
        let name = (caller.clone(), key, code.to_owned());
        let fresh = || Burst { since: now, recorded: 0, bytes: 0, suppressed: 0 };
        let burst = self.0.entry(name).or_insert_with(fresh);
        let bytes = burst.bytes.saturating_add(bytes);
        let room = burst.recorded < RECORDED_PER_BURST_MAX && bytes <= BYTES_PER_BURST_MAX;
        if room || burst.recorded == 0 {
            burst.bytes = bytes;
            burst.recorded = burst.recorded.saturating_add(1);
            return true;
        }
        burst.suppressed = burst.suppressed.saturating_add(1);
        false
    }

    /// Counts a request that is never recorded by itself.
    pub(super) fn note(&mut self, caller: &CallerId, key: KeyId, code: &str, now: Millis) {
        let name = (caller.clone(), key, code.to_owned());
        let fresh = Burst { since: now, recorded: RECORDED_PER_BURST_MAX, bytes: 0, suppressed: 0 };
        let burst = self.0.entry(name).or_insert(fresh);
        burst.suppressed = burst.suppressed.saturating_add(1);
    }

    /// Takes the counts of all bursts that are over.
    pub(super) fn take_ended(&mut self, now: Millis) -> Vec<Suppressed> {
        let over = |burst: &mut Burst| burst.since.plus(BURST) <= now;
        let ended = self.0.extract_if(.., |_, burst| over(burst));
        let counted = ended.filter(|(_, burst)| burst.suppressed > 0);
        let record = counted.map(|((caller, key, code), burst)| Suppressed {
            caller,
            code,
            count: burst.suppressed,
            key,
        });
        record.collect()
    }

    /// Takes all counts, because the writer ends.
    pub(super) fn take_all(&mut self) -> Vec<Suppressed> {
        self.take_ended(Millis(u64::MAX))
    }
}

/// How long refusals count as one burst.
const BURST: Span = Span(10_000);

/// Of equal refusals in a burst so many are recorded, which is enough to see what went on.
const RECORDED_PER_BURST_MAX: u64 = 20;

/// And so many bytes of what they asked for, after the first.
const BYTES_PER_BURST_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_a_few_records_and_one_count() {
        let (mut flood, caller) = (Flood::default(), "a".parse().unwrap());
        let key = KeyId::from_bytes([1; 16]);
        let recorded =
            (0..500).filter(|_| flood.admits(&caller, key, "NO_RULE", 100, Millis(5))).count();
        assert_eq!(recorded, 20);
        assert!(flood.take_ended(Millis(6)).is_empty());
        let counts = flood.take_ended(Millis(10_005));
        assert_eq!(counts.iter().map(|one| one.count).sum::<u64>(), 480);
        assert!(flood.admits(&caller, key, "NO_RULE", 100, Millis(10_006)));
    }

    #[test]
    fn a_flood_of_large_requests_leaves_fewer_records_but_never_none() {
        let (mut flood, caller) = (Flood::default(), "a".parse().unwrap());
        let key = KeyId::from_bytes([1; 16]);
        let mut recorded = |code: &str, bytes| {
            (0..100).filter(|_| flood.admits(&caller, key, code, bytes, Millis(5))).count()
        };
        assert_eq!(recorded("NO_RULE", 20_000), 3);
        assert_eq!(recorded("FROZEN", 131_072), 1);
    }
}
