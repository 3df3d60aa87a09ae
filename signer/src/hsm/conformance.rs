//! What "works with this HSM" means: everything the signer asks of a token, done once with keys
//! that are thrown away afterwards, by the code that does it in earnest.
//!
//! Touches no object that it did not make.

use std::collections::BTreeSet;
use std::sync::Arc;

use alloy_primitives::B128;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::types::Ulong;
use portcullis_policy::id::{KeyId, KeyLabel, VaultId};
use tokio::task::JoinSet;

use super::checkpoint::checkpoint_id;
use super::destroy::{Doomed, Removal};
use super::error::{HsmError, SignFault, chain};
use super::keeper::{Repeat, in_a_fresh_session, manage};
use super::module::Inside;
use super::quirks::{self, CopyVerdict};
use super::session::find_private;
use super::{Hsm, marker};
use crate::signature::PublicPoint;

/// One thing that was asked of the token.
#[derive(Clone, Debug)]
pub struct Case {
    /// What should be so.
    pub name: &'static str,
    /// How it was.
    pub outcome: Outcome,
}

/// How a case ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// As it should; with what is worth knowing of it.
    Holds(String),
    /// Not as it should, and the signer copes: with what that means.
    Differs(String),
    /// Not as it must.
    Fails(String),
    /// Not tried, because of this.
    Untried(String),
}

/// The throw-away key.
#[derive(Clone)]
struct Subject {
    id: KeyId,
    label: KeyLabel,
    point: Arc<PublicPoint>,
}

/// Runs every case in turn, and removes what it made, whatever came of it. `names`: random bytes,
/// by which its objects are called. `label`: what the key is called, beside its id.
pub async fn conformance(hsm: &Arc<Hsm>, names: [[u8; 16]; 3], label: KeyLabel) -> Vec<Case> {
    let [key, object, vault] = names;
    let mut cases = of_a_key(hsm, KeyId::from_bytes(key), label).await;
    cases.push(Case { name: CHECKPOINTS, outcome: checkpoints(hsm, object.into()).await });
    let mut name = [0; 32];
    for (byte, random) in name.iter_mut().zip(vault) {
        *byte = random;
    }
    cases.push(Case { name: MARKERS, outcome: markers(hsm, VaultId(name.into())).await });
    cases
}

async fn of_a_key(hsm: &Arc<Hsm>, id: KeyId, label: KeyLabel) -> Vec<Case> {
    let made = hsm.create_key(&id, &label).await;
    let (outcome, point) = match made {
        Ok(point) => (Outcome::Holds(point.address().to_string()), Some(Arc::new(point))),
        Err(error) => (Outcome::Fails(chain(&error)), None),
    };
    let mut cases = vec![Case { name: MAKES, outcome }];
    let Some(point) = point else {
        let untried = || Outcome::Untried("no key was made".into());
        let rest = [SHOWS, SIGNS, KEEPS, COPIES, FENCES, THAWS, DESTROYS];
        cases.extend(rest.map(|name| Case { name, outcome: untried() }));
        return cases;
    };
    let key = Subject { id, label, point };
    cases.push(Case { name: SHOWS, outcome: shows(hsm, &key).await });
    cases.push(Case { name: SIGNS, outcome: signs(hsm, &key).await });
    cases.push(Case { name: KEEPS, outcome: keeps(hsm, &key).await });
    cases.push(Case { name: COPIES, outcome: copies(hsm, &key).await });
    let fenced = told(hsm, &key, true).await;
    cases.push(Case { name: FENCES, outcome: fences(hsm, &key, fenced.as_deref()).await });
    cases.push(Case { name: THAWS, outcome: thaws(hsm, &key, fenced.is_some()).await });
    cases.push(Case { name: DESTROYS, outcome: destroys(hsm, &key).await });
    cases
}

/// A login is the application's: a session that is opened afterwards sees the key.
async fn shows(hsm: &Hsm, key: &Subject) -> Outcome {
    let id = key.id;
    let found = in_a_fresh_session(&hsm.keeping, move |fresh| {
        find_private(fresh.session, &id).map_err(HsmError::Read)
    });
    match found.await {
        Ok(found) if found.len() == 1 => Outcome::Holds(String::new()),
        Ok(found) => Outcome::Fails(format!("a session opened afterwards finds {}", found.len())),
        Err(error) => failed(&error),
    }
}

