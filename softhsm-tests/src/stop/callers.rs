//! Callers: one request after another, many on a stream, and streams whose reader is slow and has
//! a window so small that what is signed for it waits in the signer. Every signature is verified.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::keccak256;
use portcullis_client::ClientConfig;
use portcullis_proto::v1::sign_request::Input;
use portcullis_proto::v1::sign_stream_response::Result as StreamResult;
use portcullis_proto::v1::signing_service_client::SigningServiceClient;
use portcullis_proto::v1::{SignRequest, SignResponse, SignStreamRequest};
use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt as _;

use super::ground::{Ground, Place};
use super::history::{self, Call, End, Moment, Subject};
use super::read::REQUEST;
use crate::dial::Dial;
use crate::load::ReplyFault;
use crate::world::Failure;

/// One caller.
pub struct Caller {
    /// What it shares with everybody.
    pub ground: Arc<Ground>,
    /// Its certificate. The endpoint is wherever the signer is.
    pub config: ClientConfig,
    /// Its name.
    pub name: Arc<str>,
    /// Which of the keys it uses.
    pub keys: Range<usize>,
    /// How fast it asks.
    pub pace: Pace,
    /// Of what it does.
    pub chance: StdRng,
    /// What it asked of late, and may ask again.
    recent: VecDeque<(usize, u32)>,
}

/// How fast a caller asks, in milliseconds.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Between an answer and the next request; empty: at once.
    pub between: Range<u64>,
    /// After a refusal.
    pub refused: Range<u64>,
}

/// How a stream is read.
#[derive(Clone, Copy, Debug)]
pub enum Reader {
    /// As fast as answers come, with a window of the usual size.
    Quick,
    /// With long pauses, and a window that one or two answers fill.
    Slow,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    key: usize,
    nonce: u32,
    request: history::Request,
}

impl Caller {
    /// A caller that has asked for nothing yet.
    pub fn new(
        ground: &Arc<Ground>,
        (name, config): (&str, &ClientConfig),
        pace: &Pace,
        chance: StdRng,
    ) -> Self {
        let (ground, keys) = (ground.clone(), 0..ground.keys.len());
        let (name, config, pace) = (name.into(), config.clone(), pace.clone());
        Self { ground, config, name, keys, pace, chance, recent: VecDeque::new() }
    }

    /// Asks for one signature after another until everything is over.
    ///
    /// # Errors
    ///
    /// An answer that holds something else than the signature that was asked for.
    pub async fn unary(mut self) -> Result<(), ReplyFault> {
        while !self.ground.is_over() {
            let place = self.ground.place();
            let Some(mut client) = self.reach(place, Reader::Quick).await else { continue };
            while !self.ground.is_over() {
                let asked = self.choose();
                let sent = self.ground.clock.now();
                let answering = client.sign(self.request(asked));
                let end = match tokio::time::timeout(PATIENCE, answering).await {
                    Ok(answered) => self.end(asked, answered.map(tonic::Response::into_inner))?,
                    Err(_) => End::Cut { at: None },
                };
                self.note(asked, place, (sent, end));
                if matches!(end, End::Cut { .. }) {
                    break;
                }
                self.rest(end).await;
            }
        }
        Ok(())
    }

    /// Keeps so many requests under way on one stream until everything is over.
    ///
    /// # Errors
    ///
    /// An answer that holds something else than the signature that was asked for.
    pub async fn stream(mut self, in_flight: usize, reader: Reader) -> Result<(), ReplyFault> {
        while !self.ground.is_over() {
            let place = self.ground.place();
            let Some(mut client) = self.reach(place, reader).await else { continue };
            let (requests, outgoing) = mpsc::channel(in_flight);
            let opening = client.sign_stream(ReceiverStream::new(outgoing));
            let Ok(Ok(opened)) = tokio::time::timeout(PATIENCE, opening).await else { continue };
            let mut conversation =
                Conversation { place, requests, waiting: BTreeMap::new(), last: 0, let_go: None };
            let talked = self.talk(opened.into_inner(), &mut conversation, (in_flight, reader));
            let talked = talked.await;
            let end = End::Cut { at: conversation.let_go };
            for (asked, sent) in conversation.waiting.into_values() {
                self.note(asked, place, (sent, end));
            }
            talked?;
        }
        Ok(())
    }

    /// Until the stream breaks, or everything is over and answered.
    async fn talk(
        &mut self,
        mut answers: tonic::Streaming<portcullis_proto::v1::SignStreamResponse>,
        conversation: &mut Conversation,
        (in_flight, reader): (usize, Reader),
    ) -> Result<(), ReplyFault> {
        loop {
            while conversation.waiting.len() < in_flight && !self.ground.is_over() {
                let asked = self.choose();
                let (sent, request) = (self.ground.clock.now(), self.request(asked));
                if !conversation.send(asked, sent, request).await {
                    return Ok(());
                }
            }
            if conversation.waiting.is_empty() {
                return Ok(());
            }
            if matches!(reader, Reader::Slow) {
                self.dawdle().await;
            }
            let message = tokio::time::timeout(PATIENCE, answers.message()).await;
            let Ok(message) = message else { return Ok(()) };
            let Ok(Some(answer)) = message else {
                conversation.let_go = Some(self.ground.clock.now());
                return Ok(());
            };
            let waiting = conversation.waiting.remove(&answer.correlation_id);
            let Some((asked, sent)) = waiting else { return Err(ReplyFault::OtherDigest) };
            let end = match answer.result {
                Some(StreamResult::Response(response)) => self.end(asked, Ok(response))?,
                Some(StreamResult::Status(_)) => End::Refused { at: self.ground.clock.now() },
                None => return Err(ReplyFault::NoSignature),
            };
            self.note(asked, conversation.place, (sent, end));
            self.rest(end).await;
        }
    }

