//! Makes wallet keys in the token, and says of every key there how it differs from those.
//!
//! Never imports, copies or changes a key, and destroys only one that it has just made and that
//! came out wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use portcullis_policy::id::{KeyId, KeyLabel};

use super::checkpoint;
use super::drift::{self, Drift, SECP256K1};
use super::error::{HsmError, SignFault};
use super::quirks::{self, CopyVerdict};
use super::session::{Purpose, c_sign, find_private, insist_on_login, self_test_digest};
use super::verdict::Verdict;
use crate::signature::{PublicPoint, RawSignature, verify_and_recover};

/// A private key on the token, ours or not.
#[derive(Debug)]
pub struct TokenKey {
    /// Its `CKA_ID`, if that is one of ours by length.
    pub id: Option<KeyId>,
    /// Its `CKA_ID` as it is.
    pub raw_id: Vec<u8>,
    /// Its `CKA_LABEL`; what is not UTF-8 is replaced. Anyone with the PIN can change it.
    pub label: String,
    /// Everything in which it differs from a key that [`create`] makes.
    pub drift: Vec<Drift>,
    /// From its public object, if there is exactly one and it can be understood. Not proof of
    /// anything: the pinned point is the truth.
    pub point: Option<Arc<PublicPoint>>,
}

/// Generates a key in the token, reads it back, and has it sign the self-test constant.
///
/// # Errors
///
/// The id is taken; or the key came out otherwise than asked or does not sign: then it is destroyed
/// again, since nobody can have come to rely on it.
pub(super) fn create(
    session: &Session,
    id: &KeyId,
    label: &KeyLabel,
) -> Result<PublicPoint, HsmError> {
    insist_on_login(session)?;
    let same_id = session.find_objects(&[Attribute::Id(id.bytes().to_vec())]);
    if !same_id.map_err(HsmError::Read)?.is_empty() {
        return Err(HsmError::KeyExists { key: *id });
    }
    let name = label.as_str().as_bytes();
    let templates = [
        public_template(KeyType::EC, &SECP256K1, id.bytes(), name).to_vec(),
        private_template(KeyType::EC, id.bytes(), name).to_vec(),
    ];
    let (public, private) = generate(session, &Mechanism::EccKeyPairGen, &templates)
        .map_err(|source| HsmError::Generate { key: *id, source })?;
    prove(session, id, public, private).inspect_err(|_| {
        for object in [private, public] {
            if let Err(error) = session.destroy_object(object) {
                tracing::error!(key = %id, %error, "a key that came out wrong is still there");
            }
        }
    })
}

/// With templates that leave nothing open; or, where the token refuses these as such, with what
/// every token must know of them. What it then chose itself is read back all the same.
pub(super) fn generate(
    session: &Session,
    mechanism: &Mechanism<'_>,
    [public, private]: &[Vec<Attribute>; 2],
) -> Result<(ObjectHandle, ObjectHandle), Error> {
    match session.generate_key_pair(mechanism, public, private) {
        Err(error) if quirks::refuses_the_template(&error) => {
            let [public, private] = [public, private].map(|full| quirks::lean(full));
            session.generate_key_pair(mechanism, &public, &private)
        }
        made => made,
    }
}

/// Every private key on the token.
///
/// # Errors
///
/// The token cannot be read, or the login was lost meanwhile: an empty list is never a guess. A
/// single key that cannot be read, `again` in a fresh session, is listed as [`Drift::Unreadable`].
pub(super) fn inspect(session: &Session, again: bool) -> Result<Vec<TokenKey>, HsmError> {
    insist_on_login(session)?;
    let private = [Attribute::Class(ObjectClass::PRIVATE_KEY)];
    let handles = session.find_objects(&private).map_err(HsmError::Read)?;
    let mut keys = Vec::with_capacity(handles.len());
    for handle in handles {
        match read(session, handle) {
            Ok(key) => keys.push(key),
            Err(error) if !again && error.verdict() != Verdict::Refused => return Err(error),
            // While the session goes on, it is this object's.
            Err(_) => {
                insist_on_login(session)?;
                keys.push(TokenKey::unreadable());
            }
        }
    }
    insist_on_login(session)?;
    let mut times: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for key in &keys {
        let count = times.entry(key.raw_id.clone()).or_default();
        *count = count.saturating_add(1);
    }
    for key in &mut keys {
        if times.get(&key.raw_id).is_some_and(|count| *count > 1) {
            key.drift.push(Drift::Duplicate);
        }
    }
    Ok(keys)
}

/// Every usage is named, so that no token's default decides: only SIGN is true.
///
/// MODIFIABLE stays true on purpose. False would freeze the flags for good, but then `CKA_SIGN`
/// could not be cleared either, and a fence that stops every process holding a handle is worth more
/// than a flag that the PIN's holder could not turn on: what matters most (SENSITIVE, EXTRACTABLE,
/// COPYABLE) the standard lets nobody weaken, and the rest is read again and again as drift.
pub(super) fn private_template(key_type: KeyType, id: &[u8], label: &[u8]) -> [Attribute; 16] {
    [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(key_type),
        Attribute::Id(id.to_vec()),
        Attribute::Label(label.to_vec()),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Copyable(false),
        Attribute::Modifiable(true),
        Attribute::Sign(true),
        Attribute::SignRecover(false),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
        Attribute::WrapWithTrusted(true),
    ]
}

