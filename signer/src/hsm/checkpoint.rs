//! The key that signs checkpoints: made here, found here, and good for nothing else.
//!
//! Its `CKA_ID` is longer than a wallet key's, so that nothing which looks for wallet keys can take
//! it for one.

use alloy_primitives::B128;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use portcullis_policy::note::{Note, NoteKey, NoteSignature};
use portcullis_policy::state::CheckpointKey;

use super::Hsm;
use super::drift::Drift;
use super::error::{CheckpointFault, HsmError};
use super::keeper::{Repeat, manage};
use super::keys::{self, TokenKey};
use super::module::Inside;
use super::quirks::point_bytes;
use super::session::{Purpose, c_sign, insist_on_login};
use super::verdict::Verdict;
use crate::sequencer::DurableRoot;
use crate::snapshot::Folded;

/// What checkpoints are signed with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CheckpointKind {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA on P-256 with SHA-256, for tokens without Ed25519.
    P256,
}

impl Hsm {
    /// What this token can sign checkpoints with.
    ///
    /// # Errors
    ///
    /// Nothing that we know.
    pub fn checkpoint_kind(&self) -> Result<CheckpointKind, HsmError> {
        let kind = CheckpointKind::of(self.token.mechanisms());
        kind.ok_or(HsmError::Checkpoint(CheckpointFault::Mechanism))
    }

    /// Generates a key for checkpoints in the token, as closed as a wallet key, and proves it.
    ///
    /// # Errors
    ///
    /// It came out wrong, and is destroyed again. After [`HsmError::TimedOut`] it may exist.
    pub async fn create_checkpoint_key(
        &self,
        object: B128,
        kind: CheckpointKind,
    ) -> Result<NoteKey, HsmError> {
        let chore = move |inside: &Inside<'_>| create(inside.session, &object, kind);
        manage(&self.attesting, Repeat::IfNotBegun, chore).await
    }

    /// Signs what the journal durably is, and verifies the answer against the pinned key.
    ///
    /// # Errors
    ///
    /// The token could not be asked, or would not, or has another key there.
    pub async fn sign_checkpoint(
        &self,
        root: DurableRoot,
        key: CheckpointKey,
    ) -> Result<Note, HsmError> {
        manage(&self.attesting, Repeat::Harmless, move |inside| sign(inside, &root, &key)).await
    }

    /// Signs what the journal comes to, and verifies the answer against the pinned key.
    ///
    /// # Errors
    ///
    /// As [`Hsm::sign_checkpoint`].
    pub async fn sign_snapshot(
        &self,
        folded: Folded,
        key: CheckpointKey,
    ) -> Result<Vec<u8>, HsmError> {
        let chore = move |inside: &Inside<'_>| {
            let purpose = Purpose::Snapshot(&folded, CheckpointKind::of_key(&key.key));
            attested(inside, &key, &purpose)
        };
        manage(&self.attesting, Repeat::Harmless, chore).await
    }

    /// Has the token sign a constant with a checkpoint key: whatever else claims to be the vault's,
    /// this token has the private half of it.
    ///
    /// # Errors
    ///
    /// The token could not be asked, or would not, or has another key there.
    pub async fn prove_checkpoint_key(&self, key: CheckpointKey) -> Result<ProvenKey, HsmError> {
        let chore = move |inside: &Inside<'_>| {
            let purpose = Purpose::CheckpointTest(CheckpointKind::of_key(&key.key));
            signed(inside.session, find(inside, &key)?, &key.key, &purpose)?;
            Ok(ProvenKey(key.key.clone()))
        };
        manage(&self.attesting, Repeat::Harmless, chore).await
    }
}

/// A key for checkpoints that the token has just signed with.
///
/// Made only by [`Hsm::prove_checkpoint_key`]. A public object would prove nothing: PKCS#11 lets
/// whoever reaches the token make one without the PIN (v2.40, section 2.4 of the usage guide:
/// public sessions may write public objects).
#[derive(Debug)]
pub struct ProvenKey(NoteKey);

