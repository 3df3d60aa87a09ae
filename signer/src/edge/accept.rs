//! Accepts connections, bounds them, and lets only authenticated ones be served.
//!
//! An own loop, because tonic's TLS configuration has no CRL, no reload and no bound on handshakes.
//! Nobody is told here why they were refused: the counters and the log say it to the operator.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::rt::bounds::Http2ServerConnExec;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::body::Body;
use tower::Service;

use super::connection::{self, Ended, StreamFuture, Watch};
use super::counters::{EdgeCounters, Open, count};
use super::handshakes::{Handshakes, Turn};
use super::identity::PeerIdentity;
use super::limits::Limits;
use super::material::ALPN_H2;
use super::peer::Peer;
use super::places::{Full, Place, Places};
use super::trust::Trust;

/// One listener with its trust, its limits and its counters.
pub struct Plane {
    /// Bound and listening.
    pub listener: TcpListener,
    /// Who may connect, and what we show them.
    pub trust: Arc<Trust>,
    /// How many, how long.
    pub limits: Limits,
    /// What happened so far; keep a clone for metrics.
    pub counters: Arc<EdgeCounters>,
}

impl Plane {
    /// Serves `service` (tonic's `Routes`, for instance; cloned for each request) until `shutdown`
    /// resolves. Then accepts nobody, asks every connection to go away, and returns when the
    /// requests in flight are answered or `drain_timeout` is over.
    ///
    /// `executor` runs each request's future; pass `TokioExecutor`, or one that wraps it.
    pub async fn serve<S, E>(self, service: S, executor: E, shutdown: impl Future<Output = ()>)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send,
        E: Http2ServerConnExec<StreamFuture, Body> + Send + Sync + Unpin + 'static,
    {
        let Self { listener, trust, limits, counters } = self;
        let drain_timeout = limits.drain_timeout;
        let (stop, stopping) = watch::channel(false);
        let door = Arc::new(Door::new(trust, limits, counters, stopping));
        let mut tasks = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(ended) = tasks.join_next() => door.reap(ended),
                arrival = door.next(&listener) => {
                    let door = Arc::clone(&door);
                    tasks.spawn(door.receive(arrival, service.clone(), executor.clone()));
                }
            }
        }
        drop(listener);
        stop.send_replace(true);
        let drained = async {
            while let Some(ended) = tasks.join_next().await {
                door.reap(ended);
            }
        };
        // Connections end by themselves at the same deadline; the second of grace is for those that
        // do so at the last moment.
        timeout(drain_timeout.saturating_add(GRACE), drained).await.ok();
        tasks.shutdown().await;
    }
}

/// What all connections of a plane share.
struct Door {
    trust: Arc<Trust>,
    limits: Limits,
    counters: Arc<EdgeCounters>,
    stopping: watch::Receiver<bool>,
    handshakes: Handshakes,
    connections: Places,
    accepted: AtomicU64,
}

/// A TCP connection whose turn it is to shake hands.
struct Arrival {
    tcp: TcpStream,
    remote: SocketAddr,
    turn: Turn,
    open: Open,
}

/// A peer and the places it takes up; they are free again when this is dropped.
struct Admitted {
    peer: Arc<Peer>,
    _place: Place,
    _open: Open,
}

impl Door {
    fn new(
        trust: Arc<Trust>,
        limits: Limits,
        counters: Arc<EdgeCounters>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let handshakes = Handshakes::new(limits.handshakes_max, limits.handshakes_per_source_max);
        let connections = Places::new(limits.connections_per_identity_max, limits.connections_max);
        let accepted = AtomicU64::new(0);
        Self { trust, limits, counters, stopping, handshakes, connections, accepted }
    }

