//! Where a signature leaves: its ticket passes the gate in the very poll in which its bytes go into
//! the connection's send buffer.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use portcullis_proto::v1::{SignStreamResponse, sign_stream_response};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::status;
use crate::gate::{self, Stopped, Ticket};
use crate::refusal::Refusal;

/// Wraps a service so that a response which carries a ticket passes the gate before its bytes do.
#[derive(Clone, Debug)]
pub struct Release<S>(pub S);

impl<S> Service<Request<Body>> for Release<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let response = self.0.call(request);
        Box::pin(async move {
            let mut response = response.await?;
            let ticket = response.extensions_mut().remove::<Arc<Ticket>>();
            let response = match ticket {
                Some(ticket) => response.map(|body| Body::new(Gated { body, ticket, done: false })),
                None => status::with_reason(response),
            };
            Ok(response.map(|body| Body::new(Pulled(body))))
        })
    }
}

/// A body as the connection pulls it: once it is pulled again, what it gave before is in the
/// connection's send buffer.
struct Pulled(Body);

impl http_body::Body for Pulled {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        gate::handed_over();
        Pin::new(&mut self.0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.0.size_hint()
    }
}

/// A unary reply that holds a signature.
struct Gated {
    body: Body,
    ticket: Arc<Ticket>,
    done: bool,
}

impl http_body::Body for Gated {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.done {
            return Poll::Ready(None);
        }
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        let is_data = matches!(&frame, Some(Ok(frame)) if frame.is_data());
        if !is_data {
            return Poll::Ready(frame);
        }
        match self.ticket.clone().pass() {
            Ok(()) => Poll::Ready(frame),
            Err(Stopped(scope)) => {
                // The headers are out; gRPC says the rest in trailers.
                self.done = true;
                Poll::Ready(Some(trailers(Refusal::Stopped(scope).into()).map(Frame::trailers)))
            }
        }
    }
}

fn trailers(status: Status) -> Result<HeaderMap, Status> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    Ok(trailers)
}

/// An answer on its way out of a stream.
pub struct Outgoing {
    /// What is sent if the gate lets it pass.
    pub message: SignStreamResponse,
    /// Present if it holds a signature.
    pub ticket: Option<Arc<Ticket>>,
}

/// A stream of answers, each of which passes the gate as it is pulled for sending.
pub struct GatedStream(pub mpsc::Receiver<Outgoing>);

impl Stream for GatedStream {
    type Item = Result<SignStreamResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.0.poll_recv(context));
        let Some(Outgoing { message, ticket }) = next else { return Poll::Ready(None) };
        let passed = ticket.map_or(Ok(()), Ticket::pass);
        Poll::Ready(Some(Ok(match passed {
            Ok(()) => message,
            Err(Stopped(scope)) => refused(message.correlation_id, Refusal::Stopped(scope)),
        })))
    }
}

/// A refusal as a message of a stream: the same status a unary call would get.
pub fn refused(correlation_id: u64, refusal: Refusal) -> SignStreamResponse {
    let status: Status = refusal.into();
    let details = status.details();
    let bytes = if details.is_empty() {
        let code = i32::from(status.code());
        let message = status.message().to_owned();
        tonic_types::pb::Status { code, message, details: Vec::new() }.encode_to_vec()
    } else {
        // Already a serialised google.rpc.Status.
        details.to_vec()
    };
    let result = Some(sign_stream_response::Result::Status(bytes));
    SignStreamResponse { correlation_id, result }
}
