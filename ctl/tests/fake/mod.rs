//! A signer's two planes with canned answers, and the built `portctl` to run against them.

pub mod attesting;
pub mod council;

use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use portcullis_proto::v1;
use portcullis_proto::v1::approval_service_server::ApprovalServiceServer;
use portcullis_proto::v1::control_service_server::{ControlService, ControlServiceServer};
use portcullis_proto::v1::key_service_server::{KeyService, KeyServiceServer};
use portcullis_proto::v1::people_service_server::PeopleServiceServer;
use portcullis_proto::v1::signing_service_server::{SigningService, SigningServiceServer};
use serde_json::Value;
use tempfile::TempDir;
use tokio_stream::Stream;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

use self::attesting::Attesting;
use self::council::Council;
use crate::support::Fake;
use crate::support::pki::Pki;
use crate::support::transactions::{address, key, transfer};

/// What the fake says, where a test wants something other than the usual.
#[derive(Clone, Default)]
pub struct Script {
    /// Every call is refused with this.
    pub refuse: Option<Status>,
    /// `Sign` parks.
    pub park: bool,
    /// `Sign` is answered with another key's signature.
    pub lie: bool,
    /// A freeze is not recorded.
    pub unrecorded: bool,
    /// What `CheckBook` answers.
    pub checked: v1::CheckBookResponse,
    /// The journal's batches.
    pub journal: Vec<v1::ReadJournalResponse>,
    /// What `GetCheckpoint` and `ProveRecord` answer from; without it, nothing is signed.
    pub attesting: Arc<Mutex<Option<Attesting>>>,
    /// How far sure time is behind.
    pub behind_ms: u64,
    /// The vault's id; empty: sevens.
    pub vault: Vec<u8>,
    /// What waits, and who there is.
    pub council: Arc<Mutex<Council>>,
    /// How far `WatchRequest` says it is: each state once. `Sign` parks while any is left.
    pub watched: Arc<Mutex<Vec<v1::ParkedState>>>,
    /// What was asked, in order.
    pub seen: Arc<Mutex<Vec<String>>>,
}

/// A running fake and the configuration to reach it.
pub struct Rig {
    pub folder: TempDir,
    pub script: Script,
    _fake: Fake,
    _pki: Pki,
}

impl Script {
    pub fn run(self) -> Rig {
        let pki = Pki::new("test");
        let mut routes = Routes::builder();
        routes.add_service(KeyServiceServer::new(self.clone()));
        routes.add_service(ControlServiceServer::new(self.clone()));
        routes.add_service(SigningServiceServer::new(self.clone()));
        routes.add_service(ApprovalServiceServer::new(self.clone()));
        routes.add_service(PeopleServiceServer::new(self.clone()));
        let fake = Fake::serve(&pki, routes.routes());
        let folder = tempfile::tempdir().expect("folder");
        let me = pki.client("me");
        let plane = format!(
            "endpoint = {:?}\nca = {:?}\ncertificate = {:?}\nprivate_key = {:?}\n",
            fake.endpoint(),
            pki.ca_file(),
            me.certificate,
            me.private_key,
        );
        let config = format!("{plane}[data_plane]\n{plane}");
        std::fs::write(folder.path().join("portctl.toml"), config).expect("write");
        Rig { folder, script: self, _fake: fake, _pki: pki }
    }

    fn noted<T>(&self, call: String, answer: T) -> Result<Response<T>, Status> {
        self.seen.lock().expect("lock").push(call);
        match &self.refuse {
            Some(status) => Err(status.clone()),
            None => Ok(Response::new(answer)),
        }
    }
}

impl Rig {
    /// Runs portctl in the folder of the configuration.
    pub fn portctl(&self, args: &[&str]) -> Ran {
        run(&mut self.command(args))
    }

    /// The same, to be changed before it runs. Nobody's own keys are at hand.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portctl"));
        command.current_dir(self.folder.path()).env("HOME", self.folder.path());
        command.env_remove("SSH_AUTH_SOCK").args(args);
        command
    }

    /// A new SSH key in a file of the folder, without passphrase.
    pub fn ssh_key(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
            .arg(&path)
            .status();
        assert!(made.expect("ssh-keygen").success());
        path
    }

    pub fn council(&self) -> std::sync::MutexGuard<'_, Council> {
        self.script.council.lock().expect("lock")
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("write");
        path
    }

    pub fn seen(&self) -> Vec<String> {
        self.script.seen.lock().expect("lock").clone()
    }
}

