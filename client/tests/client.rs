//! The client against a service that tells the truth, refuses, and lies in each way.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    dead_code,
    unreachable_pub,
    reason = "test"
)]

mod support;

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_primitives::{B256, Signature, U256};
use portcullis_client::{
    Answer, Client, ClientConfig, Code, ConnectError, KeyRef, RequestId, Retry, SignError,
    StreamError, Trouble, UntrustedReply,
};
use portcullis_proto::v1;
use portcullis_proto::v1::signing_service_server::{SigningService, SigningServiceServer};
use prost::Message as _;
use support::Fake;
use support::pki::Pki;
use support::transactions::{Transaction, address, each_type, key, sign, transfer};
use tokio_stream::{Stream, StreamExt as _};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

type Sign = dyn Fn(v1::SignRequest) -> Result<v1::SignResponse, Status> + Send + Sync;

/// A signing service that answers as told.
#[derive(Clone)]
struct Scripted {
    sign: Arc<Sign>,
    keys: Vec<v1::SigningKey>,
    /// Answers on a stream come in batches of so many, the last first.
    batch: usize,
    /// Breaks a stream after so many answers.
    break_after: usize,
    /// Never answers a unary call.
    mute: bool,
    /// Added to the correlation id of every answer.
    shift: u64,
}

impl Scripted {
    fn new(
        sign: impl Fn(v1::SignRequest) -> Result<v1::SignResponse, Status> + Send + Sync + 'static,
    ) -> Self {
        let keys = Vec::new();
        Self {
            sign: Arc::new(sign),
            keys,
            batch: 1,
            break_after: usize::MAX,
            mute: false,
            shift: 0,
        }
    }

    fn honest() -> Self {
        Self::new(|request| Ok(answer(wanted(&request).signed(&key(1)))))
    }

    fn lying(lie: impl Fn(&Transaction, &mut v1::Signed) + Send + Sync + 'static) -> Self {
        Self::new(move |request| {
            let transaction = wanted(&request);
            let mut signed = transaction.signed(&key(1));
            lie(&transaction, &mut signed);
            Ok(answer(signed))
        })
    }

    async fn connect(self) -> (Client, Fake, Pki) {
        let pki = Pki::new("test");
        let fake = Fake::serve(&pki, Routes::new(SigningServiceServer::new(self)));
        let client = Client::connect(&config(&pki, &fake)).await.expect("connect");
        (client, fake, pki)
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
        if self.mute {
            std::future::pending::<()>().await;
        }
        (self.sign)(request.into_inner()).map(Response::new)
    }

    type SignStreamStream =
        Pin<Box<dyn Stream<Item = Result<v1::SignStreamResponse, Status>> + Send>>;

    async fn sign_stream(
        &self,
        request: Request<Streaming<v1::SignStreamRequest>>,
    ) -> Result<Response<Self::SignStreamStream>, Status> {
        use v1::sign_stream_response::Result as Outcome;
        let mut requests = request.into_inner();
        let this = self.clone();
        let (answers, outgoing) = tokio::sync::mpsc::channel(16);
        tokio::spawn(async move {
            let (mut held, mut sent) = (Vec::new(), 0);
            while let Some(Ok(request)) = requests.next().await {
                let result = match (this.sign)(request.request.expect("request")) {
                    Ok(response) => Outcome::Response(response),
                    Err(status) => Outcome::Status(rpc_status(&status)),
                };
                let correlation_id = request.correlation_id + this.shift;
                held.push(v1::SignStreamResponse { correlation_id, result: Some(result) });
                if held.len() < this.batch {
                    continue;
                }
                for answer in held.drain(..).rev() {
                    if sent == this.break_after {
                        let broken = Err(Status::unavailable("going down"));
                        answers.send(broken).await.expect("listening");
                        return;
                    }
                    sent += 1;
                    answers.send(Ok(answer)).await.expect("listening");
                }
            }
        });
        let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
        Ok(Response::new(Box::pin(outgoing)))
    }

    type WatchRequestStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchRequestResponse, Status>> + Send>>;

    async fn watch_request(
        &self,
        _: Request<v1::WatchRequestRequest>,
    ) -> Result<Response<Self::WatchRequestStream>, Status> {
        Err(Status::unimplemented("see waiting.rs"))
    }