/// By all sessions at once, each answer verified.
async fn signs(hsm: &Arc<Hsm>, key: &Subject) -> Outcome {
    let sessions = hsm.signing.census().wanted;
    let mut callers: JoinSet<Result<(), SignFault>> = JoinSet::new();
    for _ in 0..sessions {
        let (hsm, key) = (Arc::clone(hsm), key.clone());
        callers.spawn(async move {
            for _ in 0..SIGNATURES {
                hsm.self_test(&key.id, &key.point).await?;
            }
            Ok(())
        });
    }
    for ended in callers.join_all().await {
        if let Err(fault) = ended {
            return Outcome::Fails(fault.to_string());
        }
    }
    let count = sessions.saturating_mul(SIGNATURES);
    Outcome::Holds(format!("{count} signatures in {sessions} sessions at once, each verified"))
}

/// Neither its value nor a wrapped form of it comes out (invariant 1).
async fn keeps(hsm: &Hsm, key: &Subject) -> Outcome {
    let id = key.id;
    let chore = move |inside: &Inside<'_>| {
        let handle = only(inside.session, &id)?;
        let told = inside.session.get_attributes(handle, &[AttributeType::Value]);
        let told = told.unwrap_or_default();
        if told.iter().any(|one| matches!(one, Attribute::Value(_))) {
            return Ok(Outcome::Fails("the token shows the private key's value".into()));
        }
        Ok(wraps(inside.session, handle))
    };
    let tried = manage(&hsm.keeping, Repeat::Harmless, chore).await;
    tried.unwrap_or_else(|error| failed(&error))
}

/// Tries to wrap it with an AES key of this session alone.
fn wraps(session: &Session, key: ObjectHandle) -> Outcome {
    let template = [
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Wrap(true),
        Attribute::ValueLen(Ulong::from(WRAPPING_BYTES)),
    ];
    let Ok(wrapping) = session.generate_key(&Mechanism::AesKeyGen, &template) else {
        return Outcome::Holds(
            "its value is not shown; no key to wrap it with was to be had".into(),
        );
    };
    let tries = [("AES-KEY-WRAP", Mechanism::AesKeyWrap), ("…-PAD", Mechanism::AesKeyWrapPad)];
    let wrapped = tries.into_iter().find(|(_, how)| session.wrap_key(how, wrapping, key).is_ok());
    if let Err(error) = session.destroy_object(wrapping) {
        tracing::warn!(%error, "a wrapping key stays until its session ends");
    }
    match wrapped {
        None => Outcome::Holds("neither shown nor wrapped".into()),
        Some((how, _)) => Outcome::Fails(format!("the token wraps the private key ({how})")),
    }
}

async fn copies(hsm: &Hsm, key: &Subject) -> Outcome {
    let id = key.id;
    let chore = move |inside: &Inside<'_>| {
        let handle = only(inside.session, &id)?;
        Ok(quirks::try_copy(inside.session, handle))
    };
    match manage(&hsm.keeping, Repeat::Harmless, chore).await {
        Ok(CopyVerdict::Refused) => Outcome::Holds(String::new()),
        Ok(CopyVerdict::Allowed) => Outcome::Fails("it made a copy, which no fence stops".into()),
        Ok(CopyVerdict::Unclear) => {
            Outcome::Differs("it failed to, in a way that is no refusal".into())
        }
        Err(error) => failed(&error),
    }
}

/// `CKA_SIGN` = false stops also a session that found the key before.
async fn fences(hsm: &Hsm, key: &Subject, refused: Option<&str>) -> Outcome {
    if let Some(why) = refused {
        return Outcome::Differs(format!("{why}: a stop is the signer's own, not the token's too"));
    }
    match hsm.self_test(&key.id, &key.point).await {
        Err(SignFault::KeyFenced { .. }) => Outcome::Holds(String::new()),
        Err(fault) => Outcome::Differs(format!("it does not sign, and does not say why: {fault}")),
        Ok(()) => Outcome::Fails("it says that the key may not sign, and signs".into()),
    }
}

async fn thaws(hsm: &Hsm, key: &Subject, was_refused: bool) -> Outcome {
    if was_refused {
        return Outcome::Differs("not tried, as it takes no fence".into());
    }
    if let Some(why) = told(hsm, key, false).await {
        return Outcome::Fails(why);
    }
    match hsm.self_test(&key.id, &key.point).await {
        Ok(()) => Outcome::Holds(String::new()),
        Err(fault) => Outcome::Fails(fault.to_string()),
    }
}

