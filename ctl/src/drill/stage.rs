//! A drill under way: what it was begun with, and what the steps so far have found.

use std::time::Duration;

use portcullis_client::wire::Key;
use portcullis_client::{ControlClient, RequestId};

use super::evidence::{FreezeTold, LoadTold};
use super::excerpt::Read;
use super::load::{Load, Payment};
use super::plan::Plan;
use super::ready::{Ground, Whither};
use super::stopwatch::Moment;
use crate::connection::ConnectionArgs;
use crate::output::Output;

/// A drill under way: what is given, and what the steps so far have found.
pub(super) struct Stage<'a> {
    pub(super) connection: &'a ConnectionArgs,
    pub(super) output: &'a Output,
    pub(super) control: &'a ControlClient,
    pub(super) ground: &'a Ground,
    pub(super) plan: &'a Plan,
    pub(super) whither: Whither,
    pub(super) callers: u64,
    /// For how long people are waited for.
    pub(super) patience: Duration,
    pub(super) canary: Option<Key>,
    /// The key that takes its place.
    pub(super) successor: Option<Key>,
    /// The request of the first signature.
    pub(super) first: Option<RequestId>,
    /// What was proposed, as long as it waits.
    pub(super) proposed: Option<String>,
    pub(super) payment: Option<Payment>,
    pub(super) load: Option<Load>,
    pub(super) stopped: Option<Stopped>,
    pub(super) load_told: Option<LoadTold>,
    pub(super) journal: Option<Read>,
}

/// The stop, as we saw it.
#[derive(Clone, Copy)]
pub(super) struct Stopped {
    pub(super) asked: Moment,
    pub(super) acknowledged: Moment,
    pub(super) told: FreezeTold,
}

/// What a step found.
pub(super) struct Found {
    /// A line each.
    pub(super) lines: Vec<String>,
    /// From when it is measured, if not from its own beginning.
    pub(super) since: Option<Moment>,
    /// Until when, if not until its own end.
    pub(super) until: Option<Moment>,
}

impl Found {
    pub(super) fn lines(lines: Vec<String>) -> Self {
        Self { lines, since: None, until: None }
    }

    pub(super) fn line(line: String) -> Self {
        Self::lines(vec![line])
    }
}

impl Stage<'_> {
    pub(super) fn freeze_told(&self) -> Option<FreezeTold> {
        self.stopped.map(|stopped| stopped.told)
    }
}
