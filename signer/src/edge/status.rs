//! A refusal in gRPC's words; the only file with status codes.
//!
//! Every error carries `ErrorInfo` with a stable reason, and whatever else of google.rpc says what
//! to do. The caller is told less than the journal.

use std::collections::HashMap;
use std::time::Duration;

use http::Response;
use portcullis_policy::finding::Reason;
use portcullis_policy::id::Sequence;
use portcullis_proto::ERROR_DOMAIN;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::readers::TooManyReaders;
use crate::refusal::Refusal;

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::UnknownPeer { name } => {
                let details = info("UNKNOWN_CALLER", [("name", name)]);
                Self::with_error_details(Code::Unauthenticated, message, details)
            }
            Refusal::NotAuthorised { person, role } => {
                let details = info("ROLE_MISSING", [("person", person), ("role", role.into())]);
                Self::with_error_details(Code::PermissionDenied, message, details)
            }
            Refusal::Throttled { retry_after, rate } => {
                let mut details = info("THROTTLED", [("rule", rate.to_owned())]);
                details.set_retry_info(Some(retry_after));
                details.add_quota_failure_violation(rate, "requests per time");
                Self::with_error_details(Code::ResourceExhausted, message, details)
            }
            Refusal::BadField { field, problem } => {
                let mut details = info("BAD_FIELD", [("field", field.to_owned())]);
                details.add_bad_request_violation(field, problem);
                Self::with_error_details(Code::InvalidArgument, message, details)
            }
            Refusal::Malformed(malformed) => {
                let mut details = info::<0>(malformed.code(), []);
                details.add_bad_request_violation("transaction", malformed.to_string());
                Self::with_error_details(Code::InvalidArgument, message, details)
            }
            Refusal::Denied { reasons, described, sequence } => {
                denied(&reasons, &described, sequence, "denied")
            }
            Refusal::Withheld { reasons, described, sequence } => {
                denied(&reasons, &described, sequence, "withheld")
            }
            Refusal::Stopped(scope) => {
                let mut details = info("FROZEN", [("saw", scope.to_string())]);
                details.add_precondition_failure_violation("FROZEN", scope.to_string(), "a stop");
                Self::with_error_details(Code::FailedPrecondition, message, details)
            }
            Refusal::Overloaded => again(Code::ResourceExhausted, "OVERLOADED", message, SOON),
            Refusal::JournalFull => again(Code::Unavailable, "JOURNAL_FULL", message, LATER),
            Refusal::ShuttingDown => again(Code::Unavailable, "SHUTTING_DOWN", message, SOON),
            Refusal::Token { code, retry_after: Some(wait) } => {
                again(Code::Unavailable, code, message, wait)
            }
            Refusal::Token { code, retry_after: None } => {
                Self::with_error_details(Code::Internal, message, info::<0>(code, []))
            }
            Refusal::NotFound { kind, name } => {
                let mut details = info("NOT_FOUND", [("name", name.clone())]);
                details.set_resource_info(kind, name, "", "");
                Self::with_error_details(Code::NotFound, message, details)
            }
            Refusal::LabelTaken(label) => {
                let details = info("LABEL_TAKEN", [("label", label)]);
                Self::with_error_details(Code::AlreadyExists, message, details)
            }
            Refusal::FaultyBook(faults) => faulty_book(message, &faults),
            Refusal::Widens(lines) => {
                let mut details = info::<0>("BOOK_WIDENS", []);
                for line in lines {
                    details.add_precondition_failure_violation("BOOK_WIDENS", "book", line);
                }
                Self::with_error_details(Code::FailedPrecondition, message, details)
            }
        }
    }
}

impl From<TooManyReaders> for Status {
    fn from(crowd: TooManyReaders) -> Self {
        again(Code::ResourceExhausted, "TOO_MANY_READERS", crowd.to_string(), LATER)
    }
}

/// The journal's files failed a reader.
pub(super) fn journal_unreadable() -> Status {
    let details = info::<0>("JOURNAL_UNREADABLE", []);
    Status::with_error_details(Code::Internal, "the journal cannot be read", details)
}

/// gRPC's own refusals come before any of ours could speak (a message too large, a method nobody
/// has) and name no reason. Gives them one.
pub(super) fn with_reason(response: Response<Body>) -> Response<Body> {
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    let Some(reason) = reason_of(status.code()).filter(|_| status.details().is_empty()) else {
        return response;
    };
    let (code, message) = (status.code(), status.message());
    Status::with_error_details(code, message, info::<0>(reason, [])).into_http()
}

/// The stable reason of what gRPC itself refuses with this code.
fn reason_of(code: Code) -> Option<&'static str> {
    match code {
        Code::Ok => None,
        Code::OutOfRange => Some("MESSAGE_TOO_LARGE"),
        Code::Unimplemented => Some("NO_SUCH_METHOD"),
        Code::Cancelled | Code::DeadlineExceeded => Some("DEADLINE_EXCEEDED"),
        Code::NotFound => Some("NOT_FOUND"),
        Code::Unknown
        | Code::InvalidArgument
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => Some("MALFORMED_CALL"),
    }
}

/// What policy said: the first reason in the message and in `ErrorInfo`, all of them as violations.
fn denied(reasons: &[Reason], described: &[String], sequence: Sequence, verb: &str) -> Status {
    let Some(first) = reasons.first() else {
        return Status::with_error_details(Code::Internal, verb, info::<0>("NO_REASON", []));
    };
    let limit = first.limit.map_or_else(String::new, |limit| limit.to_string());
    let mut details = info(
        &first.code,
        [
            ("rule", first.rule.clone()),
            ("saw", first.saw.clone()),
            ("limit", limit),
            ("sequence", sequence.to_string()),
            ("verdict", verb.to_owned()),
        ],
    );
    for (reason, words) in reasons.iter().zip(described) {
        details.add_precondition_failure_violation(&reason.code, &reason.rule, words);
    }
    let words = described.first().map_or(first.rule.as_str(), String::as_str);
    Status::with_error_details(code_of(&first.code), format!("{verb}: {words}"), details)
}

/// What may pass by itself or through people is a failed precondition; what the book forbids is
/// denied.
fn code_of(reason: &str) -> Code {
    match reason {
        "KEY_UNKNOWN" => Code::NotFound,
        "REQUEST_ID_REUSED" => Code::Aborted,
        "FROZEN" | "TOO_MANY_PARKED" | "NOT_APPROVED" => Code::FailedPrecondition,
        reason if reason.ends_with("OVER_WINDOW_LIMIT") => Code::FailedPrecondition,
        _ => Code::PermissionDenied,
    }
}

fn faulty_book(message: String, faults: &portcullis_policy::book::Faults) -> Status {
    let mut details = info::<0>("BOOK_FAULTY", []);
    for fault in &faults.0 {
        let place = format!("line {}, column {}", fault.line, fault.column);
        details.add_bad_request_violation(place, format!("{} ({})", fault.message, fault.hint));
    }
    Status::with_error_details(Code::InvalidArgument, message, details)
}

fn again(code: Code, reason: &str, message: String, wait: Duration) -> Status {
    let mut details = info::<0>(reason, []);
    details.set_retry_info(Some(wait));
    Status::with_error_details(code, message, details)
}

fn info<const N: usize>(reason: &str, metadata: [(&str, String); N]) -> ErrorDetails {
    let metadata = metadata.into_iter().filter(|(_, value)| !value.is_empty());
    let metadata: HashMap<String, String> =
        metadata.map(|(name, value)| (name.to_owned(), value)).collect();
    ErrorDetails::with_error_info(reason, ERROR_DOMAIN, metadata)
}

const SOON: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(30);
