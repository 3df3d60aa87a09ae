//! The token without the signer: PKCS#11 calls on sessions of our own, for probes and for the raw
//! rate that the signer is measured against.

use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

/// secp256k1, 1.3.132.0.10, in DER.
const SECP256K1: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];

/// Everything about a private key that is true or false and that invariant 1 speaks of.
const FLAGS: [AttributeType; 14] = [
    AttributeType::Token,
    AttributeType::Private,
    AttributeType::Sensitive,
    AttributeType::AlwaysSensitive,
    AttributeType::Extractable,
    AttributeType::NeverExtractable,
    AttributeType::Local,
    AttributeType::Copyable,
    AttributeType::Sign,
    AttributeType::SignRecover,
    AttributeType::Decrypt,
    AttributeType::Unwrap,
    AttributeType::Derive,
    AttributeType::Modifiable,
];

/// The token refused, or holds not what was looked for.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// PKCS#11 said no.
    #[error("PKCS#11 refused")]
    Pkcs11(#[from] cryptoki::error::Error),
    /// No token of that label.
    #[error("there is no token labelled {label}")]
    NoToken {
        /// The label looked for.
        label: String,
    },
    /// No key of that label.
    #[error("there is no such key labelled {label}")]
    NoKey {
        /// The label looked for.
        label: String,
    },
    /// The private key's value was not given.
    #[error("the value was not given")]
    NoValue,
    /// The public key has no point.
    #[error("the public key has no uncompressed point")]
    NoPoint,
}

/// A module with its token. One per process: PKCS#11 is initialised once.
#[derive(Debug)]
pub struct RawToken {
    module: Pkcs11,
    slot: Slot,
    pin: AuthPin,
}

/// A logged-in session of its own. One thread at a time.
#[derive(Debug)]
pub struct RawSession(Session);

/// A private key found in a token.
#[derive(Clone, Copy, Debug)]
pub struct RawKey(ObjectHandle);

impl RawToken {
    /// Loads and initialises a module and finds the token.
    pub fn open(module: &Path, label: &str, pin: &str) -> Result<Self, RawError> {
        let module = Pkcs11::new(module)?;
        module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
        for slot in module.get_slots_with_initialized_token()? {
            if module.get_token_info(slot)?.label() == label {
                return Ok(Self { module, slot, pin: AuthPin::new(pin.into()) });
            }
        }
        Err(RawError::NoToken { label: label.to_owned() })
    }

    /// A new session, logged in.
    pub fn session(&self) -> Result<RawSession, RawError> {
        let session = self.module.open_rw_session(self.slot)?;
        match session.login(UserType::User, Some(&self.pin)) {
            Ok(())
            | Err(cryptoki::error::Error::Pkcs11(
                cryptoki::error::RvError::UserAlreadyLoggedIn,
                _,
            )) => Ok(RawSession(session)),
            Err(error) => Err(error.into()),
        }
    }
}

