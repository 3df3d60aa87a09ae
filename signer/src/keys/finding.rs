//! What a wallet key's objects in the token say of it.

use super::{ABSENT, DOUBLED};
use crate::fencer::Expected;
use crate::hsm::{Drift, TokenKey};
use crate::signature::PublicPoint;

/// What a key's objects in the token say of it.
pub(super) enum Finding {
    Good,
    /// It is not as it was made, for this reason.
    Bad(String),
    /// There is one private key as we make them, and no telling whose point it has.
    Unproven,
}

pub(super) fn judge(found: &[&TokenKey], pinned: &PublicPoint, expected: Expected) -> Finding {
    let found = match found {
        [] => return Finding::Bad(ABSENT.into()),
        [found] => found,
        [_, _, ..] => return Finding::Bad(DOUBLED.into()),
    };
    let may_be_fenced = expected != Expected::Open;
    let drift = found.drift.iter().copied();
    let drift: Vec<Drift> =
        drift.filter(|drift| !may_be_fenced || *drift != Drift::Fenced).collect();
    if !drift.is_empty() {
        return Finding::Bad(drifted(&drift));
    }
    match &found.point {
        Some(public) if **public == *pinned => Finding::Good,
        Some(_) => Finding::Bad("its public point is not the pinned one".into()),
        None => Finding::Unproven,
    }
}

pub(super) fn drifted(drift: &[Drift]) -> String {
    let drift: Vec<String> = drift.iter().map(ToString::to_string).collect();
    format!("its attributes drifted: {}", drift.join(", "))
}
