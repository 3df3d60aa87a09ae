//! A refusal in gRPC's words; the only file with status codes.
//!
//! Every error carries `ErrorInfo` with a stable reason, and whatever else of google.rpc says what
//! to do. The caller is told less than the journal.

use std::collections::HashMap;
use std::time::Duration;

use http::Response;
use portcullis_policy::finding::Reason;
use portcullis_policy::id::Sequence;
use portcullis_policy::request::Unreadable;
use portcullis_policy::tx::Malformed;
use portcullis_proto::ERROR_DOMAIN;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::deadline::BadTimeout;
use super::readers::TooManyReaders;
use crate::journal::ReadError;
use crate::refusal::Refusal;
use crate::witness::Unwitnessed;

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::UnknownPeer { name } => {
                let details = info("UNKNOWN_CALLER", [("name", name)]);
                said(Code::Unauthenticated, message, details)
            }
            Refusal::NotAuthorised { person, role } => {
                let details = info("ROLE_MISSING", [("person", person), ("role", role)]);
                said(Code::PermissionDenied, message, details)
            }
            Refusal::PersonSuspended(person) => suspended(message, person.to_string()),
            Refusal::Throttled { retry_after, rate } => throttled(message, retry_after, rate),
            Refusal::BadField { field, problem } => {
                let mut details = info("BAD_FIELD", [("field", field.to_owned())]);
                details.add_bad_request_violation(field, short(problem));
                said(Code::InvalidArgument, message, details)
            }
            Refusal::Unreadable(unreadable) => {
                let mut details = info::<0>(unreadable.code(), []);
                details.add_bad_request_violation(
                    field_of(&unreadable),
                    short(unreadable.to_string()),
                );
                said(Code::InvalidArgument, message, details)
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
                said(Code::FailedPrecondition, message, details)
            }
            Refusal::PastDeadline => past_deadline(),
            Refusal::Overloaded => again(Code::ResourceExhausted, "OVERLOADED", message, SOON),
            Refusal::BookChanged => again(Code::Aborted, "BOOK_CHANGED", message, SOON),
            Refusal::JournalFull => again(Code::Unavailable, "JOURNAL_FULL", message, LATER),
            Refusal::ShuttingDown => again(Code::Unavailable, "SHUTTING_DOWN", message, SOON),
            Refusal::Token { code, retry_after: Some(wait) } => {
                again(Code::Unavailable, code, message, wait)
            }
            Refusal::Token { code, retry_after: None } => {
                said(Code::Internal, message, info::<0>(code, []))
            }
            Refusal::NotFound { kind, name } => not_found(message, kind, name),
            Refusal::NotAttested(_) => not_attested(message),
            Refusal::Unwitnessed(why) => unwitnessed(message, why),
            Refusal::LabelTaken(label) => taken(message, label),
            Refusal::WrongEnvironment { given, vault } => elsewhere(message, given, vault),
            Refusal::FaultyBook(faults) => faulty_book(message, &faults),
            Refusal::Vote(fault) => by_people(&message, fault.code(), &fault),
            Refusal::Proposal(fault) => by_people(&message, fault.code(), &fault),
            Refusal::Execution(fault) => by_people(&message, fault.code(), &fault),
            Refusal::Suspension(fault) => by_people(&message, fault.code(), &fault),
            Refusal::Recovery(fault) => by_people(&message, fault.code(), &fault),
            Refusal::Widens(lines) => {
                let mut details = info::<0>("BOOK_WIDENS", []);
                let lines = lines.iter().map(|line| ["BOOK_WIDENS", "book", line]);
                let more = preconditions(&mut details, lines);
                said(Code::FailedPrecondition, and_more(message, more), details)
            }
        }
    }
}

fn not_found(message: String, kind: &str, name: String) -> Status {
    let name = short(name);
    let mut details = info("NOT_FOUND", [("name", name.clone())]);
    details.set_resource_info(kind, name, "", "");
    said(Code::NotFound, message, details)
}

fn not_attested(message: String) -> Status {
    again(Code::Unavailable, "NOT_ATTESTED_YET", message, SECOND)
}

