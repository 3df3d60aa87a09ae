//! A caller whose HTTP/2 window is closed: a signature that is recorded and waits for room.

use std::pin::pin;
use std::task::Poll;

use alloy_primitives::U256;
use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::wire::sign_response::Answer;
use portcullis_client::wire::{SignRequest, SignResponse};
use portcullis_softhsm_tests::pki::Leaf;
use portcullis_softhsm_tests::world::{BookText, Failure, PAYOUTS, payment};
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tonic::codegen::http::{HeaderMap, Request};

use crate::support::{Scene, wire};

/// A caller on a connection of its own that takes not one byte of an answer before it wants to.
struct Caller {
    send: SendRequest<Bytes>,
    open: oneshot::Sender<()>,
}

impl Caller {
    async fn new(scene: &Scene) -> Result<Self, Failure> {
        let issued = scene.vault.services.issue(&Leaf::client_uri("closed", PAYOUTS))?;
        let address = scene.server.addresses().data_plane;
        let io = wire::tls(address, &scene.vault.services.certificate(), &issued).await?;
        let mut builder = h2::client::Builder::new();
        let (send, connection) = builder.initial_window_size(0).handshake(io).await?;
        let (open, opened) = oneshot::channel();
        tokio::spawn(drive(connection, opened));
        Ok(Self { send, open })
    }

    /// Asks, and waits for the head of the answer, which no window holds back.
    async fn ask(&mut self, request: &SignRequest) -> Result<h2::RecvStream, Failure> {
        let mut head = Request::post("/portcullis.v1.SigningService/Sign");
        for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
            head = head.header(name, value);
        }
        let (answer, mut body) = self.send.send_request(head.body(())?, false)?;
        let message = request.encode_to_vec();
        let mut framed = vec![0];
        framed.extend(u32::try_from(message.len())?.to_be_bytes());
        framed.extend(message);
        body.send_data(framed.into(), true)?;
        let answer = answer.await?;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers().get("grpc-status"), None, "refused: {:?}", answer.headers());
        Ok(answer.into_body())
    }
}

/// Drives a connection, and lets data come once told so.
async fn drive(
    connection: Connection<impl AsyncRead + AsyncWrite + Unpin>,
    opened: oneshot::Receiver<()>,
) {
    let (mut connection, mut opened) = (pin!(connection), pin!(opened));
    let mut waiting = true;
    std::future::poll_fn(|context| {
        if waiting && opened.as_mut().poll(context).is_ready() {
            waiting = false;
            connection.set_initial_window_size(65_535).unwrap();
        }
        match connection.as_mut().poll(context) {
            // The other end may hang up first: a test ends it.
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
}

/// All of an answer's data, and its trailers if it came to an end.
async fn rest(mut body: h2::RecvStream) -> (Vec<u8>, Result<HeaderMap, h2::Error>) {
    let mut data = Vec::new();
    while let Some(chunk) = body.data().await {
        match chunk {
            Ok(chunk) => data.extend_from_slice(&chunk),
            Err(error) => return (data, Err(error)),
        }
    }
    (data, body.trailers().await.map(Option::unwrap_or_default))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_waits_for_the_window_and_comes_when_it_opens() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let mut caller = Caller::new(&scene).await?;
    let body = caller.ask(&wire::request(&scene.key, &payment(0, U256::from(1)))).await?;
    caller.open.send(()).unwrap();
    let (data, trailers) = rest(body).await;
    let SignResponse { answer } = SignResponse::decode(&data[5..])?;
    assert!(matches!(answer, Some(Answer::Signed(_))), "{answer:?}");
    assert_eq!(trailers?["grpc-status"], "0");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_that_waits_for_the_window_is_dropped_by_a_stop() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let mut caller = Caller::new(&scene).await?;
    let body = caller.ask(&wire::request(&scene.key, &payment(0, U256::from(1)))).await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let frozen = sam.freeze(Scope::Key(scene.key.id.to_string()), "stop it").await?;
    // It is on record, and the stop says that it was not released.
    assert_eq!((frozen.withheld, frozen.last_released_sequence), (1, 0));
    assert_eq!(frozen.unsettled, [], "nobody holds it");
    caller.open.send(()).unwrap();
    let (data, end) = rest(body).await;
    assert_eq!(data, b"", "something left after the stop");
    // What hyper had taken is dropped with its stream: asking again says why.
    assert_eq!(end.unwrap_err().reason(), Some(h2::Reason::CANCEL));
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, U256::from(1))).await, "FROZEN");
    let journal = scene.journal().await?;
    assert_eq!((journal.count("signed"), journal.count("frozen")), (1, 1));
    Ok(())
}
