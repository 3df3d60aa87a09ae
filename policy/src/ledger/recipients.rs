//! Sums per recipient, where a limit counts recipients apart.
//!
//! Who is paid is for callers to choose, so there may be any number of recipients. Up to a bound
//! each has a log of its own. Those that come when all are taken share one with others, 256 for
//! each account: then a limit counts them together, which is too much for each of them and never
//! too little.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

use super::bounds::Bounds;
use super::log::{Log, LogId, Step};
use crate::id::KeyId;
use crate::money::Account;
use crate::outage::Outage;
use crate::time::{Millis, Span};

/// Whose sum it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub(super) enum Whom {
    /// One recipient's.
    One(Address),
    /// That of all without their own, by the last byte of their address. It is for callers to
    /// choose, and gains them nothing.
    Others(u8),
}

/// One account of one key.
pub(super) type Owner = (KeyId, Account);

/// All sums per recipient.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Recipients {
    logs: BTreeMap<Owner, BTreeMap<Whom, Log>>,
    /// How many have their own.
    own: usize,
    lines: usize,
    entries: usize,
    /// The longest window per recipient that any book had.
    longest: Span,
    /// Whether the book in force counts recipients for a lifetime: then nobody is forgotten.
    forever: bool,
    sweep_at: usize,
    /// No earlier: so that a full table is not swept for every new recipient.
    sweep_after: Millis,
}

impl Recipients {
    /// What the limits per recipient of a new book sum over.
    pub(super) fn adopt(&mut self, spans: impl Iterator<Item = Span>) {
        self.forever = false;
        for span in spans {
            if span == Span::LIFETIME {
                self.forever = true;
            } else {
                self.longest = self.longest.max(span);
            }
        }
    }

    /// The logs in which a recipient is counted.
    pub(super) fn of(&self, owner: Owner, who: Address) -> [Option<&Log>; 2] {
        let logs = self.logs.get(&owner);
        [Whom::One(who), others(who)].map(|whom| logs.and_then(|logs| logs.get(&whom)))
    }

    /// Makes room for new recipients, if it is time. Before a request's are placed, not meanwhile:
    /// a log that nothing was charged to yet would not be kept.
    pub(super) fn make_room(&mut self, now: Millis, bounds: &Bounds) {
        if self.own >= self.sweep_at && now >= self.sweep_after {
            self.sweep(now, bounds);
        }
    }

    /// Where a recipient is charged from now on: in a log that is known, or in this new one.
    pub(super) fn place(
        &mut self,
        (owner, who): (Owner, Address),
        fresh: LogId,
        bounds: &Bounds,
    ) -> (Whom, LogId) {
        let one = Whom::One(who);
        let known = self.logs.get(&owner).and_then(|logs| logs.get(&one));
        if let Some(log) = known {
            return (one, log.id);
        }
        let room = self.own < bounds.recipients;
        let whom = if room { one } else { others(who) };
        let logs = self.logs.entry(owner).or_default();
        let before = logs.len();
        let id = logs.entry(whom).or_insert_with(|| Log::plain(fresh)).id;
        self.lines = self.lines.saturating_add(logs.len().saturating_sub(before));
        self.own = self.own.saturating_add(usize::from(room));
        (whom, id)
    }

    /// Charges a log. Returns the slot's steps.
    pub(super) fn step(
        &mut self,
        owner: Owner,
        (whom, id): (Whom, LogId),
        (before, new): (&[Step], Step),
        bounds: &Bounds,
    ) -> Vec<Step> {
        let horizon = self.horizon(new.stamp.0);
        let logs = self.logs.entry(owner).or_default();
        let log = logs.entry(whom).or_insert_with(|| Log::plain(id));
        let (now, length) = (new.stamp.0, log.len());
        log.prune(horizon);
        let steps = log.step(before, new);
        if log.len() >= bounds.recipient_log {
            log.merge(bounds.recipient_log / 2, now);
        }
        self.entries = self.entries.saturating_sub(length).saturating_add(log.len());
        let most = bounds.recipient_entries.max(self.lines.saturating_mul(4));
        if self.entries > most {
            let each = (most / 2).checked_div(self.lines).unwrap_or(0);
            let logs = self.logs.values_mut().flat_map(BTreeMap::values_mut);
            self.entries = logs.map(|log| merged(log, each, now)).sum();
        }
        steps
    }

    /// As [`Log::keep_young`].
    pub(super) fn keep_young(&mut self, outage: Outage) {
        let logs = self.logs.values_mut().flat_map(BTreeMap::values_mut);
        logs.for_each(|log| log.keep_young(outage));
    }

    /// Drops whoever was paid nothing that a window of any book could still hold.
    fn sweep(&mut self, now: Millis, bounds: &Bounds) {
        let horizon = self.horizon(now);
        let kept = |log: &mut Log| {
            log.prune(horizon);
            log.len() > 0 || self.forever
        };
        for logs in self.logs.values_mut() {
            logs.retain(|_, log| kept(log));
        }
        self.logs.retain(|_, logs| !logs.is_empty());
        let all = || self.logs.values().flatten();
        self.own = all().filter(|(whom, _)| matches!(whom, Whom::One(_))).count();
        self.lines = all().count();
        self.entries = all().map(|(_, log)| log.len()).sum();
        let twice = self.own.saturating_mul(2).max(SWEEP_LEAST);
        self.sweep_at = twice.min(bounds.recipients);
        self.sweep_after = now.plus(Span(self.memory().0 / SWEEPS));
    }

    fn horizon(&self, now: Millis) -> Option<Millis> {
        now.minus(self.memory())
    }

    fn memory(&self) -> Span {
        Span(self.longest.0.saturating_add(super::MARGIN.0))
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        (self.own, self.lines, self.entries)
    }
}

/// How many charges are kept apart once a log was merged.
pub(super) fn merged(log: &mut Log, each: usize, now: Millis) -> usize {
    log.merge(each.max(2), now);
    log.len()
}

fn others(who: Address) -> Whom {
    Whom::Others(who.last().copied().unwrap_or(0))
}

/// Fewer are not worth the look.
const SWEEP_LEAST: usize = 1_024;

/// While the longest window and its margin pass, a full table is swept so often.
const SWEEPS: u64 = 64;
