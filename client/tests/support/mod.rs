//! A service to test against: mutual TLS as the real one does it, answers as a test scripts them.
//!
//! Shared by path with the tests of `ctl`, so that both speak to the same thing without a crate of
//! its own. Honest transactions are encoded by alloy, never by the code under test.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod pki;
pub mod transactions;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;

/// A running fake, on a runtime of its own. Dropping it ends it, live connections included.
pub struct Fake {
    pub address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Fake {
    /// Serves `routes` on a free loopback port, wanting a client certificate of `pki`.
    pub fn serve(pki: &pki::Pki, routes: Routes) -> Self {
        Self::serve_at(pki, routes, "127.0.0.1:0".parse().expect("address"))
    }

    /// The same at a given address, for a service that comes back.
    pub fn serve_at(pki: &pki::Pki, routes: Routes, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("socket");
        socket.set_reuseaddr(true).expect("reuse");
        socket.bind(address).expect("bind");
        let address = socket.local_addr().expect("address");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("runtime");
        let listener = {
            let _inside = runtime.enter();
            socket.listen(64).expect("listen")
        };
        let acceptor = TlsAcceptor::from(Arc::new(pki.server_config()));
        let (accepted, incoming) = tokio::sync::mpsc::channel::<io::Result<Conn>>(16);
        runtime.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                // One at a time is enough for tests; a failed handshake is the client's to report.
                if let Ok(tls) = acceptor.accept(tcp).await {
                    let sent = accepted.send(Ok(Conn(tls))).await;
                    if sent.is_err() {
                        return;
                    }
                }
            }
        });
        runtime.spawn(async move {
            let incoming = ReceiverStream::new(incoming);
            let served = Server::builder().add_routes(routes).serve_with_incoming(incoming).await;
            served.expect("serving");
        });
        Self { address, runtime: Some(runtime) }
    }

    pub fn endpoint(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A TLS connection that tonic can serve.
struct Conn(TlsStream<TcpStream>);

impl Connected for Conn {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
