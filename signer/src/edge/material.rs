//! Makes one TLS configuration out of certificate, key, CA bundle and CRLs.
//!
//! All or nothing: whatever does not parse or match is a [`TrustError`], and no half of it is used.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ServerConfig, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use zeroize::Zeroizing;

use super::WallClock;
use super::files::{Content, Source, TrustError, TrustFiles};
use super::identity::time_of;

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
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) server_not_after: SystemTime,
    pub(super) crls: Vec<CrlStatus>,
}

impl TrustFiles {
    /// Parses, matches and assembles what was read.
    pub(super) fn assemble(
        &self,
        source: &Source,
        clock: &WallClock,
        generation: u64,
    ) -> Result<Material, TrustError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (certified, server_not_after) = self.server_identity(source, clock())?;
        let (crl_ders, crls) = parse_crls(&source.crls)?;
        let anchors = Arc::new(self.anchors(source)?);
        let mut builder =
            WebPkiClientVerifier::builder_with_provider(anchors, Arc::clone(&provider));
        if !crl_ders.is_empty() {
            // A status that no CRL tells is an error by default; an expired CRL is not.
            builder = builder.with_crls(crl_ders).enforce_revocation_expiration();
        }
        let verifier = builder.build().map_err(TrustError::Verifier)?;
        let config = server_config(provider, clock, Arc::clone(&verifier), certified)?;
        Ok(Material { generation, config: Arc::new(config), verifier, server_not_after, crls })
    }

    fn server_identity(
        &self,
        source: &Source,
        now: SystemTime,
    ) -> Result<(CertifiedKey, SystemTime), TrustError> {
        let chain = certificates(&self.certificate, &source.certificate)?;
        let (not_before, not_after) = chain
            .first()
            .and_then(|leaf| validity(leaf))
            .ok_or_else(|| unreadable(&self.certificate, "certificate"))?;
        if now < not_before || now > not_after {
            return Err(TrustError::ServerNotCurrent { path: self.certificate.clone() });
        }
        let bad_key = || TrustError::Key { path: self.private_key.clone() };
        let key = PrivateKeyDer::from_pem_slice(&source.private_key)
            .map(Zeroizing::new)
            .map_err(|_| bad_key())?;
        let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|_| bad_key())?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|source| TrustError::KeyPair {
            certificate: self.certificate.clone(),
            private_key: self.private_key.clone(),
            source,
        })?;
        Ok((certified, not_after))
    }

    fn anchors(&self, source: &Source) -> Result<RootCertStore, TrustError> {
        let path = &self.client_ca;
        let mut anchors = RootCertStore::empty();
        for certificate in certificates(path, &source.client_ca)? {
            let (_, parsed) = X509Certificate::from_der(&certificate)
                .map_err(|_| unreadable(path, "certificate"))?;
            if !parsed.is_ca() {
                let subject = parsed.subject().to_string();
                return Err(TrustError::NotACa { path: path.clone(), subject });
            }
            anchors
                .add(certificate)
                .map_err(|source| TrustError::Anchor { path: path.clone(), source })?;
        }
        Ok(anchors)
    }
}

fn server_config(
    provider: Arc<CryptoProvider>,
    clock: &WallClock,
    verifier: Arc<dyn ClientCertVerifier>,
    certified: CertifiedKey,
) -> Result<ServerConfig, TrustError> {
    let clock = Arc::new(RustlsClock(Arc::clone(clock)));
    let mut config = ServerConfig::builder_with_details(provider, clock)
        .with_protocol_versions(&[&version::TLS13])
        .map_err(TrustError::Tls)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    // A resumed session skips the verifier: a revoked client would come back with its ticket.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
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

type Crls = (Vec<CertificateRevocationListDer<'static>>, Vec<CrlStatus>);

fn parse_crls(files: &[(PathBuf, Content)]) -> Result<Crls, TrustError> {
    let (mut ders, mut statuses) = (Vec::new(), Vec::new());
    for (path, pem) in files {
        let before = ders.len();
        for crl in CertificateRevocationListDer::pem_slice_iter(pem) {
            let crl = crl.map_err(|source| TrustError::Pem { path: path.clone(), source })?;
            statuses.push(crl_status(path, &crl).ok_or_else(|| unreadable(path, "CRL"))?);
            ders.push(crl);
        }
        if ders.len() == before {
            return Err(TrustError::Empty { path: path.clone(), kind: "CRL" });
        }
    }
    Ok((ders, statuses))
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