/// What a run of portctl left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub fn run(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } =
        command.env_remove("PORTCTL_CONFIG").output().expect("run portctl");
    Ran {
        code: status.code().expect("an exit code"),
        out: String::from_utf8(stdout).expect("text"),
        err: String::from_utf8(stderr).expect("text"),
    }
}

/// A denial as the signer writes it.
pub fn denial() -> Status {
    let metadata = [("rule", "payouts"), ("verdict", "denied")];
    let metadata = metadata.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut details = ErrorDetails::with_error_info("NATIVE_OVER_LIMIT", "portcullis.v1", metadata);
    details.add_precondition_failure_violation("NATIVE_OVER_LIMIT", "payouts", "5 of at most 1");
    Status::with_error_details(Code::PermissionDenied, "denied by payouts", details)
}

/// A refusal with a reason and nothing else.
pub fn refusal(code: Code, reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "portcullis.v1", []);
    Status::with_error_details(code, "no", details)
}

pub fn hot_key() -> v1::Key {
    v1::Key {
        key_id: "000102030405060708090a0b0c0d0e0f".into(),
        label: "hot".into(),
        address: address(&key(1)).to_vec(),
        public_point: vec![4; 65],
        state: v1::KeyState::Active.into(),
        tags: vec!["eu".into(), "treasury".into()],
        purpose: "payments".into(),
        owner: "ada".into(),
        created_at_ms: 1_763_924_007_042,
        trouble: String::new(),
        fence: v1::FenceState::Open.into(),
        fence_refused: String::new(),
        chains: vec![1, 10],
        environment: "staging".into(),
        review_by_ms: 1_800_000_000_000,
        review_overdue: false,
        age_ms: 3 * 86_400_000,
        callers: vec!["spiffe://acme/pay".into()],
        used_by: vec![v1::KeyUse {
            caller: "spiffe://acme/pay".into(),
            sequence: 40,
            at_ms: 1_763_924_008_000,
        }],
        ..v1::Key::default()
    }
}

fn lost_key() -> v1::Key {
    v1::Key {
        key_id: "ffffffffffffffffffffffffffffffff".into(),
        label: "a-rather-long-label".into(),
        state: v1::KeyState::Frozen.into(),
        trouble: "absent from the token".into(),
        fence: v1::FenceState::Refused.into(),
        fence_refused: "it is not on the token".into(),
        review_overdue: true,
        used_by: Vec::new(),
        ..hot_key()
    }
}

#[tonic::async_trait]
impl KeyService for Script {
    async fn create_key(
        &self,
        request: Request<v1::CreateKeyRequest>,
    ) -> Result<Response<v1::CreateKeyResponse>, Status> {
        let asked = request.into_inner();
        let made = v1::Key {
            label: asked.label.clone(),
            tags: asked.tags.clone(),
            purpose: asked.purpose.clone(),
            owner: asked.owner.clone(),
            ..hot_key()
        };
        self.noted(format!("{asked:?}"), v1::CreateKeyResponse { key: Some(made) })
    }

    async fn list_keys(
        &self,
        _: Request<v1::ListKeysRequest>,
    ) -> Result<Response<v1::ListKeysResponse>, Status> {
        let keys = vec![lost_key(), hot_key()];
        self.noted("list".into(), v1::ListKeysResponse { keys })
    }

    async fn get_key(
        &self,
        request: Request<v1::GetKeyRequest>,
    ) -> Result<Response<v1::GetKeyResponse>, Status> {
        let asked = request.into_inner().key;
        if asked != "hot" {
            return Err(refusal(Code::NotFound, "NOT_FOUND"));
        }
        self.noted(asked, v1::GetKeyResponse { key: Some(hot_key()) })
    }
}

