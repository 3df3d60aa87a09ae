//! The signing service: translates between the wire and the pipeline. Holds no rule.

use std::sync::Arc;

use alloy_primitives::Address;
use portcullis_policy::id::{KeyId, RequestId, Sequence};
use portcullis_policy::record::{Party, Withdrawn};
use portcullis_policy::request::Input;
use portcullis_policy::stops::Subject;
use portcullis_proto::v1::signing_service_server::SigningService;
use portcullis_proto::v1::{
    GetReceiptRequest, GetReceiptResponse, ListSigningKeysRequest, ListSigningKeysResponse, Parked,
    SignRequest, SignResponse, SignStreamRequest, Signed, SigningKey, WatchRequestRequest,
    WithdrawRequestRequest, WithdrawRequestResponse, sign_request, sign_response,
};
use tonic::{Request, Response, Status, Streaming};

use super::approvals;
use super::outbound::Held;
use super::peer::Peer;
use super::places::Places;
use super::receipts::{Proved, Receipts};
use super::sign_stream::{self, Answers, Caller};
use super::waiting::{self, Waits};
use crate::clock::Deadline;
use crate::gate::Ticket;
use crate::pipeline::{Answered, Pipeline};
use crate::refusal::Refusal;
use crate::roster;
use crate::sequencer::{Recorded, Sequencer};

/// A request as it came: a verified certificate's name and well-formed fields. Nothing is known yet
/// of what either may do.
#[derive(Debug)]
pub struct RawRequest {
    /// The name in the certificate.
    pub peer: String,
    /// When the caller stops waiting: past it, nothing is charged any more.
    pub deadline: Option<Deadline>,
    /// What the caller calls the request.
    pub request: RequestId,
    /// The key.
    pub key: KeyId,
    /// The address the caller believes it has.
    pub expected: Address,
    /// What to sign.
    pub input: Input,
}

/// Serves callers.
pub struct Signing {
    pipeline: Arc<Pipeline>,
    sequencer: Sequencer,
    receipts: Receipts,
    under_way: Places,
    streams: Places,
    watches: Places,
}

impl Signing {
    /// Joins the parts.
    pub fn new(pipeline: Arc<Pipeline>, sequencer: Sequencer, receipts: Receipts) -> Self {
        let under_way = Places::new(REQUESTS_PER_CALLER_MAX, REQUESTS_MAX);
        let streams = Places::new(STREAMS_PER_CALLER_MAX, STREAMS_MAX);
        let watches = Places::new(WATCHES_PER_CALLER_MAX, WATCHES_MAX);
        Self { pipeline, sequencer, receipts, under_way, streams, watches }
    }
}

#[tonic::async_trait]
impl SigningService for Signing {
    type SignStreamStream = Answers;
    type WatchRequestStream = Waits;

    async fn sign(&self, request: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        let (peer, deadline) = (peer(&request)?, deadline(&request));
        let place = self.under_way.share(peer.identity().name()).try_take();
        let place = place.map_err(|_| Refusal::Overloaded)?;
        let raw = raw_request(peer.identity().name(), deadline, request.into_inner())?;
        let pipeline = self.pipeline.clone();
        // The place belongs to the work, which goes on when the caller hangs up.
        let work =
            tokio::spawn(async move { Ok::<_, Refusal>((pipeline.sign(raw).await?, place)) });
        let (answered, place) = work.await.map_err(|_| Refusal::ShuttingDown)??;
        let (answer, ticket) = answer(answered);
        let mut response = Response::new(answer);
        response.extensions_mut().insert(Held::new(place));
        if let Some(ticket) = ticket {
            response.extensions_mut().insert(ticket);
        }
        Ok(response)
    }

    async fn sign_stream(
        &self,
        request: Request<Streaming<SignStreamRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let (peer, deadline) = (peer(&request)?, deadline(&request));
        let name = peer.identity().name();
        let place = self.streams.share(name).try_take().map_err(|_| Refusal::Overloaded)?;
        let under_way = self.under_way.share(name);
        let caller = Caller { pipeline: self.pipeline.clone(), peer, deadline, under_way };
        Ok(Response::new(sign_stream::begin(caller, request.into_inner(), place)))
    }

    async fn watch_request(
        &self,
        request: Request<WatchRequestRequest>,
    ) -> Result<Response<Waits>, Status> {
        let peer = peer(&request)?;
        let name = peer.identity().name();
        let caller = roster::authenticate(&self.sequencer.view(), name)?.into_caller();
        let place = self.watches.share(name).try_take().map_err(|_| Refusal::Overloaded)?;
        let matter = approvals::parked(&request.into_inner().parked_id)?;
        let waits = waiting::begin(self.sequencer.clone(), caller, matter, place).await?;
        Ok(Response::new(waits))
    }

    async fn withdraw_request(
        &self,
        request: Request<WithdrawRequestRequest>,
    ) -> Result<Response<WithdrawRequestResponse>, Status> {
        let peer = peer(&request)?;
        let view = self.sequencer.view();
        let caller = roster::authenticate(&view, peer.identity().name())?.into_caller();
        let matter = approvals::parked(&request.into_inner().parked_id)?;
        let withdrawn = Withdrawn { by: Party::Caller(caller), matter };
        let sequence = self.sequencer.withdraw(withdrawn).await?.0;
        Ok(Response::new(WithdrawRequestResponse { sequence }))
    }