/// The next cosignature may be under way; only people can do something about another journal.
fn unwitnessed(message: String, why: Unwitnessed) -> Status {
    let wait = if why.may_pass() { SECOND } else { LATER };
    again(Code::Unavailable, why.code(), message, wait)
}

/// A quorum can let them again, so it is no denial.
fn suspended(message: String, person: String) -> Status {
    said(Code::FailedPrecondition, message, info("PERSON_SUSPENDED", [("person", person)]))
}

fn throttled(message: String, retry_after: Duration, rate: &'static str) -> Status {
    let mut details = info("THROTTLED", [("rule", rate.to_owned())]);
    details.set_retry_info(Some(retry_after));
    details.add_quota_failure_violation(rate, "requests per time");
    said(Code::ResourceExhausted, message, details)
}

/// What people together may not do, or not yet: with the whole chain of why.
fn by_people(message: &str, code: &'static str, fault: &dyn std::error::Error) -> Status {
    let mut details = info::<0>(code, []);
    let words = short(refusal_chain(message, fault));
    details.add_precondition_failure_violation(code, "approval", &words);
    said(Code::FailedPrecondition, words, details)
}

fn refusal_chain(message: &str, fault: &dyn std::error::Error) -> String {
    let mut text = format!("{message}: {fault}");
    let mut source = fault.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl From<TooManyReaders> for Status {
    fn from(crowd: TooManyReaders) -> Self {
        again(Code::ResourceExhausted, "TOO_MANY_READERS", crowd.to_string(), LATER)
    }
}

impl From<BadTimeout> for Status {
    fn from(bad: BadTimeout) -> Self {
        let mut details = info("BAD_FIELD", [("field", "grpc-timeout".to_owned())]);
        details.add_bad_request_violation("grpc-timeout", bad.to_string());
        said(Code::InvalidArgument, bad.to_string(), details)
    }
}

/// A label that another key has.
fn taken(message: String, label: String) -> Status {
    said(Code::AlreadyExists, message, info("LABEL_TAKEN", [("label", label)]))
}

/// What belongs into another vault.
fn elsewhere(message: String, given: &str, vault: &str) -> Status {
    let details = info("WRONG_ENVIRONMENT", [("given", given.into()), ("vault", vault.into())]);
    said(Code::FailedPrecondition, message, details)
}

/// Nobody waits for the answer any more.
pub(super) fn past_deadline() -> Status {
    let message = "the deadline that the caller set has passed".to_owned();
    said(Code::DeadlineExceeded, message, info::<0>("DEADLINE_EXCEEDED", []))
}

/// The other end was somebody, and is nobody now.
pub(super) fn certificate_not_valid() -> Status {
    let message = "the client certificate is revoked, expired or no longer trusted".to_owned();
    said(Code::Unauthenticated, message, info::<0>("CERTIFICATE_NOT_VALID", []))
}

/// The journal's files failed a reader.
pub(super) fn journal_unreadable(error: &ReadError) -> Status {
    let (reason, message) = error.told();
    let is_away = matches!(error, ReadError::Away { .. });
    let code = if is_away { Code::FailedPrecondition } else { Code::Internal };
    said(code, message.to_owned(), info::<0>(reason, []))
}

/// gRPC's own refusals come before any of ours could speak, and name no reason. Gives them one.
pub(super) fn with_reason(response: Response<Body>) -> Response<Body> {
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    if status.code() == Code::Ok || !status.details().is_empty() {
        return response;
    }
    reasoned(status).into_http()
}

/// The same of a status that ends a stream.
pub(super) fn reasoned(status: Status) -> Status {
    let Some(reason) = reason_of(status.code()).filter(|_| status.details().is_empty()) else {
        return status;
    };
    let unknown = status.code() == Code::Unimplemented;
    let message = if unknown { NO_SUCH_METHOD } else { status.message() };
    // A message that is no protobuf is the sender's, and no fault of ours.
    let malformed = status.code() == Code::Internal;
    let code = if malformed { Code::InvalidArgument } else { status.code() };
    said(code, message.to_owned(), info::<0>(reason, []))
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

const NO_SUCH_METHOD: &str = "this address has no such method: signatures are asked for at the \
                              data plane, and everything else at the control plane";

/// What policy said: the first reason in the message and in `ErrorInfo`, all of them as violations.
fn denied(reasons: &[Reason], described: &[String], sequence: Sequence, verb: &str) -> Status {
    let Some(first) = reasons.first() else {
        return said(Code::Internal, verb.to_owned(), info::<0>("NO_REASON", []));
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
    let violations = reasons.iter().zip(described);
    let violations = violations.map(|(reason, words)| [&reason.code, &reason.rule, words]);
    let more = preconditions(&mut details, violations);
    let words = described.first().map_or(first.rule.as_str(), String::as_str);
    said(code_of(&first.code), and_more(format!("{verb}: {words}"), more), details)
}

/// What may pass by itself or through people is a failed precondition; what the book forbids is
/// denied.
fn code_of(reason: &str) -> Code {
    match reason {
        "KEY_UNKNOWN" => Code::NotFound,
        "REQUEST_ID_REUSED" => Code::Aborted,
        "KEY_DRAINING" | "OVER_DRAIN_FEES" => Code::FailedPrecondition,
        "FROZEN" | "TOO_MANY_PARKED" | "NOT_APPROVED" | "REJECTED" => Code::FailedPrecondition,
        reason if reason.ends_with("OVER_WINDOW_LIMIT") => Code::FailedPrecondition,
        // These pass by themselves, or when somebody reports.
        "OVER_SHARED_LIMIT" | "OVER_UNSETTLED_LIMIT" | "OVER_OUTSTANDING_LIMIT" => {
            Code::FailedPrecondition
        }
        "NONCE_TOO_FAR_AHEAD" | "PRICE_MISSING" | "RECIPIENT_COOLING_OFF" => {
            Code::FailedPrecondition
        }
        _ => Code::PermissionDenied,
    }
}

fn faulty_book(message: String, faults: &portcullis_policy::book::Faults) -> Status {
    let mut details = info::<0>("BOOK_FAULTY", []);
    let mut room = Room::beside(&details);
    let violations: Vec<[String; 2]> = faults
        .0
        .iter()
        .map(|fault| {
            let place = format!("line {}, column {}", fault.line, fault.column);
            [place, short(format!("{} ({})", fault.message, fault.hint))]
        })
        .take_while(|violation| room.has(violation))
        .collect();
    let more = faults.0.len().saturating_sub(violations.len());
    for [place, words] in violations {
        details.add_bad_request_violation(place, words);
    }
    said(Code::InvalidArgument, and_more(message, more), details)
}

/// Adds as many violations as there is room for; how many there was none for.
fn preconditions<T: AsRef<str>>(
    details: &mut ErrorDetails,
    violations: impl Iterator<Item = [T; 3]>,
) -> usize {
    let mut room = Room::beside(details);
    let mut more = 0usize;
    for violation in violations {
        let violation = violation.map(|text| short(text.as_ref().to_owned()));
        if more > 0 || !room.has(&violation) {
            more = more.saturating_add(1);
            continue;
        }
        let [kind, subject, words] = violation;
        details.add_precondition_failure_violation(kind, subject, words);
    }
    more
}

/// What is left of [`DETAILS_BYTES_MAX`].
struct Room(usize);

impl Room {
    fn beside(details: &ErrorDetails) -> Self {
        let status = Status::with_error_details(Code::Unknown, "", details.clone());
        // The list of violations comes with a type name of its own.
        let taken = status.details().len().saturating_add(MESSAGE_BYTES_MAX).saturating_add(128);
        Self(DETAILS_BYTES_MAX.saturating_sub(taken))
    }

    /// Whether a violation of these texts still fits; if so, its room is taken.
    fn has<const N: usize>(&mut self, texts: &[String; N]) -> bool {
        // Each text and the whole have a tag and a length: four bytes at most.
        let taken = texts.iter().map(|text| text.len().saturating_add(4));
        let taken = taken.fold(4usize, usize::saturating_add);
        match self.0.checked_sub(taken) {
            Some(left) => {
                self.0 = left;
                true
            }
            None => false,
        }
    }
}

fn and_more(message: String, more: usize) -> String {
    if more == 0 { message } else { format!("{} (and {more} more)", short(message)) }
}

/// A status goes into headers, and a client that finds them too large is left with no reason.
fn said(code: Code, message: String, details: ErrorDetails) -> Status {
    Status::with_error_details(code, cut(message, MESSAGE_BYTES_MAX), details)
}

/// The field of the request that could not be read.
fn field_of(unreadable: &Unreadable) -> &'static str {
    match unreadable {
        Unreadable::Bytes(Malformed::Delegation) => "authorization",
        Unreadable::Bytes(_) => "transaction",
        Unreadable::Typed(_) | Unreadable::TypedWithoutChain => "typed_data",
        Unreadable::Message(_) => "message",
    }
}

fn short(text: String) -> String {
    cut(text, TEXT_BYTES_MAX)
}

fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max.saturating_sub(ELLIPSIS.len())));
        text.push_str(ELLIPSIS);
    }
    text
}

