//! The life of one authenticated connection: serve, watch, cut off or drain.
//!
//! Cutting off drops the socket at once; a reply not yet written is then never sent. Work that a
//! request has begun lives on its own task and is not harmed.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tonic::Status;
use tonic::body::Body;
use tower::{Service, ServiceExt};

use super::WallClock;
use super::counters::{EdgeCounters, count};
use super::deadline::deadline;
use super::limits::Limits;
use super::outbound::outbound;
use super::peer::Peer;
use super::status;
use super::trust::Trust;

/// One request's future, as an executor given to [`Plane::serve`](super::Plane::serve) gets to see
/// it (inside hyper's own).
pub type StreamFuture = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// How a connection came to its end.
pub(super) enum Ended {
    /// By itself, or after draining.
    Closed,
    /// Its certificate stopped being good.
    CutOff,
    /// It was asked to go away and did not finish in time.
    Overran,
}

/// What a connection needs to know of its plane.
pub(super) struct Watch {
    pub(super) peer: Arc<Peer>,
    pub(super) trust: Arc<Trust>,
    pub(super) counters: Arc<EdgeCounters>,
    /// Counts the plane's connections; spreads their ends.
    pub(super) number: u64,
    pub(super) stopping: watch::Receiver<bool>,
}

/// Serves one connection to its end.
pub(super) async fn run<S, E>(
    tls: TlsStream<TcpStream>,
    service: S,
    (executor, limits): (E, &Limits),
    watch: Watch,
) -> Ended
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    E: Http2ServerConnExec<StreamFuture, Body>,
{
    let Watch { peer, trust, counters, number, mut stopping } = watch;
    let clock = Arc::clone(trust.clock());
    let mut reloads = trust.watch();
    let guarded = Guarded {
        inner: service,
        peer: Arc::clone(&peer),
        clock: Arc::clone(&clock),
        counters: Arc::clone(&counters),
    };
    let mut connection =
        pin!(builder(executor, limits).serve_connection(TokioIo::new(tls), guarded));
    let mut end = pin!(sleep(spread(limits, number)));
    let mut draining = false;
    loop {
        let next_look = sleep(peer.next_look(clock(), limits.recheck_interval));
        // In this order: whatever ends a connection is looked at before the connection moves on.
        let drain = tokio::select! {
            biased;
            _ = reloads.changed() => false,
            () = next_look => {
                if !peer.verify_again(clock()) {
                    return Ended::CutOff;
                }
                false
            }
            _ = stopping.wait_for(|stopping| *stopping), if !draining => true,
            () = &mut end => {
                if draining {
                    return Ended::Overran;
                }
                count(&counters.connections_aged);
                true
            }
            // A protocol error of the peer ends its connection and is nobody else's business.
            _ = connection.as_mut() => return Ended::Closed,
        };
        if !peer.is_valid_now(clock()) {
            return Ended::CutOff;
        }
        if drain {
            draining = true;
            end.set(sleep(limits.drain_timeout));
            peer.start_draining();
            connection.as_mut().graceful_shutdown();
        }
    }
}

fn builder<E: Clone>(executor: E, limits: &Limits) -> http2::Builder<E> {
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .initial_stream_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .max_header_list_size(limits.header_list_bytes_max)
        .max_send_buf_size(limits.send_buffer_bytes_max)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout)
        .max_pending_accept_reset_streams(limits.pending_accept_resets_max)
        .max_local_error_reset_streams(limits.local_error_resets_max);
    builder
}

/// Up to a tenth less than the age allowed, by the connection's number.
fn spread(limits: &Limits, number: u64) -> Duration {
    let tenth = limits.connection_age_max.checked_div(10).unwrap_or_default();
    let step = tenth.checked_div(SPREAD_STEPS).unwrap_or_default();
    let steps = u32::try_from(number & SPREAD_MASK).unwrap_or_default();
    limits.connection_age_max.saturating_sub(step.saturating_mul(steps))
}

/// The service of one connection: looks at the peer before every request and again before its
/// reply begins; hands the request on with the peer and the deadline among its extensions.
struct Guarded<S> {
    inner: S,
    peer: Arc<Peer>,
    clock: WallClock,
    counters: Arc<EdgeCounters>,
}

impl<S> hyper::service::Service<Request<Incoming>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = StreamFuture;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if !self.peer.is_valid_now((self.clock)()) {
            count(&self.counters.requests_refused);
            return answer(status::certificate_not_valid());
        }
        let deadline = match deadline(request.headers()) {
            Ok(deadline) => deadline,
            Err(bad) => return answer(bad.into()),
        };
        count(&self.counters.requests_dispatched);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Arc::clone(&self.peer));
        if let Some(deadline) = deadline {
            request.extensions_mut().insert(deadline);
        }
        let reply = self.inner.clone().oneshot(request);
        let (peer, clock) = (Arc::clone(&self.peer), Arc::clone(&self.clock));
        Box::pin(async move {
            let reply = match deadline {
                None => reply.await,
                // Work that a request has begun lives on its own task and goes on.
                Some(deadline) => match timeout(deadline.left(), reply).await {
                    Ok(reply) => reply,
                    Err(_) => Ok(status::past_deadline().into_http()),
                },
            };
            // Valid when it asked is not valid when it is answered.
            if peer.is_valid_now(clock()) {
                reply.map(|reply| outbound(reply, deadline))
            } else {
                Ok(status::certificate_not_valid().into_http())
            }
        })
    }
}

fn answer(status: Status) -> StreamFuture {
    Box::pin(std::future::ready(Ok(status.into_http())))
}

/// Into how many steps the ends of connections are spread: a power of two.
const SPREAD_STEPS: u32 = 16;
const SPREAD_MASK: u64 = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_spread_over_the_last_tenth_of_the_age_and_never_beyond_it() {
        let limits = Limits { connection_age_max: Duration::from_secs(1600), ..Limits::default() };
        assert_eq!(spread(&limits, 0), Duration::from_secs(1600));
        assert_eq!(spread(&limits, 1), Duration::from_secs(1590));
        assert_eq!(spread(&limits, 15), Duration::from_secs(1450));
        assert_eq!(spread(&limits, 16), Duration::from_secs(1600));
    }
}
