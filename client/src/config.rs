//! Where the service is and who we are: an endpoint and three PEM files.
//!
//! The private key is read, handed to TLS and never printed; errors name paths, not contents.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tonic::transport::Uri;

/// How to reach a plane of the service.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `https://host:port`.
    pub endpoint: String,
    /// The name the service's certificate must carry, if it is not the endpoint's host.
    pub server_name: Option<String>,
    /// PEM file of the authorities that the service's certificate may come from.
    pub ca: PathBuf,
    /// PEM file of our certificate, its issuers after it.
    pub certificate: PathBuf,
    /// PEM file of our private key.
    pub private_key: PathBuf,
    /// Longest wait for TCP connect and TLS handshake together. Five seconds unless set.
    pub connect_timeout: Duration,
    /// Deadline of one unary call, also told to the service. Thirty seconds unless set.
    pub request_timeout: Duration,
}

impl ClientConfig {
    /// With the endpoint's host as server name and the default bounds.
    pub fn new(
        endpoint: impl Into<String>,
        ca: impl Into<PathBuf>,
        certificate: impl Into<PathBuf>,
        private_key: impl Into<PathBuf>,
    ) -> Self {
        Self {
            endpoint: endpoint.into(),
            server_name: None,
            ca: ca.into(),
            certificate: certificate.into(),
            private_key: private_key.into(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
        }
    }

    /// The endpoint, taken apart.
    pub(crate) fn target(&self) -> Result<Target, ConfigError> {
        let fault = || ConfigError::Endpoint { endpoint: self.endpoint.clone() };
        let uri: Uri = self.endpoint.parse().map_err(|_| fault())?;
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        if uri.scheme_str() != Some("https") || !bare {
            return Err(fault());
        }
        // A literal IPv6 address is in brackets in a URI and nowhere else.
        let host = uri.host().ok_or_else(fault)?.trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().ok_or_else(fault)?;
        let name = self.server_name.clone().unwrap_or_else(|| host.clone());
        let server_name = ServerName::try_from(name.clone())
            .map_err(|_| ConfigError::ServerName { server_name: name })?;
        Ok(Target { uri, host, port, server_name })
    }

    /// TLS 1.3 with our certificate, trusting `ca` and nothing else.
    pub(crate) fn tls(&self) -> Result<rustls::ClientConfig, ConfigError> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(PemFile::Ca, &self.ca)? {
            let path = || self.ca.clone();
            roots.add(authority).map_err(|source| ConfigError::Ca { path: path(), source })?;
        }
        let chain = certificates(PemFile::Certificate, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.private_key)
            .map_err(|source| unreadable(PemFile::PrivateKey, &self.private_key, source))?;
        // Named here because a process default may be missing, or another provider.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(ConfigError::Tls)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|source| ConfigError::Identity {
                certificate: self.certificate.clone(),
                private_key: self.private_key.clone(),
                source,
            })?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        // The service issues no tickets; a resumed session would skip looking at certificates.
        tls.resumption = rustls::client::Resumption::disabled();
        Ok(tls)
    }
}

/// The endpoint, parsed.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) uri: Uri,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) server_name: ServerName<'static>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The endpoint is not of the form we want.
    #[error("endpoint {endpoint:?} is not of the form https://host:port")]
    Endpoint {
        /// As configured.
        endpoint: String,
    },
    /// The server name is neither a DNS name nor an address.
    #[error("server name {server_name:?} is neither a DNS name nor an IP address")]
    ServerName {
        /// As configured.
        server_name: String,
    },
    /// A PEM file is missing or unreadable.
    #[error("the {file} file {path} cannot be read", path = path.display())]
    Read {
        /// Which of the three.
        file: PemFile,
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file was read but is not PEM, or has no such item.
    #[error("the {file} file {path} holds no usable PEM {file}", path = path.display())]
    Pem {
        /// Which of the three.
        file: PemFile,
        /// Its path.
        path: PathBuf,
        /// What the parser said.
        source: pem::Error,
    },
    /// An authority's certificate cannot be used.
    #[error("an authority in {path} cannot be used", path = path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// What TLS said.
        source: rustls::Error,
    },
    /// Certificate and key do not belong together, or are of an unknown kind.
    #[error(
        "certificate {certificate} and key {private_key} cannot be used together",
        certificate = certificate.display(), private_key = private_key.display()
    )]
    Identity {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        private_key: PathBuf,
        /// What TLS said.
        source: rustls::Error,
    },
    /// This build cannot do TLS 1.3.
    #[error("TLS 1.3 is not available")]
    Tls(#[source] rustls::Error),
}

/// Which PEM file an error is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PemFile {
    /// Authorities we trust.
    Ca,
    /// Our certificate.
    Certificate,
    /// Our key.
    PrivateKey,
}

impl fmt::Display for PemFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Ca => "CA certificate",
            Self::Certificate => "certificate",
            Self::PrivateKey => "private key",
        })
    }
}

fn certificates(file: PemFile, path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Ok(found) if found.is_empty() => Err(unreadable(file, path, pem::Error::NoItemsFound)),
        Ok(found) => Ok(found),
        Err(source) => Err(unreadable(file, path, source)),
    }
}

fn unreadable(file: PemFile, path: &Path, source: pem::Error) -> ConfigError {
    let path = path.to_owned();
    if let pem::Error::Io(source) = source {
        return ConfigError::Read { file, path, source };
    }
    ConfigError::Pem { file, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(endpoint: &str) -> ClientConfig {
        ClientConfig::new(endpoint, "ca.pem", "cert.pem", "key.pem")
    }

    #[test]
    fn an_endpoint_is_https_with_host_and_port_and_nothing_else() {
        for endpoint in [
            "http://localhost:1",
            "https://localhost",
            "localhost:1",
            "https://localhost:1/path",
            "https://localhost:1?x=y",
            "",
        ] {
            let refused = config(endpoint).target();
            assert!(matches!(refused, Err(ConfigError::Endpoint { .. })), "{endpoint}");
        }
        assert_eq!(config("https://localhost:7443").target().expect("endpoint").port, 7443);
    }

    #[test]
    fn an_ipv6_endpoint_loses_its_brackets() {
        let target = config("https://[::1]:7443").target().expect("endpoint");
        assert_eq!(target.host, "::1");
        assert!(matches!(target.server_name, ServerName::IpAddress(_)));
    }

    #[test]
    fn a_missing_pem_file_is_named_with_its_role() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("typo.pem");
        let config = ClientConfig::new("https://localhost:1", &path, &path, &path);
        let error = config.tls().expect_err("no such file");
        assert!(error.to_string().contains("CA certificate file"), "{error}");
        assert!(error.to_string().contains("typo.pem"), "{error}");
    }

    #[test]
    fn a_file_without_certificates_is_refused_rather_than_trusting_nobody() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("empty.pem");
        std::fs::write(&path, "no PEM here\n").expect("write");
        let config = ClientConfig::new("https://localhost:1", &path, &path, &path);
        assert!(matches!(config.tls(), Err(ConfigError::Pem { file: PemFile::Ca, .. })));
    }
}