impl ProvenKey {
    /// The key.
    pub fn key(&self) -> &NoteKey {
        &self.0
    }

    /// As if a token had.
    #[cfg(test)]
    pub(crate) fn assume(key: NoteKey) -> Self {
        Self(key)
    }
}

/// The `CKA_ID` of a checkpoint key.
pub fn checkpoint_id(object: &B128) -> Vec<u8> {
    [PREFIX, object.as_slice()].concat()
}

/// Whether it can be one.
pub(super) fn is_id(id: &[u8]) -> bool {
    id.strip_prefix(PREFIX).is_some_and(|object| object.len() == B128::len_bytes())
}

impl CheckpointKind {
    /// The better one that a token offers.
    pub(super) fn of(mechanisms: &[MechanismType]) -> Option<Self> {
        let offers = |wanted: &[MechanismType]| wanted.iter().all(|one| mechanisms.contains(one));
        if offers(&[MechanismType::ECC_EDWARDS_KEY_PAIR_GEN, MechanismType::EDDSA]) {
            return Some(Self::Ed25519);
        }
        offers(&[MechanismType::ECC_KEY_PAIR_GEN, MechanismType::ECDSA]).then_some(Self::P256)
    }

    fn of_key(key: &NoteKey) -> Self {
        match key {
            NoteKey::Ed25519(_) => Self::Ed25519,
            NoteKey::P256(_) => Self::P256,
        }
    }

    fn params(self) -> &'static [u8] {
        match self {
            Self::Ed25519 => &ED25519,
            Self::P256 => &P256,
        }
    }

    /// What the token is asked for; P-256 over a hash, because not every token hashes.
    pub(super) fn mechanism(self) -> Mechanism<'static> {
        match self {
            Self::Ed25519 => Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure)),
            Self::P256 => Mechanism::Ecdsa,
        }
    }

    fn generation(self) -> (Mechanism<'static>, KeyType) {
        match self {
            Self::Ed25519 => (Mechanism::EccEdwardsKeyPairGen, KeyType::EC_EDWARDS),
            Self::P256 => (Mechanism::EccKeyPairGen, KeyType::EC),
        }
    }

    fn key(self, point: &[u8]) -> Option<NoteKey> {
        match self {
            Self::Ed25519 => NoteKey::ed25519(point_bytes(point, 32)?).ok(),
            Self::P256 => NoteKey::p256(point_bytes(point, 65)?).ok(),
        }
    }
}

/// Makes the key, and has it sign a text that is no checkpoint.
///
/// # Errors
///
/// It came out otherwise than asked, or does not sign: it is destroyed again then.
fn create(session: &Session, object: &B128, kind: CheckpointKind) -> Result<NoteKey, HsmError> {
    insist_on_login(session)?;
    let fault = |source| HsmError::Checkpoint(CheckpointFault::Token(source));
    let (mechanism, key_type) = kind.generation();
    let templates = [
        keys::public_template(key_type, kind.params(), &checkpoint_id(object), LABEL).to_vec(),
        keys::private_template(key_type, &checkpoint_id(object), LABEL).to_vec(),
    ];
    let made = keys::generate(session, &mechanism, &templates);
    let (public, private) = made.map_err(fault)?;
    prove(session, kind, public, private).inspect_err(|_| {
        for made in [private, public] {
            if let Err(error) = session.destroy_object(made) {
                tracing::error!(%error, "a checkpoint key that came out wrong is still there");
            }
        }
    })
}

fn prove(
    session: &Session,
    kind: CheckpointKind,
    public: ObjectHandle,
    private: ObjectHandle,
) -> Result<NoteKey, HsmError> {
    let drift = drift(&keys::read(session, private)?);
    if !drift.is_empty() {
        return Err(HsmError::Checkpoint(CheckpointFault::Drifted(drift)));
    }
    let point = keys::ec_point(session, public).map_err(HsmError::Read)?;
    let key = point.and_then(|point| kind.key(&point));
    let key = key.ok_or(HsmError::Checkpoint(CheckpointFault::Point))?;
    signed(session, private, &key, &Purpose::CheckpointTest(kind))?;
    Ok(key)
}

