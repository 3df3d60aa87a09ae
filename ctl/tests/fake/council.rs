//! What people decide together, as a fake: it believes a vote only if its signature verifies,
//! counts heads, and keeps what was proposed.

use std::collections::BTreeMap;
use std::pin::Pin;

use portcullis_policy::act::Act;
use portcullis_policy::credential::{Credential, Evidence, Purpose, SshKey};
use portcullis_policy::id::{PersonId, Sequence};
use portcullis_policy::record::{Choice, Entry, Proposed, Record};
use portcullis_policy::statement::ballot;
use portcullis_policy::time::{Interval, Millis};
use portcullis_proto::v1;
use portcullis_proto::v1::ApprovalState;
use portcullis_proto::v1::approval_service_server::ApprovalService;
use portcullis_proto::v1::people_service_server::PeopleService;
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};

use super::{Script, refusal};

/// What the fake knows.
#[derive(Default)]
pub struct Council {
    pub approvals: Vec<v1::Approval>,
    pub people: Vec<v1::PersonEntry>,
    pub governance_json: String,
    /// The votes that make a matter ready.
    pub need: usize,
    /// Who may not read the journal.
    pub blind: bool,
    pub acts: BTreeMap<u64, Act>,
    pub suspended: Vec<v1::SuspendRequest>,
    pub recovery: Option<String>,
}

pub const VAULT: &str = "0707070707070707070707070707070707070707070707070707070707070707";

/// Far enough from now for years of tests.
pub const LATER_MS: u64 = 4_102_444_800_000;

impl Council {
    pub fn find(&mut self, id: &str) -> Result<&mut v1::Approval, Status> {
        let found = self.approvals.iter_mut().find(|one| one.id == id);
        found.ok_or_else(|| refusal(Code::NotFound, "NOT_FOUND"))
    }

    /// The record that proposed something, as the journal holds it.
    pub fn line(&self, at: u64) -> Option<v1::JournalLine> {
        let act = self.acts.get(&at)?.clone();
        let by = "ada".parse().expect("id");
        let (expires, execute_until) = (Millis(LATER_MS), Millis(LATER_MS));
        let (reason, statement) = ("why".into(), "text\n".into());
        let record = Proposed { act, by, execute_until, expires, reason, statement };
        let now = Millis(1_763_924_007_042);
        let at_both = Interval { possible: now, sure: now };
        let (record, seq) = (Record::Proposed(Box::new(record)), Sequence(at));
        let content = Entry { at: at_both, record, seq }.encode().expect("encodes");
        Some(v1::JournalLine { sequence: at, content })
    }
}

/// A request that waits.
pub fn parked(id: &str, likeness: &str) -> v1::Approval {
    v1::Approval {
        id: id.into(),
        state: ApprovalState::Waiting.into(),
        summary: "pay 12.5 ETH to shop on mainnet".into(),
        statement: statement(&format!("request: {id}")),
        asked_by: "spiffe://acme/payouts".into(),
        sequence: 40,
        votes_until_ms: LATER_MS,
        done_until_ms: LATER_MS,
        takes: vec!["2 of treasury, within 30m".into()],
        likeness: likeness.into(),
        asks_you: true,
        ..Default::default()
    }
}

pub fn statement(matter: &str) -> String {
    format!(
        "Portcullis approval, version 1\nvault: {VAULT}\n{matter}\n\
         asked by: spiffe://acme/payouts as \"pay-1\"\n\
         key: hot 0x9858EfFD232B4033E47d90003D41EC34EcaEda94 (000102030405060708090a0b0c0d0e0f)\n\
         chain: mainnet (1)\n\
         transaction: EIP-1559, nonce 7\n\
         it would:\n\
         \x20 pay 12.5 ETH to shop 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed\n\
         recipients:\n\
         \x20 shop 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed: NEVER PAID BEFORE by this key\n\
         votes until: 2100-01-01T00:00:00.000Z\n"
    )
}

