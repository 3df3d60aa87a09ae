//! Many requests in flight over one stream; answers come in any order, each checked like a unary
//! one.
//!
//! A request is remembered from before it is sent until its answer came or the stream ended, so
//! none is lost without being named in [`StreamError::Failed`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_primitives::Address;
use portcullis_proto::v1;
use portcullis_proto::v1::sign_stream_response::Result as WireResult;
use portcullis_proto::v1::signing_service_client::SigningServiceClient;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::client::{Answer, sign_request};
use crate::error::{Refusal, SignError};
use crate::key::KeyRef;
use crate::request_id::RequestId;
use crate::transport::Transport;
use crate::verify::{self, UntrustedReply};

/// Both halves of a stream of requests. [`split`](Self::split) it to send and receive in
/// different tasks.
#[derive(Debug)]
pub struct SignStream {
    sender: SignSender,
    receiver: SignReceiver,
}

/// The half that asks. Clones share the stream; when all are dropped, it ends after the answers.
#[derive(Clone, Debug)]
pub struct SignSender {
    requests: mpsc::Sender<v1::SignStreamRequest>,
    shared: Arc<Shared>,
}

/// The half that hears answers. Dropping it ends the stream.
#[derive(Debug)]
pub struct SignReceiver {
    answers: Streaming<v1::SignStreamResponse>,
    transport: Transport,
    shared: Arc<Shared>,
}

/// One answer on a stream.
#[derive(Debug)]
pub struct StreamAnswer {
    /// What [`SignSender::send`] returned for the request.
    pub correlation_id: u64,
    /// What became of it.
    pub result: Result<Answer, SignError>,
}

/// The stream as a whole failed.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It has ended: open another.
    #[error("the stream has ended")]
    Closed,
    /// It broke. The unanswered requests may have been carried out: ask again with the same
    /// request ids.
    #[error("the stream broke with {} requests unanswered", unanswered.len())]
    Failed {
        /// Correlation ids without an answer, in order of sending.
        unanswered: Vec<u64>,
        /// Why.
        source: SignError,
    },
    /// An answer came for a request that was never sent, or that was answered before. Whoever sent
    /// it is faulty or hostile.
    #[error("an answer came for request {correlation_id}, which waits for none")]
    Unasked {
        /// As in the answer.
        correlation_id: u64,
    },
}

impl SignStream {
    pub(crate) async fn open(
        transport: &Transport,
        mut service: SigningServiceClient<Channel>,
        in_flight_max: usize,
    ) -> Result<Self, SignError> {
        let in_flight_max = in_flight_max.clamp(1, IN_FLIGHT_MAX);
        let (requests, outgoing) = mpsc::channel(in_flight_max);
        let opening = service.sign_stream(ReceiverStream::new(outgoing));
        let opened = transport.within_deadline(opening).await?;
        let shared = Arc::new(Shared {
            next: AtomicU64::new(1),
            waiting: Mutex::new(Some(HashMap::new())),
            room: Semaphore::new(in_flight_max),
        });
        let sender = SignSender { requests, shared: Arc::clone(&shared) };
        let answers = opened.into_inner();
        let receiver = SignReceiver { answers, transport: transport.clone(), shared };
        Ok(Self { sender, receiver })
    }

    /// See [`SignSender::send`]. Waits for ever if the stream is full and nobody receives.
    ///
    /// # Errors
    ///
    /// The stream has ended.
    pub async fn send(
        &self,
        key: &KeyRef,
        request_id: &RequestId,
        preimage: &[u8],
    ) -> Result<u64, StreamError> {
        self.sender.send(key, request_id, preimage).await
    }

    /// See [`SignReceiver::receive`].
    ///
    /// # Errors
    ///
    /// The stream failed as a whole.
    pub async fn receive(&mut self) -> Result<Option<StreamAnswer>, StreamError> {
        self.receiver.receive().await
    }

    /// The two halves.
    pub fn split(self) -> (SignSender, SignReceiver) {
        (self.sender, self.receiver)
    }
}

impl SignSender {
    /// Sends one request and returns its correlation id. Waits while as many as allowed are
    /// unanswered. Dropping the future before it is ready sends nothing.
    ///
    /// # Errors
    ///
    /// The stream has ended.
    pub async fn send(
        &self,
        key: &KeyRef,
        request_id: &RequestId,
        preimage: &[u8],
    ) -> Result<u64, StreamError> {
        let room = self.shared.room.acquire().await.map_err(|_| StreamError::Closed)?;
        let correlation_id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting { address: key.address, preimage: preimage.to_vec() };
        self.shared.remember(correlation_id, waiting)?;
        let unsent = Unsent { shared: &self.shared, correlation_id, room: Some(room) };
        let request = Some(sign_request(key, request_id, preimage));
        let request = v1::SignStreamRequest { correlation_id, request };
        self.requests.send(request).await.map_err(|_| StreamError::Closed)?;
        unsent.sent();
        Ok(correlation_id)
    }
}

