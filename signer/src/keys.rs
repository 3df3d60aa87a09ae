//! Makes keys, and holds the token's keys against the journal's at every start.
//!
//! The public point pinned in the journal is the truth. A key that drifts is frozen; one that is
//! absent is unusable. Nothing is healed by forgetting. What the token says of a public point is
//! believed only where it is a single one; where it is not, the private key must prove itself.

mod checkpoint;
mod finding;
mod lines;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use portcullis_policy::id::{ChainId, KeyId, KeyLabel, PersonId, Tag};
use portcullis_policy::record::{Actor, Environment, Frozen, KeyIntended};
use portcullis_policy::state::Tomb;
use portcullis_policy::stops::Scope;
use portcullis_policy::time::Millis;
use portcullis_proto::v1::CreateKeyRequest;

use self::checkpoint::Standing;
use self::finding::{Finding, drifted, judge};
use crate::fencer::{Expected, Fencer};
use crate::hsm::{Drift, Hsm, HsmError, SignFault, TokenKey, causes};
use crate::refusal::Refusal;
use crate::sequencer::{KeyView, Sequencer};
use crate::signature::PublicPoint;
use crate::words;

/// Keys in token and journal.
pub struct Keys {
    sequencer: Sequencer,
    token: Arc<Hsm>,
    fencer: Arc<Fencer>,
    /// Keys that this process began to make and that are not known to be made.
    begun: Mutex<BTreeMap<KeyId, Making>>,
    troubles: Mutex<BTreeMap<KeyId, String>>,
    /// Keys whose fence somebody took away while this process ran. It was put back.
    unfenced: Mutex<BTreeSet<KeyId>>,
    strangers: Mutex<Vec<String>>,
    /// Why the token's keys could not be read the last time.
    unread: Mutex<Option<String>>,
    checkpoint_key: Mutex<Option<String>>,
}

/// How far the making of a key is.
#[derive(Clone, Copy)]
enum Making {
    /// It may be in the token and not yet in the journal.
    UnderWay,
    /// It ended without a key. The token may have one all the same.
    GivenUp,
}

/// A key somebody wants.
#[derive(Debug)]
pub struct KeyOrder {
    label: KeyLabel,
    tags: BTreeSet<Tag>,
    purpose: String,
    owner: PersonId,
    environment: Environment,
    chains: BTreeSet<ChainId>,
    review_by: Millis,
    by: PersonId,
}

impl KeyOrder {
    /// Reads the fields of a request by this person.
    pub fn parse(request: CreateKeyRequest, by: &PersonId) -> Result<Self, Refusal> {
        let CreateKeyRequest { label, tags, purpose, owner, environment, chains, review_by_ms } =
            request;
        let label = label.parse().map_err(|error| Refusal::bad_name("label", &error))?;
        if tags.len() > TAGS_MAX {
            let problem = format!("at most {TAGS_MAX} tags");
            return Err(Refusal::BadField { field: "tags", problem });
        }
        let tags: Result<BTreeSet<Tag>, _> = tags.iter().map(|tag| tag.parse()).collect();
        let tags = tags.map_err(|error| Refusal::bad_name("tags", &error))?;
        let owner = if owner.is_empty() { Ok(by.clone()) } else { owner.parse() };
        let owner = owner.map_err(|error| Refusal::bad_name("owner", &error))?;
        let bad = |field, problem: &str| Refusal::BadField { field, problem: problem.into() };
        if purpose.is_empty() {
            return Err(bad("purpose", "say what it is for, in a word"));
        }
        words::plain("purpose", &purpose, PURPOSE_CHARS_MAX)?;
        let environment = Environment::named(&environment);
        let which = "is development, staging or production";
        let environment = environment.ok_or_else(|| bad("environment", which))?;
        if chains.is_empty() || chains.len() > CHAINS_MAX || chains.contains(&0) {
            return Err(bad("chains", "name 1 to 64 chains by their ids: it signs for no others"));
        }
        let (chains, by) = (chains.into_iter().map(ChainId).collect(), by.clone());
        let review_by = Millis(review_by_ms);
        Ok(Self { label, tags, purpose, owner, environment, chains, review_by, by })
    }
}

impl Keys {
    /// Joins the parts.
    pub fn new(sequencer: Sequencer, token: Arc<Hsm>, fencer: Arc<Fencer>) -> Self {
        Self {
            sequencer,
            token,
            fencer,
            begun: Mutex::default(),
            troubles: Mutex::default(),
            unfenced: Mutex::default(),
            strangers: Mutex::default(),
            unread: Mutex::default(),
            checkpoint_key: Mutex::default(),
        }
    }