/// Somebody who signs with the public keys of these files.
pub fn person(id: &str, keys: &[&std::path::Path]) -> v1::PersonEntry {
    let credentials = keys.iter().map(|path| {
        let line = std::fs::read_to_string(path.with_extension("pub")).expect("a public key");
        let credential = SshKey::from_authorized_line(line.trim_end()).expect("a key");
        let credential = Credential::Ssh(credential);
        v1::CredentialEntry {
            id: credential.id().to_string(),
            credential_json: serde_json::to_string(&credential).expect("JSON"),
            suspended: false,
            strength: "file".into(),
        }
    });
    v1::PersonEntry {
        id: id.into(),
        roles: vec!["approver".into(), "security".into()],
        control: format!("{id}.example"),
        suspended: false,
        credentials: credentials.collect(),
    }
}

fn without_statement(approval: &v1::Approval) -> v1::Approval {
    v1::Approval { statement: String::new(), ..approval.clone() }
}

#[tonic::async_trait]
impl ApprovalService for Script {
    async fn list_approvals(
        &self,
        _: Request<v1::ListApprovalsRequest>,
    ) -> Result<Response<v1::ListApprovalsResponse>, Status> {
        let council = self.council.lock().expect("lock");
        let approvals = council.approvals.iter().map(without_statement).collect();
        Ok(Response::new(v1::ListApprovalsResponse { approvals, more: 0 }))
    }

    async fn get_approval(
        &self,
        request: Request<v1::GetApprovalRequest>,
    ) -> Result<Response<v1::GetApprovalResponse>, Status> {
        let approval = self.council.lock().expect("lock").find(&request.into_inner().id)?.clone();
        Ok(Response::new(v1::GetApprovalResponse { approval: Some(approval) }))
    }

    async fn cast_vote(
        &self,
        request: Request<v1::CastVoteRequest>,
    ) -> Result<Response<v1::CastVoteResponse>, Status> {
        let vote = request.into_inner();
        self.seen.lock().expect("lock").push(format!("vote {} {}", vote.approve, vote.reason));
        let mut council = self.council.lock().expect("lock");
        let person = council.people.iter().find(|one| one.id == vote.voter).expect("a person");
        let mut theirs = person.credentials.iter();
        let entry = theirs.find(|one| one.id == vote.credential_id).expect("a credential");
        let credential: Credential = serde_json::from_str(&entry.credential_json).expect("JSON");
        let evidence: Evidence = serde_json::from_str(&vote.evidence_json).expect("JSON");
        let voter: PersonId = vote.voter.parse().expect("id");
        let choice = if vote.approve { Choice::Approve } else { Choice::Reject };
        let need = council.need;
        let approval = council.find(&vote.id)?;
        let text = ballot(&approval.statement, choice, &voter, &vote.reason);
        let proof = credential.verify(Purpose::Vote, text.as_bytes(), &evidence);
        if proof.is_err() {
            return Err(refusal(Code::InvalidArgument, "BAD_EVIDENCE"));
        }
        approval.votes.push(v1::Ballot {
            person: vote.voter,
            credential_id: vote.credential_id,
            approve: vote.approve,
            reason: vote.reason,
            sequence: 57,
            at_ms: 1_763_924_007_042,
            counts: true,
        });
        let state = match (vote.approve, approval.votes.len() >= need) {
            (false, _) => ApprovalState::Rejected,
            (true, true) => ApprovalState::Ready,
            (true, false) => ApprovalState::Waiting,
        };
        approval.set_state(state);
        let approval = Some(without_statement(approval));
        Ok(Response::new(v1::CastVoteResponse { sequence: 57, approval }))
    }

