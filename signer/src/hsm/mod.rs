//! The token: signs what the sequencer permitted, makes keys, looks after its own sessions.
//!
//! Decides nothing. Has no method that takes a caller's bytes: a digest comes only inside a
//! [`Reserved`], and every signature is verified against the pinned point before it leaves here
//! (invariant 10).

mod alarms;
mod checkpoint;
mod config;
mod conformance;
mod connect;
mod destroy;
mod drift;
mod error;
mod fence;
mod keeper;
mod keys;
mod login;
mod marker;
mod module;
mod pool;
mod quirks;
mod recovery;
mod session;
mod survey;
mod token;
mod verdict;
mod watchdog;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use portcullis_policy::id::{KeyId, KeyLabel, VaultId};
use portcullis_policy::record::Grade;

pub use checkpoint::{CheckpointKind, ProvenKey, checkpoint_id};
pub use config::{HsmConfig, TokenSelector};
pub use conformance::{Case, Outcome, conformance};
pub use destroy::{Doomed, Removal};
pub use drift::Drift;
pub(crate) use error::chain as causes;
pub use error::{CheckpointFault, HsmError, SignFault};
pub use fence::FenceAnswer;
pub use keys::TokenKey;
pub use survey::{Library, Offer, PinState, Survey, library, survey};
pub use token::TokenFacts;

use crate::sequencer::{Reserved, Signed};
use crate::signature::{PublicPoint, RawSignature, verify_and_recover};
use alarms::Alarms;
use connect::{connect, sessions};
use keeper::{Keeper, Repeat, in_a_fresh_session, manage};
use module::Inside;
use pool::{After, Census, Lane, Pool, Sizes};
use session::{CallFault, SigningSession, self_test_digest};
use token::Token;

/// An opened token. Dropping it lets its threads finish what is queued and end.
pub struct Hsm {
    token: Arc<Token>,
    signing: Pool<SigningSession>,
    /// One session of its own, so that making a key never waits behind requests.
    keeping: Pool<Keeper>,
    /// And one that fences keys, so that this never waits behind the making of another.
    fencing: Pool<Keeper>,
    /// And one that signs checkpoints: a token that hangs in one must not keep a key from being
    /// fenced.
    attesting: Pool<Keeper>,
    alarms: Arc<Alarms>,
    /// By then, every call that had begun before a close is over or stuck.
    close_max: Duration,
    /// How long calls that hang may keep everybody from signing.
    hung_max: Duration,
}

/// How busy and how well the token is; for metrics.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HsmCounters {
    /// Sessions there should be.
    pub sessions_wanted: usize,
    /// Sessions that can sign now.
    pub sessions_usable: usize,
    /// Requests waiting for a session.
    pub queued: usize,
    /// Requests turned away because too many waited.
    pub shed: u64,
    /// Calls past their deadline that have not returned.
    pub stuck: usize,
    /// Answers that came after their deadline, wiped.
    pub late: u64,
    /// Signatures that did not verify, wiped.
    pub bad_signatures: u64,
    /// How often the module was loaded again.
    pub reloads: u64,
}

impl Hsm {
    /// Loads the module, finds the token, logs in, opens the sessions. Blocks, at most for the
    /// configured `admin_deadline`.
    ///
    /// # Errors
    ///
    /// Anything missing or refused. A wrong PIN has then been tried once.
    pub fn open(config: &HsmConfig) -> Result<Self, HsmError> {
        let (token, first, [keeper, fencer, attester]) = connect(config)?;
        let open_signing = {
            let token = Arc::clone(&token);
            move || SigningSession::open(Arc::clone(&token))
        };
        let open_managing = || {
            let token = Arc::clone(&token);
            move || Keeper::open(Arc::clone(&token))
        };
        let signing = Sizes {
            name: "hsm-sign",
            workers: sessions(config, token.facts().sessions_max),
            queue_max: config.queue_max,
            stuck_max: config.stuck_max,
            deadline: config.deadline,
        };
        let managing = |name| Sizes {
            name,
            workers: 1,
            queue_max: MANAGING_QUEUE_MAX,
            stuck_max: 1,
            deadline: config.admin_deadline,
        };
        Ok(Self {
            signing: Pool::start(&signing, first, open_signing)?,
            keeping: Pool::start(&managing("hsm-keys"), keeper, open_managing())?,
            fencing: Pool::start(&managing("hsm-fence"), fencer, open_managing())?,
            attesting: Pool::start(&managing("hsm-attest"), attester, open_managing())?,
            token,
            alarms: Arc::default(),
            close_max: config.deadline.max(config.admin_deadline),
            hung_max: config.hung_max,
        })
    }

