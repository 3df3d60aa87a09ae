//! What the token would not do with keys, a line each, for whoever looks at the state of things.

use portcullis_policy::fences::Told;
use portcullis_policy::id::KeyId;
use portcullis_policy::record::Destruction;
use portcullis_policy::state::Tomb;

use crate::sequencer::View;

/// What the token would not be told.
pub(super) fn refused(view: &View) -> impl Iterator<Item = String> {
    let gone = |key: &KeyId| view.tombs.get(key).is_some_and(Tomb::is_closed);
    let keys = view.keys.keys().filter(move |key| !gone(key));
    let orders = keys.filter_map(|key| Some((key, view.fences.of(key)?)));
    orders.filter_map(|(key, fence)| {
        let Told::Refused(why) = &fence.told else { return None };
        let what = if fence.up { "be fenced" } else { "be let sign again" };
        Some(format!("key {key} could not {what} in the token: {why}"))
    })
}

/// What the token would not remove.
pub(super) fn unremoved(view: &View) -> Vec<String> {
    let tombs = view.tombs.iter().filter_map(|(key, tomb)| {
        let Some(Destruction::Refused(why)) = &tomb.answer else { return None };
        Some(format!("key {key} could not be removed from the token: {why}"))
    });
    tombs.collect()
}
