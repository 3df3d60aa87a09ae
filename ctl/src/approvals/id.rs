//! What people call something that waits: its id, or the beginning of one.

use portcullis_client::ControlClient;

use crate::approvals::vote::VoteFault;
use crate::failure::Failure;

/// The whole id, for whoever only looks. Nothing is signed by a beginning: whoever asks can try
/// until two of their requests begin alike.
pub(super) async fn whole(id: &str, control: &ControlClient) -> Result<String, Failure> {
    let short = id.trim_end_matches('.');
    if !is_beginning(short) {
        return Ok(id.to_owned());
    }
    let listed = control.list_approvals().await?.approvals;
    let mut same: Vec<String> =
        listed.into_iter().map(|one| one.id).filter(|one| one.starts_with(short)).collect();
    match (same.pop(), same.len()) {
        (Some(one), 0) => Ok(one),
        (None, _) => Err(VoteFault::NoneBegins { short: short.to_owned() }.into()),
        (Some(_), others) => {
            let count = others.saturating_add(1);
            Err(VoteFault::SeveralBegin { short: short.to_owned(), count }.into())
        }
    }
}

/// Six digits at least: fewer are a slip of the hand.
pub(super) fn is_beginning(short: &str) -> bool {
    let hex = short.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    hex && (6..32).contains(&short.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_digits_and_more_are_a_beginning_and_proposals_have_none() {
        assert!(is_beginning("3f2a9c"));
        assert!(is_beginning(&"a".repeat(31)));
        for other in ["3f2a9", "p12", "", "3F2A9C", "3f2a9g", &"a".repeat(32)] {
            assert!(!is_beginning(other), "{other}");
        }
    }
}