    /// Signs exactly what was permitted, and verifies the answer against the pinned point.
    ///
    /// # Errors
    ///
    /// [`SignFault`]. The permission is used up either way; only after [`SignFault::TimedOut`] can
    /// a signature exist that we do not have.
    pub async fn sign(&self, reserved: Reserved) -> Result<Signed, SignFault> {
        let alarms = self.admit(reserved.key())?;
        let (caller, key) = (reserved.caller().clone(), *reserved.key());
        let lane = Lane { caller: Some(caller), key: Some(key) };
        let answer = self.signing.run_for(&lane, move |session, turn| {
            let signed = session.sign(&reserved, turn);
            let (outcome, after) = verified(key, signed, |raw| reserved.attach(raw));
            if matches!(outcome, Err(SignFault::BadSignature { .. })) {
                alarms.raise(key);
            }
            (outcome, after)
        });
        answer.await?
    }

    /// Proves that the token still holds the private key of this point: has it sign a constant that
    /// is no transaction. The signature goes nowhere.
    ///
    /// # Errors
    ///
    /// As [`Hsm::sign`]. A bad signature is no alarm here: it says that the key is another one, not
    /// that the token lies, and is the asker's to act on.
    pub async fn self_test(&self, key: &KeyId, point: &Arc<PublicPoint>) -> Result<(), SignFault> {
        self.admit(key)?;
        let (key, point) = (*key, Arc::clone(point));
        let answer = self.signing.run_in_turn(move |session, turn| {
            let signed = session.self_test(&key, turn);
            verified(key, signed, |raw| {
                verify_and_recover(&point, &self_test_digest(), &raw).map(drop)
            })
        });
        answer.await?
    }

    /// Generates a secp256k1 key in the token: every usage set by us and only SIGN true, read back,
    /// and proved by a self-test (invariant 1).
    ///
    /// # Errors
    ///
    /// The id is taken, or the key came out wrong and is destroyed again. After
    /// [`HsmError::TimedOut`] the key may exist.
    pub async fn create_key(&self, id: &KeyId, label: &KeyLabel) -> Result<PublicPoint, HsmError> {
        let (id, label) = (*id, label.clone());
        let chore = move |inside: &Inside<'_>| keys::create(inside.session, &id, &label);
        manage(&self.keeping, Repeat::IfNotBegun, chore).await
    }

