//! What became of a key that people agreed to remove from the token, and what that proves.

use portcullis_client::wire::{KeyRemoval, RemovalGrade};
use serde_json::{Value, json};

use crate::approvals::words::plain;

pub(super) fn words(removal: &KeyRemoval) -> String {
    let agreed = format!("agreed to in record {}", removal.agreed_sequence);
    if removal.gone {
        let (objects, token) = (removal.objects, plain(&removal.token));
        let proves = proves(removal);
        return format!("{agreed}: gone, {objects} objects removed from {token}; {proves}");
    }
    if removal.refused.is_empty() {
        return format!("{agreed}: the token is being told");
    }
    format!("{agreed}: REFUSED by the token: {}", plain(&removal.refused))
}

/// What the absence of a key proves.
fn proves(removal: &KeyRemoval) -> &'static str {
    match removal.proves() {
        RemovalGrade::Told => "the token says so",
        RemovalGrade::Unlinked => {
            "a file was unlinked, which proves nothing about copies and backups"
        }
        RemovalGrade::Unspecified => "nobody says what that proves",
    }
}

pub(super) fn json(removal: &KeyRemoval) -> Value {
    json!({
        "agreed_sequence": removal.agreed_sequence,
        "gone": removal.gone,
        "refused": removal.refused,
        "objects": removal.objects,
        "token": removal.token,
        "proves": removal.gone.then(|| proves(removal)),
        "backups": removal.backups,
    })
}
