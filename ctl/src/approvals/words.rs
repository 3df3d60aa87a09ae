//! What waits, in words and as JSON. Whatever somebody else chose is printed without a character
//! that a terminal could act on.

use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_client::wire::{Approval, ApprovalState, Ballot};
use portcullis_policy::utc::rfc3339;
use serde_json::{Value, json};

/// How far it is.
pub(crate) fn state(approval: &Approval) -> &'static str {
    match approval.state() {
        ApprovalState::Waiting => "waiting",
        ApprovalState::Ready => "ready",
        ApprovalState::Signed => "signed",
        ApprovalState::Rejected => "rejected",
        ApprovalState::Ended => "ended",
        ApprovalState::Expired => "expired",
        ApprovalState::Unspecified => "unknown",
    }
}

/// Whether anything can still come of it.
pub(crate) fn is_live(approval: &Approval) -> bool {
    matches!(approval.state(), ApprovalState::Waiting | ApprovalState::Ready)
}

/// Whether it can be done.
pub(crate) fn is_ready(approval: &Approval) -> bool {
    approval.state() == ApprovalState::Ready
}

/// The time that counts now: for votes while it waits, for doing it once it is ready.
pub(crate) fn left(approval: &Approval) -> String {
    let end = match approval.state() {
        ApprovalState::Waiting => approval.votes_until_ms,
        ApprovalState::Ready | ApprovalState::Signed => approval.done_until_ms,
        ApprovalState::Rejected
        | ApprovalState::Ended
        | ApprovalState::Expired
        | ApprovalState::Unspecified => return "-".to_owned(),
    };
    match end.checked_sub(now_ms()) {
        Some(left) if left > 0 => span(left),
        _ => "over".to_owned(),
    }
}

/// The same without seconds, unless there are only seconds: for lines that are printed when they
/// change.
pub(crate) fn left_to_the_minute(approval: &Approval) -> String {
    let left = left(approval);
    match left.split_once("m ") {
        Some((minutes, _)) => format!("{minutes}m"),
        None if left.ends_with('s') => "less than a minute".to_owned(),
        None => left,
    }
}

/// By our own clock: it decides nothing.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// The two largest units: "2d 3h", "1h 5m", "40s".
pub(crate) fn span(millis: u64) -> String {
    let seconds = millis / 1_000;
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, minutes) => format!("{minutes}m {rest}s"),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// What whoever is asked types.
pub(crate) fn voters_type(approval: &Approval) -> String {
    format!("portctl approvals approve {}", plain(&approval.id))
}

/// Who said what, in one cell. What does not count now is in brackets.
pub(crate) fn voters(approval: &Approval) -> String {
    let one = |ballot: &Ballot| {
        let said = if ballot.approve { "" } else { "NO " };
        let text = format!("{said}{}", plain(&ballot.person));
        if ballot.counts || !ballot.approve { text } else { format!("({text})") }
    };
    let all: Vec<String> = approval.votes.iter().map(one).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// A vote in a line.
pub(crate) fn vote(ballot: &Ballot) -> String {
    let choice = if ballot.approve { "approve" } else { "reject" };
    let because = match ballot.reason.as_str() {
        "" => String::new(),
        reason => format!(", because: {}", plain(reason)),
    };
    let counts = if ballot.counts { "" } else { ", DOES NOT COUNT NOW" };
    format!(
        "{choice} by {} with {} at {}, record {}{counts}{because}",
        plain(&ballot.person),
        plain(&ballot.credential_id),
        rfc3339(ballot.at_ms),
        ballot.sequence,
    )
}

/// Everything below the statement, or instead of it.
pub(crate) fn standing(approval: &Approval) -> Vec<(&'static str, String)> {
    let mut lines = vec![("state", state(approval).to_owned())];
    lines.extend(approval.takes.iter().map(|takes| ("takes", plain(takes))));
    lines.extend(approval.votes.iter().map(|ballot| ("vote", vote(ballot))));
    if approval.votes.is_empty() {
        lines.push(("votes", "none yet".to_owned()));
    }
    if is_live(approval) {
        lines.push(("time left", left(approval)));
    }
    lines
}

/// Escapes what is not printable ASCII: it is somebody else's text.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character == ' ' || character.is_ascii_graphic() {
            out.push(character);
        } else {
            out.extend(character.escape_default());
        }
    }
    out
}

pub(crate) fn json(approval: &Approval) -> Value {
    let vote = |ballot: &Ballot| {
        json!({
            "person": ballot.person,
            "credential_id": ballot.credential_id,
            "vote": if ballot.approve { "approve" } else { "reject" },
            "reason": ballot.reason,
            "sequence": ballot.sequence,
            "at": rfc3339(ballot.at_ms),
            "counts": ballot.counts,
        })
    };
    json!({
        "id": approval.id,
        "state": state(approval),
        "proposal": approval.proposal,
        "summary": approval.summary,
        "asked_by": approval.asked_by,
        "asks_you": approval.asks_you,
        "sequence": approval.sequence,
        "takes": approval.takes,
        "votes": approval.votes.iter().map(vote).collect::<Vec<_>>(),
        "votes_until": rfc3339(approval.votes_until_ms),
        "done_until": rfc3339(approval.done_until_ms),
        "likeness": approval.likeness,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_at_most_two_units() {
        for (millis, text) in
            [(999, "0s"), (61_000, "1m 1s"), (3_600_000, "1h 0m"), (90_061_000, "1d 1h")]
        {
            assert_eq!(span(millis), text);
        }
    }

    #[test]
    fn nothing_that_a_terminal_acts_on_is_left_in_somebody_elses_words() {
        assert_eq!(plain("a\u{1b}[2J\nb\u{202e}"), "a\\u{1b}[2J\\nb\\u{202e}");
    }
}
