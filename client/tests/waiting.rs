//! Waiting for people, against a service that parks, tells how far it is, and goes away.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    unreachable_pub,
    reason = "a test stops at what it did not expect, and uses a part of what tests share"
)]

mod support;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_client::wire::ParkedState;
use portcullis_client::{
    CallError, Change, Client, ClientConfig, KeyRef, Patience, SignError, SignedTransaction,
    WaitError,
};
use portcullis_proto::v1;
use portcullis_proto::v1::signing_service_server::{SigningService, SigningServiceServer};
use support::Fake;
use support::pki::Pki;
use support::transactions::{address, key, transfer};
use tokio_stream::Stream;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

/// What the service answers, each once and in order; the last of `asked` again and again.
#[derive(Clone, Default)]
struct Scripted {
    asked: Arc<Mutex<VecDeque<Answered>>>,
    watched: Arc<Mutex<VecDeque<Watched>>>,
    seen: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
enum Answered {
    Park,
    Sign,
    Refuse(Status),
}

/// The states told, and how the stream ends.
type Watched = Result<(Vec<ParkedState>, Option<Status>), Status>;

impl Scripted {
    fn new(
        asked: impl IntoIterator<Item = Answered>,
        watched: impl IntoIterator<Item = Watched>,
    ) -> Self {
        let asked = Arc::new(Mutex::new(asked.into_iter().collect()));
        let watched = Arc::new(Mutex::new(watched.into_iter().collect()));
        Self { asked, watched, seen: Arc::default() }
    }

    fn note(&self, call: &str, id: &str) {
        self.seen.lock().expect("lock").push(format!("{call} {id}"));
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("lock").clone()
    }

    fn connect(&self) -> (Client, Fake, Pki) {
        let pki = Pki::new("test");
        let fake = Fake::serve(&pki, Routes::new(SigningServiceServer::new(self.clone())));
        let me = pki.client("me");
        let config =
            ClientConfig::new(fake.endpoint(), pki.ca_file(), me.certificate, me.private_key);
        let runtime = tokio::runtime::Handle::current();
        let connecting = Client::connect(&config);
        let client = tokio::task::block_in_place(|| runtime.block_on(connecting));
        (client.expect("connect"), fake, pki)
    }
}

#[tonic::async_trait]
impl SigningService for Scripted {
    async fn get_receipt(
        &self,
        _: Request<v1::GetReceiptRequest>,
    ) -> Result<Response<v1::GetReceiptResponse>, Status> {
        Err(Status::unimplemented("no receipts"))
    }

    async fn sign(
        &self,
        request: Request<v1::SignRequest>,
    ) -> Result<Response<v1::SignResponse>, Status> {
        self.note("sign", &request.into_inner().request_id);
        let mut asked = self.asked.lock().expect("lock");
        let next = if asked.len() > 1 { asked.pop_front() } else { asked.front().cloned() };
        let answer = match next.expect("an answer") {
            Answered::Refuse(status) => return Err(status),
            Answered::Sign => v1::sign_response::Answer::Signed(transfer().signed(&key(1))),
            Answered::Park => v1::sign_response::Answer::Parked(v1::Parked {
                parked_id: "00ff".into(),
                missing: vec!["2 of treasury".into()],
                expires_at_ms: 99,
                sequence: 4,
            }),
        };
        Ok(Response::new(v1::SignResponse { answer: Some(answer) }))
    }

    type WatchRequestStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchRequestResponse, Status>> + Send>>;

    async fn watch_request(
        &self,
        request: Request<v1::WatchRequestRequest>,
    ) -> Result<Response<Self::WatchRequestStream>, Status> {
        self.note("watch", &request.into_inner().parked_id);
        let next = self.watched.lock().expect("lock").pop_front();
        let (states, end) = next.expect("a stream")?;
        let states = states.into_iter().map(|state| {
            let missing = vec!["1 of treasury".into()];
            Ok(v1::WatchRequestResponse { state: state.into(), missing, ..Default::default() })
        });
        let all: Vec<_> = states.chain(end.map(Err)).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(all))))
    }

    async fn withdraw_request(
        &self,
        request: Request<v1::WithdrawRequestRequest>,
    ) -> Result<Response<v1::WithdrawRequestResponse>, Status> {
        self.note("withdraw", &request.into_inner().parked_id);
        Ok(Response::new(v1::WithdrawRequestResponse { sequence: 8 }))
    }

    type SignStreamStream =
        Pin<Box<dyn Stream<Item = Result<v1::SignStreamResponse, Status>> + Send>>;

    async fn sign_stream(
        &self,
        _: Request<Streaming<v1::SignStreamRequest>>,
    ) -> Result<Response<Self::SignStreamStream>, Status> {
        Err(Status::unimplemented("unary only"))
    }

    async fn list_signing_keys(
        &self,
        _: Request<v1::ListSigningKeysRequest>,
    ) -> Result<Response<v1::ListSigningKeysResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// Waits impatiently, and gives what happened meanwhile.
