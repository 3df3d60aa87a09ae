//! Translates what people decide together between the wire and the commands. Holds no rule.

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_policy::act::Act;
use portcullis_policy::credential::{Evidence, Strength};
use portcullis_policy::id::Sequence;
use portcullis_policy::pending::Subject;
use portcullis_policy::people::Role;
use portcullis_policy::record::{Choice, Matter, Party, Voted, Withdrawn};
use portcullis_policy::state::Progress;
use portcullis_policy::statement;
use portcullis_proto::v1::approval_service_server::ApprovalService;
use portcullis_proto::v1::{
    Approval, ApprovalState, Ballot, CastVoteRequest, CastVoteResponse, ExecuteRequest,
    ExecuteResponse, GetApprovalRequest, GetApprovalResponse, ListApprovalsRequest,
    ListApprovalsResponse, ProposeRequest, ProposeResponse, WatchApprovalsRequest,
    WatchApprovalsResponse, WithdrawProposalRequest, WithdrawProposalResponse,
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::places::{Place, Places};
use super::signing::peer;
use crate::refusal::Refusal;
use crate::roster::{self, Present};
use crate::sequencer::{Sequencer, Standing};
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
    type WatchApprovalsStream = ReceiverStream<Result<WatchApprovalsResponse, Status>>;

    async fn list_approvals(
        &self,
        request: Request<ListApprovalsRequest>,
    ) -> Result<Response<ListApprovalsResponse>, Status> {
        let person = self.present(&request, READERS)?.person().clone();
        let place = self.lists.share(person.as_str()).try_take();
        let _place = place.map_err(|_| Refusal::Overloaded)?;
        let (standings, more) = self.sequencer.matters(Some(person)).await?;
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
        let person = self.present(&request, VOTERS)?.person().clone();
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
        let person = self.present(&request, VOTERS)?.person().clone();
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
        let (changes, stream) = mpsc::channel(CHANGES_AHEAD_MAX);
        let sequencer = self.sequencer.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = watch(&sequencer, &name, &changes, place) => {}
                () = changes.closed() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

type Changes = mpsc::Sender<Result<WatchApprovalsResponse, Status>>;

/// Sends everything that waits, and then each thing whose looks have changed, to whoever has a
/// certificate of this name: as long as that is a person who may look.
async fn watch(sequencer: &Sequencer, name: &str, changes: &Changes, _place: Place) {
    let mut moved = sequencer.matter_changes();
    let mut known: BTreeMap<Matter, Approval> = BTreeMap::new();
    let mut caught_up = false;
    loop {
        moved.borrow_and_update();
        let present = roster::person(&sequencer.view(), name, READERS);
        let listed = match present {
            Ok(present) => sequencer.matters(Some(present.person().clone())).await,
            Err(refusal) => Err(refusal),
        };
        let listed = match listed {
            Ok((standings, _)) => standings,
            Err(refusal) => return drop(changes.send(Err(refusal.into())).await),
        };
        let now: BTreeMap<Matter, Approval> =
            listed.iter().map(|one| (one.matter.clone(), approval(one, Detail::InList))).collect();
        let unlisted = known.iter().filter(|(matter, _)| !now.contains_key(*matter));
        let mut ended = Vec::new();
        for (matter, approval) in unlisted {
            // The list is of bounded length: what is not in it may wait all the same.
            let gone = sequencer.matter(matter.clone(), None).await;
            if matches!(gone, Err(Refusal::NotFound { .. })) {
                let state = ApprovalState::Ended.into();
                ended.push(Approval { state, asks_you: false, ..approval.clone() });
            }
        }
        let fresh = now.iter().filter(|(matter, approval)| known.get(*matter) != Some(approval));
        let fresh = fresh.map(|(_, approval)| approval.clone());
        for approval in ended.into_iter().chain(fresh).collect::<Vec<Approval>>() {
            let change = WatchApprovalsResponse { approval: Some(approval), caught_up: false };
            if changes.send(Ok(change)).await.is_err() {
                return;
            }
        }
        if !std::mem::replace(&mut caught_up, true) {
            let all = WatchApprovalsResponse { approval: None, caught_up: true };
            if changes.send(Ok(all)).await.is_err() {
                return;
            }
        }
        known = now;
        // Things also expire, and votes ripen, while nobody does anything.
        tokio::select! {
            ended = moved.changed() => if ended.is_err() { return },
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        tokio::time::sleep(LOOK_AT_MOST_EVERY).await;
    }
}

/// How much of something is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Detail {
    /// Without the statement.
    InList,
    /// With it.
    Whole,
}

fn approval(standing: &Standing, detail: Detail) -> Approval {
    let Standing { matter, waiting, outlook, asks } = standing;
    let state = match outlook.progress {
        Progress::Waiting | Progress::Refused => ApprovalState::Waiting,
        Progress::Ready => ApprovalState::Ready,
        Progress::Signed => ApprovalState::Signed,
        Progress::Rejected => ApprovalState::Rejected,
        Progress::Expired => ApprovalState::Expired,
    };
    let (asked_by, likeness) = match &waiting.subject {
        Subject::Parked(parked) => (parked.caller().to_string(), hex::encode(parked.likeness)),
        Subject::Proposed(proposed) => (proposed.by.to_string(), String::new()),
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
        proposal: waiting.proposed().is_some(),
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

/// Whoever can be in a quorum may propose and execute.
const VOTERS: &[Role] = &[Role::Approver, Role::Operator, Role::Security];

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

/// Changes sent before the watcher has taken the one before.
const CHANGES_AHEAD_MAX: usize = 16;

/// Without any record, things are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// However many records come, things are not looked at more often: the writer makes the list.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(500);
