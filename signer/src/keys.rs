//! Makes keys, and holds the token's keys against the journal's at every start.
//!
//! The public point pinned in the journal is the truth. A key that drifts is frozen; one that is
//! absent is unusable. Nothing is healed by forgetting.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use portcullis_policy::id::{KeyId, KeyLabel, PersonId, Tag};
use portcullis_policy::record::{Actor, Frozen, KeyIntended};
use portcullis_policy::stops::Scope;
use portcullis_proto::v1::CreateKeyRequest;

use crate::hsm::{Hsm, HsmError, TokenKey};
use crate::refusal::Refusal;
use crate::sequencer::Sequencer;
use crate::signature::PublicPoint;

/// Keys in token and journal.
pub struct Keys {
    sequencer: Sequencer,
    token: Arc<Hsm>,
    troubles: Mutex<BTreeMap<KeyId, String>>,
    strangers: Mutex<Vec<String>>,
}

/// A key somebody wants.
#[derive(Debug)]
pub struct KeyOrder {
    label: KeyLabel,
    tags: BTreeSet<Tag>,
    purpose: String,
    owner: PersonId,
    by: PersonId,
}

impl KeyOrder {
    /// Reads the fields of a request by this person.
    pub fn parse(request: CreateKeyRequest, by: &PersonId) -> Result<Self, Refusal> {
        let CreateKeyRequest { label, tags, purpose, owner } = request;
        let label = label.parse().map_err(|error| Refusal::bad_name("label", &error))?;
        if tags.len() > TAGS_MAX {
            let problem = format!("at most {TAGS_MAX} tags");
            return Err(Refusal::BadField { field: "tags", problem });
        }
        let tags: Result<BTreeSet<Tag>, _> = tags.iter().map(|tag| tag.parse()).collect();
        let tags = tags.map_err(|error| Refusal::bad_name("tags", &error))?;
        let owner = if owner.is_empty() { Ok(by.clone()) } else { owner.parse() };
        let owner = owner.map_err(|error| Refusal::bad_name("owner", &error))?;
        if purpose.chars().count() > PURPOSE_CHARS_MAX {
            let problem = format!("at most {PURPOSE_CHARS_MAX} characters");
            return Err(Refusal::BadField { field: "purpose", problem });
        }
        Ok(Self { label, tags, purpose, owner, by: by.clone() })
    }
}

impl Keys {
    /// Joins the parts.
    pub fn new(sequencer: Sequencer, token: Arc<Hsm>) -> Self {
        let (troubles, strangers) = (Mutex::default(), Mutex::default());
        Self { sequencer, token, troubles, strangers }
    }

    /// Makes a key: intent on record, then the token, which also proves it by a signature, then the
    /// outcome on record.
    pub async fn create(&self, order: KeyOrder) -> Result<KeyId, Refusal> {
        let known = self.sequencer.view().people.contains_key(&order.owner);
        if !known {
            let name = order.owner.to_string();
            return Err(Refusal::NotFound { kind: "person", name });
        }
        let key = KeyId::from_bytes(rand_bytes()?);
        let KeyOrder { label, tags, purpose, owner, by } = order;
        let intended = KeyIntended { by, key, label: label.clone(), owner, purpose, tags };
        self.sequencer.intend_key(intended).await?;
        let made = self.token.create_key(&key, &label).await;
        let point = made.map_err(|error| token_refusal(&error))?;
        self.sequencer.key_created(key, point).await?;
        tracing::info!(%key, %label, "key created");
        Ok(key)
    }

    /// Holds every key of the journal against the token's object, and freezes what drifted.
    pub async fn check(&self, unfinished: &BTreeSet<KeyId>) -> Result<(), HsmError> {
        let on_token = self.token.inspect().await?;
        let view = self.sequencer.view();
        for (id, key) in &view.keys {
            let found: Vec<&TokenKey> =
                on_token.iter().filter(|found| found.id.as_ref() == Some(id)).collect();
            let Some(trouble) = trouble(&found, &key.point) else { continue };
            let trouble_text = trouble.clone();
            tracing::error!(key = %id, label = %key.label, %trouble, "key is not as it was made");
            self.troubles.lock().insert(*id, trouble_text);
            let scope = Scope::Key(*id);
            if !view.stops.iter().any(|stop| *stop == scope) {
                let frozen = Frozen { by: Actor::Signer, reason: trouble, scope };
                let answer = self.sequencer.freeze(frozen).await;
                tracing::warn!(key = %id, recorded = answer.sequence.is_some(), "key frozen");
            }
        }
        let strangers = on_token.iter().filter_map(|found| {
            let known = found.id.is_some_and(|id| view.keys.contains_key(&id));
            if known {
                return None;
            }
            let half_made = found.id.is_some_and(|id| unfinished.contains(&id));
            let what = if half_made { "left by a creation that did not end" } else { "unknown" };
            Some(format!("the token holds a key that is {what}: label {:?}", found.label))
        });
        *self.strangers.lock() = strangers.collect();
        Ok(())
    }

    /// Why a key is unusable, if it is.
    pub fn trouble(&self, key: KeyId) -> Option<String> {
        self.troubles.lock().get(&key).cloned()
    }

    /// What needs attention, a line each. None of it keeps other keys from signing.
    pub fn troubles(&self) -> Vec<String> {
        let troubles = self.troubles.lock();
        let mut lines: Vec<String> =
            troubles.iter().map(|(key, trouble)| format!("key {key}: {trouble}")).collect();
        lines.extend(self.strangers.lock().iter().cloned());
        lines
    }
}

/// What is wrong with a key's objects in the token, if anything.
fn trouble(found: &[&TokenKey], point: &str) -> Option<String> {
    let [found] = found else {
        let many = found.len();
        let what = if many == 0 { "absent from the token" } else { "in the token more than once" };
        return Some(what.into());
    };
    if !found.drift.is_empty() {
        let drift: Vec<String> = found.drift.iter().map(ToString::to_string).collect();
        return Some(format!("its attributes drifted: {}", drift.join(", ")));
    }
    let same = |public: &PublicPoint| hex::encode(public.as_bytes()) == point;
    match &found.point {
        Some(public) if !same(public) => Some("its public point is not the pinned one".into()),
        Some(_) | None => None,
    }
}

fn token_refusal(error: &HsmError) -> Refusal {
    tracing::error!(%error, "the token made no key");
    Refusal::Token { code: "KEY_CREATION_FAILED", retry_after: None }
}

/// From the operating system.
pub fn rand_bytes<const N: usize>() -> Result<[u8; N], Refusal> {
    let mut bytes = [0; N];
    let filled = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    match filled {
        Ok(count) if count == N => Ok(bytes),
        Ok(_) | Err(_) => Err(Refusal::Token { code: "NO_RANDOMNESS", retry_after: None }),
    }
}

/// Tags a key may have.
const TAGS_MAX: usize = 16;

/// Length of a purpose.
const PURPOSE_CHARS_MAX: usize = 200;
