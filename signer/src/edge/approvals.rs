//! Translates what people decide together between the wire and the commands. Holds no rule.

use portcullis_policy::act::Act;
use portcullis_policy::credential::{Evidence, Strength};
use portcullis_policy::id::Sequence;
use portcullis_policy::people::Role;
use portcullis_policy::record::{Choice, Matter, Party, Voted, Withdrawn};
use portcullis_policy::state::Progress;
use portcullis_policy::statement;
use portcullis_proto::v1::approval_service_server::ApprovalService;
use portcullis_proto::v1::{
    Approval, ApprovalState, Ballot, CastVoteRequest, CastVoteResponse, ExecuteRequest,
    ExecuteResponse, GetApprovalRequest, GetApprovalResponse, ListApprovalsRequest,
    ListApprovalsResponse, ProposeRequest, ProposeResponse, WatchApprovalsRequest,
    WithdrawProposalRequest, WithdrawProposalResponse,
};
use serde::de::DeserializeOwned;
use tonic::{Request, Response, Status};

use super::places::Places;
use super::signing::peer;
use super::watching;
use crate::refusal::Refusal;
use crate::roster::{self, Present};
use crate::sequencer::{Origin, Sequencer, Standing};
use crate::throttle::Acts;
use crate::words;

/// Serves people who decide together.
#[derive(Clone)]
pub struct Approvals {
    pub(super) sequencer: Sequencer,
    /// How often one person changes something: shared with whoever else lets people do so.
    pub acts: Acts,
    /// Recoveries being looked at: anybody with a certificate may announce one.
    pub(super) recoveries: Places,
    watchers: Places,
    lists: Places,
}

impl Approvals {
    /// Over this order.
    pub fn new(sequencer: Sequencer) -> Self {
        Self {
            sequencer,
            acts: Acts::default(),
            recoveries: Places::new(1, RECOVERIES_MAX),
            watchers: Places::new(WATCHERS_PER_PERSON_MAX, WATCHERS_MAX),
            lists: Places::new(LISTS_PER_PERSON_MAX, LISTS_MAX),
        }
    }

    pub(super) fn present<T>(
        &self,
        request: &Request<T>,
        roles: &[Role],
    ) -> Result<Present, Status> {
        let peer = peer(request)?;
        Ok(roster::person(&self.sequencer.view(), peer.identity().name(), roles)?)
    }
}

#[tonic::async_trait]
impl ApprovalService for Approvals {
    type WatchApprovalsStream = watching::Changes;

    async fn list_approvals(
        &self,
        request: Request<ListApprovalsRequest>,
    ) -> Result<Response<ListApprovalsResponse>, Status> {
        let person = self.present(&request, READERS)?.person().clone();
        let place = self.lists.share(person.as_str()).try_take();
        let place = place.map_err(|_| Refusal::Overloaded)?;
        let sequencer = self.sequencer.clone();
        let listed = place.hold(async move { sequencer.matters(Some(person)).await });
        let (standings, more) = listed.await?;
        let approvals = standings.iter().map(|one| approval(one, Detail::InList)).collect();
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        Ok(Response::new(ListApprovalsResponse { approvals, more }))
    }

    async fn get_approval(
        &self,
        request: Request<GetApprovalRequest>,
    ) -> Result<Response<GetApprovalResponse>, Status> {
        let person = self.present(&request, READERS)?.person().clone();
        let matter = matter(&request.into_inner().id)?;
        let standing = self.sequencer.matter(matter, Some(person)).await?;
        let approval = Some(approval(&standing, Detail::Whole));
        Ok(Response::new(GetApprovalResponse { approval }))
    }

