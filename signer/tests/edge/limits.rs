//! How much anybody may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper::rt::Executor;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::world::{Gone, OK, PATIENCE, World, eventually};

#[tokio::test]
async fn with_every_handshake_slot_held_by_silent_clients_a_newcomer_gets_its_turn() {
    let mut world = World::new();
    world.limits.handshakes_max = 2;
    let plane = world.start().await;
    let mut silent = vec![connect(&plane).await, connect(&plane).await, connect(&plane).await];
    plane.until("handshakes_crowded_out", 1).await;
    plane.until("handshakes_open", 2).await;
    for crowded_out in 1..=2 {
        assert_eq!(plane.ask_once(&world.good_client(7)).await, Ok(OK));
        plane.until("handshakes_crowded_out", 1 + crowded_out).await;
        // The one who came got in and out; the room stays free until the next silent client.
        plane.until("handshakes_open", 1).await;
        silent.push(connect(&plane).await);
        plane.until("handshakes_open", 2).await;
    }
    drop(silent);
}

#[tokio::test]
async fn an_address_with_too_many_handshakes_costs_no_other_address_its_turn() {
    let mut world = World::new();
    world.limits.handshakes_per_source_max = 3;
    let plane = world.start().await;
    let mut slow = connect(&plane).await;
    plane.until("handshakes_open", 1).await;
    let mut greedy = Vec::new();
    for _ in 0..20 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        greedy.push(socket.connect(plane.address).await.unwrap());
    }
    plane.until("handshakes_crowded_out", 17).await;
    assert_eq!(plane.count("handshakes_open"), 4);
    // Still open: it is not the oldest of its own address.
    let silence = tokio::time::timeout(Duration::from_millis(50), slow.read(&mut [0; 1])).await;
    assert!(silence.is_err(), "{silence:?}");
}

#[tokio::test]
async fn a_silent_client_is_dropped_and_its_slot_given_to_the_next() {
    let mut world = World::new();
    world.limits.handshakes_max = 1;
    world.limits.handshake_timeout = Duration::from_secs(3);
    let plane = world.start().await;
    let mut silent = connect(&plane).await;
    plane.until("handshakes_open", 1).await;
    let end = tokio::time::timeout(PATIENCE, silent.read(&mut [0; 1])).await.expect("dropped");
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert_eq!(plane.count("handshakes_timed_out"), 1);
    assert_eq!(plane.ask_once(&world.good_client(7)).await, Ok(OK));
}

#[tokio::test]
async fn one_identity_cannot_take_the_connections_of_another() {
    let mut world = World::new();
    world.limits.connections_per_identity_max = 2;
    let plane = world.start().await;
    let greedy = world.good_client(7);
    let (mut first, mut second) = (plane.connect(&greedy).await, plane.connect(&greedy).await);
    assert_eq!((first.check().await, second.check().await), (Ok(OK), Ok(OK)));
    // Another certificate, the same name.
    assert_eq!(plane.ask_once(&world.good_client(8)).await, Err(Gone));
    assert_eq!(plane.count("refused_identity_full"), 1);
    let other = world.client(Some(&world.client_ca.client("spiffe://bank.example/other", 9)));
    assert_eq!(plane.ask_once(&other).await, Ok(OK));

    plane.until("connections_open", 2).await;
    drop(first);
    plane.until("connections_open", 1).await;
    assert_eq!(plane.ask_once(&greedy).await, Ok(OK));
}

#[tokio::test]
async fn connections_are_bounded_for_all_together() {
    let mut world = World::new();
    world.limits.connections_max = 1;
    let plane = world.start().await;
    let mut first = plane.connect(&world.good_client(7)).await;
    assert_eq!(first.check().await, Ok(OK));
    let other = world.client(Some(&world.client_ca.client("spiffe://bank.example/other", 9)));
    assert_eq!(plane.ask_once(&other).await, Err(Gone));
    assert_eq!(plane.count("refused_full"), 1);
    assert_eq!(first.check().await, Ok(OK));
}

#[tokio::test]
async fn a_peer_that_does_not_answer_pings_is_dropped() {
    let mut world = World::new();
    world.limits.keepalive_interval = Duration::from_millis(50);
    world.limits.keepalive_timeout = Duration::from_millis(50);
    let plane = world.start().await;
    let mut tls = plane.tls(&world.good_client(7)).await.unwrap();
    // The preface and empty settings, and never an answer to a ping.
    tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let end = tokio::time::timeout(PATIENCE, tls.read_to_end(&mut Vec::new())).await;
    assert!(end.is_ok(), "the server closes the connection");
    plane.until("connections_open", 0).await;
}

#[tokio::test]
async fn an_oversized_header_list_never_reaches_the_service() {
    let world = World::new();
    let plane = world.start().await;
    let tls = plane.tls(&world.good_client(7)).await.unwrap();
    let (mut send, connection) = hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(
        TokioExecutor::new(),
        TokioIo::new(tls),
    )
    .await
    .unwrap();
    tokio::spawn(connection);
    let large = "x".repeat(9 * 1024);
    let request = Request::get("https://localhost/who").header("x-large", large);
    let reply = send.send_request(request.body(Empty::new()).unwrap()).await;
    let refused = reply.map_or(true, |reply| reply.status().as_u16() == 431);
    assert!(refused);
    assert_eq!(plane.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_executor_given_runs_every_request() {
    #[derive(Clone, Default)]
    struct Counting(Arc<AtomicU64>);
    impl<F> Executor<F> for Counting
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        fn execute(&self, future: F) {
            self.0.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(future);
        }
    }
    let world = World::new();
    let executor = Counting::default();
    let plane = world.start_with(executor.clone()).await;
    let mut client = plane.connect(&world.good_client(7)).await;
    for _ in 0..3 {
        assert_eq!(client.check().await, Ok(OK));
    }
    assert_eq!(executor.0.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn every_client_that_left_is_forgotten() {
    let world = World::new();
    let plane = world.start().await;
    let config = world.good_client(7);
    for _ in 0..10 {
        assert_eq!(plane.ask_once(&config).await, Ok(OK));
    }
    plane.until("connections_open", 0).await;
    eventually("handshakes end", || plane.count("handshakes_open") == 0).await;
    assert_eq!(plane.count("accepted"), 10);
}

async fn connect(plane: &super::world::Running) -> TcpStream {
    TcpStream::connect(plane.address).await.unwrap()
}