fn again(code: Code, reason: &str, message: String, wait: Duration) -> Status {
    let mut details = info::<0>(reason, []);
    details.set_retry_info(Some(wait));
    Status::with_error_details(code, message, details)
}

fn info<const N: usize>(reason: &str, metadata: [(&str, String); N]) -> ErrorDetails {
    let metadata = metadata.into_iter().filter(|(_, value)| !value.is_empty());
    let metadata: HashMap<String, String> =
        metadata.map(|(name, value)| (name.to_owned(), short(value))).collect();
    ErrorDetails::with_error_info(reason, ERROR_DOMAIN, metadata)
}

/// Encoded details of one status: Base64 adds a third, and some clients take 16 KiB in all.
const DETAILS_BYTES_MAX: usize = 8 * 1024;

/// The message of one status; the header spells some bytes with three.
const MESSAGE_BYTES_MAX: usize = 640;

/// One text among the details.
const TEXT_BYTES_MAX: usize = 512;

const ELLIPSIS: &str = "…";

const SOON: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_refusal_holds_it_fits_into_headers() {
        let long = "ü".repeat(100_000);
        let refusals = [
            Refusal::Widens(vec![long.clone(); 300]),
            Refusal::NotFound { kind: "key", name: long.clone() },
            Refusal::BadField { field: "scope", problem: long.clone() },
            Refusal::LabelTaken(long.clone()),
            Refusal::UnknownPeer { name: long.clone() },
            Refusal::NotAuthorised { person: long, role: "security".into() },
        ];
        for refusal in refusals {
            let status = Status::from(refusal);
            let reason = status.get_error_details().error_info().unwrap().reason.clone();
            assert!(status.details().len() <= DETAILS_BYTES_MAX, "{reason}");
            assert!(status.message().len() <= MESSAGE_BYTES_MAX, "{reason}");
            let headers = status.into_http::<()>().into_parts().0.headers;
            let bytes: usize =
                headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
            assert!(bytes < 15 * 1024, "{reason}: {bytes}");
        }
    }

    #[test]
    fn what_does_not_fit_is_counted_and_what_fits_is_told_in_full() {
        let lines: Vec<String> =
            (0..300).map(|number| format!("{number} {}", "x".repeat(90))).collect();
        let status = Status::from(Refusal::Widens(lines.clone()));
        let details = status.get_error_details();
        let violations = &details.precondition_failure().unwrap().violations;
        let told: Vec<&String> = violations.iter().map(|one| &one.description).collect();
        assert!(told.len() > 30 && told.len() < 300, "{}", told.len());
        assert!(told.iter().zip(&lines).all(|(told, line)| *told == line));
        assert!(status.message().ends_with(&format!("(and {} more)", 300 - told.len())));
        let few = Status::from(Refusal::Widens(lines[..30].to_vec()));
        assert!(!few.message().contains("more)"), "{}", few.message());
    }
}
