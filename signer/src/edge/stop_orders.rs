//! The one door that asks for no client certificate: it takes stops that a person signed before.
//!
//! HTTP/1.1 over TLS with the control plane's certificate, one path, so that `curl` and a file are
//! enough when certificates, laptops or single sign-on are what was lost. It can only stop things:
//! what is posted is verified before anything is done, a few at a time and at a bounded rate.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use portcullis_policy::record::{Actor, Frozen};
use portcullis_policy::state::OrderFault;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::trust::Trust;
use super::unsettled;
use crate::clock::Clock;
use crate::fencer::Fencer;
use crate::sequencer::Sequencer;

/// Takes stop orders.
pub struct StopOrders {
    /// Bound and listening.
    pub listener: TcpListener,
    /// Whose certificate is shown.
    pub trust: Arc<Trust>,
    /// The one order.
    pub sequencer: Sequencer,
    /// Keeps the token in step with what is stopped.
    pub fencer: Arc<Fencer>,
    /// Time as the journal has it.
    pub clock: Arc<Clock>,
}

/// What every conversation shares.
struct Desk {
    sequencer: Sequencer,
    fencer: Arc<Fencer>,
    clock: Arc<Clock>,
    rate: DefaultKeyedRateLimiter<IpAddr>,
    /// Connections open, by where they come from.
    open: Mutex<BTreeMap<IpAddr, usize>>,
}

/// A connection's place among those of its address. Dropped with it.
struct Guest {
    desk: Arc<Desk>,
    from: IpAddr,
}

