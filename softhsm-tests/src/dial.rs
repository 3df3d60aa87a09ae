//! A connection whose every property is chosen here: with any certificate or none, and with as
//! small a window as a test needs. The client that callers link chooses for itself.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;

use crate::world::Failure;

/// Opens TLS connections to one address, for HTTP/2.
#[derive(Clone)]
pub struct Dial {
    address: SocketAddr,
    tls: TlsConnector,
}

/// PEM files of a client's certificate and its key.
pub type Pem<'a> = (&'a Path, &'a Path);

impl Dial {
    /// Believes this authority; shows this certificate, or none.
    pub fn new(
        address: SocketAddr,
        authority: &Path,
        identity: Option<Pem<'_>>,
    ) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority)?)?;
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots);
        let mut tls = match identity {
            None => tls.with_no_client_auth(),
            Some((certificate, key)) => {
                let certificate = CertificateDer::from_pem_file(certificate)?;
                let key = PrivateKeyDer::from_pem_file(key)?;
                tls.with_client_auth_cert(vec![certificate], key)?
            }
        };
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { address, tls: TlsConnector::from(Arc::new(tls)) })
    }
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