    /// Every private key on the token, ours or not, and how it differs from what we make.
    ///
    /// # Errors
    ///
    /// The token cannot be read.
    pub async fn inspect(&self) -> Result<Vec<TokenKey>, HsmError> {
        let tries = AtomicU32::new(0);
        let chore = move |inside: &Inside<'_>| {
            keys::inspect(inside.session, tries.fetch_add(1, Ordering::Relaxed) > 0)
        };
        manage(&self.keeping, Repeat::Harmless, chore).await
    }

    /// Fences these keys, so that no process can sign with them, or lets them sign again; each is
    /// read back.
    ///
    /// # Errors
    ///
    /// The token could not be asked. After [`HsmError::TimedOut`] it may have done it.
    pub async fn fence(&self, keys: BTreeSet<KeyId>, up: bool) -> Result<FenceAnswer, HsmError> {
        let tries = AtomicU32::new(0);
        let chore = move |inside: &Inside<'_>| {
            let again = tries.fetch_add(1, Ordering::Relaxed) > 0;
            fence::set(inside, &keys, up, again)
        };
        manage(&self.fencing, Repeat::Harmless, chore).await
    }

    /// Removes a key's objects, and looks for them in a session that is opened afterwards.
    ///
    /// # Errors
    ///
    /// The token could not be asked. Some objects may be gone.
    pub async fn destroy(&self, doomed: Doomed) -> Result<Removal, HsmError> {
        let wanted = doomed.clone();
        let chore = move |inside: &Inside<'_>| destroy::remove(inside.session, &wanted);
        let removed = manage(&self.fencing, Repeat::IfNotBegun, chore).await?;
        let Removal::Gone(_) = removed else { return Ok(removed) };
        let look = move |fresh: &Inside<'_>| destroy::left(fresh.session, &doomed);
        let left = in_a_fresh_session(&self.fencing, look);
        Ok(left.await?.map_or(removed, Removal::Refused))
    }

    /// What was last written as this vault's marker: more than one text only after a crash.
    ///
    /// # Errors
    ///
    /// The token cannot be read.
    pub async fn markers(&self, vault: VaultId) -> Result<Vec<Vec<u8>>, HsmError> {
        let chore = move |inside: &Inside<'_>| marker::read(inside.session, &vault);
        manage(&self.keeping, Repeat::Harmless, chore).await
    }

    /// Writes this vault's marker anew.
    ///
    /// # Errors
    ///
    /// The token would not, or could not be asked.
    pub async fn mark(&self, vault: VaultId, text: Vec<u8>) -> Result<(), HsmError> {
        let chore = move |inside: &Inside<'_>| marker::write(inside, &vault, &text);
        manage(&self.keeping, Repeat::Harmless, chore).await
    }

    /// What it proves that this token no longer shows a key.
    pub fn grade(&self) -> Grade {
        let files = quirks::keeps_objects_in_files(&self.token.facts().manufacturer);
        if files { Grade::Unlinked } else { Grade::Told }
    }

    /// What the token says of itself.
    pub fn facts(&self) -> &TokenFacts {
        self.token.facts()
    }

    /// Troubles, each a sentence that names the token. Empty if all is well. Not whether
    /// checkpoints are signed: requests are, all the same.
    pub fn health(&self) -> Vec<String> {
        let mut troubles = sick("signing", &self.signing.census());
        troubles.extend(sick("key-keeping", &self.keeping.census()));
        troubles.extend(sick("fencing", &self.fencing.census()));
        troubles.extend(self.token.is_reloading().then(|| HsmError::Reloading.to_string()));
        let label = &self.token.facts().label;
        troubles.into_iter().map(|trouble| format!("token {label:?}: {trouble}")).collect()
    }

    /// Whether any session can sign now: one call that hangs keeps no other request waiting.
    pub fn can_sign(&self) -> bool {
        self.signing.has_hands() && !self.token.is_reloading()
    }

    /// Keys that gave wrong signatures, a line each. They are stopped; no other key is the worse
    /// for it.
    pub fn alarms(&self) -> Vec<String> {
        let alarms = self.alarms.list().into_iter().map(|(key, count)| {
            let quarantine =
                if self.alarms.is_quarantined(&key) { "; it is quarantined" } else { "" };
            format!("key {key} gave {count} bad signatures{quarantine}")
        });
        alarms.collect()
    }

    /// Figures for metrics.
    pub fn counters(&self) -> HsmCounters {
        let census = self.signing.census();
        let bad = self.alarms.list().into_iter().map(|(_, count)| u64::from(count));
        HsmCounters {
            sessions_wanted: census.wanted,
            sessions_usable: census.usable,
            queued: census.queued,
            shed: census.shed,
            stuck: census.stuck,
            late: census.late,
            bad_signatures: bad.fold(0, u64::saturating_add),
            reloads: self.token.reloads(),
        }
    }

    /// Takes no more requests, and waits until the threads have left the module, so that the
    /// process can end without pulling it from under them. A stuck thread is not waited for, and
    /// none for longer than the longest deadline of a call.
    pub async fn close(&self) {
        self.signing.close();
        self.keeping.close();
        self.fencing.close();
        self.attesting.close();
        let workers = || {
            let managing =
                [&self.keeping, &self.fencing, &self.attesting].map(|pool| pool.census().workers);
            managing
                .iter()
                .fold(self.signing.census().workers, |sum, more| sum.saturating_add(*more))
        };
        let left = async {
            while workers() > 0 {
                tokio::time::sleep(CLOSE_POLL).await;
            }
        };
        if tokio::time::timeout(self.close_max, left).await.is_err() {
            tracing::warn!("threads are still inside the PKCS#11 module and are left there");
        }
    }

    fn admit(&self, key: &KeyId) -> Result<Arc<Alarms>, SignFault> {
        if self.alarms.is_quarantined(key) {
            return Err(SignFault::KeyQuarantined { key: *key });
        }
        Ok(Arc::clone(&self.alarms))
    }
}

/// Nobody makes keys by the hundred at once.
const MANAGING_QUEUE_MAX: usize = 16;

const CLOSE_POLL: Duration = Duration::from_millis(5);

/// Joins the token's answer to what was asked. A session that gave a bad one is not used again.
fn verified<V, B>(
    key: KeyId,
    signed: Result<RawSignature, CallFault>,
    verify: impl FnOnce(RawSignature) -> Result<V, B>,
) -> (Result<V, SignFault>, After) {
    match signed.map(verify) {
        Ok(Ok(value)) => (Ok(value), After::Keep),
        Ok(Err(_)) => {
            let after = After::Discard(HsmError::BadSignature { key }.to_string());
            (Err(SignFault::BadSignature { key }), after)
        }
        Err(CallFault { fault, after }) => (Err(fault), after),
    }
}

fn sick(what: &str, census: &Census) -> Vec<String> {
    let mut troubles = Vec::new();
    if census.usable < census.wanted {
        let Census { usable, wanted, .. } = census;
        let why = census.trouble.as_deref().unwrap_or("they are being opened");
        troubles.push(format!("{usable} of {wanted} {what} sessions usable: {why}"));
    }
    if census.stuck > 0 {
        let stuck = census.stuck;
        troubles.push(format!("{stuck} {what} calls are stuck past their deadline"));
    }
    troubles
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
