//! What people decide together, for operators' tools: what waits, votes, proposals, people.
//!
//! Thin, like the rest of the control plane's client. It neither signs votes nor looks at
//! statements: who signs shows its person exactly what is signed, and that is not this crate's.

use portcullis_proto::v1;
use tonic::Streaming;

use crate::control::{ControlClient, call};
use crate::error::CallError;
use crate::transport::Transport;

impl ControlClient {
    /// Everything that waits for people, without statements.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn list_approvals(&self) -> Result<v1::ListApprovalsResponse, CallError> {
        call!(self.approvals.list_approvals(v1::ListApprovalsRequest {}))
    }

    /// One thing that waits, with the text that voters sign.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn approval(&self, id: &str) -> Result<v1::Approval, CallError> {
        let request = v1::GetApprovalRequest { id: id.to_owned() };
        let reply: v1::GetApprovalResponse = call!(self.approvals.get_approval(request))?;
        reply.approval.ok_or(CallError::Incomplete { part: "approval" })
    }

    /// Casts a vote: gives its record, and how far the matter is now.
    ///
    /// # Errors
    ///
    /// As every call. If it is `Unreachable`, the vote may be recorded or not: look before voting
    /// again.
    pub async fn cast_vote(
        &self,
        vote: v1::CastVoteRequest,
    ) -> Result<(u64, v1::Approval), CallError> {
        let reply: v1::CastVoteResponse = call!(self.approvals.cast_vote(vote))?;
        let approval = reply.approval.ok_or(CallError::Incomplete { part: "approval" })?;
        Ok((reply.sequence, approval))
    }

    /// Proposes an act, given as records hold it.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn propose(&self, act_json: &str, reason: &str) -> Result<v1::Approval, CallError> {
        let request =
            v1::ProposeRequest { act_json: act_json.to_owned(), reason: reason.to_owned() };
        let reply: v1::ProposeResponse = call!(self.approvals.propose(request))?;
        reply.approval.ok_or(CallError::Incomplete { part: "approval" })
    }

    /// Does what was proposed, once enough people have agreed.
    ///
    /// # Errors
    ///
    /// As every call. If it is `Unreachable`, it may be done or not: look before trying again.
    pub async fn execute(&self, id: &str) -> Result<v1::ExecuteResponse, CallError> {
        call!(self.approvals.execute(v1::ExecuteRequest { id: id.to_owned() }))
    }

    /// Takes back a proposal of one's own.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn withdraw_proposal(
        &self,
        id: &str,
    ) -> Result<v1::WithdrawProposalResponse, CallError> {
        let request = v1::WithdrawProposalRequest { id: id.to_owned() };
        call!(self.approvals.withdraw_proposal(request))
    }

    /// Everything that waits, and then each change, without deadline.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn watch_approvals(&self) -> Result<ApprovalChanges, CallError> {
        let mut approvals = self.approvals.clone();
        let opening = approvals.watch_approvals(v1::WatchApprovalsRequest {});
        let opened = self.transport.within_deadline(opening).await?;
        Ok(ApprovalChanges { changes: opened.into_inner(), transport: self.transport.clone() })
    }

    /// Everybody, with their credentials, and what each deed takes.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn list_people(&self) -> Result<v1::ListPeopleResponse, CallError> {
        call!(self.people.list_people(v1::ListPeopleRequest {}))
    }

    /// Lets a person's vote, or one credential, no longer count. Holds at once.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn suspend(
        &self,
        request: v1::SuspendRequest,
    ) -> Result<v1::SuspendResponse, CallError> {
        call!(self.people.suspend(request))
    }

    /// Announces a recovery, given as records hold it. Stops everything.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn begin_recovery(
        &self,
        recovery_json: &str,
    ) -> Result<v1::BeginRecoveryResponse, CallError> {
        let request = v1::BeginRecoveryRequest { recovery_json: recovery_json.to_owned() };
        call!(self.people.begin_recovery(request))
    }

    /// Carries out a recovery whose delay is over.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn finish_recovery(
        &self,
        recovery_sequence: u64,
    ) -> Result<v1::FinishRecoveryResponse, CallError> {
        call!(self.people.finish_recovery(v1::FinishRecoveryRequest { recovery_sequence }))
    }
}

/// What waits, as it changes.
#[derive(Debug)]
pub struct ApprovalChanges {
    changes: Streaming<v1::WatchApprovalsResponse>,
    transport: Transport,
}

impl ApprovalChanges {
    /// The next change, or `None` at the end.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn next(&mut self) -> Result<Option<v1::WatchApprovalsResponse>, CallError> {
        self.changes.message().await.map_err(|status| self.transport.error(&status))
    }
}