    async fn withdraw_request(
        &self,
        _: Request<v1::WithdrawRequestRequest>,
    ) -> Result<Response<v1::WithdrawRequestResponse>, Status> {
        Err(Status::unimplemented("see waiting.rs"))
    }

    async fn list_signing_keys(
        &self,
        _: Request<v1::ListSigningKeysRequest>,
    ) -> Result<Response<v1::ListSigningKeysResponse>, Status> {
        Ok(Response::new(v1::ListSigningKeysResponse { keys: self.keys.clone() }))
    }
}

#[tokio::test]
async fn an_honest_reply_to_every_transaction_type_is_handed_on() {
    let (client, _fake, _pki) = Scripted::honest().connect().await;
    for transaction in each_type() {
        let id = client.new_request_id();
        let answer = client.sign_transaction(&key_ref(), &id, &transaction.preimage).await;
        let Ok(Answer::Signed(signed)) = answer else {
            panic!("{}: {answer:?}", transaction.name);
        };
        let signature = sign(&key(1), transaction.digest());
        assert_eq!(signed.signature, signature, "{}", transaction.name);
        assert_eq!(signed.raw_transaction, transaction.raw(&signature), "{}", transaction.name);
        assert_eq!((signed.sequence, signed.digest), (7, transaction.digest()));
    }
}

#[tokio::test]
async fn the_service_is_told_exactly_what_the_caller_said() {
    let seen = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&seen);
    let script = Scripted::new(move |request| {
        *noted.lock().expect("lock") = Some(request);
        Err(Status::permission_denied("no"))
    });
    let (client, _fake, _pki) = script.connect().await;
    let id: RequestId = "my-request:1".parse().expect("id");
    let refused = client.sign_transaction(&key_ref(), &id, &[1, 2, 3]).await;
    assert!(refused.is_err());
    let seen = seen.lock().expect("lock").take().expect("a request");
    assert_eq!(seen.request_id, "my-request:1");
    assert_eq!(seen.key_id, "000102030405060708090a0b0c0d0e0f");
    assert_eq!(seen.expected_address, address(&key(1)).to_vec());
    assert_eq!(seen.input, Some(v1::sign_request::Input::Transaction(vec![1, 2, 3])));
}

#[tokio::test]
async fn a_parked_request_is_an_answer() {
    let parked = v1::Parked {
        parked_id: "p-1".into(),
        missing: vec!["2 of treasury".into()],
        expires_at_ms: 99,
        sequence: 4,
    };
    let script = Scripted::new(move |_| {
        let answer = Some(v1::sign_response::Answer::Parked(parked.clone()));
        Ok(v1::SignResponse { answer })
    });
    let (client, _fake, _pki) = script.connect().await;
    let Ok(Answer::Parked(parked)) = ask(&client).await else { panic!("not parked") };
    assert_eq!(parked.missing, ["2 of treasury"]);
    assert_eq!((parked.parked_id.as_str(), parked.expires_at_ms), ("p-1", 99));
}

/// The reply a lying service gives and what the client must say to it.
async fn caught(
    lie: impl Fn(&Transaction, &mut v1::Signed) + Send + Sync + 'static,
) -> UntrustedReply {
    let (client, _fake, _pki) = Scripted::lying(lie).connect().await;
    match ask(&client).await {
        Err(SignError::Untrusted(why)) => why,
        other => panic!("the lie was not caught: {other:?}"),
    }
}

#[tokio::test]
async fn a_signature_by_another_key_is_refused_even_if_all_else_fits() {
    let why = caught(|transaction, signed| *signed = transaction.signed(&key(2))).await;
    let (expected, recovered) = (address(&key(1)), address(&key(2)));
    assert_eq!(why, UntrustedReply::Signer { expected, recovered });
}

#[tokio::test]
async fn a_damaged_signature_is_refused() {
    let why = caught(|_, signed| signed.signature[40] ^= 1).await;
    assert!(
        matches!(why, UntrustedReply::Signer { .. } | UntrustedReply::Unrecoverable),
        "{why:?}"
    );
}