    /// A connection to where the signer was a moment ago. After a pause, nothing, if it is not.
    async fn reach(&self, place: Place, reader: Reader) -> Option<SigningServiceClient<Channel>> {
        let connected = match reader {
            Reader::Quick => {
                let mut config = self.config.clone();
                config.endpoint = format!("https://{}", place.data);
                portcullis_client::channel(&config).await.ok()
            }
            Reader::Slow => self.narrow(place).await.ok(),
        };
        if connected.is_none() {
            tokio::time::sleep(LOST).await;
        }
        connected.map(SigningServiceClient::new)
    }

    async fn narrow(&self, place: Place) -> Result<Channel, Failure> {
        let identity = (&*self.config.certificate, &*self.config.private_key);
        let dial = Dial::new(place.data, &self.config.ca, Some(identity))?;
        let endpoint = Endpoint::try_from(format!("https://{}", place.data))?;
        let endpoint = endpoint.initial_stream_window_size(WINDOW_BYTES);
        Ok(endpoint.connect_with_connector(dial).await?)
    }

    /// Something new, or once more what was asked of late. Each under an id of its own.
    fn choose(&mut self) -> Asked {
        let request = self.ground.next_request();
        if !self.recent.is_empty() && self.chance.random_ratio(1, REPEATED_ONE_IN) {
            let (key, nonce) = self.recent[self.chance.random_range(0..self.recent.len())];
            return Asked { key, nonce, request };
        }
        let key = self.chance.random_range(self.keys.clone());
        let nonce = self.ground.next_nonce();
        self.recent.push_back((key, nonce));
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        Asked { key, nonce, request }
    }

    fn request(&self, Asked { key, nonce, request }: Asked) -> SignRequest {
        let key = &self.ground.keys[key];
        SignRequest {
            request_id: format!("{REQUEST}{}", request.0),
            key_id: key.id.to_string(),
            expected_address: key.judge.address().to_vec(),
            input: Some(Input::Transaction(self.ground.preimages.with_nonce(nonce))),
            want_receipt: false,
        }
    }

    fn end(
        &self,
        Asked { key, nonce, .. }: Asked,
        answered: Result<SignResponse, Status>,
    ) -> Result<End, ReplyFault> {
        let at = self.ground.clock.now();
        match answered {
            Ok(response) => {
                let preimage = self.ground.preimages.with_nonce(nonce);
                let reply = self.ground.keys[key].judge.check(&preimage, response)?;
                Ok(End::Signed { at, sequence: reply.sequence })
            }
            // What the signer itself said names its domain; a lost connection does not.
            Err(status) => {
                let details = status.get_error_details();
                let domain = details.error_info().map(|info| info.domain.as_str());
                let ours = domain == Some(portcullis_proto::ERROR_DOMAIN);
                Ok(if ours { End::Refused { at } } else { End::Cut { at: Some(at) } })
            }
        }
    }

    fn note(&self, Asked { key, nonce, request }: Asked, place: Place, (sent, end): (Moment, End)) {
        let key = self.ground.keys[key].id.clone();
        self.ground.called(Call {
            subject: Subject { caller: self.name.clone(), key },
            life: place.life,
            request,
            digest: keccak256(self.ground.preimages.with_nonce(nonce)),
            sent,
            end,
        });
    }

    async fn rest(&mut self, end: End) {
        let pause = match end {
            End::Signed { .. } => &self.pace.between,
            End::Refused { .. } => &self.pace.refused,
            End::Cut { .. } => return,
        };
        if !pause.is_empty() {
            let pause = self.chance.random_range(pause.clone());
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// Reads nothing for a while; now and then for longer than a thaw takes.
    async fn dawdle(&mut self) {
        let long = self.chance.random_ratio(1, 20);
        let pause = if long { 300..1_500 } else { 0..40 };
        tokio::time::sleep(Duration::from_millis(self.chance.random_range(pause))).await;
    }
}

/// A stream's requests.
struct Conversation {
    place: Place,
    requests: mpsc::Sender<SignStreamRequest>,
    waiting: BTreeMap<u64, (Asked, Moment)>,
    last: u64,
    /// When the signer ended it, if it did.
    let_go: Option<Moment>,
}

impl Conversation {
    /// `false` if the stream takes no more.
    async fn send(&mut self, asked: Asked, sent: Moment, request: SignRequest) -> bool {
        self.last += 1;
        self.waiting.insert(self.last, (asked, sent));
        let request = SignStreamRequest { correlation_id: self.last, request: Some(request) };
        self.requests.send(request).await.is_ok()
    }
}

/// Longer than a stopped process or a hanging token keeps anybody waiting here.
const PATIENCE: Duration = Duration::from_secs(60);

/// Before a lost signer is looked for again.
const LOST: Duration = Duration::from_millis(50);

/// One or two answers.
const WINDOW_BYTES: u32 = 700;

/// How far back a request is asked again.
const RECENT: usize = 20;

/// One request in so many is one of late.
const REPEATED_ONE_IN: u32 = 8;