async fn wait(script: &Scripted) -> (Result<SignedTransaction, WaitError>, Vec<String>) {
    let (client, _fake, _pki) = script.connect();
    let patience = Patience {
        failures_max: 3,
        pause_first: Duration::from_millis(1),
        pause_max: Duration::from_millis(4),
    };
    let id = "pay-1".parse().expect("id");
    let (key, preimage) = (key_ref(), transfer().preimage);
    let ask = || client.sign_transaction(&key, &id, &preimage);
    let mut said = Vec::new();
    let on_change = |change: Change<'_>| {
        said.push(match change {
            Change::Parked(parked) => format!("parked {}", parked.parked_id),
            Change::Progress(progress) => format!("{:?}", progress.state),
            Change::Lost(CallError::Refused(no)) => format!("lost {:?}", no.code()),
            Change::Lost(_) => "lost".to_owned(),
        });
    };
    (client.when_approved(patience, ask, on_change).await, said)
}

fn key_ref() -> KeyRef {
    let id = "000102030405060708090a0b0c0d0e0f".parse().expect("id");
    KeyRef { id, address: address(&key(1)) }
}

fn told(states: &[ParkedState]) -> Watched {
    Ok((states.to_vec(), None))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_request_is_collected_under_its_own_id_once_enough_have_agreed() {
    let told = told(&[ParkedState::Waiting, ParkedState::Expiring, ParkedState::Ready]);
    let script = Scripted::new([Answered::Park, Answered::Sign], [told]);
    let (signed, said) = wait(&script).await;
    assert_eq!(signed.expect("signed").digest, transfer().digest());
    assert_eq!(said, ["parked 00ff", "Waiting", "Expiring", "Ready"]);
    assert_eq!(script.seen(), ["sign pay-1", "watch 00ff", "sign pay-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_at_once_is_never_watched() {
    let script = Scripted::new([Answered::Sign], []);
    let (signed, said) = wait(&script).await;
    assert!(signed.is_ok() && said.is_empty());
    assert_eq!(script.seen(), ["sign pay-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_lost_is_opened_again_and_the_request_not_asked_for() {
    let script = Scripted::new(
        [Answered::Park, Answered::Sign],
        [
            Ok((vec![ParkedState::Waiting], Some(Status::unavailable("going down")))),
            Err(Status::unavailable("starting")),
            told(&[ParkedState::Waiting]),
            told(&[ParkedState::Ready]),
        ],
    );
    let (signed, said) = wait(&script).await;
    assert!(signed.is_ok(), "{signed:?}");
    assert_eq!(said.iter().filter(|line| line.starts_with("lost")).count(), 3, "{said:?}");
    let signs = script.seen().iter().filter(|call| call.starts_with("sign")).count();
    assert_eq!(signs, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_that_stays_away_is_given_up() {
    let away = || Err(Status::unavailable("starting"));
    let script = Scripted::new([Answered::Park], [away(), away(), away(), away()]);
    let (failed, _) = wait(&script).await;
    assert!(matches!(failed, Err(WaitError::Sign(SignError::Refused(_)))), "{failed:?}");
    assert_eq!(script.seen().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_and_an_end_are_told_apart_and_not_asked_about_again() {
    for (last, rejected) in [(ParkedState::Rejected, true), (ParkedState::Ended, false)] {
        let script = Scripted::new([Answered::Park], [told(&[ParkedState::Waiting, last])]);
        let (failed, _) = wait(&script).await;
        match failed.expect_err("no signature") {
            WaitError::Rejected { parked_id } => assert!(rejected && parked_id == "00ff"),
            WaitError::Ended { parked_id } => assert!(!rejected && parked_id == "00ff"),
            WaitError::Sign(error) => panic!("{error:?}"),
        }
        assert_eq!(script.seen(), ["sign pay-1", "watch 00ff"]);
    }
    let script = Scripted::new([Answered::Park], [Err(Status::not_found("nothing waits"))]);
    let (failed, _) = wait(&script).await;
    assert!(matches!(failed, Err(WaitError::Ended { .. })), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_forbids_an_approved_request_is_what_the_caller_is_told() {
    let details = ErrorDetails::with_error_info("FROZEN", "portcullis.v1", []);
    let no = Status::with_error_details(Code::FailedPrecondition, "stopped", details);
    let script =
        Scripted::new([Answered::Park, Answered::Refuse(no)], [told(&[ParkedState::Refused])]);
    let (failed, _) = wait(&script).await;
    let Err(WaitError::Sign(error)) = failed else { panic!("{failed:?}") };
    assert_eq!(error.reason(), Some("FROZEN"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_and_parked_again_is_waited_out() {
    let script = Scripted::new(
        [Answered::Park, Answered::Park, Answered::Sign],
        [told(&[ParkedState::Ready]), told(&[ParkedState::Waiting, ParkedState::Ready])],
    );
    let (signed, said) = wait(&script).await;
    assert!(signed.is_ok(), "{signed:?}");
    assert_eq!(said, ["parked 00ff", "Ready", "parked 00ff", "Waiting", "Ready"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_taken_back() {
    let script = Scripted::default();
    let (client, _fake, _pki) = script.connect();
    assert_eq!(client.withdraw_request("00ff").await.expect("withdrawn"), 8);
    assert_eq!(script.seen(), ["withdraw 00ff"]);
}
