//! Which key may take the place of which.

use std::collections::BTreeSet;

use portcullis_client::wire::{Key, KeyState};

use crate::drain::Rest;
use crate::key;

/// A key cannot take another's place, or not yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotateFault {
    /// Nothing would change.
    #[error("{0} cannot take its own place: name another label with --to")]
    Itself(String),
    /// It was made for something else.
    #[error(
        "{new} is a key of {theirs}, and {old} of {own}: nothing is rotated onto a key of another \
         environment. Name a label that is free with --to, and it is made like {old}"
    )]
    Environment { old: String, own: String, new: String, theirs: String },
    /// A canary for money, or money on a canary.
    #[error(
        "{new} is for {theirs:?}, and {old} for {own:?}: name a label that is free with --to, and \
         it is made like {old}"
    )]
    Purpose { old: String, own: String, new: String, theirs: String },
    /// It could not sign for a chain of the old one.
    #[error(
        "{new} was not made for chain {chains}, which {old} may sign for, and no book adds one: \
         name a label that is free with --to, and it is made like {old}"
    )]
    Chains { old: String, new: String, chains: String },
    /// It does not sign.
    #[error(
        "{new} is {state}, and takes nobody's place: thaw it first, or name a label that is free \
         with --to"
    )]
    NotActive { new: String, state: &'static str },
    /// It is not usable in the token.
    #[error("{new} cannot be used: {trouble}. See portctl key show {new}")]
    Trouble { new: String, trouble: String },
    /// It goes elsewhere already.
    #[error(
        "{old} is being drained to {to}, not to {new}: rotate it onto that one, or end that drain \
         first (portctl freeze {old})"
    )]
    Elsewhere { old: String, to: String, new: String },
    /// It is over.
    #[error(
        "{old} is {state}, and {new} did not take its place: what it still holds cannot be moved \
         any more, so there is nothing to rotate. A new key is made by portctl key create"
    )]
    Ended { old: String, state: &'static str, new: String },
    /// What a new key needs and nobody said.
    #[error(
        "there is no key {new} yet: say by which day somebody looks whether it is still needed, \
         with --review-by 2027-03-31, and it is made like {old}"
    )]
    ReviewBy { old: String, new: String },
    /// What a plan needs and nobody said.
    #[error(
        "say who may ask for the signatures that move everything: --caller ID, the service of \
         [data_plane] in portctl.toml"
    )]
    Callers,
    /// A plan for something else.
    #[error("{path} brings everything to another key than {new}: give another --folder")]
    OtherPlan { path: String, new: String },
    /// It could never be moved.
    #[error(
        "{old} is not ended: it holds what the plan does not name, and nothing leaves it \
         afterwards: {}. Move it by another plan (portctl drain propose), or leave it for good \
         with {leave}", .besides.join("; ")
    )]
    Holds { old: String, besides: Vec<String>, leave: String },
    /// Nobody said what became of payments that wait.
    #[error(
        "{old} is frozen: if it may be out, what it sent and a node still holds is to be replaced \
         (--waiting replace); if it is only rotated, let it through (--waiting let-through)"
    )]
    Waiting { old: String },
    /// A link, a pipe, a folder.
    #[error("{path} is no regular file: take it away, or give another --folder")]
    NoFile { path: String },
    /// It was ended.
    #[error("{new} is {state}, for good: name a label that is free with --to")]
    NewEnded { new: String, state: &'static str },
    /// The token does not do what it was told, or not yet.
    #[error("the token does not let {old} sign yet{why}: the same command goes on once it does")]
    Fenced { old: String, why: String },
}

impl RotateFault {
    /// What it holds, and what to type to leave it there.
    pub(super) fn holds(old: &str, held: &[&Rest]) -> Self {
        let besides = held.iter().map(|rest| rest.what.clone()).collect();
        let names: BTreeSet<&str> = held.iter().map(|rest| rest.name.as_str()).collect();
        let leave: Vec<String> = names.iter().map(|name| format!("--leave-rest {name}")).collect();
        Self::Holds { old: old.to_owned(), besides, leave: leave.join(" ") }
    }
}

/// Whether nothing but the book is left to change.
pub(super) fn is_ended(old: &Key) -> bool {
    matches!(old.state(), KeyState::Revoked | KeyState::Destroyed)
}

