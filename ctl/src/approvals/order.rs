//! Which of two proposals is done first: a key is not drained to one that has no rules while the
//! book that would give it some waits. Whoever follows the successor would be refused meanwhile.

use portcullis_client::wire::Approval;
use portcullis_client::{CallError, ControlClient};

use crate::approvals::words;

/// Whether the vote that completes a proposal leaves it to be done later. Not if nobody can say: a
/// drain may be an emergency.
pub(super) async fn after_a_book(approval: &Approval, control: &ControlClient) -> bool {
    approval.summary.starts_with(DRAIN) && is_to_wait(approval, control).await.unwrap_or(false)
}

async fn is_to_wait(approval: &Approval, control: &ControlClient) -> Result<bool, CallError> {
    if !is_without_rules(&control.approval(&approval.id).await?.statement) {
        return Ok(false);
    }
    let listed = control.list_approvals().await?.approvals;
    Ok(listed.iter().any(|one| words::is_live(one) && one.summary.starts_with(ADOPTION)))
}

/// What is said of a proposal that was agreed to and not done.
pub(super) fn left_to_do(id: &str, as_asked: bool) -> String {
    let execute = format!("enough have agreed: portctl approvals execute {id}");
    if as_asked {
        return execute;
    }
    format!(
        "NOT begun yet. {execute}, once the book that waits is in force: before that, the key that \
         takes over has no rules. In an emergency: now"
    )
}

/// Whether the key that a drain brings everything to had no rules when it was proposed, as the text
/// says that people sign.
fn is_without_rules(statement: &str) -> bool {
    statement.lines().any(|line| line.trim_start() == NO_RULES)
}

const DRAIN: &str = "drain ";
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
