//! A key as people see it: what it is, how far its life is, what the token says of it.

use portcullis_policy::fences::Told;
use portcullis_policy::id::KeyId;
use portcullis_policy::record::{Absence, Destruction, Grade};
use portcullis_policy::state::Tomb;
use portcullis_proto::v1::{FenceState, Key, KeyRemoval, KeyState, RemovalGrade};

use crate::keys::Keys;
use crate::sequencer::{KeyView, View};

pub(super) fn key(keys: &Keys, view: &View, id: KeyId, key: &KeyView) -> Key {
    let (tomb, drain) = (view.tombs.get(&id), view.drains.get(&id));
    let successor = drain.and_then(|drain| drain.successor.as_ref());
    Key {
        key_id: id.to_string(),
        label: key.label.to_string(),
        address: key.address.to_vec(),
        public_point: hex::decode(&key.point).unwrap_or_default(),
        state: state(view, id, key).into(),
        tags: key.tags.iter().map(ToString::to_string).collect(),
        purpose: key.purpose.clone(),
        owner: key.owner.to_string(),
        created_at_ms: key.created_at.0,
        trouble: keys.trouble(id).unwrap_or_default(),
        fence: fence(view, &id, key).into(),
        fence_refused: refused(view, &id),
        successor: successor.map(ToString::to_string).unwrap_or_default(),
        drained_until_ms: drain.map(|drain| drain.expires.0).unwrap_or_default(),
        removal: tomb.map(removal),
    }
}

fn state(view: &View, id: KeyId, key: &KeyView) -> KeyState {
    if view.tombs.get(&id).is_some_and(Tomb::is_closed) {
        KeyState::Destroyed
    } else if view.revoked.contains(&id) {
        KeyState::Revoked
    } else if view.drains.contains_key(&id) {
        KeyState::Draining
    } else if key.stopped {
        KeyState::Frozen
    } else {
        KeyState::Active
    }
}

fn fence(view: &View, id: &KeyId, key: &KeyView) -> FenceState {
    match (key.stopped, view.fences.of(id).map(|fence| (fence.up, &fence.told))) {
        (false, None | Some((false, Told::Done))) => FenceState::Open,
        (true, Some((true, Told::Done))) => FenceState::Fenced,
        (_, Some((_, Told::Refused(_)))) => FenceState::Refused,
        (true, None | Some((false, _) | (true, Told::Nothing))) => FenceState::Closing,
        (false, Some((true, _) | (false, Told::Nothing))) => FenceState::Opening,
    }
}

fn removal(tomb: &Tomb) -> KeyRemoval {
    let agreed_sequence = tomb.intent.0;
    let told = KeyRemoval { agreed_sequence, ..KeyRemoval::default() };
    match tomb.answer.clone() {
        None => told,
        Some(Destruction::Refused(refused)) => KeyRemoval { refused, ..told },
        Some(Destruction::Gone(Absence { backups, grade, objects, token })) => {
            let proves = match grade {
                Grade::Told => RemovalGrade::Told,
                Grade::Unlinked => RemovalGrade::Unlinked,
            };
            let proves = proves.into();
            KeyRemoval { gone: true, proves, objects, token, backups, ..told }
        }
    }
}

fn refused(view: &View, id: &KeyId) -> String {
    match view.fences.of(id).map(|fence| &fence.told) {
        Some(Told::Refused(why)) => why.clone(),
        None | Some(Told::Nothing | Told::Done) => String::new(),
    }
}
