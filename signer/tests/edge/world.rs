//! Two CAs, a clock that stands still, a plane on port 0, and clients that speak raw gRPC.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis::edge::{EdgeCounters, Limits, Peer, Plane, Trust, TrustFiles, WallClock};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::AlertDescription;
use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt;

/// 2030-01-01. Certificates run from 2020 to 2100 unless a test says otherwise.
pub const NOW: u64 = 1_893_456_000;
pub const DAY: u64 = 86_400;

/// What `grpc-status` says.
pub const OK: i32 = 0;
pub const INVALID_ARGUMENT: i32 = 3;
pub const DEADLINE_EXCEEDED: i32 = 4;
pub const UNAUTHENTICATED: i32 = 16;

/// Far longer than anything takes; only a broken test waits this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::SeqCst);
    }

    pub fn wall(&self) -> WallClock {
        let seconds = Arc::clone(&self.0);
        Arc::new(move || {
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst))
        })
    }
}

pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    pub der: CertificateDer<'static>,
}

pub struct Leaf {
    pub chain: Vec<CertificateDer<'static>>,
    pub pem: String,
    pub key: KeyPair,
}

impl Ca {
    pub fn new(name: &str) -> Self {
        Self::until(name, 2100)
    }

    /// Valid to the first of January of a year.
    pub fn until(name: &str, year: i32) -> Self {
        let mut params = params(name);
        params.not_after = date_time_ymd(year, 1, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self { issuer: Issuer::new(params, key), pem, der }
    }

    /// A leaf without SAN and usage, but for what `change` adds.
    pub fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = params(name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { chain: vec![certificate.der().clone()], pem: certificate.pem(), key }
    }

    /// A good client certificate with this SPIFFE id.
    pub fn client(&self, id: &str, serial: u64) -> Leaf {
        self.issue("a client", |params| {
            params.serial_number = Some(SerialNumber::from(serial));
            params.subject_alt_names = vec![uri(id)];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    pub fn server(&self, serial: u64) -> Leaf {
        self.issue("the server", |params| {
            params.serial_number = Some(SerialNumber::from(serial));
            params.subject_alt_names = vec![dns("localhost")];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        })
    }

    /// A CRL until 2060.
    pub fn crl(&self, revoked: &[u64]) -> String {
        let revoked_certs = revoked
            .iter()
            .map(|serial| RevokedCertParams {
                serial_number: SerialNumber::from(*serial),
                revocation_time: date_time_ymd(2025, 1, 1),
                reason_code: None,
                invalidity_date: None,
            })
            .collect();
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 1, 1),
            next_update: date_time_ymd(2060, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    params
}

pub fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

pub fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

/// Replaces a file as an operator should: by renaming over it.
pub fn put(path: &Path, content: &str, mode: u32) {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, content).unwrap();
    std::fs::set_permissions(&fresh, PermissionsExt::from_mode(mode)).unwrap();
    std::fs::rename(&fresh, path).unwrap();
}

pub struct World {
    folder: TempDir,
    pub clock: TestClock,
    pub server_ca: Ca,
    pub client_ca: Ca,
    pub files: TrustFiles,
    pub limits: Limits,
}

impl World {
    /// No CRL, and limits that nothing meets by accident.
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        let files = TrustFiles {
            certificate: path("server.pem"),
            private_key: path("server.key"),
            client_ca: path("clients.pem"),
            crl: Vec::new(),
        };
        let (server_ca, client_ca) = (Ca::new("server CA"), Ca::new("client CA"));
        let clock = TestClock(Arc::new(AtomicU64::new(NOW)));
        let limits = Limits {
            handshake_timeout: PATIENCE,
            recheck_interval: PATIENCE,
            drain_timeout: PATIENCE,
            ..Limits::default()
        };
        put(&files.client_ca, &client_ca.pem, 0o644);
        let world = Self { folder, clock, server_ca, client_ca, files, limits };
        world.install(&world.server_ca.server(1));
        world
    }

    /// With a CRL that revokes nobody yet.
    pub fn with_crl() -> Self {
        let mut world = Self::new();
        world.files.crl = vec![world.path("clients.crl")];
        world.revoke(&[]);
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn install(&self, server: &Leaf) {
        put(&self.files.private_key, &server.key.serialize_pem(), 0o600);
        put(&self.files.certificate, &server.pem, 0o644);
    }

    pub fn revoke(&self, serials: &[u64]) {
        put(&self.files.crl[0], &self.client_ca.crl(serials), 0o644);
    }

    pub fn trust(&self) -> Arc<Trust> {
        Trust::load(self.files.clone(), self.clock.wall()).unwrap()
    }

    pub async fn start(&self) -> Running {
        self.start_with(TokioExecutor::new()).await
    }

    pub async fn start_with<E>(&self, executor: E) -> Running
    where
        E: hyper::rt::bounds::Http2ServerConnExec<portcullis::edge::StreamFuture, Body>,
        E: Send + Sync + Unpin + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (trust, counters) = (self.trust(), Arc::new(EdgeCounters::default()));
        let plane = Plane {
            listener,
            trust: Arc::clone(&trust),
            limits: self.limits.clone(),
            counters: Arc::clone(&counters),
        };
        let app =
            App { health: health(), gate: Arc::new(Semaphore::new(0)), calls: Arc::default() };
        let (gate, calls) = (Arc::clone(&app.gate), Arc::clone(&app.calls));
        let (stop, stopped) = oneshot::channel::<()>();
        let service = tower::service_fn(move |request| app.clone().answer(request));
        let task = tokio::spawn(plane.serve(service, executor, async move {
            stopped.await.ok();
        }));
        Running { address, trust, counters, gate, calls, stop, task }
    }

    /// What a client with this certificate (or none) uses.
    pub fn client(&self, leaf: Option<&Leaf>) -> Arc<ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.server_ca.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match leaf {
            Some(leaf) => {
                let key = PrivateKeyDer::try_from(leaf.key.serialize_der()).unwrap();
                builder.with_client_auth_cert(leaf.chain.clone(), key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }

    /// A fresh, good client certificate and its configuration.
    pub fn good_client(&self, serial: u64) -> Arc<ClientConfig> {
        self.client(Some(&self.client_ca.client("spiffe://bank.example/payments", serial)))
    }
}

/// tonic's health service, and three paths of our own: `/slow` waits at the gate, `/who` names the
/// peer, `/endless` begins a reply and leaves it at that.
#[derive(Clone)]
struct App {
    health: Routes,
    gate: Arc<Semaphore>,
    calls: Arc<AtomicU64>,
}

impl App {
    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let peer = Arc::clone(request.extensions().get::<Arc<Peer>>().unwrap());
        if request.uri().path() == "/slow" {
            self.gate.acquire().await.unwrap().forget();
        }
        if request.uri().path() == "/endless" {
            return Ok(Response::new(Body::new(Endless)));
        }
        if matches!(request.uri().path(), "/slow" | "/who") {
            let name = peer.identity().name().to_owned();
            let reply = Response::builder().header("grpc-status", "0").header("x-peer", name);
            return Ok(reply.body(Body::empty()).unwrap());
        }
        self.health.oneshot(request).await
    }
}

/// A body that never says anything.
struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, tonic::Status>>> {
        Poll::Pending
    }
}

fn health() -> Routes {
    let (_, server) = tonic_health::server::health_reporter();
    Routes::new(server)
}

pub struct Running {
    pub address: SocketAddr,
    pub trust: Arc<Trust>,
    pub counters: Arc<EdgeCounters>,
    pub gate: Arc<Semaphore>,
    pub calls: Arc<AtomicU64>,
    pub stop: oneshot::Sender<()>,
    pub task: JoinHandle<()>,
}

impl Running {
    pub async fn connect(&self, config: &Arc<ClientConfig>) -> Client {
        self.try_connect(config).await.unwrap()
    }

    pub async fn try_connect(&self, config: &Arc<ClientConfig>) -> std::io::Result<Client> {
        let tls = self.tls(config).await?;
        let certificates = tls.get_ref().1.peer_certificates().unwrap_or_default();
        let server_leaf = certificates[0].clone().into_owned();
        let (send, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls))
                .await
                .map_err(std::io::Error::other)?;
        let connection = tokio::spawn(async move {
            connection.await.ok();
        });
        Ok(Client { send, connection, server_leaf })
    }

    pub async fn tls(&self, config: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::clone(config)).connect(name, tcp).await
    }

    /// Connects and asks for health once.
    pub async fn ask_once(&self, config: &Arc<ClientConfig>) -> Result<i32, Gone> {
        self.try_connect(config).await.map_err(|_| Gone)?.check().await
    }

    /// The TLS alert with which the server refuses this client.
    pub async fn alert(&self, config: &Arc<ClientConfig>) -> AlertDescription {
        let error = match self.tls(config).await {
            Ok(mut tls) => tls.read_u8().await.expect_err("the server refuses"),
            Err(error) => error,
        };
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::AlertReceived(alert)) => *alert,
            other => panic!("no alert but {other:?} ({error})"),
        }
    }

    pub fn count(&self, name: &str) -> u64 {
        self.counters.snapshot().into_iter().find(|(known, _)| *known == name).unwrap().1
    }

    pub async fn until(&self, name: &str, value: u64) {
        eventually(&format!("{name} = {value}"), || self.count(name) == value).await;
    }
}

