//! What gRPC asks of a server: deadlines that count, and a reason for every end.

use std::future::poll_fn;
use std::pin::Pin;

use hyper::body::Body as _;
use portcullis_client::wire::SignStreamRequest;
use portcullis_client::wire::sign_stream_response::Result as Answered;
use portcullis_client::wire::signing_service_client::SigningServiceClient;
use portcullis_softhsm_tests::pki::Leaf;
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::world::{BookText, Failure, PAYOUTS, ether, payment};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::support::Scene;
use crate::support::wire::{self, Bare};

async fn bare(scene: &Scene) -> Result<SigningServiceClient<Bare>, Failure> {
    let issued = scene.vault.services.issue(&Leaf::client_uri("bare", PAYOUTS))?;
    let address = scene.server.addresses().data_plane;
    wire::bare(address, &scene.vault.services.certificate(), &issued).await
}

/// Code and stable reason.
fn told(status: &Status) -> (Code, String) {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "portcullis.v1");
    (status.code(), info.reason.clone())
}

fn with_timeout<T>(message: T, timeout: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
    request
}

#[tokio::test]
async fn a_call_that_is_past_its_deadline_is_not_charged_and_says_so() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let mut client = bare(&scene).await?;
    let request = wire::request(&scene.key, &payment(0, ether(1)));
    let late = client.sign(with_timeout(request.clone(), "0n")).await.unwrap_err();
    assert_eq!(told(&late), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()));
    let malformed = client.sign(with_timeout(request.clone(), "soon")).await.unwrap_err();
    assert_eq!(told(&malformed), (Code::InvalidArgument, "BAD_FIELD".into()));
    // Neither left anything: the whole budget of the nonce is there, and no decision was recorded.
    let journal = scene.journal().await?;
    for kind in ["signed", "failed", "denied", "withheld"] {
        assert_eq!(journal.count(kind), 0, "{kind}");
    }
    client.sign(with_timeout(request, "30S")).await?;
    assert_eq!(scene.journal().await?.count("signed"), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_under_way_at_its_deadline_is_told_so_and_its_work_is_recorded()
-> Result<(), Failure> {
    let scene = Scene::through(Through::Faults, BookText::default()).await?;
    let faults = scene.vault.token.faults()?;
    let before = faults.hangs("C_Sign")?;
    faults.set(&["C_Sign hang"])?;
    let mut client = bare(&scene).await?;
    let request = wire::request(&scene.key, &payment(0, ether(1)));
    let late = client.sign(with_timeout(request, "500m")).await.unwrap_err();
    assert_eq!(told(&late), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()));
    tokio::task::block_in_place(|| faults.wait_for_hangs("C_Sign", before + 1))?;
    faults.clear()?;
    scene.settled().await?;
    assert_eq!(scene.journal().await?.count("signed"), 1);
    Ok(())
}

#[tokio::test]
async fn a_stream_ends_at_its_deadline_with_that_reason() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let mut client = bare(&scene).await?;
    let silent = tokio_stream::pending::<SignStreamRequest>();
    let opened = client.sign_stream(with_timeout(silent, "200m")).await?;
    let end = opened.into_inner().message().await.unwrap_err();
    assert_eq!(told(&end), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()));
    Ok(())
}

#[tokio::test]
async fn an_oversized_message_ends_a_stream_with_the_reason_after_what_came_before_it()
-> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let mut client = bare(&scene).await?;
    let preimages = [payment(0, ether(1)), vec![2; 1024 * 1024]];
    let requests = (1..).zip(preimages).map(|(correlation_id, preimage)| SignStreamRequest {
        correlation_id,
        request: Some(wire::request(&scene.key, &preimage)),
    });
    let requests: Vec<_> = requests.collect();
    let mut answers = client.sign_stream(tokio_stream::iter(requests)).await?.into_inner();
    let first = answers.message().await?.unwrap();
    assert_eq!(first.correlation_id, 1);
    assert!(matches!(first.result, Some(Answered::Response(_))), "{:?}", first.correlation_id);
    let end = answers.message().await.unwrap_err();
    assert_eq!(told(&end), (Code::OutOfRange, "MESSAGE_TOO_LARGE".into()));
    Ok(())
}

#[tokio::test]
async fn a_message_that_cannot_be_decoded_ends_a_stream_as_it_ends_a_call() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let issued = scene.vault.services.issue(&Leaf::client_uri("bare", PAYOUTS))?;
    let address = scene.server.addresses().data_plane;
    let mut connection = wire::open(address, &scene.vault.services.certificate(), &issued).await?;
    for method in ["Sign", "SignStream"] {
        // Uncompressed, one byte long, and no field begins like that.
        let body = Body::new("\0\0\0\0\x01\x07".to_owned());
        let uri = format!("https://{address}/portcullis.v1.SigningService/{method}");
        let request = http::Request::post(uri).header("content-type", "application/grpc");
        let (head, mut body) = connection.call(request.body(body)?).await?.into_parts();
        let mut headers = head.headers;
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            headers.extend(frame?.into_trailers().unwrap_or_default());
        }
        let status = Status::from_header_map(&headers).expect("a status");
        assert_eq!(told(&status), (Code::InvalidArgument, "MALFORMED_CALL".into()), "{method}");
    }
    assert_eq!(scene.outcome(&scene.payouts().await?, &payment(0, ether(1))).await, "signed");
    Ok(())
}
