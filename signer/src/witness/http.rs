//! The witness's listener: plain HTTP/1.1. What comes in is signed by the journal, and what goes
//! out by the witness or the journal, so the connection keeps nothing secret and proves nothing.
//!
//! Anybody can connect. So each peer has a few connections, each connection one request and little
//! time, and what is worked on is counted by the work itself, also when whoever asked has gone.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use portcullis_policy::submission::SUBMISSION_BYTES_MAX;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::peers::{Peers, Visit};
use super::quiet::Quiet;
use super::{Cosigner, Refused, WitnessError};
use crate::clock;

/// A listener that is bound.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    pub(super) load: Load,
}

/// Who is connected, and what is worked on.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) peers: Peers,
    /// A permit is moved into the work, so that work whose peer has gone counts too.
    pub(super) jobs: Arc<Semaphore>,
}

impl Server {
    /// Binds an address; port 0 picks a free one.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Listen`].
    pub async fn bind(address: SocketAddr) -> Result<Self, WitnessError> {
        let failed = |source| WitnessError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let load = Load { peers: Peers::default(), jobs: Arc::new(Semaphore::new(JOBS_MAX)) };
        Ok(Self { listener, address, load })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers `POST /add-checkpoint`, `GET /checkpoint/` with the SHA-256 of an origin, and
    /// `GET /health`, until `shutdown` resolves.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Disk`] or [`WitnessError::Forgotten`]: going on would be guessing.
    pub async fn serve(
        self,
        cosigner: Arc<Cosigner>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), WitnessError> {
        let desk = Arc::new(Desk::new(cosigner.clone(), self.load));
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut tasks = JoinSet::new();
        let mut holds = interval(HOLDS_EVERY);
        holds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut shutdown, mut failed) = (pin!(shutdown), pin!(cosigner.failed()));
        let ended = loop {
            let arrival = async {
                let slot = Arc::clone(&slots).acquire_owned().await.ok();
                (slot, self.listener.accept().await)
            };
            tokio::select! {
                biased;
                error = &mut failed => break Err(error),
                () = &mut shutdown => break Ok(()),
                Some(_) = tasks.join_next() => {}
                _ = holds.tick() => cosigner.notice_holds(),
                (slot, accepted) = arrival => match accepted {
                    Ok((tcp, peer)) => {
                        let Some(visit) = desk.enter(peer) else { continue };
                        let desk = Arc::clone(&desk);
                        tasks.spawn(async move {
                            desk.converse(tcp).await;
                            drop((visit, slot));
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "accepting a connection failed");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        };
        tasks.shutdown().await;
        ended
    }
}

/// What all connections share.
struct Desk {
    cosigner: Arc<Cosigner>,
    load: Load,
    refusals: Quiet,
    crowds: Quiet,
}

impl Desk {
    fn new(cosigner: Arc<Cosigner>, load: Load) -> Self {
        Self { cosigner, load, refusals: Quiet::default(), crowds: Quiet::default() }
    }

    fn enter(&self, peer: SocketAddr) -> Option<Visit> {
        let visit = self.load.peers.enter(peer.ip());
        if visit.is_none()
            && let Some(unsaid) = self.crowds.speaks(clock::boot())
        {
            tracing::warn!(%peer, unsaid, "not answered: it has as many connections as one may");
        }
        visit
    }

    async fn converse(&self, tcp: TcpStream) {
        let service =
            service_fn(|request| async move { Ok::<_, Infallible>(self.answer(request).await) });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(false)
            .header_read_timeout(HEADER_TIMEOUT)
            .max_headers(HEADERS_MAX)
            .max_buf_size(BUFFER_BYTES_MAX)
            .serve_connection(TokioIo::new(tcp), service);
        // How a connection ends is of no interest.
        timeout(CONNECTION_TIMEOUT, connection).await.ok();
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if let Some(hash) = request.uri().path().strip_prefix(KEPT) {
            let is_get = request.method() == Method::GET;
            return if is_get { self.kept(hash.to_owned()).await } else { only("GET") };
        }
        match (request.uri().path(), request.method()) {
            ("/add-checkpoint", &Method::POST) => self.add(request.into_body()).await,
            ("/add-checkpoint", _) => only("POST"),
            ("/health", &Method::GET) => text(StatusCode::OK, "ok\n".to_owned()),
            ("/health", _) => only("GET"),
            _ => text(StatusCode::NOT_FOUND, "not found\n".to_owned()),
        }
    }

    async fn add(&self, body: Incoming) -> Response<Full<Bytes>> {
        let body = Limited::new(body, SUBMISSION_BYTES_MAX).collect();
        let body = match timeout(BODY_TIMEOUT, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return text(StatusCode::PAYLOAD_TOO_LARGE, "too long\n".to_owned()),
            Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "too slow\n".to_owned()),
        };
        let Ok(permit) = Arc::clone(&self.load.jobs).try_acquire_owned() else { return busy() };
        let cosigner = self.cosigner.clone();
        // Goes on to its end also if whoever asked has gone.
        let added = tokio::task::spawn_blocking(move || {
            let added = std::str::from_utf8(&body).map(|submission| cosigner.add(submission));
            drop(permit);
            added
        });
        match added.await {
            Ok(Ok(Ok(cosignature))) => text(StatusCode::OK, format!("{cosignature}\n")),
            Ok(Ok(Err(refused))) => self.refusal(&refused),
            Ok(Err(_)) => text(StatusCode::BAD_REQUEST, "malformed: it is no UTF-8\n".to_owned()),
            Err(error) => {
                tracing::error!(%error, "a submission panicked");
                text(StatusCode::INTERNAL_SERVER_ERROR, "a fault of this witness\n".to_owned())
            }
        }
    }

    /// What was cosigned last of a journal: what a signer that is told no compares its own with.
    async fn kept(&self, hash: String) -> Response<Full<Bytes>> {
        let Ok(permit) = Arc::clone(&self.load.jobs).try_acquire_owned() else { return busy() };
        let cosigner = self.cosigner.clone();
        // It may wait for the disk, which makes the next one last.
        let kept = tokio::task::spawn_blocking(move || {
            let kept = cosigner.kept(&hash);
            drop(permit);
            kept
        });
        match kept.await.ok().flatten() {
            Some(note) => text(StatusCode::OK, note),
            None => text(StatusCode::NOT_FOUND, "nothing was cosigned of it\n".to_owned()),
        }
    }

    fn refusal(&self, refused: &Refused) -> Response<Full<Bytes>> {
        if let Some(unsaid) = self.refusals.speaks(clock::boot()) {
            tracing::warn!(%refused, unsaid, "not cosigned");
        }
        refusal(refused)
    }
}

/// The one place that knows status codes.
fn refusal(refused: &Refused) -> Response<Full<Bytes>> {
    let status = match refused {
        Refused::Malformed(_) | Refused::Backwards { .. } => StatusCode::BAD_REQUEST,
        Refused::UnknownOrigin => StatusCode::NOT_FOUND,
        Refused::Unsigned(_) | Refused::Held { .. } => StatusCode::FORBIDDEN,
        Refused::Conflict { size } | Refused::Fork { size } => {
            let mut response = text(StatusCode::CONFLICT, format!("{size}\n"));
            let kind = HeaderValue::from_static("text/x.tlog.size");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            return response;
        }
        Refused::Inconsistent => StatusCode::UNPROCESSABLE_ENTITY,
        Refused::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
        Refused::Holds(_) | Refused::NotKept(_) | Refused::Forgotten { .. } | Refused::Clock => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    text(status, format!("{refused}\n"))
}

fn only(method: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {method}\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    response
}

fn busy() -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "busy: try again\n".to_owned());
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
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

/// Before the hash of an origin.
pub(super) const KEPT: &str = "/checkpoint/";

/// A witness has a handful of signers; further connections wait in the backlog.
const CONNECTIONS_MAX: usize = 64;

/// Submissions that are worked on at once; the disk takes them one by one.
const JOBS_MAX: usize = 8;

/// How often the log learns of holds, when nobody asks for a cosignature.
const HOLDS_EVERY: Duration = Duration::from_secs(5);

/// From the connection to a complete request head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// From there to the end of the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// From the connection to the end of the answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);

/// Headers of one request.
const HEADERS_MAX: usize = 32;

/// Bytes of one request head; hyper's own minimum.
const BUFFER_BYTES_MAX: usize = 8 * 1024;

/// How long to wait after a failed `accept`.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
