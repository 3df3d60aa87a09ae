//! What the vote that completes a proposal leaves to be done later. A key is not drained to one that
//! has no rules while the book that would give it some waits: whoever follows the successor would be
//! refused meanwhile. And one that is being drained is not ended before somebody has looked once
//! more what came in: nothing leaves it afterwards.

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
    /// The key is drained still.
    Look,
}

/// Whether the vote that completes a proposal leaves it to be done later. Not if nobody can say: it
/// may be an emergency.
pub(super) async fn later(approval: &Approval, control: &ControlClient) -> Option<Later> {
    let summary = approval.summary.as_str();
    if summary.starts_with(DRAIN) && is_before_a_book(approval, control).await.unwrap_or(false) {
        return Some(Later::Book);
    }
    let label = summary.strip_prefix(REVOCATION)?.split_whitespace().next()?;
    let key = control.key(label).await.ok()?;
    (key.state() == KeyState::Draining).then_some(Later::Look)
}

async fn is_before_a_book(approval: &Approval, control: &ControlClient) -> Result<bool, CallError> {
    if !is_without_rules(&control.approval(&approval.id).await?.statement) {
        return Ok(false);
    }
    let listed = control.list_approvals().await?.approvals;
    Ok(listed.iter().any(|one| words::is_live(one) && one.summary.starts_with(ADOPTION)))
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
            "NOT ended yet: the key is being drained, and what it holds can never be moved \
             afterwards. Whoever rotates it looks once more and ends it; or: {execute}"
        ),
    }
}

/// Whether the key that a drain brings everything to had no rules when it was proposed, as the text
/// says that people sign.
fn is_without_rules(statement: &str) -> bool {
    statement.lines().any(|line| line.trim_start() == NO_RULES)
}

const DRAIN: &str = "drain ";
const REVOCATION: &str = "revoke key ";
const ADOPTION: &str = "adopt the book ";
const NO_RULES: &str = "NO RULES in the book yet: it cannot sign";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_without_rules_is_told_from_one_that_has_some() {
        let statement = "x\nact: drain hot (1) until 2026: ..\neverything goes to:\n  its \
                         successor cold\n  NO RULES in the book yet: it cannot sign\n";
        assert!(is_without_rules(statement));
        for other in [
            statement.replace("  NO RULES in the book yet: it cannot sign\n", ""),
            statement.replace("  NO RULES", "because: NO RULES"),
        ] {
            assert!(!is_without_rules(&other), "{other}");
        }
    }
}
