//! Jobs that wait, in an order in which nobody waits for all that somebody else asked for.
//!
//! Callers take turns, and in a caller's turn its keys do. Each job is one call, so a turn is a
//! job: whoever waits is passed by each other caller once at most. When there is room for no more,
//! whoever takes up most of it loses their newest job, so that a caller keeps an equal part of the
//! room whatever the others do.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};

use portcullis_policy::id::{CallerId, KeyId};

/// For whom a job is, and with which key. By default it is our own.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::hsm) struct Lane {
    pub(in crate::hsm) caller: Option<CallerId>,
    pub(in crate::hsm) key: Option<KeyId>,
}

/// Jobs that wait. A caller or key of which none waits leaves no trace.
pub(super) struct Lanes<J> {
    callers: Ring<Option<CallerId>, Ring<Option<KeyId>, VecDeque<J>>>,
    waiting: usize,
}

/// Members that take turns.
struct Ring<K, V> {
    members: BTreeMap<K, V>,
    /// Whose turn it was last.
    last: Option<K>,
}

impl<J> Lanes<J> {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// Lets a job wait behind those of its lane. If there was no room, gives back the one that has
    /// to go: the newest of whoever has most, and of two that have as many the newcomer's.
    pub(super) fn push(&mut self, lane: &Lane, job: J, room: usize) -> Option<J> {
        let keys = self.callers.members.entry(lane.caller.clone()).or_default();
        keys.members.entry(lane.key).or_default().push_back(job);
        self.waiting = self.waiting.saturating_add(1);
        if self.waiting <= room {
            return None;
        }
        let longest = self.longest(lane)?;
        self.take(&longest, VecDeque::pop_back)
    }

    /// The job whose turn it is, and its lane.
    pub(super) fn pop(&mut self) -> Option<(Lane, J)> {
        let caller = self.callers.turn()?;
        let key = self.callers.members.get_mut(&caller)?.turn()?;
        let lane = Lane { caller, key };
        let job = self.take(&lane, VecDeque::pop_front)?;
        Some((lane, job))
    }

    /// The same, where the last job of this lane was none any more: then it is still its turn.
    pub(super) fn pop_again(&mut self, lane: Lane) -> Option<(Lane, J)> {
        match self.take(&lane, VecDeque::pop_front) {
            Some(job) => Some((lane, job)),
            None => self.pop(),
        }
    }

    /// Where most wait, of the caller of whom most do.
    fn longest(&self, newcomer: &Lane) -> Option<Lane> {
        let of_caller =
            |keys: &Ring<_, VecDeque<J>>| keys.members.values().map(VecDeque::len).sum();
        let (caller, keys) = self.callers.largest(&newcomer.caller, of_caller)?;
        let (key, _) = keys.largest(&newcomer.key, VecDeque::len)?;
        Some(Lane { caller: caller.clone(), key: *key })
    }

    fn take(&mut self, lane: &Lane, end: impl FnOnce(&mut VecDeque<J>) -> Option<J>) -> Option<J> {
        let keys = self.callers.members.get_mut(&lane.caller)?;
        let jobs = keys.members.get_mut(&lane.key)?;
        let job = end(jobs)?;
        self.waiting = self.waiting.saturating_sub(1);
        if jobs.is_empty() {
            keys.members.remove(&lane.key);
        }
        if keys.members.is_empty() {
            self.callers.members.remove(&lane.caller);
        }
        Some(job)
    }
}

impl<K: Clone + Ord, V> Ring<K, V> {
    /// Whose turn it is now: of the one after the last, in the order of their names.
    fn turn(&mut self) -> Option<K> {
        let last = self.last.take();
        let after = last
            .as_ref()
            .and_then(|last| self.members.range::<K, _>((Excluded(last), Unbounded)).next());
        let (now, _) = after.or_else(|| self.members.first_key_value())?;
        self.last = Some(now.clone());
        self.last.clone()
    }

    /// The largest member, and of two as large this one.
    fn largest(&self, one: &K, size: impl Fn(&V) -> usize) -> Option<(&K, &V)> {
        self.members.iter().max_by_key(|(name, member)| (size(member), *name == one))
    }
}

impl<J> Default for Lanes<J> {
    fn default() -> Self {
        Self { callers: Ring::default(), waiting: 0 }
    }
}