    async fn propose(
        &self,
        request: Request<v1::ProposeRequest>,
    ) -> Result<Response<v1::ProposeResponse>, Status> {
        let asked = request.into_inner();
        let act: Act = serde_json::from_str(&asked.act_json).expect("an act");
        let mut council = self.council.lock().expect("lock");
        let sequence = 101 + u64::try_from(council.acts.len()).expect("few");
        let proposed = v1::Approval {
            id: format!("p{sequence}"),
            summary: asked.act_json.clone(),
            statement: statement(&format!("proposal: {sequence}")),
            asked_by: "ada".into(),
            sequence,
            takes: vec!["2 of security, within 1h, each vote after 10m".into()],
            proposal: true,
            ..parked("", "")
        };
        council.acts.insert(sequence, act);
        council.approvals.push(proposed.clone());
        let call = format!("propose {} {}", asked.act_json, asked.reason);
        drop(council);
        self.noted(call, v1::ProposeResponse { approval: Some(proposed) })
    }

    async fn execute(
        &self,
        request: Request<v1::ExecuteRequest>,
    ) -> Result<Response<v1::ExecuteResponse>, Status> {
        let id = request.into_inner().id;
        let mut council = self.council.lock().expect("lock");
        if council.find(&id)?.state() != ApprovalState::Ready {
            return Err(refusal(Code::FailedPrecondition, "NOT_MET"));
        }
        council.approvals.retain(|one| one.id != id);
        drop(council);
        let answer = v1::ExecuteResponse { sequence: 120, summary: format!("{id} is done") };
        self.noted(format!("execute {id}"), answer)
    }

    async fn withdraw_proposal(
        &self,
        request: Request<v1::WithdrawProposalRequest>,
    ) -> Result<Response<v1::WithdrawProposalResponse>, Status> {
        let id = request.into_inner().id;
        self.council.lock().expect("lock").find(&id)?;
        self.noted(format!("withdraw {id}"), v1::WithdrawProposalResponse { sequence: 121 })
    }

    type WatchApprovalsStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchApprovalsResponse, Status>> + Send>>;

    async fn watch_approvals(
        &self,
        _: Request<v1::WatchApprovalsRequest>,
    ) -> Result<Response<Self::WatchApprovalsStream>, Status> {
        let council = self.council.lock().expect("lock");
        let change = |approval: &v1::Approval| v1::WatchApprovalsResponse {
            approval: Some(without_statement(approval)),
            caught_up: false,
        };
        let all = council.approvals.iter().map(change);
        let caught_up = v1::WatchApprovalsResponse { approval: None, caught_up: true };
        let all: Vec<_> = all.chain([caught_up]).map(Ok).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(all))))
    }
}

#[tonic::async_trait]
impl PeopleService for Script {
    async fn list_people(
        &self,
        _: Request<v1::ListPeopleRequest>,
    ) -> Result<Response<v1::ListPeopleResponse>, Status> {
        let council = self.council.lock().expect("lock");
        let governance_json = match council.governance_json.as_str() {
            "" => "{\"quorums\":{}}".to_owned(),
            json => json.to_owned(),
        };
        Ok(Response::new(v1::ListPeopleResponse {
            people: council.people.clone(),
            governance_json,
            vault_id: vec![7; 32],
            recovery_sequence: 0,
            recovery_from_ms: 0,
        }))
    }

    async fn suspend(
        &self,
        request: Request<v1::SuspendRequest>,
    ) -> Result<Response<v1::SuspendResponse>, Status> {
        self.council.lock().expect("lock").suspended.push(request.into_inner());
        self.noted("suspend".into(), v1::SuspendResponse { sequence: 61 })
    }

    async fn begin_recovery(
        &self,
        request: Request<v1::BeginRecoveryRequest>,
    ) -> Result<Response<v1::BeginRecoveryResponse>, Status> {
        let json = request.into_inner().recovery_json;
        self.council.lock().expect("lock").recovery = Some(json);
        let answer = v1::BeginRecoveryResponse { sequence: 70, from_ms: 1_763_924_007_042 };
        self.noted("begin".into(), answer)
    }

    async fn finish_recovery(
        &self,
        request: Request<v1::FinishRecoveryRequest>,
    ) -> Result<Response<v1::FinishRecoveryResponse>, Status> {
        let sequence = request.into_inner().recovery_sequence;
        self.noted(format!("finish {sequence}"), v1::FinishRecoveryResponse { sequence: 71 })
    }
}
