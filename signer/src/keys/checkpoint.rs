//! What the token's objects say of the key that signs checkpoints.

use portcullis_policy::state::Checkpoints;

use super::finding::drifted;
use super::{ABSENT, DOUBLED};
use crate::hsm::{TokenKey, checkpoint_id};

/// What an object is to us, if it is one of these.
pub(super) enum Standing {
    /// The key that signs.
    Made,
    /// Left over from a start that did not end well.
    HalfMade,
}

pub(super) fn standing(checkpoints: &Checkpoints, found: &TokenKey) -> Option<Standing> {
    let made = checkpoints.made.as_ref();
    if made.is_some_and(|made| checkpoint_id(&made.object) == found.raw_id) {
        return Some(Standing::Made);
    }
    let mut intended = checkpoints.intended.iter();
    intended.any(|object| checkpoint_id(object) == found.raw_id).then_some(Standing::HalfMade)
}

/// How the key differs from what was made, if it does. Nobody's money hangs on it.
pub(super) fn trouble(checkpoints: &Checkpoints, on_token: &[TokenKey]) -> Option<String> {
    let id = checkpoint_id(&checkpoints.made.as_ref()?.object);
    let found: Vec<&TokenKey> = on_token.iter().filter(|found| found.raw_id == id).collect();
    let why = match found.as_slice() {
        [] => ABSENT.to_owned(),
        [found] => {
            let drift = found.drift_of_checkpoints();
            if drift.is_empty() {
                return None;
            }
            drifted(&drift)
        }
        [_, _, ..] => DOUBLED.to_owned(),
    };
    Some(format!("the key that signs checkpoints: {why}"))
}