/// Whether a key can be rotated onto one of this label.
pub(super) fn old(old: &Key, to: &str) -> Result<(), RotateFault> {
    let (label, new) = (old.label.clone(), to.to_owned());
    if label == new {
        return Err(RotateFault::Itself(label));
    }
    let led_there = old.successor == new;
    match old.state() {
        KeyState::Draining if !led_there => {
            let nobody = old.successor.is_empty();
            let to = if nobody { "an address".to_owned() } else { old.successor.clone() };
            Err(RotateFault::Elsewhere { old: label, to, new })
        }
        KeyState::Revoked | KeyState::Destroyed if !led_there => {
            Err(RotateFault::Ended { old: label, state: key::state(old), new })
        }
        KeyState::Active
        | KeyState::Frozen
        | KeyState::Draining
        | KeyState::Revoked
        | KeyState::Destroyed
        | KeyState::Unspecified => Ok(()),
    }
}

/// Whether a key that is there can take the place.
pub(super) fn both(old: &Key, new: &Key) -> Result<(), RotateFault> {
    let (label, other) = (old.label.clone(), new.label.clone());
    if old.key_id == new.key_id {
        return Err(RotateFault::Itself(label));
    }
    if old.environment != new.environment {
        let (own, theirs) = (old.environment.clone(), new.environment.clone());
        return Err(RotateFault::Environment { old: label, own, new: other, theirs });
    }
    if old.purpose != new.purpose {
        let (own, theirs) = (old.purpose.clone(), new.purpose.clone());
        return Err(RotateFault::Purpose { old: label, own, new: other, theirs });
    }
    let missing = old.chains.iter().filter(|chain| !new.chains.contains(chain));
    let missing: Vec<String> = missing.map(ToString::to_string).collect();
    if !missing.is_empty() {
        return Err(RotateFault::Chains { old: label, new: other, chains: missing.join(", ") });
    }
    // Once everything is moved and the old key ended, what is done with the new one is its own
    // business.
    if is_ended(old) {
        return Ok(());
    }
    if is_ended(new) {
        return Err(RotateFault::NewEnded { new: other, state: key::state(new) });
    }
    if new.state() != KeyState::Active {
        return Err(RotateFault::NotActive { new: other, state: key::state(new) });
    }
    if !new.trouble.is_empty() {
        return Err(RotateFault::Trouble { new: other, trouble: new.trouble.clone() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(label: &str, state: KeyState) -> Key {
        let mut key = Key {
            key_id: format!("id of {label}"),
            label: label.into(),
            purpose: "payments".into(),
            environment: "production".into(),
            chains: vec![1, 10],
            ..Key::default()
        };
        key.set_state(state);
        key
    }

    fn said(result: Result<(), RotateFault>) -> String {
        result.expect_err("it does not fit").to_string()
    }

    #[test]
    fn a_key_that_is_like_the_old_one_and_active_takes_its_place() {
        let (hot, cold) = (key("hot", KeyState::Active), key("cold", KeyState::Active));
        assert!(old(&hot, "cold").is_ok() && both(&hot, &cold).is_ok());
        let wider = Key { chains: vec![1, 5, 10], ..cold };
        assert!(both(&hot, &wider).is_ok());
    }

    #[test]
    fn one_of_another_environment_purpose_or_chain_or_that_does_not_sign_is_refused() {
        let (hot, cold) = (key("hot", KeyState::Active), key("cold", KeyState::Active));
        let staged = Key { environment: "staging".into(), ..cold.clone() };
        let words = said(both(&hot, &staged));
        assert!(words.contains("another environment") && words.contains("staging"), "{words}");
        let canary = Key { purpose: "canary".into(), ..cold.clone() };
        assert!(said(both(&hot, &canary)).contains("canary"));
        let narrow = Key { chains: vec![1], ..cold.clone() };
        assert!(said(both(&hot, &narrow)).contains("not made for chain 10"));
        for state in [KeyState::Frozen, KeyState::Draining, KeyState::Revoked] {
            let words = said(both(&hot, &key("cold", state)));
            assert!(words.contains(key::state(&key("cold", state))), "{words}");
        }
        let absent = Key { trouble: "absent from the token".into(), ..cold.clone() };
        assert!(said(both(&hot, &absent)).contains("absent from the token"));
        assert!(said(both(&hot, &hot)).contains("its own place"));
        assert!(said(old(&hot, "hot")).contains("its own place"));
    }

    #[test]
    fn what_was_drained_or_ended_without_the_new_key_is_not_rotated_onto_it() {
        for (successor, words) in [("warm", "drained to warm"), ("", "drained to an address")] {
            let hot = Key { successor: successor.into(), ..key("hot", KeyState::Draining) };
            assert!(said(old(&hot, "cold")).contains(words));
        }
        for state in [KeyState::Revoked, KeyState::Destroyed] {
            assert!(said(old(&key("hot", state), "cold")).contains("nothing to rotate"));
            let led = Key { successor: "cold".into(), ..key("hot", state) };
            assert!(old(&led, "cold").is_ok() && is_ended(&led));
            assert!(both(&led, &key("cold", KeyState::Frozen)).is_ok());
        }
    }
}
