//! One mutual-TLS connection to a plane of the service, opened anew when it is lost.
//!
//! TLS is ours and not tonic's, as in the service: TLS 1.3 only, one named provider, one bound over
//! TCP connect and handshake together, and errors that still know what happened.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::AlertDescription;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use crate::config::{ClientConfig, ConfigError, Target};
use crate::error::{CallError, Refusal, TransportDetails, TransportError, Trouble};
use crate::tls_watch::{LastAlert, Watched, tls_error};

/// A channel and what is needed to explain its failures.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    pub(crate) channel: Channel,
    endpoint: Arc<str>,
    alert: LastAlert,
    request_timeout: Duration,
}

/// Failing to make a [`Transport`].
pub(crate) enum OpenError {
    Config(ConfigError),
    Unreachable(TransportError),
}

impl Transport {
    /// Connects once, to fail early; after that the channel reconnects by itself when used.
    pub(crate) async fn open(config: &ClientConfig) -> Result<Self, OpenError> {
        let target = config.target().map_err(OpenError::Config)?;
        let tls = Arc::new(config.tls().map_err(OpenError::Config)?);
        let alert = LastAlert::default();
        let unreachable = |error: tonic::transport::Error| {
            OpenError::Unreachable(explain(&config.endpoint, alert.seen(), &error))
        };
        let endpoint = Endpoint::new(target.uri.clone())
            .and_then(|endpoint| endpoint.user_agent(USER_AGENT))
            .map_err(unreachable)?
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_ANSWER)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES);
        let dial = Arc::new(Dial {
            target,
            tls: TlsConnector::from(tls),
            timeout: config.connect_timeout,
            alert: alert.clone(),
        });
        let connector = tower::service_fn(move |_| {
            let dial = Arc::clone(&dial);
            async move { dial.connect().await.map(TokioIo::new) }
        });
        let channel = endpoint.connect_with_connector(connector).await.map_err(unreachable)?;
        let (endpoint, request_timeout) = (config.endpoint.as_str().into(), config.request_timeout);
        Ok(Self { channel, endpoint, alert, request_timeout })
    }

    /// A unary call's request, with its deadline.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.request_timeout);
        request
    }

    /// Waits for a stream to open, at most as long as for a unary call. The stream itself gets no
    /// deadline.
    pub(crate) async fn within_deadline<T>(
        &self,
        opening: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<Response<T>, CallError> {
        match tokio::time::timeout(self.request_timeout, opening).await {
            Ok(opened) => opened.map_err(|status| self.error(&status)),
            Err(late) => Err(CallError::Unreachable(TransportError {
                endpoint: self.endpoint.to_string(),
                trouble: Trouble::Deadline,
                source: TransportDetails(late.to_string()),
            })),
        }
    }

    /// What a status means. One that was made on this side refuses nothing: it has a source, or,
    /// from a connection that was not there when it was needed, nothing at all that a peer would
    /// send.
    pub(crate) fn error(&self, status: &Status) -> CallError {
        let bare = status.metadata().is_empty() && status.details().is_empty();
        let ours = status.source().is_some() || (bare && status.code() == Code::Unknown);
        if !ours {
            return CallError::Refused(Box::new(Refusal::from(status)));
        }
        CallError::Unreachable(explain(&self.endpoint, self.alert.seen(), status))
    }

    /// A connection that ended without a word.
    pub(crate) fn ended(&self) -> TransportError {
        TransportError {
            endpoint: self.endpoint.to_string(),
            trouble: Trouble::ConnectionLost,
            source: TransportDetails("the stream ended with requests unanswered".to_owned()),
        }
    }
}

/// Everything a new connection needs.
struct Dial {
    target: Target,
    tls: TlsConnector,
    timeout: Duration,
    alert: LastAlert,
}