pub(super) fn public_template(
    key_type: KeyType,
    curve: &[u8],
    id: &[u8],
    label: &[u8],
) -> [Attribute; 12] {
    [
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(key_type),
        Attribute::EcParams(curve.to_vec()),
        Attribute::Id(id.to_vec()),
        Attribute::Label(label.to_vec()),
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::VerifyRecover(false),
        Attribute::Encrypt(false),
        Attribute::Wrap(false),
        Attribute::Derive(false),
    ]
}

fn prove(
    session: &Session,
    id: &KeyId,
    public: ObjectHandle,
    private: ObjectHandle,
) -> Result<PublicPoint, HsmError> {
    let key = read(session, private)?;
    if !key.drift.is_empty() {
        return Err(HsmError::Drifted { key: *id, drift: key.drift });
    }
    let point = ec_point(session, public).map_err(HsmError::Read)?;
    let point = point.ok_or(HsmError::PointMissing { key: *id })?;
    let point = quirks::ec_point(&point).map_err(|source| HsmError::Point { key: *id, source })?;
    let failed = |source| HsmError::SelfTest { key: *id, source };
    let raw = c_sign(session, private, &Purpose::SelfTest)
        .map_err(|source| HsmError::Sign { key: *id, source })?;
    let raw = RawSignature::from_slice(&raw)
        .ok_or_else(|| failed(SignFault::BadSignature { key: *id }))?;
    verify_and_recover(&point, &self_test_digest(), &raw)
        .map_err(|_| failed(SignFault::BadSignature { key: *id }))?;
    match find_private(session, id).map_err(HsmError::Read)?.as_slice() {
        [_] => Ok(point),
        _ => Err(HsmError::Drifted { key: *id, drift: vec![Drift::Duplicate] }),
    }
}

pub(super) fn read(session: &Session, handle: ObjectHandle) -> Result<TokenKey, HsmError> {
    let attributes = match session.get_attributes(handle, &drift::READ) {
        Ok(attributes) => attributes,
        Err(source @ Error::Pkcs11(..)) => return Err(HsmError::Read(source)),
        // The object holds something that the binding does not understand.
        Err(_) => return Ok(TokenKey::unreadable()),
    };
    let mut drift = drift::of(&attributes, || {
        matches!(quirks::try_copy(session, handle), CopyVerdict::Refused)
    });
    let raw_id = attributes.iter().find_map(|attribute| {
        if let Attribute::Id(id) = attribute { Some(id.clone()) } else { None }
    });
    let raw_id = raw_id.unwrap_or_default();
    let label = attributes.iter().find_map(|attribute| {
        let Attribute::Label(label) = attribute else { return None };
        Some(String::from_utf8_lossy(label).into_owned())
    });
    let label = label.unwrap_or_default();
    let id = <[u8; 16]>::try_from(raw_id.as_slice()).ok().map(KeyId::from_bytes);
    if id.is_none() {
        drift.push(Drift::ForeignId);
    }
    let point = public_point(session, &raw_id).map_err(HsmError::Read)?;
    Ok(TokenKey { id, raw_id, label, drift, point })
}

impl TokenKey {
    /// Whether it is a key for checkpoints, of this vault or another, by its id and its curve: it
    /// cannot sign for an account.
    pub fn signs_checkpoints(&self) -> bool {
        checkpoint::is_id(&self.raw_id) && self.drift.contains(&Drift::NotSecp256k1)
    }

    /// How it differs from a checkpoint key as we make it.
    pub fn drift_of_checkpoints(&self) -> Vec<Drift> {
        checkpoint::drift(self)
    }

    /// Whether the token will not sign with it.
    pub fn is_fenced(&self) -> bool {
        self.drift.contains(&Drift::Fenced)
    }

    fn unreadable() -> Self {
        let drift = vec![Drift::Unreadable];
        Self { id: None, raw_id: Vec::new(), label: String::new(), drift, point: None }
    }
}

fn public_point(session: &Session, raw_id: &[u8]) -> Result<Option<Arc<PublicPoint>>, Error> {
    let id = Attribute::Id(raw_id.to_vec());
    let found = session.find_objects(&[Attribute::Class(ObjectClass::PUBLIC_KEY), id])?;
    let [public] = found.as_slice() else { return Ok(None) };
    let point = ec_point(session, *public)?;
    Ok(point.and_then(|point| quirks::ec_point(&point).ok()).map(Arc::new))
}

pub(super) fn ec_point(session: &Session, public: ObjectHandle) -> Result<Option<Vec<u8>>, Error> {
    let attributes = session.get_attributes(public, &[AttributeType::EcPoint])?;
    Ok(attributes.into_iter().find_map(|attribute| {
        if let Attribute::EcPoint(point) = attribute { Some(point) } else { None }
    }))
}