#[tokio::test]
async fn a_signature_with_the_wrong_parity_is_refused() {
    let why = caught(|_, signed| signed.signature[64] ^= 1).await;
    assert!(
        matches!(why, UntrustedReply::Signer { .. } | UntrustedReply::Unrecoverable),
        "{why:?}"
    );
}

#[tokio::test]
async fn an_impossible_signature_is_refused() {
    let why = caught(|_, signed| signed.signature = vec![0; 65]).await;
    assert_eq!(why, UntrustedReply::Unrecoverable);
    for length in [0, 1, 64, 66] {
        let why = caught(move |_, signed| signed.signature.resize(length, 0)).await;
        assert_eq!(why, UntrustedReply::Malformed { part: "signature" }, "{length}");
    }
    let why = caught(|_, signed| signed.signature[64] = 27).await;
    assert_eq!(why, UntrustedReply::Malformed { part: "signature" });
}

#[tokio::test]
async fn a_reply_about_another_digest_is_refused_even_if_properly_signed() {
    let why = caught(|_, signed| {
        *signed = each_type().first().expect("one").signed(&key(1));
    })
    .await;
    assert!(matches!(why, UntrustedReply::Digest { .. }), "{why:?}");
}

#[tokio::test]
async fn a_signature_over_another_digest_is_refused_though_the_reply_names_ours() {
    let why = caught(|transaction, signed| {
        *signed = transaction.signed_with(&sign(&key(1), B256::repeat_byte(9)));
    })
    .await;
    assert!(
        matches!(why, UntrustedReply::Signer { .. } | UntrustedReply::Unrecoverable),
        "{why:?}"
    );
}

#[tokio::test]
async fn a_high_s_is_refused_though_it_recovers() {
    let why = caught(|transaction, signed| {
        let low = sign(&key(1), transaction.digest());
        // The group order.
        let n = "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
        let n: U256 = n.parse().expect("number");
        *signed = transaction.signed_with(&Signature::new(low.r(), n - low.s(), !low.v()));
    })
    .await;
    assert_eq!(why, UntrustedReply::HighS);
}

#[tokio::test]
async fn another_raw_transaction_is_refused_even_with_its_own_hash() {
    let why = caught(|_, signed| {
        let other = each_type().first().expect("one").signed(&key(1));
        signed.raw_transaction = other.raw_transaction;
        signed.transaction_hash = other.transaction_hash;
    })
    .await;
    assert_eq!(why, UntrustedReply::RawTransaction);
}

#[tokio::test]
async fn a_raw_transaction_with_one_changed_bit_anywhere_is_refused() {
    let length = transfer().signed(&key(1)).raw_transaction.len();
    for at in 0..length {
        let why = caught(move |_, signed| {
            signed.raw_transaction[at] ^= 1;
            let hash = alloy_primitives::keccak256(&signed.raw_transaction);
            signed.transaction_hash = hash.to_vec();
        })
        .await;
        assert_eq!(why, UntrustedReply::RawTransaction, "byte {at}");
    }
}

#[tokio::test]
async fn a_hash_of_something_else_is_refused() {
    let why = caught(|_, signed| signed.transaction_hash[0] ^= 1).await;
    assert_eq!(why, UntrustedReply::TransactionHash);
}

#[tokio::test]
async fn an_empty_answer_is_refused() {
    let script = Scripted::new(|_| Ok(v1::SignResponse { answer: None }));
    let (client, _fake, _pki) = script.connect().await;
    let why = ask(&client).await;
    let missing = UntrustedReply::Missing { part: "answer" };
    assert!(matches!(why, Err(SignError::Untrusted(why)) if why == missing));
}

#[tokio::test]
async fn signing_something_that_is_no_transaction_is_never_believed() {
    let script = Scripted::new(|request| {
        let mut signed = transfer().signed(&key(1));
        let preimage = preimage_of(&request);
        let signature = sign(&key(1), alloy_primitives::keccak256(&preimage));
        signed.signature = signature.as_rsy().to_vec();
        signed.digest = alloy_primitives::keccak256(&preimage).to_vec();
        Ok(answer(signed))
    });
    let (client, _fake, _pki) = script.connect().await;
    let good = transfer().preimage;
    let trailing = [good.as_slice(), &[0]].concat();
    // An EIP-191 message, a bare digest, an unknown type, an unprotected legacy transaction.
    let unprotected =
        hex("e780843b9aca0082520894aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa0183010203");
    for bad in [&b"\x19Ethereum"[..], &[7; 32], &[5, 0xc0], &trailing, &unprotected, &[]] {
        let result = client.sign_transaction(&key_ref(), &client.new_request_id(), bad).await;
        let no = matches!(result, Err(SignError::Untrusted(UntrustedReply::NotATransaction)));
        assert!(no, "{bad:02x?}: {result:?}");
    }
}

