//! Health and metrics in plain HTTP/1.1, for a probe and a scraper on the same machine.
//!
//! Never binds anything but a loopback address, never changes anything, and answers three paths.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// What the listener asks of the rest of the process. Both must answer quickly and not block.
pub struct Probe {
    /// Why the process should get no traffic now, one reason an entry; empty when it is ready.
    pub ready: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Metrics in the Prometheus text format.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
}

/// A listener bound to a loopback address.
#[derive(Debug)]
pub struct Loopback {
    listener: TcpListener,
    address: SocketAddr,
}

/// Why the listener could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LoopbackError {
    /// The address can be reached from other machines; this listener has no authentication.
    #[error("{address} is not a loopback address: health and metrics are served in plaintext")]
    NotLoopback {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The system refused the address.
    #[error("{address} cannot be bound")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl Loopback {
    /// Binds `address`; port 0 picks a free one.
    ///
    /// # Errors
    /// [`LoopbackError`], when the address is not loopback or cannot be had.
    pub async fn bind(address: SocketAddr) -> Result<Self, LoopbackError> {
        if !address.ip().is_loopback() {
            return Err(LoopbackError::NotLoopback { address });
        }
        let failed = |source| LoopbackError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers `/livez`, `/readyz` and `/metrics` until `shutdown` resolves.
    pub async fn serve(self, probe: Probe, shutdown: impl Future<Output = ()>) {
        let probe = Arc::new(probe);
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut tasks = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let arrival = async {
                let slot = Arc::clone(&slots).acquire_owned().await.ok();
                (slot, self.listener.accept().await)
            };
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = tasks.join_next() => {}
                (slot, accepted) = arrival => match accepted {
                    Ok((tcp, _)) => {
                        let probe = Arc::clone(&probe);
                        tasks.spawn(async move {
                            converse(tcp, &probe).await;
                            drop(slot);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "accepting a health connection failed");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        tasks.shutdown().await;
    }
}

async fn converse(tcp: TcpStream, probe: &Probe) {
    let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(probe, &request)) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(tcp), service);
    // How a probe's connection ends is of no interest.
    timeout(CONNECTION_TIMEOUT, connection).await.ok();
}

fn answer(probe: &Probe, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let page = match request.uri().path() {
        "/livez" => live,
        "/readyz" => ready,
        "/metrics" => metrics,
        _ => return text(StatusCode::NOT_FOUND, "not found\n".to_owned()),
    };
    if request.method() == Method::GET {
        page(probe)
    } else {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        response
    }
}

fn live(_: &Probe) -> Response<Full<Bytes>> {
    text(StatusCode::OK, "ok\n".to_owned())
}

fn ready(probe: &Probe) -> Response<Full<Bytes>> {
    let reasons = (probe.ready)();
    if reasons.is_empty() {
        return text(StatusCode::OK, "ok\n".to_owned());
    }
    // One line each, whatever a reason contains.
    let lines: String =
        reasons.iter().map(|reason| reason.replace(['\r', '\n'], " ") + "\n").collect();
    text(StatusCode::SERVICE_UNAVAILABLE, lines)
}

fn metrics(probe: &Probe) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::OK, (probe.metrics)());
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A probe, a scraper, and a person with curl; further ones wait in the backlog.
const CONNECTIONS_MAX: usize = 16;

/// From an idle connection to a complete request head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// A scraper that keeps its connection alive comes back after this; nobody holds a slot for ever.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);

/// Headers of one request.
const HEADERS_MAX: usize = 32;

/// Bytes of one request head; hyper's own minimum.
const BUFFER_BYTES_MAX: usize = 8 * 1024;

/// How long to wait after a failed `accept`.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
