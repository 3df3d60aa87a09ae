//! Keeps the token in step with the journal: what is stopped is fenced, what was thawed is not.
//!
//! The gate has closed long before; the fence is for whoever else holds a handle to the key. One
//! change at a time, each between its intent and the token's answer. Nothing is let sign again
//! because the token would not say, and a fence that somebody took away is put back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use portcullis_policy::fences::{FenceOrder, Told};
use portcullis_policy::id::{KeyId, Sequence};
use portcullis_policy::record::FenceAnswered;
use portcullis_policy::stops::Scope;

use crate::hsm::{Hsm, causes};
use crate::sequencer::{Sequencer, View};

/// Fences keys.
pub struct Fencer {
    sequencer: Sequencer,
    token: Arc<Hsm>,
    one_at_a_time: tokio::sync::Mutex<()>,
    trouble: Mutex<Option<String>>,
}

/// Whether everything is as it should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Round {
    Settled,
    /// The token would not, this time: some say so under load and do it a moment later.
    Refused,
    /// The token did not answer, or the answer could not be written down.
    Unsettled,
}

impl Round {
    /// The worse of both.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unsettled, _) | (_, Self::Unsettled) => Self::Unsettled,
            (Self::Refused, _) | (_, Self::Refused) => Self::Refused,
            (Self::Settled, Self::Settled) => Self::Settled,
        }
    }
}

impl Fencer {
    /// Joins the parts.
    pub fn new(sequencer: Sequencer, token: Arc<Hsm>) -> Self {
        let one_at_a_time = tokio::sync::Mutex::default();
        Self { sequencer, token, one_at_a_time, trouble: Mutex::default() }
    }

    /// Why the token does not know yet which keys may sign.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// Follows every change for as long as it is let.
    pub async fn run(self: Arc<Self>) {
        let mut changes = self.sequencer.changes();
        loop {
            changes.mark_unchanged();
            let patience = match self.round(&BTreeSet::new()).await {
                Round::Settled => LOOKED_AGAIN_EVERY,
                Round::Refused => ASKED_AGAIN_EVERY,
                Round::Unsettled => RETRIED_AFTER,
            };
            if let Ok(Err(_)) = tokio::time::timeout(patience, changes.changed()).await {
                return;
            }
        }
    }

    /// Puts back the fence of keys that were found to sign although they are fenced.
    pub async fn put_back(&self, undone: &BTreeSet<KeyId>) {
        let _whatever_is_left_is_tried_again = self.round(undone).await;
    }

    /// Fences whatever a stop covers that could not be written down, on nobody's record: this may
    /// be the last thing that this process does.
    pub async fn fence_unrecorded(&self, view: &View, scope: &Scope) {
        let keys = view.keys.iter();
        let in_scope = keys.filter(|(id, key)| scope.covers_key(**id, &key.tags));
        let keys: BTreeSet<KeyId> = in_scope.map(|(id, _)| *id).collect();
        self.tell(FenceOrder { intent: None, up: true, keys }).await;
    }

    async fn round(&self, undone: &BTreeSet<KeyId>) -> Round {
        let _one_at_a_time = self.one_at_a_time.lock().await;
        let Ok(orders) = self.sequencer.due_fences(undone.clone()).await else {
            return Round::Unsettled;
        };
        let mut round = Round::Settled;
        for order in orders {
            round = round.and(self.tell(order).await);
        }
        if round != Round::Unsettled {
            *self.trouble.lock() = None;
        }
        round
    }

    /// A few at a time: what was done for some is known, however slow the token is with others.
    async fn tell(&self, order: FenceOrder) -> Round {
        let (FenceOrder { intent, up, keys }, mut round) = (order, Round::Settled);
        let mut left = keys.into_iter().peekable();
        while left.peek().is_some() {
            let some = left.by_ref().take(TOLD_AT_ONCE).collect();
            round = round.and(self.tell_some(intent, up, some).await);
        }
        round
    }

    async fn tell_some(&self, intent: Option<Sequence>, up: bool, keys: BTreeSet<KeyId>) -> Round {
        let answer = match self.token.fence(keys, up).await {
            Ok(answer) => answer,
            Err(error) => {
                let why = causes(&error);
                tracing::error!(%why, up, "the token could not be told which keys may sign");
                let line = format!("the token could not be told which keys may sign: {why}");
                *self.trouble.lock() = Some(line);
                return Round::Unsettled;
            }
        };
        for (key, why) in &answer.refused {
            tracing::error!(%key, up, %why, "the token would not change whether a key may sign");
        }
        // Without an intent there is nothing to answer, and until there is room nobody is done.
        let Some(intent) = intent else { return Round::Unsettled };
        let (done, refused) = (answer.done, answer.refused);
        let said = if refused.is_empty() { Round::Settled } else { Round::Refused };
        match self.sequencer.fences_answered(FenceAnswered { done, intent, refused }).await {
            Ok(()) => said,
            Err(refusal) => {
                tracing::error!(?refusal, "the token's answer could not be written down");
                Round::Unsettled
            }
        }
    }
}

/// What the token should say of a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// Its fence is up, as it said before.
    Fenced,
    /// It signs.
    Open,
    /// It is being told otherwise: either is right.
    Moving,
}

impl Expected {
    /// By two pictures, one from before the token was read and one from after: if they differ,
    /// nobody knows which of them the token was read under.
    pub fn between(before: &View, after: &View, key: &KeyId) -> Self {
        let then = Self::at(before, key);
        let same_intent = before.fences.of(key).map(|fence| fence.intent)
            == after.fences.of(key).map(|fence| fence.intent);
        if same_intent && then == Self::at(after, key) { then } else { Self::Moving }
    }

    fn at(view: &View, key: &KeyId) -> Self {
        let stopped = view.keys.get(key).is_some_and(|key| key.stopped);
        match view.fences.of(key).map(|fence| (fence.up, &fence.told)) {
            Some((true, Told::Done)) if stopped => Self::Fenced,
            None | Some((false, Told::Done)) if !stopped => Self::Open,
            None | Some(_) => Self::Moving,
        }
    }
}

/// A slow token takes a quarter of a second for one, and has some thirty for a call.
const TOLD_AT_ONCE: usize = 16;

/// Time passes by itself: a drain may be over.
const LOOKED_AGAIN_EVERY: Duration = Duration::from_secs(60);

/// Refused is not for ever. The same answer again leaves no record.
const ASKED_AGAIN_EVERY: Duration = Duration::from_secs(5);

/// The token's own sessions are reopened meanwhile.
const RETRIED_AFTER: Duration = Duration::from_secs(1);
