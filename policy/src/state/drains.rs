//! Which keys are drained: begun by a quorum, ended by time, by a thaw, and by every stop.

use std::collections::BTreeMap;

use alloy_primitives::Address;

use super::{CANARY, State, Unfoldable};
use crate::act::ActFault;
use crate::act::Drain as DrainAct;
use crate::drain::{Drain, DrainPlan, DrainTo, Draining, PlanFault};
use crate::id::KeyId;
use crate::record::{DrainEnded, Entry};
use crate::stops::Scope;
use crate::time::Interval;

impl State {
    /// A drain that is under way, over by its own terms or not.
    pub fn drain_of(&self, key: KeyId) -> Option<&Drain> {
        self.drains.get(&key)
    }

    /// All drains that are under way.
    pub fn drains(&self) -> impl Iterator<Item = (&KeyId, &Drain)> {
        self.drains.iter()
    }

    /// The key that took the place of one that was drained to it: as long as people have not
    /// started that one again, or stopped its drain. Its time being over, or its own end, changes
    /// nothing: whoever still asks for it is to be told.
    pub fn successors(&self) -> &BTreeMap<KeyId, KeyId> {
        &self.successors
    }

    /// Drains whose time is over, and of which no record says so yet.
    pub fn drains_over(&self, now: Interval) -> Vec<DrainEnded> {
        let over = self.drains.iter().filter(|(_, drain)| drain.is_over(now.possible));
        over.map(|(key, _)| DrainEnded { key: *key }).collect()
    }

    pub(super) fn draining(&self, key: KeyId, now: Interval) -> Option<Draining<'_>> {
        let drain = self.drains.get(&key).filter(|drain| !drain.is_over(now.possible))?;
        let successor = drain.successor().and_then(|id| self.keys.get(&id)).map(|key| &key.label);
        Some(Draining { drain, successor })
    }

    /// Whether a drain could begin, whenever that is.
    pub(super) fn check_drain(&self, act: &DrainAct) -> Result<(), ActFault> {
        // What is stopped until a recovery is over is stopped for this too.
        if self.recovery.is_some() {
            return Err(ActFault::Recovering);
        }
        let key = self.keys.get(&act.key).and_then(|key| key.made.as_ref());
        let own = key.ok_or(ActFault::NoKey(act.key))?.address;
        if self.revoked.contains(&act.key) {
            return Err(ActFault::Revoked(act.key));
        }
        let to = self.drain_to(act.key, &act.plan)?;
        act.plan.check(&self.book, own, to)?;
        let successor = if let DrainTo::Key(id) = act.plan.to { Some(id) } else { None };
        for id in successor.into_iter().chain([act.key]) {
            let made_for = self.keys.get(&id).map(|key| &key.chains);
            let mut chains = act.plan.chains.iter().map(|part| part.chain);
            let foreign = chains.find(|chain| made_for.is_none_or(|made| !made.contains(chain)));
            foreign.map_or(Ok(()), |chain| Err(PlanFault::NotOfKey(id, chain)))?;
        }
        Ok(())
    }

    /// A key was ended for good: it is drained no more, and nothing is brought to it, because
    /// nothing would leave it again.
    pub(super) fn end_drains_of(&mut self, ended: KeyId) {
        self.drains.retain(|id, drain| *id != ended && drain.successor() != Some(ended));
    }

    /// Where a plan brings everything: a successor must be able to hold it.
    pub(crate) fn drain_to(&self, old: KeyId, plan: &DrainPlan) -> Result<Address, PlanFault> {
        let id = match plan.to {
            DrainTo::Address(address) => {
                let mut keys = self.keys.values().filter_map(|key| key.made.as_ref());
                let own = keys.any(|made| made.address == address);
                return if own { Err(PlanFault::OwnKey(address)) } else { Ok(address) };
            }
            DrainTo::Key(id) => id,
        };
        if id == old {
            return Err(PlanFault::Itself);
        }
        let is_canary = |id: &KeyId| self.keys.get(id).is_some_and(|key| key.purpose == CANARY);
        if is_canary(&id) && !is_canary(&old) {
            return Err(PlanFault::Canary(id));
        }
        let ended = self.revoked.contains(&id) || self.drains.contains_key(&id);
        let usable = !ended && !self.stops.iter().any(|scope| *scope == Scope::Key(id));
        let made = self.keys.get(&id).and_then(|key| key.made.as_ref()).filter(|_| usable);
        made.map(|made| made.address).ok_or(PlanFault::Successor(id))
    }

    pub(super) fn begin_drain(&mut self, entry: &Entry, act: &DrainAct) -> Result<(), Unfoldable> {
        let to = self.drain_to(act.key, &act.plan);
        let to = to.map_err(|_| Unfoldable::Executed(entry.seq))?;
        // When it is over the key is stopped, whatever it was before.
        self.stops.add(Scope::Key(act.key));
        // Whoever agreed to something else had not heard of it: a thaw would give the key its own
        // rules back, a revocation lock up what is left, and another plan bring it elsewhere.
        self.pending.drain(act.key);
        let drain = Drain::begin(act.plan.clone(), entry.seq, to);
        // A successor is no stopped key, and a key that has one is: nobody is led in a circle.
        match drain.successor() {
            Some(successor) => self.successors.insert(act.key, successor),
            None => self.successors.remove(&act.key),
        };
        self.drains.insert(act.key, drain);
        Ok(())
    }

    /// People started the key again: its own rules hold, and it has its place back.
    pub(super) fn forget_drain(&mut self, key: KeyId) {
        self.drains.remove(&key);
        self.successors.remove(&key);
    }

    pub(super) fn end_drain(
        &mut self,
        entry: &Entry,
        ended: &DrainEnded,
    ) -> Result<(), Unfoldable> {
        let drain = self.drains.get(&ended.key);
        if drain.is_none_or(|drain| !drain.is_over(entry.at.possible)) {
            return Err(Unfoldable::Drain(entry.seq));
        }
        self.drains.remove(&ended.key);
        self.narrowed = entry.seq;
        Ok(())
    }

    /// A stop: it ends every drain that it covers, agreed or under way. Whoever wants to go on asks
    /// people who have heard of it.
    ///
    /// Nothing is brought to a key that is stopped by itself either: perhaps that one is out.
    pub(super) fn stop_drains(&mut self, scope: &Scope) {
        let keys = &self.keys;
        let covers = |id: KeyId| keys.get(&id).is_some_and(|key| scope.covers_key(id, &key.tags));
        let brings_there = |drain: &Drain| {
            let to = drain.successor().map(Scope::Key);
            to.is_some_and(|to| to == *scope)
        };
        let ended = self.drains.iter().filter(|(id, drain)| covers(**id) || brings_there(drain));
        let ended: Vec<KeyId> = ended.map(|(id, _)| *id).collect();
        self.pending.stop_drains(covers);
        ended.into_iter().for_each(|key| self.forget_drain(key));
    }
}