/// A request that the queue has not taken. Dropping it, as whoever stops waiting for
/// [`SignSender::send`] does, gives back its place and forgets it: no answer will come.
struct Unsent<'a> {
    shared: &'a Shared,
    correlation_id: u64,
    room: Option<SemaphorePermit<'a>>,
}

impl Unsent<'_> {
    /// From now on its place is given back when the answer comes.
    fn sent(mut self) {
        if let Some(room) = self.room.take() {
            room.forget();
        }
    }
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        let Some(room) = self.room.take() else { return };
        if self.shared.take(self.correlation_id).is_none() {
            // Somebody answered what was never asked, and the place was given back for that.
            room.forget();
        }
    }
}

impl SignReceiver {
    /// The next answer, in whatever order they come; `None` when all senders are gone and
    /// everything is answered.
    ///
    /// # Errors
    ///
    /// The stream failed as a whole; it gives nothing after that.
    pub async fn receive(&mut self) -> Result<Option<StreamAnswer>, StreamError> {
        let answer = match self.answers.message().await {
            Ok(Some(answer)) => answer,
            Ok(None) => return self.finish(),
            Err(status) => {
                let source = self.transport.error(&status).into();
                return Err(StreamError::Failed { unanswered: self.shared.end(), source });
            }
        };
        let correlation_id = answer.correlation_id;
        let Some(waiting) = self.shared.take(correlation_id) else {
            self.shared.end();
            return Err(StreamError::Unasked { correlation_id });
        };
        self.shared.room.add_permits(1);
        Ok(Some(StreamAnswer { correlation_id, result: waiting.judge(answer.result) }))
    }

    fn finish(&mut self) -> Result<Option<StreamAnswer>, StreamError> {
        let unanswered = self.shared.end();
        if unanswered.is_empty() {
            return Ok(None);
        }
        let source = SignError::Unreachable(self.transport.ended());
        Err(StreamError::Failed { unanswered, source })
    }
}

impl Drop for SignReceiver {
    fn drop(&mut self) {
        self.shared.end();
    }
}

/// What both halves know.
#[derive(Debug)]
struct Shared {
    next: AtomicU64,
    /// Requests without an answer; `None` once the stream has ended.
    waiting: Mutex<Option<HashMap<u64, Waiting>>>,
    room: Semaphore,
}

/// What an answer is held against.
#[derive(Debug)]
struct Waiting {
    address: Address,
    preimage: Vec<u8>,
}

impl Shared {
    fn remember(&self, correlation_id: u64, waiting: Waiting) -> Result<(), StreamError> {
        let mut all = self.lock();
        all.as_mut().ok_or(StreamError::Closed)?.insert(correlation_id, waiting);
        Ok(())
    }

    fn take(&self, correlation_id: u64) -> Option<Waiting> {
        self.lock().as_mut()?.remove(&correlation_id)
    }

    /// Nothing can be sent any more; returns what was never answered.
    fn end(&self) -> Vec<u64> {
        self.room.close();
        let waiting = self.lock().take().unwrap_or_default();
        let mut unanswered: Vec<u64> = waiting.into_keys().collect();
        unanswered.sort_unstable();
        unanswered
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u64, Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn judge(&self, result: Option<WireResult>) -> Result<Answer, SignError> {
        match result {
            Some(WireResult::Response(reply)) => {
                Ok(verify::answer(self.address, &self.preimage, reply)?)
            }
            Some(WireResult::Status(status)) => Err(Refusal::from_wire(&status).map_or(
                SignError::Untrusted(UntrustedReply::Malformed { part: "status" }),
                |refusal| SignError::Refused(Box::new(refusal)),
            )),
            None => Err(UntrustedReply::Missing { part: "result" }.into()),
        }
    }
}

/// Above this the service would throttle anyway; with the largest preimage it is 8 GiB of memory,
/// which only a caller that sends such preimages pays for.
const IN_FLIGHT_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[tokio::test]
    async fn a_send_that_is_dropped_before_the_queue_took_it_gives_its_place_back() {
        let (requests, mut queue) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            next: AtomicU64::new(1),
            waiting: Mutex::new(Some(HashMap::new())),
            room: Semaphore::new(2),
        });
        let sender = SignSender { requests, shared: Arc::clone(&shared) };
        let key = KeyRef { id: "5a".repeat(16).parse().unwrap(), address: Address::ZERO };
        let id = "one".parse().unwrap();
        assert_eq!(sender.send(&key, &id, &[]).await.unwrap(), 1);
        for _ in 0..3 {
            // The queue is full, and there is room for one more.
            let mut sending = Box::pin(sender.send(&key, &id, &[]));
            let polled = sending.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(polled, Poll::Pending));
            assert_eq!(shared.room.available_permits(), 0);
            drop(sending);
            assert_eq!(shared.room.available_permits(), 1);
            assert_eq!(shared.lock().as_ref().unwrap().len(), 1);
        }
        assert_eq!(queue.recv().await.unwrap().correlation_id, 1);
        let last = sender.send(&key, &id, &[]).await.unwrap();
        assert_eq!(queue.recv().await.unwrap().correlation_id, last);
        assert_eq!(shared.end(), [1, last]);
    }
}
