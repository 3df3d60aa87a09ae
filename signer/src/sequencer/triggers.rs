//! What the signer stops by itself: a caller that is refused too often, a key that somebody else
//! signs with. It only ever stops; a quorum starts again.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_policy::id::CallerId;
use portcullis_policy::record::{
    Actor, DenialBurst, Frozen, Record, Settled, Trigger, UsedElsewhere,
};
use portcullis_policy::settlement::NotSettled;
use portcullis_policy::stops::Scope;
use portcullis_policy::time::{Interval, Millis};

use super::writer::{Fatal, Writer};

/// Counts refusals by caller, where the operator set how many are too many.
#[derive(Debug, Default)]
pub(super) struct Bursts {
    bound: Option<DenialBurst>,
    /// When the first refusal of a burst was, and how many there were. As many as the book has
    /// callers.
    counts: BTreeMap<CallerId, (Millis, u64)>,
    /// Callers that were stopped for it.
    tripped: BTreeSet<CallerId>,
}

impl Bursts {
    pub(super) fn arm(&mut self, bound: Option<DenialBurst>) {
        *self = Self { bound, ..Self::default() };
    }

    /// Counts one; the bound, if this one reaches it. Of another caller it says nothing.
    fn count(&mut self, caller: &CallerId, now: Millis) -> Option<DenialBurst> {
        let bound = self.bound?;
        let (since, count) = self.counts.entry(caller.clone()).or_insert((now, 0));
        if since.plus(bound.within) <= now {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        if *count < bound.denials {
            return None;
        }
        self.counts.remove(caller);
        self.tripped.insert(caller.clone());
        Some(bound)
    }
}

impl Writer {
    /// Notes that a caller was refused, and stops it if that was once too often. A caller that is
    /// stopped already is not counted.
    pub(super) fn count_denial(&mut self, caller: &CallerId, now: Interval) -> Result<(), Fatal> {
        let scope = Scope::Caller(caller.clone());
        if self.is_stopped(&scope) {
            return Ok(());
        }
        let Some(burst) = self.bursts.count(caller, now.sure) else { return Ok(()) };
        let DenialBurst { denials, within } = burst;
        let reason = format!("refused {denials} times within {within}");
        self.stop_by_itself(Trigger::Denials(burst), scope, reason, now)
    }

    /// Whether a caller was stopped for being refused too often, and still is: its further refusals
    /// are only counted, so that they cost the journal nothing.
    pub(super) fn has_tripped(&self, caller: &CallerId) -> bool {
        self.bursts.tripped.contains(caller) && self.is_stopped(&Scope::Caller(caller.clone()))
    }

    /// Stops a key of which a report proves that somebody else signs with it; whether it did.
    pub(super) fn check_elsewhere(
        &mut self,
        settled: &Settled,
        fault: NotSettled,
        now: Interval,
    ) -> Result<bool, Fatal> {
        let Settled { key, chain, nonce, by, .. } = settled;
        let (NotSettled::Elsewhere(_), Ok(told)) = (fault, nonce.parse()) else {
            return Ok(false);
        };
        let known = self.state.keys().get(key).is_some_and(|key| key.made.is_some());
        // Reports of a stopped key that tell ever more leave no more records. One that is drained
        // is stopped for all else, and what it holds is in a hurry.
        let stopped = self.is_stopped(&Scope::Key(*key));
        let used = self.state.settlements().used_elsewhere(*key, *chain, told);
        let Some(signed) = used.filter(|_| known && !stopped) else { return Ok(false) };
        let reason = format!(
            "{by} reported {nonce} transactions on chain {chain}, and no nonce from {signed} on \
             was ever signed here: somebody else signs with this key"
        );
        let (by, nonce, signed) = (by.clone(), nonce.clone(), signed.to_string());
        let told = UsedElsewhere { by, chain: *chain, nonce, signed };
        self.stop_by_itself(Trigger::UsedElsewhere(told), Scope::Key(*key), reason, now)?;
        Ok(true)
    }

    fn is_stopped(&self, scope: &Scope) -> bool {
        self.state.stops().iter().any(|stop| stop == scope)
    }

    /// As any stop: the gate first, in memory, then the record. The fence follows it.
    fn stop_by_itself(
        &mut self,
        trigger: Trigger,
        scope: Scope,
        reason: String,
        now: Interval,
    ) -> Result<(), Fatal> {
        tracing::error!(%scope, %reason, "stopped by the signer itself");
        // What was thawed or begun to be drained in the batch under way does not open it again.
        self.stop_at_the_gate(scope.clone());
        let frozen = Frozen { by: Actor::Trigger(trigger), reason, scope };
        self.append(now, Record::Frozen(frozen), None)?;
        (self.changed, self.matters_changed) = (true, true);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use portcullis_policy::time::Span;

    use super::*;

    #[test]
    fn one_callers_refusals_are_counted_within_the_time_and_are_nobody_elses() {
        let mut bursts = Bursts::default();
        let (ours, other) = ("a".parse().unwrap(), "b".parse().unwrap());
        assert_eq!(bursts.count(&ours, Millis(0)), None, "off until it is set");
        let bound = DenialBurst { denials: 3, within: Span(1_000) };
        bursts.arm(Some(bound));
        let mut count = |caller, at| bursts.count(caller, Millis(at)).is_some();
        assert!(!count(&ours, 0) && !count(&ours, 1) && !count(&other, 2));
        assert!(!count(&ours, 1_000), "the first two are too long ago");
        assert!(!count(&ours, 1_001) && !count(&other, 1_001));
        assert!(count(&ours, 1_999));
        assert!(!count(&ours, 2_000), "counted anew, if a quorum starts it again");
    }
}
