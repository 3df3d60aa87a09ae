//! Throw-away certificate authorities, certificates good and bad, and revocation lists, as PEM
//! files. Private keys are files of mode 0600.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevocationReason, RevokedCertParams, SanType, SerialNumber,
};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

use crate::token::write_secret;

/// A certificate or list could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// It cannot be expressed in X.509.
    #[error("the certificate or list for {name} could not be made")]
    Make {
        /// Whose.
        name: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A file could not be written.
    #[error("{path} could not be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Usage {
    /// TLS client authentication.
    Client,
    /// TLS server authentication.
    Server,
}

/// A subject alternative name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Name {
    /// A URI, such as a SPIFFE id.
    Uri(String),
    /// A DNS name.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

/// What to put into a certificate.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Common name and file stem. Never equal to an authority's: OpenSSL would think it
    /// self-signed.
    pub name: String,
    /// Subject alternative names.
    pub names: Vec<Name>,
    /// Extended key usage.
    pub usage: Usage,
    /// Not valid before.
    pub from: OffsetDateTime,
    /// Not valid after.
    pub until: OffsetDateTime,
}

impl Leaf {
    /// A client identified by a URI; valid for a day.
    pub fn client_uri(name: &str, uri: &str) -> Self {
        Self::valid(name, vec![Name::Uri(uri.to_owned())], Usage::Client)
    }

    /// A client identified by a DNS name; valid for a day.
    pub fn client_dns(name: &str, dns: &str) -> Self {
        Self::valid(name, vec![Name::Dns(dns.to_owned())], Usage::Client)
    }

    /// A server on loopback: `localhost` and 127.0.0.1; valid for a day.
    pub fn loopback_server(name: &str) -> Self {
        let names = vec![Name::Dns("localhost".into()), Name::Ip([127, 0, 0, 1].into())];
        Self::valid(name, names, Usage::Server)
    }

    /// The same, but expired an hour ago.
    pub fn expired(self) -> Self {
        let now = OffsetDateTime::now_utc();
        Self { from: now - Duration::days(2), until: now - Duration::hours(1), ..self }
    }

    /// The same, but valid only from an hour on.
    pub fn not_yet_valid(self) -> Self {
        Self { from: OffsetDateTime::now_utc() + Duration::hours(1), ..self }
    }

    /// The same, but valid only for so many seconds from now.
    pub fn for_seconds(self, seconds: u32) -> Self {
        Self { until: OffsetDateTime::now_utc() + Duration::seconds(seconds.into()), ..self }
    }

    fn valid(name: &str, names: Vec<Name>, usage: Usage) -> Self {
        let now = OffsetDateTime::now_utc();
        let (from, until) = (now - Duration::hours(1), now + Duration::days(1));
        Self { name: name.to_owned(), names, usage, from, until }
    }
}

/// A certificate with its private key, on disk.
#[derive(Clone, Debug)]
pub struct Issued {
    /// PEM, the certificate alone.
    pub certificate: PathBuf,
    /// PEM, PKCS #8, mode 0600.
    pub private_key: PathBuf,
    /// SHA-256 of the DER certificate.
    pub sha256: [u8; 32],
    serial: [u8; 16],
}

/// A certificate authority.
pub struct Authority {
    folder: PathBuf,
    name: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Makes one whose files lie in `folder`, with this common name.
    pub fn new(folder: &Path, name: &str) -> Result<Self, PkiError> {
        let failed = |source| PkiError::Make { name: name.to_owned(), source };
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = OffsetDateTime::now_utc() - Duration::days(3);
        params.not_after = OffsetDateTime::now_utc() + Duration::days(30);
        let key = KeyPair::generate().map_err(failed)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(failed)?;
        let authority = Self { folder: folder.to_owned(), name: name.to_owned(), issuer };
        fs::create_dir_all(folder).map_err(written(folder))?;
        let path = authority.certificate();
        fs::write(&path, authority.issuer.pem()).map_err(written(&path))?;
        Ok(authority)
    }

    /// Its own certificate, PEM.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join(format!("{}.pem", self.name))
    }

    /// Issues a certificate and writes it and its key beside the authority's.
    pub fn issue(&self, leaf: &Leaf) -> Result<Issued, PkiError> {
        let failed = |source| PkiError::Make { name: leaf.name.clone(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let serial: [u8; 16] = rand::random();
        let params = leaf_params(leaf, &serial).map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let issued = Issued {
            certificate: self.folder.join(format!("{}.pem", leaf.name)),
            private_key: self.folder.join(format!("{}.key", leaf.name)),
            sha256: Sha256::digest(certificate.der()).into(),
            serial,
        };
        replace(&issued.certificate, &certificate.pem())?;
        let path = &issued.private_key;
        write_secret(path, &key.serialize_pem()).map_err(written(path))?;
        Ok(issued)
    }

    /// Writes this authority's revocation list, which names exactly these, over the one before.
    pub fn revoke(&self, revoked: &[&Issued]) -> Result<PathBuf, PkiError> {
        let failed = |source| PkiError::Make { name: self.name.clone(), source };
        let now = OffsetDateTime::now_utc();
        let number = now.unix_timestamp_nanos().to_be_bytes();
        let params = CertificateRevocationListParams {
            this_update: now - Duration::minutes(1),
            next_update: now + Duration::days(1),
            crl_number: SerialNumber::from_slice(&number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(|issued| revocation(issued, now)).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).map_err(failed)?;
        let path = self.folder.join(format!("{}.crl.pem", self.name));
        replace(&path, &list.pem().map_err(failed)?)?;
        Ok(path)
    }
}

fn leaf_params(leaf: &Leaf, serial: &[u8; 16]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&leaf.name);
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.subject_alt_names = leaf.names.iter().map(san).collect::<Result<_, _>>()?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![match leaf.usage {
        Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
    }];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (leaf.from, leaf.until);
    Ok(params)
}

fn san(name: &Name) -> Result<SanType, rcgen::Error> {
    Ok(match name {
        Name::Uri(uri) => SanType::URI(uri.as_str().try_into()?),
        Name::Dns(dns) => SanType::DnsName(dns.as_str().try_into()?),
        Name::Ip(address) => SanType::IpAddress(*address),
    })
}

fn revocation(issued: &Issued, now: OffsetDateTime) -> RevokedCertParams {
    RevokedCertParams {
        serial_number: SerialNumber::from_slice(&issued.serial),
        revocation_time: now - Duration::minutes(1),
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Puts a file in place in one step: a signer that watches it never reads half.
fn replace(path: &Path, text: &str) -> Result<(), PkiError> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, text).map_err(written(&fresh))?;
    fs::rename(&fresh, path).map_err(written(path))
}

fn written(path: &Path) -> impl FnOnce(io::Error) -> PkiError {
    let path = path.to_owned();
    |source| PkiError::Write { path, source }
}
