//! Health and metrics in plaintext.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use portcullis::edge::{Loopback, LoopbackError, Probe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::world::PATIENCE;

#[tokio::test]
async fn only_a_loopback_address_can_be_bound() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:0.0.0.0]:0"] {
        let error = Loopback::bind(address.parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, LoopbackError::NotLoopback { .. }), "{address}: {error}");
    }
    assert!(Loopback::bind("127.0.0.1:0".parse().unwrap()).await.is_ok());
}

#[tokio::test]
async fn an_address_in_use_is_told() {
    let first = Loopback::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = Loopback::bind(first.address()).await.unwrap_err();
    assert!(matches!(error, LoopbackError::Bind { .. }), "{error}");
}

#[tokio::test]
async fn live_and_metrics_answer_whatever_readiness_says() {
    let health = Health::start(&["the HSM is gone"]).await;
    assert_eq!(health.ask("GET", "/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(health.ask("GET", "/metrics").await, (200, "portcullis_up 1\n".to_owned()));
}

#[tokio::test]
async fn readiness_names_every_reason_on_a_line_of_its_own() {
    let health = Health::start(&["the HSM is gone", "the journal\nis full"]).await;
    let body = "the HSM is gone\nthe journal is full\n".to_owned();
    assert_eq!(health.ask("GET", "/readyz").await, (503, body));
    health.troubles.lock().clear();
    assert_eq!(health.ask("GET", "/readyz").await, (200, "ok\n".to_owned()));
}

#[tokio::test]
async fn nothing_else_is_served() {
    let health = Health::start(&[]).await;
    for path in ["/", "/livez/", "/LIVEZ", "/debug", "//metrics"] {
        assert_eq!(health.ask("GET", path).await.0, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"] {
        assert_eq!(health.ask(method, "/livez").await.0, 405, "{method}");
    }
}

#[tokio::test]
async fn idle_clients_do_not_keep_it_from_stopping() {
    let health = Health::start(&[]).await;
    let idle = TcpStream::connect(health.address).await.unwrap();
    health.ask("GET", "/livez").await;
    health.stop.send(()).unwrap();
    tokio::time::timeout(PATIENCE, health.task).await.expect("it stops").unwrap();
    drop(idle);
}

struct Health {
    address: SocketAddr,
    troubles: Arc<Mutex<Vec<String>>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Health {
    async fn start(troubles: &[&str]) -> Self {
        let troubles: Vec<String> = troubles.iter().map(ToString::to_string).collect();
        let troubles = Arc::new(Mutex::new(troubles));
        let loopback = Loopback::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = loopback.address();
        let shown = Arc::clone(&troubles);
        let probe = Probe {
            ready: Box::new(move || shown.lock().clone()),
            metrics: Box::new(|| "portcullis_up 1\n".to_owned()),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(loopback.serve(probe, async move {
            stopped.await.ok();
        }));
        Self { address, troubles, stop, task }
    }

    /// Status code and body.
    async fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let mut tcp = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        tcp.read_to_string(&mut reply).await.unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}
