//! A session that signs; the one call of `C_Sign` in this crate.
//!
//! Signs for a [`Purpose`], never for bytes: nobody who holds a digest alone gets a signature.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::keccak256;
use cryptoki::context::Function;
use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, SessionState};
use portcullis_policy::id::{Digest, KeyId};
use portcullis_policy::request::sha256;
use zeroize::Zeroizing;

use super::checkpoint::{self, CheckpointKind};
use super::error::{HsmError, SignFault, chain};
use super::module::Held;
use super::pool::{After, Turn};
use super::token::{Access, Token};
use super::verdict::{self, Verdict};
use crate::sequencer::{DurableRoot, Reserved};
use crate::signature::RawSignature;
use crate::snapshot::Folded;

/// What may be signed, and with which key. Closed: there is no variant for a bare digest.
pub(super) enum Purpose<'a> {
    /// What the sequencer permitted.
    Permitted(&'a Reserved),
    /// A constant that is no transaction.
    SelfTest,
    /// What the journal durably is, with the checkpoint key.
    Checkpoint(&'a DurableRoot, CheckpointKind),
    /// What the journal comes to, with the same key.
    Snapshot(&'a Folded, CheckpointKind),
    /// A constant that is no checkpoint, with a checkpoint key that was just made.
    CheckpointTest(CheckpointKind),
}

impl Purpose<'_> {
    /// What a signature stands for: a digest, or a text.
    pub(super) fn text(&self) -> Vec<u8> {
        match self {
            Self::Permitted(reserved) => reserved.digest().to_vec(),
            Self::SelfTest => self_test_digest().to_vec(),
            Self::Checkpoint(root, _) => root.checkpoint().text().into_bytes(),
            Self::Snapshot(folded, _) => folded.text().into_bytes(),
            Self::CheckpointTest(_) => checkpoint::TEST_TEXT.into(),
        }
    }

    /// What the token is asked to do, and to what.
    fn order(&self) -> (Mechanism<'static>, Vec<u8>) {
        let text = self.text();
        match self {
            Self::Permitted(_) | Self::SelfTest => (Mechanism::Ecdsa, text),
            Self::Checkpoint(_, kind) | Self::Snapshot(_, kind) | Self::CheckpointTest(kind) => {
                let data = match kind {
                    CheckpointKind::Ed25519 => text,
                    CheckpointKind::P256 => sha256(&text).to_vec(),
                };
                (kind.mechanism(), data)
            }
        }
    }
}

/// Keccak-256 over a text that is no transaction and no message, now or ever: EIP-2718 reserves the
/// first byte 0xff, and EIP-191 begins with 0x19. The same for every vault.
pub(super) fn self_test_digest() -> Digest {
    keccak256(b"\xffportcullis self-test v1")
}

/// A session and the keys it has found. One that breaks is replaced in the middle of a request,
/// once: what a token forgets in between costs nobody a signature.
pub(super) struct SigningSession {
    token: Arc<Token>,
    held: Held,
    handles: BTreeMap<KeyId, ObjectHandle>,
}

/// A failed call: what the request is told, and what becomes of the session.
pub(super) struct CallFault {
    pub(super) fault: SignFault,
    pub(super) after: After,
}

impl CallFault {
    fn keep(fault: SignFault) -> Self {
        Self { fault, after: After::Keep }
    }

    fn discard(error: &HsmError) -> Self {
        Self { fault: SignFault::Unavailable, after: After::Discard(chain(error)) }
    }
}

/// A try that failed: what may help, and what the request is told if nothing does.
struct Miss {
    verdict: Verdict,
    told: CallFault,
}

impl Miss {
    /// Nothing helps.
    fn for_good(fault: SignFault) -> Self {
        Self { verdict: Verdict::Refused, told: CallFault::keep(fault) }
    }
}

impl From<HsmError> for Miss {
    fn from(error: HsmError) -> Self {
        // Whoever finds the door shut has not asked its session, which may be good after it.
        let told = if matches!(error, HsmError::Reloading) {
            CallFault::keep(SignFault::Unavailable)
        } else {
            CallFault::discard(&error)
        };
        Self { verdict: error.verdict(), told }
    }
}

impl SigningSession {
    /// # Errors
    ///
    /// No session to be had.
    pub(super) fn open(token: Arc<Token>) -> Result<Self, HsmError> {
        let held = token.open(Access::Sign)?;
        Ok(Self { token, held, handles: BTreeMap::new() })
    }

    /// Asks the token for what the sequencer permitted, unverified.
    pub(super) fn sign(
        &mut self,
        reserved: &Reserved,
        turn: &Turn,
    ) -> Result<RawSignature, CallFault> {
        self.sign_with(*reserved.key(), &Purpose::Permitted(reserved), turn)
    }

    /// Asks the token for the constant, unverified.
    pub(super) fn self_test(
        &mut self,
        key: &KeyId,
        turn: &Turn,
    ) -> Result<RawSignature, CallFault> {
        self.sign_with(*key, &Purpose::SelfTest, turn)
    }

    /// At most twice. The second signature is of the same digest under the same charge, so that
    /// nothing is lost if the first was made all the same. Once given up, the charge is too.
    fn sign_with(
        &mut self,
        key: KeyId,
        purpose: &Purpose<'_>,
        turn: &Turn,
    ) -> Result<RawSignature, CallFault> {
        let signed = match self.try_once(key, purpose, turn) {
            Ok(signed) => signed,
            Err(miss) if turn.is_over() => return Err(miss.told),
            Err(miss) => {
                self.mend(key, miss)?;
                self.try_once(key, purpose, turn).map_err(|miss| miss.told)?
            }
        };
        self.token.works();
        RawSignature::from_slice(&signed).ok_or_else(|| CallFault {
            fault: SignFault::BadSignature { key },
            after: After::Discard(HsmError::BadSignature { key }.to_string()),
        })
    }

    /// Does what may help a second try, or says why there is none.
    fn mend(&mut self, key: KeyId, miss: Miss) -> Result<(), CallFault> {
        match miss.verdict {
            Verdict::FindAgain => {
                self.handles.remove(&key);
                Ok(())
            }
            Verdict::NewSession | Verdict::LogIn | Verdict::Gone | Verdict::Reload => {
                self.handles.clear();
                let fresh = self.token.open(Access::Sign);
                self.held = fresh.map_err(|error| CallFault::discard(&error))?;
                Ok(())
            }
            Verdict::Fine | Verdict::Refused | Verdict::Later | Verdict::Pin | Verdict::Unclear => {
                Err(miss.told)
            }
        }
    }

    fn try_once(
        &mut self,
        key: KeyId,
        purpose: &Purpose<'_>,
        turn: &Turn,
    ) -> Result<Zeroizing<Vec<u8>>, Miss> {
        let Self { held, handles, .. } = self;
        let inside = held.enter_for(turn)?;
        let handle = find(inside.session, handles, key)?;
        inside.still_wanted()?;
        c_sign(inside.session, handle, purpose).map_err(|error| judge(key, error))
    }
}

fn find(
    session: &Session,
    handles: &mut BTreeMap<KeyId, ObjectHandle>,
    key: KeyId,
) -> Result<ObjectHandle, Miss> {
    if let Some(handle) = handles.get(&key) {
        return Ok(*handle);
    }
    match *search(session, &key)?.as_slice() {
        [handle] => {
            handles.insert(key, handle);
            Ok(handle)
        }
        [] => Err(Miss::for_good(SignFault::KeyMissing { key })),
        [_, _, ..] => Err(Miss::for_good(SignFault::KeyAmbiguous { key })),
    }
}

/// A session that lost its login sees no private keys at all, and another thread may renew the
/// login at any moment. So finding nothing proves nothing, unless the login stood before and after.
fn search(session: &Session, key: &KeyId) -> Result<Vec<ObjectHandle>, HsmError> {
    let found = find_private(session, key).map_err(HsmError::Read)?;
    if !found.is_empty() {
        return Ok(found);
    }
    insist_on_login(session)?;
    let found = find_private(session, key).map_err(HsmError::Read)?;
    insist_on_login(session)?;
    Ok(found)
}

/// After a failed `C_Sign` an operation may still be active in the session, and every later
/// `C_SignInit` in it would fail (CKR_OPERATION_ACTIVE): it is not used again. A `C_SignInit`
/// refused because of the *key* leaves none, and must not let one bad key wear out sessions that
/// serve all others.
fn judge(key: KeyId, error: Error) -> Miss {
    let (fenced, why) = (verdict::is_fenced(&error), verdict::why(&error));
    let began = !matches!(error, Error::Pkcs11(_, Function::SignInit));
    let error = HsmError::Sign { key, source: error };
    let verdict = error.verdict();
    let mut told = CallFault::discard(&error);
    // A fence does what it should, and a stop under load would fill the log with it.
    if !fenced {
        tracing::warn!(error = chain(&error), ?verdict, why, "the token did not sign");
    }
    if verdict == Verdict::Refused {
        told.fault =
            if fenced { SignFault::KeyFenced { key } } else { SignFault::KeyRefused { key } };
    }
    if !began && matches!(verdict, Verdict::Refused | Verdict::FindAgain) {
        told.after = After::Keep;
    }
    Miss { verdict, told }
}

/// Passes if the session sees private keys.
pub(super) fn insist_on_login(session: &Session) -> Result<(), HsmError> {
    let info = session.get_session_info().map_err(HsmError::Session)?;
    match info.session_state() {
        SessionState::RoUser | SessionState::RwUser => Ok(()),
        SessionState::RoPublic | SessionState::RwPublic | SessionState::RwSecurityOfficer => {
            Err(HsmError::LoginLost)
        }
    }
}

/// The private keys of this id. One, if all is well.
pub(super) fn find_private(session: &Session, key: &KeyId) -> Result<Vec<ObjectHandle>, Error> {
    let id = Attribute::Id(key.bytes().to_vec());
    session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY), id])
}

/// Signs; unverified, and wiped when it is dropped.
#[expect(clippy::disallowed_methods, reason = "the one call site of C_Sign")]
pub(super) fn c_sign(
    session: &Session,
    key: ObjectHandle,
    purpose: &Purpose<'_>,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let (mechanism, data) = purpose.order();
    let answer = session.sign(&mechanism, key, &data)?;
    Ok(Zeroizing::new(answer))
}