#[tokio::test]
async fn a_refusal_carries_reason_rule_and_wait() {
    let script = Scripted::new(|_| {
        let mut details = ErrorDetails::with_error_info(
            "WINDOW_EXCEEDED",
            "portcullis.v1",
            [("rule".to_owned(), "payouts".to_owned())],
        );
        details.set_retry_info(Some(Duration::from_secs(90)));
        details.add_precondition_failure_violation("WINDOW", "native per 24h", "10 ETH used");
        Err(Status::with_error_details(Code::FailedPrecondition, "over the limit", details))
    });
    let (client, _fake, _pki) = script.connect().await;
    let error = ask(&client).await.expect_err("refused");
    assert_eq!(error.reason(), Some("WINDOW_EXCEEDED"));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(90)));
    assert!(error.is_retryable());
    let SignError::Refused(refusal) = error else { panic!("not a refusal: {error:?}") };
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    assert_eq!(refusal.metadata().get("rule").map(String::as_str), Some("payouts"));
    let violation = &refusal.violations()[0];
    assert_eq!((violation.kind.as_str(), violation.subject.as_str()), ("WINDOW", "native per 24h"));
    assert_eq!(refusal.to_string(), "refused (WINDOW_EXCEEDED): over the limit");
}

#[tokio::test]
async fn a_reason_of_another_domain_is_not_ours_to_match_on() {
    let script = Scripted::new(|_| {
        let details = ErrorDetails::with_error_info("DENIED", "proxy.example", []);
        Err(Status::with_error_details(Code::PermissionDenied, "no", details))
    });
    let (client, _fake, _pki) = script.connect().await;
    let error = ask(&client).await.expect_err("refused");
    assert_eq!(error.reason(), None);
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn an_outage_is_retried_under_the_same_request_id() {
    let ids = Arc::new(Mutex::new(Vec::new()));
    let (seen, calls) = (Arc::clone(&ids), AtomicUsize::new(0));
    let script = Scripted::new(move |request| {
        seen.lock().expect("lock").push(request.request_id.clone());
        match calls.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Err(Status::unavailable("starting")),
            _ => Ok(answer(wanted(&request).signed(&key(1)))),
        }
    });
    let (client, _fake, _pki) = script.connect().await;
    let retry = Retry { pause_first: Duration::from_millis(1), ..Retry::default() };
    let (key, id, preimage) = (key_ref(), client.new_request_id(), transfer().preimage);
    let answer = retry.run(|| client.sign_transaction(&key, &id, &preimage)).await;
    assert!(matches!(answer, Ok(Answer::Signed(_))), "{answer:?}");
    assert_eq!(*ids.lock().expect("lock"), vec![id.to_string(); 3]);
}

#[tokio::test]
async fn a_client_whose_service_went_away_reconnects_when_it_is_back() {
    let pki = Pki::new("test");
    let routes = || Routes::new(SigningServiceServer::new(Scripted::honest()));
    let fake = Fake::serve(&pki, routes());
    let client = Client::connect(&config(&pki, &fake)).await.expect("connect");
    assert!(ask(&client).await.is_ok());
    let address = fake.address;
    drop(fake);
    let error = loop {
        // The connection may take a moment to die.
        if let Err(error) = ask(&client).await {
            break error;
        }
    };
    assert!(matches!(error, SignError::Unreachable(_)) && error.is_retryable(), "{error:?}");
    let _back = Fake::serve_at(&pki, routes(), address);
    let retry = Retry { pause_first: Duration::from_millis(5), ..Retry::default() };
    let (key, id, preimage) = (key_ref(), client.new_request_id(), transfer().preimage);
    let answer = retry.run(|| client.sign_transaction(&key, &id, &preimage)).await;
    assert!(matches!(answer, Ok(Answer::Signed(_))), "{answer:?}");
}