impl<K, V> Default for Ring<K, V> {
    fn default() -> Self {
        Self { members: BTreeMap::new(), last: None }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const ROOM: usize = 12;

    fn lane(caller: u8, key: u8) -> Lane {
        let caller = (caller > 0).then(|| format!("spiffe://test/{caller}").parse().unwrap());
        Lane { caller, key: Some(KeyId::from_bytes([key; 16])) }
    }

    #[test]
    fn whoever_asks_for_one_thing_is_served_next_however_much_another_asked_for() {
        let mut lanes = Lanes::default();
        for n in 0..9 {
            assert_eq!(lanes.push(&lane(1, 1), n, ROOM), None);
        }
        assert_eq!(lanes.pop(), Some((lane(1, 1), 0)));
        assert_eq!(lanes.push(&lane(2, 1), 100, ROOM), None);
        assert_eq!(lanes.pop(), Some((lane(2, 1), 100)));
        assert_eq!(lanes.pop(), Some((lane(1, 1), 1)));
    }

    #[test]
    fn a_caller_with_many_keys_has_no_more_turns_than_one_with_one() {
        let mut lanes = Lanes::default();
        for key in 0..6 {
            lanes.push(&lane(1, key), (1, key), ROOM);
        }
        for n in 0..3 {
            lanes.push(&lane(2, 9), (2, n), ROOM);
        }
        let order: Vec<u8> = (0..6).filter_map(|_| lanes.pop()).map(|(_, (by, _))| by).collect();
        assert_eq!(order, [1, 2, 1, 2, 1, 2]);
    }

    #[test]
    fn a_full_room_is_made_by_whoever_takes_up_most_of_it() {
        let mut lanes = Lanes::default();
        for n in 0..4 {
            assert_eq!(lanes.push(&lane(1, 1), n, 4), None);
        }
        assert_eq!(lanes.push(&lane(1, 1), 4, 4), Some(4), "its own newest");
        assert_eq!(lanes.push(&lane(2, 1), 20, 4), Some(3));
        assert_eq!(lanes.push(&lane(2, 1), 21, 4), Some(2));
        assert_eq!(lanes.push(&lane(2, 1), 22, 4), Some(22), "they have as much by now");
        // Within a caller, the key of which most waits.
        assert_eq!(lanes.push(&lane(1, 2), 10, 4), Some(1));
        assert_eq!(lanes.len(), 4);
    }

    #[test]
    fn a_job_that_came_to_nothing_costs_its_lane_no_turn() {
        let mut lanes = Lanes::default();
        for n in 0..3 {
            lanes.push(&lane(1, 1), n, ROOM);
            lanes.push(&lane(2, 1), 20 + n, ROOM);
        }
        let (mine, _) = lanes.pop().unwrap();
        assert_eq!(lanes.pop_again(mine), Some((lane(1, 1), 1)));
        assert_eq!(lanes.pop(), Some((lane(2, 1), 20)));
        // One that has no more gives the turn on.
        assert_eq!(lanes.pop_again(lane(3, 1)), Some((lane(1, 1), 2)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(u8, u8),
        Pop,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let push = (0..4_u8, 0..3_u8).prop_map(|(caller, key)| Step::Push(caller, key));
        // In most histories one caller asks for far more than the others.
        let flood = (0..3_u8).prop_map(|key| Step::Push(1, key));
        let step = prop_oneof![3 => push, 3 => flood, 4 => Just(Step::Pop)];
        prop::collection::vec(step, 0..200)
    }

    /// Caller, key, number.
    type Job = (u8, u8, usize);

    /// What waits, as it came, who was served, and since when each has waited or was served.
    #[derive(Default)]
    struct Plain {
        waiting: Vec<Job>,
        served: Vec<Job>,
        since: BTreeMap<(u8, u8), usize>,
        since_caller: BTreeMap<u8, usize>,
    }

    impl Plain {
        fn of_caller(&self, caller: u8) -> usize {
            self.waiting.iter().filter(|job| job.0 == caller).count()
        }

        fn of_lane(&self, lane: (u8, u8)) -> usize {
            self.waiting.iter().filter(|job| (job.0, job.1) == lane).count()
        }

        fn push(&mut self, job: Job) {
            let ((caller, key, _), now) = (job, self.served.len());
            if self.of_caller(caller) == 0 {
                self.since_caller.insert(caller, now);
            }
            if self.of_lane((caller, key)) == 0 {
                self.since.insert((caller, key), now);
            }
            self.waiting.push(job);
        }

        /// The job is the oldest of its lane, and nobody who waits was passed twice by another.
        fn serve(&mut self, job: Job) {
            let (caller, key, _) = job;
            let lane = |other: &Job| (other.0, other.1) == (caller, key);
            let oldest = self.waiting.iter().position(lane).unwrap();
            assert_eq!(self.waiting.remove(oldest), job);
            self.served.push(job);
            self.since_caller.insert(caller, self.served.len());
            self.since.insert((caller, key), self.served.len());
            for (caller, key, _) in &self.waiting {
                let served = &self.served[self.since_caller[caller]..];
                distinct(served.iter().map(|job| job.0));
                let served = self.served[self.since[&(*caller, *key)]..].iter();
                distinct(served.filter(|job| job.0 == *caller).map(|job| job.1));
            }
        }

        /// The job is the newest of the largest lane of the largest caller, and the newcomer's if
        /// that is one of them.
        fn shed(&mut self, gone: Job, newcomer: Job) {
            let (caller, key, _) = gone;
            for (other, with, _) in &self.waiting {
                assert!(self.of_caller(*other) <= self.of_caller(caller));
                let mine = *other == caller;
                assert!(!mine || self.of_lane((caller, *with)) <= self.of_lane((caller, key)));
            }
            let as_large = self.of_caller(newcomer.0) == self.of_caller(caller);
            assert!(caller == newcomer.0 || !as_large, "a newcomer took another's room");
            let lane = |other: &Job| (other.0, other.1) == (caller, key);
            let newest = self.waiting.iter().rposition(lane).unwrap();
            assert_eq!(self.waiting.remove(newest), gone);
        }
    }

    fn distinct(served: impl Iterator<Item = u8>) {
        let mut served: Vec<u8> = served.collect();
        served.sort_unstable();
        assert!(!served.windows(2).any(|two| two[0] == two[1]), "passed twice: {served:?}");
    }

    proptest! {
        #[test]
        fn nobody_is_passed_twice_and_room_is_made_by_the_largest(steps in steps()) {
            let (mut lanes, mut plain) = (Lanes::default(), Plain::default());
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push(caller, key) => {
                        let job = (caller, key, number);
                        plain.push(job);
                        let gone = lanes.push(&lane(caller, key), job, ROOM);
                        assert_eq!(gone.is_some(), plain.waiting.len() > ROOM);
                        if let Some(gone) = gone {
                            plain.shed(gone, job);
                        }
                    }
                    Step::Pop => match lanes.pop() {
                        Some((of, job)) => {
                            assert_eq!(of, lane(job.0, job.1));
                            plain.serve(job);
                        }
                        None => assert!(plain.waiting.is_empty()),
                    },
                }
                assert_eq!(lanes.len(), plain.waiting.len());
            }
        }
    }
}
