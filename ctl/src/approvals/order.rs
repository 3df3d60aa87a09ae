//! What the vote that completes a proposal leaves to be done later. A key is not drained to one
//! that has no rules while the book that would give it some waits: whoever follows the successor
//! would be refused meanwhile. And one that is being drained is not ended before somebody has
//! looked once more what came in: nothing leaves it afterwards.

use portcullis_client::wire::{Approval, KeyState};
use portcullis_client::{CallError, ControlClient};

use crate::approvals::words;

/// Why it is left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Later {
    /// The voter asked for it.
    Asked,
    /// A book comes first.
    Book,
    /// The key is drained, or was.
    Look,
}

/// Whether the vote that completes a proposal leaves it to be done later. Not if nobody can say: it
/// may be an emergency.
pub(super) async fn later(
    approval: &Approval,
    asked: bool,
    control: &ControlClient,
) -> Option<Later> {
    if !approval.proposal || !words::is_ready(approval) {
        return None;
    }
    if asked {
        return Some(Later::Asked);
    }
    let summary = approval.summary.as_str();
    if summary.starts_with(DRAIN) && is_before_a_book(approval, control).await.unwrap_or(false) {
        return Some(Later::Book);
    }
    let label = summary.strip_prefix(REVOCATION)?.split_whitespace().next()?;
    let key = control.key(label).await.ok()?;
    // Also one whose drain is over: what came in since is in nobody's list.
    let drained = key.state() == KeyState::Draining || !key.successor.is_empty();
    drained.then_some(Later::Look)
}

async fn is_before_a_book(approval: &Approval, control: &ControlClient) -> Result<bool, CallError> {
    let statement = control.approval(&approval.id).await?.statement;
    let Some(successor) = without_rules(&statement) else { return Ok(false) };
    let listed = control.list_approvals().await?.approvals;
    let books = listed.iter().filter(|one| words::is_live(one) && is_adoption(one));
    for book in books {
        if names(&control.approval(&book.id).await?.statement, successor) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_adoption(approval: &Approval) -> bool {
    approval.summary.starts_with(ADOPTION)
}

/// Whether a word of a text is this label.
fn names(text: &str, label: &str) -> bool {
    let is_part = |one: char| one.is_alphanumeric() || "-_.".contains(one);
    let mut words = text.split(|one| !is_part(one));
    words.any(|word| word == label || word.strip_prefix("key.") == Some(label))
}

/// What is said of a proposal that was agreed to and not done.
pub(super) fn left_to_do(id: &str, later: Later) -> String {
    let execute = format!("enough have agreed: portctl approvals execute {id}");
    match later {
        Later::Asked => execute,
        Later::Book => format!(
            "NOT begun yet. {execute}, once the book that waits is in force: before that, the key \
             that takes over has no rules. In an emergency: now"
        ),
        Later::Look => format!(
            "NOT ended yet: the key is drained, and what it holds can never be moved \
             afterwards. Whoever rotates it looks once more and ends it; or: {execute}"
        ),
    }
}

/// The key that a drain brings everything to, if it had no rules when that was proposed, as the
/// text says that people sign.
fn without_rules(statement: &str) -> Option<&str> {
    let mut lines = statement.lines().map(str::trim_start);
    let successor = lines.find_map(|line| line.strip_prefix(SUCCESSOR))?;
    (lines.next() == Some(NO_RULES)).then(|| successor.split(' ').next().unwrap_or_default())
}

const DRAIN: &str = "drain ";
const REVOCATION: &str = "revoke key ";
const ADOPTION: &str = "adopt the book ";
const SUCCESSOR: &str = "its successor key ";
const NO_RULES: &str = "NO RULES in the book yet: it cannot sign";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_without_rules_is_told_from_one_that_has_some() {
        let statement = "x\nact: drain key hot 0x12 (1) until 2026: ..\neverything goes to:\n  its \
                         successor key cold 0x34 (2)\n  NO RULES in the book yet: it cannot \
                         sign\nit may move:\n";
        assert_eq!(without_rules(statement), Some("cold"));
        for other in [
            statement.replace("  NO RULES in the book yet: it cannot sign\n", ""),
            statement.replace("  NO RULES", "because: NO RULES"),
        ] {
            assert_eq!(without_rules(&other), None, "{other}");
        }
    }

    #[test]
    fn only_a_book_that_names_the_key_is_waited_for() {
        assert!(names("key cold: new rules", "cold") && names("  + [key.cold]", "cold"));
        assert!(names("limit all: keys [\"cold\", \"hot\"]", "cold"));
        assert!(!names("key cold-2: new rules, key.colder, @acme-cold", "cold"));
    }
}
