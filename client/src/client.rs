//! The data plane's client: ask for a signature, get one that has been checked.

use std::fmt;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, Signature, eip191_hash_message, keccak256};
use portcullis_proto::v1;
use portcullis_proto::v1::sign_request::Input;
use portcullis_proto::v1::signing_service_client::SigningServiceClient;
use tonic::transport::Channel;

use crate::config::ClientConfig;
use crate::error::{ConnectError, SignError};
use crate::key::KeyRef;
use crate::request_id::{RequestId, RequestIds};
use crate::stream::SignStream;
use crate::transport::{OpenError, Transport};
use crate::verify::{self, UntrustedReply};

/// A connection to the signing service. Cheap to clone; clones share the connection.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) transport: Transport,
    pub(crate) service: SigningServiceClient<Channel>,
    ids: Arc<RequestIds>,
}

impl Client {
    /// Connects with mutual TLS. A connection that is lost later is opened anew by the next call.
    ///
    /// # Errors
    ///
    /// The configuration cannot be used, or the service cannot be reached. A client certificate
    /// that the service refuses shows up only at the first call; see the crate's documentation.
    pub async fn connect(config: &ClientConfig) -> Result<Self, ConnectError> {
        let transport = Transport::open(config).await?;
        let service = SigningServiceClient::new(transport.channel.clone());
        Ok(Self { transport, service, ids: Arc::new(RequestIds::new()?) })
    }

    /// An id that no other request has. Keep it for as long as you may ask again.
    pub fn new_request_id(&self) -> RequestId {
        self.ids.unique()
    }

    /// Asks for a signature over the unsigned EIP-2718 preimage of a transaction.
    ///
    /// A signed answer has been checked: see [`SignedTransaction`]. Asking again with the same
    /// arguments is the same request and is charged once.
    ///
    /// # Errors
    ///
    /// The service refused, could not be reached, or sent a reply that failed a check.
    pub async fn sign_transaction(
        &self,
        key: &KeyRef,
        request_id: &RequestId,
        preimage: &[u8],
    ) -> Result<Answer, SignError> {
        let request = self.transport.request(sign_request(key, request_id, preimage));
        let reply = self.service.clone().sign(request).await;
        let reply = reply.map_err(|status| self.transport.error(&status))?;
        Ok(verify::answer(key.address, preimage, reply.into_inner())?)
    }

    /// Asks for a signature over EIP-712 typed data: the JSON of `eth_signTypedData_v4`.
    ///
    /// `digest` is what our own library computed of the same data: a signature over anything else
    /// is not handed on.
    ///
    /// # Errors
    ///
    /// As [`Client::sign_transaction`].
    pub async fn sign_typed_data(
        &self,
        key: &KeyRef,
        request_id: &RequestId,
        json: &str,
        digest: B256,
    ) -> Result<Answer<SignedDigest>, SignError> {
        let input = Input::TypedData(v1::TypedData { json: json.to_owned() });
        self.sign_digest(key, request_id, input, digest).await
    }

    /// Asks for a signature over an EIP-191 message (`personal_sign`), given without its prefix.
    ///
    /// # Errors
    ///
    /// As [`Client::sign_transaction`].
    pub async fn sign_message(
        &self,
        key: &KeyRef,
        request_id: &RequestId,
        text: &[u8],
    ) -> Result<Answer<SignedDigest>, SignError> {
        let input = Input::Message(v1::Message { text: text.to_vec() });
        self.sign_digest(key, request_id, input, eip191_hash_message(text)).await
    }

    /// Asks for a signature over an EIP-7702 authorization: 0x05 and the RLP list of chain id,
    /// address and nonce.
    ///
    /// # Errors
    ///
    /// As [`Client::sign_transaction`].
    pub async fn sign_authorization(
        &self,
        key: &KeyRef,
        request_id: &RequestId,
        preimage: &[u8],
    ) -> Result<Answer<SignedDigest>, SignError> {
        let input = Input::Authorization(preimage.to_vec());
        self.sign_digest(key, request_id, input, keccak256(preimage)).await
    }

    async fn sign_digest(
        &self,
        key: &KeyRef,
        request_id: &RequestId,
        input: Input,
        digest: B256,
    ) -> Result<Answer<SignedDigest>, SignError> {
        let request = self.transport.request(request_for(key, request_id, input));
        let reply = self.service.clone().sign(request).await;
        let reply = reply.map_err(|status| self.transport.error(&status))?;
        Ok(verify::digest_answer(key.address, digest, reply.into_inner())?)
    }

    /// Opens a stream with at most `in_flight_max` requests unanswered; zero counts as one.
    ///
    /// # Errors
    ///
    /// The service refused, or could not be reached.
    pub async fn sign_stream(&self, in_flight_max: usize) -> Result<SignStream, SignError> {
        SignStream::open(&self.transport, self.service.clone(), in_flight_max).await
    }

