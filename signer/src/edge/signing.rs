//! The signing service: translates between the wire and the pipeline. Holds no rule.

use std::sync::Arc;

use alloy_primitives::Address;
use portcullis_policy::id::{KeyId, RequestId};
use portcullis_policy::stops::Subject;
use portcullis_proto::v1::signing_service_server::SigningService;
use portcullis_proto::v1::{
    ListSigningKeysRequest, ListSigningKeysResponse, Parked, SignRequest, SignResponse,
    SignStreamRequest, SignStreamResponse, Signed, SigningKey, sign_request, sign_response,
    sign_stream_response,
};
use tokio::sync::{Semaphore, mpsc};
use tonic::{Request, Response, Status, Streaming};

use super::peer::Peer;
use super::release::{GatedStream, Outgoing, refused};
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
    /// What the caller calls the request.
    pub request: RequestId,
    /// The key.
    pub key: KeyId,
    /// The address the caller believes it has.
    pub expected: Address,
    /// The unsigned preimage.
    pub transaction: Vec<u8>,
}

/// Serves callers.
pub struct Signing {
    pipeline: Arc<Pipeline>,
    sequencer: Sequencer,
}

impl Signing {
    /// Joins the parts.
    pub fn new(pipeline: Arc<Pipeline>, sequencer: Sequencer) -> Self {
        Self { pipeline, sequencer }
    }
}

#[tonic::async_trait]
impl SigningService for Signing {
    type SignStreamStream = GatedStream;

    async fn sign(&self, request: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        let raw = raw(peer(&request)?.identity().name(), request.into_inner())?;
        let answered = self.pipeline.clone().sign(raw).await?;
        let (answer, ticket) = answer(answered);
        let mut response = Response::new(answer);
        if let Some(ticket) = ticket {
            response.extensions_mut().insert(ticket);
        }
        Ok(response)
    }

    async fn sign_stream(
        &self,
        request: Request<Streaming<SignStreamRequest>>,
    ) -> Result<Response<GatedStream>, Status> {
        let peer = peer(&request)?;
        let (answers, outgoing) = mpsc::channel(STREAM_IN_FLIGHT_MAX);
        let pump = pump(self.pipeline.clone(), peer, request.into_inner(), answers);
        tokio::spawn(pump);
        Ok(Response::new(GatedStream(outgoing)))
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
                }
            })
            .collect();
        keys.sort_by(|left, right| left.label.cmp(&right.label));
        Ok(Response::new(ListSigningKeysResponse { keys }))
    }
}

/// Reads a stream's requests and works on them side by side, so many at once. Ends when the caller
/// ends the stream, hangs up, is cut off, or when the connection drains.
async fn pump(
    pipeline: Arc<Pipeline>,
    peer: Arc<Peer>,
    mut requests: Streaming<SignStreamRequest>,
    answers: mpsc::Sender<Outgoing>,
) {
    let places = Arc::new(Semaphore::new(STREAM_IN_FLIGHT_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let message = tokio::select! {
            message = requests.message() => message,
            () = peer.draining() => return,
        };
        let Ok(Some(message)) = message else { return };
        // A stream outlives many checks of the certificate: each request is one.
        if !peer.is_valid_now(crate::clock::wall_time()) {
            return;
        }
        let (pipeline, answers, peer) = (pipeline.clone(), answers.clone(), peer.clone());
        tokio::spawn(async move {
            let outgoing = answer_one(pipeline, &peer, message).await;
            drop(answers.send(outgoing).await);
            drop(place);
        });
    }
}

async fn answer_one(pipeline: Arc<Pipeline>, peer: &Peer, message: SignStreamRequest) -> Outgoing {
    let correlation_id = message.correlation_id;
    let missing = || Refusal::BadField { field: "request", problem: "is missing".into() };
    let raw = message.request.ok_or_else(missing);
    let raw = raw.and_then(|request| raw_request(peer.identity().name(), request));
    let answered = match raw {
        Ok(raw) => pipeline.sign(raw).await,
        Err(refusal) => Err(refusal),
    };
    match answered {
        Ok(answered) => {
            let (answer, ticket) = answer(answered);
            let result = Some(sign_stream_response::Result::Response(answer));
            Outgoing { message: SignStreamResponse { correlation_id, result }, ticket }
        }
        Err(refusal) => Outgoing { message: refused(correlation_id, refusal), ticket: None },
    }
}

/// The authenticated other end. The accept loop puts one into every request.
pub fn peer<T>(request: &Request<T>) -> Result<Arc<Peer>, Status> {
    let peer = request.extensions().get::<Arc<Peer>>();
    peer.cloned().ok_or_else(|| Status::internal("a request without a peer"))
}

fn raw(peer: &str, request: SignRequest) -> Result<RawRequest, Status> {
    Ok(raw_request(peer, request)?)
}

fn raw_request(peer: &str, request: SignRequest) -> Result<RawRequest, Refusal> {
    let bad = |field, problem: &str| Refusal::BadField { field, problem: problem.into() };
    let id = request.request_id.parse();
    let id = id.map_err(|error| Refusal::bad_name("request_id", &error))?;
    let key = request.key_id.parse().map_err(|error| Refusal::bad_name("key_id", &error))?;
    let expected = Address::try_from(&request.expected_address[..]);
    let expected = expected.map_err(|_| bad("expected_address", "must be 20 bytes"))?;
    let transaction = match request.input {
        Some(sign_request::Input::Transaction(transaction)) => transaction,
        Some(sign_request::Input::TypedData(_)) => {
            return Err(bad("typed_data", "is not signed by this version"));
        }
        Some(sign_request::Input::Message(_)) => {
            return Err(bad("message", "is not signed by this version"));
        }
        None => return Err(bad("input", "is missing: send the unsigned transaction")),
    };
    Ok(RawRequest { peer: peer.to_owned(), request: id, key, expected, transaction })
}

fn answer(answered: Answered) -> (SignResponse, Option<Arc<Ticket>>) {
    match answered {
        Answered::Signed(recorded) => {
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
    let raw = recorded.request().transaction().signed_bytes(r, s, parity);
    Signed {
        signature: [&r[..], &s[..], &[u8::from(parity)]].concat(),
        transaction_hash: alloy_primitives::keccak256(&raw).to_vec(),
        raw_transaction: raw,
        digest: recorded.request().digest().to_vec(),
        sequence: recorded.sequence().0,
        leaf_hash: recorded.leaf().to_vec(),
        receipt: None,
    }
}

/// Requests of one stream under way at once. A stream that sends more is read more slowly.
const STREAM_IN_FLIGHT_MAX: usize = 256;
