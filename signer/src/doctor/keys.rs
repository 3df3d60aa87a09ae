//! Every private key on the token: whether it is as we make them, and whether it signs.

use std::sync::Arc;

use portcullis_policy::id::KeyId;

use super::Finding;
use crate::hsm::{Drift, Hsm, SignFault, TokenKey, causes};
use crate::signature::PublicPoint;

/// One that signed.
pub(super) struct Usable {
    pub(super) id: KeyId,
    pub(super) point: Arc<PublicPoint>,
}

/// Tells of each. The first that signs, if one does.
pub(super) async fn look(token: &Hsm, tell: &mut impl FnMut(Finding)) -> Option<Usable> {
    let found = match token.inspect().await {
        Ok(found) => found,
        Err(error) => {
            tell(Finding::bad("keys", causes(&error), "the token does not list its keys"));
            return None;
        }
    };
    if found.is_empty() {
        tell(Finding::ok("keys", "none yet"));
    }
    let mut usable = None;
    for key in found {
        let (finding, signs) = one(token, &key).await;
        tell(finding);
        usable = usable.or(signs);
    }
    usable
}

async fn one(token: &Hsm, key: &TokenKey) -> (Finding, Option<Usable>) {
    let named = |what: &str| format!("{:?} {what}", key.label);
    if key.signs_checkpoints() {
        return (checkpoints(key), None);
    }
    let Some(id) = key.id else {
        let finding = Finding::look(
            "key",
            named("has an id that is none of ours"),
            "no signer here uses it; whose is it?",
        );
        return (finding, None);
    };
    let drift = listed(key.drift.iter().filter(|drift| **drift != Drift::Fenced));
    if !drift.is_empty() {
        let remedy = "the signer will stop this key: find out who changed or made it";
        return (Finding::bad("key", named(&format!("({id}) {drift}")), remedy), None);
    }
    if key.is_fenced() {
        let finding = Finding::look(
            "key",
            named(&format!("({id}) is fenced: the token will not sign with it")),
            "a quorum's thaw lets it sign again",
        );
        return (finding, None);
    }
    let Some(point) = &key.point else {
        let remedy = "restore its public object, or read its point with the token's own tools";
        return (Finding::bad("key", named(&format!("({id}) has no public object")), remedy), None);
    };
    match token.self_test(&id, point).await {
        Ok(()) => {
            let found = named(&format!("({id}), {}: closed, and signs", point.address()));
            (Finding::ok("key", found), Some(Usable { id, point: Arc::clone(point) }))
        }
        Err(fault) => (refused(named(&format!("({id}): {fault}")), &fault), None),
    }
}

fn refused(found: String, fault: &SignFault) -> Finding {
    let remedy = if matches!(fault, SignFault::BadSignature { .. }) {
        "its public object is not the private one's: never use it, and find out why"
    } else {
        "see the token's own tools and its log"
    };
    Finding::bad("key", found, remedy)
}

fn checkpoints(key: &TokenKey) -> Finding {
    let drift = key.drift_of_checkpoints();
    if drift.is_empty() {
        return Finding::ok("key", format!("{:?} signs checkpoints", key.label));
    }
    let found = format!("{:?}, for checkpoints, {}", key.label, listed(drift.iter()));
    Finding::bad("key", found, "find out who changed it")
}

fn listed<'a>(drift: impl Iterator<Item = &'a Drift>) -> String {
    drift.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
