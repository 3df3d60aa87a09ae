//! Waits until people have agreed: asks how far it is about each second, and says so when that
//! changes. It does nothing by itself: whoever waited does it.

use std::time::Duration;

use portcullis_client::ControlClient;
use portcullis_client::wire::{Approval, ApprovalState};
use portcullis_client::{CallError, Code};

use crate::approvals::words;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// People did not agree.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AwaitFault {
    /// One of them said no.
    #[error(
        "{id} was rejected by {by}. Talk to them: it is proposed anew when the same command is \
         given again"
    )]
    Rejected { id: String, by: String },
    /// Too few of them came.
    #[error(
        "{id} has expired: too few people agreed in time. It is proposed anew when the same \
         command is given again"
    )]
    Expired { id: String },
    /// It is not there any more, for a reason that is not told with it.
    #[error(
        "{id} waits no more: somebody has done it or taken it back, or a stop or another book \
         ended it. The same command, given again, looks how things stand and goes on from there"
    )]
    Over { id: String },
}

/// Until enough people have agreed and every delay is over: then it can be done.
pub(crate) async fn agreement(
    mut approval: Approval,
    control: &ControlClient,
    output: &Output,
) -> Result<Approval, Failure> {
    let (mut said, mut lost) = (String::new(), 0_u32);
    loop {
        if is_agreed(&approval)? {
            return Ok(approval);
        }
        let line = line(&approval);
        if said != line {
            output.note(&line);
            said = line;
        }
        tokio::time::sleep(ASKED_EVERY).await;
        match look(&approval.id, control).await {
            Ok(now) => (approval, lost) = (now, 0),
            Err(failure) if failure.exit() == Exit::Unavailable && lost < LOST_MAX => {
                lost = lost.saturating_add(1);
                output.note(&format!("{failure}; asking again"));
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Who is asked, how many have agreed, and what the others type.
pub(crate) fn line(approval: &Approval) -> String {
    let takes: Vec<String> = approval.takes.iter().map(|takes| words::plain(takes)).collect();
    format!(
        "{} waits for {} (so far: {}; {} left): {}; they type: {}",
        words::plain(&approval.id),
        takes.join("; "),
        words::voters(approval),
        words::left_to_the_minute(approval),
        words::plain(&approval.summary),
        words::voters_type(approval),
    )
}

async fn look(id: &str, control: &ControlClient) -> Result<Approval, Failure> {
    match control.approval(id).await {
        Err(CallError::Refused(no)) if no.code() == Code::NotFound => {
            Err(AwaitFault::Over { id: id.to_owned() }.into())
        }
        other => Ok(other?),
    }
}

fn is_agreed(approval: &Approval) -> Result<bool, AwaitFault> {
    let id = approval.id.clone();
    match approval.state() {
        ApprovalState::Waiting => Ok(false),
        ApprovalState::Ready => Ok(true),
        ApprovalState::Rejected => {
            let by = approval.votes.iter().filter(|ballot| !ballot.approve);
            let by: Vec<String> = by.map(|ballot| words::plain(&ballot.person)).collect();
            Err(AwaitFault::Rejected { id, by: by.join(", ") })
        }
        ApprovalState::Expired => Err(AwaitFault::Expired { id }),
        ApprovalState::Signed | ApprovalState::Ended | ApprovalState::Unspecified => {
            Err(AwaitFault::Over { id })
        }
    }
}

const ASKED_EVERY: Duration = Duration::from_secs(1);

/// Questions in a row that the signer did not answer: a restart takes less.
const LOST_MAX: u32 = 300;

#[cfg(test)]
mod tests {
    use portcullis_client::wire::Ballot;

    use super::*;

    fn approval(state: ApprovalState) -> Approval {
        let mut approval = Approval {
            id: "p12".into(),
            takes: vec!["2 of approver".into()],
            summary: "drain hot".into(),
            votes_until_ms: u64::MAX,
            ..Approval::default()
        };
        approval.set_state(state);
        approval
    }

    #[test]
    fn whoever_waits_reads_who_is_asked_and_what_they_type() {
        let line = line(&approval(ApprovalState::Waiting));
        for part in ["p12 waits for 2 of approver", "so far: none", "drain hot"] {
            assert!(line.contains(part), "{line}");
        }
        assert!(line.ends_with("they type: portctl approvals approve p12"), "{line}");
    }

    #[test]
    fn a_no_and_an_end_are_no_agreement_and_say_what_comes_next() {
        assert!(matches!(is_agreed(&approval(ApprovalState::Waiting)), Ok(false)));
        assert!(matches!(is_agreed(&approval(ApprovalState::Ready)), Ok(true)));
        let no = Ballot { person: "alan".into(), approve: false, ..Ballot::default() };
        let rejected = Approval { votes: vec![no], ..approval(ApprovalState::Rejected) };
        let words = is_agreed(&rejected).unwrap_err().to_string();
        assert!(words.contains("rejected by alan") && words.contains("same command"), "{words}");
        for state in [ApprovalState::Expired, ApprovalState::Ended] {
            let words = is_agreed(&approval(state)).unwrap_err().to_string();
            assert!(words.contains("p12") && words.contains("same command"), "{words}");
        }
    }
}
