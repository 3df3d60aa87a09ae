//! A reply on its way out: ends at its caller's deadline, and holds what it holds until it is gone.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;

use super::places::Place;
use super::status;
use crate::clock::Deadline;

/// A place that a reply takes up until its last byte has left. A service puts it among the
/// response's extensions.
#[derive(Clone)]
pub(super) struct Held {
    _place: Arc<Place>,
}

impl Held {
    pub(super) fn new(place: Place) -> Self {
        Self { _place: Arc::new(place) }
    }
}

/// Lets the reply keep its place, and ends it at the deadline.
pub(super) fn outbound(mut response: Response<Body>, deadline: Option<Deadline>) -> Response<Body> {
    let held = response.extensions_mut().remove::<Held>();
    if held.is_none() && deadline.is_none() {
        return response;
    }
    let deadline = deadline.map(|deadline| Box::pin(sleep(deadline.left())));
    response.map(|body| Body::new(Outbound { body, deadline, done: false, _held: held }))
}

struct Outbound {
    body: Body,
    deadline: Option<Pin<Box<Sleep>>>,
    done: bool,
    _held: Option<Held>,
}

impl http_body::Body for Outbound {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.done {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        match &mut self.deadline {
            Some(deadline) => {
                std::task::ready!(deadline.as_mut().poll(context));
                self.done = true;
                let mut trailers = HeaderMap::new();
                let added = status::past_deadline().add_header(&mut trailers);
                Poll::Ready(Some(added.map(|()| Frame::trailers(trailers))))
            }
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
