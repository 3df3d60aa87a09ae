//! Turns a verified client certificate into the one name it stands for.
//!
//! The chain was verified before (see [`Trust`](super::Trust)); this only reads. Never a common
//! name, never "the first" of several names: a certificate that names two things names nothing.

use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// Who holds the other end of a connection, as its certificate says.
#[derive(Clone, Debug)]
pub struct PeerIdentity {
    name: String,
    serial: String,
    not_after: SystemTime,
    chain: Vec<CertificateDer<'static>>,
}

/// Why a certificate, though it verifies, names nobody.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdentityError {
    /// TLS ended without a client certificate.
    #[error("the client sent no certificate")]
    NoCertificate,
    /// The leaf is not an X.509 v3 certificate that we can read.
    #[error("the client certificate cannot be parsed")]
    Unreadable,
    /// No extended key usage `clientAuth`. webpki lets a certificate without the extension pass.
    #[error("the client certificate does not have the extended key usage clientAuth")]
    NotForClients,
    /// Neither a URI nor a DNS name among the subject alternative names. A CN does not count.
    #[error("the client certificate has no SPIFFE URI and no DNS name as subject alternative name")]
    NoName,
    /// More than one URI, or no URI and more than one DNS name.
    #[error("the client certificate has {count} {kind} subject alternative names, not one")]
    SeveralNames {
        /// `URI` or `DNS`.
        kind: &'static str,
        /// How many there are.
        count: usize,
    },
    /// The one URI is no SPIFFE id of a workload.
    #[error("the client certificate's URI is not a SPIFFE id such as spiffe://domain/path")]
    NotSpiffe,
    /// The one DNS name is not a plain host name (a wildcard, for instance).
    #[error("the client certificate's DNS name is not a plain host name")]
    NotHostName,
    /// The validity cannot be expressed as a time of this machine.
    #[error("the client certificate's end of validity cannot be represented")]
    BadValidity,
}

impl PeerIdentity {
    /// Reads the identity out of a chain that has already been verified, leaf first.
    ///
    /// # Errors
    /// [`IdentityError`], when the leaf does not name exactly one client.
    pub(super) fn from_verified(
        chain: Vec<CertificateDer<'static>>,
    ) -> Result<Self, IdentityError> {
        let leaf = chain.first().ok_or(IdentityError::NoCertificate)?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| IdentityError::Unreadable)?;
        require_client_purpose(&parsed)?;
        let name = only_name(&parsed)?;
        let serial = hex::encode(parsed.raw_serial());
        let not_after =
            time_of(parsed.validity().not_after.timestamp()).ok_or(IdentityError::BadValidity)?;
        Ok(Self { name, serial, not_after, chain })
    }

    /// The one name: a SPIFFE id, or a DNS name in lower case. They cannot be confused: only the
    /// first has a colon.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The leaf's serial number, in hex, as a CRL would list it.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// The last moment at which the leaf is valid.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The chain as the client sent it, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }
}

fn require_client_purpose(leaf: &X509Certificate<'_>) -> Result<(), IdentityError> {
    let usage = leaf.extended_key_usage().map_err(|_| IdentityError::Unreadable)?;
    match usage {
        Some(usage) if usage.value.client_auth => Ok(()),
        Some(_) | None => Err(IdentityError::NotForClients),
    }
}

fn only_name(leaf: &X509Certificate<'_>) -> Result<String, IdentityError> {
    let names = leaf
        .subject_alternative_name()
        .map_err(|_| IdentityError::Unreadable)?
        .ok_or(IdentityError::NoName)?;
    let (mut uris, mut hosts) = (Vec::new(), Vec::new());
    for name in &names.value.general_names {
        if let GeneralName::URI(uri) = name {
            uris.push(*uri);
        } else if let GeneralName::DNSName(host) = name {
            hosts.push(*host);
        } else if let GeneralName::Invalid(..) = name {
            return Err(IdentityError::Unreadable);
        }
    }
    match (uris.as_slice(), hosts.as_slice()) {
        ([uri], _) => spiffe_id(uri),
        ([], [host]) => host_name(host),
        ([], []) => Err(IdentityError::NoName),
        ([], several) => Err(IdentityError::SeveralNames { kind: "DNS", count: several.len() }),
        (several, _) => Err(IdentityError::SeveralNames { kind: "URI", count: several.len() }),
    }
}

/// A workload's SPIFFE id as the standard spells it: lower-case scheme and trust domain, a path of
/// non-empty segments, no query, no escapes. One spelling only, because names are compared as text.
fn spiffe_id(uri: &str) -> Result<String, IdentityError> {
    let rest = uri.strip_prefix("spiffe://").ok_or(IdentityError::NotSpiffe)?;
    let (domain, path) = rest.split_once('/').ok_or(IdentityError::NotSpiffe)?;
    let domain_plain = !domain.is_empty()
        && domain.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'));
    let path_plain = path.split('/').all(|segment| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    });
    let short = uri.len() <= SPIFFE_ID_BYTES_MAX;
    if short && domain_plain && path_plain {
        Ok(uri.to_owned())
    } else {
        Err(IdentityError::NotSpiffe)
    }
}

fn host_name(host: &str) -> Result<String, IdentityError> {
    let label_plain = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if host.len() <= HOST_NAME_BYTES_MAX && host.split('.').all(label_plain) {
        Ok(host.to_ascii_lowercase())
    } else {
        Err(IdentityError::NotHostName)
    }
}

/// Seconds since 1970 as a time; `None` before 1970 or beyond what the machine can hold.
pub(super) fn time_of(seconds: i64) -> Option<SystemTime> {
    let seconds = u64::try_from(seconds).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// The SPIFFE standard's own bound.
const SPIFFE_ID_BYTES_MAX: usize = 2048;

/// RFC 1035's bound, without the root's dot.
const HOST_NAME_BYTES_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_has_one_spelling() {
        let good = "spiffe://bank.example/payments/Hot_1";
        assert_eq!(spiffe_id(good), Ok(good.to_owned()));
        for bad in [
            "spiffe://bank.example",
            "spiffe://bank.example/",
            "spiffe:///payments",
            "spiffe://bank.example/payments/",
            "spiffe://bank.example//payments",
            "spiffe://bank.example/../payments",
            "spiffe://Bank.example/payments",
            "SPIFFE://bank.example/payments",
            "spiffe://bank.example/pay%6Dents",
            "spiffe://bank.example/payments?x=1",
            "spiffe://user@bank.example/payments",
            "spiffe://bank.example:443/payments",
            "https://bank.example/payments",
        ] {
            assert_eq!(spiffe_id(bad), Err(IdentityError::NotSpiffe), "{bad}");
        }
        let long = format!("spiffe://bank.example/{}", "a".repeat(SPIFFE_ID_BYTES_MAX));
        assert_eq!(spiffe_id(&long), Err(IdentityError::NotSpiffe));
    }

    #[test]
    fn a_host_name_is_lowered_and_never_a_wildcard() {
        assert_eq!(host_name("Payments.Bank.example"), Ok("payments.bank.example".to_owned()));
        for bad in ["*.bank.example", "", "bank..example", "bank.example.", "-a.example", "a b"] {
            assert_eq!(host_name(bad), Err(IdentityError::NotHostName), "{bad}");
        }
    }

    #[test]
    fn a_time_before_1970_is_no_time() {
        assert_eq!(time_of(-1), None);
        assert_eq!(time_of(0), Some(SystemTime::UNIX_EPOCH));
    }
}
