//! Makes one TLS configuration out of certificate, key, CA bundle and CRLs.
//!
//! What we show (certificate and key), whom we trust (the CAs) and whom no more (each file of CRLs)
//! are parts of their own, each all or nothing: whatever of one does not parse or match is a
//! [`TrustError`], and takes no other part with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{ConfigBuilder, RootCertStore, WantsVerifier, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use zeroize::Zeroizing;

use super::WallClock;
use super::files::{Content, Pair, TrustError, TrustFiles};
use super::identity::time_of;
use super::verifier::{Anchor, DatedVerifier, webpki_verifier};

/// A CRL in force, for alerts: warn when half of its life is over.
#[derive(Clone, Debug)]
pub struct CrlStatus {
    /// The file it came from.
    pub path: PathBuf,
    /// When its issuer made it.
    pub this_update: SystemTime,
    /// When it expires; from then on every client it covers is refused. `None`: it never does.
    pub next_update: Option<SystemTime>,
}

/// One consistent state of trust, never changed after it is made.
pub(super) struct Material {
    pub(super) generation: u64,
    pub(super) config: Arc<ServerConfig>,
    /// For whoever shows no certificate: see `stop_orders`.
    pub(super) anybody: Arc<ServerConfig>,
    pub(super) verifier: Arc<DatedVerifier>,
    pub(super) server_not_after: SystemTime,
    pub(super) crls: Vec<CrlStatus>,
}

/// What one plane's trust is made of. Each part is sound by itself, and replaced by itself.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) server: Arc<Server>,
    pub(super) anchors: Arc<Vec<Anchor>>,
    pub(super) crls: Vec<Arc<CrlFile>>,
}

/// What we show to clients.
pub(super) struct Server {
    resolver: Arc<SingleCertAndKey>,
    not_after: SystemTime,
}

/// The CRLs of one file.
pub(super) struct CrlFile {
    ders: Vec<CertificateRevocationListDer<'static>>,
    statuses: Vec<CrlStatus>,
}

impl Material {
    /// Puts the parts together.
    pub(super) fn assemble(
        parts: &Parts,
        clock: &WallClock,
        generation: u64,
    ) -> Result<Self, TrustError> {
        let ders = parts.crls.iter().flat_map(|file| file.ders.iter().cloned()).collect();
        let verifier = DatedVerifier::new(Arc::clone(&parts.anchors), ders, clock())?;
        let verifier = Arc::new(verifier);
        let config = server_config(clock, Arc::clone(&verifier), &parts.server)?;
        let crls = parts.crls.iter().flat_map(|file| file.statuses.iter().cloned()).collect();
        Ok(Self {
            generation,
            config: Arc::new(config),
            anybody: Arc::new(anybody(clock, &parts.server)?),
            verifier,
            server_not_after: parts.server.not_after,
            crls,
        })
    }
}

impl TrustFiles {
    /// Parses and matches certificate and key. What every client would refuse at `now` is refused.
    pub(super) fn server(&self, pair: &Pair, now: SystemTime) -> Result<Server, TrustError> {
        let chain = certificates(&self.certificate, &pair.certificate)?;
        let (not_before, not_after) = chain
            .first()
            .and_then(|leaf| validity(leaf))
            .ok_or_else(|| unreadable(&self.certificate, "certificate"))?;
        if now < not_before || now > not_after {
            return Err(TrustError::ServerNotCurrent { path: self.certificate.clone() });
        }
        let bad_key = || TrustError::Key { path: self.private_key.clone() };
        let key = PrivateKeyDer::from_pem_slice(&pair.private_key)
            .map(Zeroizing::new)
            .map_err(|_| bad_key())?;
        let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|_| bad_key())?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|source| TrustError::KeyPair {
            certificate: self.certificate.clone(),
            private_key: self.private_key.clone(),
            source,
        })?;
        Ok(Server { resolver: Arc::new(SingleCertAndKey::from(certified)), not_after })
    }

    /// Parses the bundle of client CAs. Their dates are the verifier's business.
    pub(super) fn anchors(&self, bundle: &Content) -> Result<Vec<Anchor>, TrustError> {
        let path = &self.client_ca;
        let anchor = |certificate: CertificateDer<'static>| {
            let (_, parsed) = X509Certificate::from_der(&certificate)
                .map_err(|_| unreadable(path, "certificate"))?;
            let subject = parsed.subject().to_string();
            if !parsed.is_ca() {
                return Err(TrustError::NotACa { path: path.clone(), subject });
            }
            let (not_before, not_after) =
                validity(&certificate).ok_or_else(|| unreadable(path, "certificate"))?;
            let trusted = RootCertStore::empty().add(certificate.clone());
            trusted.map_err(|source| TrustError::Anchor { path: path.clone(), source })?;
            Ok(Anchor { certificate, subject, not_before, not_after })
        };
        certificates(path, bundle)?.into_iter().map(anchor).collect()
    }
}