#[tokio::test]
async fn many_requests_in_flight_are_matched_to_answers_in_another_order() {
    let script = Scripted { batch: 7, ..Scripted::honest() };
    let (client, _fake, _pki) = script.connect().await;
    let mut stream = client.sign_stream(7).await.expect("stream");
    let transactions = each_type();
    assert_eq!(transactions.len(), 7);
    let mut sent = Vec::new();
    for transaction in &transactions {
        let id = client.new_request_id();
        sent.push(stream.send(&key_ref(), &id, &transaction.preimage).await.expect("send"));
    }
    for (correlation_id, transaction) in sent.iter().zip(&transactions).rev() {
        let answer = stream.receive().await.expect("stream").expect("answer");
        assert_eq!(answer.correlation_id, *correlation_id);
        let Ok(Answer::Signed(signed)) = answer.result else { panic!("{answer:?}") };
        assert_eq!(signed.digest, transaction.digest());
    }
    let (sender, mut receiver) = stream.split();
    drop(sender);
    assert!(receiver.receive().await.expect("a clean end").is_none());
}

#[tokio::test]
async fn a_lie_and_a_refusal_on_a_stream_touch_only_their_own_request() {
    let script = Scripted::new(|request| match request.request_id.as_str() {
        "lie" => Ok(answer(wanted(&request).signed(&key(2)))),
        "no" => {
            let details = ErrorDetails::with_error_info("NO_RULE", "portcullis.v1", []);
            Err(Status::with_error_details(Code::PermissionDenied, "no rule", details))
        }
        _ => Ok(answer(wanted(&request).signed(&key(1)))),
    });
    let (client, _fake, _pki) = script.connect().await;
    let mut stream = client.sign_stream(3).await.expect("stream");
    for id in ["lie", "no", "fine"] {
        let id = id.parse().expect("id");
        stream.send(&key_ref(), &id, &transfer().preimage).await.expect("send");
    }
    let lie = stream.receive().await.expect("stream").expect("answer").result;
    assert!(matches!(lie, Err(SignError::Untrusted(UntrustedReply::Signer { .. }))), "{lie:?}");
    let no = stream.receive().await.expect("stream").expect("answer").result;
    assert_eq!(no.expect_err("refused").reason(), Some("NO_RULE"));
    let fine = stream.receive().await.expect("stream").expect("answer").result;
    assert!(matches!(fine, Ok(Answer::Signed(_))), "{fine:?}");
}

#[tokio::test]
async fn a_stream_that_breaks_names_what_was_not_answered() {
    let script = Scripted { break_after: 1, ..Scripted::honest() };
    let (client, _fake, _pki) = script.connect().await;
    let mut stream = client.sign_stream(8).await.expect("stream");
    let mut sent = Vec::new();
    for _ in 0..3 {
        let id = client.new_request_id();
        sent.push(stream.send(&key_ref(), &id, &transfer().preimage).await.expect("send"));
    }
    assert!(stream.receive().await.expect("stream").is_some());
    match stream.receive().await {
        Err(StreamError::Failed { unanswered, source }) => {
            assert_eq!(unanswered, sent[1..]);
            assert!(source.is_retryable());
        }
        other => panic!("{other:?}"),
    }
    let late = stream.send(&key_ref(), &client.new_request_id(), &[]).await;
    assert!(matches!(late, Err(StreamError::Closed)), "{late:?}");
}

#[tokio::test]
async fn an_answer_nobody_asked_for_ends_the_stream() {
    let script = Scripted { shift: 1000, ..Scripted::honest() };
    let (client, _fake, _pki) = script.connect().await;
    let mut stream = client.sign_stream(1).await.expect("stream");
    let id = client.new_request_id();
    stream.send(&key_ref(), &id, &transfer().preimage).await.expect("send");
    let answer = stream.receive().await;
    assert!(matches!(answer, Err(StreamError::Unasked { correlation_id: 1001 })), "{answer:?}");
}

