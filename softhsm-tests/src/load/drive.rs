//! The load generator: a closed loop over a few connections, every reply checked as it comes.
//!
//! It speaks the generated client over a bare channel, because it does the checking client's work
//! itself, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use alloy_primitives::B256;
use portcullis_proto::v1::sign_request::Input;
use portcullis_proto::v1::sign_stream_response::Result as StreamResult;
use portcullis_proto::v1::signing_service_client::SigningServiceClient;
use portcullis_proto::v1::{SignRequest, SignStreamRequest};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::judge::{Judge, ReplyFault};
use super::preimages::Preimages;

/// Why a run is worth nothing.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The signer refused, or the connection failed.
    #[error("a request was not answered")]
    Refused(#[source] Box<tonic::Status>),
    /// The signer refused on a stream.
    #[error("a request on a stream was refused")]
    RefusedOnStream,
    /// A stream ended with requests unanswered.
    #[error("a stream ended with {missing} requests unanswered")]
    StreamEnded {
        /// How many.
        missing: usize,
    },
    /// A reply is not what it must be.
    #[error("a reply is wrong")]
    Reply(#[from] ReplyFault),
    /// A task of the generator panicked.
    #[error("a task of the load generator failed")]
    Task(#[from] JoinError),
}

/// What to ask, and of whom.
#[derive(Debug)]
pub struct Target {
    /// One connection each.
    pub channels: Vec<Channel>,
    /// The key's immutable id.
    pub key_id: String,
    /// Knows its address.
    pub judge: Judge,
}

/// The generator. Never sends one nonce twice.
#[derive(Clone, Debug)]
pub struct Load {
    target: Arc<Target>,
    preimages: Arc<Preimages>,
    next: Arc<AtomicU32>,
}

/// A checked reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reply {
    /// The record that it says it has.
    pub sequence: u64,
    /// The digest, computed by us.
    pub digest: B256,
}

/// What a stretch of load gave.
#[derive(Debug, Default)]
pub struct Measured {
    /// Every reply, also those outside of the counted time.
    pub replies: Vec<Reply>,
    /// Replies in the counted time, and how long it was.
    pub counted: u64,
    /// The counted time.
    pub time: Duration,
    /// From sending to a checked reply, in microseconds, in no order.
    pub latencies_us: Vec<f64>,
}

impl Measured {
    /// Replies per second in the counted time.
    pub fn per_second(&self) -> f64 {
        f64::from(u32::try_from(self.counted).unwrap_or(u32::MAX)) / self.time.as_secs_f64()
    }

    fn take(&mut self, other: Self) {
        self.replies.extend(other.replies);
        self.counted += other.counted;
        self.latencies_us.extend(other.latencies_us);
    }
}

impl Load {
    /// A generator for this target.
    pub fn new(target: Target) -> Self {
        let next = Arc::new(AtomicU32::new(Preimages::FIRST));
        Self { target: Arc::new(target), preimages: Arc::new(Preimages::new()), next }
    }

    /// Unary calls, so many in flight, spread over the connections, for so long.
    pub async fn unary(&self, in_flight: usize, time: Duration) -> Result<Measured, LoadError> {
        let window = Window::open(time);
        let mut callers = JoinSet::new();
        let channels = self.target.channels.iter().cycle().take(in_flight);
        for channel in channels {
            callers.spawn(self.clone().call(channel.clone(), window));
        }
        gather(callers, window).await
    }

    /// One stream a connection, so many in flight in all, for so long.
    pub async fn stream(&self, in_flight: usize, time: Duration) -> Result<Measured, LoadError> {
        let window = Window::open(time);
        let mut streams = JoinSet::new();
        let each = in_flight.div_ceil(self.target.channels.len());
        for channel in &self.target.channels {
            streams.spawn(self.clone().converse(channel.clone(), each, window));
        }
        gather(streams, window).await
    }

    /// One caller: the next call begins when the last was answered.
    async fn call(self, channel: Channel, window: Window) -> Result<Measured, LoadError> {
        let mut client = SigningServiceClient::new(channel);
        let mut measured = Measured::default();
        while window.is_open() {
            let (preimage, request) = self.request(self.next_nonce());
            let sent = Instant::now();
            let answered = client.sign(request).await;
            let answered = answered.map_err(|status| LoadError::Refused(Box::new(status)))?;
            let reply = self.target.judge.check(&preimage, answered.into_inner())?;
            measured.latencies_us.push(sent.elapsed().as_secs_f64() * 1e6);
            measured.counted += u64::from(window.counts());
            measured.replies.push(reply);
        }
        Ok(measured)
    }

    /// One stream: every answer is followed by a new request, while the window is open.
    async fn converse(
        self,
        channel: Channel,
        in_flight: usize,
        window: Window,
    ) -> Result<Measured, LoadError> {
        let mut client = SigningServiceClient::new(channel);
        let (requests, outgoing) = mpsc::channel(in_flight);
        let mut sender = Some(requests);
        let mut missing = 0;
        for _ in 0..in_flight {
            missing += usize::from(self.send(&mut sender).await);
        }
        let opened = client.sign_stream(ReceiverStream::new(outgoing)).await;
        let mut answers = opened.map_err(|status| LoadError::Refused(Box::new(status)))?;
        let mut measured = Measured::default();
        while missing > 0 {
            let answer = answers.get_mut().message().await;
            let answer = answer.map_err(|status| LoadError::Refused(Box::new(status)))?;
            let answer = answer.ok_or(LoadError::StreamEnded { missing })?;
            missing -= 1;
            let nonce = u32::try_from(answer.correlation_id).unwrap_or(Preimages::FIRST);
            let Some(StreamResult::Response(response)) = answer.result else {
                return Err(LoadError::RefusedOnStream);
            };
            let preimage = self.preimages.with_nonce(nonce);
            measured.replies.push(self.target.judge.check(&preimage, response)?);
            measured.counted += u64::from(window.counts());
            if window.is_open() {
                missing += usize::from(self.send(&mut sender).await);
            } else {
                sender = None;
            }
        }
        Ok(measured)
    }

    /// Sends one more; `false` if the stream takes no more.
    async fn send(&self, sender: &mut Option<mpsc::Sender<SignStreamRequest>>) -> bool {
        let Some(open) = sender else { return false };
        let nonce = self.next_nonce();
        let (_, request) = self.request(nonce);
        let request = SignStreamRequest { correlation_id: nonce.into(), request: Some(request) };
        open.send(request).await.is_ok()
    }

    fn next_nonce(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn request(&self, nonce: u32) -> (Vec<u8>, SignRequest) {
        let preimage = self.preimages.with_nonce(nonce);
        let request = SignRequest {
            request_id: format!("bench-{nonce:x}"),
            key_id: self.target.key_id.clone(),
            expected_address: self.target.judge.address().to_vec(),
            input: Some(Input::Transaction(preimage.clone())),
            want_receipt: false,
        };
        (preimage, request)
    }
}

/// When requests are sent, and when replies count: not while the load builds up, and not while it
/// drains.
#[derive(Clone, Copy, Debug)]
struct Window {
    counts_from: Instant,
    ends: Instant,
}

impl Window {
    fn open(time: Duration) -> Self {
        let counts_from = Instant::now() + BUILD_UP;
        Self { counts_from, ends: counts_from + time }
    }

    fn is_open(&self) -> bool {
        Instant::now() < self.ends
    }

    fn counts(&self) -> bool {
        (self.counts_from..self.ends).contains(&Instant::now())
    }
}

async fn gather(
    mut tasks: JoinSet<Result<Measured, LoadError>>,
    window: Window,
) -> Result<Measured, LoadError> {
    let mut all = Measured { time: window.ends - window.counts_from, ..Measured::default() };
    while let Some(ended) = tasks.join_next().await {
        all.take(ended??);
    }
    Ok(all)
}

/// Until the queues are as full as they will be.
const BUILD_UP: Duration = Duration::from_millis(100);