impl StopOrders {
    /// Answers `POST /v1/stop` until `shutdown` resolves.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, trust, sequencer, fencer, clock } = self;
        let rate = RateLimiter::keyed(Quota::per_second(ORDERS_PER_SECOND));
        let open = Mutex::default();
        let desk = Arc::new(Desk { sequencer, fencer, clock, rate, open });
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut tasks = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let arrival = async {
                let slot = Arc::clone(&slots).acquire_owned().await.ok();
                (slot, listener.accept().await)
            };
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = tasks.join_next() => {}
                (slot, accepted) = arrival => match accepted {
                    Ok((tcp, remote)) => {
                        // Nobody keeps others out from one address.
                        let Some(guest) = Guest::enter(&desk, remote.ip()) else { continue };
                        let (desk, tls) = (Arc::clone(&desk), TlsAcceptor::from(trust.anybody()));
                        tasks.spawn(async move {
                            let talk = converse(tcp, tls, remote, &desk);
                            timeout(CONNECTION_TIMEOUT, talk).await.ok();
                            drop((slot, guest));
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "accepting a connection for stop orders failed");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        tasks.shutdown().await;
    }
}

async fn converse(tcp: TcpStream, tls: TlsAcceptor, remote: SocketAddr, desk: &Arc<Desk>) {
    let Ok(Ok(stream)) = timeout(HEADER_TIMEOUT, tls.accept(tcp)).await else { return };
    let service = service_fn(|request| {
        let desk = Arc::clone(desk);
        async move { Ok::<_, Infallible>(desk.answer(request, remote).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // How it ends is of no interest: a stop that was taken goes on without it.
    drop(connection.await);
}

impl Desk {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        remote: SocketAddr,
    ) -> Response<Full<Bytes>> {
        if request.uri().path() != PATH {
            return refused(StatusCode::NOT_FOUND, "NOT_FOUND", "the only path is /v1/stop");
        }
        if request.method() != Method::POST {
            let why = "post the order: curl --data-binary @order.json";
            let mut response = refused(StatusCode::METHOD_NOT_ALLOWED, "NOT_POSTED", why);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return response;
        }
        if !self.admits(remote.ip()) {
            let why = "too many orders at once: try again in a second";
            let mut response = refused(StatusCode::TOO_MANY_REQUESTS, "THROTTLED", why);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            return response;
        }
        let body = Limited::new(request.into_body(), ORDER_BYTES_MAX).collect().await;
        let Ok(body) = body else {
            let why = format!("an order has at most {ORDER_BYTES_MAX} bytes");
            return refused(StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", &why);
        };
        let order: Frozen = match serde_json::from_slice(&body.to_bytes()) {
            Ok(order) => order,
            Err(error) => return unreadable(&error.to_string()),
        };
        if !matches!(order.by, Actor::Order(_)) {
            return unreadable("it is signed by nobody");
        }
        // Once it is taken it goes on, whoever hangs up.
        let stopping = tokio::spawn(async move { self.stop(order, remote).await });
        stopping.await.unwrap_or_else(|_| {
            refused(StatusCode::SERVICE_UNAVAILABLE, "SHUTTING_DOWN", "the signer is ending")
        })
    }

    fn admits(&self, from: IpAddr) -> bool {
        if self.rate.len() > ADDRESSES_MAX {
            self.rate.retain_recent();
        }
        self.rate.check_key(&from).is_ok()
    }

    async fn stop(&self, order: Frozen, remote: SocketAddr) -> Response<Full<Bytes>> {
        let scope = order.scope.clone();
        let view = self.sequencer.view();
        let stopped = match self.sequencer.stop_by_order(order, self.clock.now()).await {
            Ok(stopped) => stopped,
            Err(fault) => {
                tracing::warn!(%remote, %fault, "a stop order was refused");
                return refused(status_of(&fault), fault.code(), &fault.to_string());
            }
        };
        tracing::warn!(%remote, %scope, "stopped by an order");
        if stopped.sequence.is_none() {
            self.fencer.fence_unrecorded(&view, &scope).await;
        }
        let answer = json!({
            "stopped": scope.to_string(),
            "recorded": stopped.sequence.is_some(),
            "sequence": stopped.sequence.unwrap_or_default().0,
            "last_released_sequence": stopped.last_released.0,
            "withheld": stopped.withheld,
            "unsettled": stopped.unsettled.newest.iter().map(unsettled::json).collect::<Vec<_>>(),
            "unsettled_more": stopped.unsettled.more,
            "unsettled_incomplete": stopped.unsettled.incomplete,
        });
        said(StatusCode::OK, &answer)
    }
}

impl Guest {
    fn enter(desk: &Arc<Desk>, from: IpAddr) -> Option<Self> {
        let mut open = desk.open.lock();
        let count = open.entry(from).or_default();
        if *count >= CONNECTIONS_OF_ONE_MAX {
            return None;
        }
        *count = count.saturating_add(1);
        drop(open);
        Some(Self { desk: Arc::clone(desk), from })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut open = self.desk.open.lock();
        let left = open.get(&self.from).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            open.remove(&self.from);
        } else {
            open.insert(self.from, left);
        }
    }
}

fn status_of(fault: &OrderFault) -> StatusCode {
    match fault {
        OrderFault::Used | OrderFault::Taken => StatusCode::CONFLICT,
        OrderFault::Expired(_) => StatusCode::GONE,
        OrderFault::Reason | OrderFault::Time | OrderFault::NotOneKey(_) => StatusCode::BAD_REQUEST,
        OrderFault::Role(_) | OrderFault::Credential(..) | OrderFault::Evidence(_) => {
            StatusCode::FORBIDDEN
        }
    }
}

fn unreadable(why: &str) -> Response<Full<Bytes>> {
    let why = format!("this is no stop order, as portctl stop-order make writes it: {why}");
    refused(StatusCode::BAD_REQUEST, "ORDER_UNREADABLE", &why)
}

fn refused(status: StatusCode, code: &str, why: &str) -> Response<Full<Bytes>> {
    said(status, &json!({ "error": code, "message": why }))
}

fn said(status: StatusCode, answer: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{answer}\n"))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

const PATH: &str = "/v1/stop";

/// A signature in armor and what it signs take under 2 KiB.
const ORDER_BYTES_MAX: usize = 16 * 1024;

/// People with paper in their hands, and those who would keep them out: further ones wait in the
/// backlog.
const CONNECTIONS_MAX: usize = 256;

/// Of them, from one address.
const CONNECTIONS_OF_ONE_MAX: usize = 16;

/// Addresses whose rates are remembered, before those that have not come lately are forgotten.
const ADDRESSES_MAX: usize = 10_000;

/// From one address. Verifying one takes some 100 microseconds.
const ORDERS_PER_SECOND: NonZeroU32 = match NonZeroU32::new(20) {
    Some(many) => many,
    None => NonZeroU32::MIN,
};

/// From an open connection to its end: nobody holds a slot for long.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// To a complete request head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(3);

/// Headers of one request.
const HEADERS_MAX: usize = 32;

/// Bytes of one request head; hyper's own minimum.
const BUFFER_BYTES_MAX: usize = 8 * 1024;

/// How long to wait after a failed `accept`.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
