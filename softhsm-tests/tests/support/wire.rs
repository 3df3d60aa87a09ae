//! The wire itself, for what no well-meaning client would send: no certificate, no request id.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_client::KeyRef;
use portcullis_client::wire as v1;
use portcullis_softhsm_tests::pki::Issued;
use portcullis_softhsm_tests::world::Failure;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
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
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots);
    let mut tls = match identity {
        None => tls.with_no_client_auth(),
        Some(issued) => {
            let certificate = CertificateDer::from_pem_file(&issued.certificate)?;
            let key = PrivateKeyDer::from_pem_file(&issued.private_key)?;
            tls.with_client_auth_cert(vec![certificate], key)?
        }
    };
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Dial { address, tls: TlsConnector::from(Arc::new(tls)) })
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

#[derive(Clone)]
struct Dial {
    address: SocketAddr,
    tls: TlsConnector,
}

impl Service<Uri> for Dial {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let Self { address, tls } = self.clone();
        Box::pin(async move {
            let tcp = TcpStream::connect(address).await?;
            let name = ServerName::IpAddress(address.ip().into());
            Ok(TokioIo::new(tls.connect(name, tcp).await?))
        })
    }
}