impl CrlFile {
    /// Parses a file of CRLs, and makes sure that a verifier can be made with them.
    pub(super) fn parse(
        path: &Path,
        pem: &Content,
        anchors: &[Anchor],
    ) -> Result<Self, TrustError> {
        let (mut ders, mut statuses) = (Vec::new(), Vec::new());
        for crl in CertificateRevocationListDer::pem_slice_iter(pem) {
            let crl = crl.map_err(|source| TrustError::Pem { path: path.to_owned(), source })?;
            statuses.push(crl_status(path, &crl).ok_or_else(|| unreadable(path, "CRL"))?);
            ders.push(crl);
        }
        if ders.is_empty() {
            return Err(TrustError::Empty { path: path.to_owned(), kind: "CRL" });
        }
        webpki_verifier(anchors.iter(), ders.clone())?;
        Ok(Self { ders, statuses })
    }
}

fn server_config(
    clock: &WallClock,
    verifier: Arc<DatedVerifier>,
    server: &Server,
) -> Result<ServerConfig, TrustError> {
    let config = tls13(clock)?.with_client_cert_verifier(verifier);
    Ok(without_sessions(config.with_cert_resolver(server.resolver.clone()), ALPN_H2))
}

/// The same certificate, and nothing asked of the client.
fn anybody(clock: &WallClock, server: &Server) -> Result<ServerConfig, TrustError> {
    let config = tls13(clock)?.with_no_client_auth();
    Ok(without_sessions(config.with_cert_resolver(server.resolver.clone()), b"http/1.1"))
}

fn tls13(clock: &WallClock) -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, TrustError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let clock = Arc::new(RustlsClock(Arc::clone(clock)));
    let builder = ServerConfig::builder_with_details(provider, clock);
    builder.with_protocol_versions(&[&version::TLS13]).map_err(TrustError::Tls)
}

fn without_sessions(mut config: ServerConfig, protocol: &[u8]) -> ServerConfig {
    config.alpn_protocols = vec![protocol.to_vec()];
    // A resumed session skips the verifier: a revoked client would come back with its ticket.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TrustError::Pem { path: path.to_owned(), source })?;
    if found.is_empty() {
        return Err(TrustError::Empty { path: path.to_owned(), kind: "certificate" });
    }
    Ok(found)
}

fn crl_status(path: &Path, der: &CertificateRevocationListDer<'_>) -> Option<CrlStatus> {
    let (_, crl) = CertificateRevocationList::from_der(der.as_ref()).ok()?;
    let this_update = time_of(crl.last_update().timestamp())?;
    let next_update = match crl.next_update() {
        Some(time) => Some(time_of(time.timestamp())?),
        None => None,
    };
    Some(CrlStatus { path: path.to_owned(), this_update, next_update })
}

fn validity(der: &CertificateDer<'_>) -> Option<(SystemTime, SystemTime)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    let not_before = time_of(validity.not_before.timestamp())?;
    Some((not_before, time_of(validity.not_after.timestamp())?))
}

fn unreadable(path: &Path, kind: &'static str) -> TrustError {
    TrustError::Unreadable { path: path.to_owned(), kind }
}

/// The clock that was handed in, as rustls wants it.
struct RustlsClock(WallClock);

impl std::fmt::Debug for RustlsClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RustlsClock")
    }
}

impl TimeProvider for RustlsClock {
    fn current_time(&self) -> Option<UnixTime> {
        unix_time((self.0)())
    }
}

/// `None` before 1970: no certificate is valid then.
pub(super) fn unix_time(now: SystemTime) -> Option<UnixTime> {
    now.duration_since(SystemTime::UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
}

/// The only protocol a plane speaks inside TLS.
pub(super) const ALPN_H2: &[u8] = b"h2";
