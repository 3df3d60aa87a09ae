//! Remembers why a TLS connection ended.
//!
//! In TLS 1.3 the service looks at our certificate after our handshake is over, so its refusal
//! comes as an alert in the middle of HTTP/2, which keeps only the alert's text. This wrapper sees
//! the alert itself on the way up. It changes nothing that passes through.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The last fatal alert that the peer sent on the current connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastAlert(Arc<Mutex<Option<AlertDescription>>>);

impl LastAlert {
    /// The alert, if one came since the last connect.
    pub(crate) fn seen(&self) -> Option<AlertDescription> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets; called when a new connection is tried.
    pub(crate) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn note(&self, error: &io::Error) {
        if let Some(rustls::Error::AlertReceived(alert)) = tls_error(error) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(*alert);
        }
    }
}

/// The TLS error that an I/O error carries, if any.
pub(crate) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// A stream that tells [`LastAlert`] about read errors.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    stream: S,
    alert: LastAlert,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, alert: LastAlert) -> Self {
        Self { stream, alert }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Err(error)) = &read {
            self.alert.note(error);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