type Batches = Pin<Box<dyn Stream<Item = Result<v1::ReadJournalResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ControlService for Script {
    async fn report_settlement(
        &self,
        request: Request<v1::ReportSettlementRequest>,
    ) -> Result<Response<v1::ReportSettlementResponse>, Status> {
        let answer = v1::ReportSettlementResponse { sequence: 43 };
        self.noted(format!("{:?}", request.into_inner()), answer)
    }

    async fn report_prices(
        &self,
        request: Request<v1::ReportPricesRequest>,
    ) -> Result<Response<v1::ReportPricesResponse>, Status> {
        let answer = v1::ReportPricesResponse { sequence: 44 };
        self.noted(format!("{:?}", request.into_inner()), answer)
    }

    async fn report_drill(
        &self,
        request: Request<v1::ReportDrillRequest>,
    ) -> Result<Response<v1::ReportDrillResponse>, Status> {
        let answer = v1::ReportDrillResponse { sequence: 45 };
        self.noted(format!("{:?}", request.into_inner()), answer)
    }

    async fn freeze(
        &self,
        request: Request<v1::FreezeRequest>,
    ) -> Result<Response<v1::FreezeResponse>, Status> {
        let asked = request.into_inner();
        let scope = asked.scope.and_then(|scope| scope.scope).expect("a scope");
        let answer = v1::FreezeResponse {
            sequence: 42,
            last_released_sequence: 40,
            withheld: 3,
            recorded: !self.unrecorded,
            unsettled: if self.unrecorded { Vec::new() } else { unsettled() },
            unsettled_more: if self.unrecorded { 0 } else { 7 },
            unsettled_incomplete: false,
        };
        self.noted(format!("{scope:?} {}", asked.reason), answer)
    }

    async fn adopt_book(
        &self,
        request: Request<v1::AdoptBookRequest>,
    ) -> Result<Response<v1::AdoptBookResponse>, Status> {
        let changes = vec!["payouts: less per day".into()];
        let answer = v1::AdoptBookResponse { sequence: 9, book_hash: vec![0xab; 32], changes };
        self.noted(request.into_inner().book, answer)
    }

    async fn check_book(
        &self,
        request: Request<v1::CheckBookRequest>,
    ) -> Result<Response<v1::CheckBookResponse>, Status> {
        self.noted(request.into_inner().book, self.checked.clone())
    }

    async fn get_book(
        &self,
        _: Request<v1::GetBookRequest>,
    ) -> Result<Response<v1::GetBookResponse>, Status> {
        let book = "version = 1\n\n".to_owned();
        self.noted("book".into(), v1::GetBookResponse { book, book_hash: vec![1; 32], sequence: 1 })
    }

    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let scope = Some(v1::freeze_scope::Scope::Tag("eu".into()));
        let answer = v1::GetStatusResponse {
            vault_id: if self.vault.is_empty() { vec![7; 32] } else { self.vault.clone() },
            environment: "staging".into(),
            version: "0.1.0".into(),
            sequence: self
                .journal
                .last()
                .and_then(|batch| batch.head.as_ref())
                .map_or(0, |h| h.size),
            root: vec![8; 32],
            book_hash: vec![9; 32],
            frozen: vec![v1::FreezeScope { scope }],
            keys: 2,
            open_reservations: 1,
            serving: false,
            troubles: vec!["the token is away".into()],
            person: "ada".into(),
            sure_time_ms: 1_763_924_007_042,
            journal_free_bytes: 5 << 20,
            last_good_drill_ms: Some(1_763_000_000_000),
            possible_time_ms: 1_763_924_007_042 + self.behind_ms,
            wall_time_ms: 1_763_924_007_042 + self.behind_ms,
        };
        self.noted("status".into(), answer)
    }

    async fn get_checkpoint(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<v1::GetCheckpointResponse>, Status> {
        let old = request.into_inner().old_size;
        let none = || refusal(Code::NotFound, "NOT_FOUND");
        let attesting = self.attesting.lock().expect("lock");
        let answer = attesting.as_ref().map(|journal| journal.checkpoint(old)).ok_or_else(none)?;
        Ok(Response::new(answer))
    }

    async fn prove_record(
        &self,
        request: Request<v1::ProveRecordRequest>,
    ) -> Result<Response<v1::ProveRecordResponse>, Status> {
        let sequence = request.into_inner().sequence;
        let attesting = self.attesting.lock().expect("lock");
        let proved = attesting.as_ref().and_then(|journal| journal.prove(sequence));
        proved.map(Response::new).ok_or_else(|| refusal(Code::NotFound, "NOT_FOUND"))
    }

    type ReadJournalStream = Batches;

    async fn read_journal(
        &self,
        request: Request<v1::ReadJournalRequest>,
    ) -> Result<Response<Batches>, Status> {
        let asked = request.into_inner();
        let council = self.council.lock().expect("lock");
        if council.blind {
            return Err(refusal(Code::PermissionDenied, "NOT_AUTHORISED"));
        }
        if let Some(line) = council.line(asked.from_sequence) {
            let head = Some(v1::JournalHead { size: line.sequence, root: vec![8; 32] });
            let batch = v1::ReadJournalResponse { lines: vec![line], head };
            let batches = Box::pin(tokio_stream::iter([Ok(batch)])) as Batches;
            return Ok(Response::new(batches));
        }
        drop(council);
        let most = if asked.limit == 0 { u64::MAX } else { asked.limit };
        let end = asked.from_sequence.saturating_add(most);
        let mut batches = self.journal.clone();
        for batch in &mut batches {
            // An attachment belongs to the record after it.
            let mut wanted = false;
            let mut keep: Vec<bool> = Vec::new();
            for line in batch.lines.iter().rev() {
                if line.sequence != 0 {
                    wanted = (asked.from_sequence..end).contains(&line.sequence);
                }
                keep.push(wanted);
            }
            let mut keep = keep.into_iter().rev();
            batch.lines.retain(|_| keep.next().unwrap_or(false));
        }
        let batches: Vec<_> = batches.into_iter().map(Ok).collect();
        self.noted(format!("{asked:?}"), Box::pin(tokio_stream::iter(batches)) as Batches)
    }
}