    /// The next TCP connection. Never waits for those before it to finish. May be dropped and
    /// called again at any point without losing a connection.
    async fn next(&self, listener: &TcpListener) -> Arrival {
        loop {
            match listener.accept().await {
                Ok((tcp, remote)) => {
                    count(&self.counters.accepted);
                    let open = Open::new(&self.counters, |counters| &counters.handshakes_open);
                    let turn = self.handshakes.begin(remote.ip());
                    return Arrival { tcp, remote, turn, open };
                }
                Err(error) => {
                    count(&self.counters.accept_failed);
                    tracing::warn!(%error, "accepting a connection failed");
                    // Out of descriptors, most likely: trying again at once would spin.
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// From TCP connection to its end.
    async fn receive<S, E>(self: Arc<Self>, arrival: Arrival, service: S, executor: E)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        E: Http2ServerConnExec<StreamFuture, Body>,
    {
        let Arrival { tcp, remote, mut turn, open } = arrival;
        let mut stopping = self.stopping.clone();
        let shaken = tokio::select! {
            shaken = self.shake_hands(tcp, remote) => shaken,
            () = turn.lost() => {
                count(&self.counters.handshakes_crowded_out);
                None
            }
            _ = stopping.wait_for(|stopping| *stopping) => None,
        };
        drop((turn, open));
        let Some((tls, peer)) = shaken else { return };
        let Some(admitted) = self.admit(peer) else { return };
        let watch = Watch {
            peer: Arc::clone(&admitted.peer),
            trust: Arc::clone(&self.trust),
            counters: Arc::clone(&self.counters),
            number: self.accepted.fetch_add(1, Ordering::Relaxed),
            stopping,
        };
        match connection::run(tls, service, (executor, &self.limits), watch).await {
            Ended::Closed => {}
            Ended::CutOff => {
                count(&self.counters.connections_cut);
                tracing::warn!(peer = ?admitted.peer, "cut off: its certificate is no longer good");
            }
            Ended::Overran => count(&self.counters.connections_overran),
        }
    }

    /// TLS, then the one name in the certificate.
    async fn shake_hands(
        &self,
        tcp: TcpStream,
        remote: SocketAddr,
    ) -> Option<(TlsStream<TcpStream>, Arc<Peer>)> {
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let accept = TlsAcceptor::from(self.trust.config()).accept(tcp);
        let tls = match timeout(self.limits.handshake_timeout, accept).await {
            Ok(Ok(tls)) if tls.get_ref().1.alpn_protocol() == Some(ALPN_H2) => tls,
            Ok(Ok(_)) => {
                count(&self.counters.handshakes_failed);
                tracing::info!(%remote, "refused: the client did not offer h2 by ALPN");
                return None;
            }
            Ok(Err(error)) => {
                count(&self.counters.handshakes_failed);
                tracing::info!(%remote, %error, "handshake failed");
                return None;
            }
            Err(_) => {
                count(&self.counters.handshakes_timed_out);
                return None;
            }
        };
        let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
        let identity = PeerIdentity::from_verified(
            chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
        );
        match identity {
            Ok(identity) => {
                let peer = Peer::admit(identity, remote, Arc::clone(&self.trust));
                if peer.is_none() {
                    count(&self.counters.handshakes_failed);
                }
                Some((tls, peer?))
            }
            Err(error) => {
                count(&self.counters.identities_refused);
                tracing::warn!(%remote, %error, "refused: the certificate names nobody");
                None
            }
        }
    }

    fn admit(&self, peer: Arc<Peer>) -> Option<Admitted> {
        let place = match self.connections.share(peer.identity().name()).try_take() {
            Ok(place) => place,
            Err(Full::All) => {
                count(&self.counters.refused_full);
                tracing::warn!(?peer, "refused: too many connections");
                return None;
            }
            Err(Full::Name) => {
                count(&self.counters.refused_identity_full);
                tracing::warn!(?peer, "refused: too many connections of this identity");
                return None;
            }
        };
        let open = Open::new(&self.counters, |counters| &counters.connections_open);
        Some(Admitted { peer, _place: place, _open: open })
    }

    fn reap(&self, ended: Result<(), JoinError>) {
        if let Err(error) = ended {
            count(&self.counters.tasks_panicked);
            tracing::error!(%error, "a connection's task failed");
        }
    }
}

/// How long to wait after a failed `accept`.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a plane waits beyond its connections' own deadline.
const GRACE: Duration = Duration::from_secs(1);
