//! The wire itself, for what no well-meaning client would send: no certificate, no request id.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use portcullis_client::KeyRef;
use portcullis_client::wire as v1;
use portcullis_softhsm_tests::dial::Dial;
use portcullis_softhsm_tests::pki::Issued;
use portcullis_softhsm_tests::world::Failure;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response, Uri};
use tonic::transport::{Channel, Endpoint};
use v1::sign_request::Input;
use v1::signing_service_client::SigningServiceClient;

/// A connection with this certificate, or with none.
pub(crate) async fn connect(
    address: SocketAddr,
    authority: &Path,
    identity: Option<&Issued>,
) -> Result<Channel, Failure> {
    let dial = dial(address, authority, identity)?;
    let endpoint = Endpoint::try_from(format!("https://{address}"))?;
    Ok(endpoint.connect_with_connector(dial).await?)
}

/// A client without any of tonic's channel, which would act on a deadline by itself.
pub(crate) async fn bare(
    address: SocketAddr,
    authority: &Path,
    identity: &Issued,
) -> Result<SigningServiceClient<Bare>, Failure> {
    let uri = Uri::try_from(format!("https://{address}"))?;
    Ok(SigningServiceClient::with_origin(open(address, authority, identity).await?, uri))
}

/// A TLS connection, without anything of HTTP.
pub(crate) async fn tls(
    address: SocketAddr,
    authority: &Path,
    identity: &Issued,
) -> Result<TlsStream<TcpStream>, Failure> {
    let io = dial(address, authority, Some(identity))?.call(Uri::default()).await?;
    Ok(io.into_inner())
}

/// One connection, without anything of gRPC.
pub(crate) async fn open(
    address: SocketAddr,
    authority: &Path,
    identity: &Issued,
) -> Result<Bare, Failure> {
    let io = dial(address, authority, Some(identity))?.call(Uri::default()).await?;
    let (send, connection) = http2::handshake(TokioExecutor::new(), io).await?;
    tokio::spawn(connection);
    Ok(Bare(send))
}

fn dial(address: SocketAddr, authority: &Path, identity: Option<&Issued>) -> Result<Dial, Failure> {
    let identity = identity.map(|issued| (&*issued.certificate, &*issued.private_key));
    Dial::new(address, authority, identity)
}

/// A client that sends whatever it is given.
pub(crate) async fn signing(
    address: SocketAddr,
    authority: &Path,
    identity: Option<&Issued>,
) -> Result<SigningServiceClient<Channel>, Failure> {
    Ok(SigningServiceClient::new(connect(address, authority, identity).await?))
}

/// A request in which everything is right.
pub(crate) fn request(key: &KeyRef, preimage: &[u8]) -> v1::SignRequest {
    v1::SignRequest {
        request_id: "wire-1".into(),
        key_id: key.id.to_string(),
        expected_address: key.address.to_vec(),
        want_receipt: false,
        input: Some(Input::Transaction(preimage.to_vec())),
    }
}

/// One connection.
#[derive(Clone)]
pub(crate) struct Bare(http2::SendRequest<Body>);

impl Service<Request<Body>> for Bare {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
