//! Who asks for what: understood, not yet judged.

use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};

use crate::effect::permit_deadline;
use crate::id::{CallerId, ChainId, Digest, KeyId, RequestId};
use crate::ledger::{Place, Slot};
use crate::message::{MessageFault, SignIn};
use crate::time::Millis;
use crate::tx::{Delegation, Malformed, UnsignedTx};
use crate::typed::{TypedData, TypedFault};

/// One request for a signature.
#[derive(Clone, Debug)]
pub struct Request {
    asker: Asker,
    signable: Signable,
    digest: Digest,
}

/// Who asks, with which key, under which name.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asker {
    /// The authenticated service.
    pub caller: CallerId,
    /// The address the caller believes the key has.
    pub expected: Address,
    /// The key's immutable id.
    pub key: KeyId,
    /// What the caller calls this request.
    pub request: RequestId,
}

/// What can be signed. Closed: a bare digest is not in it.
#[derive(Clone, Debug)]
pub enum Signable {
    /// An unsigned transaction.
    Transaction(Box<UnsignedTx>),
    /// EIP-712 typed data that names its chain.
    Typed(Box<TypedData>),
    /// A message of EIP-4361.
    Message(Box<SignIn>),
    /// An EIP-7702 authorization by itself.
    Delegation(Delegation),
}

/// The bytes a [`Signable`] is decoded from, as they came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    /// An unsigned EIP-2718 preimage.
    Transaction(Vec<u8>),
    /// The JSON of EIP-712 typed data.
    Typed(String),
    /// The text of an EIP-191 message, without its prefix.
    Message(Vec<u8>),
    /// The preimage of an EIP-7702 authorization.
    Delegation(Vec<u8>),
}

/// An input that is not understood, and so not signed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unreadable {
    /// Of a transaction or an authorization.
    #[error(transparent)]
    Bytes(#[from] Malformed),
    /// Of typed data.
    #[error(transparent)]
    Typed(#[from] TypedFault),
    /// A signature that would be good on every chain.
    #[error("domain: chainId is missing: the signature would be good on every chain")]
    TypedWithoutChain,
    /// Of a message.
    #[error(transparent)]
    Message(#[from] MessageFault),
}

impl Unreadable {
    /// The stable reason, as in `ErrorInfo.reason`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Bytes(malformed) => malformed.code(),
            Self::Typed(fault) => fault.code(),
            Self::TypedWithoutChain => "TYPED_DATA_WITHOUT_CHAIN",
            Self::Message(fault) => fault.code(),
        }
    }
}

impl Input {
    /// How many bytes came.
    pub fn size(&self) -> usize {
        match self {
            Self::Transaction(bytes) | Self::Message(bytes) | Self::Delegation(bytes) => {
                bytes.len()
            }
            Self::Typed(text) => text.len(),
        }
    }
}

impl Request {
    /// Decodes the input, strictly, and computes its digest: never taken from the caller.
    ///
    /// # Errors
    ///
    /// Why it is not understood.
    pub fn decode(asker: Asker, input: &Input) -> Result<Self, Unreadable> {
        let (signable, digest) = match input {
            Input::Transaction(preimage) => {
                let tx = UnsignedTx::decode(preimage)?;
                let digest = tx.signing_hash();
                (Signable::Transaction(Box::new(tx)), digest)
            }
            Input::Typed(text) => {
                let data = TypedData::decode(text)?;
                if data.domain().chain.is_none() {
                    return Err(Unreadable::TypedWithoutChain);
                }
                let digest = data.digest();
                (Signable::Typed(Box::new(data)), digest)
            }
            Input::Message(text) => {
                let message = SignIn::decode(text)?;
                let digest = message.digest();
                (Signable::Message(Box::new(message)), digest)
            }
            Input::Delegation(preimage) => {
                let delegation = Delegation::decode(preimage)?;
                (Signable::Delegation(delegation), delegation.signing_hash())
            }
        };
        Ok(Self { asker, signable, digest })
    }

    /// Who asks, with which key.
    pub fn asker(&self) -> &Asker {
        &self.asker
    }

    /// What for.
    pub fn signable(&self) -> &Signable {
        &self.signable
    }

    /// What will be signed.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The transaction, if it is one.
    pub fn transaction(&self) -> Option<&UnsignedTx> {
        if let Signable::Transaction(tx) = &self.signable { Some(tx) } else { None }
    }

    /// The only chain on which the signature is good.
    pub fn chain(&self) -> ChainId {
        match &self.signable {
            Signable::Transaction(tx) => tx.chain(),
            // Decoding refuses typed data without one.
            Signable::Typed(data) => data.domain().chain.unwrap_or_default(),
            Signable::Message(message) => message.chain(),
            Signable::Delegation(delegation) => delegation.chain(),
        }
    }

    /// Of all requests that share this, at most one can take effect.
    pub fn slot(&self) -> Slot {
        let place = match &self.signable {
            Signable::Transaction(tx) => Place::Nonce(tx.nonce()),
            Signable::Delegation(delegation) => Place::Nonce(delegation.nonce()),
            // Nonces of contracts are not known here: each may take effect beside all others.
            Signable::Typed(_) | Signable::Message(_) => Place::Digest(self.digest),
        };
        Slot { key: self.asker.key, chain: self.chain(), place }
    }

    /// From when on typed data can surely not be used, if its type has a deadline that is known
    /// here. Beyond 2^53 it is as good as none.
    pub fn ends(&self) -> Option<Millis> {
        let Signable::Typed(data) = &self.signable else { return None };
        let field = permit_deadline(data.primary().text())??;
        let deadline = u64::try_from(data.field(field)?.as_uint()?).ok()?;
        // It is good in the whole of its last second.
        let ends = deadline.checked_add(1)?.checked_mul(1_000)?;
        (ends < 1 << 53).then_some(Millis(ends))
    }

    /// The bytes that were decoded. Decoding is strict, so these are the bytes that came.
    pub fn input(&self) -> Input {
        match &self.signable {
            Signable::Transaction(tx) => Input::Transaction(tx.preimage()),
            Signable::Typed(data) => Input::Typed(data.text().to_owned()),
            Signable::Message(message) => Input::Message(message.text().as_bytes().to_vec()),
            Signable::Delegation(delegation) => Input::Delegation(delegation.preimage()),
        }
    }
}

/// SHA-256, which names attachments.
pub fn sha256(bytes: &[u8]) -> B256 {
    use sha2::Digest as _;
    B256::from_slice(&sha2::Sha256::digest(bytes))
}