    /// The keys that the book in force lets us use, in order of label.
    ///
    /// # Errors
    ///
    /// The service refused, could not be reached, or listed something that is no key.
    pub async fn list_keys(&self) -> Result<Vec<ListedKey>, SignError> {
        let request = self.transport.request(v1::ListSigningKeysRequest {});
        let reply = self.service.clone().list_signing_keys(request).await;
        let reply = reply.map_err(|status| self.transport.error(&status))?;
        let keys = reply.into_inner().keys.into_iter().map(ListedKey::try_from);
        Ok(keys.collect::<Result<_, _>>()?)
    }
}

/// A bare channel with the same mutual TLS and keep-alive as [`Client`]'s, for a program that
/// speaks the wire itself and checks replies itself: a load generator, a proxy.
///
/// # Errors
///
/// As [`Client::connect`].
pub async fn channel(config: &ClientConfig) -> Result<Channel, ConnectError> {
    Ok(Transport::open(config).await?.channel)
}

impl From<OpenError> for ConnectError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Config(error) => Self::Config(error),
            OpenError::Unreachable(error) => Self::Unreachable(error),
        }
    }
}

/// What became of a request that was not refused.
#[derive(Clone, Debug)]
pub enum Answer<S = SignedTransaction> {
    /// Signed and recorded.
    Signed(S),
    /// Waits for people. Ask again with the same request to collect the signature.
    Parked(Parked),
}

/// A signed transaction that was checked: the signature is by the expected address, low s, over
/// our own digest of our own bytes, and the raw transaction is those bytes with it in place.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct SignedTransaction {
    /// The signature.
    pub signature: Signature,
    /// The signed EIP-2718 transaction, ready to broadcast.
    pub raw_transaction: Bytes,
    /// Its hash.
    pub transaction_hash: B256,
    /// The digest that was signed. Reconcile by this: asking again may give another signature, and
    /// so another transaction hash, for the same digest.
    pub digest: B256,
    /// Sequence number of the journal record, as the service says.
    pub sequence: u64,
    /// RFC 6962 leaf hash of that record, as the service says.
    pub leaf_hash: B256,
}

/// A signature that was checked: by the expected address, low s, over our own digest.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct SignedDigest {
    /// The signature.
    pub signature: Signature,
    /// The digest that was signed.
    pub digest: B256,
    /// Sequence number of the journal record, as the service says.
    pub sequence: u64,
    /// RFC 6962 leaf hash of that record, as the service says.
    pub leaf_hash: B256,
}

impl fmt::Debug for SignedDigest {
    /// Without the signature: logs are read by more people.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = out.debug_struct("SignedDigest");
        fields.field("digest", &self.digest).field("sequence", &self.sequence);
        fields.finish_non_exhaustive()
    }
}

impl fmt::Debug for SignedTransaction {
    /// Names the transaction without giving it away: logs are read by more people.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = out.debug_struct("SignedTransaction");
        fields.field("digest", &self.digest).field("sequence", &self.sequence);
        fields.finish_non_exhaustive()
    }
}

/// A request that waits for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parked {
    /// Names the parked request in approvals.
    pub parked_id: String,
    /// What is missing, in the words of the book: "2 of treasury".
    pub missing: Vec<String>,
    /// When it expires, milliseconds since 1970-01-01 UTC.
    pub expires_at_ms: u64,
    /// Sequence number of the journal record that parked it.
    pub sequence: u64,
}

/// A key we may use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListedKey {
    /// Its id and address, as the service says: compare the address with what you know.
    pub key: KeyRef,
    /// The name the book uses.
    pub label: String,
    /// Whether a stop covers it now.
    pub frozen: bool,
    /// Labels of keys whose place it takes: they are drained to it, or were before they ended.
    pub replaces: Vec<String>,
}

impl TryFrom<v1::SigningKey> for ListedKey {
    type Error = UntrustedReply;

    fn try_from(listed: v1::SigningKey) -> Result<Self, Self::Error> {
        let malformed = |part| UntrustedReply::Malformed { part };
        let id = listed.key_id.parse().map_err(|_| malformed("key id"))?;
        let address = Address::try_from(listed.address.as_slice());
        let address = address.map_err(|_| malformed("address"))?;
        let key = KeyRef { id, address };
        let v1::SigningKey { label, frozen, replaces, .. } = listed;
        Ok(Self { key, label, frozen, replaces })
    }
}

pub(crate) fn sign_request(
    key: &KeyRef,
    request_id: &RequestId,
    preimage: &[u8],
) -> v1::SignRequest {
    request_for(key, request_id, Input::Transaction(preimage.to_vec()))
}

fn request_for(key: &KeyRef, request_id: &RequestId, input: Input) -> v1::SignRequest {
    v1::SignRequest {
        request_id: request_id.as_str().to_owned(),
        key_id: key.id.to_string(),
        expected_address: key.address.to_vec(),
        want_receipt: false,
        input: Some(input),
    }
}
