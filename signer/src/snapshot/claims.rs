//! What others than the journal say of it, to be found true when it is read.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use portcullis_policy::id::Sequence;

use crate::marker::Marked;

/// What has to come out at some records.
#[derive(Debug, Default)]
pub struct Claims {
    begun: Sequence,
    at: BTreeMap<u64, Vec<Claim>>,
}

/// What has to come out at a record.
#[derive(Debug)]
pub enum Claim {
    /// The root of the tree.
    Root {
        /// What it has to be.
        root: B256,
        /// Who says so.
        whose: &'static str,
    },
    /// The hash of a snapshot there.
    Snapshot(B256),
}

impl Claims {
    /// Of a start that began with a snapshot that goes so far.
    pub fn after(begun: Sequence) -> Self {
        Self { begun, ..Self::default() }
    }

    /// How far the snapshot goes that the start began with; 0 without one.
    pub fn begun(&self) -> Sequence {
        self.begun
    }

    /// With what the token has heard of the journal.
    #[must_use]
    pub fn marked(mut self, marked: Marked) -> Self {
        if let Marked::At(mark) = marked {
            let whose = "the marker in the token";
            self.claim(mark.sequence.0, Claim::Root { root: mark.root, whose });
        }
        self
    }

    /// Adds one. Of record 0 nothing can be claimed.
    pub fn claim(&mut self, at: u64, claim: Claim) {
        if at > 0 {
            self.at.entry(at).or_default().push(claim);
        }
    }

    pub(super) fn of(&self, at: u64) -> &[Claim] {
        self.at.get(&at).map_or(&[], Vec::as_slice)
    }

    /// Those of a record were found true.
    pub(super) fn found(&mut self, at: u64) {
        self.at.remove(&at);
    }

    /// Whether anything is still taken on trust.
    pub(super) fn are_open(&self) -> bool {
        !self.at.is_empty()
    }
}