#[tonic::async_trait]
impl SigningService for Script {
    async fn get_receipt(
        &self,
        _: Request<v1::GetReceiptRequest>,
    ) -> Result<Response<v1::GetReceiptResponse>, Status> {
        Err(refusal(Code::NotFound, "NOT_FOUND"))
    }

    async fn sign(
        &self,
        request: Request<v1::SignRequest>,
    ) -> Result<Response<v1::SignResponse>, Status> {
        let asked = request.into_inner();
        let waits = !self.watched.lock().expect("lock").is_empty();
        let answer = if self.park || waits {
            v1::sign_response::Answer::Parked(v1::Parked {
                parked_id: "p-1".into(),
                missing: vec!["2 of treasury".into()],
                expires_at_ms: 1_763_924_007_042,
                sequence: 5,
            })
        } else {
            let signer = key(if self.lie { 2 } else { 1 });
            v1::sign_response::Answer::Signed(transfer().signed(&signer))
        };
        self.noted(asked.request_id, v1::SignResponse { answer: Some(answer) })
    }

    type SignStreamStream =
        Pin<Box<dyn Stream<Item = Result<v1::SignStreamResponse, Status>> + Send>>;

    async fn sign_stream(
        &self,
        _: Request<Streaming<v1::SignStreamRequest>>,
    ) -> Result<Response<Self::SignStreamStream>, Status> {
        Err(Status::unimplemented("unary only"))
    }

    type WatchRequestStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchRequestResponse, Status>> + Send>>;

    async fn watch_request(
        &self,
        _: Request<v1::WatchRequestRequest>,
    ) -> Result<Response<Self::WatchRequestStream>, Status> {
        let states = std::mem::take(&mut *self.watched.lock().expect("lock"));
        let told = states.into_iter().map(|state| {
            Ok(v1::WatchRequestResponse {
                state: state.into(),
                missing: vec!["1 of treasury".into()],
                approvals: 1,
                votes_until_ms: 1_763_924_007_042,
                signed_until_ms: 1_763_924_007_042,
            })
        });
        let told: Vec<_> = told.collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(told))))
    }

    async fn withdraw_request(
        &self,
        _: Request<v1::WithdrawRequestRequest>,
    ) -> Result<Response<v1::WithdrawRequestResponse>, Status> {
        Err(Status::unimplemented("callers only"))
    }

    async fn list_signing_keys(
        &self,
        _: Request<v1::ListSigningKeysRequest>,
    ) -> Result<Response<v1::ListSigningKeysResponse>, Status> {
        let hot = hot_key();
        let (key_id, label, address) = (hot.key_id, hot.label, hot.address);
        let listed = v1::SigningKey { key_id, label, address, ..Default::default() };
        Ok(Response::new(v1::ListSigningKeysResponse { keys: vec![listed] }))
    }
}

/// What the answer to a freeze lists: a transaction, and a permit that ends.
pub fn unsettled() -> Vec<v1::UnsettledSignature> {
    let transaction = v1::UnsettledSignature {
        key_id: "11".repeat(16),
        label: "hot".into(),
        address: vec![0x22; 20],
        callers: vec!["spiffe://acme/pay".into()],
        chain_id: 1,
        nonce: Some(18),
        digest: vec![0x33; 32],
        form: v1::SignedForm::Transaction.into(),
        sequence: 40,
        signed_at_ms: 1_700_000_000_000,
        ends_at_ms: None,
    };
    let permit = v1::UnsettledSignature {
        nonce: None,
        form: v1::SignedForm::TypedData.into(),
        sequence: 39,
        ends_at_ms: Some(1_700_000_900_000),
        ..transaction.clone()
    };
    vec![transaction, permit]
}
