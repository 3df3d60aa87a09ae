//! What a drill of the stop came to, as whoever ran it reports it.
//!
//! The bundle itself is kept outside; its hash is here, so that nobody can write another one later.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

use crate::id::{DrillId, KeyId, PersonId, StepName};
use crate::time::Span;

/// A drill is over.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drilled {
    /// Who ran it.
    pub by: PersonId,
    /// What it is called.
    pub drill: DrillId,
    /// SHA-256 of the evidence bundle.
    pub evidence: B256,
    /// Whether every step found what it must.
    pub good: bool,
    /// The canary: a key of its own, which no other drill had.
    pub key: KeyId,
    /// How long each step took, by whoever ran it.
    pub measured: BTreeMap<StepName, Span>,
    /// Steps that took longer than they should. It makes no drill a bad one.
    pub missed: BTreeSet<StepName>,
}