#[tokio::test]
async fn listed_keys_are_parsed_or_the_listing_is_refused() {
    let good = v1::SigningKey {
        key_id: key_ref().id.to_string(),
        label: "hot".into(),
        address: key_ref().address.to_vec(),
        frozen: true,
        replaces: vec!["warm".into()],
    };
    let bad = v1::SigningKey { address: vec![1; 19], ..good.clone() };
    let script = Scripted { keys: vec![good.clone()], ..Scripted::honest() };
    let (client, _fake, _pki) = script.connect().await;
    let keys = client.list_keys().await.expect("keys");
    assert_eq!((keys[0].key, keys[0].label.as_str(), keys[0].frozen), (key_ref(), "hot", true));
    assert_eq!(keys[0].replaces, ["warm"]);
    let (client, _fake, _pki) =
        Scripted { keys: vec![good, bad], ..Scripted::honest() }.connect().await;
    let error = client.list_keys().await.expect_err("a bad address");
    assert!(matches!(error, SignError::Untrusted(_)), "{error:?}");
}

fn drained_to(successor: &str) -> Status {
    let saw = [("saw".to_owned(), successor.to_owned())];
    let details = ErrorDetails::with_error_info("KEY_DRAINING", "portcullis.v1", saw);
    Status::with_error_details(Code::FailedPrecondition, "denied: not draining", details)
}

fn listed(number: u8, label: &str) -> v1::SigningKey {
    v1::SigningKey {
        key_id: format!("{number:02x}").repeat(16),
        label: label.into(),
        address: address(&key(number)).to_vec(),
        frozen: false,
        replaces: Vec::new(),
    }
}

#[tokio::test]
async fn a_drained_key_is_followed_to_its_successor_with_a_transaction_of_its_own() {
    let script = Scripted::new(|request| match request.key_id.as_str() {
        "01010101010101010101010101010101" => Err(drained_to("cold")),
        _ => Ok(answer(wanted(&request).signed(&key(2)))),
    });
    let keys = vec![listed(2, "cold"), listed(1, "hot")];
    let (client, _fake, _pki) = Scripted { keys, ..script }.connect().await;
    let mut key = client.key_labelled("hot").await.expect("keys").expect("hot");
    let mut built = Vec::new();
    let signed = client.sign_transaction_following(&mut key, |account| {
        built.push(account);
        async { Ok::<_, SignError>(transfer().preimage) }
    });
    let signed = signed.await.expect("signed by the successor");
    assert!(matches!(signed, Answer::Signed(_)), "{signed:?}");
    assert_eq!(key.label, "cold", "and asked first from then on");
    assert_eq!(built, [address(&self::key(1)), address(&self::key(2))]);
}

/// A refusal with this reason, as of a key that is stopped or ended.
fn ended(reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "portcullis.v1", []);
    Status::with_error_details(Code::FailedPrecondition, "denied", details)
}

#[tokio::test]
async fn a_key_that_was_drained_and_is_stopped_or_ended_is_followed_by_what_the_listing_says() {
    for reason in ["FROZEN", "KEY_REVOKED"] {
        let script = Scripted::new(move |request| match request.key_id.as_str() {
            "01010101010101010101010101010101" => Err(ended(reason)),
            _ => Ok(answer(wanted(&request).signed(&key(3)))),
        });
        // By way of one that is no more: what takes its place now is listed.
        let hot = v1::SigningKey { frozen: true, ..listed(1, "hot") };
        let replaces = vec!["cold".into(), "hot".into()];
        let colder = v1::SigningKey { replaces, ..listed(3, "colder") };
        let (client, _fake, _pki) =
            Scripted { keys: vec![hot, colder.clone()], ..script }.connect().await;
        let mut key = client.key_labelled("hot").await.expect("keys").expect("hot");
        let build = async |_| Ok::<_, SignError>(transfer().preimage);
        let signed = client.sign_transaction_following(&mut key, build).await;
        assert!(matches!(signed, Ok(Answer::Signed(_))), "{reason}: {signed:?}");
        assert_eq!(key.label, "colder");
        // Without rules of its own it is listed no more, and its name leads on.
        let script = Scripted { keys: vec![colder], ..Scripted::honest() };
        let (client, _fake, _pki) = script.connect().await;
        let led = client.key_labelled("hot").await.expect("keys").expect("led");
        assert_eq!(led.label, "colder");
        assert_eq!(client.key_labelled("warm").await.expect("keys"), None);
    }
}

