//! What can go wrong between a caller and the service, as types.
//!
//! A refusal is what the service said, with its stable reason; a transport error is that nobody
//! we may believe said anything. The two are never mixed up, because only one of them is safe to
//! read as "no".

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::config::ConfigError;
use crate::request_id::NoRandomness;
use crate::verify::UntrustedReply;

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The service said no.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// No answer came. The signature may exist all the same: ask again with the same request id.
    #[error(transparent)]
    Unreachable(TransportError),
    /// An answer came that must not be believed. Do not retry; tell a person.
    #[error("the service's reply is not to be trusted, and was dropped")]
    Untrusted(#[from] UntrustedReply),
}

/// Why a call that signs nothing failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The service said no.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// No answer came.
    #[error(transparent)]
    Unreachable(TransportError),
    /// The answer lacks a part that the wire contract promises.
    #[error("the service's answer has no {part}")]
    Incomplete {
        /// What is missing.
        part: &'static str,
    },
}

/// Why there is no connection to begin with.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Request ids could not be made.
    #[error(transparent)]
    RequestIds(#[from] NoRandomness),
    /// The service could not be reached.
    #[error(transparent)]
    Unreachable(#[from] TransportError),
}

impl SignError {
    /// Whether the same request, under the same id, may succeed later without anybody acting.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_retryable(),
            Self::Unreachable(error) => error.is_retryable(),
            Self::Untrusted(_) => false,
        }
    }

    /// How long the service asks to wait before trying again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after(),
            Self::Unreachable(_) | Self::Untrusted(_) => None,
        }
    }

    /// The service's stable reason, if it refused and gave one.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => refusal.reason(),
            Self::Unreachable(_) | Self::Untrusted(_) => None,
        }
    }
}

impl From<CallError> for SignError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(refusal) => Self::Refused(refusal),
            CallError::Unreachable(error) => Self::Unreachable(error),
            CallError::Incomplete { part } => Self::Untrusted(UntrustedReply::Missing { part }),
        }
    }
}

/// What the service said when it said no.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    code: Code,
    message: String,
    reason: Option<String>,
    metadata: BTreeMap<String, String>,
    violations: Vec<Violation>,
    retry_after: Option<Duration>,
}

/// One thing that was wrong with a request, from BadRequest, PreconditionFailure or QuotaFailure.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Its kind: the stable code of a precondition; "FIELD" or "QUOTA" for the other two.
    pub kind: String,
    /// The field, rule or quota.
    pub subject: String,
    /// What was wrong with it.
    pub description: String,
}

impl Refusal {
    /// The gRPC code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// For people; may change between versions.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// `ErrorInfo.reason` of our domain: stable, for programs. `None` if something in between,
    /// and not Portcullis, refused.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// `ErrorInfo.metadata`, for instance the rule's name.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// What exactly was wrong, if the service said.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How long to wait before trying again, if the service said.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the same request may succeed later without anybody acting.
    pub fn is_retryable(&self) -> bool {
        let passing = matches!(
            self.code,
            Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted
        );
        passing || self.retry_after.is_some()
    }

    /// From a serialised `google.rpc.Status`; `None` if it is none, or says "ok".
    pub(crate) fn from_wire(bytes: &[u8]) -> Option<Self> {
        let parsed = tonic_types::Status::decode(bytes).ok()?;
        let code = Code::from(parsed.code);
        let status = Status::with_details(code, parsed.message, bytes.to_vec().into());
        (code != Code::Ok).then(|| Self::from(&status))
    }
}

impl From<&Status> for Refusal {
    fn from(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        let ours = info.filter(|info| info.domain == portcullis_proto::ERROR_DOMAIN);
        let metadata = ours.map(|info| info.metadata.clone()).unwrap_or_default();
        Self {
            code: status.code(),
            message: status.message().to_owned(),
            reason: ours.map(|info| info.reason.clone()),
            metadata: metadata.into_iter().collect(),
            violations: violations(&details),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
        }
    }
}

fn violations(details: &tonic_types::ErrorDetails) -> Vec<Violation> {
    let violation = |kind: &str, subject: &str, description: &str| Violation {
        kind: kind.to_owned(),
        subject: subject.to_owned(),
        description: description.to_owned(),
    };
    let mut all = Vec::new();
    if let Some(bad) = details.bad_request() {
        let fields = bad.field_violations.iter();
        all.extend(fields.map(|one| violation("FIELD", &one.field, &one.description)));
    }
    if let Some(failed) = details.precondition_failure() {
        let failed = failed.violations.iter();
        all.extend(failed.map(|one| violation(&one.r#type, &one.subject, &one.description)));
    }
    if let Some(quota) = details.quota_failure() {
        let quota = quota.violations.iter();
        all.extend(quota.map(|one| violation("QUOTA", &one.subject, &one.description)));
    }
    all
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            Some(reason) => write!(out, "refused ({reason}): {}", self.message),
            None => write!(out, "refused ({:?}): {}", self.code, self.message),
        }
    }
}

/// No answer, or none that came over a connection we trust.
#[derive(Debug, thiserror::Error)]
#[error("no answer from {endpoint}: {trouble}")]
pub struct TransportError {
    /// The endpoint that was tried.
    pub endpoint: String,
    /// What kind of trouble, with what to check in its text.
    pub trouble: Trouble,
    /// The details, from the network and TLS.
    pub source: TransportDetails,
}

impl TransportError {
    /// Whether trying again may help without anybody acting.
    pub fn is_retryable(&self) -> bool {
        match self.trouble {
            Trouble::NothingListens
            | Trouble::UnknownHost
            | Trouble::ConnectTimeout
            | Trouble::Deadline
            | Trouble::ConnectionLost => true,
            Trouble::ServiceNotTrusted | Trouble::CertificateRefused | Trouble::Tls => false,
        }
    }
}

/// What the network and TLS layers said, innermost last.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct TransportDetails(pub(crate) String);

/// Kinds of transport trouble. The text of each says what to check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// The connection was refused.
    NothingListens,
    /// The host's name could not be looked up.
    UnknownHost,
    /// Neither TCP nor TLS came up in time.
    ConnectTimeout,
    /// A call was not answered in time. It may still have been carried out.
    Deadline,
    /// The service's certificate is not from the configured CA, or is for another name.
    ServiceNotTrusted,
    /// The service ended the connection over our certificate, and said so.
    CertificateRefused,
    /// TLS failed for another reason.
    Tls,
    /// The connection ended. Also what a refused client certificate can look like.
    ConnectionLost,
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NothingListens => {
                "nothing listens there. Check that the signer runs, and that host and port are \
                 those of the right plane"
            }
            Self::UnknownHost => "the host name is not known. Check its spelling, and DNS",
            Self::ConnectTimeout => {
                "no connection in time. Check host, port and firewall, and that it speaks TLS"
            }
            Self::Deadline => {
                "no reply in time. The request may have been carried out: ask again with the same \
                 request id"
            }
            Self::ServiceNotTrusted => {
                "its certificate is not trusted. Check the CA file, the server name and the clock"
            }
            Self::CertificateRefused => {
                "it does not accept our client certificate. Check that it is not expired or \
                 revoked, comes from an authority of this plane, and allows client use"
            }
            Self::Tls => "TLS failed. Check that the port is that of the signer and speaks TLS 1.3",
            Self::ConnectionLost => {
                "the connection ended. If it ends at every first call, the service may refuse our \
                 client certificate: check its expiry, revocation and authority, and the signer's \
                 log"
            }
        })
    }
}
