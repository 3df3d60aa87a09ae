//! Whether the token itself refuses to sign with what was stopped: the second layer of a stop.

use std::time::Duration;

use portcullis_client::ControlClient;
use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::wire::{FenceState, Key};
use serde_json::{Value, json};

/// What the token says of the keys in a stop's scope, by label.
#[derive(Debug, Default)]
pub(crate) struct Fenced {
    done: Vec<String>,
    refused: Vec<(String, String)>,
    waiting: Vec<String>,
}

/// Waits until the token has answered for every key in scope, and not for long: the stop holds
/// already. `None` where no key is fenced, because only one caller of it was stopped.
pub(crate) async fn follow(control: &ControlClient, scope: &Scope) -> Option<Fenced> {
    if matches!(scope, Scope::Caller(_)) {
        return None;
    }
    let mut last = None;
    let answered = async {
        loop {
            if let Ok(keys) = control.list_keys().await {
                let fenced = Fenced::of(&keys, scope);
                let ended = fenced.waiting.is_empty();
                last = Some(fenced);
                if ended {
                    return;
                }
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
    };
    let _whatever_was_seen_is_said = tokio::time::timeout(PATIENCE, answered).await;
    last
}

impl Fenced {
    fn of(keys: &[Key], scope: &Scope) -> Self {
        let mut fenced = Self::default();
        for key in keys.iter().filter(|key| is_in(key, scope)) {
            let label = key.label.clone();
            match key.fence() {
                FenceState::Fenced => fenced.done.push(label),
                FenceState::Refused => fenced.refused.push((label, key.fence_refused.clone())),
                FenceState::Open
                | FenceState::Opening
                | FenceState::Closing
                | FenceState::Unspecified => fenced.waiting.push(label),
            }
        }
        fenced
    }

    /// For people: what the token has read back, or "".
    pub(crate) fn done(&self) -> String {
        if self.done.is_empty() {
            return String::new();
        }
        // As wide as the acknowledgement above it.
        format!("fenced in the token   {}", self.done.join(", "))
    }

    /// What whoever stopped something must know, a line each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (label, why) in &self.refused {
            lines.push(format!(
                "warning: the token would not fence {label}: {why}. This signer stops it all the \
                 same; another process that holds a handle to it is not stopped"
            ));
        }
        if !self.waiting.is_empty() {
            lines.push(format!(
                "warning: the token has not answered yet whether it fenced {}. The signer goes on \
                 asking; see `portctl key list`",
                self.waiting.join(", ")
            ));
        }
        lines
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let refused = self.refused.iter().map(|(label, why)| json!({"key": label, "why": why}));
        let refused: Vec<Value> = refused.collect();
        json!({ "fenced": self.done, "refused": refused, "waiting": self.waiting })
    }
}

fn is_in(key: &Key, scope: &Scope) -> bool {
    match scope {
        Scope::All(_) => true,
        Scope::Key(name) => key.label == *name || key.key_id == *name,
        Scope::Tag(tag) => key.tags.contains(tag),
        Scope::Caller(_) => false,
    }
}

/// In words, for lists of keys.
pub(crate) fn words(key: &Key) -> &'static str {
    match key.fence() {
        FenceState::Open => "signs",
        FenceState::Closing => "being fenced",
        FenceState::Fenced => "fenced",
        FenceState::Opening => "being let sign",
        FenceState::Refused => "refused",
        FenceState::Unspecified => "unknown",
    }
}

/// A fence takes a millisecond or two.
const ASKED_EVERY: Duration = Duration::from_millis(20);

/// Whoever stopped something has other things to do.
const PATIENCE: Duration = Duration::from_secs(5);