    async fn cast_vote(
        &self,
        request: Request<CastVoteRequest>,
    ) -> Result<Response<CastVoteResponse>, Status> {
        // Anybody of the vault may carry a vote: it is signed by whoever casts it.
        let _carrier = self.present(&request, READERS)?;
        let vote = request.into_inner();
        words::one_line("reason", &vote.reason)?;
        let evidence: Evidence = json("evidence_json", &vote.evidence_json)?;
        let voted = Voted {
            by: vote.voter.parse().map_err(|error| Refusal::bad_name("voter", &error))?,
            choice: if vote.approve { Choice::Approve } else { Choice::Reject },
            credential: vote
                .credential_id
                .parse()
                .map_err(|error| Refusal::bad_name("credential_id", &error))?,
            evidence,
            matter: matter(&vote.id)?,
            reason: vote.reason,
        };
        let credential = voted.credential.clone();
        let standing = self.sequencer.vote(voted).await?;
        let mut votes = standing.waiting.votes.iter();
        let own = votes.rfind(|cast| cast.credential == credential);
        let sequence = own.map_or(0, |cast| cast.sequence.0);
        let approval = Some(approval(&standing, Detail::InList));
        Ok(Response::new(CastVoteResponse { sequence, approval }))
    }

    async fn propose(
        &self,
        request: Request<ProposeRequest>,
    ) -> Result<Response<ProposeResponse>, Status> {
        let person = self.present(&request, &Role::VOTERS)?.person().clone();
        let ProposeRequest { act_json, reason } = request.into_inner();
        words::one_line("reason", &reason)?;
        let act: Act = json("act_json", bounded_act(&act_json)?)?;
        self.acts.admit(&person, act_json.len())?;
        let deed = act.deed();
        let standing = self.sequencer.propose(person.clone(), act, reason).await?;
        tracing::info!(%person, %deed, matter = %standing.matter, "proposed");
        let approval = Some(approval(&standing, Detail::Whole));
        Ok(Response::new(ProposeResponse { approval }))
    }

    async fn execute(
        &self,
        request: Request<ExecuteRequest>,
    ) -> Result<Response<ExecuteResponse>, Status> {
        let person = self.present(&request, &Role::VOTERS)?.person().clone();
        let proposal = proposal(&request.into_inner().id)?;
        // Once begun it goes on, whoever hangs up.
        let sequencer = self.sequencer.clone();
        let by = person.clone();
        let done = tokio::spawn(async move { sequencer.execute(by, proposal).await });
        let done = done.await.map_err(|_| Refusal::ShuttingDown)??;
        tracing::warn!(%person, %proposal, summary = done.summary, "executed");
        let sequence = done.sequence.0;
        Ok(Response::new(ExecuteResponse { sequence, summary: done.summary }))
    }

    async fn withdraw_proposal(
        &self,
        request: Request<WithdrawProposalRequest>,
    ) -> Result<Response<WithdrawProposalResponse>, Status> {
        let person = self.present(&request, READERS)?.person().clone();
        let matter = Matter::Proposal(proposal(&request.into_inner().id)?);
        let withdrawn = Withdrawn { by: Party::Person(person), matter };
        let sequence = self.sequencer.withdraw(withdrawn).await?.0;
        Ok(Response::new(WithdrawProposalResponse { sequence }))
    }

    async fn watch_approvals(
        &self,
        request: Request<WatchApprovalsRequest>,
    ) -> Result<Response<Self::WatchApprovalsStream>, Status> {
        let person = self.present(&request, READERS)?.person().clone();
        let name = peer(&request)?.identity().name().to_owned();
        let place = self.watchers.share(person.as_str()).try_take();
        let place = place.map_err(|_| Refusal::Overloaded)?;
        Ok(Response::new(watching::begin(self.sequencer.clone(), name, place)))
    }
}

/// How much of something is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Detail {
    /// Without the statement.
    InList,
    /// With it.
    Whole,
}