impl Dial {
    async fn connect(&self) -> Result<Watched<TlsStream<TcpStream>>, DialError> {
        self.alert.clear();
        let connected = tokio::time::timeout(self.timeout, self.connect_unbounded()).await;
        connected.map_err(|_| DialError::Timeout { after: self.timeout })?
    }

    async fn connect_unbounded(&self) -> Result<Watched<TlsStream<TcpStream>>, DialError> {
        let Target { host, port, server_name, .. } = &self.target;
        let found = tokio::net::lookup_host((host.as_str(), *port)).await;
        let found = found.map_err(|source| DialError::Lookup { host: host.clone(), source })?;
        let addresses: Vec<SocketAddr> = found.collect();
        let tcp = TcpStream::connect(addresses.as_slice()).await.map_err(DialError::Tcp)?;
        tcp.set_nodelay(true).map_err(DialError::Tcp)?;
        let tls = self.tls.connect(server_name.clone(), tcp).await.map_err(DialError::Tls)?;
        Ok(Watched::new(tls, self.alert.clone()))
    }
}

/// Failing to connect.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("looking up {host}")]
    Lookup { host: String, source: io::Error },
    #[error("TCP connect")]
    Tcp(#[source] io::Error),
    #[error("TLS handshake")]
    Tls(#[source] io::Error),
    #[error("no connection within {after:?}")]
    Timeout { after: Duration },
}

/// Finds, in a chain of errors, the one that says what to check.
fn explain(
    endpoint: &str,
    alert: Option<AlertDescription>,
    error: &(dyn Error + 'static),
) -> TransportError {
    let mut details: Vec<String> = Vec::new();
    let mut trouble = None;
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        // tonic's own wrappers repeat what they wrap, or say only "transport error".
        let wrapper = error.is::<Status>() || error.is::<tonic::transport::Error>();
        if !wrapper && details.last() != Some(&text) {
            details.push(text);
        }
        if let Some(dial) = error.downcast_ref::<DialError>() {
            trouble = Some(dial_trouble(dial));
        }
        if error.is::<tonic::TimeoutExpired>() {
            trouble = Some(Trouble::Deadline);
        }
        next = error.source();
    }
    let trouble = trouble.or_else(|| alert.map(alert_trouble)).unwrap_or(Trouble::ConnectionLost);
    if details.is_empty() {
        details.push(error.to_string());
    }
    let source = TransportDetails(details.join(": "));
    TransportError { endpoint: endpoint.to_owned(), trouble, source }
}

fn dial_trouble(error: &DialError) -> Trouble {
    match error {
        DialError::Lookup { .. } => Trouble::UnknownHost,
        DialError::Tcp(source) if source.kind() == io::ErrorKind::ConnectionRefused => {
            Trouble::NothingListens
        }
        DialError::Tcp(source) if source.kind() == io::ErrorKind::TimedOut => {
            Trouble::ConnectTimeout
        }
        DialError::Tcp(_) => Trouble::ConnectionLost,
        DialError::Timeout { .. } => Trouble::ConnectTimeout,
        DialError::Tls(source) => match tls_error(source) {
            Some(rustls::Error::InvalidCertificate(_)) => Trouble::ServiceNotTrusted,
            Some(rustls::Error::AlertReceived(alert)) => alert_trouble(*alert),
            Some(_) => Trouble::Tls,
            None => Trouble::ConnectionLost,
        },
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "rustls's enum is open and not ours")]
fn alert_trouble(alert: AlertDescription) -> Trouble {
    match alert {
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateRequired
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => Trouble::CertificateRefused,
        _ => Trouble::Tls,
    }
}

const USER_AGENT: &str = concat!("portcullis-client/", env!("CARGO_PKG_VERSION"));

/// A peer that vanished without closing is noticed after this and [`KEEP_ALIVE_ANSWER`].
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(10);

/// Room for many answers in flight: a thousand replies with raw transactions of a kilobyte.
const WINDOW_BYTES: u32 = 1024 * 1024;
