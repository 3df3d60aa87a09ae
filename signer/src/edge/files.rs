//! Reads the trust files: certificate, key, CA bundle, CRLs.
//!
//! Refuses a private key that others can reach, and never prints a byte of its file, not even of a
//! line that fails to parse. What the bytes mean is the business of [`material`](super::material).

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls::server::VerifierBuilderError;
use rustls_pki_types::pem::Error as PemError;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

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

/// The bytes of one part of the trust files as they were at one moment.
pub(super) struct Source<C> {
    /// The cheap answer to "has anything changed?".
    pub(super) digest: [u8; 32],
    pub(super) content: C,
}

/// A file's bytes. Wiped on drop, because one of them is a secret.
pub(super) type Content = Zeroizing<Vec<u8>>;

/// The server's certificate and its private key: worth nothing apart.
pub(super) struct Pair {
    pub(super) certificate: Content,
    pub(super) private_key: Content,
}

impl TrustFiles {
    /// Reads what we show to clients.
    pub(super) fn read_server(&self) -> Result<Source<Pair>, TrustError> {
        let certificate = read(&self.certificate, |_| Ok(()))?;
        let private_key =
            read(&self.private_key, |facts| require_private(&self.private_key, facts))?;
        let digest = digest([&certificate, &private_key]);
        Ok(Source { digest, content: Pair { certificate, private_key } })
    }

    /// Reads the client CAs.
    pub(super) fn read_client_ca(&self) -> Result<Source<Content>, TrustError> {
        read_public(&self.client_ca)
    }
}

/// Reads a file that holds no secret.
pub(super) fn read_public(path: &Path) -> Result<Source<Content>, TrustError> {
    let content = read(path, |_| Ok(()))?;
    Ok(Source { digest: digest([&content]), content })
}

fn digest<const N: usize>(files: [&Content; N]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for bytes in files {
        hash.update(Sha256::digest(bytes.as_slice()));
    }
    hash.finalize().into()
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

/// Larger than any bundle or CRL of a private CA; a mistaken path does not fill the memory.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