pub(super) fn approval(standing: &Standing, detail: Detail) -> Approval {
    let Standing { matter, waiting, outlook, asks } = standing;
    let state = match outlook.progress {
        Progress::Waiting | Progress::Refused => ApprovalState::Waiting,
        Progress::Ready => ApprovalState::Ready,
        Progress::Signed => ApprovalState::Signed,
        Progress::Rejected => ApprovalState::Rejected,
        Progress::Expired => ApprovalState::Expired,
    };
    let (asked_by, likeness, proposal) = match &waiting.origin {
        Origin::Parked { caller, likeness, .. } => {
            (caller.to_string(), hex::encode(likeness), false)
        }
        Origin::Proposed { by } => (by.to_string(), String::new(), true),
    };
    let votes = waiting.votes.iter().zip(&outlook.counts).map(|(cast, counts)| Ballot {
        person: cast.by.to_string(),
        credential_id: cast.credential.to_string(),
        approve: cast.choice == Choice::Approve,
        reason: cast.reason.clone(),
        sequence: cast.sequence.0,
        at_ms: cast.at.0,
        counts: *counts,
    });
    Approval {
        id: matter.to_string(),
        state: state.into(),
        summary: statement::summary(&waiting.statement),
        statement: if detail == Detail::Whole {
            waiting.statement.to_string()
        } else {
            String::new()
        },
        asked_by,
        sequence: waiting.sequence.0,
        votes_until_ms: waiting.expires.0,
        done_until_ms: waiting.execute_until.0,
        takes: outlook.takes.clone(),
        votes: votes.collect(),
        likeness,
        asks_you: *asks,
        proposal,
    }
}

/// Reads what people call it.
fn matter(id: &str) -> Result<Matter, Refusal> {
    if id.starts_with('p') {
        return proposal(id).map(Matter::Proposal);
    }
    parked(id)
}

/// A parked request's id.
pub(super) fn parked(id: &str) -> Result<Matter, Refusal> {
    let hex = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if id.len() == 32 && hex {
        return Ok(Matter::Parked(id.to_owned()));
    }
    let problem = "an approval's id is 32 lower-case hexadecimal digits, or p and a number".into();
    Err(Refusal::BadField { field: "id", problem })
}

fn proposal(id: &str) -> Result<Sequence, Refusal> {
    let number = id.strip_prefix('p').and_then(|digits| digits.parse().ok());
    let problem = || "a proposal's id is p and a number, for instance p48".into();
    number.map(Sequence).ok_or_else(|| Refusal::BadField { field: "id", problem: problem() })
}

/// An act that is not larger than it must be: what is read takes time, and a stop may wait for it.
fn bounded_act(text: &str) -> Result<&str, Refusal> {
    // A book is one string, which is read quickly.
    if text.len() <= ACT_BYTES_MAX || text.starts_with("{\"adopt\":") {
        return Ok(text);
    }
    let problem = format!("at most {ACT_BYTES_MAX} bytes, but for a book");
    Err(Refusal::BadField { field: "act_json", problem })
}

/// Something in the form that records hold.
pub(super) fn json<T: DeserializeOwned>(field: &'static str, text: &str) -> Result<T, Refusal> {
    let problem = |error: serde_json::Error| format!("not as records hold it: {error}");
    serde_json::from_str(text).map_err(|error| Refusal::BadField { field, problem: problem(error) })
}

pub(super) fn strength(strength: Strength) -> &'static str {
    match strength {
        Strength::File => "file",
        Strength::Presence => "presence",
        Strength::Verified => "verified",
    }
}

/// Whoever is a person may look, and carry.
pub(super) const READERS: &[Role] =
    &[Role::Approver, Role::Operator, Role::Security, Role::Auditor];

pub(super) const GUARDS: &[Role] = &[Role::Security];

/// An act without a book: a person, with up to eight credentials and their signatures.
const ACT_BYTES_MAX: usize = 128 * 1024;

/// Watchers of one person at once, and of all.
const WATCHERS_PER_PERSON_MAX: usize = 4;
const WATCHERS_MAX: usize = 64;

/// Recoveries being read at once, one of each certificate: their signatures are looked at one
/// recovery at a time.
const RECOVERIES_MAX: usize = 8;

/// Lists that one person, and all people, are waiting for at once: the writer makes them.
const LISTS_PER_PERSON_MAX: usize = 2;
const LISTS_MAX: usize = 8;
