//! One stream of signing requests: reads them, works on them side by side, and answers each under
//! its own id.
//!
//! A request keeps its places until its answer has been pulled for sending. So a caller who does
//! not read its answers is read no further, whatever it sends.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use portcullis_proto::v1::{SignStreamRequest, SignStreamResponse, sign_stream_response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::peer::Peer;
use super::places::{Place, Share};
use super::release::{GatedStream, Outgoing, refused};
use super::signing::{answer, raw_request};
use super::status;
use crate::clock::Deadline;
use crate::pipeline::Pipeline;
use crate::refusal::Refusal;

/// What all requests of a stream share.
pub(super) struct Caller {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) peer: Arc<Peer>,
    pub(super) deadline: Option<Deadline>,
    /// Of the requests under way of all its streams and connections.
    pub(super) under_way: Arc<Share>,
}

/// A stream's answers on their way out.
pub struct Answers {
    outgoing: GatedStream,
    open: Arc<Open>,
    /// That of the stream itself.
    _place: Place,
}

/// What is between reading a request and pulling its answer.
#[derive(Default)]
struct Open {
    /// The places of answers that wait to be pulled. Which is whose does not matter.
    waiting: Mutex<Vec<Places>>,
    /// How the stream ends, if not well.
    ending: Mutex<Option<Status>>,
}

struct Places {
    _of_stream: OwnedSemaphorePermit,
    _of_caller: Place,
}

/// Begins to work on a stream, which has this place.
pub(super) fn begin(
    caller: Caller,
    requests: Streaming<SignStreamRequest>,
    place: Place,
) -> Answers {
    let (answers, outgoing) = mpsc::channel(IN_FLIGHT_MAX);
    let open = Arc::new(Open::default());
    tokio::spawn(pump(Arc::new(caller), requests, answers, Arc::clone(&open)));
    Answers { outgoing: GatedStream(outgoing), open, _place: place }
}

/// Reads requests, so many at once. Ends when the caller ends the stream, hangs up, is cut off or
/// sends what cannot be read, or when the connection drains.
async fn pump(
    caller: Arc<Caller>,
    mut requests: Streaming<SignStreamRequest>,
    answers: mpsc::Sender<Outgoing>,
    open: Arc<Open>,
) {
    let places = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let reading = async {
        loop {
            let Ok(of_stream) = places.clone().acquire_owned().await else { return };
            let message = tokio::select! {
                message = requests.message() => message,
                () = caller.peer.draining() => return,
            };
            let message = match message {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(status) => return open.end(status::reasoned(status)),
            };
            // Only now: a stream on which nothing comes takes no place from the others.
            let of_caller = caller.under_way.take().await;
            // A stream outlives many checks of the certificate: each request is one.
            if !caller.peer.is_valid_now(crate::clock::wall_time()) {
                return open.end(status::certificate_not_valid());
            }
            let places = Places { _of_stream: of_stream, _of_caller: of_caller };
            let (caller, answers, open) = (caller.clone(), answers.clone(), open.clone());
            tokio::spawn(async move {
                let outgoing = answer_one(&caller, message).await;
                // Before it is sent, so that whoever pulls it finds them.
                open.waiting.lock().push(places);
                if answers.send(outgoing).await.is_err() {
                    open.waiting.lock().pop();
                }
            });
        }
    };
    tokio::select! {
        () = reading => {}
        () = answers.closed() => {}
    }
}

async fn answer_one(caller: &Caller, message: SignStreamRequest) -> Outgoing {
    let correlation_id = message.correlation_id;
    let missing = || Refusal::BadField { field: "request", problem: "is missing".into() };
    let raw = message.request.ok_or_else(missing);
    let raw = raw
        .and_then(|request| raw_request(caller.peer.identity().name(), caller.deadline, request));
    let answered = match raw {
        Ok(raw) => caller.pipeline.clone().sign(raw).await,
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

impl Open {
    fn end(&self, status: Status) {
        *self.ending.lock() = Some(status);
    }
}

impl Stream for Answers {
    type Item = Result<SignStreamResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match std::task::ready!(Pin::new(&mut self.outgoing).poll_next(context)) {
            Some(answer) => {
                self.open.waiting.lock().pop();
                Poll::Ready(Some(answer))
            }
            // After every answer: whoever hears why the stream ended has heard all the rest.
            None => Poll::Ready(self.open.ending.lock().take().map(Err)),
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.open.waiting.lock().clear();
    }
}

/// Requests of one stream under way or unread at once. A stream that sends more is read more
/// slowly.
const IN_FLIGHT_MAX: usize = 256;