#[tokio::test]
async fn a_stopped_key_without_a_successor_is_a_refusal_and_so_is_every_other_reason() {
    for reason in ["FROZEN", "KEY_REVOKED", "OVER_WINDOW_LIMIT"] {
        let hot = v1::SigningKey { frozen: true, ..listed(1, "hot") };
        let script = Scripted::new(move |_| Err(ended(reason)));
        let other = v1::SigningKey { replaces: vec!["warm".into()], ..listed(2, "cold") };
        let (client, _fake, _pki) = Scripted { keys: vec![hot, other], ..script }.connect().await;
        let mut key = client.key_labelled("hot").await.expect("keys").expect("hot");
        let build = async |_| Ok::<_, SignError>(transfer().preimage);
        let refused = client.sign_transaction_following(&mut key, build).await;
        assert_eq!(refused.expect_err("refused").reason(), Some(reason));
        assert_eq!(key.label, "hot");
    }
}

#[tokio::test]
async fn a_drained_key_without_a_successor_of_ours_is_a_refusal() {
    for (successor, keys) in [("", vec![listed(1, "hot")]), ("cold", vec![listed(1, "hot")])] {
        let script = Scripted::new(move |_| Err(drained_to(successor)));
        let (client, _fake, _pki) = Scripted { keys, ..script }.connect().await;
        let mut key = client.key_labelled("hot").await.expect("keys").expect("hot");
        let build = async |_| Ok::<_, SignError>(transfer().preimage);
        let refused = client.sign_transaction_following(&mut key, build).await;
        assert_eq!(refused.expect_err("refused").reason(), Some("KEY_DRAINING"));
        assert_eq!(key.label, "hot");
    }
    // Round and round: given up, not followed for ever.
    let script = Scripted::new(|request| match request.key_id.as_str() {
        "01010101010101010101010101010101" => Err(drained_to("cold")),
        _ => Err(drained_to("hot")),
    });
    let keys = vec![listed(2, "cold"), listed(1, "hot")];
    let (client, _fake, _pki) = Scripted { keys, ..script }.connect().await;
    let mut key = client.key_labelled("hot").await.expect("keys").expect("hot");
    let build = async |_| Ok::<_, SignError>(transfer().preimage);
    assert!(client.sign_transaction_following(&mut key, build).await.is_err());
}

#[tokio::test]
async fn a_port_nobody_listens_on_says_what_to_check() {
    let pki = Pki::new("test");
    let me = pki.client("me");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = free.local_addr().expect("address").port();
    drop(free);
    let endpoint = format!("https://localhost:{port}");
    let config = ClientConfig::new(&endpoint, pki.ca_file(), &me.certificate, &me.private_key);
    let error = Client::connect(&config).await.expect_err("nobody there");
    let ConnectError::Unreachable(error) = error else { panic!("{error:?}") };
    assert_eq!(error.trouble, Trouble::NothingListens);
    assert!(error.to_string().contains(&endpoint) && error.to_string().contains("Check"));
}

#[tokio::test]
async fn a_service_that_accepts_but_never_speaks_is_given_up() {
    let pki = Pki::new("test");
    let me = pki.client("me");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let endpoint = format!("https://localhost:{}", silent.local_addr().expect("address").port());
    let mut config = ClientConfig::new(endpoint, pki.ca_file(), &me.certificate, &me.private_key);
    config.connect_timeout = Duration::from_millis(50);
    let error = Client::connect(&config).await.expect_err("silence");
    let ConnectError::Unreachable(error) = error else { panic!("{error:?}") };
    assert_eq!(error.trouble, Trouble::ConnectTimeout);
}