    /// Makes a key: intent on record, then the token, which also proves it by a signature, then the
    /// outcome on record.
    pub async fn create(&self, order: KeyOrder) -> Result<KeyId, Refusal> {
        let view = self.sequencer.view();
        if order.environment != view.environment {
            let (given, vault) = (order.environment.name(), view.environment.name());
            return Err(Refusal::WrongEnvironment { given, vault });
        }
        if view.people.get(&order.owner).is_none() {
            let name = order.owner.to_string();
            return Err(Refusal::NotFound { kind: "person", name });
        }
        let key = KeyId::from_bytes(rand_bytes()?);
        let KeyOrder { label, tags, purpose, owner, environment, chains, review_by, by } = order;
        let intended = KeyIntended {
            by,
            chains,
            environment,
            key,
            label: label.clone(),
            owner,
            purpose,
            review_by,
            tags,
        };
        self.sequencer.intend_key(intended).await?;
        let begun = Begun::new(self, key);
        let made = self.token.create_key(&key, &label).await;
        let point = made.map_err(|error| token_refusal(&error))?;
        self.sequencer.key_created(key, point).await?;
        begun.ended_well();
        tracing::info!(%key, %label, "key created");
        Ok(key)
    }

    /// Holds every key of the journal against the token's object, and freezes what drifted.
    ///
    /// # Errors
    ///
    /// The token could not be read, or a key could not be asked to prove itself; all others were
    /// looked at then.
    pub async fn check(&self, unfinished: &BTreeSet<KeyId>) -> Result<(), HsmError> {
        // Before the token is read: a key that is made in between is no absent one.
        let view = self.sequencer.view();
        let on_token = self.token.inspect().await.inspect_err(|error| {
            *self.unread.lock() = Some(causes(error));
        })?;
        *self.unread.lock() = None;
        let after = self.sequencer.view();
        let (mut outcome, mut undone) = (Ok(()), BTreeSet::new());
        for (id, key) in &view.keys {
            let found: Vec<&TokenKey> =
                on_token.iter().filter(|found| found.id.as_ref() == Some(id)).collect();
            if let Some(tomb) = after.tombs.get(id) {
                self.look_into(tomb, *id, &found);
            }
            let expected = Expected::between(&view, &after, id);
            if expected == Expected::Fenced && found.iter().any(|found| !found.is_fenced()) {
                undone.insert(*id);
            }
            // What is to be gone is missed by nobody.
            if after.tombs.contains_key(id) {
                continue;
            }
            // It may be one of those that the token would not show.
            if found.is_empty() && on_token.iter().any(is_unreadable) {
                self.troubles.lock().insert(*id, UNREADABLE.into());
                continue;
            }
            match self.find_trouble(*id, key, &found, expected).await {
                Ok(None) => {}
                Ok(Some(trouble)) => self.stop_using(*id, key, trouble).await,
                Err(error) => outcome = Err(error),
            }
        }
        self.fence_again(&undone).await;
        *self.checkpoint_key.lock() = checkpoint::trouble(&after.checkpoints, &on_token);
        self.note_strangers(&on_token, unfinished);
        outcome
    }

    /// Whether what was removed has come back: as from a copy of the token. It is fenced then, and
    /// never signs here.
    fn look_into(&self, tomb: &Tomb, id: KeyId, found: &[&TokenKey]) {
        if tomb.is_closed() && !found.is_empty() {
            tracing::error!(key = %id, "a key that was destroyed is on the token again");
            self.troubles.lock().insert(id, RESTORED.into());
        } else {
            self.troubles.lock().remove(&id);
        }
    }

    async fn find_trouble(
        &self,
        id: KeyId,
        key: &KeyView,
        found: &[&TokenKey],
        expected: Expected,
    ) -> Result<Option<String>, HsmError> {
        let Some(pinned) = pinned(key) else {
            return Ok(Some("its pinned point cannot be understood".into()));
        };
        match judge(found, &pinned, expected) {
            Finding::Good => {
                self.troubles.lock().remove(&id);
                Ok(None)
            }
            Finding::Bad(trouble) => Ok(Some(trouble)),
            // Frozen for good: asking again would only wear out sessions.
            Finding::Unproven if self.trouble(id).is_some() => Ok(None),
            // It cannot sign, not even to prove itself. Whatever it signs later is verified.
            Finding::Unproven if expected != Expected::Open => Ok(None),
            Finding::Unproven => self.prove(id, &pinned).await,
        }
    }

    async fn fence_again(&self, undone: &BTreeSet<KeyId>) {
        if undone.is_empty() {
            return;
        }
        for key in undone {
            tracing::error!(%key, "somebody who has the PIN took away a key's fence");
        }
        self.unfenced.lock().extend(undone);
        self.fencer.put_back(undone).await;
    }

    /// Has the private key sign a constant: if that does not verify, it is another key.
    async fn prove(
        &self,
        id: KeyId,
        pinned: &Arc<PublicPoint>,
    ) -> Result<Option<String>, HsmError> {
        let trouble = match self.token.self_test(&id, pinned).await {
            Ok(()) => return Ok(None),
            Err(SignFault::BadSignature { .. } | SignFault::KeyQuarantined { .. }) => {
                "its private key is not that of the pinned point".into()
            }
            Err(SignFault::KeyMissing { .. }) => ABSENT.into(),
            Err(SignFault::KeyAmbiguous { .. }) => DOUBLED.into(),
            Err(SignFault::KeyFenced { .. }) => drifted(&[Drift::Fenced]),
            Err(
                source @ (SignFault::Overloaded
                | SignFault::KeyRefused { .. }
                | SignFault::TimedOut
                | SignFault::Unavailable
                | SignFault::Closed),
            ) => return Err(HsmError::SelfTest { key: id, source }),
        };
        Ok(Some(trouble))
    }