    async fn get_receipt(
        &self,
        request: Request<GetReceiptRequest>,
    ) -> Result<Response<GetReceiptResponse>, Status> {
        let peer = peer(&request)?;
        let name = peer.identity().name();
        let caller = roster::authenticate(&self.sequencer.view(), name)?.into_caller();
        let at = Sequence(request.into_inner().sequence);
        let Proved { record, receipt } = self.receipts.receipt(name, at, Some(caller)).await?;
        Ok(Response::new(GetReceiptResponse { record, receipt }))
    }

    async fn list_signing_keys(
        &self,
        request: Request<ListSigningKeysRequest>,
    ) -> Result<Response<ListSigningKeysResponse>, Status> {
        let view = self.sequencer.view();
        let caller = roster::authenticate(&view, peer(&request)?.identity().name())?.into_caller();
        let usable = view.keys.iter().filter(|(_, key)| {
            let rules = view.book.rules(&key.label);
            rules.is_some_and(|rules| rules.callers.contains(&caller))
        });
        let mut keys: Vec<SigningKey> = usable
            .map(|(id, key)| {
                let subject = Subject { key: *id, tags: &key.tags, caller: &caller };
                SigningKey {
                    key_id: id.to_string(),
                    label: key.label.to_string(),
                    address: key.address.to_vec(),
                    frozen: view.stops.covering(&subject).is_some(),
                    replaces: view.replaced_by(id).into_iter().map(ToString::to_string).collect(),
                }
            })
            .collect();
        keys.sort_by(|left, right| left.label.cmp(&right.label));
        Ok(Response::new(ListSigningKeysResponse { keys }))
    }
}

/// The authenticated other end. The accept loop puts one into every request.
pub fn peer<T>(request: &Request<T>) -> Result<Arc<Peer>, Status> {
    let peer = request.extensions().get::<Arc<Peer>>();
    peer.cloned().ok_or_else(|| Status::internal("a request without a peer"))
}

fn deadline<T>(request: &Request<T>) -> Option<Deadline> {
    request.extensions().get::<Deadline>().copied()
}

/// A request as it came over the wire from this peer.
pub(super) fn raw_request(
    peer: &str,
    deadline: Option<Deadline>,
    request: SignRequest,
) -> Result<RawRequest, Refusal> {
    let bad = |field, problem: &str| Refusal::BadField { field, problem: problem.into() };
    let id = request.request_id.parse();
    let id = id.map_err(|error| Refusal::bad_name("request_id", &error))?;
    let key = request.key_id.parse().map_err(|error| Refusal::bad_name("key_id", &error))?;
    let expected = Address::try_from(&request.expected_address[..]);
    let expected = expected.map_err(|_| bad("expected_address", "must be 20 bytes"))?;
    let input = match request.input {
        Some(sign_request::Input::Transaction(preimage)) => Input::Transaction(preimage),
        Some(sign_request::Input::TypedData(data)) => Input::Typed(data.json),
        Some(sign_request::Input::Message(message)) => Input::Message(message.text),
        Some(sign_request::Input::Authorization(preimage)) => Input::Delegation(preimage),
        None => {
            let problem = "is missing: send a transaction, typed data, a message or an \
                           authorization";
            return Err(bad("input", problem));
        }
    };
    Ok(RawRequest { peer: peer.to_owned(), deadline, request: id, key, expected, input })
}

/// The answer, and the ticket of the signature in it.
pub(super) fn answer(answered: Answered) -> (SignResponse, Option<Arc<Ticket>>) {
    match answered {
        Answered::Signed(covered) => {
            let recorded = covered.into_recorded();
            let answer = sign_response::Answer::Signed(signed(&recorded));
            let ticket = recorded.into_ticket();
            (SignResponse { answer: Some(answer) }, Some(ticket))
        }
        Answered::Parked(parked) => {
            let answer = sign_response::Answer::Parked(Parked {
                parked_id: parked.parked,
                missing: parked.missing,
                expires_at_ms: parked.expires_ms,
                sequence: parked.sequence.0,
            });
            (SignResponse { answer: Some(answer) }, None)
        }
    }
}

fn signed(recorded: &Recorded) -> Signed {
    let signature = recorded.signature();
    let (r, s, parity) = (signature.r(), signature.s(), signature.y_parity());
    let transaction = recorded.request().transaction();
    let raw = transaction.map(|tx| tx.signed_bytes(r, s, parity));
    let hash = raw.as_ref().map(|raw| alloy_primitives::keccak256(raw).to_vec());
    Signed {
        signature: [&r[..], &s[..], &[u8::from(parity)]].concat(),
        transaction_hash: hash.unwrap_or_default(),
        raw_transaction: raw.unwrap_or_default(),
        digest: recorded.request().digest().to_vec(),
        sequence: recorded.sequence().0,
        leaf_hash: recorded.leaf().to_vec(),
        receipt: None,
    }
}

/// Requests of one caller under way or unread at once, over all its connections and streams: what
/// it can make us hold. A stream above it is read no further; a unary call is told to come back.
const REQUESTS_PER_CALLER_MAX: usize = 512;

/// The same of all callers.
const REQUESTS_MAX: usize = 4_096;

/// Streams of one caller: each may hold one request that waits for its place.
const STREAMS_PER_CALLER_MAX: usize = 64;

/// The same of all callers.
const STREAMS_MAX: usize = 1_024;

/// Parked requests that one caller follows at once, and all callers together.
const WATCHES_PER_CALLER_MAX: usize = 64;
const WATCHES_MAX: usize = 512;
