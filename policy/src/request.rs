//! Who asks for what: understood, not yet judged.

use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};

use crate::id::{CallerId, Digest, KeyId, RequestId};
use crate::ledger::Slot;
use crate::tx::{Malformed, UnsignedTx};

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
}

/// The bytes a [`Signable`] is decoded from, as they came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    /// An unsigned EIP-2718 preimage.
    Transaction(Vec<u8>),
}

impl Request {
    /// Decodes the input, strictly, and computes its digest: never taken from the caller.
    pub fn decode(asker: Asker, input: &Input) -> Result<Self, Malformed> {
        let Input::Transaction(preimage) = input;
        let tx = UnsignedTx::decode(preimage)?;
        let digest = tx.signing_hash();
        Ok(Self { asker, signable: Signable::Transaction(Box::new(tx)), digest })
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

    /// The decoded transaction.
    pub fn transaction(&self) -> &UnsignedTx {
        let Signable::Transaction(tx) = &self.signable;
        tx
    }

    /// Of all requests that share this, at most one can take effect.
    pub fn slot(&self) -> Slot {
        let tx = self.transaction();
        Slot { key: self.asker.key, chain: tx.chain(), nonce: tx.nonce() }
    }

    /// The bytes that were decoded. Decoding is strict, so these are the bytes that came.
    pub fn input(&self) -> Input {
        Input::Transaction(self.transaction().preimage())
    }
}

/// SHA-256, which names attachments.
pub fn sha256(bytes: &[u8]) -> B256 {
    use sha2::Digest as _;
    B256::from_slice(&sha2::Sha256::digest(bytes))
}