#[tokio::test]
async fn a_service_of_another_authority_or_name_is_not_trusted() {
    let (pki, other) = (Pki::new("test"), Pki::new("other"));
    let routes = || Routes::new(SigningServiceServer::new(Scripted::honest()));
    let fake = Fake::serve(&pki, routes());
    let me = pki.client("me");
    let foreign =
        ClientConfig::new(fake.endpoint(), other.ca_file(), &me.certificate, &me.private_key);
    let misnamed =
        ClientConfig { server_name: Some("signer.example".into()), ..config(&pki, &fake) };
    for config in [foreign, misnamed] {
        let error = Client::connect(&config).await.expect_err("not trusted");
        let ConnectError::Unreachable(error) = error else { panic!("{error:?}") };
        assert_eq!(error.trouble, Trouble::ServiceNotTrusted);
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn a_client_certificate_the_service_refuses_is_named_or_at_least_suspected() {
    let (pki, other) = (Pki::new("test"), Pki::new("other"));
    let routes = Routes::new(SigningServiceServer::new(Scripted::honest()));
    let fake = Fake::serve(&pki, routes);
    for identity in [other.client("stranger"), pki.expired_client("late")] {
        let config = ClientConfig::new(
            fake.endpoint(),
            pki.ca_file(),
            &identity.certificate,
            &identity.private_key,
        );
        let error = match Client::connect(&config).await {
            Ok(client) => match ask(&client).await.expect_err("refused") {
                SignError::Unreachable(error) => error,
                error => panic!("{error:?}"),
            },
            Err(ConnectError::Unreachable(error)) => error,
            Err(error) => panic!("{error:?}"),
        };
        // The alert can be lost to a reset; the text must then still send the reader there.
        let expected = [Trouble::CertificateRefused, Trouble::ConnectionLost];
        assert!(expected.contains(&error.trouble), "{error:?}");
        assert!(error.to_string().contains("client certificate"), "{error}");
    }
}

#[tokio::test]
async fn a_call_that_is_not_answered_in_time_says_it_may_have_been_carried_out() {
    let pki = Pki::new("test");
    let script = Scripted { mute: true, ..Scripted::honest() };
    let fake = Fake::serve(&pki, Routes::new(SigningServiceServer::new(script)));
    let config = ClientConfig { request_timeout: Duration::from_millis(30), ..config(&pki, &fake) };
    let client = Client::connect(&config).await.expect("connect");
    let error = ask(&client).await.expect_err("late");
    assert!(error.is_retryable(), "{error:?}");
    assert!(error.to_string().contains("same request id"), "{error}");
}

#[test]
fn debug_of_a_signed_transaction_gives_nothing_away() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("runtime").block_on(async {
        let (client, _fake, _pki) = Scripted::honest().connect().await;
        let Ok(Answer::Signed(signed)) = ask(&client).await else { panic!("not signed") };
        let shown = format!("{signed:?}");
        let raw = alloy_primitives::hex::encode(&signed.raw_transaction);
        let r = format!("{:x}", signed.signature.r());
        assert!(!shown.contains(&raw) && !shown.contains(&r), "{shown}");
        assert!(shown.contains("digest"), "{shown}");
    });
}

async fn ask(client: &Client) -> Result<Answer, SignError> {
    let id = client.new_request_id();
    client.sign_transaction(&key_ref(), &id, &transfer().preimage).await
}

fn config(pki: &Pki, fake: &Fake) -> ClientConfig {
    let me = pki.client("me");
    ClientConfig::new(fake.endpoint(), pki.ca_file(), me.certificate, me.private_key)
}

fn key_ref() -> KeyRef {
    let id = "000102030405060708090a0b0c0d0e0f".parse().expect("id");
    KeyRef { id, address: address(&key(1)) }
}

fn answer(signed: v1::Signed) -> v1::SignResponse {
    v1::SignResponse { answer: Some(v1::sign_response::Answer::Signed(signed)) }
}

fn preimage_of(request: &v1::SignRequest) -> Vec<u8> {
    let Some(v1::sign_request::Input::Transaction(preimage)) = &request.input else {
        panic!("not a transaction");
    };
    preimage.clone()
}

/// The transaction that a request is about.
fn wanted(request: &v1::SignRequest) -> Transaction {
    let preimage = preimage_of(request);
    each_type().into_iter().find(|one| one.preimage == preimage).expect("a known transaction")
}

/// A status as it stands in a stream's answer.
fn rpc_status(status: &Status) -> Vec<u8> {
    if status.details().is_empty() {
        let (code, message) = (i32::from(status.code()), status.message().to_owned());
        return tonic_types::Status { code, message, details: vec![] }.encode_to_vec();
    }
    status.details().to_vec()
}

fn hex(text: &str) -> Vec<u8> {
    alloy_primitives::hex::decode(text).expect("hex")
}