/// `None` if the fence is so now, or why it is not.
async fn told(hsm: &Hsm, key: &Subject, up: bool) -> Option<String> {
    match hsm.fence(BTreeSet::from([key.id]), up).await {
        Ok(answer) => answer.refused.into_values().next(),
        Err(error) => Some(chain(&error)),
    }
}

async fn destroys(hsm: &Hsm, key: &Subject) -> Outcome {
    let point = Some(Arc::clone(&key.point));
    let doomed = Doomed { id: key.id, label: key.label.to_string(), point };
    match hsm.destroy(doomed).await {
        Ok(Removal::Gone(_)) => {}
        Ok(Removal::Refused(why)) => return Outcome::Fails(format!("{why}: it is still there")),
        Err(error) => return Outcome::Fails(format!("{}: it may still be there", chain(&error))),
    }
    match hsm.self_test(&key.id, &key.point).await {
        Err(SignFault::KeyMissing { .. }) => Outcome::Holds(String::new()),
        Err(fault) => Outcome::Differs(format!("gone, and the token says: {fault}")),
        Ok(()) => Outcome::Fails("a session that held it still signs with it".into()),
    }
}

async fn checkpoints(hsm: &Hsm, object: B128) -> Outcome {
    let made = match hsm.checkpoint_kind() {
        Ok(kind) => hsm.create_checkpoint_key(object, kind).await.map(|_| kind),
        Err(error) => Err(error),
    };
    let chore = move |inside: &Inside<'_>| {
        let found = inside.session.find_objects(&[Attribute::Id(checkpoint_id(&object))]);
        for object in found.map_err(HsmError::Read)? {
            inside.session.destroy_object(object).map_err(HsmError::Marker)?;
        }
        Ok(())
    };
    match (made, manage(&hsm.attesting, Repeat::Harmless, chore).await) {
        (Ok(kind), Ok(())) => Outcome::Holds(format!("{kind:?}")),
        (Err(error), _) | (Ok(_), Err(error)) => failed(&error),
    }
}

/// Written, written anew, read, and removed.
async fn markers(hsm: &Hsm, vault: VaultId) -> Outcome {
    let texts = [b"one".to_vec(), b"another".to_vec()];
    let mut written = Ok(());
    for text in texts.clone() {
        if written.is_ok() {
            written = hsm.mark(vault, text).await;
        }
    }
    let read = hsm.markers(vault).await;
    let chore = move |inside: &Inside<'_>| marker::remove(inside.session, &vault);
    let removed = manage(&hsm.keeping, Repeat::Harmless, chore).await;
    match (written, read, removed) {
        (Ok(()), Ok(read), Ok(())) if read == texts[1..] => Outcome::Holds(String::new()),
        (Ok(()), Ok(read), Ok(())) => {
            Outcome::Differs(format!("of two that were written in turn it has {}", read.len()))
        }
        (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => Outcome::Differs(format!(
            "{}: an old journal put back is noticed by a witness alone",
            chain(&error)
        )),
    }
}

fn only(session: &Session, key: &KeyId) -> Result<ObjectHandle, HsmError> {
    let found = find_private(session, key).map_err(HsmError::Read)?;
    found.first().copied().ok_or(HsmError::LoginLost)
}

fn failed(error: &HsmError) -> Outcome {
    Outcome::Fails(chain(error))
}

/// By each session.
const SIGNATURES: usize = 50;

/// Of an AES-256 key.
const WRAPPING_BYTES: u64 = 32;

const MAKES: &str = "makes a secp256k1 key as closed as we ask";
const SHOWS: &str = "shows it to every session of the login";
const SIGNS: &str = "signs with it, in every session at once";
const KEEPS: &str = "lets its value out in no form";
const COPIES: &str = "refuses to copy it";
const FENCES: &str = "fences it, also for who holds it already";
const THAWS: &str = "lets it sign again";
const DESTROYS: &str = "destroys it, also for who holds it already";
const CHECKPOINTS: &str = "makes a key for checkpoints, and signs";
const MARKERS: &str = "keeps a marker of how far the journal came";
