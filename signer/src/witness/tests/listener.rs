//! What anybody who can connect may take of it.

use tokio::net::TcpSocket;

use super::*;

/// A connection from an address of the loopback network.
async fn from(address: &str, witness: &Running) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    socket.connect(witness.address).await.unwrap()
}

async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

/// A peer that hangs up takes its connection back, and not what it has the witness do.
#[tokio::test]
async fn work_whose_peer_has_gone_counts_until_it_is_done() {
    let (_folder, _config, witness) = running().await;
    let body = HONEST.submission(0, 5).to_string();
    let head =
        format!("POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {}", body.len());
    let request = format!("{head}\r\n\r\n{body}");
    let (jobs, peers) = (&witness.load.jobs, &witness.load.peers);
    let all = jobs.available_permits();
    // The journal is busy, as on a disk that is slow: whatever is begun stays.
    let busy = witness.cosigner.journals[ORIGIN].busy();
    let mut streams = Vec::new();
    for left in (0..all).rev() {
        let mut stream = from(&format!("127.0.1.{left}"), &witness).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        streams.push(stream);
        until(|| jobs.available_permits() == left).await;
    }
    drop(streams);
    // All have hung up, and the witness knows it.
    until(|| peers.is_empty()).await;
    assert_eq!(jobs.available_permits(), 0);
    let (status, _, body) = witness.post(&body).await;
    assert!(status == 503 && body.contains("busy"), "{status} {body}");
    drop(busy);
    until(|| jobs.available_permits() == all).await;
    // They were done all the same.
    witness.cosigned(&HONEST.submission(5, 5)).await;
    witness.end().await;
}

#[tokio::test]
async fn one_peer_that_has_all_it_may_is_not_answered_and_others_are() {
    let (_folder, _config, witness) = running().await;
    let healthy = async |address: &str| {
        let mut stream = from(address, &witness).await;
        drop(stream.write_all(b"GET /health HTTP/1.1\r\nHost: w\r\n\r\n").await);
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        String::from_utf8(answer).unwrap().ends_with("ok\n")
    };
    let enter = || witness.load.peers.enter("127.0.0.2".parse().unwrap());
    let visits: Vec<_> = std::iter::from_fn(enter).collect();
    assert!(!healthy("127.0.0.2").await);
    assert!(healthy("127.0.0.1").await);
    drop(visits);
    assert!(healthy("127.0.0.2").await);
    witness.end().await;
}

#[tokio::test]
async fn a_connection_carries_one_request() {
    let (_folder, _config, witness) = running().await;
    let mut stream = TcpStream::connect(witness.address).await.unwrap();
    let request = "GET /health HTTP/1.1\r\nHost: w\r\n\r\n";
    stream.write_all(request.repeat(2).as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
    assert_eq!(witness.ask("POST /health", "").await.0, 405);
    witness.end().await;
}

#[tokio::test]
async fn what_is_no_text_is_malformed() {
    let (_folder, _config, witness) = running().await;
    let mut bytes = HONEST.submission(0, 5).to_string().into_bytes();
    *bytes.last_mut().unwrap() = 0xff;
    let (status, _, body) = witness.ask("POST /add-checkpoint", bytes).await;
    assert!(status == 400 && body.contains("UTF-8"), "{status} {body}");
    witness.end().await;
}
