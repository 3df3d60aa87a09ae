//! An alloy signer whose key is in the HSM. It works wherever alloy takes a
//! [`TxSigner`], for instance in an `EthereumWallet`.
//!
//! It signs transactions and nothing else: a bare hash is never sent, so there is no `Signer`
//! here, only [`TxSigner`].

use alloy_consensus::SignableTransaction;
use alloy_network::TxSigner;
use alloy_primitives::{Address, ChainId, Signature, hex, keccak256};
use async_trait::async_trait;

use crate::client::{Answer, Client, Parked};
use crate::error::SignError;
use crate::key::KeyRef;
use crate::request_id::{InvalidRequestId, RequestId};

/// One key of the service as an alloy signer.
///
/// Signing the same transaction again is the same request: after a [`AlloyError::Parked`], do so to
/// collect the signature.
///
/// ```no_run
/// use alloy_network::EthereumWallet;
/// use portcullis_client::{Client, ClientConfig, PortcullisSigner};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let config = ClientConfig::new("https://signer.internal:7443", "ca.pem", "me.pem", "me.key");
/// let client = Client::connect(&config).await?;
/// let address = "0x9858EfFD232B4033E47d90003D41EC34EcaEda94".parse()?;
/// let signer = PortcullisSigner::for_address(client, address).await?;
/// let wallet = EthereumWallet::from(signer.with_chain_id(Some(1)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PortcullisSigner {
    client: Client,
    key: KeyRef,
    chain_id: Option<ChainId>,
}

/// What alloy's error carries inside when there is no signature. Downcast
/// `alloy_signer::Error::Other` to tell waiting from refusal.
#[derive(Debug, thiserror::Error)]
pub enum AlloyError {
    /// There is no signature.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The request waits for people. Sign the same transaction again to collect the signature.
    #[error("parked as {} until approved: {}", .0.parked_id, .0.missing.join(", "))]
    Parked(Parked),
    /// The service lists no key with this address for us.
    #[error("no key with address {address} is ours to use")]
    NoSuchKey {
        /// The address asked for.
        address: Address,
    },
    /// The request id made from key and digest is not valid.
    #[error(transparent)]
    RequestId(#[from] InvalidRequestId),
}

impl PortcullisSigner {
    /// A signer with a known key. A signature by any other address is refused.
    pub fn new(client: Client, key: KeyRef) -> Self {
        Self { client, key, chain_id: None }
    }

    /// A signer with the key that the service lists for `address`.
    ///
    /// # Errors
    ///
    /// The service cannot be asked, or lists no such key.
    pub async fn for_address(client: Client, address: Address) -> Result<Self, AlloyError> {
        let listed = client.list_keys().await?;
        let found = listed.into_iter().find(|listed| listed.key.address == address);
        let key = found.ok_or(AlloyError::NoSuchKey { address })?.key;
        Ok(Self::new(client, key))
    }

    /// Binds the signer to a chain: a transaction without a chain id gets this one, and one with
    /// another is refused. Unbound, a transaction must carry its own.
    #[must_use]
    pub fn with_chain_id(mut self, chain_id: Option<ChainId>) -> Self {
        self.chain_id = chain_id;
        self
    }

    async fn sign(&self, preimage: &[u8]) -> Result<Signature, AlloyError> {
        let request_id = self.request_id(preimage)?;
        match self.client.sign_transaction(&self.key, &request_id, preimage).await? {
            Answer::Signed(signed) => Ok(signed.signature),
            Answer::Parked(parked) => Err(AlloyError::Parked(parked)),
        }
    }

    /// The same for the same key and transaction, so that asking again is the same request.
    fn request_id(&self, preimage: &[u8]) -> Result<RequestId, InvalidRequestId> {
        let named = [self.key.id.to_string().as_bytes(), keccak256(preimage).as_slice()].concat();
        let digest = hex::encode(keccak256(named));
        format!("alloy-{}", digest.get(..48).unwrap_or_default()).parse()
    }
}

#[async_trait]
impl TxSigner<Signature> for PortcullisSigner {
    fn address(&self) -> Address {
        self.key.address
    }

    async fn sign_transaction(
        &self,
        tx: &mut dyn SignableTransaction<Signature>,
    ) -> alloy_signer::Result<Signature> {
        if let Some(signer) = self.chain_id
            && !tx.set_chain_id_checked(signer)
        {
            let tx = tx.chain_id().unwrap_or_default();
            return Err(alloy_signer::Error::TransactionChainIdMismatch { signer, tx });
        }
        let preimage = tx.encoded_for_signing();
        self.sign(&preimage).await.map_err(alloy_signer::Error::other)
    }
}
