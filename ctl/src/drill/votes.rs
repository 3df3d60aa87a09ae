//! What takes a quorum within a drill: proposed, waited for, done.

use std::time::Duration;

use portcullis_client::wire::{ApprovalState, KeyState};
use portcullis_client::{CallError, ControlClient};
use portcullis_policy::act::Act;
use portcullis_policy::governance::Deed;

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
    /// Proposes it, and says who is asked.
    pub(super) async fn propose(&self, act: &Act) -> Result<String, Failure> {
        let deed = act.deed().to_string();
        let proposed = self.control.propose(&serde_json::to_string(act)?, "drill").await?;
        let (id, takes) = (&proposed.id, proposed.takes.join(", "));
        self.output.note(&format!(
            "{deed} takes {}. It asks {}, who type:\n  portctl approvals approve {id}",
            words::plain(&takes),
            self.asked.join(", ")
        ));
        Ok(proposed.id)
    }

    /// Done, once enough people have voted; and who that was.
    pub(super) async fn reach(&self, act: &Act, id: &str) -> Result<String, Failure> {
        let deed = act.deed().to_string();
        let done = until(self.patience, async || self.look(act, id).await).await?;
        done.ok_or_else(|| DrillFault::NotAgreed { deed, id: id.to_owned() }.into())
    }

    /// Whether the key is as the deed leaves it: whoever voted last may have carried it out.
    async fn is_done(&self, act: &Act) -> Result<bool, CallError> {
        let Some(id) = act.key() else { return Ok(false) };
        let key = self.control.key(&id.to_string()).await?;
        Ok(match act.deed() {
            Deed::Drain => key.state() == KeyState::Draining,
            Deed::Revoke => matches!(key.state(), KeyState::Revoked | KeyState::Destroyed),
            Deed::Destroy => key.removal.is_some() || key.state() == KeyState::Destroyed,
            Deed::Thaw | Deed::People | Deed::Widen => false,
        })
    }

    async fn look(&self, act: &Act, id: &str) -> Result<Option<String>, Failure> {
        let by_another = || Some("agreed to, and done by whoever voted last".to_owned());
        let approval = match self.control.approval(id).await {
            Ok(approval) => approval,
            Err(_) if self.is_done(act).await? => return Ok(by_another()),
            Err(error) => return Err(error.into()),
        };
        match approval.state() {
            ApprovalState::Waiting => return Ok(None),
            ApprovalState::Ready => {}
            ApprovalState::Rejected
            | ApprovalState::Ended
            | ApprovalState::Expired
            | ApprovalState::Signed
            | ApprovalState::Unspecified => {
                let (state, votes) = (words::state(&approval), words::voters(&approval));
                if self.is_done(act).await? {
                    return Ok(by_another());
                }
                let deed = act.deed().to_string();
                return Err(DrillFault::Rejected { deed, state, votes }.into());
            }
        }
        match self.control.execute(id).await {
            Ok(done) => {
                let voters = words::voters(&approval);
                Ok(Some(format!("agreed to by {voters}, done in record {}", done.sequence)))
            }
            // Its votes are there, and not old enough.
            Err(CallError::Refused(no)) if no.reason() == Some("QUORUM_NOT_MET") => Ok(None),
            Err(_) if self.is_done(act).await? => Ok(by_another()),
            Err(error) => Err(error.into()),
        }
    }
}