/// The connection ended before there was a reply.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone;

pub struct Client {
    send: SendRequest<Full<Bytes>>,
    connection: JoinHandle<()>,
    pub server_leaf: CertificateDer<'static>,
}

impl Client {
    /// `grpc.health.v1.Health/Check` of the whole server; the gRPC status.
    pub async fn check(&mut self) -> Result<i32, Gone> {
        self.call("/grpc.health.v1.Health/Check").await.map(|(status, _)| status)
    }

    /// The gRPC status and the `x-peer` header.
    pub async fn call(&mut self, path: &str) -> Result<(i32, String), Gone> {
        self.send(path).await
    }

    /// Sends now, and leaves the reply to whoever awaits it.
    pub fn send(
        &mut self,
        path: &str,
    ) -> impl Future<Output = Result<(i32, String), Gone>> + Send + 'static {
        self.send_within(path, None)
    }

    /// The same with a `grpc-timeout`.
    pub fn send_within(
        &mut self,
        path: &str,
        timeout: Option<&str>,
    ) -> impl Future<Output = Result<(i32, String), Gone>> + Send + 'static {
        let mut request = Request::post(format!("https://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(timeout) = timeout {
            request = request.header("grpc-timeout", timeout);
        }
        let request = request.body(Full::new(Bytes::from_static(&[0; 5]))).unwrap();
        let reply = self.send.send_request(request);
        async move {
            let (head, body) = reply.await.map_err(|_| Gone)?.into_parts();
            let body = body.collect().await.map_err(|_| Gone)?;
            let text = |map: &http::HeaderMap, name: &str| {
                map.get(name).map(|value| value.to_str().unwrap().to_owned())
            };
            let status = text(&head.headers, "grpc-status")
                .or_else(|| body.trailers().and_then(|trailers| text(trailers, "grpc-status")))
                .ok_or(Gone)?;
            let peer = text(&head.headers, "x-peer").unwrap_or_default();
            Ok((status.parse().unwrap(), peer))
        }
    }

    /// Returns when the server has closed the connection.
    pub async fn closed(self) {
        tokio::time::timeout(PATIENCE, self.connection).await.expect("closed").unwrap();
    }
}

pub async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "never came true: {what}");
}
