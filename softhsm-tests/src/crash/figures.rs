//! What came of a run, vault by vault and summed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What came of it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Figures {
    /// How often it was killed.
    pub cycles: u32,
    /// Signatures that callers hold, all verified.
    pub signatures: u64,
    /// Promises that were broken. None, it is to be hoped.
    pub violations: Vec<String>,
    /// Of the kills, how many hit a start.
    pub killed_while_starting: u32,
    /// How often it was killed at each named moment.
    pub points: BTreeMap<String, u32>,
    /// Named moments that did not come in time: it was killed at another one.
    pub missed_points: u32,
    /// Of those, how many left SoftHSM's own files torn, which were then restored from a copy.
    pub torn_tokens: u32,
    /// Requests that were cut off by a kill.
    pub cut_off: u64,
    /// Requests asked again under the id they had.
    pub asked_again: u64,
    /// Requests for a nonce that was asked for before.
    pub replacements: u64,
    /// Requests refused because a budget was used up.
    pub over_budget: u64,
    /// Records in the journal.
    pub records: u64,
    /// Recorded signatures that no caller received.
    pub unseen: u64,
    /// Starts that cut an incomplete batch.
    pub cuts: u64,
    /// Decisions lost in crashes, as start records name them.
    pub lost: u64,
    /// Decisions that policy's verifier repeated with the same outcome.
    pub repeated: u64,
}

impl Figures {
    /// With those of another vault.
    pub(super) fn add(&mut self, other: &Self) {
        self.violations.extend(other.violations.iter().cloned());
        for (name, count) in &other.points {
            let sum = self.points.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
        for (sum, more) in [
            (&mut self.cycles, other.cycles),
            (&mut self.killed_while_starting, other.killed_while_starting),
            (&mut self.missed_points, other.missed_points),
            (&mut self.torn_tokens, other.torn_tokens),
        ] {
            *sum = sum.saturating_add(more);
        }
        for (sum, more) in [
            (&mut self.signatures, other.signatures),
            (&mut self.cut_off, other.cut_off),
            (&mut self.asked_again, other.asked_again),
            (&mut self.replacements, other.replacements),
            (&mut self.over_budget, other.over_budget),
            (&mut self.records, other.records),
            (&mut self.unseen, other.unseen),
            (&mut self.cuts, other.cuts),
            (&mut self.lost, other.lost),
            (&mut self.repeated, other.repeated),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}
