//! Reads certificate, key, CA bundle and CRLs from files and makes one TLS configuration of them.
//!
//! All or nothing: whatever does not parse, match or keep its key to itself is a [`TrustError`],
//! and no half of it is used. Never prints a byte of the private key's file, not even of a line
//! that fails to parse.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoServerSessionStorage, ServerConfig, VerifierBuilderError, WebPkiClientVerifier,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, version};
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use zeroize::Zeroizing;

use super::WallClock;
use super::identity::time_of;

/// Where one plane's trust comes from. PEM, all of it. Replace a file by renaming over it.
#[derive(Clone, Debug)]
pub struct TrustFiles {
    /// The server's certificate, leaf first, then intermediates.
    pub certificate: PathBuf,
    /// The key of the leaf: ours and of mode 600 or less, or root's and of mode 640 or less.
    pub private_key: PathBuf,
    /// The CAs whose client certificates may connect.
    pub client_ca: PathBuf,
    /// CRLs. None: revocation is not checked. Any: every certificate of a client's chain must be
    /// covered by a CRL that has not expired.
    pub crl: Vec<PathBuf>,
}

/// Why a set of trust files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file is larger than any we expect.
    #[error("{path} is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner can read or write the private key.
    #[error("private key {path} has mode {mode:03o}, others can reach it: run chmod 600 {path}")]
    KeyExposed {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The private key belongs to somebody else, who can change it at will.
    #[error("private key {path} belongs to user {owner}, neither this process's user nor root")]
    KeyOwner {
        /// The key's file.
        path: PathBuf,
        /// The owner's user id.
        owner: u32,
    },
    /// The private key's file holds no readable PEM private key. Has no source on purpose: a
    /// parser's complaint may quote the line.
    #[error("{path} holds no PEM private key of a kind we support")]
    Key {
        /// The key's file.
        path: PathBuf,
    },
    /// A file is not PEM, or cut short.
    #[error("{path} is not well-formed PEM")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: PemError,
    },
    /// A file has no section of the kind it is for.
    #[error("{path} holds no {kind}")]
    Empty {
        /// The file.
        path: PathBuf,
        /// `certificate` or `CRL`.
        kind: &'static str,
    },
    /// A PEM section does not hold what its label says.
    #[error("{path} holds a {kind} that cannot be parsed")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// `certificate` or `CRL`.
        kind: &'static str,
    },
    /// Certificate and private key are not a pair.
    #[error("certificate {certificate} and private key {private_key} do not belong together")]
    KeyPair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        private_key: PathBuf,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
    /// The server's certificate is not valid now; every client would refuse it.
    #[error("server certificate {path} has expired or is not valid yet")]
    ServerNotCurrent {
        /// The certificate's file.
        path: PathBuf,
    },
    /// The client CA bundle holds a certificate that is no CA.
    #[error("{path} holds a certificate that is not a CA: {subject}")]
    NotACa {
        /// The bundle.
        path: PathBuf,
        /// The certificate's subject.
        subject: String,
    },
    /// A CA cannot serve as an anchor of trust.
    #[error("{path} holds a certificate that cannot be a trust anchor")]
    Anchor {
        /// The bundle.
        path: PathBuf,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
    /// The verifier of client certificates cannot be made of these CAs and CRLs.
    #[error("no client certificate verifier can be made of the CA bundle and the CRLs")]
    Verifier(#[source] VerifierBuilderError),
    /// The TLS library does not have TLS 1.3.
    #[error("TLS 1.3 is not available")]
    Tls(#[source] rustls::Error),
}

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

/// The files' bytes as they were at one moment.
pub(super) struct Source {
    /// Of everything below: the cheap answer to "has anything changed?".
    pub(super) digest: [u8; 32],
    certificate: Content,
    private_key: Content,
    client_ca: Content,
    crls: Vec<(PathBuf, Content)>,
}

/// A file's bytes. Wiped on drop, because one of them is a secret.
type Content = Zeroizing<Vec<u8>>;

/// One consistent state of trust, never changed after it is made.
pub(super) struct Material {
    pub(super) generation: u64,
    pub(super) config: Arc<ServerConfig>,
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) server_not_after: SystemTime,
    pub(super) crls: Vec<CrlStatus>,
}

impl TrustFiles {
    /// Reads every file once.
    pub(super) fn read(&self) -> Result<Source, TrustError> {
        let certificate = read(&self.certificate, |_| Ok(()))?;
        let private_key =
            read(&self.private_key, |facts| require_private(&self.private_key, facts))?;
        let client_ca = read(&self.client_ca, |_| Ok(()))?;
        let crls = self
            .crl
            .iter()
            .map(|path| Ok((path.clone(), read(path, |_| Ok(()))?)))
            .collect::<Result<Vec<_>, TrustError>>()?;
        let mut hash = Sha256::new();
        let files =
            [&certificate, &private_key, &client_ca].into_iter().map(|file| file.as_slice());
        for bytes in files.chain(crls.iter().map(|(_, bytes)| bytes.as_slice())) {
            hash.update(Sha256::digest(bytes));
        }
        Ok(Source { digest: hash.finalize().into(), certificate, private_key, client_ca, crls })
    }

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

/// Reads at most [`FILE_BYTES_MAX`] into a buffer that never moves, so that nothing is left behind
/// unwiped where the file is a secret.
fn read(
    path: &Path,
    check: impl FnOnce(&Metadata) -> Result<(), TrustError>,
) -> Result<Content, TrustError> {
    let failed = |source| TrustError::Read { path: path.to_owned(), source };
    let too_large = || TrustError::TooLarge { path: path.to_owned() };
    let file = File::open(path).map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    check(&facts)?;
    if facts.len() > FILE_BYTES_MAX {
        return Err(too_large());
    }
    let room = usize::try_from(facts.len()).map_err(|_| too_large())?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room.saturating_add(1)));
    // A file that grows meanwhile is read up to its old length and one byte: it changes the digest
    // again at the next look.
    let length = facts.len().saturating_add(1);
    file.take(length).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// PostgreSQL's rule: ours and for us alone, or root's and readable by a group of ours, which is
/// how systemd credentials and Kubernetes secrets arrive.
fn require_private(path: &Path, facts: &Metadata) -> Result<(), TrustError> {
    let us = rustix::process::geteuid().as_raw();
    let mode = facts.mode() & 0o777;
    if facts.uid() != us && facts.uid() != 0 {
        return Err(TrustError::KeyOwner { path: path.to_owned(), owner: facts.uid() });
    }
    let forbidden = if facts.uid() == us { 0o077 } else { 0o037 };
    if mode & forbidden != 0 {
        return Err(TrustError::KeyExposed { path: path.to_owned(), mode });
    }
    Ok(())
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

/// Larger than any bundle or CRL of a private CA; a mistaken path does not fill the memory.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
