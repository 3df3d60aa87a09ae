//! What takes a quorum within a drill: proposed, waited for, done.

use std::time::Duration;

use portcullis_client::wire::ApprovalState;
use portcullis_client::{CallError, ControlClient};
use portcullis_policy::act::Act;

use super::{DrillFault, until};
use crate::approvals::words;
use crate::failure::Failure;
use crate::output::Output;

/// How something is agreed to.
pub(super) struct Agreement<'a> {
    pub(super) control: &'a ControlClient,
    pub(super) output: &'a Output,
    /// Who may vote.
    pub(super) asked: Vec<String>,
    pub(super) patience: Duration,
}

impl Agreement<'_> {
    /// Done, once enough people have voted; and who that was.
    pub(super) async fn reach(&self, act: &Act) -> Result<String, Failure> {
        let deed = act.deed().to_string();
        let proposed = self.control.propose(&serde_json::to_string(act)?, "drill").await?;
        let (id, takes) = (&proposed.id, proposed.takes.join(", "));
        self.output.note(&format!(
            "{deed} takes {}. It asks {}, who type:\n  portctl approvals approve {id}",
            words::plain(&takes),
            self.asked.join(", ")
        ));
        let done = until(self.patience, async || self.look(id, &deed).await).await?;
        let Some((voters, sequence)) = done else {
            return Err(DrillFault::NotAgreed { deed, id: id.clone() }.into());
        };
        Ok(format!("agreed to by {voters}, done in record {sequence}"))
    }

    async fn look(&self, id: &str, deed: &str) -> Result<Option<(String, u64)>, Failure> {
        let approval = self.control.approval(id).await?;
        match approval.state() {
            ApprovalState::Waiting => return Ok(None),
            ApprovalState::Ready => {}
            ApprovalState::Rejected
            | ApprovalState::Ended
            | ApprovalState::Expired
            | ApprovalState::Signed
            | ApprovalState::Unspecified => {
                let (state, votes) = (words::state(&approval), words::voters(&approval));
                return Err(DrillFault::Rejected { deed: deed.to_owned(), state, votes }.into());
            }
        }
        match self.control.execute(id).await {
            Ok(done) => Ok(Some((words::voters(&approval), done.sequence))),
            // Its votes are there, and not old enough.
            Err(CallError::Refused(no)) if no.reason() == Some("QUORUM_NOT_MET") => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