impl RawSession {
    /// Makes a key pair that stays in the token, unless `extractable`; gives its point, 65 bytes.
    pub fn generate(&self, label: &str, extractable: bool) -> Result<Vec<u8>, RawError> {
        let id = alloy_primitives::keccak256(label)[..16].to_vec();
        let name = Attribute::Label(label.as_bytes().to_vec());
        let public = [
            Attribute::Token(true),
            Attribute::EcParams(SECP256K1.to_vec()),
            Attribute::Id(id.clone()),
            name.clone(),
        ];
        let private = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(!extractable),
            Attribute::Extractable(extractable),
            Attribute::Copyable(extractable),
            Attribute::Sign(true),
            Attribute::SignRecover(false),
            Attribute::Decrypt(false),
            Attribute::Unwrap(false),
            Attribute::Derive(false),
            Attribute::Id(id),
            name,
        ];
        self.0.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)?;
        self.point(label)
    }

    /// What the token says of the private key of this label, as `Sign(true) Derive(false) ..`; an
    /// attribute that it does not know is left out.
    pub fn flags(&self, label: &str) -> Result<String, RawError> {
        let key = self.find(ObjectClass::PRIVATE_KEY, label)?;
        let attributes = self.0.get_attributes(key, &FLAGS)?;
        let words: Vec<String> = attributes.iter().map(|flag| format!("{flag:?}")).collect();
        Ok(words.join(" "))
    }

    /// The point of the public key of this label, 65 bytes, whether the token wraps it or not.
    pub fn point(&self, label: &str) -> Result<Vec<u8>, RawError> {
        let key = self.find(ObjectClass::PUBLIC_KEY, label)?;
        let attributes = self.0.get_attributes(key, &[AttributeType::EcPoint])?;
        match attributes.as_slice() {
            [Attribute::EcPoint(der)] if der.len() == 67 => Ok(der[2..].to_vec()),
            [Attribute::EcPoint(point)] if point.len() == 65 => Ok(point.clone()),
            _ => Err(RawError::NoPoint),
        }
    }

    /// The length of `CKA_EC_POINT` as the token reports it.
    pub fn reported_point_bytes(&self, label: &str) -> Result<usize, RawError> {
        let key = self.find(ObjectClass::PUBLIC_KEY, label)?;
        let attributes = self.0.get_attributes(key, &[AttributeType::EcPoint])?;
        match attributes.as_slice() {
            [Attribute::EcPoint(point)] => Ok(point.len()),
            _ => Err(RawError::NoPoint),
        }
    }

    /// The private key of this label.
    pub fn key(&self, label: &str) -> Result<RawKey, RawError> {
        self.find(ObjectClass::PRIVATE_KEY, label).map(RawKey)
    }

    /// Signs a digest: r and s, 32 bytes each, s as the token gave it.
    pub fn sign(&self, key: RawKey, digest: &[u8; 32]) -> Result<Vec<u8>, RawError> {
        Ok(self.0.sign(&Mechanism::Ecdsa, key.0, digest)?)
    }

    /// Tries to read the private key's value.
    pub fn read_out(&self, key: RawKey) -> Result<Vec<u8>, RawError> {
        match self.0.get_attributes(key.0, &[AttributeType::Value])?.as_slice() {
            [Attribute::Value(value)] => Ok(value.clone()),
            _ => Err(RawError::NoValue),
        }
    }

    /// Tries to wrap the private key under an AES key made for that.
    pub fn wrap_out(&self, key: RawKey) -> Result<Vec<u8>, RawError> {
        let template =
            [Attribute::Token(false), Attribute::ValueLen(32.into()), Attribute::Wrap(true)];
        let wrapping = self.0.generate_key(&Mechanism::AesKeyGen, &template)?;
        Ok(self.0.wrap_key(&Mechanism::AesKeyWrapPad, wrapping, key.0)?)
    }

    /// Tries to copy the private key into one that may leave.
    pub fn copy_out(&self, key: RawKey) -> Result<(), RawError> {
        let template = [Attribute::Sensitive(false), Attribute::Extractable(true)];
        self.0.copy_object(key.0, &template)?;
        Ok(())
    }

    /// Tries to copy the private key as it is.
    pub fn copy(&self, key: RawKey) -> Result<(), RawError> {
        self.0.copy_object(key.0, &[Attribute::Token(true)])?;
        Ok(())
    }

    /// Sets `CKA_SIGN`: what whoever has the PIN can do.
    pub fn let_sign(&self, key: RawKey, may: bool) -> Result<(), RawError> {
        Ok(self.0.update_attributes(key.0, &[Attribute::Sign(may)])?)
    }

    /// Destroys the key pair of this label.
    pub fn destroy(&self, label: &str) -> Result<(), RawError> {
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
            self.0.destroy_object(self.find(class, label)?)?;
        }
        Ok(())
    }

    fn find(&self, class: ObjectClass, label: &str) -> Result<ObjectHandle, RawError> {
        let template = [Attribute::Class(class), Attribute::Label(label.as_bytes().to_vec())];
        let found = self.0.find_objects(&template)?;
        found.first().copied().ok_or_else(|| RawError::NoKey { label: label.to_owned() })
    }
}