/// Signs what the journal durably is.
///
/// # Errors
///
/// The key is not there, or more than once; or the token would not sign, or signed something else.
fn sign(inside: &Inside<'_>, root: &DurableRoot, key: &CheckpointKey) -> Result<Note, HsmError> {
    let checkpoint = root.checkpoint();
    let purpose = Purpose::Checkpoint(root, CheckpointKind::of_key(&key.key));
    let bytes = attested(inside, key, &purpose)?;
    let name = checkpoint.origin.clone();
    let signature = NoteSignature { id: key.key.id(&name), name, bytes };
    Ok(Note { text: checkpoint.text(), signatures: vec![signature] })
}

/// One signature with the vault's key.
fn attested(
    inside: &Inside<'_>,
    key: &CheckpointKey,
    purpose: &Purpose<'_>,
) -> Result<Vec<u8>, HsmError> {
    let once = || signed(inside.session, find(inside, key)?, &key.key, purpose);
    once().or_else(|error| {
        // Nobody knows whether the handle is still the key's.
        inside.checkpoint_key.set(None);
        if error.verdict() == Verdict::FindAgain { once() } else { Err(error) }
    })
}

/// Where the session found the key before, or finds it now.
fn find(inside: &Inside<'_>, key: &CheckpointKey) -> Result<ObjectHandle, HsmError> {
    let known = inside.checkpoint_key.get().filter(|(object, _)| *object == key.object);
    if let Some((_, handle)) = known {
        return Ok(handle);
    }
    let Inside { session, .. } = inside;
    insist_on_login(session)?;
    let template =
        [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Id(checkpoint_id(&key.object))];
    let found = session.find_objects(&template).map_err(HsmError::Read)?;
    let [private] = *found.as_slice() else {
        insist_on_login(session)?;
        return Err(HsmError::Checkpoint(CheckpointFault::Objects(found.len())));
    };
    inside.checkpoint_key.set(Some((key.object, private)));
    Ok(private)
}

/// One signature as notes have it, verified.
fn signed(
    session: &Session,
    private: ObjectHandle,
    key: &NoteKey,
    purpose: &Purpose<'_>,
) -> Result<Vec<u8>, HsmError> {
    let raw = c_sign(session, private, purpose);
    let raw = raw.map_err(|source| HsmError::Checkpoint(CheckpointFault::Token(source)))?;
    let bytes = key.encoded(&raw);
    let bytes = bytes.filter(|bytes| key.verifies(&purpose.text(), bytes));
    bytes.ok_or(HsmError::Checkpoint(CheckpointFault::Signature))
}

/// How an object differs from a checkpoint key as we make it: its curve is proved by what it signs.
pub(super) fn drift(found: &TokenKey) -> Vec<Drift> {
    let differs = |drift: &&Drift| !matches!(drift, Drift::NotSecp256k1 | Drift::ForeignId);
    found.drift.iter().filter(differs).copied().collect()
}

/// A text that is no checkpoint, now or ever: those have three lines and begin with their origin,
/// `portcullis/`. Nor is it what is signed of a snapshot, which begins with `portcullis snapshot`.
/// The same for every vault.
pub(super) const TEST_TEXT: &str = "portcullis checkpoint key self-test v1\n";

const PREFIX: &[u8] = b"ckpt";
const LABEL: &[u8] = b"portcullis-checkpoint";

/// DER of the object identifier 1.3.101.112 (RFC 8410).
const ED25519: [u8; 5] = [0x06, 0x03, 0x2b, 0x65, 0x70];

/// DER of the object identifier 1.2.840.10045.3.1.7.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