    async fn stop_using(&self, id: KeyId, key: &KeyView, trouble: String) {
        tracing::error!(key = %id, label = %key.label, %trouble, "key is not as it was made");
        self.troubles.lock().insert(id, trouble.clone());
        let scope = Scope::Key(id);
        if !self.sequencer.view().is_stopped_by_itself(&id) {
            let frozen = Frozen { by: Actor::Signer, reason: trouble, scope };
            let answer = self.sequencer.freeze(frozen).await;
            tracing::warn!(key = %id, recorded = answer.sequence.is_some(), "key frozen");
        }
    }

    fn note_strangers(&self, on_token: &[TokenKey], unfinished: &BTreeSet<KeyId>) {
        // After the token was read, and in this order: a key that is being made leaves the one only
        // once it is in the other.
        let begun = self.begun.lock().clone();
        let view = self.sequencer.view();
        let strangers = on_token.iter().filter_map(|found| {
            let id = found.id.as_ref();
            if id.is_some_and(|id| view.keys.contains_key(id)) {
                return None;
            }
            let half_made = match checkpoint::standing(&view.checkpoints, found) {
                Some(Standing::Made) => return None,
                Some(Standing::HalfMade) => true,
                None => false,
            };
            let what = match id.and_then(|id| begun.get(id)) {
                Some(Making::UnderWay) => return None,
                Some(Making::GivenUp) => HALF_MADE,
                None if half_made || id.is_some_and(|id| unfinished.contains(id)) => HALF_MADE,
                None => "unknown",
            };
            Some(format!("the token holds a key that is {what}: label {:?}", found.label))
        });
        *self.strangers.lock() = strangers.collect();
    }

    /// Why a key is unusable, if it is.
    pub fn trouble(&self, key: KeyId) -> Option<String> {
        self.troubles.lock().get(&key).cloned()
    }

    /// What needs attention, a line each. None of it keeps other keys from signing.
    pub fn troubles(&self) -> Vec<String> {
        let (troubles, view) = (self.troubles.lock(), self.sequencer.view());
        // What is to be gone is missed by nobody, also before the token is looked at again.
        let missed =
            |key: &KeyId, trouble: &str| trouble != ABSENT || !view.tombs.contains_key(key);
        let missed = troubles.iter().filter(|(key, trouble)| missed(key, trouble));
        let mut lines: Vec<String> =
            missed.map(|(key, trouble)| format!("key {key}: {trouble}")).collect();
        let unfenced = self.unfenced.lock();
        lines.extend(unfenced.iter().map(|key| format!("key {key}: {UNFENCED}")));
        lines.extend(lines::refused(&view));
        lines.extend(lines::unremoved(&view));
        lines.extend(self.strangers.lock().iter().cloned());
        lines.extend(self.checkpoint_key.lock().iter().cloned());
        lines.extend(self.unread.lock().iter().map(|why| {
            format!(
                "the token's keys cannot be read, so that nobody knows whether one changed: {why}"
            )
        }));
        lines.extend(self.fencer.trouble());
        lines
    }
}

/// Keeps a key that is being made from being taken for a stranger. Dropped early, as by an error,
/// it leaves the key to be found as half made.
struct Begun<'a> {
    keys: &'a Keys,
    key: KeyId,
}

impl<'a> Begun<'a> {
    fn new(keys: &'a Keys, key: KeyId) -> Self {
        keys.begun.lock().insert(key, Making::UnderWay);
        Self { keys, key }
    }

    fn ended_well(self) {
        self.keys.begun.lock().remove(&self.key);
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let Some(making) = self.keys.begun.lock().get_mut(&self.key) {
            *making = Making::GivenUp;
        }
    }
}

fn pinned(key: &KeyView) -> Option<Arc<PublicPoint>> {
    let bytes = hex::decode(&key.point).ok()?;
    PublicPoint::try_from(&bytes[..]).ok().map(Arc::new)
}

const UNFENCED: &str = "somebody who has the PIN took its fence away; it was put back";
const ABSENT: &str = "absent from the token";
const UNREADABLE: &str = "not found on the token, which does not show all of its objects";
const RESTORED: &str = "it was destroyed and is on the token again: somebody restored a copy";
const DOUBLED: &str = "in the token more than once";
const HALF_MADE: &str = "left by a creation that did not end";

fn is_unreadable(key: &TokenKey) -> bool {
    key.drift.contains(&Drift::Unreadable)
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

/// Chains that one key may be made for.
const CHAINS_MAX: usize = 64;

/// Length of a purpose.
const PURPOSE_CHARS_MAX: usize = 200;
